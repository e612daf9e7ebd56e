//! Stamps: targets of a rule that are done at once.
//!
//! Most targets only say again what the map says: an element, in it another one, in that a constant or the text of a
//! variable, as in `flag.code as code, code.coding as coding, coding.system = '…', coding.code = concern`. Where such
//! targets follow each other, and each stands in an element that an earlier one of them makes, they are run once when
//! the map is loaded, in an arena of their own. What comes out is kept in two forms:
//!
//! - An element that no other part of the map names, neither itself nor anything in it, is sealed: its JSON is written
//!   ahead, with holes for the texts of variables. A run adds one slot for all of it.
//! - The other elements are cells, each a slot of its own; their constants are ready as JSON.
//!
//! Invariant: pressing a stamp gives what its targets give one by one, origins included. What it cannot take (a place
//! that is occupied, a variable without a plain text, a limit that would be passed) it leaves to them, and has changed
//! nothing then; what later looks into a sealed element finds it taken apart (`target.rs`). So a target behaves, and
//! fails, as `apply` in `run.rs` says.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use smallvec::SmallVec;

use crate::fhir::{Constant, Kind, Name, Node, NodeId, Template, is_plain_text};

use super::error::Error;
use super::plan::{Block, Call, Operand, Slot, TargetListMode, TargetPlan, Transform};
use super::run::{Run, Value};
use super::target::{Content, Form, Hole, Origin, Spec, Target, TargetId, Text};
use super::types::Type;
use super::values;

/// Targets that are done at once.
#[derive(Debug)]
pub(super) struct Stamp {
    /// Which of the rule's targets they are.
    pub(super) targets: Range<usize>,
    /// The variable that holds the parent of the first element.
    context: Slot,
    /// Elements that it makes, and levels of JSON that they need below the parent.
    elements: usize,
    levels: u16,
    cells: Box<[Cell]>,
    /// Variables whose text is asked for, as often as it is.
    reads: Box<[Slot]>,
    /// Variables that hold a new element afterwards: its place among the cells.
    binds: Box<[(Slot, usize)]>,
}

/// An element that a stamp makes.
#[derive(Debug)]
pub(super) struct Cell {
    /// The element it stands in, an earlier one: by its place; none for the parent of the stamp.
    pub(super) parent: Option<usize>,
    name: Name,
    order: u16,
    is_array: bool,
    pub(super) at_start: bool,
    ty: Type,
    pub(super) filling: Filling,
}

/// What stands in a cell.
#[derive(Debug)]
pub(super) enum Filling {
    Nothing,
    /// A constant, with its key as JSON writes them.
    Ready(Constant, Form),
    /// A constant that needs escapes.
    Constant(Box<str>),
    Words(Words),
    /// In a sealed element: the text of this hole.
    Hole(usize),
    Sealed(Box<Sealed>),
}

/// A text that only a run knows. Numbers are places among the variables that the stamp reads.
#[derive(Debug)]
pub(super) enum Words {
    Read(usize),
    /// Texts one behind the other.
    Append(Box<[Part]>),
}

#[derive(Debug)]
pub(super) enum Part {
    /// And whether JSON writes it without an escape.
    Constant(Box<str>, bool),
    Read(usize),
}

/// All that stands in an element.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) template: Template,
    /// What goes into the holes of the template.
    pub(super) holes: Box<[Words]>,
    /// Nodes of the template that follow from the text of a hole: node, hole.
    pub(super) sourced: Box<[(usize, usize)]>,
    /// Levels of JSON below its own.
    pub(super) levels: u16,
    /// Bytes of its constants.
    pub(super) bytes: usize,
    /// Its elements, in the order of the targets that make them: for when it is taken apart. The first is the element
    /// itself, and is not among them.
    pub(super) members: Box<[Cell]>,
}

impl Cell {
    #[inline]
    pub(super) fn spec(&self) -> Spec<'_> {
        Spec { name: &self.name, order: self.order, is_array: self.is_array, ty: self.ty }
    }
}

