//! `kill -9` at random moments: every message that got a 202 arrives, and its partner sees one id once; a message sent
//! without consent and its review, a finding and its notices are there together or not at all.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;
#[path = "support/afterwards.rs"]
mod afterwards;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afterwards::{Seen, assert_sound, assert_verified, seen};
use http_body_util::Full;
use hyper::Request;
use support::{DemoSite, wait_for, weir};
use uuid::Uuid;
use weir::cli::client::Client;
use weir::config::{Endpoint, Site};
use weir::fhir::audit_event::RecordedEvent;
use weir::storage::{Filter, Finding, Store as _};

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
        let known = accepted.lock().expect("nobody panicked").len();
        let gateway = site.start_gateway();
        if round % 2 == 0 {
            // However slow the machine is, every second round takes something.
            wait_for("something to be accepted", || accepted.lock().expect("nobody panicked").len() > known);
        }
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
    assert!(locations.len() >= rounds() / 2, "only {} messages were accepted: the test tested little", locations.len());

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

    let seen = seen(&site, "trust");
    for location in &locations {
        let message = location.trim_start_matches("/messages/");
        assert!(seen.kept.contains_key(message), "message {message} got a 202 and did not arrive");
    }
    assert_sound(&site, &Site::load(&site.gateway_folder()).unwrap_or_else(|faults| panic!("{faults}")));
    assert_verified(&site);
    let Seen { arrivals, resends, .. } = seen;
    eprintln!("{} kills, {} messages accepted, {arrivals} arrivals, {resends} resends", rounds(), locations.len());
}

/// Completes the reviews of what was accepted, each once, across crashes. Messages whose completion was answered go to
/// `completed`.
async fn complete_until_stopped(
    endpoint: Endpoint,
    token: String,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<String>>>,
    completed: Arc<Mutex<Vec<String>>>,
) {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::connect(&endpoint).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let Some(location) = accepted.lock().expect("nobody panicked").get(next).cloned() else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            let message = location.trim_start_matches("/messages/").to_owned();
            let body = r#"{"finding":"not-justified","words":"A visit was possible."}"#;
            let request = Request::post(format!("/reviews/{message}/completion"))
                .header("content-type", "application/json")
                .header("authorization", &token)
                .body(Full::from(body))
                .expect("it is well formed");
            let Ok(answer) = client.exchange(request).await else { break };
            // A completion whose answer was lost stands.
            assert!([200, 409].contains(&answer.status.as_u16()), "{}", answer.json());
            completed.lock().expect("nobody panicked").push(message);
            next += 1;
        }
    }
}

/// What the store holds beside the messages that were answered: each message has its review, with one event that opened
/// it; each finding has one event, and its notices.
async fn assert_whole(site: &DemoSite, accepted: &BTreeSet<String>, completed: &BTreeSet<String>) -> (usize, usize) {
    let site = Site::load(&site.gateway_folder()).unwrap_or_else(|faults| panic!("{faults}"));
    let store = site.open_for_reading().expect("the store opens");
    let messages = store.messages(Filter::default(), 1_000_000).await.expect("they are read");
    let reviews = store.reviews(false, 1_000_000).await.expect("they are read");
    let ids: BTreeSet<String> = messages.iter().map(|message| message.id.to_string()).collect();
    let reviewed: BTreeSet<String> = reviews.iter().map(|review| review.message.to_string()).collect();
    assert_eq!(ids, reviewed, "a message without its review, or a review without its message");
    assert!(accepted.is_subset(&ids), "a message that got a 202 is gone");
    let mut findings = 0;
    for review in &reviews {
        let events = store.events_of(review.message).await.expect("they are read");
        let count = |kind: &str| {
            let read = events.iter().filter_map(|stored| RecordedEvent::read(&stored.event.bytes));
            read.filter(|said| said.is(kind)).count()
        };
        let notices = store.notices_of(review.message).await.expect("they are read").len();
        let finding = review.completed.as_ref().map(|completed| completed.finding);
        let is_over = usize::from(finding == Some(Finding::NotJustified));
        assert_eq!((count("message-accepted"), count("review-opened")), (1, 1), "{}", review.message);
        assert_eq!((count("review-completed"), notices), (is_over, is_over), "{}", review.message);
        assert!(is_over == 1 || !completed.contains(&review.message.to_string()), "an answered finding is gone");
        findings += is_over;
    }
    (ids.len(), findings)
}

#[test]
fn a_message_and_its_review_are_there_together_or_not_at_all_whenever_the_gateway_is_killed() {
    let site = DemoSite::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut command = weir();
    command.args(["token", "--as", "demo-safeguarding", "--minutes", "60", "--site"]);
    let token = command.arg(site.gateway_folder()).output().expect("weir runs").stdout;
    let token = format!("Bearer {}", String::from_utf8(token).expect("it is text").trim());
    let stop = Arc::new(AtomicBool::new(false));
    let (accepted, completed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (endpoint, record) = (site.endpoint(), site.record("crisis-escalation-override.json"));
    let mut workers: Vec<_> = (0..3)
        .map(|_| runtime.spawn(submit_until_stopped(endpoint.clone(), record.clone(), stop.clone(), accepted.clone())))
        .collect();
    workers.push(runtime.spawn(complete_until_stopped(
        endpoint,
        token,
        stop.clone(),
        accepted.clone(),
        completed.clone(),
    )));
    let set = |list: &Arc<Mutex<Vec<String>>>| -> BTreeSet<String> {
        let list = list.lock().expect("nobody panicked");
        list.iter().map(|each| each.trim_start_matches("/messages/").to_owned()).collect()
    };
    for _ in 0..rounds() {
        let known = set(&accepted).len();
        let gateway = site.start_gateway();
        // However slow the machine is, each round takes something.
        wait_for("something to be accepted", || set(&accepted).len() > known);
        std::thread::sleep(Duration::from_millis(random(200)));
        let (before, ended) = (set(&accepted), set(&completed));
        gateway.kill();
        // As the crash left it, before anything is recovered.
        runtime.block_on(assert_whole(&site, &before, &ended));
    }
    stop.store(true, Ordering::Relaxed);
    let gateway = site.start_gateway();
    for worker in workers {
        runtime.block_on(worker).expect("a worker ends well");
    }
    assert_eq!(gateway.terminate(), Some(0));
    let (accepted, completed) = (set(&accepted), set(&completed));
    let (messages, findings) = runtime.block_on(assert_whole(&site, &accepted, &completed));
    assert!(accepted.len() >= rounds() && completed.len() > rounds() / 4, "the test tested little");
    let verified = weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    eprintln!("{} kills, {messages} messages, {findings} findings", rounds());
}
