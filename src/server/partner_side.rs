//! The partners' side: `POST /FHIR/R4/$process-message` for their responses and their referrals (`inbound.rs`), `GET /FHIR/R4/metadata` and
//! `GET /FHIR/R4/MessageDefinition` (BaRS API 1.4.0); `PUT /FHIR/R4/Task/{id}` for the Tasks that were sent to them (FHIR R4, http);
//! and the audit log's tree, `GET /tlog/…` (C2SP tlog-tiles).
//!
//! Enters: requests over mutual TLS; who asks comes from the certificate alone, and must be a partner. Leaves: 200 with a
//! response message when the answer is on disk with its audit events; else an OperationOutcome with a code of
//! http-error-codes. Invariant: what is refused changes no message, and a header or a Bundle that names another
//! organisation than the certificate does is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode, Uri};
use hyper::body::Bytes;
use tracing::warn;
use uuid::Uuid;

use super::exchange::{self, Refusal, answer};
use super::inbound;
use super::listener::Peer;
use super::ration::Account;
use super::{Service, clock};
use crate::acknowledgement::LIMITS;
use crate::audit::cosignature::{self, Newest};
use crate::audit::tiles::Tile;
use crate::fhir::bars::{DOS_SERVICE, ErrorCode};
use crate::fhir::bundle::Entries;
use crate::fhir::capability::{self, Capability, Definition};
use crate::fhir::handover::{is_task, status};
use crate::fhir::message::{self, Message, ResponseCode, response_bundle};
use crate::fhir::outcome::{Issue, IssueType};
use crate::fhir::{Document, ElementPath, Instant};
use crate::identity::PartyId;
use crate::identity::tls::ServerTls;
use crate::pipeline::answers::{self, NotOurs, Taken};
use crate::storage::{self, State as MessageState};

/// The event of the messages that are taken here.
const RESPONSE: &str = "servicerequest-response";
/// Events of BaRS that are requests or belong to bookings: known, and not taken here, but for the first where referrals are.
const OTHERS: [&str; 3] = [inbound::REQUEST, "booking-request", "booking-response"];

/// What partners connect to.
#[derive(Debug)]
pub struct PartnerSide {
    /// Where.
    pub listen: SocketAddr,
    /// Its mutual TLS.
    pub tls: ServerTls,
    /// What requests may cost, and for whom they are.
    pub terms: Terms,
}

/// What requests of partners may cost, and for whom they are.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The FHIR base that partners use, for what we say of ourselves.
    pub base: String,
    /// Our service in the directory of services: responses are for it.
    pub service_id: String,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// From the headers to the last byte of the body.
    pub body_timeout: Duration,
}

/// What the handlers share.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) service: Arc<Service>,
    pub(super) terms: Terms,
}

/// The routes.
pub(super) fn router(side: Arc<Side>) -> Router {
    exchange::router(post(process_message), get(metadata), get(message_definition))
        .route("/FHIR/R4/Task/{id}", put(update_task).fallback(only_updates))
        .route("/tlog/checkpoint", get(checkpoint))
        .route("/tlog/cosigned-checkpoint", get(cosigned_checkpoint))
        .route("/tlog/tile/{*tile}", get(tile))
        .with_state(side)
}

async fn process_message(
    State(side): State<Arc<Side>>,
    Extension(peer): Extension<Peer>,
    Extension(account): Extension<Account>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let headers = head.headers;
    // In a task of its own: a partner that hangs up after its last byte leaves its answer all the same. What the request
    // takes it keeps until then.
    let taking = tokio::spawn({
        let (side, peer, headers) = (side.clone(), peer.clone(), headers.clone());
        async move { take(&side, (&peer, &account), &headers, body).await }
    });
    let taken = taking.await.unwrap_or_else(|_| {
        let issue = Issue::error(IssueType::Exception, "the message could not be processed");
        Err(Refusal::new(ErrorCode::ServerError, issue))
    });
    let outcome = taken.as_ref().map_or_else(|refusal| refusal.issue.code.code(), |_| "accepted");
    let sender = if is_partner(&side, &peer.party) { peer.party.as_str() } else { "unknown" };
    side.service.metrics.partner_responded(sender, outcome);
    match taken {
        Ok(kept) => acknowledged(&side, &peer.party, &headers, kept),
        Err(refusal) => {
            warn_of(&peer.party, &refusal, "a partner's message was not taken");
            refusal.answer(&headers)
        }
    }
}

