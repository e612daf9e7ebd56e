//! What nobody may pass over: modifier extensions, and rules that a resource was made under.
//!
//! Enters: a Bundle. Leaves: a warning for each resource that has any, at whatever depth. FHIR R4 Extensibility (2.4.0.2): who
//! does not know a modifier extension must not process what it modifies as if it were not there; Resource.implicitRules: who
//! does not know the rules cannot process the resource. A page knows none, so that all of them are said.

use std::collections::BTreeSet;

use super::frame::Frame;
use super::lines::{Line, Said};
use super::words_of;
use crate::fhir::{Kind, Node, keys};

/// The most warnings of a page; further ones are counted.
const MOST: usize = 20;
/// How long the words of one warning are, in characters.
const LONGEST: usize = 200;
const ASK: &str = "Do not rely on it before you have asked the sender.";

/// The warnings of a message.
pub(super) fn warnings(frame: &Frame<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for entry in frame.reader.entries.list() {
        if let Some(resource) = entry.resource {
            let kind = words_of(resource.resource_type().unwrap_or("Resource"));
            let of = frame.reader.headline(resource).map_or(kind.clone(), |name| format!("{kind} {name}"));
            warn(frame, &of, resource, &mut found);
        }
        let beside = entry.node.children().filter(|child| child.name_id() != keys().resource);
        let own = entry.node.items_at(keys().modifier_extension);
        let inner = beside.flat_map(Node::subtree).flat_map(|node| node.items_at(keys().modifier_extension));
        say_modifiers(frame, "An entry of the message", own.chain(inner).collect(), &mut found);
    }
    let own = frame.bundle.children().filter(|child| child.name_id() != keys().entry);
    let own = own.flat_map(Node::subtree).flat_map(|node| node.items_at(keys().modifier_extension)).collect();
    say_rules("The message", frame.bundle, &mut found);
    say_modifiers(frame, "The message", own, &mut found);
    let more = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    if more > 0 {
        found.push(format!("Warnings of the same kind that are not shown: {more}. Read the message itself."));
    }
    found
}

/// The warnings of one resource, with those inside it.
fn warn<'a>(frame: &Frame<'a>, of: &str, resource: Node<'a>, found: &mut Vec<String>) {
    let holders = || resource.subtree().filter(|node| node.is_object());
    let rules = holders().filter(|node| node.child(keys().resource_type).is_some());
    rules.for_each(|inner| say_rules(of, inner, found));
    let all = holders().flat_map(|node| node.items_at(keys().modifier_extension)).collect();
    say_modifiers(frame, of, all, found);
}

fn say_rules(of: &str, resource: Node<'_>, found: &mut Vec<String>) {
    let rules = resource.member("implicitRules").or_else(|| resource.member("_implicitRules"));
    if let Some(rules) = rules.filter(|rules| rules.kind() != Kind::Null) {
        let which = short(&rules.scalar().unwrap_or_default());
        found.push(format!("{of}: made under rules of its own that are not known here ({which}). {ASK}"));
    }
}

fn say_modifiers<'a>(frame: &Frame<'a>, of: &str, modifiers: Vec<Node<'a>>, found: &mut Vec<String>) {
    let modifiers: Vec<_> = modifiers.into_iter().filter(|each| each.kind() != Kind::Null).collect();
    if modifiers.is_empty() {
        return;
    }
    let words: BTreeSet<String> = modifiers.iter().map(|each| in_words(&frame.reader.modifier(*each))).collect();
    let words = short(&words.into_iter().collect::<Vec<_>>().join("; "));
    found.push(format!("{of}: changed by a modifier that is not known here ({words}). {ASK}"));
}

fn in_words(lines: &[Line]) -> String {
    let word = |line: &Line| match &line.said {
        Said::Words(_) | Said::Withheld => line.in_words(),
        Said::Absent(_) | Said::Nothing => line.label.to_string(),
    };
    lines.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn short(words: &str) -> String {
    words.char_indices().nth(LONGEST).map_or_else(|| words.to_owned(), |(end, _)| format!("{}…", &words[..end]))
}
