//! Certificates, keys, authorities and lists that change while the gateway runs: the built gateway, on real sockets.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;

use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use serde_json::Value;
use support::{DemoSite, http_get, wait_for, weir};
use time::OffsetDateTime;
use weir::cli::client::Client;
use weir::config::Endpoint;
use weir::identity::issuance::{Authority, Issued, Validity};
use weir::identity::tls::{Credentials, TrustAnchors, client_config, system_clock};

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn authority() -> Authority {
    Authority::new("New CA", Validity::days(now(), 400)).expect("an authority")
}

/// A certificate of the provider for where records are taken.
fn issue(site: &DemoSite, authority: &Authority, party: &str, days: u16) -> Issued {
    let endpoint = site.endpoint();
    let host = endpoint.uri.host().expect("it has a host").to_owned();
    let others: &[&str] = if party == "DEMOP" { &[&host] } else { &[] };
    let party = party.parse().expect("an ODS code");
    authority.issue(&party, "trust.example", others, Validity::days(now(), days)).expect("a certificate")
}

fn put(site: &DemoSite, issued: &Issued) {
    let pki = site.gateway_folder().join("pki");
    fs::write(pki.join("gateway.key"), &issued.key_pem).expect("it is written");
    fs::write(pki.join("gateway.pem"), &issued.certificate_pem).expect("it is written");
}

fn readiness(site: &DemoSite) -> Value {
    let (status, body) = http_get(site.operations(), "/readyz").expect("it answers");
    assert_eq!(status, 200, "the gateway is ready whatever its files are: {body}");
    serde_json::from_str(&body).expect("JSON")
}

fn has_metric(site: &DemoSite, text: &str) -> bool {
    http_get(site.operations(), "/metrics").expect("it answers").1.contains(text)
}

/// The outcome and the details of every event of a configuration.
fn leaves(site: &DemoSite) -> Vec<(String, String)> {
    let events = site.audit_events().into_iter();
    let loaded = events.filter(|event| event.to_string().contains("configuration-loaded"));
    loaded
        .map(|event| (event["outcome"].as_str().expect("an outcome").to_owned(), event["entity"].to_string()))
        .collect()
}

/// The endpoint as a record system calls it that trusts this authority alone.
fn trusting(site: &DemoSite, authority: &Authority) -> Endpoint {
    let pki = site.gateway_folder().join("pki");
    let read = |name: &str| fs::read(pki.join(name)).expect("it is there");
    let credentials = Credentials::from_pem(&read("records.pem"), &read("records.key")).expect("PEM");
    let anchors = TrustAnchors::from_pem(authority.certificate_pem().as_bytes()).expect("an anchor");
    let tls = client_config(&credentials, &anchors, system_clock()).expect("usable");
    Endpoint { tls, ..site.endpoint() }
}

async fn asks(client: &mut Client) -> StatusCode {
    let request = Request::get("/metadata-of-nothing").body(Bytes::new().into()).expect("a request");
    client.exchange(request).await.expect("it is answered").status
}

