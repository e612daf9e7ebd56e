//! `kill -9` at every boundary of a message's way: each read and send over its sockets, each write and sync of its
//! transactions, and what a start, a stop, an act and a notice write. Whatever the boundary, what got a 202 arrives, under
//! one set of ids, once, and the audit log verifies.
//!
//! The kills are made from outside, in the program that ships (`support/boundary.rs`). The short run hits each boundary that
//! has a name here; `WEIR_KILLS=500` goes on, in each test, over all boundaries in turn, named or not.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;
#[path = "support/afterwards.rs"]
mod afterwards;
#[path = "support/boundary.rs"]
mod boundary;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use afterwards::{Seen, assert_sound, assert_verified, number, seen, states};
use boundary::Kind::*;
use boundary::{Aim, Boundaries, Kind, after, before};
use hyper::body::Bytes;
use serde_json::Value;
use support::{DemoSite, Process, http_get, wait_for, weir};
use uuid::Uuid;
use weir::cli::client::{Answer, Client};
use weir::config::{Endpoint, Site};
use weir::identity::MessageId;

const MINIMAL: &str = "crisis-escalation-minimal.json";
/// Shared without consent, so that it gets a review.
const OVERRIDE: &str = "crisis-escalation-override.json";
/// No head of the log is signed while the gateway runs: there are no transactions but those that a test asks for.
const NEVER: u64 = 86_400;

