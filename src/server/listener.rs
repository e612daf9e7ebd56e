//! A listener: TCP, mutual TLS, the peer's party, then HTTP.
//!
//! Enters: connections. Leaves: requests to an axum `Router`, each with a [`Peer`] extension behind mutual TLS.
//! Invariant: no byte of HTTP is read from a peer whose certificate does not name a party; who a peer is comes from
//! its certificate alone. A refused connection is one line in the log and is closed. What connections and requests cost
//! stays within the [`Limits`], whatever a peer sends, or does not send.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::body::{Answer, Metered};
use super::connections::{Client, Connections, Guest, Place};
pub use super::limits::{Limit, Limits, Tally};
use super::ration::{Account, Ration, Supply};
use super::wire::Wire;
use crate::fhir::outcome::{Issue, IssueType, operation_outcome};
use crate::identity::PartyId;
use crate::identity::certificate::{CertificateError, Role, party_of};
use crate::identity::digest::sha_256;
use crate::identity::tls::{Distrust, ServerTls, distrust_in};

/// How much of an HTTP/2 connection's and a stream's body may be under way before it is read.
const WINDOWS: (u32, u32) = (128 << 10, 64 << 10);

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
    tally: Tally,
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
    #[error("the client certificate names {0}, whose own authorities do not vouch for it: {1}")]
    Foreign(PartyId, rustls::Error),
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
        Ok(Listener { socket, address, tls, limits, tally: Tally::default() })
    }

    /// Counts there what it refuses.
    #[must_use]
    pub fn counting(self, tally: Tally) -> Listener {
        Listener { tally, ..self }
    }

    /// Where it listens; the port is the one that was given out when 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` holds `true` or its sender is gone; then lets open requests finish, for
    /// [`Limits::drain`] at most.
    pub async fn serve(self, router: Router, stop: watch::Receiver<bool>) {
        self.receive(stop, move |house, stream, address, place| {
            let door = Door { house, router: router.clone() };
            async move { door.admit(stream, address, &place).await }
        })
        .await;
    }

    /// Serves connections over mutual TLS that speak something else than HTTP, as [`Listener::serve`] does. Nothing is
    /// served without TLS.
    pub(super) async fn serve_visits<F>(
        self,
        stop: watch::Receiver<bool>,
        talk: impl Fn(TlsStream<TcpStream>, Visit) -> F + Clone + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        self.receive(stop, move |house, stream, address, place| {
            let talk = talk.clone();
            async move {
                let Some(tls) = house.tls.clone() else { return };
                let Some((stream, entry)) = house.let_in(&tls, stream, address, &place).await else { return };
                let supply = house.ration.of(Client::Certificate(entry.peer.certificate));
                let judged = std::sync::Mutex::new(Instant::now());
                let guest = place.guest().clone();
                talk(stream, Visit { house, tls, entry, supply, guest, judged }).await;
            }
        })
        .await;
    }

    /// Accepts connections, each with its place, and lets `host` speak on them for as long as they may stay.
    async fn receive<F>(
        self,
        stop: watch::Receiver<bool>,
        host: impl Fn(House, TcpStream, SocketAddr, Place) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let guests = Connections::new(self.limits, self.tally.clone());
        let ration = Ration::new(self.limits, self.tally.clone());
        let house = House { tls: self.tls, limits: self.limits, tally: self.tally, ration, stop: stop.clone() };
        let mut connections = JoinSet::new();
        let mut stopped = pin!(stopping(stop));
        loop {
            let accepted = tokio::select! {
                () = &mut stopped => break,
                accepted = accept(&self.socket, &guests) => accepted,
            };
            while connections.try_join_next().is_some() {}
            let Some((stream, address, place)) = accepted else { continue };
            // Answers are small and awaited; without it they would wait for the peer's delayed acknowledgement.
            let _ = stream.set_nodelay(true);
            let guest = place.guest().clone();
            let stay = host(house.clone(), stream, address, place);
            connections.spawn(async move {
                tokio::select! {
                    () = guest.is_sent_away() => {}
                    () = stay => {}
                }
            });
        }
        drop(self.socket);
        let drained = timeout(house.limits.drain, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(address = %self.address, open = connections.len(), "connections cut at shutdown");
        }
    }
}

