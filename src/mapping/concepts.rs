//! Concept maps, embedded in a map or given as resources, ready for `translate`.

use std::collections::HashMap;

use fml_syntax::{AstNode, SyntaxNode, ast};

use crate::fhir::Node;

/// A code in a code system; the system may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) system: Option<Box<str>>,
    pub(super) code: Box<str>,
    pub(super) display: Option<Box<str>>,
}

#[derive(Debug)]
struct Entry {
    source: Option<Box<str>>,
    target: Code,
}

/// What to do with a code of `source` that no entry names.
#[derive(Debug)]
struct Unmapped {
    source: Option<Box<str>>,
    target: UnmappedTarget,
}

#[derive(Debug)]
enum UnmappedTarget {
    Provided(Option<Box<str>>),
    Fixed(Code),
    /// Another concept map: its URL, and once all are read, its index.
    Other(Box<str>, usize),
}

/// A compiled concept map.
#[derive(Debug, Default)]
pub(super) struct Concepts {
    /// What `translate` calls it: `#id`, or its URL.
    pub(super) name: Box<str>,
    entries: HashMap<Box<str>, Vec<Entry>>,
    unmapped: Vec<Unmapped>,
}

/// What a translation gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translation<'c> {
    /// The target of an entry or of a fixed rule.
    Code(&'c Code),
    /// The source code itself, in this system.
    Provided(Option<&'c str>),
}

/// What one concept map says about a code.
enum Found<'c> {
    Translation(Translation<'c>),
    /// Another concept map decides.
    Other(usize),
}

/// The translation of `code` by the concept map `first` of `all`; without a system, of a code of that name in any
/// system.
pub(super) fn translate<'c>(
    all: &'c [Concepts],
    first: usize,
    system: Option<&str>,
    code: &str,
) -> Option<Translation<'c>> {
    let mut map = first;
    // Each map is asked at most once: that none leads back to itself is checked when they are read.
    for _ in all {
        match all.get(map)?.lookup(system, code)? {
            Found::Translation(translation) => return Some(translation),
            Found::Other(next) => map = next,
        }
    }
    None
}

/// Tells each concept map where the other ones are that it names.
///
/// # Errors
/// The index of a map, and what is wrong: it names one that nobody gave, or leads back to itself.
pub(super) fn link(all: &mut [Concepts], index: impl Fn(&str) -> Option<usize>) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for (own, concepts) in all.iter_mut().enumerate() {
        for unmapped in &mut concepts.unmapped {
            if let UnmappedTarget::Other(url, other) = &mut unmapped.target {
                match index(url) {
                    Some(found) => *other = found,
                    None => {
                        faults.push((own, format!("no concept map is called {url}, where unmapped codes are sent")))
                    }
                }
            }
        }
    }
    if faults.is_empty() {
        let loops = (0..all.len()).filter(|&map| leads_to(all, map, map, &mut vec![false; all.len()]));
        faults.extend(loops.map(|map| (map, "its unmapped codes are sent back to itself".to_owned())));
    }
    faults
}

fn leads_to(all: &[Concepts], from: usize, to: usize, seen: &mut [bool]) -> bool {
    let mut others = all[from].unmapped.iter().filter_map(|unmapped| match unmapped.target {
        UnmappedTarget::Other(_, other) => Some(other),
        _ => None,
    });
    !std::mem::replace(&mut seen[from], true) && others.any(|other| other == to || leads_to(all, other, to, seen))
}

