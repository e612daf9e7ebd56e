//! The reference receiver's HTTP: `$process-message` and `metadata` (BaRS API 1.4.0).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use hyper::body::Bytes;
use uuid::Uuid;

use super::Settings;
use super::inbox::{Arrival, Inbox, Outcome};
use super::later::Answering;
use super::misbehaviour::Mischief;
use crate::fhir::bars::ErrorCode;
use crate::fhir::capability::{Capability, Definition, REFERRAL_DEFINITION, RESPONSE_DEFINITION};
use crate::fhir::message::{self, Message, ResponseCode, TASK};
use crate::fhir::outcome::{Issue, IssueType, Severity};
use crate::fhir::{Document, ElementPath, Limits, instant_text};
use crate::identity::PartyId;
use crate::server::exchange::{self, answer, has_ids, is_fhir_json, read, text};
use crate::server::listener::{Connection, Peer};

/// What it lists when it is told to list other messages than it takes.
const BOOKING_DEFINITION: &str = "https://fhir.nhs.uk/MessageDefinition/bars-message-booking-request";
/// The FHIR base, below the host.
const BASE: &str = "/FHIR/R4";

/// What the handlers share.
#[derive(Debug)]
pub(super) struct Receiver {
    settings: Settings,
    inbox: Inbox,
    later: Option<Arc<Answering>>,
    mischief: Mischief,
    base: String,
}

impl Receiver {
    pub(super) fn new(
        settings: Settings,
        (inbox, later): (Inbox, Option<Answering>),
        address: std::net::SocketAddr,
    ) -> Receiver {
        let mischief = Mischief::new(&settings.misbehaviour);
        let later = later.map(Arc::new);
        Receiver { settings, inbox, later, mischief, base: format!("https://{address}{BASE}") }
    }
}

/// Why a request is answered with an OperationOutcome. Its outcome is what `arrivals.jsonl` says.
struct Refusal {
    said: exchange::Refusal,
    outcome: Outcome,
}

impl From<exchange::Refusal> for Refusal {
    fn from(said: exchange::Refusal) -> Refusal {
        Refusal { said, outcome: Outcome::Refused }
    }
}

impl Refusal {
    fn new(code: ErrorCode, issue: Issue) -> Refusal {
        exchange::Refusal::new(code, issue).into()
    }

    fn outcome(self, outcome: Outcome) -> Refusal {
        Refusal { outcome, ..self }
    }
}

pub(super) fn router(receiver: Arc<Receiver>) -> Router {
    exchange::router(post(process_message), get(metadata), get(message_definition)).with_state(receiver)
}

async fn metadata(
    State(receiver): State<Arc<Receiver>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    match known(&receiver.settings.allowed, &peer.party) {
        Ok(()) => {
            let said = Capability {
                name: "Weir partner",
                version: env!("CARGO_PKG_VERSION"),
                description: "A receiver of BaRS messages that stores and acknowledges them",
                base: &receiver.base,
                receives: if receiver.mischief.unlisted() { &[BOOKING_DEFINITION] } else { &[REFERRAL_DEFINITION] },
                sends: &[RESPONSE_DEFINITION],
                signing_key: None,
                updates_tasks: false,
            };
            answer(&headers, StatusCode::OK, said.to_json((receiver.settings.now)()))
        }
        Err(refusal) => refused(&headers, refusal),
    }
}

/// What it takes: referrals to its service.
async fn message_definition(
    State(receiver): State<Arc<Receiver>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = known(&receiver.settings.allowed, &peer.party) {
        return refused(&headers, refusal);
    }
    let definition = Definition::referral(&receiver.settings.service_id, &receiver.settings.use_cases);
    let (definitions, now) =
        (if receiver.mischief.unlisted() { vec![] } else { vec![definition] }, (receiver.settings.now)());
    let found = exchange::definitions(&headers, (&receiver.base, &uri), &definitions, now);
    found.unwrap_or_else(|refusal| refusal.answer(&headers))
}

