//! The events of handovers: opened with the delivery, decided by the receiving team, alarmed by a clock.
//!
//! An event with the detail `to` is a step of the handover; the others tell of what changed nothing. Who took it by name, and why it was
//! rejected in words, stands in the answer, which is named by id and digest.

use std::borrow::Cow;

use uuid::Uuid;

use super::event::{Recorder, detail, kind, with_patient, written};
use crate::fhir::audit_event::{Action, Agent, AuditEvent, Coding, Detail, Entity, Outcome, Part, What, Who, detail};
use crate::fhir::{Instant, instant_text};
use crate::identity::digest::hex;
use crate::identity::keyed_hash::KeyedHash;
use crate::identity::{MessageId, PartyId, PrincipalId};
use crate::storage::{Event, Handover, HandoverState};

/// A message, and the person it is about.
type Of<'a> = (MessageId, Option<&'a KeyedHash>);

/// By whom a handover takes a step.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// The gateway itself: the message was delivered.
    Gateway,
    /// The partner, from an address on the network where it has one.
    Partner(&'a PartyId, Option<&'a str>),
    /// A person of the sender.
    Person(&'a PrincipalId),
}

/// The answer that a step rests on.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// What it is called, when that is a UUID.
    pub id: Option<Uuid>,
    /// SHA-256 of it.
    pub digest: &'a [u8; 32],
    /// Whether a person or a team takes it.
    pub holder: Option<&'static str>,
    /// Why not, in codes.
    pub reasons: &'a [String],
}

impl Recorder {
    /// A handover took a step, on the basis of an answer if there was one.
    pub fn handover_changed(
        &self,
        of: Of<'_>,
        (before, after): (Option<&Handover>, &Handover),
        (by, basis): (By<'_>, Option<Basis<'_>>),
        at: Instant,
    ) -> Event {
        let mut details: Vec<Detail<'_>> =
            before.map(|before| detail(detail::FROM, before.state.code())).into_iter().collect();
        details.push(detail(detail::TO, after.state.code()));
        details.extend(clocks(after));
        details.extend(basis.iter().flat_map(of_basis));
        let outcome = match after.state {
            HandoverState::Rejected => Outcome::SeriousFailure,
            _ => Outcome::Success,
        };
        written(Some(of.0), &self.of_handover(kind::HANDOVER_CHANGED, of, (by, details, outcome), at))
    }

    /// Someone sent a message again whose handover was rejected, so that it waits anew; `why` is a code.
    pub fn handover_resent(
        &self,
        of: Of<'_>,
        (before, after): (&Handover, &Handover),
        (by, why): (&PrincipalId, &str),
        at: Instant,
    ) -> Event {
        let mut details = vec![
            detail(detail::FROM, before.state.code()),
            detail(detail::TO, after.state.code()),
            detail(detail::REASON, why),
        ];
        details.extend(clocks(after));
        let of_it = (By::Person(by), details, Outcome::Success);
        written(Some(of.0), &self.of_handover(kind::HANDOVER_CHANGED, of, of_it, at))
    }

    /// A partner's answer contradicts what it said before, and changed nothing. `said` is its verdict.
    pub fn handover_contradicted(
        &self,
        of: Of<'_>,
        by: By<'_>,
        (said, basis): (&str, Basis<'_>),
        at: Instant,
    ) -> Event {
        let mut details = vec![detail(detail::REASON, "conflict"), detail(detail::VERDICT, said)];
        details.extend(of_basis(&Basis { reasons: &[], holder: None, ..basis }));
        written(Some(of.0), &self.of_handover(kind::HANDOVER_CHANGED, of, (by, details, Outcome::MinorFailure), at))
    }

    /// People are told of a handover, because of a clock or of what was answered: `trouble`, a code. It takes a step when its
    /// state changes by that.
    pub fn handover_alarm(
        &self,
        of: Of<'_>,
        (before, after): (&Handover, &Handover),
        trouble: &str,
        at: Instant,
    ) -> Event {
        let mut details = vec![detail(detail::REASON, trouble)];
        if before.state != after.state {
            details.extend([detail(detail::FROM, before.state.code()), detail(detail::TO, after.state.code())]);
        }
        details.extend(clocks(after));
        let of_it = (By::Gateway, details, Outcome::SeriousFailure);
        written(Some(of.0), &self.of_handover(kind::HANDOVER_ALARM, of, of_it, at))
    }

    fn of_handover<'a>(
        &'a self,
        kind: &'static str,
        (message, patient): Of<'a>,
        (by, details, outcome): (By<'a>, Vec<Detail<'a>>, Outcome),
        at: Instant,
    ) -> AuditEvent<'a> {
        let own = self.agent(Part::Application, self.party(), matches!(by, By::Gateway));
        let other = |who, address: Option<&'a str>| Agent {
            part: Part::Source,
            who,
            requestor: true,
            address: address.map(Cow::Borrowed),
        };
        let agents = match by {
            By::Gateway => vec![own],
            By::Partner(party, address) => vec![other(Who::party(party), address), own],
            By::Person(id) => vec![other(Who::operator(id.as_str()), None), own],
        };
        AuditEvent {
            subtypes: vec![Coding::weir(kind)],
            action: Action::Update,
            outcome,
            agents,
            entities: with_patient(Entity { what: What::Message(message), details }, patient),
            ..self.event(Coding::dicom("110100"), at)
        }
    }
}

fn clocks(handover: &Handover) -> Vec<Detail<'_>> {
    let mut details = vec![detail(detail::DEADLINE, instant_text(handover.due_at))];
    let instant = |name, at: Option<Instant>| at.map(|at| detail(name, instant_text(at)));
    details.extend(instant(detail::CONTACT_DUE, handover.contact_due_at));
    details.extend(instant(detail::CONTACT, handover.contacted_at));
    details
}

fn of_basis<'a>(basis: &Basis<'a>) -> Vec<Detail<'a>> {
    let mut details = vec![detail(detail::SHA256, hex(basis.digest))];
    details.extend(basis.id.map(|id| detail(detail::ANSWER, id.to_string())));
    details.extend(basis.holder.map(|holder| detail(detail::HOLDER, holder)));
    details.extend(basis.reasons.iter().map(|reason| detail(detail::REASON, reason.as_str())));
    details
}
