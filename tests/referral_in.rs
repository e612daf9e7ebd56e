//! Referrals that partners send us, over the built program and mutual TLS: taken once, mapped to the provider's record, kept
//! whatever is killed, collected by the record system, told of when nobody does; and whom and what is refused.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]
#![allow(clippy::print_stderr, reason = "a test that tests nothing says so")]

#[path = "support/boundary.rs"]
mod boundary;
#[path = "referral_in/more_than_the_record.rs"]
mod more_than_the_record;
mod support;
#[path = "support/webhook.rs"]
mod webhook;

use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use boundary::Boundaries;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use rusqlite::Connection;
use serde_json::{Value, json};
use support::{Bench, DemoSite, Process, http_get, json_of, wait_for, weir};
use uuid::Uuid;
use webhook::{Calls, name_webhook, webhook};
use weir::cli::client::{Answer, Client};
use weir::config::Endpoint;
use weir::fhir::bars::{end_user_organisation, requesting_software, target_identifier};
use weir::identity::tls::{Credentials, TrustAnchors, client_config, system_clock};

const SAMPLE: &str = include_str!("../demo/inbound/referral-from-trust.json");
/// The gateway's service, as the demo's weir.toml names it.
const SERVICE: &str = "2000099990";
/// What is personal in the sample.
const PERSONAL: [&str; 5] = ["Sampleperson", "9990005087", "1994-09-02", "Tablets handed to sibling", "07700 900508"];

fn sample() -> Value {
    serde_json::from_str(SAMPLE).expect("the sample is JSON")
}

/// The sample under an id of its own.
fn another(id: Uuid) -> Value {
    let mut bundle = sample();
    bundle["id"] = json!(id.to_string());
    bundle
}

/// A partner of the demo, with its own certificate.
struct Partner {
    endpoint: Endpoint,
    ods: &'static str,
    runtime: tokio::runtime::Runtime,
}

impl Partner {
    fn of(site: &DemoSite, ods: &'static str, folder: &str) -> Partner {
        let file = |name: &str| fs::read(site.path(folder).join("pki").join(name)).expect("it is there");
        let credentials = Credentials::from_pem(&file("partner.pem"), &file("partner.key")).expect("a certificate");
        let anchors = TrustAnchors::from_pem(&file("provider-ca.pem")).expect("an authority");
        let endpoint = Endpoint {
            uri: "https://bars-demop.provider.example".parse().expect("a URL"),
            connect: Some(site.partner_side()),
            tls: client_config(&credentials, &anchors, system_clock()).expect("it can be used"),
        };
        Partner { endpoint, ods, runtime: tokio::runtime::Runtime::new().expect("it starts") }
    }

    fn trust(site: &DemoSite) -> Partner {
        Partner::of(site, "DEMOT", "trust")
    }

    fn icb(site: &DemoSite) -> Partner {
        Partner::of(site, "DEMOI", "icb")
    }

    fn try_exchange(
        &self,
        mut request: hyper::http::request::Builder,
        body: String,
        named: &str,
    ) -> anyhow::Result<Answer> {
        let headers = [
            ("content-type", "application/fhir+json; version=1.4.0".to_owned()),
            ("accept", "application/fhir+json; version=1.4.0".to_owned()),
            ("x-request-id", Uuid::new_v4().to_string()),
            ("x-correlation-id", Uuid::new_v4().to_string()),
            ("nhsd-target-identifier", target_identifier(SERVICE)),
            ("nhsd-end-user-organisation", end_user_organisation(named, "A partner")),
            ("nhsd-requesting-software", requesting_software("Test", "1")),
        ];
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("the request is well formed");
        self.runtime.block_on(async { Client::connect(&self.endpoint).await?.exchange(request).await })
    }

    fn send(&self, bundle: &Value) -> Answer {
        self.send_named(bundle, self.ods)
    }

    /// With this organisation in the header.
    fn send_named(&self, bundle: &Value, named: &str) -> Answer {
        let request = Request::post("/FHIR/R4/$process-message");
        self.try_exchange(request, bundle.to_string(), named).expect("the gateway answers")
    }

    fn get(&self, path: &str) -> Value {
        self.try_exchange(Request::get(path), String::new(), self.ods).expect("the gateway answers").json()
    }
}

