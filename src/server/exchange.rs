//! A BaRS exchange as its receiver sees it: what a request has to bring, and how it is answered (BaRS API 1.4.0).
//!
//! Enters: the headers and the body of a request. Leaves: what they say, or a [`Refusal`] with a code of
//! http-error-codes. Every answer carries the request's ids back. The gateway and the reference receiver share it.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use hyper::body::Bytes;
use uuid::Uuid;

use super::body::{self, Unread};
use crate::fhir::Instant;
use crate::fhir::bars::{self, ErrorCode, HeaderFault};
use crate::fhir::capability::{Definition, definition_bundle};
use crate::fhir::outcome::{Issue, IssueType};

/// The headers that every answer carries back as they came.
pub const ECHOED: [&str; 2] = ["x-request-id", "x-correlation-id"];
/// Those that BaRS asks of a request besides: for whom it is, who sends it, with what.
const TARGET: &str = "nhsd-target-identifier";
const ORGANISATION: &str = "nhsd-end-user-organisation";
const SOFTWARE: &str = "nhsd-requesting-software";

/// Why a request is answered with an OperationOutcome.
#[derive(Debug)]
pub struct Refusal {
    /// Its code and status.
    pub code: ErrorCode,
    /// What, where, and what to do.
    pub issue: Box<Issue>,
}

impl Refusal {
    /// Says it with `code`.
    pub fn new(code: ErrorCode, issue: Issue) -> Refusal {
        Refusal { code, issue: Box::new(issue) }
    }

    /// The answer.
    pub fn answer(self, request: &HeaderMap) -> Response {
        let status = StatusCode::from_u16(self.code.status()).expect("every error code has a status");
        let mut response = answer(request, status, bars::outcome(self.code, *self.issue));
        if matches!(self.code, ErrorCode::Unavailable | ErrorCode::TooEarly) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The routes of a receiver: what it does with a message, with a question for its CapabilityStatement, and with one for its
/// MessageDefinitions. All else is refused as BaRS refuses it.
pub fn router<S: Clone + Send + Sync + 'static>(
    process_message: MethodRouter<S>,
    metadata: MethodRouter<S>,
    message_definition: MethodRouter<S>,
) -> Router<S> {
    let refuse = |code, text: &'static str| {
        move |headers: HeaderMap| async move {
            Refusal::new(code, Issue::error(IssueType::NotSupported, text)).answer(&headers)
        }
    };
    Router::new()
        .route("/FHIR/R4/$process-message", process_message)
        .route("/FHIR/R4/metadata", metadata)
        .route("/FHIR/R4/MessageDefinition", message_definition)
        .method_not_allowed_fallback(refuse(ErrorCode::MethodNotAllowed, "the method is not supported here"))
        .fallback(refuse(ErrorCode::NotFound, "only $process-message, metadata and MessageDefinition are here"))
}

/// An answer in FHIR JSON that carries the request's ids back.
pub fn answer(request: &HeaderMap, status: StatusCode, body: String) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(bars::MEDIA_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for name in ECHOED {
        if let Some(value) = request.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    response
}

/// A header as text; empty when there is none, or it is not text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Both ids are there, each once, and UUIDs.
///
/// # Errors
/// The first that is not.
pub fn has_ids(headers: &HeaderMap) -> Result<(), Refusal> {
    for name in ECHOED {
        let text = only(headers, name)?;
        if Uuid::try_parse(text).is_err() {
            let issue = Issue::error(IssueType::Value, format!("the header {name} is not a UUID"));
            return Err(Refusal::new(ErrorCode::BadRequest, issue.hint("send a UUID, and the same in a resend")));
        }
    }
    Ok(())
}

/// A header that has to be there once.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refusal> {
    let mut values = headers.get_all(name).iter();
    let (code, text, hint) = match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(text)), None) if !text.is_empty() => return Ok(text),
        (None | Some(Ok(_)), None) => (IssueType::Required, "is missing", "send every header that BaRS asks for"),
        (Some(Err(_)), None) => (IssueType::Value, "is not visible ASCII", "send it as BaRS 1.4.0 says"),
        _ => (IssueType::Value, "stands twice", "send it once"),
    };
    Err(Refusal::new(ErrorCode::BadRequest, Issue::error(code, format!("the header {name} {text}")).hint(hint)))
}

