//! FHIR XML in and out, at the edge: the gateway itself works on the JSON tree.
//!
//! fhirbolt's generic `Element` converts; it knows which elements repeat and which JSON type a value has. It is shown
//! only what has passed an inspection (no DOCTYPE, no entities but the five of XML, depth and size bounded, tags nested) on the
//! way in, and a parsed document whose narratives are text on the way out.

mod order;

use fhirbolt::FhirReleases;
use fhirbolt::element::Element;

pub use order::{Misplaced, misplaced};

use super::{Document, Kind, Limits, Node, ParseError, Position, Writer, keys, r4};

/// Longest text that is read, in bytes: 16 MiB.
pub const LONGEST: usize = 16 << 20;

/// Why a document does not convert.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    /// The text is not XML that may come in.
    #[error("{what} at line {}, column {}", position.line, position.column)]
    Refused {
        /// What is wrong.
        what: &'static str,
        /// Where.
        position: Position,
    },
    /// The XML is not a FHIR R4 resource.
    #[error("the XML is not a FHIR R4 resource")]
    NotFhir,
    /// The tree is not a FHIR R4 resource, and has no XML form.
    #[error("the document is not a FHIR R4 resource that can be written as XML")]
    NotWritable,
    /// The converted resource is not accepted as JSON.
    #[error("the resource is refused: {0}")]
    Json(#[from] ParseError),
}

impl XmlError {
    /// What the sender can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            XmlError::Refused { .. } => {
                "send well-formed XML without DOCTYPE, entities, CDATA or processing instructions"
            }
            XmlError::NotFhir => "send a FHIR R4 resource in the namespace http://hl7.org/fhir, or send JSON",
            XmlError::NotWritable => "ask for JSON",
            XmlError::Json(error) => error.hint(),
        }
    }
}

type R4 = Element<{ FhirReleases::R4 }>;

/// Reads a resource from FHIR XML.
///
/// # Errors
/// [`XmlError`]; never with a value from the text.
pub fn from_xml(text: &str, limits: &Limits) -> Result<Document, XmlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    inspect(text, limits)?;
    let text = without_declaration(text)?;
    let element: R4 = fhirbolt::xml::from_str(text, None).map_err(|_| XmlError::NotFhir)?;
    let json = fhirbolt::json::to_string(&element, None).map_err(|_| XmlError::NotFhir)?;
    Ok(Document::parse(json, limits)?)
}

/// Writes a resource as FHIR XML.
///
/// # Errors
/// [`XmlError::NotWritable`].
pub fn to_xml(document: &Document) -> Result<String, XmlError> {
    if document.resource_type().is_none_or(|name| r4::schema().resource(name).is_none()) || !is_writable(document) {
        return Err(XmlError::NotWritable);
    }
    let mut out = Writer::with_capacity(document.source().len());
    type_first(document.root(), &mut out);
    let element: R4 = fhirbolt::json::from_str(&out.finish(), None).map_err(|_| XmlError::NotWritable)?;
    fhirbolt::xml::to_string(&element, None).map_err(|_| XmlError::NotWritable)
}

/// Whether the tree has what XML can say: no empty object or array, and text for each narrative.
fn is_writable(document: &Document) -> bool {
    let div = super::NameId::of("div");
    document.nodes().all(|node| match node.kind() {
        Kind::Object | Kind::Array => node.children().next().is_some() && node.name_id() != div,
        Kind::String => {
            node.name_id() != div || node.text().is_some_and(|text| inspect(&text, &Limits::default()).is_ok())
        }
        _ => node.name_id() != div,
    })
}

/// Copies a value with `resourceType` as the first member of each resource, where fhirbolt looks for it.
fn type_first(node: Node<'_>, out: &mut Writer) {
    match node.kind() {
        Kind::Object => {
            let name = keys().resource_type;
            out.begin_object();
            let (first, rest): (Vec<_>, Vec<_>) = node.children().partition(|child| child.name_id() == name);
            for child in first.into_iter().chain(rest) {
                out.key(&child.name().unwrap_or_default());
                type_first(child, out);
            }
            out.end_object();
        }
        Kind::Array => {
            out.begin_array();
            node.children().for_each(|child| type_first(child, out));
            out.end_array();
        }
        _ => out.raw(node.raw()),
    }
}

