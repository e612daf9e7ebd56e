//! Who a peer is, by its certificate.
//!
//! Enters: an end-entity certificate whose chain rustls has verified. Leaves: the one [`PartyId`] it names.
//! Convention (BaRS, transport security): a subject alternative DNS name `bars-<ODS code>.<organisation's domain>`.
//! The common name is never read (RFC 6125 section 6.4.4; webpki ignores it too), nor is any header.
//! Invariant: a certificate that names no party, two parties, or was not issued for the role names nobody.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::PartyId;
use super::issuance::Validity;

/// What the holder of a certificate does in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens the connection: needs extended key usage `clientAuth`.
    Client,
    /// Accepts the connection: needs extended key usage `serverAuth`.
    Server,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Client => "client (extended key usage clientAuth)",
            Role::Server => "server (extended key usage serverAuth)",
        })
    }
}

/// Why a certificate names no party.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not DER of an X.509 certificate, or with an extension that is malformed or stands twice.
    #[error("the certificate is not well-formed X.509")]
    Malformed,
    /// No subject alternative name.
    #[error("the certificate has no subject alternative name")]
    NoName,
    /// A subject alternative name with bytes that no host name has.
    #[error("a subject alternative name of the certificate is not a host name")]
    BadName,
    /// A wildcard stands for many names.
    #[error("the certificate has a wildcard name")]
    Wildcard,
    /// No name follows the convention.
    #[error("no DNS name of the certificate has the form bars-<ODS code>.<domain>")]
    NoParty,
    /// A name follows the convention with something that is not an ODS code.
    #[error("a DNS name of the certificate has the form bars-<ODS code>.<domain>, but not with an ODS code")]
    BadCode,
    /// It names more than one party.
    #[error("the certificate names two parties, {first} and {second}")]
    TwoParties {
        /// The one that stands first.
        first: PartyId,
        /// Another.
        second: PartyId,
    },
    /// A certification authority's own certificate.
    #[error("the certificate is one of a certification authority")]
    Authority,
    /// Not issued for what it is used for.
    #[error("the certificate was not issued for a {role}")]
    Purpose {
        /// What it is used for.
        role: Role,
    },
}

impl CertificateError {
    /// What the certificate's holder can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            CertificateError::Authority | CertificateError::Malformed => {
                "present an end-entity certificate issued to the organisation"
            }
            CertificateError::Purpose { .. } => {
                "ask the issuer for a certificate with the extended key usages clientAuth and serverAuth"
            }
            CertificateError::NoName
            | CertificateError::BadName
            | CertificateError::Wildcard
            | CertificateError::NoParty
            | CertificateError::BadCode
            | CertificateError::TwoParties { .. } => {
                "ask the issuer for a certificate with one subject alternative DNS name bars-<ODS code>.<domain>"
            }
        }
    }
}

/// The party that an end-entity certificate names, if it was issued for `role`. The chain is rustls' concern.
///
/// # Errors
/// [`CertificateError`], when not exactly one party is named or the certificate is not for this use.
pub fn party_of(certificate: &CertificateDer<'_>, role: Role) -> Result<PartyId, CertificateError> {
    let (rest, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    if !rest.is_empty() {
        return Err(CertificateError::Malformed);
    }
    end_entity(&certificate)?;
    issued_for(&certificate, role)?;
    named_party(&certificate)
}

/// A certificate, for people.
#[derive(Clone, Debug)]
pub struct Described {
    /// `CN=…`
    pub subject: String,
    /// `CN=…`
    pub issuer: String,
    /// Its subject alternative DNS names; of one that is no host name, what can be shown.
    pub names: Vec<String>,
    /// When it holds.
    pub validity: Validity,
}

/// What a certificate says of itself; nothing of it is verified.
///
/// # Errors
/// [`CertificateError::Malformed`]
pub fn describe(certificate: &CertificateDer<'_>) -> Result<Described, CertificateError> {
    let validity = validity_of(certificate)?;
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
    let shown = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::Invalid(..) => Some("(not readable)".to_owned()),
        _ => None,
    };
    let names = names.map(|names| names.value.general_names.iter().filter_map(shown).collect()).unwrap_or_default();
    let (subject, issuer) = (certificate.subject().to_string(), certificate.issuer().to_string());
    Ok(Described { subject: printable(&subject), issuer: printable(&issuer), names, validity })
}

/// A peer's words on a terminal: nothing that steers it.
fn printable(text: &str) -> String {
    text.chars().map(|each| if each.is_control() { '\u{fffd}' } else { each }).collect()
}

