//! Back-pressure: a full outbox, a disk that is nearly full, one that is full. What gets a 202 is in the outbox, what gets
//! a 503 is not, the audit log verifies, and it goes on by itself when there is room.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use uuid::Uuid;
use weir::cli::client::{Answer, Client};
use weir::config::{Endpoint, Site};
use weir::storage::{Filter, Store as _};

use crate::Scene;
use crate::support::{self, DemoSite, Process, http_get, wait_for, weir};

/// What was answered, and what must be in the outbox for it.
#[derive(Default)]
struct Submitted {
    accepted: BTreeSet<String>,
    /// Keys that were put off.
    put_off: Vec<String>,
}

impl Submitted {
    /// Submits the record under a key, and asserts that the answer is a 202 or a proper 503.
    async fn submit(&mut self, endpoint: &Endpoint, record: &[u8], key: &str) -> Answer {
        let mut client = Client::connect(endpoint).await.expect("it listens");
        let answer = client.submit("crisis-escalation", Some(key), record.to_vec().into()).await.expect("it answers");
        match answer.status.as_u16() {
            202 => {
                let message = answer.json()["message"].as_str().expect("a 202 names its message").to_owned();
                self.accepted.insert(message);
            }
            503 => {
                let seconds = answer.headers["retry-after"].to_str().expect("it is ASCII");
                assert!((1..=60).contains(&seconds.parse::<u32>().expect("it is a number")), "{seconds}");
                assert_eq!(answer.headers["content-type"], "application/fhir+json");
                let outcome = answer.json();
                assert_eq!(outcome["resourceType"], "OperationOutcome");
                assert_eq!(outcome["issue"][0]["code"], "transient", "{outcome}");
                self.put_off.push(key.to_owned());
            }
            other => panic!("{other}: {}", answer.json()),
        }
        answer
    }

    /// What is in the outbox is what got a 202: no more, no less.
    async fn assert_stored(&self, site: &Path, endpoint: &Endpoint) {
        let loaded = Site::load(site).unwrap_or_else(|faults| panic!("{faults}"));
        let store = loaded.open_for_reading().expect("it opens");
        let messages = store.messages(Filter::default(), 1_000_000).await.expect("they are listed");
        let stored: BTreeSet<String> = messages.iter().map(|message| message.id.to_string()).collect();
        assert_eq!(stored, self.accepted);
        let mut client = Client::connect(endpoint).await.expect("it listens");
        for message in self.accepted.iter().take(3) {
            let answer = client.state(&format!("/messages/{message}")).await.expect("it answers");
            assert_eq!(answer.status, 200, "{}", answer.json());
        }
    }
}

fn readiness(site: &DemoSite) -> (u16, serde_json::Value) {
    let (status, body) = http_get(site.operations(), "/readyz").expect("it answers");
    (status, serde_json::from_str(&body).expect("it is JSON"))
}