impl Concepts {
    fn lookup(&self, system: Option<&str>, code: &str) -> Option<Found<'_>> {
        let fits = |source: &Option<Box<str>>| match (system, source.as_deref()) {
            (Some(system), Some(source)) => system == source,
            _ => true,
        };
        if let Some(entry) = self.entries.get(code).and_then(|entries| entries.iter().find(|entry| fits(&entry.source)))
        {
            return Some(Found::Translation(Translation::Code(&entry.target)));
        }
        self.unmapped.iter().find(|rule| fits(&rule.source)).map(|rule| match &rule.target {
            UnmappedTarget::Provided(system) => Found::Translation(Translation::Provided(system.as_deref())),
            UnmappedTarget::Fixed(code) => Found::Translation(Translation::Code(code)),
            UnmappedTarget::Other(_, other) => Found::Other(*other),
        })
    }

    /// Each code with what it becomes, in the order of the codes.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let entries = self.entries.iter().flat_map(|(code, entries)| entries.iter().map(move |entry| (code, entry)));
        let mut rows: Vec<(String, String)> =
            entries.map(|(code, entry)| (code.to_string(), entry.target.code.to_string())).collect();
        rows.sort();
        rows
    }

    /// Adds an entry. A second target for the same code is a fault: which one is meant cannot be known.
    fn add(&mut self, source: Option<Box<str>>, code: Box<str>, target: Code) -> Result<(), String> {
        let entries = self.entries.entry(code).or_default();
        if entries.iter().any(|known| known.source == source && known.target != target) {
            return Err("a code has two targets in this concept map".to_owned());
        }
        entries.push(Entry { source, target });
        Ok(())
    }

    /// A concept map written in a mapping file.
    /// What is wrong with it comes with the place.
    pub(super) fn from_map(written: &ast::ConceptMap) -> Result<Concepts, (SyntaxNode, String)> {
        let prefixes: HashMap<String, Box<str>> = written
            .prefixes()
            .filter_map(|prefix| Some((prefix.name()?, prefix.url()?.value()?.into_boxed_str())))
            .collect();
        let system = |node: &SyntaxNode, prefix: Option<String>| match prefix {
            None => Ok(None),
            Some(prefix) => match prefixes.get(&prefix) {
                Some(url) => Ok(Some(url.clone())),
                None => Err((node.clone(), format!("the prefix {prefix} is not declared in this concept map"))),
            },
        };
        let mut concepts = Concepts::default();
        for entry in written.entries() {
            let relation = entry.relation().unwrap_or_default();
            let (Some(source), Some(target)) = (entry.source(), entry.target()) else { continue };
            let (Some(code), Some(target_code)) = (source.code(), target.code()) else { continue };
            match relation.as_str() {
                "-" | "=" | "==" | "<=" => {}
                "!=" | ">=" | "~" | "<" | ">" => continue,
                other => {
                    let fault = format!("the relationship {other} is not one of - = == != <= >= ~");
                    return Err((entry.syntax().clone(), fault));
                }
            }
            let to = system(target.syntax(), target.prefix())?;
            let target = Code { system: to, code: target_code.into(), display: None };
            let from = system(source.syntax(), source.prefix())?;
            concepts.add(from, code.into(), target).map_err(|fault| (entry.syntax().clone(), fault))?;
        }
        for rule in written.unmapped() {
            match rule.mode().as_deref() {
                Some("provided") => {
                    let source = system(rule.syntax(), rule.prefix())?;
                    concepts.unmapped.push(Unmapped { target: UnmappedTarget::Provided(source.clone()), source });
                }
                mode => {
                    let mode = mode.unwrap_or("(none)");
                    let fault = format!("a concept map in a mapping file knows unmapped = provided only, not {mode}");
                    return Err((rule.syntax().clone(), fault));
                }
            }
        }
        Ok(concepts)
    }

    /// A ConceptMap resource.
    pub(super) fn from_resource(resource: Node<'_>) -> Result<Concepts, String> {
        let mut concepts = Concepts::default();
        for group in resource.items_of("group") {
            let (source, target) = (text(group, "source"), text(group, "target"));
            for element in group.items_of("element") {
                concepts.add_element(element, &source, &target)?;
            }
            if let Some(unmapped) = group.member("unmapped") {
                concepts.add_unmapped(unmapped, source, target)?;
            }
        }
        Ok(concepts)
    }

    fn add_element(
        &mut self,
        element: Node<'_>,
        source: &Option<Box<str>>,
        system: &Option<Box<str>>,
    ) -> Result<(), String> {
        let Some(code) = text(element, "code") else { return Ok(()) };
        for target in element.items_of("target") {
            // R4 says `equivalence`, how the target compares to the source; R5 `relationship`, the other way round.
            let accepted = match (text(target, "equivalence").as_deref(), text(target, "relationship").as_deref()) {
                (Some(equivalence), _) => {
                    matches!(equivalence, "relatedto" | "equivalent" | "equal" | "wider" | "subsumes")
                }
                (None, Some(relationship)) => {
                    matches!(relationship, "related-to" | "equivalent" | "source-is-narrower-than-target")
                }
                (None, None) => true,
            };
            let (true, Some(target_code)) = (accepted, text(target, "code")) else { continue };
            let target = Code { system: system.clone(), code: target_code, display: text(target, "display") };
            self.add(source.clone(), code.clone(), target)?;
        }
        Ok(())
    }

    fn add_unmapped(
        &mut self,
        unmapped: Node<'_>,
        source: Option<Box<str>>,
        system: Option<Box<str>>,
    ) -> Result<(), String> {
        let target = match text(unmapped, "mode").as_deref() {
            Some("provided" | "use-source-code") => UnmappedTarget::Provided(source.clone()),
            Some("other-map") => {
                let url = text(unmapped, "url").or_else(|| text(unmapped, "otherMap"));
                UnmappedTarget::Other(url.ok_or("unmapped.mode is other-map and unmapped.url is missing")?, usize::MAX)
            }
            Some("fixed") => UnmappedTarget::Fixed(Code {
                system,
                code: text(unmapped, "code").ok_or("unmapped.mode is fixed and unmapped.code is missing")?,
                display: text(unmapped, "display"),
            }),
            mode => {
                return Err(format!(
                    "unmapped.mode is {}, not provided, fixed or other-map",
                    mode.unwrap_or("missing")
                ));
            }
        };
        self.unmapped.push(Unmapped { source, target });
        Ok(())
    }
}

