//! `weir audit`: the log of what happened.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Answer;
use super::output::Output;
use super::site::{ActorOption, SiteOption};
use crate::audit::verify;
use crate::identity::principal::Action;

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check every event, every signed head, and every message's state against them
    Verify(Verify),
}

/// Recomputes the log from its events and compares it with every signed head. Exit code 1 when anything differs.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir audit verify --site site/gateway\n\nThis needs the site's files, and works beside a \
    running gateway. Checking without the site (proofs, witnesses) is not built yet."
)]
pub(super) struct Verify {
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    let Verb::Verify(arguments) = verb;
    let site = arguments.site.load()?;
    arguments.actor.permit(site.staff(), Action::VerifyAudit, None)?;
    let store = site.open_for_reading()?;
    let report = super::runtime()?.block_on(verify(&store, site.audit_verifier()))?;
    output.line(&report.to_string());
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    output.json(&json!({
        "events": report.events,
        "checkpoints": report.checkpoints,
        "covered": report.covered,
        "messages": report.messages,
        "faults": faults,
    }));
    Ok(faults.is_empty().into())
}
