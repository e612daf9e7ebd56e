//! AuditEvent: the part of R4's resource that Weir writes, in the shape of IHE BALP, and what it reads back.

use std::borrow::Cow;

use uuid::Uuid;

use super::bars::ODS_ORGANISATION;
use super::{Document, Instant, Limits, Node, Writer, instant_text};
use crate::identity::{MessageId, PartyId};

const URI: &str = "urn:ietf:rfc:3986";
const URN_UUID: &str = "urn:uuid:";
const KEYED_HASH: &str = "https://weir.example/Id/keyed-hash";
const AGREEMENT: &str = "https://weir.example/Id/agreement";
const OPERATOR: &str = "https://weir.example/Id/operator";
const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const WEIR: &str = "https://weir.example/CodeSystem/audit-event";

/// A code in its system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coding<'a> {
    /// The system's URL.
    pub system: &'a str,
    /// The code.
    pub code: &'a str,
}

impl<'a> Coding<'a> {
    /// A code of DICOM's audit vocabulary.
    pub const fn dicom(code: &'a str) -> Coding<'a> {
        Coding { system: DCM, code }
    }

    /// A kind of event that Weir defines.
    pub const fn weir(code: &'a str) -> Coding<'a> {
        Coding { system: WEIR, code }
    }

    /// A step in a record's life (ISO 21089).
    pub const fn lifecycle(code: &'a str) -> Coding<'a> {
        Coding { system: "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", code }
    }

    /// A RESTful event.
    pub const fn rest() -> Coding<'a> {
        Coding { system: "http://terminology.hl7.org/CodeSystem/audit-event-type", code: "rest" }
    }

    /// A RESTful interaction: `read`, `search-type`.
    pub const fn interaction(code: &'a str) -> Coding<'a> {
        Coding { system: "http://hl7.org/fhir/restful-interaction", code }
    }

    /// A purpose of use: `TREAT`.
    pub const fn purpose(code: &'a str) -> Coding<'a> {
        Coding { system: "http://terminology.hl7.org/CodeSystem/v3-ActReason", code }
    }
}

/// What was done to the entities (`http://hl7.org/fhir/audit-event-action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the codes are defined by FHIR")]
pub enum Action {
    Create,
    Read,
    Update,
    Execute,
}

/// How it went (`http://terminology.hl7.org/CodeSystem/audit-event-outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `0`
    Success,
    /// `4`: it did not happen; it may be tried again.
    MinorFailure,
    /// `8`: it did not happen and will not without a person.
    SeriousFailure,
}

/// Someone or something that took part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// An organisation.
    Party(&'a PartyId),
    /// A member of staff, by a local id that is no name.
    Operator(&'a str),
}

/// In which part (DICOM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Where the data came from: 110153.
    Source,
    /// Where it went: 110152.
    Destination,
    /// A program at work: 110150.
    Application,
}

impl Part {
    fn code(self) -> &'static str {
        match self {
            Part::Source => "110153",
            Part::Destination => "110152",
            Part::Application => "110150",
        }
    }
}

/// One who took part.
#[derive(Clone, Copy, Debug)]
pub struct Agent<'a> {
    /// As what.
    pub part: Part,
    /// Who.
    pub who: Who<'a>,
    /// Whether it was their wish.
    pub requestor: bool,
    /// Where on the network: a URI without query, or a host.
    pub address: Option<&'a str>,
}

/// What it happened to.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// A patient, by keyed hash; `None` when not one patient is meant or known.
    Patient(Option<&'a str>),
    /// A message.
    Message(MessageId),
    /// A sharing agreement.
    Agreement(&'a str),
    /// The gateway's configuration.
    Configuration,
}

/// One thing it happened to, with what is worth saying of it: names and values, never personal data.
#[derive(Clone, Debug)]
pub struct Entity<'a> {
    /// Which.
    pub what: What<'a>,
    /// Name and value of each detail.
    pub details: Vec<(&'static str, Cow<'a, str>)>,
}

/// One event.
#[derive(Clone, Debug)]
pub struct AuditEvent<'a> {
    /// Its own id.
    pub id: Uuid,
    /// Its type.
    pub kind: Coding<'a>,
    /// More precisely.
    pub subtypes: Vec<Coding<'a>>,
    /// What was done.
    pub action: Action,
    /// When.
    pub recorded: Instant,
    /// How it went.
    pub outcome: Outcome,
    /// What for.
    pub purpose: Option<Coding<'a>>,
    /// Who took part; at least one.
    pub agents: Vec<Agent<'a>>,
    /// The organisation whose gateway recorded it.
    pub observer: &'a PartyId,
    /// Which of its gateways.
    pub site: &'a str,
    /// What it happened to.
    pub entities: Vec<Entity<'a>>,
}

