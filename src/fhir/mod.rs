//! FHIR as data: the lossless document tree, element names, paths, and the facts of R4.
//!
//! This is the only place, besides mapping files, where JSON keys of FHIR stand as string literals. Everything else
//! asks a [`Document`] typed questions or writes through the types here.

pub mod bundle;
mod document;
mod instant;
pub mod labels;
mod names;
pub mod narrative;
pub mod outcome;
mod path;
pub mod provenance;
pub mod r4;
mod words;
mod writer;

pub use document::{Children, Document, Fault, Kind, Limits, Node, NodeId, ParseError, Position};
pub use instant::{Instant, instant_text};
pub use names::{Name, NameId};
pub use path::ElementPath;
pub use words::{Words, words};
pub use writer::Writer;
