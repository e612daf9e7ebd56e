//! Certificates and revocation lists that rustls lets pass and that we refuse, on real sockets and in both directions.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use weir::delivery::{
    AttemptError, BarsSettings, BreakerSettings, Dispatch, Endpoint, Lane, LaneSettings, Over, Partner, Schedule,
    TlsRefusal,
};
use weir::identity::PartyId;
use weir::identity::issuance::{Authority, Validity};
use weir::identity::tls::{
    Clock, Credentials, Distrust, TlsError, TlsVersion, TrustAnchors, TrustFiles, server_config, system_clock,
};
use weir::server::listener::{Limits, Listener, Peer};

const HOST: &str = "bars-demot.trust.example";

fn party(code: &str) -> PartyId {
    code.parse().expect("an ODS code")
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(UnixTime::now().as_secs() as i64).expect("a time")
}

fn hours(hours: i64) -> OffsetDateTime {
    now() + time::Duration::hours(hours)
}

/// An authority that issues what a careful one would not.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    key_pem: String,
    name: String,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
struct Leaf {
    pem: String,
    key_pem: String,
}

fn ca_params(name: &str, usages: &[KeyUsagePurpose]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (hours(-72), hours(72));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = usages.to_vec();
    params
}

const SIGNS_ALL: &[KeyUsagePurpose] = &[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];

impl Ca {
    fn new(name: &str) -> Ca {
        Ca::with(name, SIGNS_ALL, |_| {})
    }

    fn with(name: &str, usages: &[KeyUsagePurpose], change: impl FnOnce(&mut CertificateParams)) -> Ca {
        let mut params = ca_params(name, usages);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let (pem, key_pem) = (params.self_signed(&key).expect("it is signed").pem(), key.serialize_pem());
        Ca { issuer: Issuer::new(params, key), pem, key_pem, name: name.to_owned() }
    }

    /// Another authority below this one.
    fn below(&self, name: &str, usages: &[KeyUsagePurpose]) -> Ca {
        let (params, key) = (ca_params(name, usages), KeyPair::generate().expect("a key"));
        let (pem, key_pem) = (params.signed_by(&key, &self.issuer).expect("it is signed").pem(), key.serialize_pem());
        Ca { issuer: Issuer::new(params, key), pem, key_pem, name: name.to_owned() }
    }

    fn leaf(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = |name: &&str| SanType::DnsName((*name).try_into().expect("it is ASCII"));
        params.subject_alt_names = names.iter().map(name).collect();
        (params.not_before, params.not_after) = (hours(-1), hours(1));
        params.is_ca = IsCa::ExplicitNoCa;
        params.serial_number = Some(SerialNumber::from(77));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.issuer).expect("it is signed").pem();
        Leaf { pem, key_pem: key.serialize_pem() }
    }

    /// A list that revokes these serial numbers, from two hours ago until `due`; signed whatever the authority may do.
    fn list(&self, revoked: &[u64], due: OffsetDateTime) -> Vec<u8> {
        let key = KeyPair::from_pem(&self.key_pem).expect("a key");
        self.list_signed_by(Issuer::new(ca_params(&self.name, SIGNS_ALL), key), revoked, due)
    }

    fn list_signed_by(&self, signer: Issuer<'_, KeyPair>, revoked: &[u64], due: OffsetDateTime) -> Vec<u8> {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: hours(-3),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: hours(-2),
            next_update: due,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&signer).expect("it is signed").der().to_vec()
    }

    fn anchors(&self) -> TrustAnchors {
        TrustAnchors::from_pem(self.pem.as_bytes()).expect("an anchor")
    }
}

/// Files of a site.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a folder"))
    }

    #[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("it is written");
        path
    }

    fn trust(&self, anchors: &[&Ca], lists: &[Vec<u8>], grace_hours: u64) -> Result<TrustAnchors, TlsError> {
        let pem: String = anchors.iter().map(|ca| ca.pem.as_str()).collect();
        let anchors = self.write("anchors.pem", pem.as_bytes());
        let lists = lists.iter().enumerate().map(|(number, list)| self.write(&format!("{number}.crl"), list)).collect();
        TrustAnchors::load(TrustFiles { anchors, lists, grace: Duration::from_secs(grace_hours * 3600) })
    }
}

