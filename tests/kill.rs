//! `kill -9` at random moments: every message that got a 202 arrives, and its partner sees one id once.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{DemoSite, wait_for, weir};
use uuid::Uuid;
use weir::cli::client::Client;
use weir::config::Endpoint;

/// How often the gateway is killed. `WEIR_KILLS` sets another number for a long run.
fn rounds() -> usize {
    std::env::var("WEIR_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// Submits under fresh keys until told to stop, across crashes. Keys that got a 202 go to `accepted`. A submission
/// whose answer was lost is repeated under its own key, as a record system would.
async fn submit_until_stopped(
    endpoint: Endpoint,
    record: Vec<u8>,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<String>>>,
) {
    let mut key = Uuid::new_v4().to_string();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::connect(&endpoint).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let Ok(answer) = client.submit("crisis-escalation", Some(&key), record.clone().into()).await else { break };
            assert_eq!(answer.status, 202, "{}", answer.json());
            let location = answer.headers["location"].to_str().expect("a Location is ASCII").to_owned();
            accepted.lock().expect("nobody panicked").push(location);
            key = Uuid::new_v4().to_string();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A number below `limit` from the system's randomness.
fn random(limit: u64) -> u64 {
    Uuid::new_v4().as_u64_pair().1 % limit
}

#[test]
fn every_accepted_message_arrives_once_whenever_the_gateway_is_killed() {
    let site = DemoSite::new();
    let trust = Mutex::new(Some(site.start_partner("trust", &[])));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let stop = Arc::new(AtomicBool::new(false));
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let record = site.record("crisis-escalation-minimal.json");
    let endpoint = site.endpoint();
    let workers: Vec<_> = (0..4)
        .map(|_| runtime.spawn(submit_until_stopped(endpoint.clone(), record.clone(), stop.clone(), accepted.clone())))
        .collect();
    for round in 0..rounds() {
        let gateway = site.start_gateway();
        std::thread::sleep(Duration::from_millis(20 + random(300)));
        if round % 4 == 3 {
            trust.lock().expect("nobody panicked").take().expect("it runs").kill();
        }
        gateway.kill();
        let mut trust = trust.lock().expect("nobody panicked");
        if trust.is_none() {
            *trust = Some(site.start_partner("trust", &[]));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let gateway = site.start_gateway();
    for worker in workers {
        runtime.block_on(worker).expect("a worker ends well");
    }
    let locations: BTreeSet<String> = accepted.lock().expect("nobody panicked").iter().cloned().collect();
    assert!(locations.len() > rounds(), "only {} messages were accepted: the test tested little", locations.len());

    let states = |locations: &BTreeSet<String>| -> Vec<String> {
        runtime.block_on(async {
            let mut client = Client::connect(&endpoint).await.expect("the gateway answers");
            let mut states = Vec::new();
            for location in locations {
                let answer = client.state(location).await.expect("the gateway answers").json();
                states.push(answer["state"].as_str().unwrap_or("lost").to_owned());
            }
            states
        })
    };
    wait_for("every message that got a 202 to be acknowledged", || {
        states(&locations).iter().all(|state| state == "acknowledged")
    });
    assert_eq!(gateway.terminate(), Some(0));

    // Under each message the partner saw one Bundle; it kept every one that got a 202, and none twice. (A partner that
    // is killed between keeping a Bundle and noting it notes it as a duplicate the next time.)
    let arrivals = site.arrivals("trust");
    let rows = |outcomes: &'static [&str]| {
        arrivals.iter().filter(move |row| outcomes.iter().any(|outcome| row["outcome"] == *outcome))
    };
    let mut bundles: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows(&["accepted", "duplicate"]) {
        let text = |key: &str| row[key].as_str().expect("an arrival names its ids");
        bundles.entry(text("request")).or_default().insert(text("id"));
    }
    assert!(bundles.values().all(|ids| ids.len() == 1), "a message was received as two");
    let first_times: Vec<_> = rows(&["accepted"]).filter_map(|row| row["id"].as_str()).collect();
    let distinct: BTreeSet<_> = first_times.iter().copied().collect();
    assert_eq!(first_times.len(), distinct.len(), "a Bundle was kept twice");
    assert_eq!(rows(&["conflict"]).count(), 0, "a resend had other bytes");
    let kept: BTreeSet<String> = site.inbox("trust").into_iter().map(|(id, _)| id).collect();
    for location in &locations {
        let message = location.trim_start_matches("/messages/");
        let arrived = bundles.get(message).is_some_and(|ids| ids.iter().all(|id| kept.contains(*id)));
        assert!(arrived, "message {message} got a 202 and did not arrive");
    }

    let verified = weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    eprintln!("{} kills, {} messages accepted, {} arrivals", rounds(), locations.len(), arrivals.len());
}
