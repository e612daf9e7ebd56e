//! Values made less exact: the first half of a postcode, the month or year of a date, a band of ages, a pseudonym.
//!
//! Enters: a value as the record has it. Leaves: what may be said of it, or nothing: a value that is not of the form
//! that it should be is never passed on. Invariant: what leaves tells no more than its kind says, and making it less exact
//! once more changes nothing.

use std::fmt;

use aws_lc_rs::hmac;
use time::{Date, Month};

use crate::fhir::r4::TypeDef;
use crate::fhir::{Builder, NameId, Node, keys};
use crate::identity::PartyId;
use crate::identity::keyed_hash::keyed;

/// The extension that says into which band of ages someone falls.
pub const AGE_BAND: &str = "https://weir.example/fhir/StructureDefinition/weir-age-band";
/// Pseudonyms of one recipient are in the system of this name, with the recipient's ODS code behind it.
const PSEUDONYM: &str = "https://weir.example/fhir/Id/pseudonym/";
const UCUM: &str = "http://unitsofmeasure.org";

/// The key that turns identifiers into pseudonyms. Never printed.
#[derive(Clone)]
pub struct PseudonymKey(hmac::Key);

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey(…)")
    }
}

impl PseudonymKey {
    /// The key made of 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> PseudonymKey {
        PseudonymKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// What an identifier is called for one recipient: HMAC-SHA-256 over recipient, system and value, each behind its
    /// length. The same for the same person, and without the key not to be joined with what another recipient sees.
    pub fn pseudonym(&self, recipient: &PartyId, system: &str, value: &str) -> String {
        keyed(&self.0, "weir pseudonym", &[recipient.as_str(), system, value].map(str::as_bytes))
    }
}

/// The system of the pseudonyms that one recipient sees.
pub fn pseudonym_system(recipient: &PartyId) -> String {
    format!("{PSEUDONYM}{recipient}")
}

/// Whether a value has the form of a pseudonym, which no identifier of the NHS has.
pub(super) fn is_pseudonym(value: &str) -> bool {
    value.len() == 64 && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// How an element becomes less exact.
#[derive(Clone, Debug)]
pub(super) enum How {
    OutwardCode,
    Month,
    Year,
    /// The ages at which each band but the first begins.
    AgeBand(Box<[u16]>),
    /// Without the key it cannot be made, and nothing leaves.
    Pseudonym(Option<Box<PseudonymKey>>),
    Withheld,
}

/// What an interface says of the elements of one generalisation.
#[derive(Clone, Debug)]
pub(super) struct Generaliser {
    clause: u32,
    pub(super) how: How,
}

impl Generaliser {
    /// Of the generalisation with this place among the interface's.
    pub(super) fn new(clause: u32, how: How) -> Generaliser {
        Generaliser { clause, how }
    }

    pub(super) fn clause(&self) -> u32 {
        self.clause
    }

    /// Whether an element of the type `of`, in one of the type `holder`, can become less exact in this way.
    pub(super) fn fits(&self, of: &TypeDef, holder: &TypeDef, path: &str) -> Result<(), String> {
        let name = path.rsplit('.').next().unwrap_or(path);
        let is_date = matches!(of.name, "date" | "dateTime");
        let is_single = holder.element(NameId::of(name)).is_some_and(|(element, _)| !element.is_array());
        match self.how {
            How::OutwardCode if of.name != "string" => {
                Err(format!("{path} is a {}: only a string holds a postcode", of.name))
            }
            How::Month | How::Year if of.name == "instant" => {
                Err(format!("{path} is an instant, which FHIR always writes to the second; withhold it"))
            }
            How::Month | How::Year | How::AgeBand(_) if !is_date => {
                Err(format!("{path} is a {}: only a date or dateTime has a month or a year", of.name))
            }
            How::AgeBand(_) if !is_single => Err(format!("{path} may repeat: an age band stands for one date")),
            How::Pseudonym(_) if holder.name != "Identifier" || name != keys().value.text() => {
                Err(format!("{path} is not the value of an Identifier, which a pseudonym stands for"))
            }
            _ => Ok(()),
        }
    }

    /// The text in the place of `text`; `None` for what is not of the right form, and for what has no text.
    pub(super) fn text(&self, text: &str) -> Option<String> {
        match self.how {
            How::OutwardCode => outward_code(text),
            How::Month => Some(known_date(text)?.cut(7).to_owned()),
            How::Year => Some(known_date(text)?.cut(4).to_owned()),
            How::AgeBand(_) | How::Pseudonym(_) | How::Withheld => None,
        }
    }
}

/// The first half of a UK postcode, in capitals, with or without the space; `None` for what is not one. An outward code
/// alone stays as it is.
fn outward_code(text: &str) -> Option<String> {
    let text = text.trim_matches(' ').to_ascii_uppercase();
    if !text.is_ascii() || text.len() > 10 {
        return None;
    }
    let halves = match text.split_once(' ') {
        Some((outward, inward)) => Some((outward, inward.trim_start_matches(' '))),
        None => text.len().checked_sub(3).map(|at| text.split_at(at)),
    };
    match halves.filter(|(outward, inward)| is_outward(outward) && is_inward(inward)) {
        Some((outward, _)) => Some(outward.to_owned()),
        None => is_outward(&text).then_some(text),
    }
}

/// `A9`, `A99`, `AA9`, `AA99`, `A9A`, `AA9A`, `GIR`, and four letters for an overseas territory.
fn is_outward(text: &str) -> bool {
    let form: Vec<u8> = text.bytes().map(|byte| if byte.is_ascii_digit() { b'9' } else { byte }).collect();
    let letters = |count: usize| form.get(..count).is_some_and(|letters| letters.iter().all(u8::is_ascii_uppercase));
    match &form[..] {
        b"GIR" => true,
        [_, b'9'] | [_, b'9', b'9'] => letters(1),
        [_, b'9', last] => letters(1) && last.is_ascii_uppercase(),
        [_, _, b'9'] | [_, _, b'9', b'9'] => letters(2),
        [_, _, b'9', last] => letters(2) && last.is_ascii_uppercase(),
        [_, _, _, _] => letters(4),
        _ => false,
    }
}

/// A digit and two letters.
fn is_inward(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 3 && bytes[0].is_ascii_digit() && bytes[1..].iter().all(u8::is_ascii_uppercase)
}

/// A FHIR date, or the date of a dateTime.
#[derive(Clone, Copy, Debug)]
struct KnownDate<'t> {
    /// `2026`, `2026-03`, `2026-03-02`.
    text: &'t str,
    /// The first and the last day that it may be.
    first: Date,
    last: Date,
}

