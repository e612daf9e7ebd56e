//! A gateway that is killed at any moment loses nothing it acknowledged, and its audit log still verifies.
//!
//! The test starts itself again as a child that accepts messages and moves them on, and says each change on stdout
//! after the store confirmed it. The parent kills it (SIGKILL) at a random moment, many times on one site, and compares
//! what is on disk with what was said.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::datetime;
use weir::audit::checkpoint::SigningKey;
use weir::audit::{self, Checkpointer, HashKey, Recorder, Step, Terms};
use weir::identity::{MessageId, PartyId};
use weir::storage::{Accepted, Content, Error, MessageRecord, NewMessage, Secret, SqliteStore, State, Store, Text};

const ROUNDS: u32 = 15;
const WORKERS: u32 = 8;
const NAME: &str = "weir.example/DEMOP";
const NOON: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);
/// Tells the child its site and its round.
const SITE: &str = "WEIR_CRASH_SITE";
const ROUND: &str = "WEIR_CRASH_ROUND";

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = Secret::create(&folder.path().join("seal.key")).expect("a key");
    let key = SigningKey::create(NAME, &folder.path().join("audit.key")).expect("a key");
    let mut acknowledged: BTreeMap<MessageId, State> = BTreeMap::new();
    let mut covered = 0;
    for round in 0..ROUNDS {
        let said = run_and_kill(folder.path(), round);
        assert!(!said.is_empty(), "round {round} acknowledged something before it was killed");
        acknowledged.extend(said);
        let store = SqliteStore::open(&folder.path().join("weir.db"), &secret).expect("it opens after the kill");
        covered = runtime().block_on(check(&store, &key, &acknowledged));
        // The next round's recovery queues again what was in flight.
        acknowledged.values_mut().filter(|state| **state == State::InFlight).for_each(|state| *state = State::Queued);
    }
    assert!(covered > 0, "some checkpoint was signed between the kills");
}

