//! The pages under `docs/` that show commands: each `console` block is run as it stands, in a copy of the examples, and
//! prints what the page shows. A line `…` stands for any number of lines; a time for any time.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A command as it is typed, and what it prints.
#[derive(Debug)]
struct Shown {
    command: String,
    prints: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shown(page: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        let (block, _) = block.split_once("\n```").expect("a block ends");
        for line in block.lines() {
            match (line.strip_prefix("$ "), shown.last_mut()) {
                (Some(command), _) => shown.push(Shown { command: command.to_owned(), prints: Vec::new() }),
                (None, Some(last)) if last.prints.is_empty() && last.command.ends_with('\\') => {
                    last.command.push('\n');
                    last.command.push_str(line);
                }
                (None, Some(last)) => last.prints.push(line.trim_end().to_owned()),
                (None, None) => panic!("a block starts with a command: {line}"),
            }
        }
    }
    shown
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be made");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("it can be read");
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).expect("it is copied");
        }
    }
}

/// The line with a time of day replaced.
fn without_time(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let is_time = word.len() == 9 && word.ends_with('Z') && word.matches(':').count() == 2;
        if is_time { "hh:mm:ssZ" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether `found` is what the page shows, line by line.
fn fits(expected: &[String], found: &[String]) -> bool {
    match (expected.first().map(|line| line.trim()), found.first()) {
        (None, None) => true,
        (Some("…"), _) => (0..=found.len()).any(|skipped| fits(&expected[1..], &found[skipped..])),
        (Some(_), Some(line)) => without_time(&expected[0]) == without_time(line) && fits(&expected[1..], &found[1..]),
        _ => false,
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Runs a command; one that watches is ended by Ctrl-C when it has printed what the page shows.
fn run(shown: &Shown, folder: &Path) -> Vec<String> {
    let printed = folder.parent().expect("it has a parent").join("printed");
    let out = File::create(&printed).expect("it can be written");
    let program = Path::new(env!("CARGO_BIN_EXE_weir")).parent().expect("it lies in a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(&shown.command).current_dir(folder).env("PATH", path).stdin(Stdio::null());
    shell.stderr(out.try_clone().expect("it can be shared")).stdout(out);
    let mut child = shell.spawn().expect("sh runs");
    if shown.command.contains("--watch") {
        let give_up = Instant::now() + Duration::from_secs(60);
        while !fits(&shown.prints, &lines(&printed)) && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(50));
        }
        let pids = Command::new("ps").args(["-o", "pid=", "--ppid", &child.id().to_string()]).output();
        let pids = String::from_utf8(pids.expect("ps runs").stdout).expect("ps prints text");
        let pids = pids.split_whitespace().map(str::to_owned).chain([child.id().to_string()]);
        Command::new("kill").arg("-INT").args(pids).status().expect("kill runs");
    }
    child.wait().expect("it is our child");
    lines(&printed)
}

/// Runs what a page shows in `folder`, of which there are at least `least` commands.
fn assert_true(page: &str, folder: &Path, least: usize) {
    let page = fs::read_to_string(root().join("docs").join(page)).expect("the page is there");
    let all = shown(&page);
    assert!(all.len() >= least, "{} commands", all.len());
    for each in &all {
        let found = run(each, folder);
        let (expected, found_text) = (each.prints.join("\n"), found.join("\n"));
        assert!(fits(&each.prints, &found), "$ {}\nthe page:\n{expected}\nfound:\n{found_text}", each.command);
    }
}

#[test]
fn the_agreements_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("agreements");
    fs::create_dir(&folder).expect("it is made");
    assert_true("agreements.md", &folder, 10);
}

#[test]
fn the_mapping_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("mapping");
    copy(&root().join("docs/examples/mapping"), &folder);
    assert_true("mapping.md", &folder, 10);
}

#[test]
fn the_consent_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("consent");
    fs::create_dir(&folder).expect("it can be made");
    assert_true("consent.md", &folder, 8);
}

#[test]
fn the_tls_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("tls");
    fs::create_dir(&folder).expect("it can be made");
    assert_true("tls.md", &folder, 3);
}

#[test]
fn the_delivery_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("delivery");
    fs::create_dir(&folder).expect("it can be made");
    assert_true("delivery.md", &folder, 11);
}

#[test]
fn the_bars_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("bars");
    fs::create_dir(&folder).expect("it can be made");
    assert_true("bars.md", &folder, 4);
}

/// What a page started in the background, killed when the test ends, however it ends.
struct Started(PathBuf);

impl Drop for Started {
    fn drop(&mut self) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        for file in entries.filter(|path| path.extension().is_some_and(|extension| extension == "pid")) {
            let pid = fs::read_to_string(file).unwrap_or_default();
            let _gone = Command::new("kill").arg(pid.trim()).stderr(Stdio::null()).status();
        }
    }
}

#[test]
fn the_page_on_a_new_interface_is_true() {
    // The page has certificates made by the program that most people have.
    if !Command::new("openssl").arg("version").output().is_ok_and(|ran| ran.status.success()) {
        eprintln!("SKIPPED: there is no openssl to make a certificate with");
        return;
    }
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("new-interface");
    copy(&root().join("docs/examples/new-interface"), &folder);
    let _started = Started(folder.clone());
    assert_true("new-interface.md", &folder, 30);
    let received = fs::read_dir(folder.join("housing/inbox/received")).expect("there is an inbox");
    let received: Vec<_> =
        received.map(|entry| fs::read_to_string(entry.expect("it is read").path()).expect("it is text")).collect();
    assert_eq!(received.len(), 1, "it arrived once");
    assert!(
        received[0].contains("\"housing-support\"") && received[0].contains("no family to stay with"),
        "it is the request"
    );
    let log = fs::read_to_string(folder.join("gateway.log")).expect("there is a log");
    assert!(!log.contains("Exemplar") && !log.contains("9990001014"), "the log names nobody");
}

