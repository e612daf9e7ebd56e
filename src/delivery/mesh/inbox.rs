//! Our inbox: what waits in it, what a message says on its outside, what is in it, and that we have it.
//!
//! Invariant: nothing here acknowledges by itself. A message stays with MESH until whoever asked for it says that what it
//! means is on disk. Everything is bounded: pages, chunks, and bytes before and after compression.

use std::fmt;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;

use super::chunks::expanded;
use super::client::{Ask, LIMIT, Mesh};
use super::send::is_id;
use crate::delivery::AttemptError;

/// The most bytes of an answer to a message of ours, compressed or not.
const MOST: usize = 16 << 20;
/// The most chunks of one.
const MOST_CHUNKS: u32 = 1000;
/// The most pages of an inbox that are read in one round.
const MOST_PAGES: usize = 200;

/// Why our inbox could not be used.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// No answer.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// An answer that says no.
    #[error("MESH answers {0}")]
    Status(u16),
    /// It does not know one mailbox of the partner, from which an answer would come.
    #[error("MESH knows {0} mailboxes of the partner for the workflow, and one is needed")]
    Mailboxes(usize),
    /// An answer that is not what the specification says.
    #[error("MESH gives an answer that cannot be read")]
    Unreadable,
    /// More than an answer to a message of ours may have.
    #[error("the message is larger than an answer may be ({MOST} bytes)")]
    TooLarge,
}

impl InboxError {
    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            InboxError::Attempt(error) => error.hint(),
            InboxError::Status(403) => {
                "check mailbox, password_file, shared_key_file and certificate of [mesh], and this machine's clock"
            }
            InboxError::Mailboxes(_) => "ask the partner to register one mailbox for the workflow, or write it as `to`",
            InboxError::Status(_) | InboxError::Unreadable => "ask MESH's service desk if it stays so",
            InboxError::TooLarge => "ask the partner what it sends over this workflow",
        }
    }
}

/// What a message in our inbox is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Another mailbox sent it.
    Data,
    /// MESH says that a message of ours did not arrive.
    Report {
        /// What MESH called that message.
        about: Option<String>,
        /// Why, as MESH's code: `14` for one that nobody collected.
        code: Option<String>,
    },
}

/// What stands on the outside of a message in our inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// What it is.
    pub kind: Kind,
    /// The mailbox that sent it.
    pub from: String,
    /// Its workflow.
    pub workflow: String,
    /// What its sender calls it; of a report, what we called the message it is about.
    pub local_id: Option<String>,
}

/// A message of our inbox. Its body does not print.
pub struct Collected {
    /// What stands on its outside.
    pub outside: Outside,
    /// What is in it, expanded.
    pub body: Vec<u8>,
}

impl fmt::Debug for Collected {
    /// Never the body: it may hold personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collected({:?}, {} bytes)", self.outside, self.body.len())
    }
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<String>,
    #[serde(default)]
    links: Links,
}

#[derive(Default, Deserialize)]
struct Links {
    next: Option<String>,
}

/// The ids of all messages that wait, asked for so many at a time.
pub(super) async fn list(mesh: &Mesh, page: u32) -> Result<Vec<String>, InboxError> {
    let (mut waiting, mut path) = (Vec::new(), format!("/inbox?max_results={page}"));
    for _ in 0..MOST_PAGES {
        let answer = succeeded(mesh.ask(Ask::new(Method::GET, &path), LIMIT).await?)?;
        let page: Page = serde_json::from_slice(answer.body()).map_err(|_| InboxError::Unreadable)?;
        waiting.extend(page.messages.into_iter().filter(|id| is_id(id)));
        let Some(next) = page.links.next.as_deref().and_then(query) else { break };
        path = format!("/inbox?{next}");
    }
    Ok(waiting)
}

/// The query of a link, if it can stand in a request.
fn query(link: &str) -> Option<&str> {
    let (_, query) = link.split_once('?')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=&%_-.~+".contains(&byte);
    (query.len() <= 4096 && query.bytes().all(plain)).then_some(query)
}

/// What stands on the outside of a message; `None` when it is no longer there.
pub(super) async fn outside(mesh: &Mesh, id: &str) -> Result<Option<Outside>, InboxError> {
    let answer = mesh.ask(Ask::new(Method::HEAD, &format!("/inbox/{id}")), LIMIT).await?;
    if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Ok(None);
    }
    read(succeeded(answer)?.headers()).map(Some).ok_or(InboxError::Unreadable)
}

/// The message, all its chunks.
pub(super) async fn download(mesh: &Mesh, id: &str) -> Result<Collected, InboxError> {
    let first = fetch(mesh, &format!("/inbox/{id}")).await?;
    let outside = read(first.headers()).ok_or(InboxError::Unreadable)?;
    let chunks = chunks(&first)?;
    let mut body = Vec::new();
    append(&mut body, &first)?;
    for number in 2..=chunks {
        append(&mut body, &fetch(mesh, &format!("/inbox/{id}/{number}")).await?)?;
    }
    Ok(Collected { outside, body })
}

/// Says that we have it: MESH forgets it.
pub(super) async fn acknowledge(mesh: &Mesh, id: &str) -> Result<(), InboxError> {
    let path = format!("/inbox/{id}/status/acknowledged");
    succeeded(mesh.ask(Ask::new(Method::PUT, &path), LIMIT).await?).map(drop)
}

