//! What is missing from a record, which marks mean nothing, and what a Bundle says.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::fhir::{Document, Limits, Node};
use crate::identity::MessageId;
use crate::intake::{self, Received, Submission};
use crate::mapping::{CompiledMap, Diagnostic, MapFile, Mapped, Mappings, Missing, apply};

const MARK: &str = "https://weir.example/fhir/StructureDefinition/weir-essential";
const ROLE: &str = r#"{"url":"role","valueCoding":{"system":"http://x/roles","code":"nurse","display":"The nurse"}}"#;
const MAP: &str = r#"map "http://x/map" = "m"
uses "http://x/Record" alias Record as source
uses "http://hl7.org/fhir/StructureDefinition/Bundle" alias Bundle as target
group Main(source record : Record, target bundle : Bundle) {
  record -> bundle.type = 'message' "type";
  record.at as at -> bundle.timestamp = at "at";
  record -> bundle.entry as entry, entry.fullUrl = 'urn:uuid:0b4a4a3e-0000-4000-8000-000000000001', entry.resource = create('MessageHeader') as header then {
    record -> header.author as author, author.reference = 'urn:uuid:0b4a4a3e-0000-4000-8000-000000000002' "author";
    record -> header.sender as sender, sender.reference = 'urn:uuid:0b4a4a3e-0000-4000-8000-000000000003' "sender";
    record -> header.focus as focus, focus.reference = 'urn:uuid:0b4a4a3e-0000-4000-8000-000000000005' "focus";
  } "header";
  record -> bundle.entry as entry, entry.fullUrl = 'urn:uuid:0b4a4a3e-0000-4000-8000-000000000002', entry.resource = create('PractitionerRole') as role then {
    record -> role.organization as team, team.reference = 'urn:uuid:0b4a4a3e-0000-4000-8000-000000000004' "team";
  } "role";
  record -> bundle.entry as entry, entry.fullUrl = 'urn:uuid:0b4a4a3e-0000-4000-8000-000000000006', entry.resource = create('Patient') as patient then {
    record.name as name -> patient.name as given, given.text = name "name";
  } "patient";
  record -> bundle.entry as entry, entry.resource = create('Composition') as summary then {
    record -> summary.section as section, section.title = 'First' "section";
  } "summary";
}
"#;