/// Status, code of http-error-codes and kind of issue of a refusal, which says nothing personal.
fn told(answer: &Answer) -> (u16, String, String) {
    let outcome = answer.json();
    let issue = &outcome["issue"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert!(PERSONAL.iter().all(|personal| !outcome.to_string().contains(personal)), "{outcome}");
    (answer.status.as_u16(), text(&issue["details"]["coding"][0]["code"]), text(&issue["code"]))
}

fn list(bench: &Bench, query: &str) -> Vec<Value> {
    let answer = bench.get(&format!("/inbound{query}"), &[]);
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    answer.json().as_array().expect("a list").clone()
}

fn events(site: &DemoSite, kind: &str) -> Vec<Value> {
    let is_it = |event: &Value| event["subtype"].to_string().contains(&format!("\"{kind}\""));
    site.audit_events().into_iter().filter(is_it).collect()
}

fn verified(site: &DemoSite) {
    let checked = weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn a_referral_becomes_a_record_that_is_collected_once() {
    let bench = Bench::of(DemoSite::new());
    let trust = Partner::trust(&bench.site);
    let first = trust.send(&sample());
    assert_eq!(first.status, StatusCode::OK, "{}", first.json());
    let response = first.json();
    let header = &response["entry"][0]["resource"];
    assert_eq!(header["eventCoding"]["code"], "servicerequest-response");
    assert_eq!(header["response"], json!({ "identifier": sample()["id"], "code": "ok" }));
    let again = trust.send(&sample());
    assert_eq!((again.status, again.json()), (StatusCode::OK, response), "a repeat is answered the same");

    let waiting = list(&bench, "");
    let [referral] = &waiting[..] else { panic!("one waits: {waiting:?}") };
    assert_eq!((&referral["sender"], &referral["message"]), (&json!("DEMOT"), &sample()["id"]));
    assert_eq!((&referral["state"], &referral["priority"]), (&json!("waiting"), &json!("urgent")));
    let path = format!("/inbound/{}", referral["id"].as_str().expect("it has an id"));
    let one = bench.get(&path, &[]).json();
    let record = &one["record"];
    let expected: Value =
        serde_json::from_str(include_str!("golden/inbound/referral-from-trust.json")).expect("the golden file is JSON");
    assert_eq!(*record, expected, "{record:#}");

    let collected = bench.post(&format!("{path}/acknowledgement"), &[], "");
    assert_eq!(collected.status, StatusCode::OK, "{}", collected.json());
    let said = collected.json();
    assert_eq!((&said["state"], &said["collectedBy"]), (&json!("collected"), &json!("demo-records")));
    assert_eq!(bench.post(&format!("{path}/acknowledgement"), &[], "").json(), said, "once");
    assert_eq!((list(&bench, "").len(), list(&bench, "?all").len()), (0, 1));
    assert_eq!(trust.send(&sample()).status, StatusCode::OK, "a repeat after that has no effect");
    assert_eq!(list(&bench, "").len(), 0);

    let site = bench.kill();
    let received = events(&site, "referral-received");
    let [event] = &received[..] else { panic!("one event: {received:#?}") };
    let profile = event["meta"]["profile"][0].as_str().unwrap_or_default();
    assert!(profile.ends_with("PrivacyDisclosure.Recipient"), "{event:#}");
    assert_eq!(event["agent"][0]["who"]["identifier"]["value"], "DEMOT");
    assert_eq!(events(&site, "referral-collected").len(), 1);
    let bytes = site.stored_and_logged();
    for personal in PERSONAL {
        let found = bytes.windows(personal.len()).any(|window| window == personal.as_bytes());
        assert!(!found, "`{personal}` stands in clear in the database or a log");
    }
    verified(&site);
}

/// What the record of `qualified.json` has no place for.
const UNREAD: [&str; 16] = [
    "Patient.telecom",
    "Patient.address",
    "Encounter",
    "PractitionerRole.telecom",
    "CarePlan.activity",
    "Observation.valueRatio",
    "AllergyIntolerance.clinicalStatus.coding",
    "Consent.provision.provision.actor",
    // Sections without entries: their narrative can say more, whatever it calls itself.
    "Composition.section.text",
    "Composition.section.emptyReason",
    "Composition.section.text",
    // What is said of somebody else.
    "Observation",
    "Condition",
    "Composition.status",
    "Composition.section.text",
    "Composition.section.emptyReason",
];

#[test]
fn each_sample_becomes_the_record_beside_it_with_what_it_lacks() {
    let bench = Bench::of(DemoSite::new());
    let trust = Partner::trust(&bench.site);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = fs::read_dir(folder.join("demo/inbound"))
        .expect("samples")
        .map(|file| file.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    let mut lacking = Vec::new();
    for name in &names {
        let text = fs::read_to_string(folder.join("demo/inbound").join(name)).expect("it is there");
        let message: Value = serde_json::from_str(&text).expect("it is JSON");
        let taken = trust.send(&message);
        assert_eq!(taken.status, StatusCode::OK, "{name}: {}", taken.json());
        let waiting = list(&bench, "");
        let own = waiting.iter().find(|each| each["message"] == message["id"]).expect("it waits");
        let one = bench.get(&format!("/inbound/{}", own["id"].as_str().expect("an id")), &[]).json();
        let expected = fs::read_to_string(folder.join("tests/golden/inbound").join(name)).expect("its record");
        let expected: Value = serde_json::from_str(&expected).expect("it is JSON");
        assert_eq!(one["record"], expected, "{name}: {:#}", one["record"]);
        let missing = one["missing"].as_array().expect("what is missing");
        lacking.push((
            name.as_str(),
            missing.iter().map(|each| each["path"].as_str().expect("a path").to_owned()).collect::<Vec<_>>(),
        ));
        if name == "qualified.json" {
            let unread = one["unread"].as_array().expect("what is not in the record");
            let what: Vec<&str> = unread.iter().map(|each| each["what"].as_str().expect("a name")).collect();
            assert_eq!(what, UNREAD, "{unread:#?}");
            let ratio = unread.iter().find(|each| each["what"] == "Observation.valueRatio").expect("it is listed");
            let path = ratio["path"].as_str().expect("a path");
            let index: usize =
                path["Bundle.entry[".len()..].split(']').next().and_then(|text| text.parse().ok()).expect("an index");
            assert_eq!(message["entry"][index]["resource"]["code"]["text"], "Level of distress", "{path}");
        }
        if name == "missing-essential.json" {
            let reach = &missing[0];
            assert_eq!(
                (&reach["who"], &reach["question"]),
                (&json!("Receiving team"), &json!("How can the person be reached?"))
            );
            let at = |value: &Value| {
                time::OffsetDateTime::parse(
                    value.as_str().expect("a time"),
                    &time::format_description::well_known::Rfc3339,
                )
                .expect("RFC 3339")
            };
            assert_eq!(at(&reach["by"]) - at(&one["receivedAt"]), time::Duration::hours(1));
        }
    }
    let paths =
        |name: &str| lacking.iter().find(|(own, _)| *own == name).map(|(_, paths)| paths.clone()).unwrap_or_default();
    assert_eq!(paths("referral-from-trust.json"), Vec::<String>::new());
    assert_eq!(
        paths("coded.json"),
        ["medications", "allergies"],
        "a medicine that was stopped and an allergy that was refuted are no answers; codes are"
    );
    assert_eq!(paths("qualified.json"), Vec::<String>::new());
    assert_eq!(paths("minimal.json"), ["phones", "risks", "medications", "allergies"]);
    assert_eq!(
        paths("missing-essential.json"),
        ["person.phones", "phones", "risks", "medications[0].doses", "allergies"]
    );
}

#[test]
fn who_is_not_who_they_say_or_sends_what_does_not_conform_is_refused_and_nothing_is_kept() {
    let bench = Bench::of(DemoSite::new());
    let (trust, icb) = (Partner::trust(&bench.site), Partner::icb(&bench.site));
    let forbidden = |kind: &str| (403, "REC_FORBIDDEN".to_owned(), kind.to_owned());
    assert_eq!(told(&icb.send(&sample())), forbidden("security"), "the Bundle says another sender");
    assert_eq!(told(&trust.send_named(&sample(), "DEMOI")), forbidden("security"), "so does the header");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut bundle = another(Uuid::new_v4());
        change(&mut bundle);
        told(&trust.send(&bundle))
    };
    let refused = |status, code: &str, kind: &str| (status, code.to_owned(), kind.to_owned());
    let entry = |bundle: &mut Value, of: &str| {
        let entries = bundle["entry"].as_array().expect("entries");
        entries.iter().position(|entry| entry["resource"]["resourceType"] == of).expect("it is there")
    };
    let to_another = |bundle: &mut Value| bundle["entry"][9]["resource"]["identifier"][0]["value"] = json!("DEMOI");
    assert_eq!(with(&to_another), refused(422, "REC_UNPROCESSABLE_ENTITY", "processing"));
    let no_version = |bundle: &mut Value| drop(bundle["meta"].as_object_mut().expect("meta").remove("versionId"));
    assert_eq!(with(&no_version), refused(400, "REC_BAD_REQUEST", "invariant"));
    let no_patient = |bundle: &mut Value| {
        let at = entry(bundle, "Patient");
        bundle["entry"].as_array_mut().expect("entries").remove(at);
    };
    let (status, code, _) = with(&no_patient);
    assert_eq!((status, &*code), (422, "REC_UNPROCESSABLE_ENTITY"));
    let wrong_number = |bundle: &mut Value| {
        let at = entry(bundle, "Patient");
        bundle["entry"][at]["resource"]["identifier"][0]["value"] = json!("9990005088");
    };
    assert_eq!(with(&wrong_number).0, 422, "a wrong check digit");
    let booking = |bundle: &mut Value| bundle["entry"][0]["resource"]["eventCoding"]["code"] = json!("booking-request");
    assert_eq!(with(&booking), refused(400, "REC_BAD_REQUEST", "not-supported"));
    assert_eq!(list(&bench, "?all").len(), 0, "nothing of it is kept");

    assert_eq!(trust.send(&sample()).status, StatusCode::OK);
    let mut changed = sample();
    changed["entry"][1]["resource"]["priority"] = json!("stat");
    assert_eq!(told(&trust.send(&changed)), refused(409, "REC_CONFLICT", "conflict"), "other content under the id");
    assert_eq!(list(&bench, "?all").len(), 1);
    let site = bench.kill();
    assert_eq!(events(&site, "referral-refused").len(), 2, "what does not conform is in the audit log");
    assert_eq!(events(&site, "answer-refused").len(), 2, "and who is not who they say");
    verified(&site);
}

/// Changes the first resource of a type.
fn resource<'b>(bundle: &'b mut Value, of: &str) -> &'b mut Value {
    let entries = bundle["entry"].as_array_mut().expect("entries");
    let mut resources = entries.iter_mut().map(|entry| &mut entry["resource"]);
    resources.find(|resource| resource["resourceType"] == of).expect("it is there")
}

