//! Who calls, and whether they may: each call runs as a principal of the site.
//!
//! Enters: the peer by its certificate, and a request's `Authorization`. Leaves: the principal, when one of its roles
//! permits the action; else 403 (401 for a token that does not count) and nothing was done. Invariant: default deny;
//! what is permitted or refused is on disk as an audit event before the answer.

use std::borrow::Cow;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use tracing::{Span, warn};

use super::listener::Peer;
use super::records::{later, outcome};
use super::{Service, clock};
use crate::acts::{Desk, token};
use crate::audit::{Access, KeyedHash, Object, Who, patient_of};
use crate::fhir::outcome::{Issue, IssueType};
use crate::identity::MessageId;
use crate::identity::principal::{Action, Principal};
use crate::storage;

impl Service {
    pub(super) fn desk(&self) -> Desk<'_> {
        let gateway = &self.gateway;
        let stages = gateway.stages();
        Desk {
            principals: &gateway.principals,
            recorder: &gateway.recorder,
            site: &self.site,
            agreements: stages.agreements.clone(),
            provider: stages.provider.ods.clone(),
        }
    }
}

/// The principal that calls, if it may do `action`; a refusal is audited. For calls whose own events name the caller.
pub(super) async fn permit<'s>(
    service: &'s Service,
    peer: &Peer,
    headers: &HeaderMap,
    action: Action,
    message: Option<MessageId>,
) -> Result<&'s Principal, Box<Response>> {
    let (principal, issue) = match calls(service, peer, headers) {
        Ok(principal) if principal.may(action) => {
            Span::current().record("principal", principal.id.as_str());
            return Ok(principal);
        }
        Ok(principal) => {
            let text = format!("no role of {} permits {action}", principal.id);
            (Some(principal), Issue::error(IssueType::Forbidden, text))
        }
        Err(issue) => (None, *issue),
    };
    let status = if issue.code == IssueType::Login { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
    warn!(party = %peer.party, principal = principal.map(|it| it.id.as_str()), %action, "call refused");
    record(service, peer, (principal, action), (object(message), None), Err(None)).await?;
    let hint = "ask the gateway's operator: weir.toml lists who may do what under [[principals]]";
    let issue = if issue.hint.is_empty() { issue.hint(hint) } else { issue };
    Err(Box::new(outcome(status, &[issue])))
}

/// [`permit`], for calls that only look: that it was permitted is audited too.
pub(super) async fn look<'s>(
    service: &'s Service,
    peer: &Peer,
    headers: &HeaderMap,
    action: Action,
    message: Option<MessageId>,
) -> Result<&'s Principal, Box<Response>> {
    let principal = permit(service, peer, headers, action, message).await?;
    looked(service, peer, principal, action, (object(message), None)).await?;
    Ok(principal)
}

fn object(message: Option<MessageId>) -> Object<'static> {
    message.map_or(Object::Site, Object::Message)
}

/// Writes that a principal looks at something, or searches, which it may; with the person whom that is about, by keyed hash, for
/// what is no message.
pub(super) async fn looked(
    service: &Service,
    peer: &Peer,
    principal: &Principal,
    action: Action,
    at: (Object<'_>, Option<&str>),
) -> Result<(), Box<Response>> {
    record(service, peer, (Some(principal), action), at, Ok(())).await
}

/// Writes that a principal asked for something which it may have, and that it was not done for `reason`, a code.
pub(super) async fn failed(
    service: &Service,
    peer: &Peer,
    principal: &Principal,
    action: Action,
    (object, reason): (Object<'_>, &'static str),
) -> Result<(), Box<Response>> {
    record(service, peer, (Some(principal), action), (object, None), Err(Some(reason))).await
}

/// A token says who calls; without one the certificate does.
fn calls<'s>(service: &'s Service, peer: &Peer, headers: &HeaderMap) -> Result<&'s Principal, Box<Issue>> {
    let principals = &service.gateway.principals;
    let mut tokens = headers.get_all(header::AUTHORIZATION).iter();
    let login = |text: &str, hint: &'static str| Box::new(Issue::error(IssueType::Login, text).hint(hint));
    match (tokens.next(), tokens.next()) {
        (None, _) => principals.presenting(&peer.certificate).ok_or_else(|| {
            let text = "the client certificate is not one of a principal of this site";
            Box::new(Issue::error(IssueType::Forbidden, text))
        }),
        (Some(only), None) => {
            let bearer = only.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
            let bearer = bearer
                .ok_or_else(|| login("the authorization is not a bearer token", "send one token of `weir token`"))?;
            token::open(bearer, principals, &service.site, clock::now())
                .map_err(|refusal| login(&refusal.to_string(), "make a new one with `weir token`"))
        }
        (Some(_), Some(_)) => Err(login("the header authorization stands twice", "send it once")),
    }
}

/// `done`: whether it happens; if not, a code for why, where it is not for want of a role.
async fn record(
    service: &Service,
    peer: &Peer,
    (principal, action): (Option<&Principal>, Action),
    (object, patient): (Object<'_>, Option<&str>),
    done: Result<(), Option<&'static str>>,
) -> Result<(), Box<Response>> {
    let store = service.gateway.store();
    let written = async {
        let of_message = match object {
            Object::Message(message) => patient_of(store, message).await?,
            Object::Site | Object::Resource(..) | Object::Search(_) => None,
        };
        let access = Access {
            by: principal.map_or(Who::party(&peer.party), |principal| Who::operator(principal.id.as_str())),
            action,
            object,
            patient: of_message.as_ref().map(KeyedHash::as_str).or(patient).map(Cow::Borrowed),
            permitted: done.is_ok(),
            reason: done.err().flatten(),
            address: Some(&peer.address.to_string()),
            at: clock::now(),
        };
        store.append(service.gateway.recorder.access(access)).await
    };
    written.await.map(drop).map_err(|error: storage::Error| {
        warn!(%error, "a call could not be audited, and was not answered");
        let issue = Issue::error(IssueType::Transient, "the audit log cannot be written");
        Box::new(later(outcome(StatusCode::SERVICE_UNAVAILABLE, &[issue.hint("call again in a few seconds")]), 5))
    })
}
