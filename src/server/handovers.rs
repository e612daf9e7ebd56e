//! Looks after handovers that nobody has accepted, or whose person was not reached, in time; and `GET /handovers`.
//!
//! Invariant: what is done about a handover is one transaction: its next state, the notices along the agreement's escalation
//! route, and the audit event. The notices are then delivered until they arrive. They hold ids, codes and times, nothing personal.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{error, warn};

use super::access::look;
use super::listener::Peer;
use super::look_back::{LookBack, last_of};
use super::records::{no_answer, no_store, outcome};
use super::{Service, clock};
use crate::acts::notice::Telling;
use crate::audit::patient_of;
use crate::disclosure::{Agreement, Severity};
use crate::fhir::outcome::{Issue, IssueType};
use crate::fhir::{self, instant_text};
use crate::handover::{self, SLACK, Trouble};
use crate::identity::principal::Action;
use crate::storage::{self, HandoverRecord, HandoverState, HandoverStep, NewNotice, Place};

/// How often the store is asked what is due.
const EVERY: Duration = Duration::from_millis(500);
/// Rows taken at a time.
const PAGE: usize = 1024;
/// Rows that are listed.
const MOST: usize = 10_000;

/// Until the gateway stops.
pub(super) async fn watch(service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let (mut faulty, mut look_back) = (false, LookBack::new());
    loop {
        let back = look_back.place();
        let done = raise_due(&service, back).await;
        if back.is_some()
            && let Ok(last) = done
        {
            look_back.turn(last);
        }
        if let (Err(error), false) = (&done, faulty) {
            error!(%error, "handovers could not be looked after; the next try follows");
        }
        faulty = done.is_err();
        if tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

/// Does what is due; with a place also for a page of what was opened or accepted when the clock was ahead, after that place. The last
/// place of the page, unless none follows.
async fn raise_due(service: &Service, back: Option<Place>) -> Result<Option<Place>, storage::Error> {
    let (store, now) = (service.gateway.store(), clock::now());
    let mut due = store.handovers_due(now, PAGE).await?;
    let mut last = None;
    if let Some(after) = back {
        let page = store.handovers_later(now + SLACK, after, PAGE).await?;
        last = last_of(&page, PAGE);
        due.extend(page.into_iter().map(|(_, record)| record));
    }
    for record in due {
        if let Some((trouble, after)) = handover::alarm(&record, now) {
            let raised = raise(service, &record, (trouble, after), now).await;
            store.damage().sift(("handovers", record.message), raised)?;
        }
    }
    Ok(last)
}

/// Tells people of one handover, once. One that moved on meanwhile is looked at again.
async fn raise(
    service: &Service,
    record: &HandoverRecord,
    (trouble, after): (Trouble, storage::Handover),
    now: fhir::Instant,
) -> Result<(), storage::Error> {
    let (gateway, before) = (&service.gateway, &record.handover);
    let patient = patient_of(gateway.store(), record.message).await?;
    let Some(message) = gateway.store().message(record.message).await? else { return Ok(()) };
    let of = (record.message, patient.as_ref());
    let step = HandoverStep {
        message: record.message,
        at: now,
        before: Some(before.clone()),
        is_step: before.state != after.state,
        answer: None,
        notices: notices(service, (record, message.accepted_at), (trouble, &after), now),
        event: gateway.recorder.handover_alarm(of, (before, &after), trouble.code(), now),
        after,
    };
    if gateway.store().step_handover(step).await? {
        let (message_id, recipient) = (record.message, &record.recipient);
        warn!(%message_id, %recipient, %trouble, "people are told of a handover");
        service.metrics.handover_alarm(record.interface.as_str(), trouble.code());
    }
    Ok(())
}

/// The notices of a trouble with a handover: ids, codes and times.
fn notices(
    service: &Service,
    (record, accepted_at): (&HandoverRecord, fhir::Instant),
    (trouble, after): (Trouble, &storage::Handover),
    now: fhir::Instant,
) -> Vec<NewNotice> {
    // Each is told once: the step is not written a second time.
    let alarm = record.message.part(&format!("handover {trouble} {}", instant_text(now)));
    let stages = service.gateway.stages();
    let agreement = stages.agreements.version(&record.agreement, None, accepted_at).map(|it| &**it);
    let telling = Telling {
        kind: format!("handover-{trouble}"),
        incident: alarm,
        ids: (alarm, ""),
        severity: severity(record, trouble),
        at: now,
        is_logged: true,
        provider: &stages.provider.ods,
        message: record.message,
        recipient: &record.recipient,
        interface: &record.interface,
        agreement: (&record.agreement, agreement.map(Agreement::version)),
    };
    let holder = if after.state.is_taken() { &record.recipient } else { &record.sender };
    let more = json!({
        "priority": record.priority,
        "state": after.state.code(),
        "holder": holder.as_str(),
        "deliveredAt": instant_text(after.opened_at),
        "acceptBy": instant_text(after.due_at),
        "firstContactBy": after.contact_due_at.map(instant_text),
        "text": text(trouble),
        "hint": "call the receiving team; `weir handover show` with the message's id says who holds it, and on what evidence",
    });
    telling.along(agreement, &more)
}

fn text(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::NearDue => "Nobody has accepted a handover, and the time to do so is nearly over.",
        Trouble::Overdue => "Nobody has accepted a handover, and the time to do so is over.",
        Trouble::ContactMissed => {
            "The receiving team accepted a handover, and has not said that the person was reached by the time it named."
        }
        Trouble::Rejected => "The receiving team rejected a handover: the sender holds responsibility.",
        Trouble::AcceptedAfterRejection => {
            "The receiving team accepts a handover that it had rejected: it holds responsibility."
        }
        Trouble::Conflict => "The partner contradicts what it said before of a handover: nothing was changed.",
        Trouble::DueUnknown => "The clock was set back since a handover was opened or accepted: its time may be over.",
    }
}

/// An emergency that nobody takes, what is overdue, missed or contradicted, and a rejection are critical: the sender holds
/// responsibility and has to act. So is an acceptance after a rejection: another team may have been sent for meanwhile.
fn severity(record: &HandoverRecord, trouble: Trouble) -> Severity {
    let emergency = record.priority.as_deref() == Some("stat");
    match trouble {
        Trouble::Overdue
        | Trouble::ContactMissed
        | Trouble::Rejected
        | Trouble::Conflict
        | Trouble::AcceptedAfterRejection => Severity::Critical,
        Trouble::NearDue | Trouble::DueUnknown if emergency => Severity::Critical,
        Trouble::NearDue | Trouble::DueUnknown => Severity::Major,
    }
}

/// The handovers, those that wait first; with `?state=…` those in one state. No personal data.
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let state = match query.as_deref().unwrap_or_default() {
        "" => Some(None),
        query => query.strip_prefix("state=").and_then(|code| code.parse::<HandoverState>().ok()).map(Some),
    };
    if let Err(response) = look(&service, &peer, &headers, Action::ReadMessage, None).await {
        return *response;
    }
    let Some(state) = state else {
        let issue = Issue::error(IssueType::NotSupported, "the query is not ?state= with the state of a handover");
        let hint =
            "write ?state=waiting, near-due, overdue, accepted, contact-missed, contacted, rejected or withdrawn";
        return outcome(StatusCode::BAD_REQUEST, &[issue.hint(hint)]);
    };
    match service.gateway.store().handovers(state, MOST).await {
        Ok(found) => {
            let own = found.iter().filter(|record| record.sender == peer.party);
            let rows: Vec<Value> = own.map(handover::summary).collect();
            (StatusCode::OK, no_store(), Json(rows)).into_response()
        }
        Err(error) => *no_answer(error),
    }
}
