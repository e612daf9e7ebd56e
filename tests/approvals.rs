//! An agreement is used once the people whom it names have approved its file: the built gateway, on real sockets.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::{DemoSite, weir};

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
