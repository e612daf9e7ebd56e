//! A differential over its base: finds or makes the place of each element, then merges what it says.

use std::sync::Arc;

use super::merge::{add_constraint, merge};
use super::place::{Step, spelled, steps};
use super::tree::Tree;
use super::{Error, R4, SnapshotElement, Snapshots, base};
use crate::fhir::definitions::{ElementDefinition, StructureDefinition, TypeUse};

/// One definition being applied.
struct Application<'a, 'd> {
    snapshots: &'a mut Snapshots<'d>,
    definition: &'a StructureDefinition,
    /// What it constrains: where content references lead.
    base: &'a Tree,
    /// The id of the element being applied.
    at: &'a str,
}

impl Snapshots<'_> {
    /// The tree of a definition.
    pub(super) fn apply(&mut self, definition: &StructureDefinition) -> Result<Tree, Error> {
        let base = match definition.is_snapshot {
            true => Arc::default(),
            false => self.tree(&definition.base)?,
        };
        let mut tree = Tree::clone(&base);
        if let Some(first) = definition.elements.first()
            && (definition.specializes || definition.is_snapshot)
        {
            tree.name = first.path.split('.').next().unwrap_or_default().into();
        }
        let mut places: Vec<Vec<Step>> = Vec::with_capacity(definition.elements.len());
        for element in &definition.elements {
            let place = steps(element, &places);
            let mut application = Application { snapshots: self, definition, base: &base, at: &element.id };
            application.element(&mut tree, element, &place)?;
            places.push(place);
        }
        raise_minimums(&mut tree, &mut Vec::new(), &places);
        Ok(tree)
    }
}

impl Application<'_, '_> {
    fn refuse<T>(&self, what: impl Into<String>) -> Result<T, Error> {
        let (profile, element) = (self.definition.url.clone(), self.at.to_owned());
        Err(Error::Element { profile, element, what: what.into() })
    }

    fn element(&mut self, root: &mut Tree, stated: &ElementDefinition, steps: &[Step]) -> Result<(), Error> {
        let Some((first, rest)) = steps.split_first() else { return self.refuse("it has no path") };
        if *first.name != *root.name {
            return self.refuse(format!("its path does not begin with {}", root.name));
        }
        let place = self.descend(root, rest)?;
        self.profiled(place, stated)?;
        if self.definition.specializes {
            self.inherit(place, stated)?;
        }
        merge(&mut place.element, stated, &self.definition.url);
        Ok(())
    }

    /// An extension stands no more often than its definition allows.
    fn profiled(&mut self, place: &mut Tree, stated: &ElementDefinition) -> Result<(), Error> {
        if let Some([only]) = stated.types.as_deref()
            && only.code == "Extension"
            && let [profile] = only.profiles.as_slice()
            && let Ok(root) = self.snapshots.tree(profile)
        {
            place.element.max = [place.element.max, root.element.max].into_iter().flatten().min();
            place.element.is_modifier |= root.element.is_modifier;
            root.element.constraints.iter().for_each(|each| add_constraint(&mut place.element, each));
        }
        Ok(())
    }

    /// An element that a specialization adds has the constraints that every element of its complex type has.
    fn inherit(&mut self, added: &mut Tree, stated: &ElementDefinition) -> Result<(), Error> {
        if let Some([only]) = stated.types.as_deref()
            && only.code.starts_with(|letter: char| letter.is_ascii_uppercase())
        {
            let root = self.snapshots.tree(&content_of(only))?;
            root.element.constraints.iter().for_each(|each| add_constraint(&mut added.element, each));
        }
        Ok(())
    }