/// What the headers of BaRS say.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// System and value of the service that the request is for.
    pub target: (String, String),
    /// The ODS codes of the organisation that sends it.
    pub organisation: Vec<String>,
}

/// The headers that BaRS asks for, read: the target, the organisation, the software.
///
/// # Errors
/// The first that is missing or not what BaRS 1.4.0 says.
pub fn said(headers: &HeaderMap) -> Result<Said, Refusal> {
    let fault = |name: &'static str| {
        move |fault: HeaderFault| {
            let issue = Issue::error(IssueType::Structure, format!("the header {name} {fault}"));
            Refusal::new(ErrorCode::BadRequest, issue.hint("send it as BaRS 1.4.0 says: base64 of JSON"))
        }
    };
    let target = bars::read_target(only(headers, TARGET)?).map_err(fault(TARGET))?;
    let organisation = bars::read_organisation(only(headers, ORGANISATION)?).map_err(fault(ORGANISATION))?;
    bars::read_software(only(headers, SOFTWARE)?).map_err(fault(SOFTWARE))?;
    Ok(Said { target, organisation })
}

/// The body is FHIR JSON, and so may the answer be, in a version of BaRS that is spoken here.
///
/// # Errors
/// 415 or 406.
pub fn is_fhir_json(headers: &HeaderMap) -> Result<(), Refusal> {
    if !essence(text(headers, CONTENT_TYPE.as_str())).eq_ignore_ascii_case("application/fhir+json") {
        let issue = Issue::error(IssueType::NotSupported, "the message is not application/fhir+json");
        let hint = "send it as Content-Type: application/fhir+json; version=1.4.0";
        return Err(Refusal::new(ErrorCode::UnsupportedMediaType, issue.hint(hint)));
    }
    may_answer(headers)
}

