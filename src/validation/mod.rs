//! Stage 3: a mapped Bundle that conforms to R4 and to the profiles of its interface becomes [`Validated`].
//!
//! Enters: a [`Mapped`](crate::mapping::Mapped) and the [`Validator`], compiled once from StructureDefinitions, ValueSets
//! and CodeSystems. Leaves: a [`Validated`]. Invariant: no Bundle with an error becomes `Validated`; what could not be
//! checked is said, at load in [`Validator::not_checked`] or as an information issue, never passed over. Nobody reads the
//! warnings and notes of a message, so that there they are counted alone; `weir validate` and `$validate` tell them.
//!
//! Validating is one walk (`walk`) over the tree: base R4 by the compiled tables (`base`), profiles by the shapes that
//! `compile` and `discriminators` make of their snapshots (`shapes`), codes and identifiers (`codes`, `terminology`),
//! references and Bundle rules (`bundle`), answers against their Questionnaire (`questionnaire`), reports against their
//! Measure (`measure`), definitions (`conformance`), records against their logical model (`record`). What is loaded is
//! compiled at load, so that its errors are told then; of R4's own 439 profiles each when it is first asked for.
//! Invariants that the elements of an object decide by being there are looked up (`gate`), a few are answered by hand
//! (`native`); the rest are evaluated. What a receiver may ask for beyond the specification is [`Strictness`].
//!
//! Rule names: an invariant's key (`per-1`), a profile's URL with `#key` behind it for its own invariants, `r4-…` for
//! rules that the specification has no key for, `uk-…` for those of the NHS, `not-checked` for what nobody here knows.

mod base;
mod bounds;
mod bundle;
mod codes;
mod compile;
mod conformance;
mod context;
mod discriminators;
mod ecl;
mod gate;
mod hierarchy;
mod interaction;
mod measure;
mod narrative;
mod native;
mod operation;
mod plan;
mod primitives;
mod proof;
mod questionnaire;
mod reach;
mod recheck;
mod record;
mod shapes;
mod strictness;
mod terminology;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::sync::OnceLock;

pub use self::bundle::NOT_SENT;
use self::compile::Compiler;
use self::context::Context;
pub use self::operation::{Parsed, Question, Syntax, parse};
use self::plan::{BasePlan, Shape};
pub use self::proof::{Error, Validated, check};
pub use self::recheck::Cut;
pub use self::strictness::Strictness;
use self::terminology::Terminology;
use self::walk::{Place, Scope, Shapes, Walk};
use crate::fhir::definitions::{Definition, StructureDefinition, without_version};
use crate::fhir::outcome::{Issue, IssueType};
use crate::fhir::r4::{self, schema};
use crate::fhir::slices::{Slice, slices};
use crate::fhir::snapshot::{R4, Snapshots};
use crate::fhir::terminology::{CodeSystemDefinition, ValueSetDefinition};
use crate::fhir::{Document, ElementPath, FixedMap, Node, keys};
use crate::fhirpath::Reach;

/// Errors reported on one document, and as many remarks; more are counted as one issue.
const MOST_ISSUES: usize = 1000;

/// What no validator of this version checks, whatever is loaded. Shown by `weir validate`.
pub const NOT_CHECKED: &[&str] = &[
    "codes of SNOMED CT, LOINC, dm+d and other systems that are not loaded (formats and check digits of SNOMED CT, dm+d and LOINC are checked)",
    "preferred bindings of base R4 elements",
    "displays of codes whose system is not loaded or does not say them",
    "slices told apart by their position",
    "several profiles on one data type of an element, of which any would do",
    "FHIR data types inside a logical model",
    "content of extensions whose definition is not loaded",
    "profiles that a resource claims and that are not loaded (a warning says so)",
    "whether a reference out of the Bundle leads anywhere",
];

/// The rules, compiled: R4, and the profiles, value sets and code systems that were loaded.
#[derive(Debug)]
pub struct Validator {
    base: BasePlan,
    terminology: Terminology,
    /// Those that were loaded.
    profiles: FixedMap<Box<str>, Profile>,
    /// R4's own, each compiled when it is first asked for; `None` for one that makes no sense.
    built_in: FixedMap<&'static str, OnceLock<Option<Box<Profile>>>>,
    models: HashMap<Box<str>, Shape>,
    questionnaires: HashMap<Box<str>, Document>,
    measures: HashMap<Box<str>, Document>,
    /// Profiles that an ImplementationGuide sets for all resources of a type (`global`).
    globals: Vec<(Box<str>, Box<str>)>,
    /// The definitions that were loaded, for what is said about other definitions.
    structures: Vec<StructureDefinition>,
    notes: Vec<String>,
    doubts: Vec<Issue>,
    strictness: Strictness,
    /// How far the rules of extensions look that were loaded. Those of R4 look no further than their resource.
    extensions_reach: Reach,
}

