//! StructureDefinition, ValueSet and CodeSystem read from documents: what a validator compiles.
//!
//! Reading loses nothing silently: a constraint that these types have no field for is named in
//! [`ElementDefinition::other`], so that whoever compiles them can say that it is not checked.

use super::terminology::{CodeSystemDefinition, ValueSetDefinition, code_system, value_set};
use super::{Document, Limits, Node, up_to_byte};

/// The profile of the Tasks by which a message says what its record lacks.
pub const MISSING_TASK: &str = "https://weir.example/fhir/StructureDefinition/weir-missing-information-task";

/// A StructureDefinition with its differential.
#[derive(Debug)]
pub struct StructureDefinition {
    /// The canonical URL, without a version.
    pub url: String,
    /// Its business version.
    pub version: Option<String>,
    /// `resource`, `complex-type`, `primitive-type`, `logical`.
    pub kind: String,
    /// The constrained type: `Patient`, `Extension`; a URL for a logical model.
    pub type_name: String,
    /// The canonical URL of what this one constrains.
    pub base: String,
    /// Whether it adds elements to its base (`specialization`), as logical models do, instead of constraining it.
    pub specializes: bool,
    /// Where an extension may stand: type of context and expression.
    pub contexts: Vec<(String, String)>,
    /// The elements of the differential, in order; the first is the root.
    pub elements: Vec<ElementDefinition>,
    /// It has no differential, and `elements` are those of its snapshot.
    pub is_snapshot: bool,
}

/// One element of a differential.
#[derive(Debug, Default)]
pub struct ElementDefinition {
    /// `Patient.identifier:nhsNumber.system`.
    pub id: String,
    /// `Patient.identifier.system`.
    pub path: String,
    /// The name of the slice this element defines.
    pub slice_name: Option<String>,
    /// Smallest number of occurrences.
    pub min: Option<u32>,
    /// Largest: a number or `*`.
    pub max: Option<String>,
    /// The types it may have; `None` where the differential says nothing.
    pub types: Option<Vec<TypeUse>>,
    /// `fixed[x]`.
    pub fixed: Option<Document>,
    /// `pattern[x]`.
    pub pattern: Option<Document>,
    /// The element whose content this one has: `#Bundle.link`.
    pub content_reference: Option<String>,
    /// Most characters of a string.
    pub max_length: Option<u32>,
    /// `minValue[x]`.
    pub min_value: Option<Document>,
    /// `maxValue[x]`.
    pub max_value: Option<Document>,
    /// Whether it must be supported.
    pub must_support: Option<bool>,
    /// Whether it changes the meaning of its parent.
    pub is_modifier: Option<bool>,
    /// Strength and value set, without a version.
    pub binding: Option<(String, String)>,
    /// The strength, also where a differential names no value set and means that of the base.
    pub binding_strength: Option<String>,
    /// Invariants.
    pub constraints: Vec<ConstraintDefinition>,
    /// How its occurrences are told apart.
    pub slicing: Option<SlicingDefinition>,
    /// Constraining members that have no field here.
    pub other: Vec<String>,
}

/// A type an element may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeUse {
    /// `string`, `Reference`.
    pub code: String,
    /// Profiles on the type; any of them.
    pub profiles: Vec<String>,
    /// Profiles on what a reference points to; any of them.
    pub targets: Vec<String>,
    /// Where the target of a reference may be: `contained`, `referenced`, `bundled`; empty for anywhere.
    pub aggregation: Vec<String>,
    /// Whether a reference must name a version: `either`, `independent`, `specific`.
    pub versioning: Option<String>,
}

/// An invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConstraintDefinition {
    /// Its key.
    pub key: String,
    /// `error` or `warning`.
    pub severity: String,
    /// What it asks for, in words.
    pub human: String,
    /// FHIRPath; empty if it has none.
    pub expression: String,
    /// The canonical URL of the definition that states it; in a differential often left out.
    pub source: Option<String>,
}

/// How occurrences are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicingDefinition {
    /// Type of discriminator and path.
    pub discriminators: Vec<(String, String)>,
    /// Whether the slices must stand in the order of their definition.
    pub ordered: bool,
    /// `open`, `closed`, `openAtEnd`.
    pub rules: String,
}

/// A definition that a validator compiles.
#[derive(Debug)]
pub enum Definition {
    /// A profile, an extension or a logical model.
    Structure(Box<StructureDefinition>),
    /// A ValueSet.
    ValueSet(ValueSetDefinition),
    /// A CodeSystem.
    CodeSystem(CodeSystemDefinition),
}

