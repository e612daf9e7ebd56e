//! Validation, from bytes to the issues, parse included, beside the yardstick: serde_json parsing the same bytes. The
//! Bundles are the one that the complete sample record becomes and what is made of it here; then resources of it by
//! themselves, and Bundles of many entries: the time must grow with them and no faster.
//!
//! For a fair yardstick run it with `--no-default-features`: FHIR XML brings serde_json's arbitrary_precision along.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use support::in_turns;
use uuid::Uuid;
use weir::config;
use weir::fhir::outcome::Issue;
use weir::fhir::{Document, Limits};
use weir::validation::Validator;

const YARDSTICK: &str = "yardstick: serde_json parses it";
const PROFILE: &str = "https://weir.example/fhir/StructureDefinition/weir-crisis-escalation-bundle";

/// What a message of 13 resources has: one of each but for two practitioners' and three organisations'.
const THIRTEEN: [usize; 13] = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 14];

fn validator() -> Validator {
    let definitions = config::definitions(&[]).expect("the built-in definitions are JSON");
    Validator::compile(&definitions).expect("the built-in definitions compile")
}

/// The Bundle of the sample: 26 resources.
fn sample() -> Value {
    let record = Document::parse(support::record(), &Limits::default()).expect("the record is JSON");
    let seed = Uuid::from_u128(0x6f1d_2c3b_8a90_4e5f_9a7b_0c1d_2e3f_4a5b);
    let bundle = support::map().transform(&record, seed).expect("the record is mapped").document;
    serde_json::from_str(bundle.source()).expect("the Bundle is JSON")
}

/// Half of the sample's resources, each with a narrative of 1.5 KB.
fn thirteen(sample: &Value) -> Value {
    let mut bundle = sample.clone();
    let row = "<tr><td>Synthetic words</td><td>of about the length that a practitioner writes</td></tr>".repeat(16);
    let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><table><tbody>{row}</tbody></table></div>");
    let mut entries: Vec<Value> = THIRTEEN.iter().map(|&place| sample["entry"][place].clone()).collect();
    let left_out = sample["entry"][13]["fullUrl"].clone();
    for entry in &mut entries {
        entry["resource"]["text"] = json!({ "status": "generated", "div": div });
        if let Some(list) = entry["resource"].get_mut("supportingInfo").and_then(Value::as_array_mut) {
            list.retain(|reference| reference["reference"] != left_out);
        }
    }
    bundle["entry"] = Value::Array(entries);
    bundle
}

/// The sample with its MedicationStatement repeated until there are `count` entries.
fn with_entries(sample: &Value, count: usize) -> String {
    let mut bundle = sample.clone();
    let own = sample["entry"].as_array().expect("the Bundle has entries");
    let row = own.iter().find(|entry| entry["resource"]["resourceType"] == "MedicationStatement");
    let mut row = row.expect("the sample has a medication").clone();
    let mut entries = own.clone();
    for number in entries.len()..count {
        let id = Uuid::from_u128(number as u128).to_string();
        row["fullUrl"] = format!("urn:uuid:{id}").into();
        row["resource"]["id"] = id.into();
        entries.push(row.clone());
    }
    bundle["entry"] = Value::Array(entries);
    bundle.to_string()
}

fn check(validator: &Validator, bytes: &[u8], profile: Option<&str>) -> Vec<Issue> {
    let document = Document::parse(bytes.to_vec(), &Limits::default()).expect("it is JSON");
    validator.check_document(&document, profile)
}

fn bundles(criterion: &mut Criterion) {
    let (validator, sample) = (validator(), sample());
    for bundle in [&sample, &thirteen(&sample)] {
        let text = bundle.to_string();
        let errors: Vec<Issue> =
            check(&validator, text.as_bytes(), Some(PROFILE)).into_iter().filter(Issue::is_error).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let count = bundle["entry"].as_array().map_or(0, Vec::len);
        let mut group = criterion.benchmark_group(format!("a Bundle of {count} resources, {} bytes", text.len()));
        let yardstick = || serde_json::from_slice::<Value>(black_box(text.as_bytes()));
        let bytes_to_issues = || check(&validator, black_box(text.as_bytes()), Some(PROFILE));
        group.bench_function(YARDSTICK, |bencher| bencher.iter(yardstick));
        group.bench_function("the tree alone", |bencher| {
            bencher.iter(|| Document::parse(black_box(text.as_bytes()).to_vec(), &Limits::default()));
        });
        group.bench_function("bytes to issues, with our profiles", |bencher| bencher.iter(bytes_to_issues));
        group.finish();
        let (mut base, mut own) = (|| drop(black_box(yardstick())), || drop(black_box(bytes_to_issues())));
        in_turns((YARDSTICK, &mut base), ("validation, bytes to issues", &mut own));
    }
}

fn resources(criterion: &mut Criterion) {
    let (validator, sample) = (validator(), sample());
    let mut group = criterion.benchmark_group("a resource, bytes to issues, with our profiles");
    for name in ["Patient", "Observation", "ServiceRequest", "MedicationStatement"] {
        let mut entries = sample["entry"].as_array().expect("the Bundle has entries").iter();
        let entry = entries.find(|entry| entry["resource"]["resourceType"] == name).expect("the sample has one");
        let text = entry["resource"].to_string();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| check(&validator, black_box(text.as_bytes()), None)));
    }
    group.finish();
}

fn entries(criterion: &mut Criterion) {
    let (validator, sample) = (validator(), sample());
    let mut group = criterion.benchmark_group("a Bundle of many entries");
    group.sample_size(10);
    for count in [100, 1_000, 10_000] {
        let text = with_entries(&sample, count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::from_parameter(count), &text, |bencher, text| {
            bencher.iter(|| check(&validator, black_box(text.as_bytes()), Some(PROFILE)));
        });
    }
    group.finish();
}

criterion_group!(benches, bundles, resources, entries);
criterion_main!(benches);
