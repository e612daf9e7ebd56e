//! The provider's side: `POST /records/{interface}`, `GET /messages/{id}` and what hangs on it, and `POST /FHIR/R4/$validate`.

use std::sync::Arc;
use std::time::Instant as Stopwatch;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use super::access::{look, looked, permit};
use super::body::{self, Unread};
use super::listener::{Limit, Peer};
use super::ration::Account;
use super::{Service, audit_routes, clock, handovers, hl7v2, inbound_routes, review_routes, validate};
use crate::acts::message;
use crate::audit::Object;
use crate::delivery::outbox::{self, Queued};
use crate::disclosure;
use crate::fhir::ElementPath;
use crate::fhir::outcome::{Issue, IssueType, operation_outcome};
use crate::handover;
use crate::identity::principal::{Action, Principal};
use crate::identity::{InterfaceName, MessageId};
use crate::intake::{self, Submission};
use crate::pipeline::{self, Due, Taken};
use crate::provenance::{self, Lineage, Unreadable};
use crate::refusal::Refusal;
use crate::storage::{Error as StoreError, Full, MessageRecord};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The routes.
pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/records/{interface}", post(submit))
        .route("/hl7v2", post(hl7v2::post))
        .route("/messages/{id}", get(state))
        .route("/messages/{id}/lineage", get(lineage))
        .route("/messages/{id}/withheld", get(withheld))
        .route("/handovers", get(handovers::list))
        .route("/reviews", get(review_routes::list))
        .route("/reviews/{message}", get(review_routes::one))
        .route("/reviews/{message}/completion", post(review_routes::complete))
        .route("/inbound", get(inbound_routes::list))
        .route("/inbound/{id}", get(inbound_routes::one))
        .route("/inbound/{id}/message", get(inbound_routes::message))
        .route("/inbound/{id}/acknowledgement", post(inbound_routes::acknowledge))
        .merge(audit_routes::router())
        .route("/FHIR/R4/$validate", post(validate::any))
        .route("/FHIR/R4/{type}/$validate", post(validate::of_type))
        .method_not_allowed_fallback(async || {
            let issue = Issue::error(IssueType::NotSupported, "this path does not take this method");
            let hint =
                "POST /records/{interface}, GET /messages/{id}, GET /handovers, GET /reviews or POST /FHIR/R4/$validate";
            outcome(StatusCode::METHOD_NOT_ALLOWED, &[issue.hint(hint)])
        })
        .fallback(async || {
            let text = "there is nothing at this path";
            outcome(StatusCode::NOT_FOUND, &[Issue::error(IssueType::NotFound, text).hint("POST /records/{interface}")])
        })
        .with_state(service)
}

async fn submit(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    Extension(account): Extension<Account>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let started = Stopwatch::now();
    if let Err(response) = unambiguous(&headers) {
        return *response;
    }
    let Some(interface) = path.ok().and_then(|Path(name)| name.parse::<InterfaceName>().ok()) else {
        let issue = Issue::error(IssueType::NotFound, "there is no such interface");
        return outcome(StatusCode::NOT_FOUND, &[issue.hint("check the interface's name in the path")]);
    };
    let Some(wish) = wish(query.as_deref()) else {
        let issue = Issue::error(IssueType::NotSupported, "the query has a parameter other than dry-run");
        return outcome(
            StatusCode::BAD_REQUEST,
            &[issue.hint("write ?dry-run to see what would leave, ?dry-run=lineage to see why, or no query")],
        );
    };
    let permitted = match wish {
        Wish::SeeBundle | Wish::SeeLineage => look(&service, &peer, &headers, Action::Preview, None).await,
        Wish::Send => permit(&service, &peer, &headers, Action::Submit, None).await,
    };
    let principal = match permitted {
        Ok(principal) => principal,
        Err(response) => return *response,
    };
    let by = Some(principal.id.clone());
    let sees_withheld = wish == Wish::SeeLineage && principal.may(Action::ReadWithheld);
    if sees_withheld
        && let Err(response) = looked(&service, &peer, principal, Action::ReadWithheld, (Object::Site, None)).await
    {
        return *response;
    }
    let body = match read(&service, body).await {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default().to_owned());
    let submission = Submission {
        sender: peer.party,
        by,
        interface,
        content_type: text(&header::CONTENT_TYPE),
        idempotency_key: text(&IDEMPOTENCY_KEY),
        body,
        received_at: clock::now(),
    };
    let working = account.work(submission.body.len()).await;
    if wish != Wish::Send {
        return preview(&service, submission, (wish, sees_withheld)).await;
    }
    // In a task of its own: a sender that hangs up does not leave a message half-way, stored but not announced. What the
    // request takes it keeps until then.
    let accepting = async move {
        let response = accept(&service, submission, started).await;
        drop((working, account));
        response
    };
    match tokio::spawn(accepting).await {
        Ok(response) => response,
        Err(_) => {
            let issue = Issue::error(IssueType::Exception, "the gateway failed while it took the record");
            let hint = "send the same record again under the same key, and tell the gateway's operator";
            outcome(StatusCode::INTERNAL_SERVER_ERROR, &[issue.hint(hint)])
        }
    }
}

