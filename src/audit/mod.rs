//! Stage 8: what happened, as AuditEvents over a Merkle log, and the verifier of both.
//!
//! Enters: what the pipeline and the server did. Leaves: [`Event`](crate::storage::Event)s, canonical bytes with
//! their leaf hash, which the store writes in the transaction of the change they record; and signed checkpoints over
//! all leaves so far. Invariant: an event holds ids, codes, counts and keyed hashes, never personal data.
//!
//! The log is that of RFC 9162 (certificate transparency) with checkpoints as C2SP writes them, so that a partner
//! verifies offline with the provider's public key alone.

mod answers;
pub mod checkpoint;
pub mod cosignature;
mod decisions;
mod erasure;
pub mod event;
#[cfg(test)]
mod every_kind;
mod handovers;
mod inbound;
mod log;
pub mod merkle;
pub mod proof;
mod reviews;
pub mod search;
pub mod tiles;
mod verify;
pub mod witness;

pub use crate::fhir::audit_event::Who;
pub use crate::identity::keyed_hash::{HashKey, KeyedHash};
pub use answers::{Answer, is_sent_again};
pub use decisions::Decision;
pub use event::{Access, Object, Recorder, Refused, Step, Terms, patient_of, submitted_by};
pub use handovers::{Basis, By};
pub use inbound::{Referral, patient_of_referral, referral_of};
pub use log::{Checkpointer, Error, recover, requeue};
pub use verify::{Elsewhere, Fault, NotCosigned, Place, Report, verify, verify_with};
