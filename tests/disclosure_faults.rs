//! Whether the tests of disclosure would notice: each fault of `tests/disclosure-faults.toml` is put into a copy of the
//! source, and the suite must turn red.
//!
//! `cargo test --test disclosure_faults -- --ignored --nocapture` runs them all: some minutes a fault, since each is
//! compiled. By itself `cargo test` checks that every fault can still be put in.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    fault: Vec<Fault>,
}

/// A place in the source, and what a careless hand makes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    /// What goes wrong.
    name: String,
    file: PathBuf,
    /// The text as it is; stands once in the file.
    from: String,
    to: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn faults() -> Vec<Fault> {
    let text = fs::read_to_string(root().join("tests/disclosure-faults.toml")).expect("the table is there");
    toml::from_str::<Table>(&text).expect("the table can be read").fault
}

#[test]
fn every_fault_can_be_put_in() {
    let faults = faults();
    assert!(faults.len() >= 20, "{} faults", faults.len());
    for fault in faults {
        let text = fs::read_to_string(root().join(&fault.file)).expect("the file is there");
        assert_eq!(
            text.matches(&fault.from).count(),
            1,
            "{}: {:?} in {}",
            fault.name,
            fault.from,
            fault.file.display()
        );
        assert_ne!(fault.from, fault.to, "{}", fault.name);
    }
}

/// The steps that must find a fault, the quick ones first.
const SUITE: [&[&str]; 3] = [
    &["--lib", "--", "disclosure::", "pipeline", "provenance::"],
    &["--test", "consent", "--test", "agreements", "--test", "crisis_escalation", "--test", "refusals"],
    &["--test", "leaks"],
];

#[test]
#[ignore = "compiles the product once for every fault"]
fn every_fault_turns_the_suite_red() {
    let tree = root().join("target/faults");
    copy(&tree);
    let mut missed = Vec::new();
    for (number, fault) in faults().iter().enumerate() {
        let (file, original) =
            (tree.join(&fault.file), fs::read_to_string(root().join(&fault.file)).expect("it is there"));
        fs::write(&file, original.replacen(&fault.from, &fault.to, 1)).expect("it is written");
        let built = cargo(&tree, &["--no-run", "--lib"]);
        assert!(built.status.success(), "{} does not compile:\n{}", fault.name, String::from_utf8_lossy(&built.stderr));
        let found = SUITE.iter().find(|step| !cargo(&tree, step).status.success());
        fs::write(&file, original).expect("it is written");
        let by = found.map_or("MISSED".to_owned(), |step| step.join(" "));
        println!("{:>2} {:<70} {by}", number + 1, fault.name);
        missed.extend(found.is_none().then(|| fault.name.clone()));
    }
    assert!(missed.is_empty(), "nothing noticed: {missed:#?}");
}

/// The sources, and what their dependencies compiled to.
fn copy(tree: &Path) {
    fs::create_dir_all(tree.join("target")).expect("the folder can be made");
    let into = |name: &str, to: PathBuf| {
        let copied = Command::new("cp").arg("-a").arg("--update").arg(root().join(name)).arg(to).status();
        assert!(copied.expect("cp runs").success(), "{name} is copied");
    };
    for name in
        ["Cargo.toml", "Cargo.lock", "src", "tests", "benches", "demo", "agreements", "profiles", "mappings", "docs"]
    {
        into(name, tree.to_owned());
    }
    if !tree.join("target/debug").exists() {
        into("target/debug", tree.join("target"));
    }
}

fn cargo(tree: &Path, arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(tree).arg("test").args(arguments).env("WEIR_LEAK_CASES", "300");
    cargo.env("CARGO_TARGET_DIR", tree.join("target")).output().expect("cargo runs")
}
