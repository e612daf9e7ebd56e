//! The loop that drains the outbox: one a partner, so that no partner waits for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tracing::error;

use super::{Service, clock};
use crate::identity::{MessageId, PartyId};
use crate::pipeline;
use crate::storage::{self, Due, State};

/// Attempts under way at a time, for one partner.
const ATTEMPTS_AT_A_TIME: usize = 32;

/// How long a loop sleeps when nothing is due and nobody rings.
const IDLE: Duration = Duration::from_secs(30);

/// How long a loop waits for a store that did not answer or write.
const PAUSE: Duration = Duration::from_secs(1);

/// The attempts that are under way for one partner.
#[derive(Default)]
struct Attempts {
    tasks: JoinSet<Result<(), storage::Error>>,
    busy: HashMap<Id, MessageId>,
}

impl Attempts {
    fn begin(&mut self, service: &Arc<Service>, due: Due) {
        let message = due.record.id;
        let task = self.tasks.spawn(attempt(service.clone(), due));
        self.busy.insert(task.id(), message);
    }

    fn is_under_way(&self, message: MessageId) -> bool {
        self.busy.values().any(|busy| *busy == message)
    }

    /// Waits for an attempt to end; `None` when there is none. `Some(false)` when it may stand in flight for ever,
    /// unless it is queued again.
    async fn ended(&mut self) -> Option<bool> {
        let ended = self.tasks.join_next_with_id().await?;
        let (task, settled) = match ended {
            Ok((task, outcome)) => (task, outcome.is_ok()),
            Err(error) => {
                error!(place = "outbox", is_panic = error.is_panic(), "an attempt ended abnormally");
                (error.id(), false)
            }
        };
        self.busy.remove(&task);
        Some(settled)
    }
}

/// Delivers what is due for `party` until `stopped` says so, then lets the attempts under way end.
pub(super) async fn drain(service: Arc<Service>, party: PartyId, mut stopped: watch::Receiver<bool>) {
    let bell = service.bells[&party].clone();
    let mut attempts = Attempts::default();
    let mut all_settled = true;
    loop {
        if !all_settled {
            // What could not be stored just now can rarely be stored at once: trying without a pause would only heat.
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
            all_settled = requeue(&service, &party, &attempts).await;
            continue;
        }
        let mut wait = IDLE;
        if attempts.busy.len() < ATTEMPTS_AT_A_TIME {
            match take_due(&service, &party, &attempts).await {
                Ok(due) => {
                    due.into_iter().for_each(|due| attempts.begin(&service, due));
                    wait = until_next(&service, &party).await;
                }
                Err(pause) => wait = pause,
            }
        }
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            () = bell.notified() => {}
            Some(settled) = attempts.ended() => all_settled = settled,
            () = tokio::time::sleep(wait) => {}
        }
    }
    while attempts.ended().await.is_some() {}
}

/// Queues again what stands in flight without an attempt. Whether the store could do it.
async fn requeue(service: &Service, party: &PartyId, attempts: &Attempts) -> bool {
    let under_way = |message| attempts.is_under_way(message);
    let requeued = service.gateway.requeue(party, under_way, clock::now()).await;
    if let Err(error) = &requeued {
        error!(recipient = %party, %error, "the outbox could not be written; the next try follows");
    }
    requeued.is_ok()
}

/// Messages that are due and not under way, no more than there is room for. `Err` is how long to wait before asking
/// a store that does not answer again.
async fn take_due(service: &Service, party: &PartyId, attempts: &Attempts) -> Result<Vec<Due>, Duration> {
    let due = service.gateway.store().due(party, clock::now(), ATTEMPTS_AT_A_TIME * 2).await.map_err(|error| {
        error!(recipient = %party, %error, "the outbox could not be read; the next try follows");
        PAUSE
    })?;
    let room = ATTEMPTS_AT_A_TIME - attempts.busy.len();
    Ok(due.into_iter().filter(|due| !attempts.is_under_way(due.record.id)).take(room).collect())
}

async fn until_next(service: &Service, party: &PartyId) -> Duration {
    match service.gateway.store().next_due(party).await {
        Ok(Some(at)) => Duration::try_from(at - clock::now()).unwrap_or_default().clamp(Duration::from_millis(5), IDLE),
        Ok(None) => IDLE,
        Err(_) => PAUSE,
    }
}

async fn attempt(service: Arc<Service>, due: Due) -> Result<(), storage::Error> {
    let (id, recipient, accepted_at) = (due.record.id, due.record.recipient.clone(), due.record.accepted_at);
    let state = pipeline::forward(&service.gateway, due, clock::now).await.inspect_err(|error| {
        error!(message_id = %id, %error, "the outcome of an attempt could not be stored");
    })?;
    service.metrics.attempted(recipient.as_str(), state.code());
    if state == State::Acknowledged {
        service.metrics.acknowledged(Duration::try_from(clock::now() - accepted_at).unwrap_or_default());
    }
    Ok(())
}
