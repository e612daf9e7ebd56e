//! The folder of a reference receiver: `partner.toml`, `pki/`, the inbox.

use std::path::{Path, PathBuf};

use super::faults::{Fault, Faults};
use super::site::Files;
use super::written;
use crate::delivery::Endpoint;
use crate::identity::tls::{Credentials, TrustAnchors, system_clock};
use crate::partner::{Answers, Later, Misbehaviour, Settings};
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

    /// Where answers go that say this. Their endpoint's certificate is issued by whoever issues those of senders.
    fn later(&self, says: Later) -> Result<Answers, Fault> {
        let Some(answers) = &self.written.answers else {
            let hint = "add one with ods, endpoint and service_id";
            return Err(Fault::new("partner.toml", "there is no [answers] section", hint));
        };
        let endpoint = Endpoint::plain(&answers.endpoint, answers.connect, self.clients.clone());
        let endpoint = endpoint.map_err(|error| Fault::new("partner.toml", format!("answers.{error}"), ""))?;
        Ok(Answers { says, endpoint, party: answers.ods.clone(), service_id: answers.service_id.clone() })
    }

    /// What the receiver runs with; it answers later if it is told how.
    ///
    /// # Errors
    /// When the inbox cannot be made, or `[answers]` cannot be used.
    pub fn settings(&self, misbehaviour: Vec<Misbehaviour>, later: Option<Later>) -> Result<Settings, Faults> {
        let later = later.map(|says| self.later(says)).transpose().map_err(|fault| Faults { faults: vec![fault] })?;
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
            service_id: self.written.service_id.clone(),
            use_cases: self.written.use_cases.clone(),
            later,
            pages: self.written.pages,
            body_limit: BODY_LIMIT,
            misbehaviour,
            limits: listener::Limits::default(),
            tls_clock: system_clock(),
            now: clock::now,
        })
    }
}
