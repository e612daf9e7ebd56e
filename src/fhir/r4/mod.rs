//! Facts of FHIR R4 (4.0.1): elements, cardinalities, types, bindings and constraint expressions.
//!
//! The tables beside this file are written by `tools/r4-tables.py` from the official definition bundles. A row of
//! `elements.tsv` either opens a type (`type`, kind, base type) or, indented by a tab, holds one element: path,
//! minimum, maximum, types, binding (`strength:value set`), flags (`M` modifier, `S` sliced by `url`), constraint keys,
//! limits; empty cells at its end are left out. `constraints.tsv` holds the constraints' expressions and the types that
//! state them, `profiles.tsv` what R4's own profiles and extensions change. `codesystems.tsv`, `displays.tsv`
//! and `valuesets.tsv`, written by `tools/r4-terminology.py`, hold the code systems and value sets of R4, v2 and v3.

mod profiles;
mod schema;

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

pub use profiles::{profile, profile_urls};
pub use schema::{ElementDef, Schema, TypeDef, TypeKind, TypeRef, schema};

use super::FixedMap;
use super::terminology::{CodeSystemDefinition, Include, ValueSetDefinition};

const ELEMENTS: &str = include_str!("elements.tsv");

/// A row of the element table, as written.
#[derive(Clone, Copy, Debug)]
pub struct ElementRow {
    /// `Patient.name`, `Observation.value[x]`.
    pub path: &'static str,
    /// Smallest number of occurrences.
    pub min: &'static str,
    /// Largest number of occurrences: a number or `*`.
    pub max: &'static str,
    /// `string`, `Reference(Patient|Group)`, `Quantity[SimpleQuantity]`, `#Bundle.link`; several joined by a comma.
    pub types: &'static str,
    /// `required:http://…`, or empty.
    pub binding: &'static str,
    /// `M` for a modifier element, `S` for extensions told apart by their `url`.
    pub flags: &'static str,
    /// Constraint keys joined by a comma; their expressions stand in `constraints.tsv`.
    pub constraints: &'static str,
    /// `maxLength=…`, `minValueInteger=…`; several joined by a comma.
    pub limits: &'static str,
}

/// A type of R4 with its elements, in the order of the specification.
#[derive(Clone, Copy, Debug)]
pub struct TypeRow {
    /// `Patient`, `HumanName`, `code`.
    pub name: &'static str,
    /// `resource`, `complex-type` or `primitive-type`, with `!` behind it when abstract.
    pub kind: &'static str,
    /// The type this one specialises; empty for `Element` and `Resource`.
    pub base: &'static str,
    rows: &'static str,
}

impl TypeRow {
    /// The elements; the first is the type itself.
    pub fn elements(&self) -> impl Iterator<Item = ElementRow> + use<> {
        self.rows.lines().map(|line| {
            let mut cells = line.trim_start_matches('\t').split('\t');
            let mut cell = || cells.next().unwrap_or_default();
            ElementRow {
                path: cell(),
                min: cell(),
                max: cell(),
                types: cell(),
                binding: cell(),
                flags: cell(),
                constraints: cell(),
                limits: cell(),
            }
        })
    }
}

/// All types of R4, data types first.
pub fn types() -> Vec<TypeRow> {
    let mut types: Vec<TypeRow> = Vec::new();
    let mut rest = ELEMENTS;
    while let Some(head_end) = rest.find('\n') {
        let mut head = rest[..head_end].split('\t');
        let body = &rest[head_end + 1..];
        let mut end = 0;
        for line in body.split_inclusive('\n') {
            if !line.starts_with('\t') {
                break;
            }
            end += line.len();
        }
        let mut cell = || head.next().unwrap_or_default();
        types.push(TypeRow { name: cell(), kind: cell(), base: cell(), rows: &body[..end] });
        rest = &body[end..];
    }
    types
}

/// The type of R4 called `name`.
pub fn type_row(name: &str) -> Option<TypeRow> {
    static ROWS: LazyLock<HashMap<&'static str, TypeRow>> =
        LazyLock::new(|| types().into_iter().map(|row| (row.name, row)).collect());
    ROWS.get(name).copied()
}

