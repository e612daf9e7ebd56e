//! Looks after referrals of partners that no record system has collected in time.
//!
//! Invariant: what is done about a referral is one transaction: when it is looked at next, the notices along an agreement's escalation
//! route, and the audit event. The notices are then delivered until they arrive. They hold ids, codes and times, nothing personal.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tracing::{error, warn};

use super::look_back::{LookBack, last_of};
use super::{Service, clock};
use crate::acts::notice::Telling;
use crate::audit::patient_of_referral;
use crate::disclosure::{Agreement, Agreements, Severity};
use crate::fhir::{self, instant_text};
use crate::handover::SLACK;
use crate::handover::collection::{Look, Terms, look};
use crate::identity::AgreementId;
use crate::storage::{self, INBOUND_REFERRALS, InboundLook, InboundRecord, InboundTrouble, NewNotice, Place};

/// How often the store is asked what is due.
const EVERY: Duration = Duration::from_millis(500);
/// Rows taken at a time.
const PAGE: usize = 1024;

/// Until the gateway stops.
pub(super) async fn watch(service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let (mut faulty, mut look_back) = (false, LookBack::new());
    loop {
        let back = look_back.place();
        let done = look_after(&service, back).await;
        if back.is_some()
            && let Ok(last) = done
        {
            look_back.turn(last);
        }
        if let (Err(error), false) = (&done, faulty) {
            error!(%error, "referrals that wait could not be looked after; the next try follows");
        }
        faulty = done.is_err();
        if tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

/// Does what is due; with a place also for a page of what came when the clock was ahead, after that place. The last place of the page,
/// unless none follows.
async fn look_after(service: &Service, back: Option<Place>) -> Result<Option<Place>, storage::Error> {
    let (store, now) = (service.gateway.store(), clock::now());
    let mut due = store.inbound_due(now, PAGE).await?;
    let mut last = None;
    if let Some(after) = back {
        let page = store.inbound_later(now + SLACK, after, PAGE).await?;
        last = last_of(&page, PAGE);
        due.extend(page.into_iter().map(|(_, record)| record));
    }
    if due.is_empty() {
        return Ok(None);
    }
    // What came over an interface that the site has no more waits all the same.
    let terms = service.gateway.stages().inbound.as_ref().map(|inbound| inbound.collection.clone()).unwrap_or_default();
    for record in due {
        if let Some(found) = look(&record, &terms, now) {
            let noted = note(service, (&record, &terms), found, now).await;
            store.damage().sift(("inbound", record.id), noted)?;
        }
    }
    Ok(last)
}

/// Notes what came of looking at one referral, and tells people, once. One that was collected meanwhile is let be.
async fn note(
    service: &Service,
    (record, terms): (&InboundRecord, &Terms),
    Look { tell, due_at, next }: Look,
    now: fhir::Instant,
) -> Result<(), storage::Error> {
    let gateway = &service.gateway;
    let told = match tell {
        Some(trouble) => {
            let patient = patient_of_referral(gateway.store(), record).await?;
            let event = gateway.recorder.referral_alarm((record, patient.as_ref()), (trouble, due_at), now);
            Some((trouble, notices(service, (record, terms), (trouble, due_at), now), event))
        }
        None => None,
    };
    let noted = InboundLook { id: record.id, before: record.alert_at, due_at, next, told };
    if gateway.store().look_at_inbound(noted).await?
        && let Some(trouble) = tell
    {
        let (referral, sender) = (record.id, &record.sender);
        warn!(%referral, %sender, %trouble, "people are told of a referral that nobody collects");
        service.metrics.inbound_alarm(record.interface.as_str(), trouble.code());
    }
    Ok(())
}

/// The notices of a referral that waits.
fn notices(
    service: &Service,
    (record, terms): (&InboundRecord, &Terms),
    (trouble, due_at): (InboundTrouble, fhir::Instant),
    now: fhir::Instant,
) -> Vec<NewNotice> {
    // Each is told once: what came of looking at it is not written a second time.
    let alarm = record.id.part(&format!("referral {trouble} {}", instant_text(now)));
    let (stages, severity) = (service.gateway.stages(), severity(record, trouble));
    let agreement = route(&stages.agreements, (record, terms), severity, now);
    let nobody: AgreementId = INBOUND_REFERRALS.parse().expect("they are words joined by hyphens");
    let telling = Telling {
        kind: format!("referral-{trouble}"),
        incident: alarm,
        ids: (alarm, ""),
        severity,
        at: now,
        is_logged: true,
        provider: &stages.provider.ods,
        message: record.bundle.into(),
        recipient: &stages.provider.ods,
        interface: &record.interface,
        agreement: (agreement.map_or(&nobody, Agreement::id), agreement.map(Agreement::version)),
    };
    let more = json!({
        "agreement": agreement.map(|agreement| json!({ "id": agreement.id().as_str(), "version": agreement.version() })),
        "sender": record.sender.as_str(),
        "referral": record.id.to_string(),
        "priority": record.priority,
        "state": record.state(),
        "receivedAt": instant_text(record.received_at),
        "collectBy": instant_text(due_at),
        "text": text(trouble),
        "hint": "see why the record system does not collect it: `GET /inbound` lists what waits, `GET /inbound/{id}` shows it",
    });
    telling.along(agreement, &more)
}

fn text(trouble: InboundTrouble) -> &'static str {
    match trouble {
        InboundTrouble::NearDue => "No record system has collected a referral, and the time to do so is nearly over.",
        InboundTrouble::Overdue => "No record system has collected a referral, and the time to do so is over.",
        InboundTrouble::DueUnknown => {
            "No record system has collected a referral, and the clock was set back since it came: its time may be over."
        }
    }
}

/// Along which agreement's escalation route people are told: the one that the site names, as long as it is there; else one that is in
/// force with the sender. Without any, the notice goes into the spool folder and to the log.
fn route<'a>(
    agreements: &'a Agreements,
    (record, terms): (&InboundRecord, &Terms),
    severity: Severity,
    now: fhir::Instant,
) -> Option<&'a Agreement> {
    let named = terms.escalation.as_ref().and_then(|id| agreements.version(id, None, now));
    let with_sender = agreements.iter().filter(|agreement| agreement.recipient().ods == record.sender);
    let mut in_force: Vec<_> = with_sender.filter(|agreement| agreement.not_in_force(now).is_none()).collect();
    in_force.sort_by_key(|agreement| agreement.id());
    let mut all = named.into_iter().chain(in_force).map(|agreement| &**agreement);
    all.find(|agreement| !agreement.escalation_route(severity).is_empty())
}

/// An emergency that nobody collects, and what is overdue, are critical: a person waits, and nobody knows of them.
fn severity(record: &InboundRecord, trouble: InboundTrouble) -> Severity {
    let emergency = record.priority.as_deref() == Some("stat");
    match trouble {
        InboundTrouble::Overdue => Severity::Critical,
        InboundTrouble::NearDue | InboundTrouble::DueUnknown if emergency => Severity::Critical,
        InboundTrouble::NearDue | InboundTrouble::DueUnknown => Severity::Major,
    }
}
