//! Whom we trust: the authorities of a peer, their revocation lists, and what we say of a chain.
//!
//! Enters: PEM files of a site, then each peer's chain with the time. Leaves: yes, or [`Distrust`]. rustls' own verifiers
//! let pass what must not: a root that has expired, a revocation list that is out of date, a list of an issuer that may
//! sign none (RFC 5280 sections 6.1 and 6.3.3). Invariant: a chain that passes ends at an authority whose certificate
//! holds now, and, where lists are given, each certificate below it is on a list's issuer's books and not revoked.

use std::borrow::Borrow;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError as Verdict, OtherError};
use time::OffsetDateTime;
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{self, CertificateError, Role};
use super::issuance::Validity;
use super::tls::{TlsError, provider};

/// Why a chain is not trusted, where rustls has no words for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// The chain is right, but the authority at its end does not hold now.
    #[error("its authority {authority} holds from {} until {}, not now", day(.validity.from), day(.validity.until))]
    AuthorityExpired {
        /// The authority's name.
        authority: String,
        /// When it holds.
        validity: Validity,
    },
    /// Lists are asked for, and none of this issuer is there.
    #[error("there is no revocation list of its issuer {issuer}")]
    NoList {
        /// The issuer's name.
        issuer: String,
    },
    /// There is a list of its issuer, but it is out of date.
    #[error("the revocation list of its issuer {issuer} is out of date: the next one was due on {}", day(.due))]
    StaleList {
        /// The issuer's name.
        issuer: String,
        /// When the next list was due.
        due: OffsetDateTime,
    },
    /// A list of an issuer whose certificate does not let it sign lists, or that it did not sign.
    #[error("the revocation list of its issuer {issuer} cannot be relied on: {why}")]
    WrongList {
        /// The issuer's name.
        issuer: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A certificate without a subject alternative name, whose common name is not the one that is pinned.
    #[error("its common name is not the one that legacy_common_name pins, and it has no subject alternative name")]
    CommonName,
    /// It is not for this use.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Distrust {
    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Distrust::AuthorityExpired { .. } => {
                "ask the authority for its new certificate, and put it into the file of trust_anchors"
            }
            Distrust::NoList { .. } => "put the issuer's revocation list into a file of revocation_lists",
            Distrust::StaleList { .. } => "fetch the issuer's newest revocation list into the file of revocation_lists",
            Distrust::WrongList { .. } => "fetch the revocation list anew from where its issuer publishes it",
            Distrust::CommonName => "ask the partner for its certificate's names, and correct legacy_common_name",
            Distrust::Certificate(error) => error.hint(),
        }
    }
}

/// The day and time, as people write it.
fn day(time: impl Borrow<OffsetDateTime>) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    time.borrow().format(&format).unwrap_or_default()
}

/// The files that say whom to trust.
#[derive(Clone, Debug)]
pub struct TrustFiles {
    /// The authorities, PEM.
    pub anchors: PathBuf,
    /// Their revocation lists, PEM or DER; without any, nothing is asked about revocation.
    pub lists: Vec<PathBuf>,
    /// How long a list is still used after the next one was due.
    pub grace: Duration,
}

/// An authority whose certificates we accept.
#[derive(Clone, Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    /// Its subject, DER.
    subject: Vec<u8>,
    /// The same, for people.
    name: String,
    validity: Validity,
}

/// What an issuer has revoked.
#[derive(Debug)]
struct RevocationList {
    list: CertRevocationList<'static>,
    /// Its issuer's name, DER.
    issuer: Vec<u8>,
    /// The same, for people.
    name: String,
    from: OffsetDateTime,
    due: OffsetDateTime,
}

/// The authorities of a peer, with their lists, as they were read.
#[derive(Debug)]
pub struct Trust {
    anchors: Vec<Anchor>,
    /// The newest of an issuer first.
    lists: Vec<RevocationList>,
    grace: Duration,
}

