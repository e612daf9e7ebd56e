use proptest::prelude::*;

use super::*;
use crate::intake::model::tests::sample;

const MESSAGE: &str = "MSH|^~\\&|PAS|DEMOP|WEIR|DEMOT|20260101120000+0100||ADT^A01|42|P|2.5\r\
    EVN|A01|20260101\r\
    PID|1||7^^^NHS&x&ISO^NH~^^^y~8^^^\"\"||Sm\\T\\th&van^Ann||19800203|F\r\
    ZZZ|1|not listed\r\
    OBX|1|TX|1||one~two^2|||||||||202601011200\r\
    OBX|2|TX|1||\"\"|||||||||20260101120000-0500\r";

fn read(text: &str) -> Result<String, Unreadable> {
    record(text.as_bytes(), &sample())
}

#[test]
fn a_message_becomes_the_record_of_its_model() {
    let expected = r#"{"MSH":{"controlId":"42","at":"2026-01-01T12:00:00+01:00"},"PID":{"number":[{"id":"7","authority":"NHS"},{"authority":"y"},{"id":"8"}],"name":{"family":"Sm&th","given":"Ann"},"born":"1980-02-03"},"OBX":[{"value":["one","two^2"],"at":"2026-01-01T12:00:00+01:00"},{"at":"2026-01-01T12:00:00-05:00"}]}"#;
    for ends in ["\r", "\n", "\r\n"] {
        assert_eq!(read(&MESSAGE.replace('\r', ends)).expect("it is a message"), expected);
    }
    let other = MESSAGE.replace('|', "!").replace('^', "%");
    assert_eq!(read(&other).expect("it is a message"), expected.replace("two^2", "two%2"), "other separators");
    let newer = MESSAGE.replace("^~\\&|PAS", "^~\\&#|PAS");
    assert_eq!(read(&newer).expect("it is a message"), expected, "a truncation character");
}

