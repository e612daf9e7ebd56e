//! Where each field of a record goes, as the map alone tells: for documentation, and for whoever reviews a map.
//!
//! Enters: a compiled map. Leaves: for each field the elements that some rule makes of it, each with its rule. Paths, never values.
//! A field that only decides (a `where`, a `check`) has no element. Where an expression takes more than a variable, the fields that it
//! names count.

use std::collections::{BTreeSet, HashSet};

use super::CompiledMap;
use super::coverage::{LEVELS, operands};
use super::plan::{Block, Call, ExpressionPlan, Operand, Plan, Slot, SourcePlan, TargetPlan, Transform};
use super::recorder::words;
use super::types::{Spelling, Type};

/// What becomes of a field by one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldUse {
    /// Its path from the record: `person.nhsNumber`.
    pub field: String,
    /// The element, from its resource: `Patient.identifier.value`; `None` where the field only decides.
    pub element: Option<String>,
    /// The concept map that translates it: `#id`, or its URL.
    pub concept_map: Option<String>,
    /// The rule: an index for [`CompiledMap::rule`].
    pub rule: u32,
}

impl CompiledMap {
    /// Where the fields of a record go, in the order of their paths.
    pub fn fields(&self) -> Vec<FieldUse> {
        let plan = &self.plan;
        let mut walk = Walk { plan, seen: HashSet::new(), uses: BTreeSet::new() };
        walk.group(0, &[(Some(String::new()), String::new()), (None, plan.types.name(plan.root).to_owned())]);
        walk.uses.into_iter().collect()
    }

    /// What a concept map makes of each code; nothing for one that the map does not use.
    pub fn translations(&self, concept_map: &str) -> Vec<(String, String)> {
        self.plan.concepts.iter().find(|each| &*each.name == concept_map).map(|each| each.rows()).unwrap_or_default()
    }
}

/// Of a variable: the field that it holds, and the element that it is.
type Place = (Option<String>, String);

/// The variables of a group.
struct Frame {
    types: Vec<Type>,
    places: Vec<Place>,
}

impl Frame {
    fn field(&self, slot: Slot) -> Option<&String> {
        self.places.get(slot as usize)?.0.as_ref()
    }
}

struct Walk<'p> {
    plan: &'p Plan,
    seen: HashSet<(usize, Vec<Place>)>,
    uses: BTreeSet<FieldUse>,
}

