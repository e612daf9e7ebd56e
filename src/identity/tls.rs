//! Mutual TLS: what we present, whom we trust, and the one set of protocol choices for both directions.
//!
//! TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM only (the two NRL suites and their ECDSA twins). Cryptography is
//! aws-lc-rs, passed explicitly: no process-wide provider is installed. Sessions are not resumed, so that every
//! connection proves chain and expiry anew.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::certificate::{self, CertificateError, Role};
use super::issuance::Validity;
use super::{Malformed, PartyId};

/// The clock that certificates are checked against.
pub type Clock = Arc<dyn TimeProvider>;

/// The clock of this machine.
pub fn system_clock() -> Clock {
    Arc::new(DefaultTimeProvider)
}

/// Why a TLS configuration cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate in what should be a chain.
    #[error("the certificate chain holds no PEM certificate")]
    NoCertificate,
    /// No key in what should be a key.
    #[error("the private key is not PEM (PKCS #8, PKCS #1 or SEC 1)")]
    NoKey,
    /// No certificate in what should be trust anchors.
    #[error("the trust anchors hold no PEM certificate")]
    NoAnchor,
    /// A trust anchor that cannot be used.
    #[error("a trust anchor is not a usable certificate")]
    BadAnchor,
    /// The chain's own party cannot be told.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Key and certificate do not fit, or rustls refuses them otherwise.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl TlsError {
    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            TlsError::NoCertificate => "give a PEM file with the end-entity certificate first, then its issuers",
            TlsError::NoKey => "give the private key of the certificate as unencrypted PEM",
            TlsError::NoAnchor | TlsError::BadAnchor => "give a PEM file with the authorities that issue to the peer",
            TlsError::Certificate(error) => error.hint(),
            TlsError::Unusable(_) => "check that the key belongs to the first certificate of the chain",
        }
    }
}

/// Our own certificate chain and its key. The key does not print.
#[derive(Clone)]
pub struct Credentials {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} certificates, key …)", self.chain.len())
    }
}

impl Credentials {
    /// Reads a chain, end entity first, and its key.
    ///
    /// # Errors
    /// [`TlsError::NoCertificate`] or [`TlsError::NoKey`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Credentials, TlsError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| TlsError::NoCertificate)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        Ok(Credentials { chain, key: Arc::new(key) })
    }

    /// From when until when our certificate holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn validity(&self) -> Result<Validity, CertificateError> {
        certificate::validity_of(self.chain.first().expect("a chain has a certificate"))
    }

    /// The party that our certificate names.
    ///
    /// # Errors
    /// When it names none, or is not for `role`.
    pub fn party(&self, role: Role) -> Result<PartyId, CertificateError> {
        let first = self.chain.first().expect("a chain has a certificate");
        certificate::party_of(first, role)
    }
}

/// The authorities whose certificates we accept from a peer.
#[derive(Clone, Debug)]
pub struct TrustAnchors(Arc<RootCertStore>);

impl TrustAnchors {
    /// Reads certificates, each an anchor.
    ///
    /// # Errors
    /// [`TlsError::NoAnchor`] or [`TlsError::BadAnchor`].
    pub fn from_pem(pem: &[u8]) -> Result<TrustAnchors, TlsError> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            store.add(certificate.map_err(|_| TlsError::BadAnchor)?).map_err(|_| TlsError::BadAnchor)?;
        }
        if store.is_empty() { Err(TlsError::NoAnchor) } else { Ok(TrustAnchors(Arc::new(store))) }
    }
}

/// For a listener: presents `credentials`, and requires a client certificate below `clients`.
///
/// # Errors
/// When our own certificate names no party as a server, or does not fit its key.
pub fn server_config(
    credentials: &Credentials,
    clients: &TrustAnchors,
    clock: Clock,
) -> Result<Arc<ServerConfig>, TlsError> {
    credentials.party(Role::Server)?;
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(clients.0.clone(), provider.clone())
        .build()
        .expect("trust anchors are never empty, and no revocation lists are given");
    let mut config = ServerConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = protocols();
    Ok(Arc::new(config))
}

