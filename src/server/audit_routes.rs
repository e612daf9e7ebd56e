//! The audit log over HTTP: `GET /FHIR/R4/AuditEvent`, `GET /FHIR/R4/Provenance`, `POST …/_search` and `GET …/{id}` for both (FHIR
//! R4, search and read).
//!
//! Enters: search parameters, or an id. Leaves: a searchset, the newest first, with a link to the next page; or the resource. Invariant:
//! whoever asks may verify the log, or read lineage; that they asked, and for which patient, is in the log before the answer. An NHS number is read
//! from a body alone, never from a URL, and no answer repeats it.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use time::{Date, Duration, Month, Time};
use tracing::error;
use uuid::Uuid;

use super::Service;
use super::access::{failed, looked, permit};
use super::body::{self, Unread};
use super::listener::Peer;
use super::records::{no_answer, no_store, outcome, unambiguous};
use crate::audit::event::kind;
use crate::audit::search::{Page, Query, event, message, search};
use crate::audit::{HashKey, Object};
use crate::fhir::audit_event::{Outcome, RecordedEvent};
use crate::fhir::bars::NHS_NUMBER;
use crate::fhir::outcome::{Issue, IssueType};
use crate::fhir::{Document, Instant, Limits, Writer, provenance as resource};
use crate::identity::MessageId;
use crate::identity::principal::{Action, Principal};
use crate::pipeline::Gateway;
use crate::provenance;
use crate::storage::{Content, Error, MessageRecord, Store};

/// Resources of a page, unless `_count` asks for another number, and at most.
const PAGE: (usize, usize) = (50, 500);
/// Bytes of a question in a body.
const LONGEST: usize = 16 << 10;
/// Parameters of a question that the audit log keeps, at most.
const AUDITED: usize = 20;
/// Why a search did not happen that nobody could answer.
const NOT_UNDERSTOOD: &str = "not-understood";
/// The words in the URNs of a Provenance.
const URN_PARTS: [&str; 5] = ["record", "map", "decision", "sha-256", "hmac-sha-256"];
/// The system of identifiers that are URIs, and of those that are ODS codes.
const SYSTEMS: [&str; 2] = ["urn:ietf:rfc:3986|", "https://fhir.nhs.uk/Id/ods-organization-code|"];
/// Subtypes that are not Weir's own.
const INTERACTIONS: [&str; 5] = ["read", "search-type", "operation", "receive", "disclose"];
/// How an identifier that is a keyed hash is told from others.
const KEYED_HASH: &str = "https://weir.example/Id/keyed-hash";

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    AuditEvent,
    Provenance,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::AuditEvent => "AuditEvent",
            What::Provenance => "Provenance",
        }
    }

    /// The parameters that are understood, in words.
    fn hint(self) -> &'static str {
        match self {
            What::AuditEvent => {
                "use patient:identifier, date, agent:identifier, entity:identifier, outcome, subtype, _count or a next link"
            }
            What::Provenance => {
                "use target alone, or patient:identifier, recorded, agent:identifier, entity:identifier, _count or a next link"
            }
        }
    }

    /// What one must be permitted to do, to search it.
    fn action(self) -> Action {
        match self {
            What::AuditEvent => Action::VerifyAudit,
            What::Provenance => Action::ReadLineage,
        }
    }
}

/// What was asked, and whether in a URL.
struct Asked {
    what: What,
    pairs: Vec<(String, String)>,
    in_url: bool,
}

/// A question, read.
#[derive(Debug, Default)]
struct Question {
    query: Query,
    /// The Bundle that a Provenance is about.
    target: Option<String>,
    /// Who took part in what a Provenance tells of, and what that came from.
    agent: Option<String>,
    entity: Option<String>,
    /// The parameters as they were understood, without where the page begins, for links.
    parameters: Vec<(String, String)>,
}

impl Question {
    /// As the audit log keeps it: without values that may be anything, a person's name among them. `is_known` says of an id
    /// whether the site has it.
    fn audited(&self, what: What, is_known: impl Fn(&str) -> bool) -> String {
        let keep = |(name, value): &(String, String)| {
            let is_known = match &**name {
                "agent:identifier" | "entity:identifier" => is_uuid(value) || is_known(value) || is_urn_of_ours(value),
                "subtype" => value.split(',').all(|code| kind::ALL.contains(&code) || INTERACTIONS.contains(&code)),
                _ => true,
            };
            (name.clone(), if is_known { value.clone() } else { "…".to_owned() })
        };
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(self.parameters.iter().take(AUDITED).map(keep));
        if let Some(before) = self.query.before {
            pairs.append_pair("_before", &before.to_string());
        }
        format!("{}?{}", what.name(), pairs.finish())
    }
}