#[test]
fn what_may_not_repeat_and_does_is_left_to_the_model() {
    let twice = MESSAGE.replace("ZZZ|1|not listed", "PID|2||9||A~B^C");
    let json = read(&twice).expect("it is a message");
    assert!(json.contains(r#""PID":[{"#) && json.contains(r#""name":[{"family":"A"},{"family":"B""#), "{json}");
}

#[test]
fn character_sets_are_those_that_the_message_names() {
    let latin = MESSAGE.replace("|2.5\r", "|2.5||||||8859/1\r").replace("Ann", "Zo@");
    let latin: Vec<u8> = latin.bytes().map(|byte| if byte == b'@' { 0xEB } else { byte }).collect();
    assert!(record(&latin, &sample()).expect("it is Latin-1").contains("Zoë"));
    let unnamed: Vec<u8> = latin.to_vec();
    let unnamed = String::from_utf8_lossy(&unnamed).replace("8859/1", "");
    assert!(record(unnamed.as_bytes(), &sample()).is_ok());
    let wrong = [MESSAGE.as_bytes(), b"NTE|\xff"].concat();
    let refused = record(&wrong, &sample()).expect_err("it is not UTF-8");
    assert_eq!(refused.location.map(|at| at.to_string()).as_deref(), Some("MSH-18"));
    assert!(read(&MESSAGE.replace("|2.5\r", "|2.5||||||GB 18030\r")).is_err());
}

#[test]
fn what_is_no_message_is_refused_without_its_values() {
    for (text, part) in [
        ("", "begin with an MSH"),
        ("secret", "begin with an MSH"),
        ("MSH|^~", "five separators"),
        ("MSH|^^^^|secret", "five separators"),
        ("MSH|^~\\&|PAS\rPID", "segment 2"),
        ("MSH|^~\\&|PAS\rPID|1\r\rsecret", "segment 3"),
        ("MSH|^~\\&|PAS\rsecret", "segment 2"),
    ] {
        let refused = read(text).expect_err(text);
        assert!(refused.what.contains(part) && !refused.what.contains("secret"), "{text}: {refused}");
    }
}

#[test]
fn a_message_of_separators_alone_is_refused_before_it_costs_memory() {
    let many = format!("MSH|^~\\&|{}", "|".repeat(MOST_SEPARATORS));
    assert!(read(&many).expect_err("it is too much").what.contains("more than"));
    let most = format!("MSH|^~\\&|{}", "~^&|".repeat(MOST_SEPARATORS / 4 - 10));
    assert!(read(&most).is_ok());
}

#[test]
fn no_cut_or_flipped_byte_panics() {
    let bytes = MESSAGE.as_bytes();
    for end in 0..bytes.len() {
        let _ = record(&bytes[..end], &sample());
        for byte in [0, b'|', b'^', b'\\', b'\r', 0x0b, 0xC3, 0xff] {
            let mut changed = bytes.to_vec();
            changed[end] = byte;
            let _ = record(&changed, &sample());
            let _ = Head::read(&changed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Bytes of every kind, behind a head that lets the parser go on.
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), set in 0..3) {
        let head: &[u8] = match set {
            0 => b"",
            1 => b"MSH|^~\\&|a|b|c|d|e||ADT^A01|1|P|2.5||||||8859/1\r",
            _ => b"MSH|^~\\&|",
        };
        let message = [head, &bytes].concat();
        let _ = Head::read(&message);
        if let Ok(json) = record(&message, &sample()) {
            crate::fhir::Document::parse(json, &crate::fhir::Limits::default()).expect("it is JSON");
        }
    }

    /// What is likely to meet the parser's own cases.
    #[test]
    fn no_text_of_separators_panics(text in "MSH\\|\\^~\\\\&(\\||\\^|~|\\\\|&|\r|\n|é|A|PID|OBX|\"\"|1){0,80}") {
        if let Ok(json) = record(text.as_bytes(), &sample()) {
            crate::fhir::Document::parse(json, &crate::fhir::Limits::default()).expect("it is JSON");
        }
    }
}

#[test]
fn by_a_clock_in_the_uk_the_offset_of_msh_7_is_that_of_msh_7_alone() {
    let model = sample().with_clock(Clock::Uk);
    let json = record(MESSAGE.as_bytes(), &model).expect("it is a message");
    assert!(json.contains(r#""at":"2026-01-01T12:00:00+01:00"},"PID""#), "{json}");
    assert!(json.contains(r#""value":["one","two^2"],"at":"2026-01-01T12:00:00+00:00""#), "{json}");
    assert!(json.contains(r#""at":"2026-01-01T12:00:00-05:00""#), "{json}");
}

#[test]
fn a_message_is_the_same_whenever_it_was_stamped() {
    let of = |text: &str| digest_without_stamp(text.as_bytes());
    let first = of(MESSAGE);
    for same in ["", "20260101130000+0000", "2"] {
        assert_eq!(of(&MESSAGE.replacen("20260101120000+0100", same, 1)), first, "{same}");
    }
    for other in [MESSAGE.replace("DEMOT", "DEMOU"), MESSAGE.replace("||ADT", "|x|ADT"), MESSAGE.replace("Ann", "Bea")]
    {
        assert_ne!(of(&other), first, "{other}");
    }
    assert_eq!(of("MSH|^~\\&|a|b|c|d|1\rPID|1"), of("MSH|^~\\&|a|b|c|d|2\rPID|1"));
    assert_ne!(of("MSH|^~\\&|a|b|c|d|1\rPID|1"), of("MSH|^~\\&|a|b|c|d|1\rPID|2"));
    for short in ["", "MSH", "MSH|", "MSH|^~\\&|a|b|c|d", "MSH|^~\\&\rPID|||||||1"] {
        assert_eq!(of(short), sha_256(short.as_bytes()), "{short}");
    }
}
