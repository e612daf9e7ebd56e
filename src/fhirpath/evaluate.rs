//! Plans on items: the evaluator, paths, variables and logic.
//!
//! Conditions are evaluated as truth values without a collection in between, and `exists()` stops at the first item.

use std::cell::Cell;

use super::environment::{Environment, STEPS, Variable};
use super::error::{EvaluationError, Fault};
use super::function::Function;
use super::functions;
use super::item::{Item, Items, UCUM, Value};
use super::operators;
use super::plan::{Binary, Call, Operation, Plan, Single};
use super::types::{Found, Step, TypeTest, children};
use crate::fhir::snapshot::R4;

/// What an evaluation yields.
pub(super) type Evaluated<T> = Result<T, EvaluationError>;

/// One evaluation of one expression.
pub(super) struct Evaluator<'e, 'a> {
    pub(super) environment: &'e Environment<'e, 'a>,
    /// `%context`: the focus of the whole expression.
    context: &'e [Item<'a>],
    steps_left: Cell<u64>,
}

/// What `$this`, `$index` and `$total` mean at a place in an expression.
#[derive(Clone, Copy)]
pub(super) struct Frame<'f, 'a> {
    pub(super) focus: &'f [Item<'a>],
    pub(super) index: usize,
    pub(super) total: Option<&'f Items<'a>>,
}

impl<'f, 'a> Frame<'f, 'a> {
    /// The frame of a criterion or projection on one item.
    pub(super) fn of(item: &'f Item<'a>, index: usize) -> Frame<'f, 'a> {
        Frame { focus: std::slice::from_ref(item), index, total: None }
    }
}

/// A collection of one boolean, or of none.
pub(super) fn boolean<'a>(truth: Option<bool>) -> Items<'a> {
    truth.map(|boolean| Item::Value(Value::Boolean(boolean))).into_iter().collect()
}

/// A collection of one string.
fn text<'a>(text: impl Into<std::borrow::Cow<'a, str>>) -> Items<'a> {
    Items::from_iter([Item::of_text(text)])
}

