//! Records that lack something essential, through the built program: refused with a list, or sent with a Task for each
//! thing that is missing.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;

use hyper::StatusCode;
use serde_json::Value;
use support::{Bench, DemoSite, http_get, wait_for, weir};

const PATH: &str = "/records/crisis-escalation";
const JSON: (&str, &str) = ("content-type", "application/json");
const LACKING: &str = "crisis-escalation-missing-essential.json";
const COMPLETE: &str = "crisis-escalation-complete.json";
const TASK: &str = "https://weir.example/fhir/StructureDefinition/weir-missing-information-task";
/// What the record lacks, as its sender is told.
const LACKS: [&str; 6] =
    ["person.phone", "consent.status", "accessToMeans", "safeguardingConcerns", "medications[1].dose", "allergies"];

/// A site whose interface has this setting.
fn site_with(setting: &str) -> DemoSite {
    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    let key = "identified_by = [\"recordId\", \"version\"]\n";
    assert!(text.contains(key));
    fs::write(&file, text.replacen(key, &format!("{key}{setting}\n"), 1)).expect("it is written");
    site
}

fn with_priority(site: &DemoSite, priority: &str) -> Vec<u8> {
    let mut record: Value = serde_json::from_slice(&site.record(LACKING)).expect("a sample is JSON");
    record["timeSensitivity"]["priority"] = priority.into();
    serde_json::to_vec(&record).expect("it is JSON")
}

fn resources<'b>(bundle: &'b Value, profile: &str) -> Vec<&'b Value> {
    let entries = bundle["entry"].as_array().expect("a Bundle has entries");
    entries
        .iter()
        .map(|entry| &entry["resource"])
        .filter(|resource| resource["meta"]["profile"][0] == profile)
        .collect()
}

