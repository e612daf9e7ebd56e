//! Value sets expanded when they are first asked for, and the answer to "is this code in it?" with "nobody here knows"
//! as a third answer.
//!
//! Code systems and value sets come from what is loaded, and from the tables of R4 (with v2 and v3). The codes of a
//! system that is in neither (SNOMED CT, LOINC, dm+d) are [`Membership::Unlisted`]: neither right nor wrong.

use std::sync::{Arc, OnceLock};

use regex::RegexBuilder;

use super::ecl::{Constraint, Operator, Range};
use super::hierarchy::Hierarchy;
use crate::fhir::definitions::without_version;
use crate::fhir::terminology::{CodeSystemDefinition, Concept, Content, Filter, Include, Text, ValueSetDefinition};
use crate::fhir::{FixedMap, FixedSet, r4};
use crate::fhirpath::Knowledge;

/// A value set by its URL, which need not be loaded; expanded when a code is first looked for.
#[derive(Debug)]
pub(super) struct NamedSet {
    url: Box<str>,
    set: OnceLock<ValueSet>,
}

impl NamedSet {
    pub(super) fn new(url: &str) -> Arc<NamedSet> {
        Arc::new(NamedSet { url: url.into(), set: OnceLock::new() })
    }

    /// Its canonical URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

/// Whether a code is in a value set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    In,
    Out,
    /// The value set or the system is not listed here.
    Unlisted,
}

/// Codes of one system.
#[derive(Clone, Debug, Default)]
struct Codes {
    /// Those that are known to be among them.
    listed: FixedSet<Text>,
    /// Whether there may be others: the system is not loaded, or not whole, or the selection cannot be computed.
    open: bool,
}

/// An expanded value set.
#[derive(Debug, Default)]
struct ValueSet {
    systems: Vec<(Text, Codes)>,
    /// Its definition is not loaded, or has a part that cannot be computed.
    unlisted: bool,
}

/// A code system, for look-ups.
#[derive(Debug)]
struct System {
    content: Content,
    concepts: Vec<Concept>,
    /// Places in `concepts`; a code that stands at several has the first.
    places: FixedMap<Text, usize>,
    /// Made when a filter first asks for it.
    hierarchy: OnceLock<Hierarchy>,
    /// Code and type of the properties that concepts may have.
    properties: Vec<(String, String)>,
}

/// The code systems and value sets that are loaded.
#[derive(Debug, Default)]
pub(super) struct Terminology {
    systems: FixedMap<Box<str>, System>,
    /// Those of R4, each read when it is first asked for.
    base: FixedMap<&'static str, OnceLock<Option<System>>>,
    definitions: FixedMap<Box<str>, ValueSetDefinition>,
    /// What value sets call the codes of systems: system, code, display.
    displays: FixedMap<Text, FixedMap<Text, Vec<Text>>>,
    sets: FixedMap<Box<str>, Arc<NamedSet>>,
}

impl Terminology {
    /// Takes code systems and value sets in. Says in `notes` what of them cannot be expanded.
    pub(super) fn load(
        systems: Vec<CodeSystemDefinition>,
        sets: Vec<ValueSetDefinition>,
        notes: &mut Vec<String>,
    ) -> Terminology {
        let base = r4::code_system_urls().map(|url| (url, OnceLock::new())).collect();
        let mut terminology = Terminology { base, ..Terminology::default() };
        for system in systems {
            terminology.systems.insert(system.url.as_str().into(), System::of(system));
        }
        for include in sets.iter().flat_map(|set| &set.include).filter(|include| !include.displays.is_empty()) {
            let codes = terminology.displays.entry(include.system.clone()).or_default();
            for (code, display) in &include.displays {
                codes.entry(code.clone()).or_default().push(display.clone());
            }
        }
        let urls: Vec<Box<str>> = sets.iter().map(|set| set.url.as_str().into()).collect();
        terminology.definitions = urls.iter().cloned().zip(sets).collect();
        for url in urls {
            let set = terminology.named(&url);
            if terminology.expansion(&set).unlisted {
                let what = "a part of it cannot be expanded, codes in that part are not checked";
                notes.push(format!("value set {url}: {what}"));
            }
        }
        terminology
    }

