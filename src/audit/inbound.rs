//! The events of referrals that partners sent: kept, refused, collected.

use std::borrow::Cow;

use uuid::Uuid;

use super::event::{Recorder, detail, kind, written};
use crate::fhir::Instant;
use crate::fhir::audit_event::{Action, Agent, AuditEvent, Coding, Entity, Outcome, Part, What, Who, detail};
use crate::identity::digest::hex;
use crate::identity::keyed_hash::KeyedHash;
use crate::identity::{InterfaceName, MessageId, PartyId, PrincipalId};
use crate::storage::Event;

/// A referral as the audit log names it.
#[derive(Clone, Copy, Debug)]
pub struct Referral<'a> {
    /// Who sent it, by certificate.
    pub sender: &'a PartyId,
    /// Where it came from on the network.
    pub address: &'a str,
    /// What its sender calls it.
    pub bundle: Uuid,
    /// Its id here.
    pub id: MessageId,
    /// The interface that it came over.
    pub interface: &'a InterfaceName,
    /// SHA-256 of it.
    pub digest: &'a [u8; 32],
    /// The person it is about, if it names one.
    pub subject: Option<&'a KeyedHash>,
    /// When it came.
    pub at: Instant,
}

/// A referral that is kept: a request, by its id here. What its sender calls it is a detail.
fn referral_of(id: MessageId) -> What<'static> {
    What::Resource("ServiceRequest".into(), id.uuid())
}

impl Recorder {
    /// A partner's referral is kept: a disclosure at its recipient (IHE BALP PrivacyDisclosure.Recipient).
    pub fn referral_received(&self, referral: Referral<'_>) -> Event {
        let Referral { sender, address, bundle, id, interface, digest, subject, at } = referral;
        let details = vec![
            detail(detail::INTERFACE, interface.as_str()),
            detail(detail::REFERRAL, bundle.to_string()),
            detail(detail::SHA256, hex(digest)),
        ];
        let patient = Entity { what: What::Patient(subject.map(|hash| hash.as_str().into())), details: vec![] };
        let said = AuditEvent {
            subtypes: vec![
                Coding::lifecycle("receive"),
                Coding::lifecycle("disclose"),
                Coding::weir(kind::REFERRAL_RECEIVED),
            ],
            action: Action::Create,
            agents: self.between(sender, Some(address)),
            entities: vec![Entity { what: referral_of(id), details }, patient],
            ..self.event(Coding::dicom("110107"), at)
        };
        written(None, &said)
    }

    /// A partner sent what is not taken as a referral; nothing of it is kept. `reason` is a code.
    pub fn referral_refused(
        &self,
        sender: &PartyId,
        (bundle, reason): (Option<Uuid>, &str),
        address: &str,
        at: Instant,
    ) -> Event {
        let mut details = vec![detail(detail::REASON, reason)];
        details.extend(bundle.map(|id| detail(detail::REFERRAL, id.to_string())));
        let said = AuditEvent {
            subtypes: vec![Coding::lifecycle("receive"), Coding::weir(kind::REFERRAL_REFUSED)],
            action: Action::Create,
            outcome: Outcome::MinorFailure,
            agents: self.between(sender, Some(address)),
            entities: vec![Entity { what: What::Configuration, details }],
            ..self.event(Coding::dicom("110107"), at)
        };
        written(None, &said)
    }

    /// A record system says that it has a referral.
    pub fn referral_collected(
        &self,
        (bundle, id): (Uuid, MessageId),
        by: &PrincipalId,
        address: &str,
        at: Instant,
    ) -> Event {
        let details = vec![detail(detail::REFERRAL, bundle.to_string())];
        let by = Agent {
            part: Part::Source,
            who: Who::operator(by.as_str()),
            requestor: true,
            address: Some(Cow::Borrowed(address)),
        };
        let said = AuditEvent {
            subtypes: vec![Coding::weir(kind::REFERRAL_COLLECTED)],
            action: Action::Update,
            agents: vec![by, self.agent(Part::Application, self.party(), false)],
            entities: vec![Entity { what: referral_of(id), details }],
            ..self.event(Coding::dicom("110100"), at)
        };
        written(None, &said)
    }
}
