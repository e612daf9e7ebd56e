//! A safeguarding referral, end to end: it reaches the council whole, and who is said to be the source of the risk reaches
//! nobody whom the agreement does not let know, in no spelling and at no place.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{DemoSite, json_of, strings, weir};

const FOLDER: &str = "safeguarding-referral";
const SOURCE: &str = "https://weir.example/fhir/StructureDefinition/weir-alleged-source-of-risk";
const THIRD_PARTY: &str = "https://weir.example/fhir/CodeSystem/third-party";

/// The samples that are to be accepted, by name.
fn samples(site: &DemoSite) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(site.path("records").join(FOLDER)).expect("there are samples") {
        let path = entry.expect("it is readable").path();
        if path.is_file() {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            let record = serde_json::from_slice(&fs::read(&path).expect("it is readable")).expect("it is JSON");
            found.push((name, record));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// Sends a record file and gives the answer, and whether it was acknowledged.
fn send(site: &DemoSite, record: &Path) -> (Value, bool) {
    let mut command = weir();
    command.args(["send", "--format", "json", "--interface", FOLDER, "--site"]).arg(site.gateway_folder());
    let sent = command.arg(record).output().expect("weir runs");
    (json_of(&sent), sent.status.success())
}

/// What a record says of alleged sources and nowhere else.
fn third_party(record: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    strings(&record["allegedSources"], &mut found);
    let (mut others, mut rest) = (Vec::new(), record.clone());
    rest.as_object_mut().expect("a record is an object").remove("allegedSources");
    strings(&rest, &mut others);
    found.retain(|text| !others.iter().any(|other| other.contains(*text)));
    found
}

/// How a text may stand in JSON: as it is, escaped, or escaped to ASCII; and each as XHTML in a narrative.
fn spellings(text: &str) -> BTreeSet<String> {
    let xhtml = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let quoted = xhtml.replace('"', "&quot;").replace('\'', "&#39;");
    let mut found = BTreeSet::new();
    for text in [text.to_owned(), xhtml, quoted] {
        let escaped = json!(text).to_string();
        let ascii: String = escaped
            .encode_utf16()
            .map(|unit| match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
                _ => format!("\\u{unit:04x}"),
            })
            .collect();
        for each in [&escaped, &ascii] {
            found.insert(each.trim_matches('"').to_owned());
        }
        found.insert(text);
    }
    found
}

fn holds(bytes: &str, text: &str) -> bool {
    spellings(text).iter().any(|spelled| bytes.contains(spelled))
}

fn resources(bundle: &Value) -> impl Iterator<Item = &Value> {
    bundle["entry"].as_array().expect("a Bundle has entries").iter().map(|entry| &entry["resource"])
}

fn is_source(resource: &Value) -> bool {
    resource["meta"]["profile"].as_array().is_some_and(|profiles| profiles.contains(&json!(SOURCE)))
}

#[test]
fn every_sample_reaches_its_partner_and_keeps_the_alleged_source_apart() {
    let site = DemoSite::new();
    let _partners = (site.start_partner("trust", &[]), site.start_partner("council", &[]));
    let _gateway = site.start_gateway();
    let (mut kinds, mut sources) = (BTreeSet::new(), 0);
    for (name, record) in samples(&site) {
        let is_council = record["recipient"]["odsCode"] == "DEMOL";
        let text = site.deliver(FOLDER, &name, &record, if is_council { "council" } else { "trust" });
        let bundle: Value = serde_json::from_str(&text).expect("what arrives is JSON");
        kinds.insert(record["kind"].as_str().expect("there is a kind").to_owned());
        let concerns = resources(&bundle).filter(|resource| resource["resourceType"] == "Flag").count();
        assert_eq!(concerns, record["concerns"].as_array().map_or(0, Vec::len), "{name}: each concern arrives");
        for other in record["othersAtRisk"].as_array().into_iter().flatten() {
            let given = other["given"][0].as_str().or(other["relationship"].as_str()).expect("one of them is there");
            assert!(holds(&text, given), "{name}: somebody at risk did not arrive");
        }
        for withheld in ["clinicalNotes"].iter().filter_map(|field| record[*field].as_str()) {
            assert!(!holds(&text, withheld), "{name}: case notes left");
        }
        for part in ["riskIndicators", "alternatives", "proportionality", "decidedBy", "whyNotTold"] {
            let mut reasoning = Vec::new();
            strings(&record["sharingDecision"][part], &mut reasoning);
            assert!(!reasoning.iter().any(|words| holds(&text, words)), "{name}: {part} left");
        }
        for said in third_party(&record) {
            assert_eq!(holds(&text, said), is_council, "{name}: {said:?}");
        }
        for resource in resources(&bundle) {
            let (mut own, at) = (resource.clone(), resource["resourceType"].as_str().expect("it has a type"));
            if is_source(resource) {
                sources += 1;
                assert!(is_council, "{name}: an alleged source reached the Trust");
                let labels = resource["meta"]["security"].as_array().expect("it is labelled");
                assert!(labels.iter().any(|label| label["system"] == THIRD_PARTY && label["code"] == "third-party"));
                continue;
            }
            // The summary is made of what may be read; its section of alleged sources is the one place for them.
            if at == "Composition" {
                own["section"]
                    .as_array_mut()
                    .expect("sections")
                    .retain(|each| each["title"] != "Alleged source of risk");
            }
            let own = own.to_string();
            for said in third_party(&record) {
                assert!(!holds(&own, said), "{name}: {at} says {said:?}");
            }
        }
    }
    assert_eq!(kinds, ["adult", "child"].map(str::to_owned).into());
    assert!(sources >= 5, "the council is told who is said to be the source: {sources}");
}

#[test]
fn nothing_of_an_alleged_source_reaches_whom_the_agreement_does_not_name() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let _gateway = site.start_gateway();
    let mut told = 0;
    for (name, mut record) in samples(&site) {
        let is_known = record["allegedSources"].is_array();
        record["recordId"] = json!(format!("{}-T", record["recordId"].as_str().expect("it has an id")));
        record["recipient"]["odsCode"] = json!("DEMOT");
        let text = site.deliver(FOLDER, &name, &record, "trust");
        for said in third_party(&record) {
            assert!(!holds(&text, said), "LEAK: {name}: {said:?} reached the Trust");
        }
        let bundle: Value = serde_json::from_str(&text).expect("what arrives is JSON");
        assert!(!resources(&bundle).any(is_source), "{name}: an alleged source reached the Trust");
        let summary =
            resources(&bundle).find(|resource| resource["resourceType"] == "Composition").expect("it is there");
        let sections = summary["section"].as_array().expect("it has sections");
        let section = sections.iter().find(|each| each["title"] == "Alleged source of risk").expect("it is there");
        let words = section["text"]["div"].as_str().expect("it has a narrative");
        // Withheld and not recorded are told apart.
        assert_eq!(words.contains("was withheld"), is_known, "{name}: {words}");
        assert_eq!(words.contains("Not recorded"), !is_known, "{name}: {words}");
        told += usize::from(is_known);
    }
    assert!(told >= 5, "{told} samples have an alleged source");
}

