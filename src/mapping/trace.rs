//! Which rule made each value of an output, from which field of the record.
//!
//! Enters: a record and what a map made of it. Leaves: a row for each value of the output, in its order. Paths and rule
//! numbers only; who wants the value itself has the output.

use std::collections::HashMap;

use crate::fhir::{Document, ElementPath, NodeId};

use super::Transformed;

/// Where one value of the output comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The value, in the output.
    pub node: NodeId,
    /// Its path: `Bundle.entry[2].resource.name[0].family`.
    pub path: ElementPath,
    /// The field of the record; `None` when it follows from the record as a whole.
    pub from: Option<ElementPath>,
    /// The rule: an index for [`CompiledMap::rule`](super::CompiledMap::rule).
    pub rule: u32,
}

/// The origin of every value without children, in the order of the output.
pub fn trace(record: &Document, made: &Transformed) -> Vec<Traced> {
    let mut fields: HashMap<NodeId, ElementPath> = HashMap::new();
    let sources: Vec<Option<NodeId>> = made.origins.iter().map(|origin| origin.source).collect();
    record.visit_paths(|node, path| {
        if !path.as_str().is_empty() {
            fields.insert(node.id(), path.clone());
        }
    });
    let mut rows = Vec::new();
    made.document.visit_paths(|node, path| {
        let is_value = node.children().next().is_none();
        if let (true, Some(origin)) = (is_value, made.origins.get(node.id().index())) {
            let from = sources[node.id().index()].and_then(|source| fields.get(&source)).cloned();
            rows.push(Traced { node: node.id(), path: path.clone(), from, rule: origin.rule });
        }
    });
    rows
}
