//! Snapshots against those that the HL7 engine makes.
//!
//! `golden/snapshots/own.tsv` holds what the snapshots of our own profiles change in base R4, a line an element;
//! `golden/snapshots/ukcore.tsv` a hash of each UK Core snapshot. Both were compared, element by element, with the HL7
//! engine's snapshots; every difference that remains is listed with its reason in `snapshot-differences.tsv`: one that
//! is not listed fails the test, and so does a row that no difference needs, so the list can only shrink.
//!
//! UK Core is looked for in `$WEIR_STANDARDS/ukcore`, then in `../shared/standards/ukcore` beside the repository; the
//! engine's snapshots in `$WEIR_SNAPSHOT_ORACLE`, a folder with `own/` and `ukcore/`, a JSON file a profile. What is not
//! there is said and skipped. `WEIR_WRITE_GOLDEN=1` writes the golden files anew: compare with the engine first.

#![cfg(feature = "xml")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use weir::fhir::definitions::{
    ConstraintDefinition, Definition, ElementDefinition, SlicingDefinition, StructureDefinition, TypeUse,
};
use weir::fhir::snapshot::{R4, Snapshot, SnapshotElement, Snapshots};
use weir::fhir::{Document, Limits, xml};

/// What a snapshot says, by element id and facet.
type Facts = BTreeMap<(String, &'static str), String>;

fn structure(text: &str) -> Option<StructureDefinition> {
    let document = if text.trim_start_matches('\u{feff}').starts_with('<') {
        xml::from_xml(text, &Limits::default()).expect("it is FHIR XML")
    } else {
        Document::parse(text, &Limits::default()).expect("it is JSON")
    };
    match Definition::read(&document)? {
        Definition::Structure(structure) => Some(*structure),
        Definition::ValueSet(_) | Definition::CodeSystem(_) => None,
    }
}

/// The StructureDefinitions of a folder.
fn structures(folder: &Path) -> Vec<StructureDefinition> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it is readable").path()).collect();
    files.sort();
    let is_definition =
        |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "json" || extension == "xml");
    files
        .iter()
        .filter(is_definition)
        .filter_map(|file| structure(&fs::read_to_string(file).expect("it is text")))
        .collect()
}

fn canonical(document: &Document) -> String {
    let value: serde_json::Value = serde_json::from_str(document.source()).expect("it is JSON");
    value.to_string()
}

fn types_text(types: &[TypeUse]) -> String {
    let one = |used: &TypeUse| {
        let mut text = used.code.clone();
        let mut add = |open: &str, values: &[String], close: &str| {
            if !values.is_empty() {
                let mut values = values.to_vec();
                values.sort();
                text += &format!("{open}{}{close}", values.join("|"));
            }
        };
        add("[", &used.profiles, "]");
        add("(", &used.targets, ")");
        add("{", &used.aggregation, "}");
        text + used.versioning.as_deref().unwrap_or_default()
    };
    types.iter().map(one).collect::<Vec<_>>().join(",")
}

fn slicing_text(slicing: &SlicingDefinition) -> String {
    let by: Vec<_> = slicing.discriminators.iter().map(|(kind, path)| format!("{kind}:{path}")).collect();
    format!("{} {}{}", by.join(","), slicing.rules, if slicing.ordered { " ordered" } else { "" })
}

fn constraints_text<'a>(constraints: impl Iterator<Item = &'a ConstraintDefinition>) -> String {
    let one = |each: &ConstraintDefinition| {
        let expression: Vec<_> = each.expression.split_whitespace().collect();
        format!("{} {} {} {}", each.key, each.severity, each.source.as_deref().unwrap_or("?"), expression.join(" "))
    };
    constraints.map(one).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ;; ")
}

fn put(facts: &mut Facts, id: &str, facet: &'static str, text: Option<String>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        facts.insert((id.to_owned(), facet), text);
    }
}

