//! The report of a batch: NDJSON, a line a row, appended as rows end.
//!
//! The first line says of which file (by its SHA-256) and interface; each line of a row has `row`, `line` and `outcome`:
//! `accepted` or `repeated` with `message`, `refused` with `status` and `issues`, `unreadable` with `issues`. A line is
//! written whole, in one call; of one that a crash cut off nothing counts. A file that is no report is neither replaced nor
//! written to.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::identity::InterfaceName;

/// How a report begins.
const BEGIN: &[u8] = b"{\"batch\":";

/// Rows that a report is taken for.
const MOST_ROWS: u64 = 1 << 32;

/// How the rows of a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Accepted, now or as a repeat.
    pub(super) done: u64,
    /// Done by an earlier run.
    pub(super) skipped: u64,
    /// Refused, or no record.
    pub(super) failed: u64,
}

/// A report that is being written.
#[derive(Debug)]
pub(super) struct Report {
    file: File,
    done: Done,
}

/// A bit for each row: whether it is done.
#[derive(Clone, Debug, Default)]
pub(super) struct Done(Vec<u64>);

impl Done {
    pub(super) fn has(&self, row: u64) -> bool {
        let (word, bit) = place(row);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn add(&mut self, row: u64) {
        let (word, bit) = place(row);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }
}

impl Report {
    /// A report of its own, in the place of an earlier one.
    pub(super) fn anew(path: &Path, digest: &str, interface: &InterfaceName) -> anyhow::Result<Report> {
        match fs::metadata(path) {
            Ok(found) => {
                ensure!(found.is_file(), "{} is no file; give another --report", path.display());
                let begun = File::open(path).map_err(anyhow::Error::from).and_then(|file| check_begin(&file));
                begun.with_context(|| no_report(path))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot replace {}", path.display())),
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", path.display()));
            }
            _ => {}
        }
        Report::continued(path, digest, interface, true)
    }

    /// Goes on with the report at `path`, if there is one. Rows of another file count as new; where nothing in a record
    /// says which it is, that would send rows twice, and is refused.
    pub(super) fn continued(
        path: &Path,
        digest: &str,
        interface: &InterfaceName,
        has_identity: bool,
    ) -> anyhow::Result<Report> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
        let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let earlier = check_begin(&file).and_then(|()| Earlier::read(&file, digest, interface));
        let earlier = earlier.with_context(|| no_report(path))?;
        // What a crash cut off goes.
        file.set_len(earlier.whole)?;
        file.seek(SeekFrom::End(0))?;
        ensure!(
            has_identity || !earlier.has_rows_of_another,
            "{} is the report of another file, or the file has changed since; records of {interface} do not say which \
             they are, so rows that were accepted before would be sent twice. Put the rows that are to be sent into a \
             file of their own, or give another --report",
            path.display()
        );
        let mut report = Report { file, done: earlier.done };
        if !earlier.is_of_this {
            report.write(&json!({ "batch": digest, "interface": interface.as_str() }))?;
        }
        Ok(report)
    }

    /// The rows that earlier runs are done with.
    pub(super) fn done(&self) -> Done {
        self.done.clone()
    }

    /// Writes a line.
    pub(super) fn write(&mut self, line: &Value) -> anyhow::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes()).context("the report cannot be written")
    }

    /// Has what was written on disk.
    pub(super) fn sync(&self) -> anyhow::Result<()> {
        self.file.sync_data().context("the report cannot be written")
    }
}

fn no_report(path: &Path) -> String {
    format!("{} is not a report of a batch; give another --report", path.display())
}

/// Reads whether it is empty or begins as a report does; or as one does whose first line a crash cut off.
fn check_begin(mut file: &File) -> anyhow::Result<()> {
    let mut line = Vec::new();
    BufReader::new(file.take(64 << 10)).read_until(b'\n', &mut line)?;
    file.rewind()?;
    let is_begun = if line.last() == Some(&b'\n') {
        serde_json::from_slice::<Value>(&line).is_ok_and(|line| line["batch"].is_string())
    } else {
        line.len() < 1024 && (line.starts_with(BEGIN) || BEGIN.starts_with(&line))
    };
    ensure!(is_begun, "its first line is not that of a report");
    Ok(())
}

