//! `[[audit.witnesses]]` of weir.toml: who watches the audit log, and how they are reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::faults::Fault;
use super::site::{Files, SITE};
use crate::audit::cosignature::CosignerKey;
use crate::delivery::{Cosigner, Endpoint};
use crate::identity::tls::{Credentials, TrustAnchors, system_clock};
use crate::server::Watcher;

/// One witness as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Witness {
    /// Its public key, as `weir witness key` prints it: name, id and key.
    public_key: String,
    /// Where it takes checkpoints: `https://…`, or `http://` and a loopback address. Without it the witness is not asked any
    /// more, and what it cosigned before is still checked.
    url: Option<String>,
    /// Connect here instead of resolving the URL's host.
    connect: Option<SocketAddr>,
    /// Who may issue its certificate; needed with `https://`.
    trust_anchors: Option<PathBuf>,
}

/// One witness, checked.
#[derive(Debug)]
pub(super) struct CheckedWitness {
    pub(super) key: CosignerKey,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// It is not asked any more.
    Retired,
    Tls(Box<Endpoint>),
    Loopback(String),
}

impl CheckedWitness {
    /// Who may issue its certificate.
    pub(super) fn anchors(&self) -> Option<&TrustAnchors> {
        match &self.way {
            Way::Tls(endpoint) => Some(&endpoint.anchors),
            Way::Retired | Way::Loopback(_) => None,
        }
    }

    /// What asks it; `None` where it is not asked any more.
    pub(super) fn watcher(&self, credentials: &Credentials) -> Result<Option<Watcher>, Fault> {
        let cosigner = match &self.way {
            Way::Retired => return Ok(None),
            Way::Tls(endpoint) => Cosigner::over_tls((**endpoint).clone(), credentials, system_clock())
                .map_err(|error| Fault::new(SITE, format!("gateway.certificate: {error}"), error.hint()))?,
            Way::Loopback(url) => Cosigner::on_loopback(url).ok_or_else(|| no_url(self.key.name()))?,
        };
        Ok(Some(Watcher { key: self.key.clone(), cosigner }))
    }
}

/// Checks all witnesses of a site: no two have one key.
pub(super) fn check(files: &Files, written: &[Witness]) -> Result<Vec<CheckedWitness>, Vec<Fault>> {
    let (mut checked, mut faults) = (Vec::<CheckedWitness>::new(), Vec::new());
    for witness in written {
        match witness.check(files) {
            Ok(witness) if checked.iter().any(|other| other.key == witness.key) => {
                let text = format!("audit.witnesses: {} is listed twice", witness.key.name());
                faults.push(Fault::new(SITE, text, "list each key once"));
            }
            Ok(witness) => checked.push(witness),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(checked) } else { Err(faults) }
}

impl Witness {
    fn check(&self, files: &Files) -> Result<CheckedWitness, Fault> {
        let hint = "write what `weir witness key` printed, or ask the witness for it";
        let key: CosignerKey = self
            .public_key
            .parse()
            .map_err(|error| Fault::new(SITE, format!("audit.witnesses: public_key: {error}"), hint))?;
        let way = match self.url.as_deref() {
            None => Way::Retired,
            Some(url) if url.starts_with("https://") => self.over_tls(&key, url, files)?,
            Some(url) if Cosigner::on_loopback(url).is_some() => Way::Loopback(url.to_owned()),
            Some(_) => return Err(no_url(key.name())),
        };
        Ok(CheckedWitness { key, way })
    }

    fn over_tls(&self, key: &CosignerKey, url: &str, files: &Files) -> Result<Way, Fault> {
        let Some(anchors) = &self.trust_anchors else {
            let text = format!("audit.witnesses: {} has no trust_anchors", key.name());
            let hint = "name a PEM file with the authorities that issue the witness's certificate";
            return Err(Fault::new(SITE, text, hint));
        };
        let anchors = files.anchors(SITE, anchors)?;
        let endpoint = Endpoint::plain(url, self.connect, anchors).map_err(|_| no_url(key.name()))?;
        Ok(Way::Tls(Box::new(endpoint)))
    }
}

fn no_url(name: &str) -> Fault {
    let text = format!("audit.witnesses: the url of {name} cannot be used");
    Fault::new(
        SITE,
        text,
        "write https://<host name>[:<port>], or http:// and a loopback address such as 127.0.0.1:8447",
    )
}
