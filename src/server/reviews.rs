//! Looks after reviews: says which became overdue, once each, and delivers notices of incidents until they arrive.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Service, clock};
use crate::audit::{patient_of, patient_of_referral};
use crate::fhir::Instant;
use crate::storage::{self, Event, NoticeRecord, NoticeResult, NoticeStep, ReviewRecord, Window};

/// How often the store is asked what is due.
const EVERY: Duration = Duration::from_millis(500);
/// Rows taken at a time, of notices to each place.
const PAGE: usize = 64;

/// Until the gateway stops.
pub(super) async fn watch_deadlines(service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let mut faulty = false;
    loop {
        let done = say_overdue(&service).await;
        if let (Err(error), false) = (&done, faulty) {
            error!(%error, "overdue reviews could not be looked for; the next try follows");
        }
        faulty = done.is_err();
        if is_over(&mut stopped).await {
            return;
        }
    }
}

async fn say_overdue(service: &Service) -> Result<(), storage::Error> {
    let (store, now) = (service.gateway.store(), clock::now());
    for review in store.newly_overdue(now, PAGE).await? {
        let said = say(service, &review, now).await;
        store.damage().sift(("reviews", review.message), said)?;
    }
    Ok(())
}

async fn say(service: &Service, review: &ReviewRecord, now: Instant) -> Result<(), storage::Error> {
    let gateway = &service.gateway;
    let patient = patient_of(gateway.store(), review.message).await?;
    let event = gateway.recorder.review_overdue(review, patient.as_ref(), now);
    if gateway.store().mark_overdue(review.message, now, event).await? {
        let (message, reviewer) = (review.message, &review.reviewer);
        error!(message_id = %message, %reviewer, "the review of a sharing without consent is overdue");
    }
    Ok(())
}

/// The attempts at notices that are under way.
#[derive(Default)]
struct Attempts {
    tasks: JoinSet<Result<Option<()>, storage::Error>>,
    busy: HashMap<Id, Uuid>,
}

impl Attempts {
    /// Begins an attempt at each notice that is due and has none under way, [`PAGE`] at a time at most to each place: one that does not
    /// answer holds up no notice to another. Gives what the attempts that ended came to.
    async fn go_on(&mut self, service: &Arc<Service>) -> Result<(), storage::Error> {
        let mut noted = Ok(());
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            let task = match ended {
                Ok((task, ended)) => {
                    noted = noted.and(ended.map(drop));
                    task
                }
                Err(error) => {
                    error!(is_panic = error.is_panic(), "an attempt at a notice ended abnormally");
                    error.id()
                }
            };
            self.busy.remove(&task);
        }
        let window = Window::new(clock::now(), service.notifier.schedule.max);
        for notice in service.gateway.store().notices_due(window, PAGE).await? {
            let id = notice.notice.id;
            if self.busy.values().any(|busy| *busy == id) {
                continue;
            }
            let service = Arc::clone(service);
            let task = self.tasks.spawn(async move {
                let attempted = attempt(&service, notice).await;
                service.gateway.store().damage().sift(("notices", id), attempted)
            });
            self.busy.insert(task.id(), id);
        }
        noted
    }
}

/// Delivers notices until the gateway stops; what is not delivered then waits for the next start.
pub(super) async fn deliver_notices(service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let (mut attempts, mut faulty) = (Attempts::default(), false);
    loop {
        let done = tokio::select! {
            done = attempts.go_on(&service) => done,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        if let (Err(error), false) = (&done, faulty) {
            error!(%error, "notices of incidents could not be read or noted; the next try follows");
        }
        faulty = done.is_err();
        if is_over(&mut stopped).await {
            return;
        }
    }
}

async fn attempt(service: &Service, due: NoticeRecord) -> Result<(), storage::Error> {
    let (id, channel) = (due.notice.id, due.notice.channel.code());
    let outcome = service.notifier.deliver(&due.notice).await;
    let (now, attempts) = (clock::now(), due.attempts + 1);
    let again = || NoticeResult::Again(now + service.notifier.schedule.wait(attempts, None, 1.0));
    let (result, note) = match outcome {
        Ok(()) => {
            info!(notice = %id, channel, attempts, message_id = %due.message, "notice of an incident delivered");
            match service.gateway.store().damage().sift(("notices", id), delivered(service, &due, now).await)? {
                Some(event) => (NoticeResult::Delivered(now, event), "delivered".to_owned()),
                // Told twice rather than never, and not at every look.
                None => (again(), "delivered, and what it is about is damaged: the audit log cannot say it".to_owned()),
            }
        }
        Err(error) => {
            warn!(notice = %id, channel, attempts, %error, "notice of an incident not delivered; the next try follows");
            (again(), error.to_string())
        }
    };
    service.gateway.store().step_notice(NoticeStep { id, attempts, result, note }).await
}

/// What the audit log says of a notice that arrived: of a message, or of a referral.
async fn delivered(service: &Service, due: &NoticeRecord, now: Instant) -> Result<Event, storage::Error> {
    let (store, recorder) = (service.gateway.store(), &service.gateway.recorder);
    if let Some(referral) = store.inbound(due.message).await? {
        let patient = patient_of_referral(store, &referral).await?;
        return Ok(recorder.referral_notice_delivered(due, (&referral, patient.as_ref()), now));
    }
    let patient = patient_of(store, due.message).await?;
    Ok(recorder.notice_delivered(due, patient.as_ref(), now))
}

/// Waits for the next round; whether the gateway stops instead.
async fn is_over(stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(EVERY, stopped.wait_for(|stop| *stop)).await.is_ok()
}