fn place(row: u64) -> (usize, u64) {
    ((row / 64) as usize, 1 << (row % 64))
}

/// What a report says before it goes on.
#[derive(Default)]
struct Earlier {
    done: Done,
    /// The last of its first lines is of this file.
    is_of_this: bool,
    has_rows_of_another: bool,
    /// Bytes up to the end of its last whole line.
    whole: u64,
}

impl Earlier {
    fn read(file: &File, digest: &str, interface: &InterfaceName) -> anyhow::Result<Earlier> {
        let mut reader = BufReader::new(file);
        let (mut earlier, mut line) = (Earlier::default(), Vec::new());
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if length == 0 || line.last() != Some(&b'\n') {
                return Ok(earlier);
            }
            earlier.take(&serde_json::from_slice(&line)?, digest, interface)?;
            earlier.whole += length as u64;
        }
    }

    fn take(&mut self, line: &Value, digest: &str, interface: &InterfaceName) -> anyhow::Result<()> {
        if let Some(of) = line["batch"].as_str() {
            ensure!(line["interface"] == interface.as_str(), "it is about another interface");
            self.is_of_this = of == digest;
            if !self.is_of_this {
                self.done = Done::default();
            }
            return Ok(());
        }
        let row = line["row"].as_u64().context("a line names no row")?;
        let is_done = matches!(line["outcome"].as_str(), Some("accepted" | "repeated"));
        if !self.is_of_this {
            self.has_rows_of_another |= is_done;
        } else if is_done {
            ensure!(row < MOST_ROWS, "a line names no row");
            self.done.add(row);
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
mod tests {
    use super::*;

    fn name() -> InterfaceName {
        "crisis-escalation".parse().expect("a name")
    }

    fn line(row: u64, outcome: &str) -> Value {
        json!({ "row": row, "line": row + 1, "outcome": outcome })
    }

    #[test]
    fn what_a_report_says_is_done_is_done_and_a_cut_line_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("r.ndjson");
        let mut report = Report::continued(&path, "one", &name(), false).expect("it is made");
        for (row, outcome) in [(1, "accepted"), (2, "refused"), (200, "repeated"), (3, "unreadable")] {
            report.write(&line(row, outcome)).expect("it is written");
        }
        report.file.write_all(b"{\"row\":2,\"outcome\":\"accep").expect("it is written");
        let mut again = Report::continued(&path, "one", &name(), false).expect("it goes on");
        let done: Vec<u64> = (0..300).filter(|row| again.done().has(*row)).collect();
        assert_eq!(done, [1, 200]);
        again.write(&line(2, "accepted")).expect("it is written");
        let text = fs::read_to_string(&path).expect("it is there");
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text}");
        assert_eq!(text.lines().count(), 6);
        assert!(Report::continued(&path, "one", &name(), false).expect("it goes on").done().has(2));
    }

    #[test]
    fn a_file_that_has_changed_begins_anew_where_records_say_which_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("r.ndjson");
        let mut report = Report::continued(&path, "one", &name(), true).expect("it is made");
        report.write(&line(1, "accepted")).expect("it is written");
        let refused = Report::continued(&path, "two", &name(), false).expect_err("rows would be sent twice");
        assert!(format!("{refused:#}").contains("sent twice"), "{refused:#}");
        let other = Report::continued(&path, "two", &name(), true).expect("it begins anew");
        assert!(!other.done().has(1));
        let wrong = "referral".parse().expect("a name");
        assert!(Report::continued(&path, "two", &wrong, true).is_err(), "another interface");
        fs::write(&path, "id,name\n").expect("it is written");
        assert!(Report::continued(&path, "two", &name(), true).is_err(), "no report at all");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "id,name\n", "nor is it changed");
    }
}
