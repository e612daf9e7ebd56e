//! Dates, times and date-times that know how precisely they were written (FHIRPath N1, 4.1.6 to 4.1.8, 6.2).

use std::cmp::Ordering;
use std::fmt;

use time::{Duration, OffsetDateTime};

/// How precisely a date or time was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// `2015`
    Year,
    /// `2015-02`
    Month,
    /// `2015-02-04`
    Day,
    /// `14`
    Hour,
    /// `14:30`
    Minute,
    /// `14:30:15`
    Second,
    /// `14:30:15.123`, with so many digits: 1 to 9.
    Fraction(u8),
}

/// A date, whole or partial. Parts that were not written are 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
    precision: Precision,
}

/// A time of day, whole or partial. Parts that were not written are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    hour: u8,
    minute: u8,
    second: u8,
    nanosecond: u32,
    precision: Precision,
}

/// A date with a time of day, either of them partial, and perhaps an offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    date: Date,
    time: Time,
    precision: Precision,
    /// Minutes east of UTC.
    offset: Option<i16>,
}

/// A calendar duration's unit, or the definite-duration unit that may stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CalendarUnit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

impl Date {
    /// Reads `2015`, `2015-02` or `2015-02-04`; `None` for anything else, such as 30 February.
    pub fn parse(text: &str) -> Option<Date> {
        let mut parts = text.split('-');
        let year = digits(parts.next()?, 4)?;
        let month = parts.next().map(|part| digits(part, 2));
        let day = parts.next().map(|part| digits(part, 2));
        if parts.next().is_some() {
            return None;
        }
        let precision = match (month, day) {
            (None, _) => Precision::Year,
            (Some(_), None) => Precision::Month,
            (Some(_), Some(_)) => Precision::Day,
        };
        let month = month.unwrap_or(Some(1))?;
        let day = day.unwrap_or(Some(1))?;
        Date::new(i32::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?, precision)
    }

    fn new(year: i32, month: u8, day: u8, precision: Precision) -> Option<Date> {
        let whole = calendar(year, month, day)?;
        let year = u16::try_from(year).ok().filter(|year| (1..=9999).contains(year))?;
        Some(Date { year, month, day: whole.day(), precision })
    }

    /// Year, month and day; parts that were not written are 1.
    pub fn parts(self) -> (u16, u8, u8) {
        (self.year, self.month, self.day)
    }

    /// How precisely it was written.
    pub fn precision(self) -> Precision {
        self.precision
    }

    /// The same day as a date-time without a time.
    pub fn to_date_time(self) -> DateTime {
        DateTime { date: self, time: Time::MIDNIGHT, precision: self.precision, offset: None }
    }

    pub(super) fn of(instant: OffsetDateTime) -> Date {
        let (year, month, day) = instant.to_calendar_date();
        Date {
            year: u16::try_from(year).unwrap_or(1).clamp(1, 9999),
            month: u8::from(month),
            day,
            precision: Precision::Day,
        }
    }

    /// Year, month, day of the last day that a partial date may mean.
    pub(super) fn with_precision(self, precision: Precision, high: bool) -> Date {
        let (mut month, mut day) = (self.month, self.day);
        if self.precision < Precision::Month && high {
            month = 12;
        }
        if self.precision < Precision::Day && high {
            day = days_in_month(self.year, month);
        }
        if precision < Precision::Month {
            month = 1;
        }
        if precision < Precision::Day {
            day = 1;
        }
        Date { year: self.year, month, day, precision }
    }

    /// `None` if the result leaves the calendar, or the unit is finer than a day.
    pub(super) fn add(self, amount: i64, unit: CalendarUnit) -> Option<Date> {
        match unit {
            CalendarUnit::Year => self.add_months(amount.checked_mul(12)?),
            CalendarUnit::Month => self.add_months(amount),
            CalendarUnit::Week => self.add_days(amount.checked_mul(7)?),
            CalendarUnit::Day => self.add_days(amount),
            CalendarUnit::Hour => self.add_days(amount / 24),
            CalendarUnit::Minute => self.add_days(amount / 1_440),
            CalendarUnit::Second => self.add_days(amount / 86_400),
            CalendarUnit::Millisecond => self.add_days(amount / 86_400_000),
        }
    }

    fn add_months(self, months: i64) -> Option<Date> {
        let total = (i64::from(self.year) * 12 + i64::from(self.month) - 1).checked_add(months)?;
        let year = u16::try_from(total.div_euclid(12)).ok().filter(|year| (1..=9999).contains(year))?;
        let month = u8::try_from(total.rem_euclid(12) + 1).ok()?;
        Some(Date { year, month, day: self.day.min(days_in_month(year, month)), precision: self.precision })
    }

