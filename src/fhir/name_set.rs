//! Some of the names of R4's elements.

use super::NameId;

/// A set of names, a bit each. One without an underscore stands for both spellings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSet(Vec<u64>);

impl NameSet {
    /// Adds the name of an element, and what it is called without its type: `value` with `valueString`.
    pub fn insert(&mut self, name: NameId) {
        if self.contains(name) {
            return;
        }
        self.insert_one(name);
        let text = name.text();
        let ends = text.char_indices().filter(|(_, letter)| letter.is_ascii_uppercase()).map(|(end, _)| end);
        for stem in ends.map(|end| NameId::of(&text[..end])).filter(|stem| *stem != NameId::UNKNOWN) {
            self.insert_one(stem);
        }
    }

    fn insert_one(&mut self, name: NameId) {
        let place = name.without_underscore().index();
        if place / 64 >= self.0.len() {
            self.0.resize(place / 64 + 1, 0);
        }
        self.0[place / 64] |= 1 << (place % 64);
    }

    /// Whether a name is in it.
    #[inline]
    pub fn contains(&self, name: NameId) -> bool {
        let place = name.without_underscore().index();
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_brings_what_it_is_called_without_its_type() {
        let mut names = NameSet::default();
        ["_birthDate", "valueString", "note"].map(NameId::of).into_iter().for_each(|name| names.insert(name));
        for (name, expected) in [
            ("birthDate", true),
            ("_birthDate", true),
            ("value", true),
            ("valueString", true),
            ("note", true),
            ("valueCode", false),
            ("status", false),
        ] {
            assert_eq!(names.contains(NameId::of(name)), expected, "{name}");
        }
        assert!(!names.contains(NameId::UNKNOWN));
    }
}
