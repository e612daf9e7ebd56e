//! Envelopes: what was stored on one day under one agreement has a key of its own, and ends with it.
//!
//! The key of a day is kept for as long as the agreement retains what it sealed, and destroyed then. What a message still
//! needs to be delivered or reviewed holds it.

use time::Duration;

use super::Event;
use crate::fhir::Instant;
use crate::identity::{AgreementId, MessageId};

/// For how long a delivered message is still needed whose partner has not answered: it may ask for it again, and a carrier may report
/// that it was not taken. MESH gives up after five days.
pub const MAY_COME_BACK: Duration = Duration::days(30);

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// What one key seals: the contents that were stored on one day (UTC) under one agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its number, from 1.
    pub number: u64,
    /// The agreement.
    pub agreement: AgreementId,
    /// The day, counted from 1970 in UTC.
    pub day: i64,
    /// For how many days after that day it is kept. Of two versions of the agreement on one day, the longer.
    pub retention_days: u32,
    /// When its key was destroyed; `None` while it is kept.
    pub destroyed_at: Option<Instant>,
}

impl Envelope {
    /// The day of an instant.
    pub fn day_of(at: Instant) -> i64 {
        at.unix_timestamp().div_euclid(DAY)
    }

    /// When its retention ends.
    pub fn ends(&self) -> Instant {
        let last = self.day.saturating_add(self.retention_days.into()).saturating_add(1).saturating_mul(DAY);
        Instant::UNIX_EPOCH.checked_add(Duration::seconds(last)).unwrap_or(time::PrimitiveDateTime::MAX.assume_utc())
    }
}

/// What lies in an envelope whose retention has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The envelope.
    pub envelope: Envelope,
    /// How many messages it holds.
    pub messages: u64,
    /// How many of them were given up or refused, and nobody decided about since.
    pub undelivered: u64,
    /// How many of them still need it: they wait to be sent, or their review is open.
    pub held: u64,
}

/// The contents of one message, or of one referral that a partner sent, are to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Which message; or which referral, by its id here.
    pub message: MessageId,
    /// What the audit log says of it. That of a message is filed under it; that of a referral under none.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn retention_ends_so_many_whole_days_after_the_day() {
        let accepted = datetime!(2026-02-27 23:59:59.999 UTC);
        let agreement = "demo-trust-crisis".parse().expect("a name");
        let day = Envelope::day_of(accepted);
        let envelope = Envelope { number: 1, agreement, day, retention_days: 2, destroyed_at: None };
        assert_eq!(envelope.ends(), datetime!(2026-03-02 00:00 UTC));
        assert!(Envelope { day: i64::MAX, ..envelope }.ends() > datetime!(9999-12-31 0:00 UTC), "no number overflows");
        assert_eq!(Envelope::day_of(datetime!(1969-12-31 23:00 UTC)), -1);
    }
}
