//! Watched folders: a file that has settled is taken as records, and moved to `done/` or `failed/` with a report beside it.
//!
//! Enters: files in a folder. Leaves: messages, and `NAME.report.ndjson`, a line a record: its row, outcome and message,
//! or what is wrong with it, never a value. Invariants: a file stays where it is until every record of it is on disk as a
//! message or reported as refused; a record that is taken again, since the gateway or the machine stopped before the file
//! was moved, is the message that it was: its key follows from the record's identity, or else from its content and which of the equal records of its file it is.
//! So a file that was corrected sends again only what was corrected.
//! A file whose record is refused for now (no room, no store) stays, and is taken later from its beginning. One that cannot
//! be taken stays and stops no other: it is tried again ever more rarely.

mod content;
mod files;
mod standing;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, OFlags};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::{error, info, warn};

use self::content::{Content, Part};
use self::files::{State, anew, files, names, open, state_of};
pub(super) use self::standing::Standings;
use self::standing::{Standing, Stuck, Trouble};
use super::hl7v2;
use super::records::take;
use super::{Service, clock};
use crate::fhir::Document;
use crate::fhir::outcome::Issue;
use crate::identity::digest::{hex, sha_256, sha_256_of};
use crate::identity::{InterfaceName, PrincipalId};
use crate::intake::hl7v2::{Head, Location, MEDIA_TYPES};
use crate::intake::{Model, Submission, media_type, own_identity};
use crate::pipeline;
use crate::refusal::{Refusal, Retry};

/// How often a folder is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// How long is waited when the gateway takes no more, or a file cannot be taken; the second time twice as long, and so on.
const PUT_OFF: Duration = Duration::from_secs(5);

/// The longest that a folder is left alone for when the gateway takes no more.
const LONGEST_PUT_OFF: Duration = Duration::from_secs(60);

/// The longest that a file is left alone for.
const LONGEST_LEFT: Duration = Duration::from_secs(600);

/// A folder whose files are taken.
#[derive(Clone, Debug)]
pub struct WatchedFolder {
    /// Where.
    pub path: PathBuf,
    /// The interface of its records; none where each says it by its type.
    pub interface: Option<InterfaceName>,
    /// What its files hold.
    pub format: FolderFormat,
    /// As whom they are submitted.
    pub principal: PrincipalId,
    /// How long a file must stay as it is.
    pub settle: Duration,
    /// Whether nothing is sent.
    pub dry_run: bool,
}

/// What files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderFormat {
    /// A record.
    Json,
    /// A record a line.
    Ndjson,
    /// A record a row.
    Csv,
    /// Messages, each from its MSH segment on.
    Hl7v2,
    /// A resource, as JSON or XML.
    Fhir,
}

/// Why a file was not finished.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error("the gateway takes no more for now")]
    PutOff,
    #[error("the gateway stops")]
    Stopped,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Unfinished {
    /// What it means for the folder. Only a look at the folder itself ends with [`Unfinished::Io`].
    fn trouble(&self) -> Trouble {
        match self {
            Unfinished::PutOff | Unfinished::Stopped => Trouble::PutOff(self.to_string()),
            Unfinished::Io(error) => Trouble::Unreadable(error.to_string()),
        }
    }
}

/// How long is waited after so many failures, the first being 1.
fn pause_after(failures: u32, longest: Duration) -> Duration {
    PUT_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest)
}

