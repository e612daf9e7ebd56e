//! What ends: contents whose retention is over, and those that a person has erased, over the built program. What stays is the
//! account of what was disclosed, and it verifies.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]
#![allow(clippy::print_stderr, reason = "a test that tests nothing says so")]

mod support;
#[path = "support/boundary.rs"]
mod boundary;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use boundary::Boundaries;
use serde_json::Value;
use support::{DemoSite, json_of, wait_for, weir};

/// The person of the complete sample.
const SUBJECT: &str = "9990001014";
const SAMPLE: &str = "crisis-escalation-complete.json";
const AGREEMENT: &str = "demo-trust-crisis.toml";
const DAY: i64 = 86_400;

fn at(site: &DemoSite, arguments: &[&str]) -> Command {
    let mut command = weir();
    command.args(arguments).arg("--site").arg(site.gateway_folder());
    command
}

fn ran(site: &DemoSite, arguments: &[&str]) -> Output {
    at(site, arguments).output().expect("weir runs")
}

/// The record of an order to erase, and whether nothing is kept that is still needed.
fn erase(site: &DemoSite, more: &[&str]) -> (Value, bool) {
    let fixed = ["erase", "--subject", "-", "--format", "json", "--as", "demo-ig-lead"];
    let mut command = at(site, &[&fixed, more].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("weir runs");
    writeln!(child.stdin.take().expect("it is piped"), "999 000 1014").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(!String::from_utf8_lossy(&output.stdout).contains(SUBJECT), "the person is named by keyed hash alone");
    (json_of(&output), output.status.success())
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().expect("it is a list").iter().filter_map(|each| each["message"].as_str()).collect()
}

fn assert_verified(site: &DemoSite) {
    let output = ran(site, &["audit", "verify", "--as", "demo-auditor"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Events of a kind, as FHIR.
fn events(site: &DemoSite, kind: &str) -> Vec<Value> {
    let of_kind =
        |event: &Value| event["subtype"].as_array().is_some_and(|all| all.iter().any(|it| it["code"] == kind));
    site.audit_events().into_iter().filter(of_kind).collect()
}

/// Whether what is known of a message still shows its lineage, and its Provenance.
fn explained(site: &DemoSite, message: &str) -> (bool, bool) {
    let shown = |more: &[&str]| {
        let output = ran(site, &[&["explain", message, "--as", "demo-auditor"], more].concat());
        output.status.success() && !output.stdout.is_empty()
    };
    (shown(&[]), shown(&["--provenance"]))
}

fn contains(folder: &Path, text: &str) -> bool {
    let entries = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("an entry").path());
    entries.into_iter().any(|path| match path.is_dir() {
        true => contains(&path, text),
        false => fs::read(path).expect("it is read").windows(text.len()).any(|window| window == text.as_bytes()),
    })
}

#[test]
fn an_order_to_erase_is_answered_with_what_was_erased_and_what_is_kept_and_why() {
    let site = DemoSite::new();
    let trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    let (sent, arrived) = site.send(SAMPLE, &[]);
    let message = sent["message"].as_str().expect("it has an id").to_owned();
    assert!(arrived, "{sent}");
    assert!(site.send("crisis-escalation-minimal.json", &[]).1, "a message about somebody else");
    assert_eq!(explained(&site, &message), (true, true));

    let (record, nothing_kept) = erase(&site, &["--dry-run"]);
    assert!(nothing_kept && record["outcome"] == "dry-run" && ids(&record["erased"]) == [&*message], "{record}");
    assert_eq!(explained(&site, &message), (true, true), "nothing was erased");

    trust.kill();
    let key = "0b9ae3f2-6d5e-4f0a-8f3e-2f4d1c1f9a77";
    let (waits, arrived) = site.send(SAMPLE, &["--key", key, "--wait-seconds", "1"]);
    let waits = waits["message"].as_str().expect("it has an id").to_owned();
    assert!(!arrived, "its partner is not there");
    let (record, nothing_kept) = erase(&site, &[]);
    assert_eq!(
        (record["outcome"].as_str(), &*ids(&record["erased"])),
        (Some("performed"), &[&*message][..]),
        "{record}"
    );
    assert_eq!((&*ids(&record["kept"]), nothing_kept), (&[&*waits][..], false), "{record}");
    assert_eq!(record["recipients"]["ods"], serde_json::json!(["DEMOT"]), "{record}");
    assert!(record["copies"].as_str().is_some_and(|text| text.contains("backups")), "{record}");
    assert_eq!(explained(&site, &message), (false, true), "the Provenance stays");
    let [ordered] = &events(&site, "subject-erased")[..] else { panic!("there is one") };
    assert!(ordered.to_string().contains(record["subject"].as_str().expect("a hash")), "{ordered}");
    assert_eq!(events(&site, "message-erased").len(), 1);
    assert!(!contains(&site.path("gateway/data"), SUBJECT), "no file names the person");

    let denied = at(&site, &["erase", "--subject", SUBJECT, "--as", "demo-auditor"]).output().expect("weir runs");
    let said = String::from_utf8_lossy(&denied.stderr);
    assert!(denied.status.code() == Some(1) && said.contains("demo-ig-lead"), "it says who may: {said}");
    let wrong = at(&site, &["erase", "--subject", "9990001015", "--as", "demo-ig-lead"]).output().expect("weir runs");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(wrong.status.code() == Some(2) && said.contains("check digit") && !said.contains("9990001015"), "{said}");
    assert_verified(&site);
    assert_eq!(gateway.terminate(), Some(0));
    assert_verified(&site);
}

/// A site whose agreement keeps what was sent for one day, at which a message arrived; gives it.
fn site_with_a_day() -> (DemoSite, String) {
    let site = DemoSite::new();
    let file = site.gateway_folder().join("agreements").join(AGREEMENT);
    let text = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, text.replace("retention_days = 2922", "retention_days = 1")).expect("it is written");
    for by in ["demo-guardian", "demo-siro"] {
        let output = ran(&site, &["agreement", "approve", AGREEMENT, "--as", by]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    let (sent, arrived) = site.send(SAMPLE, &[]);
    assert!(arrived, "{sent}");
    assert_eq!(gateway.terminate(), Some(0));
    (site, sent["message"].as_str().expect("it has an id").to_owned())
}

#[test]
fn what_an_agreement_retains_no_longer_is_destroyed_with_its_key() {
    let (site, message) = site_with_a_day();
    let Some(boundaries) = Boundaries::of(&site) else { return };
    assert_eq!(explained(&site, &message), (true, true));
    boundaries.shift_clock(3 * DAY);
    let gateway = boundaries.start_gateway(&site);
    wait_for("the key to be destroyed", || !events(&site, "envelope-destroyed").is_empty());
    assert_eq!(explained(&site, &message), (false, true), "the Provenance stays");
    let [destroyed] = &events(&site, "envelope-destroyed")[..] else { panic!("there is one") };
    assert!(destroyed.to_string().contains("demo-trust-crisis"), "{destroyed}");
    assert_verified(&site);
    assert_eq!(gateway.terminate(), Some(0));
    assert_verified(&site);
    let shown = ran(&site, &["messages", "show", &message, "--as", "demo-auditor"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("acknowledged"), "what became of it is still known");
}

#[test]
fn a_clock_that_leapt_destroys_nothing() {
    let (site, message) = site_with_a_day();
    let Some(boundaries) = Boundaries::of(&site) else { return };
    boundaries.shift_clock(40 * DAY);
    let gateway = boundaries.start_gateway(&site);
    let log = site.path("gateway.log");
    wait_for("it to say that it does not believe the clock", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("no key is destroyed whose retention has ended"))
    });
    assert_eq!(events(&site, "envelope-destroyed"), Vec::<Value>::new());
    assert_eq!(explained(&site, &message), (true, true));
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn a_command_may_supply_the_sites_key() {
    let site = DemoSite::new();
    let file = site.gateway_folder().join("weir.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    let (by_file, by_command) =
        ("payload_key = \"pki/payload.key\"", "payload_key_command = [\"cat\", \"pki/kept-elsewhere\"]");
    assert!(text.contains(by_file));
    fs::write(&file, text.replace(by_file, by_command)).expect("it is written");
    let none = ran(&site, &["config", "check"]);
    let said = [none.stdout, none.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        !none.status.success() && said.contains("storage.payload_key_command: it ended with exit status: 1"),
        "{said}"
    );
    fs::rename(site.path("gateway/pki/payload.key"), site.path("gateway/pki/kept-elsewhere")).expect("it moves");
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    let (sent, arrived) = site.send(SAMPLE, &[]);
    assert!(arrived, "{sent}");
    assert_eq!(gateway.terminate(), Some(0));
}
