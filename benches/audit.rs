//! What the audit log costs and how fast it answers, at a size of years: messages with the four events of an ordinary way each
//! (accepted, permitted, in flight, acknowledged), about a tenth as many patients, with a signed head after every 5,000 messages. The
//! messages hold next to nothing, so that the file is the log and what leads to it. Prints bytes a message, how long a
//! verification of everything takes, with the memory, and how long it takes to find one patient's disclosures, and those of a day.
//!
//! `WEIR_AUDIT_MESSAGES` (250,000, which make a million events) sets the size.

#![allow(clippy::disallowed_methods, reason = "a benchmark may block, and its files need not be durable")]
#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use time::macros::datetime;
use tokio::task::JoinSet;
use uuid::Uuid;
use weir::audit::checkpoint::{SigningKey, VerifierKey};
use weir::audit::search::{Query, search};
use weir::audit::{Checkpointer, Decision, HashKey, KeyedHash, Recorder, Step, Terms, verify};
use weir::fhir::Instant;
use weir::storage::{Accepted, Handling, MessageRecord, NewMessage, Secret, SqliteStore, State, Store, Text};

const START: Instant = datetime!(2020-01-01 00:00 UTC);
const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";
/// Messages on their way at once.
const AT_ONCE: u64 = 500;

struct Log {
    store: Arc<dyn Store>,
    recorder: Recorder,
    hashes: HashKey,
    patients: u64,
}

impl Log {
    fn patient(&self, number: u64) -> String {
        // Not in the order of the messages, as in life.
        self.hashes
            .subject(NHS_NUMBER, &(number.wrapping_mul(0x9E37_79B9) % self.patients).to_string())
            .as_str()
            .to_owned()
    }

    /// One message, from its acceptance to its acknowledgement, in its own minute.
    async fn message(&self, number: u64) {
        let at = START + time::Duration::minutes(i64::try_from(number).expect("a small number"));
        let new = message(number, at);
        let patient = number.wrapping_mul(0x9E37_79B9) % self.patients;
        let terms = Terms {
            subject: Some(self.hashes.subject(NHS_NUMBER, &patient.to_string())),
            purpose: "ETREAT".to_owned(),
            agreement: new.agreement.clone(),
            version: "1".to_owned(),
            agreement_hash: [7; 32],
            sent: 240,
            withheld: 31,
            missing: 0,
            consent: Some(("implied-consent".to_owned(), "given".to_owned())),
        };
        let mut record = MessageRecord {
            id: new.id,
            sender: new.sender.clone(),
            interface: new.interface.clone(),
            recipient: new.recipient.clone(),
            agreement: new.agreement.clone(),
            digest: new.digest,
            state: State::Accepted,
            accepted_at: at,
            updated_at: at,
            attempts: 0,
            next_attempt_at: Some(at),
            note: String::new(),
            route: 0,
            handling: Handling::default(),
        };
        let by = "demo-records".parse().expect("an id");
        let accepted = self.recorder.accepted(&new, Some(&by), &terms, &self.hashes.record(&new.digest));
        let decided = self.recorder.decision(Decision {
            recipient: &record.recipient,
            message: Some(record.id),
            terms: &terms,
            denied: None,
            at,
        });
        assert_eq!(self.store.accept(new, vec![accepted, decided]).await, Ok(Accepted::New));
        let begun = self.recorder.transition(step(&record, terms.subject.as_ref(), State::InFlight, "attempt"));
        self.store.transition(begun).await.expect("it is written");
        record.state = State::InFlight;
        let ended = step(&record, terms.subject.as_ref(), State::Acknowledged, "acknowledged");
        let ended = self.recorder.disclosure(ended, &terms, "https://demot.trust.example:8443/FHIR/R4");
        self.store.transition(ended).await.expect("it is written");
    }
}

fn step<'a>(record: &'a MessageRecord, patient: Option<&'a KeyedHash>, to: State, reason: &'static str) -> Step<'a> {
    Step { record, patient, to, at: record.accepted_at, attempts: 1, next_attempt_at: None, reason, note: "" }
}

