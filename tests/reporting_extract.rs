//! A row of a reporting extract, end to end: it is counted, and nobody is found by it.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use serde_json::{Value, json};
use support::{Bench, DemoSite, json_of, strings, weir};

const FOLDER: &str = "reporting-extract";
const OUTCOME: &str = "https://weir.example/fhir/StructureDefinition/weir-referral-outcome";
const PSEUDONYMS: &str = "https://weir.example/fhir/Id/pseudonym/DEMOI";
const LEAVES: &str = "https://weir.example/fhir/StructureDefinition/weir-reporting-extract-pseudonymised-bundle";

fn samples(site: &DemoSite) -> Vec<(String, Value)> {
    let entries = fs::read_dir(site.path("records").join(FOLDER)).expect("there are samples");
    let files = entries.map(|entry| entry.expect("it is readable").path()).filter(|path| path.is_file());
    let mut found: Vec<(String, Value)> = files
        .map(|path| {
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            (name, serde_json::from_slice(&fs::read(&path).expect("it is readable")).expect("it is JSON"))
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// What of a row tells who the person is, or leads to where it is told. Gender leaves as it is.
fn identity(record: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut person = record["person"].clone();
    let members = person.as_object_mut().expect("a person is an object");
    members.retain(|name, _| !["gender", "nhsNumberStatus"].contains(&name.as_str()));
    strings(&person, &mut found);
    strings(&record["team"]["id"], &mut found);
    strings(&record["team"]["name"], &mut found);
    strings(&record["referral"]["id"], &mut found);
    strings(&record["recordId"], &mut found);
    record["contacts"].as_array().into_iter().flatten().for_each(|contact| strings(&contact["id"], &mut found));
    found.into_iter().map(str::to_owned).collect()
}

/// A text in the ways in which programs write it, in lower case.
fn spellings(text: &str) -> Vec<String> {
    let hex: String = text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes it");
        hex
    });
    let escaped = json!(text).to_string();
    let ascii: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(text);
    let spaceless: String = text.chars().filter(|letter| *letter != ' ').collect();
    let all = [text, escaped.trim_matches('"'), &ascii, &hex, &base64, &spaceless];
    all.map(str::to_lowercase).to_vec()
}

fn resources<'b>(bundle: &'b Value, of: &'static str) -> impl Iterator<Item = &'b Value> {
    let entries = bundle["entry"].as_array().expect("a Bundle has entries").iter();
    entries.map(|entry| &entry["resource"]).filter(move |resource| resource["resourceType"] == of)
}

#[test]
fn every_row_is_counted_and_no_byte_of_it_tells_who_the_person_is() {
    let site = DemoSite::new();
    let _icb = site.start_partner("icb", &[]);
    let _gateway = site.start_gateway();
    let mut counted = BTreeSet::new();
    for (name, record) in samples(&site) {
        let text = site.deliver(FOLDER, &name, &record, "icb");
        let lower = text.to_lowercase();
        for secret in identity(&record) {
            for spelled in spellings(&secret) {
                assert!(!lower.contains(&spelled), "LEAK: {name}: {secret:?} left as {spelled:?}");
            }
        }
        let bundle: Value = serde_json::from_str(&text).expect("what arrives is JSON");
        let kinds: BTreeSet<&str> = bundle["entry"]
            .as_array()
            .expect("entries")
            .iter()
            .filter_map(|each| each["resource"]["resourceType"].as_str())
            .collect();
        let may = ["MessageHeader", "ServiceRequest", "Patient", "EpisodeOfCare", "Encounter", "Organization"];
        assert!(kinds.iter().all(|kind| may.contains(kind)), "{name}: {kinds:?}");

        let request = resources(&bundle, "ServiceRequest").next().expect("there is one");
        assert_eq!(request["authoredOn"], record["referral"]["receivedOn"], "{name}");
        assert!(request["priority"].is_null(), "{name}: a row asks nobody to act");
        let priority = &request["extension"][0]["valueCoding"]["code"];
        assert_eq!(*priority, record["referral"]["priority"], "{name}");
        assert_eq!(request["identifier"][0]["system"], PSEUDONYMS, "{name}");
        let episode = resources(&bundle, "EpisodeOfCare").next().expect("there is one");
        assert_eq!(episode["type"][0]["coding"][0]["code"], record["team"]["type"], "{name}");
        let outcome = episode["extension"].as_array().expect("it says the outcome").iter();
        let outcome = outcome.filter(|each| each["url"] == OUTCOME).map(|each| each["valueCoding"]["code"].clone());
        assert_eq!(outcome.collect::<Vec<_>>(), [record["outcome"]["code"].clone()], "{name}");
        counted.insert(record["outcome"]["code"].as_str().expect("a code").to_owned());
        let contacts = resources(&bundle, "Encounter").count();
        assert_eq!(contacts, record["contacts"].as_array().map_or(0, Vec::len), "{name}: each contact is counted");
        let person = resources(&bundle, "Patient").next().expect("there is one");
        for pseudonym in person["identifier"].as_array().expect("it has pseudonyms") {
            assert_eq!(pseudonym["system"], PSEUDONYMS, "{name}");
            assert_eq!(pseudonym["value"].as_str().map(str::len), Some(64), "{name}");
        }
        if let Some(postcode) = record["person"]["postcode"].as_str().filter(|postcode| postcode.starts_with("ZZ99 ")) {
            let (outward, _) = postcode.split_once(' ').expect("it has two halves");
            assert_eq!(person["address"][0]["postalCode"], outward, "{name}");
        }
        assert!(person["birthDate"].is_null(), "{name}");
        assert!(validated(&site, &name, &text), "{name}: what left does not conform to the profile without identity");
    }
    assert!(counted.len() >= 4, "{counted:?}");
    let arrived = site.inbox("icb").len();
    let (answer, done) = site.send_to(FOLDER, &format!("{FOLDER}/rejected/objection.json"), &[]);
    assert!(!done && answer.to_string().contains("the person objects to this sharing"), "{answer}");
    assert_eq!(site.inbox("icb").len(), arrived, "a row of somebody who objects left");
}

/// Whether a Bundle conforms to the profile that has no identity.
fn validated(site: &DemoSite, name: &str, text: &str) -> bool {
    let file = site.path(&format!("{name}.left"));
    fs::write(&file, text).expect("it can be written");
    weir().args(["validate", "--profile", LEAVES]).arg(&file).output().expect("weir runs").status.success()
}

#[test]
fn one_person_and_one_referral_are_known_again_and_another_is_not() {
    let site = DemoSite::new();
    let _icb = site.start_partner("icb", &[]);
    let _gateway = site.start_gateway();
    let row = |name: &str| {
        let rows = samples(&site);
        rows.into_iter().find(|(other, _)| other == name).expect("there is such a sample").1
    };
    let mut later = row("complete");
    later["version"] = json!("2");
    let other = row("crisis");
    let ids = |text: &str| -> (Value, Value) {
        let bundle: Value = serde_json::from_str(text).expect("it is JSON");
        let of = |kind| resources(&bundle, kind).next().expect("there is one")["identifier"].clone();
        (of("Patient"), of("ServiceRequest"))
    };
    let first = ids(&site.deliver(FOLDER, "first", &row("complete"), "icb"));
    let second = ids(&site.deliver(FOLDER, "second", &later, "icb"));
    let third = ids(&site.deliver(FOLDER, "third", &other, "icb"));
    assert_eq!(first, second, "a later version of a row is about the same person and the same referral");
    assert_ne!(first.0[0], third.0[0]);
    assert_ne!(first.1, third.1);
}

/// What the person said about uses beyond their care holds, unless the agreement says that the law asks for the row.
#[test]
fn a_row_of_somebody_who_objects_does_not_leave_unless_the_agreement_only_records_it() {
    let site = DemoSite::new();
    let gateway = site.gateway_folder();
    let run = |arguments: &[&str], file: &Path| {
        weir().args(arguments).arg("--site").arg(&gateway).arg(file).output().expect("weir runs")
    };
    let record = site.path("records").join(FOLDER).join("rejected/objection.json");
    let mapped = run(&["map", "--interface", FOLDER], &record);
    assert!(mapped.status.success(), "{}", String::from_utf8_lossy(&mapped.stderr));
    let bundle = site.path("bundle.json");
    fs::write(&bundle, &mapped.stdout).expect("it can be written");
    let minimise = ["minimise", "--agreement", "demo-icb-reporting", "--interface", FOLDER];
    let left = run(&minimise, &bundle);
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert_eq!(left.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing would leave: the person objects to this sharing"), "{said}");

    let file = gateway.join("agreements/demo-icb-reporting.toml");
    let agreement = fs::read_to_string(&file).expect("it is there");
    let records = agreement.replacen("objection = \"refuse\"", "objection = \"record\"", 1);
    assert_ne!(records, agreement);
    fs::write(&file, &records).expect("it can be written");
    let left = run(&minimise, &bundle);
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert!(!left.status.success() && said.contains("the mitigation relies on consent, but no interface"), "{said}");
    let honest = records.replacen("control = \"consent\"", "control = \"audit\"", 1);
    fs::write(&file, honest).expect("it can be written");
    let left = run(&minimise, &bundle);
    assert!(left.status.success(), "{}", String::from_utf8_lossy(&left.stderr));
    assert!(json_of(&left)["entry"].is_array(), "the row leaves");
}

/// What MHSDS refuses a row without: its sender is told, who corrects it, and the commissioner gets the row without a word of that.
#[test]
fn a_row_without_what_mhsds_refuses_is_marked_to_its_sender_or_sent_back() {
    let lacks = json!(["team.id", "person.localId", "contacts[1].id"]);
    let path = format!("/records/{FOLDER}");
    let json_type = ("content-type", "application/json");
    let lacking = format!("{FOLDER}/missing-essential.json");
    let bench = Bench::of(DemoSite::new());
    let answer = bench.post(&path, &[json_type], bench.site.record(&lacking));
    assert_eq!((answer.status.as_u16(), &answer.json()["missing"]), (202, &lacks), "{}", answer.json());
    let complete = bench.post(&path, &[json_type], bench.site.record(&format!("{FOLDER}/complete.json")));
    assert!(complete.status.as_u16() == 202 && complete.json().get("missing").is_none(), "{}", complete.json());

    let mut map = weir();
    map.args(["map", "--interface", FOLDER, "--site"]).arg(bench.site.gateway_folder());
    let mapped = json_of(&map.arg(bench.site.path("records").join(&lacking)).output().expect("weir runs"));
    let sender = resources(&mapped, "MessageHeader").next().expect("there is one")["sender"]["reference"].clone();
    let tasks: Vec<&Value> = resources(&mapped, "Task").collect();
    let paths: Vec<&Value> = tasks.iter().map(|task| &task["input"][0]["valueString"]).collect();
    assert_eq!(paths, ["team.id", "person.localId", "contacts.id"]);
    for task in tasks {
        assert_eq!((&task["owner"]["reference"], &task["priority"]), (&sender, &Value::Null), "{task}");
        assert_eq!(task["performerType"][0]["coding"][0]["code"], "data-quality-lead");
        assert_eq!(
            task["restriction"]["period"]["end"], "2026-04-08T02:00:00.000Z",
            "a week after the row was written"
        );
    }
    drop(bench);

    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let toml = fs::read_to_string(&file).expect("the site has a weir.toml");
    let refuses = toml.replacen("missing_essential = \"mark\"", "missing_essential = \"refuse\"", 1);
    assert_ne!(refuses, toml);
    fs::write(&file, refuses).expect("it is written");
    let bench = Bench::of(site);
    let answer = bench.post(&path, &[json_type], bench.site.record(&lacking));
    let issues = answer.json()["issue"].as_array().cloned().unwrap_or_default();
    let said: Vec<&Value> = issues.iter().map(|issue| &issue["expression"][0]).collect();
    assert_eq!((answer.status.as_u16(), json!(said)), (422, lacks), "{}", answer.json());
    assert!(answer.json().to_string().contains("MHSDS refuses a contact without it"), "{}", answer.json());
}

/// An agreement that lets a name leave is a slip that the profile of what leaves stops.
#[test]
fn a_name_that_an_agreement_would_let_leave_is_stopped_by_the_profile() {
    let site = DemoSite::new();
    let gateway = site.gateway_folder();
    let run = |arguments: &[&str], file: &Path| {
        weir().args(arguments).arg("--site").arg(&gateway).arg(file).output().expect("weir runs")
    };
    let record = site.path("records").join(FOLDER).join("complete.json");
    let mapped = run(&["map", "--interface", FOLDER], &record);
    assert!(mapped.status.success(), "{}", String::from_utf8_lossy(&mapped.stderr));
    let bundle = site.path("bundle.json");
    fs::write(&bundle, &mapped.stdout).expect("it can be written");
    let minimise = ["minimise", "--agreement", "demo-icb-reporting", "--interface", FOLDER];
    let left = run(&minimise, &bundle);
    assert!(left.status.success(), "{}", String::from_utf8_lossy(&left.stderr));

    let file = gateway.join("agreements/demo-icb-reporting.toml");
    let agreement = fs::read_to_string(&file).expect("it is there");
    let permits = agreement.replacen("\"gender\"", "\"gender\", \"name.use\", \"name.family\"", 1);
    assert_ne!(permits, agreement);
    fs::write(&file, permits).expect("it can be written");
    let left = run(&minimise, &bundle);
    let said = String::from_utf8_lossy(&left.stderr).into_owned();
    assert_eq!(left.status.code(), Some(1), "{said}");
    assert!(said.contains("The person has no name, number, photo, contact or language"), "{said}");
}
