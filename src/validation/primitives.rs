//! The formats of FHIR's primitive types (R4 datatypes.html), by hand-written parsers: linear in the length of the
//! value, and with real calendar dates.

use crate::fhir::{Kind, Node};

/// A primitive type of R4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the types are defined by FHIR")]
pub(super) enum Format {
    Boolean,
    Integer,
    UnsignedInt,
    PositiveInt,
    Decimal,
    String,
    Markdown,
    Code,
    Id,
    Uri,
    Url,
    Canonical,
    Uuid,
    Oid,
    Date,
    DateTime,
    Instant,
    Time,
    Base64Binary,
    Xhtml,
}

/// Longest string that FHIR allows, in bytes.
const LONGEST: usize = 1024 * 1024;

impl Format {
    /// The format of the primitive type called `name`.
    pub(super) fn named(name: &str) -> Option<Format> {
        Some(match name {
            "boolean" => Format::Boolean,
            "integer" => Format::Integer,
            "unsignedInt" => Format::UnsignedInt,
            "positiveInt" => Format::PositiveInt,
            "decimal" => Format::Decimal,
            "string" => Format::String,
            "markdown" => Format::Markdown,
            "code" => Format::Code,
            "id" => Format::Id,
            "uri" => Format::Uri,
            "url" => Format::Url,
            "canonical" => Format::Canonical,
            "uuid" => Format::Uuid,
            "oid" => Format::Oid,
            "date" => Format::Date,
            "dateTime" => Format::DateTime,
            "instant" => Format::Instant,
            "time" => Format::Time,
            "base64Binary" => Format::Base64Binary,
            "xhtml" => Format::Xhtml,
            _ => return None,
        })
    }

    /// The kind of JSON value that holds it.
    pub(super) fn kind(self) -> Kind {
        match self {
            Format::Boolean => Kind::Boolean,
            Format::Integer | Format::UnsignedInt | Format::PositiveInt | Format::Decimal => Kind::Number,
            _ => Kind::String,
        }
    }

    /// What a value must look like, for people.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Format::Boolean => "true or false",
            Format::Integer => "a whole number from -2147483648 to 2147483647",
            Format::UnsignedInt => "a whole number from 0 to 2147483647",
            Format::PositiveInt => "a whole number from 1 to 2147483647",
            Format::Decimal => "a decimal number of at most 18 digits",
            Format::String | Format::Markdown => "text of at most 1 MiB with at least one visible character",
            Format::Code => "words joined by single spaces",
            Format::Id => "1 to 64 letters, digits, hyphens and full stops",
            Format::Uri | Format::Url | Format::Canonical => "a URI without white space",
            Format::Uuid => "urn:uuid: and a UUID in lower case",
            Format::Oid => "urn:oid: and an OID",
            Format::Date => "a date that exists: YYYY, YYYY-MM or YYYY-MM-DD",
            Format::DateTime => "a date that exists, with time and zone or without: YYYY-MM-DDThh:mm:ss+zz:zz",
            Format::Instant => "a date that exists, with time to the second and zone: YYYY-MM-DDThh:mm:ss+zz:zz",
            Format::Time => "a time of day: hh:mm:ss",
            Format::Base64Binary => "base64",
            Format::Xhtml => "an XHTML div",
        }
    }

    /// Whether the scalar `node`, already of the right [`Format::kind`], is written as this type is.
    pub(super) fn accepts(self, node: Node<'_>) -> bool {
        let Some(text) = node.scalar() else { return false };
        self.accepts_text(&text)
    }

    /// Whether it is text without a visible character, which should not be but may (R4 datatypes, string). The format does not
    /// accept it.
    pub(super) fn is_blank(self, node: Node<'_>) -> bool {
        matches!(self, Format::String | Format::Markdown)
            && node.text().is_some_and(|text| {
                let is_space = |letter: char| matches!(letter, ' ' | '\t' | '\r' | '\n');
                text.starts_with(is_space) && text.len() <= LONGEST && text.chars().all(is_space)
            })
    }

    /// Whether `text` is written as this type is.
    pub(super) fn accepts_text(self, text: &str) -> bool {
        match self {
            Format::Boolean => matches!(text, "true" | "false"),
            Format::Integer => whole(text, i64::from(i32::MIN)),
            Format::UnsignedInt => whole(text, 0),
            Format::PositiveInt => whole(text, 1),
            Format::Decimal => text.bytes().filter(u8::is_ascii_digit).count() <= 30,
            Format::String | Format::Markdown => string(text),
            Format::Code => code(text),
            Format::Id => id(text),
            Format::Uri | Format::Url | Format::Canonical => uri(text),
            Format::Uuid => text.strip_prefix("urn:uuid:").is_some_and(uuid),
            Format::Oid => text.strip_prefix("urn:oid:").is_some_and(oid),
            Format::Date => date(text.as_bytes()),
            Format::DateTime => date_time(text.as_bytes()),
            Format::Instant => instant(text.as_bytes()),
            Format::Time => time(text.as_bytes()),
            Format::Base64Binary => base64(text),
            Format::Xhtml => !text.is_empty(),
        }
    }
}