fn is_uuid(text: &str) -> bool {
    text.strip_prefix("urn:uuid:").unwrap_or(text).parse::<Uuid>().is_ok()
}

/// Whether it is a URN that a Provenance of ours has: `urn:weir:map:sha-256:…`.
fn is_urn_of_ours(text: &str) -> bool {
    let is_digest = |part: &str| part.len() == 64 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
    let is_ours = |part: &str| URN_PARTS.contains(&part) || is_digest(part) || is_uuid(part);
    text.strip_prefix("urn:weir:").is_some_and(|rest| rest.split(':').all(is_ours))
}

/// Whether a principal, an organisation or an agreement of the site is called so.
fn is_known(gateway: &Gateway, id: &str) -> bool {
    let stages = gateway.stages();
    id.parse().is_ok_and(|id| gateway.principals.named(&id).is_some())
        || id.parse().is_ok_and(|id| stages.provider.ods == id || !gateway.lanes(&id).is_empty())
        || stages.agreements.iter().any(|agreement| agreement.id().as_str() == id)
}

pub(super) fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/FHIR/R4/AuditEvent", get(async |s, p, q, h| by_url(What::AuditEvent, s, p, q, h).await))
        .route("/FHIR/R4/Provenance", get(async |s, p, q, h| by_url(What::Provenance, s, p, q, h).await))
        .route("/FHIR/R4/AuditEvent/{id}", get(async |s, p, i, h| by_id(What::AuditEvent, s, p, i, h).await))
        .route("/FHIR/R4/Provenance/{id}", get(async |s, p, i, h| by_id(What::Provenance, s, p, i, h).await))
        .route("/FHIR/R4/AuditEvent/_search", post(async |s, p, r| by_body(What::AuditEvent, s, p, r).await))
        .route("/FHIR/R4/Provenance/_search", post(async |s, p, r| by_body(What::Provenance, s, p, r).await))
}

async fn by_url(
    what: What,
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match permit(&service, &peer, &headers, what.action(), None).await {
        Ok(principal) => {
            let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
            answer(&service, &peer, principal, Asked { what, pairs, in_url: true }).await
        }
        Err(response) => *response,
    }
}

async fn by_id(
    what: What,
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let principal = match permit(&service, &peer, &headers, what.action(), None).await {
        Ok(principal) => principal,
        Err(response) => return *response,
    };
    let (store, id) = (service.gateway.store(), path.ok().and_then(|Path(id)| id.parse::<Uuid>().ok()));
    let found = match id {
        Some(id) => read(store, what, id).await,
        None => Ok(None),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return unread(error),
    };
    let object = match (&found, id) {
        (Some(Found { message: Some(message), .. }), _) => Object::Message(*message),
        (_, Some(id)) => Object::Resource(what.name(), id),
        (_, None) => Object::Site,
    };
    let patient = found.as_ref().and_then(|found| found.patient.as_deref());
    if let Err(response) = looked(&service, &peer, principal, what.action(), (object, patient)).await {
        return *response;
    }
    match found {
        Some(found) => fhir(found.resource),
        None => {
            let issue = Issue::error(IssueType::NotFound, format!("there is no {} with this id", what.name()));
            outcome(StatusCode::NOT_FOUND, &[issue.hint("use the id of one that a search gave")])
        }
    }
}

/// A resource by its id, and whom it is about.
struct Found {
    resource: String,
    /// The patient, by keyed hash, that an event names.
    patient: Option<String>,
    /// The message that a Provenance is of.
    message: Option<MessageId>,
}

async fn read(store: &dyn Store, what: What, id: Uuid) -> Result<Option<Found>, Error> {
    match what {
        What::AuditEvent => {
            let said = event(store, id).await?;
            let found = |said: RecordedEvent<'_>| (said.to_json(), said.subject().map(str::to_owned));
            Ok(said.map(found).map(|(resource, patient)| Found { resource, patient, message: None }))
        }
        What::Provenance => {
            let Some(message) = message(store, |message| provenance::id_of(message) == id).await? else {
                return Ok(None);
            };
            let found = provenances(store, std::iter::once(message)).await?.pop();
            Ok(found.map(|resource| Found { resource, patient: None, message: Some(message) }))
        }
    }
}

