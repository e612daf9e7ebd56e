//! Mutual TLS: what we present, whom we trust, and the one set of protocol choices for both directions.
//!
//! TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM only (the two NRL suites and their ECDSA twins). Cryptography is
//! aws-lc-rs, passed explicitly: no process-wide provider is installed. Chains are judged by `trust`.
//! A session that is resumed skips rustls' verifiers: whoever lets sessions be resumed judges the chain again.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use time::OffsetDateTime;

use super::certificate::{self, CertificateError, Role};
use super::issuance::Validity;
pub use super::trust::{Distrust, Term, Trust, TrustAnchors, TrustFiles, distrust_in};
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
    /// A file that cannot be read.
    #[error("{} cannot be read ({kind})", .file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// A revocation list that cannot be used.
    #[error("a revocation list is not a complete X.509 list with the date of the next one")]
    BadList,
    /// A certificate of another time.
    #[error("the certificate does not hold now; it ends at {0}")]
    NotNow(OffsetDateTime),
    /// A certificate that stands in for one of somebody else.
    #[error("the certificate is one of {found}, in the place of one of {expected}")]
    OtherParty {
        /// Whom the one that is used names.
        expected: PartyId,
        /// Whom this one names.
        found: PartyId,
    },
    /// Lists are given, but none of this authority.
    #[error("there is no revocation list of the authority {0}, so that all its peers would be refused")]
    NoList(String),
    /// A list that bears its issuer's name, not its signature.
    #[error("the revocation list of {0} is not signed by it")]
    ListSignature(String),
    /// A list of an authority that may sign none.
    #[error("the certificate of {0} does not let it sign revocation lists (key usage cRLSign)")]
    ListSigner(String),
    /// The chain's own party cannot be told.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Key and certificate do not fit, or rustls refuses them otherwise.
    #[error("the certificate and its key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl TlsError {
    /// Whether it is the revocation lists that cannot be used.
    pub fn is_of_lists(&self) -> bool {
        use TlsError::{BadList, ListSignature, ListSigner, NoList};
        matches!(self, BadList | NoList(_) | ListSignature(_) | ListSigner(_))
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            TlsError::NoCertificate => "give a PEM file with the end-entity certificate first, then its issuers",
            TlsError::NoKey => "give the private key of the certificate as unencrypted PEM",
            TlsError::NoAnchor | TlsError::BadAnchor => "give a PEM file with the authorities that issue to the peer",
            TlsError::Unreadable { .. } => "check the path and who may read the file",
            TlsError::NotNow(_) => "give a certificate that holds now, and check this machine's clock",
            TlsError::OtherParty { .. } => "give a certificate of the same organisation; another one needs a new start",
            TlsError::BadList => "give complete revocation lists, PEM or DER, as the authority publishes them",
            TlsError::NoList(_) => "add the authority's list to revocation_lists, or take the authority out",
            TlsError::ListSignature(_) => "fetch the list anew from where the authority publishes it",
            TlsError::ListSigner(_) => "ask the authority for a certificate with cRLSign, or whose list is to be used",
            TlsError::Certificate(error) => error.hint(),
            TlsError::Unusable(_) => "check that the key belongs to the first certificate of the chain",
        }
    }
}

/// Our own certificate chain and its key. The key does not print. Clones share what is replaced when the files change.
#[derive(Clone)]
pub struct Credentials(Arc<Own>);

struct Own {
    /// Of the chain and of the key.
    files: Option<[PathBuf; 2]>,
    current: RwLock<Arc<CertifiedKey>>,
    /// How often others were taken over.
    generation: AtomicU64,
}

/// A certificate chain and its key that were read and not used yet.
pub struct OwnCertificate(CertifiedKey);

fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| TlsError::NoCertificate)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

fn certified_from([chain, key]: &[PathBuf; 2]) -> Result<CertifiedKey, TlsError> {
    let bytes = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| TlsError::Unreadable { file: path.clone(), kind: error.kind() })
    };
    certified(&bytes(chain)?, &bytes(key)?)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} certificates, key …)", self.current().cert.len())
    }
}

