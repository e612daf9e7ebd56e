//! A definition's elements as a tree by element name and slice.

use super::{Snapshot, SnapshotElement};

/// An element with its children and slices. Ids and paths are written when the tree is laid out.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// The last step of the path: `name`, `value[x]`; for a root the first step.
    pub(super) name: Box<str>,
    pub(super) element: SnapshotElement,
    /// In order; empty where they are those of the type.
    pub(super) children: Vec<Tree>,
    /// In order; slices of a slice stand in the slice.
    pub(super) slices: Vec<Tree>,
}

impl Tree {
    /// The place of the child with this name.
    pub(super) fn child(&self, name: &str) -> Option<usize> {
        self.children.iter().position(|child| *child.name == *name)
    }

    /// Whether it is a choice element.
    pub(super) fn is_choice(&self) -> bool {
        self.name.ends_with("[x]")
    }

    /// The elements in the order of a snapshot, with ids and paths.
    pub(super) fn elements(&self) -> Vec<SnapshotElement> {
        let mut elements = Vec::new();
        self.lay_out(&self.name, &self.name, &mut elements);
        elements
    }

    fn lay_out(&self, id: &str, path: &str, elements: &mut Vec<SnapshotElement>) {
        elements.push(SnapshotElement { id: id.into(), path: path.into(), ..self.element.clone() });
        for child in &self.children {
            child.lay_out(&format!("{id}.{}", child.name), &format!("{path}.{}", child.name), elements);
        }
        // `a/b` names its own parent, so its id has the unsliced element's before it.
        let unsliced = match &self.element.slice_name {
            Some(name) => id.strip_suffix(&format!(":{name}")).unwrap_or(id),
            None => id,
        };
        for slice in &self.slices {
            let name = slice.element.slice_name.as_deref().unwrap_or_default();
            slice.lay_out(&format!("{unsliced}:{name}"), path, elements);
        }
    }
}

impl Snapshot {
    /// The element with this id.
    pub fn element(&self, id: &str) -> Option<&SnapshotElement> {
        self.elements.iter().find(|element| *element.id == *id)
    }
}