    /// The value set with this URL, which need not be loaded; each URL has one.
    pub(super) fn named(&mut self, url: &str) -> Arc<NamedSet> {
        let url = without_version(url);
        if let Some(known) = self.known(url) {
            return known;
        }
        let set = NamedSet::new(url);
        self.sets.insert(url.into(), Arc::clone(&set));
        set
    }

    /// The same, if it has been named before.
    pub(super) fn known(&self, url: &str) -> Option<Arc<NamedSet>> {
        self.sets.get(without_version(url)).cloned()
    }

    fn expansion<'s>(&self, set: &'s NamedSet) -> &'s ValueSet {
        set.set.get_or_init(|| self.expanded(&set.url, &mut Vec::new()))
    }

    /// Whether a value set with this URL is loaded or R4's.
    pub(super) fn is_value_set(&self, url: &str) -> bool {
        let url = without_version(url);
        self.definitions.contains_key(url) || r4::has_value_set(url)
    }

    /// Whether `code` of `system` is in the set. Without a system (an element of type code) any system of the set will do.
    pub(super) fn membership(&self, set: &NamedSet, system: Option<&str>, code: &str) -> Membership {
        self.expansion(set).membership(system, code)
    }

    /// The same for a value set by its URL.
    pub(super) fn membership_of(&self, url: &str, system: Option<&str>, code: &str) -> Membership {
        match self.sets.get(without_version(url)) {
            Some(set) => self.membership(set, system, code),
            None => self.expanded(without_version(url), &mut Vec::new()).membership(system, code),
        }
    }

    /// Whether `code` is one of `system`'s.
    pub(super) fn in_system(&self, url: &str, code: &str) -> Membership {
        match self.system(url) {
            Some(system) if system.places.contains_key(code) => Membership::In,
            Some(system) if system.content == Content::Complete => Membership::Out,
            _ => Membership::Unlisted,
        }
    }

    /// What the code's system or a value set calls a code of `system`, if it is not `display`: the first of its names,
    /// and whether it has others. Case and white space make no difference.
    pub(super) fn other_display<'t>(&'t self, url: &str, code: &str, display: &str) -> Option<(&'t str, bool)> {
        let system = self.system(url)?;
        let concept = &system.concepts[*system.places.get(code)?];
        let mut names = concept.names.split('\n').filter(|name| !name.is_empty());
        let first = names.next()?;
        let mut of_sets =
            self.displays.get(without_version(url)).and_then(|codes| codes.get(code)).into_iter().flatten();
        let has_others = names.clone().next().is_some();
        let is_same = is_same_text(first, display)
            || names.any(|name| is_same_text(name, display))
            || of_sets.any(|name| is_same_text(name, display));
        (!is_same).then_some((first, has_others))
    }

    /// Whether the URL is that of a supplement, which has no codes of its own.
    pub(super) fn is_supplement(&self, url: &str) -> bool {
        self.system(url).is_some_and(|system| system.content == Content::Supplement)
    }

    /// The type of a property that a code system declares.
    pub(super) fn property_type(&self, url: &str, code: &str) -> Option<&str> {
        let properties = &self.system(url)?.properties;
        properties.iter().find(|(own, _)| own == code).map(|(_, kind)| kind.as_str())
    }

    fn system(&self, url: &str) -> Option<&System> {
        let url = without_version(url);
        if let Some(system) = self.systems.get(url) {
            return Some(system);
        }
        self.base.get(url)?.get_or_init(|| r4::code_system(url).map(System::of)).as_ref()
    }

    /// The codes of a value set; `open` holds those that are being expanded around it.
    fn expanded(&self, url: &str, open: &mut Vec<String>) -> ValueSet {
        let base;
        let definition = match self.definitions.get(url) {
            Some(definition) => Some(definition),
            None => {
                base = r4::value_set(url);
                base.as_ref()
            }
        };
        let Some(definition) = definition.filter(|_| !open.iter().any(|each| each == url)) else {
            return ValueSet { systems: Vec::new(), unlisted: true };
        };
        open.push(url.to_owned());
        let mut set = ValueSet::default();
        for include in &definition.include {
            set.add(self.selected(include, open));
        }
        for exclude in &definition.exclude {
            let gone = self.selected(exclude, open);
            set.remove(&gone);
        }
        open.pop();
        let is_known = !set.unlisted && !set.systems.iter().any(|(_, codes)| codes.open);
        if !definition.expansion.is_empty() && (!is_known || definition.include.is_empty()) {
            set = ValueSet::default();
            definition.expansion.iter().for_each(|include| set.add(self.selected(include, open)));
        } else if definition.include.is_empty() {
            set.unlisted = true;
        }
        set
    }

    /// What an include or exclude selects.
    fn selected(&self, include: &Include, open: &mut Vec<String>) -> ValueSet {
        let mut own = (!include.system.is_empty()).then(|| ValueSet {
            systems: vec![(include.system.clone(), self.of_system(include))],
            unlisted: !include.other.is_empty(),
        });
        for nested in &include.value_sets {
            let nested = self.expanded(nested, open);
            own = Some(match own {
                Some(own) => own.common(&nested),
                None => nested,
            });
        }
        own.unwrap_or(ValueSet { systems: Vec::new(), unlisted: true })
    }

    fn of_system(&self, include: &Include) -> Codes {
        if !include.codes.is_empty() {
            return Codes { listed: include.codes.iter().cloned().collect(), open: false };
        }
        let Some(system) = self.system(&include.system) else { return Codes::unknown() };
        // What a part of a system does not say of a code, the rest of it may.
        let open = system.content != Content::Complete;
        let mut codes: Vec<bool> = system.concepts.iter().map(|concept| concept.selectable).collect();
        for filter in &include.filters {
            let Some(selected) = system.filtered(filter).filter(|_| !open || !is_negative(filter)) else {
                return Codes::unknown();
            };
            codes.iter_mut().zip(selected).for_each(|(code, selected)| *code &= selected);
        }
        let chosen = system.concepts.iter().zip(codes).filter(|(_, chosen)| *chosen);
        Codes { listed: chosen.map(|(concept, _)| concept.code.clone()).collect(), open }
    }
}

