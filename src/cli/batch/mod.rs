//! `weir batch`: the rows of a CSV file, each a record, to a running gateway.
//!
//! Invariants: every row has an outcome in the report before it is forgotten; a row that is refused stops no other; what
//! the report says is done is not sent again, and what was sent and not yet reported is the same message when it is sent
//! again: its key follows from the record, or from the file and the row. Memory holds the rows in flight, and a bit for
//! each row.

mod check;
mod progress;
mod report;
mod submit;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use self::progress::Progress;
use self::report::{Report, Tally};
use super::Answer;
use super::output::Output;
use super::site::SiteOption;
use crate::config::Site;
use crate::identity::InterfaceName;
use crate::identity::digest::{hex, sha_256_of};
use crate::intake::{Header, Model, Rows, RowsUnreadable};
use crate::pipeline::Interface;

/// Submits the rows of a CSV file to a running gateway, each as a record, and reports on every row.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir batch records.csv --interface crisis-escalation --site site/gateway\n  \
    weir batch records.csv --interface crisis-escalation --site site/gateway --dry-run\n\n\
    The first row names elements of the interface's logical model: recordId, person.family, currentRisks[0].level. The \
    report has a line a row, of JSON: its number, line, outcome and message, or what is wrong by column; never a value. The \
    same command again skips what the report says is done.\n\
    Exit code 0 when every row was accepted (with --dry-run: fits the model), 1 when any was not, 2 when the file or the \
    site cannot be used, or the gateway does not answer.")]
pub(super) struct Arguments {
    /// The CSV file
    file: PathBuf,
    /// The interface to submit the rows to
    #[arg(long, value_name = "NAME")]
    interface: InterfaceName,
    #[command(flatten)]
    site: SiteOption,
    /// Where to report on each row; else FILE.report.ndjson, with --dry-run FILE.dry-run.ndjson
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Check each row against the logical model here, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// How many rows are under way at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    in_flight: u8,
    /// How long a gateway that does not answer is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience_seconds: u64,
}

/// What a run works on.
struct Batch {
    interface: Interface,
    model: Arc<Model>,
    /// SHA-256 of the file, in hexadecimal.
    digest: String,
}

impl Batch {
    fn of(arguments: &Arguments, site: &Site) -> anyhow::Result<Batch> {
        let name = &arguments.interface;
        let interfaces = &site.stages().interfaces;
        let interface = interfaces.get(name).with_context(|| {
            let known: Vec<String> = interfaces.keys().map(ToString::to_string).collect();
            format!("the site has no interface {name}; it has {}", known.join(", "))
        })?;
        let model = interface.model.clone();
        let model = model.with_context(|| format!("{name} reads FHIR resources, which a row of a table cannot be"))?;
        let file = File::open(&arguments.file).with_context(|| unreadable(&arguments.file))?;
        let digest = hex(&sha_256_of(file).with_context(|| unreadable(&arguments.file))?);
        Ok(Batch { interface: interface.clone(), model, digest })
    }

    fn rows(&self, file: &Path) -> anyhow::Result<Rows<File>> {
        let opened = File::open(file).with_context(|| unreadable(file))?;
        Rows::of(opened, &self.model).map_err(|error| match error {
            RowsUnreadable::Header(faults) => {
                let told: Vec<String> = faults.iter().take(20).map(|fault| format!("\n  {fault}")).collect();
                let more = faults.len().saturating_sub(20);
                let more = if more == 0 { String::new() } else { format!("\n  and {more} more") };
                anyhow::anyhow!("the header of {} does not fit the model:{}{more}", file.display(), told.concat())
            }
            other => anyhow::anyhow!("{}: {other}", file.display()),
        })
    }
}

fn unreadable(file: &Path) -> String {
    format!("cannot read {}", file.display())
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let batch = Batch::of(arguments, &site)?;
    let rows = batch.rows(&arguments.file)?;
    let ending = if arguments.dry_run { "dry-run.ndjson" } else { "report.ndjson" };
    let path = arguments.report.clone().unwrap_or_else(|| {
        let mut name = arguments.file.clone().into_os_string();
        name.push(format!(".{ending}"));
        name.into()
    });
    if same_file(&path, &arguments.file) {
        bail!("the report would replace the file; give another --report");
    }
    let mut progress = Progress::new();
    let tally = if arguments.dry_run {
        let mut report = Report::anew(&path, &batch.digest, &arguments.interface)?;
        check::check_all(rows, &batch, &site, &mut report, &mut progress)?
    } else {
        let has_identity = !batch.interface.identified_by.is_empty();
        let mut report = Report::continued(&path, &batch.digest, &arguments.interface, has_identity)?;
        let endpoint = site.send_endpoint()?;
        let run = submit::Run {
            endpoint,
            interface: arguments.interface.clone(),
            batch: &batch,
            limits: site.stages().limits,
            in_flight: usize::from(arguments.in_flight),
            patience: std::time::Duration::from_secs(arguments.patience_seconds),
        };
        super::runtime()?.block_on(run.submit_all(rows, &mut report, &mut progress))?
    };
    progress.end();
    show(&tally, &path, arguments.dry_run, output);
    Ok((tally.failed == 0).into())
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn show(tally: &Tally, report: &Path, dry_run: bool, output: &Output) {
    let Tally { done, skipped, failed } = tally;
    let words = if dry_run { "fit the model" } else { "accepted" };
    let before = if *skipped == 0 { String::new() } else { format!(", {skipped} done before") };
    output.line(&format!("{done} {words}{before}, {failed} not; report: {}", report.display()));
    output.json(&json!({ "done": done, "skipped": skipped, "failed": failed, "report": report.display().to_string() }));
}

/// What is wrong with a row, as the report has it.
fn issue_line(
    header: &Header,
    row: &crate::intake::Row,
    path: Option<&str>,
    text: &str,
    hint: &str,
) -> serde_json::Value {
    let mut line = json!({ "text": text });
    if let Some(path) = path {
        line["path"] = path.into();
        line["column"] = header.column_of(row, path).into();
    }
    if !hint.is_empty() {
        line["hint"] = hint.into();
    }
    line
}
