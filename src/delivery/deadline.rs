//! The business deadline of a message: what is to be done about it, and when.
//!
//! Beside the lane's clock, which says when the next attempt is made, runs the clock of the clinical priority, which says
//! by when the recipient is to have the message. After half of the time it is moved to the partner's next route; if
//! there are several, they take turns until three quarters of it have passed. Then people are told, and once more when
//! the time is over. A message that is refused or dead is told of at once, deadline or not; so is, once, one whose
//! partner does not let us in: whoever made the attempt tells that, and the clock runs on. Functions of their
//! arguments: who has the clock asks, and stores what was done with its audit event.

use std::time::Duration;

use crate::fhir::Instant;
use crate::identity::coded;
use crate::storage::{MessageRecord, State};

coded! {
    /// What is wrong with a message's delivery.
    Trouble, "a trouble" {
        /// It has not arrived, and its deadline nears.
        DeadlineNear = "deadline-near",
        /// It has not arrived by its deadline.
        DeadlineMissed = "deadline-missed",
        /// It has not arrived, and the clock was set back since it was accepted: when its deadline is over is not known.
        DeadlineUnknown = "deadline-unknown",
        /// Its partner does not let us in, so that every attempt fails.
        Unauthorised = "unauthorised",
        /// Its partner refused it.
        Refused = "refused",
        /// No further attempt is made until a person decides.
        Dead = "dead",
    }
}

/// What is to be done about a message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Over which route it is to go on.
    pub route: Option<u16>,
    /// What people are to be told.
    pub tell: Option<Trouble>,
    /// When it is to be looked at again.
    pub next: Option<Instant>,
}

/// When a message that was accepted with a deadline is looked at first.
pub fn first_look(accepted_at: Instant, deadline_at: Instant, routes: usize) -> Instant {
    if routes > 1 { half(accepted_at, deadline_at) } else { three_quarters(accepted_at, deadline_at) }
}

/// Since when the time of a message runs: since it was accepted, or sent again after it had arrived.
fn began(record: &MessageRecord) -> Instant {
    record.handling.timed_from.unwrap_or(record.accepted_at)
}

/// By when its recipient is to have a message, as its time runs now.
pub fn ends(record: &MessageRecord) -> Option<Instant> {
    record.handling.deadline_at.map(|deadline| deadline + (began(record) - record.accepted_at))
}

/// What is to be done about a message whose time to be looked at has come. `None`: nothing yet, look again soon, since an
/// attempt is under way that may deliver it, or since there is no other route and three quarters of its time have not passed.
pub fn alarm(record: &MessageRecord, routes: usize, now: Instant) -> Option<Alarm> {
    let people = |trouble| Some(Alarm { route: None, tell: Some(trouble), next: None });
    match record.state {
        State::Dead => return people(Trouble::Dead),
        State::Refused => return people(Trouble::Refused),
        State::Acknowledged | State::Cancelled => return Some(Alarm { route: None, tell: None, next: None }),
        State::Accepted | State::Queued | State::InFlight | State::Delivered => {}
    }
    let Some(deadline) = ends(record) else {
        return Some(Alarm { route: None, tell: None, next: None });
    };
    let waits = matches!(record.state, State::Accepted | State::Queued);
    let next_route = record.route.checked_add(1).filter(|next| usize::from(*next) < routes);
    let route = next_route.filter(|_| waits);
    let began = began(record);
    if began > now + SLACK {
        return Some(Alarm { route, tell: Some(Trouble::DeadlineUnknown), next: None });
    }
    let third = three_quarters(began, deadline);
    if now >= deadline {
        return Some(Alarm { route, tell: Some(Trouble::DeadlineMissed), next: None });
    }
    if now >= third {
        return Some(Alarm { route, tell: Some(Trouble::DeadlineNear), next: Some(deadline) });
    }
    let left = routes.saturating_sub(usize::from(route?)).max(1);
    let turn = (third - now) / i32::try_from(left).unwrap_or(i32::MAX);
    Some(Alarm { route, tell: None, next: Some(now + turn) })
}

fn half(accepted_at: Instant, deadline_at: Instant) -> Instant {
    accepted_at + (deadline_at - accepted_at) / 2
}

fn three_quarters(accepted_at: Instant, deadline_at: Instant) -> Instant {
    accepted_at + (deadline_at - accepted_at) * 3 / 4
}

/// By how much the clock may be set back without anybody being told of what was accepted before.
pub const SLACK: Duration = Duration::from_secs(60);

