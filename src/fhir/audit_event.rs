//! AuditEvent: the part of R4's resource that Weir writes, in the shape of IHE BALP, and what it reads back.
//!
//! An event is kept as a few hundred bytes: [postcard](https://postcard.jamesmunns.com/wire-format) of [`AuditEvent`] behind one byte of
//! `VERSION`. These are its canonical bytes. Its FHIR JSON is ten times as long and follows from them. Earlier versions kept that.

mod balp;
mod known;

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use balp::Profile;

use super::bars::ODS_ORGANISATION;
use super::{Document, Instant, Limits, Node, Writer, instant_text};
use crate::identity::{MessageId, PartyId};

/// The first byte of an event as it is kept. What follows is defined by the order of the fields and variants below, which
/// is never changed under the same number; a variant may come after the last.
const VERSION: u8 = 2;
/// The first byte of events that were kept before words were shortened ([`known`]); they are read as the others are.
const VERSION_BEFORE: u8 = 1;

const URI: &str = "urn:ietf:rfc:3986";
const URN_UUID: &str = "urn:uuid:";
const KEYED_HASH: &str = "https://weir.example/Id/keyed-hash";
const AGREEMENT: &str = "https://weir.example/Id/agreement";
const OPERATOR: &str = "https://weir.example/Id/operator";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const RESOURCE_TYPE: &str = "http://hl7.org/fhir/resource-types";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const ROLE_CLASS: &str = "http://terminology.hl7.org/CodeSystem/v3-RoleClass";
const SECURITY_ROLE: &str = "http://terminology.hl7.org/CodeSystem/extra-security-role-type";

/// A system of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum System {
    /// DICOM's audit vocabulary.
    Dicom,
    /// The kinds of event that Weir defines.
    Weir,
    /// Steps in a record's life (ISO 21089).
    Lifecycle,
    /// Types of event of R4.
    EventType,
    /// RESTful interactions.
    Interaction,
    /// Purposes of use.
    ActReason,
    /// Decisions on access, as IHE BALP tells them apart.
    Balp,
}

impl System {
    const ALL: [System; 7] = [
        System::Dicom,
        System::Weir,
        System::Lifecycle,
        System::EventType,
        System::Interaction,
        System::ActReason,
        System::Balp,
    ];

    /// Its URL.
    pub fn url(self) -> &'static str {
        match self {
            System::Dicom => "http://dicom.nema.org/resources/ontology/DCM",
            System::Weir => "https://weir.example/CodeSystem/audit-event",
            System::Lifecycle => "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle",
            System::EventType => "http://terminology.hl7.org/CodeSystem/audit-event-type",
            System::Interaction => "http://hl7.org/fhir/restful-interaction",
            System::ActReason => "http://terminology.hl7.org/CodeSystem/v3-ActReason",
            System::Balp => "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType",
        }
    }
}

/// A code in its system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coding<'a> {
    /// The system.
    pub system: System,
    /// The code.
    #[serde(borrow, with = "known")]
    pub code: Cow<'a, str>,
}

