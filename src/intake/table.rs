//! Rows of a table, as CSV has them, as records of a logical model.
//!
//! Enters: the header, whose cells name elements of the model (`person.family`, `currentRisks[0].level` or
//! `currentRisks.0.level`), and the cells of a row. Leaves: the record as JSON, typed by the model: the digits of a
//! number stay, `true` and `false` are booleans, an empty cell is an element that is not there. Invariant: what does not
//! fit its type is written as text, so that the check against the model finds it; no cell is dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Element, Kind, Model};
use crate::fhir::{ElementPath, Writer};

/// The highest number of a repeat.
const MOST_REPEATS: usize = 999;

/// Columns that a header may have.
pub(super) const MOST_COLUMNS: usize = 4096;

/// Faults of a header that are told.
pub(super) const MOST_FAULTS: usize = 100;

/// A header that names elements of a model.
#[derive(Debug)]
pub struct Header {
    columns: Vec<Column>,
}

/// One column.
#[derive(Debug)]
struct Column {
    /// As the header names it.
    name: String,
    steps: Vec<Step>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    name: Box<str>,
    /// For an element that repeats: which of its repeats, from 0.
    index: Option<usize>,
}

/// What is wrong with a header's cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {number}, {name:?}: {what}")]
pub struct HeaderFault {
    /// The column, from 1.
    pub number: usize,
    /// As the header names it, cut to 80 letters.
    pub name: String,
    /// What is wrong.
    pub what: String,
}

/// A record made of a row.
#[derive(Debug)]
pub struct Row {
    /// The record.
    pub json: String,
    /// The path of each value, with its column.
    places: Vec<(String, usize)>,
}

/// The values of a row before they are written.
#[derive(Debug, Default)]
struct Branch<'c> {
    /// Value and column.
    leaf: Option<(&'c str, usize)>,
    /// By name in the order of the header; an element that repeats has its repeats below it, by number.
    named: Vec<(&'c str, Branch<'c>)>,
    repeats: BTreeMap<usize, Branch<'c>>,
}

impl Header {
    /// Reads a header for records of a model.
    ///
    /// # Errors
    /// What is wrong with it: the first hundred faults.
    pub fn read<'c>(model: &Model, cells: impl IntoIterator<Item = &'c str>) -> Result<Header, Vec<HeaderFault>> {
        let mut columns: Vec<Column> = Vec::new();
        let (mut faults, mut known) = (Vec::new(), BTreeSet::new());
        for (at, cell) in cells.into_iter().enumerate() {
            let cell = cell.trim();
            let fault = |what: String| {
                let name = cell.chars().take(80).collect();
                HeaderFault { number: at + 1, name, what }
            };
            if at >= MOST_COLUMNS {
                faults.push(fault(format!("a header has at most {MOST_COLUMNS} columns")));
                break;
            }
            match column(model, cell) {
                Ok(column) if !known.insert(column.steps.clone()) => {
                    faults.push(fault("another column names the same element".to_owned()));
                }
                Ok(column) => columns.push(column),
                Err(what) => faults.push(fault(what)),
            }
            if faults.len() >= MOST_FAULTS {
                break;
            }
        }
        if faults.is_empty() { Ok(Header { columns }) } else { Err(faults) }
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The record of a row with as many cells as there are columns.
    pub fn row<'c>(&'c self, cells: impl IntoIterator<Item = &'c str>) -> Row {
        let mut root = Branch::default();
        for (at, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            if !cell.is_empty() {
                root.put(&column.steps, (cell, at));
            }
        }
        let (mut out, mut places) = (Writer::new(), Vec::new());
        self.write(&root, &mut ElementPath::root(), &mut out, &mut places);
        Row { json: out.finish(), places }
    }

    fn write(&self, branch: &Branch<'_>, path: &mut ElementPath, out: &mut Writer, places: &mut Vec<(String, usize)>) {
        if let Some((text, column)) = branch.leaf {
            places.push((path.as_str().to_owned(), column));
            value(self.columns[column].kind, text, out);
        } else if !branch.repeats.is_empty() {
            out.begin_array();
            // Gaps in the numbers close.
            for (index, repeat) in branch.repeats.values().enumerate() {
                let mut path = path.clone();
                path.push_index(index);
                self.write(repeat, &mut path, out, places);
            }
            out.end_array();
        } else {
            out.begin_object();
            for (name, below) in &branch.named {
                let mut path = path.clone();
                path.push_name(name);
                out.key(name);
                self.write(below, &mut path, out, places);
            }
            out.end_object();
        }
    }

    /// The column that a path in a row's record is about; by the element's name where the row has nothing there.
    pub fn column_of(&self, row: &Row, path: &str) -> Option<&str> {
        let exact = row.places.iter().find(|(place, _)| place == path).map(|(_, column)| *column);
        let named = || {
            self.columns.iter().position(|column| {
                let path_of = |numbers: bool| {
                    let step = |step: &Step| match step.index.filter(|_| numbers) {
                        Some(index) => format!("{}[{index}]", step.name),
                        None => step.name.to_string(),
                    };
                    column.steps.iter().map(step).collect::<Vec<_>>().join(".")
                };
                path_of(true) == path || path_of(false) == path
            })
        };
        Some(&self.columns[exact.or_else(named)?].name)
    }
}

