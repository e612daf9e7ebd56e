//! `weir agreement`: sharing agreements as files. One file a verb.

mod approvals;
mod approve;
mod check;
mod diff;
mod guide;
mod schema;

use clap::Subcommand;

use super::Answer;
use super::output::Output;

/// What to do with agreements.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Find everything that is wrong with agreement files
    Check(check::Arguments),
    /// Approve a version of an agreement: it takes effect once all whom it names have
    Approve(approve::Arguments),
    /// Show who has approved each version, what is missing, and what is in force
    Approvals(approvals::Arguments),
    /// Show what a new version changes: what newly leaves, what no longer does
    Diff(diff::Arguments),
    /// Write the staff guide: what we share and when
    Guide(guide::Arguments),
    /// Print the JSON Schema of agreement files
    Schema(schema::Arguments),
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    match verb {
        Verb::Check(arguments) => check::run(arguments, output),
        Verb::Approve(arguments) => approve::run(arguments, output),
        Verb::Approvals(arguments) => approvals::run(arguments, output),
        Verb::Diff(arguments) => diff::run(arguments, output),
        Verb::Guide(arguments) => guide::run(arguments, output),
        Verb::Schema(arguments) => schema::run(arguments, output),
    }
}
