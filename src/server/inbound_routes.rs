//! Referrals for the provider's record system: `GET /inbound`, `GET /inbound/{id}`, `GET /inbound/{id}/message`,
//! `POST /inbound/{id}/acknowledgement`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use time::Duration;
use tracing::info;

use super::access::{look, looked, permit};
use super::listener::Peer;
use super::records::{no_answer, no_store, outcome};
use super::{Service, clock};
use crate::audit::Object;
use crate::fhir::outcome::{Issue, IssueType};
use crate::fhir::{Document, Instant, Limits, instant_text};
use crate::identity::MessageId;
use crate::identity::principal::Action;
use crate::mapping::Missing;
use crate::pipeline::inbound::missing;
use crate::pipeline::unread::{Place, unread};
use crate::storage::{Collection, Content, Error, InboundRecord, Listed};

/// Rows that are listed at once.
const MOST: usize = 10_000;

/// Those that wait to be collected, the oldest first; with `?all` the others too, the newest first, and with `?all&before={id}` those
/// that came before one. No personal data.
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(listed) = listed(query.as_deref().unwrap_or_default()) else {
        let issue = Issue::error(IssueType::NotSupported, "the query is neither all nor all&before= with an id");
        return outcome(StatusCode::BAD_REQUEST, &[issue.hint("write ?all to see what was collected too")]);
    };
    if let Err(response) = look(&service, &peer, &headers, Action::ReadInbound, None).await {
        return *response;
    }
    let store = service.gateway.store();
    if let Listed::Before(id) = listed {
        match store.inbound(id).await {
            Ok(Some(_)) => {}
            Ok(None) => return unknown(),
            Err(error) => return *no_answer(error),
        }
    }
    match store.inbounds(listed, MOST).await {
        Ok(found) => {
            let rows: Vec<Value> = found.iter().map(summary).collect();
            (StatusCode::OK, no_store(), Json(rows)).into_response()
        }
        Err(error) => *no_answer(error),
    }
}

fn listed(query: &str) -> Option<Listed> {
    match query {
        "" => Some(Listed::Waiting),
        "all" => Some(Listed::All),
        _ => query.strip_prefix("all&before=")?.parse().ok().map(Listed::Before),
    }
}

/// One of them, with the record that was made of it.
pub(super) async fn one(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let found = match read(&service, &peer, &headers, (path, "ServiceRequest")).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    let store = service.gateway.store();
    let contents = async {
        let record = store.content(found.id, Content::InboundRecord).await?;
        Ok::<_, Error>((record, store.content(found.id, Content::Inbound).await?))
    };
    match contents.await {
        Ok((record, message)) => {
            let mut body = summary(&found);
            // None when its retention has ended, or it was erased.
            let record = record.unwrap_or_default();
            body["record"] = serde_json::from_slice(&record).unwrap_or(Value::Null);
            let stages = service.gateway.stages();
            if let Ok(record) = Document::parse(record, &Limits::default()) {
                let missing = missing(&stages, &found.interface, &record);
                // Null where it cannot be told, which is not an empty list.
                body["missing"] = missing
                    .map(|missing| missing.iter().map(|each| lacking(each, found.received_at)).collect())
                    .unwrap_or_default();
            }
            if let Ok(message) = Document::parse(message.unwrap_or_default(), &Limits::default()) {
                let unread = unread(&stages, &found.interface, message, found.id.uuid()).await;
                let place = |Place { path, what }: &Place| json!({ "path": path.to_string(), "what": what });
                body["unread"] =
                    unread.as_ref().map(|unread| unread.places.iter().map(place).collect()).unwrap_or_default();
                if let Some(more) = unread.map(|unread| unread.more).filter(|more| *more > 0) {
                    body["unreadMore"] = json!(more);
                }
            }
            (StatusCode::OK, no_store(), Json(body)).into_response()
        }
        Err(error) => *no_answer(error),
    }
}

