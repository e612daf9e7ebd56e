//! The demo site as real processes: what the tests of the built program share.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]
#![allow(dead_code, unreachable_pub, reason = "each test includes it and uses a part of it")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use weir::cli::client::{Answer, Client};
use weir::cli::loopback;
use weir::config::{Endpoint, Site};
use weir::fhir::audit_event::RecordedEvent;
use weir::storage::{SqliteStore, Store as _};

/// The built program; another one when `WEIR_PROGRAM` names it, such as the one that ships.
pub fn weir() -> Command {
    Command::new(std::env::var_os("WEIR_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_weir").into()))
}

/// A site as `weir demo --prepare` makes it, gone when dropped.
pub struct DemoSite {
    folder: TempDir,
}

impl DemoSite {
    pub fn new() -> DemoSite {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let made = weir().args(["demo", "--prepare", "--dir"]).arg(folder.path()).output().expect("weir runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        DemoSite { folder }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn gateway_folder(&self) -> PathBuf {
        self.path("gateway")
    }

    /// A sample record's bytes.
    pub fn record(&self, name: &str) -> Vec<u8> {
        fs::read(self.path("records").join(name)).expect("the sample exists")
    }

    /// Takes the clocks of crisis escalations' handovers out of the configuration: nobody is asked to accept one.
    pub fn without_clocks(self) -> DemoSite {
        let file = self.path("gateway/weir.toml");
        let text = fs::read_to_string(&file).expect("the site has a weir.toml");
        let (before, rest) =
            text.split_once("[interfaces.crisis-escalation.handover]\n").expect("the sample site has clocks");
        let (_, after) = rest.split_once("\n\n").expect("another section follows");
        fs::write(&file, format!("{before}{after}")).expect("it is written");
        self
    }

    /// The address in a line `key = "address"` of the gateway's configuration, the first of that name.
    fn address(&self, key: &str) -> SocketAddr {
        let text = fs::read_to_string(self.path("gateway/weir.toml")).expect("the site has a weir.toml");
        let line = text.split(&format!("[{key}]")).nth(1).and_then(|section| section.split("listen = \"").nth(1));
        line.and_then(|rest| rest.split('"').next()).and_then(|text| text.parse().ok()).expect("it is an address")
    }

    pub fn operations(&self) -> SocketAddr {
        self.address("operations")
    }

    /// Where partners' responses come in.
    pub fn partner_side(&self) -> SocketAddr {
        self.address("bars")
    }

    /// The records endpoint with the credentials that the site sends with.
    pub fn endpoint(&self) -> Endpoint {
        let site = Site::load(&self.gateway_folder()).unwrap_or_else(|faults| panic!("{faults}"));
        site.send_endpoint().expect("the site says how to send")
    }

    pub fn records(&self) -> SocketAddr {
        self.address("records")
    }

    /// The command that runs the gateway.
    pub fn serve(&self) -> Command {
        let mut command = weir();
        command.arg("serve").arg("--site").arg(self.gateway_folder());
        command
    }

    /// Starts the gateway and waits until it is ready.
    pub fn start_gateway(&self) -> Process {
        let process = Process::start(&mut self.serve(), self.path("gateway.log"));
        self.started(process)
    }

    /// The same, saying only what is wrong: a test that sends much would measure the log.
    pub fn start_gateway_quietly(&self) -> Process {
        let mut command = weir();
        command.arg("serve").arg("--site").arg(self.gateway_folder());
        let process = Process::start_quietly(&mut command, self.path("gateway.log"));
        self.started(process)
    }

    fn started(&self, mut gateway: Process) -> Process {
        wait_for("the gateway to be ready", || gateway.runs() && self.is_ready());
        gateway
    }

    pub fn wait_until_ready(&self) {
        wait_for("the gateway to be ready", || self.is_ready());
    }

    fn is_ready(&self) -> bool {
        http_get(self.operations(), "/readyz").is_some_and(|answer| answer.0 == 200)
    }

    /// Starts a partner (`trust` or `icb`) and waits until it listens.
    pub fn start_partner(&self, name: &str, misbehave: &[&str]) -> Process {
        let told: Vec<&str> = misbehave.iter().flat_map(|how| ["--misbehave", how]).collect();
        self.start_partner_with(name, &told)
    }

    /// The same with any options.
    pub fn start_partner_with(&self, name: &str, options: &[&str]) -> Process {
        let mut command = weir();
        command.arg("partner").arg("--site").arg(self.path(name)).args(options);
        let mut process = Process::start(&mut command, self.path(&format!("{name}.log")));
        let address = self.partner_address(name);
        wait_for("the partner to listen", || process.runs() && TcpStream::connect(address).is_ok());
        process
    }

    /// Where a partner listens.
    pub fn partner_address(&self, name: &str) -> SocketAddr {
        let text = fs::read_to_string(self.path(&format!("{name}/partner.toml"))).expect("the partner has a file");
        let address = text.split("listen = \"").nth(1).and_then(|rest| rest.split('"').next());
        address.and_then(|text| text.parse().ok()).expect("it is an address")
    }

    /// Runs `weir send` on a sample escalation and gives what it printed as JSON, and whether it exited with 0.
    pub fn send(&self, record: &str, more: &[&str]) -> (Value, bool) {
        self.send_to("crisis-escalation", record, more)
    }

    /// The same for a sample of any interface.
    pub fn send_to(&self, interface: &str, record: &str, more: &[&str]) -> (Value, bool) {
        let sent = weir()
            .args(["send", "--format", "json", "--interface", interface, "--site"])
            .arg(self.gateway_folder())
            .arg(self.path("records").join(record))
            .args(more)
            .output()
            .expect("weir runs");
        (json_of(&sent), sent.status.success())
    }

    /// Runs `weir send` on a record of this text, waits until it is acknowledged, and gives the text of the one Bundle that
    /// `partner` received. `name` is what a failure calls the record.
    pub fn deliver(&self, interface: &str, name: &str, record: &Value, partner: &str) -> String {
        let before: Vec<String> = self.inbox(partner).into_iter().map(|(id, _)| id).collect();
        let file = self.path(&format!("{name}.sent"));
        fs::write(&file, record.to_string()).expect("it can be written");
        let (answer, done) = self.send_to(interface, file.to_str().expect("the path is text"), &[]);
        assert!(done && answer["state"] == "acknowledged", "{name}: {answer}");
        let mut new: Vec<_> = self.inbox(partner).into_iter().filter(|(id, _)| !before.contains(id)).collect();
        assert_eq!(new.len(), 1, "{name} arrived once");
        new.remove(0).1
    }

    /// What a partner received, by Bundle id.
    pub fn inbox(&self, partner: &str) -> Vec<(String, String)> {
        let folder = self.path(partner).join("inbox/received");
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut received: Vec<_> = entries
            .map(|entry| entry.expect("the inbox is readable").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .map(|path| (stem(&path), fs::read_to_string(&path).expect("a received Bundle is readable")))
            .collect();
        received.sort();
        received
    }

    /// Every arrival that a partner noted, duplicates too.
    pub fn arrivals(&self, partner: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(partner).join("inbox/arrivals.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The events of the audit log as FHIR JSON, oldest first.
    pub fn audit_events(&self) -> Vec<Value> {
        let store = SqliteStore::open_to_read(&self.path("gateway/data/weir.sqlite3"), None);
        let store = store.expect("there is a database");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let events = runtime.block_on(store.events(0, 10_000)).expect("they are read");
        let said = events.iter().map(|stored| RecordedEvent::read(&stored.event.bytes).expect("it is an AuditEvent"));
        said.map(|said| serde_json::from_str(&said.to_json()).expect("it is JSON")).collect()
    }

    /// Every byte that the gateway stored or logged, except its configuration and keys.
    pub fn stored_and_logged(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in fs::read_dir(self.path("gateway/data")).expect("the gateway has data") {
            let path = entry.expect("it is readable").path();
            if path.is_file() {
                bytes.extend(fs::read(path).expect("it is readable"));
            }
        }
        for log in ["gateway.log", "trust.log", "icb.log"] {
            bytes.extend(fs::read(self.path(log)).unwrap_or_default());
        }
        bytes
    }
}

/// A running gateway, and the credentials of a record system of its provider.
pub struct Bench {
    pub site: DemoSite,
    pub runtime: tokio::runtime::Runtime,
    _gateway: Process,
}

impl Bench {
    /// A gateway of a site that was made before.
    pub fn of(site: DemoSite) -> Bench {
        let gateway = site.start_gateway();
        Bench::with(site, gateway)
    }

    /// The gateway of a site that was started before.
    pub fn with(site: DemoSite, gateway: Process) -> Bench {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        Bench { site, runtime, _gateway: gateway }
    }

    /// Kills the gateway.
    pub fn kill(self) -> DemoSite {
        let Bench { site, runtime: _, _gateway: gateway } = self;
        gateway.kill();
        site
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.exchange(Request::post(path), headers, body.into())
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.exchange(Request::get(path), headers, Bytes::new())
    }

    fn exchange(&self, mut request: hyper::http::request::Builder, headers: &[(&str, &str)], body: Bytes) -> Answer {
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("the request is well formed");
        self.runtime.block_on(async {
            let mut client = Client::connect(&self.site.endpoint()).await.expect("the gateway answers");
            client.exchange(request).await.expect("the gateway answers")
        })
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a file has a name").to_string_lossy().into_owned()
}

/// What a command that was asked for JSON printed.
pub fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        panic!("not JSON ({error}):\n{out}\n{err}")
    })
}

/// Every text of a JSON value, at any depth.
pub fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.values().for_each(|member| strings(member, found)),
        _ => {}
    }
}

