//! Some of the nodes of a document.

use super::NodeId;

/// A set of nodes of one document, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSet(Vec<u64>);

impl NodeSet {
    /// Adds a node.
    #[inline]
    pub fn insert(&mut self, node: NodeId) {
        let (word, bit) = (node.index() / 64, node.index() % 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    /// Whether a node is in it.
    #[inline]
    pub fn contains(&self, node: NodeId) -> bool {
        self.0.get(node.index() / 64).is_some_and(|word| word >> (node.index() % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_added() {
        let mut set = NodeSet::default();
        let added = [0, 63, 64, 200].map(NodeId);
        added.into_iter().for_each(|node| set.insert(node));
        assert_eq!((0..300).map(NodeId).filter(|node| set.contains(*node)).collect::<Vec<_>>(), added);
    }
}
