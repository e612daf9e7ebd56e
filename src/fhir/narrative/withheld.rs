//! What was withheld, by kind: an element of a type of resource. Made of R4's own names, so never of a value.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::words::words_of;
use super::{CLOSE, escape};
use crate::fhir::bundle::{BUNDLE, Entries};
use crate::fhir::r4::{TypeKind, schema};
use crate::fhir::{Node, NodeId};

const UNKNOWN: &str = "unknown element";
const PART: &str = "part of the ";
const ALL: &str = "all of the ";
const OF: &str = " of the ";

/// `note of the service request`, `part of the name of the patient`, `all of the coverage`: what `node` is.
pub fn kind_withheld(bundle: Node<'_>, entries: &Entries<'_>, node: NodeId) -> String {
    let list = entries.list();
    let entry = list[..list.partition_point(|entry| entry.node.id() <= node)].last();
    let Some(entry) = entry.filter(|entry| node.index() < entry.node.end_index()) else {
        return element(BUNDLE, bundle, node);
    };
    let kind = entry.resource.and_then(Node::resource_type).unwrap_or("Resource");
    match entry.resource {
        _ if entry.node.id() == node => format!("{ALL}{}", lower(kind)),
        Some(resource) if resource.id() == node => format!("{ALL}{}", lower(kind)),
        Some(resource) if resource.id() < node && node.index() < resource.end_index() => element(kind, resource, node),
        _ => element(BUNDLE, bundle, node),
    }
}

fn element(kind: &str, resource: Node<'_>, node: NodeId) -> String {
    let holder = resource.children().find(|child| child.id() <= node && node.index() < child.end_index());
    let of = schema().resource(kind);
    let known = holder.and_then(|holder| of.and_then(|of| of.element(holder.name_id())));
    let part = if holder.is_some_and(|holder| holder.id() != node) { PART } else { "" };
    let (name, kind) = (known.map(|(element, _)| lower(element.stem)), lower(kind));
    [part, name.as_deref().unwrap_or(UNKNOWN), OF, &kind].concat()
}

fn lower(name: &str) -> String {
    words_of(name).to_lowercase()
}

/// The account of what an agreement withheld.
#[derive(Clone, Debug)]
pub struct Account {
    start: String,
    /// In the order of the alphabet, so that a Bundle cut down twice says the same.
    kinds: BTreeSet<String>,
}

impl Account {
    /// Nothing yet, under the agreement `id` with this `version`.
    pub fn new(id: &impl Display, version: &str) -> Account {
        Account { start: format!("Withheld under agreement {id} version {version}"), kinds: BTreeSet::new() }
    }

    /// Adds a kind, once.
    pub fn add(&mut self, kind: String) {
        self.kinds.insert(kind);
    }

    /// Adds what earlier narrative says was withheld under the same agreement: only kinds that can be.
    pub fn carry(&mut self, text: Node<'_>) {
        let Some(div) = text.member("div").and_then(Node::text) else { return };
        let mut start = String::from("<p><i>");
        escape(&mut start, &format!("{}: ", self.start));
        let end = format!(".</i></p>{CLOSE}");
        let said = div.rfind(&start).and_then(|at| div[at + start.len()..].strip_suffix(&end));
        let kinds = said.into_iter().flat_map(|said| said.split("; "));
        kinds.filter(|kind| is_kind(kind)).for_each(|kind| self.add(kind.to_owned()));
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        match self.kinds.is_empty() {
            true => format!("{}: some elements.", self.start),
            false => {
                let kinds: Vec<&str> = self.kinds.iter().map(String::as_str).collect();
                format!("{}: {}.", self.start, kinds.join("; "))
            }
        }
    }
}

/// Whether a text is one that [`kind_withheld`] makes.
fn is_kind(text: &str) -> bool {
    let resource = |words: &str| {
        let mut all = schema().all().filter(|of| of.kind == TypeKind::Resource);
        all.find(|of| lower(of.name) == words)
    };
    if let Some(words) = text.strip_prefix(ALL) {
        return resource(words).is_some();
    }
    let Some((name, of)) = text.strip_prefix(PART).unwrap_or(text).rsplit_once(OF) else { return false };
    let of = resource(of);
    of.is_some_and(|of| name == UNKNOWN || of.elements.iter().any(|element| lower(element.stem) == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};

    #[test]
    fn earlier_narrative_adds_kinds_and_no_other_words() {
        let said = "note of the service request; Robin of the patient; part of the name of the patient; \
                    all of the coverage; secret";
        let text = format!(r#"{{"div":"<p><i>Withheld under agreement a &amp; b version 1: {said}.</i></p></div>"}}"#);
        let text = Document::parse(text, &Limits::default()).expect("it is JSON");
        let mut account = Account::new(&"a & b", "1");
        account.carry(text.root());
        let kept = "all of the coverage; note of the service request; part of the name of the patient";
        assert_eq!(account.sentence(), format!("Withheld under agreement a & b version 1: {kept}."));
        let mut other = Account::new(&"c", "1");
        other.carry(text.root());
        assert_eq!(other.sentence(), "Withheld under agreement c version 1: some elements.");
    }
}