/// Whether two texts differ by case and white space alone.
fn is_same_text(left: &str, right: &str) -> bool {
    let letters = |word: &str| word.chars().flat_map(char::to_lowercase).collect::<String>();
    left == right || left.split_whitespace().map(letters).eq(right.split_whitespace().map(letters))
}

/// Whether a filter selects by what a concept does not have.
fn is_negative(filter: &Filter) -> bool {
    let is_constraint = filter.property == "constraint";
    matches!(&*filter.op, "is-not-a" | "not-in")
        || filter.op == "exists" && filter.value != "true"
        || is_constraint && Constraint::read(&filter.value).is_some_and(|constraint| constraint.is_negative())
}

impl Codes {
    fn unknown() -> Codes {
        Codes { listed: FixedSet::default(), open: true }
    }
}

/// Answers `memberOf()` in invariants.
impl Knowledge for Terminology {
    fn is_member(&self, value_set: &str, system: Option<&str>, code: &str) -> Option<bool> {
        match self.membership_of(value_set, system, code) {
            Membership::In => Some(true),
            Membership::Out => Some(false),
            Membership::Unlisted => None,
        }
    }
}

impl ValueSet {
    fn membership(&self, system: Option<&str>, code: &str) -> Membership {
        let mut unlisted = self.unlisted;
        for (own, codes) in &self.systems {
            if system.is_some_and(|system| system != &**own) {
                continue;
            }
            if codes.listed.contains(code) {
                return Membership::In;
            }
            unlisted |= codes.open;
        }
        if unlisted { Membership::Unlisted } else { Membership::Out }
    }

