//! What a partner's referral says and the record that was made of it does not.
//!
//! Enters: the message, and which of its values the interface's map takes over. Leaves: the places of the others. Invariant: whoever reads
//! the record alone is told of each element that they do not see, but for what frames a message, names a resource, leads to another
//! entry, or repeats in a narrative what is structured. A value that a rule only looks at is not taken over. Places and names of elements,
//! never a value.

use std::collections::HashSet;

use uuid::Uuid;

use super::Stages;
use crate::fhir::{Document, ElementPath, Kind, Node};
use crate::identity::InterfaceName;

/// At most so many places are told; of others, how many there are.
const MOST: usize = 1_000;

/// Resources that frame a message: who sends it, and for whom.
const FRAMES: [&str; 2] = ["MessageHeader", "Organization"];
/// Elements that frame a resource, or say again what others say: FHIR R4 Resource, Coding and Identifier.
const FRAME: [&str; 9] =
    ["resourceType", "id", "meta", "fullUrl", "category", "version", "userSelected", "assigner", "linkId"];
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

/// What the interface's map, as it is now, takes over nothing of.
pub fn unread(stages: &Stages, interface: &InterfaceName, message: &Document, seed: Uuid) -> Unread {
    let Some(made) = stages.mappings.get(interface).and_then(|map| map.transform(message, seed).ok()) else {
        return Unread::default();
    };
    let taken: HashSet<usize> = made.origins.iter().filter_map(|origin| origin.source).map(|id| id.index()).collect();
    let entries: Vec<Node<'_>> = message.root().items_of("entry").collect();
    let urls = entries.iter().filter_map(|entry| entry.text_of("fullUrl")).map(|url| url.into_owned()).collect();
    let mut reader = Reader { taken, urls, found: Unread::default() };
    entries.iter().filter_map(|entry| entry.member("resource")).for_each(|resource| reader.resource(resource));
    reader.found
}

struct Reader {
    /// The nodes that something of the record comes from.
    taken: HashSet<usize>,
    /// What the entries are called.
    urls: HashSet<String>,
    found: Unread,
}

impl Reader {
    fn resource(&mut self, resource: Node<'_>) {
        let Some(name) = resource.resource_type().filter(|name| !FRAMES.contains(name)) else { return };
        let says = |child: &Node<'_>| !self.is_frame(name, *child) && !self.says_again(*child);
        if name == "Composition" {
            self.summary(resource, name);
        } else if resource.children().filter(says).any(|child| self.is_taken(child)) {
            self.below(resource, name);
        } else {
            self.tell(resource, name);
        }
    }

    /// The values below a node that is called `name` and are not taken over; of one of which nothing is, itself.
    fn below(&mut self, node: Node<'_>, name: &str) {
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

    /// Of a summary and its sections, what is more than a list of what stands elsewhere: that it does not hold, narrative that says more,
    /// why a section is empty, extensions.
    fn summary(&mut self, node: Node<'_>, name: &str) {
        for child in node.children() {
            let own = child.name().unwrap_or_default();
            let is_more = match &*own {
                "status" => child.text().is_some_and(|status| status == "entered-in-error"),
                "text" => !self.says_again(child),
                "emptyReason" => !(says_none_known(child) && self.is_taken(node)),
                "extension" | "modifierExtension" => true,
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
            own => FRAME.contains(&own),
        })
    }

    /// Whether a value says what stands elsewhere in the message: references to other entries, or a narrative that was generated from the
    /// structured values alone (FHIR R4 Narrative.status).
    fn says_again(&self, node: Node<'_>) -> bool {
        let leads = |item: Node<'_>| item.text_of("reference").is_some_and(|to| self.leads_to_an_entry(&to));
        match node.kind() {
            Kind::Object => {
                let is_generated = node.text_of("status").as_deref() == Some("generated");
                leads(node) || (node.member("div").is_some() && is_generated)
            }
            Kind::Array => node.children().next().is_some() && node.items().all(leads),
            _ => false,
        }
    }

    fn leads_to_an_entry(&self, reference: &str) -> bool {
        let ends = |url: &String| url.strip_suffix(reference).is_some_and(|base| base.ends_with('/'));
        reference.starts_with('#') || self.urls.contains(reference) || self.urls.iter().any(ends)
    }

    fn tell(&mut self, node: Node<'_>, name: &str) {
        if self.found.places.len() < MOST {
            self.found.places.push(Place { path: node.path(), what: name.to_owned() });
        } else {
            self.found.more += 1;
        }
    }
}

/// Whether a child is the system of a code, number or identifier that is taken over, or the url of an extension: the field of the record
/// says it.
fn is_spelled_by<'a>(node: Node<'a>, child: Node<'a>, is_taken: impl Fn(Node<'a>) -> bool) -> bool {
    match child.name().as_deref() {
        Some("url") => true,
        Some("system") => ["code", "value"].into_iter().filter_map(|name| node.member(name)).any(is_taken),
        _ => false,
    }
}

/// Whether the reason why a section is empty is that there is nothing, and no other.
fn says_none_known(reason: Node<'_>) -> bool {
    let is_it = |coding: Node<'_>| {
        let text = |name| coding.text_of(name);
        text("code").as_deref() == Some(NONE_KNOWN.0) && text("system").as_deref() == Some(NONE_KNOWN.1)
    };
    let codings: Vec<bool> = reason.items_of("coding").map(is_it).collect();
    let has_more = reason.children().any(|child| child.name().is_some_and(|name| name != "coding" && name != "text"));
    !codings.is_empty() && codings.into_iter().all(|is_it| is_it) && !has_more
}
