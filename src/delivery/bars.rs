//! BaRS over HTTP: `$process-message` with its headers, answered in the same exchange (BaRS API 1.4.0).

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use super::client::Client;
use super::discovery::{Discovery, discover};
use super::{AttemptError, Dispatch, Endpoint, Reply};
use crate::fhir::bars;
use crate::identity::PartyId;
use crate::identity::tls::{Clock, Credentials, TlsError};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const TARGET: HeaderName = HeaderName::from_static("nhsd-target-identifier");
const ORGANISATION: HeaderName = HeaderName::from_static("nhsd-end-user-organisation");
const SOFTWARE: HeaderName = HeaderName::from_static("nhsd-requesting-software");
const USE_CONTEXT: HeaderName = HeaderName::from_static("use-context");

/// One endpoint that takes `$process-message`.
#[derive(Debug)]
pub struct Bars {
    client: Client,
    service_id: String,
    target: Uri,
}

impl Bars {
    /// The endpoint of `party`, for messages to its service `service_id`. Nothing is connected yet.
    ///
    /// # Errors
    /// When our credentials cannot be used as a client.
    pub fn new(
        (party, service_id): (PartyId, String),
        endpoint: Endpoint,
        credentials: &Credentials,
        clock: Clock,
    ) -> Result<Bars, TlsError> {
        let target = format!("{}/$process-message", endpoint.base.to_string().trim_end_matches('/'));
        let target = target.parse().expect("a checked endpoint can be extended");
        Ok(Bars { client: Client::new(party, endpoint, credentials, clock)?, service_id, target })
    }

    /// Updates a Task of the endpoint's, given as FHIR JSON, once (FHIR R4, http, update).
    ///
    /// # Errors
    /// [`AttemptError`], which says whether it may have arrived.
    pub async fn update_task(&self, (id, task): (&str, String), limit: Duration) -> Result<Reply, AttemptError> {
        let target = format!("{}/Task/{id}", self.base().to_string().trim_end_matches('/'));
        let mut request = Request::new(Full::new(task.into()));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = target.parse().map_err(|_| AttemptError::Unsuited)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(bars::MEDIA_TYPE));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(bars::MEDIA_TYPE));
        self.client.exchange(request, limit).await
    }

    /// The FHIR base of the endpoint.
    pub(super) fn base(&self) -> &Uri {
        &self.client.endpoint().base
    }

    /// Asks the endpoint what it takes of these use cases, as `sender`, whose name is `name`.
    pub async fn discover(&self, (sender, name): (&PartyId, &str), use_cases: &[String]) -> Discovery {
        let headers = headers_of((sender, name), &self.service_id);
        discover(&self.client, &self.service_id, use_cases, &headers).await
    }

    /// Sends the message once.
    ///
    /// # Errors
    /// [`AttemptError`], which says whether the message may have arrived.
    pub async fn attempt(&self, dispatch: &Dispatch, limit: Duration) -> Result<Reply, AttemptError> {
        let mut request = Request::new(Full::new(dispatch.bundle.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers(dispatch, &self.service_id);
        self.client.exchange(request, limit).await
    }
}

/// The headers of every attempt at delivering `dispatch`.
fn headers(dispatch: &Dispatch, service_id: &str) -> HeaderMap {
    let mut headers = headers_of((&dispatch.sender, &dispatch.sender_name), service_id);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(bars::MEDIA_TYPE));
    headers.insert(REQUEST_ID, text(&dispatch.message.to_string()));
    headers.insert(CORRELATION_ID, text(&dispatch.correlation.to_string()));
    headers.insert(USE_CONTEXT, text(&dispatch.use_context));
    dispatch.show(&mut headers);
    headers
}

/// The headers of every request: who asks, with what, which service.
fn headers_of((sender, name): (&PartyId, &str), service_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(bars::MEDIA_TYPE));
    headers.insert(TARGET, text(&bars::target_identifier(service_id)));
    headers.insert(ORGANISATION, text(&bars::end_user_organisation(sender.as_str(), name)));
    headers.insert(SOFTWARE, text(&bars::requesting_software("Weir", env!("CARGO_PKG_VERSION"))));
    headers
}

/// A header value from text that is a UUID or base64.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("ids, base64 and use contexts are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::MessageId;
    use base64::Engine as _;

    #[test]
    fn every_attempt_has_the_headers_that_bars_asks_for() {
        let message: MessageId = "0f0e0d0c-0b0a-4908-8706-050403020100".parse().expect("a message id");
        let sender = "DEMOP".parse().expect("an ODS code");
        let bundle = r#"{"resourceType":"Bundle","id":"b","type":"message","entry":[{"resource":
            {"resourceType":"MessageHeader","id":"h","eventCoding":{"code":"e"},"reason":{"coding":[{"code":"new"}]}}},
            {"resource":{"resourceType":"ServiceRequest","category":[{"coding":[
            {"system":"https://fhir.nhs.uk/CodeSystem/message-category-servicerequest","code":"referral"},
            {"system":"https://weir.example/fhir/CodeSystem/use-case","code":"crisis-escalation"}]}]}}]}"#;
        let dispatch = Dispatch::new(message, sender, "Demo Provider – Süd", bundle).expect("it is a message");
        let sent = headers(&dispatch, "2000099999");
        assert_eq!(sent, headers(&dispatch.clone(), "2000099999"), "a resend has the same");
        assert_eq!(sent["x-request-id"], message.to_string().as_str());
        assert_eq!(sent["x-correlation-id"], message.part("correlation").to_string().as_str());
        assert_eq!(sent["accept"], "application/fhir+json; version=1.4.0");
        assert_eq!(sent["content-type"], "application/fhir+json; version=1.4.0");
        assert_eq!(sent["use-context"], "crisis-escalation|referral|e|new");
        for (name, resource, holds) in [
            ("nhsd-target-identifier", "dos-service-id", "2000099999"),
            ("nhsd-end-user-organisation", "Organization", "DEMOP"),
            ("nhsd-requesting-software", "Device", env!("CARGO_PKG_VERSION")),
        ] {
            let json = base64::engine::general_purpose::STANDARD.decode(&sent[name]).expect("base64");
            let json = String::from_utf8(json).expect("UTF-8");
            assert!(json.contains(resource) && json.contains(holds), "{name}: {json}");
        }
    }
}
