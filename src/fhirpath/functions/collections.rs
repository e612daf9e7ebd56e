//! Existence, filtering, projection, subsetting, combining, tree navigation (FHIRPath N1, 5.1 to 5.4, 5.8, 7).

use std::cmp::Ordering;
use std::collections::HashSet;

use super::{Arguments, Called, single, truth};
use crate::fhirpath::error::Fault;
use crate::fhirpath::evaluate::{Evaluated, Evaluator, Frame, boolean, single_truth};
use crate::fhirpath::function::Function;
use crate::fhirpath::item::{Item, Items, Value};
use crate::fhirpath::operators::{order, same};
use crate::fhirpath::plan::{Call, Operation, Plan};
use crate::fhirpath::types::children;

/// Whether any of `items` meets the criterion of `where(…)` or `exists(…)`.
pub(crate) fn any_where<'a>(evaluator: &Evaluator<'_, 'a>, call: &'a Call, items: &[Item<'a>]) -> Evaluated<bool> {
    let Some(criterion) = call.arguments.first() else { return Ok(!items.is_empty()) };
    for (index, item) in items.iter().enumerate() {
        if evaluator.truth(criterion, Frame::of(item, index))? == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many of `items` meet the criterion of `where(…)`.
pub(crate) fn count_where<'a>(evaluator: &Evaluator<'_, 'a>, call: &'a Call, items: &[Item<'a>]) -> Evaluated<usize> {
    let Some(criterion) = call.arguments.first() else { return Ok(items.len()) };
    let mut count = 0;
    for (index, item) in items.iter().enumerate() {
        count += usize::from(evaluator.truth(criterion, Frame::of(item, index))? == Some(true));
    }
    Ok(count)
}

/// Whether all of `items` meet the criterion of `all(…)`.
pub(crate) fn all_where<'a>(evaluator: &Evaluator<'_, 'a>, call: &'a Call, items: &[Item<'a>]) -> Evaluated<bool> {
    let Some(criterion) = call.arguments.first() else { return Ok(true) };
    for (index, item) in items.iter().enumerate() {
        if evaluator.truth(criterion, Frame::of(item, index))? != Some(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Functions whose arguments are evaluated once for each item.
pub(super) fn with_criteria<'a>(
    evaluator: &Evaluator<'_, 'a>,
    call: &'a Call,
    input: Items<'a>,
    frame: Frame<'_, 'a>,
) -> Evaluated<Items<'a>> {
    let argument = call.arguments.first();
    match (call.function, argument) {
        (Function::Sort, _) => sort(evaluator, call, input),
        (Function::Iif, Some(condition)) => iif(evaluator, call, condition, &input, frame),
        (Function::Where, Some(criterion)) => filter(evaluator, criterion, input),
        (Function::Select, Some(projection)) => select(evaluator, projection, &input),
        (Function::All, _) => Ok(truth(all_where(evaluator, call, &input)?)),
        (Function::Repeat, Some(projection)) => repeat(evaluator, call, projection, input),
        (Function::Aggregate, Some(aggregator)) => aggregate(evaluator, call, aggregator, &input, frame),
        _ => Ok(truth(any_where(evaluator, call, &input)?)),
    }
}

fn select<'a>(evaluator: &Evaluator<'_, 'a>, projection: &'a Plan, input: &[Item<'a>]) -> Evaluated<Items<'a>> {
    let mut found = Items::new();
    for (index, item) in input.iter().enumerate() {
        found.extend(evaluator.items(projection, Frame::of(item, index))?);
    }
    Ok(found)
}

fn filter<'a>(evaluator: &Evaluator<'_, 'a>, criterion: &'a Plan, input: Items<'a>) -> Evaluated<Items<'a>> {
    let mut found = Items::new();
    for (index, item) in input.into_iter().enumerate() {
        if evaluator.truth(criterion, Frame::of(&item, index))? == Some(true) {
            found.push(item);
        }
    }
    Ok(found)
}

fn iif<'a>(
    evaluator: &Evaluator<'_, 'a>,
    call: &'a Call,
    condition: &'a Plan,
    input: &[Item<'a>],
    frame: Frame<'_, 'a>,
) -> Evaluated<Items<'a>> {
    if call.input.is_some() && input.len() > 1 {
        return Err(call.fail(Fault::NotSingleton));
    }
    let inner = if call.input.is_some() { Frame { focus: input, index: 0, total: None } } else { frame };
    let outcome = evaluator.items(condition, inner)?;
    let holds = match &outcome[..] {
        [] => false,
        [item] => item.as_boolean().ok_or_else(|| condition.fail(Fault::WrongType("the condition of iif()")))?,
        _ => return Err(condition.fail(Fault::NotSingleton)),
    };
    match call.arguments.get(if holds { 1 } else { 2 }) {
        Some(branch) => evaluator.items(branch, inner),
        None => Ok(Items::new()),
    }
}

/// Each item that the projection finds is added once and projected in turn.
fn repeat<'a>(
    evaluator: &Evaluator<'_, 'a>,
    call: &'a Call,
    projection: &'a Plan,
    input: Items<'a>,
) -> Evaluated<Items<'a>> {
    let mut found = Items::new();
    let mut seen = Seen::default();
    let mut round = input;
    while !round.is_empty() {
        let mut next = Items::new();
        for (index, item) in round.iter().enumerate() {
            for result in evaluator.items(projection, Frame::of(item, index))? {
                if seen.add(evaluator, &result, &found).map_err(|what| call.fail(what))? {
                    found.push(result.clone());
                    next.push(result);
                }
            }
        }
        round = next;
    }
    Ok(found)
}

fn aggregate<'a>(
    evaluator: &Evaluator<'_, 'a>,
    call: &'a Call,
    aggregator: &'a Plan,
    input: &[Item<'a>],
    frame: Frame<'_, 'a>,
) -> Evaluated<Items<'a>> {
    let mut total = match call.arguments.get(1) {
        Some(start) => evaluator.items(start, frame)?,
        None => Items::new(),
    };
    for (index, item) in input.iter().enumerate() {
        let inner = Frame { focus: std::slice::from_ref(item), index, total: Some(&total) };
        total = evaluator.items(aggregator, inner)?;
    }
    Ok(total)
}