impl Definition {
    /// Reads a definition; `None` for a resource of another type, or one without a URL.
    pub fn read(document: &Document) -> Option<Definition> {
        let root = document.root();
        let url = without_version(&text(root, "url")?).to_owned();
        Some(match root.resource_type()? {
            "StructureDefinition" => Definition::Structure(Box::new(structure(root, url))),
            "ValueSet" => Definition::ValueSet(value_set(root, url)),
            "CodeSystem" => Definition::CodeSystem(code_system(root, url)),
            _ => return None,
        })
    }
}

/// A canonical URL without its `|version`.
pub fn without_version(canonical: &str) -> &str {
    up_to_byte(canonical, b'|')
}

fn text(node: Node<'_>, name: &str) -> Option<String> {
    Some(node.member(name)?.scalar()?.into_owned())
}

fn texts(node: Node<'_>, name: &str) -> Vec<String> {
    node.items_of(name).filter_map(|each| Some(each.scalar()?.into_owned())).collect()
}

fn canonicals(node: Node<'_>, name: &str) -> Vec<String> {
    texts(node, name).iter().map(|url| without_version(url).to_owned()).collect()
}

fn structure(root: Node<'_>, url: String) -> StructureDefinition {
    let contexts = root.items_of("context").filter_map(|each| Some((text(each, "type")?, text(each, "expression")?)));
    let elements = |view: &str| -> Vec<ElementDefinition> {
        let mut elements = Vec::new();
        for node in root.member(view).into_iter().flat_map(|each| each.items_of("element")) {
            let mut element = element(node);
            if element.id.is_empty() {
                element.id = id_of(&element, &elements);
            }
            elements.push(element);
        }
        elements
    };
    let differential = elements("differential");
    let snapshot = if differential.is_empty() { elements("snapshot") } else { Vec::new() };
    let is_snapshot = !snapshot.is_empty();
    StructureDefinition {
        url,
        version: text(root, "version"),
        kind: text(root, "kind").unwrap_or_default(),
        type_name: text(root, "type").unwrap_or_default(),
        base: text(root, "baseDefinition").map(|base| without_version(&base).to_owned()).unwrap_or_default(),
        contexts: contexts.collect(),
        specializes: text(root, "derivation").as_deref() == Some("specialization"),
        elements: if is_snapshot { snapshot } else { differential },
        is_snapshot,
    }
}

/// Members of an ElementDefinition that constrain nothing, or that have a field of their own.
const READ: &[&str] = &[
    "alias",
    "base",
    "binding",
    "code",
    "comment",
    "condition",
    "constraint",
    "contentReference",
    "definition",
    "example",
    "extension",
    "id",
    "isModifier",
    "isModifierReason",
    "isSummary",
    "label",
    "mapping",
    "max",
    "maxLength",
    "meaningWhenMissing",
    "min",
    "mustSupport",
    "orderMeaning",
    "path",
    "representation",
    "requirements",
    "short",
    "sliceName",
    "slicing",
    "type",
];

fn element(node: Node<'_>) -> ElementDefinition {
    let path = text(node, "path").unwrap_or_default();
    let mut element = ElementDefinition {
        id: text(node, "id").unwrap_or_default(),
        path,
        slice_name: text(node, "sliceName"),
        min: text(node, "min").and_then(|min| min.parse().ok()),
        max: text(node, "max"),
        types: node.member("type").map(|types| types.items().filter_map(type_use).collect()),
        binding: node.member("binding").and_then(|binding| {
            let url = text(binding, "valueSet")?;
            Some((text(binding, "strength")?, without_version(&url).to_owned()))
        }),
        binding_strength: node.member("binding").and_then(|binding| text(binding, "strength")),
        constraints: node.items_of("constraint").filter_map(constraint).collect(),
        slicing: node.member("slicing").map(slicing),
        content_reference: text(node, "contentReference"),
        max_length: text(node, "maxLength").and_then(|length| length.parse().ok()),
        must_support: node.member("mustSupport").and_then(Node::boolean),
        is_modifier: node.member("isModifier").and_then(Node::boolean),
        ..ElementDefinition::default()
    };
    for child in node.children() {
        let Some(name) = child.name() else { continue };
        let is =
            |stem: &str| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with(|l: char| l.is_ascii_uppercase()));
        if is("fixed") {
            element.fixed = copy(child);
        } else if is("pattern") {
            element.pattern = copy(child);
        } else if is("minValue") {
            element.min_value = copy(child);
        } else if is("maxValue") {
            element.max_value = copy(child);
        } else if !READ.contains(&&*name) {
            element.other.push(name.into_owned());
        }
    }
    element
}

