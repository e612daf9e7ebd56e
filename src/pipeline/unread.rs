//! What a partner's referral says and the record that was made of it does not.
//!
//! Enters: the message, and which of its values the interface's map takes over. Leaves: the places of the others. Invariant: whoever reads
//! the record alone is told of each element that they do not see, but for what frames a message, names a resource, leads to another
//! entry, or repeats in a narrative what is structured. A value that a rule only looks at is not taken over. Places and names of elements,
//! never a value.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::{Stages, aside};
use crate::fhir::bundle::Entries;
use crate::fhir::message::KINDS;
use crate::fhir::{Document, ElementPath, Kind, Node};
use crate::identity::InterfaceName;

/// At most so many places are told; of others, how many there are.
const MOST: usize = 1_000;

/// Elements that frame a resource, or say again what others say: FHIR R4 Resource, Coding and Identifier.
const FRAME: [&str; 8] = ["resourceType", "id", "meta", "fullUrl", "version", "userSelected", "assigner", "linkId"];
/// Elements that frame a message: who sends what to whom, and why.
const HEADER: [&str; 10] =
    ["event", "eventCoding", "destination", "sender", "source", "reason", "focus", "definition", "enterer", "author"];
/// Categories that only say what kind of resource it is, by system and code; those of allergens are all such.
const KIND: [(&str, &str, Option<&str>); 2] = [
    ("ServiceRequest", KINDS, Some("referral")),
    ("Observation", "http://terminology.hl7.org/CodeSystem/observation-category", None),
];
/// That nothing is confidential beyond what every record is: its code, and the system of the code.
const NORMAL: (&str, &str) = ("N", "http://terminology.hl7.org/CodeSystem/v3-Confidentiality");
/// That a summary's section is empty because there is nothing: its code, and the system of the code.
const NONE_KNOWN: (&str, &str) = ("nilknown", "http://terminology.hl7.org/CodeSystem/list-empty-reason");

/// A place that the record says nothing of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is in the message.
    pub path: ElementPath,
    /// What it is: `Observation.valueRatio`; `Encounter` when nothing of the resource is in the record.
    pub what: String,
}

/// What the record does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// The first places, in the order of the message.
    pub places: Vec<Place>,
    /// How many more there are.
    pub more: usize,
}

/// What the interface's map, as it is now, takes over nothing of. None where that cannot be told: there is no such map any more, or it cannot
/// read the message.
pub async fn unread(stages: &Arc<Stages>, interface: &InterfaceName, message: Document, seed: Uuid) -> Option<Unread> {
    let interface = interface.clone();
    aside(stages, message.source().len(), move |stages| beside(stages, &interface, &message, seed)).await
}

fn beside(stages: &Stages, interface: &InterfaceName, message: &Document, seed: Uuid) -> Option<Unread> {
    let made = stages.mappings.get(interface)?.transform(message, seed).ok()?;
    let taken = made.origins.iter().filter_map(|origin| origin.source).map(|id| id.index()).collect();
    let mut reader = Reader { taken, entries: Entries::of(message), framing: HashSet::new(), found: Unread::default() };
    let resources: Vec<Node<'_>> = reader.entries.list().iter().filter_map(|entry| entry.resource).collect();
    for header in resources.iter().filter(|resource| resource.resource_type() == Some("MessageHeader")) {
        let receivers = header.items_of("destination").filter_map(|each| each.member("receiver"));
        let parties = header.member("sender").into_iter().chain(receivers);
        reader.framing.extend(parties.filter_map(|party| reader.entries.target(party)).map(|node| node.id().index()));
    }
    reader.labels(message.root(), "Bundle");
    resources.into_iter().for_each(|resource| reader.resource(resource));
    Some(reader.found)
}

struct Reader<'a> {
    /// The nodes that something of the record comes from.
    taken: HashSet<usize>,
    entries: Entries<'a>,
    /// The organisations that send and receive the message.
    framing: HashSet<usize>,
    found: Unread,
}

impl<'a> Reader<'a> {
    fn resource(&mut self, resource: Node<'a>) {
        let Some(name) = resource.resource_type().filter(|_| !self.framing.contains(&resource.id().index())) else {
            return;
        };
        self.labels(resource, name);
        let says = |child: &Node<'a>| !self.is_frame(name, *child) && !self.says_again(*child);
        if name == "Composition" {
            self.summary(resource, name);
        } else if name == "MessageHeader" {
            self.header(resource, name);
        } else if resource.children().filter(says).any(|child| self.is_taken(child)) {
            self.below(resource, name);
        } else {
            self.tell(resource, name);
        }
    }

    /// Labels on a resource: that it is restricted, or a test.
    fn labels(&mut self, resource: Node<'a>, name: &str) {
        let Some(meta) = resource.member("meta") else { return };
        for own in ["security", "tag"] {
            for label in meta.items_of(own).filter(|label| !is_code(*label, NORMAL)) {
                self.tell(label, &format!("{name}.meta.{own}"));
            }
        }
    }

    /// Of a header, numbers of its source and what is in extensions; the rest says who sends what to whom.
    fn header(&mut self, header: Node<'a>, name: &str) {
        for child in header.children() {
            match child.name().as_deref() {
                Some("source") => {
                    if let Some(contact) = child.member("contact") {
                        self.below(contact, "MessageHeader.source.contact");
                    }
                }
                Some(own) if !HEADER.contains(&own) && !self.is_frame(name, child) => {
                    self.below(child, &format!("{name}.{own}"));
                }
                _ => {}
            }
        }
    }

