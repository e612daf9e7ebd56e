//! What profiles ask for: cardinality, types, slices, fixed and pattern values, extension definitions.

use std::borrow::Cow;
use std::cmp::Ordering;

use smallvec::SmallVec;

use super::bounds::compare;
use super::bundle::told_type;
use super::compile::is_spelled;
use super::gate::There;
use super::plan::{Child, Matcher, Shape, Slice, Slicing, Step, Test, TypeRule, bit_of};
use super::strictness::Strictness;
use super::terminology::Membership;
use super::walk::{Found, Occurrence, Scope, Shapes, Walk};
use crate::fhir::labels::DATA_ABSENT_REASON;
use crate::fhir::outcome::{IssueType, Severity};
use crate::fhir::r4::{TypeDef, schema};
use crate::fhir::slices::{contains, is_same, members};
use crate::fhir::{Node, keys};

impl Shape {
    /// Whether it says anything of the element.
    pub(super) fn is_about(&self, found: &Found<'_>) -> bool {
        let may_be = self.names & (bit_of(found.element.stem) | bit_of(found.name)) != 0;
        debug_assert!(may_be || !self.children.iter().any(|child| child.is_about(found)), "{} is finished", self.id);
        may_be && self.children.iter().any(|child| child.is_about(found))
    }
}

impl Child {
    /// Whether it speaks of the element that was found under this spelling.
    fn is_about(&self, found: &Found<'_>) -> bool {
        self.name.id() == found.element.stem || self.name.id() == found.name
    }
}

/// The occurrences of an element that a slicing looks at.
#[derive(Clone, Copy)]
struct Sliced<'s, 'a> {
    occurrences: &'s [Occurrence<'a>],
    /// Which of them.
    places: &'s [usize],
    scope: &'s Scope<'a>,
}

