//! From the account of one disclosure to its [`Lineage`].

use std::collections::HashMap;

use super::hex;
use super::lineage::{Clause, Held, Left, Lineage, Rule, Version};
use crate::disclosure::Disclosable;
use crate::fhir::bundle::{Entries, Entry};
use crate::fhir::{Document, NodeId};
use crate::mapping::{Mapped, Origin};

/// The lineage of what may leave and of what does not.
pub(super) fn trace(disclosable: &Disclosable) -> Lineage {
    let mapped = disclosable.validated().mapped();
    let (full, sent) = (mapped.bundle(), disclosable.bundle());
    let mut rules = Rules { mapped, known: HashMap::new(), list: Vec::new() };
    let left = disclosable.manifest().kept().iter().map(|row| {
        let origin = mapped.origins().get(row.node.index()).copied();
        Left {
            path: path(sent, row.sent),
            from: fields(mapped, origin),
            rule: origin.and_then(|origin| rules.index(origin)),
            clause: row.clause,
        }
    });
    let left = left.collect();
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
        generated: disclosable.manifest().generated().iter().map(|node| path(sent, *node)).collect(),
        withheld: withheld(disclosable, full),
    }
}

/// The canonical URL of the map, as its first rule names it.
pub(super) fn map_name(mapped: &Mapped) -> String {
    mapped.map().rule(0).map(|rule| rule.map.clone()).unwrap_or_default()
}

/// The record fields of an origin; none when it is the record as a whole.
fn fields(mapped: &Mapped, origin: Option<Origin>) -> Vec<String> {
    let source = origin.and_then(|origin| origin.source).map(|node| path(mapped.received().record(), node));
    source.into_iter().filter(|path| !path.is_empty()).collect()
}

fn path(document: &Document, node: NodeId) -> String {
    document.node(node).map(|node| node.path().to_string()).unwrap_or_default()
}

fn clauses(disclosable: &Disclosable) -> Vec<Clause> {
    let clauses = disclosable.interface().map(|interface| interface.clauses()).unwrap_or_default();
    let row = clauses.iter().map(|clause| Clause {
        resource: clause.resource.clone(),
        category: clause.category.clone(),
        reason: clause.reason.clone(),
    });
    row.collect()
}

fn withheld(disclosable: &Disclosable, full: &Document) -> Vec<Held> {
    let entries = Entries::of(full);
    let resource_of = |node: NodeId| {
        let holds = |entry: &&Entry<'_>| entry.node.id() <= node && node.index() < entry.node.end_index();
        let resource = entries.list().iter().find(holds).and_then(|entry| entry.resource);
        resource.and_then(|resource| resource.resource_type()).unwrap_or_default().to_owned()
    };
    let rows = disclosable.manifest().withheld().iter();
    rows.map(|row| Held { path: path(full, row.node), resource: resource_of(row.node), why: row.why.to_string() })
        .collect()
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