/// Looks at a folder until `stopped` says so.
pub(super) async fn attend(service: Arc<Service>, folder: WatchedFolder, mut stopped: watch::Receiver<bool>) {
    let folder = Arc::new(folder);
    let mut seen = BTreeMap::new();
    let (mut said, mut failures, mut unnamed) = (None, 0, 0);
    loop {
        let looked = look(&service, &folder, (&mut seen, &mut unnamed), &stopped).await;
        let waiting = seen.values().filter(|seen| seen.since.elapsed() >= folder.settle).count() + unnamed;
        service.metrics.folder(&folder.path.display().to_string(), waiting);
        let trouble = looked.as_ref().err().map(Unfinished::trouble);
        let stuck = seen.iter().filter_map(|(name, seen)| seen.stuck(name)).collect();
        let standing = Standing { trouble, waiting, unnamed, stuck };
        service.folders.note(folder.path.display().to_string(), standing);
        let pause = match looked {
            Ok(()) => {
                (said, failures) = (None, 0);
                EVERY
            }
            Err(Unfinished::Stopped) => break,
            Err(reason) => {
                let text = reason.to_string();
                if said.as_ref() != Some(&text) {
                    warn!(folder = %folder.path.display(), reason = %text, "files wait in a folder; the next look follows");
                }
                said = Some(text);
                failures += 1;
                pause_after(failures, LONGEST_PUT_OFF)
            }
        };
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What was seen of a file.
struct Seen {
    state: State,
    /// Since when it is so.
    since: Instant,
    /// How often it could not be taken, and until when it is left alone.
    failures: u32,
    until: Instant,
    /// Why it could not be taken the last time.
    why: String,
}

impl Seen {
    fn now(state: State) -> Seen {
        let now = Instant::now();
        Seen { state, since: now, failures: 0, until: now, why: String::new() }
    }

    /// What is told of it once it could not be taken.
    fn stuck(&self, name: &str) -> Option<Stuck> {
        let Seen { failures, until, why, .. } = self;
        let stuck = Stuck { name: hash_of(name), why: why.clone(), failures: *failures, until: *until };
        (*failures > 0).then_some(stuck)
    }
}

/// What a file is told by: its name may hold a person's.
fn hash_of(name: &str) -> String {
    hex(&sha_256(name.as_bytes()))[..16].to_owned()
}

/// What is told of work that ended abnormally: never the message of a panic, which may quote a record.
fn abnormal(error: JoinError) -> io::Error {
    error!(place = "folders", is_panic = error.is_panic(), "work on a folder ended abnormally");
    io::Error::other("the gateway failed while it took the file")
}

/// Takes every file that has settled, by name. One that cannot be taken stops no other.
async fn look(
    service: &Arc<Service>,
    folder: &Arc<WatchedFolder>,
    (seen, unnamed): (&mut BTreeMap<String, Seen>, &mut usize),
    stopped: &watch::Receiver<bool>,
) -> Result<(), Unfinished> {
    let path = folder.path.clone();
    let (files, left) = tokio::task::spawn_blocking(move || files(&path)).await.map_err(abnormal)??;
    if left > *unnamed {
        warn!(folder = %folder.path.display(), files = left, "files with names that are not UTF-8 are left alone; rename them");
    }
    *unnamed = left;
    seen.retain(|name, _| files.contains_key(name));
    for (name, now) in files {
        let file = seen.entry(name.clone()).or_insert_with(|| Seen::now(now));
        if file.state != now {
            *file = Seen::now(now);
        }
        if file.since.elapsed() < folder.settle || Instant::now() < file.until {
            continue;
        }
        let taking = Taking { service: service.clone(), folder: folder.clone(), name: name.clone(), state: now };
        let stopped = stopped.clone();
        // In a task of its own: what fails in it stops no other file.
        let taken = tokio::spawn(async move { taking.take(&stopped).await }).await;
        match taken.unwrap_or_else(|error| Err(abnormal(error).into())) {
            Ok(()) => {
                seen.remove(&name);
            }
            Err(Unfinished::Io(reason)) => {
                file.failures += 1;
                file.why = reason.to_string();
                let pause = pause_after(file.failures, LONGEST_LEFT);
                file.until = Instant::now() + pause;
                let (folder, name) = (folder.path.display(), hash_of(&name));
                let again = pause.as_secs();
                warn!(%folder, name_sha256 = name, %reason, again_in_seconds = again, "a file of a folder could not be taken");
            }
            Err(reason) => return Err(reason),
        }
    }
    Ok(())
}

/// A file that is being taken.
struct Taking {
    service: Arc<Service>,
    folder: Arc<WatchedFolder>,
    name: String,
    /// As it was when it had settled.
    state: State,
}

/// The records of a file that do not say which they are: how many equal ones there were of each.
#[derive(Default)]
struct Equals(BTreeMap<[u8; 16], u32>);

impl Equals {
    /// The key of a record: of its content, and of which it is among equal ones. It is the same in each file that has it.
    fn key(&mut self, bytes: &[u8]) -> String {
        let mut hash = [0; 16];
        hash.copy_from_slice(&sha_256(bytes)[..16]);
        let number = self.0.entry(hash).or_default();
        *number += 1;
        format!("content-{number}-{}", hex(&hash))
    }
}

/// How its records ended.
#[derive(Default)]
struct Tally {
    done: u64,
    failed: u64,
}

impl Taking {
    async fn take(&self, stopped: &watch::Receiver<bool>) -> Result<(), Unfinished> {
        let path = self.folder.path.join(&self.name);
        let mut file = open(&path, OFlags::empty())?;
        let metadata = file.metadata()?;
        // What is there now is no file, or not the one that settled.
        if !metadata.is_file() || state_of(&metadata)? != self.state {
            return Ok(());
        }
        // What is hashed is what is read, whatever the name stands for meanwhile.
        let hashing = move || {
            let digest = sha_256_of(&file)?;
            file.rewind().map(|()| (hex(&digest), file))
        };
        let (digest, file) = tokio::task::spawn_blocking(hashing).await.map_err(abnormal)??;
        // Under a hidden name until it is whole.
        let scratch = self.folder.path.join(format!(".{}.report", &digest[..16]));
        let mut report = anew(&scratch)?;
        let first = json!({ "file": digest, "dryRun": self.folder.dry_run });
        writeln!(report, "{first}")?;
        let (tell, mut parts) = mpsc::channel(16);
        let content =
            Content { file, format: self.folder.format, model: self.model(), longest: self.service.limits.body_bytes };
        let reading = tokio::task::spawn_blocking(move || content.read(&tell));
        let (mut tally, mut equals) = (Tally::default(), Equals::default());
        while let Some(part) = parts.recv().await {
            let line = self.part(part, &mut equals, stopped).await?;
            let is_done = matches!(line["outcome"].as_str(), Some("accepted" | "repeated" | "fits"));
            if is_done {
                tally.done += 1
            } else {
                tally.failed += 1
            }
            report.write_all(format!("{line}\n").as_bytes())?;
        }
        reading.await.map_err(abnormal)?;
        report.sync_all()?;
        // One that was written to meanwhile is taken again when it has settled again.
        if state_of(&fs::symlink_metadata(&path)?)? != self.state {
            fs::remove_file(&scratch)?;
            return Ok(());
        }
        let outcome = if tally.failed == 0 && tally.done > 0 { "done" } else { "failed" };
        self.put_away(&path, &scratch, (outcome, &digest))?;
        let Tally { done, failed } = tally;
        let folder = self.folder.path.display();
        info!(%folder, file = &digest[..16], done, failed, outcome, "a file of a folder was taken");
        Ok(())
    }

    /// The report first: a file that is not moved is taken again. The folder that they go to is held open, so that no link
    /// takes its place meanwhile.
    fn put_away(&self, path: &Path, scratch: &Path, (outcome, digest): (&str, &str)) -> io::Result<()> {
        let to = self.folder.path.join(outcome);
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&to)?;
        let into = open(&to, OFlags::DIRECTORY)?;
        let is_taken = |name: &String| fs::symlink_metadata(to.join(name)).is_ok();
        let mut number = 1;
        let (name, report) = loop {
            let (name, report) = names(&self.name, digest, number);
            if !is_taken(&name) && !is_taken(&report) {
                break (name, report);
            }
            number += 1;
        };
        rustix::fs::renameat(CWD, scratch, &into, &report)?;
        into.sync_all()?;
        rustix::fs::renameat(CWD, path, &into, &name)?;
        into.sync_all()?;
        File::open(&self.folder.path)?.sync_all()
    }

    fn model(&self) -> Option<Arc<Model>> {
        let stages = self.service.gateway.stages();
        stages.interfaces.get(self.folder.interface.as_ref()?)?.model.clone()
    }

    /// Takes a part of the file, and gives its line of the report.
    async fn part(
        &self,
        part: Part,
        equals: &mut Equals,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Value, Unfinished> {
        let place = part.place();
        let bytes = match part.bytes {
            Ok(bytes) => bytes,
            Err((text, hint)) => {
                return Ok(merged(
                    place,
                    json!({ "outcome": "unreadable", "issues": [{ "text": text, "hint": hint }] }),
                ));
            }
        };
        if *stopped.borrow() {
            return Err(Unfinished::Stopped);
        }
        let (submission, model) = match self.submission(bytes, equals) {
            Ok(found) => found,
            Err(line) => return Ok(merged(place, *line)),
        };
        let came = if self.folder.dry_run {
            let tried = pipeline::dry_run(&self.service.gateway, submission, clock::now()).await;
            tried.map(|_| json!({ "outcome": "fits" }))
        } else {
            let service = self.service.clone();
            // In a task of its own, as a request's: a stop does not leave a message half-way.
            let taking = async move { take(&service, submission, std::time::Instant::now()).await };
            let taken = tokio::spawn(taking).await.map_err(abnormal)?;
            taken.map(|queued| {
                let outcome = if queued.is_repeat() { "repeated" } else { "accepted" };
                json!({ "outcome": outcome, "message": queued.message().to_string() })
            })
        };
        match came {
            Ok(line) => Ok(merged(place, line)),
            Err(refusal) if refusal.retry() == Retry::Later => Err(Unfinished::PutOff),
            Err(refusal) => {
                let refused = Refused { refusal: &refusal, model: model.as_deref(), table: part.table.as_ref() };
                Ok(merged(place, refused.line()))
            }
        }
    }

    /// What is submitted; or the line of the report for what cannot be.
    fn submission(&self, bytes: Vec<u8>, equals: &mut Equals) -> Result<(Submission, Option<Arc<Model>>), Box<Value>> {
        let stages = self.service.gateway.stages();
        let (interface, model, key, kind) = match &self.folder.interface {
            Some(interface) => {
                let known = stages.interfaces.get(interface);
                let by = known.map(|known| known.identified_by.as_slice()).unwrap_or_default();
                let kind =
                    if self.folder.format == FolderFormat::Fhir { media_type(&bytes) } else { "application/json" };
                let says_own = || {
                    let own = Document::parse(bytes.as_slice(), &stages.limits);
                    own.is_ok_and(|own| own_identity(&own, by).is_some())
                };
                // XML says which it is only when it is read, and then does so itself.
                let has_own = !by.is_empty() && (kind != "application/json" || says_own());
                let key = (!has_own).then(|| equals.key(&bytes));
                (interface.clone(), known.and_then(|known| known.model.clone()), key, kind)
            }
            None => {
                let head = Head::read(&bytes);
                let found = head.as_ref().ok_or_else(|| Box::new(no_message())).and_then(|head| {
                    self.service.hl7v2.destination(head).map_err(|trouble| Box::new(trouble_line(&trouble)))
                });
                let (interface, model) = found?;
                let key = head.as_ref().map(|head| hl7v2::key(&self.folder.principal, head));
                (interface.clone(), Some(model.clone()), key, MEDIA_TYPES[0])
            }
        };
        let submission = Submission {
            sender: stages.provider.ods.clone(),
            by: Some(self.folder.principal.clone()),
            interface,
            content_type: Some(kind.to_owned()),
            idempotency_key: key,
            body: bytes,
            received_at: clock::now(),
        };
        Ok((submission, model))
    }
}

fn no_message() -> Value {
    let text = "the message does not begin with an MSH segment";
    json!({ "outcome": "unreadable", "issues": [{ "text": text, "hint": "begin each message with MSH" }] })
}

fn trouble_line(trouble: &crate::acknowledgement::hl7v2::Trouble) -> Value {
    let place = trouble.location.as_ref().map(Location::to_string);
    json!({ "outcome": "refused", "issues": [{ "text": trouble.text, "hint": trouble.hint, "place": place }] })
}

fn merged(mut place: Value, line: Value) -> Value {
    if let (Value::Object(place), Value::Object(line)) = (&mut place, line) {
        place.extend(line);
    }
    place
}

/// A refusal as the report has it.
struct Refused<'r> {
    refusal: &'r Refusal,
    model: Option<&'r Model>,
    table: Option<&'r content::Table>,
}

impl Refused<'_> {
    fn line(&self) -> Value {
        let issues: Vec<Value> = self.refusal.issues().iter().map(|issue| self.issue(issue)).collect();
        json!({ "outcome": "refused", "stage": self.refusal.stage(), "issues": issues })
    }

    fn issue(&self, issue: &Issue) -> Value {
        let mut line = json!({ "text": issue.text });
        if !issue.hint.is_empty() {
            line["hint"] = issue.hint.as_str().into();
        }
        if let Some(path) = issue.path.as_ref().filter(|path| !path.as_str().is_empty()) {
            line["path"] = path.as_str().into();
            let of_record = matches!(self.refusal, Refusal::Intake(_) | Refusal::Mapping(_) | Refusal::Validation(_));
            let place = self.model.filter(|_| of_record).and_then(|model| Location::of(path, model));
            line["place"] = place.map(|place| place.to_string()).into();
            let column =
                self.table.filter(|_| of_record).and_then(|(header, row)| header.column_of(row, path.as_str()));
            line["column"] = column.into();
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_tried_again_ever_more_rarely() {
        let pauses = [1, 2, 3, 7, 8, 40].map(|failures| pause_after(failures, LONGEST_LEFT).as_secs());
        assert_eq!(pauses, [5, 10, 20, 320, 600, 600]);
    }

    /// The message of a panic may quote a record, and why a file was not taken stands in `/readyz`.
    #[tokio::test]
    async fn why_work_panicked_is_not_told() {
        let error = tokio::spawn(async { panic!("Peter Chalmers") }).await.expect_err("it panics");
        let why = Unfinished::from(abnormal(error));
        assert_eq!(why.to_string(), "the gateway failed while it took the file");
        assert!(!format!("{why:?}").contains("Chalmers"), "{why:?}");
    }
}
