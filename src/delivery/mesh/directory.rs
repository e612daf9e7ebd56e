//! The recipient's mailbox: the one of the partner file, or the one that MESH knows for its ODS code and the workflow.

use std::time::Duration;

use hyper::body::Bytes;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::Mesh;
use super::send::{Handed, Until, is_id};
use super::settings::Recipient;
use crate::delivery::AttemptError;
use crate::delivery::reply::retry_after;

/// How long what was looked up is used.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// Finds the mailbox that messages go to.
#[derive(Debug)]
pub(super) struct Directory {
    recipient: Recipient,
    workflow: String,
    found: Mutex<Option<(String, Instant)>>,
}

/// What a lookup answers.
#[derive(Deserialize)]
struct Found {
    results: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    mailbox_id: String,
}

impl Directory {
    pub(super) fn new(recipient: Recipient, workflow: String) -> Directory {
        Directory { recipient, workflow, found: Mutex::new(None) }
    }

    /// The mailbox, or why there is none: several are not chosen from.
    pub(super) async fn mailbox(&self, mesh: &Mesh, until: Until) -> Result<Result<String, Handed>, AttemptError> {
        let ods = match &self.recipient {
            Recipient::Mailbox(mailbox) => return Ok(Ok(mailbox.clone())),
            Recipient::Registered(ods) => ods,
        };
        let mut kept = self.found.lock().await;
        if let Some((mailbox, since)) = &*kept
            && since.elapsed() < KEEP
        {
            return Ok(Ok(mailbox.clone()));
        }
        let answer = mesh.look_up(ods, &self.workflow, until.left()).await?;
        if !answer.status().is_success() {
            let (status, after) = (answer.status().as_u16(), retry_after(answer.headers()));
            return Ok(Err(Handed::Later { status, after }));
        }
        let found = only(answer.body());
        if let Ok(mailbox) = &found {
            *kept = Some((mailbox.clone(), Instant::now()));
        }
        Ok(found)
    }
}

fn only(answer: &Bytes) -> Result<String, Handed> {
    let found: Found = serde_json::from_slice(answer).map_err(|_| Handed::Unreadable)?;
    let [entry] = &found.results[..] else { return Err(Handed::Mailboxes(found.results.len())) };
    if is_id(&entry.mailbox_id) { Ok(entry.mailbox_id.to_ascii_uppercase()) } else { Err(Handed::Unreadable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mailbox_is_found_and_none_is_guessed() {
        let found = |answer: &'static str| only(&Bytes::from_static(answer.as_bytes()));
        let one = r#"{"results": [{"mailbox_id": "x2612345", "mailbox_name": "a"}]}"#;
        assert_eq!(found(one), Ok("X2612345".to_owned()));
        assert_eq!(found(r#"{"results": []}"#), Err(Handed::Mailboxes(0)));
        assert_eq!(found(r#"{"results": [{"mailbox_id": "A"}, {"mailbox_id": "B"}]}"#), Err(Handed::Mailboxes(2)));
        assert_eq!(found(r#"{"results": [{"mailbox_id": "A B"}]}"#), Err(Handed::Unreadable));
        assert_eq!(found("no"), Err(Handed::Unreadable));
    }
}