impl<'a> Coding<'a> {
    const fn new(system: System, code: &'a str) -> Coding<'a> {
        Coding { system, code: Cow::Borrowed(code) }
    }

    /// A code of DICOM's audit vocabulary.
    pub const fn dicom(code: &'a str) -> Coding<'a> {
        Coding::new(System::Dicom, code)
    }

    /// A kind of event that Weir defines.
    pub const fn weir(code: &'a str) -> Coding<'a> {
        Coding::new(System::Weir, code)
    }

    /// A step in a record's life (ISO 21089).
    pub const fn lifecycle(code: &'a str) -> Coding<'a> {
        Coding::new(System::Lifecycle, code)
    }

    /// A RESTful event.
    pub const fn rest() -> Coding<'a> {
        Coding::new(System::EventType, "rest")
    }

    /// A RESTful interaction: `read`, `search-type`.
    pub const fn interaction(code: &'a str) -> Coding<'a> {
        Coding::new(System::Interaction, code)
    }

    /// A decision that rests on consent (IHE BALP).
    pub const fn authz_consent() -> Coding<'a> {
        Coding::new(System::Balp, balp::AUTHZ_CONSENT)
    }

    /// A purpose of use: `TREAT`.
    pub const fn purpose(code: &'a str) -> Coding<'a> {
        Coding::new(System::ActReason, code)
    }
}

/// What was done to the entities (`http://hl7.org/fhir/audit-event-action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the codes are defined by FHIR")]
pub enum Action {
    Create,
    Read,
    Update,
    Execute,
    Delete,
}

/// How it went (`http://terminology.hl7.org/CodeSystem/audit-event-outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// `0`
    Success,
    /// `4`: it did not happen; it may be tried again.
    MinorFailure,
    /// `8`: it did not happen and will not without a person.
    SeriousFailure,
}

/// Someone or something that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who<'a> {
    /// An organisation, by its ODS code.
    Party(#[serde(borrow)] Cow<'a, str>),
    /// A member of staff, by a local id that is no name.
    Operator(#[serde(borrow)] Cow<'a, str>),
}

impl<'a> Who<'a> {
    /// An organisation.
    pub fn party(party: &'a PartyId) -> Who<'a> {
        Who::Party(Cow::Borrowed(party.as_str()))
    }

    /// A member of staff, by a local id that is no name.
    pub fn operator(id: &'a str) -> Who<'a> {
        Who::Operator(Cow::Borrowed(id))
    }
}

/// In which part (DICOM; the last three by IHE BALP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Where the data came from: 110153.
    Source,
    /// Where it went: 110152.
    Destination,
    /// A program at work: 110150.
    Application,
    /// Who is to have the data that are decided on: IRCP.
    User,
    /// For which organisation: PROV.
    UserOrganisation,
    /// Who decides: authserver.
    Authoriser,
}

impl Part {
    const ALL: [Part; 6] =
        [Part::Source, Part::Destination, Part::Application, Part::User, Part::UserOrganisation, Part::Authoriser];

    fn system(self) -> &'static str {
        match self {
            Part::Source | Part::Destination | Part::Application => System::Dicom.url(),
            Part::User => PARTICIPATION,
            Part::UserOrganisation => ROLE_CLASS,
            Part::Authoriser => SECURITY_ROLE,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Part::Source => "110153",
            Part::Destination => "110152",
            Part::Application => "110150",
            Part::User => "IRCP",
            Part::UserOrganisation => "PROV",
            Part::Authoriser => "authserver",
        }
    }
}

/// One who took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent<'a> {
    /// As what.
    pub part: Part,
    /// Who.
    #[serde(borrow)]
    pub who: Who<'a>,
    /// Whether it was their wish.
    pub requestor: bool,
    /// Where on the network: a URI without query, or a host.
    pub address: Option<Cow<'a, str>>,
}

/// What it happened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What<'a> {
    /// A patient, by keyed hash; `None` when not one patient is meant or known.
    Patient(#[serde(borrow, with = "short::option")] Option<Cow<'a, str>>),
    /// A message.
    Message(#[serde(with = "message")] MessageId),
    /// A sharing agreement.
    Agreement(#[serde(borrow)] Cow<'a, str>),
    /// The gateway's configuration; in an access what the gateway keeps, when it was not one thing.
    Configuration,
    /// A search, as it was understood: `AuditEvent?outcome=4`. Nobody's name or number stands in it.
    Query(#[serde(borrow)] Cow<'a, str>),
    /// A resource, by its type and id.
    Resource(#[serde(borrow)] Cow<'a, str>, Uuid),
}

/// One thing it happened to, with what is worth saying of it: names and values, never personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity<'a> {
    /// Which.
    #[serde(borrow)]
    pub what: What<'a>,
    /// Name and value of each detail.
    #[serde(borrow, with = "short::details")]
    pub details: Vec<Detail<'a>>,
}

/// Name and value.
pub type Detail<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A detail of an [`Entity`].
pub fn detail<'a>(name: &'a str, value: impl Into<Cow<'a, str>>) -> Detail<'a> {
    (Cow::Borrowed(name), value.into())
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent<'a> {
    /// Its own id.
    pub id: Uuid,
    /// Its type.
    #[serde(borrow)]
    pub kind: Coding<'a>,
    /// More precisely.
    #[serde(borrow)]
    pub subtypes: Vec<Coding<'a>>,
    /// What was done.
    pub action: Action,
    /// When, to the millisecond.
    #[serde(with = "millis")]
    pub recorded: Instant,
    /// How it went.
    pub outcome: Outcome,
    /// What for.
    #[serde(borrow)]
    pub purpose: Option<Coding<'a>>,
    /// Who took part; at least one.
    #[serde(borrow)]
    pub agents: Vec<Agent<'a>>,
    /// The organisation whose gateway recorded it.
    #[serde(borrow)]
    pub observer: Cow<'a, str>,
    /// Which of its gateways.
    #[serde(borrow)]
    pub site: Cow<'a, str>,
    /// What it happened to.
    #[serde(borrow)]
    pub entities: Vec<Entity<'a>>,
}

impl AuditEvent<'_> {
    /// As it is kept, always the same bytes for the same event.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("it has only numbers, strings and lists")
    }

    /// As FHIR JSON, always the same bytes for the same event.
    pub fn to_json(&self) -> String {
        let mut out = Writer::with_capacity(1536);
        out.begin_object();
        out.field("resourceType", "AuditEvent");
        out.field("id", &self.id.to_string());
        if let Some(profile) = Profile::of(self) {
            out.object("meta", |out| array(out, "profile", &[profile.url()], |out, url| out.string(url)));
        }
        coding(&mut out, "type", self.kind.system.url(), &self.kind.code);
        array(&mut out, "subtype", &self.subtypes, |out, each| coding_object(out, each.system.url(), &each.code));
        out.field("action", self.action_code());
        out.field("recorded", &instant_text(self.recorded));
        out.field("outcome", self.outcome_code());
        if let Some(reason) = self.detail("reason").filter(|_| self.outcome != Outcome::Success) {
            out.field("outcomeDesc", reason);
        }
        array(&mut out, "purposeOfEvent", self.purpose.as_slice(), |out, each| concept(out, each));
        array(&mut out, "agent", &self.agents, write_agent);
        self.write_source(&mut out);
        array(&mut out, "entity", &self.entities, |out, entity| self.write_entity(out, entity));
        out.end_object();
        out.finish()
    }

    fn action_code(&self) -> &'static str {
        match self.action {
            Action::Create => "C",
            Action::Read => "R",
            Action::Update => "U",
            Action::Execute => "E",
            Action::Delete => "D",
        }
    }

    fn outcome_code(&self) -> &'static str {
        match self.outcome {
            Outcome::Success => "0",
            Outcome::MinorFailure => "4",
            Outcome::SeriousFailure => "8",
        }
    }

    /// The value of the first detail with this name.
    fn detail(&self, name: &str) -> Option<&str> {
        let mut details = self.entities.iter().flat_map(|each| &each.details);
        details.find(|(own, _)| own == name).map(|(_, value)| &**value)
    }

    fn write_source(&self, out: &mut Writer) {
        out.key("source");
        out.begin_object();
        out.field("site", &self.site);
        out.key("observer");
        reference(out, "Organization", ODS_ORGANISATION, &self.observer);
        array(out, "type", &["4"], |out, code| coding_object(out, SOURCE_TYPE, code));
        out.end_object();
    }
}

/// A key with an array, unless it would be empty, which FHIR forbids.
fn array<T>(out: &mut Writer, key: &str, items: &[T], write: impl Fn(&mut Writer, &T)) {
    if items.is_empty() {
        return;
    }
    out.key(key);
    out.begin_array();
    for item in items {
        write(out, item);
    }
    out.end_array();
}

fn coding(out: &mut Writer, key: &str, system: &str, code: &str) {
    out.key(key);
    coding_object(out, system, code);
}

fn coding_object(out: &mut Writer, system: &str, code: &str) {
    out.begin_object();
    out.field("system", system);
    out.field("code", code);
    out.end_object();
}

fn concept(out: &mut Writer, coding: &Coding<'_>) {
    out.begin_object();
    array(out, "coding", &[coding], |out, each| coding_object(out, each.system.url(), &each.code));
    out.end_object();
}

fn write_agent(out: &mut Writer, agent: &Agent<'_>) {
    out.begin_object();
    out.object("type", |out| {
        array(out, "coding", &[agent.part], |out, part| coding_object(out, part.system(), part.code()));
    });
    out.key("who");
    match &agent.who {
        Who::Party(code) => reference(out, "Organization", ODS_ORGANISATION, code),
        Who::Operator(id) => reference(out, "Practitioner", OPERATOR, id),
    }
    out.key("requestor");
    out.raw(if agent.requestor { "true" } else { "false" });
    if let Some(address) = &agent.address {
        out.key("network");
        out.begin_object();
        out.field("address", address);
        out.field("type", network_type(address));
        out.end_object();
    }
    out.end_object();
}

/// A URI, an IP address or the name of a machine (`http://hl7.org/fhir/network-type`).
fn network_type(address: &str) -> &'static str {
    match address.contains("://") {
        true => "5",
        false if address.parse::<IpAddr>().is_ok() => "2",
        false => "1",
    }
}

/// A logical reference: by type and identifier.
fn reference(out: &mut Writer, resource_type: &str, system: &str, value: &str) {
    out.begin_object();
    out.field("type", resource_type);
    out.key("identifier");
    out.begin_object();
    out.field("system", system);
    out.field("value", value);
    out.end_object();
    out.end_object();
}

/// A reference to something that only has a name here.
fn named(out: &mut Writer, resource_type: Option<&str>, display: &str) {
    out.begin_object();
    if let Some(resource_type) = resource_type {
        out.field("type", resource_type);
    }
    out.field("display", display);
    out.end_object();
}

/// Type and role of an entity.
#[derive(Clone, Copy)]
struct Class {
    kind: (&'static str, &'static str),
    role: Option<&'static str>,
}

const PERSON: Class = Class { kind: (ENTITY_TYPE, "1"), role: Some("1") };
const DOMAIN_RESOURCE: Class = object("4");
const CONSENT: Class = Class { kind: (RESOURCE_TYPE, "Consent"), role: None };
const OTHER: Class = Class { kind: (ENTITY_TYPE, "4"), role: None };

const fn object(role: &'static str) -> Class {
    Class { kind: (ENTITY_TYPE, "2"), role: Some(role) }
}

impl AuditEvent<'_> {
    fn write_entity(&self, out: &mut Writer, entity: &Entity<'_>) {
        out.begin_object();
        if !matches!(entity.what, What::Query(_)) {
            out.key("what");
            self.write_what(out, &entity.what);
        }
        let Class { kind: (system, code), role } = self.class(&entity.what);
        coding(out, "type", system, code);
        if let Some(role) = role {
            coding(out, "role", OBJECT_ROLE, role);
        }
        if let What::Query(query) = &entity.what {
            out.field("description", query);
            out.field("query", &BASE64.encode(query.as_bytes()));
        }
        array(out, "detail", &entity.details, |out, (name, value)| {
            out.begin_object();
            out.field("type", name);
            out.field("valueString", value);
            out.end_object();
        });
        out.end_object();
    }

