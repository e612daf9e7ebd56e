//! StructureDefinitions compiled into [`Shape`] trees.
//!
//! Enters: the snapshot of a profile, so that what its bases say is in it. Leaves: a tree by element and slice that
//! holds what differs from base R4, which the walk checks anyway: most elements of a snapshot leave nothing. What a
//! profile asks for and the walk cannot check is named in the notes; what makes no sense (an unknown element, an
//! expression that does not parse) is an issue. A logical model has no base: its differential is compiled.

use std::collections::HashMap;
use std::sync::Arc;

use super::Profile;
use super::context::Context;
use super::discriminators::matchers;
use super::native::Native;
use super::plan::{Binding, Child, Invariant, Limit, Rule, Shape, Slice, Slicing, Strength, TypeRule};
use super::terminology::{NamedSet, Terminology};
use crate::fhir::definitions::{ConstraintDefinition, StructureDefinition, TypeUse, without_version};
use crate::fhir::outcome::{Issue, IssueType, Severity};
use crate::fhir::r4::{self, ElementDef, TypeDef, schema};
use crate::fhir::snapshot::{Error, R4, SnapshotElement, Snapshots};
use crate::fhir::{ElementPath, Name, NameId};
use crate::fhirpath::{DataType, Expression, Reach, Typing};

/// A binding of R4's vital signs that says of all components' values what holds for some; later versions have it not.
const NOT_BOUND: (&str, &str) = ("Observation.component.value[x]", "http://hl7.org/fhir/ValueSet/ucum-vitals-common");

/// An extension that R4's own definitions have on another element than it says.
const FHIR_TYPE: &str = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type";

/// An element of a snapshot with its children and slices.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) element: SnapshotElement,
    pub(super) slices: Vec<(String, Draft)>,
    pub(super) children: Vec<(String, Draft)>,
}

/// What a compilation reads and reports to.
pub(super) struct Compiler<'t, 'd> {
    terminology: &'t Terminology,
    pub(super) snapshots: Snapshots<'d>,
    /// Value sets that the terminology has not named yet, by URL.
    value_sets: HashMap<Box<str>, Arc<NamedSet>>,
    /// Invariants by rule, each compiled once.
    invariants: HashMap<String, Arc<Invariant>>,
    /// What is not checked.
    pub(super) notes: Vec<String>,
    pub(super) issues: Vec<Issue>,
    /// Constraints that cannot mean what they say, by the types alone.
    pub(super) doubts: Vec<Issue>,
}

/// What base R4 says where an element stands.
#[derive(Clone, Copy, Default)]
struct Base {
    /// A logical model, which has no base.
    is_logical: bool,
    element: Option<&'static ElementDef>,
    /// The type whose elements are the element's children.
    content: Option<&'static TypeDef>,
}

/// The profile or extension of R4 with this URL. What of it is not checked is not worth a note: nobody asked. A few make
/// no sense as R4 publishes them, and are taken as not loaded.
pub(super) fn built_in(url: &str, terminology: &Terminology, structures: &[StructureDefinition]) -> Option<Profile> {
    let structure = r4::profile(url)?;
    let mut compiler = Compiler::new(terminology, Snapshots::of(structures));
    let shape = compiler.structure(structure);
    if !compiler.issues.is_empty() {
        return None;
    }
    let mut profile = Profile::new(structure, shape);
    if structure.url == FHIR_TYPE {
        profile.contexts.push(Context::element("ElementDefinition.type"));
    }
    Some(profile)
}

impl<'t, 'd> Compiler<'t, 'd> {
    pub(super) fn new(terminology: &'t Terminology, snapshots: Snapshots<'d>) -> Compiler<'t, 'd> {
        Compiler {
            terminology,
            snapshots,
            value_sets: HashMap::new(),
            invariants: HashMap::new(),
            notes: Vec::new(),
            issues: Vec::new(),
            doubts: Vec::new(),
        }
    }

    /// The value set with this URL, which need not be loaded.
    pub(super) fn value_set(&mut self, url: &str) -> Arc<NamedSet> {
        let url = without_version(url);
        if let Some(known) = self.terminology.known(url) {
            return known;
        }
        Arc::clone(self.value_sets.entry(url.into()).or_insert_with(|| NamedSet::new(url)))
    }

