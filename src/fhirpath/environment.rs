//! What an expression may know besides its focus: the resources around it, the time, variables.

use super::item::Item;
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
