//! The lossless document tree: FHIR JSON parsed once into spans over its own bytes.
//!
//! Enters: bytes. Leaves: a [`Document`], a flat list of nodes in document order, each the byte span of a value with
//! its interned name. Decimals keep their digits, strings their escapes; an untouched tree serialises to the bytes
//! it came from, because it still holds them. Grammar: RFC 8259; duplicate keys are refused with their place, for a
//! receiver that keeps the other one would read another message (RFC 8259 section 4, FHIR R4 JSON 2.6.2).
//!
//! Limits: 4 GiB of input, [`Limits::depth`] levels, [`Limits::nodes`] values.

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

use super::expression;
use super::keys::keys;
use super::names::{Name, NameId};
use super::path::ElementPath;

/// What a document may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Levels of objects and arrays. Range 1 to 500, default 100.
    pub depth: u16,
    /// Values of any kind. Default 4,000,000 (80 MB of tree).
    pub nodes: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { depth: 100, nodes: 4_000_000 }
    }
}

/// What kind of JSON value a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number, its digits as written.
    Number,
    /// `true` or `false`
    Boolean,
    /// `null`
    Null,
}

/// The place of a node in its document: an index in document order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    /// The id at `index` in document order.
    pub(crate) fn at(index: usize) -> NodeId {
        NodeId(index as u32)
    }

    /// The index in document order; the root is 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Line and column, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why bytes are not a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at {position}{}", in_path(path))]
pub struct ParseError {
    /// What is wrong, without any value from the input.
    pub what: Fault,
    /// Where.
    pub position: Position,
    /// The innermost element that was open there; empty at the root.
    pub path: ElementPath,
}

fn in_path(path: &ElementPath) -> String {
    if path.as_str().is_empty() { String::new() } else { format!(" (in {path})") }
}

/// The kinds of [`ParseError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says it")]
pub enum Fault {
    #[error("the document is empty")]
    Empty,
    #[error("the input is not UTF-8")]
    NotUtf8,
    #[error("the input starts with a byte order mark")]
    ByteOrderMark,
    #[error("a value was expected")]
    NoValue,
    #[error("a key in double quotes was expected")]
    NoKey,
    #[error("a colon was expected after the key")]
    NoColon,
    #[error("a comma or the closing bracket was expected")]
    NoComma,
    #[error("more text follows the end of the document")]
    Trailing,
    #[error("the input ends inside a value")]
    Truncated,
    #[error("a control character stands in a string; write it as \\u00XX")]
    ControlCharacter,
    #[error("a string has an unknown or incomplete escape")]
    BadEscape,
    #[error("a number is not written as JSON numbers are (no leading zero, plus sign or bare point)")]
    BadNumber,
    #[error("a key stands twice in the same object; remove one of the two")]
    DuplicateKey,
    #[error("the document nests too deeply")]
    TooDeep,
    #[error("the document has too many values")]
    TooLarge,
}

impl ParseError {
    /// What the sender can do about it.
    pub fn hint(&self) -> &'static str {
        match self.what {
            Fault::TooDeep | Fault::TooLarge => "split the record, or ask the operator which limits are set",
            Fault::DuplicateKey => "write each key once; a repeating element is an array",
            Fault::NotUtf8 => "encode the document as UTF-8",
            Fault::ByteOrderMark => "save it as UTF-8 without a byte order mark (BOM)",
            _ => "check that the document is complete JSON (RFC 8259)",
        }
    }
}

/// A node, as the parser and the [`Builder`](super::Builder) make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// First byte of the value.
    pub(super) start: u32,
    /// One past its last byte.
    pub(super) end: u32,
    /// Index of the first node after this subtree.
    pub(super) after: u32,
    /// Offset of the key's opening quote, [`NO_KEY`] for the root and for array items.
    pub(super) key: u32,
    pub(super) name: NameId,
    pub(super) kind: Kind,
    /// [`ESCAPED`], and the tag of a key whose name is not known.
    pub(super) marks: u8,
}

/// The mark of a string with at least one escape.
pub(super) const ESCAPED: u8 = 0x80;

pub(super) const NO_KEY: u32 = u32::MAX;

/// So many known names of an object are compared with each other.
const FEW: usize = 8;

/// A parsed JSON document: its bytes, and a tree of spans over them.
#[derive(Clone)]
pub struct Document {
    pub(super) source: Box<str>,
    pub(super) slots: Vec<Slot>,
    /// Whether a [`Builder`](super::Builder) wrote the text: nothing stands in it but its values, and the keys that R4
    /// knows stand there as R4 writes them.
    pub(super) is_built: bool,
}

