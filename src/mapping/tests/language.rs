//! One feature of the language a test: transforms, list modes, paths, expressions over what has been built.

use super::*;

fn extension(value: &str) -> String {
    patient(&format!("src.name as n -> tgt.extension as e, e.url = 'u', e.value = {value};"))
}

fn check_value(value: &str, name: &str, expected: &str) {
    let record = format!(r#"{{"name":{}}}"#, Json::from(name));
    let expected = format!(r#"{{"resourceType":"Patient","extension":[{{"url":"u",{expected}}}]}}"#);
    check(&extension(value), &record, &expected);
}

#[test]
fn texts_are_escaped() {
    check_value("escape(n, 'plain', 'xml')", "a<b & \"c\"", r#""valueString":"a&lt;b &amp; &quot;c&quot;""#);
    check_value("escape(n, 'xml', 'plain')", "a&lt;b &#233;", r#""valueString":"a<b é""#);
    check_value("escape(n, 'json')", "a\"b\nc", r#""valueString":"a\\\"b\\nc""#);
    let error = run(&extension("escape(n, 'xml', 'plain')"), r#"{"name":"a & b"}"#).expect_err("it is not escaped");
    assert!(matches!(&error, Error::Conversion { element, .. } if element == "escape"), "{error}");
    assert!(!error.to_string().contains("a & b"));
}

#[test]
fn dates_are_read_cut_and_moved() {
    let map = |value: &str| patient(&format!("src.name as n -> tgt.birthDate = {value};"));
    for (value, name, expected) in [
        ("dateOp(n)", "19800203", "1980-02-03"),
        ("dateOp(n, 'date')", "198002031405+0100", "1980-02-03"),
        ("dateOp(n, 1, 'month')", "1980-01-31", "1980-02-29"),
        ("dateOp(n, '-18', 'years')", "2026-05-01", "2008-05-01"),
    ] {
        let expected = format!(r#"{{"resourceType":"Patient","birthDate":"{expected}"}}"#);
        check(&map(value), &format!(r#"{{"name":"{name}"}}"#), &expected);
    }
    let deceased = patient("src.name as n -> tgt.deceased = dateOp(n);");
    check(
        &deceased,
        r#"{"name":"20260102030405-0500"}"#,
        r#"{"resourceType":"Patient","deceasedDateTime":"2026-01-02T03:04:05-05:00"}"#,
    );
    let error = run(&deceased, r#"{"name":"20260102030405"}"#).expect_err("it has no offset");
    assert!(matches!(&error, Error::Conversion { element, .. } if element == "dateOp"), "{error}");
}

#[test]
fn quantities_are_read_from_a_text() {
    check_value("qty(n)", "<= 60.0 kg", r#""valueQuantity":{"value":60.0,"comparator":"<=","unit":"kg"}"#);
    check_value("qty('5 mg')", "n", r#""valueQuantity":{"value":5,"unit":"mg"}"#);
    check_value("qty(5, 'mg', 'http://u')", "n", r#""valueQuantity":{"value":5,"unit":"mg","system":"http://u"}"#);
    let error = run(&extension("qty(n)"), r#"{"name":"heavy"}"#).expect_err("it is no quantity");
    assert!(matches!(&error, Error::Conversion { wanted, .. } if wanted.contains("60.0 kg")), "{error}");
    assert!(!error.to_string().contains("heavy"));
}

#[test]
fn identifiers_take_one_to_three_arguments() {
    check_value("id(n)", "1", r#""valueIdentifier":{"value":"1"}"#);
    check_value("id('http://s', n)", "1", r#""valueIdentifier":{"system":"http://s","value":"1"}"#);
    check_value(
        "id('http://s', n, 'MR')",
        "1",
        r#""valueIdentifier":{"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v2-0203","code":"MR"}]},
           "system":"http://s","value":"1"}"#,
    );
}

#[test]
fn single_and_collate_go_on_with_the_first_item() {
    let map = |mode: &str| {
        patient(&format!(
            "src.name as f -> tgt.name as n {mode}, n.family = f; src.given as g -> tgt.name as n {mode}, n.given = g;"
        ))
    };
    let source = r#"{"name":"F","given":["a","b"]}"#;
    let expected = r#"{"resourceType":"Patient","name":[{"family":"F","given":["a","b"]}]}"#;
    check(&map("single"), source, expected);
    check(&map("collate"), source, expected);
    let created = "src.given as g -> tgt.name = create('HumanName') as n @, n.given = g;";
    for mode in ["single", "collate", "share x"] {
        check(
            &patient(&created.replace('@', mode)),
            source,
            r#"{"resourceType":"Patient","name":[{"given":["a","b"]}]}"#,
        );
    }
    let faults = compile_text(&patient("src.given as g -> tgt.extension as e, e.value = g share x;"));
    assert!(faults.expect_err("a value is not shared")[0].message.contains("not with a value"));
}

#[test]
fn lists_of_elements_are_copied() {
    check(
        "group Main(source src : Patient, target tgt : Patient) { src -> tgt : id, birthDate, name; src.contact -> tgt.contact : gender, name; }",
        r#"{"resourceType":"Patient","id":"a","name":[{"family":"F"}],"birthDate":"2000","gender":"male",
           "contact":[{"gender":"female","name":{"text":"x"},"telecom":[{"value":"1"}]},{"gender":"other"}]}"#,
        r#"{"resourceType":"Patient","id":"a","name":[{"family":"F"}],"birthDate":"2000",
           "contact":[{"gender":"female","name":{"text":"x"}},{"gender":"other"}]}"#,
    );
    let map = compiled("group Main(source src : Patient, target tgt : Patient) {\n  src -> tgt : id,\n birthDate; }");
    let source = parse(r#"{"resourceType":"Patient","id":"a","birthDate":"2000"}"#);
    let output = map.transform(&source, Uuid::nil()).expect("it runs");
    let born = output.document.root().member("birthDate").expect("it is copied");
    let rule = map.rule(output.origins[born.id().index()].rule).expect("it has a rule");
    assert_eq!((rule.name.as_str(), rule.line - NAMES.lines().count()), ("birthDate", 3));
    let found = fault("group Main(source src : Patient, target tgt : Basic) {\n src -> tgt : id, gender; }");
    assert_eq!(found, (2, 19, "Basic has no element gender".to_owned()));
}

#[test]
fn paths_may_be_longer_than_one_element() {
    check(
        "group Main(source src : Patient, target tgt : Patient) { src.contact.name.given as g first where ($this != 'a') -> tgt.name.text = g; }",
        r#"{"resourceType":"Patient","contact":[{"name":{"given":["a","b"]}},{},{"name":{"given":["c"]}}]}"#,
        r#"{"resourceType":"Patient","name":[{"text":"b"}]}"#,
    );
    check(
        "group Main(source src : Record, target tgt : Patient) { src.home.town as t -> tgt.maritalStatus.text = t; }",
        r#"{"home":[{"town":"X"}]}"#,
        r#"{"resourceType":"Patient","maritalStatus":{"text":"X"}}"#,
    );
    let found = fault(
        "group Main(source src : Patient, target tgt : Patient) {\n src.contact.nmae.given as g -> tgt.id = g; }",
    );
    assert_eq!(found, (2, 2, "Patient.contact has no element nmae".to_owned()));
}

#[test]
fn rules_may_be_written_in_the_words_of_older_maps() {
    check(
        &patient(
            "for each src.given as g -> tgt.name as n, n.given = g; for src.name as f make tgt.implicitRules = f;",
        ),
        r#"{"name":"F","given":["a","b"]}"#,
        r#"{"resourceType":"Patient","implicitRules":"F","name":[{"given":["a"]},{"given":["b"]}]}"#,
    );
    let found =
        fault("group Main(source src : Record, target tgt : Patient) {\n for each src.nme as n make tgt.id = n; }");
    assert_eq!(found, (2, 11, "Record has no element nme".to_owned()));
}

#[test]
fn expressions_read_what_has_been_built() {
    let source = r#"{"name":"F","given":["a","b"],"sex":"other"}"#;
    check(
        &patient(
            "src.given as g -> tgt.name as n, n.given = g; src.sex as s where (%tgt.name.count() = 2) -> tgt.gender = s;
             src where (%tgt.name.given.exists($this = 'z')) -> tgt.active = true;
             src -> tgt.implicitRules = (%tgt.name.given.first() & '-' & tgt.gender);",
        ),
        source,
        r#"{"resourceType":"Patient","implicitRules":"a-other","name":[{"given":["a"]},{"given":["b"]}],"gender":"other"}"#,
    );
    check(
        &patient(
            "src.name as f -> tgt.name as n, n.family = f, n.use = 'old' then { src -> tgt.name = (%n), tgt.contact as c, c.name = (%tgt.name.first()); };",
        ),
        source,
        r#"{"resourceType":"Patient","name":[{"use":"old","family":"F"},{"use":"old","family":"F"}],"contact":[{"name":{"use":"old","family":"F"}}]}"#,
    );
}

#[test]
fn what_is_copied_from_the_output_comes_from_the_rule_that_copied_it() {
    let map = compiled(&patient(
        "src.name as f -> tgt.name as n, n.family = f; src.sex -> tgt.contact as c, c.name = (%tgt.name.first()) \"copy\";",
    ));
    let source = parse(r#"{"name":"F","sex":"x"}"#);
    let output = map.transform(&source, Uuid::nil()).expect("it runs");
    let contact = output.document.root().member("contact").and_then(|each| each.items().next()).expect("it is made");
    let family = contact.member("name").and_then(|name| name.member("family")).expect("it is copied");
    let origin = output.origins[family.id().index()];
    let field = origin.source.and_then(|id| source.node(id)).expect("it has a source").path();
    assert_eq!((field.as_str(), map.rule(origin.rule).expect("it exists").name.as_str()), ("sex", "copy"));
}

#[test]
fn reading_a_growing_output_counts_as_steps() {
    let map =
        compiled(&patient("src.given as g -> tgt.name as n, n.given = g, n.text = (%tgt.name.count().toString());"));
    let given: Vec<String> = (0..400).map(|each| format!("\"{each}\"")).collect();
    let source = parse(&format!(r#"{{"given":[{}]}}"#, given.join(",")));
    let limited = map.with_limits(Limits { steps: 20_000, ..Limits::default() });
    assert!(matches!(limited.transform(&source, Uuid::nil()), Err(Error::Limit { limit: Limit::Steps, .. })));
}

#[test]
fn translations_give_every_form() {
    let concepts = parse(
        r#"{"resourceType":"ConceptMap","url":"http://x/sex","group":[{"source":"http://s","target":"http://t",
        "element":[{"code":"m","target":[{"code":"male","display":"Male","equivalence":"equal"}]}],
        "unmapped":{"mode":"other-map","url":"http://x/rest"}}]}"#,
    );
    let rest = parse(
        r#"{"resourceType":"ConceptMap","url":"http://x/rest","group":[{"source":"http://s","target":"http://t",
        "element":[{"code":"f","target":[{"code":"female","relationship":"equivalent"}]}],
        "unmapped":{"mode":"fixed","code":"unknown","display":"Unknown"}}]}"#,
    );
    let compile = |to: &str| {
        let rules = patient(&format!(
            "src.sex as s -> tgt.extension as e, e.url = 'u', e.value = translate(s, 'http://x/sex', '{to}');"
        ));
        let text = format!("map \"http://x/map\" = \"m\"{NAMES}{rules}");
        let file = MapFile { name: "test.map".to_owned(), text };
        CompiledMap::compile(&[file], &[parse(RECORD), concepts.clone(), rest.clone()])
    };
    for (to, sex, expected) in [
        ("code", "m", r#""valueCode":"male""#),
        ("system", "m", r#""valueUri":"http://t""#),
        ("display", "m", r#""valueString":"Male""#),
        ("Coding", "m", r#""valueCoding":{"system":"http://t","code":"male","display":"Male"}"#),
        ("CodeableConcept", "f", r#""valueCodeableConcept":{"coding":[{"system":"http://t","code":"female"}]}"#),
        ("Coding", "x", r#""valueCoding":{"system":"http://t","code":"unknown","display":"Unknown"}"#),
    ] {
        let map = compile(to).expect("it compiles");
        let output = map.transform(&parse(&format!(r#"{{"sex":"{sex}"}}"#)), Uuid::nil()).expect("it runs");
        assert_eq!(
            output.document.source(),
            format!(r#"{{"resourceType":"Patient","extension":[{{"url":"u",{expected}}}]}}"#)
        );
    }
    let faults = compile("Quantity").expect_err("there is no such form");
    assert_eq!(faults[0].message, "translate gives no Quantity");
    assert_eq!(faults[0].hint, "ask for code, system, display, Coding or CodeableConcept");
}

#[test]
fn a_concept_map_of_another_file_is_named_with_its_map() {
    let main = format!(
        "map \"http://x/a\" = \"a\"{NAMES} imports \"http://x/codes\"\n{}",
        patient("src.sex as s -> tgt.gender = translate(s, 'http://x/codes#sex', 'code');")
    );
    let codes = "map \"http://x/codes\" = \"codes\"\nconceptmap \"#sex\" { prefix s = \"s\" prefix t = \"t\"\n s:m - t:male }\n";
    let file = |name: &str, text: &str| MapFile { name: name.to_owned(), text: text.to_owned() };
    let map = CompiledMap::compile(&[file("a", &main), file("b", codes)], &[parse(RECORD)]).expect("it compiles");
    let output = map.transform(&parse(r#"{"sex":"m"}"#), Uuid::nil()).expect("it runs");
    assert_eq!(output.document.source(), r#"{"resourceType":"Patient","gender":"male"}"#);
}

#[test]
fn extensions_of_primitives_are_read_and_set() {
    check(
        "group Main(source src : Patient, target tgt : Patient) {
           src.birthDate as b -> tgt.birthDate as d, d.value = b, d.extension as e, e.url = 'urn:made' then {
             b.extension as x where (url = 'urn:time') then { x.value as v -> e.value = v; };
             b.extension as x -> tgt.extension = x; }; }",
        r#"{"resourceType":"Patient","birthDate":"2000-01-02","_birthDate":{"extension":[
            {"url":"urn:time","valueDateTime":"2000-01-02T03:04:05.10+05:30"}]}}"#,
        r#"{"resourceType":"Patient","extension":[{"url":"urn:time","valueDateTime":"2000-01-02T03:04:05.10+05:30"}],
            "birthDate":"2000-01-02","_birthDate":{"extension":[{"url":"urn:made","valueDateTime":"2000-01-02T03:04:05.10+05:30"}]}}"#,
    );
}

#[test]
fn a_map_may_be_a_structure_map_resource() {
    let resource = r#"{"resourceType":"StructureMap","url":"http://x/map","name":"m",
        "structure":[{"url":"http://hl7.org/fhir/StructureDefinition/Patient","mode":"source","alias":"Patient"}],
        "group":[{"name":"g","input":[{"name":"s","type":"Patient","mode":"source"},{"name":"t","type":"Patient","mode":"target"}],
        "rule":[{"name":"sex","source":[{"context":"s","element":"gender","variable":"v"}],
        "target":[{"context":"t","element":"ELEMENT","transform":"copy","parameter":[{"valueId":"v"}]}]}]}]}"#;
    let compile = |text: String| CompiledMap::compile(&[MapFile { name: "map.json".to_owned(), text }], &[]);
    let map = compile(resource.replace("ELEMENT", "gender")).expect("it compiles");
    let output = map.transform(&parse(r#"{"resourceType":"Patient","gender":"male"}"#), Uuid::nil()).expect("it runs");
    assert_eq!(output.document.source(), r#"{"resourceType":"Patient","gender":"male"}"#);
    let faults = compile(resource.replace("ELEMENT", "gendr")).expect_err("there is no such element");
    let (fault, text) = (&faults[0], "  s.gender as v -> t.gendr = v \"sex\";");
    assert_eq!((fault.file.as_str(), fault.column, fault.text.as_str()), ("map.json", 20, text));
    let faults = compile(r#"{"resourceType":"Patient"}"#.to_owned()).expect_err("it is another resource");
    assert_eq!(faults[0].message, "this resource is no StructureMap");
    let faults = compile("{".to_owned()).expect_err("it is no JSON");
    assert!(faults[0].message.starts_with("this is no JSON"), "{}", faults[0].message);
}

#[test]
fn ids_and_references_follow_from_the_seed() {
    let map = "group Main(source src : Record, target b : Bundle) {
        src.given as g -> b.entry as e, e.resource = create('Patient') as p, b.entry as f,
          f.resource = create('Observation') as o, o.subject as s, s.reference = reference(p), o.id = uuid(); }";
    let record = parse(r#"{"given":["a","b"]}"#);
    let run = |seed| {
        let map = compiled(map);
        map.transform(&record, seed).expect("it runs").document.source().to_owned()
    };
    assert_eq!(run(Uuid::nil()), run(Uuid::nil()));
    assert_ne!(run(Uuid::nil()), run(Uuid::max()));
    let json: Json = serde_json::from_str(&run(Uuid::nil())).expect("it is JSON");
    let id = |entry: usize| json["entry"][entry]["resource"]["id"].as_str().expect("it has an id").to_owned();
    let subject = |entry: usize| json["entry"][entry]["resource"]["subject"]["reference"].clone();
    assert_eq!(subject(1), format!("Patient/{}", id(0)));
    assert_eq!(subject(3), format!("Patient/{}", id(2)));
    assert_eq!([id(0), id(1), id(2), id(3)].iter().collect::<std::collections::HashSet<_>>().len(), 4);
}
