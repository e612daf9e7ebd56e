//! The events: one constructor for each kind, so that what an event says is decided here and nowhere else.
//!
//! Subjects appear as [`KeyedHash`]es, made with a key of the site: the same person has the same hash within a site, and
//! nobody without the key can test a guess.

use std::borrow::Cow;

use uuid::Uuid;

use super::merkle;
use crate::delivery::deadline::Alarm;
use crate::disclosure::AgreementChange;
use crate::fhir::audit_event::{
    Action, Agent, AuditEvent, Coding, Detail, Entity, Outcome, Part, RecordedEvent, What, Who, detail,
};
use crate::fhir::{Instant, instant_text, time_ordered_id};
use crate::identity::digest::{from_hex, hex, sha_256};
use crate::identity::keyed_hash::KeyedHash;
use crate::identity::{AgreementId, InterfaceName, MessageId, PartyId, PrincipalId, principal};
use crate::storage::{
    self, Approval, Event, Handling, MessageRecord, NewMessage, State, Store, StoredEvent, Transition,
};

/// The kinds of event that Weir defines, as they stand in `AuditEvent.subtype`.
pub mod kind {
    /// A message was accepted: it is durable and will be delivered.
    pub const MESSAGE_ACCEPTED: &str = "message-accepted";
    /// A submission was refused: nothing of it is kept.
    pub const SUBMISSION_REFUSED: &str = "submission-refused";
    /// A message took another state.
    pub const STATE_TRANSITION: &str = "state-transition";
    /// A configuration took effect, or was refused.
    pub const CONFIGURATION_LOADED: &str = "configuration-loaded";
    /// The gateway began to work.
    pub const GATEWAY_STARTED: &str = "gateway-started";
    /// The gateway stopped in good order.
    pub const GATEWAY_STOPPED: &str = "gateway-stopped";
    /// It was decided by an agreement, and by what the person said of it, whether a message may leave.
    pub const DECISION: &str = "AuthZ-Consent";
    /// Someone did, or tried to do, what a role permits or does not.
    pub const ACCESS: &str = "access";
    /// An act was handed in that does not count: its signature, its form or its time is wrong.
    pub const ACT_REFUSED: &str = "act-refused";
    /// Someone approved a version of an agreement, or tried to.
    pub const AGREEMENT_APPROVED: &str = "agreement-approved";
    /// Versions of agreements came into the list that the running gateway uses, or went from it.
    pub const AGREEMENTS_CHANGED: &str = "agreements-changed";
    /// A message is sent without consent, and must be reviewed.
    pub const REVIEW_OPENED: &str = "review-opened";
    /// A review was not completed by its deadline.
    pub const REVIEW_OVERDUE: &str = "review-overdue";
    /// A review was completed.
    pub const REVIEW_COMPLETED: &str = "review-completed";
    /// Something was done about a message whose deadline nears, or that ended badly.
    pub const DELIVERY_ALARM: &str = "delivery-alarm";
    /// A partner's answer came by itself, and is kept.
    pub const ANSWER_RECEIVED: &str = "answer-received";
    /// A partner sent something as an answer that is none to a message it got from us, or another one under a known id.
    pub const ANSWER_REFUSED: &str = "answer-refused";
    /// A handover was opened, accepted, rejected, confirmed, withdrawn or taken up again; or a partner contradicts what it said of one.
    pub const HANDOVER_CHANGED: &str = "handover-changed";
    /// People are told of a handover: a clock of it ran out or nearly, or it was rejected or contradicted.
    pub const HANDOVER_ALARM: &str = "handover-alarm";
    /// A notice of an incident reached its reader.
    pub const INCIDENT_REPORTED: &str = "incident-reported";
    /// The retention of what was stored on one day under one agreement has ended, and its key was destroyed.
    pub const ENVELOPE_DESTROYED: &str = "envelope-destroyed";
    /// The contents of a message were erased.
    pub const MESSAGE_ERASED: &str = "message-erased";
    /// Someone had what is kept about a person erased.
    pub const SUBJECT_ERASED: &str = "subject-erased";
    /// A partner's referral is kept, and waits for the record system.
    pub const REFERRAL_RECEIVED: &str = "referral-received";
    /// A partner sent something as a referral that is not taken.
    pub const REFERRAL_REFUSED: &str = "referral-refused";
    /// A record system has a referral.
    pub const REFERRAL_COLLECTED: &str = "referral-collected";
    /// People are told of a referral that no record system has collected: its time is over or nearly, or may be.
    pub const REFERRAL_ALARM: &str = "referral-alarm";
    /// The contents of a referral were erased.
    pub const REFERRAL_ERASED: &str = "referral-erased";
    /// Every kind.
    pub const ALL: [&str; 28] = [
        MESSAGE_ACCEPTED,
        SUBMISSION_REFUSED,
        STATE_TRANSITION,
        CONFIGURATION_LOADED,
        GATEWAY_STARTED,
        GATEWAY_STOPPED,
        DECISION,
        ACCESS,
        ACT_REFUSED,
        AGREEMENT_APPROVED,
        AGREEMENTS_CHANGED,
        REVIEW_OPENED,
        REVIEW_OVERDUE,
        REVIEW_COMPLETED,
        DELIVERY_ALARM,
        ANSWER_RECEIVED,
        ANSWER_REFUSED,
        HANDOVER_CHANGED,
        HANDOVER_ALARM,
        INCIDENT_REPORTED,
        ENVELOPE_DESTROYED,
        MESSAGE_ERASED,
        SUBJECT_ERASED,
        REFERRAL_RECEIVED,
        REFERRAL_REFUSED,
        REFERRAL_COLLECTED,
        REFERRAL_ALARM,
        REFERRAL_ERASED,
    ];
}

