//! Results in a folder: for each file of records one file of the same name.
//!
//! Invariant: a file of results is there whole or not at all; none ever replaces a record.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::output::indented;
use super::records::{Record, is_ndjson};

/// The folder that `--output` names.
#[derive(Debug)]
pub(super) struct Folder {
    folder: PathBuf,
    open: Option<Open>,
}

/// The file that is being written, under another name until it is whole.
#[derive(Debug)]
struct Open {
    source: PathBuf,
    partial: PathBuf,
    target: PathBuf,
    writer: BufWriter<File>,
}

impl Folder {
    /// Makes the folder, and makes sure that the results of `files` have different names and replace none of them.
    pub(super) fn open(folder: &Path, files: &[PathBuf]) -> anyhow::Result<Folder> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let own = folder.canonicalize()?;
        let mut names = HashSet::new();
        for file in files {
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let is_inside = parent.canonicalize().is_ok_and(|parent| parent == own);
            ensure!(!is_inside, "the result of {} would replace it; give another --output", file.display());
            let is_new = names.insert(file.file_name());
            ensure!(is_new, "two files are called {}; give them to two runs", file.display());
        }
        Ok(Folder { folder: folder.to_owned(), open: None })
    }

    /// Writes the result of a record behind those of the same file.
    pub(super) fn write(&mut self, record: &Record, made: &str) -> anyhow::Result<()> {
        if self.open.as_ref().is_none_or(|open| open.source != record.file()) {
            self.finish()?;
            self.open = Some(self.start(record.file())?);
        }
        if let Some(open) = &mut self.open {
            let text = if is_ndjson(record.file()) { made.to_owned() } else { indented(made) };
            writeln!(open.writer, "{text}").with_context(|| format!("cannot write {}", open.partial.display()))?;
        }
        Ok(())
    }

    fn start(&self, source: &Path) -> anyhow::Result<Open> {
        let name = source.file_name().context("a record's path names no file")?;
        let target = self.folder.join(name);
        let partial = self.folder.join(format!(".{}.partial", name.to_string_lossy()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let file = file.with_context(|| format!("cannot write {}", partial.display()))?;
        Ok(Open { source: source.to_owned(), partial, target, writer: BufWriter::new(file) })
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let said = || format!("cannot write {}", open.target.display());
        open.writer.flush().with_context(said)?;
        fs::rename(&open.partial, &open.target).with_context(said)
    }

    /// Finishes the last file.
    pub(super) fn close(mut self) -> anyhow::Result<()> {
        self.finish()
    }
}