impl<'t> KnownDate<'t> {
    /// At most so many characters of it.
    fn cut(&self, length: usize) -> &'t str {
        &self.text[..self.text.len().min(length)]
    }
}

fn known_date(text: &str) -> Option<KnownDate<'_>> {
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let number = |range: std::ops::Range<usize>| -> Option<u16> {
        let digits = date.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let hyphen = |at: usize| date.as_bytes().get(at) == Some(&b'-');
    let year = i32::from(number(0..4)?);
    let month = |number: u16| Month::try_from(u8::try_from(number).ok()?).ok();
    let (first, last) = match date.len() {
        4 => (month(1)?, month(12)?),
        7 | 10 if hyphen(4) => (month(number(5..7)?)?, month(number(5..7)?)?),
        _ => return None,
    };
    let (first, last) = match date.len() {
        10 if hyphen(7) => {
            let day = u8::try_from(number(8..10)?).ok()?;
            (Date::from_calendar_date(year, first, day).ok()?, Date::from_calendar_date(year, last, day).ok()?)
        }
        10 => return None,
        _ => (
            Date::from_calendar_date(year, first, 1).ok()?,
            Date::from_calendar_date(year, last, last.length(year)).ok()?,
        ),
    };
    // A time stands behind a whole day only.
    (time.is_none() || date.len() == 10).then_some(KnownDate { text: date, first, last })
}

/// The day that a FHIR dateTime or instant begins with.
pub(super) fn day_of(text: &str) -> Option<Date> {
    known_date(text).filter(|date| date.first == date.last).map(|date| date.first)
}

/// A band of ages on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AgeBand {
    /// In years; 0 for the lowest band.
    pub(super) from: u16,
    /// Where the next band begins; `None` for the highest.
    pub(super) below: Option<u16>,
    /// The day on which the age was counted.
    pub(super) on: Date,
}