impl<'e, 'a> Evaluator<'e, 'a> {
    pub(super) fn new(context: &'e [Item<'a>], environment: &'e Environment<'e, 'a>) -> Evaluator<'e, 'a> {
        Evaluator { environment, context, steps_left: Cell::new(environment.steps.unwrap_or(STEPS)) }
    }

    /// Tells the environment how many steps were taken.
    pub(super) fn settle(&self) {
        if let Some(taken) = self.environment.taken {
            let bound = self.environment.steps.unwrap_or(STEPS);
            taken.set(taken.get().saturating_add(bound - self.steps_left.get()));
        }
    }

    /// Takes `count` steps off the bound.
    #[inline]
    pub(super) fn charge(&self, count: usize) -> Result<(), Fault> {
        match self.steps_left.get().checked_sub(count as u64) {
            Some(left) => {
                self.steps_left.set(left);
                Ok(())
            }
            None => {
                self.steps_left.set(0);
                Err(Fault::TooManySteps)
            }
        }
    }

    /// Takes steps for `plan`.
    #[inline]
    fn charge_at(&self, plan: &Plan, count: usize) -> Evaluated<()> {
        self.charge(count).map_err(|what| plan.fail(what))
    }

    /// The collection that `plan` yields.
    pub(super) fn items(&self, plan: &'a Plan, frame: Frame<'_, 'a>) -> Evaluated<Items<'a>> {
        self.charge_at(plan, 1)?;
        match &plan.operation {
            Operation::Empty => Ok(Items::new()),
            Operation::Literal(_) | Operation::This | Operation::Index | Operation::Total | Operation::Variable(_) => {
                self.leaf(plan, frame)
            }
            Operation::Start(named) => self.start(plan, named, frame),
            Operation::Child(None, step) => self.walk(plan, frame.focus, step),
            Operation::Child(Some(base), step) => self.child(plan, base, step, frame),
            Operation::Indexer(base, index) => self.indexed(plan, base, index, frame),
            Operation::Call(call) => self.call(plan, call, frame),
            Operation::Negate(operand) => self.negated(plan, operand, frame),
            Operation::Binary(binary, sides) => self.binary(plan, *binary, sides, frame),
            Operation::Is(..) => self.truth_as_items(plan, frame),
            Operation::As(input, test, single) => self.narrowed(plan, input.as_deref(), test, *single, frame),
        }
    }

    // What follows is apart from `items`, as are the parts of `truth`: they call each other once for each level of an
    // expression, and without optimisation a function's stack has room for all its branches.

    /// What has no plan below it.
    fn leaf(&self, plan: &'a Plan, frame: Frame<'_, 'a>) -> Evaluated<Items<'a>> {
        match &plan.operation {
            Operation::Literal(value) => Ok(Items::from_iter([Item::Value(borrowed(value))])),
            Operation::This => Ok(frame.focus.iter().cloned().collect()),
            Operation::Index => Ok(Items::from_iter([Item::Value(Value::Integer(frame.index as i64))])),
            Operation::Total => Ok(frame.total.cloned().unwrap_or_default()),
            Operation::Variable(name) => self.variable(name).map_err(|what| plan.fail(what)),
            _ => Ok(Items::new()),
        }
    }

    fn start(&self, plan: &'a Plan, named: &'a (TypeTest, Step), frame: Frame<'_, 'a>) -> Evaluated<Items<'a>> {
        let (test, step) = named;
        if frame.focus.first().is_some_and(|item| test.is(item)) {
            return Ok(frame.focus.iter().cloned().collect());
        }
        self.walk(plan, frame.focus, step)
    }

    fn child(&self, plan: &'a Plan, base: &'a Plan, step: &'a Step, frame: Frame<'_, 'a>) -> Evaluated<Items<'a>> {
        let mut held = Items::new();
        let base = self.seen(base, frame, &mut held)?;
        self.walk(plan, base, step)
    }

    fn negated(&self, plan: &'a Plan, operand: &'a Plan, frame: Frame<'_, 'a>) -> Evaluated<Items<'a>> {
        let operand = self.items(operand, frame)?;
        operators::negate(&operand).map_err(|what| plan.fail(what))
    }

    fn truth_as_items(&self, plan: &'a Plan, frame: Frame<'_, 'a>) -> Evaluated<Items<'a>> {
        Ok(boolean(self.truth(plan, frame)?))
    }

    fn narrowed(
        &self,
        plan: &'a Plan,
        input: Option<&'a Plan>,
        test: &'a TypeTest,
        single: Single,
        frame: Frame<'_, 'a>,
    ) -> Evaluated<Items<'a>> {
        let mut items = self.input(input, frame)?;
        let count = items.len();
        items.retain(|item| test.selects(item));
        // Constraint dom-3 of R4 applies as() to mixed collections, so only items all of the type are refused.
        match single {
            Single::Item if count > 1 => Err(plan.fail(Fault::NotSingleton)),
            Single::OfItsType if count > 1 && items.len() == count => Err(plan.fail(Fault::NotSingleton)),
            _ => Ok(items),
        }
    }

    /// What `plan` yields, to be looked at only: without a copy where it is there already.
    fn seen<'f>(&'f self, plan: &'a Plan, frame: Frame<'f, 'a>, held: &'f mut Items<'a>) -> Evaluated<&'f [Item<'a>]> {
        let there = match &plan.operation {
            Operation::This => Some(frame.focus),
            Operation::Start(named) if frame.focus.first().is_some_and(|item| named.0.is(item)) => Some(frame.focus),
            Operation::Variable(name) => self.known_variable(name),
            _ => None,
        };
        match there {
            Some(items) => {
                self.charge_at(plan, 1)?;
                Ok(items)
            }
            None => {
                *held = self.items(plan, frame)?;
                Ok(held)
            }
        }
    }

    /// A path of names beside the literal of a string, without collections; `None` where it takes them to tell.
    #[inline(never)]
    fn text_compared(
        &self,
        binary: Binary,
        sides: &'a (Plan, Plan),
        frame: Frame<'_, 'a>,
    ) -> Evaluated<Option<Option<bool>>> {
        let (Operation::Literal(Value::String(expected)), Binary::Equal | Binary::NotEqual) =
            (&sides.1.operation, binary)
        else {
            return Ok(None);
        };
        Ok(match self.one(&sides.0, frame)? {
            Found::Nothing => Some(None),
            Found::One(item) => {
                operators::equals_text(&item, expected).map(|equal| Some(equal == (binary == Binary::Equal)))
            }
            Found::Several => None,
        })
    }

    /// What a path of names leads to, as long as each step finds one item at most.
    fn one(&self, plan: &'a Plan, frame: Frame<'_, 'a>) -> Evaluated<Found<'a>> {
        let (base, step) = match (&plan.operation, frame.focus) {
            (Operation::This, [item]) => return Ok(Found::One(item.clone())),
            (Operation::Child(base, step), _) => (base, step),
            _ => return Ok(Found::Several),
        };
        self.charge_at(plan, 2)?;
        Ok(match (base, frame.focus) {
            (None, [item]) => step.walk_to_one(item),
            (None, _) => Found::Several,
            (Some(base), _) => match self.one(base, frame)? {
                Found::One(item) => step.walk_to_one(&item),
                other => other,
            },
        })
    }

    /// What a function works on, to be looked at only.
    fn seen_input<'f>(
        &'f self,
        input: Option<&'a Plan>,
        frame: Frame<'f, 'a>,
        held: &'f mut Items<'a>,
    ) -> Evaluated<&'f [Item<'a>]> {
        match input {
            Some(input) => self.seen(input, frame, held),
            None => Ok(frame.focus),
        }
    }

    /// `%resource` and its like, unless the environment has a variable of that name.
    fn known_variable(&self, name: &str) -> Option<&[Item<'a>]> {
        if !self.environment.variables.is_empty() {
            return None;
        }
        let environment = self.environment;
        let item = match name {
            "resource" => environment.resource.as_ref(),
            "rootResource" => environment.root_resource.as_ref().or(environment.resource.as_ref()),
            _ => return None,
        };
        item.map(std::slice::from_ref)
    }

    /// What a function or operator works on: its own input, or the focus.
    pub(super) fn input(&self, input: Option<&'a Plan>, frame: Frame<'_, 'a>) -> Evaluated<Items<'a>> {
        match input {
            Some(input) => self.items(input, frame),
            None => Ok(frame.focus.iter().cloned().collect()),
        }
    }

    fn walk(&self, plan: &'a Plan, base: &[Item<'a>], step: &'a Step) -> Evaluated<Items<'a>> {
        let mut found = Items::new();
        if base.len() > 1 {
            found.reserve(base.len());
        }
        for item in base {
            step.walk(item, &mut found);
        }
        self.charge_at(plan, base.len() + found.len())?;
        Ok(found)
    }

    fn indexed(&self, plan: &Plan, base: &'a Plan, index: &'a Plan, frame: Frame<'_, 'a>) -> Evaluated<Items<'a>> {
        let mut items = self.items(base, frame)?;
        let index = self.items(index, frame)?;
        let index = match &index[..] {
            [] => return Ok(Items::new()),
            [item] => item.as_integer().ok_or_else(|| plan.fail(Fault::WrongType("an index")))?,
            _ => return Err(plan.fail(Fault::NotSingleton)),
        };
        match usize::try_from(index).ok().filter(|&index| index < items.len()) {
            Some(index) => Ok(Items::from_iter([items.swap_remove(index)])),
            None => Ok(Items::new()),
        }
    }

    fn binary(
        &self,
        plan: &'a Plan,
        binary: Binary,
        sides: &'a (Plan, Plan),
        frame: Frame<'_, 'a>,
    ) -> Evaluated<Items<'a>> {
        use Binary::{Add, Concatenate, Div, Divide, Mod, Multiply, Subtract, Union};
        match binary {
            Add | Subtract | Multiply | Divide | Div | Mod | Concatenate | Union => {
                let left = self.items(&sides.0, frame)?;
                let right = self.items(&sides.1, frame)?;
                self.combined(plan, binary, left, right)
            }
            _ => self.truth_as_items(plan, frame),
        }
    }

    fn combined(&self, plan: &Plan, binary: Binary, left: Items<'a>, right: Items<'a>) -> Evaluated<Items<'a>> {
        let result = match binary {
            Binary::Union => functions::union(self, left, right),
            _ => operators::arithmetic(binary, &left, &right, |length| self.charge(length / 8)),
        };
        result.map_err(|what| plan.fail(what))
    }

    /// The truth value of `plan`: a single item that is not a boolean counts as true (FHIRPath N1, 4.5).
    pub(super) fn truth(&self, plan: &'a Plan, frame: Frame<'_, 'a>) -> Evaluated<Option<bool>> {
        match &plan.operation {
            Operation::Binary(binary, sides) => match binary {
                Binary::And | Binary::Or | Binary::Xor | Binary::Implies => self.logic(*binary, sides, frame),
                Binary::Add
                | Binary::Subtract
                | Binary::Multiply
                | Binary::Divide
                | Binary::Div
                | Binary::Mod
                | Binary::Concatenate
                | Binary::Union => self.truth_of_items(plan, frame),
                _ => self.comparison(plan, *binary, sides, frame),
            },
            Operation::Call(call) => match call.function {
                Function::Exists if call.arguments.is_empty() => Ok(Some(self.any(call.input.as_ref(), frame)?)),
                Function::Empty => Ok(Some(!self.any(call.input.as_ref(), frame)?)),
                Function::Not => match &call.input {
                    Some(input) => Ok(self.truth(input, frame)?.map(|truth| !truth)),
                    None => Ok(single_truth(frame.focus).map_err(|what| plan.fail(what))?.map(|truth| !truth)),
                },
                Function::HasValue | Function::Exists | Function::All => self.quantified(plan, call, frame),
                _ => self.truth_of_items(plan, frame),
            },
            Operation::Is(input, test) => self.is(plan, input.as_deref(), test, frame),
            Operation::Literal(Value::Boolean(truth)) => Ok(Some(*truth)),
            _ => self.truth_of_items(plan, frame),
        }
    }

    /// `hasValue()`, `exists(…)` and `all(…)`.
    fn quantified(&self, plan: &'a Plan, call: &'a Call, frame: Frame<'_, 'a>) -> Evaluated<Option<bool>> {
        let mut held = Items::new();
        let input = self.seen_input(call.input.as_ref(), frame, &mut held)?;
        let holds = match call.function {
            Function::HasValue => return Ok(Some(matches!(input, [item] if functions::has_value(item)))),
            Function::All => functions::all_where,
            _ => functions::any_where,
        };
        self.charge_at(plan, input.len())?;
        Ok(Some(holds(self, call, input)?))
    }

    fn is(
        &self,
        plan: &'a Plan,
        input: Option<&'a Plan>,
        test: &'a TypeTest,
        frame: Frame<'_, 'a>,
    ) -> Evaluated<Option<bool>> {
        let mut held = Items::new();
        match self.seen_input(input, frame, &mut held)? {
            [] => Ok(None),
            [item] => Ok(Some(test.is(item))),
            _ => Err(plan.fail(Fault::NotSingleton)),
        }
    }

    fn truth_of_items(&self, plan: &'a Plan, frame: Frame<'_, 'a>) -> Evaluated<Option<bool>> {
        let items = self.items(plan, frame)?;
        single_truth(&items).map_err(|what| plan.fail(what))
    }

    /// `and`, `or`, `xor`, `implies`; the right side only where it matters.
    fn logic(&self, binary: Binary, sides: &'a (Plan, Plan), frame: Frame<'_, 'a>) -> Evaluated<Option<bool>> {
        let left = self.truth(&sides.0, frame)?;
        match binary.decided_by(left) {
            Some(truth) => Ok(truth),
            None => Ok(binary.of_truths(left, self.truth(&sides.1, frame)?)),
        }
    }

    fn comparison(
        &self,
        plan: &'a Plan,
        binary: Binary,
        sides: &'a (Plan, Plan),
        frame: Frame<'_, 'a>,
    ) -> Evaluated<Option<bool>> {
        self.charge_at(plan, 1)?;
        if matches!(binary, Binary::Equal | Binary::NotEqual) && sides.0.is_truth() && sides.1.is_truth() {
            let (left, right) = (self.truth(&sides.0, frame)?, self.truth(&sides.1, frame)?);
            return Ok(left.zip(right).map(|(left, right)| (left == right) == (binary == Binary::Equal)));
        }
        if let Some(order) = self.count_compared(binary, sides, frame)? {
            return Ok(Some(order));
        }
        if let Some(equal) = self.text_compared(binary, sides, frame)? {
            return Ok(equal);
        }
        let mut held = Items::new();
        let left = self.seen(&sides.0, frame, &mut held)?;
        if let (Operation::Literal(Value::String(expected)), Binary::Equal | Binary::NotEqual, [item]) =
            (&sides.1.operation, binary, left)
            && let Some(equal) = operators::equals_text(item, expected)
        {
            return Ok(Some(equal == (binary == Binary::Equal)));
        }
        let right = self.items(&sides.1, frame)?;
        self.compared(plan, binary, left, &right)
    }

    fn compared(&self, plan: &Plan, binary: Binary, left: &[Item<'a>], right: &[Item<'a>]) -> Evaluated<Option<bool>> {
        self.charge_at(plan, left.len() + right.len())?;
        operators::compare(self, binary, left, right).map_err(|what| plan.fail(what))
    }

    /// `x.count()` beside a number: counted no further than it takes to know. `None` for anything else.
    fn count_compared(&self, binary: Binary, sides: &'a (Plan, Plan), frame: Frame<'_, 'a>) -> Evaluated<Option<bool>> {
        let (Some(counted), true) = (sides.0.counted(), binary.compares()) else { return Ok(None) };
        let number = match (&sides.1.operation, sides.1.counted()) {
            (Operation::Literal(Value::Integer(integer)), _) => *integer,
            (_, Some(other)) => self.count(other, frame, usize::MAX)? as i64,
            _ => return Ok(None),
        };
        let most = usize::try_from(number).unwrap_or(0).saturating_add(1);
        let count = self.count(counted, frame, most)? as i64;
        Ok(Some(match binary {
            Binary::Equal => count == number,
            Binary::NotEqual => count != number,
            Binary::Less => count < number,
            Binary::LessOrEqual => count <= number,
            Binary::Greater => count > number,
            _ => count >= number,
        }))
    }

    /// How many items `plan` yields; at least `most` if there are more.
    fn count(&self, plan: &'a Plan, frame: Frame<'_, 'a>, most: usize) -> Evaluated<usize> {
        let (mut held, mut found) = (Items::new(), Items::new());
        match &plan.operation {
            Operation::Child(base, step) => {
                for item in self.seen_input(base.as_deref(), frame, &mut held)? {
                    step.walk(item, &mut found);
                    if found.len() >= most {
                        break;
                    }
                }
            }
            Operation::Call(call) if call.function == Function::Where => {
                let items = self.seen_input(call.input.as_ref(), frame, &mut held)?;
                self.charge_at(plan, 1 + items.len())?;
                return functions::count_where(self, call, items);
            }
            Operation::Call(call) if call.function == Function::Children => {
                for item in self.seen_input(call.input.as_ref(), frame, &mut held)? {
                    children(item, &mut found, most);
                }
            }
            _ => return Ok(self.seen(plan, frame, &mut held)?.len()),
        }
        self.charge_at(plan, 1 + found.len())?;
        Ok(found.len())
    }

    /// Whether `input` yields any item; stops at the first.
    fn any(&self, input: Option<&'a Plan>, frame: Frame<'_, 'a>) -> Evaluated<bool> {
        let Some(plan) = input else { return Ok(!frame.focus.is_empty()) };
        match &plan.operation {
            Operation::Child(base, step) => self.any_child(plan, base.as_deref(), step, frame),
            Operation::Call(call) if call.function == Function::Where => self.any_where(call, frame),
            _ => Ok(!self.items(plan, frame)?.is_empty()),
        }
    }

    fn any_child(
        &self,
        plan: &'a Plan,
        base: Option<&'a Plan>,
        step: &'a Step,
        frame: Frame<'_, 'a>,
    ) -> Evaluated<bool> {
        let mut held = Items::new();
        let base = self.seen_input(base, frame, &mut held)?;
        self.charge_at(plan, base.len())?;
        let mut found = Items::new();
        Ok(base.iter().any(|item| {
            step.walk(item, &mut found);
            !found.is_empty()
        }))
    }

    fn any_where(&self, call: &'a Call, frame: Frame<'_, 'a>) -> Evaluated<bool> {
        let mut held = Items::new();
        let items = self.seen_input(call.input.as_ref(), frame, &mut held)?;
        functions::any_where(self, call, items)
    }

    fn call(&self, plan: &'a Plan, call: &'a Call, frame: Frame<'_, 'a>) -> Evaluated<Items<'a>> {
        match call.function {
            Function::Empty | Function::Not | Function::HasValue | Function::Exists | Function::All => {
                self.truth_as_items(plan, frame)
            }
            _ => {
                let input = self.input(call.input.as_ref(), frame)?;
                functions::call(self, call, input, frame)
            }
        }
    }

    /// A variable of the environment, or one that FHIRPath or FHIR defines.
    fn variable(&self, name: &str) -> Result<Items<'a>, Fault> {
        let named = |variable: &&Variable<'a>| variable.name == name;
        if let Some(variable) = self.environment.variables.iter().rev().find(named) {
            self.charge(variable.items.len())?;
            return Ok(variable.items.iter().cloned().collect());
        }
        match name {
            "context" => Ok(self.context.iter().cloned().collect()),
            "resource" => Ok(self.resource().into_iter().collect()),
            "rootResource" => Ok(self.root_resource().into_iter().collect()),
            "ucum" => Ok(text(UCUM)),
            "sct" => Ok(text("http://snomed.info/sct")),
            "loinc" => Ok(text("http://loinc.org")),
            _ => match (name.strip_prefix("vs-"), name.strip_prefix("ext-")) {
                (Some(id), _) => Ok(text(format!("http://hl7.org/fhir/ValueSet/{id}"))),
                (_, Some(id)) => Ok(text(format!("{R4}{id}"))),
                _ => Err(Fault::UnknownVariable(name.into())),
            },
        }
    }

    /// `%resource`.
    pub(super) fn resource(&self) -> Option<Item<'a>> {
        self.environment.resource.clone().or_else(|| self.context.first().cloned())
    }

    /// `%rootResource`.
    pub(super) fn root_resource(&self) -> Option<Item<'a>> {
        self.environment.root_resource.clone().or_else(|| self.resource())
    }
}

/// The truth of a collection of at most one item.
pub(super) fn single_truth(items: &[Item<'_>]) -> Result<Option<bool>, Fault> {
    match items {
        [] => Ok(None),
        [item] => Ok(Some(item.as_boolean().unwrap_or(true))),
        _ => Err(Fault::NotSingleton),
    }
}

/// A literal as an item that borrows from the expression.
fn borrowed<'a>(value: &'a Value<'static>) -> Value<'a> {
    match value {
        Value::String(text) => Value::String(std::borrow::Cow::Borrowed(text)),
        other => other.clone(),
    }
}
