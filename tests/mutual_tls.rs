//! Delivery to the reference receiver on real sockets: who is refused, what arrives, and what is logged.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use http::StatusCode;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, CipherSuite, ClientConfig, ProtocolVersion, RootCertStore, ServerConfig};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use weir::acknowledgement::{RetryReason, Verdict, judge, verdict};
use weir::delivery::{
    Answer, AttemptError, BarsSettings, BreakerSettings, Dispatch, Endpoint, Lane, LaneSettings, Over, Partner, Reply,
    Schedule, TlsRefusal,
};
use weir::identity::issuance::{Authority, Issued, Validity, host_name};
use weir::identity::pin::Pin;
use weir::identity::tls::{Clock, Credentials, TlsVersion, TrustAnchors, server_config, system_clock};
use weir::identity::{MessageId, PartyId};
use weir::partner::{self, Arrival, Misbehaviour, Outcome, Settings};
use weir::server::listener::{Limits, Listener};

const DOMAIN: &str = "trust.example";
const MESSAGE: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

fn party(code: &str) -> PartyId {
    code.parse().expect("an ODS code")
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(UnixTime::now().as_secs() as i64).expect("a time")
}

fn valid() -> Validity {
    Validity::days(now(), 1)
}

fn expired() -> Validity {
    Validity { from: now() - time::Duration::days(2), until: now() - time::Duration::days(1) }
}

fn authority(name: &str) -> Authority {
    Authority::new(name, Validity { from: now() - time::Duration::days(3), ..valid() }).expect("an authority")
}

fn credentials(issued: &Issued) -> Credentials {
    Credentials::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).expect("PEM")
}

fn anchors(authority: &Authority) -> TrustAnchors {
    TrustAnchors::from_pem(authority.certificate_pem().as_bytes()).expect("an anchor")
}

/// A message Bundle with spaces and digits that must not change on the way.
fn bundle(id: &str) -> String {
    format!(
        r#"{{ "resourceType":"Bundle", "id":"{id}","type":"message","entry":[{{"resource":{{"resourceType":"MessageHeader",
        "eventCoding":{{"code":"servicerequest-request"}}}}}},{{"resource":{{"resourceType":"Observation","valueQuantity":{{"value":1.50}}}}}}]}}"#
    )
}

fn dispatch(id: &str) -> Dispatch {
    Dispatch::new(id.parse().expect("a message id"), party("DEMOP"), "Demo Provider", bundle(id))
        .expect("it is a message")
}

