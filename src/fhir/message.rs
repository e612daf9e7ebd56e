//! Messages: a Bundle of type `message` with its MessageHeader first (FHIR R4, messaging; BaRS message shapes).

use super::bars::NHS_NUMBER;
use super::response::{of_type, tasks_of_the_request};
use super::{Document, Instant, Node, Writer, instant_text};

/// The system of event codes in BaRS messages.
pub const EVENTS: &str = "https://fhir.nhs.uk/CodeSystem/message-events-bars";
/// The system of reason codes in BaRS messages.
pub const REASONS: &str = "https://fhir.nhs.uk/CodeSystem/message-reason-bars";
/// The system that tells referrals from validations in BaRS messages; what stands beside it is the use case.
pub const KINDS: &str = "https://fhir.nhs.uk/CodeSystem/message-category-servicerequest";
/// Priorities, the most pressing first (FHIR R4, request-priority).
const PRESSING: [&str; 4] = ["stat", "asap", "urgent", "routine"];

/// What the name of a Task begins with.
pub const TASK: &str = "Task/";

/// `MessageHeader.response.code` (`http://hl7.org/fhir/response-code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseCode {
    /// `ok`: accepted and processed.
    Ok,
    /// `transient-error`: worth sending again.
    TransientError,
    /// `fatal-error`: not worth sending again as it is.
    FatalError,
}

impl ResponseCode {
    /// The FHIR code.
    pub fn code(self) -> &'static str {
        match self {
            ResponseCode::Ok => "ok",
            ResponseCode::TransientError => "transient-error",
            ResponseCode::FatalError => "fatal-error",
        }
    }

    fn parse(code: &str) -> Option<ResponseCode> {
        [ResponseCode::Ok, ResponseCode::TransientError, ResponseCode::FatalError]
            .into_iter()
            .find(|known| known.code() == code)
    }
}

/// Why a document is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAMessage {
    /// The root is another resource, or none.
    #[error("the document is not a Bundle")]
    NotABundle,
    /// The Bundle has another type.
    #[error("Bundle.type is not message")]
    BundleType,
    /// The Bundle has no id, or not one as text.
    #[error("Bundle.id is missing")]
    NoId,
    /// There is no first entry, or not with a MessageHeader.
    #[error("the first entry is not a MessageHeader")]
    NoHeader,
    /// The MessageHeader has no `eventCoding.code`.
    #[error("MessageHeader.eventCoding.code is missing")]
    NoEvent,
}

impl NotAMessage {
    /// The element that is meant, as FHIRPath.
    pub fn path(self) -> &'static str {
        match self {
            NotAMessage::NotABundle => "",
            NotAMessage::BundleType => "Bundle.type",
            NotAMessage::NoId => "Bundle.id",
            NotAMessage::NoHeader => "Bundle.entry[0].resource",
            NotAMessage::NoEvent => "Bundle.entry[0].resource.eventCoding.code",
        }
    }
}

/// A document that is a message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bundle: Node<'a>,
    header: Node<'a>,
}

/// The text of the element that `names` lead to.
fn text_at(node: Node<'_>, names: &[&str]) -> Option<String> {
    let end = names.iter().try_fold(node, |at, name| at.member(name))?;
    end.text().map(|text| text.into_owned())
}