fn facts_of_ours(elements: &[SnapshotElement]) -> Facts {
    let mut facts = Facts::new();
    let document = |each: &Option<std::sync::Arc<Document>>| each.as_deref().map(canonical);
    for each in elements {
        let mut put = |facet, text| put(&mut facts, &each.id, facet, text);
        put("path", Some(each.path.to_string()));
        put("sliceName", each.slice_name.as_deref().map(str::to_owned));
        put("slicing", each.slicing.as_deref().map(slicing_text));
        put("min", Some(each.min.to_string()));
        put("max", Some(each.max.map_or("*".to_owned(), |max| max.to_string())));
        put("type", Some(types_text(&each.types)));
        put("contentReference", each.content_reference.as_deref().map(str::to_owned));
        put("fixed", document(&each.fixed));
        put("pattern", document(&each.pattern));
        put("minValue", document(&each.min_value));
        put("maxValue", document(&each.max_value));
        put("maxLength", each.max_length.map(|length| length.to_string()));
        put("binding", each.binding.as_deref().map(|binding| format!("{} {}", binding.strength, binding.value_set)));
        put("constraint", Some(constraints_text(each.constraints.iter().map(|each| &**each))));
        put("mustSupport", each.must_support.then(|| "true".to_owned()));
        put("isModifier", each.is_modifier.then(|| "true".to_owned()));
    }
    facts
}

/// The engine leaves out the source of a definition's own constraints, and makes content references absolute.
fn facts_of_theirs(url: &str, elements: &[ElementDefinition]) -> Facts {
    let mut facts = Facts::new();
    let document = |each: &Option<Document>| each.as_ref().map(canonical);
    for each in elements {
        let mut own_source = each.constraints.clone();
        own_source.iter_mut().for_each(|each| each.source = each.source.take().or_else(|| Some(url.to_owned())));
        let reference = each.content_reference.as_ref().and_then(|reference| reference.split_once('#'));
        let mut put = |facet, text| put(&mut facts, &each.id, facet, text);
        put("path", Some(each.path.clone()));
        put("sliceName", each.slice_name.clone());
        put("slicing", each.slicing.as_ref().map(slicing_text));
        put("min", each.min.map(|min| min.to_string()));
        put("max", each.max.clone());
        put("type", each.types.as_deref().map(types_text));
        put("contentReference", reference.map(|(_, path)| format!("#{path}")));
        put("fixed", document(&each.fixed));
        put("pattern", document(&each.pattern));
        put("minValue", document(&each.min_value));
        put("maxValue", document(&each.max_value));
        put("maxLength", each.max_length.map(|length| length.to_string()));
        put("binding", each.binding.as_ref().map(|(strength, value_set)| format!("{strength} {value_set}")));
        put("constraint", Some(constraints_text(own_source.iter())));
        put("mustSupport", (each.must_support == Some(true)).then(|| "true".to_owned()));
        put("isModifier", (each.is_modifier == Some(true)).then(|| "true".to_owned()));
    }
    facts
}

/// The engine's snapshots by URL.
fn oracle(kind: &str) -> BTreeMap<String, Vec<ElementDefinition>> {
    let Some(folder) = std::env::var_os("WEIR_SNAPSHOT_ORACLE").map(|root| PathBuf::from(root).join(kind)) else {
        return BTreeMap::new();
    };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the oracle's folder is there") {
        let text = fs::read_to_string(entry.expect("it is readable").path()).expect("it is text");
        let mut value: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        value.as_object_mut().expect("it is an object").remove("differential");
        let structure = structure(&value.to_string()).expect("it is a StructureDefinition");
        found.insert(structure.url, structure.elements);
    }
    found
}

