//! HL7 v2 messages, over MLLP or HTTP: each is answered with an ACK.
//!
//! Enters: the bytes of one message, and who sent them. Leaves: the ACK, in enhanced mode those that MSH-15 and MSH-16 ask for; none when it
//! cannot be taken now, so that the sender repeats it. Invariant: AA and CA mean that the message is on disk,
//! and the same message again (its principal, MSH-3, MSH-4 and MSH-10) is answered with AA and not sent again, also after
//! its sender's certificate was renewed. What is only tried never gets AA or CA.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant as Stopwatch;

use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use tracing::{Instrument as _, field, info_span};

use super::access::{look, permit};
use super::listener::Peer;
use super::ration::Account;
use super::records::{later, no_store, outcome, read, take, unambiguous};
use super::{Service, clock};
use crate::acknowledgement::hl7v2::{Acknowledgement, Code, Condition, Trouble, unknown_acknowledgement_type};
use crate::fhir::outcome::{Issue, IssueType};
use crate::identity::digest::{hex, sha_256};
use crate::identity::principal::Action;
use crate::identity::{InterfaceName, PrincipalId};
use crate::intake::hl7v2::{Head, Location, MEDIA_TYPES};
use crate::intake::{Model, Submission};
use crate::pipeline;
use crate::refusal::Retry;

/// The application that ACKs come from when a message does not say whom it is for.
const APPLICATION: &str = "WEIR";

/// Versions of HL7 v2 that are taken: those whose segments are read alike.
const VERSIONS: [&str; 11] = ["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2"];

/// What a dry run found, in a header of its answer.
const DRY_RUN: HeaderName = HeaderName::from_static("weir-dry-run");

/// The longest MSH-10 (HL7 v2.7 and later; 20 before).
const LONGEST_ID: usize = 199;

/// How the messages of a site are taken.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// By code and event (`ADT`, `A01`): the interface, and how its records are read.
    pub interfaces: BTreeMap<(String, String), (InterfaceName, Arc<Model>)>,
    /// MSH-11 that is taken: `P` for production.
    pub processing_ids: Vec<String>,
}

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is sent.
    Send,
    /// It is taken through all stages, and nothing of it is kept.
    Try,
}

/// What a message is answered with.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: Code,
    /// The ACKs, in the order in which they are sent; none where the message asks for none.
    pub(super) messages: Vec<String>,
    /// Whether nothing is wrong with the message.
    is_good: bool,
}

impl Answer {
    fn of(acknowledgement: &Acknowledgement, head: Option<&Head>, service: &Service, bytes: &[u8]) -> Answer {
        let facility = service.gateway.stages().provider.ods.clone();
        // The same message is answered under the same ids.
        let id = |of: &[u8]| hex(&sha_256(&[of, bytes].concat())[..10]);
        let (own, commit) = (id(b"acknowledgement "), id(b"accept acknowledgement "));
        let messages = acknowledgement.messages(head, (APPLICATION, facility.as_str()), [&own, &commit], clock::now());
        Answer { code: acknowledgement.code, messages, is_good: acknowledgement.is_good() }
    }
}

impl IntoResponse for Answer {
    /// As HL7 over HTTP answers: the ACKs one behind the other.
    fn into_response(self) -> Response {
        let status = match self.code {
            Code::Accept if self.messages.is_empty() => StatusCode::NO_CONTENT,
            Code::Accept => StatusCode::OK,
            Code::Error => StatusCode::INTERNAL_SERVER_ERROR,
            Code::Reject => StatusCode::BAD_REQUEST,
        };
        if self.messages.is_empty() {
            return (status, no_store()).into_response();
        }
        let media = [(CONTENT_TYPE, "application/hl7-v2; charset=utf-8")];
        (status, media, no_store(), self.messages.concat()).into_response()
    }
}

