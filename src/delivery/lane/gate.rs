//! What decides whether an attempt may begin on a lane.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::LaneSettings;
use super::breaker::{Breaker, Health, Standing, Ticket};
use super::bucket::Bucket;
use crate::identity::MessageId;

/// How often a lane gives back a place at least, if what comes in waits for one: a sender waits for no partner that is slower.
const PROMPT: Duration = Duration::from_millis(2);

/// The gate of one lane.
#[derive(Debug)]
pub(super) struct Gate {
    concurrency: usize,
    breaker: Breaker,
    bucket: Option<Bucket>,
    /// How many places are taken.
    taken: usize,
    /// For how long a place was taken of late; the newest counts for an eighth. `None` before the first was given back.
    held: Option<Duration>,
    /// The messages that have a place, or had one and the store does not have yet what came of it.
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

/// A place that is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    ticket: Ticket,
    since: Instant,
}

#[cfg(test)]
impl Taken {
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// What a message that comes in finds.
#[derive(Debug)]
pub(super) enum Entry {
    /// It has a place.
    Begins(Taken),
    /// All places are taken, one is given back soon, and nothing waits in the outbox.
    Full,
    /// It waits in the outbox.
    Waits,
}

/// How the standing of a route changed.
pub(super) type Change = (Standing, Standing);

impl Gate {
    pub(super) fn new(settings: &LaneSettings, now: Instant) -> Gate {
        Gate {
            concurrency: settings.concurrency as usize,
            breaker: Breaker::new(settings.breaker),
            bucket: settings.rate.map(|rate| Bucket::full(rate, now)),
            taken: 0,
            held: None,
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
        if self.is_held || self.is_full() {
            return Err(None);
        }
        self.breaker.room(now)?;
        self.bucket.as_mut().map_or(Ok(0), |bucket| bucket.tokens(now).map_err(Some))?;
        Ok(())
    }

    /// Gives a message of the outbox a place, unless it has one or there is no room.
    pub(super) fn begin(&mut self, message: MessageId, now: Instant) -> Option<Taken> {
        if self.room(now).is_err() {
            self.fall_short();
            return None;
        }
        if !self.under_way.insert(message) {
            return None;
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.take(now);
        }
        self.taken += 1;
        Some(Taken { ticket: self.breaker.began(), since: now })
    }

    /// Gives a message that comes in a place, unless others wait in the outbox or there is no room.
    pub(super) fn enter(&mut self, message: MessageId, now: Instant) -> Entry {
        if self.is_short || self.is_closing {
            return Entry::Waits;
        }
        if self.is_full() && self.is_prompt() && !self.has_queue && !self.is_held {
            return Entry::Full;
        }
        self.begin(message, now).map_or(Entry::Waits, Entry::Begins)
    }

    /// A message waits in the outbox, since there is no place for it.
    pub(super) fn fall_short(&mut self) {
        (self.has_queue, self.is_short) = (true, true);
    }

    /// Takes a place back. How the standing of the route changed, and whether somebody waits for it.
    pub(super) fn free(&mut self, taken: Taken, health: Health, now: Instant) -> (Change, bool) {
        self.taken -= 1;
        let held = now.saturating_duration_since(taken.since);
        self.held = Some(self.held.map_or(held, |before| before - before / 8 + held / 8));
        let before = self.breaker.standing(now);
        self.breaker.ended(taken.ticket, health, now);
        ((before, self.breaker.standing(now)), self.is_awaited())
    }

    /// The attempt at a message is over, and the store has what came of it or does not. Whether somebody waits for that.
    pub(super) fn leave(&mut self, message: MessageId, is_settled: bool) -> bool {
        self.under_way.remove(&message);
        self.is_unsettled |= !is_settled;
        self.is_awaited()
    }

    fn is_awaited(&self) -> bool {
        self.has_queue || self.is_unsettled || self.is_closing
    }

    /// Whether places are given back so fast that it is worth to wait for one.
    fn is_prompt(&self) -> bool {
        let places = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        self.held.is_some_and(|held| held / places.max(1) <= PROMPT)
    }

    fn is_full(&self) -> bool {
        self.taken >= self.concurrency
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        self.breaker.standing(now)
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
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
pub(super) mod tests {
    use super::*;
    use crate::delivery::{BreakerSettings, Schedule};

    pub(in super::super) fn gate(concurrency: u32, now: Instant) -> Gate {
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

    pub(in super::super) fn id(number: u32) -> MessageId {
        let (sender, interface) = ("DEMOP".parse().expect("an ODS code"), "i".parse().expect("a name"));
        MessageId::derive(&sender, &interface, &number.to_string())
    }

    /// The place of a message that comes in, if it has one.
    fn enters(gate: &mut Gate, number: u32, now: Instant) -> Option<Taken> {
        if let Entry::Begins(taken) = gate.enter(id(number), now) { Some(taken) } else { None }
    }

    /// An attempt ends, and the store has what came of it. Whether somebody waits for that.
    fn leave(gate: &mut Gate, number: u32, taken: Taken, now: Instant) -> bool {
        let (_, is_awaited) = gate.free(taken, Health::Well, now);
        gate.leave(id(number), true) | is_awaited
    }

    #[test]
    fn an_answer_makes_room_for_another_but_not_for_the_same_message() {
        let now = Instant::now();
        let mut gate = gate(1, now);
        gate.queue_ended(0);
        let ticket = enters(&mut gate, 1, now).expect("there is room for one");
        assert_eq!(gate.room(now), Err(None));
        gate.free(ticket, Health::Well, now);
        assert!(gate.begin(id(1), now).is_none(), "what came of it is not stored yet");
        assert!(gate.room(now).is_ok() && !gate.close(), "nor may the gateway stop yet");
        let ticket = gate.begin(id(2), now).expect("the partner has answered");
        assert_eq!((gate.room(now), gate.under_way().len()), (Err(None), 2));
        gate.leave(id(1), true);
        assert_eq!(gate.room(now), Err(None), "one place was given back once");
        leave(&mut gate, 2, ticket, now);
        assert!(gate.room(now).is_ok() && gate.close());
    }

    #[test]
    fn what_comes_in_waits_behind_what_waits() {
        let now = Instant::now();
        let mut gate = gate(2, now);
        assert!(enters(&mut gate, 1, now).is_none(), "nobody has looked at the outbox yet");
        let rung = gate.queue().expect("it may wait there");
        gate.queue_ended(rung);
        let first = enters(&mut gate, 1, now).expect("nothing waits");
        let second = enters(&mut gate, 2, now).expect("there is room for two");
        assert!(enters(&mut gate, 3, now).is_none() && gate.begin(id(3), now).is_none(), "and no more");
        assert!(leave(&mut gate, 1, first, now), "the third waits");
        assert!(enters(&mut gate, 4, now).is_none(), "it goes before the fourth");
        assert!(gate.begin(id(2), now).is_none(), "one message has one place");
        let third = gate.begin(id(3), now).expect("there is room again");
        assert!(leave(&mut gate, 2, second, now), "the fourth waits");
        let looked = gate.queue().expect("it does");
        gate.ring();
        gate.queue_ended(looked);
        assert!(gate.queue().is_some(), "what was said since was not seen");
        assert!(enters(&mut gate, 5, now).is_some(), "but all that was seen has begun, and there is room");
        gate.queue_ended(looked + 1);
        assert!(!leave(&mut gate, 3, third, now) && gate.queue().is_none());
    }

    #[test]
    fn what_comes_in_may_wait_for_a_place_where_one_is_given_back_soon_and_nothing_waits() {
        let start = Instant::now();
        for (places, milliseconds, waits) in [(1, 2, true), (1, 3, false), (10, 20, true), (10, 29, false)] {
            let (mut gate, mut now) = (gate(places, start), start);
            gate.queue_ended(0);
            let fill = |gate: &mut Gate, now| {
                let take = |number| enters(gate, number, now).expect("there is room");
                (1..=places).map(take).collect::<Vec<_>>()
            };
            let taken = fill(&mut gate, now);
            assert!(!gate.is_prompt(), "nobody knows yet");
            now += Duration::from_millis(milliseconds);
            for (number, taken) in (1..).zip(taken) {
                leave(&mut gate, number, taken, now);
            }
            let mut taken = fill(&mut gate, now);
            let entry = gate.enter(id(99), now);
            assert_eq!(
                (matches!(entry, Entry::Full), gate.queue().is_none()),
                (waits, waits),
                "{places}, {milliseconds}"
            );
            if !waits {
                continue;
            }
            gate.ring();
            assert!(matches!(gate.enter(id(99), now), Entry::Waits), "something may be due in the outbox");
            gate.queue_ended(1);
            now += Duration::from_secs(1);
            leave(&mut gate, 1, taken.remove(0), now);
            enters(&mut gate, 1, now).expect("there is room");
            assert!(matches!(gate.enter(id(99), now), Entry::Waits), "it has become slow");
        }
    }

    #[test]
    fn an_attempt_that_does_not_say_how_it_ended_is_told() {
        let now = Instant::now();
        let mut gate = gate(1, now);
        let ticket = gate.begin(id(1), now).expect("there is room");
        gate.free(ticket, Health::Unknown, now);
        assert!(gate.leave(id(1), false) && gate.take_unsettled() && !gate.take_unsettled());
    }

    #[test]
    fn a_route_that_is_left_alone_takes_nothing_new() {
        let now = Instant::now();
        let mut gate = gate(2, now);
        gate.queue_ended(0);
        let ticket = enters(&mut gate, 1, now).expect("there is room");
        let (change, _) = gate.free(ticket, Health::Ill, now);
        assert_eq!(change, (Standing::Closed, Standing::Open));
        assert!(enters(&mut gate, 2, now).is_none());
        assert_eq!(gate.room(now), Err(Some(Duration::from_secs(30))));
        gate.queue_ended(0);
        gate.is_held = true;
        assert!(enters(&mut gate, 3, now + Duration::from_secs(30)).is_none(), "nor one that is held");
    }

    #[test]
    fn a_gate_that_closes_gives_no_place_and_waits_for_those_it_gave() {
        let now = Instant::now();
        let mut gate = gate(2, now);
        gate.queue_ended(0);
        let ticket = enters(&mut gate, 1, now).expect("there is room");
        assert!(!gate.close() && enters(&mut gate, 2, now).is_none());
        assert!(leave(&mut gate, 1, ticket, now) && gate.close());
    }
}
