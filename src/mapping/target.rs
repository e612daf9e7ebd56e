//! What the rules build: a tree of elements in an arena, written as a document at the end.
//!
//! Children keep the order of their type's elements, whatever order the rules made them in, so that the output is
//! stable. Texts are spans of the record or of the plan, or of one buffer of made texts: nothing is allocated for an
//! element but its slot. A sealed element is one slot with all that stands in it: it is written by its template, and
//! taken apart if something is added to it or asks for its children. Elements without a value and without children are not written: FHIR has no empty objects.

use crate::fhir::{Builder, Constant, Document, Name, NodeId};

use super::stamp::{Filling, Sealed};
use super::types::{Type, made};

/// The place of an element in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetId(u32);

impl TargetId {
    /// Its number in the arena.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }

    /// The one so many places behind it.
    pub(super) fn plus(self, places: usize) -> TargetId {
        TargetId(self.0 + places as u32)
    }
}

const NONE: u32 = u32::MAX;

/// Where a value of the output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node of the record that it copies or follows from.
    pub source: Option<NodeId>,
    /// The rule that made it: an index for [`CompiledMap::rule`](super::CompiledMap::rule).
    pub rule: u32,
}

/// A text that lives as long as the run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text<'r> {
    /// Of the record or of the plan.
    Kept(&'r str),
    /// Of the plan, with the key of the element whose value it is.
    Constant(&'r Constant),
    /// A span of the buffer of made texts, and whether it is known that JSON writes it without an escape.
    Made(u32, u32, bool),
}

impl Text<'_> {
    /// How JSON writes it as a string, as far as that is known.
    #[inline]
    pub(super) fn form(&self) -> Form {
        match self {
            Text::Constant(_) | Text::Made(_, _, true) => Form::Plain,
            Text::Kept(_) | Text::Made(_, _, false) => Form::Text,
        }
    }
}

/// The name and place of an element in its parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec<'r> {
    pub(super) name: &'r Name,
    pub(super) order: u16,
    pub(super) is_array: bool,
    pub(super) ty: Type,
}

/// Why an element cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It may occur once, and does.
    Occupied,
    /// The limit on elements is reached.
    TooMany,
    /// The limit on levels is reached.
    TooDeep,
    /// It would stand inside itself.
    Cycle,
    /// The text is longer than a document can be.
    TooLong,
}

#[derive(Clone, Debug)]
struct Slot<'r> {
    name: &'r Name,
    order: u16,
    is_array: bool,
    /// How JSON writes its value.
    form: Form,
    /// Whether it, or something in it, has a value.
    filled: bool,
    depth: u16,
    ty: Type,
    content: Content<'r>,
    parent: u32,
    first: u32,
    last: u32,
    next: u32,
    /// The other end of its list: of the first sibling of an order the last one, of the last the first; itself if it is
    /// alone. A search steps over a whole list at once.
    other_end: u32,
    origin: Origin,
}

/// What a slot holds besides its children.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'r> {
    Nothing,
    Value(Text<'r>),
    /// What is sealed in it, and its first hole.
    Sealed(&'r Sealed, u32),
}

/// A text that goes into a sealed element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole<'r> {
    pub(super) text: Text<'r>,
    pub(super) form: Form,
    /// The node that it follows from.
    pub(super) source: Option<NodeId>,
}

/// How JSON writes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Without quotes.
    Bare,
    /// A string in which nothing needs an escape.
    Plain,
    /// A string that may need escapes.
    Text,
}

impl Form {
    /// The form of a type's values.
    pub(super) fn of(ty: Type) -> Form {
        if is_bare(ty) { Form::Bare } else { Form::Text }
    }
}

/// Where a child goes.
#[derive(Clone, Copy)]
pub(super) struct Gap {
    /// The sibling in front of it.
    before: u32,
    /// The first sibling of its own order.
    lead: u32,
}

