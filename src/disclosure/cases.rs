//! What the projection does with each thing that FHIR can carry, one test a thing.

use std::fmt::Write as _;

use super::agreement::sample::{CONSENT, SECTIONS};
use super::sample_facts::{PATIENT, SampleFacts};
use super::{Agreement, Agreements, Error, Manifest, PseudonymKey, project};
use crate::fhir::bundle::Entries;
use crate::fhir::{Document, Fault, Limits};
use crate::identity::InterfaceName;

const BUNDLE: &str = "https://weir.example/p";
const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";
const MASK: &str =
    r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}"#;

/// An agreement with one interface that has these clauses.
fn file(settings: &str, recipient: &str, clauses: &str) -> String {
    format!(
        "id = 'a'\nversion = '1'\nstatus = 'active'\neffective = '2026-01-01'\nreview = '2027-01-01'\n\
         retention_days = 1\ncontroller = {{ ods = 'A1', name = 'A' }}\nrecipient = {{ ods = '{recipient}', name = 'B' }}\n\
         purpose = {{ code = 'TREAT', words = 'care' }}\n\
         lawful_basis = {{ article_6 = '6', article_9 = '9', common_law = 'c' }}\ncategories = {{ c = 'c' }}\n\
         {SECTIONS}[interfaces.i]\nprofile = '{BUNDLE}'\n{settings}\n{CONSENT}{clauses}"
    )
}

fn permit(resource: &str, elements: &[&str]) -> String {
    clause("permit", resource, &format!("elements = {elements:?}"))
}

fn clause(kind: &str, resource: &str, rest: &str) -> String {
    let (resource, profile) = resource.split_once(' ').map_or((resource, None), |(name, url)| (name, Some(url)));
    let mut text = format!("[[interfaces.i.{kind}]]\nresource = '{resource}'\nreason = 'the reason'\n{rest}\n");
    if let Some(profile) = profile {
        let _infallible = writeln!(text, "profile = '{profile}'");
    }
    text.push_str(if kind == "withhold" { "approved_by = 'caldicott_guardian'\n" } else { "category = 'c'\n" });
    text
}

fn generalise(resource: &str, element: &str, to: &str) -> String {
    clause("generalise", resource, &format!("element = \"{element}\"\nto = {to}"))
}

fn withhold(resource: &str, elements: &[&str]) -> String {
    clause("withhold", resource, &format!("elements = {elements:?}"))
}

