//! Profiles, value sets, code systems and logical models: the built-in ones and those of a site or package folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::builtin::{self, TextFile};
use super::faults::{Fault, Faults};
use crate::fhir::{Document, Limits};
use crate::validation::Validator;

/// The built-in definitions and those in `folders`.
///
/// # Errors
/// Files that cannot be read or are not JSON.
pub fn definitions(folders: &[PathBuf]) -> Result<Vec<Document>, Faults> {
    let mut faults = Faults::default();
    let mut files = builtin::profiles();
    for folder in folders {
        files.extend(faults.keep(texts(folder, "json")).unwrap_or_default());
    }
    let mut documents: Vec<(Option<String>, Document)> = Vec::new();
    for document in files.into_iter().filter_map(|file| faults.keep(parse(file))) {
        // A folder's definition takes the place of one with the same URL that was read before it.
        let url = document.root().member("url").and_then(|url| url.text()).map(|url| url.into_owned());
        documents.retain(|(other, _)| url.is_none() || *other != url);
        documents.push((url, document));
    }
    if !faults.faults.is_empty() {
        return Err(faults);
    }
    Ok(documents.into_iter().map(|(_, document)| document).collect())
}

/// A validator of the built-in definitions and those in `folders`.
///
/// # Errors
/// As [`definitions`], and definitions that contradict themselves.
pub fn validator(folders: &[PathBuf]) -> Result<Validator, Faults> {
    compile(&definitions(folders)?)
}

/// A validator of these definitions.
pub(super) fn compile(definitions: &[Document]) -> Result<Validator, Faults> {
    Validator::compile(definitions).map_err(|issues| Faults {
        faults: issues
            .into_iter()
            .map(|issue| {
                let place = issue.path.map(|path| format!(" at {path}")).unwrap_or_default();
                Fault::new("profiles", format!("{}{place} {}", issue.text, issue.rule).trim_end(), issue.hint)
            })
            .collect(),
    })
}

fn parse((name, text): TextFile) -> Result<Document, Fault> {
    Document::parse(text, &Limits::default()).map_err(|error| Fault::new(name, &error, error.hint()))
}

/// The text files of one folder with this extension, by name.
pub(super) fn texts(folder: &Path, extension: &str) -> Result<Vec<TextFile>, Fault> {
    let shown = folder.display().to_string();
    let unreadable = |error: std::io::Error| Fault::new(shown.clone(), error, "check that the folder can be read");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|found| found != extension) {
            continue;
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = fs::read_to_string(&path)
            .map_err(|error| Fault::new(name.clone(), error, "check that the file is UTF-8 text and can be read"))?;
        files.push((name, text));
    }
    files.sort();
    Ok(files)
}
