//! How far around its focus an expression looks.
//!
//! FHIRPath has no step upwards: what an expression sees besides the focus and what is below it comes from its variables
//! and from the few functions that follow references. A validator that knows what has changed since an invariant held
//! need not evaluate it again where nothing changed that it sees.

use super::Expression;
use super::function::Function;
use super::plan::{Operation, Plan};

/// What an expression may look at, each with what is before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The focus and what is below it.
    #[default]
    Focus,
    /// The resource around the focus: `%resource`, `%rootResource`.
    Resource,
    /// Other resources: `resolve()`, `conformsTo()`, a variable that is not known here.
    Document,
}

impl Expression {
    /// What the expression may look at.
    pub fn reach(&self) -> Reach {
        reach(&self.plan)
    }
}

fn reach(plan: &Plan) -> Reach {
    match &plan.operation {
        Operation::Empty | Operation::Literal(_) | Operation::This | Operation::Index | Operation::Total => {
            Reach::Focus
        }
        Operation::Start(_) => Reach::Focus,
        Operation::Variable(name) => of_variable(name),
        Operation::Child(base, _) => of_all(base.iter().map(AsRef::as_ref)),
        Operation::Indexer(base, index) => reach(base).max(reach(index)),
        Operation::Call(call) => {
            let own = match call.function {
                Function::Resolve | Function::ConformsTo => Reach::Document,
                _ => Reach::Focus,
            };
            own.max(of_all(call.input.iter().chain(&call.arguments)))
        }
        Operation::Negate(inner) => reach(inner),
        Operation::Binary(_, sides) => reach(&sides.0).max(reach(&sides.1)),
        Operation::Is(input, _) | Operation::As(input, ..) => of_all(input.iter().map(AsRef::as_ref)),
    }
}

fn of_all<'p>(plans: impl Iterator<Item = &'p Plan>) -> Reach {
    plans.map(reach).max().unwrap_or_default()
}

/// The environment variables of FHIRPath and of R4 (fhirpath.html, 2.9.1.6).
fn of_variable(name: &str) -> Reach {
    match name {
        "context" | "ucum" | "sct" | "loinc" => Reach::Focus,
        "resource" | "rootResource" => Reach::Resource,
        _ if name.starts_with("vs-") || name.starts_with("ext-") => Reach::Focus,
        _ => Reach::Document,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_tells_how_far_it_looks() {
        for (text, expected) in [
            ("name.exists() and (birthDate <= today())", Reach::Focus),
            ("%context.id | %sct | %`vs-name`", Reach::Focus),
            ("value.empty() or component.where(code = %resource.code).empty()", Reach::Resource),
            ("item[%rootResource.id.length()]", Reach::Resource),
            ("-(a.select(%resource.b).first())", Reach::Resource),
            ("subject.resolve() is Patient", Reach::Document),
            ("entry.all(resource.conformsTo('http://p'))", Reach::Document),
            ("(%resource.a | b.where(c.resolve().exists())).d as Coding", Reach::Document),
            ("%something", Reach::Document),
        ] {
            assert_eq!(Expression::parse(text).expect("it parses").reach(), expected, "{text}");
        }
    }
}