impl<'a> Message<'a> {
    /// Finds the MessageHeader of a message, and checks that the Bundle has an id and the header an event.
    ///
    /// # Errors
    /// [`NotAMessage`], the first that applies.
    pub fn of(document: &'a Document) -> Result<Message<'a>, NotAMessage> {
        let bundle = document.root();
        if bundle.resource_type() != Some("Bundle") {
            return Err(NotAMessage::NotABundle);
        }
        if text_at(bundle, &["type"]).as_deref() != Some("message") {
            return Err(NotAMessage::BundleType);
        }
        let first = bundle.member("entry").filter(|entries| entries.is_array());
        let first = first.and_then(|entries| entries.children().next()).and_then(|entry| entry.member("resource"));
        let header =
            first.filter(|resource| resource.resource_type() == Some("MessageHeader")).ok_or(NotAMessage::NoHeader)?;
        let message = Message { bundle, header };
        text_at(bundle, &["id"]).ok_or(NotAMessage::NoId)?;
        text_at(header, &["eventCoding", "code"]).ok_or(NotAMessage::NoEvent)?;
        Ok(message)
    }

    /// `Bundle.id`.
    pub fn id(self) -> String {
        text_at(self.bundle, &["id"]).expect("Message::of found it")
    }

    /// `MessageHeader.id`; FHIR lets an answer name the message by it (R4 MessageHeader.response.identifier).
    pub fn header_id(self) -> Option<String> {
        text_at(self.header, &["id"])
    }

    /// What an answer may call it: `Bundle.id` (BaRS) or `MessageHeader.id` (FHIR R4).
    pub fn names(self) -> Vec<String> {
        std::iter::once(self.id()).chain(self.header_id()).collect()
    }

    /// What the Tasks of its request may be called: `Task/` and the id, as an update of one names it (FHIR R4, http, update).
    pub fn task_names(self) -> Vec<String> {
        let tasks = tasks_of_the_request(self.bundle).into_iter();
        tasks.filter_map(|task| task.text_of("id")).map(|id| format!("{TASK}{id}")).collect()
    }

    /// What an answer may call it, and an update of its Task.
    pub fn all_names(self) -> Vec<String> {
        [self.names(), self.task_names()].concat()
    }

    /// `Bundle.timestamp`.
    pub fn timestamp(self) -> Option<String> {
        text_at(self.bundle, &["timestamp"])
    }

    /// `MessageHeader.eventCoding.code`.
    pub fn event(self) -> String {
        text_at(self.header, &["eventCoding", "code"]).expect("Message::of found it")
    }

    /// What BaRS calls the use context: use case, category, event and reason, with `|` between. Use case and category are of the
    /// request's category; one that the message does not say, or not in a code, is left empty.
    pub fn use_context(self) -> String {
        let resources = self.bundle.member("entry").into_iter().flat_map(Node::items);
        let resources = resources.filter_map(|entry| entry.member("resource"));
        let request = resources.into_iter().find(|resource| resource.resource_type() == Some("ServiceRequest"));
        let categories = request.and_then(|request| request.member("category")).into_iter().flat_map(Node::items);
        let codings: Vec<Node<'_>> =
            categories.filter_map(|category| category.member("coding")).flat_map(Node::items).collect();
        let code = |is_kind: bool| {
            let mut codings = codings.iter();
            let coding = codings.find(|coding| (text_at(**coding, &["system"]).as_deref() == Some(KINDS)) == is_kind);
            coding.and_then(|coding| text_at(*coding, &["code"]))
        };
        let reasons = self.header.member("reason").and_then(|reason| reason.member("coding"));
        let reason = reasons.and_then(|codings| codings.items().next()).and_then(|coding| text_at(coding, &["code"]));
        let is_code = |text: &String| text.len() <= 100 && text.bytes().all(|it| it.is_ascii_graphic() && it != b'|');
        let parts = [code(false), code(true), Some(self.event()), reason];
        parts.map(|part| part.filter(is_code).unwrap_or_default()).join("|")
    }

    /// `MessageHeader.response.identifier`: the id of the message that this one answers.
    pub fn answers(self) -> Option<String> {
        text_at(self.header, &["response", "identifier"])
    }

    /// `MessageHeader.response.code`, if it is one of the three.
    pub fn response_code(self) -> Option<ResponseCode> {
        ResponseCode::parse(&text_at(self.header, &["response", "code"])?)
    }
}

/// The system and value of the NHS number of the first Patient in a Bundle that has one: the one in use, before one that is `old`
/// (FHIR R4, identifier-use).
pub fn nhs_number(bundle: &Document) -> Option<(&'static str, String)> {
    let value = of_type(bundle, "Patient").find_map(|patient| {
        let identifiers = patient.items_of("identifier");
        let numbers = identifiers.filter(|it| text_at(*it, &["system"]).as_deref() == Some(NHS_NUMBER));
        let valued = numbers.filter_map(|it| Some((text_at(it, &["use"]), text_at(it, &["value"])?)));
        valued.min_by_key(|(usage, _)| usage.as_deref() == Some("old")).map(|(_, value)| value)
    })?;
    Some((NHS_NUMBER, value))
}

/// The system and value of what identifies the person that a Bundle is about: the NHS number, else the first identifier
/// with both of a Patient.
pub fn subject(bundle: &Document) -> Option<(String, String)> {
    if let Some((system, value)) = nhs_number(bundle) {
        return Some((system.to_owned(), value));
    }
    let mut identifiers = of_type(bundle, "Patient").flat_map(|patient| patient.items_of("identifier"));
    identifiers.find_map(|identifier| Some((text_at(identifier, &["system"])?, text_at(identifier, &["value"])?)))
}

/// The priority of the most pressing request in a Bundle, a code of request-priority: `stat`. Of the Tasks, where there is no request.
pub fn priority(bundle: &Document) -> Option<String> {
    let has_request = of_type(bundle, "ServiceRequest").next().is_some();
    let asked = of_type(bundle, if has_request { "ServiceRequest" } else { "Task" });
    let rank = |priority: &String| PRESSING.iter().position(|each| each == priority).unwrap_or(PRESSING.len());
    asked.filter_map(|resource| text_at(resource, &["priority"])).min_by_key(rank)
}

/// What a receiver answers to a message.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// The id of the answering Bundle; the MessageHeader's and the Organization's are made from it.
    pub id: uuid::Uuid,
    /// When it was answered.
    pub timestamp: Instant,
    /// The id of the Bundle that is answered.
    pub answers: &'a str,
    /// How it went.
    pub code: ResponseCode,
    /// The event, as `servicerequest-response`.
    pub event: &'a str,
    /// The receiver's ODS code.
    pub receiver: &'a str,
    /// The ODS code of the sender, to whom the answer goes.
    pub sender: &'a str,
}

