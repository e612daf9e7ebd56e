//! Watched folders, end to end with the built program: files of each format, files that are not whole, crashes.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;
#[path = "support/ways_in.rs"]
mod ways_in;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::{DemoSite, wait_for, weir};

const FORMATS: [(&str, &str, bool); 6] = [
    ("json", "crisis-escalation", false),
    ("ndjson", "crisis-escalation", false),
    ("csv", "crisis-escalation", false),
    ("fhir", "referral-form", false),
    ("hl7v2", "", false),
    ("csv", "crisis-escalation", true),
];

fn name(format: &str, dry_run: bool) -> String {
    if dry_run { format!("in/{format}-dry") } else { format!("in/{format}") }
}

/// A site with a folder for each format, and one whose files are only tried.
fn site() -> DemoSite {
    let mut more = String::from_utf8(ways_in::sample("hl7v2.toml")).expect("it is text");
    more = more.split("[mllp]").next().unwrap_or_default().to_owned();
    more.push_str(
        "\n[[principals]]\nid = \"demo-folders\"\nname = \"Folders (synthetic)\"\nroles = [\"record-system\"]\n",
    );
    for (format, interface, dry_run) in FORMATS {
        let interface = if interface.is_empty() { String::new() } else { format!("interface = \"{interface}\"\n") };
        let path = name(format, dry_run);
        more.push_str(&format!(
            "\n[[folders]]\npath = \"{path}\"\nformat = \"{format}\"\n{interface}principal = \"demo-folders\"\nsettle_seconds = 1\ndry_run = {dry_run}\n"
        ));
    }
    ways_in::site_with(&more, |site| {
        for (format, _, dry_run) in FORMATS {
            fs::create_dir_all(site.gateway_folder().join(name(format, dry_run))).expect("it is made");
        }
    })
}

fn folder(site: &DemoSite, format: &str) -> PathBuf {
    site.gateway_folder().join("in").join(format)
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().skip(1).map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn outcomes(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["outcome"].as_str().expect("it has one")).collect()
}

