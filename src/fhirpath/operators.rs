//! Operators on collections: equality, equivalence, order, arithmetic (FHIRPath N1, 6.1, 6.2, 6.6, 6.7).

use std::borrow::Cow;
use std::cmp::Ordering;

use rust_decimal::prelude::ToPrimitive as _;
use rust_decimal::{Decimal, RoundingStrategy};

use super::error::Fault;
use super::evaluate::Evaluator;
use super::item::{Element, Item, Items, Quantity, Value, decimal};
use super::plan::Binary;
use super::temporal::{CalendarUnit, Date, DateTime, Time};
use super::units;
use crate::fhir::r4::TypeKind;
use crate::fhir::{Kind, Node};

/// The calendar unit that `word` names, in the singular: `day` for `days`.
pub(super) fn calendar_unit(word: &str) -> Option<&'static str> {
    const UNITS: [&str; 8] = ["year", "month", "week", "day", "hour", "minute", "second", "millisecond"];
    UNITS.into_iter().find(|unit| *unit == word || word.strip_suffix('s') == Some(unit))
}

/// Equality, equivalence, order and membership.
pub(super) fn compare<'a>(
    evaluator: &Evaluator<'_, 'a>,
    binary: Binary,
    left: &[Item<'a>],
    right: &[Item<'a>],
) -> Result<Option<bool>, Fault> {
    match binary {
        Binary::Equal => Ok(equal(left, right)),
        Binary::NotEqual => Ok(equal(left, right).map(|equal| !equal)),
        Binary::Equivalent => equivalent(evaluator, left, right).map(Some),
        Binary::NotEquivalent => Ok(Some(!equivalent(evaluator, left, right)?)),
        Binary::In => member(left, right),
        Binary::Contains => member(right, left),
        _ => {
            let ([left], [right]) = (left, right) else {
                return if left.is_empty() || right.is_empty() { Ok(None) } else { Err(Fault::NotSingleton) };
            };
            Ok(order(left, right)?.map(|order| match binary {
                Binary::Less => order.is_lt(),
                Binary::LessOrEqual => order.is_le(),
                Binary::Greater => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
    }
}

fn member(item: &[Item<'_>], collection: &[Item<'_>]) -> Result<Option<bool>, Fault> {
    match item {
        [] => Ok(None),
        [item] => Ok(Some(collection.iter().any(|each| same(item, each)))),
        _ => Err(Fault::NotSingleton),
    }
}

fn equal(left: &[Item<'_>], right: &[Item<'_>]) -> Option<bool> {
    if left.is_empty() || right.is_empty() {
        return None;
    }
    if left.len() != right.len() {
        return Some(false);
    }
    let mut known = true;
    for (left, right) in left.iter().zip(right) {
        match item_equal(left, right) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => known = false,
        }
    }
    known.then_some(true)
}

/// Whether two items are certainly equal.
pub(super) fn same(left: &Item<'_>, right: &Item<'_>) -> bool {
    item_equal(left, right) == Some(true)
}

/// Whether a text-like element has this text; `None` if its type is not a text.
#[inline]
pub(super) fn equals_text(item: &Item<'_>, expected: &str) -> Option<bool> {
    let Item::Element(element) = item else { return None };
    let type_def = element.type_def().filter(|each| each.kind == TypeKind::Primitive)?;
    let textual = matches!(
        type_def.name,
        "code" | "string" | "uri" | "id" | "url" | "canonical" | "markdown" | "oid" | "uuid" | "base64Binary"
    );
    let node = element.value().filter(|node| textual && node.kind() == Kind::String)?;
    node.text().map(|text| text == expected)
}

/// Equality of two items; `None` where precision or units leave it open.
fn item_equal(left: &Item<'_>, right: &Item<'_>) -> Option<bool> {
    match (left.value(), right.value()) {
        (Some(mut first), Some(mut second)) => {
            read_temporal(left, &mut first, &second);
            read_temporal(right, &mut second, &first);
            value_equal(&first, &second)
        }
        (None, None) => match (left, right) {
            (Item::Element(left), Item::Element(right)) => Some(elements_equal(left, right)),
            _ => Some(false),
        },
        _ => Some(false),
    }
}

fn elements_equal(left: &Element<'_>, right: &Element<'_>) -> bool {
    let parts_equal = |left: Option<Node<'_>>, right: Option<Node<'_>>| match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => left == right || nodes_equal(left, right),
        _ => false,
    };
    parts_equal(left.value(), right.value()) && parts_equal(left.extension(), right.extension())
}

/// Deep equality: members in any order, items in theirs, numbers by value. The depth of a document is bounded.
fn nodes_equal(left: Node<'_>, right: Node<'_>) -> bool {
    if left.kind() != right.kind() {
        return false;
    }
    match left.kind() {
        Kind::Object => {
            let find = |name: &str| right.children().find(|child| child.name().is_some_and(|own| own == name));
            left.children().count() == right.children().count()
                && left.children().all(|child| {
                    let name = child.name().unwrap_or_default();
                    find(&name).is_some_and(|other| nodes_equal(child, other))
                })
        }
        Kind::Array => {
            left.children().count() == right.children().count()
                && left.children().zip(right.children()).all(|(left, right)| nodes_equal(left, right))
        }
        Kind::String => left.text() == right.text(),
        Kind::Number => left.raw() == right.raw() || decimal(left.raw()) == decimal(right.raw()),
        Kind::Boolean | Kind::Null => left.raw() == right.raw(),
    }
}

fn value_equal(left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
    use Value::{Boolean, Quantity as Measured, String, Type};
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return Some(left == right);
    }
    if let Some(order) = temporal_order(left, right) {
        return order.map(Ordering::is_eq);
    }
    match (left, right) {
        (Boolean(left), Boolean(right)) => Some(left == right),
        (String(left), String(right)) => Some(left == right),
        (Type(left), Type(right)) => Some(left == right),
        (Measured(left), Measured(right)) => units::in_common(left, right).map(|(left, right)| left == right),
        (Measured(quantity), other) | (other, Measured(quantity)) => {
            let plain = Quantity { value: number(other)?, unit: "1".into(), is_calendar: false };
            units::in_common(quantity, &plain).map(|(left, right)| left == right)
        }
        _ => Some(false),
    }
}

fn number(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Integer(integer) => Some(Decimal::from(*integer)),
        Value::Decimal(decimal) => Some(*decimal),
        _ => None,
    }
}

/// `None` if the values are not both dates, or both times; `Some(None)` if their order is open.
fn temporal_order(left: &Value<'_>, right: &Value<'_>) -> Option<Option<Ordering>> {
    match (left, right) {
        (Value::Date(left), Value::Date(right)) => Some(left.compare(*right)),
        (Value::DateTime(left), Value::DateTime(right)) => Some(left.compare(*right)),
        (Value::Date(left), Value::DateTime(right)) => Some(left.to_date_time().compare(*right)),
        (Value::DateTime(left), Value::Date(right)) => Some(left.compare(right.to_date_time())),
        (Value::Time(left), Value::Time(right)) => Some(left.compare(*right)),
        _ => None,
    }
}

/// The order of two items; `None` where precision or units leave it open.
///
/// # Errors
/// Types that have no order between them.
pub(super) fn order(left: &Item<'_>, right: &Item<'_>) -> Result<Option<Ordering>, Fault> {
    const UNORDERED: Fault = Fault::WrongType("a comparison of order");
    let (mut first, mut second) = (left.value().ok_or(UNORDERED)?, right.value().ok_or(UNORDERED)?);
    read_temporal(left, &mut first, &second);
    read_temporal(right, &mut second, &first);
    if let (Some(left), Some(right)) = (number(&first), number(&second)) {
        return Ok(Some(left.cmp(&right)));
    }
    if let Some(order) = temporal_order(&first, &second) {
        return Ok(order);
    }
    match (&first, &second) {
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        (Value::Quantity(left), Value::Quantity(right)) => {
            Ok(units::in_common(left, right).map(|(left, right)| left.cmp(&right)))
        }
        (Value::Quantity(left), right) => {
            let right = plain_quantity(right).ok_or(UNORDERED)?;
            Ok(units::in_common(left, &right).map(|(left, right)| left.cmp(&right)))
        }
        (left, Value::Quantity(right)) => {
            let left = plain_quantity(left).ok_or(UNORDERED)?;
            Ok(units::in_common(&left, right).map(|(left, right)| left.cmp(&right)))
        }
        _ => Err(UNORDERED),
    }
}

/// A number as a quantity without a unit.
pub(super) fn plain_quantity<'a>(value: &Value<'a>) -> Option<Quantity<'a>> {
    Some(Quantity { value: number(value)?, unit: "1".into(), is_calendar: false })
}

