//! What the banner does not say stands below it.

use serde_json::{Value, json};

use super::{assert_safe, shown, words};

/// The banner and the rest of the page of some resources, in words.
fn parts(resources: &[Value]) -> (String, String) {
    let entries: Vec<Value> = resources
        .iter()
        .enumerate()
        .map(|(place, of)| json!({ "fullUrl": format!("urn:uuid:{place}"), "resource": of }))
        .collect();
    let html = shown(&json!({ "resourceType": "Bundle", "timestamp": "2026-03-02T08:00:00Z", "entry": entries }));
    assert_safe(&html);
    let page = words(&html);
    let (banner, rest) = page.split_once(" Person ").expect("there is a person");
    (format!("{banner} Person"), rest.split(" What was withheld ").next().unwrap_or_default().to_owned())
}

fn request(more: Value) -> Value {
    let mut request =
        json!({ "resourceType": "ServiceRequest", "status": "active", "intent": "order", "code": { "text": "Visit" } });
    request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    request
}

#[test]
fn a_time_of_any_shape_is_in_the_banner_or_below_it() {
    let masked = json!({ "extension": [{ "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked" }] });
    let daily = |more: Value| {
        let mut repeat = json!({ "frequency": 1, "period": 1, "periodUnit": "d" });
        repeat.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({ "occurrenceTiming": { "repeat": repeat } })
    };
    for (occurrence, by, below) in [
        // When it ends is not by when it begins: the whole sentence.
        (
            daily(json!({ "boundsPeriod": { "end": "2026-03-02T12:00:00Z" } })),
            "Respond by once a day, until 12:00 on Mon 2 March 2026 UK time",
            "",
        ),
        (daily(json!({})), "Respond by No end is given; once a day Person", ""),
        (
            json!({ "occurrenceTiming": { "event": ["2026-03-03T09:00:00Z", "2026-03-04T09:00:00Z"] } }),
            "Respond by at 09:00 on Tue 3 March 2026 and 09:00 on Wed 4 March 2026 UK time",
            "",
        ),
        (
            json!({ "occurrenceTiming": { "event": vec!["2026-03-03T09:00:00Z"; 20] } }),
            "Respond by at 09:00 on Tue 3 March 2026",
            "Occurrence: at 09:00 on Tue 3 March 2026",
        ),
        (
            json!({ "occurrencePeriod": { "start": "2026-03-02T10:00:00Z", "end": "2026-03-02T12:00:00Z" } }),
            "Respond by 12:00 on Mon 2 March 2026 UK time",
            "Occurrence: from 10:00 on Mon 2 March 2026 to 12:00 on Mon 2 March 2026",
        ),
        (
            json!({ "occurrencePeriod": { "start": "2026-03-02T10:00:00Z" } }),
            "Respond by No end is given; from 10:00 on Mon 2 March 2026 UK time",
            "",
        ),
        (
            json!({ "occurrencePeriod": { "start": "2026-03-02T10:00:00Z", "_end": masked } }),
            "Respond by withheld",
            "Occurrence: from 10:00 on Mon 2 March 2026 (part withheld)",
        ),
        // What the banner says is not said again: its end, a start that is the message's own time.
        (
            json!({ "occurrencePeriod": { "start": "2026-03-02T08:00:00Z", "end": "2026-03-02T12:00:00Z" } }),
            "Respond by 12:00 on Mon 2 March 2026 UK time",
            "",
        ),
        (json!({ "occurrenceDateTime": "2026-03-02T12:00:00Z" }), "Respond by 12:00 on Mon 2 March 2026 UK time", ""),
        (json!({ "occurrenceTiming": masked }), "Respond by withheld", ""),
        (json!({}), "Respond by No time is given", ""),
    ] {
        let (banner, rest) = parts(&[request(occurrence.clone())]);
        assert!(banner.contains(by), "{occurrence}: {banner}");
        match below {
            "" => assert!(!rest.contains("Service request"), "{occurrence}: {rest}"),
            below => assert!(rest.contains(&format!("Service request {below}")), "{occurrence}: {rest}"),
        }
    }
}

#[test]
fn whoever_is_asked_is_named_although_the_message_does_not_hold_them() {
    let team = json!({ "display": "Old Town Crisis Team", "identifier": { "system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": "DEMOX" } });
    let (banner, rest) = parts(&[request(json!({ "performer": [team, { "identifier": { "value": "DEMOY" } }] }))]);
    assert!(banner.contains("Asked of Old Town Crisis Team; DEMOY"), "{banner}");
    assert!(!rest.contains("Performer"), "{rest}");
    let task = json!({ "resourceType": "Task", "status": "requested", "intent": "order", "owner": { "reference": "Organization/9" },
        "code": { "coding": [{ "system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill" }] } });
    let (banner, _) = parts(&[task]);
    assert!(banner.contains("Asked of Organization (not in the message)"), "{banner}");
}

