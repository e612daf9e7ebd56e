//! A partner: to whom, where and how a message is delivered. The section as written, and the checked settings.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use super::Schedule;
use crate::identity::PartyId;
use crate::identity::pin::Pin;
use crate::identity::tls::{TlsError, TlsVersion, TrustAnchors};

/// A partner as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerSection {
    /// The partner's ODS code: its certificate must name it.
    pub ods: String,
    /// Its name, for people.
    pub name: String,
    /// The FHIR base of its endpoint: `https://bars-demot.trust.example:9443/FHIR/R4`.
    pub endpoint: String,
    /// An IP address and port to connect to in place of the endpoint's; its name is still what is verified.
    pub connect: Option<String>,
    /// The service that messages are for, in its directory of services.
    pub service_id: String,
    /// The file of the authorities that issue the partner's certificate; a relative name starts at the site.
    pub trust_anchors: String,
    /// The lowest version of TLS that is spoken with it: `1.2` (the default) or `1.3`.
    pub minimum_tls: Option<String>,
    /// The keys that its certificate may have: `sha256/` and the base64 of the SHA-256 of the SubjectPublicKeyInfo.
    /// Without any, every key that its issuer vouches for.
    #[serde(default)]
    pub spki_pins: Vec<String>,
    /// The longest wait before the second attempt. Default 2.
    #[serde(default = "first_retry")]
    pub first_retry_seconds: f64,
    /// The longest wait before any attempt. Default 300.
    #[serde(default = "max_retry")]
    pub max_retry_seconds: f64,
    /// The longest that one attempt takes, from connecting to the whole answer. Default 30.
    #[serde(default = "attempt_timeout")]
    pub attempt_timeout_seconds: f64,
    /// After how many failed attempts a person is told and no more are made; without it, never.
    pub max_attempts: Option<u32>,
}

fn first_retry() -> f64 {
    2.0
}

fn max_retry() -> f64 {
    300.0
}

fn attempt_timeout() -> f64 {
    30.0
}

