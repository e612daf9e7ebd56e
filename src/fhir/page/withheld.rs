//! What the receiver was not given: the list on `Bundle.meta`, values that are masked, security labels, the summary's account.
//!
//! Enters: a Bundle. Leaves: what was withheld, in words, by kind of resource. Invariant: it tells what the message tells, no more: a
//! message of which nothing is marked may still be part of a record.

use std::collections::{BTreeMap, BTreeSet};

use super::frame::Frame;
use super::html::plain_text;
use super::lines::is_masked_value;
use super::sections::title_of;
use super::values::coding;
use crate::fhir::labels::{is_masked, withheld_element};
use crate::fhir::narrative::words::words_of;
use crate::fhir::{Node, keys};

/// Labels that say that something is missing or was changed (HL7 v3-ObservationValue, v3-ActCode).
const WITHHOLDING: [&str; 6] = ["SUBSETTED", "REDACTED", "MASKED", "ABSTRED", "PSEUDED", "ANONYED"];

/// What was not given.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    /// Elements by kind of resource, as the message lists them. An empty set is all of the kind.
    pub(super) listed: BTreeMap<String, BTreeSet<String>>,
    /// Elements whose value is masked, by kind of resource.
    pub(super) masked: BTreeMap<String, BTreeSet<String>>,
    /// What labels say of it, each with the kinds of resources that carry it.
    pub(super) labels: BTreeMap<String, BTreeSet<String>>,
    /// Labels that say how to handle what came, and nothing of what did not.
    pub(super) handling: BTreeMap<String, BTreeSet<String>>,
    /// The sentence of the summary that names the agreement.
    pub(super) account: Option<String>,
}

impl Withheld {
    pub(super) fn of(frame: &Frame<'_>) -> Withheld {
        let mut withheld = Withheld::default();
        let meta = frame.bundle.child(keys().meta);
        let extensions = meta.into_iter().flat_map(|meta| meta.items_at(keys().extension));
        for path in extensions.filter_map(withheld_element) {
            let (kind, element) = path.split_once('.').unwrap_or((&path, ""));
            let elements = withheld.listed.entry(words_of(kind)).or_default();
            elements.extend((!element.is_empty()).then(|| in_words(element)));
        }
        withheld.labels_of(frame.bundle);
        for resource in frame.reader.entries.list().iter().filter_map(|entry| entry.resource) {
            withheld.labels_of(resource);
            for element in resource.children() {
                let is_withheld = |node: Node<'_>| node.is_object() && (is_masked(node) || is_masked_value(node));
                if element.subtree().any(is_withheld) {
                    let kind = words_of(resource.resource_type().unwrap_or("Resource"));
                    let name = if is_masked_value(element) { Some("value".into()) } else { element.name() };
                    let name = name.map(|name| in_words(name.trim_start_matches('_'))).unwrap_or_default();
                    withheld.masked.entry(kind).or_default().insert(name);
                }
            }
        }
        let sections = frame.composition.into_iter().flat_map(Node::subtree).filter(|node| node.is_object());
        for title in sections.filter(|section| is_withheld_section(*section)).filter_map(title_of) {
            withheld.listed.entry(title).or_default();
        }
        let narrative = frame.composition.and_then(|composition| composition.member("text")?.member("div")?.text());
        let said = narrative.map(|div| plain_text(&div)).unwrap_or_default();
        withheld.account =
            said.lines().last().filter(|last| last.starts_with("Withheld under agreement")).map(str::to_owned);
        withheld
    }

    fn labels_of(&mut self, resource: Node<'_>) {
        let meta = resource.child(keys().meta);
        for label in meta.into_iter().flat_map(|meta| meta.items_at(keys().security)) {
            let code = label.text_of("code").unwrap_or_default();
            let tells_of_it = WITHHOLDING.contains(&&*code);
            let words = match &*code {
                "SUBSETTED" => "Part was withheld (SUBSETTED)".to_owned(),
                "REDACTED" => "Part was withheld (REDACTED)".to_owned(),
                "MASKED" => "Part was withheld (MASKED)".to_owned(),
                "ABSTRED" => "Made less exact (ABSTRED)".to_owned(),
                "PSEUDED" => "A pseudonym in the place of an identifier (PSEUDED)".to_owned(),
                "ANONYED" => "Made anonymous (ANONYED)".to_owned(),
                "R" => "Restricted (R)".to_owned(),
                "V" => "Very restricted (V)".to_owned(),
                _ => coding(label).unwrap_or_default(),
            };
            let kind = words_of(resource.resource_type().unwrap_or("Resource"));
            let labels = if tells_of_it { &mut self.labels } else { &mut self.handling };
            labels.entry(words).or_default().insert(kind);
        }
    }

    /// Whether the message marks nothing.
    pub(super) fn is_nothing(&self) -> bool {
        self.listed.is_empty() && self.masked.is_empty() && self.labels.is_empty() && self.account.is_none()
    }

    /// Whether a kind of resource is listed: all of it, or elements.
    pub(super) fn lists(&self, kind: &str) -> bool {
        self.listed.contains_key(&words_of(kind))
    }
}

/// Whether a section is empty since it was withheld.
fn is_withheld_section(section: Node<'_>) -> bool {
    let codings = section.items_of("emptyReason").flat_map(|reason| reason.items_of("coding"));
    codings.filter_map(|coding| coding.text_of("code")).any(|code| code == "withheld")
}

/// `given name` for `name.given`: an element of an element, in words.
fn in_words(path: &str) -> String {
    let names: Vec<String> = path.split('.').map(|name| words_of(name).to_lowercase()).collect();
    names.join(", ")
}
