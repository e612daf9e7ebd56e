//! What the rules build: a tree of elements in an arena, written as JSON at the end.
//!
//! Children keep the order of their type's elements, whatever order the rules made them in, so that the output is
//! stable. Texts are spans of the record or of the plan, or of one buffer of made texts: nothing is allocated for an
//! element but its slot. Elements without a value and without children are not written: FHIR has no empty objects.

use crate::fhir::{NodeId, Writer};

use super::types::Type;

/// The place of an element in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetId(u32);

impl TargetId {
    /// Its number in the arena.
    pub(super) fn index(self) -> usize {
        self.0 as usize
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
    /// A span of the buffer of made texts.
    Made(u32, u32),
}

/// The name and place of an element in its parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec<'r> {
    pub(super) name: &'r str,
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
}

#[derive(Clone, Debug)]
struct Slot<'r> {
    name: &'r str,
    order: u16,
    is_array: bool,
    /// Whether it, or something in it, has a value.
    filled: bool,
    depth: u16,
    ty: Type,
    value: Option<Text<'r>>,
    parent: u32,
    first: u32,
    last: u32,
    next: u32,
    origin: Origin,
}

/// The arena.
#[derive(Debug)]
pub(super) struct Target<'r> {
    slots: Vec<Slot<'r>>,
    made: String,
    /// Bytes of the values set so far.
    set: usize,
    most: usize,
    deepest: u16,
}

