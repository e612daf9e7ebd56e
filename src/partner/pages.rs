//! What the reference receiver has received, as pages: `GET /` is a list, `GET /inbox/{message}` a message.
//!
//! Enters: plain HTTP from this machine alone. Leaves: HTML that [`crate::fhir::page`] made of the file as it was received.
//! Invariants: the listener is on a loopback address, and never on the one that senders use: a sender reads nothing. A request that
//! names another host is refused, so that no page of elsewhere reads these through a name of its own (DNS rebinding). Whoever has an
//! account on the machine can read them; who else may is for a proxy before it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{self, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use uuid::Uuid;

use super::{Error, Settings};
use crate::fhir::page::{self, Row};
use crate::fhir::{Document, Limits};
use crate::server::listener::Listener;

/// The most messages of a list.
const LISTED: usize = 100;

/// Binds the listener of the pages, if there is to be one.
pub(super) async fn listen(settings: &Settings) -> Result<Option<(Listener, Router)>, Error> {
    let Some(address) = settings.pages else { return Ok(None) };
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback(address));
    }
    let listener =
        Listener::bind_plain(address, settings.limits).await.map_err(|cause| Error::Bind { address, cause })?;
    Ok(Some((listener, router(settings.directory.join("received")))))
}

fn router(received: PathBuf) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/inbox", get(list))
        .route("/inbox/{message}", get(message))
        .with_state(Arc::new(received))
        .layer(middleware::from_fn(safely))
}

/// Answers this machine alone, with headers that keep a page from being kept, framed or run.
async fn safely(request: Request, next: Next) -> Response {
    let mut response = match is_for_this_machine(request.headers()) {
        true => next.run(request).await,
        false => refused(
            StatusCode::MISDIRECTED_REQUEST,
            "ask by the address of this machine: 127.0.0.1, [::1] or localhost",
        ),
    };
    let policy = format!("{}; frame-ancestors 'none'", page::content_security_policy());
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&policy).map(|policy| (CONTENT_SECURITY_POLICY, policy)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).filter(|_| hosts.next().is_none());
    let name = host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    });
    matches!(name, Some("127.0.0.1" | "[::1]" | "localhost"))
}

async fn list(State(received): State<Arc<PathBuf>>) -> Response {
    match tokio::task::spawn_blocking(move || list_of(&received)).await {
        Ok(Ok(page)) => shown(page),
        _ => refused(StatusCode::INTERNAL_SERVER_ERROR, "the inbox cannot be read"),
    }
}

/// The latest messages, by the time of their files.
fn list_of(received: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(received)? {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| Uuid::try_parse(name.strip_suffix(".json")?).ok());
        files.extend(id.map(|id| io::Result::Ok((entry.metadata()?.modified()?, id))).transpose()?);
    }
    files.sort_unstable_by(|one, other| other.cmp(one));
    let more = files.len().saturating_sub(LISTED);
    let row = |(_, id): &(_, Uuid)| {
        let bundle = read(received, *id).ok().and_then(|bytes| Document::parse(bytes, &Limits::default()).ok());
        bundle.and_then(|bundle| page::row(*id, &bundle).ok()).unwrap_or(Row { id: *id, asks: None })
    };
    Ok(page::list(&files.iter().take(LISTED).map(row).collect::<Vec<_>>(), more))
}

fn read(received: &Path, id: Uuid) -> io::Result<Vec<u8>> {
    fs::read(received.join(format!("{id}.json")))
}

async fn message(State(received): State<Arc<PathBuf>>, extract::Path(name): extract::Path<String>) -> Response {
    let Ok(id) = Uuid::try_parse(&name) else { return refused(StatusCode::NOT_FOUND, "a message is named by its id") };
    let made = tokio::task::spawn_blocking(move || {
        let bundle = match read(&received, id) {
            Ok(bytes) => Document::parse(bytes, &Limits::default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err((StatusCode::NOT_FOUND, "no message with this id was received".to_owned()));
            }
            Err(_) => return Err((StatusCode::INTERNAL_SERVER_ERROR, "the message cannot be read".to_owned())),
        };
        let bundle =
            bundle.map_err(|error| (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}; {}", error.hint())))?;
        page::page(&bundle).map_err(|why| (StatusCode::UNPROCESSABLE_ENTITY, format!("{why}; {}", why.hint())))
    });
    match made.await {
        Ok(Ok(page)) => shown(page),
        Ok(Err((status, why))) => refused(status, &why),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "the message could not be shown"),
    }
}

fn shown(page: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))], page).into_response()
}

fn refused(status: StatusCode, why: &str) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], format!("{why}\n"))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let asked = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            hosts.iter().for_each(|host| {
                headers.append(HOST, HeaderValue::from_static(host));
            });
            is_for_this_machine(&headers)
        };
        for host in ["127.0.0.1:8080", "localhost", "[::1]:80", "[::1]"] {
            assert!(asked(&[host]), "{host}");
        }
        for host in ["rebound.example", "127.0.0.1.example:80", "localhost.example", "0.0.0.0:80", ""] {
            assert!(!asked(&[host]), "{host}");
        }
        assert!(!asked(&[]) && !asked(&["localhost", "localhost"]));
    }
}