/// What a walk over a document tells.
#[derive(Clone, Copy)]
enum Telling<'c> {
    /// All that it finds.
    All,
    /// Errors; the rest is counted.
    Errors,
    /// Errors of what is left of a valid Bundle: the walk passes over what is unchanged.
    ErrorsOf(&'c Cut<'c>),
}

/// What a walk over a document found.
struct Found {
    issues: Vec<Issue>,
    /// How many warnings and notes are not among them.
    untold: usize,
    /// Whether a profile was tried on a resource that does not claim it.
    tried: bool,
}

/// A profile or extension definition.
#[derive(Debug)]
struct Profile {
    shape: Shape,
    /// The profile it derives from, unless that is a base type.
    base: Option<Box<str>>,
    version: Option<Box<str>>,
    type_name: Box<str>,
    /// For an extension: whether it changes the meaning of what it stands in.
    is_modifier: bool,
    contexts: Vec<Context>,
}

impl Validator {
    /// Compiles definitions; base R4 is always there, with the extensions and profiles that it defines.
    ///
    /// # Errors
    /// The issues of definitions that make no sense: an unknown element or base, a constraint that does not parse.
    pub fn compile(definitions: &[Document]) -> Result<Validator, Vec<Issue>> {
        let (validator, issues) = Validator::compile_what_can_be(definitions);
        if issues.is_empty() { Ok(validator) } else { Err(issues) }
    }

    /// The same without the definitions that make no sense, whose issues stand beside it: for packages of others, of
    /// which one broken profile must not keep the rest from being used.
    pub fn compile_what_can_be(definitions: &[Document]) -> (Validator, Vec<Issue>) {
        let mut sorted = Definitions::default();
        for document in definitions {
            sorted.add(document);
        }
        let Definitions { structures, value_sets, code_systems, questionnaires, measures, globals, mut notes, issues } =
            sorted;
        let mut terminology = Terminology::load(code_systems, value_sets, &mut notes);
        let base = base::compile(&mut terminology, &mut notes);
        let mut compiler = Compiler::new(&terminology, Snapshots::of(&structures));
        (compiler.notes, compiler.issues) = (notes, issues);
        let mut profiles: FixedMap<Box<str>, Profile> = FixedMap::default();
        let mut models: HashMap<Box<str>, Shape> = HashMap::new();
        for structure in &structures {
            let before = compiler.issues.len();
            let shape = compiler.structure(structure);
            if compiler.issues.len() > before {
                continue;
            }
            if structure.kind == "logical" {
                models.insert(structure.url.as_str().into(), shape);
            } else {
                profiles.insert(structure.url.as_str().into(), Profile::new(structure, shape));
            }
        }
        let Compiler { notes, issues, doubts, .. } = compiler;
        let extensions = profiles.values().filter(|profile| &*profile.type_name == "Extension");
        let extensions_reach = extensions.map(|profile| profile.shape.reach).max().unwrap_or_default();
        let mut validator = Validator {
            extensions_reach,
            base,
            terminology,
            profiles,
            built_in: r4::profile_urls().map(|url| (url, OnceLock::new())).collect(),
            models,
            questionnaires,
            measures,
            globals,
            structures,
            notes,
            doubts,
            strictness: Strictness::default(),
        };
        validator.note_what_is_not_loaded();
        (validator, issues)
    }

    fn note_what_is_not_loaded(&mut self) {
        let mut notes = std::mem::take(&mut self.notes);
        for structure in &self.structures {
            if let Some(profile) = self.profile(&structure.url) {
                self.note_unloaded(&structure.url, &profile.shape, &mut notes);
                let contexts = profile.contexts.iter().filter_map(Context::note);
                notes.extend(contexts.map(|note| format!("{}: {note}", structure.url)));
            }
        }
        for (url, shape) in &self.models {
            note_model(url, shape, true, &mut notes);
        }
        notes.sort();
        notes.dedup();
        self.notes = notes;
    }

