//! A circuit breaker: a route that fails is left alone, then tried by a few attempts before all use it again.
//!
//! Closed: attempts begin freely; so many failures in a row open it. Open: none begin for a time. Half-open: a few
//! probes at a time; the first that shows the route to work closes the breaker, one that fails opens it again. Failures
//! of attempts that began before the breaker last changed say nothing new, and are not counted. Time is the
//! monotonic clock's, so that a clock that jumps neither opens nor closes anything.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::BreakerSettings;

/// What an attempt showed of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works: the partner's application answered, whatever it said.
    Well,
    /// It does not: nobody there, no TLS, no answer in time, or an answer that says to come back later.
    Ill,
    /// Nothing: what happened concerns the message or ourselves.
    Unknown,
}

/// Whether a route is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is used.
    Closed,
    /// It is left alone.
    Open,
    /// It is tried.
    HalfOpen,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 3] = [Standing::Closed, Standing::Open, Standing::HalfOpen];

    /// The name, as shown and measured.
    pub fn code(self) -> &'static str {
        match self {
            Standing::Closed => "closed",
            Standing::Open => "open",
            Standing::HalfOpen => "half-open",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An attempt that began: says which change of the breaker it followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    generation: u64,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probing: u32 },
}

/// The breaker of one lane.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Counts the changes.
    generation: u64,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Breaker {
        Breaker { settings, state: State::Closed { failures: 0 }, generation: 0 }
    }

    /// How many attempts may begin; if none, how long to wait, `None` until a probe ends.
    pub(super) fn room(&mut self, now: Instant) -> Result<u32, Option<Duration>> {
        if let State::Open { until } = self.state {
            if now < until {
                return Err(Some(until - now));
            }
            self.change(State::HalfOpen { probing: 0 });
        }
        match self.state {
            State::HalfOpen { probing } if probing >= self.settings.probes => Err(None),
            State::HalfOpen { probing } => Ok(self.settings.probes - probing),
            State::Closed { .. } | State::Open { .. } => Ok(u32::MAX),
        }
    }

    pub(super) fn began(&mut self) -> Ticket {
        if let State::HalfOpen { probing } = &mut self.state {
            *probing += 1;
        }
        Ticket { generation: self.generation }
    }

    pub(super) fn ended(&mut self, ticket: Ticket, health: Health, now: Instant) {
        let is_current = ticket.generation == self.generation;
        match (&mut self.state, health) {
            (State::Closed { failures }, Health::Well) => *failures = 0,
            (State::Open { .. } | State::HalfOpen { .. }, Health::Well) => self.change(State::Closed { failures: 0 }),
            (State::Closed { failures }, Health::Ill) if is_current => {
                *failures += 1;
                if *failures >= self.settings.failures {
                    self.open(now);
                }
            }
            (State::HalfOpen { .. }, Health::Ill) if is_current => self.open(now),
            (State::HalfOpen { probing }, Health::Unknown) if is_current => *probing = probing.saturating_sub(1),
            _ => {}
        }
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::Closed { .. } => Standing::Closed,
            State::Open { until } if now < until => Standing::Open,
            State::Open { .. } | State::HalfOpen { .. } => Standing::HalfOpen,
        }
    }

    fn open(&mut self, now: Instant) {
        self.change(State::Open { until: now + self.settings.open });
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(10);

    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings { failures: 3, open: OPEN, probes: 2 })
    }

    fn fail(breaker: &mut Breaker, times: u32, now: Instant) {
        for _ in 0..times {
            let ticket = breaker.began();
            breaker.ended(ticket, Health::Ill, now);
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_among_them_does_not() {
        let (mut breaker, now) = (breaker(), Instant::now());
        fail(&mut breaker, 2, now);
        let ticket = breaker.began();
        breaker.ended(ticket, Health::Well, now);
        fail(&mut breaker, 2, now);
        let ticket = breaker.began();
        breaker.ended(ticket, Health::Unknown, now);
        assert_eq!((breaker.standing(now), breaker.room(now)), (Standing::Closed, Ok(u32::MAX)));
        fail(&mut breaker, 1, now);
        assert_eq!((breaker.standing(now), breaker.room(now)), (Standing::Open, Err(Some(OPEN))));
    }

    #[test]
    fn an_open_one_lets_a_few_probes_through_and_the_first_answer_decides() {
        let (mut breaker, now) = (breaker(), Instant::now());
        fail(&mut breaker, 3, now);
        let later = now + OPEN;
        assert_eq!(breaker.room(later - Duration::from_secs(1)), Err(Some(Duration::from_secs(1))));
        assert_eq!((breaker.standing(later), breaker.room(later)), (Standing::HalfOpen, Ok(2)));
        let (first, second) = (breaker.began(), breaker.began());
        assert_eq!(breaker.room(later), Err(None), "it waits for its probes");
        breaker.ended(first, Health::Ill, later);
        assert_eq!(breaker.standing(later), Standing::Open);
        breaker.ended(second, Health::Ill, later);
        let last = later + OPEN;
        assert_eq!(breaker.room(last), Ok(2), "the second failure did not put it off");
        let ticket = breaker.began();
        breaker.ended(ticket, Health::Well, last);
        assert_eq!((breaker.standing(last), breaker.room(last)), (Standing::Closed, Ok(u32::MAX)));
    }

    #[test]
    fn failures_of_attempts_that_began_before_say_nothing_new() {
        let (mut breaker, now) = (breaker(), Instant::now());
        let late: Vec<Ticket> = (0..4).map(|_| breaker.began()).collect();
        fail(&mut breaker, 3, now);
        let later = now + OPEN;
        assert_eq!(breaker.room(later), Ok(2));
        for ticket in late {
            breaker.ended(ticket, Health::Ill, later);
        }
        assert_eq!(breaker.standing(later), Standing::HalfOpen, "it is still tried");
    }

    #[test]
    fn a_probe_that_shows_nothing_makes_room_for_another() {
        let (mut breaker, now) = (breaker(), Instant::now());
        fail(&mut breaker, 3, now);
        let later = now + OPEN;
        breaker.room(later).expect("it is tried");
        let probes = [breaker.began(), breaker.began()];
        for probe in probes {
            breaker.ended(probe, Health::Unknown, later);
        }
        assert_eq!(breaker.room(later), Ok(2));
    }
}
