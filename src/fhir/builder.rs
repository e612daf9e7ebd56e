//! A document built: the text and the tree over it, written in one pass.
//!
//! Enters: values in document order, as to a [`Writer`](super::Writer). Leaves: the [`Document`] that parsing the text
//! would give, node by node, without a parse. The caller opens and closes in pairs, gives every member of an object
//! one key, and each key once.

use smallvec::SmallVec;

use super::document::{Document, ESCAPED, Kind, NO_KEY, Node, NodeId, Slot};
use super::names::{Name, NameId};
use super::writer::escape_into;

/// Builds one document.
#[derive(Debug)]
pub struct Builder {
    text: String,
    slots: Vec<Slot>,
    /// The key of the next value, its name, and for an unknown name its tag.
    key: u32,
    name: NameId,
    tag: u8,
    /// Whether a value stands before the next one in the innermost open object or array.
    comma: bool,
}

/// A value that is known ahead, with its key, as an object has them behind another member: `,"code":"active"`.
#[derive(Debug)]
pub struct Constant {
    json: Box<str>,
    /// Where the value starts.
    start: usize,
    kind: Kind,
}

impl Constant {
    /// A string in which nothing needs an escape.
    pub fn plain(name: &Name, text: &str) -> Constant {
        debug_assert!(super::document::is_plain(text.as_bytes()), "the caller knows the text");
        Constant::new(name, &format!("\"{text}\""))
    }

    /// A number as its digits, `true`, `false` or `null`.
    pub fn bare(name: &Name, text: &str) -> Constant {
        Constant::new(name, text)
    }

    fn new(name: &Name, value: &str) -> Constant {
        let mut json = String::new();
        name.write_key(&mut json, true);
        let start = json.len();
        json.push_str(value);
        Constant { json: json.into(), start, kind: kind_of(value) }
    }

    /// The value: of a string what stands between the quotes.
    #[inline]
    pub fn text(&self) -> &str {
        let quote = usize::from(self.kind == Kind::String);
        &self.json[self.start + quote..self.json.len() - quote]
    }
}

/// JSON written ahead, with holes for strings that come later.
#[derive(Debug)]
pub struct Template {
    text: Box<str>,
    nodes: Box<[Planned]>,
    holes: Box<[Hole]>,
}

/// A node of a template: places count from the start of its text, ids from its first node.
#[derive(Debug)]
struct Planned {
    slot: Slot,
    /// How many holes end before it starts, and before it ends: what is put there moves it.
    holes: (u16, u16),
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    at: u32,
    node: u32,
}

impl Template {
    /// Of a document in which each of `holes`, given in document order, is an empty string.
    pub fn new(document: &Document, holes: &[NodeId]) -> Template {
        let ends: Vec<u32> = holes.iter().map(|hole| document.slots[hole.index()].end).collect();
        let before = |at: u32| ends.iter().filter(|end| **end <= at).count() as u16;
        let nodes = document.slots.iter().map(|slot| {
            let holes = (before(slot.start), before(slot.end));
            let key = if slot.key == NO_KEY { NO_KEY } else { slot.key - 2 * u32::from(holes.0) };
            let (start, end) = (slot.start - 2 * u32::from(holes.0), slot.end - 2 * u32::from(holes.1));
            Planned { slot: Slot { start, end, key, ..*slot }, holes }
        });
        let nodes: Box<[Planned]> = nodes.collect();
        let mut text = String::with_capacity(document.source.len());
        let mut copied = 0;
        for end in ends {
            text.push_str(&document.source[copied..end as usize - 2]);
            copied = end as usize;
        }
        text.push_str(&document.source[copied..]);
        let holes = holes.iter().map(|hole| Hole { at: nodes[hole.index()].slot.start, node: hole.0 });
        Template { text: text.into(), holes: holes.collect(), nodes }
    }

