//! Who has taken responsibility for a message that was delivered, and by when they have to.
//!
//! Delivered is not accepted. The partner's transport has a message (its acknowledgement), its application took it (its
//! response), and then its team takes responsibility for the person, or does not: that is the handover, with a clock of its own by
//! interface and priority, and a second one until the person is reached. Functions of their arguments: who has the clock asks, and
//! stores what was done with its audit event.
//!
//! The rules: an acceptance names who takes it, else it is none. What was taken is not given back by a message: a rejection after an
//! acceptance changes nothing, is kept, and people are told. What was rejected may be accepted, by a later word of the team or after the
//! sender sent the message again, by which it waits anew; an answer that is older than the rejection changes nothing, and people are told. Whoever took it
//! may name another person or team of theirs, and a time of first contact that is earlier, never a later one. The sender is
//! responsible until the receiving team accepts, and after it rejects.

pub mod collection;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::delivery::deadline::LONGEST;
use crate::fhir::Instant;
use crate::fhir::handover::{Owner, Said};
use crate::identity::coded;
use crate::storage::{Handover, HandoverRecord, HandoverState, HandoverTell};

pub use view::{owner, responsibility, summary, tells_words};

/// The priority of what has none (FHIR R4, ServiceRequest.priority), and the clock of a priority that has none of its own.
pub const ROUTINE: &str = "routine";

/// By how much the clock may be set back without anybody being told of what was opened before.
pub const SLACK: Duration = Duration::from_secs(60);

/// When a handover is nearly due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Near {
    /// After this share of its time, above 0 and below 1.
    Share(f64),
    /// So long before its end.
    Before(Duration),
}

impl Near {
    /// How long after its beginning a time of this length is nearly over.
    pub fn of(self, whole: Duration) -> Duration {
        match self {
            Near::Share(share) => whole.mul_f64(share.clamp(0.0, 1.0)),
            Near::Before(before) => whole.saturating_sub(before),
        }
    }
}

/// The clocks of an interface's handovers.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// From delivery to acceptance, by clinical priority. There is one for [`ROUTINE`].
    pub accept: BTreeMap<String, Duration>,
    /// From acceptance to first contact, where the acceptance names no time, by clinical priority. There is one for [`ROUTINE`].
    pub contact: BTreeMap<String, Duration>,
    /// When it is nearly due.
    pub near: Near,
}

impl Terms {
    /// The handover of a message of this priority that was delivered at `at`.
    pub fn open(&self, priority: Option<&str>, at: Instant) -> Handover {
        let of = |clocks: &BTreeMap<String, Duration>| {
            let own = priority.and_then(|priority| clocks.get(priority)).or_else(|| clocks.get(ROUTINE));
            own.copied().unwrap_or_default()
        };
        let accept = of(&self.accept);
        let near = self.near.of(accept);
        Handover {
            state: HandoverState::Waiting,
            since: at,
            opened_at: at,
            near_at: at + near,
            due_at: at + accept,
            contact_within: of(&self.contact),
            contact_due_at: None,
            contacted_at: None,
            alert_at: Some(at + near),
            tell: None,
        }
    }
}

coded! {
    /// What people are told of a handover.
    Trouble, "a trouble of a handover" {
        /// Nobody has taken it, and the time to do so is nearly over.
        NearDue = "near-due",
        /// Nobody has taken it, and the time to do so is over.
        Overdue = "overdue",
        /// The person was not reached by when they should have been, as far as the receiving team said.
        ContactMissed = "first-contact-missed",
        /// The receiving team does not take it.
        Rejected = "rejected",
        /// The partner contradicts what it said before.
        Conflict = "conflict",
        /// The receiving team takes what it had rejected.
        AcceptedAfterRejection = "accepted-after-rejection",
        /// The clock was set back since: whether its time is over is not known.
        DueUnknown = "due-unknown",
    }
}

