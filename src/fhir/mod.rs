//! FHIR as data: the lossless document tree, element names, paths, and the facts of R4.
//!
//! This is the only place, besides mapping files, where JSON keys of FHIR stand as string literals. Everything else
//! asks a [`Document`] typed questions or writes through the types here.

pub mod audit_event;
pub mod bars;
mod builder;
pub mod bundle;
pub mod capability;
pub mod consent;
pub mod definitions;
mod document;
pub mod error_code;
mod expression;
mod fixed;
pub mod handover;
mod instant;
mod keys;
pub mod labels;
pub mod message;
mod name_set;
mod names;
mod node_set;
pub mod narrative;
pub mod outcome;
pub mod page;
mod path;
pub mod places;
pub mod provenance;
pub mod r4;
pub mod response;
pub mod review_task;
pub mod slices;
pub mod snapshot;
pub mod terminology;
pub mod transaction;
pub(crate) mod uk;
pub(crate) mod uk_time;
mod writer;
#[cfg(feature = "xml")]
pub mod xml;

pub use builder::{Builder, Constant, Template};
pub use document::{Children, Document, Fault, Kind, Limits, Node, NodeId, ParseError, Position};
pub(crate) use document::{has_byte, is_plain_text, up_to_byte};
pub use fixed::{FixedMap, FixedSet};
pub use instant::{Instant, instant_text, latest as latest_instant, time_ordered_id};
pub use keys::{Keys, keys};
pub use name_set::NameSet;
pub use names::{Name, NameId};
pub use node_set::NodeSet;
pub use path::ElementPath;
pub use writer::Writer;