thread_local! {
    /// What is logged on this thread: each test, with all its tasks, has a thread of its own.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The log of this thread.
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

impl Log {
    /// Logs every thread to itself. One subscriber for all: scoped ones race for what each callsite remembers.
    fn start() -> Log {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
        Log
    }

    fn text(&self) -> String {
        LOGGED.with_borrow(|logged| String::from_utf8(logged.clone()).expect("UTF-8"))
    }

    /// Waits for the one warning that holds `text`, for the other side may still be about to write it.
    async fn warns(&self, text: &str) {
        for _ in 0..100 {
            let log = self.text();
            let lines: Vec<_> = log.lines().filter(|line| line.contains("WARN") && line.contains(text)).collect();
            if let [line] = lines[..] {
                assert!(!line.contains("Observation"), "no payload is logged: {line}");
                return;
            }
            assert!(lines.is_empty(), "one line says it: {lines:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let log = self.text();
        panic!("no warning holds {text:?}:\n{log}");
    }
}

/// A partner's endpoint and what a sender needs to reach it. Changed by a case before it starts.
struct Case {
    directory: TempDir,
    /// Issues both sides' certificates, unless a case says otherwise.
    authority: Authority,
    /// The partner's party.
    there: PartyId,
    /// The partner's certificate.
    partner: Issued,
    /// Who the partner believes issues its senders' certificates.
    clients: TrustAnchors,
    misbehaviour: Vec<Misbehaviour>,
    /// Our certificate.
    ours: Issued,
    /// Who we believe issues the partner's certificate.
    servers: TrustAnchors,
    /// The host name that we call.
    host: String,
    clock: Clock,
    attempt_timeout: Duration,
    minimum_tls: TlsVersion,
    /// The keys that the partner may have.
    pins: Vec<Pin>,
}

impl Case {
    fn new() -> Case {
        let authority = authority("CA");
        let issue = |code| authority.issue(&party(code), DOMAIN, &[], valid()).expect("a certificate");
        Case {
            directory: tempfile::tempdir().expect("a folder"),
            there: party("DEMOT"),
            partner: issue("DEMOT"),
            clients: anchors(&authority),
            misbehaviour: vec![],
            ours: issue("DEMOP"),
            servers: anchors(&authority),
            host: host_name(&party("DEMOT"), DOMAIN),
            clock: system_clock(),
            attempt_timeout: Duration::from_secs(5),
            minimum_tls: TlsVersion::Tls12,
            pins: vec![],
            authority,
        }
    }

    fn receiver(&self, address: SocketAddr) -> Settings {
        Settings {
            party: self.there.clone(),
            address,
            directory: self.directory.path().to_owned(),
            credentials: credentials(&self.partner),
            clients: self.clients.clone(),
            allowed: vec![party("DEMOP")],
            service_id: "2000099991".to_owned(),
            use_cases: vec!["crisis-escalation".to_owned()],
            later: None,
            pages: None,
            body_limit: 64 * 1024,
            misbehaviour: self.misbehaviour.clone(),
            limits: Limits::default(),
            tls_clock: self.clock.clone(),
            now,
        }
    }

    async fn start(self) -> Scene {
        let settings = self.receiver(([127, 0, 0, 1], 0).into());
        let (stop, stopped) = watch::channel(false);
        let running = partner::serve(settings, stopped).await.expect("it starts");
        let address = running.local_address();
        let lane = self.lane(address);
        Scene { case: self, address, lane, stop, running }
    }

    fn lane(&self, address: SocketAddr) -> Lane {
        let lanes = Lane::all_of(&self.settings(address), &credentials(&self.ours), &self.clock);
        lanes.expect("our credentials can be used").pop().expect("one route is one lane")
    }

    fn settings(&self, address: SocketAddr) -> Partner {
        let endpoint = Endpoint {
            base: format!("https://{}:{}/FHIR/R4", self.host, address.port()).parse().expect("a URL"),
            connect: Some(address),
            anchors: self.servers.clone(),
            minimum_tls: self.minimum_tls,
            pins: self.pins.clone(),
            common_name: None,
        };
        let lane = LaneSettings {
            schedule: Schedule { first: Duration::from_millis(10), max: Duration::from_secs(1) },
            attempt_timeout: self.attempt_timeout,
            max_attempts: None,
            concurrency: 32,
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

    fn client(&self, provider: CryptoProvider, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        roots.add(certificate(self.authority.certificate_pem())).expect("an anchor");
        let key = PrivateKeyDer::from_pem_slice(self.ours.key_pem.as_bytes()).expect("PEM");
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate(&self.ours.certificate_pem)], key)
            .expect("a key");
        config.resumption = Resumption::disabled();
        config
    }
}

/// What a lane that speaks BaRS brings back.
fn reply(answer: Answer) -> Reply {
    match answer {
        Answer::Bars(reply) => reply,
        other => panic!("not over BaRS: {other:?}"),
    }
}

/// A case under way.
struct Scene {
    case: Case,
    address: SocketAddr,
    lane: Lane,
    stop: watch::Sender<bool>,
    running: partner::Running,
}

impl Scene {
    async fn attempt(&self) -> Result<Reply, AttemptError> {
        self.lane.attempt(&dispatch(MESSAGE)).await.map(reply)
    }

    async fn refused(&self) -> AttemptError {
        self.attempt().await.expect_err("it is refused")
    }

    async fn verdict(&self) -> Verdict {
        judge(&self.attempt().await.expect("a reply"), MESSAGE.parse().expect("a message id"), &[MESSAGE.to_owned()])
    }

    fn arrivals(&self) -> Vec<Arrival> {
        let lines = std::fs::read_to_string(self.case.directory.path().join("arrivals.jsonl")).expect("it is there");
        lines.lines().map(|line| serde_json::from_str(line).expect("an arrival")).collect()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.arrivals().into_iter().map(|arrival| arrival.outcome).collect()
    }

    fn received(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.case.directory.path().join("received")).expect("it is there");
        files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8")).collect()
    }

    fn nothing_arrived(&self) {
        assert!(self.received().is_empty() && self.arrivals().is_empty(), "{:?}", self.arrivals());
    }

    /// A handshake with `config`, then one request of HTTP/1.1; what came back.
    async fn talk(&self, config: ClientConfig) -> io::Result<(ProtocolVersion, CipherSuite, String)> {
        let name = ServerName::try_from(self.case.host.clone()).expect("a name");
        let stream = TcpStream::connect(self.address).await?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (version, suite) = {
            let session = stream.get_ref().1;
            let suite = session.negotiated_cipher_suite().expect("a suite");
            (session.protocol_version().expect("a version"), suite.suite())
        };
        stream.write_all(b"GET /FHIR/R4/metadata HTTP/1.1\r\nhost: trust\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok((version, suite, answer))
    }
}

#[tokio::test]
async fn a_message_arrives_with_its_bytes_and_ids_and_is_acknowledged() {
    let scene = Case::new().start().await;
    let reply = scene.attempt().await.expect("a reply");
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.request_id.as_deref(), Some(MESSAGE));
    let message: MessageId = MESSAGE.parse().expect("a message id");
    assert_eq!(reply.correlation_id, Some(message.part("correlation").to_string()));
    assert_eq!(judge(&reply, message, &[MESSAGE.to_owned()]), Verdict::Acknowledged { duplicate: false });
    let file = scene.case.directory.path().join(format!("received/{MESSAGE}.json"));
    assert_eq!(std::fs::read_to_string(file).expect("it is there"), bundle(MESSAGE));
    let arrivals = scene.arrivals();
    assert_eq!(arrivals.len(), 1);
    assert_eq!((&*arrivals[0].id, &*arrivals[0].request, &*arrivals[0].sender), (MESSAGE, MESSAGE, "DEMOP"));
    scene.stop.send(true).expect("it listens to it");
    scene.running.finished().await;
    assert!(matches!(scene.lane.attempt(&dispatch(MESSAGE)).await, Err(AttemptError::Unreachable(_))));
}

#[tokio::test]
async fn many_messages_share_one_lane() {
    let scene = Arc::new(Case::new().start().await);
    let send = |number: u128| {
        let scene = scene.clone();
        async move {
            let dispatch = dispatch(&uuid::Uuid::from_u128(number).to_string());
            verdict(&scene.lane.attempt(&dispatch).await.expect("a reply"), &dispatch, false)
        }
    };
    let sent: Vec<_> = (1..=40).map(|number| tokio::spawn(send(number))).collect();
    for verdict in sent {
        assert_eq!(verdict.await.expect("it ends"), Verdict::Acknowledged { duplicate: false });
    }
    assert_eq!(scene.received().len(), 40);
}

#[tokio::test]
async fn a_partner_of_another_authority_gets_nothing() {
    let log = Log::start();
    let mut case = Case::new();
    case.servers = anchors(&authority("Another CA"));
    let scene = case.start().await;
    assert!(matches!(scene.refused().await, AttemptError::Tls(TlsRefusal::WrongAuthority)));
    log.warns("the partner's certificate is not from an authority that its partner file trusts").await;
    log.warns("received fatal alert: UnknownCA").await;
    scene.nothing_arrived();
}

#[tokio::test]
async fn an_authority_of_the_same_name_is_another_authority() {
    let mut case = Case::new();
    case.servers = anchors(&authority("CA"));
    let scene = case.start().await;
    assert!(matches!(scene.refused().await, AttemptError::Tls(TlsRefusal::WrongAuthority)));
    scene.nothing_arrived();
    let mut case = Case::new();
    case.clients = anchors(&authority("CA"));
    let scene = case.start().await;
    assert!(matches!(scene.refused().await, AttemptError::CredentialsRefused(AlertDescription::DecryptError)));
    scene.nothing_arrived();
}

#[tokio::test]
async fn a_sender_of_another_authority_is_refused() {
    let log = Log::start();
    let mut case = Case::new();
    case.clients = anchors(&authority("Another CA"));
    let scene = case.start().await;
    let error = scene.refused().await;
    assert!(matches!(error, AttemptError::CredentialsRefused(AlertDescription::UnknownCA)), "{error}");
    assert!(!error.is_ambiguous());
    log.warns("the partner refuses our certificate (TLS alert UnknownCA)").await;
    log.warns("invalid peer certificate: UnknownIssuer").await;
    scene.nothing_arrived();
}

#[tokio::test]
async fn a_partner_whose_certificate_has_expired_gets_nothing() {
    let log = Log::start();
    let mut case = Case::new();
    case.partner = case.authority.issue(&party("DEMOT"), DOMAIN, &[], expired()).expect("a certificate");
    let scene = case.start().await;
    assert!(matches!(scene.refused().await, AttemptError::Tls(TlsRefusal::Expired)));
    log.warns("the partner's certificate has expired").await;
    scene.nothing_arrived();
}

#[tokio::test]
async fn a_sender_whose_certificate_has_expired_is_refused() {
    let log = Log::start();
    let mut case = Case::new();
    case.ours = case.authority.issue(&party("DEMOP"), DOMAIN, &[], expired()).expect("a certificate");
    let scene = case.start().await;
    let error = scene.refused().await;
    assert!(matches!(error, AttemptError::CredentialsRefused(AlertDescription::CertificateExpired)), "{error}");
    log.warns("invalid peer certificate: certificate expired").await;
    scene.nothing_arrived();
}

/// A clock that stands still.
struct Still(UnixTime);

impl fmt::Debug for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Still")
    }
}

