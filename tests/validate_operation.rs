//! `POST /FHIR/R4/$validate` on a running gateway, over mutual TLS.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Bench, DemoSite};

const ANY: &str = "/FHIR/R4/$validate";
const JSON: (&str, &str) = ("content-type", "application/fhir+json");
const PROFILE: &str = "https://weir.example/fhir/StructureDefinition/weir-patient";

/// Severity, code and first expression of each issue.
fn rows(outcome: &Value) -> Vec<String> {
    assert_eq!(outcome["resourceType"], "OperationOutcome", "{outcome}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |issue: &Value| {
        format!("{} {} {}", text(&issue["severity"]), text(&issue["code"]), text(&issue["expression"][0]))
    };
    outcome["issue"].as_array().expect("an outcome has issues").iter().map(row).collect()
}

#[test]
fn resources_are_validated_and_nothing_of_them_is_kept() {
    let bench = Bench::of(DemoSite::new());
    let ask = |path: &str, headers: &[(&str, &str)], body: &str| {
        let answer = bench.post(path, headers, body.to_owned());
        assert_eq!(answer.headers["content-type"], "application/fhir+json");
        (answer.status.as_u16(), answer.json())
    };
    let good = r#"{"resourceType":"Patient","birthDate":"1987-06-14"}"#;
    let wrong = "{\"resourceType\":\"Patient\",\n \"birthDate\":\"1987-02-30\"}";

    let (status, outcome) = ask(ANY, &[JSON], good);
    assert_eq!((status, rows(&outcome).iter().any(|row| row.starts_with("error"))), (200, false), "{outcome}");
    let (status, outcome) = ask(ANY, &[JSON], wrong);
    assert_eq!((status, rows(&outcome)[0].as_str()), (200, "error value Patient.birthDate"), "{outcome}");
    let place = outcome["issue"][0]["diagnostics"].as_str().expect("it has diagnostics");
    assert!(place.starts_with("line 2, column 14"), "{place}");
    assert!(!outcome.to_string().contains("1987"), "a value stands in the answer");

    // The type in the path, a profile in the query, a profile in Parameters.
    assert_eq!(ask("/FHIR/R4/Patient/$validate", &[JSON], good).0, 200);
    let (status, outcome) = ask("/FHIR/R4/Observation/$validate", &[JSON], good);
    assert_eq!((status, rows(&outcome)[0].as_str()), (400, "error invalid "));
    let of_profile = format!("{ANY}?profile={}", PROFILE.replace(':', "%3A").replace('/', "%2F"));
    let (status, by_query) = ask(&of_profile, &[JSON], good);
    assert!(status == 200 && rows(&by_query).iter().any(|row| row.starts_with("error required")), "{by_query}");
    let resource: Value = serde_json::from_str(good).expect("it is JSON");
    let parameters = json!({"resourceType": "Parameters", "parameter": [
        {"name": "resource", "resource": resource}, {"name": "profile", "valueUri": PROFILE}]});
    assert_eq!(rows(&ask(ANY, &[JSON], &parameters.to_string()).1), rows(&by_query));

    // What cannot be answered.
    for (path, body, says) in [
        (ANY, "{", "inside a value"),
        (ANY, "", "empty"),
        ("/FHIR/R4/$validate?profile=https://no.example/such", good, "https://no.example/such is not loaded"),
        ("/FHIR/R4/$validate?profil=x", good, "does not take"),
        ("/FHIR/R4/$validate?mode=delete", good, "not supported"),
    ] {
        let (status, outcome) = ask(path, &[JSON], body);
        let text = outcome["issue"][0]["details"]["text"].as_str().unwrap_or_default();
        assert!(status == 400 && text.contains(says), "{path}: {outcome}");
        assert!(outcome["issue"][0]["diagnostics"].as_str().is_some_and(|text| text.contains("hint: ")), "{outcome}");
    }
    assert_eq!(ask(ANY, &[("content-type", "text/plain")], good).0, 415);
    assert_eq!(ask(ANY, &[], good).0, 415);
    assert_eq!(ask(ANY, &[JSON, ("content-encoding", "gzip")], good).0, 415);

    #[cfg(feature = "xml")]
    {
        let xml =
            |value: &str| format!(r#"<Patient xmlns="http://hl7.org/fhir"><birthDate value="{value}"/></Patient>"#);
        let xml = |value: &str| ask(ANY, &[("content-type", "application/fhir+xml")], &xml(value));
        assert_eq!(
            (xml("1987-06-14").0, rows(&xml("1987-06-99").1)[0].as_str()),
            (200, "error value Patient.birthDate")
        );
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaa">]><Patient xmlns="http://hl7.org/fhir"/>"#;
        assert_eq!(ask(ANY, &[("content-type", "application/fhir+xml")], bomb).0, 400);
    }

    let log = fs::read_to_string(bench.site.path("gateway.log")).expect("there is a log");
    assert!(log.contains("validated") && !log.contains("1987-0"), "{log}");
    let (_, metrics) = support::http_get(bench.site.operations(), "/metrics").expect("metrics are there");
    assert!(!metrics.lines().any(|line| line.starts_with("weir_messages{")), "something was accepted: {metrics}");
}
