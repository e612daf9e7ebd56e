//! Access tokens of one token server: OAuth 2.0 client credentials, proved with a signed assertion (RFC 6749 section 4.4,
//! RFC 7523; SMART Backend Services).
//!
//! Enters: an attempt that wants a token. Leaves: one that holds for a while yet, or why there is none; nothing of a
//! message was sent then. A token is had once for all attempts that wait, kept until shortly before it ends, and given up
//! when the partner does not take it. Invariant: no token and no assertion is logged, printed or written down.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::settings::TokenRoute;
use crate::delivery::AttemptError;
use crate::delivery::client::Client;
use crate::delivery::reply::retry_after;
use crate::identity::assertion::Claims;
use crate::identity::coded;
use crate::identity::tls::{Clock, Credentials, TlsError};

/// How long an assertion holds. Servers take five minutes at most; a minute is left for a clock behind ours.
const ASSERTION: u64 = 240;
/// How long a token server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a token is used whose server does not say how long it holds.
const UNSAID: Duration = Duration::from_secs(60);
/// The longest that a token is used, whatever its server says.
const LONGEST: Duration = Duration::from_secs(3600);
/// The most bytes of an answer.
const MOST: usize = 64 * 1024;

coded! {
    /// Why a token server gives no token (RFC 6749 section 5.2).
    Denial, "an error of OAuth" {
        /// The request is not as it should be.
        InvalidRequest = "invalid_request",
        /// It does not know us, or does not take our assertion.
        InvalidClient = "invalid_client",
        /// It does not take our assertion as a grant.
        InvalidGrant = "invalid_grant",
        /// We may not ask for a token like this.
        UnauthorizedClient = "unauthorized_client",
        /// It gives no tokens for client credentials.
        UnsupportedGrantType = "unsupported_grant_type",
        /// We may not have what we ask for.
        InvalidScope = "invalid_scope",
    }
}

/// Why there is no token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError {
    /// No connection to the token server.
    #[error("there is no token: {0}, at the token endpoint")]
    Unreachable(Arc<AttemptError>),
    /// No answer that can be used.
    #[error("there is no token: the token server does not answer in time, or not to the end")]
    NoAnswer,
    /// An answer that says no.
    #[error("there is no token: the token server answers {status}{}", .denial.map(|why| format!(" ({why})")).unwrap_or_default())]
    Denied {
        /// The HTTP status.
        status: u16,
        /// Why, if it says so in a word of the standard.
        denial: Option<Denial>,
        /// How long it asks us to wait.
        after: Option<Duration>,
    },
    /// A yes without a token.
    #[error("there is no token: the token server's answer has none that can be used")]
    Unreadable,
    /// No assertion could be signed.
    #[error("there is no token: {0}")]
    Signing(#[from] crate::identity::assertion::AssertionError),
}

impl TokenError {
    /// What to do about it, besides trying again.
    pub fn hint(&self) -> &'static str {
        match self {
            TokenError::Unreachable(error) => match **error {
                AttemptError::Unreachable(_) | AttemptError::ConnectTimeout => {
                    "check endpoint and connect of [fhir_rest.token], and that the token server is up"
                }
                _ => "check endpoint, trust_anchors and spki_pins of [fhir_rest.token] with the partner",
            },
            TokenError::NoAnswer => "ask the partner whether its token server is well",
            TokenError::Denied { status: 400..=403, .. } => {
                "check client_id, key_file, key_id, algorithm, scope and audience of [fhir_rest.token] with the partner, and this machine's clock"
            }
            TokenError::Denied { .. } | TokenError::Unreadable => {
                "check endpoint of [fhir_rest.token], and ask the partner what its token server answers"
            }
            TokenError::Signing(_) => "see what is wrong with this machine",
        }
    }

    /// How long the token server asks us to wait.
    pub(in crate::delivery) fn retry_after(&self) -> Option<Duration> {
        match self {
            TokenError::Denied { after, .. } => *after,
            _ => None,
        }
    }
}