/// By the keys in turn; a key with a leading minus sorts downwards. Items without the key come first either way.
fn sort<'a>(evaluator: &Evaluator<'_, 'a>, call: &'a Call, input: Items<'a>) -> Evaluated<Items<'a>> {
    let mut keyed: Vec<(Vec<Option<Item<'a>>>, Item<'a>)> = Vec::with_capacity(input.len());
    for (index, item) in input.into_iter().enumerate() {
        let mut keys = Vec::with_capacity(call.arguments.len().max(1));
        for key in &call.arguments {
            let key = if let Operation::Negate(inner) = &key.operation { inner } else { key };
            let found = evaluator.items(key, Frame::of(&item, index))?;
            keys.push(single(found).map_err(|what| key.fail(what))?);
        }
        if call.arguments.is_empty() {
            keys.push(Some(item.clone()));
        }
        keyed.push((keys, item));
    }
    let steps = keyed.len() * (keyed.len().max(2).ilog2() as usize);
    evaluator.charge(steps).map_err(|what| call.fail(what))?;
    let mut fault = None;
    let descending = |at: usize| matches!(call.arguments.get(at), Some(Plan { operation: Operation::Negate(_), .. }));
    let sorted = merge_sorted(keyed, &mut |left, right| {
        let pairs = left.0.iter().zip(&right.0).enumerate();
        let mut orders = pairs.map(|(at, (left, right))| key_order(left, right, descending(at), &mut fault));
        orders.find(|order| order.is_ne()).is_none_or(Ordering::is_lt)
    });
    match fault {
        Some(what) => Err(call.fail(what)),
        None => Ok(sorted.into_iter().map(|(_, item)| item).collect()),
    }
}

