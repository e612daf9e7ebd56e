//! What decides whether an attempt may begin on a lane.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::LaneSettings;
use super::breaker::{Breaker, Health, Standing, Ticket};
use super::bucket::Bucket;
use crate::identity::MessageId;

/// The gate of one lane.
#[derive(Debug)]
pub(super) struct Gate {
    concurrency: usize,
    breaker: Breaker,
    bucket: Option<Bucket>,
    /// The messages that have a place.
    under_way: HashSet<MessageId>,
    /// Whether no attempt may begin, since the partner says that it takes other messages.
    pub(super) is_held: bool,
    /// How often it was said that something may be due in the outbox.
    rung: u64,
    /// Whether something may be due in the outbox that nobody has looked for.
    has_queue: bool,
    /// Whether there was no place for something: until all that waits has begun, it goes before what comes in.
    is_short: bool,
    /// Whether an attempt ended without saying how: its message may stand in flight for ever, unless it is queued again.
    is_unsettled: bool,
    /// Whether what comes in gets no place, since the gateway stops.
    is_closing: bool,
}

/// How the standing of a route changed.
pub(super) type Change = (Standing, Standing);

impl Gate {
    pub(super) fn new(settings: &LaneSettings, now: Instant) -> Gate {
        Gate {
            concurrency: settings.concurrency as usize,
            breaker: Breaker::new(settings.breaker),
            bucket: settings.rate.map(|rate| Bucket::full(rate, now)),
            under_way: HashSet::new(),
            is_held: false,
            rung: 0,
            // What an earlier run left.
            has_queue: true,
            is_short: true,
            is_unsettled: false,
            is_closing: false,
        }
    }

    /// Whether an attempt may begin; if none may, how long to wait, `None` until one that is under way ends.
    pub(super) fn room(&mut self, now: Instant) -> Result<(), Option<Duration>> {
        if self.is_held || self.under_way.len() >= self.concurrency {
            return Err(None);
        }
        self.breaker.room(now)?;
        self.bucket.as_mut().map_or(Ok(0), |bucket| bucket.tokens(now).map_err(Some))?;
        Ok(())
    }

    /// Gives a message of the outbox a place, unless it has one or there is no room.
    pub(super) fn begin(&mut self, message: MessageId, now: Instant) -> Option<Ticket> {
        if self.room(now).is_err() {
            (self.has_queue, self.is_short) = (true, true);
            return None;
        }
        if !self.under_way.insert(message) {
            return None;
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.take(now);
        }
        Some(self.breaker.began())
    }

    /// Gives a message that comes in a place, unless others wait or there is no room: then it waits too.
    pub(super) fn begin_new(&mut self, message: MessageId, now: Instant) -> Option<Ticket> {
        if self.is_short || self.is_closing {
            return None;
        }
        self.begin(message, now)
    }

    /// Takes a place back. How the standing of the route changed, and whether somebody waits for the place.
    pub(super) fn leave(
        &mut self,
        (message, ticket): (MessageId, Ticket),
        (health, is_settled): (Health, bool),
        now: Instant,
    ) -> (Change, bool) {
        self.under_way.remove(&message);
        self.is_unsettled |= !is_settled;
        let before = self.breaker.standing(now);
        self.breaker.ended(ticket, health, now);
        let is_awaited = self.has_queue || self.is_unsettled || self.is_closing;
        ((before, self.breaker.standing(now)), is_awaited)
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        self.breaker.standing(now)
    }

    pub(super) fn under_way(&self) -> &HashSet<MessageId> {
        &self.under_way
    }

    pub(super) fn ring(&mut self) {
        self.rung += 1;
        self.has_queue = true;
    }

    /// How often it was rung; `None` when nothing waits.
    pub(super) fn queue(&self) -> Option<u64> {
        self.has_queue.then_some(self.rung)
    }

    /// All has begun that was seen to wait after it was rung so often.
    pub(super) fn queue_ended(&mut self, rung: u64) {
        self.is_short = false;
        self.has_queue &= self.rung != rung;
    }

    pub(super) fn take_unsettled(&mut self) -> bool {
        std::mem::take(&mut self.is_unsettled)
    }

