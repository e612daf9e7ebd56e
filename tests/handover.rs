//! Handovers, over the built programs, mutual TLS and a real database: who holds responsibility for a delivered message, by which
//! answer, by when, and who is told when nobody takes it.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;

use http_body_util::Full;
use hyper::Request;
use rusqlite::Connection;
use serde_json::{Value, json};
use support::{Bench, DemoSite, http_get, json_of, wait_for, weir};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use weir::cli::client::{Answer, Client};
use weir::config::Endpoint;
use weir::fhir::bars::{end_user_organisation, requesting_software, target_identifier};
use weir::fhir::message::{Response, ResponseCode, response_with_task};
use weir::identity::tls::{Credentials, TrustAnchors, client_config, system_clock};

const RECORD: &str = "crisis-escalation-minimal.json";
const JSON: (&str, &str) = ("content-type", "application/json");
const HOUR: f64 = 3600.0;
const WORDS: &str = "Synthia Words is known to another team";

/// A site whose handovers are to be accepted in so many seconds, and whose people are to be reached in so many more.
fn site(accept: f64, contact: f64) -> DemoSite {
    let site = DemoSite::new().without_clocks();
    let (accept, contact) = (accept / 60.0, contact / 60.0);
    change(&site, "gateway/weir.toml", |text| {
        format!(
            "{text}\n[interfaces.crisis-escalation.handover]\naccept_minutes = {{ routine = {accept} }}\n\
             first_contact_minutes = {{ routine = {contact} }}\n"
        )
    });
    site
}

fn change(site: &DemoSite, file: &str, change: impl FnOnce(String) -> String) {
    let file = site.path(file);
    let text = fs::read_to_string(&file).expect("the file is there");
    fs::write(&file, change(text)).expect("it is written");
}

/// A running gateway and a Trust that acknowledges at once, with one message delivered: its id, its Bundle's and its Task's.
struct Delivered {
    bench: Bench,
    trust: support::Process,
    id: String,
    bundle: String,
    task: String,
}

fn deliver(site: DemoSite) -> Delivered {
    deliver_with(site, &[])
}

fn deliver_with(site: DemoSite, trust: &[&str]) -> Delivered {
    let trust = site.start_partner_with("trust", trust);
    let bench = Bench::of(site);
    let (id, bundle, task) = one_more(&bench, 0);
    Delivered { bench, trust, id, bundle, task }
}

/// Submits the sample under a key of its own, and waits until the Trust has it.
fn one_more(bench: &Bench, number: usize) -> (String, String, String) {
    let key = format!("handover-{number}");
    let headers = [JSON, ("idempotency-key", &*key)];
    let sent = bench.post("/records/crisis-escalation", &headers, bench.site.record(RECORD)).json();
    let id = sent["message"].as_str().unwrap_or_else(|| panic!("it is accepted: {sent}")).to_owned();
    wait_for("the handover to be opened", || !show(bench, &id)["handover"].is_null());
    let (bundle, task) = arrived(&bench.site, &id);
    (id, bundle, task)
}

/// What the Bundle and the Task of a message are called that the Trust has.
fn arrived(site: &DemoSite, id: &str) -> (String, String) {
    let arrivals = site.arrivals("trust");
    let arrival = arrivals.iter().find(|it| it["request"] == id).expect("the Trust has it");
    let bundle = arrival["id"].as_str().expect("it has an id").to_owned();
    let inbox = site.inbox("trust");
    let (_, text) = inbox.iter().find(|(name, _)| *name == bundle).expect("it is kept");
    let sent: Value = serde_json::from_str(text).expect("it is JSON");
    let mut resources = sent["entry"].as_array().expect("entries").iter().map(|entry| &entry["resource"]);
    let task = resources.find(|resource| resource["resourceType"] == "Task").expect("it has a Task");
    (bundle, task["id"].as_str().expect("it has an id").to_owned())
}

/// What `GET /messages/{id}` says of responsibility.
fn show(bench: &Bench, id: &str) -> Value {
    let answer = bench.get(&format!("/messages/{id}"), &[]);
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()["responsibility"].clone()
}

fn state(bench: &Bench, id: &str) -> String {
    show(bench, id)["handover"]["state"].as_str().unwrap_or_default().to_owned()
}

/// Since what, of each moment: why, and who holds it.
fn moments(shown: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let moments = shown["history"].as_array().expect("it has a history").iter().map(|moment| {
        let holder = &moment["holder"];
        let words = [&moment["because"], &holder["organisation"], &holder["owner"]["name"]].map(text);
        words.join(" ").trim().to_owned()
    });
    moments.collect()
}

