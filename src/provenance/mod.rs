//! Stage 5: what may leave gets its account, and becomes [`Attested`].
//!
//! Enters: a [`Disclosable`] and the time. Leaves: the same with a FHIR Provenance (who shared what, when, under which
//! agreement, from which record by which map) and the [`Lineage`] of every element. Invariant: neither holds a value of
//! the record; the record and the map are named by digest.

mod explain;
mod lineage;
mod trace;

pub use explain::explain;
pub use lineage::{Clause, Held, Left, Lineage, Rule, Version};

use crate::disclosure::Disclosable;
use crate::fhir::Instant;
use crate::fhir::provenance::{Device, Disclosure, Entity, Organization, Role};
use crate::identity::PartyId;

/// The gateway, as a Provenance names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The organisation that runs it.
    pub ods: PartyId,
    /// Its name.
    pub name: String,
    /// The version of its software.
    pub version: String,
}

/// A Bundle that may leave, with the account of why.
///
/// Only [`attest`] makes one, so holding it proves that the disclosure can be explained.
#[derive(Debug)]
pub struct Attested {
    disclosable: Disclosable,
    provenance: String,
    lineage: String,
}

impl Attested {
    /// The Bundle, its agreement and its manifest.
    pub fn disclosable(&self) -> &Disclosable {
        &self.disclosable
    }

    /// The Bundle as it is sent: FHIR JSON.
    pub fn bundle_bytes(&self) -> &[u8] {
        self.disclosable.bundle().source().as_bytes()
    }

    /// The FHIR Provenance, as JSON.
    pub fn provenance(&self) -> &str {
        &self.provenance
    }

    /// The [`Lineage`], as JSON.
    pub fn lineage(&self) -> &str {
        &self.lineage
    }
}

/// Writes the account of a disclosure.
pub fn attest(disclosable: Disclosable, now: Instant, gateway: &Gateway) -> Attested {
    let lineage = trace::trace(&disclosable);
    let lineage = serde_json::to_string(&lineage).expect("a lineage has only strings, numbers and lists");
    let provenance = provenance(&disclosable, now, gateway);
    Attested { disclosable, provenance, lineage }
}

fn provenance(disclosable: &Disclosable, now: Instant, gateway: &Gateway) -> String {
    let (agreement, mapped) = (disclosable.agreement(), disclosable.validated().mapped());
    let (message, digest) = (mapped.received().message(), hex(&mapped.received().digest()));
    let policy =
        format!("urn:weir:agreement:{}:{}:sha-256:{}", agreement.id(), agreement.version(), hex(&agreement.hash()));
    let record = format!("urn:weir:record:{message}:sha-256:{digest}");
    let map = format!("urn:weir:map:sha-256:{}", hex(&mapped.map().hash()));
    let disclosure = Disclosure {
        id: message.part("provenance"),
        bundle: message.uuid(),
        recorded: now,
        policy: &policy,
        purpose: (&agreement.purpose().code, &agreement.purpose().words),
        author: Organization { ods: agreement.controller().ods.as_str(), name: &agreement.controller().name },
        gateway: Device { owner: gateway.ods.as_str(), name: &gateway.name, version: &gateway.version },
        entities: &[
            Entity { role: Role::Source, uri: &record, display: "the record as received" },
            Entity { role: Role::Derivation, uri: &map, display: &trace::map_name(mapped) },
        ],
    };
    disclosure.to_json()
}

/// Hexadecimal, lower case.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
