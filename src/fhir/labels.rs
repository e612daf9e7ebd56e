//! How a receiver is told that something was withheld or made less exact: the data-absent-reason extension with `masked`,
//! security labels (FHIR R4 extension data-absent-reason; HL7 v3 ObservationValue), and the list of what was withheld.

use super::names::NameId;
use super::{Builder, Node, keys};

/// The extension that says why there is no value.
pub const DATA_ABSENT_REASON: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
/// The extension of `Bundle.meta` that names one element that was withheld.
pub const WITHHELD_ELEMENT: &str = "https://weir.example/fhir/StructureDefinition/weir-withheld-element";
const MASKED: &str = "masked";
const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";

/// Security labels of a resource that disclosure has altered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels(u8);

/// In the order of writing.
const CODES: [(Labels, &str); 3] =
    [(Labels::SUBSETTED, "SUBSETTED"), (Labels::ABSTRACTED, "ABSTRED"), (Labels::PSEUDONYMISED, "PSEUDED")];

impl Labels {
    /// Something of it was withheld.
    pub const SUBSETTED: Labels = Labels(1);
    /// A value of it is less exact than it was.
    pub const ABSTRACTED: Labels = Labels(2);
    /// A pseudonym stands in it.
    pub const PSEUDONYMISED: Labels = Labels(4);

    /// The label that a Coding is, with nothing more.
    pub fn of(coding: Node<'_>) -> Option<Labels> {
        let system = coding.child(keys().system)?.text()?;
        let code = coding.child(keys().code)?.text()?;
        let is_label = coding.children().count() == 2 && system == OBSERVATION_VALUE;
        CODES.iter().find(|(_, own)| is_label && *own == code).map(|(label, _)| *label)
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Labels) -> Labels {
        Labels(self.0 | other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `label` is among them.
    pub fn has(self, label: Labels) -> bool {
        self.0 & label.0 == label.0
    }

    /// Writes their Codings.
    pub fn write(self, out: &mut Builder) {
        for (_, code) in CODES.iter().filter(|(label, _)| self.has(*label)) {
            let coding = out.begin_object();
            out.key(keys().system.name());
            out.plain_string(OBSERVATION_VALUE);
            out.key(keys().code.name());
            out.plain_string(code);
            out.end(coding);
        }
    }
}

fn value_code() -> NameId {
    NameId::of("valueCode")
}

/// Writes the extension that says: there is a value, and it was withheld.
pub fn write_masked(out: &mut Builder) {
    let extension = out.begin_object();
    out.key(keys().url.name());
    out.plain_string(DATA_ABSENT_REASON);
    out.key(value_code().name());
    out.plain_string(MASKED);
    out.end(extension);
}

/// Writes an element that has nothing but that extension.
pub fn write_masked_element(out: &mut Builder) {
    let element = out.begin_object();
    out.key(keys().extension.name());
    let list = out.begin_array();
    write_masked(out);
    out.end(list);
    out.end(element);
}

/// Writes the extension that names an element that was withheld.
pub fn write_withheld_element(out: &mut Builder, path: &str) {
    let extension = out.begin_object();
    out.key(keys().url.name());
    out.plain_string(WITHHELD_ELEMENT);
    out.field(NameId::of("valueString").name(), path);
    out.end(extension);
}

/// The element that an extension says was withheld, if that is what it says and nothing more.
pub fn withheld_element(extension: Node<'_>) -> Option<String> {
    let is_it = extension.child(keys().url)?.text()? == WITHHELD_ELEMENT && extension.children().count() == 2;
    let path = extension.child(NameId::of("valueString"))?.text()?;
    is_it.then(|| path.into_owned())
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
    fn a_label_is_recognised_by_system_and_code() {
        let mut out = Builder::with_capacity(0, 0);
        Labels::SUBSETTED.write(&mut out);
        let label = out.finish().expect("it is short").source().to_owned();
        for (text, expected) in [
            (&*label, Some(Labels::SUBSETTED)),
            (&label.replace("SUBSETTED", "PSEUDED"), Some(Labels::PSEUDONYMISED)),
            (r#"{"code":"SUBSETTED"}"#, None),
            (r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"REDACTED"}"#, None),
            (&label.replace('}', r#","display":"x"}"#), None),
        ] {
            let coding = Document::parse(text, &Limits::default()).expect("it is JSON");
            assert_eq!(Labels::of(coding.root()), expected, "{text}");
        }
    }
}
