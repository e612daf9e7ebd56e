//! `weir agreement check`: what is wrong with agreement files, against the profiles, maps and partners of a site.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::Answer;
use crate::cli::config::{fault_json, text_of};
use crate::cli::output::Output;
use crate::cli::site::SiteOption;
use crate::config::{AgreementCheck, check_agreements};

/// Checks agreement files: that they can be read, that every element path exists in its profile and is allowed there,
/// that what is required can leave, that nothing safety-critical is withheld in silence, that the site enforces the
/// controls, that no two agreements overlap.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir agreement check --site site/gateway\n  \
    weir agreement check drafts/demo-trust-crisis.toml --site site/gateway\n\nA file that is named stands in the place of \
    the site's file of the same name. In JSON faults have file, line, column, endLine, endColumn, message and hint.")]
pub(in crate::cli) struct Arguments {
    /// Agreement files; without any, all of the site
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    site: SiteOption,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    arguments.site.exists()?;
    let checked = match check_agreements(&arguments.site.site, &arguments.files) {
        Ok(checked) => checked,
        Err(faults) => {
            crate::cli::config::show_faults(&faults, output);
            return Ok(Answer::Broken);
        }
    };
    let AgreementCheck { files, faults, others } = checked;
    let rows: Vec<Value> = faults.faults.iter().map(fault_json).collect();
    output.json(&json!({ "files": files, "faults": rows, "otherFaultsOfSite": others }));
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    if faults.faults.is_empty() {
        output.line(&format!("no faults in {}", count(files.len(), "agreement")));
    } else {
        faults.faults.iter().for_each(|fault| output.line(&text_of(fault, |diagnostic| output.painted(diagnostic))));
        output.line(&format!("{} in {}", count(faults.faults.len(), "fault"), count(files.len(), "agreement")));
    }
    if others > 0 {
        let text = format!("the site has {} besides: run weir config check", count(others, "fault"));
        output.remark(&text);
    }
    Ok(Answer::from(faults.faults.is_empty()))
}