/// A stable merge sort. Dates of different precision have no order, so that the keys may have no total one; the sort of
/// the standard library may panic on such.
fn merge_sorted<T>(mut items: Vec<T>, in_order: &mut impl FnMut(&T, &T) -> bool) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let right = items.split_off(items.len() / 2);
    let mut merged = Vec::with_capacity(items.len() + right.len());
    let mut right = merge_sorted(right, in_order).into_iter().peekable();
    for left in merge_sorted(items, in_order) {
        while let Some(earlier) = right.next_if(|right| !in_order(&left, right)) {
            merged.push(earlier);
        }
        merged.push(left);
    }
    merged.extend(right);
    merged
}

fn key_order(
    left: &Option<Item<'_>>,
    right: &Option<Item<'_>>,
    descending: bool,
    fault: &mut Option<Fault>,
) -> Ordering {
    let (Some(left), Some(right)) = (left, right) else { return left.is_some().cmp(&right.is_some()) };
    let ascending = match order(left, right) {
        Ok(order) => order.unwrap_or(Ordering::Equal),
        Err(what) => {
            *fault = Some(what);
            Ordering::Equal
        }
    };
    if descending { ascending.reverse() } else { ascending }
}

/// `allTrue()` and its like.
pub(super) fn of_booleans<'a>(function: Function, input: &[Item<'a>]) -> Called<Items<'a>> {
    let sought = matches!(function, Function::AnyTrue | Function::AllTrue);
    let mut booleans = Vec::with_capacity(input.len());
    for item in input {
        booleans.push(item.as_boolean().ok_or(Fault::WrongType(function.name()))? == sought);
    }
    let all = matches!(function, Function::AllTrue | Function::AllFalse);
    Ok(truth(if all { booleans.iter().all(|&each| each) } else { booleans.iter().any(|&each| each) }))
}

/// Functions on collections whose arguments, if any, are evaluated once.
pub(super) fn call<'a>(arguments: &mut Arguments<'_, '_, 'a>, input: Items<'a>) -> Called<Items<'a>> {
    match arguments.function() {
        Function::Skip | Function::Take => subset(arguments, input),
        function @ (Function::Union
        | Function::Combine
        | Function::Intersect
        | Function::Exclude
        | Function::SubsetOf
        | Function::SupersetOf) => {
            let other = arguments.items(0)?;
            Ok(with_other(arguments.evaluator, function, input, other)?)
        }
        function => Ok(alone(arguments.evaluator, function, input)?),
    }
}

/// Two collections make one.
fn with_other<'a>(
    evaluator: &Evaluator<'_, 'a>,
    function: Function,
    mut input: Items<'a>,
    other: Items<'a>,
) -> Result<Items<'a>, Fault> {
    match function {
        Function::Union => union(evaluator, input, other),
        Function::Combine => {
            input.extend(other);
            evaluator.charge(input.len())?;
            Ok(input)
        }
        function => against(evaluator, function, input, &other),
    }
}

/// Functions without arguments.
fn alone<'a>(evaluator: &Evaluator<'_, 'a>, function: Function, mut input: Items<'a>) -> Result<Items<'a>, Fault> {
    match function {
        Function::Count => Ok(Items::from_iter([Item::Value(Value::Integer(input.len() as i64))])),
        Function::Not => Ok(boolean(single_truth(&input)?.map(|truth| !truth))),
        Function::Distinct => distinct(evaluator, input),
        Function::IsDistinct => {
            let count = input.len();
            Ok(truth(count < 2 || distinct(evaluator, input)?.len() == count))
        }
        Function::Single => Ok(single(input)?.into_iter().collect()),
        Function::First => {
            input.truncate(1);
            Ok(input)
        }
        Function::Last => Ok(input.pop().into_iter().collect()),
        Function::Tail => Ok(input.into_iter().skip(1).collect()),
        Function::Children => {
            let mut found = Items::new();
            input.iter().for_each(|item| children(item, &mut found, usize::MAX));
            evaluator.charge(found.len())?;
            Ok(found)
        }
        Function::Descendants => descendants(evaluator, input),
        function => Err(Fault::NotSupported(function.name())),
    }
}

