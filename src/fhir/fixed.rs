//! Maps whose keys are fixed when the program has loaded: URLs of definitions, names of types, codes.
//!
//! Their hash is a few multiplications, without a secret. A peer may look anything up in them; keys that a peer chooses
//! belong in the maps of the standard library, whose hash cannot be guessed.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map with keys that no peer chooses.
pub type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<FixedHasher>>;

/// A set of keys that no peer chooses.
pub type FixedSet<K> = HashSet<K, BuildHasherDefault<FixedHasher>>;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedHasher(u64);

impl FixedHasher {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Hasher for FixedHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(word.try_into().map_or(0, u64::from_le_bytes));
        }
        let rest = words.remainder().iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        self.mix(rest ^ (bytes.len() as u64) << 56);
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The upper bits are mixed best, and a table is indexed by the lower ones.
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::r4;

    #[test]
    fn keys_find_what_was_put_there() {
        let map: FixedMap<&str, usize> = r4::profile_urls().zip(0..).collect();
        assert_eq!(map.len(), 439);
        assert!(r4::profile_urls().zip(0..).all(|(url, number)| map.get(url) == Some(&number)));
        assert!(!map.contains_key("http://hl7.org/fhir/StructureDefinition/nothing"));
    }

    #[test]
    fn hashes_of_like_keys_differ() {
        let hash = |text: &str| {
            let mut hasher = FixedHasher::default();
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        let hashes: HashSet<u64> = r4::profile_urls().map(hash).collect();
        assert_eq!(hashes.len(), 439);
        assert_ne!(hash("a"), hash("a\0"));
        assert_ne!(hash(""), hash("\0"));
    }
}