#[test]
fn what_changes_withdraws_or_is_no_live_request_is_refused_and_nothing_is_kept() {
    let bench = Bench::of(DemoSite::new());
    let trust = Partner::trust(&bench.site);
    let mut refusals = 0;
    let mut refused = |bundle: &Value, place: &str| {
        let answer = trust.send(bundle);
        assert_eq!(told(&answer), (422, "REC_UNPROCESSABLE_ENTITY".to_owned(), "not-supported".to_owned()));
        let outcome = answer.json();
        assert_eq!(outcome["issue"][0]["expression"][0], place, "{outcome}");
        assert!(outcome.to_string().contains("phone"), "{outcome}");
        refusals += 1;
    };
    for reason in ["update", "delete", "undocumented"] {
        let mut bundle = another(Uuid::new_v4());
        resource(&mut bundle, "MessageHeader")["reason"]["coding"][0]["code"] = json!(reason);
        refused(&bundle, "Bundle.entry[0].resource.reason");
    }
    let mut silent = another(Uuid::new_v4());
    resource(&mut silent, "MessageHeader")["reason"] = json!({ "text": "new" });
    refused(&silent, "Bundle.entry[0].resource.reason");
    let mut both = another(Uuid::new_v4());
    let codings = &mut resource(&mut both, "MessageHeader")["reason"]["coding"];
    let mut second = codings[0].clone();
    second["code"] = json!("delete");
    codings.as_array_mut().expect("codings").push(second);
    refused(&both, "Bundle.entry[0].resource.reason");
    for status in ["on-hold", "revoked", "completed", "entered-in-error", "unknown"] {
        let mut bundle = another(Uuid::new_v4());
        resource(&mut bundle, "ServiceRequest")["status"] = json!(status);
        refused(&bundle, "Bundle.entry[1].resource.status");
    }
    let mut validation = another(Uuid::new_v4());
    resource(&mut validation, "ServiceRequest")["category"][0]["coding"][0]["code"] = json!("validation");
    refused(&validation, "Bundle.entry[1].resource.category");
    let mut ruled = another(Uuid::new_v4());
    resource(&mut ruled, "AllergyIntolerance")["implicitRules"] = json!("https://x.example/rules");
    let place = ruled["entry"]
        .as_array()
        .expect("entries")
        .iter()
        .position(|entry| entry["resource"]["implicitRules"].is_string());
    refused(&ruled, &format!("Bundle.entry[{}].resource.implicitRules", place.expect("it is there")));
    let mut unsaid = another(Uuid::new_v4());
    resource(&mut unsaid, "ServiceRequest")["_doNotPerform"] = json!({ "extension": [{ "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked" }] });
    refused(&unsaid, "Bundle.entry[1].resource.doNotPerform");
    let mut prohibition = another(Uuid::new_v4());
    resource(&mut prohibition, "ServiceRequest")["doNotPerform"] = json!(true);
    refused(&prohibition, "Bundle.entry[1].resource.doNotPerform");
    for intent in ["proposal", "directive", "filler-order", "option", "wish"] {
        let mut bundle = another(Uuid::new_v4());
        resource(&mut bundle, "ServiceRequest")["intent"] = json!(intent);
        refused(&bundle, "Bundle.entry[1].resource.intent");
    }
    assert_eq!(list(&bench, "?all").len(), 0, "nothing of it is kept");
    let mut silent = another(Uuid::new_v4());
    resource(&mut silent, "ServiceRequest").as_object_mut().expect("an object").remove("intent");
    assert_eq!(told(&trust.send(&silent)).0, 422, "it does not conform");
    let mut draft = another(Uuid::new_v4());
    resource(&mut draft, "ServiceRequest")["status"] = json!("draft");
    assert_eq!(trust.send(&draft).status, StatusCode::OK);
    let mut order = another(Uuid::new_v4());
    resource(&mut order, "ServiceRequest")["intent"] = json!("order");
    resource(&mut order, "ServiceRequest")["doNotPerform"] = json!(false);
    assert_eq!(trust.send(&order).status, StatusCode::OK, "{}", told(&trust.send(&order)).1);
    assert_eq!(list(&bench, "").len(), 2);
    let site = bench.kill();
    let mut events = events(&site, "referral-refused");
    assert_eq!(events.len(), refusals + 1, "each is in the audit log");
    events.retain(|event| event.to_string().contains("not-a-new-referral"));
    assert_eq!(events.len(), refusals, "{events:#?}");
    verified(&site);
}

