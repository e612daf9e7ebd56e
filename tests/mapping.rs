//! The demo's map on the demo's records: each output is a golden file. When they were written, they equalled what the
//! HL7 reference implementation made of the same map and records, order and digits included; only the UUIDs differ,
//! which are compared by the order in which they appear.
//!
//! `UPDATE_GOLDEN=1 cargo test --test mapping` writes the files anew; compare them with the reference before committing.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use weir::fhir::{Document, Limits};
use weir::mapping::{CompiledMap, MapFile};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

fn document(path: &Path) -> Document {
    let bytes = fs::read(path).expect("the file can be read");
    Document::parse(bytes, &Limits::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compile(name: &str) -> CompiledMap {
    let text = fs::read_to_string(root().join("mappings").join(name)).expect("the map can be read");
    let definitions: Vec<Document> = files("profiles", ".json").iter().map(|path| document(path)).collect();
    CompiledMap::compile(&[MapFile { name: name.to_owned(), text }], &definitions).unwrap_or_else(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{}", faults.join("\n"))
    })
}

/// The JSON one value a line, order and digits as they are, its UUIDs numbered in the order in which they appear.
fn normalised(json: &str) -> String {
    let (mut out, mut known, mut rest) = (String::new(), HashMap::new(), json);
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    while let Some(letter) = rest.chars().next() {
        if let Some(id) = rest.get(..36).filter(|part| in_string && Uuid::try_parse(part).is_ok()) {
            let next = known.len();
            out.push_str(&format!("uuid-{}", known.entry(id.to_owned()).or_insert(next)));
            rest = &rest[36..];
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        (in_string, escaped) = (in_string != (letter == '"' && !escaped), letter == '\\' && !escaped);
        let closes = !in_string && matches!(letter, '}' | ']');
        depth = if closes { depth - 1 } else { depth };
        if closes {
            out.push_str(&format!("\n{}", "  ".repeat(depth)));
        }
        out.push(letter);
        if !in_string && matches!(letter, '{' | '[' | ',') {
            depth += usize::from(letter != ',');
            out.push_str(&format!("\n{}", "  ".repeat(depth)));
        }
    }
    out.push('\n');
    out
}

#[test]
fn the_demo_records_become_the_golden_bundles() {
    let map = compile("crisis-escalation.map");
    let mut records = files("demo/records", ".json");
    records.push(root().join("demo/records/rejected/objection.json"));
    assert!(!records.is_empty());
    for path in records {
        let record = document(&path);
        let name = path.file_name().expect("it has a name");
        let output = map.transform(&record, Uuid::nil()).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let found = normalised(output.document.source());
        let golden = root().join("tests/golden/mapping").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).expect("the golden file can be written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert!(found == expected, "{name:?} is not as its golden file; the output is\n{found}");
        assert_eq!(output.origins.len(), output.document.len());
    }
}

#[test]
fn the_same_record_gives_the_same_bytes() {
    let map = compile("crisis-escalation.map");
    let record = document(&root().join("demo/records/crisis-escalation-complete.json"));
    let run = |seed| map.transform(&record, seed).expect("it runs").document.source().to_owned();
    assert_eq!(run(Uuid::nil()), run(Uuid::nil()));
    assert_ne!(run(Uuid::nil()), run(Uuid::max()));
}

/// Says on the test's standard error that something was not run.
#[expect(clippy::print_stderr, reason = "a test that skips must say so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// FHIR/fhir-test-cases, `r5/structure-mapping`, its cases with JSON output: map, output, and why it does not pass yet;
/// empty if it passes. The reasons may only shrink.
const PUBLISHED: &[(&str, &str, &str)] = &[
    ("qr2pat-assignment.map", "qr2pat-assignment-res.json", ""),
    ("qr2pat-gender.map", "qr2pat-gender-res.json", LENIENT),
    ("qr2pat-humannametwice.map", "qr2pat-humannametwice-res.json", LENIENT),
    ("qr2pat-humannameshared.map", "qr2pat-humannameshared-res.json", LENIENT),
    ("qr2reference.map", "qr2reference-res.json", ""),
    ("qr2pat-gender-conformstoqr.map", "qr2pat-gender-res.json", "FHIRPath has no conformsTo() yet"),
];

const LENIENT: &str = "its FHIRPath reads linkId.value and answer.valueString, which FHIRPath on FHIR does not define";

#[test]
fn published_cases_give_their_published_output() {
    let roots = [std::env::var_os("WEIR_TESTCASES").map(PathBuf::from), Some(root().join("../shared/testcases"))];
    let places = roots.into_iter().flatten().map(|place| place.join("structure-mapping"));
    let Some(folder) = places.into_iter().find(|place| place.exists()) else {
        return skipped("FHIR/fhir-test-cases is not beside the repository");
    };
    let mut failures = Vec::new();
    for (map, expected, reason) in PUBLISHED {
        let text = fs::read_to_string(folder.join(map)).expect("the map can be read");
        let found = match CompiledMap::compile(&[MapFile { name: (*map).to_owned(), text }], &[]) {
            Err(faults) => faults[0].to_string(),
            Ok(compiled) => match compiled.transform(&document(&folder.join("qr.json")), Uuid::nil()) {
                Err(error) => error.to_string(),
                Ok(output) => output.document.source().to_owned(),
            },
        };
        let expected = document(&folder.join(expected));
        let same = serde_json::from_str::<serde_json::Value>(&found).ok()
            == serde_json::from_str::<serde_json::Value>(expected.source()).ok();
        if same != reason.is_empty() {
            failures.push(format!("{map}: {found}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