/// A Task that we sent, as whoever got it says it stands: an answer to its message.
async fn update_task(
    State(side): State<Arc<Side>>,
    Extension(peer): Extension<Peer>,
    Extension(account): Extension<Account>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let headers = head.headers;
    let id = path.map(|Path(id)| id).unwrap_or_default();
    // In a task of its own, as a response is.
    let taking = tokio::spawn({
        let (side, peer, headers) = (side.clone(), peer.clone(), headers.clone());
        async move { take_task(&side, (&peer, &account), (&id, &headers), body).await }
    });
    let taken = taking.await.unwrap_or_else(|_| {
        let issue = Issue::error(IssueType::Exception, "the Task could not be processed");
        Err(Refusal::new(ErrorCode::ServerError, issue))
    });
    let outcome = taken.as_ref().map_or_else(|refusal| refusal.issue.code.code(), |_| "accepted");
    let sender = if is_partner(&side, &peer.party) { peer.party.as_str() } else { "unknown" };
    side.service.metrics.partner_responded(sender, outcome);
    match taken {
        Ok(task) => answer(&headers, StatusCode::OK, task),
        Err(refusal) => {
            warn_of(&peer.party, &refusal, "a partner's Task was not taken");
            refusal.answer(&headers)
        }
    }
}

/// Writes what kind of fault it is, of which rule and where: its text may hold a value of the message, and is for its sender alone.
fn warn_of(party: &PartyId, refusal: &Refusal, what: &'static str) {
    let (status, issue) = (refusal.code.status(), &refusal.issue);
    let path = issue.path.as_ref().map(ElementPath::as_str).unwrap_or_default();
    warn!(%party, status, code = issue.code.code(), rule = issue.rule, path, "{what}");
}

async fn only_updates(headers: HeaderMap) -> Response {
    let issue = Issue::error(IssueType::NotSupported, "a Task can be updated here, and nothing else");
    Refusal::new(ErrorCode::MethodNotAllowed, issue.hint("PUT it")).answer(&headers)
}

/// Statuses by which a receiver says something of a Task.
const SAYS: [&str; 8] =
    ["received", "accepted", "rejected", "cancelled", "in-progress", "on-hold", "failed", "completed"];

/// Takes an update of a Task; the Task when it is on disk.
async fn take_task(
    side: &Side,
    (peer, account): (&Peer, &Account),
    (id, headers): (&str, &HeaderMap),
    body: Body,
) -> Result<String, Refusal> {
    if let Err(refusal) = known(side, &peer.party) {
        return Err(audited(side, peer, "unknown-partner", refusal).await);
    }
    exchange::is_fhir_json(headers)?;
    let body = exchange::read(headers, body, (side.terms.body_bytes, side.terms.body_timeout)).await?;
    let _working = account.work(body.len()).await;
    let task = parsed(body)?;
    let wrong = |code, kind, text: &str, path: &str, hint: &str| {
        Err(Refusal::new(code, Issue::error(kind, text).at(ElementPath::new(path)).hint(hint)))
    };
    if !is_task(&task, id) {
        let (text, hint) = ("the body is not the Task that the path names", "send the whole Task, with its own id");
        return wrong(ErrorCode::BadRequest, IssueType::Invariant, text, "Task.id", hint);
    }
    let said = status(&task).unwrap_or_default();
    if !SAYS.contains(&said) {
        let (text, hint) =
            ("the status says nothing of a receiver", "send accepted, rejected, in-progress or completed");
        return wrong(ErrorCode::UnprocessableEntity, IssueType::Value, text, "Task.status", hint);
    }
    let address = peer.address.to_string();
    let from = (&peer.party, Some(&*address));
    let taken = answers::take_task(&side.service.gateway, from, (id, &task), clock::now()).await;
    match taken.map_err(|error| unavailable(&error))? {
        // The same update again is no conflict of HTTP's PUT.
        Taken::Repeated => {}
        Taken::NotOurs(NotOurs::Unknown | NotOurs::OfAnother) => {
            let issue = Issue::error(IssueType::NotFound, "there is no Task of this id that was sent to you");
            let issue = issue.hint("update the Task that came in the message, by its id");
            return Err(Refusal::new(ErrorCode::NotFound, issue));
        }
        taken => settle(side, taken)?,
    }
    Ok(task.source().to_owned())
}

