//! Stage 4: the agreement decides what leaves, and [`Disclosable`] proves that it did.
//!
//! Enters: a validated Bundle. Leaves: a Bundle built from the elements that one agreement lets one recipient see, and
//! the [`Manifest`] of what left and what was held back. Invariant: no agreement in force, no Bundle; an element that
//! no clause lists is not in it; the result is validated again.

mod agreement;
#[cfg(test)]
mod cases;
pub mod consent;
mod decision;
mod generalise;
mod ground;
mod manifest;
mod plan;
mod projection;
#[cfg(test)]
pub(crate) mod sample_facts;
mod sharing_decision;
mod stage;
mod untouched;
mod withheld_list;

#[cfg(test)]
pub(crate) use agreement::sample::approve_all;
pub use agreement::{
    AGREEMENT_SCHEMA, Agreement, AgreementChange, Agreements, Approval, Clause, Coarser, ConsentRule, ConsentTerms,
    Control, Controls, Difference, Dpia, Escalation, Fault, Generalisation, How, Interface, Lane, LawfulBasis,
    Mitigation, NamedRole, Objection, OverrideBasis, OverrideTerms, Page, Part, Party, Person, Place, PrincipalFacts,
    Profiles, Purpose, RequiredElements, Roles, Severity, Shorts, Status, Surroundings, Term, Withholding, guide,
};
pub use generalise::{AGE_BAND, PseudonymKey, pseudonym_system};
pub use ground::Ground;
pub use manifest::{Generalised, Kept, Manifest, Why, Withheld};
pub use plan::Facts;
pub use sharing_decision::SharingDecision;
pub use stage::{Disclosable, Projected, minimise};

use self::consent::Obstacle;
use crate::fhir::bundle::Entries;
use crate::fhir::outcome::Issue;
use crate::fhir::{Document, ElementPath, Instant};
use crate::identity::{AgreementId, InterfaceName, PartyId};

/// What a decision to share without consent lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The part, by its path in the record.
    pub path: ElementPath,
    /// What is wrong.
    pub text: String,
}

/// Why nothing leaves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No agreement covers sender, recipient and interface.
    #[error("no agreement lets {sender} send {interface} to {recipient}")]
    NoAgreement {
        /// The controller.
        sender: PartyId,
        /// The recipient.
        recipient: PartyId,
        /// The interface.
        interface: InterfaceName,
    },
    /// An agreement covers them, but not now.
    #[error("the agreement {agreement} version {version} is not in force: {why}")]
    NotInForce {
        /// Its id.
        agreement: AgreementId,
        /// Its version.
        version: String,
        /// Its status, or the date that is not reached or passed.
        why: String,
    },
    /// The message names another sender than the one that submitted it.
    #[error("the message names another organisation as its sender than {sender}, whose certificate submitted it")]
    SenderMismatch {
        /// Who submitted it, by its certificate.
        sender: PartyId,
    },
    /// The person's consent is needed and is not there, or they object.
    #[error("{}; under {agreement} nothing leaves for that", obstacle.words())]
    Consent {
        /// The agreement.
        agreement: AgreementId,
        /// What stands in the way.
        obstacle: Obstacle,
    },
    /// There is a decision to share all the same, but not all of it.
    #[error("{}, and the decision to share all the same under {agreement} lacks {} of its parts", obstacle.words(), lacks.len())]
    Decision {
        /// The agreement.
        agreement: AgreementId,
        /// What stands in the way.
        obstacle: Obstacle,
        /// What it lacks; at least one.
        lacks: Vec<Lack>,
    },
    /// The message does not name one recipient by ODS code.
    #[error("the message does not name one recipient by its ODS code")]
    RecipientUnknown,
    /// What was given is not a Bundle.
    #[error("only a Bundle can be cut down to an agreement")]
    NotABundle,
    /// The Bundle itself says something that changes its meaning and that may not leave.
    #[error("the Bundle carries a modifier that is not permitted, and would mean something else without it")]
    MeaningLost,
    /// What may leave is too large to be written.
    #[error("what may leave exceeds the limits of a document")]
    TooLarge,
    /// What may leave no longer conforms to the profile.
    #[error("what {agreement} lets through does not conform to its profile: {} found", issues.len())]
    Invalid {
        /// The agreement.
        agreement: AgreementId,
        /// What was found; at least one error.
        issues: Vec<Issue>,
    },
}

impl Error {
    /// Whose move it is, and what to do.
    pub fn hint(&self) -> String {
        match self {
            Error::NoAgreement { sender, recipient, interface } => format!(
                "ask the data controller {sender} for an agreement with {recipient} that covers {interface}, then send again"
            ),
            Error::NotInForce { agreement, why, .. } if why.contains("not approved") => format!(
                "ask them to read the file of {agreement} and run weir agreement approve; nothing leaves under it until then"
            ),
            Error::NotInForce { agreement, .. } => {
                format!("ask the data controller to review {agreement}; nothing leaves under it until then")
            }
            Error::SenderMismatch { sender } => {
                format!("name {sender} as the providing organisation in the record, then send again")
            }
            Error::Consent { obstacle, .. } | Error::Decision { obstacle, .. } => obstacle.hint(),
            Error::RecipientUnknown => {
                "name one receiving organisation by its ODS code in the record, then send again".to_owned()
            }
            Error::NotABundle => "give a Bundle".to_owned(),
            Error::MeaningLost => {
                "remove the Bundle's implicitRules or modifierExtension, or ask the data controller to permit it"
                    .to_owned()
            }
            Error::TooLarge => "split the record into several messages".to_owned(),
            Error::Invalid { agreement, .. } => format!(
                "the elements at these paths are required but not permitted; ask the data controller to add them to {agreement}"
            ),
        }
    }
}

/// What would leave of `bundle` over an interface of an agreement, in force or not: for a preview. It proves nothing.
///
/// # Errors
/// [`Error::NoAgreement`] if the agreement does not cover the interface, [`Error::NotABundle`].
pub fn project(
    bundle: &Document,
    agreement: &Agreement,
    interface: &InterfaceName,
) -> Result<(Document, Manifest), Error> {
    preview(bundle, agreement, interface, false)
}

/// [`project`], with consent or on a decision to share without it.
///
/// # Errors
/// As [`project`].
pub fn preview(
    bundle: &Document,
    agreement: &Agreement,
    interface: &InterfaceName,
    without_consent: bool,
) -> Result<(Document, Manifest), Error> {
    let plan = covered(agreement, interface)?.plan(without_consent);
    let plan = plan.ok_or_else(|| no_agreement(agreement, interface))?;
    projection::project(bundle, &Entries::of(bundle), agreement, plan)
}

/// On which ground `bundle` may leave over an interface of an agreement at `at`, if on any: for a preview.
///
/// # Errors
/// [`Error::NoAgreement`], [`Error::Consent`], [`Error::Decision`].
pub fn ground(
    bundle: &Document,
    agreement: &Agreement,
    interface: &InterfaceName,
    at: Instant,
) -> Result<Ground, Error> {
    ground::ground(&Entries::of(bundle), agreement, covered(agreement, interface)?, at, |_| None)
}

fn covered<'a>(agreement: &'a Agreement, interface: &InterfaceName) -> Result<&'a Interface, Error> {
    agreement.interface(interface).ok_or_else(|| no_agreement(agreement, interface))
}

fn no_agreement(agreement: &Agreement, interface: &InterfaceName) -> Error {
    Error::NoAgreement {
        sender: agreement.controller().ods.clone(),
        recipient: agreement.recipient().ods.clone(),
        interface: interface.clone(),
    }
}