    /// Compiles one profile, extension or logical model.
    pub(super) fn structure(&mut self, definition: &StructureDefinition) -> Shape {
        let profile: Arc<str> = definition.url.as_str().into();
        let mut root = Draft::default();
        if definition.kind == "logical" {
            for element in &definition.elements {
                root.at(&element.id).element = stated(element);
            }
            return self.shape(&root, Base { is_logical: true, ..Base::default() }, false, &profile);
        }
        match self.snapshots.snapshot(&definition.url) {
            Ok(snapshot) => {
                for element in &snapshot.elements {
                    root.at(&element.id).element = element.clone();
                }
            }
            Err(Error::Element { element, what, .. }) => self.refuse(&profile, &element, &what),
            Err(error) => {
                let issue = Issue::error(IssueType::NotFound, error.to_string()).rule(&*profile).hint(error.hint());
                self.issues.push(issue);
            }
        }
        self.note_other(definition, &profile);
        let content = schema().type_named(&definition.type_name);
        self.shape(&root, Base { content, ..Base::default() }, false, &profile)
    }

    fn note_other(&mut self, definition: &StructureDefinition, profile: &str) {
        for element in &definition.elements {
            for other in &element.other {
                self.note(profile, &element.id, &format!("{other} is not checked"));
            }
        }
    }

    fn refuse(&mut self, profile: &str, element: &str, what: &str) {
        let issue = Issue::error(IssueType::Invalid, format!("{element}: {what}"))
            .at(ElementPath::new(element))
            .rule(profile)
            .hint("correct the StructureDefinition");
        self.issues.push(issue);
    }

    pub(super) fn note(&mut self, profile: &str, element: &str, what: &str) {
        self.notes.push(format!("{profile} {element}: {what}"));
    }

    /// The shape of an element: what it asks for beyond `base`.
    fn shape(&mut self, draft: &Draft, base: Base, is_slice: bool, profile: &Arc<str>) -> Shape {
        let mut shape = self.facets(&draft.element, base, is_slice, profile);
        shape.slicing = self.slicing(draft, base, profile);
        for (name, child) in &draft.children {
            let (below, is_spelled) = base.below(name, &child.element);
            let inner = self.shape(child, below, is_spelled, profile);
            if base.is_logical || !inner.is_empty() {
                let name = Name::new(name.strip_suffix("[x]").unwrap_or(name));
                shape.children.push(Child { name, shape: inner });
            }
        }
        shape.finish();
        shape
    }

    fn facets(&mut self, element: &SnapshotElement, place: Base, is_slice: bool, profile: &Arc<str>) -> Shape {
        let base = place.element;
        let same_min = !is_slice && base.is_some_and(|base| base.min == element.min);
        let same_max = base.is_some_and(|base| base.max == element.max);
        let same_types = base.is_some_and(|base| allows_the_same(&element.types, base));
        Shape {
            profile: Arc::clone(profile),
            id: element.id.clone(),
            min: if same_min { 0 } else { element.min },
            max: if same_max { None } else { element.max },
            types: if same_types { Vec::new() } else { element.types.iter().map(type_rule).collect() },
            fixed: element.fixed.clone(),
            pattern: element.pattern.clone(),
            limit: limit(element, base),
            binding: self.binding(element, base, profile),
            invariants: self.constraints(element, place, profile),
            slicing: None,
            children: Vec::new(),
            required: Vec::new(),
            reach: Reach::default(),
            names: 0,
        }
    }

    fn constraints(&mut self, element: &SnapshotElement, place: Base, profile: &Arc<str>) -> Vec<Rule> {
        let mut invariants = Vec::new();
        for constraint in element.constraints.iter().filter(|constraint| !constraint.expression.is_empty()) {
            let source = constraint.source.as_deref().unwrap_or(profile);
            if source.strip_prefix(R4).is_some_and(|name| schema().type_named(name).is_some()) {
                continue;
            }
            match self.invariant(constraint, source) {
                Ok(invariant) => {
                    if source == &**profile {
                        self.doubt(&invariant, element, place);
                    }
                    invariants.push(Rule::on(invariant, place.content));
                }
                Err(what) => self.refuse(profile, &element.id, &what),
            }
        }
        invariants
    }

    /// Reports what is certainly wrong with a constraint where it is stated; what inherits it says nothing again.
    fn doubt(&mut self, invariant: &Invariant, element: &SnapshotElement, place: Base) {
        let typing = Typing { is_condition: true, ..Typing::of(place.focus()) };
        for fault in invariant.expression.check(&typing).into_iter().filter(|fault| fault.is_certain) {
            let text = format!("the constraint {:?}: {}", invariant.expression.text(), fault.what);
            let hint = if fault.hint.is_empty() { "correct the expression".to_owned() } else { fault.hint };
            let issue = Issue::error(IssueType::Invalid, text).severity(Severity::Warning).hint(hint);
            let issue = issue.at(ElementPath::new(&*element.id)).rule(&*invariant.rule);
            if !self.doubts.contains(&issue) {
                self.doubts.push(issue);
            }
        }
    }

