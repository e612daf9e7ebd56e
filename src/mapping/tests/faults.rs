//! Faults of a map: each names its file, line, column and what to write instead.

use super::*;

/// The first fault of a map: line in the map without its head, column, message, hint.
fn first(map: &str) -> (usize, usize, String, String) {
    let faults = compile_text(map).expect_err(map);
    let found = &faults[0];
    assert_eq!(found.file, "test.map");
    assert_eq!(found.severity, Severity::Error);
    (found.line - NAMES.lines().count(), found.column, found.message.clone(), found.hint.clone())
}

/// Checks the fault of a group with one rule, which stands on its second line from the third column on.
fn check_rule(target: &str, rule: &str, column: usize, message: &str, hint: &str) {
    let map = format!("group Main(source s : Record, target t : {target}) {{\n  {rule}\n}}");
    let expected = (2, column, message.to_owned(), hint.to_owned());
    assert_eq!(first(&map), expected, "{map}");
}

#[test]
fn unknown_elements_are_named_with_the_nearest() {
    check_rule(
        "Condition",
        "s.born as b -> t.onsetDate = b;",
        18,
        "Condition has no element onsetDate",
        "write onsetDateTime?",
    );
    check_rule("Patient", "s.nam as b -> t.id = b;", 3, "Record has no element nam", "write name?");
    check_rule("Patient", "s.name as b -> t.name.famly = b;", 18, "HumanName has no element famly", "write family?");
    check_rule("Patient", "s -> t : gendr;", 12, "Record has no element gendr", "");
}

#[test]
fn values_must_fit_their_elements() {
    check_rule(
        "Patient",
        "s.sex as x -> t.maritalStatus = x;",
        17,
        "maritalStatus is a CodeableConcept and cannot be set to a code",
        "make one with cc('system', code), or translate(…, 'CodeableConcept')",
    );
    check_rule(
        "Patient",
        "s.home as h -> t.name = h;",
        18,
        "name is a HumanName and cannot be set to a Record.home",
        "bind it with as, and set its elements: name as x, x.… = …",
    );
    check_rule(
        "Patient",
        "s.concept as c -> t.gender = c;",
        21,
        "gender is a code and cannot be set to a CodeableConcept",
        "name the element that holds the value",
    );
    check_rule(
        "Observation",
        "s -> t.subject = reference(s);",
        30,
        "reference takes a resource, and s is a Record",
        "pass the variable that create('Type') has bound",
    );
    check_rule(
        "Observation",
        "s.at as a -> t.value = a;",
        16,
        "value cannot be a instant",
        "cast it, such as cast(value, 'Quantity')",
    );
    check_rule("Patient", "s -> t.active = 'yes';", 8, "active is a boolean, and yes is none", "write true or false");
    check_rule(
        "Patient",
        "s.home : CodeableConcept as h -> t.id = 'a';",
        10,
        "this is never a CodeableConcept: it is a Record.home",
        "leave the type out, or name one that it can be",
    );
}

#[test]
fn cardinalities_are_checked() {
    check_rule(
        "Patient",
        "s.name 2..* as n -> t.id = n;",
        3,
        "s.name occurs once at most, so never 2..*",
        "write 0..1 or 1..1",
    );
    check_rule("Patient", "s.given 3..2 as n -> t.id = n;", 3, "this cardinality cannot be read", "write 0..1 or 1..*");
    check_rule(
        "Patient",
        "s.name as n -> t.id = n, t.id = 'x';",
        28,
        "id may occur once and is set twice in this rule",
        "leave one of the two out",
    );
    let map = compiled(&patient("src.given as g -> tgt.id = g;"));
    let warning = &map.warnings()[0];
    assert_eq!(warning.message, "id may occur once, and this rule may set it for several items");
    assert_eq!(
        (warning.severity, warning.hint.as_str()),
        (Severity::Warning, "take one item with first, or choose it with where")
    );
    for quiet in [
        "src.given first as g -> tgt.id = g;",
        "src.given as g where (g = 'x') -> tgt.id = g;",
        "src.given as g -> tgt.name as n, n.text = g;",
    ] {
        assert_eq!(compiled(&patient(quiet)).warnings(), []);
    }
}

