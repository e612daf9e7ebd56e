//! `weir render`: a received Bundle as a page for people.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::Answer;
use super::output::Output;
use crate::fhir::page::page;
use crate::fhir::{Document, Limits};
use crate::storage::files::{Readers, write_durably};

/// The largest Bundle that is shown, as the reference receiver takes it: 10 MiB.
const MAX_BYTES: u64 = 10 << 20;

/// Shows a received Bundle as one page of HTML, to read on a screen or on paper: what is asked, by when, risks, plan, whom to
/// call, what was withheld. Made from the Bundle alone; needs no site.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir render bundle.json --output bundle.html\n  weir render - < bundle.json > bundle.html\n\nThe \
    page holds what the Bundle holds: keep it where the Bundle may be. It has no scripts and loads nothing.\n\
    Exit code 1 when it is no Bundle that can be shown."
)]
pub(super) struct Arguments {
    /// The Bundle, JSON; `-` for standard input
    bundle: PathBuf,
    /// Write the page to this file, for its owner alone, in the place of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let bytes = read(&arguments.bundle)?;
    let name = arguments.bundle.display();
    let shown = match Document::parse(bytes, &Limits::default()) {
        Ok(bundle) => page(&bundle).map_err(|why| format!("{name}: {why}; hint: {}", why.hint())),
        Err(error) => Err(format!("{name}: {error}; hint: {}", error.hint())),
    };
    let html = match shown {
        Ok(html) => html,
        Err(why) => {
            output.remark(&why);
            output.json(&json!({ "shown": false, "why": why }));
            return Ok(Answer::No);
        }
    };
    match &arguments.output {
        Some(file) => {
            write_durably(file, html.as_bytes(), Readers::OwnerOnly)
                .with_context(|| format!("cannot write {}", file.display()))?;
            output.json(&json!({ "shown": true, "file": file.display().to_string() }));
        }
        None if output.is_json() => output.json(&json!({ "shown": true, "html": html })),
        None => output.document(&html),
    }
    Ok(Answer::Yes)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let at_most = MAX_BYTES + 1;
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(at_most).read_to_end(&mut bytes),
        false => File::open(file).and_then(|file| file.take(at_most).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    anyhow::ensure!(bytes.len() as u64 <= MAX_BYTES, "{}: a Bundle of more than 10 MiB is not shown", file.display());
    Ok(bytes)
}
