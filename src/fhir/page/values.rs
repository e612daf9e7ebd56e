//! Values of data types, in words.
//!
//! Enters: an element of a received Bundle. Leaves: what it says, or nothing. Invariant: a value of which a part was withheld says so.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::amounts::{quantity, range, ratio};
use super::dosage::is_dosing;
use super::html::plain_text;
use super::lines::Reader;
use super::when;
use crate::fhir::labels::is_masked;
use crate::fhir::narrative::words::{is_for_machines, is_type_for_machines};
use crate::fhir::r4::{TypeDef, TypeKind, schema};
use crate::fhir::{NameId, Node};

const EXTENSION_NUMBER: &str = "http://hl7.org/fhir/StructureDefinition/contactpoint-extension";
/// The parts of an address, in the order in which it is written.
const ADDRESS: [&str; 6] = ["line", "city", "district", "state", "postalCode", "country"];
const PART_WITHHELD: &str = " (part withheld)";

impl<'a> Reader<'a> {
    /// The values of an element of a resource, each in words, those that no longer hold last.
    pub(super) fn words(&self, resource: Node<'a>, name: &str) -> Vec<String> {
        let of = resource.resource_type().and_then(|of| schema().resource(of));
        of.map_or_else(Vec::new, |of| self.words_in(resource, of, name))
    }

    /// The same of an element of any type.
    pub(super) fn words_in(&self, node: Node<'a>, of: &TypeDef, name: &str) -> Vec<String> {
        let name = NameId::of(name);
        let to = of.element(name).and_then(|(_, chosen)| chosen.def());
        let (Some(child), Some(to)) = (node.child(name), to) else { return Vec::new() };
        let (former, current): (Vec<Node<'a>>, Vec<Node<'a>>) = child.items().partition(|item| self.is_former(*item));
        current.into_iter().chain(former).filter_map(|item| self.value(item, to)).collect()
    }

    /// A value in words.
    pub(super) fn value(&self, node: Node<'a>, of: &TypeDef) -> Option<String> {
        let words = match of.kind {
            TypeKind::Primitive => primitive(node, of),
            _ => self.complex(node, of),
        };
        let words = words.map(|words| words.trim().to_owned()).filter(|words| !words.is_empty())?;
        let is_said = words.ends_with(PART_WITHHELD);
        let has_masked =
            !is_said && node.is_object() && node.subtree().any(|inner| inner.is_object() && is_masked(inner));
        Some(if has_masked { words + PART_WITHHELD } else { words })
    }

    fn complex(&self, node: Node<'a>, of: &TypeDef) -> Option<String> {
        let part = |name: &str| node.child(NameId::of(name)).and_then(Node::scalar);
        match of.name {
            "Coding" => coding(node),
            "CodeableConcept" => concept(node),
            "Period" => period(node),
            "HumanName" => {
                let own = self.some_of(node, of, &["prefix", "given", "family", "suffix"]).map(|parts| parts.join(" "));
                let words = own.or_else(|| part("text").map(Cow::into_owned))?;
                let of_use = part("use").filter(|of_use| !matches!(&**of_use, "official" | "usual"));
                Some(in_use(words, of_use.map(|of_use| format!("{of_use} name")), period_of(node)))
            }
            "ContactPoint" => {
                let mut words = self.some_of(node, of, &["system", "value"])?.join(" ");
                words.extend(extension_number(node).map(|number| format!(", extension {number}")));
                Some(in_use(words, part("use").map(Cow::into_owned), period_of(node)))
            }
            "Address" => {
                let parts = || Some(self.some_of(node, of, &ADDRESS)?.join(", "));
                let words = part("text").map(Cow::into_owned).or_else(parts)?;
                let of_use = part("use").filter(|of_use| matches!(&**of_use, "old" | "temp" | "billing"));
                Some(in_use(words, of_use.map(Cow::into_owned), period_of(node)))
            }
            "Range" => range(node).or_else(|| self.leaves(node, of, " to ")),
            "Ratio" => ratio(node).or_else(|| self.leaves(node, of, " per ")),
            "Quantity" | "Age" | "Duration" | "Count" | "Distance" => {
                // What is odd is shown as it stands.
                let parts = || ["comparator", "value", "unit", "code"].iter().filter_map(|name| part(name));
                let as_it_stands = || part("value").map(|_| parts().collect::<Vec<_>>().join(" "));
                quantity(node).or_else(as_it_stands)
            }
            "Reference" => self.reference(node),
            "Attachment" => {
                let title = part("title").or_else(|| part("contentType")).unwrap_or_default();
                Some(format!("{title} (an attachment, not shown here)"))
            }
            "Annotation" => {
                let author = node.member("authorReference").and_then(|to| self.reference(to)).map(Cow::Owned);
                let by = part("authorString")
                    .into_iter()
                    .chain(author)
                    .chain(part("time").map(|at| when::in_words(&at).into_owned().into()));
                let by = by.collect::<Vec<_>>().join(", ");
                let text = part("text")?;
                Some(if by.is_empty() { text.into_owned() } else { format!("{text} ({by})") })
            }
            "Identifier" => part("value").map(Cow::into_owned),
            name if is_dosing(name) => self.dosing(node, of),
            _ => self.leaves(node, of, " "),
        }
    }

