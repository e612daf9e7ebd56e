//! What the banner does not say stands below it.

use serde_json::{Value, json};

use super::{assert_safe, entries, shown, words};

/// The banner and the rest of the page of some resources, in words.
fn parts(resources: &[Value]) -> (String, String) {
    let html =
        shown(&json!({ "resourceType": "Bundle", "timestamp": "2026-03-02T08:00:00Z", "entry": entries(resources) }));
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
    assert!(banner.contains("Visit Blood test Visit Priority At once (stat)"), "{banner}");
    for part in [
        "Service request: Blood test Priority: routine Category: Laboratory Requester: Dr Far",
        "Service request: Visit Priority: stat Requester: Dr Near",
        "Asked by Dr Near Asked by Dr Far",
    ] {
        assert!(rest.contains(part), "{part}\n{rest}");
    }
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
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
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

/// Of two requests each has its own priority, time, team and number, in the banner and below it.
#[test]
fn what_is_said_of_one_request_is_not_read_as_said_of_another() {
    let phone = |number: &str| json!([{ "system": "phone", "value": number }]);
    let person = |name: &str, number: &str| json!({ "resourceType": "Practitioner", "name": [{ "text": name }], "telecom": phone(number) });
    let of = |more: Value, end: &str, asker: &str, team: &str| {
        let mut request = request(more);
        request["occurrencePeriod"] = json!({ "end": end });
        request["requester"] = json!({ "reference": asker });
        request["performer"] = json!([{ "display": team }]);
        request
    };
    let home = of(
        json!({ "code": { "text": "Assess at home" }, "priority": "routine" }),
        "2026-03-02T10:00:00Z",
        "urn:uuid:2",
        "Team A",
    );
    let act = of(
        json!({ "code": { "text": "Mental Health Act assessment" }, "priority": "stat" }),
        "2026-03-02T18:00:00Z",
        "urn:uuid:3",
        "Team B",
    );
    let task = json!({ "resourceType": "Task", "status": "requested", "intent": "order", "focus": { "reference": "urn:uuid:0" },
        "code": { "coding": [{ "system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill" }] },
        "owner": { "display": "Duty desk" }, "restriction": { "period": { "end": "2026-03-02T09:00:00Z" } } });
    let (banner, rest) = parts(&[home, act, person("Lee", "01632 960001"), person("Dr Bee", "01632 960002"), task]);
    assert_eq!(
        banner,
        "A Bundle without a message header Mental Health Act assessment Assess at home \
         Mental Health Act assessment Priority At once (stat) Respond by 18:00 on Mon 2 March 2026 UK time Asked of Team B Call back phone 01632 960002 · Dr Bee \
         Assess at home Priority Routine Respond by 09:00 on Mon 2 March 2026 UK time also: 10:00 on Mon 2 March 2026 UK time \
         Asked of Team A; Duty desk Call back phone 01632 960001 · Lee Person"
    );
    for part in [
        "Service request: Assess at home Priority: routine Occurrence: until 10:00 on Mon 2 March 2026 Requester: Lee Performer: Team A",
        "Service request: Mental Health Act assessment Priority: stat Occurrence: until 18:00 on Mon 2 March 2026 Requester: Dr Bee Performer: Team B",
    ] {
        assert!(rest.contains(part), "{part}\n{rest}");
    }
}

#[test]
fn what_turns_one_of_several_requests_is_said_of_that_one() {
    let visit = || request(json!({ "code": { "text": "Visit at home" }, "priority": "urgent" }));
    let (banner, rest) =
        parts(&[visit(), request(json!({ "code": { "text": "Inform the father" }, "doNotPerform": true }))]);
    for part in [
        "header Visit at home Do not perform: Inform the father Visit at home Priority Urgent",
        "Do not perform: Inform the father Priority Not given",
        "Inform the father: Do not perform: yes",
    ] {
        assert!(banner.contains(part), "{part}\n{banner}");
    }
    assert!(rest.contains("Service request: Inform the father Do not perform: yes"), "{rest}");
    let (banner, _) = parts(&[visit(), request(json!({ "code": { "text": "Blood test" }, "status": "revoked" }))]);
    assert!(
        banner.contains("header Visit at home Priority Urgent") && banner.contains("Blood test: Status: revoked"),
        "{banner}"
    );
    let (banner, rest) =
        parts(&[visit(), request(json!({ "code": {}, "priority": "stat", "reasonCode": [{ "text": "Overdose" }] }))]);
    let nameless = "A request that does not say what is asked";
    assert!(
        banner.contains(&format!("header {nameless} Visit at home {nameless} Priority At once (stat)")),
        "{banner}"
    );
    assert!(banner.contains("Visit at home Priority Urgent"), "{banner}");
    assert!(rest.contains("Service request Priority: stat Reason code: Overdose"), "{rest}");
    // What is left of one that was called off is not said of the other.
    let task = json!({ "resourceType": "Task", "status": "requested", "intent": "order", "priority": "stat", "focus": { "reference": "urn:uuid:1" },
        "code": { "coding": [{ "system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill", "display": "Do it" }] } });
    let (banner, _) =
        parts(&[visit(), request(json!({ "code": { "text": "Blood test" }, "status": "revoked" })), task]);
    for part in ["Do it Priority At once (stat)", "Visit at home Priority Urgent", "Blood test: Status: revoked"] {
        assert!(banner.contains(part), "{part}\n{banner}");
    }
    // More than there is room for stand below, with all that they say.
    let many: Vec<Value> =
        (0..9).map(|place| request(json!({ "code": { "text": format!("Visit {place}") } }))).collect();
    let (banner, rest) = parts(&many);
    assert!(banner.contains("Visit 5 Priority") && !banner.contains("Visit 6 Priority"), "{banner}");
    assert!(banner.contains("What else is asked stands below: 3 more"), "{banner}");
    assert!(rest.contains("Service request: Visit 8"), "{rest}");
}

/// Whose number it is stands beside it; of somebody who did not ask for it none stands in their place.
#[test]
fn a_number_to_call_back_is_that_of_whoever_asks() {
    let named =
        |kind: &str, name: Value, telecom: Value| json!({ "resourceType": kind, "name": name, "telecom": telecom });
    let phone = |number: &str| json!([{ "system": "phone", "value": number }]);
    let clerk = || named("Practitioner", json!([{ "text": "Records clerk" }]), phone("01632 960077"));
    let written =
        || json!({ "resourceType": "Composition", "title": "Escalation", "author": [{ "reference": "urn:uuid:2" }] });
    let asked = |requester: Value| request(json!({ "priority": "stat", "requester": requester }));
    let to = |place: u8| json!({ "reference": format!("urn:uuid:{place}") });
    let near = |telecom: Value| named("Practitioner", json!([{ "text": "Dr Near" }]), telecom);
    let role = json!({ "resourceType": "PractitionerRole", "practitioner": to(4), "organization": to(5) });
    let team = || named("Organization", json!("Home Team"), phone("01632 960055"));
    let call_back = |resources: &[Value]| {
        let (banner, rest) = parts(resources);
        let said = banner.split_once("Call back ").unwrap_or_else(|| panic!("{banner}")).1.to_owned();
        (said, rest)
    };
    // The practitioner of a role before its team.
    let (said, _) = call_back(&[asked(to(3)), written(), clerk(), role.clone(), near(phone("01632 960088")), team()]);
    assert_eq!(said, "phone 01632 960088 · Dr Near Person");
    let (said, rest) = call_back(&[asked(to(3)), written(), clerk(), role, near(json!([])), team()]);
    assert_eq!(said, "phone 01632 960055 · Home Team Person");
    assert!(rest.contains("Asked by Dr Near") && rest.contains("Written by Records clerk"), "{rest}");
    // Nobody else's where there is none.
    let (said, rest) = call_back(&[asked(json!({ "display": "Dr Far" })), written(), clerk()]);
    assert_eq!(said, "No number of Dr Far is in the message Person");
    assert!(rest.contains("Asked by Dr Far Written by Records clerk · phone 01632 960077"), "{rest}");
    // One that was called off is not the one to call.
    let mut revoked = asked(to(2));
    revoked["status"] = json!("revoked");
    let (said, _) = call_back(&[revoked, asked(to(3)), clerk(), near(phone("01632 960088"))]);
    assert_eq!(said.split(" Service").next(), Some("phone 01632 960088 · Dr Near Visit: Status: revoked Person"));
    // Nobody is said to ask: whoever wrote it.
    let (said, _) = call_back(&[request(json!({})), written(), clerk()]);
    assert_eq!(said, "phone 01632 960077 · Records clerk Person");
}

#[test]
fn a_number_that_is_no_longer_theirs_or_takes_no_call_is_not_called_back() {
    let extension =
        json!([{ "url": "http://hl7.org/fhir/StructureDefinition/contactpoint-extension", "valueString": "4412" }]);
    let telecom = json!([
        { "system": "phone", "value": "01632 960111", "use": "old", "period": { "end": "2024-01-01" } },
        { "system": "fax", "value": "01632 960112" },
        { "system": "email", "value": "near@provider.example" },
        { "system": "phone", "value": "01632 960113", "period": { "end": "2026-03-01" } },
        { "system": "phone", "value": "01632 960114", "rank": 2 },
        { "system": "phone", "value": "01632 960115", "rank": 1, "extension": extension },
        { "system": "phone", "value": "01632 960116" },
    ]);
    let near = json!({ "resourceType": "Practitioner", "name": [{ "text": "Dr Near" }], "telecom": telecom });
    let (banner, rest) = parts(&[request(json!({ "requester": { "reference": "urn:uuid:1" } })), near]);
    assert!(banner.contains("Call back phone 01632 960115, extension 4412 · Dr Near"), "{banner}");
    assert!(rest.contains("phone 01632 960115, extension 4412"), "{rest}");
}

#[test]
fn a_day_ends_after_its_hours_and_the_hour_that_comes_twice_says_which_it_is() {
    let at = |time: &str| request(json!({ "code": { "text": time }, "occurrenceDateTime": time }));
    let task = |end: &str| {
        json!({ "resourceType": "Task", "status": "requested", "intent": "order", "restriction": { "period": { "end": end } },
        "code": { "coding": [{ "system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill" }] } })
    };
    for (times, by) in [
        (["2026-04-01", "2026-03-02T12:00:00Z"], "12:00 on Mon 2 March 2026 UK time also: 1 April 2026"),
        (["2026-03-02", "2026-03-02T12:00:00Z"], "12:00 on Mon 2 March 2026 UK time also: 2 March 2026"),
        (["2026-03", "2026-03-30"], "30 March 2026 also: March 2026"),
        (["soon", "2026-03-30"], "30 March 2026 also: soon"),
        (
            ["2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z"],
            "01:30 BST on Sun 25 October 2026 UK time also: 01:30 GMT on Sun 25 October 2026 UK time",
        ),
        (["2026-03-02T12:00:00Z", "2026-03-02T13:00:00+01:00"], "12:00 on Mon 2 March 2026 UK time Person"),
    ] {
        let (banner, _) = parts(&[at(times[0]), task(times[1])]);
        assert!(banner.contains(&format!("Respond by {by}")), "{by}\n{banner}");
    }
}

/// HL7's task codes are an example of FHIR's: a task of any code asks, where no request does.
#[test]
fn whatever_is_urgent_is_in_the_banner() {
    let task = |more: Value| {
        let mut task = json!({ "resourceType": "Task", "status": "requested", "intent": "order", "code": { "text": "Assess at home" },
            "priority": "stat", "restriction": { "period": { "end": "2026-03-02T10:00:00Z" } } });
        task.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        task
    };
    let (banner, rest) = parts(&[task(json!({}))]);
    let expected = "header Assess at home Priority At once (stat) Respond by 10:00 on Mon 2 March 2026 UK time";
    assert!(banner.contains(expected), "{banner}");
    assert!(!rest.contains("Assess at home"), "{rest}");
    // Beside a request other work is no second request, but one that cannot wait is told of.
    let medicine = json!({ "resourceType": "MedicationRequest", "status": "active", "intent": "order", "priority": "asap",
        "medicationCodeableConcept": { "text": "Lorazepam" } });
    let (banner, _) = parts(&[request(json!({})), task(json!({})), medicine.clone()]);
    assert!(banner.contains("header Visit Priority Not given Respond by No time is given"), "{banner}");
    for alert in ["At once (stat): Task Assess at home", "As soon as possible (asap): Medication request Lorazepam"] {
        assert!(banner.contains(alert), "{alert}\n{banner}");
    }
    let mut stopped = medicine;
    stopped["status"] = json!("stopped");
    let (banner, _) = parts(&[request(json!({})), task(json!({ "status": "completed" })), stopped]);
    assert!(!banner.contains("At once") && !banner.contains("As soon"), "{banner}");
}

#[test]
fn a_priority_of_the_senders_own_is_never_below_an_urgent_one() {
    let own = |code: &str, words: &str| {
        let coding = json!({ "system": "https://weir.example/fhir/CodeSystem/clinical-response-priority", "code": code, "display": words });
        json!([{ "url": "https://weir.example/fhir/StructureDefinition/weir-clinical-response-priority", "valueCoding": coding }])
    };
    let assess = |extension: Value| request(json!({ "code": { "text": "Assess" }, "extension": extension }));
    let ring = || request(json!({ "code": { "text": "Ring" }, "priority": "urgent" }));
    let of = |extension: Value| parts(&[ring(), assess(extension)]).0;
    let words = json!([{ "url": "https://provider.example/response-priority", "valueCodeableConcept": { "text": "Emergency" } }]);
    for (extension, first) in [
        (own("1", "Emergency"), "Assess Ring Assess Priority Emergency"),
        (words, "Assess Ring Assess Priority Emergency"),
        (json!([]), "Ring Assess Ring Priority Urgent"),
    ] {
        let banner = of(extension);
        assert!(banner.contains(&format!("header {first}")), "{first}\n{banner}");
    }
}
