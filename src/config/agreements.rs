//! The agreements of a site, checked against its profiles, maps, partners and keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::facts::SiteFacts;
use super::faults::{Fault, Faults};
use super::site::Files;
use super::{Site, definitions, written};
use crate::delivery::{Over, Partner};
use crate::disclosure::{Agreement, Agreements, Facts, Lane, PrincipalFacts, Profiles, PseudonymKey, Surroundings};
use crate::fhir::Document;
use crate::fhir::definitions::{Definition, StructureDefinition};
use crate::fhir::slices::Slice;
use crate::identity::PartyId;
use crate::identity::digest::sha_256;
use crate::identity::principal::Principals;
use crate::mapping::Mappings;
use crate::validation::Validator;

const FOLDER: &str = "agreements";

/// What agreements are checked against.
pub(super) struct Known<'a> {
    pub(super) facts: &'a SiteFacts<'a>,
    /// `None` where the profiles have faults, which are told by themselves.
    pub(super) structures: Option<&'a [StructureDefinition]>,
    pub(super) mappings: Option<&'a Mappings>,
    pub(super) partners: &'a [Partner],
    pub(super) principals: Option<&'a Principals>,
}

impl Surroundings for Known<'_> {
    fn resource_types(&self, interface: &str) -> Option<Vec<&str>> {
        let map = self.mappings?.get(&interface.parse().ok()?)?;
        map.resource_types().map(Vec::from_iter)
    }

    fn says_missing(&self, interface: &str) -> bool {
        let map = self.mappings.zip(interface.parse().ok()).and_then(|(maps, name)| maps.get(&name));
        map.is_some_and(|map| map.has_essentials())
    }

    fn lane(&self, partner: &PartyId) -> Option<Lane> {
        let partner = self.partners.iter().find(|each| each.ods == *partner)?;
        let endpoints = || partner.routes.iter().map(Over::endpoint);
        Some(Lane {
            minimum_tls: endpoints().map(|endpoint| endpoint.minimum_tls).min()?,
            is_pinned: endpoints().all(|endpoint| !endpoint.pins.is_empty()),
        })
    }

    fn pseudonym_keys(&self) -> Vec<&str> {
        self.facts.pseudonym_keys.keys().map(String::as_str).collect()
    }

    fn principal(&self, id: &str) -> Option<PrincipalFacts> {
        let principal = self.principals?.named(&id.parse().ok()?)?;
        let roles = principal.roles.iter().map(|role| role.code().to_owned()).collect();
        Some(PrincipalFacts { roles, signs: principal.key.is_some() })
    }

    fn principals(&self) -> Vec<String> {
        self.principals.iter().flat_map(|known| known.iter()).map(|each| each.id.to_string()).collect()
    }
}

/// The agreement files of a site, by name and text. A file of `replaced` stands in the place of the one of its name.
pub(super) fn texts(files: &Files, replaced: &[(String, String)]) -> Result<Vec<(String, String)>, Fault> {
    let own = files.texts(FOLDER, "toml")?;
    let mut texts: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (name, text) in own {
        let shown = format!("{FOLDER}/{name}");
        texts.insert(name, (shown, text));
    }
    for (path, text) in replaced {
        let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        texts.insert(name, (path.clone(), text.clone()));
    }
    Ok(texts.into_values().collect())
}

/// Reads and checks agreement files; notes the hash of each.
pub(super) fn load(
    texts: &[(String, String)],
    known: &Known<'_>,
    hashes: &mut Vec<(String, [u8; 32])>,
    faults: &mut Faults,
) -> Option<Agreements> {
    hashes.extend(texts.iter().map(|(name, text)| (name.clone(), sha_256(text.as_bytes()))));
    faults.keep_all(known.check(texts))
}

impl Known<'_> {
    fn check(&self, texts: &[(String, String)]) -> Result<Agreements, Vec<Fault>> {
        let loaded = match self.structures {
            None => Agreements::load_for(texts, self.facts),
            Some(structures) => Agreements::check(texts, self.facts, &mut Profiles::of(structures), self),
        };
        loaded.map_err(|found| found.into_iter().map(Fault::of_agreement).collect())
    }
}

/// Every agreement is one of ours and has a way to its recipient.
pub(super) fn check_parties(agreements: &Agreements, provider: &PartyId, partners: &[Partner]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for agreement in agreements.iter() {
        let (id, controller, recipient) = (agreement.id(), &agreement.controller().ods, &agreement.recipient().ods);
        if controller != provider {
            let text = format!("{id}: the controller is {controller}, but this gateway is {provider}");
            faults.push(Fault::new(FOLDER, text, "correct controller.ods, or move the agreement away"));
        }
        if !partners.iter().any(|partner| partner.ods == *recipient) {
            let text = format!("{id}: no partner file leads to {recipient}");
            faults.push(Fault::new(FOLDER, text, "add one to partners/, or move the agreement away"));
        }
    }
    faults
}

