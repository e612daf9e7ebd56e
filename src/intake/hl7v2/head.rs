//! The head of a message (MSH), as its acknowledgement needs it: also of a message that cannot be read any further.

/// Letters of a field that are kept.
const LONGEST: usize = 250;

/// What MSH says, as it is encoded: what is echoed is not taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// MSH-1: what separates fields.
    pub separator: char,
    /// MSH-2: what separates components, repeats, escapes and subcomponents.
    pub encoding: String,
    /// MSH-3
    pub sending_application: String,
    /// MSH-4
    pub sending_facility: String,
    /// MSH-5
    pub receiving_application: String,
    /// MSH-6
    pub receiving_facility: String,
    /// MSH-9.1: `ADT`
    pub code: String,
    /// MSH-9.2: `A01`
    pub event: String,
    /// MSH-10
    pub control_id: String,
    /// MSH-11.1: `P`
    pub processing_id: String,
    /// MSH-12.1: `2.5.1`
    pub version: String,
    /// MSH-15: when an accept acknowledgement is asked for; empty where it is null (`""`).
    pub accept_type: String,
    /// MSH-16: when an application acknowledgement is asked for; empty where it is null (`""`).
    pub application_type: String,
    /// MSH-18, the first repeat.
    pub character_set: String,
}

impl Head {
    /// Reads it; `None` when the bytes do not begin with MSH and a separator.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(64 << 10)]);
        let rest = line.strip_prefix("MSH")?;
        let separator = rest.chars().next().filter(char::is_ascii_punctuation)?;
        let fields: Vec<&str> = rest[1..].split(separator).collect();
        let encoding: String = fields.first().map_or("", |first| *first).chars().take(5).collect();
        // MSH-1 is the separator itself, so that MSH-2 stands first.
        let field = |number: usize| kept(fields.get(number - 2).copied().unwrap_or_default());
        let component = encoding.chars().next().unwrap_or('^');
        let repeat = encoding.chars().nth(1).unwrap_or('~');
        let asked =
            |number: usize| Some(field(number).trim().to_owned()).filter(|own| own != "\"\"").unwrap_or_default();
        let part = |number: usize, at: usize| field(number).split(component).nth(at).unwrap_or_default().to_owned();
        Some(Head {
            separator,
            sending_application: field(3),
            sending_facility: field(4),
            receiving_application: field(5),
            receiving_facility: field(6),
            code: part(9, 0),
            event: part(9, 1),
            control_id: field(10),
            processing_id: part(11, 0),
            version: part(12, 0),
            accept_type: asked(15),
            application_type: asked(16),
            character_set: field(18).split(repeat).next().unwrap_or_default().to_owned(),
            encoding,
        })
    }
}

fn kept(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_whatever_follows_it() {
        let head = Head::read(
            b"MSH|^~\\&|PAS|DEMOP|WEIR|DEMOT|20260101||ADT^A01^ADT_A01|42|P^T|2.5.1^GBR||||||8859/1~x\rgarbage\xff",
        );
        let head = head.expect("it is a head");
        assert_eq!((head.sending_application.as_str(), head.receiving_facility.as_str()), ("PAS", "DEMOT"));
        assert_eq!((head.code.as_str(), head.event.as_str(), head.control_id.as_str()), ("ADT", "A01", "42"));
        assert_eq!((head.processing_id.as_str(), head.version.as_str()), ("P", "2.5.1"));
        assert_eq!(head.character_set, "8859/1");
        assert_eq!((head.accept_type.as_str(), head.application_type.as_str()), ("", ""));
        let asked =
            Head::read(b"MSH|^~\\&|PAS|DEMOP|WEIR|DEMOT|20260101||ADT^A01|42|P|2.5.1|||AL|\"\"").expect("it is a head");
        assert_eq!((asked.accept_type.as_str(), asked.application_type.as_str()), ("AL", ""));
        let short = Head::read(b"MSH|").expect("it is a head");
        assert_eq!((short.encoding.as_str(), short.control_id.as_str()), ("", ""));
        for none in [&b""[..], b"MSH", b"MSHA^~", b"PID|1", b"\x0bMSH|", "MSHé".as_bytes()] {
            assert_eq!(Head::read(none), None, "{none:?}");
        }
    }
}