    /// Goes down the steps, listing the children of types and making slices on the way.
    fn descend<'t>(&mut self, at: &'t mut Tree, steps: &[Step]) -> Result<&'t mut Tree, Error> {
        let Some((step, rest)) = steps.split_first() else { return Ok(at) };
        self.list_children(at, step)?;
        let (place, implied) = self.child(at, step, rest.is_empty())?;
        let child = &mut at.children[place];
        let child = match step.slice.as_ref().or(implied.as_ref()) {
            None => child,
            Some(slice) => self.slice(child, slice, rest.is_empty())?,
        };
        self.descend(child, rest)
    }

    /// The place of the child, and the slice that its spelling stands for.
    fn child(&mut self, at: &mut Tree, step: &Step, is_last: bool) -> Result<(usize, Option<String>), Error> {
        if let Some(place) = at.child(&step.name) {
            return Ok((place, None));
        }
        for (place, child) in at.children.iter().enumerate().filter(|(_, child)| child.is_choice()) {
            let codes = child.element.types.iter().map(|each| each.code.as_str());
            if spelled(&child.name, &step.name, codes).is_some() {
                return Ok((place, Some(step.name.clone())));
            }
        }
        if is_last && (self.definition.specializes || self.definition.is_snapshot) {
            at.children.push(Tree { name: step.name.as_str().into(), ..Tree::default() });
            return Ok((at.children.len() - 1, None));
        }
        self.refuse(format!("there is no element {}", step.name))
    }

    /// The slice of an element, made if the step is the last or names a type.
    fn slice<'t>(&mut self, unsliced: &'t mut Tree, name: &str, is_last: bool) -> Result<&'t mut Tree, Error> {
        // `a/b` stands in `a`.
        if let Some((outer, _)) = name.rsplit_once('/')
            && let Some(place) =
                unsliced.slices.iter().position(|slice| slice.element.slice_name.as_deref() == Some(outer))
        {
            return self.slice(&mut unsliced.slices[place], name, is_last);
        }
        let own = |slice: &Tree| slice.element.slice_name.as_deref() == Some(name);
        let place = match unsliced.slices.iter().position(own) {
            Some(place) => place,
            None => self.new_slice(unsliced, name, is_last)?,
        };
        let slice = &mut unsliced.slices[place];
        // What is asked of the children of all is asked of those of the slice.
        if !is_last && slice.children.is_empty() && !has_profile(&slice.element) {
            slice.children.clone_from(&unsliced.children);
        }
        Ok(slice)
    }

    fn new_slice(&mut self, unsliced: &mut Tree, name: &str, is_last: bool) -> Result<usize, Error> {
        let codes = unsliced.element.types.iter().map(|each| each.code.as_str());
        let of_type = spelled(&unsliced.name, name, codes).map(str::to_owned);
        if !is_last && of_type.is_none() {
            return self.refuse(format!("there is no slice {name}"));
        }
        if unsliced.element.slicing.is_none() {
            unsliced.element.slicing = match &*unsliced.name {
                "extension" | "modifierExtension" => Some(base::by_url()),
                _ if unsliced.is_choice() => Some(base::by_type()),
                _ if self.definition.is_snapshot => None,
                _ => return self.refuse(format!("it is slice {name} of an element without slicing")),
            };
        }
        unsliced.slices.push(slice_of(unsliced, name, of_type.as_deref()));
        Ok(unsliced.slices.len() - 1)
    }

    /// Gives an element that has none its children: those of the element it refers to, or of its type.
    fn list_children(&mut self, at: &mut Tree, wanted: &Step) -> Result<(), Error> {
        if !at.children.is_empty() || self.definition.is_snapshot {
            return Ok(());
        }
        if let Some(reference) = at.element.content_reference.clone() {
            let Some(target) = referenced(self.base, &reference) else {
                return self.refuse(format!("the content reference {reference} leads nowhere"));
            };
            at.children = target.children.clone();
            at.element.types = Arc::clone(&target.element.types);
            at.element.content_reference = None;
            return Ok(());
        }
        let url = match &*at.element.types {
            [only] => content_of(only),
            [] if self.definition.specializes => return Ok(()),
            // Every type has these.
            [_, ..] if matches!(&*wanted.name, "id" | "extension") => format!("{R4}Element"),
            _ => return self.refuse("its parent has several types, or none: constrain it to one first"),
        };
        let tree = match (self.snapshots.tree(&url), &*at.element.types) {
            // What the profile on the type would add is not known; what its type has is.
            (Err(Error::NotLoaded { .. }), [only]) if url == content_of(only) && !only.code.contains(':') => {
                self.snapshots.tree(&format!("{R4}{}", only.code))?
            }
            (tree, _) => tree?,
        };
        at.children = tree.children.clone();
        Ok(())
    }
}

/// The definition that lists a type's children: its only profile, or the type.
fn content_of(used: &TypeUse) -> String {
    match used.profiles.as_slice() {
        [profile] => profile.clone(),
        _ if used.code.contains(':') => used.code.clone(),
        _ => format!("{R4}{}", used.code),
    }
}

fn has_profile(element: &SnapshotElement) -> bool {
    element.types.iter().any(|used| !used.profiles.is_empty())
}

/// The element that `#Bundle.link` names.
fn referenced<'t>(root: &'t Tree, reference: &str) -> Option<&'t Tree> {
    let (_, path) = reference.split_once('#')?;
    let mut steps = path.split('.');
    steps.next().filter(|first| **first == *root.name)?;
    steps.try_fold(root, |at, step| at.child(step).map(|place| &at.children[place]))
}

/// An element whose slices the differential constrains without restating the element itself stands at least as often
/// as the slices must together.
fn raise_minimums(at: &mut Tree, above: &mut Vec<Step>, stated: &[Vec<Step>]) {
    let slice = at.element.slice_name.as_deref().map(str::to_owned);
    above.push(Step { name: at.name.to_string(), slice: slice.clone() });
    at.children.iter_mut().chain(&mut at.slices).for_each(|each| {
        let is_slice = each.element.slice_name.is_some() && each.name == at.name;
        let own = if is_slice { above.pop() } else { None };
        raise_minimums(each, above, stated);
        above.extend(own);
    });
    let names_slice = |steps: &&Vec<Step>| {
        let is_here = steps.len() == above.len() && steps[..above.len() - 1] == above[..above.len() - 1];
        is_here && steps.last().is_some_and(|last| *last.name == *at.name && last.slice.is_some())
    };
    let least: u32 = at.slices.iter().map(|slice| slice.element.min).sum();
    let is_restated = stated.iter().any(|steps| steps == above);
    if slice.is_none()
        && least > at.element.min
        && !at.is_choice()
        && !is_restated
        && stated.iter().any(|s| names_slice(&s))
    {
        at.element.min = least;
    }
    above.pop();
}

/// A slice starts as what the unsliced element says; how often it stands is for the slice to say.
fn slice_of(unsliced: &Tree, name: &str, of_type: Option<&str>) -> Tree {
    let types = match of_type {
        Some(code) => unsliced.element.types.iter().filter(|each| each.code == code).cloned().collect(),
        None => Arc::clone(&unsliced.element.types),
    };
    Tree {
        name: unsliced.name.clone(),
        element: SnapshotElement {
            slice_name: Some(name.into()),
            slicing: None,
            min: 0,
            types,
            ..unsliced.element.clone()
        },
        ..Tree::default()
    }
}
