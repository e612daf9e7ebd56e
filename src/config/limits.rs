//! `[limits]` of weir.toml: what connections and requests may cost. `docs/limits.md` explains each key.

use std::time::Duration;

use serde::Deserialize;

use super::faults::Fault;
use super::site::SITE;
use crate::server::listener::Limits;

/// As written; what is not there has its default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    connections: Option<usize>,
    connections_per_address: Option<usize>,
    connections_per_client: Option<usize>,
    handshake_seconds: Option<u64>,
    header_seconds: Option<u64>,
    idle_seconds: Option<u64>,
    request_seconds: Option<u64>,
    stall_seconds: Option<u64>,
    header_bytes: Option<u32>,
    headers: Option<usize>,
    streams: Option<u32>,
    requests: Option<usize>,
    requests_per_client: Option<usize>,
    body_bytes: Option<usize>,
    body_bytes_per_client: Option<usize>,
    work_bytes: Option<usize>,
}

impl LimitsSection {
    /// The limits, with defaults for what is not written.
    ///
    /// # Errors
    /// The first key that is out of range.
    pub(super) fn check(&self, longest_body: usize) -> Result<Limits, Fault> {
        let own = Limits::default();
        let limits = Limits {
            connections: kept("connections", self.connections, own.connections, 1..=1_000_000)?,
            address_connections: kept(
                "connections_per_address",
                self.connections_per_address,
                own.address_connections,
                1..=1_000_000,
            )?,
            client_connections: kept(
                "connections_per_client",
                self.connections_per_client,
                own.client_connections,
                1..=1_000_000,
            )?,
            handshake: seconds("handshake_seconds", self.handshake_seconds, own.handshake)?,
            headers: seconds("header_seconds", self.header_seconds, own.headers)?,
            idle: seconds("idle_seconds", self.idle_seconds, own.idle)?,
            request: seconds("request_seconds", self.request_seconds, own.request)?,
            stall: seconds("stall_seconds", self.stall_seconds, own.stall)?,
            header_bytes: kept("header_bytes", self.header_bytes, own.header_bytes, 8192..=1 << 20)?,
            header_count: kept("headers", self.headers, own.header_count, 20..=10_000)?,
            streams: kept("streams", self.streams, own.streams, 1..=1000)?,
            requests: kept("requests", self.requests, own.requests, 1..=1_000_000)?,
            client_requests: kept("requests_per_client", self.requests_per_client, own.client_requests, 1..=1_000_000)?,
            body_bytes: kept("body_bytes", self.body_bytes, own.body_bytes, longest_body..=1 << 40)?,
            client_body_bytes: kept(
                "body_bytes_per_client",
                self.body_bytes_per_client,
                own.client_body_bytes,
                longest_body..=1 << 40,
            )?,
            work_bytes: kept("work_bytes", self.work_bytes, own.work_bytes, 16 << 20..=1 << 40)?,
            ..own
        };
        Ok(limits)
    }
}

fn seconds(key: &str, written: Option<u64>, own: Duration) -> Result<Duration, Fault> {
    kept(key, written, own.as_secs(), 1..=86_400).map(Duration::from_secs)
}

/// What is written, or the default, if it is in range.
fn kept<T: PartialOrd + Copy + std::fmt::Display>(
    key: &str,
    written: Option<T>,
    own: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, Fault> {
    let value = written.unwrap_or(own);
    if range.contains(&value) {
        return Ok(value);
    }
    let text = format!("limits.{key} is out of range");
    Err(Fault::new(SITE, text, format!("write {} to {}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_kept_or_has_its_default_and_is_in_range() {
        let section: LimitsSection = toml::from_str("idle_seconds = 5\nstreams = 7").expect("it is read");
        let limits = section.check(10 << 20).expect("it is in range");
        let own = Limits::default();
        assert_eq!((limits.idle.as_secs(), limits.streams, limits.requests), (5, 7, own.requests));
        for wrong in ["idle_seconds = 0", "streams = 0", "header_bytes = 100", "body_bytes = 1000"] {
            let section: LimitsSection = toml::from_str(wrong).expect("it is read");
            let fault = section.check(10 << 20).expect_err(wrong);
            let key = wrong.split(' ').next().expect("it has a key");
            assert!(fault.to_string().contains(key), "{fault}");
        }
        assert!(toml::from_str::<LimitsSection>("sockets = 1").is_err());
    }
}
