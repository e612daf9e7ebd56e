//! What is kept of a handover: whether the receiving team took responsibility for a message that was delivered, and by when.
//!
//! States, instants and what they rest on. Who took it by name, and why one was rejected in words, stands in the partner's
//! answer alone, which is sealed.

use std::time::Duration;

use super::{Event, NewNotice};
use crate::fhir::Instant;
use crate::identity::{AgreementId, InterfaceName, MessageId, PartyId, coded};

coded! {
    /// Where a handover stands.
    HandoverState, "the state of a handover" {
        /// The message is delivered, and the receiving team has not said whether it takes it.
        Waiting = "waiting",
        /// The same, and the time to say so is nearly over.
        NearDue = "near-due",
        /// The same, and the time to say so is over.
        Overdue = "overdue",
        /// The receiving team took responsibility.
        Accepted = "accepted",
        /// It did, and did not reach the person by when it should have, as far as it said.
        ContactMissed = "contact-missed",
        /// It did, and reached the person.
        Contacted = "contacted",
        /// The receiving team did not take it.
        Rejected = "rejected",
        /// The sender cancelled the message before that.
        Withdrawn = "withdrawn",
    }
}

impl HandoverState {
    /// Whether the receiving team has still to say whether it takes it.
    pub fn is_open(self) -> bool {
        matches!(self, HandoverState::Waiting | HandoverState::NearDue | HandoverState::Overdue)
    }

    /// Whether the receiving team may take responsibility, by its first word or by a later one than its rejection.
    pub fn may_be_taken(self) -> bool {
        self.is_open() || self == HandoverState::Rejected
    }

    /// Whether the receiving team is responsible; else the sender is.
    pub fn is_taken(self) -> bool {
        matches!(self, HandoverState::Accepted | HandoverState::ContactMissed | HandoverState::Contacted)
    }
}

coded! {
    /// What people are to be told at once.
    HandoverTell, "what is told of a handover" {
        /// It was rejected.
        Rejected = "rejected",
        /// The partner contradicts what it said before.
        Conflict = "conflict",
        /// Both, one after the other.
        RejectedAndConflict = "rejected-and-conflict",
        /// It was accepted after it was rejected.
        Accepted = "accepted",
        /// The same, and that the partner contradicts what it said before, one after the other.
        AcceptedAndConflict = "accepted-and-conflict",
    }
}

impl HandoverTell {
    /// What is told when a rejection comes on top of what is not told yet.
    pub fn with_rejection(before: Option<HandoverTell>) -> HandoverTell {
        match before {
            None | Some(HandoverTell::Rejected | HandoverTell::Accepted) => HandoverTell::Rejected,
            Some(_) => HandoverTell::RejectedAndConflict,
        }
    }

    /// What is told when an acceptance comes after a rejection, of which nobody needs to be told any more.
    pub fn with_acceptance(before: Option<HandoverTell>) -> HandoverTell {
        match before {
            None | Some(HandoverTell::Rejected | HandoverTell::Accepted) => HandoverTell::Accepted,
            Some(_) => HandoverTell::AcceptedAndConflict,
        }
    }

    /// What is told when a contradiction comes on top of what is not told yet.
    pub fn with_conflict(before: Option<HandoverTell>) -> HandoverTell {
        match before {
            None | Some(HandoverTell::Conflict) => HandoverTell::Conflict,
            Some(HandoverTell::Rejected | HandoverTell::RejectedAndConflict) => HandoverTell::RejectedAndConflict,
            Some(HandoverTell::Accepted | HandoverTell::AcceptedAndConflict) => HandoverTell::AcceptedAndConflict,
        }
    }
}

/// A handover's state and clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Where it stands.
    pub state: HandoverState,
    /// Since when.
    pub since: Instant,
    /// When the message was delivered; of one that was rejected, when it was sent again.
    pub opened_at: Instant,
    /// From when on the time is nearly over.
    pub near_at: Instant,
    /// By when the receiving team is to say whether it takes it.
    pub due_at: Instant,
    /// From acceptance to first contact, where the acceptance names no time. Whole milliseconds.
    pub contact_within: Duration,
    /// By when the person is to be reached, once it is accepted.
    pub contact_due_at: Option<Instant>,
    /// When the person was reached.
    pub contacted_at: Option<Instant>,
    /// When it is to be looked at next.
    pub alert_at: Option<Instant>,
    /// What people are to be told at once.
    pub tell: Option<HandoverTell>,
}

/// A handover with the message that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoverRecord {
    /// The message.
    pub message: MessageId,
    /// Who sent it.
    pub sender: PartyId,
    /// Over which interface.
    pub interface: InterfaceName,
    /// To whom.
    pub recipient: PartyId,
    /// Under which agreement.
    pub agreement: AgreementId,
    /// Its clinical priority.
    pub priority: Option<String>,
    /// Its state and clocks.
    pub handover: Handover,
}

/// One step of a handover. All of it is written, or nothing.
#[derive(Clone, Debug)]
pub struct HandoverStep {
    /// Of which message.
    pub message: MessageId,
    /// What it must be before; `None`: there is none, and one that there is stays as it is.
    pub before: Option<Handover>,
    /// What it becomes.
    pub after: Handover,
    /// When.
    pub at: Instant,
    /// Whether it is kept as a step of its own: not where people are told only.
    pub is_step: bool,
    /// The answer that it rests on, by the slot in which that is kept.
    pub answer: Option<MessageId>,
    /// Who is told.
    pub notices: Vec<NewNotice>,
    /// What the audit log says of it.
    pub event: Event,
}

/// A step as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoverEntry {
    /// The state that it led to.
    pub state: HandoverState,
    /// When.
    pub at: Instant,
    /// The index of its event.
    pub event: u64,
    /// The answer that it rests on, by the slot in which that is kept.
    pub answer: Option<MessageId>,
}

/// How many handovers stand where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandoverCount {
    /// Over which interface.
    pub interface: InterfaceName,
    /// In which state.
    pub state: HandoverState,
    /// How many.
    pub handovers: u64,
}
