//! Plain FHIR REST: a message is posted to a FHIR server, as a transaction, as a Bundle to store or as a message to process
//! (FHIR R4 http.html, messaging.html).
//!
//! Enters: a [`Dispatch`]. Leaves: what the server answers, with what was asked ([`Answered`]). Invariants: every attempt
//! posts the same bytes; what is created is created under the condition that no earlier attempt has created it.
//! Where the partner wants a token, one is had before anything is sent, and once more when the partner does not take it:
//! it has processed nothing then.

mod settings;
mod signing;
mod token;

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_LOCATION, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::time::Instant;

use self::token::{Token, Tokens};
use super::client::Client;
use super::{AttemptError, Dispatch, MAX_ANSWER, Reply};
use crate::fhir::transaction::{Marked, Transaction, marked, transaction};
use crate::fhir::{Document, Limits};
use crate::identity::PartyId;
use crate::identity::tls::{Clock, Credentials, TlsError};

pub use settings::{Interaction, RestRoute, RestSection, TokenRoute, TokenSection};
pub use signing::SigningFile;
pub use token::{Denial, TokenError};

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What a FHIR server answers.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub reply: Reply,
    /// What it answers.
    pub asked: Asked,
}

/// What was asked of a FHIR server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To do a transaction.
    Transaction {
        /// For each entry, whether nobody but us can have created what its condition finds.
        is_own: Vec<bool>,
    },
    /// To store the Bundle.
    Create {
        /// Whether the answer's headers name what is stored.
        is_named: bool,
    },
    /// To process the message.
    ProcessMessage,
}

/// What every attempt at one message posts.
struct Post {
    headers: HeaderMap,
    body: Bytes,
    asked: Asked,
}

/// One FHIR server.
#[derive(Debug)]
pub(super) struct Rest {
    client: Client,
    route: RestRoute,
    target: Uri,
    tokens: Option<Tokens>,
}

impl Rest {
    /// The FHIR server of `party`. Nothing is connected yet.
    ///
    /// # Errors
    /// When our credentials cannot be used as a client.
    pub(super) fn new(
        party: PartyId,
        route: &RestRoute,
        credentials: &Credentials,
        clock: Clock,
    ) -> Result<Rest, TlsError> {
        let base = route.endpoint.base.to_string();
        let below = match route.interaction {
            Interaction::Transaction => "",
            Interaction::Create => "/Bundle",
            Interaction::ProcessMessage => "/$process-message",
        };
        let target =
            format!("{}{below}", base.trim_end_matches('/')).parse().expect("a checked endpoint can be extended");
        let tokens = route.token.as_ref().map(|token| Tokens::new(token, credentials, clock.clone())).transpose()?;
        let client = Client::new(party, route.endpoint.clone(), credentials, clock)?;
        Ok(Rest { client, route: route.clone(), target, tokens })
    }

    /// The FHIR base of the server.
    pub(super) fn base(&self) -> &Uri {
        &self.client.endpoint().base
    }

    /// Sends the message once, or once more when the partner does not take our token.
    ///
    /// # Errors
    /// [`AttemptError`], which says whether the message may have arrived.
    pub(super) async fn attempt(&self, dispatch: &Dispatch, limit: Duration) -> Result<Answered, AttemptError> {
        let until = Instant::now() + limit;
        let post = self.post(dispatch).ok_or(AttemptError::Unsuited)?;
        let Some(tokens) = &self.tokens else {
            return Ok(post.asked.answered(self.send(&post, None, until).await?));
        };
        let token = tokens.token(None, until).await?;
        let answer = self.send(&post, Some(&token), until).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(post.asked.answered(answer));
        }
        let token = tokens.token(Some(&token), until).await?;
        Ok(post.asked.answered(self.send(&post, Some(&token), until).await?))
    }

    async fn send(&self, post: &Post, token: Option<&Token>, until: Instant) -> Result<Response<Bytes>, AttemptError> {
        let mut request = Request::new(Full::new(post.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = post.headers.clone();
        if let Some(token) = token {
            token.show(request.headers_mut());
        }
        self.client.fetch(request, until.saturating_duration_since(Instant::now()), MAX_ANSWER).await
    }

    /// What to post; `None` when the Bundle does not lend itself to it.
    fn post(&self, dispatch: &Dispatch) -> Option<Post> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, FHIR_JSON);
        headers.insert(ACCEPT, FHIR_JSON);
        let message = HeaderValue::from_str(&dispatch.message.to_string()).expect("a UUID is visible ASCII");
        headers.insert(REQUEST_ID, message);
        let message = || Document::parse(dispatch.bundle.as_ref(), &Limits::default()).ok();
        let (body, asked) = match self.route.interaction {
            Interaction::ProcessMessage => {
                dispatch.show(&mut headers);
                (dispatch.bundle.clone(), Asked::ProcessMessage)
            }
            Interaction::Transaction => {
                let Transaction { body, is_own } = transaction(&message()?, &self.route.matched)?;
                (body.into(), Asked::Transaction { is_own })
            }
            Interaction::Create => {
                let Marked { body, condition } = marked(&message()?)?;
                headers.insert(IF_NONE_EXIST, HeaderValue::from_str(&condition).ok()?);
                (body.into(), Asked::Create { is_named: false })
            }
        };
        if asked != Asked::ProcessMessage {
            // Nothing of what is created has to come back; a condition that is not understood is to be refused.
            headers.insert(PREFER, HeaderValue::from_static("return=minimal, handling=strict"));
        }
        Some(Post { headers, body, asked })
    }
}

impl Asked {
    fn answered(&self, answer: Response<Bytes>) -> Answered {
        let asked = match self {
            Asked::Create { .. } => Asked::Create { is_named: is_named(answer.headers()) },
            other => other.clone(),
        };
        Answered { reply: Reply::from(answer), asked }
    }
}

/// Whether headers name a stored Bundle, or a version of what is stored.
fn is_named(headers: &HeaderMap) -> bool {
    let at = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_bundle = |place: &str| place.starts_with("Bundle/") || place.contains("/Bundle/");
    [LOCATION, CONTENT_LOCATION].into_iter().filter_map(at).any(is_bundle) || headers.contains_key(ETAG)
}

/// Asks the token server of `route` for a token, which is given up at once; how long it would hold.
///
/// # Errors
/// [`TokenError`]
pub async fn try_token(route: &TokenRoute, credentials: &Credentials, clock: Clock) -> Result<Duration, TokenError> {
    let tokens = Tokens::new(route, credentials, clock);
    let tokens = tokens.map_err(|_| TokenError::Unreachable(std::sync::Arc::new(AttemptError::Closed)))?;
    tokens.trial().await
}
