//! Stamps against the targets they stand for, done one by one.

use super::*;
use crate::mapping::plan::Block;

/// The map without its stamps.
pub(super) fn one_by_one(mut map: CompiledMap) -> CompiledMap {
    fn clear(block: &mut Block) {
        for rule in &mut block.rules {
            rule.stamps.clear();
            clear(&mut rule.block);
        }
    }
    map.plan.groups.iter_mut().for_each(|group| clear(&mut group.block));
    map
}

pub(super) fn assert_same(found: &Result<Transformed, Error>, expected: &Result<Transformed, Error>, map: &str) {
    match (found, expected) {
        (Ok(found), Ok(expected)) => {
            assert_eq!(found.document.source(), expected.document.source(), "{map}");
            assert_eq!(found.origins, expected.origins, "{map}");
            assert_eq!(found.log, expected.log, "{map}");
        }
        (found, expected) => assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{map}"),
    }
}

/// How many elements the stamps of a map make in one press each, and how many slots that takes.
fn elements_and_slots(map: &CompiledMap) -> (usize, usize) {
    fn add(block: &Block, sum: &mut (usize, usize)) {
        for rule in &block.rules {
            for stamp in &rule.stamps {
                let (elements, slots) = stamp.size();
                *sum = (sum.0 + elements, sum.1 + slots);
            }
            add(&rule.block, sum);
        }
    }
    let mut sum = (0, 0);
    map.plan.groups.iter().for_each(|group| add(&group.block, &mut sum));
    sum
}

const NAMED: &str =
    r#"{"name":"Zo\u00eb \"Q\"","given":["A","B\n"],"born":"1970","sex":"m","home":[{"street":"1"},{"street":"2"}]}"#;

#[test]
fn an_element_is_sealed_unless_something_names_it() {
    let code = "src.sex as s -> tgt.code as code, code.coding as coding, coding.system = 'http://s', coding.code = s";
    assert_eq!(elements_and_slots(&compiled(&observation(&format!("{code};")))), (4, 1));
    let open = format!("{code} then {{ src.name as n -> coding.display = n; }};");
    assert_eq!(elements_and_slots(&compiled(&observation(&open))), (5, 5));
    let (elements, slots) = elements_and_slots(&compiled(&observation(&format!("{code}, coding.display = uuid();"))));
    assert_eq!((elements, slots), (4, 4), "a target that is done by itself names the coding");
}

#[test]
fn what_is_sealed_is_taken_apart_when_something_is_added() {
    let map = observation(
        "src.sex as s -> tgt.code as c, c.coding as d, d.system = 'http://s', d.code = s;
         src.born as b -> tgt.code as c, c.coding as d, d.code = b, d.system = 'http://t';
         src.name as n -> tgt.code as c, c.text = n;",
    );
    let expected = r#"{"resourceType":"Observation","code":{"coding":[{"system":"http://s","code":"m"},
        {"system":"http://t","code":"1970"}],"text":"Zo\u00eb \"Q\""}}"#;
    check(&map, NAMED, expected);
}

#[test]
fn what_is_sealed_can_be_read_and_copied() {
    let map = observation(
        "src.given as g -> tgt.category as c, c.coding as d, d.system = 'http://s', d.code = append('x-', g, '!');
         src -> tgt as t then {
           tgt.category as c -> tgt.note as n, n.text = (%c.coding.code);
           tgt.category as c first then { c.coding as d -> tgt.method as m, m.coding = d; };
         };",
    );
    let expected = r#"{"resourceType":"Observation","category":[{"coding":[{"system":"http://s","code":"x-A!"}]},
        {"coding":[{"system":"http://s","code":"x-B!"}]}],"note":[{"text":"x-A!"},{"text":"x-B!"}],
        "method":{"coding":[{"system":"http://s","code":"x-A!"}]}}"#;
    check(&map, r#"{"given":["A","B"]}"#, expected);
}

#[test]
fn a_list_with_several_texts_keeps_their_origins() {
    let map = patient(
        "src.name as f, src.born as b, src.sex as s -> tgt.name as n, n.given = s first, n.given = b, n.given = 'C',
         n.given = f first, n.family = append(f, '-', b), n.use = 'official';",
    );
    let expected =
        r#"{"resourceType":"Patient","name":[{"use":"official","family":"Zo-1970","given":["Zo","m","1970","C"]}]}"#;
    check(&map, r#"{"name":"Zo","born":"1970","sex":"m"}"#, expected);
}

#[test]
fn what_a_stamp_cannot_take_fails_as_its_targets_do() {
    let twice = patient("src.given as g -> tgt.maritalStatus = create('CodeableConcept') as m, m.text = g;");
    assert!(matches!(run(&twice, NAMED), Err(Error::Occupied { .. })));
    let number = observation(
        "src.name as n -> tgt.component as c, c.code as k, k.text = 'x', c.value = create('Quantity') as q, q.value = n;",
    );
    assert!(matches!(run(&number, NAMED), Err(Error::Conversion { .. })));
    let map = || compiled(&patient("src.given as g -> tgt.contact as c, c.name as n, n.given = g, n.family = 'F';"));
    for elements in 0..12 {
        let limits = Limits { elements, ..Limits::default() };
        let found = map().with_limits(limits).transform(&parse(NAMED), Uuid::nil());
        let expected = one_by_one(map()).with_limits(limits).transform(&parse(NAMED), Uuid::nil());
        assert_eq!(found.is_ok(), elements >= 9, "{elements}");
        assert_same(&found, &expected, &elements.to_string());
    }
    for depth in 0..9 {
        let limits = Limits { depth, ..Limits::default() };
        let found = map().with_limits(limits).transform(&parse(NAMED), Uuid::nil());
        let expected = one_by_one(map()).with_limits(limits).transform(&parse(NAMED), Uuid::nil());
        assert_same(&found, &expected, &depth.to_string());
    }
}

#[test]
fn the_map_of_the_escalation_gives_the_same_with_and_without_stamps() {
    let home = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| {
        let path = home.join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let profiles = std::fs::read_dir(home.join("profiles")).expect("the profiles are there");
    let paths = profiles.map(|entry| entry.expect("it can be read").path());
    let definitions: Vec<Document> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| parse(&std::fs::read_to_string(path).expect("it can be read")))
        .collect();
    let map = || {
        let files = ["crisis-escalation.map", "minimum-dataset.map"]
            .map(|name| MapFile { text: read(&format!("mappings/{name}")), name: name.to_owned() });
        CompiledMap::compile(&files, &definitions).expect("the built-in map compiles")
    };
    let (stamped, plain) = (map(), one_by_one(map()));
    for record in ["complete", "minimal"] {
        let record = parse(&read(&format!("demo/records/crisis-escalation-{record}.json")));
        let found = stamped.transform(&record, Uuid::max());
        assert!(found.is_ok());
        assert_same(&found, &plain.transform(&record, Uuid::max()), "the escalation");
    }
}
