//! Where messages that come in wait a moment for a place on a lane, in the order in which they came.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::gate::{Entry, Gate, Taken};
use crate::identity::MessageId;

/// For how long a message waits for one of the places that are all taken. Mostly one is given back in that time; to wait in the
/// outbox costs a transaction more, and what comes after it waits there too.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// The entrance of one lane.
#[derive(Debug)]
pub(super) struct Entrance {
    patience: Duration,
    /// Held by the one that looks for a place; the others wait behind it.
    door: tokio::sync::Mutex<()>,
    freed: Notify,
}

impl Entrance {
    pub(super) fn new(patience: Duration) -> Entrance {
        Entrance { patience, door: tokio::sync::Mutex::default(), freed: Notify::new() }
    }

    /// A place for a message that comes in; waits when all are taken, one is given back soon, and nothing waits in the outbox.
    /// `None`: it waits there.
    pub(super) async fn enter(&self, gate: &Mutex<Gate>, message: MessageId) -> Option<Taken> {
        let entering = async {
            let _first = self.door.lock().await;
            loop {
                let entry = locked(gate).enter(message, Instant::now());
                match entry {
                    Entry::Begins(taken) => return Some(taken),
                    Entry::Full => self.freed.notified().await,
                    Entry::Waits => return None,
                }
            }
        };
        timeout(self.patience, entering).await.unwrap_or_else(|_| {
            let mut gate = locked(gate);
            // Those before it may have been slow to come away from the door.
            if let Entry::Begins(taken) = gate.enter(message, Instant::now()) {
                return Some(taken);
            }
            gate.fall_short();
            None
        })
    }

    /// A place was given back, or no more are given.
    pub(super) fn freed(&self) {
        self.freed.notify_one();
    }
}

pub(super) fn locked(gate: &Mutex<Gate>) -> MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::super::breaker::Health;
    use super::super::gate::tests::{gate, id};
    use super::*;

    /// Longer than any of these tests takes.
    pub(in super::super) const LONG: Duration = Duration::from_secs(60);

    /// A prompt lane with one place, which the first message has.
    fn full(patience: Duration) -> (Arc<(Entrance, Mutex<Gate>)>, Taken) {
        let (mut gate, now) = (gate(1, Instant::now()), Instant::now());
        gate.queue_ended(0);
        let take = |gate: &mut Gate| match gate.enter(id(1), now) {
            Entry::Begins(taken) => taken,
            entry => panic!("there is room for one: {entry:?}"),
        };
        let taken = take(&mut gate);
        gate.free(taken, Health::Well, now);
        gate.leave(id(1), true);
        let taken = take(&mut gate);
        (Arc::new((Entrance::new(patience), Mutex::new(gate))), taken)
    }

    fn leave((entrance, gate): &(Entrance, Mutex<Gate>), message: MessageId, taken: Taken) {
        // As if it had been taken just now: how long this test takes says nothing of the lane.
        locked(gate).free(taken, Health::Well, taken.since());
        locked(gate).leave(message, true);
        entrance.freed();
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_goes_to_the_first_that_waits() {
        let (lane, mut taken) = full(LONG);
        let (told, mut began) = tokio::sync::mpsc::unbounded_channel();
        for number in 2..=9 {
            let (lane, told) = (lane.clone(), told.clone());
            tokio::spawn(async move {
                let taken = lane.0.enter(&lane.1, id(number)).await;
                told.send((id(number), taken)).expect("the test listens");
            });
        }
        // They come to the door in this order.
        tokio::task::yield_now().await;
        let mut before = id(1);
        for number in 2..=9 {
            assert!(began.try_recv().is_err(), "there is one place only");
            leave(&lane, before, taken);
            let (message, its) = began.recv().await.expect("it begins");
            assert_eq!(message, id(number));
            (before, taken) = (message, its.expect("a place was given back"));
        }
        assert!(locked(&lane.1).queue().is_none(), "nobody fell behind");
    }

    #[tokio::test]
    async fn a_message_waits_in_the_outbox_when_no_place_is_given_back() {
        let (lane, taken) = full(PATIENCE);
        let since = Instant::now();
        let (second, third) = tokio::join!(lane.0.enter(&lane.1, id(2)), lane.0.enter(&lane.1, id(3)));
        assert!(second.is_none() && third.is_none() && since.elapsed() >= PATIENCE);
        assert!(locked(&lane.1).queue().is_some(), "the lane looks for them there");
        leave(&lane, id(1), taken);
        assert!(lane.0.enter(&lane.1, id(4)).await.is_none(), "and they go before the fourth");
    }

    #[tokio::test]
    async fn a_lane_that_closes_lets_nobody_wait() {
        let (lane, _taken) = full(LONG);
        let waiting = tokio::spawn({
            let lane = lane.clone();
            async move { lane.0.enter(&lane.1, id(2)).await }
        });
        tokio::task::yield_now().await;
        assert!(!locked(&lane.1).close());
        lane.0.freed();
        assert!(waiting.await.expect("it ends").is_none());
        assert!(locked(&lane.1).queue().is_none(), "it did not wait until its patience ended");
    }
}