/// A constraint of R4.
#[derive(Clone, Copy, Debug)]
pub struct ConstraintRow {
    /// Its key; where R4 uses one key for several rules, with `@` and a type behind it in all but the first.
    pub key: &'static str,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// FHIRPath.
    pub expression: &'static str,
    /// The type that states it.
    pub source: &'static str,
}

/// The constraints of R4 with the types that state them.
pub fn constraint_rows() -> impl Iterator<Item = ConstraintRow> {
    include_str!("constraints.tsv").lines().filter_map(|line| {
        let mut cells = line.split('\t');
        Some(ConstraintRow {
            key: cells.next()?,
            severity: cells.next()?,
            expression: cells.next()?,
            source: cells.next()?,
        })
    })
}

/// The constraints of R4: key, severity, FHIRPath expression.
pub fn constraints() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    constraint_rows().map(|row| (row.key, row.severity, row.expression))
}

/// Rows of a table by their first cell; rows with the same one stand together.
type Rows = FixedMap<&'static str, &'static str>;

fn rows(table: &'static str) -> Rows {
    let mut rows: HashMap<&'static str, (usize, usize)> = HashMap::new();
    let mut at = 0;
    for line in table.split_inclusive('\n') {
        let key = line.split('\t').next().unwrap_or_default();
        let end = at + line.len();
        rows.entry(key).and_modify(|row| row.1 = end).or_insert((at, end));
        at = end;
    }
    rows.into_iter().map(|(key, (start, end))| (key, &table[start..end])).collect()
}

static CODE_SYSTEMS: LazyLock<Rows> = LazyLock::new(|| rows(include_str!("codesystems.tsv")));

/// The URLs of the code systems that [`code_system`] finds.
pub fn code_system_urls() -> impl Iterator<Item = &'static str> {
    CODE_SYSTEMS.keys().copied()
}

/// The code system of R4, v2 or v3 with this URL, if the tables list it.
pub fn code_system(url: &str) -> Option<CodeSystemDefinition> {
    let mut cells = CODE_SYSTEMS.get(url)?.trim_end_matches('\n').splitn(3, '\t').skip(1);
    let displays = DISPLAYS.get(url).and_then(|row| row.trim_end_matches('\n').split_once('\t'));
    let displays = displays.map_or("", |(_, displays)| displays);
    Some(CodeSystemDefinition::of_row(url, cells.next()?, cells.next()?, displays))
}

/// The displays of the code systems of HL7.
static DISPLAYS: LazyLock<Rows> = LazyLock::new(|| rows(include_str!("displays.tsv")));

static VALUE_SETS: LazyLock<Rows> = LazyLock::new(|| rows(include_str!("valuesets.tsv")));

/// Whether R4, v2 or v3 has a value set with this URL.
pub fn has_value_set(url: &str) -> bool {
    VALUE_SETS.contains_key(url)
}

/// The value set of R4, v2 or v3 with this URL.
pub fn value_set(url: &str) -> Option<ValueSetDefinition> {
    let mut definition = ValueSetDefinition { url: url.to_owned(), ..ValueSetDefinition::default() };
    for line in VALUE_SETS.get(url)?.lines() {
        let (sign, cells) = line.split_once('\t')?.1.split_once('\t')?;
        let side = if sign == "-" { &mut definition.exclude } else { &mut definition.include };
        side.push(Include::of_cells(cells));
    }
    Some(definition)
}

/// `valueQuantity` for `value[x]` and `Quantity`: the spelling of a choice element in JSON (FHIR R4, 2.6.2.1).
pub fn choice_name(stem: &str, type_name: &str) -> String {
    let mut name = stem.to_owned();
    let mut letters = type_name.chars();
    name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
    name.push_str(letters.as_str());
    name
}

/// The type codes of a row's `types` cell, without profiles and reference targets.
pub fn type_codes(types: &str) -> impl Iterator<Item = &str> {
    types.split(',').filter(|code| !code.is_empty()).map(|code| code.split(['(', '[']).next().unwrap_or(code))
}

