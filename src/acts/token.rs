//! Tokens: who calls over HTTP, when their certificate does not say it. A JWT (RFC 7519) of a person's key, for one
//! site, that holds for an hour at most.

use serde::{Deserialize, Serialize};
use time::Duration;

use super::Refusal;
use crate::fhir::{Instant, instant_text};
use crate::identity::PrincipalId;
use crate::identity::principal::{Principal, Principals};
use crate::identity::signature::{self, PersonalKey};

const KIND: &str = "weir-token+jwt";
/// How long a token may hold.
const LONGEST: Duration = Duration::hours(1);
/// How far the clocks of signer and gateway may differ.
const LEEWAY: Duration = Duration::minutes(1);

/// The claims, seconds since 1970 (RFC 7519, section 4.1).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    aud: String,
    iat: i64,
    exp: i64,
}

/// A token of `by` for `site` that holds from `now` for `lifetime`, an hour at most.
pub fn issue(by: &PrincipalId, key: &PersonalKey, site: &str, now: Instant, lifetime: Duration) -> String {
    let until = now + lifetime.min(LONGEST);
    let claims = Claims { aud: site.to_owned(), iat: now.unix_timestamp(), exp: until.unix_timestamp() };
    key.sign(KIND, by, &serde_json::to_string(&claims).expect("numbers and text are always JSON"))
}

/// Whose token it is.
///
/// # Errors
/// [`Refusal`], when it does not count here and now.
pub fn open<'p>(
    token: &str,
    principals: &'p Principals,
    site: &str,
    now: Instant,
) -> Result<&'p Principal, TokenRefusal> {
    let (by, claims) = signature::open(token, KIND, |by| principals.named(by)?.key).map_err(Refusal::from)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Refusal::Form)?;
    if claims.aud != site {
        return Err(Refusal::Site.into());
    }
    let at = |seconds| Instant::from_unix_timestamp(seconds).map_err(|_| Refusal::Form);
    let (from, until) = (at(claims.iat)?, at(claims.exp)?);
    if until - from > LONGEST {
        return Err(TokenRefusal::TooLong);
    }
    if now + LEEWAY < from || now > until + LEEWAY {
        return Err(TokenRefusal::Expired { from: instant_text(from), until: instant_text(until) });
    }
    principals.named(&by).ok_or_else(|| Refusal::Form.into())
}

/// Why a token does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// What was signed, or its signature.
    #[error("the token does not count: {0}")]
    Signed(#[from] Refusal),
    /// It holds for too long.
    #[error("the token holds for longer than an hour")]
    TooLong,
    /// It does not hold now.
    #[error("the token holds from {from} until {until}, not now")]
    Expired {
        /// The first instant.
        from: String,
        /// The last.
        until: String,
    },
}
