//! The slices of a profile, as one occurrence after another is asked: which of them is this?
//!
//! Enters: a [`Snapshot`] and the id of an element that it slices. Leaves: its [`Slice`]s, each with a test of fixed
//! values, patterns, presence and types (FHIR R4, 5.1.0.12). A discriminator that needs more than the occurrence itself,
//! a value set or what a reference leads to, gives a slice without a test: nobody can be told to be in it.

use std::sync::Arc;

use super::snapshot::{Snapshot, SnapshotElement};
use super::{Document, Kind, NameId, Node, r4};

/// One slice of an element.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Its name in the profile.
    pub name: Box<str>,
    /// The canonical URL of the extension that it is, where extensions are sliced.
    pub extension: Option<Box<str>>,
    /// How an occurrence of it is known; `None` if the occurrence alone does not tell.
    test: Option<Box<[Check]>>,
}

impl Slice {
    /// Whether an occurrence can be told to be in it.
    pub fn can_be_told(&self) -> bool {
        self.test.is_some()
    }

    /// Whether an occurrence of the element is in it.
    pub fn holds(&self, occurrence: Node<'_>) -> bool {
        self.test.as_ref().is_some_and(|checks| checks.iter().all(|check| check.holds(occurrence)))
    }
}

/// What a slice expects where a discriminator looks.
#[derive(Clone, Debug)]
struct Check {
    /// Names from the occurrence on; none for the occurrence itself.
    path: Box<[NameId]>,
    expected: Expected,
}

#[derive(Clone, Debug)]
enum Expected {
    Fixed(Arc<Document>),
    Pattern(Arc<Document>),
    There(bool),
    /// One of these members is there: a choice element in the spelling of a type.
    Spelled(Box<[NameId]>),
}

impl Check {
    fn holds(&self, occurrence: Node<'_>) -> bool {
        let found = any(occurrence, &self.path, &|node| match &self.expected {
            Expected::Fixed(value) => is_same(node, value.root()),
            Expected::Pattern(value) => contains(node, value.root()),
            Expected::There(_) => true,
            Expected::Spelled(names) => names.iter().any(|name| node.child(*name).is_some()),
        });
        found != matches!(self.expected, Expected::There(false))
    }
}

/// Whether `holds` is true of a value at the end of the path.
fn any(node: Node<'_>, path: &[NameId], holds: &dyn Fn(Node<'_>) -> bool) -> bool {
    match path.split_first() {
        None => holds(node),
        Some((name, rest)) => node.items_at(*name).any(|item| any(item, rest, holds)),
    }
}

/// The slices of the element with this id, in the order of the profile; none if it is not sliced. Slices of slices are
/// left out: their occurrences are in the outer slice.
pub fn slices(snapshot: &Snapshot, id: &str) -> Vec<Slice> {
    let of_element = |element: &&SnapshotElement| {
        let own = element.slice_name.as_deref().filter(|name| !name.contains('/'));
        own.is_some_and(|name| element.id.strip_suffix(name).and_then(|rest| rest.strip_suffix(':')) == Some(id))
    };
    let slicing =
        snapshot.elements.iter().find(|element| *element.id == *id).and_then(|sliced| sliced.slicing.as_ref());
    let is_extension = id.ends_with(".extension") || id.ends_with(".modifierExtension");
    let slice = |element: &SnapshotElement| Slice {
        name: element.slice_name.clone().unwrap_or_default(),
        extension: is_extension.then(|| profile_of(element)).flatten(),
        test: slicing.and_then(|slicing| test(snapshot, element, &slicing.discriminators)),
    };
    snapshot.elements.iter().filter(of_element).map(slice).collect()
}

fn profile_of(element: &SnapshotElement) -> Option<Box<str>> {
    element.types.iter().find_map(|used| used.profiles.first()).map(|url| url.as_str().into())
}

/// The checks of all discriminators; `None` if one of them cannot be run.
fn test(snapshot: &Snapshot, slice: &SnapshotElement, discriminators: &[(String, String)]) -> Option<Box<[Check]>> {
    let mut checks = Vec::new();
    for (kind, path) in discriminators {
        let names = names(path)?;
        let before = checks.len();
        match kind.as_str() {
            "value" | "pattern" => value(snapshot, &slice.id, &names, &mut checks),
            "exists" => checks.extend(exists(snapshot, &slice.id, &names)),
            "type" => checks.extend(of_type(snapshot, &slice.id, &names)),
            _ => {}
        }
        if checks.len() == before {
            return None;
        }
    }
    (!checks.is_empty()).then(|| checks.into())
}

