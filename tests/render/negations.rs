//! Words that say that something is not so, or no longer: they never give way to a title, a list or a shorter form.

use serde_json::{Value, json};

use super::{assert_safe, entries, received, resource, shown, words};

/// The page of a summary with one section and what it refers to.
fn in_section(title: &str, resources: &[Value]) -> String {
    let mut entries = entries(resources);
    let to: Vec<Value> =
        (0..resources.len()).map(|place| json!({ "reference": format!("urn:uuid:{place}") })).collect();
    let section = json!({ "title": title, "entry": to });
    entries.push(json!({ "resource": { "resourceType": "Composition", "title": "Notes", "section": [section] } }));
    let html = shown(&json!({ "resourceType": "Bundle", "entry": entries }));
    assert_safe(&html);
    words(&html)
}

#[test]
fn a_negation_that_ends_like_its_title_stays() {
    let of = |kind: &str, text: &str| json!({ "resourceType": kind, "code": { "text": text } });
    let medicine =
        |text: &str| json!({ "resourceType": "MedicationStatement", "medicationCodeableConcept": { "text": text } });
    let thoughts = json!({ "resourceType": "Observation", "code": { "text": "Suicidal ideation" }, "valueString": "Denies suicidal ideation" });
    let plan = json!({ "resourceType": "CarePlan", "description": "Does not want a crisis plan", "note": [{ "text": "Has no crisis plan" }] });
    for (title, resource, expected) in [
        (
            "Allergies",
            of("AllergyIntolerance", "No known drug allergies"),
            "Allergies Allergy intolerance: No known drug allergies",
        ),
        ("Medications", medicine("Refuses all medication"), "Medications Medication statement: Refuses all medication"),
        ("Medication", medicine("No current medication"), "Medication Medication statement: No current medication"),
        (
            "Safeguarding concerns",
            of("Flag", "No safeguarding concerns"),
            "Safeguarding concerns No safeguarding concerns",
        ),
        ("Suicidal ideation", thoughts, "Suicidal ideation Denies suicidal ideation"),
        ("Crisis plan", plan, "Crisis plan Does not want a crisis plan Note: Has no crisis plan"),
        // What the title says is not said again.
        (
            "Crisis plans",
            json!({ "resourceType": "CarePlan", "title": "Mental health crisis plan", "description": "Phone" }),
            "Crisis plans Phone",
        ),
    ] {
        let page = in_section(title, std::slice::from_ref(&resource));
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    let mut bundle = received();
    let allergy = resource(&mut bundle, "AllergyIntolerance");
    allergy["code"] = json!({ "text": "No known drug allergies" });
    allergy.as_object_mut().expect("an object").remove("reaction");
    let page = words(&shown(&bundle));
    assert!(page.contains("Allergies No known drug allergies"), "{page}");
}

/// A day or a time that is the message's own is left out where it says when something was noted, and nowhere else.
#[test]
fn what_happened_as_the_message_was_written_is_said() {
    let (day, at) = ("2026-03-02", "2026-03-02T14:05:00Z");
    let page = |resources: &[Value]| {
        let entry = |of: &Value| json!({ "resource": of });
        let mut entries: Vec<Value> = resources.iter().map(entry).collect();
        entries.push(json!({ "resource": { "resourceType": "Composition", "title": "Notes", "date": day } }));
        words(&shown(&json!({ "resourceType": "Bundle", "timestamp": at, "entry": entries })))
    };
    for (resource, expected) in [
        (
            json!({ "resourceType": "Condition", "code": { "text": "Psychosis" }, "recordedDate": day, "abatementDateTime": day }),
            "Condition: Psychosis Abatement: 2 March 2026",
        ),
        (
            json!({ "resourceType": "Observation", "code": { "text": "Planned date" }, "effectiveDateTime": at, "issued": at, "valueDateTime": day }),
            "Observation: Planned date; 2 March 2026",
        ),
        (
            json!({ "resourceType": "MedicationStatement", "dateAsserted": day, "effectivePeriod": { "end": day } }),
            "Medication statement Effective: until 2 March 2026",
        ),
        (
            json!({ "resourceType": "Immunization", "occurrenceDateTime": day, "expirationDate": day }),
            "Occurrence: 2 March 2026 Expiration date: 2 March 2026",
        ),
        (
            json!({ "resourceType": "RiskAssessment", "code": { "text": "Risk to self" }, "occurrencePeriod": { "start": at } }),
            "Risk assessment: Risk to self What",
        ),
    ] {
        let page = page(std::slice::from_ref(&resource));
        assert!(page.contains(expected), "{expected}\n{page}");
        assert!(
            !page.contains("Recorded date") && !page.contains("Issued") && !page.contains("Date asserted"),
            "{page}"
        );
    }
}

/// Nobody is to ring somebody who has died, or their family as if they lived.
#[test]
fn a_death_is_a_warning_at_the_top() {
    let page = |more: Value| {
        let mut person = json!({ "resourceType": "Patient", "name": [{ "text": "Ann Example" }] });
        person.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let request =
            json!({ "resourceType": "ServiceRequest", "status": "active", "code": { "text": "Phone the person" } });
        words(&shown(
            &json!({ "resourceType": "Bundle", "timestamp": "2026-03-02", "entry": [{ "resource": request }, { "resource": person }] }),
        ))
    };
    let said = page(json!({ "deceasedDateTime": "2026-03-02" }));
    assert!(said.contains("The person has died: 2 March 2026. Person Name Ann Example"), "{said}");
    assert!(said.contains("Deceased 2 March 2026"), "{said}");
    let said = page(json!({ "deceasedBoolean": true }));
    assert!(said.contains("The person has died. Person Name Ann Example"), "{said}");
    let said = page(json!({ "deceasedBoolean": false }));
    assert!(!said.contains("has died"), "{said}");
}

/// What a second section names again keeps what turns it.
#[test]
fn what_is_shown_above_keeps_what_turns_it() {
    let thoughts = json!({ "resourceType": "Observation", "status": "final", "code": { "text": "Suicidal ideation" }, "valueCodeableConcept": { "text": "Absent" } });
    let state = json!({ "coding": [{ "code": "refuted", "display": "Refuted" }] });
    let psychosis =
        json!({ "resourceType": "Condition", "code": { "text": "Psychosis" }, "verificationStatus": state });
    let to = json!([{ "reference": "urn:uuid:0" }, { "reference": "urn:uuid:1" }]);
    let sections = json!([{ "title": "Assessment", "entry": to }, { "title": "Problems now", "entry": to }]);
    let entries = json!([{ "fullUrl": "urn:uuid:0", "resource": thoughts }, { "fullUrl": "urn:uuid:1", "resource": psychosis },
        { "resource": { "resourceType": "Composition", "section": sections } }]);
    let page = words(&shown(&json!({ "resourceType": "Bundle", "entry": entries })));
    let expected = "Problems now Suicidal ideation: Absent (shown above) Psychosis (Refuted) (shown above)";
    assert!(page.contains(expected), "{page}");
}
