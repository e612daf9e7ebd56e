//! What is sent to a partner, whichever way it goes: the Bundle, and the ids that every attempt carries.

use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Bytes;
use uuid::Uuid;

use crate::fhir::message::{Message, NotAMessage};
use crate::fhir::{Document, Limits};
use crate::identity::{MessageId, PartyId};

const PROVENANCE: HeaderName = HeaderName::from_static("x-provenance");

/// One message on its way to one partner. Every attempt sends the same.
#[derive(Clone)]
pub struct Dispatch {
    /// The message: `X-Request-Id`.
    pub message: MessageId,
    /// `X-Correlation-Id`: the same for all messages of one conversation.
    pub correlation: Uuid,
    /// Who sends it.
    pub sender: PartyId,
    /// The sender's name, for `NHSD-End-User-Organisation`.
    pub sender_name: String,
    /// `use-context`: use case, category, event and reason, separated by `|`. Visible ASCII.
    pub use_context: String,
    /// The Bundle as FHIR JSON.
    pub bundle: Bytes,
    /// What an answer may call the message: `Bundle.id` and `MessageHeader.id`.
    pub names: Vec<String>,
    /// Whether an attempt was made before, which may have arrived.
    pub is_resend: bool,
    /// What the carrier calls the copies that it took and that were dealt with, the last one last.
    pub carried_as: Vec<String>,
    /// The Provenance of the Bundle, for partners that want it with the message.
    pub provenance: Option<HeaderValue>,
}

impl std::fmt::Debug for Dispatch {
    /// Never the Bundle: it holds personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dispatch({} from {}, {} bytes)", self.message, self.sender, self.bundle.len())
    }
}

impl Dispatch {
    /// A new message, with the use context that it says itself.
    ///
    /// # Errors
    /// When the Bundle is not a message: its answer could not be told from another's.
    pub fn new(
        message: MessageId,
        sender: PartyId,
        sender_name: &str,
        bundle: impl Into<Bytes>,
    ) -> Result<Dispatch, NotAMessage> {
        let bundle = bundle.into();
        let document = Document::parse(bundle.as_ref(), &Limits::default()).map_err(|_| NotAMessage::NotABundle)?;
        Dispatch::of((message, sender, sender_name), &document, bundle)
    }

    /// The same of a Bundle that is parsed already.
    ///
    /// # Errors
    /// As [`Dispatch::new`].
    pub fn of(
        (message, sender, sender_name): (MessageId, PartyId, &str),
        document: &Document,
        bundle: impl Into<Bytes>,
    ) -> Result<Dispatch, NotAMessage> {
        let (bundle, sender_name) = (bundle.into(), sender_name.to_owned());
        let parsed = Message::of(document)?;
        let (names, use_context) = (parsed.names(), parsed.use_context());
        let correlation = message.part("correlation");
        let (is_resend, carried_as, provenance) = (false, vec![], None);
        Ok(Dispatch {
            message,
            correlation,
            sender,
            sender_name,
            use_context,
            bundle,
            names,
            is_resend,
            carried_as,
            provenance,
        })
    }

    /// The same with its Provenance, FHIR JSON, to go in the header `X-Provenance` (FHIR R4, Provenance, 6.3.4.4). Headers are ASCII: other
    /// letters are escaped as JSON escapes them.
    #[must_use]
    pub fn showing(self, provenance: &str) -> Dispatch {
        let mut text = String::with_capacity(provenance.len());
        for letter in provenance.chars() {
            if (' '..='~').contains(&letter) {
                text.push(letter);
            } else {
                let mut units = [0; 2];
                letter.encode_utf16(&mut units).iter().for_each(|unit| text += &format!("\\u{unit:04x}"));
            }
        }
        Dispatch { provenance: HeaderValue::from_str(&text).ok(), ..self }
    }

    /// The header that shows the Provenance, where what is sent is the Bundle as it was signed.
    pub(super) fn show(&self, headers: &mut HeaderMap) {
        if let Some(provenance) = &self.provenance {
            headers.insert(PROVENANCE, provenance.clone());
        }
    }

