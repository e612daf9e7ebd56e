//! What a party to BaRS messages says it can do: CapabilityStatement and MessageDefinition (FHIR R4; BaRS API 1.4.0),
//! written for ourselves and read of others.

use super::bars::DOS_SERVICE;
use super::message::EVENTS;
use super::{Document, Instant, Node, Writer, instant_text};

/// The definition of the messages that are sent: referrals.
pub const REFERRAL_DEFINITION: &str =
    "https://fhir.nhs.uk/MessageDefinition/bars-message-servicerequest-request-referral";
/// The definition of the messages that answer them.
pub const RESPONSE_DEFINITION: &str =
    "https://fhir.nhs.uk/MessageDefinition/bars-message-servicerequest-response-referral";
/// The system of our use cases, which BaRS has none of: a use case has the name of its interface.
pub const USE_CASES: &str = "https://weir.example/fhir/CodeSystem/use-case";

/// The extension that says which key signs what a party sends (`profiles/`).
const SIGNING_KEY: &str = "https://weir.example/fhir/StructureDefinition/weir-signing-key";
const PROCESS_MESSAGE: &str = "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message";

/// What a party says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Capability<'a> {
    /// The name of its software.
    pub name: &'a str,
    /// The version of its software.
    pub version: &'a str,
    /// What it is, in a sentence.
    pub description: &'a str,
    /// Its FHIR base.
    pub base: &'a str,
    /// The definitions of the messages that it takes.
    pub receives: &'a [&'a str],
    /// The definitions of the messages that it sends.
    pub sends: &'a [&'a str],
    /// The public half of the key that signs what it sends, as it is published.
    pub signing_key: Option<&'a str>,
    /// Whether Tasks that it sent can be updated.
    pub updates_tasks: bool,
}

impl Capability<'_> {
    /// A CapabilityStatement as FHIR JSON.
    pub fn to_json(&self, date: Instant) -> String {
        let mut out = Writer::new();
        out.begin_object();
        out.field("resourceType", "CapabilityStatement");
        if let Some(key) = self.signing_key {
            out.list_of_one("extension", |out| {
                out.field("url", SIGNING_KEY);
                out.field("valueString", key);
            });
        }
        out.field("status", "active");
        out.field("date", &instant_text(date));
        out.field("kind", "instance");
        out.object("software", |out| {
            out.field("name", self.name);
            out.field("version", self.version);
        });
        out.object("implementation", |out| {
            out.field("description", self.description);
            out.field("url", self.base);
        });
        out.field("fhirVersion", "4.0.1");
        out.key("format");
        out.begin_array();
        out.string("application/fhir+json");
        out.end_array();
        out.list_of_one("rest", |out| self.rest(out));
        out.list_of_one("messaging", |out| self.messaging(out));
        out.end_object();
        out.finish()
    }

    fn rest(&self, out: &mut Writer) {
        out.field("mode", "server");
        out.key("resource");
        out.begin_array();
        out.begin_object();
        out.field("type", "MessageDefinition");
        out.list_of_one("interaction", |out| out.field("code", "search-type"));
        out.list_of_one("searchParam", |out| {
            out.field("name", "context");
            out.field("definition", "http://hl7.org/fhir/SearchParameter/conformance-context");
            out.field("type", "token");
        });
        out.end_object();
        if self.updates_tasks {
            out.begin_object();
            out.field("type", "Task");
            out.list_of_one("interaction", |out| {
                out.field("code", "update");
                out.field("documentation", "Whoever got a Task from us accepts, rejects or confirms it by its id");
            });
            out.end_object();
        }
        out.end_array();
        out.list_of_one("operation", |out| {
            out.field("name", "process-message");
            out.field("definition", PROCESS_MESSAGE);
        });
    }

    fn messaging(&self, out: &mut Writer) {
        out.list_of_one("endpoint", |out| {
            out.object("protocol", |out| {
                out.field("system", "http://terminology.hl7.org/CodeSystem/message-transport");
                out.field("code", "http");
            });
            out.field("address", self.base);
        });
        let supported =
            |mode: &'static str, of: &[&str]| of.iter().map(|url| (mode, (*url).to_owned())).collect::<Vec<_>>();
        out.key("supportedMessage");
        out.begin_array();
        for (mode, url) in supported("receiver", self.receives).into_iter().chain(supported("sender", self.sends)) {
            out.begin_object();
            out.field("mode", mode);
            out.field("definition", &url);
            out.end_object();
        }
        out.end_array();
    }
}

