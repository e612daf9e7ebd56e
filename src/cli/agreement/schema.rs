//! `weir agreement schema`: the JSON Schema of agreement files.

use clap::Args;

use crate::cli::Answer;
use crate::cli::output::Output;
use crate::disclosure::AGREEMENT_SCHEMA;

/// Prints the JSON Schema (2020-12) of agreement files, for editors that complete and check TOML.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir agreement schema > agreement.schema.json")]
pub(in crate::cli) struct Arguments {}

pub(super) fn run(_arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    output.line(AGREEMENT_SCHEMA.trim_end());
    output.json(&serde_json::from_str(AGREEMENT_SCHEMA)?);
    Ok(Answer::Yes)
}
