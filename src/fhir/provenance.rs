//! The FHIR R4 Provenance of one disclosure, as a typed writer.
//!
//! Enters: who shared what, when, under which policy and from which sources. Leaves: the resource as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use uuid::Uuid;

use super::bars::ODS_ORGANISATION;
use super::{Document, Instant, Node, Writer, instant_text};

const URI: &str = "urn:ietf:rfc:3986";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const PARTICIPANT: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
const GATEWAY: &str = "gateway";
const SIGNATURE_TYPE: &str = "urn:iso-astm:E1762-95:2013";
/// The signature of where information comes from, made by a program.
const SOURCE_SIGNATURE: &str = "1.2.840.10065.1.12.1.14";

/// An organisation, by its ODS code.
#[derive(Clone, Copy, Debug)]
pub struct Organization<'a> {
    /// Its ODS code.
    pub ods: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// The gateway that built what was sent.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// The organisation that runs it.
    pub owner: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The version of its software.
    pub version: &'a str,
}

/// How what was sent came from something else (`http://hl7.org/fhir/provenance-entity-role`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is where the information was first recorded.
    Source,
    /// It is what turned the one into the other.
    Derivation,
}

/// Something that what was sent came from, named by a URI.
#[derive(Clone, Copy, Debug)]
pub struct Entity<'a> {
    /// How.
    pub role: Role,
    /// A URI that holds its digest.
    pub uri: &'a str,
    /// What it is, in words.
    pub display: &'a str,
}

/// Someone who answers for a disclosure. Staff, never a patient.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// As what.
    pub part: Participation,
    /// Who, in words.
    pub name: &'a str,
    /// A URI that leads to who it is, where the name is not told here.
    pub uri: Option<&'a str>,
}

/// As what a person takes part (`http://terminology.hl7.org/CodeSystem/provenance-participant-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Participation {
    /// Takes legal responsibility for it.
    Legal,
    /// Verifies that it was right.
    Verifier,
}

/// One disclosure.
#[derive(Clone, Copy, Debug)]
pub struct Disclosure<'a> {
    /// The id of the Provenance.
    pub id: Uuid,
    /// The Bundle that was sent.
    pub bundle: &'a str,
    /// When it was built and recorded.
    pub recorded: Instant,
    /// The agreement that it was sent under.
    pub policy: &'a str,
    /// The purposes of use, each an HL7 v3 ActReason code, and in words; at least one.
    pub purposes: &'a [(&'a str, &'a str)],
    /// Who recorded and shares the information.
    pub author: Organization<'a>,
    /// People who answer for it.
    pub people: &'a [Person<'a>],
    /// What built the Bundle.
    pub gateway: Device<'a>,
    /// What it was built from.
    pub entities: &'a [Entity<'a>],
    /// The gateway's signature over the SHA-256 of the Bundle's bytes: a JSON Web Signature without its content (RFC 7515, appendix F).
    pub signature: &'a str,
}

impl Disclosure<'_> {
    /// The resource as JSON.
    pub fn to_json(&self) -> String {
        let mut out = Writer::with_capacity(2048);
        out.begin_object();
        out.field("resourceType", "Provenance");
        out.field("id", &self.id.to_string());
        self.contained(&mut out);
        out.list_of_one("target", |out| out.field("reference", &format!("urn:uuid:{}", self.bundle)));
        let recorded = instant_text(self.recorded);
        out.field("occurredDateTime", &recorded);
        out.field("recorded", &recorded);
        out.key("policy");
        out.begin_array();
        out.string(self.policy);
        out.end_array();
        out.key("reason");
        out.begin_array();
        for (code, words) in self.purposes {
            out.begin_object();
            out.coding(ACT_REASON, code);
            out.field("text", words);
            out.end_object();
        }
        out.end_array();
        out.object("activity", |out| out.coding(LIFECYCLE, "disclose"));
        self.agents(&mut out);
        self.entities(&mut out);
        out.list_of_one("signature", |out| {
            out.list_of_one("type", |out| {
                out.field("system", SIGNATURE_TYPE);
                out.field("code", SOURCE_SIGNATURE);
                out.field("display", "Source Signature");
            });
            out.field("when", &recorded);
            out.object("who", |out| out.field("reference", &format!("#{GATEWAY}")));
            out.field("targetFormat", "application/fhir+json");
            out.field("sigFormat", "application/jose");
            out.field("data", &BASE64.encode(self.signature));
        });
        out.end_object();
        out.finish()
    }

    fn contained(&self, out: &mut Writer) {
        out.list_of_one("contained", |out| {
            out.field("resourceType", "Device");
            out.field("id", GATEWAY);
            out.list_of_one("deviceName", |out| {
                out.field("name", self.gateway.name);
                out.field("type", "user-friendly-name");
            });
            out.list_of_one("version", |out| out.field("value", self.gateway.version));
            out.object("owner", |out| identifier(out, "Organization", ODS_ORGANISATION, self.gateway.owner));
        });
    }

    fn agents(&self, out: &mut Writer) {
        out.key("agent");
        out.begin_array();
        out.begin_object();
        out.object("type", |out| out.coding(PARTICIPANT, "author"));
        out.object("who", |out| {
            identifier(out, "Organization", ODS_ORGANISATION, self.author.ods);
            out.field("display", self.author.name);
        });
        out.end_object();
        out.begin_object();
        out.object("type", |out| out.coding(PARTICIPANT, "assembler"));
        out.object("who", |out| out.field("reference", &format!("#{GATEWAY}")));
        out.object("onBehalfOf", |out| identifier(out, "Organization", ODS_ORGANISATION, self.author.ods));
        out.end_object();
        for person in self.people {
            let part = if person.part == Participation::Legal { "legal" } else { "verifier" };
            out.begin_object();
            out.object("type", |out| out.coding(PARTICIPANT, part));
            out.object("who", |out| {
                out.field("type", "Practitioner");
                if let Some(uri) = person.uri {
                    out.identifier(URI, uri);
                }
                out.field("display", person.name);
            });
            out.object("onBehalfOf", |out| identifier(out, "Organization", ODS_ORGANISATION, self.author.ods));
            out.end_object();
        }
        out.end_array();
    }

    fn entities(&self, out: &mut Writer) {
        if self.entities.is_empty() {
            return;
        }
        out.key("entity");
        out.begin_array();
        for entity in self.entities {
            out.begin_object();
            out.field("role", if entity.role == Role::Source { "source" } else { "derivation" });
            out.object("what", |out| {
                out.identifier(URI, entity.uri);
                out.field("display", entity.display);
            });
            out.end_object();
        }
        out.end_array();
    }
}

