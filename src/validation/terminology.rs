//! Value sets expanded at load, and the answer to "is this code in it?" with "nobody here knows" as a third answer.
//!
//! Base R4's required value sets come from the tables, ours from their definitions. The codes of a system that is not
//! loaded (SNOMED CT, LOINC, dm+d) are [`Membership::Unlisted`]: neither right nor wrong.

use std::collections::{HashMap, HashSet};

use crate::fhir::definitions::{CodeSystemDefinition, Include, ValueSetDefinition};
use crate::fhir::r4;

/// A value set's place in the [`Terminology`].
pub(super) type ValueSetId = usize;

/// Whether a code is in a value set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    In,
    Out,
    /// The value set or the system is not listed here.
    Unlisted,
}

#[derive(Debug)]
enum Codes {
    Listed(HashSet<Box<str>>),
    /// All codes of a system that is not loaded, or a selection that cannot be computed.
    Unlisted,
}

/// An expanded value set.
#[derive(Debug)]
pub(super) struct ValueSet {
    url: Box<str>,
    systems: Vec<(Box<str>, Codes)>,
    /// Its definition is not loaded, or has a part that cannot be computed.
    unlisted: bool,
}

/// The code systems and value sets that are loaded.
#[derive(Debug, Default)]
pub(super) struct Terminology {
    systems: HashMap<Box<str>, HashSet<Box<str>>>,
    /// Codes that base R4's required value sets list; not all of their systems.
    base: HashMap<&'static str, HashSet<&'static str>>,
    sets: Vec<ValueSet>,
    by_url: HashMap<Box<str>, ValueSetId>,
}

impl Terminology {
    /// Expands the value sets of base R4 and those given. Says in `notes` what cannot be expanded.
    pub(super) fn load(
        systems: Vec<CodeSystemDefinition>,
        sets: &[ValueSetDefinition],
        notes: &mut Vec<String>,
    ) -> Terminology {
        let mut terminology = Terminology::default();
        for system in systems.into_iter().filter(|each| each.complete) {
            let codes = system.codes.into_iter().map(Into::into).collect();
            terminology.systems.insert(system.url.into(), codes);
        }
        terminology.add_base();
        for set in sets {
            terminology.expand(&set.url, sets, &mut Vec::new(), notes);
        }
        terminology
    }

    fn add_base(&mut self) {
        for (url, system, codes) in r4::value_sets() {
            let id = self.id_of(url);
            let set = &mut self.sets[id];
            if codes.is_empty() {
                continue;
            }
            set.unlisted = false;
            self.base.entry(system).or_default().extend(codes.split(','));
            set.systems.push((system.into(), Codes::Listed(codes.split(',').map(Into::into).collect())));
        }
    }

    /// The value set with this URL; one that is not loaded lists nothing.
    pub(super) fn id_of(&mut self, url: &str) -> ValueSetId {
        if let Some(&id) = self.by_url.get(url) {
            return id;
        }
        let id = self.sets.len();
        self.sets.push(ValueSet { url: url.into(), systems: Vec::new(), unlisted: true });
        self.by_url.insert(url.into(), id);
        id
    }

    /// The canonical URL of a value set.
    pub(super) fn url(&self, id: ValueSetId) -> &str {
        &self.sets[id].url
    }

    /// Whether anything is known of the set.
    pub(super) fn is_loaded(&self, id: ValueSetId) -> bool {
        !self.sets[id].unlisted || !self.sets[id].systems.is_empty()
    }

    /// Whether `code` of `system` is in the set. Without a system (an element of type code) any system of the set will do.
    pub(super) fn membership(&self, id: ValueSetId, system: Option<&str>, code: &str) -> Membership {
        let set = &self.sets[id];
        let mut unlisted = set.unlisted;
        for (own, codes) in &set.systems {
            if system.is_some_and(|system| system != &**own) {
                continue;
            }
            match codes {
                Codes::Listed(codes) if codes.contains(code) => return Membership::In,
                Codes::Listed(_) => {}
                Codes::Unlisted => unlisted = true,
            }
        }
        if unlisted { Membership::Unlisted } else { Membership::Out }
    }

    /// Whether `code` is one of `system`'s.
    pub(super) fn in_system(&self, system: &str, code: &str) -> Membership {
        match self.systems.get(system) {
            Some(codes) if codes.contains(code) => Membership::In,
            Some(_) => Membership::Out,
            None if self.is_base_code(system, code) => Membership::In,
            None => Membership::Unlisted,
        }
    }

    /// Whether a required value set of base R4 lists the code.
    fn is_base_code(&self, system: &str, code: &str) -> bool {
        self.base.get(system).is_some_and(|codes| codes.contains(code))
    }