    /// Notes the profiles that a shape refers to and nobody has loaded.
    fn note_unloaded(&self, url: &str, shape: &Shape, notes: &mut Vec<String>) {
        for rule in &shape.types {
            let targets = rule.targets.iter().filter(|target| target.contains(':'));
            for wanted in rule.profiles.iter().chain(targets).filter(|wanted| self.profile(wanted).is_none()) {
                notes.push(format!("{url} {}: {wanted} is not loaded and not checked", shape.id));
            }
            if rule.profiles.len() > 1 {
                notes.push(format!("{url} {}: several profiles on one type are not checked", shape.id));
            }
        }
        let slices = shape.slicing.iter().flat_map(|slicing| &slicing.slices).map(|slice| &slice.shape);
        for inner in slices.chain(shape.children.iter().map(|child| &child.shape)) {
            self.note_unloaded(url, inner, notes);
        }
    }

    /// The profile or extension with this URL, without a version: one that was loaded, or R4's.
    fn profile(&self, url: &str) -> Option<&Profile> {
        if let Some(profile) = self.profiles.get(url) {
            return Some(profile);
        }
        let compiled = self.built_in.get(url)?;
        let compile = || compile::built_in(url, &self.terminology, &self.structures).map(Box::new);
        compiled.get_or_init(compile).as_deref()
    }

    /// The same, asking for more than the specification does.
    #[must_use]
    pub fn with(self, strictness: Strictness) -> Validator {
        Validator { strictness, ..self }
    }

    /// Checks a FHIR resource against R4, the profiles it claims that are loaded, and `profile`.
    pub fn check_document(&self, document: &Document, profile: Option<&str>) -> Vec<Issue> {
        self.check_with(document, profile, Telling::All).issues
    }

    /// The same with any number of profiles, in one walk.
    fn check_with<'p>(
        &self,
        document: &Document,
        profiles: impl IntoIterator<Item = &'p str>,
        telling: Telling<'_>,
    ) -> Found {
        let mut walk = Walk::new(self, document);
        walk.tells_errors_alone = !matches!(telling, Telling::All);
        if let Telling::ErrorsOf(cut) = telling {
            walk.cut = Some(cut);
        }
        let mut shapes = Shapes::new();
        let mut issues = Vec::new();
        for url in profiles {
            if !self.is_base(url) && !self.activate(url, &mut shapes) {
                let text = format!("the profile {url} is not loaded");
                let issue = Issue::error(IssueType::NotFound, text).at(ElementPath::root()).rule("not-checked");
                issues.push(issue.hint("load the package that holds the profile"));
            }
        }
        walk.resource(document.root(), &Place::default(), &shapes);
        let tried = !walk.tried.borrow().is_empty();
        walk.report_unlisted();
        let untold = walk.untold;
        issues.append(&mut walk.finish());
        Found { issues, untold, tried }
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

    /// Checks a FHIR resource that was submitted where one of `profile`, or of the R4 type with that URL, is read.
    pub fn check_submitted(&self, document: &Document, profile: &str) -> Vec<Issue> {
        let url = without_version(profile);
        let wanted = self.type_of(url).or_else(|| url.strip_prefix(R4)).unwrap_or_default();
        match document.resource_type() {
            Some(found) if found == wanted => self.check_document(document, Some(profile)),
            _ => {
                let text = format!("the resource is not a {wanted}, which this interface reads");
                let issue = Issue::error(IssueType::Structure, text).at(ElementPath::root()).rule("r4-resource-type");
                vec![issue.hint(format!("submit a resource with the resourceType {wanted}"))]
            }
        }
    }

    /// Whether the URL is that of a logical model that is loaded.
    pub fn is_logical(&self, url: &str) -> bool {
        self.models.contains_key(without_version(url))
    }

    /// Whether a profile, extension or logical model with this URL is loaded, or it is a base type.
    pub fn knows(&self, url: &str) -> bool {
        let url = without_version(url);
        self.profile(url).is_some() || self.models.contains_key(url) || self.is_base(url)
    }

    /// The canonical URL of a profile with the version of it that is used: `url|version`.
    fn with_version(&self, url: &str) -> String {
        let url = without_version(url);
        let version = self.profile(url).and_then(|profile| profile.version.as_deref());
        version.map_or_else(|| url.to_owned(), |version| format!("{url}|{version}"))
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

    /// The slices of an element in the profile with this URL, by the element's id: `Patient.identifier`.
    pub fn slices(&self, profile: &str, element: &str) -> Vec<Slice> {
        let snapshot = Snapshots::of(&self.structures).snapshot(profile);
        snapshot.map(|snapshot| slices(&snapshot, element)).unwrap_or_default()
    }

    /// The URLs of the logical models that are loaded, sorted.
    pub fn logical_models(&self) -> Vec<&str> {
        let mut urls: Vec<&str> = self.models.keys().map(|url| &**url).collect();
        urls.sort_unstable();
        urls
    }

    /// What the loaded definitions ask for and this version does not check, a line each.
    pub fn not_checked(&self) -> &[String] {
        &self.notes
    }

    /// Constraints of the loaded definitions that cannot mean what they say: an element that a type does not have,
    /// values that are never equal. Warnings, each with the profile's URL, `#` and the key as its rule. They are
    /// evaluated all the same.
    pub fn doubtful_constraints(&self) -> &[Issue] {
        &self.doubts
    }

    /// Adds the shape of a profile, in which what it derives from is included; false if it is not loaded.
    fn activate<'a>(&'a self, url: &str, shapes: &mut Shapes<'a>) -> bool {
        let Some(profile) = self.profile(without_version(url)) else { return false };
        if !shapes.iter().any(|shape| std::ptr::eq(*shape, &raw const profile.shape)) {
            shapes.push(&profile.shape);
        }
        true
    }

    /// Whether the profile `url` is `ancestor` or derives from it.
    fn derives(&self, url: &str, ancestor: &str) -> bool {
        let mut at = Some(without_version(url));
        // A circle of bases has been refused when the snapshots were made; the bound costs nothing.
        for _ in 0..100 {
            match at {
                Some(url) if url == ancestor => return true,
                Some(url) => at = self.profile(url).and_then(|profile| profile.base.as_deref()),
                None => return false,
            }
        }
        false
    }

    /// The resource or data type that a loaded profile constrains.
    fn type_of(&self, url: &str) -> Option<&str> {
        self.profile(url).map(|profile| &*profile.type_name)
    }

    /// Whether an extension may stand among modifier extensions, and only there.
    fn is_modifier(&self, url: &str) -> bool {
        self.profile(without_version(url)).is_some_and(|profile| profile.is_modifier)
    }

    /// Where an extension may stand.
    fn contexts(&self, url: &str) -> &[Context] {
        self.profile(url).map_or(&[], |profile| &profile.contexts)
    }

    /// Whether the URL is that of a base type, whose rules always hold.
    fn is_base(&self, url: &str) -> bool {
        without_version(url).strip_prefix(R4).is_some_and(|name| schema().type_named(name).is_some())
    }
}

