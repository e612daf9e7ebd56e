//! Parsing a Bundle into the lossless tree, beside serde_json on the same bytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::fhir::{Document, Limits};

/// A Bundle of the sample's shape, grown to at least `bytes`, indented as systems often send it.
fn bundle(bytes: usize) -> String {
    let mut text = String::from("{\n  \"resourceType\": \"Bundle\",\n  \"type\": \"message\",\n  \"entry\": [\n");
    let mut index = 0;
    while text.len() < bytes {
        if index > 0 {
            text.push_str(",\n");
        }
        text.push_str(&format!(
            r#"    {{
      "fullUrl": "urn:uuid:00000000-0000-4000-8000-{index:012}",
      "resource": {{
        "resourceType": "Observation",
        "id": "00000000-0000-4000-8000-{index:012}",
        "meta": {{ "profile": [ "https://weir.example/fhir/StructureDefinition/weir-observation" ] }},
        "status": "final",
        "code": {{ "coding": [ {{ "system": "https://weir.example/fhir/CodeSystem/crisis-observation", "code": "what-changed", "display": "What changed" }} ] }},
        "subject": {{ "reference": "urn:uuid:00000000-0000-4000-8000-000000000001" }},
        "effectiveDateTime": "2026-01-31T23:15:00+00:00",
        "valueQuantity": {{ "value": 1.50, "unit": "h", "system": "http://unitsofmeasure.org", "code": "h" }},
        "note": [ {{ "text": "Synthetic words of about the length that a practitioner writes in a hurry, \"quoted\" once." }} ]
      }}
    }}"#
        ));
        index += 1;
    }
    text.push_str("\n  ]\n}\n");
    text
}

fn parse(criterion: &mut Criterion) {
    let text = bundle(36 * 1024);
    let mut group = criterion.benchmark_group("parse a Bundle of 36 KB");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("weir: lossless tree, duplicate keys refused", |bencher| {
        bencher.iter(|| Document::parse(black_box(text.as_bytes()).to_vec(), &Limits::default()));
    });
    group.bench_function("serde_json::Value", |bencher| {
        bencher.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(text.as_bytes())));
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
