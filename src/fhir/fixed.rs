//! Maps whose keys are fixed when the program has loaded: URLs of definitions, names of types, codes.
//!
//! Their hash is a few multiplications, without a secret. A peer may look anything up in them; keys that a peer chooses
//! belong in the maps of the standard library, whose hash cannot be guessed.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use rustc_hash::FxHasher;

/// A map with keys that no peer chooses.
pub type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// A set of keys that no peer chooses.
pub type FixedSet<K> = HashSet<K, BuildHasherDefault<Spread>>;

/// [`FxHasher`], mixed once more: a multiplication mixes upwards, so that of keys that differ at their end (the codes of
/// SNOMED CT) the lowest bits, by which a map places them, are much the same.
#[derive(Default)]
pub struct Spread(FxHasher);

impl Hasher for Spread {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.0.write_u8(number);
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.0.write_u16(number);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.0.write_u32(number);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0.write_u64(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.0.write_usize(number);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let hash = self.0.finish();
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn codes_in_a_row_have_places_of_their_own() {
        let build = BuildHasherDefault::<Spread>::default();
        let place = |code: u64| build.hash_one(code.to_string()) & 0xFFFF;
        for start in [10_000_000, 300_000_000_000_000_000] {
            let places: HashSet<u64> = (start..start + 0x1_0000).map(place).collect();
            // Of as many draws at random as there are places, 63 % differ.
            assert!(places.len() > 0x1_0000 / 2, "{start}: {}", places.len());
        }
    }
}
