//! MESH over mutual TLS, against NHS England's own: `mesh-sandbox` is the MESH, and the partner uses `mesh-client`.
//!
//! Both are installed with pip into a virtual environment below `target/`, in the versions of `mesh/requirements.txt`.
//! Where that cannot be done (no Python, no network) these tests say so on standard error and test nothing; with
//! `WEIR_MESH=required` they fail instead.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]
#![allow(clippy::print_stderr, reason = "a test that tests nothing says so")]

mod support;
#[path = "support/boundary.rs"]
mod boundary;

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response as HttpResponse};
use axum::{Extension, Json};
use boundary::Kind::*;
use boundary::{Aim, Boundaries, after, before};
use http::StatusCode;
use rusqlite::Connection;
use serde_json::{Value, json};
use support::{DemoSite, Process, http_get, json_of, nobody, wait_for, weir};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use uuid::Uuid;
use weir::fhir::message::{Response, ResponseCode, response_bundle, response_with_task};
use weir::identity::MessageId;
use weir::identity::issuance::{Authority, Validity};
use weir::identity::tls::{Credentials, TrustAnchors, server_config, system_clock};
use weir::server::listener::{self, Limits, Listener};

const RECORD: &str = "crisis-escalation-minimal.json";
const SHARED_KEY: &str = "Zm9yLXRlc3RzLW9ubHk";
/// The sandbox's own mailboxes and workflow: the first is ours, the second the partner's, the third somebody else's.
const OURS: &str = "X26ABC1";
const THEIRS: &str = "X26ABC2";
const OTHERS: &str = "X26ABC3";
const PASSWORD: &str = "password";
const WORKFLOW: &str = "TEST_WORKFLOW";

/// The Python with both packages, or `None`, which was said then.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let installed = PYTHON.get_or_init(|| {
        install()
            .map_err(|why| {
                assert!(std::env::var_os("WEIR_MESH").is_none_or(|how| how != "required"), "MESH is not tested: {why}");
                eprintln!("\n*** MESH IS NOT TESTED: {why}. WEIR_MESH=required makes this a failure. ***\n");
            })
            .ok()
    });
    installed.as_deref()
}

fn install() -> Result<PathBuf, String> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/requirements.txt");
    let wanted = fs::read_to_string(&requirements).expect("the versions are there");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mesh");
    let (python, done) = (folder.join("bin/python"), folder.join("installed.txt"));
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let run = |command: &mut Command| match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("it failed").to_owned()),
        Err(error) => Err(error.to_string()),
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
        .map_err(|why| format!("python3 makes no virtual environment ({why})"))?;
    let pip = ["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "15", "--requirement"];
    run(Command::new(&python).args(pip).arg(&requirements)).map_err(|why| format!("pip installs nothing ({why})"))?;
    fs::write(done, wanted).expect("it is written");
    Ok(python)
}

/// A sandbox on loopback, and a site whose messages to the Trust go through it.
struct Mesh {
    python: &'static Path,
    site: DemoSite,
    port: u16,
    _sandbox: Process,
}