/// Every element name of R4, each choice element by its stem and in all its spellings, sorted. The strings live as long as the
/// program: expanded names are leaked once, by the only caller, the name table.
pub(super) fn element_names() -> Vec<&'static str> {
    let mut names: BTreeSet<&'static str> = BTreeSet::from(["resourceType", "fhir_comments"]);
    for each in types() {
        for element in each.elements() {
            let Some((_, last)) = element.path.rsplit_once('.') else { continue };
            match last.strip_suffix("[x]") {
                None => {
                    names.insert(last);
                }
                Some(stem) => {
                    names.insert(stem);
                    names.extend(type_codes(element.types).map(|code| {
                        let spelled: &'static str = choice_name(stem, code).leak();
                        spelled
                    }));
                }
            }
        }
    }
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_types_of_r4() {
        let types = types();
        let patient = types.iter().find(|each| each.name == "Patient").expect("Patient is in the table");
        assert_eq!((patient.kind, patient.base), ("resource", "DomainResource"));
        let birth_date = patient.elements().find(|row| row.path == "Patient.birthDate").expect("it has a birthDate");
        assert_eq!((birth_date.min, birth_date.max, birth_date.types), ("0", "1", "date"));
        assert_eq!(types.iter().filter(|each| each.kind == "resource").count(), 146);
    }

    #[test]
    fn meta_has_the_elements_of_r4_and_no_others() {
        let meta = types().into_iter().find(|each| each.name == "Meta").expect("Meta is in the table");
        let paths: Vec<_> = meta.elements().skip(1).map(|row| row.path).collect();
        let expected = ["id", "extension", "versionId", "lastUpdated", "source", "profile", "security", "tag"];
        assert_eq!(paths, expected.map(|name| format!("Meta.{name}")));
    }

    #[test]
    fn a_content_reference_and_a_target_are_kept() {
        let bundle = types().into_iter().find(|each| each.name == "Bundle").expect("Bundle is in the table");
        let types: Vec<_> = bundle.elements().map(|row| (row.path, row.types)).collect();
        assert!(types.contains(&("Bundle.entry.link", "#Bundle.link")));
    }

    #[test]
    fn value_sets_and_systems_are_found_by_url() {
        let set = value_set("http://hl7.org/fhir/ValueSet/administrative-gender").expect("R4 has it");
        assert_eq!(set.include[0].system, "http://hl7.org/fhir/administrative-gender");
        let system = code_system(&set.include[0].system).expect("R4 has it");
        let codes: Vec<&str> = system.concepts.iter().map(|concept| &*concept.code).collect();
        assert_eq!(codes, ["male", "female", "other", "unknown"]);
        let names: Vec<&str> = system.concepts.iter().map(|concept| &*concept.names).collect();
        assert_eq!(names, ["Male", "Female", "Other", "Unknown"]);
        let act = value_set("http://terminology.hl7.org/ValueSet/v3-ActEncounterCode").expect("v3 has it");
        assert_eq!(act.include.iter().map(|each| each.filters.len()).sum::<usize>(), 1);
        assert!(value_set("http://hl7.org/fhir/ValueSet/nothing").is_none());
        assert!(has_value_set("http://hl7.org/fhir/ValueSet/administrative-gender"));
        assert!(!has_value_set("http://hl7.org/fhir/ValueSet/nothing"));
        assert!(code_system("http://snomed.info/sct").is_none());
    }

    #[test]
    fn displays_stand_beside_the_codes_they_belong_to() {
        let urls: Vec<&str> = DISPLAYS.keys().copied().collect();
        assert!(urls.len() > 1000);
        for url in urls {
            let system = code_system(url).unwrap_or_else(|| panic!("{url} has displays and no codes"));
            let displays = DISPLAYS[url].trim_end_matches('\n').split('\t').nth(1).expect("a row has two cells");
            assert_eq!(displays.split('|').count(), system.concepts.len(), "{url}");
        }
    }

    #[test]
    fn every_constraint_has_an_expression() {
        assert!(constraints().count() > 150);
        assert!(
            constraints()
                .all(|(_, severity, expression)| { matches!(severity, "error" | "warning") && !expression.is_empty() })
        );
    }
}