    fn add_days(self, days: i64) -> Option<Date> {
        if self.precision < Precision::Day {
            let months = if self.precision == Precision::Month { days / 30 } else { days / 365 * 12 };
            return self.add_months(months);
        }
        let date = calendar(i32::from(self.year), self.month, self.day)?;
        let moved = date.checked_add(Duration::seconds(days.checked_mul(86_400)?))?;
        Date::new(moved.year(), u8::from(moved.month()), moved.day(), self.precision)
    }

    fn day_number(self) -> Option<i32> {
        calendar(i32::from(self.year), self.month, self.day).map(time::Date::to_julian_day)
    }

    /// `None` where the shorter precision leaves the order open.
    pub(super) fn compare(self, other: Date) -> Option<Ordering> {
        self.to_date_time().compare(other.to_date_time())
    }
}

impl Time {
    const MIDNIGHT: Time = Time { hour: 0, minute: 0, second: 0, nanosecond: 0, precision: Precision::Hour };

    /// Reads `14`, `14:30`, `14:30:15` or `14:30:15.123`.
    pub fn parse(text: &str) -> Option<Time> {
        let mut parts = text.splitn(3, ':');
        let hour = digits(parts.next()?, 2).filter(|&hour| hour < 24)?;
        let mut time = Time { hour: u8::try_from(hour).ok()?, ..Time::MIDNIGHT };
        let Some(minute) = parts.next() else { return Some(time) };
        time.minute = u8::try_from(digits(minute, 2).filter(|&minute| minute < 60)?).ok()?;
        time.precision = Precision::Minute;
        let Some(seconds) = parts.next() else { return Some(time) };
        let (second, fraction) = seconds.split_once('.').map_or((seconds, None), |(s, f)| (s, Some(f)));
        time.second = u8::try_from(digits(second, 2).filter(|&second| second < 61)?).ok()?;
        time.precision = Precision::Second;
        if let Some(fraction) = fraction {
            if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let kept = &fraction[..fraction.len().min(9)];
            let scale = 10_u32.pow(u32::try_from(9 - kept.len()).ok()?);
            time.nanosecond = kept.parse::<u32>().ok()? * scale;
            time.precision = Precision::Fraction(u8::try_from(kept.len()).ok()?);
        }
        Some(time)
    }

    /// Hour, minute, second and nanosecond; parts that were not written are 0.
    pub fn parts(self) -> (u8, u8, u8, u32) {
        (self.hour, self.minute, self.second, self.nanosecond)
    }

    /// How precisely it was written.
    pub fn precision(self) -> Precision {
        self.precision
    }

    pub(super) fn of(instant: OffsetDateTime) -> Time {
        let (hour, minute, second, millisecond) = instant.time().as_hms_milli();
        let nanosecond = u32::from(millisecond) * 1_000_000;
        Time { hour, minute, second, nanosecond, precision: Precision::Fraction(3) }
    }

    pub(super) fn with_precision(self, precision: Precision, high: bool) -> Time {
        let mut time = self;
        if high {
            // An hour alone counts as its first minute: so the specification's example for highBoundary() has it.
            if self.precision < Precision::Second {
                time.second = 59;
            }
            match self.precision {
                Precision::Fraction(digits) => time.nanosecond += 10_u32.pow(9 - u32::from(digits.min(9))) - 1,
                _ => time.nanosecond = 999_999_999,
            }
        }
        time.precision = precision;
        time.cut()
    }

    /// Clears what is finer than the precision.
    fn cut(mut self) -> Time {
        if self.precision < Precision::Minute {
            self.minute = 0;
        }
        if self.precision < Precision::Second {
            self.second = 0;
        }
        self.nanosecond = match self.precision {
            Precision::Fraction(digits) => {
                let unit = 10_u32.pow(9 - u32::from(digits.min(9)));
                self.nanosecond / unit * unit
            }
            _ => 0,
        };
        self
    }

    /// Moves around the clock: 23:00 and two hours is 01:00.
    pub(super) fn add(self, amount: i64, unit: CalendarUnit) -> Option<Time> {
        let (moved, _) = self.shift(amount, unit)?;
        Some(moved)
    }