    fn add(&mut self, other: ValueSet) {
        self.unlisted |= other.unlisted;
        self.systems.extend(other.systems);
    }

    /// Takes away what `gone` has. What may or may not be in `gone` may or may not stay.
    fn remove(&mut self, gone: &ValueSet) {
        for (system, codes) in &mut self.systems {
            for (_, gone) in gone.systems.iter().filter(|(other, _)| other == system) {
                match gone.open {
                    true => *codes = Codes::unknown(),
                    false => codes.listed.retain(|code| !gone.listed.contains(code)),
                }
            }
            if gone.unlisted {
                *codes = Codes::unknown();
            }
        }
    }

    /// What both have.
    fn common(self, other: &ValueSet) -> ValueSet {
        let mut systems = Vec::new();
        for (system, codes) in self.systems {
            if other.unlisted {
                systems.push((system.clone(), Codes::unknown()));
                continue;
            }
            for (_, others) in other.systems.iter().filter(|(name, _)| *name == system) {
                let listed = codes.listed.intersection(&others.listed).cloned().collect();
                systems.push((system.clone(), Codes { listed, open: codes.open || others.open }));
            }
        }
        ValueSet { systems, unlisted: self.unlisted }
    }
}

impl System {
    fn of(definition: CodeSystemDefinition) -> System {
        let CodeSystemDefinition { content, concepts, properties, .. } = definition;
        let mut places = FixedMap::with_capacity_and_hasher(concepts.len(), Default::default());
        for (place, concept) in concepts.iter().enumerate() {
            places.entry(concept.code.clone()).or_insert(place);
        }
        System { content, concepts, places, hierarchy: OnceLock::new(), properties }
    }

    /// For each concept, whether the filter selects it; `None` if that cannot be computed.
    fn filtered(&self, filter: &Filter) -> Option<Vec<bool>> {
        let value = &*filter.value;
        let is_code = matches!(&*filter.property, "concept" | "code");
        let each = |test: &dyn Fn(&Concept) -> bool| Some(self.concepts.iter().map(test).collect());
        let has = |concept: &Concept, test: &dyn Fn(&str) -> bool| match is_code {
            true => test(&concept.code),
            false => concept.properties.iter().any(|(name, own)| *name == *filter.property && test(own)),
        };
        match &*filter.op {
            "is-a" if is_code => Some(self.below(value, true)),
            "descendent-of" if is_code => Some(self.below(value, false)),
            "is-not-a" if is_code => Some(self.below(value, true).into_iter().map(|is| !is).collect()),
            "generalizes" if is_code => Some(self.above(value)),
            "=" if matches!(&*filter.property, "parent" | "subsumedBy") => Some(self.children(value)),
            "=" if &*filter.property == "constraint" => Some(self.constrained(&Constraint::read(value)?)),
            "=" => each(&|concept| has(concept, &|own| own == value)),
            "in" => each(&|concept| has(concept, &|own| value.split(',').any(|one| one.trim() == own))),
            "not-in" => each(&|concept| !has(concept, &|own| value.split(',').any(|one| one.trim() == own))),
            "exists" => each(&|concept| has(concept, &|_| true) == (value == "true")),
            "regex" => {
                let pattern = RegexBuilder::new(&format!("^(?:{value})$")).size_limit(1 << 20).build().ok()?;
                each(&|concept| has(concept, &|own| pattern.is_match(own)))
            }
            _ => None,
        }
    }

