//! What comes back by itself for a message that was delivered: its partner's answer, or a report that it did not arrive.
//!
//! Enters: a response message from a partner, whichever way it came, or what was collected from our mailbox. Leaves: the
//! message's next state, on disk with the answer itself, sealed, and its audit events. Invariants: [`Taken::Stored`],
//! [`Taken::Settled`] and [`Taken::Repeated`] are said when nothing more is to be kept of it, so that it may be
//! acknowledged; correlation is by id alone: an answer by the id that it names in its MessageHeader, of a message that we
//! sent to exactly the party that answers; a report by the id that MESH gave the message, else by ours. An answer counts once. One that
//! was written before another that counted is kept, and changes nothing but that it may say when the person was reached.

use std::fmt;

use tracing::{error, info, warn};
use uuid::Uuid;

use super::handovers::{self, Answering};
use super::{Ended, Gateway, aside, spread};
use crate::acknowledgement::{Late, judge_late};
use crate::audit::{self, Answer, Terms};
use crate::delivery::mesh::{Kind, Outside};
use crate::delivery::{Health, Lane};
use crate::fhir::handover::{self, Said};
use crate::fhir::message::{Message, TASK};
use crate::fhir::response::{self, Decision, KNOWN_REASONS};
use crate::fhir::{Document, Instant, Limits, latest_instant};
use crate::handover::SLACK;
use crate::identity::digest::sha_256;
use crate::identity::{MessageId, PartyId};
use crate::storage::{self, AnswerRecord, Content, Kept, MessageRecord, NewAnswer, Says, State, Transition};

/// What became of something that came by itself.
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
    /// It is kept, or need not be, and says nothing new.
    Settled,
    /// It is kept already.
    Repeated,
    /// The partner gave another answer the same id: it is not kept, and stands in the audit log.
    Conflict,
    /// It contradicts what the partner said before of the handover: it is kept, changes nothing, and people are told.
    Contradicts,
    /// Its message is on its way again: look at it later.
    Later,
    /// What messages of an earlier version may be called is still being read, and it may answer one of them: look at it later.
    NotYet,
    /// It is about no message of ours, or not for this partner to answer.
    NotOurs(NotOurs),
}

/// Why something is no answer to a message of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// It is no response message that says how it went.
    #[error("it is no response message that says how the message went")]
    NoAnswer,
    /// No message goes by the id that it names.
    #[error("it names no message that was sent to its sender")]
    Unknown,
    /// The message that it names was sent to somebody else.
    #[error("it names a message that was sent to another partner")]
    OfAnother,
    /// It accepts a handover, and whoever takes it is not named.
    #[error("it accepts the handover and does not name who takes it")]
    Unnamed,
}

impl NotOurs {
    /// As the audit log says it.
    pub fn code(self) -> &'static str {
        match self {
            NotOurs::NoAnswer => "no-answer",
            NotOurs::Unknown => "unknown-message",
            NotOurs::OfAnother => "message-of-another",
            NotOurs::Unnamed => "owner-missing",
        }
    }
}

/// The verdict of an answer by which the receiving team does not take the referral.
const REJECTED: &str = "rejected";

/// How often an answer is judged anew because its message moved on meanwhile.
const TRIES: usize = 5;

/// Takes an answer from `sender`, whom its certificate or its mailbox names, and who sits at `address`. What is refused is audited.
///
/// # Errors
/// When the store cannot read or write: nothing was taken.
pub async fn take(
    gateway: &Gateway,
    (sender, address): (&PartyId, Option<&str>),
    answer: &Document,
    now: Instant,
) -> Result<Taken, storage::Error> {
    let Some(incoming) = Incoming::read((sender, address), answer, now) else {
        return refuse(gateway, (sender, address), (None, NotOurs::NoAnswer), now).await;
    };
    settle(gateway, incoming).await
}