/// The StructureDefinitions among definitions.
pub(super) fn structures(definitions: &[Document]) -> Vec<StructureDefinition> {
    let structure = |document: &Document| match Definition::read(document)? {
        Definition::Structure(structure) => Some(*structure),
        Definition::ValueSet(_) | Definition::CodeSystem(_) => None,
    };
    definitions.iter().filter_map(structure).collect()
}

/// What is wrong with agreement files of a site, or with others as they would be there.
#[derive(Debug)]
pub struct AgreementCheck {
    /// The files that were checked, as they are named in faults.
    pub files: Vec<String>,
    /// The faults of these files.
    pub faults: Faults,
    /// How many faults the site has besides.
    pub others: usize,
}

/// Checks the agreements of the site in `folder`; with `chosen`, these files alone, each in the place of the site's file
/// of the same name.
///
/// # Errors
/// When there is no site, or a chosen file cannot be read.
pub fn check_agreements(folder: &Path, chosen: &[PathBuf]) -> Result<AgreementCheck, Faults> {
    let one = |fault| Faults { faults: vec![fault] };
    let mut replaced = Vec::new();
    for path in chosen {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| one(Fault::new(shown.clone(), error, "name an agreement file; it must be UTF-8 text")))?;
        replaced.push((shown, text));
    }
    let files = Files::new(folder);
    let written: written::Gateway = files.toml(super::site::SITE).map_err(one)?;
    let checked: Vec<String> = match &replaced[..] {
        [] => texts(&files, &[]).map_err(one)?.into_iter().map(|(name, _)| name).collect(),
        replaced => replaced.iter().map(|(name, _)| name.clone()).collect(),
    };
    let mut all = Faults::default();
    let _site = Site::load_parts(files, written, &replaced, &mut all);
    let (faults, others): (Vec<Fault>, Vec<Fault>) =
        all.faults.into_iter().partition(|fault| checked.contains(&fault.file));
    Ok(AgreementCheck { files: checked, faults: Faults { faults }, others: others.len() })
}

/// The site in `folder` as it would be with `file` among its agreements, in the place of the file of the same name.
///
/// # Errors
/// Every fault that it would have.
pub fn site_with_agreement(folder: &Path, file: &Path) -> Result<Site, Faults> {
    let one = |fault| Faults { faults: vec![fault] };
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|error| one(Fault::new(shown.clone(), error, "name an agreement file; it must be UTF-8 text")))?;
    let files = Files::new(folder);
    let written: written::Gateway = files.toml(super::site::SITE).map_err(one)?;
    let mut faults = Faults::default();
    let site = Site::load_parts(files, written, &[(shown, text)], &mut faults);
    site.filter(|_| faults.faults.is_empty()).ok_or(faults)
}

/// Profiles without a site: what keys it has is not asked.
struct ProfilesOnly(Validator);

impl Facts for ProfilesOnly {
    fn required(&self, profile: &str) -> Vec<String> {
        self.0.required_elements(profile)
    }

    fn slices(&self, profile: &str, element: &str) -> Vec<Slice> {
        self.0.slices(profile, element)
    }

    fn knows_keys(&self) -> bool {
        false
    }

    fn pseudonym_key(&self, _name: &str) -> Option<PseudonymKey> {
        None
    }
}

/// Reads one agreement file by itself, with the built-in profiles and those of the site in `site`.
///
/// # Errors
/// Every fault of the file; those of the site's profiles.
pub fn read_agreement(file: &Path, site: Option<&Path>) -> Result<Arc<Agreement>, Faults> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| Faults {
        faults: vec![Fault::new(shown.clone(), error, "name an agreement file; it must be UTF-8 text")],
    })?;
    let documents = match site {
        Some(site) => definitions::site_definitions(site, &[])?,
        None => definitions::definitions(&[])?,
    };
    let (validator, _doubts) = Validator::compile_what_can_be(&documents);
    let read = Agreements::load_for(&[(shown, text)], &ProfilesOnly(validator));
    let read = read.map_err(|found| Faults { faults: found.into_iter().map(Fault::of_agreement).collect() })?;
    Ok(read.iter().next().cloned().expect("one file is one agreement"))
}
