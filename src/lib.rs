//!
//! The modules stand in the order of dependency: each names only what stands below it.

pub mod server;

pub mod intake;

pub mod fhir;
pub mod identity;
