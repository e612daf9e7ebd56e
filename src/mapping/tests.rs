//! What maps do: map text and source in, output or diagnostics out.

use serde_json::Value as Json;

use crate::fhir::ElementPath;

use super::*;

mod faults;
mod language;
mod loading;
mod stamps;

const NAMES: &str = r#"
uses "http://hl7.org/fhir/StructureDefinition/Patient" alias Patient as target
uses "http://hl7.org/fhir/StructureDefinition/Observation" alias Observation as target
uses "http://hl7.org/fhir/StructureDefinition/Bundle" alias Bundle as target
uses "http://hl7.org/fhir/StructureDefinition/Condition" alias Condition as target
uses "http://hl7.org/fhir/StructureDefinition/Basic" alias Basic as target
uses "http://x/Record" alias Record as source
"#;

/// A logical model with a few elements of each kind.
const RECORD: &str = r##"{"resourceType":"StructureDefinition","url":"http://x/Record","kind":"logical","type":"http://x/Record",
 "differential":{"element":[{"path":"Record"},
 {"path":"Record.name","max":"1","type":[{"code":"string"}]},
 {"path":"Record.given","max":"*","type":[{"code":"string"}]},
 {"path":"Record.born","max":"1","type":[{"code":"date"}]},
 {"path":"Record.at","max":"1","type":[{"code":"instant"}]},
 {"path":"Record.sex","max":"1","type":[{"code":"code"}]},
 {"path":"Record.weight","max":"1","type":[{"code":"decimal"}]},
 {"path":"Record.active","max":"1","type":[{"code":"boolean"}]},
 {"path":"Record.home","max":"*"},
 {"path":"Record.home.street","max":"1","type":[{"code":"string"}]},
 {"path":"Record.home.town","max":"1","type":[{"code":"string"}]},
 {"path":"Record.concept","max":"1","type":[{"code":"CodeableConcept"}]}]}}"##;

