//! HL7 v2 messages in the vertical-bar encoding (ER7) as records of a logical model.
//!
//! Enters: a message, and the model whose elements say where in it they are. Leaves: the record as JSON, dates and times
//! as FHIR writes them; the head of the message, for its acknowledgement; and where in the message an element of the
//! record came from. `hl7-parser` takes the text apart; escapes, character sets and the bounds are ours. Invariants:
//! nothing that a peer sends panics; a message is read to its end or refused; an error says segment and field, never a
//! value. What the model does not list is not read (HL7 v2.5.1 chapter 2, 2.8.2: receivers ignore what they do not
//! expect); a field that says `""`, delete what you have, is not there.

mod escape;
mod head;
mod location;
mod time;

use hl7_parser::Message;
use hl7_parser::message::{Repeat, Segment, Separators};

use self::escape::unescape;
pub use self::head::Head;
pub use self::location::Location;
use super::model::{Clock, Element, Kind, Model, Place};
use crate::fhir::Writer;
use crate::identity::digest::sha_256;

/// The media types of ER7: HL7 over HTTP, and the older spelling.
pub const MEDIA_TYPES: [&str; 3] = ["application/hl7-v2", "application/hl7-v2+er7", "x-application/hl7-v2+er7"];

/// Separators of fields, components, repeats and subcomponents that a message may have: each costs memory.
const MOST_SEPARATORS: usize = 50_000;

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unreadable {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
    /// Where, if that can be said.
    pub location: Option<Location>,
}

fn unreadable(what: impl Into<String>, hint: &'static str) -> Unreadable {
    Unreadable { what: what.into(), hint, location: None }
}

/// The record of a message as JSON.
///
/// # Errors
/// [`Unreadable`]: it is no message, or one that costs too much.
pub fn record(bytes: &[u8], model: &Model) -> Result<String, Unreadable> {
    let text = decoded(bytes)?;
    let text = without_truncation(text.trim_end_matches(['\r', '\n']));
    let bounded = check_bounds(&text)?;
    let message =
        hl7_parser::parse_message_with_lenient_newlines(bounded).map_err(|_| segment_fault(1, "cannot be read"))?;
    if message.raw_value().len() != bounded.len() {
        return Err(segment_fault(message.segments.len() + 1, "is not three letters or digits and fields"));
    }
    let reading = Reading { separators: message.separators, clock: clock(&message, model) };
    let mut out = Writer::with_capacity(bounded.len() * 2);
    out.begin_object();
    for element in &model.elements {
        if let Some(place) = &element.place {
            reading.segments(&message, element, place, &mut out);
        }
    }
    out.end_object();
    Ok(out.finish())
}

/// SHA-256 of a message without MSH-7: some systems stamp a message anew each time they send it.
pub fn digest_without_stamp(bytes: &[u8]) -> [u8; 32] {
    let head = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let separator = head.get(3);
    let mut ends = head.iter().enumerate().filter(|(_, byte)| Some(*byte) == separator).map(|(at, _)| at);
    let Some(before) = ends.nth(5) else { return sha_256(bytes) };
    let after = ends.next().unwrap_or(head.len());
    sha_256(&[&bytes[..=before], &bytes[after..]].concat())
}

fn segment_fault(number: usize, what: &str) -> Unreadable {
    unreadable(format!("segment {number} of the message {what}"), "end each segment with a carriage return")
}

/// The text of a message, by its own character set (MSH-18); UTF-8, of which ASCII is a part, without one.
fn decoded(bytes: &[u8]) -> Result<String, Unreadable> {
    let head = Head::read(bytes).ok_or_else(|| {
        unreadable("the message does not begin with an MSH segment", "send ER7: MSH, five separators, fields")
    })?;
    let set = head.character_set.trim();
    let at = |found: Unreadable| Unreadable { location: Some(Location::field("MSH", 18)), ..found };
    match set {
        "" | "ASCII" | "UNICODE UTF-8" | "UNICODE" | "UTF-8" | "utf-8" => {
            let hint = "encode it as UTF-8, or say in MSH-18 that it is 8859/1";
            String::from_utf8(bytes.to_vec()).map_err(|_| at(unreadable("the message is not UTF-8", hint)))
        }
        "8859/1" | "ISO IR100" => Ok(bytes.iter().copied().map(char::from).collect()),
        _ => Err(at(unreadable("the character set is not one that is read here", "send UNICODE UTF-8 or 8859/1"))),
    }
}

/// A message without the fifth encoding character, which HL7 v2.7 added and whose absence the parser relies on.
fn without_truncation(text: &str) -> String {
    let mut text = text.to_owned();
    let separator = text.as_bytes().get(3).copied();
    if text.is_ascii_at(8) && text.as_bytes().get(8) == Some(&b'#') && text.as_bytes().get(9).copied() == separator {
        text.remove(8);
    }
    text
}

trait AsciiAt {
    fn is_ascii_at(&self, end: usize) -> bool;
}

