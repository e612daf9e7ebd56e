//! What fails beneath a running gateway: a disk that is full, read-only or broken, a clock that jumps by days, a partner that is
//! killed and comes back. Whatever it is: what got a 202 arrives once under one set of ids, what did not is nowhere, and
//! the audit log verifies.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]
#![allow(clippy::print_stderr, reason = "a test that tests nothing says so")]

mod support;
#[path = "support/afterwards.rs"]
mod afterwards;
#[path = "support/boundary.rs"]
mod boundary;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use afterwards::{Seen, assert_sound, assert_verified, number, seen, states};
use boundary::Kind::*;
use boundary::{Boundaries, after, before};
use hyper::body::Bytes;
use serde_json::Value;
use support::{DemoSite, Process, wait_for, weir};
use uuid::Uuid;
use weir::cli::client::{Answer, Client};
use weir::config::{Endpoint, Site};
use weir::identity::MessageId;

const DAY: i64 = 86_400;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EROFS: i32 = 30;

/// A site whose lanes try again soon, and what was submitted there.
struct Bed {
    site: DemoSite,
    runtime: tokio::runtime::Runtime,
    loaded: Site,
    endpoint: Endpoint,
    record: Bytes,
    /// Each message that got a 202, with its key.
    accepted: BTreeMap<String, String>,
    /// Keys that got another answer than 202.
    refused: Vec<String>,
}

impl Bed {
    fn new() -> Bed {
        let site = DemoSite::new();
        let file = site.path("gateway/partners/trust.toml");
        let text = fs::read_to_string(&file).expect("the partner has a file");
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains("_seconds")).collect();
        let settings =
            "first_retry_seconds = 0.1\nmax_retry_seconds = 1\nattempt_timeout_seconds = 5\ndiscovery_hours = 0";
        fs::write(&file, format!("{}\n{settings}\n", kept.join("\n"))).expect("it is written");
        // What a disk keeps free for accepted messages is not what is tested here.
        let file = site.path("gateway/weir.toml");
        let text = fs::read_to_string(&file).expect("the site has a weir.toml");
        fs::write(&file, text.replace("payload_key =", "min_free_bytes = 0\npayload_key =")).expect("it is written");
        let loaded = Site::load(&site.gateway_folder()).unwrap_or_else(|faults| panic!("{faults}"));
        let endpoint = loaded.send_endpoint().expect("the site says how to send");
        let record = site.record("crisis-escalation-minimal.json").into();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        Bed { site, runtime, loaded, endpoint, record, accepted: BTreeMap::new(), refused: Vec::new() }
    }

    /// Submits the record under a key; the status, and whether the sender is told to come back.
    fn submit(&mut self, key: &str) -> u16 {
        let submitted = async {
            let mut client = Client::connect(&self.endpoint).await?;
            client.submit("crisis-escalation", Some(key), self.record.clone()).await
        };
        let submitted = async { tokio::time::timeout(Duration::from_secs(30), submitted).await };
        let answer: Answer = self.runtime.block_on(submitted).expect("it is answered").expect("the gateway is there");
        let message = message(key);
        match answer.status.as_u16() {
            202 => {
                assert_eq!(answer.json()["message"], *message);
                self.accepted.insert(message, key.to_owned());
            }
            status => {
                assert!(status == 503 && answer.headers.contains_key("retry-after"), "{status} {}", answer.json());
                self.refused.push(key.to_owned());
            }
        }
        answer.status.as_u16()
    }

    fn submit_new(&mut self) -> u16 {
        self.submit(&Uuid::new_v4().to_string())
    }

    /// Submits again what was refused: the sender was told to.
    fn submit_refused(&mut self) {
        for key in std::mem::take(&mut self.refused) {
            assert_eq!(self.submit(&key), 202);
        }
    }

    fn wait_for_all(&self) {
        wait_for("every message to be acknowledged", || {
            let states = states(&self.site);
            self.accepted.keys().all(|message| states[message] == "acknowledged")
        });
    }

    /// What is stored is what got a 202, and nothing of what did not.
    fn assert_nothing_half_accepted(&self) {
        let stored: Vec<String> = states(&self.site).into_keys().collect();
        assert_eq!(stored, self.accepted.keys().cloned().collect::<Vec<_>>());
    }

    /// Everything arrived, once, and what is stored is sound. Gives what it came to.
    fn end(self, gateway: Process) -> String {
        self.wait_for_all();
        assert_eq!(gateway.terminate(), Some(0));
        assert_sound(&self.site, &self.loaded);
        assert_verified(&self.site);
        let Seen { kept, arrivals, resends } = seen(&self.site, "trust");
        assert_eq!(kept.keys().collect::<Vec<_>>(), self.accepted.keys().collect::<Vec<_>>());
        format!("{} messages, {arrivals} arrivals, {resends} resends", self.accepted.len())
    }
}

