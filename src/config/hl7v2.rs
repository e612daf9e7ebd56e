//! `[hl7v2]` and `[mllp]` of `weir.toml`: which HL7 v2 messages are taken, and where.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::faults::Fault;
use super::site::{Files, SITE, SideTls, side_tls};
use super::written;
use crate::identity::InterfaceName;
use crate::intake::Clock;
use crate::pipeline::Interface;
use crate::server::{Hl7v2Terms, MllpLimits, MllpSide};

/// Which messages are taken, over MLLP and HTTP.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hl7v2 {
    /// MSH-11 that is taken. Default `P`, production.
    #[serde(default = "production")]
    pub(super) processing_ids: Vec<String>,
    /// The offset of times that have none, in messages whose MSH-7 has none: `+00:00`. Without it such a time is a fault.
    pub(super) default_offset: Option<String>,
    /// Instead of an offset: `Europe/London`, whose clocks change. It counts whatever offset MSH-7 has.
    pub(super) default_zone: Option<String>,
    /// The interface of each type: `"ADT^A01" = "visit-notice"`.
    #[serde(default)]
    pub(super) interfaces: BTreeMap<String, InterfaceName>,
}

impl Default for Hl7v2 {
    fn default() -> Hl7v2 {
        Hl7v2 { processing_ids: production(), default_offset: None, default_zone: None, interfaces: BTreeMap::new() }
    }
}

/// The zone whose clocks are known.
const LONDON: &str = "Europe/London";

fn production() -> Vec<String> {
    vec!["P".to_owned()]
}

/// Where messages come in over MLLP. What is not written is as for `[records]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mllp {
    pub(super) listen: SocketAddr,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    /// Who may issue the certificates of those who send.
    pub(super) trust_anchors: Option<PathBuf>,
    /// Their revocation lists, as those of `[records]`; with `trust_anchors` alone.
    #[serde(default)]
    pub(super) revocation_lists: Vec<PathBuf>,
    /// As that of `[records]`; with `trust_anchors` alone.
    #[serde(default)]
    pub(super) revocation_grace_hours: u8,
    /// Default 1 MiB, at most 64 MiB.
    #[serde(default = "one_mebibyte")]
    pub(super) max_message_bytes: usize,
    /// Default 30.
    #[serde(default = "thirty")]
    pub(super) message_timeout_seconds: u64,
    /// How long a connection may stay without a message. Default 600, at most 86400.
    #[serde(default = "six_hundred")]
    pub(super) idle_seconds: u64,
}

fn one_mebibyte() -> usize {
    1 << 20
}

fn thirty() -> u64 {
    30
}

fn six_hundred() -> u64 {
    600
}

impl Hl7v2 {
    /// What times are by that have no offset.
    pub(super) fn clock(&self) -> Clock {
        match (&self.default_zone, &self.default_offset) {
            (Some(_), _) => Clock::Uk,
            (None, Some(offset)) => Clock::Offset(offset.as_str().into()),
            (None, None) => Clock::Message,
        }
    }

    /// Checks that each type leads to an interface whose model says how messages are read.
    pub(super) fn check(&self, interfaces: &BTreeMap<InterfaceName, Interface>) -> Result<Hl7v2Terms, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut fault = |text: String, hint: &str| faults.push(Fault::new(SITE, text, hint));
        let is_offset = |offset: &str| {
            let bytes = offset.as_bytes();
            bytes.len() == 6
                && matches!(bytes[0], b'+' | b'-')
                && bytes[3] == b':'
                && [1, 2, 4, 5].iter().all(|at| bytes[*at].is_ascii_digit())
        };
        if self.default_offset.as_deref().is_some_and(|offset| !is_offset(offset)) {
            fault("hl7v2.default_offset is no offset".to_owned(), "write +00:00, or leave it out");
        }
        if self.default_zone.as_deref().is_some_and(|zone| zone != LONDON) {
            fault("hl7v2.default_zone is not one that is known".to_owned(), "write Europe/London, or a default_offset");
        }
        if self.default_zone.is_some() && self.default_offset.is_some() {
            let text = "hl7v2.default_zone and hl7v2.default_offset say both what times are by".to_owned();
            fault(text, "write one of them; in the UK default_zone");
        }
        if self.processing_ids.is_empty() {
            fault("hl7v2.processing_ids is empty".to_owned(), "write [\"P\"]");
        }
        let mut terms = Hl7v2Terms { processing_ids: self.processing_ids.clone(), ..Hl7v2Terms::default() };
        for (kind, name) in &self.interfaces {
            let part = |part: &str| part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let Some((code, event)) = kind.split_once('^').filter(|(code, event)| part(code) && part(event)) else {
                fault(format!("hl7v2.interfaces.{kind:?} is no message type"), "write a code and an event: ADT^A01");
                continue;
            };
            let Some(interface) = interfaces.get(name) else {
                fault(format!("hl7v2.interfaces.{kind:?}: there is no interface {name}"), "name one of [interfaces]");
                continue;
            };
            match interface.model.as_ref().filter(|model| model.reads_hl7v2()) {
                Some(model) => {
                    let destination = (name.clone(), model.clone());
                    terms.interfaces.insert((code.to_owned(), event.to_owned()), destination);
                }
                None => {
                    let text =
                        format!("hl7v2.interfaces.{kind:?}: the model of {name} says nowhere where in a message it is");
                    fault(text, "give its elements a mapping with the identity hl7v2, as those of HL7v2Message have");
                }
            }
        }
        if faults.is_empty() { Ok(terms) } else { Err(faults) }
    }
}