    /// A response, in the conversation of what it answers; `answered` is the use context of that.
    ///
    /// # Errors
    /// As [`Dispatch::new`].
    pub fn response(
        (message, correlation, answered): (MessageId, Uuid, &str),
        sender: PartyId,
        sender_name: &str,
        bundle: impl Into<Bytes>,
    ) -> Result<Dispatch, NotAMessage> {
        let response = Dispatch::new(message, sender, sender_name, bundle)?;
        let event = response.use_context.split('|').nth(2).unwrap_or_default();
        let is_safe = answered.bytes().all(|byte| byte.is_ascii_graphic());
        let mut parts: Vec<&str> = answered.split('|').filter(|_| is_safe).collect();
        parts.resize(4, "");
        parts[2] = event;
        let use_context = parts.join("|");
        Ok(Dispatch { correlation, use_context, ..response })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_context_is_that_of_the_message_and_of_what_a_response_answers() {
        let message: MessageId = "0f0e0d0c-0b0a-4908-8706-050403020100".parse().expect("a message id");
        let sender = || "DEMOP".parse().expect("an ODS code");
        let bundle = |event: &str, request: &str| {
            format!(
                r#"{{"resourceType":"Bundle","id":"b","type":"message","entry":[{{"resource":
                {{"resourceType":"MessageHeader","id":"h","eventCoding":{{"code":"{event}"}},
                "reason":{{"coding":[{{"code":"new"}}]}}}}}}{request}]}}"#
            )
        };
        let category = |codings: &str| {
            format!(r#",{{"resource":{{"resourceType":"ServiceRequest","category":[{{"coding":[{codings}]}}]}}}}"#)
        };
        let kind = r#"{"system":"https://fhir.nhs.uk/CodeSystem/message-category-servicerequest","code":"referral"}"#;
        let case = |code: &str| format!(r#"{kind},{{"system":"https://weir.example/x","code":"{code}"}}"#);
        let context = |request: &str| {
            Dispatch::new(message, sender(), "Demo", bundle("e", request)).expect("it is a message").use_context
        };
        assert_eq!(context(&category(&case("team-transfer"))), "team-transfer|referral|e|new");
        assert_eq!(context(&category(kind)), "|referral|e|new");
        assert_eq!(context(&category(&case("a|b"))), "|referral|e|new", "no code has a bar in it");
        assert_eq!(context(""), "||e|new");
        for (answered, expected) in [
            ("team-transfer|referral|servicerequest-request|update", "team-transfer|referral|r|update"),
            ("", "||r|"),
            ("a\n|b|c|d", "||r|"),
            ("a|b|c|d|e", "a|b|r|d"),
        ] {
            let ids = (message, Uuid::nil(), answered);
            let response = Dispatch::response(ids, sender(), "Demo", bundle("r", "")).expect("it is a message");
            assert_eq!(response.use_context, expected);
        }
    }

    #[test]
    fn a_dispatch_says_what_an_answer_may_call_it_and_nothing_of_what_it_holds() {
        let message: MessageId = "0f0e0d0c-0b0a-4908-8706-050403020100".parse().expect("a message id");
        let bundle = r#"{"resourceType":"Bundle","id":"b","type":"message","entry":[{"resource":
            {"resourceType":"MessageHeader","id":"h","eventCoding":{"code":"e"}}}]}"#;
        let dispatch = Dispatch::new(message, "DEMOP".parse().expect("an ODS code"), "Demo Provider", bundle);
        let dispatch = dispatch.expect("it is a message");
        assert_eq!(dispatch.names, ["b", "h"]);
        assert!(!format!("{dispatch:?}").contains("Bundle"));
        let mut headers = HeaderMap::new();
        dispatch.show(&mut headers);
        assert!(headers.is_empty());
        dispatch.showing("{\"name\":\"Südstern \u{1F600}\"}").show(&mut headers);
        assert_eq!(headers["x-provenance"], r#"{"name":"S\u00fcdstern \ud83d\ude00"}"#);
    }
}