/// In a record that is not FHIR, text beside a date or time is read as one.
fn read_temporal<'a>(item: &Item<'a>, value: &mut Value<'a>, beside: &Value<'_>) {
    let untyped = item.as_element().is_some_and(|element| element.type_def().is_none());
    let Value::String(text) = &*value else { return };
    let read = match beside {
        Value::Date(_) | Value::DateTime(_) if untyped => DateTime::parse(text).map(Value::DateTime),
        Value::Time(_) if untyped => Time::parse(text).map(Value::Time),
        _ => None,
    };
    if let Some(read) = read {
        *value = read;
    }
}

/// `~`: as `=`, but blind to order, letter case and white space, and to digits that one side does not have.
fn equivalent<'a>(evaluator: &Evaluator<'_, 'a>, left: &[Item<'a>], right: &[Item<'a>]) -> Result<bool, Fault> {
    if left.len() != right.len() {
        return Ok(false);
    }
    evaluator.charge(left.len().saturating_mul(right.len()))?;
    let mut free: Vec<&Item<'_>> = right.iter().collect();
    Ok(left.iter().all(|item| match free.iter().position(|other| item_equivalent(item, other)) {
        Some(at) => {
            free.swap_remove(at);
            true
        }
        None => false,
    }))
}

fn item_equivalent(left: &Item<'_>, right: &Item<'_>) -> bool {
    match (left.value(), right.value()) {
        (Some(left), Some(right)) => value_equivalent(&left, &right),
        (None, None) => match (left, right) {
            (Item::Element(left), Item::Element(right)) => {
                left.value().zip(right.value()).is_some_and(|(left, right)| nodes_equivalent(left, right))
            }
            _ => false,
        },
        _ => false,
    }
}