#[test]
fn what_was_refuted_ended_or_entered_in_error_says_so_in_the_record() {
    let bench = Bench::of(DemoSite::new());
    let mut bundle = sample();
    let verification = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification";
    resource(&mut bundle, "AllergyIntolerance")["verificationStatus"] =
        json!({ "coding": [{ "system": verification, "code": "refuted" }] });
    resource(&mut bundle, "MedicationStatement")["status"] = json!("entered-in-error");
    resource(&mut bundle, "Flag")["status"] = json!("inactive");
    let sent = Partner::trust(&bench.site).send(&bundle);
    assert_eq!(sent.status, StatusCode::OK, "{}", sent.json());
    let id = list(&bench, "")[0]["id"].as_str().expect("it has an id").to_owned();
    let record = bench.get(&format!("/inbound/{id}"), &[]).json()["record"].clone();
    assert_eq!(record["allergies"][0]["clinicalStatus"], "active", "{record:#}");
    assert_eq!(record["allergies"][0]["verificationStatus"], "refuted");
    assert_eq!(record["medications"][0]["status"], "entered-in-error");
    assert_eq!(record["concerns"][0]["status"], "inactive");
}

#[test]
fn what_a_refused_message_holds_is_told_to_its_sender_and_not_to_the_log() {
    let bench = Bench::of(DemoSite::new());
    let mut bundle = another(Uuid::new_v4());
    resource(&mut bundle, "Patient")["gender"] = json!("ChantalJones");
    let answer = Partner::trust(&bench.site).send(&bundle);
    assert_eq!(told(&answer).0, 422);
    assert!(answer.json().to_string().contains("ChantalJones"), "its sender is told: {}", answer.json());
    let bytes = bench.kill().stored_and_logged();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("a partner's message was not taken"), "the log says that it was refused");
    assert!(holds(".gender"), "and where");
    assert!(!holds("ChantalJones"), "and no value");
}

#[test]
fn referrals_keep_to_the_reserve_of_the_disk() {
    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    // More than any disk has.
    let reserve = "min_free_bytes = 1000000000000000\npayload_key =";
    fs::write(&file, text.replace("payload_key =", reserve)).expect("it is written");
    // It is not ready: it takes no records either.
    let gateway = Process::start(&mut site.serve(), site.path("gateway.log"));
    wait_for("the partners' side", || std::net::TcpStream::connect(site.partner_side()).is_ok());
    let trust = Partner::trust(&site);
    let answer = trust.send(&sample());
    assert_eq!(told(&answer), (503, "REC_SERVICE_UNAVAILABLE".to_owned(), "transient".to_owned()));
    assert!(answer.headers.contains_key("retry-after"), "{:?}", answer.headers);
    gateway.kill();
    let file_text = fs::read_to_string(&file).expect("it is there").replace(reserve, "payload_key =");
    fs::write(&file, file_text).expect("it is written");
    let bench = Bench::of(site);
    assert_eq!(list(&bench, "?all").len(), 0, "nothing of it was kept");
    assert_eq!(trust.send(&sample()).status, StatusCode::OK, "the same message is taken once there is room");
}

#[test]
fn the_message_is_given_as_it_came_and_the_newest_are_listed_first() {
    let bench = Bench::of(DemoSite::new());
    let trust = Partner::trust(&bench.site);
    let sent: Vec<Value> = (0..3).map(|_| another(Uuid::new_v4())).collect();
    for bundle in &sent {
        assert_eq!(trust.send(bundle).status, StatusCode::OK);
    }
    let order = |rows: &[Value]| rows.iter().map(|row| row["message"].clone()).collect::<Vec<_>>();
    let ids: Vec<Value> = sent.iter().map(|bundle| bundle["id"].clone()).collect();
    assert_eq!(order(&list(&bench, "")), ids, "those that wait: the oldest first");
    let all = list(&bench, "?all");
    assert_eq!(order(&all), ids.iter().rev().cloned().collect::<Vec<_>>(), "all: the newest first");
    let id = |row: &Value| row["id"].as_str().expect("it has an id").to_owned();
    let before = list(&bench, &format!("?all&before={}", id(&all[1])));
    assert_eq!(order(&before), ids[..1], "those that came before one");
    assert_eq!(bench.get(&format!("/inbound?all&before={}", Uuid::new_v4()), &[]).status, StatusCode::NOT_FOUND);
    assert_eq!(bench.get("/inbound?all&before=x", &[]).status, StatusCode::BAD_REQUEST);

    let path = format!("/inbound/{}/message", id(&all[0]));
    let message = bench.get(&path, &[]);
    assert_eq!(message.status, StatusCode::OK, "{}", message.json());
    assert_eq!(message.headers["content-type"], "application/fhir+json");
    assert_eq!(message.body, sent[2].to_string().as_bytes(), "byte for byte");
    let unknown = bench.get(&format!("/inbound/{}/message", Uuid::new_v4()), &[]);
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let site = bench.kill();
    let reads = events(&site, "access");
    let read = reads.iter().filter(|event| event.to_string().contains(&id(&all[0]))).count();
    assert_eq!(read, 1, "the read is in the audit log: {reads:#?}");
}

