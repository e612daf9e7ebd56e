//! The log at work: signed checkpoints over the events that the store holds, and what a restart must record.

use std::fmt;
use std::sync::Arc;

use super::checkpoint::{self, Checkpoint, SigningKey};
use super::event::{Recorder, Step, patient_of};
use super::merkle::{self, Frontier, TILE_HEIGHT};
use crate::fhir::Instant;
use crate::identity::keyed_hash::KeyedHash;
use crate::identity::{MessageId, PartyId};
use crate::storage::{self, Filter, MessageRecord, State, Store, StoredCheckpoint, Subtree};

/// Events read at a time.
const PAGE: usize = 1024;

/// Why no checkpoint can be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] storage::Error),
    /// The newest checkpoint was not signed with this key.
    #[error("the checkpoint of {size} events cannot be continued: {why}")]
    Checkpoint {
        /// Which.
        size: u64,
        /// Why.
        why: checkpoint::Error,
    },
    /// The events are not those that were signed.
    #[error("the first {size} events are not those of the signed checkpoint")]
    Rewritten {
        /// How many the checkpoint covers.
        size: u64,
    },
    /// An event is missing or changed.
    #[error("event {seq} is missing or was changed")]
    Damaged {
        /// Which.
        seq: u64,
    },
}

impl Error {
    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Store(error) => error.hint(),
            Error::Checkpoint { .. } => "give the audit key that this site was created with",
            Error::Rewritten { .. } | Error::Damaged { .. } => {
                "run `weir audit verify` to see what changed, keep the database as evidence, restore a backup"
            }
        }
    }
}

/// Signs the head of a store's log. One for each store; it never signs what it did not read.
pub struct Checkpointer {
    store: Arc<dyn Store>,
    key: SigningKey,
    frontier: Frontier,
    /// The size of the newest checkpoint in the store.
    signed: u64,
    /// Subtrees that are complete and not stored yet.
    complete: Vec<Subtree>,
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointer").field("key", &self.key).field("signed", &self.signed).finish_non_exhaustive()
    }
}

impl Checkpointer {
    /// Continues from the newest checkpoint in the store.
    ///
    /// # Errors
    /// [`Error`] when that is not by this key, or the events it covers are not those it was signed over.
    pub async fn resume(store: Arc<dyn Store>, key: SigningKey) -> Result<Checkpointer, Error> {
        let last = store.last_checkpoint().await?;
        let mut checkpointer = Checkpointer { store, key, frontier: Frontier::new(), signed: 0, complete: vec![] };
        if let Some(last) = last {
            checkpointer.continue_from(&last).await?;
        }
        Ok(checkpointer)
    }

    async fn continue_from(&mut self, last: &StoredCheckpoint) -> Result<(), Error> {
        let checked = self.key.verifier().verify(&last.note);
        let signed = checked.map_err(|why| Error::Checkpoint { size: last.size, why })?;
        let kept = Frontier::restore(signed.size, &last.frontier).filter(|kept| kept.root() == signed.root);
        let complete = signed.size >> TILE_HEIGHT;
        let has_subtrees = complete == 0 || !self.store.subtrees(1, complete - 1, 1).await?.is_empty();
        // An earlier version stored no subtrees: they are made of all the leaves, once.
        match kept.filter(|_| has_subtrees) {
            Some(frontier) => self.frontier = frontier,
            None => {
                self.read_up_to(signed.size).await?;
                self.store.store_checkpoint(last.clone(), std::mem::take(&mut self.complete)).await?;
            }
        }
        if self.frontier.root() != signed.root {
            return Err(Error::Rewritten { size: signed.size });
        }
        self.signed = signed.size;
        Ok(())
    }

    /// Signs and keeps a checkpoint over all events that are there now. `None` when there are no new ones.
    ///
    /// # Errors
    /// [`Error`]; call again later after a transient one.
    pub async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, Error> {
        let size = self.store.event_count().await?;
        if size < self.signed {
            return Err(Error::Damaged { seq: size });
        }
        self.read_up_to(size).await?;
        if self.frontier.size() == self.signed {
            return Ok(None);
        }
        let (size, root) = (self.frontier.size(), self.frontier.root());
        let note = self.key.sign(size, &root).into_bytes();
        let signed = StoredCheckpoint { size, note, frontier: self.frontier.to_bytes() };
        self.store.store_checkpoint(signed, self.complete.clone()).await?;
        self.complete.clear();
        self.signed = size;
        Ok(Some(Checkpoint { origin: self.key.verifier().name().to_owned(), size, root }))
    }

    async fn read_up_to(&mut self, size: u64) -> Result<(), Error> {
        while self.frontier.size() < size {
            let left = usize::try_from(size - self.frontier.size()).unwrap_or(PAGE);
            let page = self.store.events(self.frontier.size(), left.min(PAGE)).await?;
            if page.is_empty() {
                return Err(Error::Damaged { seq: self.frontier.size() });
            }
            for stored in page {
                let seq = self.frontier.size();
                if stored.seq != seq || stored.event.leaf != merkle::leaf(&stored.event.bytes) {
                    return Err(Error::Damaged { seq });
                }
                self.frontier.push(stored.event.leaf, |subtree| self.complete.push(subtree));
            }
        }
        Ok(())
    }
}

