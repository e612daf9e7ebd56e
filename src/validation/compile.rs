//! StructureDefinitions compiled into [`Shape`] trees.
//!
//! Enters: a differential. Leaves: a tree by element and slice. What the differential asks for and the walk cannot
//! check is named in the notes; what makes no sense (an unknown element, an expression that does not parse) is an issue.

use std::sync::Arc;

use super::plan::{Binding, Child, Invariant, Matcher, Shape, Slice, Slicing, Step, Strength, Test, TypeRule};
use super::terminology::Terminology;
use crate::fhir::definitions::{ElementDefinition, SlicingDefinition, StructureDefinition};
use crate::fhir::outcome::{Issue, IssueType, Severity};
use crate::fhir::r4::schema;
use crate::fhir::{Document, ElementPath, Limits, Name};
use crate::fhirpath::Expression;

/// Canonical URLs of base R4 start so.
pub(super) const BASE: &str = "http://hl7.org/fhir/StructureDefinition/";

/// A shape in the making.
#[derive(Debug, Default)]
struct Draft {
    shape: Shape,
    slicing: Option<SlicingDefinition>,
    slices: Vec<(String, Draft)>,
    children: Vec<(String, Draft)>,
}

/// What a compilation reads and reports to.
pub(super) struct Compiler<'t> {
    pub(super) terminology: &'t mut Terminology,
    /// What is not checked.
    pub(super) notes: Vec<String>,
    pub(super) issues: Vec<Issue>,
}

impl Compiler<'_> {
    /// Compiles one profile, extension or logical model.
    pub(super) fn structure(&mut self, definition: &StructureDefinition) -> Shape {
        let profile: Arc<str> = definition.url.as_str().into();
        let mut root = Draft::default();
        for element in &definition.elements {
            if definition.kind != "logical" && !is_known(&element.path) {
                self.refuse(&profile, &element.id, "the element does not exist in R4");
                continue;
            }
            let draft = root.at(&element.id);
            self.fill(draft, element, &profile);
        }
        self.finish(root, &profile)
    }

    fn refuse(&mut self, profile: &str, element: &str, what: &str) {
        let issue = Issue::error(IssueType::Invalid, format!("{element}: {what}"))
            .at(ElementPath::new(element))
            .rule(profile)
            .hint("correct the StructureDefinition");
        self.issues.push(issue);
    }

    fn note(&mut self, profile: &str, element: &str, what: &str) {
        self.notes.push(format!("{profile} {element}: {what}"));
    }

    fn fill(&mut self, draft: &mut Draft, element: &ElementDefinition, profile: &Arc<str>) {
        let shape = &mut draft.shape;
        shape.min = element.min.unwrap_or(0);
        shape.max = element.max.as_deref().and_then(|max| max.parse().ok());
        shape.types = element.types.iter().flatten().map(type_rule).collect();
        shape.fixed = element.fixed.clone();
        shape.pattern = element.pattern.clone();
        shape.binding = self.binding(element, profile);
        for constraint in &element.constraints {
            match Expression::parse(&constraint.expression) {
                Ok(expression) => shape.invariants.push(Invariant {
                    rule: format!("{profile}#{}", constraint.key).into(),
                    severity: if constraint.severity == "warning" { Severity::Warning } else { Severity::Error },
                    text: constraint.human.as_str().into(),
                    expression,
                }),
                Err(error) => self.refuse(profile, &element.id, &format!("constraint {}: {error}", constraint.key)),
            }
        }
        let unchecked = [
            (element.max_length.is_some(), "maxLength"),
            (element.min_value.is_some(), "minValue"),
            (element.max_value.is_some(), "maxValue"),
            (element.content_reference.is_some(), "contentReference"),
        ];
        let unchecked = unchecked.iter().filter(|(is_stated, _)| *is_stated).map(|(_, what)| *what);
        for other in element.other.iter().map(String::as_str).chain(unchecked) {
            self.note(profile, &element.id, &format!("{other} is not checked"));
        }
        if element.slice_name.as_ref().is_some_and(|name| name.contains('/')) {
            self.note(profile, &element.id, "slices of slices are not told apart");
        }
        draft.slicing = element.slicing.clone();
    }

    fn binding(&mut self, element: &ElementDefinition, profile: &str) -> Option<Binding> {
        let (strength, url) = element.binding.as_ref()?;
        let strength = match strength.as_str() {
            "required" => Strength::Required,
            "extensible" => Strength::Extensible,
            "preferred" => Strength::Preferred,
            _ => return None,
        };
        let value_set = self.terminology.id_of(url);
        if !self.terminology.is_loaded(value_set) {
            self.note(profile, &element.id, &format!("the value set {url} is not loaded, its codes are not checked"));
        }
        Some(Binding { strength, value_set })
    }

    fn finish(&mut self, draft: Draft, profile: &Arc<str>) -> Shape {
        let slicing = self.slicing(&draft, profile);
        let Draft { mut shape, slices, children, .. } = draft;
        shape.profile = Arc::clone(profile);
        let mut compiled = Vec::with_capacity(slices.len());
        for ((name, slice), matchers) in slices.into_iter().zip(slicing) {
            compiled.push(Slice { name: name.into(), matchers, shape: self.finish(slice, profile) });
        }
        let closed = draft.slicing.as_ref().is_some_and(|slicing| slicing.rules == "closed");
        if draft.slicing.as_ref().is_some_and(|slicing| slicing.ordered || slicing.rules == "openAtEnd") {
            self.note(profile, &shape.id, "the order of slices is not checked");
        }
        shape.slicing = (!compiled.is_empty()).then_some(Slicing { closed, slices: compiled });
        for (name, child) in children {
            let name = Name::new(name.strip_suffix("[x]").unwrap_or(&name));
            shape.children.push(Child { name, shape: self.finish(child, profile) });
        }
        shape
    }

    /// The matchers of each slice.
    fn slicing(&mut self, draft: &Draft, profile: &str) -> Vec<Option<Vec<Matcher>>> {
        let discriminators = match &draft.slicing {
            Some(slicing) => slicing.discriminators.clone(),
            None => vec![("value".to_owned(), "url".to_owned())],
        };
        let mut all = Vec::new();
        for (_, slice) in &draft.slices {
            let mut matchers = Some(Vec::new());
            for (kind, path) in &discriminators {
                let matcher = matcher(slice, kind, path);
                if matcher.is_none() {
                    let what = format!("the slice is not told apart by {kind} of {path} and so not checked");
                    self.note(profile, &slice.shape.id, &what);
                }
                matchers = matchers.zip(matcher).map(|(mut all, each)| {
                    all.push(each);
                    all
                });
            }
            all.push(matchers.filter(|matchers| !matchers.is_empty()));
        }
        all
    }
}

