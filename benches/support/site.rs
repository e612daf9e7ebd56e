//! What benches of the built gateway share: a site with partners of the bench's own, and its processes.

#![allow(dead_code, reason = "each bench includes it and uses a part of it")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use weir::acts::{Act, Deed, spool};
use weir::config::Site;
use weir::identity::digest::hex;
use weir::server::clock;

/// A number that the environment sets.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The built program.
pub(crate) fn weir() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir"))
}

/// Makes the site of the demo in `folder`.
pub(crate) fn prepare(folder: &Path) {
    let made = weir().args(["demo", "--prepare", "--dir"]).arg(folder).output().expect("weir runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Gives a gateway an agreement with `ods` as the demo's Trust has it.
pub(crate) fn add_agreement(gateway: &Path, ods: &str) {
    let agreement = fs::read_to_string(gateway.join("agreements/demo-trust-crisis.toml")).expect("it is there");
    let id = format!("bench-{}", ods.to_ascii_lowercase());
    let agreement = agreement.replace("demo-trust-crisis", &id).replace("\"DEMOT\"", &format!("{ods:?}"));
    fs::write(gateway.join(format!("agreements/{id}.toml")), agreement).expect("it is written");
}

/// A gateway's site.
pub(crate) fn load(gateway: &Path) -> Site {
    Site::load(gateway).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Approves every agreement of a site.
pub(crate) fn approve(site: &Site) {
    for agreement in site.stages().agreements.iter() {
        for role in &agreement.approval().by {
            let by = agreement.approver(*role).expect("an approver is a principal").parse().expect("an id");
            let key = site.staff().personal_key(&by, None).expect("they have a key");
            let deed = Deed::ApproveAgreement {
                agreement: agreement.id().clone(),
                version: agreement.version().to_owned(),
                file: hex(&agreement.hash()),
                role: role.code().parse().expect("a role"),
            };
            let act = Act::new(site.staff().site(), deed, clock::now());
            spool::leave(site.staff().acts_folder(), &act, &act.sign(&by, &key)).expect("it is written");
        }
    }
}

/// A process that is killed when dropped.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The value below which `share` of the sorted values lie.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() as f64 * share).ceil() as usize).max(1) - 1]
}
