//! Element names, interned against the R4 tables.
//!
//! Every element name that base R4 defines (choice elements in each of their typed spellings) has a [`NameId`], so
//! that compiled plans compare two bytes instead of text. The primitive-extension spelling `_birthDate` shares the
//! id of `birthDate`, marked by one bit. A name outside R4, as a provider's record has, is [`NameId::UNKNOWN`] and is
//! compared by its text: [`Name`] does both.

use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use super::r4;
use super::writer::escape_into;

/// An element name that base R4 defines, or [`NameId::UNKNOWN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(u16);

const UNDERSCORE: u16 = 0x8000;

impl NameId {
    /// A name that base R4 does not define.
    pub const UNKNOWN: NameId = NameId(0);

    /// The id of `name` (`birthDate`, `_birthDate`, `valueQuantity`), or [`NameId::UNKNOWN`].
    pub fn of(name: &str) -> NameId {
        TABLE.lookup(name.as_bytes())
    }

    /// The id of `name`, and if it is unknown its tag: seven bits that differ for most other names.
    pub(super) fn with_tag(name: &str) -> (NameId, u8) {
        match NameId::of(name) {
            NameId::UNKNOWN => (NameId::UNKNOWN, (hash(name.as_bytes()) >> 8) as u8 & 0x7F),
            known => (known, 0),
        }
    }

    /// Whether this is the `_name` spelling that holds a primitive's id and extensions (FHIR R4 JSON, 2.6.2).
    pub fn is_primitive_extension(self) -> bool {
        self.0 & UNDERSCORE != 0
    }

    /// The name without its leading underscore: where the value of the primitive itself stands.
    pub fn without_underscore(self) -> NameId {
        NameId(self.0 & !UNDERSCORE)
    }

    /// The text of a known name; empty for [`NameId::UNKNOWN`].
    pub fn text(self) -> &'static str {
        TABLE.names[usize::from(self.0 & !UNDERSCORE)]
    }

    /// The id of `_name`, for a name without its underscore.
    pub(super) fn with_underscore(self) -> NameId {
        if self == NameId::UNKNOWN { self } else { NameId(self.0 | UNDERSCORE) }
    }

    /// The known name as a plan keeps it, without its underscore; the empty name for [`NameId::UNKNOWN`].
    pub fn name(self) -> &'static Name {
        static NAMES: LazyLock<Vec<Name>> = LazyLock::new(|| TABLE.names.iter().map(|name| Name::new(name)).collect());
        &NAMES[usize::from(self.0 & !UNDERSCORE)]
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0 & !UNDERSCORE) * 2 + usize::from(self.0 >> 15)
    }

    /// One more than the largest `NameId::index`.
    pub(super) fn indexes() -> usize {
        TABLE.names.len() * 2
    }
}

/// A name as a compiled plan keeps it: compared by id where R4 knows it, by text where it does not.
#[derive(Clone, Debug)]
pub struct Name {
    id: NameId,
    tag: u8,
    text: Box<str>,
}

impl Name {
    /// Interns `text`.
    pub fn new(text: &str) -> Name {
        let (id, tag) = NameId::with_tag(text);
        Name { id, tag, text: text.into() }
    }

    /// The id, [`NameId::UNKNOWN`] for a name outside R4.
    #[inline]
    pub fn id(&self) -> NameId {
        self.id
    }

    /// The name as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// For a name outside R4, seven bits that differ for most other names.
    #[inline]
    pub(super) fn tag(&self) -> u8 {
        self.tag
    }

    /// Id and tag of `_name`.
    pub(super) fn companion(&self) -> (NameId, u8) {
        match self.id {
            NameId::UNKNOWN => NameId::with_tag(&format!("_{}", self.text)),
            known => (known.with_underscore(), 0),
        }
    }

