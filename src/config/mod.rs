//! A site's files → the checked settings that each module defines for itself. `serve` and `config check` share it.
//!
//! Enters: a folder with `weir.toml`, `agreements/`, `partners/`, `pki/`, and, beside the built-in ones, `profiles/`,
//! `packages/` and `mappings/`. Leaves: a [`Site`], or every fault that was found. Invariant: what loads here runs.

mod agreement_folder;
mod agreements;
mod builtin;
mod definitions;
mod facts;
mod faults;
mod collection;
mod handovers;
mod folders;
mod hl7v2;
mod incidents;
mod key_command;
mod limits;
mod packages;
mod partner;
mod site;
mod staff;
mod tls_files;
mod witnesses;
mod written;

pub use agreements::{AgreementCheck, check_agreements, read_agreement, site_with_agreement};
pub(crate) use definitions::DefinitionFiles;
pub use definitions::{Checked, check_snapshots, definitions, site_definitions, validator};
pub use faults::{Fault, Faults};
pub use packages::{Addition, Listed, PackageStore};
pub use partner::PartnerSite;
pub use site::{Endpoint, Parts, Site};
pub use staff::Staff;