thread_local! {
    /// What is logged on this thread: each test, with all its tasks, has a thread of its own.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn certificate(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}

fn roots(authority: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(authority).remove(0)).expect("an anchor");
    Arc::new(roots)
}

fn key(leaf: &Leaf) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).expect("PEM")
}

/// Whether rustls by itself takes it as a client's.
fn rustls_accepts(ca: &Ca, leaf: &Leaf) -> bool {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(&ca.pem), provider).build().expect("a verifier");
    verifier.verify_client_cert(&certificate(&leaf.pem)[0], &[], UnixTime::now()).is_ok()
}

/// Our listener.
struct Scene {
    address: SocketAddr,
    /// Who issued our certificate.
    ours: Authority,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Scene {
    /// For clients of `trust`, at the time that `clock` says.
    async fn start(trust: &TrustAnchors, clock: Clock, limits: Limits) -> Scene {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
        LOGGED.with_borrow_mut(Vec::clear);
        let (ours, credentials) = own("DEMOT");
        let tls = server_config(&credentials, trust, clock).expect("a configuration");
        let listener = Listener::bind_mutual_tls(([127, 0, 0, 1], 0).into(), tls, limits).await.expect("a free port");
        let address = listener.local_address();
        let (stop, stopped) = watch::channel(false);
        let party = get(|Extension(peer): Extension<Peer>| async move { peer.party.to_string() });
        let running = tokio::spawn(listener.serve(Router::new().route("/", party), stopped));
        Scene { address, ours, stop, running }
    }

    fn client(&self, leaf: &Leaf) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots(self.ours.certificate_pem()))
            .with_client_auth_cert(certificate(&leaf.pem), key(leaf))
            .expect("a key")
    }

    /// What it answers, and whether a session was resumed; or the last line of its log.
    async fn answer(&self, config: &Arc<ClientConfig>) -> Result<(String, bool), String> {
        match ask(self.address, config.clone()).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                // It may be about to write it.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(logged().lines().last().unwrap_or_default().to_owned())
            }
        }
    }

    async fn end(self) {
        self.stop.send(true).expect("it listens to it");
        self.running.await.expect("it ends");
    }
}

fn logged() -> String {
    LOGGED.with_borrow(|logged| String::from_utf8(logged.clone()).expect("UTF-8"))
}

/// An authority, and a certificate of it for one of ours.
fn own(code: &str) -> (Authority, Credentials) {
    let ours = Authority::new("Ours", Validity::days(now(), 1)).expect("an authority");
    let issued = ours.issue(&party(code), "trust.example", &[], Validity::days(now(), 1)).expect("a certificate");
    let credentials = Credentials::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).expect("PEM");
    (ours, credentials)
}

/// What our listener, for clients of `trust`, answers `leaf`; or the last line of its log.
async fn inbound(trust: &TrustAnchors, leaf: &Leaf) -> Result<String, String> {
    let scene = Scene::start(trust, system_clock(), Limits::default()).await;
    let mut config = scene.client(leaf);
    config.resumption = Resumption::disabled();
    let answer = scene.answer(&Arc::new(config)).await;
    scene.end().await;
    answer.map(|(party, _)| party)
}

