//! What a partner answers, read within bounds.

use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::AttemptError;

/// The most bytes of an answer: 1 MiB.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// What a partner answered.
#[derive(Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// `X-Request-Id`, as echoed.
    pub request_id: Option<String>,
    /// `X-Correlation-Id`, as echoed.
    pub correlation_id: Option<String>,
    /// How long the partner asks us to wait.
    pub retry_after: Option<Duration>,
    /// The body, at most [`MAX_ANSWER`] bytes.
    pub body: Bytes,
}

impl std::fmt::Debug for Reply {
    /// Never the body: it may hold personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({}, {} bytes)", self.status.as_u16(), self.body.len())
    }
}

#[expect(clippy::disallowed_methods, reason = "the body is limited")]
pub(super) async fn read(response: Response<Incoming>, most: usize) -> Result<Response<Bytes>, AttemptError> {
    let (head, body) = response.into_parts();
    let body = match Limited::new(body, most).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(AttemptError::TooLarge),
        Err(_) => return Err(AttemptError::Cut),
    };
    Ok(Response::from_parts(head, body))
}

impl From<Response<Bytes>> for Reply {
    fn from(response: Response<Bytes>) -> Reply {
        let (head, body) = response.into_parts();
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Reply {
            status: head.status,
            request_id: text("x-request-id"),
            correlation_id: text("x-correlation-id"),
            retry_after: retry_after(&head.headers),
            body,
        }
    }
}

/// `Retry-After` in seconds, or as a date, which is read against the answer's own `Date` (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let after = text(http::header::RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let wait = date(after)? - date(text(http::header::DATE)?)?;
    Some(wait.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let wait = |after: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", HeaderValue::from_static(after));
            date.map(|date| headers.insert("date", HeaderValue::from_static(date)));
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait("120", None), Some(120));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:48:37 GMT", now), Some(0));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT", None), None);
        assert_eq!(wait("soon", now), None);
        assert_eq!(wait("-1", now), None);
    }
}