/// Takes an update of a Task that was sent to `sender`, by the Task's id: an answer to its message.
///
/// # Errors
/// When the store cannot read or write: nothing was taken.
pub async fn take_task(
    gateway: &Gateway,
    (sender, address): (&PartyId, Option<&str>),
    (id, task): (&str, &Document),
    now: Instant,
) -> Result<Taken, storage::Error> {
    settle(gateway, Incoming::of_task((sender, address), (id, task), now)).await
}

/// Of partners that share a mailbox, the one to whom the message was sent that an answer names; `None` when it names none of theirs.
///
/// # Errors
/// When the store cannot read.
pub async fn sender_among<'p>(
    gateway: &Gateway,
    parties: &[&'p PartyId],
    answer: &Document,
) -> Result<Option<&'p PartyId>, storage::Error> {
    let Some(name) = Message::of(answer).ok().and_then(Message::answers) else { return Ok(None) };
    let named = gateway.store().named(&name).await?;
    let is_theirs = |party: &&&PartyId| named.iter().any(|record| record.attempts > 0 && record.recipient == ***party);
    Ok(parties.iter().find(is_theirs).copied())
}

async fn settle(gateway: &Gateway, incoming: Incoming<'_>) -> Result<Taken, storage::Error> {
    let (from, now) = ((incoming.sender, incoming.address), incoming.now);
    for _ in 0..TRIES {
        let some_unread = !gateway.store().nameless(1).await?.is_empty();
        let (record, lane) = match find(gateway, &incoming).await? {
            Ok(found) => found,
            Err((_, NotOurs::Unknown)) if some_unread => return Ok(Taken::NotYet),
            Err(why) => return refuse(gateway, from, why, now).await,
        };
        let message = record.id;
        match keep(gateway, lane, &incoming, record).await {
            Err(storage::Error::Stale { .. }) => {}
            Ok(Taken::Conflict) => {
                put_down(gateway, from, (Some(message), "conflict", &"another answer is kept under its id"), now)
                    .await?;
                return Ok(Taken::Conflict);
            }
            kept => return kept,
        }
    }
    Ok(Taken::Later)
}

async fn refuse(
    gateway: &Gateway,
    from: (&PartyId, Option<&str>),
    (message, why): (Option<MessageId>, NotOurs),
    now: Instant,
) -> Result<Taken, storage::Error> {
    put_down(gateway, from, (message, why.code(), &why), now).await?;
    Ok(Taken::NotOurs(why))
}

/// Writes that something is not taken as an answer, and why: in a code, and in words for the log.
async fn put_down(
    gateway: &Gateway,
    (sender, address): (&PartyId, Option<&str>),
    (message, code, reason): (Option<MessageId>, &str, &(dyn fmt::Display + Sync)),
    now: Instant,
) -> Result<(), storage::Error> {
    let message_id = message.map(tracing::field::display);
    warn!(%sender, message_id, %reason, "something that came as an answer is refused");
    gateway.store().append(gateway.recorder.answer_refused(sender, (message, code), address, now)).await.map(drop)
}

/// A response message, judged.
#[derive(Clone)]
struct Incoming<'a> {
    sender: &'a PartyId,
    /// Where it came from on the network; `None` for what was fetched from a mailbox.
    address: Option<&'a str>,
    answer: &'a Document,
    /// Its own id, and the one that it names.
    id: String,
    names: String,
    digest: [u8; 32],
    written_at: Option<Instant>,
    late: Late,
    says: Says,
    /// What it says of the handover.
    said: Said,
    /// Whether it is an update of a Task.
    is_update: bool,
    now: Instant,
}