/// The id of the message that is submitted under a key.
fn message(key: &str) -> String {
    let (sender, interface) = ("DEMOP".parse().expect("an ODS code"), "crisis-escalation".parse().expect("a name"));
    MessageId::derive(&sender, &interface, &format!("key {key}")).to_string()
}

/// Takes everything that is written with `errno`, for a while, under load: nothing is accepted then, and nothing is lost.
fn while_nothing_can_be_written(errno: i32) {
    let mut bed = Bed::new();
    let Some(boundaries) = Boundaries::of(&bed.site) else { return };
    let _trust = bed.site.start_partner("trust", &[]);
    let gateway = boundaries.start_gateway(&bed.site);
    for _ in 0..3 {
        assert_eq!(bed.submit_new(), 202);
    }
    bed.wait_for_all();
    // One is under way when it begins: its outcome cannot be stored.
    let key = Uuid::new_v4().to_string();
    boundaries.fail_once(before(LogWrite, 1).since(2), errno);
    assert_eq!(bed.submit(&key), 202);
    wait_for("the outcome of an attempt to be lost", || boundaries.was_hit());
    boundaries.fail(&boundary::WRITES, errno);
    for _ in 0..5 {
        assert_eq!(bed.submit_new(), 503);
    }
    assert_eq!(
        bed.submit(&bed.accepted.values().next().expect("there are some").clone()),
        202,
        "a repeat writes nothing"
    );
    bed.assert_nothing_half_accepted();
    boundaries.fail(&[], 0);
    bed.submit_refused();
    assert_eq!(bed.submit_new(), 202);
    eprintln!("{}", bed.end(gateway));
}

#[test]
fn a_full_disk_takes_nothing_and_loses_nothing() {
    while_nothing_can_be_written(ENOSPC);
}

#[test]
fn a_disk_that_turned_read_only_takes_nothing_and_loses_nothing() {
    while_nothing_can_be_written(EROFS);
}

