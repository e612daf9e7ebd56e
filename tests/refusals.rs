//! Every way a submission is refused: the status, an OperationOutcome that says where and what to do, and nothing
//! accepted.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::{StatusCode, header};
use serde_json::{Value, json};
use support::{Bench, DemoSite};
use weir::cli::client::{Answer, Client};

const PATH: &str = "/records/crisis-escalation";

/// A gateway whose body limit is 64 KiB, and a connection to it.
fn small_gateway() -> Bench {
    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = std::fs::read_to_string(&file).expect("the site has a weir.toml");
    let text = text.replace("max_body_bytes = 10485760", "max_body_bytes = 65536\nmax_depth = 50");
    std::fs::write(&file, text).expect("it can be written");
    Bench::of(site)
}

fn post_json(bench: &Bench, body: impl Into<Bytes>) -> Answer {
    bench.post(PATH, &[("content-type", "application/json")], body)
}

fn accepted(bench: &Bench) -> u64 {
    let (_, metrics) = support::http_get(bench.site.operations(), "/metrics").expect("metrics are there");
    let counted = metrics.lines().filter(|line| line.starts_with("weir_messages{"));
    counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Asserts the status, that the answer is an OperationOutcome, and what its first issue says and where.
fn assert_refused(answer: &Answer, status: StatusCode, says: &str, place: &str) {
    let outcome = answer.json();
    assert_eq!(answer.status, status, "{outcome}");
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/fhir+json");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    let issues = outcome["issue"].as_array().expect("an outcome has issues");
    let text = |issue: &Value| issue["details"]["text"].as_str().unwrap_or_default().to_owned();
    let hint = |issue: &Value| issue["diagnostics"].as_str().unwrap_or_default().to_owned();
    let found = issues.iter().any(|issue| {
        let at = issue["expression"][0].as_str().unwrap_or_default();
        text(issue).contains(says) && (place.is_empty() || at.contains(place) || hint(issue).contains(place))
    });
    assert!(found, "`{says}` at `{place}` is missing in {outcome:#}");
    assert!(issues.iter().any(|issue| hint(issue).contains("hint: ")), "no remedy in {outcome:#}");
}

#[test]
fn every_malformed_submission_is_refused_and_nothing_is_accepted() {
    let bench = small_gateway();
    let good = bench.site.record("crisis-escalation-minimal.json");
    let json = &[("content-type", "application/json")][..];

    let cut = &good[..good.len() / 2];
    assert_refused(&post_json(&bench, cut.to_vec()), StatusCode::BAD_REQUEST, "the input ends inside a value", "line");
    assert_refused(&post_json(&bench, ""), StatusCode::BAD_REQUEST, "the document is empty", "line 1");
    assert_refused(&post_json(&bench, "[".repeat(40_000)), StatusCode::BAD_REQUEST, "nests too deeply", "line 1");
    let duplicate = bench.site.record("rejected/duplicate-key.json");
    assert_refused(&post_json(&bench, duplicate), StatusCode::BAD_REQUEST, "a key stands twice", "line");
    assert_refused(
        &post_json(&bench, b"{\"recordId\":\"\xff\"}".to_vec()),
        StatusCode::BAD_REQUEST,
        "not UTF-8",
        "line 1",
    );

    let xml = bench.post(PATH, &[("content-type", "application/xml")], good.clone());
    assert_refused(&xml, StatusCode::UNSUPPORTED_MEDIA_TYPE, "media type", "application/json");
    assert_refused(&bench.post(PATH, &[], good.clone()), StatusCode::UNSUPPORTED_MEDIA_TYPE, "media type", "");

    let large = post_json(&bench, " ".repeat(70_000));
    assert_refused(&large, StatusCode::PAYLOAD_TOO_LARGE, "larger than 65536 bytes", "max_body_bytes");

    let missing = post_json(&bench, bench.site.record("rejected/missing-required.json"));
    assert_refused(&missing, StatusCode::UNPROCESSABLE_ENTITY, "is missing", "whatChanged");
    assert_refused(&missing, StatusCode::UNPROCESSABLE_ENTITY, "is missing", "person.family");
    let unknown = post_json(&bench, bench.site.record("rejected/unknown-element.json"));
    assert_refused(&unknown, StatusCode::UNPROCESSABLE_ENTITY, "no such element", "person.shoeSize");
    let code = post_json(&bench, bench.site.record("rejected/unknown-code.json"));
    assert_refused(&code, StatusCode::UNPROCESSABLE_ENTITY, "was expected, found the code", "consent.status");
    let rule = post_json(&bench, bench.site.record("rejected/broken-rule.json"));
    assert_refused(&rule, StatusCode::UNPROCESSABLE_ENTITY, "An ODS code is 1 to 9", "provider.odsCode");

    // A fault that shows only in the mapped Bundle is told at the record's own field.
    let wrong_digit = String::from_utf8(bench.site.record("crisis-escalation-complete.json")).expect("it is text");
    let wrong_digit = post_json(&bench, wrong_digit.replace("9990001014", "9990001015"));
    assert_refused(&wrong_digit, StatusCode::UNPROCESSABLE_ENTITY, "check digit", "person.nhsNumber");

    let nowhere = bench.post("/records/no-such-interface", json, good.clone());
    assert_refused(&nowhere, StatusCode::NOT_FOUND, "no interface", "path");
    let odd = bench.post("/records/..%2Fetc", json, good.clone());
    assert_refused(&odd, StatusCode::NOT_FOUND, "no such interface", "path");
    assert_refused(&bench.post("/elsewhere", json, good.clone()), StatusCode::NOT_FOUND, "nothing at this path", "");

    let slip = bench.post(&format!("{PATH}?dry_run"), json, good.clone());
    assert_refused(&slip, StatusCode::BAD_REQUEST, "a parameter other than dry-run", "");
    assert_refused(&bench.post("/messages/1", json, good.clone()), StatusCode::METHOD_NOT_ALLOWED, "this method", "");
    assert_refused(&bench.post("/records/%ff", json, good.clone()), StatusCode::NOT_FOUND, "no such interface", "path");
    let twice = bench.post(&format!("{PATH}?dry-run&dry-run"), json, good.clone());
    assert_refused(&twice, StatusCode::BAD_REQUEST, "the query", "");
    let method = bench.post("/messages/00000000-0000-4000-8000-000000000000", json, good.clone());
    assert_refused(&method, StatusCode::METHOD_NOT_ALLOWED, "this method", "");

    let key = bench.post(PATH, &[json[0], ("idempotency-key", "with space")], good.clone());
    assert_refused(&key, StatusCode::BAD_REQUEST, "Idempotency-Key", "");
    let keys = bench.post(PATH, &[json[0], ("idempotency-key", "a"), ("idempotency-key", "b")], good.clone());
    assert_refused(&keys, StatusCode::BAD_REQUEST, "idempotency-key stands twice", "");
    let types = bench.post(PATH, &[json[0], ("content-type", "text/plain")], good.clone());
    assert_refused(&types, StatusCode::BAD_REQUEST, "content-type stands twice", "");
    let packed = bench.post(PATH, &[json[0], ("content-encoding", "gzip")], good.clone());
    assert_refused(&packed, StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed", "Content-Encoding");
    assert_eq!(accepted(&bench), 0, "nothing was accepted");
}

#[test]
fn a_key_that_was_used_for_other_content_is_refused_and_the_first_message_stands() {
    let bench = small_gateway();
    let keyed = [("content-type", "application/json"), ("idempotency-key", "the-same-key")];
    let first = bench.post(PATH, &keyed, bench.site.record("crisis-escalation-minimal.json"));
    assert_eq!(first.status, StatusCode::ACCEPTED, "{}", first.json());
    let repeat = bench.post(PATH, &keyed, bench.site.record("crisis-escalation-minimal.json"));
    assert_eq!(repeat.status, StatusCode::ACCEPTED);
    assert_eq!(repeat.headers[header::LOCATION], first.headers[header::LOCATION]);
    assert_eq!((&first.json()["repeated"], &repeat.json()["repeated"]), (&false.into(), &true.into()));
    let other = bench.post(PATH, &keyed, bench.site.record("crisis-escalation-complete.json"));
    assert_refused(&other, StatusCode::UNPROCESSABLE_ENTITY, "was used before", "new Idempotency-Key");
    assert_eq!(accepted(&bench), 1);
}

#[test]
fn a_record_for_a_party_without_agreement_or_against_an_objection_does_not_leave() {
    let bench = small_gateway();
    let text = String::from_utf8(bench.site.record("crisis-escalation-minimal.json")).expect("a sample is text");
    let posing = post_json(&bench, text.replace("DEMOP", "DEMOX"));
    assert_refused(&posing, StatusCode::UNPROCESSABLE_ENTITY, "another organisation as its sender", "DEMOP");
    let stranger = post_json(&bench, text.replace("DEMOT", "DEMOX"));
    assert_refused(&stranger, StatusCode::FORBIDDEN, "no agreement", "");
    let objection = post_json(&bench, bench.site.record("rejected/objection.json"));
    assert_refused(&objection, StatusCode::FORBIDDEN, "objects", "");
    assert_eq!(accepted(&bench), 0);
}

#[test]
fn a_dry_run_shows_what_would_leave_and_accepts_nothing() {
    let bench = small_gateway();
    let record = bench.site.record("crisis-escalation-complete.json");
    let shown = bench.post(&format!("{PATH}?dry-run"), &[("content-type", "application/json")], record);
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.json());
    assert_eq!(shown.json()["resourceType"], "Bundle");
    let record = bench.site.record("crisis-escalation-complete.json");
    let why = bench.post(&format!("{PATH}?dry-run=lineage"), &[("content-type", "application/json")], record);
    assert_eq!(why.status, StatusCode::OK, "{}", why.json());
    let birth = |row: &&Value| row["path"].as_str().is_some_and(|path| path.ends_with(".birthDate"));
    let lineage = why.json();
    let birth = lineage["left"].as_array().expect("what would leave").iter().find(birth).expect("a birth date would");
    assert_eq!(birth["from"], json!(["person.birthDate"]));
    assert!(lineage["withheldCount"].as_u64() > Some(0), "{lineage}");
    assert_eq!(accepted(&bench), 0);
}

#[test]
fn a_record_with_ever_so_many_faults_is_refused_in_time_that_grows_with_its_length_only() {
    let bench = Bench::of(DemoSite::new());
    let text = String::from_utf8(bench.site.record("crisis-escalation-minimal.json")).expect("a sample is text");
    let end = text.rfind('}').expect("it is an object");
    let faulty = format!("{},\"planSaysWorks\":[{}{{}}]}}", text[..end].trim_end(), "{},".repeat(60_000));
    let started = Instant::now();
    assert_refused(&post_json(&bench, faulty), StatusCode::UNPROCESSABLE_ENTITY, "more than", "");
    assert!(started.elapsed() < Duration::from_secs(20), "it took {:?}", started.elapsed());
}

#[test]
fn a_message_is_shown_to_its_sender_only_by_id() {
    let bench = small_gateway();
    let get = |path: &str| {
        bench.runtime.block_on(async {
            let mut client = Client::connect(&bench.site.endpoint()).await.expect("the gateway answers");
            client.state(path).await.expect("the gateway answers")
        })
    };
    let unknown = "/messages/00000000-0000-4000-8000-000000000000";
    for path in [unknown, "/messages/x", "/messages/1%27%20OR%201=1"] {
        assert_refused(&get(path), StatusCode::NOT_FOUND, "no message with this id", "Location");
    }
}
