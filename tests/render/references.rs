//! A reference says what turns the thing that it names, and when that is the person.

use serde_json::{Value, json};

use super::{page_of_named, to};

/// What a risk says that it rests on.
fn basis(resource: Value) -> String {
    let risk = json!({ "resourceType": "RiskAssessment", "code": { "text": "Risk to self" }, "basis": [to("b")], "note": [{ "text": "END" }] });
    let page = page_of_named(&[("r", risk), ("b", resource)]);
    let (_, rest) = page.split_once("Basis: ").unwrap_or_else(|| panic!("{page}"));
    rest.split(" Note: END").next().unwrap_or_default().to_owned()
}

#[test]
fn what_turns_a_thing_is_said_wherever_it_is_named() {
    let code = |code: &str, display: &str| json!({ "coding": [{ "code": code, "display": display }] });
    let absent = |code: &str| json!({ "extension": [{ "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": code }] });
    let modifier = json!([{ "url": "https://provider.example/do-not-call", "valueBoolean": true }]);
    let thoughts = |more: Value| {
        let mut seen =
            json!({ "resourceType": "Observation", "status": "final", "code": { "text": "Suicidal ideation" } });
        seen.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        seen
    };
    for (resource, expected) in [
        (thoughts(json!({ "valueCodeableConcept": code("2667000", "Absent") })), "Suicidal ideation: Absent"),
        (thoughts(json!({ "valueBoolean": false })), "Suicidal ideation: no"),
        (thoughts(json!({ "valueString": "x".repeat(300) })), &*format!("Suicidal ideation: {}…", "x".repeat(60))),
        (thoughts(json!({ "_valueString": absent("masked") })), "Suicidal ideation: withheld"),
        (
            thoughts(json!({ "dataAbsentReason": code("asked-declined", "Asked But Declined") })),
            "Suicidal ideation: Asked But Declined",
        ),
        (
            thoughts(json!({ "status": "entered-in-error", "valueBoolean": true })),
            "Suicidal ideation: yes (entered-in-error)",
        ),
        (thoughts(json!({})), "Suicidal ideation"),
        (
            json!({ "resourceType": "Condition", "code": { "text": "Depressive episode" }, "verificationStatus": code("refuted", "Refuted") }),
            "Depressive episode (Refuted)",
        ),
        (
            json!({ "resourceType": "Condition", "code": { "text": "Depressive episode" }, "clinicalStatus": code("resolved", "Resolved"), "verificationStatus": code("confirmed", "Confirmed") }),
            "Depressive episode (Resolved)",
        ),
        (
            json!({ "resourceType": "Condition", "code": { "text": "Depressive episode" }, "verificationStatus": absent("masked") }),
            "Depressive episode (verification status withheld)",
        ),
        (
            json!({ "resourceType": "MedicationRequest", "status": "active", "doNotPerform": true, "medicationCodeableConcept": { "text": "Lorazepam" } }),
            "Lorazepam (do not perform)",
        ),
        (
            json!({ "resourceType": "MedicationStatement", "status": "not-taken", "medicationCodeableConcept": { "text": "Lorazepam" } }),
            "Lorazepam (not-taken)",
        ),
        (
            json!({ "resourceType": "Flag", "status": "active", "code": { "text": "Lives alone" }, "modifierExtension": modifier }),
            "Lives alone (changed by a modifier)",
        ),
        (
            json!({ "resourceType": "QuestionnaireResponse", "status": "stopped" }),
            "Questionnaire response (on this page) (stopped)",
        ),
        (
            json!({ "resourceType": "RiskAssessment", "status": "final", "code": { "text": "Risk to others" }, "prediction": [{ "qualitativeRisk": { "text": "Low" } }] }),
            "Risk to others: Low",
        ),
    ] {
        assert_eq!(basis(resource.clone()), expected, "{resource}");
    }
}

#[test]
fn the_person_is_left_out_only_as_whom_a_thing_is_about() {
    let person = || ("p", json!({ "resourceType": "Patient", "name": [{ "text": "Ann Example" }] }));
    let plan = json!({ "resourceType": "CarePlan", "subject": to("p"), "status": "active", "activity": [
        { "detail": { "description": "Remove means", "performer": [to("p")] } }, { "detail": { "description": "Phone every day" } }] });
    let taken = json!({ "resourceType": "MedicationStatement", "status": "active", "subject": to("p"), "informationSource": to("p"),
        "medicationCodeableConcept": { "text": "Sertraline" } });
    let said = json!({ "resourceType": "Consent", "status": "active", "patient": to("p"), "performer": [to("p")], "scope": { "text": "Sharing" } });
    let page = page_of_named(&[person(), ("c", plan), ("m", taken), ("s", said)]);
    for part in [
        "Remove means Performer: the person Phone every day",
        "Sertraline Information source: the person",
        "Consent Performer: the person Scope: Sharing",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("Subject:") && !page.contains("Patient:"), "{page}");
    assert_eq!(page.matches("Ann Example").count(), 1, "{page}");
}

#[test]
fn who_is_to_do_something_is_named_although_they_ask() {
    let asker = json!({ "resourceType": "Practitioner", "name": [{ "text": "Ola Owner" }] });
    let summary = json!({ "resourceType": "Composition", "title": "Notes", "author": [to("a")] });
    let plan = json!({ "resourceType": "CarePlan", "status": "active", "author": to("a"), "activity": [
        { "detail": { "description": "Remove means", "performer": [to("a")] } }, { "detail": { "description": "Phone every day" } }] });
    let seen =
        json!({ "resourceType": "Observation", "status": "final", "code": { "text": "Mood" }, "performer": [to("a")] });
    let page = page_of_named(&[("a", asker), ("n", summary), ("c", plan), ("o", seen)]);
    assert!(page.contains("Remove means Performer: Ola Owner Phone every day"), "{page}");
    assert_eq!(page.matches("Ola Owner").count(), 2, "{page}");
}