/// The notices of handovers in the spool folder, the first first.
fn spooled(site: &DemoSite) -> Vec<Value> {
    let Ok(files) = fs::read_dir(site.path("gateway/data/incidents")) else { return Vec::new() };
    let paths = files
        .map(|file| file.expect("it is listed").path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"));
    let read =
        |path| serde_json::from_slice::<Value>(&fs::read(path).expect("it is readable")).expect("a notice is JSON");
    let mut notices: Vec<Value> = paths.map(read).collect();
    notices.sort_by_key(|notice| notice["opened"].as_str().unwrap_or_default().to_owned());
    notices
}

fn kinds(site: &DemoSite) -> Vec<String> {
    spooled(site).iter().map(|notice| notice["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

fn metrics(site: &DemoSite) -> String {
    http_get(site.operations(), "/metrics").expect("it answers").1
}

/// Ends both programs, and verifies the gateway's log and database.
fn ends_well(delivered: Delivered) -> DemoSite {
    let Delivered { bench, trust, .. } = delivered;
    trust.kill();
    let site = bench.kill();
    verifies(&site);
    site
}

fn verifies(site: &DemoSite) {
    let verified = weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

fn run(site: &DemoSite, folder: &str, arguments: &[&str]) -> (bool, Value) {
    let mut command = weir();
    command.arg("handover").args(arguments).args(["--format", "json", "--site"]).arg(site.path(folder));
    let done = command.output().expect("weir runs");
    (done.status.success(), json_of(&done))
}

fn list(site: &DemoSite, more: &[&str]) -> Vec<Value> {
    let mut command = weir();
    command.args(["handover", "list", "--format", "json", "--site"]).arg(site.gateway_folder()).args(more);
    let done = command.output().expect("weir runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).expect("it is text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// A partner of the demo, with its own certificate.
struct Partner<'a> {
    bench: &'a Bench,
    ods: &'static str,
    folder: &'static str,
}

impl Partner<'_> {
    fn endpoint(&self) -> Endpoint {
        let file = |name: &str| self.bench.site.path(self.folder).join("pki").join(name);
        let read = |name: &str| fs::read(file(name)).expect("it is there");
        let credentials = Credentials::from_pem(&read("partner.pem"), &read("partner.key")).expect("a certificate");
        let anchors = TrustAnchors::from_pem(&read("provider-ca.pem")).expect("an authority");
        Endpoint {
            uri: "https://bars-demop.provider.example".parse().expect("a URL"),
            connect: Some(self.bench.site.partner_side()),
            tls: client_config(&credentials, &anchors, system_clock()).expect("it can be used"),
        }
    }

    fn exchange(&self, request: hyper::http::request::Builder, body: String) -> Answer {
        let request = request.body(Full::new(body.into())).expect("the request is well formed");
        let exchange = async { Client::connect(&self.endpoint()).await?.exchange(request).await };
        self.bench.runtime.block_on(exchange).expect("the gateway answers")
    }

    fn respond(&self, of: (&str, &str), code: ResponseCode, members: &Value) -> Answer {
        self.respond_at(OffsetDateTime::now_utc(), of, code, members)
    }

    fn respond_at(
        &self,
        timestamp: OffsetDateTime,
        (bundle, task): (&str, &str),
        code: ResponseCode,
        members: &Value,
    ) -> Answer {
        let response = Response {
            id: Uuid::new_v4(),
            timestamp,
            answers: bundle,
            code,
            event: "servicerequest-response",
            receiver: self.ods,
            sender: "DEMOP",
        };
        self.post(response_with_task(&response, (task, &self.task(task, members).to_string())))
    }

    fn respond_without_time(&self, (bundle, task): (&str, &str), members: &Value) -> Answer {
        let response = Response {
            id: Uuid::new_v4(),
            timestamp: OffsetDateTime::now_utc(),
            answers: bundle,
            code: ResponseCode::Ok,
            event: "servicerequest-response",
            receiver: self.ods,
            sender: "DEMOP",
        };
        let body = response_with_task(&response, (task, &self.task(task, members).to_string()));
        let mut body: Value = serde_json::from_str(&body).expect("it is JSON");
        body.as_object_mut().and_then(|body| body.remove("timestamp")).expect("it says when it was written");
        self.post(body.to_string())
    }

    fn post(&self, body: String) -> Answer {
        let request = Request::post("/FHIR/R4/$process-message")
            .header("content-type", "application/fhir+json; version=1.4.0")
            .header("x-request-id", Uuid::new_v4().to_string())
            .header("x-correlation-id", Uuid::new_v4().to_string())
            .header("nhsd-target-identifier", target_identifier("2000099990"))
            .header("nhsd-end-user-organisation", end_user_organisation(self.ods, "A partner"))
            .header("nhsd-requesting-software", requesting_software("Test", "1"));
        self.exchange(request, body)
    }

    fn task(&self, id: &str, members: &Value) -> Value {
        let mut task = json!({ "resourceType": "Task", "id": id, "intent": "order" });
        for (name, value) in members.as_object().expect("members") {
            task[name] = value.clone();
        }
        task
    }

    fn put(&self, id: &str, members: &Value) -> Answer {
        let request = Request::put(format!("/FHIR/R4/Task/{id}")).header("content-type", "application/fhir+json");
        self.exchange(request, self.task(id, members).to_string())
    }
}

fn trust(bench: &Bench) -> Partner<'_> {
    Partner { bench, ods: "DEMOT", folder: "trust" }
}

fn icb(bench: &Bench) -> Partner<'_> {
    Partner { bench, ods: "DEMOI", folder: "icb" }
}

fn accepted(team: &str) -> Value {
    json!({ "status": "accepted", "owner": { "type": "CareTeam", "display": team } })
}

fn rejected() -> Value {
    let coding = json!([{ "system": "https://weir.example/fhir/CodeSystem/response-reason", "code": "no-capacity" }]);
    json!({ "status": "rejected", "statusReason": { "coding": coding, "text": WORDS } })
}

fn instant(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).expect("it is a time")
}

/// Status and kind of issue.
fn told(answer: &Answer) -> (u16, String) {
    let json = answer.json();
    (answer.status.as_u16(), json["issue"][0]["code"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, issue: &str) -> (u16, String) {
    (status, issue.to_owned())
}

#[test]
fn delivered_is_not_accepted_until_a_response_names_who_takes_it() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, bundle, task, .. } = &delivered;
    assert_eq!(bench.get(&format!("/messages/{id}"), &[]).json()["state"], "acknowledged");
    let shown = show(bench, id);
    assert_eq!(shown["holder"], json!({ "organisation": "DEMOP" }), "the sender holds it");
    assert_eq!(moments(&shown), ["message-accepted DEMOP", "waiting DEMOP"]);
    assert_eq!(list(&bench.site, &["--state", "waiting"]).len(), 1);

    let nobody =
        json!({ "status": "accepted", "owner": { "reference": "urn:uuid:0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77" } });
    let trust = trust(bench);
    assert_eq!(told(&trust.respond((bundle, task), ResponseCode::Ok, &nobody)), is(422, "required"));
    assert_eq!(state(bench, id), "waiting", "an acceptance that names nobody is none");

    let by = OffsetDateTime::now_utc().replace_nanosecond(0).expect("a time") + Duration::minutes(20);
    let mut takes = accepted("Crisis Team North");
    takes["restriction"] = json!({ "period": { "end": instant(by) } });
    let answer = trust.respond((bundle, task), ResponseCode::Ok, &takes);
    assert_eq!(answer.status, 200, "{}", answer.json());
    let shown = show(bench, id);
    let owner = json!({ "kind": "team", "name": "Crisis Team North", "identifier": null });
    assert_eq!(shown["holder"], json!({ "organisation": "DEMOT", "owner": owner }));
    assert_eq!(shown["handover"]["state"], "accepted");
    let named = shown["handover"]["firstContactBy"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
    assert_eq!(named, Some(by), "the time that the acceptance names");
    assert_eq!(moments(&shown), ["message-accepted DEMOP", "waiting DEMOP", "accepted DEMOT Crisis Team North"]);
    let evidence = &shown["history"][2]["evidence"];
    let answers = bench.get(&format!("/messages/{id}"), &[]).json()["answers"].clone();
    assert_eq!((&answers[0]["answer"], &answers[0]["handover"]), (&evidence["answer"], &"accepted".into()));
    let event = bench.site.audit_events().into_iter().find(|event| event["id"] == evidence["auditEvent"]);
    let event = event.expect("the event is in the log").to_string();
    assert!(event.contains("handover-changed") && event.contains("DEMOT") && !event.contains("North"), "{event}");
    assert!(metrics(&bench.site).contains(r#"weir_handovers{interface="crisis-escalation",state="accepted"} 1"#));
    let listed = list(&bench.site, &[]);
    assert_eq!((listed.len(), &listed[0]["state"], &listed[0]["holder"]), (1, &"accepted".into(), &"DEMOT".into()));
    assert!(!listed[0].to_string().contains("North"), "lists name nobody");
    let site = ends_well(delivered);
    let kept = String::from_utf8_lossy(&site.stored_and_logged()).into_owned();
    assert!(!kept.contains("Crisis Team North"), "who took it stands in sealed contents alone");
    assert_eq!(kinds(&site), [] as [&str; 0]);
}

#[test]
fn a_task_is_updated_by_whoever_got_it_alone() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, task, .. } = &delivered;
    let (trust, icb) = (trust(bench), icb(bench));
    assert_eq!(told(&icb.put(task, &accepted("Another"))), is(404, "not-found"), "it looks as if it were not there");
    assert_eq!(told(&trust.put(&Uuid::new_v4().to_string(), &accepted("North"))), is(404, "not-found"));
    assert_eq!(told(&trust.put(task, &json!({ "status": "accepted" }))), is(422, "required"));
    assert_eq!(told(&trust.put(task, &json!({ "status": "requested" }))), is(422, "value"));
    let other = trust.task(&Uuid::new_v4().to_string(), &accepted("North")).to_string();
    let request = Request::put(format!("/FHIR/R4/Task/{task}")).header("content-type", "application/fhir+json");
    assert_eq!(told(&trust.exchange(request, other)), is(400, "invariant"));
    let request = Request::get(format!("/FHIR/R4/Task/{task}")).header("accept", "application/fhir+json");
    assert_eq!(told(&trust.exchange(request, String::new())), is(405, "not-supported"));
    assert_eq!(state(bench, id), "waiting", "nothing of that accepted it");
    let refused: Vec<_> =
        bench.site.audit_events().iter().map(Value::to_string).filter(|it| it.contains("answer-refused")).collect();
    assert_eq!(refused.len(), 3, "another's, an unknown one, and one that names nobody: {refused:?}");

    let person = json!({ "status": "accepted", "owner": { "type": "Practitioner", "display": "Nurse Example",
        "identifier": { "system": "https://fhir.nhs.uk/Id/sds-user-id", "value": "000000000001" } } });
    let answer = trust.put(task, &person);
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &"accepted".into()));
    let once = show(bench, id);
    assert_eq!(once["holder"]["owner"]["kind"], "person");
    let events = bench.site.audit_events().len();
    let again = trust.put(task, &person);
    assert_eq!((again.status.as_u16(), &show(bench, id)), (200, &once), "the same update changes nothing");
    let log: Vec<_> = bench.site.audit_events().iter().skip(events).map(Value::to_string).collect();
    assert!(log.iter().all(|event| !event.contains("handover-changed")), "{log:?}");

    let mut other = person.clone();
    other["owner"] = json!({ "type": "CareTeam", "display": "Crisis Team South" });
    assert_eq!(trust.put(task, &other).status, 200);
    let began = instant(OffsetDateTime::now_utc() - Duration::seconds(1));
    let reached = json!({ "status": "in-progress", "executionPeriod": { "start": began } });
    assert_eq!(trust.put(task, &reached).status, 200);
    let shown = show(bench, id);
    let expected = [
        "message-accepted DEMOP",
        "waiting DEMOP",
        "accepted DEMOT Nurse Example",
        "accepted DEMOT Crisis Team South",
        "contacted DEMOT Crisis Team South",
    ];
    assert_eq!(moments(&shown), expected);
    assert!(shown["handover"]["firstContactAt"].is_string(), "{shown}");
    let capability = trust.exchange(Request::get("/FHIR/R4/metadata"), String::new()).json();
    assert!(capability["rest"][0]["resource"].to_string().contains(r#""code":"update""#), "{capability}");
    ends_well(delivered);
}

#[test]
fn the_demos_partner_accepts_reaches_the_person_and_rejects_on_the_command_line() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, .. } = &delivered;
    let site = &bench.site;
    let (done, said) = run(site, "trust", &["accept", id, "--by", "Crisis Team North", "--first-contact", "+30"]);
    assert!(done && said["taken"] == true, "{said}");
    assert_eq!(state(bench, id), "accepted");
    let (done, said) = run(site, "trust", &["contact", id]);
    assert!(done, "{said}");
    assert_eq!(moments(&show(bench, id)).last().map(String::as_str), Some("contacted DEMOT Crisis Team North"));

    let (second, bundle, _) = one_more(bench, 1);
    let (done, said) = run(site, "trust", &["accept", &bundle, "--by", "Nurse Example", "--person", "--task"]);
    assert!(done && said["taken"] == true, "by the Bundle's id and an update of the Task: {said}");
    assert_eq!(show(bench, &second)["holder"]["owner"]["kind"], "person");

    let (third, ..) = one_more(bench, 2);
    let (done, said) = run(site, "trust", &["reject", &third, "--reason", "no-capacity", "--words", WORDS]);
    assert!(done && said["taken"] == true, "{said}");
    let shown = show(bench, &third);
    assert_eq!((&shown["holder"]["organisation"], &shown["handover"]["state"]), (&"DEMOP".into(), &"rejected".into()));
    let last = &shown["history"][2];
    assert_eq!((&last["reasons"], &last["words"]), (&json!(["no-capacity"]), &WORDS.into()));
    assert_eq!(message_state(bench, &third), "acknowledged", "its application took it");
    wait_for("people to be told", || kinds(site) == ["handover-rejected"]);
    let unknown = run_error(site, &["accept", &Uuid::new_v4().to_string(), "--by", "x"]);
    assert!(unknown.contains("there is no message"), "{unknown}");
    let bad = run_error(site, &["reject", id, "--reason", "busy"]);
    assert!(bad.contains("no-capacity"), "it says which there are: {bad}");
    let notices = spooled(site).iter().map(Value::to_string).collect::<String>();
    let site = ends_well(delivered);
    let kept = String::from_utf8_lossy(&site.stored_and_logged()).into_owned();
    for text in [WORDS, "Nurse Example", "Crisis Team North"] {
        assert!(!kept.contains(text) && !notices.contains(text), "{text} lies in clear");
    }
}

/// Someone of the sender sends a message again; whether the gateway did it.
fn retry(bench: &Bench, id: &str, why: &str) -> bool {
    let mut command = weir();
    command.args(["messages", "retry", id, "--why", why, "--as", "demo-owner", "--format", "json", "--site"]);
    let done = command.arg(bench.site.gateway_folder()).output().expect("weir runs");
    done.status.success() && json_of(&done)["act"] == "performed"
}

/// How often the Trust got a message.
fn arrivals(bench: &Bench, id: &str) -> usize {
    bench.site.arrivals("trust").iter().filter(|it| it["request"] == id).count()
}

fn message_state(bench: &Bench, id: &str) -> String {
    bench.get(&format!("/messages/{id}"), &[]).json()["state"].as_str().unwrap_or_default().to_owned()
}

fn run_error(site: &DemoSite, arguments: &[&str]) -> String {
    let mut command = weir();
    command.arg("handover").args(arguments).arg("--site").arg(site.path("trust"));
    let done = command.output().expect("weir runs");
    assert!(!done.status.success());
    String::from_utf8_lossy(&done.stderr).into_owned()
}

#[test]
fn nobody_accepts_and_people_are_told_once_each_also_through_a_restart() {
    let site = site(16.0, HOUR);
    change(&site, "gateway/weir.toml", |text| format!("{text}near_due_share = 0.25\n"));
    let delivered = deliver(site);
    let Delivered { bench, id, trust: partner, .. } = delivered;
    wait_for("people to be told that it is near", || kinds(&bench.site) == ["handover-near-due"]);
    assert_eq!(state(&bench, &id), "near-due");
    partner.kill();
    let site = bench.kill();
    verifies(&site);
    let _trust = site.start_partner("trust", &[]);
    let bench = Bench::of(site);
    wait_for("people to be told that it is over", || kinds(&bench.site).len() == 2);
    let site = &bench.site;
    assert_eq!(kinds(site), ["handover-near-due", "handover-overdue"]);
    let notices = spooled(site);
    assert_eq!((&notices[1]["message"], &notices[1]["severity"]), (&id.as_str().into(), &"critical".into()));
    assert_eq!((&notices[1]["holder"], &notices[1]["recipient"]), (&"DEMOP".into(), &"DEMOT".into()));
    assert!(notices[1]["opened"].as_str() >= notices[1]["acceptBy"].as_str(), "{}", notices[1]);
    assert!(notices[1]["contact"].is_string(), "along the agreement's route: {}", notices[1]);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(kinds(site).len(), 2, "once each");
    assert_eq!(list(site, &["--state", "overdue"]).len(), 1);
    let told = metrics(site);
    for line in [
        r#"weir_handovers{interface="crisis-escalation",state="overdue"} 1"#,
        r#"weir_handovers{interface="crisis-escalation",state="waiting"} 0"#,
        r#"weir_handover_alarms_total{interface="crisis-escalation",what="overdue"} 1"#,
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let (done, said) = run(site, "trust", &["accept", &id, "--by", "Crisis Team North"]);
    assert!(done, "late is better than never: {said}");
    let expected = ["waiting DEMOP", "near-due DEMOP", "overdue DEMOP", "accepted DEMOT Crisis Team North"];
    assert_eq!(moments(&show(&bench, &id))[1..], expected);
    verifies(&bench.kill());
}

#[test]
fn a_person_who_is_not_reached_in_time_is_told_of_and_stays_with_the_team() {
    let delivered = deliver(site(HOUR, 2.0));
    let Delivered { bench, id, task, .. } = &delivered;
    assert_eq!(trust(bench).put(task, &accepted("Crisis Team North")).status, 200);
    wait_for("people to be told", || kinds(&bench.site) == ["handover-first-contact-missed"]);
    let shown = show(bench, id);
    assert_eq!(
        (&shown["handover"]["state"], &shown["holder"]["organisation"]),
        (&"contact-missed".into(), &"DEMOT".into())
    );
    assert_eq!(spooled(&bench.site)[0]["holder"], "DEMOT");
    let reached = |at| json!({ "status": "in-progress", "executionPeriod": { "start": instant(at) } });
    let before = OffsetDateTime::now_utc() - Duration::hours(1);
    assert_eq!(trust(bench).put(task, &reached(before)).status, 200);
    assert_eq!(state(bench, id), "contact-missed", "nobody is reached before the message is there");
    assert_eq!(trust(bench).put(task, &reached(OffsetDateTime::now_utc())).status, 200);
    let shown = show(bench, id);
    let mut messages = weir();
    messages.args(["messages", "show", id, "--format", "json", "--site"]).arg(bench.site.gateway_folder());
    assert_eq!(json_of(&messages.output().expect("weir runs"))["responsibility"], shown);
    assert_eq!(
        moments(&shown)[2..],
        [
            "accepted DEMOT Crisis Team North",
            "contact-missed DEMOT Crisis Team North",
            "contacted DEMOT Crisis Team North"
        ]
    );
    assert_eq!(shown["since"], shown["history"][2]["since"], "the team holds it since it accepted");
    ends_well(delivered);
}

#[test]
fn what_a_team_took_is_not_given_back_by_an_answer_and_what_contradicts_it_is_told() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, bundle, task, .. } = &delivered;
    let partner = trust(bench);
    let respond = |members: &Value| partner.respond((bundle, task), ResponseCode::Ok, members);
    assert_eq!(respond(&accepted("Crisis Team North")).status, 200);
    let once = show(bench, id);
    assert_eq!(respond(&accepted("Crisis Team North")).status, 200, "a second response of the same");
    assert_eq!(show(bench, id), once, "changes nothing");
    assert_eq!(told(&respond(&rejected())), is(409, "conflict"));
    assert_eq!(show(bench, id), once, "the team still holds it");
    assert_eq!(message_state(bench, id), "acknowledged");
    wait_for("people to be told", || kinds(&bench.site) == ["handover-conflict"]);
    let fatal = partner.respond((bundle, task), ResponseCode::FatalError, &json!({ "status": "requested" }));
    assert_eq!(told(&fatal), is(409, "conflict"), "its system did process what its team took");
    assert_eq!((show(bench, id), &*message_state(bench, id)), (once, "acknowledged"));
    wait_for("people to be told again: it is another answer", || kinds(&bench.site).len() == 2);
    let long_ago = OffsetDateTime::now_utc() - Duration::hours(1);
    let stale =
        partner.respond_at(long_ago, (bundle, task), ResponseCode::FatalError, &json!({ "status": "requested" }));
    assert_eq!(stale.status, 200, "it was written before the team took it, and says nothing against that");
    let answers = bench.get(&format!("/messages/{id}"), &[]).json()["answers"].clone();
    let did: Vec<_> = answers.as_array().expect("answers").iter().map(|answer| answer["handover"].clone()).collect();
    assert_eq!(did, ["accepted".into(), Value::Null, "conflict".into(), "conflict".into(), Value::Null]);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(kinds(&bench.site), ["handover-conflict", "handover-conflict"]);
    ends_well(delivered);
}

