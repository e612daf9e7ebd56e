//! What unit tests know of profiles and keys: the profile of a person, with its slices, and two keys.

use super::{Facts, PseudonymKey};
use crate::fhir::definitions::{Definition, StructureDefinition};
use crate::fhir::slices::{Slice, slices};
use crate::fhir::snapshot::Snapshots;
use crate::fhir::{Document, Limits};

/// The profile of a person.
pub(crate) const PATIENT: &str = "https://weir.example/fhir/StructureDefinition/weir-patient";

/// One profile with slices, and the keys `k` and `icb`.
pub(crate) struct SampleFacts(StructureDefinition);

impl SampleFacts {
    pub(crate) fn new() -> SampleFacts {
        let text = include_str!("../../profiles/StructureDefinition-weir-patient.json");
        let document = Document::parse(text, &Limits::default()).expect("it is JSON");
        let Some(Definition::Structure(patient)) = Definition::read(&document) else { panic!("it is a profile") };
        SampleFacts(*patient)
    }
}

impl Facts for SampleFacts {
    fn required(&self, profile: &str) -> Vec<String> {
        if profile == PATIENT { vec!["Patient.birthDate".to_owned(), "Patient.name".to_owned()] } else { Vec::new() }
    }

    fn slices(&self, profile: &str, element: &str) -> Vec<Slice> {
        let snapshot = Snapshots::of([&self.0]).snapshot(profile);
        snapshot.map(|snapshot| slices(&snapshot, element)).unwrap_or_default()
    }

    fn pseudonym_key(&self, name: &str) -> Option<PseudonymKey> {
        ["k", "icb"].contains(&name).then(|| PseudonymKey::new(&[1; 32]))
    }
}