/// JSON has already refused leading zeros and plus signs; a point or an exponent is not a whole number.
fn whole(text: &str, least: i64) -> bool {
    text.parse::<i64>().is_ok_and(|value| value >= least && value <= i64::from(i32::MAX))
}

fn string(text: &str) -> bool {
    if text.is_ascii() {
        // Whole passes without an early end: each is a few vector instructions.
        let any = |is: fn(u8) -> bool| text.bytes().fold(0, |found, byte| found | u8::from(is(byte))) != 0;
        let is_wrong = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\r' | b'\n');
        let has_control = any(|byte| byte < b' ');
        return text.len() <= LONGEST && any(|byte| byte > b' ') && !(has_control && text.bytes().any(is_wrong));
    }
    text.len() <= LONGEST
        && text.chars().any(|letter| !letter.is_whitespace())
        && !text.chars().any(|letter| letter < ' ' && !matches!(letter, '\t' | '\r' | '\n'))
}

/// Whether all of it is visible ASCII, without spaces.
fn is_graphic(text: &str) -> bool {
    text.bytes().fold(1, |all, byte| all & u8::from(byte.wrapping_sub(b'!') < 0x5E)) == 1
}

fn code(text: &str) -> bool {
    if is_graphic(text) {
        return !text.is_empty();
    }
    !text.is_empty() && text.split(' ').all(|word| !word.is_empty() && !word.contains(char::is_whitespace))
}

/// `[A-Za-z0-9\-\.]{1,64}` (R4 datatypes, id).
pub(super) fn id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}

fn uri(text: &str) -> bool {
    if text.is_empty() || !is_graphic(text) && text.contains(char::is_whitespace) {
        return false;
    }
    if let Some(rest) = text.strip_prefix("urn:uuid:") {
        return rest.len() == 36 && uuid::Uuid::try_parse(rest).is_ok();
    }
    text.strip_prefix("urn:oid:").is_none_or(oid)
}

fn uuid(text: &str) -> bool {
    text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase()) && uuid::Uuid::try_parse(text).is_ok()
}

fn oid(text: &str) -> bool {
    let mut arcs = text.split('.');
    let arc = |arc: &str| {
        !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'))
    };
    arcs.next().is_some_and(|first| matches!(first, "0" | "1" | "2")) && arcs.clone().next().is_some() && arcs.all(arc)
}

/// Reads exactly `count` digits.
fn digits(text: &[u8], count: usize) -> Option<(u32, &[u8])> {
    let (head, rest) = (text.get(..count)?, text.get(count..)?);
    let value =
        head.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u32::from(byte - b'0')))?;
    Some((value, rest))
}

fn after(text: &[u8], byte: u8) -> Option<&[u8]> {
    text.split_first().filter(|(first, _)| **first == byte).map(|(_, rest)| rest)
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Reads a date; says whether it has a day, and what follows it.
fn date_part(text: &[u8]) -> Option<(bool, &[u8])> {
    let (year, rest) = digits(text, 4)?;
    if year == 0 {
        return None;
    }
    let Some(rest) = after(rest, b'-') else { return Some((false, rest)) };
    let (month, rest) = digits(rest, 2)?;
    if !(1..=12).contains(&month) {
        return None;
    }
    let Some(rest) = after(rest, b'-') else { return Some((false, rest)) };
    let (day, rest) = digits(rest, 2)?;
    (1..=days(year, month)).contains(&day).then_some((true, rest))
}

/// Reads `hh:mm:ss` with any fraction; 60 is a leap second.
fn time_part(text: &[u8]) -> Option<&[u8]> {
    let (hour, rest) = digits(text, 2)?;
    let (minute, rest) = digits(after(rest, b':')?, 2)?;
    let (second, mut rest) = digits(after(rest, b':')?, 2)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if let Some(fraction) = after(rest, b'.') {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return None;
        }
        rest = &fraction[length..];
    }
    Some(rest)
}

