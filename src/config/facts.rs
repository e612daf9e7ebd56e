//! What disclosure asks of a site while it reads agreements: of the profiles that are loaded, and of its keys.

use std::collections::BTreeMap;

use crate::disclosure::{Facts, PseudonymKey};
use crate::fhir::slices::Slice;
use crate::validation::Validator;

/// The profiles and the keys of a site.
pub(super) struct SiteFacts<'s> {
    /// `None` where the profiles have faults, which are told by themselves.
    pub(super) validator: Option<&'s Validator>,
    /// By the name that agreements give them.
    pub(super) pseudonym_keys: BTreeMap<String, PseudonymKey>,
}

impl Facts for SiteFacts<'_> {
    fn required(&self, profile: &str) -> Vec<String> {
        self.validator.map(|known| known.required_elements(profile)).unwrap_or_default()
    }

    fn slices(&self, profile: &str, element: &str) -> Vec<Slice> {
        self.validator.map(|known| known.slices(profile, element)).unwrap_or_default()
    }

    fn knows_keys(&self) -> bool {
        true
    }

    fn pseudonym_key(&self, name: &str) -> Option<PseudonymKey> {
        self.pseudonym_keys.get(name).cloned()
    }
}
