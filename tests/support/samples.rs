//! The demo's definitions, records and Bundles, as the repository holds them.

use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use weir::fhir::{Document, Limits};
use weir::mapping::{CompiledMap, MapFile};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(path: &Path) -> Document {
    let bytes = fs::read(path).expect("the file can be read");
    Document::parse(bytes, &Limits::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The JSON files of a folder, in the order of their names.
pub(crate) fn documents(folder: &str) -> Vec<Document> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| document(path)).collect()
}

/// What the demo's map makes of the demo's records.
pub(crate) fn bundles() -> Vec<Document> {
    let read = |name: &str| fs::read_to_string(root().join("mappings").join(name)).expect("the map can be read");
    let files = ["crisis-escalation.map", "minimum-dataset.map"]
        .map(|name| MapFile { name: name.to_owned(), text: read(name) });
    let map = CompiledMap::compile(&files, &documents("profiles")).expect("the map compiles");
    let records = documents("demo/records");
    records.iter().map(|record| map.transform(record, Uuid::nil()).expect("it runs").document).collect()
}
