//! The rules as data: a document in, its issues out as `severity code path rule` lines.

use std::sync::LazyLock;

mod interactions;
mod subjects;

use proptest::prelude::*;

use super::*;
use crate::fhir::bundle::Entries;
use crate::fhir::narrative::{self as made, Head, Show, Shown};
use crate::fhir::{Limits, bars, uk};

fn parse(json: &str) -> Document {
    Document::parse(json, &Limits::default()).expect("the test's document is JSON")
}

fn structure(id: &str, type_name: &str, base: &str, rest: &str, elements: &str) -> Document {
    parse(&format!(
        r#"{{"resourceType":"StructureDefinition","url":"https://x/{id}","kind":"resource","type":"{type_name}",
        "baseDefinition":"{base}"{rest},"differential":{{"element":[{elements}]}}}}"#
    ))
}

/// A small world of profiles.
fn definitions() -> Vec<Document> {
    let base = |name: &str| format!("{}{name}", R4);
    let patient = r#"{"id":"Patient","path":"Patient","constraint":[{"key":"x-1","severity":"error","human":"someone is named","expression":"name.exists()"}]},
        {"id":"Patient.identifier","path":"Patient.identifier","slicing":{"discriminator":[{"type":"value","path":"system"}],"rules":"closed"}},
        {"id":"Patient.identifier:nhs","path":"Patient.identifier","sliceName":"nhs","min":1,"max":"1"},
        {"id":"Patient.identifier:nhs.system","path":"Patient.identifier.system","min":1,"patternUri":"https://fhir.nhs.uk/Id/nhs-number"},
        {"id":"Patient.identifier:nhs.value","path":"Patient.identifier.value","min":1},
        {"id":"Patient.extension:colour","path":"Patient.extension","sliceName":"colour","max":"1","type":[{"code":"Extension","profile":["https://x/colour"]}]},
        {"id":"Patient.deceased[x]","path":"Patient.deceased[x]","type":[{"code":"dateTime"}]},
        {"id":"Patient.gender","path":"Patient.gender","min":1,"patternCode":"female"},
        {"id":"Patient.contact","path":"Patient.contact","max":"0"},
        {"id":"Patient.managingOrganization","path":"Patient.managingOrganization","type":[{"code":"Reference","targetProfile":["https://x/organization"]}]}"#;
    let derived = r#"{"id":"Patient.birthDate","path":"Patient.birthDate","min":1}"#;
    let organization = r#"{"id":"Organization.name","path":"Organization.name","min":1}"#;
    let observation = r#"{"id":"Observation.code","path":"Observation.code","binding":{"strength":"required","valueSet":"https://x/codes"}},
        {"id":"Observation.category","path":"Observation.category","binding":{"strength":"extensible","valueSet":"https://x/codes"}},
        {"id":"Observation.component","path":"Observation.component","slicing":{"discriminator":[{"type":"type","path":"value"}],"rules":"open"}},
        {"id":"Observation.component:words","path":"Observation.component","sliceName":"words","max":"1"},
        {"id":"Observation.component:words.value[x]","path":"Observation.component.value[x]","min":1,"type":[{"code":"string"}]},
        {"id":"Observation.note","path":"Observation.note","slicing":{"discriminator":[{"type":"exists","path":"time"}],"rules":"open"}},
        {"id":"Observation.note:timed","path":"Observation.note","sliceName":"timed","min":1},
        {"id":"Observation.note:timed.time","path":"Observation.note.time","min":1}"#;
    let colour = r#"{"id":"Extension.url","path":"Extension.url","fixedUri":"https://x/colour"},
        {"id":"Extension.value[x]","path":"Extension.value[x]","min":1,"type":[{"code":"code"}],"binding":{"strength":"required","valueSet":"https://x/codes"}}"#;
    let context = r#","context":[{"type":"element","expression":"Patient"}]"#;
    let model = r#"{"resourceType":"StructureDefinition","url":"https://x/record","kind":"logical","type":"https://x/record","baseDefinition":"http://hl7.org/fhir/StructureDefinition/Element",
        "differential":{"element":[{"id":"record","path":"record"},
        {"id":"record.person","path":"record.person","min":1,"max":"1","type":[{"code":"BackboneElement"}],"constraint":[{"key":"r-1","severity":"error","human":"a local id or an NHS number","expression":"localId.exists() or nhsNumber.exists()"}]},
        {"id":"record.person.nhsNumber","path":"record.person.nhsNumber","min":1,"max":"1","type":[{"code":"string"}]},
        {"id":"record.person.localId","path":"record.person.localId","min":0,"max":"1","type":[{"code":"id"}]},
        {"id":"record.at","path":"record.at","min":1,"max":"1","type":[{"code":"dateTime"}]},
        {"id":"record.count","path":"record.count","min":0,"max":"1","type":[{"code":"positiveInt"}]},
        {"id":"record.risks","path":"record.risks","min":0,"max":"2","type":[{"code":"code"}],"binding":{"strength":"required","valueSet":"https://x/codes"}}]}}"#;
    vec![
        structure("patient", "Patient", &base("Patient"), "", patient),
        structure("derived", "Patient", "https://x/patient", "", derived),
        structure("organization", "Organization", &base("Organization"), "", organization),
        structure("observation", "Observation", &base("Observation"), "", observation),
        structure("colour", "Extension", &base("Extension"), context, colour),
        parse(model),
        parse(
            r#"{"resourceType":"CodeSystem","url":"https://x/s","content":"complete","concept":[{"code":"a","concept":[{"code":"b"}]}]}"#,
        ),
        parse(
            r#"{"resourceType":"ValueSet","url":"https://x/codes","compose":{"include":[{"system":"https://x/s"},{"system":"http://snomed.info/sct"}]}}"#,
        ),
    ]
}

fn validator() -> &'static Validator {
    static VALIDATOR: LazyLock<Validator> =
        LazyLock::new(|| Validator::compile(&definitions()).expect("the definitions make sense"));
    &VALIDATOR
}

