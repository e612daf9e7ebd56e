//! An HTTP client of one endpoint of a partner over mutual TLS: connections, kept and shared.
//!
//! A connection is usable once the endpoint's chain and host name are verified, its certificate names the partner's own
//! party and has a key that the partner file pins, where it pins any, and, on HTTP/2, the partner has spoken first and
//! so has accepted our certificate. HTTP/2 connections are shared by all attempts, HTTP/1.1 ones reused in turn. None
//! grows older than ten minutes or outlives a change of certificates or authorities; a resumed session is judged as a new
//! one. A request is sent at most once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::attempt::{alert_in, before, cut, distrusted, refusal_in, refused};
use super::reply::read;
use super::{AttemptError, Endpoint, MAX_ANSWER, Reply};
use crate::identity::PartyId;
use crate::identity::certificate::{CertificateError, Role, legacy_common_name, party_of, usable_as};
use crate::identity::pin::Pin;
use crate::identity::tls::{Clock, Credentials, TlsError, client_config_for_service, client_config_from};

/// From the first packet to the end of the TLS handshake, within the attempt's own limit.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a partner may take to speak first on HTTP/2; one that waits for us instead is not refused.
const SPEAK_FIRST: Duration = Duration::from_secs(1);
/// The age at which a connection is no longer used.
const MAX_AGE: Duration = Duration::from_secs(600);
/// The most HTTP/1.1 connections that are kept. There are never more than a lane has attempts at a time.
const MAX_IDLE: usize = 256;

/// A client of one endpoint. Exchanges may run side by side.
pub(super) struct Client {
    /// Whom the endpoint's certificate must name; `None` for a service between the parties, known by its host name.
    party: Option<PartyId>,
    endpoint: Endpoint,
    credentials: Credentials,
    clock: Clock,
    name: ServerName<'static>,
    kept: Mutex<Kept>,
    /// Held while a connection is made, so that attempts that start together share one.
    dialling: tokio::sync::Mutex<()>,
    /// Whether the last connection was of HTTP/1.1, which no two attempts share.
    shares_none: AtomicBool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.endpoint.base)
    }
}

/// Connections to use again, and sessions to resume, of one state of our certificate and the partner's authorities.
struct Kept {
    tls: TlsConnector,
    /// The state.
    generation: [u64; 2],
    two: Option<(http2::SendRequest<Full<Bytes>>, Instant)>,
    one: Vec<(http1::SendRequest<Full<Bytes>>, Instant)>,
}

/// A connection on which a request can be sent.
enum Wire {
    /// Since when, and of which state of TLS.
    One(http1::SendRequest<Full<Bytes>>, Instant, [u64; 2]),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A request that did not go out, with the request if it certainly did not.
struct Unsent {
    request: Option<Request<Full<Bytes>>>,
    error: hyper::Error,
}

impl Client {
    /// A client of the endpoint of `party` that presents `credentials`. Nothing is connected yet.
    ///
    /// # Errors
    /// When our credentials cannot be used as a client.
    pub(super) fn new(
        party: PartyId,
        endpoint: Endpoint,
        credentials: &Credentials,
        clock: Clock,
    ) -> Result<Client, TlsError> {
        Client::over(Some(party), endpoint, credentials, clock)
    }

    /// A client of a service that stands between the parties.
    ///
    /// # Errors
    /// When our credentials cannot be used as a client.
    pub(super) fn of_service(endpoint: Endpoint, credentials: &Credentials, clock: Clock) -> Result<Client, TlsError> {
        Client::over(None, endpoint, credentials, clock)
    }

    fn over(
        party: Option<PartyId>,
        endpoint: Endpoint,
        credentials: &Credentials,
        clock: Clock,
    ) -> Result<Client, TlsError> {
        let kept = Mutex::new(Kept::new(party.as_ref(), &endpoint, credentials, &clock)?);
        let name = ServerName::try_from(endpoint.host().to_owned()).expect("a checked endpoint has a host name");
        let (credentials, dialling, shares_none) = (credentials.clone(), tokio::sync::Mutex::default(), false.into());
        Ok(Client { party, endpoint, credentials, clock, name, kept, dialling, shares_none })
    }

    /// The endpoint's settings.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request, whose URI is absolute, once; `limit` holds from connecting to the last byte of the answer.
    ///
    /// # Errors
    /// [`AttemptError`], which says whether the request may have arrived.
    pub(super) async fn exchange(&self, request: Request<Full<Bytes>>, limit: Duration) -> Result<Reply, AttemptError> {
        self.fetch(request, limit, MAX_ANSWER).await.map(Reply::from)
    }

