//! Items: what collections hold. An element of a document, or a value that the expression made.

use std::borrow::Cow;
use std::fmt;

use rust_decimal::Decimal;
use smallvec::SmallVec;

use super::temporal::{Date, DateTime, Time};
use crate::fhir::r4::{TypeDef, TypeKind, schema};
use crate::fhir::{Document, ElementPath, Kind, Node};

/// A collection. Most have at most one item, which is kept in place.
pub type Items<'a> = SmallVec<[Item<'a>; 1]>;

/// One item of a collection.
#[derive(Clone, Debug)]
pub enum Item<'a> {
    /// An element of a document.
    Element(Element<'a>),
    /// A value that the expression made, or a literal in it.
    Value(Value<'a>),
}

/// An element of a document: its value, its id and extensions, its type.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    value: Option<Node<'a>>,
    extension: Option<Node<'a>>,
    type_def: Option<&'static TypeDef>,
}

/// A value of one of the system types (FHIRPath N1, 4.1).
#[derive(Clone, PartialEq)]
#[allow(missing_docs, reason = "each is the System type of that name")]
pub enum Value<'a> {
    Boolean(bool),
    String(Cow<'a, str>),
    Integer(i64),
    Decimal(Decimal),
    Date(Date),
    DateTime(DateTime),
    Time(Time),
    Quantity(Quantity<'a>),
    /// What `type()` yields.
    Type(TypeInfo),
}

/// A number with a unit.
#[derive(Clone, PartialEq)]
pub struct Quantity<'a> {
    /// The number.
    pub value: Decimal,
    /// A UCUM code, or a calendar duration keyword in the singular; `1` for none.
    pub unit: Cow<'a, str>,
    /// Whether the unit is a calendar duration (`year`) and not a UCUM code (`'a'`).
    pub is_calendar: bool,
}

/// The name of a type (FHIRPath N1, 10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// `System` or `FHIR`.
    pub namespace: &'static str,
    /// `Boolean`, `boolean`, `Patient`.
    pub name: &'static str,
}

impl fmt::Debug for Value<'_> {
    /// Never the content of a string: it may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(…)", self.type_info().name)
    }
}

impl fmt::Debug for Quantity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quantity(…)")
    }
}

impl<'a> Item<'a> {
    /// The root of a document: a resource of the type it names, or a record without a FHIR type.
    pub fn of_document(document: &'a Document) -> Item<'a> {
        let type_def = document.resource_type().and_then(|name| schema().resource(name));
        Item::of_node(document.root(), type_def)
    }

    /// A node as an element of the type `type_def`; `None` in a record that is not FHIR.
    pub fn of_node(node: Node<'a>, type_def: Option<&'static TypeDef>) -> Item<'a> {
        Item::Element(Element::new(Some(node), None, type_def))
    }

    /// A primitive with its `_name` sibling, either of which may be missing.
    pub fn of_primitive(
        value: Option<Node<'a>>,
        extension: Option<Node<'a>>,
        type_def: Option<&'static TypeDef>,
    ) -> Item<'a> {
        Item::Element(Element::new(value, extension, type_def))
    }

    /// A string that the caller made.
    pub fn of_text(text: impl Into<Cow<'a, str>>) -> Item<'a> {
        Item::Value(Value::String(text.into()))
    }

    /// The element, unless the item is a computed value.
    pub fn as_element(&self) -> Option<&Element<'a>> {
        match self {
            Item::Element(element) => Some(element),
            Item::Value(_) => None,
        }
    }

    /// The node of the value, or of the primitive's extensions; `None` for a computed value.
    pub fn node(&self) -> Option<Node<'a>> {
        self.as_element().and_then(|element| element.node())
    }

    /// Where the element stands in its document; `None` for a computed value.
    pub fn path(&self) -> Option<ElementPath> {
        self.node().map(Node::path)
    }

    /// The system value: of a primitive or Quantity element by its FHIR type, of an element in a plain record by its
    /// JSON kind. `None` for other elements.
    pub fn value(&self) -> Option<Value<'a>> {
        match self {
            Item::Element(element) => element.system_value(),
            Item::Value(value) => Some(value.clone()),
        }
    }

    /// The boolean, if it is one.
    pub fn as_boolean(&self) -> Option<bool> {
        match self {
            Item::Element(element) => element.value?.boolean(),
            Item::Value(Value::Boolean(boolean)) => Some(*boolean),
            Item::Value(_) => None,
        }
    }

    /// The text of any primitive: digits, dates and codes as they were written. `None` for complex elements.
    pub fn as_text(&self) -> Option<Cow<'a, str>> {
        match self {
            Item::Element(element) => element.value?.scalar(),
            Item::Value(Value::String(text)) => Some(text.clone()),
            Item::Value(Value::Type(_)) => None,
            Item::Value(value) => Some(Cow::Owned(value.to_string())),
        }
    }

    /// The integer, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self.value()? {
            Value::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    /// The number, if it is an integer or a decimal.
    pub fn as_decimal(&self) -> Option<Decimal> {
        match self.value()? {
            Value::Integer(integer) => Some(Decimal::from(integer)),
            Value::Decimal(decimal) => Some(decimal),
            _ => None,
        }
    }
}

