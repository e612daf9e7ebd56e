//! The order of elements in FHIR XML: that of their definitions (R4 xml.html), which JSON does not have.
//!
//! Enters: text that has been inspected and read as a resource. Leaves: each element that stands behind one that it
//! should stand before, with its place.

use std::collections::HashMap;

use super::tag_length;
use crate::fhir::r4::{TypeDef, schema};
use crate::fhir::{ElementPath, NameId, Position};

/// Elements that are told at most.
const MOST: usize = 100;

/// An element that stands too late.
#[derive(Debug, PartialEq)]
pub struct Misplaced {
    /// Where it is in the resource.
    pub path: ElementPath,
    /// Where its tag begins.
    pub position: Position,
    /// The element before it that it should stand before: `status`.
    pub behind: &'static str,
}

/// An open element.
struct Open {
    /// What its children are elements of; `None` for XHTML, and for what holds a resource.
    def: Option<&'static TypeDef>,
    /// Its child is a resource, whose tag names its type.
    holds_resource: bool,
    path: String,
    /// The place of the last child in the definition.
    last: usize,
    /// How many children of each place there have been.
    counts: HashMap<usize, usize>,
}

impl Open {
    fn of(def: Option<&'static TypeDef>, path: String) -> Open {
        let holds_resource = def.is_some_and(|def| def.name == "Resource");
        Open { def: def.filter(|_| !holds_resource), holds_resource, path, last: 0, counts: HashMap::new() }
    }
}

/// The elements of a resource that stand out of order, in the order of the text.
pub fn misplaced(text: &str) -> Vec<Misplaced> {
    let mut found: Vec<(usize, String, &'static str)> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(less) = text[at..].find('<').map(|less| at + less) {
        let Ok(length) = tag_length(&text[less..], less == 0) else { break };
        let tag = &text[less..less + length];
        at = less + length;
        if tag.starts_with("<!") || tag.starts_with("<?") {
            continue;
        }
        if tag.starts_with("</") {
            open.pop();
            continue;
        }
        let (child, behind) = opened(name_of(tag), open.last_mut());
        if let Some(behind) = behind.filter(|_| found.len() < MOST) {
            found.push((less, child.path.clone(), behind));
        }
        if !tag.ends_with("/>") {
            open.push(child);
        }
    }
    let place = |(offset, path, behind)| {
        let position = crate::fhir::document::position_in(text, offset);
        Misplaced { path: ElementPath::new(path), position, behind }
    };
    found.into_iter().map(place).collect()
}

fn name_of(tag: &str) -> &str {
    let name = tag.trim_start_matches('<');
    name.split(|letter: char| letter.is_whitespace() || matches!(letter, '/' | '>')).next().unwrap_or_default()
}

/// The element that a tag of this name opens inside `parent`, and what it should stand before.
fn opened(name: &str, parent: Option<&mut Open>) -> (Open, Option<&'static str>) {
    let Some(parent) = parent else { return (Open::of(schema().resource(name), name.to_owned()), None) };
    if parent.holds_resource {
        return (Open::of(schema().resource(name), parent.path.clone()), None);
    }
    let place = parent.def.and_then(|def| Some((def, def.place(NameId::of(name))?)));
    let Some((def, (place, chosen))) = place else { return (Open::of(None, String::new()), None) };
    let element = &def.elements[place];
    let code = element.types[chosen].code;
    let count = parent.counts.entry(place).or_default();
    let index = if element.is_array() { format!("[{count}]") } else { String::new() };
    let of_type = if element.is_choice { format!(".ofType({code})") } else { String::new() };
    *count += 1;
    let behind = (place < parent.last).then(|| def.elements[parent.last].stem);
    parent.last = parent.last.max(place);
    let path = format!("{}.{}{index}{of_type}", parent.path, element.stem);
    (Open::of(schema().type_named(code).filter(|_| element.stem != "div"), path), behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(inner: &str) -> Vec<(String, usize, &'static str)> {
        let text = format!("<?xml version=\"1.0\"?>\n<Patient xmlns=\"http://hl7.org/fhir\">{inner}</Patient>");
        super::super::from_xml(&text, &crate::fhir::Limits::default()).expect("it is a resource");
        let told = |each: Misplaced| (each.path.to_string(), each.position.line, each.behind);
        misplaced(&text).into_iter().map(told).collect()
    }

    #[test]
    fn elements_stand_in_the_order_of_their_definition() {
        let name = "<name><use value=\"official\"/><family value=\"A\"><extension url=\"https://e\"><valueCode value=\"a\"/></extension></family><given value=\"B\"/><given value=\"C\"/></name>";
        let contained = "<contained><Organization><id value=\"a\"/><name value=\"a\"/></Organization></contained>";
        let text = "<text><status value=\"generated\"/><div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a</p><id>b</id></div></text>";
        assert_eq!(
            of(&format!("<id value=\"p\"/>\n{text}<!-- <id/> -->{contained}<active value=\"true\"/>{name}{name}")),
            []
        );
    }

    #[test]
    fn what_stands_too_late_is_named() {
        let told = |path: &str, line, behind| (path.to_owned(), line, behind);
        assert_eq!(of("<active value=\"true\"/>\n<id value=\"p\"/>"), [told("Patient.id", 3, "active")]);
        assert_eq!(
            of(
                "<name>\n<given value=\"A\"/><family value=\"B\"/></name><birthDate value=\"2001\"/><name><family value=\"C\"/></name>"
            ),
            [told("Patient.name[0].family", 3, "given"), told("Patient.name[1]", 3, "birthDate")]
        );
        assert_eq!(
            of(
                "<contained><Observation><status value=\"final\"/><id value=\"o\"/><code><text value=\"a\"/></code></Observation></contained>"
            ),
            [told("Patient.contained[0].id", 2, "status")]
        );
        assert_eq!(
            of("<multipleBirthInteger value=\"1\"/><deceasedBoolean value=\"true\"/>"),
            [told("Patient.deceased.ofType(boolean)", 2, "multipleBirth")]
        );
    }

    #[test]
    fn no_cut_of_a_document_panics() {
        let text = "<?xml version=\"1.0\"?><Patient xmlns=\"http://hl7.org/fhir\"><contained><Flag/></contained><!-- é --><text/></Patient>";
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let _ = misplaced(&text[..end]);
            let _ = misplaced(&text[end..]);
        }
    }
}
