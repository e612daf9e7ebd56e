//! What an invariant yields where that follows from which children its focus has, whatever they hold.
//!
//! Most invariants of R4 say that something must not stand beside something else (`value.empty() or system.exists()`),
//! and nearly all data keep to them by not having the one or the other. A validator that knows which children are there
//! need not look at them. Invariant: what is decided here is what [`Expression::holds`] says; where an evaluation could
//! fail, nothing is decided.

use super::Expression;
use super::function::Function;
use super::item::Value;
use super::plan::{Binary, Call, Operation, Plan};
use crate::fhir::r4::TypeDef;

/// How many items an expression yields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    None,
    /// At least one; one exactly for a literal and for the focus.
    Some,
}

/// The truth of an expression: true, false or empty.
type Truth = Option<bool>;

/// The question: on a focus of this type, with these children.
struct Presence<'p> {
    focus: &'static TypeDef,
    /// Whether the focus has children of a name; `None` if that is not known.
    has: &'p dyn Fn(&str) -> Option<bool>,
}

impl Expression {
    /// The names of the children of its focus that the expression asks for, as far as [`Expression::holds_with`] looks.
    pub fn children_of_focus(&self) -> Vec<&str> {
        let mut names = Vec::new();
        names_in(&self.plan, &mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the invariant holds on a focus of the type `focus`, if that follows from which children the focus `has`.
    pub fn holds_with(&self, focus: &'static TypeDef, has: &dyn Fn(&str) -> Option<bool>) -> Option<bool> {
        let truth = Presence { focus, has }.truth(&self.plan)?;
        Some(truth.unwrap_or(true))
    }
}

fn names_in<'e>(plan: &'e Plan, names: &mut Vec<&'e str>) {
    match &plan.operation {
        Operation::Start(named) => names.push(named.1.name()),
        Operation::Child(base, step) => match base {
            Some(base) => {
                if is_focus(base) {
                    names.push(step.name());
                }
                names_in(base, names);
            }
            None => names.push(step.name()),
        },
        Operation::Call(call) => call.input.iter().for_each(|input| names_in(input, names)),
        Operation::Binary(_, sides) => {
            names_in(&sides.0, names);
            names_in(&sides.1, names);
        }
        Operation::Is(Some(input), _) | Operation::As(Some(input), ..) => names_in(input, names),
        _ => {}
    }
}

/// Whether the plan may yield the focus itself: `$this`, or the name of its type.
fn is_focus(plan: &Plan) -> bool {
    matches!(plan.operation, Operation::This | Operation::Start(_))
}

impl Presence<'_> {
    fn count_of_child(&self, name: &str) -> Option<Count> {
        (self.has)(name).map(|has| if has { Count::Some } else { Count::None })
    }

    /// Whether the plan yields the focus, one item.
    fn yields_focus(&self, plan: &Plan) -> bool {
        match &plan.operation {
            Operation::This => true,
            Operation::Start(named) => named.0.is_type(self.focus),
            _ => false,
        }
    }

    /// How many items the plan yields; `None` if that is not known or an evaluation might fail.
    fn count(&self, plan: &Plan) -> Option<Count> {
        match &plan.operation {
            Operation::Empty => Some(Count::None),
            Operation::Literal(_) | Operation::This => Some(Count::Some),
            Operation::Start(_) if self.yields_focus(plan) => Some(Count::Some),
            Operation::Start(named) => self.count_of_child(named.1.name()),
            Operation::Child(None, step) => self.count_of_child(step.name()),
            Operation::Child(Some(base), step) if self.yields_focus(base) => self.count_of_child(step.name()),
            Operation::Child(Some(base), _) | Operation::As(Some(base), ..) => self.none_of_none(base),
            Operation::Call(call) if keeps_none(call) => self.none_of_none(call.input.as_ref()?),
            Operation::Binary(Binary::Union, sides) => {
                let (left, right) = (self.count(&sides.0)?, self.count(&sides.1)?);
                Some(if left == Count::None { right } else { left })
            }
            _ => None,
        }
    }

    /// Nothing comes of nothing; what comes of something is not known.
    fn none_of_none(&self, base: &Plan) -> Option<Count> {
        self.count(base).filter(|count| *count == Count::None)
    }

