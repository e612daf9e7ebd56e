//! `[incidents]` of weir.toml: how notices of incidents reach those whom the agreements name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde::Deserialize;

use super::faults::Fault;
use super::site::Files;
use crate::delivery::{Notifier, Schedule};
use crate::disclosure::Agreements;
use crate::identity::tls::{Credentials, TrustAnchors, client_config, system_clock};

const SITE: &str = "weir.toml";

/// The section as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Incidents {
    /// The folder of the spool files. Default `data/incidents`.
    #[serde(default = "spool")]
    spool: PathBuf,
    /// Who may issue the certificates of webhooks; needed when an agreement names a webhook.
    trust_anchors: Option<PathBuf>,
    /// The longest that one attempt takes. Default 10, at most 300.
    #[serde(default = "ten")]
    timeout_seconds: u64,
    /// The wait after the first failed attempt. Default 5.
    #[serde(default = "five")]
    first_retry_seconds: u64,
    /// The longest wait. Default 300.
    #[serde(default = "three_hundred")]
    max_retry_seconds: u64,
}

fn spool() -> PathBuf {
    "data/incidents".into()
}

fn ten() -> u64 {
    10
}

fn five() -> u64 {
    5
}

fn three_hundred() -> u64 {
    300
}

impl Default for Incidents {
    fn default() -> Incidents {
        Incidents {
            spool: spool(),
            trust_anchors: None,
            timeout_seconds: ten(),
            first_retry_seconds: five(),
            max_retry_seconds: three_hundred(),
        }
    }
}

impl Incidents {
    /// What delivers notices.
    pub(super) fn notifier(
        &self,
        files: &Files,
        credentials: &Credentials,
        webhooks: Option<&TrustAnchors>,
    ) -> Result<Notifier, Fault> {
        let seconds = [self.timeout_seconds, self.first_retry_seconds, self.max_retry_seconds];
        if seconds.iter().any(|seconds| !(1..=86_400).contains(seconds)) || self.timeout_seconds > 300 {
            let what = "a time in [incidents] is out of range";
            return Err(Fault::new(SITE, what, "write seconds from 1 to 86400, and at most 300 for an attempt"));
        }
        Ok(Notifier {
            spool: files.path(&self.spool),
            tls: webhooks.map(|anchors| tls(credentials, anchors)).transpose()?,
            attempt_timeout: Duration::from_secs(self.timeout_seconds),
            schedule: Schedule {
                first: Duration::from_secs(self.first_retry_seconds),
                max: Duration::from_secs(self.max_retry_seconds.max(self.first_retry_seconds)),
            },
        })
    }

    /// Who may issue the certificates of webhooks.
    pub(super) fn anchors(&self, files: &Files) -> Result<Option<TrustAnchors>, Fault> {
        self.trust_anchors.as_ref().map(|below| files.anchors(SITE, below)).transpose()
    }

    /// A webhook that could not be told from another is a fault before it is needed.
    pub(super) fn check(&self, agreements: &Agreements) -> Result<(), Fault> {
        let has_webhook = |agreement: &&Arc<crate::disclosure::Agreement>| {
            agreement.escalations().iter().any(|escalation| escalation.webhook.is_some())
        };
        match agreements.iter().find(has_webhook) {
            Some(agreement) if self.trust_anchors.is_none() => {
                let what = format!("{} names a webhook, and [incidents] no trust_anchors", agreement.id());
                Err(Fault::new(SITE, what, "name a PEM file with the authorities that issue the webhook's certificate"))
            }
            _ => Ok(()),
        }
    }
}

fn tls(credentials: &Credentials, anchors: &TrustAnchors) -> Result<Arc<ClientConfig>, Fault> {
    client_config(credentials, anchors, system_clock()).map_err(|error| Fault::new(SITE, &error, error.hint()))
}
