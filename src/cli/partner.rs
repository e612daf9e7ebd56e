//! `weir partner`: the reference receiver of a partner; `weir partner check`: a look at a partner's endpoint.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use tokio::sync::watch;

use super::Answer;
use super::output::Output;
use super::partner_check;
use super::serve::ended_by_signal;
use crate::config::PartnerSite;
use crate::partner::{self, Later, Misbehaviour};

/// What else is done with partners.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what is wrong with a partner's TLS
    Check(partner_check::Arguments),
}

/// Receives messages as a partner would: takes them over mutual TLS, keeps them, acknowledges them.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Example:\n  weir partner --site site/trust\n  weir partner --site site/trust --misbehave \
    unavailable:3 --misbehave cut:1")]
pub(super) struct Arguments {
    /// The partner's folder: partner.toml, pki/, and the inbox
    #[arg(long, value_name = "DIR", required = true)]
    site: Option<std::path::PathBuf>,
    /// What to do wrong: unavailable:N, flap:N, cut:N, silent:N, slow:MILLISECONDS, reject, unlisted, uncorrelated:N
    #[arg(long, value_name = "HOW")]
    misbehave: Vec<Misbehaviour>,
    /// Answer each message later, by a message to the `[answers]` of partner.toml: accept, reject, ask or fail
    #[arg(long, value_name = "HOW")]
    answer_later: Option<Later>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    if let Some(Verb::Check(check)) = &arguments.verb {
        return partner_check::run(check, output);
    }
    super::start_logging("info");
    let folder = arguments.site.as_deref().context("name the partner's folder with --site")?;
    let site = PartnerSite::load(folder)?;
    super::runtime()?.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let running =
            partner::serve(site.settings(arguments.misbehave.clone(), arguments.answer_later)?, stopped).await?;
        ended_by_signal().await?;
        drop(stop);
        running.finished().await;
        Ok(Answer::Yes)
    })
}