    /// What an expression of SNOMED CT's constraint language selects.
    fn constrained(&self, constraint: &Constraint<'_>) -> Vec<bool> {
        let (operator, operands) = match constraint {
            Constraint::Any => return vec![true; self.concepts.len()],
            Constraint::Concept(range, code) => return self.in_range(*range, code),
            Constraint::Joined(operator, operands) => (*operator, operands),
        };
        let mut each = operands.iter().map(|operand| self.constrained(operand));
        let mut selected = each.next().unwrap_or_default();
        for other in each {
            for (one, other) in selected.iter_mut().zip(other) {
                *one = match operator {
                    Operator::And => *one && other,
                    Operator::Or => *one || other,
                    Operator::Minus => *one && !other,
                };
            }
        }
        selected
    }

    fn in_range(&self, range: Range, code: &str) -> Vec<bool> {
        match range {
            Range::Own => self.concepts.iter().map(|concept| concept.code == code).collect(),
            Range::Below => self.below(code, false),
            Range::OwnAndBelow => self.below(code, true),
            Range::Children => self.children(code),
            Range::Above => {
                let mut above = self.above(code);
                above.iter_mut().zip(&self.concepts).for_each(|(is, concept)| *is &= concept.code != code);
                above
            }
            Range::OwnAndAbove => self.above(code),
        }
    }

    /// The concepts below a code, and with `own` the code itself.
    fn below(&self, code: &str, own: bool) -> Vec<bool> {
        self.marked(code, |hierarchy, at| hierarchy.below(at).into_iter().filter(|&each| own || each != at).collect())
    }

    /// A code and those it stands below.
    fn above(&self, code: &str) -> Vec<bool> {
        self.marked(code, Hierarchy::above)
    }

    fn children(&self, code: &str) -> Vec<bool> {
        self.marked(code, |hierarchy, at| hierarchy.children(at).collect())
    }