fn nodes_equivalent(left: Node<'_>, right: Node<'_>) -> bool {
    match (left.kind(), right.kind()) {
        (Kind::Object, Kind::Object) => {
            let members =
                |node: Node<'_>| node.children().filter(|child| child.name().is_none_or(|n| n != "id")).count();
            members(left) == members(right)
                && left.children().all(|child| {
                    let name = child.name().unwrap_or_default();
                    name == "id" || right.member(&name).is_some_and(|other| nodes_equivalent(child, other))
                })
        }
        (Kind::Array, Kind::Array) => {
            let mut free: Vec<Node<'_>> = right.children().collect();
            left.children().count() == free.len()
                && left.children().all(|item| match free.iter().position(|other| nodes_equivalent(item, *other)) {
                    Some(at) => {
                        free.swap_remove(at);
                        true
                    }
                    None => false,
                })
        }
        (Kind::String, Kind::String) => {
            left.text().zip(right.text()).is_some_and(|(left, right)| normalized(&left) == normalized(&right))
        }
        _ => nodes_equal(left, right),
    }
}

fn value_equivalent(left: &Value<'_>, right: &Value<'_>) -> bool {
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return numbers_equivalent(left, right);
    }
    match (left, right) {
        (Value::String(left), Value::String(right)) => normalized(left) == normalized(right),
        (Value::Date(left), Value::Date(right)) => {
            left.precision() == right.precision() && left.compare(*right) == Some(Ordering::Equal)
        }
        (Value::DateTime(left), Value::DateTime(right)) => {
            left.same_precision(*right) && left.compare(*right) == Some(Ordering::Equal)
        }
        (Value::Quantity(left), Value::Quantity(right)) => quantities_equivalent(left, right),
        _ => value_equal(left, right) == Some(true),
    }
}

fn quantities_equivalent(left: &Quantity<'_>, right: &Quantity<'_>) -> bool {
    let left = Quantity { unit: definite(left), is_calendar: false, ..left.clone() };
    let right = Quantity { unit: definite(right), is_calendar: false, ..right.clone() };
    units::converted(&right, &left).is_some_and(|value| numbers_equivalent(left.value, value))
        || units::converted(&left, &right).is_some_and(|value| numbers_equivalent(value, right.value))
}