/// An address at which nobody listens, nor soon will by chance.
pub fn nobody() -> SocketAddr {
    loopback::reserve().map(|[address]| address).expect("there is a free port")
}

/// A process that is killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn start(command: &mut Command, log: PathBuf) -> Process {
        Process::start_logging(command, log, "trace,h2=info,hyper=info,rustls=info")
    }

    /// Logs errors only.
    pub fn start_quietly(command: &mut Command, log: PathBuf) -> Process {
        Process::start_logging(command, log, "error")
    }

    fn start_logging(command: &mut Command, log: PathBuf, filter: &str) -> Process {
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).expect("the log can be written");
        let child = command.env("WEIR_LOG", filter).stdout(Stdio::null()).stderr(file);
        Process { child: child.spawn().expect("weir starts"), log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`
    pub fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// That it has not ended by itself; else what it said last is what is wrong.
    fn runs(&mut self) -> bool {
        if self.is_over() {
            let log = fs::read_to_string(&self.log).expect("it logs");
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            panic!("it ended: {}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        true
    }

    /// Whether it has ended by itself.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// `kill -TERM`, and the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().expect("it is our child").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Polls until `done`, for 90 seconds at most.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(90);
    while !done() {
        assert!(Instant::now() < give_up, "waited 90 s for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Plain HTTP/1.0, for the operators' endpoint: status and body.
pub fn http_get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}
