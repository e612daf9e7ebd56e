//! By when a record system has to have collected a referral that a partner sent, and what people are told when it has not.
//!
//! The partner's referral is taken with the answer to its message, and nobody at the provider knows of it until the record system has
//! it: the clock runs from the arrival to the collection, by clinical priority. Functions of their arguments: who has the clock asks,
//! and stores what was done with its audit event.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Near, ROUTINE, SLACK};
use crate::fhir::Instant;
use crate::identity::AgreementId;
use crate::storage::{InboundRecord, InboundTrouble};

/// After which share of its time a referral is nearly due, where nothing else is said.
pub const SHARE: f64 = 0.75;

/// Minutes from arrival to collection where nothing else is said, by clinical priority. A record system asks every few minutes: a
/// referral that waits for longer waits for a person.
pub const MINUTES: [(&str, f64); 4] = [("stat", 15.0), ("asap", 60.0), ("urgent", 240.0), (ROUTINE, 1440.0)];

/// The clock of referrals that come in, and who is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// From arrival to collection, by clinical priority. There is one for [`ROUTINE`].
    pub within: BTreeMap<String, Duration>,
    /// When it is nearly due.
    pub near: Near,
    /// The agreement along whose escalation route people are told; `None`: one with the referral's sender.
    pub escalation: Option<AgreementId>,
}

impl Default for Terms {
    fn default() -> Terms {
        let of = |(priority, minutes): (&str, f64)| (priority.to_owned(), Duration::from_secs_f64(minutes * 60.0));
        Terms { within: MINUTES.into_iter().map(of).collect(), near: Near::Share(SHARE), escalation: None }
    }
}

impl Terms {
    /// When a referral of this priority that came at `at` is nearly due, and when it is due.
    pub fn clock(&self, priority: Option<&str>, at: Instant) -> (Instant, Instant) {
        let own = priority.and_then(|priority| self.within.get(priority)).or_else(|| self.within.get(ROUTINE));
        let within = own.copied().unwrap_or_default();
        (at + self.near.of(within), at + within)
    }
}

/// What is to be done about a referral that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// What people are told.
    pub tell: Option<InboundTrouble>,
    /// By when a record system has to have collected it.
    pub due_at: Instant,
    /// When it is to be looked at next.
    pub next: Option<Instant>,
}

