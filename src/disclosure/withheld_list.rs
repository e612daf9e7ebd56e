//! The list of what was withheld, for a receiver who may have it: element paths of R4, each once.
//!
//! Enters: nodes of a Bundle. Leaves: `Patient.name.given`, `Coverage` for a whole resource. Invariant: made of R4's own
//! names alone, so never of a value; without indexes, so that it does not tell how many there were.

use std::collections::BTreeSet;

use crate::fhir::bundle::{BUNDLE, Entries};
use crate::fhir::r4::schema;
use crate::fhir::{NameId, Node, NodeId};

/// The elements that `nodes` are occurrences of.
pub(super) fn elements(
    bundle: Node<'_>,
    entries: &Entries<'_>,
    nodes: impl Iterator<Item = NodeId>,
) -> BTreeSet<String> {
    nodes.filter_map(|node| element(bundle, entries, node)).collect()
}

/// The element that a node is an occurrence of; `None` for one that R4 does not know.
fn element(bundle: Node<'_>, entries: &Entries<'_>, node: NodeId) -> Option<String> {
    let list = entries.list();
    let at = list.partition_point(|entry| entry.node.end_index() <= node.index());
    let entry = list.get(at).filter(|entry| entry.node.id() <= node);
    let resource = entry.and_then(|entry| entry.resource);
    match resource {
        Some(resource) if entry.is_some_and(|entry| entry.node.id() == node) => {
            resource.resource_type().map(str::to_owned)
        }
        Some(resource) if resource.id() <= node && node.index() < resource.end_index() => {
            path(resource, resource.resource_type()?, node)
        }
        _ => path(bundle, BUNDLE, node),
    }
}

fn path(resource: Node<'_>, of: &str, node: NodeId) -> Option<String> {
    let mut at = resource;
    let mut path = schema().resource(of)?.name.to_owned();
    while at.id() != node {
        at = at.children().find(|child| child.id() <= node && node.index() < child.end_index())?;
        if at.name_id() != NameId::UNKNOWN {
            path.push('.');
            path.push_str(at.name_id().text());
        } else if at.name().is_some() {
            return None;
        }
    }
    is_path(&path).then_some(path)
}

/// Whether a text is the path of an element that R4 knows.
pub(super) fn is_path(text: &str) -> bool {
    let mut names = text.split('.');
    let mut at = names.next().and_then(|of| schema().resource(of));
    for name in names {
        let to = at.and_then(|of| of.element(NameId::of(name)));
        at = to.and_then(|(_, to)| schema().type_named(to.code)).filter(|_| !name.starts_with('_'));
    }
    at.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_r4_are_paths() {
        for (text, expected) in [
            ("Patient", true),
            ("Patient.name.given", true),
            ("Patient.extension.valueString", true),
            ("Bundle.entry.search.mode", true),
            ("Patient.Robin", false),
            ("Robin", false),
            ("Patient._name", false),
            ("Patient.name.given.Robin.x", false),
            ("", false),
        ] {
            assert_eq!(is_path(text), expected, "{text}");
        }
    }
}
