//! From the account of one disclosure to its [`Lineage`].

use std::collections::HashMap;

use super::lineage::{Clause, Held, Left, Lineage, Rule, Version};
use crate::disclosure::Disclosable;
use crate::fhir::bundle::Entries;
use crate::fhir::{Document, NodeId};
use crate::identity::digest::hex;
use crate::mapping::{Mapped, Origin};

/// The lineage of what may leave and of what does not.
pub(super) fn trace(disclosable: &Disclosable) -> Lineage {
    let mapped = disclosable.validated().mapped();
    let (full, sent) = (mapped.bundle(), disclosable.bundle());
    let mut rules = Rules { mapped, known: HashMap::new(), list: Vec::new() };
    let generated = disclosable.manifest().generated();
    let kept = disclosable.left();
    let origin = |node: NodeId| mapped.origins().get(node.index()).copied();
    let sources = kept.iter().filter_map(|row| origin(row.node)?.source);
    let fields = paths(mapped.received().record(), sources);
    let mut places = paths(sent, kept.iter().map(|row| row.sent).chain(generated.iter().copied()));
    let mut place = |node: &NodeId| places.remove(node).unwrap_or_default();
    let rows = kept.iter().map(|row| Left {
        path: place(&row.sent),
        from: origin(row.node).and_then(|origin| field(&fields, origin)).into_iter().collect(),
        rule: origin(row.node).and_then(|origin| rules.index(origin)),
        clause: row.clause,
    });
    let left = rows.collect();
    let agreement = disclosable.agreement();
    Lineage {
        message: mapped.received().message().to_string(),
        interface: mapped.received().interface().to_string(),
        agreement: Version {
            id: agreement.id().to_string(),
            version: agreement.version().to_owned(),
            sha_256: hex(&agreement.hash()),
        },
        map: Version { id: map_name(mapped), version: String::new(), sha_256: hex(&mapped.map().hash()) },
        rules: rules.list,
        clauses: clauses(disclosable),
        left,
        generated: generated.iter().map(place).collect(),
        withheld: withheld(disclosable, full),
    }
}

/// The canonical URL of the map, as its first rule names it.
pub(super) fn map_name(mapped: &Mapped) -> String {
    mapped.map().rule(0).map(|rule| rule.map.clone()).unwrap_or_default()
}

/// The record field of an origin; none when it is the record as a whole.
fn field(fields: &HashMap<NodeId, String>, origin: Origin) -> Option<String> {
    fields.get(&origin.source?).filter(|path| !path.is_empty()).cloned()
}

/// The paths of some nodes, in one pass over their document.
fn paths(document: &Document, nodes: impl Iterator<Item = NodeId>) -> HashMap<NodeId, String> {
    let mut paths: HashMap<NodeId, String> = nodes.map(|node| (node, String::new())).collect();
    document.visit_paths(|node, path| {
        if let Some(own) = paths.get_mut(&node.id()) {
            path.as_str().clone_into(own);
        }
    });
    paths
}

fn clauses(disclosable: &Disclosable) -> Vec<Clause> {
    let Some(interface) = disclosable.interface() else { return Vec::new() };
    let permits = interface.clauses().iter().map(|clause| Clause {
        resource: clause.resource.clone(),
        category: clause.category.clone(),
        reason: clause.reason.clone(),
        generalised_to: String::new(),
    });
    let generalisations = interface.generalisations().iter().map(|clause| Clause {
        resource: clause.resource.clone(),
        category: clause.category.clone(),
        reason: clause.reason.clone(),
        generalised_to: clause.to.word().to_owned(),
    });
    permits.chain(generalisations).collect()
}

fn withheld(disclosable: &Disclosable, full: &Document) -> Vec<Held> {
    let entries = Entries::of(full);
    let resource_of = |node: NodeId| {
        // Entries stand in document order: the first that does not end before the node is the one that may hold it.
        let at = entries.list().partition_point(|entry| entry.node.end_index() <= node.index());
        let entry = entries.list().get(at).filter(|entry| entry.node.id() <= node);
        let resource = entry.and_then(|entry| entry.resource);
        resource.and_then(|resource| resource.resource_type()).unwrap_or_default().to_owned()
    };
    let rows = disclosable.manifest().withheld();
    let places = paths(full, rows.iter().map(|row| row.node));
    let place = |node: &NodeId| places.get(node).cloned().unwrap_or_default();
    let held = rows.iter().map(|row| Held {
        path: place(&row.node),
        resource: resource_of(row.node),
        why: disclosable.interface().map_or_else(|| row.why.to_string(), |interface| interface.reason(row.why)),
    });
    held.collect()
}

/// The rules that made something that left, each once.
struct Rules<'a> {
    mapped: &'a Mapped,
    known: HashMap<u32, u32>,
    list: Vec<Rule>,
}

impl Rules<'_> {
    fn index(&mut self, origin: Origin) -> Option<u32> {
        if let Some(known) = self.known.get(&origin.rule) {
            return Some(*known);
        }
        let rule = self.mapped.map().rule(origin.rule)?;
        let index = u32::try_from(self.list.len()).ok()?;
        self.list.push(Rule {
            group: rule.group.clone(),
            rule: rule.name.clone(),
            file: rule.file.clone(),
            line: rule.line,
        });
        self.known.insert(origin.rule, index);
        Some(index)
    }
}
