//! Stage 3: a mapped Bundle that conforms to R4 and to the profiles of its interface becomes [`Validated`].
//!
//! Enters: a [`Mapped`](crate::mapping::Mapped) and the [`Validator`], compiled once from StructureDefinitions, ValueSets
//! and CodeSystems. Leaves: a [`Validated`], with the warnings. Invariant: no Bundle with an error becomes `Validated`;
//! what could not be checked is said, at load in [`Validator::not_checked`] or as an information issue, never passed
//! over.
//!
//! Validating is one walk (`walk`) over the tree: base R4 by the compiled tables (`base`), profiles by the shapes active
//! at each element (`shapes`), codes and identifiers (`codes`), references and Bundle rules (`bundle`), records against
//! their logical model (`record`). Rule names: an invariant's key (`per-1`), a profile's URL with `#key` behind it for
//! its own invariants, `r4-…` for rules that the specification has no key for, `uk-…` for those of the NHS,
//! `not-checked` for what nobody here knows.

mod base;
mod bundle;
mod codes;
mod compile;
mod narrative;
mod plan;
mod primitives;
mod proof;
mod record;
mod shapes;
mod terminology;
#[cfg(test)]
mod tests;
mod uk;
mod walk;

use std::collections::HashMap;

use self::compile::Compiler;
use self::plan::{BasePlan, Shape};
pub use self::proof::{Error, Validated, check};
use self::terminology::Terminology;
use self::walk::{Scope, Shapes, Walk};
use crate::fhir::definitions::{
    CodeSystemDefinition, Definition, StructureDefinition, ValueSetDefinition, without_version,
};
use crate::fhir::outcome::{Issue, IssueType};
use crate::fhir::r4::schema;
use crate::fhir::{Document, ElementPath};

/// Issues reported on one document; more are counted as one.
const MOST_ISSUES: usize = 1000;

/// What no validator of this version checks, whatever is loaded. Shown by `weir validate`.
pub const NOT_CHECKED: &[&str] = &[
    "codes of SNOMED CT, LOINC, dm+d and other systems that are not loaded (SNOMED CT check digits are checked)",
    "extensible and preferred bindings of base R4 elements",
    "display texts of codings",
    "slices told apart by position or profile, or through resolve() or ofType(); the order of slices; slices of slices",
    "several profiles on one type of an element, of which any would do",
    "base profiles of R4 that are not base types (vital signs)",
    "maxLength, minValue[x], maxValue[x] and content references of profiles",
    "FHIR data types inside a logical model",
    "content of extensions whose definition is not loaded, and extension contexts by FHIRPath",
    "profiles that a resource claims and that are not loaded (a warning says so)",
    "whether a reference out of the Bundle leads anywhere",
];

/// The rules, compiled: R4, and the profiles, value sets and code systems that were loaded.
#[derive(Debug)]
pub struct Validator {
    base: BasePlan,
    terminology: Terminology,
    profiles: HashMap<Box<str>, Profile>,
    models: HashMap<Box<str>, Shape>,
    notes: Vec<String>,
}

/// A profile or extension definition.
#[derive(Debug)]
struct Profile {
    shape: Shape,
    /// The profile it derives from, unless that is a base type.
    base: Option<Box<str>>,
    type_name: Box<str>,
    contexts: Vec<(String, String)>,
}

impl Validator {
    /// Compiles definitions; base R4 is always there.
    ///
    /// # Errors
    /// The issues of definitions that make no sense: an unknown element or base, a constraint that does not parse.
    pub fn compile(definitions: &[Document]) -> Result<Validator, Vec<Issue>> {
        let mut sorted = Definitions::default();
        for document in definitions {
            sorted.add(document);
        }
        let Definitions { structures, value_sets, code_systems, mut notes, mut issues } = sorted;
        let mut terminology = Terminology::load(code_systems, &value_sets, &mut notes);
        let base = base::compile(&mut terminology, &mut notes);
        let mut compiler = Compiler { terminology: &mut terminology, notes, issues: Vec::new() };
        let mut profiles: HashMap<Box<str>, Profile> = HashMap::new();
        let mut models: HashMap<Box<str>, Shape> = HashMap::new();
        for structure in &structures {
            let shape = compiler.structure(structure);
            if structure.kind == "logical" {
                models.insert(structure.url.as_str().into(), shape);
            } else {
                profiles.insert(structure.url.as_str().into(), Profile::new(structure, shape));
            }
        }
        issues.append(&mut compiler.issues);
        let mut notes = compiler.notes;
        for structure in &structures {
            issues.extend(unknown_base(structure, &profiles));
        }
        for (url, shape) in profiles.iter().map(|(url, profile)| (url, &profile.shape)) {
            note_unloaded(url, shape, &profiles, &mut notes);
        }
        for (url, shape) in &models {
            note_model(url, shape, true, &mut notes);
        }
        notes.sort();
        notes.dedup();
        let validator = Validator { base, terminology, profiles, models, notes };
        if issues.is_empty() { Ok(validator) } else { Err(issues) }
    }

