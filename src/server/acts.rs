//! Performs the acts that wait in the site's spool folder, as they come.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Service, clock};
use crate::acts::Outcome;
use crate::acts::spool::perform_waiting;

/// How often the folder is looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Until the gateway stops; what waits when it starts is performed first.
pub(super) async fn perform_as_they_come(service: Arc<Service>, folder: PathBuf, mut stopped: watch::Receiver<bool>) {
    let mut faulty = false;
    loop {
        let told = |act: &str, outcome: &Outcome| match outcome {
            Outcome::Performed => info!(act, "act performed"),
            Outcome::Before => info!(act, "act had been performed before"),
            Outcome::Refused(refusal) => warn!(act, %refusal, hint = refusal.hint(), "act refused"),
        };
        let done = perform_waiting(&folder, service.desk(), service.gateway.store(), clock::now, told).await;
        if let Err(error) = &done
            && !faulty
        {
            error!(%error, "acts wait; the next try follows");
        }
        faulty = done.is_err();
        if tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}