impl From<AttemptError> for TokenError {
    fn from(error: AttemptError) -> TokenError {
        if error.is_ambiguous() { TokenError::NoAnswer } else { TokenError::Unreachable(Arc::new(error)) }
    }
}

/// An access token. It does not print, and is wiped when it is given up.
#[derive(Clone)]
pub(super) struct Token(Arc<Zeroizing<String>>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The header that shows it to the partner.
    pub(super) fn show(&self, headers: &mut HeaderMap) {
        let bearer = Zeroizing::new(format!("Bearer {}", **self.0));
        let mut value = HeaderValue::from_str(&bearer).expect("a token is visible ASCII");
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

/// What is known of the last time that a token was asked for.
#[derive(Default)]
struct Kept {
    /// With the moment from which on it is used no more.
    token: Option<(Token, Instant)>,
    failed: Option<(TokenError, Instant)>,
}

/// The tokens of one token server.
pub(super) struct Tokens {
    client: Client,
    route: TokenRoute,
    clock: Clock,
    /// Held while a token is asked for, so that those who wait share it.
    kept: Mutex<Kept>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.route.target)
    }
}

/// A new token, and how long it holds.
struct Granted {
    token: Token,
    holds: Duration,
}

impl Tokens {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// When our credentials cannot be used as a client.
    pub(super) fn new(route: &TokenRoute, credentials: &Credentials, clock: Clock) -> Result<Tokens, TlsError> {
        let client = Client::of_service(route.endpoint.clone(), credentials, clock.clone())?;
        Ok(Tokens { client, route: route.clone(), clock, kept: Mutex::default() })
    }

    /// A token that holds for a while yet, but none that equals `refused`, which the partner did not take.
    ///
    /// # Errors
    /// [`TokenError`]
    pub(super) async fn token(&self, refused: Option<&Token>, until: Instant) -> Result<Token, TokenError> {
        let asked = Instant::now();
        let mut kept = timeout(left(until), self.kept.lock()).await.map_err(|_| TokenError::NoAnswer)?;
        let is_refused = |token: &Token| refused.is_some_and(|refused| Arc::ptr_eq(&refused.0, &token.0));
        if let Some((token, end)) = &kept.token
            && Instant::now() < *end
            && !is_refused(token)
        {
            return Ok(token.clone());
        }
        kept.token = None;
        // Who waited while somebody else got none does not ask for the same again.
        if let Some((error, at)) = &kept.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        let begun = Instant::now();
        match self.granted(left(until).min(PATIENCE)).await {
            Ok(Granted { token, holds }) => {
                *kept = Kept { token: Some((token.clone(), begun + usable(holds))), failed: None };
                Ok(token)
            }
            Err(error) => {
                kept.failed = Some((error.clone(), Instant::now()));
                Err(error)
            }
        }
    }

    /// Asks the server for a token, and gives how long it holds.
    ///
    /// # Errors
    /// [`TokenError`]
    pub(super) async fn trial(&self) -> Result<Duration, TokenError> {
        Ok(self.granted(PATIENCE).await?.holds)
    }

    async fn granted(&self, limit: Duration) -> Result<Granted, TokenError> {
        let mut request = Request::new(Full::new(self.question()?));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.route.target.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        granted(&self.client.fetch(request, limit, MOST).await?)
    }

