//! What is known of the data before it arrives: the types that a check of an expression starts from.

use std::fmt;

use crate::fhir::r4::TypeDef;

/// The type of some data.
#[derive(Clone, Copy)]
pub enum DataType {
    /// Not known, or any.
    Any,
    /// One of R4.
    Fhir(&'static TypeDef),
    /// One of a [`TypeModel`], by its number there. In the data it is plain JSON: an object without an R4 type.
    Model(u32),
}

/// Types beside those of R4, such as those of logical models.
pub trait TypeModel {
    /// The types that the JSON member `name` of `owner` may have; `None` if `owner` has no such member.
    fn member(&self, owner: u32, name: &str) -> Option<Vec<DataType>>;
    /// What to call a type in a message.
    fn name(&self, of: u32) -> String;
    /// The JSON members of a type, for hints.
    fn members(&self, of: u32) -> Vec<String>;
}

/// What an expression will find around it.
#[derive(Clone, Copy)]
pub struct Typing<'t> {
    /// What the expression is evaluated on; `None` if on nothing.
    pub focus: Option<DataType>,
    /// The types that [`DataType::Model`] means.
    pub model: Option<&'t dyn TypeModel>,
    /// The variables that the environment will have, beside those of the specifications.
    pub variables: &'t [(&'t str, DataType)],
    /// Whether the result is asked for as true or false.
    pub is_condition: bool,
}

impl Typing<'_> {
    /// An expression on `focus`, without variables.
    pub fn of(focus: DataType) -> Typing<'static> {
        Typing { focus: Some(focus), model: None, variables: &[], is_condition: false }
    }
}

impl fmt::Debug for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::Any => f.write_str("Any"),
            DataType::Fhir(type_def) => f.write_str(type_def.name),
            DataType::Model(number) => write!(f, "Model({number})"),
        }
    }
}
