//! One map a feature of the language, in `tests/golden/mapping/language`: `NAME.map` on `NAME.json` gives
//! `NAME.expected.json`, byte for byte; `NAME.*.map` and `NAME.*.json` are what it imports and translates by.
//!
//! When the expected files were written, they equalled what the HL7 reference implementation (6.0.21) made of the same
//! map and source. Where it differs, the map says so in a comment that starts with `// HL7:`, with the reason.
//!
//! `UPDATE_GOLDEN=1 cargo test --test mapping_language` writes the files anew; compare them with the reference before
//! committing.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use weir::fhir::{Document, Limits};
use weir::mapping::{CompiledMap, MapFile};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mapping/language")
}

fn files(suffix: &str) -> Vec<String> {
    let names = fs::read_dir(folder()).expect("the folder is there");
    let names = names.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(suffix)).collect();
    names.sort();
    names
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn document(name: &str) -> Document {
    Document::parse(text(name), &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn compile(name: &str) -> CompiledMap {
    let helper = |file: &&String| file.starts_with(&format!("{name}.")) && file.matches('.').count() == 2;
    let mut maps = vec![format!("{name}.map")];
    maps.extend(files(".map").iter().filter(helper).cloned());
    let maps: Vec<MapFile> = maps.into_iter().map(|name| MapFile { text: text(&name), name }).collect();
    let definitions = files(".json");
    let definitions = definitions.iter().filter(helper).filter(|file| !file.ends_with(".expected.json"));
    let definitions: Vec<Document> = definitions.map(|file| document(file)).collect();
    CompiledMap::compile(&maps, &definitions).unwrap_or_else(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{name}:\n{}", faults.join("\n"))
    })
}

#[test]
fn each_feature_gives_its_golden_output() {
    let maps = files(".map");
    let names: Vec<&str> = maps.iter().filter_map(|file| file.strip_suffix(".map")).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| !name.contains('.')).collect();
    assert!(names.len() >= 10, "{names:?}");
    let mut failures = Vec::new();
    for name in names {
        let (map, source) = (compile(name), document(&format!("{name}.json")));
        let run = || map.transform(&source, Uuid::nil()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (output, again) = (run(), run());
        assert_eq!(output.document.source(), again.document.source(), "{name} is not the same twice");
        assert_eq!(output.origins.len(), output.document.len(), "{name}");
        let golden = folder().join(format!("{name}.expected.json"));
        let found = format!("{}\n", output.document.source());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).expect("the golden file can be written");
        }
        if fs::read_to_string(&golden).unwrap_or_default() != found {
            failures.push(format!("{name}: {found}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
