//! `weir serve`: the gateway of a site, until a signal ends it.

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Answer;
use super::site::{ActorOption, SiteOption};
use crate::config::Site;
use crate::identity::PrincipalId;
use crate::identity::principal::Action;
use crate::server;

/// Runs the gateway until SIGINT or SIGTERM, then drains: what is under way ends, nothing new is taken. Changed agreements,
/// certificates, keys, authorities and revocation lists are taken over while it runs, within seconds, or at once on SIGHUP.
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
    super::runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let site = arguments.site.load()?;
        let by = administrator(&site, &arguments.actor)?;
        let parts = site.gateway().await?;
        let running = server::start(parts.gateway, parts.checkpointer, parts.settings, &by).await?;
        signals.end(&running).await;
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

/// The signals that the gateway listens to, from before it is started: none that comes early ends it abruptly.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Signals> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Signals { terminate, interrupt, hangup: signal(SignalKind::hangup())? })
    }

    /// Until SIGINT or SIGTERM; SIGHUP has agreements and certificates looked at.
    async fn end(&mut self, running: &server::Running) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                Some(()) = self.hangup.recv() => running.look_again(),
            }
        }
    }
}

/// Until SIGINT or SIGTERM.
pub(super) async fn ended_by_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
