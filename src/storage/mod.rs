//! What is kept: messages with their outbox state, the bytes as sent, and the audit events beside them.
//!
//! [`Store`] is the contract; [`sqlite`] keeps it in one embedded file. The promises every implementation makes, and
//! `suite.rs` tests:
//!
//! - A change and its audit events are one transaction: no change without its leaf, no leaf without its change.
//! - A call that changes something resolves after the change is on disk (fsync), or fails and changed nothing.
//! - Audit events are numbered from 0 without a gap, in the order of commit: the number is the leaf's index.
//! - Payload, Provenance and lineage are sealed ([`seal`]); no other column holds personal data. What the keys of destroyed
//!   envelopes sealed opens no more.
//!
//! Instants are kept to the millisecond.

mod answer;
mod damage;
mod envelope;
pub mod files;
mod handover;
mod inbound;
mod review;
mod room;
pub mod seal;
mod secret;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod suite;

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::fhir::Instant;
use crate::identity::{AgreementId, InterfaceName, Malformed, MessageId, PartyId, PrincipalId};

pub use answer::{AnswerRecord, Kept, NewAnswer, Says, answer_slot};
pub use damage::Damage;
pub use envelope::{Ended, Envelope, Erasure, MAY_COME_BACK};
pub use handover::{Handover, HandoverCount, HandoverEntry, HandoverRecord, HandoverState, HandoverStep, HandoverTell};
pub use inbound::{
    Collection, INBOUND_REFERRALS, InboundCount, InboundLook, InboundRecord, InboundTrouble, Listed, NewInbound,
    Received, inbound_id,
};
pub use review::{
    Channel, Completed, Finding, NewNotice, NewReview, NoticeRecord, NoticeResult, NoticeStep, ReviewCounts,
    ReviewRecord, ReviewStep,
};
pub use room::{Full, Load, Room};
pub use secret::{KeyFileError, Secret, create_key_file, load_key_file};
pub use sqlite::SqliteStore;

/// A place among rows in the order in which they are to be looked at: when that is, and the row's position.
pub type Place = (Instant, u64);

/// Before all rows.
pub const FIRST: Place = (Instant::UNIX_EPOCH, 0);

/// What a call to a [`Store`] gives: a future that owns nothing but the borrow of the store.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A message that passed every stage, ready to be accepted.
pub struct NewMessage {
    /// Its id.
    pub id: MessageId,
    /// Who submitted it.
    pub sender: PartyId,
    /// The interface it was submitted to.
    pub interface: InterfaceName,
    /// Who it goes to.
    pub recipient: PartyId,
    /// The agreement that lets it go.
    pub agreement: AgreementId,
    /// For how many days its contents are kept.
    pub retention_days: u32,
    /// SHA-256 of the record as submitted: tells a repeat from a conflict.
    pub digest: [u8; 32],
    /// When it was accepted; also when it is first due. It begins on the first route.
    pub accepted_at: Instant,
    /// The Bundle as it will be sent.
    pub payload: Vec<u8>,
    /// Its Provenance.
    pub provenance: Vec<u8>,
    /// Its lineage.
    pub lineage: Vec<u8>,
    /// What its lineage names by number: kept once for all messages that have the same.
    pub glossary: Arc<Text>,
    /// The review that it must get: it is sent without consent.
    pub review: Option<NewReview>,
    /// How it is handled on its way.
    pub handling: Handling,
    /// What an answer may call it: `Bundle.id` and `MessageHeader.id`.
    pub names: Vec<String>,
    /// Its first step, taken as it is accepted, unless an earlier message of its order waits.
    pub beginning: Option<Box<Transition>>,
}

impl NewMessage {
    /// As the store knows it, once it is accepted.
    pub fn record(&self) -> MessageRecord {
        MessageRecord {
            id: self.id,
            sender: self.sender.clone(),
            interface: self.interface.clone(),
            recipient: self.recipient.clone(),
            agreement: self.agreement.clone(),
            digest: self.digest,
            state: State::Accepted,
            accepted_at: self.accepted_at,
            updated_at: self.accepted_at,
            attempts: 0,
            next_attempt_at: Some(self.accepted_at),
            note: String::new(),
            route: 0,
            handling: self.handling.clone(),
        }
    }
}

/// A text that many messages refer to, without personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// What it says.
    pub bytes: Vec<u8>,
}