impl fmt::Debug for Document {
    /// Never the content: a document may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} bytes, {} nodes)", self.source.len(), self.slots.len())
    }
}

impl Document {
    /// Parses one JSON value with nothing but white space around it.
    ///
    /// # Errors
    /// [`ParseError`] with line, column and the innermost open element.
    pub fn parse(bytes: impl Into<Vec<u8>>, limits: &Limits) -> Result<Document, ParseError> {
        let source = match String::from_utf8(bytes.into()) {
            Ok(source) => source.into_boxed_str(),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                return Err(ParseError {
                    what: Fault::NotUtf8,
                    position: position_in(&text, valid),
                    path: ElementPath::root(),
                });
            }
        };
        let mut parser = Parser {
            bytes: source.as_bytes(),
            text: &source,
            at: 0,
            slots: Vec::with_capacity(source.len() / 24 + 8),
            seen: Vec::new(),
            objects: 0,
            limits: *limits,
        };
        match parser.document() {
            Ok(()) => {
                let slots = parser.slots;
                Ok(Document { source, slots, is_built: false })
            }
            Err(what) => {
                let at = parser.at.min(source.len());
                let open: Vec<Slot> = parser.slots;
                Err(ParseError { what, position: position_in(&source, at), path: path_of_open(&source, &open) })
            }
        }
    }

    /// Whether parsing the text gives this tree, node by node.
    pub(super) fn is_as_parsed(&self) -> bool {
        let limits = Limits { depth: u16::MAX, nodes: u32::MAX };
        Document::parse(self.source.as_bytes(), &limits).is_ok_and(|parsed| parsed.slots == self.slots)
    }

    /// Whether its text was built, and holds nothing but its values.
    pub fn is_built(&self) -> bool {
        self.is_built
    }

    /// The bytes that were parsed, unchanged.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The outermost value.
    pub fn root(&self) -> Node<'_> {
        Node { document: self, id: NodeId(0) }
    }

    /// How many nodes the tree has; ids run from 0 to one less.
    #[allow(clippy::len_without_is_empty, reason = "a document always has a root")]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The node with this id, if it is one of this document.
    pub fn node(&self, id: NodeId) -> Option<Node<'_>> {
        (id.index() < self.slots.len()).then_some(Node { document: self, id })
    }

    /// All nodes in document order.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.slots.len()).map(|index| Node { document: self, id: NodeId(index as u32) })
    }

    /// Shows every node with its path, in document order. One pass, where [`Node::path`] starts at the root each time.
    pub fn visit_paths<'a>(&'a self, mut visit: impl FnMut(Node<'a>, &ElementPath)) {
        struct Open {
            after: u32,
            mark: usize,
            children: usize,
        }
        let mut path = ElementPath::root();
        path.push_name(self.resource_type().unwrap_or_default());
        let mut open: Vec<Open> = Vec::new();
        for node in self.nodes() {
            while open.pop_if(|parent| node.id.0 >= parent.after).is_some() {}
            if let Some(parent) = open.last_mut() {
                path.cut(parent.mark);
                match node.name() {
                    Some(name) => path.push_name(element_name(&name)),
                    None => path.push_index(parent.children),
                }
                parent.children += 1;
            }
            visit(node, &path);
            if node.is_object() || node.is_array() {
                open.push(Open { after: node.slot().after, mark: path.mark(), children: 0 });
            }
        }
    }

    /// Line and column of a byte offset.
    pub fn position(&self, offset: usize) -> Position {
        position_in(&self.source, offset)
    }

    /// Line and column of many byte offsets, in one pass over the text.
    pub fn positions(&self, offsets: &[usize]) -> Vec<Position> {
        let mut order: Vec<usize> = (0..offsets.len()).collect();
        order.sort_unstable_by_key(|&index| offsets[index]);
        let mut positions = vec![Position { line: 1, column: 1 }; offsets.len()];
        let (mut at, mut last) = (0, Position { line: 1, column: 1 });
        for index in order {
            let end = self.source.floor_char_boundary(offsets[index]);
            let step = position_in(&self.source[at..end], end - at);
            let column = if step.line > 1 { step.column } else { last.column + step.column - 1 };
            last = Position { line: last.line + step.line - 1, column };
            at = end;
            positions[index] = last;
        }
        positions
    }

    /// The value of `resourceType` at the root.
    pub fn resource_type(&self) -> Option<&str> {
        self.root().resource_type()
    }
}

