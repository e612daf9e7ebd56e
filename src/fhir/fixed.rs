//! Maps whose keys are fixed when the program has loaded: URLs of definitions, names of types, codes.
//!
//! Their hash is a few multiplications, without a secret. A peer may look anything up in them; keys that a peer chooses
//! belong in the maps of the standard library, whose hash cannot be guessed.

/// A map with keys that no peer chooses.
pub type FixedMap<K, V> = rustc_hash::FxHashMap<K, V>;

/// A set of keys that no peer chooses.
pub type FixedSet<K> = rustc_hash::FxHashSet<K>;
