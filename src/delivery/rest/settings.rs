//! `[fhir_rest]` of a route, as written and checked: what is posted, and where a token is had if the partner wants one.

use std::collections::BTreeMap;

use http::Uri;
use serde::Deserialize;

use super::signing::SigningFile;
use crate::delivery::endpoint::Trusted;
use crate::delivery::setting::{SettingError, kept, wrong};
use crate::delivery::{Endpoint, RouteSection};
use crate::fhir::transaction::Matched;
use crate::identity::assertion::Algorithm;
use crate::identity::coded;

coded! {
    /// What is posted to a FHIR server.
    Interaction, "an interaction" {
        /// A transaction that creates each resource of the message.
        Transaction = "transaction",
        /// The message Bundle, to be stored as it is.
        Create = "create",
        /// The message, to be processed: FHIR messaging.
        ProcessMessage = "process-message",
    }
}

/// `[fhir_rest]` of a partner's file, or of one of its `[[next_routes]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestSection {
    /// `transaction`, `create` or `process-message`.
    pub interaction: Interaction,
    /// For a transaction: the types of which the partner's own resource is used if it has one, each with the identifier
    /// system by which it is found. All others are created.
    #[serde(default)]
    pub match_by: BTreeMap<String, String>,
    /// Where a token is had, if the partner wants one.
    pub token: Option<TokenSection>,
}

/// `[fhir_rest.token]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSection {
    /// The token endpoint.
    pub endpoint: String,
    /// An IP address and port to connect to in place of the endpoint's.
    pub connect: Option<String>,
    /// The file of the authorities that issue its certificate. Default: those of the partner's own table.
    pub trust_anchors: Option<String>,
    /// As for the partner's own endpoint.
    pub revocation_lists: Option<Vec<String>>,
    /// As for the partner's own endpoint.
    pub minimum_tls: Option<String>,
    /// As for the partner's own endpoint.
    #[serde(default)]
    pub spki_pins: Vec<String>,
    /// As whom the server knows us.
    pub client_id: String,
    /// The file of our private key, which its owner alone can read: PEM, PKCS #8.
    pub key_file: String,
    /// What the server calls the key.
    pub key_id: String,
    /// How we sign: `RS384`, `ES384`, `RS512`, `RS256` or `ES256`.
    pub algorithm: Algorithm,
    /// What we ask for, if anything.
    pub scope: Option<String>,
    /// Whom an assertion is for, where that is not the token endpoint.
    pub audience: Option<String>,
}

/// A FHIR server of a partner, checked.
#[derive(Clone, Debug)]
pub struct RestRoute {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Where a token is had, if it wants one.
    pub token: Option<TokenRoute>,
    pub(super) interaction: Interaction,
    pub(super) matched: Matched,
}

impl TokenRoute {
    /// What we sign with.
    pub fn key(&self) -> &SigningFile {
        &self.key
    }
}

/// A token server, checked.
#[derive(Clone, Debug)]
pub struct TokenRoute {
    /// Where it is; the host is what counts.
    pub endpoint: Endpoint,
    /// The token endpoint as the file has it.
    pub(super) target: Uri,
    pub(super) client_id: String,
    pub(super) key: SigningFile,
    pub(super) key_id: String,
    pub(super) scope: Option<String>,
    pub(super) audience: String,
}

impl RestSection {
    /// The checked settings of the route to `endpoint`; their faults stand at keys that begin with `place`. Files are as
    /// `partners` says.
    pub(in crate::delivery) fn check(
        &self,
        endpoint: Option<Endpoint>,
        place: &str,
        partners: &Trusted<'_>,
        faults: &mut Vec<SettingError>,
    ) -> Option<RestRoute> {
        let before = faults.len();
        let matched = kept(self.matched(), faults);
        let token = match &self.token {
            Some(token) => token.check(partners, faults).map(Some),
            None => Some(None),
        };
        faults[before..].iter_mut().for_each(|fault| fault.key.insert_str(0, &format!("{place}fhir_rest.")));
        Some(RestRoute { endpoint: endpoint?, token: token?, interaction: self.interaction, matched: matched? })
    }

    fn matched(&self) -> Result<Matched, SettingError> {
        if self.interaction != Interaction::Transaction && !self.match_by.is_empty() {
            let remedy = "leave it out, or write interaction = \"transaction\"";
            return Err(wrong("match_by", "stands beside an interaction that creates one resource", remedy));
        }
        for (kind, system) in &self.match_by {
            let is_type = kind.starts_with(|first: char| first.is_ascii_uppercase())
                && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
            if !is_type || !is_plain(system, 1000) || system.contains(['|', ' ', '&', '#', '%', '\\', ',', '$']) {
                let remedy = "write a resource type and the identifier system by which it is found, a URI";
                return Err(wrong(format!("match_by.{kind}"), "cannot be looked for", remedy));
            }
        }
        Ok(self.match_by.clone())
    }
}

impl TokenSection {
    fn check(&self, partners: &Trusted<'_>, faults: &mut Vec<SettingError>) -> Option<TokenRoute> {
        let before = faults.len();
        let endpoint = self.route().check("", partners, faults);
        for fault in &mut faults[before..] {
            if fault.key == "endpoint" {
                fault.remedy = "write the token endpoint as https://<host name>[:<port>]/<path>, without a query";
            }
        }
        let client_id = kept(plain("client_id", &self.client_id), faults);
        let key_id = kept(plain("key_id", &self.key_id), faults);
        let key = kept(SigningFile::load(partners.site.join(&self.key_file), self.algorithm), faults);
        let scope = kept(self.scope.as_deref().map(|scope| plain("scope", scope)).transpose(), faults);
        let audience = kept(plain("audience", self.audience.as_deref().unwrap_or(&self.endpoint)), faults);
        faults[before..].iter_mut().for_each(|fault| fault.key.insert_str(0, "token."));
        Some(TokenRoute {
            endpoint: endpoint?,
            target: self.endpoint.parse().ok()?,
            client_id: client_id?,
            key: key?,
            key_id: key_id?,
            scope: scope?,
            audience: audience?,
        })
    }

