//! What a fuzzer does to the mapping engine, the FHIRPath engine, the validator and the document parser.
//!
//! Each function takes one input and panics on a finding: a panic of the product, a result that a second run does not
//! repeat, a limit that is not kept, a document that serde_json reads in another way. The fuzz targets call them, and so
//! does a test that replays the corpus.

pub mod choices;
pub mod maps;
pub mod mutate;
pub mod mutate_json;
pub mod validation;

use std::sync::OnceLock;

use uuid::Uuid;
use weir::fhir::{Document, Instant, Kind, Limits, Node};
use weir::fhirpath::{DataType, Dialect, Environment, Expression, Item, Items, Typing, Variable};
use weir::mapping::{self, CompiledMap, MapFile};

use choices::Choices;

/// An input that begins with this byte is decisions for a made-up map, not text.
pub const MADE_UP: u8 = 0xFF;

/// Largest map that is compiled, in bytes.
const LONGEST: usize = 32 * 1024;

fn parse(text: &str) -> Document {
    Document::parse(text, &Limits::default()).expect("it is a document")
}

/// The documents of a JSON array.
fn elements(text: &str) -> Vec<Document> {
    parse(text).root().items().map(|item| parse(item.raw())).collect()
}

fn definitions() -> &'static [Document] {
    static DEFINITIONS: OnceLock<Vec<Document>> = OnceLock::new();
    DEFINITIONS.get_or_init(|| {
        let record = include_str!("../../profiles/StructureDefinition-CrisisEscalationRecord.json");
        [maps::MODEL, record].into_iter().map(parse).collect()
    })
}

/// Compiles a map, made up or as text.
pub fn map_compile(data: &[u8]) {
    let text = match data.split_first() {
        Some((&MADE_UP, decisions)) => maps::map(&mut Choices::new(decisions)),
        _ => String::from_utf8_lossy(data).into_owned(),
    };
    if text.len() > LONGEST {
        return;
    }
    // A line of eight equals signs parts a map from one that it may import.
    let files: Vec<MapFile> = text
        .split("\n========\n")
        .enumerate()
        .map(|(index, text)| MapFile { name: format!("{index}.map"), text: text.to_owned() })
        .collect();
    match CompiledMap::compile(&files, definitions()) {
        Ok(map) => check_compiled(&map),
        Err(faults) => {
            assert!(faults.iter().any(|fault| fault.severity == mapping::Severity::Error), "a refusal says why");
            for fault in &faults {
                assert!(fault.line > 0 && fault.column > 0 && !fault.to_string().is_empty());
            }
        }
    }
}

fn check_compiled(map: &CompiledMap) {
    assert!(map.rule(0).is_some(), "a map that compiles has a rule");
    let record =
        parse(r#"{"name":"n","given":["a","b"],"active":true,"home":[{"street":"s","inner":[{"town":["t"]}]}]}"#);
    drop(map.transform(&record, Uuid::nil()));
}

/// The maps that records are run through, by the letter that names them.
const MAPS: &[&[&str]] = &[
    &[include_str!("../../mappings/crisis-escalation.map"), include_str!("../../mappings/minimum-dataset.map")],
    &[include_str!("../maps/copies.map")],
    &[include_str!("../maps/lists.map")],
    &[include_str!("../maps/expressions.map")],
    &[include_str!("../maps/transforms.map")],
    &[include_str!("../maps/types.map")],
];

/// What a run under the fuzzer may cost.
const RUN: mapping::Limits =
    mapping::Limits { steps: 20_000, expressions: 200_000, elements: 20_000, bytes: 1 << 20, depth: 60, groups: 40 };
/// Limits that most records run into.
const TIGHT: mapping::Limits =
    mapping::Limits { steps: 60, expressions: 500, elements: 25, bytes: 200, depth: 7, groups: 3 };

fn compiled(text: &str) -> Option<CompiledMap> {
    let file = MapFile { name: "m.map".to_owned(), text: text.to_owned() };
    CompiledMap::compile(&[file], definitions()).ok()
}

fn fixed_maps() -> &'static [(CompiledMap, CompiledMap)] {
    static FIXED: OnceLock<Vec<(CompiledMap, CompiledMap)>> = OnceLock::new();
    FIXED.get_or_init(|| {
        let compile = |texts: &&[&str]| {
            let file =
                |(index, text): (usize, &&str)| MapFile { name: format!("{index}.map"), text: (*text).to_owned() };
            let files: Vec<MapFile> = texts.iter().enumerate().map(file).collect();
            CompiledMap::compile(&files, definitions()).unwrap_or_else(|faults| panic!("{faults:?}"))
        };
        MAPS.iter().map(|texts| (compile(texts).with_limits(RUN), compile(texts).with_limits(TIGHT))).collect()
    })
}