/// FHIR R4, response-code: a fatal-error is the word of the system that received the message; task-status: so is `failed`.
#[test]
fn what_a_system_could_not_process_no_team_has_rejected() {
    let delivered = deliver(site(20.0, HOUR));
    let Delivered { bench, id, bundle, task, .. } = &delivered;
    let partner = trust(bench);
    let answer = partner.respond((bundle, task), ResponseCode::FatalError, &rejected());
    assert_eq!(answer.status, 200, "{}", answer.json());
    wait_for("people to be told at once", || kinds(&bench.site).contains(&"delivery-refused".to_owned()));
    let (waits, shown) = (["waiting", "near-due", "overdue"], show(bench, id));
    assert!(waits.contains(&shown["handover"]["state"].as_str().unwrap_or_default()), "{shown}");
    assert_eq!(shown["holder"], json!({ "organisation": "DEMOP" }));
    let message = bench.get(&format!("/messages/{id}"), &[]).json();
    assert_eq!((&message["state"], &message["answers"][0]["verdict"]), (&"refused".into(), &"failed".into()));
    assert_eq!(message["answers"][0]["handover"], Value::Null, "{message}");
    let note = message["note"].as_str().expect("a note");
    assert!(note.contains("the partner's system could not process it"), "{note}");

    let (second, _, task) = one_more(bench, 1);
    assert_eq!(partner.put(&task, &json!({ "status": "failed" })).status, 200);
    assert!(waits.contains(&&*state(bench, &second)) && message_state(bench, &second) == "refused");

    let is_told = |kind: &str| kinds(&bench.site).iter().filter(|it| *it == kind).count() == 2;
    wait_for("the clocks to run out all the same", || is_told("handover-overdue") && is_told("delivery-refused"));
    assert!(!kinds(&bench.site).contains(&"handover-rejected".to_owned()), "{:?}", kinds(&bench.site));
    assert!(retry(bench, id, "partner-fixed"), "the partner mended its system");
    wait_for("it to arrive again", || arrivals(bench, id) == 2);
    let (done, said) = run(&bench.site, "trust", &["accept", id, "--by", "Crisis Team North"]);
    assert!(done, "{said}");
    let moments = moments(&show(bench, id));
    let (first, last) = (moments.get(1).map(String::as_str), moments.last().map(String::as_str));
    assert_eq!((first, last), (Some("waiting DEMOP"), Some("accepted DEMOT Crisis Team North")));
    let others = moments.iter().filter(|moment| moment.starts_with("rejected") || moment.starts_with("resent"));
    assert_eq!(others.count(), 0, "nobody rejected it, so that sending it again opens nothing: {moments:?}");
    assert_eq!(message_state(bench, id), "acknowledged");
    ends_well(delivered);
}

