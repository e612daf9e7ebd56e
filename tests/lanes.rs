//! Lanes of the built gateway over real sockets: a partner that is sick in any way delays nobody else, its breaker opens
//! and closes as its route fails and works, its limits hold, and messages about one person keep their order.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{DemoSite, Process, http_get, wait_for};
use uuid::Uuid;
use weir::cli::client::Client;

const TRUST: &str = "crisis-escalation-minimal.json";
const ICB: &str = "crisis-escalation-icb.json";

/// Adds lines to the partner file of `partner` in the gateway's site.
fn set(site: &DemoSite, partner: &str, lines: &str) {
    let file = site.path(&format!("gateway/partners/{partner}.toml"));
    let text = fs::read_to_string(&file).expect("the partner has a file");
    // What is set anew must not stand there twice.
    let replaced = |line: &str| lines.lines().any(|new| new.split(" =").next() == line.split(" =").next());
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains('=') || !replaced(line)).collect();
    fs::write(&file, format!("{}\n{lines}\n", kept.join("\n"))).expect("the file can be written");
}

/// A running gateway and one connection of a record system to it.
struct Sender {
    site: DemoSite,
    gateway: Process,
    runtime: tokio::runtime::Runtime,
    client: RefCell<Client>,
}

impl Sender {
    fn start(site: DemoSite) -> Sender {
        let gateway = site.start_gateway();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let client = runtime.block_on(Client::connect(&site.endpoint())).expect("the gateway answers");
        Sender { site, gateway, runtime, client: RefCell::new(client) }
    }

    /// Submits a sample under a fresh key, so many times; gives where to ask for each.
    fn submit(&self, record: &str, times: usize) -> Vec<String> {
        let record = self.site.record(record);
        let submit = |_| {
            let (key, mut client) = (Uuid::new_v4().to_string(), self.client.borrow_mut());
            let answer = client.submit("crisis-escalation", Some(&key), record.clone().into());
            let answer = self.runtime.block_on(answer).expect("the gateway answers");
            assert_eq!(answer.status, 202, "{}", answer.json());
            answer.headers["location"].to_str().expect("a Location is ASCII").to_owned()
        };
        (0..times).map(submit).collect()
    }

    fn is_acknowledged(&self, location: &str) -> bool {
        let mut client = self.client.borrow_mut();
        self.runtime.block_on(client.state(location)).expect("the gateway answers").json()["state"] == "acknowledged"
    }

    fn wait_for(&self, sent: &[String]) {
        wait_for("every message", || sent.iter().all(|location| self.is_acknowledged(location)));
    }
}

/// The breaker of the first route to a partner, as `/readyz` shows it; the gateway is ready whatever it is.
fn breaker(site: &DemoSite, ods: &str) -> String {
    let (status, body) = http_get(site.operations(), "/readyz").expect("it answers");
    let ready: Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!(status, 200, "a sick partner makes the gateway no less ready: {body}");
    let routes = ready["routes"].as_array().expect("it shows the routes").clone();
    let route = routes.into_iter().find(|route| route["recipient"] == ods && route["route"] == 0);
    route.expect("it has a first route")["breaker"].as_str().expect("it has a breaker").to_owned()
}

/// With the Trust sick and more messages for it than its lane takes, messages for the ICB go their way.
fn icb_is_served_while_the_trust(is: &str, trust: Option<&[&str]>) {
    let site = DemoSite::new();
    set(&site, "trust", "max_concurrent = 4\nattempt_timeout_seconds = 60");
    let _trust = trust.map(|misbehaviour| site.start_partner("trust", misbehaviour));
    let _icb = site.start_partner("icb", &[]);
    let sender = Sender::start(site);
    let stuck = sender.submit(TRUST, 12);
    sender.wait_for(&sender.submit(ICB, 12));
    let stuck = stuck.iter().filter(|location| !sender.is_acknowledged(location)).count();
    assert!(stuck > 0, "the Trust is {is}: the test tested nothing");
}

#[test]
fn a_dead_partner_delays_no_other() {
    icb_is_served_while_the_trust("dead", None);
}

#[test]
fn a_partner_that_never_answers_delays_no_other() {
    icb_is_served_while_the_trust("silent", Some(&["slow:3600000"]));
}

#[test]
fn a_partner_that_is_unavailable_delays_no_other() {
    icb_is_served_while_the_trust("unavailable", Some(&["unavailable:1000000"]));
}

#[test]
fn a_flapping_partner_gets_every_message_once() {
    let site = DemoSite::new();
    set(&site, "trust", "first_retry_seconds = 0.05\nmax_retry_seconds = 0.2\n[breaker]\nopen_seconds = 0.2");
    let _trust = site.start_partner("trust", &["flap:7"]);
    let sender = Sender::start(site);
    let sent = sender.submit(TRUST, 20);
    sender.wait_for(&sent);
    let arrivals = sender.site.arrivals("trust");
    let of = |outcome: &str| arrivals.iter().filter(|row| row["outcome"] == outcome).count();
    assert!(of("unavailable") >= 7, "{arrivals:?}");
    assert_eq!((of("accepted"), sender.site.inbox("trust").len()), (20, 20));
}

