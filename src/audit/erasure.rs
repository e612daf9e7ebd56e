//! The events of erasure: a day's key that was destroyed, a message whose contents are gone, an order to erase.

use time::{Date, Duration};

use super::event::{Recorder, detail, kind, written};
use super::inbound::referral;
use crate::fhir::Instant;
use crate::fhir::audit_event::{
    Action, Agent, AuditEvent, Coding, Entity, Outcome, Part, RecordedEvent, What, Who, detail,
};
use crate::identity::keyed_hash::KeyedHash;
use crate::identity::{MessageId, PrincipalId};
use crate::storage::{Ended, Envelope, Event, InboundRecord};

impl Recorder {
    /// The key of a day under an agreement was destroyed, since its retention has ended.
    pub fn envelope_destroyed(&self, ended: &Ended, at: Instant) -> Event {
        let Ended { envelope, messages, undelivered, .. } = ended;
        let details = vec![
            detail(detail::ENVELOPE, envelope.number.to_string()),
            detail(detail::DAY, date(envelope.day)),
            detail(detail::RETENTION, envelope.retention_days.to_string()),
            detail(detail::MESSAGES, messages.to_string()),
            detail(detail::UNDELIVERED, undelivered.to_string()),
        ];
        let said = AuditEvent {
            subtypes: vec![Coding::lifecycle("destroy"), Coding::weir(kind::ENVELOPE_DESTROYED)],
            action: Action::Delete,
            entities: vec![Entity { what: What::Agreement(envelope.agreement.as_str().into()), details }],
            ..self.event(Coding::dicom("110100"), at)
        };
        written(None, &said)
    }

    /// The contents of a message about a person were erased, since `by` said so.
    pub fn message_erased(&self, message: MessageId, subject: &KeyedHash, by: &PrincipalId, at: Instant) -> Event {
        let said = AuditEvent {
            subtypes: vec![Coding::lifecycle("destroy"), Coding::weir(kind::MESSAGE_ERASED)],
            action: Action::Delete,
            agents: self.orderer(by),
            entities: vec![
                Entity { what: What::Message(message), details: vec![] },
                Entity { what: What::Patient(Some(subject.as_str().into())), details: vec![] },
            ],
            ..self.event(Coding::dicom("110100"), at)
        };
        written(Some(message), &said)
    }

    /// The contents of a referral that a partner sent about a person were erased, since `by` said so.
    pub fn referral_erased(&self, record: &InboundRecord, subject: &KeyedHash, by: &PrincipalId, at: Instant) -> Event {
        let details = vec![detail(detail::REFERRAL, record.bundle.to_string())];
        let said = AuditEvent {
            subtypes: vec![Coding::lifecycle("destroy"), Coding::weir(kind::REFERRAL_ERASED)],
            action: Action::Delete,
            agents: self.orderer(by),
            entities: vec![
                Entity { what: referral(record.id), details },
                Entity { what: What::Patient(Some(subject.as_str().into())), details: vec![] },
            ],
            ..self.event(Coding::dicom("110100"), at)
        };
        written(None, &said)
    }

    /// Someone had what is kept about a person erased: the contents of so many messages and referrals; those of others are still
    /// needed.
    pub fn subject_erased(
        &self,
        subject: &KeyedHash,
        by: &PrincipalId,
        (erased, kept): (usize, usize),
        at: Instant,
    ) -> Event {
        let details = vec![detail(detail::MESSAGES, erased.to_string()), detail(detail::KEPT, kept.to_string())];
        let said = AuditEvent {
            subtypes: vec![Coding::lifecycle("destroy"), Coding::weir(kind::SUBJECT_ERASED)],
            action: Action::Delete,
            outcome: if kept == 0 { Outcome::Success } else { Outcome::MinorFailure },
            agents: self.orderer(by),
            entities: vec![Entity { what: What::Patient(Some(subject.as_str().into())), details }],
            ..self.event(Coding::dicom("110100"), at)
        };
        written(None, &said)
    }

    fn orderer<'a>(&'a self, by: &'a PrincipalId) -> Vec<Agent<'a>> {
        let by = Agent { part: Part::Source, who: Who::operator(by.as_str()), requestor: true, address: None };
        vec![by, self.agent(Part::Application, self.party(), false)]
    }
}

/// What an event says of an envelope that was destroyed: its number, the agreement, the day, and for how many days it was kept.
pub(super) fn destroyed(said: &RecordedEvent<'_>) -> Option<(u64, String, i64, u32)> {
    if !said.is(kind::ENVELOPE_DESTROYED) {
        return None;
    }
    let number = said.detail(detail::ENVELOPE)?.parse().ok()?;
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let day = Date::parse(said.detail(detail::DAY)?, format).ok()?;
    let retention_days = said.detail(detail::RETENTION)?.parse().ok()?;
    Some((number, said.agreement()?.to_owned(), Envelope::day_of(day.midnight().assume_utc()), retention_days))
}

/// A day since 1970 as a date: `2026-03-04`.
fn date(day: i64) -> String {
    let at = Instant::UNIX_EPOCH.checked_add(Duration::days(day)).unwrap_or(Instant::UNIX_EPOCH);
    at.date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const AT: Instant = datetime!(2026-03-04 12:00 UTC);

    fn recorder() -> Recorder {
        Recorder::new("DEMOP".parse().expect("an ODS code"), "weir.example/DEMOP")
    }

    #[test]
    fn the_event_of_a_destroyed_key_says_whose_day_it_was() {
        let agreement = "demo-trust-crisis".parse().expect("a name");
        let envelope = Envelope { number: 7, agreement, day: 20_454, retention_days: 30, destroyed_at: None };
        let event = recorder().envelope_destroyed(&Ended { envelope, messages: 5, undelivered: 1, held: 0 }, AT);
        let said = RecordedEvent::read(&event.bytes).expect("it is an AuditEvent");
        assert_eq!(said.detail(detail::DAY), Some("2026-01-01"));
        assert_eq!((said.detail(detail::MESSAGES), said.detail(detail::UNDELIVERED)), (Some("5"), Some("1")));
        assert_eq!(destroyed(&said), Some((7, "demo-trust-crisis".to_owned(), 20_454, 30)));
        assert!(said.to_json().contains(r#""action":"D""#), "{}", said.to_json());
    }

    #[test]
    fn an_order_to_erase_is_filed_under_the_person_by_hash_alone() {
        let (by, message) =
            ("ivy".parse().expect("an id"), "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID"));
        let event = recorder().subject_erased(&KeyedHash::read_back(&"4c".repeat(32)), &by, (2, 1), AT);
        let said = RecordedEvent::read(&event.bytes).expect("it is an AuditEvent");
        assert_eq!((said.subject(), said.operator()), (Some(&*"4c".repeat(32)), Some("ivy")));
        assert_eq!((said.detail(detail::MESSAGES), said.detail(detail::KEPT)), (Some("2"), Some("1")));
        assert!(!said.is_success(), "something is kept");
        let event = recorder().message_erased(message, &KeyedHash::read_back("4c"), &by, AT);
        let said = RecordedEvent::read(&event.bytes).expect("it is an AuditEvent");
        assert_eq!((said.message(), event.message, destroyed(&said)), (Some(message), Some(message), None));
    }
}