pub(super) fn position_in(text: &str, offset: usize) -> Position {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    // Most documents have one line.
    let Some(newline) = has_byte(before, b'\n').then(|| before.rfind('\n')).flatten() else {
        let characters = if before.is_ascii() { before.len() } else { before.chars().count() };
        return Position { line: 1, column: characters + 1 };
    };
    Position {
        line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
        column: before[newline + 1..].chars().count() + 1,
    }
}

/// A value of a document.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    document: &'a Document,
    id: NodeId,
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({}, {:?})", self.id.0, self.kind())
    }
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Node<'_>) -> bool {
        std::ptr::eq(self.document, other.document) && self.id == other.id
    }
}

impl<'a> Node<'a> {
    #[inline]
    fn slot(self) -> &'a Slot {
        &self.document.slots[self.id.index()]
    }

    /// The document this node belongs to.
    pub fn document(self) -> &'a Document {
        self.document
    }

    /// Its place in document order.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// The id of the first node behind this one's subtree, as an index.
    pub fn end_index(self) -> usize {
        self.slot().after as usize
    }

    /// The kind of value.
    #[inline]
    pub fn kind(self) -> Kind {
        self.slot().kind
    }

    /// Whether it is an object.
    #[inline]
    pub fn is_object(self) -> bool {
        self.kind() == Kind::Object
    }

    /// Whether it is an array.
    #[inline]
    pub fn is_array(self) -> bool {
        self.kind() == Kind::Array
    }

    /// The interned name of an object's member; [`NameId::UNKNOWN`] for the root, array items, names outside R4.
    #[inline]
    pub fn name_id(self) -> NameId {
        self.slot().name
    }

    /// The key of an object's member, unescaped; `None` for the root and for array items.
    pub fn name(self) -> Option<Cow<'a, str>> {
        let slot = self.slot();
        if slot.key == NO_KEY {
            return None;
        }
        Some(key_text(&self.document.source, slot.key))
    }

    /// Whether this member has `name`.
    #[inline]
    pub fn is_named(self, name: &Name) -> bool {
        let slot = self.slot();
        slot.name == name.id()
            && (slot.name != NameId::UNKNOWN || (slot.marks & !ESCAPED == name.tag() && self.is_spelled(name.text())))
    }

    /// Whether the key is `text`: mostly it stands there letter for letter.
    fn is_spelled(self, text: &str) -> bool {
        let key = self.slot().key;
        let Some(written) = self.document.source.as_bytes().get(key as usize + 1..) else { return false };
        let is_it = written.get(text.len()) == Some(&b'"') && written[..text.len()] == *text.as_bytes();
        (is_it && is_plain(text.as_bytes())) || self.name().is_some_and(|own| own == text)
    }

    /// Members of an object or items of an array; nothing for other kinds.
    #[inline]
    pub fn children(self) -> Children<'a> {
        let slot = self.slot();
        Children { document: self.document, next: self.id.0 + 1, end: slot.after }
    }

    /// This node and all inside it, in document order.
    pub fn subtree(self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        (self.id.0..self.slot().after).map(move |index| Node { document: self.document, id: NodeId(index) })
    }

    /// The member with `name`.
    #[inline]
    pub fn get(self, name: &Name) -> Option<Node<'a>> {
        if !self.is_object() {
            return None;
        }
        self.children().find(|child| child.is_named(name))
    }

    /// The member with an interned name; nothing for [`NameId::UNKNOWN`].
    pub fn child(self, name: NameId) -> Option<Node<'a>> {
        if !self.is_object() || name == NameId::UNKNOWN {
            return None;
        }
        self.children().find(|child| child.name_id() == name)
    }

    /// The member called `name`. For code that runs once; a compiled plan keeps a [`Name`].
    pub fn member(self, name: &str) -> Option<Node<'a>> {
        if !self.is_object() {
            return None;
        }
        let id = NameId::of(name);
        let is_it = |child: &Node<'_>| {
            child.name_id() == id && (id != NameId::UNKNOWN || child.name().as_deref() == Some(name))
        };
        self.children().find(is_it)
    }

    /// The items of an array; the value itself as the only item otherwise.
    pub fn items(self) -> Children<'a> {
        if self.is_array() {
            return self.children();
        }
        Children { document: self.document, next: self.id.0, end: self.slot().after }
    }

    /// The items of the member called `name`, or its value as the only item; nothing without it. As
    /// [`member`](Node::member), for code that runs once.
    pub fn items_of(self, name: &str) -> impl Iterator<Item = Node<'a>> + use<'a> {
        self.member(name).into_iter().flat_map(Node::items)
    }

    /// As [`items_of`](Node::items_of), by an interned name.
    pub fn items_at(self, name: NameId) -> impl Iterator<Item = Node<'a>> + use<'a> {
        self.child(name).into_iter().flat_map(Node::items)
    }

    /// The text of the string member called `name`.
    pub fn text_of(self, name: &str) -> Option<Cow<'a, str>> {
        self.member(name)?.text()
    }

    /// The value as written: quotes, escapes and digits as they came.
    pub fn raw(self) -> &'a str {
        let slot = self.slot();
        &self.document.source[slot.start as usize..slot.end as usize]
    }

    /// [`ESCAPED`], for a string with an escape.
    #[inline]
    pub(super) fn escaped_mark(self) -> u8 {
        if self.kind() == Kind::String { self.slot().marks & ESCAPED } else { 0 }
    }

    /// The text of a string, unescaped; `None` for other kinds.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let slot = self.slot();
        if slot.kind != Kind::String {
            return None;
        }
        let inner = &self.document.source[slot.start as usize + 1..slot.end as usize - 1];
        Some(if slot.marks & ESCAPED != 0 { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) })
    }

    /// The text of a string, or a number or boolean as written: what FHIR calls the value of a primitive.
    pub fn scalar(self) -> Option<Cow<'a, str>> {
        match self.kind() {
            Kind::String => self.text(),
            Kind::Number | Kind::Boolean => Some(Cow::Borrowed(self.raw())),
            Kind::Object | Kind::Array | Kind::Null => None,
        }
    }

    /// `true` or `false`; `None` for other kinds.
    pub fn boolean(self) -> Option<bool> {
        (self.kind() == Kind::Boolean).then(|| self.raw() == "true")
    }

    /// First byte of the value in the source.
    pub fn offset(self) -> usize {
        self.slot().start as usize
    }

    /// Line and column of the value.
    pub fn position(self) -> Position {
        self.document.position(self.offset())
    }

    /// The value of the member `resourceType`, if it is a plain string.
    pub fn resource_type(self) -> Option<&'a str> {
        let node = self.child(keys().resource_type)?;
        let slot = node.slot();
        (slot.kind == Kind::String && slot.marks & ESCAPED == 0)
            .then(|| &self.document.source[slot.start as usize + 1..slot.end as usize - 1])
    }

    /// The path from the root, as FHIRPath writes it: `Bundle.entry[3].resource.birthDate`.
    pub fn path(self) -> ElementPath {
        let mut path = ElementPath::root();
        if let Some(root) = self.document.resource_type() {
            path.push_name(root);
        }
        let mut at = self.document.root();
        while at.id != self.id {
            let inside = |child: &(usize, Node<'_>)| child.1.id <= self.id && self.id.0 < child.1.slot().after;
            let Some((index, child)) = at.children().enumerate().find(inside) else { break };
            match child.name_id() {
                NameId::UNKNOWN => match child.name() {
                    Some(name) => path.push_name(element_name(&name)),
                    None => path.push_index(index),
                },
                known => path.push_name(known.text()),
            }
            at = child;
        }
        path
    }

    /// FHIRPath that evaluates to this element of a FHIR resource: `Observation.value.ofType(Quantity)`. Of another
    /// document, its path.
    pub fn expression(self) -> ElementPath {
        match self.document.resource_type() {
            Some(_) => expression::of(self.document.root(), self),
            None => self.path(),
        }
    }

    /// The same for its child `name`, which need not be there.
    pub fn expression_of(self, name: &str) -> ElementPath {
        expression::of_child(self.document.root(), self, name)
    }
}