/// The names of details, shared by those who write and those who read them.
pub(super) mod detail {
    pub(in crate::audit) const INTERFACE: &str = "interface";
    pub(in crate::audit) const RECIPIENT: &str = "recipient";
    pub(in crate::audit) const FROM: &str = "from";
    pub(in crate::audit) const TO: &str = "to";
    pub(in crate::audit) const ATTEMPTS: &str = "attempts";
    pub(in crate::audit) const ACTION: &str = "action";
    pub(in crate::audit) const ROLE: &str = "role";
    pub(in crate::audit) const REASON: &str = "reason";
    pub(in crate::audit) const VERSION: &str = "version";
    pub(in crate::audit) const SHA256: &str = "sha-256";
    pub(in crate::audit) const SENT: &str = "elements-sent";
    pub(in crate::audit) const WITHHELD: &str = "elements-withheld";
    pub(in crate::audit) const MISSING: &str = "essential-missing";
    pub(in crate::audit) const LINEAGE: &str = "lineage-sha-256";
    pub(in crate::audit) const RECORD: &str = "record-keyed-hash";
    pub(in crate::audit) const GROUND: &str = "consent-ground";
    pub(in crate::audit) const PREFERENCE: &str = "consent-preference";
    pub(in crate::audit) const REVIEWER: &str = "reviewer";
    pub(in crate::audit) const BASIS: &str = "lawful-basis";
    pub(in crate::audit) const DUE: &str = "review-due";
    pub(in crate::audit) const FINDING: &str = "finding";
    pub(in crate::audit) const NOTICE: &str = "notice";
    pub(in crate::audit) const CHANNEL: &str = "channel";
    pub(in crate::audit) const ROUTE: &str = "route";
    pub(in crate::audit) const PRIORITY: &str = "priority";
    pub(in crate::audit) const DEADLINE: &str = "deadline";
    pub(in crate::audit) const CHANGE: &str = "change";
    pub(in crate::audit) const ANSWER: &str = "answer";
    pub(in crate::audit) const VERDICT: &str = "verdict";
    pub(in crate::audit) const ASKS: &str = "asks-for";
    pub(in crate::audit) const ENVELOPE: &str = "envelope";
    pub(in crate::audit) const DAY: &str = "day";
    pub(in crate::audit) const RETENTION: &str = "retention-days";
    pub(in crate::audit) const MESSAGES: &str = "messages";
    pub(in crate::audit) const UNDELIVERED: &str = "undelivered";
    pub(in crate::audit) const REFERRAL: &str = "referral";
    pub(in crate::audit) const KEPT: &str = "kept";
    pub(in crate::audit) const CONTACT_DUE: &str = "first-contact-due";
    pub(in crate::audit) const CONTACT: &str = "first-contact";
    pub(in crate::audit) const HOLDER: &str = "holder";
}

/// Under which terms a message leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The person it is about; `None` when it is not about one.
    pub subject: Option<KeyedHash>,
    /// Purpose of use, a code of v3-ActReason: `TREAT`.
    pub purpose: String,
    /// The agreement.
    pub agreement: AgreementId,
    /// Its version, as the agreement writes it.
    pub version: String,
    /// SHA-256 of the agreement's file.
    pub agreement_hash: [u8; 32],
    /// Elements that leave.
    pub sent: u32,
    /// Elements held back.
    pub withheld: u32,
    /// Essential elements that the record lacks, and the message says so.
    pub missing: u32,
    /// The ground of sharing, and what the person said: codes. Events of an earlier version do not have them.
    pub consent: Option<(String, String)>,
}