/// The longest time that a deadline may leave: 30 days.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Handling;
    use time::Duration as Span;
    use time::macros::datetime;

    const NOON: Instant = datetime!(2026-01-01 12:00 UTC);

    /// A message with 8 minutes, on `route`, in `state`.
    fn record(state: State, route: u16) -> MessageRecord {
        MessageRecord {
            id: "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID"),
            sender: "DEMOP".parse().expect("an ODS code"),
            interface: "crisis-escalation".parse().expect("a name"),
            recipient: "RXT01".parse().expect("an ODS code"),
            agreement: "demo-trust-crisis".parse().expect("a name"),
            digest: [0; 32],
            state,
            accepted_at: NOON,
            updated_at: NOON,
            attempts: 1,
            next_attempt_at: None,
            note: String::new(),
            route,
            handling: Handling { deadline_at: Some(minute(8)), ..Handling::default() },
        }
    }

    fn minute(minutes: i64) -> Instant {
        NOON + Span::minutes(minutes)
    }

    fn done(route: Option<u16>, tell: Option<Trouble>, next: Option<Instant>) -> Option<Alarm> {
        Some(Alarm { route, tell, next })
    }

    #[test]
    fn the_next_route_comes_first_then_people_then_the_end() {
        assert_eq!(first_look(NOON, minute(8), 2), minute(4));
        let queued = |route| record(State::Queued, route);
        assert_eq!(alarm(&queued(0), 2, minute(4)), done(Some(1), None, Some(minute(6))));
        assert_eq!(alarm(&queued(1), 2, minute(6)), done(None, Some(Trouble::DeadlineNear), Some(minute(8))));
        assert_eq!(alarm(&queued(1), 2, minute(8)), done(None, Some(Trouble::DeadlineMissed), None));
        assert_eq!(alarm(&record(State::Delivered, 1), 2, minute(8)), done(None, Some(Trouble::DeadlineMissed), None));
    }

    #[test]
    fn what_had_arrived_and_is_sent_again_has_its_whole_time_anew() {
        let again = |route, state| {
            let before = record(state, route);
            MessageRecord { handling: Handling { timed_from: Some(minute(20)), ..before.handling }, ..before }
        };
        let queued = |route| again(route, State::Queued);
        assert_eq!(ends(&queued(0)), Some(minute(28)));
        assert_eq!(alarm(&queued(0), 2, minute(24)), done(Some(1), None, Some(minute(26))));
        assert_eq!(alarm(&queued(1), 2, minute(26)), done(None, Some(Trouble::DeadlineNear), Some(minute(28))));
        assert_eq!(alarm(&queued(1), 2, minute(28)), done(None, Some(Trouble::DeadlineMissed), None));
        let unknown = done(Some(1), Some(Trouble::DeadlineUnknown), None);
        assert_eq!(alarm(&queued(0), 2, minute(10)), unknown, "the clock was set back since");
    }

    #[test]
    fn what_is_taken_up_again_without_another_route_is_told_of_after_three_quarters() {
        assert_eq!(alarm(&record(State::Queued, 0), 1, minute(4)), None);
        assert_eq!(alarm(&record(State::Queued, 1), 2, minute(5)), None);
    }

    #[test]
    fn without_another_route_people_come_first() {
        assert_eq!(first_look(NOON, minute(8), 1), minute(6));
        let near = done(None, Some(Trouble::DeadlineNear), Some(minute(8)));
        assert_eq!(alarm(&record(State::Queued, 0), 1, minute(6)), near);
    }

    #[test]
    fn several_routes_take_turns() {
        let first = alarm(&record(State::Queued, 0), 3, minute(4)).expect("something is done");
        assert_eq!((first.route, first.next), (Some(1), Some(minute(5))));
        let second = alarm(&record(State::Queued, 1), 3, minute(5)).expect("something is done");
        assert_eq!((second.route, second.tell, second.next), (Some(2), None, Some(minute(6))));
    }

    #[test]
    fn an_attempt_under_way_is_not_moved_but_people_are_told_in_time() {
        let busy = record(State::InFlight, 0);
        assert_eq!(alarm(&busy, 2, minute(4)), None);
        assert_eq!(alarm(&busy, 2, minute(6)), done(None, Some(Trouble::DeadlineNear), Some(minute(8))));
        assert_eq!(alarm(&busy, 2, minute(9)), done(None, Some(Trouble::DeadlineMissed), None));
    }

    #[test]
    fn a_gateway_that_was_down_does_all_at_once() {
        let late = done(Some(1), Some(Trouble::DeadlineMissed), None);
        assert_eq!(alarm(&record(State::Queued, 0), 2, minute(60)), late);
    }

    #[test]
    fn a_clock_that_was_set_back_hides_no_deadline() {
        let unknown = done(Some(1), Some(Trouble::DeadlineUnknown), None);
        assert_eq!(alarm(&record(State::Queued, 0), 2, NOON - Span::DAY), unknown);
        assert_eq!(alarm(&record(State::Dead, 0), 2, NOON - Span::DAY), done(None, Some(Trouble::Dead), None));
        assert_eq!(alarm(&record(State::Queued, 1), 2, NOON - Span::SECOND), None, "within what clocks are off by");
    }

    #[test]
    fn what_ended_badly_is_told_at_once_and_what_ended_well_is_let_be() {
        assert_eq!(alarm(&record(State::Dead, 0), 2, NOON), done(None, Some(Trouble::Dead), None));
        assert_eq!(alarm(&record(State::Refused, 0), 2, NOON), done(None, Some(Trouble::Refused), None));
        for over in [State::Acknowledged, State::Cancelled] {
            assert_eq!(alarm(&record(over, 0), 2, minute(60)), done(None, None, None));
        }
    }
}
