//! The events of decisions whether a message may leave: by an agreement, and by what the person said of it.

use super::event::{Recorder, Terms, detail, written};
use crate::fhir::Instant;
use crate::fhir::audit_event::{Agent, AuditEvent, Coding, Entity, Outcome, Part, What, detail};
use crate::identity::{MessageId, PartyId};
use crate::storage::Event;

/// What was decided.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// Who is to have it.
    pub recipient: &'a PartyId,
    /// The message, once it is accepted.
    pub message: Option<MessageId>,
    /// The agreement, the person and what they said.
    pub terms: &'a Terms,
    /// A code for why it may not leave: `no-consent`. `None`: it may.
    pub denied: Option<&'a str>,
    /// When.
    pub at: Instant,
}

impl Recorder {
    /// It was decided whether a message may leave (IHE BALP AuthZconsent). No person at the recipient is known: the organisation
    /// stands both for who is to have the data and for where they work. Who submitted it is in the event beside it.
    pub fn decision(&self, decision: Decision<'_>) -> Event {
        let Decision { recipient, message, terms, denied, at } = decision;
        let application =
            Agent { address: Some(self.site().into()), ..self.agent(Part::Application, self.party(), false) };
        let agents = [
            application,
            self.agent(Part::User, recipient, true),
            self.agent(Part::UserOrganisation, recipient, false),
            self.agent(Part::Authoriser, self.party(), false),
        ];
        let mut agreement = terms.agreement();
        agreement.details.extend(terms.ground());
        agreement.details.extend(denied.map(|reason| detail(detail::REASON, reason)));
        let message_entity = message.map(|id| Entity { what: What::Message(id), details: vec![] });
        let said = AuditEvent {
            subtypes: vec![Coding::authz_consent()],
            outcome: if denied.is_some() { Outcome::MinorFailure } else { Outcome::Success },
            purpose: Some(Coding::purpose(&terms.purpose)),
            agents: agents.into(),
            entities: std::iter::once(terms.patient()).chain(message_entity).chain([agreement]).collect(),
            ..self.event(Coding::dicom("110113"), at)
        };
        written(message, &said)
    }
}