    /// The time moved, and how many days that carried.
    fn shift(self, amount: i64, unit: CalendarUnit) -> Option<(Time, i64)> {
        const DAY: i128 = 86_400_000_000_000;
        let unit_nanoseconds: i128 = match unit {
            CalendarUnit::Hour => 3_600_000_000_000,
            CalendarUnit::Minute => 60_000_000_000,
            CalendarUnit::Second => 1_000_000_000,
            CalendarUnit::Millisecond => 1_000_000,
            _ => return None,
        };
        let total = self.nanoseconds() + i128::from(amount) * unit_nanoseconds;
        let days = i64::try_from(total.div_euclid(DAY)).ok()?;
        let mut precision = self.precision;
        if unit == CalendarUnit::Millisecond && precision == Precision::Second && amount % 1000 != 0 {
            precision = Precision::Fraction(3);
        }
        Some((Time::from_nanoseconds(total.rem_euclid(DAY), precision).cut(), days))
    }

    fn nanoseconds(self) -> i128 {
        let seconds = (i128::from(self.hour) * 60 + i128::from(self.minute)) * 60 + i128::from(self.second);
        seconds * 1_000_000_000 + i128::from(self.nanosecond)
    }

    fn from_nanoseconds(total: i128, precision: Precision) -> Time {
        let seconds = total / 1_000_000_000;
        let part = |value: i128| u8::try_from(value).unwrap_or(0);
        Time {
            hour: part(seconds / 3_600),
            minute: part(seconds / 60 % 60),
            second: part(seconds % 60),
            nanosecond: u32::try_from(total % 1_000_000_000).unwrap_or(0),
            precision,
        }
    }

    /// `None` where the shorter precision leaves the order open.
    pub(super) fn compare(self, other: Time) -> Option<Ordering> {
        compare_times(self, self.precision, other, other.precision)
    }
}

impl DateTime {
    /// Reads `2015`, `2015-02-04T14`, `2015-02-04T14:30:15.123+01:00`, and what lies between.
    pub fn parse(text: &str) -> Option<DateTime> {
        let Some((date, rest)) = text.split_once('T') else { return Date::parse(text).map(Date::to_date_time) };
        let date = Date::parse(date)?;
        let (time, offset) = split_offset(rest)?;
        if time.is_empty() {
            return Some(DateTime { offset, ..date.to_date_time() });
        }
        if date.precision != Precision::Day {
            return None;
        }
        let time = Time::parse(time)?;
        Some(DateTime { date, time, precision: time.precision, offset })
    }

    /// The day, as precisely as it was written.
    pub fn date(self) -> Date {
        self.date
    }

    /// The time of day, if it was written.
    pub fn time(self) -> Option<Time> {
        (self.precision >= Precision::Hour).then_some(self.time)
    }

    /// How precisely it was written.
    pub fn precision(self) -> Precision {
        self.precision
    }

    pub(super) fn of(instant: OffsetDateTime) -> DateTime {
        let offset = Some(instant.offset().whole_minutes());
        let (date, time) = (Date::of(instant), Time::of(instant));
        DateTime { date, time, precision: time.precision, offset }
    }

    pub(super) fn with_precision(self, precision: Precision, high: bool) -> DateTime {
        let date = self.date.with_precision(precision.min(Precision::Day), high);
        let known = if self.precision < Precision::Hour && high {
            Time { hour: 23, minute: 59, ..Time::MIDNIGHT }
        } else {
            self.time
        };
        let time = known.with_precision(precision, high);
        // A time zone that was not written may be any: the earliest instant is at +14:00, the latest at -12:00.
        let open = if high { -12 * 60 } else { 14 * 60 };
        let offset = if precision >= Precision::Hour { self.offset.or(Some(open)) } else { None };
        DateTime { date, time, precision, offset }
    }

    pub(super) fn add(self, amount: i64, unit: CalendarUnit) -> Option<DateTime> {
        if self.precision < Precision::Hour {
            let date = self.date.add(amount, unit)?;
            return Some(DateTime { date, ..self });
        }
        let (time, days) = match self.time.shift(amount, unit) {
            Some((time, days)) => (time, days),
            None => {
                let date = self.date.add(amount, unit)?;
                return Some(DateTime { date, ..self });
            }
        };
        let date = self.date.add_days(days)?;
        Some(DateTime { date, time, precision: time.precision, ..self })
    }

    /// In UTC, if an offset and at least the hour were written.
    fn to_utc(self) -> DateTime {
        let Some(offset) = self.offset.filter(|_| self.precision >= Precision::Hour) else { return self };
        let total = self.time.nanoseconds() - i128::from(offset) * 60_000_000_000;
        const DAY: i128 = 86_400_000_000_000;
        let days = i64::try_from(total.div_euclid(DAY)).unwrap_or(0);
        let time = Time::from_nanoseconds(total.rem_euclid(DAY), self.time.precision);
        let Some(date) = self.date.add_days(days) else { return self };
        DateTime { date, time, offset: Some(0), precision: self.precision }
    }