impl TimeProvider for Still {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

#[tokio::test]
async fn expiry_is_told_by_the_clock_that_is_given() {
    for (days, refused) in [(0_u64, false), (2, true)] {
        let later = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + days * 86_400));
        let scene = Case { clock: Arc::new(Still(later)), ..Case::new() }.start().await;
        let outcome = scene.attempt().await;
        assert_eq!(matches!(outcome, Err(AttemptError::Tls(TlsRefusal::Expired))), refused, "{outcome:?}");
        assert_eq!(outcome.is_err(), refused);
    }
}

#[tokio::test]
async fn an_endpoint_with_a_certificate_of_another_party_gets_nothing() {
    let log = Log::start();
    let mut case = Case::new();
    let shared = "shared.trust.example";
    case.there = party("DEMOX");
    case.partner = case.authority.issue(&case.there, DOMAIN, &[shared], valid()).expect("a certificate");
    case.host = shared.to_owned();
    let scene = case.start().await;
    let error = scene.refused().await;
    assert_eq!(error.to_string(), "the endpoint of DEMOT presents a certificate of DEMOX");
    log.warns("the endpoint of DEMOT presents a certificate of DEMOX").await;
    scene.nothing_arrived();
}

#[tokio::test]
async fn an_endpoint_with_a_certificate_for_another_host_gets_nothing() {
    let log = Log::start();
    let mut case = Case::new();
    case.host = "bars-demot.other.example".to_owned();
    let scene = case.start().await;
    assert!(matches!(scene.refused().await, AttemptError::Tls(TlsRefusal::WrongName)));
    log.warns("the partner's certificate is not for the host name of its endpoint").await;
    scene.nothing_arrived();
}