impl Profile {
    fn new(structure: &StructureDefinition, shape: Shape) -> Profile {
        let base = (!structure.base.starts_with(R4)).then(|| structure.base.as_str().into());
        let type_name = structure.type_name.as_str().into();
        let is_modifier = structure.elements.first().is_some_and(|root| root.is_modifier == Some(true));
        let version = structure.version.as_deref().map(Box::from);
        Profile { shape, base, version, type_name, is_modifier, contexts: Context::of(structure) }
    }
}

/// Definitions by kind.
#[derive(Default)]
struct Definitions {
    structures: Vec<StructureDefinition>,
    value_sets: Vec<ValueSetDefinition>,
    code_systems: Vec<CodeSystemDefinition>,
    questionnaires: HashMap<Box<str>, Document>,
    measures: HashMap<Box<str>, Document>,
    globals: Vec<(Box<str>, Box<str>)>,
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
            None if document.resource_type() == Some("Questionnaire") => keep(document, &mut self.questionnaires),
            None if document.resource_type() == Some("Measure") => keep(document, &mut self.measures),
            None if document.resource_type() == Some("ImplementationGuide") => self.add_globals(document.root()),
            None => {
                let what = document.resource_type().unwrap_or("a document without resourceType");
                self.notes.push(format!("{what} is no definition that a validator reads"));
            }
        }
    }
}

fn keep(document: &Document, known: &mut HashMap<Box<str>, Document>) {
    if let Some(url) = document.root().child(keys().url).and_then(Node::text) {
        known.insert(without_version(&url).into(), document.clone());
    }
}

impl Definitions {
    fn add_globals(&mut self, guide: Node<'_>) {
        for global in guide.items_of("global") {
            let text = |name| global.child(name).and_then(Node::text);
            if let (Some(kind), Some(profile)) = (text(keys().kind), text(keys().profile)) {
                self.globals.push((kind.into(), without_version(&profile).into()));
            }
        }
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
