//! The walk over a FHIR resource: base R4 and the shapes of profiles, in one pass.
//!
//! Every element is visited once, with the shapes that are active there. Problems are collected, none stops the walk.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use smallvec::SmallVec;

use super::bundle::BundleIndex;
use super::gate::{ElementSet, There};
use super::plan::{Content, ElementPlan, Invariant, Rule, Shape, TypePlan};
use super::primitives::Format;
use super::{Cut, MOST_ISSUES, Validator, narrative};
use crate::fhir::definitions::without_version;
use crate::fhir::labels::DATA_ABSENT_REASON;
use crate::fhir::outcome::{Issue, IssueType, Severity};
use crate::fhir::r4::{TypeDef, schema};
use crate::fhir::snapshot::R4;
use crate::fhir::{Children, Document, ElementPath, Kind, NameId, Node, NodeId, keys};
use crate::fhirpath::{Element, Environment, EvaluationError, Expression, Item, Knowledge};

/// The LOINC codes of R4's vital signs, and the profile that an Observation with the code keeps to (R4
/// observation-vitalsigns).
const VITAL_SIGNS: &[(&str, &str)] = &[
    ("85353-1", "vitalspanel"),
    ("9279-1", "resprate"),
    ("8867-4", "heartrate"),
    ("2708-6", "oxygensat"),
    ("8310-5", "bodytemp"),
    ("8302-2", "bodyheight"),
    ("9843-4", "headcircum"),
    ("29463-7", "bodyweight"),
    ("39156-5", "bmi"),
    ("85354-9", "bp"),
];

/// Trials of profiles inside each other; beyond, a profile is taken as kept, as on a circle, and `conformsTo()` has no
/// answer.
pub(super) const MOST_TRIALS: usize = 16;

/// The shapes that are active at an element.
pub(super) type Shapes<'a> = SmallVec<[&'a Shape; 4]>;

/// One value of an element: itself, and for a primitive the object of its `_name` sibling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occurrence<'a> {
    pub(super) value: Option<Node<'a>>,
    pub(super) extension: Option<Node<'a>>,
}

impl<'a> Occurrence<'a> {
    /// Where it stands.
    pub(super) fn node(self) -> Option<Node<'a>> {
        self.value.or(self.extension)
    }

    /// Whether it has no value but says why (data-absent-reason).
    pub(super) fn is_absent_with_reason(self) -> bool {
        let keys = keys();
        let Some(object) =
            self.extension.filter(|_| self.value.is_none()).or(self.value.filter(|node| node.is_object()))
        else {
            return false;
        };
        if object.children().any(|child| child.name_id() != keys.extension && child.name_id() != keys.id) {
            return false;
        }
        let mut extensions = object.items_at(keys.extension).filter_map(|each| each.child(keys.url)?.text());
        extensions.any(|url| url == DATA_ABSENT_REASON)
    }
}

/// A member of an object, with its `_name` sibling.
pub(super) struct Found<'a> {
    pub(super) element: &'a ElementPlan,
    pub(super) chosen: usize,
    pub(super) name: NameId,
    pub(super) value: Option<Node<'a>>,
    pub(super) extension: Option<Node<'a>>,
}

impl<'a> Found<'a> {
    /// The values, if there is nothing to say about how they are written and how many there are.
    fn plain_values(&self) -> Option<Children<'a>> {
        let def = self.element.def;
        let value = self.value.filter(|value| self.extension.is_none() && value.is_array() == def.is_array())?;
        let values = value.items();
        if !value.is_array() {
            return (value.kind() != Kind::Null).then_some(values);
        }
        let count = values.clone().take_while(|value| value.kind() != Kind::Null).count();
        let is_whole = count > 0 && value.children().nth(count).is_none();
        (is_whole && def.max.is_none_or(|max| count <= max as usize)).then_some(values)
    }

    /// Whether FHIRPath finds any value of it.
    fn is_there(&self) -> bool {
        let is_value = |node: Node<'_>| node.kind() != Kind::Null;
        if self.value.or(self.extension).is_some_and(Node::is_array) {
            let in_array = |node: Option<Node<'_>>, is: fn(Node<'_>) -> bool| {
                node.filter(|node| node.is_array()).is_some_and(|array| array.children().any(is))
            };
            return in_array(self.value, is_value) || in_array(self.extension, |node| node.is_object());
        }
        self.value.is_some_and(is_value) || self.extension.is_some_and(Node::is_object)
    }
}