impl<'a> Incoming<'a> {
    fn read(
        (sender, address): (&'a PartyId, Option<&'a str>),
        answer: &'a Document,
        now: Instant,
    ) -> Option<Incoming<'a>> {
        let message = Message::of(answer).ok()?;
        let late = judge_late(answer)?;
        // A Task's id names no message.
        let is_task = |name: &String| name.get(..TASK.len()).is_some_and(|start| start.eq_ignore_ascii_case(TASK));
        let names = message.answers().filter(|name| !is_task(name))?;
        Some(Incoming {
            sender,
            address,
            answer,
            id: message.id().to_ascii_lowercase(),
            names,
            digest: sha_256(answer.source().as_bytes()),
            written_at: message.timestamp().and_then(|text| latest_instant(&text)),
            says: says(&late, message.response_code()?.code()),
            said: decided(&late, handover::said(answer, now)),
            is_update: false,
            late,
            now,
        })
    }

    fn of_task(
        (sender, address): (&'a PartyId, Option<&'a str>),
        (id, task): (&str, &'a Document),
        now: Instant,
    ) -> Incoming<'a> {
        let (said, status) = (handover::said(task, now), handover::status(task).unwrap_or_default());
        let late = match response::decision(task) {
            Some(Decision::Rejected) => Late::No(said.reasons.clone()),
            Some(Decision::Failed) => Late::Failed(response::reasons(task)),
            Some(Decision::OnHold) => Late::Missing(vec![]),
            None => Late::Yes(vec![]),
        };
        let digest = sha_256(task.source().as_bytes());
        // The same update again is the same answer.
        let name = Uuid::new_v5(&Uuid::NAMESPACE_URL, &[id.as_bytes(), &digest].concat());
        Incoming {
            sender,
            address,
            answer: task,
            id: name.to_string(),
            names: format!("{TASK}{id}"),
            digest,
            written_at: None,
            says: says(&late, status),
            said: decided(&late, said),
            is_update: true,
            late,
            now,
        }
    }

    fn answering(&self) -> Answering<'_> {
        Answering {
            sender: self.sender,
            address: self.address,
            id: &self.id,
            digest: &self.digest,
            said: &self.said,
            fails: matches!(self.late, Late::Failed(_)),
            shows_arrival: !matches!(self.late, Late::Again | Late::Failed(_)),
            is_latest: true,
            is_overtaken: false,
            now: self.now,
        }
    }

    /// The state that the message is to take, and from which it may. Where there is a handover, a team that rejects it says nothing against
    /// the message: the partner's application took that.
    fn ended(&self, has_handover: bool) -> (Ended, &'static [State]) {
        use State::{Acknowledged, Dead, Delivered, InFlight, Queued, Refused};
        match &self.late {
            Late::No(why) if has_handover => {
                let note = format!("acknowledged; the receiving team rejected the handover with {}", in_words(why));
                (Ended::new(Acknowledged, "acknowledged", note), &[Delivered, Queued, InFlight, Dead, Refused])
            }
            Late::Yes(asks) if asks.is_empty() => (
                Ended::new(Acknowledged, "acknowledged", "acknowledged"),
                &[Delivered, Queued, InFlight, Dead, Refused],
            ),
            Late::Yes(asks) => {
                let note = format!("acknowledged; the partner asks for {}", asks.join(", "));
                (Ended::new(Acknowledged, "acknowledged", note), &[Delivered, Queued, InFlight, Dead, Refused])
            }
            Late::Again => (Ended::new(Queued, "partner-retry", "the partner reports a transient error"), &[Delivered]),
            Late::Missing(asks) => {
                let asks = if asks.is_empty() { "it does not say what in codes".to_owned() } else { asks.join(", ") };
                let note = format!("the partner asks for missing information: {asks}");
                (Ended::new(Refused, "information-missing", note), &[Delivered, Queued, InFlight, Dead, Acknowledged])
            }
            Late::No(why) => {
                let note = format!("the partner refused it with {}", in_words(why));
                (Ended::new(Refused, "partner-refused", note), &[Delivered, Queued, InFlight, Dead, Acknowledged])
            }
            Late::Failed(why) => {
                let note = format!("the partner's system could not process it, with {}", in_words(why));
                (Ended::new(Refused, "partner-refused", note), &[Delivered, Queued, InFlight, Dead, Acknowledged])
            }
        }
    }
}

