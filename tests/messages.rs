//! `weir messages` over a running gateway: where messages stand, and what a person decides about those that were given
//! up. The partner sees one message under one set of ids, whoever sends it again.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use support::{DemoSite, weir};

const RECORD: &str = "crisis-escalation-minimal.json";

/// Runs `weir messages` with JSON; the values that it printed, and its exit code.
fn messages(site: &DemoSite, arguments: &[&str]) -> (Vec<Value>, i32) {
    let mut command = weir();
    command.args(["messages", "--format", "json"]).args(arguments).arg("--site").arg(site.gateway_folder());
    let done = command.output().expect("weir runs");
    let printed = String::from_utf8(done.stdout).expect("it is text");
    let values = serde_json::Deserializer::from_str(&printed).into_iter().map(|value| value.expect("it is JSON"));
    (values.collect(), done.status.code().unwrap_or(-1))
}

/// A site whose Trust gets one attempt a message.
fn site() -> DemoSite {
    let site = DemoSite::new();
    let file = site.path("gateway/partners/trust.toml");
    let text = fs::read_to_string(&file).expect("the partner has a file");
    fs::write(&file, format!("{text}\nmax_attempts = 1\n")).expect("it is written");
    site
}

/// The steps of a message: the state it took, why, and by whom.
fn steps(site: &DemoSite, id: &str) -> Vec<(String, String, String)> {
    let (shown, code) = messages(site, &["show", id]);
    assert_eq!(code, 0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let steps = shown[0]["steps"].as_array().expect("it shows the steps");
    // Besides its steps stands what people were told.
    let steps = steps.iter().filter(|step| step["to"].is_string());
    steps.map(|step| (text(&step["to"]), text(&step["reason"]), text(&step["by"]))).collect()
}

fn step(to: &str, reason: &str, by: &str) -> (String, String, String) {
    (to.to_owned(), reason.to_owned(), by.to_owned())
}

fn verifies(site: &DemoSite) {
    let verified = weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_dead_letter_that_is_sent_again_is_the_same_message_with_who_and_why() {
    let site = site();
    // Kept without an answer: the one attempt is over, and nobody knows that the message arrived.
    let trust = site.start_partner("trust", &["cut:1"]);
    let gateway = site.start_gateway();
    assert_eq!(messages(&site, &["dead"]), (vec![], 0));
    let (sent, well) = site.send(RECORD, &[]);
    assert!(!well && sent["state"] == "dead", "{sent}");
    let id = sent["message"].as_str().expect("it names the message").to_owned();
    let told = || messages(&site, &["dead"]).0[0]["note"].as_str().is_some_and(|note| note.contains("people told"));
    support::wait_for("people to be told", told);
    let (dead, code) = messages(&site, &["dead"]);
    assert_eq!((dead.len(), code, &dead[0]["message"]), (1, 1, &sent["message"]), "someone has to decide");
    assert_eq!(messages(&site, &["list", "--state", "dead"]).0, dead);
    assert_eq!(messages(&site, &["list", "--state", "queued"]).0, Vec::<Value>::new());
    assert_eq!(messages(&site, &["list", "--recipient", "DEMOI"]).0, Vec::<Value>::new());

    // Who may not, changes nothing.
    let denied = messages(&site, &["retry", &id, "--why", "partner-fixed", "--as", "demo-auditor"]);
    assert_eq!(denied.1, 1);
    assert_eq!(steps(&site, &id).len(), 3);

    let (done, code) = messages(&site, &["retry", &id, "--why", "partner-fixed"]);
    assert_eq!((&done[0]["act"], code), (&"performed".into(), 0), "{done:?}");
    support::wait_for("the replay", || messages(&site, &["show", &id]).0[0]["state"] == "acknowledged");
    let expected = [
        step("accepted", "", "demo-records"),
        step("in-flight", "attempt", ""),
        step("dead", "attempts-exhausted", ""),
        step("queued", "partner-fixed", "demo-engineer"),
        step("in-flight", "attempt", ""),
        step("acknowledged", "duplicate", ""),
        // And its handover, which nobody has accepted yet.
        step("waiting", "", ""),
    ];
    assert_eq!(steps(&site, &id), expected);
    let (refused, code) = messages(&site, &["retry", &id, "--why", "try-again"]);
    assert_eq!((&refused[0]["act"], code), (&"refused".into(), 1), "what has arrived is not sent again");

    // What the partner saw: twice the same, kept once.
    let arrivals = site.arrivals("trust");
    assert_eq!(arrivals.iter().map(|row| &row["outcome"]).collect::<Vec<_>>(), ["accepted", "duplicate"]);
    let header = |row: &Value, name: &str| {
        let headers = row["headers"].as_array().expect("an arrival has headers").clone();
        headers.into_iter().find(|header| header[0] == name).map(|header| header[1].clone()).expect("it is there")
    };
    for name in ["x-request-id", "x-correlation-id", "content-length", "nhsd-target-identifier"] {
        let sent: BTreeSet<String> = arrivals.iter().map(|row| header(row, name).to_string()).collect();
        assert_eq!(sent.len(), 1, "{name}");
    }
    assert_eq!(site.inbox("trust").len(), 1);
    assert_eq!(gateway.terminate(), Some(0));
    trust.kill();
    verifies(&site);
}

#[test]
fn what_is_cancelled_is_never_sent() {
    let site = DemoSite::new();
    let gateway = site.start_gateway();
    let (sent, _) = site.send(RECORD, &["--wait-seconds", "0"]);
    let id = sent["message"].as_str().expect("it names the message").to_owned();
    support::wait_for("the first attempt to fail", || messages(&site, &["show", &id]).0[0]["state"] == "queued");
    let denied = messages(&site, &["cancel", &id, "--why", "told-otherwise", "--as", "demo-auditor"]);
    assert_eq!(denied.1, 1, "an auditor changes nothing");
    // Between two attempts: one that is under way is refused, and may be asked again.
    support::wait_for("the message to be cancelled", || {
        let (done, _) = messages(&site, &["cancel", &id, "--why", "told-otherwise", "--as", "demo-owner"]);
        done[0]["act"] == "performed"
    });
    let _trust = site.start_partner("trust", &[]);
    let (next, well) = site.send("crisis-escalation-complete.json", &[]);
    assert!(well, "another message goes its way: {next}");
    assert_eq!(site.inbox("trust").len(), 1, "the cancelled one was sent");
    assert_eq!(steps(&site, &id).last(), Some(&step("cancelled", "told-otherwise", "demo-owner")));
    let (again, code) = messages(&site, &["retry", &id, "--why", "try-again"]);
    assert_eq!((&again[0]["act"], code), (&"refused".into(), 1));
    assert_eq!(messages(&site, &["show", "6f9619ff-8b86-5011-b42d-00cf4fc964ff"]).1, 1, "no such message");
    assert_eq!(gateway.terminate(), Some(0));
    verifies(&site);
}

#[test]
fn a_decision_that_waits_for_the_gateway_counts_when_it_runs() {
    let site = site();
    let gateway = site.start_gateway();
    let (sent, _) = site.send(RECORD, &[]);
    assert_eq!(sent["state"], "dead", "nobody is there");
    let id = sent["message"].as_str().expect("it names the message").to_owned();
    assert_eq!(gateway.terminate(), Some(0));
    let (done, code) = messages(&site, &["retry", &id, "--why", "settings-fixed"]);
    assert_eq!((&done[0]["act"], code), (&"handed-in".into(), 0));
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    support::wait_for("the replay", || messages(&site, &["show", &id]).0[0]["state"] == "acknowledged");
    assert_eq!(gateway.terminate(), Some(0));
    verifies(&site);
}