    fn write_what(&self, out: &mut Writer, what: &What<'_>) {
        let by_uuid = |out: &mut Writer, kind, id: &Uuid| reference(out, kind, URI, &format!("{URN_UUID}{id}"));
        match what {
            What::Patient(Some(hash)) => reference(out, "Patient", KEYED_HASH, hash),
            What::Patient(None) => named(out, Some("Patient"), "not identified"),
            What::Message(id) => by_uuid(out, "Bundle", &id.uuid()),
            What::Resource(kind, id) => by_uuid(out, kind, id),
            What::Agreement(id) => reference(out, "Contract", AGREEMENT, id),
            What::Configuration if self.is_access() => named(out, None, "what the gateway keeps"),
            What::Configuration | What::Query(_) => named(out, None, "configuration"),
        }
    }

    /// As what an entity takes part. In a decision the Bundle, which says what the person consented to, and the agreement are the
    /// consent that it rests on.
    fn class(&self, what: &What<'_>) -> Class {
        let profile = Profile::of(self);
        match what {
            What::Patient(_) => PERSON,
            What::Message(_) | What::Agreement(_) if profile == Some(Profile::AuthZconsent) => CONSENT,
            What::Configuration if matches!(profile, Some(Profile::Query | Profile::PatientQuery)) => OTHER,
            What::Message(_) | What::Resource(..) => DOMAIN_RESOURCE,
            What::Configuration if self.is_access() => DOMAIN_RESOURCE,
            What::Agreement(_) => object("13"),
            What::Configuration => object("5"),
            What::Query(_) => object("24"),
        }
    }