/// Refuses what must not reach an XML parser: one pass, no recursion.
fn inspect(text: &str, limits: &Limits) -> Result<(), XmlError> {
    let refuse = |at: usize, what| XmlError::Refused { what, position: super::document::position_in(text, at) };
    if text.len() > LONGEST {
        return Err(refuse(0, "the text is longer than 16 MiB"));
    }
    let mut open: Vec<&str> = Vec::new();
    let mut at = 0;
    while let Some(less) = text[at..].find('<').map(|less| at + less) {
        entities(&text[at..less]).map_err(|what| refuse(at, what))?;
        let rest = &text[less..];
        let length = tag_length(rest, less == 0).map_err(|what| refuse(less, what))?;
        at = less + length;
        let tag = &rest[..length];
        if tag.starts_with("<!--") || tag.starts_with("<?") {
            continue;
        }
        entities(tag).map_err(|what| refuse(less, what))?;
        let name = tag.trim_start_matches(['<', '/']);
        let name =
            name.split(|letter: char| letter.is_whitespace() || matches!(letter, '/' | '>')).next().unwrap_or_default();
        if tag.starts_with("</") {
            if open.pop() != Some(name) {
                return Err(refuse(less, "a closing tag does not match the open one"));
            }
        } else if !tag.ends_with("/>") {
            open.push(name);
        }
        if open.len() > usize::from(limits.depth) {
            return Err(refuse(less, "the document nests too deeply"));
        }
    }
    entities(&text[at..]).map_err(|what| refuse(at, what))?;
    if open.is_empty() { Ok(()) } else { Err(refuse(text.len(), "the text ends inside an element")) }
}

/// The text behind the XML declaration. Encoding names are the same in upper and lower case (XML 1.0, 4.3.3); fhirbolt
/// knows only the one spelling.
fn without_declaration(text: &str) -> Result<&str, XmlError> {
    let Some((declaration, rest)) = text.strip_prefix("<?xml ").and_then(|rest| rest.split_once("?>")) else {
        return Ok(text);
    };
    let named = declaration.split_once("encoding").and_then(|(_, behind)| behind.split(['"', '\'']).nth(1));
    if named.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("utf-8")) {
        let what = "the declaration names another encoding than UTF-8";
        return Err(XmlError::Refused { what, position: super::document::position_in(text, 0) });
    }
    Ok(rest)
}

/// The length of the tag, comment or declaration that `rest` starts with.
fn tag_length(rest: &str, is_start: bool) -> Result<usize, &'static str> {
    if let Some(comment) = rest.strip_prefix("<!--") {
        return comment.find("-->").map(|end| end + 7).ok_or("a comment does not end");
    }
    if rest.starts_with("<!") {
        return Err("a DOCTYPE, an entity declaration or CDATA is not accepted");
    }
    if rest.starts_with("<?") {
        let end = rest.find("?>").ok_or("a processing instruction does not end")?;
        let is_declaration = is_start && rest.starts_with("<?xml ");
        return if is_declaration { Ok(end + 2) } else { Err("a processing instruction is not accepted") };
    }
    let mut quote = None;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match (quote, byte) {
            (None, b'>') => return Ok(at + 1),
            (None, b'"' | b'\'') => quote = Some(byte),
            (_, b'<') => return Err("a tag stands inside a tag"),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    Err("a tag does not end")
}