/// A partner, checked.
#[derive(Clone, Debug)]
pub struct Partner {
    /// Its ODS code: its certificate must name it.
    pub ods: PartyId,
    /// Its name, for people.
    pub name: String,
    /// The FHIR base of its endpoint; https, with a host, no query, no trailing slash in its path.
    pub endpoint: Uri,
    /// Where to connect in place of the endpoint's host and port.
    pub connect: Option<SocketAddr>,
    /// The service that messages are for. Visible ASCII.
    pub service_id: String,
    /// Who may issue its certificate.
    pub anchors: TrustAnchors,
    /// The lowest version of TLS that is spoken with it.
    pub minimum_tls: TlsVersion,
    /// The keys that its certificate may have; any, if there is none.
    pub pins: Vec<Pin>,
    /// When to try again.
    pub schedule: Schedule,
    /// The longest that one attempt takes.
    pub attempt_timeout: Duration,
    /// After how many failed attempts no more are made; `None` for never.
    pub max_attempts: Option<u32>,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {problem}: {remedy}")]
pub struct SettingError {
    /// The key in the partner's file.
    pub key: &'static str,
    /// What is wrong with its value.
    pub problem: String,
    /// What to write.
    pub remedy: &'static str,
}

fn wrong(key: &'static str, problem: impl Into<String>, remedy: &'static str) -> SettingError {
    SettingError { key, problem: problem.into(), remedy }
}

impl PartnerSection {
    /// The checked settings. Reads the anchors; their name starts at the folder `site`.
    ///
    /// # Errors
    /// Every setting that cannot be used.
    pub fn check(self, site: &Path) -> Result<Partner, Vec<SettingError>> {
        let mut faults = Vec::new();
        let ods = kept(self.ods.parse().map_err(|_| ods_fault()), &mut faults);
        let endpoint = kept(endpoint(&self.endpoint), &mut faults);
        let connect = kept(self.connect.as_deref().map(address).transpose(), &mut faults);
        let anchors = kept(anchors(&site.join(&self.trust_anchors)), &mut faults);
        let service_id = kept(service_id(self.service_id), &mut faults);
        let minimum_tls = kept(minimum_tls(self.minimum_tls.as_deref()), &mut faults);
        let pins = kept(pins(&self.spki_pins), &mut faults);
        let first = kept(seconds("first_retry_seconds", self.first_retry_seconds), &mut faults);
        let max = kept(seconds("max_retry_seconds", self.max_retry_seconds), &mut faults);
        let attempt_timeout = kept(seconds("attempt_timeout_seconds", self.attempt_timeout_seconds), &mut faults);
        if self.max_retry_seconds < self.first_retry_seconds {
            faults.push(wrong("max_retry_seconds", "is below first_retry_seconds", "write at least as many seconds"));
        }
        if self.max_attempts == Some(0) {
            faults.push(wrong("max_attempts", "is 0", "write at least 1, or leave it out to try without end"));
        }
        let checked = (|| {
            let schedule = Schedule { first: first?, max: max? };
            let (name, max_attempts) = (self.name, self.max_attempts);
            let (ods, endpoint, connect, service_id) = (ods?, endpoint?, connect?, service_id?);
            let (anchors, attempt_timeout) = (anchors?, attempt_timeout?);
            let (minimum_tls, pins) = (minimum_tls?, pins?);
            Some(Partner {
                ods,
                name,
                endpoint,
                connect,
                service_id,
                anchors,
                minimum_tls,
                pins,
                schedule,
                attempt_timeout,
                max_attempts,
            })
        })();
        checked.filter(|_| faults.is_empty()).ok_or(faults)
    }
}

/// The value, or `None` and its fault among the others.
fn kept<T>(checked: Result<T, SettingError>, faults: &mut Vec<SettingError>) -> Option<T> {
    checked.map_err(|fault| faults.push(fault)).ok()
}

fn ods_fault() -> SettingError {
    wrong("ods", "is not an ODS code", "write 1 to 9 letters and digits")
}

fn endpoint(text: &str) -> Result<Uri, SettingError> {
    let remedy = "write the FHIR base as https://<host name>[:<port>]/<path>, without a query";
    let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| wrong("endpoint", "is not a URL", remedy))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong("endpoint", "is not https", remedy));
    }
    let host = uri.host().unwrap_or_default();
    let named = !host.is_empty() && rustls::pki_types::ServerName::try_from(host).is_ok();
    let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if !named || user || uri.query().is_some() || text.contains('#') {
        return Err(wrong("endpoint", "is not a FHIR base", remedy));
    }
    Ok(uri)
}

fn address(text: &str) -> Result<SocketAddr, SettingError> {
    text.parse().map_err(|_| {
        wrong("connect", "is not an IP address with a port", "write it as 127.0.0.1:9443, or leave it out")
    })
}

fn service_id(text: String) -> Result<String, SettingError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("service_id", "is empty or not visible ASCII", "write the id of the partner's service"));
    }
    Ok(text)
}

fn minimum_tls(text: Option<&str>) -> Result<TlsVersion, SettingError> {
    text.map_or(Ok(TlsVersion::default()), |text| {
        text.parse().map_err(|_| wrong("minimum_tls", "is no version that is spoken", "write \"1.2\" or \"1.3\""))
    })
}

fn pins(texts: &[String]) -> Result<Vec<Pin>, SettingError> {
    let remedy = "write sha256/ and the base64 of the SHA-256 of the certificate's SubjectPublicKeyInfo";
    let pin = |text: &String| text.parse().map_err(|_| wrong("spki_pins", "has something that is no pin", remedy));
    texts.iter().map(pin).collect()
}

fn anchors(file: &Path) -> Result<TrustAnchors, SettingError> {
    let remedy = "name a PEM file with the authorities that issue the partner's certificate";
    let pem =
        std::fs::read(file).map_err(|error| wrong("trust_anchors", format!("cannot be read ({error})"), remedy))?;
    TrustAnchors::from_pem(&pem)
        .map_err(|error: TlsError| wrong("trust_anchors", format!("cannot be used ({error})"), remedy))
}

