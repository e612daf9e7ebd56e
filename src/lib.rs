//! Weir: a FHIR interoperability gateway between a mental-health provider and its NHS partners.
//!
//! The modules stand in the order of dependency: each names only what stands below it.

pub mod partner;

pub mod server;

pub mod audit;

pub mod acknowledgement;
pub mod delivery;
pub mod validation;

pub mod intake;
pub mod mapping;

pub mod fhirpath;

pub mod fhir;
pub mod identity;
pub mod storage;
