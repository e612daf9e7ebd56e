//! The records that `map` and `transform` work on: files, folders, and NDJSON read a line at a time.
//!
//! Enters: paths. Leaves: one [`Record`] after the other. Limit: a line of NDJSON has at most 64 MiB; of a file of any
//! size no more than one line is held.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The longest line of NDJSON.
const LINE: u64 = 64 << 20;

/// One record, as it was read.
#[derive(Debug)]
pub(super) struct Record {
    file: PathBuf,
    line: Option<usize>,
    /// Its bytes, or why there are none.
    pub(super) bytes: io::Result<Vec<u8>>,
}

impl Record {
    /// `records/a.json`, or `records.ndjson:17`.
    pub(super) fn name(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.file.display()),
            None => self.file.display().to_string(),
        }
    }

    /// The file it stands in.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Its line in a file of several records.
    pub(super) fn line(&self) -> Option<usize> {
        self.line
    }
}

fn has_extension(file: &Path, wanted: &str) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

/// Whether a file holds one record a line.
pub(super) fn is_ndjson(file: &Path) -> bool {
    has_extension(file, "ndjson") || has_extension(file, "jsonl")
}

/// Whether these paths can be more than one record.
pub(super) fn is_batch(paths: &[PathBuf]) -> bool {
    paths.len() != 1 || paths.iter().any(|path| path.is_dir() || is_ndjson(path))
}

/// The files that the paths name; of a folder those that end in `.json`, `.ndjson` or `.jsonl`, by name.
pub(super) fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = || format!("cannot read the folder {}", path.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(path).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?.path();
            if entry.is_file() && (has_extension(&entry, "json") || is_ndjson(&entry)) {
                found.push(entry);
            }
        }
        ensure!(!found.is_empty(), "{} holds no .json, .ndjson or .jsonl file", path.display());
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// Hands the records of a file to `take`, one at a time.
pub(super) fn each(file: &Path, take: &mut dyn FnMut(Record) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let record = |line, bytes| Record { file: file.to_owned(), line, bytes };
    if !is_ndjson(file) {
        return take(record(None, fs::read(file)));
    }
    let mut reader = match File::open(file) {
        Ok(opened) => BufReader::new(opened),
        Err(error) => return take(record(None, Err(error))),
    };
    for line in 1.. {
        match next_line(&mut reader, LINE) {
            Ok(None) => break,
            Ok(Some(Line::Blank)) => {}
            Ok(Some(Line::Text(bytes))) => take(record(Some(line), Ok(bytes)))?,
            Ok(Some(Line::TooLong)) => {
                let error = io::Error::new(io::ErrorKind::FileTooLarge, "the line is longer than 64 MiB");
                take(record(Some(line), Err(error)))?;
            }
            Err(error) => return take(record(Some(line), Err(error))),
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Blank,
    Text(Vec<u8>),
    TooLong,
}

/// The next line without its end; `None` behind the last.
fn next_line(reader: &mut impl BufRead, most: u64) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    if reader.take(most + 1).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.len() as u64 > most && bytes.last() != Some(&b'\n') {
        reader.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    Ok(Some(if bytes.iter().all(u8::is_ascii_whitespace) { Line::Blank } else { Line::Text(bytes) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_a_long_one_is_skipped() {
        let mut text: &[u8] = b"{}\r\n\n  \n[12345678]\n[1]";
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut text, 5).expect("it is read") {
            lines.push(line);
        }
        let text = |text: &str| Line::Text(text.into());
        assert_eq!(lines, [text("{}"), Line::Blank, Line::Blank, Line::TooLong, text("[1]")]);
    }
}