async fn ask(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<(String, bool)> {
    let name = ServerName::try_from(HOST).expect("a name");
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: trust\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    match answer.rsplit_once("\r\n\r\n") {
        Some((_, body)) => Ok((body.to_owned(), resumed)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A partner that presents `leaf`: what a lane of `trust` says of it. Nothing answers, so none is delivered.
async fn outbound(trust: &TrustAnchors, leaf: &Leaf, common_name: Option<&str>) -> AttemptError {
    let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certificate(&leaf.pem), key(leaf))
        .expect("a key");
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.expect("a connection");
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(server)).accept(stream).await else { return };
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let lane = lane(address, trust, common_name, system_clock());
    let error = lane.attempt(&dispatch()).await.expect_err("nobody answers");
    serving.await.expect("it ends");
    error
}

fn lane(address: SocketAddr, trust: &TrustAnchors, common_name: Option<&str>, clock: Clock) -> Lane {
    let partner = partner(address, trust, common_name);
    Lane::all_of(&partner, &own("DEMOP").1, &clock).expect("usable").remove(0)
}

fn dispatch() -> Dispatch {
    let message = "0f0e0d0c-0b0a-4908-8706-050403020100".parse().expect("a message id");
    let bundle = r#"{"resourceType":"Bundle","id":"0f0e0d0c-0b0a-4908-8706-050403020100","type":"message","entry":[
        {"resource":{"resourceType":"MessageHeader","eventCoding":{"code":"servicerequest-request"}}}]}"#;
    Dispatch::new(message, party("DEMOP"), "Demo Provider", bundle.to_owned()).expect("a message")
}

fn partner(address: SocketAddr, trust: &TrustAnchors, common_name: Option<&str>) -> Partner {
    let endpoint = Endpoint {
        base: format!("https://{HOST}:{}/FHIR/R4", address.port()).parse().expect("a URL"),
        connect: Some(address),
        anchors: trust.clone(),
        minimum_tls: TlsVersion::Tls12,
        pins: vec![],
        common_name: common_name.map(str::to_owned),
    };
    let lane = LaneSettings {
        schedule: Schedule { first: Duration::from_millis(10), max: Duration::from_secs(1) },
        attempt_timeout: Duration::from_secs(5),
        max_attempts: None,
        concurrency: 1,
        rate: None,
        breaker: BreakerSettings { failures: 5, open: Duration::from_secs(1), probes: 1 },
        show_provenance: false,
    };
    let (ods, name, service_id) = (party("DEMOT"), "Demo Trust".to_owned(), "2000099999".to_owned());
    Partner {
        ods,
        name,
        service_id,
        routes: vec![Over::Bars(endpoint)],
        lane,
        bars: BarsSettings::default(),
        clients: None,
    }
}

/// Whether the lane was content with the partner, and sent its message.
fn sent(error: &AttemptError) -> bool {
    matches!(error, AttemptError::Cut | AttemptError::Closed | AttemptError::TimedOut)
}

#[tokio::test]
async fn what_rustls_lets_pass_and_names_no_party_for_this_use_is_refused() {
    let ca = Ca::new("CA");
    let usages = |usages: Vec<ExtendedKeyUsagePurpose>| {
        ca.leaf(&[HOST], |params: &mut CertificateParams| params.extended_key_usages = usages)
    };
    let not_client = "the certificate was not issued for a client (extended key usage clientAuth); ask the issuer";
    for (leaf, says) in [
        (usages(vec![]), not_client),
        (usages(vec![ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::ClientAuth]), ""),
        (
            ca.leaf(&[HOST], |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            "the certificate is one of a certification authority; present an end-entity certificate",
        ),
        (
            ca.leaf(&[], |params| params.distinguished_name.push(DnType::CommonName, HOST)),
            "the certificate has no subject alternative name; ask the issuer",
        ),
        (ca.leaf(&["*.trust.example"], |_| {}), "the certificate has a wildcard name; ask the issuer"),
        (
            ca.leaf(&[HOST, "bars-demot\0.trust.example"], |_| {}),
            "a subject alternative name of the certificate is not",
        ),
    ] {
        assert!(rustls_accepts(&ca, &leaf), "{says}");
        let answer = inbound(&ca.anchors(), &leaf).await;
        if says.is_empty() {
            assert_eq!(answer, Ok("DEMOT".to_owned()));
        } else {
            assert!(answer.as_ref().is_err_and(|log| log.contains(says)), "{answer:?}");
        }
    }
    let any = usages(vec![ExtendedKeyUsagePurpose::Any]);
    let answer = inbound(&ca.anchors(), &any).await;
    assert!(answer.as_ref().is_err_and(|log| log.contains(not_client)), "{answer:?}");
}

#[tokio::test]
async fn a_partner_with_such_a_certificate_gets_nothing() {
    let ca = Ca::new("CA");
    let usages = |usages: Vec<ExtendedKeyUsagePurpose>| {
        ca.leaf(&[HOST], |params: &mut CertificateParams| params.extended_key_usages = usages)
    };
    for (leaf, says) in [
        (usages(vec![]), "not issued for a server (extended key usage serverAuth)"),
        (usages(vec![ExtendedKeyUsagePurpose::ClientAuth]), "not issued for a server (extended"),
        (ca.leaf(&[HOST], |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)), "certification authority"),
        (ca.leaf(&[], |params| params.distinguished_name.push(DnType::CommonName, HOST)), "not for the host name"),
        (ca.leaf(&["*.trust.example"], |_| {}), "has a wildcard name"),
        (ca.leaf(&[HOST, "bars-demot\0.trust.example"], |_| {}), "is not a host name"),
    ] {
        let error = outbound(&ca.anchors(), &leaf, None).await;
        assert!(error.to_string().contains(says) && !error.is_ambiguous(), "{error}");
    }
    let error = outbound(&ca.anchors(), &ca.leaf(&[HOST], |_| {}), None).await;
    assert!(sent(&error), "{error}");
}