/// The id of an element that was written without one: it stands below the last element before it that has its parent's
/// path.
fn id_of(element: &ElementDefinition, before: &[ElementDefinition]) -> String {
    let slice = element.slice_name.as_ref().map(|name| format!(":{name}")).unwrap_or_default();
    below_parent(&element.path, before) + &slice
}

fn below_parent(path: &str, before: &[ElementDefinition]) -> String {
    let Some((parent, name)) = path.rsplit_once('.') else { return path.to_owned() };
    let above = match before.iter().rev().find(|other| other.path == parent) {
        Some(other) => other.id.clone(),
        None => below_parent(parent, before),
    };
    format!("{above}.{name}")
}

fn copy(node: Node<'_>) -> Option<Document> {
    Document::parse(node.raw(), &Limits::default()).ok()
}

fn type_use(node: Node<'_>) -> Option<TypeUse> {
    let code = node.items_of("extension").find_map(fhir_type).or_else(|| text(node, "code"))?;
    let code = match code.strip_prefix("http://hl7.org/fhirpath/System.") {
        Some(system) => {
            let mut letters = system.chars();
            letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
        }
        None => code,
    };
    Some(TypeUse {
        code,
        profiles: canonicals(node, "profile"),
        targets: canonicals(node, "targetProfile"),
        aggregation: texts(node, "aggregation"),
        versioning: text(node, "versioning"),
    })
}

/// The FHIR type of an element whose type code is that of FHIRPath (`structuredefinition-fhir-type`).
fn fhir_type(extension: Node<'_>) -> Option<String> {
    let is_it = text(extension, "url")?.ends_with("/structuredefinition-fhir-type");
    is_it.then(|| text(extension, "valueUrl"))?
}

fn constraint(node: Node<'_>) -> Option<ConstraintDefinition> {
    Some(ConstraintDefinition {
        key: text(node, "key")?,
        severity: text(node, "severity")?,
        human: text(node, "human").unwrap_or_default(),
        expression: text(node, "expression").unwrap_or_default(),
        source: text(node, "source").map(|source| without_version(&source).to_owned()),
    })
}

fn slicing(node: Node<'_>) -> SlicingDefinition {
    let discriminators =
        node.items_of("discriminator").filter_map(|each| Some((text(each, "type")?, text(each, "path")?)));
    SlicingDefinition {
        discriminators: discriminators.collect(),
        ordered: node.member("ordered").and_then(Node::boolean).unwrap_or(false),
        rules: text(node, "rules").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_type_is_read_whatever_its_name() {
        for (code, read) in [("System.String", "string"), ("System.", ""), ("System.Étage", "Étage")] {
            let text = format!(r#"{{"code":"http://hl7.org/fhirpath/{code}"}}"#);
            let document = Document::parse(text, &Limits::default()).expect("it is JSON");
            assert_eq!(type_use(document.root()).map(|each| each.code).as_deref(), Some(read));
        }
    }

    #[test]
    fn what_has_no_field_is_named() {
        let text = r#"{"resourceType":"StructureDefinition","url":"https://x|1","kind":"resource","type":"Patient",
            "differential":{"element":[{"id":"Patient","path":"Patient"},{"path":"Patient.name","short":"n","min":1,
            "maxLength":3,"valueSetOf":"x","patternHumanName":{"family":"A"},"type":[{"code":"HumanName","profile":["https://y|2"]}]}]}}"#;
        let document = Document::parse(text, &Limits::default()).expect("it is JSON");
        let Some(Definition::Structure(read)) = Definition::read(&document) else { panic!("it is a definition") };
        assert_eq!((read.url.as_str(), read.elements.len()), ("https://x", 2));
        let name = &read.elements[1];
        assert_eq!((name.min, name.max.as_deref(), name.id.as_str()), (Some(1), None, "Patient.name"));
        assert_eq!((name.max_length, name.other.as_slice()), (Some(3), ["valueSetOf".to_owned()].as_slice()));
        assert_eq!(name.pattern.as_ref().map(Document::source), Some(r#"{"family":"A"}"#));
        assert_eq!(name.types.as_ref().expect("it has a type")[0].profiles, ["https://y"]);
    }
}