/// Queues again what was in flight when the gateway stopped, with the events that say so, and gives those messages as
/// they were found. To be called once, before deliveries begin: whether an attempt reached its recipient is unknown,
/// so it is repeated under the same ids.
///
/// # Errors
/// What the store says.
pub async fn recover(
    store: &dyn Store,
    recorder: &Recorder,
    now: Instant,
) -> Result<Vec<MessageRecord>, storage::Error> {
    let mut recovered = Vec::new();
    loop {
        let filter = Filter { state: Some(State::InFlight), ..Filter::default() };
        let found = store.messages(filter, PAGE).await?;
        if found.is_empty() {
            return Ok(recovered);
        }
        for record in found {
            let why = ("gateway-restarted", "the gateway stopped during an attempt");
            let patient = patient_of(store, record.id).await?;
            store.transition(recorder.transition(again((&record, patient.as_ref()), now, why))).await?;
            recovered.push(record);
        }
    }
}

/// Queues again what stands in flight for `recipient` on one route although no attempt is `under_way`: the store could not write
/// what the attempt came to, or the attempt ended abnormally. Like [`recover`], while the gateway runs.
///
/// # Errors
/// What the store says; call again later.
pub async fn requeue(
    store: &dyn Store,
    recorder: &Recorder,
    (recipient, route): (&PartyId, u16),
    under_way: impl Fn(MessageId) -> bool,
    now: Instant,
) -> Result<Vec<MessageRecord>, storage::Error> {
    let (state, recipient, route) = (Some(State::InFlight), Some(recipient.clone()), Some(route));
    let filter = Filter { state, recipient, route, interface: None };
    let mut found = store.messages(filter, PAGE).await?;
    found.retain(|record| !under_way(record.id));
    for record in &found {
        let why = ("outcome-lost", "what the attempt came to could not be stored");
        let patient = patient_of(store, record.id).await?;
        store.transition(recorder.transition(again((record, patient.as_ref()), now, why))).await?;
    }
    Ok(found)
}