/// The UCUM code that `~` takes a calendar unit for.
fn definite<'q>(quantity: &Quantity<'q>) -> Cow<'q, str> {
    if !quantity.is_calendar {
        return quantity.unit.clone();
    }
    Cow::Borrowed(match &*quantity.unit {
        "year" => "a",
        "month" => "mo",
        "week" => "wk",
        "day" => "d",
        "hour" => "h",
        "minute" => "min",
        "second" => "s",
        _ => "ms",
    })
}

/// Equal when rounded to the digits of the less precise.
fn numbers_equivalent(left: Decimal, right: Decimal) -> bool {
    let (left, right) = (left.normalize(), right.normalize());
    let scale = left.scale().min(right.scale());
    let round = |number: Decimal| number.round_dp_with_strategy(scale, RoundingStrategy::MidpointAwayFromZero);
    round(left) == round(right)
}

/// Lower case, with each run of white space as one space.
fn normalized(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        normal.extend(word.chars().flat_map(char::to_lowercase));
    }
    normal
}

/// Unary minus.
pub(super) fn negate<'a>(operand: &[Item<'a>]) -> Result<Items<'a>, Fault> {
    let item = match operand {
        [] => return Ok(Items::new()),
        [item] => item,
        _ => return Err(Fault::NotSingleton),
    };
    let value = match item.value() {
        Some(Value::Integer(integer)) => integer.checked_neg().map(Value::Integer),
        Some(Value::Decimal(decimal)) => Some(Value::Decimal(-decimal)),
        Some(Value::Quantity(quantity)) => Some(Value::Quantity(Quantity { value: -quantity.value, ..quantity })),
        _ => return Err(Fault::WrongType("unary minus")),
    };
    Ok(value.map(Item::Value).into_iter().collect())
}

/// `+ - * / div mod &`; `charge` pays for text of the given length.
pub(super) fn arithmetic<'a>(
    binary: Binary,
    left: &[Item<'a>],
    right: &[Item<'a>],
    charge: impl Fn(usize) -> Result<(), Fault>,
) -> Result<Items<'a>, Fault> {
    if left.len() > 1 || right.len() > 1 {
        return Err(Fault::NotSingleton);
    }
    let value = if binary == Binary::Concatenate {
        Some(concatenate(left.first(), right.first(), charge)?)
    } else {
        let (Some(left), Some(right)) = (left.first(), right.first()) else { return Ok(Items::new()) };
        const WRONG: Fault = Fault::WrongType("arithmetic");
        let (left, right) = (left.value().ok_or(WRONG)?, right.value().ok_or(WRONG)?);
        calculate(binary, left, right, charge)?
    };
    Ok(value.map(Item::Value).into_iter().collect())
}

fn concatenate<'a>(
    left: Option<&Item<'a>>,
    right: Option<&Item<'a>>,
    charge: impl Fn(usize) -> Result<(), Fault>,
) -> Result<Value<'a>, Fault> {
    const WRONG: Fault = Fault::WrongType("&");
    let text = |item: Option<&Item<'a>>| item.map_or(Ok(Cow::Borrowed("")), |item| item.as_text().ok_or(WRONG));
    let (left, right) = (text(left)?, text(right)?);
    charge(left.len() + right.len())?;
    Ok(Value::String(left + right))
}

fn calculate<'a>(
    binary: Binary,
    left: Value<'a>,
    right: Value<'a>,
    charge: impl Fn(usize) -> Result<(), Fault>,
) -> Result<Option<Value<'a>>, Fault> {
    match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => Ok(integers(binary, left, right)),
        (Value::String(left), Value::String(right)) if binary == Binary::Add => {
            charge(left.len() + right.len())?;
            Ok(Some(Value::String(left + right)))
        }
        (left @ (Value::Date(_) | Value::DateTime(_) | Value::Time(_)), Value::Quantity(right)) => {
            shift(binary, &left, &right)
        }
        (Value::Quantity(left), Value::Quantity(right)) => quantities(binary, &left, &right),
        (Value::Quantity(left), right) => {
            let right = plain_quantity(&right).ok_or(Fault::WrongType("arithmetic"))?;
            quantities(binary, &left, &right)
        }
        (left, Value::Quantity(right)) => {
            let left = plain_quantity(&left).ok_or(Fault::WrongType("arithmetic"))?;
            quantities(binary, &left, &right)
        }
        (left, right) => match (number(&left), number(&right)) {
            (Some(left), Some(right)) => Ok(decimals(binary, left, right)),
            _ => Err(Fault::WrongType("arithmetic")),
        },
    }
}