    fn some_of(&self, node: Node<'a>, of: &TypeDef, names: &[&str]) -> Option<Vec<String>> {
        let parts: Vec<String> = names.iter().flat_map(|name| self.words_in(node, of, name)).collect();
        Some(parts).filter(|parts| !parts.is_empty())
    }

    /// Whether something, as a number or an address, held before the message was written, and no longer.
    pub(super) fn is_former(&self, of: Node<'a>) -> bool {
        let end = of.member("period").and_then(|period| period.text_of("end"));
        let is_before = |end: &str, written: &str| Some(when::day(end)? < when::day(written)?);
        let has_ended = end.zip(self.own_times.first()).and_then(|(end, written)| is_before(&end, written));
        of.text_of("use").is_some_and(|of_use| of_use == "old") || has_ended == Some(true)
    }

    fn leaves(&self, node: Node<'a>, of: &TypeDef, between: &str) -> Option<String> {
        let mut texts = Vec::new();
        for child in node.children().filter(|child| !child.name_id().is_primitive_extension()) {
            let to = of.element(child.name_id()).and_then(|(_, chosen)| chosen.def());
            let Some(to) = to.filter(|to| !is_type_for_machines(to) && to.name != "Extension") else { continue };
            if !is_for_machines(child.name_id()) {
                texts.extend(child.items().filter_map(|item| self.value(item, to)));
            }
        }
        Some(texts.join(between)).filter(|text| !text.is_empty())
    }
}

/// The extension that a phone number is asked for with.
fn extension_number(point: Node<'_>) -> Option<Cow<'_, str>> {
    let mut extensions = point.items_of("extension");
    extensions.find(|of| of.text_of("url").is_some_and(|url| url == EXTENSION_NUMBER))?.text_of("valueString")
}

fn primitive(node: Node<'_>, of: &TypeDef) -> Option<String> {
    let text = node.scalar()?;
    Some(match (of.name, &*text) {
        ("date" | "dateTime" | "instant", _) => when::in_words(&text).into_owned(),
        ("boolean", "true") => "yes".to_owned(),
        ("boolean", "false") => "no".to_owned(),
        ("base64Binary", _) => format!("(data of {} characters, not shown here)", text.len()),
        ("xhtml", _) => plain_text(&text),
        _ => text.into_owned(),
    })
}

/// The words of a coding; its code and the end of its system where it has none.
pub(super) fn coding(node: Node<'_>) -> Option<String> {
    if let Some(display) = node.text_of("display").filter(|display| !display.trim().is_empty()) {
        return Some(display.into_owned());
    }
    let code = node.text_of("code")?;
    let system = node.text_of("system");
    let end = system.as_deref().and_then(|system| system.rsplit(['/', ':']).find(|part| !part.is_empty()));
    Some(end.map_or_else(|| code.clone().into_owned(), |end| format!("{code} ({end})")))
}

/// The words of its codings, then its text; the codes only where there are no words at all.
fn concept(node: Node<'_>) -> Option<String> {
    let (mut texts, mut said): (Vec<String>, BTreeSet<String>) = Default::default();
    let displays = node.items_of("coding").filter_map(|coding| coding.text_of("display"));
    for text in displays.chain(node.text_of("text")) {
        if !text.trim().is_empty() && said.insert(text.clone().into_owned()) {
            texts.push(text.into_owned());
        }
    }
    if texts.is_empty() {
        texts.extend(node.items_of("coding").filter_map(coding));
    }
    Some(texts.join("; ")).filter(|text| !text.is_empty())
}

/// Words with what they are used for and when: `(old, until 1 January 2020)`.
pub(super) fn in_use(words: String, of_use: Option<String>, period: Option<String>) -> String {
    let notes: Vec<String> = of_use.into_iter().chain(period).collect();
    if notes.is_empty() { words } else { format!("{words} ({})", notes.join(", ")) }
}

/// When something holds.
pub(super) fn period_of(node: Node<'_>) -> Option<String> {
    node.member("period").and_then(period)
}

fn period(node: Node<'_>) -> Option<String> {
    let end_of = |name| node.text_of(name).map(|text| when::in_words(&text).into_owned());
    match (end_of("start"), end_of("end")) {
        (Some(start), Some(end)) => Some(format!("from {start} to {end}")),
        (Some(start), None) => Some(format!("from {start}")),
        (None, Some(end)) => Some(format!("until {end}")),
        (None, None) => None,
    }
}
