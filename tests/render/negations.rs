//! Words that say that something is not so, or no longer: they never give way to a title, a list or a shorter form.

use serde_json::{Value, json};

use super::{assert_safe, received, resource, shown, words};

/// The page of a summary with one section and what it refers to.
fn in_section(title: &str, resources: &[Value]) -> String {
    let entry = |(place, of): (usize, &Value)| json!({ "fullUrl": format!("urn:uuid:{place}"), "resource": of });
    let mut entries: Vec<Value> = resources.iter().enumerate().map(entry).collect();
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
