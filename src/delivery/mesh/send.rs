//! One message into our outbox: whole, or in chunks when it is large.
//!
//! MESH takes what it is sent as often as it is sent, so before a message is sent again MESH is asked whether an earlier
//! attempt arrived: by the id that MESH gave it, if its first chunk was answered, else by our message id, its local id. A
//! copy that was dealt with, by an answer or a report, is not meant by it: the message is to be sent anew then. Nothing
//! personal stands in a header.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::time::Instant;

use super::chunks::split;
use super::client::{Ask, Mesh};
use crate::delivery::reply::retry_after;
use crate::delivery::{AttemptError, Dispatch};
use crate::fhir::bars;
use crate::identity::MessageId;

/// What MESH did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handed {
    /// It took it, and will hold it for its recipient.
    Taken {
        /// What MESH calls it.
        id: String,
        /// It had taken it already: an earlier attempt arrived, whose answer was lost.
        before: bool,
    },
    /// Not now.
    Later {
        /// The HTTP status.
        status: u16,
        /// How long it asks us to wait.
        after: Option<Duration>,
    },
    /// It does not take it as it is.
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its own code: `12` for an address that is not registered.
        code: Option<String>,
    },
    /// So many mailboxes are registered for the recipient and the workflow; one is needed.
    Mailboxes(usize),
    /// An answer that cannot be read.
    Unreadable,
}

/// The time until which an attempt may go on.
#[derive(Clone, Copy)]
pub(super) struct Until(Instant);

impl Until {
    pub(super) fn within(limit: Duration) -> Until {
        Until(Instant::now() + limit)
    }

    pub(super) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// A recipient's mailbox, and how messages go to it.
pub(super) struct Envelope<'a> {
    pub(super) to: &'a str,
    pub(super) workflow: &'a str,
    pub(super) chunk_bytes: usize,
}

/// Sends the message.
///
/// # Errors
/// [`AttemptError`], which says whether the message may have arrived.
pub(super) async fn send(
    (mesh, begun): (&Mesh, &Begun),
    envelope: &Envelope<'_>,
    dispatch: &Dispatch,
    until: Until,
) -> Result<Handed, AttemptError> {
    let local_id = dispatch.message.to_string();
    if dispatch.is_resend {
        let before = taken_before(mesh, (begun.of(dispatch.message).as_deref(), &local_id), until).await?;
        if let Some(id) = before.filter(|id| !dispatch.carried_as.contains(id)) {
            begun.ended(dispatch.message);
            return Ok(Handed::Taken { id, before: true });
        }
    }
    let (bundle, most) = (dispatch.bundle.clone(), envelope.chunk_bytes);
    // Compression takes a while when there is much of it.
    let chunks = tokio::task::spawn_blocking(move || split(&bundle, most)).await;
    let Ok(chunks) = chunks else { return Ok(Handed::Unreadable) };
    let mut id = None;
    for (number, chunk) in (1..).zip(&chunks) {
        let path = id.as_ref().map_or("/outbox".to_owned(), |id| format!("/outbox/{id}/{number}"));
        let headers = headers(envelope, &local_id, (number, chunks.len()));
        let ask = Ask { method: Method::POST, path: &path, headers, body: chunk.clone() };
        let answer = mesh.ask(ask, until.left()).await?;
        match judge(&answer) {
            Handed::Taken { id: given, .. } if id.is_none() => {
                begun.began(dispatch.message, &given);
                id = Some(given);
            }
            Handed::Unreadable if id.is_some() && answer.status().is_success() => {}
            Handed::Taken { .. } => {}
            other => return Ok(other),
        }
    }
    begun.ended(dispatch.message);
    Ok(id.map_or(Handed::Unreadable, |id| Handed::Taken { id, before: false }))
}

fn headers(envelope: &Envelope<'_>, local_id: &str, (number, chunks): (usize, usize)) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).expect("checked names and numbers are visible ASCII");
        headers.insert(HeaderName::from_static(name), value);
    };
    put("mex-to", envelope.to);
    put("mex-workflowid", envelope.workflow);
    put("mex-localid", local_id);
    put("mex-filename", &format!("{local_id}.json"));
    if chunks > 1 {
        put("mex-chunk-range", &format!("{number}:{chunks}"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(bars::MEDIA_TYPE));
    headers
}

/// What MESH answers to a message or a chunk.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    message_id: Option<String>,
    detail: serde_json::Value,
}

fn judge(answer: &Response<Bytes>) -> Handed {
    let status = answer.status();
    let said: Answer = serde_json::from_slice(answer.body()).unwrap_or_default();
    if status.is_success() {
        let id = said.message_id.filter(|id| is_id(id));
        return id.map_or(Handed::Unreadable, |id| Handed::Taken { id, before: false });
    }
    match status.as_u16() {
        // Wrong credentials are ours to put right; the message waits until they are.
        status @ (401 | 403 | 404 | 408 | 423 | 425 | 429 | 500..) => {
            Handed::Later { status, after: retry_after(answer.headers()) }
        }
        status => Handed::Refused { status, code: code(&said.detail) },
    }
}

/// The first code of an error's detail, if it looks like one.
fn code(detail: &serde_json::Value) -> Option<String> {
    let first = detail.get(0).unwrap_or(detail);
    let code = first.get("code").or_else(|| first.get("errorCode"))?.as_str()?;
    (code.len() <= 4 && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| code.to_owned())
}

