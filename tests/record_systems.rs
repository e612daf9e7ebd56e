//! Who may submit records: the party comes from the client certificate, and nothing else will do.
#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::fs;

use hyper::StatusCode;
use support::{DemoSite, Process};
use time::{Duration, OffsetDateTime};
use weir::cli::client::Client;
use weir::config::Endpoint;
use weir::identity::PartyId;
use weir::identity::issuance::{Authority, Issued, Validity};
use weir::identity::tls::{Credentials, TrustAnchors, client_config, system_clock};

/// A running gateway whose provider authority the test holds, so that it can issue what it likes.
struct Provider {
    site: DemoSite,
    authority: Authority,
    runtime: tokio::runtime::Runtime,
    _gateway: Process,
}

fn party(ods: &str) -> PartyId {
    ods.parse().expect("an ODS code")
}

fn valid() -> Validity {
    Validity::days(OffsetDateTime::now_utc(), 1)
}

fn issue(authority: &Authority, ods: &str, validity: Validity) -> Issued {
    authority.issue(&party(ods), "provider.example", &[], validity).expect("a certificate")
}

impl Provider {
    fn new() -> Provider {
        let site = DemoSite::new();
        let authority = Authority::new("Test provider CA", valid()).expect("an authority");
        let pki = site.path("gateway/pki");
        fs::write(pki.join("provider-ca.pem"), authority.certificate_pem()).expect("it is written");
        for name in ["gateway", "records"] {
            let issued = issue(&authority, "DEMOP", valid());
            fs::write(pki.join(format!("{name}.pem")), issued.certificate_pem).expect("it is written");
            fs::write(pki.join(format!("{name}.key")), issued.key_pem).expect("it is written");
        }
        let gateway = site.start_gateway();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        Provider { site, authority, runtime, _gateway: gateway }
    }

    /// Submits a good record with these credentials: the status, or why there was no answer.
    fn submit(&self, issued: &Issued) -> Result<StatusCode, String> {
        let pem = |text: &str| text.as_bytes().to_vec();
        let credentials = Credentials::from_pem(&pem(&issued.certificate_pem), &pem(&issued.key_pem)).expect("PEM");
        let anchors = TrustAnchors::from_pem(self.authority.certificate_pem().as_bytes()).expect("an anchor");
        let tls = client_config(&credentials, &anchors, system_clock()).expect("usable credentials");
        self.submit_over(&Endpoint { tls, ..self.site.endpoint() })
    }

    fn submit_over(&self, endpoint: &Endpoint) -> Result<StatusCode, String> {
        let record = self.site.record("crisis-escalation-minimal.json");
        self.runtime.block_on(async {
            let mut client = Client::connect(endpoint).await.map_err(|error| format!("{error:#}"))?;
            let answer = client.submit("crisis-escalation", None, record.into()).await;
            answer.map(|answer| answer.status).map_err(|error| format!("{error:#}"))
        })
    }

    /// What the record system presents that the site lists.
    fn listed(&self) -> Issued {
        let read = |ending: &str| fs::read_to_string(self.site.path(&format!("gateway/pki/records.{ending}")));
        Issued { certificate_pem: read("pem").expect("it is there"), key_pem: read("key").expect("it is there") }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.site.path("gateway.log")).expect("there is a log")
    }
}

#[test]
fn only_the_provider_s_own_certified_systems_may_submit() {
    let provider = Provider::new();
    assert_eq!(provider.submit(&provider.listed()), Ok(StatusCode::ACCEPTED));

    // Another certificate of the provider, which its site does not list.
    assert_eq!(provider.submit(&issue(&provider.authority, "DEMOP", valid())), Ok(StatusCode::FORBIDDEN));

    // A certificate for another party, of the right authority: known, but not one of this provider's.
    let stranger = issue(&provider.authority, "DEMOX", valid());
    assert_eq!(provider.submit(&stranger), Ok(StatusCode::FORBIDDEN));

    // The right name from another authority, and a certificate that has expired: refused before HTTP.
    let other = Authority::new("Another CA", valid()).expect("an authority");
    provider.submit(&issue(&other, "DEMOP", valid())).expect_err("another authority is not trusted");
    let past = OffsetDateTime::now_utc() - Duration::days(2);
    let expired = Validity { from: past - Duration::days(1), until: past };
    provider.submit(&issue(&provider.authority, "DEMOP", expired)).expect_err("it has expired");

    // No certificate at all.
    let anchors = provider.site.path("gateway/pki/provider-ca.pem");
    let mut roots = rustls::RootCertStore::empty();
    let pem = fs::read(anchors).expect("it is there");
    for certificate in rustls_pki_types::pem::PemObject::pem_slice_iter(&pem) {
        roots.add(certificate.expect("PEM")).expect("an anchor");
    }
    let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
    let config = config.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
    let tls = config.with_no_client_auth().into();
    provider.submit_over(&Endpoint { tls, ..provider.site.endpoint() }).expect_err("no certificate was shown");

    // A client may learn of its refusal a moment before the gateway has logged it.
    for said in ["UnknownIssuer", "certificate expired", "peer sent no certificates"] {
        support::wait_for(&format!("the log to say `{said}`"), || provider.log().contains(said));
    }
    let (_, metrics) = support::http_get(provider.site.operations(), "/metrics").expect("metrics are there");
    let accepted = r#"weir_submissions_total{interface="crisis-escalation",outcome="accepted"} 1"#;
    assert!(metrics.lines().any(|line| line == accepted), "{metrics}");
}