fn load(settings: &str, clauses: &[String]) -> Agreements {
    let text = file(settings, "B1", &clauses.concat());
    Agreements::load_for(&[("a.toml".to_owned(), text)], &SampleFacts::new())
        .unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn fault(clauses: &[String]) -> String {
    let text = file(SILENT, "B1", &clauses.concat());
    let faults = Agreements::load_for(&[("a.toml".to_owned(), text)], &SampleFacts::new()).expect_err("it has a fault");
    faults.iter().map(|fault| fault.text.clone()).collect::<Vec<_>>().join("; ")
}

const SILENT: &str = "tell_withheld = false";
const TELLING: &str = "tell_withheld = true";
const LISTING: &str = "tell_withheld = true\nlist_withheld = true";

fn parse(text: &str) -> Document {
    Document::parse(text, &Limits::default()).expect("it is JSON")
}

fn bundle_of(resources: &[&str]) -> Document {
    let entry = |(index, resource)| format!(r#"{{"fullUrl":"urn:uuid:{index}","resource":{resource}}}"#);
    let entries: Vec<String> = resources.iter().enumerate().map(entry).collect();
    parse(&format!(
        r#"{{"resourceType":"Bundle","type":"message","timestamp":"2026-03-02T14:05:00Z","entry":[{}]}}"#,
        entries.join(",")
    ))
}

fn run(agreements: &Agreements, bundle: &Document) -> (Document, Manifest) {
    let interface: InterfaceName = "i".parse().expect("a name");
    let agreement: &Agreement = agreements.iter().next().expect("there is one");
    let (sent, manifest) = project(bundle, agreement, &interface).expect("it is a Bundle");
    assert_eq!(project(&sent, agreement, &interface).expect("a Bundle").0.source(), sent.source(), "twice is as once");
    (sent, manifest)
}

/// What leaves of the only resource, and what was held back: path and reason.
fn cut(agreements: &Agreements, resource: &str) -> (String, Vec<String>) {
    let bundle = bundle_of(&[resource]);
    let (sent, manifest) = run(agreements, &bundle);
    let entries = Entries::of(&sent);
    let left = entries.list().first().and_then(|entry| entry.resource).map_or("", |resource| resource.raw()).to_owned();
    let rows = manifest.withheld().iter().filter_map(|row| {
        let path = bundle.node(row.node).expect("it is a node").path().to_string();
        let below = path.strip_prefix("Bundle.entry[0]")?;
        Some(format!("{} {:?}", below.trim_start_matches(".resource").trim_start_matches('.'), row.why))
    });
    (left, rows.collect())
}

/// What leaves of a Patient with these members.
fn patient(agreements: &Agreements, members: &str) -> String {
    let (left, _) = cut(agreements, &format!(r#"{{"resourceType":"Patient",{members}}}"#));
    left.strip_prefix(r#"{"resourceType":"Patient""#)
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or("none")
        .trim_start_matches(',')
        .to_owned()
}

#[test]
fn a_choice_element_leaves_in_the_type_that_is_permitted() {
    let agreements = load(SILENT, &[permit("Observation", &["status", "valueQuantity.value", "effectiveDateTime"])]);
    let of = |value: &str| cut(&agreements, &format!(r#"{{"resourceType":"Observation","status":"final",{value}}}"#)).0;
    assert!(of(r#""valueQuantity":{"value":1.50,"unit":"u"}"#).ends_with(r#""valueQuantity":{"value":1.50}}"#));
    for other in
        [r#""valueString":"s""#, r#""value":1"#, r#""valueInteger":1"#, r#""effectivePeriod":{"start":"2026"}"#]
    {
        assert_eq!(of(other), r#"{"resourceType":"Observation","status":"final"}"#, "{other}");
    }
}

#[test]
fn an_occurrence_leaves_by_the_slice_that_it_is_in() {
    let profile = format!("Patient {PATIENT}");
    let agreements = load(SILENT, &[permit(&profile, &["identifier:nhsNumber.value", "identifier.system"])]);
    let claim = format!(r#""meta":{{"profile":["{PATIENT}"]}}"#);
    for (identifiers, left) in [
        (
            format!(r#"{{"system":"{NHS_NUMBER}","value":"1"}},{{"system":"s","value":"2"}}"#),
            format!(r#"{{"system":"{NHS_NUMBER}","value":"1"}},{{"system":"s"}}"#),
        ),
        (r#"{"value":"1"},{"system":"s"}"#.to_owned(), r#"{"system":"s"}"#.to_owned()),
    ] {
        let left = format!(r#"{claim},"identifier":[{left}]"#);
        assert_eq!(patient(&agreements, &format!(r#"{claim},"identifier":[{identifiers}]"#)), left);
    }
    assert_eq!(patient(&agreements, &format!(r#"{claim},"identifier":[{{"value":"1"}}]"#)), claim);
}

#[test]
fn what_is_said_of_a_slice_holds_in_the_place_of_what_is_said_of_all() {
    let profile = format!("Patient {PATIENT}");
    let elements = ["identifier.system", "identifier.value"];
    let clauses = [permit(&profile, &elements), withhold(&profile, &["identifier:nhsNumber.value"])];
    let claim = format!(r#""meta":{{"profile":["{PATIENT}"]}}"#);
    let identifiers = format!(r#"{{"system":"{NHS_NUMBER}","value":"1"}},{{"system":"s","value":"2"}}"#);
    let left = patient(&load(SILENT, &clauses), &format!(r#"{claim},"identifier":[{identifiers}]"#));
    let expected = format!(r#"{claim},"identifier":[{{"system":"{NHS_NUMBER}"}},{{"system":"s","value":"2"}}]"#);
    assert_eq!(left, expected);
}

#[test]
fn a_slice_is_one_that_the_profile_has() {
    let profile = format!("Patient {PATIENT}");
    for (resource, element, expected) in [
        ("Patient", "identifier:nhsNumber.value", "names a slice: say in profile"),
        (&*profile, "identifier:nhsnumber.value", "has no slice \"nhsnumber\" of identifier; it has nhsNumber"),
        (&*profile, "name:official.family", "has no slice \"official\" of name; it has none"),
    ] {
        let found = fault(&[permit(resource, &[element])]);
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_primitives_extensions_leave_beside_it_or_alone() {
    let agreements = load(SILENT, &[permit("Patient", &["gender", "birthDate.extension('e').valueCode"])]);
    let extension = r#"{"id":"i","extension":[{"url":"e","valueCode":"c"},{"url":"x","valueCode":"d"}]}"#;
    let left = r#"{"extension":[{"url":"e","valueCode":"c"}]}"#;
    let given = format!(r#""gender":"other","_gender":{extension},"birthDate":"2000","_birthDate":{extension}"#);
    assert_eq!(patient(&agreements, &given), format!(r#""gender":"other","_birthDate":{left}"#));
}

#[test]
fn ids_and_extensions_leave_at_no_depth_unless_listed() {
    let elements =
        ["name.family", "name.id", "contact.name.family", "contact.name.extension('e').extension('f').valueCode"];
    let agreements = load(SILENT, &[permit("Patient", &elements)]);
    let inner = r#"{"url":"f","id":"4","valueCode":"c"}"#;
    let deep = format!(r#"{{"url":"e","id":"5","extension":[{inner},{{"url":"g","valueCode":"d"}}]}}"#);
    let given = format!(
        r#""id":"1","name":[{{"id":"2","family":"F","_family":{{"id":"3"}},"extension":[{deep}]}}],
        "contact":[{{"id":"6","name":{{"id":"7","family":"G","extension":[{deep},{{"url":"h","valueCode":"i"}}]}}}}]"#
    );
    let deep = r#"{"url":"e","extension":[{"url":"f","valueCode":"c"}]}"#;
    let expected =
        format!(r#""name":[{{"id":"2","family":"F"}}],"contact":[{{"name":{{"family":"G","extension":[{deep}]}}}}]"#);
    assert_eq!(patient(&agreements, &given), expected);
}

#[test]
fn an_unpermitted_modifier_extension_withholds_what_it_stands_in() {
    let agreements =
        load(SILENT, &[permit("Patient", &["contact.name.family", "contact.modifierExtension('m').valueCode"])]);
    let contact =
        |url: &str| format!(r#"{{"modifierExtension":[{{"url":"{url}","valueCode":"c"}}],"name":{{"family":"F"}}}}"#);
    let (left, held) =
        cut(&agreements, &format!(r#"{{"resourceType":"Patient","contact":[{},{}]}}"#, contact("m"), contact("n")));
    assert_eq!(left, format!(r#"{{"resourceType":"Patient","contact":[{}]}}"#, contact("m")));
    assert_eq!(held, ["contact[1] ModifierExtension"]);
    let (left, held) = cut(&agreements, r#"{"resourceType":"Patient","modifierExtension":[{"url":"n"}]}"#);
    assert_eq!((left.as_str(), held), ("", vec![" ModifierExtension".to_owned()]));
}

#[test]
fn an_unpermitted_modifier_element_withholds_what_it_stands_in() {
    let request = ["intent", "status", "code.text", "requester.display"];
    let clauses = [
        permit("ServiceRequest", &request),
        permit("Patient", &["name.family", "name.use"]),
        permit(
            "AllergyIntolerance",
            &["code.text", "verificationStatus.coding.system", "verificationStatus.coding.code"],
        ),
    ];
    for settings in [SILENT, TELLING] {
        let agreements = load(settings, &clauses);
        let held = |resource: &str| cut(&agreements, resource).1;
        let request =
            |more: &str| format!(r#"{{"resourceType":"ServiceRequest","intent":"order","status":"active"{more}}}"#);
        let none: [&str; 0] = [];
        assert_eq!(held(&request("")), none);
        assert_eq!(held(&request(r#","doNotPerform":true"#)), [" ModifierElement"]);
        assert_eq!(held(&request(r#","_doNotPerform":{"id":"1"}"#)), [" ModifierElement"]);
        for members in [
            r#""active":false"#,
            r#""deceasedBoolean":true"#,
            r#""deceasedDateTime":"2026""#,
            r#""implicitRules":"u""#,
            r#""link":[{"type":"replaced-by"}]"#,
        ] {
            assert_eq!(held(&format!(r#"{{"resourceType":"Patient",{members}}}"#)), [" ModifierElement"], "{members}");
        }
        assert_eq!(held(r#"{"resourceType":"Patient","name":[{"use":"old","family":"F"}]}"#), none);
        assert_eq!(held(r#"{"resourceType":"Patient","name":[{"family":"F"}],"telecom":[{"use":"old"}]}"#).len(), 1);
        let allergy =
            |concept: &str| format!(r#"{{"resourceType":"AllergyIntolerance","verificationStatus":{concept}}}"#);
        let coding = r#"{"system":"s","code":"refuted","display":"d"}"#;
        assert_eq!(
            held(&allergy(&format!(r#"{{"coding":[{coding}],"text":"t"}}"#))).len(),
            2,
            "its words are not its meaning"
        );
        assert_eq!(held(&allergy(r#"{"text":"refuted"}"#)), [" ModifierElement"]);
    }
}

#[test]
fn contained_resources_never_leave() {
    let agreements = load(SILENT, &[permit("Observation", &["status", "subject.reference", "subject.display"])]);
    let (left, held) = cut(
        &agreements,
        r##"{"resourceType":"Observation","status":"final","contained":[{"resourceType":"Patient","id":"p"}],
        "subject":{"reference":"#p","display":"d"}}"##,
    );
    assert_eq!(left, r#"{"resourceType":"Observation","status":"final","subject":{"display":"d"}}"#);
    assert_eq!(held, ["contained NotPermitted", "subject.reference DanglingReference"]);
    assert!(fault(&[permit("Observation", &["contained.id"])]).contains("never leave"));
}

#[test]
fn of_meta_leaves_what_is_listed_and_profiles_that_clauses_name() {
    let meta = r#""meta":{"versionId":"1","lastUpdated":"2026-03-02T14:05:00Z","source":"s","profile":["p","q"],
        "security":[{"system":"s","code":"c","display":"d"}],"tag":[{"system":"t","code":"u"}]}"#;
    let agreements = load(SILENT, &[permit("Patient", &["gender"]), permit("Patient https://p", &["gender"])]);
    assert_eq!(patient(&agreements, &format!(r#"{meta},"gender":"other""#)), r#""gender":"other""#);
    let claim = meta.replace("\"p\"", "\"https://p\"");
    assert_eq!(patient(&agreements, &claim), r#""meta":{"profile":["https://p"]}"#);
    let agreements = load(SILENT, &[permit("Patient", &["meta.source", "meta.security.code", "meta.tag.code"])]);
    assert_eq!(patient(&agreements, meta), r#""meta":{"source":"s","security":[{"code":"c"}],"tag":[{"code":"u"}]}"#);
}

#[test]
fn display_and_text_beside_codes_leave_only_when_listed() {
    let concept = r#""code":{"id":"1","coding":[{"system":"s","version":"v","code":"c","display":"d","userSelected":true}],"text":"t"}"#;
    let agreements = load(SILENT, &[permit("Observation", &["code.coding.system", "code.coding.code"])]);
    let (left, _) = cut(&agreements, &format!(r#"{{"resourceType":"Observation",{concept}}}"#));
    assert_eq!(left, r#"{"resourceType":"Observation","code":{"coding":[{"system":"s","code":"c"}]}}"#);
    let agreements = load(SILENT, &[permit("Observation", &["code.coding.display", "code.text"])]);
    let (left, _) = cut(&agreements, &format!(r#"{{"resourceType":"Observation",{concept}}}"#));
    assert_eq!(left, r#"{"resourceType":"Observation","code":{"coding":[{"display":"d"}],"text":"t"}}"#);
}

#[test]
fn a_reference_to_what_is_withheld_is_cut_to_its_type() {
    let task = ["focus.reference", "focus.type", "for.reference"];
    let agreements = load(SILENT, &[permit("Task", &task)]);
    let task =
        r#"{"resourceType":"Task","focus":{"reference":"urn:uuid:1","type":"Flag"},"for":{"reference":"urn:uuid:1"}}"#;
    let (sent, _) = run(&agreements, &bundle_of(&[task, r#"{"resourceType":"Flag"}"#]));
    assert!(sent.source().contains(r#""focus":{"type":"Flag"}}"#), "{}", sent.source());
    assert!(!sent.source().contains("urn:uuid:1"));
}

#[test]
fn a_url_that_names_a_withheld_entry_does_not_dangle() {
    let elements = ["content.attachment.url", "masterIdentifier.system"];
    let agreements = load(SILENT, &[permit("DocumentReference", &elements), permit("Flag", &["code.text"])]);
    let document = |url: &str| {
        format!(
            r#"{{"resourceType":"DocumentReference","content":[{{"attachment":{{"url":"{url}"}}}}],"masterIdentifier":{{"system":"{url}"}}}}"#
        )
    };
    for (url, stays) in [("urn:uuid:1", false), ("urn:uuid:2", true), ("https://a.example/file", true)] {
        let bundle = bundle_of(&[&document(url), r#"{"resourceType":"Binary"}"#, r#"{"resourceType":"Flag"}"#]);
        let sent = run(&agreements, &bundle).0;
        assert_eq!(sent.source().matches(&format!("\"url\":\"{url}\"")).count(), usize::from(stays), "{url}");
        assert_eq!(sent.source().matches(&format!("\"system\":\"{url}\"")).count(), usize::from(stays), "{url}");
    }
}

#[test]
fn a_full_url_does_not_tell_an_id_that_may_not_leave() {
    let bundle = |url: &str| {
        parse(&format!(
            r#"{{"resourceType":"Bundle","entry":[{{"fullUrl":"{url}","resource":{{"resourceType":"Patient","id":"p1","gender":"other"}}}},
            {{"fullUrl":"urn:uuid:1","resource":{{"resourceType":"Task","for":{{"reference":"{url}"}}}}}}]}}"#
        ))
    };
    let url = "https://a.example/Patient/p1";
    for (elements, leaves) in [(&["gender"] as &[&str], false), (&["gender", "id"], true)] {
        let agreements = load(SILENT, &[permit("Patient", elements), permit("Task", &["for.reference"])]);
        let sent = run(&agreements, &bundle(url)).0;
        assert_eq!(sent.source().contains("p1"), leaves, "{}", sent.source());
        assert_eq!(sent.source().matches(url).count(), if leaves { 2 } else { 0 });
        let urn = run(&agreements, &bundle("urn:uuid:7")).0;
        assert_eq!(urn.source().matches("urn:uuid:7").count(), 2, "a UUID tells nothing");
    }
}

#[test]
fn an_identifier_in_a_reference_leaves_only_when_listed() {
    let subject = r#""subject":{"type":"Patient","identifier":{"system":"s","value":"1"},"display":"Robin"}"#;
    for (elements, left) in [
        (&["subject.type"] as &[&str], r#""subject":{"type":"Patient"}"#),
        (&["subject.identifier.value"], r#""subject":{"identifier":{"value":"1"}}"#),
        (&["subject.reference"], r#""status":"final""#),
    ] {
        let agreements = load(SILENT, &[permit("Observation", &[elements, &["status"]].concat())]);
        let (sent, _) = cut(&agreements, &format!(r#"{{"resourceType":"Observation","status":"final",{subject}}}"#));
        assert!(
            sent.contains(left) && (left.contains("value") || !sent.contains("\"1\"")) && !sent.contains("Robin"),
            "{sent}"
        );
    }
}

#[test]
fn of_an_attachment_leaves_what_is_listed() {
    let attachment = r#"{"contentType":"text/plain","language":"en","data":"UQ==","url":"https://a.example/f","size":1,
        "hash":"UQ==","title":"t","creation":"2026"}"#;
    let agreements = load(SILENT, &[permit("Patient", &["photo.contentType", "photo.title"])]);
    assert_eq!(
        patient(&agreements, &format!(r#""photo":[{attachment}]"#)),
        r#""photo":[{"contentType":"text/plain","title":"t"}]"#
    );
    let (left, _) = cut(&agreements, r#"{"resourceType":"Binary","contentType":"text/plain","data":"UQ=="}"#);
    assert_eq!(left, "");
}

#[test]
fn a_bundles_total_and_links_stay() {
    let agreements = load(SILENT, &[permit("Patient", &["gender"]), permit("Bundle", &["link.relation"])]);
    let bundle = parse(
        r#"{"resourceType":"Bundle","type":"searchset","total":2,"link":[{"relation":"self","url":"https://a.example?name=Robin"}],
        "signature":{"data":"UQ=="},"entry":[{"fullUrl":"urn:uuid:0","link":[{"relation":"x","url":"y"}],"search":{"mode":"match","score":1},
        "request":{"method":"GET","url":"Patient/1"},"response":{"status":"200","etag":"e"},"resource":{"resourceType":"Patient"}}]}"#,
    );
    let expected = r#"{"resourceType":"Bundle","type":"searchset","link":[{"relation":"self"}],"entry":[{"fullUrl":"urn:uuid:0","resource":{"resourceType":"Patient"}}]}"#;
    assert_eq!(run(&agreements, &bundle).0.source(), expected);
    assert!(fault(&[permit("Bundle", &["total"])]).contains("counts what is withheld"));
}

#[test]
fn what_frames_a_bundle_is_text_or_does_not_leave() {
    let agreements = load(SILENT, &[permit("Patient", &["gender"])]);
    let resource = r#"{"resourceType":"Patient","gender":"other"}"#;
    for value in [r#"{"x":"Robin"}"#, r#"["Robin"]"#, "7"] {
        for (kind, full_url) in [(value, r#""urn:uuid:0""#), (r#""message""#, value)] {
            let bundle = format!(
                r#"{{"resourceType":"Bundle","type":{kind},"entry":[{{"fullUrl":{full_url},"resource":{resource}}}]}}"#
            );
            let sent = run(&agreements, &parse(&bundle)).0;
            assert!(!sent.source().contains(value), "{value} in {}", sent.source());
            assert!(sent.source().contains("other"), "{}", sent.source());
        }
    }
}

#[test]
fn entries_keep_their_order() {
    let agreements = load(SILENT, &[permit("Patient", &["gender"]), permit("Task", &["status"])]);
    let (patient, task, flag) =
        (r#"{"resourceType":"Patient"}"#, r#"{"resourceType":"Task"}"#, r#"{"resourceType":"Flag"}"#);
    let sent = run(&agreements, &bundle_of(&[task, flag, patient, task, flag])).0;
    let entries = Entries::of(&sent);
    let urls: Vec<_> = entries.list().iter().filter_map(|entry| entry.full_url.as_deref()).collect();
    assert_eq!(urls, ["urn:uuid:0", "urn:uuid:2", "urn:uuid:3"]);
}

#[test]
fn a_key_that_stands_twice_is_refused_before_the_projection() {
    for text in [r#"{"gender":"male","gender":"other"}"#, r#"{"gender":"male","gend\u0065r":"other"}"#] {
        let refused = Document::parse(text, &Limits::default()).expect_err("it is refused");
        assert_eq!(refused.what, Fault::DuplicateKey);
    }
}

#[test]
fn an_element_that_r4_does_not_know_stays() {
    let agreements = load(LISTING, &[permit("Patient", &["name.family"])]);
    let given = r#"{"resourceType":"Patient","name":[{"family":"F","Robin":1,"_Robin":{"id":"x"}}],"Robin":{"family":"G"},"name_":1}"#;
    let (sent, _) = run(&agreements, &bundle_of(&[given]));
    assert!(
        sent.source().contains(r#""name":[{"family":"F"}]"#) && !sent.source().contains("Robin"),
        "{}",
        sent.source()
    );
}

#[test]
fn what_an_agreement_holds_back_on_purpose_names_its_clause() {
    let clauses = [
        permit("Patient", &["name.family", "name.given", "gender"]),
        withhold("Patient", &["name"]),
        permit("Flag", &["status"]),
        clause("withhold", "Flag", ""),
    ];
    let agreements = load(SILENT, &clauses);
    let given =
        r#"{"resourceType":"Patient","gender":"other","name":[{"family":"F"}],"contact":[{"name":{"family":"G"}}]}"#;
    let (left, held) = cut(&agreements, given);
    assert_eq!(left, r#"{"resourceType":"Patient","gender":"other"}"#);
    assert_eq!(held, ["name Withholding(0)", "contact NotPermitted"]);
    let (left, held) = cut(&agreements, r#"{"resourceType":"Flag","status":"active"}"#);
    assert_eq!((left.as_str(), held), ("", vec![" Withholding(1)".to_owned()]));
    let agreement = agreements.iter().next().expect("there is one");
    let (_, interface) = agreement.interfaces().next().expect("there is one");
    let reason = interface.reason(super::Why::Withholding(0));
    assert!(reason.starts_with("withheld on purpose: the reason (approved by "), "{reason}");
}

#[test]
fn of_several_clauses_for_one_element_the_strictest_holds() {
    let claiming = format!("Patient {PATIENT}");
    let claim = format!(r#"{{"resourceType":"Patient","meta":{{"profile":["{PATIENT}"]}}"#);
    let given = format!(r#"{claim},"gender":"other","birthDate":"1980-04-02"}}"#);
    let left = |clauses: &[String]| cut(&load(SILENT, clauses), &given);

    let permitted = ["birthDate", "gender"];
    for (loose, strict) in [("Patient", &*claiming), (&claiming, "Patient"), (&claiming, &claiming)] {
        let (sent, held) = left(&[permit(loose, &permitted), withhold(strict, &["birthDate"])]);
        assert_eq!(sent, format!(r#"{claim},"gender":"other"}}"#), "{loose} permits, {strict} withholds");
        assert_eq!(held, ["birthDate Withholding(0)"]);

        let (sent, _) = left(&[permit(loose, &permitted), generalise(strict, "birthDate", "'year'")]);
        assert_eq!(sent, format!(r#"{claim},"gender":"other","birthDate":"1980"}}"#), "{strict} generalises");

        let year = generalise(loose, "birthDate", "'year'");
        let (sent, held) = left(&[permit(loose, &["gender"]), year, withhold(strict, &["birthDate"])]);
        assert_eq!(sent, format!(r#"{claim},"gender":"other"}}"#), "{loose} generalises, {strict} withholds");
        assert_eq!(held, ["birthDate Withholding(0)"]);
    }
}

#[test]
fn a_clause_that_only_withholds_lets_nothing_leave() {
    let agreements = load(
        SILENT,
        &[permit("Patient", &["gender"]), withhold("Flag", &["code"]), generalise("Task", "description", "'withheld'")],
    );
    for resource in [r#"{"resourceType":"Flag","id":"1"}"#, r#"{"resourceType":"Task","description":"d"}"#] {
        assert_eq!(cut(&agreements, resource), (String::new(), vec![" ResourceNotPermitted".to_owned()]));
    }
}

#[test]
fn the_list_of_what_was_withheld_has_paths_without_places_or_values() {
    let agreements = load(LISTING, &[permit("Patient", &["name.family"])]);
    let given = r#"{"resourceType":"Patient","name":[{"family":"F","given":["Robin"]},{"family":"G","given":["Jo"]}],"gender":"other",
        "extension":[{"url":"https://robin.example","valueString":"s"}]}"#;
    let (sent, _) = run(&agreements, &bundle_of(&[given, r#"{"resourceType":"Coverage","status":"active"}"#]));
    let element = |path: &str| {
        format!(
            r#"{{"url":"https://weir.example/fhir/StructureDefinition/weir-withheld-element","valueString":"{path}"}}"#
        )
    };
    let paths = ["Bundle.timestamp", "Coverage", "Patient.extension", "Patient.gender", "Patient.name.given"];
    let list: Vec<String> = paths.iter().map(|path| element(path)).collect();
    assert!(sent.source().contains(&format!(r#""meta":{{"extension":[{}],"#, list.join(","))), "{}", sent.source());
    let text = bundle_of(&[given]).source().replacen(
        "\"type\"",
        &format!(r#""meta":{{"extension":[{},{}]}},"type""#, element("Robin.x"), element("Task")),
        1,
    );
    let (sent, _) = run(&agreements, &parse(&text));
    assert!(!sent.source().contains("Robin") && sent.source().contains(&element("Task")), "{}", sent.source());
}

#[test]
fn a_bundle_that_means_something_else_is_refused() {
    let agreements = load(SILENT, &[permit("Patient", &["gender"])]);
    let bundle = parse(r#"{"resourceType":"Bundle","implicitRules":"https://a.example/rules","entry":[]}"#);
    let agreement = agreements.iter().next().expect("there is one");
    let refused = project(&bundle, agreement, &"i".parse().expect("a name"));
    assert!(matches!(refused, Err(Error::MeaningLost)));
}

/// What generalises an address, a birth date and an identifier.
fn generalising(settings: &str) -> Agreements {
    let profile = format!("Patient {PATIENT}");
    load(
        settings,
        &[
            permit("Bundle", &["timestamp"]),
            permit(&profile, &["identifier.system", "meta.profile", "address.city"]),
            generalise(&profile, "identifier:nhsNumber.value", "'pseudonym'\nkey = 'k'"),
            generalise(&profile, "birthDate", "'age-band'\nbands = [18, 65]"),
            generalise(&profile, "address.postalCode", "'outward-code'"),
            generalise(&profile, "address.period.start", "'month'"),
            generalise(&profile, "name.text", "'withheld'"),
            generalise(&profile, "deceasedDateTime", "'year'"),
        ],
    )
}

fn known(members: &str) -> String {
    format!(r#""meta":{{"profile":["{PATIENT}"]}},{members}"#)
}

#[test]
fn values_leave_less_exact() {
    let agreements = generalising(SILENT);
    for (given, left) in [
        (r#""address":[{"postalCode":"zz993cz","city":"E"}]"#, r#""address":[{"postalCode":"ZZ99","city":"E"}]"#),
        (r#""address":[{"postalCode":"Robin's","city":"E"}]"#, r#""address":[{"city":"E"}]"#),
        (r#""address":[{"postalCode":5}]"#, ""),
        (
            r#""address":[{"period":{"start":"2026-03-02T13:50:00Z","end":"2026"}}]"#,
            r#""address":[{"period":{"start":"2026-03"}}]"#,
        ),
        (r#""deceasedDateTime":"2026-03-01""#, r#""deceasedDateTime":"2026""#),
    ] {
        assert_eq!(patient(&agreements, &known(given)), known(left).trim_end_matches(','), "{given}");
    }
    assert_eq!(patient(&agreements, &known(r#""deceasedDateTime":"soon""#)), "none", "the modifier would be lost");
    let (_, held) = cut(
        &agreements,
        &format!(
            r#"{{"resourceType":"Patient",{}}}"#,
            known(r#""name":[{"text":"Robin"}],"address":[{"postalCode":"x"}]"#)
        ),
    );
    assert_eq!(held, ["name[0].text Generalised(4)", "address[0].postalCode NotGeneralisable(2)"]);
}

#[test]
fn an_age_band_stands_in_the_place_of_a_birth_date() {
    let band = |low: u16| {
        let quantity = |end: &str, age: u16| {
            format!(r#""{end}":{{"value":{age},"unit":"years","system":"http://unitsofmeasure.org","code":"a"}}"#)
        };
        format!(
            r#""_birthDate":{{"extension":[{{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}},{{"url":"https://weir.example/fhir/StructureDefinition/weir-age-band","extension":[{{"url":"range","valueRange":{{{},{}}}}},{{"url":"asOf","valueDate":"2026-03-02"}}]}}]}}"#,
            quantity("low", low),
            quantity("high", 64)
        )
    };
    for settings in [SILENT, TELLING] {
        let agreements = generalising(settings);
        let left = patient(&agreements, &known(r#""birthDate":"1987-06-14""#));
        assert!(left.contains(&band(18)) && !left.contains("1987"), "{left}");
        let left = patient(&agreements, &known(&format!(r#""birthDate":"1987-06-14",{}"#, band(65))));
        assert!(left.contains(&band(18)), "the date is what counts: {left}");
        for (given, masked) in
            [(r#""birthDate":"2008""#, true), (&*band(19), true), (r#""birthDate":"2030-01-01""#, true)]
        {
            let left = patient(&agreements, &known(given));
            assert!(
                !left.contains("weir-age-band") && left.contains(MASK) == (masked && settings == TELLING),
                "{given}: {left}"
            );
        }
    }
}

#[test]
fn a_pseudonym_stands_in_the_place_of_an_identifier() {
    let agreements = generalising(TELLING);
    let given =
        format!(r#""identifier":[{{"system":"{NHS_NUMBER}","value":"9990001014"}},{{"system":"s","value":"2"}}]"#);
    let left = patient(&agreements, &known(&given));
    let recipient = "B1".parse().expect("an ODS code");
    let pseudonym = PseudonymKey::new(&[1; 32]).pseudonym(&recipient, NHS_NUMBER, "9990001014");
    let expected = format!(
        r#""identifier":[{{"system":"https://weir.example/fhir/Id/pseudonym/B1","value":"{pseudonym}"}},{{"system":"s"}}]"#
    );
    assert!(left.ends_with(&expected), "{left}");
    assert!(left.contains(r#""code":"PSEUDED""#), "{left}");
    let text = file(
        SILENT,
        "B2",
        &generalise(&format!("Patient {PATIENT}"), "identifier:nhsNumber.value", "'pseudonym'\nkey = 'k'"),
    );
    let text = text.replace(
        "[[interfaces.i.generalise]]",
        &format!("{}[[interfaces.i.generalise]]", permit(&format!("Patient {PATIENT}"), &["id"])),
    );
    let other = Agreements::load_for(&[("b.toml".to_owned(), text)], &SampleFacts::new()).expect("it is sound");
    let left = patient(&other, &known(&given));
    assert!(left.contains("pseudonym/B2") && !left.contains(&pseudonym), "two recipients cannot join theirs: {left}");
}

#[test]
fn without_its_key_an_identifier_stays() {
    let clauses =
        [permit("Patient", &["gender"]), generalise("Patient", "identifier.value", "'pseudonym'\nkey = 'lost'")];
    let (left, held) =
        cut(&load(SILENT, &clauses), r#"{"resourceType":"Patient","identifier":[{"system":"s","value":"1"}]}"#);
    assert_eq!(
        (left.as_str(), held),
        (
            r#"{"resourceType":"Patient"}"#,
            vec!["identifier[0].system NotPermitted".to_owned(), "identifier[0].value NotGeneralisable(0)".to_owned()]
        )
    );
}

#[test]
fn a_generalisation_fits_its_element() {
    for (element, to, expected) in [
        ("birthDate", "'outward-code'", "only a string holds a postcode"),
        ("gender", "'year'", "only a date or dateTime"),
        ("meta.lastUpdated", "'month'", "which FHIR always writes to the second"),
        ("identifier.system", "'pseudonym'\nkey = 'k'", "not the value of an Identifier"),
        ("name", "'withheld'", "this is a whole HumanName"),
    ] {
        let found = fault(&[permit("Patient", &["id"]), generalise("Patient", element, to)]);
        assert!(found.contains(expected), "{element}: {found}");
    }
}

#[test]
fn what_is_made_less_exact_is_accounted_for() {
    let agreements = generalising(TELLING);
    let members = known(&format!(
        r#""birthDate":"1987-06-14","identifier":[{{"system":"{NHS_NUMBER}","value":"9990001014"}}],"address":[{{"postalCode":"M1 1AE"}}]"#
    ));
    let bundle = bundle_of(&[&format!(r#"{{"resourceType":"Patient",{members}}}"#)]);
    let (sent, manifest) = run(&agreements, &bundle);
    let rows = manifest.generalised().iter().map(|row| {
        let [from, to] =
            [bundle.node(row.node), sent.node(row.sent)].map(|node| node.expect("a node").path().to_string());
        format!(
            "{} {} {}",
            from.trim_start_matches("Bundle.entry[0].resource."),
            to.trim_start_matches("Bundle.entry[0].resource."),
            row.clause
        )
    });
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [
            "birthDate birthDate.extension[1] 1",
            "identifier[0].system identifier[0].system 0",
            "identifier[0].value identifier[0].value 0",
            "address[0].postalCode address[0].postalCode 2"
        ]
    );
    let leaves = sent.nodes().filter(|node| node.scalar().is_some()).count();
    let band = 1; // The row of an age band is an extension, whose leaves are among those that were written.
    assert_eq!(leaves + band, manifest.kept().len() + manifest.generalised().len() + manifest.generated().len());
    for label in ["ABSTRED", "PSEUDED"] {
        assert!(sent.source().contains(label), "{label}");
    }
}
