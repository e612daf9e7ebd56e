//! Tokens → [`Plan`]: the grammar of FHIRPath N1 by precedence climbing, bounded in depth.

use super::dialect::Dialect;
use super::error::SyntaxError;
use super::function::Function;
use super::item::{Quantity, Value};
use super::lexer::{Token, tokens};
use super::nearest::nearest;
use super::operators::calendar_unit;
use super::pattern::Pattern;
use super::plan::{Binary, Call, Operation, Plan, Single};
use super::types::{Step, TypeTest};
use crate::fhir::r4::schema;
use crate::fhir::snapshot::R4;

/// Most levels of a plan: every operator, step, call and bracket is one. So many take less than 1 MiB of stack, whatever
/// they are and without optimisation: half of what a thread of the gateway has.
const DEPTH: u16 = 150;

/// Most brackets, arguments and right sides of operators inside each other, for the stack of the parser.
const OPEN: u16 = 100;
/// Longest expression, in bytes.
const LENGTH: usize = 64 * 1024;
/// What the patterns of an expression may weigh together, in bytes.
const PATTERNS: usize = 4 << 20;

/// Compiles `text`. With the plan, what its patterns weigh.
pub(super) fn parse(text: &str, dialect: Dialect<'_>) -> Result<(Plan, usize), SyntaxError> {
    if text.len() > LENGTH {
        return Err(SyntaxError::new(LENGTH, "the expression is longer than 64 KB"));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, at: 0, open: 0, patterns: 0, dialect };
    let plan = parser.expression(0)?;
    match parser.peek() {
        Token::End => Ok((plan, parser.patterns)),
        _ => parser.fail("an operator or the end of the expression was expected"),
    }
}

struct Parser<'p> {
    tokens: Vec<(Token, usize)>,
    at: usize,
    /// Brackets, arguments and operators that are open.
    open: u16,
    /// What the patterns so far weigh, in bytes.
    patterns: usize,
    dialect: Dialect<'p>,
}

