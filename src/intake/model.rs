//! A logical model as its records are read by that are not JSON: the columns of CSV, the segments of HL7 v2.
//!
//! Enters: a StructureDefinition of kind `logical`. Leaves: its elements as a tree, each with its type, whether it
//! repeats, and its place in an HL7 v2 message, where its `mapping` with the identity `hl7v2` says one: `PID` for a
//! segment, `PID-5` for a field, `PID-5.1` for a component, `PID-5.1.1` for a subcomponent.

use crate::fhir::definitions::{Definition, ElementDefinition};
use crate::fhir::{Document, Node};

/// What a logical model says that a reader of another format than JSON asks for.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The elements of a record.
    pub(super) elements: Vec<Element>,
    /// What times in HL7 v2 messages are by that have no offset.
    pub(super) clock: Clock,
}

/// What a time in an HL7 v2 message is by that has no offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The offset of MSH-7; without one, such a time is a fault.
    #[default]
    Message,
    /// The offset of MSH-7; without one, this: `+00:00`.
    Offset(Box<str>),
    /// A clock in the UK at that time, whatever MSH-7 has.
    Uk,
}

/// An element of a record.
#[derive(Clone, Debug)]
pub(super) struct Element {
    /// `birthDate`
    pub(super) name: Box<str>,
    /// Whether it may occur more than once: an array in JSON.
    pub(super) repeats: bool,
    pub(super) kind: Kind,
    /// Those below it.
    pub(super) elements: Vec<Element>,
    /// Where it is in an HL7 v2 message.
    pub(super) place: Option<Place>,
}

/// What the value of an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has elements of its own.
    Group,
    Text,
    /// An integer or a decimal: its digits stay as they are written.
    Number,
    Boolean,
    Date,
    /// A date, or a time with its offset.
    Time,
}

/// Where an element is in an HL7 v2 message. Fields, components and subcomponents count from 1; 0 for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `PID`
    pub(super) segment: Box<str>,
    pub(super) field: u16,
    pub(super) component: u16,
    pub(super) subcomponent: u16,
}

impl Model {
    /// Reads a definition; `None` for one that is no logical model.
    pub fn of(definition: &Document) -> Option<Model> {
        let Some(Definition::Structure(read)) = Definition::read(definition) else { return None };
        if read.kind != "logical" {
            return None;
        }
        let view = if read.is_snapshot { "snapshot" } else { "differential" };
        let written = definition.root().member(view).into_iter().flat_map(|view| view.items_of("element"));
        let all: Vec<(&ElementDefinition, Option<Place>)> = read.elements.iter().zip(written.map(place)).collect();
        let root = all.first()?.0.path.clone();
        Some(Model { elements: below(&all, &root), clock: Clock::Message })
    }

    /// The same with a clock for times in HL7 v2 messages that have no offset.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Model {
        Model { clock, ..self }
    }

    /// Whether it says where its elements are in HL7 v2 messages.
    pub fn reads_hl7v2(&self) -> bool {
        self.elements.iter().any(|element| element.place.is_some())
    }

    /// The names of its primitive elements as columns are headed: `person.given`.
    pub fn columns(&self) -> Vec<String> {
        let mut columns = Vec::new();
        self.elements.iter().for_each(|element| element.push_columns("", &mut columns));
        columns
    }
}

impl Element {
    pub(super) fn element(&self, name: &str) -> Option<&Element> {
        self.elements.iter().find(|element| *element.name == *name)
    }

    fn push_columns(&self, above: &str, columns: &mut Vec<String>) {
        let mut path = format!("{above}{}", self.name);
        if self.kind != Kind::Group {
            columns.push(path);
            return;
        }
        path.push('.');
        self.elements.iter().for_each(|element| element.push_columns(&path, columns));
    }
}

/// The elements right below `above`, in the order of the definition.
fn below(all: &[(&ElementDefinition, Option<Place>)], above: &str) -> Vec<Element> {
    let direct = all.iter().filter_map(|(definition, place)| {
        let (parent, name) = definition.path.rsplit_once('.')?;
        (parent == above && definition.slice_name.is_none()).then_some((definition, place, name))
    });
    let element = |(definition, place, name): (&&ElementDefinition, &Option<Place>, &str)| {
        let elements = below(all, &definition.path);
        let code = definition.types.as_ref().and_then(|types| types.first()).map_or("", |first| first.code.as_str());
        Element {
            name: name.into(),
            repeats: definition.max.as_deref().is_some_and(|max| max != "1" && max != "0"),
            kind: if elements.is_empty() { kind(code) } else { Kind::Group },
            elements,
            place: place.clone(),
        }
    };
    direct.map(element).collect()
}

