//! What is sent to a partner, and the BaRS headers that go with it (BaRS API 1.4.0, `$process-message`).

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Bytes;

use super::Partner;
use crate::fhir::message::{Message, NotAMessage};
use crate::fhir::{Document, Limits, bars};
use crate::identity::{MessageId, PartyId};

/// `use-context` of a new referral. The use case is local: BaRS has none for a mental-health crisis.
pub const NEW_REFERRAL: &str = "crisis-escalation|referral|servicerequest-request|new";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const TARGET: HeaderName = HeaderName::from_static("nhsd-target-identifier");
const ORGANISATION: HeaderName = HeaderName::from_static("nhsd-end-user-organisation");
const SOFTWARE: HeaderName = HeaderName::from_static("nhsd-requesting-software");
const USE_CONTEXT: HeaderName = HeaderName::from_static("use-context");

/// One message on its way to one partner. Every attempt sends the same.
#[derive(Clone)]
pub struct Dispatch {
    /// The message: `X-Request-Id`.
    pub message: MessageId,
    /// Who sends it.
    pub sender: PartyId,
    /// The sender's name, for `NHSD-End-User-Organisation`.
    pub sender_name: String,
    /// `use-context`: use case, category, event and reason, separated by `|`. Visible ASCII.
    pub use_context: &'static str,
    /// The Bundle as FHIR JSON.
    pub bundle: Bytes,
    /// What an answer may call the message: `Bundle.id` and `MessageHeader.id`.
    pub names: Vec<String>,
}

impl std::fmt::Debug for Dispatch {
    /// Never the Bundle: it holds personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dispatch({} from {}, {} bytes)", self.message, self.sender, self.bundle.len())
    }
}

impl Dispatch {
    /// A new referral.
    ///
    /// # Errors
    /// When the Bundle is not a message: its answer could not be told from another's.
    pub fn new(
        message: MessageId,
        sender: PartyId,
        sender_name: &str,
        bundle: impl Into<Bytes>,
    ) -> Result<Dispatch, NotAMessage> {
        let (bundle, sender_name) = (bundle.into(), sender_name.to_owned());
        let document = Document::parse(bundle.as_ref(), &Limits::default()).map_err(|_| NotAMessage::NotABundle)?;
        let parsed = Message::of(&document)?;
        let names = std::iter::once(parsed.id()).chain(parsed.header_id()).collect();
        Ok(Dispatch { message, sender, sender_name, use_context: NEW_REFERRAL, bundle, names })
    }

    /// `X-Correlation-Id`: the same for all messages of one conversation, which this message opens.
    pub fn correlation_id(&self) -> uuid::Uuid {
        self.message.part("correlation")
    }

    /// The headers of every attempt at `partner`.
    pub(super) fn headers(&self, partner: &Partner) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(bars::MEDIA_TYPE));
        headers.insert(ACCEPT, HeaderValue::from_static(bars::MEDIA_TYPE));
        headers.insert(REQUEST_ID, text(&self.message.to_string()));
        headers.insert(CORRELATION_ID, text(&self.correlation_id().to_string()));
        headers.insert(TARGET, text(&bars::target_identifier(&partner.service_id)));
        headers.insert(ORGANISATION, text(&bars::end_user_organisation(self.sender.as_str(), &self.sender_name)));
        headers.insert(SOFTWARE, text(&bars::requesting_software("Weir", env!("CARGO_PKG_VERSION"))));
        headers.insert(USE_CONTEXT, HeaderValue::from_static(self.use_context));
        headers
    }
}

/// A header value from text that is a UUID or base64.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("UUIDs and base64 are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Schedule;
    use crate::identity::issuance::{Authority, Validity};
    use crate::identity::tls::{TlsVersion, TrustAnchors};
    use base64::Engine as _;
    use std::time::Duration;

    fn partner() -> Partner {
        let validity = Validity::days(time::macros::datetime!(2026-01-01 00:00 UTC), 1);
        let authority = Authority::new("CA", validity).expect("an authority");
        Partner {
            ods: "DEMOT".parse().expect("an ODS code"),
            name: "Demo Trust".to_owned(),
            endpoint: http::Uri::from_static("https://bars-demot.trust.example/FHIR/R4"),
            connect: None,
            service_id: "2000099999".to_owned(),
            anchors: TrustAnchors::from_pem(authority.certificate_pem().as_bytes()).expect("an anchor"),
            minimum_tls: TlsVersion::Tls12,
            pins: Vec::new(),
            schedule: Schedule { first: Duration::from_secs(1), max: Duration::from_secs(1) },
            attempt_timeout: Duration::from_secs(1),
            max_attempts: None,
        }
    }

    #[test]
    fn every_attempt_has_the_headers_that_bars_asks_for() {
        let message: MessageId = "0f0e0d0c-0b0a-4908-8706-050403020100".parse().expect("a message id");
        let sender = "DEMOP".parse().expect("an ODS code");
        let bundle = r#"{"resourceType":"Bundle","id":"b","type":"message","entry":[{"resource":
            {"resourceType":"MessageHeader","id":"h","eventCoding":{"code":"e"}}}]}"#;
        let dispatch = Dispatch::new(message, sender, "Demo Provider – Süd", bundle).expect("it is a message");
        assert_eq!(dispatch.names, ["b", "h"]);
        let headers = dispatch.headers(&partner());
        assert_eq!(headers, dispatch.clone().headers(&partner()), "a resend has the same");
        assert_eq!(headers["x-request-id"], message.to_string().as_str());
        assert_eq!(headers["x-correlation-id"], message.part("correlation").to_string().as_str());
        assert_eq!(headers["accept"], "application/fhir+json; version=1.4.0");
        assert_eq!(headers["content-type"], "application/fhir+json; version=1.4.0");
        assert_eq!(headers["use-context"], NEW_REFERRAL);
        for (name, resource, holds) in [
            ("nhsd-target-identifier", "dos-service-id", "2000099999"),
            ("nhsd-end-user-organisation", "Organization", "DEMOP"),
            ("nhsd-requesting-software", "Device", env!("CARGO_PKG_VERSION")),
        ] {
            let json = base64::engine::general_purpose::STANDARD.decode(&headers[name]).expect("base64");
            let json = String::from_utf8(json).expect("UTF-8");
            assert!(json.contains(resource) && json.contains(holds), "{name}: {json}");
        }
        assert!(!format!("{dispatch:?}").contains("Bundle"));
    }
}