type Parsed = Result<Plan, SyntaxError>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn offset(&self) -> usize {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn fail<T>(&self, what: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError::new(self.offset(), what))
    }

    fn takes(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(own) if *own == symbol);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), SyntaxError> {
        if self.takes(symbol) { Ok(()) } else { self.fail(format!("'{symbol}' was expected")) }
    }

    /// A plan over plans of at most `below` levels.
    fn plan(&self, operation: Operation, offset: usize, below: u16) -> Parsed {
        if below >= DEPTH {
            return Err(SyntaxError::new(offset, "the expression nests too deeply"));
        }
        Ok(Plan { operation, offset: u32::try_from(offset).unwrap_or(u32::MAX), depth: below + 1 })
    }

    /// An expression whose operators bind at least as strongly as `least`.
    fn expression(&mut self, least: u8) -> Parsed {
        self.open += 1;
        if self.open > OPEN {
            return self.fail("the expression nests too deeply");
        }
        let mut left = self.unary()?;
        while let Some((operator, strength)) = self.operator() {
            if strength < least {
                break;
            }
            let offset = self.offset();
            self.next();
            left = match operator {
                Infix::Is | Infix::As => self.type_operator(operator, left, offset)?,
                Infix::Binary(binary) => {
                    let right = self.expression(strength + 1)?;
                    let below = left.depth.max(right.depth);
                    self.plan(Operation::Binary(binary, Box::new((left, right))), offset, below)?
                }
            };
        }
        self.open -= 1;
        Ok(left)
    }

    fn type_operator(&mut self, operator: Infix, left: Plan, offset: usize) -> Parsed {
        let test = self.type_specifier()?;
        let below = left.depth;
        let operation = match operator {
            Infix::Is => Operation::Is(Some(Box::new(left)), test),
            _ => Operation::As(Some(Box::new(left)), test, Single::Item),
        };
        self.plan(operation, offset, below)
    }

    /// The infix operator that stands next, and how strongly it binds.
    fn operator(&self) -> Option<(Infix, u8)> {
        let (binary, strength) = match self.peek() {
            Token::Word(word) => match word.as_str() {
                "implies" => (Binary::Implies, 1),
                "or" => (Binary::Or, 2),
                "xor" => (Binary::Xor, 2),
                "and" => (Binary::And, 3),
                "in" => (Binary::In, 4),
                "contains" => (Binary::Contains, 4),
                "is" => return Some((Infix::Is, 8)),
                "as" => return Some((Infix::As, 8)),
                "div" => (Binary::Div, 10),
                "mod" => (Binary::Mod, 10),
                _ => return None,
            },
            Token::Symbol(symbol) => match *symbol {
                "=" => (Binary::Equal, 5),
                "!=" => (Binary::NotEqual, 5),
                "~" => (Binary::Equivalent, 5),
                "!~" => (Binary::NotEquivalent, 5),
                "<" => (Binary::Less, 6),
                "<=" => (Binary::LessOrEqual, 6),
                ">" => (Binary::Greater, 6),
                ">=" => (Binary::GreaterOrEqual, 6),
                "|" => (Binary::Union, 7),
                "+" => (Binary::Add, 9),
                "-" => (Binary::Subtract, 9),
                "&" => (Binary::Concatenate, 9),
                "*" => (Binary::Multiply, 10),
                "/" => (Binary::Divide, 10),
                _ => return None,
            },
            _ => return None,
        };
        Some((Infix::Binary(binary), strength))
    }

    fn unary(&mut self) -> Parsed {
        let offset = self.offset();
        if self.takes("-") {
            let operand = self.expression(11)?;
            let below = operand.depth;
            return self.plan(Operation::Negate(Box::new(operand)), offset, below);
        }
        if self.takes("+") {
            return self.expression(11);
        }
        self.postfix()
    }

    /// A term with the steps, calls and indexers behind it.
    fn postfix(&mut self) -> Parsed {
        let mut plan = self.term()?;
        loop {
            let offset = self.offset();
            if self.takes(".") {
                plan = self.invocation(Some(plan))?;
            } else if self.takes("[") {
                let index = self.expression(0)?;
                self.expect("]")?;
                let below = plan.depth.max(index.depth);
                plan = self.plan(Operation::Indexer(Box::new(plan), Box::new(index)), offset, below)?;
            } else {
                return Ok(plan);
            }
        }
    }

    fn term(&mut self) -> Parsed {
        let offset = self.offset();
        if self.takes("(") {
            let inner = self.expression(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.takes("{") {
            self.expect("}")?;
            return self.plan(Operation::Empty, offset, 0);
        }
        if self.takes("%") {
            let name = match self.next() {
                Token::Word(name) | Token::Delimited(name) | Token::String(name) => name,
                _ => return Err(SyntaxError::new(offset, "the name of a variable was expected after %")),
            };
            return self.plan(Operation::Variable(name.into()), offset, 0);
        }
        if matches!(self.peek(), Token::Word(_) | Token::Delimited(_) | Token::Dollar(_)) {
            return self.word_term();
        }
        let value = self.literal()?;
        self.plan(Operation::Literal(value), offset, 0)
    }

    fn word_term(&mut self) -> Parsed {
        let offset = self.offset();
        match self.peek() {
            Token::Word(word) if word == "true" || word == "false" => {
                let value = Value::Boolean(word == "true");
                self.next();
                self.plan(Operation::Literal(value), offset, 0)
            }
            _ => self.invocation(None),
        }
    }

    fn literal(&mut self) -> Result<Value<'static>, SyntaxError> {
        let offset = self.offset();
        match self.next() {
            Token::String(text) => Ok(Value::String(text.into())),
            Token::Integer(integer) => Ok(self.with_unit(integer.into()).unwrap_or(Value::Integer(integer))),
            Token::Decimal(decimal) => Ok(self.with_unit(decimal).unwrap_or(Value::Decimal(decimal))),
            Token::Date(date) => Ok(Value::Date(date)),
            Token::DateTime(date_time) => Ok(Value::DateTime(date_time)),
            Token::Time(time) => Ok(Value::Time(time)),
            _ => Err(SyntaxError::new(offset, "a value, a name or '(' was expected")),
        }
    }

    /// A quantity, if a unit follows the number.
    fn with_unit(&mut self, value: rust_decimal::Decimal) -> Option<Value<'static>> {
        let (unit, is_calendar) = match self.peek() {
            Token::String(unit) => (unit.clone().into(), false),
            Token::Word(word) => (calendar_unit(word)?.into(), true),
            _ => return None,
        };
        self.next();
        Some(Value::Quantity(Quantity { value, unit, is_calendar }))
    }

    /// A name, a call, or `$this` and its like, on `input`.
    fn invocation(&mut self, input: Option<Plan>) -> Parsed {
        let offset = self.offset();
        match self.next() {
            Token::Dollar(name) if input.is_none() || name == "this" => self.dollar(&name, input, offset),
            Token::Word(name) if self.takes("(") => self.call(&name, input, offset),
            Token::Word(name) => self.step(&name, input, offset, false),
            Token::Delimited(name) => self.step(&name, input, offset, true),
            _ => Err(SyntaxError::new(offset, "a name or function was expected")),
        }
    }

    fn dollar(&mut self, name: &str, input: Option<Plan>, offset: usize) -> Parsed {
        let operation = match name {
            // `x.$this` is x.
            "this" => match input {
                Some(input) => return Ok(input),
                None => Operation::This,
            },
            "index" => Operation::Index,
            "total" => Operation::Total,
            _ => return Err(SyntaxError::new(offset, format!("${name} is not defined"))),
        };
        self.plan(operation, offset, 0)
    }

    fn step(&mut self, name: &str, input: Option<Plan>, offset: usize, delimited: bool) -> Parsed {
        let step = Step::new(name, self.dialect);
        let Some(input) = input else {
            if !delimited && self.dialect.variables().contains(&name) {
                return self.plan(Operation::Variable(name.into()), offset, 0);
            }
            let type_test = TypeTest::new(None, name).filter(|_| name.starts_with(|first: char| first.is_uppercase()));
            return match type_test.and_then(|test| test.fhir().map(|_| test)) {
                Some(test) => self.plan(Operation::Start(Box::new((test, step))), offset, 0),
                None => self.plan(Operation::Child(None, Box::new(step)), offset, 0),
            };
        };
        let below = input.depth;
        self.plan(Operation::Child(Some(Box::new(input)), Box::new(step)), offset, below)
    }

    /// A call; its opening bracket has been read.
    fn call(&mut self, name: &str, input: Option<Plan>, offset: usize) -> Parsed {
        if matches!(name, "is" | "as" | "ofType") {
            return self.type_function(name, input, offset);
        }
        let Some((function, least, most)) = Function::find(name) else {
            return Err(unknown_function(name, offset));
        };
        let arguments = self.arguments()?;
        if !(least..=most).contains(&arguments.len()) {
            return Err(wrong_count(name, least, most, arguments.len(), offset));
        }
        if self.dialect.is_lenient() && needs_a_validator(function, &arguments) {
            let what =
                format!("{name}() of this asks a validator, and none stands behind a map: let a profile ask for it");
            return Err(SyntaxError::new(offset, what));
        }
        let below = arguments.iter().chain(&input).map(|plan| plan.depth).max().unwrap_or(0);
        let pattern = literal_pattern(function, &arguments)?;
        self.patterns += pattern.as_ref().map_or(0, Pattern::weight);
        if self.patterns > PATTERNS {
            return Err(SyntaxError::new(offset, "the regular expressions are too large together"));
        }
        let place = u32::try_from(offset).unwrap_or(u32::MAX);
        let call = Call { function, input, arguments, pattern, offset: place };
        self.plan(Operation::Call(Box::new(call)), offset, below)
    }

    fn arguments(&mut self) -> Result<Vec<Plan>, SyntaxError> {
        let mut arguments = Vec::new();
        if self.takes(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression(0)?);
            if !self.takes(",") {
                self.expect(")")?;
                return Ok(arguments);
            }
        }
    }

    /// `is(…)`, `as(…)`, `ofType(…)`.
    fn type_function(&mut self, name: &str, input: Option<Plan>, offset: usize) -> Parsed {
        let test = self.type_specifier()?;
        self.expect(")")?;
        let below = input.as_ref().map_or(0, |input| input.depth);
        let input = input.map(Box::new);
        let operation = match name {
            "is" => Operation::Is(input, test),
            "as" => Operation::As(input, test, Single::OfItsType),
            _ => Operation::As(input, test, Single::No),
        };
        self.plan(operation, offset, below)
    }

    /// `Quantity`, `FHIR.Patient`, `` System.`String` ``.
    fn type_specifier(&mut self) -> Result<TypeTest, SyntaxError> {
        let offset = self.offset();
        let first = self.type_name()?;
        let test = if matches!(first.as_str(), "System" | "FHIR") && self.takes(".") {
            let name = self.type_name()?;
            TypeTest::new(Some(&first), &name)
        } else {
            TypeTest::new(None, &first)
        };
        test.ok_or_else(|| SyntaxError::new(offset, "there is no type of this name"))
    }

    fn type_name(&mut self) -> Result<String, SyntaxError> {
        let offset = self.offset();
        match self.next() {
            Token::Word(name) | Token::Delimited(name) => Ok(name),
            _ => Err(SyntaxError::new(offset, "the name of a type was expected")),
        }
    }
}

