//! `weir config`: the checks that a start or reload would make.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Answer;
use super::output::Output;
use super::site::SiteOption;

/// What to do with a configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Find everything that a start would refuse
    Check(Check),
}

/// Reads every file of a site and compiles what it names; prints each fault with file and place.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir config check --site site/gateway")]
pub(super) struct Check {
    #[command(flatten)]
    site: SiteOption,
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    let Verb::Check(arguments) = verb;
    arguments.site.exists()?;
    match arguments.site.load() {
        Ok(site) => {
            let summary = site.summary();
            output.line(&format!("no faults: {summary}"));
            for note in site.not_checked() {
                output.line(&format!("not checked: {note}"));
            }
            output.json(&json!({ "faults": [], "summary": summary, "notChecked": site.not_checked() }));
            Ok(Answer::Yes)
        }
        Err(faults) => {
            output.line(&faults.to_string());
            let rows: Vec<_> = faults
                .faults
                .iter()
                .map(|fault| json!({ "file": fault.file, "text": fault.text, "hint": fault.hint }))
                .collect();
            output.json(&json!({ "faults": rows }));
            Ok(Answer::No)
        }
    }
}