    /// The same with the whole answer, whose body may have `most` bytes.
    ///
    /// # Errors
    /// As [`Client::exchange`].
    pub(super) async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, AttemptError> {
        let sent = AtomicBool::new(false);
        match timeout(limit, self.exchange_in_time(request, &sent, most)).await {
            Ok(outcome) => outcome,
            Err(_) if sent.load(Ordering::Relaxed) => Err(AttemptError::TimedOut),
            Err(_) => Err(AttemptError::ConnectTimeout),
        }
    }

    async fn exchange_in_time(
        &self,
        mut request: Request<Full<Bytes>>,
        sent: &AtomicBool,
        most: usize,
    ) -> Result<Response<Bytes>, AttemptError> {
        let target = request.uri().clone();
        if let Some(wire) = self.kept_wire() {
            // A kept connection that turns out to be closed says nothing about the partner.
            match self.send(wire, request, (&target, most), sent).await? {
                Ok(reply) => return Ok(reply),
                Err(unsent) => request = unsent,
            }
        }
        let wire = self.dial().await?;
        self.send(wire, request, (&target, most), sent).await?.map_err(|_unsent| AttemptError::Closed)
    }

    /// The reply, or the request back if certainly nothing of it went out.
    async fn send(
        &self,
        mut wire: Wire,
        request: Request<Full<Bytes>>,
        (target, most): (&Uri, usize),
        sent: &AtomicBool,
    ) -> Result<Result<Response<Bytes>, Request<Full<Bytes>>>, AttemptError> {
        sent.store(true, Ordering::Relaxed);
        let response = match wire.send(request, target).await {
            Ok(response) => response,
            Err(Unsent { request: Some(request), error }) if refusal_in(&error).is_none() => {
                sent.store(false, Ordering::Relaxed);
                return Ok(Err(request));
            }
            Err(Unsent { error, .. }) => return Err(cut(&error)),
        };
        let reply = read(response, most).await?;
        self.keep(wire);
        Ok(Ok(reply))
    }

    /// What is kept; nothing, once our certificate or the partner's authorities were replaced. Requests that are under way
    /// on a connection of before end on it.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.generation != generation(&self.endpoint, &self.credentials)
            && let Ok(new) = Kept::new(self.party.as_ref(), &self.endpoint, &self.credentials, &self.clock)
        {
            *kept = new;
        }
        kept
    }

    fn kept_wire(&self) -> Option<Wire> {
        let mut kept = self.kept();
        kept.one.retain(|(wire, since)| !wire.is_closed() && since.elapsed() < MAX_AGE);
        kept.two.take_if(|(wire, since)| wire.is_closed() || since.elapsed() >= MAX_AGE);
        let two = kept.two.as_ref().map(|(wire, _)| Wire::Two(wire.clone()));
        let generation = kept.generation;
        two.or_else(|| kept.one.pop().map(|(wire, since)| Wire::One(wire, since, generation)))
    }

    /// Puts an HTTP/1.1 connection back; one of HTTP/2 never left.
    fn keep(&self, wire: Wire) {
        let Wire::One(wire, since, generation) = wire else { return };
        let mut kept = self.kept();
        if generation == kept.generation && kept.one.len() < MAX_IDLE && !wire.is_closed() {
            kept.one.push((wire, since));
        }
    }

    /// A new connection, or the one that another attempt made meanwhile.
    async fn dial(&self) -> Result<Wire, AttemptError> {
        let _dialling = match self.shares_none.load(Ordering::Relaxed) {
            true => None,
            false => Some(self.dialling.lock().await),
        };
        if let Some(wire @ Wire::Two(_)) = self.kept_wire() {
            return Ok(wire);
        }
        let (tls, generation) = {
            let kept = self.kept();
            (kept.tls.clone(), kept.generation)
        };
        let mut stream = timeout(CONNECT, self.connect(&tls)).await.map_err(|_| AttemptError::ConnectTimeout)??;
        self.verify_again(&stream)?;
        self.verify_party(&stream)?;
        let shares_none = stream.get_ref().1.alpn_protocol() != Some(b"h2");
        self.shares_none.store(shares_none, Ordering::Relaxed);
        if shares_none {
            return one(stream, generation).await;
        }
        accepted(&mut stream).await?;
        let wire = two(stream).await?;
        let mut kept = self.kept();
        if generation == kept.generation {
            kept.two = Some((wire.clone(), Instant::now()));
        }
        Ok(Wire::Two(wire))
    }

    /// TCP and TLS: rustls verifies chain, validity and host name.
    async fn connect(&self, tls: &TlsConnector) -> Result<TlsStream<TcpStream>, AttemptError> {
        let stream = match self.endpoint.connect {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((self.endpoint.host(), self.endpoint.base.port_u16().unwrap_or(443))).await,
        };
        let stream = stream.map_err(|error| AttemptError::Unreachable(error.kind()))?;
        // Requests are written whole; without it their last packet would wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        tls.connect(self.name.clone(), stream).await.map_err(refused)
    }