/// Of a Provenance that was written here, the URIs and codes by which it names its agents.
pub fn agents(provenance: &Document) -> impl Iterator<Item = String> {
    identifiers(provenance, "agent", "who")
}

/// Of a Provenance that was written here, the URIs of its entities.
pub fn sources(provenance: &Document) -> impl Iterator<Item = String> {
    identifiers(provenance, "entity", "what")
}

fn identifiers<'d>(provenance: &'d Document, list: &'d str, member: &'d str) -> impl Iterator<Item = String> + 'd {
    let value = move |each: Node<'d>| Some(each.member(member)?.member("identifier")?.member("value")?.text()?.into());
    provenance.root().items_of(list).filter_map(value)
}

fn identifier(out: &mut Writer, of: &str, system: &str, value: &str) {
    out.field("type", of);
    out.identifier(system, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disclosure_names_who_what_why_and_from_what() {
        let disclosure = Disclosure {
            id: Uuid::from_u128(1),
            bundle: "00000000-0000-0000-0000-000000000002",
            recorded: time::macros::datetime!(2026-01-01 00:00 UTC),
            policy: "urn:weir:agreement:a:1:sha-256:00",
            purposes: &[("ETREAT", "crisis care")],
            people: &[],
            author: Organization { ods: "DEMOP", name: "Provider" },
            gateway: Device { owner: "DEMOP", name: "Weir", version: "0.1.0" },
            entities: &[Entity { role: Role::Source, uri: "urn:weir:record:00", display: "record" }],
            signature: "e30..AA",
        };
        assert_eq!(
            disclosure.to_json(),
            concat!(
                r#"{"resourceType":"Provenance","id":"00000000-0000-0000-0000-000000000001","#,
                r#""contained":[{"resourceType":"Device","id":"gateway","deviceName":[{"name":"Weir","#,
                r#""type":"user-friendly-name"}],"version":[{"value":"0.1.0"}],"owner":{"type":"Organization","#,
                r#""identifier":{"system":"https://fhir.nhs.uk/Id/ods-organization-code","value":"DEMOP"}}}],"#,
                r#""target":[{"reference":"urn:uuid:00000000-0000-0000-0000-000000000002"}],"#,
                r#""occurredDateTime":"2026-01-01T00:00:00.000Z","recorded":"2026-01-01T00:00:00.000Z","#,
                r#""policy":["urn:weir:agreement:a:1:sha-256:00"],"reason":[{"coding":[{"#,
                r#""system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"ETREAT"}],"#,
                r#""text":"crisis care"}],"activity":{"coding":[{"#,
                r#""system":"http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle","code":"disclose"}]},"#,
                r#""agent":[{"type":{"coding":[{"#,
                r#""system":"http://terminology.hl7.org/CodeSystem/provenance-participant-type","code":"author"}]},"#,
                r#""who":{"type":"Organization","identifier":{"#,
                r#""system":"https://fhir.nhs.uk/Id/ods-organization-code","value":"DEMOP"},"display":"Provider"}},"#,
                r#"{"type":{"coding":[{"#,
                r#""system":"http://terminology.hl7.org/CodeSystem/provenance-participant-type","code":"assembler"}]},"#,
                r##""who":{"reference":"#gateway"},"onBehalfOf":{"type":"Organization","identifier":{"##,
                r#""system":"https://fhir.nhs.uk/Id/ods-organization-code","value":"DEMOP"}}}],"#,
                r#""entity":[{"role":"source","what":{"identifier":{"system":"urn:ietf:rfc:3986","#,
                r#""value":"urn:weir:record:00"},"display":"record"}}],"#,
                r#""signature":[{"type":[{"system":"urn:iso-astm:E1762-95:2013","code":"1.2.840.10065.1.12.1.14","#,
                r#""display":"Source Signature"}],"when":"2026-01-01T00:00:00.000Z","who":{"reference":"#,
                r##""#gateway"},"targetFormat":"application/fhir+json","sigFormat":"application/jose","##,
                r#""data":"ZTMwLi5BQQ=="}]}"#,
            )
        );
    }
}
