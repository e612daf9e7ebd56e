//! Kills and faults at the boundaries of the built program, as the tests see them; what makes them is `boundary.c`.
//!
//! The program under test is the one that ships: it has no hook. A library that is loaded before it stands between it
//! and the system, counts each write, sync, rename, removal and exchange over a socket that matters, and at the one it is aimed at
//! ends the process by SIGKILL, before or after the call, or has the call fail. Where such a library cannot be loaded (not Linux,
//! or a static C library) the tests say so on standard error and test nothing; `WEIR_CRASH=required` makes that a failure.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]
#![allow(clippy::print_stderr, reason = "a test that tests nothing says so")]
#![allow(dead_code, unreachable_pub, reason = "each test includes it and uses a part of it")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use weir::identity::digest::{hex, sha_256};

use self::Kind::*;
use crate::support::{DemoSite, Process};

/// A kind of boundary, numbered as in `boundary.c`. What is received is counted once it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    RecordsAccept = 1,
    RecordsReceive,
    RecordsSend,
    PartnerConnect,
    PartnerSend,
    PartnerReceive,
    /// The database's write-ahead log.
    LogWrite,
    /// The end of a transaction.
    LogSync,
    DatabaseWrite,
    DatabaseSync,
    Truncate,
    /// A notice's file in the spool folder.
    SpoolWrite,
    SpoolSync,
    SpoolRename,
    SpoolFolderSync,
    /// An act's file that was performed, or refused.
    ActRemove,
    ActRename,
    MeshConnect,
    MeshSend,
    MeshReceive,
    /// Of the write-ahead log, before its pages are folded into the database, or before it begins anew.
    FoldSync,
}

const KINDS: [Kind; 21] = [
    RecordsAccept,
    RecordsReceive,
    RecordsSend,
    PartnerConnect,
    PartnerSend,
    PartnerReceive,
    LogWrite,
    LogSync,
    DatabaseWrite,
    DatabaseSync,
    Truncate,
    SpoolWrite,
    SpoolSync,
    SpoolRename,
    SpoolFolderSync,
    ActRemove,
    ActRename,
    MeshConnect,
    MeshSend,
    MeshReceive,
    FoldSync,
];

/// Everything that writes to the disk.
pub const WRITES: [Kind; 10] = [
    LogWrite,
    LogSync,
    FoldSync,
    DatabaseWrite,
    DatabaseSync,
    Truncate,
    SpoolWrite,
    SpoolSync,
    SpoolRename,
    SpoolFolderSync,
];

/// Which of the boundaries that follow is hit, and on which side of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// Of this kind; `None` counts all.
    pub kind: Option<Kind>,
    /// From 1.
    pub nth: u64,
    pub after: bool,
    /// Counts once the database's log was synced so often.
    pub syncs: u64,
}

pub const fn before(kind: Kind, nth: u64) -> Aim {
    Aim { kind: Some(kind), nth, after: false, syncs: 0 }
}

pub const fn after(kind: Kind, nth: u64) -> Aim {
    Aim { kind: Some(kind), nth, after: true, syncs: 0 }
}

impl Aim {
    /// The nth of those that follow the transaction of this number, from 1.
    pub const fn since(self, syncs: u64) -> Aim {
        Aim { kind: self.kind, nth: self.nth, after: self.after, syncs }
    }
}

/// The words of the shared file, as in `boundary.c`.
#[derive(Clone, Copy)]
enum Word {
    Magic,
    ClockShift,
    Calls,
    Target,
    TargetKind,
    TargetSyncs,
    TargetAfter,
    TargetError,
    Error,
    ErrorKinds,
    Seen,
    Hit,
    Counts,
}

const TRACE: u64 = 44 * 8;
const TRACE_BYTES: u64 = 1 << 16;
const MAGIC: u64 = 0x7765_6972;

/// The boundaries of one gateway, whatever process it runs in.
pub struct Boundaries {
    file: File,
    path: PathBuf,
    library: &'static Path,
    ports: String,
}

impl Boundaries {
    /// Those of the gateway of `site`; `None`, which was said then, where they cannot be watched.
    pub fn of(site: &DemoSite) -> Option<Boundaries> {
        let ports = format!("records={},partner={}", site.records().port(), site.partner_address("trust").port());
        Boundaries::with_ports(site, "gateway", ports)
    }

    /// Those of any program of `site`, with its ports: `records=1,mesh=2`.
    pub fn with_ports(site: &DemoSite, name: &str, ports: String) -> Option<Boundaries> {
        let path = site.path(&format!("{name}.boundaries"));
        fs::write(&path, vec![0; (TRACE + TRACE_BYTES) as usize]).expect("it is written");
        let file = File::options().read(true).write(true).open(&path).expect("it was just written");
        let made = library().map(|library| Boundaries { file, path, library, ports });
        let watched = made.and_then(|made| {
            let tried = made.watch(crate::support::weir().arg("--version")).output().expect("weir runs");
            let loaded = tried.status.success() && made.word(Word::Magic, 0) == MAGIC;
            if loaded { Ok(made) } else { Err("the library is not loaded".to_owned()) }
        });
        watched
            .map_err(|why| {
                let required = std::env::var_os("WEIR_CRASH").is_some_and(|how| how == "required");
                assert!(!required, "crashes are not tested: {why}");
                eprintln!("\n*** CRASHES ARE NOT TESTED: {why}. WEIR_CRASH=required makes this a failure. ***\n");
            })
            .ok()
    }

