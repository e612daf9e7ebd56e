//! Typical slips in a map and what the compiler says about them: each map in `golden/diagnostics` against its `.txt`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test diagnostics` writes the texts anew; read them as someone who wants to mend the
//! map before committing.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

use std::fs;
use std::path::{Path, PathBuf};

use weir::fhir::{Document, Limits};
use weir::mapping::{CompiledMap, Diagnostic, MapFile};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/diagnostics")
}

fn maps() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).expect("the folder is there").map(|entry| entry.expect("it is read").path());
    let mut maps: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "map")).collect();
    maps.sort();
    maps
}

/// Everything the compiler says, whether it takes the map or not.
fn said(map: &Path) -> Vec<Diagnostic> {
    let model = fs::read(folder().join("model.json")).expect("the model can be read");
    let model = Document::parse(model, &Limits::default()).expect("the model is JSON");
    let name = map.file_name().expect("a map has a name").to_string_lossy().into_owned();
    let text = fs::read_to_string(map).expect("the map can be read");
    match CompiledMap::compile(&[MapFile { name, text }], &[model]) {
        Ok(map) => map.warnings().to_vec(),
        Err(diagnostics) => diagnostics,
    }
}

#[test]
fn each_slip_is_told_in_words_that_say_what_to_write() {
    let maps = maps();
    assert!(maps.len() >= 30, "{} maps", maps.len());
    for map in maps {
        let said = said(&map);
        assert!(!said.is_empty(), "{}: nothing is wrong", map.display());
        let text: String = said.iter().map(|each| format!("{each}\n")).collect();
        let golden = map.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &text).expect("it is written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
        assert_eq!(text, expected, "{}", map.display());
    }
}

#[test]
fn each_has_a_hint_and_a_span_within_its_lines() {
    for map in maps() {
        for each in said(&map) {
            assert!(!each.hint.is_empty(), "{}: {each}", map.display());
            let length = each.text.chars().count();
            let end = each.end_text.as_ref().map_or(length, |text| text.chars().count());
            assert!(each.column >= 1 && each.end_column > 1, "{}: {each}", map.display());
            assert!(each.column <= length + 1 && each.end_column <= end + 2, "{}: {each}", map.display());
            let place = (each.line, each.column) < (each.end_line, each.end_column);
            assert!(place && (each.line == each.end_line) == each.end_text.is_none(), "{}: {each}", map.display());
        }
    }
}