async fn process_message(
    State(receiver): State<Arc<Receiver>>,
    Extension(peer): Extension<Peer>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let headers = head.headers;
    // On a task of its own: a sender that goes away after its last byte leaves a whole trace all the same.
    let arrival = tokio::spawn(arrive(receiver.clone(), peer.party.clone(), headers.clone(), body));
    let Ok(taken) = arrival.await else {
        let issue = Issue::error(IssueType::Exception, "the message could not be processed");
        return refused(&headers, Refusal::new(ErrorCode::ServerError, issue));
    };
    let outcome = outcome_of(&taken);
    // A message that is kept, now or before, may be answered wrongly on purpose.
    if matches!(outcome, Outcome::Accepted | Outcome::Duplicate) {
        tokio::time::sleep(receiver.mischief.slow()).await;
        if receiver.mischief.cut() {
            connection.cut();
            return std::future::pending().await;
        }
        if receiver.mischief.silent() {
            return std::future::pending().await;
        }
    }
    match taken {
        Ok(kept) if receiver.later.is_some() => received(&receiver, &peer.party, &headers, kept),
        Ok(kept) => acknowledged(&receiver, &peer.party, &headers, kept.id),
        Err(refusal) => refused(&headers, refusal),
    }
}

/// A message that is kept.
struct Kept {
    /// `Bundle.id`.
    id: Uuid,
    /// The id of the Task of its request.
    task: Option<String>,
}

/// Takes a message and notes its arrival.
async fn arrive(receiver: Arc<Receiver>, sender: PartyId, headers: HeaderMap, body: Body) -> Result<Kept, Refusal> {
    let mut id = text(&headers, "x-request-id").to_owned();
    let taken = take(&receiver, &sender, &headers, body, &mut id).await;
    note(&receiver, id, &sender, &headers, outcome_of(&taken)).await;
    taken
}

fn outcome_of(taken: &Result<Kept, Refusal>) -> Outcome {
    taken.as_ref().map_or_else(|refusal| refusal.outcome, |_| Outcome::Accepted)
}

/// Checks and keeps a message; `id` becomes its `Bundle.id` as soon as that is known.
async fn take(
    receiver: &Arc<Receiver>,
    sender: &PartyId,
    headers: &HeaderMap,
    body: Body,
    id: &mut String,
) -> Result<Kept, Refusal> {
    known(&receiver.settings.allowed, sender)?;
    if receiver.mischief.unavailable() {
        let issue = Issue::error(IssueType::Transient, "the receiver is unavailable for now");
        return Err(Refusal::new(ErrorCode::Unavailable, issue).outcome(Outcome::Unavailable));
    }
    has_ids(headers)?;
    is_fhir_json(headers)?;
    let body = read(headers, body, (receiver.settings.body_limit, receiver.settings.limits.request)).await?;
    let (bundle, task) = names(&body)?;
    *id = bundle.to_string();
    if receiver.mischief.reject() {
        let issue = Issue::error(IssueType::Processing, "the receiver does not take this message");
        let refusal = Refusal::new(ErrorCode::UnprocessableEntity, issue.severity(Severity::Fatal));
        return Err(refusal.outcome(Outcome::Rejected));
    }
    Ok(Kept { id: keep(receiver, bundle, body).await?, task })
}

fn known(allowed: &[PartyId], sender: &PartyId) -> Result<(), Refusal> {
    if allowed.contains(sender) {
        return Ok(());
    }
    tracing::warn!(%sender, "request refused: the sender is not one that this partner knows");
    let issue = Issue::error(IssueType::Forbidden, format!("{sender} is not a sender that this receiver knows"));
    Err(Refusal::new(ErrorCode::Forbidden, issue.hint("ask the receiver to add your ODS code to its senders")))
}

/// The id of the message in `body`, and of the Task of its request.
fn names(body: &Bytes) -> Result<(Uuid, Option<String>), Refusal> {
    let document = Document::parse(body.as_ref(), &Limits::default()).map_err(|error| {
        let issue = Issue::error(IssueType::Structure, error.what.to_string());
        let issue = issue.at(error.path.clone()).position(error.position).hint(error.hint());
        Refusal::new(ErrorCode::BadRequest, issue)
    })?;
    let message = Message::of(&document).map_err(|error| {
        let issue = Issue::error(IssueType::Invariant, error.to_string()).at(ElementPath::new(error.path()));
        Refusal::new(ErrorCode::UnprocessableEntity, issue.hint("send a Bundle of type message"))
    })?;
    let id = Uuid::try_parse(&message.id()).map_err(|_| {
        let issue = Issue::error(IssueType::Value, "Bundle.id is not a UUID").at(ElementPath::new("Bundle.id"));
        Refusal::new(ErrorCode::BadRequest, issue.hint("give each message a UUID as its id"))
    })?;
    let task = message.task_names().first().and_then(|name| Some(name.strip_prefix(TASK)?.to_owned()));
    Ok((id, task))
}