/// The pin of a certificate's key.
fn pin(issued: &Issued) -> Pin {
    let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).expect("PEM");
    Pin::of(&der).expect("a certificate")
}

#[tokio::test]
async fn a_partner_with_a_key_that_is_not_pinned_gets_nothing() {
    let log = Log::start();
    let mut case = Case::new();
    let other = case.authority.issue(&party("DEMOT"), DOMAIN, &[], valid()).expect("a certificate");
    case.pins = vec![pin(&other)];
    let scene = case.start().await;
    assert!(matches!(scene.refused().await, AttemptError::NotPinned));
    log.warns("the partner's certificate has a key that its partner file does not pin").await;
    scene.nothing_arrived();
}

#[tokio::test]
async fn a_partner_with_one_of_the_pinned_keys_gets_its_messages() {
    let mut case = Case::new();
    let next = case.authority.issue(&party("DEMOT"), DOMAIN, &[], valid()).expect("a certificate");
    case.pins = vec![pin(&next), pin(&case.partner)];
    assert_eq!(case.start().await.verdict().await, Verdict::Acknowledged { duplicate: false });
}

#[tokio::test]
async fn a_sender_that_the_partner_does_not_know_is_forbidden_whatever_it_claims() {
    let log = Log::start();
    let mut case = Case::new();
    case.ours = case.authority.issue(&party("DEMOX"), DOMAIN, &[], valid()).expect("a certificate");
    let scene = case.start().await;
    // The dispatch claims DEMOP in its headers; the certificate says DEMOX.
    let reply = scene.attempt().await.expect("a reply");
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    let verdict = judge(&reply, MESSAGE.parse().expect("a message id"), &[MESSAGE.to_owned()]);
    let Verdict::Refused { status: 403, codes } = verdict else { panic!("{verdict:?}") };
    assert_eq!(codes.details, ["REC_FORBIDDEN".into()]);
    log.warns("the sender is not one that this partner knows").await;
    assert!(scene.received().is_empty());
    assert_eq!((&*scene.arrivals()[0].sender, scene.outcomes()), ("DEMOX", vec![Outcome::Refused]));
}