impl Terms {
    /// The terms as a `message-accepted` event recorded them: what a disclosure is audited with, days later.
    pub fn recorded(accepted: &Event) -> Option<Terms> {
        let event = RecordedEvent::read(&accepted.bytes)?;
        let number = |name| event.detail(name)?.parse().ok();
        Some(Terms {
            subject: event.subject().map(KeyedHash::read_back),
            purpose: event.purpose()?.to_owned(),
            agreement: event.agreement()?.parse().ok()?,
            version: event.detail(detail::VERSION)?.to_owned(),
            agreement_hash: from_hex(event.detail(detail::SHA256)?)?,
            sent: number(detail::SENT)?,
            withheld: number(detail::WITHHELD)?,
            missing: number(detail::MISSING).unwrap_or(0),
            consent: event
                .detail(detail::GROUND)
                .zip(event.detail(detail::PREFERENCE))
                .map(|(ground, preference)| (ground.to_owned(), preference.to_owned())),
        })
    }

    /// The terms under which a message was accepted; `None` when the log does not tell.
    ///
    /// # Errors
    /// When the log cannot be read now.
    pub async fn of(store: &dyn Store, message: MessageId) -> Result<Option<Terms>, storage::Error> {
        Ok(acceptance(store, message).await?.and_then(|accepted| Terms::recorded(&accepted.event)))
    }

    pub(super) fn patient(&self) -> Entity<'_> {
        Entity { what: What::Patient(self.subject.as_ref().map(|hash| hash.as_str().into())), details: vec![] }
    }

    pub(super) fn agreement(&self) -> Entity<'_> {
        let details =
            vec![detail(detail::VERSION, self.version.as_str()), detail(detail::SHA256, hex(&self.agreement_hash))];
        Entity { what: What::Agreement(self.agreement.as_str().into()), details }
    }

    /// The ground of sharing, and what the person said.
    pub(super) fn ground(&self) -> Vec<Detail<'_>> {
        let consent = self.consent.iter();
        consent
            .flat_map(|(ground, preference)| {
                [detail(detail::GROUND, ground.as_str()), detail(detail::PREFERENCE, preference.as_str())]
            })
            .collect()
    }

    /// How much leaves, and on which ground.
    fn account(&self) -> Vec<Detail<'_>> {
        let mut details =
            vec![detail(detail::SENT, self.sent.to_string()), detail(detail::WITHHELD, self.withheld.to_string())];
        details.extend(lacking(self.missing));
        details.extend(self.ground());
        details
    }
}

/// How many essential elements a record lacks; nothing for none.
fn lacking(missing: u32) -> Option<Detail<'static>> {
    (missing > 0).then(|| detail(detail::MISSING, missing.to_string()))
}

/// The person that a message is about, by keyed hash; `None` when it is not about one, or when the log does not tell.
///
/// # Errors
/// When the log cannot be read now.
pub async fn patient_of(store: &dyn Store, message: MessageId) -> Result<Option<KeyedHash>, storage::Error> {
    let accepted = acceptance(store, message).await?;
    let said = accepted.as_ref().and_then(|accepted| RecordedEvent::read(&accepted.event.bytes));
    Ok(said.and_then(|said| said.subject().map(KeyedHash::read_back)))
}

/// The event with which a message was accepted. One that is damaged holds up neither the message nor an alarm about it: it counts as
/// one that tells nothing, and people are told of it as of every damaged row.
async fn acceptance(store: &dyn Store, message: MessageId) -> Result<Option<StoredEvent>, storage::Error> {
    let accepted = store.first_event_of(message).await;
    Ok(store.damage().sift(("events", message), accepted)?.flatten())
}

/// Who submitted a message, as its `message-accepted` event recorded it; `None` when no principal is named there.
pub fn submitted_by(accepted: &Event) -> Option<PrincipalId> {
    RecordedEvent::read(&accepted.bytes).filter(|event| event.is(kind::MESSAGE_ACCEPTED))?.operator()?.parse().ok()
}

/// A submission that was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Who submitted it, by certificate.
    pub sender: &'a PartyId,
    /// As which principal of the site.
    pub by: Option<&'a PrincipalId>,
    /// The id it would have had, when that was known.
    pub message: Option<MessageId>,
    /// The interface, when it exists.
    pub interface: Option<&'a InterfaceName>,
    /// A code for the reason: `no-agreement`. Never text of the record.
    pub reason: &'a str,
    /// How many essential elements the record lacks, when it was refused for that.
    pub missing: u32,
    /// When.
    pub at: Instant,
}