/// Something that will not hold for ever, by name: a certificate or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What it is: `authority CN=…`, `revocation list of CN=…`.
    pub what: String,
    /// Until when it holds.
    pub until: OffsetDateTime,
    /// How long before that its end is said.
    pub notice: time::Duration,
}

/// How long before its end a certificate is told of: time for an order, an approval and a change.
const NOTICE: time::Duration = time::Duration::days(30);
/// The same of a list, which is published anew every few days or hours.
const LIST_NOTICE: time::Duration = time::Duration::hours(12);

impl Term {
    /// A certificate's.
    pub fn of_certificate(what: String, until: OffsetDateTime) -> Term {
        Term { what, until, notice: NOTICE }
    }

    /// Whether it ends soon, or has ended.
    pub fn is_near(&self, now: OffsetDateTime) -> bool {
        self.until - now <= self.notice
    }
}

impl Trust {
    pub(super) fn from_pem(anchors: &[u8], lists: &[Vec<u8>], grace: Duration) -> Result<Trust, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(anchors).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|_| TlsError::BadAnchor)?;
        if certificates.is_empty() {
            return Err(TlsError::NoAnchor);
        }
        let anchors = certificates.iter().map(anchor).collect::<Result<Vec<_>, _>>()?;
        let ders = lists.iter().map(|bytes| lists_in(bytes)).collect::<Result<Vec<_>, _>>()?;
        let lists = ders.iter().flatten().map(|der| revocation_list(der)).collect::<Result<Vec<_>, _>>()?;
        for (der, list) in ders.iter().flatten().zip(&lists) {
            signed_by_its_issuer(der, list, &certificates)?;
        }
        let mut trust = Trust { anchors, lists, grace };
        trust.lists.sort_by_key(|list| std::cmp::Reverse(list.from));
        trust.complete()?;
        Ok(trust)
    }

    /// An authority without a list would have every one of its peers refused.
    fn complete(&self) -> Result<(), TlsError> {
        let listed = |anchor: &&Anchor| self.lists.iter().any(|list| list.issuer == anchor.subject);
        match self.anchors.iter().find(|anchor| !listed(anchor)) {
            Some(anchor) if !self.lists.is_empty() => Err(TlsError::NoList(anchor.name.clone())),
            _ => Ok(()),
        }
    }

    /// Whether `chain`, end entity first, leads from a certificate for `role` to an authority of ours, now.
    fn judge(&self, chain: &[CertificateDer<'_>], role: Role, now: UnixTime) -> Result<(), rustls::Error> {
        let time = moment(now);
        let holds = |anchor: &&Anchor| (anchor.validity.from..=anchor.validity.until).contains(&time);
        let (held, past): (Vec<&Anchor>, Vec<&Anchor>) = self.anchors.iter().partition(holds);
        let outcome = self.path(chain, &held, role, now);
        if outcome == Err(webpki::Error::UnknownIssuer) {
            for anchor in past {
                if self.path(chain, &[anchor], role, now) != Err(webpki::Error::UnknownIssuer) {
                    let (authority, validity) = (anchor.name.clone(), anchor.validity);
                    return Err(Distrust::AuthorityExpired { authority, validity }.into());
                }
            }
        }
        outcome.map_err(|error| match error {
            webpki::Error::RequiredEkuNotFoundContext(_) => {
                Distrust::Certificate(CertificateError::Purpose { role }).into()
            }
            error => self.words(error, chain, time),
        })
    }

    fn path(
        &self,
        chain: &[CertificateDer<'_>],
        anchors: &[&Anchor],
        role: Role,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let (first, others) = chain.split_first().ok_or(webpki::Error::BadDer)?;
        let anchors: Vec<TrustAnchor<'static>> = anchors.iter().map(|anchor| anchor.anchor.clone()).collect();
        let usage = match role {
            Role::Client => KeyUsage::client_auth(),
            Role::Server => KeyUsage::server_auth(),
        };
        let lists: Vec<_> = self.lists.iter().filter(|list| self.is_fresh(list, moment(now))).collect();
        let lists: Vec<_> = lists.into_iter().map(|list| &list.list).collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            // Which lists are out of date is said above, with the grace that the site allows.
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Ignore)
                .build()
        });
        let none_fresh = revocation.is_none() && !self.lists.is_empty();
        let algorithms = algorithms().all;
        let certificate = EndEntityCert::try_from(first)?;
        certificate.verify_for_usage(algorithms, &anchors, others, now, usage, revocation, None)?;
        if none_fresh { Err(webpki::Error::UnknownRevocationStatus) } else { Ok(()) }
    }

    fn is_fresh(&self, list: &RevocationList, time: OffsetDateTime) -> bool {
        list.from <= time && time <= list.due + self.grace
    }

    /// What is wrong, as rustls or we say it.
    fn words(&self, error: webpki::Error, chain: &[CertificateDer<'_>], time: OffsetDateTime) -> rustls::Error {
        use webpki::Error::{
            BadDer, BadDerTime, CaUsedAsEndEntity, CertExpired, CertNotValidYet, CertRevoked, InvalidCertValidity,
            InvalidCrlSignatureForPublicKey, InvalidSignatureForPublicKey, IssuerNotCrlSigner, TrailingData,
            UnknownIssuer, UnknownRevocationStatus,
        };
        let wrong = |why| Distrust::WrongList { issuer: self.unlisted(chain, time).0, why }.into();
        match error {
            BadDer | BadDerTime | TrailingData(_) => Verdict::BadEncoding.into(),
            CertNotValidYet { time, not_before } => Verdict::NotValidYetContext { time, not_before }.into(),
            CertExpired { time, not_after } => Verdict::ExpiredContext { time, not_after }.into(),
            InvalidCertValidity => Verdict::Expired.into(),
            UnknownIssuer => Verdict::UnknownIssuer.into(),
            InvalidSignatureForPublicKey => Verdict::BadSignature.into(),
            CaUsedAsEndEntity => Distrust::Certificate(CertificateError::Authority).into(),
            CertRevoked => Verdict::Revoked.into(),
            UnknownRevocationStatus => match self.unlisted(chain, time) {
                (issuer, Some(due)) => Distrust::StaleList { issuer, due }.into(),
                (issuer, None) => Distrust::NoList { issuer }.into(),
            },
            InvalidCrlSignatureForPublicKey => wrong("it is not signed by it"),
            IssuerNotCrlSigner => wrong("the issuer's certificate does not let it sign lists (key usage cRLSign)"),
            other => Verdict::Other(OtherError(Arc::new(other))).into(),
        }
    }

    /// The first issuer in the chain that no fresh list speaks for, and when its list was due if it has an old one.
    fn unlisted(&self, chain: &[CertificateDer<'_>], time: OffsetDateTime) -> (String, Option<OffsetDateTime>) {
        for certificate in chain {
            let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { continue };
            let issuer = certificate.issuer();
            let own = || self.lists.iter().filter(|list| list.issuer == issuer.as_raw());
            if !own().any(|list| self.is_fresh(list, time)) {
                return (issuer.to_string(), own().map(|list| list.due).max());
            }
        }
        ("of the chain".to_owned(), None)
    }

    /// Everything that ends: authorities and lists.
    pub(super) fn terms(&self) -> Vec<Term> {
        let authority =
            |anchor: &Anchor| Term::of_certificate(format!("authority {}", anchor.name), anchor.validity.until);
        let list = |list: &RevocationList| Term {
            what: format!("revocation list of {}", list.name),
            until: list.due + self.grace,
            notice: LIST_NOTICE,
        };
        self.anchors.iter().map(authority).chain(self.lists.iter().map(list)).collect()
    }
}

impl From<Distrust> for rustls::Error {
    fn from(distrust: Distrust) -> rustls::Error {
        Verdict::Other(OtherError(Arc::new(distrust))).into()
    }
}

/// What we said of a chain, if `error` is one of ours.
pub fn distrust_in(error: &rustls::Error) -> Option<&Distrust> {
    match error {
        rustls::Error::InvalidCertificate(Verdict::Other(OtherError(cause))) => cause.downcast_ref(),
        _ => None,
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

fn moment(now: UnixTime) -> OffsetDateTime {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn anchor(certificate: &CertificateDer<'static>) -> Result<Anchor, TlsError> {
    let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|_| TlsError::BadAnchor)?.to_owned();
    let validity = certificate::validity_of(certificate).map_err(|_| TlsError::BadAnchor)?;
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| TlsError::BadAnchor)?;
    Ok(Anchor { anchor, subject: parsed.subject().as_raw().to_vec(), name: parsed.subject().to_string(), validity })
}

/// The lists of a file: DER, as authorities publish them, or PEM.
fn lists_in(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    const SEQUENCE: u8 = 0x30;
    let lists = match bytes.first() {
        Some(&SEQUENCE) => vec![bytes.to_vec().into()],
        _ => CertificateRevocationListDer::pem_slice_iter(bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| TlsError::BadList)?,
    };
    if lists.is_empty() { Err(TlsError::BadList) } else { Ok(lists) }
}

fn revocation_list(der: &[u8]) -> Result<RevocationList, TlsError> {
    let list = OwnedCertRevocationList::from_der(der).map_err(|_| TlsError::BadList)?.into();
    let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|_| TlsError::BadList)?;
    let due = parsed.next_update().ok_or(TlsError::BadList)?.to_datetime();
    let (issuer, name) = (parsed.issuer().as_raw().to_vec(), parsed.issuer().to_string());
    Ok(RevocationList { list, issuer, name, from: parsed.last_update().to_datetime(), due })
}

/// A list of one of our authorities must be signed by it, and it must be one that may sign lists. A list of an issuer
/// below is checked with the chain that brings its certificate.
fn signed_by_its_issuer(
    der: &[u8],
    list: &RevocationList,
    authorities: &[CertificateDer<'static>],
) -> Result<(), TlsError> {
    let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|_| TlsError::BadList)?;
    let (message, signature) = (parsed.tbs_cert_list.as_ref(), &parsed.signature_value.data);
    let mut own = 0;
    for authority in authorities {
        let (_, authority) = X509Certificate::from_der(authority).map_err(|_| TlsError::BadAnchor)?;
        if authority.subject().as_raw() != list.issuer {
            continue;
        }
        own += 1;
        let usage = authority.key_usage().map_err(|_| TlsError::BadAnchor)?;
        let may_sign = usage.is_none_or(|usage| usage.value.crl_sign());
        let key = &authority.public_key().subject_public_key.data;
        let signed = algorithms().all.iter().any(|each| each.verify_signature(key, message, signature).is_ok());
        match (signed, may_sign) {
            (true, true) => return Ok(()),
            (true, false) => return Err(TlsError::ListSigner(list.name.clone())),
            (false, _) => {}
        }
    }
    if own == 0 { Ok(()) } else { Err(TlsError::ListSignature(list.name.clone())) }
}

/// The authorities whose certificates we accept from a peer, and what they revoked. Clones share what is replaced when
/// the files change.
#[derive(Clone)]
pub struct TrustAnchors(Arc<Shared>);

struct Shared {
    files: Option<TrustFiles>,
    current: RwLock<Arc<Trust>>,
    /// How often others were taken over.
    generation: AtomicU64,
}

impl fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trust = self.current();
        write!(f, "TrustAnchors({} authorities, {} lists)", trust.anchors.len(), trust.lists.len())
    }
}

