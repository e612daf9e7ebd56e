//! `weir token`: says over HTTP who calls, when the client certificate does not.

use clap::Args;
use serde_json::json;
use time::Duration;

use super::Answer;
use super::output::Output;
use super::site::{ActorOption, SiteOption};
use crate::acts::token;
use crate::server::clock;

/// Prints a token, signed by a person's key, that the gateway takes as `Authorization: Bearer` beside any client
/// certificate that it trusts.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir token --as demo-guardian --site site/gateway --minutes 5")]
pub(super) struct Arguments {
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// How long it holds: 1 to 60 minutes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=60))]
    minutes: u8,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let staff = arguments.site.staff()?;
    let actor = arguments.actor.at(&staff)?;
    let lifetime = Duration::minutes(arguments.minutes.into());
    let token = token::issue(&actor.principal().id, actor.key(), staff.site(), clock::now(), lifetime);
    output.line(&token);
    output.json(&json!({ "token": token, "seconds": lifetime.whole_seconds() }));
    Ok(Answer::Yes)
}
