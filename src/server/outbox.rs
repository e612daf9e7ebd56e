//! The loops that drain the outbox: one a lane, so that no route waits for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tracing::error;

use super::{Service, alarms, clock};
use crate::delivery::{Health, Lane, Ticket};
use crate::identity::MessageId;
use crate::pipeline;
use crate::storage::{self, MessageRecord, State, Window};

/// How long a loop sleeps when nothing is due and nobody rings.
const IDLE: Duration = Duration::from_secs(30);

/// How long a loop waits for a store that did not answer or write.
const PAUSE: Duration = Duration::from_secs(1);

/// An attempt's message, and its place in the lane.
struct Busy {
    message: MessageId,
    ticket: Ticket,
}

/// The attempts that are under way on one lane.
#[derive(Default)]
struct Attempts {
    tasks: JoinSet<Result<Health, storage::Error>>,
    busy: HashMap<Id, Busy>,
}

impl Attempts {
    fn begin(&mut self, service: &Arc<Service>, lane: &Arc<Lane>, due: MessageRecord) {
        let (message, ticket) = (due.id, lane.began(Instant::now()));
        let task = self.tasks.spawn(attempt(service.clone(), lane.clone(), due));
        self.busy.insert(task.id(), Busy { message, ticket });
    }

    fn is_under_way(&self, message: MessageId) -> bool {
        self.busy.values().any(|busy| busy.message == message)
    }

    /// Waits for an attempt to end; `None` when there is none. `Some(false)` when it may stand in flight for ever,
    /// unless it is queued again.
    async fn ended(&mut self, lane: &Lane) -> Option<bool> {
        let ended = self.tasks.join_next_with_id().await?;
        let (task, outcome) = match ended {
            Ok((task, outcome)) => (task, outcome.ok()),
            Err(error) => {
                error!(place = "outbox", is_panic = error.is_panic(), "an attempt ended abnormally");
                (error.id(), None)
            }
        };
        if let Some(busy) = self.busy.remove(&task) {
            lane.ended(busy.ticket, outcome.unwrap_or(Health::Unknown), Instant::now());
        }
        Some(outcome.is_some())
    }
}

/// Delivers what is due on `lane` until `stopped` says so, then lets the attempts under way end.
pub(super) async fn drain(service: Arc<Service>, lane: Arc<Lane>, mut stopped: watch::Receiver<bool>) {
    let mut attempts = Attempts::default();
    let mut all_settled = true;
    loop {
        if !all_settled {
            // What could not be stored just now can rarely be stored at once: trying without a pause would only heat.
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
            all_settled = requeue(&service, &lane, &attempts).await;
            continue;
        }
        let wait = match lane.room(Instant::now()) {
            Ok(room) => begin_due(&service, &lane, &mut attempts, room).await,
            Err(wait) => wait.unwrap_or(IDLE),
        };
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            () = lane.rung() => {}
            Some(settled) = attempts.ended(&lane) => all_settled = settled,
            () = tokio::time::sleep(wait) => {}
        }
    }
    while attempts.ended(&lane).await.is_some() {}
}

/// Queues again what stands in flight without an attempt. Whether the store could do it.
async fn requeue(service: &Service, lane: &Lane, attempts: &Attempts) -> bool {
    let under_way = |message| attempts.is_under_way(message);
    let requeued = service.gateway.requeue(lane, under_way, clock::now()).await;
    if let Err(error) = &requeued {
        error!(recipient = %lane.party(), %error, "the outbox could not be written; the next try follows");
    }
    requeued.is_ok()
}

/// Begins attempts at what is due, as many as there is `room` for. Gives how long to wait for the next.
async fn begin_due(service: &Arc<Service>, lane: &Arc<Lane>, attempts: &mut Attempts, room: usize) -> Duration {
    // An attempt that has just begun may stand in the store as queued for a moment more.
    let limit = room + attempts.busy.len();
    let window = Window::new(clock::now(), lane.settings().schedule.max);
    let due = match service.gateway.store().due(lane.party(), lane.route(), window, limit).await {
        Ok(due) => due,
        Err(error) => {
            error!(recipient = %lane.party(), %error, "the outbox could not be read; the next try follows");
            return PAUSE;
        }
    };
    let due: Vec<MessageRecord> = due.into_iter().filter(|due| !attempts.is_under_way(due.id)).take(room).collect();
    let is_all = due.len() < room;
    due.into_iter().for_each(|due| attempts.begin(service, lane, due));
    match lane.room(Instant::now()) {
        Ok(_) if is_all => until_next(service, lane).await,
        Ok(_) => Duration::ZERO,
        Err(wait) => wait.unwrap_or(IDLE),
    }
}

async fn until_next(service: &Service, lane: &Lane) -> Duration {
    match service.gateway.store().next_due(lane.party(), lane.route()).await {
        Ok(Some(at)) => Duration::try_from(at - clock::now()).unwrap_or_default().clamp(Duration::from_millis(5), IDLE),
        Ok(None) => IDLE,
        Err(_) => PAUSE,
    }
}

async fn attempt(service: Arc<Service>, lane: Arc<Lane>, due: MessageRecord) -> Result<Health, storage::Error> {
    let (id, accepted_at) = (due.id, due.accepted_at);
    let in_order = due.handling.order_key.is_some();
    let forwarded = pipeline::forward(&service.gateway, &lane, due, clock::now).await;
    if in_order {
        // The next of its order may wait on another lane.
        service.wake(lane.party());
    }
    let forwarded = forwarded.inspect_err(|error| {
        error!(message_id = %id, %error, "the outcome of an attempt could not be stored");
    })?;
    let Some(forwarded) = forwarded else { return Ok(Health::Unknown) };
    if forwarded.was_answered {
        return Ok(forwarded.health);
    }
    service.metrics.attempted(lane.party().as_str(), forwarded.state.code());
    if forwarded.is_unauthorised
        && let Err(error) = alarms::tell_unauthorised(&service, id).await
    {
        error!(message_id = %id, %error, "that the partner does not let us in could not be told; the next attempt tells it");
    }
    if forwarded.state == State::Acknowledged {
        service.metrics.acknowledged(Duration::try_from(clock::now() - accepted_at).unwrap_or_default());
    }
    Ok(forwarded.health)
}
