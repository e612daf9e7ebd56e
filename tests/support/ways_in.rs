//! The demo site with what `demo/ways-in` adds: interfaces for HL7 v2 and a form, an agreement that is approved.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]
#![allow(dead_code, unreachable_pub, reason = "each test includes it and uses a part of it")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::support::{DemoSite, nobody, weir};

/// A file of `demo/ways-in`.
pub fn sample(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("demo/ways-in").join(name)).expect("the sample is there")
}

/// The site, with `more` in its weir.toml, and an address that nothing listens on.
pub fn site(more: &str) -> (DemoSite, SocketAddr) {
    (site_with(more, |_| ()), nobody())
}

/// The same; `prepare` makes what `more` names.
pub fn site_with(more: &str, prepare: impl FnOnce(&DemoSite)) -> DemoSite {
    let site = DemoSite::new();
    let file = site.gateway_folder().join("weir.toml");
    let written = fs::read_to_string(&file).expect("the site has a weir.toml");
    let added = String::from_utf8(sample("site.toml")).expect("it is text");
    fs::write(&file, format!("{written}\n{added}\n{more}\n")).expect("it is written");
    prepare(&site);
    let agreement = site.gateway_folder().join("agreements/demo-trust-notices.toml");
    fs::write(agreement, sample("agreement.toml")).expect("it is written");
    for by in ["demo-guardian", "demo-siro"] {
        let mut command = weir();
        command.args(["agreement", "approve", "demo-trust-notices.toml", "--as", by, "--site"]);
        let done = command.arg(site.gateway_folder()).output().expect("weir runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    site
}