    /// Appends the key of a member, `"birthDate":`, behind another member with a comma. One text for all plans where R4
    /// knows the name.
    #[inline]
    pub(super) fn write_key(&self, out: &mut String, comma: bool) {
        if self.id == NameId::UNKNOWN || self.id.is_primitive_extension() {
            if comma {
                out.push(',');
            }
            escape_into(out, &self.text);
            out.push(':');
        } else {
            out.push_str(&TABLE.keys[usize::from(self.id.0)][usize::from(!comma)..]);
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.id == other.id && (self.id != NameId::UNKNOWN || self.text == other.text)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

struct Table {
    /// Index 0 is `UNKNOWN`.
    names: Vec<&'static str>,
    /// `,"birthDate":`, as an object has it before the value, behind another member.
    keys: Vec<Box<str>>,
    /// Open addressing over `names`; 0 is an empty slot. The length is a power of two.
    slots: Vec<u16>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::build(r4::element_names()));

/// The first `N` bytes.
fn head<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("the caller has matched the length")
}

/// The last `N` bytes.
fn tail<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.last_chunk().expect("the caller has matched the length")
}

/// A multiplicative hash over the first and last eight bytes and the length: few names of R4 share all three. Shorter
/// names are read in two pieces that overlap, so that no length needs a loop.
fn hash(name: &[u8]) -> usize {
    let (first, last) = match name.len() {
        8.. => (u64::from_le_bytes(head(name)), u64::from_le_bytes(tail(name))),
        4..8 => (u64::from(u32::from_le_bytes(head(name))), u64::from(u32::from_le_bytes(tail(name)))),
        2..4 => (u64::from(u16::from_le_bytes(head(name))), u64::from(u16::from_le_bytes(tail(name)))),
        1 => (u64::from(name[0]), 0),
        _ => (0, 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize
}

impl Table {
    fn build(known: Vec<&'static str>) -> Table {
        let mut names = vec![""];
        names.extend(known);
        let mut slots = vec![0; (names.len() * 4).next_power_of_two()];
        for (id, name) in (0_u16..).zip(&names).skip(1) {
            let mut at = hash(name.as_bytes()) & (slots.len() - 1);
            while slots[at] != 0 {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = id;
        }
        let keys = names.iter().map(|name| format!(",\"{name}\":").into()).collect();
        Table { names, keys, slots }
    }

    fn find(&self, name: &[u8]) -> u16 {
        let mut at = hash(name) & (self.slots.len() - 1);
        loop {
            let id = self.slots[at];
            if id == 0 || self.names[usize::from(id)].as_bytes() == name {
                return id;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn lookup(&self, name: &[u8]) -> NameId {
        match name.strip_prefix(b"_") {
            Some(rest) => match self.find(rest) {
                0 => NameId::UNKNOWN,
                id => NameId(id | UNDERSCORE),
            },
            None => NameId(self.find(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_r4_finds_itself() {
        for name in r4::element_names() {
            assert_eq!(NameId::of(name).text(), name);
        }
        assert!(r4::element_names().len() > 1000);
    }

    #[test]
    fn a_name_is_ready_to_be_written() {
        for (text, key) in [("birthDate", "\"birthDate\":"), ("", "\"\":"), ("a\"b", "\"a\\\"b\":")] {
            let (name, mut written) = (Name::new(text), String::new());
            name.write_key(&mut written, true);
            name.write_key(&mut written, false);
            assert_eq!((name.text(), written), (text, format!(",{key}{key}")));
            assert!(name == Name::new(text) && name != Name::new("other"));
        }
        assert_eq!(NameId::of("_birthDate").name(), &Name::new("birthDate"));
        assert_eq!(NameId::of("birthDate").with_underscore(), NameId::of("_birthDate"));
    }

    #[test]
    fn an_underscore_marks_the_same_name() {
        let name = NameId::of("_birthDate");
        assert!(name.is_primitive_extension());
        assert_eq!(name.without_underscore(), NameId::of("birthDate"));
        assert_ne!(name.index(), NameId::of("birthDate").index());
    }

    #[test]
    fn names_outside_r4_are_unknown() {
        for name in ["", "_", "whatChanged", "birthdate", "_whatChanged", "__birthDate"] {
            assert_eq!(NameId::of(name), NameId::UNKNOWN, "{name}");
        }
    }

    #[test]
    fn choice_elements_have_a_name_for_each_type() {
        for name in ["valueQuantity", "valueString", "onsetDateTime", "deceasedBoolean", "valueBase64Binary"] {
            assert_ne!(NameId::of(name), NameId::UNKNOWN, "{name}");
        }
        assert_eq!(NameId::of("onsetDate"), NameId::UNKNOWN);
    }
}