fn says(late: &Late, code: &str) -> Says {
    let (verdict, reasons, asks_for) = match late {
        Late::Yes(asks) => ("accepted", vec![], asks.clone()),
        Late::Again => ("try-again", vec![], vec![]),
        Late::Missing(asks) => ("information-missing", vec![], asks.clone()),
        Late::No(why) => (REJECTED, why.clone(), vec![]),
        Late::Failed(why) => ("failed", why.clone(), vec![]),
    };
    Says { verdict: verdict.to_owned(), code: code.to_owned(), reasons, asks_for, handover: None }
}

/// What an answer says of the handover. Only a team decides: a system that could not process the message, or asks for more, does not.
fn decided(late: &Late, said: Said) -> Said {
    match late {
        Late::Yes(_) => said,
        Late::No(why) => Said { takes: Some(false), reasons: why.clone(), ..Said::default() },
        Late::Again | Late::Missing(_) | Late::Failed(_) => Said::default(),
    }
}

/// Codes, those of ours with what they mean.
fn in_words(codes: &[String]) -> String {
    let word = |code: &String| {
        let known = KNOWN_REASONS.iter().find(|(known, _)| known == code);
        known.map_or(code.clone(), |(code, words)| format!("{code}: {words}"))
    };
    if codes.is_empty() {
        "no codes".to_owned()
    } else {
        format!("({})", codes.iter().map(word).collect::<Vec<_>>().join(", "))
    }
}

/// The message that was sent to the sender and that the answer names, with the way that it went.
async fn find<'g>(
    gateway: &'g Gateway,
    incoming: &Incoming<'_>,
) -> Result<Result<(MessageRecord, &'g Lane), (Option<MessageId>, NotOurs)>, storage::Error> {
    let named = gateway.store().named(&incoming.names).await?;
    let sent = |record: &&MessageRecord| record.attempts > 0;
    let (theirs, of_others): (Vec<_>, Vec<_>) =
        named.iter().filter(sent).partition(|record| record.recipient == *incoming.sender);
    let lanes = gateway.lanes(incoming.sender);
    let record = match (&theirs[..], &of_others[..]) {
        ([one], _) => *one,
        ([], [other, ..]) => return Ok(Err((Some(other.id), NotOurs::OfAnother))),
        _ => return Ok(Err((None, NotOurs::Unknown))),
    };
    let lane = lanes.get(usize::from(record.route)).or(lanes.first());
    Ok(lane.map(|lane| (record.clone(), &**lane)).ok_or((Some(record.id), NotOurs::Unknown)))
}

/// The known answer that `incoming` says again: the one of its name. An update of a Task has none of its own: it repeats the last answer,
/// or one that contradicted the handover and came after all that moved it.
fn repeated<'k>(known: &'k [AnswerRecord], incoming: &Incoming<'_>) -> Option<&'k AnswerRecord> {
    if !incoming.is_update {
        return known.iter().find(|known| known.id == incoming.id && known.sender == *incoming.sender);
    }
    let did = |known: &AnswerRecord| known.says.handover.clone().unwrap_or_default();
    let moved = |known: &AnswerRecord| !matches!(&*did(known), "" | "conflict" | "unnamed");
    let since = known.iter().rposition(moved).map_or(0, |moved| moved + 1);
    let contradictions = known[since..].iter().filter(|known| did(known) == "conflict");
    let is_same = |known: &&AnswerRecord| known.sender == *incoming.sender && known.digest == incoming.digest;
    known.last().into_iter().chain(contradictions).find(is_same)
}

