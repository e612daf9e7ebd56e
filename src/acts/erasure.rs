//! An order to erase what is kept about a person (UK GDPR Article 17): what can be erased, and what is kept and why.
//!
//! Enters: the person, by keyed hash. Leaves: each message about them with its [`Fate`]. Erased are the contents: the Bundle,
//! its lineage, a decision to share without consent with its review, answers. Kept are the audit log and the Provenances, which hold
//! ids, codes and keyed hashes: they are the account of what was disclosed (Articles 5(2) and 17(3)(b)).

use serde_json::{Value, json};

use crate::audit::event::kind;
use crate::fhir::audit_event::RecordedEvent;
use crate::fhir::{Instant, instant_text};
use crate::identity::MessageId;
use crate::identity::keyed_hash::KeyedHash;
use crate::storage::{Content, Error, MAY_COME_BACK, MessageRecord, State, Store};

/// Events read at a time.
const PAGE: usize = 512;

/// What becomes of the contents of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They can be erased.
    Erasable,
    /// They are gone: erased before, or their retention has ended.
    Gone,
    /// They are kept, since the message waits to be sent.
    Waits,
    /// They are kept, since the recipient may still ask for the message again.
    Unanswered,
    /// They are kept, since the review of a sharing without consent is open.
    UnderReview,
}

impl Fate {
    /// Why contents are kept, and until when; `None` for those that are not.
    pub fn why_kept(self) -> Option<&'static str> {
        match self {
            Fate::Erasable | Fate::Gone => None,
            Fate::Waits => {
                Some("it is still to be delivered: cancel it, or order the erasure again when it has arrived")
            }
            Fate::Unanswered => Some(
                "its recipient has not answered yet, and may ask for it again: order the erasure again when it has, or after 30 days",
            ),
            Fate::UnderReview => Some(
                "its sharing without consent is under review: order the erasure again when the review is completed",
            ),
        }
    }
}

/// A message about the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The message.
    pub record: MessageRecord,
    /// What becomes of its contents.
    pub fate: Fate,
}

impl About {
    /// The message as the record of the erasure names it: ids, codes and times.
    pub fn summary(&self) -> Value {
        let MessageRecord { id, interface, recipient, agreement, accepted_at, state, .. } = &self.record;
        json!({
            "message": id.to_string(),
            "interface": interface.as_str(),
            "recipient": recipient.as_str(),
            "agreement": agreement.as_str(),
            "acceptedAt": instant_text(*accepted_at),
            "state": state.code(),
        })
    }
}

/// Every message that was accepted about a person, the newest first.
///
/// # Errors
/// When the store cannot read.
pub async fn messages_about(store: &dyn Store, subject: &KeyedHash, now: Instant) -> Result<Vec<About>, Error> {
    let (mut found, mut before) = (Vec::new(), u64::MAX);
    loop {
        let page = store.events_about(subject.as_str(), before, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        before = last.seq;
        for stored in &page {
            let Some(said) = RecordedEvent::read(&stored.event.bytes) else { continue };
            let Some(message) = said.message().filter(|_| said.is(kind::MESSAGE_ACCEPTED)) else { continue };
            if said.subject() != Some(subject.as_str()) {
                continue;
            }
            if let Some(record) = store.message(message).await? {
                let fate = fate(store, &record, now).await?;
                found.push(About { record, fate });
            }
        }
    }
}

async fn fate(store: &dyn Store, record: &MessageRecord, now: Instant) -> Result<Fate, Error> {
    if record.state.is_waiting() {
        return Ok(Fate::Waits);
    }
    if record.state == State::Delivered && record.updated_at > now.saturating_sub(MAY_COME_BACK) {
        return Ok(Fate::Unanswered);
    }
    if store.review(record.id).await?.is_some_and(|review| review.completed.is_none()) {
        return Ok(Fate::UnderReview);
    }
    let own = [Content::Payload, Content::Lineage, Content::Decision, Content::Words].map(|part| (record.id, part));
    let answers = store.answers_of(record.id).await?;
    let answers = answers.iter().map(|answer| (answer.slot, Content::Answer));
    let parts = own.into_iter().chain(answers).collect();
    // What does not open is there all the same.
    let is_there = |part: &Result<Option<Vec<u8>>, Error>| !matches!(part, Ok(None));
    Ok(if store.contents(parts).await?.iter().any(is_there) { Fate::Erasable } else { Fate::Gone })
}

/// Those of `messages` whose contents can be erased.
pub(super) fn erasable(messages: &[About]) -> Vec<MessageId> {
    messages.iter().filter(|about| about.fate == Fate::Erasable).map(|about| about.record.id).collect()
}
