//! What left, under which clause, and what was held back, and why: places, never values.

use std::fmt;

use crate::fhir::{NameSet, NodeId, NodeSet};

/// A leaf that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The leaf in the Bundle before disclosure.
    pub node: NodeId,
    /// The same leaf in the Bundle that leaves.
    pub sent: NodeId,
    /// The clause that let it pass, an index into the interface's clauses. `None` for the frame that goes with any
    /// permitted content: `resourceType`, `Bundle.type`, `fullUrl`, the `url` and the profile that a permit names.
    pub clause: Option<u32>,
}

/// A value that left less exact than it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generalised {
    /// The leaf in the Bundle before disclosure.
    pub node: NodeId,
    /// What stands for it in the Bundle that leaves: a leaf, or the extension that an age band is.
    pub sent: NodeId,
    /// The generalisation that let it pass, an index into the interface's.
    pub clause: u32,
}

/// An element that was held back, with all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// The element in the Bundle before disclosure.
    pub node: NodeId,
    /// Why.
    pub why: Why,
}

/// Why an element was held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// No clause lists it.
    NotPermitted,
    /// No clause is for this resource.
    ResourceNotPermitted,
    /// It refers to something that does not leave.
    DanglingReference,
    /// It carries a modifierExtension that is not permitted, without which it would mean something else.
    ModifierExtension,
    /// It has a modifier element (`status`, `active`, `use`, `doNotPerform`, …) that is not permitted, without which it
    /// would mean something else.
    ModifierElement,
    /// A clause holds it back on purpose: an index into the interface's withholdings.
    Withholding(u32),
    /// A clause generalises it to nothing: an index into the interface's generalisations.
    Generalised(u32),
    /// A clause generalises it, and its value is not of the form that this needs: an index into the interface's
    /// generalisations.
    NotGeneralisable(u32),
}

impl Why {
    /// The number that stands for it among the reasons of one interface under one version of an agreement.
    pub fn number(self) -> u32 {
        match self {
            Why::NotPermitted => 0,
            Why::ResourceNotPermitted => 1,
            Why::DanglingReference => 2,
            Why::ModifierExtension => 3,
            Why::ModifierElement => 4,
            Why::Withholding(index) => 5 + 3 * index,
            Why::Generalised(index) => 6 + 3 * index,
            Why::NotGeneralisable(index) => 7 + 3 * index,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NotPermitted => "not permitted",
            Why::ResourceNotPermitted => "resource not permitted",
            Why::DanglingReference => "refers to something that does not leave",
            Why::ModifierExtension => "its meaning depends on a modifierExtension that is not permitted",
            Why::ModifierElement => "its meaning depends on a modifier element that is not permitted",
            Why::Withholding(_) => "withheld on purpose",
            Why::Generalised(_) => "generalised to nothing",
            Why::NotGeneralisable(_) => "its value cannot be generalised, being of another form",
        })
    }
}

/// The account of one projection.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    pub(super) kept: Vec<Kept>,
    pub(super) generalised: Vec<Generalised>,
    pub(super) withheld: Vec<Withheld>,
    pub(super) generated: Vec<NodeId>,
    pub(super) settled: NodeSet,
    pub(super) altered: NameSet,
    pub(super) keeps_claims: bool,
}

impl Manifest {
    /// The leaves that left, in the order of the Bundle that leaves.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// The values that left less exact, in the order of the Bundle that leaves.
    pub fn generalised(&self) -> &[Generalised] {
        &self.generalised
    }

    /// The elements that were held back, in the order of the Bundle before disclosure.
    pub fn withheld(&self) -> &[Withheld] {
        &self.withheld
    }

    /// Leaves of the Bundle that leaves which disclosure wrote itself: labels, masks, narrative, the list of what was
    /// withheld, and what an age band consists of.
    pub fn generated(&self) -> &[NodeId] {
        &self.generated
    }

    /// Objects and arrays of the Bundle that leaves which are the same as before disclosure, with all that they hold, and
    /// narrative, which is made valid; not all of them.
    pub fn settled(&self) -> &NodeSet {
        &self.settled
    }

    /// The names of the elements that did not leave as they were, or that disclosure added.
    pub fn altered(&self) -> &NameSet {
        &self.altered
    }

    /// Whether the Bundle and each resource that leaves claims the profiles that it claimed.
    pub fn keeps_claims(&self) -> bool {
        self.keeps_claims
    }
}
