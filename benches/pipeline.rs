//! Each step of the way of a message, and the whole of it in memory, on the sample escalation; beside the work that
//! cannot be avoided: serde_json parsing the record and serialising the Bundle.
//!
//! For a fair yardstick run it with `--no-default-features`: FHIR XML brings serde_json's arbitrary_precision along.

mod support;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::iter;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use weir::config;
use weir::disclosure::{self, Agreements, Disclosable};
use weir::fhir::{Document, Instant, Limits};
use weir::identity::InterfaceName;
use weir::identity::keyed_hash::HashKey;
use weir::identity::signature::PersonalKey;
use weir::intake::{self, Received, Submission};
use weir::mapping::{self, Mapped};
use weir::pipeline::{self, Interface, Stages};
use weir::provenance;
use weir::storage::Approval;
use weir::validation::{self, Validated, Validator};

const MODEL: &str = "https://weir.example/fhir/StructureDefinition/CrisisEscalationRecord";
const PROFILE: &str = "https://weir.example/fhir/StructureDefinition/weir-crisis-escalation-bundle";
const NOW: Instant = time::macros::datetime!(2026-03-02 14:06 UTC);

fn interface() -> InterfaceName {
    "crisis-escalation".parse().expect("it is an interface name")
}

fn stages() -> Stages {
    let definitions = config::definitions(&[]).expect("the built-in definitions are JSON");
    let validator = Validator::compile(&definitions).expect("the built-in definitions compile");
    let agreement = ("demo-trust-crisis.toml".to_owned(), support::read("agreements/demo-trust-crisis.toml"));
    let required = |profile: &str| validator.required_elements(profile);
    let agreements = Agreements::load_for(&[agreement], &required).expect("the agreement is sound");
    for agreement in agreements.iter() {
        for role in agreement.unapproved() {
            assert!(agreement.count(&Approval {
                agreement: agreement.id().clone(),
                version: agreement.version().to_owned(),
                file: agreement.hash(),
                role: role.code().to_owned(),
                by: agreement.approver(role).expect("a principal").parse().expect("an id"),
                at: time::OffsetDateTime::UNIX_EPOCH,
            }));
        }
    }
    let how = Interface {
        record: MODEL.to_owned(),
        profile: PROFILE.to_owned(),
        ordered: false,
        identified_by: vec![],
        model: None,
        deadlines: [].into(),
        if_missing: weir::pipeline::IfMissing::default(),
        handover: None,
    };
    Stages {
        provider: provenance::Gateway::new(
            "DEMOP".parse().expect("it is an ODS code"),
            "Demo provider (synthetic)",
            "0",
            provenance::Keys {
                signing: PersonalKey::from_seed(&[7; 32]).expect("any seed does"),
                published: String::new(),
                kid: "weir.example/DEMOP+00000000".to_owned(),
                hashes: HashKey::new(&[8; 32]),
            },
        ),
        limits: Limits::default(),
        interfaces: BTreeMap::from([(interface(), how)]),
        mappings: Arc::new(iter::once((interface(), Arc::new(support::map()))).collect()),
        validator: Arc::new(validator),
        agreements: Arc::new(agreements),
    }
}

fn submission(record: &str) -> Submission {
    Submission {
        sender: "DEMOP".parse().expect("it is an ODS code"),
        by: None,
        interface: interface(),
        content_type: Some("application/json".to_owned()),
        idempotency_key: None,
        body: record.as_bytes().to_vec(),
        received_at: NOW,
    }
}

/// The steps, each from the proof of the one before.
struct Bench {
    stages: Stages,
    record: String,
}

impl Bench {
    fn receive(&self) -> Received {
        let conforms = |record: &_| self.stages.validator.check_record(record, MODEL);
        let reads = intake::Reads::Record;
        let terms = intake::Terms { limits: &self.stages.limits, reads, model: None, identified_by: &[] };
        intake::receive(submission(&self.record), terms, conforms).expect("the sample is received")
    }

    fn map(&self, received: Received) -> Mapped {
        mapping::apply(&self.stages.mappings, received).expect("the sample is mapped")
    }

    fn validate(&self, mapped: Mapped) -> Validated {
        validation::check(&self.stages.validator, PROFILE, mapped).expect("the sample is valid")
    }

    fn disclose(&self, validated: Validated) -> Disclosable {
        let projected = disclosure::minimise(&self.stages.agreements, validated).expect("an agreement is in force");
        projected.revalidated(|cut| self.stages.validator.recheck(cut)).expect("what leaves is valid")
    }
}

fn steps(criterion: &mut Criterion) {
    let bench = Bench { stages: stages(), record: support::record() };
    let mapped = || bench.map(bench.receive());
    let validated = || bench.validate(mapped());
    let bundle = mapped().bundle().source().to_owned();

    let mut group = criterion.benchmark_group("sample escalation");
    group.bench_function("0 yardstick: serde_json parses the record, serialises the Bundle", |bencher| {
        let value: serde_json::Value = serde_json::from_str(&bundle).expect("the Bundle is JSON");
        bencher.iter(|| {
            let record = serde_json::from_str::<serde_json::Value>(black_box(&bench.record)).expect("it is JSON");
            (record, serde_json::to_vec(black_box(&value)).expect("it can be written"))
        });
    });
    group.bench_function("0 parse the Bundle into the tree", |bencher| {
        bencher.iter(|| Document::parse(black_box(bundle.as_bytes()).to_vec(), &Limits::default()));
    });
    group.bench_function("0 serde_json parses the Bundle", |bencher| {
        bencher.iter(|| serde_json::from_str::<serde_json::Value>(black_box(&bundle)));
    });
    group.bench_function("1 intake, with the logical model", |bencher| bencher.iter(|| bench.receive()));
    group.bench_function("2 mapping", |bencher| {
        bencher.iter_batched(|| bench.receive(), |received| bench.map(received), BatchSize::SmallInput);
    });
    group.bench_function("3 validation", |bencher| {
        bencher.iter_batched(mapped, |mapped| bench.validate(mapped), BatchSize::SmallInput);
    });
    group.bench_function("4 disclosure, with the second validation", |bencher| {
        bencher.iter_batched(validated, |validated| bench.disclose(validated), BatchSize::SmallInput);
    });
    group.bench_function("4 disclosure, the projection alone", |bencher| {
        let project = |validated| disclosure::minimise(&bench.stages.agreements, validated);
        bencher.iter_batched(validated, project, BatchSize::SmallInput);
    });
    group.bench_function("5 provenance and lineage", |bencher| {
        let attest = |disclosable| provenance::attest(disclosable, NOW, &bench.stages.provider);
        bencher.iter_batched(|| bench.disclose(validated()), attest, BatchSize::SmallInput);
    });
    group.bench_function("1 to 5, bytes in to bytes out", |bencher| {
        bencher.iter(|| pipeline::preview(&bench.stages, submission(&bench.record), NOW));
    });
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
