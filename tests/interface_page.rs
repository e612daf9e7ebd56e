//! `weir interface page`: the pages in `docs/interfaces/` are what the generator makes of the demo's site.
//!
//! `UPDATE_GOLDEN=1 cargo test --test interface_page` writes them anew; read them before committing.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::{DemoSite, json_of, weir};
use tempfile::TempDir;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/interfaces")
}

#[test]
fn the_pages_in_the_docs_are_made_of_the_profiles() {
    let site = DemoSite::new();
    let made = TempDir::new().expect("a folder can be made");
    let output = weir()
        .args(["interface", "page", "--site"])
        .arg(site.gateway_folder())
        .arg("--output")
        .arg(made.path())
        .output()
        .expect("weir runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names: Vec<_> =
        fs::read_dir(made.path()).expect("it is there").map(|entry| entry.expect("it is read").file_name()).collect();
    names.sort();
    assert!(!names.is_empty());
    for name in &names {
        let page = fs::read_to_string(made.path().join(name)).expect("it is there");
        let file = folder().join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(folder()).expect("it can be made");
            fs::write(&file, &page).expect("it is written");
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert!(page == expected, "{} is another; write it anew with UPDATE_GOLDEN=1", file.display());
    }
    let mut kept: Vec<_> =
        fs::read_dir(folder()).expect("it is there").map(|entry| entry.expect("it is read").file_name()).collect();
    kept.sort();
    assert_eq!(kept, names, "each page is of an interface of the demo");
}

#[test]
fn a_page_says_what_an_interface_is() {
    let site = DemoSite::new();
    let output = weir()
        .args(["interface", "page", "crisis-escalation", "--format", "json", "--site"])
        .arg(site.gateway_folder())
        .output()
        .expect("weir runs");
    let pages: Value = json_of(&output);
    assert_eq!(pages.as_array().map(Vec::len), Some(1));
    let page = pages[0]["page"].as_str().expect("there is a page");
    for part in [
        "# Crisis escalation record: the interface `crisis-escalation`\n",
        "| Emergency treatment of a person in mental health crisis (`ETREAT`) | UK GDPR 6(1)(e); UK GDPR 9(2)(h);",
        "implied for direct care, until the person objects",
        "which the safeguarding lead reviews within 72 hours",
        "| `stat` (at once) | 15 minutes |",
        "| `asap` (as soon as possible) | 1 hour |",
        "| `routine` (routine) | 24 hours |",
        "`Patient.birthDate`",
        "| code, administrative-gender (required) | `Patient.gender` |",
        "`Consent.extension(weir-consent-recorded-by).valueString`",
        "| `761571000000106` | Financial abuse |",
        "### Clinical response priority",
        "| `1` | Emergency | `ServiceRequest.priority` = `stat`, `Task.priority` = `stat` |",
        "| `imminent` | Imminent |",
        "| `female` | Female |",
        "- There is exactly one message header",
        "The map can make: AllergyIntolerance, CarePlan,",
        "- `recordId`: A record id is 1 to 64 characters without white space",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let row = |field: &str| {
        page.lines().find(|line| line.starts_with(&format!("| `{field}`"))).unwrap_or_else(|| panic!("{field}\n{page}"))
    };
    assert!(row("person.nhsNumber").contains("`Patient.identifier.value`"), "{}", row("person.nhsNumber"));
    assert!(
        row("currentRisks.level").contains("`RiskAssessment.prediction.qualitativeRisk.coding.code`"),
        "{}",
        row("currentRisks.level")
    );
    assert!(
        row("timeSensitivity.respondBy").contains("`Task.restriction.period.end`"),
        "{}",
        row("timeSensitivity.respondBy")
    );
    assert!(!page.contains("nowhere: the map leaves it out"), "every field of the crisis record goes somewhere");
}

#[test]
fn an_interface_that_is_not_there_is_named_with_those_that_are() {
    let site = DemoSite::new();
    let output =
        weir().args(["interface", "page", "housing", "--site"]).arg(site.gateway_folder()).output().expect("weir runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2)
            && error.contains("the site has no interface housing; it has crisis-escalation"),
        "{error}"
    );
}