impl Walk<'_> {
    fn group(&mut self, group: usize, places: &[Place]) {
        let depth = |path: &str| path.matches('.').count();
        let too_deep =
            places.iter().any(|(field, element)| depth(element).max(field.as_deref().map_or(0, depth)) > LEVELS);
        if too_deep || !self.seen.insert((group, places.to_vec())) {
            return;
        }
        let plan = &self.plan.groups[group];
        let mut frame = Frame { types: plan.types.clone(), places: places.to_vec() };
        frame.types.resize(plan.slots as usize, Type::Any);
        frame.places.resize(plan.slots as usize, (None, String::new()));
        if let Some(base) = &plan.extends {
            self.call(base, &frame);
        }
        self.block(&plan.block, &mut frame);
    }

    fn call(&mut self, call: &Call, frame: &Frame) {
        let place = |operand: &Operand| match operand {
            Operand::Slot(slot) => frame.places.get(*slot as usize).cloned().unwrap_or_default(),
            _ => (self.fields(operand, frame).into_iter().next(), String::new()),
        };
        let places: Vec<Place> = call.arguments.iter().map(place).collect();
        self.group(call.group, &places);
    }

    fn block(&mut self, block: &Block, frame: &mut Frame) {
        for rule in &block.rules {
            rule.sources.iter().for_each(|source| self.source(rule.rule, source, frame));
            rule.targets.iter().for_each(|target| self.target(rule.rule, target, frame));
            rule.calls.iter().for_each(|call| self.call(call, frame));
            self.block(&rule.block, frame);
        }
    }

    fn source(&mut self, rule: u32, source: &SourcePlan, frame: &mut Frame) {
        let steps = source.element.iter().chain(&source.steps);
        let mut field = frame
            .field(source.context)
            .map(|field| steps.clone().fold(field.clone(), |field, step| below(&field, step)));
        let ty = steps.clone().last().map_or(frame.types[source.context as usize], |step| only(step));
        let ty = source.only.unwrap_or(ty);
        if ty.is_resource() && steps.count() > 0 {
            // What it is in says less than what it is.
            field = field.map(|_| self.plan.types.name(ty).to_owned());
        }
        frame.types[source.slot as usize] = ty;
        frame.places[source.slot as usize].0 = field;
        for expression in [&source.condition, &source.check].into_iter().flatten() {
            for field in self.named(expression, Some(source.slot), frame) {
                self.uses.insert(FieldUse { field, element: None, concept_map: None, rule });
            }
        }
    }

    fn target(&mut self, rule: u32, target: &TargetPlan, frame: &mut Frame) {
        let fields: Vec<String> =
            operands(&target.transform).into_iter().flat_map(|operand| self.fields(operand, frame)).collect();
        let context = target.context.map(|slot| frame.places[slot as usize].1.clone());
        let mut path = match (&context, &target.element) {
            (Some(path), Some(element)) if !path.is_empty() => match element.spellings.as_slice() {
                [one] => format!("{path}.{}", one.name.text()),
                _ => format!("{path}.{}[x]", element.name),
            },
            (Some(path), None) => path.clone(),
            _ => String::new(),
        };
        let made = match (&target.transform, &target.element) {
            (Transform::Create(ty), _) => *ty,
            (_, Some(element)) => only(&element.spellings),
            (_, None) => target.context.map_or(Type::Any, |slot| frame.types[slot as usize]),
        };
        if made.is_resource() {
            path = self.plan.types.name(made).to_owned();
        }
        let concept_map = match &target.transform {
            Transform::Translate(_, index, _) => self.plan.concepts.get(*index).map(|each| each.name.to_string()),
            _ => None,
        };
        if !path.is_empty() && target.element.is_some() {
            for field in &fields {
                let (element, concept_map) = (Some(path.clone()), concept_map.clone());
                self.uses.insert(FieldUse { field: field.clone(), element, concept_map, rule });
            }
        }
        // An extension is called by its URL from then on.
        let named = target.element.as_ref().filter(|element| &*element.name == "url").and(target.context);
        if let (Some(slot), Transform::Copy(Operand::Constant(url, _))) = (named, &target.transform) {
            let place = &mut frame.places[slot as usize].1;
            let end = url.rsplit('/').next().unwrap_or_default();
            if place.ends_with(".extension") {
                place.push_str(&format!("({end})"));
            }
        }
        if let Some(slot) = target.slot {
            frame.types[slot as usize] = made;
            let named_only = target.context.is_none();
            frame.places[slot as usize] = (fields.first().filter(|_| named_only).cloned(), path.clone());
        }
        if let Transform::Implicit(_, Some(group)) = &target.transform {
            self.group(*group, &[(fields.first().cloned(), String::new()), (None, path)]);
        }
    }

    /// The fields that a value is taken from.
    fn fields(&self, operand: &Operand, frame: &Frame) -> Vec<String> {
        let fields = match operand {
            Operand::Slot(slot) => frame.field(*slot).cloned().into_iter().collect(),
            Operand::Constant(..) => Vec::new(),
            Operand::Path(slot, steps) => {
                let field = frame.field(*slot);
                field
                    .map(|field| steps.iter().fold(field.clone(), |field, step| below(&field, step)))
                    .into_iter()
                    .collect()
            }
            Operand::Expression(plan, focus) => self.named(plan, *focus, frame),
        };
        fields.into_iter().filter(|field| !field.is_empty()).collect()
    }

    /// The fields that an expression names: its variables, or what it names below them.
    fn named(&self, plan: &ExpressionPlan, focus: Option<Slot>, frame: &Frame) -> Vec<String> {
        let named = words(plan.expression.text());
        let mut fields = Vec::new();
        for slot in plan.variables.iter().map(|(_, slot)| *slot).chain(focus) {
            let Some(field) = frame.field(slot) else { continue };
            let before = fields.len();
            self.below(frame.types[slot as usize], field, &named, &mut fields);
            if fields.len() == before && !matches!(frame.types[slot as usize], Type::Model(_)) {
                fields.push(field.clone());
            }
        }
        fields.retain(|field| !field.is_empty());
        fields
    }

    /// The fields below a type that `named` has; of one inside another, the inner.
    fn below(&self, ty: Type, at: &str, named: &HashSet<String>, fields: &mut Vec<String>) {
        if !matches!(ty, Type::Model(_)) || at.matches('.').count() > LEVELS {
            return;
        }
        for name in self.plan.types.names(ty) {
            let Some(field) = self.plan.types.field(ty, &name).filter(|_| named.contains(&name)) else { continue };
            let (path, before) = (join(at, &name), fields.len());
            self.below(field.only_type(), &path, named, fields);
            if fields.len() == before {
                fields.push(path);
            }
        }
    }
}

fn only(spellings: &[Spelling]) -> Type {
    match spellings {
        [one] => one.ty,
        _ => Type::Any,
    }
}

fn below(field: &str, spellings: &[Spelling]) -> String {
    spellings.first().map_or_else(|| field.to_owned(), |step| join(field, step.name.text()))
}

