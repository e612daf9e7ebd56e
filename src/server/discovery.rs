//! Asks each BaRS endpoint what it takes: at the start, then as often as its partner's file says, and soon again when it did
//! not answer. Beside delivery: nothing waits for it. Only a partner whose file says so has its messages kept back while
//! it says that it takes others alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Service, clock};
use crate::delivery::{Discovery, Lane, Support};
use crate::fhir::{Instant, instant_text};
use crate::identity::PartyId;

/// When an endpoint that did not say anything is asked again.
const SOON: Duration = Duration::from_secs(300);

/// What was found, by recipient and route.
#[derive(Debug, Default)]
pub(super) struct Findings(Mutex<BTreeMap<(PartyId, u16), (Instant, Discovery)>>);

impl Findings {
    fn all(&self) -> MutexGuard<'_, BTreeMap<(PartyId, u16), (Instant, Discovery)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the partner of `lane` says that it takes our messages; `None` before it was asked, or where nobody asks.
    pub(super) fn support(&self, lane: &Lane) -> Option<Support> {
        self.all().get(&(lane.party().clone(), lane.route())).map(|(_, found)| found.support)
    }

    /// What the partner of `lane` says, as readiness shows it.
    pub(super) fn shown(&self, lane: &Lane) -> Value {
        let all = self.all();
        let found = all.get(&(lane.party().clone(), lane.route()));
        found.map_or(Value::Null, |(at, found)| {
            let mut shown = as_json(found);
            shown["askedAt"] = json!(instant_text(*at));
            shown["heldBack"] = json!(lane.is_held());
            shown
        })
    }

    fn note(&self, lane: &Lane, found: Discovery) {
        self.all().insert((lane.party().clone(), lane.route()), (clock::now(), found));
    }
}

/// What an endpoint says, in JSON.
pub(crate) fn as_json(found: &Discovery) -> Value {
    let stated = found.stated.as_ref();
    json!({
        "support": found.support.code(),
        "version": found.version,
        "software": stated.and_then(|stated| stated.software.as_deref()),
        "fhirVersion": stated.and_then(|stated| stated.fhir_version.as_deref()),
        "receives": stated.map(|stated| &stated.receives),
        "definition": found.definition.as_ref().and_then(|definition| definition.url.as_deref()),
        "requires": found.definition.as_ref().map(|definition| &definition.requires),
        "problems": found.problems,
    })
}

/// Asks the endpoint of `lane` until `stopped` says so; not at all, when nobody can be asked over it.
pub(super) async fn ask(service: Arc<Service>, lane: Arc<Lane>, mut stopped: watch::Receiver<bool>) {
    let Some(often) = lane.discover_every() else { return };
    loop {
        let stages = service.gateway.stages();
        let (provider, use_cases) = (stages.provider.clone(), stages.use_cases(lane.party()));
        drop(stages);
        let found = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            found = lane.discover((&provider.ods, &provider.name), &use_cases) => found,
        };
        let Some(found) = found else { return };
        tell(&lane, &found);
        let wait = if found.problems.is_empty() { often } else { often.min(SOON) };
        service.findings.note(&lane, found);
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn tell(lane: &Lane, found: &Discovery) {
    let (partner, route, support) = (lane.party(), lane.route(), found.support);
    let version = found.version.as_deref().unwrap_or("unknown");
    for problem in &found.problems {
        info!(%partner, route, problem, "the partner could not be asked what it takes; it is asked again soon");
    }
    match support {
        Support::NotListed if lane.is_held() => {
            warn!(%partner, route, version, "the partner does not list our messages: they wait, as its file says");
        }
        Support::NotListed => {
            let hint = "ask it whether it takes servicerequest-request referrals of our use case";
            warn!(%partner, route, version, hint, "the partner does not list our messages; they are sent all the same");
        }
        Support::Listed | Support::Unknown => {
            info!(%partner, route, version, %support, "what the partner says it takes")
        }
    }
}