fn is_partner(side: &Side, party: &PartyId) -> bool {
    !side.service.gateway.lanes(party).is_empty()
}

/// Takes a response message or a referral; its id and when it was kept, when it is on disk.
async fn take(
    side: &Side,
    (peer, account): (&Peer, &Account),
    headers: &HeaderMap,
    body: Body,
) -> Result<(Uuid, Instant), Refusal> {
    if let Err(refusal) = known(side, &peer.party) {
        return Err(audited(side, peer, "unknown-partner", refusal).await);
    }
    exchange::has_ids(headers)?;
    exchange::is_fhir_json(headers)?;
    let said = exchange::said(headers)?;
    for_us(side, &said.target)?;
    if !said.organisation.iter().all(|code| is_of(&peer.party, code)) {
        let text = "the header nhsd-end-user-organisation names another organisation than the client certificate";
        return Err(audited(side, peer, "sender-is-another", not_theirs(text)).await);
    }
    let body = exchange::read(headers, body, (side.terms.body_bytes, side.terms.body_timeout)).await?;
    let _working = account.work(body.len()).await;
    let document = parsed(body)?;
    let (id, is_referral) = message(side, &document)?;
    let entries = Entries::of(&document);
    if entries.sender().is_some_and(|code| !is_of(&peer.party, &code)) {
        let text = "MessageHeader.sender is another organisation than the client certificate names";
        return Err(audited(side, peer, "sender-is-another", not_theirs(text)).await);
    }
    to_us(side, &entries)?;
    drop(entries);
    if is_referral {
        return inbound::take(side, peer, (id, document)).await;
    }
    let address = peer.address.to_string();
    let now = clock::now();
    let taken = answers::take(&side.service.gateway, (&peer.party, Some(&address)), &document, now).await;
    settle(side, taken.map_err(|error| unavailable(&error))?)?;
    Ok((id, now))
}

fn is_of(party: &PartyId, code: &str) -> bool {
    code.parse().is_ok_and(|named: PartyId| named == *party)
}

fn known(side: &Side, party: &PartyId) -> Result<(), Refusal> {
    if is_partner(side, party) {
        return Ok(());
    }
    let issue = Issue::error(IssueType::Forbidden, format!("{party} is not a partner of this gateway"));
    Err(Refusal::new(ErrorCode::Forbidden, issue.hint("ask the gateway's operator for a partner file")))
}

fn not_theirs(text: &str) -> Refusal {
    let issue = Issue::error(IssueType::Security, text);
    Refusal::new(ErrorCode::Forbidden, issue.hint("send responses under your own organisation's certificate"))
}

/// The refusal, once it is on disk that somebody was refused for who they are.
async fn audited(side: &Side, peer: &Peer, reason: &str, refusal: Refusal) -> Refusal {
    let gateway = &side.service.gateway;
    let address = peer.address.to_string();
    let event = gateway.recorder.answer_refused(&peer.party, (None, reason), Some(&address), clock::now());
    match gateway.store().append(event).await {
        Ok(_) => refusal,
        Err(error) => unavailable(&error),
    }
}