/// A message that takes another state than `record` has.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The message as it stands.
    pub record: &'a MessageRecord,
    /// The person it is about.
    pub patient: Option<&'a KeyedHash>,
    /// Its next state.
    pub to: State,
    /// When.
    pub at: Instant,
    /// Attempts begun so far.
    pub attempts: u32,
    /// When it is due next.
    pub next_attempt_at: Option<Instant>,
    /// A code for the reason: `connection-refused`; empty for none.
    pub reason: &'a str,
    /// The outcome in words, for the operator; not audited; without personal data.
    pub note: &'a str,
}

/// What someone did, or tried to do.
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// Who; an organisation, by its certificate, when nobody whom the site knows.
    pub by: Who<'a>,
    /// What they did.
    pub action: principal::Action,
    /// To what.
    pub object: Object<'a>,
    /// The person whom that is about, or who was asked for, by keyed hash.
    pub patient: Option<Cow<'a, str>>,
    /// Whether a role of theirs permits it. If not, it did not happen.
    pub permitted: bool,
    /// A code for why not, where it is not for want of a role: `own-decision`.
    pub reason: Option<&'a str>,
    /// Where they sit on the network.
    pub address: Option<&'a str>,
    /// When.
    pub at: Instant,
}

/// What someone looks at, or does something to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// No one thing: a list, a record that is not kept.
    Site,
    /// A message.
    Message(MessageId),
    /// A resource of the log, by its type and id.
    Resource(&'a str, Uuid),
    /// What a search finds, by the search as it was understood: `AuditEvent?outcome=4`. Nobody's name or number stands in it.
    Search(&'a str),
}

/// Who records: makes the events of one gateway.
#[derive(Clone, Debug)]
pub struct Recorder {
    party: PartyId,
    site: String,
}

impl Recorder {
    /// For the gateway of `party`; `site` names the gateway, as the log's origin does: `weir.example/DEMOP`.
    pub fn new(party: PartyId, site: impl Into<String>) -> Recorder {
        Recorder { party, site: site.into() }
    }

    /// A message was accepted. `by` is who submitted it, `record` the keyed hash of what was submitted.
    pub fn accepted(&self, message: &NewMessage, by: Option<&PrincipalId>, terms: &Terms, record: &KeyedHash) -> Event {
        let mut details = vec![
            detail(detail::INTERFACE, message.interface.as_str()),
            detail(detail::RECIPIENT, message.recipient.as_str()),
            detail(detail::TO, State::Accepted.code()),
            detail(detail::RECORD, record.as_str()),
            detail(detail::LINEAGE, hex(&sha_256(&message.lineage))),
        ];
        details.extend(terms.account());
        details.extend(handling_details(&message.handling));
        let said = AuditEvent {
            subtypes: vec![Coding::lifecycle("receive"), Coding::weir(kind::MESSAGE_ACCEPTED)],
            action: Action::Create,
            purpose: Some(Coding::purpose(&terms.purpose)),
            agents: self.submission(&message.sender, by),
            entities: vec![terms.patient(), Entity { what: What::Message(message.id), details }, terms.agreement()],
            ..self.event(Coding::dicom("110107"), message.accepted_at)
        };
        written(Some(message.id), &said)
    }

    /// A submission was refused.
    pub fn refused(&self, refused: Refused<'_>) -> Event {
        let mut details = vec![detail(detail::REASON, refused.reason)];
        details.extend(refused.interface.map(|name| detail(detail::INTERFACE, name.as_str())));
        details.extend(lacking(refused.missing));
        let what = refused.message.map_or(What::Configuration, What::Message);
        let said = AuditEvent {
            subtypes: vec![Coding::lifecycle("receive"), Coding::weir(kind::SUBMISSION_REFUSED)],
            action: Action::Create,
            outcome: Outcome::MinorFailure,
            agents: self.submission(refused.sender, refused.by),
            entities: vec![Entity { what, details }],
            ..self.event(Coding::dicom("110107"), refused.at)
        };
        written(refused.message, &said)
    }

    /// A message takes another state: the change with its event.
    pub fn transition(&self, step: Step<'_>) -> Transition {
        let agents = vec![self.agent(Part::Application, &self.party, true)];
        self.step(step, agents)
    }

    /// A person decided that a message takes another state.
    pub fn decided(&self, step: Step<'_>, by: &PrincipalId) -> Transition {
        let by = Agent { part: Part::Source, who: Who::operator(by.as_str()), requestor: true, address: None };
        self.step(step, vec![by, self.agent(Part::Application, &self.party, false)])
    }

    fn step(&self, step: Step<'_>, agents: Vec<Agent<'_>>) -> Transition {
        let outcome = match step.to {
            State::Refused | State::Dead => Outcome::SeriousFailure,
            State::Queued => Outcome::MinorFailure,
            State::Accepted | State::Cancelled | State::InFlight | State::Delivered | State::Acknowledged => {
                Outcome::Success
            }
        };
        let message = Entity { what: What::Message(step.record.id), details: step_details(&step) };
        let said = AuditEvent {
            subtypes: vec![Coding::weir(kind::STATE_TRANSITION)],
            action: Action::Update,
            outcome,
            agents,
            entities: with_patient(message, step.patient),
            ..self.event(Coding::dicom("110100"), step.at)
        };
        changed(step, &said)
    }

    /// A message reached its recipient: a disclosure at its source (IHE BALP PrivacyDisclosure.Source). `address` is
    /// the endpoint it went to, without query.
    pub fn disclosure(&self, step: Step<'_>, terms: &Terms, address: &str) -> Transition {
        let mut details = step_details(&step);
        details.extend(terms.account());
        let source = Agent { address: Some(self.site.as_str().into()), ..self.agent(Part::Source, &self.party, true) };
        let recipient =
            Agent { address: Some(address.into()), ..self.agent(Part::Destination, &step.record.recipient, false) };
        let message = Entity { what: What::Message(step.record.id), details };
        let said = AuditEvent {
            subtypes: vec![Coding::lifecycle("disclose"), Coding::weir(kind::STATE_TRANSITION)],
            action: Action::Read,
            purpose: Some(Coding::purpose(&terms.purpose)),
            agents: vec![source, recipient],
            entities: vec![terms.patient(), message, terms.agreement()],
            ..self.event(Coding::dicom("110106"), step.at)
        };
        changed(step, &said)
    }

    /// Something is done about a message whose deadline nears, or that ended badly: it goes over another route, people are
    /// told, or both.
    pub fn alarm(&self, (record, patient): (&MessageRecord, Option<&KeyedHash>), alarm: Alarm, at: Instant) -> Event {
        let mut details = vec![detail(detail::ATTEMPTS, record.attempts.to_string())];
        details.extend(alarm.route.map(|route| detail(detail::ROUTE, route.to_string())));
        details.extend(alarm.tell.map(|trouble| detail(detail::REASON, trouble.code())));
        details.extend(handling_details(&record.handling));
        let said = AuditEvent {
            subtypes: vec![Coding::weir(kind::DELIVERY_ALARM)],
            outcome: if alarm.tell.is_some() { Outcome::SeriousFailure } else { Outcome::MinorFailure },
            entities: with_patient(Entity { what: What::Message(record.id), details }, patient),
            ..self.event(Coding::dicom("110100"), at)
        };
        written(Some(record.id), &said)
    }

    /// A configuration took effect; or did not, for `refused`. `files` are names with the SHA-256 of what they hold.
    pub fn configuration(&self, files: &[(String, [u8; 32])], refused: Option<&str>, at: Instant) -> Event {
        let mut details: Vec<_> = refused.iter().map(|reason| detail(detail::REASON, *reason)).collect();
        details.extend(files.iter().map(|(name, hash)| detail(detail::SHA256, format!("{} {name}", hex(hash)))));
        let said = AuditEvent {
            subtypes: vec![Coding::weir(kind::CONFIGURATION_LOADED)],
            action: Action::Update,
            outcome: if refused.is_some() { Outcome::MinorFailure } else { Outcome::Success },
            entities: vec![Entity { what: What::Configuration, details }],
            ..self.event(Coding::dicom("110100"), at)
        };
        written(None, &said)
    }

    /// Versions of agreements came into the list that the running gateway uses, or went from it: at least one.
    pub fn agreements_changed(&self, changes: &[AgreementChange], at: Instant) -> Event {
        let entities = changes.iter().map(|change| Entity {
            what: What::Agreement(change.agreement.as_str().into()),
            details: vec![
                detail(detail::VERSION, change.version.as_str()),
                detail(detail::SHA256, hex(&change.file)),
                detail(detail::CHANGE, if change.came { "came" } else { "went" }),
            ],
        });
        let said = AuditEvent {
            subtypes: vec![Coding::weir(kind::AGREEMENTS_CHANGED)],
            action: Action::Update,
            entities: entities.collect(),
            ..self.event(Coding::dicom("110100"), at)
        };
        written(None, &said)
    }

    /// The gateway began to work, in this version; `by` had it started.
    pub fn started(&self, version: &str, by: &PrincipalId, at: Instant) -> Event {
        let details = vec![detail(detail::VERSION, version)];
        let who = Who::operator(by.as_str());
        let launcher = Agent { part: Part::Source, who, requestor: true, address: None };
        let said = AuditEvent {
            subtypes: vec![Coding::dicom("110120"), Coding::weir(kind::GATEWAY_STARTED)],
            agents: vec![launcher, self.agent(Part::Application, &self.party, false)],
            entities: vec![Entity { what: What::Configuration, details }],
            ..self.event(Coding::dicom("110100"), at)
        };
        written(None, &said)
    }

    /// The gateway stopped in good order.
    pub fn stopped(&self, at: Instant) -> Event {
        let subtypes = vec![Coding::dicom("110121"), Coding::weir(kind::GATEWAY_STOPPED)];
        written(None, &AuditEvent { subtypes, ..self.event(Coding::dicom("110100"), at) })
    }

    /// Someone did something, or tried to (IHE BALP Read and Query, with and without a patient, for what they looked at over the
    /// network).
    pub fn access(&self, access: Access<'_>) -> Event {
        let Access { by, action, object, patient, permitted, reason, address, at } = access;
        let is_search = matches!(object, Object::Search(_));
        let (interaction, did) = match action {
            _ if is_search => ("search-type", Action::Execute),
            _ if action.is_reading() => ("read", Action::Read),
            _ => ("operation", Action::Execute),
        };
        // BALP has the data flow from the server to a reader, and a question from whoever asks to the server.
        let (of_caller, of_gateway) =
            if is_search { (Part::Source, Part::Destination) } else { (Part::Destination, Part::Source) };
        let caller = Agent { part: of_caller, who: by, requestor: true, address: address.map(Cow::Borrowed) };
        let gateway = Agent { address: Some(self.site.as_str().into()), ..self.agent(of_gateway, &self.party, false) };
        let mut details = vec![detail(detail::ACTION, action.code())];
        details.extend(reason.map(|reason| detail(detail::REASON, reason)));
        let what = match object {
            Object::Site | Object::Search(_) => What::Configuration,
            Object::Message(message) => What::Message(message),
            Object::Resource(of, id) => What::Resource(of.into(), id),
        };
        let query = if let Object::Search(query) = object { Some(What::Query(query.into())) } else { None };
        let patient = patient.map(|hash| What::Patient(Some(hash)));
        let others = query.into_iter().chain(patient).map(|what| Entity { what, details: vec![] });
        let said = AuditEvent {
            subtypes: vec![Coding::interaction(interaction), Coding::weir(kind::ACCESS)],
            action: did,
            outcome: if permitted { Outcome::Success } else { Outcome::MinorFailure },
            agents: vec![caller, gateway],
            entities: std::iter::once(Entity { what, details }).chain(others).collect(),
            ..self.event(Coding::rest(), at)
        };
        written(if let Object::Message(message) = object { Some(message) } else { None }, &said)
    }

    /// Someone approved a version of an agreement, or tried to without the role.
    pub fn agreement_approved(&self, approval: &Approval, permitted: bool) -> Event {
        let by = Agent { part: Part::Source, who: Who::operator(approval.by.as_str()), requestor: true, address: None };
        let details = vec![
            detail(detail::VERSION, approval.version.as_str()),
            detail(detail::SHA256, hex(&approval.file)),
            detail(detail::ROLE, approval.role.as_str()),
        ];
        let said = AuditEvent {
            subtypes: vec![Coding::dicom("110129"), Coding::weir(kind::AGREEMENT_APPROVED)],
            outcome: if permitted { Outcome::Success } else { Outcome::MinorFailure },
            agents: vec![by, self.agent(Part::Application, &self.party, false)],
            entities: vec![Entity { what: What::Agreement(approval.agreement.as_str().into()), details }],
            ..self.event(Coding::dicom("110113"), approval.at)
        };
        written(None, &said)
    }

    /// An act was handed in that does not count. `reason` is a code, never text of the act; `by` is who it says it is
    /// by, when its signature holds.
    pub fn act_refused(&self, by: Option<&PrincipalId>, reason: &str, at: Instant) -> Event {
        let details = vec![detail(detail::REASON, reason)];
        let gateway = self.agent(Part::Application, &self.party, by.is_none());
        let by =
            by.map(|id| Agent { part: Part::Source, who: Who::operator(id.as_str()), requestor: true, address: None });
        let said = AuditEvent {
            subtypes: vec![Coding::weir(kind::ACT_REFUSED)],
            outcome: Outcome::MinorFailure,
            agents: by.into_iter().chain([gateway]).collect(),
            entities: vec![Entity { what: What::Configuration, details }],
            ..self.event(Coding::dicom("110113"), at)
        };
        written(None, &said)
    }

    /// Whose gateway it is.
    pub(super) fn party(&self) -> &PartyId {
        &self.party
    }

    /// Where it is on the network, by the name of the log.
    pub(super) fn site(&self) -> &str {
        &self.site
    }

    /// What every event has; the gateway itself as the only one who took part.
    pub(super) fn event<'a>(&'a self, kind: Coding<'a>, at: Instant) -> AuditEvent<'a> {
        AuditEvent {
            id: time_ordered_id(at),
            kind,
            subtypes: vec![],
            action: Action::Execute,
            recorded: at,
            outcome: Outcome::Success,
            purpose: None,
            agents: vec![self.agent(Part::Application, &self.party, true)],
            observer: self.party.as_str().into(),
            site: self.site.as_str().into(),
            entities: vec![],
        }
    }

    pub(super) fn submission<'a>(&'a self, sender: &'a PartyId, by: Option<&'a PrincipalId>) -> Vec<Agent<'a>> {
        let party = self.agent(Part::Source, sender, by.is_none());
        let by = by.map(|id| Agent { who: Who::operator(id.as_str()), requestor: true, ..party.clone() });
        [party].into_iter().chain(by).chain([self.agent(Part::Destination, &self.party, false)]).collect()
    }

    pub(super) fn agent<'a>(&self, part: Part, party: &'a PartyId, requestor: bool) -> Agent<'a> {
        Agent { part, who: Who::party(party), requestor, address: None }
    }
}

