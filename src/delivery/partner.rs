//! A partner: to whom, over which routes and how hard a message is delivered. The section as written, and the checked
//! settings.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::endpoint::{Endpoint, RouteSection, Trusted};
use super::lane::{BreakerSection, LaneSettings};
use super::mesh::{Mailbox, MeshSection};
use super::rest::{RestRoute, RestSection, TokenRoute};
use super::setting::{SettingError, kept, wrong};
use crate::identity::PartyId;
use crate::identity::tls::{TrustAnchors, TrustFiles};

/// A partner as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerSection {
    /// The partner's ODS code: its certificate must name it.
    pub ods: String,
    /// Its name, for people.
    pub name: String,
    /// The FHIR base of its endpoint: `https://bars-demot.trust.example:9443/FHIR/R4`. Left out, with what follows of
    /// it, where messages go through MESH alone.
    #[serde(default)]
    pub endpoint: String,
    /// An IP address and port to connect to in place of the endpoint's; its name is still what is verified.
    pub connect: Option<String>,
    /// The service that messages are for, in its directory of services. Left out where no route is one of BaRS.
    #[serde(default)]
    pub service_id: String,
    /// The file of the authorities that issue the partner's certificate; a relative name starts at the site.
    #[serde(default)]
    pub trust_anchors: String,
    /// The file of the authorities that issue the certificates with which the partner connects to `[bars]`, where not every
    /// authority of `[bars]` may.
    pub client_trust_anchors: Option<String>,
    /// The files of those authorities' revocation lists. Without any, nothing is asked about revocation; with some, every
    /// authority of the partner needs one.
    #[serde(default)]
    pub revocation_lists: Vec<String>,
    /// How many hours a list is still used after the next one was due. Default 0, at most 168.
    #[serde(default)]
    pub revocation_grace_hours: u32,
    /// The lowest version of TLS that is spoken with it: `1.2` (the default) or `1.3`.
    pub minimum_tls: Option<String>,
    /// The keys that its certificate may have: `sha256/` and the base64 of the SHA-256 of the SubjectPublicKeyInfo.
    /// Without any, every key that its issuer vouches for.
    #[serde(default)]
    pub spki_pins: Vec<String>,
    /// The common name of its certificate, where that is an old one without subject alternative names. Without it, such a
    /// certificate is refused.
    pub legacy_common_name: Option<String>,
    /// The longest wait before the second attempt. Default 2.
    #[serde(default = "first_retry")]
    pub first_retry_seconds: f64,
    /// The longest wait before any attempt, also when the partner asks for a longer one. Default 300.
    #[serde(default = "max_retry")]
    pub max_retry_seconds: f64,
    /// The longest that one attempt takes, from connecting to the whole answer. Default 30.
    #[serde(default = "attempt_timeout")]
    pub attempt_timeout_seconds: f64,
    /// After how many failed attempts a person is told and no more are made; without it, never.
    pub max_attempts: Option<u32>,
    /// Attempts under way at a time, on each route. Default 32.
    #[serde(default = "concurrency")]
    pub max_concurrent: u32,
    /// Attempts begun a second, on each route, on average over a second; without it, as many as there are messages.
    pub max_per_second: Option<f64>,
    /// Whether each message brings its FHIR Provenance in the header X-Provenance, to check the gateway's signature with.
    /// Default false.
    #[serde(default)]
    pub show_provenance: bool,
    /// Whether its answer to a message comes later, as a message of its own to our `$process-message` (`[bars]` of
    /// weir.toml). Default false: it stands in the answer to the request.
    #[serde(default)]
    pub answers_later: bool,
    /// How often the partner is asked what it takes (`metadata`, `MessageDefinition`). Default 24; 0: never.
    #[serde(default = "day")]
    pub discovery_hours: f64,
    /// Whether messages wait while the partner says that it takes others alone. Default false: it is warned about.
    #[serde(default)]
    pub require_listed: bool,
    /// When a route is left alone because it fails, and how it is tried again.
    #[serde(default)]
    pub breaker: BreakerSection,
    /// Plain FHIR REST in place of BaRS at the endpoint.
    pub fhir_rest: Option<RestSection>,
    /// Further ways to the same partner, tried in this order when a message nears its deadline.
    #[serde(default)]
    pub next_routes: Vec<RouteSection>,
    /// NHS MESH: the last route, and the only one where there is no endpoint.
    pub mesh: Option<MeshSection>,
}

fn first_retry() -> f64 {
    2.0
}

fn max_retry() -> f64 {
    300.0
}

fn attempt_timeout() -> f64 {
    30.0
}

fn day() -> f64 {
    24.0
}

fn concurrency() -> u32 {
    32
}