/// The arena.
#[derive(Debug)]
pub(super) struct Target<'r> {
    slots: Vec<Slot<'r>>,
    /// The texts of sealed elements.
    holes: Vec<Hole<'r>>,
    /// How many elements there are, those in sealed ones too.
    elements: usize,
    made: String,
    /// Bytes of the values set so far.
    set: usize,
    most: usize,
    deepest: u16,
}

impl<'r> Target<'r> {
    /// An empty arena for at most `most` elements and `deepest` levels of JSON.
    pub(super) fn new(most: usize, deepest: u16) -> Target<'r> {
        Target {
            slots: Vec::with_capacity(512),
            holes: Vec::with_capacity(256),
            elements: 0,
            made: String::with_capacity(4096),
            set: 0,
            most,
            deepest,
        }
    }

    /// An element that stands nowhere yet.
    #[inline]
    pub(super) fn detached(&mut self, ty: Type, origin: Origin) -> Result<TargetId, Refused> {
        self.add_elements(1)?;
        let id = self.slots.len() as u32;
        self.slots.push(Slot {
            name: &made().no_name,
            order: 0,
            is_array: false,
            form: Form::Text,
            filled: ty.is_resource(),
            depth: 1,
            ty,
            content: Content::Nothing,
            parent: NONE,
            first: NONE,
            last: NONE,
            next: NONE,
            other_end: id,
            origin,
        });
        Ok(TargetId(id))
    }

    /// Counts elements, and refuses too many.
    #[inline]
    fn add_elements(&mut self, elements: usize) -> Result<(), Refused> {
        if elements > self.most - self.elements {
            return Err(Refused::TooMany);
        }
        self.elements += elements;
        Ok(())
    }

    /// Whether there is room for so many elements, on so many levels below `parent`.
    #[inline]
    pub(super) fn has_room(&self, parent: TargetId, elements: usize, levels: u16) -> bool {
        self.slot(parent).depth.saturating_add(levels) <= self.deepest && elements <= self.most - self.elements
    }

    /// A new element in `parent`, with its content if it has any.
    #[inline]
    fn push(
        &mut self,
        parent: TargetId,
        spec: Spec<'r>,
        at_start: bool,
        (content, form): (Content<'r>, Form),
        origin: Origin,
    ) -> Result<TargetId, Refused> {
        let (depth, gap) = self.room(parent, &spec, at_start)?;
        self.add_elements(1)?;
        Ok(self.place(parent, spec, (depth, gap), (content, form), origin))
    }

    /// Places a new element where there is room for it.
    #[inline(always)]
    pub(super) fn place(
        &mut self,
        parent: TargetId,
        spec: Spec<'r>,
        (depth, gap): (u16, Gap),
        (content, form): (Content<'r>, Form),
        origin: Origin,
    ) -> TargetId {
        let id = self.slots.len() as u32;
        let (next, other_end) = self.tie(parent, id, gap);
        let filled = !matches!(content, Content::Nothing) || spec.ty.is_resource();
        let Spec { name, order, is_array, ty } = spec;
        self.slots.push(Slot {
            name,
            order,
            is_array,
            form,
            filled,
            depth,
            ty,
            content,
            parent: parent.0,
            first: NONE,
            last: NONE,
            next,
            other_end,
            origin,
        });
        if filled {
            self.fill(parent);
        }
        TargetId(id)
    }

    /// A new element in `parent`, at the end of its list or at the start.
    #[inline]
    pub(super) fn child(
        &mut self,
        parent: TargetId,
        spec: Spec<'r>,
        at_start: bool,
        origin: Origin,
    ) -> Result<TargetId, Refused> {
        self.push(parent, spec, at_start, (Content::Nothing, Form::Text), origin)
    }

    /// A new primitive with its value, and how JSON writes that.
    #[inline]
    pub(super) fn primitive(
        &mut self,
        parent: TargetId,
        spec: Spec<'r>,
        at_start: bool,
        (text, form): (Text<'r>, Form),
        origin: Origin,
    ) -> Result<TargetId, Refused> {
        self.set += self.read(text).len();
        self.push(parent, spec, at_start, (Content::Value(text), form), origin)
    }

    /// A text for a hole of the sealed element that comes next.
    #[inline]
    pub(super) fn hole(&mut self, hole: Hole<'r>) {
        self.set += self.read(hole.text).len();
        self.holes.push(hole);
    }

    /// All that is sealed in an element that comes next; its holes are the last ones given.
    #[inline]
    pub(super) fn sealed(&mut self, sealed: &'r Sealed) -> Content<'r> {
        self.set += sealed.bytes;
        Content::Sealed(sealed, (self.holes.len() - sealed.holes.len()) as u32)
    }

    /// The value of a primitive that comes next.
    #[inline]
    pub(super) fn valued(&mut self, text: Text<'r>) -> Content<'r> {
        self.set += self.read(text).len();
        Content::Value(text)
    }

    /// Counts elements for which there is room.
    #[inline]
    pub(super) fn count(&mut self, elements: usize) {
        self.elements += elements;
    }

    /// Where the next element comes to stand.
    #[inline]
    pub(super) fn len(&self) -> TargetId {
        TargetId(self.slots.len() as u32)
    }

    /// Takes a sealed element apart.
    #[inline]
    fn open(&mut self, id: TargetId) {
        if let Content::Sealed(sealed, holes) = self.slot(id).content {
            self.take_apart(id, sealed, holes as usize);
        }
    }

    /// Its elements were counted when it was sealed, and there is room for each: they stood together when the map was
    /// loaded.
    #[cold]
    fn take_apart(&mut self, id: TargetId, sealed: &'r Sealed, holes: usize) {
        self.slots[id.index()].content = Content::Nothing;
        let own = self.slot(id).origin;
        let mut ids = vec![id];
        for member in &sealed.members {
            let (parent, spec) = (ids[member.parent.unwrap_or(0)], member.spec());
            let (content, form, source) = match &member.filling {
                Filling::Constant(text) => (Content::Value(Text::Kept(text)), Form::Text, None),
                Filling::Ready(constant, form) => (Content::Value(Text::Constant(constant)), *form, None),
                Filling::Hole(hole) => {
                    let Hole { text, form, source } = self.holes[holes + hole];
                    (Content::Value(text), form, source)
                }
                _ => (Content::Nothing, Form::Text, None),
            };
            let gap = self.gap(parent, spec.order, member.at_start);
            let depth = self.slot(parent).depth + 1 + u16::from(spec.is_array);
            let origin = Origin { source: source.or(own.source), ..own };
            ids.push(self.place(parent, spec, (depth, gap), (content, form), origin));
        }
    }

    /// Places a detached element in `parent`.
    pub(super) fn attach(
        &mut self,
        parent: TargetId,
        spec: Spec<'r>,
        at_start: bool,
        child: TargetId,
    ) -> Result<(), Refused> {
        self.open(parent);
        let (depth, gap) = self.room(parent, &spec, at_start)?;
        if self.is_inside(parent, child) {
            return Err(Refused::Cycle);
        }
        self.link(parent, child, spec, depth, gap);
        Ok(())
    }

    /// Whether `parent` can take the element: at which level it would stand, and where.
    #[inline(always)]
    pub(super) fn room(&mut self, parent: TargetId, spec: &Spec<'r>, at_start: bool) -> Result<(u16, Gap), Refused> {
        self.open(parent);
        let gap = self.gap(parent, spec.order, at_start);
        if !spec.is_array && gap.lead != NONE {
            return Err(Refused::Occupied);
        }
        let depth = self.slot(parent).depth + 1 + u16::from(spec.is_array);
        if depth > self.deepest { Err(Refused::TooDeep) } else { Ok((depth, gap)) }
    }

    /// Where a child of this order goes: behind its list, with `at_start` before it. Looks at the end first, for rules
    /// mostly make elements in order; then steps from list to list, never from item to item.
    #[inline]
    fn gap(&self, parent: TargetId, order: u16, at_start: bool) -> Gap {
        let parent = self.slot(parent);
        if parent.last == NONE {
            return Gap { before: NONE, lead: NONE };
        }
        let end = &self.slots[parent.last as usize];
        if end.order < order {
            return Gap { before: parent.last, lead: NONE };
        }
        if end.order == order && !at_start {
            return Gap { before: parent.last, lead: end.other_end };
        }
        let (mut before, mut at) = (NONE, parent.first);
        while at != NONE && self.slots[at as usize].order < order {
            before = self.slots[at as usize].other_end;
            at = self.slots[before as usize].next;
        }
        if at == NONE || self.slots[at as usize].order != order {
            return Gap { before, lead: NONE };
        }
        Gap { before: if at_start { before } else { self.slots[at as usize].other_end }, lead: at }
    }

    /// Links a detached `child` into its gap.
    fn link(&mut self, parent: TargetId, child: TargetId, spec: Spec<'r>, depth: u16, gap: Gap) {
        let (next, other_end) = self.tie(parent, child.0, gap);
        let slot = &mut self.slots[child.0 as usize];
        (slot.name, slot.order, slot.is_array, slot.depth) = (spec.name, spec.order, spec.is_array, depth);
        (slot.parent, slot.next, slot.other_end) = (parent.0, next, other_end);
        if slot.filled {
            self.fill(parent);
        }
    }

    /// Lets parent and siblings know of `child`: the sibling behind it, and the other end of its list.
    #[inline]
    fn tie(&mut self, parent: TargetId, child: u32, gap: Gap) -> (u32, u32) {
        let next = match gap.before {
            NONE => std::mem::replace(&mut self.slots[parent.0 as usize].first, child),
            before => std::mem::replace(&mut self.slots[before as usize].next, child),
        };
        if next == NONE {
            self.slots[parent.0 as usize].last = child;
        }
        let other_end = match gap.lead {
            NONE => return (next, child),
            lead if lead == next => self.slots[lead as usize].other_end,
            lead => lead,
        };
        self.slots[other_end as usize].other_end = child;
        (next, other_end)
    }

    #[inline]
    fn slot(&self, id: TargetId) -> &Slot<'r> {
        &self.slots[id.0 as usize]
    }

    fn is_inside(&self, inner: TargetId, outer: TargetId) -> bool {
        if self.slot(outer).first == NONE {
            return inner == outer;
        }
        let mut at = inner.0;
        while at != NONE {
            if at == outer.0 {
                return true;
            }
            at = self.slots[at as usize].parent;
        }
        false
    }

    #[inline]
    fn fill(&mut self, id: TargetId) {
        let mut at = id.0;
        while at != NONE && !std::mem::replace(&mut self.slots[at as usize].filled, true) {
            at = self.slots[at as usize].parent;
        }
    }

    /// The child of this order that is already there.
    pub(super) fn existing(&mut self, parent: TargetId, order: u16) -> Option<TargetId> {
        self.open(parent);
        let lead = self.gap(parent, order, false).lead;
        (lead != NONE).then_some(TargetId(lead))
    }

    /// The children, in the order in which they are written.
    pub(super) fn children(&mut self, parent: TargetId) -> impl Iterator<Item = TargetId> + '_ {
        self.open(parent);
        self.linked(parent)
    }

    fn linked(&self, parent: TargetId) -> impl Iterator<Item = TargetId> + '_ {
        let mut at = self.slot(parent).first;
        std::iter::from_fn(move || {
            let id = (at != NONE).then_some(TargetId(at))?;
            at = self.slots[at as usize].next;
            Some(id)
        })
    }

    /// Gives a primitive its value. `false` if it has one.
    pub(super) fn set_value(&mut self, id: TargetId, text: Text<'r>, origin: Origin) -> bool {
        let length = self.read(text).len();
        let slot = &mut self.slots[id.0 as usize];
        if !matches!(slot.content, Content::Nothing) {
            return false;
        }
        self.set += length;
        slot.content = Content::Value(text);
        slot.form = Form::of(slot.ty);
        slot.origin = origin;
        self.fill(id);
        true
    }

    /// The type of an element.
    pub(super) fn ty(&self, id: TargetId) -> Type {
        self.slot(id).ty
    }

    /// The value of a primitive.
    pub(super) fn value(&self, id: TargetId) -> Option<Text<'r>> {
        match self.slot(id).content {
            // It may become the value of another element, under another key.
            Content::Value(Text::Constant(constant)) => Some(Text::Kept(constant.text())),
            Content::Value(text) => Some(text),
            Content::Nothing | Content::Sealed(..) => None,
        }
    }

    /// Whether it, or something in it, has a value.
    pub(super) fn is_filled(&self, id: TargetId) -> bool {
        self.slot(id).filled
    }

    /// At which level of JSON the element stands.
    pub(super) fn depth(&self, id: TargetId) -> u16 {
        self.slot(id).depth
    }

    /// Whether the element stands in another.
    pub(super) fn is_attached(&self, id: TargetId) -> bool {
        self.slot(id).parent != NONE
    }

    /// How the element stands in its parent.
    pub(super) fn spec(&self, id: TargetId) -> Spec<'r> {
        let Slot { name, order, is_array, ty, .. } = *self.slot(id);
        Spec { name, order, is_array, ty }
    }

    /// The children whose name passes, in the order in which they are written.
    pub(super) fn named<'s>(
        &'s mut self,
        parent: TargetId,
        mut is_name: impl FnMut(&Name) -> bool + 's,
    ) -> impl Iterator<Item = TargetId> + 's {
        self.open(parent);
        let mut at = self.slot(parent).first;
        let mut behind = at;
        std::iter::from_fn(move || {
            while at == behind && at != NONE {
                behind = self.behind(at);
                if !is_name(self.slots[at as usize].name) {
                    at = behind;
                }
            }
            let id = (at != NONE).then_some(TargetId(at))?;
            at = self.slots[at as usize].next;
            Some(id)
        })
    }

    /// Keeps a text that a rule has made.
    pub(super) fn make(&mut self, write: impl FnOnce(&mut String)) -> Text<'r> {
        let start = self.made.len() as u32;
        write(&mut self.made);
        self.made_since(start, false)
    }

    /// The text that is made since the buffer was so long, and whether it is known to need no escape.
    #[inline]
    pub(super) fn made_since(&self, start: u32, is_plain: bool) -> Text<'r> {
        Text::Made(start, self.made.len() as u32, is_plain)
    }

    /// Appends the text to the buffer of made texts, as a part of the text that is being made there.
    #[inline]
    pub(super) fn append(&mut self, text: Text<'r>) {
        match text {
            Text::Kept(kept) => self.made.push_str(kept),
            Text::Constant(constant) => self.made.push_str(constant.text()),
            Text::Made(start, end, _) => self.made.extend_from_within(start as usize..end as usize),
        }
    }

    /// Bytes of text, set and made.
    pub(super) fn bytes(&self) -> usize {
        self.set + self.made.len()
    }

    /// How many bytes of texts are made so far.
    pub(super) fn made_len(&self) -> u32 {
        self.made.len() as u32
    }

    /// The letters of a text.
    #[inline]
    pub(super) fn read<'s>(&'s self, text: Text<'r>) -> &'s str
    where
        'r: 's,
    {
        match text {
            Text::Kept(kept) => kept,
            Text::Constant(constant) => constant.text(),
            Text::Made(start, end, _) => &self.made[start as usize..end as usize],
        }
    }

    /// The tree under `root` as a document, and for each of its values, in document order, where it comes from.
    pub(super) fn write(&self, root: TargetId) -> Result<(Document, Vec<Origin>), Refused> {
        let is_whole = root.0 == 0;
        let nodes = if is_whole { self.elements + self.elements / 2 } else { 0 };
        let bytes = if is_whole { self.elements * 24 + self.set } else { 0 };
        let mut out = Output {
            builder: Builder::with_capacity(bytes, nodes),
            origins: Vec::with_capacity(nodes),
            left: self.deepest,
        };
        self.write_object(root, true, &mut out)?;
        let document = out.builder.finish().ok_or(Refused::TooLong)?;
        Ok((document, out.origins))
    }

    fn write_object(&self, id: TargetId, with_type: bool, out: &mut Output) -> Result<(), Refused> {
        out.left = out.left.checked_sub(1).ok_or(Refused::TooDeep)?;
        let slot = self.slot(id);
        if let Content::Sealed(sealed, holes) = slot.content {
            return self.write_sealed(slot.origin, sealed, holes as usize, out);
        }
        out.origins.push(slot.origin);
        let open = out.builder.begin_object();
        if let (true, true, Some(name)) = (with_type, slot.ty.is_resource(), slot.ty.fhir_name()) {
            out.builder.field(&made().resource_type, name);
            out.origins.push(slot.origin);
        }
        let mut at = slot.first;
        while at != NONE {
            let first = &self.slots[at as usize];
            let behind = self.slots[first.other_end as usize].next;
            match first.is_array {
                true => self.write_list_element(at, behind, out)?,
                false if first.filled => self.write_single(TargetId(at), out)?,
                false => {}
            }
            at = behind;
        }
        out.builder.end(open);
        out.left += 1;
        Ok(())
    }

    /// A sealed element, by its template.
    fn write_sealed(&self, origin: Origin, sealed: &Sealed, holes: usize, out: &mut Output) -> Result<(), Refused> {
        if out.left < sealed.levels {
            return Err(Refused::TooDeep);
        }
        let holes = &self.holes[holes..holes + sealed.holes.len()];
        let first = out.origins.len();
        out.origins.resize(first + sealed.template.len(), origin);
        for &(node, hole) in &sealed.sourced {
            let source = holes[hole].source.or(origin.source);
            out.origins[first + node].source = source;
        }
        let texts = holes.iter().map(|hole| (self.read(hole.text), hole.form == Form::Plain));
        out.builder.print(&sealed.template, texts);
        out.left += 1;
        Ok(())
    }

    /// The first sibling that is not of the same element as `first`, the first of its element.
    fn behind(&self, first: u32) -> u32 {
        self.slots[self.slots[first as usize].other_end as usize].next
    }

    fn occurrences(&self, first: u32, behind: u32) -> impl Iterator<Item = TargetId> + Clone + '_ {
        let mut at = first;
        std::iter::from_fn(move || {
            while at != behind {
                let id = at;
                at = self.slots[at as usize].next;
                if self.slots[id as usize].filled {
                    return Some(TargetId(id));
                }
            }
            None
        })
    }

    /// An element that may occur once.
    #[inline]
    fn write_single(&self, id: TargetId, out: &mut Output) -> Result<(), Refused> {
        let slot = self.slot(id);
        if !slot.ty.is_primitive() {
            out.builder.key(slot.name);
            return self.write_object(id, true, out);
        }
        match slot.content {
            Content::Value(Text::Constant(constant)) => {
                out.origins.push(slot.origin);
                out.builder.member(slot.name, constant);
            }
            Content::Value(_) => {
                out.builder.key(slot.name);
                self.write_value(id, out);
            }
            Content::Nothing | Content::Sealed(..) => {}
        }
        if self.has_children(id) {
            out.builder.companion_key(slot.name);
            self.write_object(id, false, out)?;
        }
        Ok(())
    }

    /// An element that may occur more than once: the items from `first` to before `behind`.
    fn write_list_element(&self, first: u32, behind: u32, out: &mut Output) -> Result<(), Refused> {
        let Some(lead) = self.occurrences(first, behind).next() else { return Ok(()) };
        let Slot { name, ty, .. } = *self.slot(lead);
        if !ty.is_primitive() {
            out.builder.key(name);
            return self.write_list(lead, out, |out| {
                self.occurrences(first, behind).try_for_each(|id| self.write_object(id, true, out))
            });
        }
        if self.occurrences(first, behind).any(|id| self.value(id).is_some()) {
            out.builder.key(name);
            self.write_list(lead, out, |out| {
                self.occurrences(first, behind).for_each(|id| self.write_value(id, out));
                Ok(())
            })?;
        }
        if self.occurrences(first, behind).any(|id| self.has_children(id)) {
            out.builder.companion_key(name);
            self.write_list(lead, out, |out| {
                self.occurrences(first, behind).try_for_each(|id| self.write_extension(id, out))
            })?;
        }
        Ok(())
    }

    fn write_list(
        &self,
        lead: TargetId,
        out: &mut Output,
        items: impl FnOnce(&mut Output) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        out.left = out.left.checked_sub(1).ok_or(Refused::TooDeep)?;
        out.origins.push(self.slot(lead).origin);
        let open = out.builder.begin_array();
        items(out)?;
        out.builder.end(open);
        out.left += 1;
        Ok(())
    }

    #[inline]
    fn write_value(&self, id: TargetId, out: &mut Output) {
        let slot = self.slot(id);
        out.origins.push(slot.origin);
        match (slot.content, slot.form) {
            (Content::Nothing | Content::Sealed(..), _) => out.builder.scalar("null"),
            (Content::Value(Text::Constant(constant)), _) => out.builder.constant(constant),
            (Content::Value(text), Form::Bare) => out.builder.scalar(self.read(text)),
            (Content::Value(text), Form::Plain) => out.builder.plain_string(self.read(text)),
            (Content::Value(text), Form::Text) => out.builder.string(self.read(text)),
        }
    }

    fn has_children(&self, id: TargetId) -> bool {
        self.linked(id).any(|child| self.slot(child).filled)
    }

    fn write_extension(&self, id: TargetId, out: &mut Output) -> Result<(), Refused> {
        if self.has_children(id) {
            return self.write_object(id, false, out);
        }
        out.origins.push(self.slot(id).origin);
        out.builder.scalar("null");
        Ok(())
    }
}

