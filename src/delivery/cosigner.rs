//! A witness of the audit log, as it is reached: `POST <base>/add-checkpoint` (C2SP tlog-witness) over mutual TLS, or over plain
//! HTTP on a loopback address.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::attempt::{before, cut};
use super::client::Client;
use super::reply::read;
use super::{AttemptError, Endpoint};
use crate::identity::tls::{Clock, Credentials, TlsError};

/// From connecting to the last byte of the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of an answer: some signature lines.
const MOST: usize = 16 << 10;

/// What asks one witness.
#[derive(Debug)]
pub struct Cosigner(Over);

#[derive(Debug)]
enum Over {
    Tls(Box<Client>, Uri),
    Loopback(SocketAddr, Uri),
}

impl Cosigner {
    /// Over mutual TLS: the witness is known by the host name of its endpoint. Nothing is connected yet.
    ///
    /// # Errors
    /// When our credentials cannot be used as a client.
    pub fn over_tls(endpoint: Endpoint, credentials: &Credentials, clock: Clock) -> Result<Cosigner, TlsError> {
        let target = format!("{}/add-checkpoint", endpoint.base.to_string().trim_end_matches('/'));
        let target = target.parse().expect("a checked endpoint with a path is a URL");
        Ok(Cosigner(Over::Tls(Box::new(Client::of_service(endpoint, credentials, clock)?), target)))
    }

    /// Over plain HTTP; `None` unless `base` is `http://` and a loopback address.
    pub fn on_loopback(base: &str) -> Option<Cosigner> {
        let base: Uri = base.trim_end_matches('/').parse().ok()?;
        let host = base.host().filter(|_| base.scheme_str() == Some("http") && base.query().is_none())?;
        let address = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        let address = SocketAddr::new(address, base.port_u16().unwrap_or(80));
        let path = format!("{}/add-checkpoint", base.path().trim_end_matches('/')).parse().ok()?;
        address.ip().is_loopback().then_some(Cosigner(Over::Loopback(address, path)))
    }

    /// Asks for a cosignature: the answer, whatever it is.
    ///
    /// # Errors
    /// [`AttemptError`] when there is none within ten seconds.
    pub async fn add_checkpoint(&self, body: String) -> Result<Response<Bytes>, AttemptError> {
        let request = |uri: &Uri| {
            let request = Request::post(uri.clone()).header(CONTENT_TYPE, "text/plain; charset=utf-8");
            request.body(Full::new(Bytes::from(body))).expect("a checked URL makes a request")
        };
        match &self.0 {
            Over::Tls(client, target) => client.fetch(request(target), LIMIT, MOST).await,
            Over::Loopback(address, path) => {
                let exchange = plainly(*address, request(path));
                timeout(LIMIT, exchange).await.unwrap_or(Err(AttemptError::TimedOut))
            }
        }
    }
}

async fn plainly(address: SocketAddr, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, AttemptError> {
    let host = address.to_string().parse().expect("an address is visible ASCII");
    request.headers_mut().insert(HOST, host);
    let stream = TcpStream::connect(address).await.map_err(|error| AttemptError::Unreachable(error.kind()))?;
    let (mut wire, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| before(&error))?;
    let connection = tokio::spawn(connection);
    let answer = match wire.send_request(request).await {
        Ok(response) => read(response, MOST).await,
        Err(error) => Err(cut(&error)),
    };
    connection.abort();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_alone() {
        for base in ["http://127.0.0.1:8447", "http://[::1]:8447/", "http://127.0.0.1/witness"] {
            assert!(Cosigner::on_loopback(base).is_some(), "{base}");
        }
        for base in [
            "https://127.0.0.1:8447",
            "http://10.0.0.5:8447",
            "http://localhost:8447",
            "127.0.0.1:8447",
            "",
            "http://127.0.0.1/?a",
        ] {
            assert!(Cosigner::on_loopback(base).is_none(), "{base}");
        }
    }
}
