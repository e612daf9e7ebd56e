//! JSON out: a streaming writer that places commas and escapes, and copies spans as they are.

use std::fmt::Write as _;

use super::document::{is_plain, plain_length};

/// Writes one JSON value into a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
    /// Whether a value stands before the next one in the innermost open object or array.
    comma: bool,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An empty buffer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { out: String::with_capacity(bytes), comma: false }
    }

    /// Opens an object.
    pub fn begin_object(&mut self) {
        self.open('{');
    }

    /// Closes the innermost object.
    pub fn end_object(&mut self) {
        self.close('}');
    }

    /// Opens an array.
    pub fn begin_array(&mut self) {
        self.open('[');
    }

    /// Closes the innermost array.
    pub fn end_array(&mut self) {
        self.close(']');
    }

    /// The key of the next value.
    pub fn key(&mut self, name: &str) {
        self.separate();
        escape_into(&mut self.out, name);
        self.out.push(':');
        self.comma = false;
    }

    /// The key `_name` of the next value: what a primitive has besides its value.
    pub fn companion_key(&mut self, name: &str) {
        self.separate();
        self.out.push_str("\"_");
        self.out.push_str(name);
        self.out.push_str("\":");
        self.comma = false;
    }

    /// A string value, escaped.
    pub fn string(&mut self, text: &str) {
        self.separate();
        escape_into(&mut self.out, text);
        self.comma = true;
    }

    /// A value that is already JSON: a span of a parsed document, a number's digits, `true`.
    pub fn raw(&mut self, json: &str) {
        self.separate();
        self.out.push_str(json);
        self.comma = true;
    }

    /// A key with a string value.
    pub fn field(&mut self, name: &str, text: &str) {
        self.key(name);
        self.string(text);
    }

    /// A key with an object.
    pub fn object(&mut self, name: &str, members: impl FnOnce(&mut Writer)) {
        self.key(name);
        self.begin_object();
        members(self);
        self.end_object();
    }

    /// A key with an array of one object.
    pub fn list_of_one(&mut self, name: &str, members: impl FnOnce(&mut Writer)) {
        self.key(name);
        self.begin_array();
        self.begin_object();
        members(self);
        self.end_object();
        self.end_array();
    }

    /// The one coding of a CodeableConcept.
    pub fn coding(&mut self, system: &str, code: &str) {
        self.list_of_one("coding", |out| {
            out.field("system", system);
            out.field("code", code);
        });
    }

    /// An `identifier` that stands once.
    pub fn identifier(&mut self, system: &str, value: &str) {
        self.object("identifier", |out| {
            out.field("system", system);
            out.field("value", value);
        });
    }

    /// How many bytes are written so far.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// The finished value.
    pub fn finish(self) -> String {
        self.out
    }

    fn open(&mut self, bracket: char) {
        self.separate();
        self.out.push(bracket);
        self.comma = false;
    }

    fn close(&mut self, bracket: char) {
        self.out.push(bracket);
        self.comma = true;
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(',');
        }
    }
}

/// Appends `text` as a JSON string: quotes, backslashes and control characters escaped, all else as it is. Whether it
/// has an escape.
#[inline]
pub(super) fn escape_into(out: &mut String, text: &str) -> bool {
    out.reserve(text.len() + 2);
    out.push('"');
    let has_escapes = !is_plain(text.as_bytes());
    if has_escapes {
        escape_text(out, text);
    } else {
        out.push_str(text);
    }
    out.push('"');
    has_escapes
}

#[cold]
fn escape_text(out: &mut String, text: &str) {
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_length(rest.as_bytes()));
        out.push_str(plain);
        let Some(&byte) = special.as_bytes().first() else { break };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => write!(out, "\\u{control:04x}").expect("writing to a String cannot fail"),
        }
        rest = &special[1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};

    #[test]
    fn commas_stand_between_values_only() {
        let mut out = Writer::new();
        out.begin_object();
        out.field("a", "1");
        out.key("b");
        out.begin_array();
        out.raw("1.50");
        out.begin_object();
        out.end_object();
        out.begin_array();
        out.end_array();
        out.end_array();
        out.field("c", "");
        out.end_object();
        assert_eq!(out.finish(), r#"{"a":"1","b":[1.50,{},[]],"c":""}"#);
    }

    #[test]
    fn any_text_survives_a_round_trip() {
        for length in 0..70 {
            for at in 0..length {
                for special in ['"', '\\', '\n', '\u{1f}', ' ', '\u{7f}'] {
                    let text: String = (0..length).map(|index| if index == at { special } else { 'x' }).collect();
                    let mut out = Writer::new();
                    out.string(&text);
                    let parsed = Document::parse(out.finish(), &Limits::default()).expect("it is JSON");
                    assert_eq!(parsed.root().text().as_deref(), Some(&*text));
                }
            }
        }
        let text: String = (0..0x250).chain(0x1F600..0x1F610).filter_map(char::from_u32).collect();
        let mut out = Writer::new();
        out.string(&text);
        let parsed = Document::parse(out.finish(), &Limits::default()).expect("it is JSON");
        assert_eq!(parsed.root().text().as_deref(), Some(&*text));
    }
}