impl Mesh {
    /// `settings` are further lines of `[mesh]`.
    fn start(settings: &str) -> Option<Mesh> {
        let python = python()?;
        let site = DemoSite::new();
        keys(&site);
        let port = nobody().port();
        let file = |name: &str| site.path("gateway/mesh").join(name);
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" >&2", "sh"])
            .arg(python)
            .args(["-m", "uvicorn", "mesh_sandbox.api:app", "--host", "127.0.0.1", "--ssl-cert-reqs", "2"])
            .args(["--port", &port.to_string()])
            .arg("--ssl-certfile")
            .arg(file("client.pem"))
            .arg("--ssl-keyfile")
            .arg(file("client.key"))
            .arg("--ssl-ca-certs")
            .arg(file("ca.pem"))
            .envs([("SHARED_KEY", SHARED_KEY), ("AUTH_MODE", "full"), ("STORE_MODE", "memory")]);
        let sandbox = Process::start(&mut command, site.path("sandbox.log"));
        wait_for("the sandbox to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let mesh = Mesh { python, site, port, _sandbox: sandbox };
        mesh.configure(settings);
        Some(mesh)
    }

    fn configure(&self, settings: &str) {
        configure(&self.site, self.port, settings);
    }

    /// Submits the sample, and waits until MESH has it.
    fn deliver(&self) -> String {
        let (sent, _) = self.site.send(RECORD, &["--wait-seconds", "0"]);
        let id = sent["message"].as_str().unwrap_or_else(|| panic!("it is accepted: {sent}")).to_owned();
        self.wait_until(&id, "delivered");
        id
    }

    fn show(&self, id: &str) -> Value {
        let mut command = weir();
        command.args(["messages", "show", id, "--format", "json", "--site"]).arg(self.site.gateway_folder());
        json_of(&command.output().expect("weir runs"))
    }

    fn wait_until(&self, id: &str, state: &str) {
        wait_for(&format!("the message to be {state}"), || self.show(id)["state"] == state);
    }

    /// What NHS England's client says for `mailbox`.
    fn client(&self, mailbox: &str, command: &str, asked: &Value) -> Value {
        let mut partner = Command::new(self.python);
        partner
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/partner.py"))
            .arg(format!("https://localhost:{}", self.port))
            .arg(self.site.path("gateway/mesh"))
            .args([mailbox, PASSWORD, command, &asked.to_string()]);
        json_of(&partner.output().expect("Python runs"))
    }

    /// The one message that the partner has.
    fn received(&self) -> (Value, String) {
        let read = self.client(THEIRS, "read", &Value::Null);
        let [message] = read.as_array().expect("a list").as_slice() else { panic!("one message: {read}") };
        (message["headers"].clone(), message["body"].as_str().expect("text").to_owned())
    }

    /// `from` answers the Bundle that was received; what MESH calls the answer.
    fn answer(&self, from: &str, bundle: &str, code: ResponseCode, more: Value) -> String {
        let bundle: Value = serde_json::from_str(bundle).expect("the Bundle is JSON");
        let response = response(bundle["id"].as_str().expect("a Bundle has an id"), code);
        self.send_answer(from, response_bundle(&response), more)
    }

    /// The team of the Bundle's recipient says how the Task stands that came in it; what MESH calls the answer.
    fn decide(&self, bundle: &str, members: &Value) -> String {
        let bundle: Value = serde_json::from_str(bundle).expect("the Bundle is JSON");
        let mut resources = bundle["entry"].as_array().expect("entries").iter().map(|entry| &entry["resource"]);
        let task = resources.find(|resource| resource["resourceType"] == "Task").expect("it has a Task");
        let id = task["id"].as_str().expect("it has an id");
        let mut task = json!({ "resourceType": "Task", "id": id, "intent": "order" });
        task.as_object_mut().expect("an object").extend(members.as_object().expect("members").clone());
        let response = response(bundle["id"].as_str().expect("a Bundle has an id"), ResponseCode::Ok);
        self.send_answer(THEIRS, response_with_task(&response, (id, &task.to_string())), Value::Null)
    }

    fn send_answer(&self, from: &str, body: String, more: Value) -> String {
        let mut asked = json!({"to": OURS, "workflow": format!("{WORKFLOW}_ACK"), "body": body});
        asked.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        self.client(from, "send", &asked).as_str().expect("an id").to_owned()
    }

    fn tracked(&self, mailbox: &str, id: &str) -> Value {
        self.client(mailbox, "track", &json!({"id": id}))
    }

    /// How often the sandbox was asked for this.
    fn asked_for(&self, request: &str) -> usize {
        fs::read_to_string(self.site.path("sandbox.log")).expect("the sandbox logs").matches(request).count()
    }

    /// When our certificate for MESH ends, as `/metrics` says.
    fn certificate_end(&self) -> Option<String> {
        let metrics = http_get(self.site.operations(), "/metrics").expect("it answers").1;
        let place = "partner DEMOT, mesh.certificate";
        let name = format!("weir_certificate_end_timestamp_seconds{{place=\"{place}\",what=\"our own certificate\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name).map(str::to_owned))
    }

    fn check(&self) -> (bool, String) {
        let mut command = weir();
        command.args(["partner", "check", "DEMOT", "--site"]).arg(self.site.gateway_folder());
        let output = command.output().expect("weir runs");
        (output.status.success(), String::from_utf8(output.stdout).expect("UTF-8"))
    }

    /// How many copies of messages MESH took from us.
    fn copies(&self) -> usize {
        self.asked_for(&format!("POST /messageexchange/{OURS}/outbox "))
    }

    /// A report about what MESH calls `about`, in our inbox; what MESH calls the report.
    fn report(&self, about: &str, local_id: Option<&str>) -> String {
        let report = json!({
            "mailbox_id": OURS,
            "code": "14",
            "description": "Message not collected by recipient after 5 days",
            "workflow_id": WORKFLOW,
            "local_id": local_id,
            "linked_message_id": about,
        });
        self.client(OURS, "report", &report).as_str().expect("an id").to_owned()
    }

    /// Stops the gateway; its audit log verifies, and no secret or record is in its log.
    fn ends_well(&self, gateway: Process) {
        assert_eq!(gateway.terminate(), Some(0));
        let folder = self.site.gateway_folder();
        let verified = weir().args(["audit", "verify", "--site"]).arg(folder).output().expect("weir runs");
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
        let log = fs::read_to_string(self.site.path("gateway.log")).expect("the gateway logs");
        for secret in [SHARED_KEY, "NHSMESH", "resourceType"] {
            assert!(!log.contains(secret), "{secret} is in the log");
        }
    }
}