    /// Checks a FHIR resource against R4, the profiles it claims that are loaded, and `profile`.
    pub fn check_document(&self, document: &Document, profile: Option<&str>) -> Vec<Issue> {
        let mut walk = Walk::new(self, document);
        let mut shapes = Shapes::new();
        let mut issues = Vec::new();
        if let Some(url) = profile.filter(|url| !self.is_base(url))
            && !self.activate(url, &mut shapes)
        {
            let text = format!("the profile {url} is not loaded");
            let issue = Issue::error(IssueType::NotFound, text).at(ElementPath::root()).rule("not-checked");
            issues.push(issue.hint("load the package that holds the profile"));
        }
        let root = document.root();
        if root.resource_type() == Some("Bundle") {
            walk.index(root);
        }
        walk.resource(root, None, None, &shapes);
        issues.append(&mut walk.finish());
        issues
    }

    /// Checks a plain JSON record against the logical model with this URL.
    pub fn check_record(&self, record: &Document, logical_model: &str) -> Vec<Issue> {
        let mut walk = Walk::new(self, record);
        let Some(shape) = self.models.get(without_version(logical_model)) else {
            let text = format!("the logical model {logical_model} is not loaded");
            return vec![Issue::error(IssueType::NotFound, text).hint("add its StructureDefinition to the profiles")];
        };
        walk.record(record.root(), shape, &Scope::of_record(record));
        walk.finish()
    }

    /// Whether a profile, extension or logical model with this URL is loaded, or it is a base type.
    pub fn knows(&self, url: &str) -> bool {
        let url = without_version(url);
        self.profiles.contains_key(url) || self.models.contains_key(url) || self.is_base(url)
    }

    /// The elements that the profile with this URL, or one it derives from, requires: `Patient.birthDate`. Sorted.
    pub fn required_elements(&self, profile: &str) -> Vec<String> {
        let mut shapes = Shapes::new();
        let mut paths = Vec::new();
        if self.activate(profile, &mut shapes) {
            let of_type = self.type_of(without_version(profile)).unwrap_or_default();
            shapes.iter().for_each(|shape| shape.push_required(of_type, &mut paths));
        }
        paths.sort();
        paths.dedup();
        paths
    }

    /// The URLs of the profiles and extensions that are loaded, sorted.
    pub fn profiles(&self) -> Vec<&str> {
        sorted_keys(&self.profiles)
    }

    /// The URLs of the logical models that are loaded, sorted.
    pub fn logical_models(&self) -> Vec<&str> {
        sorted_keys(&self.models)
    }

    /// What the loaded definitions ask for and this version does not check, a line each.
    pub fn not_checked(&self) -> &[String] {
        &self.notes
    }

    /// Adds the shapes of a profile and of those it derives from; false if it is not loaded.
    fn activate<'a>(&'a self, url: &str, shapes: &mut Shapes<'a>) -> bool {
        let mut at = self.profiles.get(without_version(url));
        let known = at.is_some();
        while let Some(profile) = at {
            if shapes.iter().any(|shape| std::ptr::eq(*shape, &raw const profile.shape)) {
                break;
            }
            shapes.push(&profile.shape);
            at = profile.base.as_ref().and_then(|base| self.profiles.get(base));
        }
        known
    }

    /// The resource or data type that a loaded profile constrains.
    fn type_of(&self, url: &str) -> Option<&str> {
        self.profiles.get(url).map(|profile| &*profile.type_name)
    }

    /// Where an extension may stand: type of context and expression.
    fn contexts(&self, url: &str) -> &[(String, String)] {
        self.profiles.get(url).map_or(&[], |profile| &profile.contexts)
    }

    /// Whether the URL is that of a base type, whose rules always hold.
    fn is_base(&self, url: &str) -> bool {
        without_version(url).strip_prefix(compile::BASE).is_some_and(|name| schema().type_named(name).is_some())
    }
}

