//! The files that a running gateway presents and trusts in TLS, and the keys it signs assertions with, read anew together.
//!
//! Enters: the credentials and authorities of a site, which know their files. Leaves: whether the files changed, and all
//! of them in use, or every fault and none of them.

use std::path::{Path, PathBuf};

use super::faults::Fault;
use crate::delivery::rest::SigningFile;
use crate::identity::assertion::SigningKey;
use crate::identity::digest::sha_256;
use crate::identity::tls::{Credentials, OwnCertificate, Term, TlsError, Trust, TrustAnchors};
use crate::server::{self, Hashes, clock};

/// Those of a site, each with the place that names it.
#[derive(Debug, Default)]
pub(super) struct TlsFiles {
    /// Where names start that are written down.
    pub(super) site: PathBuf,
    pub(super) credentials: Vec<(String, Credentials)>,
    pub(super) trusted: Vec<(String, TrustAnchors)>,
    /// What assertions to token servers are signed with.
    pub(super) signing: Vec<(String, SigningFile)>,
}

impl TlsFiles {
    /// All files, keys last.
    fn files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut files, mut keys) = (Vec::new(), Vec::new());
        for [chain, key] in self.credentials.iter().filter_map(|(_, own)| own.files()) {
            files.push(chain.clone());
            keys.push(key.clone());
        }
        keys.extend(self.signing.iter().map(|(_, key)| key.file().to_owned()));
        for named in self.trusted.iter().filter_map(|(_, trusted)| trusted.files()) {
            files.push(named.anchors.clone());
            files.extend(named.lists.iter().cloned());
        }
        for list in [&mut files, &mut keys] {
            list.sort();
            list.dedup();
        }
        (files, keys)
    }
}

fn fault(place: &str, error: &TlsError) -> String {
    Fault::new(place, error, error.hint()).to_string()
}

impl TlsFiles {
    fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.site).unwrap_or(path).display().to_string()
    }
}

impl server::TlsFiles for TlsFiles {
    fn looks(&self) -> Hashes {
        let (files, keys) = self.files();
        let look = |path: &PathBuf| {
            let held = std::fs::read(path).unwrap_or_else(|error| error.kind().to_string().into_bytes());
            (self.name(path), sha_256(&held))
        };
        files.iter().chain(&keys).map(look).collect()
    }

    fn without_keys(&self, looks: &Hashes) -> Hashes {
        let keys: Vec<String> = self.files().1.iter().map(|key| self.name(key)).collect();
        looks.iter().filter(|(name, _)| !keys.contains(name)).cloned().collect()
    }

    fn take_over(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        let mut own: Vec<(&Credentials, OwnCertificate)> = Vec::new();
        let mut trusts: Vec<(&TrustAnchors, Trust)> = Vec::new();
        for (place, credentials) in &self.credentials {
            match credentials.read_anew(clock::now()) {
                Ok(read) => own.extend(read.map(|read| (credentials, read))),
                Err(error) => faults.push(fault(place, &error)),
            }
        }
        for (place, trusted) in &self.trusted {
            match trusted.read_anew() {
                Ok(read) => trusts.extend(read.map(|read| (trusted, read))),
                Err(error) => faults.push(fault(place, &error)),
            }
        }
        let mut signs: Vec<(&SigningFile, SigningKey)> = Vec::new();
        for (place, signing) in &self.signing {
            match signing.read_anew() {
                Ok(key) => signs.push((signing, key)),
                Err(error) => {
                    let place = format!("{place}.{}", error.key);
                    faults.push(Fault::new(&place, &error.problem, error.remedy).to_string());
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        own.into_iter().for_each(|(credentials, read)| credentials.take_over(read));
        trusts.into_iter().for_each(|(trusted, read)| trusted.take_over(read));
        signs.into_iter().for_each(|(signing, key)| signing.take_over(key));
        Ok(())
    }

    fn terms(&self) -> Vec<(String, Term)> {
        let own = self.credentials.iter().flat_map(|(place, own)| own.term().map(|term| (place.clone(), term)));
        let trusted = self
            .trusted
            .iter()
            .flat_map(|(place, trusted)| trusted.terms().into_iter().map(move |term| (place.clone(), term)));
        own.chain(trusted).collect()
    }
}
