//! Weir: a FHIR interoperability gateway between a mental-health provider and its NHS partners.
//!
//! The modules stand in the order of dependency: each names only what stands below it.

pub mod validation;

pub mod mapping;

pub mod intake;

pub mod fhirpath;

pub mod fhir;
pub mod identity;
