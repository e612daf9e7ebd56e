//! Mathematics (FHIRPath N1, 5.7). What is not defined, such as the root of -1, is empty.

use rust_decimal::prelude::ToPrimitive as _;
use rust_decimal::{Decimal, MathematicalOps as _, RoundingStrategy};

use super::{Arguments, Called, one, truth};
use crate::fhirpath::error::Fault;
use crate::fhirpath::function::Function;
use crate::fhirpath::item::{Item, Items, Quantity, Value};
use crate::fhirpath::units;

/// Whether `function` is one of these.
pub(super) fn has(function: Function) -> bool {
    use Function as F;
    matches!(
        function,
        F::Abs
            | F::Ceiling
            | F::Exp
            | F::Floor
            | F::Ln
            | F::Log
            | F::Power
            | F::Round
            | F::Sqrt
            | F::Truncate
            | F::Comparable
    )
}

pub(super) fn call<'a>(arguments: &mut Arguments<'_, '_, 'a>, input: &[Item<'a>]) -> Called<Items<'a>> {
    use Function as F;
    let function = arguments.function();
    let value = match input {
        [] => return Ok(Items::new()),
        [item] => item.value().ok_or(Fault::WrongType(function.name()))?,
        _ => return Err(Fault::NotSingleton.into()),
    };
    match (function, value) {
        (F::Comparable, Value::Quantity(quantity)) => match arguments.item(0)?.and_then(|item| item.value()) {
            Some(Value::Quantity(other)) => Ok(truth(units::comparable(&quantity, &other))),
            _ => Ok(Items::new()),
        },
        (F::Abs, Value::Integer(integer)) => Ok(one(integer.checked_abs().map(Value::Integer))),
        (F::Abs | F::Ceiling | F::Floor | F::Truncate, Value::Quantity(quantity)) => {
            let rounded = rounded(function, quantity.value);
            Ok(one(Some(Value::Quantity(Quantity { value: rounded, ..quantity }))))
        }
        (F::Power, Value::Integer(base)) => power_of_integer(arguments, base),
        (_, Value::Integer(integer)) => with_decimal(arguments, integer.into()),
        (_, Value::Decimal(decimal)) => with_decimal(arguments, decimal),
        _ => Err(Fault::WrongType(function.name()).into()),
    }
}

fn rounded(function: Function, decimal: Decimal) -> Decimal {
    match function {
        Function::Abs => decimal.abs(),
        Function::Ceiling => decimal.ceil(),
        Function::Floor => decimal.floor(),
        _ => decimal.trunc(),
    }
}

fn argument(arguments: &Arguments<'_, '_, '_>) -> Called<Option<Decimal>> {
    match arguments.item(0)? {
        None => Ok(None),
        Some(item) => match item.as_decimal() {
            Some(decimal) => Ok(Some(decimal)),
            None => Err(Fault::WrongType(arguments.function().name()).into()),
        },
    }
}

fn with_decimal<'a>(arguments: &Arguments<'_, '_, 'a>, decimal: Decimal) -> Called<Items<'a>> {
    use Function as F;
    let result = match arguments.function() {
        F::Abs => Some(decimal.abs()),
        F::Ceiling | F::Floor | F::Truncate => {
            let whole = rounded(arguments.function(), decimal).to_i64();
            return Ok(one(whole.map(Value::Integer)));
        }
        F::Round => {
            let places = arguments.integer(0)?.unwrap_or(0);
            let Ok(places) = u32::try_from(places) else { return Err(Fault::WrongType("round").into()) };
            Some(decimal.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero))
        }
        F::Exp => decimal.checked_exp(),
        F::Ln => logarithm(decimal),
        F::Sqrt => decimal.sqrt(),
        F::Log => match argument(arguments)? {
            Some(base) => logarithm(decimal).zip(logarithm(base)).and_then(|(number, base)| number.checked_div(base)),
            None => return Ok(Items::new()),
        },
        _ => match argument(arguments)? {
            Some(exponent) => power(decimal, exponent),
            None => return Ok(Items::new()),
        },
    };
    // Series end in noise at the 28th digit: 2.0000000000000000000000000001 is 2.
    let transcendental = matches!(arguments.function(), F::Exp | F::Ln | F::Log | F::Sqrt | F::Power);
    Ok(one(
        result.map(|decimal| Value::Decimal(if transcendental { decimal.round_dp(12).normalize() } else { decimal }))
    ))
}

fn logarithm(decimal: Decimal) -> Option<Decimal> {
    if decimal <= Decimal::ZERO { None } else { decimal.checked_ln() }
}

fn power(base: Decimal, exponent: Decimal) -> Option<Decimal> {
    match exponent.to_i64().filter(|_| exponent.fract().is_zero()) {
        Some(whole) => base.checked_powi(whole),
        None if base.is_sign_negative() => None,
        None => base.checked_powd(exponent),
    }
}

fn power_of_integer<'a>(arguments: &Arguments<'_, '_, 'a>, base: i64) -> Called<Items<'a>> {
    let Some(exponent) = argument(arguments)? else { return Ok(Items::new()) };
    let whole = if exponent.fract().is_zero() { exponent.to_u32() } else { None };
    match whole {
        Some(whole) => Ok(one(base.checked_pow(whole).map(Value::Integer))),
        None => Ok(one(power(base.into(), exponent).map(|decimal| Value::Decimal(decimal.round_dp(12))))),
    }
}