/// The answer may be FHIR JSON, in a version of BaRS that is spoken here.
///
/// # Errors
/// 406.
pub fn may_answer(headers: &HeaderMap) -> Result<(), Refusal> {
    let accepted = |range: &str| {
        let ranges = ["application/fhir+json", "application/*", "*/*"];
        ranges.iter().any(|known| essence(range).eq_ignore_ascii_case(known)) && is_spoken(range)
    };
    if !headers.contains_key(ACCEPT) || text(headers, ACCEPT.as_str()).split(',').any(accepted) {
        return Ok(());
    }
    let issue = Issue::error(
        IssueType::Processing,
        "the answer would be application/fhir+json of BaRS 1, which is not accepted",
    );
    Err(Refusal::new(ErrorCode::NotAcceptable, issue.hint("send Accept: application/fhir+json; version=1.4.0")))
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a media type names no version of BaRS, or one of the first.
fn is_spoken(media_type: &str) -> bool {
    let mut parameters = media_type.split(';').skip(1).map(str::trim);
    let version = parameters.find_map(|parameter| parameter.strip_prefix("version="));
    version.is_none_or(|version| matches!(version.trim_matches('"').split('.').next(), Some("1")))
}

/// The MessageDefinitions that a query asks for by `context`, of those there are (`GET MessageDefinition`).
pub fn definitions(
    headers: &HeaderMap,
    (base, uri): (&str, &Uri),
    there_are: &[Definition],
    now: Instant,
) -> Result<Response, Refusal> {
    let wrong = |code, text: &str| {
        let hint = "write context=system|code of the service, and again for the use case";
        Refusal::new(ErrorCode::BadRequest, Issue::error(code, text).hint(hint))
    };
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Ok(Query(query)) = query else { return Err(wrong(IssueType::Invalid, "the query cannot be read")) };
    let contexts: Vec<&str> =
        query.iter().filter(|(name, _)| name == "context").map(|(_, value)| value.as_str()).collect();
    if contexts.is_empty() {
        return Err(wrong(IssueType::Required, "the query has no context"));
    }
    if contexts.iter().any(|context| context.is_empty()) {
        return Err(wrong(IssueType::Invalid, "a context of the query is empty"));
    }
    let asked = |definition: &&Definition| contexts.iter().all(|context| definition.is_for(context));
    let found: Vec<&Definition> = there_are.iter().filter(asked).collect();
    let asked_for = (base, uri.query().unwrap_or_default());
    Ok(answer(headers, StatusCode::OK, definition_bundle(&found, asked_for, now)))
}

/// The body, within `limit` bytes and `time`. A compressed one is not read: what it would become has no bound.
///
/// # Errors
/// 413, 408, 415, 503 when there is no room for it, or 400 for one that ends early.
pub async fn read(headers: &HeaderMap, body: Body, (limit, time): (usize, Duration)) -> Result<Bytes, Refusal> {
    if headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let issue = Issue::error(IssueType::NotSupported, "the message is compressed");
        return Err(Refusal::new(ErrorCode::UnsupportedMediaType, issue.hint("send it without Content-Encoding")));
    }
    let refuse = |code, kind, text: &str| Refusal::new(code, Issue::error(kind, text));
    body::whole(body, limit, time).await.map(Bytes::from).map_err(|unread| match unread {
        Unread::TooLong => {
            let issue = Issue::error(IssueType::TooLong, format!("the message is longer than {limit} bytes"));
            Refusal::new(ErrorCode::PayloadTooLarge, issue.hint("send a smaller message"))
        }
        Unread::Broken => refuse(ErrorCode::BadRequest, IssueType::Structure, "the message ended early"),
        Unread::Late | Unread::Slow => refuse(ErrorCode::Timeout, IssueType::Transient, "the message took too long"),
        Unread::NoRoom => refuse(ErrorCode::Unavailable, IssueType::Throttled, "there is no room for the message now"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("visible ASCII"))
        };
        HeaderMap::from_iter(pairs.iter().map(pair))
    }

    fn good() -> Vec<(&'static str, String)> {
        vec![
            (TARGET, bars::target_identifier("2000099991")),
            (ORGANISATION, bars::end_user_organisation("DEMOT", "Demo Trust")),
            (SOFTWARE, bars::requesting_software("Weir", "1")),
        ]
    }

    #[test]
    fn what_the_headers_say_is_read() {
        let good = good();
        let pairs: Vec<_> = good.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let target = (bars::DOS_SERVICE.to_owned(), "2000099991".to_owned());
        let expected = Said { target, organisation: vec!["DEMOT".to_owned()] };
        assert_eq!(said(&headers(&pairs)).expect("they are right"), expected);
        for (place, (name, _)) in good.iter().enumerate() {
            let without: Vec<_> = pairs.iter().filter(|pair| pair.0 != *name).copied().collect();
            let refusal = said(&headers(&without)).expect_err("one is missing");
            assert_eq!((refusal.code, refusal.issue.code), (ErrorCode::BadRequest, IssueType::Required), "{name}");
            for wrong in ["{}", "e30", "bm8=", "eyJhIjoxfQ==", "é"] {
                let mut pairs = pairs.clone();
                pairs[place].1 = wrong;
                let Ok(_) = HeaderValue::from_str(wrong) else { continue };
                let refusal = said(&headers(&pairs)).expect_err(wrong);
                assert_eq!(refusal.code, ErrorCode::BadRequest, "{name}: {wrong}");
                assert!(!refusal.issue.text.contains(wrong), "no value is said again: {}", refusal.issue.text);
            }
        }
    }

    #[test]
    fn a_version_of_bars_that_is_not_spoken_is_not_accepted() {
        for (accept, is_accepted) in [
            ("application/fhir+json; version=1.4.0", true),
            ("application/fhir+json;version=1.0.0", true),
            ("application/fhir+json; version=\"1.6.0\"", true),
            ("*/*", true),
            ("application/fhir+json", true),
            ("text/html, application/fhir+json; version=1.4.0", true),
            ("application/fhir+json; version=2.0.0", false),
            ("application/fhir+xml; version=1.4.0", false),
            ("", false),
        ] {
            assert_eq!(may_answer(&headers(&[("accept", accept)])).is_ok(), is_accepted, "{accept}");
        }
        assert!(may_answer(&headers(&[])).is_ok());
    }

    #[test]
    fn both_ids_have_to_be_uuids() {
        let id = "c1ab3fba-6bae-4ba4-b257-5a87c44d4a91";
        assert!(has_ids(&headers(&[("x-request-id", id), ("x-correlation-id", id)])).is_ok());
        for pairs in [
            vec![("x-request-id", id)],
            vec![("x-request-id", id), ("x-correlation-id", "1")],
            vec![("x-request-id", ""), ("x-correlation-id", id)],
        ] {
            assert_eq!(has_ids(&headers(&pairs)).expect_err("one is wrong").code, ErrorCode::BadRequest);
        }
    }
}
