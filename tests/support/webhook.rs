//! A webhook that keeps what it was told.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]
#![allow(unreachable_pub, reason = "each test includes it")]

use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use weir::identity::issuance::{Authority, Validity};

use crate::support::DemoSite;

/// What a webhook received: the Idempotency-Key and the body of each call.
pub type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// A webhook on a real TLS socket that answers its first call with 503. Gives its port and its authority's certificate.
pub fn webhook(runtime: &tokio::runtime::Runtime, calls: Calls) -> (u16, String) {
    let now = time::OffsetDateTime::now_utc();
    let validity = Validity { from: now - time::Duration::days(1), until: now + time::Duration::days(1) };
    let authority = Authority::new("Incidents CA (synthetic)", validity).expect("an authority");
    let party = "DEMOI".parse().expect("an ODS code");
    let issued = authority.issue(&party, "incidents.example", &["localhost"], validity).expect("a certificate");
    let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the versions are known")
        .with_no_client_auth()
        .with_single_cert(chain.expect("a certificate"), key)
        .expect("they fit");
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let calls = calls.clone();
            let answer = move |request: Request<Incoming>| take(request, calls.clone());
            let service = hyper::service::service_fn(answer);
            let _ended =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    });
    (port, authority.certificate_pem().to_owned())
}

async fn take(request: Request<Incoming>, calls: Calls) -> Result<Response<Full<Bytes>>, Infallible> {
    let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.expect("a notice is short").to_bytes();
    let mut calls = calls.lock().expect("no test holds it");
    calls.push((key, String::from_utf8_lossy(&body).into_owned()));
    let status = if calls.len() == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(Response::builder().status(status).body(Full::default()).expect("it is well formed"))
}

/// Lets the agreement with the Trust name the webhook for major incidents.
pub fn name_webhook(site: &DemoSite, port: u16) {
    let file = site.path("gateway/agreements/demo-trust-crisis.toml");
    let agreement = fs::read_to_string(&file).expect("the agreement is there");
    let major = "severity = \"major\"\n";
    assert!(agreement.contains(major));
    let with_webhook = format!("{major}webhook = \"https://localhost:{port}/incidents\"\n");
    fs::write(&file, agreement.replacen(major, &with_webhook, 1)).expect("it can be written");
}