/// Runs a map on a record: the first line names the map with one letter, or decides a made-up one; the rest is the record.
pub fn map_run(data: &[u8]) {
    let Some(end) = data.iter().position(|&byte| byte == b'\n') else { return };
    let (head, record) = (&data[..end], &data[end + 1..]);
    let Ok(record) = Document::parse(record, &Limits::default()) else { return };
    if let &[letter] = head {
        let maps = fixed_maps();
        let (map, tight) = &maps[usize::from(letter.wrapping_sub(b'a')) % maps.len()];
        return run(map, tight, &record);
    }
    let text = maps::map(&mut Choices::new(head));
    if let (Some(map), Some(tight)) = (compiled(&text), compiled(&text)) {
        run(&map.with_limits(RUN), &tight.with_limits(TIGHT), &record);
    }
}

fn run(map: &CompiledMap, tight: &CompiledMap, record: &Document) {
    let seed = Uuid::from_u128(7);
    let first = map.transform(record, seed);
    let (again, less) = (map.transform(record, seed), tight.transform(record, seed));
    match (&first, &again) {
        (Ok(first), Ok(again)) => {
            assert_eq!(first.document.source(), again.document.source(), "a second run gives the same bytes");
            assert_eq!(first.origins, again.origins, "a second run gives the same origins");
            check_output(first, &RUN);
        }
        (Err(first), Err(again)) => {
            assert_eq!(first, again, "a second run gives the same error");
            assert!(!first.to_string().is_empty() && !first.hint().is_empty());
        }
        _ => panic!("a second run ends in another way"),
    }
    if let Ok(less) = less {
        check_output(&less, &TIGHT);
        let first = first.expect("what runs within tight limits runs within wide ones");
        assert_eq!(first.document.source(), less.document.source(), "limits change no output");
    }
}

fn check_output(output: &mapping::Transformed, limits: &mapping::Limits) {
    let text = output.document.source();
    serde_json::from_str::<serde_json::Value>(text).expect("the output is JSON");
    assert_eq!(output.origins.len(), output.document.len(), "each value has its origin");
    assert!(output.document.len() <= 4 * limits.elements, "the limit on elements holds");
    assert!(text.len() <= 6 * limits.bytes + 4 * 64 * output.document.len(), "the limit on text holds");
    assert!(depth(output.document.root()) <= usize::from(limits.depth), "the limit on levels holds");
}

