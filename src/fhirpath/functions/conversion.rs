//! Conversion (FHIRPath N1, 5.5): `toX()` and `convertsToX()`.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use super::{Arguments, Called, one, truth};
use crate::fhirpath::error::Fault;
use crate::fhirpath::function::Function;
use crate::fhirpath::item::{Item, Items, Quantity, Value};
use crate::fhirpath::operators::{calendar_unit, plain_quantity};
use crate::fhirpath::temporal::{Date, DateTime, Precision, Time};
use crate::fhirpath::units;

/// Whether `function` is one of these.
pub(super) fn has(function: Function) -> bool {
    let name = function.name();
    name.starts_with("to") && function != Function::ToChars || name.starts_with("convertsTo")
}

pub(super) fn call<'a>(arguments: &mut Arguments<'_, '_, 'a>, input: &[Item<'a>]) -> Called<Items<'a>> {
    let item = match input {
        [] => return Ok(Items::new()),
        [item] => item,
        _ => return Err(Fault::NotSingleton.into()),
    };
    use Function as F;
    let value = item.value();
    let converted = value.and_then(|value| match arguments.function() {
        F::ToBoolean | F::ConvertsToBoolean => to_boolean(&value).map(Value::Boolean),
        F::ToInteger | F::ConvertsToInteger => to_integer(&value).map(Value::Integer),
        F::ToDecimal | F::ConvertsToDecimal => to_decimal(&value).map(Value::Decimal),
        F::ToDate | F::ConvertsToDate => to_date(&value).map(Value::Date),
        F::ToDateTime | F::ConvertsToDateTime => to_date_time(&value).map(Value::DateTime),
        F::ToTime | F::ConvertsToTime => to_time(&value).map(Value::Time),
        F::ToQuantity | F::ConvertsToQuantity => to_quantity(&value).map(Value::Quantity),
        _ => item.as_text().map(Value::String).or_else(|| match &value {
            Value::Quantity(_) => Some(Value::String(value.to_string().into())),
            _ => None,
        }),
    });
    let converted = match (converted, arguments.text(0)?) {
        (Some(Value::Quantity(quantity)), Some(unit)) => in_unit(&quantity, unit),
        (converted, _) => converted,
    };
    if arguments.function().name().starts_with("converts") {
        return Ok(truth(converted.is_some()));
    }
    Ok(one(converted))
}

fn to_boolean(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Boolean(boolean) => Some(*boolean),
        Value::Integer(0) => Some(false),
        Value::Integer(1) => Some(true),
        Value::Decimal(decimal) if *decimal == Decimal::ONE => Some(true),
        Value::Decimal(decimal) if decimal.is_zero() => Some(false),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
            "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn to_integer(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Integer(integer) => Some(*integer),
        Value::Boolean(boolean) => Some(i64::from(*boolean)),
        Value::Decimal(decimal) if decimal.fract().is_zero() => decimal.to_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn to_decimal(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Decimal(decimal) => Some(*decimal),
        Value::Integer(integer) => Some(Decimal::from(*integer)),
        Value::Boolean(boolean) => Some(Decimal::from(i64::from(*boolean))),
        Value::String(text) => decimal_text(text),
        _ => None,
    }
}

/// `[+-]?[0-9]+(.[0-9]+)?`
fn decimal_text(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if numeric(whole) && numeric(fraction) { text.parse().ok() } else { None }
}

fn to_date(value: &Value<'_>) -> Option<Date> {
    match value {
        Value::Date(date) => Some(*date),
        Value::DateTime(date_time) => Some(date_time.date()),
        Value::String(text) => DateTime::parse(text).map(DateTime::date),
        _ => None,
    }
}

fn to_date_time(value: &Value<'_>) -> Option<DateTime> {
    match value {
        Value::Date(date) => Some(date.to_date_time()),
        Value::DateTime(date_time) => Some(*date_time),
        Value::String(text) => DateTime::parse(text),
        _ => None,
    }
}

fn to_time(value: &Value<'_>) -> Option<Time> {
    match value {
        Value::Time(time) => Some(*time),
        Value::DateTime(date_time) if date_time.precision() >= Precision::Hour => date_time.time(),
        Value::String(text) => Time::parse(text.strip_prefix('T').unwrap_or(text)),
        _ => None,
    }
}

fn to_quantity<'a>(value: &Value<'a>) -> Option<Quantity<'a>> {
    match value {
        Value::Quantity(quantity) => Some(quantity.clone()),
        Value::Boolean(boolean) => {
            Some(Quantity { value: i64::from(*boolean).into(), unit: "1".into(), is_calendar: false })
        }
        Value::String(text) => quantity_text(text),
        other => plain_quantity(other),
    }
}

/// `4`, `4 days`, `4 'mg'`.
fn quantity_text<'a>(text: &str) -> Option<Quantity<'a>> {
    let text = text.trim();
    let end = text.find(|letter: char| !matches!(letter, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let value = decimal_text(&text[..end])?;
    let unit = text[end..].trim();
    if unit.is_empty() {
        return Some(Quantity { value, unit: "1".into(), is_calendar: false });
    }
    if let Some(code) = unit.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Some(Quantity { value, unit: code.to_owned().into(), is_calendar: false });
    }
    Some(Quantity { value, unit: calendar_unit(unit)?.into(), is_calendar: true })
}

fn in_unit<'a>(quantity: &Quantity<'a>, unit: std::borrow::Cow<'a, str>) -> Option<Value<'a>> {
    let is_calendar = calendar_unit(&unit).is_some();
    let unit = calendar_unit(&unit).map_or(unit, Into::into);
    let model = Quantity { value: Decimal::ONE, unit, is_calendar };
    let value = units::converted(quantity, &model)?;
    Some(Value::Quantity(Quantity { value, ..model }))
}

/// The value of `item` as text, for functions on strings; numbers and dates are not texts.
pub(super) fn text_of<'a>(item: &Item<'a>) -> Option<std::borrow::Cow<'a, str>> {
    match item {
        Item::Value(Value::String(text)) => Some(text.clone()),
        Item::Value(_) => None,
        Item::Element(_) => match item.value()? {
            Value::String(text) => Some(text),
            Value::Date(_) | Value::DateTime(_) | Value::Time(_) | Value::Integer(_) | Value::Decimal(_) => {
                item.as_text()
            }
            _ => None,
        },
    }
}
