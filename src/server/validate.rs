//! `POST /FHIR/R4/$validate` and `POST /FHIR/R4/{type}/$validate` (FHIR R4, resource-operation-validate.html).
//!
//! A question that can be answered is answered with 200 and an OperationOutcome, whatever it says of the resource.
//! Nothing is stored, and nothing of the resource is logged.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use tracing::info;

use super::Service;
use super::access::look;
use super::listener::Peer;
use super::ration::Account;
use super::records::{outcome, read, unambiguous};
use crate::fhir::outcome::{Issue, IssueType};
use crate::identity::principal::Action;
use crate::pipeline;
use crate::validation::{Question, Syntax};

/// Name and value of each parameter in the query.
type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Of a resource of any type.
pub(super) async fn any(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    Extension(account): Extension<Account>,
    query: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Response {
    validate(&service, (&peer, &account), None, query, &headers, body).await
}

/// Of a resource of the type in the path.
pub(super) async fn of_type(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    Extension(account): Extension<Account>,
    path: Result<Path<String>, PathRejection>,
    query: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // A path that is not text names no type either.
    let resource_type = path.map(|Path(name)| name).unwrap_or_default();
    validate(&service, (&peer, &account), Some(resource_type), query, &headers, body).await
}

async fn validate(
    service: &Service,
    (peer, account): (&Peer, &Account),
    resource_type: Option<String>,
    query: Parameters,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    if let Err(response) = unambiguous(headers) {
        return *response;
    }
    let syntax = headers.get(header::CONTENT_TYPE).and_then(|value| Syntax::of_media_type(value.to_str().ok()?));
    let Some(syntax) = syntax else {
        let issue = Issue::error(IssueType::NotSupported, "the Content-Type is none of FHIR's");
        let hint = "send application/fhir+json or application/fhir+xml";
        return outcome(StatusCode::UNSUPPORTED_MEDIA_TYPE, &[issue.hint(hint)]);
    };
    let (profiles, mode) = match asked(query) {
        Ok(asked) => asked,
        Err(issue) => return outcome(StatusCode::BAD_REQUEST, &[*issue]),
    };
    if let Err(response) = look(service, peer, headers, Action::Preview, None).await {
        return *response;
    }
    let body = match read(service, body).await {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let _working = account.work(body.len()).await;
    match pipeline::validate(&service.gateway, Question { body, syntax, resource_type, profiles, mode }).await {
        Ok(issues) => {
            info!(issues = issues.len(), errors = issues.iter().filter(|issue| issue.is_error()).count(), "validated");
            outcome(StatusCode::OK, &issues)
        }
        Err(issue) => outcome(StatusCode::BAD_REQUEST, &[*issue]),
    }
}

/// The profiles and the mode that the query asks for.
fn asked(query: Parameters) -> Result<(Vec<String>, Option<String>), Box<Issue>> {
    let slip = |text: &str| {
        let issue = Issue::error(IssueType::NotSupported, text);
        Box::new(issue.hint("write ?profile= with a canonical URL, percent-encoded, ?mode=, or no query"))
    };
    let Query(parameters) = query.map_err(|_| slip("the query cannot be read"))?;
    let (mut profiles, mut mode) = (Vec::new(), None);
    for (name, value) in parameters {
        match name.as_str() {
            "profile" => profiles.push(value),
            "mode" if mode.is_none() => mode = Some(value),
            // The answer is JSON in any case.
            "_format" | "_pretty" => {}
            _ => return Err(slip("the query has a parameter that $validate does not take")),
        }
    }
    Ok((profiles, mode))
}
