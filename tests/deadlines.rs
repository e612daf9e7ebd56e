//! The clock of the clinical priority, over the built gateway and real sockets: as a deadline nears, a message goes over
//! the partner's next route with the same ids; then people are told along the agreement's route, and the message says so.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use support::{DemoSite, Process, http_get, nobody, wait_for, weir};

const RECORD: &str = "crisis-escalation-minimal.json";

/// Gives messages of every priority so many seconds.
fn give(site: &DemoSite, seconds: f64) {
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    let minutes = seconds / 60.0;
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some((priority @ ("stat" | "asap" | "urgent" | "routine"), _)) => format!("{priority} = {minutes}"),
        _ => line.to_owned(),
    });
    fs::write(&file, lines.collect::<Vec<_>>().join("\n")).expect("it is written");
}

fn partner_file(site: &DemoSite, change: impl FnOnce(String) -> String) {
    let file = site.path("gateway/partners/trust.toml");
    let text = fs::read_to_string(&file).expect("the partner has a file");
    fs::write(&file, change(text)).expect("it is written");
}

/// Submits the sample and does not wait; its id.
fn submit(site: &DemoSite) -> String {
    let (sent, _) = site.send(RECORD, &["--wait-seconds", "0"]);
    sent["message"].as_str().unwrap_or_else(|| panic!("it is accepted: {sent}")).to_owned()
}

fn show(site: &DemoSite, id: &str) -> Value {
    let mut command = weir();
    command.args(["messages", "show", id, "--format", "json", "--site"]).arg(site.gateway_folder());
    support::json_of(&command.output().expect("weir runs"))
}

/// The alarms of a message: the route that it was moved to, and what people were told.
fn alarms(shown: &Value) -> Vec<String> {
    let steps = shown["steps"].as_array().expect("it shows the steps");
    let alarms = steps.iter().filter(|step| step["kind"] == "delivery-alarm");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    alarms.map(|step| format!("{}{}", text(&step["route"]), text(&step["reason"]))).collect()
}

/// The notices that lie in the site's spool folder.
fn spooled(site: &DemoSite) -> Vec<Value> {
    let Ok(files) = fs::read_dir(site.path("gateway/data/incidents")) else { return Vec::new() };
    let read = |path| serde_json::from_slice(&fs::read(path).expect("it is readable")).expect("a notice is JSON");
    let json =
        files.map(|file| file.expect("a file").path()).filter(|path| path.extension().is_some_and(|it| it == "json"));
    json.map(read).collect()
}

