//! What the clauses of an interface let leave of one resource type and profile, as a tree of steps.

use super::path::{Step, steps};
use crate::disclosure::agreement::written;

/// A step's name and slice or URL, with what leaves below it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) children: Vec<(Step, Tree)>,
    /// A pseudonym leaves in its place, with a system of its own: whatever slice it was in, it is in none.
    pub(super) is_pseudonym: bool,
}

impl Tree {
    fn add(&mut self, path: &[Step]) {
        if let Some((step, rest)) = path.split_first() {
            self.child(step).add(rest);
        }
    }

    /// Adds an identifier's value, in whose place a pseudonym leaves; its system comes with it.
    fn add_pseudonym(&mut self, path: &[Step]) {
        match path {
            [step, rest @ ..] if rest.len() > 1 => self.child(step).add_pseudonym(rest),
            [step, value] => {
                let identifier = self.child(step);
                identifier.is_pseudonym = true;
                identifier.add(std::slice::from_ref(value));
                identifier.add(&[Step::Element { name: "system".to_owned(), slice: None }]);
            }
            _ => self.add(path),
        }
    }

    /// What leaves below a step.
    fn child(&mut self, step: &Step) -> &mut Tree {
        let known = self.children.iter().position(|(own, _)| own == step);
        let place = known.unwrap_or_else(|| {
            self.children.push((step.clone(), Tree::default()));
            self.children.len() - 1
        });
        &mut self.children[place].1
    }

    /// Whether anything leaves.
    pub(super) fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Whether anything leaves at or below the element called `name`: a choice by any of its spellings, with any slice.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.children.iter().any(|(step, _)| is_named(step, name))
    }

    /// Whether anything leaves at or below these element names.
    pub(super) fn covers_path(&self, names: &[&str]) -> bool {
        let Some((name, rest)) = names.split_first() else { return true };
        self.children.iter().any(|(step, below)| is_named(step, name) && (rest.is_empty() || below.covers_path(rest)))
    }

    /// Whether anything leaves of all occurrences of `name`, or of those in the slice.
    pub(super) fn covers_slice(&self, name: &str, slice: &str) -> bool {
        let is_for = |step: &Step| match step {
            Step::Element { slice: None, .. } => is_named(step, name),
            Step::Element { slice: Some(own), .. } => is_named(step, name) && own == slice,
            Step::Extension { .. } => false,
        };
        self.children.iter().any(|(step, below)| is_for(step) && !below.is_pseudonym)
    }
}

/// Whether a step spells the element `name` of a profile: `valueString` is `value[x]`, as is `value` in our tables.
fn is_named(step: &Step, name: &str) -> bool {
    let spelled = step.name();
    match name.strip_suffix("[x]") {
        Some(stem) => spelled.strip_prefix(stem).is_some_and(|rest| rest.starts_with(|each: char| each.is_uppercase())),
        None => spelled == name,
    }
}

/// Which clauses count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// All: with the person's consent, or without need of it.
    Always,
    /// Those for sharing without consent.
    UnderOverride,
}

/// What leaves of resources of a type that claim `profile`.
pub(super) fn leaving(interface: &written::Interface, resource: &str, profile: Option<&str>, when: When) -> Tree {
    let of_profile = |own: Option<&str>| own.is_none() || own == profile;
    let mut tree = Tree::default();
    for permit in interface.permit.get_ref() {
        let own = permit.profile.as_ref().map(|profile| profile.get_ref().as_str());
        let counts = when == When::Always || permit.under_override;
        if counts && permit.resource.get_ref() == resource && of_profile(own) {
            let paths = permit.elements.get_ref().iter().filter_map(|element| steps(element.get_ref()));
            paths.for_each(|path| tree.add(&path));
        }
    }
    for generalise in interface.generalise.iter().map(|each| each.get_ref()) {
        let own = generalise.profile.as_ref().map(|profile| profile.get_ref().as_str());
        let counts = when == When::Always || generalise.under_override;
        let leaves = generalise.to.get_ref() != "withheld";
        if !counts || !leaves || generalise.resource.get_ref() != resource || !of_profile(own) {
            continue;
        }
        match steps(generalise.element.get_ref()) {
            Some(path) if generalise.to.get_ref() == "pseudonym" => tree.add_pseudonym(&path),
            Some(path) => tree.add(&path),
            None => {}
        }
    }
    tree
}

/// The resource types and profiles of which an interface lets something leave, each once.
pub(super) fn subjects(interface: &written::Interface) -> Vec<(&written::Text, Option<&written::Text>)> {
    let mut subjects: Vec<(&written::Text, Option<&written::Text>)> = Vec::new();
    for permit in interface.permit.get_ref() {
        let known = subjects.iter().any(|(resource, profile)| {
            resource.get_ref() == permit.resource.get_ref()
                && profile.map(|profile| profile.get_ref()) == permit.profile.as_ref().map(|profile| profile.get_ref())
        });
        if !known {
            subjects.push((&permit.resource, permit.profile.as_ref()));
        }
    }
    subjects
}
