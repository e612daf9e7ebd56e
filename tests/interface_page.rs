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

/// The page says from when until when an agreement holds, and is the same whatever day it is; that it does not hold is said beside it.
#[test]
fn an_agreement_that_is_over_or_has_not_begun_is_told() {
    let site = DemoSite::new();
    let file = site.gateway_folder().join("agreements/demo-trust-referral.toml");
    let agreement = fs::read_to_string(&file).expect("it is there");
    let page = |more: &[&str]| {
        let mut command = weir();
        command.args(["interface", "page", "referral", "--site"]).arg(site.gateway_folder()).args(more);
        let output = command.output().expect("weir runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
        (text(output.stdout), text(output.stderr))
    };
    let row = "| `demo-trust-referral` version 1 | 2026-01-01 to ";
    let (in_time, said) = page(&[]);
    assert!(in_time.contains(row) && said.is_empty(), "{said}\n{in_time}");

    for (from, to, days, why) in [
        ("effective = \"2026-01-01\"", "effective = \"2027-12-01\"", "2027-12-01 to ", "it takes effect on 2027-12-01"),
        (
            "review = \"2028-01-01\"",
            "review = \"2026-02-01\"",
            "2026-01-01 to 2026-03-01",
            "its review was due on 2026-02-01, and the grace of 28 days is over",
        ),
        ("status = \"active\"", "status = \"suspended\"", "no: its status is suspended", "its status is suspended"),
    ] {
        let changed = agreement.replacen(from, to, 1);
        assert_ne!(changed, agreement, "{from}");
        fs::write(&file, changed).expect("it is written");
        let (text, said) = page(&[]);
        assert!(text.contains(&format!("| `demo-trust-referral` version 1 | {days}")), "{text}");
        assert_eq!(said.trim_end(), format!("referral: nothing leaves under demo-trust-referral version 1 now: {why}"));
        assert!(!text.contains("**not in force**"), "without a day the page is the same every day: {text}");
    }
    fs::write(&file, &agreement).expect("it is written");
    let (before, said) = page(&["--at", "2025-12-31"]);
    let why =
        "- `demo-trust-referral` version 1: **not in force**: it takes effect on 2026-01-01; nothing leaves under it\n";
    assert!(before.contains(&format!("\nOn 2025-12-31:\n\n{why}")), "{before}");
    assert!(said.contains("nothing leaves under demo-trust-referral version 1 on 2025-12-31"), "{said}");
    let (on, said) = page(&["--at", "2026-01-01"]);
    assert!(on.contains("- `demo-trust-referral` version 1: in force\n") && said.is_empty(), "{said}\n{on}");
    let wrong = weir().args(["interface", "page", "--at", "soon", "--site"]).arg(site.gateway_folder()).output();
    let wrong = String::from_utf8(wrong.expect("weir runs").stderr).expect("it is text");
    assert!(wrong.contains("write a day as year, month and day: 2028-06-01"), "{wrong}");
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