#[test]
fn a_breaker_opens_leaves_the_partner_alone_and_closes_when_it_works_again() {
    let site = DemoSite::new();
    let settings = "first_retry_seconds = 0.05\nmax_retry_seconds = 0.05\n[breaker]\nfailures = 3\nopen_seconds = 1.5";
    set(&site, "trust", settings);
    let sick = site.start_partner("trust", &["unavailable:1000000"]);
    let sender = Sender::start(site);
    assert_eq!(breaker(&sender.site, "DEMOT"), "closed");
    let sent = sender.submit(TRUST, 3);
    wait_for("the breaker to open", || breaker(&sender.site, "DEMOT") == "open");
    let metrics = http_get(sender.site.operations(), "/metrics").expect("it answers").1;
    assert!(metrics.contains(r#"weir_routes{recipient="DEMOT",route="0",breaker="open"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"weir_routes{recipient="DEMOI",route="0",breaker="closed"} 1"#), "{metrics}");

    // Open: nothing is sent, though everything is due again every 50 ms.
    let before = sender.site.arrivals("trust").len();
    std::thread::sleep(Duration::from_millis(700));
    let probed = sender.site.arrivals("trust").len() - before;
    assert!(probed <= 1, "{probed} messages were sent to a partner that is left alone");
    sick.kill();
    let _well = sender.site.start_partner("trust", &[]);
    sender.wait_for(&sent);
    assert_eq!(breaker(&sender.site, "DEMOT"), "closed");
    let log = fs::read_to_string(sender.site.path("gateway.log")).expect("the gateway logs");
    for said in ["the route fails; it is left alone, then tried again", "the route works again"] {
        assert!(log.contains(said), "nothing in the log says: {said}");
    }
}

#[test]
fn a_rate_holds_and_a_lane_takes_no_more_than_it_may() {
    let site = DemoSite::new();
    set(&site, "trust", "max_per_second = 4\nmax_concurrent = 2");
    let _trust = site.start_partner("trust", &["slow:100"]);
    let sender = Sender::start(site);
    let started = Instant::now();
    let sent = sender.submit(TRUST, 12);
    let mut most = 0;
    wait_for("every message", || {
        let (_, body) = http_get(sender.site.operations(), "/readyz").expect("it answers");
        let ready: Value = serde_json::from_str(&body).expect("it is JSON");
        let routes = ready["routes"].as_array().expect("it shows the routes").clone();
        most = most.max(routes.iter().filter_map(|route| route["attemptsUnderWay"].as_u64()).max().unwrap_or(0));
        sent.iter().all(|location| sender.is_acknowledged(location))
    });
    assert!((1..=2).contains(&most), "{most} attempts were under way at a time");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1900), "12 messages at 4 a second, 4 of them at once, took {took:?}");
}

/// The records about one person, in their order, and one about somebody else.
#[test]
fn messages_about_one_person_arrive_in_order_where_the_interface_asks_for_it() {
    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    let interface = "[interfaces.crisis-escalation]\n";
    fs::write(&file, text.replace(interface, &format!("{interface}order_by_subject = true\n"))).expect("it is written");
    set(&site, "trust", "first_retry_seconds = 0.5\nmax_retry_seconds = 0.5");
    // The first attempt fails: without order the second message would overtake the first.
    let _trust = site.start_partner("trust", &["unavailable:1"]);
    let sender = Sender::start(site);
    let sent = sender.submit(TRUST, 5);
    sender.wait_for(&sent);
    let arrivals = sender.site.arrivals("trust");
    let kept: Vec<String> = arrivals
        .iter()
        .filter(|row| row["outcome"] == "accepted")
        .map(|row| format!("/messages/{}", row["request"].as_str().expect("an arrival names its request")))
        .collect();
    assert_eq!(kept, sent, "they arrived in another order");

    // The store keeps the order by a hash that differs between sites: nothing of the person stands in clear.
    let record: Value = serde_json::from_slice(&sender.site.record(TRUST)).expect("a sample is JSON");
    let Sender { site, gateway, .. } = sender;
    gateway.kill();
    let (stored, person) = (site.stored_and_logged(), &record["person"]);
    let values: BTreeSet<&str> =
        ["nhsNumber", "localId", "family"].iter().filter_map(|key| person[key].as_str()).collect();
    assert!(!values.is_empty(), "the sample names somebody");
    for value in values {
        assert!(!stored.windows(value.len()).any(|window| window == value.as_bytes()), "a person stands in clear");
    }
}
