//! The published FHIRPath suite for R4 (FHIR/fhir-test-cases), where it is present.
//!
//! It is looked for in `$WEIR_TESTCASES/fhirpath`, then in `../shared/testcases/fhirpath` beside the repository. Cases
//! that fail are listed with a reason in `fhirpath-known-failures.tsv`: a case that fails without being listed fails
//! the test, and so does one that is listed and passes, so the list can only shrink.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use weir::fhir::{Document, Limits};
use weir::fhirpath::{DataType, Environment, Expression, Item, Typing, Value};

/// The folder of the suite, if it is present.
fn suite() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testcases");
    let roots = [std::env::var_os("WEIR_TESTCASES").map(PathBuf::from), Some(beside)];
    roots.into_iter().flatten().map(|root| root.join("fhirpath")).find(|folder| folder.join("tests.jsonl").exists())
}

/// Type and text of an item, as the suite writes them.
fn shown(item: &Item<'_>) -> (String, String) {
    let name = match item {
        Item::Element(element) => element.type_def().map_or("Any", |type_def| type_def.name).to_owned(),
        Item::Value(Value::Quantity(_)) => "Quantity".to_owned(),
        Item::Value(value) => {
            let name = value.type_info().name;
            name[..1].to_ascii_lowercase() + &name[1..]
        }
    };
    let text = item.as_text().map_or_else(|| "…".to_owned(), |text| text.into_owned());
    let text = match item.value() {
        Some(Value::Date(_) | Value::DateTime(_)) => format!("@{text}"),
        Some(Value::Time(_)) => format!("@T{text}"),
        _ => text,
    };
    (name, text)
}

/// The items that the case's expression yields, or why it has none.
fn evaluate(case: &Json, document: &Document) -> Result<Vec<(String, String)>, String> {
    let text = case["expr"].as_str().expect("a case has an expression");
    let expression = Expression::parse(text).map_err(|error| error.to_string())?;
    let focus = Item::of_document(document);
    if case["mode"] == "strict" || case["invalid"] == "semantic" {
        let type_def = focus.as_element().and_then(|element| element.type_def()).expect("the input has a type");
        if let Some(fault) = expression.check(&Typing::of(DataType::Fhir(type_def))).into_iter().next() {
            return Err(fault.to_string());
        }
    }
    let now = Some(time::macros::datetime!(2026-01-31 12:00 UTC));
    let environment = Environment { now, ..Environment::default() };
    let items = if case["input"].is_null() {
        expression.evaluate(&[], &environment)
    } else {
        expression.evaluate(std::slice::from_ref(&focus), &environment)
    };
    let items = items.map_err(|error| error.to_string())?;
    Ok(items.iter().map(shown).collect())
}

/// What is wrong with the outcome of a case, if anything.
fn difference(case: &Json, outcome: Result<Vec<(String, String)>, String>) -> Option<String> {
    let invalid = !case["invalid"].is_null();
    let items = match outcome {
        Err(_) if invalid => return None,
        Err(error) => return Some(error),
        Ok(items) if invalid => return Some(format!("an error was expected, not {items:?}")),
        Ok(items) => items,
    };
    let expected: Vec<(Option<&str>, &str)> = case["out"]
        .as_array()
        .expect("a case has its results")
        .iter()
        .map(|each| (each[0].as_str(), each[1].as_str().unwrap_or_default()))
        .collect();
    if case["predicate"] == "true" {
        let truth = if items.is_empty() { "false" } else { "true" };
        return (expected != [(Some("boolean"), truth)]).then(|| format!("the predicate was {truth}"));
    }
    let same = items.len() == expected.len()
        && items
            .iter()
            .zip(&expected)
            .all(|((name, text), (wanted, value))| wanted.is_none_or(|wanted| wanted == name) && text == value);
    (!same).then(|| format!("{expected:?} was expected, not {items:?}"))
}

#[test]
fn the_published_suite_passes_but_for_the_known_failures() {
    let Some(folder) = suite() else {
        eprintln!("skipped: there is no published FHIRPath suite beside the repository or in $WEIR_TESTCASES");
        return;
    };
    let mut known: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for line in include_str!("fhirpath-known-failures.tsv").lines().filter(|line| !line.starts_with('#')) {
        let mut cells = line.splitn(3, '\t');
        let (name, expression) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        known.insert((name, expression), cells.next().expect("a known failure has a reason"));
    }
    let text = fs::read_to_string(folder.join("tests.jsonl")).expect("the suite can be read");
    let cases: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).expect("a line is a case")).collect();
    let mut documents: BTreeMap<&str, Document> = BTreeMap::new();
    for case in &cases {
        let input = case["input"].as_str().unwrap_or("input/patient-example.json");
        documents.entry(input).or_insert_with(|| {
            let bytes = fs::read(folder.join(input)).expect("the input can be read");
            Document::parse(bytes, &Limits::default()).expect("the input is JSON")
        });
    }
    let mut report = Vec::new();
    let mut passed = 0;
    for case in &cases {
        let input = case["input"].as_str().unwrap_or("input/patient-example.json");
        let expression = case["expr"].as_str().unwrap_or_default();
        let key = (case["name"].as_str().unwrap_or_default(), expression);
        let difference = difference(case, evaluate(case, &documents[input]));
        passed += usize::from(difference.is_none());
        match (difference, known.remove(&key)) {
            (Some(difference), None) => report.push(format!("{}\t{expression}\t{difference}", key.0)),
            (None, Some(_)) => report.push(format!("{}\t{expression}\tpasses; take it off the list", key.0)),
            _ => {}
        }
    }
    report.extend(known.keys().map(|(name, expression)| format!("{name}\t{expression}\tis not in the suite")));
    assert!(report.is_empty(), "{passed} of {} pass; unexpected:\n{}", cases.len(), report.join("\n"));
}