impl AuditEvent<'_> {
    /// As FHIR JSON, always the same bytes for the same event.
    pub fn to_json(&self) -> String {
        let mut out = Writer::with_capacity(1536);
        out.begin_object();
        out.field("resourceType", "AuditEvent");
        out.field("id", &self.id.to_string());
        coding(&mut out, "type", self.kind);
        array(&mut out, "subtype", &self.subtypes, |out, each| coding_object(out, *each));
        out.field("action", self.action_code());
        out.field("recorded", &instant_text(self.recorded));
        out.field("outcome", self.outcome_code());
        array(&mut out, "purposeOfEvent", self.purpose.as_slice(), |out, each| concept(out, *each));
        array(&mut out, "agent", &self.agents, write_agent);
        self.write_source(&mut out);
        array(&mut out, "entity", &self.entities, write_entity);
        out.end_object();
        out.finish()
    }

    fn action_code(&self) -> &'static str {
        match self.action {
            Action::Create => "C",
            Action::Read => "R",
            Action::Update => "U",
            Action::Execute => "E",
        }
    }

    fn outcome_code(&self) -> &'static str {
        match self.outcome {
            Outcome::Success => "0",
            Outcome::MinorFailure => "4",
            Outcome::SeriousFailure => "8",
        }
    }

    fn write_source(&self, out: &mut Writer) {
        out.key("source");
        out.begin_object();
        out.field("site", self.site);
        out.key("observer");
        write_who(out, Who::Party(self.observer));
        let server = Coding { system: "http://terminology.hl7.org/CodeSystem/security-source-type", code: "4" };
        array(out, "type", &[server], |out, each| coding_object(out, *each));
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

fn coding(out: &mut Writer, key: &str, coding: Coding<'_>) {
    out.key(key);
    coding_object(out, coding);
}

fn coding_object(out: &mut Writer, coding: Coding<'_>) {
    out.begin_object();
    out.field("system", coding.system);
    out.field("code", coding.code);
    out.end_object();
}

fn concept(out: &mut Writer, coding: Coding<'_>) {
    out.begin_object();
    array(out, "coding", &[coding], |out, each| coding_object(out, *each));
    out.end_object();
}

fn write_agent(out: &mut Writer, agent: &Agent<'_>) {
    out.begin_object();
    out.key("type");
    concept(out, Coding::dicom(agent.part.code()));
    out.key("who");
    write_who(out, agent.who);
    out.key("requestor");
    out.raw(if agent.requestor { "true" } else { "false" });
    if let Some(address) = agent.address {
        out.key("network");
        out.begin_object();
        out.field("address", address);
        out.field("type", if address.contains("://") { "5" } else { "1" });
        out.end_object();
    }
    out.end_object();
}

fn write_who(out: &mut Writer, who: Who<'_>) {
    match who {
        Who::Party(party) => reference(out, "Organization", ODS_ORGANISATION, party.as_str()),
        Who::Operator(id) => reference(out, "Practitioner", OPERATOR, id),
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

fn write_entity(out: &mut Writer, entity: &Entity<'_>) {
    out.begin_object();
    out.key("what");
    let (kind, role) = match entity.what {
        What::Patient(Some(hash)) => {
            reference(out, "Patient", KEYED_HASH, hash);
            ("1", "1")
        }
        What::Patient(None) => {
            named(out, Some("Patient"), "not identified");
            ("1", "1")
        }
        What::Message(id) => {
            reference(out, "Bundle", URI, &format!("{URN_UUID}{id}"));
            ("2", "4")
        }
        What::Agreement(id) => {
            reference(out, "Contract", AGREEMENT, id);
            ("2", "13")
        }
        What::Configuration => {
            named(out, None, "configuration");
            ("2", "5")
        }
    };
    coding(out, "type", Coding { system: ENTITY_TYPE, code: kind });
    coding(out, "role", Coding { system: OBJECT_ROLE, code: role });
    array(out, "detail", &entity.details, |out, (name, value)| {
        out.begin_object();
        out.field("type", name);
        out.field("valueString", value);
        out.end_object();
    });
    out.end_object();
}

/// An AuditEvent as it was recorded, to be asked what it says.
#[derive(Debug)]
pub struct RecordedEvent {
    document: Document,
}

impl RecordedEvent {
    /// Reads an event; `None` if the bytes are not an AuditEvent.
    pub fn read(bytes: &[u8]) -> Option<RecordedEvent> {
        let document = Document::parse(bytes, &Limits::default()).ok()?;
        (document.resource_type() == Some("AuditEvent")).then_some(RecordedEvent { document })
    }

    /// Whether it is of this kind of Weir's.
    pub fn is(&self, code: &str) -> bool {
        self.items("subtype").any(|each| text(each, "system") == Some(WEIR) && text(each, "code") == Some(code))
    }

    /// Its kind among Weir's.
    pub fn kind(&self) -> Option<&str> {
        let ours = self.items("subtype").filter(|each| text(*each, "system") == Some(WEIR));
        ours.filter_map(|each| text(each, "code")).last()
    }

    /// When it was recorded, as a FHIR instant.
    pub fn recorded(&self) -> Option<&str> {
        text(self.document.root(), "recorded")
    }

    /// The message it is about.
    pub fn message(&self) -> Option<MessageId> {
        self.identifier(URI)?.strip_prefix(URN_UUID)?.parse().ok()
    }

    /// The patient it is about, by keyed hash.
    pub fn subject(&self) -> Option<&str> {
        self.identifier(KEYED_HASH)
    }

    /// The agreement it names.
    pub fn agreement(&self) -> Option<&str> {
        self.identifier(AGREEMENT)
    }

    /// The purpose of use it names.
    pub fn purpose(&self) -> Option<&str> {
        self.items("purposeOfEvent").flat_map(|each| each.items_of("coding")).find_map(|each| text(each, "code"))
    }

    /// The organisation that took this part.
    pub fn party(&self, part: Part) -> Option<PartyId> {
        let takes = |agent: &Node<'_>| {
            let mut codings = agent.member("type").into_iter().flat_map(|kind| kind.items_of("coding"));
            codings.any(|each| text(each, "code") == Some(part.code()))
        };
        text(self.items("agent").find(takes)?.member("who")?.member("identifier")?, "value")?.parse().ok()
    }

    /// The member of staff, or system, that took part, by its local id.
    pub fn operator(&self) -> Option<&str> {
        let mut people = self.items("agent").filter_map(|agent| agent.member("who")?.member("identifier"));
        text(people.find(|each| text(*each, "system") == Some(OPERATOR))?, "value")
    }

    /// The value of the first detail with this name.
    pub fn detail(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut details = self.items("entity").flat_map(|each| each.items_of("detail"));
        details.find(|each| text(*each, "type") == Some(name))?.member("valueString")?.text()
    }

    fn identifier(&self, system: &str) -> Option<&str> {
        let mut identifiers = self.items("entity").filter_map(|each| each.member("what")?.member("identifier"));
        text(identifiers.find(|each| text(*each, "system") == Some(system))?, "value")
    }

    fn items(&self, name: &str) -> impl Iterator<Item = Node<'_>> {
        self.document.root().items_of(name)
    }
}

/// A string member as it stands in the document: none of those that Weir compares has an escape.
fn text<'a>(node: Node<'a>, name: &str) -> Option<&'a str> {
    match node.member(name)?.text()? {
        Cow::Borrowed(text) => Some(text),
        Cow::Owned(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_event_says_what_was_written_into_it() {
        let (provider, trust): (PartyId, PartyId) = ("DEMOP".parse().expect("ODS"), "RXT01".parse().expect("ODS"));
        let id: MessageId = "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID");
        let agent = |part, who, requestor, address| Agent { part, who: Who::Party(who), requestor, address };
        let event = AuditEvent {
            id: Uuid::nil(),
            kind: Coding::dicom("110106"),
            subtypes: vec![Coding::lifecycle("disclose"), Coding::weir("state-transition")],
            action: Action::Read,
            recorded: datetime!(2026-01-01 12:00 UTC),
            outcome: Outcome::Success,
            purpose: Some(Coding::purpose("TREAT")),
            agents: vec![
                agent(Part::Source, &provider, true, Some("gateway")),
                agent(Part::Destination, &trust, false, Some("https://trust.example/FHIR")),
            ],
            observer: &provider,
            site: "weir.example/DEMOP",
            entities: vec![
                Entity { what: What::Patient(Some("ab12")), details: vec![] },
                Entity { what: What::Message(id), details: vec![("to", "delivered".into()), ("odd", "\"".into())] },
                Entity { what: What::Agreement("demo-trust-crisis"), details: vec![("version", "3".into())] },
            ],
        };
        let json = event.to_json();
        assert!(json.starts_with(
            r#"{"resourceType":"AuditEvent","id":"00000000-0000-0000-0000-000000000000","type":{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110106"},"subtype":[{"#
        ));
        let read = RecordedEvent::read(json.as_bytes()).expect("it is an AuditEvent");
        assert!(read.is("state-transition") && !read.is("disclose"));
        assert_eq!((read.kind(), read.recorded()), (Some("state-transition"), Some("2026-01-01T12:00:00.000Z")));
        assert_eq!(
            (read.message(), read.subject(), read.agreement()),
            (Some(id), Some("ab12"), Some("demo-trust-crisis"))
        );
        assert_eq!((read.party(Part::Source), read.party(Part::Destination)), (Some(provider), Some(trust)));
        assert_eq!((read.party(Part::Application), read.purpose()), (None, Some("TREAT")));
        assert_eq!(read.detail("to").as_deref(), Some("delivered"));
        assert_eq!((read.detail("odd").as_deref(), read.detail("version").as_deref()), (Some("\""), Some("3")));
        assert_eq!(read.detail("from"), None);
    }

    #[test]
    fn what_is_no_audit_event_is_not_read() {
        for bytes in ["", "{", "[]", "{}", r#"{"resourceType":"Patient"}"#] {
            assert!(RecordedEvent::read(bytes.as_bytes()).is_none(), "{bytes}");
        }
    }
}
