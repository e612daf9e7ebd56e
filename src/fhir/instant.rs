//! Instants as FHIR writes them: to the millisecond, in UTC.

use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::{format_description, time};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, UtcOffset};
use uuid::{NoContext, Timestamp, Uuid};

/// A point in time.
pub type Instant = OffsetDateTime;

const FORMAT: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// `2026-01-31T23:59:59.123Z`: a FHIR instant in UTC (R4 datatypes, instant).
pub fn instant_text(instant: Instant) -> String {
    // Some hours at the end of the calendar lie behind it in UTC.
    let instant = instant.checked_to_offset(UtcOffset::UTC).unwrap_or(PrimitiveDateTime::MAX.assume_utc());
    instant.format(FORMAT).expect("the format has no fallible component")
}

/// A UUIDv7 of `at`: ordered by time, unique by randomness (RFC 9562 section 5.7).
pub fn time_ordered_id(at: Instant) -> Uuid {
    let seconds = u64::try_from(at.unix_timestamp()).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, at.nanosecond()))
}

/// The last instant that a FHIR dateTime may mean: the end of the year, month or day when it says no more, in UTC. `None` also for what lies
/// behind the year 9999 there.
pub fn latest(text: &str) -> Option<Instant> {
    if text.len() > 10 {
        return OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC);
    }
    let mut parts = text.split('-');
    let number = |part: &str, digits: usize| {
        let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse::<u16>().ok()).flatten()
    };
    let year = i32::from(number(parts.next()?, 4)?);
    let month = parts.next().map_or(Some(12), |part| number(part, 2))?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let day = parts.next().map_or(Some(u16::from(month.length(year))), |part| number(part, 2))?;
    let date = Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()?;
    parts.next().is_none().then(|| date.with_time(time!(23:59:59.999)).assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_instant_is_utc_to_the_millisecond() {
        assert_eq!(instant_text(datetime!(2026-02-01 00:59:59.1234 +01:00)), "2026-01-31T23:59:59.123Z");
        assert_eq!(instant_text(datetime!(9999-12-31 23:59:59 -12:00)), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_date_means_all_of_its_day_month_or_year() {
        for (text, last) in [
            ("2026", Some(datetime!(2026-12-31 23:59:59.999 UTC))),
            ("2024-02", Some(datetime!(2024-02-29 23:59:59.999 UTC))),
            ("2026-03-01", Some(datetime!(2026-03-01 23:59:59.999 UTC))),
            ("9999-12-31T23:59:59-12:00", None),
            ("2026-03-01T12:00:00+01:00", Some(datetime!(2026-03-01 11:00 UTC))),
            ("2026-13", None),
            ("2026-02-30", None),
            ("26-1-1", None),
            ("2026-03-0", None),
            ("2026-03-01T", None),
            ("+026", None),
            ("", None),
        ] {
            assert_eq!(latest(text), last, "{text}");
        }
    }
}