/// Whether a person sent the message again after `answer`: the same update of a Task then says something new. The order of the events
/// tells it, which no clock that is set changes. Where they cannot be read, people are rather told twice than never.
async fn is_sent_again(gateway: &Gateway, message: MessageId, answer: &AnswerRecord) -> Result<bool, storage::Error> {
    let store = gateway.store();
    let events = store.damage().sift(("events", message), store.events_of(message).await)?;
    Ok(events.is_none_or(|events| audit::is_sent_again(&events, &answer.digest)))
}

/// The id of an update that came before, as the next answer.
fn renewed(id: &str, answers: usize) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{id} {answers}").as_bytes()).to_string()
}

/// Whether a known answer was written after one of `written_at`, both by the partner's clock. Where one of them has no word on that, as an
/// update of a Task has none, or the known one lies ahead, by a clock that was wrong, they count as they came: then it is the earlier one.
fn is_later(known: &AnswerRecord, written_at: Option<Instant>, now: Instant) -> bool {
    // Earlier versions kept of an update when it came.
    let said = known.written_at.filter(|at| *at != known.received_at && *at <= now + SLACK);
    said.zip(written_at).is_some_and(|(known, new)| known > new)
}

/// Keeps the answer, with what it changes.
async fn keep(
    gateway: &Gateway,
    lane: &Lane,
    incoming: &Incoming<'_>,
    record: MessageRecord,
) -> Result<Taken, storage::Error> {
    let known = gateway.store().answers_of(record.id).await?;
    if let Some(known) = repeated(&known, incoming)
        && !(incoming.is_update && is_sent_again(gateway, record.id, known).await?)
    {
        return Ok(match known.says.handover.as_deref() {
            _ if known.digest != incoming.digest => Taken::Conflict,
            Some("conflict") => Taken::Contradicts,
            _ => Taken::Repeated,
        });
    }
    let came_before = incoming.is_update && known.iter().any(|known| known.id == incoming.id);
    let renewed = came_before.then(|| Incoming { id: renewed(&incoming.id, known.len()), ..incoming.clone() });
    let incoming = renewed.as_ref().unwrap_or(incoming);
    if record.state == State::InFlight && incoming.late == Late::Again {
        return Ok(Taken::Later);
    }
    let terms = Terms::of(gateway.store(), record.id).await?;
    let patient = terms.as_ref().and_then(|terms| terms.subject.as_ref());
    let later = |known: &AnswerRecord| is_later(known, incoming.written_at, incoming.now);
    let is_latest = !known.iter().any(later);
    let is_overtaken = known.iter().any(|known| known.says.verdict == REJECTED && later(known));
    let answering = Answering { is_latest, is_overtaken, ..incoming.answering() };
    let handover = handovers::answered(gateway, (&record, patient), answering).await?;
    let contradicts = handover.did == Some("conflict");
    if handover.did == Some("unnamed") && incoming.address.is_some() {
        let why = (Some(record.id), NotOurs::Unnamed);
        return refuse(gateway, (incoming.sender, incoming.address), why, incoming.now).await;
    }
    let (ended, may) = incoming.ended(handover.is_there);
    let is_held = contradicts || handover.was_taken && matches!(incoming.late, Late::Missing(_));
    let ended = ended.unless_exhausted(record.attempts, lane.settings().max_attempts);
    let changes = is_latest && !is_held && may.contains(&record.state);
    let step = changes.then(|| step(gateway, lane, (&record, &ended), terms.as_ref(), incoming.now));
    let address = incoming.address.map_or_else(|| lane.address(), str::to_owned);
    let (sender, message) = (incoming.sender, record.id);
    let says = Says { handover: handover.did.map(str::to_owned), ..incoming.says.clone() };
    let said = Answer {
        sender,
        address: &address,
        message,
        terms: terms.as_ref(),
        id: incoming.id.parse().ok(),
        digest: &incoming.digest,
        says: &says,
        at: incoming.now,
    };
    let event = gateway.recorder.answer_received(said);
    let answer = NewAnswer {
        message,
        sender: sender.clone(),
        id: incoming.id.clone(),
        digest: incoming.digest,
        received_at: incoming.now,
        written_at: incoming.written_at,
        says,
        body: incoming.answer.source().as_bytes().to_vec(),
        event,
        step,
        handover: handover.steps,
    };
    let did = handover.did;
    Ok(match gateway.store().take_answer(answer).await? {
        Kept::Before => Taken::Repeated,
        Kept::Conflict => Taken::Conflict,
        Kept::Now if contradicts => {
            warn!(message_id = %message, %sender, "the partner contradicts what it said of the handover: people are told");
            Taken::Contradicts
        }
        Kept::Now if changes => {
            tell(message, &ended);
            tell_handover(message, did);
            Taken::Stored { recipient: record.recipient, state: ended.to, accepted_at: record.accepted_at }
        }
        Kept::Now => {
            tell_handover(message, did);
            let (message_id, state, verdict) = (message, record.state, &incoming.says.verdict);
            if is_held {
                warn!(%message_id, %sender, "the team that took the handover asks for more information: it keeps it; call the team");
            }
            info!(%message_id, %state, %verdict, "an answer came, and the message's state stays");
            Taken::Settled
        }
    })
}

