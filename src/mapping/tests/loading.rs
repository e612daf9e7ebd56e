//! What is refused when maps and definitions are loaded together, and what `create()` makes of what is known then.

use super::*;

fn two(first: &str, second: &str) -> Vec<Diagnostic> {
    let file = |name: &str, text: &str| MapFile { name: name.to_owned(), text: text.to_owned() };
    CompiledMap::compile(&[file("a.map", first), file("b.map", second)], &[])
        .expect_err("one of the two cannot be meant")
}

#[test]
fn two_maps_with_one_url_are_refused_by_their_files() {
    let map = |group: &str| {
        format!(
            "map \"http://x/m\" = \"m\"\nuses \"http://hl7.org/fhir/StructureDefinition/Patient\" alias Patient as source\ngroup {group}(source s : Patient, target t : Patient) {{ s.active -> t.active; }}"
        )
    };
    let faults = two(&map("one"), &map("two"));
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    assert_eq!((fault.file.as_str(), fault.line, fault.code), ("b.map", 1, Code::Duplicate));
    assert_eq!(fault.message, "a.map and b.map are both the map http://x/m");
}

#[test]
fn two_concept_maps_with_one_name_are_refused() {
    let words = r##"conceptmap "#w" { prefix s = "s" prefix t = "t" s:a == t:b }"##;
    let map = patient("src.sex as s -> tgt.gender = translate(s, '#w', 'code') \"g\";");
    let faults = compile_text(&format!("\n{words}\n{}\n{map}", words.replace("t:b", "t:c"))).expect_err("two");
    assert_eq!(faults[0].message, "the concept map #w is declared twice");
}

#[test]
fn a_logical_model_takes_no_r4_type_away() {
    let model = RECORD.replace("http://x/Record", "http://hl7.org/fhir/StructureDefinition/Patient");
    let file = MapFile {
        name: "test.map".to_owned(),
        text: format!("map \"http://x/map\" = \"m\"{NAMES}{}", patient("src.name as n -> tgt.active = true \"a\";")),
    };
    let faults = CompiledMap::compile(&[file], &[parse(RECORD), parse(&model)]).expect_err("R4 stays");
    let told = "a logical model has the URL of an R4 type: http://hl7.org/fhir/StructureDefinition/Patient";
    assert_eq!(faults[0].message, told);
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn create_without_a_type_makes_what_the_element_or_the_source_says() {
    check(
        &patient("src.name as n -> tgt.name = create() as m then { n -> m.text = n \"text\"; } \"name\";"),
        r#"{"name":"A"}"#,
        r#"{"resourceType":"Patient","name":[{"text":"A"}]}"#,
    );
    let value = |inner: &str| {
        format!(
            "group main(source src : Record, target tgt : Observation) {{\n src.concept as c -> tgt.value = create() as v then {{ {inner} }} \"value\";\n}}"
        )
    };
    check(
        &value("c.text as t -> v.text = t;"),
        r#"{"concept":{"text":"A"}}"#,
        r#"{"resourceType":"Observation","valueCodeableConcept":{"text":"A"}}"#,
    );
}

#[test]
fn create_without_a_type_is_refused_where_nothing_tells() {
    let map = "group main(source src : Record, target tgt : Observation) {\n src.home as h -> tgt.value = create() as v \"value\";\n}";
    let faults = compile_text(map).expect_err("a home is no value");
    assert_eq!(faults[0].message, "value can be of several types, and the source does not tell which");
    assert!(
        faults[0].hint.starts_with("say which: create('Quantity'), create('CodeableConcept')"),
        "{}",
        faults[0].hint
    );
    let faults = compile_text(&patient("src.home as h -> tgt.contained = create() as v \"any\";")).expect_err("any");
    assert_eq!(faults[0].hint, "say which: create('Type')");
}

#[test]
fn codes_without_a_translation_are_told_with_field_and_rule() {
    let map = compiled(&format!(
        "\nconceptmap \"#w\" {{ prefix s = \"s\" prefix t = \"t\" s:f == t:female }}\n{}",
        patient(
            "src.sex as s -> tgt.gender = translate(s, '#w', 'code') \"sex\";\n\
             src.home as h then { h.town as t -> tgt.language = translate(t, '#w', 'code') \"town\"; } \"home\";\n\
             src.concept as c -> tgt.maritalStatus = translate(c, '#w', 'CodeableConcept') \"concept\";"
        )
    ));
    let told = |record: &str| {
        let (made, observed) = map.observe(&parse(record), Uuid::nil());
        made.unwrap_or_else(|error| panic!("{error}"));
        let name = |rule: u32| map.rule(rule).map(|rule| rule.name.clone()).unwrap_or_default();
        let told = observed.untranslated.iter();
        told.map(|each| format!("{} {} {}", each.path, each.concept_map, name(each.rule))).collect::<Vec<_>>()
    };
    assert_eq!(told(r#"{"sex":"f"}"#), Vec::<String>::new());
    assert_eq!(told(r#"{"sex":"secret"}"#), ["sex #w sex"]);
    assert_eq!(told(r#"{"home":[{"town":"f"},{"town":"secret"}]}"#), ["home[1].town #w town"]);
    assert_eq!(told(r#"{"concept":{"coding":[{"system":"other","code":"f"}]}}"#), ["concept #w concept"]);
    assert_eq!(told(r#"{"concept":{"text":"no code"}}"#), Vec::<String>::new());
}

#[test]
fn what_only_a_validator_could_answer_is_refused() {
    let rule = |asked: &str| patient(&format!("src where ({asked}) -> tgt.active = true \"a\";"));
    for asked in ["sex.memberOf('http://x/v')", "concept.conformsTo('http://x/p')"] {
        let faults = compile_text(&rule(asked)).expect_err(asked);
        assert!(
            faults[0].message.ends_with("asks a validator, and none stands behind a map: let a profile ask for it")
        );
    }
    let typed = "group main(source src : Patient, target tgt : Patient) {
        src where (conformsTo('http://hl7.org/fhir/StructureDefinition/Patient')) -> tgt.active = true \"a\";\n}";
    check(typed, r#"{"resourceType":"Patient"}"#, r#"{"resourceType":"Patient","active":true}"#);
}
