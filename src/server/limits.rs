//! What connections and requests may cost, and the count of what was refused for it. `docs/limits.md` has the sum.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// What connections and requests to one listener may cost. A client is whoever presents one certificate, or connects
/// from one address where no certificate is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. For one more, the one that has been idle for longest is closed. Default 2048.
    pub connections: usize,
    /// Connections from one address at a time, likewise. Default 1024.
    pub address_connections: usize,
    /// Connections of one certificate at a time, likewise. Default 256.
    pub client_connections: usize,
    /// From the connection to the end of the TLS handshake. Default 10 s.
    pub handshake: Duration,
    /// From the first byte of a request's headers to their last. Default 10 s.
    pub headers: Duration,
    /// How long a connection may stay without a request. Default 60 s.
    pub idle: Duration,
    /// From a request's headers to its answer; then as long again until the answer is taken. Default 120 s.
    pub request: Duration,
    /// How long a peer may send or take nothing while it is waited for; what it does then must come to
    /// `MIN_BYTES_PER_SECOND` on average. Default 10 s.
    pub stall: Duration,
    /// Bytes of a request's headers, at least 8192. Default 32 KiB.
    pub header_bytes: u32,
    /// Lines of a request's headers. Default 100.
    pub header_count: usize,
    /// Requests at a time on one HTTP/2 connection. Default 64.
    pub streams: u32,
    /// Requests at a time, from their headers to the end of their answers. Default 1024.
    pub requests: usize,
    /// Requests at a time of one client. Default 512.
    pub client_requests: usize,
    /// Bytes of bodies that are kept at a time, of requests and long answers. Default 256 MiB.
    pub body_bytes: usize,
    /// The same for one client. Default 128 MiB.
    pub client_body_bytes: usize,
    /// Bytes that the work on records may take at a time, as reckoned by [`Limits::work_of`]. Default 1 GiB.
    pub work_bytes: usize,
    /// How often the client of an open connection is judged again: expired or revoked since, it is asked to leave. Default
    /// 60 s.
    pub judge_again: Duration,
    /// How long a shutdown waits for requests that are being answered. Default 10 s.
    pub drain: Duration,
}

/// What a peer that is waited for has to send or take on average.
pub(super) const MIN_BYTES_PER_SECOND: u32 = 1024;

/// What the work on a record takes at most besides what it takes for each of its bytes.
const WORK_BASE: usize = 512 << 10;

/// What the work on a record takes at most for each of its bytes: its tree, the Bundle, and their copies.
const WORK_FOR_EACH_BYTE: usize = 40;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 2048,
            address_connections: 1024,
            client_connections: 256,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            request: Duration::from_secs(120),
            stall: Duration::from_secs(10),
            header_bytes: 32 * 1024,
            header_count: 100,
            streams: 64,
            requests: 1024,
            client_requests: 512,
            body_bytes: 256 << 20,
            client_body_bytes: 128 << 20,
            work_bytes: 1 << 30,
            judge_again: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// For operators: few requests, without bodies.
    pub fn of_operations() -> Limits {
        Limits {
            connections: 256,
            address_connections: 128,
            requests: 64,
            client_requests: 32,
            body_bytes: 16 << 20,
            client_body_bytes: 8 << 20,
            ..Limits::default()
        }
    }

    /// How often a connection is looked at for what it has been doing.
    pub(super) fn look(&self) -> Duration {
        self.idle.min(self.request) / 4
    }

    /// What the work on a record of `length` bytes is reckoned to take.
    pub fn work_of(length: usize) -> usize {
        WORK_BASE + length.saturating_mul(WORK_FOR_EACH_BYTE)
    }
}

/// A limit that something was refused or closed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`Limits::connections`]
    Connections,
    /// [`Limits::address_connections`]
    AddressConnections,
    /// [`Limits::client_connections`]
    ClientConnections,
    /// [`Limits::handshake`]
    Handshake,
    /// [`Limits::headers`]
    Headers,
    /// [`Limits::idle`]
    Idle,
    /// [`Limits::request`]
    Request,
    /// [`Limits::stall`] of a body.
    SlowBody,
    /// [`Limits::stall`] of an answer.
    SlowReader,
    /// [`Limits::header_count`]
    HeaderCount,
    /// What can be read in two ways.
    Framing,
    /// Streams that were opened and reset.
    Resets,
    /// What HTTP itself does not permit: broken frames, floods of them.
    Protocol,
    /// [`Limits::requests`]
    Requests,
    /// [`Limits::client_requests`]
    ClientRequests,
    /// [`Limits::body_bytes`]
    BodyBytes,
    /// [`Limits::client_body_bytes`]
    ClientBodyBytes,
    /// The longest body.
    BodySize,
    /// The longest time of a body.
    BodyTime,
    /// What may wait to be sent.
    Outbox,
    /// What stays free on the disk.
    Disk,
}

impl Limit {
    /// Its name in metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Limit::Connections => "connections",
            Limit::AddressConnections => "connections-of-address",
            Limit::ClientConnections => "connections-of-client",
            Limit::Handshake => "handshake-time",
            Limit::Headers => "header-time",
            Limit::Idle => "idle-time",
            Limit::Request => "request-time",
            Limit::SlowBody => "body-rate",
            Limit::SlowReader => "answer-rate",
            Limit::HeaderCount => "header-count",
            Limit::Framing => "framing",
            Limit::Resets => "resets",
            Limit::Protocol => "protocol",
            Limit::Requests => "requests",
            Limit::ClientRequests => "requests-of-client",
            Limit::BodyBytes => "body-bytes",
            Limit::ClientBodyBytes => "body-bytes-of-client",
            Limit::BodySize => "body-size",
            Limit::BodyTime => "body-time",
            Limit::Outbox => "outbox",
            Limit::Disk => "disk",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    listener: &'static str,
    limit: &'static str,
}

/// How often each listener kept to each limit.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Family<Label, Counter>);

impl Refusals {
    /// Those of one listener.
    pub(super) fn at(&self, listener: &'static str) -> Tally {
        Tally { listener, refusals: self.clone() }
    }

    pub(super) fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        let help = "Connections closed and requests refused to keep to a limit, by listener and limit";
        registry.register("refused_by_limit", help, self.0.clone());
    }
}

/// How often one listener kept to each limit.
#[derive(Clone, Debug)]
pub struct Tally {
    listener: &'static str,
    refusals: Refusals,
}

impl Default for Tally {
    fn default() -> Tally {
        Refusals::default().at("receiver")
    }
}

impl Tally {
    /// One more.
    pub(super) fn count(&self, limit: Limit) {
        let label = Label { listener: self.listener, limit: limit.code() };
        self.refusals.0.get_or_create(&label).inc();
        tracing::debug!(listener = self.listener, limit = limit.code(), "a limit was kept to");
    }
}