/// The members of an object.
#[derive(Default)]
struct Members<'a> {
    found: SmallVec<[Found<'a>; 8]>,
    /// Which elements they are.
    elements: ElementSet,
    /// Whether any is none of its type's, or of another type than one before it.
    is_faulty: bool,
}

impl<'a> Members<'a> {
    /// The members of `plan`'s element at this place.
    fn at(&mut self, place: usize) -> Option<&mut Found<'a>> {
        self.found.iter_mut().filter(|_| self.elements.contains(place)).find(|each| each.element.place == place)
    }

    /// The elements that FHIRPath finds; `None` where only a look at the members themselves tells.
    fn there(&self, def: &'static TypeDef) -> Option<There> {
        let there = self.found.iter().filter(|each| each.is_there()).map(|each| each.element.place);
        (!self.is_faulty).then(|| There { def, elements: there.collect() })
    }
}

/// The resource around an element.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) resource: Node<'a>,
    /// `None` for a record that is not FHIR.
    pub(super) resource_type: Option<&'static TypeDef>,
    /// The container of a contained resource; the resource itself otherwise.
    pub(super) root: Node<'a>,
    pub(super) root_type: Option<&'static TypeDef>,
    /// `fullUrl` of the entry that holds it.
    pub(super) full_url: Option<Node<'a>>,
}

/// Where a resource stands.
#[derive(Clone, Copy, Default)]
pub(super) struct Place<'s, 'a> {
    /// The resource that it stands in.
    pub(super) holder: Option<&'s Scope<'a>>,
    /// Whether it is one of that resource's `contained`.
    pub(super) contained: bool,
    /// `fullUrl` of the entry that holds it.
    pub(super) full_url: Option<Node<'a>>,
}