    /// `None` where a shorter precision, or one missing time zone, leaves the order open.
    pub(super) fn compare(self, other: DateTime) -> Option<Ordering> {
        let timed = self.precision >= Precision::Hour && other.precision >= Precision::Hour;
        if timed && self.offset.is_some() != other.offset.is_some() {
            // Days further apart than any time zone moves them have an order all the same.
            let (left, right) = (self.date.day_number()?, other.date.day_number()?);
            return (left.abs_diff(right) > 1).then(|| left.cmp(&right));
        }
        let (left, right) = if timed { (self.to_utc(), other.to_utc()) } else { (self, other) };
        let parts = |date: Date| [date.year, u16::from(date.month), u16::from(date.day)];
        let pairs = parts(left.date).into_iter().zip(parts(right.date));
        for ((own, others), precision) in pairs.zip([Precision::Year, Precision::Month, Precision::Day]) {
            match (left.precision >= precision, right.precision >= precision) {
                (true, true) if own == others => {}
                (true, true) => return Some(own.cmp(&others)),
                (false, false) => return Some(Ordering::Equal),
                _ => return None,
            }
        }
        compare_times(left.time, left.precision, right.time, right.precision)
    }

    /// Whether both were written with the same precision, with seconds and fractions counted as one.
    pub(super) fn same_precision(self, other: DateTime) -> bool {
        self.precision.min(Precision::Second) == other.precision.min(Precision::Second)
    }
}

fn compare_times(left: Time, left_precision: Precision, right: Time, right_precision: Precision) -> Option<Ordering> {
    let left_parts = [u32::from(left.hour), u32::from(left.minute), u32::from(left.second)];
    let right_parts = [u32::from(right.hour), u32::from(right.minute), u32::from(right.second)];
    for (part, precision) in [(0, Precision::Hour), (1, Precision::Minute), (2, Precision::Second)] {
        match (left_precision >= precision, right_precision >= precision) {
            (true, true) => {}
            (false, false) => return Some(Ordering::Equal),
            _ => return None,
        }
        match left_parts[part].cmp(&right_parts[part]) {
            Ordering::Equal => {}
            order => return Some(order),
        }
    }
    Some(left.nanosecond.cmp(&right.nanosecond))
}

/// `14:30Z` → `14:30` and 0.
fn split_offset(text: &str) -> Option<(&str, Option<i16>)> {
    if let Some(time) = text.strip_suffix('Z') {
        return Some((time, Some(0)));
    }
    let Some(at) = text.find(['+', '-']) else { return Some((text, None)) };
    let (hours, minutes) = text[at + 1..].split_once(':')?;
    let total = digits(hours, 2).filter(|&hours| hours <= 14)? * 60 + digits(minutes, 2).filter(|&m| m < 60)?;
    let total = i16::try_from(total).ok()?;
    Some((&text[..at], Some(if text.as_bytes()[at] == b'-' { -total } else { total })))
}

fn digits(text: &str, length: usize) -> Option<u32> {
    let plain = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.bytes().fold(0, |number, byte| number * 10 + u32::from(byte - b'0')))
}

fn calendar(year: i32, month: u8, day: u8) -> Option<time::Date> {
    time::Date::from_calendar_date(year, time::Month::try_from(month).ok()?, day).ok()
}

fn days_in_month(year: u16, month: u8) -> u8 {
    time::Month::try_from(month).map_or(31, |month| month.length(i32::from(year)))
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.year)?;
        if self.precision >= Precision::Month {
            write!(f, "-{:02}", self.month)?;
        }
        if self.precision >= Precision::Day {
            write!(f, "-{:02}", self.day)?;
        }
        Ok(())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.hour)?;
        if self.precision >= Precision::Minute {
            write!(f, ":{:02}", self.minute)?;
        }
        if self.precision >= Precision::Second {
            write!(f, ":{:02}", self.second)?;
        }
        if let Precision::Fraction(digits) = self.precision {
            let digits = usize::from(digits.clamp(1, 9));
            write!(f, ".{}", &format!("{:09}", self.nanosecond)[..digits])?;
        }
        Ok(())
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.date)?;
        if self.precision >= Precision::Hour {
            write!(f, "T{}", self.time)?;
        }
        match self.offset.filter(|_| self.precision >= Precision::Hour) {
            None => Ok(()),
            Some(0) => f.write_str("Z"),
            Some(offset) => {
                let sign = if offset < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", offset.unsigned_abs() / 60, offset.unsigned_abs() % 60)
            }
        }
    }
}
