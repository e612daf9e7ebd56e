//! The only writer: one thread, one connection, group commit.
//!
//! Changes wait in a channel of [`WAITING`]; a full channel makes callers wait, which is the back-pressure. The
//! thread takes all that wait, at most [`BATCH`], runs them in one transaction, commits with one fsync, and only then
//! answers. One that fails does not fail the others: mostly it has written nothing by then. If it has, the transaction is
//! rolled back and the batch runs anew, each change in a savepoint; not at once, since for each savepoint SQLite copies every
//! page that is written after it. If the transaction itself is lost (disk full, I/O error), every change in it is answered
//! with [`Error::Unavailable`] and none was made.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::super::Error;

const WAITING: usize = 1024;
const BATCH: usize = 256;

/// After a transaction of several changes the next begins no sooner than this after it: more changes share its fsync, and the pages
/// that each of them writes. Where an fsync takes longer, nothing waits for it.
const PACE: Duration = Duration::from_millis(2);

/// A change and whoever asked for it.
trait Job: Send {
    /// Makes the change in the open transaction, and keeps the outcome in place of any earlier one. Whether it went well.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Passes the outcome on, once it is known how the commit went.
    fn answer(self: Box<Self>, commit: Result<(), Error>);
}

struct Asked<T, F> {
    change: F,
    outcome: Result<T, Error>,
    asker: oneshot::Sender<Result<T, Error>>,
}

impl<T: Send, F: Fn(&Connection) -> Result<T, Error> + Send> Job for Asked<T, F> {
    fn run(&mut self, connection: &Connection) -> bool {
        self.outcome = (self.change)(connection);
        self.outcome.is_ok()
    }

    fn answer(self: Box<Self>, commit: Result<(), Error>) {
        // Without the commit even a refusal may rest on what a neighbour in the batch wrote: the commit's error wins.
        drop(self.asker.send(commit.and(self.outcome)));
    }
}

/// The handle to the thread. Dropping it lets the thread finish what waits, and waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    failing: Failing,
}

/// Why a transaction was not kept, until it is known that they are again.
type Failing = Arc<Mutex<Option<String>>>;

impl Writer {
    /// Starts the thread. `guard` is kept until the connection is closed.
    pub(super) fn start(connection: Connection, guard: impl Send + 'static) -> Result<Writer, Error> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let failing = Failing::default();
        let noted = failing.clone();
        let thread = thread::Builder::new().name("weir-store".to_owned()).spawn(move || {
            drain(&connection, waiting, &noted);
            drop(connection);
            drop(guard);
        });
        let thread = thread.map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(Writer { jobs: Some(jobs), thread: Some(thread), failing })
    }

