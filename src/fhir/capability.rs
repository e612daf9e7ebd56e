//! What a receiver of messages says it can do (FHIR R4 CapabilityStatement).

use super::{Instant, Writer, instant_text};

/// A CapabilityStatement for a receiver of messages at `base`.
pub fn capability_statement(base: &str, version: &str, date: Instant) -> String {
    let mut out = Writer::new();
    out.begin_object();
    out.field("resourceType", "CapabilityStatement");
    out.field("status", "active");
    out.field("date", &instant_text(date));
    out.field("kind", "instance");
    out.key("software");
    out.begin_object();
    out.field("name", "Weir partner");
    out.field("version", version);
    out.end_object();
    out.key("implementation");
    out.begin_object();
    out.field("description", "A receiver of BaRS messages that stores and acknowledges them");
    out.field("url", base);
    out.end_object();
    out.field("fhirVersion", "4.0.1");
    out.key("format");
    out.begin_array();
    out.string("application/fhir+json");
    out.end_array();
    out.key("rest");
    out.begin_array();
    out.begin_object();
    out.field("mode", "server");
    out.key("operation");
    out.begin_array();
    out.begin_object();
    out.field("name", "process-message");
    out.field("definition", "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message");
    out.end_object();
    out.end_array();
    out.end_object();
    out.end_array();
    out.end_object();
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};
    use time::macros::datetime;

    #[test]
    fn a_capability_statement_names_the_one_operation() {
        let json = capability_statement("https://t.example/FHIR/R4", "0.1.0", datetime!(2026-01-01 00:00 UTC));
        let document = Document::parse(json, &Limits::default()).expect("JSON");
        assert_eq!(document.resource_type(), Some("CapabilityStatement"));
        assert!(document.nodes().any(|node| node.text().as_deref() == Some("process-message")));
    }
}
