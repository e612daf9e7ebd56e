//! Sends the rows: a few at a time, each on a connection of its own that is used again.
//!
//! A gateway that is busy says when to come again, and is asked then; one that does not answer is connected to again
//! until patience ends, which ends the run.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use hyper::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::progress::Progress;
use super::report::{Done, Report, Tally};
use super::{Batch, issue_line};
use crate::cli::client::{Answer, Client};
use crate::config::Endpoint;
use crate::fhir::{Document, Limits};
use crate::identity::InterfaceName;
use crate::intake::{Header, Row, Rows, own_identity};

/// The longest that a busy gateway is left alone for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many lines of the report are written between two that are waited for to be on disk.
const SYNC_EVERY: u64 = 1000;

/// A run of a batch.
pub(super) struct Run<'b> {
    pub(super) endpoint: Endpoint,
    pub(super) interface: InterfaceName,
    pub(super) batch: &'b Batch,
    pub(super) limits: Limits,
    pub(super) in_flight: usize,
    pub(super) patience: Duration,
}

/// A row on its way.
struct Job {
    number: u64,
    line: u64,
    key: Option<String>,
    row: Row,
}

/// What the reader and the senders tell.
enum Told {
    Ended(Value, bool),
    Skipped,
    Broken(anyhow::Error),
}

/// One that sends.
struct Sender {
    endpoint: Endpoint,
    interface: InterfaceName,
    header: Arc<Header>,
    patience: Duration,
    client: Option<Client>,
}

impl Run<'_> {
    /// Sends every row that is not done, and reports on it.
    pub(super) async fn submit_all(
        self,
        rows: Rows<File>,
        report: &mut Report,
        progress: &mut Progress,
    ) -> anyhow::Result<Tally> {
        let header = rows.header().clone();
        let (jobs, waiting) = mpsc::channel(self.in_flight * 2);
        let (tell, mut told) = mpsc::channel(self.in_flight * 4);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut senders = JoinSet::new();
        for _ in 0..self.in_flight {
            let (endpoint, interface, header) = (self.endpoint.clone(), self.interface.clone(), header.clone());
            let sender = Sender { endpoint, interface, header, patience: self.patience, client: None };
            senders.spawn(sender.send_all(waiting.clone(), tell.clone()));
        }
        drop(waiting);
        let reader = Reader {
            by: self.batch.interface.identified_by.clone(),
            digest: self.batch.digest.clone(),
            limits: self.limits,
            done: report.done(),
        };
        let reading = tokio::task::spawn_blocking(move || reader.read_all(rows, &jobs, &tell));
        let mut tally = Tally::default();
        let mut lines = 0;
        let mut broken = None;
        while let Some(told) = told.recv().await {
            match told {
                Told::Skipped => tally.skipped += 1,
                Told::Ended(line, is_done) => {
                    report.write(&line)?;
                    lines += 1;
                    if lines % SYNC_EVERY == 0 {
                        report.sync()?;
                    }
                    if is_done { tally.done += 1 } else { tally.failed += 1 }
                }
                Told::Broken(error) => {
                    broken = Some(error);
                    break;
                }
            }
            progress.show(&tally);
        }
        drop(told);
        senders.shutdown().await;
        report.sync()?;
        if let Some(error) = broken {
            progress.end();
            let Tally { done, skipped, failed } = tally;
            return Err(error.context(format!(
                "stopped after {done} rows that were accepted, {skipped} done before and {failed} that were not; the \
                 same command goes on from there"
            )));
        }
        reading.await.map_err(|_| anyhow!("reading the file ended abnormally"))?;
        Ok(tally)
    }
}

struct Reader {
    by: Vec<String>,
    digest: String,
    limits: Limits,
    done: Done,
}

