//! Base R4 compiled from the tables: each type's elements with formats, bindings and invariants.

use std::collections::HashMap;
use std::sync::Arc;

use super::gate::ElementSet;
use super::native::Native;
use super::plan::{BasePlan, Binding, Content, ElementPlan, Invariant, Rule, Strength, TypePlan};
use super::primitives::Format;
use super::terminology::Terminology;
use crate::fhir::outcome::Severity;
use crate::fhir::r4::{ElementDef, TypeDef, TypeKind, constraints, schema};
use crate::fhir::{FixedMap, NameId};
use crate::fhirpath::{Expression, Reach};

/// Invariants that the walk or the reference check implements in Rust, because FHIRPath cannot say them in linear time
/// or at all (`htmlChecks()`).
const NATIVE: &[&str] = &["ele-1", "ext-1", "dom-3", "txt-1", "txt-2", "ref-1", "bdl-7"];

/// Expressions of R4 that say something else than the text beside them, as the text has it. Corrected in later versions.
const ERRATA: &[(&str, &str)] = &[
    ("que-12", "enableWhen.count() > 1 implies enableBehavior.exists()"),
    (
        "eld-11",
        "binding.empty() or type.code.empty() or type.where((code = 'code') or (code = 'Coding') or \
         (code = 'CodeableConcept') or (code = 'Quantity') or (code = 'string') or (code = 'uri')).exists()",
    ),
    // `matches` looks for a part; the whole path is meant.
    (
        "eld-19",
        r#"path.matches('^[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\.[^\\s\\.,:;\\\'"\\/|?!@#$%&*()\\[\\]{}]{1,64}(\\[x\\])?(\\:[^\\s\\.]+)?)*$')"#,
    ),
];

/// Compiles base R4. Says in `notes` which invariants cannot be run.
pub(super) fn compile(terminology: &mut Terminology, notes: &mut Vec<String>) -> BasePlan {
    let invariants = invariants(notes);
    let mut defs: Vec<&'static TypeDef> = schema().all().collect();
    defs.sort_by_key(|def| def.name);
    let by_name: FixedMap<&'static str, usize> =
        defs.iter().enumerate().map(|(index, def)| (def.name, index)).collect();
    let mut types: Vec<TypePlan> = defs.iter().map(|def| type_plan(def, &by_name, &invariants, terminology)).collect();
    while widen(&mut types) {}
    BasePlan { types, by_name }
}

/// Adds to each type's reach that of the types of its elements. Whether that changed any. What holds a resource looks as
/// far as any resource may, whose profiles are not known here; but for one that contains resources, which never leave.
fn widen(types: &mut [TypePlan]) -> bool {
    let mut changed = false;
    for place in 0..types.len() {
        let of = |element: &ElementPlan| {
            let reaches = element.contents.iter().map(|content| match content {
                Content::Complex(index) => types[*index].reach,
                Content::Resource if element.def.stem != "contained" => Reach::Document,
                Content::Primitive(..) | Content::Resource => Reach::Focus,
            });
            reaches.max().unwrap_or_default()
        };
        let reach = types[place].elements.iter().map(of).max().unwrap_or_default().max(types[place].reach);
        changed |= reach != types[place].reach;
        types[place].reach = reach;
    }
    changed
}

fn invariants(notes: &mut Vec<String>) -> HashMap<&'static str, Arc<Invariant>> {
    let mut all = HashMap::new();
    for (key, severity, expression) in constraints().filter(|(key, ..)| !NATIVE.contains(key)) {
        let expression = ERRATA.iter().find(|(own, _)| *own == key).map_or(expression, |(_, corrected)| *corrected);
        // Their types are not checked here: R4's table does not change, and its errors (con-3, cid-0) are known.
        match Expression::parse(expression) {
            Ok(parsed) => {
                let severity = if severity == "warning" { Severity::Warning } else { Severity::Error };
                let rule = key.split('@').next().unwrap_or(key);
                let text = format!("{rule}: {expression}").into();
                let native = Native::of(expression);
                all.insert(key, Arc::new(Invariant { rule: rule.into(), severity, text, native, expression: parsed }));
            }
            Err(error) => notes.push(format!("base invariant {key} cannot be compiled: {error}")),
        }
    }
    all
}

fn type_plan(
    def: &'static TypeDef,
    by_name: &FixedMap<&'static str, usize>,
    invariants: &HashMap<&'static str, Arc<Invariant>>,
    terminology: &mut Terminology,
) -> TypePlan {
    let run = |keys: &[&'static str], def: Option<&'static TypeDef>| {
        let known = keys.iter().filter_map(|key| invariants.get(key).cloned());
        known.map(|invariant| Rule::on(invariant, def)).collect()
    };
    let mut elements = Vec::with_capacity(def.elements.len());
    for (place, element) in def.elements.iter().enumerate() {
        let only = match element.types.as_slice() {
            [only] => schema().type_named(only.code),
            _ => None,
        };
        elements.push(ElementPlan {
            def: element,
            place,
            stem: NameId::of(element.stem),
            contents: element.types.iter().map(|each| content(element, each.code, by_name)).collect(),
            binding: binding(element, terminology),
            invariants: run(&element.constraints, only),
        });
    }
    let those = |is: fn(&ElementDef) -> bool| -> ElementSet {
        (0..elements.len()).filter(|&place| is(&def.elements[place])).collect()
    };
    let (required, id) = (those(|element| element.min > 0), those(|element| element.stem == "id"));
    let invariants: Vec<Rule> = run(&def.constraints, Some(def));
    let rules = invariants.iter().chain(elements.iter().flat_map(|element| &element.invariants));
    let reach = rules.map(|rule| rule.invariant.expression.reach()).max().unwrap_or_default();
    TypePlan { def, elements, required, id, invariants, reach }
}

fn content(element: &ElementDef, code: &str, by_name: &FixedMap<&'static str, usize>) -> Content {
    if matches!(code, "Resource" | "DomainResource") {
        return Content::Resource;
    }
    let primitive = schema().type_named(code).filter(|each| each.kind == TypeKind::Primitive);
    // R4 types the id of a resource as a string; its rule is that of id (R4 resource.html).
    let is_resource_id = element.stem == "id"
        && element.path.split_once('.').is_some_and(|(owner, last)| last == "id" && schema().is_a(owner, "Resource"));
    match (primitive, Format::named(if is_resource_id { "id" } else { code })) {
        (Some(def), Some(format)) => Content::Primitive(format, def),
        _ => Content::Complex(by_name[code]),
    }
}

fn binding(element: &ElementDef, terminology: &mut Terminology) -> Option<Binding> {
    let (strength, url) = element.binding.split_once(':')?;
    let strength = match strength {
        "required" => Strength::Required,
        "extensible" => Strength::Extensible,
        _ => return None, // Base R4's preferred bindings are advice to profiles.
    };
    Some(Binding { strength, value_set: terminology.named(url) })
}
