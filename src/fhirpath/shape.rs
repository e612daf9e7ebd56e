//! What is known of a collection before any data is there: which types its items may have, and whether it is ordered.

use super::item::Value;
use super::typing::DataType;
use crate::fhir::r4::{TypeDef, TypeKind, schema};

/// Kinds of values that operators and functions tell apart, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NONE: Kinds = Kinds(0);
    pub(super) const BOOLEAN: Kinds = Kinds(1);
    pub(super) const TEXT: Kinds = Kinds(2);
    pub(super) const NUMBER: Kinds = Kinds(4);
    /// Dates and date-times.
    pub(super) const DATE: Kinds = Kinds(8);
    pub(super) const TIME: Kinds = Kinds(16);
    pub(super) const QUANTITY: Kinds = Kinds(32);
    /// Elements with children, and what `type()` yields.
    pub(super) const OTHER: Kinds = Kinds(64);
    pub(super) const ALL: Kinds = Kinds(127);

    pub(super) const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub(super) fn meets(self, other: Kinds) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether values of the two may be equal, or have an order.
    pub(super) fn compares_with(self, other: Kinds) -> bool {
        let numeric = |own: Kinds, other: Kinds| own.meets(Kinds::NUMBER) && other.meets(Kinds::QUANTITY);
        self.meets(other) || numeric(self, other) || numeric(other, self)
    }
}

/// A type of the system namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "DateTime is the name of the type")]
pub(super) enum System {
    Boolean,
    String,
    Integer,
    Decimal,
    Date,
    DateTime,
    Time,
    Quantity,
}

/// The type of an item.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    /// `plain` means that the data carries no R4 type there, as in a record: its value is told by its JSON.
    Fhir {
        of: &'static TypeDef,
        plain: bool,
    },
    Model(u32),
    System(System),
}

impl Type {
    pub(super) fn fhir(of: &'static TypeDef) -> Type {
        Type::Fhir { of, plain: false }
    }

    pub(super) fn is(self, other: Type) -> bool {
        match (self, other) {
            (Type::Fhir { of: one, plain }, Type::Fhir { of: other, plain: also }) => {
                std::ptr::eq(one, other) && plain == also
            }
            (Type::Model(one), Type::Model(other)) => one == other,
            (Type::System(one), Type::System(other)) => one == other,
            _ => false,
        }
    }

    pub(super) fn kinds(self) -> Kinds {
        match self {
            Type::Fhir { of, plain } => fhir_kinds(of, plain),
            Type::Model(_) => Kinds::OTHER,
            Type::System(system) => match system {
                System::Boolean => Kinds::BOOLEAN,
                System::String => Kinds::TEXT,
                System::Integer | System::Decimal => Kinds::NUMBER,
                System::Date | System::DateTime => Kinds::DATE,
                System::Time => Kinds::TIME,
                System::Quantity => Kinds::QUANTITY,
            },
        }
    }
}

fn fhir_kinds(of: &'static TypeDef, plain: bool) -> Kinds {
    if of.is_abstract {
        return Kinds::ALL;
    }
    if of.kind != TypeKind::Primitive {
        let measured = schema().is_a(of.name, "Quantity") && !plain;
        return if measured { Kinds::QUANTITY.or(Kinds::OTHER) } else { Kinds::OTHER };
    }
    let text = if plain { Kinds::TEXT } else { Kinds::NONE };
    match of.name {
        "boolean" => Kinds::BOOLEAN,
        "integer" | "positiveInt" | "unsignedInt" | "decimal" => Kinds::NUMBER,
        "date" | "dateTime" | "instant" => Kinds::DATE.or(text),
        "time" => Kinds::TIME.or(text),
        _ => Kinds::TEXT,
    }
}

/// What is known of a collection.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// The types its items may have; `None` if any.
    pub(super) types: Option<Vec<Type>>,
    /// Whether the order of the items means anything.
    pub(super) ordered: bool,
}

impl Shape {
    pub(super) const ANY: Shape = Shape { types: None, ordered: true };

    /// What a fault yields; nothing more is said about it.
    pub(super) const NOTHING: Shape = Shape { types: Some(Vec::new()), ordered: true };

    pub(super) fn one(of: Type) -> Shape {
        Shape { types: Some(vec![of]), ordered: true }
    }

    pub(super) fn system(of: System) -> Shape {
        Shape::one(Type::System(of))
    }

    /// The shape of data that the caller describes.
    pub(super) fn of(data: DataType) -> Shape {
        match data {
            DataType::Any => Shape::ANY,
            DataType::Fhir(type_def) => Shape::one(Type::fhir(type_def)),
            DataType::Model(number) => Shape::one(Type::Model(number)),
        }
    }

    pub(super) fn named(name: &str) -> Shape {
        schema().type_named(name).map_or(Shape::ANY, |type_def| Shape::one(Type::fhir(type_def)))
    }

    pub(super) fn of_value(value: &Value<'_>) -> Shape {
        Shape::system(match value {
            Value::Boolean(_) => System::Boolean,
            Value::String(_) => System::String,
            Value::Integer(_) => System::Integer,
            Value::Decimal(_) => System::Decimal,
            Value::Date(_) => System::Date,
            Value::DateTime(_) => System::DateTime,
            Value::Time(_) => System::Time,
            Value::Quantity(_) => System::Quantity,
            Value::Type(_) => return Shape::ANY,
        })
    }

    /// What kinds of values its items may be.
    pub(super) fn kinds(&self) -> Kinds {
        match self.types.as_deref() {
            None | Some([]) => Kinds::ALL,
            Some(types) => types.iter().fold(Kinds::NONE, |kinds, each| kinds.or(each.kinds())),
        }
    }

    pub(super) fn joined(self, other: Shape) -> Shape {
        let types = self.types.zip(other.types).map(|(mut types, more)| {
            for each in more {
                if !types.iter().any(|known| known.is(each)) {
                    types.push(each);
                }
            }
            types
        });
        Shape { types, ordered: self.ordered && other.ordered }
    }
}