fn message(number: u64, at: Instant) -> NewMessage {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes());
    NewMessage {
        id: id.to_string().parse().expect("an id"),
        sender: "DEMOP".parse().expect("an ODS code"),
        interface: "crisis-escalation".parse().expect("a name"),
        recipient: "DEMOT".parse().expect("an ODS code"),
        agreement: "demo-trust-crisis".parse().expect("a name"),
        retention_days: 30,
        digest: [3; 32],
        accepted_at: at,
        payload: b"{}".to_vec(),
        provenance: b"{}".to_vec(),
        lineage: b"{}".to_vec(),
        glossary: Arc::new(Text { digest: [0; 32], bytes: b"{}".to_vec() }),
        review: None,
        handling: Handling::default(),
        names: vec![],
        beginning: None,
    }
}

fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * share) as usize;
    times[at].as_secs_f64() * 1000.0
}

/// Megabytes that are resident, and were at most.
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    (line("VmRSS:").unwrap_or(0) / 1024, line("VmHWM:").unwrap_or(0) / 1024)
}

async fn fill(log: Arc<Log>, messages: u64, key: SigningKey) {
    let mut checkpointer = Checkpointer::resume(log.store.clone(), key).await.expect("a new log");
    let mut next = 0;
    while next < messages {
        let mut tasks = JoinSet::new();
        let end = messages.min(next + AT_ONCE);
        for number in next..end {
            let log = log.clone();
            tasks.spawn(async move { log.message(number).await });
        }
        tasks.join_all().await;
        if end.is_multiple_of(5_000) || end == messages {
            checkpointer.checkpoint().await.expect("it is signed");
        }
        next = end;
    }
}

async fn searches(log: &Log, kind: &str, queries: impl Iterator<Item = Query>) {
    let (mut times, mut found) = (Vec::new(), 0);
    for query in queries {
        let started = Stopwatch::now();
        found += search(&*log.store, &query).await.expect("it is read").events.len();
        times.push(started.elapsed());
    }
    assert!(found > 0, "the searches find something");
    let (median, worst) = (percentile(&mut times, 0.5), percentile(&mut times, 1.0));
    println!(
        "  {kind}: p50 {median:.2}, p99 {:.2}, most {worst:.2} ms; {found} events in {} searches",
        percentile(&mut times, 0.99),
        times.len()
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let messages = std::env::var("WEIR_AUDIT_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(250_000_u64);
    let folder = tempfile::tempdir().expect("a folder");
    let (path, secret) = (folder.path().join("weir.sqlite3"), Secret::generate());
    let key = SigningKey::generate("weir.example/DEMOP").expect("the name is good");
    let public: VerifierKey = key.verifier().clone();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, &secret).expect("it opens"));
    let recorder = Recorder::new("DEMOP".parse().expect("an ODS code"), "weir.example/DEMOP");
    let hashes = HashKey::new(secret.bytes());
    let log = Arc::new(Log { store, recorder, hashes, patients: (messages / 10).max(1) });
    let started = Stopwatch::now();
    fill(log.clone(), messages, key).await;
    println!("{messages} messages with 4 events each, written in {:.0} s", started.elapsed().as_secs_f64());
    let Ok(log) = Arc::try_unwrap(log) else { panic!("every task has ended") };
    let Log { store, recorder, hashes, patients } = log;
    drop(store);
    let bytes = fs::metadata(&path).expect("it is there").len();
    println!("  {} bytes a message on disk, {} MB in all", bytes / messages, bytes >> 20);

    let store: Arc<dyn Store> = Arc::new(SqliteStore::open_to_read(&path, None).expect("it opens"));
    let log = Log { store, recorder, hashes, patients };
    let before = memory();
    let started = Stopwatch::now();
    let report = verify(&*log.store, &public, None).await.expect("it is read");
    let took = started.elapsed().as_secs_f64();
    assert!(report.is_clean(), "{:?}", report.faults);
    let rate = took * 1e6 / report.events as f64;
    println!(
        "  verified: {} events and {} messages in {took:.1} s, {rate:.1} s a million events; {} MB resident before, {} at most",
        report.events,
        report.messages,
        before.0,
        memory().1
    );
    let of_patient = (0..1_000).map(|number| Query {
        patient: Some(log.patient(number * 7919)),
        kinds: vec!["state-transition".to_owned()],
        count: 50,
        ..Query::default()
    });
    searches(&log, "one patient's disclosures", of_patient).await;
    let days = i64::try_from(messages / 1440).expect("a small number").max(1);
    let of_day = (0..50).map(|number| {
        let from = START + time::Duration::days(number * 37 % days);
        Query { from: Some(from), until: Some(from + time::Duration::DAY), count: 50, ..Query::default() }
    });
    searches(&log, "the newest 50 of a day", of_day).await;
}