/// `None` on overflow and division by zero.
fn integers<'a>(binary: Binary, left: i64, right: i64) -> Option<Value<'a>> {
    let integer = match binary {
        Binary::Add => left.checked_add(right),
        Binary::Subtract => left.checked_sub(right),
        Binary::Multiply => left.checked_mul(right),
        Binary::Div => left.checked_div(right),
        Binary::Mod => left.checked_rem(right),
        _ => return decimals(binary, left.into(), right.into()),
    };
    integer.map(Value::Integer)
}

fn decimals<'a>(binary: Binary, left: Decimal, right: Decimal) -> Option<Value<'a>> {
    let decimal = match binary {
        Binary::Add => left.checked_add(right),
        Binary::Subtract => left.checked_sub(right),
        Binary::Multiply => left.checked_mul(right),
        Binary::Divide => left.checked_div(right).map(|quotient| quotient.normalize()),
        Binary::Div => return left.checked_div(right)?.trunc().to_i64().map(Value::Integer),
        _ => left.checked_rem(right),
    };
    decimal.map(Value::Decimal)
}

fn quantities<'a>(binary: Binary, left: &Quantity<'a>, right: &Quantity<'a>) -> Result<Option<Value<'a>>, Fault> {
    let quantity = match binary {
        Binary::Add | Binary::Subtract => {
            let Some(other) = units::converted(right, left) else { return Ok(None) };
            let sum = if binary == Binary::Add { left.value.checked_add(other) } else { left.value.checked_sub(other) };
            sum.map(|value| Quantity { value, ..left.clone() })
        }
        Binary::Multiply | Binary::Divide => {
            let divides = binary == Binary::Divide;
            let value = if divides { left.value.checked_div(right.value) } else { left.value.checked_mul(right.value) };
            let unit = units::combined(&definite(left), &definite(right), divides);
            value.map(|value| Quantity { value, unit: unit.into(), is_calendar: false })
        }
        _ => return Err(Fault::WrongType("div or mod")),
    };
    Ok(quantity.map(Value::Quantity))
}

/// A date or time plus or minus a duration (FHIRPath N1, 6.6.7).
fn shift<'a>(binary: Binary, from: &Value<'a>, duration: &Quantity<'_>) -> Result<Option<Value<'a>>, Fault> {
    let unit = match (&*duration.unit, duration.is_calendar) {
        ("year" | "years", _) => CalendarUnit::Year,
        ("month" | "months", _) => CalendarUnit::Month,
        ("week" | "weeks", _) | ("wk", false) => CalendarUnit::Week,
        ("day" | "days", _) | ("d", false) => CalendarUnit::Day,
        ("hour" | "hours", _) | ("h", false) => CalendarUnit::Hour,
        ("minute" | "minutes", _) | ("min", false) => CalendarUnit::Minute,
        ("second" | "seconds", _) | ("s", false) => CalendarUnit::Second,
        ("millisecond" | "milliseconds", _) | ("ms", false) => CalendarUnit::Millisecond,
        _ => return Err(Fault::WrongType("adding this unit to a date or time")),
    };
    let Some(amount) = duration.value.trunc().to_i64() else { return Ok(None) };
    let amount = match binary {
        Binary::Add => amount,
        Binary::Subtract => amount.saturating_neg(),
        _ => return Err(Fault::WrongType("multiplication")),
    };
    Ok(match from {
        Value::Date(date) => Date::add(*date, amount, unit).map(Value::Date),
        Value::DateTime(date_time) => DateTime::add(*date_time, amount, unit).map(Value::DateTime),
        Value::Time(time) => match Time::add(*time, amount, unit) {
            Some(time) => Some(Value::Time(time)),
            None => return Err(Fault::WrongType("adding days to a time")),
        },
        _ => None,
    })
}
