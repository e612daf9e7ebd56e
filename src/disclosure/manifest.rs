//! What left, under which clause, and what was held back, and why: places, never values.

use std::fmt;

use crate::fhir::NodeId;

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
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::NotPermitted => "not permitted",
            Why::ResourceNotPermitted => "resource not permitted",
            Why::DanglingReference => "refers to something that does not leave",
            Why::ModifierExtension => "its meaning depends on a modifierExtension that is not permitted",
        })
    }
}

/// The account of one projection.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    pub(super) kept: Vec<Kept>,
    pub(super) withheld: Vec<Withheld>,
    pub(super) generated: Vec<NodeId>,
}

impl Manifest {
    /// The leaves that left, in the order of the Bundle that leaves.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// The elements that were held back, in the order of the Bundle before disclosure.
    pub fn withheld(&self) -> &[Withheld] {
        &self.withheld
    }

    /// Leaves of the Bundle that leaves which disclosure wrote itself: labels, masks and narrative.
    pub fn generated(&self) -> &[NodeId] {
        &self.generated
    }
}