/// An answer with an OperationOutcome, given as FHIR JSON, that says why: see [`response_bundle`].
pub fn response_with_outcome(response: &Response<'_>, outcome: &str) -> String {
    bundle(response, Some(More::Outcome(outcome)))
}

/// An answer with the Task of this id, given as FHIR JSON, that says what the receiving team decided: see [`response_bundle`].
pub fn response_with_task(response: &Response<'_>, (id, task): (&str, &str)) -> String {
    bundle(response, Some(More::Task(id, task)))
}

/// An answer as FHIR JSON: a message Bundle with MessageHeader and the two Organizations it refers to.
pub fn response_bundle(response: &Response<'_>) -> String {
    bundle(response, None)
}

/// What an answer brings besides.
#[derive(Clone, Copy)]
enum More<'a> {
    Outcome(&'a str),
    Task(&'a str, &'a str),
}

fn bundle(response: &Response<'_>, more: Option<More<'_>>) -> String {
    let part = |role: &str| uuid::Uuid::new_v5(&response.id, role.as_bytes());
    let timestamp = instant_text(response.timestamp);
    let mut out = Writer::new();
    out.begin_object();
    out.field("resourceType", "Bundle");
    out.field("id", &response.id.to_string());
    out.key("meta");
    out.begin_object();
    out.field("versionId", "1");
    out.field("lastUpdated", &timestamp);
    out.end_object();
    out.field("type", "message");
    out.field("timestamp", &timestamp);
    out.key("entry");
    out.begin_array();
    entry(&mut out, "MessageHeader", part("header"), |out| {
        message_header(out, response, part("sender"), part("receiver"));
        out.object("response", |out| {
            out.field("identifier", response.answers);
            out.field("code", response.code.code());
            if let Some(More::Outcome(_)) = more {
                reference(out, "details", part("outcome"));
            }
        });
        if let Some(More::Task(id, _)) = more {
            out.list_of_one("focus", |out| out.field("reference", &format!("urn:uuid:{id}")));
        }
    });
    entry(&mut out, "Organization", part("receiver"), |out| organisation(out, response.receiver));
    entry(&mut out, "Organization", part("sender"), |out| organisation(out, response.sender));
    let more = more.map(|more| match more {
        More::Outcome(outcome) => (part("outcome").to_string(), outcome),
        More::Task(id, task) => (id.to_owned(), task),
    });
    if let Some((id, resource)) = more {
        out.begin_object();
        out.field("fullUrl", &format!("urn:uuid:{id}"));
        out.key("resource");
        out.raw(resource);
        out.end_object();
    }
    out.end_array();
    out.end_object();
    out.finish()
}