#[test]
fn the_reference_receiver_rejects_as_its_team_and_fails_as_its_system() {
    for (how, state_of_message, state_of_handover, reasons, notice) in [
        ("reject", "acknowledged", "rejected", json!(["no-capacity"]), "handover-rejected"),
        ("fail", "refused", "waiting", json!(["exception"]), "delivery-refused"),
    ] {
        let site = site(HOUR, HOUR);
        change(&site, "gateway/partners/trust.toml", |text| format!("{text}answers_later = true\n"));
        let delivered = deliver_with(site, &["--answer-later", how]);
        let Delivered { bench, id, .. } = &delivered;
        wait_for("people to be told", || kinds(&bench.site) == [notice]);
        assert_eq!((&*message_state(bench, id), &*state(bench, id)), (state_of_message, state_of_handover), "{how}");
        let answers = bench.get(&format!("/messages/{id}"), &[]).json()["answers"].clone();
        assert_eq!(answers[0]["reasons"], reasons);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(kinds(&bench.site), [notice], "once");
        ends_well(delivered);
    }
}

#[test]
fn a_rejected_handover_waits_anew_when_the_message_is_sent_again() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, bundle, task, .. } = &delivered;
    assert!(!retry(bench, id, "partner-asked"), "it arrived, and nobody rejected it");
    let (done, said) = run(&bench.site, "trust", &["reject", id, "--reason", "no-capacity", "--words", WORDS]);
    assert!(done, "{said}");
    wait_for("people to be told", || kinds(&bench.site) == ["handover-rejected"]);
    let first = show(bench, id)["handover"].clone();
    assert!(retry(bench, id, "partner-asked"), "the Trust has a bed after all");
    wait_for("it to arrive again", || arrivals(bench, id) == 2);
    wait_for("it to be acknowledged", || message_state(bench, id) == "acknowledged");
    let again = show(bench, id)["handover"].clone();
    assert_eq!((&again["state"], &again["holder"]), (&"waiting".into(), &"DEMOP".into()));
    assert!(again["acceptBy"].as_str() > first["acceptBy"].as_str(), "its clock began anew: {first} {again}");

    // What was written before the rejection says nothing of the new attempt.
    let (partner, long_ago) = (trust(bench), OffsetDateTime::now_utc() - Duration::hours(1));
    let stale = |members: &Value| partner.respond_at(long_ago, (bundle, task), ResponseCode::Ok, members);
    assert_eq!(told(&stale(&rejected())), is(409, "conflict"), "people are told all the same");
    assert_eq!(told(&stale(&accepted("Crisis Team North"))), is(409, "conflict"), "the rejection came after it");
    assert_eq!(state(bench, id), "waiting");

    let (done, said) = run(&bench.site, "trust", &["accept", id, "--by", "Crisis Team South"]);
    assert!(done, "{said}");
    let shown = show(bench, id);
    let expected = [
        "message-accepted DEMOP",
        "waiting DEMOP",
        "rejected DEMOP",
        "resent DEMOP",
        "accepted DEMOT Crisis Team South",
    ];
    assert_eq!(moments(&shown), expected);
    let [_, waiting, rejection, resent, acceptance] = &shown["history"].as_array().expect("a history")[..] else {
        panic!("{shown}")
    };
    assert_eq!((&rejection["by"]["organisation"], &rejection["reasons"]), (&"DEMOT".into(), &json!(["no-capacity"])));
    assert_eq!(resent["by"], json!({ "organisation": "DEMOP", "principal": "demo-owner" }));
    assert_eq!(resent["why"], "partner-asked");
    let order = [waiting, rejection, resent, acceptance].map(|moment| moment["since"].as_str().expect("a time"));
    assert!(order.is_sorted(), "{order:?}");
    let log = bench.site.audit_events();
    for moment in [waiting, rejection, resent, acceptance] {
        let event = log.iter().find(|event| event["id"] == moment["evidence"]["auditEvent"]);
        assert!(event.is_some_and(|it| it.to_string().contains("handover-changed")), "{moment}");
    }
    let (_, text) = shown_text(&bench.site, id);
    assert!(text.contains("resent by demo-owner: partner-asked, DEMOP"), "{text}");
    assert!(text.contains("rejected by DEMOT (no-capacity)"), "{text}");
    let ids = bench.site.arrivals("trust").into_iter().filter(|it| it["request"] == id.as_str());
    assert!(ids.map(|it| it["id"].clone()).all(|it| it == bundle.as_str()), "it is the same message");
    let mut told = kinds(&bench.site);
    told.sort();
    told.dedup();
    assert_eq!(told, ["handover-conflict", "handover-rejected"], "of what the sender asked for nobody is told");
    ends_well(delivered);
}

