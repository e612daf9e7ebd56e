//! Requests to MESH: each with a token of its own and the headers that name this client.
//!
//! Enters: a method, a path below `/messageexchange/`, headers, a body. Leaves: the answer, whatever its status. MESH is
//! known by its host name and authority; it names no party.

use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::settings::Mailbox;
use super::token::Tokens;
use crate::delivery::AttemptError;
use crate::delivery::client::Client;
use crate::fhir::Instant;
use crate::identity::tls::{Clock, TlsError};

/// Version 2 of the API.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.mesh.v2+json");
const WEIR: &str = concat!("Weir/", env!("CARGO_PKG_VERSION"));

/// The most bytes of an answer that is no message.
const MOST: usize = 1 << 20;

/// How long a request of the inbox may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A client of our mailbox.
#[derive(Debug)]
pub(super) struct Mesh {
    client: Client,
    tokens: Tokens,
    clock: Clock,
    base: String,
    mailbox: String,
}

/// A request without a token.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Below our mailbox: `/inbox`.
    pub(super) path: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl<'a> Ask<'a> {
    /// One with nothing in it.
    pub(super) fn new(method: Method, path: &'a str) -> Ask<'a> {
        Ask { method, path, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

impl Mesh {
    /// A client of the mailbox. Nothing is connected yet.
    pub(super) fn new(mailbox: &Mailbox, clock: Clock) -> Result<Mesh, TlsError> {
        let base = mailbox.endpoint.base.to_string().trim_end_matches('/').to_owned();
        Ok(Mesh {
            client: Client::of_service(mailbox.endpoint.clone(), &mailbox.credentials, clock.clone())?,
            tokens: Tokens::new(&mailbox.mailbox, mailbox.secrets.clone()),
            clock,
            base,
            mailbox: mailbox.mailbox.clone(),
        })
    }

    /// Where our mailbox is.
    pub(super) fn address(&self) -> String {
        format!("{}/messageexchange/{}", self.base, self.mailbox)
    }

    /// Asks something of our mailbox; an answer of a megabyte at most.
    pub(super) async fn ask(&self, ask: Ask<'_>, limit: Duration) -> Result<Response<Bytes>, AttemptError> {
        self.ask_for(ask, limit, MOST).await
    }

    /// The same for an answer of `most` bytes.
    pub(super) async fn ask_for(
        &self,
        ask: Ask<'_>,
        limit: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, AttemptError> {
        let uri = format!("{}{}", self.address(), ask.path);
        self.exchange((ask.method, &uri), ask.headers, ask.body, (limit, most)).await
    }

    /// Asks which mailboxes take `workflow` for `ods`.
    pub(super) async fn look_up(
        &self,
        ods: &str,
        workflow: &str,
        limit: Duration,
    ) -> Result<Response<Bytes>, AttemptError> {
        let uri = format!("{}/messageexchange/endpointlookup/{ods}/{workflow}", self.base);
        self.exchange((Method::GET, &uri), HeaderMap::new(), Bytes::new(), (limit, MOST)).await
    }

    /// Says that our mailbox is used.
    pub(super) async fn shake_hands(&self) -> Result<StatusCode, AttemptError> {
        let mut ask = Ask::new(Method::POST, "");
        for (name, value) in [
            ("mex-clientversion", WEIR),
            ("mex-osname", std::env::consts::OS),
            ("mex-osversion", "unknown"),
            ("mex-osarchitecture", std::env::consts::ARCH),
        ] {
            ask.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Ok(self.ask(ask, LIMIT).await?.status())
    }

    async fn exchange(
        &self,
        (method, uri): (Method, &str),
        headers: HeaderMap,
        body: Bytes,
        (limit, most): (Duration, usize),
    ) -> Result<Response<Bytes>, AttemptError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().expect("checked names make a URI");
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.tokens.token(self.now()));
        headers.insert(ACCEPT, MEDIA_TYPE);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(USER_AGENT, HeaderValue::from_static(WEIR));
        self.client.fetch(request, limit, most).await
    }

    fn now(&self) -> Instant {
        let since = self.clock.current_time().unwrap_or(rustls::pki_types::UnixTime::since_unix_epoch(Duration::ZERO));
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Instant::from_unix_timestamp(seconds).unwrap_or(Instant::UNIX_EPOCH)
    }
}