/// What people are told of a handover now, and what becomes of it. `None`: nothing.
pub fn alarm(record: &HandoverRecord, now: Instant) -> Option<(Trouble, Handover)> {
    let before = &record.handover;
    let told = |trouble, after: Handover| Some((trouble, Handover { tell: None, ..after }));
    let told_first = |trouble| Some((trouble, Handover { tell: Some(HandoverTell::Conflict), ..before.clone() }));
    match before.tell {
        Some(HandoverTell::Rejected) => return told(Trouble::Rejected, before.clone()),
        Some(HandoverTell::Conflict) => return told(Trouble::Conflict, before.clone()),
        Some(HandoverTell::Accepted) => return told(Trouble::AcceptedAfterRejection, before.clone()),
        Some(HandoverTell::RejectedAndConflict) => return told_first(Trouble::Rejected),
        Some(HandoverTell::AcceptedAndConflict) => return told_first(Trouble::AcceptedAfterRejection),
        None => {}
    }
    let alert_at = before.alert_at?;
    // The clock was ahead when it was opened or taken: its time begins anew, once. Its times stay as the audit log has them.
    let is_ahead = before.since > now + SLACK;
    let whole = match before.state {
        HandoverState::Accepted => time::Duration::try_from(before.contact_within).unwrap_or(time::Duration::MAX),
        _ => before.due_at - before.opened_at,
    };
    let ends = now.checked_add(whole).unwrap_or(alert_at);
    if is_ahead && alert_at > ends {
        return told(Trouble::DueUnknown, Handover { alert_at: Some(ends), ..before.clone() });
    }
    if now < alert_at {
        return None;
    }
    let to = |state, alert_at| Handover { state, since: now, alert_at, ..before.clone() };
    match before.state {
        HandoverState::Waiting | HandoverState::NearDue if is_ahead || now >= before.due_at => {
            told(Trouble::Overdue, to(HandoverState::Overdue, None))
        }
        HandoverState::Waiting => told(Trouble::NearDue, to(HandoverState::NearDue, Some(before.due_at))),
        HandoverState::Accepted => told(Trouble::ContactMissed, to(HandoverState::ContactMissed, None)),
        HandoverState::NearDue
        | HandoverState::Overdue
        | HandoverState::ContactMissed
        | HandoverState::Contacted
        | HandoverState::Rejected
        | HandoverState::Withdrawn => None,
    }
}

/// What an answer makes of a handover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It takes these steps, one after the other; none when the answer says nothing new.
    Steps(Vec<Handover>),
    /// The answer takes it, and does not say who: it takes nothing.
    Unnamed,
    /// The answer contradicts what was said before.
    Conflict,
}

/// What `said` makes of a handover whose holder was `owner`, at `now`. `is_overtaken`: the team rejected it by an answer that was
/// written later.
pub fn decide(before: &Handover, (said, is_overtaken): (&Said, bool), owner: Option<&Owner>, now: Instant) -> Decided {
    let state = before.state;
    let steps = |steps: Vec<Handover>| Decided::Steps(steps);
    match said.takes {
        None => steps(vec![]),
        Some(false) if state.is_open() && is_overtaken => Decided::Conflict,
        Some(false) if state.is_open() => {
            let tell = Some(HandoverTell::with_rejection(before.tell));
            steps(vec![Handover { alert_at: None, tell, ..step(before, HandoverState::Rejected, now) }])
        }
        Some(false) if state.is_taken() => Decided::Conflict,
        Some(false) => steps(vec![]),
        Some(true) if !state.is_taken() && is_overtaken => Decided::Conflict,
        Some(true) if state.may_be_taken() && said.owner.is_none() => Decided::Unnamed,
        Some(true) if state.may_be_taken() => {
            let taken = taken(before, said, now);
            let contacted = contacted(&taken, said, now);
            steps([taken].into_iter().chain(contacted).collect())
        }
        Some(true) if state.is_taken() => {
            let renamed = renamed(before, said, owner);
            let contacted = contacted(renamed.as_ref().unwrap_or(before), said, now);
            steps(renamed.into_iter().chain(contacted).collect())
        }
        Some(true) => Decided::Conflict,
    }
}

/// The receiving team takes it; people who were told that it does not are told.
fn taken(before: &Handover, said: &Said, now: Instant) -> Handover {
    let named = said.contact_by.filter(|by| *by <= now + LONGEST);
    let due = Some(named.unwrap_or(now + before.contact_within));
    let tell = match before.state {
        HandoverState::Rejected => Some(HandoverTell::with_acceptance(before.tell)),
        _ => before.tell,
    };
    Handover { contact_due_at: due, alert_at: due, tell, ..step(before, HandoverState::Accepted, now) }
}

/// The handover of a message that is sent again after the receiving team rejected it: it waits anew, for as long as it did at first.
pub fn reopened(before: &Handover, now: Instant) -> Option<Handover> {
    let near_at = now + (before.near_at - before.opened_at);
    let due_at = now + (before.due_at - before.opened_at);
    let waits = step(before, HandoverState::Waiting, now);
    let is_rejected = before.state == HandoverState::Rejected;
    is_rejected.then_some(Handover { opened_at: now, near_at, due_at, alert_at: Some(near_at), ..waits })
}

