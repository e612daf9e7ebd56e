//! How a receiver is told that something was withheld: the data-absent-reason extension with `masked`, and the
//! security label SUBSETTED (FHIR R4 extension data-absent-reason; HL7 v3 ObservationValue).

use super::names::NameId;
use super::{Node, Writer};

/// The extension that says why there is no value.
pub const DATA_ABSENT_REASON: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
const MASKED: &str = "masked";
const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
const SUBSETTED: &str = "SUBSETTED";

/// Writes the extension that says: there is a value, and it was withheld.
pub fn write_masked(out: &mut Writer) {
    out.begin_object();
    out.field("url", DATA_ABSENT_REASON);
    out.field("valueCode", MASKED);
    out.end_object();
}

/// Writes an element that has nothing but that extension.
pub fn write_masked_element(out: &mut Writer) {
    out.begin_object();
    out.key("extension");
    out.begin_array();
    write_masked(out);
    out.end_array();
    out.end_object();
}

/// Writes the security label of a resource of which a part was withheld.
pub fn write_subsetted(out: &mut Writer) {
    out.begin_object();
    out.field("system", OBSERVATION_VALUE);
    out.field("code", SUBSETTED);
    out.end_object();
}

/// Whether a Coding is that label and nothing more.
pub fn is_subsetted(coding: Node<'_>) -> bool {
    is_pair(coding, ("system", OBSERVATION_VALUE), ("code", SUBSETTED))
}

/// Whether an extension says that a value was withheld.
pub fn is_masked(extension: Node<'_>) -> bool {
    is_pair(extension, ("url", DATA_ABSENT_REASON), ("valueCode", MASKED))
}

fn is_pair(node: Node<'_>, first: (&str, &str), second: (&str, &str)) -> bool {
    let is = |(name, expected): (&str, &str)| {
        node.child(NameId::of(name)).and_then(Node::text).is_some_and(|text| text == expected)
    };
    node.children().count() == 2 && is(first) && is(second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};

    #[test]
    fn the_label_is_recognised_by_system_and_code() {
        let mut out = Writer::new();
        write_subsetted(&mut out);
        let label = out.finish();
        for (text, expected) in [
            (&*label, true),
            (r#"{"code":"SUBSETTED"}"#, false),
            (r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"REDACTED"}"#, false),
            (&label.replace('}', r#","display":"x"}"#), false),
        ] {
            let coding = Document::parse(text, &Limits::default()).expect("it is JSON");
            assert_eq!(is_subsetted(coding.root()), expected, "{text}");
        }
    }
}