#[tokio::test]
async fn a_sender_without_a_certificate_is_refused() {
    let log = Log::start();
    let scene = Case::new().start().await;
    let mut roots = RootCertStore::empty();
    let anchor = scene.case.authority.certificate_pem().as_bytes();
    roots.add(CertificateDer::from_pem_slice(anchor).expect("PEM")).expect("an anchor");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let error = scene.talk(config).await.expect_err("it is refused");
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    log.warns("peer sent no certificates").await;
    scene.nothing_arrived();
}

#[tokio::test]
async fn a_sender_whose_certificate_names_no_party_is_refused_before_http() {
    let log = Log::start();
    let mut case = Case::new();
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["provider.example".to_owned()]).expect("a name");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.self_signed(&key).expect("it is signed");
    case.ours = Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() };
    case.clients = TrustAnchors::from_pem(certificate.pem().as_bytes()).expect("an anchor");
    let config = case.client(aws_lc_rs::default_provider(), rustls::DEFAULT_VERSIONS);
    let nowhere = case.settings(([127, 0, 0, 1], 1).into());
    assert!(
        Lane::all_of(&nowhere, &credentials(&case.ours), &system_clock()).is_err(),
        "we would not use it ourselves"
    );
    case.ours = case.authority.issue(&party("DEMOP"), DOMAIN, &[], valid()).expect("a certificate");
    let scene = case.start().await;
    let answer = scene.talk(config).await;
    assert!(answer.is_err(), "{answer:?}");
    log.warns("no DNS name of the certificate has the form bars-<ODS code>.<domain>").await;
    scene.nothing_arrived();
}

fn only(suites: &[CipherSuite]) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suites.contains(&suite.suite()));
    provider
}

const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

#[tokio::test]
async fn tls12_with_gcm_and_tls13_are_spoken() {
    let scene = Case::new().start().await;
    for suite in
        [CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]
    {
        let (version, spoken, answer) = scene.talk(scene.case.client(only(&[suite]), TLS12)).await.expect("an answer");
        assert_eq!((version, spoken), (ProtocolVersion::TLSv1_2, suite));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("CapabilityStatement"), "{answer}");
    }
    let config = scene.case.client(aws_lc_rs::default_provider(), rustls::DEFAULT_VERSIONS);
    let (version, _, answer) = scene.talk(config).await.expect("an answer");
    assert_eq!(version, ProtocolVersion::TLSv1_3);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn tls12_without_gcm_is_refused_in_both_directions() {
    let log = Log::start();
    let chacha = [CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256];
    let scene = Case::new().start().await;
    let error = scene.talk(scene.case.client(only(&chacha), TLS12)).await.expect_err("it is refused");
    assert!(error.to_string().contains("HandshakeFailure"), "{error}");
    log.warns("the TLS handshake failed").await;

    let case = Case::new();
    let certificate = CertificateDer::from_pem_slice(case.partner.certificate_pem.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(case.partner.key_pem.as_bytes()).expect("PEM");
    let server = ServerConfig::builder_with_provider(Arc::new(only(&chacha)))
        .with_protocol_versions(TLS12)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a key");
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let (stream, _) = socket.accept().await.expect("a connection");
        assert!(TlsAcceptor::from(Arc::new(server)).accept(stream).await.is_err());
    });
    let error = case.lane(address).attempt(&dispatch(MESSAGE)).await.expect_err("it is refused");
    assert!(matches!(error, AttemptError::Tls(_)), "{error}");
}

