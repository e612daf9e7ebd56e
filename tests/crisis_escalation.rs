//! A crisis escalation, end to end: the built program, real processes, mutual TLS, the database.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{DemoSite, http_get, json_of, wait_for, weir};

/// Stands in the place of a birth date.
const AGE_BAND: &str = "https://weir.example/fhir/StructureDefinition/weir-age-band";

/// Records that are to arrive, with the partner they are for.
const SAMPLES: [(&str, &str); 6] = [
    ("crisis-escalation-awkward.json", "trust"),
    ("crisis-escalation-complete.json", "trust"),
    ("crisis-escalation-home-treatment.json", "trust"),
    ("crisis-escalation-icb.json", "icb"),
    ("crisis-escalation-minimal.json", "trust"),
    ("crisis-escalation-missing-essential.json", "trust"),
];

/// Every string in a JSON value.
fn strings(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.values().for_each(|member| strings(member, found)),
        _ => {}
    }
}

fn entries<'a>(bundle: &'a Value, resource_type: &str) -> Vec<&'a Value> {
    let all = bundle["entry"].as_array().expect("a Bundle has entries");
    all.iter().map(|entry| &entry["resource"]).filter(|resource| resource["resourceType"] == resource_type).collect()
}

/// Sends a sample and gives what the gateway says of it and the Bundle that its partner received.
fn deliver(site: &DemoSite, record: &str, partner: &str) -> (Value, String) {
    let before: BTreeSet<String> = site.inbox(partner).into_iter().map(|(id, _)| id).collect();
    let (answer, done) = site.send(record, &[]);
    assert!(done, "{record}: {answer}");
    assert_eq!(answer["state"], "acknowledged", "{record}");
    let new: Vec<_> = site.inbox(partner).into_iter().filter(|(id, _)| !before.contains(id)).collect();
    assert_eq!(new.len(), 1, "{record} arrived once");
    (answer, new.into_iter().next().expect("there is one").1)
}

#[test]
fn every_sample_arrives_once_cut_down_to_its_agreement() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let _icb = site.start_partner("icb", &[]);
    let gateway = site.start_gateway();
    for (record, partner) in SAMPLES {
        let (answer, text) = deliver(&site, record, partner);
        let bundle: Value = serde_json::from_str(&text).expect("a received Bundle is JSON");
        assert_eq!((&bundle["resourceType"], &bundle["type"]), (&"Bundle".into(), &"message".into()));
        assert_eq!(bundle["entry"][0]["resource"]["resourceType"], "MessageHeader");
        assert_eq!(bundle["meta"]["security"][0]["code"], "SUBSETTED", "{record}: something was withheld");
        let recipient = if partner == "trust" { "DEMOT" } else { "DEMOI" };
        assert_eq!(answer["recipient"], recipient);

        // Nothing that the record says in free text and the agreement does not name is anywhere in the Bundle.
        let submitted: Value = serde_json::from_slice(&site.record(record)).expect("a sample is JSON");
        for withheld in ["clinicalNotes"] {
            if let Some(text_withheld) = submitted[withheld].as_str() {
                assert!(!text.contains(text_withheld), "{record}: {withheld} left");
            }
        }
        if partner == "icb" {
            let mut personal = BTreeSet::new();
            strings(&submitted["person"], &mut personal);
            strings(&submitted["practitioner"], &mut personal);
            let gender = submitted["person"]["gender"].as_str().expect("the sample has one");
            for value in personal.iter().filter(|value| value.len() > 2 && *value != gender) {
                assert!(!text.contains(value.as_str()), "{record}: a personal value reached the ICB");
            }
            let patient = entries(&bundle, "Patient")[0];
            assert_eq!(patient["name"][0]["extension"][0]["valueCode"], "masked", "withheld is told apart from absent");
            assert_eq!(patient["gender"], gender);
            let identifiers = patient["identifier"].as_array().expect("there is a pseudonym");
            assert_eq!(identifiers.len(), 1);
            assert_eq!(identifiers[0]["system"], "https://weir.example/fhir/Id/pseudonym/DEMOI");
            assert_eq!(identifiers[0]["value"].as_str().map(str::len), Some(64));
            assert!(patient["birthDate"].is_null() && patient["_birthDate"]["extension"][1]["url"] == AGE_BAND);
            assert_eq!(patient["address"], serde_json::json!([{ "postalCode": "ZZ99" }]));
        } else {
            let patient = entries(&bundle, "Patient")[0];
            assert_eq!(patient["birthDate"], submitted["person"]["birthDate"]);
            assert_eq!(patient["name"][0]["family"], submitted["person"]["family"]);
            let summary = entries(&bundle, "Composition")[0];
            let sections = summary["section"].as_array().expect("the summary has sections");
            assert!(sections.iter().all(|section| section["text"]["div"].is_string()), "each section can be read");
        }
    }
    assert_eq!(gateway.terminate(), Some(0), "the gateway drains and stops");
    check_what_is_on_disk(&site);
}

