//! What a resource says, as lines of a label and words: any resource that R4 knows, element by element.
//!
//! Enters: a resource of a received Bundle. Leaves: its [`Line`]s, without what is for machines or goes without saying. Invariant:
//! an element that was withheld has a line that says so; one that R4 does not know is counted, never shown.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::dosage::is_dosing;
use super::html::plain_text;
use super::references::Own;
use crate::fhir::bundle::Entries;
use crate::fhir::labels::{DATA_ABSENT_REASON, is_masked};
use crate::fhir::narrative::words::{is_for_machines, is_type_for_machines, label_of, words_of};
use crate::fhir::narrative::{HEADLINES, goes_without_saying};
use crate::fhir::r4::{TypeDef, TypeKind, schema};
use crate::fhir::{Kind, Node, NodeId, keys};

/// What an element says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// These words.
    Words(String),
    /// There is a value, and it was withheld.
    Withheld,
    /// There is no value, for this reason (a code of data-absent-reason).
    Absent(String),
    /// Nothing came, and nothing says why.
    Nothing,
}

/// One element of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its name in R4 without a type (`value` of `valueString`); of an extension, the end of its URL.
    pub(super) stem: String,
    /// Whether it says what the resource is about.
    pub(super) is_headline: bool,
    /// Whether it turns the meaning of the rest: `entered-in-error`, `doNotPerform`, a modifier extension.
    pub(super) is_loud: bool,
    /// Whether the banner warns of it already: a modifier extension, rules of its own.
    pub(super) is_modifier: bool,
    /// Its name in words; empty where the words stand for themselves.
    pub(super) label: Cow<'static, str>,
    /// What it says.
    pub(super) said: Said,
}

/// States after which nothing of a resource holds as it did.
const LOUD_STATES: [&str; 13] = [
    "entered-in-error",
    "revoked",
    "cancelled",
    "refuted",
    "stopped",
    "rejected",
    "inactive",
    "on-hold",
    "not-done",
    "not-taken",
    "suspended",
    "abandoned",
    "resolved",
];

/// Reads the resources of one Bundle.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// The Bundle's entries.
    pub(super) entries: &'a Entries<'a>,
    /// Times that are the message's own, as written: a line that says no more is left out.
    pub(super) own_times: Vec<String>,
    /// What is the message's own: a line does not name it again.
    pub(super) own: Own,
    /// How many elements were met that R4 does not know.
    pub(super) unknown: Cell<usize>,
    /// What was read already: a resource may be referred to any number of times.
    pub(super) read: RefCell<BTreeMap<NodeId, Rc<[Line]>>>,
    /// The same of the names of what is referred to.
    pub(super) headlines: RefCell<BTreeMap<NodeId, Option<Rc<str>>>>,
}

impl<'a> Reader<'a> {
    /// What a resource says.
    pub(super) fn lines(&self, resource: Node<'a>) -> Rc<[Line]> {
        if let Some(lines) = self.read.borrow().get(&resource.id()) {
            return lines.clone();
        }
        let lines: Rc<[Line]> = self.read_lines(resource).into();
        self.read.borrow_mut().insert(resource.id(), lines.clone());
        lines
    }

    fn read_lines(&self, resource: Node<'a>) -> Vec<Line> {
        let mut lines = Vec::new();
        match resource.resource_type().and_then(|name| schema().resource(name)) {
            Some(of) => self.collect(resource, of, &mut lines),
            None => self.unknown.set(self.unknown.get() + 1),
        }
        if !lines.is_empty() {
            return lines;
        }
        let narrative = resource.child(keys().text).and_then(|text| text.child(keys().div)).and_then(Node::text);
        if let Some(text) = narrative.map(|div| plain_text(&div)).filter(|text| !text.is_empty()) {
            lines.push(line("text", Cow::Borrowed(""), Said::Words(text)));
        }
        lines
    }

    fn collect(&self, node: Node<'a>, of: &'static TypeDef, lines: &mut Vec<Line>) {
        for child in node.children() {
            let name = child.name_id();
            if name.without_underscore() == keys().resource_type || is_for_machines(name.without_underscore()) {
                continue;
            }
            let found = of.element(name).and_then(|(element, chosen)| Some((element, chosen.def()?)));
            let Some((element, to)) = found else {
                self.unknown.set(self.unknown.get() + 1);
                continue;
            };
            let names_it = HEADLINES.contains(&element.stem) || matches!(element.stem, "name" | "description");
            let is_headline = of.kind == TypeKind::Resource && names_it;
            for each in child.items().filter(|each| each.kind() != Kind::Null) {
                let label = || if element.stem == "description" { Cow::Borrowed("") } else { label_of(element.stem) };
                match to.name {
                    "Extension" if element.stem == "modifierExtension" => lines.extend(self.modifier(each)),
                    "Extension" => self.extension(each, "", lines),
                    "Resource" => {
                        lines.extend(self.read_lines(each).into_iter().map(|line| Line { is_headline: false, ..line }))
                    }
                    _ if is_type_for_machines(to) => {}
                    _ => match absent(each) {
                        Some(said) => lines.push(Line { is_headline, ..line(element.stem, label(), said) }),
                        None if name.is_primitive_extension() => {
                            let own = each.items_at(keys().extension);
                            own.for_each(|extension| self.extension(extension, element.stem, lines));
                        }
                        None if to.is_backbone && !is_dosing(to.name) => self.collect(each, to, lines),
                        None => {
                            let words = self.value(each, to).filter(|words| !self.is_quiet(element.stem, each, words));
                            let Some(words) = words else { continue };
                            let is_modifier = element.stem == "implicitRules";
                            let is_loud = is_modifier || is_loud(element.stem, &words, each);
                            let said = line(element.stem, label(), Said::Words(words));
                            lines.push(Line { is_headline, is_loud, is_modifier, ..said });
                        }
                    },
                }
            }
        }
    }