#[test]
fn a_file_of_each_format_becomes_messages_and_is_put_away_with_its_report() {
    let site = site();
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    let minimal = site.record("crisis-escalation-minimal.json");
    let one_line =
        |text: &[u8]| -> Vec<u8> { serde_json::from_slice::<Value>(text).expect("it is JSON").to_string().into() };
    let other = String::from_utf8(one_line(&minimal)).expect("it is text").replace("CE-2026-000502", "CE-2026-000599");
    let refused = other.replace("2001-11", "yesterday").replace("000599", "000598");
    fs::write(folder(&site, "json").join("one.json"), &minimal).expect("it is written");
    fs::write(folder(&site, "ndjson").join("two.ndjson"), format!("{other}\n\n{refused}\n")).expect("it is written");
    fs::write(folder(&site, "csv").join("rows.csv"), ways_in::sample("escalations.csv")).expect("it is written");
    fs::write(folder(&site, "fhir").join("form.xml"), ways_in::sample("referral-form.xml")).expect("it is written");
    let messages = [ways_in::sample("adt-a01.hl7"), ways_in::sample("ref-i12.hl7"), b"MSH|^~\\&|x\n".to_vec()].concat();
    fs::write(folder(&site, "hl7v2").join("batch.hl7"), messages).expect("it is written");
    fs::write(folder(&site, "csv-dry").join("rows.csv"), ways_in::sample("escalations.csv")).expect("it is written");
    for unfinished in [".one.json", "one.json.tmp", "one.part"] {
        fs::write(folder(&site, "json").join(unfinished), "{").expect("it is written");
    }

    let report = |format: &str, outcome: &str, name: &str| {
        let put = folder(&site, format).join(outcome).join(name);
        wait_for(name, || put.exists());
        lines(&put.with_file_name(format!("{name}.report.ndjson")))
    };
    assert_eq!(outcomes(&report("json", "done", "one.json")), ["accepted"]);
    let two = report("ndjson", "failed", "two.ndjson");
    assert_eq!(outcomes(&two), ["accepted", "refused"]);
    assert_eq!((&two[1]["line"], &two[1]["issues"][0]["path"]), (&3.into(), &"person.birthDate".into()));
    let rows = report("csv", "failed", "rows.csv");
    assert_eq!(outcomes(&rows), ["accepted", "refused", "refused", "unreadable", "accepted"]);
    assert_eq!(rows[2]["issues"][0]["column"], "person.birthDate");
    assert_eq!(outcomes(&report("fhir", "done", "form.xml")), ["accepted"]);
    let messages = report("hl7v2", "failed", "batch.hl7");
    assert_eq!(outcomes(&messages), ["accepted", "accepted", "refused"]);
    assert_eq!(messages[2]["issues"][0]["place"], "MSH-10");
    assert_eq!(
        outcomes(&report("csv-dry", "failed", "rows.csv")),
        ["fits", "refused", "refused", "unreadable", "fits"]
    );
    wait_for("all to arrive", || site.inbox("trust").len() == 7);
    for unfinished in [".one.json", "one.json.tmp", "one.part"] {
        assert!(folder(&site, "json").join(unfinished).exists(), "{unfinished} was taken");
    }

    // The same file again, and under another name: the same messages; the first stays as it was.
    let again = folder(&site, "json");
    fs::write(again.join("new.tmp"), &minimal).expect("it is written");
    fs::rename(again.join("new.tmp"), again.join("one.json")).expect("it is moved into place");
    assert_eq!(outcomes(&report("json", "done", "one-2.json")), ["repeated"]);
    assert_eq!(gateway.terminate(), Some(0));
    assert_eq!(site.arrivals("trust").len(), 7, "nothing was sent twice");
    let log = fs::read_to_string(site.path("gateway.log")).expect("there is a log");
    assert!(!log.contains("Testperson") && !log.contains("rows.csv"), "the log names what the file holds");
    let verified =
        weir().args(["audit", "verify", "--as", "demo-auditor", "--site"]).arg(site.gateway_folder()).output();
    let verified = verified.expect("weir runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let by = site.audit_events().into_iter().filter(|event| event.to_string().contains("demo-folders")).count();
    assert!(by >= 7, "the log says who submitted: {by}");
}

#[test]
fn a_file_that_grows_is_left_until_it_has_settled_and_a_crash_doubles_and_loses_nothing() {
    const ROWS: usize = 60;
    let site = site();
    let _trust = site.start_partner("trust", &[]);
    let csv = String::from_utf8(ways_in::sample("escalations.csv")).expect("it is text");
    let (header, rest) = csv.split_once("\r\n").expect("it has a header");
    let row = rest.split("\r\n").next().expect("it has a row");
    let rows: Vec<String> =
        (1..=ROWS).map(|number| row.replace("CE-2026-000701", &format!("CE-2026-8{number:05}")) + "\r\n").collect();
    let file = folder(&site, "csv").join("grows.csv");
    let gateway = site.start_gateway_quietly();
    fs::write(&file, format!("{header}\r\n")).expect("it is written");
    for part in rows.chunks(ROWS / 6) {
        std::thread::sleep(Duration::from_millis(500));
        let mut growing = fs::OpenOptions::new().append(true).open(&file).expect("nobody took it");
        std::io::Write::write_all(&mut growing, part.concat().as_bytes()).expect("it is written");
    }
    // Killed while it takes the file, twice.
    let mut gateway = Some(gateway);
    for least in [5, 20] {
        wait_for("some rows", || site.inbox("trust").len() > least);
        gateway.take().expect("it runs").kill();
        gateway = Some(site.start_gateway_quietly());
    }
    let put = folder(&site, "csv").join("done/grows.csv");
    wait_for("the file to be put away", || put.exists());
    wait_for("all to arrive", || site.inbox("trust").len() == ROWS);
    let lines = lines(&put.with_file_name("grows.csv.report.ndjson"));
    assert_eq!(lines.len(), ROWS);
    let again = outcomes(&lines).into_iter().filter(|outcome| *outcome == "repeated").count();
    assert!(again >= 5, "the last run took the file from its beginning: {again}");
    let left: Vec<_> =
        fs::read_dir(folder(&site, "csv")).expect("it is there").flatten().map(|it| it.file_name()).collect();
    assert_eq!(left.len(), 1, "only done/ is left: {left:?}");
}

#[test]
fn a_folder_that_would_let_anyone_submit_is_a_fault() {
    let site = site();
    let says = |part: &str| {
        let checked =
            weir().args(["config", "check", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.code() == Some(1) && said.contains(part), "{part}: {said}");
    };
    fs::set_permissions(folder(&site, "csv"), fs::Permissions::from_mode(0o777)).expect("it is ours");
    says("everyone may write to it");
    fs::set_permissions(folder(&site, "csv"), fs::Permissions::from_mode(0o750)).expect("it is ours");
    let file = site.gateway_folder().join("weir.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    for (from, to, part) in [
        ("format = \"fhir\"", "format = \"json\"", "reads FHIR resources"),
        ("path = \"in/json\"", "path = \"in/none\"", "make the folder"),
        ("principal = \"demo-folders\"", "principal = \"demo-auditor\"", "permits submit"),
        ("format = \"csv\"", "format = \"hl7v2\"", "go by their type"),
        ("interface = \"referral-form\"", "", "there is no interface"),
    ] {
        fs::write(&file, text.replacen(from, to, 1)).expect("it is written");
        says(part);
    }
}

/// The name that a file's unfinished report has.
fn scratch(content: &[u8]) -> String {
    let digest = weir::identity::digest::sha_256(content);
    format!(".{}.report", &weir::identity::digest::hex(&digest)[..16])
}

#[test]
fn links_in_a_folder_lead_to_no_write_outside_it() {
    let site = site();
    let _trust = site.start_partner("trust", &[]);
    let other = |name: &str| {
        let file = site.path(name);
        fs::write(&file, "not yours\n").expect("it is written");
        file
    };
    let link = |to: &Path, at: PathBuf| std::os::unix::fs::symlink(to, at).expect("it is made");
    // Where the report is written, and where files are put away.
    let (victim, record) = (other("victim"), site.record("crisis-escalation-minimal.json"));
    link(&victim, folder(&site, "json").join(scratch(&record)));
    fs::write(folder(&site, "json").join("one.json"), &record).expect("it is written");
    let elsewhere = site.path("elsewhere");
    fs::create_dir(&elsewhere).expect("it is made");
    link(&elsewhere, folder(&site, "csv").join("failed"));
    fs::write(folder(&site, "csv").join("rows.csv"), ways_in::sample("escalations.csv")).expect("it is written");
    let gateway = site.start_gateway();
    let put = folder(&site, "json").join("done/one.json");
    wait_for("the file to be put away", || put.exists());
    assert_eq!(fs::read_to_string(&victim).expect("it is there"), "not yours\n", "the link was followed");
    assert_eq!(outcomes(&lines(&put.with_file_name("one.json.report.ndjson"))), ["accepted"]);
    let log = || fs::read_to_string(site.path("gateway.log")).unwrap_or_default();
    wait_for("the fault to be told", || log().contains("a file of a folder could not be taken"));
    assert_eq!(fs::read_dir(&elsewhere).expect("it is there").count(), 0, "something was written elsewhere");
    assert!(folder(&site, "csv").join("rows.csv").exists(), "the file stays");
    assert_eq!(gateway.terminate(), Some(0));
}

/// What `/readyz` says of a folder; the gateway is ready whatever it is.
fn shown(site: &DemoSite, folder: &str) -> Value {
    let (status, body) = support::http_get(site.operations(), "/readyz").expect("it answers");
    let detail: Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!((status, &detail["ready"]), (200, &true.into()), "{detail}");
    let folders = detail["folders"].as_array().expect("it lists them").iter();
    let mut found = folders.filter(|each| each["folder"].as_str().is_some_and(|path| path.ends_with(folder)));
    found.next().cloned().unwrap_or_default()
}

#[test]
fn a_folder_that_cannot_be_read_is_told_and_taken_when_it_can() {
    let site = site();
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    wait_for("the folder to be looked at", || shown(&site, "in/json")["state"] == "taken");
    // Away, as a share that is not mounted is: whoever runs the test may read any folder that is there.
    let away = site.path("away");
    fs::rename(folder(&site, "json"), &away).expect("it is moved");
    wait_for("the fault to be told", || shown(&site, "in/json")["state"] == "unreadable");
    let told = shown(&site, "in/json");
    assert!(told["why"].as_str().is_some_and(|why| why.contains("No such file")), "{told}");
    assert!(told["hint"].as_str().is_some_and(|hint| hint.contains("make it again")), "{told}");
    assert_eq!(shown(&site, "in/csv")["state"], "taken", "the others are looked at");
    fs::write(away.join("one.json"), site.record("crisis-escalation-minimal.json")).expect("it is written");
    fs::rename(&away, folder(&site, "json")).expect("it is moved back");
    let put = folder(&site, "json").join("done/one.json");
    wait_for("the file to be taken", || put.exists());
    wait_for("it to be told", || shown(&site, "in/json")["state"] == "taken");
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn a_file_that_cannot_be_taken_stops_no_other_and_is_told() {
    let site = site();
    let _trust = site.start_partner("trust", &[]);
    let record = site.record("crisis-escalation-minimal.json");
    let text = String::from_utf8(record.clone()).expect("it is text");
    let (bad, long) = (text.replace("000502", "000503"), "z".repeat(245) + ".json");
    fs::create_dir(folder(&site, "json").join(scratch(bad.as_bytes()))).expect("it is made");
    fs::write(folder(&site, "json").join("a-bad.json"), bad).expect("it is written");
    fs::write(folder(&site, "json").join("b-good.json"), &record).expect("it is written");
    fs::write(folder(&site, "json").join(&long), text.replace("000502", "000504")).expect("it is written");
    let gateway = site.start_gateway();
    for name in ["b-good.json", &long] {
        let put = folder(&site, "json").join("done").join(name);
        wait_for("the file behind it to be put away", || put.exists());
    }
    let reports = fs::read_dir(folder(&site, "json").join("done")).expect("it is there").flatten();
    let reports = reports.filter(|entry| entry.file_name().to_string_lossy().ends_with(".report.ndjson")).count();
    assert_eq!(reports, 2, "the report of a long name has a shorter one");
    let waiting = || support::http_get(site.operations(), "/metrics").map(|(_, text)| text).unwrap_or_default();
    let counted = |text: &str| {
        text.lines()
            .any(|line| line.starts_with("weir_folder_waiting{") && line.contains("in/json\"") && line.ends_with(" 1"))
    };
    wait_for("the one that waits to be counted", || counted(&waiting()));
    let shown = shown(&site, "in/json");
    let name = weir::identity::digest::hex(&weir::identity::digest::sha_256(b"a-bad.json"));
    assert_eq!(
        (&shown["state"], &shown["waiting"], &shown["stuckFiles"]),
        (&"some-stuck".into(), &1.into(), &1.into())
    );
    let stuck = &shown["stuck"][0];
    assert_eq!(stuck["nameSha256"], name[..16], "{shown}");
    assert!(stuck["failures"].as_u64() >= Some(1) && stuck["againInSeconds"].as_u64() <= Some(10), "{shown}");
    assert!(stuck["why"].as_str().is_some_and(|why| why.contains("directory")), "{shown}");
    assert!(!shown.to_string().contains("a-bad"), "the name of a file is told: {shown}");
    let log = fs::read_to_string(site.path("gateway.log")).expect("there is a log");
    let told = log.lines().filter(|line| line.contains("a file of a folder could not be taken")).count();
    assert!((1..=3).contains(&told), "told {told} times");
    assert!(!log.contains("a-bad"), "the log names the file");
    // What was in the way is gone: the file is taken.
    fs::remove_dir(folder(&site, "json").join(scratch(text.replace("000502", "000503").as_bytes())))
        .expect("it is empty");
    let put = folder(&site, "json").join("done/a-bad.json");
    for _ in 0..3 {
        if !put.exists() {
            std::thread::sleep(Duration::from_secs(4));
        }
    }
    wait_for("it to be taken", || put.exists());
    wait_for("none to wait", || !counted(&waiting()));
    wait_for("nothing to be stuck", || self::shown(&site, "in/json")["state"] == "taken");
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn rows_of_a_corrected_file_that_were_accepted_before_are_not_sent_again() {
    let site = site();
    let file = site.gateway_folder().join("weir.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    let own = text.lines().find(|line| line.starts_with("identified_by") && line.contains("recordId"));
    let text = text.replacen(&format!("{}\n", own.expect("it has one")), "", 1);
    fs::write(&file, text).expect("it is written");
    let _trust = site.start_partner("trust", &[]);
    let gateway = site.start_gateway();
    let csv = String::from_utf8(ways_in::sample("escalations.csv")).expect("it is text");
    let (header, rest) = csv.split_once("\r\n").expect("it has a header");
    let row = rest.split("\r\n").next().expect("it has a row");
    let bad = row.replace("2001-11", "yesterday").replace("000701", "000798");
    let first = [header, &bad, row, row, ""].join("\r\n");
    let corrected = [header, &bad.replace("yesterday", "2001-12"), row, row, ""].join("\r\n");
    let taken = |name: &str, content: &str, outcome: &str| {
        fs::write(folder(&site, "csv").join("new.tmp"), content).expect("it is written");
        fs::rename(folder(&site, "csv").join("new.tmp"), folder(&site, "csv").join(name)).expect("it is moved");
        let put = folder(&site, "csv").join(outcome).join(name);
        wait_for(name, || put.exists());
        lines(&put.with_file_name(format!("{name}.report.ndjson")))
    };
    let lines = taken("rows.csv", &first, "failed");
    assert_eq!(outcomes(&lines), ["refused", "accepted", "accepted"], "equal rows of a file are records of their own");
    let lines = taken("corrected.csv", &corrected, "done");
    assert_eq!(outcomes(&lines), ["accepted", "repeated", "repeated"]);
    wait_for("all to arrive", || site.inbox("trust").len() == 3);
    assert_eq!(gateway.terminate(), Some(0));
    assert_eq!(site.arrivals("trust").len(), 3, "nothing was sent twice");
}

#[test]
fn folders_that_overlap_are_a_fault_and_names_that_are_no_text_are_told() {
    use std::os::unix::ffi::OsStrExt as _;
    let site = site();
    let odd = std::ffi::OsStr::from_bytes(b"\xff.json");
    fs::write(folder(&site, "json").join(odd), "{}").expect("it is written");
    let gateway = site.start_gateway();
    let log = || fs::read_to_string(site.path("gateway.log")).unwrap_or_default();
    wait_for("it to be told", || log().contains("names that are not UTF-8"));
    assert_eq!(gateway.terminate(), Some(0));
    let file = site.gateway_folder().join("weir.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    fs::create_dir(folder(&site, "json").join("below")).expect("it is made");
    for path in ["in/./json", "in/json/below"] {
        fs::write(&file, text.replacen("path = \"in/ndjson\"", &format!("path = \"{path}\""), 1))
            .expect("it is written");
        let checked =
            weir().args(["config", "check", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.code() == Some(1) && said.contains("overlaps"), "{path}: {said}");
    }
}
