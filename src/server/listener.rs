//! A listener: TCP, mutual TLS, the peer's party, then HTTP.
//!
//! Enters: connections. Leaves: requests to an axum `Router`, each with a [`Peer`] extension behind mutual TLS.
//! Invariant: no byte of HTTP is read from a peer whose certificate does not name a party; who a peer is comes from
//! its certificate alone. A refused connection is one line in the log and is closed.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::identity::PartyId;
use crate::identity::certificate::{CertificateError, Role, party_of};
use crate::identity::digest::sha_256;
use crate::identity::tls::{Distrust, ServerTls, distrust_in};

/// What connections may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the connection to the end of the TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// From the handshake to the first request's headers, and between requests of HTTP/1.1. Default 30 s.
    pub headers: Duration,
    /// Bytes of a request's headers, at least 8192. Default 32 KiB.
    pub header_bytes: u32,
    /// Connections at a time; more wait to be accepted. Default 1024.
    pub connections: usize,
    /// Requests at a time on one HTTP/2 connection. Default 128.
    pub streams: u32,
    /// How often the client of an open connection is judged again: expired or revoked since, it is asked to leave. Default
    /// 60 s.
    pub judge_again: Duration,
    /// How long a shutdown waits for requests that are being answered. Default 10 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(30),
            header_bytes: 32 * 1024,
            connections: 1024,
            streams: 128,
            judge_again: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// Who is at the other end, as an extension of every request that came over mutual TLS.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The party that the client certificate names.
    pub party: PartyId,
    /// SHA-256 of the certificate (DER).
    pub certificate: [u8; 32],
    /// Where it connects from.
    pub address: IpAddr,
}

/// The connection a request came over, as an extension of every request.
#[derive(Clone, Debug, Default)]
pub struct Connection(Arc<Notify>);

impl Connection {
    /// Closes the connection without an answer to anything that is under way on it.
    pub fn cut(&self) {
        self.0.notify_one();
    }
}

/// A bound socket that does not serve yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<ServerTls>,
    limits: Limits,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({}, mutual TLS: {})", self.address, self.tls.is_some())
    }
}

/// Why a connection was closed before HTTP.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("a session was resumed, and its client is not trusted any more: {0}")]
    Resumed(rustls::Error),
    #[error("the client certificate is not relied on: {}; {}", .0, .0.hint())]
    Distrusted(Distrust),
    #[error("the client certificate has been revoked by its issuer; its holder needs a new one")]
    Revoked,
    #[error("the TLS handshake took longer than {0:?}")]
    Slow(Duration),
    #[error("the client certificate is not acceptable: {}; {}", .0, .0.hint())]
    Certificate(#[from] CertificateError),
}

impl Listener {
    /// Binds a listener that requires a client certificate: pass [`crate::identity::tls::server_config`].
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind_mutual_tls(address: SocketAddr, tls: ServerTls, limits: Limits) -> io::Result<Listener> {
        Listener::bind(address, Some(tls), limits).await
    }

    /// Binds a listener without TLS, for operators on the loopback interface. Requests have no [`Peer`].
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind_plain(address: SocketAddr, limits: Limits) -> io::Result<Listener> {
        Listener::bind(address, None, limits).await
    }

    async fn bind(address: SocketAddr, tls: Option<ServerTls>, limits: Limits) -> io::Result<Listener> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Listener { socket, address, tls, limits })
    }

    /// Where it listens; the port is the one that was given out when 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` holds `true` or its sender is gone; then lets open requests finish, for
    /// [`Limits::drain`] at most.
    pub async fn serve(self, router: Router, stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        let mut stopped = pin!(stopping(stop.clone()));
        loop {
            let accepted = tokio::select! {
                () = &mut stopped => break,
                accepted = accept(&self.socket, &slots) => accepted,
            };
            while connections.try_join_next().is_some() {}
            let Some((stream, address, slot)) = accepted else { continue };
            let door = Door { tls: self.tls.clone(), limits: self.limits, router: router.clone(), stop: stop.clone() };
            connections.spawn(async move {
                door.admit(stream, address).await;
                drop(slot);
            });
        }
        drop(self.socket);
        let drained = timeout(self.limits.drain, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(address = %self.address, open = connections.len(), "connections cut at shutdown");
        }
    }
}

