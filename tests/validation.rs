//! Our profiles on what the demo's map makes of the demo's records: no error, and nothing that goes unchecked unsaid.

use weir::fhir::outcome::Issue;
use weir::fhir::xml::{from_xml, to_xml};
use weir::fhir::{Document, Limits};
use weir::validation::Validator;

#[path = "support/samples.rs"]
mod samples;

use samples::{bundles, documents};

const BUNDLE: &str = "https://weir.example/fhir/StructureDefinition/weir-crisis-escalation-bundle";
const RECORD: &str = "https://weir.example/fhir/StructureDefinition/CrisisEscalationRecord";

fn validator() -> Validator {
    Validator::compile(&documents("profiles")).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

fn errors(issues: &[Issue]) -> Vec<&Issue> {
    issues.iter().filter(|issue| issue.is_error()).collect()
}

#[test]
fn the_demo_profiles_are_checked_whole() {
    assert_eq!(validator().not_checked(), [] as [&str; 0]);
    let models = [
        "CrisisEscalationRecord",
        "DischargeHandoverRecord",
        "HL7v2Message",
        "InboundReferralRecord",
        "ReferralRecord",
        "ReportingExtractRecord",
        "SafeguardingReferralRecord",
        "TeamTransferRecord",
    ];
    let models = models.map(|name| format!("https://weir.example/fhir/StructureDefinition/{name}"));
    assert_eq!(validator().logical_models(), models);
}

#[test]
fn the_demo_records_and_their_bundles_conform() {
    let validator = validator();
    for record in documents("demo/records") {
        assert_eq!(validator.check_record(&record, RECORD), []);
    }
    for bundle in bundles() {
        assert!(errors(&validator.check_document(&bundle, Some(BUNDLE))).is_empty());
    }
}

/// Member for member: in XML the url of an extension is an attribute, so it is read before the extensions inside.
#[test]
fn the_demo_bundles_survive_xml() {
    let members = |bundle: &Document| serde_json::from_str::<serde_json::Value>(bundle.source()).expect("it is JSON");
    for bundle in bundles() {
        let xml = to_xml(&bundle).expect("it is written");
        let again = from_xml(&xml, &Limits::default()).expect("it is read");
        assert_eq!(members(&again), members(&bundle));
        assert_eq!(to_xml(&again).expect("it is written"), xml);
    }
}

#[test]
fn no_damaged_bundle_panics() {
    let validator = validator();
    let bundle = bundles().remove(0);
    let source = bundle.source();
    // Every seventh value in turn becomes something else.
    for node in bundle.nodes().step_by(7) {
        for other in ["null", "{}", "-1.5e400", "[[]]", "\"#\""] {
            let damaged = [&source[..node.offset()], other, &source[node.offset() + node.raw().len()..]].concat();
            let damaged = Document::parse(damaged, &Limits::default()).expect("it is JSON");
            let _ = validator.check_document(&damaged, Some(BUNDLE));
            let _ = validator.check_record(&damaged, RECORD);
        }
    }
}