/// One handshake of a lane with an endpoint that speaks TLS 1.2 and nothing newer: whether the endpoint accepts it, and
/// what the lane says.
async fn older_tls(minimum_tls: TlsVersion) -> (bool, AttemptError) {
    let case = Case { minimum_tls, ..Case::new() };
    let certificate = CertificateDer::from_pem_slice(case.partner.certificate_pem.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(case.partner.key_pem.as_bytes()).expect("PEM");
    let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(TLS12)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a key");
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("an address");
    let accepted = tokio::spawn(async move {
        let (stream, _) = socket.accept().await.expect("a connection");
        TlsAcceptor::from(Arc::new(server)).accept(stream).await.is_ok()
    });
    let error = case.lane(address).attempt(&dispatch(MESSAGE)).await.expect_err("nobody answers");
    (accepted.await.expect("it ends"), error)
}

#[tokio::test]
async fn a_lane_of_tls13_refuses_tls12() {
    let (accepted, error) = older_tls(TlsVersion::Tls12).await;
    assert!(accepted && !matches!(error, AttemptError::Tls(_)), "{error}");
    let (accepted, error) = older_tls(TlsVersion::Tls13).await;
    assert!(!accepted && !error.is_ambiguous(), "{error}");
    assert!(matches!(error, AttemptError::Tls(_)), "{error}");
}

/// A ClientHello (RFC 5246 section 7.4.1.2) for `version` that offers `suite` alone.
fn client_hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    // supported_groups: secp256r1; signature_algorithms: ecdsa_secp256r1_sha256; ec_point_formats: uncompressed.
    let extensions = [&[0, 10, 0, 4, 0, 2, 0, 23][..], &[0, 13, 0, 4, 0, 2, 4, 3], &[0, 11, 0, 2, 1, 0]].concat();
    let mut body = [&version[..], &[7; 32], &[0], &[0, 2], &suite, &[1, 0]].concat();
    body.extend([0, extensions.len() as u8]);
    body.extend(extensions);
    let mut hello = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    hello.extend(body);
    hello
}

#[tokio::test]
async fn cbc_suites_and_old_versions_get_an_alert() {
    let scene = Case::new().start().await;
    const ECDHE_ECDSA_GCM: [u8; 2] = [0xC0, 0x2B];
    const ECDHE_ECDSA_CBC: [u8; 2] = [0xC0, 0x23];
    const RSA_CBC: [u8; 2] = [0x00, 0x2F];
    const HANDSHAKE: u8 = 22;
    const ALERT: u8 = 21;
    for (version, suite, expected) in [
        ([3, 3], ECDHE_ECDSA_GCM, (HANDSHAKE, None)),
        ([3, 3], ECDHE_ECDSA_CBC, (ALERT, Some(40))),
        ([3, 3], RSA_CBC, (ALERT, Some(40))),
        ([3, 2], ECDHE_ECDSA_GCM, (ALERT, Some(70))),
        ([3, 1], RSA_CBC, (ALERT, Some(70))),
        ([3, 0], RSA_CBC, (ALERT, Some(70))),
    ] {
        let mut stream = TcpStream::connect(scene.address).await.expect("it listens");
        stream.write_all(&client_hello(version, suite)).await.expect("it reads");
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await.expect("a record");
        let (kind, description) = expected;
        assert_eq!(answer[0], kind, "{version:?} {suite:x?}: {answer:?}");
        if let Some(description) = description {
            assert_eq!(answer[5..], [2, description], "{version:?} {suite:x?}: a fatal alert");
        }
    }
    scene.nothing_arrived();
}

#[tokio::test]
async fn a_resend_is_a_duplicate_and_another_message_under_its_id_a_conflict() {
    let scene = Case::new().start().await;
    assert_eq!(scene.verdict().await, Verdict::Acknowledged { duplicate: false });
    assert_eq!(scene.verdict().await, Verdict::Acknowledged { duplicate: true });
    let forged = Dispatch { bundle: bundle(MESSAGE).replace("1.50", "1.51").into(), ..dispatch(MESSAGE) };
    let reply = scene.lane.attempt(&forged).await.map(reply).expect("a reply");
    let Verdict::Refused { status: 409, .. } = judge(&reply, forged.message, &forged.names) else {
        panic!("{reply:?}")
    };
    assert_eq!(scene.outcomes(), [Outcome::Accepted, Outcome::Duplicate, Outcome::Conflict]);
    let file = scene.case.directory.path().join(format!("received/{MESSAGE}.json"));
    assert_eq!(std::fs::read_to_string(file).expect("it is there"), bundle(MESSAGE));
}