/// A message as its receiver defines it.
#[derive(Clone, Debug)]
pub struct Definition {
    url: &'static str,
    name: &'static str,
    event: &'static str,
    /// System and code of the service and the use cases that it is for.
    contexts: Vec<(&'static str, String)>,
    /// Resource types, and how many there are at least and at most.
    focus: &'static [(&'static str, u8, &'static str)],
}

impl Definition {
    /// Referrals of these use cases to the service `service`.
    pub fn referral(service: &str, use_cases: &[String]) -> Definition {
        Definition {
            url: REFERRAL_DEFINITION,
            name: "BARSMessageServiceRequestRequestReferral",
            event: "servicerequest-request",
            contexts: contexts(service, use_cases),
            focus: &[
                ("MessageHeader", 1, "1"),
                ("ServiceRequest", 1, "1"),
                ("Patient", 1, "1"),
                ("Encounter", 1, "1"),
                ("Organization", 2, "*"),
                ("Consent", 1, "*"),
                ("Task", 0, "*"),
                ("Observation", 0, "*"),
                ("RiskAssessment", 0, "*"),
                ("Flag", 0, "*"),
            ],
        }
    }

    /// Responses to referrals of these use cases, of the service `service`.
    pub fn response(service: &str, use_cases: &[String]) -> Definition {
        Definition {
            url: RESPONSE_DEFINITION,
            name: "BARSMessageServiceRequestResponseReferral",
            event: "servicerequest-response",
            contexts: contexts(service, use_cases),
            focus: &[
                ("MessageHeader", 1, "1"),
                ("Organization", 0, "*"),
                ("OperationOutcome", 0, "*"),
                ("Task", 0, "*"),
                ("ServiceRequest", 0, "1"),
            ],
        }
    }

    /// Whether it is for `context`: `system|code`, or a code of whatever system; any of several with commas between.
    pub fn is_for(&self, context: &str) -> bool {
        let is = |wanted: &str| {
            self.contexts.iter().any(|(system, code)| match wanted.split_once('|') {
                Some((of, wanted)) => of == *system && wanted == code,
                None => wanted == code,
            })
        };
        context.split(',').any(is)
    }

    fn id(&self) -> &'static str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    fn write(&self, out: &mut Writer, date: Instant) {
        out.field("resourceType", "MessageDefinition");
        out.field("id", self.id());
        out.field("url", self.url);
        out.field("name", self.name);
        out.field("status", "active");
        out.field("date", &instant_text(date));
        out.key("useContext");
        out.begin_array();
        for (system, code) in &self.contexts {
            let kind = if *system == USE_CASES { "workflow" } else { "venue" };
            out.begin_object();
            out.object("code", |out| {
                out.field("system", "http://terminology.hl7.org/CodeSystem/usage-context-type");
                out.field("code", kind);
            });
            out.object("valueCodeableConcept", |out| out.coding(system, code));
            out.end_object();
        }
        out.end_array();
        out.object("eventCoding", |out| {
            out.field("system", EVENTS);
            out.field("code", self.event);
        });
        out.key("focus");
        out.begin_array();
        for (code, least, most) in self.focus {
            out.begin_object();
            out.field("code", code);
            out.key("min");
            out.raw(&least.to_string());
            out.field("max", most);
            out.end_object();
        }
        out.end_array();
    }
}

fn contexts(service: &str, use_cases: &[String]) -> Vec<(&'static str, String)> {
    let service = (DOS_SERVICE, service.to_owned());
    std::iter::once(service).chain(use_cases.iter().map(|code| (USE_CASES, code.clone()))).collect()
}

