//! The ground on which one message may leave: what the agreement asks for, what the record says of consent, and a
//! decision to share all the same.

use super::agreement::{Agreement, Interface};
use super::consent::{Basis, Decided, Obstacle, Preference, Remedy, decide, recorded};
use super::sharing_decision::{Gap, SharingDecision};
use super::{Error, Lack};
use crate::fhir::bundle::Entries;
use crate::fhir::consent::{Capacity, Consent, Parts};
use crate::fhir::{ElementPath, Instant, Node};

/// Why something may leave.
#[derive(Clone, Debug)]
pub struct Ground {
    basis: Basis,
    preference: Preference,
    capacity: Capacity,
    decision: Option<SharingDecision>,
}

impl Ground {
    /// What it rests on.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// What the person said.
    pub fn preference(&self) -> Preference {
        self.preference
    }

    /// What is known of their capacity.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// The decision, if it rests on one: it leaves without consent, and the decision must be reviewed.
    pub fn decision(&self) -> Option<&SharingDecision> {
        self.decision.as_ref()
    }
}

/// The ground on which a Bundle may leave over an interface of `agreement` at `at`. `place` names the element of the
/// record that a node of the Bundle comes from.
///
/// # Errors
/// [`Error::Consent`], [`Error::Decision`].
pub(super) fn ground(
    entries: &Entries<'_>,
    agreement: &Agreement,
    interface: &Interface,
    at: Instant,
    place: impl Fn(Node<'_>) -> Option<ElementPath>,
) -> Result<Ground, Error> {
    let (preference, capacity) = recorded(entries, agreement.recipient().ods.as_str(), at);
    let parts = Consent::of(entries).find_map(Consent::decision);
    let read = interface.override_rule().zip(parts).map(|(terms, parts)| SharingDecision::read(parts, terms, at));
    let decided = match &read {
        None => Decided::No,
        Some(Err(_)) => Decided::Incomplete,
        Some(Ok(_)) => Decided::Complete,
    };
    let has_override = interface.override_rule().is_some();
    match decide(interface.consent(), has_override, preference, capacity, decided) {
        Ok(basis) => {
            let decision = read.and_then(Result::ok).filter(|_| basis == Basis::Override);
            Ok(Ground { basis, preference, capacity, decision })
        }
        Err(obstacle) => Err(refusal(agreement, obstacle, parts.zip(read.and_then(Result::err)), place)),
    }
}

fn refusal(
    agreement: &Agreement,
    obstacle: Obstacle,
    incomplete: Option<(Parts<'_>, Vec<Gap>)>,
    place: impl Fn(Node<'_>) -> Option<ElementPath>,
) -> Error {
    let agreement = agreement.id().clone();
    match incomplete {
        Some((parts, gaps)) if obstacle.remedy == Remedy::Completion => {
            let place = place(parts.node()).unwrap_or_else(|| parts.node().path());
            let lack = |gap: Gap| {
                let mut path = place.clone();
                path.push_name(gap.part);
                Lack { path, text: gap.text }
            };
            Error::Decision { agreement, obstacle, lacks: gaps.into_iter().map(lack).collect() }
        }
        _ => Error::Consent { agreement, obstacle },
    }
}