impl Mllp {
    /// Checks what is in numbers, and that no other side listens there.
    pub(super) fn check(&self, written: &written::Gateway) -> Result<(), Fault> {
        let fault = |text: &str, hint: &str| Err(Fault::new(SITE, text, hint));
        let mut others = vec![written.records.listen, written.operations.listen];
        others.extend(written.bars.as_ref().map(|bars| bars.listen));
        if others.contains(&self.listen) && self.listen.port() != 0 {
            return fault("mllp.listen is the address of another side", "give each an address of its own");
        }
        if !(1..=64 << 20).contains(&self.max_message_bytes) {
            return fault("mllp.max_message_bytes is out of range", "write 1 to 67108864 bytes");
        }
        if !(1..=3600).contains(&self.message_timeout_seconds) || !(1..=86_400).contains(&self.idle_seconds) {
            return fault(
                "a time of mllp is out of range",
                "write 1 to 3600 seconds for a message, to 86400 between two",
            );
        }
        if self.revocation_grace_hours > 168 {
            return fault("mllp.revocation_grace_hours is out of range", "write 0 to 168 hours");
        }
        if self.trust_anchors.is_none() && !self.revocation_lists.is_empty() {
            return fault(
                "mllp.revocation_lists without trust_anchors",
                "write both, or neither for those of [records]",
            );
        }
        if written.hl7v2.interfaces.is_empty() {
            return fault("there is [mllp], and no message type is taken", "add [hl7v2.interfaces]");
        }
        Ok(())
    }

    /// Its mutual TLS.
    pub(super) fn tls(&self, files: &Files, written: &written::Gateway) -> Result<SideTls, Fault> {
        let records = &written.records;
        let (certificate, key) = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => (&records.certificate, &records.key),
            _ => {
                let text = "mllp has one of certificate and key";
                return Err(Fault::new(SITE, text, "write both, or neither for those of [records]"));
            }
        };
        let credentials = files.credentials(SITE, certificate, key)?;
        let clients = match &self.trust_anchors {
            Some(anchors) => (&**anchors, &self.revocation_lists[..], self.revocation_grace_hours),
            None => (&*records.trust_anchors, &records.revocation_lists[..], records.revocation_grace_hours),
        };
        side_tls("mllp", credentials, files.trust("mllp", clients)?)
    }

    /// What the server listens with.
    pub(super) fn side(&self, tls: &SideTls) -> MllpSide {
        let limits = MllpLimits {
            message_bytes: self.max_message_bytes,
            message_time: Duration::from_secs(self.message_timeout_seconds),
            idle: Duration::from_secs(self.idle_seconds),
        };
        MllpSide { listen: self.listen, tls: tls.tls.clone(), limits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Clock, Vec<String>> {
        let written: Hl7v2 = toml::from_str(text).expect("it is a section");
        let faults = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
        written.check(&BTreeMap::new()).map(|_| written.clock()).map_err(faults)
    }

    #[test]
    fn times_are_by_a_zone_that_is_known_or_by_an_offset() {
        assert_eq!(checked("default_zone = \"Europe/London\""), Ok(Clock::Uk));
        assert_eq!(checked("default_offset = \"+01:00\""), Ok(Clock::Offset("+01:00".into())));
        assert_eq!(checked(""), Ok(Clock::Message));
        for (text, part) in [
            ("default_zone = \"Europe/Paris\"", "default_zone is not one that is known"),
            ("default_zone = \"Europe/London\"\ndefault_offset = \"+00:00\"", "say both"),
        ] {
            let faults = checked(text).expect_err(text);
            assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
        }
    }
}