/// What a submission is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// To be sent.
    Send,
    /// To see the Bundle that would leave.
    SeeBundle,
    /// To see where each element of it comes from, and what would not leave.
    SeeLineage,
}

/// What the query asks for; `None` for any other parameter, since a slip of the pen must not send a record.
fn wish(query: Option<&str>) -> Option<Wish> {
    match query.unwrap_or_default() {
        "" => Some(Wish::Send),
        "dry-run" | "dry-run=" | "dry-run=true" => Some(Wish::SeeBundle),
        "dry-run=lineage" => Some(Wish::SeeLineage),
        _ => None,
    }
}

async fn accept(service: &Arc<Service>, submission: Submission, started: Stopwatch) -> Response {
    match take(service, submission, started).await {
        Ok(queued) => accepted(&queued),
        Err(refusal) => refused(&refusal),
    }
}

/// Takes a submission to the outbox, has its first attempt made if that began, and counts what came of it.
pub(super) async fn take(
    service: &Arc<Service>,
    submission: Submission,
    started: Stopwatch,
) -> Result<Queued, Refusal> {
    let interface = submission.interface.clone();
    let known = service.gateway.stages().interfaces.contains_key(&interface);
    let label = if known { interface.as_str() } else { "unknown" };
    match pipeline::accept(&service.gateway, submission, clock::now).await {
        Ok(Taken { queued, begun }) => {
            let what = if queued.is_repeat() { "repeated" } else { "accepted" };
            service.metrics.submitted(label, what, started.elapsed());
            if !queued.is_repeat() {
                service.metrics.lacked(label, "marked", queued.lacks().len());
            }
            match begun {
                Some((place, begun)) => super::outbox::attempt(service.clone(), place, Due::Begun(begun)),
                None => service.wake(queued.recipient()),
            }
            Ok(queued)
        }
        Err(refusal) => {
            service.metrics.submitted(label, refusal.stage(), started.elapsed());
            service.metrics.lacked(label, "refused", refusal.missing() as usize);
            match &refusal {
                Refusal::Outbox(outbox::Error::Full(Full::Disk)) => service.tally.count(Limit::Disk),
                Refusal::Outbox(outbox::Error::Full(_)) => service.tally.count(Limit::Outbox),
                _ => {}
            }
            Err(refusal)
        }
    }
}

/// Refuses what two readers could read in two ways: a header that stands twice, and a body that is not as it was
/// written (RFC 9110 sections 5.3 and 8.4).
pub(super) fn unambiguous(headers: &HeaderMap) -> Result<(), Box<Response>> {
    for name in [IDEMPOTENCY_KEY, header::CONTENT_TYPE] {
        if headers.get_all(&name).iter().count() > 1 {
            let issue = Issue::error(IssueType::Value, format!("the header {name} stands twice"));
            return Err(Box::new(outcome(StatusCode::BAD_REQUEST, &[issue.hint("send it once")])));
        }
    }
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let issue = Issue::error(IssueType::NotSupported, "the record is compressed");
        let response = outcome(StatusCode::UNSUPPORTED_MEDIA_TYPE, &[issue.hint("send it without Content-Encoding")]);
        return Err(Box::new(([(header::ACCEPT_ENCODING, "identity")], response).into_response()));
    }
    Ok(())
}

