//! Exactly one effect, on what the partner received: whatever happens to an answer, the message is sent again under the
//! same ids with the same bytes and kept once; and whatever is submitted twice is one message.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use support::{Bench, DemoSite, wait_for};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const RECORD: &str = "crisis-escalation-minimal.json";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A site whose lane to the Trust has these settings.
fn site(settings: &str) -> DemoSite {
    let site = DemoSite::new();
    let file = site.path("gateway/partners/trust.toml");
    let text = fs::read_to_string(&file).expect("the partner has a file");
    let kept: Vec<&str> = text.lines().filter(|line| !line.contains("_seconds")).collect();
    fs::write(&file, format!("{}\n{settings}\n", kept.join("\n"))).expect("it is written");
    site
}

fn header(row: &Value, name: &str) -> String {
    let headers = row["headers"].as_array().expect("an arrival has headers");
    let found = headers.iter().find(|header| header[0] == name);
    found.and_then(|header| header[1].as_str()).unwrap_or_default().to_owned()
}

/// With the Trust `misbehaving` once, the message is acknowledged in the end; gives what arrived.
fn sent_again_after(misbehaving: &str, attempt_timeout: f64) -> Vec<Value> {
    let settings = format!("first_retry_seconds = 0.1\nattempt_timeout_seconds = {attempt_timeout}");
    let site = site(&settings);
    let _trust = site.start_partner("trust", &[misbehaving]);
    let _gateway = site.start_gateway();
    let (sent, well) = site.send(RECORD, &[]);
    assert!(well && sent["state"] == "acknowledged", "{misbehaving}: {sent}");
    assert_eq!(sent["attempts"], 2, "{misbehaving}");
    let arrivals = site.arrivals("trust");
    for name in ["x-request-id", "x-correlation-id"] {
        let ids: BTreeSet<String> = arrivals.iter().map(|row| header(row, name)).collect();
        assert_eq!(ids.len(), 1, "{misbehaving}: {name} differs between attempts");
    }
    assert_eq!(header(&arrivals[0], "x-request-id"), sent["message"].as_str().expect("it names the message"));
    // The file is named by Bundle.id; a resend with another byte would have been a conflict.
    let inbox = site.inbox("trust");
    assert_eq!(inbox.len(), 1, "{misbehaving}: the partner keeps one");
    let bundle: Value = serde_json::from_str(&inbox[0].1).expect("a received Bundle is JSON");
    assert_eq!(bundle["id"], inbox[0].0.as_str());
    assert!(bundle["entry"][0]["resource"]["id"].is_string(), "the MessageHeader has an id");
    arrivals
}

fn outcomes(arrivals: &[Value]) -> Vec<&str> {
    arrivals.iter().filter_map(|row| row["outcome"].as_str()).collect()
}

#[test]
fn no_answer_in_time_is_no_answer_and_the_resend_a_duplicate() {
    assert_eq!(outcomes(&sent_again_after("silent:1", 1.0)), ["accepted", "duplicate"]);
}

#[test]
fn a_connection_cut_in_the_answer_is_no_answer_and_the_resend_a_duplicate() {
    assert_eq!(outcomes(&sent_again_after("cut:1", 20.0)), ["accepted", "duplicate"]);
}

#[test]
fn an_answer_to_another_message_is_no_answer_and_the_resend_a_duplicate() {
    assert_eq!(outcomes(&sent_again_after("uncorrelated:1", 20.0)), ["accepted", "duplicate"]);
}

#[test]
fn a_partner_that_asks_to_wait_is_waited_for() {
    let arrivals = sent_again_after("unavailable:1", 20.0);
    assert_eq!(outcomes(&arrivals), ["unavailable", "accepted"]);
    let at = |row: &Value| OffsetDateTime::parse(row["at"].as_str().expect("it has a time"), &Rfc3339).expect("a time");
    let waited = (at(&arrivals[1]) - at(&arrivals[0])).as_seconds_f64();
    assert!(waited >= 0.95, "Retry-After: 1 was not waited for: {waited} s");
}

#[test]
fn a_partner_that_asks_to_wait_longer_than_its_file_allows_is_not() {
    let site = site("first_retry_seconds = 0.05\nmax_retry_seconds = 0.05");
    let _trust = site.start_partner("trust", &["unavailable:2"]);
    let _gateway = site.start_gateway();
    let (sent, well) = site.send(RECORD, &[]);
    assert!(well, "{sent}");
    let arrivals = site.arrivals("trust");
    assert_eq!(outcomes(&arrivals), ["unavailable", "unavailable", "accepted"]);
    let at = |row: &Value| OffsetDateTime::parse(row["at"].as_str().expect("it has a time"), &Rfc3339).expect("a time");
    let waited = (at(&arrivals[2]) - at(&arrivals[0])).as_seconds_f64();
    assert!(waited < 2.0, "two times Retry-After: 1 were waited for: {waited} s");
}

#[test]
fn a_record_submitted_twice_is_one_message_by_its_key_or_by_its_own_id_and_version() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let bench = Bench::of(site);
    let record = bench.site.record(RECORD);
    let mut value: Value = serde_json::from_slice(&record).expect("a sample is JSON");
    let submit = |headers: &[(&str, &str)], body: Vec<u8>| {
        let answer = bench.post("/records/crisis-escalation", &[&[JSON], headers].concat(), body);
        (answer.status.as_u16(), answer.json())
    };
    let (first, again) = (submit(&[], record.clone()), submit(&[], record.clone()));
    assert_eq!((first.0, again.0), (202, 202));
    assert_eq!((&first.1["message"], &again.1["repeated"]), (&again.1["message"], &true.into()));

    // The same id and version with other content is a mistake, and nothing of it is taken.
    value["recordedAt"] = "2026-03-02T12:00:01Z".into();
    let changed = serde_json::to_vec(&value).expect("it is JSON");
    assert_eq!(submit(&[], changed.clone()).0, 422);
    value["version"] = "next".into();
    let next = submit(&[], serde_json::to_vec(&value).expect("it is JSON"));
    assert_eq!((next.0, &next.1["repeated"]), (202, &false.into()), "a new version is a new message");
    assert_ne!(next.1["message"], first.1["message"]);

    let key = [("idempotency-key", "d4a1")];
    let (keyed, again, other) = (submit(&key, record.clone()), submit(&key, record), submit(&key, changed));
    assert_eq!((keyed.0, again.0, other.0), (202, 202, 422));
    assert_eq!(keyed.1["message"], again.1["message"]);
    assert_ne!(keyed.1["message"], first.1["message"]);

    wait_for("every message", || bench.site.inbox("trust").len() == 3);
    let arrivals = bench.site.arrivals("trust");
    assert_eq!(outcomes(&arrivals), ["accepted"; 3], "nothing was sent twice");
}
