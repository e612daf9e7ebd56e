//! What becomes of a record that lacks something essential: refused with a list, or sent with a Task for each mark.
//!
//! Enters: a mapped record. Leaves: the same, whose Bundle says all that is missing; or a refusal that lists it, and then
//! nothing is stored. Invariants: an emergency is never refused for what it lacks, and nothing goes on that lacks
//! something and does not say so (docs/essential.md).

use std::collections::BTreeSet;

use crate::fhir::ElementPath;
use crate::fhir::definitions::MISSING_TASK;
use crate::fhir::message::priority;
use crate::intake::Received;
use crate::mapping::{Mapped, Missing};
use crate::refusal::Refusal;

use super::{Interface, ROUTINE, Stages};

/// What becomes of a record that lacks something essential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfMissing {
    /// The priorities, codes of request-priority, at which it is refused. At all others it is sent, and says what it lacks.
    refused: BTreeSet<String>,
}

/// The priority at which nothing is refused for what it lacks.
pub const EMERGENCY: &str = "stat";

impl IfMissing {
    /// Refused at these priorities, but for emergencies.
    pub fn refused_at<'p>(priorities: impl IntoIterator<Item = &'p str>) -> IfMissing {
        let refused = priorities.into_iter().filter(|priority| *priority != EMERGENCY);
        IfMissing { refused: refused.map(str::to_owned).collect() }
    }

    fn refuses(&self, priority: &str) -> bool {
        self.refused.contains(priority)
    }
}

/// The paths of what the record lacks, as its sender is told.
pub(super) fn missing(stages: &Stages, received: &Received) -> Vec<ElementPath> {
    let map = stages.mappings.get(received.interface());
    map.map(|map| map.missing(received.record())).unwrap_or_default().into_iter().map(|missing| missing.path).collect()
}

/// Lets a record go on that lacks nothing, or whose Bundle says what it lacks.
///
/// # Errors
/// [`Refusal::Incomplete`], when its interface has it refused; [`Refusal::Unsaid`] when its Bundle lacks a Task for something.
pub(super) fn complete(interface: &Interface, mapped: Mapped) -> Result<Mapped, Refusal> {
    if mapped.missing().is_empty() {
        return Ok(mapped);
    }
    let priority = priority(mapped.bundle());
    if interface.if_missing.refuses(priority.as_deref().unwrap_or(ROUTINE)) {
        return Err(Refusal::Incomplete { missing: mapped.missing().to_vec() });
    }
    if tasks(&mapped) < marks(mapped.missing()) {
        return Err(Refusal::Unsaid);
    }
    Ok(mapped)
}

/// How many marks are missing somewhere.
fn marks(missing: &[Missing]) -> usize {
    missing.chunk_by(|one, next| one.is_of_same_mark(next)).count()
}

/// How many Tasks say that something is missing.
fn tasks(mapped: &Mapped) -> usize {
    let resources = mapped.bundle().root().items_of("entry").filter_map(|entry| entry.member("resource"));
    let profiles = resources.filter_map(|resource| resource.member("meta")?.items_of("profile").next()?.text());
    profiles.filter(|profile| profile == MISSING_TASK).count()
}