fn shown_text(site: &DemoSite, id: &str) -> (bool, String) {
    let mut command = weir();
    command.args(["handover", "show", id, "--site"]).arg(site.gateway_folder());
    let done = command.output().expect("weir runs");
    (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned())
}

#[test]
fn the_same_update_of_a_task_is_news_after_the_message_was_sent_again() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, task, .. } = &delivered;
    let partner = trust(bench);
    for round in 1..=2 {
        assert_eq!(partner.put(task, &rejected()).status, 200);
        assert_eq!(state(bench, id), "rejected", "round {round}");
        assert_eq!(partner.put(task, &rejected()).status, 200, "the same again says nothing new");
        assert!(retry(bench, id, "try-again"));
        wait_for("it to arrive again", || arrivals(bench, id) == round + 1);
        wait_for("it to be acknowledged", || message_state(bench, id) == "acknowledged");
        assert_eq!(state(bench, id), "waiting", "round {round}");
    }
    assert_eq!(partner.put(task, &accepted("Crisis Team North")).status, 200);
    let expected = ["waiting", "rejected", "resent", "rejected", "resent", "accepted"];
    let shown = show(bench, id);
    let because: Vec<_> = shown["history"].as_array().expect("a history").iter().map(|it| &it["because"]).collect();
    assert_eq!(because[1..], expected);
    ends_well(delivered);
}