fn tell_handover(message_id: MessageId, did: Option<&'static str>) {
    match did {
        None => {}
        Some("unnamed") => warn!(%message_id, "the partner accepts and does not say who: the handover waits on"),
        Some("rejected") => warn!(%message_id, "the receiving team does not take the handover: people are told"),
        Some(handover) => info!(%message_id, handover, "the receiving team answered"),
    }
}

/// Says in the log what a message came to by itself.
fn tell(message_id: MessageId, ended: &Ended) {
    let note = &ended.note;
    match ended.to {
        State::Dead => error!(%message_id, %note, "message is dead: tell the team that sent it"),
        State::Refused => warn!(%message_id, %note, "message refused by its partner: tell the team that sent it"),
        state => info!(%message_id, %state, %note, "an answer came"),
    }
}

/// The message's next step: a disclosure, unless it was told as one before.
fn step(
    gateway: &Gateway,
    lane: &Lane,
    (record, ended): (&MessageRecord, &Ended),
    terms: Option<&Terms>,
    now: Instant,
) -> Transition {
    let wait = lane.settings().schedule.wait(record.attempts, None, spread(record));
    let next = (ended.to == State::Queued).then(|| now + wait);
    let step = ended.step((record, terms.and_then(|terms| terms.subject.as_ref())), now, next);
    let is_told = matches!(record.state, State::Delivered | State::Acknowledged | State::Refused);
    match terms.filter(|_| !is_told) {
        Some(terms) => gateway.recorder.disclosure(step, terms, &lane.address()),
        None => gateway.recorder.transition(step),
    }
}

/// Messages that [`name_earlier`] names at a time.
const PAGE: usize = 500;

/// Reads, once, what some messages and their Tasks may be called that an earlier version accepted: it kept no names, or none of Tasks. The
/// newest first; whether there may be more.
///
/// # Errors
/// When the store cannot read or write; what was not read is read the next time.
pub async fn name_earlier(gateway: &Gateway) -> Result<bool, storage::Error> {
    let (store, stages) = (gateway.store(), gateway.stages());
    let mut named = Vec::new();
    for id in store.nameless(PAGE).await? {
        let payload = match store.content(id, Content::Payload).await {
            Err(storage::Error::Damaged(_)) => None,
            payload => payload?,
        };
        let payload = payload.unwrap_or_default();
        named.push((id, aside(&stages, payload.len(), move |_| names(&payload)).await));
    }
    let is_full = named.len() == PAGE;
    if !named.is_empty() {
        store.name(named).await?;
    }
    Ok(is_full)
}

