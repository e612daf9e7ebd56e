//! What the gateway carries: record in, mapped, validated, cut down, synced to disk, delivered over mutual TLS and
//! acknowledged. The built gateway is a process of its own; the record systems and the partner are this one, and all share
//! the machine. Beside it, in the same run and in turns, a bare relay (`support/wire.rs`) that carries the Bundle that the
//! gateway would send: receive, sync with group commit, forward. The ratio is what counts; the machine drifts.
//!
//! First the most that each carries (every connection sends its next message when the last was answered; the clock stops when
//! the partner has them all), then 70 % of that at an even pace, timed from when each message was due. Both again with each sync
//! to disk 1 ms and 5 ms longer, by a shim that a C compiler makes of `support/fsync_delay.c`.
//!
//! `WEIR_LOAD_MESSAGES` (3,000), `WEIR_LOAD_SECONDS` (10, of the even pace), `WEIR_LOAD_CONNECTIONS` (64), `WEIR_LOAD_ROUNDS` (3)
//! set the size.

#![allow(clippy::disallowed_methods, reason = "a benchmark may block, and its files need not be durable")]
#![allow(clippy::print_stdout, reason = "a benchmark says what it measured")]

#[path = "support/site.rs"]
mod site;
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::{Request, header};
use site::{Killed, add_agreement, approve, load, number, percentile, prepare, weir};
use tokio::task::JoinSet;
use uuid::Uuid;
use weir::cli::client::Client;
use weir::config::Endpoint;
use weir::identity::issuance::{Authority, Issued, Validity};
use weir::server::clock;
use wire::{Arrivals, CONNECTIONS, HOST, RELAY_HOST, client_tls, partner, server_tls};

const PARTNER: &str = "DEMO1";
/// Of the most that is carried.
const EASY: f64 = 0.7;

/// What carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Gateway,
    Relay,
}

/// What a record system sends, and to whom.
#[derive(Clone)]
struct Load {
    carrier: Carrier,
    endpoint: Endpoint,
    body: Bytes,
}

/// A message that was answered with 202: when it was due, when answered.
struct Sent {
    message: Uuid,
    due: Instant,
    accepted: Instant,
}

impl Load {
    /// Sends one message; its id at the partner.
    async fn send(&self, client: &mut Client) -> Uuid {
        let key = Uuid::new_v4();
        if self.carrier == Carrier::Gateway {
            let answer = client.submit("crisis-escalation", Some(&key.to_string()), self.body.clone()).await;
            let answer = answer.expect("the gateway answers");
            assert_eq!(answer.status, 202, "{}", answer.json());
            return answer.json()["message"].as_str().and_then(|id| id.parse().ok()).expect("it names the message");
        }
        let request = Request::post("/").header("x-request-id", key.to_string());
        let request = request.header(header::CONTENT_TYPE, "application/fhir+json");
        let request = request.body(self.body.clone().into()).expect("a request");
        let answer = client.exchange(request).await.expect("the relay answers");
        assert_eq!(answer.status, 202);
        key
    }

    /// Sends `messages`: each connection one after the other, or all at `pace` a second.
    async fn run(&self, messages: u64, pace: Option<f64>) -> Vec<Sent> {
        let next = Arc::new(AtomicU64::new(0));
        let mut clients = Vec::new();
        for _ in 0..number("WEIR_LOAD_CONNECTIONS", CONNECTIONS as u64) {
            clients.push(connected(&self.endpoint).await);
        }
        let (start, mut tasks) = (Instant::now(), JoinSet::new());
        for mut client in clients {
            let (load, next) = (self.clone(), next.clone());
            tasks.spawn(async move {
                let mut sent = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= messages {
                        return sent;
                    }
                    let due = pace.map(|pace| start + Duration::from_secs_f64(index as f64 / pace));
                    if let Some(due) = due {
                        tokio::time::sleep_until(due.into()).await;
                    }
                    let due = due.unwrap_or_else(Instant::now);
                    let message = load.send(&mut client).await;
                    sent.push(Sent { message, due, accepted: Instant::now() });
                }
            });
        }
        tasks.join_all().await.into_iter().flatten().collect()
    }
}