/// A searchset of `definitions`, for which `query` asked at the FHIR base `base`.
pub fn definition_bundle(definitions: &[&Definition], (base, query): (&str, &str), date: Instant) -> String {
    let mut out = Writer::new();
    out.begin_object();
    out.field("resourceType", "Bundle");
    out.field("type", "searchset");
    out.field("timestamp", &instant_text(date));
    out.key("total");
    out.raw(&definitions.len().to_string());
    out.list_of_one("link", |out| {
        out.field("relation", "self");
        out.field("url", &format!("{base}/MessageDefinition?{query}"));
    });
    if !definitions.is_empty() {
        out.key("entry");
        out.begin_array();
        for definition in definitions {
            out.begin_object();
            out.field("fullUrl", &format!("{base}/MessageDefinition/{}", definition.id()));
            out.key("resource");
            out.begin_object();
            definition.write(&mut out, date);
            out.end_object();
            out.object("search", |out| out.field("mode", "match"));
            out.end_object();
        }
        out.end_array();
    }
    out.end_object();
    out.finish()
}

/// What a CapabilityStatement of somebody else says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// `fhirVersion`.
    pub fhir_version: Option<String>,
    /// Name and version of its software.
    pub software: Option<String>,
    /// Whether it takes `$process-message`.
    pub takes_messages: bool,
    /// The definitions of the messages that it takes.
    pub receives: Vec<String>,
}

/// What a MessageDefinition of somebody else says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defined {
    /// Its canonical URL.
    pub url: Option<String>,
    /// The code of its event.
    pub event: Option<String>,
    /// The resource types of which there must be one.
    pub requires: Vec<String>,
}

/// The most of each list, and the longest text, that are kept of what others say.
const MOST: usize = 64;
const LONGEST: usize = 200;

/// A text as others wrote it, if it is one line of a sensible length.
fn line(node: Node<'_>, name: &str) -> Option<String> {
    node.text_of(name)
        .filter(|text| text.len() <= LONGEST && !text.chars().any(char::is_control))
        .map(|text| text.into_owned())
}

/// Reads a CapabilityStatement; `None` when it is something else.
pub fn read_capability(document: &Document) -> Option<Stated> {
    let root = document.root();
    if root.resource_type() != Some("CapabilityStatement") {
        return None;
    }
    let software = root.member("software");
    let part = |name: &str| software.and_then(|software| line(software, name));
    let servers = || root.items_of("rest").filter(|rest| rest.text_of("mode").as_deref() == Some("server"));
    let takes = |operation: Node<'_>| {
        let is = |name: &str, end: &str| operation.text_of(name).is_some_and(|text| text.ends_with(end));
        is("name", "process-message") || is("definition", "process-message")
    };
    let supported = root.items_of("messaging").flat_map(|messaging| messaging.items_of("supportedMessage"));
    let received = supported.filter(|message| message.text_of("mode").as_deref() == Some("receiver"));
    Some(Stated {
        fhir_version: line(root, "fhirVersion"),
        software: part("name")
            .map(|name| [Some(name), part("version")].into_iter().flatten().collect::<Vec<_>>().join(" ")),
        takes_messages: servers().flat_map(|rest| rest.items_of("operation")).any(takes),
        receives: received.filter_map(|message| line(message, "definition")).take(MOST).collect(),
    })
}

/// Reads the MessageDefinitions of a Bundle, or the one at the root.
pub fn read_definitions(document: &Document) -> Vec<Defined> {
    let root = document.root();
    let entries = root.items_of("entry").filter_map(|entry| entry.member("resource"));
    let definitions = std::iter::once(root).chain(entries);
    definitions.filter(|each| each.resource_type() == Some("MessageDefinition")).take(MOST).map(defined).collect()
}