/// How many kills a test makes at least: those of the named boundaries when nobody says more.
fn kills() -> usize {
    std::env::var("WEIR_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A site between its boundaries, with its Trust, and what was accepted there.
struct Bed {
    site: DemoSite,
    boundaries: Boundaries,
    runtime: tokio::runtime::Runtime,
    loaded: Site,
    endpoint: Endpoint,
    record: Bytes,
    _trust: Process,
    /// Each message that got a 202, or may have been stored without one.
    accepted: BTreeMap<String, String>,
    /// How often the Trust had been connected to when the gateway started.
    connects: u64,
    kills: usize,
}

impl Bed {
    /// With an audit log whose head is signed so often.
    fn new(record: &str, checkpoint_seconds: u64) -> Option<Bed> {
        let site = DemoSite::new();
        set(&site, "gateway/weir.toml", "[audit]\n", &format!("[audit]\ncheckpoint_seconds = {checkpoint_seconds}\n"));
        // Nobody but its messages connects to the Trust.
        let often = "first_retry_seconds = 0.1\ndiscovery_hours = 0\n";
        set(&site, "gateway/partners/trust.toml", "first_retry_seconds = 1\n", often);
        let boundaries = Boundaries::of(&site)?;
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let loaded = Site::load(&site.gateway_folder()).unwrap_or_else(|faults| panic!("{faults}"));
        let endpoint = loaded.send_endpoint().expect("the site says how to send");
        let record = site.record(record).into();
        let trust = site.start_partner("trust", &[]);
        let (accepted, connects, kills) = (BTreeMap::new(), 0, 0);
        Some(Bed { site, boundaries, runtime, loaded, endpoint, record, _trust: trust, accepted, connects, kills })
    }

    fn start(&mut self) -> Process {
        self.connects = self.boundaries.count(PartnerConnect);
        self.boundaries.start_gateway(&self.site)
    }

    /// Submits a record under a key; `None` when the answer is lost.
    fn submit(&self, key: &str) -> Option<Answer> {
        self.runtime.block_on(async {
            let submitted = async {
                let mut client = Client::connect(&self.endpoint).await.ok()?;
                client.submit("crisis-escalation", Some(key), self.record.clone()).await.ok()
            };
            tokio::time::timeout(Duration::from_secs(20), submitted).await.expect("the gateway answers or is gone")
        })
    }

    fn state(&self, message: &str) -> Option<String> {
        states(&self.site).remove(message)
    }

    fn wait_for_acknowledged(&self, message: &str) {
        wait_for("the message to be acknowledged", || self.state(message).as_deref() == Some("acknowledged"));
    }

    /// Submits what may have been submitted before, and waits until it is acknowledged.
    fn submit_again(&mut self, key: &str, was_stored: bool) {
        let answer = self.submit(key).expect("the gateway answers");
        assert_eq!(answer.status, 202, "{}", answer.json());
        let (body, message) = (answer.json(), message(key));
        assert_eq!(body["message"], *message);
        assert_eq!(body["repeated"], was_stored, "what is stored, and only that, is a repeat");
        self.wait_for_acknowledged(&message);
        self.accepted.insert(message, key.to_owned());
    }

    /// After the last kill: everything that got a 202 arrived once, and what is stored is sound. Gives what the run came to.
    fn end(self, gateway: Process) -> String {
        assert_eq!(gateway.terminate(), Some(0));
        assert_sound(&self.site, &self.loaded);
        assert_verified(&self.site);
        let seen = seen(&self.site, "trust");
        let states = states(&self.site);
        for message in self.accepted.keys() {
            assert_eq!(states[message], "acknowledged");
            assert!(seen.kept.contains_key(message), "message {message} got a 202 and did not arrive");
        }
        assert_eq!(seen.kept.len(), self.accepted.len(), "something arrived that nobody submitted");
        let Seen { arrivals, resends, .. } = seen;
        format!("{} kills, {} messages, {arrivals} arrivals, {resends} resends", self.kills, self.accepted.len())
    }
}

fn set(site: &DemoSite, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(site.path(file)).expect("it is there");
    assert!(text.contains(from), "{file} has no {from:?}");
    fs::write(site.path(file), text.replace(from, to)).expect("it is written");
}

/// The id of the message that is submitted under a key.
fn message(key: &str) -> String {
    let (sender, interface) = ("DEMOP".parse().expect("an ODS code"), "crisis-escalation".parse().expect("a name"));
    MessageId::derive(&sender, &interface, &format!("key {key}")).to_string()
}

/// Waits until the gateway has ended, or is `done` and has not ended a moment later. Whether it has.
fn ends(gateway: &mut Process, mut done: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + Duration::from_secs(30);
    let mut moment = None;
    while !gateway.is_over() {
        assert!(Instant::now() < give_up, "neither killed nor done in 30 s");
        if moment.is_none() && done() {
            moment = Some(Instant::now() + Duration::from_millis(300));
        }
        if moment.is_some_and(|moment| Instant::now() > moment) {
            return gateway.is_over();
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    true
}

/// How many boundaries of a kind a trace has.
fn count(trace: &[Kind], kind: Kind) -> u64 {
    trace.iter().filter(|each| **each == kind).count() as u64
}

/// Where a message stands after each of its commits: its attempt begins as it is accepted, or by itself where the gateway has just started
/// and has not looked for what waits.
const AFTER_COMMITS: [[Option<&str>; 5]; 2] = [
    [None, Some("in-flight"), Some("acknowledged"), Some("acknowledged"), Some("acknowledged")],
    [None, Some("accepted"), Some("in-flight"), Some("acknowledged"), Some("acknowledged")],
];

/// What happened to the message of one round, as the kill left it.
struct Fallen {
    /// Up to the boundary that was aimed at.
    trace: Vec<Kind>,
    /// After it: the kill ends a call that takes a moment, and other threads go on in that.
    meanwhile: Vec<Kind>,
    answered: bool,
    stored: Option<String>,
    arrived: bool,
}

impl Fallen {
    /// What is stored is what was committed: nothing of a transaction that was not written whole, all of one that was. Nothing is
    /// answered before it is on disk, and nothing sent before the attempt is.
    fn assert_in_order(&self) {
        let all = [&self.trace[..], &self.meanwhile[..]].concat();
        let (least, most) = (count(&self.trace, LogSync) as usize, count(&all, LogSync) as usize);
        let last = all.iter().rposition(|kind| *kind == LogSync).map_or(0, |last| last + 1);
        let pending = all[last..].contains(&LogWrite);
        let may: Vec<_> = AFTER_COMMITS.iter().flat_map(|after| &after[least..=most + usize::from(pending)]).collect();
        let seen = format!("{:?}, then {:?}", self.trace, self.meanwhile);
        assert!(may.contains(&&self.stored.as_deref()), "stored: {:?}, of {may:?}: {seen}", self.stored);
        assert!(!self.answered || most >= 1, "answered before it was on disk: {seen}");
        let has_begun = !matches!(self.stored.as_deref(), None | Some("accepted"));
        assert!(!self.arrived || (most >= 1 && has_begun), "sent before the attempt was on disk: {seen}");
    }
}

impl Bed {
    /// Waits until the gateway is killed where it was aimed at, or is `done` and was not.
    fn is_killed(&mut self, gateway: &mut Process, done: impl Fn(&Bed) -> bool) -> bool {
        let killed = ends(gateway, || done(self)) && self.boundaries.was_hit();
        self.boundaries.spare();
        self.kills += usize::from(killed);
        killed
    }

    /// Submits a record and has the gateway killed at `aim` on its way; `None` when there was no such boundary.
    fn fall(&mut self, gateway: &mut Process, aim: Aim, key: &str) -> Option<Fallen> {
        let message = message(key);
        let since = self.boundaries.aim(aim);
        let answer = self.submit(key);
        let answered = answer.is_some_and(|answer| answer.status == 202);
        if !self.is_killed(gateway, |bed| bed.state(&message).as_deref() == Some("acknowledged")) {
            self.accepted.insert(message, key.to_owned());
            return None;
        }
        let arrived = self.site.arrivals("trust").iter().any(|row| row["request"] == *message);
        let (trace, meanwhile) = (self.boundaries.trace(since), self.boundaries.meanwhile());
        let stored = self.state(&message);
        Some(Fallen { trace, meanwhile, answered, stored, arrived })
    }

    /// One round: a kill at `aim`, a look at what it left, a new start, and the message arrives. `None` when there was no such
    /// boundary; the gateway that runs then.
    fn round(&mut self, mut gateway: Process, aim: Aim) -> (Process, Option<Vec<Kind>>) {
        let key = Uuid::new_v4().to_string();
        let Some(fallen) = self.fall(&mut gateway, aim, &key) else { return (gateway, None) };
        fallen.assert_in_order();
        self.look_now_and_then();
        let gateway = self.start();
        self.submit_again(&key, fallen.stored.is_some());
        (gateway, Some(fallen.trace))
    }

    /// Reads everything as a crash left it, before anything is recovered.
    fn look_now_and_then(&self) {
        if self.kills.is_multiple_of(10) {
            assert_sound(&self.site, &self.loaded);
        }
    }

    /// A gateway that is connected to the Trust, or is not yet, as the boundary needs it.
    fn made_ready(&mut self, gateway: Process, needs: Needs) -> Process {
        let is_connected = self.boundaries.count(PartnerConnect) > self.connects;
        match needs {
            Needs::NoConnection if is_connected => {
                gateway.kill();
                self.kills += 1;
                self.start()
            }
            Needs::Connection if !is_connected => {
                self.submit_again(&Uuid::new_v4().to_string(), false);
                gateway
            }
            _ => gateway,
        }
    }
}

/// What a boundary needs to be reached: each process connects to the Trust for its first message.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    NoConnection,
    Connection,
}

use Needs::{Connection, NoConnection, Nothing};

/// The boundaries on a message's way that have a name. Its transactions are two: it is accepted and its attempt begins, its
/// attempt ends.
const ON_THE_WAY: [(&str, Needs, Aim); 19] = [
    ("a connection is accepted", Nothing, after(RecordsAccept, 1)),
    ("the first bytes of a client are read", Nothing, after(RecordsReceive, 1)),
    ("the request is read", Nothing, after(RecordsReceive, 2)),
    ("the first page of the message is written", Nothing, after(LogWrite, 1)),
    ("in the middle of the message's pages", Nothing, before(LogWrite, 20)),
    ("before the message is synced", Nothing, before(LogSync, 1)),
    ("the message is synced", Nothing, after(LogSync, 1)),
    ("before the 202 is sent", Nothing, before(RecordsSend, 1).since(1)),
    ("the 202 is sent", Nothing, after(RecordsSend, 1).since(1)),
    ("before the partner is connected", NoConnection, before(PartnerConnect, 1)),
    ("the partner is connected", NoConnection, after(PartnerConnect, 1)),
    ("in the handshake with the partner", NoConnection, after(PartnerReceive, 1)),
    ("before the message is sent", Connection, before(PartnerSend, 1).since(1)),
    ("half of the message is sent", Connection, after(PartnerSend, 1).since(1)),
    ("the message is sent", Connection, after(PartnerSend, 2).since(1)),
    ("the partner's answer is read", Connection, after(PartnerReceive, 1).since(1)),
    ("the first page of the outcome is written", Nothing, after(LogWrite, 1).since(1)),
    ("before the outcome is synced", Nothing, before(LogSync, 2)),
    ("the outcome is synced", Nothing, after(LogSync, 2)),
];

#[test]
fn a_message_arrives_once_wherever_on_its_way_the_gateway_is_killed() {
    let Some(mut bed) = Bed::new(MINIMAL, NEVER) else { return };
    assert_eq!(bed.start().terminate(), Some(0), "a first head is signed");
    let mut gateway = bed.start();
    let since = bed.boundaries.calls();
    bed.submit_again("the-first", false);
    let way = bed.boundaries.trace(since).len() as u64;
    for (name, needs, aim) in ON_THE_WAY {
        gateway = bed.made_ready(gateway, needs);
        let (running, trace) = bed.round(gateway, aim);
        let trace = trace.unwrap_or_else(|| panic!("there was no such boundary: {name}"));
        assert_eq!(trace.last(), aim.kind.as_ref(), "{name}");
        gateway = running;
    }
    for turn in 0.. {
        if bed.kills >= kills() {
            break;
        }
        (gateway, _) = bed.round(gateway, in_turn(turn, way + 5));
    }
    eprintln!("{}", bed.end(gateway));
}

/// Each of the first `boundaries` in turn, before it and after it.
fn in_turn(turn: u64, boundaries: u64) -> Aim {
    Aim { kind: None, nth: turn / 2 % boundaries + 1, after: turn % 2 == 1, syncs: 0 }
}

/// A start writes that it starts and with which configuration; here the third transaction queues again what was in flight, the fourth
/// keeps a signed head, and the fifth begins the next attempt.
const AT_THE_START: [(&str, Aim); 6] = [
    ("before the start is synced", before(LogSync, 1)),
    ("the start is synced", after(LogSync, 1)),
    ("before a message that is queued again is synced", before(LogSync, 3)),
    ("a message that is queued again is synced", after(LogSync, 3)),
    ("before its next attempt is synced", before(LogSync, 5)),
    ("its next attempt is synced", after(LogSync, 5)),
];

/// A stop folds the write-ahead log into the database.
const AT_THE_STOP: [(&str, Aim); 5] = [
    ("the stop is synced", after(LogSync, 1)),
    ("the first page is folded in", after(DatabaseWrite, 1)),
    ("before the database is synced", before(DatabaseSync, 1)),
    ("the database is synced", after(DatabaseSync, 1)),
    ("the database is cut to its size", after(Truncate, 1)),
];

/// A message's transactions are two; the third keeps the signed head of the log.
const AT_A_HEAD: [(&str, Aim); 2] =
    [("before the head is synced", before(LogSync, 3)), ("the head is synced", after(LogSync, 3))];

impl Bed {
    /// Starts a gateway that is killed at `aim` before it is ready; whether there was such a boundary.
    fn fall_at_the_start(&mut self, aim: Aim) -> bool {
        self.boundaries.aim(aim);
        let mut gateway = self.boundaries.begin_gateway(&self.site);
        let ready = |bed: &Bed| http_get(bed.site.operations(), "/readyz").is_some_and(|answer| answer.0 == 200);
        let killed = self.is_killed(&mut gateway, ready);
        gateway.kill();
        killed
    }

    /// The same with a data folder that is as a new site's; what waits in it was left before the gateway ran.
    fn fall_at_the_first_start(&mut self, aim: Aim) -> bool {
        let (data, kept) = (self.site.path("gateway/data"), self.site.path("kept"));
        let copy = |from: &Path, to: &Path| {
            let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
            assert!(copied.success());
        };
        if kept.exists() {
            fs::remove_dir_all(&data).expect("it is removed");
            copy(&kept, &data);
        } else {
            copy(&data, &kept);
        }
        let killed = self.fall_at_the_start(aim);
        if killed {
            // What is left of it can be made whole.
            assert_eq!(self.start().terminate(), Some(0));
        }
        killed
    }

    /// Leaves a message in flight, has the next start killed at `aim`, and starts again. Whether there was such a boundary.
    fn start_round(&mut self, mut gateway: Process, aim: Aim) -> (Process, bool) {
        let key = Uuid::new_v4().to_string();
        let left = self.fall(&mut gateway, before(PartnerSend, 1), &key).expect("each message has an attempt");
        assert_eq!(left.stored.as_deref(), Some("in-flight"));
        let killed = self.fall_at_the_start(aim);
        self.look_now_and_then();
        let gateway = self.start();
        self.submit_again(&key, true);
        (gateway, killed)
    }

    /// Ends a gateway and has it killed at `aim` meanwhile.
    fn stop_round(&mut self, mut gateway: Process, aim: Aim) -> (Process, bool) {
        self.submit_again(&Uuid::new_v4().to_string(), false);
        self.boundaries.aim(aim);
        gateway.signal("TERM");
        let killed = self.is_killed(&mut gateway, |_| false);
        self.look_now_and_then();
        (self.start(), killed)
    }

    /// Has the gateway killed at `aim`, counted from a message whose events a signed head then covers.
    fn head_round(&mut self, mut gateway: Process, aim: Aim) -> (Process, bool) {
        let key = Uuid::new_v4().to_string();
        self.boundaries.aim(aim);
        self.submit(&key);
        let covered = "SELECT (SELECT max(size) FROM checkpoints) = (SELECT count(*) FROM events) AND NOT EXISTS \
                       (SELECT 1 FROM messages WHERE state <> 'acknowledged')";
        let killed = self.is_killed(&mut gateway, |bed| number(&bed.site, covered) == 1);
        let was_stored = self.state(&message(&key)).is_some();
        self.look_now_and_then();
        let gateway = if killed { self.start() } else { gateway };
        self.submit_again(&key, was_stored);
        (gateway, killed)
    }
}

#[test]
fn a_start_a_stop_and_a_signed_head_can_be_broken_off_anywhere() {
    let Some(mut bed) = Bed::new(MINIMAL, 1) else { return };
    let first_starts = if kills() > 0 { 80 } else { 3 };
    for turn in 0..first_starts {
        // The database is made, and killed further on each time.
        let nth = if kills() > 0 { turn / 2 + 1 } else { 1 + 11 * turn };
        let killed = bed.fall_at_the_first_start(Aim { kind: None, nth, after: turn % 2 == 1, syncs: 0 });
        assert!(killed, "the first start has so many boundaries");
    }
    let mut gateway = bed.start();
    let hit = |name: &str, killed: bool| assert!(killed, "there was no such boundary: {name}");
    for (name, aim) in AT_THE_START {
        let (running, killed) = bed.start_round(gateway, aim);
        hit(name, killed);
        gateway = running;
    }
    for (name, aim) in AT_THE_STOP {
        let (running, killed) = bed.stop_round(gateway, aim);
        hit(name, killed);
        gateway = running;
    }
    for (name, aim) in AT_A_HEAD {
        let (running, killed) = bed.head_round(gateway, aim);
        hit(name, killed);
        gateway = running;
    }
    for turn in 0.. {
        if bed.kills >= kills() {
            break;
        }
        gateway = match turn % 3 {
            0 => bed.start_round(gateway, in_turn(turn / 3, 40)).0,
            1 => bed.stop_round(gateway, in_turn(turn / 3, 160)).0,
            _ => bed.head_round(gateway, in_turn(turn / 3, 120)).0,
        };
    }
    eprintln!("{}", bed.end(gateway));
}

/// An act that was left for the gateway is performed in one transaction, with the notice that it brings; then its file is removed.
/// The notice is written, and what came of it is the second transaction.
const AT_AN_ACT: [(&str, Aim); 9] = [
    ("before the act is synced", before(LogSync, 1)),
    ("the act is synced", after(LogSync, 1)),
    ("before the act's file is removed", before(ActRemove, 1)),
    ("the act's file is removed", after(ActRemove, 1)),
    ("the notice is written", after(SpoolWrite, 1)),
    ("before the notice gets its name", before(SpoolRename, 1)),
    ("the notice has its name", after(SpoolRename, 1)),
    ("before the notice is synced as delivered", before(LogSync, 2)),
    ("the notice is synced as delivered", after(LogSync, 2)),
];

impl Bed {
    /// Leaves the finding that a message should not have been sent.
    fn find_fault(&self, message: &str) -> Process {
        let mut command = weir();
        command.args(["review", "complete", message, "--finding", "not-justified", "--words", "A visit was possible."]);
        command.args(["--as", "demo-safeguarding", "--site"]).arg(self.site.gateway_folder());
        Process::start(&mut command, self.site.path("review.log"))
    }

    /// Whether people were told of what was found about a message, as far as the database knows.
    fn is_told(&self, message: &str) -> bool {
        let id = message.replace('-', "");
        number(&self.site, &format!("SELECT count(delivered_at) FROM notices WHERE message = x'{id}'")) == 1
    }

    /// Whether what was found about a message waits for the gateway, or was taken.
    fn is_left(&self, message: &str) -> bool {
        let id = message.replace('-', "");
        let taken = format!(
            "SELECT count(finding) FROM reviews JOIN messages ON position = message WHERE messages.id = x'{id}'"
        );
        let mut waiting = fs::read_dir(self.site.path("gateway/data/acts")).expect("it is there");
        let waits = waiting.any(|file| file.expect("a file").path().extension().is_some_and(|it| it == "jws"));
        waits || number(&self.site, &taken) == 1
    }

    /// Has the gateway killed at `aim` while it takes an act and tells people.
    fn act_round(&mut self, mut gateway: Process, aim: Aim) -> (Process, bool) {
        let key = Uuid::new_v4().to_string();
        self.submit_again(&key, false);
        let message = message(&key);
        self.boundaries.aim(aim);
        let finding = self.find_fault(&message);
        let killed = self.is_killed(&mut gateway, |bed| bed.is_told(&message));
        // The gateway may be killed, by what it still had to do, before the command has left anything.
        wait_for("the act to be left", || self.is_left(&message));
        drop(finding);
        self.look_now_and_then();
        let gateway = if killed { self.start() } else { gateway };
        wait_for("people to be told", || self.is_told(&message));
        (gateway, killed)
    }
}

#[test]
fn an_act_is_performed_once_and_its_notice_written_once_wherever_the_gateway_is_killed() {
    let Some(mut bed) = Bed::new(OVERRIDE, NEVER) else { return };
    assert_eq!(bed.start().terminate(), Some(0), "a first head is signed");
    let mut gateway = bed.start();
    for (name, aim) in AT_AN_ACT {
        let (running, killed) = bed.act_round(gateway, aim);
        assert!(killed, "there was no such boundary: {name}");
        gateway = running;
    }
    for turn in 0.. {
        if bed.kills >= kills() {
            break;
        }
        (gateway, _) = bed.act_round(gateway, in_turn(turn, 50));
    }
    bed.assert_told_once();
    eprintln!("{}", bed.end(gateway));
}

impl Bed {
    /// Each finding was made once, told once, and is in one file; nothing waits.
    fn assert_told_once(&self) {
        let messages = i64::try_from(self.accepted.len()).expect("they are few");
        for (what, sql) in [
            ("findings", "SELECT count(*) FROM reviews WHERE finding = 'not-justified'"),
            ("notices", "SELECT count(*) FROM notices"),
            ("notices that were delivered", "SELECT count(delivered_at) FROM notices"),
        ] {
            assert_eq!(number(&self.site, sql), messages, "{what}");
        }
        let completed = |event: &Value| event["subtype"].to_string().contains("review-completed");
        assert_eq!(self.site.audit_events().iter().filter(|event| completed(event)).count(), self.accepted.len());
        let names = |folder: &str| -> Vec<String> {
            let entries = fs::read_dir(self.site.path(folder)).expect("it is there");
            let names = entries.map(|entry| entry.expect("it is read").file_name().to_string_lossy().into_owned());
            names.filter(|name| !name.starts_with('.')).collect()
        };
        assert_eq!(names("gateway/data/acts"), [""; 0], "an act waits");
        let files = names("gateway/data/incidents");
        assert_eq!(files.len(), self.accepted.len());
        for file in files {
            let text = fs::read(self.site.path("gateway/data/incidents").join(file)).expect("it is read");
            let notice: Value = serde_json::from_slice(&text).expect("a notice is whole");
            assert!(self.accepted.contains_key(notice["message"].as_str().expect("it names its message")));
        }
    }
}