async fn connected(endpoint: &Endpoint) -> Client {
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        match Client::connect(endpoint).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < give_up, "nobody listens: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// When each message arrived; waits for all of them.
async fn arrived(sent: &[Sent], arrivals: &Arrivals) -> Vec<Instant> {
    let give_up = Instant::now() + Duration::from_secs(120);
    let mut times = Vec::with_capacity(sent.len());
    for each in sent {
        loop {
            if let Some(at) = arrivals.of(&each.message) {
                times.push(at);
                break;
            }
            assert!(Instant::now() < give_up, "{} of {} messages arrived", times.len(), sent.len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    times
}

/// Certificates, a partner that listens, and a gateway's site that knows it.
struct Bench {
    folder: tempfile::TempDir,
    arrivals: Arrivals,
    partner: SocketAddr,
    shim: Option<PathBuf>,
}

impl Bench {
    async fn new() -> Bench {
        let folder = tempfile::tempdir().expect("a folder can be made");
        prepare(folder.path());
        let authority = Authority::new("Bench CA", Validity::days(clock::now(), 1)).expect("an authority");
        let gateway = folder.path().join("gateway");
        fs::write(gateway.join("pki/bench-ca.pem"), authority.certificate_pem()).expect("it is written");
        for (name, ods) in [("partner", PARTNER), ("relay", "DEMO9"), ("sender", "DEMOP")] {
            let party = ods.parse().expect("an ODS code");
            let issued = authority.issue(&party, "bench.example", &[], Validity::days(clock::now(), 1));
            write(folder.path(), name, &issued.expect("a certificate"));
        }
        let bench =
            Bench { shim: shim(folder.path()), folder, arrivals: Arrivals::default(), partner: ([0; 4], 0).into() };
        // The gateway presents a certificate of the demo's authority, the relay one of the bench's.
        let both = [fs::read(gateway.join("pki/provider-ca.pem")), fs::read(gateway.join("pki/bench-ca.pem"))];
        let both = both.map(|pem| pem.expect("it is there")).concat();
        fs::write(bench.path("clients.pem"), both).expect("it is written");
        let tls = server_tls(&bench.path("partner.pem"), &bench.path("partner.key"), &bench.path("clients.pem"));
        let (address, arrivals) = partner(tls).await;
        fs::write(gateway.join(format!("partners/{PARTNER}.toml")), partner_file(address)).expect("it is written");
        add_agreement(&gateway, PARTNER);
        approve(&load(&gateway));
        Bench { arrivals, partner: address, ..bench }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a command with each sync `delay` longer.
    fn start(&self, mut command: Command, delay: Duration) -> Child {
        if !delay.is_zero() {
            command.env("LD_PRELOAD", self.shim.as_ref().expect("there is a shim"));
            command.env("WEIR_FSYNC_DELAY_US", delay.as_micros().to_string());
        }
        command.spawn().expect("it starts")
    }

    fn gateway(&self, delay: Duration) -> (Killed, Load) {
        let (folder, site) = (self.path("gateway"), load(&self.path("gateway")));
        let log = fs::File::create(self.path("gateway.log")).expect("it can be written");
        let mut command = weir();
        command.arg("serve").arg("--site").arg(folder).env("WEIR_LOG", "error").stdout(Stdio::null()).stderr(log);
        let record = fs::read_to_string(self.path("records/crisis-escalation-complete.json")).expect("it is there");
        let body = record.replace("\"DEMOT\"", &format!("{PARTNER:?}")).into();
        let endpoint = site.send_endpoint().expect("the site says how to send");
        (Killed(self.start(command, delay)), Load { carrier: Carrier::Gateway, endpoint, body })
    }

    fn relay(&self, delay: Duration, bundle: &Bytes) -> (Killed, Load) {
        let mut command = Command::new(std::env::current_exe().expect("it has a path"));
        command.args(["--relay", &self.partner.to_string()]).arg(self.folder.path()).stdout(Stdio::piped());
        let mut child = self.start(command, delay);
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("the relay says its port");
        let endpoint = Endpoint {
            uri: format!("https://{RELAY_HOST}").parse().expect("a URL"),
            connect: line.trim().parse().ok(),
            tls: client_tls(&self.path("sender.pem"), &self.path("sender.key"), &self.path("gateway/pki/bench-ca.pem")),
        };
        (Killed(child), Load { carrier: Carrier::Relay, endpoint, body: bundle.clone() })
    }

    /// The Bundle that the gateway sends for the sample.
    async fn bundle(&self) -> Bytes {
        let (_gateway, load) = self.gateway(Duration::ZERO);
        let sent = load.run(1, None).await;
        arrived(&sent, &self.arrivals).await;
        let bundle = self.arrivals.first().expect("it arrived");
        println!("a record of {} bytes leaves as a Bundle of {}", load.body.len(), bundle.len());
        bundle
    }

    /// The most that is carried, in messages a second.
    async fn most(&self, load: &Load, messages: u64) -> f64 {
        let start = Instant::now();
        let sent = load.run(messages, None).await;
        let last = arrived(&sent, &self.arrivals).await.into_iter().max().expect("there were messages");
        messages as f64 / (last - start).as_secs_f64()
    }

    /// The times to the 202 and to the partner, in milliseconds, at an even pace.
    async fn paced(&self, load: &Load, pace: f64) -> [Vec<f64>; 2] {
        let sent = load.run((pace * number("WEIR_LOAD_SECONDS", 10) as f64) as u64, Some(pace)).await;
        let arrived = arrived(&sent, &self.arrivals).await;
        let since = |due: Instant, at: Instant| at.saturating_duration_since(due).as_secs_f64() * 1000.0;
        let accepted = sent.iter().map(|each| since(each.due, each.accepted)).collect();
        let delivered = sent.iter().zip(arrived).map(|(each, at)| since(each.due, at)).collect();
        [accepted, delivered].map(|mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times
        })
    }
}

fn write(folder: &Path, name: &str, issued: &Issued) {
    fs::write(folder.join(format!("{name}.pem")), &issued.certificate_pem).expect("it is written");
    fs::write(folder.join(format!("{name}.key")), &issued.key_pem).expect("it is written");
}

fn partner_file(address: SocketAddr) -> String {
    format!(
        "ods = \"{PARTNER}\"\nname = \"Bench\"\nendpoint = \"https://{HOST}/FHIR/R4\"\nconnect = \"{address}\"\n\
         service_id = \"2000099991\"\ntrust_anchors = \"pki/bench-ca.pem\"\nmax_concurrent = {CONNECTIONS}\ndiscovery_hours = 0\n"
    )
}

/// The library that makes a sync longer; `None` without a C compiler.
fn shim(folder: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/support/fsync_delay.c");
    let library = folder.join("fsync_delay.so");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    made.is_ok_and(|status| status.success()).then_some(library)
}

/// A figure of `/proc`: kilobytes of `status`, or bytes of `io`.
fn process(child: &Killed, file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/{file}", child.0.id())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
}

fn show(name: &str, times: &[f64]) {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| percentile(times, share));
    println!("    {name:<22} p50 {p50:>8.2}   p99 {p99:>8.2}   p99.9 {p999:>8.2} ms");
}

/// Both carriers with each sync `delay` longer.
async fn compare(bench: &Bench, bundle: &Bytes, delay: Duration) {
    println!("each sync {delay:?} longer:");
    let messages = number("WEIR_LOAD_MESSAGES", 3_000);
    let (relay, gateway) = (bench.relay(delay, bundle), bench.gateway(delay));
    let (mut most, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for load in [&relay.1, &gateway.1] {
        bench.most(load, messages / 10).await;
    }
    let written = process(&gateway.0, "io", "write_bytes");
    for round in 1..=number("WEIR_LOAD_ROUNDS", 3) {
        let pair = [bench.most(&relay.1, messages).await, bench.most(&gateway.1, messages).await];
        println!(
            "  round {round}: relay {:>6.0} /s   gateway {:>6.0} /s   ratio {:.3}",
            pair[0],
            pair[1],
            pair[1] / pair[0]
        );
        most.iter_mut().zip(pair).for_each(|(all, rate)| all.push(rate));
        ratios.push(pair[1] / pair[0]);
    }
    let written = process(&gateway.0, "io", "write_bytes") - written;
    let carried = (messages * number("WEIR_LOAD_ROUNDS", 3)) as f64;
    most.iter_mut().chain([&mut ratios]).for_each(|each| each.sort_by(f64::total_cmp));
    println!(
        "  gateway: the middle ratio {:.3}; {:.1} KB written a message; {:.0} MB resident at most",
        percentile(&ratios, 0.5),
        written / carried / 1024.0,
        process(&gateway.0, "status", "VmHWM") / 1024.0
    );
    for (name, load, most) in [("relay", &relay.1, &most[0]), ("gateway", &gateway.1, &most[1])] {
        let pace = percentile(most, 0.5) * EASY;
        println!("  {name} at {pace:.0} a second, 70 % of the most:");
        let [accepted, delivered] = bench.paced(load, pace).await;
        show("to the 202", &accepted);
        show("to the partner", &delivered);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    if let [_, how, partner, folder] = &arguments[..]
        && how == "--relay"
    {
        let path = |name: &str| Path::new(folder).join(name);
        let server = server_tls(&path("relay.pem"), &path("relay.key"), &path("gateway/pki/bench-ca.pem"));
        let client = client_tls(&path("relay.pem"), &path("relay.key"), &path("gateway/pki/bench-ca.pem"));
        let partner = partner.parse().expect("an address");
        runtime.block_on(wire::relay(server, client, partner, &path("relay.journal")));
    }
    // `cargo test --benches` starts it too.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    runtime.block_on(async {
        let bench = Bench::new().await;
        let bundle = bench.bundle().await;
        for delay in [0, 1, 5].map(Duration::from_millis) {
            if delay.is_zero() || bench.shim.is_some() {
                compare(&bench, &bundle, delay).await;
            } else {
                println!("SKIPPED: there is no C compiler to make the shim of");
            }
        }
    });
}