/// Until `stop` holds `true`, or nobody can say so any more.
async fn stopping(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next connection, once there is room for it. `None` when the system gave none: out of file handles, mostly.
async fn accept(socket: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    match socket.accept().await {
        Ok((stream, address)) => Some((stream, address, slot)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// What one connection needs.
struct Door {
    tls: Option<ServerTls>,
    limits: Limits,
    router: Router,
    stop: watch::Receiver<bool>,
}

impl Door {
    async fn admit(self, stream: TcpStream, address: SocketAddr) {
        // Answers are small and awaited; without it they would wait for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.converse(stream, None, false).await };
        match identify(tls, stream, address, self.limits.handshake).await {
            Ok((stream, peer)) => {
                let session = stream.get_ref().1;
                let two = session.alpn_protocol() == Some(b"h2");
                let chain = session.peer_certificates().unwrap_or_default().to_vec();
                self.converse(stream, Some((peer, chain)), two).await;
            }
            Err(reason) => tracing::warn!(peer = %address, %reason, "connection refused"),
        }
    }

    /// HTTP on an admitted connection, until either side closes it, it is cut, or the listener stops.
    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        peer: Option<(Peer, Vec<CertificateDer<'static>>)>,
        two: bool,
    ) {
        let (peer, chain) = peer.unzip();
        let address = peer.as_ref().map(|peer| peer.address);
        let judged = self.tls.clone().zip(chain);
        let mut again = tokio::time::interval(self.limits.judge_again);
        again.reset();
        let (connection, spoken) = (Connection::default(), Arc::new(AtomicBool::new(false)));
        let (router, extension, speaks) = (self.router, connection.clone(), spoken.clone());
        let service = service_fn(move |request| {
            speaks.store(true, Ordering::Relaxed);
            answer(router.clone(), peer.clone(), extension.clone(), request)
        });
        let protocol = protocol(&self.limits, two);
        let mut conversation = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let mut stopped = pin!(stopping(self.stop));
        let mut silent = pin!(tokio::time::sleep(self.limits.headers));
        let (mut stopping, mut waiting) = (false, true);
        loop {
            tokio::select! {
                // A peer that goes away in the middle is its own affair; what it asked for is traced by the router.
                _ = &mut conversation => return,
                () = connection.0.notified() => return,
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    conversation.as_mut().graceful_shutdown();
                }
                _ = again.tick(), if !stopping => {
                    let Some(Err(error)) = judged.as_ref().map(|(tls, chain)| tls.judge_again(chain)) else { continue };
                    tracing::warn!(?address, reason = %refused_again(error), "a client is not trusted any more");
                    stopping = true;
                    conversation.as_mut().graceful_shutdown();
                }
                () = &mut silent, if waiting => match spoken.load(Ordering::Relaxed) {
                    true => waiting = false,
                    false => return,
                },
            }
        }
    }
}

/// The TLS handshake, and the party of the certificate it verified.
async fn identify(
    tls: &ServerTls,
    stream: TcpStream,
    address: SocketAddr,
    limit: Duration,
) -> Result<(TlsStream<TcpStream>, Peer), Refused> {
    let handshake =
        timeout(limit, TlsAcceptor::from(tls.config.clone()).accept(stream)).await.map_err(|_| Refused::Slow(limit))?;
    let stream = handshake.map_err(refusal)?;
    let session = stream.get_ref().1;
    let certificates = session.peer_certificates().unwrap_or_default();
    if session.handshake_kind() == Some(HandshakeKind::Resumed) {
        tls.judge_again(certificates).map_err(refused_again)?;
    }
    let certificate = certificates.first().ok_or(CertificateError::Malformed)?;
    let party = party_of(certificate, Role::Client)?;
    let peer = Peer { party, certificate: sha_256(certificate), address: address.ip() };
    Ok((stream, peer))
}

fn refusal(error: io::Error) -> Refused {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    cause.and_then(in_words).unwrap_or(Refused::Handshake(error))
}

fn refused_again(error: rustls::Error) -> Refused {
    in_words(&error).unwrap_or(Refused::Resumed(error))
}

/// What we say of a chain ourselves.
fn in_words(error: &rustls::Error) -> Option<Refused> {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked) => Some(Refused::Revoked),
        error => distrust_in(error).cloned().map(Refused::Distrusted),
    }
}

fn protocol(limits: &Limits, two: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(limits.header_bytes.max(8192) as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(limits.header_bytes)
        .max_concurrent_streams(limits.streams)
        .keep_alive_interval(limits.headers)
        .keep_alive_timeout(limits.handshake);
    if two { builder.http2_only() } else { builder.http1_only() }
}

async fn answer(
    router: Router,
    peer: Option<Peer>,
    connection: Connection,
    mut request: Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    request.extensions_mut().insert(connection);
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    router.oneshot(request.map(Body::new)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Extension;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn plain(limits: Limits, router: Router) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let listener = Listener::bind_plain(([127, 0, 0, 1], 0).into(), limits).await.expect("a free port");
        let address = listener.local_address();
        let (stop, stopped) = watch::channel(false);
        (address, stop, tokio::spawn(listener.serve(router, stopped)))
    }

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        // A cut connection may end in a reset.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).expect("it is text")
    }

    const GET: &str = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn a_plain_listener_answers_without_a_peer_until_it_is_stopped() {
        let who = |peer: Option<Extension<Peer>>| async move { format!("peer: {}", peer.is_some()) };
        let (address, stop, running) = plain(Limits::default(), Router::new().route("/", get(who))).await;
        assert!(exchange(address, GET).await.ends_with("peer: false"));
        stop.send(true).expect("it listens to it");
        running.await.expect("it ends");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_shutdown_lets_a_request_finish_but_not_for_ever() {
        let wait = |millis: u64| {
            get(move || async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                "done"
            })
        };
        let router = Router::new().route("/", wait(200)).route("/long", wait(60_000));
        let limits = Limits { drain: Duration::from_millis(600), ..Limits::default() };
        let (address, stop, running) = plain(limits, router).await;
        let short = tokio::spawn(exchange(address, GET));
        let long = tokio::spawn(exchange(address, "GET /long HTTP/1.1\r\nhost: localhost\r\n\r\n"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.send(true).expect("it listens to it");
        assert!(short.await.expect("it ends").ends_with("done"));
        running.await.expect("it ends");
        assert_eq!(long.await.expect("it ends"), "");
    }

    #[tokio::test]
    async fn a_silent_or_cut_connection_ends_without_an_answer() {
        let cut = |Extension(connection): Extension<Connection>| async move {
            connection.cut();
            std::future::pending::<()>().await;
        };
        let limits = Limits { headers: Duration::from_millis(100), ..Limits::default() };
        let (address, _stop, _running) = plain(limits, Router::new().route("/", get(cut))).await;
        assert_eq!(exchange(address, GET).await, "");
        assert_eq!(exchange(address, "GET / HT").await, "");
    }

    #[tokio::test]
    async fn huge_headers_are_refused_and_connections_wait_their_turn() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let (address, _stop, _running) = plain(limits, Router::new().route("/", get(|| async { "done" }))).await;
        let huge = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
        assert!(exchange(address, &huge).await.starts_with("HTTP/1.1 431"));
        let holder = TcpStream::connect(address).await.expect("it listens");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let waiting = tokio::spawn(exchange(address, GET));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished());
        drop(holder);
        assert!(waiting.await.expect("it ends").ends_with("done"));
    }
}