    /// What a modifier extension says: one line at least, whatever it lacks.
    pub(super) fn modifier(&self, node: Node<'a>) -> Vec<Line> {
        let mut lines = Vec::new();
        self.extension(node, "", &mut lines);
        if lines.is_empty() {
            let url = node.child(keys().url).and_then(Node::text).unwrap_or_default();
            let words = if url.trim().is_empty() { "it has no name".to_owned() } else { url.into_owned() };
            lines.push(line("modifierExtension", Cow::Borrowed("Modifier"), Said::Words(words)));
        }
        lines.into_iter().map(|line| Line { is_loud: true, is_modifier: true, ..line }).collect()
    }

    /// An extension is called by the end of its URL, behind the name of the one that it is part of.
    fn extension(&self, node: Node<'a>, of: &str, lines: &mut Vec<Line>) {
        let url = node.child(keys().url).and_then(Node::text).unwrap_or_default();
        let end = url.rsplit('/').next().unwrap_or_default();
        let end =
            ["weir-", "Extension-UKCore-", "Extension-"].iter().find_map(|ours| end.strip_prefix(ours)).unwrap_or(end);
        if url == DATA_ABSENT_REASON || end.is_empty() {
            return;
        }
        let stem = if of.is_empty() { end.to_owned() } else { format!("{of}, {}", words_of(end).to_lowercase()) };
        let label: Cow<'static, str> = match of.is_empty() {
            true => words_of(end).into(),
            false => words_of(&stem).into(),
        };
        let extension = schema().type_named("Extension");
        for child in node.children() {
            let name = child.name_id();
            let to = extension.and_then(|of| of.element(name)).and_then(|(_, chosen)| chosen.def());
            if name == keys().extension {
                child.items().for_each(|part| self.extension(part, &stem, lines));
            } else if let Some(to) = to.filter(|_| name != keys().url && name != keys().id) {
                let said =
                    child.items().filter_map(|item| absent(item).or_else(|| self.value(item, to).map(Said::Words)));
                lines.extend(said.map(|said| line(&stem, label.clone(), said)));
            }
        }
    }

    /// Whether words say what everybody takes for granted: a usual status, the time of the message.
    fn is_quiet(&self, stem: &str, node: Node<'a>, words: &str) -> bool {
        let text = || match node.is_object() {
            true => node.child(keys().start).filter(|_| node.children().count() == 1).and_then(Node::text),
            false => node.text(),
        };
        goes_without_saying(stem, words)
            || (stem == "status" && words == "requested")
            || self.is_own(stem, node)
            || text().is_some_and(|text| self.own_times.iter().any(|own| *own == text))
    }
}

fn line(stem: &str, label: Cow<'static, str>, said: Said) -> Line {
    Line { stem: stem.to_owned(), is_headline: false, is_loud: false, is_modifier: false, label, said }
}

/// Why an element has no value, if it says nothing more than that.
pub(super) fn absent(node: Node<'_>) -> Option<Said> {
    let is_more = |child: &Node<'_>| child.name_id() != keys().extension && child.name_id() != keys().id;
    if !node.is_object() || node.children().any(|child| is_more(&child)) {
        return None;
    }
    let extensions = || node.items_at(keys().extension);
    let reason =
        extensions().find(|extension| extension.text_of("url").is_some_and(|url| url == DATA_ABSENT_REASON))?;
    // A value that was made less exact says both.
    if extensions().count() > 1 {
        return None;
    }
    Some(match is_masked(reason) {
        true => Said::Withheld,
        false => Said::Absent(reason.text_of("valueCode").unwrap_or_default().into_owned()),
    })
}

fn is_loud(stem: &str, words: &str, node: Node<'_>) -> bool {
    let is_state = stem == "status" || stem.ends_with("Status");
    let code = || {
        node.items_of("coding").filter_map(|coding| coding.text_of("code")).any(|code| LOUD_STATES.contains(&&*code))
    };
    (is_state && (LOUD_STATES.contains(&words) || code())) || (stem == "doNotPerform" && words == "yes")
}
