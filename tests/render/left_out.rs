//! What would be left out without a word, and what is said of the withheld that is not so.

use serde_json::{Value, json};

use super::{assert_safe, entries, shown, words};

fn html_of(resources: &[Value]) -> String {
    let html = shown(&json!({ "resourceType": "Bundle", "entry": entries(resources) }));
    assert_safe(&html);
    html
}

fn page_of(resources: &[Value]) -> String {
    words(&html_of(resources))
}

fn request() -> Value {
    json!({ "resourceType": "ServiceRequest", "status": "active", "intent": "order", "code": { "text": "Visit" } })
}

#[test]
fn who_is_named_and_not_in_the_message_is_named_on_the_page() {
    let surgery = json!({ "display": "Old Town Surgery", "identifier": { "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": "Y12345" } });
    let person = json!({ "resourceType": "Patient", "name": [{ "text": "Ann Example" }],
        "generalPractitioner": [surgery], "managingOrganization": { "display": "New Town Trust" } });
    let note =
        json!({ "authorReference": { "display": "Neighbour" }, "time": "2026-03-01", "text": "Took 30 tablets" });
    let page =
        page_of(&[person, json!({ "resourceType": "Condition", "code": { "text": "Overdose" }, "note": [note] })]);
    for part in [
        "General practice Old Town Surgery · ODS code Y12345",
        "Managing organization New Town Trust",
        "Note: Took 30 tablets (Neighbour, 1 March 2026)",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn each_role_of_somebody_says_whose_it_is() {
    let role = |words: &str, number: &str| {
        json!({ "resourceType": "PractitionerRole", "practitioner": { "reference": "urn:uuid:0" }, "code": [{ "text": words }],
            "telecom": [{ "system": "phone", "value": number }] })
    };
    let doctor = json!({ "resourceType": "Practitioner", "name": [{ "text": "Dr Kay" }] });
    let page = page_of(&[doctor, role("Consultant", "01632 960001"), role("Duty lead", "01632 960002")]);
    for part in
        ["Also named Dr Kay · Consultant · phone 01632 960001", "Also named Dr Kay · Duty lead · phone 01632 960002"]
    {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn a_consent_says_of_what_it_is_and_only_one_to_share_is_a_warning() {
    let data = json!([{ "meaning": "instance", "reference": { "display": "Safeguarding notes" } }]);
    let consent = json!({ "resourceType": "Consent", "status": "active", "scope": { "text": "Sharing" },
        "provision": { "type": "permit", "provision": [{ "type": "deny", "data": data }] } });
    let page = page_of(&[consent]);
    assert!(page.contains("Type: deny Meaning: instance Reference: Safeguarding notes"), "{page}");
    let rejected = |scope: &str| {
        let coding = json!({ "system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": scope });
        page_of(&[json!({ "resourceType": "Consent", "status": "rejected", "scope": { "coding": [coding] } })])
    };
    let warning = "The person has refused sharing";
    assert!(rejected("patient-privacy").contains(warning) && rejected("other").contains(warning));
    assert!(!rejected("research").contains(warning) && !rejected("treatment").contains(warning));
}

#[test]
fn whatever_is_withheld_is_in_the_notice_and_nothing_else_is() {
    let notice = "Part of the record was withheld from you";
    let nothing = "Nothing in the message is marked as withheld.";
    let masked = json!({ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "masked", "display": "Masked" }] });
    let firearms = json!({ "resourceType": "Observation", "status": "final", "code": { "text": "Access to firearms" }, "dataAbsentReason": masked });
    let html = html_of(std::slice::from_ref(&firearms));
    let page = words(&html);
    assert!(page.contains(notice) && page.contains("Masked: Observation value."), "{page}");
    assert!(!page.contains(nothing), "{page}");
    assert!(html.contains("Value: </span><span class=\"withheld\">withheld</span>"), "{html}");

    let reason = json!({ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/list-empty-reason", "code": "withheld" }] });
    let section = json!({ "title": "Safeguarding", "emptyReason": reason });
    let summary = json!({ "resourceType": "Composition", "title": "Notes", "section": [section] });
    let page = page_of(&[request(), summary]);
    assert!(page.contains(notice) && page.contains("Not sent: Safeguarding all of it."), "{page}");
    assert!(page.contains("Not in the message Risks nothing was received, and nothing says why: ask if it matters Safeguarding withheld"), "{page}");

    let labelled = |code: &str, display: &str| {
        let label = json!({ "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": code, "display": display });
        page_of(&[
            json!({ "resourceType": "Flag", "code": { "text": "Lives alone" }, "meta": { "security": [label] } }),
        ])
    };
    let page = labelled("N", "normal");
    assert!(!page.contains(notice) && page.contains(nothing) && page.contains("normal: Flag"), "{page}");
    let page = labelled("V", "very restricted");
    assert!(!page.contains(notice) && page.contains("Very restricted (V): Flag"), "{page}");
    assert!(labelled("REDACTED", "redacted").contains(notice));
}

#[test]
fn a_flag_of_something_else_says_nothing_of_safeguarding() {
    let flag = |words: &str| json!({ "resourceType": "Flag", "status": "active", "code": { "text": words } });
    let warning = "Safeguarding nothing was received";
    assert!(page_of(&[request(), flag("Large print letters")]).contains(warning));
    assert!(!page_of(&[request(), flag("Safeguarding concern: neglect")]).contains(warning));
    assert!(!page_of(&[request(), flag("Child protection plan")]).contains(warning));
}