#[cold]
fn unknown_function(name: &str, offset: usize) -> SyntaxError {
    let hint = nearest(name, Function::names().map(str::to_owned));
    let hint = if hint.is_empty() { hint } else { format!("; {hint}") };
    SyntaxError::new(offset, format!("there is no function {name}(){hint}"))
}

#[cold]
fn wrong_count(name: &str, least: usize, most: usize, given: usize, offset: usize) -> SyntaxError {
    let count = if least == most { least.to_string() } else { format!("{least} to {most}") };
    SyntaxError::new(offset, format!("{name}() takes {count} arguments and was given {given}"))
}

#[derive(Clone, Copy)]
enum Infix {
    Binary(Binary),
    Is,
    As,
}

/// Whether only a validator can answer: `memberOf(…)`, and `conformsTo(…)` of anything but a type of R4.
fn needs_a_validator(function: Function, arguments: &[Plan]) -> bool {
    let is_type = |url: &str| url.strip_prefix(R4).is_some_and(|name| schema().type_named(name).is_some());
    match (function, arguments.first().map(|argument| &argument.operation)) {
        (Function::MemberOf, _) => true,
        (Function::ConformsTo, Some(Operation::Literal(Value::String(url)))) => !is_type(url),
        _ => false,
    }
}

fn literal_pattern(function: Function, arguments: &[Plan]) -> Result<Option<Pattern>, SyntaxError> {
    let Some(Plan { operation: Operation::Literal(Value::String(text)), offset, .. }) = arguments.first() else {
        return Ok(None);
    };
    if !function.takes_pattern() {
        return Ok(None);
    }
    match Pattern::new(text, function == Function::MatchesFull) {
        Some(pattern) => Ok(Some(pattern)),
        None => Err(SyntaxError::new(*offset as usize, "the regular expression is not valid or too large")),
    }
}
