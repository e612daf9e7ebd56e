//! Why a record could not be mapped: each error names the place in the record and the rule, never a value.

use std::fmt;

use crate::fhir::{ElementPath, Position};
use crate::fhirpath::EvaluationError;
use crate::identity::InterfaceName;

use super::plan::Rule;

/// Where a run stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The element of the record that the rule was working on.
    pub path: ElementPath,
    /// Where it stands in the record's text.
    pub position: Option<Position>,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { path, rule, .. } = self;
        let path = if path.as_str().is_empty() { "the record" } else { path.as_str() };
        write!(
            f,
            "at {path}, rule {:?} of group {} ({}:{}), map {}",
            rule.name, rule.group, rule.file, rule.line, rule.map
        )
    }
}

/// The kinds of limit, as [`Limits`](super::Limits) names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Rules run, and items they ran for.
    #[error("rules run")]
    Steps,
    /// Elements of the output.
    #[error("elements made")]
    Elements,
    /// Bytes of text, in the output or made on the way.
    #[error("bytes of text")]
    Bytes,
    /// Levels of the output.
    #[error("levels of the output")]
    Depth,
    /// Groups that called each other.
    #[error("groups calling each other")]
    Groups,
}

/// Why a record could not be mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The interface has no map.
    #[error("no map is configured for the interface {interface}")]
    NoMap {
        /// The interface.
        interface: InterfaceName,
    },
    /// What the record lacks cannot be said in what the map made.
    #[error("the Bundle of {interface} has no room for what the record lacks")]
    Unsaid {
        /// The interface.
        interface: InterfaceName,
    },
    /// A `check` of the map is not fulfilled.
    #[error("the record does not fulfil a check of its map, {place}")]
    Check {
        /// Where.
        place: Box<Place>,
    },
    /// An element occurs too seldom or too often in the record.
    #[error("an element occurs {found} times in the record where the map wants {expected}, {place}")]
    Cardinality {
        /// How often it occurs.
        found: usize,
        /// How often it should: `1..1`.
        expected: String,
        /// Where.
        place: Box<Place>,
    },
    /// A value cannot become what the target element asks for.
    #[error("a value cannot become {wanted} for {element}, {place}")]
    Conversion {
        /// The element of the target.
        element: String,
        /// The type it asks for.
        wanted: String,
        /// Where.
        place: Box<Place>,
    },
    /// An element that may occur once was set twice.
    #[error("{element} may occur once and already has a value, {place}")]
    Occupied {
        /// The element of the target.
        element: String,
        /// Where.
        place: Box<Place>,
    },
    /// What is copied has an element that its target does not have.
    #[error("a copied value has an element that {wanted} does not define, {place}")]
    UnknownElement {
        /// The type of the target.
        wanted: String,
        /// Where.
        place: Box<Place>,
    },
    /// A rule needs a value that an earlier one did not make.
    #[error("{variable} has no value, {place}")]
    Unset {
        /// What the rule asked for.
        variable: String,
        /// Where.
        place: Box<Place>,
    },
    /// A FHIRPath expression has no result.
    #[error("{fault}, {place}")]
    Expression {
        /// What went wrong in the expression.
        fault: EvaluationError,
        /// Where.
        place: Box<Place>,
    },
    /// The run would cost too much.
    #[error("the map reached its limit of {limit}, {place}")]
    Limit {
        /// Which one.
        limit: Limit,
        /// Where.
        place: Box<Place>,
    },
}

impl Error {
    /// What went wrong, without the place.
    pub fn what(&self) -> String {
        let whole = self.to_string();
        let place = self.place().map(|place| format!(", {place}")).unwrap_or_default();
        whole.strip_suffix(&place).map(str::to_owned).unwrap_or(whole)
    }

    /// What to do about it, and whose move it is.
    pub fn hint(&self) -> String {
        match self {
            Error::NoMap { interface } => format!("name a map for {interface} in the site's configuration"),
            Error::Unsaid { .. } => "let the map make a Bundle, or take the marks out of the model".to_owned(),
            Error::Check { .. } => "correct the record as the check asks, then send it again".to_owned(),
            Error::Cardinality { .. } => "correct the record, or the cardinality in the map".to_owned(),
            Error::Conversion { wanted, .. } => match wanted.strip_prefix("one of ") {
                Some(spellings) => {
                    let first = spellings.split(',').next().unwrap_or(spellings);
                    format!("name in the map the one that is meant, such as {first}, or cast the value")
                }
                None => format!("send a value that can be read as {wanted}, or cast or build one in the map"),
            },
            Error::Occupied { .. } => "let only one rule set the element, or take one item with first".to_owned(),
            Error::UnknownElement { .. } => "map the elements one by one instead of copying the whole".to_owned(),
            Error::Unset { .. } => "give the source a where (….exists()), or set the value in every case".to_owned(),
            Error::Expression { fault, .. } => fault.hint().to_owned(),
            Error::Limit { .. } => "split the record, or look for a group that calls itself without end".to_owned(),
        }
    }

    /// Where in the record and in the map; `None` if there is no map.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Error::NoMap { .. } | Error::Unsaid { .. } => None,
            Error::Check { place }
            | Error::Cardinality { place, .. }
            | Error::Conversion { place, .. }
            | Error::Occupied { place, .. }
            | Error::UnknownElement { place, .. }
            | Error::Unset { place, .. }
            | Error::Expression { place, .. }
            | Error::Limit { place, .. } => Some(place),
        }
    }
}