/// Our clock was ahead when an answer came, or when a handover was opened, and was set right since.
#[test]
fn whether_an_update_is_news_no_clock_of_ours_decides() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, task, .. } = &delivered;
    let (partner, database) = (trust(bench), Connection::open(bench.site.path("gateway/data/weir.sqlite3")));
    let database = database.expect("there is a database");
    let answers = || bench.get(&format!("/messages/{id}"), &[]).json()["answers"].as_array().map_or(0, Vec::len);
    assert_eq!(partner.put(task, &rejected()).status, 200);
    database.execute("UPDATE answers SET received_at = received_at + 3600000", []).expect("the clock was ahead");
    assert!(retry(bench, id, "try-again"));
    wait_for("it to arrive again", || arrivals(bench, id) == 2);
    wait_for("it to be acknowledged", || message_state(bench, id) == "acknowledged");
    assert_eq!(partner.put(task, &rejected()).status, 200);
    assert_eq!((state(bench, id), answers()), ("rejected".to_owned(), 2), "it is a new rejection");

    assert_eq!(partner.put(task, &accepted("Crisis Team North")).status, 200);
    assert_eq!(told(&partner.put(task, &rejected())), is(409, "conflict"));
    assert_eq!(answers(), 4);
    database.execute("UPDATE handovers SET opened_at = opened_at + 3600000", []).expect("the clock was ahead");
    assert_eq!(told(&partner.put(task, &rejected())), is(409, "conflict"));
    assert_eq!(answers(), 4, "a replay is told once");
}

#[test]
fn an_update_that_is_replayed_after_another_is_kept_once() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, task, .. } = &delivered;
    let partner = trust(bench);
    assert_eq!(partner.put(task, &rejected()).status, 200);
    assert_eq!(partner.put(task, &accepted("Crisis Team North")).status, 200);
    for _ in 0..3 {
        assert_eq!(told(&partner.put(task, &rejected())), is(409, "conflict"));
    }
    for _ in 0..2 {
        assert_eq!(partner.put(task, &accepted("Crisis Team North")).status, 200);
        assert_eq!(told(&partner.put(task, &rejected())), is(409, "conflict"));
    }
    let answers = bench.get(&format!("/messages/{id}"), &[]).json()["answers"].clone();
    let did: Vec<_> = answers.as_array().expect("answers").iter().map(|answer| answer["handover"].clone()).collect();
    assert_eq!(did, ["rejected".into(), "accepted".into(), "conflict".into(), Value::Null]);
    wait_for("people to be told", || kinds(&bench.site).contains(&"handover-conflict".to_owned()));
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(kinds(&bench.site).iter().filter(|kind| *kind == "handover-conflict").count(), 1, "once");
    ends_well(delivered);
}

#[test]
fn which_word_came_later_no_mix_of_clocks_decides() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, bundle, task, .. } = &delivered;
    let (partner, north) = (trust(bench), accepted("Crisis Team North"));
    let (now, slow) = (OffsetDateTime::now_utc(), OffsetDateTime::now_utc() - Duration::seconds(90));
    assert_eq!(partner.put(task, &rejected()).status, 200);
    let taken = partner.respond_at(slow, (bundle, task), ResponseCode::Ok, &north);
    assert_eq!(taken.status, 200, "an update says not when it was written: {}", taken.json());
    assert_eq!(state(bench, id), "accepted");

    let (second, bundle, task) = one_more(bench, 1);
    assert_eq!(partner.respond((&bundle, &task), ResponseCode::Ok, &rejected()).status, 200);
    let taken = partner.respond_without_time((&bundle, &task), &north);
    assert_eq!(taken.status, 200, "nor does a message without a time: {}", taken.json());
    assert_eq!(state(bench, &second), "accepted");

    let (third, bundle, task) = one_more(bench, 2);
    let ahead = now + Duration::hours(1);
    assert_eq!(partner.respond_at(ahead, (&bundle, &task), ResponseCode::Ok, &rejected()).status, 200);
    let taken = partner.respond((&bundle, &task), ResponseCode::Ok, &north);
    assert_eq!(taken.status, 200, "a clock that was ahead outdoes nobody: {}", taken.json());
    assert_eq!(state(bench, &third), "accepted");

    // Whoever was reached was, whichever word of it comes first.
    let reached = json!({
        "status": "in-progress",
        "owner": north["owner"],
        "executionPeriod": { "start": instant(OffsetDateTime::now_utc()) },
    });
    assert_eq!(partner.respond_at(slow, (&bundle, &task), ResponseCode::Ok, &reached).status, 200);
    assert_eq!(state(bench, &third), "contacted");
    ends_well(delivered);
}