/// Only the entities of XML itself, and character references.
fn entities(text: &str) -> Result<(), &'static str> {
    for part in text.split('&').skip(1) {
        let name = part.split_once(';').map_or("", |(name, _)| name);
        let is_character = name.strip_prefix('#').is_some_and(|number| match number.strip_prefix('x') {
            Some(hex) => u32::from_str_radix(hex, 16).ok().and_then(char::from_u32).is_some(),
            None => number.parse::<u32>().ok().and_then(char::from_u32).is_some(),
        });
        if !is_character && !matches!(name, "amp" | "lt" | "gt" | "quot" | "apos") {
            return Err("an entity that is not one of XML's five is not accepted");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Document {
        Document::parse(json, &Limits::default()).expect("it is JSON")
    }

    const SAMPLE: &str = r#"{"resourceType":"Bundle","id":"b","type":"collection","entry":[{"fullUrl":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b86","resource":{"resourceType":"Observation","id":"o","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a &lt; b</p></div>"},"extension":[{"url":"https://weir.example/e","valueDecimal":1.50}],"status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}],"text":"a < \"b\" & c"},"valueQuantity":{"value":1.50,"unit":"kg"}}},{"resource":{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"p","name":"x"}],"active":true,"name":[{"given":["A",null,"C"],"_given":[null,{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]},null]}],"_birthDate":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]},"multipleBirthInteger":2}}]}"#;

    #[test]
    fn json_to_xml_and_back_gives_the_same_bytes() {
        let xml = to_xml(&parse(SAMPLE)).expect("it is written");
        assert!(xml.contains(r#"<value value="1.50"/>"#), "{xml}");
        assert_eq!(from_xml(&xml, &Limits::default()).expect("it is read").source(), SAMPLE);
    }

    #[test]
    fn the_resource_type_may_stand_anywhere() {
        let xml = to_xml(&parse(r#"{"active":true,"resourceType":"Patient"}"#)).expect("it is written");
        assert!(xml.contains("<Patient xmlns"), "{xml}");
    }

    #[test]
    fn a_declaration_and_a_byte_order_mark_are_read_over() {
        let patient = "<Patient xmlns=\"http://hl7.org/fhir\"><active value=\"true\"/></Patient>";
        for start in
            ["<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n", "\u{feff}<?xml version='1.0' encoding='UTF-8'?>", ""]
        {
            let read = from_xml(&format!("{start}{patient}"), &Limits::default()).expect(start);
            assert_eq!(read.source(), r#"{"resourceType":"Patient","active":true}"#);
        }
        let latin = format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>{patient}");
        let refused = from_xml(&latin, &Limits::default()).expect_err("it is not UTF-8");
        assert!(refused.to_string().contains("another encoding"), "{refused}");
    }

    #[test]
    fn what_has_no_xml_form_is_refused() {
        for json in [
            "{}",
            "[]",
            r#"{"resourceType":"None"}"#,
            r#"{"resourceType":"Patient","name":[]}"#,
            r#"{"resourceType":"Patient","name":[{}]}"#,
            r#"{"resourceType":"Patient","text":{"div":{"a":1}}}"#,
            r#"{"resourceType":"Patient","text":{"status":"generated","div":"<div>"}}"#,
            r#"{"resourceType":"Patient","foo":1}"#,
            r#"{"resourceType":"Patient","active":{"a":"b"}}"#,
        ] {
            assert!(to_xml(&parse(json)).is_err(), "{json}");
        }
    }

    #[test]
    fn hostile_xml_is_refused_before_it_is_parsed() {
        let deep = "<a>".repeat(200) + &"</a>".repeat(200);
        for (text, what) in [
            ("<!DOCTYPE p [<!ENTITY a \"b\">]><Patient/>", "DOCTYPE"),
            ("<Patient>&a;</Patient>", "entity"),
            ("<Patient a=\"&#xD800;\"/>", "entity"),
            ("<Patient>&</Patient>", "entity"),
            ("<Patient><![CDATA[a]]></Patient>", "CDATA"),
            ("<Patient><?php a?></Patient>", "processing instruction"),
            ("<Patient><a></Patient></a>", "closing tag"),
            ("<Patient", "does not end"),
            ("<Patient>", "inside an element"),
            (deep.as_str(), "too deeply"),
        ] {
            let error = from_xml(text, &Limits::default()).expect_err(text).to_string();
            assert!(error.contains(what), "{error}");
        }
        for text in
            ["", "a", "<a/>", "<Patient/>", "<Patient xmlns=\"http://hl7.org/fhir\"><foo value=\"1\"/></Patient>"]
        {
            assert!(from_xml(text, &Limits::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn no_cut_of_a_document_panics() {
        let xml = to_xml(&parse(SAMPLE)).expect("it is written");
        for end in (0..xml.len()).filter(|&end| xml.is_char_boundary(end)) {
            let _ = from_xml(&xml[..end], &Limits::default());
            let _ = from_xml(&(xml[..end].to_owned() + &xml[(end + 7).min(xml.len())..]), &Limits::default());
        }
    }
}