impl<'r> Target<'r> {
    /// An empty arena for at most `most` elements and `deepest` levels of JSON.
    pub(super) fn new(most: usize, deepest: u16) -> Target<'r> {
        Target { slots: Vec::with_capacity(512), made: String::with_capacity(4096), set: 0, most, deepest }
    }

    /// An element that stands nowhere yet.
    pub(super) fn detached(&mut self, ty: Type, origin: Origin) -> Result<TargetId, Refused> {
        if self.slots.len() >= self.most {
            return Err(Refused::TooMany);
        }
        let id = self.slots.len() as u32;
        self.slots.push(Slot {
            name: "",
            order: 0,
            is_array: false,
            filled: ty.is_resource(),
            depth: 1,
            ty,
            value: None,
            parent: NONE,
            first: NONE,
            last: NONE,
            next: NONE,
            origin,
        });
        Ok(TargetId(id))
    }

    /// A new element in `parent`, at the end of its list or at the start.
    pub(super) fn child(
        &mut self,
        parent: TargetId,
        spec: Spec<'r>,
        at_start: bool,
        origin: Origin,
    ) -> Result<TargetId, Refused> {
        let child = self.detached(spec.ty, origin)?;
        self.attach(parent, spec, at_start, child)?;
        Ok(child)
    }

    /// Places a detached element in `parent`.
    pub(super) fn attach(
        &mut self,
        parent: TargetId,
        spec: Spec<'r>,
        at_start: bool,
        child: TargetId,
    ) -> Result<(), Refused> {
        if !spec.is_array && self.existing(parent, spec.order).is_some() {
            return Err(Refused::Occupied);
        }
        if self.is_inside(parent, child) {
            return Err(Refused::Cycle);
        }
        let depth = self.slot(parent).depth + 1 + u16::from(spec.is_array);
        if depth > self.deepest {
            return Err(Refused::TooDeep);
        }
        let slot = &mut self.slots[child.0 as usize];
        (slot.name, slot.order, slot.is_array, slot.depth) = (spec.name, spec.order, spec.is_array, depth);
        slot.parent = parent.0;
        let filled = slot.filled;
        self.link(parent, child, at_start);
        if filled {
            self.fill(parent);
        }
        Ok(())
    }

    /// Links `child` behind the last sibling of its order or a lower one; with `at_start` before those of its order.
    fn link(&mut self, parent: TargetId, child: TargetId, at_start: bool) {
        let order = self.slot(child).order;
        let stays_before = |other: u16| if at_start { other < order } else { other <= order };
        let Slot { first, last, .. } = *self.slot(parent);
        let before = if last != NONE && stays_before(self.slots[last as usize].order) {
            last
        } else {
            let mut before = NONE;
            let mut at = first;
            while at != NONE && stays_before(self.slots[at as usize].order) {
                before = at;
                at = self.slots[at as usize].next;
            }
            before
        };
        let next = if before == NONE { first } else { self.slots[before as usize].next };
        self.slots[child.0 as usize].next = next;
        match before {
            NONE => self.slots[parent.0 as usize].first = child.0,
            before => self.slots[before as usize].next = child.0,
        }
        if next == NONE {
            self.slots[parent.0 as usize].last = child.0;
        }
    }

    fn slot(&self, id: TargetId) -> &Slot<'r> {
        &self.slots[id.0 as usize]
    }

    fn is_inside(&self, inner: TargetId, outer: TargetId) -> bool {
        let mut at = inner.0;
        while at != NONE {
            if at == outer.0 {
                return true;
            }
            at = self.slots[at as usize].parent;
        }
        false
    }

    fn fill(&mut self, id: TargetId) {
        let mut at = id.0;
        while at != NONE && !std::mem::replace(&mut self.slots[at as usize].filled, true) {
            at = self.slots[at as usize].parent;
        }
    }

    /// The child of this order that is already there.
    pub(super) fn existing(&self, parent: TargetId, order: u16) -> Option<TargetId> {
        self.children(parent).find(|child| self.slot(*child).order == order)
    }

    /// The children, in the order in which they are written.
    pub(super) fn children(&self, parent: TargetId) -> impl Iterator<Item = TargetId> + '_ {
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
        if slot.value.is_some() {
            return false;
        }
        self.set += length;
        slot.value = Some(text);
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
        self.slot(id).value
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

    /// The child called `name`.
    pub(super) fn named(&self, parent: TargetId, name: &str) -> Option<TargetId> {
        self.children(parent).find(|child| self.slot(*child).name == name)
    }

    /// Keeps a text that a rule has made.
    pub(super) fn make(&mut self, write: impl FnOnce(&mut String)) -> Text<'r> {
        let start = self.made.len() as u32;
        write(&mut self.made);
        Text::Made(start, self.made.len() as u32)
    }

    /// Appends the text to the buffer of made texts, as a part of the text that is being made there.
    pub(super) fn append(&mut self, text: Text<'r>) {
        match text {
            Text::Kept(kept) => self.made.push_str(kept),
            Text::Made(start, end) => self.made.extend_from_within(start as usize..end as usize),
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
    pub(super) fn read<'s>(&'s self, text: Text<'r>) -> &'s str
    where
        'r: 's,
    {
        match text {
            Text::Kept(kept) => kept,
            Text::Made(start, end) => &self.made[start as usize..end as usize],
        }
    }

    /// The tree under `root` as JSON, and for each of its values, in document order, where it comes from.
    pub(super) fn write(&self, root: TargetId) -> Result<(String, Vec<Origin>), Refused> {
        let mut out = Output {
            writer: Writer::with_capacity(self.slots.len() * 48),
            origins: Vec::with_capacity(self.slots.len() * 2),
            left: self.deepest,
        };
        self.write_object(root, true, &mut out)?;
        Ok((out.writer.finish(), out.origins))
    }

    fn write_object(&self, id: TargetId, with_type: bool, out: &mut Output) -> Result<(), Refused> {
        out.left = out.left.checked_sub(1).ok_or(Refused::TooDeep)?;
        let slot = self.slot(id);
        out.origins.push(slot.origin);
        out.writer.begin_object();
        if let (true, true, Some(name)) = (with_type, slot.ty.is_resource(), slot.ty.fhir_name()) {
            out.writer.field("resourceType", name);
            out.origins.push(slot.origin);
        }
        let mut at = slot.first;
        while at != NONE {
            let behind = self.behind(at);
            self.write_element(at, behind, out)?;
            at = behind;
        }
        out.writer.end_object();
        out.left += 1;
        Ok(())
    }

    /// The first sibling that is not of the same element.
    fn behind(&self, first: u32) -> u32 {
        let order = self.slots[first as usize].order;
        let mut at = first;
        while at != NONE && self.slots[at as usize].order == order {
            at = self.slots[at as usize].next;
        }
        at
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

    fn write_element(&self, first: u32, behind: u32, out: &mut Output) -> Result<(), Refused> {
        let Some(lead) = self.occurrences(first, behind).next() else { return Ok(()) };
        let Slot { name, is_array, ty, .. } = *self.slot(lead);
        if !ty.is_primitive() {
            out.writer.key(name);
            return self.write_list(lead, is_array, out, |out| {
                self.occurrences(first, behind).try_for_each(|id| self.write_object(id, true, out))
            });
        }
        if self.occurrences(first, behind).any(|id| self.slot(id).value.is_some()) {
            out.writer.key(name);
            self.write_list(lead, is_array, out, |out| {
                self.occurrences(first, behind).for_each(|id| self.write_value(id, out));
                Ok(())
            })?;
        }
        if self.occurrences(first, behind).any(|id| self.has_children(id)) {
            out.writer.companion_key(name);
            self.write_list(lead, is_array, out, |out| {
                self.occurrences(first, behind).try_for_each(|id| self.write_extension(id, out))
            })?;
        }
        Ok(())
    }

    fn write_list(
        &self,
        lead: TargetId,
        is_array: bool,
        out: &mut Output,
        items: impl FnOnce(&mut Output) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        if !is_array {
            return items(out);
        }
        out.left = out.left.checked_sub(1).ok_or(Refused::TooDeep)?;
        out.origins.push(self.slot(lead).origin);
        out.writer.begin_array();
        items(out)?;
        out.writer.end_array();
        out.left += 1;
        Ok(())
    }

    fn write_value(&self, id: TargetId, out: &mut Output) {
        let slot = self.slot(id);
        out.origins.push(slot.origin);
        match slot.value.map(|text| self.read(text)) {
            None => out.writer.raw("null"),
            Some(text) if is_bare(slot.ty) => out.writer.raw(text),
            Some(text) => out.writer.string(text),
        }
    }

    fn has_children(&self, id: TargetId) -> bool {
        self.children(id).any(|child| self.slot(child).filled)
    }

    fn write_extension(&self, id: TargetId, out: &mut Output) -> Result<(), Refused> {
        if self.has_children(id) {
            return self.write_object(id, false, out);
        }
        out.origins.push(self.slot(id).origin);
        out.writer.raw("null");
        Ok(())
    }
}

/// The text, its origins, and how many more levels it may open.
struct Output {
    writer: Writer,
    origins: Vec<Origin>,
    left: u16,
}

/// Whether JSON writes the type without quotes (FHIR R4 JSON, 2.6.2.2).
pub(super) fn is_bare(ty: Type) -> bool {
    matches!(ty.fhir_name(), Some("boolean" | "integer" | "decimal" | "unsignedInt" | "positiveInt"))
}
