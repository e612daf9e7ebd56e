//! The demo's map on the demo's records: each output is a golden file. When they were written, they equalled what the
//! HL7 reference implementation made of the same map and records, order and digits included; only the UUIDs differ,
//! which are compared by the order in which they appear.
//!
//! `UPDATE_GOLDEN=1 cargo test --test mapping` writes the files anew; compare them with the reference before committing.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use weir::fhir::{Document, Limits};
use weir::mapping::{self, CompiledMap, MapFile};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    files.sort();
    files
}

fn document(path: &Path) -> Document {
    let bytes = fs::read(path).expect("the file can be read");
    Document::parse(bytes, &Limits::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compile(name: &str) -> CompiledMap {
    let read = |path: &Path| MapFile {
        name: path.file_name().expect("it has a name").to_string_lossy().into_owned(),
        text: fs::read_to_string(path).expect("the map can be read"),
    };
    let all: Vec<MapFile> = files("mappings", ".map").iter().map(|path| read(path)).collect();
    let place = all.iter().position(|file| file.name == name).expect("there is such a map");
    let needed: Vec<MapFile> = mapping::imports(&all)[place].iter().map(|&each| all[each].clone()).collect();
    let definitions: Vec<Document> = files("profiles", ".json").iter().map(|path| document(path)).collect();
    CompiledMap::compile(&needed, &definitions).unwrap_or_else(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{}", faults.join("\n"))
    })
}

/// The JSON one value a line, order and digits as they are, its UUIDs numbered in the order in which they appear.
fn normalised(json: &str) -> String {
    let (mut out, mut known, mut rest) = (String::new(), HashMap::new(), json);
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    while let Some(letter) = rest.chars().next() {
        if let Some(id) = rest.get(..36).filter(|part| in_string && Uuid::try_parse(part).is_ok()) {
            let next = known.len();
            out.push_str(&format!("uuid-{}", known.entry(id.to_owned()).or_insert(next)));
            rest = &rest[36..];
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        (in_string, escaped) = (in_string != (letter == '"' && !escaped), letter == '\\' && !escaped);
        let closes = !in_string && matches!(letter, '}' | ']');
        depth = if closes { depth - 1 } else { depth };
        if closes {
            out.push_str(&format!("\n{}", "  ".repeat(depth)));
        }
        out.push(letter);
        if !in_string && matches!(letter, '{' | '[' | ',') {
            depth += usize::from(letter != ',');
            out.push_str(&format!("\n{}", "  ".repeat(depth)));
        }
    }
    out.push('\n');
    out
}

#[test]
fn the_demo_records_become_the_golden_bundles() {
    let map = compile("crisis-escalation.map");
    let mut records = files("demo/records", ".json");
    records.push(root().join("demo/records/rejected/objection.json"));
    assert!(!records.is_empty());
    for path in records {
        let record = document(&path);
        let name = path.file_name().expect("it has a name");
        let output = map.transform(&record, Uuid::nil()).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let found = normalised(output.document.source());
        let golden = root().join("tests/golden/mapping").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).expect("the golden file can be written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert!(found == expected, "{name:?} is not as its golden file; the output is\n{found}");
        assert_eq!(output.origins.len(), output.document.len());
    }
}

#[test]
fn the_same_record_gives_the_same_bytes() {
    let map = compile("crisis-escalation.map");
    let record = document(&root().join("demo/records/crisis-escalation-complete.json"));
    let run = |seed| map.transform(&record, seed).expect("it runs").document.source().to_owned();
    assert_eq!(run(Uuid::nil()), run(Uuid::nil()));
    assert_ne!(run(Uuid::nil()), run(Uuid::max()));
}

/// Says on the test's standard error that something was not run.
#[expect(clippy::print_stderr, reason = "a test that skips must say so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// What a published case expects.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// This file, as JSON values.
    Json(&'static str),
    /// This file, whose elements a logical model describes (see [`CDA`]).
    Xml(&'static str),
    /// That the map is FML: the cases' own notes call these tests of the parser.
    Parses,
    /// That the map compiles and runs.
    Runs,
}

/// FHIR/fhir-test-cases, `r5/structure-mapping` and `r4b/structure-mapping`, which differ in two files: map, source,
/// what is expected, and why it does not pass; empty if it passes. The reasons may only shrink.
const PUBLISHED: &[(&str, &str, Expected, &str)] = &[
    ("qr2pat-assignment.map", "qr.json", Expected::Json("qr2pat-assignment-res.json"), ""),
    ("qr2pat-gender.map", "qr.json", Expected::Json("qr2pat-gender-res.json"), ""),
    ("qr2pat-humannametwice.map", "qr.json", Expected::Json("qr2pat-humannametwice-res.json"), ""),
    ("qr2pat-humannameshared.map", "qr.json", Expected::Json("qr2pat-humannameshared-res.json"), ""),
    ("qr2reference.map", "qr.json", Expected::Json("qr2reference-res.json"), ""),
    ("qr2pat-gender-conformstoqr.map", "qr.json", Expected::Json("qr2pat-gender-res.json"), ""),
    ("qr2cda.map", "qr.json", Expected::Xml("qr2cda-res.xml"), ""),
    ("qr2cdaxsi.map", "qr.json", Expected::Xml("qr2cdaxsi-res.xml"), ""),
    ("qr2cda-eval.map", "qr.json", Expected::Xml("qr2cda-eval-res.xml"), ""),
    ("qr2cda-eval.json", "qr.json", Expected::Xml("qr2cda-eval-res.xml"), ""),
    ("ActivityDefinition.map", "", Expected::Parses, ""),
    ("cast.map", "", Expected::Parses, ""),
    ("cast.map", "qrext.json", Expected::Runs, ""),
    ("qr2patfordates.map", "qrext.json", Expected::Runs, ""),
    ("syntax.map", "", Expected::Parses, ""),
    ("syntaxshort.map", "", Expected::Parses, ""),
    ("whereclause.map", "", Expected::Parses, ""),
];

/// Where the published cases may lie; no folder if they are not beside the repository.
fn published() -> Vec<PathBuf> {
    let roots = [std::env::var_os("WEIR_TESTCASES").map(PathBuf::from), Some(root().join("../shared/testcases"))];
    let Some(place) = roots.into_iter().flatten().find(|place| place.join("structure-mapping").exists()) else {
        return Vec::new();
    };
    ["structure-mapping", "structure-mapping-r4b"].iter().map(|folder| place.join(folder)).collect()
}

#[test]
fn published_cases_give_what_they_expect() {
    let folders = published();
    if folders.is_empty() {
        return skipped("FHIR/fhir-test-cases is not beside the repository");
    }
    let (mut failures, mut ran) = (Vec::new(), 0);
    for folder in &folders {
        for (map, source, expected, reason) in PUBLISHED.iter().filter(|case| folder.join(case.0).exists()) {
            ran += 1;
            let outcome = published_case(folder, map, source, *expected);
            if outcome.is_ok() != reason.is_empty() {
                failures.push(format!("{}/{map}: {}", folder.display(), outcome.err().unwrap_or_default()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(ran >= 28, "{ran} cases");
}

fn published_case(folder: &Path, map: &str, source: &str, expected: Expected) -> Result<(), String> {
    let text = fs::read_to_string(folder.join(map)).expect("the map can be read");
    let models: Vec<Document> = CDA.iter().map(|model| parse(model)).collect();
    let compiled = CompiledMap::compile(&[MapFile { name: map.to_owned(), text }], &models);
    if let Expected::Parses = expected {
        let faults = compiled.err().unwrap_or_default();
        let syntax = faults.iter().find(|fault| fault.code == weir::mapping::Code::Syntax);
        return syntax.map_or(Ok(()), |fault| Err(fault.to_string()));
    }
    let compiled = compiled.map_err(|faults| faults[0].to_string())?;
    let output = compiled.transform(&published_source(&folder.join(source)), Uuid::nil());
    let found = output.map_err(|error| error.to_string())?.document;
    let same = match expected {
        Expected::Json(file) => as_json(found.source()) == as_json(document(&folder.join(file)).source()),
        Expected::Xml(file) => {
            let expected = fs::read_to_string(folder.join(file)).expect("the file can be read");
            cda_text(&found) == tags(&expected)
        }
        Expected::Parses | Expected::Runs => true,
    };
    if same { Ok(()) } else { Err(found.source().to_owned()) }
}

/// A source; `qrext.json` writes a positiveInt as a JSON string, which FHIR does not allow.
fn published_source(path: &Path) -> Document {
    let text = fs::read_to_string(path).expect("the source can be read");
    parse(&text.replace("\"valuePositiveInt\": \"2147483647\"", "\"valuePositiveInt\": 2147483647"))
}

fn parse(text: &str) -> Document {
    Document::parse(text, &Limits::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn as_json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("it is JSON")
}

/// The models that the CDA cases name, with the elements that they use. `representation` says what XML makes of each:
/// an attribute, the text of its parent, or an element that carries its type.
const CDA: [&str; 3] = [
    r#"{"resourceType":"StructureDefinition","url":"http://hl7.org/fhir/cdatest/StructureDefinition/ClinicalDocument",
        "kind":"logical","type":"http://hl7.org/fhir/cdatest/StructureDefinition/ClinicalDocument",
        "differential":{"element":[{"path":"ClinicalDocument"},{"path":"ClinicalDocument.code","max":"1"},
        {"path":"ClinicalDocument.code.code","max":"1","representation":["xmlAttr"],"type":[{"code":"code"}]},
        {"path":"ClinicalDocument.code.translation","max":"*","representation":["typeAttr"],
         "type":[{"code":"http://hl7.org/fhir/cdatest/StructureDefinition/CD"}]},
        {"path":"ClinicalDocument.title","max":"1","type":[{"code":"http://hl7.org/fhir/cdatest/StructureDefinition/ST"}]}]}}"#,
    r#"{"resourceType":"StructureDefinition","url":"http://hl7.org/fhir/cdatest/StructureDefinition/ST","kind":"logical",
        "type":"http://hl7.org/fhir/cdatest/StructureDefinition/ST","differential":{"element":[{"path":"ST"},
        {"path":"ST.data","max":"1","representation":["xmlText"],"type":[{"code":"string"}]}]}}"#,
    r#"{"resourceType":"StructureDefinition","url":"http://hl7.org/fhir/cdatest/StructureDefinition/CD","kind":"logical",
        "type":"http://hl7.org/fhir/cdatest/StructureDefinition/CD","differential":{"element":[{"path":"CD"},
        {"path":"CD.code","max":"1","representation":["xmlAttr"],"type":[{"code":"code"}]}]}}"#,
];

/// A ClinicalDocument as XML, by the representations in [`CDA`]: each tag and text of its own.
fn cda_text(document: &Document) -> Vec<String> {
    let mut out = Vec::new();
    cda_element("ClinicalDocument", "", document.root(), &mut out);
    out
}

fn cda_element(name: &str, ty: &str, node: weir::fhir::Node<'_>, out: &mut Vec<String>) {
    let text = |member: &str| node.member(member).and_then(weir::fhir::Node::text);
    let code = text("code").map_or(String::new(), |code| format!(" code=\"{code}\""));
    let at = out.len();
    out.extend(text("data").map(std::borrow::Cow::into_owned));
    for (member, ty) in [("code", ""), ("translation", " xsi:type=\"CD\""), ("title", "")] {
        let found = node.member(member).into_iter().flat_map(weir::fhir::Node::items);
        found.filter(|each| each.is_object()).for_each(|each| cda_element(member, ty, each, out));
    }
    if out.len() == at {
        return out.push(format!("<{name}{ty}{code}/>"));
    }
    out.insert(at, format!("<{name}{ty}{code}>"));
    out.push(format!("</{name}>"));
}

/// The tags and texts of an XML file, without its declaration, its namespaces and the white space between.
fn tags(xml: &str) -> Vec<String> {
    let parts = xml.split('<').flat_map(|part| match part.split_once('>') {
        Some((tag, text)) => [format!("<{tag}>"), text.trim().to_owned()],
        None => [String::new(), part.trim().to_owned()],
    });
    let plain = |part: String| {
        let words = part.split(' ').filter(|word| !word.starts_with("xmlns"));
        let part = words.collect::<Vec<_>>().join(" ").replace(" />", "/>");
        if part.starts_with('<') && !part.ends_with('>') { part + ">" } else { part }
    };
    parts.map(plain).filter(|part| !part.is_empty() && !part.starts_with("<?")).collect()
}