/// What is to be done about a referral now. `None`: nothing. By when it is due was settled when it came; of one that an earlier version
/// took it is settled by the terms of today.
pub fn look(record: &InboundRecord, terms: &Terms, now: Instant) -> Option<Look> {
    let alert_at = record.alert_at.filter(|_| record.collected.is_none())?;
    let (near_at, due_at) = terms.clock(record.priority.as_deref(), record.received_at);
    let due_at = record.due_at.unwrap_or(due_at);
    // The clock was ahead when it came: its time begins anew, once. When it is due stays as the audit log has it.
    let is_ahead = record.received_at > now + SLACK;
    let ends = now.checked_add(due_at - record.received_at).unwrap_or(alert_at);
    if is_ahead && alert_at > ends {
        return Some(Look { tell: Some(InboundTrouble::DueUnknown), due_at, next: Some(ends) });
    }
    if now < alert_at {
        return None;
    }
    if is_ahead || now >= due_at {
        return Some(Look { tell: Some(InboundTrouble::Overdue), due_at, next: None });
    }
    Some(match record.told {
        None if now >= near_at => Look { tell: Some(InboundTrouble::NearDue), due_at, next: Some(due_at) },
        // An earlier version took it, or the terms are others since.
        None => Look { tell: None, due_at, next: Some(near_at.min(due_at)) },
        Some(_) => Look { tell: None, due_at, next: Some(due_at) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration as Span;
    use time::macros::datetime;

    const NOON: Instant = datetime!(2026-01-01 12:00 UTC);

    fn minute(minutes: i64) -> Instant {
        NOON + Span::minutes(minutes)
    }

    /// An urgent one that came at noon and has 240 minutes.
    fn referral() -> InboundRecord {
        let (near_at, due_at) = Terms::default().clock(Some("urgent"), NOON);
        InboundRecord {
            id: "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID"),
            sender: "RXT01".parse().expect("an ODS code"),
            bundle: uuid::Uuid::from_u128(9),
            interface: "referral-in".parse().expect("a name"),
            digest: [1; 32],
            priority: Some("urgent".to_owned()),
            received_at: NOON,
            due_at: Some(due_at),
            alert_at: Some(near_at),
            told: None,
            event: Some(3),
            collected: None,
        }
    }

    fn after(record: &InboundRecord, look: Look) -> InboundRecord {
        InboundRecord {
            due_at: Some(look.due_at),
            alert_at: look.next,
            told: look.tell.or(record.told),
            ..record.clone()
        }
    }

    fn looked(record: &InboundRecord, now: Instant) -> Option<Look> {
        look(record, &Terms::default(), now)
    }

    fn told(tell: InboundTrouble, next: Option<Instant>) -> Option<Look> {
        Some(Look { tell: Some(tell), due_at: minute(240), next })
    }

    #[test]
    fn the_clock_is_that_of_the_priority() {
        let terms = Terms::default();
        assert_eq!(terms.clock(Some("stat"), NOON), (NOON + Span::seconds(675), minute(15)));
        for other in [Some("soon"), Some("routine"), None] {
            assert_eq!(terms.clock(other, NOON).1, minute(1440), "the clock of routine");
        }
        let before = Terms { near: Near::Before(Duration::from_secs(60)), ..terms };
        assert_eq!(before.clock(Some("stat"), NOON).0, minute(14));
    }

    #[test]
    fn near_due_then_overdue_each_once() {
        let waits = referral();
        assert_eq!(looked(&waits, minute(179)), None);
        let near = looked(&waits, minute(180));
        assert_eq!(near, told(InboundTrouble::NearDue, Some(minute(240))));
        let waits = after(&waits, near.expect("it is near"));
        assert_eq!(looked(&waits, minute(239)), None);
        let over = looked(&waits, minute(240));
        assert_eq!(over, told(InboundTrouble::Overdue, None));
        assert_eq!(looked(&after(&waits, over.expect("it is over")), minute(9000)), None);
        assert_eq!(looked(&referral(), minute(900)), told(InboundTrouble::Overdue, None), "the gateway was down");
        let by = "demo-records".parse().expect("an id");
        let collected = InboundRecord { collected: Some((NOON, by)), ..referral() };
        assert_eq!(looked(&collected, minute(900)), None);
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing_and_is_told_once() {
        let unknown = looked(&referral(), NOON - Span::DAY);
        assert_eq!(unknown, told(InboundTrouble::DueUnknown, Some(minute(240) - Span::DAY)));
        let waits = after(&referral(), unknown.expect("people are told"));
        assert_eq!(looked(&waits, NOON - Span::DAY), None);
        let over = looked(&waits, minute(240) - Span::DAY);
        assert_eq!(over, told(InboundTrouble::Overdue, None), "its time began anew");
        let right = looked(&waits, minute(1));
        assert_eq!(right, Some(Look { tell: None, due_at: minute(240), next: Some(minute(240)) }), "it was set right");
        assert_eq!(looked(&referral(), NOON - Span::SECOND), None, "within what clocks are off by");
    }

    #[test]
    fn one_that_an_earlier_version_took_gets_its_clock_when_it_is_looked_at() {
        let earlier = InboundRecord { due_at: None, alert_at: Some(NOON), event: None, ..referral() };
        let first = looked(&earlier, minute(1));
        assert_eq!(first, Some(Look { tell: None, due_at: minute(240), next: Some(minute(180)) }));
        assert_eq!(looked(&earlier, minute(200)), told(InboundTrouble::NearDue, Some(minute(240))));
        assert_eq!(looked(&earlier, minute(300)), told(InboundTrouble::Overdue, None));
    }
}
