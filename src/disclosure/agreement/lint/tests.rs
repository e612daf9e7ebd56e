//! What the linter says of the agreements of the demonstration. Its messages are golden files (`tests/agreements.rs`).

use super::*;
use crate::fhir::definitions::StructureDefinition;

struct Nothing;

impl Surroundings for Nothing {
    fn resource_types(&self, _interface: &str) -> Option<Vec<&str>> {
        None
    }

    fn says_missing(&self, _interface: &str) -> bool {
        false
    }

    fn lane(&self, _partner: &PartyId) -> Option<Lane> {
        None
    }

    fn pseudonym_keys(&self) -> Vec<&str> {
        Vec::new()
    }

    fn principal(&self, _id: &str) -> Option<PrincipalFacts> {
        None
    }

    fn principals(&self) -> Vec<String> {
        Vec::new()
    }
}

#[test]
fn what_is_no_agreement_has_no_faults_here() {
    let none: Vec<StructureDefinition> = Vec::new();
    assert_eq!(lint("a.toml", "id = 1", &mut Profiles::of(&none), &Nothing), Vec::new());
    assert_eq!(lint("a.toml", "", &mut Profiles::of(&none), &Nothing), Vec::new());
}
