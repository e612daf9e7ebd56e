//! Stage 4 on the sample escalation: the projection, and the validation of what leaves; in turns with serde_json parsing
//! the same Bundle into a `Value`.
//!
//! For a fair yardstick run it with `--no-default-features`: FHIR XML brings serde_json's arbitrary_precision along.

mod support;

use std::hint::black_box;

use weir::config;
use weir::disclosure::{self, Agreements};
use weir::fhir::{Document, Limits};
use weir::identity::InterfaceName;
use weir::intake::{self, Submission};
use weir::mapping;
use weir::validation::Validator;

/// The Bundle of the sample escalation, before disclosure.
fn bundle(interface: &InterfaceName) -> Document {
    let submission = Submission {
        sender: "DEMOP".parse().expect("it is an ODS code"),
        by: None,
        interface: interface.clone(),
        content_type: Some("application/json".to_owned()),
        idempotency_key: None,
        body: support::record().into_bytes(),
        received_at: time::macros::datetime!(2026-03-02 14:06 UTC),
    };
    let received = intake::receive(submission, (&Limits::default(), &[]), |_| vec![]).expect("the sample is received");
    let mappings = std::iter::once((interface.clone(), std::sync::Arc::new(support::map()))).collect();
    mapping::apply(&mappings, received).expect("the sample is mapped").bundle().clone()
}

fn main() {
    let interface: InterfaceName = "crisis-escalation".parse().expect("it is an interface name");
    let definitions = config::definitions(&[]).expect("the built-in definitions are JSON");
    let validator = Validator::compile(&definitions).expect("the built-in definitions compile");
    let required = |profile: &str| validator.required_elements(profile);
    let file = ("demo-trust-crisis.toml".to_owned(), support::read("agreements/demo-trust-crisis.toml"));
    let agreements = Agreements::load_for(&[file], &required).expect("the agreement is sound");
    let agreement = agreements.iter().next().expect("there is one");
    let profile = agreement.interface(&interface).expect("it is covered").profile();
    let full = bundle(&interface);
    let sent = disclosure::project(&full, agreement, &interface).expect("it is a Bundle").0;

    let mut parse = || {
        black_box(
            serde_json::from_slice::<serde_json::Value>(black_box(full.source().as_bytes())).expect("it is JSON"),
        );
    };
    let mut project = || {
        black_box(disclosure::project(black_box(&full), agreement, &interface).expect("it is a Bundle"));
    };
    let mut validate = || {
        black_box(validator.check_document(black_box(&sent), Some(profile)));
    };
    let mut both = || {
        let (sent, manifest) = disclosure::project(black_box(&full), agreement, &interface).expect("it is a Bundle");
        black_box((validator.check_document(&sent, Some(profile)), manifest));
    };
    let yardstick = "serde_json parses the Bundle";
    support::in_turns((yardstick, &mut parse), ("the projection", &mut project));
    support::in_turns((yardstick, &mut parse), ("the validation of what leaves", &mut validate));
    support::in_turns((yardstick, &mut parse), ("both", &mut both));
}