impl AgeBand {
    /// The band of someone born on the date `born`; `None` if the date does not tell which, or is not one that has been.
    pub(super) fn of(bands: &[u16], born: &str, on: Date) -> Option<AgeBand> {
        let born = known_date(born)?;
        let [oldest, youngest] = [born.first, born.last.min(on)].map(|born| age(born, on));
        let band = AgeBand::holding(bands, oldest?, on);
        (band == AgeBand::holding(bands, youngest?, on)).then_some(band)
    }

    fn holding(bands: &[u16], age: u16, on: Date) -> AgeBand {
        let next = bands.partition_point(|from| *from <= age);
        AgeBand { from: next.checked_sub(1).map_or(0, |own| bands[own]), below: bands.get(next).copied(), on }
    }

    /// The band that an extension says, if it is one of `bands` and nothing else.
    pub(super) fn read(extension: Node<'_>, bands: &[u16]) -> Option<AgeBand> {
        let mut on = None;
        let mut from = None;
        for part in extension.items_at(keys().extension) {
            match part.child(keys().url)?.text()?.as_ref() {
                "asOf" => on = day_of(&part.member("valueDate")?.text()?),
                "range" => from = part.member("valueRange")?.member("low")?.member("value")?.raw().parse::<u16>().ok(),
                _ => return None,
            }
        }
        let band = AgeBand::holding(bands, from?, on?);
        let mut out = Builder::with_capacity(256, 16);
        band.write(&mut out);
        (out.finish()?.source() == extension.raw()).then_some(band)
    }

    /// Writes the extension.
    pub(super) fn write(&self, out: &mut Builder) {
        let name = |text: &str| NameId::of(text).name();
        let open = out.begin_object();
        out.field(name("url"), AGE_BAND);
        out.key(name("extension"));
        let parts = out.begin_array();
        let part = out.begin_object();
        out.field(name("url"), "range");
        out.key(name("valueRange"));
        let range = out.begin_object();
        let ends = [("low", Some(self.from)), ("high", self.below.map(|below| below - 1))];
        for (end, age) in ends.into_iter().filter_map(|(end, age)| Some((end, age?))) {
            out.key(name(end));
            let quantity = out.begin_object();
            out.key(name("value"));
            out.scalar(&age.to_string());
            out.field(name("unit"), "years");
            out.field(name("system"), UCUM);
            out.field(name("code"), "a");
            out.end(quantity);
        }
        out.end(range);
        out.end(part);
        let part = out.begin_object();
        out.field(name("url"), "asOf");
        out.field(name("valueDate"), &self.on.to_string());
        out.end(part);
        out.end(parts);
        out.end(open);
    }

    /// `aged 18 to 64`.
    pub(super) fn words(&self) -> String {
        match (self.from, self.below) {
            (0, Some(below)) => format!("aged under {below}"),
            (from, Some(below)) => format!("aged {from} to {}", below - 1),
            (from, None) => format!("aged {from} or over"),
        }
    }
}

