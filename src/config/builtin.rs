//! What the program brings along: profiles and maps of this repository, so that a built binary needs no other files.

use include_dir::{Dir, include_dir};

static PROFILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/profiles");
static MAPPINGS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/mappings");

/// A text file: its name without folders, and its content.
pub(super) type TextFile = (String, String);

/// The built-in profiles, value sets, code systems and logical models.
pub(super) fn profiles() -> Vec<TextFile> {
    texts(&PROFILES, "json")
}

/// The built-in maps.
pub(super) fn mappings() -> Vec<TextFile> {
    texts(&MAPPINGS, "map")
}

fn texts(folder: &'static Dir<'static>, extension: &str) -> Vec<TextFile> {
    let mut files: Vec<TextFile> = folder
        .files()
        .filter(|file| file.path().extension().is_some_and(|found| found == extension))
        .filter_map(|file| {
            let name = file.path().file_name()?.to_str()?.to_owned();
            Some((name, file.contents_utf8()?.to_owned()))
        })
        .collect();
    files.sort();
    files
}
