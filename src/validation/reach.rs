//! What belongs to a document: its Composition, and what links of references join to it (R4 documents.html).

use std::collections::{HashMap, HashSet};

use super::bundle::{BundleIndex, is_absolute, split_version};
use super::walk::Walk;
use crate::fhir::outcome::IssueType;
use crate::fhir::{Node, NodeId, keys};

impl<'a> Walk<'a> {
    /// Reports the entries of a document that no chain of references joins to the first, whichever way they point. A
    /// Binary may be its stylesheet.
    pub(super) fn document_entries(&mut self, bundle: Node<'a>, index: &BundleIndex<'a>) {
        let keys = keys();
        let entries: Vec<Node<'a>> = bundle.items_at(keys.entry).collect();
        let joined = self.joined(&entries, index);
        for (entry, _) in entries.iter().zip(joined).filter(|(_, joined)| !joined) {
            let resource = entry.child(keys.resource);
            if resource.is_none_or(|resource| resource.resource_type() == Some("Binary")) {
                continue;
            }
            let text = "no reference joins the entry to the Composition of the document";
            self.error(IssueType::Invalid, *entry, "r4-document", text, "refer to it, or remove it");
        }
    }

    /// For each entry, whether it is joined to the first.
    fn joined(&self, entries: &[Node<'a>], index: &BundleIndex<'a>) -> Vec<bool> {
        let keys = keys();
        let resource = |(place, entry): (usize, &Node<'a>)| Some((entry.child(keys.resource)?.id(), place));
        let places: HashMap<NodeId, usize> = entries.iter().enumerate().filter_map(resource).collect();
        let mut links: Vec<Vec<usize>> = vec![Vec::new(); entries.len()];
        let mut link = |one: usize, other: usize| {
            links[one].push(other);
            links[other].push(one);
        };
        // Versions of one resource whose entries are joined to each other.
        let mut met = HashSet::new();
        for (place, entry) in entries.iter().enumerate() {
            for text in entry.subtree().filter(|node| node.name_id() == keys.reference).filter_map(Node::text) {
                let (text, _) = split_version(&text);
                let found = index.find(text, !is_absolute(text), entry.child(keys.full_url));
                let Some(found) = found else { continue };
                let mut targets = found.resources.iter().filter_map(|target| places.get(&target.id()).copied());
                let Some(mut last) = targets.next() else { continue };
                link(place, last);
                if met.insert(std::ptr::from_ref(found)) {
                    targets.for_each(|target| link(std::mem::replace(&mut last, target), target));
                }
            }
        }
        let mut joined = vec![false; entries.len()];
        let mut open: Vec<usize> = (!entries.is_empty()).then_some(0).into_iter().collect();
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut joined[place], true) {
                open.extend(&links[place]);
            }
        }
        joined
    }
}