/// `birthDate` for `_birthDate`: both spell one element.
pub(super) fn element_name(key: &str) -> &str {
    key.strip_prefix('_').unwrap_or(key)
}

/// The children of a node, in document order.
#[derive(Clone)]
pub struct Children<'a> {
    document: &'a Document,
    next: u32,
    end: u32,
}

impl<'a> Iterator for Children<'a> {
    type Item = Node<'a>;

    #[inline]
    fn next(&mut self) -> Option<Node<'a>> {
        if self.next >= self.end {
            return None;
        }
        let node = Node { document: self.document, id: NodeId(self.next) };
        self.next = node.slot().after;
        Some(node)
    }
}

fn key_text(source: &str, quote: u32) -> Cow<'_, str> {
    let start = quote as usize + 1;
    let bytes = source.as_bytes();
    let mut end = start;
    let mut escaped = false;
    while bytes[end] != b'"' {
        if bytes[end] == b'\\' {
            escaped = true;
            end += 1;
        }
        end += 1;
    }
    let raw = &source[start..end];
    if escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) }
}

/// Undoes the escapes of a string that the parser has accepted.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(slash) = rest.find('\\') {
        text.push_str(&rest[..slash]);
        let code = rest.as_bytes()[slash + 1];
        rest = &rest[slash + 2..];
        match code {
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                let mut unit = hex4(rest.as_bytes()).map_or(0xFFFD, u32::from);
                rest = &rest[4..];
                if (0xD800..0xDC00).contains(&unit) {
                    let low = hex4(&rest.as_bytes()[2..]).map_or(0xDC00, u32::from);
                    unit = 0x10000 + ((unit - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
                    rest = &rest[6..];
                }
                text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => text.push(char::from(other)),
        }
    }
    text.push_str(rest);
    text
}