/// The message that one of them was made of, byte for byte as it came.
pub(super) async fn message(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let found = match read(&service, &peer, &headers, (path, "Bundle")).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    match service.gateway.store().content(found.id, Content::Inbound).await {
        Ok(Some(bytes)) => {
            let kind = [(header::CONTENT_TYPE, "application/fhir+json")];
            (StatusCode::OK, no_store(), kind, bytes).into_response()
        }
        Ok(None) => {
            let issue = Issue::error(
                IssueType::NotFound,
                "the message is kept no longer: its retention has ended, or it was erased",
            );
            outcome(StatusCode::NOT_FOUND, &[issue.hint("ask its sender for it")])
        }
        Err(error) => *no_answer(error),
    }
}

/// The record system has it: it waits no longer. A repeat says the same.
pub(super) async fn acknowledge(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let by = match permit(&service, &peer, &headers, Action::CollectInbound, None).await {
        Ok(principal) => principal.id.clone(),
        Err(response) => return *response,
    };
    let found = match find(&service, path).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    let (store, at, address) = (service.gateway.store(), clock::now(), peer.address.to_string());
    let event = service.gateway.recorder.referral_collected((found.bundle, found.id), &by, &address, at);
    let collected = async {
        let is_new = store.collect_inbound(Collection { id: found.id, at, by, event }).await?;
        Ok::<_, Error>((is_new, store.inbound(found.id).await?))
    };
    match collected.await {
        Ok((is_new, Some(now))) => {
            if is_new {
                info!(referral = %now.id, "a referral was collected");
            }
            (StatusCode::OK, no_store(), Json(summary(&now))).into_response()
        }
        Ok((_, None)) => unknown(),
        Err(error) => *no_answer(error),
    }
}

/// One of them, for whoever may read it; that they read it, as a resource of this type, is in the audit log.
async fn read(
    service: &Service,
    peer: &Peer,
    headers: &HeaderMap,
    (path, of): (Result<Path<String>, PathRejection>, &str),
) -> Result<InboundRecord, Box<Response>> {
    let principal = permit(service, peer, headers, Action::ReadInbound, None).await?;
    let found = find(service, path).await?;
    let object = Object::Resource(of, found.id.uuid());
    looked(service, peer, principal, Action::ReadInbound, (object, None)).await?;
    Ok(found)
}

async fn find(service: &Service, path: Result<Path<String>, PathRejection>) -> Result<InboundRecord, Box<Response>> {
    let id = path.ok().and_then(|Path(id)| id.parse::<MessageId>().ok());
    let Some(id) = id else { return Err(Box::new(unknown())) };
    let found = service.gateway.store().inbound(id).await.map_err(no_answer)?;
    found.ok_or_else(|| Box::new(unknown()))
}

/// One thing that is missing: who of us must obtain it, and by when.
fn lacking(missing: &Missing, received_at: Instant) -> Value {
    let by = received_at + Duration::hours(missing.hours.into());
    let Missing { path, what, who, question, .. } = missing;
    json!({ "path": path.to_string(), "what": what, "who": who, "by": instant_text(by), "question": question })
}

fn summary(found: &InboundRecord) -> Value {
    let mut row = json!({
        "id": found.id.to_string(),
        "sender": found.sender.as_str(),
        "message": found.bundle.to_string(),
        "interface": found.interface.as_str(),
        "receivedAt": instant_text(found.received_at),
        "state": found.state(),
    });
    if let Some(priority) = &found.priority {
        row["priority"] = json!(priority);
    }
    if let Some(due_at) = found.due_at {
        row["collectBy"] = json!(instant_text(due_at));
    }
    if let Some(told) = found.told {
        row["told"] = json!(told.code());
    }
    if let Some((at, by)) = &found.collected {
        row["collectedAt"] = json!(instant_text(*at));
        row["collectedBy"] = json!(by.as_str());
    }
    row
}

fn unknown() -> Response {
    let issue = Issue::error(IssueType::NotFound, "there is no referral with this id");
    outcome(StatusCode::NOT_FOUND, &[issue.hint("GET /inbound lists those that wait")])
}
