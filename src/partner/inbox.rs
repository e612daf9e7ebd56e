//! Where the reference receiver keeps what arrived: `received/<Bundle id>.json`, and `arrivals.jsonl`.
//!
//! Invariant: a message is in `received/` under its id, whole and synced to disk, before [`Inbox::keep`] returns; a
//! file there never changes. Files are readable by their owner only.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::storage::files::{Readers, write_durably};

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was kept.
    Accepted,
    /// It was there already, with the same bytes.
    Duplicate,
    /// Another message was there under its id.
    Conflict,
    /// The same message is being kept at this moment, on another request.
    TooEarly,
    /// Told to be unavailable.
    Unavailable,
    /// Told to refuse it.
    Rejected,
    /// Not a message that can be taken.
    Refused,
}

/// One line of `arrivals.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// `Bundle.id`; before the body is read, `X-Request-Id`; empty when neither is known.
    pub id: String,
    /// `X-Request-Id`, as sent.
    pub request: String,
    /// The ODS code of the sender, by its certificate.
    pub sender: String,
    /// When it arrived, as a FHIR instant.
    pub at: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Every header, as sent.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// The folder of a receiver.
#[derive(Debug)]
pub(super) struct Inbox {
    received: PathBuf,
    arrivals: Mutex<File>,
    /// What is being written at this moment.
    busy: Mutex<HashSet<Uuid>>,
}

impl Inbox {
    /// Opens the inbox in `directory`, and makes it if it is not there.
    pub(super) fn open(directory: &Path) -> io::Result<Inbox> {
        let received = directory.join("received");
        fs::create_dir_all(&received)?;
        only_for_its_owner(&received, 0o700)?;
        let arrivals = OpenOptions::new().create(true).append(true).open(directory.join("arrivals.jsonl"))?;
        File::open(directory)?.sync_all()?;
        Ok(Inbox { received, arrivals: Mutex::new(arrivals), busy: Mutex::default() })
    }

    /// Keeps `bundle` under `id`, unless there is one.
    pub(super) fn keep(&self, id: Uuid, bundle: &[u8]) -> io::Result<Outcome> {
        if !self.busy().insert(id) {
            return Ok(Outcome::TooEarly);
        }
        let outcome = self.keep_alone(id, bundle);
        self.busy().remove(&id);
        outcome
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_alone(&self, id: Uuid, bundle: &[u8]) -> io::Result<Outcome> {
        let path = self.received.join(format!("{id}.json"));
        match fs::read(&path) {
            Ok(known) if known == bundle => return Ok(Outcome::Duplicate),
            Ok(_) => return Ok(Outcome::Conflict),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        write_durably(&path, bundle, Readers::OwnerOnly)?;
        Ok(Outcome::Accepted)
    }

    /// Notes an arrival.
    pub(super) fn note(&self, arrival: &Arrival) -> io::Result<()> {
        let mut line = serde_json::to_vec(arrival)?;
        line.push(b'\n');
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

#[cfg(unix)]
fn only_for_its_owner(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn only_for_its_owner(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_id_is_one_message_also_after_a_restart() {
        let directory = tempfile::tempdir().expect("a folder");
        let id = Uuid::from_u128(1);
        let inbox = Inbox::open(directory.path()).expect("an inbox");
        assert_eq!(inbox.keep(id, b"{}").expect("kept"), Outcome::Accepted);
        let inbox = Inbox::open(directory.path()).expect("an inbox");
        assert_eq!(inbox.keep(id, b"{}").expect("known"), Outcome::Duplicate);
        assert_eq!(inbox.keep(id, b"{ }").expect("known"), Outcome::Conflict);
        let files: Vec<_> = fs::read_dir(directory.path().join("received")).expect("a folder").collect();
        assert_eq!(files.len(), 1);
        assert_eq!(fs::read(directory.path().join(format!("received/{id}.json"))).expect("a file"), b"{}");
    }

    #[test]
    fn a_message_that_is_being_kept_is_too_early_to_ask_about() {
        let directory = tempfile::tempdir().expect("a folder");
        let inbox = Inbox::open(directory.path()).expect("an inbox");
        inbox.busy().insert(Uuid::nil());
        assert_eq!(inbox.keep(Uuid::nil(), b"{}").expect("known"), Outcome::TooEarly);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a crash is what leaves such a file")]
    fn a_half_written_message_is_not_there() {
        let directory = tempfile::tempdir().expect("a folder");
        let inbox = Inbox::open(directory.path()).expect("an inbox");
        let id = Uuid::nil();
        fs::write(directory.path().join(format!("received/{id}.tmp")), b"{\"half").expect("it is written");
        assert_eq!(inbox.keep(id, b"{}").expect("kept"), Outcome::Accepted);
    }
}