/// The header's service is ours.
fn for_us(side: &Side, (system, value): &(String, String)) -> Result<(), Refusal> {
    if system == DOS_SERVICE && *value == side.terms.service_id {
        return Ok(());
    }
    let issue = Issue::error(IssueType::NotFound, "the header nhsd-target-identifier names a service that is not here");
    Err(Refusal::new(ErrorCode::NotFound, issue.hint("ask the gateway's operator for the id of its service")))
}

fn parsed(body: Bytes) -> Result<Document, Refusal> {
    Document::parse(body, &LIMITS).map_err(|error| {
        let issue = Issue::error(IssueType::Structure, error.what.to_string());
        let issue = issue.at(error.path.clone()).position(error.position).hint(error.hint());
        Refusal::new(ErrorCode::BadRequest, issue)
    })
}

/// The id of a message that is taken here, and whether it is a referral; else it has the event of a response, and a response
/// in its header.
fn message(side: &Side, document: &Document) -> Result<(Uuid, bool), Refusal> {
    let wrong = |code, text: &str, path: &str, hint: &str| {
        let issue = Issue::error(code, text).at(ElementPath::new(path)).hint(hint);
        Refusal::new(ErrorCode::BadRequest, issue)
    };
    let message = Message::of(document).map_err(|error| {
        wrong(IssueType::Invariant, &error.to_string(), error.path(), "send a Bundle of type message")
    })?;
    let id = Uuid::try_parse(&message.id());
    let id = id.map_err(|_| {
        wrong(IssueType::Value, "Bundle.id is not a UUID", "Bundle.id", "give each message its own UUID")
    })?;
    let (event, place) = (message.event(), "Bundle.entry[0].resource.eventCoding.code");
    let hint = "send servicerequest-response messages here";
    if event == inbound::REQUEST && inbound::is_open(side) {
        return Ok((id, true));
    }
    if OTHERS.contains(&event.as_str()) {
        return Err(wrong(IssueType::NotSupported, "messages of this event are not taken here", place, hint));
    }
    if event != RESPONSE {
        return Err(wrong(IssueType::Invariant, "the event is none of BaRS", place, hint));
    }
    let (place, hint) = ("Bundle.entry[0].resource.response", "name the Bundle that is answered, and how it went");
    if message.answers().is_none() {
        return Err(wrong(IssueType::Invariant, "MessageHeader.response.identifier is missing", place, hint));
    }
    if message.response_code().is_none() {
        return Err(wrong(IssueType::Value, "MessageHeader.response.code is not one of response-code", place, hint));
    }
    Ok((id, false))
}

/// The message is for our organisation, as far as it says for whom it is.
fn to_us(side: &Side, entries: &Entries<'_>) -> Result<(), Refusal> {
    let ours = side.service.gateway.stages().provider.ods.clone();
    let receivers = entries.receivers();
    let is_ours = |receiver: &Option<String>| receiver.as_ref().is_none_or(|code| is_of(&ours, code));
    if receivers.is_empty() || receivers.iter().any(is_ours) {
        return Ok(());
    }
    let issue = Issue::error(IssueType::Processing, "MessageHeader.destination names other organisations alone");
    let issue = issue.at(ElementPath::new("Bundle.entry[0].resource.destination"));
    Err(Refusal::new(ErrorCode::UnprocessableEntity, issue.hint("send it to the organisation that it is for")))
}