fn is_zone(text: &[u8]) -> bool {
    match text {
        b"Z" => true,
        [b'+' | b'-', rest @ ..] => {
            let offset = digits(rest, 2)
                .and_then(|(hour, rest)| digits(after(rest, b':')?, 2).map(|(minute, rest)| (hour, minute, rest)));
            matches!(offset, Some((hour, minute, []))
                if (hour <= 13 && minute <= 59) || (hour == 14 && minute == 0))
        }
        _ => false,
    }
}

fn date(text: &[u8]) -> bool {
    matches!(date_part(text), Some((_, [])))
}

fn date_time(text: &[u8]) -> bool {
    matches!(date_part(text), Some((_, []))) || instant(text)
}

fn instant(text: &[u8]) -> bool {
    let Some((true, rest)) = date_part(text) else { return false };
    after(rest, b'T').and_then(time_part).is_some_and(is_zone)
}

fn time(text: &[u8]) -> bool {
    matches!(time_part(text), Some([]))
}

/// Base64 with padding; white space is allowed between groups.
fn base64(text: &str) -> bool {
    let mut length = 0_usize;
    let mut padding = 0;
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        match byte {
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => {}
            _ => return false,
        }
        length += 1;
    }
    length > 0 && length.is_multiple_of(4) && padding <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(type_name: &str, right: &[&str], wrong: &[&str]) {
        let format = Format::named(type_name).expect("a primitive type");
        for text in right {
            assert!(format.accepts_text(text), "{type_name} {text}");
        }
        for text in wrong {
            assert!(!format.accepts_text(text), "{type_name} {text}");
        }
    }

    #[test]
    fn dates_exist() {
        check("date", &["2026", "2026-02", "2024-02-29", "2000-02-29"], &["2023-02-29", "1900-02-29", "2026-13"]);
        check("date", &[], &["", "26", "2026-2-1", "2026-02-01T00:00:00Z", "0000", "2026-00", "2026-01-00"]);
        check(
            "dateTime",
            &["2026-02", "2026-02-01T23:59:60Z", "2026-02-01T00:00:00.123+14:00"],
            &["2026-02-01T00:00Z"],
        );
        check(
            "dateTime",
            &[],
            &["2026-02-01T00:00:00", "2026-02-01T24:00:00Z", "2026-02T00:00:00Z", "2026-02-01 00:00:00Z"],
        );
        check("instant", &["2026-02-01T00:00:00-05:30"], &["2026-02-01", "2026-02-01T00:00:00+14:01"]);
        check("time", &["08:30:00", "08:30:00.5"], &["8:30:00", "08:30", "08:30:00Z", "08:30:00."]);
    }

    #[test]
    fn numbers_keep_to_their_range() {
        check("positiveInt", &["1", "2147483647"], &["0", "-1", "2147483648", "1.0", "1e3"]);
        check("unsignedInt", &["0"], &["-1"]);
        check("integer", &["-2147483648"], &["-2147483649", "99999999999999999999"]);
    }

    #[test]
    fn strings_codes_ids_and_uris() {
        check("string", &["a", " a\n"], &["", "  ", "\u{1}a"]);
        check("code", &["a", "a b"], &["", " a", "a ", "a  b", "a\tb"]);
        check("id", &["a.B-1"], &["", "a_b", &"a".repeat(65)]);
        check("uri", &["http://x", "a/b", "urn:oid:1.2.3"], &["", "http://x y", "urn:uuid:1", "urn:oid:3.1"]);
        check("oid", &["urn:oid:2.16.0"], &["1.2", "urn:oid:2", "urn:oid:1.02"]);
        check("base64Binary", &["QUJD", "QUI=", "QQ=="], &["", "QUI", "Q===", "Q=QQ", "Q?=="]);
    }
}
