//! `weir batch`: the rows of a CSV file, end to end with the built program.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;
#[path = "support/ways_in.rs"]
mod ways_in;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{DemoSite, json_of, wait_for, weir};

fn batch(site: &DemoSite, file: &Path, more: &[&str]) -> Command {
    let mut command = weir();
    command.args(["batch", "--format", "json", "--interface", "crisis-escalation", "--site"]);
    command.arg(site.gateway_folder()).arg(file).args(more);
    command
}

fn run(site: &DemoSite, file: &Path, more: &[&str]) -> Output {
    batch(site, file, more).output().expect("weir runs")
}

/// The lines of a report about rows, by row; of two about one row the later.
fn report(file: &Path) -> BTreeMap<u64, Value> {
    let text = fs::read_to_string(file).expect("there is a report");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    lines.filter_map(|line| Some((line["row"].as_u64()?, line))).collect()
}

fn report_of(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A file of so many good rows, with a byte-order mark and CR LF.
fn rows(site: &DemoSite, name: &str, count: u32) -> PathBuf {
    let sample = String::from_utf8(ways_in::sample("escalations.csv")).expect("it is text");
    let (header, rest) = sample.split_once("\r\n").expect("it has a header");
    let row = rest.split("\r\n").next().expect("it has a row");
    let rows = (1..=count).map(|number| row.replace("CE-2026-000701", &format!("CE-2026-9{number:05}")) + "\r\n");
    let file = site.path(name);
    fs::write(&file, header.to_owned() + "\r\n" + &rows.collect::<String>()).expect("it is written");
    file
}

#[test]
fn good_rows_arrive_bad_ones_are_reported_by_column_and_a_rerun_skips_what_is_done() {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let _gateway = site.start_gateway();
    let file = site.path("escalations.csv");
    fs::write(&file, ways_in::sample("escalations.csv")).expect("it is written");

    let dry = run(&site, &file, &["--dry-run"]);
    assert_eq!((dry.status.code(), &json_of(&dry)["done"]), (Some(1), &2.into()));
    let dry = report(&report_of(&file, ".dry-run.ndjson"));
    assert_eq!(dry[&3]["issues"][0]["column"], "person.birthDate");
    assert!(site.inbox("trust").is_empty(), "a dry run sends nothing");

    let first = run(&site, &file, &[]);
    let said = json_of(&first);
    assert_eq!((first.status.code(), &said["done"], &said["failed"]), (Some(1), &2.into(), &3.into()), "{said}");
    let path = report_of(&file, ".report.ndjson");
    let lines = report(&path);
    let outcomes: Vec<&str> = lines.values().map(|line| line["outcome"].as_str().expect("it has one")).collect();
    assert_eq!(outcomes, ["accepted", "refused", "refused", "unreadable", "accepted"]);
    let places: Vec<u64> = lines.values().map(|line| line["line"].as_u64().expect("it has one")).collect();
    assert_eq!(places, [2, 3, 5, 6, 7], "a row may have several lines");
    assert_eq!(
        (&lines[&2]["status"], &lines[&2]["issues"][0]["path"]),
        (&422.into(), &"currentRisks[1].summary".into())
    );
    assert!(lines[&4]["issues"][0]["text"].as_str().is_some_and(|text| text.contains("28 cells")));
    let text = fs::read_to_string(&path).expect("it is there");
    for value in ["yesterday", "Testperson", "Said", "P-1007"] {
        assert!(!text.contains(value), "the report holds {value}");
    }
    wait_for("both to arrive", || site.inbox("trust").len() == 2);
    let bundles: String = site.inbox("trust").into_iter().map(|(_, text)| text).collect();
    assert!(bundles.contains("Number1") && bundles.contains("Number5"));

    // The same command goes on; the record of a row is the one that it is in JSON.
    let again = run(&site, &file, &[]);
    let said = json_of(&again);
    assert_eq!((&said["done"], &said["skipped"], &said["failed"]), (&0.into(), &2.into(), &3.into()), "{said}");
    fs::remove_file(&path).expect("it is there");
    assert_eq!(json_of(&run(&site, &file, &[]))["done"], 2);
    let outcomes: Vec<Value> = report(&path).into_values().map(|line| line["outcome"].clone()).collect();
    assert_eq!((&outcomes[0], &outcomes[4]), (&"repeated".into(), &"repeated".into()));
    assert_eq!(site.arrivals("trust").len(), 2, "nothing was sent twice");
}

#[test]
fn a_run_that_is_killed_goes_on_and_every_row_arrives_once() {
    const ROWS: u32 = 150;
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway_quietly();
    let file = rows(&site, "many.csv", ROWS);
    let path = report_of(&file, ".report.ndjson");
    for least in [20, 60] {
        let mut running = batch(&site, &file, &["--in-flight", "4"]).stdout(Stdio::null()).spawn().expect("weir runs");
        wait_for("some rows", || fs::read_to_string(&path).is_ok_and(|text| text.lines().count() > least));
        running.kill().expect("it is our child");
        running.wait().expect("it is our child");
    }
    // A gateway that is away for a while is waited for.
    gateway.kill();
    let waiting = batch(&site, &file, &[]).stdout(Stdio::piped()).spawn().expect("weir runs");
    let _gateway = site.start_gateway_quietly();
    let done = waiting.wait_with_output().expect("weir runs");
    let said = json_of(&done);
    assert!(done.status.success(), "{said}");
    assert!(said["skipped"].as_u64().is_some_and(|skipped| skipped >= 60), "{said}");
    let lines = report(&path);
    assert_eq!(lines.len(), ROWS as usize);
    let messages: BTreeSet<String> = lines.values().map(|line| line["message"].to_string()).collect();
    assert_eq!(messages.len(), ROWS as usize, "a message a row");
    wait_for("all to arrive", || site.inbox("trust").len() == ROWS as usize);
}

#[test]
fn a_file_that_cannot_be_used_is_refused_before_anything_is_sent() {
    let site = DemoSite::new();
    let file = site.path("a.csv");
    let says = |text: &str, part: &str| {
        fs::write(&file, text).expect("it is written");
        let refused = run(&site, &file, &[]);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && error.contains(part), "{part}: {error}");
    };
    says("", "empty");
    says("recordId,secret\n", "no such element");
    says("recordId,currentRisks\n", "elements of its own");
    fs::write(&file, "recordId\na\n").expect("it is written");
    let nobody = run(&site, &file, &["--patience-seconds", "1"]);
    let error = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(nobody.status.code() == Some(2) && error.contains("does not answer"), "{error}");
}