fn mark(parts: &str) -> String {
    format!(r#""extension":[{{"url":"{MARK}","extension":[{parts}]}}],"#)
}

/// A model whose `phone` has the mark `phone`, and whose `drug.dose` has a sound one.
fn model(phone: &str) -> String {
    let dose = mark(&format!(r#"{ROLE},{{"url":"owner","valueCode":"team"}},{{"url":"hours","valueInteger":24}}"#));
    format!(
        r##"{{"resourceType":"StructureDefinition","url":"http://x/Record","kind":"logical","type":"http://x/Record",
 "differential":{{"element":[{{"path":"Record"}},
 {{"path":"Record.at","max":"1","type":[{{"code":"instant"}}]}},
 {{"path":"Record.name","max":"1","type":[{{"code":"string"}}]}},
 {{"path":"Record.phone",{phone}"short":"Telephone","min":0,"max":"1","type":[{{"code":"string"}}]}},
 {{"path":"Record.line","max":"*","type":[{{"code":"string"}}]}},
 {{"path":"Record.drug","max":"*","type":[{{"code":"BackboneElement"}}]}},
 {{"path":"Record.drug.dose",{dose}"min":0,"max":"1","type":[{{"code":"string"}}]}}]}}}}"##
    )
}

fn parse(text: &str) -> Document {
    Document::parse(text, &Limits::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn compiled(phone: &str) -> Result<CompiledMap, Vec<Diagnostic>> {
    let file = MapFile { name: "m.map".to_owned(), text: MAP.to_owned() };
    CompiledMap::compile(&[file], &[parse(&model(phone))])
}

fn sound() -> String {
    let more = r#"{"url":"hours","valueInteger":1},{"url":"words","valueString":"Which number?"},
        {"url":"unless","valueString":"line.exists()"},{"url":"nothing","valueCode":"unknown"}"#;
    mark(&format!("{ROLE},{more}"))
}

fn missing(record: &str) -> Vec<String> {
    let map = compiled(&sound()).expect("the model is sound");
    map.missing(&parse(record)).into_iter().map(|missing| missing.path.to_string()).collect()
}

/// Blanks and what was entered in error are no answers; an expression that fails lets nothing count.
#[test]
fn of_several_only_those_count_for_which_it_is_so() {
    let missing = |counts: &str, drugs: Value| -> Vec<String> {
        let of = format!(r#"{ROLE},{{"url":"hours","valueInteger":1}},{{"url":"counts","valueString":"{counts}"}}"#);
        let model =
            model("").replace(r#"{"path":"Record.drug","#, &format!(r#"{{"path":"Record.drug",{}"min":0,"#, mark(&of)));
        let file = MapFile { name: "m.map".to_owned(), text: MAP.to_owned() };
        let map = CompiledMap::compile(&[file], &[parse(&model)]).expect("it compiles");
        let record = parse(&json!({ "drug": drugs }).to_string());
        map.missing(&record).iter().map(|missing| missing.path.to_string()).collect()
    };
    let live = "dose.where($this = 'none').empty()";
    assert_eq!(missing(live, json!([{ "dose": "one" }])), Vec::<String>::new());
    assert_eq!(missing(live, json!([{ "dose": "none" }, { "dose": "none" }])), ["drug"]);
    assert_eq!(missing(live, json!([{ "dose": "none" }, { "dose": "one" }])), Vec::<String>::new());
    assert_eq!(missing(live, json!([])), ["drug"]);
    assert_eq!(missing("dose.single() = 'one'", json!([{ "dose": ["one", "two"] }])), ["drug"], "it fails");
}

#[test]
fn what_is_absent_empty_blank_or_says_nothing_is_missing() {
    for nothing in ["", r#""phone":null"#, r#""phone":"""#, r#""phone":" ""#, r#""phone":[]"#, r#""phone":[{}]"#] {
        assert_eq!(missing(&format!("{{{nothing}}}")), ["phone"], "{nothing}");
    }
    assert_eq!(missing(r#"{"phone":"unknown"}"#), ["phone"], "a code that the mark names");
    assert_eq!(missing(r#"{"phone":"unknown to us"}"#), Vec::<String>::new());
    assert_eq!(missing(r#"{"phone":"01632 960100"}"#), Vec::<String>::new());
    assert_eq!(missing(r#"{"line":["1 Nowhere Street"]}"#), Vec::<String>::new(), "its mark lets an address do");
    assert_eq!(missing(r#"{"line":[]}"#), ["phone"]);
}

#[test]
fn each_place_of_an_element_in_a_list_is_told_and_none_below_what_is_not_there() {
    let drugs = r#"{"phone":"1","drug":[{"dose":"1"},{},{"dose":""}]}"#;
    assert_eq!(missing(drugs), ["drug[1].dose", "drug[2].dose"]);
    assert_eq!(missing(r#"{"phone":"1","drug":[]}"#), Vec::<String>::new());
    assert_eq!(missing(r#"{"phone":"1"}"#), Vec::<String>::new());
}

#[test]
fn a_mark_that_means_nothing_is_a_fault_of_the_model() {
    let hours = r#"{"url":"hours","valueInteger":1}"#;
    for (parts, expected) in [
        (hours.to_owned(), "does not say who must obtain it"),
        (ROLE.to_owned(), "does not say by when"),
        (format!(r#"{ROLE},{{"url":"hours","valueInteger":0}}"#), "does not say by when"),
        (format!(r#"{ROLE},{{"url":"hours","valueInteger":721}}"#), "does not say by when"),
        (format!(r#"{ROLE},{hours},{{"url":"owner","valueCode":"boss"}}"#), "does not say whose task it is"),
        (format!(r#"{ROLE},{hours},{{"url":"unless","valueString":"line.exists("}}"#), ""),
        (format!(r#"{ROLE},{hours},{{"url":"unless","valueString":"lines.exists()"}}"#), "no element lines"),
        (format!(r#"{ROLE},{hours},{{"url":"unles","valueString":"true"}}"#), "the mark has no part unles"),
    ] {
        let faults = compiled(&mark(&parts)).expect_err(&parts);
        assert!(faults.iter().any(|fault| fault.message.contains(expected)), "{parts}: {faults:?}");
        assert!(faults.iter().all(|fault| fault.file == "Record" && fault.line == 5), "{faults:?}");
    }
    let required = model(&sound()).replace(r#""short":"Telephone","min":0"#, r#""short":"Telephone","min":1"#);
    let compile = |model: &str, map: &str| {
        let file = MapFile { name: "m.map".to_owned(), text: map.to_owned() };
        CompiledMap::compile(&[file], &[parse(model)])
    };
    assert!(compile(&required, MAP).is_ok(), "a required element may say nothing by its code");
    let plain = required.replace(r#",{"url":"nothing","valueCode":"unknown"}"#, "");
    let faults = compile(&plain, MAP).expect_err("it can never be missing");
    assert!(faults[0].message.contains("cannot be missing"), "{faults:?}");
    let patient = "map \"http://x/map\" = \"m\"\nuses \"http://x/Record\" alias Record as source\n\
        uses \"http://hl7.org/fhir/StructureDefinition/Patient\" alias Patient as target\n\
        group Main(source record : Record, target patient : Patient) { record -> patient.active = true \"a\"; }\n";
    let faults = compile(&model(&sound()), patient).expect_err("no Bundle, no Task");
    assert!(faults[0].message.contains("in a Bundle only"), "{faults:?}");
}

fn received(record: &str) -> Received {
    let submission = Submission {
        sender: "DEMOP".parse().expect("an ODS code"),
        by: None,
        interface: "calls".parse().expect("a name"),
        content_type: Some("application/json".to_owned()),
        idempotency_key: None,
        body: record.into(),
        received_at: time::macros::datetime!(2026-03-04 08:00 UTC),
    };
    let limits = Limits::default();
    let reads = intake::Reads::Record;
    let terms = intake::Terms { limits: &limits, reads, model: None, identified_by: &[] };
    intake::receive(submission, terms, |_| vec![]).expect("it is received")
}

fn mapped(record: &str) -> Mapped {
    let map = Arc::new(compiled(&sound()).expect("the model is sound"));
    let received = received(record);
    let mappings: Mappings = [(received.interface().clone(), map)].into_iter().collect();
    apply(&mappings, received).expect("it is mapped")
}

fn tasks(mapped: &Mapped) -> Vec<Value> {
    let bundle: Value = serde_json::from_str(mapped.bundle().source()).expect("it is JSON");
    let entries = bundle["entry"].as_array().expect("there are entries").iter();
    entries.filter(|entry| entry["resource"]["resourceType"] == "Task").cloned().collect()
}

const LACKING: &str = r#"{"at":"2026-03-02T23:30:00Z","name":"Alex","drug":[{},{"dose":"1"},{}]}"#;

#[test]
fn a_task_says_what_is_missing_who_obtains_it_and_by_when() {
    let mapped = mapped(LACKING);
    let found = tasks(&mapped);
    let [phone, dose] = &found[..] else { panic!("a Task for each mark, not for each place: {found:#?}") };
    let message: MessageId = mapped.received().message();
    let id = message.part("missing phone").to_string();
    assert_eq!(phone["fullUrl"], format!("urn:uuid:{id}"));
    let task = &phone["resource"];
    let person = |last: char| json!({ "reference": format!("urn:uuid:0b4a4a3e-0000-4000-8000-00000000000{last}") });
    assert_eq!(task["id"], id);
    assert_eq!(task["description"], "Not recorded: Telephone. Which number?");
    assert_eq!(task["performerType"][0]["coding"][0]["display"], "The nurse");
    assert_eq!((&task["owner"], &task["requester"]), (&person('2'), &person('2')));
    assert_eq!((&task["focus"], &task["for"]), (&person('5'), &person('6')));
    assert_eq!(task["authoredOn"], "2026-03-02T23:30:00Z");
    assert_eq!(task["restriction"]["period"], json!({ "end": "2026-03-03T00:30:00.000Z" }), "an hour later");
    assert_eq!(task["input"][0]["valueString"], "phone");
    assert_eq!(task["reasonCode"]["coding"][0]["code"], "unknown");
    let task = &dose["resource"];
    assert_eq!((&task["owner"], &task["requester"]), (&person('4'), &person('2')), "it is the team's");
    assert_eq!(task["description"], "Not recorded: drug.dose", "its path where the model has no words");
    assert_eq!(task["input"][0]["valueString"], "drug.dose", "not how many drugs there are");
    assert!(!phone.to_string().contains("Alex") && !dose.to_string().contains("Alex"));

    let bundle: Value = serde_json::from_str(mapped.bundle().source()).expect("it is JSON");
    let sections = bundle["entry"][3]["resource"]["section"].as_array().expect("the summary has sections");
    assert_eq!(sections.len(), 2);
    let links: Vec<&Value> =
        sections[1]["entry"].as_array().expect("it lists").iter().map(|at| &at["reference"]).collect();
    assert_eq!(links, [&phone["fullUrl"], &dose["fullUrl"]]);
}

#[test]
fn without_a_time_of_the_bundle_the_hours_count_from_the_arrival() {
    let found = tasks(&mapped(r#"{"name":"Alex"}"#));
    assert_eq!(found[0]["resource"]["restriction"]["period"]["end"], "2026-03-04T09:00:00.000Z");
    assert_eq!(found[0]["resource"]["authoredOn"], "2026-03-04T08:00:00.000Z");
}

#[test]
fn every_value_has_its_rule_and_nothing_else_changes() {
    let whole = mapped(r#"{"at":"2026-03-02T23:30:00Z","name":"Alex","phone":"1"}"#);
    assert_eq!((whole.missing(), tasks(&whole).len()), (&[][..], 0));
    let lacking = mapped(LACKING);
    assert_eq!(lacking.bundle().len(), lacking.origins().len());
    let rule = |node: Node<'_>| {
        let origin = lacking.origins()[node.id().index()];
        lacking.map().rule(origin.rule).map(|rule| format!("{}.{}", rule.group, rule.name)).expect("there is a rule")
    };
    let mut of_own = Vec::new();
    for node in lacking.bundle().nodes().filter(|node| node.scalar().is_some()) {
        let (path, rule) = (node.path().to_string(), rule(node));
        let is_own = path.starts_with("Bundle.entry[4]") || path.starts_with("Bundle.entry[5]");
        let is_link = path.starts_with("Bundle.entry[3].resource.section[1]");
        assert_eq!(rule.starts_with("Weir."), is_own || is_link, "{path} ← {rule}");
        of_own.extend((is_own || is_link).then_some(rule));
    }
    of_own.dedup();
    assert_eq!(of_own, ["Weir.something is missing", "Weir.phone is missing", "Weir.drug.dose is missing"]);
    let name = lacking.bundle().nodes().find(|node| node.text().as_deref() == Some("Alex")).expect("the name is there");
    assert_eq!(rule(name), "Main.name");
    let source = lacking.origins()[name.id().index()].source.expect("it comes from a field");
    assert_eq!(lacking.received().record().node(source).map(|node| node.path().to_string()), Some("name".to_owned()));
    assert_eq!(lacking.map().rule(u32::MAX), None);
}

#[test]
fn a_resend_is_the_same_bytes() {
    assert_eq!(mapped(LACKING).bundle().source(), mapped(LACKING).bundle().source());
    let paths = |found: &[Missing]| found.iter().map(|one| one.path.to_string()).collect::<Vec<_>>();
    assert_eq!(paths(mapped(LACKING).missing()), ["phone", "drug[0].dose", "drug[2].dose"]);
}
