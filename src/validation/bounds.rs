//! Which of two values is the larger: numbers, dates, times, quantities (`ElementDefinition.minValue[x]`, `maxValue[x]`).

use std::cmp::Ordering;
use std::sync::LazyLock;

use crate::fhir::Node;
use crate::fhir::r4::schema;
use crate::fhirpath::{Environment, Expression, Item, Variable};

static LESS: LazyLock<Expression> = LazyLock::new(|| comparison("%left < %right"));
static MORE: LazyLock<Expression> = LazyLock::new(|| comparison("%left > %right"));

fn comparison(text: &str) -> Expression {
    Expression::parse(text).expect("the expression is one of ours")
}

/// A value and the name of its FHIR type.
pub(super) type Typed<'a> = (Node<'a>, &'a str);

/// How `left` stands to `right`: `None` where that cannot be said, as for units that do not convert into each other
/// and for dates of different precision that agree as far as both go.
pub(super) fn compare<'a>(left: Typed<'a>, right: Typed<'a>) -> Option<Ordering> {
    let item = |(node, name)| Item::of_node(node, schema().type_named(name));
    let variables =
        [Variable { name: "left", items: vec![item(left)] }, Variable { name: "right", items: vec![item(right)] }];
    let environment = Environment { variables: &variables, ..Environment::default() };
    let is = |expression: &'static Expression| {
        expression.evaluate(&[], &environment).ok()?.first().and_then(Item::as_boolean)
    };
    match (is(&LESS)?, is(&MORE)?) {
        (true, _) => Some(Ordering::Less),
        (_, true) => Some(Ordering::Greater),
        _ => Some(Ordering::Equal),
    }
}

/// The value of a choice element with this stem, and its type: `valueQuantity` of `value`.
pub(super) fn choice<'a>(node: Node<'a>, stem: &str) -> Option<Typed<'a>> {
    if !node.is_object() {
        return None;
    }
    node.children().find_map(|child| Some((child, type_in_name(child, stem)?)))
}

/// `Quantity` for a member called `valueQuantity`, `date` for `valueDate`.
fn type_in_name(child: Node<'_>, stem: &str) -> Option<&'static str> {
    let name = child.name_id().text();
    let spelled = name.strip_prefix(stem).filter(|_| !child.name_id().is_primitive_extension())?;
    let lower = spelled.get(..1)?.to_ascii_lowercase() + &spelled[1..];
    let find = |name: &str| schema().type_named(name).map(|each| each.name);
    find(spelled).or_else(|| find(&lower))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};

    fn of(left: &str, right: &str) -> Option<Ordering> {
        let document = |value: &str| {
            Document::parse(format!("{{{value}}}"), &Limits::default()).expect("the test's document is JSON")
        };
        let (left, right) = (document(left), document(right));
        compare(choice(left.root(), "value")?, choice(right.root(), "value")?)
    }

    #[test]
    fn values_of_one_kind_are_ordered() {
        assert_eq!(of(r#""valueInteger":2"#, r#""valueInteger":10"#), Some(Ordering::Less));
        assert_eq!(of(r#""valueDecimal":2.50"#, r#""valueInteger":2"#), Some(Ordering::Greater));
        assert_eq!(of(r#""valueDate":"2022-01-02""#, r#""valueDate":"2022-01-02""#), Some(Ordering::Equal));
        assert_eq!(of(r#""valueDateTime":"1998""#, r#""valueDateTime":"2020-05""#), Some(Ordering::Less));
        let grams = r#""valueQuantity":{"value":1001,"system":"http://unitsofmeasure.org","code":"g"}"#;
        let kilograms = r#""valueQuantity":{"value":1,"system":"http://unitsofmeasure.org","code":"kg"}"#;
        assert_eq!(of(grams, kilograms), Some(Ordering::Greater));
    }

    #[test]
    fn what_cannot_be_compared_is_not() {
        assert_eq!(of(r#""valueDate":"2022-06-30""#, r#""valueDate":"2022-06""#), None);
        let grams = r#""valueQuantity":{"value":1,"system":"http://unitsofmeasure.org","code":"g"}"#;
        let metres = r#""valueQuantity":{"value":1,"system":"http://unitsofmeasure.org","code":"m"}"#;
        assert_eq!(of(grams, metres), None);
        assert_eq!(of(grams, r#""valueString":"a""#), None);
    }
}