impl<'a> Walk<'a> {
    /// Checks how often the values of one element stand, their types and slices; adds to `active` the shapes that each
    /// value must keep to.
    pub(super) fn shape_children(
        &mut self,
        parent: Node<'a>,
        found: &Found<'a>,
        occurrences: &[Occurrence<'a>],
        shapes: &[&'a Shape],
        scope: &Scope<'a>,
        active: &mut [Shapes<'a>],
    ) {
        for &shape in shapes.iter().filter(|shape| shape.is_about(found)) {
            for child in shape.children.iter().filter(|child| child.is_about(found)) {
                self.count(parent, child.name.text(), occurrences, &child.shape);
                for (occurrence, active) in occurrences.iter().zip(active.iter_mut()) {
                    self.narrowed(*occurrence, found, &child.shape, active);
                    active.push(&child.shape);
                }
                if child.shape.slicing.is_none() {
                    continue;
                }
                let places: SmallVec<[usize; 8]> = (0..occurrences.len()).collect();
                self.slices(parent, found, Sliced { occurrences, places: &places, scope }, &child.shape, active);
            }
        }
    }

    /// Reports the elements that shapes ask for and `parent` does not have.
    pub(super) fn absent_children(&mut self, parent: Node<'a>, found: &[Found<'a>], shapes: &[&'a Shape]) {
        for &shape in shapes {
            for child in shape.required.iter().map(|&place| &shape.children[place]) {
                if found.iter().any(|found| child.is_about(found)) {
                    continue;
                }
                let slices = child.shape.slicing.iter().flat_map(|slicing| &slicing.slices).map(|slice| &slice.shape);
                for wanted in std::iter::once(&child.shape).chain(slices).filter(|wanted| wanted.min > 0).take(1) {
                    self.count(parent, child.name.text(), &[], wanted);
                }
            }
        }
    }

    fn count(&mut self, parent: Node<'a>, name: &str, occurrences: &[Occurrence<'a>], shape: &'a Shape) {
        let count = occurrences.len();
        if count < shape.min as usize {
            let text = format!("{} is missing: at least {} expected, {count} found", shape.id, shape.min);
            self.missing(parent, name, &shape.profile, text);
        }
        if let Some(max) = shape.max.filter(|&max| count > max as usize) {
            let node = occurrences[max as usize].node().unwrap_or(parent);
            let text = format!("{} stands {count} times: at most {max} expected", shape.id);
            self.error(IssueType::Structure, node, &shape.profile, text, "remove what is too many");
        }
    }

    /// Checks the type against those that the profile leaves, and activates the profile on that type.
    fn narrowed(&mut self, occurrence: Occurrence<'a>, found: &Found<'a>, shape: &'a Shape, active: &mut Shapes<'a>) {
        let Some(node) = occurrence.node().filter(|_| !shape.types.is_empty()) else { return };
        let declared = found.element.def.types[found.chosen].code;
        let code = match node.resource_type() {
            Some(resource_type) if declared == "Resource" => resource_type,
            _ => declared,
        };
        // The types of a choice are told apart by name: a code is not spelled as a string is.
        let is_choice = found.element.def.is_choice;
        let allows = |rule: &TypeRule| match &*rule.code {
            "BackboneElement" | "Element" => true,
            allowed if is_choice => code == allowed,
            allowed => schema().is_a(code, allowed),
        };
        let Some(rule) = shape.types.iter().find(|rule| allows(rule)) else {
            let expected = shape.types.iter().map(|rule| &*rule.code).collect::<Vec<_>>().join(" or ");
            let text = format!("{} is a {code}: {expected} expected", shape.id);
            self.error(IssueType::Value, node, &shape.profile, text, "use a type that the profile allows");
            return;
        };
        match rule.profiles.as_slice() {
            [profile] if declared != "Extension" => self.type_profile(node, profile, shape, active),
            [_, _, ..] if node.resource_type().is_some() => self.any_profile(node, &rule.profiles, shape),
            _ => {}
        }
    }

    /// Activates the profile on a type.
    fn type_profile(&mut self, node: Node<'a>, profile: &'a str, shape: &'a Shape, active: &mut Shapes<'a>) {
        if !self.validator.activate(profile, active) && node.resource_type().is_some() {
            let text = format!("{profile}, which {} asks for, is not loaded and cannot be checked", shape.id);
            self.error(IssueType::NotFound, node, "not-checked", text, "load the package that holds the profile");
        }
    }

    /// The resource keeps to one of several profiles.
    fn any_profile(&mut self, node: Node<'a>, profiles: &'a [Box<str>], shape: &'a Shape) {
        let is_unknown = |url: &str| self.validator.type_of(url).is_none() && !self.validator.is_base(url);
        if profiles.iter().any(|url| is_unknown(url)) || profiles.iter().any(|url| self.is_of_profile(node, url)) {
            return;
        }
        let text = format!("the resource in {} is of none of the profiles {}", shape.id, profiles.join(", "));
        self.error(IssueType::Structure, node, &shape.profile, text, "make it fit one of them");
    }

    /// Sorts the occurrences at `places` into slices, and slices of slices, and checks each.
    fn slices(
        &mut self,
        parent: Node<'a>,
        found: &Found<'a>,
        sliced: Sliced<'_, 'a>,
        shape: &'a Shape,
        active: &mut [Shapes<'a>],
    ) {
        let Some(slicing) = &shape.slicing else { return };
        let Sliced { occurrences, places, scope } = sliced;
        let mut slice_of: SmallVec<[Option<usize>; 8]> = smallvec::smallvec![None; places.len()];
        for (number, slice) in slicing.slices.iter().enumerate() {
            let Some(matchers) = &slice.matchers else { continue };
            let mut own: SmallVec<[usize; 4]> = SmallVec::new();
            for (slot, &place) in slice_of.iter_mut().zip(places) {
                if matchers.iter().all(|matcher| self.matches(matcher, occurrences[place], scope)) {
                    match *slot {
                        Some(other) => self.in_two_slices(parent, occurrences[place], shape, [other, number]),
                        None => *slot = Some(number),
                    }
                    own.push(place);
                    self.narrowed(occurrences[place], found, &slice.shape, &mut active[place]);
                    active[place].push(&slice.shape);
                }
            }
            let matched: SmallVec<[Occurrence<'a>; 4]> = own.iter().map(|&place| occurrences[place]).collect();
            self.count(parent, found.element.def.stem, &matched, &slice.shape);
            self.slices(parent, found, Sliced { places: &own, ..sliced }, &slice.shape, active);
        }
        self.unsliced(parent, slicing, shape, sliced, &slice_of);
    }

    /// A value belongs to one slice (R4 profiling.html): the discriminators must tell them apart.
    fn in_two_slices(&mut self, parent: Node<'a>, occurrence: Occurrence<'a>, shape: &'a Shape, both: [usize; 2]) {
        let Some(slicing) = &shape.slicing else { return };
        let names = both.map(|number| &*slicing.slices[number].name).join(" and ");
        let node = occurrence.node().unwrap_or(parent);
        let text = format!("the value is in two slices of {}: {names}", shape.id);
        let hint = "make it fit one of them; if no value can, correct the profile";
        self.error(IssueType::Structure, node, &shape.profile, text, hint);
    }

    /// Occurrences in no slice where that is closed, and slices out of order.
    fn unsliced(
        &mut self,
        parent: Node<'a>,
        slicing: &'a Slicing,
        shape: &'a Shape,
        sliced: Sliced<'_, 'a>,
        slice_of: &[Option<usize>],
    ) {
        if slicing.slices.iter().any(|slice| slice.matchers.is_none()) {
            return;
        }
        let mut last = 0;
        for (&place, slice) in sliced.places.iter().zip(slice_of) {
            let node = sliced.occurrences[place].node().unwrap_or(parent);
            match *slice {
                None if slicing.closed => {
                    let names = slicing.slices.iter().map(|slice: &Slice| &*slice.name).collect::<Vec<_>>().join(", ");
                    let text = format!("the value is in no slice of {}, which is closed: {names} expected", shape.id);
                    let hint = "remove it, or make it fit a slice";
                    self.error(IssueType::Structure, node, &shape.profile, text, hint);
                }
                None => last = if slicing.open_at_end { slicing.slices.len() } else { last },
                Some(number) if number < last && (slicing.ordered || slicing.open_at_end) => {
                    let text = format!("the slices of {} do not stand in their order", shape.id);
                    self.error(
                        IssueType::Structure,
                        node,
                        &shape.profile,
                        text,
                        "put them in the order of the profile",
                    );
                }
                Some(number) => last = if slicing.ordered { number } else { last },
            }
        }
    }

    fn matches(&self, matcher: &Matcher, occurrence: Occurrence<'a>, scope: &Scope<'a>) -> bool {
        let mut nodes: SmallVec<[Node<'a>; 2]> = occurrence.value.into_iter().collect();
        let mut before = SmallVec::new();
        for step in &matcher.path {
            before.clone_from(&nodes);
            nodes = nodes.iter().flat_map(|node| self.follow(*node, step, scope)).collect();
        }
        match &matcher.test {
            Test::Exists(expected) => nodes.is_empty() != *expected,
            Test::Fixed(value) => nodes.iter().any(|node| is_same(*node, value.root())),
            Test::Pattern(value) => nodes.iter().any(|node| contains(*node, value.root())),
            Test::ValueSet(set) => nodes.iter().any(|node| {
                codes_of(*node).iter().any(|(system, code)| {
                    self.validator.terminology.membership(set, system.as_deref(), code) == Membership::In
                })
            }),
            Test::Profile(urls) => nodes
                .iter()
                .any(|node| node.resource_type().is_some() && urls.iter().any(|url| self.is_of_profile(*node, url))),
            Test::Type(codes) if nodes.is_empty() && matches!(matcher.path.last(), Some(Step::Resolve)) => {
                let mut told = before.iter().filter_map(|reference| told_type(*reference));
                told.any(|name| codes.iter().any(|code| schema().is_a(&name, code)))
            }
            Test::Type(codes) => nodes.iter().any(|node| codes.iter().any(|code| is_of_type(*node, code))),
        }
    }

    fn follow(&self, node: Node<'a>, step: &Step, scope: &Scope<'a>) -> SmallVec<[Node<'a>; 2]> {
        match step {
            Step::Resolve => self.led_to(node, scope).into_iter().collect(),
            step => follow(node, step),
        }
    }

    /// Fixed and pattern values, bindings and invariants of the active shapes, on one value.
    pub(super) fn shape_rules(
        &mut self,
        occurrence: Occurrence<'a>,
        def: &'static TypeDef,
        shapes: &[&'a Shape],
        there: Option<There>,
        scope: &Scope<'a>,
    ) {
        let Some(node) = occurrence.node() else { return };
        for &shape in shapes {
            if shape.limits_value() && !occurrence.is_absent_with_reason() {
                self.fixed_values(occurrence, node, shape);
                self.limits(occurrence, def, shape);
                if let Some(binding) = &shape.binding {
                    self.bound(occurrence, def, binding, &shape.profile);
                }
            }
            self.run(&shape.invariants, occurrence, Some(def), there, scope);
        }
    }

    /// `minValue[x]`, `maxValue[x]`, `maxLength`.
    fn limits(&mut self, occurrence: Occurrence<'a>, def: &'static TypeDef, shape: &'a Shape) {
        let (Some(limit), Some(node)) = (&shape.limit, occurrence.value) else { return };
        let bounds = [(&limit.min_value, Ordering::Less, "less"), (&limit.max_value, Ordering::Greater, "more")];
        for (bound, wrong, what) in bounds {
            let Some(bound) = bound else { continue };
            if compare((node, def.name), (bound.root(), def.name)) == Some(wrong) {
                let text = format!("the value of {} is {what} than the profile allows", shape.id);
                self.error(IssueType::Value, node, &shape.profile, text, "check the value");
            }
        }
        let length = limit.max_length.and_then(|most| Some((most as usize, node.text()?.chars().count())));
        if let Some((most, length)) = length.filter(|(most, length)| length > most) {
            let text = format!("the text of {} has {length} characters: at most {most} expected", shape.id);
            self.error(IssueType::TooLong, node, &shape.profile, text, "shorten it");
        }
    }

    pub(super) fn fixed_values(&mut self, occurrence: Occurrence<'a>, node: Node<'a>, shape: &'a Shape) {
        let wrong = match (&shape.fixed, &shape.pattern) {
            (Some(fixed), _) if !occurrence.value.is_some_and(|value| is_same(value, fixed.root())) => ("be", fixed),
            (_, Some(pattern)) if !occurrence.value.is_some_and(|value| contains(value, pattern.root())) => {
                ("contain", pattern)
            }
            _ => return,
        };
        let text = format!("the value of {} must {} {}", shape.id, wrong.0, wrong.1.source());
        let surplus = match (&shape.fixed, occurrence.value) {
            (Some(fixed), Some(value)) => surplus(value, fixed.root()),
            _ => SmallVec::new(),
        };
        for member in &surplus {
            let text = format!("{text}, and has no such element");
            self.error(IssueType::Value, *member, &shape.profile, text, "remove it");
        }
        if surplus.is_empty() {
            self.error(IssueType::Value, node, &shape.profile, text, "use the value that the profile fixes");
        }
    }

    /// Activates the definition of an extension, and checks that it may stand here.
    pub(super) fn extension(
        &mut self,
        node: Node<'a>,
        (host, parent): (&'static TypeDef, Node<'a>),
        at: &'static str,
        element: &str,
        shapes: &mut Shapes<'a>,
        scope: &Scope<'a>,
    ) {
        let keys = keys();
        let is_simple = node.child(keys.extension).is_none();
        let has_value = node.children().any(|child| child.name().is_some_and(|name| is_spelled(&name, "value")));
        if node.is_object() && is_simple != has_value {
            let text = "an extension has either a value or extensions of its own";
            self.error(IssueType::Invariant, node, "ext-1", text, "keep one of the two");
        }
        let Some(url) = node.child(keys.url).and_then(Node::text) else { return };
        if host.name == "Extension" && !url.contains(':') {
            return; // A part of a complex extension: its definition names it.
        }
        if host.name != "Extension" && !url.contains(':') {
            let text = "the URL of an extension is absolute, but for a part of another extension";
            self.error(IssueType::Extension, node, "r4-extension-url", text, "write the URL of its definition");
            return;
        }
        let before = shapes.len();
        if !self.validator.activate(&url, shapes) {
            self.unknown_extension(node, &url, element);
            return;
        }
        if url.contains('|') {
            let text = "the URL of an extension has no version";
            self.error(IssueType::Extension, node, "r4-extension-url", text, "leave the version out");
        }
        if self.validator.is_modifier(&url) != (element == "modifierExtension") {
            let text = match element {
                "modifierExtension" => "the extension is no modifier, and stands among modifier extensions",
                _ => "the extension is a modifier, and stands among extensions that are none",
            };
            self.error(IssueType::Extension, node, "r4-modifier-extension", text, "move it to the other list");
        }
        let profile = shapes[before..].first().map(|shape| &*shape.profile).unwrap_or_default();
        self.context(node, (host, parent), at, profile, scope);
    }

    fn unknown_extension(&mut self, node: Node<'a>, url: &str, element: &str) {
        if element == "modifierExtension" {
            let text = "a modifier extension that is not known may change the meaning of what it stands in";
            self.error(IssueType::Extension, node, "r4-modifier-extension", text, "load its definition, or remove it");
        } else if self.validator.strictness.known_extensions
            && !Strictness::is_example(url)
            && !Strictness::is_of_another_version(url)
        {
            let text = "the definition of the extension is not loaded, and the extension not allowed here";
            self.error(IssueType::Extension, node, "r4-unknown-extension", text, "load its definition, or remove it");
        } else if url != DATA_ABSENT_REASON {
            let text = "the definition of the extension is not loaded, and its content not checked";
            self.report(Severity::Information, IssueType::NotSupported, node, "not-checked", text, "");
        }
    }
}

fn follow<'a>(node: Node<'a>, step: &Step) -> SmallVec<[Node<'a>; 2]> {
    let keys = keys();
    match step {
        Step::Name(name) => {
            let named = |child: &Node<'a>| {
                child.is_named(name) || child.name().is_some_and(|own| is_spelled(&own, name.text()))
            };
            node.children().filter(|_| node.is_object()).filter(named).flat_map(Node::items).collect()
        }
        Step::Extension(url) => {
            let extensions = node.items_at(keys.extension);
            extensions
                .filter(|each| each.child(keys.url).and_then(Node::text).is_some_and(|own| own == **url))
                .collect()
        }
        Step::OfType(code) => std::iter::once(node).filter(|node| is_of_type(*node, code)).collect(),
        Step::Resolve => SmallVec::new(), // Needs the Bundle around it: see `Walk::follow`.
    }
}

fn is_of_type(node: Node<'_>, code: &str) -> bool {
    match node.resource_type() {
        Some(resource_type) => schema().is_a(resource_type, code),
        None => node.name().is_some_and(|name| {
            name.len() > code.len()
                && name.to_ascii_lowercase().ends_with(&code.to_ascii_lowercase())
                && name.as_bytes()[name.len() - code.len()].is_ascii_uppercase()
        }),
    }
}

/// A system, unless the element has none (type code), and a code.
pub(super) type Code<'a> = (Option<Cow<'a, str>>, Cow<'a, str>);

/// The codes a code, Coding, CodeableConcept or Quantity holds, each with its system.
pub(super) fn codes_of(node: Node<'_>) -> SmallVec<[Code<'_>; 2]> {
    let mut codes = SmallVec::new();
    push_codes(node, &mut codes);
    codes
}

fn push_codes<'a>(node: Node<'a>, codes: &mut SmallVec<[Code<'a>; 2]>) {
    let keys = keys();
    if let Some(code) = node.text() {
        codes.push((None, code));
    } else if let Some(codings) = node.child(keys.coding) {
        codings.items().for_each(|coding| push_codes(coding, codes));
    } else if let Some(code) = node.child(keys.code).and_then(Node::text) {
        let system = node.child(keys.system).and_then(Node::text);
        codes.push((system.or(Some("".into())), code));
    }
}

/// The members that `fixed` does not have, where those that it has are all there.
fn surplus<'a>(node: Node<'a>, fixed: Node<'_>) -> SmallVec<[Node<'a>; 2]> {
    if !node.is_object() || !fixed.is_object() || !members(node, fixed, is_same) {
        return SmallVec::new();
    }
    node.children().filter(|child| child.name().is_some_and(|name| fixed.member(&name).is_none())).collect()
}