fn ends_well(site: &DemoSite, gateway: Process) {
    assert_eq!(gateway.terminate(), Some(0));
    let verified = weir().args(["audit", "verify", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_message_goes_over_the_next_route_when_its_deadline_nears() {
    let site = DemoSite::new();
    give(&site, 8.0);
    // The first route leads nowhere; the second to the Trust, under the same name.
    partner_file(&site, |text| {
        let address = text.split("connect = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
        let endpoint = text.lines().find(|line| line.starts_with("endpoint")).expect("an endpoint");
        let next = format!("[[next_routes]]\n{endpoint}\nconnect = \"{address}\"\n");
        text.replace(&format!("connect = \"{address}\""), &format!("connect = \"{}\"", nobody())) + &next
    });
    let trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    let id = submit(&site);
    wait_for("the message", || show(&site, &id)["state"] == "acknowledged");
    let shown = show(&site, &id);
    assert_eq!((&shown["route"], alarms(&shown)), (&1.into(), vec!["1".to_owned()]), "{shown}");
    assert!(shown["attempts"].as_u64() > Some(1), "it was tried over the first route before: {shown}");
    assert_eq!((&shown["notices"], spooled(&site).len()), (&Value::Array(vec![]), 0), "nobody has to be told");
    let arrivals = site.arrivals("trust");
    assert_eq!((arrivals.len(), &arrivals[0]["request"]), (1, &Value::String(id)));
    let metrics = http_get(site.operations(), "/metrics").expect("it answers").1;
    let counted = r#"weir_delivery_alarms_total{recipient="DEMOT",what="next-route"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    trust.kill();
    ends_well(&site, gateway);
}

#[test]
fn people_are_told_before_and_at_the_deadline_and_the_message_still_arrives() {
    let site = DemoSite::new();
    give(&site, 6.0);
    let gateway = site.start_gateway();
    let id = submit(&site);
    wait_for("people to be told twice", || spooled(&site).len() == 2);
    let notices = spooled(&site);
    let told = |kind: &str| notices.iter().find(|notice| notice["kind"] == kind).expect("it was told").clone();
    let (near, missed) = (told("delivery-deadline-near"), told("delivery-deadline-missed"));
    assert_eq!((&near["message"], &near["recipient"]), (&id.as_str().into(), &"DEMOT".into()));
    assert!(near["opened"].as_str() < near["deadlineAt"].as_str(), "before the deadline: {near}");
    assert!(missed["opened"].as_str() >= missed["deadlineAt"].as_str(), "at the deadline: {missed}");
    assert_eq!((&missed["severity"], &missed["state"]), (&"critical".into(), &"queued".into()));
    assert!(missed["contact"].as_str().is_some_and(|contact| contact.contains("Caldicott guardian")), "{missed}");
    wait_for("the notices to be noted", || {
        let shown = show(&site, &id);
        let notices = shown["notices"].as_array().expect("it shows them").clone();
        notices.len() == 4 && notices.iter().all(|notice| notice["deliveredAt"].is_string())
    });
    let shown = show(&site, &id);
    assert_eq!(alarms(&shown), ["deadline-near", "deadline-missed"]);
    let log = fs::read_to_string(site.path("gateway.log")).expect("the gateway logs");
    let lines = log.lines().filter(|line| line.contains("people are to be told") && line.contains(&id));
    assert_eq!(lines.count(), 2, "the console says so too");
    let trust = site.start_partner("trust", &[]);
    wait_for("the message", || show(&site, &id)["state"] == "acknowledged");
    assert_eq!(spooled(&site).len(), 2, "nobody is told again");
    trust.kill();
    ends_well(&site, gateway);
}

#[test]
fn people_are_told_while_a_partner_that_never_answers_holds_the_attempt() {
    let site = DemoSite::new();
    give(&site, 4.0);
    partner_file(&site, |text| text.replace("attempt_timeout_seconds = 10", "attempt_timeout_seconds = 600"));
    let _trust = site.start_partner("trust", &["slow:3600000"]);
    let _gateway = site.start_gateway();
    let id = submit(&site);
    wait_for("people to be told twice", || spooled(&site).len() == 2);
    assert_eq!(show(&site, &id)["state"], "in-flight");
    assert!(spooled(&site).iter().all(|notice| notice["state"] == "in-flight"));
}

#[test]
fn a_message_that_is_refused_is_told_of_at_once() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &["reject"]);
    let gateway = site.start_gateway();
    let id = submit(&site);
    wait_for("people to be told", || spooled(&site).len() == 1);
    let notice = &spooled(&site)[0];
    assert_eq!((&notice["kind"], &notice["message"]), (&"delivery-refused".into(), &id.as_str().into()));
    let shown = show(&site, &id);
    assert_eq!((&shown["state"], alarms(&shown)), (&"refused".into(), vec!["refused".to_owned()]));
    let note = shown["note"].as_str().expect("it has a note");
    assert!(note.contains("refused it with 422") && note.ends_with("; people told: refused"), "{note}");
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(spooled(&site).len(), 1, "once");
    ends_well(&site, gateway);
}

fn database(site: &DemoSite) -> Connection {
    Connection::open(site.path("gateway/data/weir.sqlite3")).expect("there is a database")
}

fn log(site: &DemoSite) -> String {
    fs::read_to_string(site.path("gateway.log")).expect("the gateway logs")
}

/// The event by which a message was accepted says whom it is about: without it the message goes its way, and people are told all the same.
#[test]
fn a_damaged_event_holds_up_neither_its_message_nor_an_alarm_nor_another_message() {
    let site = DemoSite::new();
    give(&site, 6.0);
    partner_file(&site, |text| format!("max_concurrent = 1\n{text}"));
    let gateway = site.start_gateway();
    let (first, _) = site.send(RECORD, &["--wait-seconds", "0", "--key", "one"]);
    let (second, _) = site.send(RECORD, &["--wait-seconds", "0", "--key", "two"]);
    assert!(first["message"].is_string() && second["message"].is_string() && first != second, "{first} {second}");
    let damage = "PRAGMA ignore_check_constraints = ON; UPDATE events SET leaf = x'00' WHERE seq = \
                  (SELECT min(seq) FROM events WHERE message IS NOT NULL)";
    database(&site).execute_batch(damage).expect("it is damaged");
    let told = |kind: &str| spooled(&site).iter().filter(|notice| notice["kind"] == kind).count();
    wait_for("people to be told of both", || told("delivery-deadline-near") == 2);
    assert_eq!(gateway.terminate(), Some(0));
    let gateway = site.start_gateway();
    let trust = site.start_partner("trust", &[]);
    wait_for("both messages", || site.inbox("trust").len() == 2);
    let state = "SELECT count(*) FROM messages WHERE state = 'acknowledged'";
    wait_for("both to be acknowledged", || database(&site).query_row(state, [], |row| row.get(0)) == Ok(2));
    assert!(log(&site).contains("a damaged row is left out"), "people are told of the damage");
    trust.kill();
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn a_message_that_is_sent_again_by_hand_goes_over_a_route_that_there_is() {
    let site = DemoSite::new();
    let trust = site.start_partner("trust", &["reject"]);
    let gateway = site.start_gateway();
    let id = submit(&site);
    wait_for("the message to be refused", || show(&site, &id)["state"] == "refused");
    trust.kill();
    assert_eq!(gateway.terminate(), Some(0));
    // It had been moved to a second route, which the partner's file had then.
    assert_eq!(database(&site).execute("UPDATE messages SET route = 1", []), Ok(1));
    let gateway = site.start_gateway();
    let trust = site.start_partner("trust", &[]);
    let mut retry = weir();
    retry.args(["messages", "retry", &id, "--why", "settings-fixed", "--as", "demo-owner", "--site"]);
    assert!(retry.arg(site.gateway_folder()).output().expect("weir runs").status.success());
    wait_for("the message", || show(&site, &id)["state"] == "acknowledged");
    trust.kill();
    ends_well(&site, gateway);
}

#[test]
fn messages_that_wait_for_a_partner_without_a_file_are_told_of_at_the_start() {
    let site = DemoSite::new();
    let gateway = site.start_gateway();
    submit(&site);
    assert_eq!(gateway.terminate(), Some(0));
    assert_eq!(database(&site).execute("UPDATE messages SET recipient = 'GONE1'", []), Ok(1));
    let gateway = site.start_gateway();
    let log = log(&site);
    let told =
        log.lines().filter(|line| line.contains("ERROR") && line.contains("wait for a partner that has no file"));
    let told: Vec<&str> = told.collect();
    assert!(told.len() == 1 && told[0].contains("GONE1"), "{told:?}");
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn a_message_of_an_interface_that_says_nothing_has_a_deadline() {
    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    let is_deadline = |line: &&str| {
        line.ends_with(".deadline_minutes]")
            || ["stat = ", "asap = ", "urgent = ", "routine = "].iter().any(|start| line.starts_with(start))
    };
    let without: Vec<&str> = text.lines().filter(|line| !is_deadline(line)).collect();
    fs::write(&file, without.join("\n")).expect("it is written");
    let _gateway = site.start_gateway();
    let id = submit(&site);
    let shown =
        weir().args(["messages", "show", &id, "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    let shown = String::from_utf8_lossy(&shown.stdout);
    let deadlines = shown.lines().filter(|line| line.starts_with("deadline ")).count();
    assert_eq!(deadlines, 1, "{shown}");
}

#[test]
fn a_deadline_that_cannot_be_kept_is_found_before_it_is_used() {
    let site = DemoSite::new();
    let file = site.path("gateway/weir.toml");
    let text = fs::read_to_string(&file).expect("the site has a weir.toml");
    fs::write(&file, text.replace("stat = 15", "stat = 0\nemergency = 5\n")).expect("it is written");
    let checked = weir().args(["config", "check", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    assert_eq!(checked.status.code(), Some(1));
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    for fault in ["deadline_minutes.emergency is no priority of a request", "deadline_minutes.stat is out of range"] {
        assert!(said.contains(fault), "{said}");
    }
}