fn step(before: &Handover, state: HandoverState, now: Instant) -> Handover {
    Handover { state, since: now, ..before.clone() }
}

/// The person was reached, if that is said and was not said before.
fn contacted(before: &Handover, said: &Said, now: Instant) -> Option<Handover> {
    let at = said.contacted_at.or(said.is_done.then_some(now))?;
    let is_news = before.state != HandoverState::Contacted;
    let reached = step(before, HandoverState::Contacted, now);
    is_news.then_some(Handover { contacted_at: Some(at), alert_at: None, ..reached })
}

/// The person was reached, by an answer that says when: so it is, also if another answer came after it.
pub fn reached(before: &Handover, said: &Said, now: Instant) -> Option<Handover> {
    let says_when = said.takes == Some(true) && said.contacted_at.is_some();
    says_when.then(|| contacted(before, said, now)).flatten()
}

/// Another person or team of the same partner holds it, or the person is reached earlier than was said.
fn renamed(before: &Handover, said: &Said, owner: Option<&Owner>) -> Option<Handover> {
    let is_another = said.owner.is_some() && said.owner.as_ref() != owner;
    let waits = before.state == HandoverState::Accepted;
    let earlier = said.contact_by.filter(|by| waits && before.contact_due_at.is_some_and(|due| *by < due));
    let alert_at = if waits { earlier.or(before.alert_at) } else { before.alert_at };
    let after = Handover { contact_due_at: earlier.or(before.contact_due_at), alert_at, ..before.clone() };
    (is_another || earlier.is_some()).then_some(after)
}

/// A handover that an answer contradicts: people are to be told, also of what they were not told yet.
pub fn contradicted(before: &Handover) -> Handover {
    Handover { tell: Some(HandoverTell::with_conflict(before.tell)), ..before.clone() }
}

