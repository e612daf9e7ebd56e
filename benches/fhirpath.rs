//! What a typical invariant costs: `cargo bench --bench fhirpath`. The target is under 0.5 µs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use weir::fhir::{Document, Limits};
use weir::fhirpath::{Environment, Expression, Item};

const PATIENT: &str = r#"{"resourceType":"Patient","active":true,"birthDate":"1974-12-25",
  "contained":[{"resourceType":"Organization","id":"o","name":"Trust"}],"managingOrganization":{"reference":"o"},
  "name":[{"use":"official","family":"Chalmers","given":["Peter","James"]},{"use":"usual","given":["Jim"]}]}"#;

fn invariants(criterion: &mut Criterion) {
    let document = Document::parse(PATIENT, &Limits::default()).expect("the document is JSON");
    let patient = Item::of_document(&document);
    let environment = Environment { resource: Some(patient.clone()), ..Environment::default() };
    for (name, text) in [
        ("pat-1-like", "name.exists() or telecom.exists()"),
        ("dom-2", "contained.contained.empty()"),
        ("dom-4", "contained.meta.versionId.empty() and contained.meta.lastUpdated.empty()"),
        ("ele-1", "hasValue() or (children().count() > id.count())"),
        ("where", "name.where(use = 'usual').exists()"),
        ("matches", "name.family.matches('^[A-Z][a-z]+$')"),
        ("count", "name.given.count() = 3"),
    ] {
        let expression = Expression::parse(text).expect("the expression is valid");
        criterion.bench_function(&format!("fhirpath/{name}"), |bencher| {
            bencher.iter(|| expression.holds(black_box(&patient), &environment));
        });
    }
}

criterion_group!(benches, invariants);
criterion_main!(benches);
