//! Watches whether what is written is kept. When it was not, it tries again each second, so that the gateway is ready again
//! by itself once the disk is; records are refused meanwhile, and nothing of them is kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::Service;
use crate::storage::{Full, Load};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);

/// What was said last, so that it is said once.
#[derive(Default)]
struct Said {
    failing: bool,
    full: Option<Full>,
}

/// Until the gateway stops.
pub(super) async fn watch(service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let mut said = Said::default();
    while tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_err() {
        let store = service.gateway.store();
        let Ok(load) = store.load().await else { continue };
        said.say(&load);
        if load.failing.is_some() {
            // What it comes to is in the next load.
            let _ = store.probe().await;
        }
    }
}

impl Said {
    fn say(&mut self, load: &Load) {
        match &load.failing {
            Some(reason) if !self.failing => error!(%reason, "nothing can be stored: no records are taken"),
            None if self.failing => info!("what is written is kept again: records are taken"),
            _ => {}
        }
        match load.full {
            Some(reason) if self.full.is_none() => {
                warn!(%reason, messages = load.messages, bytes = load.bytes, free = load.free_bytes, "no records are taken");
            }
            None if self.full.is_some() => info!("there is room again: records are taken"),
            _ => {}
        }
        (self.failing, self.full) = (load.failing.is_some(), load.full);
    }
}