fn fhir(resource: String) -> Response {
    let fhir = [(header::CONTENT_TYPE, "application/fhir+json")];
    (StatusCode::OK, fhir, no_store(), resource).into_response()
}

fn unread(error: Error) -> Response {
    let Error::Damaged(why) = error else { return *no_answer(error) };
    error!(%why, "the audit log cannot be read: run `weir audit verify`");
    let issue = Issue::error(IssueType::Exception, "the audit log cannot be read");
    let hint = "tell the technical administrator: what the gateway stored was changed";
    outcome(StatusCode::INTERNAL_SERVER_ERROR, &[issue.hint(hint)])
}

async fn by_body(
    what: What,
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    if let Err(response) = unambiguous(&head.headers) {
        return *response;
    }
    let principal = match permit(&service, &peer, &head.headers, what.action(), None).await {
        Ok(principal) => principal,
        Err(response) => return *response,
    };
    let refuse = |status, code, text: &str, hint| outcome(status, &[Issue::error(code, text).hint(hint)]);
    if head.uri.query().is_some_and(|query| !query.is_empty()) {
        let hint = "write all of them into the form";
        return refuse(StatusCode::BAD_REQUEST, IssueType::NotSupported, "there are parameters in the URL", hint);
    }
    let form = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !form.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let hint = "send the parameters as application/x-www-form-urlencoded";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, IssueType::NotSupported, "the question is not a form", hint);
    }
    let body = match body::whole(body, LONGEST, service.limits.body_timeout).await {
        Ok(body) => body,
        Err(Unread::TooLong) => {
            let text = format!("the question is longer than {LONGEST} bytes");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, IssueType::TooLong, &text, "ask for less at a time");
        }
        Err(_) => {
            let text = "the question did not arrive as a whole, or not in time";
            return refuse(StatusCode::BAD_REQUEST, IssueType::Structure, text, "send it again");
        }
    };
    let pairs = form_urlencoded::parse(&body).into_owned().collect();
    answer(&service, &peer, principal, Asked { what, pairs, in_url: false }).await
}

async fn answer(service: &Service, peer: &Peer, principal: &Principal, asked: Asked) -> Response {
    let (what, gateway) = (asked.what, &service.gateway);
    let question = match question(asked, &gateway.hash_key) {
        Ok(question) => question,
        Err(issue) => {
            let search = (Object::Search(what.name()), NOT_UNDERSTOOD);
            return match failed(service, peer, principal, what.action(), search).await {
                Ok(()) => outcome(StatusCode::BAD_REQUEST, &[*issue]),
                Err(response) => *response,
            };
        }
    };
    let asks = question.audited(what, |id| is_known(gateway, id));
    let search = (Object::Search(&asks), question.query.patient.as_deref());
    if let Err(response) = looked(service, peer, principal, what.action(), search).await {
        return *response;
    }
    match found(gateway.store(), what, &question).await {
        Ok((resources, next)) => fhir(searchset(what, &resources, &question, next)),
        Err(error) => unread(error),
    }
}

/// The resources of one page with their ids, and where the next begins.
async fn found(store: &dyn Store, what: What, question: &Question) -> Result<(Vec<String>, Option<u64>), Error> {
    if let Some(bundle) = &question.target {
        let mut messages = store.named(bundle).await?;
        messages.truncate(question.query.count);
        return Ok((provenances(store, messages.iter().map(|record: &MessageRecord| record.id)).await?, None));
    }
    let Page { events, next } = search(store, &question.query).await?;
    let resources = match what {
        What::AuditEvent => events.iter().map(|(_, said)| said.to_json()).collect(),
        What::Provenance => {
            let mut all = provenances(store, events.iter().filter_map(|(_, said)| said.message())).await?;
            all.retain(|provenance| is_asked_for(provenance, question));
            all
        }
    };
    Ok((resources, next))
}

/// Whether a Provenance has the agent and the entity that are asked for; a message is named by what it came from.
fn is_asked_for(provenance: &str, question: &Question) -> bool {
    if question.agent.is_none() && question.entity.is_none() {
        return true;
    }
    let Ok(provenance) = Document::parse(provenance.as_bytes(), &Limits::default()) else { return false };
    let is_of = |uri: &str, id: &str| uri == id || is_uuid(id) && uri.split(':').any(|part| part == id);
    question.agent.as_ref().is_none_or(|id| resource::agents(&provenance).any(|uri| is_of(&uri, id)))
        && question.entity.as_ref().is_none_or(|id| resource::sources(&provenance).any(|uri| is_of(&uri, id)))
}