impl<'a> Scope<'a> {
    /// The surroundings of a record's elements.
    pub(super) fn of_record(record: &'a Document) -> Scope<'a> {
        let root = record.root();
        Scope { resource: root, resource_type: None, root, root_type: None, full_url: None }
    }
}

/// Issues beyond those that are told.
#[derive(Clone, Copy, Default)]
struct LeftOut {
    errors: usize,
    /// Warnings and notes.
    remarks: usize,
}

impl LeftOut {
    /// How many there are; an error if one of them is.
    fn issue(self) -> Option<Issue> {
        let LeftOut { errors, remarks } = self;
        let severity = if errors > 0 { Severity::Error } else { Severity::Information };
        let text =
            format!("more than {MOST_ISSUES} issues; {errors} more errors and {remarks} more remarks are left out");
        (errors + remarks > 0).then(|| Issue::error(IssueType::TooCostly, text).severity(severity))
    }
}

/// Whether resources keep to profiles that were tried on them.
pub(super) type Tried = HashMap<(NodeId, Box<str>), bool>;

/// Resources by id.
pub(super) type ById<'a> = HashMap<Cow<'a, str>, Node<'a>>;

/// One validation.
pub(super) struct Walk<'a> {
    pub(super) validator: &'a Validator,
    pub(super) document: &'a Document,
    /// The entries of the Bundle, or the parameters, around the element.
    pub(super) bundle: Option<Rc<BundleIndex<'a>>>,
    /// The ids of elements, each with the resource it is in.
    ids: HashSet<(NodeId, Cow<'a, str>)>,
    /// The contained resources of a container, by id, where there are many.
    pub(super) contained: RefCell<(Option<NodeId>, ById<'a>)>,
    /// What links of the narratives of a resource may lead to.
    link_targets: (Option<NodeId>, HashSet<Cow<'a, str>>),
    /// What the FHIRPath contexts of extensions select from a resource; `None` where the evaluation fails.
    pub(super) selected: HashMap<(NodeId, *const Expression), Option<HashSet<NodeId>>>,
    /// What need not be checked, because it was: see `recheck`.
    pub(super) cut: Option<&'a Cut<'a>>,
    /// Whether warnings and notes are counted and not told.
    pub(super) tells_errors_alone: bool,
    /// How many warnings and notes were not told for that.
    pub(super) untold: usize,
    /// Whether this is a trial of one profile alone.
    pub(super) is_trial: bool,
    /// How many trials this one stands in.
    pub(super) trials: usize,
    /// Whether a resource keeps to a profile that something else asks of it, as far as it was tried.
    pub(super) tried: Rc<RefCell<Tried>>,
    pub(super) issues: Vec<Issue>,
    /// How many of them are errors.
    errors: usize,
    /// How many were found beyond those.
    left_out: LeftOut,
    /// Where each issue stands in the text, until [`Walk::finish`] turns it into line and column.
    offsets: Vec<usize>,
    /// Systems and value sets whose codes nobody here knows: how many codes, and where the first stands.
    pub(super) unlisted: Vec<(Cow<'a, str>, usize, Node<'a>)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(validator: &'a Validator, document: &'a Document) -> Walk<'a> {
        Walk {
            validator,
            document,
            bundle: None,
            ids: HashSet::new(),
            contained: RefCell::default(),
            link_targets: (None, HashSet::new()),
            selected: HashMap::new(),
            cut: None,
            tells_errors_alone: false,
            untold: 0,
            is_trial: false,
            trials: 0,
            tried: Rc::default(),
            issues: Vec::new(),
            errors: 0,
            left_out: LeftOut::default(),
            offsets: Vec::new(),
            unlisted: Vec::new(),
        }
    }

    /// Adds an issue at `node`.
    pub(super) fn report(
        &mut self,
        severity: Severity,
        code: IssueType,
        node: Node<'a>,
        rule: &str,
        text: impl Into<String>,
        hint: &str,
    ) {
        if !self.tells(severity) {
            return;
        }
        let path = self.path_of(node, severity);
        self.report_at(severity, code, node, path, rule, text, hint);
    }

    /// Whether an issue of this severity is told; counts it otherwise.
    pub(super) fn tells(&mut self, severity: Severity) -> bool {
        let tells = !self.tells_errors_alone || severity == Severity::Error;
        self.untold += usize::from(!tells);
        tells
    }

    /// The path of an issue at `node`. Finding it takes as long as its array is, so that issues which are left out
    /// have none: a hundred thousand faulty items would cost a hundred thousand walks.
    fn path_of(&self, node: Node<'a>, severity: Severity) -> ElementPath {
        if self.has_room(severity) { node.expression() } else { ElementPath::root() }
    }

    /// Errors have a bound of their own, so that no number of remarks hides one.
    fn has_room(&self, severity: Severity) -> bool {
        let same = if severity == Severity::Error { self.errors } else { self.issues.len() - self.errors };
        same < MOST_ISSUES
    }

    #[expect(clippy::too_many_arguments, reason = "an issue has this many parts")]
    fn report_at(
        &mut self,
        severity: Severity,
        code: IssueType,
        node: Node<'a>,
        path: ElementPath,
        rule: &str,
        text: impl Into<String>,
        hint: &str,
    ) {
        if self.has_room(severity) {
            let issue = Issue::error(code, text).severity(severity).at(path);
            self.errors += usize::from(severity == Severity::Error);
            self.issues.push(issue.rule(rule).hint(hint));
            self.offsets.push(node.offset());
        } else if severity == Severity::Error {
            self.left_out.errors += 1;
        } else {
            self.left_out.remarks += 1;
        }
    }

    /// The issues, with line and column.
    pub(super) fn finish(mut self) -> Vec<Issue> {
        self.report_unlisted();
        let positions = self.document.positions(&self.offsets);
        for (issue, position) in self.issues.iter_mut().zip(positions) {
            issue.position = Some(position);
        }
        self.issues.extend(self.left_out.issue());
        self.issues
    }

    /// The same for an error.
    pub(super) fn error(&mut self, code: IssueType, node: Node<'a>, rule: &str, text: impl Into<String>, hint: &str) {
        self.report(Severity::Error, code, node, rule, text, hint);
    }

    /// An error about a child of `parent` that is not there.
    pub(super) fn missing(&mut self, parent: Node<'a>, name: &str, rule: &str, text: String) {
        let has_room = self.has_room(Severity::Error);
        let path = if has_room { parent.expression_of(name) } else { ElementPath::root() };
        self.report_at(Severity::Error, IssueType::Required, parent, path, rule, text, "add it");
    }

    /// Checks a resource: `extra` are the shapes asked for by its surroundings.
    pub(super) fn resource(&mut self, node: Node<'a>, place: &Place<'_, 'a>, extra: &[&'a Shape]) {
        let Place { holder, contained, full_url } = *place;
        let outer = holder.filter(|_| contained);
        let full_url = full_url.or_else(|| outer?.full_url);
        if !node.is_object() {
            self.wrong_kind(node, "an object with a resourceType");
            return;
        }
        let validator = self.validator;
        let Some(resource_type) = node.resource_type() else {
            let text = "the resource does not say its resourceType";
            self.error(IssueType::Structure, node, "r4-resource-type", text, "add resourceType as a string");
            return;
        };
        let plan = schema().resource(resource_type).and_then(|def| validator.base.named(def.name));
        let Some(plan) = plan else {
            let text = "the resourceType is none of R4";
            self.error(IssueType::Structure, node, "r4-resource-type", text, "use the name of an R4 resource");
            return;
        };
        let (root, root_type) = outer.map_or((node, Some(plan.def)), |outer| (outer.root, outer.root_type));
        let scope = Scope { resource: node, resource_type: Some(plan.def), root, root_type, full_url };
        let mut shapes: Shapes<'a> = SmallVec::from_slice(extra);
        if !self.is_trial {
            self.claimed(node, &mut shapes);
            for shape in self.implied(node, plan.def.name) {
                if !shapes.iter().any(|own| std::ptr::eq(*own, shape)) {
                    shapes.push(shape);
                }
            }
        }
        shapes.retain(|shape| self.of_type(shape, plan.def, node));
        if self.is_settled_resource(node, plan, &shapes) {
            return;
        }
        let around = self.bundle.clone();
        if matches!(plan.def.name, "Bundle" | "Parameters") {
            self.index(node);
        }
        let there = self.object(node, plan, &shapes, (plan.def.name, true), &scope);
        self.resource_rules(node, plan.def, &shapes, holder, there, &scope);
        self.bundle = around;
        if outer.is_none() {
            self.contained_are_used(node);
        }
    }

    /// The rules on the resource as a whole. Those that a profile of its holder has on the element that it is in see
    /// the holder as `%resource`.
    fn resource_rules(
        &mut self,
        node: Node<'a>,
        def: &'static TypeDef,
        shapes: &[&'a Shape],
        holder: Option<&Scope<'a>>,
        there: Option<There>,
        scope: &Scope<'a>,
    ) {
        let own = Occurrence { value: Some(node), extension: None };
        let (outer, inner): (Shapes<'a>, Shapes<'a>) = shapes.iter().copied().partition(|shape| shape.is_of_element());
        self.shape_rules(own, def, &outer, there, holder.unwrap_or(scope));
        self.shape_rules(own, def, &inner, there, scope);
        match def.name {
            "QuestionnaireResponse" => self.questionnaire_response(node, scope),
            "MeasureReport" => self.measure_report(node),
            _ => self.definition(node, def),
        }
    }

    /// Adds the shapes of the profiles that the resource claims in `meta.profile`.
    fn claimed(&mut self, node: Node<'a>, shapes: &mut Shapes<'a>) {
        let validator = self.validator;
        let keys = keys();
        let Some(profiles) = node.child(keys.meta).and_then(|meta| meta.child(keys.profile)) else { return };
        for claim in profiles.items() {
            let Some(url) = claim.text() else { continue };
            if validator.is_base(&url) {
                self.claimed_base(claim, &url, node);
                continue;
            }
            if validator.activate(&url, shapes) {
                continue;
            }
            let text = "the profile that the resource claims is not loaded, and not checked";
            let hint = "load the package that holds the profile";
            self.report(Severity::Warning, IssueType::NotFound, claim, "not-checked", text, hint);
        }
    }

    /// A resource may claim the definition of its own type, or of one that it specialises.
    fn claimed_base(&mut self, claim: Node<'a>, url: &str, node: Node<'a>) {
        let name = without_version(url).strip_prefix(R4).unwrap_or(url);
        let own = node.resource_type().unwrap_or_default();
        if !schema().is_a(own, name) {
            let text = format!("the profile is one of {name}, the resource is a {own}");
            self.error(IssueType::Invalid, claim, "r4-profile", text, "claim a profile of this resource type");
        }
    }

    /// The shapes that hold whether they are claimed or not: those that an ImplementationGuide sets for all
    /// resources of the type, and the vital signs of R4 for Observations with one of their codes.
    pub(super) fn implied(&self, node: Node<'a>, name: &str) -> Shapes<'a> {
        let (validator, mut shapes) = (self.validator, Shapes::new());
        for (_, profile) in validator.globals.iter().filter(|(kind, _)| **kind == *name) {
            validator.activate(profile, &mut shapes);
        }
        let code = node.child(keys().code).filter(|_| name == "Observation");
        let codings = code.and_then(|code| code.child(keys().coding)).into_iter().flat_map(Node::items);
        for coding in codings {
            let text = |name| coding.child(name).and_then(Node::text);
            let Some((_, profile)) = VITAL_SIGNS.iter().find(|(known, _)| text(keys().code).as_deref() == Some(*known))
            else {
                continue;
            };
            if text(keys().system).as_deref() == Some("http://loinc.org") {
                validator.activate(&format!("{R4}{profile}"), &mut shapes);
            }
        }
        shapes
    }

    /// Whether the root shape of a profile fits the resource; if not, says so.
    fn of_type(&mut self, shape: &Shape, def: &'static TypeDef, node: Node<'a>) -> bool {
        if shape.is_of_element() {
            return true;
        }
        let Some(wanted) = self.validator.type_of(&shape.profile) else { return true };
        let fits = schema().is_a(def.name, wanted);
        if !fits {
            let text = format!("the profile is one of {wanted}, the resource is a {}", def.name);
            self.error(IssueType::Invalid, node, &shape.profile, text, "claim a profile of this resource type");
        }
        fits
    }

    /// Checks an object against its type and the active shapes. `at` is the path of the element that holds it. Yields the
    /// elements that are there, if that `has_rules` of its own.
    fn object(
        &mut self,
        node: Node<'a>,
        plan: &'a TypePlan,
        shapes: &[&'a Shape],
        (at, has_rules): (&'static str, bool),
        scope: &Scope<'a>,
    ) -> Option<There> {
        if !node.is_object() {
            self.wrong_kind(node, "an object");
            return None;
        }
        let members = self.members(node, plan, scope);
        if members.elements.without(plan.id).is_empty() && node != scope.resource {
            let text = "the element is empty";
            self.error(IssueType::Invariant, node, "ele-1", text, "remove it, or give it a value or children");
        }
        // An ElementDefinition's id names its path, in differential and snapshot alike.
        let has_id = plan.id.without(members.elements).is_empty();
        if has_id
            && node != scope.resource
            && plan.def.name != "ElementDefinition"
            && let Some(id) = node.child(keys().id)
        {
            self.element_id(id, scope);
        }
        for required in plan.required.without(members.elements).places() {
            let element = &plan.elements[required];
            let text = format!("{} is missing: at least {} expected", element.def.path, element.def.min);
            self.missing(node, element.def.stem, "r4-cardinality", text);
        }
        for each in &members.found {
            if !self.is_settled_member(each, shapes) {
                self.member(each, node, plan, shapes, at, scope);
            }
        }
        self.absent_children(node, &members.found, shapes);
        if plan.invariants.is_empty() && !has_rules {
            return None;
        }
        let there = members.there(plan.def);
        let own = Occurrence { value: Some(node), extension: None };
        self.run(&plan.invariants, own, Some(plan.def), there, scope);
        there
    }

    /// The id of an element stands once in its resource (R4 element.html).
    fn element_id(&mut self, id: Node<'a>, scope: &Scope<'a>) {
        let Some(text) = id.text() else { return };
        if !self.ids.insert((scope.resource.id(), text)) {
            let text = "another element of the resource has the same id";
            self.error(IssueType::Duplicate, id, "r4-element-id", text, "give each element its own id");
        }
    }

    /// The members of an object as elements of its type. Reports those that are none.
    fn members(&mut self, node: Node<'a>, plan: &'a TypePlan, scope: &Scope<'a>) -> Members<'a> {
        let resource_type = keys().resource_type;
        let mut members = Members::default();
        for child in node.children() {
            let name = child.name_id();
            if name == resource_type && node == scope.resource {
                continue;
            }
            let place = plan.def.place(name).filter(|&(element, chosen)| {
                !name.is_primitive_extension() || plan.elements[element].may_be_extended(chosen)
            });
            let Some((element, chosen)) = place else {
                let text = format!("{} has no element of this name in R4", plan.def.name);
                self.error(IssueType::Structure, child, "r4-unknown-element", text, "remove it, or correct its name");
                members.is_faulty = true;
                continue;
            };
            self.keep(&mut members, &plan.elements[element], chosen, child);
        }
        members
    }

    fn keep(&mut self, members: &mut Members<'a>, element: &'a ElementPlan, chosen: usize, child: Node<'a>) {
        let is_extension = child.name_id().is_primitive_extension();
        let name = child.name_id().without_underscore();
        match members.at(element.place) {
            Some(other) if other.chosen != chosen => {
                let text = format!("{} has values of two types", element.def.path);
                self.error(IssueType::Structure, child, "r4-choice", text, "keep one of them");
                members.is_faulty = true;
                return;
            }
            Some(other) => {
                *(if is_extension { &mut other.extension } else { &mut other.value }) = Some(child);
                return;
            }
            None => {}
        }
        let (value, extension) = if is_extension { (None, Some(child)) } else { (Some(child), None) };
        members.elements.insert(element.place);
        members.found.push(Found { element, chosen, name, value, extension });
    }

    fn member(
        &mut self,
        found: &Found<'a>,
        parent: Node<'a>,
        plan: &'a TypePlan,
        shapes: &[&'a Shape],
        at: &'static str,
        scope: &Scope<'a>,
    ) {
        let is_extension = matches!(found.element.def.types[found.chosen].code, "Extension");
        let full_url = (plan.def.name == "Bundle.entry").then(|| parent.child(keys().full_url)).flatten();
        if !shapes.iter().any(|shape| shape.is_about(found))
            && let Some(values) = found.plain_values()
        {
            for value in values {
                let mut shapes = Shapes::new();
                if is_extension {
                    self.extension(value, (plan.def, parent), at, found.element.def.stem, &mut shapes, scope);
                }
                self.value(Occurrence { value: Some(value), extension: None }, found, &shapes, full_url, scope);
            }
            return;
        }
        let occurrences = self.occurrences(found);
        let mut active: SmallVec<[Shapes<'a>; 1]> = match occurrences.len() {
            1 => SmallVec::from_buf([Shapes::new()]),
            many => smallvec::smallvec![Shapes::new(); many],
        };
        if !shapes.is_empty() {
            self.shape_children(parent, found, &occurrences, shapes, scope, &mut active);
        }
        for (occurrence, mut shapes) in occurrences.iter().zip(active) {
            if is_extension && let Some(node) = occurrence.value {
                self.extension(node, (plan.def, parent), at, found.element.def.stem, &mut shapes, scope);
            }
            self.value(*occurrence, found, &shapes, full_url, scope);
        }
    }

    /// The values of an element, and whether they are written as its cardinality asks for.
    fn occurrences(&mut self, found: &Found<'a>) -> SmallVec<[Occurrence<'a>; 1]> {
        let mut occurrences = SmallVec::new();
        if let Some(values) = found.plain_values() {
            values.for_each(|value| occurrences.push(Occurrence { value: Some(value), extension: None }));
            return occurrences;
        }
        let def = found.element.def;
        for node in [found.value, found.extension].into_iter().flatten() {
            if node.is_array() != def.is_array() {
                let expected = if def.is_array() { "an array" } else { "a single value" };
                self.wrong_kind(node, expected);
            }
            if node.is_array() && node.children().next().is_none() {
                self.error(IssueType::Structure, node, "r4-empty", "the array is empty", "remove it");
            }
        }
        let values: SmallVec<[Node<'a>; 1]> = found.value.into_iter().flat_map(Node::items).collect();
        let extensions: SmallVec<[Node<'a>; 1]> = found.extension.into_iter().flat_map(Node::items).collect();
        if let (Some(value), true) = (found.value, !extensions.is_empty() && values.len() != extensions.len()) {
            let text = format!("{} values stand beside {} of their extensions", values.len(), extensions.len());
            let hint = "fill the shorter array with null";
            self.error(IssueType::Structure, value, "r4-primitive-extension", text, hint);
        }
        let count = values.len().max(extensions.len());
        if let Some(max) = def.max.filter(|&max| max > 1 && count > max as usize) {
            let node = found.value.or(found.extension).expect("a found member has a node");
            let text = format!("{} stands {count} times: at most {max} expected", def.path);
            self.error(IssueType::Structure, node, "r4-cardinality", text, "remove what is too many");
        }
        for index in 0..count {
            let (value, extension) = (values.get(index).copied(), extensions.get(index).copied());
            self.nulls(found, value, extension);
            let real = |node: &Node<'a>| node.kind() != Kind::Null;
            let occurrence = Occurrence { value: value.filter(real), extension: extension.filter(real) };
            if occurrence.node().is_some() {
                occurrences.push(occurrence);
            }
        }
        occurrences
    }

    /// A null stands only in an array of primitives, for a value whose other half is there (R4 JSON, 2.6.2.3).
    fn nulls(&mut self, found: &Found<'a>, value: Option<Node<'a>>, extension: Option<Node<'a>>) {
        let is_null = |node: Option<Node<'a>>| node.is_some_and(|node| node.kind() == Kind::Null);
        let (null_value, null_extension) = (is_null(value), is_null(extension));
        if !null_value && !null_extension {
            return;
        }
        let other_is_there = if null_value { extension.is_some() && !null_extension } else { value.is_some() };
        if !found.element.def.is_array() || !other_is_there {
            let node = if null_value { value } else { extension }.expect("one of them is null");
            let text = "null stands where a value is expected";
            self.error(IssueType::Structure, node, "r4-null", text, "remove it");
        }
    }

    fn value(
        &mut self,
        occurrence: Occurrence<'a>,
        found: &Found<'a>,
        shapes: &[&'a Shape],
        full_url: Option<Node<'a>>,
        scope: &Scope<'a>,
    ) {
        let element = found.element;
        let Some(node) = occurrence.node() else { return };
        let (def, there) = match element.contents[found.chosen] {
            Content::Primitive(format, def) => {
                self.primitive(occurrence, format, def, element, shapes, scope);
                (def, None)
            }
            Content::Complex(index) => {
                let plan = &self.validator.base.types[index];
                if self.is_settled(node, plan, shapes) {
                    return;
                }
                let of_shapes = || shapes.iter().any(|shape| !shape.invariants.is_empty());
                let has_rules = !element.invariants.is_empty() || of_shapes();
                let there = self.object(node, plan, shapes, (element.def.path, has_rules), scope);
                self.data_type(node, plan.def, found, shapes, scope);
                (plan.def, there)
            }
            Content::Resource => {
                let contained = element.def.stem == "contained";
                self.resource(node, &Place { holder: Some(scope), contained, full_url }, shapes);
                return;
            }
        };
        self.run(&element.invariants, occurrence, Some(def), there, scope);
        if let Some(binding) = &element.binding {
            self.bound(occurrence, def, binding, "r4-binding");
        }
        self.shape_rules(occurrence, def, shapes, there, scope);
    }

    fn primitive(
        &mut self,
        occurrence: Occurrence<'a>,
        format: Format,
        def: &'static TypeDef,
        element: &'a ElementPlan,
        shapes: &[&'a Shape],
        scope: &Scope<'a>,
    ) {
        if let Some(node) = occurrence.value {
            if node.kind() != format.kind() {
                self.wrong_kind(node, kind_name(format.kind()));
            } else if format.accepts(node) {
                match format {
                    Format::Xhtml => self.narrative(node, scope),
                    _ => self.text_rules(node, format),
                }
            } else if format.is_blank(node) {
                let text = "the text has no visible character";
                self.report(Severity::Warning, IssueType::Value, node, "r4-primitive", text, "remove the element");
            } else {
                let text = format!("the value is not a {}: {} expected", def.name, format.rule());
                self.error(IssueType::Value, node, "r4-primitive", text, "correct the value");
            }
        }
        match occurrence.extension {
            Some(extension) => {
                let plan = self.validator.base.named("Element").expect("Element is a type of R4");
                self.object(extension, plan, shapes, (element.def.path, false), scope);
            }
            None => {
                if let Some(node) = occurrence.value {
                    self.absent_children(node, &[], shapes);
                }
            }
        }
    }

    fn narrative(&mut self, node: Node<'a>, scope: &Scope<'a>) {
        let Some(text) = node.text() else { return };
        let hint = "leave only the formatting that FHIR allows";
        let links = match narrative::check(&text) {
            Ok(links) => links,
            Err(what) => return self.error(IssueType::Invalid, node, "txt-1", what, hint),
        };
        if links.is_empty() {
            return;
        }
        if self.link_targets.0 != Some(scope.resource.id()) {
            let named = scope.resource.subtree().filter(|node| node.name_id() == keys().id);
            self.link_targets = (Some(scope.resource.id()), named.filter_map(Node::text).collect());
        }
        if links.iter().any(|link| !self.link_targets.1.contains(&**link)) {
            let text = "a link of the narrative leads to nothing in the narrative or its resource";
            self.error(
                IssueType::Invalid,
                node,
                "r4-narrative-link",
                text,
                "correct the link, or give its target an id",
            );
        }
    }

    /// Reports a JSON value of the wrong kind.
    fn wrong_kind(&mut self, node: Node<'a>, expected: &str) {
        let text = format!("{expected} was expected, {} was found", kind_name(node.kind()));
        self.error(IssueType::Structure, node, "r4-json", text, "write the element as R4 JSON does");
    }

    /// Runs invariants on a value of the type `def`, of which the elements that are `there` may be known.
    #[inline]
    pub(super) fn run(
        &mut self,
        rules: &'a [Rule],
        occurrence: Occurrence<'a>,
        def: Option<&'static TypeDef>,
        there: Option<There>,
        scope: &Scope<'a>,
    ) {
        // Most elements have none.
        if !rules.is_empty() {
            self.run_all(rules, occurrence, def, there, scope);
        }
    }

    fn run_all(
        &mut self,
        rules: &'a [Rule],
        occurrence: Occurrence<'a>,
        def: Option<&'static TypeDef>,
        there: Option<There>,
        scope: &Scope<'a>,
    ) {
        let Some(node) = occurrence.node() else { return };
        for rule @ Rule { invariant, gate, .. } in rules {
            if self.is_settled_rule(rule) {
                continue;
            }
            let evaluate = || self.evaluate(invariant, occurrence, def, scope);
            let decided = gate.as_ref().zip(there).and_then(|(gate, there)| gate.verdict(there));
            let decided = decided.or_else(|| invariant.native.as_ref()?.holds(occurrence.value?, scope.resource));
            debug_assert!(decided.is_none_or(|holds| evaluate() == Ok(holds)), "{}", invariant.rule);
            match decided.map_or_else(evaluate, Ok) {
                Ok(true) => {}
                Ok(false) if !self.tells(invariant.severity) => {}
                Ok(false) => {
                    let text = format!("the rule does not hold: {}", invariant.text);
                    self.report(invariant.severity, IssueType::Invariant, node, &invariant.rule, text, "");
                }
                Err(error) => self.not_run(invariant, node, &error.to_string()),
            }
        }
    }

    fn evaluate(
        &self,
        invariant: &'a Invariant,
        occurrence: Occurrence<'a>,
        def: Option<&'static TypeDef>,
        scope: &Scope<'a>,
    ) -> Result<bool, EvaluationError> {
        let environment = Environment {
            resource: Some(Item::of_node(scope.resource, scope.resource_type)),
            root_resource: Some(Item::of_node(scope.root, scope.root_type)),
            knowledge: Some(&Known { walk: self }),
            ..Environment::default()
        };
        let item = Item::of_primitive(occurrence.value, occurrence.extension, def);
        invariant.expression.holds(&item, &environment)
    }

    /// An invariant without a result: a profile's own fails, for nobody knows that it holds; one of base R4 is named.
    fn not_run(&mut self, invariant: &Invariant, node: Node<'a>, why: &str) {
        let own = invariant.rule.contains('#');
        let severity = if own { invariant.severity } else { Severity::Information };
        let text = format!("the rule could not be evaluated: {why}");
        self.report(severity, IssueType::NotSupported, node, &invariant.rule, text, "");
    }
}

/// Answers the `memberOf()` and `conformsTo()` of invariants.
struct Known<'w, 'a> {
    walk: &'w Walk<'a>,
}

impl fmt::Debug for Known<'_, '_> {
    /// Never the document: it may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

impl Knowledge for Known<'_, '_> {
    fn is_member(&self, value_set: &str, system: Option<&str>, code: &str) -> Option<bool> {
        self.walk.validator.terminology.is_member(value_set, system, code)
    }

    /// Whether a resource of the document conforms to a profile that is loaded.
    fn conforms(&self, element: &Element<'_>, profile: &str) -> Option<bool> {
        let walk = self.walk;
        walk.validator.type_of(without_version(profile)).filter(|_| walk.trials < MOST_TRIALS)?;
        let node = element.node()?;
        let own = walk.document.node(node.id()).filter(|own| std::ptr::eq(own.raw(), node.raw()))?;
        own.resource_type()?;
        Some(walk.is_of_profile(own, profile))
    }
}

/// `an object`.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Object => "an object",
        Kind::Array => "an array",
        Kind::String => "a string",
        Kind::Number => "a number",
        Kind::Boolean => "true or false",
        Kind::Null => "null",
    }
}