#[test]
fn a_later_word_of_the_team_takes_what_it_rejected_and_people_are_told() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, bundle, task, .. } = &delivered;
    let partner = trust(bench);
    assert_eq!(partner.respond((bundle, task), ResponseCode::Ok, &rejected()).status, 200);
    wait_for("people to be told", || kinds(&bench.site) == ["handover-rejected"]);
    let long_ago = OffsetDateTime::now_utc() - Duration::hours(1);
    let stale = partner.respond_at(long_ago, (bundle, task), ResponseCode::Ok, &accepted("Crisis Team North"));
    assert_eq!(told(&stale), is(409, "conflict"), "the rejection is the later word");
    let shown = show(bench, id);
    assert_eq!((&shown["handover"]["state"], &shown["holder"]["organisation"]), (&"rejected".into(), &"DEMOP".into()));
    let nobody = partner.respond((bundle, task), ResponseCode::Ok, &json!({ "status": "accepted" }));
    assert_eq!(told(&nobody), is(422, "required"), "also now an acceptance says who");

    let (done, said) = run(&bench.site, "trust", &["accept", id, "--by", "Crisis Team North"]);
    assert!(done, "{said}");
    let expected = ["waiting DEMOP", "rejected DEMOP", "accepted DEMOT Crisis Team North"];
    assert_eq!(moments(&show(bench, id))[1..], expected);
    wait_for("people to be told: another team may be on its way", || kinds(&bench.site).len() == 3);
    let notices = spooled(&bench.site);
    let after = notices.iter().find(|it| it["kind"] == "handover-accepted-after-rejection");
    let after = after.unwrap_or_else(|| panic!("{notices:?}"));
    assert_eq!(
        (&after["holder"], &after["severity"], &after["message"]),
        (&"DEMOT".into(), &"critical".into(), &id.as_str().into())
    );
    assert!(!retry(bench, id, "try-again"), "the team holds it");
    assert_eq!(told(&partner.put(task, &rejected())), is(409, "conflict"), "and does not give it back by an answer");
    ends_well(delivered);
}

/// The names of Tasks are kept since version 19 of the database: here is one of version 18.
#[test]
fn a_message_of_before_the_names_of_tasks_were_kept_is_found_by_its_task() {
    let Delivered { bench, trust: partner, id, task, .. } = deliver(site(HOUR, HOUR));
    let site = bench.kill();
    let database = Connection::open(site.path("gateway/data/weir.sqlite3")).expect("there is a database");
    let forgotten = database.execute("DELETE FROM names WHERE name GLOB 'task/*'", []).expect("it can be changed");
    assert_eq!(forgotten, 1);
    database
        .execute_batch(
            "DROP INDEX inbound_counts; ALTER TABLE messages DROP COLUMN timed_from; PRAGMA user_version = 18",
        )
        .expect("it can be changed");
    drop(database);
    let delivered = Delivered { bench: Bench::of(site), trust: partner, id, bundle: String::new(), task };
    let Delivered { bench, id, task, .. } = &delivered;
    assert_eq!(told(&icb(bench).put(task, &accepted("Another"))), is(404, "not-found"));
    let answer = trust(bench).put(task, &accepted("Crisis Team North"));
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(state(bench, id), "accepted");
    ends_well(delivered);
}

/// However much an earlier version accepted: the gateway serves while names are read, and asks for the update of a Task that it does not
/// know yet once more.
#[test]
fn a_task_whose_name_is_not_read_yet_is_asked_for_again() {
    let Delivered { bench, trust: partner, task, .. } = deliver(site(HOUR, HOUR));
    let site = bench.kill();
    let database = Connection::open(site.path("gateway/data/weir.sqlite3")).expect("there is a database");
    let newer = "DELETE FROM names WHERE name GLOB 'task/*';
                 WITH RECURSIVE newer (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM newer WHERE number < 60000)
                 INSERT INTO messages (id, sender, interface, recipient, agreement, digest, state, accepted_at, updated_at, attempts, note, route)
                 SELECT randomblob(16), sender, interface, recipient, agreement, digest, state, accepted_at, updated_at, attempts, note, route
                 FROM messages, newer;
                 INSERT INTO nameless SELECT position FROM messages";
    database.execute_batch(newer).expect("it can be changed");
    let gateway = site.start_gateway_quietly();
    // Nothing is named while somebody else writes.
    database.execute_batch("BEGIN IMMEDIATE").expect("it is its turn");
    let bench = Bench::with(site, gateway);
    let unread = || database.query_row("SELECT count(*) FROM nameless", [], |row| row.get::<_, i64>(0));
    assert!(unread().is_ok_and(|unread| unread > 0), "it serves meanwhile");
    let early = trust(&bench).put(&task, &accepted("Crisis Team North"));
    assert_eq!(told(&early), is(503, "transient"), "{}", early.json());
    assert!(early.json().to_string().contains("an earlier version"), "{}", early.json());
    assert!(early.headers.contains_key("retry-after"));
    database.execute_batch("ROLLBACK").expect("it ends");
    wait_for("the Task to be known", || trust(&bench).put(&task, &accepted("Crisis Team North")).status == 200);
    wait_for("all to be read", || unread() == Ok(0));
    assert_eq!(told(&trust(&bench).put(&Uuid::nil().to_string(), &accepted("Nobody"))), is(404, "not-found"));
    partner.kill();
}

#[test]
fn the_words_of_a_rejection_are_for_those_who_may_read_words() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, task, .. } = &delivered;
    assert_eq!(trust(bench).put(task, &rejected()).status, 200);
    let site = &bench.site;
    let token = |who: &str| {
        let made = weir().args(["token", "--as", who, "--site"]).arg(site.gateway_folder()).output();
        format!("Bearer {}", String::from_utf8(made.expect("weir runs").stdout).expect("it is text").trim())
    };
    assert_eq!(show(bench, id)["history"][2]["words"], WORDS, "the record system shows them to its team");
    for (who, may) in [
        ("demo-owner", true),
        ("demo-guardian", true),
        ("demo-safeguarding", true),
        ("demo-engineer", false),
        ("demo-ig-lead", false),
        ("demo-auditor", false),
    ] {
        let over_http = bench.get(&format!("/messages/{id}"), &[("authorization", &token(who))]);
        assert_eq!(over_http.status, 200);
        let (done, on_the_line) = run(site, "gateway", &["show", id, "--as", who]);
        assert!(done, "{on_the_line}");
        let mut messages = weir();
        messages.args(["messages", "show", id, "--format", "json", "--as", who, "--site"]).arg(site.gateway_folder());
        let whole = json_of(&messages.output().expect("weir runs"));
        for shown in [&over_http.json()["responsibility"], &on_the_line, &whole["responsibility"]] {
            let last = &shown["history"][2];
            assert_eq!(last["reasons"], json!(["no-capacity"]), "the codes are for all");
            let words = if may { WORDS.into() } else { Value::Null };
            assert_eq!((&last["words"], &last["wordsWithheld"]), (&words, &(!may).into()), "{who}");
            assert_eq!(shown.to_string().contains("Synthia"), may, "{who}");
        }
        let mut text = weir();
        text.args(["handover", "show", id, "--as", who, "--site"]).arg(site.gateway_folder());
        let text = String::from_utf8(text.output().expect("weir runs").stdout).expect("it is text");
        assert_eq!(text.contains("Synthia"), may, "{who}: {text}");
        assert_eq!(text.contains("words that no role of yours may read"), !may, "{who}: {text}");
        let read = || {
            let log = bench.site.audit_events().into_iter().map(|event| event.to_string());
            log.filter(|event| event.contains("read-words") && event.contains(who)).count()
        };
        let times = if may { 4 } else { 0 };
        wait_for("each look at the words to be a leaf", || read() == times);
    }
    ends_well(delivered);
}

