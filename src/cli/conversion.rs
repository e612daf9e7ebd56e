//! What `map` and `transform` share: one record or many, results to standard output or a folder, `--watch`, `--trace`,
//! `--coverage`.
//!
//! Invariant: a record that is refused never stops those behind it; it is said on standard error, with its file and
//! line, and the exit code is 1. Memory holds one record at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use serde_json::json;

use super::Answer;
use super::failure::Failure;
use super::output::{Output, indented};
use super::records::{self, Record};
use super::results::Folder;
use super::watch::{difference, watch};
use super::{coverage, trace};
use crate::fhir::Document;
use crate::fhir::outcome::{Issue, IssueType};
use crate::mapping::{CompiledMap, Diagnostic, Observed, Transformed, without_indices};

/// What is required and not there, each once: path without indices, and what is missing.
pub(super) fn required(issues: Vec<Issue>) -> Vec<String> {
    let required = issues.into_iter().filter(|issue| issue.is_error() && issue.code == IssueType::Required);
    let place = |issue: &Issue| issue.path.as_ref().map(|path| without_indices(path.as_str())).unwrap_or_default();
    let mut texts: Vec<String> = required.map(|issue| format!("{}: {}", place(&issue), issue.text)).collect();
    texts.sort();
    texts.dedup();
    texts
}

/// The options of a run.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// Records: JSON files, NDJSON files (one record a line), or folders of such files
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Write each file's results to a file of the same name in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["watch", "trace", "coverage"])]
    pub(super) output: Option<PathBuf>,
    /// Run again whenever the map, a record or a model is saved, and show what changed; ends on Ctrl-C
    #[arg(long)]
    pub(super) watch: bool,
    /// Show, instead of the result, which rule made each value of it from which field
    #[arg(long)]
    pub(super) trace: bool,
    /// With --trace: show the values too, and what the map logged. They may be personal data
    #[arg(long, requires = "trace")]
    pub(super) values: bool,
    /// Show, instead of the results, which fields no rule read, which rules never ran, and what was never filled
    #[arg(long, conflicts_with = "trace")]
    pub(super) coverage: bool,
}

/// What a map made of a record, and how.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) record: Document,
    pub(super) made: Transformed,
    pub(super) observed: Observed,
}

/// A loaded map, with what a verb does around it.
pub(super) trait Converter {
    /// The result for a record; `alone` if it is the only one.
    fn convert(&self, bytes: Vec<u8>, alone: bool) -> Result<Document, Failure>;

    /// The same, with everything that `--trace` and `--coverage` show.
    fn observe(&self, bytes: Vec<u8>, alone: bool) -> Result<Observation, Failure>;

    /// The map.
    fn map(&self) -> &CompiledMap;

    /// The elements that a profile requires of `made` and that are not there.
    fn missing(&self, made: &Document) -> Vec<String>;
}

/// What a verb loads before it runs: nothing when it has said what is wrong.
pub(super) type Load<'a> = &'a dyn Fn() -> anyhow::Result<Option<Box<dyn Converter>>>;

/// Runs a verb: once, or whenever one of `watched` or a record changes.
pub(super) fn run(
    options: &RunOptions,
    watched: &[PathBuf],
    load: Load<'_>,
    output: &Output,
) -> anyhow::Result<Answer> {
    let seen = RefCell::new(BTreeMap::new());
    if !options.watch {
        return turn(options, load, output, None);
    }
    let mut paths = options.files.clone();
    paths.extend_from_slice(watched);
    watch(&paths, output, || {
        if let Err(error) = turn(options, load, output, Some(&seen)) {
            output.failure(&error);
        }
    })?;
    Ok(Answer::Yes)
}

/// Results of the turn before, by record.
type Seen = RefCell<BTreeMap<String, String>>;