/// The lowest version of TLS that a connection may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2 or 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl TlsVersion {
    /// The versions that may be spoken.
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static NEWEST_FIRST: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            TlsVersion::Tls12 => &NEWEST_FIRST,
            TlsVersion::Tls13 => &NEWEST_FIRST[..1],
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        })
    }
}

impl FromStr for TlsVersion {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<TlsVersion, Malformed> {
        match text {
            "1.2" => Ok(TlsVersion::Tls12),
            "1.3" => Ok(TlsVersion::Tls13),
            _ => Err(Malformed { what: "minimum_tls", rule: "\"1.2\" or \"1.3\"" }),
        }
    }
}

/// For a client of TLS 1.2 or 1.3: presents `credentials`, and requires a server certificate below `anchors` for the
/// name it calls.
///
/// # Errors
/// When our own certificate names no party as a client, or does not fit its key.
pub fn client_config(
    credentials: &Credentials,
    anchors: &TrustAnchors,
    clock: Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    client_config_from(TlsVersion::Tls12, credentials, anchors, clock)
}

/// The same for a lane that speaks no older version than `minimum`.
///
/// # Errors
/// As [`client_config`].
pub fn client_config_from(
    minimum: TlsVersion,
    credentials: &Credentials,
    anchors: &TrustAnchors,
    clock: Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    credentials.party(Role::Client)?;
    let mut config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(minimum.versions())?
        .with_root_certificates(anchors.0.clone())
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols();
    Ok(Arc::new(config))
}

/// HTTP/2 is preferred, HTTP/1.1 is accepted (RFC 7301).
fn protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// The TLS 1.2 suites; those of TLS 1.3 are all accepted.
const TLS12_SUITES: [CipherSuite; 4] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some() || TLS12_SUITES.contains(&suite.suite()));
    Arc::new(provider)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::issuance::{Authority, Validity};
    use time::macros::datetime;

    fn authority() -> (Authority, Validity) {
        let validity = Validity::days(datetime!(2026-01-01 00:00 UTC), 1);
        (Authority::new("CA", validity).expect("an authority"), validity)
    }

    #[test]
    fn only_tls13_and_ecdhe_gcm_are_offered() {
        let mut suites: Vec<String> =
            provider().cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect();
        suites.sort();
        assert_eq!(
            suites,
            [
                "TLS13_AES_128_GCM_SHA256",
                "TLS13_AES_256_GCM_SHA384",
                "TLS13_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            ]
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (authority, validity) = authority();
        let party = "RX1".parse().expect("an ODS code");
        let issue = || authority.issue(&party, "trust.example", &[], validity).expect("a certificate");
        let (one, other) = (issue(), issue());
        let mixed = Credentials::from_pem(one.certificate_pem.as_bytes(), other.key_pem.as_bytes()).expect("PEM");
        let anchors = TrustAnchors::from_pem(authority.certificate_pem().as_bytes()).expect("an anchor");
        assert!(matches!(server_config(&mixed, &anchors, system_clock()), Err(TlsError::Unusable(_))));
        assert!(matches!(client_config(&mixed, &anchors, system_clock()), Err(TlsError::Unusable(_))));
    }

    #[test]
    fn what_is_not_pem_is_refused_by_kind() {
        let (authority, validity) = authority();
        let party = "RX1".parse().expect("an ODS code");
        let issued = authority.issue(&party, "trust.example", &[], validity).expect("a certificate");
        let (chain, key) = (issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes());
        assert!(matches!(Credentials::from_pem(key, key), Err(TlsError::NoCertificate)));
        assert!(matches!(Credentials::from_pem(chain, chain), Err(TlsError::NoKey)));
        assert!(matches!(TrustAnchors::from_pem(key), Err(TlsError::NoAnchor)));
        assert!(matches!(TrustAnchors::from_pem(b""), Err(TlsError::NoAnchor)));
        let credentials = Credentials::from_pem(chain, key).expect("PEM");
        assert_eq!(credentials.party(Role::Client), Ok(party));
        assert!(!format!("{credentials:?}").contains("PRIVATE"));
    }
}
