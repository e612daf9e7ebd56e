//! Escape sequences of ER7 (HL7 v2.5.1 chapter 2, 2.7).

use hl7_parser::message::Separators;

/// The text that an encoded value stands for. Highlighting is left out; what is no escape sequence stays as it is.
pub(super) fn unescape(text: &str, separators: &Separators) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(separators.escape) {
        plain.push_str(before);
        let Some((sequence, after)) = behind.split_once(separators.escape) else {
            plain.push(separators.escape);
            plain.push_str(behind);
            return plain;
        };
        match sequence {
            "F" => plain.push(separators.field),
            "S" => plain.push(separators.component),
            "T" => plain.push(separators.subcomponent),
            "R" => plain.push(separators.repetition),
            "E" => plain.push(separators.escape),
            "H" | "N" => {}
            ".br" | ".sp" => plain.push('\n'),
            _ => match sequence.strip_prefix('X').and_then(hexadecimal) {
                Some(text) => plain.push_str(&text),
                None => {
                    plain.push(separators.escape);
                    plain.push_str(sequence);
                    // Its end may begin the next.
                    rest = &behind[sequence.len()..];
                    continue;
                }
            },
        }
        rest = after;
    }
    plain.push_str(rest);
    plain
}

/// The text of bytes in hexadecimal, if they are text.
fn hexadecimal(digits: &str) -> Option<String> {
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect::<Option<_>>()?;
    let text = String::from_utf8(bytes).ok()?;
    Some(text.replace("\r\n", "\n").replace('\r', "\n")).filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_what_they_say_and_the_rest_stays() {
        let plain = |text: &str| unescape(text, &Separators::default());
        for (text, expected) in [
            (r"Sm\S\th \T\ S\F\ns", "Sm^th & S|ns"),
            (r"a\R\b\E\c", r"a~b\c"),
            (r"one\.br\two\X0D0A\three", "one\ntwo\nthree"),
            (r"\H\loud\N\", "loud"),
            (r"\XC3A9\tude", "étude"),
            (r"é\F\é", "é|é"),
            (r"C:\temp", r"C:\temp"),
            (r"C:\temp\F\x", r"C:\temp|x"),
            (r"\X00\\Xzz\\X1\", r"\X00\\Xzz\\X1\"),
            (r"\", r"\"),
            ("", ""),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }
}