/// `$this`, `system`, `code.coding`; `None` for functions.
fn names(path: &str) -> Option<Vec<&str>> {
    let names = path.split('.').filter(|name| *name != "$this");
    names.map(|name| (!name.contains('(')).then_some(name)).collect()
}

fn ids(names: &[&str]) -> Box<[NameId]> {
    names.iter().map(|name| NameId::of(name)).collect()
}

fn below<'s>(snapshot: &'s Snapshot, id: &str, names: &[&str]) -> Option<&'s SnapshotElement> {
    let id = names.iter().fold(id.to_owned(), |id, name| format!("{id}.{name}"));
    let named = |element: &&SnapshotElement| *element.id == *id || element.id.strip_suffix("[x]") == Some(&id);
    snapshot.elements.iter().find(named)
}

/// What the slice says of the value, or of what stands below it where that is required.
fn value(snapshot: &Snapshot, id: &str, names: &[&str], checks: &mut Vec<Check>) {
    let Some(element) = below(snapshot, id, names) else { return };
    let expected = match (&element.fixed, &element.pattern) {
        (Some(fixed), _) => Some(Expected::Fixed(Arc::clone(fixed))),
        (None, Some(pattern)) => Some(Expected::Pattern(Arc::clone(pattern))),
        (None, None) => None,
    };
    if let Some(expected) = expected {
        checks.push(Check { path: ids(names), expected });
        return;
    }
    let own = format!("{}.", element.id);
    let children = snapshot.elements.iter().filter_map(|child| Some((child, child.id.strip_prefix(&own)?)));
    for (child, name) in children.filter(|(_, name)| !name.contains(['.', ':'])) {
        if child.fixed.is_some() || child.pattern.is_some() || child.min > 0 {
            let names: Vec<&str> = names.iter().copied().chain([name.trim_end_matches("[x]")]).collect();
            value(snapshot, id, &names, checks);
        }
    }
}

fn exists(snapshot: &Snapshot, id: &str, names: &[&str]) -> Option<Check> {
    let element = below(snapshot, id, names)?;
    let is_told = element.min > 0 || element.max == Some(0);
    is_told.then(|| Check { path: ids(names), expected: Expected::There(element.max != Some(0)) })
}

/// The type of a choice element, by its spelling.
fn of_type(snapshot: &Snapshot, id: &str, names: &[&str]) -> Option<Check> {
    let element = below(snapshot, id, names)?;
    let (last, holder) = names.split_last()?;
    let is_choice = element.path.ends_with("[x]") && !element.types.is_empty();
    let spelled = element.types.iter().map(|used| NameId::of(&r4::choice_name(last, &used.code)));
    is_choice.then(|| Check { path: ids(holder), expected: Expected::Spelled(spelled.collect()) })
}

/// Whether two values are the same: of objects in any order, of scalars by what they say.
pub fn is_same(node: Node<'_>, fixed: Node<'_>) -> bool {
    match (node.kind(), fixed.kind()) {
        (Kind::Object, Kind::Object) => {
            node.children().count() == fixed.children().count() && members(node, fixed, is_same)
        }
        (Kind::Array, Kind::Array) => {
            node.children().count() == fixed.children().count()
                && node.children().zip(fixed.children()).all(|(node, fixed)| is_same(node, fixed))
        }
        (own, other) => own == other && node.scalar() == fixed.scalar(),
    }
}

/// Whether `node` has all that `pattern` has; for each item of an array some item.
pub fn contains(node: Node<'_>, pattern: Node<'_>) -> bool {
    match (node.kind(), pattern.kind()) {
        (Kind::Object, Kind::Object) => members(node, pattern, contains),
        (Kind::Array, Kind::Array) => {
            pattern.children().all(|wanted| node.children().any(|item| contains(item, wanted)))
        }
        (own, other) => own == other && node.scalar() == pattern.scalar(),
    }
}