/// A response of the Trust to a Bundle of ours.
fn response(answers: &str, code: ResponseCode) -> Response<'_> {
    Response {
        id: Uuid::new_v4(),
        timestamp: OffsetDateTime::now_utc(),
        answers,
        code,
        event: "servicerequest-response",
        receiver: "DEMOT",
        sender: "DEMOP",
    }
}

/// The Trust's partner file of a site whose MESH is at `port` of loopback. `settings` are further lines of `[mesh]`.
fn configure(site: &DemoSite, port: u16, settings: &str) {
    configure_partner(site, ("trust", "DEMOT"), port, settings);
}

fn configure_partner(site: &DemoSite, (file, ods): (&str, &str), port: u16, settings: &str) {
    let written = format!(
        r#"
ods = "{ods}"
name = "Demo {ods}"
first_retry_seconds = 0.2
max_retry_seconds = 1

[mesh]
endpoint = "https://localhost:{port}"
connect = "127.0.0.1:{port}"
trust_anchors = "mesh/ca.pem"
certificate = "mesh/client.pem"
key = "mesh/client.key"
mailbox = "{OURS}"
password_file = "mesh/password"
shared_key_file = "mesh/shared-key"
workflow = "{WORKFLOW}"
poll_seconds = 1
{settings}
"#
    );
    fs::write(site.path(&format!("gateway/partners/{file}.toml")), written).expect("it is written");
}

