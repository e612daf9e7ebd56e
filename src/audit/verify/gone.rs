//! What is gone because it was erased, by the events: so that what is gone otherwise shows.

use std::collections::{BTreeMap, BTreeSet};

use super::super::erasure::destroyed;
use super::super::event::kind;
use super::{Fault, PAGE, Told};
use crate::fhir::Instant;
use crate::fhir::audit_event::RecordedEvent;
use crate::identity::MessageId;
use crate::storage::{Content, Envelope, Error, History, Store};

/// What events say was destroyed and erased.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// The envelopes whose keys were destroyed, by number.
    envelopes: BTreeMap<u64, Destroyed>,
    /// Their agreements and days.
    days: BTreeSet<(String, i64)>,
    /// Messages that were erased while the verification ran.
    lately: BTreeSet<MessageId>,
}

/// What an event says of an envelope whose key was destroyed.
#[derive(Debug)]
struct Destroyed {
    agreement: String,
    day: i64,
    at: Instant,
    seq: u64,
}

impl Gone {
    /// Notes what an event says.
    pub(super) fn note(&mut self, said: &RecordedEvent<'_>, seq: u64) {
        if let Some((number, agreement, day)) = destroyed(said) {
            self.days.insert((agreement.clone(), day));
            self.envelopes.entry(number).or_insert(Destroyed { agreement, day, at: said.at(), seq });
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
            self.envelopes.get(&envelope.number).is_some_and(|Destroyed { agreement, day, at, .. }| {
                let row = (envelope.agreement.as_str(), envelope.day, envelope.destroyed_at);
                (&**agreement, *day, Some(*at)) == row
            })
        };
        let unsaid = envelopes.iter().filter(is_destroyed).filter(|envelope| !told(envelope));
        let unsaid = unsaid.map(|envelope| Fault::EnvelopeUnsaid { number: envelope.number });
        let gone: BTreeSet<u64> = envelopes.iter().filter(is_destroyed).map(|envelope| envelope.number).collect();
        let kept = self.envelopes.iter().filter(|(number, it)| it.seq < before && !gone.contains(number));
        unsaid.chain(kept.map(|(number, it)| Fault::EnvelopeKept { number: *number, seq: it.seq })).collect()
    }

    /// Whether the events say that a part of a message is gone.
    pub(super) fn holds(&self, history: &History, said: &Told<'_>, part: Content) -> bool {
        if part == Content::Provenance {
            return false;
        }
        let message = history.record.id;
        if self.lately.contains(&message) || is_erased(said) {
            return true;
        }
        let accepted = said.first().map(|(_, accepted)| accepted.at());
        let days = match part {
            Content::Words => history.review.iter().filter_map(|it| Some(it.completed.as_ref()?.at)).collect(),
            Content::Answer => history.answers.iter().map(|answer| answer.received_at).collect(),
            _ => accepted.into_iter().collect::<Vec<_>>(),
        };
        let agreement = history.record.agreement.as_str();
        days.into_iter().any(|at| self.days.contains(&(agreement.to_owned(), Envelope::day_of(at))))
    }
}

/// Whether a message's events say that its contents were erased.
pub(super) fn is_erased(said: &Told<'_>) -> bool {
    said.iter().any(|(_, said)| said.is(kind::MESSAGE_ERASED))
}