impl Draft {
    /// The draft of the element with this id, made if it is new.
    fn at(&mut self, id: &str) -> &mut Draft {
        let mut at = self;
        let mut so_far = String::new();
        for (depth, step) in id.split('.').enumerate() {
            so_far.push_str(if depth > 0 { "." } else { "" });
            so_far.push_str(step);
            if depth > 0 {
                let (name, slice) = step.split_once(':').map_or((step, None), |(name, slice)| (name, Some(slice)));
                // `value[x]:valueString` is the same as `valueString`.
                let is_type = name.ends_with("[x]") && slice.is_some();
                at = entry(&mut at.children, if is_type { slice.unwrap_or(name) } else { name });
                if let Some(slice) = slice.filter(|_| !is_type) {
                    at = entry(&mut at.slices, slice);
                }
            }
            at.shape.id = so_far.as_str().into();
        }
        at
    }

    /// The draft at the end of `path` among the children.
    fn below(&self, path: &[Step]) -> Option<&Draft> {
        let mut at = self;
        for step in path {
            at = match step {
                Step::Name(name) => {
                    at.children.iter().find(|(own, _)| own.strip_suffix("[x]").unwrap_or(own) == name.text())
                }
                Step::Extension(url) => {
                    let extension = at.children.iter().find(|(own, _)| own == "extension")?;
                    extension.1.slices.iter().find(|(_, slice)| slice.shape.profiles().any(|profile| profile == &**url))
                }
            }
            .map(|(_, draft)| draft)?;
        }
        Some(at)
    }
}

impl Shape {
    /// The profiles that the element's value must be of.
    pub(super) fn profiles(&self) -> impl Iterator<Item = &str> {
        self.types.iter().flat_map(|rule| &rule.profiles).map(|url| &**url)
    }
}

