//! What disclosure leaves as it is, and the names of all that it does not.
//!
//! Enters: the verdicts on a Bundle, and which of its elements get something added. Leaves: the nodes that leave with all
//! that they hold and nothing more, and the names of elements that do not, or not as they were. It decides nothing:
//! what is known of it is copied in one piece, and need not be validated again.

use super::decision::{Decisions, Verdict};
use crate::fhir::{NameId, NameSet, Node, NodeSet};

/// What of a Bundle leaves untouched.
#[derive(Debug, Default)]
pub(super) struct Untouched {
    /// Objects, arrays and resources that leave whole.
    pub(super) nodes: NodeSet,
    /// The names of elements that are held back, made less exact or masked. What is held back with its holder has the
    /// name of the holder.
    pub(super) altered: NameSet,
}

impl Untouched {
    /// By the verdicts on `bundle`; nothing that holds one of `added_to` is untouched.
    pub(super) fn of(bundle: Node<'_>, decisions: &Decisions<'_>, added_to: &dyn Fn(Node<'_>) -> bool) -> Untouched {
        let mut untouched = Untouched::default();
        untouched.visit(bundle, NameId::UNKNOWN, decisions, added_to);
        untouched
    }

    /// Whether `node` leaves whole; `name` is that of its element, for an item of an array the array's.
    fn visit(
        &mut self,
        node: Node<'_>,
        name: NameId,
        decisions: &Decisions<'_>,
        added_to: &dyn Fn(Node<'_>) -> bool,
    ) -> bool {
        match decisions.verdict(node) {
            Verdict::Leaf(_) => true,
            Verdict::Open | Verdict::Resource | Verdict::Values => {
                let mut whole = !added_to(node);
                for child in node.children() {
                    let name = if node.is_array() { name } else { child.name_id() };
                    whole &= self.visit(child, name, decisions, added_to);
                }
                if whole {
                    self.nodes.insert(node.id());
                }
                whole
            }
            _ => {
                self.altered.insert(name);
                false
            }
        }
    }
}
