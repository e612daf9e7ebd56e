//! What held once is never read as what holds.

use serde_json::{Value, json};

use super::{assert_safe, entries, shown, words};

/// The page of a message of 2 March 2026 with some resources.
fn page_of(resources: &[Value]) -> String {
    let html =
        shown(&json!({ "resourceType": "Bundle", "timestamp": "2026-03-02T08:00:00Z", "entry": entries(resources) }));
    assert_safe(&html);
    words(&html)
}

#[test]
fn a_former_address_number_or_identity_says_so_and_stands_last() {
    let ended = || json!({ "end": "2020-01-01" });
    let number = |value: &str| json!({ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": value });
    let mut former = number("9990001022");
    former["use"] = json!("old");
    let person = json!({ "resourceType": "Patient", "name": [{ "text": "Ann Former", "use": "maiden", "period": ended() }, { "text": "Ann Sample" }],
        "identifier": [former, number("9990001014"), { "system": "https://provider.example/Id/person", "value": "P-1", "period": ended() }],
        "address": [{ "use": "old", "period": ended(), "text": "1 Former Road" }, { "use": "temp", "period": { "end": "2026-04-01" }, "line": ["3 Hostel"] },
            { "use": "home", "text": "2 Present Road" }],
        "telecom": [{ "system": "phone", "value": "01632 960001", "use": "mobile", "period": ended() }, { "system": "phone", "value": "01632 960002", "use": "mobile" }] });
    let page = page_of(&[person]);
    for part in [
        "Name Ann Sample · Ann Former (maiden name, until 1 January 2020)",
        "NHS number 999 000 1014 · 999 000 1022 (old)",
        "Known as P-1 (person) (until 1 January 2020)",
        "Call phone 01632 960002 (mobile) · phone 01632 960001 (mobile, until 1 January 2020)",
        "Address 3 Hostel (temp, until 1 April 2026) · 2 Present Road · 1 Former Road (old, until 1 January 2020)",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn who_is_no_longer_active_is_said_to_be_and_is_not_called_back() {
    let phone = json!([{ "system": "phone", "value": "01632 960009" }]);
    let relative = json!({ "resourceType": "RelatedPerson", "active": false, "relationship": [{ "text": "Nearest relative" }],
        "name": [{ "text": "Kit" }], "telecom": phone });
    let role = json!({ "resourceType": "PractitionerRole", "active": false, "code": [{ "text": "Duty nurse" }], "telecom": phone });
    let request = json!({ "resourceType": "ServiceRequest", "status": "active", "code": { "text": "Visit" }, "requester": { "reference": "urn:uuid:1" } });
    let page = page_of(&[request, role, relative]);
    for part in [
        "Call back No number of Duty nurse (not active) is in the message",
        "Asked by no longer active · Duty nurse · phone 01632 960009",
        "Also named no longer active · Kit · Nearest relative · phone 01632 960009",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn what_is_over_or_not_known_to_hold_says_so() {
    let medicine = |kind: &str, status: &str, name: &str| json!({ "resourceType": kind, "status": status, "medicationCodeableConcept": { "text": name } });
    let mut request = medicine("MedicationRequest", "completed", "Diazepam 5 mg");
    request["substitution"] = json!({ "allowedBoolean": false });
    let basis = json!({ "resourceType": "RiskAssessment", "code": { "text": "Risk to self" }, "basis": [{ "reference": "urn:uuid:0" }] });
    let page = page_of(&[
        medicine("MedicationStatement", "completed", "Lithium 400 mg"),
        request,
        medicine("MedicationStatement", "unknown", "Clozapine"),
        json!({ "resourceType": "Task", "status": "completed", "description": "Find out allergies" }),
        basis,
        json!({ "resourceType": "CarePlan", "status": "completed", "title": "Crisis plan", "description": "Phone" }),
        json!({ "resourceType": "Procedure", "status": "completed", "code": { "text": "Ambulance called" } }),
    ]);
    for part in [
        "Medication statement: Lithium 400 mg Status: completed",
        "Medication request: Diazepam 5 mg Status: completed Substitution: Allowed: no",
        "Medication statement: Clozapine Status: unknown",
        "Task: Find out allergies Status: completed",
        "Basis: Lithium 400 mg (completed)",
        "Care plan: Phone Title: Crisis plan Procedure: Ambulance called",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn a_summary_or_a_request_that_is_void_or_not_final_is_a_warning() {
    let banner = |resource: Value| {
        let page = page_of(&[resource]);
        page.split(" Person ").next().unwrap_or_default().to_owned()
    };
    let summary = |more: Value| {
        let mut summary = json!({ "resourceType": "Composition", "status": "final", "title": "Escalation" });
        summary.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        summary
    };
    for (resource, expected) in [
        (summary(json!({ "status": "entered-in-error" })), Some("The summary was entered in error.")),
        (summary(json!({ "status": "preliminary" })), Some("The summary is preliminary: it may still change.")),
        (
            summary(json!({ "confidentiality": "V" })),
            Some("Very restricted (V): the sender asks to keep this message especially close."),
        ),
        (summary(json!({})), None),
        (
            json!({ "resourceType": "ServiceRequest", "status": "draft", "intent": "proposal", "code": { "text": "Visit" }, "priority": "stat" }),
            Some("Status: draft Intent: proposal"),
        ),
        (
            json!({ "resourceType": "ServiceRequest", "status": "unknown", "intent": "order", "code": { "text": "Visit" } }),
            Some("Status: unknown"),
        ),
    ] {
        let banner = banner(resource.clone());
        match expected {
            Some(expected) => assert!(banner.ends_with(expected), "{expected}\n{banner}"),
            None => assert!(banner.ends_with("No time is given"), "{banner}"),
        }
    }
}
