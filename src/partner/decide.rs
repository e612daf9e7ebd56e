//! What the receiving team decides about a message that its reference receiver took: accepted, rejected, the person reached.
//!
//! Enters: a message by its id or its Bundle's, and the decision. Leaves: the decision at the sender's endpoint, as a response message
//! (BaRS) or as an update of the Task that came in the message (FHIR R4), and what the sender answered.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use super::inbox::{Arrival, Outcome};
use super::{Answers, Settings};
use crate::delivery::{AttemptError, Bars, Dispatch};
use crate::fhir::bars::outcome_codes;
use crate::fhir::handover::Written;
use crate::fhir::message::{Message, Response, ResponseCode, TASK, response_with_task};
use crate::fhir::{Document, Instant, Limits, time_ordered_id};
use crate::identity::PartyId;
use crate::identity::tls::TlsError;

/// How long one attempt may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How often it is tried to tell a sender that is busy.
const TRIES: u32 = 5;
/// How long between.
const PAUSE: Duration = Duration::from_secs(1);

/// A decision of the receiving team.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The Task's status from now on: `accepted`, `rejected`, `in-progress`, `completed`.
    pub status: &'static str,
    /// Who takes it, by name, and whether that is a person.
    pub owner: Option<(String, bool)>,
    /// By when the person is reached.
    pub contact_by: Option<Instant>,
    /// When they were.
    pub contacted_at: Option<Instant>,
    /// Why not: a code, and words.
    pub reason: Option<(String, Option<String>)>,
}

/// How a decision is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a response message to `$process-message`.
    Response,
    /// By an update of the Task.
    Task,
}

/// What the sender made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The HTTP status.
    pub status: u16,
    /// The codes of its OperationOutcome, if it refused.
    pub codes: Vec<String>,
}

impl Told {
    /// Whether it counts.
    pub fn is_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why a decision was not told.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The receiver has no such message.
    #[error("there is no message {0} in the inbox")]
    Unknown(Uuid),
    /// The message has no Task to decide on.
    #[error("message {0} has no Task to answer")]
    NoTask(Uuid),
    /// Nobody said where answers go.
    #[error("partner.toml has no [answers] section")]
    NoEndpoint,
    /// The inbox cannot be read.
    #[error("the inbox cannot be read: {0}")]
    Inbox(io::Error),
    /// Our certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The sender was not reached.
    #[error("the sender was not reached: {0}")]
    Attempt(#[from] AttemptError),
}

/// A message in the inbox.
struct Kept {
    bundle: Uuid,
    correlation: Uuid,
    use_context: String,
    sender: PartyId,
    task: String,
}

/// Tells the sender of a message what the receiving team decided.
///
/// # Errors
/// [`DecideError`]: nothing was told, or whether it arrived is not known.
pub async fn decide(
    settings: &Settings,
    message: Uuid,
    (decision, way): (&Decision, Way),
) -> Result<Told, DecideError> {
    let Some(Answers { endpoint, party, service_id, .. }) = settings.later.clone() else {
        return Err(DecideError::NoEndpoint);
    };
    let kept = find(settings.directory.clone(), message)?;
    let now = (settings.now)();
    let task = written(&kept.task, decision, now);
    let bars = Bars::new((party, service_id), endpoint, &settings.credentials, settings.tls_clock.clone())?;
    let id = time_ordered_id(now);
    let response = Response {
        id,
        timestamp: now,
        answers: &kept.bundle.to_string(),
        code: ResponseCode::Ok,
        event: "servicerequest-response",
        receiver: settings.party.as_str(),
        sender: kept.sender.as_str(),
    };
    let name = format!("Organisation {}", settings.party);
    let body = response_with_task(&response, (&kept.task, &task));
    let of = (id.into(), kept.correlation, kept.use_context.as_str());
    let dispatch = Dispatch::response(of, settings.party.clone(), &name, body);
    let dispatch = dispatch.map_err(|_| DecideError::NoTask(message))?;
    for _ in 1..TRIES {
        let told = tell(&bars, (&dispatch, way), (&kept.task, &task)).await?;
        if !matches!(told.status, 425 | 429 | 503) {
            return Ok(told);
        }
        tokio::time::sleep(PAUSE).await;
    }
    tell(&bars, (&dispatch, way), (&kept.task, &task)).await
}

async fn tell(bars: &Bars, (dispatch, way): (&Dispatch, Way), (id, task): (&str, &str)) -> Result<Told, DecideError> {
    let reply = match way {
        Way::Response => bars.attempt(dispatch, LIMIT).await?,
        Way::Task => bars.update_task((id, task.to_owned()), LIMIT).await?,
    };
    let said = Document::parse(reply.body.as_ref(), &Limits::default()).ok();
    let codes = said.map(|document| outcome_codes(&document)).unwrap_or_default();
    let codes = codes.issues.iter().chain(&codes.details).map(ToString::to_string).collect();
    Ok(Told { status: reply.status.as_u16(), codes })
}

fn written(id: &str, decision: &Decision, at: Instant) -> String {
    let owner = decision.owner.as_ref().map(|(name, is_person)| (name.as_str(), *is_person));
    let reason = decision.reason.as_ref().map(|(code, words)| (code.as_str(), words.as_deref()));
    let Decision { status, contact_by, contacted_at, .. } = decision;
    Written { id, status, owner, contact_by: *contact_by, contacted_at: *contacted_at, reason, at }.to_json()
}

/// The message that was sent under this id, or whose Bundle has it.
fn find(directory: PathBuf, message: Uuid) -> Result<Kept, DecideError> {
    let unknown = || DecideError::Unknown(message);
    let text = fs::read_to_string(directory.join("arrivals.jsonl")).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => unknown(),
        _ => DecideError::Inbox(error),
    })?;
    let is = |text: &str| Uuid::try_parse(text) == Ok(message);
    let arrivals = text.lines().filter_map(|line| serde_json::from_str::<Arrival>(line).ok());
    let mut taken = arrivals.filter(|arrival| matches!(arrival.outcome, Outcome::Accepted | Outcome::Duplicate));
    let arrival = taken.find(|arrival| is(&arrival.request) || is(&arrival.id)).ok_or_else(unknown)?;
    let bundle = Uuid::try_parse(&arrival.id).map_err(|_| unknown())?;
    let bytes = fs::read(directory.join(format!("received/{bundle}.json"))).map_err(DecideError::Inbox)?;
    let document = Document::parse(bytes, &Limits::default()).map_err(|_| DecideError::NoTask(message))?;
    let tasks = Message::of(&document).map(Message::task_names).unwrap_or_default();
    let task = tasks.first().and_then(|name| name.strip_prefix(TASK)).ok_or(DecideError::NoTask(message))?;
    let header = arrival.headers.iter().find(|(name, _)| name == "x-correlation-id");
    let correlation = header.and_then(|(_, value)| Uuid::try_parse(value).ok()).unwrap_or(bundle);
    let use_context = Message::of(&document).map(Message::use_context).unwrap_or_default();
    let sender = arrival.sender.parse().map_err(|_| unknown())?;
    Ok(Kept { bundle, correlation, use_context, sender, task: task.to_owned() })
}