/// After the gateway has stopped: nothing personal in clear, and an audit log that verifies.
fn check_what_is_on_disk(site: &DemoSite) {
    let bytes = site.stored_and_logged();
    for (record, _) in SAMPLES {
        let submitted: Value = serde_json::from_slice(&site.record(record)).expect("a sample is JSON");
        for path in ["/person/family", "/person/nhsNumber", "/person/postcode", "/whatChanged/text", "/clinicalNotes"] {
            let Some(value) = submitted.pointer(path).and_then(Value::as_str) else { continue };
            let found = bytes.windows(value.len()).any(|window| window == value.as_bytes());
            assert!(!found, "{path} of {record} stands in clear in the database or a log");
        }
    }
    let verified = weir().args(["audit", "verify", "--format", "json", "--site"]).arg(site.gateway_folder()).output();
    let verified = verified.expect("weir runs");
    let report = json_of(&verified);
    assert!(verified.status.success(), "{report}");
    assert_eq!(report["faults"], Value::Array(vec![]));
    assert_eq!(report["events"], report["covered"], "the last signed head covers every event");
    assert!(report["events"].as_u64() > Some(15), "{report}");
}

#[test]
fn lineage_says_why_each_element_left_and_why_others_did_not() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let _gateway = site.start_gateway();
    let (answer, _) = deliver(&site, "crisis-escalation-complete.json", "trust");
    let id = answer["message"].as_str().expect("the answer names the message");
    let explain = |more: &[&str]| {
        let shown = weir().args(["explain", id, "--site"]).arg(site.gateway_folder()).args(more).output();
        let shown = shown.expect("weir runs");
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        String::from_utf8(shown.stdout).expect("it is text")
    };
    assert!(!explain(&[]).contains("not permitted"), "the engineer's role does not show what was held back");
    let tree = explain(&["--as", "demo-guardian"]);
    for expected in ["person.birthDate", "patient-birth-date", "crisis-escalation.map", "identity", "not permitted"] {
        assert!(tree.contains(expected), "`{expected}` is missing in:\n{tree}");
    }
    assert!(!tree.contains("Exemplar"), "lineage holds no value");
    let provenance: Value = serde_json::from_str(&explain(&["--provenance"])).expect("it is JSON");
    assert_eq!(provenance["resourceType"], "Provenance");
    assert!(provenance["policy"][0].as_str().is_some_and(|policy| policy.contains("demo-trust-crisis")));
    let verdict = weir().args(["validate", "--format", "json"]).arg(write(&site, &provenance)).output();
    assert!(verdict.expect("weir runs").status.success(), "the Provenance is valid R4");
}

fn write(site: &DemoSite, resource: &Value) -> std::path::PathBuf {
    let path = site.path("provenance.json");
    fs::write(&path, resource.to_string()).expect("it can be written");
    path
}