/// The body, within the configured size and time.
pub(super) async fn read(service: &Service, body: Body) -> Result<Vec<u8>, Box<Response>> {
    let limit = service.limits.body_bytes;
    let unread = match body::whole(body, limit, service.limits.body_timeout).await {
        Ok(body) => return Ok(body),
        Err(unread) => unread,
    };
    let again = "send the record again";
    let (status, issue) = match unread {
        Unread::TooLong => {
            service.tally.count(Limit::BodySize);
            let issue = Issue::error(IssueType::TooLong, format!("the record is larger than {limit} bytes"));
            let hint = "split the record, or ask the operator to raise records.max_body_bytes";
            (StatusCode::PAYLOAD_TOO_LARGE, issue.hint(hint))
        }
        Unread::Late | Unread::Slow => {
            if unread == Unread::Late {
                service.tally.count(Limit::BodyTime);
            }
            let issue = Issue::error(IssueType::Transient, "the body did not arrive in time");
            (StatusCode::REQUEST_TIMEOUT, issue.hint(again))
        }
        Unread::NoRoom => {
            let issue = Issue::error(IssueType::Throttled, "there is no room for the record now");
            return Err(Box::new(later(outcome(StatusCode::SERVICE_UNAVAILABLE, &[issue.hint(again)]), 1)));
        }
        Unread::Broken => {
            let issue = Issue::error(IssueType::Structure, "the body ended before it was complete");
            (StatusCode::BAD_REQUEST, issue.hint(again))
        }
    };
    Err(Box::new(outcome(status, &[issue])))
}

/// The same answer, with when to ask again.
pub(super) fn later(response: Response, seconds: u32) -> Response {
    ([(header::RETRY_AFTER, seconds.to_string())], response).into_response()
}

/// 202, and where to follow the message. A repeat gets the same answer as the first submission did.
fn accepted(queued: &Queued) -> Response {
    let id = queued.message();
    let location = format!("/messages/{id}");
    let lacks: Vec<&str> = queued.lacks().iter().map(ElementPath::as_str).collect();
    let mut body = json!({
        "message": id.to_string(),
        "state": queued.state().code(),
        "recipient": queued.recipient().as_str(),
        "repeated": queued.is_repeat(),
        "status": location,
    });
    if !lacks.is_empty() {
        body["missing"] = json!(lacks);
    }
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], no_store(), Json(body)).into_response()
}