/// How a message is handled on its way to its recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// What it keeps its order with: a keyed hash of the interface and of whom the message is about. Messages to one
    /// recipient that have the same leave one after the other, as they were accepted. `None` where order does not matter.
    pub order_key: Option<String>,
    /// The clinical priority, a code of FHIR's request-priority: `stat`.
    pub priority: Option<String>,
    /// By when its recipient is to have it, where it is not sent again after it had arrived.
    pub deadline_at: Option<Instant>,
    /// Since when its time runs, if it had arrived and is sent again; else since it was accepted.
    pub timed_from: Option<Instant>,
    /// When it is to be looked at next, for its deadline or because it ended badly.
    pub alert_at: Option<Instant>,
}

impl fmt::Debug for NewMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMessage").field("id", &self.id).field("recipient", &self.recipient).finish_non_exhaustive()
    }
}

/// What became of a [`NewMessage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk, queued, with its events.
    New,
    /// It is on disk with its events, and has taken its first step.
    Begun,
    /// The same record was accepted before under this id; nothing was written.
    Repeated(Box<MessageRecord>),
    /// Another record was accepted before under this id; nothing was written.
    Conflict,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It is on disk and waits for its first attempt.
    Accepted,
    /// Waits for a further attempt.
    Queued,
    /// An attempt is under way, or was when the gateway stopped.
    InFlight,
    /// The recipient's system has it (accept acknowledgement).
    Delivered,
    /// The recipient's application took it (application acknowledgement).
    Acknowledged,
    /// The recipient's application refused it.
    Refused,
    /// No further attempt is made until a person decides.
    Dead,
    /// A person decided that it is not to be sent.
    Cancelled,
}

impl State {
    /// Every state, in the order of a message's life.
    pub const ALL: [State; 8] = [
        State::Accepted,
        State::Queued,
        State::InFlight,
        State::Delivered,
        State::Acknowledged,
        State::Refused,
        State::Dead,
        State::Cancelled,
    ];

    /// Whether it is still to be sent.
    pub fn is_waiting(self) -> bool {
        matches!(self, State::Accepted | State::Queued | State::InFlight)
    }

    /// The name, as stored, shown and audited.
    pub fn code(self) -> &'static str {
        match self {
            State::Accepted => "accepted",
            State::Queued => "queued",
            State::InFlight => "in-flight",
            State::Delivered => "delivered",
            State::Acknowledged => "acknowledged",
            State::Refused => "refused",
            State::Dead => "dead",
            State::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for State {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<State, Malformed> {
        let rule = "accepted, queued, in-flight, delivered, acknowledged, refused, dead or cancelled";
        State::ALL.into_iter().find(|state| state.code() == text).ok_or(Malformed { what: "a message state", rule })
    }
}

/// A message as the store knows it, without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// Its id.
    pub id: MessageId,
    /// Who submitted it.
    pub sender: PartyId,
    /// The interface it was submitted to.
    pub interface: InterfaceName,
    /// Who it goes to.
    pub recipient: PartyId,
    /// The agreement that lets it go.
    pub agreement: AgreementId,
    /// SHA-256 of the record as submitted.
    pub digest: [u8; 32],
    /// Where it stands.
    pub state: State,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// When its state last changed.
    pub updated_at: Instant,
    /// Attempts begun so far.
    pub attempts: u32,
    /// When it is due; `None` when no attempt is planned.
    pub next_attempt_at: Option<Instant>,
    /// The last outcome in words, without personal data.
    pub note: String,
    /// Which of its recipient's routes it goes over, from 0.
    pub route: u16,
    /// How it is handled.
    pub handling: Handling,
}

/// One step of a message's life. All of it is written, or nothing.
#[derive(Clone, Debug)]
pub struct Transition {
    /// Which message.
    pub message: MessageId,
    /// The state it must be in; if it is not, the transition is [`Error::Stale`].
    pub from: State,
    /// The route it must be on, if that matters; else the transition is [`Error::Stale`] too.
    pub route: Option<u16>,
    /// The state it takes.
    pub to: State,
    /// When.
    pub at: Instant,
    /// Attempts begun so far.
    pub attempts: u32,
    /// When it is due next; `None` for none.
    pub next_attempt_at: Option<Instant>,
    /// The outcome in words, without personal data.
    pub note: String,
    /// What the carrier that took it calls it, if it says so.
    pub carried_as: Option<String>,
    /// What the audit log says of it.
    pub event: Event,
    /// The step of its handover that goes with it.
    pub handover: Option<Box<HandoverStep>>,
}

/// What was done about a message whose deadline nears, or that ended badly. All of it is written, or nothing.
#[derive(Clone, Debug)]
pub struct Raised {
    /// Which message.
    pub message: MessageId,
    /// The state it must be in.
    pub state: State,
    /// When it was to be looked at, which must still be so.
    pub alert_at: Option<Instant>,
    /// When it was done.
    pub at: Instant,
    /// When it is to be looked at again.
    pub next: Option<Instant>,
    /// The route that it goes over from now on, at once.
    pub route: Option<u16>,
    /// What the message says of it, without personal data.
    pub note: String,
    /// Who is told. One whose id is known is not written again.
    pub notices: Vec<NewNotice>,
    /// What the audit log says of it.
    pub event: Event,
}

/// An audit event to be written: canonical bytes, and the leaf they make in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The message it is about, if it is about one.
    pub message: Option<MessageId>,
    /// The canonical bytes, which hold no personal data.
    pub bytes: Vec<u8>,
    /// The leaf hash of `bytes`.
    pub leaf: [u8; 32],
}

