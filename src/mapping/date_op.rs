//! `dateOp`: dates as other systems write them, as FHIR writes them; moved by a duration, or cut to the day.
//!
//! FHIR leaves the parameters of `dateOp` open ("to be documented"). Here: `dateOp(value)` reads an ISO 8601 or HL7 v2
//! date or time; `dateOp(value, 'date')` keeps its date; `dateOp(value, 5, 'days')` moves it, as FHIRPath adds calendar
//! durations. An offset stays as it was given, and none is made up: a time without one is refused.

use crate::fhirpath::{Date, DateTime, Environment, Expression, Item, Precision, Value};

/// The calendar durations that a date can be moved by (FHIRPath N1, 2.1.6).
const UNITS: &[&str] = &["year", "month", "week", "day", "hour", "minute", "second", "millisecond"];

/// What is done with a date.
#[derive(Debug)]
pub(super) enum DateOp {
    /// Read it.
    Read,
    /// Keep its date.
    CutToDate,
    /// Move it by what the expression adds to `$this`.
    Move(Expression),
}

impl DateOp {
    /// The move by `amount` units; `None` if the amount is no integer, or there is no such unit.
    pub(super) fn moving(amount: &str, unit: &str) -> Option<DateOp> {
        let amount: i64 = amount.parse().ok()?;
        let known = UNITS.iter().any(|known| unit.strip_suffix('s').unwrap_or(unit) == *known);
        let sign = if amount < 0 { '-' } else { '+' };
        let text = format!("$this {sign} {} {unit}", amount.unsigned_abs());
        known.then(|| Expression::parse(&text).ok()).flatten().map(DateOp::Move)
    }

    /// The outcome for the text of a date or time, and whether it is a date alone; `None` if the text is neither.
    pub(super) fn apply(&self, text: &str) -> Option<(String, bool)> {
        let text = normalised(text.trim())?;
        let date = text.split_once('T').map_or(text.as_str(), |(date, _)| date);
        let outcome = match self {
            DateOp::Read => text,
            DateOp::CutToDate => date.to_owned(),
            DateOp::Move(expression) => moved(&text, expression)?,
        };
        let is_date = !outcome.contains('T');
        Some((outcome, is_date))
    }
}

fn moved(text: &str, expression: &Expression) -> Option<String> {
    let value = match Date::parse(text) {
        Some(date) => Value::Date(date),
        None => Value::DateTime(DateTime::parse(text)?),
    };
    let found = expression.evaluate(&[Item::Value(value)], &Environment::default()).ok()?;
    let moved = found.first()?.as_text()?.into_owned();
    Some(match (text.get(text.len().saturating_sub(6)..), moved.strip_suffix('Z')) {
        (Some(offset @ ("+00:00" | "-00:00")), Some(time)) => format!("{time}{offset}"),
        _ => moved,
    })
}

/// The date or time as FHIR writes it (FHIR R4, dateTime): with seconds and offset if it has a time.
fn normalised(text: &str) -> Option<String> {
    let text = match text.as_bytes() {
        [first, ..] if first.is_ascii_digit() && !text.contains(['-', 'T', ':']) => from_v2(text)?,
        [_, _, _, _, digit, ..] if digit.is_ascii_digit() => from_v2(text)?,
        _ => text.to_owned(),
    };
    let Some((date, time)) = text.split_once('T') else { return Date::parse(&text).map(|_| text) };
    let at = time.find(['Z', '+', '-'])?;
    let (time, offset) = time.split_at(at);
    let seconds = if time.len() == 5 { ":00" } else { "" };
    let whole = format!("{date}T{time}{seconds}{offset}");
    DateTime::parse(&whole).filter(|at| at.precision() >= Precision::Second).map(|_| whole)
}

/// `YYYY[MM[DD[HHMM[SS[.S…]]]]][+/-ZZZZ]` (HL7 v2, DTM) as ISO 8601.
fn from_v2(text: &str) -> Option<String> {
    let (stamp, offset) = text.split_at(text.find(['+', '-']).unwrap_or(text.len()));
    let (digits, fraction) = stamp.split_at(stamp.find('.').unwrap_or(stamp.len()));
    if !text.is_ascii() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let offset = match offset.len() {
        0 => String::new(),
        5 => format!("{}:{}", &offset[..3], &offset[3..]),
        _ => return None,
    };
    let part = |from: usize, separator: &str| {
        digits.get(from..from + 2).map_or(String::new(), |two| format!("{separator}{two}"))
    };
    let date = format!("{}{}{}", digits.get(..4)?, part(4, "-"), part(6, "-"));
    match digits.len() {
        4 | 6 | 8 if fraction.is_empty() && offset.is_empty() => Some(date),
        12 if fraction.is_empty() => Some(format!("{date}{}{}{offset}", part(8, "T"), part(10, ":"))),
        14 => Some(format!("{date}{}{}{}{fraction}{offset}", part(8, "T"), part(10, ":"), part(12, ":"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        DateOp::Read.apply(text).map(|(text, _)| text)
    }

    #[test]
    fn dates_of_other_systems_are_read_and_offsets_stay() {
        for (given, expected) in [
            ("1980", "1980"),
            ("198002", "1980-02"),
            ("19800203", "1980-02-03"),
            ("198002031405+0100", "1980-02-03T14:05:00+01:00"),
            ("19800203140506.250-0530", "1980-02-03T14:05:06.250-05:30"),
            ("1980-02-03", "1980-02-03"),
            (" 1980-02-03T14:05+00:00", "1980-02-03T14:05:00+00:00"),
            ("1980-02-03T14:05:06.10Z", "1980-02-03T14:05:06.10Z"),
        ] {
            assert_eq!(read(given).as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused_and_no_offset_is_made_up() {
        for text in [
            "",
            "soon",
            "19800231",
            "1980-13",
            "198002031405",
            "1980-02-03T14:05:06",
            "19800203+0100",
            "1980020",
            "ä980",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_moved_and_cut() {
        let moved = |text, amount, unit| DateOp::moving(amount, unit).expect("it is a duration").apply(text);
        let text = |found: Option<(String, bool)>| found.expect("it is a date").0;
        assert_eq!(text(moved("20240229", "1", "year")), "2025-02-28");
        assert_eq!(text(moved("2024-01-31", "-1", "months")), "2023-12-31");
        assert_eq!(text(moved("2024-01-31T23:59:30.5+00:00", "45", "seconds")), "2024-02-01T00:00:15.5+00:00");
        assert_eq!(DateOp::CutToDate.apply("2024-01-31T23:59:30+01:00"), Some(("2024-01-31".to_owned(), true)));
        assert!(DateOp::moving("1.5", "days").is_none() && DateOp::moving("1", "moons").is_none());
    }
}