    /// The values below a node that is called `name` and are not taken over; of one of which nothing is, itself.
    fn below(&mut self, node: Node<'a>, name: &str) {
        if node.kind() == Kind::Null || self.says_again(node) {
            return;
        }
        if !self.is_taken(node) || (node.children().next().is_none() && !self.taken.contains(&node.id().index())) {
            return self.tell(node, name);
        }
        for child in node.children() {
            match child.name() {
                _ if self.is_frame(name, child) || is_spelled_by(node, child, |sibling| self.is_taken(sibling)) => {}
                Some(own) => self.below(child, &format!("{name}.{own}")),
                None => self.below(child, name),
            }
        }
    }

    /// Of a summary and its sections, what is more than a list of what stands elsewhere: that it does not hold, is replaced or confidential,
    /// narrative that says more, why a section is empty, extensions. A section without entries has nothing that its narrative could be
    /// generated from.
    fn summary(&mut self, node: Node<'a>, name: &str) {
        let is_section = name.contains('.');
        let lists = !is_section || node.member("entry").is_some() || node.member("section").is_some();
        for child in node.children() {
            let own = child.name().unwrap_or_default();
            let is_more = match &*own {
                "status" => !child.text().is_some_and(|status| matches!(&*status, "final" | "amended")),
                "text" => !(self.is_taken(child) || (lists && self.says_again(child))),
                "emptyReason" => !(says_none_known(child) && self.is_taken(node)),
                "confidentiality" => child.text().is_none_or(|code| code != NORMAL.0),
                "extension" | "modifierExtension" | "relatesTo" => true,
                "focus" => !self.says_again(child),
                "section" => {
                    child.items().for_each(|section| self.summary(section, &format!("{name}.section")));
                    false
                }
                _ => false,
            };
            if is_more {
                self.tell(child, &format!("{name}.{own}"));
            }
        }
    }

    /// Whether the value, or one below it, is taken over.
    fn is_taken(&self, node: Node<'_>) -> bool {
        (node.id().index()..node.end_index()).any(|index| self.taken.contains(&index))
    }

    /// Whether a member of what is called `name` frames it alone. What a request is meant as was judged when it came.
    fn is_frame(&self, name: &str, child: Node<'_>) -> bool {
        child.name().is_some_and(|own| match &*own {
            "language" => !name.contains('.'),
            "identifier" => !name.contains('.') && name != "Patient",
            "intent" => name == "ServiceRequest",
            "category" => name == "AllergyIntolerance" || says_kind(name, child),
            own => FRAME.contains(&own),
        })
    }

    /// Whether a value says what stands elsewhere in the message: references to other entries, or a narrative that was generated from the
    /// structured values alone (FHIR R4 Narrative.status).
    fn says_again(&self, node: Node<'_>) -> bool {
        // What a sender calls a resource of its own is said nowhere else.
        let leads_within = |item: Node<'_>| {
            item.text_of("reference").is_some_and(|to| to.starts_with('#')) && item.member("display").is_none()
        };
        let leads = |item: Node<'_>| leads_within(item) || self.entries.target(item).is_some();
        match node.kind() {
            Kind::Object => {
                let is_generated = node.text_of("status").as_deref() == Some("generated");
                leads(node) || (node.member("div").is_some() && is_generated)
            }
            Kind::Array => node.children().next().is_some() && node.items().all(leads),
            _ => false,
        }
    }

    fn tell(&mut self, node: Node<'_>, name: &str) {
        if self.found.places.len() < MOST {
            self.found.places.push(Place { path: node.path(), what: name.to_owned() });
        } else {
            self.found.more += 1;
        }
    }
}

/// Whether a child is the system of a code, number or identifier that is taken over, what a code that is taken over is called, the code of a
/// unit that is, or the url of an extension: the field of the record says it.
fn is_spelled_by<'a>(node: Node<'a>, child: Node<'a>, is_taken: impl Fn(Node<'a>) -> bool) -> bool {
    let beside: &[&str] = match child.name().as_deref() {
        Some("url") => return true,
        Some("system") => &["code", "value"],
        Some("display") => &["code"],
        Some("code") => &["unit"],
        _ => return false,
    };
    beside.iter().filter_map(|name| node.member(name)).any(is_taken)
}

/// Whether a category of a resource only says what kind of resource it is.
fn says_kind(name: &str, category: Node<'_>) -> bool {
    let Some((_, system, code)) = KIND.iter().find(|(of, ..)| *of == name) else { return false };
    let is_it = |coding: Node<'_>| {
        let text = |name| coding.text_of(name);
        text("system").as_deref() == Some(system) && code.is_none_or(|code| text("code").as_deref() == Some(code))
    };
    let is_all = |concept: Node<'_>| {
        concept.member("text").is_none() && concept.member("coding").is_some() && concept.items_of("coding").all(is_it)
    };
    category.items().all(is_all)
}

/// Whether a coding is this code of this system.
fn is_code(coding: Node<'_>, (code, system): (&str, &str)) -> bool {
    let text = |name| coding.text_of(name);
    text("code").as_deref() == Some(code) && text("system").as_deref() == Some(system)
}

/// Whether the reason why a section is empty is that there is nothing, and no other.
fn says_none_known(reason: Node<'_>) -> bool {
    let codings: Vec<bool> = reason.items_of("coding").map(|coding| is_code(coding, NONE_KNOWN)).collect();
    let has_more = reason.children().any(|child| child.name().is_some_and(|name| name != "coding" && name != "text"));
    !codings.is_empty() && codings.into_iter().all(|is_it| is_it) && !has_more
}
