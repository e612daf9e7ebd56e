//! The agreements folder of a gateway that runs, read anew against what the gateway started with.
//!
//! Enters: the files as they stand. Leaves: [`Agreements`], or every fault of the folder as a whole. Profiles, maps,
//! partners, principals and keys are those of the start: what refers to newer ones is a fault until the next start.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::agreements::{self, Known};
use super::facts::SiteFacts;
use super::faults::{Fault, Faults};
use super::incidents::Incidents;
use super::site::Files;
use crate::delivery::Partner;
use crate::disclosure::{Agreements, PseudonymKey};
use crate::fhir::definitions::StructureDefinition;
use crate::identity::principal::Principals;
use crate::pipeline::Stages;
use crate::server::{AgreementFolder, Hashes, Texts};

/// What the agreements of a site are read with, beside its stages.
pub(super) struct Reader {
    pub(super) structures: Vec<StructureDefinition>,
    pub(super) pseudonym_keys: BTreeMap<String, PseudonymKey>,
}

/// The folder, and what it is read with.
pub(super) struct Folder {
    pub(super) files: Files,
    pub(super) at_start: Hashes,
    pub(super) reader: Arc<Reader>,
    /// Those of the start; their agreements are not looked at.
    pub(super) stages: Arc<Stages>,
    pub(super) partners: Vec<Partner>,
    pub(super) principals: Principals,
    pub(super) incidents: Incidents,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("files", &self.files).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("structures", &self.structures.len()).finish_non_exhaustive()
    }
}

impl AgreementFolder for Folder {
    fn at_start(&self) -> Hashes {
        self.at_start.clone()
    }

    fn texts(&self) -> Result<Texts, String> {
        agreements::texts(&self.files, &[]).map_err(|fault| fault.to_string())
    }

    fn check(&self, texts: &Texts) -> Result<Agreements, Vec<String>> {
        let facts =
            SiteFacts { validator: Some(&self.stages.validator), pseudonym_keys: self.reader.pseudonym_keys.clone() };
        let known = Known {
            facts: &facts,
            structures: Some(&self.reader.structures),
            mappings: Some(&self.stages.mappings),
            partners: &self.partners,
            principals: Some(&self.principals),
        };
        let mut faults = Faults::default();
        let loaded = agreements::load(texts, &known, &mut Vec::new(), &mut faults);
        if let Some(loaded) = &loaded {
            let provider = &self.stages.provider.ods;
            faults.faults.extend(agreements::check_parties(loaded, provider, &self.partners));
            faults.keep(self.incidents.check(loaded));
        }
        match loaded {
            Some(loaded) if faults.faults.is_empty() => Ok(loaded),
            _ => Err(faults.faults.iter().map(Fault::to_string).collect()),
        }
    }
}