impl Credentials {
    /// Reads a chain, end entity first, and its key.
    ///
    /// # Errors
    /// [`TlsError::NoCertificate`], [`TlsError::NoKey`], or [`TlsError::Unusable`] when they do not fit.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Credentials, TlsError> {
        Ok(Credentials::of(None, certified(chain, key)?))
    }

    /// Reads the files of a chain and of its key.
    ///
    /// # Errors
    /// As [`Credentials::from_pem`], and when a file cannot be read.
    pub fn load(chain: PathBuf, key: PathBuf) -> Result<Credentials, TlsError> {
        let files = [chain, key];
        let certified = certified_from(&files)?;
        Ok(Credentials::of(Some(files), certified))
    }

    fn of(files: Option<[PathBuf; 2]>, certified: CertifiedKey) -> Credentials {
        let current = RwLock::new(Arc::new(certified));
        Credentials(Arc::new(Own { files, current, generation: AtomicU64::new(0) }))
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The files of the chain and of the key.
    pub fn files(&self) -> Option<&[PathBuf; 2]> {
        self.0.files.as_ref()
    }

    /// Reads the files anew; `None` when it was not made from files. Nothing changes before [`Credentials::take_over`].
    ///
    /// # Errors
    /// As [`Credentials::load`]; when the new certificate does not hold `now`, or is not for all that the old one is for.
    pub fn read_anew(&self, now: OffsetDateTime) -> Result<Option<OwnCertificate>, TlsError> {
        let Some(files) = &self.0.files else { return Ok(None) };
        let certified = certified_from(files)?;
        let first = certified.cert.first().expect("a chain has a certificate");
        let Validity { from, until } = certificate::validity_of(first)?;
        if now < from || now > until {
            return Err(TlsError::NotNow(until));
        }
        for role in [Role::Client, Role::Server] {
            let Ok(expected) = self.party(role) else { continue };
            let found = certificate::party_of(first, role)?;
            if found != expected {
                return Err(TlsError::OtherParty { expected, found });
            }
        }
        Ok(Some(OwnCertificate(certified)))
    }

    /// From now on, this is what we present.
    pub fn take_over(&self, OwnCertificate(certified): OwnCertificate) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
        self.0.generation.fetch_add(1, Ordering::Release);
    }

    /// Another number after each [`Credentials::take_over`].
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// What ends, and when: the first certificate of the chain that does.
    pub fn term(&self) -> Option<Term> {
        let ends = |der: &CertificateDer<'_>| certificate::validity_of(der).map(|validity| validity.until).ok();
        let until = self.current().cert.iter().filter_map(ends).min()?;
        Some(Term::of_certificate("our own certificate".to_owned(), until))
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.current().cert.first().expect("a chain has a certificate").clone()
    }

    /// From when until when our certificate holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn validity(&self) -> Result<Validity, CertificateError> {
        certificate::validity_of(&self.certificate())
    }

    /// The party that our certificate names.
    ///
    /// # Errors
    /// When it names none, or is not for `role`.
    pub fn party(&self, role: Role) -> Result<PartyId, CertificateError> {
        certificate::party_of(&self.certificate(), role)
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Judges peers in the handshake by [`TrustAnchors`] as they stand then.
#[derive(Debug)]
struct Verifier {
    anchors: TrustAnchors,
    /// The common name that a server without subject alternative names must have.
    common_name: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(anchors: &TrustAnchors, common_name: Option<&str>) -> Arc<Verifier> {
        let algorithms = provider().signature_verification_algorithms;
        Arc::new(Verifier { anchors: anchors.clone(), common_name: common_name.map(str::to_owned), algorithms })
    }
}

/// The peer's certificate, then those that it sent with it.
fn chain<'a>(first: &CertificateDer<'a>, others: &[CertificateDer<'a>]) -> Vec<CertificateDer<'a>> {
    std::iter::once(first).chain(others).cloned().collect()
}

impl ClientCertVerifier for Verifier {
    /// No hints: authorities may change while we run, and every client has one certificate for us.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.anchors.judge_client(&chain(first, others), now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.anchors.judge_server(&chain(first, others), name, self.common_name.as_deref(), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The TLS of a listener.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// For handshakes.
    pub config: Arc<ServerConfig>,
    clients: TrustAnchors,
    /// The authorities of clients that have authorities of their own.
    own: Arc<HashMap<PartyId, TrustAnchors>>,
    clock: Clock,
}

impl ServerTls {
    /// The same, where a client of one of these parties must also be vouched for by that party's own authorities: so that no
    /// other authority that is trusted here can issue a certificate in its name.
    #[must_use]
    pub fn with_own(self, own: HashMap<PartyId, TrustAnchors>) -> ServerTls {
        ServerTls { own: Arc::new(own), ..self }
    }

    /// Whether the party's own authorities vouch for this chain; yes for a party that has none of its own.
    ///
    /// # Errors
    /// As [`TrustAnchors::judge_client`].
    pub fn judge_own(&self, party: &PartyId, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let Some(own) = self.own.get(party) else { return Ok(()) };
        let now = self.clock.current_time().ok_or(rustls::Error::FailedToGetCurrentTime)?;
        own.judge_client(chain, now)
    }

    /// Whether a client with this chain is trusted still: for a session that is resumed, which skips the verifier, and for
    /// a connection that is open for long.
    ///
    /// # Errors
    /// As [`TrustAnchors::judge_client`].
    pub fn judge_again(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let now = self.clock.current_time().ok_or(rustls::Error::FailedToGetCurrentTime)?;
        self.clients.judge_client(chain, now)
    }
}

/// Sessions that a listener remembers; an older one begins anew.
const SESSIONS: usize = 1024;

/// For a listener: presents `credentials`, and requires a client certificate below `clients`.
///
/// # Errors
/// When our own certificate names no party as a server, or does not fit its key.
pub fn server_config(credentials: &Credentials, clients: &TrustAnchors, clock: Clock) -> Result<ServerTls, TlsError> {
    credentials.party(Role::Server)?;
    let mut config = ServerConfig::builder_with_details(provider(), clock.clone())
        .with_protocol_versions(TlsVersion::Tls12.versions())?
        .with_client_cert_verifier(Verifier::new(clients, None))
        .with_cert_resolver(Arc::new(credentials.clone()));
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.alpn_protocols = protocols();
    Ok(ServerTls { config: Arc::new(config), clients: clients.clone(), own: Arc::default(), clock })
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
    credentials.party(Role::Client)?;
    Ok(Arc::new(new_client((TlsVersion::Tls12, None), credentials, anchors, clock)?))
}

/// The same for a lane that speaks no older version than `minimum`, with a server that may have no other name than
/// `common_name`. Sessions are resumed: whoever uses it judges the server again, see [`TrustAnchors::judge_server`].
///
/// # Errors
/// As [`client_config`].
pub fn client_config_from(
    kind: (TlsVersion, Option<&str>),
    credentials: &Credentials,
    anchors: &TrustAnchors,
    clock: Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    credentials.party(Role::Client)?;
    client_config_for_service(kind, credentials, anchors, clock)
}

/// The same for a service that knows its clients by certificates of its own issue, which need not name a party as ours
/// do: MESH.
///
/// # Errors
/// When our own certificate does not fit its key.
pub fn client_config_for_service(
    kind: (TlsVersion, Option<&str>),
    credentials: &Credentials,
    anchors: &TrustAnchors,
    clock: Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = new_client(kind, credentials, anchors, clock)?;
    config.resumption = Resumption::in_memory_sessions(4);
    Ok(Arc::new(config))
}

fn new_client(
    (minimum, common_name): (TlsVersion, Option<&str>),
    credentials: &Credentials,
    anchors: &TrustAnchors,
    clock: Clock,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(minimum.versions())?
        .dangerous() // Not rustls' verifier: ours asks for more, see `super::trust`.
        .with_custom_certificate_verifier(Verifier::new(anchors, common_name))
        .with_client_cert_resolver(Arc::new(credentials.clone()));
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols();
    Ok(config)
}

/// For a look at a server that may be anyone: presents `credentials`, and accepts any chain whose key the server has.
/// Nothing may be sent over such a connection.
///
/// # Errors
/// When our own certificate does not fit its key.
pub fn observing_client(credentials: &Credentials, clock: Clock) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(TlsVersion::Tls12.versions())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Observer(provider().signature_verification_algorithms)))
        .with_client_cert_resolver(Arc::new(credentials.clone()));
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols();
    Ok(Arc::new(config))
}

/// Accepts any chain.
#[derive(Debug)]
struct Observer(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        _first: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
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

pub(super) fn provider() -> Arc<CryptoProvider> {
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
        let mixed = Credentials::from_pem(one.certificate_pem.as_bytes(), other.key_pem.as_bytes());
        assert!(matches!(mixed, Err(TlsError::Unusable(_))), "{mixed:?}");
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
