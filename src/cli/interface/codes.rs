//! The codes of a value set with their words, as far as the definitions at hand list them.

use std::collections::HashMap;

use crate::fhir::Document;
use crate::fhir::definitions::{Definition, without_version};
use crate::fhir::r4;
use crate::fhir::terminology::{CodeSystemDefinition, Include, ValueSetDefinition};

/// The most codes of a value set that a page lists.
const LISTED: usize = 60;

/// The value sets and code systems of a site.
#[derive(Debug, Default)]
pub(super) struct Terms {
    sets: HashMap<String, ValueSetDefinition>,
    systems: HashMap<String, CodeSystemDefinition>,
}

/// The codes of a value set.
#[derive(Debug, Default)]
pub(super) struct Codes {
    /// System, code, words.
    pub(super) rows: Vec<(String, String, String)>,
    /// What is not listed, in words: a system that is not at hand, the codes beyond the limit.
    pub(super) more: Vec<String>,
}

impl Terms {
    pub(super) fn of(definitions: &[Document]) -> Terms {
        let mut terms = Terms::default();
        for definition in definitions.iter().filter_map(Definition::read) {
            match definition {
                Definition::ValueSet(set) => {
                    terms.sets.insert(set.url.clone(), set);
                }
                Definition::CodeSystem(system) => {
                    terms.systems.insert(system.url.clone(), system);
                }
                Definition::Structure(_) => {}
            }
        }
        terms
    }

    /// The codes of the value set at `url`; `None` if nobody defines it.
    pub(super) fn codes(&self, url: &str) -> Option<Codes> {
        let url = without_version(url);
        let own = self.sets.get(url);
        let built_in = if own.is_none() { r4::value_set(url) } else { None };
        let set = own.or(built_in.as_ref())?;
        let mut codes = Codes::default();
        set.include.iter().for_each(|include| self.include(include, &mut codes));
        let left = codes.rows.len().saturating_sub(LISTED);
        codes.rows.truncate(LISTED);
        if left > 0 {
            codes.more.push(format!("{left} more"));
        }
        Some(codes)
    }

    fn include(&self, include: &Include, codes: &mut Codes) {
        let url = include.system.to_string();
        let built_in = if self.systems.contains_key(&url) { None } else { r4::code_system(&url) };
        let system = self.systems.get(&url).or(built_in.as_ref());
        let words = |code: &str| {
            let own = include.displays.iter().find(|(of, _)| of == code).map(|(_, words)| words.to_string());
            let concept = system.and_then(|system| system.concepts.iter().find(|concept| concept.code == code));
            let listed = concept.and_then(|concept| concept.names.lines().next()).map(str::to_owned);
            own.or(listed).unwrap_or_default()
        };
        let whole = include.codes.is_empty() && include.filters.is_empty() && include.value_sets.is_empty();
        match (whole, system) {
            (true, Some(system)) => {
                let concepts = system.concepts.iter().filter(|concept| concept.selectable);
                codes
                    .rows
                    .extend(concepts.map(|concept| (url.clone(), concept.code.to_string(), words(&concept.code))));
            }
            (true, None) => codes.more.push(format!("every code of {url}")),
            (false, _) => {
                codes.rows.extend(include.codes.iter().map(|code| (url.clone(), code.to_string(), words(code))));
                if !include.filters.is_empty() || !include.value_sets.is_empty() {
                    codes.more.push(format!("those of {url} that the value set selects by rule"));
                }
            }
        }
    }
}