#[tokio::test]
async fn a_name_in_the_common_name_alone_counts_only_as_it_is_pinned() {
    let ca = Ca::new("CA");
    let named =
        |name: &str, names: &[&str]| ca.leaf(names, |params| params.distinguished_name.push(DnType::CommonName, name));
    let old = named("demot.legacy.example", &[]);
    let error = outbound(&ca.anchors(), &old, None).await;
    assert!(matches!(error, AttemptError::Tls(TlsRefusal::WrongName)), "{error}");
    let error = outbound(&ca.anchors(), &old, Some("DEMOT.legacy.example")).await;
    assert!(sent(&error), "{error}");
    let error = outbound(&ca.anchors(), &old, Some("demox.legacy.example")).await;
    assert!(matches!(error, AttemptError::Tls(TlsRefusal::Distrusted(Distrust::CommonName))), "{error}");
    // A certificate with names is judged by them, whatever is pinned.
    let other = named("demot.legacy.example", &["bars-demox.trust.example"]);
    let error = outbound(&ca.anchors(), &other, Some("demot.legacy.example")).await;
    assert!(matches!(error, AttemptError::Tls(TlsRefusal::WrongName)), "{error}");
    let error = outbound(&ca.anchors(), &named("other", &[HOST]), Some("demot.legacy.example")).await;
    assert!(sent(&error), "{error}");
    // What the pin does not do: make it one for servers, or one of this authority.
    let client = ca.leaf(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "demot.legacy.example");
        params.extended_key_usages.clear();
    });
    let error = outbound(&ca.anchors(), &client, Some("demot.legacy.example")).await;
    assert!(matches!(error, AttemptError::Certificate(_)), "{error}");
    let error = outbound(&Ca::new("CA").anchors(), &old, Some("demot.legacy.example")).await;
    assert!(matches!(error, AttemptError::Tls(TlsRefusal::WrongAuthority)), "{error}");
    let twice = ca.leaf(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "demot.legacy.example");
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "demox.legacy.example");
    });
    let error = outbound(&ca.anchors(), &twice, Some("demot.legacy.example")).await;
    assert!(!sent(&error) && !error.is_ambiguous(), "{error}");
}

