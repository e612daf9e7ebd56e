//! The loops that drain the outbox: one a lane, so that no route waits for another; and the attempts, each a task that holds
//! its place on the lane.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::error;

use super::{Service, alarms, clock};
use crate::delivery::{Lane, Place};
use crate::identity::MessageId;
use crate::pipeline::{self, Due};
use crate::storage::{self, MessageRecord, State, Window};

/// How long a loop sleeps when nothing is due and nobody rings.
const IDLE: Duration = Duration::from_secs(30);

/// How long a loop waits for a store that did not answer or write.
const PAUSE: Duration = Duration::from_secs(1);

/// The most messages that a loop reads ahead.
const AHEAD: usize = 128;

/// How long what was read ahead is in order when the lane was rung since: something more urgent may have come.
const FRESH: Duration = Duration::from_millis(50);

/// What was due on a lane when its loop last looked, and has not begun; the most urgent first.
struct Ahead {
    due: VecDeque<MessageRecord>,
    /// Whether that was all.
    is_all: bool,
    /// How often the lane had been rung.
    rung: u64,
    at: Instant,
}

/// Delivers what is due on `lane` until `stopped` says so, then lets the attempts under way end.
pub(super) async fn drain(service: Arc<Service>, lane: Arc<Lane>, mut stopped: watch::Receiver<bool>) {
    let mut ahead = None;
    let mut is_settled = true;
    let mut wait = Duration::ZERO;
    loop {
        is_settled &= !lane.take_unsettled();
        if !is_settled {
            // What could not be stored just now can rarely be stored at once: trying without a pause would only heat.
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
            is_settled = requeue(&service, &lane).await;
            lane.ring();
            continue;
        }
        if let Some(rung) = lane.queue() {
            wait = match lane.room(Instant::now()) {
                Ok(()) => begin_due(&service, &lane, &mut ahead, rung).await,
                Err(wait) => wait.unwrap_or(IDLE),
            };
        }
        let until = Instant::now() + wait;
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            () = lane.rung() => wait = until.saturating_duration_since(Instant::now()),
            () = tokio::time::sleep_until(until) => lane.ring(),
        }
    }
    while !lane.close() {
        lane.rung().await;
    }
}

/// Queues again what stands in flight without an attempt. Whether the store could do it.
async fn requeue(service: &Service, lane: &Lane) -> bool {
    let requeued = service.gateway.requeue(lane, |message| lane.is_under_way(message), clock::now()).await;
    if let Err(error) = &requeued {
        error!(recipient = %lane.party(), %error, "the outbox could not be written; the next try follows");
    }
    requeued.is_ok()
}

/// Begins attempts at what is due, as many as there is room for. Gives how long to wait for the next. `rung` is how often the lane was
/// rung so far.
async fn begin_due(service: &Arc<Service>, lane: &Arc<Lane>, ahead: &mut Option<Ahead>, rung: u64) -> Duration {
    let is_fresh = |ahead: &Ahead| !ahead.due.is_empty() && (ahead.rung == rung || ahead.at.elapsed() < FRESH);
    if !ahead.as_ref().is_some_and(is_fresh) {
        match look(service, lane, rung).await {
            Ok(found) => *ahead = Some(found),
            Err(error) => {
                error!(recipient = %lane.party(), %error, "the outbox could not be read; the next try follows");
                return PAUSE;
            }
        }
    }
    let Some(Ahead { due, is_all, rung, .. }) = ahead else { return Duration::ZERO };
    while let Some(next) = due.pop_front() {
        if lane.is_under_way(next.id) {
            continue;
        }
        let now = Instant::now();
        match lane.place(next.id, now) {
            Some(place) => attempt(service.clone(), place, Due::Waiting(Box::new(next))),
            None => {
                due.push_front(next);
                return lane.room(now).err().flatten().unwrap_or(IDLE);
            }
        }
    }
    if !*is_all {
        return Duration::ZERO;
    }
    lane.queue_ended(*rung);
    until_next(service, lane).await
}

/// What is due now.
async fn look(service: &Service, lane: &Lane, rung: u64) -> Result<Ahead, storage::Error> {
    // An attempt that has just begun may stand in the store as queued for a moment more.
    let limit = AHEAD + lane.unfinished();
    let (window, at) = (Window::new(clock::now(), lane.settings().schedule.max), Instant::now());
    let due = service.gateway.store().due(lane.party(), lane.route(), window, limit).await?;
    Ok(Ahead { is_all: due.len() < limit, due: due.into(), rung, at })
}

async fn until_next(service: &Service, lane: &Lane) -> Duration {
    match service.gateway.store().next_due(lane.party(), lane.route()).await {
        Ok(Some(at)) => Duration::try_from(at - clock::now()).unwrap_or_default().clamp(Duration::from_millis(5), IDLE),
        Ok(None) => IDLE,
        Err(_) => PAUSE,
    }
}

/// Makes an attempt, in a task of its own.
pub(super) fn attempt(service: Arc<Service>, mut place: Place, due: Due) {
    place.begin();
    tokio::spawn(async move {
        match carry_out(&service, &mut place, due).await {
            Ok(()) => place.settle(),
            Err((message, error)) => {
                error!(message_id = %message, %error, "the outcome of an attempt could not be stored");
            }
        }
    });
}

async fn carry_out(service: &Service, place: &mut Place, due: Due) -> Result<(), (MessageId, storage::Error)> {
    let lane = place.lane().clone();
    let (id, accepted_at, in_order) = (due.message(), due.accepted_at(), due.is_in_order());
    let forwarded = pipeline::forward(&service.gateway, place, due, clock::now).await;
    if in_order {
        // The next of its order may wait on another lane.
        service.wake(lane.party());
    }
    let Some(forwarded) = forwarded.map_err(|error| (id, error))? else { return Ok(()) };
    if forwarded.was_answered {
        return Ok(());
    }
    service.metrics.attempted(lane.party().as_str(), forwarded.state.code());
    if forwarded.is_unauthorised
        && let Err(error) = alarms::tell_unauthorised(service, id).await
    {
        error!(message_id = %id, %error, "that the partner does not let us in could not be told; the next attempt tells it");
    }
    match forwarded.state {
        State::Acknowledged => {
            service.metrics.acknowledged(Duration::try_from(clock::now() - accepted_at).unwrap_or_default());
        }
        // Its next attempt may be the first that is due.
        State::Queued => lane.ring(),
        _ => {}
    }
    Ok(())
}