#[tokio::test]
async fn an_unavailable_partner_asks_for_another_attempt() {
    let scene = Case { misbehaviour: vec![Misbehaviour::Unavailable(1)], ..Case::new() }.start().await;
    let after = Some(Duration::from_secs(1));
    let Verdict::Retry { reason: RetryReason::Said { status: 503, .. }, after: asked } = scene.verdict().await else {
        panic!("it is to be sent again, for what the partner says")
    };
    assert_eq!(asked, after);
    assert!(scene.received().is_empty());
    assert_eq!(scene.verdict().await, Verdict::Acknowledged { duplicate: false });
    assert_eq!(scene.outcomes(), [Outcome::Unavailable, Outcome::Accepted]);
}

#[tokio::test]
async fn a_cut_connection_is_ambiguous_and_the_resend_settles_it() {
    let log = Log::start();
    let scene = Case { misbehaviour: vec![Misbehaviour::Cut(1)], ..Case::new() }.start().await;
    let error = scene.refused().await;
    assert!(matches!(error, AttemptError::Cut) && error.is_ambiguous(), "{error}");
    log.warns("the connection ended before the answer; the message may have arrived").await;
    assert_eq!(scene.verdict().await, Verdict::Acknowledged { duplicate: true });
    assert_eq!(scene.outcomes(), [Outcome::Accepted, Outcome::Duplicate]);
    assert_eq!(scene.received().len(), 1);
}

#[tokio::test]
async fn a_slow_partner_is_ambiguous() {
    let mut case = Case::new();
    case.misbehaviour = vec![Misbehaviour::Slow(Duration::from_secs(2))];
    case.attempt_timeout = Duration::from_millis(500);
    let scene = case.start().await;
    let error = scene.refused().await;
    assert!(matches!(error, AttemptError::TimedOut) && error.is_ambiguous(), "{error}");
    assert_eq!(scene.outcomes(), [Outcome::Accepted]);
}

#[tokio::test]
async fn a_lane_outlives_a_restart_of_its_partner() {
    let Scene { case, address, lane, stop, running } = Case::new().start().await;
    lane.attempt(&dispatch(MESSAGE)).await.expect("a reply");
    stop.send(true).expect("it listens to it");
    running.finished().await;
    assert!(matches!(lane.attempt(&dispatch(MESSAGE)).await, Err(AttemptError::Unreachable(_))));
    let (stop, stopped) = watch::channel(false);
    let running = partner::serve(case.receiver(address), stopped).await.expect("it starts again");
    let scene = Scene { case, address, lane, stop, running };
    assert_eq!(scene.verdict().await, Verdict::Acknowledged { duplicate: true });
    assert_eq!(scene.outcomes(), [Outcome::Accepted, Outcome::Duplicate]);
}

#[tokio::test]
async fn an_answer_to_another_message_is_never_a_yes() {
    let scene = Case { misbehaviour: vec![Misbehaviour::Uncorrelated(1)], ..Case::new() }.start().await;
    assert_eq!(scene.verdict().await, Verdict::Retry { reason: RetryReason::Uncorrelated, after: None });
    assert_eq!(scene.verdict().await, Verdict::Acknowledged { duplicate: true });
}

#[tokio::test]
async fn a_partner_that_rejects_keeps_nothing() {
    let scene = Case { misbehaviour: vec![Misbehaviour::Reject], ..Case::new() }.start().await;
    let verdict = scene.verdict().await;
    let Verdict::Refused { status: 422, codes } = verdict else { panic!("{verdict:?}") };
    assert_eq!(codes.details, ["REC_UNPROCESSABLE_ENTITY".into()]);
    assert!(scene.received().is_empty());
}