#[test]
fn an_objection_stops_it_until_somebody_decided_and_the_decision_is_reviewed() {
    let site = DemoSite::new();
    let _council = site.start_partner("council", &[]);
    let _gateway = site.start_gateway();
    let folder = site.path("records").join(FOLDER);
    let (answer, done) = send(&site, &folder.join("rejected/objection.json"));
    assert!(!done);
    assert!(answer.to_string().contains("the person objects to this sharing"), "{answer}");
    assert!(site.inbox("council").is_empty());

    let record: Value = serde_json::from_slice(&site.record(&format!("{FOLDER}/override.json"))).expect("it is JSON");
    let bundle: Value =
        serde_json::from_str(&site.deliver(FOLDER, "override", &record, "council")).expect("it is JSON");
    let consent = resources(&bundle).find(|resource| resource["resourceType"] == "Consent").expect("it is there");
    assert_eq!(consent["status"], "rejected", "the council is told that the person objected");
    let reviews = weir()
        .args(["review", "list", "--format", "json", "--as", "demo-safeguarding", "--site"])
        .arg(site.gateway_folder())
        .output()
        .expect("weir runs");
    let listed = String::from_utf8_lossy(&reviews.stdout).into_owned();
    assert!(reviews.status.success() && listed.contains("DEMOL") && listed.contains("open"), "{listed}");
}