/// The Provenances of messages; those that were erased are left out.
async fn provenances(store: &dyn Store, messages: impl Iterator<Item = MessageId>) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for message in messages {
        let Some(bytes) = store.content(message, Content::Provenance).await? else { continue };
        let damaged = |_| Error::Damaged(format!("the Provenance of message {message} is not UTF-8"));
        found.push(String::from_utf8(bytes).map_err(damaged)?);
    }
    Ok(found)
}

fn searchset(what: What, resources: &[String], question: &Question, next: Option<u64>) -> String {
    let mut out = Writer::with_capacity(resources.iter().map(String::len).sum::<usize>() + 1024);
    out.begin_object();
    out.field("resourceType", "Bundle");
    out.field("type", "searchset");
    out.key("link");
    out.begin_array();
    let mut link = |relation: &str, before: Option<u64>| {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(&question.parameters);
        if let Some(before) = before {
            pairs.append_pair("_before", &before.to_string());
        }
        out.begin_object();
        out.field("relation", relation);
        out.field("url", &format!("{}?{}", what.name(), pairs.finish()));
        out.end_object();
    };
    link("self", question.query.before);
    if next.is_some() {
        link("next", next);
    }
    out.end_array();
    if !resources.is_empty() {
        out.key("entry");
        out.begin_array();
        for resource in resources {
            out.begin_object();
            if let Some(id) = id_of(resource) {
                out.field("fullUrl", &format!("urn:uuid:{id}"));
            }
            out.key("resource");
            out.raw(resource);
            out.object("search", |out| out.field("mode", "match"));
            out.end_object();
        }
        out.end_array();
    }
    out.end_object();
    out.finish()
}

/// The id of a resource that Weir wrote.
fn id_of(resource: &str) -> Option<&str> {
    let (_, rest) = resource.split_once("\"id\":\"")?;
    rest.split_once('"').map(|(id, _)| id)
}