impl TrustAnchors {
    /// Reads certificates, each an anchor.
    ///
    /// # Errors
    /// [`TlsError::NoAnchor`] or [`TlsError::BadAnchor`].
    pub fn from_pem(pem: &[u8]) -> Result<TrustAnchors, TlsError> {
        Ok(TrustAnchors::of(None, Trust::from_pem(pem, &[], Duration::ZERO)?))
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], when one cannot be read or used, or an authority has no list while others have.
    pub fn load(files: TrustFiles) -> Result<TrustAnchors, TlsError> {
        let trust = read(&files)?;
        Ok(TrustAnchors::of(Some(files), trust))
    }

    fn of(files: Option<TrustFiles>, trust: Trust) -> TrustAnchors {
        TrustAnchors(Arc::new(Shared { files, current: RwLock::new(Arc::new(trust)), generation: AtomicU64::new(0) }))
    }

    fn current(&self) -> Arc<Trust> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files anew; `None` when it was not made from files. Nothing changes before [`TrustAnchors::take_over`].
    ///
    /// # Errors
    /// As [`TrustAnchors::load`].
    pub fn read_anew(&self) -> Result<Option<Trust>, TlsError> {
        self.0.files.as_ref().map(read).transpose()
    }

    /// From now on, these are the authorities and lists, also for handshakes that are under way.
    pub fn take_over(&self, trust: Trust) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
        self.0.generation.fetch_add(1, Ordering::Release);
    }

    /// Another number after each [`TrustAnchors::take_over`].
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// The files that it was made from.
    pub fn files(&self) -> Option<&TrustFiles> {
        self.0.files.as_ref()
    }

    /// What ends, and when.
    pub fn terms(&self) -> Vec<Term> {
        self.current().terms()
    }

    /// Whether a client with this chain, end entity first, is trusted now. Whom it names is not asked here.
    ///
    /// # Errors
    /// What is wrong with the chain, as rustls says it, or [`Distrust`] within.
    pub fn judge_client(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), rustls::Error> {
        self.judge_chain(chain, Role::Client, now)
    }

    /// Whether a server with this chain, end entity first, is trusted now as `name`. A certificate without subject
    /// alternative names is one of `common_name`, where that is pinned.
    ///
    /// # Errors
    /// As [`TrustAnchors::judge_client`].
    pub fn judge_server(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        common_name: Option<&str>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.judge_chain(chain, Role::Server, now)?;
        self.judge_name(chain, name, common_name)
    }

    /// Whether the chain is trusted for `role` now, whatever names are in it.
    ///
    /// # Errors
    /// As [`TrustAnchors::judge_client`].
    pub fn judge_chain(&self, chain: &[CertificateDer<'_>], role: Role, now: UnixTime) -> Result<(), rustls::Error> {
        self.current().judge(chain, role, now)
    }

    /// Whether the chain's first certificate is one of the server `name`, as [`TrustAnchors::judge_server`] asks.
    ///
    /// # Errors
    /// That it is not, or [`Distrust::CommonName`].
    pub fn judge_name(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        common_name: Option<&str>,
    ) -> Result<(), rustls::Error> {
        let first = chain.first().ok_or(Verdict::BadEncoding)?;
        if let Some(pinned) = common_name
            && let Ok(Some(found)) = certificate::legacy_common_name(first)
        {
            return if found.eq_ignore_ascii_case(pinned) { Ok(()) } else { Err(Distrust::CommonName.into()) };
        }
        let certificate = EndEntityCert::try_from(first).map_err(|_| Verdict::BadEncoding)?;
        certificate.verify_is_valid_for_subject_name(name).map_err(|_| Verdict::NotValidForName.into())
    }
}

fn read(files: &TrustFiles) -> Result<Trust, TlsError> {
    let bytes = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| TlsError::Unreadable { file: path.clone(), kind: error.kind() })
    };
    let anchors = bytes(&files.anchors)?;
    let lists = files.lists.iter().map(bytes).collect::<Result<Vec<_>, _>>()?;
    Trust::from_pem(&anchors, &lists, files.grace)
}
