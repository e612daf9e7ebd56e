//! The loop that drains the outbox: one a partner, so that no partner waits for another.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::{Service, clock};
use crate::identity::{MessageId, PartyId};
use crate::pipeline;
use crate::storage::{Due, State};

/// Attempts under way at a time, for one partner.
const ATTEMPTS_AT_A_TIME: usize = 32;

/// How long a loop sleeps when nothing is due and nobody rings.
const IDLE: Duration = Duration::from_secs(30);

/// Delivers what is due for `party` until `stopped` says so, then lets the attempts under way end.
pub(super) async fn drain(service: Arc<Service>, party: PartyId, mut stopped: watch::Receiver<bool>) {
    let concurrency = ATTEMPTS_AT_A_TIME;
    let bell = service.bells[&party].clone();
    let mut attempts: JoinSet<MessageId> = JoinSet::new();
    let mut busy: HashSet<MessageId> = HashSet::new();
    loop {
        let mut wait = IDLE;
        if busy.len() < concurrency {
            match take_due(&service, &party, &busy, concurrency).await {
                Ok(due) => {
                    for due in due {
                        busy.insert(due.record.id);
                        attempts.spawn(attempt(service.clone(), due));
                    }
                    wait = until_next(&service, &party).await;
                }
                Err(pause) => wait = pause,
            }
        }
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            () = bell.notified() => {}
            Some(ended) = attempts.join_next() => forget(&mut busy, ended),
            () = tokio::time::sleep(wait) => {}
        }
    }
    while let Some(ended) = attempts.join_next().await {
        forget(&mut busy, ended);
    }
}

/// Messages that are due and not under way, no more than there is room for. `Err` is how long to wait before asking
/// a store that does not answer again.
async fn take_due(
    service: &Service,
    party: &PartyId,
    busy: &HashSet<MessageId>,
    concurrency: usize,
) -> Result<Vec<Due>, Duration> {
    let due = service.gateway.store().due(party, clock::now(), concurrency * 2).await.map_err(|error| {
        error!(recipient = %party, %error, "the outbox could not be read; the next try follows");
        Duration::from_secs(1)
    })?;
    let room = concurrency - busy.len();
    Ok(due.into_iter().filter(|due| !busy.contains(&due.record.id)).take(room).collect())
}

async fn until_next(service: &Service, party: &PartyId) -> Duration {
    match service.gateway.store().next_due(party).await {
        Ok(Some(at)) => Duration::try_from(at - clock::now()).unwrap_or_default().clamp(Duration::from_millis(5), IDLE),
        Ok(None) => IDLE,
        Err(_) => Duration::from_secs(1),
    }
}

async fn attempt(service: Arc<Service>, due: Due) -> MessageId {
    let (id, recipient, accepted_at) = (due.record.id, due.record.recipient.clone(), due.record.accepted_at);
    match pipeline::forward(&service.gateway, due, clock::now).await {
        Ok(state) => {
            service.metrics.attempted(recipient.as_str(), state.code());
            if state == State::Acknowledged {
                service.metrics.acknowledged(Duration::try_from(clock::now() - accepted_at).unwrap_or_default());
            }
        }
        Err(error) => error!(message_id = %id, %error, "the outcome of an attempt could not be stored"),
    }
    id
}

fn forget(busy: &mut HashSet<MessageId>, ended: Result<MessageId, tokio::task::JoinError>) {
    match ended {
        Ok(id) => {
            busy.remove(&id);
        }
        Err(error) => {
            warn!(%error, "an attempt ended abnormally");
            busy.clear();
        }
    }
}