/// The longest time that a setting may name: 30 days.
const LONGEST: f64 = 30.0 * 86_400.0;

fn seconds(key: &'static str, seconds: f64) -> Result<Duration, SettingError> {
    if !(0.001..=LONGEST).contains(&seconds) {
        return Err(wrong(key, "is out of range", "write seconds from 0.001 to 2592000"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::issuance::{Authority, Validity};
    use time::macros::datetime;

    const WRITTEN: &str = r#"
        ods = "demot"
        name = "Demo Trust"
        endpoint = "https://bars-demot.trust.example:9443/FHIR/R4/"
        connect = "127.0.0.1:9443"
        service_id = "2000099999"
        trust_anchors = "ca.pem"
        first_retry_seconds = 0.25
        max_attempts = 20
        minimum_tls = "1.3"
        spki_pins = ["sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
    "#;

    #[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
    fn site() -> tempfile::TempDir {
        let site = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("CA", Validity::days(datetime!(2026-01-01 00:00 UTC), 1)).expect("an authority");
        std::fs::write(site.path().join("ca.pem"), authority.certificate_pem()).expect("it is written");
        std::fs::write(site.path().join("empty.pem"), "").expect("it is written");
        site
    }

    fn faults(change: impl FnOnce(&mut PartnerSection)) -> Vec<&'static str> {
        let mut section: PartnerSection = toml::from_str(WRITTEN).expect("it is TOML");
        change(&mut section);
        section.check(site().path()).map_or_else(|faults| faults.iter().map(|fault| fault.key).collect(), |_| vec![])
    }

    #[test]
    fn a_section_becomes_a_partner() {
        let section: PartnerSection = toml::from_str(WRITTEN).expect("it is TOML");
        let partner = section.check(site().path()).expect("it is right");
        assert_eq!(partner.ods.as_str(), "DEMOT");
        assert_eq!(partner.endpoint, "https://bars-demot.trust.example:9443/FHIR/R4");
        assert_eq!(partner.schedule.first, Duration::from_millis(250));
        assert_eq!(partner.schedule.max, Duration::from_secs(300));
        assert_eq!(partner.max_attempts, Some(20));
        assert_eq!((partner.minimum_tls, partner.pins.len()), (TlsVersion::Tls13, 1));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<PartnerSection>(&format!("{WRITTEN}\nfirst_retry = 1")).is_err());
    }

    #[test]
    fn every_fault_is_found_at_its_key() {
        for endpoint in [
            "",
            "http://trust.example/FHIR",
            "trust.example",
            "https://",
            "https://a b/",
            "https://trust.example/?a=b",
            "https://user@trust.example/",
        ] {
            assert_eq!(faults(|section| section.endpoint = endpoint.to_owned()), ["endpoint"], "{endpoint}");
        }
        assert_eq!(faults(|section| section.connect = Some("localhost:1".to_owned())), ["connect"]);
        assert_eq!(faults(|section| section.trust_anchors = "missing.pem".to_owned()), ["trust_anchors"]);
        assert_eq!(faults(|section| section.minimum_tls = Some("1.1".to_owned())), ["minimum_tls"]);
        assert_eq!(faults(|section| section.spki_pins.push("AAAA".to_owned())), ["spki_pins"]);
        assert_eq!(faults(|section| section.trust_anchors = "empty.pem".to_owned()), ["trust_anchors"]);
        assert_eq!(faults(|section| section.attempt_timeout_seconds = f64::NAN), ["attempt_timeout_seconds"]);
        assert_eq!(faults(|section| section.max_retry_seconds = 0.1), ["max_retry_seconds"]);
        let several = faults(|section| {
            section.ods = "RX-1".to_owned();
            section.service_id = String::new();
            section.first_retry_seconds = 0.0;
            section.max_attempts = Some(0);
        });
        assert_eq!(several, ["ods", "service_id", "first_retry_seconds", "max_attempts"]);
    }
}
