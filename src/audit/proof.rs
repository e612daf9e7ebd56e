//! A proof for one message: its events, with what shows that they are in the log whose head is signed.
//!
//! Whoever has the file and the log's public key needs nothing else: no site, no database, no network. It proves that each
//! event was in the log when the head was signed, and what it says. That there are no further events it cannot prove.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Checkpoint, VerifierKey};
use super::merkle::{self, Hash};
use super::tiles;
use crate::fhir::audit_event::RecordedEvent;
use crate::identity::MessageId;
use crate::storage::{self, Store};

/// The first version of the form.
const VERSION: u32 = 1;

/// What proves a message's events; JSON as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    /// The version of the form: 1.
    weir_audit_proof: u32,
    /// The message's id.
    message: String,
    /// The signed head of the log.
    checkpoint: String,
    /// Its events, the oldest first.
    events: Vec<Proved>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Proved {
    /// Which leaf of the log it is, from 0.
    index: u64,
    /// Its canonical bytes, in base64.
    entry: String,
    /// The inclusion proof (RFC 9162 section 2.1.3), each hash in base64.
    path: Vec<String>,
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The message.
    pub message: MessageId,
    /// The head that was signed.
    pub checkpoint: Checkpoint,
    /// The events, by their place in the log.
    pub events: Vec<(u64, RecordedEvent<'static>)>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] storage::Error),
    /// No head is signed yet that covers an event of the message.
    #[error("no signed head covers an event of message {0} yet: a running gateway signs one within seconds")]
    NotCovered(MessageId),
    /// The newest head does not hold.
    #[error("the newest signed head does not hold: {0}; run `weir audit verify`")]
    Checkpoint(checkpoint::Error),
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is not written as one.
    #[error("this is no proof that this version of weir writes: {0}")]
    Form(String),
    /// The head does not hold.
    #[error("the signed head does not hold: {0}")]
    Checkpoint(#[from] checkpoint::Error),
    /// It proves nothing.
    #[error("it lists no event")]
    Empty,
    /// An event is not in the log, or was changed.
    #[error("event {0} is not in the log that the head was signed for")]
    NotIncluded(u64),
    /// An event is no event.
    #[error("event {0} cannot be read")]
    Unreadable(u64),
    /// An event is about something else.
    #[error("event {0} is not about the message")]
    OfAnother(u64),
    /// The events do not stand in their order.
    #[error("event {0} stands behind a later one, or twice")]
    OutOfOrder(u64),
}

impl Proof {
    /// Makes the proof for a message, with how many of its events the newest head does not cover yet. `None` when there is no
    /// such message.
    ///
    /// # Errors
    /// [`Unproved`]
    pub async fn make(
        store: &dyn Store,
        key: &VerifierKey,
        message: MessageId,
    ) -> Result<Option<(Proof, usize)>, Unproved> {
        let all = store.events_of(message).await?;
        if all.is_empty() {
            return Ok(None);
        }
        let head = store.last_checkpoint().await?.ok_or(Unproved::NotCovered(message))?;
        let signed = key.verify(&head.note).map_err(Unproved::Checkpoint)?;
        let (covered, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|stored| stored.seq < signed.size);
        let mut events = Vec::with_capacity(covered.len());
        for stored in covered {
            let ranges = merkle::inclusion(stored.seq, signed.size).ok_or(Unproved::NotCovered(message))?;
            let path = tiles::roots(store, &ranges).await?;
            let path = path.iter().map(|hash| BASE64.encode(hash)).collect();
            events.push(Proved { index: stored.seq, entry: BASE64.encode(&stored.event.bytes), path });
        }
        if events.is_empty() {
            return Err(Unproved::NotCovered(message));
        }
        let checkpoint = String::from_utf8_lossy(&head.note).into_owned();
        let proof = Proof { weir_audit_proof: VERSION, message: message.to_string(), checkpoint, events };
        Ok(Some((proof, later.len())))
    }

    /// As JSON, to be kept or handed on.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("it has only strings, numbers and lists")
    }

    /// Reads what [`Proof::to_json`] wrote.
    ///
    /// # Errors
    /// [`Invalid::Form`]
    pub fn read(text: &[u8]) -> Result<Proof, Invalid> {
        let proof: Proof = serde_json::from_slice(text).map_err(|error| Invalid::Form(error.to_string()))?;
        match proof.weir_audit_proof {
            VERSION => Ok(proof),
            other => Err(Invalid::Form(format!("it has version {other}"))),
        }
    }

    /// Checks every part of the proof with the log's public key, and gives what it shows.
    ///
    /// # Errors
    /// [`Invalid`]
    pub fn check(&self, key: &VerifierKey) -> Result<Shown, Invalid> {
        let message = self.message.parse().map_err(|_| Invalid::Form("the message has no id".to_owned()))?;
        let checkpoint = key.verify(self.checkpoint.as_bytes())?;
        let (mut events, mut next) = (Vec::new(), 0);
        for Proved { index, entry, path } in &self.events {
            let index = *index;
            let entry = BASE64.decode(entry).map_err(|_| Invalid::Unreadable(index))?;
            let path: Option<Vec<Hash>> = path.iter().map(|hash| BASE64.decode(hash).ok()?.try_into().ok()).collect();
            let leaf = merkle::leaf(&entry);
            let place = (index, checkpoint.size);
            if !path.is_some_and(|path| merkle::includes(&leaf, place, &path, &checkpoint.root)) {
                return Err(Invalid::NotIncluded(index));
            }
            let said = RecordedEvent::read(&entry).ok_or(Invalid::Unreadable(index))?.into_owned();
            if said.message() != Some(message) {
                return Err(Invalid::OfAnother(index));
            }
            if index < next {
                return Err(Invalid::OutOfOrder(index));
            }
            next = index + 1;
            events.push((index, said));
        }
        if events.is_empty() { Err(Invalid::Empty) } else { Ok(Shown { message, checkpoint, events }) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::audit::checkpoint::SigningKey;
    use crate::audit::{Checkpointer, HashKey, Recorder, Step, Terms};
    use crate::storage::suite::{NOON, message};
    use crate::storage::{Accepted, Secret, SqliteStore, State};

    const NAME: &str = "weir.example/DEMOP";

    struct Log {
        _folder: tempfile::TempDir,
        store: Arc<dyn Store>,
        recorder: Recorder,
        checkpointer: Checkpointer,
        key: VerifierKey,
    }

    impl Log {
        async fn new() -> Log {
            let folder = tempfile::tempdir().expect("a folder");
            let store = SqliteStore::open(&folder.path().join("weir.db"), &Secret::generate()).expect("it opens");
            let store: Arc<dyn Store> = Arc::new(store);
            let key = SigningKey::generate(NAME).expect("the name is good");
            let public = key.verifier().clone();
            let checkpointer = Checkpointer::resume(Arc::clone(&store), key).await.expect("it begins");
            let recorder = Recorder::new("DEMOP".parse().expect("an ODS code"), NAME);
            Log { _folder: folder, store, recorder, checkpointer, key: public }
        }

        async fn accept(&self, number: u32) -> MessageId {
            let (new, hashes) = (message(number), HashKey::new(Secret::generate().bytes()));
            let terms = Terms {
                subject: None,
                purpose: "TREAT".to_owned(),
                agreement: new.agreement.clone(),
                version: "1".to_owned(),
                agreement_hash: [0; 32],
                sent: 1,
                withheld: 0,
                missing: 0,
                consent: None,
            };
            let (id, event) = (new.id, self.recorder.accepted(&new, None, &terms, &hashes.record(&new.digest)));
            assert_eq!(self.store.accept(new, vec![event]).await, Ok(Accepted::New));
            id
        }

        async fn step(&self, id: MessageId, to: State) {
            let record = self.store.message(id).await.expect("it is read").expect("it is there");
            let step = Step {
                record: &record,
                patient: None,
                to,
                at: NOON,
                attempts: 1,
                next_attempt_at: None,
                reason: "",
                note: "",
            };
            self.store.transition(self.recorder.transition(step)).await.expect("it is written");
        }

        async fn made(&self, id: MessageId) -> (Proof, usize) {
            Proof::make(&*self.store, &self.key, id).await.expect("it can be made").expect("the message is there")
        }
    }

    #[tokio::test]
    async fn a_proof_holds_by_itself_and_says_what_happened() {
        let mut log = Log::new().await;
        let (one, two) = (log.accept(1).await, log.accept(2).await);
        let early = Proof::make(&*log.store, &log.key, one).await;
        assert!(matches!(early, Err(Unproved::NotCovered(id)) if id == one));
        log.step(one, State::InFlight).await;
        for number in 10..400 {
            log.accept(number).await;
        }
        log.checkpointer.checkpoint().await.expect("it is signed");
        log.step(one, State::Acknowledged).await;

        let (proof, later) = log.made(one).await;
        assert_eq!(later, 1, "the head is older than the last event");
        let read = Proof::read(proof.to_json().as_bytes()).expect("it is a proof");
        let shown = read.check(&log.key).expect("it holds");
        assert_eq!((shown.message, shown.checkpoint.size), (one, 393));
        let told: Vec<_> = shown.events.iter().map(|(index, said)| (*index, said.detail("to"))).collect();
        assert_eq!(told, [(0, Some("accepted")), (2, Some("in-flight"))]);

        log.checkpointer.checkpoint().await.expect("it is signed");
        let (proof, later) = log.made(one).await;
        assert_eq!((proof.check(&log.key).expect("it holds").events.len(), later), (3, 0));
        assert_eq!(log.made(two).await.0.check(&log.key).expect("it holds").events[0].0, 1);
        let unknown = Proof::make(&*log.store, &log.key, message(1_000).id).await.expect("it is read");
        assert_eq!(unknown, None);
    }

    #[tokio::test]
    async fn whatever_is_changed_in_a_proof_shows() {
        let mut log = Log::new().await;
        let (one, two) = (log.accept(1).await, log.accept(2).await);
        log.step(one, State::InFlight).await;
        log.checkpointer.checkpoint().await.expect("it is signed");
        let whole: Value = serde_json::from_str(&log.made(one).await.0.to_json()).expect("it is JSON");
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut proof = whole.clone();
            change(&mut proof);
            let read = Proof::read(proof.to_string().as_bytes());
            read.and_then(|proof| proof.check(&log.key)).expect_err("it was changed").to_string()
        };
        let other = &serde_json::to_value(log.made(two).await.0).expect("it is JSON")["events"][0];
        for (change, says) in [
            (
                &(|it: &mut Value| it["events"][0]["entry"] = "AQID".into()) as &dyn Fn(&mut Value),
                "event 0 is not in the log",
            ),
            (&|it| it["events"][0]["entry"] = "?".into(), "event 0 cannot be read"),
            (&|it| it["events"][0]["index"] = 1.into(), "event 1 is not in the log"),
            (&|it| it["events"][1]["path"][0] = it["events"][0]["path"][0].clone(), "event 2 is not in the log"),
            (&|it| it["events"][1]["path"] = json!(["short"]), "event 2 is not in the log"),
            (&|it| it["events"][1] = other.clone(), "event 1 is not about the message"),
            (&|it| it["events"][1] = it["events"][0].clone(), "event 0 stands behind a later one, or twice"),
            (&|it| it["events"] = json!([]), "it lists no event"),
            (&|it| it["message"] = two.to_string().into(), "event 0 is not about the message"),
            (
                &|it| it["checkpoint"] = it["checkpoint"].as_str().unwrap_or("").replace("\n3\n", "\n4\n").into(),
                "the signature",
            ),
            (&|it| it["weirAuditProof"] = 2.into(), "it has version 2"),
            (&|it| it["more"] = 2.into(), "unknown field"),
        ] {
            let said = changed(change);
            assert!(said.contains(says), "{said} where {says} was expected");
        }
        let stranger = SigningKey::generate(NAME).expect("the name is good");
        let proof = log.made(one).await.0;
        assert_eq!(proof.check(stranger.verifier()), Err(Invalid::Checkpoint(checkpoint::Error::Unsigned)));
    }
}