/// What a person did, with the event that says so. All of it is written, or nothing.
#[derive(Clone, Debug)]
pub struct Act {
    /// Its own id: an act that is handed in twice is performed once.
    pub id: Uuid,
    /// When it is performed.
    pub at: Instant,
    /// What changes by it.
    pub change: Change,
    /// What the audit log says of it.
    pub event: Event,
}

/// What changes by an [`Act`].
#[derive(Clone, Debug)]
pub enum Change {
    /// Nothing: someone looked at something.
    Nothing,
    /// A review ends.
    Review(Box<ReviewStep>),
    /// Someone approved a version of an agreement.
    Approve(Approval),
    /// A message is sent again, or cancelled; its event is the act's.
    Message(Box<Transition>),
    /// The contents of messages and referrals are erased.
    Erase(Vec<Erasure>),
}

/// One person's approval of one version of a sharing agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The agreement.
    pub agreement: AgreementId,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file.
    pub file: [u8; 32],
    /// In which role, by its code: `caldicott-guardian`.
    pub role: String,
    /// By whom.
    pub by: PrincipalId,
    /// When.
    pub at: Instant,
}

/// What became of an [`Act`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Performed {
    /// It is on disk with its event.
    Now,
    /// It was performed before; nothing was written.
    Before,
}

/// An audit event as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its index in the log, from 0.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// The first and the last index of the events that were recorded in one hour. After a clock was set back others may lie
/// between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    /// The hour, counted from 1970 in UTC.
    pub hour: i64,
    /// The first index.
    pub first: u64,
    /// The last one.
    pub last: u64,
}

impl Hour {
    /// The hour of an instant.
    pub fn of(at: Instant) -> i64 {
        at.unix_timestamp().div_euclid(3600)
    }
}

/// What a patient is filed under in the log, by [`filing_number`], and the index of an event.
pub type FiledSubject = (i64, u64);

/// The number that a patient is filed under: the first eight bytes of the keyed hash. `None` for text that is no hash.
pub fn filing_number(hash: &str) -> Option<i64> {
    let digits = hash.get(..16).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok().map(u64::cast_signed)
}

/// What is due: what was put off until `now` or before, and what was put off until after `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The time.
    pub now: Instant,
    /// The latest time until which anything is put off now. What is put off for longer was put off by a clock that was ahead
    /// and has been set back since: it would wait for as long as the clock was ahead.
    pub latest: Instant,
}

impl Window {
    /// At `now`, where nothing is put off for longer than `longest`.
    pub fn new(now: Instant, longest: std::time::Duration) -> Window {
        // Instants are kept in whole milliseconds.
        Window { now, latest: now + longest + std::time::Duration::from_secs(1) }
    }
}

/// Which messages to list; `None` stands for any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<State>,
    /// For this recipient.
    pub recipient: Option<PartyId>,
    /// Over this of its routes.
    pub route: Option<u16>,
    /// Of this interface.
    pub interface: Option<InterfaceName>,
}

/// How many messages stand where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// For whom.
    pub recipient: PartyId,
    /// In which state.
    pub state: State,
    /// How many.
    pub messages: u64,
}

