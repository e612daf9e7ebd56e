//! Where some nodes of a document stand, in few bytes: its tree, cut down to the ways to them.
//!
//! What is kept is numbers alone, to be written by any format that makes small numbers short. First the root, then behind each
//! child that the ways go on below, its children, closed by 0. A child is eight times one more than the index of its name among
//! [`Names`], or in an array than how many items are passed over before it; then `MARKED`, `OPEN` and `ARRAY` are added.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use super::document::{Document, Node, NodeId, element_name};
use super::names::NameId;
use super::path::ElementPath;

/// It is one of the nodes.
const MARKED: u32 = 1;
/// The ways go on below it.
const OPEN: u32 = 2;
/// It is an array.
const ARRAY: u32 = 4;
const FLAGS: u32 = 8;

/// The names that places are written with, each once, in the order of their first use.
#[derive(Debug)]
pub struct Names<'a> {
    list: Vec<Cow<'a, str>>,
    /// One more than the place in the list, by [`NameId::index`] without the underscore.
    known: Vec<u16>,
    others: FxHashMap<Cow<'a, str>, u32>,
}

impl Default for Names<'_> {
    fn default() -> Self {
        Names { list: Vec::new(), known: vec![0; NameId::indexes() / 2], others: FxHashMap::default() }
    }
}

impl<'a> Names<'a> {
    /// The names.
    pub fn into_list(self) -> Vec<Cow<'a, str>> {
        self.list
    }

    /// The index of a name that no element has to have.
    pub fn index(&mut self, name: &'a str) -> u32 {
        self.other(Cow::Borrowed(name))
    }

    fn of(&mut self, node: Node<'a>) -> u32 {
        let id = node.name_id().without_underscore();
        if id == NameId::UNKNOWN {
            let name = node.name().unwrap_or_default();
            return self.other(match name {
                Cow::Borrowed(name) => Cow::Borrowed(element_name(name)),
                Cow::Owned(name) => Cow::Owned(element_name(&name).to_owned()),
            });
        }
        let place = &mut self.known[id.index() / 2];
        if *place == 0 {
            let Ok(next) = u16::try_from(self.list.len() + 1) else { return self.other(Cow::Borrowed(id.text())) };
            self.list.push(Cow::Borrowed(id.text()));
            *place = next;
        }
        u32::from(*place) - 1
    }

    fn other(&mut self, name: Cow<'a, str>) -> u32 {
        let list = &mut self.list;
        *self.others.entry(name).or_insert_with_key(|name| {
            list.push(name.clone());
            list.len() as u32 - 1
        })
    }
}

/// A node whose children are being passed.
struct Open {
    /// The first child that was not passed.
    next: usize,
    end: usize,
    is_array: bool,
    /// Items passed over since the last way.
    passed: u32,
}

impl Open {
    fn at(node: Node<'_>) -> Open {
        Open { next: node.id().index() + 1, end: node.end_index(), is_array: node.is_array(), passed: 0 }
    }
}

/// The places of some nodes of a document, which stand in its order, each once.
pub fn places<'a>(document: &'a Document, nodes: &[NodeId], names: &mut Names<'a>) -> Vec<u32> {
    let mut written = Vec::with_capacity(nodes.len() * 2 + 8);
    let mut open: Vec<Open> = Vec::new();
    let flags = |node: Node<'_>, at: usize| {
        let is_marked = nodes.get(at) == Some(&node.id());
        let goes_on = nodes.get(at + usize::from(is_marked)).is_some_and(|next| next.index() < node.end_index());
        let array = if goes_on && node.is_array() { ARRAY } else { 0 };
        (is_marked, goes_on, array + if goes_on { OPEN } else { 0 } + u32::from(is_marked) * MARKED)
    };
    let (root_is_marked, goes_on, root) = flags(document.root(), 0);
    written.push(FLAGS + root);
    if goes_on {
        open.push(Open::at(document.root()));
    }
    let mut at = usize::from(root_is_marked);
    while let Some(node) = nodes.get(at) {
        while open.pop_if(|parent| parent.end <= node.index()).is_some() {
            written.push(0);
        }
        let Some(parent) = open.last_mut() else { break };
        let Some(child) = document.node(NodeId::at(parent.next)) else { break };
        parent.next = child.end_index();
        if child.end_index() <= node.index() {
            parent.passed += 1;
            continue;
        }
        let step = if parent.is_array { std::mem::take(&mut parent.passed) } else { names.of(child) };
        let (is_marked, goes_on, flags) = flags(child, at);
        written.push((step + 1) * FLAGS + flags);
        at += usize::from(is_marked);
        if goes_on {
            open.push(Open::at(child));
        }
    }
    written.extend(open.iter().map(|_| 0));
    written
}

