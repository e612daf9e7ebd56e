//! Weir: a FHIR interoperability gateway between a mental-health provider and its NHS partners.
//!
//! The modules stand in the order of dependency, as `ARCHITECTURE.md` draws it: each names only what stands below it.

pub mod cli;
pub mod config;
pub mod partner;
pub mod server;
pub mod pipeline;
pub mod acts;
pub mod handover;

pub mod audit;
pub mod acknowledgement;
pub mod refusal;
pub mod delivery;
pub mod provenance;
pub mod disclosure;
pub mod validation;
pub mod mapping;
pub mod intake;

pub mod fhirpath;
pub mod storage;
pub mod fhir;
pub mod identity;
