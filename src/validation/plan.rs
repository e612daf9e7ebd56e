//! The compiled forms: what the walk asks of base R4 ([`TypePlan`]) and of profiles ([`Shape`]).
//!
//! A profile stays a tree of what its differential says. The walk carries the shapes that are active at an element:
//! those of every claimed profile and of the profiles it derives from, of matched slices, of extension definitions. So
//! nothing is copied from base definitions, and each rule is applied once, in the profile that states it.

use std::sync::Arc;

use super::gate::{ElementSet, Gate};
use super::native::Native;
use super::primitives::Format;
use super::terminology::NamedSet;
use crate::fhir::outcome::Severity;
use crate::fhir::r4::{ElementDef, TypeDef};
use crate::fhir::snapshot::R4;
use crate::fhir::{Document, FixedMap, Name, NameId, has_byte};
use crate::fhirpath::{Expression, Reach};

/// Base R4, compiled.
#[derive(Debug)]
pub(super) struct BasePlan {
    pub(super) types: Vec<TypePlan>,
    pub(super) by_name: FixedMap<&'static str, usize>,
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
    /// The elements with a minimum.
    pub(super) required: ElementSet,
    pub(super) id: ElementSet,
    pub(super) invariants: Vec<Rule>,
    /// How far the invariants look that hold for its objects and for what is below them.
    pub(super) reach: Reach,
}

/// An element of a type.
#[derive(Debug)]
pub(super) struct ElementPlan {
    pub(super) def: &'static ElementDef,
    /// Its place in [`TypePlan::elements`].
    pub(super) place: usize,
    /// Its name without a type: that of `value` for `value[x]`.
    pub(super) stem: NameId,
    /// What each of its types is, in the order of [`ElementDef::types`].
    pub(super) contents: Vec<Content>,
    pub(super) binding: Option<Binding>,
    pub(super) invariants: Vec<Rule>,
}

impl ElementPlan {
    /// Whether its value may have extensions, and a sibling `_name` that holds them: a primitive, but not an id, the URL
    /// of an extension, or XHTML (R4 json.html; element.html).
    pub(super) fn may_be_extended(&self, chosen: usize) -> bool {
        let is_bare = self.def.stem == "id" || self.def.path == "Extension.url";
        match self.contents[chosen] {
            Content::Primitive(format, _) => format != Format::Xhtml && !is_bare,
            _ => false,
        }
    }
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
    /// Who answers it in the place of the expression.
    pub(super) native: Option<Native>,
    pub(super) expression: Expression,
}

/// An invariant where it is stated.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) invariant: Arc<Invariant>,
    /// What of it the elements that are there decide.
    pub(super) gate: Option<Gate>,
    /// The names of the elements that it reads, if those are all that it looks at.
    pub(super) reads: Option<Box<[NameId]>>,
}

impl Rule {
    /// The invariant on elements of the type `def`, if that is known.
    pub(super) fn on(invariant: Arc<Invariant>, def: Option<&'static TypeDef>) -> Rule {
        let gate = def.and_then(|def| Gate::of(&invariant, def));
        let reads = invariant.expression.reads().map(Into::into);
        Rule { invariant, gate, reads }
    }
}

/// Profiles of R4 on data types that look at nothing but the value.
pub(super) const LOCAL: &[&str] = &["SimpleQuantity", "MoneyQuantity"];

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
    pub(super) invariants: Vec<Rule>,
    pub(super) slicing: Option<Slicing>,
    pub(super) children: Vec<Child>,
    /// Places of the children of which one is asked for, or one in a slice. See [`Shape::finish`].
    pub(super) required: Vec<usize>,
    /// How far its rules look, and those of its children and slices. See [`Shape::finish`].
    pub(super) reach: Reach,
    /// A bit for the name of each of the children, by [`bit_of`]. See [`Shape::finish`].
    pub(super) names: u64,
}

impl Shape {
    /// Fills in what follows from the rest.
    pub(super) fn finish(&mut self) {
        let is_required = |child: &Child| {
            let mut slices = child.shape.slicing.iter().flat_map(|slicing| &slicing.slices);
            child.shape.min > 0 || slices.any(|slice| slice.shape.min > 0)
        };
        self.names = self.children.iter().fold(0, |names, child| names | bit_of(child.name.id()));
        self.required = (0..self.children.len()).filter(|&place| is_required(&self.children[place])).collect();
        let slices = self.slicing.iter().flat_map(|slicing| &slicing.slices);
        let below = self.children.iter().map(|child| child.shape.reach.max(child.shape.reach_of_types()));
        let reaches = self.invariants.iter().map(|rule| rule.invariant.expression.reach());
        self.reach = reaches.chain(slices.map(Slice::reach)).chain(below).max().unwrap_or_default();
    }

    /// How far the profiles on its type look: they are activated where the element stands, and not known here. Those of
    /// extensions are known by their URLs, those of resources where the resource stands.
    fn reach_of_types(&self) -> Reach {
        let is_local = |url: &str| url.strip_prefix(R4).is_some_and(|name| LOCAL.contains(&name));
        let is_plain =
            |rule: &TypeRule| rule.profiles.iter().all(|url| is_local(url)) || rule.code.as_ref() == "Extension";
        if self.types.iter().all(is_plain) { Reach::Focus } else { Reach::Document }
    }

    /// Whether it is of an element of its profile, and not of what the profile constrains as a whole.
    pub(super) fn is_of_element(&self) -> bool {
        has_byte(&self.id, b'.')
    }

    /// Whether it says anything of the value itself.
    pub(super) fn limits_value(&self) -> bool {
        self.fixed.is_some() || self.pattern.is_some() || self.limit.is_some() || self.binding.is_some()
    }

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

/// One bit of 64 for a name. Some names share one.
#[inline]
pub(super) fn bit_of(name: NameId) -> u64 {
    1 << (name.index() / 2 % 64)
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

impl Slice {
    fn reach(&self) -> Reach {
        let matchers = self.matchers.iter().flatten().map(Matcher::reach);
        matchers.chain([self.shape.reach, self.shape.reach_of_types()]).max().unwrap_or_default()
    }
}

/// A discriminator, with what the slice expects of it.
#[derive(Debug)]
pub(super) struct Matcher {
    /// The steps from the occurrence; none for `$this`.
    pub(super) path: Vec<Step>,
    pub(super) test: Test,
}

impl Matcher {
    /// The type of what a reference leads to does not change; what it holds may.
    fn reach(&self) -> Reach {
        let is_type = matches!(self.test, Test::Type(_)) && matches!(self.path.last(), Some(Step::Resolve));
        let follows = self.path.iter().filter(|step| matches!(step, Step::Resolve)).count();
        if follows > usize::from(is_type) { Reach::Document } else { Reach::Focus }
    }
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