/// The stamps for the targets of a rule, in their order. Between and behind them stand targets that are done one by
/// one; `calls` and `block` are what the rule does then.
pub(super) fn stamps(targets: &[TargetPlan], calls: &[Call], block: &Block) -> Vec<Stamp> {
    let mut later: HashSet<Slot> = HashSet::new();
    let mut note = |slot| later.extend([slot]);
    calls.iter().for_each(|call| call.uses(&mut note));
    block.uses(&mut note);
    let mut last_use: HashMap<Slot, usize> = HashMap::new();
    for (index, target) in targets.iter().enumerate() {
        target.uses(&mut |slot| last_use.extend([(slot, index)]));
    }
    let mut stamps = Vec::new();
    let mut at = 0;
    while at < targets.len() {
        let mut draft = Draft::default();
        let mut arena = Target::new(usize::MAX, u16::MAX);
        let end = draft.fill(&mut arena, targets, at);
        let is_named = |slot: Slot| later.contains(&slot) || last_use.get(&slot).is_some_and(|last| *last >= end);
        stamps.extend(targets[at].context.and_then(|context| draft.finish(&arena, context, at..end, is_named)));
        at = end.max(at + 1);
    }
    stamps
}

/// A stamp while it is being made.
#[derive(Default)]
struct Draft {
    /// The cells, each with its element in the arena and its variable.
    cells: Vec<(Cell, TargetId, Option<Slot>)>,
    reads: Vec<Slot>,
}