/// Reads a question. The value of a parameter is in no message about it: it may be a person's. Links repeat what was
/// understood and not what was written.
fn question(asked: Asked, hashes: &HashKey) -> Result<Question, Box<Issue>> {
    let Asked { what, pairs, in_url } = asked;
    let mut read = Question { query: Query { count: PAGE.0, ..Query::default() }, ..Question::default() };
    if what == What::Provenance {
        read.query.kinds = vec![kind::MESSAGE_ACCEPTED.to_owned()];
    }
    for (name, value) in pairs {
        let wrong = |why: &str, hint: &'static str| {
            Box::new(Issue::error(IssueType::Invalid, format!("the parameter {name} {why}")).hint(hint))
        };
        let name_it = "write one id: what is asked for more than once must all match, and no event has two";
        let one = |value: &str| {
            let id = without_system(value).to_owned();
            let is_one = !id.is_empty() && !id.contains(',') && !may_be_nhs_number(&id) && !value.contains(NHS_NUMBER);
            is_one.then_some(id).ok_or_else(|| wrong("is no id that events have", name_it))
        };
        let codes = |value: &str| value.split(',').map(|code| without_system(code).to_owned()).collect::<Vec<_>>();
        let query = &mut read.query;
        let (name, kept) = match (&*name, what) {
            ("patient:identifier" | "patient", _) if query.patient.is_none() => {
                let hash = patient(&value, in_url, hashes).map_err(|(why, hint)| wrong(why, hint))?;
                query.patient = Some(hash.clone());
                ("patient:identifier", format!("{KEYED_HASH}|{hash}"))
            }
            ("date", What::AuditEvent) | ("recorded", What::Provenance) => {
                let (from, until) = interval(&value).ok_or_else(|| {
                    wrong("is no date", "write ge2026-01-01 or another FHIR date, with eq, ge, gt, le, lt, sa or eb")
                })?;
                query.from = query.from.max(from);
                query.until = [query.until, until].into_iter().flatten().min();
                (if what == What::AuditEvent { "date" } else { "recorded" }, value)
            }
            ("agent:identifier" | "agent", What::AuditEvent) if query.agent.is_none() => {
                let id = one(&value)?;
                query.agent = Some(id.clone());
                ("agent:identifier", id)
            }
            ("entity:identifier" | "entity", What::AuditEvent) if query.entity.is_none() => {
                let id = one(&value)?;
                query.entity = Some(id.strip_prefix("urn:uuid:").unwrap_or(&id).to_owned());
                ("entity:identifier", id)
            }
            ("agent:identifier" | "agent", What::Provenance) if read.agent.is_none() => {
                let id = uri(&value).ok_or_else(|| wrong("is no id that a Provenance has", name_it))?;
                query.entity = query.entity.take().or(message_in(&id));
                read.agent = Some(id.clone());
                ("agent:identifier", id)
            }
            ("entity:identifier" | "entity", What::Provenance) if read.entity.is_none() => {
                let id = uri(&value).ok_or_else(|| wrong("is no id that a Provenance has", name_it))?;
                query.entity = message_in(&id).or(query.entity.take());
                read.entity = Some(id.clone());
                ("entity:identifier", id)
            }
            ("outcome", What::AuditEvent) if query.outcomes.is_empty() => {
                let of = |code: &String| outcome_of(code);
                let codes = codes(&value);
                query.outcomes = codes.iter().map(of).collect::<Option<_>>().ok_or_else(|| {
                    wrong("has a code that is none of 0, 4 and 8", "write 0 for success, 4 or 8 for what was refused")
                })?;
                ("outcome", codes.join(","))
            }
            ("subtype", What::AuditEvent) if query.kinds.is_empty() => {
                let is_code = |code: &String| {
                    !code.is_empty() && code.bytes().all(|byte| byte == b'-' || byte.is_ascii_alphanumeric())
                };
                query.kinds = codes(&value);
                if !query.kinds.iter().all(|code| is_code(code) && !may_be_nhs_number(code)) {
                    return Err(wrong(
                        "has no code of a subtype",
                        "write one as message-accepted, or several with commas",
                    ));
                }
                ("subtype", query.kinds.join(","))
            }
            ("target", What::Provenance) if read.target.is_none() => {
                let id = value.rsplit(['/', ':']).next().unwrap_or_default().parse::<Uuid>();
                let id = id.map_err(|_| wrong("names no Bundle", "write urn:uuid: and the id of the Bundle"))?;
                read.target = Some(id.to_string());
                ("target", format!("urn:uuid:{id}"))
            }
            ("_count", _) => {
                let number = value.parse().ok().filter(|number| (1..=PAGE.1).contains(number));
                query.count = number.ok_or_else(|| wrong("is out of range", "write 1 to 500"))?;
                ("_count", query.count.to_string())
            }
            ("_before", _) => {
                let number = value.parse().map_err(|_| wrong("is no number", "follow the next link as it is"))?;
                query.before = Some(number);
                continue;
            }
            (known, _)
                if read.parameters.iter().any(|(own, _)| own.starts_with(known) || known.starts_with(&**own)) =>
            {
                return Err(wrong("stands twice", name_it));
            }
            _ => return Err(Box::new(Issue::error(IssueType::NotSupported, unknown(&name)).hint(what.hint()))),
        };
        read.parameters.push((name.to_owned(), kept));
    }
    if read.target.is_some() && read.parameters.iter().any(|(name, _)| name != "target" && name != "_count") {
        let issue = Issue::error(IssueType::NotSupported, "the parameter target stands beside others");
        return Err(Box::new(issue.hint("a target has one Provenance: ask for it alone")));
    }
    Ok(read)
}

/// Whether a text may be an NHS number in whatever grouping: it must not stand in a URL or come back in a link.
fn may_be_nhs_number(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'.'))
}

/// The URI or the code of a token, without its system; `None` for what may hold an NHS number, or several ids.
fn uri(token: &str) -> Option<String> {
    let id = SYSTEMS.iter().find_map(|system| token.strip_prefix(system)).unwrap_or(token);
    let id = id.strip_prefix("urn:uuid:").unwrap_or(id);
    let is_number = id.contains(NHS_NUMBER) || id.split([':', '/', '|', '?', '=', '#']).any(may_be_nhs_number);
    let is_one = !id.is_empty() && !id.contains(',');
    (is_one && !is_number).then(|| id.parse::<Uuid>().map_or_else(|_| id.to_owned(), |id| id.to_string()))
}

/// The message that a URN of ours names.
fn message_in(id: &str) -> Option<String> {
    id.split(':').find(|part| part.parse::<Uuid>().is_ok()).map(str::to_owned)
}

/// The name of a parameter may be anything, a value too.
fn unknown(name: &str) -> String {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_' | b':');
    match name.len() <= 40 && name.bytes().all(is_word) {
        true => format!("there is no search by {name} here"),
        false => "there is no search by one of the parameters here".to_owned(),
    }
}