/// What the connections of a listener share.
#[derive(Clone)]
struct House {
    tls: Option<ServerTls>,
    limits: Limits,
    tally: Tally,
    ration: Arc<Ration>,
    stop: watch::Receiver<bool>,
}

/// Who came in, and the chain of certificates that was verified.
struct Entry {
    peer: Peer,
    chain: Vec<CertificateDer<'static>>,
}

impl Entry {
    /// Whether the certificate would be accepted today.
    fn judge(&self, tls: &ServerTls) -> Result<(), rustls::Error> {
        tls.judge_again(&self.chain)?;
        tls.judge_own(&self.peer.party, &self.chain)
    }
}

impl House {
    /// The handshake, and a look at whether the client has connections enough; a refusal is in the log.
    async fn let_in(
        &self,
        tls: &ServerTls,
        stream: TcpStream,
        address: SocketAddr,
        place: &Place,
    ) -> Option<(TlsStream<TcpStream>, Entry)> {
        match identify(tls, stream, address, self.limits.handshake).await {
            Ok((stream, peer)) if place.belongs_to(Client::Certificate(peer.certificate)) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
                Some((stream, Entry { peer, chain }))
            }
            Ok((_, peer)) => {
                tracing::warn!(peer = %address, party = %peer.party, "connection refused: its client has enough");
                None
            }
            Err(reason) => {
                if matches!(reason, Refused::Slow(_)) {
                    self.tally.count(Limit::Handshake);
                }
                tracing::warn!(peer = %address, %reason, "connection refused");
                None
            }
        }
    }
}

/// A connection that speaks something else than HTTP, from its admission to its end.
pub(super) struct Visit {
    house: House,
    tls: ServerTls,
    entry: Entry,
    supply: Arc<Supply>,
    guest: Arc<Guest>,
    judged: std::sync::Mutex<Instant>,
}

impl Visit {
    /// Who is at the other end.
    pub(super) fn peer(&self) -> &Peer {
        &self.entry.peer
    }

    /// What the connection may take.
    pub(super) fn limits(&self) -> &Limits {
        &self.house.limits
    }

    /// Where what it is refused is counted.
    pub(super) fn tally(&self) -> &Tally {
        &self.house.tally
    }

    /// A place for what the peer asks for next.
    pub(super) fn begin(&self) -> Result<Account, Limit> {
        self.house.ration.begin(&self.supply, &self.guest)
    }

    /// Until the gateway stops.
    pub(super) async fn is_over(&self) {
        stopping(self.house.stop.clone()).await;
    }

    /// Whether the peer's certificate still counts; looked at every [`Limits::judge_again`].
    pub(super) fn is_still_trusted(&self) -> bool {
        let mut judged = self.judged.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if judged.elapsed() < self.house.limits.judge_again {
            return true;
        }
        *judged = Instant::now();
        let Err(error) = self.entry.judge(&self.tls) else { return true };
        tracing::warn!(party = %self.entry.peer.party, reason = %refused_again(error), "a client is not trusted any more");
        false
    }
}