/// The handover of a message that its sender cancelled before the receiving team decided.
pub fn withdrawn(before: &Handover, now: Instant) -> Option<Handover> {
    let gone = step(before, HandoverState::Withdrawn, now);
    before.state.is_open().then_some(Handover { alert_at: None, ..gone })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::handover::OwnerKind;
    use time::Duration as Span;
    use time::macros::datetime;

    const NOON: Instant = datetime!(2026-01-01 12:00 UTC);

    fn minute(minutes: i64) -> Instant {
        NOON + Span::minutes(minutes)
    }

    fn terms() -> Terms {
        let clock = |stat: u64, routine: u64| {
            let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
            BTreeMap::from([("stat".to_owned(), minutes(stat)), (ROUTINE.to_owned(), minutes(routine))])
        };
        Terms { accept: clock(8, 80), contact: clock(60, 600), near: Near::Share(0.75) }
    }

    fn record(handover: Handover) -> HandoverRecord {
        HandoverRecord {
            message: "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID"),
            sender: "DEMOP".parse().expect("an ODS code"),
            interface: "crisis-escalation".parse().expect("a name"),
            recipient: "RXT01".parse().expect("an ODS code"),
            agreement: "demo-trust-crisis".parse().expect("a name"),
            priority: Some("stat".to_owned()),
            handover,
        }
    }

    fn open() -> Handover {
        terms().open(Some("stat"), NOON)
    }

    fn owner(name: &str) -> Owner {
        Owner { kind: OwnerKind::Team, name: Some(name.to_owned()), identifier: None }
    }

    fn takes(name: &str) -> Said {
        Said { takes: Some(true), owner: Some(owner(name)), ..Said::default() }
    }

    fn rejects() -> Said {
        Said { takes: Some(false), ..Said::default() }
    }

    fn one(decided: Decided) -> Handover {
        let Decided::Steps(mut steps) = decided else { panic!("{decided:?}") };
        assert_eq!(steps.len(), 1, "{steps:?}");
        steps.remove(0)
    }

    fn accepted() -> Handover {
        one(decide(&open(), (&takes("North"), false), None, minute(2)))
    }

    #[test]
    fn the_clocks_are_those_of_the_priority() {
        let stat = open();
        assert_eq!((stat.near_at, stat.due_at, stat.alert_at), (minute(6), minute(8), Some(minute(6))));
        for other in [Some("urgent"), None] {
            assert_eq!(terms().open(other, NOON).due_at, minute(80), "the clock of routine");
        }
        let before = Terms { near: Near::Before(Duration::from_secs(60)), ..terms() };
        assert_eq!(before.open(Some("stat"), NOON).near_at, minute(7));
        let long = Terms { near: Near::Before(Duration::from_secs(6000)), ..terms() };
        assert_eq!(long.open(Some("stat"), NOON).near_at, NOON, "longer than there is: at once");
    }

    #[test]
    fn near_due_then_overdue_each_once() {
        assert_eq!(alarm(&record(open()), minute(5)), None);
        let (trouble, near) = alarm(&record(open()), minute(6)).expect("it is near");
        assert_eq!((trouble, near.state, near.alert_at), (Trouble::NearDue, HandoverState::NearDue, Some(minute(8))));
        assert_eq!(alarm(&record(near.clone()), minute(7)), None);
        let (trouble, over) = alarm(&record(near), minute(8)).expect("it is over");
        assert_eq!((trouble, over.state, over.alert_at), (Trouble::Overdue, HandoverState::Overdue, None));
        assert_eq!(alarm(&record(over), minute(900)), None);
        let (trouble, _) = alarm(&record(open()), minute(60)).expect("the gateway was down");
        assert_eq!(trouble, Trouble::Overdue);
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing_and_is_told_once() {
        let (trouble, after) = alarm(&record(open()), NOON - Span::DAY).expect("people are told");
        assert_eq!((trouble, after.state), (Trouble::DueUnknown, HandoverState::Waiting));
        assert_eq!(alarm(&record(after.clone()), NOON - Span::DAY), None);
        let (trouble, over) = alarm(&record(after), NOON - Span::DAY + Span::minutes(8)).expect("its time began anew");
        assert_eq!((trouble, over.state), (Trouble::Overdue, HandoverState::Overdue));
        assert_eq!(alarm(&record(open()), NOON - Span::SECOND), None, "within what clocks are off by");
    }

    #[test]
    fn an_acceptance_starts_the_clock_of_the_first_contact() {
        let taken = accepted();
        assert_eq!((taken.state, taken.since), (HandoverState::Accepted, minute(2)));
        assert_eq!((taken.contact_due_at, taken.alert_at), (Some(minute(62)), Some(minute(62))));
        let named = Said { contact_by: Some(minute(20)), ..takes("North") };
        assert_eq!(one(decide(&open(), (&named, false), None, minute(2))).contact_due_at, Some(minute(20)));
        let never = Said { contact_by: Some(NOON + Span::days(31)), ..takes("North") };
        let due = one(decide(&open(), (&never, false), None, minute(2))).contact_due_at;
        assert_eq!(due, Some(minute(62)), "a time too far away is no promise");
        let (trouble, missed) = alarm(&record(taken), minute(62)).expect("nobody was reached");
        assert_eq!((trouble, missed.state), (Trouble::ContactMissed, HandoverState::ContactMissed));
        let reached = Said { contacted_at: Some(minute(61)), owner: None, ..takes("North") };
        let late = one(decide(&missed, (&reached, false), Some(&owner("North")), minute(70)));
        assert_eq!((late.state, late.contacted_at), (HandoverState::Contacted, Some(minute(61))));
        assert_eq!(decide(&late, (&reached, false), Some(&owner("North")), minute(71)), Decided::Steps(vec![]));
    }

    #[test]
    fn an_acceptance_that_names_nobody_is_none() {
        let nobody = Said { owner: None, ..takes("North") };
        assert_eq!(decide(&open(), (&nobody, false), None, minute(1)), Decided::Unnamed);
    }

    #[test]
    fn an_overdue_handover_may_still_be_accepted_and_who_did_it_all_does_both() {
        let over = Handover { state: HandoverState::Overdue, alert_at: None, ..open() };
        let done = Said { contacted_at: Some(minute(9)), ..takes("North") };
        let Decided::Steps(steps) = decide(&over, (&done, false), None, minute(10)) else { panic!("it is taken") };
        let states: Vec<_> = steps.iter().map(|step| step.state).collect();
        assert_eq!(states, [HandoverState::Accepted, HandoverState::Contacted]);
    }

    #[test]
    fn a_duplicate_changes_nothing_and_another_team_is_named() {
        let (taken, north) = (accepted(), owner("North"));
        assert_eq!(decide(&taken, (&takes("North"), false), Some(&north), minute(3)), Decided::Steps(vec![]));
        let south = one(decide(&taken, (&takes("South"), false), Some(&north), minute(3)));
        assert_eq!(south, taken, "the clocks and the state stay; who holds it stands in the answer");
        let later = Said { contact_by: Some(minute(100)), ..takes("North") };
        assert_eq!(decide(&taken, (&later, false), Some(&north), minute(3)), Decided::Steps(vec![]), "never later");
        let earlier = Said { contact_by: Some(minute(30)), ..takes("North") };
        assert_eq!(one(decide(&taken, (&earlier, false), Some(&north), minute(3))).alert_at, Some(minute(30)));
    }

    #[test]
    fn what_was_taken_is_not_given_back_by_an_answer() {
        let taken = accepted();
        assert_eq!(decide(&taken, (&rejects(), false), None, minute(3)), Decided::Conflict);
        let rejected = one(decide(&open(), (&rejects(), false), None, minute(3)));
        assert_eq!((rejected.state, rejected.tell), (HandoverState::Rejected, Some(HandoverTell::Rejected)));
        assert_eq!(decide(&rejected, (&rejects(), false), None, minute(4)), Decided::Steps(vec![]));
        let (trouble, told) = alarm(&record(rejected.clone()), minute(4)).expect("people are told");
        assert_eq!((trouble, alarm(&record(told), minute(900))), (Trouble::Rejected, None), "once");
        let both = contradicted(&rejected);
        let (first, then) = alarm(&record(both), minute(4)).expect("people are told");
        let (second, over) = alarm(&record(then), minute(4)).expect("of both");
        assert_eq!((first, second, over.tell), (Trouble::Rejected, Trouble::Conflict, None));
        let gone = withdrawn(&open(), minute(1)).expect("nobody had decided");
        assert_eq!(decide(&gone, (&takes("North"), false), None, minute(4)), Decided::Conflict);
        assert_eq!(withdrawn(&taken, minute(4)), None);
    }

    #[test]
    fn what_was_rejected_is_accepted_by_a_later_word_alone_and_people_are_told() {
        let rejected = one(decide(&open(), (&rejects(), false), None, minute(3)));
        assert_eq!(decide(&rejected, (&takes("North"), true), None, minute(4)), Decided::Conflict, "it is older");
        let nobody = Said { owner: None, ..takes("North") };
        assert_eq!(decide(&rejected, (&nobody, false), None, minute(4)), Decided::Unnamed);
        let taken = one(decide(&rejected, (&takes("North"), false), None, minute(4)));
        assert_eq!((taken.state, taken.contact_due_at), (HandoverState::Accepted, Some(minute(64))));
        let (trouble, told) = alarm(&record(taken), minute(4)).expect("people are told");
        assert_eq!((trouble, told.state, told.tell), (Trouble::AcceptedAfterRejection, HandoverState::Accepted, None));
        assert_eq!(alarm(&record(told), minute(5)), None, "once, and of the rejection no more");
        let contradicted = contradicted(&rejected);
        let taken = one(decide(&contradicted, (&takes("North"), false), None, minute(4)));
        let (first, then) = alarm(&record(taken), minute(4)).expect("people are told");
        let (second, over) = alarm(&record(then), minute(4)).expect("of both");
        let both = (Trouble::AcceptedAfterRejection, Trouble::Conflict);
        assert_eq!(((first, second), over.tell), (both, None));
    }

    #[test]
    fn what_was_rejected_waits_anew_when_the_message_is_sent_again() {
        assert_eq!(reopened(&open(), minute(9)), None, "nobody rejected it");
        let rejected = Handover { tell: None, ..one(decide(&open(), (&rejects(), false), None, minute(3))) };
        let again = reopened(&rejected, minute(10)).expect("it is rejected");
        assert_eq!((again.state, again.since, again.opened_at), (HandoverState::Waiting, minute(10), minute(10)));
        assert_eq!((again.near_at, again.due_at, again.alert_at), (minute(16), minute(18), Some(minute(16))));
        let stale = decide(&again, (&rejects(), true), None, minute(11));
        assert_eq!(stale, Decided::Conflict, "a rejection of before: people are told, should it be one of now");
        let stale = decide(&again, (&takes("North"), true), None, minute(11));
        assert_eq!(stale, Decided::Conflict, "an acceptance of before the rejection");
        let taken = one(decide(&again, (&takes("North"), false), None, minute(11)));
        assert_eq!((taken.state, taken.tell), (HandoverState::Accepted, None));
        let anew = one(decide(&again, (&rejects(), false), None, minute(12)));
        assert_eq!((anew.state, anew.tell), (HandoverState::Rejected, Some(HandoverTell::Rejected)));
    }
}
