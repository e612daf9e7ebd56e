//! Who may act at a site: the principals of `weir.toml`, and where their acts wait for the gateway.
//!
//! Loads without the rest of the site, so that people can act at one whose other files have faults.

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::faults::{Fault, Faults};
use super::site::{Files, SITE};
use super::written;
use crate::identity::PrincipalId;
use crate::identity::digest::sha_256;
use crate::identity::principal::{Principal, Principals};
use crate::identity::signature::{PersonalKey, PublicKey};
use crate::storage::load_key_file;

/// The principals of a site.
#[derive(Clone, Debug)]
pub struct Staff {
    principals: Principals,
    default: Option<PrincipalId>,
    site: String,
    keys: PathBuf,
    acts: PathBuf,
}

impl Staff {
    /// Reads who may act at the site in `folder`.
    ///
    /// # Errors
    /// Every fault of that part of `weir.toml`.
    pub fn load(folder: &Path) -> Result<Staff, Faults> {
        let files = Files::new(folder);
        let mut faults = Faults::default();
        let written: Option<written::Gateway> = faults.keep(files.toml(SITE));
        let staff = written.and_then(|written| Staff::of(&files, &written, &mut faults));
        staff.filter(|_| faults.faults.is_empty()).ok_or(faults)
    }

    /// Ids, certificates and keys that two share would let one pass for the other.
    pub(super) fn of(files: &Files, written: &written::Gateway, faults: &mut Faults) -> Option<Staff> {
        let folders = |id: &PrincipalId| written.folders.iter().find(|folder| folder.principal == *id);
        let as_folder = |each: Principal| match folders(&each.id) {
            // Nobody can present it: it only tells the principal from others.
            Some(folder) if each.certificate.is_none() && each.key.is_none() => {
                let place = format!("folder {} of {}", folder.path.display(), each.id);
                Principal { certificate: Some(sha_256(place.as_bytes())), ..each }
            }
            _ => each,
        };
        let list = written.principals.iter().map(|each| as_folder(principal(files, each, faults)));
        let list: Vec<Principal> = list.collect();
        let default = written.cli.as_ref().map(|cli| cli.default.clone());
        if let Some(unknown) = default.as_ref().filter(|id| !list.iter().any(|each| each.id == **id)) {
            let text = format!("cli.as: there is no principal {unknown}");
            faults.faults.push(Fault::new(SITE, text, "name one of [[principals]]"));
        }
        let fault = |text: String| Fault::new(SITE, format!("principals: {text}"), "");
        let confused = |texts: Vec<String>| texts.into_iter().map(fault).collect();
        let principals = faults.keep_all(Principals::new(list).map_err(confused))?;
        let database = files.path(&written.storage.file);
        Some(Staff {
            principals,
            default,
            site: written.audit.origin.clone(),
            keys: files.path(Path::new("pki/staff")),
            acts: database.with_file_name("acts"),
        })
    }

    /// Who the site knows, and what each may do.
    pub fn principals(&self) -> &Principals {
        &self.principals
    }

    /// Who acts on the command line when a verb is not told.
    pub fn default(&self) -> Option<&PrincipalId> {
        self.default.as_ref()
    }

    /// The name that acts and tokens give the site: the origin of its audit log.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Where acts wait for the running gateway.
    pub fn acts_folder(&self) -> &Path {
        &self.acts
    }

    /// A person's private key, from `file` or from `pki/staff/<id>.key` of the site.
    ///
    /// # Errors
    /// When the file cannot be read, others may read it too, or it holds no Ed25519 key.
    pub fn personal_key(&self, of: &PrincipalId, file: Option<&Path>) -> Result<PersonalKey, Faults> {
        let path = file.map_or_else(|| self.keys.join(of.as_str()).with_extension("key"), Path::to_owned);
        let fault =
            |text: String, hint: &str| Faults { faults: vec![Fault::new(path.display().to_string(), text, hint)] };
        let text = load_key_file(&path).map_err(|error| fault(error.to_string(), error.hint()))?;
        PersonalKey::from_pem(text.as_bytes())
            .map_err(|error| fault(error.to_string(), "name the person's own key with --key"))
    }
}

fn principal(files: &Files, written: &written::Principal, faults: &mut Faults) -> Principal {
    let certificate = written.certificate.as_ref().and_then(|file| faults.keep(certificate(files, file)));
    let key = written.key.as_ref().and_then(|file| faults.keep(public_key(files, file)));
    Principal { id: written.id.clone(), name: written.name.clone(), roles: written.roles.clone(), certificate, key }
}

fn certificate(files: &Files, file: &Path) -> Result<[u8; 32], Fault> {
    let pem = files.read(SITE, file)?;
    let text = format!("{}: it holds no certificate in PEM", file.display());
    let der = CertificateDer::from_pem_slice(&pem);
    Ok(sha_256(&der.map_err(|_| Fault::new(SITE, text, "give the client certificate that the principal presents"))?))
}

fn public_key(files: &Files, file: &Path) -> Result<PublicKey, Fault> {
    let hint = "write it with `openssl pkey -in PRIVATE.key -pubout`, or make both with `weir staff key`";
    let unreadable = |error| Fault::new(SITE, format!("{}: {error}", file.display()), hint);
    PublicKey::from_pem(&files.read(SITE, file)?).map_err(unreadable)
}