    /// Gives what comes in no place any more. Whether nothing is under way.
    pub(super) fn close(&mut self) -> bool {
        self.is_closing = true;
        self.under_way.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{BreakerSettings, Schedule};

    fn gate(concurrency: u32, now: Instant) -> Gate {
        let settings = LaneSettings {
            schedule: Schedule { first: Duration::from_secs(1), max: Duration::from_secs(60) },
            attempt_timeout: Duration::from_secs(1),
            max_attempts: None,
            concurrency,
            rate: None,
            breaker: BreakerSettings { failures: 1, open: Duration::from_secs(30), probes: 1 },
            show_provenance: false,
        };
        Gate::new(&settings, now)
    }

    fn id(number: u32) -> MessageId {
        let (sender, interface) = ("DEMOP".parse().expect("an ODS code"), "i".parse().expect("a name"));
        MessageId::derive(&sender, &interface, &number.to_string())
    }

    #[test]
    fn what_comes_in_waits_behind_what_waits() {
        let now = Instant::now();
        let mut gate = gate(2, now);
        assert!(gate.begin_new(id(1), now).is_none(), "nobody has looked at the outbox yet");
        let rung = gate.queue().expect("it may wait there");
        gate.queue_ended(rung);
        let first = gate.begin_new(id(1), now).expect("nothing waits");
        let second = gate.begin_new(id(2), now).expect("there is room for two");
        assert!(gate.begin_new(id(3), now).is_none() && gate.begin(id(3), now).is_none(), "and no more");
        let (_, is_awaited) = gate.leave((id(1), first), (Health::Well, true), now);
        assert!(is_awaited, "the third waits");
        assert!(gate.begin_new(id(4), now).is_none(), "it goes before the fourth");
        assert!(gate.begin(id(2), now).is_none(), "one message has one place");
        let third = gate.begin(id(3), now).expect("there is room again");
        let (_, is_awaited) = gate.leave((id(2), second), (Health::Well, true), now);
        assert!(is_awaited, "the fourth waits");
        let looked = gate.queue().expect("it does");
        gate.ring();
        gate.queue_ended(looked);
        assert!(gate.queue().is_some(), "what was said since was not seen");
        assert!(gate.begin_new(id(5), now).is_some(), "but all that was seen has begun, and there is room");
        gate.queue_ended(looked + 1);
        let (_, is_awaited) = gate.leave((id(3), third), (Health::Well, true), now);
        assert!(!is_awaited && gate.queue().is_none());
    }

    #[test]
    fn an_attempt_that_does_not_say_how_it_ended_is_told() {
        let now = Instant::now();
        let mut gate = gate(1, now);
        let ticket = gate.begin(id(1), now).expect("there is room");
        let (_, is_awaited) = gate.leave((id(1), ticket), (Health::Unknown, false), now);
        assert!(is_awaited && gate.take_unsettled() && !gate.take_unsettled());
    }

    #[test]
    fn a_route_that_is_left_alone_takes_nothing_new() {
        let now = Instant::now();
        let mut gate = gate(2, now);
        gate.queue_ended(0);
        let ticket = gate.begin_new(id(1), now).expect("there is room");
        let (change, _) = gate.leave((id(1), ticket), (Health::Ill, true), now);
        assert_eq!(change, (Standing::Closed, Standing::Open));
        assert!(gate.begin_new(id(2), now).is_none());
        assert_eq!(gate.room(now), Err(Some(Duration::from_secs(30))));
        gate.queue_ended(0);
        gate.is_held = true;
        assert!(gate.begin_new(id(3), now + Duration::from_secs(30)).is_none(), "nor one that is held");
    }

    #[test]
    fn a_gate_that_closes_gives_no_place_and_waits_for_those_it_gave() {
        let now = Instant::now();
        let mut gate = gate(2, now);
        gate.queue_ended(0);
        let ticket = gate.begin_new(id(1), now).expect("there is room");
        assert!(!gate.close() && gate.begin_new(id(2), now).is_none());
        let (_, is_awaited) = gate.leave((id(1), ticket), (Health::Well, true), now);
        assert!(is_awaited && gate.close());
    }
}