/// Runs the child until a random moment after its first acknowledgement; gives what it said.
fn run_and_kill(site: &Path, round: u32) -> BTreeMap<MessageId, State> {
    let mut child = Command::new(std::env::current_exe().expect("a test knows its program"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(SITE, site)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut said = BTreeMap::new();
    let mut line = String::new();
    while said.is_empty() && lines.read_line(&mut line).expect("it is text") > 0 {
        said.extend(change(&line));
        line.clear();
    }
    let mut random = [0];
    aws_lc_rs::rand::fill(&mut random).expect("there is randomness");
    std::thread::sleep(Duration::from_millis(u64::from(random[0]) / 2));
    child.kill().expect("it is killed");
    child.wait().expect("it is gone");
    while lines.read_line(&mut line).expect("it is text") > 0 {
        said.extend(change(&line));
        line.clear();
    }
    said
}

/// `said <id> <state>`, if the line is whole.
fn change(line: &str) -> Option<(MessageId, State)> {
    let (id, state) = line.strip_suffix('\n')?.split_once("said ")?.1.split_once(' ')?;
    Some((id.parse().ok()?, state.parse().ok()?))
}

/// Everything said is there, and everything there hangs together. Gives how many events a checkpoint covers.
async fn check(store: &SqliteStore, key: &SigningKey, acknowledged: &BTreeMap<MessageId, State>) -> u64 {
    for (id, state) in acknowledged {
        let record = store.message(*id).await.expect("it is read");
        let record = record.unwrap_or_else(|| panic!("message {id} was acknowledged and is lost"));
        assert!(record.state >= *state, "message {id} was {state} and is {}", record.state);
        assert_eq!(store.content(*id, Content::Payload).await, Ok(Some(id.to_string().into_bytes())));
        assert!(!store.events_of(*id).await.expect("they are read").is_empty());
    }
    let report = audit::verify(store, key.verifier(), None).await.expect("it is read");
    assert_eq!((report.faults, report.more_faults), (vec![], 0));
    assert!(report.messages >= acknowledged.len() as u64);
    assert_eq!(report.events, store.event_count().await.expect("it is read"));
    report.covered
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

/// Not a test of its own: the program that the test above kills.
#[test]
fn child() {
    let (Ok(site), Ok(round)) = (std::env::var(SITE), std::env::var(ROUND)) else { return };
    runtime().block_on(work(Path::new(&site), round.parse().expect("a number")));
}

async fn work(site: &Path, round: u32) {
    let secret = Secret::load(&site.join("seal.key")).expect("a key");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&site.join("weir.db"), &secret).expect("it opens"));
    let recorder = Recorder::new(party("DEMOP"), NAME);
    audit::recover(&*store, &recorder, NOON).await.expect("it recovers");
    store
        .append(recorder.started("0.1.0", &"demo-engineer".parse().expect("an id"), NOON))
        .await
        .expect("it is written");
    for worker in 0..WORKERS {
        let (store, recorder, hashes) = (Arc::clone(&store), recorder.clone(), HashKey::new(secret.bytes()));
        tokio::spawn(async move {
            for number in 0_u32.. {
                one(&*store, &recorder, &hashes, &format!("{round} {worker} {number}")).await.expect("it is stored");
            }
        });
    }
    let key = SigningKey::load(&site.join("audit.key")).expect("a key");
    let mut checkpointer = Checkpointer::resume(store, key).await.expect("it goes on");
    loop {
        checkpointer.checkpoint().await.expect("it is signed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The life of one message: accepted, sent, acknowledged.
async fn one(store: &dyn Store, recorder: &Recorder, hashes: &HashKey, name: &str) -> Result<(), Error> {
    let new = message(name);
    let id = new.id;
    let terms = terms(&new);
    let event = recorder.accepted(&new, None, &terms, &hashes.record(&new.digest));
    assert_eq!(store.accept(new, vec![event]).await?, Accepted::New);
    say(id, State::Accepted);
    let record = store.message(id).await?.expect("it was accepted");
    store.transition(recorder.transition(step(&record, State::InFlight))).await?;
    say(id, State::InFlight);
    let record = store.message(id).await?.expect("it was accepted");
    store.transition(recorder.disclosure(step(&record, State::Delivered), &terms, "https://trust.example")).await?;
    say(id, State::Delivered);
    Ok(())
}

fn say(id: MessageId, state: State) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "said {id} {state}").and_then(|()| out.flush()).expect("the parent listens");
}

fn message(name: &str) -> NewMessage {
    let (sender, interface) = (party("DEMOP"), "crisis-escalation".parse().expect("a name"));
    let id = MessageId::derive(&sender, &interface, name);
    NewMessage {
        id,
        sender,
        interface,
        recipient: party("RXT01"),
        agreement: "demo-trust-crisis".parse().expect("a name"),
        retention_days: 30,
        digest: [0; 32],
        accepted_at: NOON,
        payload: id.to_string().into_bytes(),
        provenance: vec![1; 1000],
        lineage: vec![2; 1000],
        glossary: Arc::new(Text { digest: [3; 32], bytes: vec![3; 1000] }),
        review: None,
        handling: weir::storage::Handling::default(),
        names: vec![format!("bundle {id}")],
        beginning: None,
    }
}

fn terms(message: &NewMessage) -> Terms {
    Terms {
        subject: None,
        purpose: "TREAT".to_owned(),
        agreement: message.agreement.clone(),
        version: "1".to_owned(),
        agreement_hash: [0; 32],
        sent: 1,
        withheld: 0,
        missing: 0,
        consent: None,
    }
}

fn step(record: &MessageRecord, to: State) -> Step<'_> {
    Step { record, patient: None, to, at: NOON, attempts: 1, next_attempt_at: None, reason: "", note: "" }
}

fn party(text: &str) -> PartyId {
    text.parse().expect("an ODS code")
}