    fn invariant(&mut self, constraint: &ConstraintDefinition, source: &str) -> Result<Arc<Invariant>, String> {
        let rule = format!("{source}#{}", constraint.key);
        if let Some(known) = self.invariants.get(&rule)
            && known.expression.text() == constraint.expression
        {
            return Ok(Arc::clone(known));
        }
        let expression = Expression::parse(&constraint.expression)
            .map_err(|error| format!("constraint {}: {error}", constraint.key))?;
        if let Some(fault) = expression.unsupported() {
            return Err(format!("constraint {}: {fault}", constraint.key));
        }
        let text = if constraint.human.is_empty() { &constraint.expression } else { &constraint.human };
        let severity = if constraint.severity == "warning" { Severity::Warning } else { Severity::Error };
        let native = Native::of(&constraint.expression);
        let invariant =
            Invariant { rule: rule.as_str().into(), severity, text: text.as_str().into(), native, expression };
        let invariant = Arc::new(invariant);
        self.invariants.insert(rule, Arc::clone(&invariant));
        Ok(invariant)
    }

    fn binding(
        &mut self,
        element: &SnapshotElement,
        base: Option<&'static ElementDef>,
        profile: &str,
    ) -> Option<Binding> {
        let binding = element.binding.as_ref()?;
        let (strength, url) = (&*binding.strength, &*binding.value_set);
        if (&*element.path, url) == NOT_BOUND {
            return None;
        }
        let same = |(own, set): (&str, &str)| own == strength && set.split('|').next() == Some(url);
        if base.and_then(|base| base.binding.split_once(':')).is_some_and(same) {
            return None;
        }
        let strength = match strength {
            "required" => Strength::Required,
            "extensible" => Strength::Extensible,
            "preferred" => Strength::Preferred,
            _ => return None,
        };
        let value_set = self.value_set(url);
        if !self.terminology.is_value_set(url) {
            self.note(profile, &element.id, &format!("the value set {url} is not loaded, its codes are not checked"));
        }
        Some(Binding { strength, value_set })
    }

    fn slicing(&mut self, draft: &Draft, base: Base, profile: &Arc<str>) -> Option<Slicing> {
        let mut slices = Vec::with_capacity(draft.slices.len());
        for (name, slice) in &draft.slices {
            let matchers = matchers(self, draft, slice, profile);
            let shape = self.shape(slice, base, true, profile);
            slices.push(Slice { name: name.as_str().into(), matchers, shape });
        }
        let rules = draft.element.slicing.as_ref();
        let own = |test: &str| rules.is_some_and(|slicing| slicing.rules == test);
        let ordered = rules.is_some_and(|slicing| slicing.ordered);
        let slicing = Slicing { closed: own("closed"), open_at_end: own("openAtEnd"), ordered, slices };
        (!slicing.slices.is_empty()).then_some(slicing)
    }
}

impl Base {
    /// What a constraint here is evaluated on. A slice may narrow an abstract type, so that one says nothing.
    fn focus(self) -> DataType {
        let abstract_types = ["Resource", "DomainResource", "Element", "BackboneElement"];
        match self.content.filter(|content| !abstract_types.contains(&content.name)) {
            Some(content) => DataType::Fhir(content),
            None => DataType::Any,
        }
    }

    /// What base R4 says of the child `name`, and whether the name spells one type of a choice.
    fn below(self, name: &str, child: &SnapshotElement) -> (Base, bool) {
        if self.is_logical {
            return (self, false);
        }
        let stem = name.strip_suffix("[x]").unwrap_or(name);
        let by_stem = self.content.and_then(|content| content.element_by_stem(stem));
        let spelled = || self.content.and_then(|content| content.element(NameId::of(name)));
        let (element, chosen) = match by_stem {
            Some(element) => (Some(element), None),
            None => spelled().map_or((None, None), |(element, chosen)| (Some(element), Some(chosen.code))),
        };
        let of_child = || match &*child.types {
            [only] => Some(only.code.as_str()),
            _ => None,
        };
        let only = |element: &'static ElementDef| match element.types.as_slice() {
            [only] if only.code != "Resource" => Some(only.code),
            _ => None,
        };
        let code = chosen.or_else(|| element.and_then(only)).or_else(of_child);
        let content = code.and_then(|code| schema().type_named(code));
        (Base { is_logical: false, element, content }, chosen.is_some())
    }
}

/// What a differential says, for a logical model.
fn stated(element: &crate::fhir::definitions::ElementDefinition) -> SnapshotElement {
    let binding = element.binding.as_ref().map(|(strength, value_set)| {
        let (strength, value_set) = (strength.as_str().into(), value_set.as_str().into());
        Arc::new(crate::fhir::snapshot::BindingUse { strength, value_set })
    });
    SnapshotElement {
        id: element.id.as_str().into(),
        path: element.path.as_str().into(),
        min: element.min.unwrap_or(0),
        max: element.max.as_deref().and_then(|max| max.parse().ok()),
        types: element.types.iter().flatten().cloned().collect(),
        fixed: element.fixed.clone().map(Arc::new),
        pattern: element.pattern.clone().map(Arc::new),
        max_length: element.max_length,
        min_value: element.min_value.clone().map(Arc::new),
        max_value: element.max_value.clone().map(Arc::new),
        binding,
        constraints: element.constraints.iter().cloned().map(Arc::new).collect(),
        ..SnapshotElement::default()
    }
}