#[tokio::test]
async fn an_authority_that_has_expired_vouches_for_nobody() {
    let old = Ca::with("Old CA", SIGNS_ALL, |params| params.not_after = hours(-1));
    let leaf = old.leaf(&[HOST], |_| {});
    assert!(rustls_accepts(&old, &leaf));
    let answer = inbound(&old.anchors(), &leaf).await;
    let says = "its authority CN=Old CA holds from ";
    assert!(answer.as_ref().is_err_and(|log| log.contains(says) && log.contains("new certificate")), "{answer:?}");
    let error = outbound(&old.anchors(), &leaf, None).await;
    assert!(error.to_string().contains(says) && error.hint().contains("trust_anchors"), "{error}");
    // One that holds beside it is used, and a stranger is told apart.
    let (new, files) = (Ca::new("New CA"), Files::new());
    let both = files.trust(&[&old, &new], &[], 0).expect("two authorities");
    assert_eq!(inbound(&both, &new.leaf(&[HOST], |_| {})).await, Ok("DEMOT".to_owned()));
    let error = outbound(&both, &Ca::new("Old CA").leaf(&[HOST], |_| {}), None).await;
    assert!(!sent(&error) && !error.is_ambiguous(), "{error}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_in_both_directions() {
    let (ca, files) = (Ca::new("CA"), Files::new());
    let leaf = ca.leaf(&[HOST], |_| {});
    let clean = files.trust(&[&ca], &[ca.list(&[78], hours(1))], 0).expect("lists");
    assert_eq!(inbound(&clean, &leaf).await, Ok("DEMOT".to_owned()));
    assert!(sent(&outbound(&clean, &leaf, None).await));
    let revoking = files.trust(&[&ca], &[ca.list(&[77], hours(1))], 0).expect("lists");
    let answer = inbound(&revoking, &leaf).await;
    assert!(answer.as_ref().is_err_and(|log| log.contains("the client certificate has been revoked")), "{answer:?}");
    let error = outbound(&revoking, &leaf, None).await;
    assert!(matches!(error, AttemptError::Tls(TlsRefusal::Revoked)), "{error}");
}

#[tokio::test]
async fn a_list_that_is_out_of_date_refuses_all_once_its_grace_is_over() {
    let (ca, files) = (Ca::new("CA"), Files::new());
    let leaf = ca.leaf(&[HOST], |_| {});
    let stale = files.trust(&[&ca], &[ca.list(&[], hours(-1))], 0).expect("lists");
    let answer = inbound(&stale, &leaf).await;
    let says = "the revocation list of its issuer CN=CA is out of date: the next one was due on ";
    assert!(answer.as_ref().is_err_and(|log| log.contains(says) && log.contains("newest")), "{answer:?}");
    let error = outbound(&stale, &leaf, None).await;
    assert!(matches!(error, AttemptError::Tls(TlsRefusal::Distrusted(Distrust::StaleList { .. }))), "{error}");
    let graced = files.trust(&[&ca], &[ca.list(&[], hours(-1))], 2).expect("lists");
    assert_eq!(inbound(&graced, &leaf).await, Ok("DEMOT".to_owned()));
    let graced = files.trust(&[&ca], &[ca.list(&[77], hours(-1))], 2).expect("lists");
    assert!(inbound(&graced, &leaf).await.is_err(), "revoked is revoked");
    // Beside a fresh one, an old one does not count.
    let both = files.trust(&[&ca], &[ca.list(&[77], hours(-1)), ca.list(&[], hours(1))], 0).expect("lists");
    assert_eq!(inbound(&both, &leaf).await, Ok("DEMOT".to_owned()));
}

#[tokio::test]
async fn lists_that_cannot_be_relied_on_are_refused_when_they_are_loaded() {
    let (ca, other, files) = (Ca::new("CA"), Ca::new("Other CA"), Files::new());
    let refused = |anchors: &[&Ca], lists: &[Vec<u8>]| {
        let error = files.trust(anchors, lists, 0).expect_err("it is refused");
        assert!(error.is_of_lists(), "{error}");
        format!("{error}; {}", error.hint())
    };
    let list = ca.list(&[], hours(1));
    let says = refused(&[&ca, &other], std::slice::from_ref(&list));
    assert!(says.contains("no revocation list of the authority CN=Other CA, so that all its peers would be"), "{says}");
    let unable = Ca::with("CA", &[KeyUsagePurpose::KeyCertSign], |_| {});
    let says = refused(&[&unable], &[unable.list(&[], hours(1))]);
    assert!(says.contains("the certificate of CN=CA does not let it sign revocation lists"), "{says}");
    let says = refused(&[&Ca::new("CA")], std::slice::from_ref(&list));
    assert!(says.contains("the revocation list of CN=CA is not signed by it"), "{says}");
    let says = refused(&[&ca], &[list[..list.len() - 1].to_vec()]);
    assert!(says.contains("not a complete X.509 list"), "{says}");
    refused(&[&ca], &[b"no list".to_vec()]);
    assert!(files.trust(&[&ca, &other], &[list, other.list(&[], hours(1))], 0).is_ok());
}

#[tokio::test]
async fn an_issuer_below_an_authority_needs_a_list_and_the_right_to_sign_it() {
    let (root, files) = (Ca::new("Root"), Files::new());
    let with_chain = |issuer: &Ca| {
        let leaf = issuer.leaf(&[HOST], |_| {});
        Leaf { pem: format!("{}{}", leaf.pem, issuer.pem), ..leaf }
    };
    let issuing = root.below("Issuing", SIGNS_ALL);
    let leaf = with_chain(&issuing);
    let roots_list = root.list(&[], hours(1));
    let without = files.trust(&[&root], std::slice::from_ref(&roots_list), 0).expect("lists");
    let answer = inbound(&without, &leaf).await;
    let says = "there is no revocation list of its issuer CN=Issuing";
    assert!(answer.as_ref().is_err_and(|log| log.contains(says)), "{answer:?}");
    let with = files.trust(&[&root], &[roots_list.clone(), issuing.list(&[], hours(1))], 0).expect("lists");
    assert_eq!(inbound(&with, &leaf).await, Ok("DEMOT".to_owned()));
    let forged = issuing.list_signed_by(
        Issuer::new(ca_params("Issuing", SIGNS_ALL), KeyPair::generate().expect("a key")),
        &[],
        hours(1),
    );
    let with = files.trust(&[&root], &[roots_list.clone(), forged], 0).expect("lists");
    let error = outbound(&with, &leaf, None).await;
    assert!(error.to_string().contains("cannot be relied on: it is not signed by it"), "{error}");
    let unable = root.below("Issuing", &[KeyUsagePurpose::KeyCertSign]);
    let with = files.trust(&[&root], &[roots_list, unable.list(&[], hours(1))], 0).expect("lists");
    let error = outbound(&with, &with_chain(&unable), None).await;
    assert!(error.to_string().contains("does not let it sign lists (key usage cRLSign)"), "{error}");
}

/// A clock that is put forward.
#[derive(Debug, Default)]
struct Ahead(AtomicU64);

impl TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = UnixTime::now().as_secs() + self.0.load(Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Other lists in the place of those that are used.
fn revoke(files: &Files, ca: &Ca, trust: &TrustAnchors, revoked: &[u64]) {
    files.write("0.crl", &ca.list(revoked, hours(1)));
    let read = trust.read_anew().expect("they can be used").expect("it was made from files");
    trust.take_over(read);
}

#[tokio::test]
async fn a_client_resumes_its_session_until_it_is_no_longer_trusted() {
    let (ca, files, clock) = (Ca::new("CA"), Files::new(), Arc::new(Ahead::default()));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let trust = files.trust(&[&ca], &[ca.list(&[], hours(1))], 0).expect("lists");
        let scene = Scene::start(&trust, clock.clone(), Limits::default()).await;
        let leaf = ca.leaf(&[HOST], |_| {});
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_root_certificates(roots(scene.ours.certificate_pem()))
            .with_client_auth_cert(certificate(&leaf.pem), key(&leaf))
            .expect("a key");
        let config = Arc::new(config);
        assert_eq!(scene.answer(&config).await, Ok(("DEMOT".to_owned(), false)));
        assert_eq!(scene.answer(&config).await, Ok(("DEMOT".to_owned(), true)), "{version:?}");
        revoke(&files, &ca, &trust, &[77]);
        let refused = scene.answer(&config).await.expect_err("it is revoked");
        assert!(refused.contains("the client certificate has been revoked"), "{refused}");
        revoke(&files, &ca, &trust, &[]);
        assert_eq!(scene.answer(&config).await.map(|(party, _)| party), Ok("DEMOT".to_owned()));
        clock.0.store(1800, Ordering::Relaxed);
        assert!(scene.answer(&config).await.is_ok());
        clock.0.store(2 * 3600, Ordering::Relaxed);
        let refused = scene.answer(&config).await.expect_err("it has expired");
        assert!(refused.contains("expired") || refused.contains("out of date"), "{refused}");
        clock.0.store(0, Ordering::Relaxed);
        scene.end().await;
    }
}

#[tokio::test]
async fn an_open_connection_is_ended_once_its_client_is_revoked_and_not_before() {
    let (ca, files) = (Ca::new("CA"), Files::new());
    let trust = files.trust(&[&ca], &[ca.list(&[], hours(1))], 0).expect("lists");
    let limits = Limits { judge_again: Duration::from_millis(50), ..Limits::default() };
    let scene = Scene::start(&trust, system_clock(), limits).await;
    let stream = TcpStream::connect(scene.address).await.expect("it listens");
    let config = Arc::new(scene.client(&ca.leaf(&[HOST], |_| {})));
    let name = ServerName::try_from(HOST).expect("a name");
    let mut stream = TlsConnector::from(config).connect(name, stream).await.expect("a handshake");
    let mut answer = [0; 4096];
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: trust\r\n\r\n").await.expect("it reads");
        let length = stream.read(&mut answer).await.expect("it answers");
        assert!(answer[..length].ends_with(b"DEMOT"));
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Read anew, and still trusted.
        revoke(&files, &ca, &trust, &[78]);
    }
    revoke(&files, &ca, &trust, &[77]);
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await;
    assert!(matches!(ended, Ok(Ok(0))), "{ended:?}");
    assert!(logged().contains("a client is not trusted any more"), "{}", logged());
    scene.end().await;
}