fn lines(issues: &[Issue]) -> String {
    let line = |issue: &Issue| {
        let path = issue.path.as_ref().map(ToString::to_string).unwrap_or_default();
        let rule = issue.rule.replace(R4, "");
        format!("{} {} {path} {rule}", issue.severity.code(), issue.code.code())
    };
    issues.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The lines of errors alone.
fn errors(issues: &[Issue]) -> String {
    lines(&issues.iter().filter(|issue| issue.is_error()).cloned().collect::<Vec<_>>())
}

/// Checks one resource; missing narratives (dom-6) are left out.
#[track_caller]
fn check(json: &str, expected: &[&str]) {
    let document = parse(json);
    let mut issues = validator().check_document(&document, None);
    let Found { issues: told, untold, .. } = validator().check_with(&document, None, Telling::Errors);
    let remarks = issues.iter().filter(|issue| !issue.is_error()).count();
    assert_eq!((lines(&told), untold), (errors(&issues), remarks), "errors alone are told as with all else");
    issues.retain(|issue| issue.rule != "dom-6");
    assert_eq!(lines(&issues), expected.join("\n"), "{json}");
}

/// Checks members of a Patient.
#[track_caller]
fn check_patient(members: &str, expected: &[&str]) {
    check(&format!(r#"{{"resourceType":"Patient",{members}}}"#), expected);
}

#[test]
fn what_r4_knows_passes() {
    check_patient(r#""id":"a","active":true,"birthDate":"1987-06-14","name":[{"given":["A","B"]}]"#, &[]);
    check_patient(r#""deceasedBoolean":false,"multipleBirthInteger":2"#, &[]);
}

#[test]
fn structure_is_that_of_r4() {
    check("[]", &["error structure  r4-json"]);
    check("{}", &["error structure  r4-resource-type"]);
    check(r#"{"resourceType":"Pat"}"#, &["error structure  r4-resource-type"]);
    check(r#"{"resourceType":"DomainResource"}"#, &["error structure  r4-resource-type"]);
    check_patient(r#""foo":1"#, &["error structure Patient.foo r4-unknown-element"]);
    check_patient(r#""_name":[{"id":"a"}]"#, &["error structure Patient.name r4-unknown-element"]);
    check_patient(r#""name":{"family":"A"}"#, &["error structure Patient.name r4-json"]);
    check_patient(r#""gender":["male"]"#, &["error structure Patient.gender r4-json"]);
    check_patient(r#""active":"true""#, &["error structure Patient.active r4-json"]);
    check_patient(r#""maritalStatus":"M""#, &["error structure Patient.maritalStatus r4-json"]);
    check_patient(r#""name":[]"#, &["error structure Patient.name r4-empty"]);
    check_patient(r#""name":[{}]"#, &["error invariant Patient.name[0] ele-1"]);
    check_patient(r#""name":[{"id":"a"}]"#, &["error invariant Patient.name[0] ele-1"]);
    check_patient(r#""gender":null"#, &["error structure Patient.gender r4-null"]);
    check_patient(
        r#""deceasedBoolean":true,"deceasedDateTime":"2020""#,
        &["error structure Patient.deceased.ofType(dateTime) r4-choice"],
    );
    check_patient(r#""link":[{"type":"refer"}]"#, &["error required Patient.link[0].other r4-cardinality"]);
}

#[test]
fn primitives_keep_to_their_format() {
    check_patient(r#""birthDate":"1987-02-30""#, &["error value Patient.birthDate r4-primitive"]);
    check_patient(r#""id":"a_b""#, &["error value Patient.id r4-primitive"]);
    check_patient(r#""name":[{"family":""}]"#, &["error value Patient.name[0].family r4-primitive"]);
    check_patient(r#""implicitRules":"http://a b""#, &["error value Patient.implicitRules r4-primitive"]);
    check_patient(r#""gender":"man""#, &["error code-invalid Patient.gender r4-binding"]);
}

#[test]
fn primitive_extensions_stand_beside_their_values() {
    let masked =
        r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}"#;
    check_patient(&format!(r#""_birthDate":{masked}"#), &[]);
    check_patient(&format!(r#""name":[{{"given":["A",null],"_given":[null,{masked}]}}]"#), &[]);
    check_patient(r#""name":[{"given":["A",null]}]"#, &["error structure Patient.name[0].given[1] r4-null"]);
    check_patient(
        &format!(r#""name":[{{"given":["A"],"_given":[null,{masked}]}}]"#),
        &["error structure Patient.name[0].given r4-primitive-extension"],
    );
}

#[test]
fn base_invariants_run() {
    check_patient(r#""contact":[{"gender":"male"}]"#, &["error invariant Patient.contact[0] pat-1"]);
    check_patient(
        r#""name":[{"period":{"start":"2020","end":"2019"}}]"#,
        &["error invariant Patient.name[0].period per-1"],
    );
    check_patient(
        r#""extension":[{"url":"https://y"}]"#,
        &["error invariant Patient.extension[0] ext-1", "information not-supported Patient.extension[0] not-checked"],
    );
    check_patient(
        r#""text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><script>a</script></div>"}"#,
        &["error invalid Patient.text.`div` txt-1"],
    );
}

#[test]
fn contained_resources_are_referred_to() {
    let organization = r#""contained":[{"resourceType":"Organization","id":"o","name":"x"}]"#;
    check_patient(&format!(r##"{organization},"managingOrganization":{{"reference":"#o"}}"##), &[]);
    check_patient(organization, &["error invariant Patient.contained[0] dom-3"]);
    check_patient(
        r##""managingOrganization":{"reference":"#o"}"##,
        &["error not-found Patient.managingOrganization.reference ref-1"],
    );
    check_patient(
        r##""contained":[{"resourceType":"Patient","id":"o"}],"managingOrganization":{"reference":"#o"}"##,
        &["error value Patient.managingOrganization.reference r4-reference-target"],
    );
}

#[test]
fn identifiers_of_the_nhs_are_checked() {
    let identifier = |system: &str, value: &str| format!(r#""identifier":[{{"system":"{system}","value":"{value}"}}]"#);
    check_patient(&identifier(bars::NHS_NUMBER, "9990001014"), &[]);
    check_patient(
        &identifier(bars::NHS_NUMBER, "9990001015"),
        &["error value Patient.identifier[0].value uk-nhs-number"],
    );
    check_patient(
        &identifier(bars::ODS_ORGANISATION, "RX-1"),
        &["error value Patient.identifier[0].value uk-ods-code"],
    );
}

const MESSAGE: &str = r#"{"resourceType":"Bundle","type":"message","entry":[
    {"fullUrl":"urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b86","resource":{"resourceType":"MessageHeader","eventUri":"https://e","source":{"endpoint":"https://e"},"focus":[{"reference":"FOCUS"}]}},
    {"fullUrl":"URL","resource":{"resourceType":"Patient","id":"p"}}]}"#;

#[test]
fn a_message_holds_what_it_refers_to() {
    let own = "urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b87";
    let message = |focus: &str, url: &str| MESSAGE.replace("FOCUS", focus).replace("URL", url);
    let focus = "Bundle.entry[0].resource.focus[0].reference";
    check(&message(own, own), &[]);
    check(&message("Patient/p", own), &[]);
    let nowhere = format!("error not-found {focus} r4-reference");
    check(&message("https://y/Patient/q", own), &[&nowhere]);
    check(&message("urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b99", own), &[&nowhere]);
    check(&message("Patient/q", own), &[&nowhere]);
    check(&message("p", own), &[&format!("error value {focus} r4-reference")]);
    let same = "urn:uuid:0e0945db-a59a-4624-ba55-27794e7b3b86";
    check(&message(same, same), &["error duplicate Bundle.entry[1] bdl-7"]);
    check(
        &message("https://y/Patient/p", "https://y/Patient/q"),
        &["error value Bundle.entry[1] r4-full-url", &nowhere],
    );
    check(
        &message("Patient/p", own).replace(r#""type":"message""#, r#""type":"document""#),
        &["error invariant Bundle bdl-9", "error invariant Bundle bdl-10", "error invariant Bundle bdl-11"],
    );
    check(r#"{"resourceType":"Bundle","type":"message"}"#, &["error required Bundle r4-bundle"]);
}

/// A Patient that claims the profile, with what it needs and `members`.
#[track_caller]
fn check_profiled(members: &str, expected: &[&str]) {
    let nhs = r#"{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"9990001014"}"#;
    let profile = r#""meta":{"profile":["https://x/patient"]}"#;
    check_patient(&format!(r#"{profile},"name":[{{"text":"A"}}],"identifier":[{nhs}]{members}"#), expected);
}

#[test]
fn profiles_narrow_r4() {
    check_profiled(r#","gender":"female""#, &[]);
    check_profiled("", &["error required Patient.gender https://x/patient"]);
    check_profiled(r#","gender":"male""#, &["error value Patient.gender https://x/patient"]);
    let masked =
        r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}"#;
    check_profiled(&format!(r#","_gender":{masked}"#), &[]);
    check_profiled(
        r#","gender":"female","deceasedBoolean":true"#,
        &["error value Patient.deceased.ofType(boolean) https://x/patient"],
    );
    check_profiled(
        r#","gender":"female","contact":[{"name":{"text":"B"}}]"#,
        &["error structure Patient.contact[0] https://x/patient"],
    );
    check_patient(
        r#""meta":{"profile":["https://x/patient"]},"gender":"female""#,
        &["error required Patient.identifier https://x/patient", "error invariant Patient https://x/patient#x-1"],
    );
    check_patient(
        r#""meta":{"profile":["https://x/none"]}"#,
        &["warning not-found Patient.meta.profile[0] not-checked"],
    );
    check_patient(
        r#""meta":{"profile":["https://x/organization"]}"#,
        &["error invalid Patient https://x/organization"],
    );
}

#[test]
fn a_profile_includes_those_it_derives_from() {
    check_patient(
        r#""meta":{"profile":["https://x/derived|1"]},"gender":"female","name":[{"text":"A"}]"#,
        &["error required Patient.identifier https://x/derived", "error required Patient.birthDate https://x/derived"],
    );
}

#[test]
fn slices_are_told_apart() {
    check_patient(
        r#""meta":{"profile":["https://x/patient"]},"name":[{"text":"A"}],"gender":"female","identifier":[
        {"system":"https://fhir.nhs.uk/Id/nhs-number"},{"system":"https://y","value":"1"}]"#,
        &[
            "error structure Patient.identifier[1] https://x/patient",
            "error required Patient.identifier[0].value https://x/patient",
        ],
    );
    let observation = |members: &str| {
        format!(
            r#"{{"resourceType":"Observation","meta":{{"profile":["https://x/observation"]}},"status":"final","code":{{"coding":[{{"system":"https://x/s","code":"a"}}]}},{members}}}"#
        )
    };
    let note = r#""note":[{"time":"2026","text":"a"}]"#;
    let code = r#""code":{"text":"c"}"#;
    check(&observation(note), &[]);
    check(&observation(r#""note":[{"text":"a"}]"#), &["error required Observation.note https://x/observation"]);
    check(
        &observation(&format!(
            r#"{note},"component":[{{{code},"valueString":"a"}},{{{code},"valueInteger":1}},{{{code},"valueString":"b"}}]"#
        )),
        &["error structure Observation.component[2] https://x/observation"],
    );
}

#[test]
fn codes_are_in_their_value_set_or_nobody_knows() {
    let coded = |code: &str, category: &str| {
        format!(
            r#"{{"resourceType":"Observation","meta":{{"profile":["https://x/observation"]}},"status":"final","note":[{{"time":"2026","text":"a"}}],"code":{code},"category":[{category}]}}"#
        )
    };
    let concept = |system: &str, code: &str| format!(r#"{{"coding":[{{"system":"{system}","code":"{code}"}}]}}"#);
    let good = concept("https://x/s", "b");
    check(&coded(&good, &good), &[]);
    check(
        &coded(&concept("https://y", "b"), &good),
        &[
            "error code-invalid Observation.code https://x/observation",
            "information not-supported Observation.code.coding[0] not-checked",
        ],
    );
    check(
        &coded(&concept("https://x/s", "c"), &good),
        &[
            "error code-invalid Observation.code.coding[0] r4-code",
            "error code-invalid Observation.code https://x/observation",
        ],
    );
    check(
        &coded(r#"{"text":"a"}"#, r#"{"text":"a"}"#),
        &[
            "error code-invalid Observation.code https://x/observation",
            "warning code-invalid Observation.category[0] https://x/observation",
        ],
    );
    let snomed = "information not-supported Observation.code.coding[0] not-checked";
    check(&coded(&concept(uk::SNOMED_CT, "736253002"), &good), &[snomed]);
    check(
        &coded(&concept(uk::SNOMED_CT, "736253003"), &good),
        &["error code-invalid Observation.code.coding[0].code snomed-check-digit"],
    );
}

#[test]
fn extensions_keep_to_their_definition() {
    let colour = |value: &str| format!(r#""extension":[{{"url":"https://x/colour",{value}}}]"#);
    check_patient(&colour(r#""valueCode":"a""#), &[]);
    check_patient(
        &colour(r#""valueString":"a""#),
        &["error value Patient.extension[0].value.ofType(string) https://x/colour"],
    );
    check(
        &format!(r#"{{"resourceType":"Organization","name":"x",{}}}"#, colour(r#""valueCode":"a""#)),
        &["error extension Organization.extension[0] https://x/colour"],
    );
    check_patient(
        r#""extension":[{"url":"https://y","valueCode":"a"}]"#,
        &["information not-supported Patient.extension[0] not-checked"],
    );
    check_patient(
        r#""modifierExtension":[{"url":"https://y","valueCode":"a"}]"#,
        &["error extension Patient.modifierExtension[0] r4-modifier-extension"],
    );
}

#[test]
fn references_lead_to_what_the_profile_asks_for() {
    let contained = |organization: &str| {
        format!(
            r##","gender":"female","contained":[{{"resourceType":"Organization","id":"o",{organization}}}],"managingOrganization":{{"reference":"#o"}}"##
        )
    };
    check_profiled(&contained(r#""name":"x""#), &[]);
    check_profiled(
        &contained(r#""identifier":[{"value":"1"}]"#),
        &["error value Patient.managingOrganization.reference https://x/patient"],
    );
}

#[test]
fn records_keep_to_their_logical_model() {
    let check = |json: &str, expected: &[&str]| {
        let issues = validator().check_record(&parse(json), "https://x/record");
        assert_eq!(lines(&issues), expected.join("\n"), "{json}");
    };
    check(r#"{"person":{"nhsNumber":"1"},"at":"2026-01-01","risks":["a"],"count":1}"#, &[]);
    check(
        r#"{"person":{},"risk":1}"#,
        &[
            "error required person.nhsNumber https://x/record",
            "error invariant person https://x/record#r-1",
            "error structure risk https://x/record",
            "error required at https://x/record",
        ],
    );
    check(
        r#"{"person":[{"nhsNumber":"1"}],"at":1,"count":1.5,"risks":["a","b","a"]}"#,
        &[
            "error structure person https://x/record",
            "error structure at https://x/record",
            "error value count https://x/record",
            "error structure risks https://x/record",
        ],
    );
    check(
        r#"{"person":{"nhsNumber":null,"localId":"a b"},"at":"2026-02-30","risks":[]}"#,
        &[
            "error structure person.nhsNumber https://x/record",
            "error value person.localId https://x/record",
            "error value at https://x/record",
            "error structure risks https://x/record",
        ],
    );
    check("[]", &["error structure  https://x/record"]);
    assert_eq!(lines(&validator().check_record(&parse("{}"), "https://x/none")), "error not-found  ");
}

#[test]
fn no_issue_echoes_a_value() {
    let secret = "Zebedee";
    let json = format!(
        r#"{{"resourceType":"Patient","id":"{secret} x","birthDate":"{secret}","gender":3,"name":[{{"family":"{secret}","use":"{secret} {secret}"}}],"identifier":[{{"system":"{}","value":"{secret}"}}],"{secret}":1}}"#,
        bars::NHS_NUMBER
    );
    let issues = validator().check_document(&parse(&json), Some("https://x/patient"));
    assert!(issues.len() > 5);
    assert!(issues.iter().all(|issue| !issue.text.contains(secret) && !issue.hint.contains(secret)), "{issues:?}");
}

#[test]
fn issues_are_bounded() {
    let json = format!(r#"{{"resourceType":"Patient","name":[{}{{}}]}}"#, "{},".repeat(5000));
    let issues = validator().check_document(&parse(&json), None);
    assert_eq!(issues.iter().filter(|issue| issue.rule == "ele-1").count(), MOST_ISSUES);
    assert_eq!(
        issues.last().map(|issue| issue.text.as_str()),
        Some("more than 1000 issues; 4001 more errors and 0 more remarks are left out")
    );
}

/// Many entries, each with a warning: the Bundle is valid, and an error behind them all is told.
#[test]
fn ten_thousand_entries_are_checked() {
    let entry = |number: usize, id: &str| {
        format!(
            r#"{{"fullUrl":"urn:uuid:{number:08}-0000-4000-8000-000000000000","resource":{{"resourceType":"Basic","code":{{"text":"a"}}{id}}}}}"#
        )
    };
    let bundle = |last: &str| {
        let entries: Vec<String> =
            (0..10_000).map(|number| entry(number, if number == 9_999 { last } else { "" })).collect();
        parse(&format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{}]}}"#, entries.join(",")))
    };
    let issues = validator().check_document(&bundle(""), None);
    assert_eq!(errors(&issues), "");
    assert_eq!(
        issues.last().map(|issue| issue.text.as_str()),
        Some("more than 1000 issues; 0 more errors and 9000 more remarks are left out")
    );
    let issues = validator().check_document(&bundle(r#","id":"a_b""#), None);
    assert_eq!(errors(&issues), "error value Bundle.entry[9999].resource.id r4-primitive");
}

#[test]
fn definitions_that_make_no_sense_are_refused() {
    let refused = |element: &str| {
        let definition = structure("p", "Patient", &format!("{}Patient", R4), "", element);
        lines(&Validator::compile(&[definition]).expect_err("it is refused"))
    };
    assert_eq!(refused(r#"{"id":"Patient.nam","path":"Patient.nam"}"#), "error invalid Patient.nam https://x/p");
    let bad =
        r#"{"id":"Patient","path":"Patient","constraint":[{"key":"k","severity":"error","expression":"name.("}]}"#;
    assert_eq!(refused(bad), "error invalid Patient https://x/p");
    let orphan = structure("p", "Patient", "https://x/none", "", r#"{"id":"Patient","path":"Patient"}"#);
    assert_eq!(lines(&Validator::compile(&[orphan]).expect_err("it is refused")), "error not-found  https://x/p");
    let twice = || structure("p", "Patient", &format!("{}Patient", R4), "", "");
    assert_eq!(lines(&Validator::compile(&[twice(), twice()]).expect_err("it is refused")), "error duplicate  ");
}

#[test]
fn a_constraint_that_cannot_mean_what_it_says_is_doubted_once_where_it_is_stated() {
    let stated = |element: &str, expression: &str| {
        let constraint = format!(r#""constraint":[{{"key":"k","severity":"error","expression":"{expression}"}}]"#);
        format!(r#"{{"id":"{element}","path":"{element}",{constraint}}}"#)
    };
    let doubts = |element: &str, expression: &str| {
        let of_base = format!("{}Patient", R4);
        let profile = structure("p", "Patient", &of_base, "", &stated(element, expression));
        let derived = structure("d", "Patient", "https://x/p", "", &stated("Patient.name", "family.exists()"));
        let validator = Validator::compile(&[profile, derived]).expect("it compiles");
        let doubts = validator.doubtful_constraints().iter();
        doubts.map(|issue| (lines(std::slice::from_ref(issue)), issue.text.clone())).collect::<Vec<_>>()
    };
    assert_eq!(
        doubts("Patient.name", "usee = 'old'"),
        [(
            "warning invalid Patient.name https://x/p#k".to_owned(),
            "the constraint \"usee = 'old'\": HumanName has no element usee".to_owned()
        )]
    );
    let found = |element: &str, expression: &str| doubts(element, expression).len();
    assert_eq!(found("Patient", "birthdate.exists()"), 1);
    assert_eq!(found("Patient.contact", "nme.exists()"), 1);
    for (element, sound) in [
        ("Patient", "name.exists()"),
        ("Patient", "%resource.anything.exists() and %context.birthDate.exists()"),
        ("Patient.contact", "name.exists() or telecom.exists()"),
        ("Patient.deceased[x]", "$this is boolean implies $this"),
        ("Patient.birthDate", "$this <= today()"),
        ("Patient.contained", "($this is Patient).not() or name.exists()"),
        ("Patient.extension", "value.code.exists() or url = 'x'"),
    ] {
        assert_eq!(doubts(element, sound), [], "{element} {sound}");
    }
}

#[test]
fn what_is_not_checked_is_said() {
    let elements = r#"{"id":"Patient.name","path":"Patient.name","slicing":{"discriminator":[{"type":"profile","path":"$this"}],"rules":"open","ordered":true}},
        {"id":"Patient.name:a","path":"Patient.name","sliceName":"a","min":1},
        {"id":"Patient.name.family","path":"Patient.name.family","maxLength":3},
        {"id":"Patient.gender","path":"Patient.gender","binding":{"strength":"required","valueSet":"https://x/none"}},
        {"id":"Patient.managingOrganization","path":"Patient.managingOrganization","type":[{"code":"Reference","targetProfile":["https://x/o"]}]}"#;
    let definition = structure("p", "Patient", &format!("{}Patient", R4), "", elements);
    let validator = Validator::compile(&[definition]).expect("it compiles");
    assert_eq!(
        validator.not_checked(),
        [
            "https://x/p Patient.gender: the value set https://x/none is not loaded, its codes are not checked",
            "https://x/p Patient.managingOrganization: https://x/o is not loaded and not checked",
            "https://x/p Patient.name:a: the slice is not told apart by profile of $this and so not checked",
        ]
    );
}

#[test]
fn slices_by_profile_and_slices_of_slices_are_told_apart() {
    let named = r#"{"id":"Patient.name","path":"Patient.name","min":1}"#;
    let bundle = r#"{"id":"Bundle.entry","path":"Bundle.entry","slicing":{"discriminator":[{"type":"profile","path":"resource"}],"rules":"open"}},
        {"id":"Bundle.entry:named","path":"Bundle.entry","sliceName":"named","min":1,"max":"1"},
        {"id":"Bundle.entry:named.resource","path":"Bundle.entry.resource","type":[{"code":"Patient","profile":["https://x/named"]}]}"#;
    let resliced = r#"{"id":"Patient.identifier","path":"Patient.identifier","slicing":{"discriminator":[{"type":"value","path":"system"}],"rules":"open"}},
        {"id":"Patient.identifier:s","path":"Patient.identifier","sliceName":"s","slicing":{"discriminator":[{"type":"value","path":"use"}],"rules":"closed"}},
        {"id":"Patient.identifier:s.system","path":"Patient.identifier.system","min":1,"fixedUri":"https://s"},
        {"id":"Patient.identifier:s/old","path":"Patient.identifier","sliceName":"s/old","max":"1"},
        {"id":"Patient.identifier:s/old.use","path":"Patient.identifier.use","min":1,"fixedCode":"old"}"#;
    let base = |name: &str| format!("{}{name}", R4);
    let validator = Validator::compile(&[
        structure("named", "Patient", &base("Patient"), "", named),
        structure("bundle", "Bundle", &base("Bundle"), "", bundle),
        structure("resliced", "Patient", &base("Patient"), "", resliced),
    ])
    .expect("the profiles compile");
    let of = |json: &str, profile: &str| errors(&validator.check_document(&parse(json), Some(profile)));
    let entries = |names: [&str; 2]| {
        let entry = |name: &&str| format!(r#"{{"resource":{{"resourceType":"Patient"{name}}}}}"#);
        let entries: Vec<String> = names.iter().map(entry).collect();
        format!(r#"{{"resourceType":"Bundle","type":"batch-response","entry":[{}]}}"#, entries.join(","))
    };
    let name = r#","name":[{"text":"A"}]"#;
    assert!(!of(&entries([name, ""]), "https://x/bundle").contains("https://x/bundle"));
    assert!(of(&entries(["", ""]), "https://x/bundle").contains("error required Bundle.entry https://x/bundle"));
    assert!(
        of(&entries([name, name]), "https://x/bundle").contains("error structure Bundle.entry[1] https://x/bundle")
    );
    let patient = |uses: [&str; 2]| {
        let each = |code: &&str| format!(r#"{{"system":"https://s","use":"{code}"}}"#);
        let all: Vec<String> = uses.iter().map(each).collect();
        format!(r#"{{"resourceType":"Patient","identifier":[{}]}}"#, all.join(","))
    };
    assert_eq!(
        of(&patient(["old", "usual"]), "https://x/resliced"),
        "error structure Patient.identifier[1] https://x/resliced"
    );
    assert_eq!(
        of(&patient(["old", "old"]), "https://x/resliced"),
        "error structure Patient.identifier[1] https://x/resliced"
    );
}

#[test]
fn values_keep_to_the_limits_of_their_profile() {
    let elements = r#"{"id":"Patient.birthDate","path":"Patient.birthDate","minValueDate":"2000-01-01","maxValueDate":"2025-01-01"},
        {"id":"Patient.name.family","path":"Patient.name.family","maxLength":3}"#;
    let profile = structure("p", "Patient", &format!("{}Patient", R4), "", elements);
    let validator = Validator::compile(&[profile]).expect("it compiles");
    let of = |rest: &str| {
        let document = parse(&format!(r#"{{"resourceType":"Patient",{rest}}}"#));
        errors(&validator.check_document(&document, Some("https://x/p")))
    };
    assert_eq!(of(r#""birthDate":"2000-01-01","name":[{"family":"Abc"}]"#), "");
    assert_eq!(of(r#""birthDate":"1999-12-31""#), "error value Patient.birthDate https://x/p");
    assert_eq!(of(r#""birthDate":"2025-01-02""#), "error value Patient.birthDate https://x/p");
    assert_eq!(of(r#""name":[{"family":"Abcd"}]"#), "error too-long Patient.name[0].family https://x/p");
}

#[test]
fn what_a_validation_may_ask_for_beyond_the_specification() {
    let json = r#"{"resourceType":"Patient","extension":[{"url":"https://elsewhere.test/a","valueBoolean":true},
        {"url":"http://hl7.org/fhir/StructureDefinition/patient-birthPlace","valueAddress":{"text":"a <b>"}}],
        "photo":[{"url":"https://pictures.example.org/1"}]}"#;
    let of = |strictness| {
        let validator = Validator::compile(&[]).expect("nothing compiles").with(strictness);
        let issues = validator.check_document(&parse(json), None);
        errors(&issues)
    };
    assert_eq!(of(Strictness::default()), "");
    let asked = Strictness { known_extensions: true, ..Strictness::default() };
    assert_eq!(of(asked), "error extension Patient.extension[0] r4-unknown-extension");
    let asked = Strictness { no_example_urls: true, ..Strictness::default() };
    assert_eq!(of(asked), "error invalid Patient.photo[0].url r4-example-url");
    let asked = Strictness { no_markup: true, ..Strictness::default() };
    assert_eq!(of(asked), "error security Patient.extension[1].value.ofType(Address).text r4-markup");
}

/// All but those that contradict their bases; each is compiled when it is first asked for.
#[test]
fn every_sound_profile_of_r4_is_there() {
    let validator = Validator::compile(&[]).expect("there is nothing to compile");
    assert!(validator.built_in.values().all(|profile| profile.get().is_none()));
    assert!(validator.knows("http://hl7.org/fhir/StructureDefinition/bp|4.0.1"));
    assert_eq!(validator.built_in.values().filter(|profile| profile.get().is_some()).count(), 1);
    let mut without: Vec<&str> = r4::profile_urls().filter(|url| !validator.knows(url)).collect();
    without.sort_unstable();
    let names: Vec<&str> = without.iter().filter_map(|url| url.strip_prefix(R4)).collect();
    assert_eq!(names, ["catalog", "familymemberhistory-genetic", "picoelement"]);
    // What is unchanged in a Bundle is not checked again: see `recheck`.
    let built_in = validator.built_in.values().filter_map(|profile| profile.get()?.as_deref());
    let extensions = built_in.filter(|profile| &*profile.type_name == "Extension");
    assert!(extensions.map(|profile| profile.shape.reach).max() <= Some(Reach::Resource));
}

/// What may be passed over when a Bundle is checked again: see `recheck`.
#[test]
fn a_type_knows_how_far_its_rules_look() {
    let validator = Validator::compile(&[]).expect("there is nothing to compile");
    for (name, expected) in [
        ("HumanName", Reach::Focus),
        ("Composition.section", Reach::Focus),
        ("Patient", Reach::Focus),
        ("Observation", Reach::Resource),
        ("CareTeam", Reach::Document),
        ("Bundle.entry", Reach::Document),
        ("Bundle", Reach::Document),
        ("Parameters.parameter", Reach::Document),
    ] {
        assert_eq!(validator.base.named(name).map(|plan| plan.reach), Some(expected), "{name}");
    }
    for name in plan::LOCAL {
        let profile = validator.profile(&format!("{R4}{name}")).expect("it is one of R4's");
        assert_eq!(profile.shape.reach, Reach::Focus, "{name}");
    }
}

#[test]
fn the_profiles_of_r4_are_built_in() {
    let code = |code: &str, value: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}}]}}],
            "code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},"subject":{{"reference":"Patient/1"}},"effectiveDateTime":"2026-01-31",
            "valueQuantity":{{"value":37,"unit":"C","system":"http://unitsofmeasure.org","code":"{value}"}}}}"#
        )
    };
    let of = |json: String| {
        let issues = Validator::compile(&[]).expect("nothing compiles").check_document(&parse(&json), None);
        errors(&issues)
    };
    assert_eq!(of(code("8310-5", "Cel")), "");
    assert_eq!(of(code("8310-5", "K")), "error code-invalid Observation.value.ofType(Quantity).code bodytemp");
    assert_eq!(of(code("1234-4", "K")), "");
}

#[test]
fn an_extension_stands_on_a_primitive_of_its_context() {
    let check = |element: &str, path: &str| {
        let translation = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/translation","extension":[{"url":"lang","valueCode":"cy"},{"url":"content","valueString":"a"}]}]}"#;
        let patient = format!(r#"{{"resourceType":"Patient",{}}}"#, element.replace('$', translation));
        let validator = Validator::compile(&[]).expect("nothing compiles");
        assert_eq!(errors(&validator.check_document(&parse(&patient), None)), path);
    };
    check(r#""name":[{"text":"A","_text":$}]"#, "");
    check(r#""active":true,"_active":$"#, "error extension Patient.active.extension[0] translation");
}

#[test]
fn search_results_are_what_was_searched_for() {
    let bundle = |entry: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"searchset","link":[{{"relation":"self","url":"https://s/Patient?name=a"}}],"entry":[{{"fullUrl":"https://s/Patient/1",{entry}}}]}}"#
        )
    };
    check(&bundle(r#""search":{"mode":"match"},"resource":{"resourceType":"Patient","id":"1"}"#), &[]);
    check(
        &bundle(r#""search":{"mode":"match"},"resource":{"resourceType":"Patient"}"#),
        &["error required Bundle.entry[0].resource.id r4-bundle"],
    );
    check(
        &bundle(r#""search":{"mode":"outcome"},"resource":{"resourceType":"Patient","id":"1"}"#),
        &["error invalid Bundle.entry[0].resource r4-bundle"],
    );
}

#[test]
fn definitions_keep_to_their_rules() {
    check(
        r#"{"resourceType":"ValueSet","url":"a","status":"draft","compose":{"include":[{"system":"http://snomed.info/sct","filter":[{"property":"constraint","op":"=","value":"1 << 2"}]}]}}"#,
        &["error value ValueSet.url r4-canonical", "error invalid ValueSet.compose.include[0].filter[0] r4-value-set"],
    );
    check(
        r#"{"resourceType":"CodeSystem","status":"draft","content":"complete","property":[{"code":"a","type":"string"},{"code":"a","type":"code"}],"concept":[{"code":"x","property":[{"code":"a","valueInteger":1}]}]}"#,
        &[
            "error duplicate CodeSystem.property[1] r4-code-system",
            "error value CodeSystem.concept[0].property[0] r4-code-system",
        ],
    );
    check(
        r#"{"resourceType":"StructureDefinition","url":"https://x/own","name":"Own","status":"draft","kind":"resource","abstract":false,"type":"Patient","derivation":"constraint","baseDefinition":"http://hl7.org/fhir/StructureDefinition/Patient",
        "differential":{"element":[{"id":"Patient.naem","path":"Patient.naem"}]}}"#,
        &["error invalid StructureDefinition r4-structure-definition"],
    );
}

#[test]
fn a_value_is_in_one_slice_and_a_fixed_value_has_nothing_else() {
    let telecom = r#"{"id":"Practitioner.telecom","path":"Practitioner.telecom","slicing":{"discriminator":[{"type":"value","path":"use"}],"rules":"open"}},
        {"id":"Practitioner.telecom:home","path":"Practitioner.telecom","sliceName":"home","min":1,"fixedContactPoint":{"use":"home"}},
        {"id":"Practitioner.telecom:again","path":"Practitioner.telecom","sliceName":"again"},
        {"id":"Practitioner.telecom:again.use","path":"Practitioner.telecom.use","patternCode":"work"},
        {"id":"Practitioner.telecom:third","path":"Practitioner.telecom","sliceName":"third","patternContactPoint":{"use":"work"}}"#;
    let profile = structure("p", "Practitioner", &format!("{R4}Practitioner"), "", telecom);
    let validator = Validator::compile(&[profile]).expect("it compiles");
    let of = |telecom: &str| {
        let document = parse(&format!(r#"{{"resourceType":"Practitioner","telecom":[{telecom}]}}"#));
        errors(&validator.check_document(&document, Some("https://x/p")))
    };
    assert_eq!(of(r#"{"use":"home"}"#), "");
    assert_eq!(of(r#"{"use":"home","rank":1}"#), "error value Practitioner.telecom[0].rank https://x/p");
    assert_eq!(of(r#"{"use":"old"}"#), "error required Practitioner.telecom https://x/p");
    assert_eq!(
        of(r#"{"use":"home"},{"use":"work"}"#),
        "error structure Practitioner.telecom[1] https://x/p",
        "two slices want it"
    );
}

#[test]
fn the_target_of_a_reference_is_where_the_profile_wants_it() {
    let subject = |rest: &str| {
        format!(
            r#"{{"id":"Condition.subject","path":"Condition.subject","type":[{{"code":"Reference",{rest},"targetProfile":["{R4}Patient"]}}]}}"#
        )
    };
    let of = |rest: &str, reference: &str| {
        let profile = structure("p", "Condition", &format!("{R4}Condition"), "", &subject(rest));
        let validator = Validator::compile(&[profile]).expect("it compiles");
        let document = parse(&format!(
            r##"{{"resourceType":"Bundle","type":"collection","entry":[
            {{"fullUrl":"https://s/Patient/1","resource":{{"resourceType":"Patient","id":"1"}}}},
            {{"fullUrl":"https://s/Condition/2","resource":{{"resourceType":"Condition","id":"2","meta":{{"profile":["https://x/p"]}},
            "contained":[{{"resourceType":"Patient","id":"c"}}],"subject":{{"reference":"{reference}"}}}}}}]}}"##
        ));
        let mut issues = validator.check_document(&document, None);
        issues.retain(|issue| issue.rule != "dom-3");
        errors(&issues)
    };
    let place = |code: &str| format!("error {code} Bundle.entry[1].resource.subject.reference https://x/p");
    assert_eq!(of(r#""aggregation":["bundled"]"#, "Patient/1"), "");
    assert_eq!(of(r#""aggregation":["bundled"]"#, "Patient/2"), place("not-found"));
    assert_eq!(of(r#""aggregation":["bundled"]"#, "#c"), place("not-found"));
    assert_eq!(of(r#""aggregation":["contained"]"#, "#c"), "");
    assert_eq!(of(r#""aggregation":["contained","referenced"]"#, "Patient/2"), "");
    assert_eq!(of(r#""versioning":"specific""#, "Patient/2"), place("value"));
    assert_eq!(of(r#""versioning":"independent""#, "Patient/2/_history/1"), place("value"));
    assert_eq!(of(r#""versioning":"either""#, "Patient/2/_history/1"), "");
}

#[test]
fn the_type_of_a_reference_is_one_of_r4() {
    let of = |kind: &str| format!(r#""managingOrganization":{{"type":"{kind}","display":"A"}}"#);
    check_patient(&of("Organization"), &[]);
    let other = "warning code-invalid Patient.managingOrganization.type r4-binding";
    check_patient(&of("https://x/model"), &[other]);
    // Without a reference there is nothing to compare it with, but the name is still none.
    check_patient(&of("Patient"), &["error value Patient.managingOrganization.type r4-reference-target"]);
    check_patient(&of("organization"), &[other, "error value Patient.managingOrganization.type r4-reference-target"]);
}

#[test]
fn a_document_holds_what_is_joined_to_its_composition() {
    let bundle = |subject: &str, more: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"document","identifier":{{"system":"https://s","value":"1"}},"timestamp":"2026-01-01T00:00:00Z","entry":[
            {{"fullUrl":"https://s/Composition/1","resource":{{"resourceType":"Composition","id":"1","status":"final","type":{{"text":"A"}},"date":"2026-01-01","title":"A","author":[{{"display":"A"}}],"subject":{{"reference":"{subject}"}}}}}},
            {{"fullUrl":"https://s/Patient/1","resource":{{"resourceType":"Patient","id":"1"}}}}{more}]}}"#
        )
    };
    let entry = |name: &str, rest: &str| {
        format!(r#",{{"fullUrl":"https://s/{name}/9","resource":{{"resourceType":"{name}","id":"9"{rest}}}}}"#)
    };
    check(&bundle("Patient/1", ""), &[]);
    check(
        &bundle("Patient/1", &entry("Binary", r#","contentType":"text/css""#)),
        &["information not-supported Bundle.entry[2].resource.contentType not-checked"],
    );
    let pointing = r#","code":{"text":"A"},"status":"active","subject":{"reference":"https://s/Patient/1"}"#;
    check(&bundle("Patient/1", &entry("Flag", pointing)), &[]);
    check(&bundle("Patient/1", &entry("Patient", "")), &["error invalid Bundle.entry[2] r4-document"]);
    check(
        &bundle("https://elsewhere/Patient/1", ""),
        &[
            "error invalid Bundle.entry[1] r4-document",
            "error not-found Bundle.entry[0].resource.subject.reference r4-reference",
        ],
    );
}

#[test]
fn filters_and_slicing_of_definitions_keep_to_their_rules() {
    let filter = |property: &str, op: &str, value: &str| {
        format!(
            r#"{{"resourceType":"ValueSet","url":"https://x/v","status":"draft","compose":{{"include":[{{"system":"http://snomed.info/sct","filter":[{{"property":"{property}","op":"{op}","value":"{value}"}}]}}]}}}}"#
        )
    };
    let wrong = &["error invalid ValueSet.compose.include[0].filter[0] r4-value-set"];
    check(&filter("concept", "is-a", "138875005"), &[]);
    check(&filter("concept", "is-a", "something"), wrong);
    check(&filter("363698007", "=", "39057004"), &[]);
    check(&filter("363698007", "not-in", "39057004"), wrong);
    let definition = |elements: &str| {
        format!(
            r#"{{"resourceType":"StructureDefinition","url":"https://x/own","name":"Own","status":"draft","kind":"resource","abstract":false,"type":"Patient","derivation":"constraint","baseDefinition":"{R4}Patient",
            "differential":{{"element":[{elements}]}}}}"#
        )
    };
    check(
        &definition(
            r#"{"id":"Patient.birthDate","path":"Patient.birthDate","type":[{"code":"date"}],"binding":{"strength":"required","valueSet":"https://x/v"}}"#,
        ),
        &["error invariant StructureDefinition.differential.element[0] eld-11"],
    );
    let odd = validator().check_document(&parse(&definition(r#"{"id":"Patient..a","path":"Patient..a"}"#)), None);
    assert!(errors(&odd).contains("error invariant StructureDefinition.differential.element[0] eld-19"), "{odd:?}");
}

#[test]
fn a_profile_on_a_type_that_is_not_loaded_leaves_the_rest_to_be_checked() {
    let elements = r#"{"id":"Bundle.entry","path":"Bundle.entry","slicing":{"discriminator":[{"type":"type","path":"resource"}],"rules":"open"}},
        {"id":"Bundle.entry:one","path":"Bundle.entry","sliceName":"one","max":"1"},
        {"id":"Bundle.entry:one.resource","path":"Bundle.entry.resource","type":[{"code":"Patient","profile":["https://x/elsewhere"]}]},
        {"id":"Bundle.entry:one.resource.gender","path":"Bundle.entry.resource.gender","min":1}"#;
    let validator = Validator::compile(&[structure("b", "Bundle", &format!("{R4}Bundle"), "", elements)]);
    let validator = validator.unwrap_or_else(|issues| panic!("{issues:?}"));
    assert!(validator.not_checked().iter().any(|note| note.contains("https://x/elsewhere is not loaded")));
    let bundle = r#"{"resourceType":"Bundle","type":"batch-response","entry":[{"response":{"status":"200"},"resource":{"resourceType":"Patient"}}]}"#;
    assert_eq!(
        errors(&validator.check_document(&parse(bundle), Some("https://x/b"))),
        "error not-found Bundle.entry[0].resource not-checked\nerror required Bundle.entry[0].resource.gender https://x/b"
    );
}

#[test]
fn what_a_document_or_message_is_about_is_in_it() {
    let message = |focus: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"message","entry":[{{"fullUrl":"urn:uuid:7dc0f984-1cc6-485f-9b64-2b1290da37f6","resource":{{"resourceType":"MessageHeader","eventUri":"https://s/e","source":{{"endpoint":"https://s"}},
            "sender":{{"reference":"https://s/Organization/1"}},"focus":[{{"reference":"{focus}"}}]}}}}]}}"#
        )
    };
    let at = "Bundle.entry[0].resource.focus[0].reference r4-reference";
    check(&message("https://s/Task/1"), &[&format!("error not-found {at}")]);
    check(
        &message("URN:UUID:7DC0F984-1CC6-485F-9B64-2B1290DA37F6"),
        &[&format!("warning value {at}"), &format!("error not-found {at}")],
    );
    check(&message("urn:uuid:7dc0f984-1cc6-485f-9b64-2b1290da37f6"), &[]);
}

#[test]
fn what_the_specification_only_advises_is_a_warning() {
    check_patient(r#""name":[{"text":" \n"}]"#, &["warning value Patient.name[0].text r4-primitive"]);
    check_patient(r#""name":[{"text":""}]"#, &["error value Patient.name[0].text r4-primitive"]);
}

#[test]
fn a_claimed_base_type_is_the_own_one_and_xhtml_has_no_extensions() {
    let claim = |name: &str| format!(r#""meta":{{"profile":["{R4}{name}"]}}"#);
    check_patient(&claim("Patient"), &[]);
    check_patient(&claim("DomainResource"), &[]);
    check_patient(&claim("Slot"), &["error invalid Patient.meta.profile[0] r4-profile"]);
    check_patient(
        r#""text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>","_div":{"id":"a"}}"#,
        &["error structure Patient.text.`div` r4-unknown-element"],
    );
    check_patient(r#""_id":{"extension":[]}"#, &["error structure Patient.id r4-unknown-element"]);
}

#[test]
fn a_choice_is_of_the_very_type_that_the_profile_leaves() {
    let element = r#"{"id":"Observation.value[x]","path":"Observation.value[x]","type":[{"code":"string"}]}"#;
    let extension = r#"{"id":"Extension.value[x]","path":"Extension.value[x]","type":[{"code":"string"}]}"#;
    let profiles = [
        structure("o", "Observation", &format!("{R4}Observation"), "", element),
        structure("e", "Extension", &format!("{R4}Extension"), "", extension),
    ];
    let validator = Validator::compile(&profiles).expect("they compile");
    let of = |value: &str| {
        let patient = format!(r#"{{"resourceType":"Patient","extension":[{{"url":"https://x/e",{value}}}]}}"#);
        errors(&validator.check_document(&parse(&patient), None))
    };
    assert_eq!(of(r#""valueString":"a""#), "");
    assert_eq!(of(r#""valueCode":"a""#), "error value Patient.extension[0].value.ofType(code) https://x/e");
}

#[test]
fn codes_of_systems_with_check_digits_are_checked_without_the_systems() {
    let of = |system: &str, code: &str| {
        let patient = format!(
            r#"{{"resourceType":"Patient","maritalStatus":{{"coding":[{{"system":"{system}","code":"{code}"}}]}}}}"#
        );
        errors(&validator().check_document(&parse(&patient), None))
    };
    let wrong = |rule: &str| format!("error code-invalid Patient.maritalStatus.coding[0].code {rule}");
    assert_eq!(of("http://snomed.info/sct", "22298006"), "");
    assert_eq!(of("http://snomed.info/sct", "22298006 |Myocardial infarction|"), "");
    assert_eq!(of("http://snomed.info/sct", "22298007"), wrong("snomed-check-digit"));
    assert_eq!(of("http://snomed.info/sct", "22298006x"), wrong("snomed-check-digit"));
    assert_eq!(of("https://dmd.nhs.uk", "22298007"), wrong("snomed-check-digit"));
    assert_eq!(of("http://loinc.org", "8310-5"), "");
    assert_eq!(of("http://loinc.org", "LP7787-7"), "");
    assert_eq!(of("http://loinc.org", "8310-6"), wrong("loinc-check-digit"));
}

#[test]
fn constraints_may_ask_whether_a_resource_conforms() {
    let constraint = |expression: &str| {
        format!(
            r#"{{"id":"Bundle","path":"Bundle","constraint":[{{"key":"b-1","severity":"error","human":"named","expression":"{expression}"}}]}}"#
        )
    };
    let compiled = |expression: &str| {
        Validator::compile(&[
            structure(
                "named",
                "Patient",
                &format!("{R4}Patient"),
                "",
                r#"{"id":"Patient.name","path":"Patient.name","min":1}"#,
            ),
            structure("b", "Bundle", &format!("{R4}Bundle"), "", &constraint(expression)),
        ])
    };
    let of = |expression: &str, patient: &str| {
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"fullUrl":"https://s/Patient/1","resource":{{"resourceType":"Patient","id":"1"{patient}}}}}]}}"#
        );
        let validator = compiled(expression).expect("it compiles");
        errors(&validator.check_document(&parse(&bundle), Some("https://x/b")))
    };
    let named = "entry.resource.all(conformsTo('https://x/named'))";
    assert_eq!(of(named, r#","name":[{"text":"A"}]"#), "");
    assert_eq!(of(named, ""), "error invariant Bundle https://x/b#b-1");
    let itself = "conformsTo('https://x/b') and entry.exists()";
    assert_eq!(of(itself, ""), "", "a circle ends");
    assert_eq!(of("conformsTo('https://x/none')", ""), "error not-supported Bundle https://x/b#b-1");
    let refused = compiled("entry.resource.slice('https://x/b', 'a').exists()").expect_err("nobody answers slice()");
    assert!(refused[0].text.contains("constraint b-1: slice() is not supported here"), "{refused:?}");
}

proptest! {
    /// What `recheck` relies on.
    #[test]
    fn narrative_is_made_valid(texts in prop::collection::vec(prop_oneof![any::<String>(), "[ \\n<>&'\"a-]{0,9}"], 12)) {
        let text = |place: usize| serde_json::to_string(&texts[place]).expect("a text is JSON");
        let bundle = parse(&format!(
            r#"{{"resourceType":"Bundle","entry":[{{"fullUrl":"urn:uuid:1","resource":{{"resourceType":"Composition","title":{},
            "subject":{{"reference":"urn:uuid:3"}},"section":[{{"title":{},"emptyReason":{{"text":{}}},"entry":[{{"reference":"urn:uuid:2"}}]}}]}}}},
            {{"fullUrl":"urn:uuid:2","resource":{{"resourceType":"ServiceRequest","status":{},"priority":{},"code":{{"text":{},"coding":[{{"code":{}}}]}},
            "occurrenceDateTime":{},"extension":[{{"url":{},"valueString":{}}}]}}}},
            {{"fullUrl":"urn:uuid:3","resource":{{"resourceType":"Patient","name":[{{"text":{}}}],"birthDate":{}}}}}]}}"#,
            text(0), text(1), text(2), text(3), text(4), text(5), text(6), text(7), text(8), text(9), text(10), text(11),
        ));
        let entries = Entries::of(&bundle);
        let resource = |place: usize| entries.list()[place].resource.expect("it has one");
        let section = resource(0).items_of("section").next().expect("there is one");
        let shown = |_: Node<'_>| Show::AsItIs;
        let shown = Shown::new(&shown);
        let remarks = [(section.id(), texts[0].clone())].into_iter().collect();
        let (composition, note) = (resource(0), Some(&*texts[1]));
        let mut made = vec![
            made::of_section(section, &[resource(1)], shown, false),
            made::of_section(section, &[resource(1), resource(2)], shown, true),
            made::of_withheld_section(true),
            made::of_withheld_section(false),
            Head { composition, entries: &entries, shown, remarks: &remarks, note }.div(),
        ];
        made.extend(made::of_empty_section(section, shown).map(|(_, div)| div));
        for div in made {
            prop_assert_eq!(narrative::check(&div), Ok(vec![]), "{}", div);
        }
    }
}
