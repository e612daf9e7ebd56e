//! The stage itself: [`Validated`] → [`Projected`] → [`Disclosable`].

use std::sync::Arc;

use super::agreement::{Agreement, Agreements, Interface};
use super::ground::{Ground, ground};
use super::manifest::{Kept, Manifest};
use super::{Error, projection};
use crate::fhir::bundle::Entries;
use crate::fhir::outcome::Issue;
use crate::fhir::{Document, ElementPath, Node};
use crate::identity::PartyId;
use crate::validation::{Cut, Validated};

/// A Bundle cut down to an agreement, not yet validated again.
#[derive(Debug)]
pub struct Projected(Disclosable);

/// A Bundle cut down to what one agreement lets one recipient see, and valid as it is.
///
/// Only [`Projected::revalidated`] makes one, so holding it proves that the agreement was consulted.
#[derive(Debug)]
pub struct Disclosable {
    validated: Validated,
    agreement: Arc<Agreement>,
    ground: Ground,
    bundle: Document,
    manifest: Manifest,
}

/// Finds the agreement in force between the sender, by its certificate, and the recipient that the message names, and
/// builds what it lets through.
///
/// # Errors
/// [`Error::SenderMismatch`], [`Error::RecipientUnknown`], [`Error::NoAgreement`], [`Error::NotInForce`],
/// [`Error::Consent`], [`Error::Decision`]; [`Error::NotABundle`] and [`Error::TooLarge`] for what no map of ours makes.
pub fn minimise(agreements: &Agreements, validated: Validated) -> Result<Projected, Error> {
    let (received, full) = (validated.mapped().received(), validated.mapped().bundle());
    let (sender, name) = (received.sender(), received.interface());
    let entries = Entries::of(full);
    if entries.sender().is_none_or(|named| named.parse().as_ref() != Ok(sender)) {
        return Err(Error::SenderMismatch { sender: sender.clone() });
    }
    let recipient = recipient(&entries)?;
    let agreement = agreements.in_force(sender, &recipient, name, received.received_at())?;
    let no_agreement =
        || Error::NoAgreement { sender: sender.clone(), recipient: recipient.clone(), interface: name.clone() };
    let interface = agreement.interface(name).ok_or_else(no_agreement)?;
    let ground = ground(&entries, agreement, interface, received.received_at(), |node| record_path(&validated, node))?;
    let plan = interface.plan(ground.decision().is_some()).ok_or_else(no_agreement)?;
    let (bundle, manifest) = projection::project(full, &entries, agreement, plan)?;
    let agreement = Arc::clone(agreement);
    Ok(Projected(Disclosable { validated, agreement, ground, bundle, manifest }))
}

/// The field of the record that a node of the Bundle comes from.
fn record_path(validated: &Validated, node: Node<'_>) -> Option<ElementPath> {
    let mapped = validated.mapped();
    let source = mapped.origins().get(node.id().index())?.source?;
    mapped.received().record().node(source).map(Node::path)
}

/// The one organisation that the MessageHeader names as receiver.
fn recipient(entries: &Entries<'_>) -> Result<PartyId, Error> {
    let receivers = entries.receivers();
    let [Some(code)] = &receivers[..] else { return Err(Error::RecipientUnknown) };
    code.parse().map_err(|_| Error::RecipientUnknown)
}

impl Projected {
    /// Validates the Bundle again, as it would leave, against the profile that the agreement names.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the issues, if one of them is an error.
    pub fn revalidated(self, check: impl FnOnce(&Cut<'_>) -> Vec<Issue>) -> Result<Disclosable, Error> {
        let Projected(disclosable) = self;
        let issues = check(&Cut {
            before: &disclosable.validated,
            bundle: &disclosable.bundle,
            settled: disclosable.manifest.settled(),
            altered: disclosable.manifest.altered(),
            keeps_claims: disclosable.manifest.keeps_claims(),
            profile: disclosable.interface().map(Interface::profile).unwrap_or_default(),
        });
        if issues.iter().any(Issue::is_error) {
            return Err(Error::Invalid { agreement: disclosable.agreement.id().clone(), issues });
        }
        Ok(disclosable)
    }
}

impl Disclosable {
    /// The message as it was before disclosure.
    pub fn validated(&self) -> &Validated {
        &self.validated
    }

    /// The Bundle that may leave.
    pub fn bundle(&self) -> &Document {
        &self.bundle
    }

    /// What of the message is in it, and what is not.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What left, as it is or less exact, in the order of the Bundle that leaves. The clauses of the permits come first,
    /// behind them those of the generalisations.
    pub fn left(&self) -> Vec<Kept> {
        let permits = self.interface().map_or(0, |interface| interface.clauses().len() as u32);
        let generalised = self.manifest.generalised().iter();
        let generalised =
            generalised.map(|row| Kept { node: row.node, sent: row.sent, clause: Some(permits + row.clause) });
        let mut rows: Vec<Kept> = self.manifest.kept().iter().copied().chain(generalised).collect();
        rows.sort_by_key(|row| row.sent);
        rows
    }

    /// On which ground it leaves.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The agreement that it leaves under.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// What the agreement says about the message's interface.
    pub fn interface(&self) -> Option<&Interface> {
        self.agreement.interface(self.validated.mapped().received().interface())
    }
}
