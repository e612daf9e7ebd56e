//! What is sent to a partner, and the BaRS headers that go with it (BaRS API 1.4.0, `$process-message`).

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Bytes;

use super::Partner;
use crate::fhir::bars;
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
    /// The message: `X-Request-Id`, and the id of the Bundle.
    pub message: MessageId,
    /// Who sends it.
    pub sender: PartyId,
    /// The sender's name, for `NHSD-End-User-Organisation`.
    pub sender_name: String,
    /// `use-context`: use case, category, event and reason, separated by `|`. Visible ASCII.
    pub use_context: &'static str,
    /// The Bundle as FHIR JSON.
    pub bundle: Bytes,
}

impl std::fmt::Debug for Dispatch {
    /// Never the Bundle: it holds personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dispatch({} from {}, {} bytes)", self.message, self.sender, self.bundle.len())
    }
}

impl Dispatch {
    /// A new referral.
    pub fn new(message: MessageId, sender: PartyId, sender_name: &str, bundle: impl Into<Bytes>) -> Dispatch {
        let sender_name = sender_name.to_owned();
        Dispatch { message, sender, sender_name, use_context: NEW_REFERRAL, bundle: bundle.into() }
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