fn succeeded(answer: Response<Bytes>) -> Result<Response<Bytes>, InboxError> {
    if answer.status().is_success() { Ok(answer) } else { Err(InboxError::Status(answer.status().as_u16())) }
}

async fn fetch(mesh: &Mesh, path: &str) -> Result<Response<Bytes>, InboxError> {
    match mesh.ask_for(Ask::new(Method::GET, path), LIMIT, MOST).await {
        Err(AttemptError::TooLarge) => Err(InboxError::TooLarge),
        answer => succeeded(answer?),
    }
}

/// How many chunks there are. MESH says so by its range, and by 206 that there are more than one.
fn chunks(first: &Response<Bytes>) -> Result<u32, InboxError> {
    let range = first.headers().get("mex-chunk-range").and_then(|range| range.to_str().ok());
    let chunks = match range {
        None => 1,
        Some(range) => {
            let (_, chunks) = range.split_once(':').ok_or(InboxError::Unreadable)?;
            chunks.trim().parse().map_err(|_| InboxError::Unreadable)?
        }
    };
    match (chunks, first.status()) {
        (..=1, StatusCode::PARTIAL_CONTENT) => Err(InboxError::Unreadable),
        (MOST_CHUNKS.., _) => Err(InboxError::TooLarge),
        _ => Ok(chunks),
    }
}

fn append(body: &mut Vec<u8>, chunk: &Response<Bytes>) -> Result<(), InboxError> {
    let left = MOST - body.len();
    let is_gzip = chunk.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
    if is_gzip {
        body.extend(expanded(chunk.body(), left).ok_or(InboxError::TooLarge)?);
    } else if chunk.body().len() <= left {
        body.extend_from_slice(chunk.body());
    } else {
        return Err(InboxError::TooLarge);
    }
    Ok(())
}

fn read(headers: &HeaderMap) -> Option<Outside> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let short = |name: &str| text(name).filter(|text| is_id(text)).map(str::to_owned);
    let kind = match &*text("mex-messagetype")?.to_ascii_uppercase() {
        "DATA" => Kind::Data,
        "REPORT" => Kind::Report { about: short("mex-linkedmsgid"), code: short("mex-statuscode") },
        _ => return None,
    };
    Some(Outside {
        kind,
        from: text("mex-from").unwrap_or_default().to_ascii_uppercase(),
        workflow: text("mex-workflowid").unwrap_or_default().to_owned(),
        local_id: text("mex-localid").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_report_says_which_message_did_not_arrive_and_why() {
        let report = read(&headers(&[
            ("Mex-MessageType", "REPORT"),
            ("Mex-StatusEvent", "SEND"),
            ("Mex-LinkedMsgID", "20200529155357895317_3573F8"),
            ("Mex-WorkflowID", "CRISIS"),
            ("Mex-LocalID", "0f0e0d0c-0b0a-4908-8706-050403020100"),
            ("Mex-StatusCode", "14"),
            ("Mex-StatusSuccess", "ERROR"),
            ("Mex-StatusDescription", "Message not collected by recipient after 5 days"),
        ]));
        let report = report.expect("it is a report");
        let (about, code) = (Some("20200529155357895317_3573F8".to_owned()), Some("14".to_owned()));
        assert_eq!(report.kind, Kind::Report { about, code });
        assert_eq!(report.local_id.as_deref(), Some("0f0e0d0c-0b0a-4908-8706-050403020100"));
        assert_eq!((report.workflow.as_str(), report.from.as_str()), ("CRISIS", ""));
    }

    #[test]
    fn data_names_its_sender_and_anything_else_is_nothing() {
        let data = read(&headers(&[("mex-messagetype", "DATA"), ("mex-from", "x26abc2"), ("mex-workflowid", "W_ACK")]));
        let from = ("X26ABC2".to_owned(), "W_ACK".to_owned());
        let data = data.expect("it is data");
        assert_eq!((data.kind, (data.from, data.workflow), data.local_id), (Kind::Data, from, None));
        assert_eq!(read(&headers(&[("mex-from", "X26ABC2")])), None);
        assert_eq!(read(&headers(&[("mex-messagetype", "OTHER")])), None);
    }

    #[test]
    fn chunks_are_counted_within_bounds() {
        let count = |status: u16, range: Option<&str>| {
            let mut answer = Response::builder().status(status);
            if let Some(range) = range {
                answer = answer.header("mex-chunk-range", range);
            }
            chunks(&answer.body(Bytes::new()).expect("an answer")).ok()
        };
        assert_eq!((count(200, None), count(200, Some("1:1")), count(206, Some("1:3"))), (Some(1), Some(1), Some(3)));
        assert_eq!((count(206, None), count(200, Some("x")), count(206, Some("1:4000000000"))), (None, None, None));
    }

    #[test]
    fn a_link_to_the_next_page_is_followed_within_our_inbox_alone() {
        assert_eq!(
            query("/messageexchange/mb/inbox?max_results=10&continue_from=ey%3D"),
            Some("max_results=10&continue_from=ey%3D")
        );
        assert_eq!(query("/messageexchange/mb/inbox"), None);
        assert_eq!(query("/inbox?a=b#c d"), None);
    }
}
