//! What the entries of a transaction, batch or history ask for and are answered: `entry.request`, `entry.response`
//! (R4 http.html, bundle.html).
//!
//! A request names what its method acts on, relative to the address that the Bundle is posted to, and has a body where
//! the method takes one. That there is a request or a response at all is bdl-3 and bdl-4.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::bounds::compare;
use super::bundle::{is_absolute, split_version};
use super::walk::Walk;
use crate::fhir::outcome::{IssueType, Severity};
use crate::fhir::r4::schema;
use crate::fhir::{Node, keys};

/// The rule of requests, and that of responses.
const REQUEST: &str = "r4-request";
const RESPONSE: &str = "r4-response";

/// Hint on a URL.
const CORRECT_URL: &str = "write Type, Type/id or Type?search, as the method takes it";

/// What the URL of a request leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target<'t> {
    /// `Patient`
    Type(&'t str),
    /// `Patient?identifier=…`
    Search(&'t str),
    /// `Patient/1`
    Instance(&'t str, &'t str),
    /// `$process-message`, `Patient/_search`, `metadata`: what has its own rules.
    Other,
    /// The path begins with no type of R4.
    Unknown,
}

impl<'t> Target<'t> {
    /// What a URL means from the root of a server.
    fn of(url: &'t str) -> Target<'t> {
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        let path = path.trim_start_matches('/').trim_end_matches('/');
        let mut steps = path.split('/');
        let (name, id, more) = (steps.next().unwrap_or_default(), steps.next(), steps.next());
        if matches!(name, "" | "metadata") || path.split('/').any(|step| step.starts_with(['$', '_'])) {
            return Target::Other;
        }
        if schema().resource(name).is_none() {
            return Target::Unknown;
        }
        match (id, more) {
            (None, _) => query.map_or(Target::Type(name), |_| Target::Search(name)),
            (Some(id), None) => Target::Instance(name, id),
            _ => Target::Other,
        }
    }

    fn type_name(self) -> Option<&'t str> {
        match self {
            Target::Type(name) | Target::Search(name) | Target::Instance(name, _) => Some(name),
            Target::Other | Target::Unknown => None,
        }
    }
}

/// A request with what belongs to it.
#[derive(Clone, Copy)]
struct Request<'s, 'a> {
    entry: Node<'a>,
    url: Node<'a>,
    method: &'s str,
    target: Target<'s>,
    body: Option<Node<'a>>,
    is_history: bool,
}

impl<'a> Walk<'a> {
    /// Checks what an entry of a Bundle of this kind asks for, and what it is answered. `acted` are the resources that
    /// entries before it act on.
    pub(super) fn interaction(&mut self, entry: Node<'a>, kind: &str, acted: &mut HashSet<String>) {
        if let Some(request) = entry.member("request") {
            self.request(entry, request, kind, acted);
        }
        if let Some(response) = entry.member("response") {
            self.response(entry, response);
        }
    }

    fn request(&mut self, entry: Node<'a>, request: Node<'a>, kind: &str, acted: &mut HashSet<String>) {
        let keys = keys();
        let (Some(url), Some(method)) = (request.child(keys.url), request.member("method").and_then(Node::text)) else {
            return;
        };
        let Some(text) = url.text() else { return };
        let is_history = kind == "history";
        // The URL of an update that has happened may say which version it made.
        let text = if is_history { split_version(&text).0 } else { &text };
        self.if_none_exist(request, &method);
        let body = entry.child(keys.resource);
        if is_absolute(text) {
            let text = "the URL of a request is relative to the address that the Bundle is posted to";
            self.report(Severity::Warning, IssueType::Value, url, REQUEST, text, "leave the server's address out");
            return;
        }
        let target = Target::of(text);
        let request = Request { entry, url, method: &method, target, body, is_history };
        self.body(request);
        self.target(request);
        if let (Target::Instance(name, id), "PUT" | "PATCH" | "DELETE", "transaction") = (target, &*method, kind)
            && !acted.insert(format!("{name}/{id}"))
        {
            let text = "another entry of the transaction acts on the same resource";
            self.error(IssueType::Duplicate, url, REQUEST, text, "act on each resource once");
        }
    }

    /// Whether there is a body as the method takes it.
    fn body(&mut self, request: Request<'_, 'a>) {
        let Request { entry, method, target, body, .. } = request;
        match (method, body) {
            ("PUT" | "PATCH", None) => self.no_body(entry, method),
            ("POST", None) if target != Target::Other => self.no_body(entry, method),
            ("GET" | "HEAD" | "DELETE", Some(body)) => {
                let text = format!("a {method} has no body");
                self.report(Severity::Warning, IssueType::Value, body, REQUEST, text, "remove it");
            }
            ("PATCH", Some(body)) if !matches!(body.resource_type(), Some("Binary" | "Parameters") | None) => {
                let text = "the body of a PATCH is a Binary or Parameters";
                self.error(IssueType::Value, body, REQUEST, text, "write the patch, or use PUT");
            }
            _ => {}
        }
    }

    fn no_body(&mut self, entry: Node<'a>, method: &str) {
        self.missing(entry, "resource", REQUEST, format!("a {method} has a body, the resource of the entry"));
    }

    /// Whether the URL names what the method acts on, and the body is that.
    fn target(&mut self, request: Request<'_, 'a>) {
        let Request { url, method, target, body, is_history, .. } = request;
        let fits = match (method, target) {
            ("PUT" | "PATCH", Target::Other) => false,
            (_, Target::Other) => return,
            (_, Target::Unknown) => {
                let text = "the URL of the request names no resource type of R4";
                return self.error(IssueType::Value, url, REQUEST, text, CORRECT_URL);
            }
            ("POST", Target::Type(_)) | ("PUT" | "PATCH" | "DELETE", Target::Instance(..) | Target::Search(_)) => true,
            ("POST", _) => is_history,
            ("PUT" | "PATCH" | "DELETE", _) => false,
            _ => return,
        };
        if !fits {
            let text = match method {
                "POST" => "a POST names the type of what it creates",
                _ => "the request names a type, and neither an id nor a search",
            };
            return self.error(IssueType::Value, url, REQUEST, text, CORRECT_URL);
        }
        if let Some(body) = body.filter(|_| matches!(method, "POST" | "PUT")) {
            self.body_is_target(request, body);
        }
    }

    /// A body is of the type that the URL names, and an update has its id.
    fn body_is_target(&mut self, request: Request<'_, 'a>, body: Node<'a>) {
        let Request { url, method, target, .. } = request;
        if let (Some(wanted), Some(name)) = (target.type_name(), body.resource_type())
            && wanted != name
        {
            let text = format!("the URL of the request names a {wanted}, and the resource is a {name}");
            return self.error(IssueType::Value, url, REQUEST, text, "make the two agree");
        }
        let Target::Instance(_, wanted) = target else { return };
        match body.child(keys().id).and_then(Node::text) {
            None if method == "PUT" => {
                let text = "a resource that is updated has its id".to_owned();
                self.missing(body, "id", REQUEST, text);
            }
            Some(id) if id != wanted => {
                let text = "the URL of the request names another id than the resource has";
                self.error(IssueType::Value, url, REQUEST, text, "make the two agree");
            }
            _ => {}
        }
    }

    /// `ifNoneExist` is the query of a conditional create, without its question mark.
    fn if_none_exist(&mut self, request: Node<'a>, method: &str) {
        let Some(query) = request.member("ifNoneExist") else { return };
        if method != "POST" {
            let text = "ifNoneExist is for a POST alone";
            self.report(Severity::Warning, IssueType::Value, query, REQUEST, text, "remove it");
        } else if query.text().is_some_and(|query| query.starts_with('?')) {
            let text = "ifNoneExist is what stands behind the question mark of a search";
            self.error(IssueType::Value, query, REQUEST, text, "leave the question mark out");
        }
    }

    fn response(&mut self, entry: Node<'a>, response: Node<'a>) {
        let keys = keys();
        if let Some(status) = response.member("status")
            && status.text().is_some_and(|text| !is_status(&text))
        {
            let text = "the status of a response begins with the three digits of HTTP";
            self.error(IssueType::Value, status, RESPONSE, text, "write it as 200 or 200 OK");
        }
        if let Some(outcome) = response.member("outcome")
            && outcome.resource_type().is_some_and(|name| name != "OperationOutcome")
        {
            let text = "the outcome of a response is an OperationOutcome";
            self.error(IssueType::Value, outcome, RESPONSE, text, "put other resources into entry.resource");
        }
        let Some(meta) = entry.child(keys.resource).and_then(|resource| resource.child(keys.meta)) else { return };
        if let (Some(node), Some(version)) = (response.member("etag"), meta.child(keys.version_id).and_then(Node::text))
            && node.text().is_some_and(|text| tagged(&text) != version)
        {
            let text = "the ETag of the response is not the version of the resource";
            self.error(IssueType::Value, node, RESPONSE, text, "make the two agree");
        }
        if let (Some(node), Some(updated)) = (response.member("lastModified"), meta.member("lastUpdated"))
            && compare((node, "instant"), (updated, "instant")).is_some_and(|order| order != Ordering::Equal)
        {
            let text = "the response and the resource say different times of the change";
            self.report(Severity::Warning, IssueType::Value, node, RESPONSE, text, "make the two agree");
        }
    }
}

/// Whether text begins with three digits, and nothing else directly behind them.
fn is_status(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    digits == 3 && text.as_bytes().get(3).is_none_or(u8::is_ascii_whitespace)
}

/// The version in an ETag: `W/"2"`.
fn tagged(etag: &str) -> &str {
    let text = etag.strip_prefix("W/").unwrap_or(etag);
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}
