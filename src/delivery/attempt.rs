//! Why an attempt brought no answer, and whether the message may have arrived all the same.

use std::io;
use std::time::Duration;

use rustls::AlertDescription;

use super::MAX_ANSWER;
use super::rest::TokenError;
use crate::identity::PartyId;
use crate::identity::certificate::CertificateError;
use crate::identity::tls::{Distrust, distrust_in};

/// Why TLS did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TlsRefusal {
    /// Its chain does not end at an anchor of the partner file.
    #[error("the partner's certificate is not from an authority that its partner file trusts")]
    WrongAuthority,
    /// Its certificate is no longer valid.
    #[error("the partner's certificate has expired")]
    Expired,
    /// Its certificate is not valid yet.
    #[error("the partner's certificate is not valid yet")]
    NotYetValid,
    /// Its certificate is for another host name.
    #[error("the partner's certificate is not for the host name of its endpoint")]
    WrongName,
    /// It speaks no version as new as the partner file asks for.
    #[error("the partner speaks no version of TLS as new as its partner file asks for")]
    TooOld,
    /// Its issuer has revoked its certificate.
    #[error("the partner's certificate has been revoked by its issuer")]
    Revoked,
    /// Its chain is not one that we rely on.
    #[error("the partner's certificate is not relied on: {0}")]
    Distrusted(Distrust),
    /// Anything else that rustls refuses: no common version or suite, a malformed certificate.
    #[error("the TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    /// The connection ended in the middle of the handshake.
    #[error("the connection ended during the TLS handshake ({0})")]
    Ended(io::ErrorKind),
}

/// Why an attempt brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// No connection: the name is unknown, or nobody listens.
    #[error("the partner cannot be reached ({0})")]
    Unreachable(io::ErrorKind),
    /// Connection or handshake took too long. Nothing was sent.
    #[error("the partner cannot be reached in time")]
    ConnectTimeout,
    /// No TLS. Nothing was sent.
    #[error(transparent)]
    Tls(#[from] TlsRefusal),
    /// The partner refuses our certificate.
    #[error("the partner refuses our certificate (TLS alert {0:?})")]
    CredentialsRefused(AlertDescription),
    /// The partner's certificate is trusted, but names no party. Nothing was sent.
    #[error("the partner's certificate is not acceptable: {0}")]
    Certificate(#[from] CertificateError),
    /// The partner's certificate is trusted, but names somebody else. Nothing was sent.
    #[error("the endpoint of {expected} presents a certificate of {found}")]
    WrongParty {
        /// Who should be there, by the partner file.
        expected: PartyId,
        /// Who is there, by the certificate.
        found: PartyId,
    },
    /// The partner's certificate is its own, but with a key that the partner file does not pin. Nothing was sent.
    #[error("the partner's certificate has a key that its partner file does not pin")]
    NotPinned,
    /// The partner wants a token, and there is none. Nothing was sent.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The Bundle cannot be made into what the route sends. Nothing was sent.
    #[error("the Bundle cannot be sent in this way: an entry has no fullUrl or resource, or it has no id")]
    Unsuited,
    /// The partner closed the connection before anything was sent.
    #[error("the partner closed the connection before the message was sent")]
    Closed,
    /// No answer in time. The message may have arrived.
    #[error("the partner did not answer in time; the message may have arrived")]
    TimedOut,
    /// The connection ended before the answer did. The message may have arrived.
    #[error("the connection ended before the answer; the message may have arrived")]
    Cut,
    /// The answer is longer than [`MAX_ANSWER`]. The message may have arrived.
    #[error("the answer is longer than {MAX_ANSWER} bytes; the message may have arrived")]
    TooLarge,
}

impl AttemptError {
    /// Whether the message may have arrived all the same.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            AttemptError::TimedOut | AttemptError::Cut | AttemptError::TooLarge => true,
            AttemptError::Unreachable(_)
            | AttemptError::ConnectTimeout
            | AttemptError::Tls(_)
            | AttemptError::CredentialsRefused(_)
            | AttemptError::Certificate(_)
            | AttemptError::WrongParty { .. }
            | AttemptError::NotPinned
            | AttemptError::Token(_)
            | AttemptError::Unsuited
            | AttemptError::Closed => false,
        }
    }

    /// Whether the partner, or whoever gives tokens, does not let us in, which does not pass by itself.
    pub fn is_unauthorised(&self) -> bool {
        match self {
            AttemptError::CredentialsRefused(_) => true,
            AttemptError::Token(TokenError::Denied { status, denial, .. }) => denial.is_some() || *status == 401,
            AttemptError::Token(TokenError::Unreachable(error)) => error.is_unauthorised(),
            _ => false,
        }
    }

    /// How long whoever gives no token asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            AttemptError::Token(error) => error.retry_after(),
            _ => None,
        }
    }

    /// What to do about it, besides trying again.
    pub fn hint(&self) -> &'static str {
        match self {
            AttemptError::Unreachable(_) | AttemptError::ConnectTimeout => {
                "check endpoint and connect in the partner file, and that the partner's endpoint is up"
            }
            AttemptError::Tls(TlsRefusal::WrongAuthority) => "check anchors in the partner file with the partner",
            AttemptError::Tls(TlsRefusal::WrongName) => "check endpoint in the partner file with the partner",
            AttemptError::Tls(TlsRefusal::TooOld) => {
                "ask the partner for a newer version of TLS, or correct minimum_tls"
            }
            AttemptError::Tls(TlsRefusal::Revoked) => "ask the partner for its new certificate; nothing is sent before",
            AttemptError::Tls(TlsRefusal::Distrusted(distrust)) => distrust.hint(),
            AttemptError::Tls(_) => "ask the partner to correct its endpoint's certificate or TLS settings",
            AttemptError::CredentialsRefused(_) => "check that our certificate is valid and that the partner trusts it",
            AttemptError::Certificate(error) => error.hint(),
            AttemptError::WrongParty { .. } => "check ods and endpoint in the partner file with the partner",
            AttemptError::NotPinned => {
                "ask the partner whether it changed its key, and add the new pin to spki_pins of the partner file"
            }
            AttemptError::Token(error) => error.hint(),
            AttemptError::Unsuited => "let the map give each entry a fullUrl, or send the message over another route",
            AttemptError::Closed => "ask the partner whether it knows our certificate's party",
            AttemptError::TimedOut | AttemptError::Cut => "ask the partner if it stays so; the resend has the same ids",
            AttemptError::TooLarge => "ask the partner what its endpoint answers",
        }
    }
}