#[test]
fn what_another_request_says_is_not_lost_behind_the_most_pressing_one() {
    let other = json!({ "resourceType": "ServiceRequest", "status": "active", "intent": "order", "code": { "text": "Blood test" },
        "priority": "routine", "category": [{ "text": "Laboratory" }], "requester": { "display": "Dr Far" } });
    let asking = json!({ "resourceType": "Practitioner", "name": [{ "text": "Dr Near" }] });
    let first = request(json!({ "priority": "stat", "requester": { "reference": "urn:uuid:2" } }));
    let (banner, rest) = parts(&[first, other, asking]);
    assert!(banner.contains("Visit Blood test Priority At once (stat)"), "{banner}");
    for part in
        ["Service request: Blood test Priority: routine Category: Laboratory Requester: Dr Far", "Asked by Dr Near"]
    {
        assert!(rest.contains(part), "{part}\n{rest}");
    }
    assert!(!rest.contains("Visit"), "{rest}");
    // A task that asks for something else than to do what the request says.
    let task = |code: &str, display: &str| {
        let coding = json!({ "system": "http://hl7.org/fhir/CodeSystem/task-code", "code": code, "display": display });
        json!({ "resourceType": "Task", "status": "requested", "intent": "order", "code": { "coding": [coding] } })
    };
    let (_, rest) = parts(&[request(json!({})), task("abort", "Mark the focal resource as no longer active")]);
    assert!(rest.contains("Mark the focal resource as no longer active"), "{rest}");
    let (_, rest) = parts(&[request(json!({})), task("fulfill", "Fulfill the focal request")]);
    assert!(!rest.contains("Fulfill"), "{rest}");
    // A priority of the sender's own beside a code that is none of FHIR's.
    let own = json!([{ "url": "https://provider.example/response-priority", "valueCoding": { "display": "Within the hour" } }]);
    let (banner, _) = parts(&[request(json!({ "priority": "p1", "extension": own }))]);
    assert!(banner.contains("Priority Within the hour: p1"), "{banner}");
}

/// An extension may be called like an element that the banner says.
#[test]
fn an_extension_is_never_taken_for_what_the_banner_says() {
    let extension = json!([{ "url": "https://provider.example/occurrence", "valueString": "twice before" },
        { "url": "https://provider.example/period", "valueString": "autumn" }]);
    let (_, rest) = parts(&[request(json!({ "occurrenceDateTime": "2026-03-02T12:00:00Z", "extension": extension }))]);
    assert!(rest.contains("Service request Occurrence: twice before Period: autumn"), "{rest}");
}

/// As many as anybody sends of what R4 has once: the page is made in seconds.
#[test]
fn a_request_that_is_made_to_be_dear_is_not() {
    let many = |one: Value| vec![one; 20_000];
    let dear = request(
        json!({ "requester": many(json!({ "display": "Dr Far" })), "code": many(json!({ "text": "Visit" })),
        "performer": many(json!({ "display": "Team" })), "occurrencePeriod": many(json!({ "start": "2026-03-02T10:00:00Z" })),
        "category": many(json!({ "text": "Care" })) }),
    );
    let started = std::time::Instant::now();
    let html = shown(
        &json!({ "resourceType": "Bundle", "entry": [{ "resource": dear }, { "resource": request(json!({})) }] }),
    );
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert_safe(&html);
}

/// Nor for what the person's section has a line for.
#[test]
fn an_extension_of_the_person_or_a_contact_is_shown_whatever_it_is_called() {
    let own =
        |name: &str, value: &str| json!({ "url": format!("https://provider.example/{name}"), "valueString": value });
    let person = json!({
        "resourceType": "Patient",
        "name": [{ "family": "Sampleperson" }],
        "extension": [own("name", "Called Sam at home"), own("address", "Sleeps at a friend's")],
        "contact": [{ "name": { "text": "Jo" }, "extension": [own("relationship", "No longer speaks with them")] }],
    });
    let (_, rest) = parts(&[request(json!({})), person]);
    for said in ["Called Sam at home", "Sleeps at a friend", "No longer speaks with them"] {
        assert!(rest.contains(said), "{said}: {rest}");
    }
}

#[test]
fn a_number_is_called_verified_only_where_every_code_says_so() {
    let status = |concept: Value| {
        let extension = json!({ "url": "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus", "valueCodeableConcept": concept });
        let identifier =
            json!({ "system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9990001014", "extension": [extension] });
        parts(&[json!({ "resourceType": "Patient", "identifier": [identifier] })]).1
    };
    for (concept, said) in [
        (json!({ "coding": [{ "code": "01" }] }), "999 000 1014 (verified)"),
        (json!({ "coding": [{ "code": "number-present-and-verified" }] }), "999 000 1014 (verified)"),
        (json!({ "coding": [{ "code": "01" }, { "code": "02" }] }), "999 000 1014 (not verified: status 02)"),
        (json!({ "text": "Being traced" }), "999 000 1014 (not verified: status Being traced)"),
    ] {
        let person = status(concept.clone());
        assert!(person.contains(said), "{concept}: {person}");
    }
}