fn verify(site: &Path) {
    let verified = weir().args(["audit", "verify", "--site"]).arg(site).output().expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_full_outbox_puts_records_off_until_there_is_room() {
    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    let text = text.replace("payload_key =", "max_waiting_messages = 5\npayload_key =");
    fs::write(&file, text).expect("it can be written");
    let (endpoint, record) = (site.endpoint(), site.record("crisis-escalation-minimal.json"));
    let gateway = site.start_gateway_quietly();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut submitted = Submitted::default();
    runtime.block_on(async {
        let keys: Vec<String> = (0..12).map(|_| Uuid::new_v4().to_string()).collect();
        for key in &keys {
            submitted.submit(&endpoint, &record, key).await;
        }
        assert_eq!((submitted.accepted.len(), submitted.put_off.len()), (5, 7));
        let again = submitted.submit(&endpoint, &record, &keys[0]).await.json();
        assert_eq!(again["repeated"], true, "what was accepted before is known: {again}");
        let refused = submitted.submit(&endpoint, &record, &keys[11]).await.json();
        assert!(refused.to_string().contains("the outbox is full"), "{refused}");
        submitted.assert_stored(&site.gateway_folder(), &endpoint).await;
    });
    let (status, state) = readiness(&site);
    assert_eq!(
        (status, &state["outbox"]["takesMore"], &state["outbox"]["waitingMessages"]),
        (503, &false.into(), &5.into())
    );
    let (_, metrics) = http_get(site.operations(), "/metrics").expect("there are metrics");
    for line in [
        "weir_takes_no_more{reason=\"waiting-messages\"} 1",
        "weir_outbox_messages 5",
        "weir_refused_by_limit_total{listener=\"records\",limit=\"outbox\"} 8",
    ] {
        assert!(metrics.contains(line), "{line}");
    }

    // The partner comes up: what waits leaves, and the gateway takes records again without anybody's doing.
    let _trust = site.start_partner("trust", &[]);
    wait_for("the gateway to be ready again", || readiness(&site).0 == 200);
    runtime.block_on(async {
        for key in std::mem::take(&mut submitted.put_off) {
            let give_up = Instant::now() + Duration::from_secs(20);
            while submitted.submit(&endpoint, &record, &key).await.status != 202 {
                assert!(Instant::now() < give_up);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        assert_eq!(submitted.accepted.len(), 12);
        submitted.assert_stored(&site.gateway_folder(), &endpoint).await;
    });
    wait_for("every message to arrive", || site.inbox("trust").len() == 12);
    assert_eq!(gateway.terminate(), Some(0));
    verify(&site.gateway_folder());
}

/// A gateway whose data are on a small disk of their own, in a mount namespace of its own.
struct SmallDisk {
    gateway: Process,
    /// The data folder as seen from outside.
    data: PathBuf,
}

impl SmallDisk {
    /// `None`, said loudly, when the machine lets nobody make one.
    fn start(site: &DemoSite, mebibytes: u32) -> Option<SmallDisk> {
        // Whoever is not root is root in a namespace of users.
        let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
        let mount = format!("mount -t tmpfs -o size={mebibytes}m none");
        let works = |way: &&&[&str]| {
            let tried = Command::new("unshare").args(**way).args(["sh", "-c", &format!("{mount} /tmp")]).output();
            tried.is_ok_and(|tried| tried.status.success())
        };
        let Some(way) = ways.iter().find(works) else {
            eprintln!("NOT TESTED: this machine lets nobody mount a small disk, so a full one was not tried");
            return None;
        };
        let (folder, program) = (site.gateway_folder(), env!("CARGO_BIN_EXE_weir"));
        let data = folder.join("data");
        fs::create_dir_all(&data).expect("it can be made");
        let (at, kept) = (data.display(), site.path("data-before"));
        let (kept, site_folder) = (kept.display(), folder.display());
        // What is there already goes with it: approvals of the agreements.
        let move_in = format!("cp -a {at} {kept} && {mount} {at} && cp -a {kept}/. {at}");
        let script = format!("{move_in} && exec {program} serve --site {site_folder}");
        let mut command = Command::new("unshare");
        command.args(*way).args(["sh", "-c", &script]);
        let gateway = Process::start_quietly(&mut command, site.path("gateway.log"));
        site.wait_until_ready();
        let seen = PathBuf::from(format!("/proc/{}/root{}", gateway.id(), data.display()));
        Some(SmallDisk { gateway, data: seen })
    }

    /// Fills the disk but for this many bytes.
    fn fill(&self, leave: u64) {
        use std::io::Write as _;
        let mut filler = fs::File::create(self.data.join("filler")).expect("it can be made");
        while filler.write_all(&[0; 4096]).is_ok() {}
        let length = filler.metadata().expect("it is there").len();
        filler.set_len(length.saturating_sub(leave)).expect("it can be cut");
    }

    fn make_room(&self) {
        fs::remove_file(self.data.join("filler")).expect("it is there");
    }

    /// The database as it is inside, copied to where it can be read and verified.
    fn copy_out(&self, site: &DemoSite) {
        for name in ["weir.sqlite3", "weir.sqlite3-wal"] {
            let _ = fs::copy(self.data.join(name), site.gateway_folder().join("data").join(name));
        }
    }
}

#[test]
fn a_full_disk_puts_records_off_and_nothing_is_half_accepted() {
    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    fs::write(&file, text.replace("payload_key =", "min_free_bytes = 0\npayload_key =")).expect("it can be written");
    let (endpoint, record) = (site.endpoint(), site.record("crisis-escalation-minimal.json"));
    let _trust = site.start_partner("trust", &[]);
    let Some(disk) = SmallDisk::start(&site, 24) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut submitted = Submitted::default();
    runtime.block_on(async {
        for _ in 0..5 {
            submitted.submit(&endpoint, &record, &Uuid::new_v4().to_string()).await;
        }
        assert_eq!(submitted.accepted.len(), 5);
        for round in 0..3 {
            disk.fill(60_000);
            // Some find room yet; then there is none.
            let (before, mut said_so) = (submitted.put_off.len(), 0);
            for _ in 0..60 {
                let answer = submitted.submit(&endpoint, &record, &Uuid::new_v4().to_string()).await;
                let (status, state) = readiness(&site);
                said_so += u32::from(answer.status == 503 && status == 503 && state["store"] != "ok");
                if said_so > 5 {
                    break;
                }
            }
            assert!(said_so > 5 && submitted.put_off.len() > before + 5, "the disk was not full in round {round}");
            assert_eq!(http_get(site.operations(), "/healthz").map(|answer| answer.0), Some(200));
            disk.make_room();
            let began = Instant::now();
            wait_for("the gateway to be ready again", || readiness(&site).0 == 200);
            assert!(began.elapsed() < Duration::from_secs(5));
            assert_eq!(submitted.submit(&endpoint, &record, &Uuid::new_v4().to_string()).await.status, 202);
        }
        // What was put off is a new message to the gateway, under the same key.
        for key in std::mem::take(&mut submitted.put_off) {
            let answer = submitted.submit(&endpoint, &record, &key).await.json();
            assert_eq!(answer["repeated"], false, "{answer}");
        }
    });
    let arrived = || site.inbox("trust").len();
    wait_for("every message to arrive", || arrived() == submitted.accepted.len());
    let settled =
        || support::http_get(site.operations(), "/metrics").is_some_and(|it| it.1.contains("weir_outbox_messages 0"));
    wait_for("every message to be settled", settled);
    // A head over everything that happened is signed within a second.
    std::thread::sleep(Duration::from_millis(1500));
    disk.copy_out(&site);
    runtime.block_on(submitted.assert_stored(&site.gateway_folder(), &endpoint));
    verify(&site.gateway_folder());
    assert_eq!(disk.gateway.terminate(), Some(0));
}

#[test]
fn the_end_of_the_disk_is_kept_for_what_was_accepted() {
    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    let text = text.replace("payload_key =", "min_free_bytes = 8388608\npayload_key =");
    fs::write(&file, text).expect("it can be written");
    let (endpoint, record) = (site.endpoint(), site.record("crisis-escalation-minimal.json"));
    let Some(disk) = SmallDisk::start(&site, 40) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut submitted = Submitted::default();
    runtime.block_on(async {
        for _ in 0..3 {
            submitted.submit(&endpoint, &record, &Uuid::new_v4().to_string()).await;
        }
        disk.fill(6 << 20);
        for _ in 0..3 {
            let answer = submitted.submit(&endpoint, &record, &Uuid::new_v4().to_string()).await;
            assert!(answer.json().to_string().contains("the disk is nearly full"), "{}", answer.json());
        }
        assert_eq!((submitted.accepted.len(), submitted.put_off.len()), (3, 3));
    });
    let (status, state) = readiness(&site);
    assert_eq!((status, &state["store"], &state["outbox"]["takesMore"]), (503, &"ok".into(), &false.into()));
    // What was accepted goes its way in what is left.
    let _trust = site.start_partner("trust", &[]);
    wait_for("every message to arrive", || site.inbox("trust").len() == 3);
    disk.make_room();
    wait_for("the gateway to be ready again", || readiness(&site).0 == 200);
    runtime.block_on(async {
        assert_eq!(submitted.submit(&endpoint, &record, &Uuid::new_v4().to_string()).await.status, 202);
    });
    assert_eq!(disk.gateway.terminate(), Some(0));
}

/// A gateway that is under no pressure says so.
#[test]
fn without_pressure_everything_is_taken() {
    let scene = Scene::with("");
    let (status, state) = readiness(&scene.site);
    assert_eq!((status, &state["outbox"]["takesMore"], &state["store"]), (200, &true.into(), &"ok".into()));
    assert!(state["outbox"]["freeBytes"].as_u64().is_some_and(|free| free > 0), "{state}");
}
