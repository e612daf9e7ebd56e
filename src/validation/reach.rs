//! What belongs to a document: its Composition, and what links of references join to it (R4 documents.html).

use std::collections::HashMap;

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
        for (place, entry) in entries.iter().enumerate() {
            for text in entry.subtree().filter(|node| node.name_id() == keys.reference).filter_map(Node::text) {
                let (text, _) = split_version(&text);
                let found = index.find(text, !is_absolute(text), entry.child(keys.full_url));
                for target in found.into_iter().flat_map(|found| &found.resources) {
                    if let Some(&target) = places.get(&target.id()) {
                        links[place].push(target);
                        links[target].push(place);
                    }
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