impl Draft {
    /// Takes as many targets from `first` on as fit into one stamp; the end of them.
    fn fill<'t>(&mut self, arena: &mut Target<'t>, targets: &'t [TargetPlan], first: usize) -> usize {
        let Ok(outside) = arena.detached(Type::Any, Origin { source: None, rule: 0 }) else { return first };
        let mut end = first;
        for target in &targets[first..] {
            let parent = target.context.and_then(|slot| self.bound(slot));
            if (end > first && parent.is_none()) || self.add(arena, outside, parent, target).is_none() {
                break;
            }
            end += 1;
        }
        end
    }

    /// The cell of this stamp that a variable will hold.
    fn bound(&self, slot: Slot) -> Option<usize> {
        self.cells.iter().position(|(_, _, known)| *known == Some(slot))
    }

    /// Runs a target in the draft's arena; `None` if it cannot be part of the stamp.
    fn add<'t>(
        &mut self,
        arena: &mut Target<'t>,
        outside: TargetId,
        parent: Option<usize>,
        target: &'t TargetPlan,
    ) -> Option<()> {
        let element = target.element.as_ref()?;
        let ([spelling], TargetListMode::First | TargetListMode::Last) = (&*element.spellings, target.list_mode) else {
            return None;
        };
        let ty = match target.transform {
            Transform::Create(made) if made.is_a(spelling.ty) && made.is_concrete() => made,
            Transform::Create(_) => return None,
            _ => spelling.ty,
        };
        let reads = self.reads.len();
        let spec = Spec { name: &spelling.name, order: element.order, is_array: element.is_array, ty };
        let at_start = target.list_mode == TargetListMode::First;
        let place = parent.map_or(outside, |cell| self.cells[cell].1);
        let origin = Origin { source: None, rule: self.cells.len() as u32 };
        let filling = self.filling(&target.transform, &spelling.name, ty);
        let added = filling.as_ref().and_then(|filling| match filling {
            Filling::Nothing => arena.child(place, spec, at_start, origin).ok(),
            Filling::Ready(_, form) => {
                arena.primitive(place, spec, at_start, (Text::Kept(constant(target)?), *form), origin).ok()
            }
            Filling::Constant(_) => {
                arena.primitive(place, spec, at_start, (Text::Kept(constant(target)?), Form::Text), origin).ok()
            }
            _ => arena.primitive(place, spec, at_start, (Text::Kept(""), Form::Plain), origin).ok(),
        });
        let Some((filling, id)) = filling.zip(added) else {
            self.reads.truncate(reads);
            return None;
        };
        let (name, order, is_array) = (spelling.name.clone(), element.order, element.is_array);
        self.cells.push((Cell { parent, name, order, is_array, at_start, ty, filling }, id, target.slot));
        Some(())
    }

    /// The value of a target, if a stamp can give it.
    fn filling(&mut self, transform: &Transform, name: &Name, ty: Type) -> Option<Filling> {
        match transform {
            Transform::Element | Transform::Create(_) => Some(Filling::Nothing),
            Transform::Copy(Operand::Constant(text, _)) if ty.is_primitive() && values::is_well_formed(text, ty) => {
                Some(match Form::of(ty) {
                    Form::Bare => Filling::Ready(Constant::bare(name, text), Form::Bare),
                    _ if is_plain_text(text) => Filling::Ready(Constant::plain(name, text), Form::Plain),
                    _ => Filling::Constant(text.clone()),
                })
            }
            // What stands in a variable may not be a number: that is looked at where it is set.
            _ if !ty.is_primitive() || Form::of(ty) == Form::Bare => None,
            Transform::Copy(Operand::Slot(slot)) => Some(Filling::Words(Words::Read(self.read(*slot)?))),
            Transform::Append(operands) => {
                let parts = operands.iter().map(|operand| match operand {
                    Operand::Constant(text, _) => Some(Part::Constant(text.clone(), is_plain_text(text))),
                    Operand::Slot(slot) => self.read(*slot).map(Part::Read),
                    Operand::Path(..) | Operand::Expression(..) => None,
                });
                Some(Filling::Words(Words::Append(parts.collect::<Option<_>>()?)))
            }
            _ => None,
        }
    }

    /// A variable to read, if it is not one that the stamp itself sets.
    fn read(&mut self, slot: Slot) -> Option<usize> {
        if self.bound(slot).is_some() {
            return None;
        }
        self.reads.push(slot);
        Some(self.reads.len() - 1)
    }

    /// The stamp; `is_named` says whether anything else names a variable.
    fn finish(
        self,
        arena: &Target<'_>,
        context: Slot,
        targets: Range<usize>,
        is_named: impl Fn(Slot) -> bool,
    ) -> Option<Stamp> {
        let elements = self.cells.len();
        let levels = self.cells.iter().map(|(_, id, _)| arena.depth(*id) - 1).max()?;
        let homes = self.homes(arena, &is_named);
        let mut seals: Vec<Seal> = Vec::new();
        for root in (0..elements).filter(|index| homes[*index] == Some(*index)) {
            seals.push(self.seal(arena, root)?);
        }
        let (mut cells, mut binds) = (Vec::new(), Vec::new());
        let mut places = vec![0; elements];
        for (index, (mut cell, _, slot)) in self.cells.into_iter().enumerate() {
            cell.parent = cell.parent.map(|parent| if homes[index] == Some(parent) { 0 } else { places[parent] });
            match seals.iter_mut().find(|seal| Some(seal.root) == homes[index]) {
                Some(seal) if seal.root != index => places[index] = seal.keep(index, cell),
                _ => {
                    places[index] = cells.len();
                    binds.extend(slot.filter(|slot| is_named(*slot)).map(|slot| (slot, cells.len())));
                    cells.push(cell);
                }
            }
        }
        for seal in seals {
            let cell: &mut Cell = &mut cells[places[seal.root]];
            cell.filling = Filling::Sealed(Box::new(seal.close()?));
        }
        let (reads, cells, binds) = (self.reads.into(), cells.into(), binds.into());
        Some(Stamp { targets, context, elements, levels, cells, reads, binds })
    }

    /// For each cell, the outermost element around it, or itself, that can be sealed: with a value in it, and nothing in
    /// it that anything else names.
    fn homes(&self, arena: &Target<'_>, is_named: &impl Fn(Slot) -> bool) -> Vec<Option<usize>> {
        let mut named: Vec<bool> = self.cells.iter().map(|(_, _, slot)| slot.is_some_and(is_named)).collect();
        for (index, (cell, ..)) in self.cells.iter().enumerate().rev() {
            if let (true, Some(parent)) = (named[index], cell.parent) {
                named[parent] = true;
            }
        }
        let mut homes: Vec<Option<usize>> = Vec::new();
        for (index, (cell, id, _)) in self.cells.iter().enumerate() {
            let is_free = !named[index] && !cell.ty.is_primitive() && arena.is_filled(*id);
            let around = cell.parent.and_then(|parent| homes[parent]);
            homes.push(around.or(is_free.then_some(index)));
        }
        homes
    }

    /// What the element of a cell is as JSON. The origins of a draft say which cell a node is of.
    fn seal(&self, arena: &Target<'_>, root: usize) -> Option<Seal> {
        let (document, origins) = arena.write(self.cells[root].1).ok()?;
        let cell_of = |node: NodeId| origins[node.index()].rule as usize;
        let has_words = |node: &NodeId| matches!(self.cells[cell_of(*node)].0.filling, Filling::Words(_));
        let nodes: Vec<NodeId> = document.nodes().map(Node::id).filter(has_words).collect();
        let is_text = |node: &NodeId| document.node(*node).is_some_and(|node| node.kind() == Kind::String);
        let holes: Vec<NodeId> = nodes.iter().copied().filter(is_text).collect();
        let cells: Vec<usize> = holes.iter().map(|hole| cell_of(*hole)).collect();
        let hole = |node: NodeId| cells.iter().position(|cell| *cell == cell_of(node));
        let sourced = nodes.iter().map(|node| Some((node.index(), hole(*node)?))).collect::<Option<_>>()?;
        let words = cells.iter().map(|_| None).collect();
        let (template, levels) = (Template::new(&document, &holes), levels(document.root()));
        Some(Seal { root, template, cells, words, sourced, levels, bytes: 0, members: Vec::new() })
    }
}

