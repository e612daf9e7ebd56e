//! Which concepts of a code system stand below which: as they are nested, and as the properties `parent`, `subsumedBy`
//! and `child` say (R4 CodeSystem; hierarchies that are no trees, like that of SNOMED CT, need the properties).
//!
//! Enters: the concepts, and the place that stands for each code. Leaves: the places above or below one. Invariant:
//! linear in what is reached; circles end.

use crate::fhir::terminology::{Concept, Text};
use crate::fhir::{FixedMap, FixedSet};

/// Pairs of places, sorted.
#[derive(Debug, Default)]
pub(super) struct Hierarchy {
    /// From a concept to those right below it.
    down: Vec<(usize, usize)>,
    /// From a concept to those right above it.
    up: Vec<(usize, usize)>,
}

impl Hierarchy {
    /// `places` has the place of every code; one that stands at several has the first.
    pub(super) fn of(concepts: &[Concept], places: &FixedMap<Text, usize>) -> Hierarchy {
        let mut down = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for concept in concepts {
            let Some(&place) = places.get(&concept.code) else { continue };
            open.truncate(concept.level);
            down.extend(open.last().map(|&above| (above, place)));
            open.push(place);
            for (name, value) in &concept.properties {
                let Some(&other) = places.get(value.as_str()) else { continue };
                match name.as_str() {
                    "parent" | "subsumedBy" => down.push((other, place)),
                    "child" => down.push((place, other)),
                    _ => {}
                }
            }
        }
        let mut up: Vec<(usize, usize)> = down.iter().map(|&(above, below)| (below, above)).collect();
        for pairs in [&mut down, &mut up] {
            pairs.sort_unstable();
            pairs.dedup();
        }
        Hierarchy { down, up }
    }

    /// The places right below one.
    pub(super) fn children(&self, place: usize) -> impl Iterator<Item = usize> {
        next(&self.down, place)
    }

    /// All places below one, and itself.
    pub(super) fn below(&self, place: usize) -> Vec<usize> {
        reached(&self.down, place)
    }

    /// All places above one, and itself.
    pub(super) fn above(&self, place: usize) -> Vec<usize> {
        reached(&self.up, place)
    }
}

fn next(pairs: &[(usize, usize)], place: usize) -> impl Iterator<Item = usize> {
    let first = pairs.partition_point(|&(from, _)| from < place);
    pairs[first..].iter().take_while(move |&&(from, _)| from == place).map(|&(_, to)| to)
}

fn reached(pairs: &[(usize, usize)], start: usize) -> Vec<usize> {
    let mut seen = FixedSet::default();
    let mut open = vec![start];
    while let Some(place) = open.pop() {
        if seen.insert(place) {
            open.extend(next(pairs, place));
        }
    }
    seen.into_iter().collect()
}
