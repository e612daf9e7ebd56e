//! A [`Lineage`] as it is stored: numbers in few bytes, and beside it, once for all messages of the same map and agreement, the
//! texts that the numbers stand for.
//!
//! The numbers are [postcard](https://postcard.jamesmunns.com/wire-format) behind one byte, [`VERSION`]; the texts, a glossary, are JSON,
//! which the numbers name by its SHA-256. Lineages of earlier versions are JSON by themselves.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::lineage::{Clause, Held, Left, Lineage, Rule, Version};
use crate::disclosure::Disclosable;
use crate::fhir::places::{Names, paths, places};
use crate::fhir::{Document, Node, NodeId, keys};
use crate::identity::digest::{hex, sha_256};
use crate::identity::{InterfaceName, MessageId};
use crate::mapping::Mapped;
use crate::storage::{self, Content, Store, Text};

/// The first byte.
const VERSION: u8 = 1;

/// What the messages of one interface under one version of an agreement, made by one map, have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Glossary {
    interface: String,
    agreement: Version,
    map: Version,
    rules: Vec<Rule>,
    clauses: Vec<Clause>,
    /// Why something may be held back, with the number that stands for it.
    reasons: Vec<(u32, String)>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored<'a> {
    glossary: [u8; 32],
    message: [u8; 16],
    names: Vec<Cow<'a, str>>,
    /// The record fields that something comes from.
    fields: Vec<u32>,
    /// What left, and what disclosure wrote itself.
    sent: Vec<u32>,
    /// For each of those 0, if disclosure wrote it; otherwise its field, rule and clause, each from 1, or 0 without, as the [`near`]
    /// step from that of the element before; for the field one more than that.
    whence: Vec<u32>,
    /// What was held back.
    withheld: Vec<u32>,
    /// For each of those its reason, and the name of its resource type from 1, or 0 without.
    why: Vec<u32>,
}

/// Why there is no lineage to show.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] storage::Error),
    /// It is none that this version knows, or was changed.
    #[error("the stored lineage of message {0} cannot be read")]
    Lineage(MessageId),
    /// What its numbers stand for is not there, or was changed.
    #[error("the texts that the lineage of message {message} names by {} are not there, or were changed", hex(digest))]
    Glossary {
        /// Which message.
        message: MessageId,
        /// SHA-256 of the texts.
        digest: [u8; 32],
    },
}

/// The glossaries that were needed so far: each is written once.
#[derive(Default)]
pub(super) struct Glossaries(RwLock<FxHashMap<GlossaryKey, Arc<Text>>>);

/// Hash of the map, hash of the agreement, interface.
type GlossaryKey = ([u8; 32], [u8; 32], InterfaceName);

impl fmt::Debug for Glossaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Glossaries(…)")
    }
}

impl Glossaries {
    /// The glossary of a message.
    pub(super) fn of(&self, disclosable: &Disclosable) -> Arc<Text> {
        let (mapped, agreement) = (disclosable.validated().mapped(), disclosable.agreement());
        let key = (mapped.map().hash(), agreement.hash(), mapped.received().interface().clone());
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.unwrap_or_else(|| {
            let bytes = serde_json::to_vec(&Glossary::of(disclosable)).expect("it has only strings, numbers and lists");
            let text = Arc::new(Text { digest: sha_256(&bytes), bytes });
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, text.clone());
            text
        })
    }
}

impl Glossary {
    fn of(disclosable: &Disclosable) -> Glossary {
        let (mapped, agreement) = (disclosable.validated().mapped(), disclosable.agreement());
        let rules = (0..).map_while(|index| mapped.map().rule(index)).map(|rule| Rule {
            group: rule.group.clone(),
            rule: rule.name.clone(),
            file: rule.file.clone(),
            line: rule.line,
        });
        Glossary {
            interface: mapped.received().interface().to_string(),
            agreement: Version {
                id: agreement.id().to_string(),
                version: agreement.version().to_owned(),
                sha_256: hex(&agreement.hash()),
            },
            map: Version { id: map_name(mapped), version: String::new(), sha_256: hex(&mapped.map().hash()) },
            rules: rules.collect(),
            clauses: clauses(disclosable),
            reasons: disclosable.interface().map(|interface| interface.reasons()).unwrap_or_default(),
        }
    }
}

