//! Narrative, made again from what may be shown: XHTML for a Composition and its sections (FHIR R4 Narrative).
//!
//! Enters: nodes, and which of their leaves may be shown. Leaves: a `div`. Invariant: text of a leaf that may not be
//! shown is never read, and every text is escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::r4::{TypeDef, TypeKind, schema};
use super::{NameId, Node, Writer};

const OPEN: &str = r#"<div xmlns="http://www.w3.org/1999/xhtml">"#;
const CLOSE: &str = "</div>";
const GENERATED: &str = "generated";

/// Elements that say where or in which system something is: for machines.
const FOR_MACHINES: [&str; 13] = [
    "system",
    "reference",
    "use",
    "id",
    "url",
    "userSelected",
    "rank",
    "contentType",
    "data",
    "hash",
    "size",
    "version",
    "assigner",
];
/// Types that are for machines as a whole.
const TYPES_FOR_MACHINES: [&str; 4] = ["Narrative", "Meta", "Identifier", "Signature"];

/// Which leaves of a document may be shown.
#[derive(Clone, Copy)]
pub struct Shown<'v>(&'v dyn Fn(Node<'_>) -> bool);

impl<'v> Shown<'v> {
    /// Those for which `may` is true.
    pub fn new(may: &'v dyn Fn(Node<'_>) -> bool) -> Shown<'v> {
        Shown(may)
    }

    fn text<'a>(self, leaf: Node<'a>) -> Option<Cow<'a, str>> {
        (self.0)(leaf).then(|| leaf.scalar()).flatten()
    }

    fn member<'a>(self, node: Node<'a>, name: &str) -> Option<Cow<'a, str>> {
        self.text(node.child(NameId::of(name))?)
    }
}