fn join(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::super::MapFile;
    use super::*;
    use crate::fhir::{Document, Limits};

    const MAP: &str = "map 'http://x/m' = 'm'\n\
        conceptmap '#sex' {\n prefix s = 'http://s'\n prefix t = 'http://t'\n s:F == t:female\n s:M == t:male\n}\n\
        uses 'http://x/Row' alias Row as source\nuses 'http://hl7.org/fhir/StructureDefinition/Bundle' alias B as target\n\
        group main(source row : Row, target bundle : B) {\n\
          row -> bundle.entry as entry, entry.resource = create('Patient') as patient then {\n\
            row.person as person -> patient then Person(person, patient) \"person\";\n\
            row where (person.sex.empty()) -> patient.active = true \"unknown\";\n\
          } \"patient\";\n\
        }\n\
        group Person(source person, target patient : Patient) {\n\
          person.sex as sex -> patient.gender = translate(sex, '#sex', 'code') \"sex\";\n\
          person.day as day -> patient.birthDate = (day.substring(0, 4) & '-' & day.substring(4, 2)) \"day\";\n\
          person.left as left -> patient.extension as extra, extra.url = 'http://x/left', extra.value = cast(left, 'string') \"left\";\n\
          person -> patient.name as name then {\n\
            person.family as family -> name.family = family \"family\";\n\
          } \"name\";\n\
        }\n";
    const MODEL: &str = r#"{"resourceType":"StructureDefinition","url":"http://x/Row","type":"http://x/Row","kind":"logical",
        "derivation":"specialization","baseDefinition":"http://hl7.org/fhir/StructureDefinition/Element","differential":{"element":[
        {"id":"Row","path":"Row"},
        {"id":"Row.person","path":"Row.person","min":1,"max":"1","type":[{"code":"BackboneElement"}]},
        {"id":"Row.person.sex","path":"Row.person.sex","min":0,"max":"1","type":[{"code":"code"}]},
        {"id":"Row.person.day","path":"Row.person.day","min":0,"max":"1","type":[{"code":"string"}]},
        {"id":"Row.person.family","path":"Row.person.family","min":0,"max":"1","type":[{"code":"string"}]},
        {"id":"Row.person.left","path":"Row.person.left","min":0,"max":"1","type":[{"code":"string"}]}]}}"#;

    #[test]
    fn each_field_is_told_with_the_elements_that_are_made_of_it() {
        let model = Document::parse(MODEL, &Limits::default()).expect("it is JSON");
        let file = MapFile { name: "m.map".to_owned(), text: MAP.to_owned() };
        let map = CompiledMap::compile(&[file], &[model]).unwrap_or_else(|faults| panic!("{}", faults[0]));
        let uses = map.fields();
        let told: Vec<_> = uses
            .iter()
            .map(|each| (&*each.field, each.element.as_deref(), map.rule(each.rule).map(|rule| &*rule.name)))
            .collect();
        assert_eq!(
            told,
            [
                ("person.day", Some("Patient.birthDate"), Some("day")),
                ("person.family", Some("Patient.name.family"), Some("family")),
                ("person.left", Some("Patient.extension(left).valueString"), Some("left")),
                ("person.sex", None, Some("unknown")),
                ("person.sex", Some("Patient.gender"), Some("sex")),
            ]
        );
        let concept_map = uses[4].concept_map.as_deref().expect("it is translated");
        assert_eq!(map.translations(concept_map), [("F".into(), "female".into()), ("M".into(), "male".into())]);
    }

    #[test]
    fn a_field_of_a_resource_in_a_record_is_called_by_its_type() {
        let map = "map 'http://x/m' = 'm'\n\
            uses 'http://hl7.org/fhir/StructureDefinition/Bundle' alias B as source\nuses 'http://x/Row' alias Row as target\n\
            group main(source bundle : B, target row : Row) {\n\
              bundle.id as id -> row.left = cast(id, 'string') \"id\";\n\
              bundle.entry as entry then {\n\
                entry.resource : Patient as patient -> row.person as person then {\n\
                  patient.name as name then { name.family as family -> person.family = family \"family\"; } \"name\";\n\
                } \"patient\";\n\
              } \"entries\";\n\
            }\n";
        let model = Document::parse(MODEL.replace("Row.person.left", "Row.left").as_str(), &Limits::default())
            .expect("it is JSON");
        let file = MapFile { name: "m.map".to_owned(), text: map.to_owned() };
        let map = CompiledMap::compile(&[file], &[model]).unwrap_or_else(|faults| panic!("{}", faults[0]));
        let told: Vec<_> = map.fields().into_iter().filter_map(|each| Some((each.field, each.element?))).collect();
        let pair = |field: &str, element: &str| (field.to_owned(), element.to_owned());
        assert_eq!(told, [pair("Patient.name.family", "Row.person.family"), pair("id", "Row.left")]);
    }
}
