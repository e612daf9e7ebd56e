//! `packages.lock`: the packages of a site, each pinned to one version and one file by its SHA-256.
//!
//! Written by `weir package add`, kept under version control with the site, never edited by hand.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::PackageId;
use crate::config::faults::Fault;
use crate::identity::digest::hex;
use crate::storage::files::{Readers, write_durably};

/// The file's name in the site.
pub(super) const NAME: &str = "packages.lock";

/// The file as written.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lock {
    /// By name.
    #[serde(default, rename = "package")]
    pub(super) pins: Vec<Pin>,
}

/// One package.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pin {
    pub(super) name: String,
    pub(super) version: String,
    /// Of the file in `packages/`, in hexadecimal.
    pub(super) sha256: String,
}

impl Pin {
    pub(super) fn new(id: &PackageId, sha_256: &[u8; 32]) -> Pin {
        Pin { name: id.name.clone(), version: id.version.clone(), sha256: hex(sha_256) }
    }

    /// Whether name and version are such that they can be a file's name.
    pub(super) fn id(&self) -> Option<PackageId> {
        PackageId::parse(&format!("{}#{}", self.name, self.version))
    }

    /// Where its file stands, relative to the site.
    pub(super) fn file(&self) -> PathBuf {
        Path::new("packages").join(format!("{}-{}.tgz", self.name, self.version))
    }
}

impl Lock {
    /// The lock of a site; empty where there is none.
    pub(super) fn read(site: &Path) -> Result<Lock, Fault> {
        let text = match fs::read_to_string(site.join(NAME)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::default()),
            Err(error) => return Err(Fault::new(NAME, error, "check who may read the file")),
        };
        toml::from_str(&text).map_err(|error| Fault::new(NAME, error, "restore the file from version control"))
    }

    pub(super) fn write(&mut self, site: &Path) -> Result<(), Fault> {
        self.pins.sort_by(|one, other| one.name.cmp(&other.name));
        let rows = toml::to_string(self).map_err(|error| Fault::new(NAME, error, ""))?;
        let text = format!("# Written by `weir package add`. Keep it with the site's other files.\n\n{rows}");
        write_durably(&site.join(NAME), text.as_bytes(), Readers::Anyone)
            .map_err(|error| Fault::new(NAME, error, "check who may write to the site"))
    }
}
