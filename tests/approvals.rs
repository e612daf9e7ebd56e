//! An agreement is used once the people whom it names have approved its file, and a changed one without a new start: the
//! built gateway, on real sockets.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::{DemoSite, http_get, wait_for, weir};
use uuid::Uuid;
use weir::cli::client::Client;
use weir::config::Endpoint;
use weir::identity::digest::{hex, sha_256};

const FILE: &str = "demo-trust-crisis.toml";
const SAMPLE: &str = "crisis-escalation-minimal.json";

fn approve(site: &DemoSite, by: &str) -> (bool, String) {
    let mut command = weir();
    command.args(["agreement", "approve", FILE, "--as", by, "--site"]).arg(site.gateway_folder());
    let done = command.output().expect("weir runs");
    (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
}

fn change(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("it is there");
    assert!(text.contains(from), "{from}");
    fs::write(file, text.replacen(from, to, 1)).expect("it is written");
}

#[test]
fn a_changed_file_is_used_once_two_people_have_approved_it_and_no_sooner() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    change(&site.gateway_folder().join("agreements").join(FILE), "retention_days = 2922", "retention_days = 2921");
    let gateway = site.start_gateway();
    let (answer, sent) = site.send(SAMPLE, &[]);
    assert!(!sent, "the approvals of the demonstration are of another file: {answer:?}");
    assert!(format!("{answer:?}").contains("not approved by"), "{answer:?}");

    let (approved, said) = approve(&site, "demo-auditor");
    assert!(!approved && said.contains("demo-auditor does not approve"), "{said}");
    assert!(approve(&site, "demo-guardian").0);
    std::thread::sleep(Duration::from_secs(1));
    let (answer, sent) = site.send(SAMPLE, &[]);
    assert!(!sent && format!("{answer:?}").contains("the siro (demo-siro)"), "{answer:?}");

    assert!(approve(&site, "demo-siro").0);
    let give_up = std::time::Instant::now() + Duration::from_secs(20);
    while !site.send(SAMPLE, &[]).1 {
        assert!(std::time::Instant::now() < give_up, "the gateway that runs does not see the approval");
        std::thread::sleep(Duration::from_millis(250));
    }
    assert_eq!(gateway.terminate(), Some(0));

    let again = site.start_gateway();
    assert!(site.send("crisis-escalation-complete.json", &[]).1, "approvals outlive the gateway");
    assert_eq!(again.terminate(), Some(0));
    let audit =
        weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).args(["--as", "demo-auditor"]).output();
    assert!(audit.expect("weir runs").status.success());
}

fn trust_file(site: &DemoSite) -> std::path::PathBuf {
    site.gateway_folder().join("agreements").join(FILE)
}

/// The events of a kind in the audit log, the oldest first.
fn events(site: &DemoSite, kind: &str) -> Vec<Value> {
    let read = site.audit_events().into_iter();
    let is_kind =
        |event: &Value| event["subtype"].as_array().is_some_and(|all| all.iter().any(|it| it["code"] == kind));
    read.filter(is_kind).collect()
}

/// The values of an entity's details of a name.
fn details<'e>(entity: &'e Value, name: &str) -> Vec<&'e str> {
    let all = entity["detail"].as_array().into_iter().flatten();
    all.filter(|detail| detail["type"] == name).filter_map(|detail| detail["valueString"].as_str()).collect()
}

/// The version that each event of a kind about a message names.
fn versions(site: &DemoSite, kind: &str, message: &str) -> Vec<String> {
    let events = events(site, kind);
    let about = events.iter().filter(|event| event.to_string().contains(&format!("urn:uuid:{message}")));
    let entities = about.flat_map(|event| event["entity"].as_array().expect("it has entities"));
    entities.flat_map(|entity| details(entity, "version")).map(str::to_owned).collect()
}

fn readiness(site: &DemoSite) -> Value {
    let (status, body) = http_get(site.operations(), "/readyz").expect("the gateway answers");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("it is JSON")
}

fn metric(site: &DemoSite, line: &str) -> bool {
    http_get(site.operations(), "/metrics").is_some_and(|(_, text)| text.lines().any(|each| each == line))
}