/// The answer to a message that was too long to be read: an AR.
pub(super) fn cut_off(service: &Service, beginning: &[u8], text: &str) -> Answer {
    let hint = "send less in one message, or ask the operator to raise the limit";
    let rejected = Acknowledgement::reject(Trouble::new(Condition::Application, text, hint));
    Answer::of(&rejected, Head::read(beginning).as_ref(), service, beginning)
}

/// Answers a message; `None` when it cannot be taken now, whatever it says. What the request took is kept until it is done,
/// whatever its sender does meanwhile.
pub(super) async fn answer(
    service: Arc<Service>,
    (peer, account): (Peer, Account),
    headers: HeaderMap,
    bytes: Vec<u8>,
    wish: Wish,
) -> Option<Answer> {
    let span = info_span!("hl7v2", principal = field::Empty);
    let beginning: Vec<u8> = bytes.iter().copied().take(64 << 10).collect();
    let answering = {
        let service = service.clone();
        async move {
            let head = Head::read(&bytes);
            let came = process(&service, (&peer, &account), &headers, (head.as_ref(), &bytes), wish).await;
            let answer = came.map(|came| Answer::of(&came, head.as_ref(), &service, &bytes));
            drop(account);
            answer
        }
    };
    match tokio::spawn(answering.instrument(span)).await {
        Ok(answer) => answer,
        Err(_) => Some(cut_off(&service, &beginning, "the gateway failed while it took the message")),
    }
}

