//! What is kept of a partner's answer that came by itself: the answer, sealed, and what it says in codes and paths.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Event, HandoverStep, Transition};
use crate::fhir::Instant;
use crate::identity::{MessageId, PartyId};

/// An answer to be kept, with what it changes. All of it is written, or nothing.
pub struct NewAnswer {
    /// The message that it answers.
    pub message: MessageId,
    /// Who answers.
    pub sender: PartyId,
    /// What it is called: its `Bundle.id`, in lower case.
    pub id: String,
    /// SHA-256 of the answer.
    pub digest: [u8; 32],
    /// When it came.
    pub received_at: Instant,
    /// When it was written, as it says itself.
    pub written_at: Option<Instant>,
    /// What it says.
    pub says: Says,
    /// The answer, to be sealed.
    pub body: Vec<u8>,
    /// What the audit log says of it.
    pub event: Event,
    /// The message's next state, if it takes one.
    pub step: Option<Transition>,
    /// What it changes of the message's handover, one step after the other.
    pub handover: Vec<HandoverStep>,
}

impl fmt::Debug for NewAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAnswer").field("message", &self.message).field("says", &self.says).finish_non_exhaustive()
    }
}

impl NewAnswer {
    /// See [`answer_slot`].
    pub(super) fn slot(&self) -> MessageId {
        answer_slot(self.message, &self.sender, &self.id)
    }
}

/// Where an answer is sealed: no two answers to one message can change places.
pub fn answer_slot(message: MessageId, sender: &PartyId, id: &str) -> MessageId {
    MessageId::from(Uuid::new_v5(&message.uuid(), format!("answer {sender} {id}").as_bytes()))
}

/// What an answer says, in codes and element paths: no values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Says {
    /// `accepted`, `rejected`, `information-missing`, `try-again`, or `failed`: the partner's system could not process the message.
    pub verdict: String,
    /// `MessageHeader.response.code`; of a Task that was updated, its status.
    pub code: String,
    /// Why, in codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What the partner misses: element paths, and codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks_for: Vec<String>,
    /// What it did to the handover: `accepted`, `contacted` or `rejected`; `unnamed`, an acceptance that names nobody, and
    /// `conflict`, which contradicts an earlier one: these did nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<String>,
}

/// An answer that is kept, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRecord {
    /// Who answered.
    pub sender: PartyId,
    /// What it is called.
    pub id: String,
    /// Under which name its content is sealed: see [`super::Content::Answer`].
    pub slot: MessageId,
    /// SHA-256 of the answer.
    pub digest: [u8; 32],
    /// When it came.
    pub received_at: Instant,
    /// When it was written, as it says itself.
    pub written_at: Option<Instant>,
    /// What it says.
    pub says: Says,
}

/// What became of a [`NewAnswer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on disk with its events, and what it changes.
    Now,
    /// The same answer was kept before; nothing was written.
    Before,
    /// Another answer of the same sender was kept before under this name; nothing was written.
    Conflict,
}
