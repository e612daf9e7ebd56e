//! Reviews over HTTP: `GET /reviews`, `GET /reviews/{message}`, `POST /reviews/{message}/completion`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::access::{look, permit};
use super::listener::Peer;
use super::records::{no_answer, no_store, outcome, read, unambiguous};
use super::{Service, clock};
use crate::acts::{Act, Deed, Outcome, Refusal, review};
use crate::disclosure::SharingDecision;
use crate::fhir::outcome::{Issue, IssueType};
use crate::identity::MessageId;
use crate::identity::principal::Action;
use crate::storage::{Content, Error, Finding};

/// Rows that are listed.
const MOST: usize = 10_000;

/// The end of a review, as it is handed in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Completion {
    finding: Finding,
    words: String,
}

/// The reviews that are open; with `?all` the completed ones too. No personal data.
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let open_only = match query.as_deref().unwrap_or_default() {
        "" => true,
        "all" => false,
        _ => {
            let issue = Issue::error(IssueType::NotSupported, "the query has a parameter other than all");
            return outcome(StatusCode::BAD_REQUEST, &[issue.hint("write ?all to see completed reviews too")]);
        }
    };
    if let Err(response) = look(&service, &peer, &headers, Action::ReadReviews, None).await {
        return *response;
    }
    match service.gateway.store().reviews(open_only, MOST).await {
        Ok(reviews) => {
            let now = clock::now();
            let rows: Vec<_> = reviews.iter().map(|each| review::summary(each, now)).collect();
            (StatusCode::OK, no_store(), Json(rows)).into_response()
        }
        Err(error) => *no_answer(error),
    }
}

/// One review as a FHIR Task, with the decision.
pub(super) async fn one(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let id = path.ok().and_then(|Path(id)| id.parse::<MessageId>().ok());
    if let Err(response) = look(&service, &peer, &headers, Action::ReadReviews, id).await {
        return *response;
    }
    let Some(id) = id else { return unknown() };
    match task(&service, id).await {
        Ok(Some(task)) => {
            (StatusCode::OK, [(header::CONTENT_TYPE, "application/fhir+json")], no_store(), task).into_response()
        }
        Ok(None) => unknown(),
        Err(error) => *no_answer(error),
    }
}

async fn task(service: &Service, id: MessageId) -> Result<Option<String>, Error> {
    let store = service.gateway.store();
    let Some(found) = store.review(id).await? else { return Ok(None) };
    let decision = store.content(id, Content::Decision).await?.unwrap_or_default();
    let Ok(decision) = serde_json::from_slice::<SharingDecision>(&decision) else {
        return Err(Error::Damaged(format!("the decision of message {id} cannot be read")));
    };
    let words = store.content(id, Content::Words).await?.map(|words| String::from_utf8_lossy(&words).into_owned());
    let provider = &service.gateway.stages().provider.ods;
    let now = clock::now();
    Ok(Some(review::task(&found, &decision, words.as_deref(), &found.reviewer, provider, now)))
}

/// Completes a review in the name of the caller.
pub(super) async fn complete(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(response) = unambiguous(&headers) {
        return *response;
    }
    let id = path.ok().and_then(|Path(id)| id.parse::<MessageId>().ok());
    let by = match permit(&service, &peer, &headers, Action::CompleteReview, id).await {
        Ok(principal) => principal.id.clone(),
        Err(response) => return *response,
    };
    let Some(message) = id else { return unknown() };
    let body = match read(&service, body).await {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let Ok(Completion { finding, words }) = serde_json::from_slice(&body) else {
        let issue = Issue::error(IssueType::Structure, "the body is not a completion");
        let hint =
            "send {\"finding\": \"justified\", \"justified-with-learning\" or \"not-justified\", \"words\": \"…\"}";
        return outcome(StatusCode::BAD_REQUEST, &[issue.hint(hint)]);
    };
    let (now, store) = (clock::now(), service.gateway.store());
    let act = Act::new(&service.site, Deed::CompleteReview { message, finding, words }, now);
    match service.desk().carry_out(store, by, &act, now).await {
        Ok(Outcome::Performed | Outcome::Before) => match store.review(message).await {
            Ok(Some(review)) => (StatusCode::OK, no_store(), Json(review::summary(&review, now))).into_response(),
            Ok(None) => unknown(),
            Err(error) => *no_answer(error),
        },
        Ok(Outcome::Refused(refusal)) => refused(&refusal),
        Err(error) => *no_answer(error),
    }
}

fn refused(refusal: &Refusal) -> Response {
    let (status, code) = match refusal {
        Refusal::Review(Error::UnknownReview(_)) => (StatusCode::NOT_FOUND, IssueType::NotFound),
        Refusal::Review(_) => (StatusCode::CONFLICT, IssueType::Conflict),
        Refusal::Wordless => (StatusCode::UNPROCESSABLE_ENTITY, IssueType::Required),
        _ => (StatusCode::FORBIDDEN, IssueType::Forbidden),
    };
    outcome(status, &[Issue::error(code, refusal.to_string()).hint(refusal.hint())])
}

fn unknown() -> Response {
    let issue = Issue::error(IssueType::NotFound, "there is no review of a message with this id");
    outcome(StatusCode::NOT_FOUND, &[issue.hint("GET /reviews lists the reviews")])
}
