//! What a referral says and its record does not is listed; and what is no answer, has ended, or is somebody else's is not taken for one.

use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{Bench, DemoSite};
use super::{Partner, another, change, list, resource, told};

const PATIENT: &str = "urn:uuid:8cea5ba8-7464-58a5-9900-a4dc5d1fe018";
const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";

/// What record systems see of the sample when something in it is changed.
struct Reader {
    bench: Bench,
    trust: Partner,
}

impl Reader {
    fn new() -> Reader {
        let bench = Bench::of(DemoSite::new());
        let trust = Partner::trust(&bench.site);
        Reader { bench, trust }
    }

    fn of(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut bundle = another(Uuid::new_v4());
        change(&mut bundle);
        let sent = self.trust.send(&bundle);
        assert_eq!(told(&sent).0, 200, "{}", sent.json());
        let waiting = list(&self.bench, "");
        let own = waiting.iter().find(|each| each["message"] == bundle["id"]).expect("it waits");
        self.bench.get(&format!("/inbound/{}", own["id"].as_str().expect("an id")), &[]).json()
    }
}

fn named(rows: &Value, of: &str) -> Vec<String> {
    let rows = rows.as_array().expect("a list").iter();
    rows.map(|row| row[of].as_str().expect("a text").to_owned()).collect()
}

fn add(bundle: &mut Value, resource: Value) {
    let entry = json!({ "fullUrl": format!("urn:uuid:{}", Uuid::new_v4()), "resource": resource });
    bundle["entry"].as_array_mut().expect("entries").push(entry);
}

fn summary(more: &Value) -> Value {
    let mut composition = json!({
        "resourceType": "Composition", "status": "final", "type": { "text": "Summary" }, "subject": { "reference": PATIENT },
        "date": "2026-03-02T08:00:00Z", "author": [{ "display": "A. Author" }], "title": "Summary",
    });
    composition.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    composition
}

fn generated(words: &str) -> Value {
    json!({ "status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{words}</div>") })
}

#[test]
fn what_the_message_says_and_the_record_does_not_is_listed() {
    let reader = Reader::new();
    let plain = named(&reader.of(|_| {})["unread"], "what");
    let label =
        |code: &str| json!([{ "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": code }]);
    type Change = Box<dyn Fn(&mut Value)>;
    let cases: Vec<(Change, &[&str])> = vec![
        (
            Box::new(|bundle| {
                let text = generated("Threatened a neighbour this morning");
                add(bundle, summary(&json!({ "section": [{ "title": "Risks to others", "text": text }] })));
            }),
            &["Composition.section.text"],
        ),
        (
            Box::new(|bundle| {
                add(bundle, summary(&json!({ "status": "preliminary", "confidentiality": "V" })));
            }),
            &["Composition.status", "Composition.confidentiality"],
        ),
        (
            Box::new(|bundle| {
                resource(bundle, "MedicationStatement")["category"] = json!({ "text": "prescribed for somebody else" });
            }),
            &["MedicationStatement.category"],
        ),
        (
            Box::new(|bundle| {
                let request = resource(bundle, "ServiceRequest");
                request["category"][0]["text"] = json!("Forensic referral");
            }),
            &["ServiceRequest.category"],
        ),
        (
            Box::new(|bundle| {
                resource(bundle, "MedicationStatement")["contained"] = json!([{
                    "resourceType": "RelatedPerson", "id": "x", "patient": { "reference": PATIENT }, "name": [{ "text": "Mother" }],
                }]);
                resource(bundle, "MedicationStatement")["informationSource"] =
                    json!({ "reference": "#x", "display": "Mother says: does not take it" });
            }),
            &["MedicationStatement.contained", "MedicationStatement.informationSource"],
        ),
        (
            Box::new(move |bundle| resource(bundle, "Patient")["meta"]["security"] = label("R")),
            &["Patient.meta.security"],
        ),
        (
            Box::new(|bundle| {
                let practice = json!({ "resourceType": "Organization", "name": "A Practice", "telecom": [{ "system": "phone", "value": "01632 960001" }] });
                add(bundle, practice);
                let at = bundle["entry"].as_array().expect("entries").last().expect("the practice")["fullUrl"].clone();
                resource(bundle, "Patient")["generalPractitioner"] = json!([{ "reference": at }]);
            }),
            &["Organization"],
        ),
        // What is in the record in other words is not.
        (Box::new(move |bundle| resource(bundle, "Patient")["meta"]["security"] = label("N")), &[]),
        (
            Box::new(|bundle| {
                let clinical = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical";
                resource(bundle, "AllergyIntolerance")["clinicalStatus"] =
                    json!({ "coding": [{ "system": clinical, "code": "active", "display": "Active" }] });
                resource(bundle, "AllergyIntolerance")["category"] = json!(["medication"]);
            }),
            &[],
        ),
    ];
    for (place, (change, more)) in cases.into_iter().enumerate() {
        let mut found = named(&reader.of(change)["unread"], "what");
        for known in &plain {
            if let Some(at) = found.iter().position(|each| each == known) {
                found.remove(at);
            }
        }
        found.sort();
        let mut more = more.to_vec();
        more.sort_unstable();
        assert_eq!(found, more, "case {place}; without it: {plain:?}");
    }
}

