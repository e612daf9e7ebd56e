//! What a record must say, and what becomes of a record that does not.
//!
//! Enters: a logical model whose elements carry the mark `weir-essential`, then a record. Leaves: each marked element
//! that the record lacks ([`Missing`]), and for a Bundle that is sent all the same a Task for each mark that says what
//! is missing, who must obtain it and by when. Invariant: a Task holds words, codes and times of the model, references
//! and the time of the Bundle, and nothing else of the record; each Task names its mark in the lineage.
//!
//! A mark is read when the map is compiled: a mark that cannot mean what it says is a fault of the model. The Tasks are
//! made here and not by the map, so that no map can leave one out (docs/essential.md).

mod marks;
mod tasks;

use std::fmt::Write as _;

use crate::fhir::{ElementPath, Name, Node};
use crate::fhirpath::{Environment, Expression, Item};

use super::plan::Rule;

pub(super) use tasks::Surroundings;

/// The canonical URL of the mark.
const ESSENTIAL: &str = "https://weir.example/fhir/StructureDefinition/weir-essential";
/// What rules that Weir itself makes are grouped under in a lineage.
const GROUP: &str = "Weir";

/// The marks of one logical model.
#[derive(Debug, Default)]
pub(super) struct Essentials {
    marks: Vec<Mark>,
    /// What lineage names: one for each mark, then one for what links the Tasks.
    rules: Vec<Rule>,
}

/// A marked element.
#[derive(Debug)]
struct Mark {
    /// The names that lead to it from the root of the record.
    steps: Vec<Name>,
    /// `medications.dose`.
    path: String,
    /// What it is, in words: the `short` of its definition.
    what: String,
    /// The question to whoever must obtain it.
    question: Option<String>,
    role: Role,
    owner: Owner,
    hours: u32,
    /// The element may be missing where this holds of its parent.
    unless: Option<Expression>,
    /// Of several, only those for which this holds.
    counts: Option<Expression>,
    /// Codes that say no more than nothing.
    says_nothing: Vec<String>,
}

/// Who must obtain it.
#[derive(Clone, Debug)]
struct Role {
    system: String,
    code: String,
    display: String,
}

/// Whose Task it is, of those whom a message names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The author of the message: the practitioner who sends it.
    Author,
    /// The team of the author.
    Team,
    /// The organisation that sends it.
    Sender,
    /// The organisation that receives it.
    Receiver,
}

/// A marked element that a record lacks, at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where it would stand in the record: `medications[1].dose`.
    pub path: ElementPath,
    /// What it is, in words of the model.
    pub what: String,
    /// The question to whoever must obtain it, in words of the model.
    pub question: Option<String>,
    /// Who must obtain it, in words: `Care coordinator`.
    pub who: String,
    /// Within how many hours.
    pub hours: u32,
    mark: usize,
}

impl Missing {
    /// Whether both are places of one marked element.
    pub fn is_of_same_mark(&self, other: &Missing) -> bool {
        self.mark == other.mark
    }
}

impl Essentials {
    /// Whether the model marks anything.
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// The rule of this number, counted behind the rules of the map.
    pub(super) fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// What the record lacks, in the order of the model.
    pub(super) fn missing(&self, record: Node<'_>) -> Vec<Missing> {
        let mut found = Vec::new();
        for (index, mark) in self.marks.iter().enumerate() {
            let Some((last, above)) = mark.steps.split_last() else { continue };
            holders(record, above, &mut String::new(), &mut |holder, path| {
                if mark.is_missing(holder, last) {
                    let dot = if path.is_empty() { "" } else { "." };
                    found.push(mark.missing(index, &format!("{path}{dot}{}", last.text())));
                }
            });
        }
        found
    }
}

/// Shows each object of the record that `steps` lead to, with its path.
fn holders(node: Node<'_>, steps: &[Name], path: &mut String, show: &mut dyn FnMut(Node<'_>, &str)) {
    let Some((step, rest)) = steps.split_first() else { return show(node, path) };
    let Some(child) = node.get(step) else { return };
    let length = path.len();
    for (place, item) in child.items().enumerate().filter(|(_, item)| item.is_object()) {
        path.push_str(if length == 0 { "" } else { "." });
        path.push_str(step.text());
        if child.is_array() {
            write!(path, "[{place}]").expect("writing to a String cannot fail");
        }
        holders(item, rest, path, show);
        path.truncate(length);
    }
}

impl Mark {
    fn is_missing(&self, holder: Node<'_>, name: &Name) -> bool {
        let says =
            |item: Node<'_>| !self.says_nothing(item) && self.counts.as_ref().is_none_or(|counts| holds(counts, item));
        let lacks = holder.get(name).is_none_or(|value| !value.items().any(says));
        lacks && !self.unless.as_ref().is_some_and(|unless| holds(unless, holder))
    }

    /// Whether a value holds nothing to read: blanks, an empty list, an object without content, a code that says so.
    fn says_nothing(&self, value: Node<'_>) -> bool {
        if value.is_object() || value.is_array() {
            return value.children().all(|child| self.says_nothing(child));
        }
        value.scalar().is_none_or(|text| text.trim().is_empty() || self.says_nothing.iter().any(|code| *code == text))
    }

    fn missing(&self, mark: usize, path: &str) -> Missing {
        Missing {
            path: ElementPath::new(path),
            what: self.what.clone(),
            question: self.question.clone(),
            who: self.role.display.clone(),
            hours: self.hours,
            mark,
        }
    }
}

/// Whether an expression is true of an object. One that fails excuses nothing, and what it is asked of does not count.
fn holds(expression: &Expression, of: Node<'_>) -> bool {
    let focus = Item::of_node(of, None);
    let environment =
        Environment { root_resource: Some(Item::of_node(of.document().root(), None)), ..Default::default() };
    let found = expression.evaluate(std::slice::from_ref(&focus), &environment);
    found.is_ok_and(|items| matches!(&items[..], [only] if only.as_boolean() == Some(true)))
}

#[cfg(test)]
mod tests;