fn sorted_keys<T>(map: &HashMap<Box<str>, T>) -> Vec<&str> {
    let mut keys: Vec<&str> = map.keys().map(|key| &**key).collect();
    keys.sort_unstable();
    keys
}

impl Profile {
    fn new(structure: &StructureDefinition, shape: Shape) -> Profile {
        let base = (!structure.base.starts_with(compile::BASE)).then(|| structure.base.as_str().into());
        let type_name = structure.type_name.as_str().into();
        Profile { shape, base, type_name, contexts: structure.contexts.clone() }
    }
}

/// Definitions by kind.
#[derive(Default)]
struct Definitions {
    structures: Vec<StructureDefinition>,
    value_sets: Vec<ValueSetDefinition>,
    code_systems: Vec<CodeSystemDefinition>,
    notes: Vec<String>,
    issues: Vec<Issue>,
}

impl Definitions {
    fn add(&mut self, document: &Document) {
        match Definition::read(document) {
            Some(Definition::Structure(structure)) => {
                if self.structures.iter().any(|other| other.url == structure.url) {
                    let text = format!("{} is defined twice", structure.url);
                    self.issues.push(Issue::error(IssueType::Duplicate, text).hint("keep one of the two"));
                }
                self.structures.push(*structure);
            }
            Some(Definition::ValueSet(set)) => self.value_sets.push(set),
            Some(Definition::CodeSystem(system)) => self.code_systems.push(system),
            None => {
                let what = document.resource_type().unwrap_or("a document without resourceType");
                self.notes.push(format!("{what} is no definition that a validator reads"));
            }
        }
    }
}

fn unknown_base(structure: &StructureDefinition, profiles: &HashMap<Box<str>, Profile>) -> Option<Issue> {
    let base = structure.base.strip_prefix(compile::BASE);
    let is_known = match base {
        Some(name) => schema().type_named(name).is_some(),
        None => structure.kind == "logical" || profiles.contains_key(&*structure.base),
    };
    let text = format!("{} derives from {}, which is not loaded", structure.url, structure.base);
    (!is_known).then(|| Issue::error(IssueType::NotFound, text).rule(&*structure.url).hint("load its base too"))
}

/// Notes the profiles that a shape refers to and nobody has loaded.
fn note_unloaded(url: &str, shape: &Shape, profiles: &HashMap<Box<str>, Profile>, notes: &mut Vec<String>) {
    for rule in &shape.types {
        let targets = rule.targets.iter().filter(|target| target.contains(':'));
        for wanted in rule.profiles.iter().chain(targets).filter(|wanted| !profiles.contains_key(&***wanted)) {
            notes.push(format!("{url} {}: {wanted} is not loaded and not checked", shape.id));
        }
        if rule.profiles.len() > 1 {
            notes.push(format!("{url} {}: several profiles on one type are not checked", shape.id));
        }
    }
    let slices = shape.slicing.iter().flat_map(|slicing| &slicing.slices).map(|slice| &slice.shape);
    for inner in slices.chain(shape.children.iter().map(|child| &child.shape)) {
        note_unloaded(url, inner, profiles, notes);
    }
}

/// Notes the elements of a logical model whose type a record is not checked against.
fn note_model(url: &str, shape: &Shape, is_root: bool, notes: &mut Vec<String>) {
    let is_checked = |code: &str| {
        matches!(code, "BackboneElement" | "Element" | "Base") || primitives::Format::named(code).is_some()
    };
    let is_known = matches!(shape.types.as_slice(), [rule] if is_checked(&rule.code));
    if !is_root && !is_known {
        notes.push(format!("{url} {}: its type is not checked", shape.id));
    }
    for child in &shape.children {
        note_model(url, &child.shape, false, notes);
    }
}