fn entry(out: &mut Writer, resource_type: &str, id: uuid::Uuid, body: impl FnOnce(&mut Writer)) {
    out.begin_object();
    out.field("fullUrl", &format!("urn:uuid:{id}"));
    out.key("resource");
    out.begin_object();
    out.field("resourceType", resource_type);
    out.field("id", &id.to_string());
    body(out);
    out.end_object();
    out.end_object();
}

fn message_header(out: &mut Writer, response: &Response<'_>, to: uuid::Uuid, from: uuid::Uuid) {
    coding(out, "eventCoding", EVENTS, response.event);
    out.key("destination");
    out.begin_array();
    out.begin_object();
    out.field("endpoint", &format!("urn:nhs-uk:addressing:ods:{}", response.sender));
    reference(out, "receiver", to);
    out.end_object();
    out.end_array();
    reference(out, "sender", from);
    out.key("source");
    out.begin_object();
    out.field("name", "Weir");
    out.field("endpoint", &format!("urn:nhs-uk:addressing:ods:{}", response.receiver));
    out.end_object();
    out.key("reason");
    out.begin_object();
    out.key("coding");
    out.begin_array();
    out.begin_object();
    out.field("system", REASONS);
    out.field("code", "new");
    out.end_object();
    out.end_array();
    out.end_object();
}

fn coding(out: &mut Writer, name: &str, system: &str, code: &str) {
    out.object(name, |out| {
        out.field("system", system);
        out.field("code", code);
    });
}

fn reference(out: &mut Writer, name: &str, to: uuid::Uuid) {
    out.object(name, |out| out.field("reference", &format!("urn:uuid:{to}")));
}

