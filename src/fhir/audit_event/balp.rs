//! Which profile of IHE BALP an event conforms to.
//!
//! Enters: an event. Leaves: the profile that `AuditEvent.meta.profile` claims, or none. Invariant: what an event says decides, and
//! not which version wrote it; one that lacks a part that the profile demands claims none.

use super::{Action, Agent, AuditEvent, Outcome, Part, System, What, Who};

/// What BALP calls a decision that rests on consent.
pub(super) const AUTHZ_CONSENT: &str = "AuthZ-Consent";

/// A profile of IHE BALP 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Personal data left.
    DisclosureSource,
    /// Personal data came from another organisation.
    DisclosureRecipient,
    /// It was decided, by consent, whether personal data may leave.
    AuthZconsent,
    /// Something was read that is about no patient, or about one who is not known.
    Read,
    /// Something about a patient was read.
    PatientRead,
    /// A search that names no patient.
    Query,
    /// A search for what there is about a patient.
    PatientQuery,
}

impl Profile {
    /// Its canonical URL.
    pub fn url(self) -> String {
        let name = match self {
            Profile::DisclosureSource => "PrivacyDisclosure.Source",
            Profile::DisclosureRecipient => "PrivacyDisclosure.Recipient",
            Profile::AuthZconsent => "AuthZconsent",
            Profile::Read => "Read",
            Profile::PatientRead => "PatientRead",
            Profile::Query => "Query",
            Profile::PatientQuery => "PatientQuery",
        };
        format!("https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.{name}")
    }

    /// The profile that an event conforms to.
    pub fn of(event: &AuditEvent<'_>) -> Option<Profile> {
        match (event.kind.system, &*event.kind.code) {
            (System::Dicom, "110106") => disclosure(event, Part::Source).then_some(Profile::DisclosureSource),
            (System::Dicom, "110107") => disclosure(event, Part::Destination).then_some(Profile::DisclosureRecipient),
            (System::Dicom, "110113") => decision(event).then_some(Profile::AuthZconsent),
            (System::EventType, "rest") => access(event),
            _ => None,
        }
    }
}

/// Both ends are known with their addresses, `own` is this gateway's, and a patient and the data are named.
fn disclosure(event: &AuditEvent<'_>, own: Part) -> bool {
    let action = if own == Part::Source { Action::Read } else { Action::Create };
    let is_own = |agent: &Agent<'_>| matches!(&agent.who, Who::Party(code) if *code == event.observer);
    event.action == action
        && has(event, System::Lifecycle, "disclose")
        && networked(event, Part::Source).is_some()
        && networked(event, Part::Destination).is_some()
        && networked(event, own).is_some_and(is_own)
        && patients(event) == 1
        && event.entities.len() > 1
}

/// Who asks, for whom, who decides, and by which consent; its entities may be nothing else.
fn decision(event: &AuditEvent<'_>) -> bool {
    let parts = [Part::User, Part::UserOrganisation, Part::Authoriser];
    event.subtypes.iter().all(|each| each.system == System::Balp && each.code == AUTHZ_CONSENT)
        && !event.subtypes.is_empty()
        && event.action == Action::Execute
        && networked(event, Part::Application).is_some()
        && parts.iter().all(|part| only(event, *part).is_some())
        && patients(event) == 1
        && event.entities.iter().any(|each| matches!(each.what, What::Message(_) | What::Agreement(_)))
        && event
            .entities
            .iter()
            .all(|each| matches!(each.what, What::Patient(_) | What::Message(_) | What::Agreement(_)))
}

/// A read or a search that succeeded, over the network.
fn access(event: &AuditEvent<'_>) -> Option<Profile> {
    let (source, destination) = (networked(event, Part::Source), networked(event, Part::Destination));
    if event.outcome != Outcome::Success || source.is_none() || destination.is_none() || patients(event) > 1 {
        return None;
    }
    let of_patient = patients(event) == 1;
    let queries = event.entities.iter().filter(|each| matches!(each.what, What::Query(_))).count();
    let others = event.entities.len() - patients(event) - queries;
    match event.action {
        Action::Read if has(event, System::Interaction, "read") && (queries, others) == (0, 1) => {
            Some(if of_patient { Profile::PatientRead } else { Profile::Read })
        }
        Action::Execute if has(event, System::Interaction, "search-type") && queries == 1 => {
            Some(if of_patient { Profile::PatientQuery } else { Profile::Query })
        }
        _ => None,
    }
}

fn has(event: &AuditEvent<'_>, system: System, code: &str) -> bool {
    event.subtypes.iter().filter(|each| each.system == system && each.code == code).count() == 1
}

/// The only one who took this part.
fn only<'e, 'a>(event: &'e AuditEvent<'a>, part: Part) -> Option<&'e Agent<'a>> {
    let mut agents = event.agents.iter().filter(|agent| agent.part == part);
    agents.next().filter(|_| agents.next().is_none())
}

fn networked<'e, 'a>(event: &'e AuditEvent<'a>, part: Part) -> Option<&'e Agent<'a>> {
    only(event, part).filter(|agent| agent.address.is_some())
}

fn patients(event: &AuditEvent<'_>) -> usize {
    event.entities.iter().filter(|each| matches!(each.what, What::Patient(_))).count()
}