fn depth(node: Node<'_>) -> usize {
    match node.kind() {
        Kind::Object | Kind::Array => 1 + node.children().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Evaluates an expression on a document; a line of three dashes stands between them.
pub fn fhirpath(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (expression, document) =
        text.split_once("\n---\n").unwrap_or((text, r#"{"resourceType":"Patient","name":[{"given":["a"]}]}"#));
    let expression = match Expression::parse_as(expression, Dialect::Map { variables: &["src", "x"] }) {
        Ok(expression) => expression,
        Err(fault) => {
            assert!(fault.offset <= expression.len(), "a fault stands in the text");
            return;
        }
    };
    let patient = weir::fhir::r4::schema().resource("Patient").map(DataType::Fhir);
    let typing = Typing { focus: patient, model: None, variables: &[("x", DataType::Any)], is_condition: true };
    drop(expression.check(&typing));
    let Ok(document) = Document::parse(document, &Limits::default()) else { return };
    let root = Item::of_document(&document);
    let variables =
        [Variable { name: "src", items: vec![root.clone()] }, Variable { name: "x", items: vec![Item::of_text("x")] }];
    let environment = Environment {
        resource: Some(root.clone()),
        root_resource: Some(root.clone()),
        now: Some(Instant::UNIX_EPOCH),
        variables: &variables,
        steps: Some(100_000),
        ..Environment::default()
    };
    let focus = [root];
    let (first, again) = (expression.evaluate(&focus, &environment), expression.evaluate(&focus, &environment));
    assert_eq!(first.as_ref().map(written).map_err(Clone::clone), again.as_ref().map(written).map_err(Clone::clone));
    if let Err(fault) = first {
        assert!(fault.offset <= expression.text().len() && !fault.hint().is_empty());
    }
}

fn written(items: &Items<'_>) -> Vec<String> {
    items.iter().map(|item| format!("{:?} {:?}", item.as_text(), item.path())).collect()
}

/// Parses bytes and compares with serde_json.
pub fn document(data: &[u8]) {
    let ours = Document::parse(data, &Limits { depth: 100, nodes: 200_000 });
    let theirs = serde_json::from_slice::<serde_json::Value>(data);
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            same(ours.root(), &theirs);
            check_tree(&ours);
        }
        (Ok(ours), Err(error)) => {
            // serde_json reads numbers as doubles; the tree keeps their digits.
            let text = error.to_string();
            assert!(text.starts_with("number out of range"), "the tree takes what serde_json refuses: {text}");
            check_tree(&ours);
        }
        (Err(fault), Ok(_)) => {
            use weir::fhir::Fault;
            let stricter = matches!(fault.what, Fault::DuplicateKey | Fault::TooDeep | Fault::TooLarge);
            assert!(stricter, "the tree refuses what serde_json takes: {fault}");
        }
        (Err(fault), Err(_)) => assert!(fault.position.line > 0 && !fault.to_string().is_empty()),
    }
}

fn same(ours: Node<'_>, theirs: &serde_json::Value) {
    use serde_json::Value;
    match theirs {
        Value::Null => assert_eq!(ours.kind(), Kind::Null),
        Value::Bool(truth) => assert_eq!(ours.boolean(), Some(*truth)),
        Value::String(text) => assert_eq!(ours.text().as_deref(), Some(text.as_str())),
        Value::Number(number) => {
            assert_eq!(ours.kind(), Kind::Number);
            // serde_json's fast way to a double may be wrong in the last digits.
            let exact = ours.raw().parse::<f64>().expect("it is a number");
            let theirs = number.as_f64().or_else(|| number.to_string().parse().ok()).expect("it is a number");
            let close = (exact - theirs).abs() <= exact.abs() * 1e-14 + f64::MIN_POSITIVE;
            assert!(exact == theirs || close, "numbers agree");
        }
        Value::Array(items) => {
            assert!(ours.is_array() && ours.children().count() == items.len());
            ours.children().zip(items).for_each(|(ours, theirs)| same(ours, theirs));
        }
        Value::Object(members) => {
            assert!(ours.is_object() && ours.children().count() == members.len());
            for child in ours.children() {
                let name = child.name().expect("a member has a name");
                same(child, &members[&*name]);
                assert_eq!(ours.member(&name), Some(child));
            }
        }
    }
}

/// What a tree says about itself must fit together.
fn check_tree(document: &Document) {
    let again = Document::parse(document.source(), &Limits::default()).expect("what was read can be read again");
    assert_eq!(again.len(), document.len());
    let mut count = 0;
    document.visit_paths(|node, path| {
        if count < 50 {
            assert_eq!(node.path(), *path);
        }
        count += 1;
    });
    assert_eq!(count, document.len());
    let offsets: Vec<usize> = document.nodes().take(50).map(Node::offset).collect();
    let positions = document.positions(&offsets);
    for (offset, position) in offsets.into_iter().zip(positions) {
        assert_eq!(document.position(offset), position);
    }
}