#[test]
fn a_report_replaces_no_file_that_is_no_report() {
    let site = DemoSite::new();
    let file = rows(&site, "one.csv", 1);
    for (content, more) in
        [("notes\n", &["--dry-run"][..]), ("notes", &[]), ("{\"row\":1}\n", &["--dry-run"]), ("{\"row\":1}\n", &[])]
    {
        let other = site.path("other");
        fs::write(&other, content).expect("it is written");
        let report = other.to_str().expect("it is text");
        let refused = run(&site, &file, &[&["--report", report, "--patience-seconds", "1"], more].concat());
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && error.contains("is not a report"), "{content:?} {more:?}: {error}");
        assert_eq!(fs::read_to_string(&other).expect("it is there"), content, "it was changed");
    }
    // A report is replaced, and one that a crash cut off in its first line, too.
    for content in ["", "{\"bat", "{\"batch\":\"00"] {
        let other = site.path("other");
        fs::write(&other, content).expect("it is written");
        let report_option = ["--dry-run", "--report", other.to_str().expect("it is text")];
        for _ in 0..2 {
            assert_eq!(run(&site, &file, &report_option).status.code(), Some(0));
        }
        assert_eq!(report(&other).len(), 1);
    }
}

/// Bytes of its own memory that a run held at most, as the kernel counts them.
fn peak(mut command: Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("weir runs");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kibibytes = line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        most = most.max(kibibytes << 10);
        if let Some(ended) = child.try_wait().expect("it is our child") {
            break ended;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert!(ended.success() && most > 0, "{ended}");
    most
}

#[test]
fn many_rows_take_no_more_memory_than_few() {
    let site = DemoSite::new();
    let of = |name: &str, count| peak(batch(&site, &rows(&site, name, count), &["--dry-run"]));
    let (few, many) = (of("few.csv", 2_000), of("many.csv", 20_000));
    assert!(many < few + (16 << 20), "{few} bytes for two thousand rows, {many} for twenty thousand");
}