    fn is_access(&self) -> bool {
        self.kind == Coding::rest()
    }
}

/// Milliseconds since 1970.
mod millis {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};

    use super::Instant;

    pub(super) fn serialize<S: Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(millis).expect("the calendar ends in the year 9999").serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        let nanos = i128::from(i64::deserialize(deserializer)?) * 1_000_000;
        Instant::from_unix_timestamp_nanos(nanos).map_err(|_| de::Error::custom("an instant outside the calendar"))
    }
}

/// The 16 bytes of a message's id.
mod message {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{MessageId, Uuid};

    pub(super) fn serialize<S: Serializer>(id: &MessageId, serializer: S) -> Result<S::Ok, S::Error> {
        id.uuid().as_bytes().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MessageId, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(|bytes| Uuid::from_bytes(bytes).into())
    }
}

/// Text of which digests, which most of it is, take half their digits.
mod short {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::known;
    use crate::identity::digest::{from_hex, hex};

    #[derive(Serialize, Deserialize)]
    enum Short<'a> {
        Text(#[serde(borrow)] Cow<'a, str>),
        Digest([u8; 32]),
    }

    fn short<'a>(text: &'a str) -> Short<'a> {
        let is_digest = text.len() == 64 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        let digest = is_digest.then(|| from_hex(text)).flatten();
        digest.map_or_else(|| Short::Text(known::short(text)), Short::Digest)
    }

    fn long(short: Short<'_>) -> Cow<'_, str> {
        match short {
            Short::Text(text) => known::long(text),
            Short::Digest(bytes) => Cow::Owned(hex(&bytes)),
        }
    }

    pub(super) mod option {
        use super::{Cow, Deserialize as _, Deserializer, Serialize as _, Serializer, Short, long, short};

        pub(in super::super) fn serialize<S: Serializer>(
            text: &Option<Cow<'_, str>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            text.as_deref().map(short).serialize(serializer)
        }

        pub(in super::super) fn deserialize<'de: 'a, 'a, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Cow<'a, str>>, D::Error> {
            Ok(Option::<Short<'a>>::deserialize(deserializer)?.map(long))
        }
    }

    pub(super) mod details {
        use super::super::Detail;
        use super::{Cow, Deserialize as _, Deserializer, Serializer, Short, known, long, short};

        pub(in super::super) fn serialize<S: Serializer>(
            details: &[Detail<'_>],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(details.iter().map(|(name, value)| (known::short(name), short(value))))
        }

        pub(in super::super) fn deserialize<'de: 'a, 'a, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<Detail<'a>>, D::Error> {
            let found = Vec::<(&'a str, Short<'a>)>::deserialize(deserializer)?;
            Ok(found.into_iter().map(|(name, value)| (known::long(Cow::Borrowed(name)), long(value))).collect())
        }
    }
}

/// An AuditEvent as it was recorded, to be asked what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent<'a>(AuditEvent<'a>);

impl<'a> RecordedEvent<'a> {
    /// Reads an event; `None` if the bytes are none.
    pub fn read(bytes: &'a [u8]) -> Option<RecordedEvent<'a>> {
        if let Some((&(VERSION | VERSION_BEFORE), kept)) = bytes.split_first() {
            return postcard::from_bytes(kept).ok().map(RecordedEvent);
        }
        from_json(&Document::parse(bytes, &Limits::default()).ok()?).map(RecordedEvent)
    }

    /// As FHIR JSON.
    pub fn to_json(&self) -> String {
        self.0.to_json()
    }

    /// What it says.
    pub fn event(&self) -> &AuditEvent<'a> {
        &self.0
    }

    /// The same, apart from the bytes that it was read from.
    pub fn into_owned(self) -> RecordedEvent<'static> {
        let AuditEvent { id, kind, subtypes, action, recorded, outcome, purpose, agents, observer, site, entities } =
            self.0;
        RecordedEvent(AuditEvent {
            id,
            kind: kind.into_owned(),
            subtypes: subtypes.into_iter().map(Coding::into_owned).collect(),
            action,
            recorded,
            outcome,
            purpose: purpose.map(Coding::into_owned),
            agents: agents.into_iter().map(Agent::into_owned).collect(),
            observer: owned(observer),
            site: owned(site),
            entities: entities.into_iter().map(Entity::into_owned).collect(),
        })
    }

    /// When it was recorded.
    pub fn at(&self) -> Instant {
        self.0.recorded
    }

    /// Whether it is of this kind of Weir's.
    pub fn is(&self, code: &str) -> bool {
        self.kinds().any(|each| each == code)
    }

    /// Its kind among Weir's.
    pub fn kind(&self) -> Option<&str> {
        self.kinds().last()
    }

    fn kinds(&self) -> impl Iterator<Item = &str> {
        let is_kind = |each: &&Coding<'_>| matches!(each.system, System::Weir | System::Balp);
        self.0.subtypes.iter().filter(is_kind).map(|each| &*each.code)
    }

    /// Whether it says that something was done, and not that it was refused or failed.
    pub fn is_success(&self) -> bool {
        self.0.outcome == Outcome::Success
    }

    /// When it was recorded, as a FHIR instant.
    pub fn recorded(&self) -> String {
        instant_text(self.0.recorded)
    }

    /// The message it is about.
    pub fn message(&self) -> Option<MessageId> {
        self.0.entities.iter().find_map(|each| if let What::Message(id) = each.what { Some(id) } else { None })
    }

    /// The resource of the log that it is about, by its type and id.
    pub fn resource(&self) -> Option<(&str, Uuid)> {
        let mut entities = self.0.entities.iter();
        entities.find_map(|each| if let What::Resource(of, id) = &each.what { Some((&**of, *id)) } else { None })
    }

    /// The patient it is about, by keyed hash.
    pub fn subject(&self) -> Option<&str> {
        self.0
            .entities
            .iter()
            .find_map(|each| if let What::Patient(hash) = &each.what { hash.as_deref() } else { None })
    }

    /// The agreement it names.
    pub fn agreement(&self) -> Option<&str> {
        self.0.entities.iter().find_map(|each| if let What::Agreement(id) = &each.what { Some(&**id) } else { None })
    }

    /// The purpose of use it names.
    pub fn purpose(&self) -> Option<&str> {
        self.0.purpose.as_ref().map(|purpose| &*purpose.code)
    }

    /// The organisation that took this part first.
    pub fn party(&self, part: Part) -> Option<PartyId> {
        match &self.0.agents.iter().find(|agent| agent.part == part)?.who {
            Who::Party(code) => code.parse().ok(),
            Who::Operator(_) => None,
        }
    }

    /// The member of staff, or system, that took part, by its local id.
    pub fn operator(&self) -> Option<&str> {
        self.0.agents.iter().find_map(|agent| if let Who::Operator(id) = &agent.who { Some(&**id) } else { None })
    }

    /// The value of the first detail with this name.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.0.detail(name)
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

impl Coding<'_> {
    fn into_owned(self) -> Coding<'static> {
        Coding { system: self.system, code: owned(self.code) }
    }
}

