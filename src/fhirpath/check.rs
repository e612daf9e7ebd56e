//! What the types tell before any data is there: names that a type does not have, values that never compare.
//!
//! Only what is certainly wrong is reported: where a type is not known, such as behind `resolve()`, anything goes.

use super::error::TypeError;
use super::function::Function;
use super::nearest::nearest;
use super::plan::{Binary, Call, Operation, Plan};
use super::shape::{Kinds, Shape, System, Type};
use super::signature;
use super::types::{Step, TypeTest};
use super::typing::{DataType, Typing};
use crate::fhir::NameId;
use crate::fhir::r4::{TypeDef, TypeKind, schema};

/// Most rounds that the types of a `repeat()` are followed.
const ROUNDS: usize = 8;
/// Most plans that one check looks at; the rest counts as unknown.
const STEPS: u32 = 100_000;

/// The faults of `plan` where `typing` says what it will find. `lenient`: see [`super::Dialect`].
pub(super) fn check(plan: &Plan, typing: &Typing<'_>, lenient: bool) -> Vec<TypeError> {
    let mut checker = Checker { typing, lenient, steps_left: STEPS, faults: Vec::new() };
    let focus = typing.focus.map(Shape::of);
    let result = checker.shape(plan, focus.as_ref());
    if typing.is_condition {
        checker.needs_truth(plan, &result, "a condition");
    }
    checker.faults
}

struct Checker<'t> {
    typing: &'t Typing<'t>,
    lenient: bool,
    /// Plans that may still be looked at: `repeat()` looks at its projection again and again.
    steps_left: u32,
    faults: Vec<TypeError>,
}

/// What is said of a function that the language has and this engine has not.
pub(super) const UNSUPPORTED: &str = "is not supported here";

/// The shape of the focus; `None` where there is nothing.
type Focus<'f> = Option<&'f Shape>;