/// What an event is about, and the person whom that is about.
pub(super) fn with_patient<'a>(what: Entity<'a>, patient: Option<&'a KeyedHash>) -> Vec<Entity<'a>> {
    let patient = patient.map(|hash| What::Patient(Some(hash.as_str().into())));
    std::iter::once(what).chain(patient.map(|what| Entity { what, details: vec![] })).collect()
}

fn handling_details(handling: &Handling) -> Vec<Detail<'_>> {
    let priority = handling.priority.as_deref().map(|code| detail(detail::PRIORITY, code));
    let deadline = handling.deadline_at.map(|at| detail(detail::DEADLINE, instant_text(at)));
    priority.into_iter().chain(deadline).collect()
}

fn step_details<'a>(step: &Step<'a>) -> Vec<Detail<'a>> {
    let mut details = vec![
        detail(detail::FROM, step.record.state.code()),
        detail(detail::TO, step.to.code()),
        detail(detail::ATTEMPTS, step.attempts.to_string()),
    ];
    details.extend((!step.reason.is_empty()).then_some(detail(detail::REASON, step.reason)));
    details
}

fn changed(step: Step<'_>, said: &AuditEvent<'_>) -> Transition {
    Transition {
        message: step.record.id,
        from: step.record.state,
        to: step.to,
        route: None,
        at: step.at,
        attempts: step.attempts,
        next_attempt_at: step.next_attempt_at,
        note: step.note.to_owned(),
        carried_as: None,
        event: written(Some(step.record.id), said),
        handover: None,
    }
}

