//! The functions: which file has which, and what they share.

mod boundary;
mod collections;
mod conversion;
mod mathematics;
mod references;
pub(super) mod strings;

use super::error::Fault;
use super::evaluate::{Evaluated, Evaluator, Frame, boolean};
use super::function::Function;
use super::item::{Item, Items, Value};
use super::plan::Call;
use super::temporal::{Date, DateTime, Time};
use super::types::type_info;

pub(super) use collections::{all_where, any_where, count_where, union};
pub(super) use references::has_value;

/// Calls a function on `input`.
pub(super) fn call<'a>(
    evaluator: &Evaluator<'_, 'a>,
    call: &'a Call,
    input: Items<'a>,
    frame: Frame<'_, 'a>,
) -> Evaluated<Items<'a>> {
    use Function as F;
    evaluator.charge(input.len()).map_err(|what| call.fail(what))?;
    match call.function {
        F::Where | F::Exists | F::All | F::Select | F::Repeat | F::Aggregate | F::Sort | F::Iif => {
            collections::with_criteria(evaluator, call, input, frame)
        }
        F::Trace => Ok(input),
        F::Now | F::Today | F::TimeOfDay => now(evaluator, call.function).map_err(|what| call.fail(what)),
        _ => plain(&mut Arguments { evaluator, call, frame }, input).map_err(|failed| match failed {
            Failed::Here(what) => call.fail(what),
            Failed::Inside(error) => error,
        }),
    }
}

/// Functions whose arguments are evaluated once at most.
fn plain<'a>(arguments: &mut Arguments<'_, '_, 'a>, input: Items<'a>) -> Called<Items<'a>> {
    use Function as F;
    match arguments.function() {
        F::Type => Ok(input.iter().map(|item| Item::Value(Value::Type(type_info(item)))).collect()),
        function @ (F::AllTrue | F::AnyTrue | F::AllFalse | F::AnyFalse) => collections::of_booleans(function, &input),
        F::LowBoundary | F::HighBoundary | F::Precision => boundary::call(arguments, &input),
        function if conversion::has(function) => conversion::call(arguments, &input),
        function if strings::has(function) => strings::call(arguments, &input),
        function if mathematics::has(function) => mathematics::call(arguments, &input),
        function if references::has(function) => references::call(arguments, input),
        _ => collections::call(arguments, input),
    }
}

/// How a function fails: itself, or in an argument.
pub(super) enum Failed {
    Here(Fault),
    Inside(super::error::EvaluationError),
}

impl From<Fault> for Failed {
    fn from(what: Fault) -> Failed {
        Failed::Here(what)
    }
}

/// What a function yields.
pub(super) type Called<T> = Result<T, Failed>;

/// The arguments of a call, evaluated when asked for.
pub(super) struct Arguments<'c, 'e, 'a> {
    pub(super) evaluator: &'c Evaluator<'e, 'a>,
    pub(super) call: &'a Call,
    pub(super) frame: Frame<'c, 'a>,
}

impl<'a> Arguments<'_, '_, 'a> {
    pub(super) fn function(&self) -> Function {
        self.call.function
    }

    /// The argument's collection; empty if it was not written.
    pub(super) fn items(&self, index: usize) -> Called<Items<'a>> {
        match self.call.arguments.get(index) {
            Some(plan) => self.evaluator.items(plan, self.frame).map_err(Failed::Inside),
            None => Ok(Items::new()),
        }
    }

    /// The argument's only item.
    pub(super) fn item(&self, index: usize) -> Called<Option<Item<'a>>> {
        Ok(single(self.items(index)?)?)
    }

    /// The argument as a string.
    pub(super) fn text(&self, index: usize) -> Called<Option<std::borrow::Cow<'a, str>>> {
        match self.item(index)? {
            None => Ok(None),
            Some(item) => match item.value() {
                Some(Value::String(text)) => Ok(Some(text)),
                _ => Err(Fault::WrongType(self.call.function.name()).into()),
            },
        }
    }

    /// The argument as an integer.
    pub(super) fn integer(&self, index: usize) -> Called<Option<i64>> {
        match self.item(index)? {
            None => Ok(None),
            Some(item) => match item.as_integer() {
                Some(integer) => Ok(Some(integer)),
                None => Err(Fault::WrongType(self.call.function.name()).into()),
            },
        }
    }

    /// Takes steps for `length` bytes of text.
    pub(super) fn pay(&self, length: usize) -> Called<()> {
        Ok(self.evaluator.charge(length / 8)?)
    }
}

/// The only item of a collection, if it has any.
pub(super) fn single<'a>(mut items: Items<'a>) -> Result<Option<Item<'a>>, Fault> {
    match items.len() {
        0 | 1 => Ok(items.pop()),
        _ => Err(Fault::NotSingleton),
    }
}

/// A collection of one value, or of none.
pub(super) fn one<'a>(value: Option<Value<'a>>) -> Items<'a> {
    value.map(Item::Value).into_iter().collect()
}

/// A collection of one boolean.
pub(super) fn truth<'a>(boolean_value: bool) -> Items<'a> {
    boolean(Some(boolean_value))
}

fn now<'a>(evaluator: &Evaluator<'_, 'a>, function: Function) -> Result<Items<'a>, Fault> {
    let now = evaluator.environment.now.ok_or(Fault::NoClock)?;
    Ok(one(Some(match function {
        Function::Now => Value::DateTime(DateTime::of(now)),
        Function::Today => Value::Date(Date::of(now)),
        _ => Value::Time(Time::of(now)),
    })))
}