    fn route(&self) -> RouteSection {
        RouteSection {
            endpoint: self.endpoint.clone(),
            connect: self.connect.clone(),
            trust_anchors: self.trust_anchors.clone(),
            revocation_lists: self.revocation_lists.clone(),
            minimum_tls: self.minimum_tls.clone(),
            spki_pins: self.spki_pins.clone(),
            legacy_common_name: None,
            fhir_rest: None,
        }
    }
}

/// Visible ASCII and spaces.
fn is_plain(text: &str, most: usize) -> bool {
    let visible = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    (1..=most).contains(&text.len()) && visible && text.trim() == text
}

fn plain(key: &str, text: &str) -> Result<String, SettingError> {
    if is_plain(text, 1000) {
        return Ok(text.to_owned());
    }
    Err(wrong(key, "is empty, too long or not visible ASCII", "write it as the partner's token server knows it"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test need not be durable")]
mod tests {
    use super::*;
    use crate::identity::issuance::{Authority, Validity};
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
    use base64::Engine as _;
    use std::os::unix::fs::PermissionsExt as _;
    use time::macros::datetime;

    const WRITTEN: &str = r#"
        interaction = "transaction"
        [match_by]
        Organization = "https://fhir.nhs.uk/Id/ods-organization-code"
        [token]
        endpoint = "https://auth.trust.example/oauth2/token/"
        client_id = "weir"
        key_file = "token.key"
        key_id = "weir-1"
        algorithm = "ES384"
        scope = "system/*.c"
    "#;

    fn site() -> tempfile::TempDir {
        let site = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str, mode: u32| {
            let file = site.path().join(name);
            std::fs::write(&file, text).expect("it is written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        let authority = Authority::new("CA", Validity::days(datetime!(2026-01-01 00:00 UTC), 1)).expect("an authority");
        write("ca.pem", authority.certificate_pem(), 0o644);
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        let der = base64::engine::general_purpose::STANDARD.encode(pair.to_pkcs8v1().expect("a form"));
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
        write("token.key", &pem, 0o600);
        write("open.key", &pem, 0o644);
        site
    }

    fn checked(change: impl FnOnce(&mut RestSection)) -> Result<RestRoute, Vec<String>> {
        let (site, mut faults) = (site(), Vec::new());
        let mut section: RestSection = toml::from_str(WRITTEN).expect("it is TOML");
        change(&mut section);
        let partners = Trusted { site: site.path(), anchors: "ca.pem", lists: &[], grace_hours: 0 };
        let route = TokenSection { endpoint: "https://fhir.trust.example/r4".to_owned(), ..token(&section) }.route();
        let endpoint = route.check("", &partners, &mut faults);
        let route = section.check(endpoint, "next_routes.", &partners, &mut faults);
        route.filter(|_| faults.is_empty()).ok_or_else(|| faults.into_iter().map(|fault| fault.key).collect())
    }

    fn token(section: &RestSection) -> TokenSection {
        let written: RestSection = toml::from_str(WRITTEN).expect("it is TOML");
        TokenSection { connect: section.token.as_ref().and(None), ..written.token.expect("it has one") }
    }

    #[test]
    fn a_section_becomes_a_route() {
        let route = checked(|_| {}).expect("it is right");
        let token = route.token.expect("it wants one");
        assert_eq!(token.target, "https://auth.trust.example/oauth2/token/", "the path stays as it is");
        assert_eq!(token.audience, "https://auth.trust.example/oauth2/token/");
        assert_eq!((token.client_id.as_str(), token.scope.as_deref()), ("weir", Some("system/*.c")));
        assert_eq!(route.interaction, Interaction::Transaction);
        assert_eq!(route.matched["Organization"], "https://fhir.nhs.uk/Id/ods-organization-code");
        assert!(checked(|section| section.token = None).expect("it is right").token.is_none());
        assert!(toml::from_str::<RestSection>("interaction = \"update\"").is_err());
    }

    #[test]
    fn every_fault_is_found_at_its_key() {
        let faults = |change: fn(&mut TokenSection)| {
            checked(|section| change(section.token.as_mut().expect("it has one"))).expect_err("it is wrong")
        };
        let at = |key: &str| vec![format!("next_routes.fhir_rest.{key}")];
        assert_eq!(faults(|token| token.endpoint = "http://auth.example".to_owned()), at("token.endpoint"));
        assert_eq!(faults(|token| token.trust_anchors = Some("no.pem".to_owned())), at("token.trust_anchors"));
        assert_eq!(faults(|token| token.key_file = "missing".to_owned()), at("token.key_file"));
        assert_eq!(faults(|token| token.key_file = "open.key".to_owned()), at("token.key_file"));
        assert_eq!(faults(|token| token.algorithm = Algorithm::Rs384), at("token.key_file"));
        assert_eq!(faults(|token| token.client_id = String::new()), at("token.client_id"));
        assert_eq!(faults(|token| token.key_id = "a\nb".to_owned()), at("token.key_id"));
        assert_eq!(faults(|token| token.scope = Some(" ".to_owned())), at("token.scope"));
        let alone = checked(|section| section.interaction = Interaction::Create).expect_err("it is wrong");
        assert_eq!(alone, at("match_by"));
        let odd = checked(|section| {
            section.match_by.insert("patient".to_owned(), "s".to_owned());
        });
        assert_eq!(odd.expect_err("it is wrong"), at("match_by.patient"));
    }
}