#[test]
fn calls_are_checked() {
    let call = |call: &str, column: usize, message: &str, hint: &str| {
        let map = format!(
            "group Main(source s : Record, target t : Patient) {{\n  s.home as h -> t.name as n then {call};\n}}\ngroup Name(source a : Record, target b : HumanName) {{ a.name -> b.family; }}"
        );
        assert_eq!(first(&map), (2, column, message.to_owned(), hint.to_owned()));
    };
    call("Nam(s, n)", 35, "no group is called Nam in this map or its imports", "write Name?");
    call("Name(s)", 35, "Name takes 2 arguments and gets 1", "it is declared Name(source a, target b)");
    call("Name(s, s)", 43, "b takes a target, and s is none", "pass a variable that a target has bound with as");
    call(
        "Name(h, n)",
        35,
        "a takes a Record and gets a Record.home",
        "pass a Record, or leave the type of the parameter out",
    );
    call(
        "Name(s, t)",
        35,
        "b takes a HumanName and gets a Patient",
        "pass a HumanName, or leave the type of the parameter out",
    );
    call("Name(q, n)", 40, "no variable is called q here", "write s?");
}

#[test]
fn transforms_are_checked() {
    for (value, column, message, hint) in [
        ("creat('Patient')", 28, "there is no transform creat", "write create?"),
        ("create('Patiant')", 28, "Patiant is not a type that can be created", "write Patient?"),
        (
            "create('Nothing like it')",
            28,
            "Nothing like it is not a type that can be created",
            "name a type of FHIR R4, or a model that the map uses",
        ),
        ("truncate(n)", 28, "truncate does not take 1 argument", "write truncate(value, length)"),
        ("truncate(n, 'x')", 28, "truncate takes a number of characters", "write truncate(value, 20)"),
        (
            "truncate(s, 3)",
            37,
            "truncate takes a primitive, and s is a Record",
            "name the element that holds the value",
        ),
        ("cast(n, 'intger')", 28, "intger is not a primitive type of FHIR", "write integer?"),
        ("cast(n)", 28, "cast needs the type to cast to", "write cast(value, 'string')"),
        ("escape(n, 'sgml')", 28, "sgml is no escaping", "name plain, java, xml or json"),
        (
            "dateOp(n, 5, 'moons')",
            28,
            "dateOp does not take these arguments",
            "write dateOp(value), dateOp(value, 'date') or dateOp(value, 5, 'days')",
        ),
        ("qty('heavy')", 32, "heavy is no quantity", "write a number and a unit, such as qty('5 mg')"),
        ("id()", 28, "id does not take 0 arguments", "write id('system', value, 'type')"),
        ("cp(s)", 31, "cp takes a primitive, and s is a Record", "name the element that holds the value"),
        (
            "pointer(s)",
            36,
            "pointer takes a resource, and s is a Record",
            "pass the variable that create('Type') has bound",
        ),
        (
            "translate(n, '#x', 'code')",
            28,
            "no concept map is called #x",
            "write it in this file as conceptmap, or give the ConceptMap resource: with --with, or in a site's profiles/",
        ),
    ] {
        check_rule("Extension", &format!("s.name as n -> t.value = {value};"), column, message, hint);
    }
    check_rule(
        "Patient",
        "s.sex as x -> t.name = translate(x, 'http://x', 'Quantity');",
        26,
        "no concept map is called http://x",
        "write it in this file as conceptmap, or give the ConceptMap resource: with --with, or in a site's profiles/",
    );
}

#[test]
fn concept_maps_are_checked() {
    let map = |entry: &str| {
        format!(
            "conceptmap \"#x\" {{ prefix s = \"s\" prefix t = \"t\"\n  {entry} }}\n{}",
            patient("src -> tgt.id = 'a';")
        )
    };
    let hint = "declare the prefix, correct the entry, or give the concept map as a resource".to_owned();
    for (entry, column, message) in [
        ("s:a - u:b", 9, "the prefix u is not declared in this concept map"),
        ("unmapped for s = fixed", 3, "a concept map in a mapping file knows unmapped = provided only, not fixed"),
    ] {
        assert_eq!(first(&map(entry)), (2, column, message.to_owned(), hint.clone()));
    }
}

#[test]
fn a_translation_must_fit_its_element() {
    let map = "conceptmap \"#x\" { prefix s = \"s\" prefix t = \"t\"\n s:a - t:b }\ngroup Main(source s : Record, target t : Patient) {\n  s.sex as x -> t.maritalStatus = translate(x, '#x', 'code');\n}";
    let message = "maritalStatus is a CodeableConcept and cannot be set to a code".to_owned();
    let hint = "make one with cc('system', code), or translate(…, 'CodeableConcept')".to_owned();
    assert_eq!(first(map), (4, 17, message, hint));
}

