//! How a record is written: plain JSON, FHIR JSON, FHIR XML, or the bars of HL7 v2.
//!
//! Enters: a media type and bytes. Leaves: the tree that all other stages work on; what XML says and the tree cannot show,
//! its order, as issues.

use super::hl7v2::{self, MEDIA_TYPES};
use super::{Error, Model};
use crate::fhir::outcome::Issue;
use crate::fhir::{Document, Limits};

/// What an interface reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Plain JSON of a logical model.
    Record,
    /// A FHIR R4 resource, as JSON or XML.
    Resource,
}

/// How a record is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Syntax<'m> {
    Json,
    Xml,
    /// As the model says where in a message its elements are.
    Hl7v2(&'m Model),
}

impl Reads {
    /// The media types that it reads, for people.
    pub(super) fn media_types(self) -> &'static str {
        match self {
            Reads::Record => "application/json",
            Reads::Resource if cfg!(feature = "xml") => "application/fhir+json or application/fhir+xml",
            Reads::Resource => "application/fhir+json",
        }
    }

    /// How something of this media type is written, with any parameters; `None` for one that is not read.
    pub(super) fn syntax<'m>(self, media_type: &str, model: Option<&'m Model>) -> Option<Syntax<'m>> {
        let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" | "application/fhir+json" => Some(Syntax::Json),
            "application/fhir+xml" | "application/xml" | "text/xml" => {
                (cfg!(feature = "xml") && self == Reads::Resource).then_some(Syntax::Xml)
            }
            other if MEDIA_TYPES.contains(&other) => model.filter(|model| model.reads_hl7v2()).map(Syntax::Hl7v2),
            _ => None,
        }
    }
}

/// The media type of a file, by how it begins: XML with `<`, HL7 v2 with `MSH`, all else is JSON.
pub fn media_type(bytes: &[u8]) -> &'static str {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if hl7v2::Head::read(bytes).is_some() {
        return MEDIA_TYPES[0];
    }
    let is_xml = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
    if is_xml { "application/fhir+xml" } else { "application/json" }
}

impl Syntax<'_> {
    /// The tree, and what is wrong with how it is written.
    pub(super) fn parse(self, bytes: Vec<u8>, limits: &Limits) -> Result<(Document, Vec<Issue>), Error> {
        match self {
            Syntax::Json => Ok((Document::parse(bytes, limits)?, Vec::new())),
            Syntax::Xml => parse_xml(bytes, limits),
            Syntax::Hl7v2(model) => Ok((Document::parse(hl7v2::record(&bytes, model)?, limits)?, Vec::new())),
        }
    }
}

#[cfg(feature = "xml")]
fn parse_xml(bytes: Vec<u8>, limits: &Limits) -> Result<(Document, Vec<Issue>), Error> {
    use crate::fhir::outcome::IssueType;
    use crate::fhir::xml::{from_xml, misplaced};
    let refuse = |what: String, hint| Error::Xml { what, hint };
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".to_owned(), "encode it as UTF-8"))?;
    let document = from_xml(&text, limits).map_err(|error| refuse(error.to_string(), error.hint()))?;
    let issue = |found: crate::fhir::xml::Misplaced| {
        let said = format!("the element stands behind {}, which it should stand before (R4 xml.html)", found.behind);
        let issue = Issue::error(IssueType::Structure, said).at(found.path).position(found.position);
        issue.rule("r4-xml-order").hint("put the elements in the order of the definition")
    };
    Ok((document, misplaced(&text).into_iter().map(issue).collect()))
}

#[cfg(not(feature = "xml"))]
fn parse_xml(_bytes: Vec<u8>, _limits: &Limits) -> Result<(Document, Vec<Issue>), Error> {
    Err(Error::MediaType(Reads::Resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_is_read_for_resources_alone() {
        let resource = |media_type| Reads::Resource.syntax(media_type, None);
        assert!(matches!(resource("application/fhir+json; fhirVersion=4.0"), Some(Syntax::Json)));
        assert_eq!(matches!(resource("Application/FHIR+XML"), Some(Syntax::Xml)), cfg!(feature = "xml"));
        assert!(Reads::Record.syntax("application/fhir+xml", None).is_none());
        assert!(resource("text/plain").is_none() && resource("").is_none());
    }

    #[test]
    fn hl7_v2_is_read_where_the_model_says_how() {
        let (with, without) = (super::super::model::tests::sample(), Model::default());
        for kind in ["application/hl7-v2", "x-application/hl7-v2+er7; charset=utf-8"] {
            assert!(matches!(Reads::Record.syntax(kind, Some(&with)), Some(Syntax::Hl7v2(_))));
            assert!(Reads::Record.syntax(kind, Some(&without)).is_none());
        }
        assert_eq!(media_type(b"MSH|^~\\&|"), "application/hl7-v2");
    }

    #[test]
    fn a_file_says_by_its_first_letter_how_it_is_written() {
        assert_eq!(media_type(b"\xef\xbb\xbf\n <Patient/>"), "application/fhir+xml");
        assert_eq!((media_type(b" {}"), media_type(b"")), ("application/json", "application/json"));
    }

    #[cfg(feature = "xml")]
    #[test]
    fn xml_out_of_order_is_an_issue_and_broken_xml_an_error_without_values() {
        let wrong = "<Patient xmlns=\"http://hl7.org/fhir\"><active value=\"true\"/><id value=\"a\"/></Patient>";
        let (document, issues) = Syntax::Xml.parse(wrong.into(), &Limits::default()).expect("it is XML");
        assert_eq!(document.root().text_of("id").as_deref(), Some("a"));
        assert_eq!(issues.iter().map(|issue| issue.rule.as_str()).collect::<Vec<_>>(), ["r4-xml-order"]);
        for broken in [&b"<Patient><secret"[..], b"<secret/>", b"\xff"] {
            let error = Syntax::Xml.parse(broken.into(), &Limits::default()).expect_err("it is refused");
            assert!(matches!(error, Error::Xml { .. }) && !error.to_string().contains("secret"), "{error}");
        }
    }
}