/// The document, its origins, and how many more levels it may open.
struct Output {
    builder: Builder,
    origins: Vec<Origin>,
    left: u16,
}

/// Whether JSON writes the type without quotes (FHIR R4 JSON, 2.6.2.2).
pub(super) fn is_bare(ty: Type) -> bool {
    made().bare.contains(&ty)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is added in whatever order, children stand sorted by order, and within an order as they were added.
        #[test]
        fn children_stand_in_order(added in prop::collection::vec((0_u16..6, any::<bool>()), 0..40)) {
            let origin = Origin { source: None, rule: 0 };
            let mut target = Target::new(1000, 100);
            let parent = target.detached(Type::Any, origin).expect("there is room");
            let names: Vec<Name> = (0..6).map(|order| Name::new(&format!("n{order}"))).collect();
            let mut lists: Vec<Vec<TargetId>> = vec![Vec::new(); 6];
            for (order, at_start) in added {
                let spec = Spec { name: &names[usize::from(order)], order, is_array: true, ty: Type::Any };
                let child = target.child(parent, spec, at_start, origin).expect("it is an array");
                let list = &mut lists[usize::from(order)];
                list.insert(if at_start { 0 } else { list.len() }, child);
                for (order, list) in lists.iter().enumerate() {
                    prop_assert_eq!(target.existing(parent, order as u16), list.first().copied());
                    let named: Vec<TargetId> = target.named(parent, |name| *name == names[order]).collect();
                    prop_assert_eq!(&named, list);
                }
                prop_assert_eq!(target.children(parent).collect::<Vec<_>>(), lists.concat());
            }
        }
    }
}
