//! The operators' endpoint: `/healthz`, `/readyz`, `/metrics`. Plain HTTP, for loopback or a management network.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::{Service, clock};
use crate::delivery::Lane;
use crate::fhir::instant_text;
use crate::storage::{self, InboundCount, Load};

/// The routes.
pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(service)
}

/// 200 when records are taken: the store answers and keeps what is written, there is room for more, and the gateway is
/// not draining. Else 503, with what is wrong. A partner that fails, a folder whose files wait, or a damaged row makes the gateway no less
/// ready: they are told as detail.
async fn ready(State(service): State<Arc<Service>>) -> Response {
    let draining = service.is_draining();
    let load = service.gateway.store().load().await;
    let takes = load.as_ref().is_ok_and(|load| load.failing.is_none() && load.full.is_none());
    let status = if takes && !draining { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reviews = service.gateway.store().review_counts(clock::now()).await.unwrap_or_default();
    let store = match &load {
        Ok(load) => load.failing.clone().unwrap_or_else(|| "ok".to_owned()),
        Err(error) => error.to_string(),
    };
    let (agreements, faults) = (service.gateway.stages().agreements.clone(), service.agreements.faults());
    let detail = json!({
        "ready": status.is_success(),
        "store": store,
        "outbox": outbox(&load.unwrap_or_default()),
        "draining": draining,
        "reviews": { "open": reviews.open, "overdue": reviews.overdue },
        "routes": routes(&service),
        "inbound": inbound(&service).await,
        "incidentNotices": { "waiting": reviews.notices_waiting },
        "agreements": {
            "versions": agreements.iter().count(),
            "inForce": agreements.count_in_force(clock::now()),
            "folder": if faults == 0 { "used" } else { "refused: the last good agreements are used" },
            "faults": faults,
        },
        "certificates": certificates(&service),
        "witnesses": service.witnesses.shown(),
        "folders": service.folders.shown(),
        "damagedRows": service.gateway.store().damage().count(),
    });
    (status, Json(detail)).into_response()
}

/// Referrals of partners that wait to be collected; `null` when the store does not say.
async fn inbound(service: &Service) -> Option<serde_json::Value> {
    let counts = service.gateway.store().inbound_counts(clock::now()).await.ok()?;
    let sum = |of: fn(&InboundCount) -> u64| counts.iter().map(of).sum::<u64>();
    let oldest = counts.iter().map(|count| count.oldest).min();
    Some(json!({
        "waiting": sum(|count| count.waiting),
        "overdue": sum(|count| count.overdue),
        "oldest": oldest.map(instant_text),
    }))
}

/// What waits to be sent, and whether more is taken.
fn outbox(load: &Load) -> serde_json::Value {
    json!({
        "takesMore": load.full.is_none(),
        "why": load.full.map(|full| full.to_string()),
        "waitingMessages": load.messages,
        "waitingBytes": load.bytes,
        "freeBytes": load.free_bytes,
    })
}

/// Whether the files of TLS are what is used, and what ends within 30 days; a revocation list, within 12 hours.
fn certificates(service: &Service) -> serde_json::Value {
    let (now, faults) = (clock::now(), service.certificates.faults());
    let ending = service.certificates.ending(now).into_iter().map(|(place, term)| {
        let days = (term.until - now).whole_days();
        json!({ "place": place, "what": term.what, "until": instant_text(term.until), "days": days, "ended": term.until < now })
    });
    json!({
        "files": if faults == 0 { "used" } else { "refused: the last good ones are used" },
        "faults": faults,
        "ending": ending.collect::<Vec<_>>(),
    })
}

/// Where each lane stands, by recipient and route.
fn routes(service: &Service) -> Vec<serde_json::Value> {
    let now = tokio::time::Instant::now();
    let mut lanes: Vec<_> = service.gateway.lanes.values().flatten().collect();
    lanes.sort_by_key(|lane| (lane.party(), lane.route()));
    let shown = |lane: &Arc<Lane>| {
        json!({
            "recipient": lane.party().as_str(),
            "route": lane.route(),
            "breaker": lane.standing(now).code(),
            "attemptsUnderWay": lane.under_way(),
            "takes": service.findings.shown(lane),
        })
    };
    lanes.into_iter().map(shown).collect()
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let store = service.gateway.store();
    let counted = async {
        let counts = (store.counts().await?, store.review_counts(clock::now()).await?);
        service.metrics.handovers(&store.handover_counts().await?);
        let interface = service.gateway.stages().inbound.as_ref().map(|inbound| inbound.name.clone());
        service.metrics.inbound(&store.inbound_counts(clock::now()).await?, interface, clock::now());
        Ok::<_, storage::Error>((counts.0, counts.1, store.load().await?))
    };
    match counted.await {
        Ok((counts, reviews, load)) => {
            service.metrics.load(&load);
            service.metrics.damaged(store.damage().count());
            let agreements = service.gateway.stages().agreements.clone();
            service.metrics.agreements(&agreements, service.agreements.faults(), clock::now());
            service.metrics.certificates(&service.certificates.terms(), service.certificates.faults());
            service.metrics.lanes(service.gateway.lanes.values().flatten());
            service.metrics.support(service.gateway.lanes.values().flatten(), |lane| service.findings.support(lane));
            service.metrics.witnesses(service.witnesses.sizes());
            let text = service.metrics.render(&counts, reviews);
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
