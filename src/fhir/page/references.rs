//! What a reference says: the name of what it leads to, and whether that goes without saying.
//!
//! Enters: a Reference of a received Bundle. Leaves: the headline of its target with what turns that, where the Bundle holds it; else
//! its display, its identifier, or what kind of thing it is. Invariant: a reference says something wherever it is not left out by
//! [`Own`].

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
/// What the one person that a message is about is called where they are not left out.
pub(super) const THE_PERSON: &str = "the person";
/// Elements that say whom a resource is about.
pub(super) const SUBJECTS: [&str; 3] = ["subject", "patient", "for"];
/// The same, where a message is about one person alone.
const ALONE: [&str; 2] = ["individual", "beneficiary"];
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

/// How a resource is called where it is referred to.
#[derive(Debug)]
pub(super) struct Called {
    /// What it is.
    headline: Option<String>,
    /// What turns that, ready to stand behind it.
    turned: String,
}

/// What is the message's own, so that a line does not name it again.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Whom the message is about.
    pub(super) patients: BTreeSet<NodeId>,
    /// The summary, what is asked, and the visit where there is one alone.
    pub(super) frame: BTreeSet<NodeId>,
    /// Who asks, where that is one alone and asks for one thing: what they made themselves does not say so.
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
        let is_subject = SUBJECTS.contains(&stem) || (self.patients.len() == 1 && ALONE.contains(&stem));
        (self.patients.contains(&target) && is_subject)
            || self.frame.contains(&target)
            || (self.author == Some(target) && MAKERS.contains(&stem))
    }

    /// Whether a resource is the one person that the message is about.
    fn is_the_person(&self, target: NodeId) -> bool {
        self.patients.len() == 1 && self.patients.contains(&target)
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

    /// What a reference names, with what turns it.
    pub(super) fn reference(&self, node: Node<'a>) -> Option<String> {
        let Some(target) = self.entries.target(node).or_else(|| self.contained(node)) else {
            return own_words(node).or_else(|| lost(node));
        };
        if self.own.is_the_person(target.id()) {
            return Some(THE_PERSON.to_owned());
        }
        let called = self.called(target);
        let kind = || target.resource_type().map(|kind| format!("{} (on this page)", kind_in_words(kind)));
        let words = called.headline.clone().or_else(|| own_words(node)).or_else(kind)?;
        let left = NAME_LENGTH.saturating_sub(called.turned.chars().count());
        Some(shortened(&words, left) + &called.turned)
    }

    fn called(&self, target: Node<'a>) -> Rc<Called> {
        if let Some(read) = self.called.borrow().get(&target.id()) {
            return read.clone();
        }
        let read = Rc::new(Called { headline: self.headline(target), turned: self.turned(target) });
        self.called.borrow_mut().insert(target.id(), read.clone());
        read
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
    pub(super) fn headline(&self, resource: Node<'a>) -> Option<String> {
        self.name(resource).or_else(|| {
            let all = HEADLINES.iter().flat_map(|name| self.words(resource, name));
            all.map(|words| shortened(&words, NAME_LENGTH)).find(|words| !words.is_empty())
        })
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
        Some(shortened(&names.join(", "), NAME_LENGTH)).filter(|name| !name.is_empty())
    }
}

/// The words that a reference has itself.
fn own_words(reference: Node<'_>) -> Option<String> {
    let display = reference.child(keys().display).and_then(Node::text).filter(|display| !display.trim().is_empty());
    let identifier = || reference.child(keys().identifier)?.child(keys().value)?.text();
    display.or_else(identifier).map(Cow::into_owned)
}

/// What is said of a reference that leads out of the message; nothing of one that leads nowhere at all.
fn lost(reference: Node<'_>) -> Option<String> {
    let kind = kind_of(reference).filter(|kind| schema().resource(kind).is_some());
    let is_lost = reference.child(keys().reference).is_some();
    match kind {
        Some(kind) => Some(format!("{} (not in the message)", kind_in_words(&kind))),
        None => is_lost.then(|| "something that is not in the message".to_owned()),
    }
}

fn kind_in_words(kind: &str) -> String {
    words_of(&kind.chars().take(80).collect::<String>())
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

/// At most that many characters.
pub(super) fn shortened(words: &str, most: usize) -> String {
    let words = words.trim();
    words.char_indices().nth(most).map_or_else(|| words.to_owned(), |(end, _)| format!("{}…", &words[..end]))
}