    /// How many nodes it has.
    #[allow(clippy::len_without_is_empty, reason = "a document always has a root")]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// Appends a string in which nothing needs an escape.
#[inline]
fn quote_into(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// The kind of a scalar, by its first byte.
fn kind_of(json: &str) -> Kind {
    match json.as_bytes().first() {
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

impl Builder {
    /// An empty document with room for `bytes` of text and `nodes` values.
    pub fn with_capacity(bytes: usize, nodes: usize) -> Builder {
        Builder {
            text: String::with_capacity(bytes),
            slots: Vec::with_capacity(nodes),
            key: NO_KEY,
            name: NameId::UNKNOWN,
            tag: 0,
            comma: false,
        }
    }

    /// The key of the next value.
    #[inline]
    pub fn key(&mut self, name: &Name) {
        let key = self.text.len() + usize::from(self.comma);
        (self.key, self.name, self.tag) = (key as u32, name.id(), name.tag());
        name.write_key(&mut self.text, self.comma);
        self.comma = false;
    }

    /// The key `_name` of the next value: what a primitive has besides its value.
    pub fn companion_key(&mut self, name: &Name) {
        self.separate();
        self.key = self.text.len() as u32;
        (self.name, self.tag) = name.companion();
        escape_into(&mut self.text, &format!("_{}", name.text()));
        self.text.push(':');
        self.comma = false;
    }

    /// Opens an object; [`Builder::end`] closes it.
    #[inline]
    pub fn begin_object(&mut self) -> NodeId {
        self.begin(Kind::Object, '{')
    }

    /// Opens an array; [`Builder::end`] closes it.
    #[inline]
    pub fn begin_array(&mut self) -> NodeId {
        self.begin(Kind::Array, '[')
    }

    /// Closes `open`, the innermost open object or array.
    #[inline]
    pub fn end(&mut self, open: NodeId) {
        let after = self.slots.len() as u32;
        let slot = &mut self.slots[open.index()];
        self.text.push(if slot.kind == Kind::Object { '}' } else { ']' });
        slot.end = self.text.len() as u32;
        slot.after = after;
        self.comma = true;
    }

    /// A string value, escaped.
    #[inline]
    pub fn string(&mut self, text: &str) {
        let id = self.push(Kind::String);
        if escape_into(&mut self.text, text) {
            self.slots[id.index()].marks |= ESCAPED;
        }
        self.complete(id);
    }

    /// A string value in which nothing needs an escape.
    #[inline]
    pub fn plain_string(&mut self, text: &str) {
        debug_assert!(super::document::is_plain(text.as_bytes()), "the caller knows the text");
        let id = self.push(Kind::String);
        quote_into(&mut self.text, text);
        self.complete(id);
    }

    /// A string, number or boolean as it stands in another document.
    #[inline]
    pub fn copy(&mut self, leaf: Node<'_>) -> NodeId {
        let id = self.push(leaf.kind());
        self.slots[id.index()].marks |= leaf.escaped_mark();
        self.text.push_str(leaf.raw());
        self.complete(id);
        id
    }

    /// The id that the next value will have.
    pub fn next_id(&self) -> NodeId {
        NodeId(self.slots.len() as u32)
    }

    /// The names of the nodes from `first` on.
    pub fn names_from(&self, first: NodeId) -> impl Iterator<Item = NameId> {
        self.slots.iter().skip(first.index()).map(|slot| slot.name)
    }

    /// A value of a document that was built, as it is with all that it holds. Gives the id of the copy: the nodes below
    /// it follow in their order.
    pub fn copy_whole(&mut self, value: Node<'_>) -> NodeId {
        debug_assert!(value.document().is_built(), "the text of a parsed document may hold more than its values");
        let id = self.push(value.kind());
        let text = self.text.len() as u32;
        self.text.push_str(value.raw());
        let (first, end) = (value.id().index(), value.end_index());
        let slots = &value.document().slots[first..end];
        let moved = |at: u32| at - slots[0].start + text;
        let root = &mut self.slots[id.index()];
        root.marks |= slots[0].marks & ESCAPED;
        root.after = id.0 + (end - first) as u32;
        self.slots.extend(slots[1..].iter().map(|slot| Slot {
            start: moved(slot.start),
            end: moved(slot.end),
            after: slot.after - first as u32 + id.0,
            key: if slot.key == NO_KEY { NO_KEY } else { moved(slot.key) },
            ..*slot
        }));
        self.complete(id);
        id
    }

    /// The ids of the strings, numbers and booleans among the nodes from `first` on.
    pub fn leaves_from(&self, first: NodeId) -> impl Iterator<Item = NodeId> {
        let leaves = self.slots.iter().enumerate().skip(first.index());
        let leaves = leaves.filter(|(_, slot)| matches!(slot.kind, Kind::String | Kind::Number | Kind::Boolean));
        leaves.map(|(index, _)| NodeId(index as u32))
    }

    /// A number as its digits, `true`, `false` or `null`.
    #[inline]
    pub fn scalar(&mut self, json: &str) {
        let id = self.push(kind_of(json));
        self.text.push_str(json);
        self.complete(id);
    }

    /// A member whose value is known ahead, `name` being that of the constant.
    #[inline]
    pub fn member(&mut self, name: &Name, constant: &Constant) {
        let json = if self.comma { &*constant.json } else { &constant.json[1..] };
        let key = self.text.len();
        self.text.push_str(json);
        let (end, after) = (self.text.len(), self.slots.len() as u32 + 1);
        let start = (end - constant.json.len() + constant.start) as u32;
        let (key, end) = ((key + usize::from(self.comma)) as u32, end as u32);
        self.slots.push(Slot { start, end, after, key, name: name.id(), kind: constant.kind, marks: name.tag() });
        self.comma = true;
    }

    /// The value of a constant, without its key.
    #[inline]
    pub fn constant(&mut self, constant: &Constant) {
        let id = self.push(constant.kind);
        self.text.push_str(&constant.json[constant.start..]);
        self.complete(id);
    }

    /// A value that a template says, each hole filled with the next of `texts`: a string, and whether nothing in it
    /// needs an escape.
    pub fn print<'t>(&mut self, template: &Template, mut texts: impl Iterator<Item = (&'t str, bool)>) {
        self.separate();
        let first = self.slots.len() as u32;
        let (key, name, marks) = (self.key, self.name, self.tag);
        // Where the text of the template comes to lie, at its start and behind each hole.
        let mut shifts: SmallVec<[u32; 8]> = SmallVec::new();
        let mut escaped: SmallVec<[u32; 8]> = SmallVec::new();
        shifts.push(self.text.len() as u32);
        let mut copied = 0;
        for hole in &template.holes {
            self.text.push_str(&template.text[copied..hole.at as usize]);
            copied = hole.at as usize;
            let (text, is_plain) = texts.next().unwrap_or(("", true));
            if is_plain {
                quote_into(&mut self.text, text);
            } else if escape_into(&mut self.text, text) {
                escaped.push(hole.node);
            }
            shifts.push(self.text.len() as u32 - hole.at);
        }
        self.text.push_str(&template.text[copied..]);
        self.slots.extend(template.nodes.iter().map(|Planned { slot, holes }| {
            let (start, end) = (shifts[usize::from(holes.0)], shifts[usize::from(holes.1)]);
            let key = if slot.key == NO_KEY { NO_KEY } else { slot.key + start };
            Slot { start: slot.start + start, end: slot.end + end, after: slot.after + first, key, ..*slot }
        }));
        for node in escaped {
            self.slots[(first + node) as usize].marks |= ESCAPED;
        }
        let root = &mut self.slots[first as usize];
        (root.key, root.name) = (key, name);
        root.marks |= marks;
        (self.key, self.name, self.tag) = (NO_KEY, NameId::UNKNOWN, 0);
        self.comma = true;
    }

    /// A key with a string value.
    pub fn field(&mut self, name: &Name, text: &str) {
        self.key(name);
        self.string(text);
    }

    /// The document; `None` if its text is too long for one, at 4 GiB.
    pub fn finish(self) -> Option<Document> {
        if self.text.len() >= NO_KEY as usize {
            return None;
        }
        let document = Document { source: self.text.into_boxed_str(), slots: self.slots, is_built: true };
        debug_assert!(document.is_as_parsed(), "a built document is the one that its text parses to");
        Some(document)
    }

    fn begin(&mut self, kind: Kind, bracket: char) -> NodeId {
        let id = self.push(kind);
        self.text.push(bracket);
        self.comma = false;
        id
    }

    /// A node that starts here, under the key that was given for it.
    #[inline]
    fn push(&mut self, kind: Kind) -> NodeId {
        self.separate();
        let id = self.slots.len() as u32;
        let start = self.text.len() as u32;
        let (key, name, marks) = (self.key, self.name, self.tag);
        self.slots.push(Slot { start, end: start, after: id + 1, key, name, kind, marks });
        (self.key, self.name, self.tag) = (NO_KEY, NameId::UNKNOWN, 0);
        NodeId(id)
    }

    #[inline]
    fn complete(&mut self, id: NodeId) {
        self.slots[id.index()].end = self.text.len() as u32;
        self.comma = true;
    }

    #[inline]
    fn separate(&mut self) {
        if self.comma {
            self.text.push(',');
            self.comma = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fhir::Limits;

    fn copy(node: Node<'_>, out: &mut Builder) {
        match node.kind() {
            Kind::Object => {
                let open = out.begin_object();
                for member in node.children() {
                    let key = member.name().expect("a member has a name");
                    match key.strip_prefix('_') {
                        Some(rest) => out.companion_key(&Name::new(rest)),
                        None => out.key(&Name::new(&key)),
                    }
                    copy(member, out);
                }
                out.end(open);
            }
            Kind::Array => {
                let open = out.begin_array();
                node.children().for_each(|item| copy(item, out));
                out.end(open);
            }
            Kind::String => out.string(&node.text().expect("a string has a text")),
            Kind::Number | Kind::Boolean | Kind::Null => out.scalar(node.raw()),
        }
    }

    fn rebuilt(document: &Document) -> Document {
        let mut out = Builder::with_capacity(0, 0);
        copy(document.root(), &mut out);
        out.finish().expect("it is short")
    }

    #[test]
    fn what_is_built_is_what_is_parsed() {
        for text in [
            "1",
            "[]",
            r#"{"resourceType":"Patient","active":true,"x":{},"y":[null,[-1.50e3,{}],"é\n\u0001\"\\"]}"#,
            r#"{"_birthDate":{"extension":[{"url":"a"}]},"birthDate":"1970","_x":1,"a\"b":{"_a\\":[]}}"#,
        ] {
            let document = Document::parse(text, &Limits::default()).expect("it is JSON");
            let built = rebuilt(&document);
            assert_eq!((built.source(), &built.slots), (document.source(), &document.slots));
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        let name = prop_oneof![Just("id".to_owned()), Just("_given".to_owned()), "_?[a-z\"\\\\]{0,3}"];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::hash_map(name.clone(), inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_tree_is_built_as_its_text_is_parsed(value in json()) {
            let document = Document::parse(value.to_string(), &Limits::default()).expect("serde_json writes JSON");
            let built = rebuilt(&document);
            let parsed = Document::parse(built.source(), &Limits::default()).expect("it is JSON");
            prop_assert_eq!(&built.slots, &parsed.slots);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(built.source()).expect("it is JSON"), value);
        }
    }
}
