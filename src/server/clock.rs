//! The clock: the only place that asks the system what time it is.

use crate::fhir::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "this is where the rest of the program gets its time from")]
pub fn now() -> Instant {
    Instant::now_utc()
}
