//! What can go wrong: in the text of an expression, and in its evaluation. Never with a value from the data.

use std::fmt;

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at byte {offset} of the expression)")]
pub struct SyntaxError {
    /// Byte offset in the text of the expression.
    pub offset: usize,
    /// What is wrong.
    pub what: String,
}

impl SyntaxError {
    pub(super) fn new(offset: usize, what: impl Into<String>) -> SyntaxError {
        SyntaxError { offset, what: what.into() }
    }
}

/// Why an expression cannot be meant on a type: found before any data is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at byte {offset} of the expression){}{hint}", if hint.is_empty() { "" } else { "; " })]
pub struct TypeError {
    /// Byte offset in the text of the expression.
    pub offset: usize,
    /// What is wrong.
    pub what: String,
    /// What to write instead; may be empty.
    pub hint: String,
    /// Whether it cannot be right: `false` for what has a meaning, but hardly the one intended.
    pub is_certain: bool,
}

/// Why an expression has no result on this data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at byte {offset} of the expression)")]
pub struct EvaluationError {
    /// What went wrong.
    pub what: Fault,
    /// Byte offset of the function or operator in the text of the expression.
    pub offset: usize,
}

impl EvaluationError {
    /// What the author of the expression can do about it.
    pub fn hint(&self) -> &'static str {
        match self.what {
            Fault::NotSingleton => "choose one item first, such as with first() or where(…)",
            Fault::WrongType(_) => "convert the value first, or guard the expression with is or ofType()",
            Fault::NotSupported(_) => "express the rule without it, or check it outside FHIRPath",
            Fault::UnknownVariable(_) => "declare the variable, or correct its spelling",
            Fault::TooManySteps => "narrow the collection that the expression walks over",
            Fault::NoClock => "now(), today() and timeOfDay() need the time from the caller",
            Fault::BadPattern => "correct the regular expression",
        }
    }
}

/// The kinds of [`EvaluationError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// One item was needed and several were there (FHIRPath N1, 4.5).
    NotSingleton,
    /// The operation is not defined for the type it met; the name says which operation.
    WrongType(&'static str),
    /// The function needs what the gateway does not have, such as a terminology service.
    NotSupported(&'static str),
    /// `%name` that neither the specification nor the environment defines.
    UnknownVariable(Box<str>),
    /// The evaluation went past its bound on steps.
    TooManySteps,
    /// The expression asks for the time and the environment has none.
    NoClock,
    /// A regular expression that cannot be compiled, or is too large.
    BadPattern,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotSingleton => f.write_str("a single item was expected and several were found"),
            Fault::WrongType(operation) => write!(f, "{operation} is not defined for the type of its input"),
            Fault::NotSupported(function) => write!(f, "{function} is not supported here"),
            Fault::UnknownVariable(name) => write!(f, "the variable %{name} is not defined"),
            Fault::TooManySteps => f.write_str("the expression takes too many steps on this data"),
            Fault::NoClock => f.write_str("the expression asks for the time, which its caller did not give"),
            Fault::BadPattern => f.write_str("a regular expression is not valid or too large"),
        }
    }
}
