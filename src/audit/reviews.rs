//! The events of reviews: opened with its message, found overdue, completed; and notices of an incident that arrived.

use super::event::{Recorder, detail, kind, with_patient, written};
use crate::fhir::audit_event::{Action, Agent, AuditEvent, Coding, Detail, Entity, Outcome, Part, What, Who, detail};
use crate::fhir::{Instant, instant_text};
use crate::identity::MessageId;
use crate::identity::keyed_hash::KeyedHash;
use crate::storage::{Completed, Event, NewReview, NoticeRecord, ReviewRecord};

/// A message, and the person it is about.
type Of<'a> = (MessageId, Option<&'a KeyedHash>);

impl Recorder {
    /// A message is sent without consent, and must be reviewed.
    pub fn review_opened(&self, of: Of<'_>, review: &NewReview, at: Instant) -> Event {
        let details = terms(&review.reviewer, &review.basis, review.due_at);
        let said = AuditEvent {
            action: Action::Create,
            purpose: Some(Coding::purpose(&review.purpose)),
            ..self.of_review(kind::REVIEW_OPENED, of, details, at)
        };
        written(Some(of.0), &said)
    }

    /// A review was not completed by its deadline.
    pub fn review_overdue(&self, review: &ReviewRecord, patient: Option<&KeyedHash>, at: Instant) -> Event {
        let details = terms(&review.reviewer, &review.basis, review.due_at);
        let said = AuditEvent {
            outcome: Outcome::SeriousFailure,
            ..self.of_review(kind::REVIEW_OVERDUE, (review.message, patient), details, at)
        };
        written(Some(review.message), &said)
    }

    /// A review was completed by a principal of the site. Their words are not audited.
    pub fn review_completed(&self, review: &ReviewRecord, patient: Option<&KeyedHash>, completed: &Completed) -> Event {
        let mut details = terms(&review.reviewer, &review.basis, review.due_at);
        details.push(detail(detail::FINDING, completed.finding.code()));
        let by = Agent { part: Part::Source, who: Who::operator(&completed.by), requestor: true, address: None };
        let said = AuditEvent {
            action: Action::Update,
            agents: vec![by],
            ..self.of_review(kind::REVIEW_COMPLETED, (review.message, patient), details, completed.at)
        };
        written(Some(review.message), &said)
    }

    /// A notice of an incident reached its reader.
    pub fn notice_delivered(&self, notice: &NoticeRecord, patient: Option<&KeyedHash>, at: Instant) -> Event {
        let details = vec![
            detail(detail::NOTICE, notice.notice.id.to_string()),
            detail(detail::CHANNEL, notice.notice.channel.code()),
            detail(detail::ATTEMPTS, (notice.attempts + 1).to_string()),
        ];
        written(Some(notice.message), &self.of_review(kind::INCIDENT_REPORTED, (notice.message, patient), details, at))
    }

    fn of_review<'a>(
        &'a self,
        kind: &'static str,
        (message, patient): Of<'a>,
        details: Vec<Detail<'a>>,
        at: Instant,
    ) -> AuditEvent<'a> {
        AuditEvent {
            subtypes: vec![Coding::weir(kind)],
            entities: with_patient(Entity { what: What::Message(message), details }, patient),
            ..self.event(Coding::dicom("110100"), at)
        }
    }
}

fn terms<'a>(reviewer: &'a str, basis: &'a str, due: Instant) -> Vec<Detail<'a>> {
    vec![detail(detail::REVIEWER, reviewer), detail(detail::BASIS, basis), detail(detail::DUE, instant_text(due))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::audit_event::RecordedEvent;
    use crate::storage::Finding;
    use time::macros::datetime;

    const AT: Instant = datetime!(2026-01-01 12:00 UTC);

    #[test]
    fn the_events_of_a_review_say_who_owes_what_and_never_why() {
        let recorder = Recorder::new("DEMOP".parse().expect("an ODS code"), "weir.example/DEMOP");
        let message = "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID");
        let text = |text: &str| text.to_owned();
        let new = NewReview {
            reviewer: text("safeguarding_lead"),
            purpose: text("BTG"),
            basis: text("safeguarding"),
            due_at: AT,
            decision: b"Chantal".to_vec(),
        };
        let review = ReviewRecord {
            message,
            interface: "crisis-escalation".parse().expect("a name"),
            recipient: "DEMOT".parse().expect("an ODS code"),
            agreement: "demo-trust-crisis".parse().expect("a name"),
            reviewer: new.reviewer.clone(),
            purpose: new.purpose.clone(),
            basis: new.basis.clone(),
            opened_at: AT,
            due_at: AT,
            overdue_at: None,
            completed: None,
        };
        let completed = Completed { at: AT, by: text("sue"), finding: Finding::NotJustified };
        for (kind, event) in [
            (kind::REVIEW_OPENED, recorder.review_opened((message, None), &new, AT)),
            (kind::REVIEW_OVERDUE, recorder.review_overdue(&review, None, AT)),
            (kind::REVIEW_COMPLETED, recorder.review_completed(&review, None, &completed)),
        ] {
            let said = RecordedEvent::read(&event.bytes).expect("it is an AuditEvent");
            assert!(said.is(kind) && said.message() == Some(message), "{kind}");
            assert_eq!(said.detail(detail::DUE), Some("2026-01-01T12:00:00.000Z"));
            assert_eq!(said.detail(detail::REVIEWER), Some("safeguarding_lead"));
            assert!(!String::from_utf8_lossy(&event.bytes).contains("Chantal"));
        }
        let done = recorder.review_completed(&review, None, &completed);
        let said = RecordedEvent::read(&done.bytes).expect("it is an AuditEvent").to_json();
        assert!(said.contains("not-justified") && said.contains("sue"), "{said}");
    }
}
