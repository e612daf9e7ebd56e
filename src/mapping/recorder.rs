//! What a run reads and which of its rules run: for coverage, and never in the gateway.
//!
//! Enters: the nodes that sources and paths find, the expressions that are evaluated, the rules that run, the codes that
//! have no translation. Leaves: a [`Recorder`], asked afterwards. Invariant: it holds node ids and counts, never a value.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::fhir::{Document, Node, NodeId};
use crate::fhirpath::Expression;

/// How many codes without a translation are noted in one run.
const UNTRANSLATED: usize = 10_000;

/// A code that a concept map does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Noted {
    pub(super) rule: u32,
    /// The concept map, by its index in the plan.
    pub(super) map: usize,
    /// What holds the code; `None` for a code that the map made.
    pub(super) source: Option<NodeId>,
}

/// The notes of one run.
#[derive(Debug)]
pub(super) struct Recorder<'d> {
    record: &'d Document,
    /// For each rule, how often it ran for an item.
    ran: RefCell<Vec<u32>>,
    /// For each node of the record, whether it was read.
    read: RefCell<Vec<bool>>,
    untranslated: RefCell<Vec<Noted>>,
}

impl<'d> Recorder<'d> {
    /// For a run of a plan with this many rules on `record`.
    pub(super) fn new(rules: usize, record: &'d Document) -> Recorder<'d> {
        let (ran, read) = (RefCell::new(vec![0; rules]), RefCell::new(vec![false; record.len()]));
        Recorder { record, ran, read, untranslated: RefCell::default() }
    }

    /// A rule runs for an item of its sources.
    pub(super) fn rule(&self, rule: u32) {
        if let Some(count) = self.ran.borrow_mut().get_mut(rule as usize) {
            *count += 1;
        }
    }

    /// A source or a path found this node, of the record or of what was already made.
    pub(super) fn node(&self, node: Node<'_>) {
        if std::ptr::eq(node.document(), self.record) {
            self.mark(node.id());
        }
    }

    /// The concept map has no translation for the code in this node.
    pub(super) fn untranslated(&self, rule: u32, map: usize, node: Option<Node<'_>>) {
        let source = node.filter(|node| std::ptr::eq(node.document(), self.record)).map(Node::id);
        let mut noted = self.untranslated.borrow_mut();
        if noted.len() < UNTRANSLATED {
            noted.push(Noted { rule, map, source });
        }
    }

    /// An expression is evaluated with these nodes as its focus and variables: whatever it names below them counts as
    /// read.
    pub(super) fn expression<'a>(&self, expression: &Expression, nodes: impl Iterator<Item = Node<'a>>) {
        let names = words(expression.text());
        let reads_all = ["children", "descendants", "repeat"].iter().any(|all| names.contains(*all));
        let is_global = ["resource", "rootResource", "context"].iter().any(|global| names.contains(*global));
        for node in nodes.filter(|node| std::ptr::eq(node.document(), self.record)) {
            self.below(if is_global { node.document().root() } else { node }, &names, reads_all);
        }
    }

    fn below(&self, node: Node<'_>, names: &HashSet<String>, reads_all: bool) {
        self.mark(node.id());
        for child in node.children() {
            let named = child.name().is_none_or(|name| names.contains(stem(&name)) || is_choice(&name, names));
            if reads_all || named {
                self.below(child, names, reads_all);
            }
        }
    }

    fn mark(&self, node: NodeId) {
        if let Some(read) = self.read.borrow_mut().get_mut(node.index()) {
            *read = true;
        }
    }

    /// For each rule, how often it ran; for each node, whether it was read; the codes without a translation.
    pub(super) fn into_parts(self) -> (Vec<u32>, Vec<bool>, Vec<Noted>) {
        (self.ran.into_inner(), self.read.into_inner(), self.untranslated.into_inner())
    }
}

/// The JSON name without the underscore of a primitive's extensions.
fn stem(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

/// Whether `name` spells a choice element that an expression names by its stem: `valueQuantity` for `value`.
fn is_choice(name: &str, names: &HashSet<String>) -> bool {
    let ends = name.char_indices().filter(|(at, letter)| *at > 0 && letter.is_ascii_uppercase());
    ends.into_iter().any(|(at, _)| names.contains(&name[..at]))
}

/// The words of an expression, without what stands in string literals.
pub(super) fn words(text: &str) -> HashSet<String> {
    let mut names = HashSet::new();
    let (mut word, mut quote, mut escaped) = (String::new(), false, false);
    for letter in text.chars().chain([' ']) {
        if quote {
            quote = escaped || letter != '\'';
            escaped = !escaped && letter == '\\';
        } else if letter.is_alphanumeric() || letter == '_' {
            word.push(letter);
        } else {
            quote = letter == '\'';
            if !word.is_empty() {
                names.insert(std::mem::take(&mut word));
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;

    #[test]
    fn an_expression_reads_what_it_names() {
        let json = r#"{"a":{"b":1,"c":[{"d":2}],"e":3},"f":4,"valueString":"x"}"#;
        let record = Document::parse(json, &Limits::default()).expect("it is JSON");
        let read = |text: &str| {
            let recorder = Recorder::new(0, &record);
            let expression = Expression::parse(text).expect("it is FHIRPath");
            recorder.expression(&expression, std::iter::once(record.root()));
            let (_, read, _) = recorder.into_parts();
            let found = record.nodes().filter(|node| read[node.id().index()] && node.children().next().is_none());
            found.map(|node| node.path().as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(read("a.b = 'f' and a.c.d.exists()"), ["a.b", "a.c[0].d"]);
        assert_eq!(read("value.exists()"), ["valueString"]);
        assert_eq!(read("a.descendants().exists()").len(), 5);
        assert_eq!(read("'a\\'f'"), Vec::<String>::new());
    }
}
