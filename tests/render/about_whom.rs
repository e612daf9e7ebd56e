//! What is said of somebody else is never read as said of the person.

use serde_json::{Value, json};

use super::{page_of_named, to};

#[test]
fn a_person_without_a_name_is_another_person_all_the_same() {
    let masked = json!([{ "extension": [{ "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked" }] }]);
    let person = |name: Value| json!({ "resourceType": "Patient", "name": name });
    let risk = |of: &str, level: &str| {
        json!({ "resourceType": "RiskAssessment", "code": { "text": "Risk of suicide" }, "subject": to(of),
            "prediction": [{ "qualitativeRisk": { "coding": [{ "code": level, "display": level }] } }] })
    };
    let page = page_of_named(&[
        ("p", person(json!([{ "text": "Ann Sample" }]))),
        ("q", person(masked)),
        ("s", person(json!([]))),
        ("r1", risk("p", "low")),
        ("r2", risk("q", "high")),
        ("r3", risk("s", "moderate")),
    ]);
    for part in [
        "high Risk assessment: Risk of suicide About: a person whose name was withheld",
        "moderate Risk assessment: Risk of suicide About: a person without a name in the message",
        "low Risk assessment: Risk of suicide About: Ann Sample",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn a_section_inside_another_says_of_what_it_is_a_part_and_of_whom() {
    let seen = |text: &str| json!({ "resourceType": "Observation", "status": "final", "code": { "text": text } });
    let risks =
        json!({ "title": "Risks to self", "code": { "coding": [{ "code": "risks-to-self" }] }, "entry": [to("o")] });
    let baby = json!({ "title": "Newborn", "focus": to("b"), "entry": [to("c")], "section": [{ "title": "Feeding", "entry": [to("f")] }] });
    let own = json!({ "title": "Mood", "focus": to("p"), "entry": [to("m")] });
    let summary = json!({ "resourceType": "Composition", "title": "Notes",
        "section": [own, baby, { "title": "Mother's history", "section": [risks] }] });
    let page = page_of_named(&[
        ("n", summary),
        ("p", json!({ "resourceType": "Patient", "name": [{ "text": "Ann Sample" }] })),
        ("b", json!({ "resourceType": "RelatedPerson", "name": [{ "text": "Baby Sample" }] })),
        ("o", seen("Overdose, 2019")),
        ("c", seen("Cocaine in the blood")),
        ("f", seen("Feeds well")),
        ("m", seen("Low mood")),
    ]);
    for part in [
        "Mother's history: Risks to self Overdose, 2019",
        "Mood Low mood",
        "Newborn About: Baby Sample Cocaine in the blood",
        "Newborn: Feeding About: Baby Sample Feeds well",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("Nothing was received in this section"), "{page}");
}
