//! What the agreements of unit tests say about themselves: keys to put before the first table.

use super::{Agreement, Agreements, NamedRole};
use crate::storage::Approval;

/// Every section but id, version, status, dates, parties, purpose, lawful basis, categories and interfaces.
pub(crate) const SECTIONS: &str = r#"controls = { minimum_tls = "1.2", pinning = false, encryption_at_rest = true }
roles.caldicott_guardian = { name = "Gail Sample", contact = "ext. 1", principal = "gail" }
roles.siro = { name = "Sid Sample", contact = "ext. 2", principal = "sid" }
roles.ig_lead = { name = "Ivy Sample", contact = "ext. 3" }
roles.operational_owner = { name = "Olu Sample", contact = "ext. 4" }
roles.technical_administrator = { name = "Tom Sample", contact = "ext. 5" }
roles.safeguarding_lead = { name = "Sue Sample", contact = "ext. 6" }
approval = { by = ["caldicott_guardian", "siro"] }
dpia = { reference = "DPIA-1", mitigation = [{ risk = "too much is shared", control = "default-deny" }] }
escalation = [{ severity = "critical", contact = "the guardian", hours = 1, spool = true }]
"#;

/// The consent rule of an interface.
pub(crate) const CONSENT: &str = r#"consent = { rule = "implied", objection = "refuse" }
"#;

/// The approval of one role counts.
pub(crate) fn approve(agreement: &Agreement, role: NamedRole) {
    let approval = Approval {
        agreement: agreement.id().clone(),
        version: agreement.version().to_owned(),
        file: agreement.hash(),
        role: role.code().to_owned(),
        by: agreement.approver(role).expect("a principal").parse().expect("an id"),
        at: time::macros::datetime!(2026-01-01 12:00 UTC),
    };
    assert!(agreement.count(&approval), "{role}");
}

/// All that the agreements ask for have approved them.
pub(crate) fn approve_all(agreements: &Agreements) {
    for agreement in agreements.iter() {
        agreement.unapproved().into_iter().for_each(|role| approve(agreement, role));
    }
}