    /// The form that asks.
    fn question(&self) -> Result<Bytes, TokenError> {
        let TokenRoute { client_id, key, key_id, scope, audience, .. } = &self.route;
        let issued = self.clock.current_time().map_or(0, |time| time.as_secs());
        let claims = Claims { client: client_id, audience, issued, lives: ASSERTION };
        let assertion = key.key().assertion(key_id, claims)?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.append_pair("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        form.append_pair("client_assertion", &assertion);
        if let Some(scope) = scope {
            form.append_pair("scope", scope);
        }
        Ok(form.finish().into())
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// How long a token is used that holds so long: so much less that it does not end on its way.
fn usable(holds: Duration) -> Duration {
    let holds = holds.min(LONGEST);
    holds - (holds / 5).min(Duration::from_secs(30))
}

/// What a token server answers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<serde_json::Value>,
    error: Option<String>,
}

fn granted(answer: &Response<Bytes>) -> Result<Granted, TokenError> {
    let said: Option<Answer> = serde_json::from_slice(answer.body()).ok();
    if answer.status() != StatusCode::OK {
        let denial = said.and_then(|said| said.error?.parse().ok());
        let (status, after) = (answer.status().as_u16(), retry_after(answer.headers()));
        return Err(TokenError::Denied { status, denial, after });
    }
    let said = said.ok_or(TokenError::Unreadable)?;
    let is_bearer = said.token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    let token = said
        .access_token
        .map(Zeroizing::new)
        .filter(|token| is_bearer && is_token(token))
        .ok_or(TokenError::Unreadable)?;
    let holds = said.expires_in.as_ref().map_or(Some(UNSAID), seconds).ok_or(TokenError::Unreadable)?;
    Ok(Granted { token: Token(Arc::new(token)), holds })
}

/// A number of seconds, which some write as text.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// What may stand behind `Bearer` (RFC 6750 section 2.1).
fn is_token(token: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (1..=16 * 1024).contains(&token.len()) && token.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &'static str) -> Result<Granted, TokenError> {
        let answer = Response::builder().status(status).header("retry-after", "7");
        granted(&answer.body(Bytes::from_static(body.as_bytes())).expect("an answer"))
    }

    #[test]
    fn a_token_is_read_with_its_time() {
        let holds = |body| said(200, body).map(|granted| granted.holds.as_secs()).expect("a token");
        assert_eq!(holds(r#"{"access_token":"a.b-c","token_type":"Bearer","expires_in":300,"scope":"x"}"#), 300);
        assert_eq!(holds(r#"{"access_token":"a","token_type":"bearer","expires_in":"599"}"#), 599);
        assert_eq!(holds(r#"{"access_token":"a","token_type":"bearer"}"#), 60, "not said: a short time");
        let (seconds, usable) = (Duration::from_secs, |holds| usable(Duration::from_secs(holds)));
        assert_eq!((usable(300), usable(5), usable(0)), (seconds(270), seconds(4), seconds(0)));
        assert_eq!(usable(u64::MAX), seconds(3570));
    }

    #[test]
    fn rubbish_gives_no_token() {
        for rubbish in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"access_token":"a"}"#,
            r#"{"access_token":"a","token_type":"mac"}"#,
            r#"{"access_token":"","token_type":"bearer"}"#,
            r#"{"access_token":"a b","token_type":"bearer"}"#,
            "{\"access_token\":\"a\\r\\nX: y\",\"token_type\":\"bearer\"}",
            r#"{"access_token":"a","token_type":"bearer","expires_in":-1}"#,
            r#"{"access_token":"a","token_type":"bearer","expires_in":"soon"}"#,
            r#"{"access_token":7,"token_type":"bearer"}"#,
        ] {
            assert!(matches!(said(200, rubbish), Err(TokenError::Unreadable)), "{rubbish}");
        }
    }

    #[test]
    fn a_denial_says_why_in_words_of_the_standard_alone() {
        let denied = |status, body| said(status, body).map(drop).expect_err("no token");
        let client = denied(401, r#"{"error":"invalid_client","error_description":"Peter Chalmers"}"#);
        assert_eq!(client.to_string(), "there is no token: the token server answers 401 (invalid_client)");
        assert!(client.hint().contains("clock"));
        let other = denied(400, r#"{"error":"Peter Chalmers"}"#);
        assert_eq!(other.to_string(), "there is no token: the token server answers 400");
        assert_eq!(denied(503, "").retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_token_shows_to_the_partner_alone() {
        let token = said(200, r#"{"access_token":"s3cret","token_type":"bearer"}"#).expect("a token").token;
        let mut headers = HeaderMap::new();
        token.show(&mut headers);
        assert_eq!(headers[AUTHORIZATION].as_bytes(), b"Bearer s3cret");
        assert!(!format!("{token:?} {headers:?}").contains("s3cret"));
    }
}