fn kind(code: &str) -> Kind {
    match code {
        "integer" | "positiveInt" | "unsignedInt" | "decimal" => Kind::Number,
        "boolean" => Kind::Boolean,
        "date" => Kind::Date,
        "dateTime" | "instant" => Kind::Time,
        _ => Kind::Text,
    }
}

/// The place in HL7 v2 that an ElementDefinition maps to.
fn place(element: Node<'_>) -> Option<Place> {
    let mapping = element.items_of("mapping").find(|each| each.text_of("identity").as_deref() == Some("hl7v2"))?;
    let text = mapping.text_of("map")?;
    let (segment, numbers) = text.split_once('-').unwrap_or((&text, ""));
    let mut numbers = numbers.split('.').map(|number| number.parse().unwrap_or(0));
    let mut number = || numbers.next().unwrap_or(0);
    Some(Place { segment: segment.into(), field: number(), component: number(), subcomponent: number() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fhir::Limits;

    /// The logical model of a record with elements of each kind.
    pub(in crate::intake) fn sample() -> Model {
        let element = |path: &str, max: &str, code: &str, map: &str| {
            let mapping = if map.is_empty() {
                String::new()
            } else {
                format!(r#","mapping":[{{"identity":"other","map":"x"}},{{"identity":"hl7v2","map":"{map}"}}]"#)
            };
            format!(r#"{{"path":"R{path}","min":0,"max":"{max}","type":[{{"code":"{code}"}}]{mapping}}}"#)
        };
        let group = "BackboneElement";
        let elements = [
            r#"{"path":"R"}"#.to_owned(),
            element(".MSH", "1", group, "MSH"),
            element(".MSH.controlId", "1", "string", "MSH-10"),
            element(".MSH.at", "1", "dateTime", "MSH-7"),
            element(".PID", "1", group, "PID"),
            element(".PID.number", "*", group, "PID-3"),
            element(".PID.number.id", "1", "string", "PID-3.1"),
            element(".PID.number.authority", "1", "string", "PID-3.4.1"),
            element(".PID.name", "1", group, "PID-5"),
            element(".PID.name.family", "1", "string", "PID-5.1.1"),
            element(".PID.name.given", "1", "string", "PID-5.2"),
            element(".PID.born", "1", "date", "PID-7"),
            element(".OBX", "*", group, "OBX"),
            element(".OBX.value", "*", "string", "OBX-5"),
            element(".OBX.at", "1", "dateTime", "OBX-14"),
            element(".id", "1", "string", ""),
            element(".count", "1", "integer", ""),
            element(".weight", "1", "decimal", ""),
            element(".known", "1", "boolean", ""),
            element(".tags", "*", "string", ""),
            element(".risks", "*", group, ""),
            element(".risks.level", "1", "code", ""),
            element(".risks.notes", "*", "string", ""),
        ];
        let text = format!(
            r#"{{"resourceType":"StructureDefinition","url":"https://x/R","kind":"logical","type":"https://x/R",
            "differential":{{"element":[{}]}}}}"#,
            elements.join(",")
        );
        let document = Document::parse(text, &Limits::default()).expect("it is JSON");
        Model::of(&document).expect("it is a logical model")
    }

    #[test]
    fn a_model_is_a_tree_with_types_and_places() {
        let model = sample();
        let at = |name: &str| model.elements.iter().find(|element| *element.name == *name).expect("it is there");
        assert_eq!((at("count").kind, at("known").kind, at("tags").repeats), (Kind::Number, Kind::Boolean, true));
        let born = at("PID").element("born").expect("it is there");
        let place = Place { segment: "PID".into(), field: 7, component: 0, subcomponent: 0 };
        assert_eq!((born.kind, &born.place), (Kind::Date, &Some(place)));
        assert!(model.reads_hl7v2() && at("id").place.is_none());
        assert!(model.columns().contains(&"risks.level".to_owned()), "{:?}", model.columns());
    }

    #[test]
    fn a_profile_is_no_model() {
        let text = r#"{"resourceType":"StructureDefinition","url":"https://x/P","kind":"resource","type":"Patient",
            "differential":{"element":[{"path":"Patient"}]}}"#;
        assert!(Model::of(&Document::parse(text, &Limits::default()).expect("it is JSON")).is_none());
    }
}
