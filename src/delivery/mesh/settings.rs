//! `[mesh]` of a partner's file, as written and checked: our mailbox, what it proves itself with, and whom it sends to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::token::Secrets;
use crate::delivery::endpoint::Trusted;
use crate::delivery::setting::{SettingError, kept, number, wrong};
use crate::delivery::{Endpoint, RouteSection};
use crate::identity::tls::Credentials;
use crate::storage::load_key_file;

/// `[mesh]` of a partner's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshSection {
    /// Where MESH is: `https://mesh-sync.spineservices.nhs.uk`.
    pub endpoint: String,
    /// An IP address and port to connect to in place of the endpoint's.
    pub connect: Option<String>,
    /// The file of the authorities that issue MESH's certificate.
    pub trust_anchors: String,
    /// As for the partner's own endpoint.
    #[serde(default)]
    pub revocation_lists: Vec<String>,
    /// As for the partner's own endpoint.
    #[serde(default)]
    pub revocation_grace_hours: u32,
    /// As for the partner's own endpoint.
    pub legacy_common_name: Option<String>,
    /// As for the partner's own endpoint.
    pub minimum_tls: Option<String>,
    /// As for the partner's own endpoint.
    #[serde(default)]
    pub spki_pins: Vec<String>,
    /// The file of the certificate that MESH issued to us, and its chain.
    pub certificate: String,
    /// The file of its key.
    pub key: String,
    /// Our mailbox.
    pub mailbox: String,
    /// The file of its password, which its owner alone can read.
    pub password_file: String,
    /// The file of the shared key of the MESH environment, likewise.
    pub shared_key_file: String,
    /// The partner's mailbox; without it, it is looked up by ODS code and workflow.
    pub to: Option<String>,
    /// The ODS code to look up, where it is not the partner's.
    pub lookup_ods: Option<String>,
    /// The workflow of our messages.
    pub workflow: String,
    /// The workflow of their answers. Default: the other with `_ACK`.
    pub answer_workflow: Option<String>,
    /// How often our inbox is looked at. Default 300.
    #[serde(default = "poll")]
    pub poll_seconds: u32,
    /// How often our mailbox is validated. Default and most 86400: MESH asks for once a day.
    #[serde(default = "day")]
    pub handshake_seconds: u32,
    /// How many messages of our inbox are asked for at a time. Default and most 500, at least 10.
    #[serde(default = "page")]
    pub inbox_page: u32,
    /// A message of more bytes goes in chunks of so many. Default and most 95000000.
    #[serde(default = "chunk")]
    pub chunk_bytes: usize,
}

fn poll() -> u32 {
    300
}

fn day() -> u32 {
    86_400
}

fn page() -> u32 {
    500
}

/// MESH takes 100 MB a request; what does not compress grows a little by compression.
const MOST_CHUNK: usize = 95_000_000;

fn chunk() -> usize {
    MOST_CHUNK
}

/// Whom messages go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Recipient {
    /// This mailbox.
    Mailbox(String),
    /// The one that MESH knows for this ODS code and our workflow.
    Registered(String),
}

/// A mailbox of ours and what goes through it to one partner, checked.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// MESH; its base ends without a slash.
    pub endpoint: Endpoint,
    /// What we present to it.
    pub credentials: Credentials,
    pub(super) mailbox: String,
    pub(super) secrets: Secrets,
    pub(super) to: Recipient,
    pub(super) workflow: String,
    pub(super) answer_workflow: String,
    pub(super) poll: Duration,
    pub(super) handshake: Duration,
    pub(super) inbox_page: u32,
    pub(super) chunk_bytes: usize,
}

