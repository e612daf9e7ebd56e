//! What a reference says: the name of what it leads to, and whether that goes without saying.
//!
//! Enters: a Reference of a received Bundle. Leaves: the headline of its target, where the Bundle holds it; else its display, its
//! identifier, or what kind of thing it is. Invariant: a reference says something wherever it is not left out by [`Own`].

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use super::lines::Reader;
use crate::fhir::narrative::words::words_of;
use crate::fhir::r4::schema;
use crate::fhir::{NameId, Node, NodeId, keys};

/// How much of a name is shown where it is referred to, in characters.
const NAME_LENGTH: usize = 160;
/// Elements that say whom a resource is about.
pub(super) const SUBJECTS: [&str; 3] = ["subject", "patient", "for"];
/// Elements that say who made a resource.
const MAKERS: [&str; 7] = ["performer", "author", "recorder", "asserter", "requester", "informationSource", "enterer"];
/// Elements that say what a request rests on.
const GROUNDS: [&str; 3] = ["basedOn", "reasonReference", "supportingInfo"];
/// Elements that say whose a team, a service, a visit or a record is.
const HOLDERS: [&str; 6] =
    ["partOf", "providedBy", "serviceProvider", "organization", "managingOrganization", "custodian"];
/// Elements that say what a resource is, the first that is there; of those that have no name.
const HEADLINES: [&str; 10] = [
    "title",
    "description",
    "medicationCodeableConcept",
    "code",
    "vaccineCode",
    "serviceType",
    "type",
    "class",
    "scope",
    "category",
];

/// What is the message's own, so that a line does not name it again.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Whom the message is about.
    pub(super) patients: BTreeSet<NodeId>,
    /// The summary, what is asked, and the visit where there is one alone.
    pub(super) frame: BTreeSet<NodeId>,
    /// Who asks, where that is one alone: what they made themselves does not say so.
    pub(super) author: Option<NodeId>,
    /// Who sent the message, and to whom.
    pub(super) parties: BTreeSet<NodeId>,
    /// Where what is asked stands in the message: what it rests on has lines of its own.
    pub(super) requests: Vec<Range<usize>>,
}

impl Own {
    fn is_unsaid(&self, stem: &str, (reference, target): (NodeId, NodeId)) -> bool {
        let is_of_request = || self.requests.iter().any(|request| request.contains(&reference.index()));
        if (GROUNDS.contains(&stem) && is_of_request()) || (HOLDERS.contains(&stem) && self.parties.contains(&target)) {
            return true;
        }
        let is_patient = self.patients.contains(&target) && (self.patients.len() == 1 || SUBJECTS.contains(&stem));
        is_patient || self.frame.contains(&target) || (self.author == Some(target) && MAKERS.contains(&stem))
    }
}

impl<'a> Reader<'a> {
    /// Whether a reference says what the whole page says. One with words of its own never does.
    pub(super) fn is_own(&self, stem: &str, reference: Node<'a>) -> bool {
        reference.child(keys().display).is_none()
            && self
                .entries
                .target(reference)
                .is_some_and(|target| self.own.is_unsaid(stem, (reference.id(), target.id())))
    }

    /// What a reference names.
    pub(super) fn reference(&self, node: Node<'a>) -> Option<String> {
        let target = self.entries.target(node).or_else(|| self.contained(node));
        if let Some(headline) = target.and_then(|target| self.headline(target)) {
            return Some(headline.to_string());
        }
        let display = node.child(keys().display).and_then(Node::text).filter(|display| !display.trim().is_empty());
        let identifier = || node.child(keys().identifier)?.child(keys().value)?.text();
        if let Some(words) = display.or_else(identifier) {
            return Some(words.into_owned());
        }
        let (kind, place) = match target {
            Some(target) => (target.resource_type().map(str::to_owned), "on this page"),
            None => (kind_of(node), "not in the message"),
        };
        // What leads nowhere at all says nothing.
        let kind = kind.filter(|kind| target.is_some() || schema().resource(kind).is_some());
        let is_lost = target.is_none() && node.child(keys().reference).is_some();
        match kind {
            Some(kind) => Some(format!("{} ({place})", words_of(&kind.chars().take(80).collect::<String>()))),
            None => is_lost.then(|| "something that is not in the message".to_owned()),
        }
    }

    /// The resource inside the same resource that a reference means (`#id`).
    fn contained(&self, node: Node<'a>) -> Option<Node<'a>> {
        let text = node.child(keys().reference)?.text()?;
        let id = text.strip_prefix('#')?;
        let resources = self.entries.list().iter().filter_map(|entry| entry.resource);
        let mut holders = resources.filter(|of| of.id() <= node.id() && node.id().index() < of.end_index());
        let is_it = |of: &Node<'a>| of.child(keys().id).and_then(Node::text).is_some_and(|own| own == id);
        holders.next()?.items_at(keys().contained).find(is_it)
    }

    /// What a resource is, in a few words: a name, a title, a code.
    pub(super) fn headline(&self, resource: Node<'a>) -> Option<Rc<str>> {
        if let Some(read) = self.headlines.borrow().get(&resource.id()) {
            return read.clone();
        }
        let read = self.name(resource).or_else(|| {
            let all = HEADLINES.iter().flat_map(|name| self.words(resource, name));
            all.map(shortened).find(|words| !words.is_empty())
        });
        let read: Option<Rc<str>> = read.map(Into::into);
        self.headlines.borrow_mut().insert(resource.id(), read.clone());
        read
    }

    /// The name of a person, a team, a place, a device.
    pub(super) fn name(&self, resource: Node<'a>) -> Option<String> {
        let mut names = self.words(resource, "name");
        if let Some(practitioner) = resource.child(NameId::of("practitioner")) {
            let own = self.entries.target(practitioner).map(|target| self.words(target, "name")).unwrap_or_default();
            let display = || practitioner.child(keys().display).and_then(Node::text).map(Cow::into_owned);
            names.extend(if own.is_empty() { display().into_iter().collect() } else { own });
        }
        if resource.resource_type() == Some("PractitionerRole") {
            names.extend(self.words(resource, "code"));
        }
        if resource.resource_type() == Some("Device") {
            let own = resource.items_of("deviceName").filter_map(|of| of.text_of("name"));
            names.extend(own.map(Cow::into_owned));
        }
        Some(shortened(names.join(", "))).filter(|name| !name.is_empty())
    }
}

/// The type of resource that a reference to elsewhere says it leads to.
fn kind_of(reference: Node<'_>) -> Option<String> {
    let own = reference.child(keys().kind).and_then(Node::text).map(Cow::into_owned);
    own.or_else(|| {
        let text = reference.child(keys().reference)?.text()?;
        let (before, _id) = text.split("/_history/").next()?.rsplit_once('/')?;
        Some(before.rsplit('/').next()?.to_owned())
    })
}

fn shortened(words: String) -> String {
    let words = words.trim();
    words.char_indices().nth(NAME_LENGTH).map_or_else(|| words.to_owned(), |(end, _)| format!("{}…", &words[..end]))
}
