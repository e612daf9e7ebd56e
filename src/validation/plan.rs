//! The compiled forms: what the walk asks of base R4 ([`TypePlan`]) and of profiles ([`Shape`]).
//!
//! A profile stays a tree of what its differential says. The walk carries the shapes that are active at an element:
//! those of every claimed profile and of the profiles it derives from, of matched slices, of extension definitions. So
//! nothing is copied from base definitions, and each rule is applied once, in the profile that states it.

use std::collections::HashMap;
use std::sync::Arc;

use super::primitives::Format;
use super::terminology::NamedSet;
use crate::fhir::outcome::Severity;
use crate::fhir::r4::{ElementDef, TypeDef};
use crate::fhir::{Document, Name};
use crate::fhirpath::Expression;

/// Base R4, compiled.
#[derive(Debug)]
pub(super) struct BasePlan {
    pub(super) types: Vec<TypePlan>,
    pub(super) by_name: HashMap<&'static str, usize>,
}

impl BasePlan {
    /// The type called `name`.
    pub(super) fn named(&self, name: &str) -> Option<&TypePlan> {
        self.by_name.get(name).map(|&index| &self.types[index])
    }
}

/// A type of R4.
#[derive(Debug)]
pub(super) struct TypePlan {
    pub(super) def: &'static TypeDef,
    pub(super) elements: Vec<ElementPlan>,
    /// Places of the elements with a minimum.
    pub(super) required: Vec<usize>,
    pub(super) invariants: Vec<Arc<Invariant>>,
}

/// An element of a type.
#[derive(Debug)]
pub(super) struct ElementPlan {
    pub(super) def: &'static ElementDef,
    /// What each of its types is, in the order of [`ElementDef::types`].
    pub(super) contents: Vec<Content>,
    pub(super) binding: Option<Binding>,
    pub(super) invariants: Vec<Arc<Invariant>>,
}

/// What a type is to the walk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Primitive(Format, &'static TypeDef),
    /// A place in [`BasePlan::types`].
    Complex(usize),
    /// Any resource.
    Resource,
}

/// A value set that the codes of an element come from.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) strength: Strength,
    pub(super) value_set: Arc<NamedSet>,
}

/// How far a binding binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    Required,
    Extensible,
    Preferred,
}

/// A FHIRPath constraint.
#[derive(Debug)]
pub(super) struct Invariant {
    /// `per-1`, or for a profile's own `https://…/weir-patient#weir-pat-1`.
    pub(super) rule: Box<str>,
    pub(super) severity: Severity,
    /// What it asks for, in words; for base R4 its expression.
    pub(super) text: Box<str>,
    pub(super) expression: Expression,
}

/// What one profile says about one element.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The profile's canonical URL.
    pub(super) profile: Arc<str>,
    /// The element's id in the profile.
    pub(super) id: Box<str>,
    pub(super) min: u32,
    /// `None` where the profile sets no bound.
    pub(super) max: Option<u32>,
    /// Empty where the profile allows what the base does.
    pub(super) types: Vec<TypeRule>,
    pub(super) fixed: Option<Arc<Document>>,
    pub(super) pattern: Option<Arc<Document>>,
    pub(super) limit: Option<Box<Limit>>,
    pub(super) binding: Option<Binding>,
    pub(super) invariants: Vec<Arc<Invariant>>,
    pub(super) slicing: Option<Slicing>,
    pub(super) children: Vec<Child>,
}

impl Shape {
    /// Adds the paths of the elements below `path` that the profile requires.
    pub(super) fn push_required(&self, path: &str, paths: &mut Vec<String>) {
        for child in &self.children {
            let below = format!("{path}.{}", child.name.text());
            child.shape.push_required(&below, paths);
            if child.shape.min > 0 {
                paths.push(below);
            }
        }
    }
}

/// How large or long a value may be.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) min_value: Option<Arc<Document>>,
    pub(super) max_value: Option<Arc<Document>>,
    /// In characters.
    pub(super) max_length: Option<u32>,
}

/// What a profile says about an element of the element.
#[derive(Debug)]
pub(super) struct Child {
    /// The last step of the path without `[x]`; in a logical model the JSON key.
    pub(super) name: Name,
    pub(super) shape: Shape,
}

/// A type that a profile allows.
#[derive(Debug)]
pub(super) struct TypeRule {
    pub(super) code: Box<str>,
    /// Profiles on the value; any of them.
    pub(super) profiles: Vec<Box<str>>,
    /// Profiles on what a reference points to; any of them. Base resource types stand as their name.
    pub(super) targets: Vec<Box<str>>,
    /// Where what a reference points to may be: `contained`, `referenced`, `bundled`; empty for anywhere.
    pub(super) aggregation: Vec<Box<str>>,
    /// Whether a reference names a version: `independent`, `specific`; `None` for either.
    pub(super) versioning: Option<Box<str>>,
}

/// How occurrences are told apart.
#[derive(Debug)]
pub(super) struct Slicing {
    /// Occurrences that are in no slice are refused.
    pub(super) closed: bool,
    /// Occurrences that are in no slice stand behind those that are.
    pub(super) open_at_end: bool,
    /// The slices stand in their order.
    pub(super) ordered: bool,
    pub(super) slices: Vec<Slice>,
}

/// Some of the occurrences of an element.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) name: Box<str>,
    /// All must match; `None` if a discriminator cannot be run, and the slice is not checked.
    pub(super) matchers: Option<Vec<Matcher>>,
    pub(super) shape: Shape,
}

/// A discriminator, with what the slice expects of it.
#[derive(Debug)]
pub(super) struct Matcher {
    /// The steps from the occurrence; none for `$this`.
    pub(super) path: Vec<Step>,
    pub(super) test: Test,
}

/// A step of a discriminator's path.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// `system`
    Name(Name),
    /// `extension('url')`
    Extension(Box<str>),
    /// `resolve()`: from a Reference to what it leads to.
    Resolve,
    /// `ofType(Quantity)`
    OfType(Box<str>),
}

/// What a discriminator compares with.
#[derive(Debug)]
pub(super) enum Test {
    /// `fixed[x]`: the value is the same.
    Fixed(Arc<Document>),
    /// `pattern[x]`: the value contains this.
    Pattern(Arc<Document>),
    /// The value's code is in this value set.
    ValueSet(Arc<NamedSet>),
    /// There is a value, or there is none.
    Exists(bool),
    /// The value is of one of these types.
    Type(Vec<Box<str>>),
    /// The value keeps to one of these profiles.
    Profile(Vec<Box<str>>),
}