fn limit(element: &SnapshotElement, base: Option<&'static ElementDef>) -> Option<Box<Limit>> {
    let limit = Limit {
        min_value: element.min_value.clone(),
        max_value: element.max_value.clone(),
        max_length: element.max_length,
    };
    // The limits of R4's own number types are part of their formats.
    let is_stated = base.is_none_or(|base| !matches!(base.types[0].code, "positiveInt" | "unsignedInt" | "integer"));
    let is_any = limit.min_value.is_some() || limit.max_value.is_some() || limit.max_length.is_some();
    (is_any && is_stated).then(|| Box::new(limit))
}

/// Whether an element may have the types that base R4 gives it, and no profile on them.
fn allows_the_same(types: &[TypeUse], base: &'static ElementDef) -> bool {
    // R4 types the id of a resource as a string; its rule is that of id, which the snapshot says.
    let is_backbone = |code: &str| matches!(code, "BackboneElement" | "Element") || (code == "id" && base.stem == "id");
    let same = |(own, known): (&TypeUse, &r4::TypeRef)| {
        let targets = own.targets.iter().map(|url| url.strip_prefix(R4).unwrap_or(url));
        let targets: Vec<&str> = targets.filter(|target| *target != "Resource").collect();
        let is_plain = own.profiles.is_empty() && own.aggregation.is_empty() && own.versioning.is_none();
        (own.code == known.code || is_backbone(&own.code)) && is_plain && targets == known.targets
    };
    types.is_empty() || (types.len() == base.types.len() && types.iter().zip(&base.types).all(same))
}

impl Draft {
    /// The draft of the element with this id, made if it is new.
    fn at(&mut self, id: &str) -> &mut Draft {
        let mut at = self;
        for step in id.split('.').skip(1) {
            let (name, slice) = step.split_once(':').map_or((step, None), |(name, slice)| (name, Some(slice)));
            // `value[x]:valueString` is the same as `valueString`.
            let stem = name.strip_suffix("[x]");
            let spells = |slice: &&str| stem.is_some_and(|stem| is_spelled(slice, stem));
            match slice.filter(spells) {
                Some(spelled) => at = entry(&mut at.children, spelled),
                None => {
                    at = entry(&mut at.children, name);
                    let ends = slice.into_iter().flat_map(|slice| {
                        slice.match_indices('/').map(|(end, _)| &slice[..end]).chain(std::iter::once(slice))
                    });
                    for end in ends {
                        at = entry(&mut at.slices, end);
                    }
                }
            }
        }
        at
    }
}

/// Whether `name` is `stem` with a type behind it: `valueString` for `value`.
pub(super) fn is_spelled(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()))
}

impl Shape {
    /// Whether it asks for nothing.
    fn is_empty(&self) -> bool {
        self.min == 0
            && self.max.is_none()
            && self.types.is_empty()
            && self.fixed.is_none()
            && self.pattern.is_none()
            && self.limit.is_none()
            && self.binding.is_none()
            && self.invariants.is_empty()
            && self.slicing.is_none()
            && self.children.is_empty()
    }
}

fn entry<'a>(drafts: &'a mut Vec<(String, Draft)>, name: &str) -> &'a mut Draft {
    let place = drafts.iter().position(|(own, _)| own == name).unwrap_or_else(|| {
        drafts.push((name.to_owned(), Draft::default()));
        drafts.len() - 1
    });
    &mut drafts[place].1
}

fn type_rule(used: &TypeUse) -> TypeRule {
    let base_name = |url: &String| url.strip_prefix(R4).unwrap_or(url).into();
    let own = |url: &&String| url.strip_prefix(R4).is_none_or(|name| schema().type_named(name).is_none());
    let any = used.targets.iter().any(|url| url.strip_prefix(R4) == Some("Resource"));
    TypeRule {
        code: used.code.as_str().into(),
        profiles: used.profiles.iter().filter(own).map(|url| url.as_str().into()).collect(),
        targets: if any { Vec::new() } else { used.targets.iter().map(base_name).collect() },
        aggregation: used.aggregation.iter().map(|place| place.as_str().into()).collect(),
        versioning: used.versioning.as_deref().filter(|versioning| *versioning != "either").map(Into::into),
    }
}