fn parse(text: &str) -> Document {
    Document::parse(text, &crate::fhir::Limits::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn compile_text(map: &str) -> Result<CompiledMap, Vec<Diagnostic>> {
    let file = MapFile { name: "test.map".to_owned(), text: format!("map \"http://x/map\" = \"m\"{NAMES}{map}") };
    CompiledMap::compile(&[file], &[parse(RECORD)])
}

fn compiled(map: &str) -> CompiledMap {
    compile_text(map).unwrap_or_else(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{map}\n{}", faults.join("\n"))
    })
}

/// Runs a group on a record, with stamps and without: both must give the same, origins and errors included.
fn run(map: &str, source: &str) -> Result<Transformed, Error> {
    let source = parse(source);
    let found = compiled(map).transform(&source, Uuid::nil());
    let expected = stamps::one_by_one(compiled(map)).transform(&source, Uuid::nil());
    stamps::assert_same(&found, &expected, map);
    found
}

/// Runs a group on a record, and compares its output as JSON values and, for the order of elements, as text.
fn check(map: &str, source: &str, expected: &str) {
    let output = run(map, source).unwrap_or_else(|error| panic!("{map}\n{error}"));
    let expected: Json = serde_json::from_str(expected).expect("the expected output is JSON");
    let found: Json = serde_json::from_str(output.document.source()).expect("the output is JSON");
    assert_eq!(found, expected, "{map}\n{}", output.document.source());
}

fn patient(rules: &str) -> String {
    format!("group Main(source src : Record, target tgt : Patient) {{ {rules} }}")
}

fn observation(rules: &str) -> String {
    format!("group Main(source src : Record, target tgt : Observation) {{ {rules} }}")
}

fn fault(map: &str) -> (usize, usize, String) {
    let faults = compile_text(map).expect_err(map);
    let first = &faults[0];
    (first.line - NAMES.lines().count(), first.column, first.message.clone())
}

#[test]
fn values_are_copied_with_the_spelling_of_their_type() {
    check(
        &patient(
            "src.born as b -> tgt.birthDate = b; src.given as g -> tgt.name as n, n.given = g; src.active as a -> tgt.active = a;",
        ),
        r#"{"born":"1980-02","given":["Zo\u00eb","\"Q\"\n"],"active":true}"#,
        r#"{"resourceType":"Patient","active":true,"birthDate":"1980-02","name":[{"given":["Zoë"]},{"given":["\"Q\"\n"]}]}"#,
    );
    check(
        &patient(
            "src.born -> tgt.birthDate; src -> tgt.active = true, tgt.name as n then { src.given -> n.given; src.name -> n.family; };",
        ),
        r#"{"born":"1980","name":"A","given":["B","C"]}"#,
        r#"{"resourceType":"Patient","active":true,"name":[{"family":"A","given":["B","C"]}],"birthDate":"1980"}"#,
    );
}

#[test]
fn elements_stand_in_the_order_of_the_specification_and_digits_stay() {
    let map = observation(
        "src -> tgt.status = 'final'; src.weight as w -> tgt.value = create('Quantity') as q, q.unit = 'kg', q.value = w; src -> tgt.id = 'a';",
    );
    let output = run(&map, r#"{"weight":60.00}"#).expect("it runs");
    assert_eq!(
        output.document.source(),
        r#"{"resourceType":"Observation","id":"a","status":"final","valueQuantity":{"value":60.00,"unit":"kg"}}"#
    );
}

#[test]
fn choices_take_the_type_of_their_value() {
    check(
        &observation("src.name as n -> tgt.value = n;"),
        r#"{"name":"x"}"#,
        r#"{"resourceType":"Observation","valueString":"x"}"#,
    );
    check(
        &observation("src.active -> tgt.value;"),
        r#"{"active":false}"#,
        r#"{"resourceType":"Observation","valueBoolean":false}"#,
    );
    check(
        &observation("src.at as a -> tgt.effective = cast(a, 'dateTime');"),
        r#"{"at":"2020-01-01T00:00:00.10+01:00"}"#,
        r#"{"resourceType":"Observation","effectiveDateTime":"2020-01-01T00:00:00.10+01:00"}"#,
    );
    check(
        &observation("src.concept -> tgt.value;"),
        r#"{"concept":{"coding":[{"code":"a"}]}}"#,
        r#"{"resourceType":"Observation","valueCodeableConcept":{"coding":[{"code":"a"}]}}"#,
    );
}

#[test]
fn resources_are_created_in_entries_and_ids_follow_from_the_seed() {
    let map = "group Main(source src : Record, target b : Bundle) {
        src -> uuid() as id, b.entry as e, e.fullUrl = append('urn:uuid:', id), e.resource = create('Patient') as p, p.id = id then P(src, p);
        src.given as g -> uuid() as id, b.entry as e, e.resource = create('Basic') as p, p.id = id;
      }
      group P(source src, target p : Patient) { src.sex as s -> p.gender = s; }";
    let source = r#"{"sex":"other","given":["a","b"]}"#;
    let (one, other) = (run(map, source).expect("it runs"), run(map, source).expect("it runs"));
    assert_eq!(one.document.source(), other.document.source());
    let json: Json = serde_json::from_str(one.document.source()).expect("it is JSON");
    let id = json["entry"][0]["resource"]["id"].as_str().expect("it has an id");
    assert_eq!(json["entry"][0]["fullUrl"], format!("urn:uuid:{id}"));
    assert_eq!(json["entry"][0]["resource"]["gender"], "other");
    assert_ne!(json["entry"][1]["resource"]["id"], json["entry"][2]["resource"]["id"]);
    let again = compiled(map).transform(&parse(source), Uuid::max()).expect("it runs");
    assert_ne!(one.document.source(), again.document.source());
}

#[test]
fn where_check_and_list_modes_choose_the_items() {
    let given =
        |mode: &str| patient(&format!("src -> tgt.name as n then {{ src.given as g {mode} -> n.given = g; }};"));
    let source = r#"{"given":["a","b","c"]}"#;
    for (mode, expected) in [
        ("first", r#"["a"]"#),
        ("last", r#"["c"]"#),
        ("not_first", r#"["b","c"]"#),
        ("not_last", r#"["a","b"]"#),
        ("where ($this != 'b')", r#"["a","c"]"#),
        ("where (g = 'b')", r#"["b"]"#),
        ("check ($this.length() = 1)", r#"["a","b","c"]"#),
    ] {
        let mode = if let Some(rest) = mode.strip_prefix("first") { format!("first{rest}") } else { mode.to_owned() };
        let map = given("@").replace(
            "as g @",
            &if mode.starts_with("where") || mode.starts_with("check") {
                format!("as g {mode}")
            } else {
                format!("{mode} as g")
            },
        );
        check(&map, source, &format!(r#"{{"resourceType":"Patient","name":[{{"given":{expected}}}]}}"#));
    }
    assert!(matches!(
        run(&patient("src.given only_one as g -> tgt.id = g;"), source),
        Err(Error::Cardinality { found: 3, .. })
    ));
    assert!(matches!(
        run(&patient("src.name 1..1 as g -> tgt.id = g;"), source),
        Err(Error::Cardinality { found: 0, .. })
    ));
    let error =
        run(&patient("src.given as g check (g != 'b') -> tgt.name as n \"names\";"), source).expect_err("b is refused");
    assert_eq!(
        error.to_string(),
        "the record does not fulfil a check of its map, at given[1], rule \"names\" of group Main (test.map:8), map http://x/map"
    );
}

#[test]
fn several_sources_are_joined_and_defaults_fill_in() {
    check(
        &patient(
            "src.given as g, src.home as h -> tgt.contact as c, c.name as n, n.given = g then { h.town as t -> n.family = t; };",
        ),
        r#"{"given":["a","b"],"home":[{"town":"X"},{}]}"#,
        r#"{"resourceType":"Patient","contact":[{"name":{"family":"X","given":["a"]}},{"name":{"given":["a"]}},
           {"name":{"family":"X","given":["b"]}},{"name":{"given":["b"]}}]}"#,
    );
    check(
        &patient("src.sex default ('unknown') as s -> tgt.gender = s;"),
        "{}",
        r#"{"resourceType":"Patient","gender":"unknown"}"#,
    );
}

#[test]
fn transforms_make_values() {
    let extension =
        |value: &str| patient(&format!("src.name as n -> tgt.extension as e, e.url = 'u', e.value = {value};"));
    for (transform, expected) in [
        ("truncate(n, 3)", r#""valueString":"añb""#),
        ("append(n, '-', n)", r#""valueString":"añbc-añbc""#),
        ("cast('12', 'integer')", r#""valueInteger":12"#),
        ("cast('1.50', 'decimal')", r#""valueDecimal":1.50"#),
        ("c('http://s', n)", r#""valueCoding":{"system":"http://s","code":"añbc"}"#),
        (
            "cc('http://s', n, 'D')",
            r#""valueCodeableConcept":{"coding":[{"system":"http://s","code":"añbc","display":"D"}]}"#,
        ),
        ("cc(n)", r#""valueCodeableConcept":{"text":"añbc"}"#),
        (
            "qty('5.0', 'kg', 'http://u', 'kg')",
            r#""valueQuantity":{"value":5.0,"unit":"kg","system":"http://u","code":"kg"}"#,
        ),
        ("id('http://s', n)", r#""valueIdentifier":{"system":"http://s","value":"añbc"}"#),
        ("cp('a@b')", r#""valueContactPoint":{"system":"email","value":"a@b"}"#),
        ("cp('phone', n)", r#""valueContactPoint":{"system":"phone","value":"añbc"}"#),
        ("evaluate(n, $this.upper())", r#""valueString":"AÑBC""#),
        ("(src.name.length() + 1)", r#""valueInteger":5"#),
        ("('x' & %n)", r#""valueString":"xañbc""#),
        ("src.name", r#""valueString":"añbc""#),
        ("true", r#""valueBoolean":true"#),
    ] {
        let expected = format!(r#"{{"resourceType":"Patient","extension":[{{"url":"u",{expected}}}]}}"#);
        check(&extension(transform), r#"{"name":"añbc"}"#, &expected);
    }
}

#[test]
fn references_and_pointers_name_the_resource() {
    let map = "group Main(source src : Record, target b : Bundle) {
        src -> create('Patient') as p, b.entry as e, e.resource = p, p.id = 'p1', e.fullUrl = pointer(p), b.entry as f,
          f.resource = create('Observation') as o, o.subject as s, s.reference = reference(p); }";
    check(
        map,
        "{}",
        r#"{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:p1","resource":{"resourceType":"Patient","id":"p1"}},
        {"resource":{"resourceType":"Observation","subject":{"reference":"Patient/p1"}}}]}"#,
    );
}

#[test]
fn translate_uses_embedded_maps_and_resources() {
    let map = |to: &str| {
        format!(
            "conceptmap \"#sex\" {{ prefix s = \"http://s\" prefix t = \"http://t\"\n s:m - t:male\n s:f == t:female }}\n{}",
            observation(&format!("src.sex as s -> tgt.value = create('CodeableConcept') as c, {to};"))
        )
    };
    check(
        &map("c.coding = translate(s, '#sex', 'Coding'), c.text = translate(s, '#sex', 'code')"),
        r#"{"sex":"m"}"#,
        r#"{"resourceType":"Observation","valueCodeableConcept":{"coding":[{"system":"http://t","code":"male"}],"text":"male"}}"#,
    );
    check(&map("c.text = translate(s, '#sex', 'code')"), r#"{"sex":"x"}"#, r#"{"resourceType":"Observation"}"#);
    assert_eq!(fault(&map("c.text = translate(s, '#other', 'code')")).2, "no concept map is called #other");
}

#[test]
fn shared_elements_are_made_once_and_others_each_time() {
    let map = |share: &str| {
        patient(&format!(
            "src.name as f -> tgt.name as n {share}, n.family = f; src.given as g -> tgt.name as n {share}, n.given = g;"
        ))
    };
    let source = r#"{"name":"F","given":["a","b"]}"#;
    check(&map("share one"), source, r#"{"resourceType":"Patient","name":[{"family":"F","given":["a","b"]}]}"#);
    check(&map(""), source, r#"{"resourceType":"Patient","name":[{"family":"F"},{"given":["a"]},{"given":["b"]}]}"#);
    check(
        &map("first"),
        source,
        r#"{"resourceType":"Patient","name":[{"given":["b"]},{"given":["a"]},{"family":"F"}]}"#,
    );
}

#[test]
fn groups_extend_and_map_by_type() {
    check(
        "group Main(source src : Record, target tgt : Patient) extends Base { src.born -> tgt.birthDate; }
         group Base(source src : Record, target tgt : Patient) { src.sex -> tgt.gender; }",
        r#"{"sex":"other","born":"2000"}"#,
        r#"{"resourceType":"Patient","gender":"other","birthDate":"2000"}"#,
    );
    check(
        "group Main(source src : Record, target tgt : Patient) { src.name -> tgt.id; src.sex -> tgt.gender; }
         group S(source src : string, target tgt : string) <<types>> { src.value as v -> tgt.value = append(v, '!'); }",
        r#"{"name":"n","sex":"other"}"#,
        r#"{"resourceType":"Patient","id":"n!","gender":"other"}"#,
    );
}

#[test]
fn copies_keep_extensions_of_primitives() {
    check(
        "group Main(source src : Patient, target tgt : Patient) { src.birthDate -> tgt.birthDate; src.name -> tgt.name; src.birthDate as b -> tgt.deceased = cast(b, 'dateTime'); }",
        r#"{"resourceType":"Patient","birthDate":"2000","_birthDate":{"extension":[{"url":"u","valueString":"x"}]},"name":[{"given":["a",null],"_given":[null,{"id":"i"}]}]}"#,
        r#"{"resourceType":"Patient","birthDate":"2000","_birthDate":{"extension":[{"url":"u","valueString":"x"}]},"name":[{"given":["a",null],"_given":[null,{"id":"i"}]}],"deceasedDateTime":"2000"}"#,
    );
}

#[test]
fn a_fhir_source_knows_its_choices() {
    let map = "group Main(source src : Observation, target tgt : Observation) { src.value as v -> tgt.value = v; src.component as c -> tgt.component as d then { c.value : Quantity as q -> d.value = q; }; }";
    check(
        map,
        r#"{"resourceType":"Observation","valueDateTime":"2020","component":[{"valueQuantity":{"value":1.0}},{"valueString":"x"}]}"#,
        r#"{"resourceType":"Observation","valueDateTime":"2020","component":[{"valueQuantity":{"value":1.0}}]}"#,
    );
    let error = run(map, r#"{"resourceType":"Patient"}"#).expect_err("it is not an Observation");
    assert!(matches!(error, Error::Conversion { .. }));
}

#[test]
fn constants_stand_for_their_value() {
    check(
        &format!(
            "let base = 'http://x/';\nlet full = %base + 'y';\n{}",
            patient(
                "src -> tgt.implicitRules = full, tgt.language = ('a' & base); src.name as n where (n = base) -> tgt.id = n;"
            )
        ),
        r#"{"name":"n"}"#,
        r#"{"resourceType":"Patient","implicitRules":"http://x/y","language":"ahttp://x/"}"#,
    );
}

#[test]
fn several_files_are_imported() {
    let main = format!(
        "map \"http://x/a\" = \"a\"{NAMES} imports \"http://x/lib*\"\n{}",
        patient("src -> tgt then P(src, tgt);")
    );
    let library = format!(
        "map \"http://x/library\" = \"b\"{NAMES} imports \"http://x/a\"\ngroup P(source src : Record, target tgt : Patient) {{ src.sex -> tgt.gender; }}"
    );
    let file = |name: &str, text: &str| MapFile { name: name.to_owned(), text: text.to_owned() };
    let looped = CompiledMap::compile(&[file("a", &main), file("b", &library)], &[parse(RECORD)]).expect_err("a cycle");
    assert!(looped[0].message.contains("imports this file in turn"), "{}", looped[0]);
    let library = library.replace("imports \"http://x/a\"", "");
    let map = CompiledMap::compile(&[file("a", &main), file("b", &library)], &[parse(RECORD)]).expect("it compiles");
    let output = map.transform(&parse(r#"{"sex":"x"}"#), Uuid::nil()).expect("it runs");
    assert_eq!(output.document.source(), r#"{"resourceType":"Patient","gender":"x"}"#);
}

#[test]
fn faults_of_a_map_name_their_place() {
    for (map, line, column, message) in [
        (
            "group Main(source s : Record, target t : Condition) {\n  s.born as b -> t.onsetDate = b;\n}",
            2,
            18,
            "Condition has no element onsetDate",
        ),
        (
            "group Main(source s : Record, target t : Patient) {\n  s.birthday as b -> t.id = b;\n}",
            2,
            3,
            "Record has no element birthday",
        ),
        (
            "group Main(source s : Record, target t : Patient) {\n  s.home as h then {\n    h.twon as x -> t.id = x; }; }",
            3,
            5,
            "Record.home has no element twon",
        ),
        (
            "group Main(source s : Record, target t : Patient) {\n  s -> t.active = 'yes';\n}",
            2,
            8,
            "active is a boolean, and yes is none",
        ),
        (
            "group Main(source s : Record, target t : Patient) {\n  s.at as a -> t.birthDate = dateOp(a, 'soon');\n}",
            2,
            30,
            "dateOp does not take these arguments",
        ),
        (
            "group Main(source s : Record, target t : Patient) {\n  s -> t.name = 'x' collate;\n}",
            2,
            8,
            "share, single and collate stand with an element that is made, not with a value",
        ),
        (
            "group Main(source s : Record, target t : Observation) {\n  s.at as a -> t.effective = a, t.value = a;\n}",
            2,
            33,
            "value cannot be a instant",
        ),
        (
            "group Main(source s : Record, target t : Observation) {\n  s -> t.value as v;\n}",
            2,
            8,
            "value can be of several types",
        ),
        ("group Main(source s : Record, target t : Patient) {\n}", 1, 1, "the map has no rule"),
        (
            "group Main(source s : Record, target t : Patient) {\n  s.home -> t.name;\n}",
            2,
            13,
            "name is a HumanName and cannot be set to a Record.home",
        ),
        (
            "group Main(source s : Record, target t : Patient) {\n  s -> t then Other(s, t);\n}",
            2,
            15,
            "no group is called Other in this map or its imports",
        ),
        (
            "group Main(source s : Record, target t : Patient) {\n  s.name as n -> t.id = m;\n}",
            2,
            25,
            "no variable is called m here",
        ),
        (
            "group Main(source s : Record, target t : Patient) {\n  s.name as n -> t.id = n\n}",
            2,
            26,
            "this rule does not end with `;`",
        ),
        ("group Main(source s : Record, target t : Patient) {\n  s where (nothing()) -> t.id = 'a';\n}", 2, 12, ""),
        (
            "group Main(source s : Record, target t : Patient) { }\ngroup Never(source s : Record, target t : Patient) {\n s -> t.nmae = 'x'; }",
            3,
            7,
            "Patient has no element nmae",
        ),
    ] {
        let found = fault(map);
        assert_eq!((found.0, found.1), (line, column), "{map}\n{}", found.2);
        assert!(found.2 == message || message.is_empty(), "{map}\n{}", found.2);
    }
}

#[test]
fn run_time_faults_name_record_and_rule() {
    let error =
        run(&patient("src.given as g -> tgt.id = g \"ids\";"), r#"{"given":["a","b"]}"#).expect_err("id is single");
    let place = error.place().expect("it has a place");
    assert!(matches!(&error, Error::Occupied { element, .. } if element == "id"));
    assert_eq!((place.path.as_str(), place.rule.name.as_str(), place.rule.line), ("given[1]", "ids", 8));
    let error = run(&patient("src.name as n -> tgt.active = n;"), r#"{"name":"maybe"}"#).expect_err("no boolean");
    assert!(matches!(&error, Error::Conversion { wanted, .. } if wanted == "boolean"));
    assert!(!error.to_string().contains("maybe"));
    let error = run(&patient("src.concept -> tgt.maritalStatus;"), r#"{"concept":{"cding":[]}}"#).expect_err("unknown");
    assert!(matches!(error, Error::UnknownElement { .. }));
}

#[test]
fn limits_end_what_would_not_end() {
    let map = "group Main(source s : Record, target t : Patient) { s where (true) -> t then Main(s, t); }";
    assert!(matches!(run(map, "{}"), Err(Error::Limit { limit: Limit::Groups, .. })));
    let limited = |limits| compiled(&patient("src.given as g -> tgt.name as n, n.given = g;")).with_limits(limits);
    let source = parse(r#"{"given":["a","b","c"]}"#);
    let steps = limited(Limits { steps: 3, ..Limits::default() });
    assert!(matches!(steps.transform(&source, Uuid::nil()), Err(Error::Limit { limit: Limit::Steps, .. })));
    let elements = limited(Limits { elements: 5, ..Limits::default() });
    assert!(matches!(elements.transform(&source, Uuid::nil()), Err(Error::Limit { limit: Limit::Elements, .. })));
    let bytes = limited(Limits { bytes: 2, ..Limits::default() });
    assert!(matches!(bytes.transform(&source, Uuid::nil()), Err(Error::Limit { limit: Limit::Bytes, .. })));
    let depth = limited(Limits { depth: 2, ..Limits::default() });
    assert!(matches!(depth.transform(&source, Uuid::nil()), Err(Error::Limit { limit: Limit::Depth, .. })));
}

#[test]
fn every_value_knows_its_field_and_its_rule() {
    let map = compiled(&patient(
        "src.given as g -> tgt.name as n, n.given = g \"names\"; src -> tgt.active = true \"active\";",
    ));
    let source = parse(r#"{"given":["a","b"]}"#);
    let output = map.transform(&source, Uuid::nil()).expect("it runs");
    let lineage: Vec<String> = output
        .document
        .nodes()
        .filter(|node| node.scalar().is_some() && node.name().is_none_or(|name| name != "resourceType"))
        .map(|node| {
            let origin = output.origins[node.id().index()];
            let field = origin.source.and_then(|id| source.node(id)).expect("it has a source").path();
            format!("{} from {field} by {}", node.path(), map.rule(origin.rule).expect("the rule exists").name)
        })
        .collect();
    assert_eq!(
        lineage,
        [
            "Patient.active from  by active",
            "Patient.name[0].given[0] from given[0] by names",
            "Patient.name[1].given[0] from given[1] by names",
        ]
    );
}

#[test]
fn a_received_record_is_mapped_by_the_map_of_its_interface() {
    let submission = |interface: &str| crate::intake::Submission {
        sender: "DEMOP".parse().expect("an ODS code"),
        by: None,
        interface: interface.parse().expect("a name"),
        content_type: Some("application/json".to_owned()),
        idempotency_key: None,
        body: br#"{"sex":"other"}"#.to_vec(),
        received_at: time::macros::datetime!(2026-01-01 00:00 UTC),
    };
    let receive = |interface| {
        crate::intake::receive(
            submission(interface),
            crate::intake::Terms {
                limits: &crate::fhir::Limits::default(),
                reads: crate::intake::Reads::Record,
                model: None,
                identified_by: &[],
            },
            |_| vec![],
        )
        .expect("it is received")
    };
    let map = Arc::new(compiled(&patient("src -> tgt.id = uuid(); src.sex -> tgt.gender;")));
    let mappings: Mappings = [("a".parse().expect("a name"), Arc::clone(&map))].into_iter().collect();
    let (one, other) =
        (apply(&mappings, receive("a")).expect("mapped"), apply(&mappings, receive("a")).expect("mapped"));
    assert_eq!(one.bundle().source(), other.bundle().source());
    assert_eq!((one.map().hash(), one.origins().len()), (map.hash(), one.bundle().len()));
    let error = apply(&mappings, receive("b")).expect_err("b has no map");
    assert_eq!(error.to_string(), "no map is configured for the interface b");
    assert!(!error.hint().is_empty());
}

#[test]
fn an_observed_run_tells_what_was_read_and_which_rules_ran() {
    let map = compiled(&patient(
        "src.name as n where (src.active) -> tgt.name as name then { src.given as g -> name.given = g; };
         src.sex as s -> tgt.gender = s;",
    ));
    let source = parse(r#"{"name":"x","active":true,"given":["y"],"weight":1}"#);
    let (made, observed) = map.observe(&source, Uuid::nil());
    assert!(made.is_ok());
    assert_eq!(observed.ran, [1, 1, 0]);
    let leaves = source.nodes().filter(|node| node.children().next().is_none());
    let unread: Vec<_> = leaves.filter(|node| !observed.read[node.id().index()]).map(|leaf| leaf.path()).collect();
    let unread: Vec<&str> = unread.iter().map(ElementPath::as_str).collect();
    assert_eq!(unread, ["weight"]);
}
