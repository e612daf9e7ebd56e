//! The only writer: one thread, one connection, group commit.
//!
//! Changes wait in a channel of [`WAITING`]; a full channel makes callers wait, which is the back-pressure. The
//! thread takes all that wait, at most [`BATCH`], runs each in a savepoint of one transaction, so that one that fails
//! does not fail the others, commits with one fsync, and only then answers. If the transaction itself is lost (disk
//! full, I/O error), every change in it is answered with [`Error::Unavailable`] and none was made.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::super::Error;

const WAITING: usize = 1024;
const BATCH: usize = 256;

/// Told how the commit went; passes the outcome to whoever asked for the change.
type Answer = Box<dyn FnOnce(Result<(), Error>)>;
/// One change: run in the open transaction, or told why there is none.
type Job = Box<dyn FnOnce(Result<&Connection, Error>) -> Answer + Send>;

/// The handle to the thread. Dropping it lets the thread finish what waits, and waits for it.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
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

    /// Makes one change; resolves when it is on disk.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = connection.and_then(|connection| in_savepoint(connection, change));
            // Without the commit even a refusal may rest on what a neighbour in the batch wrote: the commit's error wins.
            Box::new(move |commit: Result<(), Error>| drop(answer.send(commit.and(outcome))))
        });
        let stopped = || Error::Unavailable("the writer has stopped".to_owned());
        let jobs = self.jobs.as_ref().expect("the channel is taken only by drop");
        jobs.send(job).await.map_err(|_| stopped())?;
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

fn drain(connection: &Connection, mut waiting: mpsc::Receiver<Job>, failing: &Failing) {
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(job) = waiting.try_recv()
        {
            batch.push(job);
        }
        commit(connection, batch, failing);
    }
}

fn commit(connection: &Connection, batch: Vec<Job>, failing: &Failing) {
    let mut open = command(connection, "BEGIN IMMEDIATE");
    let mut answers = Vec::with_capacity(batch.len());
    for job in batch {
        answers.push(job(open.clone().map(|()| connection)));
        // SQLite rolls the whole transaction back by itself when the disk is full or fails.
        if open.is_ok() && connection.is_autocommit() {
            open = Err(Error::Unavailable("the transaction was lost; the disk is full or fails".to_owned()));
        }
    }
    let outcome = open.and_then(|()| command(connection, "COMMIT"));
    if let Err(error) = &outcome {
        tracing::error!(%error, changes = answers.len(), "nothing was stored");
        *failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        if !connection.is_autocommit() {
            drop(command(connection, "ROLLBACK"));
        }
    }
    for answer in answers {
        answer(outcome.clone());
    }
}

fn in_savepoint<T>(connection: &Connection, change: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
    command(connection, "SAVEPOINT change")?;
    let outcome = change(connection);
    if outcome.is_err() && !connection.is_autocommit() {
        command(connection, "ROLLBACK TO change")?;
    }
    if !connection.is_autocommit() {
        command(connection, "RELEASE change")?;
    }
    outcome
}

fn command(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
