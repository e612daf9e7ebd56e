//! BaRS beyond one exchange, over the built programs and mutual TLS: a partner that answers later by a response message of
//! its own, and what our `$process-message` makes of responses that it should not believe.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use support::{DemoSite, Process, http_get, json_of, nobody, wait_for, weir};
use time::OffsetDateTime;
use uuid::Uuid;
use weir::audit::checkpoint::VerifierKey;
use weir::audit::merkle::Frontier;
use weir::cli::client::{Answer, Client};
use weir::config::Endpoint;
use weir::fhir::bars::{end_user_organisation, requesting_software, target_identifier};
use weir::fhir::message::{Response, ResponseCode, response_bundle};
use weir::identity::issuance::{Authority, Validity};
use weir::identity::tls::{Credentials, TrustAnchors, client_config, system_clock};
use weir::server::clock;

const RECORD: &str = "crisis-escalation-minimal.json";

/// The gateway's service, as the demo's weir.toml names it.
const SERVICE: &str = "2000099990";

/// A site whose Trust answers later.
fn site() -> DemoSite {
    let site = DemoSite::new();
    partner_file(&site, "trust", |text| format!("{text}answers_later = true\n"));
    site
}

fn partner_file(site: &DemoSite, partner: &str, change: impl FnOnce(String) -> String) {
    let file = site.path(&format!("gateway/partners/{partner}.toml"));
    let text = fs::read_to_string(&file).expect("the partner has a file");
    fs::write(&file, change(text)).expect("it is written");
}

/// The Trust takes messages and says nothing more: its answers go where nobody listens.
fn silent_trust(site: &DemoSite) -> Process {
    let file = site.path("trust/partner.toml");
    let text = fs::read_to_string(&file).expect("the Trust has a file");
    fs::write(&file, text.replace(&site.partner_side().to_string(), &nobody().to_string())).expect("it is written");
    site.start_partner_with("trust", &["--answer-later", "accept"])
}

/// Submits a sample and does not wait; its id.
fn submit(site: &DemoSite, record: &str) -> String {
    let (sent, _) = site.send(record, &["--wait-seconds", "0"]);
    sent["message"].as_str().unwrap_or_else(|| panic!("it is accepted: {sent}")).to_owned()
}

fn show(site: &DemoSite, id: &str) -> Value {
    let mut command = weir();
    command.args(["messages", "show", id, "--format", "json", "--site"]).arg(site.gateway_folder());
    json_of(&command.output().expect("weir runs"))
}

fn wait_until(site: &DemoSite, id: &str, state: &str) -> Value {
    wait_for(&format!("the message to be {state}"), || show(site, id)["state"] == state);
    show(site, id)
}

/// Submits the sample and waits until the Trust has it; its id, and its Bundle's.
fn deliver(site: &DemoSite) -> (String, String) {
    let id = submit(site, RECORD);
    wait_until(site, &id, "delivered");
    let [(bundle, _)] = &site.inbox("trust")[..] else { panic!("the Trust has one message") };
    (id, bundle.clone())
}

/// What happened to a message: kind, the state that it took, and why.
fn steps(shown: &Value) -> Vec<String> {
    let steps = shown["steps"].as_array().expect("it shows the steps");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    steps
        .iter()
        .map(|step| [&step["kind"], &step["to"], &step["reason"]].map(text).join(" ").trim().to_owned())
        .collect()
}

