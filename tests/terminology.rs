//! Code systems that are not part of Weir: with `weir validate --terminology` and in a site's `profiles` folder they are
//! checked, without they are said not to be.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{Bench, DemoSite, weir};
use tempfile::TempDir;

const SNOMED_CT: &str = "http://snomed.info/sct";
const OUTSIDE: &str = "417430008";
const NOT_LISTED: &str = "73211009";

/// A few made-up places in the hierarchy of a few codes: `404684003` has one nested below it, and two more that say so.
fn code_system(content: &str) -> Value {
    let below = |code: &str, property: &str, parent: &str| json!({"code": code, "property": [{"code": property, "valueCode": parent}]});
    json!({"resourceType": "CodeSystem", "url": SNOMED_CT, "status": "draft", "content": content, "concept": [
        {"code": "138875005", "concept": [{"code": "404684003", "concept": [{"code": "22298006"}]}, {"code": OUTSIDE}]},
        below("736253002", "parent", "404684003"),
        below("766561000000109", "subsumedBy", "736253002"),
    ]})
}

fn profile(value_set: &str) -> Value {
    json!({"resourceType": "StructureDefinition", "url": "https://x.test/finding", "name": "Finding", "status": "draft",
        "kind": "resource", "abstract": false, "type": "Observation", "derivation": "constraint",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
        "differential": {"element": [{"id": "Observation.code", "path": "Observation.code",
            "binding": {"strength": "required", "valueSet": value_set}}]}})
}

fn value_set(select: &Value) -> Value {
    let mut set = json!({"resourceType": "ValueSet", "url": "https://x.test/findings", "status": "draft"});
    let members = set.as_object_mut().expect("it is an object");
    members.extend(select.as_object().expect("it is an object").clone());
    set
}

fn include(rest: &Value) -> Value {
    let mut include = json!({"system": SNOMED_CT});
    include.as_object_mut().expect("it is an object").extend(rest.as_object().expect("it is an object").clone());
    value_set(&json!({"compose": {"include": [include]}}))
}

fn filter(property: &str, op: &str, value: &str) -> Value {
    include(&json!({"filter": [{"property": property, "op": op, "value": value}]}))
}

fn observation(code: &str) -> Value {
    json!({"resourceType": "Observation", "meta": {"profile": ["https://x.test/finding"]}, "status": "final",
        "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>"},
        "performer": [{"display": "A"}], "subject": {"display": "A"}, "effectiveDateTime": "2026-01-01",
        "code": {"coding": [{"system": SNOMED_CT, "code": code}]}})
}

fn write(file: &Path, content: &Value) {
    fs::create_dir_all(file.parent().expect("it has a folder")).expect("the folder can be made");
    fs::write(file, content.to_string()).expect("it is written");
}

/// A profile whose codes are those of `value_set`, and with `content` the code system in a folder of its own.
fn verdicts(value_set: &Value, content: Option<&str>, codes: &[&str]) -> Vec<String> {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let at = |name: &str| folder.path().join(name);
    write(&at("profiles/profile.json"), &profile("https://x.test/findings|1"));
    write(&at("profiles/value-set.json"), value_set);
    let mut command = weir();
    command.args(["validate", "--format", "json", "--package"]).arg(at("profiles"));
    if let Some(content) = content {
        write(&at("snomed-ct/code-system.json"), &code_system(content));
        command.arg("--terminology").arg(at("snomed-ct"));
    }
    let resource = |code: &&str| {
        let file = at(&format!("{code}.json"));
        write(&file, &observation(code));
        file
    };
    let files: Vec<_> = codes.iter().map(resource).collect();
    let output = command.args(files).output().expect("weir runs");
    let outcomes = String::from_utf8(output.stdout).expect("it is text");
    let outcomes = serde_json::Deserializer::from_str(&outcomes).into_iter::<Value>();
    let told: Vec<String> = outcomes.map(|outcome| told(&outcome.expect("it is JSON"))).collect();
    assert_eq!(told.len(), codes.len(), "{}", String::from_utf8_lossy(&output.stderr));
    let is_refused = told.iter().any(|told| told.contains("error"));
    assert_eq!(output.status.code(), Some(i32::from(is_refused)));
    told
}

/// The issues of an outcome but "all is well".
fn told(outcome: &Value) -> String {
    let issues = outcome["issue"].as_array().expect("an outcome has issues").iter();
    let told = issues.filter(|issue| issue["code"] != "informational").map(|issue| {
        let part = |part: &Value| part.as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", part(&issue["severity"]), part(&issue["code"]), part(&issue["expression"][0]))
    });
    told.collect::<Vec<_>>().join(", ")
}

const UNKNOWN: &str = "information not-supported Observation.code.coding[0]";
const NOT_IN_SET: &str = "error code-invalid Observation.code";
const NO_CODE: &str = "error code-invalid Observation.code.coding[0], error code-invalid Observation.code";
const WRONG_DIGIT: &str = "error code-invalid Observation.code.coding[0].code";