fn hex4(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.get(..4)?;
    digits.iter().try_fold(0_u16, |value, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(value << 4 | u16::try_from(digit).ok()?)
    })
}

/// The path of the innermost value that a failed parse had begun and not ended.
fn path_of_open(source: &str, slots: &[Slot]) -> ElementPath {
    let mut path = ElementPath::root();
    let open: Vec<usize> = (0..slots.len()).filter(|&index| slots[index].after == 0).collect();
    if let Some(name) = type_of_root(source, slots) {
        path.push_name(name);
    }
    for (level, &index) in open.iter().enumerate() {
        let slot = &slots[index];
        if slot.key != NO_KEY {
            path.push_name(element_name(&key_text(source, slot.key)));
        } else if level > 0 {
            let mut sibling = open[level - 1] + 1;
            let mut position = 0;
            while sibling < index {
                sibling = slots[sibling].after as usize;
                position += 1;
            }
            path.push_index(position);
        }
    }
    path
}

/// The `resourceType` of the root, as far as it has been read.
fn type_of_root<'s>(source: &'s str, slots: &[Slot]) -> Option<&'s str> {
    let mut at = 1;
    while let Some(slot) = slots.get(at).filter(|slot| slot.after > 0) {
        if slot.name == keys().resource_type && slot.kind == Kind::String {
            let name = source[slot.start as usize..slot.end as usize].trim_matches('"');
            return super::r4::schema().resource(name).map(|_| name);
        }
        at = slot.after as usize;
    }
    None
}

/// How many bytes from the start neither end a JSON string nor need an escape in one, eight at a time.
#[inline]
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, &word) in words.iter().enumerate() {
        let special = special_bytes(word);
        if special != 0 {
            return index * 8 + (special.trailing_zeros() / 8) as usize;
        }
    }
    // The last word again, overlapping: what stands before the rest in it is known to be plain.
    if let Some(&last) = bytes.last_chunk::<8>() {
        let special = special_bytes(last);
        let at = bytes.len() - 8 + (special.trailing_zeros() / 8) as usize;
        return if special == 0 { bytes.len() } else { at };
    }
    rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..0x20)).count()
}

/// Whether no byte ends a JSON string or needs an escape in one. Sixteen at a time, in a form that compiles to vector
/// instructions; the last sixteen overlap.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let block_is_plain = |block: &[u8; 16]| {
        !block.iter().fold(false, |any, &byte| any | (byte < 0x20) | (byte == b'"') | (byte == b'\\'))
    };
    match bytes.last_chunk::<16>() {
        Some(last) => bytes.as_chunks::<16>().0.iter().all(block_is_plain) && block_is_plain(last),
        None => plain_length(bytes) == bytes.len(),
    }
}

/// Whether a byte of ASCII stands in a text that mostly lacks it: a whole pass in vector instructions is cheaper than a
/// search that may end early.
#[inline]
pub(crate) fn has_byte(text: &str, byte: u8) -> bool {
    text.bytes().fold(0, |found, each| found | u8::from(each == byte)) != 0
}

/// A text up to a byte of ASCII that it mostly lacks.
pub(crate) fn up_to_byte(text: &str, byte: u8) -> &str {
    let end = has_byte(text, byte).then(|| text.find(char::from(byte))).flatten();
    end.map_or(text, |end| &text[..end])
}

/// Whether JSON writes `text` as a string without an escape.
pub(crate) fn is_plain_text(text: &str) -> bool {
    is_plain(text.as_bytes())
}

/// The high bit of each byte of a word that ends a JSON string or needs an escape; above the first one it may err.
#[inline]
fn special_bytes(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 0x80;
    let word = u64::from_le_bytes(word);
    let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let quote = zero_byte(word ^ (ONES * u64::from(b'"')));
    let slash = zero_byte(word ^ (ONES * u64::from(b'\\')));
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    quote | slash | control
}