/// The keyed hash of the patient that a parameter names; or why it names none, and what to do.
fn patient(value: &str, in_url: bool, hashes: &HashKey) -> Result<String, (&'static str, &'static str)> {
    let (system, value) = value.split_once('|').unwrap_or((KEYED_HASH, value));
    match system {
        "" | KEYED_HASH if value.len() == 64 && value.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            Ok(value.to_ascii_lowercase())
        }
        NHS_NUMBER if in_url => {
            Err(("has an NHS number in a URL", "POST it to _search as a form: URLs are kept in logs"))
        }
        NHS_NUMBER => Ok(hashes.subject(NHS_NUMBER, &value.replace([' ', '-'], "")).as_str().to_owned()),
        _ => Err((
            "is not a keyed hash of 64 hexadecimal digits",
            "write the hash as an AuditEvent has it, or POST https://fhir.nhs.uk/Id/nhs-number|… to _search",
        )),
    }
}

fn without_system(token: &str) -> &str {
    token.rsplit_once('|').map_or(token, |(_, code)| code)
}

fn outcome_of(code: &str) -> Option<Outcome> {
    match code {
        "0" => Some(Outcome::Success),
        "4" => Some(Outcome::MinorFailure),
        "8" => Some(Outcome::SeriousFailure),
        _ => None,
    }
}

/// From when, and until before when, a date parameter asks (FHIR R4, 3.1.1.4.8). Days and months are those of UTC.
fn interval(text: &str) -> Option<(Option<Instant>, Option<Instant>)> {
    let (prefix, date) = match text.get(..2) {
        Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_lowercase()) => (prefix, &text[2..]),
        _ => ("eq", text),
    };
    let (from, until) = spelled(date)?;
    match prefix {
        "eq" => Some((Some(from), until)),
        "ge" => Some((Some(from), None)),
        // Nothing is after the end of the calendar.
        "gt" | "sa" => Some((until.or(Some(from)), None)),
        "le" => Some((None, until)),
        "lt" | "eb" => Some((None, Some(from))),
        _ => None,
    }
}

/// The first instant that a date means, and the first after it: a year, a month, a day, a minute, a second or an instant. No
/// instant is after the last of the calendar.
fn spelled(date: &str) -> Option<(Instant, Option<Instant>)> {
    let start = |year, month, day| {
        Some(Date::from_calendar_date(year, month, day).ok()?.with_time(Time::MIDNIGHT).assume_utc())
    };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let parts: Vec<&str> = date.split('T').next()?.split('-').collect();
    let year = |text: &str| number(text).filter(|_| text.len() == 4).map(i32::from);
    let month = |text: &str| Month::try_from(u8::try_from(number(text)?).ok()?).ok();
    match (&parts[..], date.contains('T')) {
        ([own], false) => Some((start(year(own)?, Month::January, 1)?, start(year(own)? + 1, Month::January, 1))),
        ([own, of], false) => {
            let (year, month) = (year(own)?, month(of)?);
            let following = if month == Month::December { year + 1 } else { year };
            Some((start(year, month, 1)?, start(following, month.next(), 1)))
        }
        ([own, of, day], false) => {
            let first = start(year(own)?, month(of)?, u8::try_from(number(day)?).ok()?)?;
            Some((first, first.checked_add(Duration::DAY)))
        }
        ([_, _, _], true) => instant(date),
        // An offset to the west of UTC has a dash of its own, behind the T.
        _ => None,
    }
}