/// What a route goes over: the settings of its transport.
#[derive(Clone, Debug)]
pub enum Over {
    /// `$process-message` of BaRS.
    Bars(Endpoint),
    /// Plain FHIR REST.
    Rest(Box<RestRoute>),
    /// NHS MESH.
    Mesh(Box<Mailbox>),
}

impl Over {
    /// The endpoint that is connected to with TLS.
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Over::Bars(endpoint) => endpoint,
            Over::Rest(rest) => &rest.endpoint,
            Over::Mesh(mailbox) => &mailbox.endpoint,
        }
    }

    /// Where a token is had before anything is sent, if the route wants one.
    pub fn token(&self) -> Option<&TokenRoute> {
        match self {
            Over::Rest(rest) => rest.token.as_ref(),
            Over::Bars(_) | Over::Mesh(_) => None,
        }
    }

    /// All endpoints that are connected to: the route's own, and the one that gives tokens.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        std::iter::once(self.endpoint()).chain(self.token().map(|token| &token.endpoint))
    }
}

/// A partner, checked.
#[derive(Clone, Debug)]
pub struct Partner {
    /// Its ODS code: its certificates must name it.
    pub ods: PartyId,
    /// Its name, for people.
    pub name: String,
    /// The service that messages are for; visible ASCII. Empty where no route is one of BaRS.
    pub service_id: String,
    /// Its routes, at least one; messages begin on the first.
    pub routes: Vec<Over>,
    /// How hard each of them is used.
    pub lane: LaneSettings,
    /// What is particular to BaRS.
    pub bars: BarsSettings,
    /// The authorities of the certificates that it connects to us with; none: those of `[bars]`.
    pub clients: Option<TrustAnchors>,
}

/// What is particular to a partner's BaRS endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarsSettings {
    /// Whether its answers come later, as messages of their own.
    pub answers_later: bool,
    /// How often it is asked what it takes; never without.
    pub discover_every: Option<Duration>,
    /// Whether messages wait while it says that it takes others alone.
    pub require_listed: bool,
}

impl Default for BarsSettings {
    fn default() -> BarsSettings {
        BarsSettings { answers_later: false, discover_every: Some(Duration::from_secs(86_400)), require_listed: false }
    }
}

impl PartnerSection {
    /// The checked settings. Reads the anchors; their names start at the folder `site`.
    ///
    /// # Errors
    /// Every setting that cannot be used.
    pub fn check(self, site: &Path) -> Result<Partner, Vec<SettingError>> {
        let mut faults = Vec::new();
        let ods = kept(self.ods.parse().map_err(|_| ods_fault()), &mut faults);
        let routes = self.routes(site, &mut faults);
        let service_id = kept(self.service(), &mut faults);
        let lane = LaneSettings::check(&self, &mut faults);
        let bars = kept(self.bars(), &mut faults);
        let clients = kept(self.clients(site), &mut faults);
        let checked = (|| {
            let (ods, service_id, lane, bars, clients) = (ods?, service_id?, lane?, bars?, clients?);
            Some(Partner { ods, name: self.name, service_id, routes, lane, bars, clients })
        })();
        checked.filter(|_| faults.is_empty()).ok_or(faults)
    }

    fn bars(&self) -> Result<BarsSettings, SettingError> {
        let is_asked = self.discovery_hours != 0.0;
        if is_asked && !(0.0005..=168.0).contains(&self.discovery_hours) {
            return Err(wrong("discovery_hours", "is out of range", "write hours from 0.0005 to 168, or 0 for never"));
        }
        if self.require_listed && !is_asked {
            return Err(wrong("require_listed", "needs the partner to be asked", "write discovery_hours, as 24"));
        }
        let discover_every = is_asked.then(|| Duration::from_secs_f64(self.discovery_hours * 3600.0));
        let (answers_later, require_listed) = (self.answers_later, self.require_listed);
        Ok(BarsSettings { answers_later, discover_every, require_listed })
    }

    fn clients(&self, site: &Path) -> Result<Option<TrustAnchors>, SettingError> {
        let Some(file) = &self.client_trust_anchors else { return Ok(None) };
        // What is revoked, the lists of [bars] say: each certificate must hold there as well.
        let files = TrustFiles { anchors: site.join(file), lists: Vec::new(), grace: Duration::ZERO };
        TrustAnchors::load(files)
            .map(Some)
            .map_err(|error| wrong("client_trust_anchors", format!("cannot be used ({error})"), error.hint()))
    }

    /// Whether messages go through MESH alone.
    fn is_by_mesh_alone(&self) -> bool {
        self.mesh.is_some() && self.endpoint.is_empty() && self.next_routes.is_empty()
    }

