//! The sharing agreement: TOML as written, and the checked [`Agreement`] that disclosure obeys.
//!
//! Enters: the text of `agreements/*.toml`, one file an agreement version. Leaves: [`Agreements`], or every fault of
//! every file with its line and column. Default deny: only the leaf elements that a permit lists may leave. Invariant:
//! no two agreements that are active at the same time cover the same controller, recipient and interface.

mod approved;
mod difference;
mod fault;
mod guide;
mod interface;
mod lint;
mod list;
mod people;
mod plain;
mod read;
mod read_interface;
mod safeguards;
mod schema;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
mod words;
mod written;

use std::collections::BTreeMap;

use time::{Date, Duration};

pub use difference::{Difference, How, Place, Term};
pub use fault::Fault;
pub use guide::{Page, Part, guide};
pub use interface::{Clause, Coarser, ConsentTerms, Generalisation, Interface, OverrideTerms, Withholding};
pub use lint::{Lane, PrincipalFacts, Profiles, Surroundings};
pub use list::{AgreementChange, Agreements};
pub use people::{Approval, Person, Roles};
pub use plain::Shorts;
pub use safeguards::{Controls, Dpia, Escalation, Mitigation};
pub use schema::SCHEMA as AGREEMENT_SCHEMA;
pub use words::{ConsentRule, Control, NamedRole, Objection, OverrideBasis, Severity, Status};

use super::plan::Facts;
use crate::fhir::Instant;
use crate::identity::{AgreementId, InterfaceName, PartyId};

/// What the site knows of profiles and keys.
pub type RequiredElements<'a> = &'a dyn Facts;

/// An organisation that is party to an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its ODS code.
    pub ods: PartyId,
    /// Its name.
    pub name: String,
}

/// What the data are shared for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// HL7 v3 ActReason.
    pub code: String,
    /// In words.
    pub words: String,
}

/// Why sharing is lawful.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LawfulBasis {
    /// UK GDPR Article 6.
    pub article_6: String,
    /// UK GDPR Article 9.
    pub article_9: String,
    /// The basis at common law.
    pub common_law: String,
    /// The statute, where one applies.
    pub statute: Option<String>,
}

/// A checked agreement version.
#[derive(Debug)]
pub struct Agreement {
    id: AgreementId,
    version: String,
    status: Status,
    effective: Date,
    review: Date,
    review_grace_days: u16,
    retention_days: u32,
    controller: Party,
    recipient: Party,
    purpose: Purpose,
    lawful_basis: LawfulBasis,
    categories: BTreeMap<String, String>,
    controls: Controls,
    roles: Roles,
    approval: Approval,
    approvals: approved::Approvals,
    dpia: Dpia,
    escalations: Vec<Escalation>,
    interfaces: BTreeMap<InterfaceName, Interface>,
    hash: [u8; 32],
}

impl Agreement {
    /// Its id.
    pub fn id(&self) -> &AgreementId {
        &self.id
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The day it takes effect.
    pub fn effective(&self) -> Date {
        self.effective
    }

    /// The day its review is due.
    pub fn review(&self) -> Date {
        self.review
    }

    /// How many days past its review it stays in force.
    pub fn review_grace_days(&self) -> u16 {
        self.review_grace_days
    }

    /// How many days what was sent under it is kept.
    pub fn retention_days(&self) -> u32 {
        self.retention_days
    }

    /// Who shares.
    pub fn controller(&self) -> &Party {
        &self.controller
    }

    /// With whom.
    pub fn recipient(&self) -> &Party {
        &self.recipient
    }

    /// What for.
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// On which basis.
    pub fn lawful_basis(&self) -> &LawfulBasis {
        &self.lawful_basis
    }

    /// Each category of data that its permits name, and what it means in plain words.
    pub fn categories(&self) -> &BTreeMap<String, String> {
        &self.categories
    }

    /// What the site must enforce.
    pub fn controls(&self) -> Controls {
        self.controls
    }

    /// Who answers for it.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Whose approval brings it into effect.
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    /// The impact assessment behind it.
    pub fn dpia(&self) -> &Dpia {
        &self.dpia
    }

    /// Whom to tell of incidents, in the order of the file; at least one.
    pub fn escalations(&self) -> &[Escalation] {
        &self.escalations
    }

    /// Whom to tell of an incident of this severity: the rows for it; else those for the nearest graver one, else for the
    /// nearest lesser one. At least one.
    pub fn escalation_route(&self, severity: Severity) -> Vec<&Escalation> {
        let order = match severity {
            Severity::Minor => [Severity::Minor, Severity::Major, Severity::Critical],
            Severity::Major => [Severity::Major, Severity::Critical, Severity::Minor],
            Severity::Critical => [Severity::Critical, Severity::Major, Severity::Minor],
        };
        let of = |severity| self.escalations.iter().filter(|each| each.severity == severity).collect::<Vec<_>>();
        order.into_iter().map(of).find(|rows| !rows.is_empty()).unwrap_or_default()
    }

    /// What it says about `interface`.
    pub fn interface(&self, interface: &InterfaceName) -> Option<&Interface> {
        self.interfaces.get(interface)
    }

    /// The interfaces it covers.
    pub fn interfaces(&self) -> impl Iterator<Item = (&InterfaceName, &Interface)> {
        self.interfaces.iter()
    }

    /// SHA-256 of the file.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The last day on which it is in force: its review date and the grace after it.
    pub fn last_day(&self) -> Date {
        self.review.saturating_add(Duration::days(self.review_grace_days.into()))
    }

    /// Why nothing leaves under it at `instant`; `None` while it is in force. Dates are days in UTC; the last day is
    /// [`Agreement::last_day`].
    pub fn not_in_force(&self, instant: Instant) -> Option<String> {
        self.not_current(instant).or_else(|| self.not_approved())
    }

    /// Why nothing leaves under it at `instant`, whether or not it is approved: for drafts and previews.
    pub fn not_current(&self, instant: Instant) -> Option<String> {
        let today = instant.to_offset(time::UtcOffset::UTC).date();
        if self.status != Status::Active {
            return Some(format!("its status is {}", self.status));
        }
        if today < self.effective {
            return Some(format!("it takes effect on {}", self.effective));
        }
        (today > self.last_day()).then(|| match self.review_grace_days {
            0 => format!("its review was due on {}", self.review),
            days => format!("its review was due on {}, and the grace of {days} days is over", self.review),
        })
    }

    fn overlaps(&self, other: &Agreement) -> bool {
        self.controller.ods == other.controller.ods
            && self.recipient.ods == other.recipient.ods
            && self.effective <= other.last_day()
            && other.effective <= self.last_day()
    }
}
