//! The compiled form of an expression.

use super::error::{EvaluationError, Fault};
use super::function::Function;
use super::item::Value;
use super::pattern::Pattern;
use super::types::{Step, TypeTest};

/// A compiled subexpression.
#[derive(Debug)]
pub(super) struct Plan {
    /// What it does.
    pub(super) operation: Operation,
    /// Byte offset in the text: where an error points.
    pub(super) offset: u32,
    /// Levels below and with this one; bounded at parse, so that recursion over plans is.
    pub(super) depth: u16,
}

#[derive(Debug)]
pub(super) enum Operation {
    /// `{}`
    Empty,
    Literal(Value<'static>),
    /// `$this`
    This,
    /// `$index`
    Index,
    /// `$total`
    Total,
    /// `%name`, or a declared variable by its bare name.
    Variable(Box<str>),
    /// A name at the start of a path: the focus itself if it is of that type, otherwise its children.
    Start(Box<(TypeTest, Step)>),
    /// `.name`; without a base on the focus.
    Child(Option<Box<Plan>>, Box<Step>),
    /// `[…]`
    Indexer(Box<Plan>, Box<Plan>),
    Call(Box<Call>),
    Negate(Box<Plan>),
    Binary(Binary, Box<(Plan, Plan)>),
    /// `is`, operator or function.
    Is(Option<Box<Plan>>, TypeTest),
    /// `as` and `ofType`, operator or function.
    As(Option<Box<Plan>>, TypeTest, Single),
}

/// How many items a selection by type takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Single {
    /// The operator `as`: at most one.
    Item,
    /// The function `as()`: several unless all are of the type.
    OfItsType,
    /// `ofType()`: any number.
    No,
}

/// A function with its input and arguments.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: Function,
    /// `None` calls it on the focus.
    pub(super) input: Option<Plan>,
    pub(super) arguments: Vec<Plan>,
    /// The first argument as a pattern, if it is a literal.
    pub(super) pattern: Option<Pattern>,
    pub(super) offset: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Implies,
    Or,
    Xor,
    And,
    In,
    Contains,
    Equal,
    NotEqual,
    Equivalent,
    NotEquivalent,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Union,
    Add,
    Subtract,
    Concatenate,
    Multiply,
    Divide,
    Div,
    Mod,
}

/// `and`, `or`, `xor`, `implies` with three values (FHIRPath N1, 6.5).
impl Binary {
    /// What the left side alone decides.
    pub(super) fn decided_by(self, left: Option<bool>) -> Option<Option<bool>> {
        match (self, left) {
            (Binary::And, Some(false)) => Some(Some(false)),
            (Binary::Or, Some(true)) | (Binary::Implies, Some(false)) => Some(Some(true)),
            (Binary::Xor, None) => Some(None),
            _ => None,
        }
    }

    /// What both sides say.
    pub(super) fn of_truths(self, left: Option<bool>, right: Option<bool>) -> Option<bool> {
        match self {
            Binary::And => match (left, right) {
                (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Binary::Or => match (left, right) {
                (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Binary::Xor => left.zip(right).map(|(left, right)| left != right),
            _ => match (left, right) {
                (_, Some(true)) => Some(true),
                (Some(true), right) => right,
                _ => None,
            },
        }
    }
}

impl Plan {
    /// An error at this place.
    pub(super) fn fail(&self, what: Fault) -> EvaluationError {
        EvaluationError { what, offset: self.offset as usize }
    }

    /// Whether it yields one boolean or nothing, so that its truth is its value.
    pub(super) fn is_truth(&self) -> bool {
        match &self.operation {
            Operation::Call(call) => call.function.is_truth(),
            Operation::Binary(binary, _) => binary.is_truth(),
            Operation::Is(..) | Operation::Literal(Value::Boolean(_)) => true,
            _ => false,
        }
    }

    /// What is counted, if this is `count()` on something.
    pub(super) fn counted(&self) -> Option<&Plan> {
        match &self.operation {
            Operation::Call(call) if call.function == Function::Count => call.input.as_ref(),
            _ => None,
        }
    }
}

impl Binary {
    /// Whether it compares two numbers.
    pub(super) fn compares(self) -> bool {
        use Binary as B;
        matches!(self, B::Equal | B::NotEqual | B::Less | B::LessOrEqual | B::Greater | B::GreaterOrEqual)
    }

    /// Whether it yields true, false or nothing.
    fn is_truth(self) -> bool {
        use Binary as B;
        let logic = matches!(self, B::Implies | B::Or | B::Xor | B::And | B::In | B::Contains);
        logic || self.compares() || matches!(self, B::Equivalent | B::NotEquivalent)
    }
}

impl Call {
    /// An error at the name of the function.
    pub(super) fn fail(&self, what: Fault) -> EvaluationError {
        EvaluationError { what, offset: self.offset as usize }
    }
}