pub(super) fn written(message: Option<MessageId>, said: &AuditEvent<'_>) -> Event {
    let bytes = said.to_bytes();
    Event { message, leaf: merkle::leaf(&bytes), bytes }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::identity::keyed_hash::HashKey;
    use crate::storage::Secret;
    use time::macros::datetime;

    pub(in crate::audit) const AT: Instant = datetime!(2026-01-01 12:00:00.5 UTC);

    pub(in crate::audit) fn recorder() -> Recorder {
        Recorder::new("DEMOP".parse().expect("an ODS code"), "weir.example/DEMOP")
    }

    pub(in crate::audit) fn key() -> HashKey {
        HashKey::new(Secret::generate().bytes())
    }

    pub(in crate::audit) fn new_message() -> NewMessage {
        NewMessage {
            id: "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID"),
            sender: "DEMOP".parse().expect("an ODS code"),
            interface: "crisis-escalation".parse().expect("a name"),
            recipient: "RXT01".parse().expect("an ODS code"),
            agreement: "demo-trust-crisis".parse().expect("a name"),
            retention_days: 30,
            digest: [3; 32],
            accepted_at: AT,
            payload: b"Chantal".to_vec(),
            provenance: b"Chantal".to_vec(),
            lineage: b"lineage".to_vec(),
            glossary: std::sync::Arc::new(crate::storage::Text { digest: [0; 32], bytes: vec![] }),
            review: None,
            handling: Handling::default(),
            names: vec![],
            beginning: None,
        }
    }

    pub(in crate::audit) fn terms() -> Terms {
        Terms {
            subject: Some(key().subject("https://fhir.nhs.uk/Id/nhs-number", "9999999999")),
            purpose: "ETREAT".to_owned(),
            agreement: "demo-trust-crisis".parse().expect("a name"),
            version: "2026-01".to_owned(),
            agreement_hash: [0xab; 32],
            sent: 41,
            withheld: 12,
            missing: 2,
            consent: Some(("override".to_owned(), "refused".to_owned())),
        }
    }

    pub(in crate::audit) fn record(state: State) -> MessageRecord {
        let new = new_message();
        MessageRecord {
            id: new.id,
            sender: new.sender,
            interface: new.interface,
            recipient: new.recipient,
            agreement: new.agreement,
            digest: new.digest,
            state,
            accepted_at: AT,
            updated_at: AT,
            attempts: 1,
            next_attempt_at: None,
            note: String::new(),
            route: 0,
            handling: new.handling,
        }
    }

    pub(in crate::audit) fn step(record: &MessageRecord, to: State) -> Step<'_> {
        let (reason, note) = ("timed-out", "no answer");
        Step { record, patient: None, to, at: AT, attempts: 2, next_attempt_at: None, reason, note }
    }

    pub(in crate::audit) fn read(event: &Event) -> RecordedEvent<'_> {
        assert_eq!(event.leaf, merkle::leaf(&event.bytes));
        RecordedEvent::read(&event.bytes).expect("it is an AuditEvent")
    }

    #[test]
    fn an_accepted_message_says_under_which_terms() {
        let key = key();
        let terms = Terms { subject: Some(key.subject("s", "v")), ..terms() };
        let event = recorder().accepted(&new_message(), None, &terms, &key.record(&[3; 32]));
        let said = read(&event);
        assert!(said.is(kind::MESSAGE_ACCEPTED));
        assert_eq!(said.message(), event.message);
        assert_eq!(said.party(Part::Source), Some(new_message().sender));
        assert_eq!(said.detail(detail::RECIPIENT), Some("RXT01"));
        assert_eq!(said.detail(detail::TO), Some("accepted"));
        assert_eq!(Terms::recorded(&event), Some(terms));
    }

    #[test]
    fn a_transition_is_its_change_and_its_event_in_one() {
        let record = record(State::InFlight);
        let change = recorder().transition(step(&record, State::Dead));
        assert_eq!((change.from, change.to, change.attempts), (State::InFlight, State::Dead, 2));
        assert_eq!(change.note, "no answer");
        let said = read(&change.event);
        assert!(said.is(kind::STATE_TRANSITION));
        let told = [detail::FROM, detail::TO, detail::ATTEMPTS, detail::REASON].map(|name| said.detail(name));
        let told: Vec<_> = told.iter().flatten().map(|text| &**text).collect();
        assert_eq!(told, ["in-flight", "dead", "2", "timed-out"]);
    }

    #[test]
    fn a_disclosure_names_both_ends_the_person_and_the_agreement() {
        let (record, terms) = (record(State::InFlight), terms());
        let change = recorder().disclosure(step(&record, State::Delivered), &terms, "https://trust.example/FHIR");
        let said = read(&change.event);
        assert!(said.is(kind::STATE_TRANSITION));
        assert_eq!(said.party(Part::Source), Some("DEMOP".parse().expect("an ODS code")));
        assert_eq!(said.party(Part::Destination), Some(record.recipient.clone()));
        assert_eq!(said.subject(), terms.subject.as_ref().map(KeyedHash::as_str));
        assert_eq!((said.agreement(), said.purpose()), (Some("demo-trust-crisis"), Some("ETREAT")));
        assert_eq!(said.detail(detail::WITHHELD), Some("12"));
    }

    #[test]
    fn a_keyed_hash_depends_on_key_domain_and_parts() {
        let (one, other) = (key(), key());
        let hash = one.subject("ab", "c");
        assert_eq!(hash, one.subject("ab", "c"));
        assert_eq!(hash.as_str().len(), 64);
        for different in [one.subject("a", "bc"), one.subject("ab", "d"), other.subject("ab", "c")] {
            assert_ne!(hash, different);
        }
    }
}