struct Parser<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    slots: Vec<Slot>,
    /// For each known name, the serial number of the last large object that was seen to hold it; empty before the first.
    seen: Vec<u32>,
    objects: u32,
    limits: Limits,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        if self.bytes.len() >= NO_KEY as usize {
            return Err(Fault::TooLarge);
        }
        if self.text.starts_with('\u{feff}') {
            return Err(Fault::ByteOrderMark);
        }
        self.space();
        if self.at == self.bytes.len() {
            return Err(Fault::Empty);
        }
        self.value(NO_KEY, (NameId::UNKNOWN, 0), 0)?;
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(Fault::Trailing) }
    }

    /// Steps over white space; indentation goes eight blanks at a time.
    #[inline]
    fn space(&mut self) {
        if let Some(..=b' ') = self.bytes.get(self.at) {
            self.long_space();
        }
    }

    fn long_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
            while self.bytes.get(self.at..self.at + 8) == Some(b"        ") {
                self.at += 8;
            }
        }
    }

    fn value(&mut self, key: u32, (name, tag): (NameId, u8), depth: u16) -> Result<(), Fault> {
        let index = self.slots.len();
        if index >= self.limits.nodes as usize {
            return Err(Fault::TooLarge);
        }
        let start = self.at as u32;
        let (kind, nested) = match self.bytes.get(self.at) {
            Some(b'"') => (Kind::String, false),
            Some(b'{') => (Kind::Object, true),
            Some(b'[') => (Kind::Array, true),
            Some(b'-' | b'0'..=b'9') => (Kind::Number, false),
            Some(b't' | b'f') => (Kind::Boolean, false),
            Some(b'n') => (Kind::Null, false),
            Some(_) => return Err(Fault::NoValue),
            None => return Err(Fault::Truncated),
        };
        if nested && depth >= self.limits.depth {
            return Err(Fault::TooDeep);
        }
        self.slots.push(Slot { start, end: 0, after: 0, key, name, kind, marks: tag });
        match kind {
            Kind::String if self.string()? => self.slots[index].marks |= ESCAPED,
            Kind::String => {}
            Kind::Object => self.object(index, depth + 1)?,
            Kind::Array => self.array(depth + 1)?,
            Kind::Number => self.number()?,
            Kind::Boolean if self.bytes[self.at] == b't' => self.word(b"true")?,
            Kind::Boolean => self.word(b"false")?,
            Kind::Null => self.word(b"null")?,
        }
        let after = self.slots.len() as u32;
        let slot = &mut self.slots[index];
        slot.end = self.at as u32;
        slot.after = after;
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(Fault::NoValue)
    }

    fn object(&mut self, index: usize, depth: u16) -> Result<(), Fault> {
        self.at += 1;
        self.space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut members = 0;
        let mut unknown = 0;
        loop {
            let key = self.at;
            match self.bytes.get(key) {
                Some(b'"') => {}
                Some(_) => return Err(Fault::NoKey),
                None => return Err(Fault::Truncated),
            }
            let escaped = self.string()?;
            let inner = &self.text[key + 1..self.at - 1];
            let name = if escaped { NameId::with_tag(&unescape(inner)) } else { NameId::with_tag(inner) };
            members += 1;
            unknown += usize::from(name.0 == NameId::UNKNOWN);
            self.space();
            match self.bytes.get(self.at) {
                Some(b':') => self.at += 1,
                Some(_) => return Err(Fault::NoColon),
                None => return Err(Fault::Truncated),
            }
            self.space();
            self.value(key as u32, name, depth)?;
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                Some(_) => return Err(Fault::NoComma),
                None => return Err(Fault::Truncated),
            }
            self.space();
        }
        self.at += 1;
        if members > 1 { self.refuse_duplicates(index, members - unknown) } else { Ok(()) }
    }

    /// Looks through the finished members of one object: a few known names one by one, many by a stamp, the others by
    /// their text.
    fn refuse_duplicates(&mut self, object: usize, known: usize) -> Result<(), Fault> {
        self.objects += 1;
        if known > FEW && self.seen.is_empty() {
            self.seen = vec![0; NameId::indexes()];
        }
        let mut few: SmallVec<[NameId; FEW]> = SmallVec::new();
        let mut others: SmallVec<[(Cow<'_, str>, u32); 16]> = SmallVec::new();
        let mut at = object + 1;
        while at < self.slots.len() {
            let slot = self.slots[at];
            if slot.name == NameId::UNKNOWN {
                others.push((key_text(self.text, slot.key), slot.key));
            } else {
                let is_second = match known {
                    ..=FEW => few.contains(&slot.name),
                    _ => std::mem::replace(&mut self.seen[slot.name.index()], self.objects) == self.objects,
                };
                if is_second {
                    self.at = slot.key as usize;
                    return Err(Fault::DuplicateKey);
                }
                if known <= FEW {
                    few.push(slot.name);
                }
            }
            at = slot.after as usize;
        }
        others.sort_unstable();
        let duplicate = others.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1);
        match duplicate {
            Some(key) => {
                self.at = key as usize;
                Err(Fault::DuplicateKey)
            }
            None => Ok(()),
        }
    }

    fn array(&mut self, depth: u16) -> Result<(), Fault> {
        self.at += 1;
        self.space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(NO_KEY, (NameId::UNKNOWN, 0), depth)?;
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                Some(_) => return Err(Fault::NoComma),
                None => return Err(Fault::Truncated),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    /// Steps over a string, from its opening quote to behind its closing one. Whether it has escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_length(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(..0x20) => return Err(Fault::ControlCharacter),
                Some(_) => self.at += 1,
                None => return Err(Fault::Truncated),
            }
        }
        self.at += 1;
        Ok(escaped)
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit = hex4(&self.bytes[self.at + 2..]).ok_or(Fault::BadEscape)?;
                let mut width = 6;
                match unit {
                    0xD800..=0xDBFF => {
                        let pair = self.bytes.get(self.at + 6..self.at + 8) == Some(b"\\u");
                        let low = self.bytes.get(self.at + 8..).and_then(hex4);
                        if !pair || !low.is_some_and(|low| (0xDC00..=0xDFFF).contains(&low)) {
                            return Err(Fault::BadEscape);
                        }
                        width = 12;
                    }
                    0xDC00..=0xDFFF => return Err(Fault::BadEscape),
                    _ => {}
                }
                self.at += width;
            }
            Some(_) => return Err(Fault::BadEscape),
            None => return Err(Fault::Truncated),
        }
        Ok(())
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<(), Fault> {
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        let whole = self.digits()?;
        if leading_zero && whole > 1 {
            self.at -= whole;
            return Err(Fault::BadNumber);
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == start { Err(Fault::BadNumber) } else { Ok(self.at - start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_positions_are_those_of_each() {
        let document = Document::parse("{\n \"é\": [1,\n\n 2, \"ü\", 3]}\n", &Limits::default()).expect("it is JSON");
        let mut offsets: Vec<usize> = document.nodes().map(Node::offset).chain([0, 9999]).collect();
        offsets.reverse();
        let each: Vec<Position> = offsets.iter().map(|&offset| document.position(offset)).collect();
        assert_eq!(document.positions(&offsets), each);
    }

    fn parse(text: &str) -> Document {
        Document::parse(text, &Limits::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn fault(text: &str) -> (Fault, String) {
        let error = Document::parse(text, &Limits::default()).expect_err(text);
        (error.what, format!("{} {}", error.position, error.path))
    }

    #[test]
    fn an_untouched_tree_keeps_its_bytes() {
        let text = " {\"a\" : [1.50, -0.0e+10, \"\\u00e9\\/\", true,null, {}, [] ]}\n";
        assert_eq!(parse(text).source(), text);
    }

    #[test]
    fn members_items_and_scalars_are_found() {
        let document =
            parse(r#"{"resourceType":"Observation","valueQuantity":{"value":1.50},"x\u0079":["é\n","\ud83d\ude00"]}"#);
        let root = document.root();
        let value = root.member("valueQuantity").and_then(|quantity| quantity.member("value")).expect("it is there");
        assert_eq!(value.scalar().as_deref(), Some("1.50"));
        let items: Vec<_> = root.member("xy").expect("an escaped key is found").children().map(Node::text).collect();
        assert_eq!(items, [Some("é\n".into()), Some("😀".into())]);
        assert_eq!(document.len(), 7);
    }

    #[test]
    fn a_path_is_written_as_fhirpath_does() {
        let document =
            parse(r#"{"resourceType":"Patient","name":[{"family":"A"},{"_family":{"id":"x"},"given":["B"]}]}"#);
        let inside: Vec<_> = document.root().children().flat_map(Node::subtree).map(Node::id).collect();
        assert_eq!(inside, document.nodes().skip(1).map(Node::id).collect::<Vec<_>>());
        let paths: Vec<_> = document.nodes().map(|node| node.path().to_string()).collect();
        assert_eq!(
            paths,
            [
                "Patient",
                "Patient.resourceType",
                "Patient.name",
                "Patient.name[0]",
                "Patient.name[0].family",
                "Patient.name[1]",
                "Patient.name[1].family",
                "Patient.name[1].family.id",
                "Patient.name[1].given",
                "Patient.name[1].given[0]",
            ]
        );
        let record = parse(r#"{"risks":[{"level":"high"}]}"#);
        assert_eq!(record.nodes().last().expect("it has nodes").path().to_string(), "risks[0].level");
    }

    #[test]
    fn duplicate_keys_are_refused_with_their_place() {
        for (text, place) in [
            (r#"{"name":1,"name":2}"#, "line 1, column 11 "),
            ("{\"a\":[{},{\"id\":1,\n \"extension\":{\"id\":2},\"id\":3}]}", "line 2, column 23 a[1]"),
            (r#"{"what":1,"else":0,"wh\u0061t":2}"#, "line 1, column 20 "),
            (r#"{"_birthDate":1,"birthDate":0,"_birthDate":2}"#, "line 1, column 31 "),
        ] {
            assert_eq!(fault(text), (Fault::DuplicateKey, place.to_owned()), "{text}");
        }
        parse(r#"{"name":{"name":{"name":1}},"_name":1,"x":{"x":1}}"#);
    }

    #[test]
    fn a_visit_gives_every_node_its_path() {
        for text in [
            r#"{"resourceType":"Patient","name":[{"given":["A",[1,{"x":2}]],"_given":[null,{"id":"b"}]},{}],"a\u0062":[[]]}"#,
            r#"{"person":{"born":1},"":2,"list":[1,2]}"#,
            "[[1],2]",
            "1",
        ] {
            let document = parse(text);
            let mut visited = 0;
            document.visit_paths(|node, path| {
                assert_eq!((node.id().index(), path), (visited, &node.path()), "{text}");
                visited += 1;
            });
            assert_eq!(visited, document.len());
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for (text, expected) in [
            ("", Fault::Empty),
            (" ", Fault::Empty),
            ("\u{feff}{}", Fault::ByteOrderMark),
            ("{", Fault::Truncated),
            ("[1,", Fault::Truncated),
            ("[1,]", Fault::NoValue),
            ("{\"a\":1,}", Fault::NoKey),
            ("{a:1}", Fault::NoKey),
            ("[1 2]", Fault::NoComma),
            ("{\"a\" 1}", Fault::NoColon),
            ("1 1", Fault::Trailing),
            ("tru", Fault::NoValue),
            ("01", Fault::BadNumber),
            ("-", Fault::BadNumber),
            ("1.", Fault::BadNumber),
            ("1e", Fault::BadNumber),
            ("+1", Fault::NoValue),
            ("NaN", Fault::NoValue),
            ("\"\t\"", Fault::ControlCharacter),
            ("\"12345678\u{1}\"", Fault::ControlCharacter),
            ("\"\\x\"", Fault::BadEscape),
            ("\"\\u12G4\"", Fault::BadEscape),
            ("\"\\ud800\"", Fault::BadEscape),
            ("\"\\udc00\"", Fault::BadEscape),
            ("\"\\ud800\\u0041\"", Fault::BadEscape),
            ("\"abc", Fault::Truncated),
            ("\"abc\\", Fault::Truncated),
            ("\"\\u12", Fault::BadEscape),
            ("'a'", Fault::NoValue),
        ] {
            assert_eq!(fault(text).0, expected, "{text}");
        }
        let error = Document::parse(b"{\"a\":\"\xff\"}".to_vec(), &Limits::default()).expect_err("it is not UTF-8");
        assert_eq!((error.what, error.position.column), (Fault::NotUtf8, 7));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        parse(&deep(100));
        assert_eq!(fault(&deep(101)).0, Fault::TooDeep);
        assert_eq!(fault(&"[".repeat(1_000_000)).0, Fault::TooDeep);
        let small = Limits { nodes: 3, ..Limits::default() };
        assert!(Document::parse("[1,2]", &small).is_ok());
        assert_eq!(Document::parse("[1,2,3]", &small).expect_err("four nodes").what, Fault::TooLarge);
    }

    #[test]
    fn an_error_names_the_innermost_open_element() {
        assert_eq!(
            fault("{\"entry\":[{},\n{\"x\":[1,{\"id\":01}]}]}"),
            (Fault::BadNumber, "line 2, column 15 entry[1].x[1].id".to_owned(),)
        );
    }
}
