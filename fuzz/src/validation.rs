//! What a fuzzer does to the validator: resources through the plans, and definitions on their way to be plans.

use std::sync::OnceLock;

use weir::fhir::definitions::{Definition, StructureDefinition};
use weir::fhir::outcome::{Issue, Severity};
use weir::fhir::snapshot::{Snapshot, Snapshots};
use weir::fhir::{Document, Limits};
use weir::validation::{Strictness, Validator};

/// A line of this parts two definitions of one input.
const BORDER: &str = "\n========\n";

/// Definitions read from one input; more are not looked at.
const MOST: usize = 6;

/// The product's profile of a Bundle and its logical model.
const BUNDLE: &str = "https://weir.example/fhir/StructureDefinition/weir-crisis-escalation-bundle";
const RECORD: &str = "https://weir.example/fhir/StructureDefinition/CrisisEscalationRecord";

fn validator() -> &'static Validator {
    static VALIDATOR: OnceLock<Validator> = OnceLock::new();
    VALIDATOR.get_or_init(|| {
        let mut definitions = super::elements(include_str!("../definitions/world.json"));
        definitions.extend(profiles());
        Validator::compile(&definitions).unwrap_or_else(|issues| panic!("the definitions make sense: {issues:?}"))
    })
}

/// The product's profiles.
fn profiles() -> Vec<Document> {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/profiles"));
    let folder = if folder.is_dir() {
        folder
    } else {
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../profiles"))
    };
    let entries = std::fs::read_dir(folder).expect("the profiles are there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| super::parse(&std::fs::read_to_string(path).expect("it can be read"))).collect()
}

/// Checks a resource against R4 and the profiles it claims; a Bundle as a message of ours too, and what is no resource
/// as a record.
pub fn validate(data: &[u8]) {
    let Ok(document) = Document::parse(data, &Limits { depth: 100, nodes: 50_000 }) else { return };
    let validator = validator();
    let profile = match document.resource_type() {
        Some("Bundle") => Some(BUNDLE),
        Some("Patient") => Some("https://x/derived"),
        Some("Observation") => Some("https://x/observation-a"),
        _ => None,
    };
    let plain = validator.check_document(&document, None);
    check_issues(&document, &plain);
    assert_eq!(plain, validator.check_document(&document, None), "a second run finds the same");
    if profile.is_some() {
        let more = validator.check_document(&document, profile);
        check_issues(&document, &more);
        let errors = |issues: &[Issue]| issues.iter().any(|issue| issue.severity >= Severity::Error);
        assert!(errors(&more) || !errors(&plain), "a profile takes no error away");
    }
    if document.resource_type().is_none() {
        check_issues(&document, &validator.check_record(&document, RECORD));
    }
}

fn check_issues(document: &Document, issues: &[Issue]) {
    assert!(issues.len() <= 1_100, "the limit on issues holds");
    let (lines, length) = (1 + document.source().matches('\n').count(), document.source().len());
    for issue in issues {
        assert!(!issue.text.is_empty(), "an issue says what is wrong");
        assert!(issue.text.len() < 20_000, "an issue is short");
        if let Some(position) = issue.position {
            assert!((1..=lines).contains(&position.line), "the line is there");
            assert!((1..=length + 1).contains(&position.column), "the column is there");
        }
    }
}

/// Makes the snapshots of StructureDefinitions and compiles them, with the ValueSets and CodeSystems among them.
pub fn snapshot(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parts = text.split(BORDER).take(MOST);
    let documents: Vec<Document> =
        parts.filter_map(|part| Document::parse(part, &Limits { depth: 60, nodes: 20_000 }).ok()).collect();
    let structures: Vec<StructureDefinition> = documents.iter().filter_map(structure).collect();
    let (first, again) = (made(&structures), made(&structures));
    assert_eq!(first.len(), again.len());
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(format!("{first:?}"), format!("{again:?}"), "a second run makes the same");
    }
    // A validator is made of all of R4 each time, which takes as long as a hundred snapshots.
    let is_chosen =
        data.iter().fold(0_u32, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into())).is_multiple_of(24);
    if is_chosen && (first.iter().any(Result::is_ok) || structures.len() < documents.len()) {
        compile(&documents, &structures);
    }
}

fn structure(document: &Document) -> Option<StructureDefinition> {
    match Definition::read(document)? {
        Definition::Structure(structure) => Some(*structure),
        _ => None,
    }
}