#[tokio::test]
async fn a_lane_resumes_its_session_and_judges_the_partner_again() {
    let (ca, files, clock) = (Ca::new("CA"), Files::new(), Arc::new(Ahead::default()));
    let leaf = ca.leaf(&[HOST], |_| {});
    let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certificate(&leaf.pem), key(&leaf))
        .expect("a key");
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (socket, server) = (TcpListener::bind("127.0.0.1:0").await.expect("a free port"), Arc::new(server));
    let address = socket.local_addr().expect("an address");
    let (seen, mut kinds) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.expect("a connection");
            let Ok(mut stream) = TlsAcceptor::from(server.clone()).accept(stream).await else {
                seen.send(None).expect("it is heard");
                continue;
            };
            seen.send(stream.get_ref().1.handshake_kind()).expect("it is heard");
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    let trust = files.trust(&[&ca], &[ca.list(&[], hours(3))], 0).expect("lists");
    let lane = lane(address, &trust, None, clock.clone());
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let answered = lane.attempt(&dispatch()).await;
        assert!(answered.is_ok(), "{answered:?}");
        assert_eq!(kinds.recv().await, Some(Some(expected)));
    }
    // The partner's certificate holds for an hour: the session could be resumed for longer.
    clock.0.store(2 * 3600, Ordering::Relaxed);
    let error = lane.attempt(&dispatch()).await.expect_err("it has expired");
    assert!(matches!(error, AttemptError::Tls(TlsRefusal::Expired)), "{error}");
    assert_eq!(kinds.recv().await, Some(Some(HandshakeKind::Resumed)), "which rustls would have let pass");
    clock.0.store(0, Ordering::Relaxed);
    revoke(&files, &ca, &trust, &[77]);
    let error = lane.attempt(&dispatch()).await.expect_err("it is revoked");
    assert!(matches!(error, AttemptError::Tls(TlsRefusal::Revoked)), "{error}");
}