fn entry<'a>(drafts: &'a mut Vec<(String, Draft)>, name: &str) -> &'a mut Draft {
    let place = drafts.iter().position(|(own, _)| own == name).unwrap_or_else(|| {
        drafts.push((name.to_owned(), Draft::default()));
        drafts.len() - 1
    });
    &mut drafts[place].1
}

fn type_rule(used: &crate::fhir::definitions::TypeUse) -> TypeRule {
    let base_name = |url: &String| url.strip_prefix(BASE).unwrap_or(url).into();
    let own = |url: &&String| url.strip_prefix(BASE).is_none_or(|name| schema().type_named(name).is_none());
    let any = used.targets.iter().any(|url| url.strip_prefix(BASE) == Some("Resource"));
    TypeRule {
        code: used.code.as_str().into(),
        profiles: used.profiles.iter().filter(own).map(|url| url.as_str().into()).collect(),
        targets: if any { Vec::new() } else { used.targets.iter().map(base_name).collect() },
    }
}

/// What a slice expects of a discriminator; `None` if it cannot be told.
fn matcher(slice: &Draft, kind: &str, path: &str) -> Option<Matcher> {
    let path = steps(path)?;
    let target = slice.below(&path);
    match kind {
        "value" | "pattern" => value_matcher(slice, target, path),
        "exists" => {
            let target = target?;
            let test = Test::Exists(target.shape.max != Some(0));
            (target.shape.min > 0 || target.shape.max == Some(0)).then_some(Matcher { path, test })
        }
        "type" => {
            let codes: Vec<_> = target?.shape.types.iter().map(|rule| rule.code.clone()).collect();
            (!codes.is_empty()).then_some(Matcher { path, test: Test::Type(codes) })
        }
        _ => None,
    }
}

fn value_matcher(slice: &Draft, target: Option<&Draft>, mut path: Vec<Step>) -> Option<Matcher> {
    let is_url = matches!(path.as_slice(), [Step::Name(name)] if name.text() == "url");
    if is_url && let Some(url) = slice.shape.profiles().next() {
        let url = Document::parse(format!("\"{url}\""), &Limits::default()).ok()?;
        return Some(Matcher { path, test: Test::Fixed(url) });
    }
    if let Some(test) = target.and_then(value_test) {
        return Some(Matcher { path, test });
    }
    // A pattern further up says what stands below it.
    while path.pop().is_some() {
        if let Some(test) = slice.below(&path).and_then(value_test) {
            return Some(Matcher { path, test });
        }
    }
    None
}

fn value_test(draft: &Draft) -> Option<Test> {
    let shape = &draft.shape;
    let required = shape.binding.filter(|binding| binding.strength == Strength::Required);
    let fixed = shape.fixed.clone().map(Test::Fixed);
    fixed.or_else(|| shape.pattern.clone().map(Test::Pattern)).or(required.map(|each| Test::ValueSet(each.value_set)))
}

/// `$this`, `system`, `code.coding`, `extension('url').value`; `None` for functions that are not supported.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() && rest != "$this" {
        if let Some(inner) = rest.strip_prefix("extension('") {
            let (url, behind) = inner.split_once("')")?;
            steps.push(Step::Extension(url.into()));
            rest = behind.strip_prefix('.').unwrap_or(behind);
            continue;
        }
        let (name, behind) = rest.split_once('.').unwrap_or((rest, ""));
        if name.contains('(') {
            return None;
        }
        if name != "$this" {
            steps.push(Step::Name(Name::new(name)));
        }
        rest = behind;
    }
    Some(steps)
}

/// Whether R4 has an element at this path. Below a choice of several types, and below a resource, any name will do.
fn is_known(path: &str) -> bool {
    let mut names = path.split('.');
    let Some(mut at) = names.next().and_then(|root| schema().type_named(root)) else { return false };
    for name in names {
        let stem = name.strip_suffix("[x]").unwrap_or(name);
        let element = at.element_by_stem(stem).or_else(|| Some(at.element(crate::fhir::NameId::of(name))?.0));
        let Some(element) = element else { return false };
        let types = &element.types;
        let next = if types.len() == 1 { schema().type_named(types[0].code) } else { None };
        match next {
            Some(next) if next.name != "Resource" => at = next,
            _ => return true,
        }
    }
    true
}
