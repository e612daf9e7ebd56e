//! Rules on the resources that define others: canonical URLs, CodeSystem properties, ValueSet filters, and
//! StructureDefinitions that make sense over their base.

use super::bundle::is_absolute;
use super::ecl;
use super::walk::Walk;
use crate::fhir::definitions::Definition;
use crate::fhir::outcome::IssueType;
use crate::fhir::r4::{TypeDef, schema};
use crate::fhir::snapshot::{Error, Snapshots};
use crate::fhir::uk::{SNOMED_CT, is_snomed_id};
use crate::fhir::{Document, Limits, NameId, Node, keys};

/// Properties that R4 defines for all code systems: URI, and the type of their values.
const PROPERTIES: &[(&str, &str)] = &[
    ("http://hl7.org/fhir/concept-properties#inactive", "boolean"),
    ("http://hl7.org/fhir/concept-properties#deprecated", "dateTime"),
    ("http://hl7.org/fhir/concept-properties#deprecationDate", "dateTime"),
    ("http://hl7.org/fhir/concept-properties#notSelectable", "boolean"),
    ("http://hl7.org/fhir/concept-properties#parent", "code"),
    ("http://hl7.org/fhir/concept-properties#child", "code"),
];

impl<'a> Walk<'a> {
    /// Checks a resource that defines something; does nothing for others.
    pub(super) fn definition(&mut self, node: Node<'a>, def: &'static TypeDef) {
        let Some((element, _)) = def.element(keys().url) else { return };
        if element.is_array() || element.types[0].code != "uri" {
            return;
        }
        if let Some(url) = node.child(keys().url).filter(is_relative) {
            let text = "the canonical URL of a definition is absolute";
            self.error(IssueType::Value, url, "r4-canonical", text, "write the whole URL");
        }
        match def.name {
            "ValueSet" => self.value_set(node),
            "CodeSystem" => self.code_system(node),
            "StructureDefinition" => self.structure_definition(node),
            _ => {}
        }
    }

    fn value_set(&mut self, node: Node<'a>) {
        let parts: Vec<Node<'a>> = ["include", "exclude"]
            .into_iter()
            .flat_map(|side| node.member("compose").into_iter().flat_map(move |compose| compose.items_of(side)))
            .collect();
        for part in parts {
            if let Some(system) = part.child(keys().system).filter(is_relative) {
                let text = "a value set names a code system by its absolute URL";
                self.error(IssueType::Value, system, "r4-canonical", text, "write the whole URL");
            }
            let system = part.text_of("system").unwrap_or_default();
            for filter in part.items_of("filter") {
                self.filter(filter, &system);
            }
        }
    }

    /// A filter's value is one that its property may have.
    fn filter(&mut self, filter: Node<'a>, system: &str) {
        let (Some(property), Some(value)) = (filter.text_of("property"), filter.text_of("value")) else { return };
        let is_flag = matches!(&*property, "notSelectable" | "inactive");
        let (wrong, expected) = match self.validator.terminology.property_type(system, &property) {
            _ if is_flag => (!matches!(&*value, "true" | "false"), "true or false"),
            Some("Coding") => (!value.contains('#'), "a system, # and a code"),
            Some("boolean") => (!matches!(&*value, "true" | "false"), "true or false"),
            _ if system == SNOMED_CT => return self.snomed_filter(filter, &property, &value),
            _ => return,
        };
        if wrong && !matches!(filter.text_of("op").as_deref(), Some("exists" | "regex" | "in" | "not-in")) {
            let text = format!("the value of the filter is none of its property: {expected} expected");
            self.error(IssueType::Invalid, filter, "r4-value-set", text, "correct the value");
        }
    }

    /// The filters that SNOMED CT has (R4 snomedct.html).
    fn snomed_filter(&mut self, filter: Node<'a>, property: &str, value: &str) {
        let op = filter.text_of("op").unwrap_or_default();
        let is_id = |text: &str| is_snomed_id(text.trim());
        let expected = match property {
            "constraint" if !ecl::is_written(value) => "an expression constraint (ECL)",
            "concept" if &*op != "regex" && !value.split(',').all(is_id) => "a SNOMED CT identifier",
            "concept" | "constraint" => return,
            relationship if is_id(relationship) && !matches!(&*op, "=" | "in") => "the operation = or in",
            _ => return,
        };
        let text = format!("the filter is none that SNOMED CT has: {expected} expected");
        self.error(IssueType::Invalid, filter, "r4-value-set", text, "correct the filter");
    }

