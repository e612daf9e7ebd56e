//! Instants as FHIR writes them: to the millisecond, in UTC.

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

/// A point in time.
pub type Instant = OffsetDateTime;

const FORMAT: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// `2026-01-31T23:59:59.123Z`: a FHIR instant in UTC (R4 datatypes, instant).
pub fn instant_text(instant: Instant) -> String {
    instant.to_offset(time::UtcOffset::UTC).format(FORMAT).expect("the format has no fallible component")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_instant_is_utc_to_the_millisecond() {
        assert_eq!(instant_text(datetime!(2026-02-01 00:59:59.1234 +01:00)), "2026-01-31T23:59:59.123Z");
    }
}
