//! `lowBoundary()`, `highBoundary()`, `precision()` (FHIRPath 2.1): what a value may mean, given its digits.

use rust_decimal::{Decimal, RoundingStrategy};

use super::{Arguments, Called, one};
use crate::fhirpath::error::Fault;
use crate::fhirpath::function::Function;
use crate::fhirpath::item::{Item, Items, Quantity, Value};
use crate::fhirpath::temporal::Precision;

pub(super) fn call<'a>(arguments: &mut Arguments<'_, '_, 'a>, input: &[Item<'a>]) -> Called<Items<'a>> {
    let value = match input {
        [] => return Ok(Items::new()),
        [item] => item.value().ok_or(Fault::WrongType(arguments.function().name()))?,
        _ => return Err(Fault::NotSingleton.into()),
    };
    if arguments.function() == Function::Precision {
        return Ok(one(digits(&value).map(Value::Integer)));
    }
    let wanted = arguments.integer(0)?;
    Ok(one(boundary(&value, wanted, arguments.function() == Function::HighBoundary)))
}

/// How many digits a value was written with.
fn digits(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Integer(_) => Some(0),
        Value::Decimal(decimal) => Some(i64::from(decimal.scale())),
        Value::Date(date) => Some(temporal_digits(date.precision())),
        Value::DateTime(date_time) => Some(temporal_digits(date_time.precision())),
        Value::Time(time) => Some(temporal_digits(time.precision()) - 8),
        _ => None,
    }
}

fn temporal_digits(precision: Precision) -> i64 {
    match precision {
        Precision::Year => 4,
        Precision::Month => 6,
        Precision::Day => 8,
        Precision::Hour => 10,
        Precision::Minute => 12,
        Precision::Second => 14,
        Precision::Fraction(digits) => 14 + i64::from(digits),
    }
}

fn precision_of(digits: i64) -> Option<Precision> {
    match digits {
        4 => Some(Precision::Year),
        6 => Some(Precision::Month),
        8 => Some(Precision::Day),
        10 => Some(Precision::Hour),
        12 => Some(Precision::Minute),
        14 => Some(Precision::Second),
        15..=17 => Some(Precision::Fraction(u8::try_from(digits - 14).ok()?)),
        _ => None,
    }
}

fn boundary<'a>(value: &Value<'a>, digits: Option<i64>, high: bool) -> Option<Value<'a>> {
    match value {
        Value::Integer(integer) => of_decimal((*integer).into(), digits, high).map(Value::Decimal),
        Value::Decimal(decimal) => of_decimal(*decimal, digits, high).map(Value::Decimal),
        Value::Quantity(quantity) => {
            let value = of_decimal(quantity.value, digits, high)?;
            Some(Value::Quantity(Quantity { value, ..quantity.clone() }))
        }
        Value::Date(date) => {
            let precision = precision_of(digits.unwrap_or(8)).filter(|precision| *precision <= Precision::Day)?;
            Some(Value::Date(date.with_precision(precision, high)))
        }
        Value::DateTime(date_time) => {
            Some(Value::DateTime(date_time.with_precision(precision_of(digits.unwrap_or(17))?, high)))
        }
        Value::Time(time) => {
            let precision = precision_of(digits.unwrap_or(9) + 8).filter(|precision| *precision >= Precision::Hour)?;
            Some(Value::Time(time.with_precision(precision, high)))
        }
        _ => None,
    }
}

fn of_decimal(decimal: Decimal, digits: Option<i64>, high: bool) -> Option<Decimal> {
    let digits = u32::try_from(digits.unwrap_or(8)).ok().filter(|digits| *digits <= 28)?;
    // A number of 28 decimals has no room for a half behind them.
    let half = Decimal::try_new(5, decimal.scale() + 1).ok()?;
    let edge = if high { decimal.checked_add(half) } else { decimal.checked_sub(half) }?;
    let strategy = if high { RoundingStrategy::ToPositiveInfinity } else { RoundingStrategy::ToNegativeInfinity };
    let mut rounded = edge.round_dp_with_strategy(digits, strategy);
    rounded.rescale(digits);
    Some(rounded)
}
