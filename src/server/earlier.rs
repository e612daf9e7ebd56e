//! Reads what messages may be called that an earlier version accepted, while the gateway serves: nobody waits for a long history.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::error;

use super::Service;
use crate::pipeline::answers;

/// How long to wait for a store that did not answer or write.
const PAUSE: Duration = Duration::from_secs(1);

/// Until all are read, or the gateway stops.
pub(super) async fn name(service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    loop {
        let pause = match answers::name_earlier(&service.gateway).await {
            Ok(false) => return,
            Ok(true) => Duration::ZERO,
            Err(error) => {
                error!(%error, "what earlier messages may be called could not be read; the next try follows");
                PAUSE
            }
        };
        if tokio::time::timeout(pause, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}