fn again<'a>(
    (record, patient): (&'a MessageRecord, Option<&'a KeyedHash>),
    at: Instant,
    (reason, note): (&'static str, &'static str),
) -> Step<'a> {
    let (to, next_attempt_at) = (State::Queued, Some(at));
    Step { record, patient, to, at, attempts: record.attempts, next_attempt_at, reason, note }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Terms;
    use crate::storage::suite::{NOON, accept, party, step};
    use crate::storage::{Event, Secret, SqliteStore};

    const NAME: &str = "weir.example/DEMOP";

    fn store(folder: &tempfile::TempDir) -> Arc<dyn Store> {
        let secret = Secret::generate();
        Arc::new(SqliteStore::open(&folder.path().join("weir.db"), &secret).expect("it opens"))
    }

    async fn append(store: &Arc<dyn Store>, text: &str) {
        let event = Event { message: None, bytes: text.into(), leaf: merkle::leaf(text.as_bytes()) };
        store.append(event).await.expect("it is written");
    }

    #[tokio::test]
    async fn a_checkpoint_covers_all_events_and_the_next_continues_it_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder);
        let key = SigningKey::generate(NAME).expect("the name is good");
        let text = key.secret_text();
        let mut expected = Frontier::new();
        let mut checkpointer = Checkpointer::resume(Arc::clone(&store), key).await.expect("it begins");
        assert_eq!(checkpointer.checkpoint().await.expect("nothing is wrong"), None);
        for round in 0..5 {
            for number in 0..=round {
                let entry = format!("{round} {number}");
                append(&store, &entry).await;
                expected.push(merkle::leaf(entry.as_bytes()), |_| {});
            }
            let signed = checkpointer.checkpoint().await.expect("it is signed").expect("there is something new");
            assert_eq!((signed.size, signed.root), (expected.size(), expected.root()));
            let stored = store.last_checkpoint().await.expect("it is read").expect("it is there");
            let key: SigningKey = text.parse().expect("it is a key");
            assert_eq!(key.verifier().verify(&stored.note), Ok(signed));
            assert_eq!(checkpointer.checkpoint().await.expect("nothing is wrong"), None);
            checkpointer = Checkpointer::resume(Arc::clone(&store), key).await.expect("it goes on");
        }
    }

    #[tokio::test]
    async fn subtrees_are_kept_with_the_head_that_covers_them_and_made_again_where_they_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder);
        let key = SigningKey::generate(NAME).expect("the name is good");
        let text = key.secret_text();
        let mut checkpointer = Checkpointer::resume(Arc::clone(&store), key).await.expect("it begins");
        for count in [200, 100, 300] {
            for number in 0..count {
                append(&store, &format!("{count} {number}")).await;
            }
            checkpointer.checkpoint().await.expect("it is signed").expect("there is something new");
        }
        let leaves = store.leaves(0, 1000).await.expect("they are read");
        let mut expected = Vec::new();
        let mut frontier = Frontier::new();
        leaves.iter().for_each(|leaf| frontier.push(*leaf, |subtree| expected.push(subtree)));
        assert_eq!(expected.len(), 2);
        assert_eq!(store.subtrees(1, 0, 10).await.as_ref(), Ok(&expected));
        let database = rusqlite::Connection::open(folder.path().join("weir.db")).expect("it opens");
        database.execute_batch("DELETE FROM subtrees").expect("as an earlier version left it");
        let key = text.parse().expect("it is a key");
        Checkpointer::resume(Arc::clone(&store), key).await.expect("it goes on");
        assert_eq!(store.subtrees(1, 0, 10).await, Ok(expected));
    }

    #[tokio::test]
    async fn what_no_attempt_ends_is_queued_again_and_what_is_under_way_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, recorder) = (store(&folder), Recorder::new(party("DEMOP"), NAME));
        let (lost, busy) = (accept(&store, 1).await, accept(&store, 2).await);
        for id in [lost, busy] {
            store.transition(step(id, State::Accepted, State::InFlight)).await.expect("it is written");
        }
        let recipient = store.message(lost).await.expect("it is read").expect("it is there").recipient;
        let requeue = || requeue(&*store, &recorder, (&recipient, 0), |id| id == busy, NOON);
        assert_eq!(requeue().await.expect("it is written").iter().map(|record| record.id).collect::<Vec<_>>(), [lost]);
        for (id, state, events) in [(lost, State::Queued, 3), (busy, State::InFlight, 2)] {
            let record = store.message(id).await.expect("it is read").expect("it is there");
            assert_eq!((record.state, store.events_of(id).await.expect("they are read").len()), (state, events));
        }
        assert!(requeue().await.expect("nothing is left").is_empty());
    }

    #[tokio::test]
    async fn a_message_whose_event_is_damaged_is_queued_again_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, recorder) = (store(&folder), Recorder::new(party("DEMOP"), NAME));
        let (one, two) = (accept(&store, 1).await, accept(&store, 2).await);
        for id in [one, two] {
            store.transition(step(id, State::Accepted, State::InFlight)).await.expect("it is written");
        }
        let database = rusqlite::Connection::open(folder.path().join("weir.db")).expect("it opens");
        let damage = "PRAGMA ignore_check_constraints = ON; UPDATE events SET leaf = x'00' WHERE seq = 0";
        database.execute_batch(damage).expect("it is damaged");
        let recovered = recover(&*store, &recorder, NOON).await.expect("the gateway starts");
        assert_eq!((recovered.len(), store.damage().count()), (2, 1));
        assert_eq!(Terms::of(&*store, one).await, Ok(None));
    }

    #[tokio::test]
    async fn a_log_is_not_continued_over_a_change_or_with_another_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder);
        let key = || SigningKey::generate(NAME).expect("the name is good");
        append(&store, "one").await;
        let (ours, other) = (key(), key());
        let text = ours.secret_text();
        let mut checkpointer = Checkpointer::resume(Arc::clone(&store), ours).await.expect("it begins");
        checkpointer.checkpoint().await.expect("it is signed");
        let refused = Checkpointer::resume(Arc::clone(&store), other).await.expect_err("another key");
        assert!(matches!(refused, Error::Checkpoint { size: 1, why: checkpoint::Error::Unsigned }));

        append(&store, "two").await;
        let sql = |sql: &str| {
            let database = rusqlite::Connection::open(folder.path().join("weir.db")).expect("it opens");
            database.execute_batch(sql).expect("it runs");
        };
        sql("UPDATE events SET bytes = x'00' WHERE seq = 1");
        assert!(matches!(checkpointer.checkpoint().await, Err(Error::Damaged { seq: 1 })));
        sql("DELETE FROM events");
        assert!(matches!(checkpointer.checkpoint().await, Err(Error::Damaged { seq: 0 })));
        sql("UPDATE checkpoints SET frontier = zeroblob(32)");
        let ours = text.parse().expect("it is a key");
        assert!(matches!(Checkpointer::resume(store, ours).await, Err(Error::Damaged { seq: 0 })));
    }

    #[tokio::test]
    async fn what_was_in_flight_is_queued_again_with_its_event() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder);
        let (one, two) = (accept(&store, 1).await, accept(&store, 2).await);
        store.transition(step(one, State::Accepted, State::InFlight)).await.expect("it is sent");
        let recorder = Recorder::new(party("DEMOP"), NAME);
        let recovered = recover(&*store, &recorder, NOON).await.expect("it recovers");
        assert_eq!(recovered.iter().map(|record| record.id).collect::<Vec<_>>(), [one], "{two} was not sent");
        let record = store.message(one).await.expect("it is read").expect("it is there");
        assert_eq!((record.state, record.attempts, record.next_attempt_at), (State::Queued, 1, Some(NOON)));
        assert_eq!(store.event_count().await, Ok(4));
        assert_eq!(recover(&*store, &recorder, NOON).await, Ok(vec![]));
    }
}