/// The narrative of a section that refers to `targets`.
pub fn of_section(targets: &[Node<'_>], shown: Shown<'_>) -> String {
    let mut div = String::from(OPEN);
    div.push_str("<ul>");
    for target in targets {
        describe(&mut div, *target, shown);
    }
    div.push_str("</ul>");
    div.push_str(CLOSE);
    div
}

/// The narrative of a section of which nothing but the heading is shared.
pub fn of_withheld_section(tell_withheld: bool) -> String {
    let sentence = match tell_withheld {
        true => "The content of this section was withheld.",
        false => "Nothing is shared in this section.",
    };
    format!("{OPEN}<p>{sentence}</p>{CLOSE}")
}

/// The narrative of a Composition: its title, date and headings, and `note` at the end.
pub fn of_composition(composition: Node<'_>, shown: Shown<'_>, note: Option<&str>) -> String {
    let mut div = String::from(OPEN);
    let title = shown.member(composition, "title").unwrap_or(Cow::Borrowed("Composition"));
    paragraph(&mut div, "b", &title);
    if let Some(date) = shown.member(composition, "date") {
        paragraph(&mut div, "span", &date);
    }
    let sections = composition.child(NameId::of("section")).into_iter().flat_map(Node::items);
    let headings: Vec<_> = sections.filter_map(|section| shown.member(section, "title")).collect();
    if !headings.is_empty() {
        div.push_str("<ul>");
        for heading in headings {
            item(&mut div, &heading);
        }
        div.push_str("</ul>");
    }
    if let Some(note) = note {
        paragraph(&mut div, "i", note);
    }
    div.push_str(CLOSE);
    div
}

/// Writes a narrative that this module made.
pub fn write(out: &mut Writer, div: &str) {
    out.begin_object();
    out.field("status", GENERATED);
    out.field("div", div);
    out.end_object();
}

/// Whether `text` is that narrative and nothing more.
pub fn is(text: Node<'_>, div: &str) -> bool {
    let has = |name: &str, expected: &str| {
        text.child(NameId::of(name)).and_then(Node::text).is_some_and(|own| own == expected)
    };
    text.children().count() == 2 && has("status", GENERATED) && has("div", div)
}

fn describe(div: &mut String, resource: Node<'_>, shown: Shown<'_>) {
    let Some(of) = resource.resource_type().and_then(|name| schema().resource(name)) else { return };
    let mut lines = Vec::new();
    collect(resource, of, shown, &mut lines);
    div.push_str("<li><b>");
    escape(div, &words_of(of.name));
    div.push_str("</b>");
    if !lines.is_empty() {
        div.push_str("<ul>");
        for (label, text) in lines {
            item(div, &format!("{label}: {text}"));
        }
        div.push_str("</ul>");
    }
    div.push_str("</li>");
}

/// One line for each element that has something to show; backbone elements give theirs in turn.
fn collect(node: Node<'_>, of: &TypeDef, shown: Shown<'_>, lines: &mut Vec<(String, String)>) {
    for child in node.children().filter(|child| !child.name_id().is_primitive_extension()) {
        let Some((element, chosen)) = of.element(child.name_id()) else { continue };
        let Some(to) = schema().type_named(chosen.code) else { continue };
        if FOR_MACHINES.contains(&element.stem) || TYPES_FOR_MACHINES.contains(&to.name) {
            continue;
        }
        for each in child.items() {
            if to.name == "Extension" {
                extension(each, to, shown, lines);
            } else if to.name.contains('.') {
                collect(each, to, shown, lines);
            } else if let Some(text) = value(each, to, shown) {
                lines.push((words_of(element.stem), text));
            }
        }
    }
}

/// An extension is called by the end of its URL.
fn extension(node: Node<'_>, of: &TypeDef, shown: Shown<'_>, lines: &mut Vec<(String, String)>) {
    let mut own = Vec::new();
    collect(node, of, shown, &mut own);
    let url = shown.member(node, "url").unwrap_or_default();
    let label = words_of(url.rsplit('/').next().unwrap_or_default());
    lines.extend(own.into_iter().map(|(_, text)| (label.clone(), text)));
}

/// A data type as one text: a Coding by its display, else its code; others by their leaves in order.
fn value(node: Node<'_>, of: &TypeDef, shown: Shown<'_>) -> Option<String> {
    if of.kind == TypeKind::Primitive {
        return shown.text(node).map(Cow::into_owned);
    }
    if of.name == "Coding" {
        return shown.member(node, "display").or_else(|| shown.member(node, "code")).map(Cow::into_owned);
    }
    let mut texts: Vec<String> = Vec::new();
    for child in node.children().filter(|child| !child.name_id().is_primitive_extension()) {
        let Some((element, chosen)) = of.element(child.name_id()) else { continue };
        let Some(to) = schema().type_named(chosen.code) else { continue };
        let for_machines = FOR_MACHINES.contains(&element.stem) || TYPES_FOR_MACHINES.contains(&to.name);
        if !for_machines && to.name != "Extension" {
            texts.extend(child.items().filter_map(|item| value(item, to, shown)));
        }
    }
    let between = match of.name {
        "Period" | "Range" => " to ",
        "CodeableConcept" => "; ",
        _ => " ",
    };
    (!texts.is_empty()).then(|| texts.join(between))
}

/// `Qualitative risk` for `qualitativeRisk`, `Alleged source` for `alleged-source`.
fn words_of(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for (index, letter) in name.chars().enumerate() {
        match letter {
            _ if index == 0 => words.extend(letter.to_uppercase()),
            '-' => words.push(' '),
            _ if letter.is_uppercase() => {
                words.push(' ');
                words.extend(letter.to_lowercase());
            }
            _ => words.push(letter),
        }
    }
    words
}

fn paragraph(div: &mut String, tag: &str, text: &str) {
    let _infallible = write!(div, "<p><{tag}>");
    escape(div, text);
    let _infallible = write!(div, "</{tag}></p>");
}

fn item(div: &mut String, text: &str) {
    div.push_str("<li>");
    escape(div, text);
    div.push_str("</li>");
}

/// Appends text as XHTML character data. What XML 1.0 cannot hold becomes U+FFFD.
fn escape(div: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => div.push_str("&amp;"),
            '<' => div.push_str("&lt;"),
            '>' => div.push_str("&gt;"),
            '"' => div.push_str("&quot;"),
            '\'' => div.push_str("&#39;"),
            '\n' => div.push_str("<br/>"),
            '\t' | '\r' => div.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => div.push('\u{fffd}'),
            _ => div.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};

    fn section(resource: &str, hidden: &str) -> String {
        let document = Document::parse(resource, &Limits::default()).expect("it is JSON");
        let may = |leaf: Node<'_>| hidden.is_empty() || !leaf.path().as_str().contains(hidden);
        of_section(&[document.root()], Shown::new(&may))
    }

    #[test]
    fn a_section_shows_what_may_be_shown() {
        let risk = r#"{"resourceType":"RiskAssessment","id":"x","status":"final",
            "code":{"coding":[{"system":"s","code":"self","display":"Self harm"}]},
            "occurrencePeriod":{"start":"2026-01-01","end":"2026-01-02"},
            "prediction":[{"outcome":{"text":"A <b> & \"c\"\u0001\nd"},"qualitativeRisk":{"coding":[{"code":"high"}]}}],
            "extension":[{"url":"https://x.example/alleged-source","valueString":"y"}]}"#;
        let open = r#"<div xmlns="http://www.w3.org/1999/xhtml"><ul><li><b>Risk assessment</b><ul>"#;
        assert_eq!(
            section(risk, ""),
            format!(
                "{open}<li>Status: final</li><li>Code: Self harm</li><li>Occurrence: 2026-01-01 to 2026-01-02</li>\
                 <li>Outcome: A &lt;b&gt; &amp; &quot;c&quot;\u{fffd}<br/>d</li><li>Qualitative risk: high</li>\
                 <li>Alleged source: y</li></ul></li></ul></div>"
            )
        );
        assert!(!section(risk, "outcome").contains("A &lt;"));
        assert!(section(risk, "display").contains("Code: self"));
        assert_eq!(section(r#"{"resourceType":"Flag"}"#, ""), format!("{OPEN}<ul><li><b>Flag</b></li></ul>{CLOSE}"));
    }
}