impl Reader {
    /// Ends early when nobody listens any more.
    fn read_all(self, mut rows: Rows<File>, jobs: &mpsc::Sender<Job>, tell: &mpsc::Sender<Told>) {
        loop {
            let numbered = match rows.next_row() {
                Ok(Some(numbered)) => numbered,
                Ok(None) => return,
                Err(error) => {
                    let _nobody_listens = tell.blocking_send(Told::Broken(error.into()));
                    return;
                }
            };
            let (number, line) = (numbered.number, numbered.line);
            let sent = if self.done.has(number) {
                tell.blocking_send(Told::Skipped).is_ok()
            } else {
                match numbered.row {
                    Ok(row) => {
                        let key = self.key(&row, number);
                        jobs.blocking_send(Job { number, line, key, row }).is_ok()
                    }
                    Err(fault) => {
                        let issue = json!({ "text": fault.to_string(), "hint": fault.hint() });
                        let ended = json!({ "row": number, "line": line, "outcome": "unreadable", "issues": [issue] });
                        tell.blocking_send(Told::Ended(ended, false)).is_ok()
                    }
                }
            };
            if !sent {
                return;
            }
        }
    }

    /// None where the record says itself which it is: the gateway knows it again by that.
    fn key(&self, row: &Row, number: u64) -> Option<String> {
        let record = Document::parse(row.json.as_str(), &self.limits).ok();
        let own = record.and_then(|record| own_identity(&record, &self.by));
        own.is_none().then(|| format!("row-{number}-{}", &self.digest[..32]))
    }
}

impl Sender {
    async fn send_all(mut self, waiting: Arc<Mutex<mpsc::Receiver<Job>>>, tell: mpsc::Sender<Told>) {
        loop {
            let Some(job) = waiting.lock().await.recv().await else { return };
            let told = match self.send(&job).await {
                Ok((line, is_done)) => Told::Ended(line, is_done),
                Err(error) => Told::Broken(error),
            };
            if tell.send(told).await.is_err() {
                return;
            }
        }
    }

    async fn send(&mut self, job: &Job) -> anyhow::Result<(Value, bool)> {
        let mut answered = Instant::now();
        let mut pause = Duration::from_millis(200);
        loop {
            let failed = match self.attempt(job).await {
                Ok(answer) => {
                    if let Some(wait) = wait_for(&answer) {
                        sleep(wait).await;
                        answered = Instant::now();
                        continue;
                    }
                    return self.line(job, &answer);
                }
                Err(error) => error,
            };
            self.client = None;
            if answered.elapsed() >= self.patience {
                return Err(failed.context("the gateway does not answer"));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    async fn attempt(&mut self, job: &Job) -> anyhow::Result<Answer> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.endpoint).await?,
        };
        let record = job.row.json.clone().into_bytes().into();
        let answer = client.submit(self.interface.as_str(), job.key.as_deref(), record).await?;
        let closes = answer.headers.get(header::CONNECTION).is_some_and(|value| value == "close");
        self.client = Some(client).filter(|_| !closes);
        Ok(answer)
    }

    /// What became of a row. No row of a batch can be accepted when the interface is not there, or nobody lists us.
    fn line(&self, job: &Job, answer: &Answer) -> anyhow::Result<(Value, bool)> {
        let body = answer.json();
        let (row, line) = (job.number, job.line);
        if answer.status == StatusCode::ACCEPTED {
            let outcome = if body["repeated"] == true { "repeated" } else { "accepted" };
            return Ok((json!({ "row": row, "line": line, "outcome": outcome, "message": body["message"] }), true));
        }
        let told = |issue: &Value| {
            let text = issue["details"]["text"].as_str().unwrap_or("refused without a reason");
            let hint = issue["diagnostics"].as_str().unwrap_or_default();
            issue_line(&self.header, &job.row, issue["expression"][0].as_str(), text, hint)
        };
        let issues: Vec<Value> = body["issue"].as_array().into_iter().flatten().map(told).collect();
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND) {
            let why = issues.first().and_then(|issue| issue["text"].as_str()).unwrap_or("no reason given").to_owned();
            anyhow::bail!("the gateway refuses the batch with {}: {why}", answer.status.as_u16());
        }
        let status = answer.status.as_u16();
        Ok((json!({ "row": row, "line": line, "outcome": "refused", "status": status, "issues": issues }), false))
    }
}

/// How long to wait before the same is sent again; `None` for an answer that stands.
fn wait_for(answer: &Answer) -> Option<Duration> {
    let is_busy = matches!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
    );
    is_busy.then(|| retry_after(&answer.headers).unwrap_or(Duration::from_secs(1)).min(LONGEST_PAUSE))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