fn turn(options: &RunOptions, load: Load<'_>, output: &Output, seen: Option<&Seen>) -> anyhow::Result<Answer> {
    let files = records::files(&options.files)?;
    let batch = records::is_batch(&options.files);
    if !batch && let Some(file) = files.first() {
        std::fs::metadata(file).map_err(|error| anyhow::anyhow!("cannot read {}: {error}", file.display()))?;
    }
    let mut folder = options.output.as_deref().map(|folder| Folder::open(folder, &files)).transpose()?;
    let Some(converter) = load()? else { return Ok(Answer::Broken) };
    warn(converter.map().warnings(), output);
    let mut tally = Tally { mapped: 0, refused: 0 };
    let mut used = coverage::Used::new(converter.map());
    for file in &files {
        records::each(file, &mut |mut record| {
            let bytes = std::mem::replace(&mut record.bytes, Ok(Vec::new()));
            let task = Task { options, converter: &*converter, output, seen, batch };
            let done = match bytes {
                Err(error) => Err(Failure::unreadable(&error)),
                Ok(bytes) if options.coverage => task.cover(&record, bytes, &mut used),
                Ok(bytes) if options.trace => task.trace(&record, bytes),
                Ok(bytes) => task.convert(&record, bytes, &mut folder)?,
            };
            match done {
                Ok(()) => tally.mapped += 1,
                Err(failure) => {
                    tally.refused += 1;
                    task.refuse(&record, &failure);
                }
            }
            ensure!(output.failed().is_none(), "the answer could not be written");
            Ok(())
        })?;
    }
    if let Some(folder) = folder {
        folder.close()?;
    }
    if options.coverage {
        coverage::show(converter.map(), &used, output);
    }
    if batch {
        tally.show(output);
    }
    Ok((tally.refused == 0).into())
}

/// Shows what the compiler let pass, on standard error.
fn warn(warnings: &[Diagnostic], output: &Output) {
    warnings.iter().for_each(|warning| output.diagnostic(warning));
}

struct Tally {
    mapped: usize,
    refused: usize,
}

impl Tally {
    fn show(&self, output: &Output) {
        let Tally { mapped, refused } = self;
        if output.is_json() {
            output.remark(&json!({ "mapped": mapped, "refused": refused }).to_string());
        } else {
            output.remark(&format!("{mapped} mapped, {refused} refused"));
        }
    }
}

struct Task<'t> {
    options: &'t RunOptions,
    converter: &'t dyn Converter,
    output: &'t Output,
    seen: Option<&'t Seen>,
    batch: bool,
}

impl Task<'_> {
    fn convert(
        &self,
        record: &Record,
        bytes: Vec<u8>,
        folder: &mut Option<Folder>,
    ) -> anyhow::Result<Result<(), Failure>> {
        let made = match self.converter.convert(bytes, !self.batch) {
            Ok(made) => made,
            Err(failure) => return Ok(Err(failure)),
        };
        if let Some(folder) = folder {
            folder.write(record, made.source())?;
        } else if let Some(seen) = self.seen {
            self.show_change(record, made.source(), seen);
        } else if self.batch || self.output.is_json() {
            self.output.document(made.source());
        } else {
            self.output.document(&indented(made.source()));
        }
        Ok(Ok(()))
    }

    /// The whole result the first time, then what changed of it.
    fn show_change(&self, record: &Record, made: &str, seen: &Seen) {
        if self.output.is_json() {
            self.output.document(made);
            return;
        }
        let text = indented(made);
        match seen.borrow_mut().insert(record.name(), text.clone()) {
            None => self.output.document(&text),
            Some(before) => match difference(&before, &text) {
                same if same.is_empty() => self.output.line(&format!("{}: the result is the same", record.name())),
                lines => self.output.document(&format!("{}:\n{lines}", record.name())),
            },
        }
    }

    fn trace(&self, record: &Record, bytes: Vec<u8>) -> Result<(), Failure> {
        let observation = self.converter.observe(bytes, !self.batch)?;
        let name = self.batch.then(|| record.name());
        trace::show(self.converter.map(), &observation, name.as_deref(), self.options.values, self.output);
        Ok(())
    }

    fn cover(&self, record: &Record, bytes: Vec<u8>, used: &mut coverage::Used<'_>) -> Result<(), Failure> {
        let observation = self.converter.observe(bytes, !self.batch)?;
        used.add(&record.name(), &observation, &self.converter.missing(&observation.made.document));
        Ok(())
    }

    fn refuse(&self, record: &Record, failure: &Failure) {
        if let (Some(outcome), true, false) = (&failure.outcome, self.output.is_json(), self.batch) {
            self.output.document(outcome);
        }
        failure.show(record, self.output);
    }
}
