//! Concept maps, embedded in a map or given as resources, ready for `translate`.

use std::collections::HashMap;

use fml_syntax::ast;

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
}

/// A compiled concept map.
#[derive(Debug, Default)]
pub(super) struct Concepts {
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

impl Concepts {
    /// The translation of `code`; without a system, of a code of that name in any system.
    pub(super) fn translate(&self, system: Option<&str>, code: &str) -> Option<Translation<'_>> {
        let fits = |source: &Option<Box<str>>| match (system, source.as_deref()) {
            (Some(system), Some(source)) => system == source,
            _ => true,
        };
        if let Some(entry) = self.entries.get(code).and_then(|entries| entries.iter().find(|entry| fits(&entry.source)))
        {
            return Some(Translation::Code(&entry.target));
        }
        self.unmapped.iter().find(|rule| fits(&rule.source)).map(|rule| match &rule.target {
            UnmappedTarget::Provided(system) => Translation::Provided(system.as_deref()),
            UnmappedTarget::Fixed(code) => Translation::Code(code),
        })
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
    pub(super) fn from_map(written: &ast::ConceptMap) -> Result<Concepts, String> {
        let prefixes: HashMap<String, Box<str>> = written
            .prefixes()
            .filter_map(|prefix| Some((prefix.name()?, prefix.url()?.value()?.into_boxed_str())))
            .collect();
        let system = |prefix: Option<String>| prefix.and_then(|prefix| prefixes.get(&prefix).cloned());
        let mut concepts = Concepts::default();
        for entry in written.entries() {
            let relation = entry.relation().unwrap_or_default();
            let (Some(source), Some(target)) = (entry.source(), entry.target()) else { continue };
            let (Some(code), Some(target_code)) = (source.code(), target.code()) else { continue };
            match relation.as_str() {
                "-" | "=" | "==" | "<=" => {}
                "!=" | ">=" | "~" | "<" | ">" => continue,
                other => return Err(format!("the relationship {other} is not one of - = == != <= >= ~")),
            }
            let target = Code { system: system(target.prefix()), code: target_code.into(), display: None };
            concepts.add(system(source.prefix()), code.into(), target)?;
        }
        for rule in written.unmapped() {
            match rule.mode().as_deref() {
                Some("provided") => {
                    let source = system(rule.prefix());
                    concepts.unmapped.push(Unmapped { target: UnmappedTarget::Provided(source.clone()), source });
                }
                mode => return Err(format!("the unmapped mode {} is not supported yet", mode.unwrap_or("(none)"))),
            }
        }
        Ok(concepts)
    }

    /// A ConceptMap resource.
    pub(super) fn from_resource(resource: Node<'_>) -> Result<Concepts, String> {
        let mut concepts = Concepts::default();
        for group in resource.member("group").into_iter().flat_map(Node::items) {
            let (source, target) = (text(group, "source"), text(group, "target"));
            for element in group.member("element").into_iter().flat_map(Node::items) {
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
        for target in element.member("target").into_iter().flat_map(Node::items) {
            let equivalence = text(target, "equivalence");
            let accepted =
                matches!(equivalence.as_deref(), None | Some("relatedto" | "equivalent" | "equal" | "wider"));
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
            Some("provided") => UnmappedTarget::Provided(source.clone()),
            Some("fixed") => UnmappedTarget::Fixed(Code {
                system,
                code: text(unmapped, "code").ok_or("unmapped.mode is fixed and unmapped.code is missing")?,
                display: text(unmapped, "display"),
            }),
            mode => return Err(format!("unmapped.mode {} is not supported yet", mode.unwrap_or("(none)"))),
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
        concepts.translate(system, code).map(|found| match found {
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
    fn two_targets_for_one_code_are_refused() {
        let file =
            fml_syntax::parse("conceptmap \"#x\" { prefix s = \"s\" prefix t = \"t\"\n s:a - t:A\n s:a - t:B\n }");
        assert!(Concepts::from_map(&file.tree().concept_maps().next().expect("it is there")).is_err());
    }
}
