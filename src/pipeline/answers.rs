//! What comes back by itself for a message that was delivered: its partner's answer, or a report that it did not arrive.
//!
//! Enters: what was collected from our mailbox. Leaves: the message's next state, on disk with its audit event.
//! Invariants: [`Taken::Stored`] and [`Taken::Settled`] are said when nothing more is to be kept of what was collected, so
//! that it may be acknowledged; correlation is by id alone: an answer by the id that it names in its MessageHeader, a
//! report by our own id, which MESH gives back.

use std::collections::{HashMap, HashSet};

use tracing::{error, info, warn};

use super::{Ended, Gateway, spread};
use crate::acknowledgement::{Late, answered, judge_late};
use crate::audit::Terms;
use crate::delivery::mesh::{Collected, Kind, Outside};
use crate::delivery::{Health, Lane};
use crate::fhir::message::Message;
use crate::fhir::{Document, Instant, Limits};
use crate::identity::{MessageId, PartyId};
use crate::storage::{self, Content, Filter, MessageRecord, State};

/// How many of a partner's messages, the newest, an answer may name.
const LOOK_BACK: usize = 10_000;

/// What became of something that was collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Its message took another state, which is on disk.
    Stored {
        /// Whose message.
        recipient: PartyId,
        /// The state it took.
        state: State,
        /// When it was accepted.
        accepted_at: Instant,
    },
    /// It says nothing new.
    Settled,
    /// Its message is on its way again: look at it later.
    Later,
    /// It is about no message of ours.
    NotOurs,
}

/// Finds the messages that answers name. Keeps the names of those it has read.
#[derive(Debug, Default)]
pub struct Answers {
    names: HashMap<String, MessageId>,
    read: HashSet<MessageId>,
}

impl Answers {
    /// Takes an answer from the partner of `lane`.
    ///
    /// # Errors
    /// When the store cannot read or write: nothing was taken.
    pub async fn take(
        &mut self,
        gateway: &Gateway,
        lane: &Lane,
        collected: &Collected,
        now: Instant,
    ) -> Result<Taken, storage::Error> {
        let Some(name) = answered(&collected.body) else { return Ok(Taken::NotOurs) };
        let Some(record) = self.named(gateway, lane.party(), &name).await? else { return Ok(Taken::NotOurs) };
        let ended = match judge_late(&collected.body, &[name]) {
            Late::Yes => Ended::new(State::Acknowledged, "acknowledged", "acknowledged"),
            Late::Again => Ended::new(State::Queued, "partner-retry", "the partner reports a transient error"),
            Late::No(codes) => {
                Ended::new(State::Refused, "partner-refused", format!("the partner refused it with {codes}"))
            }
            Late::Nothing => return Ok(Taken::NotOurs),
        };
        let may = match ended.to {
            State::Queued => [State::Delivered].as_slice(),
            State::Refused => &[State::Delivered, State::Queued],
            _ => &[State::Delivered, State::Queued, State::Dead],
        };
        store(gateway, lane, (record, ended), may, now).await
    }

    /// The message to `recipient` that goes by `name`.
    async fn named(
        &mut self,
        gateway: &Gateway,
        recipient: &PartyId,
        name: &str,
    ) -> Result<Option<MessageRecord>, storage::Error> {
        let name = name.to_ascii_lowercase();
        if !self.names.contains_key(&name) {
            self.read_names(gateway, recipient).await?;
        }
        let Some(id) = self.names.get(&name) else { return Ok(None) };
        Ok(gateway.store().message(*id).await?.filter(|record| record.recipient == *recipient))
    }