/// Id, facet, ours and theirs for every fact that differs, and `order` if the elements stand in another order.
fn differences(ours: &Snapshot, theirs: &[ElementDefinition]) -> Vec<(String, &'static str, String, String)> {
    let (own, other) = (facts_of_ours(&ours.elements), facts_of_theirs(&ours.url, theirs));
    let keys: BTreeSet<_> = own.keys().chain(other.keys()).cloned().collect();
    let text = |facts: &Facts, key: &(String, &'static str)| facts.get(key).cloned().unwrap_or_else(|| "-".to_owned());
    let mut found: Vec<_> = keys
        .into_iter()
        .map(|key| (key.0.clone(), key.1, text(&own, &key), text(&other, &key)))
        .filter(|(.., own, other)| own != other)
        .collect();
    let own_order: Vec<_> = ours.elements.iter().map(|each| &*each.id).collect();
    let other_order: Vec<_> = theirs.iter().map(|each| each.id.as_str()).collect();
    if own_order != other_order && found.iter().all(|(_, facet, ..)| *facet != "path") {
        found.push((ours.elements[0].id.to_string(), "order", "another".to_owned(), "one".to_owned()));
    }
    found
}

/// A row of the list of differences.
struct Known {
    kind: String,
    profile: String,
    /// An element id; `*` at its end or start stands for anything.
    element: String,
    facet: String,
}

impl Known {
    fn read() -> Vec<Known> {
        let rows = include_str!("snapshot-differences.tsv").lines().filter(|line| !line.starts_with('#'));
        let read = |line: &str| {
            let cells: Vec<_> = line.split('\t').collect();
            let [kind, profile, element, facet, reason] = cells.as_slice() else { panic!("not five cells: {line}") };
            assert!(reason.len() > 20, "no reason: {line}");
            Known {
                kind: (*kind).to_owned(),
                profile: (*profile).to_owned(),
                element: (*element).to_owned(),
                facet: (*facet).to_owned(),
            }
        };
        rows.map(read).collect()
    }

    fn is_about(&self, kind: &str, url: &str, element: &str, facet: &str) -> bool {
        let is_element = match (self.element.strip_prefix('*'), self.element.strip_suffix('*')) {
            (_, Some(start)) => element.starts_with(start),
            (Some(end), None) => element.ends_with(end),
            (None, None) => element == self.element,
        };
        self.kind == kind
            && (self.profile == "*" || url.ends_with(&format!("/{}", self.profile)))
            && is_element
            && (self.facet == "*" || self.facet == facet)
    }
}

fn own_profiles() -> Vec<StructureDefinition> {
    structures(&Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles"))
}

/// The StructureDefinitions of UK Core, if they are there.
fn uk_core() -> Option<Vec<StructureDefinition>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/standards");
    let roots = [std::env::var_os("WEIR_STANDARDS").map(PathBuf::from), Some(beside)];
    let folder =
        roots.into_iter().flatten().map(|root| root.join("ukcore/structuredefinitions")).find(|each| each.exists());
    folder.map(|folder| structures(&folder))
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/snapshots").join(name)
}

/// Compares with a golden file, or writes it.
#[expect(clippy::disallowed_methods, reason = "a golden file in the working tree, written on request")]
fn check(name: &str, lines: &[String]) {
    let text = lines.join("\n") + "\n";
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        fs::write(golden(name), &text).expect("it can be written");
    }
    let expected = fs::read_to_string(golden(name)).expect("it is there");
    let changed: Vec<_> = lines.iter().filter(|line| !expected.lines().any(|other| other == *line)).take(20).collect();
    assert!(changed.is_empty(), "not in {name}; see the head of this test:\n{changed:#?}");
    assert_eq!(expected, text, "{name} has more or another order");
}

fn of_kind(kind: &str) -> Option<Vec<StructureDefinition>> {
    if kind == "own" { Some(own_profiles()) } else { uk_core() }
}

