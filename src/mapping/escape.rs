//! `escape(value, from, to)`: a text that is escaped itself, from one escaping to another (StructureMap, map-transform:
//! plain, java, xml, json; html is xml).

use std::fmt::Write as _;

/// How a text is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    /// Not at all.
    Plain,
    /// As in a Java string literal: letters beyond ASCII as `\uXXXX`.
    Java,
    /// As XML content and attribute values.
    Xml,
    /// As in a JSON string.
    Json,
}

impl Escaping {
    /// The escaping that a map calls `name`.
    pub(super) fn named(name: &str) -> Option<Escaping> {
        Some(match name {
            "plain" | "text" => Escaping::Plain,
            "java" => Escaping::Java,
            "xml" | "html" => Escaping::Xml,
            "json" => Escaping::Json,
            _ => return None,
        })
    }

    /// The plain text of an escaped one; `None` if an escape sequence in it is not one.
    pub(super) fn decode(self, text: &str) -> Option<String> {
        match self {
            Escaping::Plain => Some(text.to_owned()),
            Escaping::Java | Escaping::Json => unescape_backslashes(text),
            Escaping::Xml => unescape_entities(text),
        }
    }

    /// Appends a plain text, escaped.
    pub(super) fn encode(self, plain: &str, out: &mut String) {
        match self {
            Escaping::Plain => out.push_str(plain),
            Escaping::Java | Escaping::Json => plain.chars().for_each(|each| escape_backslash(each, self, out)),
            Escaping::Xml => plain.chars().for_each(|each| match each {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                _ => out.push(each),
            }),
        }
    }
}

fn escape_backslash(letter: char, escaping: Escaping, out: &mut String) {
    match letter {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        _ if letter < ' ' || (escaping == Escaping::Java && !letter.is_ascii()) => {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        _ => out.push(letter),
    }
}

fn unescape_backslashes(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let plain = match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => {
                    let digits: String = letters.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4)?);
                    continue;
                }
                same @ ('"' | '\\' | '\'' | '/') => same,
                _ => return None,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).ok()
}

fn unescape_entities(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (entity, behind) = after.split_once(';')?;
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            "nbsp" => '\u{a0}',
            _ => {
                let number = entity.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                    None => number.parse(),
                };
                code.ok().and_then(char::from_u32)?
            }
        });
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "a<b> & \"c\" 'd'\n\t\\ Zoë 😀";

    #[test]
    fn every_escaping_is_undone() {
        for escaping in [Escaping::Plain, Escaping::Java, Escaping::Xml, Escaping::Json] {
            let mut escaped = String::new();
            escaping.encode(PLAIN, &mut escaped);
            assert_eq!(escaping.decode(&escaped).as_deref(), Some(PLAIN), "{escaping:?} {escaped}");
        }
    }

    #[test]
    fn texts_are_escaped_as_their_format_says() {
        for (escaping, expected) in [
            (Escaping::Java, "\\\"Zo\\u00eb\\ud83d\\ude00"),
            (Escaping::Json, "\\\"Zoë😀"),
            (Escaping::Xml, "&quot;Zoë😀"),
        ] {
            let mut escaped = String::new();
            escaping.encode("\"Zoë😀", &mut escaped);
            assert_eq!(escaped, expected);
        }
    }

    #[test]
    fn what_is_no_escape_is_refused() {
        for (escaping, text) in [
            (Escaping::Json, "\\x"),
            (Escaping::Json, "\\u12"),
            (Escaping::Json, "\\ud800"),
            (Escaping::Xml, "a & b;"),
            (Escaping::Xml, "&#xd800;"),
        ] {
            assert_eq!(escaping.decode(text), None, "{text}");
        }
    }
}