fn defined(definition: Node<'_>) -> Defined {
    let is_required = |focus: &Node<'_>| {
        focus
            .member("min")
            .and_then(|least| least.scalar())
            .is_some_and(|least| least.parse().is_ok_and(|least: u32| least > 0))
    };
    let required = definition.items_of("focus").filter(is_required);
    Defined {
        url: line(definition, "url"),
        event: definition.member("eventCoding").and_then(|event| line(event, "code")),
        requires: required.filter_map(|focus| line(focus, "code")).take(MOST).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;
    use time::macros::datetime;

    const NOW: Instant = datetime!(2026-01-01 00:00 UTC);

    fn parsed(json: impl Into<Vec<u8>>) -> Document {
        Document::parse(json, &Limits::default()).expect("JSON")
    }

    #[test]
    fn what_we_say_of_ourselves_is_what_others_read() {
        let said = Capability {
            name: "Weir",
            version: "0.1.0",
            description: "A receiver",
            base: "https://t.example/FHIR/R4",
            receives: &[REFERRAL_DEFINITION],
            sends: &[RESPONSE_DEFINITION],
            signing_key: Some("t.example+00000000+AA=="),
            updates_tasks: true,
        };
        let key = r#""extension":[{"url":"https://weir.example/fhir/StructureDefinition/weir-signing-key","valueString":"t.example+00000000+AA=="}]"#;
        assert!(said.to_json(NOW).contains(key));
        let read = read_capability(&parsed(said.to_json(NOW))).expect("it is one");
        let expected = Stated {
            fhir_version: Some("4.0.1".to_owned()),
            software: Some("Weir 0.1.0".to_owned()),
            takes_messages: true,
            receives: vec![REFERRAL_DEFINITION.to_owned()],
        };
        assert_eq!(read, expected);
        let referral = Definition::referral("2000099991", &[]);
        let bundle = parsed(definition_bundle(&[&referral], ("https://t.example", "context=1"), NOW));
        let [defined] = &read_definitions(&bundle)[..] else { panic!("one") };
        assert_eq!(defined.event.as_deref(), Some("servicerequest-request"));
        assert_eq!(defined.requires.len(), 6);
        assert_eq!(read_definitions(&parsed(definition_bundle(&[], ("https://t.example", ""), NOW))), []);
    }

    #[test]
    fn a_definition_is_found_by_service_and_use_case() {
        let referral =
            Definition::referral("2000099991", &["crisis-escalation".to_owned(), "team-transfer".to_owned()]);
        for (context, found) in [
            ("https://fhir.nhs.uk/Id/dos-service-id|2000099991", true),
            ("2000099991", true),
            ("https://weir.example/fhir/CodeSystem/use-case|crisis-escalation", true),
            ("https://weir.example/fhir/CodeSystem/use-case|team-transfer", true),
            ("https://weir.example/fhir/CodeSystem/use-case|referral", false),
            ("referral,https://weir.example/fhir/CodeSystem/use-case|team-transfer", true),
            ("referral,booking", false),
            ("https://fhir.nhs.uk/Id/dos-service-id|2000099992", false),
            ("https://fhir.nhs.uk/CodeSystem/usecases-categories-bars|crisis-escalation", false),
            ("|2000099991", false),
            ("", false),
        ] {
            assert_eq!(referral.is_for(context), found, "{context}");
        }
    }

    #[test]
    fn what_others_say_is_read_as_far_as_it_is_sensible() {
        let long = "x".repeat(300);
        let odd = format!(
            r#"{{"resourceType":"CapabilityStatement","fhirVersion":"{long}","software":{{"name":"a\nb"}},
            "rest":[{{"mode":"client","operation":[{{"name":"$process-message"}}]}},{{"mode":"server"}}],
            "messaging":[{{"supportedMessage":[{{"mode":"sender","definition":"a"}},{{"mode":"receiver"}},1]}}]}}"#
        );
        assert_eq!(read_capability(&parsed(odd)), Some(Stated::default()));
        assert_eq!(read_capability(&parsed(r#"{"resourceType":"Patient"}"#)), None);
        assert_eq!(read_definitions(&parsed("[1]")), []);
    }
}