fn instant(text: &str) -> Option<(Instant, Option<Instant>)> {
    use time::format_description::well_known::Rfc3339;
    let (date, time) = text.split_once('T')?;
    // A URL that was not encoded says a space where a plus sign was meant.
    let time = time.replace(' ', "+");
    let clock = time.split(['Z', '+', '-']).next()?;
    let zone = Some(&time[clock.len()..]).filter(|zone| !zone.is_empty()).unwrap_or("Z");
    let (clock, length) = match clock.len() {
        5 => (format!("{clock}:00"), Duration::MINUTE),
        8 => (clock.to_owned(), Duration::SECOND),
        _ => (clock.to_owned(), Duration::MILLISECOND),
    };
    let from = Instant::parse(&format!("{date}T{clock}{zone}"), &Rfc3339).ok()?;
    Some((from, from.checked_add(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn asked(what: What, pairs: &[(&str, &str)], in_url: bool) -> Result<Question, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        question(Asked { what, pairs, in_url }, &HashKey::new(&[1; 32])).map_err(|issue| issue.text)
    }

    #[test]
    fn a_date_means_an_interval() {
        let day = datetime!(2026-03-04 00:00 UTC);
        let (from, until) = (Some(day), Some(day + Duration::DAY));
        for (text, expected) in [
            ("2026-03-04", (from, until)),
            ("eq2026-03-04", (from, until)),
            ("ge2026-03-04", (from, None)),
            ("gt2026-03-04", (until, None)),
            ("le2026-03-04", (None, until)),
            ("lt2026-03-04", (None, from)),
            ("2026", (Some(datetime!(2026-01-01 00:00 UTC)), Some(datetime!(2027-01-01 00:00 UTC)))),
            ("2026-12", (Some(datetime!(2026-12-01 00:00 UTC)), Some(datetime!(2027-01-01 00:00 UTC)))),
            ("ge2026-03-04T10:30Z", (Some(datetime!(2026-03-04 10:30 UTC)), None)),
            ("ge2026-03-04T10:30:15-01:00", (Some(datetime!(2026-03-04 11:30:15 UTC)), None)),
            ("ge2026-03-04T10:30:15 01:00", (Some(datetime!(2026-03-04 09:30:15 UTC)), None)),
            ("le9999", (None, None)),
            ("eq9999-12-31", (Some(datetime!(9999-12-31 00:00 UTC)), None)),
            ("eb2026-03-04T10:30:15.250Z", (None, Some(datetime!(2026-03-04 10:30:15.25 UTC)))),
        ] {
            assert_eq!(interval(text), Some(expected), "{text}");
        }
        for text in
            ["", "ge", "ne2026", "26", "2026-13", "2026-02-30", "2026-03-04T", "2026-03-04T25:00Z", "é2026", "+026"]
        {
            assert_eq!(interval(text), None, "{text}");
        }
    }

    #[test]
    fn several_dates_narrow_each_other() {
        let read =
            asked(What::AuditEvent, &[("date", "ge2026-03-04"), ("date", "lt2026-03-06"), ("date", "le2026")], true);
        let query = read.expect("they are dates").query;
        assert_eq!(query.from, Some(datetime!(2026-03-04 00:00 UTC)));
        assert_eq!(query.until, Some(datetime!(2026-03-06 00:00 UTC)));
    }

    #[test]
    fn an_nhs_number_is_read_from_a_body_alone_and_never_told_again() {
        let parameter = ("patient:identifier", "https://fhir.nhs.uk/Id/nhs-number|999 000 0018");
        let refused = asked(What::AuditEvent, &[parameter], true).expect_err("it stands in a URL");
        assert_eq!(refused, "the parameter patient:identifier has an NHS number in a URL");
        let read = asked(What::AuditEvent, &[parameter], false).expect("it stands in a body");
        let hash = HashKey::new(&[1; 32]).subject(NHS_NUMBER, "9990000018").as_str().to_owned();
        assert_eq!(read.query.patient.as_ref(), Some(&hash));
        let set = searchset(What::AuditEvent, &[], &read, Some(7));
        assert!(!set.contains("9990000018") && !set.contains("999+000") && set.contains(&hash), "{set}");
        for wrong in ["9990000018", "https://fhir.nhs.uk/Id/nhs|9990000018", ""] {
            let refused = asked(What::AuditEvent, &[("patient", wrong)], false).expect_err(wrong);
            assert!(refused.ends_with("is not a keyed hash of 64 hexadecimal digits"), "{refused}");
        }
        let refused = asked(What::AuditEvent, &[("9990000018", "")], true).expect_err("no such parameter");
        assert!(!refused.contains('9'), "{refused}");
        for name in ["entity", "entity:identifier", "agent", "subtype", "outcome", "date", "_count"] {
            for value in ["https://fhir.nhs.uk/Id/nhs-number|9990000018", "9990000018", "999-000-0018", "9990000018|0"]
            {
                let Ok(read) = asked(What::AuditEvent, &[(name, value)], false) else { continue };
                let set = searchset(What::AuditEvent, &[], &read, None);
                assert!(!set.contains("9990000018") && !set.contains("999-000"), "{name}={value}: {set}");
            }
        }
    }

    #[test]
    fn a_provenance_is_asked_for_by_what_its_agents_and_entities_are_called() {
        const ID: &str = "00000000-0000-4000-8000-00000000abcd";
        let record = format!("urn:weir:record:{ID}:hmac-sha-256:{}", "ab".repeat(32));
        let decision = format!("urn:weir:decision:{ID}");
        let profile = "https://weir.example/fhir/StructureDefinition/weir-bundle|0.1.0";
        for (name, value, id, message) in [
            ("agent:identifier", "https://fhir.nhs.uk/Id/ods-organization-code|DEMOP", "DEMOP", None),
            ("agent", "DEMOP", "DEMOP", None),
            ("agent", &*decision, &*decision, Some(ID)),
            ("entity", &*format!("urn:ietf:rfc:3986|{record}"), &*record, Some(ID)),
            ("entity:identifier", &*format!("urn:uuid:{}", ID.to_uppercase()), ID, Some(ID)),
            ("entity", profile, profile, None),
        ] {
            let read = asked(What::Provenance, &[(name, value)], true).expect("it is understood");
            assert_eq!(read.agent.or(read.entity).as_deref(), Some(id), "{value}");
            assert_eq!(read.query.entity.as_deref(), message, "{value}");
        }
        for value in ["", "a,b", "9990000018", "https://a.example/9990000018|1", "https://fhir.nhs.uk/Id/nhs-number|1"]
        {
            for name in ["agent", "entity"] {
                let refused = asked(What::Provenance, &[(name, value)], true).expect_err(value);
                assert!(refused.ends_with("is no id that a Provenance has"), "{refused}");
            }
        }
        let read = asked(What::Provenance, &[("entity", &record), ("agent", "smith")], true).expect("it is understood");
        let kept = read.audited(What::Provenance, |_| false);
        assert!(kept.contains(ID) && kept.contains(&"ab".repeat(32)) && !kept.contains("smith"), "{kept}");
    }

    #[test]
    fn what_may_be_a_name_is_not_kept() {
        let pairs = [
            ("agent:identifier", "smith"),
            ("entity", "urn:uuid:00000000-0000-4000-8000-000000000000"),
            ("subtype", "access,smith"),
            ("outcome", "0"),
            ("_before", "7"),
        ];
        let read = asked(What::AuditEvent, &pairs, true).expect("it is understood");
        let kept = |id| form_urlencoded::byte_serialize(id).collect::<String>();
        let uuid = kept("urn:uuid:00000000-0000-4000-8000-000000000000".as_bytes());
        let masked = kept("…".as_bytes());
        let expected = |agent: &str| {
            format!(
                "AuditEvent?agent%3Aidentifier={agent}&entity%3Aidentifier={uuid}&subtype={masked}&outcome=0&_before=7"
            )
        };
        assert_eq!(read.audited(What::AuditEvent, |_| false), expected(&masked));
        assert_eq!(read.audited(What::AuditEvent, |id| id == "smith"), expected("smith"));
    }

    #[test]
    fn what_is_asked_twice_or_beside_a_target_is_refused() {
        let target = ("target", "urn:uuid:00000000-0000-4000-8000-000000000000");
        for pairs in [
            &[("agent", "DEMOP"), ("agent:identifier", "DEMOT")][..],
            &[("entity", "a"), ("entity", "a")],
            &[("outcome", "0"), ("outcome", "4")],
            &[("subtype", "access"), ("subtype", "access")],
        ] {
            let refused = asked(What::AuditEvent, pairs, true).expect_err("it stands twice");
            assert!(refused.ends_with("stands twice"), "{refused}");
        }
        let refused =
            asked(What::Provenance, &[target, ("recorded", "2026")], true).expect_err("a target stands alone");
        assert_eq!(refused, "the parameter target stands beside others");
        assert!(asked(What::Provenance, &[target, ("_count", "1")], true).is_ok());
        assert!(asked(What::AuditEvent, &[("agent", "DEMOP,DEMOT")], true).is_err(), "a comma is no part of an id");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (what, name, value) in [
            (What::AuditEvent, "target", "urn:uuid:1"),
            (What::Provenance, "outcome", "0"),
            (What::AuditEvent, "outcome", "5"),
            (What::AuditEvent, "_count", "0"),
            (What::AuditEvent, "_count", "501"),
            (What::AuditEvent, "_before", "-1"),
            (What::AuditEvent, "date", "yesterday"),
        ] {
            let refused = asked(what, &[(name, value)], true).expect_err(name);
            assert!(refused.contains(name) && !refused.contains(value), "{refused}");
        }
    }
}
