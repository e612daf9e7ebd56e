//! Ends retention: destroys the key of each day whose retention is over, which nothing needs any more.
//!
//! Nothing brings back what a destroyed key sealed, so the clock is not simply believed: not while it has gone another way
//! than the time that passed since the start, nor, in the first day after a start, when it stands more than a week after the last event
//! that was written before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Service, clock};
use crate::fhir;
use crate::fhir::audit_event::RecordedEvent;
use crate::storage::{self, Ended, Store, StoredEvent};

/// How often the store is asked.
const EVERY: Duration = Duration::from_secs(10 * 60);
/// Envelopes taken at a time.
const PAGE: usize = 64;
/// Messages whose room is given back at a time.
const CLEARED: usize = 256;
/// How far the clock may go another way than the time that passed.
const ADRIFT: Duration = Duration::from_secs(60 * 60);
/// For how long a gateway may have stood still whose clock is believed at once.
const STOOD_STILL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// After how long a clock is believed that was not at the start.
const SETTLED: Duration = Duration::from_secs(24 * 60 * 60);

/// What the clock is held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// When the newest event before the start was recorded, long ago when that cannot be read; `None` when there is none.
    last_event: Option<fhir::Instant>,
    /// What the clock said at the start.
    began: fhir::Instant,
}

impl Clock {
    /// At the start, before any event of it is written.
    pub(super) async fn at_start(store: &dyn Store, began: fhir::Instant) -> Result<Clock, storage::Error> {
        let newest = store.damage().sift(("events", "the newest"), store.events_back(0, u64::MAX, 1).await)?;
        let recorded = |stored: &StoredEvent| Some(RecordedEvent::read(&stored.event.bytes)?.at());
        let last_event = match newest.as_deref() {
            Some([]) => None,
            Some([newest, ..]) => recorded(newest).or(Some(fhir::Instant::UNIX_EPOCH)),
            None => Some(fhir::Instant::UNIX_EPOCH),
        };
        Ok(Clock { last_event, began })
    }

    fn is_adrift(self, now: fhir::Instant, passed: Duration) -> bool {
        (now - (self.began + passed)).unsigned_abs() > ADRIFT
    }

    /// Why `now` is not believed, when `passed` has passed since the start; `None` when it is.
    fn doubt(self, now: fhir::Instant, passed: Duration) -> Option<&'static str> {
        if self.is_adrift(now, passed) {
            return Some("the clock was set by more than an hour since the gateway started");
        }
        let stood_still = self.last_event.is_some_and(|last| self.began > last + STOOD_STILL);
        (stood_still && passed < SETTLED)
            .then_some("the clock was set, or stands more than a week after the last event before the start")
    }
}

/// Until the gateway stops.
pub(super) async fn watch(service: Arc<Service>, held_against: Clock, mut stopped: watch::Receiver<bool>) {
    let (mut held_against, mut started, mut said) = (held_against, Instant::now(), None);
    loop {
        let now = clock::now();
        let doubt = held_against.doubt(now, started.elapsed());
        let ended = match doubt {
            Some(_) => Ok(()),
            None => end_retention(&service, now).await,
        };
        if held_against.is_adrift(now, started.elapsed()) {
            // From here on it must go evenly for a day.
            (held_against, started) =
                (Clock { last_event: Some(fhir::Instant::UNIX_EPOCH), began: now }, Instant::now());
        }
        let done = ended.and(leave_no_trace(&service).await);
        if let (Some(why), true) = (doubt, doubt != said) {
            warn!(
                why,
                "no key is destroyed whose retention has ended: set the clock right; it is believed when it has gone evenly for a day"
            );
        }
        said = doubt;
        if let Err(error) = done {
            error!(%error, "keys whose retention has ended could not be destroyed; the next try follows in ten minutes");
        }
        if tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

async fn end_retention(service: &Service, now: fhir::Instant) -> Result<(), storage::Error> {
    let store = service.gateway.store();
    let mut after = 0;
    loop {
        let page = store.ended_envelopes(now, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.envelope.number;
        for ended in &page {
            let Ended { envelope, messages, held, .. } = ended;
            let (number, agreement) = (envelope.number, &envelope.agreement);
            if *held > 0 {
                warn!(envelope = number, %agreement, held, "retention has ended, but messages may have to be sent or are to be reviewed, or referrals to be collected");
                continue;
            }
            let event = service.gateway.recorder.envelope_destroyed(ended, now);
            if store.destroy_envelope(number, now, event).await? {
                info!(envelope = number, %agreement, messages, "retention has ended: the key was destroyed");
            }
        }
    }
    while store.clear_destroyed(CLEARED).await? > 0 {}
    Ok(())
}

/// Empties the store's journal of what was destroyed and erased; what cannot be done now is done the next time.
async fn leave_no_trace(service: &Service) -> Result<(), storage::Error> {
    if !service.gateway.store().leave_no_trace().await? {
        warn!("what was destroyed or erased is still in the store's journal: somebody reads what was there before");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::suite::accept;
    use crate::storage::{Secret, SqliteStore};
    use time::macros::datetime;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[tokio::test]
    async fn a_newest_event_that_is_damaged_does_not_stop_the_gateway_and_vouches_for_no_clock() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weir.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, &Secret::generate()).expect("it opens"));
        let began = datetime!(2026-03-04 12:00 UTC);
        let clock = Clock::at_start(&*store, began).await.expect("it is read");
        assert_eq!(clock.doubt(began, Duration::ZERO), None, "a new site");
        accept(&store, 1).await;
        let clock = Clock::at_start(&*store, began).await.expect("it is read");
        assert!(clock.doubt(began, Duration::ZERO).is_some(), "it is no AuditEvent");
        let database = rusqlite::Connection::open(&path).expect("it opens");
        let damage = "PRAGMA ignore_check_constraints = ON; UPDATE events SET leaf = x'00'";
        database.execute_batch(damage).expect("it is damaged");
        let clock = Clock::at_start(&*store, began).await.expect("the gateway starts");
        assert!(clock.doubt(began, Duration::ZERO).is_some());
        assert_eq!(store.damage().count(), 1, "people are told");
    }

    #[test]
    fn a_clock_that_leapt_is_not_believed() {
        let began = datetime!(2026-03-04 12:00 UTC);
        let doubts = |last_event, now, passed| Clock { last_event, began }.doubt(now, passed).is_some();
        let yesterday = Some(began - DAY);
        assert!(!doubts(None, began, Duration::ZERO), "a new site");
        assert!(!doubts(yesterday, began + 30 * DAY, 30 * DAY));
        for (now, passed) in [(began + DAY, Duration::ZERO), (began - DAY, Duration::ZERO), (began + DAY, 30 * DAY)] {
            assert!(doubts(yesterday, now, passed), "{now} after {passed:?}");
        }
        let long_ago = Some(began - 8 * DAY);
        assert!(doubts(long_ago, began + DAY / 2, DAY / 2), "the clock may have been ahead at the start");
        assert!(!doubts(long_ago, began + DAY, DAY), "by now somebody would have seen");
    }
}