fn made(structures: &[StructureDefinition]) -> Vec<Result<std::sync::Arc<Snapshot>, String>> {
    let mut snapshots = Snapshots::of(structures);
    let make = |each: &StructureDefinition| snapshots.snapshot(&each.url).map_err(|error| error.to_string());
    let made: Vec<_> = structures.iter().filter(|each| each.kind != "logical").map(make).collect();
    for each in &made {
        match each {
            Ok(snapshot) => check_snapshot(snapshot),
            Err(error) => assert!(!error.is_empty(), "a refusal says why"),
        }
    }
    made
}

fn check_snapshot(snapshot: &Snapshot) {
    let root = &snapshot.elements.first().expect("a snapshot has elements").path;
    assert!(!root.contains('.'), "the root comes first");
    let mut ids: Vec<&str> = snapshot.elements.iter().map(|element| &*element.id).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "no element stands there twice");
}

fn compile(documents: &[Document], structures: &[StructureDefinition]) {
    let (validator, issues) = Validator::compile_what_can_be(documents);
    assert!(issues.iter().all(|issue| !issue.text.is_empty()), "a refusal says why");
    let validator = validator.with(Strictness::default());
    for structure in structures {
        let resource = super::elements(include_str!("../definitions/resources.json"));
        for resource in resource.iter().filter(|each| each.resource_type() == Some(&*structure.type_name)) {
            check_issues(resource, &validator.check_document(resource, Some(&structure.url)));
        }
        if structure.kind == "logical" {
            let record = super::parse(r#"{"name":"n","given":["a","b"],"active":true,"home":[{"street":"s"}]}"#);
            check_issues(&record, &validator.check_record(&record, &structure.url));
        }
        drop(validator.required_elements(&structure.url));
    }
}

/// Signs, and values that primitives and codes may have or must not.
const SIGNS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.50",
    "1e400",
    "\"\"",
    "\" \"",
    "\"a\"",
    "\"*\"",
    "{}",
    "[]",
    "\"2020-02-30\"",
    "\"2020-02-29T10:00:00.000+14:00\"",
    "\"\\ud83d\\ude00\"",
    "\"urn:uuid:x\"",
    "\"#\"",
    "\"#o\"",
    "\"Patient/p\"",
    "\"Patient/p/_history/1\"",
    "\"https://x/derived|1\"",
    "\"final\"",
    "\"male\"",
    "\"message\"",
    "\"document\"",
    "\"transaction\"",
    "\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\"><p>x</p></div>\"",
    "99999999999999999999999999999999",
    "\"\\u0000\"",
];

/// What resources are made of: names of elements and types, and values.
pub fn resource_words() -> Vec<&'static str> {
    let mut words = SIGNS.to_vec();
    let schema = weir::fhir::r4::schema();
    for def in schema.all() {
        words.push(quoted(def.name));
        words.extend(def.elements.iter().map(|element| quoted(element.stem)));
    }
    words.extend(quotes(include_str!("../definitions/resources.json")));
    unique(words)
}

/// What definitions are made of.
pub fn definition_words() -> Vec<&'static str> {
    let mut words = SIGNS.to_vec();
    let world = include_str!("../definitions/world.json");
    words.extend(quotes(world));
    words.extend(["StructureDefinition", "ElementDefinition", "ValueSet", "CodeSystem"].into_iter().flat_map(|name| {
        weir::fhir::r4::schema()
            .type_named(name)
            .into_iter()
            .flat_map(|def| def.elements.iter())
            .map(|each| quoted(each.stem))
    }));
    words.extend([
        BORDER,
        "\"slicing\":{\"discriminator\":[{\"type\":\"value\",\"path\":\"$this\"}],\"rules\":\"closed\"}",
        "\"#Bundle.link\"",
    ]);
    let expressions = super::maps::words();
    words.extend(expressions.into_iter().filter(|word| word.chars().all(char::is_alphanumeric)).map(quoted));
    unique(words)
}

fn quoted(name: &str) -> &'static str {
    Box::leak(format!("\"{name}\"").into_boxed_str())
}

/// The quoted texts in a text.
fn quotes(text: &'static str) -> Vec<&'static str> {
    super::mutate::tokens(text).into_iter().filter(|token| token.starts_with('"')).collect()
}

fn unique(mut words: Vec<&'static str>) -> Vec<&'static str> {
    words.sort_unstable();
    words.dedup();
    words
}

/// Changes values of one of the definitions, or of the one resource, or tokens where it is no JSON.
pub fn mutate(text: &str, words: &[&str], seed: u32) -> String {
    let mut parts: Vec<&str> = text.split(BORDER).collect();
    let at = (seed >> 8) as usize % parts.len();
    match super::mutate_json::mutate(parts[at], words, seed) {
        Some(changed) if !seed.is_multiple_of(7) => {
            parts[at] = &changed;
            parts.join(BORDER)
        }
        _ => super::mutate::mutate(text, words, seed),
    }
}
