//! Whether sick partners delay a healthy one: the built gateway over real sockets, with messages to a healthy partner at
//! an even pace: alone, beside three others that are healthy too, and beside three sick ones at the same pace each: one
//! dead, one that accepts and never answers, one that flaps. Prints the time from acceptance to acknowledgement at the
//! healthy one, and the ratios of the p99s. The run beside three healthy ones is the control: it has the same records to
//! take, and so tells what sickness costs from what four times the work costs on a machine that has no room for it.
//!
//! The three kinds of run take turns on sites of their own, so that the drift of a shared machine falls on all; with more
//! than one round the middle ratio is what counts. `WEIR_LANES_SECONDS`, `WEIR_LANES_ROUNDS` and `WEIR_LANES_PACE` (messages a
//! second to each partner) set the size.

#![allow(clippy::disallowed_methods, reason = "a benchmark may block, and its files need not be durable")]
#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]

#[path = "support/site.rs"]
mod site;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use site::{Killed, add_agreement, approve, load, number, percentile, prepare, weir};
use tokio::sync::watch;
use weir::cli::client::Client;
use weir::cli::loopback;
use weir::config::Endpoint;
use weir::identity::issuance::{Authority, Validity};
use weir::identity::tls::{Credentials, TrustAnchors, system_clock};
use weir::partner::{self, Misbehaviour, Settings};
use weir::server::clock;
use weir::server::listener::Limits;
use weir::storage::{Filter, SqliteStore, State, Store as _};

const HEALTHY: &str = "DEMO1";
const DEAD: &str = "DEMO2";
const SILENT: &str = "DEMO3";
const FLAPPING: &str = "DEMO4";

/// Messages a second to each partner.
fn pace() -> u64 {
    number("WEIR_LANES_PACE", 15)
}

/// A demo site with four more partners, whose agreements are approved.
struct Bench {
    folder: tempfile::TempDir,
    /// Keep the partners' endpoints open.
    _stop: watch::Sender<bool>,
}

impl Bench {
    fn new(runtime: &tokio::runtime::Runtime, sick: bool) -> Bench {
        let folder = tempfile::tempdir().expect("a folder can be made");
        prepare(folder.path());
        let authority = Authority::new("Bench CA", Validity::days(clock::now(), 1)).expect("an authority");
        let gateway = folder.path().join("gateway");
        fs::write(gateway.join("pki/bench-ca.pem"), authority.certificate_pem()).expect("it is written");
        let (stop, stopped) = watch::channel(false);
        for ods in [HEALTHY, DEAD, SILENT, FLAPPING] {
            let how = if sick { ods } else { HEALTHY };
            let address = open(runtime, folder.path(), &authority, (ods, how), stopped.clone());
            fs::write(gateway.join(format!("partners/{ods}.toml")), partner_file(ods, address)).expect("it is written");
            add_agreement(&gateway, ods);
        }
        approve(&load(&gateway));
        Bench { folder, _stop: stop }
    }

    fn gateway(&self) -> std::path::PathBuf {
        self.folder.path().join("gateway")
    }