/// What became of the answer, for the lanes and for the partner.
fn settle(side: &Side, taken: Taken) -> Result<(), Refusal> {
    let refuse = |code, issue: Issue| Err(Refusal::new(code, issue));
    match taken {
        Taken::Stored { recipient, state, accepted_at } => {
            side.service.wake(&recipient);
            if state == MessageState::Acknowledged {
                let after = Duration::try_from(clock::now() - accepted_at).unwrap_or_default();
                side.service.metrics.acknowledged(after);
            }
            Ok(())
        }
        Taken::Settled => Ok(()),
        Taken::Repeated => {
            refuse(ErrorCode::Conflict, Issue::error(IssueType::Duplicate, "the response has already been processed"))
        }
        Taken::Conflict => {
            let issue = Issue::error(IssueType::Conflict, "another response has been processed under this id");
            refuse(ErrorCode::Conflict, issue.at(ElementPath::new("Bundle.id")).hint("give each message its own id"))
        }
        Taken::Later => {
            let issue = Issue::error(IssueType::Transient, "the message that is answered is being sent at this moment");
            refuse(ErrorCode::TooEarly, issue.hint("send the response again in a second"))
        }
        Taken::NotYet => {
            let text = "what messages of an earlier version are called is still being read: this may be of one of them";
            refuse(
                ErrorCode::Unavailable,
                Issue::error(IssueType::Transient, text).hint("send the same again in a minute"),
            )
        }
        Taken::Contradicts => {
            let text =
                "the handover was decided before, and this contradicts it: nothing was changed, and people were told";
            let issue = Issue::error(IssueType::Conflict, text);
            refuse(ErrorCode::Conflict, issue.hint("call the team that sent it; a new decision needs a new message"))
        }
        Taken::NotOurs(NotOurs::Unnamed) => {
            let text = "an acceptance names who takes responsibility, and this one names nobody";
            let issue = Issue::error(IssueType::Required, text).at(ElementPath::new("Task.owner"));
            let hint = "give Task.owner a display or an identifier, or refer to a resource of the message with a name";
            refuse(ErrorCode::UnprocessableEntity, issue.hint(hint))
        }
        Taken::NotOurs(NotOurs::NoAnswer) => {
            refuse(ErrorCode::BadRequest, Issue::error(IssueType::Invariant, "the message is no response"))
        }
        // Not there and not theirs look alike.
        Taken::NotOurs(NotOurs::Unknown | NotOurs::OfAnother) => {
            let text = "MessageHeader.response.identifier names no message that was sent to you";
            let place = ElementPath::new("Bundle.entry[0].resource.response.identifier");
            let issue = Issue::error(IssueType::NotFound, text).at(place);
            refuse(ErrorCode::NotFound, issue.hint("name the Bundle.id of the message that is answered"))
        }
    }
}

fn unavailable(error: &storage::Error) -> Refusal {
    warn!(%error, "a partner's response could not be stored");
    let issue = Issue::error(IssueType::Transient, "the response cannot be stored now");
    let code = if error.is_transient() { ErrorCode::Unavailable } else { ErrorCode::ServerError };
    Refusal::new(code, issue.hint("send the same response again"))
}

/// That the message is on disk since then: the same words each time.
fn acknowledged(side: &Side, partner: &PartyId, headers: &HeaderMap, (id, kept_at): (Uuid, Instant)) -> Response {
    let provider = &side.service.gateway.stages().provider.ods.clone();
    let response = message::Response {
        id: Uuid::new_v5(&id, b"acknowledgement"),
        timestamp: kept_at,
        answers: &id.to_string(),
        code: ResponseCode::Ok,
        event: RESPONSE,
        receiver: provider.as_str(),
        sender: partner.as_str(),
    };
    answer(headers, StatusCode::OK, response_bundle(&response))
}

async fn metadata(State(side): State<Arc<Side>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    if let Err(refusal) = known(&side, &peer.party).and_then(|()| exchange::may_answer(&headers)) {
        return refusal.answer(&headers);
    }
    let stages = side.service.gateway.stages();
    let (receives, description) = match inbound::is_open(&side) {
        true => (
            &[capability::RESPONSE_DEFINITION, capability::REFERRAL_DEFINITION][..],
            "A gateway that sends referrals, and takes referrals and the responses to those it sent",
        ),
        false => {
            (&[capability::RESPONSE_DEFINITION][..], "A gateway that sends referrals and takes the responses to them")
        }
    };
    let said = Capability {
        name: "Weir",
        version: env!("CARGO_PKG_VERSION"),
        description,
        base: &side.terms.base,
        receives,
        sends: &[capability::REFERRAL_DEFINITION],
        signing_key: Some(stages.provider.published_key()),
        updates_tasks: true,
    };
    answer(&headers, StatusCode::OK, said.to_json(clock::now()))
}

