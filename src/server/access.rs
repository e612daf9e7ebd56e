//! Who calls, and whether they may: each call runs as a principal of the site.
//!
//! Enters: the peer by its certificate, and a request's `Authorization`. Leaves: the principal, when one of its roles
//! permits the action; else 403 (401 for a token that does not count) and nothing was done. Invariant: default deny;
//! what is permitted or refused is on disk as an audit event before the answer.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use tracing::{Span, warn};

use super::listener::Peer;
use super::records::{later, outcome};
use super::{Service, clock};
use crate::acts::{Desk, token};
use crate::audit::{Access, Search, Who};
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
    record(service, peer, principal, action, (message, None), false).await?;
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
    looked(service, peer, principal, action, (message, None)).await?;
    Ok(principal)
}

/// Writes that a principal looks at something, or searches, which it may.
pub(super) async fn looked(
    service: &Service,
    peer: &Peer,
    principal: &Principal,
    action: Action,
    at: (Option<MessageId>, Option<Search<'_>>),
) -> Result<(), Box<Response>> {
    record(service, peer, Some(principal), action, at, true).await
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

async fn record(
    service: &Service,
    peer: &Peer,
    principal: Option<&Principal>,
    action: Action,
    (message, search): (Option<MessageId>, Option<Search<'_>>),
    permitted: bool,
) -> Result<(), Box<Response>> {
    let by = principal.map_or(Who::party(&peer.party), |principal| Who::operator(principal.id.as_str()));
    let address = peer.address.to_string();
    let access =
        Access { by, action, message, search, permitted, reason: None, address: Some(&address), at: clock::now() };
    let written = service.gateway.store().append(service.gateway.recorder.access(access)).await;
    written.map(drop).map_err(|error: storage::Error| {
        warn!(%error, "a call could not be audited, and was not answered");
        let issue = Issue::error(IssueType::Transient, "the audit log cannot be written");
        Box::new(later(outcome(StatusCode::SERVICE_UNAVAILABLE, &[issue.hint("call again in a few seconds")]), 5))
    })
}