fn names(payload: &[u8]) -> Vec<String> {
    let document = Document::parse(payload, &Limits::default()).ok();
    document.and_then(|document| Message::of(&document).ok().map(Message::all_names)).unwrap_or_default()
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
    let Kind::Report { about, code } = &outside.kind else { return Ok(Taken::NotOurs(NotOurs::Unknown)) };
    let Some(record) = reported(gateway, about.as_deref(), outside).await? else {
        return Ok(Taken::NotOurs(NotOurs::Unknown));
    };
    let Some(lane) = lanes.iter().find(|lane| *lane.party() == record.recipient) else {
        return Ok(Taken::NotOurs(NotOurs::Unknown));
    };
    let copies = gateway.store().carrier_ids(record.id).await?;
    if about.as_ref().is_some_and(|about| copies.contains(about) && copies.last() != Some(about)) {
        // It was sent again since, and the report says nothing of that.
        return Ok(Taken::Settled);
    }
    let about = about.as_ref().map(|about| format!(" for {about}")).unwrap_or_default();
    let code = code.as_ref().map(|code| format!(" (code {code})")).unwrap_or_default();
    let note = format!("MESH reports{about} that it was not delivered{code}");
    let ended = Ended { health: Health::Well, ..Ended::new(State::Dead, "mesh-report", note) };
    store(gateway, lane, (record, ended), &[State::Delivered], now).await
}

/// The message that a report is about: by what MESH calls it, else by our own id.
async fn reported(
    gateway: &Gateway,
    about: Option<&str>,
    outside: &Outside,
) -> Result<Option<MessageRecord>, storage::Error> {
    if let Some(about) = about
        && let Some(record) = gateway.store().carried(about).await?
    {
        return Ok(Some(record));
    }
    match outside.local_id.as_deref().and_then(|id| id.parse::<MessageId>().ok()) {
        Some(id) => gateway.store().message(id).await,
        None => Ok(None),
    }
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
    tell(record.id, &ended);
    let terms = Terms::of(gateway.store(), record.id).await?;
    match gateway.store().transition(step(gateway, lane, (&record, &ended), terms.as_ref(), now)).await {
        Ok(()) => {
            Ok(Taken::Stored { recipient: record.recipient.clone(), state: ended.to, accepted_at: record.accepted_at })
        }
        Err(storage::Error::Stale { .. }) => Ok(Taken::Later),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration as Span;
    use time::macros::datetime;

    const NOON: Instant = datetime!(2026-01-01 12:00 UTC);

    fn known(received_at: Instant, written_at: Option<Instant>) -> AnswerRecord {
        AnswerRecord {
            sender: "RXT01".parse().expect("an ODS code"),
            id: String::new(),
            slot: "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID"),
            digest: [0; 32],
            received_at,
            written_at,
            says: Says::default(),
        }
    }

    #[test]
    fn times_are_compared_where_the_partners_clock_gives_both() {
        let minute = |minutes| NOON + Span::minutes(minutes);
        let written = |at| known(minute(1), Some(at));
        assert!(is_later(&written(NOON), Some(minute(-1)), minute(2)));
        assert!(!is_later(&written(NOON), Some(NOON), minute(2)));
        assert!(!is_later(&written(NOON), Some(minute(1)), minute(2)));
        assert!(is_later(&written(minute(3)), Some(minute(2)), minute(2)), "a clock that is a little ahead");
        assert!(!is_later(&written(minute(4)), Some(minute(2)), minute(2)), "one that is far ahead says nothing");
        assert!(!is_later(&written(NOON), None, minute(2)), "the order of arrival counts");
        assert!(!is_later(&known(NOON, None), Some(minute(-1)), minute(2)), "as after an update of a Task");
        assert!(!is_later(&known(NOON, Some(NOON)), Some(minute(-1)), minute(2)), "also one that is kept from before");
        assert!(!is_later(&known(NOON, Some(NOON)), Some(minute(-20)), minute(-19)), "or after our clock was set back");
    }
}