    /// A session that is resumed skips rustls' verifier: the chain that it began with is judged as it stands now.
    fn verify_again(&self, stream: &TlsStream<TcpStream>) -> Result<(), AttemptError> {
        let session = stream.get_ref().1;
        if session.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        let (chain, endpoint) = (session.peer_certificates().unwrap_or_default(), &self.endpoint);
        let now = self.clock.current_time().ok_or(AttemptError::Closed)?;
        let judged = endpoint.anchors.judge_server(chain, &self.name, endpoint.common_name.as_deref(), now);
        judged.map_err(|error| AttemptError::Tls(distrusted(&error)))
    }

    fn verify_party(&self, stream: &TlsStream<TcpStream>) -> Result<(), AttemptError> {
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().ok_or(CertificateError::Malformed)?;
        // The handshake accepts a certificate without names only by the common name that the partner file pins.
        let is_pinned = || Ok::<_, CertificateError>(legacy_common_name(certificate)?.is_some());
        match &self.party {
            Some(expected) if self.endpoint.common_name.is_none() || !is_pinned()? => {
                let found = party_of(certificate, Role::Server)?;
                if found != *expected {
                    return Err(AttemptError::WrongParty { expected: expected.clone(), found });
                }
            }
            _ => usable_as(certificate, Role::Server)?,
        }
        if !self.endpoint.pins.is_empty() && !self.endpoint.pins.contains(&Pin::of(certificate)?) {
            return Err(AttemptError::NotPinned);
        }
        Ok(())
    }
}

impl Kept {
    fn new(
        party: Option<&PartyId>,
        endpoint: &Endpoint,
        credentials: &Credentials,
        clock: &Clock,
    ) -> Result<Kept, TlsError> {
        let generation = generation(endpoint, credentials);
        let kind = (endpoint.minimum_tls, endpoint.common_name.as_deref());
        let config = if party.is_some() { client_config_from } else { client_config_for_service };
        let tls = config(kind, credentials, &endpoint.anchors, clock.clone())?.into();
        Ok(Kept { tls, generation, two: None, one: Vec::new() })
    }
}

/// Other numbers once one of them was replaced.
fn generation(endpoint: &Endpoint, credentials: &Credentials) -> [u64; 2] {
    [endpoint.anchors.generation(), credentials.generation()]
}

impl Wire {
    async fn send(&mut self, mut request: Request<Full<Bytes>>, target: &Uri) -> Result<Response<Incoming>, Unsent> {
        let unsent = |mut error: TrySendError<Request<Full<Bytes>>>| Unsent {
            request: error.take_message(),
            error: error.into_error(),
        };
        match self {
            Wire::Two(wire) => {
                if let Err(error) = wire.ready().await {
                    return Err(Unsent { request: Some(request), error });
                }
                *request.uri_mut() = target.clone();
                wire.try_send_request(request).await.map_err(unsent)
            }
            Wire::One(wire, ..) => {
                if let Err(error) = wire.ready().await {
                    return Err(Unsent { request: Some(request), error });
                }
                in_origin_form(&mut request, target);
                wire.try_send_request(request).await.map_err(unsent)
            }
        }
    }
}

/// HTTP/1.1 names the host in a header and the path in the request line (RFC 9112 section 3.2.1).
fn in_origin_form(request: &mut Request<Full<Bytes>>, target: &Uri) {
    let authority = target.authority().expect("a checked endpoint has an authority");
    let host = authority.as_str().parse().expect("an authority is visible ASCII");
    request.headers_mut().insert(http::header::HOST, host);
    if let Some(path) = target.path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
}

/// Waits for the partner's first frame: in TLS 1.3 our certificate is judged after our side of the handshake is done,
/// and nothing is to be sent to a partner that refuses it (RFC 8446 section 4.4.2.4; RFC 9113 section 3.4).
async fn accepted(stream: &mut TlsStream<TcpStream>) -> Result<(), AttemptError> {
    match timeout(SPEAK_FIRST, stream.fill_buf()).await {
        Ok(Ok([])) => Err(AttemptError::Closed),
        Ok(Ok(_)) | Err(_) => Ok(()),
        Ok(Err(error)) => Err(alert_in(&error).map_or(AttemptError::Closed, AttemptError::CredentialsRefused)),
    }
}

async fn two(stream: TlsStream<TcpStream>) -> Result<http2::SendRequest<Full<Bytes>>, AttemptError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30)).keep_alive_timeout(CONNECT);
    let (wire, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| before(&error))?;
    // What ends the connection is told to each request on it.
    tokio::spawn(async move { connection.await.ok() });
    Ok(wire)
}

async fn one(stream: TlsStream<TcpStream>, generation: [u64; 2]) -> Result<Wire, AttemptError> {
    let (wire, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| before(&error))?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(Wire::One(wire, Instant::now(), generation))
}