    async fn read_names(&mut self, gateway: &Gateway, recipient: &PartyId) -> Result<(), storage::Error> {
        let filter = Filter { recipient: Some(recipient.clone()), ..Filter::default() };
        for record in gateway.store().messages(filter, LOOK_BACK).await? {
            if record.attempts == 0 || self.read.contains(&record.id) {
                continue;
            }
            let payload = gateway.store().content(record.id, Content::Payload).await?.unwrap_or_default();
            self.names.extend(names(&payload).into_iter().map(|name| (name.to_ascii_lowercase(), record.id)));
            self.read.insert(record.id);
        }
        Ok(())
    }
}

fn names(payload: &[u8]) -> Vec<String> {
    let document = Document::parse(payload, &Limits::default()).ok();
    document.and_then(|document| Message::of(&document).ok().map(Message::names)).unwrap_or_default()
}

/// Takes a report that a message over one of `lanes` did not arrive. It counts for a message that MESH still had: one
/// that was acknowledged did arrive, and one that is queued will be sent again.
///
/// # Errors
/// When the store cannot read or write: nothing was taken.
pub async fn take_report(
    gateway: &Gateway,
    lanes: &[std::sync::Arc<Lane>],
    outside: &Outside,
    now: Instant,
) -> Result<Taken, storage::Error> {
    let Kind::Report { about, code } = &outside.kind else { return Ok(Taken::NotOurs) };
    let id = outside.local_id.as_deref().and_then(|id| id.parse::<MessageId>().ok());
    let record = match id {
        Some(id) => gateway.store().message(id).await?,
        None => None,
    };
    let Some(record) = record else { return Ok(Taken::NotOurs) };
    let Some(lane) = lanes.iter().find(|lane| *lane.party() == record.recipient) else { return Ok(Taken::NotOurs) };
    let about = about.as_ref().map(|about| format!(" for {about}")).unwrap_or_default();
    let code = code.as_ref().map(|code| format!(" (code {code})")).unwrap_or_default();
    let note = format!("MESH reports{about} that it was not delivered{code}");
    let ended = Ended::new(State::Dead, "mesh-report", note);
    store(gateway, lane, (record, ended), &[State::Delivered], now).await
}

/// Stores the message's next state, if it is in one of the states that it `may` leave.
async fn store(
    gateway: &Gateway,
    lane: &Lane,
    (record, ended): (MessageRecord, Ended),
    may: &[State],
    now: Instant,
) -> Result<Taken, storage::Error> {
    if record.state == State::InFlight {
        return Ok(Taken::Later);
    }
    if !may.contains(&record.state) {
        return Ok(Taken::Settled);
    }
    let ended = Ended { health: Health::Well, ..ended }.unless_exhausted(record.attempts, lane.settings().max_attempts);
    let wait = lane.settings().schedule.wait(record.attempts, None, spread(&record));
    let next = (ended.to == State::Queued).then(|| now + wait);
    let (message_id, note) = (record.id, &ended.note);
    match ended.to {
        State::Dead => error!(%message_id, %note, "message is dead: tell the team that sent it"),
        State::Refused => warn!(%message_id, %note, "message refused by its partner: tell the team that sent it"),
        state => info!(%message_id, %state, %note, "an answer came"),
    }
    let step = ended.step(&record, now, next);
    // What MESH holds was told as disclosed when MESH took it.
    let terms = if record.state == State::Delivered { None } else { terms(gateway, message_id).await? };
    let transition = match terms {
        Some(terms) => gateway.recorder.disclosure(step, &terms, &lane.address()),
        None => gateway.recorder.transition(step),
    };
    match gateway.store().transition(transition).await {
        Ok(()) => {
            Ok(Taken::Stored { recipient: record.recipient.clone(), state: ended.to, accepted_at: record.accepted_at })
        }
        Err(storage::Error::Stale { .. }) => Ok(Taken::Later),
        Err(error) => Err(error),
    }
}

async fn terms(gateway: &Gateway, message: MessageId) -> Result<Option<Terms>, storage::Error> {
    let events = gateway.store().events_of(message).await?;
    Ok(events.first().and_then(|accepted| Terms::recorded(&accepted.event)))
}