    fn service(&self) -> Result<String, SettingError> {
        let first = self.fhir_rest.is_none() && !self.is_by_mesh_alone();
        let by_bars = first || self.next_routes.iter().any(|route| route.fhir_rest.is_none());
        if by_bars { service_id(&self.service_id) } else { Ok(String::new()) }
    }

    /// The endpoints, then MESH.
    fn routes(&self, site: &Path, faults: &mut Vec<SettingError>) -> Vec<Over> {
        let mut routes = if self.is_by_mesh_alone() { Vec::new() } else { self.endpoints(site, faults) };
        let mesh = self.mesh.as_ref().and_then(|mesh| mesh.check(site, &self.ods, faults));
        routes.extend(mesh.map(|mailbox| Over::Mesh(Box::new(mailbox))));
        routes
    }

    /// The first endpoint, whose settings stand in the partner's own table, and the others.
    fn endpoints(&self, site: &Path, faults: &mut Vec<SettingError>) -> Vec<Over> {
        let first = RouteSection {
            endpoint: self.endpoint.clone(),
            connect: self.connect.clone(),
            trust_anchors: None,
            revocation_lists: None,
            minimum_tls: self.minimum_tls.clone(),
            spki_pins: self.spki_pins.clone(),
            legacy_common_name: self.legacy_common_name.clone(),
            fhir_rest: self.fhir_rest.clone(),
        };
        let (anchors, lists, grace_hours) =
            (self.trust_anchors.as_str(), &self.revocation_lists[..], self.revocation_grace_hours);
        let from = &Trusted { site, anchors, lists, grace_hours };
        let mut routes: Vec<Over> = first.route("", from, faults).into_iter().collect();
        routes.extend(self.next_routes.iter().filter_map(|each| each.route("next_routes.", from, faults)));
        routes
    }
}

fn ods_fault() -> SettingError {
    wrong("ods", "is not an ODS code", "write 1 to 9 letters and digits")
}