impl AsciiAt for str {
    /// Whether the first letters up to and with the one at `end` are ASCII.
    fn is_ascii_at(&self, end: usize) -> bool {
        self.as_bytes().get(..=end).is_some_and(<[u8]>::is_ascii)
    }
}

/// The text, when its separators can be told apart and are not too many.
fn check_bounds(text: &str) -> Result<&str, Unreadable> {
    let separators = text.as_bytes().get(3..8).unwrap_or_default();
    let distinct =
        separators.iter().enumerate().all(|(at, byte)| byte.is_ascii_punctuation() && !separators[..at].contains(byte));
    if separators.len() < 5 || !distinct {
        let found = unreadable("MSH-1 and MSH-2 do not name five separators", "begin the message with MSH|^~\\&|");
        return Err(Unreadable { location: Some(Location::field("MSH", 2)), ..found });
    }
    let count = text.bytes().filter(|byte| separators.contains(byte) || matches!(byte, b'\r' | b'\n')).count();
    if count > MOST_SEPARATORS {
        let what = format!("the message has more than {MOST_SEPARATORS} fields, components and repeats");
        return Err(unreadable(what, "send fewer in one message"));
    }
    Ok(text)
}

/// What times are by that have no offset: that of MSH-7 says nothing of other days where clocks change.
fn clock(message: &Message<'_>, model: &Model) -> Clock {
    if model.clock == Clock::Uk {
        return Clock::Uk;
    }
    let sent = message.segments.first().and_then(|head| head.fields.get(6)).map_or("", |field| field.raw_value());
    time::offset_of(sent).map_or_else(|| model.clock.clone(), |offset| Clock::Offset(offset.into()))
}

struct Reading {
    separators: Separators,
    clock: Clock,
}

impl Reading {
    fn segments(&self, message: &Message<'_>, element: &Element, place: &Place, out: &mut Writer) {
        let found: Vec<&Segment<'_>> = message.segments.iter().filter(|each| *each.name == *place.segment).collect();
        // One that may not be repeated and is becomes a list too, which the model does not let pass.
        let is_list = element.repeats || found.len() > 1;
        if found.is_empty() {
            return;
        }
        out.key(&element.name);
        if is_list {
            out.begin_array();
        }
        for segment in found {
            self.segment(segment, element, out);
        }
        if is_list {
            out.end_array();
        }
    }

    fn segment(&self, segment: &Segment<'_>, element: &Element, out: &mut Writer) {
        out.begin_object();
        for field in &element.elements {
            let Some(place) = field.place.as_ref().filter(|place| place.field > 0) else { continue };
            let Some(found) = segment.fields.get(usize::from(place.field) - 1) else { continue };
            let repeats: Vec<&Repeat<'_>> = found.repeats.iter().filter(|repeat| self.has(repeat, field)).collect();
            if repeats.is_empty() {
                continue;
            }
            out.key(&field.name);
            let is_list = field.repeats || repeats.len() > 1;
            if is_list {
                out.begin_array();
            }
            for repeat in repeats {
                self.field(repeat, field, out);
            }
            if is_list {
                out.end_array();
            }
        }
        out.end_object();
    }

    /// Whether a repeat holds something that the model lists.
    fn has(&self, repeat: &Repeat<'_>, field: &Element) -> bool {
        match field.kind {
            Kind::Group => field.elements.iter().any(|part| part_of(repeat, part).is_some()),
            _ => part_of(repeat, field).is_some(),
        }
    }

    fn field(&self, repeat: &Repeat<'_>, field: &Element, out: &mut Writer) {
        if field.kind != Kind::Group {
            return self.value(part_of(repeat, field).unwrap_or_default(), field.kind, out);
        }
        out.begin_object();
        for part in &field.elements {
            if let Some(text) = part_of(repeat, part) {
                out.key(&part.name);
                self.value(text, part.kind, out);
            }
        }
        out.end_object();
    }

    /// What is no date is written as it stands, so that the check against the model finds it.
    fn value(&self, text: &str, kind: Kind, out: &mut Writer) {
        let plain = unescape(text, &self.separators);
        let fhir = match kind {
            Kind::Date => time::date(&plain),
            Kind::Time => time::time(&plain, &self.clock),
            Kind::Number if super::table::is_number(plain.trim()) => return out.raw(plain.trim()),
            _ => None,
        };
        out.string(fhir.as_deref().unwrap_or(&plain));
    }
}

/// The raw text of an element in a repeat of a field; `None` when there is none, or it is to be deleted.
fn part_of<'m>(repeat: &Repeat<'m>, element: &Element) -> Option<&'m str> {
    let place = element.place.as_ref()?;
    let text = match (usize::from(place.component), usize::from(place.subcomponent)) {
        (0, _) => repeat.raw_value(),
        (component, 0) => repeat.components.get(component - 1)?.raw_value(),
        (component, part) => repeat.components.get(component - 1)?.subcomponents.get(part - 1)?.value,
    };
    (!text.is_empty() && text != "\"\"").then_some(text)
}

#[cfg(test)]
mod tests;
