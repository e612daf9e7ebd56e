//! Performs the acts that wait in the site's spool folder, as they come.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Service, clock};
use crate::acts::Outcome;
use crate::acts::spool::perform_waiting;

/// How often the folder is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Performs what waits, and counts the approvals among it. Whether that was possible; says once why not.
pub(super) async fn perform(service: &Service, folder: &Path, faulty: bool) -> bool {
    let mut some = false;
    let told = |act: &str, outcome: &Outcome| {
        some = true;
        match outcome {
            Outcome::Performed => info!(act, "act performed"),
            Outcome::Before => info!(act, "act had been performed before"),
            Outcome::Refused(refusal) => warn!(act, %refusal, hint = refusal.hint(), "act refused"),
        }
    };
    let done = perform_waiting(folder, service.desk(), service.gateway.store(), clock::now, told).await;
    if let Err(error) = &done
        && !faulty
    {
        error!(%error, "acts wait; the next try follows");
    }
    if some {
        if let Err(error) = service.gateway.bring_back().await {
            error!(%error, "what was sent again may wait on a route that there is no more, until the next act, or when the gateway starts");
        }
        // A message may be due that was not, or free to go that waited for another.
        service.gateway.lanes.values().flatten().for_each(|lane| lane.ring());
    }
    let counted = if some { service.gateway.count_approvals().await } else { Ok(()) };
    if let Err(error) = &counted {
        error!(%error, "approvals could not be counted; they are at the next act, or when the gateway starts");
    }
    done.is_ok()
}

/// Until the gateway stops; what waits when it starts is performed first.
pub(super) async fn perform_as_they_come(service: Arc<Service>, folder: PathBuf, mut stopped: watch::Receiver<bool>) {
    let mut faulty = false;
    loop {
        faulty = !perform(&service, &folder, faulty).await;
        if tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}