#[test]
fn a_repeat_is_the_same_message_and_a_partner_that_fails_gets_it_again() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &["unavailable:2", "cut:1"]);
    let _gateway = site.start_gateway();
    let (first, text) = deliver(&site, "crisis-escalation-minimal.json", "trust");
    let (second, done) = site.send("crisis-escalation-minimal.json", &[]);
    assert!(done);
    assert_eq!(first["message"], second["message"]);
    let arrivals = site.arrivals("trust");
    let ids: BTreeSet<_> = arrivals.iter().filter_map(|arrival| arrival["request"].as_str()).collect();
    assert_eq!(ids.len(), 1, "one X-Request-Id in all attempts: {arrivals:?}");
    assert_eq!(site.inbox("trust").len(), 1);
    assert!(first["attempts"].as_u64() > Some(1), "{first}");
    assert!(text.contains("MessageHeader"));
}

#[test]
fn a_message_waits_for_a_partner_that_is_down() {
    let site = DemoSite::new();
    let _gateway = site.start_gateway();
    let (answer, done) = site.send("crisis-escalation-minimal.json", &["--wait-seconds", "1"]);
    assert!(!done, "nobody is there to acknowledge: {answer}");
    assert!(matches!(answer["state"].as_str(), Some("queued" | "in-flight")), "{answer}");
    let _trust = site.start_partner("trust", &[]);
    wait_for("the message to arrive", || site.inbox("trust").len() == 1);
    wait_for("its acknowledgement", || site.send("crisis-escalation-minimal.json", &[]).1);
}

#[test]
fn operators_see_readiness_and_counts() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let _gateway = site.start_gateway();
    deliver(&site, "crisis-escalation-complete.json", "trust");
    let get = |path| http_get(site.operations(), path).expect("the operators' endpoint answers");
    assert_eq!(get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").0, 200);
    assert_eq!(get("/metrics").0, 200);
    // An attempt is counted a moment after its outcome is stored.
    for line in [
        r#"weir_submissions_total{interface="crisis-escalation",outcome="accepted"} 1"#,
        r#"weir_messages{recipient="DEMOT",state="acknowledged"} 1"#,
        r#"weir_attempts_total{recipient="DEMOT",outcome="acknowledged"} 1"#,
    ] {
        wait_for(&format!("metrics to say {line}"), || get("/metrics").1.lines().any(|found| found == line));
    }
}

#[test]
fn a_traced_message_carries_its_id_through_every_step() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    let (answer, _) = deliver(&site, "crisis-escalation-complete.json", "trust");
    gateway.terminate();
    let id = answer["message"].as_str().expect("the answer names the message");
    let log = fs::read_to_string(site.path("gateway.log")).expect("there is a log");
    for step in ["accept", "mapping", "validation", "disclosure", "provenance", "outbox", "forward"] {
        let found = log.lines().any(|line| line.contains(id) && line.contains(step));
        assert!(found, "no line names {step} with the message's id");
    }
}

/// How many sample records a folder and those below it hold that are not to be refused.
fn samples_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it can be read").path());
    let count = |path: PathBuf| match path.is_dir() {
        true if path.ends_with("rejected") => 0,
        true => samples_below(&path),
        false => usize::from(path.extension().is_some_and(|extension| extension == "json")),
    };
    entries.map(count).sum()
}

#[test]
fn the_demo_runs_to_its_end_and_keeps_its_site() {
    let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
    let to_arrive = samples_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/records"));
    assert!(to_arrive >= 17, "{to_arrive} samples");
    for round in ["first", "again on the same folder"] {
        let ran = weir().args(["demo", "--once", "--format", "json", "--dir"]).arg(folder.path()).output();
        let ran = ran.expect("weir runs");
        let said = json_of(&ran);
        assert!(ran.status.success(), "{round}: {said}\n{}", String::from_utf8_lossy(&ran.stderr));
        let states: Vec<_> = said["messages"].as_array().expect("it lists messages").iter().collect();
        let delivered = states.iter().filter(|row| row["state"] == "acknowledged").count();
        assert_eq!(delivered, to_arrive, "{round}: {said}");
    }
    let received = |partner: &str| {
        fs::read_dir(folder.path().join(partner).join("inbox/received")).expect("an inbox was kept").count()
    };
    let received: usize = ["trust", "icb", "council"].map(received).iter().sum();
    assert_eq!(received, to_arrive, "a second run sends nothing twice");
}