async fn keep(receiver: &Arc<Receiver>, id: Uuid, body: Bytes) -> Result<Uuid, Refusal> {
    let inbox = receiver.clone();
    let kept = tokio::task::spawn_blocking(move || inbox.inbox.keep(id, &body)).await;
    let (code, issue) = match kept.map_err(std::io::Error::other).and_then(|kept| kept) {
        Ok(Outcome::Accepted) => return Ok(id),
        Ok(outcome @ Outcome::Duplicate) => {
            let issue = Issue::error(IssueType::Duplicate, "the message has already been processed");
            return Err(Refusal::new(ErrorCode::Conflict, issue).outcome(outcome));
        }
        Ok(outcome @ Outcome::Conflict) => {
            let issue = Issue::error(IssueType::Conflict, "another message has been processed under this id");
            let issue = issue.at(ElementPath::new("Bundle.id")).hint("give each message its own id");
            return Err(Refusal::new(ErrorCode::Conflict, issue).outcome(outcome));
        }
        Ok(outcome) => {
            let issue = Issue::error(IssueType::Transient, "the message is being processed");
            return Err(Refusal::new(ErrorCode::TooEarly, issue.hint("send it again in a second")).outcome(outcome));
        }
        Err(error) => {
            tracing::error!(message_id = %id, reason = %error.kind(), "a message could not be kept");
            (ErrorCode::ServerError, Issue::error(IssueType::Exception, "the message could not be stored"))
        }
    };
    Err(Refusal::new(code, issue.hint("send it again later")))
}

async fn note(receiver: &Arc<Receiver>, id: String, sender: &PartyId, headers: &HeaderMap, outcome: Outcome) {
    let at = instant_text((receiver.settings.now)());
    let request = text(headers, "x-request-id").to_owned();
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = headers.iter().map(header).collect();
    let arrival = Arrival { id, request, sender: sender.to_string(), at, outcome, headers };
    tracing::info!(message_id = %arrival.id, %sender, ?outcome, "message arrived");
    let inbox = receiver.clone();
    let noted = tokio::task::spawn_blocking(move || inbox.inbox.note(&arrival)).await;
    if let Err(error) = noted.map_err(std::io::Error::other).and_then(|noted| noted) {
        tracing::error!(reason = %error.kind(), "an arrival could not be noted");
    }
}

/// 202 without a word; the answer follows.
fn received(receiver: &Arc<Receiver>, sender: &PartyId, headers: &HeaderMap, kept: Kept) -> Response {
    let Kept { id, task } = kept;
    if let Some(later) = receiver.later.clone() {
        let (sender, correlation) = (sender.clone(), text(headers, "x-correlation-id").parse().unwrap_or(id));
        let context = text(headers, "use-context").to_owned();
        tokio::spawn(async move { later.answer((id, task.as_deref()), &sender, (correlation, &context)).await });
    }
    answer(headers, StatusCode::ACCEPTED, String::new())
}

fn acknowledged(receiver: &Receiver, sender: &PartyId, headers: &HeaderMap, id: Uuid) -> Response {
    let answers = if receiver.mischief.uncorrelated() { Uuid::nil() } else { id };
    let response = message::Response {
        id: Uuid::new_v5(&id, b"response"),
        timestamp: (receiver.settings.now)(),
        answers: &answers.to_string(),
        code: ResponseCode::Ok,
        event: "servicerequest-response",
        receiver: receiver.settings.party.as_str(),
        sender: sender.as_str(),
    };
    answer(headers, StatusCode::OK, message::response_bundle(&response))
}

fn refused(headers: &HeaderMap, refusal: Refusal) -> Response {
    refusal.said.answer(headers)
}