/// A sealed element while it is being made.
struct Seal {
    /// Its cell in the draft.
    root: usize,
    template: Template,
    /// For each hole, its cell in the draft, and what goes into it.
    cells: Vec<usize>,
    words: Vec<Option<Words>>,
    sourced: Box<[(usize, usize)]>,
    levels: u16,
    bytes: usize,
    members: Vec<Cell>,
}

impl Seal {
    /// Takes a cell in; its place.
    fn keep(&mut self, index: usize, mut cell: Cell) -> usize {
        if let Some(hole) = self.cells.iter().position(|cell| *cell == index)
            && let Filling::Words(words) = std::mem::replace(&mut cell.filling, Filling::Hole(hole))
        {
            self.words[hole] = Some(words);
        }
        self.bytes += match &cell.filling {
            Filling::Ready(constant, _) => constant.text().len(),
            Filling::Constant(text) => text.len(),
            _ => 0,
        };
        self.members.push(cell);
        self.members.len()
    }

    fn close(self) -> Option<Sealed> {
        let Seal { template, sourced, levels, bytes, .. } = self;
        let (holes, members) = (self.words.into_iter().collect::<Option<_>>()?, self.members.into());
        Some(Sealed { template, holes, sourced, levels, bytes, members })
    }
}

/// Levels of JSON below a node's own.
fn levels(node: Node<'_>) -> u16 {
    let nested = node.children().filter(|child| child.is_object() || child.is_array());
    nested.map(|child| 1 + levels(child)).max().unwrap_or(0)
}