/// Until `stop` holds `true`, or nobody can say so any more.
async fn stopping(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next connection. `None` when the system gave none, out of file handles, mostly; or when its address has enough.
async fn accept(socket: &TcpListener, guests: &Arc<Connections>) -> Option<(TcpStream, SocketAddr, Place)> {
    match socket.accept().await {
        Ok((stream, address)) => Some((stream, address, guests.admit(address.ip()).await?)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// What one connection that speaks HTTP needs.
struct Door {
    house: House,
    router: Router,
}

impl Door {
    async fn admit(self, stream: TcpStream, address: SocketAddr, place: &Place) {
        let Some(tls) = self.house.tls.clone() else {
            let reception = self.reception(None, Client::Address(address.ip()), place);
            return self.converse(stream, reception, None, false).await;
        };
        let Some((stream, entry)) = self.house.let_in(&tls, stream, address, place).await else { return };
        let client = Client::Certificate(entry.peer.certificate);
        let reception = self.reception(Some(entry.peer.clone()), client, place);
        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.converse(stream, reception, Some((tls, entry)), two).await;
    }

    fn reception(&self, peer: Option<Peer>, client: Client, place: &Place) -> Arc<Reception> {
        Arc::new(Reception {
            router: self.router.clone(),
            peer,
            connection: Connection::default(),
            guest: place.guest().clone(),
            supply: self.house.ration.of(client),
            ration: self.house.ration.clone(),
            limits: self.house.limits,
            tally: self.house.tally.clone(),
        })
    }

    /// HTTP on an admitted connection, until either side closes it, it is cut, or the listener stops.
    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        reception: Arc<Reception>,
        entry: Option<(ServerTls, Entry)>,
        two: bool,
    ) {
        let stream = TokioIo::new(Wire::new(stream, two, self.house.limits, self.house.tally.clone()));
        let desk = reception.clone();
        let service = service_fn(move |request| desk.clone().answer(request));
        if two {
            let conversation = second_protocol(&self.house.limits).serve_connection(stream, service);
            self.attend(conversation, &reception, entry).await;
        } else {
            let conversation = first_protocol(&self.house.limits).serve_connection(stream, service);
            self.attend(conversation, &reception, entry).await;
        }
    }

    async fn attend<C>(self, conversation: C, reception: &Reception, entry: Option<(ServerTls, Entry)>)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        let (address, guest) = (reception.peer.as_ref().map(|peer| peer.address), &reception.guest);
        let mut again = tokio::time::interval(self.house.limits.judge_again);
        again.reset();
        let mut conversation = pin!(conversation);
        let mut stopped = pin!(stopping(self.house.stop.clone()));
        let mut look = pin!(sleep_until(Instant::now() + self.house.limits.look()));
        let (mut stopping, mut leave_by) = (false, None);
        loop {
            tokio::select! {
                ended = &mut conversation => return self.note(ended),
                () = reception.connection.0.notified() => return,
                () = &mut stopped, if !stopping => {
                    stopping = true;
                    conversation.as_mut().graceful_shutdown();
                }
                _ = again.tick(), if !stopping => {
                    let judged = entry.as_ref().map(|(tls, entry)| entry.judge(tls));
                    let Some(Err(error)) = judged else { continue };
                    tracing::warn!(?address, reason = %refused_again(error), "a client is not trusted any more");
                    stopping = true;
                    conversation.as_mut().graceful_shutdown();
                }
                () = &mut look => {
                    let now = Instant::now();
                    look.as_mut().reset(now + self.house.limits.look());
                    match self.overdue(guest, now) {
                        Some(Limit::Idle) if leave_by.is_none() => {
                            self.house.tally.count(Limit::Idle);
                            (stopping, leave_by) = (true, Some(now + self.house.limits.stall));
                            conversation.as_mut().graceful_shutdown();
                        }
                        Some(Limit::Idle) if leave_by.is_some_and(|leave_by| now < leave_by) => {}
                        Some(limit) => return self.house.tally.count(limit),
                        None => leave_by = None,
                    }
                }
            }
        }
    }

    /// Which time is over: that of the oldest request and its answer, or that without any.
    fn overdue(&self, guest: &Guest, now: Instant) -> Option<Limit> {
        match guest.standing() {
            Ok(began) => (now >= began + self.house.limits.request * 2).then_some(Limit::Request),
            Err(since) => (now >= since + self.house.limits.idle).then_some(Limit::Idle),
        }
    }

    /// A peer that goes away in the middle is its own affair; one whose frames are refused is counted.
    fn note(&self, ended: Result<(), hyper::Error>) {
        let Err(error) = ended else { return };
        let mut cause = error.source();
        while let Some(inner) = cause.and_then(|outer| outer.source()) {
            cause = Some(inner);
        }
        if !error.is_timeout() && !cause.is_some_and(|cause| cause.is::<io::Error>()) {
            self.house.tally.count(Limit::Protocol);
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
    tls.judge_own(&party, certificates).map_err(|error| Refused::Foreign(party.clone(), error))?;
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

fn first_protocol(limits: &Limits) -> http1::Builder {
    let header_bytes = limits.header_bytes.max(8192) as usize;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Each part has its own time; this one is for both together.
        .header_read_timeout(limits.idle + limits.headers)
        .max_headers(limits.header_count)
        .max_header_size(header_bytes)
        .max_buf_size(header_bytes);
    builder
}

fn second_protocol(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(limits.header_bytes)
        .max_concurrent_streams(limits.streams)
        .initial_connection_window_size(WINDOWS.0)
        .initial_stream_window_size(WINDOWS.1)
        .max_send_buf_size(WINDOWS.1 as usize)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .keep_alive_interval(limits.idle / 2)
        .keep_alive_timeout(limits.stall);
    builder
}

/// Who answers the requests of one connection.
struct Reception {
    router: Router,
    peer: Option<Peer>,
    connection: Connection,
    guest: Arc<Guest>,
    supply: Arc<Supply>,
    ration: Arc<Ration>,
    limits: Limits,
    tally: Tally,
}

/// A request that is being answered. Dropped before it is, its peer gave it up.
struct Attempt<'a> {
    reception: &'a Reception,
    answered: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.reception.guest.is_flooding(self.answered) {
            self.reception.tally.count(Limit::Resets);
            self.reception.connection.cut();
        }
    }
}

impl Reception {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response, Infallible> {
        let mut attempt = Attempt { reception: &self, answered: false };
        let response = self.answer_within_limits(request).await;
        attempt.answered = true;
        Ok(response)
    }

    async fn answer_within_limits(&self, mut request: Request<Incoming>) -> Response {
        if request.headers().len() > self.limits.header_count {
            self.tally.count(Limit::HeaderCount);
            return refused(Limit::HeaderCount);
        }
        let account = match self.ration.begin(&self.supply, &self.guest) {
            Ok(account) => account,
            Err(limit) => return refused(limit),
        };
        let extensions = request.extensions_mut();
        extensions.insert(self.connection.clone());
        extensions.insert(account.clone());
        if let Some(peer) = &self.peer {
            extensions.insert(peer.clone());
        }
        let request = request.map(|body| Body::new(Metered::new(body, account.clone())));
        let Ok(Ok(response)) = timeout(self.limits.request, self.router.clone().oneshot(request)).await else {
            self.tally.count(Limit::Request);
            return refused(Limit::Request);
        };
        let (head, body) = response.into_parts();
        match Answer::new(body, account) {
            Ok(body) => Response::from_parts(head, Body::new(body)),
            Err(limit) => refused(limit),
        }
    }
}

/// An answer in the place of what a limit does not let be answered.
fn refused(limit: Limit) -> Response {
    let (status, text, hint) = match limit {
        Limit::HeaderCount => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers", "send fewer")
        }
        Limit::ClientRequests | Limit::ClientBodyBytes => {
            let hint = "send again in a second, and fewer at a time";
            (StatusCode::TOO_MANY_REQUESTS, "this client has too much under way", hint)
        }
        Limit::Request => {
            (StatusCode::SERVICE_UNAVAILABLE, "the request could not be answered in time", "send it again")
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the gateway has too much under way", "send again in a second"),
    };
    let code = if limit == Limit::HeaderCount { IssueType::TooLong } else { IssueType::Throttled };
    let issue = Issue::error(code, text).hint(hint);
    let mut response = Response::new(Body::from(operation_outcome(&[issue])));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/fhir+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status != StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
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
        let short = Duration::from_millis(100);
        let limits = Limits { headers: short, idle: short * 4, ..Limits::default() };
        let (address, _stop, _running) = plain(limits, Router::new().route("/", get(cut))).await;
        assert_eq!(exchange(address, GET).await, "");
        assert_eq!(exchange(address, "GET / HT").await, "");
        assert_eq!(exchange(address, "").await, "");
    }

    #[tokio::test]
    async fn huge_headers_are_refused_and_who_only_sits_there_makes_room() {
        let limits = Limits { connections: 1, ..Limits::default() };
        let (address, _stop, _running) = plain(limits, Router::new().route("/", get(|| async { "done" }))).await;
        let huge = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
        assert!(exchange(address, &huge).await.starts_with("HTTP/1.1 431"));
        let mut holder = TcpStream::connect(address).await.expect("it listens");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(exchange(address, GET).await.ends_with("done"));
        assert_eq!(holder.read(&mut [0; 1]).await.expect("it is closed"), 0);
    }

    #[tokio::test]
    async fn a_request_that_is_not_answered_in_time_is_told_so() {
        let limits = Limits { request: Duration::from_millis(100), ..Limits::default() };
        let never = get(std::future::pending::<String>);
        let (address, _stop, _running) = plain(limits, Router::new().route("/", never)).await;
        let answer = exchange(address, GET).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
        assert!(answer.contains("OperationOutcome"), "{answer}");
    }
}