    fn code_system(&mut self, node: Node<'a>) {
        let declared: Vec<Node<'a>> = node.items_of("property").collect();
        for (place, property) in declared.iter().enumerate() {
            for name in ["code", "uri"] {
                let own = property.text_of(name);
                if own.is_some() && declared[..place].iter().any(|other| other.text_of(name) == own) {
                    let text = format!("another property has the same {name}");
                    self.error(IssueType::Duplicate, *property, "r4-code-system", text, "define each once");
                }
            }
            let known = property.text_of("uri").and_then(|uri| PROPERTIES.iter().find(|(known, _)| uri == *known));
            let Some((uri, kind)) = known else { continue };
            if property.text_of("type").is_some_and(|own| own != *kind) {
                let text = format!("the property {uri} has values of the type {kind}");
                self.error(IssueType::Value, *property, "r4-code-system", text, "correct its type");
            }
        }
        let mut rest: Vec<Node<'a>> = node.items_of("concept").collect();
        while let Some(concept) = rest.pop() {
            for property in concept.items_of("property") {
                self.concept_property(property, &declared);
            }
            rest.extend(concept.items_of("concept"));
        }
        let supplements = node.member("supplements").is_some();
        if supplements && node.text_of("content").is_some_and(|content| content != "supplement") {
            let content = node.member("content").unwrap_or(node);
            let text = "a code system that supplements another has the content supplement";
            self.error(IssueType::Value, content, "r4-code-system", text, "correct CodeSystem.content");
        }
    }

    /// A property of a concept has the type that the code system declares for it.
    fn concept_property(&mut self, property: Node<'a>, declared: &[Node<'a>]) {
        let Some(code) = property.text_of("code") else { return };
        let own = declared.iter().find(|each| each.text_of("code") == Some(code.clone()));
        let Some(kind) = own.and_then(|own| own.text_of("type")) else { return };
        let value = property.children().find_map(|child| child.name()?.strip_prefix("value").map(str::to_owned));
        if value.is_some_and(|value| !value.eq_ignore_ascii_case(&kind)) {
            let text = format!("the property is declared to have values of the type {kind}");
            self.error(IssueType::Value, property, "r4-code-system", text, "correct the value, or the declaration");
        }
    }

    /// Whether a snapshot can be made of it. Without its base, which may be elsewhere, that cannot be told.
    fn structure_definition(&mut self, node: Node<'a>) {
        let Ok(document) = Document::parse(node.raw(), &Limits::default()) else { return };
        let Some(Definition::Structure(structure)) = Definition::read(&document) else { return };
        if structure.specializes || structure.elements.is_empty() {
            return;
        }
        let mut snapshots = Snapshots::of(self.validator.structures.iter().chain([&*structure]));
        match snapshots.snapshot(&structure.url) {
            Ok(_) | Err(Error::NotLoaded { .. }) => {}
            Err(error) => {
                let text = format!("no snapshot can be made: {error}");
                let hint = "correct the differential";
                self.error(IssueType::Invalid, node, "r4-structure-definition", text, hint);
                return;
            }
        }
        let Ok(base) = snapshots.snapshot(&structure.base) else { return };
        let elements = node.member("differential").into_iter().flat_map(|each| each.items_of("element"));
        for (element, stated) in elements.zip(&structure.elements) {
            let fixed = base.element(&stated.id).and_then(|of_base| of_base.fixed.as_ref());
            let differs = fixed.zip(stated.fixed.as_ref()).is_some_and(|(base, own)| base.source() != own.source());
            if differs {
                let text = format!("{}: the base has another fixed value, and a value cannot be both", stated.id);
                let hint = "leave the fixed value out";
                self.error(IssueType::Invalid, element, "r4-structure-definition", text, hint);
            }
            if !stated.path.contains('.') && stated.slicing.is_some() {
                let text = "the root of a definition is not sliced";
                self.error(IssueType::Invalid, element, "sdf-20", text, "remove the slicing");
            }
            self.discriminators(element, &structure.type_name, &stated.path);
        }
    }

    /// A discriminator names an element of what is sliced.
    fn discriminators(&mut self, element: Node<'a>, type_name: &str, path: &str) {
        let slicing = element.member("slicing");
        for discriminator in slicing.into_iter().flat_map(|slicing| slicing.items_of("discriminator")) {
            let first = discriminator.text_of("path").unwrap_or_default();
            let first = first.split('.').next().unwrap_or_default();
            if first.contains(['(', '$']) || first.is_empty() {
                continue;
            }
            let Some(content) = type_at(type_name, path) else { continue };
            if content.element_by_stem(first).is_none() && content.element(NameId::of(first)).is_none() {
                let text = format!("{path} is a {}, which has no element {first}", content.name);
                let hint = "name an element that tells the slices apart";
                self.error(IssueType::Invalid, discriminator, "r4-structure-definition", text, hint);
            }
        }
    }
}

/// The only type that R4 has at a path; `None` where there are several, or the path is none of R4's.
fn type_at(type_name: &str, path: &str) -> Option<&'static TypeDef> {
    let mut at = schema().type_named(type_name)?;
    for step in path.split('.').skip(1) {
        let element = at.element_by_stem(step.strip_suffix("[x]").unwrap_or(step))?;
        at = match element.types.as_slice() {
            [only] if only.code != "Resource" => schema().type_named(only.code)?,
            _ => return None,
        };
    }
    Some(at)
}

fn is_relative(value: &Node<'_>) -> bool {
    value.text().is_some_and(|text| !is_absolute(&text))
}
