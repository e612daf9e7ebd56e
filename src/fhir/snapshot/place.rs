//! Where in a definition an element of its differential stands.

use crate::fhir::definitions::ElementDefinition;
use crate::fhir::r4::choice_name;

/// A step from an element to one of its children, or to a slice of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// `identifier`, `value[x]`, `valueQuantity`.
    pub(super) name: String,
    /// `nhsNumber`; `a/b` for a slice of slice `a`.
    pub(super) slice: Option<String>,
}

/// The steps to an element, the root's first, read from its id; from its path and the elements before it where the id
/// is missing or says something else.
pub(super) fn steps(element: &ElementDefinition, before: &[Vec<Step>]) -> Vec<Step> {
    let by_id: Vec<Step> = element.id.split('.').map(step).collect();
    let path: Vec<&str> = element.path.split('.').collect();
    let is_same = by_id.len() == path.len()
        && by_id
            .iter()
            .zip(&path)
            .all(|(step, name)| is_spelling(&step.name, name) || step.slice.as_deref() == Some(name))
        && (element.slice_name.is_none()
            || by_id.last().and_then(|last| last.slice.as_ref()) == element.slice_name.as_ref());
    if is_same { by_id } else { by_path(element, &path, before) }
}

fn step(text: &str) -> Step {
    match text.split_once(':') {
        Some((name, slice)) => Step { name: name.to_owned(), slice: Some(slice.to_owned()) },
        None => Step { name: text.to_owned(), slice: None },
    }
}

/// Whether both name the same element: `value[x]` and `valueQuantity` do.
fn is_spelling(one: &str, other: &str) -> bool {
    let is_choice_of = |choice: &str, name: &str| choice.strip_suffix("[x]").is_some_and(|stem| name.starts_with(stem));
    one == other || is_choice_of(one, other) || is_choice_of(other, one)
}

/// The slices of the parent are those of the last element before it that stands there.
fn by_path(element: &ElementDefinition, path: &[&str], before: &[Vec<Step>]) -> Vec<Step> {
    let parent = &path[..path.len().saturating_sub(1)];
    let is_below_parent = |steps: &&Vec<Step>| {
        steps.len() >= parent.len() && steps.iter().zip(parent).all(|(step, name)| step.name == *name)
    };
    let mut steps: Vec<Step> = match before.iter().rev().find(is_below_parent) {
        Some(last) => last[..parent.len()].to_vec(),
        None => parent.iter().map(|name| step(name)).collect(),
    };
    let name = path.last().copied().unwrap_or_default().to_owned();
    steps.push(Step { name, slice: element.slice_name.clone() });
    steps
}

/// The type that a spelling of a choice element says: `Quantity` for `value[x]` and `valueQuantity`.
pub(super) fn spelled<'t>(choice: &str, name: &str, mut types: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    let stem = choice.strip_suffix("[x]")?;
    types.find(|code| choice_name(stem, code) == name)
}