/// The newest signed head of the audit log (C2SP tlog-tiles), with what witnesses cosigned of it.
async fn checkpoint(state: State<Arc<Side>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    head(&state, &peer, &headers, Newest::Signed).await
}

/// The newest head of the audit log that a witness cosigned.
async fn cosigned_checkpoint(
    state: State<Arc<Side>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    head(&state, &peer, &headers, Newest::Cosigned).await
}

async fn head(side: &Side, peer: &Peer, headers: &HeaderMap, newest: Newest) -> Response {
    if let Err(refusal) = known(side, &peer.party) {
        return refusal.answer(headers);
    }
    match cosignature::head(side.service.gateway.store(), newest).await {
        Ok(Some((_, note))) => {
            let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
            (StatusCode::OK, kind, note).into_response()
        }
        Ok(None) if newest == Newest::Cosigned => no_tile("no witness cosigned a head of the log yet").answer(headers),
        Ok(None) => no_tile("no head of the log was signed yet").answer(headers),
        Err(error) => log_unread(&error).answer(headers),
    }
}

/// A part of the audit log's tree, as far as the newest signed head covers it: hashes alone (C2SP tlog-tiles).
async fn tile(
    State(side): State<Arc<Side>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = known(&side, &peer.party) {
        return refusal.answer(&headers);
    }
    let Some(tile) = path.ok().and_then(|Path(path)| Tile::read(&path)) else {
        return no_tile("this is no name of a tile").answer(&headers);
    };
    let store = side.service.gateway.store();
    let bytes = async {
        let size = store.last_checkpoint().await?.map_or(0, |head| head.size);
        tile.bytes(store, size).await
    };
    match bytes.await {
        Ok(Some(bytes)) => {
            let lasting = if tile.is_full() { "max-age=31536000, immutable" } else { "max-age=3600" };
            let kind = [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, lasting)];
            (StatusCode::OK, kind, bytes).into_response()
        }
        Ok(None) => no_tile("the newest signed head does not cover this tile").answer(&headers),
        Err(error) => log_unread(&error).answer(&headers),
    }
}

fn no_tile(text: &str) -> Refusal {
    let issue = Issue::error(IssueType::NotFound, text);
    Refusal::new(ErrorCode::NotFound, issue.hint("ask for /tlog/checkpoint, then for tiles up to its size"))
}

fn log_unread(error: &storage::Error) -> Refusal {
    warn!(%error, "the audit log could not be read for a partner");
    let code = if error.is_transient() { ErrorCode::Unavailable } else { ErrorCode::ServerError };
    Refusal::new(code, Issue::error(IssueType::Transient, "the log cannot be read now").hint("ask again later"))
}

/// What is taken here: responses to referrals, and referrals where an interface takes them.
async fn message_definition(
    State(side): State<Arc<Side>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = known(&side, &peer.party).and_then(|()| exchange::may_answer(&headers)) {
        return refusal.answer(&headers);
    }
    let response = Definition::response(&side.terms.service_id, &side.service.gateway.stages().use_cases(&peer.party));
    let referral = inbound::is_open(&side).then(|| Definition::inbound_referral(&side.terms.service_id));
    let definitions: Vec<Definition> = std::iter::once(response).chain(referral).collect();
    let found = exchange::definitions(&headers, (&side.terms.base, &uri), &definitions, clock::now());
    found.unwrap_or_else(|refusal| refusal.answer(&headers))
}
