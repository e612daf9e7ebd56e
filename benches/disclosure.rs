//! Stage 4 on the sample escalation: the projection, and the validation of what leaves; in turns with serde_json parsing
//! the Bundle that leaves into a `Value`.
//!
//! For a fair yardstick run it with `--no-default-features`: FHIR XML brings serde_json's arbitrary_precision along.

mod support;

use std::hint::black_box;

use weir::config;
use weir::disclosure::{self, Agreements, Manifest};
use weir::fhir::{Document, Limits};
use weir::identity::InterfaceName;
use weir::intake::{self, Submission};
use weir::mapping::{self, Mapped};
use weir::validation::{self, Cut, Validated, Validator};

/// The sample escalation, mapped.
fn mapped(interface: &InterfaceName) -> Mapped {
    let submission = Submission {
        sender: "DEMOP".parse().expect("it is an ODS code"),
        by: None,
        interface: interface.clone(),
        content_type: Some("application/json".to_owned()),
        idempotency_key: None,
        body: support::record().into_bytes(),
        received_at: time::macros::datetime!(2026-03-02 14:06 UTC),
    };
    let received = intake::receive(
        submission,
        intake::Terms { limits: &Limits::default(), reads: intake::Reads::Record, model: None, identified_by: &[] },
        |_| vec![],
    )
    .expect("the sample is received");
    let mappings = std::iter::once((interface.clone(), std::sync::Arc::new(support::map()))).collect();
    mapping::apply(&mappings, received).expect("the sample is mapped")
}

/// What is left of `before`, as the validator is asked about it.
fn cut<'c>(before: &'c Validated, (bundle, manifest): &'c (Document, Manifest), profile: &'c str) -> Cut<'c> {
    let (settled, altered, keeps_claims) = (manifest.settled(), manifest.altered(), manifest.keeps_claims());
    Cut { before, bundle, settled, altered, keeps_claims, profile }
}

fn main() {
    let interface: InterfaceName = "crisis-escalation".parse().expect("it is an interface name");
    let definitions = config::definitions(&[]).expect("the built-in definitions are JSON");
    let validator = Validator::compile(&definitions).expect("the built-in definitions compile");
    let required = |profile: &str| validator.required_elements(profile);
    let file = ("demo-trust-crisis.toml".to_owned(), support::read("agreements/demo-trust-crisis.toml"));
    let agreements = Agreements::load_for(&[file], &required).expect("the agreement is sound");
    let agreement = agreements.iter().next().expect("there is one");
    let profile = agreement.interface(&interface).expect("it is covered").profile().to_owned();
    let before = validation::check(&validator, &profile, mapped(&interface)).expect("the sample is valid");
    let full = before.mapped().bundle();
    let left = disclosure::project(full, agreement, &interface).expect("it is a Bundle");

    let mut parse = || {
        black_box(
            serde_json::from_slice::<serde_json::Value>(black_box(left.0.source().as_bytes())).expect("it is JSON"),
        );
    };
    let mut parse_full = || {
        black_box(
            serde_json::from_slice::<serde_json::Value>(black_box(full.source().as_bytes())).expect("it is JSON"),
        );
    };
    let project = || disclosure::project(black_box(full), agreement, &interface).expect("it is a Bundle");
    let mut project_only = || drop(black_box(project()));
    let mut whole = || drop(black_box(validator.check_document(black_box(&left.0), Some(&profile))));
    let mut again = || drop(black_box(validator.recheck(&cut(&before, black_box(&left), &profile))));
    let mut both = || {
        let left = project();
        assert!(validator.recheck(&cut(&before, &left, &profile)).is_empty());
        drop(black_box(left));
    };
    let yardstick = "serde_json parses the Bundle that leaves";
    support::in_turns((yardstick, &mut parse), ("the projection", &mut project_only));
    support::in_turns((yardstick, &mut parse), ("the validation of what leaves", &mut again));
    support::in_turns((yardstick, &mut parse), ("both", &mut both));
    support::in_turns(("serde_json parses the Bundle before", &mut parse_full), ("both", &mut both));
    support::in_turns((yardstick, &mut parse), ("a validation of the whole, for comparison", &mut whole));
}