    /// Has a command run between the boundaries.
    pub fn watch<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let command = command.env("LD_PRELOAD", self.library).env("WEIR_BOUNDARY_CONTROL", &self.path);
        command.env("WEIR_BOUNDARY_PORTS", &self.ports)
    }

    /// Starts the gateway between them, and does not wait.
    pub fn begin_gateway(&self, site: &DemoSite) -> Process {
        Process::start(self.watch(&mut site.serve()), site.path("gateway.log"))
    }

    /// Starts the gateway between them, and waits until it is ready.
    pub fn start_gateway(&self, site: &DemoSite) -> Process {
        let process = self.begin_gateway(site);
        site.wait_until_ready();
        process
    }

    fn word(&self, word: Word, further: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, (word as u64 + further) * 8).expect("it is read");
        u64::from_ne_bytes(bytes)
    }

    fn put(&self, word: Word, value: u64) {
        self.file.write_all_at(&value.to_ne_bytes(), word as u64 * 8).expect("it is written");
    }

    /// How many there were.
    pub fn calls(&self) -> u64 {
        self.word(Word::Calls, 0)
    }

    /// How many there were of one kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.word(Word::Counts, kind as u64)
    }

    /// Has the process end by SIGKILL at one of those that follow; gives how many there were.
    pub fn aim(&self, aim: Aim) -> u64 {
        self.hit_with(aim, 0)
    }

    /// Has one of the calls that follow fail with `errno`.
    pub fn fail_once(&self, aim: Aim, errno: i32) -> u64 {
        self.hit_with(aim, errno)
    }

    fn hit_with(&self, aim: Aim, errno: i32) -> u64 {
        self.spare();
        let calls = self.calls();
        self.put(Word::TargetKind, aim.kind.map_or(0, |kind| kind as u64));
        self.put(Word::TargetAfter, aim.after.into());
        self.put(Word::TargetSyncs, if aim.syncs == 0 { 0 } else { self.count(LogSync) + aim.syncs });
        self.put(Word::TargetError, u64::try_from(errno).expect("an errno is positive"));
        self.put(Word::Seen, 0);
        self.put(Word::Hit, 0);
        self.put(Word::Target, aim.nth);
        calls
    }

    /// Whether the one that was aimed at was reached.
    pub fn was_hit(&self) -> bool {
        self.word(Word::Hit, 0) > 0
    }

    /// Aims at nothing.
    pub fn spare(&self) {
        self.put(Word::Target, 0);
    }

    /// Has every call of these kinds fail with `errno`, 0 for none.
    pub fn fail(&self, kinds: &[Kind], errno: i32) {
        self.put(Word::ErrorKinds, kinds.iter().map(|kind| 1 << (*kind as u64)).sum());
        self.put(Word::Error, u64::try_from(errno).expect("an errno is positive"));
    }

    /// Puts the clock so far from the true one.
    pub fn shift_clock(&self, seconds: i64) {
        self.put(Word::ClockShift, seconds.cast_unsigned());
    }

    /// What came after the first `calls`, up to the one that was hit, if one was.
    pub fn trace(&self, calls: u64) -> Vec<Kind> {
        let hit = Some(self.word(Word::Hit, 0)).filter(|hit| *hit > 0);
        self.kinds(calls, hit.unwrap_or_else(|| self.calls()))
    }

    /// What other threads came to between the beginning of the call that was hit and the end of the process.
    pub fn meanwhile(&self) -> Vec<Kind> {
        self.kinds(self.word(Word::Hit, 0), self.calls())
    }

    /// Those after the first `calls`, up to a number.
    fn kinds(&self, calls: u64, last: u64) -> Vec<Kind> {
        let numbers = calls + 1..=last;
        let kind = |number: u64| {
            let mut byte = [0];
            self.file.read_exact_at(&mut byte, TRACE + number % TRACE_BYTES).expect("it is read");
            byte[0].checked_sub(1).map(|number| KINDS[usize::from(number)])
        };
        numbers.filter_map(kind).collect()
    }
}

/// The library, built once with the C compiler that the gateway's own build needs.
fn library() -> Result<&'static Path, String> {
    static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    LIBRARY.get_or_init(build).as_deref().map_err(String::clone)
}

fn build() -> Result<PathBuf, String> {
    if !cfg!(target_os = "linux") {
        return Err("this is not Linux".to_owned());
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/boundary.c");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // By what is in it: a long run keeps the one that it began with.
    let digest = hex(&sha_256(&fs::read(&source).expect("the source is there")));
    let library = folder.join(format!("boundary-{}.so", &digest[..16]));
    if library.exists() {
        return Ok(library);
    }
    let made = folder.join(format!("boundary-{}.so", std::process::id()));
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o"]).arg(&made).arg(&source).arg("-ldl");
    let built = compiler.output().map_err(|error| format!("the C compiler does not run ({error})"))?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // Other tests may be building it at the same time.
    fs::rename(made, &library).expect("it is put in its place");
    Ok(library)
}
