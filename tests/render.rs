//! A received Bundle as a page: the golden page of a sample, what must be on it and what must not, Bundles that mean harm,
//! and the way through the reference receiver.
//!
//! `UPDATE_GOLDEN=1 cargo test --test render` writes the golden page anew; look at it in a browser before committing.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;
#[path = "render/about_whom.rs"]
mod about_whom;
#[path = "render/banner.rs"]
mod banner;
#[path = "render/former.rs"]
mod former;
#[path = "render/left_out.rs"]
mod left_out;
#[path = "render/negations.rs"]
mod negations;
#[path = "render/parts.rs"]
mod parts;
#[path = "render/references.rs"]
mod references;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value, json};
use support::{DemoSite, http_get, weir};
use tempfile::TempDir;
use weir::fhir::page::{NotShown, page};
use weir::fhir::{Document, Limits};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/render").join(name)
}

fn received() -> Value {
    let text = fs::read_to_string(golden("received.json")).expect("the sample is there");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The page of a Bundle.
fn shown(bundle: &Value) -> String {
    let document = Document::parse(bundle.to_string(), &Limits::default()).expect("it is JSON");
    page(&document).unwrap_or_else(|why| panic!("{why}"))
}

/// The words of a page without its tags, each element's apart.
fn words(html: &str) -> String {
    let body = html.split_once("<body>").expect("there is a body").1;
    let mut text = String::new();
    let mut rest = body;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        rest = tag.split_once('>').expect("a tag ends").1;
    }
    let text = text + rest;
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&amp;", "&");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn resource<'b>(bundle: &'b mut Value, kind: &str) -> &'b mut Value {
    let entries = bundle["entry"].as_array_mut().expect("there are entries");
    let entry = entries.iter_mut().find(|entry| entry["resource"]["resourceType"] == kind).expect("there is one");
    &mut entry["resource"]
}

/// Takes the resources of a kind away, with the sections that refer to them.
fn without(bundle: &mut Value, kind: &str, heading: &str) {
    bundle["entry"].as_array_mut().expect("entries").retain(|entry| entry["resource"]["resourceType"] != kind);
    let sections = resource(bundle, "Composition")["section"].as_array_mut().expect("sections");
    sections.retain(|section| section["code"]["coding"][0]["code"] != heading);
}

/// Entries of a Bundle, each called by its place.
fn entries(resources: &[Value]) -> Vec<Value> {
    let entry = |(place, of): (usize, &Value)| json!({ "fullUrl": format!("urn:uuid:{place}"), "resource": of });
    resources.iter().enumerate().map(entry).collect()
}

/// The page of a Bundle with resources that refer to one another by these names, in words.
fn page_of_named(resources: &[(&str, Value)]) -> String {
    let held = |(id, resource): &(&str, Value)| json!({ "fullUrl": format!("urn:uuid:{id}"), "resource": resource });
    let html = shown(&json!({ "resourceType": "Bundle", "entry": resources.iter().map(held).collect::<Vec<_>>() }));
    assert_safe(&html);
    words(&html)
}

/// A reference to one of them.
fn to(id: &str) -> Value {
    json!({ "reference": format!("urn:uuid:{id}") })
}

/// Only tags of ours, and none of what a page must never have.
fn assert_safe(html: &str) {
    let tags: Vec<&str> =
        html.split('<').skip(1).map(|rest| rest.split(['>', ' ']).next().unwrap_or_default()).collect();
    let ours = [
        "!DOCTYPE", "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "div",
        "p", "h1", "h2", "dl", "dt", "dd", "ul", "li", "b", "bdi", "br", "span", "small", "strong", "a",
    ];
    for tag in &tags {
        assert!(ours.contains(&tag.trim_start_matches('/')), "<{tag}>");
    }
    // What stands in the text of the page does no harm: it is looked for in the tags, and in the style.
    let style =
        html.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).expect("there is a style").0;
    let within = html.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default());
    for part in within.chain([style]) {
        for never in ["script", "http://", "https://", "src=", "url(", "@import"] {
            assert!(!part.contains(never), "{never}: {part}");
        }
    }
    let on =
        html.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()).any(|tag| tag.contains(" on"));
    assert!(!on, "an event handler");
    assert_eq!(tags.iter().filter(|tag| **tag == "h1").count(), 1);
    assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"en-GB\">") && html.ends_with("</html>\n"));
}

#[test]
fn the_page_of_the_sample_is_the_golden_one() {
    let html = shown(&received());
    assert_safe(&html);
    let file = golden("crisis-escalation.html");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &html).expect("it is written");
    }
    assert!(
        html == fs::read_to_string(&file).unwrap_or_default(),
        "the page is another; write it anew with UPDATE_GOLDEN=1"
    );
}

#[test]
fn a_clinician_finds_what_to_do() {
    let page = words(&shown(&received()));
    for part in [
        "Crisis escalation Crisis assessment; Face-to-face assessment at home tonight, with the sibling present.",
        "Priority Emergency: at once (stat)",
        "Respond by 18:05 on Mon 2 March 2026 UK time",
        "Asked of Demonstration Crisis Trust",
        "Name Mx Robin Jo Exemplar",
        "NHS number 999 000 1014 (verified)",
        "Born 14 June 1987 (aged 38 when this was written)",
        "Call phone 07700 900481",
        "Address 1 Nowhere Street, Exampleton, ZZ99 3CZ",
        "Asked by Morgan Sampleworker · Community psychiatric nurse · phone 07700 900101 (work)",
        "Riverside Demonstration Community Team · phone 01632 960101 (work)",
        "Imminent Risk to self Outcome: High suicide risk; Plan to take an overdose tonight; has written notes.",
        "Moderate Risk of self-neglect Outcome: Has hardly eaten for four days.",
        "Access to means About 60 tablets of prescribed medication in the flat.",
        "Protective factors Answers the phone to sibling",
        "Safeguarding Financial abuse; Money taken from account",
        "Crisis plan One person speaking, in a quiet voice; no uniforms at the door. Handing the tablets to sibling for the night.",
        "Medication Sertraline 100 mg tablets Dosage: One each morning",
        "Allergies Penicillin Manifestation: Rash",
        "What was withheld from you Not sent: Consent extension. Encounter identifier.",
        "Service request note.",
        "Call back phone 07700 900101 (work)",
        "Withheld under agreement demo-trust-crisis version 1",
        "Message d9299a36-b9e6-587c-a2d7-dec8a49f2b7c",
        "Version 3",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let order =
        ["Current risks", "Access to means", "Safeguarding", "Crisis plan", "What changed", "Medication", "Allergies"];
    let places: Vec<_> =
        order.iter().map(|title| page.find(&format!(" {title} ")).unwrap_or_else(|| panic!("{title}"))).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(!page.contains("clinicalNotes") && !page.contains("Not in the message"), "{page}");
}

/// Every text for people in the Bundle is on the page: codes' words, texts, descriptions, values.
#[test]
fn nothing_that_was_received_is_left_out() {
    let bundle = received();
    let page = words(&shown(&bundle));
    // What goes without saying: what every task of a request does, a usual status, what the title of its section says.
    let unsaid = [
        "Fulfill the focal request",
        "Active",
        "Mental health crisis escalation",
        "Mental health crisis plan",
        "Protective factor",
        "Early warning sign",
        "Action taken",
    ];
    let mut open = vec![&bundle];
    let mut seen = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => {
                for (name, member) in members {
                    let is_for_people =
                        ["display", "text", "description", "valueString", "family", "postalCode", "title"];
                    match member {
                        Value::String(text) if is_for_people.contains(&&**name) && !unsaid.contains(&&**text) => {
                            let path = text
                                .split('.')
                                .next()
                                .is_some_and(|kind| text.contains('.') && !text.contains(' ') && kind.len() > 3);
                            // Paths of what was withheld are in words.
                            if !path {
                                assert!(page.contains(&**text), "{name}: {text}");
                                seen += 1;
                            }
                        }
                        other => open.push(other),
                    }
                }
            }
            _ => {}
        }
    }
    assert!(seen > 40, "{seen} texts");
}