impl MeshSection {
    /// The checked settings; their faults stand at keys that begin with `mesh.`. Files start at the folder `site`; `ods`
    /// is the partner's.
    pub(in crate::delivery) fn check(&self, site: &Path, ods: &str, faults: &mut Vec<SettingError>) -> Option<Mailbox> {
        let before = faults.len();
        let (anchors, lists, grace_hours) =
            (self.trust_anchors.as_str(), &self.revocation_lists[..], self.revocation_grace_hours);
        let endpoint = self.route().check("", &Trusted { site, anchors, lists, grace_hours }, faults);
        for fault in &mut faults[before..] {
            if fault.key == "endpoint" {
                fault.remedy = "write where MESH is, as https://mesh-sync.spineservices.nhs.uk";
            }
        }
        let credentials = kept(credentials(site.join(&self.certificate), site.join(&self.key)), faults);
        let mailbox = kept(name("mailbox", &self.mailbox), faults).map(|mailbox| mailbox.to_ascii_uppercase());
        let password = kept(secret("password_file", &site.join(&self.password_file)), faults);
        let shared_key = kept(secret("shared_key_file", &site.join(&self.shared_key_file)), faults);
        let to = kept(self.recipient(ods), faults);
        let workflow = kept(name("workflow", &self.workflow), faults);
        let answers = self.answer_workflow.clone().unwrap_or_else(|| format!("{}_ACK", self.workflow));
        let answers = kept(name("answer_workflow", &answers), faults).filter(|_| workflow.is_some());
        let poll = kept(self.poll(), faults);
        let handshake = kept(number("handshake_seconds", self.handshake_seconds, (1, 86_400)), faults);
        let inbox_page = kept(number("inbox_page", self.inbox_page, (10, 500)), faults);
        let chunk_bytes = kept(self.chunk_bytes(), faults);
        faults[before..].iter_mut().for_each(|fault| fault.key.insert_str(0, "mesh."));
        Some(Mailbox {
            endpoint: endpoint?,
            credentials: credentials?,
            mailbox: mailbox?,
            secrets: Secrets { password: password?, shared_key: shared_key? },
            to: to?,
            workflow: workflow?,
            answer_workflow: answers?,
            poll: poll?,
            handshake: Duration::from_secs(handshake?.into()),
            inbox_page: inbox_page?,
            chunk_bytes: chunk_bytes?,
        })
    }

    fn route(&self) -> RouteSection {
        RouteSection {
            endpoint: self.endpoint.clone(),
            connect: self.connect.clone(),
            trust_anchors: None,
            revocation_lists: None,
            minimum_tls: self.minimum_tls.clone(),
            spki_pins: self.spki_pins.clone(),
            legacy_common_name: self.legacy_common_name.clone(),
            fhir_rest: None,
        }
    }

    fn recipient(&self, ods: &str) -> Result<Recipient, SettingError> {
        if self.to.is_some() && self.lookup_ods.is_some() {
            return Err(wrong(
                "lookup_ods",
                "stands beside mesh.to",
                "name the mailbox, or have it looked up, not both",
            ));
        }
        match &self.to {
            Some(to) => Ok(Recipient::Mailbox(name("to", to)?.to_ascii_uppercase())),
            None => Ok(Recipient::Registered(name("lookup_ods", self.lookup_ods.as_deref().unwrap_or(ods))?)),
        }
    }

    fn poll(&self) -> Result<Duration, SettingError> {
        if !(1..=86_400).contains(&self.poll_seconds) {
            let remedy = "write seconds from 1 to 86400; MESH asks for 300";
            return Err(wrong("poll_seconds", "is out of range", remedy));
        }
        Ok(Duration::from_secs(self.poll_seconds.into()))
    }

    fn chunk_bytes(&self) -> Result<usize, SettingError> {
        if !(1..=MOST_CHUNK).contains(&self.chunk_bytes) {
            return Err(wrong("chunk_bytes", "is out of range", "write bytes from 1 to 95000000, or leave it out"));
        }
        Ok(self.chunk_bytes)
    }
}

/// What stands in a path or a header of MESH: visible, and nothing that divides either.
fn name(key: &str, text: &str) -> Result<String, SettingError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if text.is_empty() || text.len() > 100 || !text.bytes().all(plain) || text.starts_with('.') {
        let remedy = "write 1 to 100 letters, digits, _, - and ., as MESH knows it";
        return Err(wrong(key, "is no name that MESH gives", remedy));
    }
    Ok(text.to_owned())
}

fn secret(key: &str, file: &Path) -> Result<Zeroizing<String>, SettingError> {
    let unusable = |error: crate::storage::KeyFileError| wrong(key, format!("cannot be used ({error})"), error.hint());
    let text = Zeroizing::new(load_key_file(file).map_err(unusable)?);
    let secret = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    if secret.is_empty() || secret.contains(['\r', '\n']) {
        return Err(wrong(key, "does not hold one line", "write the secret as MESH gave it, and nothing else"));
    }
    Ok(secret)
}