/// A message beside every event about it, read in one snapshot.
#[derive(Clone, Debug)]
pub struct History {
    /// Its place in the order of acceptance, from 1.
    pub position: u64,
    /// The message.
    pub record: MessageRecord,
    /// Its events, oldest first.
    pub events: Vec<StoredEvent>,
    /// The review that it must get, if it was sent without consent.
    pub review: Option<ReviewRecord>,
    /// The answers to it, in the order in which they came.
    pub answers: Vec<AnswerRecord>,
    /// Its handover, with the steps that led there.
    pub handover: Option<(HandoverRecord, Vec<HandoverEntry>)>,
}

/// A sealed part: of which message, or in which slot of an answer, and which one.
pub type Part = (MessageId, Content);
/// A sealed part, opened; `None` when it is not there.
pub type Opened = Result<Option<Vec<u8>>, Error>;

/// A signed head of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// How many events it covers.
    pub size: u64,
    /// The signed note.
    pub note: Vec<u8>,
    /// The roots of the complete subtrees of the log at that size, largest first: 32 bytes each. What the next
    /// checkpoint starts from; checked against the note's root before use.
    pub frontier: Vec<u8>,
}

/// What a witness cosigned of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCosignature {
    /// How many events the signed head covers.
    pub size: u64,
    /// The name and the id of the witness's key.
    pub witness: String,
    /// The signature line, without its line break.
    pub line: String,
    /// When it was received; the line says when the witness cosigned.
    pub received_at: Instant,
}

/// What tells one cosignature from another: the size of the head, and the witness's key.
pub type CosignatureKey = (u64, String);

/// The root over 256, 65,536, … neighbouring leaves of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subtree {
    /// 1 for 256 leaves, 2 for 65,536, and so on.
    pub level: u8,
    /// How many subtrees of that level lie before it.
    pub position: u64,
    /// Its root.
    pub hash: [u8; 32],
}

/// The parts of a message that are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The Bundle as sent.
    Payload,
    /// The Provenance.
    Provenance,
    /// The lineage.
    Lineage,
    /// The decision to share without consent.
    Decision,
    /// The words of whoever reviewed that decision.
    Words,
    /// A partner's answer; asked for by [`AnswerRecord::slot`] in the place of a message's id.
    Answer,
    /// A referral of a partner as it came; asked for by [`InboundRecord::id`].
    Inbound,
    /// The record that was made of it.
    InboundRecord,
}

impl Content {
    /// The name of its column, which is also authenticated by its seal.
    pub fn column(self) -> &'static str {
        match self {
            Content::Payload => "payload",
            Content::Provenance => "provenance",
            Content::Lineage => "lineage",
            Content::Decision => "decision",
            Content::Words => "words",
            Content::Answer => "answer",
            Content::Inbound => "inbound-message",
            Content::InboundRecord => "inbound-record",
        }
    }
}

/// Why a store did not do it. After any error of a change, nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The disk is full, the medium fails, or the store is closing. Worth trying again later (HTTP 503).
    #[error("the store cannot write or read now: {0}")]
    Unavailable(String),
    /// There is room for no further message, for now: worth trying again later (HTTP 503).
    #[error("{0}")]
    Full(Full),
    /// Another process has the store open for writing.
    #[error("another gateway is running on this site")]
    InUse,
    /// The file was written by a newer version.
    #[error("the database has schema version {found}, this version knows up to {known}")]
    NewerSchema {
        /// In the file.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// The file is a database, but of another program.
    #[error("the file is not a Weir database")]
    Foreign,
    /// There is no database yet, and it was opened for reading only.
    #[error("there is no database at this site yet")]
    Missing,
    /// The contents were sealed with another key.
    #[error("the database was sealed with another key than the one given")]
    WrongKey,
    /// Contents were asked for, but the store was opened without the key.
    #[error("the store was opened without its key")]
    NoKey,
    /// What is stored is not what was written.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The message is not in the state that the transition starts from.
    #[error("message {message} is {found}, not {expected}")]
    Stale {
        /// Which.
        message: MessageId,
        /// What the transition asked for.
        expected: State,
        /// What it is.
        found: State,
    },
    /// No message has this id.
    #[error("there is no message {0}")]
    UnknownMessage(MessageId),
    /// No review belongs to this message.
    #[error("message {0} has no review: it was not sent without consent, or there is no such message")]
    UnknownReview(MessageId),
    /// The review has ended.
    #[error("the review of message {0} is completed")]
    ReviewClosed(MessageId),
    /// The contents of a message are not to be erased while it waits to be sent, or its review is open.
    #[error("the contents of message {message}, which is {state}, are still needed")]
    Needed {
        /// Which.
        message: MessageId,
        /// Where it stands.
        state: State,
    },
    /// The contents of a referral are not to be erased while no record system has collected it.
    #[error("the contents of referral {0}, which nobody has collected, are still needed")]
    Uncollected(MessageId),
    /// A change came without an audit event.
    #[error("message {0} came without an audit event")]
    WithoutEvent(MessageId),
    /// A change was asked of a store opened for reading.
    #[error("the store is open for reading only")]
    ReadOnly,
}

