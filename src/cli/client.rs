//! A record system's side of the wire: HTTP/1.1 requests over one mutual-TLS connection.

use std::sync::Arc;

use anyhow::Context as _;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{HeaderMap, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::Endpoint;
use crate::intake::media_type;

/// The largest answer that is read.
const ANSWER_BYTES: usize = 16 << 20;

/// One connection.
#[derive(Debug)]
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// The status line's code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// When nobody listens, or either side refuses the other's certificate.
    pub async fn connect(endpoint: &Endpoint) -> anyhow::Result<Client> {
        let host = endpoint.uri.host().context("the endpoint has no host name")?.to_owned();
        let port = endpoint.uri.port_u16().unwrap_or(443);
        let stream = match endpoint.connect {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((host.as_str(), port)).await,
        };
        let stream = stream.with_context(|| {
            let at = endpoint.connect.map(|address| format!(" at {address}")).unwrap_or_default();
            format!("cannot connect to {}{at}; start the gateway, or check [send] in weir.toml", endpoint.uri)
        })?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.clone()).context("the endpoint's host is not a DNS name")?;
        let mut tls = (*endpoint.tls).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream =
            TlsConnector::from(Arc::new(tls)).connect(name, stream).await.context("the TLS handshake failed")?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Client { sender, host })
    }

    /// Submits a record, or a FHIR resource as JSON or XML.
    ///
    /// # Errors
    /// As [`Client::exchange`].
    pub async fn submit(&mut self, interface: &str, key: Option<&str>, record: Bytes) -> anyhow::Result<Answer> {
        let mut request =
            Request::post(format!("/records/{interface}")).header(header::CONTENT_TYPE, media_type(&record));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.exchange(request.body(Full::new(record))?).await
    }

    /// Asks where a message stands: the path of a 202's Location.
    ///
    /// # Errors
    /// As [`Client::exchange`].
    pub async fn state(&mut self, location: &str) -> anyhow::Result<Answer> {
        self.exchange(Request::get(location).body(Full::default())?).await
    }

    /// Sends any request to the endpoint, and reads the whole answer.
    ///
    /// # Errors
    /// When the connection ends, or the answer is larger than 16 MiB.
    #[expect(clippy::disallowed_methods, reason = "the body is limited")]
    pub async fn exchange(&mut self, mut request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        request.headers_mut().insert(header::HOST, self.host.parse()?);
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| anyhow::anyhow!(error))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}