/// The certificate and its key, which fit each other and are read anew when they change.
fn credentials(certificate: PathBuf, key: PathBuf) -> Result<Credentials, SettingError> {
    let at = if certificate.exists() && !key.exists() { "key" } else { "certificate" };
    Credentials::load(certificate, key).map_err(|error| wrong(at, format!("cannot be used ({error})"), error.hint()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
mod tests {
    use super::*;
    use crate::identity::issuance::{Authority, Validity};
    use std::os::unix::fs::PermissionsExt as _;
    use time::macros::datetime;

    const WRITTEN: &str = r#"
        endpoint = "https://mesh.example/"
        trust_anchors = "ca.pem"
        certificate = "mesh.pem"
        key = "mesh.key"
        mailbox = "x26abc1"
        password_file = "password"
        shared_key_file = "shared-key"
        workflow = "CRISIS_ESCALATION"
    "#;

    fn site() -> tempfile::TempDir {
        let site = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let file = site.path().join(name);
            std::fs::write(&file, text).expect("it is written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
        };
        let validity = Validity::days(datetime!(2026-01-01 00:00 UTC), 1);
        let authority = Authority::new("CA", validity).expect("an authority");
        let own = authority.issue(&"DEMOP".parse().expect("an ODS code"), "example", &[], validity);
        let own = own.expect("a certificate");
        write("ca.pem", authority.certificate_pem());
        write("mesh.pem", &own.certificate_pem);
        write("mesh.key", &own.key_pem);
        write("password", "pass word\n");
        write("shared-key", "TestKey");
        write("two-lines", "a\nb\n");
        site
    }

    fn checked(change: impl FnOnce(&mut MeshSection)) -> Result<Mailbox, Vec<String>> {
        let (site, mut faults) = (site(), Vec::new());
        let mut section: MeshSection = toml::from_str(WRITTEN).expect("it is TOML");
        change(&mut section);
        let mailbox = section.check(site.path(), "DEMOT", &mut faults);
        mailbox.filter(|_| faults.is_empty()).ok_or_else(|| faults.into_iter().map(|fault| fault.key).collect())
    }

    #[test]
    fn a_section_becomes_a_mailbox() {
        let mailbox = checked(|_| {}).expect("it is right");
        assert_eq!((mailbox.mailbox.as_str(), mailbox.answer_workflow.as_str()), ("X26ABC1", "CRISIS_ESCALATION_ACK"));
        assert_eq!(mailbox.to, Recipient::Registered("DEMOT".to_owned()));
        assert_eq!((mailbox.poll, mailbox.chunk_bytes), (Duration::from_secs(300), 95_000_000));
        assert_eq!(&*mailbox.secrets.password, "pass word", "the line's end is not part of it");
        assert!(!format!("{mailbox:?}").contains("pass word"));
        let named = checked(|section| section.to = Some("x26abc2".to_owned())).expect("it is right");
        assert_eq!(named.to, Recipient::Mailbox("X26ABC2".to_owned()));
    }

    #[test]
    fn every_fault_is_found_at_its_key() {
        let faults = |change: fn(&mut MeshSection)| checked(change).expect_err("it is wrong");
        assert_eq!(faults(|section| section.endpoint = "http://mesh.example".to_owned()), ["mesh.endpoint"]);
        assert_eq!(faults(|section| section.trust_anchors = "missing".to_owned()), ["mesh.trust_anchors"]);
        assert_eq!(faults(|section| section.certificate = "ca.pem".to_owned()), ["mesh.certificate"]);
        assert_eq!(faults(|section| section.key = "missing".to_owned()), ["mesh.key"]);
        assert_eq!(faults(|section| section.mailbox = "../x".to_owned()), ["mesh.mailbox"]);
        assert_eq!(faults(|section| section.password_file = "missing".to_owned()), ["mesh.password_file"]);
        assert_eq!(faults(|section| section.shared_key_file = "two-lines".to_owned()), ["mesh.shared_key_file"]);
        assert_eq!(faults(|section| section.workflow = "A B".to_owned()), ["mesh.workflow", "mesh.answer_workflow"]);
        assert_eq!(faults(|section| section.poll_seconds = 0), ["mesh.poll_seconds"]);
        assert_eq!(faults(|section| section.handshake_seconds = 86_401), ["mesh.handshake_seconds"]);
        assert_eq!(faults(|section| section.inbox_page = 9), ["mesh.inbox_page"]);
        assert_eq!(faults(|section| section.chunk_bytes = 100_000_000), ["mesh.chunk_bytes"]);
        let both = |section: &mut MeshSection| {
            (section.to, section.lookup_ods) = (Some("X".to_owned()), Some("X26".to_owned()));
        };
        assert_eq!(faults(both), ["mesh.lookup_ods"]);
    }
}