#[test]
fn a_gateway_that_cannot_write_at_its_start_says_what_to_do() {
    let mut bed = Bed::new();
    let Some(boundaries) = Boundaries::of(&bed.site) else { return };
    let _trust = bed.site.start_partner("trust", &[]);
    let gateway = boundaries.start_gateway(&bed.site);
    assert_eq!(bed.submit_new(), 202);
    gateway.kill();
    boundaries.fail(&boundary::WRITES, ENOSPC);
    let refused = boundaries.watch(&mut bed.site.serve()).output().expect("weir runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("check free space"), "{said}");
    boundaries.fail(&[], 0);
    let gateway = boundaries.start_gateway(&bed.site);
    eprintln!("{}", bed.end(gateway));
}

/// A single write that fails, wherever it is: the sender is told, and what was taken arrives.
#[test]
fn one_write_that_fails_is_told_and_made_good() {
    let mut bed = Bed::new();
    let Some(boundaries) = Boundaries::of(&bed.site) else { return };
    let _trust = bed.site.start_partner("trust", &[]);
    let gateway = boundaries.start_gateway(&bed.site);
    assert_eq!(bed.submit_new(), 202);
    bed.wait_for_all();
    let mut told = 0;
    for errno in [ENOSPC, EIO] {
        // Of the message with its attempt, of the outcome; or of a head of the log that comes between.
        for aim in [
            before(LogWrite, 1),
            before(LogWrite, 20),
            before(LogSync, 1),
            before(LogWrite, 1).since(1),
            before(LogWrite, 3).since(1),
            before(LogSync, 2),
        ] {
            boundaries.fail_once(aim, errno);
            let status = bed.submit_new();
            wait_for("the write to fail", || boundaries.was_hit());
            told += usize::from(status == 503);
            bed.submit_refused();
            bed.wait_for_all();
        }
    }
    assert!((2..12).contains(&told), "the failures hit something else: {told} were told");
    eprintln!("{told} refusals, {}", bed.end(gateway));
}

/// A failed sync may have left the pages where the next start finds them: the sender was told 503, and sends again.
#[test]
fn a_kill_after_a_failed_sync_makes_one_message_of_it() {
    let mut bed = Bed::new();
    let Some(boundaries) = Boundaries::of(&bed.site) else { return };
    let _trust = bed.site.start_partner("trust", &[]);
    let mut gateway = boundaries.start_gateway(&bed.site);
    for _ in 0..3 {
        let key = Uuid::new_v4().to_string();
        boundaries.fail_once(before(LogSync, 1), EIO);
        bed.submit(&key);
        gateway.kill();
        gateway = boundaries.start_gateway(&bed.site);
        bed.submit_refused();
        bed.wait_for_all();
    }
    eprintln!("{}", bed.end(gateway));
}

/// A small file system in the place of the gateway's data, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, which was said then, where nothing can be mounted.
    fn over(folder: PathBuf) -> Option<SmallDisk> {
        let files = fs::read_dir(&folder).expect("it is there").map(|file| file.expect("a file").path());
        let kept: Vec<_> = files.filter(|path| path.is_file()).collect();
        let kept: Vec<_> = kept.iter().map(|path| (path, fs::read(path).expect("it is read"))).collect();
        let disk = SmallDisk(folder.clone());
        if !disk.mount(&["-t", "tmpfs", "-o", "size=1m", "weir-test"]) {
            let required = std::env::var_os("WEIR_CRASH").is_some_and(|how| how == "required");
            assert!(!required, "a small disk cannot be mounted");
            eprintln!("\n*** A REALLY FULL DISK IS NOT TESTED: mounting one takes root. ***\n");
            std::mem::forget(disk);
            return None;
        }
        for (path, bytes) in kept {
            fs::write(path, bytes).expect("there is room for it");
        }
        Some(disk)
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        Command::new("mount").args(arguments).arg(&self.0).output().is_ok_and(|output| output.status.success())
    }

    fn grow(&self) {
        assert!(self.mount(&["-o", "remount,size=64m"]), "it grows");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_disk_that_is_really_full_takes_nothing_loses_nothing_and_goes_on_when_there_is_room() {
    let mut bed = Bed::new();
    // What was approved before is taken.
    assert_eq!(bed.site.start_gateway().terminate(), Some(0));
    let Some(disk) = SmallDisk::over(bed.site.path("gateway/data")) else { return };
    let _trust = bed.site.start_partner("trust", &[]);
    let gateway = bed.site.start_gateway();
    let mut sent = 0;
    while bed.submit_new() == 202 {
        sent += 1;
        assert!(sent < 200, "a disk of one megabyte is never full");
    }
    for _ in 0..3 {
        bed.submit_new();
    }
    assert!(bed.refused.len() > 1 && !bed.accepted.is_empty());
    bed.assert_nothing_half_accepted();
    // Killed on a full disk, it starts on the full disk, or says why not, and loses nothing.
    gateway.kill();
    let mut again = Process::start(&mut bed.site.serve(), bed.site.path("gateway.log"));
    let serves = || support::http_get(bed.site.operations(), "/healthz").is_some();
    wait_for("a start or its refusal", || again.is_over() || serves());
    let started = !again.is_over();
    let said = fs::read_to_string(bed.site.path("gateway.log")).expect("it has a log");
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    assert!(started || last.iter().any(|line| line.contains("check free space")), "it does not say why: {last:?}");
    disk.grow();
    let gateway = if started { again } else { bed.site.start_gateway() };
    bed.submit_refused();
    assert_eq!(bed.submit_new(), 202);
    let came = bed.end(gateway);
    eprintln!("started on the full disk: {started}; {came}");
}

/// A file system may also be read-only when the gateway starts.
#[test]
fn a_gateway_on_a_read_only_disk_says_so_and_does_not_start() {
    let mut bed = Bed::new();
    assert_eq!(bed.site.start_gateway().terminate(), Some(0));
    let Some(disk) = SmallDisk::over(bed.site.path("gateway/data")) else { return };
    disk.grow();
    let _trust = bed.site.start_partner("trust", &[]);
    let gateway = bed.site.start_gateway();
    assert_eq!(bed.submit_new(), 202);
    bed.wait_for_all();
    gateway.kill();
    assert!(disk.mount(&["-o", "remount,ro"]), "it is read-only");
    let refused = bed.site.serve().output().expect("weir runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("the disk under data/"), "it does not say what to do: {said}");
    assert!(disk.mount(&["-o", "remount,rw"]), "it can be written again");
    let gateway = bed.site.start_gateway();
    assert_eq!(bed.submit_new(), 202);
    eprintln!("{}", bed.end(gateway));
}

/// The gateway of a bed, whose clock may be anywhere.
struct Clocked {
    bed: Bed,
    boundaries: Boundaries,
    gateway: Process,
    /// Whether the gateway is down while its clock jumps.
    restart: bool,
}

impl Clocked {
    /// Days from the true time.
    fn new(days: i64, restart: bool) -> Option<Clocked> {
        let bed = Bed::new();
        let boundaries = Boundaries::of(&bed.site)?;
        boundaries.shift_clock(days * DAY);
        let gateway = boundaries.start_gateway(&bed.site);
        Some(Clocked { bed, boundaries, gateway, restart })
    }

    fn jump(self, days: i64) -> Clocked {
        let Clocked { bed, boundaries, gateway, restart } = self;
        if !restart {
            boundaries.shift_clock(days * DAY);
            return Clocked { bed, boundaries, gateway, restart };
        }
        gateway.kill();
        boundaries.shift_clock(days * DAY);
        let gateway = boundaries.start_gateway(&bed.site);
        Clocked { bed, boundaries, gateway, restart }
    }

    /// Takes a message whose partner is not there; it is tried before this returns.
    fn submit_in_vain(&mut self) -> String {
        let key = Uuid::new_v4().to_string();
        assert_eq!(self.bed.submit(&key), 202);
        let (message, site) = (message(&key), &self.bed.site);
        let tried = format!("SELECT attempts FROM messages WHERE id = x'{}'", message.replace('-', ""));
        wait_for("a first attempt", || number(site, &tried) > 0);
        message
    }

    /// What people were told, by kind and message.
    fn told(&self) -> Vec<(String, String)> {
        let Ok(files) = fs::read_dir(self.bed.site.path("gateway/data/incidents")) else { return Vec::new() };
        let whole = files.map(|file| file.expect("a file").path());
        let whole = whole.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let read =
            |path| -> Value { serde_json::from_slice(&fs::read(path).expect("it is read")).expect("it is JSON") };
        let text = |value: &Value| value.as_str().expect("it is text").to_owned();
        whole.map(read).map(|notice| (text(&notice["kind"]), text(&notice["message"]))).collect()
    }
}

/// The clock is a day ahead, jumps another day ahead, and is put right, two days back, while no partner is there. What
/// was put off until tomorrow or the day after leaves at once when the partner is back.
fn a_clock_that_jumps(restart: bool) {
    let Some(mut clocked) = Clocked::new(1, restart) else { return };
    let first = clocked.submit_in_vain();
    let mut clocked = clocked.jump(2);
    let second = clocked.submit_in_vain();
    // A day later the deadline of the first is over.
    wait_for("people to be told", || !clocked.told().is_empty());
    let mut clocked = clocked.jump(0);
    let third = clocked.submit_in_vain();
    if restart {
        wait_for("people to be told of what has no deadline any more", || {
            clocked.told().contains(&("delivery-deadline-unknown".to_owned(), second.clone()))
        });
    }
    assert!(clocked.told().contains(&("delivery-deadline-missed".to_owned(), first)));
    assert!(clocked.told().iter().all(|(_, message)| *message != third), "nobody is told of the one in time");
    let Clocked { mut bed, boundaries, gateway, .. } = clocked;
    let trust = bed.site.start_partner("trust", &[]);
    bed.wait_for_all();
    // Another day ahead, and what it was before: now with a partner.
    for days in [1, 0] {
        boundaries.shift_clock(days * DAY);
        assert_eq!(bed.submit_new(), 202);
        bed.wait_for_all();
    }
    eprintln!("{}", bed.end(gateway));
    drop(trust);
}

#[test]
fn a_clock_that_jumps_by_days_holds_up_nothing() {
    a_clock_that_jumps(false);
}

#[test]
fn a_clock_that_jumps_by_days_between_two_runs_holds_up_nothing() {
    a_clock_that_jumps(true);
}

/// A partner that is killed after it kept a message and before it answered, or at any other moment, and comes back.
#[test]
fn a_partner_that_is_killed_and_comes_back_gets_each_message_once() {
    let mut bed = Bed::new();
    let port = bed.site.partner_address("trust").port();
    let Some(boundaries) = Boundaries::with_ports(&bed.site, "trust", format!("records={port}")) else { return };
    let start = |site: &DemoSite| {
        let mut command = weir();
        command.arg("partner").arg("--site").arg(site.path("trust"));
        let process = Process::start(boundaries.watch(&mut command), site.path("trust.log"));
        wait_for("the partner to listen", || TcpStream::connect(site.partner_address("trust")).is_ok());
        process
    };
    let mut trust = start(&bed.site);
    let gateway = bed.site.start_gateway();
    for aim in [
        after(RecordsAccept, 1),
        after(RecordsReceive, 1),
        before(RecordsSend, 1),
        before(RecordsSend, 2),
        after(RecordsSend, 3),
        before(RecordsSend, 4),
        before(RecordsSend, 5),
        after(RecordsSend, 5),
    ] {
        boundaries.aim(aim);
        let mut messages = 0;
        while !trust.is_over() {
            assert_eq!(bed.submit_new(), 202);
            messages += 1;
            assert!(messages < 200, "there was no such boundary: {aim:?}");
        }
        boundaries.spare();
        trust = start(&bed.site);
        bed.wait_for_all();
    }
    eprintln!("{}", bed.end(gateway));
}
