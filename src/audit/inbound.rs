//! The events of referrals that partners sent: kept, refused, told of since nobody collects them, collected.

use std::borrow::Cow;

use uuid::Uuid;

use super::event::{Recorder, detail, kind, with_patient, written};
use crate::fhir::audit_event::{
    Action, Agent, AuditEvent, Coding, Detail, Entity, Outcome, Part, RecordedEvent, What, Who, detail,
};
use crate::fhir::{Instant, instant_text};
use crate::identity::digest::hex;
use crate::identity::keyed_hash::KeyedHash;
use crate::identity::{InterfaceName, MessageId, PartyId, PrincipalId};
use crate::storage::{self, Event, InboundRecord, InboundTrouble, NoticeRecord, Store};

/// The type of resource that a referral is.
const REFERRAL: &str = "ServiceRequest";

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
    /// Its clinical priority, a code of request-priority.
    pub priority: Option<&'a str>,
    /// By when a record system has to have collected it.
    pub due_at: Instant,
    /// When it came.
    pub at: Instant,
}

/// The person that a referral is about, by keyed hash; `None` when it names none, or an earlier version took it.
///
/// # Errors
/// When the log cannot be read now.
pub async fn patient_of_referral(
    store: &dyn Store,
    record: &InboundRecord,
) -> Result<Option<KeyedHash>, storage::Error> {
    let Some(event) = record.event else { return Ok(None) };
    // As with a message: a damaged event holds up no alarm.
    let events = store.damage().sift(("events", event), store.events(event, 1).await)?.unwrap_or_default();
    let received = events.first().and_then(|received| RecordedEvent::read(&received.event.bytes));
    Ok(received.and_then(|said| said.subject().map(KeyedHash::read_back)))
}

/// A referral that is kept: a request, by its id here. What its sender calls it is a detail.
pub(super) fn referral(id: MessageId) -> What<'static> {
    What::Resource(REFERRAL.into(), id.uuid())
}

/// The referral that an event is about, by its id here.
pub fn referral_of(said: &RecordedEvent<'_>) -> Option<MessageId> {
    said.resource().filter(|(of, _)| *of == REFERRAL).map(|(_, id)| id.into())
}

/// How urgent it is, and by when it has to be collected.
fn clock(priority: Option<&str>, due_at: Instant) -> impl Iterator<Item = Detail<'_>> {
    let priority = priority.map(|code| detail(detail::PRIORITY, code));
    priority.into_iter().chain([detail(detail::DEADLINE, instant_text(due_at))])
}

impl Recorder {
    /// A partner's referral is kept: a disclosure at its recipient (IHE BALP PrivacyDisclosure.Recipient).
    pub fn referral_received(&self, kept: Referral<'_>) -> Event {
        let Referral { sender, address, bundle, id, interface, digest, subject, priority, due_at, at } = kept;
        let mut details = vec![
            detail(detail::INTERFACE, interface.as_str()),
            detail(detail::REFERRAL, bundle.to_string()),
            detail(detail::SHA256, hex(digest)),
        ];
        details.extend(clock(priority, due_at));
        let patient = Entity { what: What::Patient(subject.map(|hash| hash.as_str().into())), details: vec![] };
        let said = AuditEvent {
            subtypes: vec![
                Coding::lifecycle("receive"),
                Coding::lifecycle("disclose"),
                Coding::weir(kind::REFERRAL_RECEIVED),
            ],
            action: Action::Create,
            agents: self.between(sender, Some(address)),
            entities: vec![Entity { what: referral(id), details }, patient],
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

    /// People are told of a referral that no record system has collected.
    pub fn referral_alarm(
        &self,
        (record, patient): (&InboundRecord, Option<&KeyedHash>),
        (trouble, due_at): (InboundTrouble, Instant),
        at: Instant,
    ) -> Event {
        let mut details = vec![detail(detail::REASON, trouble.code())];
        details.extend(record.told.map(|told| detail(detail::FROM, told.code())));
        details.push(detail(detail::INTERFACE, record.interface.as_str()));
        details.push(detail(detail::REFERRAL, record.bundle.to_string()));
        details.extend(clock(record.priority.as_deref(), due_at));
        let said = AuditEvent {
            subtypes: vec![Coding::weir(kind::REFERRAL_ALARM)],
            outcome: Outcome::SeriousFailure,
            entities: with_patient(Entity { what: referral(record.id), details }, patient),
            ..self.event(Coding::dicom("110100"), at)
        };
        written(None, &said)
    }

    /// A notice of a referral reached its reader.
    pub fn referral_notice_delivered(
        &self,
        notice: &NoticeRecord,
        (record, patient): (&InboundRecord, Option<&KeyedHash>),
        at: Instant,
    ) -> Event {
        let details = vec![
            detail(detail::NOTICE, notice.notice.id.to_string()),
            detail(detail::CHANNEL, notice.notice.channel.code()),
            detail(detail::ATTEMPTS, (notice.attempts + 1).to_string()),
            detail(detail::REFERRAL, record.bundle.to_string()),
        ];
        let said = AuditEvent {
            subtypes: vec![Coding::weir(kind::INCIDENT_REPORTED)],
            entities: with_patient(Entity { what: referral(record.id), details }, patient),
            ..self.event(Coding::dicom("110100"), at)
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
            entities: vec![Entity { what: referral(id), details }],
            ..self.event(Coding::dicom("110100"), at)
        };
        written(None, &said)
    }
}
