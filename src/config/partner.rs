//! The folder of a reference receiver: `partner.toml`, `pki/`, the inbox.

use std::path::{Path, PathBuf};

use super::faults::{Fault, Faults};
use super::site::Files;
use super::written;
use crate::identity::tls::{Credentials, TrustAnchors, system_clock};
use crate::partner::{Misbehaviour, Settings};
use crate::server::{clock, listener};

/// The largest message that the reference receiver takes: 10 MiB.
const BODY_LIMIT: usize = 10 << 20;

/// A receiver's folder, checked.
#[derive(Debug)]
pub struct PartnerSite {
    written: written::Partner,
    inbox: PathBuf,
    credentials: Credentials,
    clients: TrustAnchors,
}

impl PartnerSite {
    /// Reads and checks the folder.
    ///
    /// # Errors
    /// Every fault.
    pub fn load(folder: &Path) -> Result<PartnerSite, Faults> {
        let mut faults = Faults::default();
        let files = Files::new(folder);
        let Some(written) = faults.keep(files.toml::<written::Partner>("partner.toml")) else { return Err(faults) };
        let credentials = faults.keep(files.credentials("partner.toml", &written.certificate, &written.key));
        let clients = faults.keep(files.anchors("partner.toml", &written.trust_anchors));
        let inbox = folder.join(&written.inbox);
        match (credentials, clients) {
            (Some(credentials), Some(clients)) => Ok(PartnerSite { written, inbox, credentials, clients }),
            _ => Err(faults),
        }
    }

    /// What the receiver runs with.
    ///
    /// # Errors
    /// When the inbox cannot be made.
    pub fn settings(&self, misbehaviour: Vec<Misbehaviour>) -> Result<Settings, Faults> {
        std::fs::create_dir_all(&self.inbox).map_err(|error| Faults {
            faults: vec![Fault::new("partner.toml", format!("the inbox cannot be made: {error}"), "check `inbox`")],
        })?;
        Ok(Settings {
            party: self.written.ods.clone(),
            address: self.written.listen,
            directory: self.inbox.clone(),
            credentials: self.credentials.clone(),
            clients: self.clients.clone(),
            allowed: self.written.senders.clone(),
            body_limit: BODY_LIMIT,
            misbehaviour,
            limits: listener::Limits::default(),
            tls_clock: system_clock(),
            now: clock::now,
        })
    }
}