fn metric(site: &DemoSite, outcome: &str, expected: usize) {
    let line =
        format!(r#"weir_essential_missing_total{{interface="crisis-escalation",outcome="{outcome}"}} {expected}"#);
    wait_for(&line, || {
        let metrics = http_get(site.operations(), "/metrics").expect("there are metrics");
        metrics.1.lines().any(|found| found == line)
    });
}

/// The counts of missing elements that events of a kind hold.
fn audited(site: &DemoSite, kind: &str) -> Vec<String> {
    let is_it = |event: &&Value| event["subtype"].to_string().contains(&format!("\"{kind}\""));
    let events = site.audit_events();
    let counts = events.iter().filter(is_it).flat_map(|event| {
        let entities = event["entity"].as_array().expect("it is about something").clone();
        entities.into_iter().flat_map(|entity| entity["detail"].as_array().cloned().unwrap_or_default())
    });
    let counts = counts.filter(|detail| detail["type"] == "essential-missing");
    counts.map(|detail| detail["valueString"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn it_is_sent_with_a_task_for_each_thing_that_is_missing() {
    let bench = Bench::of(DemoSite::new());
    let _trust = bench.site.start_partner("trust", &[]);
    let answer = bench.post(PATH, &[JSON], bench.site.record(LACKING));
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
    let said = answer.json();
    assert_eq!(said["missing"], serde_json::json!(LACKS), "{said}");
    let again = bench.post(PATH, &[JSON], bench.site.record(LACKING)).json();
    assert_eq!((&again["repeated"], &again["missing"]), (&true.into(), &said["missing"]), "a repeat is told the same");
    wait_for("the message to arrive", || bench.site.inbox("trust").len() == 1);

    let text = bench.site.inbox("trust").remove(0).1;
    let bundle: Value = serde_json::from_str(&text).expect("it is JSON");
    let url = |of: &str| {
        let entries = bundle["entry"].as_array().expect("it has entries").iter();
        let mut found = entries
            .filter(|entry| entry["resource"]["meta"]["profile"][0].as_str().is_some_and(|own| own.ends_with(of)));
        found.next().unwrap_or_else(|| panic!("there is a {of}"))["fullUrl"].clone()
    };
    let (role, team) = (url("/weir-practitioner-role"), url("/weir-team"));
    let rows: Vec<Vec<String>> = resources(&bundle, TASK)
        .into_iter()
        .map(|task| {
            assert_eq!(
                (&task["status"], &task["intent"], &task["priority"]),
                (&"requested".into(), &"order".into(), &"asap".into())
            );
            assert_eq!(task["requester"]["reference"], role);
            assert_eq!(task["for"]["reference"], url("/weir-patient"));
            assert_eq!(task["focus"]["reference"], url("/weir-crisis-escalation-service-request"));
            assert_eq!(task["reasonCode"]["coding"][0]["code"], "unknown", "not recorded, and not masked");
            assert_eq!(task["authoredOn"], "2026-03-06T09:40:00Z");
            let owner = &task["owner"]["reference"];
            let owner = if *owner == role {
                "author"
            } else if *owner == team {
                "team"
            } else {
                "someone"
            };
            let texts = [
                &task["input"][0]["valueString"],
                &task["performerType"][0]["coding"][0]["code"],
                &owner.into(),
                &task["restriction"]["period"]["end"],
            ];
            texts.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
        })
        .collect();
    let expected = [
        ["person.phone", "sending-practitioner", "author", "2026-03-06T10:40:00.000Z"],
        ["consent.status", "sending-practitioner", "author", "2026-03-07T09:40:00.000Z"],
        ["accessToMeans", "sending-practitioner", "author", "2026-03-06T10:40:00.000Z"],
        ["safeguardingConcerns", "sending-practitioner", "author", "2026-03-07T09:40:00.000Z"],
        ["medications.dose", "care-coordinator", "team", "2026-03-07T09:40:00.000Z"],
        ["allergies", "care-coordinator", "team", "2026-03-06T13:40:00.000Z"],
    ];
    assert_eq!(rows, expected);

    // The summary lists them, and tells "not recorded" from "asked for, and none".
    let summary =
        &resources(&bundle, "https://weir.example/fhir/StructureDefinition/weir-crisis-escalation-composition")[0];
    let section = |code: &str| {
        let sections = summary["section"].as_array().expect("the summary has sections").iter();
        let mut found = sections.filter(|section| section["code"]["coding"][0]["code"] == code);
        found.next().unwrap_or_else(|| panic!("there is a section {code}"))
    };
    let list = section("outstanding-issues");
    assert_eq!(list["entry"].as_array().map(Vec::len), Some(6));
    let shown = list["text"]["div"].as_str().expect("it can be read");
    for words in [
        "Not recorded: Allergies and adverse reactions. Which allergies are known, or none?",
        "Care coordinator",
        "6 March 2026",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    for code in ["allergies-and-adverse-reaction", "relevant-clinical-risk-factors", "safeguarding"] {
        assert_eq!(section(code)["emptyReason"]["coding"][0]["code"], "unavailable", "{code}");
        assert!(section(code)["text"]["div"].to_string().contains("Not recorded"), "{code}");
    }
    assert_eq!(section("crisis-plan")["emptyReason"]["coding"][0]["code"], "nilknown");
    assert!(section("crisis-plan")["text"]["div"].to_string().contains("Asked for, and none"));

    let file = bench.site.path("arrived.json");
    fs::write(&file, &text).expect("it is written");
    let verdict = weir().args(["validate", "--format", "json"]).arg(&file).output().expect("weir runs");
    assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stdout));

    let id = said["message"].as_str().expect("the answer names the message");
    let explained =
        weir().args(["explain", id, "--site"]).arg(bench.site.gateway_folder()).output().expect("weir runs");
    let explained = String::from_utf8(explained.stdout).expect("it is text");
    let line = "the record lacked, and a Task says so: person.phone, consent.status, accessToMeans, safeguardingConcerns, medications.dose, allergies\n";
    assert!(explained.contains(line), "{explained}");
    assert!(explained.contains("rule Weir.allergies is missing (CrisisEscalationRecord:"), "{explained}");

    metric(&bench.site, "marked", 6);
    let site = bench.kill();
    assert_eq!(audited(&site, "message-accepted"), ["6"]);
}

#[test]
fn it_is_refused_with_a_list_where_the_interface_says_so_and_nothing_is_stored() {
    let bench = Bench::of(site_with("missing_essential = \"refuse\""));
    let answer = bench.post(PATH, &[JSON], bench.site.record(LACKING));
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let said = answer.json();
    let issues = said["issue"].as_array().expect("it is an OperationOutcome");
    let paths: Vec<&str> = issues.iter().filter_map(|issue| issue["expression"][0].as_str()).collect();
    assert_eq!(paths, LACKS, "all of it at once: {said:#}");
    assert!(issues.iter().all(|issue| issue["code"] == "required" && issue["severity"] == "error"));
    let last = &issues[5];
    assert_eq!(last["details"]["text"], "not recorded: Allergies and adverse reactions");
    let hint = last["diagnostics"].as_str().unwrap_or_default();
    assert!(hint.contains("Care coordinator must obtain it: Which allergies are known, or none?"), "{hint}");
    assert!(!said.to_string().contains("Sampleperson"), "no value of the record: {said}");

    let dry = bench.post(&format!("{PATH}?dry-run"), &[JSON], bench.site.record(LACKING));
    assert_eq!(dry.status, StatusCode::UNPROCESSABLE_ENTITY, "a dry run says the same");
    let complete = bench.post(PATH, &[JSON], bench.site.record(COMPLETE));
    assert_eq!(complete.status, StatusCode::ACCEPTED, "{}", complete.json());
    assert!(complete.json().get("missing").is_none(), "{}", complete.json());
    metric(&bench.site, "refused", 6);
    let site = bench.kill();
    assert_eq!(audited(&site, "submission-refused"), ["6"]);
    let messages = weir().args(["messages", "list", "--format", "json", "--site"]).arg(site.gateway_folder()).output();
    let messages = String::from_utf8(messages.expect("weir runs").stdout).expect("it is text");
    assert_eq!(messages.matches("\"message\":").count(), 1, "only the complete one is stored: {messages}");
}

#[test]
fn an_emergency_is_never_refused_for_what_it_lacks() {
    let bench = Bench::of(site_with("missing_essential = \"refuse\""));
    let _trust = bench.site.start_partner("trust", &[]);
    let answer = bench.post(PATH, &[JSON], with_priority(&bench.site, "1"));
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json());
    assert_eq!(answer.json()["missing"], serde_json::json!(LACKS));
    wait_for("the emergency to arrive", || bench.site.inbox("trust").len() == 1);
    let bundle: Value = serde_json::from_str(&bench.site.inbox("trust")[0].1).expect("it is JSON");
    assert_eq!(resources(&bundle, TASK).len(), 6);
}

#[test]
fn each_priority_has_its_own_setting_and_none_refuses_an_emergency() {
    let bench = Bench::of(site_with("missing_essential = { urgent = \"mark\", routine = \"refuse\" }"));
    for (priority, status) in
        [("2", StatusCode::ACCEPTED), ("4", StatusCode::ACCEPTED), ("3", StatusCode::UNPROCESSABLE_ENTITY)]
    {
        let answer = bench.post(PATH, &[JSON, ("idempotency-key", priority)], with_priority(&bench.site, priority));
        assert_eq!(answer.status, status, "{priority}: {}", answer.json());
    }
    drop(bench);
    for (setting, expected) in [
        ("missing_essential = { stat = \"refuse\" }", "an emergency is never refused for what it lacks"),
        ("missing_essential = { soon = \"mark\" }", "missing_essential.soon is no priority of a request"),
        (
            "missing_essential = \"ignore\"",
            "missing_essential is \"mark\", \"refuse\", or a table of these by priority",
        ),
    ] {
        let site = site_with(setting);
        let checked =
            weir().args(["config", "check", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{setting}: {said}");
    }
}

#[test]
fn an_agreement_that_withholds_the_task_in_silence_is_refused() {
    let site = DemoSite::new();
    let agreement = site.path("gateway/agreements/demo-icb-crisis.toml");
    let text = fs::read_to_string(&agreement).expect("the site has the agreement");
    let at = text.find(TASK).and_then(|at| text[..at].rfind("\n[[interfaces")).expect("it withholds the Task");
    fs::write(&agreement, &text[..at]).expect("it is written");
    let checked = weir().args(["config", "check", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(1), "{said}");
    for words in ["safety-critical, and withheld without anyone's decision", "Task.description (what the record lacks)"]
    {
        assert!(said.contains(words), "{said}");
    }
}
