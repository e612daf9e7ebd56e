//! Words that most events have, kept as one character each: an event is kept for years, and half of it is such words.
//!
//! The first [`COMMON`] of [`KNOWN`] are the characters from U+0002 on, the others U+0001 with a letter behind it. Text that begins with
//! a control character of its own, which none of Weir's does, gets U+0001 twice before it. Events of before hold no such characters.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many words take one byte.
const COMMON: usize = 30;
/// What the first word is.
const FIRST: u8 = 2;
/// What stands before a further word's letter, and twice before text that begins like a word.
const FURTHER: char = '\u{1}';
/// The letter of the first further word.
const LETTER: u8 = b' ';

/// The words, in an order that is never changed: new ones go to the end.
const KNOWN: &[&str] = &[
    "interface",
    "recipient",
    "from",
    "to",
    "attempts",
    "reason",
    "version",
    "sha-256",
    "elements-sent",
    "elements-withheld",
    "lineage-sha-256",
    "record-keyed-hash",
    "consent-ground",
    "consent-preference",
    "message-accepted",
    "state-transition",
    "AuthZ-Consent",
    "disclose",
    "receive",
    "accepted",
    "in-flight",
    "acknowledged",
    "delivered",
    "queued",
    "attempt",
    "110100",
    "110106",
    "110107",
    "110113",
    "priority",
    "deadline",
    "TREAT",
    "ETREAT",
    "BTG",
    "implied-consent",
    "consent",
    "statute",
    "override",
    "given",
    "not-possible",
    "withdrawn",
    "expired",
    "out-of-scope",
    "crisis-escalation",
    "partner-accepted",
    "mesh-accepted",
    "duplicate",
    "connection-refused",
    "refused",
    "dead",
    "cancelled",
    "action",
    "role",
    "access",
    "rest",
    "read",
    "search-type",
    "110120",
    "110121",
    "110129",
    "gateway-started",
    "gateway-stopped",
    "configuration-loaded",
    "submission-refused",
    "act-refused",
    "agreement-approved",
    "agreements-changed",
    "review-opened",
    "review-overdue",
    "review-completed",
    "delivery-alarm",
    "answer-received",
    "answer-refused",
    "incident-reported",
    "envelope-destroyed",
    "message-erased",
    "subject-erased",
    "destroy",
    "reviewer",
    "lawful-basis",
    "review-due",
    "finding",
    "notice",
    "channel",
    "route",
    "change",
    "answer",
    "verdict",
    "asks-for",
    "envelope",
    "day",
    "retention-days",
    "messages",
    "undelivered",
    "kept",
    "handover-changed",
    "handover-alarm",
    "first-contact-due",
    "first-contact",
    "holder",
    "waiting",
    "near-due",
    "overdue",
    "contact-missed",
    "contacted",
    "rejected",
];

/// What a text is kept as.
pub(super) fn short(text: &str) -> Cow<'_, str> {
    let begins_like_one = text.starts_with(|first: char| first < char::from(LETTER));
    match KNOWN.iter().position(|known| *known == text).map(u8::try_from) {
        Some(Ok(place)) if usize::from(place) < COMMON => char::from(FIRST + place).to_string().into(),
        Some(Ok(place)) => format!("{FURTHER}{}", char::from(LETTER + (place - COMMON as u8))).into(),
        _ if begins_like_one => format!("{FURTHER}{FURTHER}{text}").into(),
        _ => text.into(),
    }
}

/// The text that was kept so; what is kept as no word is the text itself.
pub(super) fn long(kept: Cow<'_, str>) -> Cow<'_, str> {
    let word = |place: usize| KNOWN.get(place).copied();
    let known = match *kept.as_bytes() {
        [first] if (FIRST..LETTER).contains(&first) => word(usize::from(first - FIRST)),
        [1, letter] if letter >= LETTER => word(COMMON + usize::from(letter - LETTER)),
        [1, 1, ..] => return kept[2..].to_owned().into(),
        _ => None,
    };
    known.map_or(kept, Cow::Borrowed)
}

pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    short(text).serialize(serializer)
}

pub(super) fn deserialize<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    Ok(long(Cow::Borrowed(<&'de str>::deserialize(deserializer)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_word_and_every_other_text_is_read_back() {
        let others =
            ["", "1", "DEMOP", "a longer text", "\u{1}", "\u{2}", "\u{1}\u{1}x", "\u{1} ", "\u{1f}y", "é", "\n"];
        let mut kept = BTreeSet::new();
        for text in KNOWN.iter().chain(&others) {
            assert_eq!(long(short(text)), *text);
            assert!(kept.insert(short(text).into_owned()), "{text:?} is kept as another is");
        }
        assert!(KNOWN.len() <= COMMON + usize::from(b'~' - LETTER), "each has a letter");
        assert_eq!((short("interface").len(), short("kept").len()), (1, 2));
    }

    #[test]
    fn what_is_kept_as_no_word_is_itself() {
        for text in ["\u{1}", "\u{1}\u{7f}", "\u{1}x\u{1}", "interface"] {
            assert_eq!(long(text.into()), text);
        }
    }
}