/// From when until when a certificate holds.
///
/// # Errors
/// [`CertificateError::Malformed`]
pub fn validity_of(certificate: &CertificateDer<'_>) -> Result<Validity, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let validity = certificate.validity();
    Ok(Validity { from: validity.not_before.to_datetime(), until: validity.not_after.to_datetime() })
}

/// The one common name of a certificate without subject alternative names, as the NHS issued them once; `None` for a
/// certificate that has any. It names nobody by itself: see `legacy_common_name` of a partner's file.
///
/// # Errors
/// [`CertificateError::Malformed`], also when there is not exactly one common name, or it is not a host name.
pub fn legacy_common_name(certificate: &CertificateDer<'_>) -> Result<Option<String>, CertificateError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    if certificate.subject_alternative_name().map_err(|_| CertificateError::Malformed)?.is_some() {
        return Ok(None);
    }
    let mut names = certificate.subject().iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return Err(CertificateError::Malformed) };
    let name = name.as_str().map_err(|_| CertificateError::Malformed)?;
    if is_host(name) { Ok(Some(name.to_owned())) } else { Err(CertificateError::Malformed) }
}

/// What the certificate is for, whoever it names: of no authority, and issued for `role`.
///
/// # Errors
/// [`CertificateError`]
pub fn usable_as(certificate: &CertificateDer<'_>, role: Role) -> Result<(), CertificateError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    end_entity(&certificate)?;
    issued_for(&certificate, role)
}

fn is_host(name: &str) -> bool {
    let host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.is_empty() && name.bytes().all(host)
}

fn end_entity(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let constraints = certificate.basic_constraints().map_err(|_| CertificateError::Malformed)?;
    let usage = certificate.key_usage().map_err(|_| CertificateError::Malformed)?;
    let authority = constraints.is_some_and(|constraints| constraints.value.ca);
    let signs = usage.is_some_and(|usage| usage.value.key_cert_sign());
    if authority || signs { Err(CertificateError::Authority) } else { Ok(()) }
}

/// The role's own usage must be listed; `anyExtendedKeyUsage` does not stand in for it.
fn issued_for(certificate: &X509Certificate<'_>, role: Role) -> Result<(), CertificateError> {
    let usage = certificate.extended_key_usage().map_err(|_| CertificateError::Malformed)?;
    let listed = usage.is_some_and(|usage| match role {
        Role::Client => usage.value.client_auth,
        Role::Server => usage.value.server_auth,
    });
    if listed { Ok(()) } else { Err(CertificateError::Purpose { role }) }
}

fn named_party(certificate: &X509Certificate<'_>) -> Result<PartyId, CertificateError> {
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
    let names = names.ok_or(CertificateError::NoName)?;
    let mut party: Option<PartyId> = None;
    for name in &names.value.general_names {
        let Some(named) = party_in(name)? else { continue };
        match party {
            Some(first) if first != named => return Err(CertificateError::TwoParties { first, second: named }),
            _ => party = Some(named),
        }
    }
    party.ok_or(CertificateError::NoParty)
}