    /// Why a transaction was not kept, since which nobody said that they are again.
    pub(super) fn failing(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Transactions are kept again.
    pub(super) fn recovered(&self) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Makes one change; resolves when it is on disk. `change` may run twice: the first time is undone then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        change: impl Fn(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let stopped = || Error::Unavailable("the writer has stopped".to_owned());
        let (asker, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().expect("the channel is taken only by drop");
        jobs.send(Box::new(Asked { change, outcome: Err(stopped()), asker })).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the thread is the writer's own")]
fn drain(connection: &Connection, mut waiting: mpsc::Receiver<Box<dyn Job>>, failing: &Failing) {
    let (mut began, mut is_busy) = (Instant::now(), false);
    while let Some(first) = waiting.blocking_recv() {
        if is_busy {
            thread::sleep(PACE.saturating_sub(began.elapsed()));
        }
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(job) = waiting.try_recv()
        {
            batch.push(job);
        }
        (began, is_busy) = (Instant::now(), batch.len() > 1);
        commit(connection, batch, failing);
    }
}

fn commit(connection: &Connection, mut batch: Vec<Box<dyn Job>>, failing: &Failing) {
    let outcome = match transaction(connection, &mut batch, run) {
        Ok(false) => transaction(connection, &mut batch, run_in_savepoint).map(drop),
        kept => kept.map(drop),
    };
    if let Err(error) = &outcome {
        tracing::error!(%error, changes = batch.len(), "nothing was stored");
        *failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
    for job in batch {
        job.answer(outcome.clone());
    }
}

/// What makes one change; `false`: it failed, and what it wrote is still in the transaction.
type Run = fn(&Connection, &mut dyn Job) -> Result<bool, Error>;

/// Makes the changes of a batch in one transaction: all are on disk then, or none. `false`: none, since one of them failed halfway.
fn transaction(connection: &Connection, batch: &mut [Box<dyn Job>], run: Run) -> Result<bool, Error> {
    command(connection, "BEGIN IMMEDIATE")?;
    let kept = match run_all(connection, batch, run) {
        Ok(true) => command(connection, "COMMIT").map(|()| true),
        left => left,
    };
    if !connection.is_autocommit() {
        let rolled_back = command(connection, "ROLLBACK");
        return kept.and_then(|is_kept| rolled_back.map(|()| is_kept));
    }
    kept
}

fn run_all(connection: &Connection, batch: &mut [Box<dyn Job>], run: Run) -> Result<bool, Error> {
    for job in batch {
        let is_whole = run(connection, job.as_mut());
        // SQLite rolls the whole transaction back by itself when the disk is full or fails.
        if connection.is_autocommit() {
            return Err(Error::Unavailable("the transaction was lost; the disk is full or fails".to_owned()));
        }
        if !is_whole? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn run(connection: &Connection, job: &mut dyn Job) -> Result<bool, Error> {
    let before = connection.total_changes();
    Ok(job.run(connection) || connection.total_changes() == before)
}

fn run_in_savepoint(connection: &Connection, job: &mut dyn Job) -> Result<bool, Error> {
    command(connection, "SAVEPOINT change")?;
    let went_well = job.run(connection);
    if connection.is_autocommit() {
        return Ok(false);
    }
    if !went_well {
        command(connection, "ROLLBACK TO change")?;
    }
    command(connection, "RELEASE change").map(|()| true)
}

fn command(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::super::{rows, schema};
    use super::*;
    use crate::storage::suite::event;

    /// A connection to an empty store, and what was answered to each of a batch of changes that it was to make.
    fn answers(changes: Vec<Change>) -> (Connection, Vec<Result<u64, Error>>, Option<String>) {
        let connection = Connection::open_in_memory().expect("it opens");
        schema::make_earlier(&connection, schema::KNOWN).expect("it is made");
        let (mut batch, mut answers): (Vec<Box<dyn Job>>, Vec<_>) = (Vec::new(), Vec::new());
        for change in changes {
            let (asker, answered) = oneshot::channel();
            batch.push(Box::new(Asked { change, outcome: Err(refused()), asker }));
            answers.push(answered);
        }
        let failing = Failing::default();
        commit(&connection, batch, &failing);
        let answers = answers.iter_mut().map(|answered| answered.try_recv().expect("it was answered")).collect();
        let failing = failing.lock().expect("nobody holds it").clone();
        (connection, answers, failing)
    }

    type Change = Box<dyn Fn(&Connection) -> Result<u64, Error> + Send>;

    fn append(text: &'static str) -> Change {
        Box::new(move |connection| rows::append(connection, &event(None, text)))
    }

    fn refused() -> Error {
        Error::Damaged("refused".to_owned())
    }

    fn kept(connection: &Connection) -> Vec<(u64, Vec<u8>)> {
        let events = rows::events(connection, 0, 9).expect("they are read");
        events.into_iter().map(|stored| (stored.seq, stored.event.bytes)).collect()
    }

    #[test]
    fn a_change_that_fails_halfway_leaves_nothing_and_its_neighbours_are_kept_once() {
        let halfway = Box::new(|connection: &Connection| {
            rows::append(connection, &event(None, "halfway"))?;
            Err(refused())
        });
        let (connection, answers, failing) = answers(vec![append("one"), halfway.clone(), append("two"), halfway]);
        assert_eq!(answers, [Ok(0), Err(refused()), Ok(1), Err(refused())]);
        assert_eq!(kept(&connection), [(0, b"one".to_vec()), (1, b"two".to_vec())]);
        assert_eq!(failing, None);
    }

    #[test]
    fn a_change_that_fails_before_it_wrote_anything_makes_nobody_run_again() {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = runs.clone();
        let one: Change = Box::new(move |connection| {
            counted.fetch_add(1, Ordering::Relaxed);
            append("one")(connection)
        });
        let stale: Change = Box::new(|connection| {
            connection.execute("UPDATE messages SET note = 'none is there'", [])?;
            Err(refused())
        });
        let (connection, answers, _) = answers(vec![one, stale, append("two")]);
        assert_eq!(answers, [Ok(0), Err(refused()), Ok(1)]);
        assert_eq!(kept(&connection), [(0, b"one".to_vec()), (1, b"two".to_vec())]);
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_comes_after_a_transaction_of_several_changes_waits_for_more() {
        let writer = Writer::start(Connection::open_in_memory().expect("it opens"), ()).expect("it starts");
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (began, is_held) = (Arc::new(Notify::new()), Mutex::new(held));
        let begins = began.clone();
        let first = writer.run(move |_| {
            begins.notify_one();
            Ok(is_held.lock().expect("nobody holds it").recv().is_ok())
        });
        let others = async {
            began.notified().await;
            let release = async {
                let since = Instant::now();
                release.send(()).expect("it is awaited");
                since
            };
            tokio::join!(writer.run(|_| Ok(())), writer.run(|_| Ok(())), release)
        };
        let (was_held, (one, two, since)) = tokio::join!(first, others);
        assert!(was_held.expect("it is kept"));
        one.and(two).expect("they are kept");
        let next = writer.run(|_| Ok(Instant::now())).await.expect("it is kept");
        assert!(next - since >= PACE, "{:?}", next - since);
    }

    #[test]
    fn a_lost_transaction_is_answered_to_all_also_when_the_batch_runs_again() {
        let lost = || -> Change { Box::new(|connection| Ok(connection.execute_batch("ROLLBACK").map(|()| 7)?)) };
        let halfway = Box::new(|connection: &Connection| {
            rows::append(connection, &event(None, "halfway"))?;
            Err(refused())
        });
        for changes in [vec![append("one"), lost(), append("two")], vec![append("one"), halfway, lost(), append("two")]]
        {
            let (connection, answers, failing) = answers(changes);
            for answer in answers {
                assert!(answer.expect_err("nothing was kept").is_transient());
            }
            assert!(kept(&connection).is_empty() && connection.is_autocommit() && failing.is_some());
        }
    }
}