impl Error {
    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Unavailable(_) => "check free space and health of the disk under data/; the gateway tries again",
            Error::Full(Full::Disk) => "free space on the disk under data/, or lower storage.min_free_bytes",
            Error::Full(_) => "see which partner does not take its messages: `weir messages list`",
            Error::InUse => "stop the other gateway, or use another site folder",
            Error::NewerSchema { .. } => "run the version of weir that last used this site, or a newer one",
            Error::Foreign => "point the site's data folder at a folder of its own",
            Error::Missing => "start the gateway once, or check the site folder",
            Error::WrongKey | Error::NoKey => "give the key file that this site was created with",
            Error::Damaged(_) => "run `weir audit verify`, and restore the last good backup",
            Error::Stale { .. } => "read the message again before changing it",
            Error::UnknownMessage(_) => "check the id",
            Error::UnknownReview(_) => "check the id; `weir review list` shows the reviews",
            Error::ReviewClosed(_) => "a finding stands; report a further concern as an incident",
            Error::Needed { .. } => "wait until it is delivered and reviewed, or cancel it first",
            Error::Uncollected(_) => "wait until the record system has collected it: `GET /inbound` lists what waits",
            Error::WithoutEvent(_) => "this is a fault in the gateway; report it",
            Error::ReadOnly => "open the site with the gateway stopped",
        }
    }

    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::Full(_))
    }
}