fn subset<'a>(arguments: &Arguments<'_, '_, 'a>, input: Items<'a>) -> Called<Items<'a>> {
    let Some(count) = arguments.integer(0)? else { return Ok(Items::new()) };
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    let items = input.into_iter();
    Ok(match arguments.function() {
        Function::Skip => items.skip(count).collect(),
        _ => items.take(count).collect(),
    })
}

fn descendants<'a>(evaluator: &Evaluator<'_, 'a>, input: Items<'a>) -> Result<Items<'a>, Fault> {
    let mut found = Items::new();
    let mut open: Vec<Item<'a>> = Vec::new();
    let mut level = Items::new();
    input.iter().for_each(|item| children(item, &mut level, usize::MAX));
    open.extend(level.drain(..).rev());
    while let Some(item) = open.pop() {
        evaluator.charge(1)?;
        children(&item, &mut level, usize::MAX);
        open.extend(level.drain(..).rev());
        found.push(item);
    }
    Ok(found)
}

/// Both collections without duplicates.
pub(crate) fn union<'a>(
    evaluator: &Evaluator<'_, 'a>,
    mut left: Items<'a>,
    right: Items<'a>,
) -> Result<Items<'a>, Fault> {
    left.extend(right);
    distinct(evaluator, left)
}

fn distinct<'a>(evaluator: &Evaluator<'_, 'a>, input: Items<'a>) -> Result<Items<'a>, Fault> {
    let mut found = Items::new();
    let mut seen = Seen::default();
    for item in input {
        if seen.add(evaluator, &item, &found)? {
            found.push(item);
        }
    }
    Ok(found)
}

/// Up to this many items, comparing each with each is faster than hashing.
const FEW: usize = 16;

/// The items that were found, with their texts hashed so that many are still looked up quickly.
#[derive(Default)]
struct Seen {
    texts: HashSet<String>,
    /// Positions of items that are not texts.
    others: Vec<usize>,
}

impl Seen {
    /// Whether `item` is not among `found`, to which it is about to be added.
    fn add<'a>(&mut self, evaluator: &Evaluator<'_, 'a>, item: &Item<'a>, found: &[Item<'a>]) -> Result<bool, Fault> {
        let new = match item.value() {
            Some(Value::String(text)) => {
                evaluator.charge(1 + text.len() / 8)?;
                if found.len() < FEW && self.texts.is_empty() {
                    return Ok(self.compare(item, found, (0..found.len()).rev()));
                }
                if self.texts.is_empty() {
                    self.index(found);
                }
                return Ok(self.texts.insert(text.into_owned()));
            }
            _ => {
                evaluator.charge(found.len() + 1)?;
                let others = std::mem::take(&mut self.others);
                let new = self.compare(item, found, others.iter().copied());
                self.others = others;
                new
            }
        };
        if new {
            self.others.push(found.len());
        }
        Ok(new)
    }

    fn compare(&self, item: &Item<'_>, found: &[Item<'_>], mut places: impl Iterator<Item = usize>) -> bool {
        !places.any(|at| same(item, &found[at]))
    }

    fn index(&mut self, found: &[Item<'_>]) {
        for item in found {
            if let Some(Value::String(text)) = item.value() {
                self.texts.insert(text.into_owned());
            }
        }
    }
}

fn against<'a>(
    evaluator: &Evaluator<'_, 'a>,
    function: Function,
    input: Items<'a>,
    other: &[Item<'a>],
) -> Result<Items<'a>, Fault> {
    evaluator.charge(input.len().saturating_mul(other.len()))?;
    let among = |item: &Item<'a>, items: &[Item<'a>]| items.iter().any(|each| same(item, each));
    match function {
        Function::Intersect => distinct(evaluator, input.into_iter().filter(|item| among(item, other)).collect()),
        Function::Exclude => Ok(input.into_iter().filter(|item| !among(item, other)).collect()),
        Function::SubsetOf => Ok(truth(input.iter().all(|item| among(item, other)))),
        _ => Ok(truth(other.iter().all(|item| among(item, &input)))),
    }
}
