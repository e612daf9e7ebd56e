//! The events of answers that came by themselves: kept, or refused.

use std::borrow::Cow;

use super::event::{Recorder, Terms, detail, kind, written};
use crate::fhir::Instant;
use crate::fhir::audit_event::{
    Action, Agent, AuditEvent, Coding, Entity, Outcome, Part, RecordedEvent, What, Who, detail,
};
use crate::identity::digest::hex;
use crate::identity::{MessageId, PartyId};
use crate::storage::{Event, Says, State, StoredEvent};

/// An answer as the audit log names it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Who answers, by certificate or mailbox.
    pub sender: &'a PartyId,
    /// Where it came from on the network.
    pub address: &'a str,
    /// The message that it answers.
    pub message: MessageId,
    /// The terms under which that was sent, when the log tells them.
    pub terms: Option<&'a Terms>,
    /// What it is called, when that is a UUID.
    pub id: Option<uuid::Uuid>,
    /// SHA-256 of it.
    pub digest: &'a [u8; 32],
    /// What it says.
    pub says: &'a Says,
    /// When it came.
    pub at: Instant,
}

/// Whether a person sent a message again after an answer of this digest was kept, as the message's events have it.
pub fn is_sent_again(events: &[StoredEvent], digest: &[u8; 32]) -> bool {
    let digest = hex(digest);
    let newest = |is: &dyn Fn(&RecordedEvent<'_>) -> bool| {
        events.iter().rposition(|stored| RecordedEvent::read(&stored.event.bytes).is_some_and(|said| is(&said)))
    };
    let kept = newest(&|said| said.is(kind::ANSWER_RECEIVED) && said.detail(detail::SHA256) == Some(&*digest));
    let sent = newest(&|said| {
        let is_queued = said.detail(detail::TO) == Some(State::Queued.code());
        said.is(kind::STATE_TRANSITION) && is_queued && said.operator().is_some()
    });
    sent > kept
}

impl Recorder {
    /// A partner's answer is kept: it tells of a patient, so that it is a disclosure at its recipient (IHE BALP
    /// PrivacyDisclosure.Recipient).
    pub fn answer_received(&self, answer: Answer<'_>) -> Event {
        let Answer { sender, address, message, terms, id, digest, says, at } = answer;
        let mut details = vec![detail(detail::VERDICT, says.verdict.as_str()), detail(detail::SHA256, hex(digest))];
        details.extend(id.map(|id| detail(detail::ANSWER, id.to_string())));
        details.extend(says.reasons.iter().map(|reason| detail(detail::REASON, reason.as_str())));
        details.extend(says.asks_for.iter().map(|asked| detail(detail::ASKS, asked.as_str())));
        let patient = terms.map(Terms::patient);
        let message_entity = Entity { what: What::Message(message), details };
        let said = AuditEvent {
            subtypes: vec![
                Coding::lifecycle("receive"),
                Coding::lifecycle("disclose"),
                Coding::weir(kind::ANSWER_RECEIVED),
            ],
            action: Action::Create,
            purpose: terms.map(|terms| Coding::purpose(&terms.purpose)),
            agents: self.between(sender, Some(address)),
            entities: std::iter::once(message_entity).chain(patient).collect(),
            ..self.event(Coding::dicom("110107"), at)
        };
        written(Some(message), &said)
    }

    /// A partner sent what is no answer to a message that it got from us, or another under the id of one that is kept. `reason` is a code;
    /// `message` is the one that it names, if there is one; `address` is where it was sent from.
    pub fn answer_refused(
        &self,
        sender: &PartyId,
        (message, reason): (Option<MessageId>, &str),
        address: Option<&str>,
        at: Instant,
    ) -> Event {
        let details = vec![detail(detail::REASON, reason)];
        let said = AuditEvent {
            subtypes: vec![Coding::lifecycle("receive"), Coding::weir(kind::ANSWER_REFUSED)],
            action: Action::Create,
            outcome: Outcome::MinorFailure,
            agents: self.between(sender, address),
            entities: vec![Entity { what: message.map_or(What::Configuration, What::Message), details }],
            ..self.event(Coding::dicom("110107"), at)
        };
        written(message, &said)
    }

    pub(super) fn between<'a>(&'a self, sender: &'a PartyId, address: Option<&'a str>) -> Vec<Agent<'a>> {
        let from =
            Agent { part: Part::Source, who: Who::party(sender), requestor: true, address: address.map(Cow::Borrowed) };
        let to = Agent { address: Some(self.site().into()), ..self.agent(Part::Destination, self.party(), false) };
        vec![from, to]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::audit_event::RecordedEvent;
    use time::macros::datetime;

    const AT: Instant = datetime!(2026-01-01 12:00 UTC);

    #[test]
    fn an_answer_is_told_by_what_it_says_and_by_its_digest() {
        let recorder = Recorder::new("DEMOP".parse().expect("an ODS code"), "weir.example/DEMOP");
        let sender: PartyId = "DEMOT".parse().expect("an ODS code");
        let says = Says {
            verdict: "information-missing".to_owned(),
            code: "fatal-error".to_owned(),
            reasons: vec!["required".to_owned()],
            asks_for: vec!["Patient.telecom".to_owned(), "Patient.birthDate".to_owned()],
            handover: None,
        };
        let message: MessageId = "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID");
        let answer = Answer {
            sender: &sender,
            address: "10.0.0.7",
            message,
            terms: None,
            id: None,
            digest: &[1; 32],
            says: &says,
            at: AT,
        };
        let event = recorder.answer_received(answer);
        assert_eq!(event.message, Some(message));
        let said = RecordedEvent::read(&event.bytes).expect("it is an AuditEvent");
        assert!(said.is(kind::ANSWER_RECEIVED));
        assert_eq!(said.party(Part::Source), Some(sender.clone()));
        assert_eq!(said.detail(detail::VERDICT), Some("information-missing"));
        assert_eq!(said.detail(detail::SHA256), Some(&*hex(&[1; 32])));
        assert!(String::from_utf8_lossy(&event.bytes).contains("Patient.birthDate"));
        let refused = recorder.answer_refused(&sender, (None, "unknown"), Some("10.0.0.7"), AT);
        let said = RecordedEvent::read(&refused.bytes).expect("it is an AuditEvent");
        assert!(said.is(kind::ANSWER_REFUSED) && refused.message.is_none());
        assert_eq!(said.detail(detail::REASON), Some("unknown"));
    }
}