#[test]
fn the_handover_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("handover");
    fs::create_dir(&folder).expect("it can be made");
    assert_true("handover.md", &folder, 8);
}

#[test]
fn the_ways_in_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("ways");
    copy(&root().join("demo/ways-in"), &folder.join("ways-in"));
    assert_true("ways-in.md", &folder, 12);
}

#[test]
fn the_referral_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("referral-in");
    copy(&root().join("demo/inbound"), &folder.join("demo/inbound"));
    assert_true("referral-in.md", &folder, 3);
}

#[test]
fn the_essential_page_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("essential");
    fs::create_dir(&folder).expect("it can be made");
    assert_true("essential.md", &folder, 2);
}

#[test]
fn the_files_that_the_page_shows_are_the_examples() {
    let page = fs::read_to_string(root().join("docs/mapping.md")).expect("the page is there");
    let mut seen = 0;
    for block in page.split("<!-- file: ").skip(1) {
        let (name, rest) = block.split_once(" -->\n").expect("the marker ends");
        let (_, rest) = rest.split_once('\n').expect("a block follows");
        let (text, _) = rest.split_once("\n```").expect("the block ends");
        let file = fs::read_to_string(root().join("docs/examples/mapping").join(name)).expect("the example is there");
        assert_eq!(text.trim_end(), file.trim_end(), "{name}");
        seen += 1;
    }
    assert!(seen >= 2, "{seen} files");
}

fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("it can be read").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn the_front_page_counts_the_samples() {
    let samples = files_below(&root().join("demo/records"));
    let is_refused = |path: &&PathBuf| path.parent().is_some_and(|folder| folder.ends_with("rejected"));
    let refused = samples.iter().filter(is_refused).count();
    let words = |count: usize| match count {
        14 => "fourteen",
        39 => "Thirty-nine",
        other => panic!("write {other} in words, here and in README.md"),
    };
    let says = format!(
        "{} records are acknowledged; {} are refused on purpose",
        words(samples.len() - refused),
        words(refused)
    );
    assert!(text("README.md").contains(&says), "{says}");
}

/// What stands between `start` and the next quotation mark, wherever it stands in a file.
fn quoted_after(file: &str, start: &str) -> Vec<String> {
    text(file).split(start).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[test]
fn the_metrics_page_has_every_metric_and_every_limit() {
    let page = text("docs/metrics.md");
    let plain = ["src/server/metrics.rs", "src/server/limits.rs"].map(|file| quoted_after(file, ".register(\""));
    let timed = quoted_after("src/server/metrics.rs", ".register_with_unit(\"");
    let names: Vec<String> = plain.into_iter().flatten().chain(timed).collect();
    assert!(names.len() >= 30, "{names:?}");
    for name in &names {
        let told = ["`", "{", "_total`", "_total{", "_seconds`"].map(|end| format!("| `weir_{name}{end}"));
        assert!(told.iter().any(|told| page.contains(told.as_str())), "weir_{name} is not on the page");
    }
    let told = page.lines().filter(|line| line.starts_with("| `weir_")).count();
    assert_eq!(told, names.len(), "the page has a line for each metric, and no other");
    let source = text("src/server/limits.rs");
    let limits = source.split("Limit::").skip(1).filter_map(|rest| rest.split_once(" => \"")?.1.split('"').next());
    let limits: Vec<&str> =
        limits.filter(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')).collect();
    assert!(limits.len() >= 21, "{limits:?}");
    for limit in limits {
        assert!(page.contains(&format!("`{limit}`")), "the limit {limit} is not on the page");
    }
}

#[test]
fn the_audit_page_has_every_kind_of_event() {
    let page = text("docs/audit.md");
    let (_, page) = page.split_once("## Every kind of event").expect("it has a list");
    let (page, _) = page.split_once("\n## ").expect("the list ends");
    let told: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let kinds = weir::audit::event::kind::ALL;
    assert_eq!(told, kinds, "in the order of the source");
}

#[test]
fn the_roles_page_has_every_route_of_the_records_listener() {
    let page = text("docs/roles.md");
    let routes = ["src/server/records.rs", "src/server/audit_routes.rs"].map(|file| quoted_after(file, ".route(\""));
    let routes: Vec<String> = routes.into_iter().flatten().collect();
    assert!(routes.len() >= 15, "{routes:?}");
    for route in routes.iter().filter(|route| !route.starts_with("/FHIR/R4/AuditEvent/")) {
        let route = route.strip_prefix("/FHIR/R4/Provenance/").map_or(route.as_str(), |_| "/FHIR/R4/Provenance");
        assert!(page.contains(&format!("{route}`")), "{route} is not on the page");
    }
}

#[test]
fn the_page_on_a_site_of_ones_own_is_true() {
    let scratch = TempDir::new().expect("a folder can be made");
    let folder = scratch.path().join("own-site");
    copy(&root().join("docs/examples/own-site"), &folder);
    assert_true("your-own-site.md", &folder, 14);
    let (page, example) = (text("docs/your-own-site.md"), text("docs/examples/own-site/weir.toml"));
    assert!(page.contains(&format!("```toml\n{}\n```", example.trim_end())), "the page shows the example");
}
