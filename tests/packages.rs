//! FHIR packages through the built program: added to a site, pinned, checked, used to validate.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::json;
use support::{DemoSite, json_of, weir};
use tempfile::TempDir;

fn run(arguments: &[&str]) -> Output {
    weir().args(arguments).output().expect("weir runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A package folder in a cache: one profile of Patient with these elements.
fn package(cache: &Path, name: &str, base: &str, dependencies: &str, elements: &str) -> PathBuf {
    let folder = cache.join(format!("{name}#1.0.0"));
    fs::create_dir_all(folder.join("package")).expect("a folder");
    let manifest =
        format!(r#"{{"name":"{name}","version":"1.0.0","fhirVersions":["4.0.1"],"dependencies":{{{dependencies}}}}}"#);
    let profile = format!(
        r#"{{"resourceType":"StructureDefinition","url":"https://example.org/{name}","kind":"resource","type":"Patient",
        "baseDefinition":"{base}","derivation":"constraint","differential":{{"element":[{elements}]}}}}"#
    );
    fs::write(folder.join("package/package.json"), manifest).expect("it is written");
    fs::write(folder.join("package/StructureDefinition-a.json"), profile).expect("it is written");
    folder
}

const PATIENT: &str = "http://hl7.org/fhir/StructureDefinition/Patient";
const NEEDS_BIRTH_DATE: &str = r#"{"id":"Patient.birthDate","path":"Patient.birthDate","min":1}"#;
const NEEDS_GENDER: &str = r#"{"id":"Patient.gender","path":"Patient.gender","min":1}"#;

#[test]
fn a_package_is_added_with_its_dependency_and_guarded() {
    let site = DemoSite::new();
    let gateway = site.gateway_folder();
    let cache = TempDir::new().expect("a temporary folder can be made");
    package(cache.path(), "low", PATIENT, "", NEEDS_BIRTH_DATE);
    package(
        cache.path(),
        "top",
        "https://example.org/low",
        r#""low":"1.0.x","hl7.fhir.r4.core":"4.0.1""#,
        NEEDS_GENDER,
    );
    let of_site = ["--site", text(&gateway), "--format", "json"];
    let package_verb = |verb: &[&str]| run(&[&["package"], verb, &of_site].concat());

    let alone = package_verb(&["add", "top#1.0.0"]);
    assert_eq!(alone.status.code(), Some(2), "{}", said(&alone));
    assert!(said(&alone).contains("there is no such package in the cache"), "{}", said(&alone));
    let added = package_verb(&["add", "top#1.0.0", "--cache", text(cache.path())]);
    let rows = json!([{ "package": "low#1.0.0", "replaces": null }, { "package": "top#1.0.0", "replaces": null }]);
    assert_eq!((json_of(&added)["added"].clone(), added.status.code()), (rows, Some(0)), "{}", said(&added));
    let listed = json_of(&package_verb(&["list"]));
    assert_eq!(listed["packages"][1]["dependencies"], json!(["low#1.0.x"]), "{listed}");
    let checked = package_verb(&["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
    let of_top = |row: &&serde_json::Value| row["url"] == "https://example.org/top";
    let profiles = json_of(&checked)["profiles"].clone();
    assert!(profiles.as_array().and_then(|rows| rows.iter().find(of_top)).is_some_and(|row| row["elements"] == 45));
    assert_eq!(run(&["config", "check", "--site", text(&gateway)]).status.code(), Some(0));

    fs::copy(gateway.join("packages/low-1.0.0.tgz"), gateway.join("packages/top-1.0.0.tgz")).expect("it is replaced");
    let refused = run(&["config", "check", "--site", text(&gateway)]);
    assert_eq!(refused.status.code(), Some(1));
    let told = said(&refused);
    assert!(told.contains("packages/top-1.0.0.tgz: it is not the top#1.0.0 that packages.lock pins"), "{told}");
    assert!(told.contains("hint: restore the file"), "{told}");
}

#[test]
fn a_package_validates_and_its_faults_are_named() {
    let cache = TempDir::new().expect("a temporary folder can be made");
    package(cache.path(), "low", PATIENT, "", NEEDS_BIRTH_DATE);
    let top = package(cache.path(), "top", "https://example.org/low", r#""low":"1.0.0""#, NEEDS_GENDER);
    let patient = cache.path().join("patient.json");
    fs::write(&patient, r#"{"resourceType":"Patient","gender":"female"}"#).expect("it is written");
    let validated = run(&[
        "validate",
        text(&patient),
        "--package",
        text(&top),
        "--profile",
        "https://example.org/top",
        "--format",
        "json",
    ]);
    let outcome = json_of(&validated);
    assert_eq!(validated.status.code(), Some(1), "{outcome}");
    assert!(outcome.to_string().contains("Patient.birthDate"), "{outcome}");

    let wrong = package(cache.path(), "wrong", PATIENT, "", r#"{"id":"Patient.nmae","path":"Patient.nmae","min":1}"#);
    let checked = run(&["package", "check", text(&wrong)]);
    assert_eq!(checked.status.code(), Some(1));
    let told = said(&checked);
    assert!(told.contains("https://example.org/wrong: no snapshot:"), "{told}");
    assert!(told.contains("Patient.nmae: there is no element nmae"), "{told}");
    fs::write(cache.path().join("bad.tgz"), "no archive").expect("it is written");
    let refused = run(&["package", "check", text(&cache.path().join("bad.tgz"))]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("bad.tgz"), "{}", said(&refused));
}

#[test]
fn a_constraint_that_cannot_mean_what_it_says_is_a_warning_in_a_package_and_a_fault_of_the_site() {
    let constraint = r#"{"id":"Patient","path":"Patient","constraint":[
        {"key":"k","severity":"error","human":"h","expression":"birthdate.exists()"}]}"#;
    let cache = TempDir::new().expect("a temporary folder can be made");
    let top = package(cache.path(), "top", PATIENT, "", constraint);
    let site = DemoSite::new();
    let gateway = site.gateway_folder();
    let of_site = ["--site", text(&gateway)];
    let added = run(&[&["package", "add", "top#1.0.0", "--cache", text(cache.path())], &of_site[..]].concat());
    assert_eq!(added.status.code(), Some(0), "{}", said(&added));

    let config_check = || run(&[&["config", "check"], &of_site[..]].concat());
    for checked in [config_check(), run(&["package", "check", text(&top)])] {
        assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
        let told = said(&checked);
        assert!(told.contains("warning: https://example.org/top#k Patient: "), "{told}");
        assert!(told.contains("Patient has no element birthdate") && told.contains("birthDate"), "{told}");
    }

    let own = gateway.join("profiles");
    fs::create_dir_all(&own).expect("a folder");
    fs::copy(top.join("package/StructureDefinition-a.json"), own.join("top.json")).expect("it is copied");
    let refused = config_check();
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("Patient has no element birthdate"), "{}", said(&refused));
}