    fn truth(&self, plan: &Plan) -> Option<Truth> {
        match &plan.operation {
            Operation::Literal(Value::Boolean(truth)) => Some(Some(*truth)),
            Operation::Binary(binary, sides) => match binary {
                Binary::And | Binary::Or | Binary::Xor | Binary::Implies => self.logic(*binary, sides),
                Binary::Equal
                | Binary::NotEqual
                | Binary::Less
                | Binary::LessOrEqual
                | Binary::Greater
                | Binary::GreaterOrEqual => self.comparison(*binary, sides),
                Binary::Union => self.truth_of_none(plan),
                _ => None,
            },
            Operation::Call(call) => self.truth_of_call(plan, call),
            Operation::Is(Some(input), _) => self.none_of_none(input).map(|_| None),
            _ => self.truth_of_none(plan),
        }
    }

    /// A collection without items is neither true nor false; what items say is not known.
    fn truth_of_none(&self, plan: &Plan) -> Option<Truth> {
        self.none_of_none(plan).map(|_| None)
    }

    fn truth_of_call(&self, plan: &Plan, call: &Call) -> Option<Truth> {
        let input = call.input.as_ref();
        match call.function {
            Function::Exists if call.arguments.is_empty() => Some(Some(self.count(input?)? == Count::Some)),
            Function::Empty => Some(Some(self.count(input?)? == Count::None)),
            Function::Exists | Function::HasValue => self.none_of_none(input?).map(|_| Some(false)),
            Function::All => self.none_of_none(input?).map(|_| Some(true)),
            Function::Not => self.truth(input?).map(|truth| truth.map(|truth| !truth)),
            _ => self.truth_of_none(plan),
        }
    }

    /// As the evaluator has it: the right side only where it matters.
    fn logic(&self, binary: Binary, sides: &(Plan, Plan)) -> Option<Truth> {
        let left = self.truth(&sides.0)?;
        match binary.decided_by(left) {
            Some(truth) => Some(truth),
            None => Some(binary.of_truths(left, self.truth(&sides.1)?)),
        }
    }

    /// Nothing compares with something as neither true nor false; two truths may be equal.
    fn comparison(&self, binary: Binary, sides: &(Plan, Plan)) -> Option<Truth> {
        if matches!(binary, Binary::Equal | Binary::NotEqual) && sides.0.is_truth() && sides.1.is_truth() {
            let (left, right) = (self.truth(&sides.0)?, self.truth(&sides.1)?);
            return Some(left.zip(right).map(|(left, right)| (left == right) == (binary == Binary::Equal)));
        }
        if sides.0.counted().is_some() || sides.1.counted().is_some() {
            return None;
        }
        let (left, right) = (self.count(&sides.0)?, self.count(&sides.1)?);
        (left == Count::None || right == Count::None).then_some(None)
    }
}