/// The constant that a target sets.
fn constant(target: &TargetPlan) -> Option<&str> {
    match &target.transform {
        Transform::Copy(Operand::Constant(text, _)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
impl Stamp {
    /// Elements that it makes, and slots that these take.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.elements, self.cells.len())
    }
}

/// The text of a variable, how JSON writes it, and the node that it follows from.
type Read<'r> = Hole<'r>;

impl<'r> Run<'r> {
    /// Does the targets of a stamp. `false` if they must be done one by one.
    #[inline]
    pub(super) fn press(&mut self, stamp: &'r Stamp) -> Result<bool, Box<Error>> {
        let Value::Target(outside) = *self.held(stamp.context) else { return Ok(false) };
        let head = &stamp.cells[0];
        let Some(reads) = self.reads(&stamp.reads) else { return Ok(false) };
        let true = self.target.has_room(outside, stamp.elements, stamp.levels) else { return Ok(false) };
        let Ok(mut room) = self.target.room(outside, &head.spec(), head.at_start) else { return Ok(false) };
        let own = self.origin(None);
        let base = self.target.len();
        for (index, cell) in stamp.cells.iter().enumerate() {
            let parent = cell.parent.map_or(outside, |place| base.plus(place));
            if index > 0 {
                let found = self.target.room(parent, &cell.spec(), cell.at_start);
                room = found.map_err(|refused| self.refused(refused, cell.name.text()))?;
            }
            let (content, form, source) = self.content(&cell.filling, &reads)?;
            let origin = Origin { source: source.or(own.source), rule: own.rule };
            self.target.place(parent, cell.spec(), room, (content, form), origin);
        }
        self.target.count(stamp.elements);
        for &(slot, place) in &stamp.binds {
            self.set(slot, Value::Target(base.plus(place)));
        }
        self.check_bytes()?;
        Ok(true)
    }

    /// The texts of variables, if each has one that stands ready.
    #[inline]
    fn reads(&self, slots: &[Slot]) -> Option<SmallVec<[Read<'r>; 2]>> {
        let mut reads = SmallVec::new();
        for slot in slots {
            reads.push(match self.held(*slot) {
                Value::Text { text, source, .. } => Read { text: *text, form: text.form(), source: *source },
                // What a string of the record holds without unescaping, JSON writes without escaping.
                Value::Element { value: Some(node), companion: None, .. } => match node.scalar()? {
                    Cow::Borrowed(text) => Read { text: Text::Kept(text), form: Form::Plain, source: Some(node.id()) },
                    Cow::Owned(_) => return None,
                },
                _ => return None,
            });
        }
        Some(reads)
    }

    #[inline]
    fn content(
        &mut self,
        filling: &'r Filling,
        reads: &[Read<'r>],
    ) -> Result<(Content<'r>, Form, Option<NodeId>), Box<Error>> {
        let (text, form, source) = match filling {
            Filling::Nothing | Filling::Hole(_) => return Ok((Content::Nothing, Form::Text, None)),
            Filling::Ready(constant, form) => (Text::Constant(constant), *form, None),
            Filling::Constant(text) => (Text::Kept(text), Form::Text, None),
            Filling::Words(words) => {
                let Read { text, form, source } = self.words(words, reads)?;
                (text, form, source)
            }
            Filling::Sealed(sealed) => {
                for words in &sealed.holes {
                    let hole = self.words(words, reads)?;
                    self.target.hole(hole);
                }
                return Ok((self.target.sealed(sealed), Form::Text, None));
            }
        };
        Ok((self.target.valued(text), form, source))
    }

    #[inline]
    fn words(&mut self, words: &'r Words, reads: &[Read<'r>]) -> Result<Read<'r>, Box<Error>> {
        let parts = match words {
            Words::Read(read) => return Ok(reads[*read]),
            Words::Append(parts) => parts,
        };
        let start = self.target.made_len();
        let (mut source, mut is_plain) = (None, true);
        for part in parts {
            let (text, part_is_plain) = match part {
                Part::Constant(text, is_plain) => (Text::Kept(text), *is_plain),
                Part::Read(read) => {
                    let Read { text, form, source: from } = reads[*read];
                    source = source.or(from);
                    (text, form == Form::Plain)
                }
            };
            is_plain &= part_is_plain;
            self.charge(self.target.read(text).len() / 256)?;
            self.target.append(text);
            self.check_bytes()?;
        }
        let text = self.target.made_since(start, is_plain);
        Ok(Read { text, form: text.form(), source })
    }
}