/// The canonical URL of the map, as its first rule names it.
pub(super) fn map_name(mapped: &Mapped) -> String {
    mapped.map().rule(0).map(|rule| rule.map.clone()).unwrap_or_default()
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

/// Writes the lineage of what may leave and of what does not.
pub(super) fn write(disclosable: &Disclosable, glossary: &Text) -> Vec<u8> {
    let mapped = disclosable.validated().mapped();
    let (full, sent, record) = (mapped.bundle(), disclosable.bundle(), mapped.received().record());
    let origin = |node: NodeId| mapped.origins().get(node.index()).copied();
    let left = disclosable.left();
    // The record as a whole is no field.
    let source = |node: NodeId| origin(node)?.source.filter(|source| source.index() > 0);
    // By node of the record, from 1: the number of a field that something comes from.
    let mut numbers = vec![0; record.len()];
    left.iter().filter_map(|row| source(row.node)).for_each(|source| numbers[source.index()] = 1);
    let sources: Vec<NodeId> = (0..numbers.len()).filter(|&node| numbers[node] == 1).map(NodeId::at).collect();
    (1..).zip(&sources).for_each(|(number, source)| numbers[source.index()] = number);
    let mut names = Names::default();
    let fields = places(record, &sources, &mut names);

    let generated = disclosable.manifest().generated().iter().map(|node| (*node, None));
    let mut rows: Vec<_> = left.iter().map(|row| (row.sent, Some(row))).chain(generated).collect();
    rows.sort_by_key(|(node, _)| *node);
    rows.dedup_by_key(|(node, _)| *node);
    let nodes: Vec<NodeId> = rows.iter().map(|(node, _)| *node).collect();
    let (mut whence, mut last) = (Vec::with_capacity(rows.len() * 3), [0; 3]);
    for (_, row) in rows {
        let Some(row) = row else {
            whence.push(0);
            continue;
        };
        let field = source(row.node).map_or(0, |source| numbers[source.index()]);
        let rule = from_1(origin(row.node).map(|origin| origin.rule));
        let steps = [near(last[0], field) + 1, near(last[1], rule), near(last[2], from_1(row.clause))];
        whence.extend(steps);
        last = [field, rule, from_1(row.clause)];
    }
    let sent = places(sent, &nodes, &mut names);

    let mut rows = disclosable.manifest().withheld().to_vec();
    rows.sort_by_key(|row| row.node);
    rows.dedup_by_key(|row| row.node);
    let nodes: Vec<NodeId> = rows.iter().map(|row| row.node).collect();
    let withheld = places(full, &nodes, &mut names);
    let types: Vec<u32> = resource_types(full, &nodes).map(|name| from_1(name.map(|name| names.index(name)))).collect();
    let why = rows.iter().zip(types).flat_map(|(row, name)| [row.why.number(), name]).collect();

    let message = *mapped.received().message().uuid().as_bytes();
    let names = names.into_list();
    let stored = Stored { glossary: glossary.digest, message, names, fields, sent, whence, withheld, why };
    stored.bytes()
}

impl Stored<'_> {
    /// The version and the numbers. Mostly they are small, and written here at a fraction of what the serialiser takes
    /// for each.
    fn bytes(&self) -> Vec<u8> {
        let Stored { glossary, message, names, fields, sent, whence, withheld, why } = self;
        let lists = [fields, sent, whence, withheld, why];
        let texts: usize = names.iter().map(|name| name.len() + 2).sum();
        let numbers: usize = lists.iter().map(|list| list.len() * 5 / 4 + 5).sum();
        let mut out = Vec::with_capacity(64 + texts + numbers);
        out.push(VERSION);
        out.extend_from_slice(glossary);
        out.extend_from_slice(message);
        push_number(&mut out, names.len() as u64);
        for name in names {
            push_number(&mut out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
        }
        for list in lists {
            push_number(&mut out, list.len() as u64);
            list.iter().for_each(|number| push_number(&mut out, u64::from(*number)));
        }
        debug_assert_eq!(postcard::to_stdvec(self).as_deref(), Ok(&out[1..]));
        out
    }
}

/// Seven bits in each byte, the lowest first; all but the last byte have the highest bit set.
#[inline]
fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7F {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// For each node, in the order of the Bundle, the type of the resource that it is or stands in.
fn resource_types<'a>(bundle: &'a Document, nodes: &[NodeId]) -> impl Iterator<Item = Option<&'a str>> {
    let mut entries = bundle.root().items_at(keys().entry).peekable();
    nodes.iter().map(move |node| {
        while entries.next_if(|entry| entry.end_index() <= node.index()).is_some() {}
        let entry = entries.peek().filter(|entry| entry.id() <= *node)?;
        entry.child(keys().resource).and_then(Node::resource_type)
    })
}

fn from_1(index: Option<u32>) -> u32 {
    index.map_or(0, |index| index + 1)
}

/// The step from one number to another, small where they are near: 0, -1, 1, -2, 2, … are 0, 1, 2, 3, 4, …
fn near(last: u32, next: u32) -> u32 {
    let step = next.wrapping_sub(last) as i32;
    ((step << 1) ^ (step >> 31)) as u32
}