impl Agent<'_> {
    fn into_owned(self) -> Agent<'static> {
        let who = match self.who {
            Who::Party(code) => Who::Party(owned(code)),
            Who::Operator(id) => Who::Operator(owned(id)),
        };
        Agent { part: self.part, who, requestor: self.requestor, address: self.address.map(owned) }
    }
}

impl Entity<'_> {
    fn into_owned(self) -> Entity<'static> {
        let what = match self.what {
            What::Patient(hash) => What::Patient(hash.map(owned)),
            What::Message(id) => What::Message(id),
            What::Agreement(id) => What::Agreement(owned(id)),
            What::Configuration => What::Configuration,
            What::Query(query) => What::Query(owned(query)),
            What::Resource(kind, id) => What::Resource(owned(kind), id),
        };
        Entity { what, details: self.details.into_iter().map(|(name, value)| (owned(name), owned(value))).collect() }
    }
}

/// What [`AuditEvent::to_json`] wrote.
fn from_json(document: &Document) -> Option<AuditEvent<'static>> {
    let root = document.root();
    if document.resource_type() != Some("AuditEvent") {
        return None;
    }
    let source = root.member("source")?;
    Some(AuditEvent {
        id: text(root, "id")?.parse().ok()?,
        kind: read_coding(root.member("type")?)?,
        subtypes: root.items_of("subtype").map(read_coding).collect::<Option<_>>()?,
        action: match &*text(root, "action")? {
            "C" => Action::Create,
            "R" => Action::Read,
            "U" => Action::Update,
            "D" => Action::Delete,
            _ => Action::Execute,
        },
        recorded: Instant::parse(&text(root, "recorded")?, &time::format_description::well_known::Rfc3339).ok()?,
        outcome: match &*text(root, "outcome")? {
            "0" => Outcome::Success,
            "4" => Outcome::MinorFailure,
            _ => Outcome::SeriousFailure,
        },
        purpose: root.items_of("purposeOfEvent").flat_map(|each| each.items_of("coding")).find_map(read_coding),
        agents: root.items_of("agent").map(read_agent).collect::<Option<_>>()?,
        observer: text(source.member("observer")?.member("identifier")?, "value")?.into(),
        site: text(source, "site")?.into(),
        entities: root.items_of("entity").map(read_entity).collect::<Option<_>>()?,
    })
}

