//! Bare mutual TLS and HTTP/1.1 by hyper and rustls alone: the partner that the load bench delivers to, and the relay that
//! it is compared with. The relay receives a message, syncs it to disk with whatever else waits (group commit), answers
//! 202 and posts it on: what a gateway cannot do less than.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use uuid::Uuid;
use weir::fhir::message::{Response as Answer, ResponseCode, response_bundle};
use weir::server::clock;

/// The name that the partner's certificate has.
pub(crate) const HOST: &str = "bars-demo1.bench.example";
/// The name that the relay's certificate has.
pub(crate) const RELAY_HOST: &str = "bars-demo9.bench.example";
/// Connections from the relay to the partner, and what the gateway's lane is allowed.
pub(crate) const CONNECTIONS: usize = 64;
/// Messages that one sync may cover.
const BATCH: usize = 256;

type Body = Full<Bytes>;

fn chain(pem: &Path) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(pem).expect("it is PEM");
    certificates.map(|each| each.expect("a certificate")).collect()
}

fn roots(pem: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    chain(pem).into_iter().for_each(|root| roots.add(root).expect("a root"));
    Arc::new(roots)
}

/// TLS of a server that asks its clients for certificates of `clients`.
pub(crate) fn server_tls(certificate: &Path, key: &Path, clients: &Path) -> Arc<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder(roots(clients)).build().expect("a verifier");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    Arc::new(config.with_single_cert(chain(certificate), key).expect("they fit"))
}

/// TLS of a client of servers with certificates of `anchors`.
pub(crate) fn client_tls(certificate: &Path, key: &Path, anchors: &Path) -> Arc<ClientConfig> {
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ClientConfig::builder().with_root_certificates(roots(anchors));
    Arc::new(config.with_client_auth_cert(chain(certificate), key).expect("they fit"))
}

/// Serves each request with `answer`.
async fn serve<F, A>(listener: TcpListener, tls: Arc<ServerConfig>, answer: F)
where
    F: Fn(HeaderMap, Bytes) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        tokio::spawn(async move {
            stream.set_nodelay(true).expect("it is a socket");
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let each = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    Ok::<_, hyper::Error>(answer(head.headers, body).await)
                }
            });
            let _closed = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), each).await;
        });
    }
}

/// When each message arrived at the partner, by its `X-Request-Id`, and the first of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals {
    times: Arc<Mutex<HashMap<Uuid, Instant>>>,
    first: Arc<OnceLock<Bytes>>,
}

impl Arrivals {
    pub(crate) fn of(&self, message: &Uuid) -> Option<Instant> {
        self.times.lock().expect("nobody panics").get(message).copied()
    }

    pub(crate) fn first(&self) -> Option<Bytes> {
        self.first.get().cloned()
    }

    fn note(&self, message: Uuid, body: Bytes) {
        self.first.get_or_init(|| body);
        self.times.lock().expect("nobody panics").entry(message).or_insert_with(Instant::now);
    }
}

/// A partner that takes every message and answers it as BaRS does, and keeps nothing but the time.
pub(crate) async fn partner(tls: Arc<ServerConfig>) -> (SocketAddr, Arrivals) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let (address, arrivals) = (listener.local_addr().expect("it is bound"), Arrivals::default());
    let noted = arrivals.clone();
    tokio::spawn(serve(listener, tls, move |headers: HeaderMap, body: Bytes| {
        let noted = noted.clone();
        async move {
            let id = headers.get("x-request-id").and_then(|id| Uuid::try_parse(id.to_str().ok()?).ok());
            let id = id.expect("a message has an id");
            let answer = acknowledgement(&body);
            noted.note(id, body);
            let mut response = Response::new(Full::new(Bytes::from(answer)));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/fhir+json"));
            response
        }
    }));
    (address, arrivals)
}

/// The answer to a Bundle, whose `id` stands first in it.
fn acknowledgement(bundle: &[u8]) -> String {
    let head = String::from_utf8_lossy(&bundle[..bundle.len().min(200)]);
    let id = head.split_once("\"id\":\"").and_then(|(_, rest)| rest.get(..36)).expect("a Bundle has an id");
    response_bundle(&Answer {
        id: Uuid::new_v4(),
        timestamp: clock::now(),
        answers: id,
        code: ResponseCode::Ok,
        event: "servicerequest-response",
        receiver: "DEMO1",
        sender: "DEMOP",
    })
}

/// A message, and who waits for it to be on disk.
type Waiting = (HeaderMap, Bytes, oneshot::Sender<()>);

/// Runs the relay for ever: listens on a port that it prints, keeps what it takes in `journal`, posts it to `partner`.
pub(crate) async fn relay(server: Arc<ServerConfig>, client: Arc<ClientConfig>, partner: SocketAddr, journal: &Path) {
    let (to_disk, waiting) = mpsc::channel::<Waiting>(1024);
    let (to_partner, outgoing) = mpsc::unbounded_channel::<(HeaderMap, Bytes)>();
    let journal = File::create(journal).expect("it can be written");
    std::thread::spawn(move || commit(journal, waiting, &to_partner));
    let outgoing = Arc::new(tokio::sync::Mutex::new(outgoing));
    for _ in 0..CONNECTIONS {
        tokio::spawn(forward(client.clone(), partner, outgoing.clone()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    println!("{}", listener.local_addr().expect("it is bound"));
    serve(listener, server, move |headers, body| {
        let to_disk = to_disk.clone();
        async move {
            let (synced, is_synced) = oneshot::channel();
            to_disk.send((headers, body, synced)).await.expect("the thread runs");
            is_synced.await.expect("it was synced");
            let mut response = Response::new(Body::default());
            *response.status_mut() = hyper::StatusCode::ACCEPTED;
            response
        }
    })
    .await;
}

/// Writes what waits, syncs once, then lets all of it go on.
fn commit(
    mut journal: File,
    mut waiting: mpsc::Receiver<Waiting>,
    to_partner: &mpsc::UnboundedSender<(HeaderMap, Bytes)>,
) {
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        for (_, body, _) in &batch {
            journal.write_all(body).expect("the disk has room");
        }
        journal.sync_data().expect("the disk works");
        for (headers, body, synced) in batch {
            let _gone = synced.send(());
            to_partner.send((headers, body)).expect("the partner's connections run");
        }
    }
}

async fn forward(
    tls: Arc<ClientConfig>,
    partner: SocketAddr,
    outgoing: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<(HeaderMap, Bytes)>>>,
) {
    let stream = TcpStream::connect(partner).await.expect("the partner listens");
    stream.set_nodelay(true).expect("it is a socket");
    let name = ServerName::try_from(HOST).expect("a name");
    let stream = TlsConnector::from(tls).connect(name, stream).await.expect("the partner is trusted");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await.expect("HTTP begins");
    tokio::spawn(connection);
    loop {
        let next = outgoing.lock().await.recv().await;
        let Some((headers, body)) = next else { return };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = "/FHIR/R4/$process-message".parse().expect("a path");
        request.headers_mut().insert(header::HOST, HOST.parse().expect("a name"));
        request.headers_mut().insert("x-request-id", headers["x-request-id"].clone());
        sender.ready().await.expect("the connection is open");
        let response = sender.send_request(request).await.expect("the partner answers");
        assert!(response.status().is_success(), "{}", response.status());
        response.into_body().collect().await.expect("the answer is whole");
    }
}
