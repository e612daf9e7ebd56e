//! What partners send us of themselves: referrals, each kept until a record system has collected it.

use std::fmt;

use uuid::Uuid;

use super::{Event, NewNotice};
use crate::fhir::Instant;
use crate::identity::{AgreementId, InterfaceName, MessageId, PartyId, PrincipalId, coded};

/// A referral to be kept. All of it is written with its event, or nothing.
pub struct NewInbound {
    /// Who sent it.
    pub sender: PartyId,
    /// What its sender calls it: `Bundle.id`.
    pub bundle: Uuid,
    /// The interface that it came over.
    pub interface: InterfaceName,
    /// For how many days its contents are kept.
    pub retention_days: u32,
    /// SHA-256 of what came: tells a repeat from a conflict.
    pub digest: [u8; 32],
    /// The clinical priority, a code of FHIR's request-priority.
    pub priority: Option<String>,
    /// When it came.
    pub received_at: Instant,
    /// When its time to be collected is nearly over: it is looked at first then.
    pub near_at: Instant,
    /// By when a record system has to have collected it.
    pub due_at: Instant,
    /// The message as it came, to be sealed.
    pub message: Vec<u8>,
    /// The record that was made of it, to be sealed.
    pub record: Vec<u8>,
    /// What the audit log says of it.
    pub event: Event,
}

/// What contents of referrals are filed under, in the place of an agreement: `[interfaces]` says how long they are kept. No agreement
/// has this id: its file is refused.
pub const INBOUND_REFERRALS: &str = "inbound-referrals";

impl fmt::Debug for NewInbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewInbound").field("sender", &self.sender).field("bundle", &self.bundle).finish_non_exhaustive()
    }
}

impl NewInbound {
    /// See [`inbound_id`].
    pub fn id(&self) -> MessageId {
        inbound_id(&self.sender, self.bundle)
    }

    /// What its contents are filed under, in the place of an agreement.
    pub(super) fn filed(&self) -> AgreementId {
        INBOUND_REFERRALS.parse().expect("they are words joined by hyphens")
    }
}

/// The id of a referral here: the same for the same sender and `Bundle.id`, and another for every other.
pub fn inbound_id(sender: &PartyId, bundle: Uuid) -> MessageId {
    MessageId::from(Uuid::new_v5(&bundle, format!("inbound {sender}").as_bytes()))
}

/// A referral that is kept, without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundRecord {
    /// Its id here; its contents are sealed under it.
    pub id: MessageId,
    /// Who sent it.
    pub sender: PartyId,
    /// What its sender calls it.
    pub bundle: Uuid,
    /// The interface that it came over.
    pub interface: InterfaceName,
    /// SHA-256 of what came.
    pub digest: [u8; 32],
    /// The clinical priority, if it has one.
    pub priority: Option<String>,
    /// When it came.
    pub received_at: Instant,
    /// By when a record system has to have collected it; `None` for one that an earlier version took, until it is looked at.
    pub due_at: Option<Instant>,
    /// When it is to be looked at next; `None`: not any more.
    pub alert_at: Option<Instant>,
    /// What people were told of it last; `None`: nothing.
    pub told: Option<InboundTrouble>,
    /// The index of the event that says that it came; `None` for one that an earlier version took.
    pub event: Option<u64>,
    /// When it was collected, and by whom; `None` while it waits.
    pub collected: Option<(Instant, PrincipalId)>,
}

coded! {
    /// What people are told of a referral that no record system has collected.
    InboundTrouble, "a trouble of a referral" {
        /// The time to collect it is nearly over.
        NearDue = "near-due",
        /// The time to collect it is over.
        Overdue = "overdue",
        /// The clock was set back since it came: whether its time is over is not known.
        DueUnknown = "due-unknown",
    }
}

impl InboundRecord {
    /// `waiting` or `collected`.
    pub fn state(&self) -> &'static str {
        if self.collected.is_some() { "collected" } else { "waiting" }
    }
}

/// Which referrals are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Those that wait, the oldest first.
    Waiting,
    /// All, the newest first.
    All,
    /// Those that came before one, the newest first; none when it is unknown.
    Before(MessageId),
}

/// What became of a [`NewInbound`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is on disk with its event.
    Now(Box<InboundRecord>),
    /// The same came before; nothing was written.
    Before(Box<InboundRecord>),
    /// Another came before under this id from this sender; nothing was written.
    Conflict,
}

/// A record system has what it collected.
#[derive(Clone, Debug)]
pub struct Collection {
    /// Which referral.
    pub id: MessageId,
    /// When.
    pub at: Instant,
    /// By whom.
    pub by: PrincipalId,
    /// What the audit log says of it; written the first time only.
    pub event: Event,
}

/// A referral that waits is looked at. All of it is written, or nothing.
#[derive(Clone, Debug)]
pub struct InboundLook {
    /// Which referral.
    pub id: MessageId,
    /// When it was to be looked at; nothing is written when that is another time by now.
    pub before: Option<Instant>,
    /// By when a record system has to have collected it.
    pub due_at: Instant,
    /// When it is to be looked at next.
    pub next: Option<Instant>,
    /// What people are told, with the notices and the event that says so.
    pub told: Option<(InboundTrouble, Vec<NewNotice>, Event)>,
}

/// How many referrals of one priority wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundCount {
    /// Over which interface they came.
    pub interface: InterfaceName,
    /// Their clinical priority, if they have one.
    pub priority: Option<String>,
    /// How many wait to be collected.
    pub waiting: u64,
    /// How many of them should have been collected by now.
    pub overdue: u64,
    /// When the oldest of them came.
    pub oldest: Instant,
}
