//! Dates and times of HL7 v2 (DT, TS, DTM) as FHIR writes them.

use std::ops::Range;

use ::time::{Date, Month};

use crate::fhir::uk_time;
use crate::intake::model::Clock;

/// `YYYY[MM[DD…]]` as a FHIR date; `None` for what is none.
pub(super) fn date(text: &str) -> Option<String> {
    let text = text.trim();
    if text.contains(['+', '-']) && offset_of(text).is_none() {
        return None;
    }
    let stamp = text.split(['+', '-', '.']).next().unwrap_or_default();
    if !stamp.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(stamp.len(), 4 | 6 | 8 | 12 | 14) {
        return None;
    }
    let day = stamp.get(..stamp.len().min(8))?;
    Some(day_of(day))
}

/// `YYYY[MM[DD[HHMM[SS[.S…]]]]][+/-ZZZZ]` as a FHIR dateTime; a time without an offset gets that of `clock`, and is
/// `None` where that has none.
pub(super) fn time(text: &str, clock: &Clock) -> Option<String> {
    let text = text.trim();
    let (stamp, own) = text.split_at(text.find(['+', '-']).unwrap_or(text.len()));
    let (digits, fraction) = stamp.split_at(stamp.find('.').unwrap_or(stamp.len()));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if matches!(digits.len(), 4 | 6 | 8) && fraction.is_empty() && own.is_empty() {
        return Some(day_of(digits));
    }
    let zone = if own.is_empty() { zone(digits, clock)? } else { offset_of(text)? };
    let seconds = match (digits.len(), fraction) {
        (12, "") => "00".to_owned(),
        (14, "") => digits.get(12..)?.to_owned(),
        (14, _) if fraction.len() > 1 && fraction[1..].bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{}{fraction}", digits.get(12..)?)
        }
        _ => return None,
    };
    Some(format!("{}T{}:{}:{seconds}{zone}", day_of(digits.get(..8)?), digits.get(8..10)?, digits.get(10..12)?))
}

/// The offset that a time of these digits has by `clock`.
fn zone(digits: &str, clock: &Clock) -> Option<String> {
    match clock {
        Clock::Message => None,
        Clock::Offset(offset) => Some(offset.to_string()),
        Clock::Uk => {
            let number = |place: Range<usize>| digits.get(place)?.parse::<u8>().ok();
            let month = Month::try_from(number(4..6)?).ok()?;
            let date = Date::from_calendar_date(digits.get(..4)?.parse().ok()?, month, number(6..8)?).ok()?;
            let offset = uk_time::offset_of(date.with_hms(number(8..10)?, number(10..12)?, 0).ok()?)?;
            Some(format!("{:+03}:00", offset.whole_hours()))
        }
    }
}

/// The offset of a time: `+0100` as `+01:00`.
pub(super) fn offset_of(text: &str) -> Option<String> {
    let offset = &text[text.find(['+', '-'])?..];
    let digits = &offset[1..];
    let is_offset = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_offset.then(|| format!("{}:{}", &offset[..3], &offset[3..]))
}

/// `YYYYMMDD`, `YYYYMM` or `YYYY` with hyphens.
fn day_of(digits: &str) -> String {
    let mut day = String::with_capacity(10);
    for (at, digit) in digits.chars().enumerate() {
        if at == 4 || at == 6 {
            day.push('-');
        }
        day.push(digit);
    }
    day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_as_fhir_writes_them() {
        for (text, expected) in [
            ("19480203", Some("1948-02-03")),
            ("194802", Some("1948-02")),
            ("194802031200+0100", Some("1948-02-03")),
            ("1948-02-03", None),
            ("194802031", None),
            ("é948", None),
            ("", None),
        ] {
            assert_eq!(date(text).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            ("20260101", Some("2026-01-01")),
            ("202601011200", Some("2026-01-01T12:00:00+00:00")),
            ("20260101120005.25-0530", Some("2026-01-01T12:00:05.25-05:30")),
            ("20260101120005+01", None),
            ("20260101120005+01:0", None),
            ("2026010112", None),
            ("20260101120005.", None),
            ("+0100", None),
            ("é+0100", None),
        ] {
            assert_eq!(time(text, &Clock::Offset("+00:00".into())).as_deref(), expected, "{text}");
        }
        assert_eq!(time("202601011200", &Clock::Message), None);
        for (text, expected) in [
            ("202601011200", Some("2026-01-01T12:00:00+00:00")),
            ("20260701120005.25", Some("2026-07-01T12:00:05.25+01:00")),
            ("20260701120000-0500", Some("2026-07-01T12:00:00-05:00")),
            ("20260329013000", None),
            ("20261025013000", Some("2026-10-25T01:30:00+01:00")),
            ("19850701120000", None),
            ("20260230120000", None),
            ("202607012460", None),
            ("2026070112", None),
            ("20260701", Some("2026-07-01")),
        ] {
            assert_eq!(time(text, &Clock::Uk).as_deref(), expected, "{text}");
        }
    }
}
