//! What an expression may know besides its focus: the resources around it, the time, variables.

use std::cell::Cell;
use std::fmt;

use super::item::{Element, Item};
use crate::fhir::Instant;

/// The surroundings of an evaluation.
///
/// `'a` is the life of the documents and of the expression, `'e` that of the surroundings alone.
#[derive(Clone, Debug, Default)]
pub struct Environment<'e, 'a> {
    /// `%resource`: the resource that holds the focus. The focus itself if there is none here.
    pub resource: Option<Item<'a>>,
    /// `%rootResource`: the outermost resource, where `resolve()` looks. `%resource` if there is none here.
    pub root_resource: Option<Item<'a>>,
    /// `now()`, `today()`, `timeOfDay()`: the caller's time, so that evaluation is a function of its arguments.
    pub now: Option<Instant>,
    /// `%name` and declared bare names; of two with the same name the later one counts.
    pub variables: &'e [Variable<'a>],
    /// Bound on steps; `None` for [`STEPS`].
    pub steps: Option<u64>,
    /// Where the steps that each evaluation takes are added, for a bound on many evaluations together.
    pub taken: Option<&'e Cell<u64>>,
    /// Who answers `memberOf()` and `conformsTo()`; without one they are errors.
    pub knowledge: Option<&'e dyn Knowledge>,
}

/// What the engine asks of the terminology and the profiles that are loaded.
pub trait Knowledge: fmt::Debug {
    /// Whether the value set has the code, of any system if none is given; `None` if nobody here can tell.
    fn is_member(&self, value_set: &str, system: Option<&str>, code: &str) -> Option<bool>;

    /// Whether the element conforms to the profile; `None` if nobody here can tell.
    fn conforms(&self, _element: &Element<'_>, _profile: &str) -> Option<bool> {
        None
    }
}

/// A named collection.
#[derive(Clone, Debug)]
pub struct Variable<'a> {
    /// Without the percent sign.
    pub name: &'a str,
    /// Its value.
    pub items: Vec<Item<'a>>,
}

/// How many steps an evaluation may take unless its environment says otherwise. One step visits one item or about
/// eight bytes of text; ten million take a second or less.
pub const STEPS: u64 = 10_000_000;