/// A failed TLS handshake.
pub(super) fn refused(error: io::Error) -> AttemptError {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return TlsRefusal::Ended(error.kind()).into();
    };
    if let Some(alert) = alert_in(&error) {
        return AttemptError::CredentialsRefused(alert);
    }
    distrusted(cause).into()
}

/// What rustls, or we in its place, say of a partner's chain.
pub(super) fn distrusted(cause: &rustls::Error) -> TlsRefusal {
    use rustls::CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidYet, NotValidYetContext, Revoked, UnknownIssuer,
    };
    if let Some(distrust) = distrust_in(cause) {
        return TlsRefusal::Distrusted(distrust.clone());
    }
    match cause {
        rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature) => TlsRefusal::WrongAuthority,
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => TlsRefusal::Expired,
        rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => TlsRefusal::NotYetValid,
        rustls::Error::InvalidCertificate(NotValidForName) => TlsRefusal::WrongName,
        rustls::Error::InvalidCertificate(Revoked) => TlsRefusal::Revoked,
        other => TlsRefusal::Handshake(other.clone()),
    }
}

/// The alert by which a peer refuses our certificate, if `error` is one.
pub(super) fn alert_in(error: &(dyn std::error::Error + 'static)) -> Option<AlertDescription> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        DecryptError, UnknownCA, UnsupportedCertificate,
    };
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = inner.or(error.downcast_ref()) {
            let judged = matches!(
                alert,
                AccessDenied
                    | BadCertificate
                    | CertificateExpired
                    | CertificateRequired
                    | CertificateRevoked
                    | CertificateUnknown
                    | DecryptError
                    | UnknownCA
                    | UnsupportedCertificate
            );
            return judged.then_some(*alert);
        }
        cause = error.source();
    }
    None
}

pub(super) fn refusal_in(error: &hyper::Error) -> Option<AttemptError> {
    alert_in(error).map(AttemptError::CredentialsRefused)
}

/// A failure before a request was sent.
pub(super) fn before(error: &hyper::Error) -> AttemptError {
    refusal_in(error).unwrap_or(AttemptError::Closed)
}

/// A failure after a request may have been sent. A partner that refuses our certificate has processed nothing.
pub(super) fn cut(error: &hyper::Error) -> AttemptError {
    refusal_in(error).unwrap_or(AttemptError::Cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_whether_the_message_may_have_arrived() {
        for (error, ambiguous) in [
            (AttemptError::TimedOut, true),
            (AttemptError::Cut, true),
            (AttemptError::TooLarge, true),
            (AttemptError::Closed, false),
            (AttemptError::Unsuited, false),
            (AttemptError::Token(AttemptError::Cut.into()), false),
            (AttemptError::Token(AttemptError::Closed.into()), false),
            (AttemptError::ConnectTimeout, false),
            (AttemptError::Tls(TlsRefusal::Expired), false),
        ] {
            assert_eq!(error.is_ambiguous(), ambiguous, "{error}");
            assert_eq!(error.to_string().contains("may have arrived"), ambiguous);
        }
    }

    #[test]
    fn an_error_says_whether_we_are_not_let_in() {
        let refused = || AttemptError::CredentialsRefused(AlertDescription::CertificateExpired);
        let denied = |status| TokenError::Denied { status, denial: None, after: None };
        let unreachable = |error: AttemptError| AttemptError::Token(TokenError::Unreachable(error.into()));
        for (error, out) in [
            (refused(), true),
            (unreachable(refused()), true),
            (AttemptError::Token(denied(401)), true),
            (AttemptError::Token(denied(503)), false),
            (unreachable(AttemptError::ConnectTimeout), false),
            (AttemptError::Tls(TlsRefusal::Expired), false),
        ] {
            assert_eq!(error.is_unauthorised(), out, "{error}");
        }
    }
}
