//! Mapping, from the bytes of a record to the bytes of its Bundle, beside the yardstick: serde_json parsing the record
//! and serialising the same Bundle. Then records with many rows: the time must grow with them and no faster.
//!
//! For a fair yardstick run it with `--no-default-features`: FHIR XML brings serde_json's arbitrary_precision along.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use support::in_turns;
use uuid::Uuid;
use weir::fhir::{Document, Limits};
use weir::mapping::{CompiledMap, Transformed};

const YARDSTICK: &str = "yardstick: serde_json parses the record, serialises the Bundle";

fn map(map: &CompiledMap, record: &str) -> Transformed {
    let record = Document::parse(record.as_bytes().to_vec(), &Limits::default()).expect("the record is JSON");
    map.transform(&record, Uuid::from_u128(0x6f1d_2c3b_8a90_4e5f_9a7b_0c1d_2e3f_4a5b)).expect("the record is mapped")
}

/// The sample with `rows` medications.
fn with_rows(record: &str, rows: usize) -> String {
    let mut record: Value = serde_json::from_str(record).expect("the sample is JSON");
    let row = record["medications"][0].clone();
    assert!(row.is_object(), "the sample has a medication");
    record["medications"] = Value::Array(vec![row; rows]);
    record.to_string()
}

fn sides(criterion: &mut Criterion) {
    let (compiled, record) = (support::map(), support::record());
    let bundle: Value = serde_json::from_str(map(&compiled, &record).document.source()).expect("the Bundle is JSON");
    let yardstick = || {
        let record = serde_json::from_str::<Value>(black_box(&record)).expect("it is JSON");
        (record, serde_json::to_vec(black_box(&bundle)).expect("it can be written"))
    };
    let bytes_to_bytes = || map(&compiled, black_box(&record));
    let mut group = criterion.benchmark_group("mapping the sample escalation");
    group.bench_function(YARDSTICK, |bencher| bencher.iter(yardstick));
    group.bench_function("bytes to bytes", |bencher| bencher.iter(bytes_to_bytes));
    group.finish();
    let (mut base, mut own) = (|| drop(black_box(yardstick())), || drop(black_box(bytes_to_bytes())));
    in_turns((YARDSTICK, &mut base), ("mapping, bytes to bytes", &mut own));
}

fn rows(criterion: &mut Criterion) {
    let (compiled, record) = (support::map(), support::record());
    let mut group = criterion.benchmark_group("mapping a record of many rows");
    group.sample_size(20);
    for rows in [100, 1_000, 10_000] {
        let record = with_rows(&record, rows);
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_with_input(BenchmarkId::from_parameter(rows), &record, |bencher, record| {
            bencher.iter(|| map(&compiled, record));
        });
    }
    group.finish();
}

criterion_group!(benches, sides, rows);
criterion_main!(benches);