fn read_coding(node: Node<'_>) -> Option<Coding<'static>> {
    let url = text(node, "system")?;
    let system = System::ALL.into_iter().find(|system| system.url() == url)?;
    Some(Coding { system, code: text(node, "code")?.into() })
}

fn read_agent(node: Node<'_>) -> Option<Agent<'static>> {
    let part = node.member("type")?.items_of("coding").find_map(|each| text(each, "code"))?;
    let identifier = node.member("who")?.member("identifier")?;
    let value = text(identifier, "value")?.into();
    let is_operator = text(identifier, "system").as_deref() == Some(OPERATOR);
    Some(Agent {
        part: Part::ALL.into_iter().find(|own| own.code() == part)?,
        who: if is_operator { Who::Operator(value) } else { Who::Party(value) },
        requestor: node.member("requestor")?.raw() == "true",
        address: node.member("network").and_then(|network| text(network, "address")).map(Cow::Owned),
    })
}

fn read_entity(node: Node<'_>) -> Option<Entity<'static>> {
    let what = match node.member("what") {
        Some(what) => read_what(what)?,
        None => What::Query(text(node, "description")?.into()),
    };
    let details = node.items_of("detail");
    let details = details.map(|each| Some((text(each, "type")?.into(), text(each, "valueString")?.into())));
    Some(Entity { what, details: details.collect::<Option<_>>()? })
}

fn read_what(what: Node<'_>) -> Option<What<'static>> {
    let identifier = what.member("identifier");
    let value = identifier.and_then(|identifier| text(identifier, "value"));
    let system = identifier.and_then(|identifier| text(identifier, "system"));
    let kind = text(what, "type");
    Some(match (system.as_deref(), value) {
        (Some(KEYED_HASH), hash) => What::Patient(hash.map(Cow::Owned)),
        (Some(URI), Some(urn)) => {
            let id: Uuid = urn.strip_prefix(URN_UUID)?.parse().ok()?;
            match kind {
                Some(kind) if kind != "Bundle" => What::Resource(kind.into(), id),
                _ => What::Message(id.into()),
            }
        }
        (Some(AGREEMENT), Some(id)) => What::Agreement(id.into()),
        _ if kind.as_deref() == Some("Patient") => What::Patient(None),
        _ => What::Configuration,
    })
}

fn text(node: Node<'_>, name: &str) -> Option<String> {
    node.member(name)?.text().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_event_says_what_was_written_into_it() {
        let party = |code: &str| code.parse::<PartyId>().expect("an ODS code");
        let id: MessageId = "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID");
        let agent = |part, who, requestor, address: Option<&'static str>| {
            let address = address.map(Cow::Borrowed);
            Agent { part, who: Who::Party(Cow::Borrowed(who)), requestor, address }
        };
        let event = AuditEvent {
            id: Uuid::nil(),
            kind: Coding::dicom("110106"),
            subtypes: vec![Coding::lifecycle("disclose"), Coding::weir("state-transition")],
            action: Action::Read,
            recorded: datetime!(2026-01-01 12:00 UTC),
            outcome: Outcome::Success,
            purpose: Some(Coding::purpose("TREAT")),
            agents: vec![
                agent(Part::Source, "DEMOP", true, Some("gateway")),
                agent(Part::Destination, "RXT01", false, Some("https://trust.example/FHIR")),
            ],
            observer: "DEMOP".into(),
            site: "weir.example/DEMOP".into(),
            entities: vec![
                Entity { what: What::Patient(Some("ab12".into())), details: vec![] },
                Entity { what: What::Message(id), details: vec![detail("to", "delivered"), detail("odd", "\"")] },
                Entity {
                    what: What::Agreement("demo-trust-crisis".into()),
                    details: vec![
                        detail("version", "3"),
                        detail("digest", "0a".repeat(32)),
                        detail("not", "0A".repeat(32)),
                    ],
                },
                Entity { what: What::Patient(None), details: vec![] },
                Entity { what: What::Configuration, details: vec![] },
            ],
        };
        let json = event.to_json();
        assert!(json.starts_with(
            r#"{"resourceType":"AuditEvent","id":"00000000-0000-0000-0000-000000000000","type":{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110106"},"subtype":[{"#
        ));
        let bytes = event.to_bytes();
        let (read, kept) = (RecordedEvent::read(json.as_bytes()), RecordedEvent::read(&bytes));
        assert_eq!((read.as_ref(), kept.as_ref()), (kept.as_ref(), Some(&RecordedEvent(event.clone()))));
        assert!(event.to_bytes().len() < 400 && event.to_bytes().len() < json.len() / 5, "{}", event.to_bytes().len());
        let read = read.expect("it is an AuditEvent");
        assert_eq!(read.to_json(), json);
        assert!(read.is("state-transition") && !read.is("disclose"));
        assert_eq!((read.kind(), &*read.recorded()), (Some("state-transition"), "2026-01-01T12:00:00.000Z"));
        assert_eq!(
            (read.message(), read.subject(), read.agreement()),
            (Some(id), Some("ab12"), Some("demo-trust-crisis"))
        );
        assert_eq!(
            (read.party(Part::Source), read.party(Part::Destination)),
            (Some(party("DEMOP")), Some(party("RXT01")))
        );
        assert_eq!((read.party(Part::Application), read.purpose()), (None, Some("TREAT")));
        assert_eq!(read.detail("to"), Some("delivered"));
        assert_eq!((read.detail("odd"), read.detail("version")), (Some("\""), Some("3")));
        assert_eq!(read.detail("from"), None);
    }

    #[test]
    fn what_is_no_audit_event_is_not_read() {
        for bytes in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"resourceType":"Patient"}"#,
            r#"{"resourceType":"AuditEvent"}"#,
            "\u{1}",
            "\u{1}abc",
        ] {
            assert!(RecordedEvent::read(bytes.as_bytes()).is_none(), "{bytes}");
        }
    }
}
