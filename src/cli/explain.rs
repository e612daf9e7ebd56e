//! `weir explain`: the lineage of one message.

use anyhow::Context as _;
use clap::Args;

use super::Answer;
use super::output::Output;
use super::site::{ActorOption, SiteOption};
use crate::identity::MessageId;
use crate::identity::principal::Action;
use crate::provenance;
use crate::storage::{Content, Store as _};

/// Shows where each element of a message came from and which clause let it pass, and why each other was held back.
/// Paths, rules and reasons; never values.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir explain 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --site site/gateway\n  \
    weir explain 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --site site/gateway --format json")]
pub(super) struct Arguments {
    /// The message's id, as its 202 answer gave it
    message: MessageId,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// Show the message's FHIR Provenance instead
    #[arg(long)]
    provenance: bool,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let id = arguments.message;
    let actor = arguments.actor.permit(site.staff(), Action::ReadLineage, Some(id))?;
    let sees_withheld = actor.may(Action::ReadWithheld);
    if sees_withheld && !arguments.provenance {
        actor.look(Action::ReadWithheld, Some(id))?;
    }
    let store = site.open_for_reading()?;
    let runtime = super::runtime()?;
    let shown = if arguments.provenance {
        let stored = runtime.block_on(store.content(id, Content::Provenance))?;
        let text = stored.map(String::from_utf8).transpose().context("the stored Provenance is not UTF-8")?;
        text.map(|text| super::output::indented(&text))
    } else {
        let lineage = runtime.block_on(provenance::lineage(&store, id))?;
        lineage.map(|lineage| match output.is_json() {
            true => super::output::indented(&lineage.to_json(sees_withheld).to_string()),
            false => provenance::explain(&lineage, sees_withheld),
        })
    };
    let Some(shown) = shown else {
        output.remark(&match runtime.block_on(store.message(id))? {
            Some(_) => format!(
                "what message {id} said and its lineage were erased; `weir messages show` shows what became of it"
            ),
            None => format!("there is no message {id} in this site"),
        });
        return Ok(Answer::No);
    };
    output.document(&shown);
    Ok(Answer::Yes)
}