impl<'c> Branch<'c> {
    fn put(&mut self, steps: &'c [Step], leaf: (&'c str, usize)) {
        let Some((step, rest)) = steps.split_first() else {
            self.leaf = Some(leaf);
            return;
        };
        let at = self.named.iter().position(|(name, _)| *name == &*step.name).unwrap_or_else(|| {
            self.named.push((&step.name, Branch::default()));
            self.named.len() - 1
        });
        let branch = &mut self.named[at].1;
        match step.index {
            Some(index) => branch.repeats.entry(index).or_default().put(rest, leaf),
            None => branch.put(rest, leaf),
        }
    }
}

/// The element that a cell of the header names.
fn column(model: &Model, name: &str) -> Result<Column, String> {
    let mut parts = Vec::new();
    for part in name.split('.') {
        match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, number)) => parts.extend([name, number]),
            None => parts.push(part),
        }
    }
    let mut parts = parts.into_iter().peekable();
    let mut elements = &model.elements;
    let mut steps = Vec::new();
    while let Some(part) = parts.next() {
        let element = elements.iter().find(|element| *element.name == *part).ok_or_else(|| unknown(part, elements))?;
        let number = parts.next_if(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        let index = match (number, element.repeats) {
            (None, false) => None,
            (None, true) => Some(0),
            (Some(_), false) => return Err(format!("{part} does not repeat: write it without a number")),
            (Some(number), true) => match number.parse() {
                Ok(index) if index <= MOST_REPEATS => Some(index),
                _ => return Err(format!("a repeat has a number from 0 to {MOST_REPEATS}")),
            },
        };
        steps.push(Step { name: element.name.clone(), index });
        if parts.peek().is_none() {
            return match element.kind {
                Kind::Group => Err(format!("{part} has elements of its own: name one of them, as {part}.NAME")),
                kind => Ok(Column { name: name.to_owned(), steps, kind }),
            };
        }
        elements = &element.elements;
    }
    Err("the column has no name".to_owned())
}

fn unknown(part: &str, elements: &[Element]) -> String {
    if part.is_empty() {
        return "the column has no name".to_owned();
    }
    let mut known: Vec<&str> = elements.iter().map(|element| &*element.name).collect();
    known.truncate(40);
    if known.is_empty() {
        return "there is nothing below it in the logical model".to_owned();
    }
    format!("the logical model has no such element there; it has {}", known.join(", "))
}

fn value(kind: Kind, text: &str, out: &mut Writer) {
    match kind {
        Kind::Number if is_number(text.trim()) => out.raw(text.trim()),
        Kind::Boolean if matches!(text.trim(), "true" | "TRUE" | "True") => out.raw("true"),
        Kind::Boolean if matches!(text.trim(), "false" | "FALSE" | "False") => out.raw("false"),
        _ => out.string(text),
    }
}

/// Whether it is a number as JSON writes them (RFC 8259 section 6).
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::model::tests::sample;

    fn header(cells: &[&str]) -> Result<Header, Vec<HeaderFault>> {
        Header::read(&sample(), cells.iter().copied())
    }

    #[test]
    fn a_row_becomes_a_record_typed_by_the_model() {
        let header =
            header(&["id", "count", "weight", "known", "risks[0].level", "risks.2.level", "risks[2].notes[1]", "tags"]);
        let header = header.expect("the model has them");
        let row = header.row(["a \"b\"\n", "007", "1.50", "TRUE", "high", "low", "note", ""]);
        assert_eq!(
            row.json,
            r#"{"id":"a \"b\"\n","count":"007","weight":1.50,"known":true,"risks":[{"level":"high"},{"level":"low","notes":["note"]}]}"#
        );
        assert_eq!(header.row([""; 8]).json, "{}");
    }

    #[test]
    fn an_issue_is_told_by_its_column() {
        let header = header(&["id", "risks.1.level", "risks.2.level"]).expect("the model has them");
        let row = header.row(["a", "", "x"]);
        assert_eq!(header.column_of(&row, "risks[0].level"), Some("risks.2.level"), "gaps close");
        assert_eq!(header.column_of(&row, "id"), Some("id"));
        assert_eq!(header.column_of(&row, "count"), None);
        assert_eq!(header.column_of(&row, "risks[3].level"), None, "no column is for it");
        let empty = header.row(["", "", ""]);
        assert_eq!(header.column_of(&empty, "id"), Some("id"), "missing");
    }

    #[test]
    fn every_fault_of_a_header_is_told() {
        let faults =
            header(&["id", " id ", "risks", "count[0]", "tags[1000]", "nothing", "", "id.x", "risks[0].nothing"]);
        let faults = faults.expect_err("it has faults");
        let found: Vec<(usize, &str)> = faults.iter().map(|fault| (fault.number, fault.what.as_str())).collect();
        for (number, part) in [
            (2, "another column"),
            (3, "elements of its own"),
            (4, "does not repeat"),
            (5, "0 to 999"),
            (6, "no such element"),
            (7, "no name"),
            (8, "nothing below"),
            (9, "it has level, notes"),
        ] {
            assert!(found.iter().any(|(at, what)| *at == number && what.contains(part)), "{number}: {found:?}");
        }
        assert_eq!(found.len(), 8);
    }

    #[test]
    fn numbers_are_those_of_json() {
        for number in ["0", "-1", "10.50", "1e5", "2.5E-3"] {
            assert!(is_number(number), "{number}");
        }
        for text in ["", "01", "1.", ".5", "+1", "1e", "0x1", "1,5", "NaN", "--1"] {
            assert!(!is_number(text), "{text}");
        }
    }
}