/// Whether it can stand in a path.
pub(super) fn is_id(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// What MESH calls the messages whose sending was begun and not seen to its end.
#[derive(Debug, Default)]
pub(super) struct Begun(Mutex<HashMap<MessageId, String>>);

/// More than are ever under way; beyond it, the local id must do.
const MOST_BEGUN: usize = 10_000;

impl Begun {
    fn known(&self) -> MutexGuard<'_, HashMap<MessageId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, message: MessageId) -> Option<String> {
        self.known().get(&message).cloned()
    }

    fn began(&self, message: MessageId, id: &str) {
        let mut known = self.known();
        if known.len() < MOST_BEGUN {
            known.insert(message, id.to_owned());
        }
    }

    fn ended(&self, message: MessageId) {
        self.known().remove(&message);
    }
}

/// What tracking says: by MESH's id in version 2, by local id in version 1 alone.
#[derive(Deserialize)]
struct Tracked {
    #[serde(alias = "messageId")]
    message_id: String,
    #[serde(default)]
    status: String,
}

/// The id of the message that an earlier attempt left with MESH, all of it. What MESH does not say is not guessed: the
/// message is sent again then.
async fn taken_before(
    mesh: &Mesh,
    (id, local_id): (Option<&str>, &str),
    until: Until,
) -> Result<Option<String>, AttemptError> {
    let path = match id {
        Some(id) => format!("/outbox/tracking?messageID={id}"),
        None => format!("/outbox/tracking/{local_id}"),
    };
    let answer = mesh.ask(Ask::new(Method::GET, &path), until.left()).await?;
    Ok(if answer.status() == StatusCode::OK { whole(answer.body()) } else { None })
}

/// The id of a message that MESH has, all of it.
fn whole(answer: &[u8]) -> Option<String> {
    let tracked: Tracked = serde_json::from_slice(answer).ok()?;
    let is_whole = matches!(&*tracked.status.to_ascii_lowercase(), "accepted" | "acknowledged");
    (is_whole && is_id(&tracked.message_id)).then_some(tracked.message_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &'static str) -> Handed {
        let answer = Response::builder().status(status).header("retry-after", "7");
        judge(&answer.body(Bytes::from_static(body.as_bytes())).expect("an answer"))
    }

    #[test]
    fn an_answer_says_whether_mesh_has_the_message() {
        let id = "20220228174323222_ABCDEF".to_owned();
        let taken = Handed::Taken { id, before: false };
        assert_eq!(judged(202, r#"{"message_id": "20220228174323222_ABCDEF"}"#), taken);
        for strange in ["", "{}", r#"{"message_id": "../inbox"}"#, r#"{"message_id": ""}"#, "[]"] {
            assert_eq!(judged(202, strange), Handed::Unreadable, "{strange}");
        }
        for status in [403, 429, 500, 503] {
            let later = Handed::Later { status, after: Some(Duration::from_secs(7)) };
            assert_eq!(judged(status, ""), later, "{status}");
        }
        let unregistered = r#"{"message_id": null, "detail": [{"event": "SEND", "code": "12", "msg": "x"}]}"#;
        assert_eq!(judged(417, unregistered), Handed::Refused { status: 417, code: Some("12".to_owned()) });
        let old = r#"{"detail": {"errorEvent": "TRANSFER", "errorCode": "06"}}"#;
        assert_eq!(judged(400, old), Handed::Refused { status: 400, code: Some("06".to_owned()) });
        let odd = r#"{"detail": [{"code": "999 000 1234"}]}"#;
        assert_eq!(judged(400, odd), Handed::Refused { status: 400, code: None }, "nothing of a record is taken over");
    }

    #[test]
    fn headers_name_the_message_and_its_chunks() {
        let envelope = Envelope { to: "X26ABC2", workflow: "W", chunk_bytes: 10 };
        let whole = headers(&envelope, "0f0e0d0c-0b0a-4908-8706-050403020100", (1, 1));
        assert_eq!(whole["mex-localid"], "0f0e0d0c-0b0a-4908-8706-050403020100");
        assert_eq!((&whole["mex-to"], &whole["mex-workflowid"]), (&"X26ABC2".parse().unwrap(), &"W".parse().unwrap()));
        assert!(!whole.contains_key("mex-chunk-range") && !whole.contains_key("content-encoding"));
        let second = headers(&envelope, "a", (2, 3));
        assert_eq!(
            (&second["mex-chunk-range"], &second["content-encoding"]),
            (&"2:3".parse().unwrap(), &"gzip".parse().unwrap())
        );
    }

    #[test]
    fn tracking_says_whether_mesh_has_all_of_a_message() {
        let id = Some("20210311101813838554_1B8F53".to_owned());
        let two =
            br#"{"message_id":"20210311101813838554_1B8F53","local_id":"a","status":"accepted","status_success":true}"#;
        let one = br#"{"messageId":"20210311101813838554_1B8F53","status":"Acknowledged","statusSuccess":null}"#;
        assert_eq!((whole(two), whole(one)), (id.clone(), id));
        for other in
            ["", "{}", r#"{"message_id":"a","status":"uploading"}"#, r#"{"message_id":"../a","status":"accepted"}"#]
        {
            assert_eq!(whole(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn what_was_begun_is_known_by_the_id_that_mesh_gave() {
        let (begun, message) = (Begun::default(), "0f0e0d0c-0b0a-4908-8706-050403020100".parse().expect("an id"));
        begun.began(message, "20210311101813838554_1B8F53");
        assert_eq!(begun.of(message).as_deref(), Some("20210311101813838554_1B8F53"));
        begun.ended(message);
        assert_eq!(begun.of(message), None);
    }
}