#[test]
fn nobody_reads_a_referral_without_the_role() {
    let bench = Bench::of(DemoSite::new());
    assert_eq!(Partner::trust(&bench.site).send(&sample()).status, StatusCode::OK);
    let id = list(&bench, "")[0]["id"].as_str().expect("it has an id").to_owned();
    let made = weir().args(["token", "--as", "demo-engineer", "--site"]).arg(bench.site.gateway_folder()).output();
    let token = String::from_utf8(made.expect("weir runs").stdout).expect("a token is text");
    let bearer = format!("Bearer {}", token.trim());
    let as_engineer = [("authorization", &*bearer)];
    for path in ["/inbound".to_owned(), format!("/inbound/{id}"), format!("/inbound/{id}/message")] {
        let answer = bench.get(&path, &as_engineer);
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.json().to_string().contains("read-inbound"), "{}", answer.json());
    }
    let answer = bench.post(&format!("/inbound/{id}/acknowledgement"), &as_engineer, "");
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(list(&bench, "").len(), 1, "it waits still");
    let unknown = bench.get(&format!("/inbound/{}", Uuid::new_v4()), &[]);
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[test]
fn what_was_answered_is_there_after_kill_9() {
    let site = DemoSite::new();
    let trust = Partner::trust(&site);
    let mut answered: Vec<String> = Vec::new();
    for round in 0..4 {
        let gateway = site.start_gateway();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150 + 70 * round));
            gateway.kill();
        });
        let mut id = Uuid::new_v4();
        let mut repeated = false;
        while let Ok(answer) =
            trust.try_exchange(Request::post("/FHIR/R4/$process-message"), another(id).to_string(), "DEMOT")
        {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
            answered.push(id.to_string());
            repeated = !repeated;
            // Every second one is sent twice.
            id = if repeated { id } else { Uuid::new_v4() };
        }
        killer.join().expect("it is killed");
    }
    answered.sort();
    answered.dedup();
    assert!(answered.len() >= 4, "{} were answered", answered.len());
    let bench = Bench::of(site);
    let mut kept: Vec<String> =
        list(&bench, "").iter().map(|row| row["message"].as_str().expect("an id").to_owned()).collect();
    kept.sort();
    let lost: Vec<&String> = answered.iter().filter(|id| kept.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "answered and lost: {lost:?}");
    let count = kept.len();
    kept.dedup();
    assert_eq!(kept.len(), count, "each is there once");
    let site = bench.kill();
    assert_eq!(events(&site, "referral-received").len(), count, "each with its event, and no event without one");
    verified(&site);
}

fn change(site: &DemoSite, file: &str, change: impl FnOnce(String) -> String) {
    let file = site.path(file);
    let text = fs::read_to_string(&file).expect("the file is there");
    fs::write(&file, change(text)).expect("it is written");
}

/// The notices in the spool folder, the first first.
fn spooled(site: &DemoSite) -> Vec<Value> {
    let Ok(files) = fs::read_dir(site.path("gateway/data/incidents")) else { return Vec::new() };
    let paths = files.map(|file| file.expect("it is listed").path());
    let whole = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    let read = |path| serde_json::from_slice::<Value>(&fs::read(path).expect("it is read")).expect("a notice is JSON");
    let mut notices: Vec<Value> = whole.map(read).collect();
    notices.sort_by_key(|notice| notice["opened"].as_str().unwrap_or_default().to_owned());
    notices
}