fn ends_well(site: &DemoSite, gateway: Process) {
    assert_eq!(gateway.terminate(), Some(0));
    let verified = weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

/// What the audit log says was refused of answers: from whom, about which message, why.
fn refusals(site: &DemoSite) -> Vec<(String, String)> {
    let events = site.audit_events().into_iter().filter(|event| event.to_string().contains("answer-refused"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = events
        .map(|event| {
            let details = event["entity"][0]["detail"].as_array().cloned().unwrap_or_default();
            let reason = details.iter().find(|detail| detail["type"] == "reason").map(|it| text(&it["valueString"]));
            (text(&event["agent"][0]["who"]["identifier"]["value"]), reason.unwrap_or_default())
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// A partner of the demo, with its own certificate.
struct Partner<'a> {
    site: &'a DemoSite,
    ods: &'static str,
    folder: &'static str,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Partner<'a> {
    fn trust(site: &'a DemoSite) -> Partner<'a> {
        Partner { site, ods: "DEMOT", folder: "trust", runtime: tokio::runtime::Runtime::new().expect("it starts") }
    }

    fn icb(site: &'a DemoSite) -> Partner<'a> {
        Partner { ods: "DEMOI", folder: "icb", ..Partner::trust(site) }
    }

    fn endpoint(&self) -> Endpoint {
        let file = |name: &str| self.site.path(self.folder).join("pki").join(name);
        let read = |name: &str| fs::read(file(name)).expect("it is there");
        let credentials = Credentials::from_pem(&read("partner.pem"), &read("partner.key")).expect("a certificate");
        let anchors = TrustAnchors::from_pem(&read("provider-ca.pem")).expect("an authority");
        Endpoint {
            uri: "https://bars-demop.provider.example".parse().expect("a URL"),
            connect: Some(self.site.partner_side()),
            tls: client_config(&credentials, &anchors, system_clock()).expect("it can be used"),
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("content-type", "application/fhir+json; version=1.4.0".to_owned()),
            ("accept", "application/fhir+json; version=1.4.0".to_owned()),
            ("x-request-id", Uuid::new_v4().to_string()),
            ("x-correlation-id", Uuid::new_v4().to_string()),
            ("nhsd-target-identifier", target_identifier(SERVICE)),
            ("nhsd-end-user-organisation", end_user_organisation(self.ods, "A partner")),
            ("nhsd-requesting-software", requesting_software("Test", "1")),
            ("use-context", "crisis-escalation|referral|servicerequest-response|new".to_owned()),
        ]
    }

    fn exchange(&self, request: hyper::http::request::Builder, body: impl Into<hyper::body::Bytes>) -> Answer {
        self.try_exchange(request, body).expect("the gateway answers")
    }

    fn try_exchange(
        &self,
        request: hyper::http::request::Builder,
        body: impl Into<hyper::body::Bytes>,
    ) -> anyhow::Result<Answer> {
        let request = request.body(Full::new(body.into())).expect("the request is well formed");
        self.runtime.block_on(async { Client::connect(&self.endpoint()).await?.exchange(request).await })
    }

    fn post(&self, headers: &[(&str, String)], body: impl Into<hyper::body::Bytes>) -> Answer {
        let request = Request::post("/FHIR/R4/$process-message");
        self.exchange(headers.iter().fold(request, |request, (name, value)| request.header(*name, value)), body)
    }

    fn get(&self, path: &str) -> Answer {
        let headers = self.headers();
        self.exchange(
            headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, value)),
            "",
        )
    }

    /// A response to the Bundle `answers`.
    fn response(&self, answers: &str, code: ResponseCode) -> Value {
        let response = Response {
            id: Uuid::new_v4(),
            timestamp: OffsetDateTime::now_utc(),
            answers,
            code,
            event: "servicerequest-response",
            receiver: self.ods,
            sender: "DEMOP",
        };
        serde_json::from_str(&response_bundle(&response)).expect("it is JSON")
    }

    fn send(&self, response: &Value) -> Answer {
        self.post(&self.headers(), response.to_string())
    }
}

/// Status, code of http-error-codes and kind of issue of an answer.
fn told(answer: &Answer) -> (u16, String, String) {
    let issue = &answer.json()["issue"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(issue["details"]["coding"][0]["system"], "https://fhir.nhs.uk/Codesystem/http-error-codes");
    (answer.status.as_u16(), text(&issue["details"]["coding"][0]["code"]), text(&issue["code"]))
}

fn is(status: u16, code: &str, issue: &str) -> (u16, String, String) {
    (status, code.to_owned(), issue.to_owned())
}

#[test]
fn a_partner_accepts_later_and_the_message_is_acknowledged() {
    let site = site();
    let trust = site.start_partner_with("trust", &["--answer-later", "accept"]);
    let gateway = site.start_gateway();
    let id = submit(&site, RECORD);
    let shown = wait_until(&site, &id, "acknowledged");
    let (opened, answered) = ("handover-changed waiting", "answer-received");
    let (delivered, acknowledged) =
        ("state-transition delivered partner-accepted", "state-transition acknowledged acknowledged");
    let steps = steps(&shown);
    let begun = ["message-accepted accepted", "AuthZ-Consent", "state-transition in-flight attempt"];
    assert_eq!(steps[..3], begun);
    assert!(
        steps[3..] == [delivered, opened, answered, acknowledged] || steps[3..] == [answered, acknowledged, opened],
        "{steps:?}"
    );
    let events = site.audit_events().into_iter();
    let received: Vec<_> = events.filter(|event| event.to_string().contains("answer-received")).collect();
    let [received] = &received[..] else { panic!("one answer: {received:?}") };
    let profile = received["meta"]["profile"][0].as_str().unwrap_or_default();
    assert!(profile.ends_with("BALP/StructureDefinition/IHE.BasicAudit.PrivacyDisclosure.Recipient"), "{received}");
    assert_eq!(received["agent"][0]["network"], json!({ "address": "127.0.0.1", "type": "2" }));
    let [answer] = &shown["answers"].as_array().expect("it shows them")[..] else { panic!("one: {shown}") };
    assert_eq!(
        (&answer["verdict"], &answer["from"], &answer["code"]),
        (&json!("accepted"), &json!("DEMOT"), &json!("ok"))
    );
    assert_eq!(site.arrivals("trust").len(), 1, "it was sent once");
    let metrics = http_get(site.operations(), "/metrics").expect("it answers").1;
    assert!(metrics.contains(r#"weir_partner_responses_total{sender="DEMOT",outcome="accepted"} 1"#), "{metrics}");
    trust.kill();
    ends_well(&site, gateway);
}

#[test]
fn a_partner_rejects_fails_or_asks_later_and_the_provider_sees_why() {
    for (how, reason, note, answer) in [
        (
            "reject",
            "partner-refused",
            "no-capacity: the receiving team has no capacity",
            json!({"verdict": "rejected", "reasons": ["no-capacity"], "asksFor": []}),
        ),
        (
            "fail",
            "partner-refused",
            "the partner's system could not process it, with (exception)",
            json!({"verdict": "failed", "code": "fatal-error", "reasons": ["exception"], "asksFor": []}),
        ),
        (
            "ask",
            "information-missing",
            "the partner asks for missing information: Patient.telecom",
            json!({"verdict": "information-missing", "reasons": [], "asksFor": ["Patient.telecom"]}),
        ),
    ] {
        let site = site().without_clocks();
        let trust = site.start_partner_with("trust", &["--answer-later", how]);
        let gateway = site.start_gateway();
        let id = submit(&site, RECORD);
        let shown = wait_until(&site, &id, "refused");
        assert!(steps(&shown).contains(&format!("state-transition refused {reason}")), "{shown}");
        assert!(shown["note"].as_str().is_some_and(|text| text.contains(note)), "{shown}");
        for (member, value) in answer.as_object().expect("an object") {
            assert_eq!(&shown["answers"][0][member], value, "{how}: {shown}");
        }
        let kept = String::from_utf8_lossy(&site.stored_and_logged()).into_owned();
        for words in ["telephone number", "cannot take the referral", "cannot be processed"] {
            assert!(!kept.contains(words), "words are sealed and not logged: {words}");
        }
        trust.kill();
        ends_well(&site, gateway);
    }
}

#[test]
fn a_response_counts_once_and_for_its_own_message_alone() {
    let site = site();
    let _trust = silent_trust(&site);
    let _icb = site.start_partner("icb", &[]);
    let gateway = site.start_gateway();
    let (id, bundle) = deliver(&site);
    let (trust, icb) = (Partner::trust(&site), Partner::icb(&site));

    // Another partner cannot settle it, nor learn that it exists.
    let theirs = icb.send(&icb.response(&bundle, ResponseCode::FatalError));
    assert_eq!(told(&theirs), is(404, "REC_NOT_FOUND", "not-found"));
    let unknown = icb.send(&icb.response(&Uuid::new_v4().to_string(), ResponseCode::Ok));
    assert_eq!((told(&unknown), &unknown.json()["issue"]), (told(&theirs), &theirs.json()["issue"]));
    assert_eq!(show(&site, &id)["state"], "delivered");
    assert!(
        steps(&show(&site, &id)).contains(&"answer-refused message-of-another".replace(' ', "  ")),
        "{}",
        show(&site, &id)
    );

    // Its own partner can, once.
    let response = trust.response(&bundle, ResponseCode::Ok);
    let headers = trust.headers();
    let taken = trust.post(&headers, response.to_string());
    assert_eq!(taken.status, 200, "{}", taken.json());
    for name in ["x-request-id", "x-correlation-id"] {
        let sent = headers.iter().find(|header| header.0 == name).expect("it was sent");
        assert_eq!(taken.headers[name], sent.1.as_str());
    }
    let header = &taken.json()["entry"][0]["resource"];
    assert_eq!((&header["response"]["identifier"], &header["response"]["code"]), (&response["id"], &json!("ok")));
    assert_eq!(show(&site, &id)["state"], "acknowledged");
    assert_eq!(told(&trust.post(&headers, response.to_string())), is(409, "REC_CONFLICT", "duplicate"));
    let mut other = response.clone();
    other["entry"][0]["resource"]["response"]["code"] = json!("fatal-error");
    assert_eq!(told(&trust.send(&other)), is(409, "REC_CONFLICT", "conflict"));
    assert_eq!(show(&site, &id)["state"], "acknowledged", "no second effect");
    let conflicts: Vec<_> =
        site.audit_events().into_iter().filter(|event| event.to_string().contains(r#""conflict""#)).collect();
    let [conflict] = &conflicts[..] else { panic!("another answer under a known id is one leaf: {conflicts:?}") };
    assert_eq!(
        (&conflict["outcome"], &conflict["agent"][0]["who"]["identifier"]["value"]),
        (&json!("4"), &json!("DEMOT"))
    );
    let text = conflict.to_string();
    assert!(text.contains("answer-refused") && text.contains(&id), "of which message: {text}");
    assert!(steps(&show(&site, &id)).contains(&"answer-refused  conflict".to_owned()), "{}", show(&site, &id));

    // What was written before changes nothing, what is written after does.
    let mut late = trust.response(&bundle, ResponseCode::FatalError);
    late["timestamp"] = json!("2020-01-01T00:00:00Z");
    assert_eq!(trust.send(&late).status, 200);
    assert_eq!(show(&site, &id)["state"], "acknowledged");
    let failed = trust.send(&trust.response(&bundle, ResponseCode::FatalError));
    assert_eq!(failed.status, 200);
    let shown = wait_until(&site, &id, "refused");
    assert_eq!(shown["answers"].as_array().map(Vec::len), Some(3));
    assert!(refusals(&site).iter().any(|(_, reason)| reason == "unknown-message"), "{:?}", refusals(&site));
    ends_well(&site, gateway);
}

/// How often the site's spool folder tells of messages that were refused.
fn told_of_refusals(site: &DemoSite) -> usize {
    let Ok(files) = fs::read_dir(site.path("gateway/data/incidents")) else { return 0 };
    let paths = files.map(|file| file.expect("a file").path());
    let json = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    json.filter(|path| fs::read_to_string(path).expect("it is readable").contains("delivery-refused")).count()
}

#[test]
fn a_message_that_is_refused_a_second_time_is_told_of_a_second_time() {
    let site = site();
    let _trust = silent_trust(&site);
    let gateway = site.start_gateway();
    let (id, bundle) = deliver(&site);
    let trust = Partner::trust(&site);
    for round in 1..=2 {
        assert_eq!(trust.send(&trust.response(&bundle, ResponseCode::FatalError)).status, 200);
        wait_until(&site, &id, "refused");
        wait_for("people to be told", || told_of_refusals(&site) == round);
        assert_eq!(trust.send(&trust.response(&bundle, ResponseCode::Ok)).status, 200);
        wait_until(&site, &id, "acknowledged");
    }
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(told_of_refusals(&site), 2, "once each");
    ends_well(&site, gateway);
}

#[test]
fn a_response_outlives_restarts_and_may_overtake_the_answer_to_the_request() {
    let site = site();
    let patient = |text: String| text.replace("attempt_timeout_seconds = 10", "attempt_timeout_seconds = 60");
    partner_file(&site, "trust", patient);
    let trust = silent_trust(&site);
    let gateway = site.start_gateway();
    let (id, bundle) = deliver(&site);
    gateway.kill();
    let gateway = site.start_gateway();
    let partner = Partner::trust(&site);
    let response = partner.response(&bundle, ResponseCode::Ok);
    assert_eq!(partner.send(&response).status, 200);
    gateway.kill();
    let gateway = site.start_gateway();
    assert_eq!(show(&site, &id)["state"], "acknowledged", "200 meant that it is on disk");
    assert_eq!(told(&partner.send(&response)), is(409, "REC_CONFLICT", "duplicate"));
    trust.kill();

    // The next message is still being answered when its response comes.
    let slow = site.start_partner_with("trust", &["--answer-later", "accept", "--misbehave", "slow:10000"]);
    let second = submit(&site, "crisis-escalation-complete.json");
    wait_for("the message to arrive", || site.inbox("trust").len() == 2);
    let (bundle, _) = site.inbox("trust").into_iter().find(|(name, _)| *name != bundle).expect("the second");
    assert_eq!(show(&site, &second)["state"], "in-flight");
    let again = partner.response(&bundle, ResponseCode::TransientError);
    let early = partner.send(&again);
    assert_eq!(told(&early), is(425, "REC_TOO_EARLY", "transient"));
    assert!(early.headers.contains_key("retry-after"));
    assert_eq!(partner.send(&partner.response(&bundle, ResponseCode::Ok)).status, 200);
    assert_eq!(show(&site, &second)["state"], "acknowledged");
    let log = || fs::read_to_string(site.path("gateway.log")).expect("the gateway logs");
    wait_for("the attempt to end", || log().contains("came by itself before the attempt ended"));
    let shown = show(&site, &second);
    assert_eq!((&shown["state"], &shown["attempts"]), (&json!("acknowledged"), &json!(1)), "{shown}");
    slow.kill();
    ends_well(&site, gateway);
}

#[test]
fn a_response_that_asks_to_send_again_has_the_same_message_sent_again() {
    let site = site();
    let trust = silent_trust(&site);
    let gateway = site.start_gateway();
    let (id, bundle) = deliver(&site);
    let partner = Partner::trust(&site);
    assert_eq!(partner.send(&partner.response(&bundle, ResponseCode::TransientError)).status, 200);
    wait_for("it to be sent again", || site.arrivals("trust").len() == 2);
    let arrivals = site.arrivals("trust");
    assert_eq!((&arrivals[0]["id"], &arrivals[0]["request"]), (&arrivals[1]["id"], &arrivals[1]["request"]));
    let shown = wait_until(&site, &id, "delivered");
    assert!(
        shown["note"].as_str().is_some_and(|note| note.contains("from an attempt whose answer was lost")),
        "{shown}"
    );
    trust.kill();
    ends_well(&site, gateway);
}

#[test]
fn what_is_no_response_of_the_partner_is_refused_in_the_words_of_the_specification() {
    let site = site();
    let _trust = silent_trust(&site);
    let gateway = site.start_gateway();
    let (id, bundle) = deliver(&site);
    let trust = Partner::trust(&site);
    let good = trust.response(&bundle, ResponseCode::Ok);
    let bad = |code: &str| is(400, "REC_BAD_REQUEST", code);

    // Headers.
    for name in [
        "x-request-id",
        "x-correlation-id",
        "nhsd-target-identifier",
        "nhsd-end-user-organisation",
        "nhsd-requesting-software",
    ] {
        let mut headers = trust.headers();
        headers.retain(|header| header.0 != name);
        assert_eq!(told(&trust.post(&headers, good.to_string())), bad("required"), "without {name}");
        headers.push((name, "not base64 nor a UUID".to_owned()));
        let code = if name.starts_with("x-") { "value" } else { "structure" };
        assert_eq!(told(&trust.post(&headers, good.to_string())), bad(code), "{name}");
        headers.push((name, "twice".to_owned()));
        assert_eq!(told(&trust.post(&headers, good.to_string())), bad("value"), "{name} twice");
    }
    let with = |name: &'static str, value: &str| {
        let mut headers = trust.headers();
        headers.retain(|header| header.0 != name);
        headers.push((name, value.to_owned()));
        headers
    };
    let elsewhere = with("nhsd-target-identifier", &target_identifier("1"));
    assert_eq!(told(&trust.post(&elsewhere, good.to_string())), is(404, "REC_NOT_FOUND", "not-found"));
    let plain = with("content-type", "application/json");
    assert_eq!(told(&trust.post(&plain, good.to_string())), is(415, "REC_BAD_REQUEST", "not-supported"));
    let future = with("accept", "application/fhir+json; version=2.0.0");
    assert_eq!(told(&trust.post(&future, good.to_string())), is(406, "REC_NOT_ACCEPTABLE", "processing"));

    // A sender that is another than the certificate says.
    let lying = with("nhsd-end-user-organisation", &end_user_organisation("DEMOI", "Another"));
    assert_eq!(told(&trust.post(&lying, good.to_string())), is(403, "REC_FORBIDDEN", "security"));
    let others = Partner { ods: "DEMOI", ..Partner::trust(&site) }.response(&bundle, ResponseCode::Ok);
    assert_eq!(told(&trust.send(&others)), is(403, "REC_FORBIDDEN", "security"));
    let refusals = refusals(&site);
    assert!(refusals.iter().any(|(_, reason)| reason == "sender-is-another"), "{refusals:?}");

    // Bodies.
    assert_eq!(told(&trust.post(&trust.headers(), "not JSON")), bad("structure"));
    assert_eq!(told(&trust.post(&trust.headers(), "")), bad("structure"));
    assert_eq!(told(&trust.post(&trust.headers(), vec![0xff_u8; 100])), bad("structure"));
    assert_eq!(told(&trust.post(&trust.headers(), "[".repeat(100_000))), bad("structure"));
    // One that goes on writing may find the connection closed before it reads the answer.
    let huge = trust
        .headers()
        .iter()
        .fold(Request::post("/FHIR/R4/$process-message"), |request, (name, value)| request.header(*name, value));
    if let Ok(answer) = trust.try_exchange(huge, vec![b' '; 10 << 20]) {
        assert_eq!(told(&answer), is(413, "REC_BAD_REQUEST", "too-long"));
    }
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut response = trust.response(&bundle, ResponseCode::Ok);
        change(&mut response);
        told(&trust.send(&response))
    };
    assert_eq!(changed(&|it| it["type"] = json!("batch")), bad("invariant"));
    assert_eq!(changed(&|it| it["id"] = json!("1")), bad("value"));
    assert_eq!(changed(&|it| it["entry"] = json!([])), bad("invariant"));
    let header =
        |name: &'static str, value: Value| changed(&move |it| it["entry"][0]["resource"][name] = value.clone());
    let as_referral = header("eventCoding", json!({"code": "servicerequest-request"}));
    assert_eq!(as_referral, is(422, "REC_UNPROCESSABLE_ENTITY", "invariant"), "a referral says more than a response");
    assert_eq!(header("eventCoding", json!({"code": "booking-response"})), bad("not-supported"));
    assert_eq!(header("eventCoding", json!({"code": "anything"})), bad("invariant"));
    assert_eq!(header("response", json!({"code": "ok"})), bad("invariant"));
    assert_eq!(header("response", json!({"identifier": bundle, "code": "fine"})), bad("value"));
    let elsewhere = changed(&|it| it["entry"][2]["resource"]["identifier"][0]["value"] = json!("RX1"));
    assert_eq!(elsewhere, is(422, "REC_UNPROCESSABLE_ENTITY", "processing"));

    // Paths and methods.
    let other = trust.get("/FHIR/R4/$process-message");
    assert_eq!(told(&other), is(405, "REC_METHOD_NOT_ALLOWED", "not-supported"));
    assert_eq!(told(&trust.get("/FHIR/R4/Patient")), is(404, "REC_NOT_FOUND", "not-supported"));

    let shown = show(&site, &id);
    assert_eq!((&shown["state"], &shown["answers"]), (&json!("delivered"), &json!([])), "nothing of it counted");
    assert_eq!(trust.send(&good).status, 200, "and the gateway works");
    ends_well(&site, gateway);
}

#[test]
fn who_is_no_partner_is_told_so() {
    let site = DemoSite::new();
    fs::remove_file(site.path("gateway/partners/icb.toml")).expect("it was there");
    let agreements = fs::read_dir(site.path("gateway/agreements")).expect("there are some");
    for file in agreements.map(|file| file.expect("it is readable").path()) {
        if fs::read_to_string(&file).expect("it is text").contains("DEMOI") {
            fs::remove_file(file).expect("it was there");
        }
    }
    // Nothing else leaves over the interface of the extract.
    let weir_toml = site.path("gateway/weir.toml");
    let written = fs::read_to_string(&weir_toml).expect("it is there");
    let mut written: toml::Table = toml::from_str(&written).expect("it is TOML");
    let interfaces = written["interfaces"].as_table_mut().expect("there are interfaces");
    assert!(interfaces.remove("reporting-extract").is_some());
    fs::write(&weir_toml, toml::to_string(&written).expect("it is TOML")).expect("it is written");
    let gateway = site.start_gateway();
    let icb = Partner::icb(&site);
    let answer = icb.send(&icb.response(&Uuid::new_v4().to_string(), ResponseCode::Ok));
    assert_eq!(told(&answer), is(403, "REC_FORBIDDEN", "forbidden"));
    assert_eq!(told(&icb.get("/FHIR/R4/metadata")), is(403, "REC_FORBIDDEN", "forbidden"));
    assert!(refusals(&site).iter().any(|(_, reason)| reason == "unknown-partner"));
    ends_well(&site, gateway);
}

#[test]
fn another_authority_of_ours_cannot_speak_for_a_partner_that_has_its_own() {
    let site = DemoSite::new();
    // Two authorities may vouch for partners; the Trust's certificates are of the first.
    let other = Authority::new("Another authority", Validity::days(clock::now(), 1)).expect("an authority");
    let gateway = site.path("gateway/pki");
    let both = fs::read_to_string(gateway.join("partner-ca.pem")).expect("it is there") + other.certificate_pem();
    fs::write(gateway.join("both.pem"), both).expect("it is written");
    let weir_toml = site.path("gateway/weir.toml");
    let written = fs::read_to_string(&weir_toml).expect("it is there");
    let (before, bars) = written.split_once("[bars]").expect("it has a side for partners");
    let bars = bars.replacen("pki/partner-ca.pem", "pki/both.pem", 1);
    fs::write(&weir_toml, format!("{before}[bars]{bars}")).expect("it is written");
    let forged = || {
        let party = "DEMOT".parse().expect("an ODS code");
        let issued = other.issue(&party, "bars-demot.partner.example", &[], Validity::days(clock::now(), 1));
        let issued = issued.expect("a certificate");
        let own = Credentials::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).expect("PEM");
        let anchors = fs::read(site.path("trust/pki/provider-ca.pem")).expect("it is there");
        let anchors = TrustAnchors::from_pem(&anchors).expect("an authority");
        Endpoint {
            tls: client_config(&own, &anchors, system_clock()).expect("it can be used"),
            ..Partner::trust(&site).endpoint()
        }
    };
    let ask = |endpoint: Endpoint| {
        let partner = Partner::trust(&site);
        let headers = partner.headers();
        let request = headers
            .iter()
            .fold(Request::get("/FHIR/R4/metadata"), |request, (name, value)| request.header(*name, value));
        let request = request.body(Full::default()).expect("the request is well formed");
        let answer = partner.runtime.block_on(async { Client::connect(&endpoint).await?.exchange(request).await });
        answer.map(|answer| answer.status.as_u16()).ok()
    };

    let running = site.start_gateway();
    assert_eq!(ask(forged()), Some(200), "without authorities of its own, any of ours speaks for it");
    ends_well(&site, running);

    partner_file(&site, "trust", |text| format!("client_trust_anchors = \"pki/partner-ca.pem\"\n{text}"));
    let running = site.start_gateway();
    assert_eq!(ask(forged()), None, "it is not let in");
    assert_eq!(ask(Partner::trust(&site).endpoint()), Some(200));
    ends_well(&site, running);
}

#[test]
fn we_say_what_we_take() {
    let site = site();
    let _gateway = site.start_gateway();
    let trust = Partner::trust(&site);
    let metadata = trust.get("/FHIR/R4/metadata");
    let extension = &metadata.json()["extension"][0];
    assert_eq!(extension["url"], "https://weir.example/fhir/StructureDefinition/weir-signing-key");
    let key = weir().args(["audit", "key", "--site"]).arg(site.gateway_folder()).output().expect("weir runs").stdout;
    assert_eq!(extension["valueString"], String::from_utf8_lossy(&key).trim(), "the key that signs what we send");
    assert_eq!((metadata.status.as_u16(), &metadata.json()["resourceType"]), (200, &json!("CapabilityStatement")));
    let supported = metadata.json()["messaging"][0]["supportedMessage"].clone();
    assert_eq!(supported[0]["mode"], "receiver");
    assert!(
        supported[0]["definition"].as_str().is_some_and(|url| url.contains("servicerequest-response")),
        "{supported}"
    );
    let context = |of: &str| trust.get(&format!("/FHIR/R4/MessageDefinition{of}"));
    let found = context("?context=https%3A%2F%2Ffhir.nhs.uk%2FId%2Fdos-service-id%7C2000099990");
    assert_eq!((found.status.as_u16(), &found.json()["total"]), (200, &json!(2)), "{}", found.json());
    assert_eq!(found.json()["entry"][0]["resource"]["eventCoding"]["code"], "servicerequest-response");
    assert_eq!(found.json()["entry"][1]["resource"]["eventCoding"]["code"], "servicerequest-request");
    assert_eq!(context("?context=2000099990").json()["total"], 2);
    assert_eq!(context("?context=2000099990&context=a4t2").json()["total"], 0);
    assert_eq!(told(&context("")), is(400, "REC_BAD_REQUEST", "required"));
    assert_eq!(told(&context("?context=")), is(400, "REC_BAD_REQUEST", "invalid"));
}

#[test]
fn a_partner_cannot_be_told_to_answer_later_without_a_way_to_answer() {
    let site = site();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    let (before, rest) = text.split_once("[bars]").expect("it has the section");
    let (_, after) = rest.split_once("[operations]").expect("another follows");
    fs::write(&file, format!("{before}[operations]{after}")).expect("it is written");
    let checked = weir().args(["config", "check", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert_eq!(checked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(said.contains("DEMOT has answers_later, but weir.toml has no [bars] section"), "{said}");
}

/// What readiness says of the first route to a partner.
fn takes(site: &DemoSite, recipient: &str) -> Value {
    let (_, ready) = http_get(site.operations(), "/readyz").expect("it answers");
    let ready: Value = serde_json::from_str(&ready).expect("it is JSON");
    let routes = ready["routes"].as_array().expect("it shows them").clone();
    routes.into_iter().find(|route| route["recipient"] == recipient).expect("it has a route")["takes"].clone()
}

#[test]
fn what_a_partner_takes_is_found_out_beside_delivery_and_shown() {
    let site = DemoSite::new();
    let trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    wait_for("both partners to be asked", || takes(&site, "DEMOT").is_object() && takes(&site, "DEMOI").is_object());
    let found = takes(&site, "DEMOT");
    assert_eq!(
        (&found["support"], &found["version"], &found["heldBack"]),
        (&json!("listed"), &json!("1.4.0"), &json!(false))
    );
    assert!(
        found["definition"].as_str().is_some_and(|url| url.ends_with("servicerequest-request-referral")),
        "{found}"
    );
    assert!(found["requires"].as_array().is_some_and(|all| all.contains(&json!("Patient"))), "{found}");
    assert_eq!(found["problems"], json!([]));
    let nobody = takes(&site, "DEMOI");
    assert_eq!(
        (&nobody["support"], nobody["problems"].as_array().map(Vec::len)),
        (&json!("unknown"), Some(2)),
        "{nobody}"
    );
    let metrics = http_get(site.operations(), "/metrics").expect("it answers").1;
    for line in [
        r#"weir_partner_support{recipient="DEMOT",route="0",support="listed"} 1"#,
        r#"weir_partner_support{recipient="DEMOI",route="0",support="unknown"} 1"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    let check = |format: &[&str]| {
        let mut command = weir();
        command.args(["partner", "check", "DEMOT", "--site"]).arg(site.gateway_folder()).args(format);
        command.output().expect("weir runs")
    };
    let text = check(&[]);
    assert_eq!(text.status.code(), Some(0));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for line in
        ["it says: Weir partner", "BaRS 1.4.0", "our messages are among those that it lists", "asks for MessageHeader"]
    {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(json_of(&check(&["--format", "json"]))["takes"]["support"], "listed");
    trust.kill();
    ends_well(&site, gateway);
}

#[test]
fn a_partner_that_lists_other_messages_is_warned_about_and_held_back_only_where_its_file_says_so() {
    let site = DemoSite::new();
    let trust = site.start_partner("trust", &["unlisted"]);
    let gateway = site.start_gateway();
    wait_for("the Trust to be asked", || takes(&site, "DEMOT")["support"] == "not-listed");
    let log = fs::read_to_string(site.path("gateway.log")).expect("the gateway logs");
    let warned = |line: &str| line.contains("WARN") && line.contains("the partner does not list our messages");
    assert!(log.lines().any(warned), "{log}");
    let id = submit(&site, RECORD);
    wait_until(&site, &id, "acknowledged");
    assert_eq!(gateway.terminate(), Some(0));

    partner_file(&site, "trust", |text| format!("{text}require_listed = true\ndiscovery_hours = 0.0005\n"));
    let gateway = site.start_gateway();
    wait_for("the Trust to be held back", || takes(&site, "DEMOT")["heldBack"] == true);
    let second = submit(&site, "crisis-escalation-complete.json");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(show(&site, &second)["attempts"], 0, "{}", show(&site, &second));
    trust.kill();
    let trust = site.start_partner("trust", &[]);
    wait_until(&site, &second, "acknowledged");
    trust.kill();
    ends_well(&site, gateway);
}

/// What a partner needs to follow our audit log: a signed head, and hashes that lead to its root (C2SP tlog-tiles).
#[test]
fn a_partner_follows_the_log_by_its_tiles() {
    let site = site();
    let _trust = silent_trust(&site);
    let gateway = site.start_gateway();
    let (id, _) = deliver(&site);
    wait_until(&site, &id, "delivered");
    let trust = Partner::trust(&site);
    let key = weir().args(["audit", "key", "--site"]).arg(site.gateway_folder()).output().expect("weir runs").stdout;
    let key: VerifierKey = String::from_utf8_lossy(&key).trim().parse().expect("a key");
    let mut size = 0;
    for _ in 0..50 {
        let head = trust.get("/tlog/checkpoint");
        assert_eq!(
            (head.status.as_u16(), head.headers["content-type"].as_bytes()),
            (200, &b"text/plain; charset=utf-8"[..])
        );
        let head = key.verify(&head.body).expect("it is signed");
        let tile = trust.get(&format!("/tlog/tile/0/000.p/{}", head.size));
        assert_eq!((tile.status.as_u16(), tile.body.len() as u64), (200, head.size * 32));
        let mut tree = Frontier::new();
        tile.body.chunks(32).for_each(|leaf| tree.push(leaf.try_into().expect("32 bytes"), |_| {}));
        assert_eq!(tree.root(), head.root, "the tiles make the signed root");
        let beyond = trust.get(&format!("/tlog/tile/0/000.p/{}", head.size + 1));
        assert_eq!(beyond.status.as_u16(), 404, "what no head covers is not shown");
        size = head.size;
        if size >= 5 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(size >= 5, "the delivery is in the log: {size} events");
    assert_eq!(trust.get("/tlog/tile/0/0").status.as_u16(), 404);
    assert_eq!(trust.get("/tlog/tile/entries/000").status.as_u16(), 404, "events are not shown, but their hashes");
    ends_well(&site, gateway);
}