#[test]
fn withheld_not_recorded_and_not_there_are_three_things() {
    let allergies = |bundle: &Value| {
        let page = words(&shown(bundle));
        let at = page.rfind("Allergies ").unwrap_or_else(|| panic!("{page}"));
        page[at..].chars().take(90).collect::<String>()
    };
    let mut bundle = received();
    without(&mut bundle, "AllergyIntolerance", "allergies-and-adverse-reaction");
    assert!(
        allergies(&bundle).starts_with("Allergies nothing was received, and nothing says why"),
        "{}",
        allergies(&bundle)
    );

    let listed = json!({ "url": "https://weir.example/fhir/StructureDefinition/weir-withheld-element", "valueString": "AllergyIntolerance" });
    bundle["meta"]["extension"].as_array_mut().expect("a list").push(listed);
    assert!(allergies(&bundle).starts_with("Allergies withheld "), "{}", allergies(&bundle));
    assert!(words(&shown(&bundle)).contains("Allergy intolerance all of it."));

    let mut bundle = received();
    without(&mut bundle, "AllergyIntolerance", "allergies-and-adverse-reaction");
    let empty = |code: &str, text: &str| {
        json!({ "title": "Allergies", "code": { "coding": [{ "code": "allergies-and-adverse-reaction" }] },
            "emptyReason": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/list-empty-reason", "code": code }], "text": text } })
    };
    let sections =
        |bundle: &mut Value| resource(bundle, "Composition")["section"].as_array_mut().expect("sections").clone();
    let mut all = sections(&mut bundle);
    all.push(empty("unavailable", "Not recorded"));
    resource(&mut bundle, "Composition")["section"] = json!(all);
    let html = shown(&bundle);
    assert!(html.contains("Allergies</h2><p class=\"absent\">Not recorded</p>"), "{html}");
    // A code without words has those of FHIR's list.
    for (code, class, said) in [
        ("nilknown", "absent", "none known"),
        ("notasked", "absent", "not asked"),
        ("withheld", "withheld", "withheld"),
        ("unavailable", "absent", "not available"),
        ("notstarted", "absent", "not started"),
        ("closed", "absent", "closed"),
        ("other", "absent", "other (list-empty-reason)"),
    ] {
        all.pop();
        let mut section = empty(code, "");
        section["emptyReason"].as_object_mut().expect("an object").remove("text");
        all.push(section);
        resource(&mut bundle, "Composition")["section"] = json!(all);
        assert!(shown(&bundle).contains(&format!("Allergies</h2><p class=\"{class}\">{said}</p>")), "{code}");
    }
    all.pop();
    all.push(empty("withheld", "Withheld"));
    resource(&mut bundle, "Composition")["section"] = json!(all);
    assert!(shown(&bundle).contains("Allergies</h2><p class=\"withheld\">Withheld</p>"));
}

#[test]
fn a_masked_element_is_said_to_be_withheld() {
    let masked =
        json!([{ "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked" }]);
    let mut bundle = received();
    resource(&mut bundle, "RiskAssessment")["prediction"][0]["qualitativeRisk"] = json!({ "extension": masked });
    let patient = resource(&mut bundle, "Patient");
    patient["name"] = json!([{ "extension": masked }]);
    patient.as_object_mut().expect("an object").remove("birthDate");
    patient["_birthDate"] = json!({ "extension": masked });
    let request = resource(&mut bundle, "ServiceRequest");
    request["code"] = json!({ "extension": masked });
    let html = shown(&bundle);
    let page = words(&html);
    assert!(html.contains("<h1><span class=\"withheld\">withheld</span></h1>"), "{html}");
    for part in [
        "Name withheld NHS number 999 000 1014 (verified) Known as P-100481 (person) Born withheld",
        "withheld Risk to self",
        "Patient birth date; name.",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let absent =
        json!([{ "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "asked-declined" }]);
    resource(&mut bundle, "ServiceRequest")["code"] = json!({ "extension": absent });
    assert!(words(&shown(&bundle)).contains("Crisis escalation not recorded (asked-declined) Priority"));
}

/// A priority or a time that was withheld is not one that nobody gave.
#[test]
fn a_withheld_priority_or_deadline_is_said_to_be_withheld() {
    let masked = json!({ "extension": [{ "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked" }] });
    let request = json!({ "resourceType": "ServiceRequest", "status": "active", "code": { "text": "Visit" },
        "_priority": masked, "occurrencePeriod": { "_end": masked } });
    let of = |request: &Value| shown(&json!({ "resourceType": "Bundle", "entry": [{ "resource": request }] }));
    let html = of(&request);
    assert!(html.contains("<header class=\"masked\">"), "{html}");
    assert!(words(&html).contains("Priority Priority withheld Respond by withheld"), "{html}");
    let none = of(&json!({ "resourceType": "ServiceRequest", "status": "active", "code": { "text": "Visit" } }));
    assert!(none.contains("<header class=\"unknown\">"), "{none}");
    assert!(words(&none).contains("Priority Not given Respond by No time is given"), "{none}");
}

/// What a person may not take and what they take are told apart wherever they stand, and by whose they are.
#[test]
fn an_allergy_and_a_medicine_never_look_alike() {
    let allergy = json!({ "fullUrl": "urn:uuid:a", "resource": { "resourceType": "AllergyIntolerance", "code": { "text": "Penicillin" }, "patient": { "reference": "urn:uuid:1" } } });
    let medicine = json!({ "fullUrl": "urn:uuid:m", "resource": { "resourceType": "MedicationStatement", "medicationReference": { "reference": "urn:uuid:d" }, "subject": { "reference": "urn:uuid:2" } } });
    let drug = json!({ "fullUrl": "urn:uuid:d", "resource": { "resourceType": "Medication", "code": { "text": "Sertraline" } } });
    let person = |id: &str, name: &str| json!({ "fullUrl": id, "resource": { "resourceType": "Patient", "name": [{ "text": name }, { "use": "old", "text": "Former" }] } });
    let entries = [allergy, medicine, drug, person("urn:uuid:1", "Ann Example"), person("urn:uuid:2", "Ben Example")];
    let mut bundle = json!({ "resourceType": "Bundle", "entry": entries });
    let page = words(&shown(&bundle));
    let parts =
        ["Allergy intolerance: Penicillin About: Ann Example", "Medication statement: Sertraline About: Ben Example"];
    for part in parts {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(page.contains("Former (old name)"), "{page}");
    let section = json!({ "title": "Noted", "entry": [{ "reference": "urn:uuid:a" }, { "reference": "urn:uuid:m" }] });
    let summary = json!({ "resource": { "resourceType": "Composition", "section": [section] } });
    bundle["entry"].as_array_mut().expect("entries").push(summary);
    let page = words(&shown(&bundle));
    for part in parts {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

/// What a page says of one dosage.
fn dosed(dosage: &Value) -> String {
    let medicine = json!({ "resourceType": "MedicationStatement", "medicationCodeableConcept": { "text": "Ibuprofen" }, "dosage": [dosage] });
    let page = words(&shown(&json!({ "resourceType": "Bundle", "entry": [{ "resource": medicine }] })));
    let (_, rest) = page.split_once("Ibuprofen Dosage: ").unwrap_or_else(|| panic!("{page}"));
    rest.split(" What was withheld").next().unwrap_or_default().to_owned()
}

fn amount(value: f64, unit: &str) -> Value {
    let value = if value.fract() == 0.0 { json!(value as i64) } else { json!(value) };
    json!({ "value": value, "unit": unit })
}

#[test]
fn a_dosage_without_text_is_a_sentence() {
    let whole = json!({ "sequence": 1, "method": { "text": "Take" }, "route": { "coding": [{ "code": "26643006", "display": "Oral" }] },
        "asNeededCodeableConcept": { "text": "Pain" },
        "timing": { "repeat": { "frequency": 3, "period": 1, "periodUnit": "d", "boundsDuration": { "value": 5, "code": "d" } } },
        "doseAndRate": [{ "type": { "coding": [{ "code": "ordered", "display": "Ordered" }] }, "doseQuantity": amount(400.0, "mg") }],
        "maxDosePerPeriod": { "numerator": amount(2000.0, "mg"), "denominator": amount(1.0, "d") },
        "maxDosePerAdministration": amount(800.0, "mg"), "maxDosePerLifetime": amount(10.0, "g"),
        "additionalInstruction": [{ "text": "With or after food" }], "patientInstruction": "Stop if your stomach hurts" });
    assert_eq!(
        dosed(&whole),
        "step 1: Take 400 mg, oral route, 3 times a day, for 5 days, as needed for pain, at most 2000 mg per day, at most 800 mg each time, \
         at most 10 g in a lifetime, with or after food, the person was told: Stop if your stomach hurts"
    );
    let range = json!({ "low": amount(1.0, "tablet"), "high": amount(2.0, "tablet") });
    for (dosage, expected) in [
        (json!({ "asNeededBoolean": true, "doseAndRate": [{ "doseRange": range }] }), "1 to 2 tablets, as needed"),
        (
            json!({ "asNeededBoolean": false, "doseAndRate": [{ "doseQuantity": amount(1.0, "tablet") }] }),
            "1 tablet, regularly",
        ),
        (
            json!({ "site": { "text": "Left arm" }, "route": { "text": "Intramuscular route" }, "doseAndRate": [{ "doseQuantity": amount(0.5, "ml") }] }),
            "0.5 ml, at left arm, intramuscular route",
        ),
        (
            json!({ "doseAndRate": [{ "doseQuantity": amount(2.0, "mg/kg"), "type": { "text": "Calculated" } }, { "doseQuantity": amount(140.0, "mg") }] }),
            "2 mg/kg (calculated), or 140 mg",
        ),
        (
            json!({ "doseAndRate": [{ "rateRatio": { "numerator": amount(100.0, "ml"), "denominator": { "value": 1, "code": "h" } } }] }),
            "at 100 ml per hour",
        ),
        (
            json!({ "doseAndRate": [{ "doseQuantity": amount(1.0, "l"), "rateQuantity": amount(80.0, "ml/h") }] }),
            "1 l at 80 ml/h",
        ),
        (
            json!({ "maxDosePerPeriod": { "numerator": amount(4.0, "tablet"), "denominator": amount(24.0, "h") } }),
            "at most 4 tablets per 24 hours",
        ),
        // A number without its unit is not one of another unit, and a dose that is no dose is not passed over.
        (json!({ "doseAndRate": [{ "doseQuantity": { "value": 5 } }] }), "5 (no unit given)"),
        (json!({ "doseAndRate": [{ "doseQuantity": { "unit": "mg" } }] }), "Dose: not shown, read the message itself"),
        (
            json!({ "doseAndRate": [{ "doseQuantity": { "value": 5, "comparator": "<=", "code": "{puff}" } }] }),
            "at most 5 puffs",
        ),
        // Braces of UCUM come off in pairs, wherever they stand.
        (json!({ "doseAndRate": [{ "doseQuantity": { "value": 5, "code": "mg/{dose}" } }] }), "5 mg/dose"),
        (
            json!({ "doseAndRate": [{ "doseQuantity": { "value": 5, "code": "mg{base}/kg{lean}" } }] }),
            "5 mg base/kg lean",
        ),
        (json!({ "doseAndRate": [{ "doseQuantity": { "value": 5, "unit": "mg/{dose" } }] }), "5 mg/{dose"),
        // The text, then what is structured: a reader sees where they differ.
        (
            json!({ "text": "One at night", "timing": { "repeat": { "frequency": 2, "period": 1, "periodUnit": "d" } } }),
            "One at night, twice a day",
        ),
        (json!({ "text": "One at night" }), "One at night"),
    ] {
        assert_eq!(dosed(&dosage), expected, "{dosage}");
    }
}

#[test]
fn how_often_a_medicine_is_taken_is_told_in_words() {
    let of = |repeat: Value| dosed(&json!({ "timing": { "repeat": repeat } }));
    for (repeat, expected) in [
        (json!({ "frequency": 1, "period": 1, "periodUnit": "d" }), "once a day"),
        (json!({ "period": 1, "periodUnit": "wk" }), "every week"),
        (json!({ "frequency": 1, "period": 8, "periodUnit": "h" }), "every 8 hours"),
        (json!({ "frequency": 1, "period": 4, "periodMax": 6, "periodUnit": "h" }), "every 4 to 6 hours"),
        (json!({ "frequency": 2, "frequencyMax": 3, "period": 1, "periodUnit": "d" }), "2 to 3 times a day"),
        (json!({ "frequencyMax": 4, "period": 1, "periodUnit": "d" }), "up to 4 times a day"),
        (json!({ "frequency": 2, "period": 3, "periodUnit": "d" }), "twice every 3 days"),
        (json!({ "frequency": 1, "period": 1, "periodUnit": "h" }), "once an hour"),
        (json!({ "frequency": 3 }), "3 times, with no period given"),
        (json!({ "frequency": 1, "period": 8 }), "every 8 with no unit given"),
        (
            json!({ "frequency": 1, "period": 1, "periodUnit": "d", "dayOfWeek": ["mon", "wed", "fri"], "timeOfDay": ["08:00:00", "20:30:00"] }),
            "once a day, on Monday, Wednesday and Friday, at 08:00 and 20:30",
        ),
        (json!({ "when": ["AC"], "offset": 30 }), "30 minutes before a meal"),
        (json!({ "when": ["PCM", "PCV"] }), "after breakfast and after the evening meal"),
        (json!({ "when": ["MORN", "HS"] }), "in the morning and before going to sleep"),
        (
            json!({ "frequency": 1, "period": 1, "periodUnit": "d", "when": ["CV"], "count": 5, "countMax": 7 }),
            "once a day, with the evening meal, 5 to 7 times in all",
        ),
        (
            json!({ "duration": 30, "durationUnit": "min", "boundsPeriod": { "start": "2026-03-02", "end": "2026-03-09" } }),
            "over 30 minutes each time, from 2 March 2026 to 9 March 2026",
        ),
        (json!({ "boundsRange": { "low": amount(5.0, "d"), "high": amount(7.0, "d") } }), "for 5 to 7 days"),
        // What has no words keeps its label: nothing of a dose is left out.
        (
            json!({ "when": ["SOON"], "frequency": "3", "period": 1, "periodUnit": "d" }),
            "Frequency: 3, Period: 1, Period unit: d, When: SOON",
        ),
    ] {
        let said = of(repeat.clone());
        let all = |text: &str| text.split(", ").map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        // The order of what keeps its label is that of the message.
        assert!(
            said == expected || (expected.contains(": ") && all(&said) == all(expected)),
            "{repeat}: {said}, not {expected}"
        );
    }
    // A missing frequency means once a period; one that was withheld does not.
    let masked = json!({ "extension": [{ "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked" }] });
    let said = of(json!({ "_frequency": masked, "period": 1, "periodUnit": "d" }));
    assert!(said.contains("Frequency: withheld") && !said.contains("every day") && !said.contains("once"), "{said}");
    let said = dosed(&json!({ "doseAndRate": [{ "doseQuantity": masked }] }));
    assert!(said.contains("Dose: withheld"), "{said}");
    let coded = |code: &str, repeat: Value| {
        let coding = json!({ "system": "http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation", "code": code, "display": code });
        dosed(&json!({ "timing": { "code": { "coding": [coding] }, "repeat": repeat } }))
    };
    assert_eq!(coded("QD", Value::Null), "once a day (QD)");
    assert_eq!(coded("BID", json!({ "frequency": 2, "period": 1, "periodUnit": "d" })), "twice a day (BID)");
}

#[test]
fn a_dose_that_was_given_is_a_sentence_too() {
    let given = json!({ "resourceType": "MedicationAdministration", "status": "completed", "medicationCodeableConcept": { "text": "Lorazepam" },
        "dosage": { "route": { "text": "By mouth" }, "dose": amount(1.0, "mg") } });
    let page = words(&shown(&json!({ "resourceType": "Bundle", "entry": [{ "resource": given }] })));
    assert!(page.contains("Lorazepam Dosage: 1 mg, by mouth"), "{page}");
}

/// A reference says what it leads to: the name that the Bundle has, else what the reference says, else that it is not here.
#[test]
fn a_reference_is_called_by_the_name_of_its_target() {
    let held = |id: &str, resource: Value| json!({ "fullUrl": format!("urn:uuid:{id}"), "resource": resource });
    let to = |id: &str| json!({ "reference": format!("urn:uuid:{id}") });
    let observation = json!({ "resourceType": "Observation", "code": { "text": "Seen" }, "contained": [{ "resourceType": "Device", "id": "pump", "deviceName": [{ "name": "Pump 7", "type": "user-friendly-name" }] }],
        "subject": to("person"), "device": { "reference": "#pump" }, "derivedFrom": [to("other"), to("form")], "encounter": to("visit"),
        "performer": [to("doctor"), { "reference": "urn:uuid:team", "display": "Somebody" }, { "reference": "Organization/9", "display": "Far Trust" },
            { "identifier": { "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": "DEMOX" } }, { "reference": "Practitioner/77" }] });
    let condition = json!({ "resourceType": "Condition", "code": { "text": "Low mood" }, "subject": to("person"), "asserter": to("doctor") });
    let visit = |id: &str, words: &str| {
        held(
            id,
            json!({ "resourceType": "Encounter", "status": "finished", "class": { "code": "HH" }, "type": [{ "text": words }],
        "location": [{ "location": to("place") }], "serviceProvider": to("team") }),
        )
    };
    let bundle = json!({ "resourceType": "Bundle", "entry": [
        held("seen", observation), held("mood", condition),
        held("person", json!({ "resourceType": "Patient", "name": [{ "text": "Ann Example" }] })),
        held("doctor", json!({ "resourceType": "Practitioner", "name": [{ "prefix": ["Dr"], "family": "Sample" }] })),
        held("team", json!({ "resourceType": "Organization", "name": "Near Team" })),
        held("place", json!({ "resourceType": "Location", "name": "Room 4" })),
        held("form", json!({ "resourceType": "QuestionnaireResponse", "status": "completed" })),
        held("other", json!({ "resourceType": "Observation", "code": { "text": "Blood pressure" } })),
        visit("visit", "Home visit"), visit("later", "Phone call"),
    ] });
    let page = words(&shown(&bundle));
    for part in [
        "Performer: Dr Sample; Near Team; Far Trust; DEMOX; Practitioner (not in the message)",
        "Asserter: Dr Sample",
        "Device: Pump 7",
        "Derived from: Blood pressure; Questionnaire response (on this page)",
        "Encounter: Home visit",
        "Location: Room 4",
        "Service provider: Near Team",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("Subject: ") && !page.contains("Somebody"), "{page}");

    // References in a circle, of kinds that they may not have.
    let circle = json!({ "resourceType": "MedicationRequest", "medicationReference": to("one"), "subject": to("one"), "reasonReference": [to("one")] });
    let page = words(&shown(&json!({ "resourceType": "Bundle", "entry": [held("one", circle)] })));
    assert!(page.contains("Medication request (on this page)"), "{page}");
}

/// Whoever does not know a modifier must not read on as if it were not there (FHIR R4 Extensibility 2.4.0.2).
#[test]
fn a_modifier_is_a_warning_on_whatever_it_stands() {
    let alerts = |resource: Value| -> Vec<String> {
        let html = shown(&json!({ "resourceType": "Bundle", "entry": [{ "resource": resource }] }));
        assert_safe(&html);
        let alerts =
            html.split("<p class=\"alert\">").skip(1).map(|rest| rest.split("</p>").next().unwrap_or_default());
        alerts.map(|alert| alert.replace("&#39;", "'")).collect()
    };
    let modifier =
        json!([{ "url": "https://provider.example/fhir/StructureDefinition/do-not-call", "valueBoolean": true }]);
    let ask = "Do not rely on it before you have asked the sender.";
    let asked =
        json!([{ "system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill", "display": "Ring back" }]);
    for code in [json!({ "coding": asked }), json!({ "text": "Ring back" })] {
        let task = json!({ "resourceType": "Task", "status": "requested", "intent": "order", "code": code, "modifierExtension": modifier });
        let expected =
            format!("Task Ring back: changed by a modifier that is not known here (Do not call: yes). {ask}");
        assert_eq!(alerts(task), [expected]);
    }
    // Without a value or a name, in a part, inside another resource, on a part of the page that is no list.
    let task = |more: Value| {
        let mut task = json!({ "resourceType": "Task", "status": "requested", "code": { "text": "Ring back" } });
        task.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        task
    };
    for (resource, expected) in [
        (
            task(json!({ "modifierExtension": [{ "url": "https://provider.example/negated" }] })),
            "Task Ring back: changed by a modifier that is not known here (Modifier: https://provider.example/negated).",
        ),
        (
            task(json!({ "modifierExtension": [{}] })),
            "Task Ring back: changed by a modifier that is not known here (Modifier: it has no name).",
        ),
        (
            task(json!({ "modifierExtension": "odd" })),
            "Task Ring back: changed by a modifier that is not known here (Modifier: it has no name).",
        ),
        (
            task(json!({ "restriction": { "modifierExtension": modifier } })),
            "Task Ring back: changed by a modifier that is not known here (Do not call: yes).",
        ),
        (
            task(json!({ "contained": [{ "resourceType": "Patient", "id": "p", "modifierExtension": modifier }] })),
            "Task Ring back: changed by a modifier",
        ),
        (
            task(json!({ "implicitRules": "https://provider.example/rules" })),
            "Task Ring back: made under rules of its own that are not known here (https://provider.example/rules).",
        ),
        (
            json!({ "resourceType": "Composition", "title": "Notes", "section": [{ "modifierExtension": modifier }] }),
            "Composition Notes: changed by a modifier",
        ),
        (
            json!({ "resourceType": "MessageHeader", "implicitRules": "https://provider.example/rules" }),
            "Message header: made under rules",
        ),
        (
            json!({ "resourceType": "Patient", "name": [{ "text": "Ann Example" }], "modifierExtension": modifier }),
            "Patient Ann Example: changed by a modifier",
        ),
        (
            json!({ "resourceType": "MedicationStatement", "medicationCodeableConcept": { "text": "Ibuprofen" }, "dosage": [{ "timing": { "modifierExtension": modifier, "repeat": { "count": 1 } } }] }),
            "Medication statement Ibuprofen: changed by a modifier",
        ),
    ] {
        let said = alerts(resource.clone());
        assert!(said.len() == 1 && said[0].starts_with(expected) && said[0].ends_with(ask), "{resource}: {said:?}");
    }
    // Where it stands it is loud as well, and the dose says that it is changed.
    let page = |resource: Value| shown(&json!({ "resourceType": "Bundle", "entry": [{ "resource": resource }] }));
    let flag = page(json!({ "resourceType": "Flag", "code": { "text": "A flag" }, "modifierExtension": modifier }));
    assert!(flag.contains("<span class=\"loud\">Do not call: </span>yes"), "{flag}");
    let dose = page(
        json!({ "resourceType": "MedicationStatement", "dosage": [{ "text": "One daily", "modifierExtension": modifier }] }),
    );
    assert!(words(&dose).contains("One daily, changed by a modifier: see the warning at the top"), "{dose}");
    // On the Bundle and its entries.
    let bundle = json!({ "resourceType": "Bundle", "implicitRules": "https://provider.example/rules", "entry": [{ "modifierExtension": modifier, "resource": { "resourceType": "Flag" } }] });
    let said = words(&shown(&bundle));
    for part in ["An entry of the message: changed by a modifier", "The message: made under rules of its own"] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    // As many as anybody sends.
    let many = vec![json!({ "resource": { "resourceType": "Flag", "modifierExtension": modifier } }); 500];
    let html = shown(&json!({ "resourceType": "Bundle", "entry": many }));
    assert_eq!(html.matches("<p class=\"alert\">").count(), 21);
    assert!(html.contains("Warnings of the same kind that are not shown: 480."), "{html}");
}

#[test]
fn a_range_with_one_end_says_which() {
    let of = |range: Value| {
        let observation = json!({ "resourceType": "Observation", "code": { "text": "Drinks" }, "valueRange": range });
        words(&shown(&json!({ "resourceType": "Bundle", "entry": [{ "resource": observation }] })))
    };
    let (low, high) = (json!({ "value": 2, "unit": "a day" }), json!({ "value": 5, "unit": "a day" }));
    assert!(of(json!({ "high": high })).contains("Drinks; up to 5 a day"));
    assert!(of(json!({ "low": low })).contains("Drinks; 2 a day or more"));
    assert!(of(json!({ "low": low, "high": high })).contains("Drinks; 2 to 5 a day"));
    assert!(of(json!({ "high": high, "low": low })).contains("Drinks; 2 to 5 a day"));
}

/// The order of the members of an object says nothing (RFC 8259).
#[test]
fn what_is_above_and_what_is_below_are_told_by_their_names() {
    let page = |text: &str| {
        let bundle = format!(r#"{{"resourceType":"Bundle","entry":[{{"resource":{text}}}]}}"#);
        words(&page(&Document::parse(bundle, &Limits::default()).expect("it is JSON")).expect("it is a Bundle"))
    };
    let (one, five) = (r#"{"unit":"ml","value":1}"#, r#"{"unit":"mg","value":5}"#);
    for strength in [
        format!(r#"{{"denominator":{one},"numerator":{five}}}"#),
        format!(r#"{{"numerator":{five},"denominator":{one}}}"#),
    ] {
        let medicine = page(&format!(
            r#"{{"resourceType":"Medication","code":{{"text":"Syrup"}},"ingredient":[{{"strength":{strength}}}]}}"#
        ));
        assert!(medicine.contains("Strength: 5 mg per ml"), "{medicine}");
    }
    let level = page(
        r#"{"resourceType":"Observation","code":{"text":"Lithium level"},"valueQuantity":{"code":"mmol/L","comparator":">","value":1.6}}"#,
    );
    assert!(level.contains("Lithium level; more than 1.6 mmol/L"), "{level}");
    let level = page(r#"{"resourceType":"Observation","code":{"text":"Lithium level"},"valueQuantity":{"value":1.6}}"#);
    assert!(level.contains("Lithium level; 1.6 (no unit given)"), "{level}");
    // What is odd is shown as it stands, and a score has no unit.
    let level =
        page(r#"{"resourceType":"Observation","code":{"text":"PHQ-9"},"valueQuantity":{"unit":"1","value":19}}"#);
    assert!(level.contains("PHQ-9; 19 What"), "{level}");
    let level = page(
        r#"{"resourceType":"Observation","code":{"text":"Level"},"valueRatio":{"numerator":{"value":5,"unit":"mg"}}}"#,
    );
    assert!(level.contains("Level; 5 mg"), "{level}");
}

/// What was called off asks for nothing, and the banner says so of a task too.
#[test]
fn what_is_closed_asks_for_nothing() {
    for state in ["cancelled", "revoked", "entered-in-error", "completed", "rejected"] {
        let task = |status: &str, words: &str, priority: &str, end: &str| {
            json!({ "resource": { "resourceType": "Task", "status": status, "priority": priority, "description": words,
                "code": { "coding": [{ "system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill", "display": words }] },
                "restriction": { "period": { "end": end } } } })
        };
        let closed = task(state, "Visit tonight", "stat", "2026-03-02T18:05:00Z");
        let open = task("requested", "Ring back", "urgent", "2026-03-03T18:05:00Z");
        let html = shown(&json!({ "resourceType": "Bundle", "entry": [closed, open] }));
        let page = words(&html);
        let banner = page.split("Person").next().expect("a banner");
        assert!(html.contains("<header class=\"urgent\">"), "{state}: {html}");
        assert!(!banner.contains("2 March") && banner.contains("3 March"), "{banner}");
        let alert = format!("Task Visit tonight; Visit tonight: Status: {state}");
        assert!(banner.contains(&alert), "{alert}\n{banner}");
        let html = shown(&json!({ "resourceType": "Bundle", "entry": [closed] }));
        assert!(html.contains("<h1>Nothing is asked any more</h1>"), "{html}");
    }
}

#[test]
fn the_most_severe_risk_stands_first_and_an_unknown_one_is_not_taken_for_a_small_one() {
    let mut bundle = received();
    let entries = bundle["entry"].as_array_mut().expect("entries");
    let mut risks = entries.iter_mut().filter(|entry| entry["resource"]["resourceType"] == "RiskAssessment");
    let level = |entry: &mut Value, code: &str, text: &str| {
        entry["resource"]["prediction"][0]["qualitativeRisk"] = json!({ "coding": [{ "code": code }], "text": text });
    };
    level(risks.next().expect("one"), "moderate", "moderate");
    level(risks.next().expect("another"), "strange", "strange");
    let page = words(&shown(&bundle));
    let (unknown, moderate) = (page.find("strange Risk of self-neglect"), page.find("moderate Risk to self"));
    assert!(unknown.is_some() && unknown < moderate, "{page}");
}

#[test]
fn what_turns_the_meaning_of_a_message_stands_in_the_banner() {
    let mut bundle = received();
    resource(&mut bundle, "ServiceRequest")["status"] = json!("revoked");
    resource(&mut bundle, "ServiceRequest")["doNotPerform"] = json!(true);
    resource(&mut bundle, "MessageHeader")["reason"]["coding"][0]["code"] = json!("update");
    resource(&mut bundle, "Consent")["extension"] =
        json!([{ "url": "https://weir.example/fhir/StructureDefinition/weir-sharing-decision", "extension": [] }]);
    resource(&mut bundle, "AllergyIntolerance")["verificationStatus"] = json!({ "coding": [{ "code": "refuted" }] });
    let html = shown(&bundle);
    let alerts: Vec<&str> =
        html.split("<p class=\"alert\">").skip(1).map(|rest| rest.split("</p>").next().unwrap_or_default()).collect();
    assert_eq!(
        alerts,
        [
            "Update of an earlier message",
            "Status: revoked",
            "Do not perform: yes",
            "Shared without the person’s consent, on a decision: see Consent before you call."
        ]
    );
    assert!(html.contains("<span class=\"loud\">Verification status: </span>refuted"), "{html}");
}

/// Who is said to be a source of risk is never among those to call, and what somebody still has to find out is no deadline of ours.
#[test]
fn people_and_tasks_of_a_section_stand_in_it_and_nowhere_else() {
    let mut bundle = received();
    let coded = |system: &str, code: &str, display: &str| json!({ "coding": [{ "system": system, "code": code, "display": display }] });
    let task = json!({ "fullUrl": "urn:uuid:task", "resource": { "resourceType": "Task", "status": "requested", "intent": "order",
        "code": coded("https://weir.example/fhir/CodeSystem/missing-information", "obtain", "Obtain missing information"),
        "description": "Not recorded: allergies.", "owner": { "reference": "urn:uuid:role" },
        "restriction": { "period": { "end": "2026-03-02T15:00:00Z" } } } });
    let role = json!({ "fullUrl": "urn:uuid:role", "resource": { "resourceType": "PractitionerRole",
        "practitioner": { "display": "Ola Owner" }, "code": [{ "text": "Care coordinator" }] } });
    let person = |name: &str| json!({ "resourceType": "RelatedPerson", "name": [{ "text": name }], "telecom": [{ "system": "phone", "value": "01632 960999" }] });
    let entries = bundle["entry"].as_array_mut().expect("entries");
    entries.push(task);
    entries.push(role);
    entries.push(json!({ "fullUrl": "urn:uuid:source", "resource": person("Sam Alleged") }));
    entries.push(json!({ "fullUrl": "urn:uuid:friend", "resource": person("Kit Friend") }));
    let section = |title: &str, to: &str| json!({ "title": title, "entry": [{ "reference": to }] });
    let sections = resource(&mut bundle, "Composition")["section"].as_array_mut().expect("sections");
    sections.push(section("Alleged source of risk", "urn:uuid:source"));
    sections.push(section("What is missing", "urn:uuid:task"));
    sections.push(section("Sent by", "urn:uuid:b72b2ef7-9441-5d43-868c-b1193f3c3207"));
    let page = words(&shown(&bundle));
    let contacts = page.find("Who asks, and whom to call").expect("there are contacts");
    let contacts = &page[contacts..page.find("Current risks").expect("there are risks")];
    assert!(
        contacts.contains("Also named Kit Friend · phone 01632 960999") && !contacts.contains("Alleged"),
        "{contacts}"
    );
    for part in [
        "Respond by 18:05 on Mon 2 March 2026 UK time Asked of",
        "Alleged source of risk Sam Alleged",
        "What is missing Obtain missing information; Not recorded: allergies. Owner: Ola Owner, Care coordinator Period: until 15:00",
        "Sent by Demonstration Community Mental Health (shown above)",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn text_that_means_harm_is_text() {
    let harm = "</style></title><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x' \u{202e}gnp.exe\u{0}\u{7}\u{2066} ]]>--><!--";
    // In every string of the Bundle in turn, but those that a reference needs.
    let mut count = 0;
    let pristine = received();
    let paths = strings(&pristine);
    for path in &paths {
        let mut bundle = pristine.clone();
        *bundle.pointer_mut(path).expect("it is there") = json!(harm);
        let document = Document::parse(bundle.to_string(), &Limits::default()).expect("it is JSON");
        match page(&document) {
            Ok(html) => assert_safe_text(&html),
            Err(why) => assert_eq!((path.as_str(), why), ("/resourceType", NotShown::NotABundle)),
        }
        count += 1;
    }
    assert!(count > 300, "{count}");
    let mut all = pristine;
    let kept = ["/resourceType", "/reference", "/fullUrl"];
    for path in paths.iter().filter(|path| !kept.iter().any(|kept| path.ends_with(kept))) {
        *all.pointer_mut(path).expect("it is there") = json!(harm);
    }
    let html = shown(&all);
    assert_safe_text(&html);
    assert!(html.contains("&lt;/style&gt;&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;"), "{html}");
}

fn assert_safe_text(html: &str) {
    assert_safe(html);
    let hidden = html
        .chars()
        .filter(|letter| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{0}'..='\u{9}'));
    assert_eq!(hidden.count(), 0);
}

fn strings(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), value)];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::String(_) => found.push(path),
            Value::Array(items) => {
                open.extend(items.iter().enumerate().map(|(index, item)| (format!("{path}/{index}"), item)))
            }
            Value::Object(members) => {
                open.extend(members.iter().map(|(name, member)| (format!("{path}/{name}"), member)))
            }
            _ => {}
        }
    }
    found
}

#[test]
fn what_is_no_bundle_is_refused_in_words() {
    let refused = |bytes: &[u8]| {
        let mut child = weir()
            .args(["render", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("weir runs");
        child.stdin.take().expect("it is piped").write_all(bytes).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (bytes, part) in [
        (
            &b"{\"resourceType\":\"Patient\"}"[..],
            "-: the document is not a FHIR Bundle; hint: give the Bundle as it was received",
        ),
        (b"[]", "the document is not a FHIR Bundle"),
        (b"", "the document is empty"),
        (b"{\"resourceType\":\"Bundle\",", "line 1"),
        (b"\xff\xfe", "the input is not UTF-8"),
    ] {
        let (code, error) = refused(bytes);
        assert!(code == Some(1) && error.contains(part) && !error.contains("panicked"), "{code:?} {error}");
    }
    let (code, error) = refused(" ".repeat((10 << 20) + 1).as_bytes());
    assert!(code == Some(2) && error.contains("more than 10 MiB"), "{code:?} {error}");
    let many = format!("{{\"resourceType\":\"Bundle\",\"entry\":[{}]}}", vec!["{}"; 2001].join(","));
    let (code, error) = refused(many.as_bytes());
    assert!(code == Some(1) && error.contains("more than 2000 entries"), "{code:?} {error}");
}

#[test]
fn a_bundle_that_is_poor_or_wrong_has_a_page_all_the_same() {
    for (bundle, part) in [
        (json!({ "resourceType": "Bundle" }), "The message does not say what is asked"),
        (json!({ "resourceType": "Bundle", "entry": {} }), "Entries without a resource: 1"),
        (
            json!({ "resourceType": "Bundle", "entry": "x", "type": 5, "timestamp": [], "meta": null }),
            "Entries without a resource: 1",
        ),
        (
            json!({ "resourceType": "Bundle", "entry": [{ "resource": { "resourceType": "Nonsense", "a": 1 } }] }),
            "does not know, not shown: Nonsense",
        ),
        (
            json!({ "resourceType": "Bundle", "entry": [{ "resource": { "resourceType": "Patient", "name": 5, "birthDate": {}, "identifier": "x" } }] }),
            "Name not received",
        ),
        (
            json!({ "resourceType": "Bundle", "entry": [{ "resource": { "resourceType": "Flag", "surprise": "x", "code": { "text": "A flag" } } }] }),
            "unknown to FHIR R4",
        ),
        (
            json!({ "resourceType": "Bundle", "entry": [{ "fullUrl": "urn:uuid:1", "resource": { "resourceType": "Organization", "name": "Round", "partOf": { "reference": "urn:uuid:1" } } }] }),
            "Also named Round",
        ),
        (
            json!({ "resourceType": "Bundle", "entry": [{ "resource": { "resourceType": "Composition", "section": [{ "title": "Lost", "entry": [{ "reference": "urn:uuid:9" }] }] } }] }),
            "Lost Something that this section refers to is not in the message.",
        ),
        (
            json!({ "resourceType": "Bundle", "entry": [{ "resource": { "resourceType": "Composition", "section": [{ "title": "Told", "text": { "status": "additional", "div": "<div><p>By hand &amp; <b>more</b></p></div>" } }] } }] }),
            "Told By hand & more",
        ),
    ] {
        let html = shown(&bundle);
        assert_safe(&html);
        let page = words(&html);
        assert!(page.contains(part), "{part}\n{page}");
    }
}

/// The page stays a few times as large as the Bundle, and is made in seconds, whatever refers to what.
#[test]
fn a_bundle_that_is_made_to_be_dear_is_not() {
    let text = "x".repeat(200_000);
    let big = json!({ "fullUrl": "urn:uuid:1", "resource": { "resourceType": "Observation", "valueString": text, "performer": [{ "reference": "urn:uuid:2" }] } });
    let name =
        json!({ "fullUrl": "urn:uuid:2", "resource": { "resourceType": "Practitioner", "name": [{ "text": text }] } });
    let section = json!({ "title": "Again", "entry": [{ "reference": "urn:uuid:1" }] });
    let summary = json!({ "resource": { "resourceType": "Composition", "section": vec![section; 20_000] } });
    let watchers = json!({ "resource": { "resourceType": "Observation", "valueString": "w", "performer": vec![json!({ "reference": "urn:uuid:2" }); 20_000] } });
    let codings: Vec<Value> = (0..40_000).map(|place| json!({ "code": "x", "display": format!("d{place}") })).collect();
    let coded = json!({ "resource": { "resourceType": "Flag", "code": { "coding": codings } } });
    let bundle = json!({ "resourceType": "Bundle", "entry": [big, name, summary, watchers, coded] });
    let (size, started) = (bundle.to_string().len(), Instant::now());
    let html = shown(&bundle);
    assert!(html.len() < 6 * size, "{} of {size}", html.len());
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    assert_safe(&html);
}

#[test]
fn a_deep_bundle_is_refused_or_shown() {
    let mut extension = json!({ "url": "http://x/end", "valueString": "deep" });
    for level in 0..80 {
        extension = json!({ "url": format!("http://x/e{level}"), "extension": [extension] });
        let bundle = json!({ "resourceType": "Bundle", "entry": [{ "resource": { "resourceType": "Flag", "extension": [extension.clone()] } }] });
        if let Ok(document) = Document::parse(bundle.to_string(), &Limits::default()) {
            assert!(words(&page(&document).expect("it is a Bundle")).contains("deep"), "{level}");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "resourceType",
        "entry",
        "resource",
        "fullUrl",
        "section",
        "code",
        "coding",
        "display",
        "text",
        "div",
        "status",
        "reference",
        "extension",
        "url",
        "valueCode",
        "name",
        "family",
        "telecom",
        "value",
        "birthDate",
        "identifier",
        "system",
        "prediction",
        "qualitativeRisk",
        "emptyReason",
        "meta",
        "security",
        "priority",
        "occurrencePeriod",
        "end",
        "timestamp",
        "contained",
    ]);
    let words = prop::sample::select(vec![
        "Bundle",
        "Patient",
        "Composition",
        "RiskAssessment",
        "ServiceRequest",
        "Task",
        "MessageHeader",
        "Flag",
        "masked",
        "urn:uuid:1",
        "Patient/1",
        "2026-03-29T01:30:00Z",
        "9999-99-99",
        "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
        "<b>",
        "é\u{202e}",
    ]);
    let leaf = prop_oneof![
        words.prop_map(|word| json!(word)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<bool>().prop_map(|flag| json!(flag)),
        ".{0,12}".prop_map(|text| json!(text)),
        Just(Value::Null),
    ];
    leaf.prop_recursive(7, 120, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((names.clone(), inner), 0..8).prop_map(|members| Value::Object(
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Resources of any shape never end the program, and give a page of our own tags.
    #[test]
    fn any_shape_gives_a_safe_page(kinds in prop::collection::vec((prop::sample::select(vec![
        "Patient", "Composition", "RiskAssessment", "ServiceRequest", "Task", "MessageHeader", "Flag", "PractitionerRole", "Observation",
    ]), any_json()), 0..6)) {
        let entries: Vec<Value> = kinds.into_iter().enumerate().map(|(place, (kind, mut body))| {
            if let Some(members) = body.as_object_mut() {
                members.insert("resourceType".to_owned(), json!(kind));
            }
            json!({ "fullUrl": format!("urn:uuid:{place}"), "resource": body })
        }).collect();
        let bundle = json!({ "resourceType": "Bundle", "timestamp": "2026-03-02T14:05:00Z", "entry": entries });
        let document = Document::parse(bundle.to_string(), &Limits::default()).expect("it is JSON");
        assert_safe_text(&page(&document).expect("it is a Bundle"));
    }
}

fn rendered(bundle: &Path, options: &[&str]) -> (Option<i32>, String) {
    let output = weir().arg("render").arg(bundle).args(options).output().expect("weir runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_command_writes_what_the_receiver_serves() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let _gateway = site.start_gateway();
    let (sent, delivered) = site.send("crisis-escalation-complete.json", &[]);
    assert!(delivered, "{sent}");
    let (id, bundle) = site.inbox("trust").into_iter().next().expect("it arrived");
    let toml = fs::read_to_string(site.path("trust/partner.toml")).expect("the partner has a file");
    let pages = toml.split("pages = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("it shows pages");
    let pages = pages.parse().expect("it is an address");

    let scratch = TempDir::new().expect("a folder can be made");
    let file = scratch.path().join("bundle.json");
    fs::write(&file, &bundle).expect("it is written");
    let (code, page) = rendered(&file, &[]);
    assert_eq!(code, Some(0));
    assert_safe(&page);
    assert!(words(&page).contains("Crisis escalation Crisis assessment"), "{page}");
    let (code, printed) = rendered(&file, &["--output", scratch.path().join("page.html").to_str().expect("UTF-8")]);
    assert_eq!((code, &*printed), (Some(0), ""));
    assert_eq!(fs::read_to_string(scratch.path().join("page.html")).expect("it is there"), page);

    let (status, served) = http_get(pages, &format!("/inbox/{id}")).expect("the pages are served");
    assert_eq!(status, 200);
    assert_eq!(served, page);
    let (status, list) = http_get(pages, "/").expect("the list is served");
    assert!(
        status == 200 && list.contains(&format!("<a href=\"/inbox/{id}\">Crisis escalation: Crisis assessment")),
        "{list}"
    );
    assert!(list.contains("<td>Emergency: at once (stat)</td><td>18:05 on Mon 2 March 2026</td>"), "{list}");
    assert!(!list.contains("Exemplar") && !list.contains("9990001014"), "the list names nobody: {list}");
    for path in [
        "/inbox/d9299a36-0000-587c-a2d7-dec8a49f2b7c",
        "/inbox/..%2f..%2fpartner",
        "/inbox/%2e%2e/partner.toml",
        "/arrivals.jsonl",
        "/received",
    ] {
        let (status, _) = http_get(pages, path).expect("it answers");
        assert_eq!(status, 404, "{path}");
    }
    // Headers, and a page of elsewhere that has got itself this address.
    let raw = raw_get(pages, &format!("/inbox/{id}"), "127.0.0.1");
    for header in [
        "content-security-policy: default-src 'none'; style-src 'sha256-",
        "frame-ancestors 'none'",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
    ] {
        assert!(raw.to_lowercase().contains(header), "{header}: {raw}");
    }
    let raw = raw_get(pages, &format!("/inbox/{id}"), "rebound.example");
    assert!(raw.starts_with("HTTP/1.1 421") && !raw.contains("Exemplar"), "{raw}");

    // What cannot be shown is listed, and says why.
    fs::write(site.path("trust/inbox/received/00000000-0000-4000-8000-000000000001.json"), "{").expect("it is written");
    let (_, list) = http_get(pages, "/inbox").expect("the list is served");
    assert!(list.contains("00000000-0000-4000-8000-000000000001</a> cannot be shown"), "{list}");
    let (status, why) = http_get(pages, "/inbox/00000000-0000-4000-8000-000000000001").expect("it answers");
    assert!(status == 422 && why.contains("ends inside a value"), "{status} {why}");
    let log = fs::read_to_string(site.path("trust.log")).expect("there is a log");
    assert!(!log.contains("Exemplar") && !log.contains("9990001014"), "the log names nobody");
}

fn raw_get(address: std::net::SocketAddr, path: &str, host: &str) -> String {
    use std::io::Read as _;
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn the_pages_are_for_this_machine_alone() {
    let site = DemoSite::new();
    let file = site.path("trust/partner.toml");
    let toml = fs::read_to_string(&file).expect("the partner has a file");
    let at = toml.find("pages = ").expect("it shows pages");
    let end = at + toml[at..].find('\n').expect("the line ends");
    fs::write(&file, format!("{}pages = \"0.0.0.0:0\"{}", &toml[..at], &toml[end..])).expect("it is written");
    let output = weir().arg("partner").arg("--site").arg(site.path("trust")).output().expect("weir runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("is not an address of this machine alone"), "{error}");
}