    /// Runs the gateway for a while with messages to `partners`; the times to acknowledgement at the healthy one.
    fn run(&self, runtime: &tokio::runtime::Runtime, partners: &[&'static str]) -> Vec<f64> {
        let site = load(&self.gateway());
        let endpoint = site.send_endpoint().expect("the site says how to send");
        let since = clock::now();
        let log = fs::File::create(self.folder.path().join("gateway.log")).expect("it can be written");
        let mut command = weir();
        command.arg("serve").arg("--site").arg(self.gateway()).env("WEIR_LOG", "error");
        let gateway = Killed(command.stdout(Stdio::null()).stderr(log).spawn().expect("weir starts"));
        let seconds = number("WEIR_LANES_SECONDS", 20);
        let record = fs::read_to_string(self.folder.path().join("records/crisis-escalation-complete.json"));
        let record = record.expect("the sample is there");
        let sent = runtime.block_on(async {
            // The partners' messages come in turn, not at once: what is measured is not a queue for the processor.
            let submit = |(index, ods): (u64, &&'static str)| {
                let record = record.replace("\"DEMOT\"", &format!("{ods:?}"));
                let ahead = Duration::from_micros(index * 250_000 / pace());
                tokio::spawn(submit_evenly(endpoint.clone(), record, ahead, seconds * pace()))
            };
            let paced: Vec<_> = (0..).zip(partners).map(submit).collect();
            for task in paced {
                task.await.expect("a sender ends well");
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            seconds * pace()
        });
        drop(gateway);
        let store = SqliteStore::open_to_read(&self.gateway().join("data/weir.sqlite3"), None).expect("it opens");
        let filter = Filter { recipient: HEALTHY.parse().ok(), ..Filter::default() };
        let found = runtime.block_on(store.messages(filter, 1_000_000)).expect("they are listed");
        let found: Vec<_> = found.into_iter().filter(|record| record.accepted_at >= since).collect();
        assert_eq!(found.len() as u64, sent, "every message was accepted");
        assert!(found.iter().all(|record| record.state == State::Acknowledged), "the healthy partner has them all");
        let times = found.iter().map(|record| (record.updated_at - record.accepted_at).as_seconds_f64() * 1000.0);
        let mut times: Vec<f64> = times.collect();
        times.sort_by(f64::total_cmp);
        times
    }
}

/// Opens the endpoint of a partner that behaves as `how` does, unless that is the dead one.
fn open(
    runtime: &tokio::runtime::Runtime,
    folder: &Path,
    authority: &Authority,
    (ods, how): (&str, &str),
    stopped: watch::Receiver<bool>,
) -> SocketAddr {
    let free = loopback::reserve().map(|[free]| free).expect("there is a free port");
    let misbehaviour = match how {
        DEAD => return free,
        SILENT => vec![Misbehaviour::Slow(Duration::from_secs(3600))],
        FLAPPING => vec![Misbehaviour::Flap(20)],
        _ => vec![],
    };
    let party = ods.parse().expect("an ODS code");
    let issued = authority.issue(&party, "bench.example", &[], Validity::days(clock::now(), 1)).expect("a certificate");
    let credentials = Credentials::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).expect("PEM");
    let clients = fs::read(folder.join("gateway/pki/provider-ca.pem")).expect("it is there");
    let settings = Settings {
        party,
        address: free,
        directory: folder.join(ods),
        credentials,
        clients: TrustAnchors::from_pem(&clients).expect("an anchor"),
        allowed: vec!["DEMOP".parse().expect("an ODS code")],
        service_id: "2000099991".to_owned(),
        use_cases: vec![],
        later: None,
        pages: None,
        body_limit: 10 << 20,
        misbehaviour,
        limits: Limits::default(),
        tls_clock: system_clock(),
        now: clock::now,
    };
    runtime.block_on(partner::serve(settings, stopped)).expect("it listens").local_address()
}

fn partner_file(ods: &str, address: SocketAddr) -> String {
    let host = ods.to_ascii_lowercase();
    format!(
        "ods = \"{ods}\"\nname = \"Bench\"\nendpoint = \"https://bars-{host}.bench.example/FHIR/R4\"\n\
         connect = \"{address}\"\nservice_id = \"2000099991\"\ntrust_anchors = \"pki/bench-ca.pem\"\n\
         first_retry_seconds = 0.5\nmax_retry_seconds = 10\nattempt_timeout_seconds = 5\n"
    )
}

/// Submits a record so many times at an even pace, whatever the answers take.
async fn submit_evenly(endpoint: Endpoint, record: String, ahead: Duration, times: u64) {
    let mut client = loop {
        match Client::connect(&endpoint).await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let started = Instant::now();
    for each in 0..times {
        let due = ahead + Duration::from_micros(each * 1_000_000 / pace());
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        let key = uuid::Uuid::new_v4().to_string();
        let answer = client.submit("crisis-escalation", Some(&key), record.clone().into()).await;
        let answer = answer.expect("the gateway answers");
        assert_eq!(answer.status, 202, "{}", answer.json());
    }
}

fn main() {
    // `cargo test --benches` starts it too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let sites = [false, false, true].map(|sick| Bench::new(&runtime, sick));
    let everyone: &[&str] = &[HEALTHY, DEAD, SILENT, FLAPPING];
    let kinds = [("alone", &everyone[..1]), ("beside three healthy", everyone), ("beside three sick", everyone)];
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 1..=number("WEIR_LANES_ROUNDS", 3) {
        let mut p99 = [0.0; 3];
        for (index, ((name, partners), site)) in kinds.iter().zip(&sites).enumerate() {
            let times = site.run(&runtime, partners);
            p99[index] = percentile(&times, 0.99);
            let (count, p50, most) = (times.len(), percentile(&times, 0.5), percentile(&times, 1.0));
            let p99 = p99[index];
            println!(
                "round {round}  {name:<20} {count:>5} messages   p50 {p50:>6.1}   p99 {p99:>6.1}   most {most:>6.1} ms"
            );
        }
        ratios[0].push(p99[2] / p99[0]);
        ratios[1].push(p99[2] / p99[1]);
    }
    for (name, ratios) in ["alone", "beside three healthy"].iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        let shown: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!("p99 beside three sick / {name}: {}; the middle one {:.2}", shown.join(", "), percentile(ratios, 0.5));
    }
}
