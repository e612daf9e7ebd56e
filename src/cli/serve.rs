//! `weir serve`: the gateway of a site, until a signal ends it.

use clap::Args;

use super::Answer;
use super::site::{ActorOption, SiteOption};
use crate::config::Site;
use crate::identity::PrincipalId;
use crate::identity::principal::Action;
use crate::server;

/// Runs the gateway until SIGINT or SIGTERM, then drains: what is under way ends, nothing new is taken. Changed agreements are
/// taken over while it runs, within seconds, or at once on SIGHUP.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir serve --site site/gateway --as demo-engineer\n\nWhoever starts \
    it needs a role that permits administer. Logs go to standard error; WEIR_LOG sets the filter \
    (default info), WEIR_LOG_FORMAT=json gives JSON lines.")]
pub(super) struct Arguments {
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Answer> {
    super::start_logging("info");
    let site = arguments.site.load()?;
    super::runtime()?.block_on(async {
        let by = administrator(&site, &arguments.actor)?;
        let parts = site.gateway().await?;
        let running = server::start(parts.gateway, parts.checkpointer, parts.settings, &by).await?;
        serve(&running).await?;
        running.shut_down().await;
        Ok(Answer::Yes)
    })
}

/// Who starts the gateway: someone who may administer it. That they did is in the event of the start, and that someone
/// else tried to waits for the next start.
pub(super) fn administrator(site: &Site, actor: &ActorOption) -> anyhow::Result<PrincipalId> {
    let actor = actor.at(site.staff())?;
    if !actor.may(Action::Administer) {
        actor.look(Action::Administer, None)?;
    }
    Ok(actor.principal().id.clone())
}

/// Until SIGINT or SIGTERM; SIGHUP has the agreements looked at.
async fn serve(running: &server::Running) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ended = std::pin::pin!(ended_by_signal());
    loop {
        tokio::select! {
            ended = &mut ended => return ended,
            Some(()) = hangup.recv() => running.look_at_agreements(),
        }
    }
}

/// Until SIGINT or SIGTERM.
pub(super) async fn ended_by_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