#[test]
fn a_new_certificate_is_presented_and_no_connection_is_dropped() {
    let site = DemoSite::new();
    let gateway = site.start_gateway();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut before = runtime.block_on(Client::connect(&site.endpoint())).expect("it answers");
    assert_eq!(runtime.block_on(asks(&mut before)), StatusCode::NOT_FOUND);
    let authority = authority();
    assert!(runtime.block_on(Client::connect(&trusting(&site, &authority))).is_err(), "it is not presented yet");

    put(&site, &issue(&site, &authority, "DEMOP", 365));
    wait_for("the certificate to be taken over", || {
        has_metric(&site, "weir_certificates_read_total{outcome=\"taken-over\"} 1")
    });
    assert_eq!(runtime.block_on(asks(&mut before)), StatusCode::NOT_FOUND, "the connection of before lives on");
    let mut after = runtime.block_on(Client::connect(&trusting(&site, &authority))).expect("it is presented");
    assert_eq!(runtime.block_on(asks(&mut after)), StatusCode::NOT_FOUND);
    assert!(runtime.block_on(Client::connect(&site.endpoint())).is_err(), "and the old one no longer");
    let state = readiness(&site);
    assert_eq!((&state["certificates"]["files"], &state["certificates"]["faults"]), (&"used".into(), &0.into()));
    let (outcome, details) = leaves(&site).pop().expect("it is a leaf");
    assert_eq!(outcome, "0");
    assert!(details.contains("pki/gateway.pem") && !details.contains("gateway.key"), "{details}");
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn files_with_a_fault_leave_the_last_good_ones_in_use_and_say_so() {
    let site = DemoSite::new();
    let gateway = site.start_gateway();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let (endpoint, authority) = (site.endpoint(), authority());
    let answers = || runtime.block_on(Client::connect(&endpoint)).is_ok();
    let pki = site.gateway_folder().join("pki");
    let good = fs::read(pki.join("gateway.pem")).expect("it is there");
    let good_key = fs::read(pki.join("gateway.key")).expect("it is there");
    for (issued, says) in [
        (issue(&site, &authority, "DEMOX", 365), "the certificate is one of DEMOX, in the place of one of DEMOP"),
        (issue(&site, &authority, "DEMOP", 0), "the certificate does not hold now"),
        (
            Issued { key_pem: "no key".to_owned(), ..issue(&site, &authority, "DEMOP", 365) },
            "the private key is not PEM",
        ),
        (
            Issued {
                key_pem: String::from_utf8(good_key.clone()).expect("PEM"),
                ..issue(&site, &authority, "DEMOP", 9)
            },
            "the certificate and its key cannot be used",
        ),
    ] {
        put(&site, &issued);
        gateway.signal("HUP");
        wait_for("the fault to be told", || {
            fs::read_to_string(site.path("gateway.log")).expect("there is a log").contains(says)
        });
        wait_for("the refusal to be counted", || !has_metric(&site, "weir_certificate_faults 0"));
        let state = readiness(&site);
        assert!(state["certificates"]["files"].to_string().contains("the last good ones are used"), "{state}");
        assert!(answers(), "the last good ones are used: {says}");
    }
    assert!(has_metric(&site, "weir_certificates_read_total{outcome=\"refused\"}"));
    let (outcome, details) = leaves(&site).pop().expect("it is a leaf");
    assert!(outcome == "4" && details.contains("certificates-have-faults"), "{details}");
    fs::write(pki.join("gateway.key"), good_key).expect("it is written");
    fs::write(pki.join("gateway.pem"), good).expect("it is written");
    wait_for("the good ones to be used again", || readiness(&site)["certificates"]["faults"] == 0);
    assert!(answers() && has_metric(&site, "weir_certificate_faults 0"));
    assert_eq!(gateway.terminate(), Some(0));
}

#[test]
fn what_ends_within_thirty_days_is_told() {
    let site = DemoSite::new();
    let authority = authority();
    put(&site, &issue(&site, &authority, "DEMOP", 31));
    let gateway = site.start_gateway();
    let ours = |state: &Value| {
        let ending = state["certificates"]["ending"].as_array().expect("a list").clone();
        ending.into_iter().filter(|each| each["place"] == "records.certificate").collect::<Vec<_>>()
    };
    assert!(ours(&readiness(&site)).is_empty());
    let ends = "weir_certificate_end_timestamp_seconds{place=\"records.certificate\",what=\"our own certificate\"} ";
    assert!(has_metric(&site, ends));
    put(&site, &issue(&site, &authority, "DEMOP", 29));
    wait_for("the other certificate to be used", || !ours(&readiness(&site)).is_empty());
    let told = ours(&readiness(&site));
    assert_eq!((&told[0]["days"], &told[0]["ended"]), (&28.into(), &false.into()), "{told:?}");
    let log = fs::read_to_string(site.path("gateway.log")).expect("there is a log");
    assert!(log.contains("a certificate or list ends soon") && log.contains("records.certificate"));
    assert_eq!(gateway.terminate(), Some(0));
}

/// `weir partner check DEMOT`: the exit code, and what it prints.
fn check(site: &DemoSite) -> (Option<i32>, String) {
    let mut command = weir();
    command.args(["partner", "check", "DEMOT", "--site"]).arg(site.gateway_folder());
    let done = command.output().expect("weir runs");
    let (out, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    (done.status.code(), format!("{out}{error}"))
}

#[test]
fn a_check_of_a_partner_says_everything_that_is_wrong_at_once() {
    let site = DemoSite::new();
    let file = site.gateway_folder().join("partners/trust.toml");
    let good = fs::read_to_string(&file).expect("it is there");
    let (code, says) = check(&site);
    assert!(code == Some(1) && says.contains("refused: the partner cannot be reached (connection refused)"), "{says}");
    let trust = site.start_partner("trust", &[]);
    let (code, says) = check(&site);
    assert_eq!(code, Some(0), "{says}");
    for expected in
        ["TLSv1_3", "names: bars-demot.", "issued by CN=", "holds from 20", "key sha256/", "no key is pinned"]
    {
        assert!(says.contains(expected), "{expected}: {says}");
    }
    // The file of another partner, as it were: another authority, another party, another pin.
    let pki = site.gateway_folder().join("pki");
    fs::write(pki.join("other.pem"), authority().certificate_pem()).expect("it is written");
    let wrong = good.replace("pki/partner-ca.pem", "pki/other.pem").replace("bars-demot.", "bars-demox.");
    let pin = "spki_pins = [\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]\n";
    fs::write(&file, format!("{pin}{wrong}")).expect("it is written");
    let (code, says) = check(&site);
    assert_eq!(code, Some(1), "{says}");
    for expected in [
        "is not from an authority that its partner file trusts",
        "is not for the host name of its endpoint",
        "has a key that its partner file does not pin",
        "hint: check anchors in the partner file with the partner",
        "it is not one of those that are pinned",
    ] {
        assert!(says.contains(expected), "{expected}: {says}");
    }
    fs::write(&file, good).expect("it is written");
    // Our own certificate, of an authority that the partner does not know.
    drop(trust);
    let theirs = site.path("trust/pki/provider-ca.pem");
    fs::write(theirs, authority().certificate_pem()).expect("it is written");
    let _trust = site.start_partner("trust", &[]);
    let (code, says) = check(&site);
    assert!(code == Some(1) && says.contains("the partner refuses our certificate (TLS alert "), "{says}");
    let arrivals = fs::read_to_string(site.path("trust/inbox/arrivals.jsonl")).unwrap_or_default();
    assert!(arrivals.is_empty(), "nothing was sent");
}
