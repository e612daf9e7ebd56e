//! FHIRPath (N1, normative release 2.0, with the additions of FHIR R4): one engine for maps, invariants and agreement
//! paths.
//!
//! Enters: the text of an expression, once; then, any number of times, a focus of items and an [`Environment`].
//! Leaves: items that know their node, and so their path. An [`Expression`] is compiled: names are interned, literal
//! patterns and literals are ready. Invariant: an evaluation is a function of its arguments and ends within its bound
//! of steps, whatever the data. Errors name the place in the expression, never a value.

mod check;
mod dialect;
mod environment;
mod error;
mod evaluate;
mod function;
mod functions;
mod item;
mod lexer;
mod nearest;
mod operators;
mod parser;
mod pattern;
mod plan;
mod presence;
mod reach;
mod temporal;
mod shape;
mod signature;
mod types;
mod typing;
mod units;

use evaluate::{Evaluator, Frame};
use plan::Plan;

pub use dialect::Dialect;
pub use environment::{Environment, Knowledge, STEPS, Variable};
pub use error::{EvaluationError, Fault, SyntaxError, TypeError};
pub use item::{Element, Item, Items, Quantity, TypeInfo, Value};
pub use nearest::nearest;
pub use reach::Reach;
pub use rust_decimal::Decimal;
pub use temporal::{Date, DateTime, Precision, Time};
pub use typing::{DataType, TypeModel, Typing};

/// A compiled expression; cheap to share between threads, evaluated many times.
#[derive(Debug)]
pub struct Expression {
    text: Box<str>,
    plan: Plan,
    /// What its patterns weigh, in bytes.
    patterns: usize,
    /// See [`Dialect`].
    lenient: bool,
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// [`SyntaxError`] with its place; an unknown function or a wrong number of arguments is one.
    pub fn parse(text: &str) -> Result<Expression, SyntaxError> {
        Expression::parse_as(text, Dialect::Strict)
    }

    /// Compiles `text` as written in `dialect`.
    ///
    /// # Errors
    /// See [`Expression::parse`].
    pub fn parse_as(text: &str, dialect: Dialect<'_>) -> Result<Expression, SyntaxError> {
        let (plan, patterns) = parser::parse(text, dialect)?;
        Ok(Expression { text: text.into(), plan, patterns, lenient: dialect.is_lenient() })
    }

    /// What is certainly wrong with the expression where `typing` says what it will find: an element that a type does
    /// not have, values that are never equal, an argument of the wrong type.
    pub fn check(&self, typing: &Typing<'_>) -> Vec<TypeError> {
        check::check(&self.plan, typing, self.lenient)
    }

    /// What of the expression this engine cannot evaluate, whatever it finds.
    pub fn unsupported(&self) -> Option<TypeError> {
        let faults = self.check(&Typing::of(DataType::Any));
        faults.into_iter().find(|fault| fault.what.ends_with(check::UNSUPPORTED))
    }

    /// How much memory its regular expressions may take, in bytes.
    pub fn pattern_bytes(&self) -> usize {
        self.patterns
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The collection that the expression yields on `focus`.
    ///
    /// # Errors
    /// [`EvaluationError`] with its place in the expression.
    pub fn evaluate<'a>(
        &'a self,
        focus: &[Item<'a>],
        environment: &Environment<'_, 'a>,
    ) -> Result<Items<'a>, EvaluationError> {
        let frame = Frame { focus, index: 0, total: None };
        let evaluator = Evaluator::new(focus, environment);
        let found = evaluator.items(&self.plan, frame);
        evaluator.settle();
        found
    }

    /// Whether an invariant holds on `focus`: `false` breaks it, an empty result and `true` do not, nor does a single
    /// item that is not a boolean (FHIRPath N1, 4.5, singleton evaluation).
    ///
    /// # Errors
    /// See [`Expression::evaluate`]; several items are an error.
    pub fn holds<'a>(&'a self, focus: &Item<'a>, environment: &Environment<'_, 'a>) -> Result<bool, EvaluationError> {
        let focus = std::slice::from_ref(focus);
        let frame = Frame { focus, index: 0, total: None };
        let evaluator = Evaluator::new(focus, environment);
        let truth = evaluator.truth(&self.plan, frame);
        evaluator.settle();
        Ok(truth?.unwrap_or(true))
    }
}

#[cfg(test)]
mod tests;