fn service_id(text: &str) -> Result<String, SettingError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("service_id", "is empty or not visible ASCII", "write the id of the partner's service"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::identity::issuance::{Authority, Validity};
    use crate::identity::tls::TlsVersion;
    use time::macros::datetime;

    const WRITTEN: &str = r#"
        ods = "demot"
        name = "Demo Trust"
        endpoint = "https://bars-demot.trust.example:9443/FHIR/R4/"
        connect = "127.0.0.1:9443"
        service_id = "2000099999"
        trust_anchors = "ca.pem"
        first_retry_seconds = 0.25
        max_attempts = 20
        minimum_tls = "1.3"
        spki_pins = ["sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
    "#;

    #[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
    fn site() -> tempfile::TempDir {
        let site = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("CA", Validity::days(datetime!(2026-01-01 00:00 UTC), 1)).expect("an authority");
        std::fs::write(site.path().join("ca.pem"), authority.certificate_pem()).expect("it is written");
        std::fs::write(site.path().join("empty.pem"), "").expect("it is written");
        site
    }

    /// A partner with these settings more.
    pub(in crate::delivery) fn partner(settings: &str) -> Partner {
        let section: PartnerSection = toml::from_str(&format!("{WRITTEN}\n{settings}")).expect("it is TOML");
        section.check(site().path()).expect("it is right")
    }

    fn faults(change: impl FnOnce(&mut PartnerSection)) -> Vec<String> {
        let mut section: PartnerSection = toml::from_str(WRITTEN).expect("it is TOML");
        change(&mut section);
        section
            .check(site().path())
            .map_or_else(|faults| faults.into_iter().map(|fault| fault.key).collect(), |_| vec![])
    }

    #[test]
    fn a_section_becomes_a_partner() {
        let partner = partner("");
        assert_eq!(partner.ods.as_str(), "DEMOT");
        let [Over::Bars(endpoint)] = &partner.routes[..] else { panic!("{:?}", partner.routes) };
        assert_eq!(endpoint.base, "https://bars-demot.trust.example:9443/FHIR/R4");
        assert_eq!((endpoint.minimum_tls, endpoint.pins.len()), (TlsVersion::Tls13, 1));
        assert_eq!(partner.lane.schedule.first, Duration::from_millis(250));
        assert_eq!(partner.lane.schedule.max, Duration::from_secs(300));
        assert_eq!(partner.lane.max_attempts, Some(20));
        assert_eq!((partner.lane.concurrency, partner.lane.rate), (32, None));
    }

    #[test]
    fn a_further_route_has_an_endpoint_of_its_own_and_the_partners_anchors() {
        let next = "[[next_routes]]\nendpoint = \"https://bars-demot.spare.example/FHIR/R4\"\n";
        let partner = partner(next);
        let [_, Over::Bars(second)] = &partner.routes[..] else { panic!("{:?}", partner.routes) };
        assert_eq!((second.host(), second.minimum_tls), ("bars-demot.spare.example", TlsVersion::Tls12));
        let other = RouteSection {
            endpoint: "ftp://spare.example".to_owned(),
            connect: None,
            trust_anchors: Some("missing.pem".to_owned()),
            revocation_lists: None,
            minimum_tls: None,
            spki_pins: vec![],
            legacy_common_name: None,
            fhir_rest: None,
        };
        let faults = faults(|section| section.next_routes.push(other));
        assert_eq!(faults, ["next_routes.endpoint", "next_routes.trust_anchors"]);
    }

    #[test]
    fn a_route_of_fhir_rest_needs_no_service_and_stands_beside_others() {
        let rest = WRITTEN.replace("service_id = \"2000099999\"\n", "") + "[fhir_rest]\ninteraction = \"create\"\n";
        let checked = |text: &str| toml::from_str::<PartnerSection>(text).expect("it is TOML").check(site().path());
        let partner = checked(&rest).expect("it is right");
        assert!(matches!(&partner.routes[..], [Over::Rest(_)]) && partner.service_id.is_empty());
        let next = "[[next_routes]]\nendpoint = \"https://bars-demot.spare.example/FHIR/R4\"\n";
        let fault = checked(&format!("{rest}{next}")).expect_err("BaRS wants a service");
        assert_eq!(fault[0].key, "service_id");
        let next = format!("{WRITTEN}{next}[next_routes.fhir_rest]\ninteraction = \"transaction\"\n");
        assert!(matches!(&checked(&next).expect("it is right").routes[..], [Over::Bars(_), Over::Rest(_)]));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<PartnerSection>(&format!("{WRITTEN}\nfirst_retry = 1")).is_err());
    }

    #[test]
    fn every_fault_is_found_at_its_key() {
        for endpoint in [
            "",
            "http://trust.example/FHIR",
            "trust.example",
            "https://",
            "https://a b/",
            "https://trust.example/?a=b",
            "https://user@trust.example/",
        ] {
            assert_eq!(faults(|section| section.endpoint = endpoint.to_owned()), ["endpoint"], "{endpoint}");
        }
        assert_eq!(faults(|section| section.connect = Some("localhost:1".to_owned())), ["connect"]);
        assert_eq!(faults(|section| section.trust_anchors = "missing.pem".to_owned()), ["trust_anchors"]);
        assert_eq!(faults(|section| section.minimum_tls = Some("1.1".to_owned())), ["minimum_tls"]);
        assert_eq!(faults(|section| section.spki_pins.push("AAAA".to_owned())), ["spki_pins"]);
        assert_eq!(faults(|section| section.trust_anchors = "empty.pem".to_owned()), ["trust_anchors"]);
        let clients = |section: &mut PartnerSection| section.client_trust_anchors = Some("missing.pem".to_owned());
        assert_eq!(faults(clients), ["client_trust_anchors"]);
        assert_eq!(faults(|section| section.revocation_lists = vec!["ca.pem".to_owned()]), ["revocation_lists"]);
        assert_eq!(faults(|section| section.revocation_grace_hours = 169), ["revocation_grace_hours"]);
        for name in ["", "*.trust.example", "a b"] {
            assert_eq!(faults(|section| section.legacy_common_name = Some(name.to_owned())), ["legacy_common_name"]);
        }
        assert_eq!(faults(|section| section.attempt_timeout_seconds = f64::NAN), ["attempt_timeout_seconds"]);
        assert_eq!(faults(|section| section.max_retry_seconds = 0.1), ["max_retry_seconds"]);
        assert_eq!(faults(|section| section.discovery_hours = 0.0001), ["discovery_hours"]);
        let unasked = |section: &mut PartnerSection| (section.discovery_hours, section.require_listed) = (0.0, true);
        assert_eq!(faults(unasked), ["require_listed"]);
        assert_eq!(faults(|section| section.discovery_hours = 0.0), [""; 0]);
        let several = faults(|section| {
            section.ods = "RX-1".to_owned();
            section.service_id = String::new();
            section.first_retry_seconds = 0.0;
            section.max_attempts = Some(0);
        });
        assert_eq!(several, ["ods", "service_id", "first_retry_seconds", "max_attempts"]);
        let lane = faults(|section| {
            section.max_concurrent = 0;
            section.max_per_second = Some(f64::INFINITY);
            section.breaker.failures = 0;
            section.breaker.open_seconds = -1.0;
            section.breaker.probes = 33;
        });
        let expected =
            ["max_concurrent", "max_per_second", "breaker.failures", "breaker.open_seconds", "breaker.probes"];
        assert_eq!(lane, expected);
    }
}
