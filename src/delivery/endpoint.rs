//! An endpoint of a partner: where it is, and how it is told from any other. The section as written, and the checked
//! settings.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use super::partner::Over;
use super::rest::RestSection;
use super::setting::{SettingError, kept, wrong};
use crate::identity::pin::Pin;
use crate::identity::tls::{TlsError, TlsVersion, TrustAnchors, TrustFiles};

/// A further route of a partner, as its file says it: a second endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSection {
    /// As [`super::PartnerSection::endpoint`].
    pub endpoint: String,
    /// As [`super::PartnerSection::connect`].
    pub connect: Option<String>,
    /// As [`super::PartnerSection::trust_anchors`], which stands in for it.
    pub trust_anchors: Option<String>,
    /// As [`super::PartnerSection::revocation_lists`], which stand in for them.
    pub revocation_lists: Option<Vec<String>>,
    /// As [`super::PartnerSection::minimum_tls`].
    pub minimum_tls: Option<String>,
    /// As [`super::PartnerSection::spki_pins`].
    #[serde(default)]
    pub spki_pins: Vec<String>,
    /// As [`super::PartnerSection::legacy_common_name`].
    pub legacy_common_name: Option<String>,
    /// As [`super::PartnerSection::fhir_rest`].
    pub fhir_rest: Option<RestSection>,
}

/// The partner's own files of authorities and lists, which its routes use unless they name others.
pub(super) struct Trusted<'a> {
    /// Where their names start.
    pub(super) site: &'a Path,
    pub(super) anchors: &'a str,
    pub(super) lists: &'a [String],
    pub(super) grace_hours: u32,
}

/// A list that is older than this after the next was due is no list any more.
const LONGEST_GRACE_HOURS: u32 = 168;

/// An endpoint, checked.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The FHIR base; https, with a host, no query, no trailing slash in its path.
    pub base: Uri,
    /// Where to connect in place of the base's host and port.
    pub connect: Option<SocketAddr>,
    /// Who may issue its certificate, and what they revoked.
    pub anchors: TrustAnchors,
    /// The lowest version of TLS that is spoken with it.
    pub minimum_tls: TlsVersion,
    /// The keys that its certificate may have; any, if there is none.
    pub pins: Vec<Pin>,
    /// The common name that its certificate must have if it has no subject alternative name. Without it, such a
    /// certificate is refused.
    pub common_name: Option<String>,
}

impl Endpoint {
    /// An endpoint without any further settings.
    ///
    /// # Errors
    /// When `base` is not a FHIR base.
    pub fn plain(base: &str, connect: Option<SocketAddr>, anchors: TrustAnchors) -> Result<Endpoint, SettingError> {
        let (minimum_tls, pins, common_name) = (TlsVersion::default(), vec![], None);
        Ok(Endpoint { base: self::base(base)?, connect, anchors, minimum_tls, pins, common_name })
    }

    /// The host of the base.
    pub(super) fn host(&self) -> &str {
        self.base.host().expect("a checked endpoint has a host")
    }
}

impl RouteSection {
    /// The checked route; its faults stand at keys that begin with `place`.
    pub(super) fn route(&self, place: &str, partners: &Trusted<'_>, faults: &mut Vec<SettingError>) -> Option<Over> {
        let endpoint = self.check(place, partners, faults);
        let Some(rest) = &self.fhir_rest else { return endpoint.map(Over::Bars) };
        let rest = rest.check(endpoint, place, partners, faults);
        rest.map(|rest| Over::Rest(Box::new(rest)))
    }

    /// The checked endpoint; its faults stand at keys that begin with `place`.
    pub(super) fn check(
        &self,
        place: &str,
        partners: &Trusted<'_>,
        faults: &mut Vec<SettingError>,
    ) -> Option<Endpoint> {
        let before = faults.len();
        let base = kept(base(&self.endpoint), faults);
        let connect = kept(self.connect.as_deref().map(address).transpose(), faults);
        let anchors = kept(self.trusted(partners), faults);
        let minimum_tls = kept(minimum_tls(self.minimum_tls.as_deref()), faults);
        let pins = kept(pins(&self.spki_pins), faults);
        let common_name = kept(self.legacy_common_name.as_deref().map(common_name).transpose(), faults);
        for fault in &mut faults[before..] {
            fault.key.insert_str(0, place);
        }
        Some(Endpoint {
            base: base?,
            connect: connect?,
            anchors: anchors?,
            minimum_tls: minimum_tls?,
            pins: pins?,
            common_name: common_name?,
        })
    }

    fn trusted(&self, partners: &Trusted<'_>) -> Result<TrustAnchors, SettingError> {
        if partners.grace_hours > LONGEST_GRACE_HOURS {
            return Err(wrong("revocation_grace_hours", "is out of range", "write 0 to 168 hours"));
        }
        // Authorities of its own have lists of their own, or none.
        let own = self.trust_anchors.is_some();
        let lists = self.revocation_lists.as_deref().unwrap_or(if own { &[] } else { partners.lists });
        let files = TrustFiles {
            anchors: partners.site.join(self.trust_anchors.as_deref().unwrap_or(partners.anchors)),
            lists: lists.iter().map(|list| partners.site.join(list)).collect(),
            grace: Duration::from_secs(u64::from(partners.grace_hours) * 3600),
        };
        let anchors = files.anchors.clone();
        TrustAnchors::load(files).map_err(|error| match &error {
            TlsError::Unreadable { file, kind } if *file == anchors => {
                wrong("trust_anchors", format!("cannot be read ({kind})"), error.hint())
            }
            TlsError::Unreadable { .. } => wrong("revocation_lists", error.to_string(), error.hint()),
            _ if error.is_of_lists() => wrong("revocation_lists", format!("cannot be used ({error})"), error.hint()),
            _ => wrong("trust_anchors", format!("cannot be used ({error})"), error.hint()),
        })
    }
}

fn base(text: &str) -> Result<Uri, SettingError> {
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

fn common_name(text: &str) -> Result<String, SettingError> {
    let named = rustls::pki_types::DnsName::try_from(text).is_ok();
    let remedy = "write the certificate's common name, a host name, in full";
    if named { Ok(text.to_owned()) } else { Err(wrong("legacy_common_name", "is not a host name", remedy)) }
}