#[test]
fn a_section_that_says_none_keeps_what_is_written_in_it() {
    let empty = json!({ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/list-empty-reason", "code": "nilknown" }] });
    let seen = Reader::new().of(|bundle| {
        let text = generated("None recorded, patient not asked");
        add(bundle, summary(&json!({ "section": [{ "title": "Allergies", "emptyReason": empty, "text": text }] })));
    });
    let narrative = seen["record"]["nilKnown"][0]["narrative"].as_str().expect("it is in the record");
    assert!(narrative.contains("patient not asked"), "{narrative}");
}

#[test]
fn what_is_no_answer_is_missing() {
    let reader = Reader::new();
    let missing = |change: &dyn Fn(&mut Value)| named(&reader.of(change)["missing"], "path");
    let none: [&str; 0] = [];
    assert_eq!(missing(&|_| {}), none);
    let absent = |code: &str| json!({ "coding": [{ "system": "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips", "code": code }] });
    assert_eq!(
        missing(&|bundle| {
            let patient = resource(bundle, "Patient");
            patient["telecom"] = json!([{ "system": "phone", "use": "mobile" }]);
            patient.as_object_mut().expect("an object").remove("address");
        }),
        ["person.phones"]
    );
    assert_eq!(
        missing(&|bundle| {
            let assessment = resource(bundle, "RiskAssessment");
            assessment["status"] = json!("registered");
            for name in ["prediction", "note", "mitigation"] {
                assessment.as_object_mut().expect("an object").remove(name);
            }
        }),
        ["risks"]
    );
    assert_eq!(
        missing(&|bundle| resource(bundle, "AllergyIntolerance")["code"] = absent("no-allergy-info")),
        ["allergies"]
    );
    assert_eq!(missing(&|bundle| resource(bundle, "AllergyIntolerance")["code"] = absent("no-known-allergies")), none);
    assert_eq!(
        missing(&|bundle| {
            resource(bundle, "AllergyIntolerance")["code"] = json!({ "extension": [{
                "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "not-asked" }] });
        }),
        ["allergies"]
    );
    assert_eq!(
        missing(&|bundle| {
            resource(bundle, "MedicationStatement")["medicationCodeableConcept"] = absent("no-medication-info");
        }),
        ["medications"]
    );
    assert_eq!(
        missing(&|bundle| {
            resource(bundle, "MedicationStatement")["dosage"] =
                json!([{ "asNeededBoolean": true, "route": { "text": "by mouth" } }]);
        }),
        ["medications[0].doses"]
    );
}

#[test]
fn the_clock_is_that_of_the_request() {
    let reader = Reader::new();
    let seen = reader.of(|bundle| {
        resource(bundle, "ServiceRequest")["priority"] = json!("stat");
        let task = json!({ "fullUrl": format!("urn:uuid:{}", Uuid::new_v4()), "resource": {
            "resourceType": "Task", "status": "requested", "intent": "order", "priority": "routine",
            "description": "Send a letter", "for": { "reference": PATIENT },
        } });
        bundle["entry"].as_array_mut().expect("entries").insert(1, task);
    });
    assert_eq!((&seen["priority"], &seen["record"]["priority"]), (&json!("stat"), &json!("stat")));
}

#[test]
fn what_has_ended_stands_behind_what_is_current() {
    let seen = Reader::new().of(|bundle| {
        let patient = resource(bundle, "Patient");
        let ended = json!({ "end": "2020-01-01" });
        patient["address"] = json!([
            { "use": "home", "line": ["1 Former Road"], "period": ended },
            { "use": "home", "line": ["2 Present Road"], "period": { "start": "2020-01-01" } },
        ]);
        patient["telecom"] = json!([
            { "system": "phone", "value": "01632 960001", "period": ended },
            { "system": "phone", "value": "01632 960002", "period": { "end": "2099-01-01" } },
        ]);
        patient["name"] = json!([
            { "use": "official", "family": "Former", "period": { "end": "2018-05" } },
            { "use": "official", "family": "Present" },
        ]);
        add(bundle, json!({ "resourceType": "RelatedPerson", "active": false, "patient": { "reference": PATIENT }, "name": [{ "text": "Gone" }] }));
    });
    let person = &seen["record"]["person"];
    assert_eq!(person["addressLines"], json!(["2 Present Road"]));
    assert_eq!(named(&person["phones"], "number"), ["01632 960002"]);
    assert_eq!(person["family"], "Present");
    assert_eq!(person["names"][0]["until"], "2018-05");
    let contacts = seen["record"]["contacts"].to_string();
    assert!(!contacts.contains("Gone"), "{contacts}");
    let unread = named(&seen["unread"], "what");
    for what in ["Patient.address", "Patient.telecom", "RelatedPerson"] {
        assert!(unread.iter().any(|each| each == what), "{what}: {unread:?}");
    }
}

#[test]
fn what_is_said_of_another_by_number_alone_is_not_the_persons() {
    let about = |number: &str| json!({ "identifier": { "system": NHS_NUMBER, "value": number }, "display": "her son" });
    let reader = Reader::new();
    let risk = |subject: Value| json!({ "resourceType": "RiskAssessment", "status": "final", "subject": subject, "code": { "text": "Told by number" } });
    let other = reader.of(|bundle| add(bundle, risk(about("9990006008"))));
    let own = reader.of(|bundle| add(bundle, risk(about("9990005087"))));
    let texts = |seen: &Value| seen["record"]["risks"].to_string().contains("Told by number");
    assert!(!texts(&other), "{:#}", other["record"]["risks"]);
    assert!(named(&other["unread"], "what").iter().any(|each| each == "RiskAssessment"));
    assert!(texts(&own), "{:#}", own["record"]["risks"]);
}

#[test]
fn references_are_found_however_they_are_written() {
    let reader = Reader::new();
    let plain = reader.of(|_| {})["record"].clone();
    // RESTful URLs and relative references; with the version; and an ODS code as BaRS's examples spell its system.
    for (url, reference) in [
        ("https://trust.example/r4/", ""),
        ("https://trust.example/r4/", "https://trust.example/r4/"),
        ("urn:uuid:", ""),
    ] {
        let seen = reader.of(|bundle| {
            let mut text = bundle.to_string();
            let entries = bundle["entry"].as_array().expect("entries").clone();
            for entry in &entries {
                let resource = &entry["resource"];
                let name = entry["fullUrl"].as_str().expect("a URL");
                let id = name.trim_start_matches("urn:uuid:");
                let local = format!("{}/{id}", resource["resourceType"].as_str().expect("a type"));
                text = text
                    .replace(&format!("\"reference\":\"{name}\""), &format!("\"reference\":\"{reference}{local}\""));
                if url.starts_with("https") {
                    text = text.replace(&format!("\"fullUrl\":\"{name}\""), &format!("\"fullUrl\":\"{url}{local}\""));
                }
            }
            *bundle = serde_json::from_str(&text.replace("/Id/ods-", "/id/ods-")).expect("it is JSON");
            for (entry, was) in bundle["entry"].as_array_mut().expect("entries").iter_mut().zip(&entries) {
                let name = was["fullUrl"].as_str().expect("a URL");
                entry["resource"]["id"] = json!(name.trim_start_matches("urn:uuid:"));
            }
        });
        let mut record = seen["record"].clone();
        record["messageId"] = plain["messageId"].clone();
        assert_eq!(record, plain, "{url} {reference}");
    }
}

#[test]
fn a_reference_to_what_was_not_sent_turns_nobody_away() {
    let seen = Reader::new().of(|bundle| {
        resource(bundle, "Encounter")["episodeOfCare"] = json!([{ "reference": "EpisodeOfCare/0d8b2f6e" }]);
    });
    let unread = named(&seen["unread"], "what");
    assert!(unread.iter().any(|each| each.starts_with("Encounter")), "{unread:?}");
}

#[test]
fn the_numbers_to_call_back_are_those_of_who_refers() {
    let seen = Reader::new().of(|bundle| {
        resource(bundle, "MessageHeader")["source"]["contact"] = json!({ "system": "phone", "value": "01632 960003" });
        add(bundle, json!({ "resourceType": "Practitioner", "name": [{ "family": "Bystander" }], "telecom": [{ "system": "phone", "value": "01632 960009" }] }));
    });
    let numbers = named(&seen["record"]["phones"], "number");
    assert!(numbers.iter().any(|number| number == "01632 960003"), "{numbers:?}");
    assert!(!numbers.iter().any(|number| number == "01632 960009"), "{numbers:?}");
    let practitioners = seen["record"]["practitioner"].as_array().expect("practitioners");
    let refers: Vec<_> = practitioners.iter().map(|who| (who["family"].as_str(), who["refers"].as_bool())).collect();
    assert!(refers.contains(&(Some("Bystander"), None)), "{refers:?}");
    assert_eq!(refers.iter().filter(|(_, refers)| *refers == Some(true)).count(), 1, "{refers:?}");
}

#[test]
fn what_cannot_be_told_is_null_and_no_empty_list() {
    let reader = Reader::new();
    let seen = reader.of(|_| {});
    assert!(seen["missing"].is_array() && seen["unread"].is_array(), "{seen:#}");
    let site = reader.bench.kill();
    change(&site, "gateway/weir.toml", |text| text.replace("[interfaces.referral-in]", "[interfaces.referrals]"));
    let bench = Bench::of(site);
    let seen = bench.get(&format!("/inbound/{}", seen["id"].as_str().expect("an id")), &[]).json();
    assert!(seen["record"].is_object(), "{seen:#}");
    assert_eq!((seen.get("missing"), seen.get("unread")), (Some(&Value::Null), Some(&Value::Null)));
}
