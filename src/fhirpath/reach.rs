//! How far around its focus an expression looks.
//!
//! FHIRPath has no step upwards: what an expression sees besides the focus and what is below it comes from its variables
//! and from the few functions that follow references. A validator that knows what has changed since an invariant held
//! need not evaluate it again where nothing changed that it sees.

use super::Expression;
use super::function::Function;
use super::item::Value;
use super::plan::{Binary, Operation, Plan};
use crate::fhir::NameId;

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

impl Expression {
    /// The names of the elements that the expression reads, if it looks at nothing else: what it yields changes only if
    /// an element of one of these names does, comes or goes. `None` for an expression that may look at the whole content
    /// of an element (which equality of complex values does, and so whatever removes duplicates), at what a reference
    /// leads to, or at names that R4 does not have.
    pub fn reads(&self) -> Option<Vec<NameId>> {
        let mut names = Vec::new();
        read(&self.plan, &mut names)?;
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}

fn read(plan: &Plan, names: &mut Vec<NameId>) -> Option<()> {
    match &plan.operation {
        Operation::Empty | Operation::Literal(_) | Operation::This | Operation::Index => Some(()),
        Operation::Variable(name) => matches!(&**name, "context" | "resource" | "rootResource").then_some(()),
        // An element of R4 starts with a small letter, a type with a capital.
        Operation::Start(named) if named.1.name().starts_with(|first: char| first.is_ascii_uppercase()) => Some(()),
        Operation::Start(named) => add(named.1.name(), names),
        Operation::Child(base, step) => {
            base.iter().try_for_each(|base| read(base, names))?;
            add(step.name(), names)
        }
        Operation::Indexer(base, index) => {
            read(base, names)?;
            read(index, names)
        }
        Operation::Call(call) => {
            reads_only_names(call.function).then_some(())?;
            if call.function == Function::Extension {
                ["extension", "url"].into_iter().try_for_each(|name| add(name, names))?;
            }
            call.input.iter().chain(&call.arguments).try_for_each(|plan| read(plan, names))
        }
        Operation::Binary(binary, sides) => {
            compares_only_values(*binary, sides).then_some(())?;
            read(&sides.0, names)?;
            read(&sides.1, names)
        }
        Operation::Is(input, _) | Operation::As(input, ..) => input.iter().try_for_each(|input| read(input, names)),
        Operation::Total | Operation::Negate(_) => None,
    }
}

fn add(name: &str, names: &mut Vec<NameId>) -> Option<()> {
    let id = Some(NameId::of(name)).filter(|id| *id != NameId::UNKNOWN)?;
    names.push(id);
    Some(())
}

/// Whether a function looks at no more of its input than how many items there are, their types and primitive values.
fn reads_only_names(function: Function) -> bool {
    use Function as F;
    matches!(
        function,
        F::Empty
            | F::Exists
            | F::All
            | F::AllTrue
            | F::AnyTrue
            | F::AllFalse
            | F::AnyFalse
            | F::Count
            | F::Not
            | F::Where
            | F::Select
            | F::Single
            | F::First
            | F::Last
            | F::Tail
            | F::Skip
            | F::Take
            | F::Iif
            | F::StartsWith
            | F::EndsWith
            | F::Contains
            | F::Matches
            | F::MatchesFull
            | F::Length
            | F::Upper
            | F::Lower
            | F::Substring
            | F::Trim
            | F::HasValue
            | F::GetValue
            | F::Extension
    )
}

/// Whether an operator looks at primitive values alone: a text or a truth differs from any complex value, and a count
/// is none. A number may be compared with a Quantity, whose elements nobody names.
fn compares_only_values(binary: Binary, sides: &(Plan, Plan)) -> bool {
    let is_plain = |plan: &Plan| match &plan.operation {
        Operation::Literal(value) => matches!(value, Value::String(_) | Value::Boolean(_)),
        Operation::Call(call) => {
            matches!(call.function, Function::Count | Function::Length) || call.function.is_truth()
        }
        _ => false,
    };
    match binary {
        Binary::And | Binary::Or | Binary::Xor | Binary::Implies => true,
        Binary::Equal | Binary::NotEqual | Binary::Less | Binary::LessOrEqual => {
            is_plain(&sides.0) || is_plain(&sides.1)
        }
        Binary::Greater | Binary::GreaterOrEqual => is_plain(&sides.0) || is_plain(&sides.1),
        _ => false,
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

    #[test]
    fn an_expression_tells_what_it_reads() {
        for (text, expected) in [
            ("entry.resource.where(meta.profile = 'http://p').count() <= 1", Some("entry meta profile resource")),
            ("Patient.name.exists() and %resource.status.empty()", Some("name status")),
            ("extension('http://e').value.exists()", Some("extension url value")),
            ("type = 'message' implies entry.first().resource is MessageHeader", Some("entry resource type")),
            ("contact.all($this.name.exists())", Some("contact name")),
            ("true and 1.exists()", Some("")),
            ("value > 5", None),
            ("value = 5", None),
            ("code = other", None),
            ("name | contact", None),
            ("name.distinct()", None),
            ("'a' in code", None),
            ("descendants().exists()", None),
            ("subject.resolve().exists()", None),
            ("notOfR4.exists()", None),
            ("%other.exists()", None),
        ] {
            let reads = Expression::parse(text).expect("it parses").reads();
            let mut names: Option<Vec<&str>> = reads.map(|names| names.into_iter().map(NameId::text).collect());
            names.iter_mut().for_each(|names| names.sort_unstable());
            assert_eq!(names.map(|names| names.join(" ")).as_deref(), expected, "{text}");
        }
    }
}