/// The party in one name; `None` for a name that does not follow the convention, as `localhost`.
fn party_in(name: &GeneralName<'_>) -> Result<Option<PartyId>, CertificateError> {
    let name = match name {
        GeneralName::DNSName(name) => *name,
        GeneralName::Invalid(..) => return Err(CertificateError::BadName),
        _ => return Ok(None),
    };
    if name.contains('*') {
        return Err(CertificateError::Wildcard);
    }
    if !is_host(name) {
        return Err(CertificateError::BadName);
    }
    let Some((label, domain)) = name.split_once('.') else { return Ok(None) };
    let prefixed = label.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("bars-"));
    if !prefixed || domain.is_empty() {
        return Ok(None);
    }
    label[5..].parse().map(Some).map_err(|_| CertificateError::BadCode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        KeyUsagePurpose, SanType,
    };

    fn certificate(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        let name = |name: &&str| SanType::DnsName((*name).try_into().expect("it is ASCII"));
        params.subject_alt_names = names.iter().map(name).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key is made");
        params.self_signed(&key).expect("it is signed").der().clone()
    }

    fn named(names: &[&str]) -> Result<String, CertificateError> {
        party_of(&certificate(names, |_| {}), Role::Client).map(|party| party.to_string())
    }

    #[test]
    fn the_party_is_in_the_first_label_of_a_dns_name() {
        for names in [
            &["bars-RX1.trust.example"][..],
            &["BaRS-rx1.Trust.Example"],
            &["localhost", "bars-rx1.trust.example"],
            &["bars-RX1.one.example", "bars-rx1.two.example", "www.trust.example"],
        ] {
            assert_eq!(named(names), Ok("RX1".to_owned()), "{names:?}");
        }
    }

    #[test]
    fn a_name_that_is_not_one_party_names_nobody() {
        for (names, expected) in [
            (&[][..], CertificateError::NoName),
            (&["localhost"], CertificateError::NoParty),
            (&["bars-RX1"], CertificateError::NoParty),
            (&["bars-RX1."], CertificateError::NoParty),
            (&["www.bars-RX1.trust.example"], CertificateError::NoParty),
            (&["xbars-RX1.trust.example"], CertificateError::NoParty),
            (&["bars-.trust.example"], CertificateError::BadCode),
            (&["bars-ABCDEFGHIJ.trust.example"], CertificateError::BadCode),
            (&["bars-RX-1.trust.example"], CertificateError::BadCode),
            (&["*.trust.example"], CertificateError::Wildcard),
            (&["bars-RX1.trust.example", "*.trust.example"], CertificateError::Wildcard),
            (&["bars-RX1\0.trust.example"], CertificateError::BadName),
            (&["bars-RX1.trust.example\0.evil.example"], CertificateError::BadName),
            (&["bars-RX1 .trust.example"], CertificateError::BadName),
        ] {
            assert_eq!(named(names), Err(expected), "{names:?}");
        }
        let (first, second) = ("RX1".parse().expect("a code"), "RX2".parse().expect("a code"));
        assert_eq!(
            named(&["bars-rx1.trust.example", "bars-rx2.trust.example"]),
            Err(CertificateError::TwoParties { first, second })
        );
    }

    #[test]
    fn bytes_outside_ascii_are_refused() {
        for name in [&b"bars-RX1.tr\xc3\xbcst.example"[..], b"bars-RX1.tr\xffst.example"] {
            let mut content = vec![0x30, name.len() as u8 + 2, 0x82, name.len() as u8];
            content.extend(name);
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
            let certificate = certificate(&[], |params| params.custom_extensions.push(extension));
            assert_eq!(party_of(&certificate, Role::Client), Err(CertificateError::BadName));
        }
    }

    #[test]
    fn the_common_name_is_never_read() {
        let common = |params: &mut CertificateParams| {
            params.distinguished_name.push(DnType::CommonName, "bars-RX1.trust.example");
        };
        assert_eq!(party_of(&certificate(&[], common), Role::Client), Err(CertificateError::NoName));
        let other = certificate(&["bars-RX2.trust.example"], common);
        assert_eq!(party_of(&other, Role::Client).map(|party| party.to_string()), Ok("RX2".to_owned()));
    }

    #[test]
    fn an_authority_is_not_a_party() {
        let authority = certificate(&["bars-RX1.trust.example"], |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        });
        let signer = certificate(&["bars-RX1.trust.example"], |params| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        });
        for certificate in [authority, signer] {
            assert_eq!(party_of(&certificate, Role::Client), Err(CertificateError::Authority));
        }
    }

    #[test]
    fn a_certificate_is_used_only_for_what_it_was_issued_for() {
        let with = |usages: Vec<ExtendedKeyUsagePurpose>| {
            certificate(&["bars-RX1.trust.example"], |params| params.extended_key_usages = usages)
        };
        for (usages, client, server) in [
            (vec![], false, false),
            (vec![ExtendedKeyUsagePurpose::Any], false, false),
            (vec![ExtendedKeyUsagePurpose::CodeSigning], false, false),
            (vec![ExtendedKeyUsagePurpose::ClientAuth], true, false),
            (vec![ExtendedKeyUsagePurpose::ServerAuth], false, true),
        ] {
            let certificate = with(usages.clone());
            assert_eq!(party_of(&certificate, Role::Client).is_ok(), client, "{usages:?}");
            assert_eq!(party_of(&certificate, Role::Server).is_ok(), server, "{usages:?}");
        }
        let refused = party_of(&with(vec![]), Role::Server).expect_err("it has no usage");
        assert_eq!(refused.to_string(), "the certificate was not issued for a server (extended key usage serverAuth)");
    }

    #[test]
    fn what_is_not_a_certificate_is_refused() {
        let whole = certificate(&["bars-RX1.trust.example"], |_| {});
        let longer: Vec<u8> = whole.iter().copied().chain([0]).collect();
        for bytes in [&b""[..], b"certificate", &whole[..whole.len() - 1], &longer] {
            assert_eq!(party_of(&CertificateDer::from(bytes), Role::Client), Err(CertificateError::Malformed));
        }
    }

    #[test]
    fn a_name_extension_that_stands_twice_is_refused() {
        let mut content = vec![0x30, 24, 0x82, 22];
        content.extend(b"bars-RX2.trust.example");
        let twice = certificate(&["bars-RX1.trust.example"], |params| {
            params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], content));
        });
        assert_eq!(party_of(&twice, Role::Client), Err(CertificateError::Malformed));
    }
}