#[test]
fn snomed_ct_is_checked_where_a_folder_has_it() {
    let codes = ["404684003", "22298006", "736253002", "766561000000109", OUTSIDE, NOT_LISTED, "22298007"];
    let is_a = filter("concept", "is-a", "404684003");
    let mut expected = [UNKNOWN; 7];
    expected[6] = WRONG_DIGIT;
    assert_eq!(verdicts(&is_a, None, &codes), expected);
    let both = format!("{WRONG_DIGIT}, {NOT_IN_SET}");
    for value_set in [is_a, filter("constraint", "=", "<< 404684003 |Finding|")] {
        let expected = ["", "", "", "", NOT_IN_SET, NO_CODE, &both];
        assert_eq!(verdicts(&value_set, Some("complete"), &codes), expected, "{value_set}");
    }
    let below = filter("concept", "descendent-of", "404684003");
    assert_eq!(verdicts(&below, Some("complete"), &codes[..2]), [NOT_IN_SET, ""]);
    let right_below = filter("parent", "=", "404684003");
    assert_eq!(verdicts(&right_below, Some("complete"), &codes[..4]), [NOT_IN_SET, "", "", NOT_IN_SET]);
    let listed = include(&json!({"concept": [{"code": "22298006"}]}));
    assert_eq!(verdicts(&listed, Some("complete"), &["22298006", OUTSIDE]), ["", NOT_IN_SET]);
    assert_eq!(
        verdicts(&listed, None, &["22298006", OUTSIDE]),
        [UNKNOWN.to_owned(), format!("{NOT_IN_SET}, {UNKNOWN}")]
    );
}

#[test]
fn what_a_part_of_snomed_ct_does_not_say_is_not_checked() {
    let is_a = filter("concept", "is-a", "404684003");
    let not_known_to_be_in = "information not-supported Observation.code";
    assert_eq!(
        verdicts(&is_a, Some("fragment"), &["736253002", OUTSIDE, NOT_LISTED, "22298007"]),
        ["", not_known_to_be_in, UNKNOWN, WRONG_DIGIT]
    );
    let not_computed = filter("constraint", "=", "^ 404684003");
    assert_eq!(verdicts(&not_computed, Some("complete"), &["22298006"]), [not_known_to_be_in]);
}

/// What a terminology server has expanded counts where Weir cannot expand it itself, unless it is a part.
#[test]
fn an_expansion_says_what_cannot_be_computed() {
    let expanded = |more: &Value| {
        let mut set = filter("constraint", "=", "^ 404684003");
        set["expansion"] = json!({"timestamp": "2026-01-01", "contains": [{"abstract": true, "system": SNOMED_CT,
            "code": "404684003", "contains": [{"system": SNOMED_CT, "code": "22298006"}]}]});
        set["expansion"].as_object_mut().expect("it is an object").extend(more.as_object().expect("so").clone());
        set
    };
    let codes = ["22298006", "404684003"];
    let mut only = expanded(&json!({}));
    let not_known_to_be_in = "information not-supported Observation.code";
    assert_eq!(verdicts(&only, Some("complete"), &codes), ["", NOT_IN_SET]);
    assert_eq!(verdicts(&expanded(&json!({"total": 3})), Some("complete"), &codes), [not_known_to_be_in; 2]);
    only.as_object_mut().expect("it is an object").remove("compose");
    assert_eq!(verdicts(&only, Some("complete"), &codes), ["", NOT_IN_SET]);
    assert_eq!(verdicts(&value_set(&json!({})), Some("complete"), &codes), [not_known_to_be_in; 2]);
}

#[test]
fn a_site_has_its_terminology_among_its_profiles() {
    let site = DemoSite::new();
    write(&site.gateway_folder().join("profiles/snomed-ct.json"), &code_system("complete"));
    let bench = Bench::of(site);
    let ask = |code: &str| {
        let body = observation(code).to_string();
        let answer = bench.post("/FHIR/R4/$validate", &[("content-type", "application/fhir+json")], body);
        assert_eq!(answer.status.as_u16(), 200);
        told(&answer.json())
    };
    let profile = "warning not-found Observation.meta.profile[0]";
    assert_eq!(ask("22298006"), profile);
    assert_eq!(ask(NOT_LISTED), format!("{profile}, error code-invalid Observation.code.coding[0]"));
}

#[test]
fn a_folder_that_is_not_there_is_said() {
    let file = TempDir::new().expect("a temporary folder can be made");
    let file = file.path().join("patient.json");
    write(&file, &json!({"resourceType": "Patient"}));
    let output = weir().args(["validate", "--terminology", "/no/such"]).arg(&file).output().expect("weir runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such"));
}
