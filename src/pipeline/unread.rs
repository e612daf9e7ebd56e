//! What a partner's referral says and the record that was made of it does not.
//!
//! Enters: the message, and for each of its values whether a rule of the interface's map read it. Leaves: the places that none read.
//! Invariant: whoever reads the record alone is told of each element that they do not see, but for what frames a message, names a
//! resource, or repeats in a narrative what is structured. Places and names of elements, never a value.

use uuid::Uuid;

use super::Stages;
use crate::fhir::{Document, ElementPath, Kind, Node};
use crate::identity::InterfaceName;

/// At most so many places are told.
const MOST: usize = 1_000;

/// Resources that frame a message: who sends it, and for whom.
const FRAMES: [&str; 2] = ["MessageHeader", "Organization"];
/// Elements that frame a resource, or say again what others say: FHIR R4 Resource, DomainResource, Coding and Identifier.
const FRAME: [&str; 12] = [
    "resourceType",
    "id",
    "meta",
    "fullUrl",
    "intent",
    "category",
    "version",
    "userSelected",
    "identifier",
    "assigner",
    "rank",
    "linkId",
];
/// The narrative of a resource or a section. What else a Composition has lists what stands elsewhere.
const TEXT: &str = "text";

/// A place that the record says nothing of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Where it is in the message.
    pub path: ElementPath,
    /// What it is: `Observation.valueRatio`; `Encounter` when nothing of the resource was read.
    pub what: String,
}

/// What no rule of the interface's map, as it is now, reads of a message.
pub fn unread(stages: &Stages, interface: &InterfaceName, message: &Document, seed: Uuid) -> Vec<Unread> {
    let Some(map) = stages.mappings.get(interface) else { return Vec::new() };
    let (_, observed) = map.observe(message, seed);
    let mut reader = Reader { read: &observed.read, found: Vec::new() };
    let entries = message.root().items_of("entry").filter_map(|entry| entry.member("resource"));
    entries.for_each(|resource| reader.resource(resource));
    reader.found
}

struct Reader<'r> {
    /// By the index of a node's id.
    read: &'r [bool],
    found: Vec<Unread>,
}

impl Reader<'_> {
    fn resource(&mut self, resource: Node<'_>) {
        let Some(name) = resource.resource_type().filter(|name| !FRAMES.contains(name)) else { return };
        let says = |child: &Node<'_>| !is_frame(name, *child) && !says_again(*child);
        if name == "Composition" {
            self.narratives(resource, name);
        } else if resource.children().filter(says).any(|child| self.is_read(child)) {
            self.below(resource, name);
        } else {
            self.tell(resource, name);
        }
    }

    /// The unread values below a node that is called `name`; of one that nothing was read of, itself.
    fn below(&mut self, node: Node<'_>, name: &str) {
        if node.kind() == Kind::Null || says_again(node) {
            return;
        }
        if !self.is_read(node) {
            return self.tell(node, name);
        }
        for child in node.children().filter(|child| !is_frame(name, *child)) {
            match child.name() {
                Some(own) => self.below(child, &format!("{name}.{own}")),
                None => self.below(child, name),
            }
        }
    }

    /// Whether a rule read the value, or one below it.
    fn is_read(&self, node: Node<'_>) -> bool {
        self.read.get(node.id().index()..node.end_index()).unwrap_or_default().contains(&true)
    }

    /// Narratives of a summary that say more than its entries do.
    fn narratives(&mut self, node: Node<'_>, name: &str) {
        if let Some(text) = node.member(TEXT).filter(|text| !says_again(*text)) {
            self.tell(text, &format!("{name}.{TEXT}"));
        }
        node.items_of("section").for_each(|section| self.narratives(section, &format!("{name}.section")));
    }

    fn tell(&mut self, node: Node<'_>, name: &str) {
        if self.found.len() < MOST {
            self.found.push(Unread { path: node.path(), what: name.to_owned() });
        }
    }
}

/// Whether a member of what is called `name` frames it alone.
fn is_frame(name: &str, child: Node<'_>) -> bool {
    let is_of_resource = |own: &str| own == "language" && !name.contains('.');
    child.name().is_some_and(|own| FRAME.contains(&&*own) || is_of_resource(&own))
}

/// Whether a value says what stands elsewhere in the message: a reference, or a narrative that was generated from the structured values alone
/// (FHIR R4 Narrative.status).
fn says_again(node: Node<'_>) -> bool {
    let is_reference = || node.items().all(|item| item.text_of("reference").is_some());
    let is_generated = || node.member("div").is_some() && node.text_of("status").as_deref() == Some("generated");
    match node.kind() {
        Kind::Object => is_reference() || is_generated(),
        Kind::Array => node.children().next().is_some() && is_reference(),
        _ => false,
    }
}