/// The Bundle as it would leave; or its lineage, with what would not leave for those who may see that.
async fn preview(service: &Service, submission: Submission, (wish, sees_withheld): (Wish, bool)) -> Response {
    match pipeline::dry_run(&service.gateway, submission, clock::now()).await {
        Ok(attested) if wish == Wish::SeeLineage => {
            (StatusCode::OK, no_store(), Json(attested.lineage().to_json(sees_withheld))).into_response()
        }
        Ok(attested) => {
            let fhir = [(header::CONTENT_TYPE, "application/fhir+json")];
            (StatusCode::OK, fhir, no_store(), attested.disclosable().bundle().source().to_owned()).into_response()
        }
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let status = status(refusal);
    let response = outcome(status, &refusal.issues());
    if status == StatusCode::SERVICE_UNAVAILABLE { later(response, 5) } else { response }
}

/// The HTTP status of each refusal. A key that is used again for other content is 422
/// (draft-ietf-httpapi-idempotency-key-header, section 2.7).
fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownInterface { .. } => StatusCode::NOT_FOUND,
        Refusal::UnknownSender => StatusCode::FORBIDDEN,
        Refusal::Intake(error) => match error {
            intake::Error::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            intake::Error::Syntax(_)
            | intake::Error::Xml { .. }
            | intake::Error::Hl7v2(_)
            | intake::Error::IdempotencyKey => StatusCode::BAD_REQUEST,
            intake::Error::Model { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        },
        Refusal::Mapping(_) | Refusal::Incomplete { .. } | Refusal::Unsaid | Refusal::Validation(_) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Refusal::Disclosure(
            disclosure::Error::NoAgreement { .. }
            | disclosure::Error::NotInForce { .. }
            | disclosure::Error::Consent { .. },
        ) => StatusCode::FORBIDDEN,
        Refusal::Disclosure(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Outbox(outbox::Error::Conflict | outbox::Error::NoRoute { .. }) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Outbox(outbox::Error::Full(_) | outbox::Error::Store(StoreError::Unavailable(_))) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Refusal::Outbox(outbox::Error::Store(_)) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn state(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    match standing(&service, &peer, path, &headers).await {
        Ok(standing) => (StatusCode::OK, no_store(), Json(standing)).into_response(),
        Err(response) => *response,
    }
}

/// Where a message stands, with its answers and who holds responsibility. That words of a rejection are shown is audited.
async fn standing(
    service: &Service,
    peer: &Peer,
    path: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
) -> Result<Value, Box<Response>> {
    let (record, principal) = readable(service, peer, path, headers, Action::ReadMessage).await?;
    let store = service.gateway.store();
    let answers = store.answers_of(record.id).await.map_err(no_answer)?;
    let sees_words = principal.may(Action::ReadWords);
    let responsibility = handover::responsibility(store, &record, sees_words).await.map_err(no_answer)?;
    if handover::tells_words(&responsibility) {
        looked(service, peer, principal, Action::ReadWords, (Object::Message(record.id), None)).await?;
    }
    info!(message_id = %record.id, "message state read");
    let mut summary = message::summary(&record);
    summary["answers"] = answers.iter().map(message::answer_summary).collect();
    summary["responsibility"] = responsibility;
    Ok(summary)
}

/// Where each element of the message came from, and which clause let it pass. Paths, never values.
async fn lineage(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    match lineage_of(&service, &peer, path, &headers, Action::ReadLineage).await {
        Ok(lineage) => (StatusCode::OK, no_store(), Json(lineage.to_json(false))).into_response(),
        Err(response) => *response,
    }
}

/// What was held back from the message, and why. Paths, never values.
async fn withheld(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    match lineage_of(&service, &peer, path, &headers, Action::ReadWithheld).await {
        Ok(lineage) => (StatusCode::OK, no_store(), Json(lineage.withheld)).into_response(),
        Err(response) => *response,
    }
}

async fn lineage_of(
    service: &Service,
    peer: &Peer,
    path: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    action: Action,
) -> Result<Lineage, Box<Response>> {
    let (record, _) = readable(service, peer, path, headers, action).await?;
    let lineage = provenance::lineage(service.gateway.store(), record.id).await;
    let lineage = lineage.map_err(|unreadable| match unreadable {
        Unreadable::Store(error) => no_answer(error),
        damaged => {
            error!(message_id = %record.id, %damaged, "a lineage cannot be shown: run `weir audit verify`");
            let issue = Issue::error(IssueType::Exception, "the lineage cannot be read");
            let hint = "tell the technical administrator: what the gateway stored was changed";
            Box::new(outcome(StatusCode::INTERNAL_SERVER_ERROR, &[issue.hint(hint)]))
        }
    })?;
    lineage.ok_or_else(|| Box::new(unknown_message()))
}

/// The message in the path, if it is the caller's organisation's, and the caller, who may do `action` with it.
async fn readable<'s>(
    service: &'s Service,
    peer: &Peer,
    path: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    action: Action,
) -> Result<(MessageRecord, &'s Principal), Box<Response>> {
    let id = path.ok().and_then(|Path(id)| id.parse::<MessageId>().ok());
    let principal = look(service, peer, headers, action, id).await?;
    let id = id.ok_or_else(|| Box::new(unknown_message()))?;
    let found = service.gateway.store().message(id).await.map_err(no_answer)?;
    let own = found.filter(|record| record.sender == peer.party).ok_or_else(|| Box::new(unknown_message()))?;
    Ok((own, principal))
}

pub(super) fn no_answer(error: StoreError) -> Box<Response> {
    warn!(%error, "the store could not be read");
    let issue = Issue::error(IssueType::Transient, "the store does not answer");
    Box::new(later(outcome(StatusCode::SERVICE_UNAVAILABLE, &[issue.hint("ask again in a few seconds")]), 5))
}

/// Not found and not yours look alike.
fn unknown_message() -> Response {
    let issue = Issue::error(IssueType::NotFound, "there is no message with this id");
    outcome(StatusCode::NOT_FOUND, &[issue.hint("use the Location of the 202 answer")])
}

pub(super) fn outcome(status: StatusCode, issues: &[Issue]) -> Response {
    let fhir = [(header::CONTENT_TYPE, "application/fhir+json")];
    (status, fhir, no_store(), operation_outcome(issues)).into_response()
}

pub(super) fn no_store() -> [(HeaderName, &'static str); 1] {
    [(header::CACHE_CONTROL, "no-store")]
}