fn kinds(site: &DemoSite) -> Vec<String> {
    spooled(site).iter().map(|notice| notice["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

fn metrics(site: &DemoSite) -> String {
    http_get(site.operations(), "/metrics").expect("it answers").1
}

fn assert_metrics(site: &DemoSite, lines: &[&str]) {
    let told = metrics(site);
    for line in lines {
        assert!(told.lines().any(|own| own == *line), "{line}: {told}");
    }
}

#[test]
fn people_are_told_of_a_referral_that_nobody_collects_once_each_also_through_a_restart() {
    let site = DemoSite::new();
    let Some(boundaries) = Boundaries::of(&site) else { return };
    let (runtime, calls) = (tokio::runtime::Runtime::new().expect("a runtime starts"), Calls::default());
    let (port, ca) = webhook(&runtime, calls.clone());
    fs::write(site.path("gateway/pki/incident-ca.pem"), ca).expect("it can be written");
    change(&site, "gateway/weir.toml", |text| {
        format!(
            "{text}\n[interfaces.referral-in.collection]\ncollect_minutes = {{ urgent = 30, routine = 600 }}\n\
             near_due_minutes = 29.95\n\n[incidents]\ntrust_anchors = \"pki/incident-ca.pem\"\nfirst_retry_seconds = 1\n"
        )
    });
    name_webhook(&site, port);
    for by in ["demo-guardian", "demo-siro"] {
        let mut approve = weir();
        approve.args(["agreement", "approve", "demo-trust-crisis.toml", "--as", by, "--site"]);
        let approved = approve.arg(site.gateway_folder()).output().expect("weir runs");
        assert!(approved.status.success(), "{}", String::from_utf8_lossy(&approved.stderr));
    }
    let bench = Bench::of(site);
    let trust = Partner::trust(&bench.site);
    assert_eq!(trust.send(&sample()).status, StatusCode::OK);
    let id = list(&bench, "")[0]["id"].as_str().expect("it has an id").to_owned();
    let waits = [
        r#"weir_inbound_waiting{interface="referral-in",priority="urgent"} 1"#,
        r#"weir_inbound_waiting{interface="referral-in",priority="stat"} 0"#,
    ];
    assert_metrics(&bench.site, &waits);
    wait_for("people to be told that it is near", || kinds(&bench.site) == ["referral-near-due"]);
    let near = spooled(&bench.site)[0].clone();
    assert_eq!((&near["referral"], &near["message"]), (&id.as_str().into(), &sample()["id"]));
    assert_eq!((&near["sender"], &near["priority"]), (&"DEMOT".into(), &"urgent".into()));
    assert_eq!((&near["severity"], &near["agreement"]["id"]), (&"major".into(), &"demo-trust-crisis".into()));
    assert_eq!(near["contact"], "the IG lead", "along the route of the agreement with its sender");
    assert!(near["opened"].as_str() < near["collectBy"].as_str(), "{near}");
    let row = &list(&bench, "")[0];
    assert_eq!((&row["told"], &row["collectBy"]), (&"near-due".into(), &near["collectBy"]));
    wait_for("the webhook to be told", || calls.lock().expect("no panic").len() == 2);
    let told: Value = serde_json::from_str(&calls.lock().expect("no panic")[1].1).expect("it is JSON");
    assert_eq!((&told["kind"], &told["incident"]), (&near["kind"], &near["incident"]), "it was tried again");
    let log = fs::read_to_string(bench.site.path("gateway.log")).expect("the gateway logs");
    assert!(log.lines().any(|line| line.contains("people are to be told") && line.contains(&id)), "and the console");

    let site = bench.kill();
    boundaries.shift_clock(3600);
    let gateway = boundaries.start_gateway(&site);
    wait_for("people to be told that it is over", || kinds(&site).len() == 2);
    let over = spooled(&site)[1].clone();
    assert_eq!((&over["kind"], &over["severity"]), (&"referral-overdue".into(), &"critical".into()));
    assert!(over["opened"].as_str() >= over["collectBy"].as_str(), "{over}");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(kinds(&site).len(), 2, "once each");
    let over = [
        r#"weir_inbound_overdue{interface="referral-in",priority="urgent"} 1"#,
        r#"weir_inbound_alarms_total{interface="referral-in",what="overdue"} 1"#,
    ];
    assert_metrics(&site, &over);
    let age = metrics(&site);
    let label = "weir_inbound_oldest_seconds{interface=\"referral-in\",priority=\"urgent\"} ";
    let age = age.lines().find_map(|line| line.strip_prefix(label));
    assert!(age.and_then(|age| age.parse::<u64>().ok()).is_some_and(|age| (3600..7200).contains(&age)), "{age:?}");
    let ready = |site: &DemoSite| {
        let (_, text) = http_get(site.operations(), "/readyz").expect("it answers");
        serde_json::from_str::<Value>(&text).expect("it is JSON")["inbound"].clone()
    };
    let shown = ready(&site);
    assert_eq!((&shown["waiting"], &shown["overdue"]), (&1.into(), &1.into()), "{shown}");
    assert!(shown["oldest"].is_string(), "{shown}");
    wait_for("every notice to be noted", || metrics(&site).contains("weir_incident_notices_waiting 0"));
    gateway.kill();

    let bench = Bench::of(site);
    assert_eq!(list(&bench, "")[0]["told"], "overdue");
    assert_eq!(bench.post(&format!("/inbound/{id}/acknowledgement"), &[], "").status, StatusCode::OK);
    assert_eq!(ready(&bench.site), json!({ "waiting": 0, "overdue": 0, "oldest": null }));
    let collected = [
        r#"weir_inbound_waiting{interface="referral-in",priority="urgent"} 0"#,
        r#"weir_inbound_oldest_seconds{interface="referral-in",priority="urgent"} 0"#,
    ];
    assert_metrics(&bench.site, &collected);
    let site = bench.kill();
    let alarms = events(&site, "referral-alarm");
    assert_eq!(alarms.len(), 2, "{alarms:#?}");
    let hash = |event: &Value| {
        let entities = event["entity"].as_array().expect("entities");
        let patient = entities.iter().find(|it| it["what"]["type"] == "Patient").expect("it names whom it is about");
        patient["what"]["identifier"]["value"].clone()
    };
    let received = hash(&events(&site, "referral-received")[0]);
    assert!(alarms.iter().all(|event| hash(event) == received), "by keyed hash: {alarms:#?}");
    // Near: the webhook, the spool folder and the console. Over: the spool folder and the console.
    assert_eq!(events(&site, "incident-reported").len(), 5);
    let bytes =
        [site.stored_and_logged(), spooled(&site).iter().map(Value::to_string).collect::<String>().into()].concat();
    for personal in PERSONAL {
        assert!(!bytes.windows(personal.len()).any(|window| window == personal.as_bytes()), "`{personal}` is in clear");
    }
    verified(&site);
}

#[test]
fn a_clock_that_leaps_hides_no_referral_that_waits() {
    const DAY: i64 = 86_400;
    let site = DemoSite::new();
    let Some(boundaries) = Boundaries::of(&site) else { return };
    let trust = Partner::trust(&site);
    boundaries.shift_clock(DAY);
    let gateway = boundaries.start_gateway(&site);
    assert_eq!(trust.send(&sample()).status, StatusCode::OK);
    gateway.kill();
    assert_eq!(kinds(&site), [] as [&str; 0], "it has four hours");
    boundaries.shift_clock(0);
    let gateway = boundaries.start_gateway(&site);
    wait_for("people to be told that its time may be over", || kinds(&site) == ["referral-due-unknown"]);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(kinds(&site).len(), 1, "once");
    // Four hours after it was set back, and while it runs.
    boundaries.shift_clock(4 * 3600 + 60);
    wait_for("people to be told that it is over", || kinds(&site) == ["referral-due-unknown", "referral-overdue"]);
    gateway.kill();
    verified(&site);
}

fn database(site: &DemoSite) -> Connection {
    Connection::open(site.path("gateway/data/weir.sqlite3")).expect("there is a database")
}

/// As many as the store is asked for at a time are told of, and then those behind them.
#[test]
fn a_clock_that_was_set_back_hides_none_of_many_referrals() {
    let bench = Bench::of(DemoSite::new());
    assert_eq!(Partner::trust(&bench.site).send(&sample()).status, StatusCode::OK);
    let site = bench.kill();
    let database = database(&site);
    let ahead = "WITH RECURSIVE more (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM more WHERE number < 1100)
                 INSERT INTO inbound (id, sender, bundle, interface, digest, priority, received_at, due_at, alert_at, event)
                 SELECT randomblob(16), sender, randomblob(16), interface, digest, priority, received_at + 864000000,
                        due_at + 864000000, alert_at + 864000000, event FROM inbound, more";
    assert_eq!(database.execute(ahead, []), Ok(1100));
    let _gateway = site.start_gateway_quietly();
    let told = "SELECT count(*) FROM inbound WHERE told = 'due-unknown'";
    wait_for("people to be told of all", || database.query_row(told, [], |row| row.get::<_, i64>(0)) == Ok(1100));
}

#[test]
fn people_are_told_along_another_route_when_the_named_agreement_is_gone() {
    let site = DemoSite::new();
    change(&site, "gateway/weir.toml", |text| {
        format!(
            "{text}\n[interfaces.referral-in.collection]\ncollect_minutes = {{ urgent = 30, routine = 600 }}\n\
             near_due_minutes = 29.99\nescalation = \"demo-icb-crisis\"\n"
        )
    });
    let bench = Bench::of(site);
    fs::remove_file(bench.site.path("gateway/agreements/demo-icb-crisis.toml")).expect("it is there");
    let log = bench.site.path("gateway.log");
    let was_read = || fs::read_to_string(&log).is_ok_and(|log| log.contains("agreements taken over"));
    wait_for("it to be gone", was_read);
    assert_eq!(Partner::trust(&bench.site).send(&sample()).status, StatusCode::OK);
    wait_for("people to be told", || kinds(&bench.site) == ["referral-near-due"]);
    let near = &spooled(&bench.site)[0];
    assert_eq!((&near["agreement"]["id"], &near["contact"]), (&"demo-trust-crisis".into(), &"the IG lead".into()));
}

/// Found by flipping bits: nobody was told of any referral, for one whose sender could not be read.
#[test]
fn a_damaged_referral_is_told_of_and_hides_no_other() {
    let site = DemoSite::new();
    change(&site, "gateway/weir.toml", |text| {
        format!(
            "{text}\n[interfaces.referral-in.collection]\ncollect_minutes = {{ urgent = 30, routine = 600 }}\n\
             near_due_minutes = 29.99\n"
        )
    });
    let bench = Bench::of(site);
    let trust = Partner::trust(&bench.site);
    assert_eq!(trust.send(&sample()).status, StatusCode::OK);
    wait_for("people to be told", || kinds(&bench.site).len() == 1);
    let damage = "UPDATE inbound SET sender = lower(sender), alert_at = received_at";
    assert_eq!(database(&bench.site).execute(damage, []), Ok(1));
    assert_eq!(trust.send(&another(Uuid::new_v4())).status, StatusCode::OK);
    wait_for("people to be told of the other", || kinds(&bench.site).len() == 2);
    assert_metrics(&bench.site, &["weir_damaged_rows 1"]);
    let (status, ready) = http_get(bench.site.operations(), "/readyz").expect("it answers");
    let ready: Value = serde_json::from_str(&ready).expect("it is JSON");
    assert_eq!((status, &ready["damagedRows"]), (200, &1.into()), "{ready}");
    std::thread::sleep(Duration::from_millis(1200));
    let log = fs::read_to_string(bench.site.path("gateway.log")).expect("the gateway logs");
    let said = log.lines().filter(|line| line.contains("ERROR") && line.contains("a damaged row is left out"));
    let said: Vec<&str> = said.collect();
    assert!(said.len() == 1 && said[0].contains("inbound") && !log.contains("demot"), "once: {said:?}");
}

/// The record of an order to erase what is kept about the person of the sample, and whether nothing is kept that is needed.
fn erase(site: &DemoSite, more: &[&str]) -> (Value, bool) {
    let mut command = weir();
    command.args(["erase", "--subject", "-", "--format", "json", "--as", "demo-ig-lead"]).args(more).arg("--site");
    let child = command.arg(site.gateway_folder()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("weir runs");
    writeln!(child.stdin.take().expect("it is piped"), "999 000 5087").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (json_of(&output), output.status.success())
}

#[test]
fn an_order_to_erase_reaches_a_referral_that_was_collected_and_keeps_one_that_waits() {
    let bench = Bench::of(DemoSite::new());
    let trust = Partner::trust(&bench.site);
    let (collected, waits) = (sample(), another(Uuid::new_v4()));
    let mut of_another = another(Uuid::new_v4());
    resource(&mut of_another, "Patient")["identifier"][0]["value"] = json!("9990001014");
    let id = |bundle: &Value| {
        assert_eq!(trust.send(bundle).status, StatusCode::OK);
        let rows = list(&bench, "");
        let row = rows.iter().find(|row| row["message"] == bundle["id"]).expect("it is listed");
        row["id"].as_str().expect("it has an id").to_owned()
    };
    let (one, two, three) = (id(&collected), id(&waits), id(&of_another));
    for id in [&one, &three] {
        assert_eq!(bench.post(&format!("/inbound/{id}/acknowledgement"), &[], "").status, StatusCode::OK);
    }
    let ids = |list: &Value| -> Vec<String> {
        let all = list.as_array().expect("it is a list").iter();
        all.filter_map(|each| each["referral"].as_str().map(str::to_owned)).collect()
    };
    let (record, nothing_kept) = erase(&bench.site, &["--dry-run"]);
    assert_eq!((ids(&record["erased"]), ids(&record["kept"])), (vec![one.clone()], vec![two.clone()]), "{record}");
    let status = |id: &str| bench.get(&format!("/inbound/{id}/message"), &[]).status;
    assert!(!nothing_kept && status(&one) == StatusCode::OK, "nothing was erased");

    let (record, nothing_kept) = erase(&bench.site, &[]);
    assert_eq!(record["outcome"], "performed", "{record}");
    assert_eq!((ids(&record["erased"]), ids(&record["kept"])), (vec![one.clone()], vec![two.clone()]), "{record}");
    assert!(!nothing_kept && record["kept"].to_string().contains("collected"), "it says why: {record}");
    assert_eq!((&record["erased"][0]["sender"], &record["account"]["referrals"]), (&"DEMOT".into(), &2.into()));
    assert_eq!(record["recipients"]["ods"], json!([]), "nobody received it from us");
    assert_eq!(status(&one), StatusCode::NOT_FOUND);
    assert_eq!((status(&two), status(&three)), (StatusCode::OK, StatusCode::OK), "another's, and one that waits");
    let shown = bench.get(&format!("/inbound/{one}"), &[]).json();
    assert_eq!((&shown["record"], &shown["state"]), (&Value::Null, &"collected".into()), "its row stays");
    assert_eq!(trust.send(&collected).status, StatusCode::OK, "a repeat is answered as before");
    assert_eq!((status(&one), list(&bench, "?all").len()), (StatusCode::NOT_FOUND, 3), "and keeps nothing");

    assert_eq!(bench.post(&format!("/inbound/{two}/acknowledgement"), &[], "").status, StatusCode::OK);
    let (record, nothing_kept) = erase(&bench.site, &[]);
    assert!(nothing_kept && ids(&record["erased"]) == [two.clone()], "{record}");
    assert_eq!((status(&two), status(&three)), (StatusCode::NOT_FOUND, StatusCode::OK));
    let site = bench.kill();
    let erased = events(&site, "referral-erased");
    assert_eq!(erased.len(), 2, "{erased:#?}");
    let hash = record["subject"].as_str().expect("a hash");
    assert!(erased.iter().all(|event| event.to_string().contains(hash)), "by keyed hash: {erased:#?}");
    assert_eq!(events(&site, "subject-erased").len(), 2);
    verified(&site);
}

#[test]
fn what_a_referral_said_is_destroyed_with_its_key_when_it_was_collected() {
    const DAY: i64 = 86_400;
    let site = DemoSite::new();
    change(&site, "gateway/weir.toml", |text| {
        let bundle = "weir-inbound-referral-bundle\"\nretention_days = ";
        text.replace(&format!("{bundle}2922"), &format!("{bundle}1"))
    });
    let Some(boundaries) = Boundaries::of(&site) else { return };
    let bench = Bench::of(site);
    let trust = Partner::trust(&bench.site);
    assert_eq!(trust.send(&sample()).status, StatusCode::OK);
    let id = list(&bench, "")[0]["id"].as_str().expect("it has an id").to_owned();
    let site = bench.kill();
    boundaries.shift_clock(3 * DAY);
    let gateway = boundaries.start_gateway(&site);
    let log = site.path("gateway.log");
    let said = |text: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    wait_for("the gateway to see it", || said("retention has ended, but"));
    assert_eq!(events(&site, "envelope-destroyed"), Vec::<Value>::new(), "it waits: nobody else knows of it");
    gateway.kill();
    boundaries.shift_clock(0);
    let bench = Bench::of(site);
    assert_eq!(bench.post(&format!("/inbound/{id}/acknowledgement"), &[], "").status, StatusCode::OK);
    let site = bench.kill();
    boundaries.shift_clock(3 * DAY);
    let gateway = boundaries.start_gateway(&site);
    wait_for("the key to be destroyed", || !events(&site, "envelope-destroyed").is_empty());
    gateway.kill();
    verified(&site);
    let bench = Bench::of(site);
    let shown = bench.get(&format!("/inbound/{id}"), &[]).json();
    assert_eq!((&shown["record"], &shown["state"]), (&Value::Null, &"collected".into()));
    assert_eq!(bench.get(&format!("/inbound/{id}/message"), &[]).status, StatusCode::NOT_FOUND);
}

#[test]
fn a_clock_of_referrals_that_cannot_be_kept_is_found_before_it_is_used() {
    let site = DemoSite::new();
    change(&site, "gateway/weir.toml", |text| {
        format!(
            "{text}\n[interfaces.referral-in.collection]\ncollect_minutes = {{ stat = 0, soon = 5 }}\n\
             escalation = \"nobody\"\n\n[interfaces.crisis-escalation.collection]\n"
        )
    });
    let checked = weir().args(["config", "check", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert_eq!(checked.status.code(), Some(1));
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    for fault in [
        "referral-in.collection.collect_minutes has no routine",
        "collect_minutes.stat is out of range",
        "collect_minutes.soon is no priority of a request",
        "referral-in.collection.escalation names the agreement nobody, which is not there",
        "crisis-escalation.collection: nothing comes in over an interface whose direction is \"out\"",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
}

#[test]
fn what_is_taken_is_said_and_a_site_without_the_interface_takes_none() {
    let bench = Bench::of(DemoSite::new());
    let icb = Partner::icb(&bench.site);
    let receives = |partner: &Partner| -> Vec<String> {
        let statement = partner.get("/FHIR/R4/metadata");
        let all = statement["messaging"][0]["supportedMessage"].as_array().expect("it says what it takes").clone();
        let own = all.iter().filter(|one| one["mode"] == "receiver");
        let name = |one: &Value| one["definition"].as_str().and_then(|url| url.rsplit('/').next()).map(str::to_owned);
        own.filter_map(name).collect()
    };
    let (response, request) =
        ("bars-message-servicerequest-response-referral", "bars-message-servicerequest-request-referral");
    assert_eq!(receives(&icb), [response, request]);
    let path = format!("/FHIR/R4/MessageDefinition?context=https://fhir.nhs.uk/Id/dos-service-id%7C{SERVICE}");
    let defined = icb.get(&path);
    let events: Vec<&Value> = defined["entry"]
        .as_array()
        .expect("it has entries")
        .iter()
        .map(|entry| &entry["resource"]["eventCoding"]["code"])
        .collect();
    assert_eq!(events, ["servicerequest-response", "servicerequest-request"]);
    drop(bench);

    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    let from = text.find("[interfaces.referral-in]").expect("the demo takes referrals");
    let to = from + text[from..].find("\n\n").expect("the section ends");
    fs::write(&file, format!("{}{}", &text[..from], &text[to..])).expect("it is written");
    // The ICB is no partner of this one.
    for gone in [
        "gateway/partners/icb.toml",
        "gateway/agreements/demo-icb-crisis.toml",
        "gateway/agreements/demo-icb-reporting.toml",
    ] {
        fs::remove_file(site.path(gone)).expect("it is there");
    }
    // Nothing else leaves over the interface of the extract.
    let mut written: toml::Table =
        toml::from_str(&fs::read_to_string(&file).expect("it is there")).expect("it is TOML");
    let interfaces = written["interfaces"].as_table_mut().expect("there are interfaces");
    assert!(interfaces.remove("reporting-extract").is_some());
    fs::write(&file, toml::to_string(&written).expect("it is TOML")).expect("it is written");
    let bench = Bench::of(site);
    let trust = Partner::trust(&bench.site);
    assert_eq!(receives(&trust), [response]);
    assert_eq!(told(&trust.send(&sample())), (400, "REC_BAD_REQUEST".to_owned(), "not-supported".to_owned()));
    let icb = Partner::icb(&bench.site);
    assert_eq!(told(&icb.send(&sample())), (403, "REC_FORBIDDEN".to_owned(), "forbidden".to_owned()));
    assert_eq!(list(&bench, "?all").len(), 0);
}
