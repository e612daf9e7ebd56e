//! `weir partner`: the reference receiver of a partner.

use clap::Args;
use tokio::sync::watch;

use super::Answer;
use super::serve::ended_by_signal;
use crate::config::PartnerSite;
use crate::partner::{self, Misbehaviour};

/// Receives messages as a partner would: takes them over mutual TLS, keeps them, acknowledges them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir partner --site site/trust\n  weir partner --site site/trust --misbehave \
    unavailable:3 --misbehave cut:1")]
pub(super) struct Arguments {
    /// The partner's folder: partner.toml, pki/, and the inbox
    #[arg(long, value_name = "DIR")]
    site: std::path::PathBuf,
    /// What to do wrong: unavailable:N, flap:N, cut:N, silent:N, slow:MILLISECONDS, reject, uncorrelated:N
    #[arg(long, value_name = "HOW")]
    misbehave: Vec<Misbehaviour>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Answer> {
    super::start_logging("info");
    let site = PartnerSite::load(&arguments.site)?;
    super::runtime()?.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let running = partner::serve(site.settings(arguments.misbehave.clone())?, stopped).await?;
        ended_by_signal().await?;
        drop(stop);
        running.finished().await;
        Ok(Answer::Yes)
    })
}