    /// The concepts at the places that `find` finds from a code's, and where the same codes stand again.
    fn marked(&self, code: &str, find: impl Fn(&Hierarchy, usize) -> Vec<usize>) -> Vec<bool> {
        let hierarchy = self.hierarchy.get_or_init(|| Hierarchy::of(&self.concepts, &self.places));
        let found = self.places.get(code).map(|&place| find(hierarchy, place)).unwrap_or_default();
        let mut marks = vec![false; self.concepts.len()];
        found.into_iter().for_each(|place| marks[place] = true);
        self.concepts.iter().map(|concept| marks[self.places[&concept.code]]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&'static str]) -> Vec<Text> {
        texts.iter().map(|&text| text.into()).collect()
    }

    fn include(system: &'static str, codes: &[&'static str], value_sets: &[&'static str]) -> Include {
        let (codes, value_sets) = (texts(codes), texts(value_sets));
        Include { system: system.into(), codes, value_sets, ..Include::default() }
    }

    fn filter(property: &'static str, op: &'static str, value: &'static str) -> Include {
        let filters = vec![Filter { property: property.into(), op: op.into(), value: value.into() }];
        Include { system: "tree".into(), filters, ..Include::default() }
    }

    fn set(url: &str, include: Vec<Include>, exclude: Vec<Include>) -> ValueSetDefinition {
        ValueSetDefinition { url: url.to_owned(), include, exclude, expansion: vec![] }
    }

    fn system(url: &str, concepts: &[(&'static str, usize)]) -> CodeSystemDefinition {
        let concept = |&(code, level): &(&'static str, usize)| Concept {
            code: code.into(),
            level,
            selectable: !code.starts_with('_'),
            properties: vec![("length".to_owned(), code.len().to_string())],
            names: Text::default(),
        };
        let concepts = concepts.iter().map(concept).collect();
        CodeSystemDefinition { url: url.to_owned(), content: Content::Complete, concepts, properties: vec![] }
    }

    #[test]
    fn a_code_is_in_or_out_or_nobody_knows() {
        let sets = vec![
            set("nested", vec![include("", &[], &["all"])], vec![include("s", &["b"], &[])]),
            set("all", vec![include("s", &[], &[])], vec![]),
            set("mixed", vec![include("http://snomed.info/sct", &[], &[]), include("s", &["a"], &[])], vec![]),
            set("loop", vec![include("", &[], &["loop"])], vec![]),
            set("both", vec![include("s", &[], &["nested"])], vec![]),
        ];
        let mut notes = Vec::new();
        let mut terminology = Terminology::load(vec![system("s", &[("a", 0), ("b", 0)])], sets, &mut notes);
        let mut check = |url: &str, system, code| {
            let set = terminology.named(url);
            assert_eq!(terminology.membership_of(url, system, code), terminology.membership(&set, system, code));
            terminology.membership(&set, system, code)
        };
        assert_eq!(check("all", Some("s"), "b"), Membership::In);
        assert_eq!(check("nested", Some("s"), "a"), Membership::In);
        assert_eq!(check("nested", Some("s"), "b"), Membership::Out);
        assert_eq!(check("nested", Some("t"), "a"), Membership::Out);
        assert_eq!(check("both", Some("s"), "a"), Membership::In);
        assert_eq!(check("both", Some("s"), "b"), Membership::Out);
        assert_eq!(check("mixed", Some("s"), "b"), Membership::Out);
        assert_eq!(check("mixed", Some("http://snomed.info/sct"), "1"), Membership::Unlisted);
        assert_eq!(check("mixed", None, "a"), Membership::In);
        assert_eq!(check("loop", None, "a"), Membership::Unlisted);
        assert_eq!(check("elsewhere", None, "a"), Membership::Unlisted);
        assert_eq!(check("http://hl7.org/fhir/ValueSet/administrative-gender", None, "male"), Membership::In);
        assert_eq!(check("http://hl7.org/fhir/ValueSet/administrative-gender", None, "man"), Membership::Out);
        assert_eq!(check("http://hl7.org/fhir/ValueSet/mimetypes", None, "text/plain"), Membership::Unlisted);
        let encounter = "http://terminology.hl7.org/ValueSet/v3-ActEncounterCode";
        assert_eq!(check(encounter, None, "AMB"), Membership::In);
        assert_eq!(check(encounter, None, "_ActEncounterCode"), Membership::Out);
        assert_eq!(notes.len(), 1);
        let asked = |url: &str, system, code| Knowledge::is_member(&terminology, url, system, code);
        assert_eq!(asked("nested|1.0", Some("s"), "a"), Some(true));
        assert_eq!(asked("nested", Some("s"), "b"), Some(false));
        assert_eq!(asked("mixed", Some("http://snomed.info/sct"), "1"), None);
        assert_eq!(asked("never named", None, "a"), None);
    }

    #[test]
    fn filters_select_by_hierarchy_code_and_property() {
        let tree = || system("tree", &[("_top", 0), ("bb", 1), ("c", 2), ("dd", 1), ("e", 0)]);
        let chosen = |include: Include| {
            let mut terminology = Terminology::load(vec![tree()], vec![set("s", vec![include], vec![])], &mut vec![]);
            let set = terminology.named("s");
            let verdict = |code| match terminology.membership(&set, None, code) {
                Membership::In => code,
                Membership::Out => "",
                Membership::Unlisted => "?",
            };
            ["_top", "bb", "c", "dd", "e"].map(verdict).concat()
        };
        assert_eq!(chosen(filter("concept", "is-a", "_top")), "bbcdd");
        assert_eq!(chosen(filter("concept", "is-a", "bb")), "bbc");
        assert_eq!(chosen(filter("concept", "descendent-of", "bb")), "c");
        assert_eq!(chosen(filter("concept", "is-not-a", "bb")), "dde");
        assert_eq!(chosen(filter("concept", "generalizes", "c")), "bbc");
        assert_eq!(chosen(filter("parent", "=", "_top")), "bbdd");
        assert_eq!(chosen(filter("code", "regex", "[b-c]+")), "bbc");
        assert_eq!(chosen(filter("length", "=", "1")), "ce");
        assert_eq!(chosen(filter("concept", "in", "c, e")), "ce");
        assert_eq!(chosen(filter("length", "not-in", "1")), "bbdd");
        assert_eq!(chosen(filter("concept", "child-of", "bb")), "?????");
        assert_eq!(chosen(filter("constraint", "=", "<< bb |term| OR e")), "bbce");
        assert_eq!(chosen(filter("constraint", "=", "< bb")), "c");
        assert_eq!(chosen(filter("constraint", "=", "<< bb MINUS c")), "bb");
        assert_eq!(chosen(filter("constraint", "=", "(<< bb OR dd) AND <! bb")), "c");
        assert_eq!(chosen(filter("constraint", "=", "> c")), "bb");
        assert_eq!(chosen(filter("constraint", "=", ">> c MINUS bb")), "c");
        assert_eq!(chosen(filter("constraint", "=", "* MINUS e")), "bbcdd");
        assert_eq!(chosen(filter("constraint", "=", "<< bb: e = c")), "?????");
    }

    /// `d` has two parents, one by nesting; `x` and `y` are each other's.
    #[test]
    fn hierarchies_are_nested_or_told_by_properties() {
        let with = |code: &'static str, level, properties: &[(&str, &str)]| Concept {
            code: code.into(),
            level,
            selectable: true,
            properties: properties.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            names: Text::default(),
        };
        let concepts = vec![
            with("a", 0, &[("child", "e")]),
            with("b", 1, &[]),
            with("c", 0, &[]),
            with("d", 1, &[("parent", "b")]),
            with("e", 0, &[("parent", "none")]),
            with("f", 0, &[("subsumedBy", "e")]),
            with("x", 0, &[("parent", "y")]),
            with("y", 0, &[("parent", "x")]),
        ];
        let places = concepts.iter().enumerate().map(|(place, concept)| (concept.code.clone(), place)).collect();
        let content = Content::Complete;
        let system = System { content, concepts, places, hierarchy: OnceLock::new(), properties: vec![] };
        let codes = |marks: Vec<bool>| -> String {
            system.concepts.iter().zip(marks).filter(|(_, is)| *is).map(|(concept, _)| &*concept.code).collect()
        };
        assert_eq!(codes(system.below("a", true)), "abdef");
        assert_eq!(codes(system.below("b", false)), "d");
        assert_eq!(codes(system.children("a")), "be");
        assert_eq!(codes(system.above("d")), "abcd");
        assert_eq!(codes(system.below("x", true)), "xy");
        assert_eq!(codes(system.below("none", true)), "");
    }

    #[test]
    fn of_a_part_of_a_system_some_codes_are_known_to_be_in() {
        let part = CodeSystemDefinition { content: Content::Partial, ..system("tree", &[("a", 0), ("b", 1)]) };
        let is_not = filter("concept", "is-not-a", "b");
        let sets = vec![
            set("all", vec![include("tree", &[], &[])], vec![]),
            set("below", vec![filter("concept", "descendent-of", "a")], vec![]),
            set("not", vec![is_not], vec![]),
            set("minus", vec![filter("constraint", "=", "<< a MINUS b")], vec![]),
        ];
        let mut terminology = Terminology::load(vec![part], sets, &mut vec![]);
        let mut verdicts = |url: &str| {
            let set = terminology.named(url);
            ["a", "b", "z"].map(|code| terminology.membership(&set, Some("tree"), code))
        };
        assert_eq!(verdicts("all"), [Membership::In, Membership::In, Membership::Unlisted]);
        assert_eq!(verdicts("below"), [Membership::Unlisted, Membership::In, Membership::Unlisted]);
        assert_eq!(verdicts("not"), [Membership::Unlisted; 3]);
        assert_eq!(verdicts("minus"), [Membership::Unlisted; 3]);
    }
}