#[test]
fn a_message_that_is_cancelled_is_handed_over_no_more() {
    let site = site(HOUR, HOUR);
    change(&site, "gateway/partners/trust.toml", |text| format!("{text}answers_later = true\n"));
    let delivered = deliver_with(site, &["--answer-later", "ask"]);
    let Delivered { bench, id, .. } = &delivered;
    wait_for("the partner to ask for more", || bench.get(&format!("/messages/{id}"), &[]).json()["state"] == "refused");
    assert_eq!(state(bench, id), "waiting", "it has not decided");
    let mut cancel = weir();
    cancel.args(["messages", "cancel", id, "--why", "no-longer-needed", "--as", "demo-owner", "--site"]);
    assert!(cancel.arg(bench.site.gateway_folder()).output().expect("weir runs").status.success());
    assert_eq!(moments(&show(bench, id)).last().map(String::as_str), Some("withdrawn DEMOP"));
    let (done, said) = run(&bench.site, "trust", &["accept", id, "--by", "Crisis Team North"]);
    assert!(!done && said["http"] == 409, "people are told that a team takes what was withdrawn: {said}");
    wait_for("people to be told", || kinds(&bench.site).contains(&"handover-conflict".to_owned()));
    ends_well(delivered);
}

/// An answer was lost, the sender told the team by telephone and cancelled, and the team that has the message takes it.
#[test]
fn who_accepts_a_message_that_was_cancelled_is_not_its_holder_and_people_are_told() {
    let site = site(HOUR, HOUR);
    let partner = site.start_partner("trust", &["cut:1000"]);
    let bench = Bench::of(site);
    let sent = bench.post("/records/crisis-escalation", &[JSON], bench.site.record(RECORD)).json();
    let id = sent["message"].as_str().unwrap_or_else(|| panic!("it is accepted: {sent}")).to_owned();
    wait_for("the message to be with the Trust", || arrivals(&bench, &id) > 0 && !bench.site.inbox("trust").is_empty());
    let (bundle, task) = arrived(&bench.site, &id);
    wait_for("the message to be cancelled between two attempts", || {
        let mut cancel = weir();
        cancel.args(["messages", "cancel", &id, "--why", "told-otherwise", "--as", "demo-owner", "--site"]);
        cancel.arg(bench.site.gateway_folder()).output().expect("weir runs").status.success()
    });
    assert_eq!(show(&bench, &id)["handover"], Value::Null);
    assert_eq!(told(&trust(&bench).put(&task, &accepted("Crisis Team North"))), is(409, "conflict"));
    wait_for("people to be told", || kinds(&bench.site) == ["handover-conflict"]);
    let shown = show(&bench, &id);
    assert_eq!((&shown["handover"]["state"], &shown["holder"]["organisation"]), (&"withdrawn".into(), &"DEMOP".into()));
    assert_eq!(bench.get(&format!("/messages/{id}"), &[]).json()["state"], "cancelled");
    ends_well(Delivered { bench, trust: partner, id, bundle, task });
}

#[test]
fn handovers_are_listed_for_those_who_may_read_messages() {
    let delivered = deliver(site(HOUR, HOUR));
    let Delivered { bench, id, .. } = &delivered;
    let token = |who: &str| {
        let mut command = weir();
        let made = command.args(["token", "--as", who, "--site"]).arg(bench.site.gateway_folder()).output();
        format!("Bearer {}", String::from_utf8(made.expect("weir runs").stdout).expect("it is text").trim())
    };
    let get = |path: &str, who: &str| bench.get(path, &[("authorization", &token(who))]);
    let all = get("/handovers", "demo-owner");
    assert_eq!((all.status.as_u16(), &all.json()[0]["message"]), (200, &id.as_str().into()));
    assert_eq!(get("/handovers?state=waiting", "demo-owner").json().as_array().map(Vec::len), Some(1));
    assert_eq!(get("/handovers?state=overdue", "demo-owner").json(), json!([]));
    assert_eq!(told(&get("/handovers?state=late", "demo-owner")), is(400, "not-supported"));
    assert_eq!(told(&get("/handovers", "demo-siro")), is(403, "forbidden"), "no role permits it");
    let refused = list_as(&bench.site, "demo-siro");
    assert!(refused.contains("no role of demo-siro permits read-message"), "{refused}");
    ends_well(delivered);
}

fn list_as(site: &DemoSite, who: &str) -> String {
    let mut command = weir();
    command.args(["handover", "list", "--as", who, "--site"]).arg(site.gateway_folder());
    String::from_utf8_lossy(&command.output().expect("weir runs").stderr).into_owned()
}

#[test]
fn an_interface_without_clocks_asks_nobody_to_take_responsibility() {
    let site = DemoSite::new().without_clocks();
    let _trust = site.start_partner("trust", &[]);
    let bench = Bench::of(site);
    let sent = bench.post("/records/crisis-escalation", &[JSON], bench.site.record(RECORD)).json();
    let id = sent["message"].as_str().expect("it is accepted").to_owned();
    wait_for("the message", || bench.get(&format!("/messages/{id}"), &[]).json()["state"] == "acknowledged");
    let shown = show(&bench, &id);
    assert_eq!((&shown["handover"], moments(&shown)), (&Value::Null, vec!["message-accepted DEMOP".to_owned()]));
    assert_eq!(list(&bench.site, &[]), [] as [Value; 0]);
}

#[test]
fn clocks_that_cannot_be_kept_are_found_before_they_are_used() {
    let site = site(HOUR, HOUR);
    change(&site, "gateway/weir.toml", |text| {
        text.replace("accept_minutes = { routine = 60 }", "accept_minutes = { stat = 0 }")
    });
    let checked = weir().args(["config", "check", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert_eq!(checked.status.code(), Some(1));
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    for fault in ["accept_minutes has no routine", "accept_minutes.stat is out of range"] {
        assert!(said.contains(fault), "{said}");
    }
}
