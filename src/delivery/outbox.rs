//! Attested → [`Queued`]: the message on disk, with its audit events, before anyone is told that it was accepted.

use crate::disclosure::Disclosable;
use crate::fhir::message::Message;
use crate::fhir::{ElementPath, Instant};
use crate::identity::{MessageId, PartyId};
use crate::provenance::Attested;
use crate::storage::{self, Accepted, Event, Full, Handling, MessageRecord, NewMessage, NewReview, State, Store};

/// A message that is on disk and will be delivered, or a person will be told.
///
/// Only [`enqueue`] makes one, after the store has synced.
#[derive(Debug)]
pub struct Queued {
    message: MessageId,
    recipient: PartyId,
    state: State,
    is_repeat: bool,
    has_begun: bool,
    lacks: Vec<ElementPath>,
}

impl Queued {
    /// The message's id.
    pub fn message(&self) -> MessageId {
        self.message
    }

    /// Who it goes to.
    pub fn recipient(&self) -> &PartyId {
        &self.recipient
    }

    /// Where it stands: `accepted`, or further on when it is a repeat.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it had been accepted before.
    pub fn is_repeat(&self) -> bool {
        self.is_repeat
    }

    /// Whether its first attempt began with it.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// What its record lacks of what is essential.
    pub fn lacks(&self) -> &[ElementPath] {
        &self.lacks
    }

    /// The same, with what its record lacks.
    #[must_use]
    pub fn lacking(self, lacks: Vec<ElementPath>) -> Queued {
        Queued { lacks, ..self }
    }

    /// A submission that repeats what is stored as `record`.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the stored message came from another record.
    pub fn repeat(record: &MessageRecord, digest: &[u8; 32]) -> Result<Queued, Error> {
        if record.digest != *digest {
            return Err(Error::Conflict);
        }
        let (message, recipient, state) = (record.id, record.recipient.clone(), record.state);
        Ok(Queued { message, recipient, state, is_repeat: true, has_begun: false, lacks: Vec::new() })
    }
}

/// Why an attested message was not queued. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key, or what identifies the record by itself, was used for another one.
    #[error("the Idempotency-Key, or the record's own id and version, was used before for other content")]
    Conflict,
    /// No partner file names the recipient.
    #[error("no route leads to {recipient}")]
    NoRoute {
        /// Who it is for.
        recipient: PartyId,
    },
    /// There is no room for it, for now.
    #[error("{0}")]
    Full(Full),
    /// The store could not write.
    #[error("the message could not be stored")]
    Store(#[source] storage::Error),
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Error {
        match error {
            storage::Error::Full(full) => Error::Full(full),
            error => Error::Store(error),
        }
    }
}

impl Error {
    /// What the sender can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Conflict => "use a new Idempotency-Key, or a new version, for a new or changed record",
            Error::NoRoute { .. } => "check the recipient's ODS code in the record, or ask the operator for a route",
            Error::Full(_) | Error::Store(_) => "send the same record again in a few seconds; nothing was accepted",
        }
    }
}

/// The review that a message must get because it is sent on a decision, without consent.
fn review(disclosable: &Disclosable) -> Option<NewReview> {
    let decision = disclosable.ground().decision()?;
    let terms = disclosable.interface()?.override_rule()?;
    Some(NewReview {
        reviewer: terms.reviewer.word().to_owned(),
        purpose: decision.purpose.clone(),
        basis: decision.basis.clone(),
        due_at: decision.due(),
        decision: serde_json::to_vec(decision).expect("a decision has only texts, lists and booleans"),
    })
}

/// What an answer may call the message, and an update of its Task.
fn names(disclosable: &Disclosable) -> Vec<String> {
    Message::of(disclosable.bundle()).map(Message::all_names).unwrap_or_default()
}

/// Writes the message and the events that `account` makes of it in one transaction, synced to disk before this returns. `account` may let
/// its first attempt begin.
///
/// # Errors
/// [`Error`]; nothing was written then.
pub async fn enqueue(
    store: &dyn Store,
    attested: Attested,
    (accepted_at, handling): (Instant, Handling),
    account: impl FnOnce(&mut NewMessage) -> Vec<Event>,
) -> Result<Queued, Error> {
    let disclosable = attested.disclosable();
    let received = attested.received();
    let agreement = disclosable.agreement();
    let (message, recipient) = (received.message(), agreement.recipient().ods.clone());
    let digest = received.sameness();
    let mut new = NewMessage {
        id: message,
        sender: received.sender().clone(),
        interface: received.interface().clone(),
        recipient: recipient.clone(),
        agreement: agreement.id().clone(),
        retention_days: agreement.retention_days(),
        digest,
        accepted_at,
        payload: attested.bundle_bytes().to_vec(),
        provenance: attested.provenance().as_bytes().to_vec(),
        lineage: attested.lineage_bytes().to_vec(),
        glossary: attested.glossary().clone(),
        review: review(disclosable),
        handling,
        names: names(disclosable),
        beginning: None,
    };
    let events = account(&mut new);
    let queued = |has_begun| {
        let (state, is_repeat, lacks) = (State::Accepted, false, Vec::new());
        Queued { message, recipient, state, is_repeat, has_begun, lacks }
    };
    match store.accept(new, events).await? {
        Accepted::New => Ok(queued(false)),
        Accepted::Begun => Ok(queued(true)),
        Accepted::Repeated(record) => Queued::repeat(&record, &digest),
        Accepted::Conflict => Err(Error::Conflict),
    }
}