fn text(node: Node<'_>, name: &str) -> Option<Box<str>> {
    node.member(name)?.text().map(|text| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};

    fn code(concepts: &Concepts, system: Option<&str>, code: &str) -> Option<String> {
        translate(std::slice::from_ref(concepts), 0, system, code).map(|found| match found {
            Translation::Code(found) => found.code.to_string(),
            Translation::Provided(system) => format!("{code} of {system:?}"),
        })
    }

    #[test]
    fn an_embedded_map_translates_by_system() {
        let file = fml_syntax::parse(
            "conceptmap \"#x\" { prefix s = \"http://s\" prefix t = \"http://t\" unmapped for s = provided\n \
             s:a - t:A\n s:b == t:\"B b\"\n s:c != t:C }",
        );
        let concepts =
            Concepts::from_map(&file.tree().concept_maps().next().expect("it is there")).expect("it is sound");
        assert_eq!(code(&concepts, Some("http://s"), "a").as_deref(), Some("A"));
        assert_eq!(code(&concepts, None, "b").as_deref(), Some("B b"));
        assert_eq!(code(&concepts, Some("http://other"), "a"), None);
        assert_eq!(code(&concepts, None, "c").as_deref(), Some("c of Some(\"http://s\")"));
    }

    #[test]
    fn a_resource_may_fix_the_unmapped() {
        let resource = r#"{"resourceType":"ConceptMap","group":[{"source":"http://s","target":"http://t",
            "element":[{"code":"a","target":[{"code":"A","equivalence":"equal"},{"code":"X","equivalence":"disjoint"}]}],
            "unmapped":{"mode":"fixed","code":"Z"}}]}"#;
        let document = Document::parse(resource, &Limits::default()).expect("it is JSON");
        let concepts = Concepts::from_resource(document.root()).expect("it is sound");
        assert_eq!(code(&concepts, None, "a").as_deref(), Some("A"));
        assert_eq!(code(&concepts, None, "b").as_deref(), Some("Z"));
    }

    #[test]
    fn the_unmapped_may_be_sent_to_another_map() {
        let resource = |unmapped: &str, code: &str| {
            let text = format!(
                r#"{{"resourceType":"ConceptMap","group":[{{"source":"http://s","target":"http://t",
                "element":[{{"code":"{code}","target":[{{"code":"T-{code}","relationship":"equivalent"}}]}}],
                "unmapped":{unmapped}}}]}}"#
            );
            let document = Document::parse(text, &Limits::default()).expect("it is JSON");
            Concepts::from_resource(document.root()).expect("it is sound")
        };
        let first = || resource(r#"{"mode":"other-map","url":"http://x/second"}"#, "a");
        let second = resource(r#"{"mode":"use-source-code"}"#, "b");
        let by_url = |url: &str| ["http://x/first", "http://x/second"].iter().position(|known| *known == url);
        let mut all = [first(), second];
        assert_eq!(link(&mut all, by_url), []);
        let target = |code: &str| match translate(&all, 0, Some("http://s"), code) {
            Some(Translation::Code(found)) => found.code.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!((target("a").as_str(), target("b").as_str()), ("T-a", "T-b"));
        assert_eq!(target("c"), "Some(Provided(Some(\"http://s\")))");
        let mut looped = [first(), resource(r#"{"mode":"other-map","otherMap":"http://x/first"}"#, "b")];
        assert_eq!(link(&mut looped, by_url).len(), 2);
        let mut dangling = [first()];
        let faults = link(&mut dangling, |_| None);
        assert_eq!(faults[0].1, "no concept map is called http://x/second, where unmapped codes are sent");
    }

    #[test]
    fn two_targets_for_one_code_are_refused() {
        let file =
            fml_syntax::parse("conceptmap \"#x\" { prefix s = \"s\" prefix t = \"t\"\n s:a - t:A\n s:a - t:B\n }");
        assert!(Concepts::from_map(&file.tree().concept_maps().next().expect("it is there")).is_err());
    }
}
