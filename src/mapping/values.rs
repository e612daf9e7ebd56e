//! Values of the record and of expressions: their children, their types, and whether a text can be read as a type.

use std::borrow::Cow;

use crate::fhir::{Kind, NameId, Node};
use crate::fhirpath::{self, Date, DateTime, Item, Time};

use super::run::Value;
use super::types::{Spelling, Type, made};

/// Pushes the occurrences of one element of an object. A plain record has no `_name` siblings.
pub(super) fn children<'r>(node: Node<'r>, spelling: &Spelling, is_record: bool, out: &mut Vec<Value<'r>>) {
    let value = node.get(&spelling.name);
    let companion = if is_record { None } else { companion(node, spelling.name.id()) };
    match (value, companion) {
        (None, None) => {}
        (Some(list), companion) if list.is_array() => {
            let mut companions = companion.map(Node::items);
            for item in list.children() {
                push(Some(item), companions.as_mut().and_then(Iterator::next), spelling.ty, out);
            }
        }
        (None, Some(list)) if list.is_array() => {
            list.children().for_each(|item| push(None, Some(item), spelling.ty, out))
        }
        (value, companion) => push(value, companion, spelling.ty, out),
    }
}

fn push<'r>(value: Option<Node<'r>>, companion: Option<Node<'r>>, ty: Type, out: &mut Vec<Value<'r>>) {
    let written = |node: &Node<'r>| node.kind() != Kind::Null;
    let (value, companion) = (value.filter(written), companion.filter(written));
    if value.is_some() || companion.is_some() {
        out.push(Value::Element { value, companion, ty: actual_type(value, ty) });
    }
}

/// The type a resource says itself; for other elements the type their parent says.
fn actual_type(value: Option<Node<'_>>, ty: Type) -> Type {
    if ty.is_concrete() {
        return ty;
    }
    value.and_then(Node::resource_type).map_or(ty, Type::fhir)
}

fn companion(node: Node<'_>, name: NameId) -> Option<Node<'_>> {
    if name == NameId::UNKNOWN {
        return None;
    }
    let is_it = |child: &Node<'_>| {
        let id = child.name_id();
        id.is_primitive_extension() && id.without_underscore() == name
    };
    node.children().find(is_it)
}

/// Whether an element of the record is of the type `wanted`, as far as the record tells.
pub(super) fn element_has_type(value: Option<Node<'_>>, ty: Type, wanted: Type) -> bool {
    if ty.is_concrete() {
        return ty.is_a(wanted);
    }
    let Some(node) = value else { return wanted.is_primitive() };
    match node.kind() {
        Kind::Object => node.resource_type().map_or(!wanted.is_primitive(), |name| Type::fhir(name).is_a(wanted)),
        _ => wanted == json_type(node) || (wanted.is_primitive() && node.kind() == Kind::String && !is_checked(wanted)),
    }
}

/// The type of a primitive in a record that is not FHIR.
pub(super) fn json_type(node: Node<'_>) -> Type {
    match node.kind() {
        Kind::Boolean => made().boolean,
        Kind::Number if node.raw().bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => made().integer,
        Kind::Number => made().decimal,
        _ => made().string,
    }
}

/// The type of a computed value, if it is a primitive.
pub(super) fn type_of(value: &fhirpath::Value<'_>) -> Option<Type> {
    Some(Type::fhir(match value {
        fhirpath::Value::Boolean(_) => "boolean",
        fhirpath::Value::String(_) => "string",
        fhirpath::Value::Integer(_) => "integer",
        fhirpath::Value::Decimal(_) => "decimal",
        fhirpath::Value::Date(_) => "date",
        fhirpath::Value::DateTime(_) => "dateTime",
        fhirpath::Value::Time(_) => "time",
        fhirpath::Value::Quantity(_) | fhirpath::Value::Type(_) => return None,
    }))
}

/// A computed text as FHIRPath sees it.
pub(super) fn item_of_text(text: Cow<'_, str>, ty: Type) -> Item<'_> {
    let value = match ty.fhir_name() {
        Some("boolean") => Some(fhirpath::Value::Boolean(text == "true")),
        Some("integer" | "positiveInt" | "unsignedInt") => text.parse().ok().map(fhirpath::Value::Integer),
        Some("decimal") => text.parse().ok().map(fhirpath::Value::Decimal),
        Some("date") => Date::parse(&text).map(fhirpath::Value::Date),
        Some("dateTime" | "instant") => DateTime::parse(&text).map(fhirpath::Value::DateTime),
        Some("time") => Time::parse(&text).map(fhirpath::Value::Time),
        _ => None,
    };
    value.map_or_else(|| Item::of_text(text), Item::Value)
}

/// Whether a type is one whose texts [`is_well_formed`] looks at.
fn is_checked(ty: Type) -> bool {
    super::target::is_bare(ty)
}

/// Whether JSON could write `text` as a value of type `ty`. Dates, codes and ids are left to validation.
pub(super) fn is_well_formed(text: &str, ty: Type) -> bool {
    if !is_checked(ty) {
        return true;
    }
    match ty.fhir_name() {
        Some("boolean") => matches!(text, "true" | "false"),
        Some("integer") => is_integer(text.strip_prefix('-').unwrap_or(text)),
        Some("unsignedInt") => is_integer(text),
        Some("positiveInt") => is_integer(text) && text != "0",
        Some("decimal") => is_decimal(text),
        _ => true,
    }
}

fn is_integer(digits: &str) -> bool {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (digits == "0" || !digits.starts_with('0'))
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
pub(super) fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|each| digits(each.strip_prefix(['+', '-']).unwrap_or(each)));
    match number.split_once('.') {
        Some((whole, fraction)) => is_integer(whole) && digits(fraction) && exponent_fits,
        None => is_integer(number) && exponent_fits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_booleans_are_checked() {
        for (ty, good, bad) in [
            ("integer", vec!["0", "-5", "12"], vec!["", "-", "007", "1.0", "1e3", " 1"]),
            ("positiveInt", vec!["1", "10"], vec!["0", "-1"]),
            (
                "decimal",
                vec!["60.0", "-0.5", "1e10", "0.000", "1E-3"],
                vec!["", ".5", "5.", "1e", "00.1", "1.2.3", "x"],
            ),
            ("boolean", vec!["true", "false"], vec!["True", "1", ""]),
        ] {
            let ty = Type::fhir(ty);
            assert!(good.iter().all(|text| is_well_formed(text, ty)), "{ty:?} {good:?}");
            assert!(bad.iter().all(|text| !is_well_formed(text, ty)), "{ty:?} {bad:?}");
        }
    }
}