impl Checker<'_> {
    fn fault(&mut self, plan: &Plan, what: String, hint: impl Into<String>) -> Shape {
        self.faults.push(TypeError { offset: plan.offset as usize, what, hint: hint.into(), is_certain: true });
        Shape::NOTHING
    }

    /// The shape of what `plan` yields. The arms are functions of their own: this one recurs, and its frame must be small.
    fn shape(&mut self, plan: &Plan, focus: Focus<'_>) -> Shape {
        let Some(left) = self.steps_left.checked_sub(1) else { return Shape::ANY };
        self.steps_left = left;
        match &plan.operation {
            Operation::Child(Some(base), step) => self.child_of(plan, base, step, focus),
            Operation::Call(call) => self.call(plan, call, focus),
            Operation::Binary(binary, sides) => self.binary(plan, *binary, sides, focus),
            Operation::Indexer(base, index) => self.indexer(plan, base, index, focus),
            Operation::Negate(operand) => self.negate(plan, operand, focus),
            Operation::Is(input, test) => {
                self.selected(plan, input.as_deref(), test, focus);
                Shape::system(System::Boolean)
            }
            Operation::As(input, test, _) => self.selected(plan, input.as_deref(), test, focus),
            _ => self.leaf(plan, focus),
        }
    }

    /// A plan without plans below it.
    fn leaf(&mut self, plan: &Plan, focus: Focus<'_>) -> Shape {
        match (&plan.operation, focus) {
            (Operation::Literal(value), _) => Shape::of_value(value),
            (Operation::This, Some(focus)) => focus.clone(),
            (Operation::Index, _) => Shape::system(System::Integer),
            (Operation::Variable(name), _) => self.variable(plan, name),
            (Operation::Start(named), Some(focus)) => self.start(plan, &named.0, &named.1, focus),
            (Operation::Child(None, step), Some(focus)) => self.child(plan, focus, step),
            (Operation::Child(None, step), None) => self.name_on_nothing(plan, step),
            _ => Shape::ANY,
        }
    }

    fn child_of(&mut self, plan: &Plan, base: &Plan, step: &Step, focus: Focus<'_>) -> Shape {
        let base = self.shape(base, focus);
        self.child(plan, &base, step)
    }

    fn indexer(&mut self, plan: &Plan, base: &Plan, index: &Plan, focus: Focus<'_>) -> Shape {
        let place = self.shape(index, focus);
        self.needs(index, &place, Kinds::NUMBER, "an index is a number");
        let base = self.shape(base, focus);
        self.needs_order(plan, base, "an index")
    }

    fn negate(&mut self, plan: &Plan, operand: &Plan, focus: Focus<'_>) -> Shape {
        let shape = self.shape(operand, focus);
        self.needs(plan, &shape, Kinds::NUMBER.or(Kinds::QUANTITY), "a minus stands before a number");
        shape
    }

    fn binary(&mut self, plan: &Plan, binary: Binary, sides: &(Plan, Plan), focus: Focus<'_>) -> Shape {
        let (left, right) = (self.shape(&sides.0, focus), self.shape(&sides.1, focus));
        self.combined(plan, binary, left, right)
    }

    fn input(&mut self, input: Option<&Plan>, focus: Focus<'_>) -> Shape {
        match input {
            Some(input) => self.shape(input, focus),
            None => focus.cloned().unwrap_or(Shape::ANY),
        }
    }

    fn variable(&mut self, plan: &Plan, name: &str) -> Shape {
        if let Some((_, data)) = self.typing.variables.iter().rev().find(|(known, _)| *known == name) {
            return Shape::of(*data);
        }
        match name {
            "context" => self.typing.focus.map_or(Shape::ANY, Shape::of),
            "resource" | "rootResource" => Shape::ANY,
            "ucum" | "sct" | "loinc" => Shape::system(System::String),
            _ if name.starts_with("vs-") || name.starts_with("ext-") => Shape::system(System::String),
            _ => {
                let known = self.typing.variables.iter().map(|(known, _)| format!("%{known}"));
                let defined =
                    ["context", "resource", "rootResource", "ucum", "sct", "loinc"].map(|each| format!("%{each}"));
                let hint = nearest(&format!("%{name}"), known.chain(defined));
                self.fault(plan, format!("the variable %{name} is not defined"), hint)
            }
        }
    }

    /// A bare name where there is neither a focus nor a variable of that name.
    fn name_on_nothing(&mut self, plan: &Plan, step: &Step) -> Shape {
        let hint = nearest(step.name(), self.typing.variables.iter().map(|(known, _)| (*known).to_owned()));
        self.fault(plan, format!("nothing is called {} here", step.name()), hint)
    }

    fn start(&mut self, plan: &Plan, test: &TypeTest, step: &Step, focus: &Shape) -> Shape {
        let (Some(types), Some(named)) = (&focus.types, test.fhir()) else { return Shape::ANY };
        if types.is_empty() || types.iter().any(|own| may_be(*own, test)) {
            return focus.clone();
        }
        if self.children_of(types, step).is_none_or(|found| !found.is_empty()) {
            return self.child(plan, focus, step);
        }
        let what = format!("the expression stands on {}, which is no {}", self.names(types), named.name);
        self.fault(plan, what, "")
    }

    fn child(&mut self, plan: &Plan, base: &Shape, step: &Step) -> Shape {
        let Some(types) = base.types.as_deref().filter(|types| !types.is_empty()) else {
            return Shape { types: None, ordered: base.ordered };
        };
        match self.children_of(types, step) {
            Some(found) if found.is_empty() => {
                let what = format!("{} has no element {}", self.names(types), step.name());
                let hint = self.element_hint(types, step.name());
                self.fault(plan, what, hint)
            }
            types => Shape { types, ordered: base.ordered },
        }
    }

    /// The types of the children that `step` finds; `None` if any.
    fn children_of(&self, types: &[Type], step: &Step) -> Option<Vec<Type>> {
        let mut found: Vec<Type> = Vec::new();
        for each in types {
            for child in self.children_in(*each, step)? {
                if !found.iter().any(|known| known.is(child)) {
                    found.push(child);
                }
            }
        }
        Some(found)
    }

    fn children_in(&self, of: Type, step: &Step) -> Option<Vec<Type>> {
        match of {
            Type::Fhir { of, plain } => match step.types_in(of) {
                Some(types) => Some(types.into_iter().map(|of| Type::Fhir { of, plain }).collect()),
                None if of.is_abstract || (plain && of.kind != TypeKind::Primitive) => None,
                None => Some(Vec::new()),
            },
            Type::Model(number) => {
                let data = self.typing.model?.member(number, step.name()).unwrap_or_default();
                data.into_iter().map(plain_type).collect()
            }
            Type::System(System::Quantity) if matches!(step.name(), "value" | "unit" | "code") => None,
            Type::System(_) if self.lenient && step.name() == "value" => Some(vec![of]),
            Type::System(_) => Some(Vec::new()),
        }
    }

    fn needs_order(&mut self, plan: &Plan, base: Shape, what: &str) -> Shape {
        if base.ordered {
            return base;
        }
        self.fault(plan, format!("{what} needs an order, which children and descendants do not have"), "")
    }

    /// Reports `plan` if none of the items of `shape` can be of `kinds`.
    fn needs(&mut self, plan: &Plan, shape: &Shape, kinds: Kinds, what: &str) {
        if !shape.kinds().meets(kinds) {
            let found = self.shown(shape);
            self.fault(plan, format!("{what}, and this is {found}"), "");
        }
    }

    /// A single item that is not a boolean counts as true (FHIRPath N1, 4.5): legal, but hardly meant.
    fn needs_truth(&mut self, plan: &Plan, shape: &Shape, of: &str) {
        if !shape.kinds().meets(Kinds::BOOLEAN) {
            let what = format!("{of} is true or false, and this is {}", self.shown(shape));
            let hint = "ask with exists(), or compare it with something".to_owned();
            self.faults.push(TypeError { offset: plan.offset as usize, what, hint, is_certain: false });
        }
    }

    fn combined(&mut self, plan: &Plan, binary: Binary, left: Shape, right: Shape) -> Shape {
        use Binary as B;
        let (one, other) = (left.kinds(), right.kinds());
        match binary {
            B::Union => return left.joined(right),
            B::Equal | B::NotEqual | B::Equivalent | B::NotEquivalent | B::In | B::Contains => {
                if !one.compares_with(other) {
                    let what = format!("{} is never equal to {}", self.shown(&left), self.shown(&right));
                    self.fault(plan, what, "compare values of one kind, or convert one of them");
                }
            }
            B::Less | B::LessOrEqual | B::Greater | B::GreaterOrEqual => {
                const ORDERED: Kinds =
                    Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::DATE).or(Kinds::TIME).or(Kinds::QUANTITY);
                if !one.compares_with(other) || !one.meets(ORDERED) || !other.meets(ORDERED) {
                    let what = format!("{} and {} have no order", self.shown(&left), self.shown(&right));
                    self.fault(plan, what, "compare values of one kind, or convert one of them");
                }
            }
            B::And | B::Or | B::Xor | B::Implies => {}
            _ => return self.arithmetic(plan, binary, &left, &right),
        }
        Shape::system(System::Boolean)
    }

    fn arithmetic(&mut self, plan: &Plan, binary: Binary, left: &Shape, right: &Shape) -> Shape {
        use Binary as B;
        const MEASURED: Kinds = Kinds::NUMBER.or(Kinds::QUANTITY);
        const CALENDAR: Kinds = Kinds::DATE.or(Kinds::TIME);
        let (one, other) = (left.kinds(), right.kinds());
        let shifts = one.meets(CALENDAR) && other.meets(Kinds::QUANTITY);
        let measures = one.meets(MEASURED) && other.meets(MEASURED);
        let possible = match binary {
            B::Concatenate => one != Kinds::OTHER && other != Kinds::OTHER,
            B::Add => measures || shifts || one.meets(Kinds::TEXT) && other.meets(Kinds::TEXT),
            B::Subtract => measures || shifts,
            B::Div | B::Mod => one.meets(Kinds::NUMBER) && other.meets(Kinds::NUMBER),
            _ => measures,
        };
        if !possible {
            let what = format!("{} and {} cannot be combined so", self.shown(left), self.shown(right));
            let hint =
                if binary == B::Add { "join texts with &, and write durations with a unit, such as 1 day" } else { "" };
            return self.fault(plan, what, hint);
        }
        match binary {
            B::Concatenate => Shape::system(System::String),
            _ if one == Kinds::TEXT => Shape::system(System::String),
            _ if one == Kinds::NUMBER && other == Kinds::NUMBER => Shape::system(System::Decimal),
            _ => Shape::ANY,
        }
    }

    /// `is`, `as` and `ofType`.
    fn selected(&mut self, plan: &Plan, input: Option<&Plan>, test: &TypeTest, focus: Focus<'_>) -> Shape {
        let input = self.input(input, focus);
        let types = input.types.as_deref().unwrap_or_default();
        if !types.is_empty() && !types.iter().any(|own| may_be(*own, test)) {
            let what = format!("{} is never {}", self.shown(&input), test.name());
            let hint = self.type_hint(types, test);
            self.fault(plan, what, hint);
        }
        let types = test.fhir().map(|of| {
            let plain = types.iter().any(|each| !matches!(each, Type::Fhir { plain: false, .. }));
            vec![Type::Fhir { of, plain }]
        });
        Shape { types, ordered: input.ordered }
    }

    fn call(&mut self, plan: &Plan, call: &Call, focus: Focus<'_>) -> Shape {
        let input = self.input(call.input.as_ref(), focus);
        if call.function == Function::Repeat {
            return self.repeated(call, input);
        }
        let inner = if signature::is_on_items(call.function) && call.input.is_some() { Some(&input) } else { focus };
        let mut shapes = Vec::with_capacity(call.arguments.len());
        for argument in &call.arguments {
            shapes.push(self.shape(argument, inner));
        }
        self.check_call(plan, call, &input, &shapes);
        self.yielded(plan, call.function, input, shapes)
    }

    /// What a function yields on `input` with arguments of these shapes.
    fn yielded(&mut self, plan: &Plan, function: Function, input: Shape, shapes: Vec<Shape>) -> Shape {
        use Function as F;
        match function {
            F::Where | F::Trace | F::Distinct | F::Intersect | F::Exclude => input,
            F::Sort | F::Single => Shape { types: input.types, ordered: true },
            F::First | F::Last | F::Tail | F::Skip | F::Take => {
                self.needs_order(plan, input, &format!("{}()", function.name()))
            }
            F::Select => shapes.into_iter().next().unwrap_or(Shape::ANY),
            F::Iif => shapes.into_iter().skip(1).reduce(Shape::joined).unwrap_or(Shape::ANY),
            F::Union | F::Combine => shapes.into_iter().fold(input, Shape::joined),
            F::Children | F::Descendants => Shape { types: None, ordered: false },
            function => signature::result(function).unwrap_or(Shape::ANY),
        }
    }

    fn check_call(&mut self, plan: &Plan, call: &Call, input: &Shape, shapes: &[Shape]) {
        let name = call.function.name();
        if call.function.is_unsupported() {
            self.fault(plan, format!("{name}() {UNSUPPORTED}"), "express the rule without it");
        }
        if !input.kinds().meets(signature::input(call.function)) {
            let what = format!("{name}() does not work on {}", self.shown(input));
            self.fault(plan, what, "convert the value first");
        }
        for (index, (argument, shape)) in call.arguments.iter().zip(shapes).enumerate() {
            match signature::argument(call.function, index) {
                Kinds::BOOLEAN => self.needs_truth(argument, shape, &format!("the condition of {name}()")),
                Kinds::TEXT => self.needs(argument, shape, Kinds::TEXT, &format!("{name}() takes a text")),
                Kinds::NUMBER => self.needs(argument, shape, Kinds::NUMBER, &format!("{name}() takes a number")),
                _ => {}
            }
        }
    }

    /// `repeat()`: the projection on the input, and on what the projection finds. A name is wrong there only if none of
    /// the types that are reached has it.
    fn repeated(&mut self, call: &Call, input: Shape) -> Shape {
        let Some(projection) = call.arguments.first() else { return Shape::ANY };
        let mut reached = input;
        for _ in 0..ROUNDS {
            let known = self.faults.len();
            let next = self.shape(projection, Some(&reached));
            let before = reached.types.as_ref().map_or(0, Vec::len);
            let grown = reached.clone().joined(next.clone());
            if grown.types.as_ref().is_none_or(|types| types.len() == before) {
                return next;
            }
            self.faults.truncate(known);
            reached = grown;
        }
        Shape::ANY
    }

    fn shown(&self, shape: &Shape) -> String {
        shape.types.as_deref().map_or_else(|| "something".to_owned(), |types| self.names(types))
    }

    fn names(&self, types: &[Type]) -> String {
        let mut names: Vec<String> = types.iter().map(|each| self.name(*each)).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > 4 {
            names.truncate(3);
            names.push("another type".to_owned());
        }
        names.join(" or ")
    }

    fn name(&self, of: Type) -> String {
        match of {
            Type::Fhir { of, .. } => of.name.to_owned(),
            Type::Model(number) => self.typing.model.map_or_else(String::new, |model| model.name(number)),
            Type::System(system) => format!("{system:?}"),
        }
    }

    /// `valueQuantity` is `value.ofType(Quantity)`; otherwise the nearest name.
    fn element_hint(&self, types: &[Type], name: &str) -> String {
        let spelled = |each: &Type| {
            let Type::Fhir { of, .. } = each else { return None };
            let (element, chosen) = of.element(NameId::of(name))?;
            element.is_choice.then(|| format!("write {}.ofType({})", element.stem, chosen.code))
        };
        if let Some(hint) = types.iter().find_map(spelled) {
            return hint;
        }
        let mut known = Vec::new();
        for each in types {
            match each {
                Type::Fhir { of, .. } => known.extend(self.spellings(of)),
                Type::Model(number) => {
                    known.extend(self.typing.model.into_iter().flat_map(|model| model.members(*number)))
                }
                Type::System(_) => {}
            }
        }
        nearest(name, known)
    }

    fn spellings(&self, of: &'static TypeDef) -> Vec<String> {
        let mut names = Vec::new();
        for element in &of.elements {
            names.push(element.stem.to_owned());
            if self.lenient && element.is_choice {
                names.extend(element.types.iter().map(|chosen| element.json_name(chosen.code)));
            }
        }
        names
    }

    fn type_hint(&self, types: &[Type], test: &TypeTest) -> String {
        nearest(test.name(), types.iter().map(|each| self.name(*each)))
    }
}

/// In a record the data carries no R4 types.
fn plain_type(data: DataType) -> Option<Type> {
    match data {
        DataType::Any => None,
        DataType::Fhir(of) => Some(Type::Fhir { of, plain: true }),
        DataType::Model(number) => Some(Type::Model(number)),
    }
}

/// Whether an item of type `own` may be what `test` asks for.
fn may_be(own: Type, test: &TypeTest) -> bool {
    match own {
        Type::Fhir { of, plain: false } => {
            test.fhir().is_some_and(|named| schema().is_a(of.name, named.name) || schema().is_a(named.name, of.name))
        }
        Type::Fhir { plain: true, .. } | Type::Model(_) => true,
        // `ofType(string)` on a computed string selects nothing, but its author means something that exists.
        Type::System(system) => {
            let named = test.fhir().map(|of| Type::fhir(of).kinds());
            test.is_any()
                || test.is_system_named(&format!("{system:?}"))
                || named.is_some_and(|kinds| kinds.meets(own.kinds()))
        }
    }
}