/// Functions that yield nothing on nothing, and cannot fail there: their arguments are not evaluated, or are literals.
fn keeps_none(call: &Call) -> bool {
    use Function as F;
    let is_lazy = matches!(
        call.function,
        F::Where | F::Select | F::First | F::Last | F::Tail | F::Resolve | F::Children | F::Descendants
    );
    let is_of_text = matches!(call.function, F::Matches | F::Contains | F::StartsWith | F::EndsWith | F::Length);
    let is_literal = |argument: &Plan| matches!(argument.operation, Operation::Literal(_));
    is_lazy || is_of_text && call.arguments.iter().all(is_literal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::r4::{constraint_rows, schema};
    use crate::fhir::{Document, Limits};
    use crate::fhirpath::{Environment, Item};

    /// A Period or ContactPoint with these members, and what an expression says of it with and without looking.
    fn both(type_name: &str, members: &[(&str, &str)], expression: &str) -> (Option<bool>, Option<bool>) {
        let expression = Expression::parse(expression).expect("it parses");
        let text: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let text = format!("{{{}}}", text.join(","));
        let document = Document::parse(text, &Limits::default()).expect("it is JSON");
        let focus = schema().type_named(type_name).expect("it is a type");
        let decided = expression.holds_with(focus, &|name| Some(members.iter().any(|(own, _)| *own == name)));
        let item = Item::of_node(document.root(), Some(focus));
        (decided, expression.holds(&item, &Environment::default()).ok())
    }

    #[test]
    fn what_is_decided_is_what_the_evaluator_says() {
        let (start, end) = (("start", "\"2020-01-01\""), ("end", "\"2019-01-01\""));
        for (members, expression, decided) in [
            (&[][..], "start.empty()", Some(true)),
            (&[start], "start.hasValue().not() or end.hasValue().not() or (start <= end)", None),
            (&[end], "start.hasValue().not() or end.hasValue().not() or (start <= end)", Some(true)),
            (&[start, end], "start.hasValue().not() or end.hasValue().not() or (start <= end)", None),
            (&[start], "start.exists() xor end.exists()", Some(true)),
            (&[start, end], "start.exists() xor end.exists()", Some(false)),
            (&[start], "start.exists() = end.exists()", Some(false)),
            (&[end], "start > '2020' or end.exists()", Some(true)),
            (&[], "start > '2020' and end.exists()", Some(false)),
            (&[], "start", Some(true)),
            (&[start], "start", None),
            (&[end], "Period.start.exists() implies end.empty()", Some(true)),
            (&[end], "$this.end.exists() and $this.start.empty()", Some(true)),
            (&[], "start.where(a.b.c = 1).exists()", Some(false)),
            (&[], "start.all($this > 1)", Some(true)),
            (&[], "start.matches('a').not()", Some(true)),
            (&[], "(start | end).empty()", Some(true)),
            (&[end], "(start | end).empty()", Some(false)),
            (&[], "start.count() = 0", None),
            (&[], "start in (1 | 2)", None),
            (&[], "start.is(date)", Some(true)),
            (&[], "true and (true = start.empty())", Some(true)),
            (&[], "start.empty().not().exists()", None),
        ] {
            let (told, evaluated) = both("Period", members, expression);
            assert_eq!(told, decided, "{expression}");
            assert!(told.is_none() || told == evaluated, "{expression}: {evaluated:?}");
        }
    }

    #[test]
    fn a_failure_is_never_decided() {
        let several = ("value", "[\"a\",\"b\"]");
        for expression in
            ["value and false", "value or true", "(value + 1).exists() or true", "%nothing.exists() or true"]
        {
            assert_eq!(both("ContactPoint", &[several], expression).0, None, "{expression}");
        }
        assert_eq!(both("ContactPoint", &[], "(value | 'a').single().exists()").0, None);
    }

    /// Each invariant of R4, on an element of its type with each choice of up to five children, all of them empty
    /// objects: whatever is decided, the evaluator says the same.
    #[test]
    fn invariants_of_r4_are_decided_as_they_are_evaluated() {
        let mut decided = 0;
        for row in constraint_rows() {
            let (Ok(expression), Some(focus)) = (Expression::parse(row.expression), schema().type_named(row.source))
            else {
                continue;
            };
            let names = expression.children_of_focus();
            let names: Vec<&str> = names.into_iter().filter(|name| focus.element_by_stem(name).is_some()).collect();
            for choice in 0_u32..1 << names.len().min(5) {
                let has =
                    |name: &str| names.iter().position(|own| *own == name).is_some_and(|at| choice >> at & 1 == 1);
                let Some(told) = expression.holds_with(focus, &|name| Some(has(name))) else { continue };
                let member = |name: &&&str| {
                    let element = focus.element_by_stem(name).expect("it was just found");
                    let value = if element.is_array() { "[{}]" } else { "{}" };
                    format!("\"{}\":{value}", element.json_name(element.types[0].code))
                };
                let members: Vec<String> = names.iter().filter(|name| has(name)).map(|name| member(&name)).collect();
                let text = format!("{{{}}}", members.join(","));
                let document = Document::parse(text, &Limits::default()).expect("it is JSON");
                let item = Item::of_node(document.root(), Some(focus));
                let evaluated = expression.holds(&item, &Environment::default()).ok();
                assert_eq!(Some(told), evaluated, "{} {}", row.key, document.source());
                decided += 1;
            }
        }
        assert!(decided > 250, "{decided}");
    }
}
