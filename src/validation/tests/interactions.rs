//! Requests and responses of Bundle entries, and what versions of references name: an entry in, its issues out.

use super::{errors, lines, parse};
use crate::validation::tests::validator;

/// The issues of a Bundle of this type with this entry, without the path to it.
fn of(kind: &str, entry: &str) -> String {
    let json = format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{entry}]}}"#);
    let mut issues = validator().check_document(&parse(&json), None);
    issues.retain(|issue| issue.rule != "dom-6");
    lines(&issues).replace("Bundle.entry[0]", "E")
}

#[track_caller]
fn check(kind: &str, table: &[(&str, &str)]) {
    for (entry, expected) in table {
        assert_eq!(of(kind, entry), *expected, "{kind}: {entry}");
    }
}

const REQUEST: &str = " r4-request";

/// An entry with a request, and a Patient with these members.
fn asks(method: &str, url: &str, patient: &str) -> String {
    format!(
        r#"{{"request":{{"method":"{method}","url":"{url}"}},"resource":{{"resourceType":"Patient","active":true{patient}}}}}"#
    )
}

fn asks_alone(method: &str, url: &str) -> String {
    format!(r#"{{"request":{{"method":"{method}","url":"{url}"}}}}"#)
}

#[track_caller]
fn check_requests(kind: &str, table: &[(String, &str)]) {
    for (entry, expected) in table {
        let expected = if expected.is_empty() { String::new() } else { format!("{expected}{REQUEST}") };
        assert_eq!(of(kind, entry), expected, "{kind}: {entry}");
    }
}

#[test]
fn a_request_names_what_its_method_acts_on() {
    let id = r#","id":"1""#;
    let url = "error value E.request.url";
    for kind in ["transaction", "batch"] {
        check_requests(
            kind,
            &[
                (asks("POST", "Patient", ""), ""),
                (asks("POST", "/Patient", id), ""),
                (asks("POST", "Organization", ""), url),
                (asks("POST", "Patient/1", id), url),
                (asks("POST", "Nothing", ""), url),
                (asks("POST", "Patient/$match", ""), ""),
                (asks("POST", "$process-message", ""), ""),
                (asks("PUT", "Patient/1", id), ""),
                (asks("PUT", "Patient/2", id), url),
                (asks("PUT", "Patient/1", ""), "error required E.resource.id"),
                (asks("PUT", "Organization/1", id), url),
                (asks("PUT", "Patient", id), url),
                (asks("PUT", "Patient?identifier=a", ""), ""),
                (asks("PUT", "Organization?identifier=a", ""), url),
                (asks("PUT", "Patient/1/_history/2", id), url),
                (asks("PATCH", "Patient/1", id), "error value E.resource"),
                (asks_alone("DELETE", "Patient/1"), ""),
                (asks_alone("DELETE", "Patient?identifier=a"), ""),
                (asks_alone("DELETE", "Patient"), url),
                (asks_alone("GET", "Patient?name=a"), ""),
                (asks_alone("GET", "Patient/1/_history/2"), ""),
                (asks_alone("GET", "metadata"), ""),
                (asks_alone("GET", "?_type=Patient"), ""),
                (asks_alone("HEAD", "Pationt/1"), url),
                (asks_alone("GET", "https://s/Patient/1"), "warning value E.request.url"),
            ],
        );
    }
}

#[test]
fn a_request_has_the_body_that_its_method_takes() {
    let id = r#","id":"1""#;
    check_requests(
        "batch",
        &[
            (asks_alone("POST", "Patient"), "error required E.resource"),
            (asks_alone("PUT", "Patient/1"), "error required E.resource"),
            (asks_alone("PATCH", "Patient/1"), "error required E.resource"),
            (asks_alone("POST", "Patient/_search?name=a"), ""),
            (asks_alone("POST", "Patient/1/$everything"), ""),
            (asks("GET", "Patient/1", id), "warning value E.resource"),
            (asks("HEAD", "Patient/1", id), "warning value E.resource"),
            (asks("DELETE", "Patient/1", id), "warning value E.resource"),
        ],
    );
    let patch = r#"{"request":{"method":"PATCH","url":"Patient/1"},"resource":{"resourceType":"Parameters"}}"#;
    check("batch", &[(patch, "")]);
    let twice = r#"{"request":{"method":"GET","url":"Patient","ifNoneExist":"identifier=a"}}"#;
    let marked = r#"{"request":{"method":"POST","url":"Patient","ifNoneExist":"?identifier=a"},"resource":{"resourceType":"Patient","active":true}}"#;
    check(
        "batch",
        &[
            (twice, "warning value E.request.ifNoneExist r4-request"),
            (marked, "error value E.request.ifNoneExist r4-request"),
        ],
    );
}

#[test]
fn a_transaction_acts_once_on_a_resource() {
    let both = format!("{},{}", asks("PUT", "Patient/1", r#","id":"1""#), asks_alone("DELETE", "Patient/1"));
    assert_eq!(of("transaction", &both), "error duplicate Bundle.entry[1].request.url r4-request");
    assert_eq!(of("batch", &both), "");
    let read = format!("{},{}", asks_alone("DELETE", "Patient/1"), asks_alone("GET", "Patient/1"));
    assert_eq!(of("transaction", &read), "");
}

#[test]
fn a_history_says_what_was_asked_for() {
    let entry = |request: &str, rest: &str| {
        format!(
            r#"{{"fullUrl":"https://s/Patient/1","request":{request},"response":{{"status":"200"}},"resource":{{"resourceType":"Patient","id":"1"}}{rest}}}"#
        )
    };
    check(
        "history",
        &[
            (&entry(r#"{"method":"PUT","url":"Patient/1"}"#, ""), ""),
            (&entry(r#"{"method":"PUT","url":"Patient/1/_history/2"}"#, ""), ""),
            (&entry(r#"{"method":"POST","url":"Patient/1/_history/1"}"#, ""), ""),
            (&entry(r#"{"method":"PUT","url":"Patient/2"}"#, ""), "error value E.request.url r4-request"),
            (
                r#"{"fullUrl":"https://s/Patient/1","request":{"method":"DELETE","url":"Patient/1"},"response":{"status":"204"}}"#,
                "",
            ),
        ],
    );
}

#[test]
fn a_response_says_how_it_went() {
    let entry = |response: &str| {
        format!(
            r#"{{"response":{response},"resource":{{"resourceType":"Patient","meta":{{"versionId":"2","lastUpdated":"2026-01-01T00:00:00Z"}}}}}}"#
        )
    };
    let response = |what: &str| format!("{what} r4-response");
    check(
        "batch-response",
        &[
            (&entry(r#"{"status":"200 OK","etag":"W/\"2\"","lastModified":"2026-01-01T01:00:00+01:00"}"#), ""),
            (&entry(r#"{"status":"201"}"#), ""),
            (&entry(r#"{"status":"OK"}"#), &response("error value E.response.status")),
            (&entry(r#"{"status":"2000"}"#), &response("error value E.response.status")),
            (&entry(r#"{"status":"200","etag":"W/\"3\""}"#), &response("error value E.response.etag")),
            (
                &entry(r#"{"status":"200","lastModified":"2026-01-02T00:00:00Z"}"#),
                &response("warning value E.response.lastModified"),
            ),
            (
                &entry(r#"{"status":"200","outcome":{"resourceType":"Basic","code":{"text":"a"}}}"#),
                &response("error value E.response.outcome"),
            ),
        ],
    );
}

#[test]
fn a_full_url_ends_in_the_id_where_it_is_restful() {
    let entry = |url: &str| format!(r#"{{"fullUrl":"{url}","resource":{{"resourceType":"Patient","id":"1"}}}}"#);
    check(
        "collection",
        &[
            (&entry("https://s/fhir/Patient/1"), ""),
            (&entry("https://s/fhir/Patient/2"), "error value E r4-full-url"),
            (&entry("https://s/fhir/Group/1"), "error value E r4-full-url"),
            (&entry("https://s/patients.xml#1"), ""),
            (&entry("urn:oid:1.2.3"), ""),
        ],
    );
}

#[test]
fn a_version_that_the_bundle_does_not_hold_is_told() {
    let of = |kind: &str, reference: &str, version: &str| {
        let json = format!(
            r#"{{"resourceType":"Bundle","type":"{kind}","entry":[
            {{"fullUrl":"https://s/MessageHeader/h","resource":{{"resourceType":"MessageHeader","id":"h","eventUri":"https://e","source":{{"endpoint":"https://e"}}}}}},
            {{"fullUrl":"https://s/Patient/1","resource":{{"resourceType":"Patient","id":"1"{version}}}}},
            {{"fullUrl":"https://s/Flag/1","resource":{{"resourceType":"Flag","id":"1","status":"active","code":{{"text":"a"}},"subject":{{"reference":"{reference}"}}}}}}]}}"#
        );
        let issues = validator().check_document(&parse(&json), None);
        let own: Vec<_> = issues.into_iter().filter(|issue| issue.rule.starts_with("r4-reference")).collect();
        (lines(&own).replace("Bundle.entry[2].resource.subject.reference", "R"), errors(&own).len())
    };
    let first = r#","meta":{"versionId":"1"}"#;
    for reference in ["https://s/Patient/1/_history/2", "Patient/1/_history/2"] {
        assert_eq!(of("collection", reference, first).0, "warning not-found R r4-reference", "{reference}");
        assert_eq!(of("collection", reference, "").0, "");
        assert_eq!(of("history", reference, first).0, "");
        assert_eq!(of("collection", &reference.replace("/2", "/1"), first).0, "");
    }
    assert_eq!(of("message", "Patient/1/_history/2", first).0, "error not-found R r4-reference-not-sent");
    assert_eq!(of("message", "https://s/Patient/1/_history/2", first).0, "warning not-found R r4-reference");
}

/// Beyond a few, contained resources and versions are indexed: the verdicts are the same.
#[test]
fn many_contained_resources_and_versions_are_told_apart() {
    let list = |many: usize, last: &str| {
        let contained = (0..many)
            .map(|id| format!(r#"{{"resourceType":"Basic","id":"b{id}","code":{{"text":"a"}}}}"#))
            .collect::<Vec<_>>();
        let items =
            (0..many - 1).map(|id| format!(r##"{{"item":{{"reference":"#b{id}"}}}}"##)).collect::<Vec<_>>().join(",");
        let contained = contained.join(",");
        let json = format!(
            r##"{{"resourceType":"List","status":"current","mode":"working","contained":[{contained}],"entry":[{items},{{"item":{{"reference":"{last}"}}}}]}}"##
        );
        errors(&validator().check_document(&parse(&json), None))
    };
    for many in [3, 2_000] {
        assert_eq!(list(many, &format!("#b{}", many - 1)), "");
        let expected = format!(
            "error not-found List.entry[{}].item.reference ref-1\nerror invariant List.contained[{}] dom-3",
            many - 1,
            many - 1
        );
        assert_eq!(list(many, "#none"), expected);
    }
    let history = |many: usize, wanted: usize| {
        let version = |number| {
            format!(
                r#"{{"fullUrl":"https://s/Patient/1","resource":{{"resourceType":"Patient","id":"1","meta":{{"versionId":"{number}"}}}}}}"#
            )
        };
        let versions = (0..many).map(version).collect::<Vec<_>>().join(",");
        let flag = |wanted| {
            format!(
                r#"{{"fullUrl":"https://s/Flag/{wanted}","resource":{{"resourceType":"Flag","id":"{wanted}","status":"active","code":{{"text":"a"}},"subject":{{"reference":"Patient/1/_history/{wanted}"}}}}}}"#
            )
        };
        let flags = (1..many).chain([wanted]).map(flag).collect::<Vec<_>>().join(",");
        let json = format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{versions},{flags}]}}"#);
        let mut issues = validator().check_document(&parse(&json), None);
        issues.retain(|issue| issue.rule == "r4-reference");
        lines(&issues)
    };
    for many in [3, 300] {
        assert_eq!(history(many, 0), "");
        let at = 2 * many - 1;
        let told = format!("warning not-found Bundle.entry[{at}].resource.subject.reference r4-reference");
        assert_eq!(history(many, many), told);
    }
}

/// A section has a narrative of its own: what the links of all may lead to is looked for once.
#[test]
fn links_of_many_narratives_lead_into_their_resource() {
    let section = |id: usize, link: &str| {
        format!(
            r##"{{"id":"s{id}","text":{{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><a href=\"#{link}\">a</a></div>"}}}}"##
        )
    };
    let of = |last: &str| {
        let mut sections: Vec<String> = (0..500).map(|id| section(id, &format!("s{}", (id + 7) % 500))).collect();
        sections.push(section(500, last));
        let json = format!(
            r#"{{"resourceType":"Composition","status":"final","type":{{"text":"a"}},"date":"2026","author":[{{"display":"a"}}],"title":"a","section":[{}]}}"#,
            sections.join(",")
        );
        errors(&validator().check_document(&parse(&json), None))
    };
    assert_eq!(of("s0"), "");
    assert_eq!(of("t"), "error invalid Composition.section[500].text.`div` r4-narrative-link");
}
