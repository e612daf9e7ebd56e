//! Looks after messages whose deadline nears, and those that ended badly: moves them to the partner's next route, and
//! tells people along the agreement's escalation route. Tells them too, once for each message, when its partner does not
//! let us in.
//!
//! Invariant: what is done about a message is one transaction, with its notices and its audit event; the notices are
//! then delivered as those of incidents are, until they arrive. They hold ids, codes and times, nothing personal. Somebody
//! is always told: every notice is also a line of the log, and without a route in the agreement it goes to the spool
//! folder.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::look_back::LOOK_BACK;
use super::{Service, clock};
use crate::acts::notice::Telling;
use crate::audit::patient_of;
use crate::delivery::deadline::{self, Alarm, Trouble};
use crate::disclosure::{Agreement, Severity};
use crate::fhir::{self, instant_text};
use crate::identity::MessageId;
use crate::storage::{self, MessageRecord, NewNotice, Raised, State};

/// How often the store is asked what is due.
const EVERY: Duration = Duration::from_millis(500);
/// Rows taken at a time. Those whose attempt is under way may stay where they are: more than any lanes have.
const PAGE: usize = 65_536;

/// Until the gateway stops.
pub(super) async fn watch(service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let (mut faulty, mut looked_back) = (false, None);
    loop {
        let looks_back = looked_back.is_none_or(|since: Instant| since.elapsed() >= LOOK_BACK);
        let done = raise_due(&service, looks_back).await;
        if looks_back && matches!(done, Ok(true)) {
            looked_back = Some(Instant::now());
        }
        if let (Err(error), false) = (&done, faulty) {
            error!(%error, "deadlines could not be looked after; the next try follows");
        }
        faulty = done.is_err();
        if tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

/// Does what is due; with `looks_back` also for messages that were accepted when the clock was ahead. Whether all was done:
/// not for a message that moved on meanwhile.
async fn raise_due(service: &Service, looks_back: bool) -> Result<bool, storage::Error> {
    let (store, now) = (service.gateway.store(), clock::now());
    let mut due = store.alerts_due(now, PAGE).await?;
    if looks_back {
        due.extend(store.accepted_later(now + deadline::SLACK, PAGE).await?);
    }
    let mut all = true;
    for record in due {
        let routes = service.gateway.lanes(&record.recipient).len();
        if let Some(alarm) = deadline::alarm(&record, routes, now) {
            let raised = raise(service, &record, alarm, now).await;
            all &= store.damage().sift(("messages", record.id), raised)?.unwrap_or(true);
        }
    }
    Ok(all)
}

/// Tells people that the partner of a message does not let us in, unless they were told. The deadline runs on as it did.
pub(super) async fn tell_unauthorised(service: &Service, id: MessageId) -> Result<(), storage::Error> {
    let (store, now) = (service.gateway.store(), clock::now());
    let Some(record) = store.message(id).await?.filter(|record| record.state == State::Queued) else { return Ok(()) };
    let known = store.notices_of(id).await?;
    let mut notices = notices(service, &record, Trouble::Unauthorised, now).into_iter();
    if notices.any(|notice| known.iter().any(|known| known.notice.id == notice.id)) {
        return Ok(());
    }
    let alarm = Alarm { route: None, tell: Some(Trouble::Unauthorised), next: record.handling.alert_at };
    raise(service, &record, alarm, now).await.map(drop)
}

/// Does what is to be done about one message. Whether it was: not when it moved on meanwhile.
async fn raise(
    service: &Service,
    record: &MessageRecord,
    alarm: Alarm,
    now: fhir::Instant,
) -> Result<bool, storage::Error> {
    let gateway = &service.gateway;
    let patient = patient_of(gateway.store(), record.id).await?;
    let notices = alarm.tell.map(|trouble| notices(service, record, trouble, now)).unwrap_or_default();
    let raised = Raised {
        message: record.id,
        state: record.state,
        alert_at: record.handling.alert_at,
        at: now,
        next: alarm.next,
        route: alarm.route,
        note: note(record, alarm),
        notices,
        event: gateway.recorder.alarm((record, patient.as_ref()), alarm, now),
    };
    if !gateway.store().raise(raised).await? {
        return Ok(false);
    }
    let (message_id, recipient) = (record.id, &record.recipient);
    if let Some(route) = alarm.route {
        warn!(%message_id, %recipient, route, "the deadline nears: the message goes over the partner's next route");
        service.metrics.alarm(recipient.as_str(), "next-route");
        service.wake(recipient);
    }
    if let Some(trouble) = alarm.tell {
        info!(%message_id, %recipient, %trouble, "people are told");
        service.metrics.alarm(recipient.as_str(), trouble.code());
    }
    Ok(true)
}

/// What the message says of it, beside its last outcome.
fn note(record: &MessageRecord, alarm: Alarm) -> String {
    let route = alarm.route.map(|route| format!("moved to route {route} for its deadline"));
    let told = alarm.tell.map(|trouble| format!("people told: {trouble}"));
    let before = Some(record.note.clone()).filter(|note| !note.is_empty());
    before.into_iter().chain(route).chain(told).collect::<Vec<_>>().join("; ")
}

/// The notices of a trouble with a message's delivery: ids, codes and times.
fn notices(service: &Service, record: &MessageRecord, trouble: Trouble, now: fhir::Instant) -> Vec<NewNotice> {
    let alarm = record.id.part(&match trouble {
        Trouble::Unauthorised => format!("alarm {trouble}"),
        // A message may be refused, acknowledged and refused again without an attempt in between.
        _ => format!("alarm {trouble} {}", instant_text(now)),
    });
    let stages = service.gateway.stages();
    let agreement = stages.agreements.version(&record.agreement, None, record.accepted_at).map(|it| &**it);
    let telling = Telling {
        kind: format!("delivery-{trouble}"),
        incident: alarm,
        ids: (alarm, ""),
        severity: severity(record, trouble),
        at: now,
        is_logged: true,
        provider: &stages.provider.ods,
        message: record.id,
        recipient: &record.recipient,
        interface: &record.interface,
        agreement: (&record.agreement, agreement.map(Agreement::version)),
    };
    let more = json!({
        "priority": record.handling.priority,
        "acceptedAt": instant_text(record.accepted_at),
        "deadlineAt": deadline::ends(record).map(instant_text),
        "state": record.state.code(),
        "attempts": record.attempts,
        "route": record.route,
        "text": text(trouble),
        "hint": hint(trouble),
    });
    telling.along(agreement, &more)
}

fn text(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::DeadlineNear => "A message has not arrived, and its deadline nears.",
        Trouble::DeadlineMissed => "A message has not arrived by its deadline.",
        Trouble::DeadlineUnknown => {
            "A message has not arrived, and the clock was set back since it was accepted: its deadline may be over."
        }
        Trouble::Unauthorised => {
            "A message waits, for its recipient's system does not take our certificate or token: no attempt succeeds until it does."
        }
        Trouble::Refused => "A message was refused by its recipient.",
        Trouble::Dead => "A message is dead: no further attempt is made until a person decides.",
    }
}

fn hint(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Unauthorised => {
            "ask the partner what it wants, and correct our certificate or token; `weir partner check` with its ODS code tries them. \
             Until then tell the recipient's team by another way"
        }
        _ => "tell the recipient's team by another way; `weir messages show` with the message's id says what was tried",
    }
}

/// An emergency that does not arrive, and a deadline that is missed, are critical.
fn severity(record: &MessageRecord, trouble: Trouble) -> Severity {
    let emergency = record.handling.priority.as_deref() == Some("stat");
    if emergency || trouble == Trouble::DeadlineMissed { Severity::Critical } else { Severity::Major }
}