/// Where messages and audit events are kept. See the module for what every implementation promises.
pub trait Store: Send + Sync + 'static {
    /// Accepts a message with its events, at least one, which must be about it; [`Error::Full`] when there is no room.
    fn accept(&self, message: NewMessage, events: Vec<Event>) -> Reply<'_, Accepted>;

    /// Whether there may be room for one more message: the same answer as [`Store::accept`] would give, unless that changes
    /// meanwhile. Costs nothing while there was room the last time.
    fn room(&self) -> Reply<'_, ()>;

    /// The damaged rows that were met. What asks for many rows leaves them out.
    fn damage(&self) -> &Damage;

    /// What waits, what is left, and whether what is written is kept.
    fn load(&self) -> Reply<'_, Load>;

    /// Writes as much as a message takes and removes it, to see whether writing works. [`Load::failing`] is over when it does:
    /// that something smaller can be written says little on a disk that is nearly full.
    fn probe(&self) -> Reply<'_, ()>;

    /// Moves a message on, with the event that says so.
    fn transition(&self, transition: Transition) -> Reply<'_, ()>;

    /// Writes an event that no other change belongs to, and gives its index.
    fn append(&self, event: Event) -> Reply<'_, u64>;

    /// Performs an act once.
    fn perform(&self, act: Act) -> Reply<'_, Performed>;

    /// Every approval, each role and person once a version and file; the first of several.
    fn approvals(&self) -> Reply<'_, Vec<Approval>>;

    /// Messages for `recipient` on one of its routes whose time has come, the most urgent first, of those of one priority the
    /// longest due; none that has an order key and an earlier one with the same to wait for. Reads no other recipient's messages.
    fn due(&self, recipient: &PartyId, route: u16, window: Window, limit: usize) -> Reply<'_, Vec<MessageRecord>>;

    /// When the next message for `recipient` on one of its routes is due that waits for no earlier one.
    fn next_due(&self, recipient: &PartyId, route: u16) -> Reply<'_, Option<Instant>>;

    /// Puts messages for `recipient` that wait on a route beyond `last` on that one; how many there were.
    fn bring_back(&self, recipient: &PartyId, last: u16) -> Reply<'_, usize>;

    /// One message.
    fn message(&self, id: MessageId) -> Reply<'_, Option<MessageRecord>>;

    /// Messages, the newest first.
    fn messages(&self, filter: Filter, limit: usize) -> Reply<'_, Vec<MessageRecord>>;

    /// Messages whose time to be looked at has come, the longest due first.
    fn alerts_due(&self, now: Instant, limit: usize) -> Reply<'_, Vec<MessageRecord>>;

    /// Messages that are still to be looked at and whose time began later than `now`: the clock has been set back since.
    fn accepted_later(&self, now: Instant, limit: usize) -> Reply<'_, Vec<MessageRecord>>;

    /// Does what is to be done about a message; whether it was done now: not when it moved on or was looked at meanwhile.
    fn raise(&self, raised: Raised) -> Reply<'_, bool>;

    /// How many messages stand in which state, by recipient.
    fn counts(&self) -> Reply<'_, Vec<Count>>;

    /// One sealed part of a message, opened; `None` when there is no such message or the part was erased.
    fn content(&self, id: MessageId, content: Content) -> Reply<'_, Option<Vec<u8>>>;

    /// Several sealed parts as [`Store::content`] gives them, each with what came of it, in order.
    fn contents(&self, parts: Vec<Part>) -> Reply<'_, Vec<Opened>>;

    /// Envelopes after a number, in order.
    fn envelopes(&self, after: u64, limit: usize) -> Reply<'_, Vec<Envelope>>;

    /// Envelopes after a number that have a key and whose retention has ended at `now`, in order.
    fn ended_envelopes(&self, now: Instant, after: u64, limit: usize) -> Reply<'_, Vec<Ended>>;

    /// Destroys the key of an envelope, with the event that says so. Whether it was done now: not twice, and not while something
    /// needs it; nothing is written then.
    fn destroy_envelope(&self, number: u64, at: Instant, event: Event) -> Reply<'_, bool>;

    /// Gives back the room of what lies in destroyed envelopes; of how many messages, `limit` at most.
    fn clear_destroyed(&self, limit: usize) -> Reply<'_, usize>;

    /// Leaves no trace in the store's files of keys and contents that were destroyed or erased, if there may be any: whenever it was
    /// opened, and since something was. Whether none is left: not while somebody reads what was there before.
    fn leave_no_trace(&self) -> Reply<'_, bool>;

    /// The text with this SHA-256, as it is stored: whoever asks compares.
    fn text(&self, digest: [u8; 32]) -> Reply<'_, Option<Vec<u8>>>;

    /// Messages that an answer may call so, in whatever letters.
    fn named(&self, name: &str) -> Reply<'_, Vec<MessageRecord>>;

    /// The message of which a carrier calls a copy so.
    fn carried(&self, id: &str) -> Reply<'_, Option<MessageRecord>>;

    /// What carriers call the copies of a message that they took, the last one last.
    fn carrier_ids(&self, id: MessageId) -> Reply<'_, Vec<String>>;

    /// Messages that an earlier version accepted, which kept no names, the newest first.
    fn nameless(&self, limit: usize) -> Reply<'_, Vec<MessageId>>;

    /// Keeps what an answer may call messages that an earlier version accepted.
    fn name(&self, named: Vec<(MessageId, Vec<String>)>) -> Reply<'_, ()>;

    /// Keeps a partner's answer once, with its events and what it changes.
    fn take_answer(&self, answer: NewAnswer) -> Reply<'_, Kept>;

    /// The answers to one message, in the order in which they came.
    fn answers_of(&self, id: MessageId) -> Reply<'_, Vec<AnswerRecord>>;

    /// Keeps a partner's referral once, with its event.
    fn receive(&self, inbound: NewInbound) -> Reply<'_, Received>;

    /// One referral.
    fn inbound(&self, id: MessageId) -> Reply<'_, Option<InboundRecord>>;

    /// Referrals that wait to be collected, or all, in the order that [`Listed`] says.
    fn inbounds(&self, listed: Listed, limit: usize) -> Reply<'_, Vec<InboundRecord>>;

    /// Referrals after a place in the order of arrival, the oldest first, each with its place, from 1.
    fn referrals(&self, after: u64, limit: usize) -> Reply<'_, Vec<(u64, InboundRecord)>>;

    /// Notes that a referral was collected, with the event that says so; whether it was noted now: not twice, and nothing is written then.
    fn collect_inbound(&self, collection: Collection) -> Reply<'_, bool>;

    /// Referrals that wait and whose time to be looked at has come, the longest due first.
    fn inbound_due(&self, now: Instant, limit: usize) -> Reply<'_, Vec<InboundRecord>>;

    /// Referrals after a place that wait, are still to be looked at and came later than `now`, each with its place: the clock has been
    /// set back since.
    fn inbound_later(&self, now: Instant, after: Place, limit: usize) -> Reply<'_, Vec<(Place, InboundRecord)>>;

    /// Notes what came of looking at a referral; whether it was noted now: not when it was collected or looked at meanwhile.
    fn look_at_inbound(&self, look: InboundLook) -> Reply<'_, bool>;

    /// How many referrals wait at `now`, by interface and priority.
    fn inbound_counts(&self, now: Instant) -> Reply<'_, Vec<InboundCount>>;

    /// Events from index `from` on, in order.
    fn events(&self, from: u64, limit: usize) -> Reply<'_, Vec<StoredEvent>>;

    /// The events about one message, oldest first.
    fn events_of(&self, id: MessageId) -> Reply<'_, Vec<StoredEvent>>;

    /// The first event about one message: that it was accepted.
    fn first_event_of(&self, id: MessageId) -> Reply<'_, Option<StoredEvent>>;

    /// Events about a patient, by keyed hash, with an index below `before`: the newest first. Others whose hash begins alike
    /// may be among them.
    fn events_about(&self, subject: &str, before: u64, limit: usize) -> Reply<'_, Vec<StoredEvent>>;

    /// Events with an index from `from` on and below `before`: the newest first.
    fn events_back(&self, from: u64, before: u64, limit: usize) -> Reply<'_, Vec<StoredEvent>>;

    /// The hours from one to another, both included, in which events were recorded.
    fn hours(&self, from: i64, to: i64) -> Reply<'_, Vec<Hour>>;

    /// What is filed by patient after a row, in order.
    fn filed_subjects(&self, after: FiledSubject, limit: usize) -> Reply<'_, Vec<FiledSubject>>;

    /// One more than the index of the last event.
    fn event_count(&self) -> Reply<'_, u64>;

    /// Messages accepted after `position`, oldest first, each with its events.
    fn histories(&self, after: u64, limit: usize) -> Reply<'_, Vec<History>>;

    /// Those of `ids` that no message has.
    fn absent(&self, ids: Vec<MessageId>) -> Reply<'_, Vec<MessageId>>;

    /// Hashes of the leaves from index `from` on, in order.
    fn leaves(&self, from: u64, limit: usize) -> Reply<'_, Vec<[u8; 32]>>;

    /// Keeps a signed head, and the subtrees that became complete since the last one. One is kept for each size and place; a second
    /// changes nothing.
    fn store_checkpoint(&self, checkpoint: StoredCheckpoint, subtrees: Vec<Subtree>) -> Reply<'_, ()>;

    /// Subtrees of one level from a position on, in order.
    fn subtrees(&self, level: u8, from: u64, limit: usize) -> Reply<'_, Vec<Subtree>>;

    /// Signed heads that cover more than `after` events, the smallest first.
    fn checkpoints(&self, after: u64, limit: usize) -> Reply<'_, Vec<StoredCheckpoint>>;

    /// The newest signed head.
    fn last_checkpoint(&self) -> Reply<'_, Option<StoredCheckpoint>>;

    /// Keeps what a witness cosigned of a signed head that is kept. One is kept for each head and key; a second changes nothing.
    fn store_cosignature(&self, cosignature: StoredCosignature) -> Reply<'_, ()>;

    /// How many cosignatures were kept so far.
    fn cosignature_count(&self) -> Reply<'_, u64>;

    /// Cosignatures after one of them, in order of size and witness.
    fn cosignatures(&self, after: CosignatureKey, limit: usize) -> Reply<'_, Vec<StoredCosignature>>;

    /// The cosignatures of the head over `size` events.
    fn cosignatures_of(&self, size: u64) -> Reply<'_, Vec<StoredCosignature>>;

    /// The one of the largest head that a key of a witness cosigned.
    fn last_cosignature(&self, witness: &str) -> Reply<'_, Option<StoredCosignature>>;

    /// The largest signed head that any witness cosigned.
    fn last_cosigned(&self) -> Reply<'_, Option<StoredCheckpoint>>;

    /// Reviews: those that are open, the first due first; then, unless `open_only`, the others, the newest first.
    fn reviews(&self, open_only: bool, limit: usize) -> Reply<'_, Vec<ReviewRecord>>;

    /// The review of one message.
    fn review(&self, id: MessageId) -> Reply<'_, Option<ReviewRecord>>;

    /// How many reviews stand where at `now`.
    fn review_counts(&self, now: Instant) -> Reply<'_, ReviewCounts>;

    /// Open reviews that are overdue at `now` and were not said to be.
    fn newly_overdue(&self, now: Instant, limit: usize) -> Reply<'_, Vec<ReviewRecord>>;

    /// When the next open review that was not said to be overdue is due.
    fn next_review_due(&self) -> Reply<'_, Option<Instant>>;

    /// Says that a review is overdue since `at`, with the event that says so. Whether it was said now: not twice, not
    /// before its deadline, not once it is completed; nothing is written then.
    fn mark_overdue(&self, id: MessageId, at: Instant, event: Event) -> Reply<'_, bool>;

    /// The handover of one message; `None` when none was opened.
    fn handover(&self, id: MessageId) -> Reply<'_, Option<HandoverRecord>>;

    /// The steps of one message's handover, in order.
    fn handover_steps(&self, id: MessageId) -> Reply<'_, Vec<HandoverEntry>>;

    /// Handovers, in any state or one: those that wait, the first due first; then the others, the newest first.
    fn handovers(&self, state: Option<HandoverState>, limit: usize) -> Reply<'_, Vec<HandoverRecord>>;

    /// Handovers of which people are to be told at once, and those whose time has come, the longest due first.
    fn handovers_due(&self, now: Instant, limit: usize) -> Reply<'_, Vec<HandoverRecord>>;

    /// Handovers after a place that are still to be looked at and came to where they stand later than `now`, each with its place: the
    /// clock has been set back since.
    fn handovers_later(&self, now: Instant, after: Place, limit: usize) -> Reply<'_, Vec<(Place, HandoverRecord)>>;

    /// How many handovers stand where.
    fn handover_counts(&self) -> Reply<'_, Vec<HandoverCount>>;

    /// Writes a step of a handover; whether it was written now: not when the handover moved on meanwhile.
    fn step_handover(&self, step: HandoverStep) -> Reply<'_, bool>;

    /// Notices whose time has come, the longest due first; `limit` at most to each place: to one webhook, into the spool folder, to the
    /// log. However many wait for one place, those to another are among them.
    fn notices_due(&self, window: Window, limit: usize) -> Reply<'_, Vec<NoticeRecord>>;

    /// When the next notice is due.
    fn next_notice(&self) -> Reply<'_, Option<Instant>>;

    /// The notices about one message, in the order they were made.
    fn notices_of(&self, id: MessageId) -> Reply<'_, Vec<NoticeRecord>>;

    /// Notes what an attempt at a notice came to; the event of a delivery is written with it, and only once.
    fn step_notice(&self, step: NoticeStep) -> Reply<'_, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_from_its_name() {
        for state in State::ALL {
            assert_eq!(state.code().parse(), Ok(state));
        }
        assert!("Queued".parse::<State>().is_err());
    }

    #[test]
    fn contents_do_not_show_under_debug() {
        let new = NewMessage {
            id: "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID"),
            sender: "DEMOP".parse().expect("an ODS code"),
            interface: "crisis-escalation".parse().expect("a name"),
            recipient: "RXT01".parse().expect("an ODS code"),
            agreement: "demo-trust-crisis".parse().expect("a name"),
            retention_days: 30,
            digest: [0; 32],
            accepted_at: time::macros::datetime!(2026-01-01 00:00 UTC),
            payload: b"Chantal".to_vec(),
            provenance: b"Chantal".to_vec(),
            lineage: b"Chantal".to_vec(),
            glossary: Arc::new(Text { digest: [0; 32], bytes: vec![] }),
            review: None,
            handling: Handling::default(),
            names: vec![],
            beginning: None,
        };
        let shown = format!("{new:?}");
        assert!(shown.contains("RXT01") && !shown.contains("67, 104") && !shown.contains("Chantal"), "{shown}");
    }
}