impl<'a> Element<'a> {
    /// A resource that is only known to be one gets the type it names.
    #[inline]
    pub(super) fn new(
        value: Option<Node<'a>>,
        extension: Option<Node<'a>>,
        mut type_def: Option<&'static TypeDef>,
    ) -> Element<'a> {
        if type_def.is_some_and(|each| each.is_abstract && each.kind == TypeKind::Resource) {
            type_def = value.and_then(Node::resource_type).and_then(|name| schema().resource(name));
        }
        Element { value, extension, type_def }
    }

    /// The value as it stands in JSON; `None` for a primitive that has only an id or extensions.
    pub fn value(&self) -> Option<Node<'a>> {
        self.value
    }

    /// The `_name` sibling of a primitive.
    pub fn extension(&self) -> Option<Node<'a>> {
        self.extension
    }

    /// The FHIR type; `None` in a record that is not FHIR.
    pub fn type_def(&self) -> Option<&'static TypeDef> {
        self.type_def
    }

    /// The node of the value, or else of the `_name` sibling.
    pub fn node(&self) -> Option<Node<'a>> {
        self.value.or(self.extension)
    }

    /// Whether its FHIR type is primitive, or in a record: whether it is no object.
    pub fn is_primitive(&self) -> bool {
        match self.type_def {
            Some(type_def) => type_def.kind == TypeKind::Primitive,
            None => self.value.is_none_or(|node| !node.is_object()),
        }
    }

    fn system_value(&self) -> Option<Value<'a>> {
        let node = self.value?;
        let Some(type_def) = self.type_def else { return value_by_kind(node) };
        if type_def.kind != TypeKind::Primitive {
            return self.quantity().map(Value::Quantity);
        }
        let text = node.scalar()?;
        match type_def.name {
            "boolean" => node.boolean().map(Value::Boolean),
            "integer" | "positiveInt" | "unsignedInt" => text.parse().ok().map(Value::Integer),
            "decimal" => decimal(&text).map(Value::Decimal),
            "date" => Some(Date::parse(&text).map_or(Value::String(text), Value::Date)),
            "dateTime" | "instant" => Some(DateTime::parse(&text).map_or(Value::String(text), Value::DateTime)),
            "time" => Some(Time::parse(&text).map_or(Value::String(text), Value::Time)),
            _ => Some(Value::String(text)),
        }
    }

    /// The System.Quantity that a FHIR Quantity converts to (FHIR R4, FHIRPath, 2.3.2).
    fn quantity(&self) -> Option<Quantity<'a>> {
        let type_def = self.type_def.filter(|each| schema().is_a(each.name, "Quantity"))?;
        let node = self.value.filter(|_| !type_def.is_abstract)?;
        let value = decimal(&node.member("value")?.scalar()?)?;
        let system = node.member("system").and_then(Node::text);
        let code = node.member("code").and_then(Node::text);
        let unit = match (code, system.as_deref()) {
            (Some(code), None | Some(UCUM)) => code,
            (None, None) => node.member("unit").and_then(Node::text).unwrap_or(Cow::Borrowed("1")),
            _ => return None,
        };
        Some(Quantity { value, unit, is_calendar: false })
    }
}

/// The system of UCUM codes: `%ucum`.
pub(super) const UCUM: &str = "http://unitsofmeasure.org";

/// A number as JSON writes it, to 28 digits.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    match text.parse::<Decimal>() {
        Ok(decimal) => Some(decimal),
        Err(_) => Decimal::from_scientific(text).ok(),
    }
}

fn value_by_kind(node: Node<'_>) -> Option<Value<'_>> {
    match node.kind() {
        Kind::Boolean => node.boolean().map(Value::Boolean),
        Kind::String => node.text().map(Value::String),
        Kind::Number => match node.raw().parse() {
            Ok(integer) => Some(Value::Integer(integer)),
            Err(_) => decimal(node.raw()).map(Value::Decimal),
        },
        Kind::Object | Kind::Array | Kind::Null => None,
    }
}

impl Value<'_> {
    /// The system type.
    pub fn type_info(&self) -> TypeInfo {
        let name = match self {
            Value::Boolean(_) => "Boolean",
            Value::String(_) => "String",
            Value::Integer(_) => "Integer",
            Value::Decimal(_) => "Decimal",
            Value::Date(_) => "Date",
            Value::DateTime(_) => "DateTime",
            Value::Time(_) => "Time",
            Value::Quantity(_) => "Quantity",
            Value::Type(_) => "TypeInfo",
        };
        TypeInfo { namespace: "System", name }
    }
}

impl fmt::Display for Value<'_> {
    /// As `toString()` writes it (FHIRPath N1, 5.5.6).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(boolean) => write!(f, "{boolean}"),
            Value::String(text) => f.write_str(text),
            Value::Integer(integer) => write!(f, "{integer}"),
            Value::Decimal(decimal) => write!(f, "{decimal}"),
            Value::Date(date) => write!(f, "{date}"),
            Value::DateTime(date_time) => write!(f, "{date_time}"),
            Value::Time(time) => write!(f, "{time}"),
            Value::Quantity(quantity) => write!(f, "{quantity}"),
            Value::Type(info) => write!(f, "{}.{}", info.namespace, info.name),
        }
    }
}

impl fmt::Display for Quantity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.value == Decimal::ONE { "" } else { "s" };
        if self.is_calendar {
            write!(f, "{} {}{plural}", self.value, self.unit)
        } else {
            write!(f, "{} '{}'", self.value, self.unit)
        }
    }
}