/// The number that a step from another leads to.
fn far(last: u32, step: u32) -> u32 {
    last.wrapping_add((step >> 1) ^ (step & 1).wrapping_neg())
}

fn read(stored: &[u8]) -> Option<Stored<'static>> {
    postcard::from_bytes(stored.strip_prefix(&[VERSION])?).ok()
}

/// The digest of the glossary that a stored lineage needs; `None` where it needs none.
pub fn glossary_of(stored: &[u8]) -> Option<[u8; 32]> {
    Some(read(stored)?.glossary)
}

/// The lineage of one message; `None` when there is no such message, or it was erased.
///
/// # Errors
/// [`Unreadable`]
pub async fn lineage(store: &dyn Store, message: MessageId) -> Result<Option<Lineage>, Unreadable> {
    let Some(stored) = store.content(message, Content::Lineage).await? else { return Ok(None) };
    if stored.starts_with(b"{") {
        return serde_json::from_slice(&stored).map(Some).map_err(|_| Unreadable::Lineage(message));
    }
    let digest = glossary_of(&stored).ok_or(Unreadable::Lineage(message))?;
    let glossary = store.text(digest).await?.filter(|text| sha_256(text) == digest);
    let glossary = glossary.ok_or(Unreadable::Glossary { message, digest })?;
    shown(&stored, &glossary).map(Some).ok_or(Unreadable::Lineage(message))
}

/// A lineage in full, of what is stored. `None` when that is not what [`write()`] wrote.
pub(super) fn shown(stored: &[u8], glossary: &[u8]) -> Option<Lineage> {
    let (stored, glossary): (_, Glossary) = (read(stored)?, serde_json::from_slice(glossary).ok()?);
    let names: Vec<String> = stored.names.into_iter().map(Cow::into_owned).collect();
    let (fields, bundle) = (paths(&stored.fields, &names, "")?, "Bundle");
    let (sent, held) = (paths(&stored.sent, &names, bundle)?, paths(&stored.withheld, &names, bundle)?);
    // Rules that made nothing that left are not shown; the others in the order of what they made.
    let (mut rules, mut places) = (Vec::new(), vec![None; glossary.rules.len()]);
    let (mut left, mut generated) = (Vec::new(), Vec::new());
    let (mut whence, mut last) = (stored.whence.into_iter(), [0; 3]);
    for path in sent {
        let Some(step) = whence.next()?.checked_sub(1) else {
            generated.push(path);
            continue;
        };
        last = [far(last[0], step), far(last[1], whence.next()?), far(last[2], whence.next()?)];
        let field = match last[0] {
            0 => None,
            field => Some(fields.get(index(field - 1))?.clone()),
        };
        let rule = match last[1] {
            0 => None,
            rule => {
                let (rule, place) = (glossary.rules.get(index(rule - 1))?, places.get_mut(index(rule - 1))?);
                Some(*place.get_or_insert_with(|| {
                    rules.push(rule.clone());
                    rules.len() as u32 - 1
                }))
            }
        };
        let clause = last[2].checked_sub(1);
        left.push(Left { path, from: field.into_iter().collect(), rule, clause });
    }
    let mut why = stored.why.into_iter();
    let withheld = held.into_iter().map(|path| {
        let (reason, name) = (why.next()?, why.next()?);
        let resource =
            name.checked_sub(1).map(|name| names.get(index(name)).cloned()).unwrap_or(Some(String::new()))?;
        let reason = glossary.reasons.iter().find(|(number, _)| *number == reason)?.1.clone();
        Some(Held { path, resource, why: reason })
    });
    Some(Lineage {
        message: uuid::Uuid::from_bytes(stored.message).to_string(),
        interface: glossary.interface,
        agreement: glossary.agreement,
        map: glossary.map,
        rules,
        clauses: glossary.clauses,
        left,
        generated,
        withheld: withheld.collect::<Option<_>>()?,
    })
}

fn index(number: u32) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(lists in prop::array::uniform5(prop::collection::vec(any::<u32>(), 0..9)), name: String) {
            let [fields, sent, whence, withheld, why] = lists;
            let (glossary, message, names) = ([1; 32], [2; 16], vec![Cow::Owned(name.repeat(40)), "id".into()]);
            let stored = Stored { glossary, message, names, fields, sent, whence, withheld, why };
            let bytes = stored.bytes();
            prop_assert_eq!(read(&bytes), Some(stored));
        }

        #[test]
        fn a_step_leads_back(last: u32, next: u32) {
            prop_assert_eq!(far(last, near(last, next)), next);
        }
    }

    #[test]
    fn near_numbers_make_small_steps() {
        assert_eq!([(7, 7), (7, 6), (7, 8), (7, 5), (0, 3)].map(|(last, next)| near(last, next)), [0, 1, 2, 3, 6]);
    }
}