/// What a snapshot says that its base type does not.
fn changes(snapshot: &Snapshot, base: &Snapshot) -> Vec<String> {
    let (own, base) = (facts_of_ours(&snapshot.elements), facts_of_ours(&base.elements));
    let mut lines = vec![format!("{}\t{} elements", snapshot.url, snapshot.elements.len())];
    for element in &snapshot.elements {
        let said = own.iter().filter(|((id, _), _)| **id == *element.id);
        let changed: Vec<_> = said.filter(|(key, text)| base.get(*key) != Some(*text)).collect();
        if !changed.is_empty() {
            let facets: Vec<_> = changed.iter().map(|((_, facet), text)| format!("{facet}={text}")).collect();
            lines.push(format!("\t{}\t{}", element.id, facets.join("\t")));
        }
    }
    lines
}

#[test]
fn our_profiles_change_what_the_golden_file_says() {
    let structures = own_profiles();
    let mut snapshots = Snapshots::of(&structures);
    let mut lines = Vec::new();
    for structure in &structures {
        let snapshot = snapshots.snapshot(&structure.url).expect("our profiles are sound");
        let type_url = format!("{R4}{}", structure.type_name.rsplit('/').next().unwrap_or_default());
        let base = snapshots.snapshot(&type_url).or_else(|_| snapshots.snapshot(&structure.base));
        lines.extend(changes(&snapshot, &base.expect("the base type is there")));
    }
    check("own.tsv", &lines);
}

#[test]
fn uk_core_has_the_snapshots_that_were_compared() {
    let Some(structures) = uk_core() else {
        println!("skipped: UK Core is not there (WEIR_STANDARDS)");
        return;
    };
    let mut snapshots = Snapshots::of(&structures);
    let mut lines = Vec::new();
    for structure in &structures {
        let snapshot = snapshots.snapshot(&structure.url).expect("UK Core is sound");
        let facts: Vec<_> = facts_of_ours(&snapshot.elements).into_iter().collect();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{facts:?}").as_bytes());
        let hash: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push(format!("{}\t{}\t{hash}", structure.url, snapshot.elements.len()));
    }
    assert_eq!(lines.len(), 153);
    check("ukcore.tsv", &lines);
}

#[test]
fn the_engine_differs_only_where_it_is_listed() {
    if std::env::var_os("WEIR_SNAPSHOT_ORACLE").is_none() {
        println!("skipped: the HL7 engine's snapshots are not there (WEIR_SNAPSHOT_ORACLE)");
        return;
    }
    let known = Known::read();
    let mut needed = BTreeSet::new();
    let mut unlisted = Vec::new();
    for kind in ["own", "ukcore"] {
        let structures = of_kind(kind).expect("the definitions are there, as their snapshots are");
        let theirs = oracle(kind);
        let missing: Vec<_> =
            structures.iter().filter(|each| !theirs.contains_key(&each.url)).map(|each| &each.url).collect();
        assert!(missing.is_empty(), "the engine's snapshots of {missing:?} are not there");
        let mut snapshots = Snapshots::of(&structures);
        let mut equal = 0;
        for structure in &structures {
            let ours = snapshots.snapshot(&structure.url).expect("it has a snapshot");
            let found = differences(&ours, &theirs[&structure.url]);
            equal += usize::from(found.is_empty());
            for (id, facet, own, other) in found {
                match known.iter().position(|row| row.is_about(kind, &structure.url, &id, facet)) {
                    Some(row) => drop(needed.insert(row)),
                    None => unlisted
                        .push(format!("{kind} {} {id} {facet}\n    ours   {own}\n    theirs {other}", structure.url)),
                }
            }
        }
        println!("{kind}: {equal} of {} snapshots are equal, the others but for what is listed", structures.len());
    }
    assert!(unlisted.is_empty(), "{}", unlisted.join("\n"));
    let stale: Vec<_> = known
        .iter()
        .enumerate()
        .filter(|(row, _)| !needed.contains(row))
        .map(|(_, row)| (&row.profile, &row.element))
        .collect();
    assert!(stale.is_empty(), "no difference needs these rows: {stale:?}");
}