#[tokio::test]
async fn what_is_not_a_message_is_refused_with_its_place() {
    let scene = Case::new().start().await;
    let huge = format!("{}{}", bundle(MESSAGE), " ".repeat(70_000));
    for (body, status, says) in [
        ("{\"resourceType\":\"Bundle\",".to_owned(), 400, "line 1, column 26"),
        (bundle(MESSAGE).replace("message", "batch"), 422, "Bundle.type"),
        (bundle(MESSAGE).replace("MessageHeader", "Patient"), 422, "Bundle.entry[0].resource"),
        (bundle("one"), 400, "Bundle.id is not a UUID"),
        (huge, 413, "longer than 65536 bytes"),
    ] {
        let wrong = Dispatch { bundle: body.into(), ..dispatch(MESSAGE) };
        let reply = scene.lane.attempt(&wrong).await.map(reply).expect("a reply");
        let text = String::from_utf8(reply.body.to_vec()).expect("UTF-8");
        assert_eq!(reply.status, status, "{text}");
        assert!(text.contains(says), "{text}");
        assert_eq!(reply.request_id.as_deref(), Some(MESSAGE));
    }
    assert!(scene.received().is_empty());
}

/// An endpoint of DEMOT that speaks HTTP/1.1 only and answers with `router`.
async fn older_endpoint(case: &Case, router: Router) -> (SocketAddr, watch::Sender<bool>) {
    let mut config =
        server_config(&credentials(&case.partner), &case.clients, system_clock()).expect("a configuration");
    let mut older = ServerConfig::clone(&config.config);
    older.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.config = Arc::new(older);
    let address = ([127, 0, 0, 1], 0).into();
    let listener = Listener::bind_mutual_tls(address, config, Limits::default()).await.expect("a free port");
    let address = listener.local_address();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(listener.serve(router, stopped));
    (address, stop)
}

#[tokio::test]
async fn a_partner_that_speaks_http11_gets_the_same() {
    use http::HeaderMap;
    use weir::server::listener::Connection;
    let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let (seeing, cut) = (seen.clone(), Arc::new(Mutex::new(false)));
    let cutting = cut.clone();
    let handler = move |axum::Extension(connection): axum::Extension<Connection>, headers: HeaderMap, body: String| async move {
        let id = headers["x-request-id"].to_str().expect("a UUID").to_owned();
        seeing.lock().expect("no panic").push((id, body));
        if *cutting.lock().expect("no panic") {
            connection.cut();
            std::future::pending::<()>().await;
        }
        headers["host"].to_str().expect("a host").to_owned()
    };
    let case = Case::new();
    let (address, stop) = older_endpoint(&case, Router::new().route("/FHIR/R4/$process-message", post(handler))).await;
    let lane = case.lane(address);
    for _ in 0..3 {
        let reply = lane.attempt(&dispatch(MESSAGE)).await.map(reply).expect("a reply");
        assert_eq!(
            (reply.status, &*reply.body),
            (StatusCode::OK, format!("{}:{}", case.host, address.port()).as_bytes())
        );
    }
    *cut.lock().expect("no panic") = true;
    let error = lane.attempt(&dispatch(MESSAGE)).await.expect_err("it is cut");
    assert!(matches!(error, AttemptError::Cut), "{error}");
    let seen = seen.lock().expect("no panic").clone();
    assert_eq!(seen.len(), 4, "a message whose connection is cut is not sent again by itself");
    assert!(seen.iter().all(|(id, body)| id == MESSAGE && *body == bundle(MESSAGE)));
    drop(stop);
}

#[tokio::test]
async fn a_refused_certificate_is_told_apart_on_http11_too() {
    let mut case = Case::new();
    case.clients = anchors(&authority("Another CA"));
    let (address, _stop) = older_endpoint(&case, Router::new()).await;
    let error = case.lane(address).attempt(&dispatch(MESSAGE)).await.expect_err("it is refused");
    assert!(matches!(error, AttemptError::CredentialsRefused(AlertDescription::UnknownCA)), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_short() {
    let case = Case::new();
    let endless = post(|| async { "x".repeat(2 * 1024 * 1024) });
    let (address, _stop) = older_endpoint(&case, Router::new().route("/FHIR/R4/$process-message", endless)).await;
    let error = case.lane(address).attempt(&dispatch(MESSAGE)).await.expect_err("it is too large");
    assert!(matches!(error, AttemptError::TooLarge), "{error}");
}
