//! Parts that a resource has several of: what is said of one is never read as said of another.

use serde_json::{Value, json};

use super::{assert_safe, shown, words};

/// The page of a Bundle with one resource.
fn page_of(resource: &Value) -> String {
    let html = shown(&json!({ "resourceType": "Bundle", "entry": [{ "resource": resource }] }));
    assert_safe(&html);
    html
}

/// The innermost items of a page's lists, in words.
fn items(html: &str) -> Vec<String> {
    let body = html.split_once("</header>").expect("there is a banner").1;
    let inner = body.split("<li").skip(1).map(|rest| {
        let rest = rest.split_once('>').expect("a tag ends").1;
        rest.split("</li>").next().unwrap_or_default().split("<ul").next().unwrap_or_default().to_owned()
    });
    inner.map(|item| words(&format!("<body>{item}"))).collect()
}

#[test]
fn what_is_said_of_one_activity_is_not_said_of_another() {
    let detail = |words: &str, more: Value| {
        let mut detail = json!({ "status": "unknown" });
        detail.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        detail["description"] = json!(words);
        json!({ "detail": detail })
    };
    let plan = |activities: Vec<Value>| json!({ "resourceType": "CarePlan", "status": "revoked", "intent": "plan", "activity": activities });
    let html = page_of(&plan(vec![
        detail("Phone every day", json!({ "status": "in-progress" })),
        detail("Give lorazepam", json!({ "doNotPerform": true })),
        detail("Remove means", json!({ "status": "cancelled" })),
    ]));
    assert_eq!(
        items(&html),
        [
            "Care plan Status: revoked",
            "Phone every day Status: in-progress",
            "Do not perform: yes Give lorazepam",
            "Status: cancelled Remove means",
        ]
    );
    assert!(html.contains("<li><span class=\"loud\">Do not perform: </span>yes<br>Give lorazepam</li>"), "{html}");
    // One alone: what is said of it is not said of the plan.
    let html = page_of(&plan(vec![detail("Remove means", json!({ "status": "cancelled" }))]));
    assert_eq!(items(&html), ["Care plan Status: revoked", "Status: cancelled Remove means"]);
}

#[test]
fn each_prediction_of_a_risk_has_its_own_level() {
    let level = |code: &str, text: &str| json!({ "coding": [{ "code": code }], "text": text });
    let risk = json!({ "resourceType": "RiskAssessment", "status": "final", "code": { "text": "Risk to self" }, "prediction": [
        { "outcome": { "text": "Self-neglect" }, "qualitativeRisk": level("low", "Low") },
        { "outcome": { "text": "Suicide" }, "qualitativeRisk": level("high", "High") },
        { "outcome": { "text": "Misadventure" } },
    ] });
    let html = page_of(&risk);
    // The most severe first; one of an unknown level stands above a low one.
    assert_eq!(
        items(&html),
        [
            "Risk assessment: Risk to self",
            "High Outcome: Suicide",
            "level not given Outcome: Misadventure",
            "Low Outcome: Self-neglect"
        ]
    );
    for part in ["<span class=\"level l4\">High</span>", "<span class=\"level l1\">Low</span>"] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    // One alone stands where the risk does.
    let one = json!({ "resourceType": "RiskAssessment", "status": "final", "code": { "text": "Risk to self" },
        "prediction": [{ "outcome": { "text": "Suicide" }, "qualitativeRisk": level("high", "High") }] });
    assert_eq!(items(&page_of(&one)), ["High Risk assessment: Risk to self Outcome: Suicide"]);
}

#[test]
fn each_provision_of_a_consent_says_who_and_what() {
    let actor = |role: &str, name: &str| json!({ "role": { "text": role }, "reference": { "display": name } });
    let consent = json!({ "resourceType": "Consent", "status": "active", "scope": { "text": "Sharing" }, "provision": { "provision": [
        { "type": "permit", "actor": [actor("Receiver", "Crisis Team")] },
        { "type": "deny", "actor": [actor("Receiver", "Housing"), actor("Copy", "Employer")] },
    ] } });
    assert_eq!(
        items(&page_of(&consent)),
        [
            "Consent Scope: Sharing",
            "Provision: Type: permit Role: Receiver Reference: Crisis Team",
            "Provision: Type: deny",
            "Actor: Role: Receiver Reference: Housing",
            "Actor: Role: Copy Reference: Employer",
        ]
    );
}

#[test]
fn a_value_stands_beside_what_it_is_of() {
    let component = |code: &str, value: &str| json!({ "code": { "text": code }, "valueString": value });
    let seen = json!({ "resourceType": "Observation", "status": "final", "code": { "text": "Safety" },
        "component": [component("Plan", "none"), component("Means", "tablets")] });
    assert_eq!(
        items(&page_of(&seen)),
        ["Observation: Safety", "Component: Code: Plan Value: none", "Component: Code: Means Value: tablets"]
    );
    // Its own period, and that of a part.
    let stay = json!({ "resourceType": "Encounter", "status": "in-progress", "class": { "display": "Inpatient" },
        "statusHistory": [{ "status": "cancelled", "period": { "start": "2026-02-01" } }], "period": { "start": "2026-03-01" } });
    assert_eq!(
        items(&page_of(&stay)),
        [
            "Encounter Status: in-progress Class: Inpatient Period: from 1 March 2026",
            "Status history: Status: cancelled Period: from 1 February 2026",
        ]
    );
}

/// What a resource holds inside itself says nothing of the resource, nor in the banner.
#[test]
fn a_resource_inside_another_stands_apart() {
    let request = json!({ "resourceType": "ServiceRequest", "status": "active", "intent": "order", "code": { "text": "Visit" },
        "contained": [{ "resourceType": "MedicationRequest", "id": "m", "status": "stopped", "medicationCodeableConcept": { "text": "Lorazepam" } }] });
    let html = page_of(&request);
    assert!(!html.contains("<p class=\"alert\">"), "{html}");
    assert_eq!(items(&html), ["Service request", "Medication request: Status: stopped Medication: Lorazepam"]);
}

/// The two sides of a pair stay together in a contact as well.
#[test]
fn the_members_of_a_team_keep_their_roles() {
    let team = json!({ "resourceType": "CareTeam", "status": "active", "name": "Home treatment", "participant": [
        { "role": [{ "text": "Lead" }], "member": { "display": "Ola Owner" } }, { "member": { "display": "Kit Nurse" } }] });
    let page = words(&page_of(&team));
    assert!(
        page.contains("Home treatment · Participant: Role: Lead, Member: Ola Owner · Participant: Member: Kit Nurse"),
        "{page}"
    );
}

#[test]
fn until_when_somebody_was_close_stands_beside_them() {
    let person = json!({ "resourceType": "Patient", "name": [{ "text": "Ann Example" }], "contact": [
        { "relationship": [{ "text": "Sister" }], "name": { "text": "Kit" }, "period": { "end": "2025-01-01" } },
        { "relationship": [{ "text": "Friend" }], "telecom": [{ "system": "phone", "value": "01632 960999" }] }] });
    let page = words(&page_of(&person));
    let close =
        "Close to the person Sister · Kit · until 1 January 2025 Close to the person Friend · phone 01632 960999";
    assert!(page.contains(close), "{page}");
    assert!(!page.contains("Contact"), "{page}");
}
