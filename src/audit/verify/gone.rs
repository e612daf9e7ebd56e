//! What is gone because it was erased, by the events: so that what is gone otherwise shows.

use std::collections::{BTreeMap, BTreeSet};

use super::super::erasure::destroyed;
use super::super::event::{detail, kind};
use super::super::inbound::referral_of;
use super::{Fault, PAGE, Told};
use crate::fhir::Instant;
use crate::fhir::audit_event::RecordedEvent;
use crate::identity::MessageId;
use crate::identity::digest::hex;
use crate::storage::{Content, Envelope, Error, History, INBOUND_REFERRALS, InboundRecord, Part, Store};

/// What events say was destroyed and erased.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// The envelopes whose keys were destroyed, by number.
    envelopes: BTreeMap<u64, Destroyed>,
    /// Their agreements and days.
    days: BTreeSet<(String, i64)>,
    /// Messages that were erased while the verification ran.
    lately: BTreeSet<MessageId>,
    /// Referrals that were erased.
    referrals: BTreeSet<MessageId>,
}

/// What an event says of an envelope whose key was destroyed.
#[derive(Debug)]
struct Destroyed {
    agreement: String,
    day: i64,
    retention_days: u32,
    at: Instant,
    seq: u64,
}

impl Gone {
    /// Notes what an event says.
    pub(super) fn note(&mut self, said: &RecordedEvent<'_>, seq: u64) {
        if let Some((number, agreement, day, retention_days)) = destroyed(said) {
            self.days.insert((agreement.clone(), day));
            let destroyed = Destroyed { agreement, day, retention_days, at: said.at(), seq };
            self.envelopes.entry(number).or_insert(destroyed);
        }
        if said.is(kind::REFERRAL_ERASED) {
            self.referrals.extend(referral_of(said));
        }
    }

    /// Reads the events from `next` on, which came while the verification ran. Gives the number of the next one.
    pub(super) async fn catch_up(&mut self, store: &dyn Store, mut next: u64) -> Result<u64, Error> {
        loop {
            let page = store.events(next, PAGE).await?;
            let Some(last) = page.last() else { return Ok(next) };
            if last.seq < next {
                return Err(Error::Damaged("the events do not rise".to_owned()));
            }
            next = last.seq + 1;
            for stored in &page {
                let Some(said) = RecordedEvent::read(&stored.event.bytes) else { continue };
                self.note(&said, stored.seq);
                self.lately.extend(said.message().filter(|_| said.is(kind::MESSAGE_ERASED)));
            }
        }
    }

    /// Compares the envelopes, as they were when the log had `before` events, with what the events say.
    pub(super) fn faults(&self, envelopes: &[Envelope], before: u64) -> Vec<Fault> {
        let is_destroyed = |envelope: &&Envelope| envelope.destroyed_at.is_some();
        let told = |envelope: &&Envelope| {
            self.envelopes.get(&envelope.number).is_some_and(
                |Destroyed { agreement, day, retention_days, at, .. }| {
                    let Envelope { agreement: of, day: on, retention_days: kept, destroyed_at, .. } = envelope;
                    (&**agreement, day, retention_days, Some(*at)) == (of.as_str(), on, kept, *destroyed_at)
                        && *at >= envelope.ends()
                },
            )
        };
        let unsaid = envelopes.iter().filter(is_destroyed).filter(|envelope| !told(envelope));
        let unsaid = unsaid.map(|envelope| Fault::EnvelopeUnsaid { number: envelope.number });
        let gone: BTreeSet<u64> = envelopes.iter().filter(is_destroyed).map(|envelope| envelope.number).collect();
        let kept = self.envelopes.iter().filter(|(number, it)| it.seq < before && !gone.contains(number));
        unsaid.chain(kept.map(|(number, it)| Fault::EnvelopeKept { number: *number, seq: it.seq })).collect()
    }

    /// Whether an event says that a referral was erased.
    pub(super) fn holds_referral(&self, id: MessageId) -> bool {
        self.referrals.contains(&id)
    }

    /// Whether the events say that what a referral said is gone.
    pub(super) fn holds_contents_of(&self, record: &InboundRecord) -> bool {
        let day = (INBOUND_REFERRALS.to_owned(), Envelope::day_of(record.received_at));
        self.holds_referral(record.id) || self.days.contains(&day)
    }

    /// Whether the events say that a part of a message is gone.
    pub(super) fn holds(&self, history: &History, said: &Told<'_>, part: Part) -> bool {
        if part.1 == Content::Provenance {
            return false;
        }
        if self.lately.contains(&history.record.id) || erased(said).is_some() {
            return true;
        }
        let stored = match part {
            (_, Content::Words) => said.iter().find(|(_, said)| said.is(kind::REVIEW_COMPLETED)),
            (slot, Content::Answer) => received(history, said, slot),
            _ => said.first(),
        };
        let agreement = history.record.agreement.as_str();
        stored.is_some_and(|(_, said)| self.days.contains(&(agreement.to_owned(), Envelope::day_of(said.at()))))
    }
}

/// The event that says that a message's contents were erased.
fn erased(said: &Told<'_>) -> Option<u64> {
    said.iter().rev().find(|(_, said)| said.is(kind::MESSAGE_ERASED)).map(|(seq, _)| *seq)
}

/// The event that says that the answer in a slot was kept.
fn received<'t, 'h>(history: &History, said: &'t Told<'h>, slot: MessageId) -> Option<&'t (u64, RecordedEvent<'h>)> {
    let digest = hex(&history.answers.iter().find(|answer| answer.slot == slot)?.digest);
    let of_it = |said: &RecordedEvent<'_>| {
        said.is(kind::ANSWER_RECEIVED) && said.detail(detail::SHA256) == Some(digest.as_str())
    };
    said.iter().find(|(_, said)| of_it(said))
}

/// Whether a part that is there was erased, by a message's events. What came after that is not.
pub(super) fn was_erased(history: &History, said: &Told<'_>, part: Part) -> bool {
    erased(said).is_some_and(|erased| match part {
        (_, Content::Provenance) => false,
        (slot, Content::Answer) => received(history, said, slot).is_some_and(|(seq, _)| *seq < erased),
        _ => true,
    })
}

/// Answers that events say were kept, and that have no row.
pub(super) fn answer_faults(history: &History, said: &Told<'_>) -> Vec<Fault> {
    let message = history.record.id;
    let digests: Vec<String> = history.answers.iter().map(|answer| hex(&answer.digest)).collect();
    let lacks = |said: &RecordedEvent<'_>| {
        let digest = said.detail(detail::SHA256).unwrap_or_default();
        said.is(kind::ANSWER_RECEIVED) && digests.iter().all(|own| own != digest)
    };
    let lost = said.iter().filter(|(_, said)| lacks(said));
    lost.map(|_| Fault::ContentMissing { message, what: Content::Answer.column() }).collect()
}