/// The paths of the nodes whose `places` were written with these `names`, as [`Node::path`] gives them; `root` is the type of
/// the resource at the root, empty where it is none. `None` when these are no places.
pub fn paths(places: &[u32], names: &[String], root: &str) -> Option<Vec<String>> {
    let (mut paths, mut path) = (Vec::new(), ElementPath::root());
    path.push_name(root);
    let mut steps = places.iter().copied();
    // Whether it is an array, the index of its next item, and how long the path to it is.
    let mut open: Vec<(bool, usize, usize)> = Vec::new();
    let mut take = |step: u32, path: &ElementPath, open: &mut Vec<(bool, usize, usize)>| {
        if step & MARKED != 0 {
            paths.push(path.as_str().to_owned());
        }
        if step & OPEN != 0 {
            open.push((step & ARRAY != 0, 0, path.mark()));
        }
    };
    take(steps.next()?, &path, &mut open);
    for step in steps {
        let (is_array, next, mark) = open.last_mut()?;
        path.cut(*mark);
        let Some(index) = (step / FLAGS).checked_sub(1) else {
            open.pop();
            continue;
        };
        let index = usize::try_from(index).ok()?;
        if *is_array {
            path.push_index(next.checked_add(index)?);
            *next += index + 1;
        } else {
            path.push_name(names.get(index)?);
        }
        take(step, &path, &mut open);
    }
    open.is_empty().then_some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;
    use proptest::prelude::*;

    const BUNDLE: &str = r#"{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient", "name": [
        {"given": ["A", "B", "C"], "_given": [null, {"id": "x"}], "family": "D"}], "_birthDate": {"id": "b"}, "odd name": 1}},
        {}, {"fullUrl": "urn:x", "resource": {"deep": [[{"x": [1, 2]}], [3]]}}], "type": "message"}"#;

    fn there_and_back(text: &str, mark: impl Fn(usize) -> bool) -> (Vec<String>, Vec<String>, Vec<u32>) {
        let document = Document::parse(text, &Limits::default()).expect("it is JSON");
        let nodes: Vec<NodeId> = document.nodes().map(Node::id).filter(|id| mark(id.index())).collect();
        let mut names = Names::default();
        let places = places(&document, &nodes, &mut names);
        let names: Vec<String> = names.into_list().into_iter().map(Cow::into_owned).collect();
        let found = paths(&places, &names, document.resource_type().unwrap_or_default()).expect("they are places");
        let own = nodes.iter().filter_map(|id| document.node(*id)).map(|node| node.path().to_string()).collect();
        (found, own, places)
    }

    proptest! {
        #[test]
        fn places_say_the_paths_of_the_nodes(marks in prop::collection::vec(any::<bool>(), 64)) {
            let (found, own, _) = there_and_back(BUNDLE, |index| marks[index % marks.len()]);
            prop_assert_eq!(found, own);
        }

        #[test]
        fn what_are_no_places_does_not_panic(places in prop::collection::vec(0..80_u32, 0..40)) {
            let _found_or_not = paths(&places, &["a".to_owned(), "b".to_owned()], "Bundle");
        }
    }

    #[test]
    fn a_leaf_takes_a_number_or_two() {
        let (found, own, places) = there_and_back(BUNDLE, |_| true);
        assert_eq!(found, own);
        assert_eq!(found.last().map(String::as_str), Some("Bundle.type"));
        let (found, _, few) = there_and_back(BUNDLE, |index| index == 1);
        assert_eq!(found, ["Bundle.resourceType"]);
        assert!(few.len() == 3 && places.len() < 2 * own.len(), "{few:?} {places:?}");
        let (nothing, _, root) = there_and_back(r#"{"a": 1}"#, |_| false);
        assert_eq!((nothing.len(), root), (0, vec![FLAGS]));
        assert_eq!(there_and_back(r#"{"a": {"b": [1]}}"#, |index| index == 0 || index == 3).0, ["", "a.b[0]"]);
    }
}
