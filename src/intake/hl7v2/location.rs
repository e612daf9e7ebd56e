//! Where in an HL7 v2 message something is (data type ERL), and where an element of its record came from.

use std::fmt;

use crate::fhir::ElementPath;
use crate::intake::model::{Element, Model};

/// A place in a message. Everything counts from 1; 0 for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `PID`
    pub segment: String,
    /// Which of the segments of that name.
    pub sequence: usize,
    /// Which field of it.
    pub field: u16,
    /// Which repeat of that.
    pub repeat: usize,
    /// Which component.
    pub component: u16,
    /// Which subcomponent.
    pub subcomponent: u16,
}

impl Location {
    /// A field of the only segment of a name.
    pub fn field(segment: &str, field: u16) -> Location {
        Location { segment: segment.to_owned(), sequence: 1, field, repeat: 0, component: 0, subcomponent: 0 }
    }

    /// Where the element of a record with this path came from, or should have.
    pub fn of(path: &ElementPath, model: &Model) -> Option<Location> {
        let plain = path.as_str().replace('`', "");
        let mut steps = plain.split('.').map(step);
        let (name, sequence) = steps.next()?;
        let segment = model.elements.iter().find(|element| *element.name == *name)?;
        let place = segment.place.as_ref()?;
        let mut found =
            Location { sequence: sequence.unwrap_or(0) + 1, ..Location::field(&place.segment, place.field) };
        let mut above: &Element = segment;
        for (name, index) in steps {
            let Some(element) = above.element(name) else { break };
            let Some(place) = &element.place else { break };
            if found.field == 0 {
                (found.field, found.repeat) = (place.field, index.unwrap_or(0) + 1);
            }
            (found.component, found.subcomponent) = (place.component, place.subcomponent);
            above = element;
        }
        Some(found)
    }
}

/// `name[3]` as its name and number.
fn step(text: &str) -> (&str, Option<usize>) {
    match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        Some((name, index)) => (name, index.parse().ok()),
        None => (text, None),
    }
}

/// `PID-5.1` for people; the second of several with its number: `OBX[2]-5`.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segment)?;
        if self.sequence > 1 {
            write!(f, "[{}]", self.sequence)?;
        }
        if self.field > 0 {
            write!(f, "-{}", self.field)?;
        }
        for part in [self.component, self.subcomponent].into_iter().filter(|part| *part > 0) {
            write!(f, ".{part}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::model::tests::sample;

    #[test]
    fn a_path_of_the_record_leads_back_into_the_message() {
        let model = sample();
        for (path, expected) in [
            ("PID", "PID"),
            ("PID.born", "PID-7"),
            ("PID.number[1].authority", "PID-3.4.1"),
            ("OBX[2].value[0]", "OBX[3]-5"),
            ("PID.name.unknown", "PID-5"),
        ] {
            let found = Location::of(&ElementPath::new(path), &model).map(|found| found.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{path}");
        }
        let second = Location::of(&ElementPath::new("PID.number[1].id"), &model).expect("it is there");
        assert_eq!((second.repeat, second.component), (2, 1));
        for path in ["", "id", "ZZZ.a", "["] {
            assert_eq!(Location::of(&ElementPath::new(path), &model), None, "{path}");
        }
    }
}
