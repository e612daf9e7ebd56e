//! What the types tell before any data is there: names that a type does not have, order where there is none.
//!
//! Only what is certainly wrong is reported: where a type is not known, such as behind `resolve()`, anything goes.

use super::error::TypeError;
use super::function::Function;
use super::plan::{Binary, Call, Operation, Plan};
use super::types::{Step, TypeTest};
use crate::fhir::r4::{TypeDef, TypeKind, schema};

/// The faults of `plan` on a focus of the type `focus`.
pub(super) fn check(plan: &Plan, focus: &'static TypeDef) -> Vec<TypeError> {
    let mut checker = Checker { faults: Vec::new() };
    checker.shape(plan, &Shape::of(focus));
    checker.faults
}

/// What is known of a collection.
#[derive(Clone, Debug)]
struct Shape {
    /// The FHIR types its items may have; `None` if any, or a system type.
    types: Option<Vec<&'static TypeDef>>,
    /// Whether the order of the items means anything.
    ordered: bool,
}

impl Shape {
    const ANY: Shape = Shape { types: None, ordered: true };

    fn of(type_def: &'static TypeDef) -> Shape {
        Shape { types: Some(vec![type_def]), ordered: true }
    }

    fn named(name: &str) -> Shape {
        schema().type_named(name).map_or(Shape::ANY, Shape::of)
    }

    fn joined(self, other: Shape) -> Shape {
        let types = self.types.zip(other.types).map(|(mut types, more)| {
            types.extend(more);
            types
        });
        Shape { types, ordered: self.ordered && other.ordered }
    }
}

struct Checker {
    faults: Vec<TypeError>,
}

impl Checker {
    fn fault(&mut self, plan: &Plan, what: String) -> Shape {
        self.faults.push(TypeError { offset: plan.offset as usize, what });
        Shape::ANY
    }

    fn shape(&mut self, plan: &Plan, focus: &Shape) -> Shape {
        match &plan.operation {
            Operation::This => focus.clone(),
            Operation::Start(test, step) => self.start(plan, test, step, focus),
            Operation::Child(None, step) => self.child(plan, focus, step),
            Operation::Child(Some(base), step) => {
                let base = self.shape(base, focus);
                self.child(plan, &base, step)
            }
            Operation::Indexer(base, index) => {
                self.shape(index, focus);
                let base = self.shape(base, focus);
                self.needs_order(plan, &base, "an index")
            }
            Operation::Call(call) => self.call(plan, call, focus),
            Operation::Negate(operand) => {
                self.shape(operand, focus);
                Shape::ANY
            }
            Operation::Binary(binary, sides) => {
                let (left, right) = (self.shape(&sides.0, focus), self.shape(&sides.1, focus));
                if *binary == Binary::Union { left.joined(right) } else { Shape::ANY }
            }
            Operation::Is(input, _) => {
                self.input(input.as_deref(), focus);
                Shape::ANY
            }
            Operation::As(input, test, _) => {
                let input = self.input(input.as_deref(), focus);
                let types = test.fhir().map(|type_def| vec![type_def]);
                Shape { types, ordered: input.ordered }
            }
            Operation::Empty | Operation::Literal(_) | Operation::Index | Operation::Total | Operation::Variable(_) => {
                Shape::ANY
            }
        }
    }

    fn input(&mut self, input: Option<&Plan>, focus: &Shape) -> Shape {
        match input {
            Some(input) => self.shape(input, focus),
            None => focus.clone(),
        }
    }

    fn start(&mut self, plan: &Plan, test: &TypeTest, step: &Step, focus: &Shape) -> Shape {
        let (Some(types), Some(named)) = (&focus.types, test.fhir()) else { return Shape::ANY };
        let related =
            |own: &&'static TypeDef| schema().is_a(own.name, named.name) || schema().is_a(named.name, own.name);
        if types.iter().any(related) {
            return focus.clone();
        }
        let what = format!("the expression stands on {}, which is no {}", names(types), step.name());
        self.fault(plan, what)
    }

    fn child(&mut self, plan: &Plan, base: &Shape, step: &Step) -> Shape {
        let Some(types) = &base.types else { return Shape { types: None, ordered: base.ordered } };
        let mut found = Vec::new();
        for type_def in types {
            let open = type_def.is_abstract && type_def.kind == TypeKind::Resource;
            if open && step.types_in(type_def).is_none() {
                return Shape { types: None, ordered: base.ordered };
            }
            found.extend(step.types_in(type_def).into_iter().flatten());
        }
        if found.is_empty() && !types.is_empty() {
            let what = format!("{} has no element {}{}", names(types), step.name(), choice_hint(types, step.name()));
            return self.fault(plan, what);
        }
        Shape { types: Some(found), ordered: base.ordered }
    }

    fn needs_order(&mut self, plan: &Plan, base: &Shape, what: &str) -> Shape {
        if !base.ordered {
            return self.fault(plan, format!("{what} needs an order, which children and descendants do not have"));
        }
        base.clone()
    }

    fn call(&mut self, plan: &Plan, call: &Call, focus: &Shape) -> Shape {
        use Function as F;
        let input = self.input(call.input.as_ref(), focus);
        let on_items = matches!(
            call.function,
            F::Where | F::Exists | F::All | F::Select | F::Repeat | F::Aggregate | F::Sort | F::Iif | F::Trace
        );
        let inner = if on_items { &input } else { focus };
        let shapes: Vec<Shape> = call.arguments.iter().map(|argument| self.shape(argument, inner)).collect();
        match call.function {
            F::Where | F::Trace | F::Distinct | F::Intersect | F::Exclude => input,
            F::Sort => Shape { types: input.types, ordered: true },
            F::First | F::Last | F::Tail | F::Skip | F::Take => {
                self.needs_order(plan, &input, &format!("{}()", call.function.name()))
            }
            F::Single => Shape { types: input.types, ordered: true },
            F::Select => shapes.into_iter().next().unwrap_or(Shape::ANY),
            F::Union | F::Combine => shapes.into_iter().fold(input, Shape::joined),
            F::Extension => Shape::named("Extension"),
            F::Children | F::Descendants => Shape { types: None, ordered: false },
            _ => Shape::ANY,
        }
    }
}

fn names(types: &[&'static TypeDef]) -> String {
    let mut names: Vec<&str> = types.iter().map(|type_def| type_def.name).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(4);
    names.join(" or ")
}

/// `valueQuantity` is `value` in FHIRPath.
fn choice_hint(types: &[&'static TypeDef], name: &str) -> String {
    let spelled = |type_def: &&'static TypeDef| {
        let (element, chosen) = type_def.element(crate::fhir::NameId::of(name))?;
        element.is_choice.then(|| format!("; write {}.ofType({})", element.stem, chosen.code))
    };
    types.iter().find_map(spelled).unwrap_or_default()
}