/// Years between two days; `None` if the second is before the first.
fn age(born: Date, on: Date) -> Option<u16> {
    let had_birthday = (on.month() as u8, on.day()) >= (born.month() as u8, born.day());
    (born <= on).then(|| u16::try_from(on.year() - born.year() - i32::from(!had_birthday)).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits, bars};

    const ON: Date = time::macros::date!(2026 - 03 - 02);

    #[test]
    fn a_postcode_becomes_its_outward_code_or_nothing() {
        for (text, expected) in [
            ("ZZ99 3CZ", Some("ZZ99")),
            ("zz993cz", Some("ZZ99")),
            ("M1 1AE", Some("M1")),
            ("M11AE", Some("M1")),
            ("B33 8TH", Some("B33")),
            ("CR2  6XH", Some("CR2")),
            ("DN55 1PT", Some("DN55")),
            ("W1A 0AX", Some("W1A")),
            ("EC1A 1BB", Some("EC1A")),
            ("EC1A1BB ", Some("EC1A")),
            ("GIR 0AA", Some("GIR")),
            ("GIR0AA", Some("GIR")),
            ("ASCN 1ZZ", Some("ASCN")),
            ("BF1 2AA", Some("BF1")),
            ("M1", Some("M1")),
            ("GIR", Some("GIR")),
            ("ZZ99 3C", None),
            ("ZZ99 33Z", None),
            ("99ZZ 3CZ", None),
            ("12345", None),
            ("1 Nowhere Street, ZZ99 3CZ", None),
            ("ZZ99-3CZ", None),
            ("ZZ99 3CZ.", None),
            ("", None),
            ("é", None),
            ("\u{212a}A1 1AA", None),
        ] {
            assert_eq!(outward_code(text).as_deref(), expected, "{text}");
            let again = expected.and_then(outward_code);
            assert_eq!(again.as_deref(), expected, "twice is as once");
        }
    }

    #[test]
    fn a_date_becomes_its_month_or_year_or_nothing() {
        let [month, year] = [How::Month, How::Year].map(|how| Generaliser::new(0, how));
        for (text, of_month, of_year) in [
            ("1987-06-14", Some("1987-06"), Some("1987")),
            ("1987-06", Some("1987-06"), Some("1987")),
            ("1987", Some("1987"), Some("1987")),
            ("2026-03-02T13:50:00Z", Some("2026-03"), Some("2026")),
            ("2026-02-30", None, None),
            ("2026-13", None, None),
            ("2026-1-2", None, None),
            ("1987/06/14", None, None),
            ("198", None, None),
            ("1987-06T10:00", None, None),
            ("+987-06-14", None, None),
            ("19870614", None, None),
        ] {
            let found = [&month, &year].map(|each| each.text(text));
            assert_eq!(found.each_ref().map(Option::as_deref), [of_month, of_year], "{text}");
        }
    }

    #[test]
    fn a_birth_date_falls_into_a_band_or_into_none() {
        let bands = [18, 65, 90];
        for (born, expected) in [
            ("2008-03-03", Some((0, Some(18)))),
            ("2008-03-02", Some((18, Some(65)))),
            ("1987-06-14", Some((18, Some(65)))),
            ("1961-03-03", Some((18, Some(65)))),
            ("1936-03-02", Some((90, None))),
            ("1900", Some((90, None))),
            ("1987", Some((18, Some(65)))),
            ("2026-03", Some((0, Some(18)))),
            ("2008", None),
            ("2008-03", None),
            ("2026-03-03", None),
            ("2030", None),
            ("soon", None),
        ] {
            let band = AgeBand::of(&bands, born, ON);
            assert_eq!(band.map(|band| (band.from, band.below)), expected, "{born}");
        }
        let leap = AgeBand::of(&[18], "2008-02-29", time::macros::date!(2026 - 02 - 28));
        assert_eq!(leap.map(|band| band.from), Some(0));
    }

    #[test]
    fn an_age_band_reads_as_it_was_written_and_in_no_other_way() {
        for (from, words) in [(0, "aged under 18"), (18, "aged 18 to 64"), (65, "aged 65 or over")] {
            let band = AgeBand::holding(&[18, 65], from, ON);
            let mut out = Builder::with_capacity(0, 0);
            band.write(&mut out);
            let written = out.finish().expect("it is short");
            assert_eq!(AgeBand::read(written.root(), &[18, 65]), Some(band));
            assert_eq!(AgeBand::read(written.root(), &[18, 65, 90]).is_some(), from < 65);
            assert_eq!(band.words(), words);
            let more = written.source().replace("years", "years, Robin");
            let more = Document::parse(more, &Limits::default()).expect("it is JSON");
            assert_eq!(AgeBand::read(more.root(), &[18, 65]), None);
        }
    }

    #[test]
    fn a_pseudonym_is_one_recipients_own() {
        let key = PseudonymKey::new(&[7; 32]);
        let [icb, trust]: [PartyId; 2] = ["DEMOI", "DEMOT"].map(|code| code.parse().expect("an ODS code"));
        let of = |key: &PseudonymKey, to| key.pseudonym(to, bars::NHS_NUMBER, "9990001014");
        assert_eq!(of(&key, &icb), of(&key, &icb));
        assert_ne!(of(&key, &icb), of(&key, &trust));
        assert_ne!(of(&key, &icb), of(&PseudonymKey::new(&[8; 32]), &icb));
        assert_ne!(key.pseudonym(&icb, "ab", "c"), key.pseudonym(&icb, "a", "bc"));
        assert!(is_pseudonym(&of(&key, &icb)) && !is_pseudonym("9990001014"));
        assert_eq!(format!("{key:?}"), "PseudonymKey(…)");
    }
}
