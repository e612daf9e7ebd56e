//! A witness of the audit log: the built `weir witness` and the built gateway, over mutual TLS; and whatever else a peer sends to
//! a witness on loopback.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use support::{DemoSite, Process, http_get, json_of, nobody, wait_for, weir};
use weir::audit::checkpoint::{Note, SigningKey, VerifierKey};
use weir::audit::cosignature::CosignerKey;
use weir::audit::merkle::Frontier;
use weir::audit::witness;
use weir::cli::client::{Answer, Client};
use weir::config::Endpoint;
use weir::identity::digest::{hex, sha_256};
use weir::identity::tls::{Credentials, TrustAnchors, client_config, system_clock};

const RECORD: &str = "crisis-escalation-complete.json";
const NAME: &str = "icb.example/witness";

/// What a command prints; it must end well.
fn printed(command: &mut Command) -> String {
    let done = command.output().expect("weir runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("it is text")
}

/// The demo site with the ICB for a witness of its audit log.
struct Scene {
    site: DemoSite,
    address: SocketAddr,
    /// The log's key.
    log: VerifierKey,
    /// The witness's.
    witness: CosignerKey,
}

impl Scene {
    fn new() -> Scene {
        let (site, address) = (DemoSite::new(), nobody());
        let key = site.path("icb/witness.key");
        printed(weir().args(["witness", "key", NAME, "--file"]).arg(&key));
        let public = fs::read_to_string(key.with_extension("pub")).expect("the public half is there");
        let log = printed(weir().args(["audit", "key", "--site"]).arg(site.gateway_folder()));
        fs::write(site.path("icb/audit.pub"), &log).expect("it is written");
        let toml = site.path("gateway/weir.toml");
        let text = fs::read_to_string(&toml).expect("there is a configuration");
        let text = text.replace("[audit]\n", "[audit]\nwitness_seconds = 1\n");
        let listed = format!(
            "\n[[audit.witnesses]]\npublic_key = \"{}\"\nurl = \"https://bars-demoi.partner.example\"\n\
             connect = \"{address}\"\ntrust_anchors = \"pki/partner-ca.pem\"\n",
            public.trim()
        );
        fs::write(&toml, text + &listed).expect("it is written");
        let (log, witness) = (log.parse().expect("a key"), public.parse().expect("a key"));
        Scene { site, address, log, witness }
    }

    fn start_witness(&self) -> Process {
        let icb = |name: &str| self.site.path("icb").join(name);
        let mut command = weir();
        command.args(["witness", "--listen", &self.address.to_string()]);
        for (option, file) in [
            ("--log-key", "audit.pub"),
            ("--key", "witness.key"),
            ("--state", "witness"),
            ("--certificate", "pki/partner.pem"),
            ("--certificate-key", "pki/partner.key"),
            ("--client-anchors", "pki/provider-ca.pem"),
        ] {
            command.arg(option).arg(icb(file));
        }
        let process = Process::start(&mut command, self.site.path("witness.log"));
        wait_for("the witness to listen", || TcpStream::connect(self.address).is_ok());
        process
    }

    /// What the witness keeps: the newest head that it cosigned.
    fn kept(&self) -> PathBuf {
        self.site.path("icb/witness/checkpoint")
    }

    /// How many events that head covers.
    fn cosigned(&self) -> u64 {
        let note = fs::read(self.kept()).unwrap_or_default();
        self.log.verify(&note).map_or(0, |head| head.size)
    }

    /// Submits a record and waits until the Trust has acknowledged it.
    fn deliver(&self) {
        let (sent, done) = self.site.send(RECORD, &["--key", &uuid::Uuid::new_v4().to_string()]);
        assert!(done, "{sent}");
    }

    /// Until everything that happened is cosigned, and the gateway knows it.
    fn wait_until_cosigned(&self) {
        let events = self.site.audit_events().len() as u64;
        wait_for("the head to be cosigned", || {
            self.standing()["cosigned"]["events"].as_u64().is_some_and(|cosigned| cosigned >= events)
        });
    }

    /// What the gateway's readiness says of the witness.
    fn standing(&self) -> Value {
        let (_, ready) = http_get(self.site.operations(), "/readyz").expect("the gateway answers");
        let ready: Value = serde_json::from_str(&ready).expect("it is JSON");
        ready["witnesses"][0].clone()
    }

    /// Asks the partners' side as the Trust.
    fn ask(&self, path: &str) -> Answer {
        let read = |name: &str| fs::read(self.site.path("trust/pki").join(name)).expect("it is there");
        let credentials = Credentials::from_pem(&read("partner.pem"), &read("partner.key")).expect("a certificate");
        let anchors = TrustAnchors::from_pem(&read("provider-ca.pem")).expect("an authority");
        let endpoint = Endpoint {
            uri: "https://bars-demop.provider.example".parse().expect("a URL"),
            connect: Some(self.site.partner_side()),
            tls: client_config(&credentials, &anchors, system_clock()).expect("it can be used"),
        };
        let request = Request::get(path).body(Full::default()).expect("the request is well formed");
        tokio::runtime::Runtime::new().expect("a runtime starts").block_on(async {
            let mut client = Client::connect(&endpoint).await.expect("the gateway answers");
            client.exchange(request).await.expect("the gateway answers")
        })
    }

    /// `weir audit verify` with these options: what it says is wrong.
    fn faults(&self, more: &[&str]) -> Vec<String> {
        let mut command = weir();
        command.args(["audit", "verify", "--format", "json", "--site"]).arg(self.site.gateway_folder()).args(more);
        let done = command.output().expect("weir runs");
        let faults = json_of(&done)["faults"].as_array().cloned().expect("a list of faults");
        assert_eq!(done.status.code(), Some(i32::from(!faults.is_empty())), "{faults:?}");
        faults.iter().map(|fault| fault.as_str().expect("it is text").to_owned()).collect()
    }
}

#[test]
fn a_witness_cosigns_the_log_and_partners_are_shown_it() {
    let scene = Scene::new();
    let _trust = scene.site.start_partner("trust", &[]);
    let gateway = scene.site.start_gateway();
    wait_for("the witness to be missed", || scene.standing()["trouble"].is_string());
    assert_eq!(scene.ask("/tlog/cosigned-checkpoint").status.as_u16(), 404, "nobody cosigned yet");
    let none = weir().args(["audit", "head", "--cosigned", "--site"]).arg(scene.site.gateway_folder()).output();
    assert_eq!(none.expect("weir runs").status.code(), Some(1));
    scene.deliver();

    let witness = scene.start_witness();
    scene.wait_until_cosigned();
    let standing = scene.standing();
    assert_eq!((&standing["witness"], &standing["alarm"]), (&scene.witness.kid().into(), &Value::Null));
    assert_eq!(standing["trouble"], Value::Null, "{standing}");
    let shown = scene.ask("/tlog/cosigned-checkpoint");
    assert_eq!(
        (shown.status.as_u16(), &shown.headers["content-type"]),
        (200, &"text/plain; charset=utf-8".parse().expect("a value"))
    );
    let head = scene.log.verify(&shown.body).expect("the log signed it");
    let note = Note::parse(&shown.body).expect("it is a note");
    let at = scene.witness.verify(&note).expect("the witness cosigned it");
    assert!(head.size >= 5, "{head:?}");
    let tile = scene.ask(&format!("/tlog/tile/0/000.p/{}", head.size));
    let mut tree = Frontier::new();
    tile.body.chunks(32).for_each(|leaf| tree.push(leaf.try_into().expect("32 bytes"), |_| {}));
    assert_eq!(tree.root(), head.root, "what was cosigned is what the tiles make");
    let newest = scene.ask("/tlog/checkpoint");
    assert_eq!(newest.body, shown.body, "nothing happened since: the newest head is the cosigned one");
    let printed_head = printed(weir().args(["audit", "head", "--cosigned", "--site"]).arg(scene.site.gateway_folder()));
    assert_eq!(printed_head.as_bytes(), &shown.body[..]);
    assert_eq!(printed_head, fs::read_to_string(scene.kept()).expect("the witness keeps it"));

    // A witness that was away goes on where it stood.
    assert_eq!(witness.terminate(), Some(0));
    scene.deliver();
    wait_for("the witness to be missed", || scene.standing()["trouble"].is_string());
    let witness = scene.start_witness();
    scene.wait_until_cosigned();
    assert!(scene.cosigned() > head.size);
    let metrics = http_get(scene.site.operations(), "/metrics").expect("the gateway answers").1;
    let kid = scene.witness.kid();
    for line in [
        format!("weir_witness_cosigned_events{{witness=\"{kid}\"}} {}", scene.cosigned()),
        format!("weir_witness_alarms{{witness=\"{kid}\",alarm=\"rolled-back\"}} 0"),
        format!("weir_witness_requests_total{{witness=\"{kid}\",outcome=\"cosigned\"}}"),
        format!("weir_witness_requests_total{{witness=\"{kid}\",outcome=\"no-answer\"}}"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    let log = fs::read_to_string(scene.site.path("gateway.log")).expect("the gateway logs");
    let said = log.matches("the witness did not cosign").count();
    assert!(said <= 3, "trouble that goes on is said once: {said}");
    assert_eq!(gateway.terminate(), Some(0));
    assert_eq!(scene.faults(&["--head", scene.kept().to_str().expect("text")]), [""; 0]);
    assert!(at.year() > 2000);
    drop(witness);

    // A key that the site does not list any more, and one that it lists without asking.
    let toml = scene.site.path("gateway/weir.toml");
    let text = fs::read_to_string(&toml).expect("there is a configuration");
    let (before, listed) = text.split_once("\n[[audit.witnesses]]\n").expect("the witness is listed");
    fs::write(&toml, before).expect("it is written");
    let faults = scene.faults(&[]);
    assert!(
        !faults.is_empty() && faults.iter().all(|fault| fault.contains("lists no witness with this key")),
        "{faults:?}"
    );
    let retired = listed.lines().next().expect("the first line is the key");
    fs::write(&toml, format!("{before}\n[[audit.witnesses]]\n{retired}\n")).expect("it is written");
    assert_eq!(scene.faults(&[]), [""; 0]);
}

#[test]
fn an_old_copy_of_the_database_is_seen_at_once_and_told_by_the_witness_s_checkpoint() {
    let scene = Scene::new();
    let _trust = scene.site.start_partner("trust", &[]);
    let _witness = scene.start_witness();
    let database = scene.site.path("gateway/data/weir.sqlite3");
    let gateway = scene.site.start_gateway();
    scene.deliver();
    scene.wait_until_cosigned();
    assert_eq!(gateway.terminate(), Some(0));
    let copy = fs::read(&database).expect("the database is one file once the gateway has stopped");
    let gateway = scene.site.start_gateway();
    (0..4).for_each(|_| scene.deliver());
    scene.wait_until_cosigned();
    assert_eq!(gateway.terminate(), Some(0));
    let cosigned = scene.cosigned();

    fs::write(&database, copy).expect("the old copy is put back");
    let head = scene.kept();
    let head = head.to_str().expect("text");
    assert_eq!(scene.faults(&[]), [""; 0], "it agrees with itself");
    let at = scene.witness.verify(&Note::parse(&fs::read(scene.kept()).expect("it is kept")).expect("a note"));
    let at = weir::fhir::instant_text(at.expect("it is cosigned"));
    let faults = scene.faults(&["--head", head]);
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    assert!(fault.contains(&format!("a head over {cosigned} events")), "{fault}");
    assert!(fault.contains(&format!("(cosigned by {NAME} at {at})")), "{fault}");
    assert!(fault.contains(&format!("an old copy was put back after {at}")), "{fault}");

    let gateway = scene.site.start_gateway();
    wait_for("the gateway to see it", || scene.standing()["alarm"].is_string());
    let alarm = scene.standing()["alarm"].to_string();
    assert!(alarm.contains("an old copy of the database was put back"), "{alarm}");
    assert!(alarm.contains(&format!("has cosigned {cosigned} events")), "{alarm}");
    let metrics = http_get(scene.site.operations(), "/metrics").expect("the gateway answers").1;
    let alarmed = format!("weir_witness_alarms{{witness=\"{}\",alarm=\"rolled-back\"}} 1", scene.witness.kid());
    assert!(metrics.contains(&alarmed), "{metrics}");
    let log = || fs::read_to_string(scene.site.path("gateway.log")).expect("the gateway logs");
    let is_alarm = |line: &&str| line.contains("ERROR") && line.contains("the audit log is not what was witnessed");
    assert_eq!(log().lines().filter(is_alarm).count(), 1, "it is said once");

    // The log goes on past what was witnessed: another log now.
    (0..6).for_each(|_| scene.deliver());
    wait_for("the gateway to see the fork", || {
        scene.standing()["alarm"]
            .as_str()
            .is_some_and(|alarm| alarm.contains("is not the one of which the witness cosigned"))
    });
    assert_eq!(gateway.terminate(), Some(0));
    assert_eq!(scene.cosigned(), cosigned, "the witness cosigned nothing of it");
    assert_eq!(scene.faults(&[]), [""; 0], "it agrees with itself");
    let faults = scene.faults(&["--head", head]);
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    assert!(fault.contains(&format!("the log differs from its head over {cosigned} events")), "{fault}");
    assert!(fault.contains(&format!("put back after {at} and went on")), "{fault}");
    let witness_log = fs::read_to_string(scene.site.path("witness.log")).expect("the witness logs");
    assert!(witness_log.contains("NOT cosigned: the log did not go on"), "{witness_log}");
}

/// A witness on loopback without TLS, of a log that the test signs.
struct Bare {
    folder: tempfile::TempDir,
    address: SocketAddr,
    log: SigningKey,
}

impl Bare {
    fn new() -> Bare {
        let bare = Bare {
            folder: tempfile::tempdir().expect("a folder"),
            address: nobody(),
            log: SigningKey::generate("weir.example/TEST").expect("the name is good"),
        };
        printed(weir().args(["witness", "key", NAME, "--file"]).arg(bare.path("witness.key")));
        fs::write(bare.path("audit.pub"), bare.log.verifier().to_string()).expect("it is written");
        bare
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, listen: &str) -> Command {
        let mut command = weir();
        command.args(["witness", "--listen", listen, "--log-key"]).arg(self.path("audit.pub"));
        command.arg("--key").arg(self.path("witness.key")).arg("--state").arg(self.path("state"));
        command
    }

    fn start(&self) -> Process {
        let process = Process::start(&mut self.command(&self.address.to_string()), self.path("log"));
        wait_for("the witness to listen", || TcpStream::connect(self.address).is_ok());
        process
    }

    /// Status, `Content-Type` and body of what the witness answers.
    fn exchange(&self, request: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        // A witness that refuses a request may hang up before its end.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let kind = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-type: ").map(str::to_owned));
        (status, kind.unwrap_or_default(), body.to_owned())
    }

    fn post(&self, body: &str) -> (u16, String, String) {
        let length = body.len();
        let head = "POST /add-checkpoint HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        self.exchange(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes())
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
    }
}

#[test]
fn a_witness_speaks_the_protocol_whatever_it_is_sent() {
    let bare = Bare::new();
    let mut running = bare.start();
    let root = |size: u64| {
        let mut tree = Frontier::new();
        (0..size).for_each(|leaf| tree.push([leaf as u8; 32], |_| {}));
        tree.root()
    };
    let head = |size| bare.log.sign(size, &root(size));
    let path = format!("/{}/checkpoint", hex(&sha_256(b"weir.example/TEST")));
    assert_eq!(bare.get(&path).0, 404);
    let (status, _, line) = bare.post(&witness::request(0, &[], &head(2)));
    assert_eq!(status, 200);
    let note = head(2) + &line;
    let public = fs::read_to_string(bare.path("witness.pub")).expect("the public half is there");
    let public: CosignerKey = public.parse().expect("a key");
    assert!(public.verify(&Note::parse(note.as_bytes()).expect("a note")).is_ok(), "{line}");
    assert_eq!(bare.get(&path), (200, "text/plain; charset=utf-8".to_owned(), note.clone()));

    let other = SigningKey::generate("weir.example/OTHER").expect("the name is good");
    let stranger = SigningKey::generate("weir.example/TEST").expect("the name is good");
    let size = (409, "text/x.tlog.size".to_owned(), "2\n".to_owned());
    assert_eq!(bare.post(&witness::request(0, &[], &head(4))), size);
    for (status, body) in [
        (400, "old 2".to_owned()),
        (400, "\n\n\n".to_owned()),
        (400, "\u{0}\u{1}é".to_owned()),
        (404, witness::request(2, &[], &other.sign(4, &root(4)))),
        (403, witness::request(2, &[], &stranger.sign(4, &root(4)))),
        (422, witness::request(2, &[], &head(4))),
        (422, witness::request(2, &[], &bare.log.sign(2, &root(3)))),
        (413, "a".repeat(200 << 10)),
    ] {
        let (answered, _, says) = bare.post(&body);
        assert_eq!(answered, status, "{says}");
    }
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"\r\n\r\n\r\n\r\n", &[0xff; 4096]] {
        let mut stream = TcpStream::connect(bare.address).expect("it listens");
        let _ = stream.write_all(garbage);
    }
    assert_eq!(bare.get("/add-checkpoint").0, 405);
    assert_eq!(bare.get("/checkpoint").0, 404);
    assert_eq!(fs::read_to_string(bare.path("state/checkpoint")).expect("it is kept"), note, "nothing else was kept");
    let log = fs::read_to_string(bare.path("log")).expect("it logs");
    assert!(!log.contains("panicked"), "{log}");

    assert!(!running.is_over());
    running.kill();
    let running = bare.start();
    assert_eq!(bare.post(&witness::request(0, &[], &head(4))), size, "what was cosigned outlives a kill");
    assert_eq!(bare.post(&witness::request(2, &[], &head(2))).0, 200);
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn a_witness_that_would_not_be_safe_does_not_start() {
    let bare = Bare::new();
    let fails = |command: &mut Command, says: &str| {
        let done = command.output().expect("weir runs");
        let error = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(2) && error.contains(says), "{:?}: {error}", done.status.code());
    };
    fails(&mut bare.command("0.0.0.0:0"), "0.0.0.0:0 is no loopback address");
    fails(bare.command("127.0.0.1:0").arg("--certificate").arg(bare.path("a.pem")), "--certificate-key");
    let running = bare.start();
    fails(&mut bare.command("127.0.0.1:0"), "another witness is running on this state folder");
    assert_eq!(running.terminate(), Some(0));
    let key = bare.path("witness.key");
    fails(weir().args(["witness", "key", NAME, "--file"]).arg(&key), "is there already");
    fails(
        weir().args(["witness", "key", NAME, "--file"]).arg(bare.path("c.pub")),
        "name a file that does not end in .pub",
    );
    fs::rename(bare.path("witness.pub"), bare.path("kept.pub")).expect("it moves");
    fails(weir().args(["witness", "key", NAME, "--file"]).arg(&key), "cannot write");
    fs::rename(bare.path("kept.pub"), bare.path("witness.pub")).expect("it moves");
    fails(weir().args(["witness", "key", "two words", "--file"]).arg(bare.path("b.key")), "a key name is not empty");
    fs::write(bare.path("audit.pub"), fs::read(bare.path("witness.pub")).expect("it is there")).expect("it is written");
    fails(&mut bare.command("127.0.0.1:0"), "holds no public key of an audit log");
    fs::write(bare.path("audit.pub"), bare.log.verifier().to_string()).expect("it is written");
    fs::write(&key, bare.log.secret_text()).expect("it is written");
    fails(&mut bare.command("127.0.0.1:0"), "does not hold a key of its kind");
}

#[test]
fn what_a_site_says_of_its_witnesses_is_checked() {
    let scene = Scene::new();
    let toml = scene.site.path("gateway/weir.toml");
    let text = fs::read_to_string(&toml).expect("there is a configuration");
    let listed = text.split_once("\n[[audit.witnesses]]\n").expect("the witness is listed").1.to_owned();
    for (from, to, says) in [
        ("https://bars-demoi", "http://bars-demoi", "audit.witnesses: the url of icb.example/witness cannot be used"),
        ("https://bars-demoi.partner.example", "http://10.0.0.5:80", "http:// and a loopback address"),
        ("trust_anchors = \"pki/partner-ca.pem\"", "", "icb.example/witness has no trust_anchors"),
        ("public_key = \"icb", "public_key = \"other", "the key's id does not belong to its name"),
        ("connect = ", "connects = ", "unknown field `connects`"),
        (&*listed, &*format!("{listed}\n[[audit.witnesses]]\n{listed}"), "is listed twice"),
        ("witness_seconds = 1\n", "witness_seconds = 0\n", "audit.witness_seconds is out of range"),
    ] {
        // The part behind the other sections, which have trust anchors too.
        let at = if from.starts_with("witness_seconds") { 0 } else { text.len() - listed.len() };
        let changed = text[..at].to_owned() + &text[at..].replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        fs::write(&toml, changed).expect("it is written");
        let done =
            weir().args(["config", "check", "--site"]).arg(scene.site.gateway_folder()).output().expect("weir runs");
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(!done.status.success() && said.contains(says), "{to}: {said}");
    }
}
