//! Times as people in the UK read them: local time, with the day of the week.
//!
//! Enters: FHIR date, dateTime or instant. Leaves: `18:05 on Mon 2 March 2026`, always UK time; a text that is none, as it is.
//! Times before the rules of [`uk_time`] are told as written, with their offset.

use std::borrow::Cow;

use time::format_description::well_known::Rfc3339;
use time::{Date, Duration, Month, OffsetDateTime, UtcOffset};

use crate::fhir::uk_time;

/// A FHIR time in words.
pub(super) fn in_words(text: &str) -> Cow<'_, str> {
    let told = match text.len() > 10 {
        true => instant(text).and_then(|instant| Some(of_instant(uk_time::shown_at(instant)?))),
        false => of_date(text),
    };
    told.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// The point in time that a dateTime with an offset means.
pub(super) fn instant(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// When a time is over: that point in time, or the end of the day, the month or the year in the UK.
pub(super) fn end(text: &str) -> Option<OffsetDateTime> {
    let last_day = || {
        let (year, month, day) = parts(text)?;
        let month = month.unwrap_or(Month::December);
        Date::from_calendar_date(year, month, day.unwrap_or_else(|| month.length(year))).ok()
    };
    instant(text).or_else(|| {
        let last = last_day()?.with_hms(23, 59, 59).ok()?;
        Some(last.assume_offset(uk_time::offset_of(last).unwrap_or(UtcOffset::UTC)))
    })
}

/// The day in the UK at that time.
pub(super) fn day(text: &str) -> Option<Date> {
    instant(text).map(|instant| uk_time::shown_at(instant).unwrap_or(instant).date()).or_else(|| whole_date(text))
}

/// A day, when all of it is said.
pub(super) fn whole_date(text: &str) -> Option<Date> {
    let (year, month, day) = parts(text)?;
    Date::from_calendar_date(year, month?, day?).ok()
}

/// How many birthdays there were until `day`.
pub(super) fn age(born: Date, day: Date) -> Option<i32> {
    let before = (day.month() as u8, day.day()) < (born.month() as u8, born.day());
    Some(day.year() - born.year() - i32::from(before)).filter(|age| (0..=130).contains(age))
}

fn of_instant(at: OffsetDateTime) -> String {
    let weekday = at.weekday().to_string();
    let (hour, minute) = (at.hour(), at.minute());
    let clock = match (is_shown_twice(at), at.offset() == UtcOffset::UTC) {
        (false, _) => "",
        (true, false) => " BST",
        (true, true) => " GMT",
    };
    format!("{hour:02}:{minute:02}{clock} on {} {} {} {}", &weekday[..3], at.day(), at.month(), at.year())
}

/// Whether a clock in the UK shows the same an hour before or after: it is set back in October.
fn is_shown_twice(at: OffsetDateTime) -> bool {
    [Duration::HOUR, -Duration::HOUR].into_iter().any(|apart| {
        let other = at.checked_add(apart).and_then(uk_time::shown_at);
        other.is_some_and(|other| (other.date(), other.time()) == (at.date(), at.time()))
    })
}

fn of_date(text: &str) -> Option<String> {
    Some(match parts(text)? {
        (year, None, _) => year.to_string(),
        (year, Some(month), None) => format!("{month} {year}"),
        (year, Some(month), Some(day)) => {
            Date::from_calendar_date(year, month, day).ok()?;
            format!("{day} {month} {year}")
        }
    })
}

/// Year, month and day of a date, as far as they are said.
fn parts(text: &str) -> Option<(i32, Option<Month>, Option<u8>)> {
    let number = |part: &str, digits: usize| {
        let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse::<u16>().ok()).flatten()
    };
    let mut said = text.split('-');
    let year = i32::from(number(said.next()?, 4)?);
    let mut small = || said.next().map(|part| number(part, 2).and_then(|number| u8::try_from(number).ok()));
    let (month, day) = (small(), small());
    let month = month.map(|month| Month::try_from(month?).ok());
    match (month, day, said.next()) {
        (None, None, None) => Some((year, None, None)),
        (Some(month @ Some(_)), None, None) => Some((year, month, None)),
        (Some(month @ Some(_)), Some(day @ Some(_)), None) => Some((year, month, day)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_a_clock_in_the_uk() {
        for (text, expected) in [
            ("2026-03-02T18:05:00Z", "18:05 on Mon 2 March 2026"),
            ("2026-07-01T17:05:00Z", "18:05 on Wed 1 July 2026"),
            ("2026-07-01T23:30:00.250Z", "00:30 on Thu 2 July 2026"),
            ("2026-03-29T00:59:59Z", "00:59 on Sun 29 March 2026"),
            ("2026-03-29T01:00:00Z", "02:00 on Sun 29 March 2026"),
            ("2026-10-25T00:59:00Z", "01:59 BST on Sun 25 October 2026"),
            ("2026-10-25T01:00:00Z", "01:00 GMT on Sun 25 October 2026"),
            ("2026-10-25T00:00:00Z", "01:00 BST on Sun 25 October 2026"),
            ("2026-10-25T02:00:00Z", "02:00 on Sun 25 October 2026"),
            ("2026-03-02T18:05:00-05:00", "23:05 on Mon 2 March 2026"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00"),
            ("1987-06-14", "14 June 1987"),
            ("2001-11", "November 2001"),
            ("2026", "2026"),
            ("2026-02-30", "2026-02-30"),
            ("2026-13", "2026-13"),
            ("2026-00-01", "2026-00-01"),
            ("soon", "soon"),
            ("é-03", "é-03"),
            ("<b>2026-03-02T18:05:00Z", "<b>2026-03-02T18:05:00Z"),
            ("", ""),
        ] {
            assert_eq!(in_words(text), expected, "{text}");
        }
    }

    #[test]
    fn an_age_counts_birthdays() {
        let of = |born: &str, at: &str| age(whole_date(born).expect("a day"), day(at).expect("a day"));
        assert_eq!(of("1987-06-14", "2026-06-13T12:00:00Z"), Some(38));
        assert_eq!(of("1987-06-14", "2026-06-13T23:30:00Z"), Some(39));
        assert_eq!(of("2030-01-01", "2026-06-13"), None);
        assert_eq!(whole_date("1987-06"), None);
    }
}
