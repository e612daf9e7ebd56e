//! What disclosure leaves as it is, and the names of all that it does not.
//!
//! Enters: the verdicts on a Bundle, and which of its elements get something added. Leaves: which nodes leave with all
//! that they hold and nothing more, and the names of elements that do not, or not as they were. It decides nothing:
//! what is known of it is copied in one piece, and need not be validated again.

use super::decision::{Decisions, Verdict};
use crate::fhir::{NameId, NameSet, Node, NodeId};

/// What of a Bundle leaves untouched.
#[derive(Debug)]
pub(super) struct Untouched {
    /// For each node and behind the last, how many nodes before it do not leave as they are.
    before: Vec<u32>,
    /// The names of elements that are held back, made less exact or masked; an item of an array is called what the array
    /// is, and what is held back with its holder what the holder is.
    pub(super) altered: NameSet,
}

impl Untouched {
    /// By the verdicts on `bundle`; what holds one of `added_to` is not untouched.
    pub(super) fn of(bundle: Node<'_>, decisions: &Decisions<'_>, added_to: impl Iterator<Item = NodeId>) -> Untouched {
        let mut untouched = Untouched { before: vec![0; bundle.end_index() + 1], altered: NameSet::default() };
        added_to.for_each(|node| untouched.before[node.index() + 1] = 1);
        // The arrays around the node: where each ends, and its name.
        let mut arrays: Vec<(usize, NameId)> = Vec::new();
        let mut at = 0;
        while let Some(node) = bundle.document().node(NodeId::at(at)) {
            while arrays.pop_if(|(end, _)| *end <= at).is_some() {}
            let leaves = matches!(
                decisions.verdict(node),
                Verdict::Leaf(_) | Verdict::Open | Verdict::Resource | Verdict::Values
            );
            let name = match (node.name_id(), arrays.last()) {
                (NameId::UNKNOWN, Some((_, array))) => *array,
                (own, _) => own,
            };
            if !leaves {
                untouched.before[at + 1] = 1;
                untouched.altered.insert(name);
                at = node.end_index();
                continue;
            }
            if node.is_array() {
                arrays.push((node.end_index(), name));
            }
            at += 1;
        }
        let mut sum = 0;
        for count in &mut untouched.before {
            sum += *count;
            *count = sum;
        }
        untouched
    }

    /// Whether a node leaves with all that it holds, and nothing is added.
    #[inline]
    pub(super) fn has(&self, node: Node<'_>) -> bool {
        self.before[node.id().index()] == self.before[node.end_index()]
    }
}