/// A record system: it submits the sample under a fresh key, and gives the message's id, or what was said against it.
struct Sender {
    endpoint: Endpoint,
    runtime: tokio::runtime::Runtime,
}

impl Sender {
    fn of(site: &DemoSite) -> Sender {
        Sender { endpoint: site.endpoint(), runtime: tokio::runtime::Runtime::new().expect("a runtime starts") }
    }

    fn submit(&self, site: &DemoSite) -> Result<String, Value> {
        let (key, record) = (Uuid::new_v4().to_string(), site.record(SAMPLE));
        let answer = self.runtime.block_on(async {
            let mut client = Client::connect(&self.endpoint).await.expect("the gateway answers");
            client.submit("crisis-escalation", Some(&key), record.into()).await.expect("the gateway answers")
        });
        answer.json()["message"].as_str().map(str::to_owned).ok_or_else(|| answer.json())
    }
}

fn assert_audit_verifies(site: &DemoSite) {
    let mut verify = weir();
    verify.args(["audit", "verify", "--as", "demo-auditor", "--site"]).arg(site.gateway_folder());
    let verified = verify.output().expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn an_edited_file_takes_effect_while_the_gateway_runs_and_what_is_on_its_way_keeps_its_version() {
    let site = DemoSite::new();
    let (gateway, sender) = (site.start_gateway(), Sender::of(&site));
    let in_force = || readiness(&site)["agreements"]["inForce"].as_u64().unwrap_or_default();
    let all = in_force();
    let before = sender.submit(&site).expect("it is accepted");
    let old = hex(&sha_256(&fs::read(trust_file(&site)).expect("it is there")));
    change(&trust_file(&site), "version = \"1\"", "version = \"2\"");
    let new = hex(&sha_256(&fs::read(trust_file(&site)).expect("it is there")));
    wait_for("the gateway to take the file over", || in_force() + 1 == all);
    let refused = sender.submit(&site).expect_err("nobody approved the new file");
    assert!(refused.to_string().contains("version 2 is not in force") && refused.to_string().contains("not approved"));
    assert!(approve(&site, "demo-guardian").0 && approve(&site, "demo-siro").0);
    let mut after = Err(Value::Null);
    wait_for("the approvals to count", || {
        after = sender.submit(&site);
        after.is_ok()
    });
    let after = after.expect("it is accepted");

    let changes = events(&site, "agreements-changed");
    let [event] = &changes[..] else { panic!("one change is one leaf: {changes:?}") };
    let said = |entity: &Value| {
        let detail = |name| details(entity, name).join(" ");
        (entity["what"]["identifier"]["value"].to_string(), detail("version"), detail("sha-256"), detail("change"))
    };
    let entities: Vec<_> = event["entity"].as_array().expect("it has entities").iter().map(said).collect();
    let row = |version: &str, hash, change: &str| ("\"demo-trust-crisis\"".into(), version.into(), hash, change.into());
    assert_eq!(entities, [row("1", old, "went"), row("2", new, "came")]);
    let _trust = site.start_partner("trust", &[]);
    wait_for("both messages to arrive", || site.inbox("trust").len() == 2);
    wait_for("both to be acknowledged", || {
        metric(&site, "weir_messages{recipient=\"DEMOT\",state=\"acknowledged\"} 2")
    });
    for (message, version) in [(&before, "1"), (&after, "2")] {
        assert_eq!(versions(&site, "message-accepted", message), [version]);
        assert_eq!(versions(&site, "state-transition", message), [version], "the disclosure names what it rests on");
    }
    assert_eq!(events(&site, "gateway-started").len(), 1);
    assert_eq!(gateway.terminate(), Some(0));
    assert_audit_verifies(&site);
}

#[test]
fn a_folder_with_a_fault_leaves_the_last_good_agreements_in_use_and_says_so() {
    let site = DemoSite::new();
    let (gateway, sender) = (site.start_gateway(), Sender::of(&site));
    assert_eq!(readiness(&site)["agreements"]["folder"], "used");
    // One file is withdrawn, another has a fault: the folder counts as a whole.
    let other = site.gateway_folder().join("agreements/draft.toml");
    let text = fs::read_to_string(trust_file(&site)).expect("it is there");
    change(&trust_file(&site), "status = \"active\"", "status = \"suspended\"");
    fs::write(&other, text.replace("\"birthDate\"", "\"birthDay\"")).expect("it is written");
    wait_for("the faults to be told", || readiness(&site)["agreements"]["faults"] != 0);
    let state = readiness(&site);
    assert!(state["agreements"]["folder"].to_string().contains("the last good agreements are used"), "{state}");
    let faults = state["agreements"]["faults"].as_u64().expect("a number");
    assert!(metric(&site, &format!("weir_agreement_faults {faults}")), "{state}");
    assert!(metric(&site, "weir_agreements_read_total{outcome=\"refused\"} 1"));
    let log = fs::read_to_string(site.path("gateway.log")).expect("there is a log");
    assert!(
        log.contains("has no element") && log.contains("birthDay") && log.contains("draft.toml:"),
        "the log says what"
    );
    assert!(log.contains("the last good ones are"), "and what is used");
    let message = sender.submit(&site).expect("the last good agreement is used");

    fs::remove_file(&other).expect("it is there");
    wait_for("the suspension to be taken over", || readiness(&site)["agreements"]["faults"] == 0);
    assert_eq!(readiness(&site)["agreements"]["folder"], "used");
    let refused = sender.submit(&site).expect_err("it is suspended").to_string();
    assert!(refused.contains("its status is suspended"), "{refused}");
    assert_eq!(versions(&site, "message-accepted", &message), ["1"]);
    let loaded = events(&site, "configuration-loaded");
    let refusals: Vec<&Value> = loaded.iter().filter(|event| event["outcome"] == "4").collect();
    let [refusal] = &refusals[..] else { panic!("the refused folder is one leaf: {loaded:?}") };
    let hash = hex(&sha_256(text.replace("\"birthDate\"", "\"birthDay\"").as_bytes()));
    assert!(
        details(&refusal["entity"][0], "sha-256").contains(&&*format!("{hash} agreements/draft.toml")),
        "{refusal}"
    );
    assert_eq!(details(&refusal["entity"][0], "reason"), ["agreements-have-faults"]);
    assert_eq!(gateway.terminate(), Some(0));
    assert_audit_verifies(&site);
}

#[test]
fn a_new_file_takes_the_place_of_an_ended_one_at_a_signal_and_a_removed_one_is_no_longer_used() {
    let site = DemoSite::new();
    let (gateway, sender) = (site.start_gateway(), Sender::of(&site));
    let text = fs::read_to_string(trust_file(&site)).expect("it is there");
    change(&trust_file(&site), "status = \"active\"", "status = \"ended\"");
    let new = site.gateway_folder().join("agreements/demo-trust-crisis-2.toml");
    fs::write(&new, text.replacen("version = \"1\"", "version = \"2\"", 1)).expect("it is written");
    gateway.signal("HUP");
    for by in ["demo-guardian", "demo-siro"] {
        let mut command = weir();
        command.args(["agreement", "approve", "demo-trust-crisis-2.toml", "--as", by, "--site"]);
        assert!(command.arg(site.gateway_folder()).output().expect("weir runs").status.success());
    }
    let mut accepted = Err(Value::Null);
    wait_for("version 2 to be used", || {
        accepted = sender.submit(&site);
        accepted.as_ref().is_ok_and(|message| versions(&site, "message-accepted", message) == ["2"])
    });
    fs::remove_file(&new).expect("it is there");
    gateway.signal("HUP");
    let mut refused = Ok(String::new());
    wait_for("the removed file not to be used", || {
        refused = sender.submit(&site);
        refused.is_err()
    });
    assert!(refused.expect_err("it is refused").to_string().contains("its status is ended"));
    assert_eq!(gateway.terminate(), Some(0));
    assert_audit_verifies(&site);
}

/// `weir agreement approvals` of the agreement with the Trust.
fn approvals(site: &DemoSite, by: &str) -> (Vec<Value>, Option<i32>) {
    let mut command = weir();
    command.args(["agreement", "approvals", "demo-trust-crisis", "--format", "json", "--as", by, "--site"]);
    let shown = command.arg(site.gateway_folder()).output().expect("weir runs");
    let values = serde_json::Deserializer::from_slice(&shown.stdout).into_iter::<Value>();
    (values.collect::<Result<_, _>>().expect("it prints JSON"), shown.status.code())
}

/// The roles whose approval an agreement has, and whether each is counted; and those that are missing.
fn standing(shown: &Value) -> (Vec<(&str, bool)>, Vec<&str>) {
    let rows = |name: &str| shown[name].as_array().expect("a list").iter();
    let role = |row: &Value| row["role"].as_str().map(str::to_owned);
    assert!(rows("approvals").all(|row| role(row).is_some() && row["at"].is_string() && row["by"].is_string()));
    let given = rows("approvals").map(|row| (row["role"].as_str().expect("a role"), row["counted"] == true));
    (given.collect(), rows("missing").filter_map(|row| row["role"].as_str()).collect())
}

#[test]
fn who_has_approved_is_shown_and_nobody_is_asked_for_twice() {
    let site = DemoSite::new();
    let first = site.start_gateway();
    wait_for("the demonstration's approvals to count", || approvals(&site, "demo-auditor").0[0]["inForce"] == true);
    assert_eq!(first.terminate(), Some(0));
    change(&trust_file(&site), "version = \"1\"", "version = \"2\"");
    let approve = |by: &str| {
        let mut command = weir();
        command.args(["agreement", "approve", FILE, "--as", by, "--site"]).arg(site.gateway_folder());
        let said = String::from_utf8(command.output().expect("weir runs").stdout).expect("it is text");
        said.lines().last().expect("it says something").to_owned()
    };
    let hash = hex(&sha_256(&fs::read(trust_file(&site)).expect("it is there")));
    let (guardian, siro) = ("caldicott_guardian", "siro");
    let check = |given: &[(&str, bool)], missing: &[&str], in_force: bool| {
        let (shown, code) = approvals(&site, "demo-auditor");
        assert_eq!((shown.len(), code), (2, Some(0)), "this version and the one before: {shown:?}");
        assert_eq!(standing(&shown[0]), (given.to_vec(), missing.to_vec()));
        assert_eq!((&shown[0]["version"], &shown[0]["sha256"]), (&"2".into(), &(&*hash).into()));
        assert_eq!(shown[0]["inForce"], in_force, "{}", shown[0]);
        assert_eq!((&shown[1]["version"], &shown[1]["inForce"]), (&"1".into(), &false.into()));
        assert_eq!(standing(&shown[1]), (vec![(guardian, true), (siro, true)], vec![]));
    };
    check(&[], &[guardian, siro], false);
    assert_eq!(approve("demo-siro"), "it takes effect once caldicott_guardian (demo-guardian) approved it too");
    check(&[(siro, false)], &[guardian], false);
    // What is only signed with another key is not handed in.
    let acts = site.path("gateway/data/acts");
    let waits = fs::read_dir(&acts).expect("it is there").map(|entry| entry.expect("it is read").path());
    let waits: Vec<_> = waits.filter(|path| path.extension().is_some_and(|end| end == "jws")).collect();
    let texts = waits.iter().map(|path| fs::read_to_string(path).expect("it is read"));
    let signed = texts.max_by_key(String::len).expect("the approval is the longest that waits");
    fs::write(acts.join("00000000-0000-7000-8000-000000000000.jws"), signed.replacen('.', ".e30", 1)).expect("written");
    check(&[(siro, false)], &[guardian], false);
    assert_eq!(approve("demo-guardian"), "everyone whom it names has approved it");
    check(&[(guardian, false), (siro, false)], &[], false);

    let gateway = site.start_gateway();
    wait_for("the approvals to count", || approvals(&site, "demo-auditor").0[0]["inForce"] == true);
    check(&[(guardian, true), (siro, true)], &[], true);
    let (shown, code) = approvals(&site, "demo-records");
    assert!(shown.is_empty() && code == Some(2), "a system without a key acts as nobody");
    assert_eq!(gateway.terminate(), Some(0));
}
