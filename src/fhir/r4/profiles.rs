//! R4's own profiles and extensions (`vitalsigns`, `SimpleQuantity`, `patient-birthPlace`), from `profiles.tsv`.
//!
//! Each is read when it is first asked for: most programs need a handful of the 439.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use crate::fhir::definitions::{Definition, StructureDefinition};
use crate::fhir::{Document, Limits};

/// The definition as written, and as read.
type Entry = (&'static str, OnceLock<Option<Box<StructureDefinition>>>);

static PROFILES: LazyLock<HashMap<&'static str, Entry>> = LazyLock::new(|| {
    let rows = include_str!("profiles.tsv").lines().filter_map(|line| line.split_once('\t'));
    rows.map(|(url, json)| (url, (json, OnceLock::new()))).collect()
});

/// The profile or extension of R4 with this canonical URL (without a version).
pub fn profile(url: &str) -> Option<&'static StructureDefinition> {
    let (json, read) = PROFILES.get(url)?;
    read.get_or_init(|| {
        let document = Document::parse(*json, &Limits::default()).ok()?;
        match Definition::read(&document)? {
            Definition::Structure(structure) => Some(structure),
            Definition::ValueSet(_) | Definition::CodeSystem(_) => None,
        }
    })
    .as_deref()
}

/// The URLs of all profiles and extensions of R4, in no particular order.
pub fn profile_urls() -> impl Iterator<Item = &'static str> {
    PROFILES.keys().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::snapshot::Snapshots;

    #[test]
    fn every_profile_of_r4_can_be_read() {
        assert_eq!(profile_urls().count(), 439);
        let unread: Vec<_> = profile_urls().filter(|url| profile(url).is_none_or(|each| each.url != *url)).collect();
        assert!(unread.is_empty(), "{unread:?}");
    }

    /// R4's own definitions that contradict their bases: a slice name where nothing is sliced, an element that is not
    /// there.
    const FAULTY: &[&str] = &["catalog", "familymemberhistory-genetic", "picoelement"];

    #[test]
    fn every_sound_profile_of_r4_has_a_snapshot() {
        let mut snapshots = Snapshots::of([]);
        let without = profile_urls().filter(|url| snapshots.snapshot(url).is_err());
        let mut without: Vec<_> = without.map(|url| url.rsplit('/').next().unwrap_or(url)).collect();
        without.sort_unstable();
        assert_eq!(without, FAULTY);
    }
}