/// Whether `node` has every member of `wanted`, each as `agrees` says.
pub fn members(node: Node<'_>, wanted: Node<'_>, agrees: fn(Node<'_>, Node<'_>) -> bool) -> bool {
    wanted
        .children()
        .all(|wanted| wanted.name().and_then(|name| node.member(&name)).is_some_and(|own| agrees(own, wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;
    use crate::fhir::definitions::Definition;
    use crate::fhir::snapshot::Snapshots;

    fn of_profile(elements: &str, id: &str) -> Vec<Slice> {
        let text = format!(
            r#"{{"resourceType":"StructureDefinition","url":"https://weir.example/p","name":"P","status":"active",
            "kind":"resource","abstract":false,"type":"Observation","derivation":"constraint",
            "baseDefinition":"http://hl7.org/fhir/StructureDefinition/Observation","differential":{{"element":[{elements}]}}}}"#
        );
        let document = Document::parse(text, &Limits::default()).expect("it is JSON");
        let Some(Definition::Structure(structure)) = Definition::read(&document) else { panic!("a profile") };
        let structures = [*structure];
        let snapshot = Snapshots::of(&structures).snapshot("https://weir.example/p").expect("it is sound");
        slices(&snapshot, id)
    }

    fn held(slices: &[Slice], occurrence: &str) -> Vec<String> {
        let occurrence = Document::parse(occurrence, &Limits::default()).expect("it is JSON");
        slices.iter().filter(|slice| slice.holds(occurrence.root())).map(|slice| slice.name.to_string()).collect()
    }

    #[test]
    fn an_occurrence_is_told_by_values_patterns_presence_and_type() {
        let component = |kind: &str, path: &str, slices: &str| {
            let sliced = format!(
                r#"{{"id":"Observation.component","path":"Observation.component","slicing":{{"discriminator":
                [{{"type":"{kind}","path":"{path}"}}],"rules":"open"}}}},{slices}"#
            );
            of_profile(&sliced, "Observation.component")
        };
        let slice = |name: &str, below: &str, says: &str| {
            format!(
                r#"{{"id":"Observation.component:{name}","path":"Observation.component","sliceName":"{name}"}},
                {{"id":"Observation.component:{name}.{below}","path":"Observation.component.{below}",{says}}}"#
            )
        };
        let pattern =
            |code: &str| format!(r#""patternCodeableConcept":{{"coding":[{{"system":"s","code":"{code}"}}]}}"#);
        let both = format!("{},{}", slice("a", "code", &pattern("1")), slice("b", "code", &pattern("2")));
        let by_pattern = component("pattern", "code", &both);
        assert_eq!(
            held(&by_pattern, r#"{"code":{"coding":[{"code":"0"},{"code":"2","system":"s","display":"d"}]}}"#),
            ["b"]
        );
        assert!(held(&by_pattern, r#"{"code":{"coding":[{"code":"2"}]}}"#).is_empty());

        let by_presence = component("exists", "interpretation", &slice("c", "interpretation", r#""min":1"#));
        assert_eq!(held(&by_presence, r#"{"interpretation":[{"text":"t"}]}"#), ["c"]);
        assert!(held(&by_presence, "{}").is_empty());

        let of_type = slice("d", "value[x]", r#""type":[{"code":"Quantity"},{"code":"string"}]"#);
        let by_type = component("type", "value", &of_type);
        assert_eq!(held(&by_type, r#"{"valueString":"s"}"#), ["d"]);
        assert!(held(&by_type, r#"{"valueBoolean":true}"#).is_empty());
    }

    #[test]
    fn nothing_is_in_a_slice_that_the_occurrence_does_not_tell() {
        let slices = of_profile(
            r#"{"id":"Observation.hasMember","path":"Observation.hasMember","slicing":{"discriminator":
            [{"type":"type","path":"resolve()"}],"rules":"open"}},
            {"id":"Observation.hasMember:a","path":"Observation.hasMember","sliceName":"a"}"#,
            "Observation.hasMember",
        );
        assert!(slices.len() == 1 && !slices[0].can_be_told());
        assert!(held(&slices, r#"{"reference":"Observation/1"}"#).is_empty());
    }

    #[test]
    fn a_slice_of_extensions_has_a_url() {
        let slices = of_profile(
            r#"{"id":"Observation.extension:body","path":"Observation.extension","sliceName":"body","type":[{"code":
            "Extension","profile":["http://hl7.org/fhir/StructureDefinition/observation-bodyPosition"]}]}"#,
            "Observation.extension",
        );
        let urls: Vec<_> = slices.iter().filter_map(|slice| slice.extension.as_deref()).collect();
        assert_eq!(urls, ["http://hl7.org/fhir/StructureDefinition/observation-bodyPosition"]);
    }
}
