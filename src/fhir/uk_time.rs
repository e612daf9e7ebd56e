//! Clocks in the UK.
//!
//! Enters: a point in time, or what a clock shows. Leaves: what a clock shows, or its offset. Summer time runs from 01:00 UTC
//! on the last Sunday of March to 01:00 UTC on the last Sunday of October (Summer Time Act 1972 as amended in 2002; so since
//! 1996). Of the years before, nothing is said.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// The same moment by a clock in the UK; `None` before 1996.
pub(crate) fn shown_at(instant: OffsetDateTime) -> Option<OffsetDateTime> {
    let utc = instant.checked_to_offset(UtcOffset::UTC)?;
    let changes = |month| Some(last_sunday(utc.year(), month)?.with_hms(1, 0, 0).ok()?.assume_utc());
    let is_summer = (changes(Month::March)?..changes(Month::October)?).contains(&utc);
    (utc.year() >= 1996).then(|| utc.checked_to_offset(hours(is_summer.into())?)).flatten()
}

/// The offset of a clock in the UK that shows this; `None` for the hour that it leaves out in March, and before 1996. The hour
/// that it shows twice in October is taken as the first, in summer time.
pub(crate) fn offset_of(shown: PrimitiveDateTime) -> Option<UtcOffset> {
    let offsets = [hours(1)?, hours(0)?].into_iter();
    let mut right = offsets.filter(|offset| {
        let at = shown.assume_offset(*offset);
        shown_at(at).is_some_and(|at| at.offset() == *offset)
    });
    right.next()
}

fn hours(hours: i8) -> Option<UtcOffset> {
    UtcOffset::from_hms(hours, 0, 0).ok()
}

fn last_sunday(year: i32, month: Month) -> Option<Date> {
    let last = Date::from_calendar_date(year, month, 31).ok()?;
    last.checked_sub(time::Duration::days(i64::from(last.weekday().number_days_from_sunday())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn what_a_clock_shows_has_one_offset_or_none() {
        for (shown, expected) in [
            (datetime!(2026-01-01 12:00), Some(0)),
            (datetime!(2026-07-01 12:00), Some(1)),
            (datetime!(2026-03-29 00:59:59), Some(0)),
            (datetime!(2026-03-29 01:00), None),
            (datetime!(2026-03-29 01:59:59), None),
            (datetime!(2026-03-29 02:00), Some(1)),
            (datetime!(2026-10-25 00:59:59), Some(1)),
            (datetime!(2026-10-25 01:00), Some(1)),
            (datetime!(2026-10-25 01:59:59), Some(1)),
            (datetime!(2026-10-25 02:00), Some(0)),
            (datetime!(1996-01-01 00:00), Some(0)),
            (datetime!(1995-12-31 23:59:59), None),
            (datetime!(1995-07-01 12:00), None),
            (datetime!(9999-12-31 23:59:59), Some(0)),
            (datetime!(-9999-01-01 00:00), None),
        ] {
            assert_eq!(offset_of(shown).map(UtcOffset::whole_hours), expected, "{shown}");
        }
    }
}