/// One authority, and one certificate that serves the sandbox and both of its clients.
fn keys(site: &DemoSite) {
    let folder = site.path("gateway/mesh");
    fs::create_dir(&folder).expect("a new folder");
    let validity = Validity::days(OffsetDateTime::now_utc(), 1);
    let authority = Authority::new("MESH CA", validity).expect("an authority");
    let issued = authority.issue(&"X26".parse().expect("an ODS code"), "mesh.example", &["localhost"], validity);
    let issued = issued.expect("a certificate");
    for (name, text) in [
        ("ca.pem", authority.certificate_pem()),
        ("client.pem", &issued.certificate_pem),
        ("client.key", &issued.key_pem),
        ("password", PASSWORD),
        ("shared-key", SHARED_KEY),
    ] {
        let file = folder.join(name);
        fs::write(&file, text).expect("it is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }
}

#[test]
fn a_message_goes_into_the_partners_mailbox_and_its_answer_comes_back() {
    let Some(mesh) = Mesh::start("lookup_ods = \"X26\"") else { return };
    let gateway = mesh.site.start_gateway();
    let id = mesh.deliver();
    let (headers, bundle) = mesh.received();
    assert_eq!((&headers["localid"], &headers["workflowid"]), (&json!(id), &json!(WORKFLOW)));
    assert_eq!(serde_json::from_str::<Value>(&bundle).expect("JSON")["resourceType"], "Bundle");
    let note = mesh.show(&id)["note"].as_str().expect("a note").to_owned();
    let mesh_id = headers["messageid"].as_str().expect("MESH names it");
    assert!(note.contains(mesh_id), "{note}");
    assert_eq!(mesh.tracked(OURS, mesh_id), "acknowledged");

    // Nobody but the partner answers for it.
    let forged = mesh.answer(OTHERS, &bundle, ResponseCode::Ok, json!({"local_id": id}));
    wait_for("the forged answer to be seen", || {
        mesh.asked_for(&format!("HEAD /messageexchange/{OURS}/inbox/{forged}")) > 0
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(mesh.show(&id)["state"], "delivered");

    let answer = mesh.answer(THEIRS, &bundle, ResponseCode::Ok, json!({"chunk": 300}));
    mesh.wait_until(&id, "acknowledged");
    wait_for("MESH to forget the answer", || mesh.tracked(THEIRS, &answer) == "acknowledged");
    assert!(mesh.asked_for(&format!("GET /messageexchange/{OURS}/inbox/{answer}/2")) > 0, "it came in chunks");
    assert_eq!(mesh.client(OURS, "waiting", &Value::Null), json!([forged]), "what is not for us stays");
    assert_eq!(mesh.asked_for(&format!("GET /messageexchange/{OURS}/inbox/{forged} ")), 0, "and is not even read");
    assert_eq!(mesh.asked_for(&format!("POST /messageexchange/{OURS} ")), 1, "one handshake");
    assert!(mesh.certificate_end().is_some(), "our certificate for MESH is watched");
    let (checked, said) = mesh.check();
    assert!(checked && said.contains("route 0, NHS MESH: https://localhost:"), "{said}");
    assert!(said.contains("messages can be sent: nothing is refused"), "{said}");
    mesh.ends_well(gateway);
}

#[test]
fn a_large_message_goes_in_chunks_and_a_refusal_comes_back() {
    let Some(mesh) = Mesh::start(&format!("to = \"{THEIRS}\"\nchunk_bytes = 3000")) else { return };
    let gateway = mesh.site.start_gateway();
    let id = mesh.deliver();
    let (headers, bundle) = mesh.received();
    let chunks = bundle.len().div_ceil(3000);
    assert!(chunks > 2, "{} bytes are many chunks", bundle.len());
    assert_eq!(headers["chunk-range"], json!(format!("1:{chunks}")));
    assert_eq!(serde_json::from_str::<Value>(&bundle).expect("whole")["type"], "message");
    mesh.answer(THEIRS, &bundle, ResponseCode::FatalError, Value::Null);
    mesh.wait_until(&id, "refused");
    mesh.ends_well(gateway);
}

#[test]
fn a_team_takes_responsibility_by_an_answer_in_our_mailbox() {
    let Some(mesh) = Mesh::start("lookup_ods = \"X26\"") else { return };
    let gateway = mesh.site.start_gateway();
    let id = mesh.deliver();
    let (_, bundle) = mesh.received();
    let responsibility = || mesh.show(&id)["responsibility"].clone();
    let state = || responsibility()["handover"]["state"].clone();
    assert_eq!((state(), &responsibility()["holder"]["organisation"]), (json!("waiting"), &json!("DEMOP")));

    // An acceptance that names nobody cannot be refused over MESH: the message has arrived, and the handover waits on.
    let nobody = mesh.decide(&bundle, &json!({ "status": "accepted" }));
    mesh.wait_until(&id, "acknowledged");
    wait_for("MESH to forget it", || mesh.tracked(THEIRS, &nobody) == "acknowledged");
    assert_eq!((state(), &mesh.show(&id)["answers"][0]["handover"]), (json!("waiting"), &json!("unnamed")));

    let owner = json!({ "type": "CareTeam", "display": "Crisis Team North" });
    let taken = mesh.decide(&bundle, &json!({ "status": "accepted", "owner": owner }));
    wait_for("the handover to be accepted", || state() == "accepted");
    wait_for("MESH to forget the acceptance", || mesh.tracked(THEIRS, &taken) == "acknowledged");
    let shown = responsibility();
    assert_eq!(
        (&shown["holder"]["organisation"], &shown["holder"]["owner"]["name"]),
        (&json!("DEMOT"), &json!("Crisis Team North"))
    );
    let moments = shown["history"].as_array().expect("a history");
    let because: Vec<_> = moments.iter().map(|moment| &moment["because"]).collect();
    assert_eq!(because, ["message-accepted", "waiting", "accepted"]);
    let (evidence, answers) = (&moments[2]["evidence"], mesh.show(&id)["answers"].clone());
    assert_eq!((&evidence["answer"], &answers[1]["handover"]), (&answers[1]["answer"], &json!("accepted")));
    let events = mesh.site.audit_events();
    let event = events.iter().find(|event| event["id"] == evidence["auditEvent"]).expect("it is in the log");
    assert_eq!(
        event["agent"][0]["who"]["identifier"]["value"], "DEMOT",
        "the mailbox says whose answer it is: {event}"
    );

    let began = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
    mesh.decide(&bundle, &json!({ "status": "in-progress", "executionPeriod": { "start": began } }));
    wait_for("the person to be reached", || state() == "contacted");
    mesh.ends_well(gateway);
}

#[test]
fn a_report_makes_the_message_fail_and_people_are_told() {
    let Some(mesh) = Mesh::start("lookup_ods = \"X26\"") else { return };
    let gateway = mesh.site.start_gateway();
    let id = mesh.deliver();
    let report = mesh.report("20200529155357895317_3573F8", Some(&id));
    mesh.wait_until(&id, "dead");
    let note = mesh.show(&id)["note"].as_str().expect("a note").to_owned();
    assert!(note.contains("20200529155357895317_3573F8") && note.contains("code 14"), "{note}");
    wait_for("MESH to forget the report", || mesh.client(OURS, "waiting", &Value::Null) == json!([]));
    assert_eq!(mesh.asked_for(&format!("PUT /messageexchange/{OURS}/inbox/{report}/status/acknowledged")), 1);
    wait_for("people to be told", || {
        mesh.show(&id)["note"].as_str().is_some_and(|note| note.contains("people told: dead"))
    });
    mesh.ends_well(gateway);
}

#[test]
fn what_was_downloaded_and_not_stored_is_fetched_again_after_a_kill() {
    let Some(mesh) = Mesh::start("lookup_ods = \"X26\"") else { return };
    let gateway = mesh.site.start_gateway();
    let id = mesh.deliver();
    let (_, bundle) = mesh.received();
    // The database takes nothing while this holds it.
    let database = Connection::open(mesh.site.path("gateway/data/weir.sqlite3")).expect("the database is there");
    database.execute_batch("BEGIN IMMEDIATE").expect("it can be held");
    let answer = mesh.answer(THEIRS, &bundle, ResponseCode::Ok, Value::Null);
    let fetched = format!("GET /messageexchange/{OURS}/inbox/{answer} ");
    let acknowledged = format!("PUT /messageexchange/{OURS}/inbox/{answer}/status/acknowledged");
    wait_for("the answer to be downloaded", || mesh.asked_for(&fetched) > 0);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((mesh.asked_for(&fetched), mesh.asked_for(&acknowledged)), (1, 0), "it is not on disk yet");
    gateway.kill();
    database.execute_batch("ROLLBACK").expect("it is let go");
    assert_eq!(mesh.client(OURS, "waiting", &Value::Null), json!([answer]));

    let gateway = mesh.site.start_gateway();
    mesh.wait_until(&id, "acknowledged");
    wait_for("MESH to forget it", || mesh.asked_for(&acknowledged) == 1);
    assert_eq!(mesh.asked_for(&fetched), 2);
    mesh.ends_well(gateway);
}

#[test]
fn a_message_whose_answer_was_lost_is_not_sent_twice() {
    let Some(mesh) = Mesh::start("lookup_ods = \"X26\"") else { return };
    let gateway = mesh.site.start_gateway();
    let id = mesh.deliver();
    gateway.kill();
    // As if the gateway had been killed before it stored what MESH answered.
    let database = Connection::open(mesh.site.path("gateway/data/weir.sqlite3")).expect("the database is there");
    let changed = database.execute("UPDATE messages SET state = 'in-flight' WHERE state = 'delivered'", []);
    assert_eq!(changed.expect("it can be changed"), 1);
    let forgotten = database.execute("DELETE FROM carried", []);
    assert_eq!(forgotten.expect("it can be changed"), 1);
    drop(database);
    let _gateway = mesh.site.start_gateway();
    mesh.wait_until(&id, "delivered");
    let shown = mesh.show(&id);
    assert!(shown["note"].as_str().is_some_and(|note| note.contains("an earlier attempt")), "{shown}");
    assert_eq!((&shown["attempts"], mesh.asked_for(&format!("POST /messageexchange/{OURS}/outbox"))), (&json!(2), 1));
    mesh.received();
}

#[test]
fn an_answer_that_asks_for_another_copy_gets_one_and_a_report_is_about_the_copy_that_it_names() {
    let Some(mesh) = Mesh::start("lookup_ods = \"X26\"\nhandshake_seconds = 1") else { return };
    let gateway = mesh.site.start_gateway();
    let id = mesh.deliver();
    let (first, bundle) = mesh.received();
    mesh.answer(THEIRS, &bundle, ResponseCode::TransientError, Value::Null);
    wait_for("another copy", || mesh.copies() == 2);
    mesh.wait_until(&id, "delivered");
    let (second, again) = mesh.received();
    assert_eq!(bundle, again, "it is the same message");
    let name = |headers: &Value| headers["messageid"].as_str().expect("MESH names it").to_owned();
    assert_ne!(name(&first), name(&second));

    // What became of the first copy says nothing of the second.
    let late = mesh.report(&name(&first), Some(&id));
    let acknowledged = |report: &str| format!("PUT /messageexchange/{OURS}/inbox/{report}/status/acknowledged");
    wait_for("the report to be taken", || mesh.asked_for(&acknowledged(&late)) == 1);
    assert_eq!(mesh.show(&id)["state"], "delivered");
    // MESH's own id is enough.
    mesh.report(&name(&second), None);
    mesh.wait_until(&id, "dead");
    let note = mesh.show(&id)["note"].as_str().expect("a note").to_owned();
    assert!(note.contains(&name(&second)), "{note}");
    let handshakes = || mesh.asked_for(&format!("POST /messageexchange/{OURS} "));
    let before = handshakes();
    assert!(before >= 2, "the mailbox is validated again and again");
    wait_for("a further handshake", || handshakes() > before);

    // Our certificate for MESH is taken over while the gateway runs.
    let end = mesh.certificate_end();
    let validity = Validity::days(OffsetDateTime::now_utc(), 5);
    let authority = Authority::new("MESH CA", validity).expect("an authority");
    let issued = authority.issue(&"X26".parse().expect("an ODS code"), "mesh.example", &["localhost"], validity);
    let issued = issued.expect("a certificate");
    for (name, text) in [("client.pem", &issued.certificate_pem), ("client.key", &issued.key_pem)] {
        fs::write(mesh.site.path("gateway/mesh").join(name), text).expect("it is written");
    }
    wait_for("the new certificate", || mesh.certificate_end() != end);
    mesh.ends_well(gateway);
}

#[test]
fn an_answer_on_a_later_page_of_the_inbox_is_found() {
    let Some(mesh) = Mesh::start("lookup_ods = \"X26\"\ninbox_page = 10") else { return };
    let gateway = mesh.site.start_gateway();
    let id = mesh.deliver();
    let (_, bundle) = mesh.received();
    let foreign = json!({"to": OURS, "workflow": WORKFLOW, "body": "not for us", "times": 23});
    mesh.client(OTHERS, "send", &foreign);
    mesh.answer(THEIRS, &bundle, ResponseCode::Ok, Value::Null);
    mesh.wait_until(&id, "acknowledged");
    assert!(mesh.asked_for("max_results=10&continue_from=") >= 2, "it came on the third page");
    assert_eq!(mesh.client(OURS, "waiting", &Value::Null).as_array().map(Vec::len), Some(23), "the others stay");
    mesh.ends_well(gateway);
}

/// Where the gateway is killed while a message goes to MESH: its attempt is its second transaction, the outcome the third.
const ON_THE_WAY_THERE: [(&str, Aim); 3] = [
    ("the message is sent, and MESH has not answered", after(MeshSend, 1).since(2)),
    ("MESH's answer is read", after(MeshReceive, 1).since(2)),
    ("before the outcome is synced", before(LogSync, 3)),
];

/// And while the partner's answer comes back: what it means is one transaction, then MESH is told that we have it.
const ON_THE_WAY_BACK: [(&str, Aim); 3] = [
    ("before the answer is synced", before(LogSync, 1)),
    ("the answer is synced, and MESH does not know", after(LogSync, 1)),
    ("MESH is told", after(MeshSend, 1).since(1)),
];

/// A gateway on its way to MESH that is killed, and what it had sent.
struct Killed {
    mesh: Mesh,
    boundaries: Boundaries,
    gateway: Process,
}

impl Killed {
    /// Submits the sample under a key; its answer may be lost.
    fn submit(&self, key: &str) {
        let mut command = weir();
        command.args(["send", "--interface", "crisis-escalation", "--wait-seconds", "0", "--key", key, "--site"]);
        command.arg(self.mesh.site.gateway_folder()).arg(self.mesh.site.path("records").join(RECORD));
        command.output().expect("weir runs");
    }

    fn again(mut self, name: &str) -> Killed {
        wait_for(name, || self.gateway.is_over());
        self.boundaries.spare();
        self.gateway = self.boundaries.start_gateway(&self.mesh.site);
        self
    }
}

#[test]
fn mesh_gets_a_message_once_and_an_answer_is_kept_wherever_the_gateway_is_killed() {
    let Some(mesh) = Mesh::start("lookup_ods = \"X26\"") else { return };
    let file = mesh.site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    fs::write(&file, text.replace("[audit]\n", "[audit]\ncheckpoint_seconds = 86400\n")).expect("it is written");
    let ports = format!("records={},mesh={}", mesh.site.records().port(), mesh.port);
    let Some(boundaries) = Boundaries::with_ports(&mesh.site, "gateway", ports) else { return };
    let gateway = boundaries.start_gateway(&mesh.site);
    let mut killed = Killed { mesh, boundaries, gateway };
    let there = ON_THE_WAY_THERE.map(|(name, aim)| (name, Some(aim), None));
    let back = ON_THE_WAY_BACK.map(|(name, aim)| (name, None, Some(aim)));
    for (name, there, back) in there.into_iter().chain(back) {
        if let Some(aim) = there {
            killed.boundaries.aim(aim);
        }
        let key = Uuid::new_v4().to_string();
        killed.submit(&key);
        if there.is_some() {
            killed = killed.again(name);
            killed.submit(&key);
        }
        let (sender, interface) = ("DEMOP".parse().expect("a code"), "crisis-escalation".parse().expect("a name"));
        let id = MessageId::derive(&sender, &interface, &format!("key {key}")).to_string();
        killed.mesh.wait_until(&id, "delivered");
        let (headers, bundle) = killed.mesh.received();
        assert_eq!(headers["localid"], json!(id), "{name}");
        if let Some(aim) = back {
            killed.boundaries.aim(aim);
        }
        let answer = killed.mesh.answer(THEIRS, &bundle, ResponseCode::Ok, Value::Null);
        if back.is_some() {
            killed = killed.again(name);
        }
        killed.mesh.wait_until(&id, "acknowledged");
        wait_for("MESH to forget the answer", || killed.mesh.tracked(THEIRS, &answer) == "acknowledged");
        assert_eq!(killed.mesh.client(THEIRS, "read", &Value::Null), json!([]), "{name}: it came twice");
    }
    let Killed { mesh, gateway, .. } = killed;
    let sent = mesh.asked_for(&format!("POST /messageexchange/{OURS}/outbox"));
    eprintln!("6 kills, 6 messages, sent to MESH {sent} times");
    mesh.ends_well(gateway);
}

/// A MESH that keeps what it is asked, and cuts the connection instead of answering to a last chunk.
type Asked = Arc<Mutex<Vec<String>>>;

async fn cutting(
    State(asked): State<Asked>,
    Extension(connection): Extension<listener::Connection>,
    request: Request,
) -> HttpResponse {
    const ID: &str = "20220228174323222_ABCDEF";
    let (method, uri) = (request.method().clone(), request.uri().to_string());
    let uri = uri.rsplit_once("/messageexchange/").map_or(uri.as_str(), |(_, below)| below).to_owned();
    let range = request.headers().get("mex-chunk-range").and_then(|range| range.to_str().ok()).unwrap_or_default();
    let is_last = range.split_once(':').is_some_and(|(number, count)| number == count);
    drop(request);
    asked.lock().expect("no request panics").push(format!("{method} {uri}"));
    let below = uri.strip_prefix(OURS).unwrap_or(&uri);
    match (method.as_str(), below) {
        ("POST", "") => StatusCode::OK.into_response(),
        ("GET", inbox) if inbox.starts_with("/inbox") => Json(json!({"messages": [], "links": {}})).into_response(),
        ("POST", "/outbox") => (StatusCode::ACCEPTED, Json(json!({"message_id": ID}))).into_response(),
        ("POST", _) if is_last => {
            connection.cut();
            std::future::pending().await
        }
        ("POST", _) => StatusCode::ACCEPTED.into_response(),
        ("GET", "/outbox/tracking?messageID=20220228174323222_ABCDEF") => {
            Json(json!({"message_id": ID, "status": "accepted", "status_success": true})).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Serves what stands for MESH on a port of loopback, for as long as what it gives is kept.
fn serve(site: &DemoSite, router: Router) -> (tokio::runtime::Runtime, watch::Sender<bool>, u16) {
    let read = |name: &str| fs::read(site.path("gateway/mesh").join(name)).expect("it was written");
    let credentials = Credentials::from_pem(&read("client.pem"), &read("client.key")).expect("PEM");
    let clients = TrustAnchors::from_pem(&read("ca.pem")).expect("an anchor");
    let tls = server_config(&credentials, &clients, system_clock()).expect("they can be used");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let (stop, stopped) = watch::channel(false);
    let port = runtime.block_on(async {
        let listener = Listener::bind_mutual_tls(([127, 0, 0, 1], 0).into(), tls, Limits::default()).await;
        let listener = listener.expect("a free port");
        let port = listener.local_address().port();
        tokio::spawn(listener.serve(router, stopped));
        port
    });
    (runtime, stop, port)
}

#[test]
fn a_last_chunk_whose_answer_was_lost_is_asked_for_by_the_id_that_mesh_gave() {
    let site = DemoSite::new();
    keys(&site);
    let asked = Asked::default();
    let (_runtime, _stop, port) = serve(&site, Router::new().fallback(cutting).with_state(asked.clone()));
    configure(&site, port, &format!("to = \"{THEIRS}\"\nchunk_bytes = 3000"));
    let gateway = site.start_gateway();
    let (sent, _) = site.send(RECORD, &["--wait-seconds", "0"]);
    let id = sent["message"].as_str().expect("it is accepted").to_owned();
    let show = || {
        let mut command = weir();
        command.args(["messages", "show", &id, "--format", "json", "--site"]).arg(site.gateway_folder());
        json_of(&command.output().expect("weir runs"))
    };
    wait_for("the message to be delivered", || show()["state"] == "delivered");
    let shown = show();
    assert!(shown["note"].as_str().is_some_and(|note| note.contains("an earlier attempt")), "{shown}");
    let asked = asked.lock().expect("no request panics").clone();
    let count = |request: &str| asked.iter().filter(|each| *each == request).count();
    assert_eq!(count(&format!("POST {OURS}/outbox")), 1, "nothing was sent twice: {asked:?}");
    assert_eq!(count(&format!("GET {OURS}/outbox/tracking?messageID=20220228174323222_ABCDEF")), 1, "{asked:?}");
    assert_eq!(count(&format!("GET {OURS}/outbox/tracking/{id}")), 0, "its local id was not needed");
    assert_eq!(gateway.terminate(), Some(0));
}

/// A MESH that takes what is sent, knows the partner's mailbox unless it fails, and has answers in our inbox.
#[derive(Default)]
struct Office {
    sent: Vec<String>,
    answers: Vec<String>,
    acknowledged: usize,
    lookups: usize,
    fails: bool,
}

async fn office(State(office): State<Arc<Mutex<Office>>>, request: Request) -> HttpResponse {
    let (method, uri) = (request.method().clone(), request.uri().path().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("it is sent whole");
    let below = uri.trim_start_matches("/messageexchange/").trim_start_matches(OURS);
    let mut office = office.lock().expect("no request panics");
    let answer = |id: &str| id.strip_prefix("ANSWER")?.parse::<usize>().ok();
    match (method.as_str(), below.split('/').collect::<Vec<_>>().as_slice()) {
        ("GET", ["endpointlookup", ..]) => {
            office.lookups += 1;
            match office.fails {
                true => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                false => Json(json!({"results": [{"mailbox_id": THEIRS}]})).into_response(),
            }
        }
        ("POST", ["", "outbox"]) => {
            office.sent.push(String::from_utf8(body.to_vec()).expect("a Bundle is text"));
            (StatusCode::ACCEPTED, Json(json!({"message_id": format!("SENT{}", office.sent.len())}))).into_response()
        }
        ("GET", ["", "inbox"]) => {
            let ids = (office.acknowledged..office.answers.len()).map(|number| format!("ANSWER{number}"));
            Json(json!({"messages": ids.collect::<Vec<_>>(), "links": {}})).into_response()
        }
        ("PUT", ["", "inbox", ..]) => {
            office.acknowledged += 1;
            StatusCode::OK.into_response()
        }
        (_, ["", "inbox", id]) => {
            let body = answer(id).and_then(|number| office.answers.get(number)).expect("it was listed").clone();
            let workflow = format!("{WORKFLOW}_ACK");
            let outside = [("mex-messagetype", "DATA"), ("mex-from", THEIRS), ("mex-workflowid", &*workflow)];
            (outside, body).into_response()
        }
        _ => StatusCode::OK.into_response(),
    }
}

/// The partner's `ok` to a Bundle.
fn ok_to(bundle: &str) -> String {
    let bundle: Value = serde_json::from_str(bundle).expect("the Bundle is JSON");
    response_bundle(&response(bundle["id"].as_str().expect("a Bundle has an id"), ResponseCode::Ok))
}

fn state_of(site: &DemoSite, id: &str) -> String {
    let mut command = weir();
    command.args(["messages", "show", id, "--format", "json", "--site"]).arg(site.gateway_folder());
    json_of(&command.output().expect("weir runs"))["state"].as_str().expect("it has a state").to_owned()
}

fn submit(site: &DemoSite, record: &str) -> String {
    let (sent, _) = site.send(record, &["--wait-seconds", "0"]);
    sent["message"].as_str().unwrap_or_else(|| panic!("it is accepted: {sent}")).to_owned()
}

#[test]
fn an_answer_is_looked_at_again_when_its_partners_mailbox_could_not_be_looked_up() {
    let site = DemoSite::new();
    keys(&site);
    let mesh = Arc::new(Mutex::new(Office::default()));
    let (_runtime, _stop, port) = serve(&site, Router::new().fallback(office).with_state(mesh.clone()));
    configure(&site, port, "lookup_ods = \"X26\"");
    let gateway = site.start_gateway();
    let id = submit(&site, RECORD);
    wait_for("the message to be delivered", || state_of(&site, &id) == "delivered");
    // What was looked up is forgotten with the gateway.
    assert_eq!(gateway.terminate(), Some(0));
    let mesh = || mesh.lock().expect("no request panics");
    let answer = ok_to(&mesh().sent[0]);
    mesh().answers.push(answer);
    mesh().fails = true;
    let before = mesh().lookups;
    let gateway = site.start_gateway();
    wait_for("the answer to be looked at again", || mesh().lookups >= before + 3);
    assert_eq!((state_of(&site, &id), mesh().acknowledged), ("delivered".to_owned(), 0));
    mesh().fails = false;
    wait_for("the answer to count", || state_of(&site, &id) == "acknowledged");
    wait_for("MESH to forget the answer", || mesh().acknowledged == 1);
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn partners_that_share_a_mailbox_each_answer_for_their_own_messages() {
    let site = DemoSite::new();
    keys(&site);
    let mesh = Arc::new(Mutex::new(Office::default()));
    let (_runtime, _stop, port) = serve(&site, Router::new().fallback(office).with_state(mesh.clone()));
    for partner in [("trust", "DEMOT"), ("icb", "DEMOI")] {
        configure_partner(&site, partner, port, &format!("to = \"{THEIRS}\""));
    }
    let gateway = site.start_gateway();
    let ids = [RECORD, "crisis-escalation-icb.json"].map(|record| submit(&site, record));
    wait_for("both messages to be delivered", || ids.iter().all(|id| state_of(&site, id) == "delivered"));
    let mesh = || mesh.lock().expect("no request panics");
    let answers: Vec<String> = mesh().sent.iter().map(|bundle| ok_to(bundle)).collect();
    mesh().answers = answers;
    wait_for("both answers to count", || ids.iter().all(|id| state_of(&site, id) == "acknowledged"));
    assert_eq!(gateway.terminate(), Some(0));
    assert!(!site.audit_events().iter().any(|event| event.to_string().contains("answer-refused")), "none is refused");
}