    fn expand(
        &mut self,
        url: &str,
        sets: &[ValueSetDefinition],
        open: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) -> ValueSetId {
        let id = self.id_of(url);
        let Some(set) = sets.iter().find(|set| set.url == url) else { return id };
        if !self.sets[id].unlisted || open.iter().any(|each| each == url) {
            return id;
        }
        open.push(url.to_owned());
        let mut systems = Vec::new();
        let mut unlisted = false;
        for include in &set.include {
            unlisted |= !self.include(include, sets, &mut systems, open, notes);
        }
        for exclude in &set.exclude {
            unlisted |= !remove(exclude, &mut systems);
        }
        open.pop();
        if unlisted {
            notes.push(format!("value set {url}: a part of it cannot be expanded, codes in that part are not checked"));
        }
        self.sets[id].systems = systems;
        self.sets[id].unlisted = unlisted;
        id
    }

    /// Adds what an include selects; false if that cannot be computed.
    fn include(
        &mut self,
        include: &Include,
        sets: &[ValueSetDefinition],
        systems: &mut Vec<(Box<str>, Codes)>,
        open: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) -> bool {
        if let [nested] = include.value_sets.as_slice()
            && include.system.is_empty()
        {
            let id = self.expand(nested, sets, open, notes);
            systems.extend(self.sets[id].systems.iter().map(|(system, codes)| (system.clone(), codes.copied())));
            return !self.sets[id].unlisted;
        }
        if !include.value_sets.is_empty() || !include.other.is_empty() || include.system.is_empty() {
            return false;
        }
        let codes = match (include.codes.is_empty(), self.systems.get(&*include.system)) {
            (false, _) => Codes::Listed(include.codes.iter().map(|code| code.as_str().into()).collect()),
            (true, Some(all)) => Codes::Listed(all.clone()),
            (true, None) => Codes::Unlisted,
        };
        systems.push((include.system.as_str().into(), codes));
        true
    }
}

/// Takes away what an exclude selects; false if that cannot be computed.
fn remove(exclude: &Include, systems: &mut [(Box<str>, Codes)]) -> bool {
    if exclude.system.is_empty() || !exclude.value_sets.is_empty() || !exclude.other.is_empty() {
        return false;
    }
    for (_, codes) in systems.iter_mut().filter(|(system, _)| **system == *exclude.system) {
        let Codes::Listed(codes) = codes else { return false };
        if exclude.codes.is_empty() {
            codes.clear();
        }
        codes.retain(|code| !exclude.codes.iter().any(|gone| **gone == **code));
    }
    true
}

impl Codes {
    fn copied(&self) -> Codes {
        match self {
            Codes::Listed(codes) => Codes::Listed(codes.clone()),
            Codes::Unlisted => Codes::Unlisted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn include(system: &str, codes: &[&str], value_sets: &[&str]) -> Include {
        Include {
            system: system.to_owned(),
            codes: codes.iter().map(|&code| code.to_owned()).collect(),
            value_sets: value_sets.iter().map(|&url| url.to_owned()).collect(),
            other: Vec::new(),
        }
    }

    fn set(url: &str, include: Vec<Include>, exclude: Vec<Include>) -> ValueSetDefinition {
        ValueSetDefinition { url: url.to_owned(), include, exclude }
    }

    #[test]
    fn a_code_is_in_or_out_or_nobody_knows() {
        let system =
            CodeSystemDefinition { url: "s".to_owned(), complete: true, codes: vec!["a".to_owned(), "b".to_owned()] };
        let sets = [
            set("nested", vec![include("", &[], &["all"])], vec![include("s", &["b"], &[])]),
            set("all", vec![include("s", &[], &[])], vec![]),
            set("mixed", vec![include("http://snomed.info/sct", &[], &[]), include("s", &["a"], &[])], vec![]),
            set("loop", vec![include("", &[], &["loop"])], vec![]),
        ];
        let mut notes = Vec::new();
        let mut terminology = Terminology::load(vec![system], &sets, &mut notes);
        let mut check = |url: &str, system, code| {
            let id = terminology.id_of(url);
            terminology.membership(id, system, code)
        };
        assert_eq!(check("all", Some("s"), "b"), Membership::In);
        assert_eq!(check("nested", Some("s"), "a"), Membership::In);
        assert_eq!(check("nested", Some("s"), "b"), Membership::Out);
        assert_eq!(check("nested", Some("t"), "a"), Membership::Out);
        assert_eq!(check("mixed", Some("s"), "b"), Membership::Out);
        assert_eq!(check("mixed", Some("http://snomed.info/sct"), "1"), Membership::Unlisted);
        assert_eq!(check("mixed", None, "a"), Membership::In);
        assert_eq!(check("loop", None, "a"), Membership::Unlisted);
        assert_eq!(check("elsewhere", None, "a"), Membership::Unlisted);
        assert_eq!(check("http://hl7.org/fhir/ValueSet/administrative-gender", None, "male"), Membership::In);
        assert_eq!(check("http://hl7.org/fhir/ValueSet/administrative-gender", None, "man"), Membership::Out);
        assert_eq!(check("http://hl7.org/fhir/ValueSet/mimetypes", None, "text/plain"), Membership::Unlisted);
        assert_eq!(notes.len(), 1);
    }
}
