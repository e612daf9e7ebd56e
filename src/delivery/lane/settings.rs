//! How hard a lane is used: as the partner's file says it, and checked.

use std::time::Duration;

use serde::Deserialize;

use crate::delivery::setting::{SettingError, kept, number, seconds, wrong};
use crate::delivery::{PartnerSection, Schedule};

/// `[breaker]` of a partner's file.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSection {
    /// After how many failed attempts in a row the route is left alone. Default 5.
    pub failures: u32,
    /// For how long, before it is tried again. Default 5.
    pub open_seconds: f64,
    /// How many attempts at a time try it then. Default 1.
    pub probes: u32,
}

impl Default for BreakerSection {
    fn default() -> BreakerSection {
        BreakerSection { failures: 5, open_seconds: 5.0, probes: 1 }
    }
}

/// When a route is left alone, and how it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// After how many failed attempts in a row; at least 1.
    pub failures: u32,
    /// For how long.
    pub open: Duration,
    /// How many attempts at a time try it then; at least 1.
    pub probes: u32,
}

/// How hard a lane is used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaneSettings {
    /// When to try again.
    pub schedule: Schedule,
    /// The longest that one attempt takes.
    pub attempt_timeout: Duration,
    /// After how many failed attempts at a message no more are made; `None` for never.
    pub max_attempts: Option<u32>,
    /// Attempts under way at a time; at least 1.
    pub concurrency: u32,
    /// Attempts begun a second, on average over a second; `None` for as many as there are messages.
    pub rate: Option<f64>,
    /// When the route is left alone because it fails.
    pub breaker: BreakerSettings,
    /// Whether messages bring their Provenance in a header.
    pub show_provenance: bool,
}

impl LaneSettings {
    /// The checked settings of the lanes of a partner.
    pub(in crate::delivery) fn check(section: &PartnerSection, faults: &mut Vec<SettingError>) -> Option<LaneSettings> {
        let first = kept(seconds("first_retry_seconds", section.first_retry_seconds), faults);
        let max = kept(seconds("max_retry_seconds", section.max_retry_seconds), faults);
        let attempt_timeout = kept(seconds("attempt_timeout_seconds", section.attempt_timeout_seconds), faults);
        if section.max_retry_seconds < section.first_retry_seconds {
            faults.push(wrong("max_retry_seconds", "is below first_retry_seconds", "write at least as many seconds"));
        }
        if section.max_attempts == Some(0) {
            faults.push(wrong("max_attempts", "is 0", "write at least 1, or leave it out to try without end"));
        }
        let concurrency = kept(number("max_concurrent", section.max_concurrent, (1, 1024)), faults);
        let rate = kept(section.max_per_second.map(rate).transpose(), faults);
        let breaker = section.breaker.check(section.max_concurrent, faults);
        Some(LaneSettings {
            schedule: Schedule { first: first?, max: max? },
            attempt_timeout: attempt_timeout?,
            max_attempts: section.max_attempts,
            concurrency: concurrency?,
            rate: rate?,
            breaker: breaker?,
            show_provenance: section.show_provenance,
        })
    }
}

impl BreakerSection {
    fn check(&self, concurrency: u32, faults: &mut Vec<SettingError>) -> Option<BreakerSettings> {
        let failures = kept(number("breaker.failures", self.failures, (1, 1_000_000)), faults);
        let open = kept(seconds("breaker.open_seconds", self.open_seconds), faults);
        let probes = kept(number("breaker.probes", self.probes, (1, concurrency.max(1))), faults);
        Some(BreakerSettings { failures: failures?, open: open?, probes: probes? })
    }
}

fn rate(rate: f64) -> Result<f64, SettingError> {
    if !(0.01..=100_000.0).contains(&rate) {
        return Err(wrong("max_per_second", "is out of range", "write 0.01 to 100000, or leave it out"));
    }
    Ok(rate)
}
