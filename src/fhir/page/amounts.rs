//! Numbers with their units: `400 mg`, `1 to 2 tablets`, `2000 mg per day`.
//!
//! Enters: a Quantity, a Range, a Ratio. Leaves: words, or nothing where a value is missing. Invariant: a number that came without
//! its unit is said to have none.

use std::borrow::Cow;

use crate::fhir::{Kind, Node};

/// The unit of what has none (UCUM), as a score.
const UNITY: &str = "1";
/// Units that have a plural of their own; others stand as they were received.
const COUNTED: [&str; 13] = [
    "tablet",
    "capsule",
    "puff",
    "drop",
    "patch",
    "spray",
    "sachet",
    "dose",
    "unit",
    "ampoule",
    "vial",
    "lozenge",
    "application",
];

/// `400 mg`, `2 tablets`, `at least 5 ml`; nothing without a value.
pub(super) fn quantity(node: Node<'_>) -> Option<String> {
    let value = number(node, "value")?;
    let than = match node.text_of("comparator").as_deref() {
        None => "",
        Some("<") => "less than ",
        Some("<=") => "at most ",
        Some(">=") => "at least ",
        Some(">") => "more than ",
        Some(_) => return None,
    };
    Some(match unit(node) {
        Some(unit) if unit == UNITY => format!("{than}{value}"),
        Some(unit) => format!("{than}{value} {}", counted(&unit, is_one(&value))),
        None => format!("{than}{value} (no unit given)"),
    })
}

/// `1 to 2 tablets`, `up to 2 tablets`, `1 tablet or more`.
pub(super) fn range(node: Node<'_>) -> Option<String> {
    match (node.member("low"), node.member("high")) {
        (Some(low), Some(high)) => {
            let (from, to) = (quantity(low)?, quantity(high)?);
            Some(match number(low, "value") {
                Some(value) if unit(low) == unit(high) && unit(low).is_some() => format!("{value} to {to}"),
                _ => format!("{from} to {to}"),
            })
        }
        (Some(low), None) => Some(format!("{} or more", quantity(low)?)),
        (None, Some(high)) => Some(format!("up to {}", quantity(high)?)),
        (None, None) => None,
    }
}

/// `2000 mg per day`, `4 tablets per 24 hours`.
pub(super) fn ratio(node: Node<'_>) -> Option<String> {
    let (above, below) = (quantity(node.member("numerator")?)?, node.member("denominator")?);
    let value = number(below, "value")?;
    let per = match unit(below) {
        Some(unit) if is_one(&value) => counted(&unit, true).into_owned(),
        _ => quantity(below)?,
    };
    Some(format!("{above} per {per}"))
}

/// The digits of a number as they were received.
pub(super) fn number(node: Node<'_>, name: &str) -> Option<String> {
    node.member(name).filter(|of| of.kind() == Kind::Number)?.scalar().map(Cow::into_owned)
}

/// The unit of a quantity: its words, else its code, that of time in words.
pub(super) fn unit(quantity: Node<'_>) -> Option<String> {
    let text = |name: &str| quantity.text_of(name).map(Cow::into_owned).filter(|text| !text.trim().is_empty());
    let unit = text("unit").or_else(|| text("code"))?;
    Some(without_braces(&unit))
}

/// `mg/dose` for `mg/{dose}`: the words that UCUM has in braces, without those; a brace alone stays.
fn without_braces(unit: &str) -> String {
    let mut words = String::with_capacity(unit.len());
    let mut rest = unit;
    while let Some((before, inner, after)) = rest
        .split_once('{')
        .and_then(|(before, after)| after.split_once('}').map(|(inner, after)| (before, inner, after)))
    {
        words.push_str(before);
        words.push_str(if words.ends_with(char::is_alphanumeric) { " " } else { "" });
        words.push_str(inner);
        rest = after;
    }
    words + rest
}

/// A unit as it is counted: `tablets`, `hours` for `h`.
pub(super) fn counted(unit: &str, is_one: bool) -> Cow<'_, str> {
    if let Some((one, many)) = time_unit(unit) {
        return if is_one { one.into() } else { many.into() };
    }
    match COUNTED.contains(&unit) && !is_one {
        true if unit.ends_with('h') => format!("{unit}es").into(),
        true => format!("{unit}s").into(),
        false => unit.into(),
    }
}

/// A unit of time, for one and for more (UCUM, and its words).
pub(super) fn time_unit(code: &str) -> Option<(&'static str, &'static str)> {
    Some(match code {
        "s" | "second" | "seconds" => ("second", "seconds"),
        "min" | "minute" | "minutes" => ("minute", "minutes"),
        "h" | "hour" | "hours" => ("hour", "hours"),
        "d" | "day" | "days" => ("day", "days"),
        "wk" | "week" | "weeks" => ("week", "weeks"),
        "mo" | "month" | "months" => ("month", "months"),
        "a" | "year" | "years" => ("year", "years"),
        _ => return None,
    })
}

pub(super) fn is_one(number: &str) -> bool {
    number.parse::<f64>() == Ok(1.0)
}

/// `4 to 6`.
pub(super) fn up_to(low: &str, high: Option<&str>) -> String {
    high.filter(|high| *high != low).map_or_else(|| low.to_owned(), |high| format!("{low} to {high}"))
}
