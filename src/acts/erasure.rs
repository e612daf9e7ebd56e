//! An order to erase what is kept about a person (UK GDPR Article 17): what can be erased, and what is kept and why.
//!
//! Enters: the person, by keyed hash. Leaves: each message about them, and each referral that a partner sent, with its [`Fate`]. Erased
//! are the contents: the Bundle, its lineage, a decision to share without consent with its review, answers; of a referral the message
//! that came, and the record that was made of it. Kept are the audit log and the Provenances, which hold
//! ids, codes and keyed hashes: they are the account of what was disclosed (Articles 5(2) and 17(3)(b)).

use serde_json::{Value, json};

use crate::audit::event::kind;
use crate::audit::referral_of;
use crate::fhir::audit_event::RecordedEvent;
use crate::fhir::{Instant, instant_text};
use crate::identity::keyed_hash::KeyedHash;
use crate::identity::{MessageId, PartyId};
use crate::storage::{Content, Error, InboundRecord, MAY_COME_BACK, MessageRecord, Part, State, Store};

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
    /// They are kept, since no record system has collected the referral.
    Uncollected,
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
            Fate::Uncollected => Some(
                "no record system has collected it yet, and nobody else knows of it: order the erasure again when one has",
            ),
        }
    }
}

/// What is kept about the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A message that was accepted to be sent.
    Message(MessageRecord),
    /// A referral that a partner sent.
    Referral(InboundRecord),
}

/// A message or a referral about the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Which.
    pub kept: Kept,
    /// What becomes of its contents.
    pub fate: Fate,
}

impl About {
    /// The id of the message, or of the referral here.
    pub fn id(&self) -> MessageId {
        match &self.kept {
            Kept::Message(record) => record.id,
            Kept::Referral(record) => record.id,
        }
    }

    /// When it was accepted, or came.
    pub fn since(&self) -> Instant {
        match &self.kept {
            Kept::Message(record) => record.accepted_at,
            Kept::Referral(record) => record.received_at,
        }
    }

    /// Who received it from us; nobody received a referral that came.
    pub fn recipient(&self) -> Option<&PartyId> {
        match &self.kept {
            Kept::Message(record) => Some(&record.recipient),
            Kept::Referral(_) => None,
        }
    }

    /// As the record of the erasure names it: ids, codes and times.
    pub fn summary(&self) -> Value {
        match &self.kept {
            Kept::Message(MessageRecord { id, interface, recipient, agreement, accepted_at, state, .. }) => json!({
                "message": id.to_string(),
                "interface": interface.as_str(),
                "recipient": recipient.as_str(),
                "agreement": agreement.as_str(),
                "acceptedAt": instant_text(*accepted_at),
                "state": state.code(),
            }),
            Kept::Referral(record) => json!({
                "referral": record.id.to_string(),
                "interface": record.interface.as_str(),
                "sender": record.sender.as_str(),
                "receivedAt": instant_text(record.received_at),
                "state": record.state(),
            }),
        }
    }
}

/// Every message that was accepted about a person, and every referral that came about them, the newest first.
///
/// # Errors
/// When the store cannot read.
pub async fn all_about(store: &dyn Store, subject: &KeyedHash, now: Instant) -> Result<Vec<About>, Error> {
    let (mut found, mut before) = (Vec::new(), u64::MAX);
    loop {
        let page = store.events_about(subject.as_str(), before, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        before = last.seq;
        for stored in &page {
            let Some(said) = RecordedEvent::read(&stored.event.bytes) else { continue };
            if said.subject() != Some(subject.as_str()) {
                continue;
            }
            if said.is(kind::MESSAGE_ACCEPTED)
                && let Some(message) = said.message()
                && let Some(record) = store.message(message).await?
            {
                let fate = fate(store, &record, now).await?;
                found.push(About { kept: Kept::Message(record), fate });
            }
            if said.is(kind::REFERRAL_RECEIVED)
                && let Some(referral) = referral_of(&said)
                && let Some(record) = store.inbound(referral).await?
            {
                let fate = fate_of_referral(store, &record).await?;
                found.push(About { kept: Kept::Referral(record), fate });
            }
        }
    }
}

async fn fate_of_referral(store: &dyn Store, record: &InboundRecord) -> Result<Fate, Error> {
    if record.collected.is_none() {
        return Ok(Fate::Uncollected);
    }
    is_there(store, [Content::Inbound, Content::InboundRecord].map(|part| (record.id, part)).into()).await
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
    is_there(store, own.into_iter().chain(answers).collect()).await
}

/// Whether any of these can be erased.
async fn is_there(store: &dyn Store, parts: Vec<Part>) -> Result<Fate, Error> {
    // What does not open is there all the same.
    let is_there = |part: &Result<Option<Vec<u8>>, Error>| !matches!(part, Ok(None));
    Ok(if store.contents(parts).await?.iter().any(is_there) { Fate::Erasable } else { Fate::Gone })
}

/// Those of `found` whose contents can be erased.
pub(super) fn erasable(found: &[About]) -> impl Iterator<Item = &About> {
    found.iter().filter(|about| about.fate == Fate::Erasable)
}
