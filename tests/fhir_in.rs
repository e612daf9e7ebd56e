//! An interface that reads FHIR resources: a QuestionnaireResponse as JSON and as XML, end to end with the built program.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;
#[path = "support/ways_in.rs"]
mod ways_in;

use hyper::StatusCode;
use serde_json::Value;
use support::{Bench, json_of, wait_for, weir};

const FORM: &str = "/records/referral-form";

fn resource<'b>(bundle: &'b Value, kind: &str) -> &'b Value {
    let entries = bundle["entry"].as_array().expect("a Bundle has entries");
    let found = entries.iter().map(|entry| &entry["resource"]).find(|resource| resource["resourceType"] == kind);
    found.unwrap_or_else(|| panic!("there is no {kind}: {bundle}"))
}

fn form() -> String {
    String::from_utf8(ways_in::sample("referral-form.json")).expect("it is text")
}

#[test]
fn answers_to_a_form_arrive_as_a_referral_however_they_are_written() {
    let (site, _) = ways_in::site("");
    let trust = site.start_partner("trust", &[]);
    let bench = Bench::of(site);
    let json = bench.post(FORM, &[("content-type", "application/fhir+json")], form());
    assert_eq!(json.status, StatusCode::ACCEPTED, "{}", json.json());
    let xml = bench.post(FORM, &[("content-type", "application/fhir+xml")], ways_in::sample("referral-form.xml"));
    assert_eq!(xml.status, StatusCode::ACCEPTED, "{}", xml.json());
    assert_ne!(json.json()["message"], xml.json()["message"]);
    wait_for("both to arrive", || bench.site.inbox("trust").len() == 2);
    for (_, text) in bench.site.inbox("trust") {
        let bundle: Value = serde_json::from_str(&text).expect("it is JSON");
        let request = resource(&bundle, "ServiceRequest");
        assert_eq!(
            (&request["priority"], &request["code"]["text"]),
            (&"urgent".into(), &"Community mental-health assessment".into())
        );
        assert_eq!(request["reasonCode"][0]["text"], "Has not slept for a week & asks for help (synthetic).");
        let person = resource(&bundle, "Patient");
        assert_eq!(
            (&person["identifier"][0]["value"], &person["birthDate"]),
            (&"9990001014".into(), &"1990-07-01".into())
        );
        assert_eq!(resource(&bundle, "MessageHeader")["eventCoding"]["code"], "referral");
    }

    // The form's own identifier tells it from others: the same bytes are a repeat, other answers under it a conflict.
    let again = bench.post(FORM, &[("content-type", "application/fhir+json")], form());
    assert_eq!((&again.json()["repeated"], &again.json()["message"]), (&true.into(), &json.json()["message"]));
    let other = bench.post(FORM, &[("content-type", "application/fhir+json")], form().replace("Ben", "Bea"));
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    drop(trust);
    let site = bench.kill();
    let verified =
        weir().args(["audit", "verify", "--as", "demo-auditor", "--site"]).arg(site.gateway_folder()).output();
    assert!(verified.expect("weir runs").status.success());
}

#[test]
fn a_resource_is_validated_on_arrival_against_r4_its_profile_and_its_questionnaire() {
    let (site, _) = ways_in::site("");
    let bench = Bench::of(site);
    let post = |kind: &str, body: String| bench.post(FORM, &[("content-type", kind)], body);
    let json = "application/fhir+json";
    for (body, status, part) in [
        (form().replace("\"completed\"", "\"finished\""), 422, "QuestionnaireResponse.status"),
        (form().replace("\"authored\"", "\"authoredOn\""), 422, "authored"),
        (form().replace("\"valueDate\": \"1990-07-01\"", "\"valueString\": \"secret\""), 422, "item[1]"),
        (
            form().replace("\"ods-organization-code\"", "x").replace("Id/ods-organization-code", "Id/other"),
            422,
            "author",
        ),
        (r#"{"resourceType":"Patient"}"#.to_owned(), 422, "QuestionnaireResponse"),
        (r#"{"recordId":"a"}"#.to_owned(), 422, "QuestionnaireResponse"),
        ("{".to_owned(), 400, "JSON"),
    ] {
        let answer = post(json, body);
        let said = answer.json().to_string();
        assert_eq!(answer.status.as_u16(), status, "{part}: {said}");
        assert!(said.contains(part) && !said.contains("secret"), "{part}: {said}");
    }
    let xml = String::from_utf8(ways_in::sample("referral-form.xml")).expect("it is text");
    let disordered = xml
        .replace("<status value=\"completed\"/>", "")
        .replace("</QuestionnaireResponse>", "<status value=\"completed\"/></QuestionnaireResponse>");
    let answer = post("application/fhir+xml", disordered);
    assert!(answer.status == 422 && answer.json().to_string().contains("r4-xml-order"), "{}", answer.json());
    assert_eq!(post("application/fhir+xml", xml.replace("<status", "<!DOCTYPE a><status")).status, 400);
    assert_eq!(post("text/plain", form()).status, 415);
    assert_eq!(
        bench.post("/records/crisis-escalation", &[("content-type", "application/fhir+xml")], xml).status,
        415,
        "a logical model has no XML"
    );
    assert!(bench.site.inbox("trust").is_empty());
}

#[test]
fn the_command_line_takes_either_and_a_dry_run_keeps_nothing() {
    let (site, _) = ways_in::site("");
    let bench = Bench::of(site);
    let preview = bench.post(&format!("{FORM}?dry-run"), &[("content-type", "application/fhir+json")], form());
    assert_eq!((preview.status, &preview.json()["type"]), (StatusCode::OK, &"message".into()));
    let folder = bench.site.path("forms");
    std::fs::create_dir(&folder).expect("it is made");
    for name in ["referral-form.json", "referral-form.xml"] {
        std::fs::write(folder.join(name), ways_in::sample(name)).expect("it is written");
        let mapped = weir()
            .args(["map", "--format", "json", "--interface", "referral-form", "--site"])
            .arg(bench.site.gateway_folder())
            .arg(folder.join(name))
            .output()
            .expect("weir runs");
        assert_eq!(resource(&json_of(&mapped), "ServiceRequest")["intent"], "order", "{name}");
    }
    let _trust = bench.site.start_partner("trust", &[]);
    let sent = weir()
        .args(["send", "--format", "json", "--interface", "referral-form", "--site"])
        .arg(bench.site.gateway_folder())
        .arg(folder.join("referral-form.xml"))
        .output()
        .expect("weir runs");
    assert!(sent.status.success(), "{}", json_of(&sent));
    assert_eq!(bench.site.inbox("trust").len(), 1, "the preview sent nothing");
}