fn organisation(out: &mut Writer, ods: &str) {
    super::bars::identifier(out, super::bars::ODS_ORGANISATION, ods);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;
    use time::macros::datetime;

    fn parsed(json: &str) -> Document {
        Document::parse(json, &Limits::default()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn a_response_is_a_message_that_names_what_it_answers() {
        let response = Response {
            id: uuid::Uuid::nil(),
            timestamp: datetime!(2026-01-01 00:00 UTC),
            answers: "0f0e0d0c-0b0a-4908-8706-050403020100",
            code: ResponseCode::TransientError,
            event: "servicerequest-response",
            receiver: "DEMOT",
            sender: "DEMOP",
        };
        let document = parsed(&response_bundle(&response));
        let message = Message::of(&document).expect("a message");
        assert_eq!(message.id(), uuid::Uuid::nil().to_string());
        assert_eq!(message.event(), "servicerequest-response");
        assert_eq!(message.answers().as_deref(), Some(response.answers));
        assert_eq!(message.response_code(), Some(ResponseCode::TransientError));
        let references = document.nodes().filter_map(Node::text).filter(|text| text.starts_with("urn:uuid:"));
        assert_eq!(references.count(), 5);
    }

    fn bundle_of(resources: &str) -> Document {
        parsed(&format!(r#"{{"resourceType":"Bundle","type":"message","entry":[{resources}]}}"#))
    }

    #[test]
    fn the_number_of_a_person_is_the_one_in_use() {
        let number = |of: &str| format!(r#"{{"system":"{NHS_NUMBER}",{of}}}"#);
        let (old, own) = (number(r#""use":"old","value":"9990006008""#), number(r#""value":"9990005087""#));
        let empty = number(r#""use":"official""#);
        let of = |identifiers: &[&String]| {
            let list = identifiers.iter().map(|each| each.as_str()).collect::<Vec<_>>().join(",");
            let patient = format!(r#"{{"resource":{{"resourceType":"Patient","identifier":[{list}]}}}}"#);
            nhs_number(&bundle_of(&patient)).map(|(_, value)| value)
        };
        assert_eq!(of(&[&old, &own]).as_deref(), Some("9990005087"));
        assert_eq!(of(&[&empty, &own]).as_deref(), Some("9990005087"));
        assert_eq!(of(&[&old]).as_deref(), Some("9990006008"), "there is no other");
        assert_eq!(of(&[&empty]), None);
    }

    #[test]
    fn a_priority_is_that_of_the_most_pressing_request() {
        let of = |resources: &[(&str, &str)]| {
            let one = |(name, priority): &(&str, &str)| {
                format!(r#"{{"resource":{{"resourceType":"{name}","priority":"{priority}"}}}}"#)
            };
            priority(&bundle_of(&resources.iter().map(one).collect::<Vec<_>>().join(",")))
        };
        let none =
            r#"{"resource":{"resourceType":"ServiceRequest"}},{"resource":{"resourceType":"Task","priority":"stat"}}"#;
        assert_eq!(of(&[("Task", "routine"), ("ServiceRequest", "stat")]).as_deref(), Some("stat"));
        assert_eq!(of(&[("ServiceRequest", "routine"), ("ServiceRequest", "asap")]).as_deref(), Some("asap"));
        assert_eq!(of(&[("ServiceRequest", "unheard-of"), ("ServiceRequest", "routine")]).as_deref(), Some("routine"));
        assert_eq!(of(&[("Task", "routine"), ("Task", "urgent")]).as_deref(), Some("urgent"));
        assert_eq!(priority(&bundle_of(none)), None, "the request says none");
    }

    #[test]
    fn what_is_not_a_message_is_named() {
        let header = r#"{"resource":{"resourceType":"MessageHeader","eventCoding":{"code":"x"}}}"#;
        for (json, expected) in [
            ("[]".to_owned(), Some(NotAMessage::NotABundle)),
            (r#"{"resourceType":"Patient"}"#.to_owned(), Some(NotAMessage::NotABundle)),
            (r#"{"resourceType":"Bundle","type":"batch"}"#.to_owned(), Some(NotAMessage::BundleType)),
            (r#"{"resourceType":"Bundle","type":"message"}"#.to_owned(), Some(NotAMessage::NoHeader)),
            (r#"{"resourceType":"Bundle","type":"message","entry":[{}]}"#.to_owned(), Some(NotAMessage::NoHeader)),
            (format!(r#"{{"resourceType":"Bundle","type":"message","entry":{header}}}"#), Some(NotAMessage::NoHeader)),
            (format!(r#"{{"resourceType":"Bundle","type":"message","entry":[{header}]}}"#), Some(NotAMessage::NoId)),
            (
                r#"{"resourceType":"Bundle","id":"a","type":"message","entry":[{"resource":{"resourceType":"MessageHeader"}}]}"#
                    .to_owned(),
                Some(NotAMessage::NoEvent),
            ),
            (format!(r#"{{"resourceType":"Bundle","id":"a","type":"message","entry":[{header}]}}"#), None),
        ] {
            assert_eq!(Message::of(&parsed(&json)).err(), expected, "{json}");
        }
    }
}