/// What came of a message; `None` when it cannot be taken now.
async fn process(
    service: &Arc<Service>,
    (peer, account): (&Peer, &Account),
    headers: &HeaderMap,
    (head, bytes): (Option<&Head>, &[u8]),
    wish: Wish,
) -> Option<Acknowledgement> {
    let started = Stopwatch::now();
    let action = if wish == Wish::Send { Action::Submit } else { Action::Preview };
    let permitted = match wish {
        Wish::Send => permit(service, peer, headers, action, None).await,
        Wish::Try => look(service, peer, headers, action, None).await,
    };
    let by = match permitted {
        Ok(principal) => principal.id.clone(),
        // The audit log cannot be written.
        Err(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => return None,
        Err(_) => {
            let text = format!("the sender's certificate is not one that may {action}");
            let hint = "ask the gateway's operator: weir.toml lists who may do what";
            return Some(Acknowledgement::reject(Trouble::new(Condition::Application, text, hint)));
        }
    };
    let Some(head) = head else {
        let text = "the message does not begin with an MSH segment";
        let hint = "send ER7: MSH, five separators, fields";
        return Some(Acknowledgement::reject(Trouble::new(Condition::SegmentSequence, text, hint)));
    };
    let (interface, model) = match service.hl7v2.destination(head) {
        Ok(found) => found,
        Err(trouble) => return Some(Acknowledgement::reject(*trouble)),
    };
    if let Some(trouble) = unknown_acknowledgement_type(head) {
        return Some(Acknowledgement::reject(trouble));
    }
    let submission = Submission {
        sender: peer.party.clone(),
        by: Some(by.clone()),
        interface: interface.clone(),
        content_type: Some(MEDIA_TYPES[0].to_owned()),
        idempotency_key: Some(key(&by, head)),
        body: bytes.to_vec(),
        received_at: clock::now(),
    };
    // A separator costs more than another byte.
    let separators = bytes.iter().filter(|byte| byte.is_ascii_punctuation()).count();
    let working = account.work(bytes.len() + separators * 16).await;
    let came = match wish {
        Wish::Send => take(service, submission, started).await.map(|_| Acknowledgement::accept()),
        Wish::Try => {
            let tried = pipeline::dry_run(&service.gateway, submission, clock::now()).await;
            tried.map(|_| Acknowledgement::tried())
        }
    };
    drop(working);
    match came {
        Ok(came) => Some(came),
        Err(refusal) if refusal.retry() == Retry::Later => None,
        Err(refusal) => Some(Acknowledgement::of(&refusal, model)),
    }
}

impl Terms {
    /// The interface of a message, when its head is one that is taken.
    pub(super) fn destination(&self, head: &Head) -> Result<(&InterfaceName, &Arc<Model>), Box<Trouble>> {
        let wrong = |condition, field, text: &str, hint: String| {
            Err(Box::new(Trouble::new(condition, text, hint).at(Location::field("MSH", field))))
        };
        if head.control_id.is_empty() || head.control_id.chars().count() > LONGEST_ID {
            let text = "the message has no control id, or one of more than 199 letters";
            return wrong(Condition::RequiredField, 10, text, "give each message an id of its own".to_owned());
        }
        if !VERSIONS.contains(&head.version.as_str()) {
            let hint = format!("send one of {}", VERSIONS.join(", "));
            return wrong(Condition::VersionId, 12, "the version is not one that is taken", hint);
        }
        if !self.processing_ids.contains(&head.processing_id) {
            let hint = format!("send {}", self.processing_ids.join(" or "));
            return wrong(Condition::ProcessingId, 11, "the processing id is not one that is taken", hint);
        }
        if let Some((interface, model)) = self.interfaces.get(&(head.code.clone(), head.event.clone())) {
            return Ok((interface, model));
        }
        let known: Vec<String> = self.interfaces.keys().map(|(code, event)| format!("{code}^{event}")).collect();
        let hint =
            if known.is_empty() { "this gateway takes none".to_owned() } else { format!("send {}", known.join(", ")) };
        if self.interfaces.keys().any(|(code, _)| *code == head.code) {
            return wrong(Condition::EventCode, 9, "the event is not one that is taken", hint);
        }
        wrong(Condition::MessageType, 9, "the message type is not one that is taken", hint)
    }
}

/// The idempotency key of a message: who sends it, whatever certificate it has now, and the message's own id.
pub(super) fn key(by: &PrincipalId, head: &Head) -> String {
    let mut text = Vec::new();
    for part in [by.as_str(), &head.sending_application, &head.sending_facility, &head.control_id] {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    format!("hl7v2-{}", hex(&sha_256(&text)))
}

/// `POST /hl7v2`: one message, answered as HL7 over HTTP asks for; `?dry-run` keeps nothing of it.
pub(super) async fn post(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    Extension(account): Extension<Account>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(response) = unambiguous(&headers) {
        return *response;
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !is_er7(kind) {
        let issue = Issue::error(IssueType::NotSupported, "the message's media type is not application/hl7-v2");
        let issue = issue.hint("send the message as Content-Type: application/hl7-v2");
        return outcome(StatusCode::UNSUPPORTED_MEDIA_TYPE, &[issue]);
    }
    let wish = match query.as_deref().unwrap_or_default() {
        "" => Wish::Send,
        "dry-run" | "dry-run=" | "dry-run=true" => Wish::Try,
        _ => {
            let issue = Issue::error(IssueType::NotSupported, "the query has a parameter other than dry-run");
            return outcome(StatusCode::BAD_REQUEST, &[issue.hint("write ?dry-run, or no query")]);
        }
    };
    let bytes = match read(&service, body).await {
        Ok(bytes) => bytes,
        Err(response) => return *response,
    };
    match answer(service, (peer, account), headers, bytes, wish).await {
        Some(answer) if wish == Wish::Try => {
            let would_be = if answer.is_good { "would-be-accepted" } else { "would-be-refused" };
            ([(DRY_RUN, would_be)], answer).into_response()
        }
        Some(answer) => answer.into_response(),
        None => not_now(),
    }
}

/// 503 without an ACK: an AR would be final to many senders.
fn not_now() -> Response {
    let issue = Issue::error(IssueType::Transient, "the message cannot be taken now; nothing was accepted");
    later(outcome(StatusCode::SERVICE_UNAVAILABLE, &[issue.hint("send the same message again in a few seconds")]), 5)
}

/// Whether a `Content-Type` is one of ER7.
pub(super) fn is_er7(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    MEDIA_TYPES.iter().any(|known| essence.eq_ignore_ascii_case(known))
}