#[test]
fn a_concept_map_that_is_not_used_may_be_faulty() {
    let concepts = parse(
        r#"{"resourceType":"ConceptMap","url":"http://x/two","group":[{"element":[{"code":"a","target":[{"code":"b"},{"code":"c"}]}]}]}"#,
    );
    let compile = |rule: &str| {
        let text = format!("map \"http://x/map\" = \"m\"{NAMES}{}", patient(rule));
        CompiledMap::compile(&[MapFile { name: "test.map".to_owned(), text }], &[parse(RECORD), concepts.clone()])
    };
    compile("src.sex as s -> tgt.gender = s;").expect("nobody translates by it");
    let faults = compile("src.sex as s -> tgt.gender = translate(s, 'http://x/two', 'code');").expect_err("it is used");
    assert_eq!(
        faults[0].message,
        "the concept map http://x/two cannot be used: a code has two targets in this concept map"
    );
    assert_eq!(faults[0].hint, "give the code one target, or translate by another concept map");
}

#[test]
fn groups_that_cannot_be_told_apart_are_refused() {
    let library = |name: &str, group: &str| MapFile {
        name: format!("{name}.map"),
        text: format!("map \"http://x/lib/{name}\" = \"{name}\"\n{NAMES}{group}"),
    };
    let compile = |rule: &str, group: &str| {
        let text = format!("map \"http://x/main\" = \"m\"{NAMES}imports \"http://x/lib/*\"\n{}", patient(rule));
        let main = MapFile { name: "main.map".to_owned(), text };
        CompiledMap::compile(&[main, library("a", group), library("b", group)], &[parse(RECORD)])
    };
    let named = "group P(source s : Record, target t : Patient) { s.sex -> t.gender; }";
    let faults = compile("\n  src -> tgt then P(src, tgt);", named).expect_err("which P is meant cannot be known");
    let (fault, line) = (&faults[0], NAMES.lines().count() + 3);
    assert_eq!((fault.file.as_str(), fault.line, fault.column), ("main.map", line, 19));
    assert_eq!(fault.message, "two groups are meant: P of a.map and P of b.map");
    assert_eq!(fault.hint, "import one of the two, or rename it");
    let typed = "group C(source s : code, target t : code) <<types>> { s.value as v -> t.value = v; }";
    let faults = compile("src.sex -> tgt.gender;", typed).expect_err("two groups map a code to a code");
    assert_eq!(faults[0].message, "two groups are meant: C of a.map and C of b.map");
    let own =
        format!("src -> tgt then P(src, tgt); }} {} group Q(source s, target t) {{", named.replace("s.sex", "s.name"));
    compile(&own, named).expect("the file's own group is meant");
}

#[test]
fn groups_without_end_and_imports_in_circles_are_refused() {
    let map = "group Main(source s : Record, target t : Patient) {\n s -> t then A(s, t); }\ngroup A(source s, target t) { s -> t then B(s, t); }\n  group B(source s, target t) { s -> t then { s -> t then A(s, t); }; }";
    let (line, column, message, hint) = first(map);
    assert_eq!((line, column, message.as_str()), (3, 1, "the group A calls itself without end"));
    assert_eq!(hint, "call it for an element of its source, or give the rule a where");
    let nested = "group Main(source s : Record, target t : Patient) { s.home as h then A(h); }\ngroup A(source s) { s.home as h then A(h); }";
    assert_eq!(first(nested).2, "Record.home has no element home");
    let file = |name: &str, imports: &str| MapFile {
        name: name.to_owned(),
        text: format!(
            "map \"http://x/{name}\" = \"{name}\"\n{NAMES}imports \"http://x/{imports}\"\n{}",
            patient("src -> tgt.id = 'a';")
        ),
    };
    let own = CompiledMap::compile(&[file("a", "a")], &[parse(RECORD)]).expect_err("it leads to itself");
    assert_eq!((own[0].message.as_str(), own[0].hint.as_str()), ("the file imports itself", "take the import out"));
    let files = [file("a", "b"), file("b", "c"), file("c", "a")];
    let faults = CompiledMap::compile(&files, &[parse(RECORD)]).expect_err("they stand in a circle");
    let line = NAMES.lines().count() + 2;
    let at: Vec<_> = faults.iter().map(|each| (each.file.as_str(), each.line, each.message.as_str())).collect();
    assert!(at.contains(&("c", line, "http://x/a imports this file in turn")), "{at:?}");
    assert_eq!(faults[0].hint, "move what both need into a third file");
}
