//! A look at a partner's endpoint: what it shows in a TLS handshake, and everything that an attempt would refuse in it.
//!
//! Enters: an endpoint and our credentials. Leaves: [`Probe`]. The handshake itself accepts any chain, so that it can be
//! shown; nothing is sent over the connection, which is closed when it was looked at.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ProtocolVersion};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::attempt::{alert_in, distrusted, refused};
use super::{AttemptError, Endpoint, TlsRefusal};
use crate::fhir::Instant;
use crate::identity::PartyId;
use crate::identity::certificate::{Described, Role, describe, legacy_common_name, party_of, usable_as};
use crate::identity::pin::Pin;
use crate::identity::tls::{Clock, Credentials, Term, TlsVersion, observing_client};

/// How long each step may take.
const STEP: Duration = Duration::from_secs(10);
/// How long a partner that refuses our certificate has to say so.
const OBJECT: Duration = Duration::from_secs(2);

/// What was seen, as far as it went.
#[derive(Debug, Default)]
pub struct Probe {
    /// Where it was connected to.
    pub address: Option<SocketAddr>,
    /// `TLSv1_3`
    pub protocol: Option<String>,
    /// `TLS13_AES_128_GCM_SHA256`
    pub suite: Option<String>,
    /// `h2` or `http/1.1`, as the partner chose.
    pub speaks: Option<String>,
    /// The chain that it presents, its own certificate first.
    pub chain: Vec<Described>,
    /// The pin of its key.
    pub pin: Option<Pin>,
    /// What an attempt would refuse.
    pub problems: Vec<Remark>,
    /// What it will refuse before long.
    pub warnings: Vec<Remark>,
}

/// Something that is, or will be, wrong.
#[derive(Debug)]
pub struct Remark {
    /// What.
    pub text: String,
    /// What to do.
    pub hint: &'static str,
}

impl Probe {
    fn problem(&mut self, error: &AttemptError) {
        let problem = Remark { text: error.to_string(), hint: error.hint() };
        if !self.problems.iter().any(|known| known.text == problem.text) {
            self.problems.push(problem);
        }
    }

    fn keep<T>(&mut self, judged: Result<T, impl Into<AttemptError>>) {
        if let Err(error) = judged {
            self.problem(&error.into());
        }
    }
}

/// Looks at the endpoint of `party`, or, without one, of a service that is known by its host name.
pub async fn probe(
    party: Option<&PartyId>,
    endpoint: &Endpoint,
    credentials: &Credentials,
    clock: &Clock,
    now: Instant,
) -> Probe {
    let mut probe = Probe::default();
    match handshake(&mut probe, endpoint, credentials, clock).await {
        Ok(mut stream) => {
            look(&mut probe, &stream);
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
            judge(&mut probe, (party, endpoint), &chain, clock, now);
            if let Some(alert) = objection(&mut stream).await {
                probe.problem(&AttemptError::CredentialsRefused(alert));
            }
        }
        Err(error) => probe.problem(&error),
    }
    probe
}

async fn handshake(
    probe: &mut Probe,
    endpoint: &Endpoint,
    credentials: &Credentials,
    clock: &Clock,
) -> Result<TlsStream<TcpStream>, AttemptError> {
    let port = endpoint.base.port_u16().unwrap_or(443);
    let connecting = async {
        match endpoint.connect {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((endpoint.host(), port)).await,
        }
    };
    let stream = timeout(STEP, connecting).await.map_err(|_| AttemptError::ConnectTimeout)?;
    let stream = stream.map_err(|error| AttemptError::Unreachable(error.kind()))?;
    probe.address = stream.peer_addr().ok();
    let config = observing_client(credentials, clock.clone()).map_err(|_| AttemptError::Closed)?;
    let connecting = TlsConnector::from(config).connect(name(endpoint), stream);
    timeout(STEP, connecting).await.map_err(|_| AttemptError::ConnectTimeout)?.map_err(refused)
}

fn name(endpoint: &Endpoint) -> ServerName<'static> {
    ServerName::try_from(endpoint.host().to_owned()).expect("a checked endpoint has a host name")
}

fn look(probe: &mut Probe, stream: &TlsStream<TcpStream>) {
    let session = stream.get_ref().1;
    probe.protocol = session.protocol_version().map(|version| format!("{version:?}"));
    probe.suite = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    probe.speaks = session.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned());
    let chain = session.peer_certificates().unwrap_or_default();
    probe.chain = chain.iter().filter_map(|certificate| describe(certificate).ok()).collect();
    probe.pin = chain.first().and_then(|certificate| Pin::of(certificate).ok());
}

/// Everything that an attempt would ask, whatever was found before.
fn judge(
    probe: &mut Probe,
    (party, endpoint): (Option<&PartyId>, &Endpoint),
    chain: &[CertificateDer<'static>],
    clock: &Clock,
    now: Instant,
) {
    let old = probe.protocol.as_deref() == Some(format!("{:?}", ProtocolVersion::TLSv1_2).as_str());
    if old && endpoint.minimum_tls > TlsVersion::Tls12 {
        probe.problem(&AttemptError::Tls(TlsRefusal::TooOld));
    }
    let as_attempt = |error: rustls::Error| AttemptError::Tls(distrusted(&error));
    if let Some(time) = clock.current_time() {
        probe.keep(endpoint.anchors.judge_chain(chain, Role::Server, time).map_err(as_attempt));
    }
    let common_name = endpoint.common_name.as_deref();
    probe.keep(endpoint.anchors.judge_name(chain, &name(endpoint), common_name).map_err(as_attempt));
    let Some(first) = chain.first() else { return };
    let is_legacy = || common_name.is_some() && matches!(legacy_common_name(first), Ok(Some(_)));
    match party.filter(|_| !is_legacy()).map(|party| (party, party_of(first, Role::Server))) {
        Some((expected, Ok(found))) if found != *expected => {
            probe.problem(&AttemptError::WrongParty { expected: expected.clone(), found });
        }
        Some((_, named)) => probe.keep(named),
        None => probe.keep(usable_as(first, Role::Server)),
    }
    if let Some(pin) = probe.pin
        && !endpoint.pins.is_empty()
        && !endpoint.pins.contains(&pin)
    {
        probe.problem(&AttemptError::NotPinned);
    }
    warn(probe, endpoint, now);
}

fn warn(probe: &mut Probe, endpoint: &Endpoint, now: Instant) {
    let presented = probe.chain.iter().map(|each| {
        (
            Term::of_certificate(format!("its certificate {}", each.subject), each.validity.until),
            "ask the partner when it renews it",
        )
    });
    let ours = endpoint.anchors.terms().into_iter();
    let ours = ours.map(|term| (term, "put its successor into the file that the partner file names"));
    let near = presented.chain(ours).filter(|(term, _)| term.is_near(now) && term.until >= now);
    let days = |term: &Term| (term.until - now).whole_days();
    probe.warnings =
        near.map(|(term, hint)| Remark { text: format!("{} ends in {} days", term.what, days(&term)), hint }).collect();
}

/// The alert with which the partner refuses our certificate: in TLS 1.3 it comes after the handshake.
async fn objection(stream: &mut TlsStream<TcpStream>) -> Option<AlertDescription> {
    match timeout(OBJECT, stream.read(&mut [0; 1])).await {
        Ok(Err(error)) => alert_in(&error),
        _ => None,
    }
}
