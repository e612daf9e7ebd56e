//! A certification authority for a demo and for tests: ECDSA P-256, PEM out.
//!
//! Leaves: certificates that name a party as [`super::certificate`] reads it. Not for production: a real site gets its
//! certificates from the authority that its partners trust.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::OffsetDateTime;

use super::PartyId;

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the certificate cannot be made: {0}")]
pub struct IssuanceError(#[from] rcgen::Error);

/// From when until when a certificate holds, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: OffsetDateTime,
    /// The last second.
    pub until: OffsetDateTime,
}

impl Validity {
    /// From an hour before `now`, for clocks that are behind, for `days` days.
    pub fn days(now: OffsetDateTime, days: u16) -> Validity {
        Validity { from: now - time::Duration::HOUR, until: now + time::Duration::days(i64::from(days)) }
    }
}

/// A certification authority with its key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

/// A certificate and its key, both as PEM. The key does not print.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate_pem", &self.certificate_pem).field("key_pem", &"…").finish()
    }
}

impl Authority {
    /// A new authority with a self-signed certificate.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str, validity: Validity) -> Result<Authority, IssuanceError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(name, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Authority { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// Its certificate as PEM: what a peer puts among its trust anchors.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate for `party`, to be a client and a server, named `bars-<ODS code>.<domain>` and `others`.
    ///
    /// # Errors
    /// When a name is not ASCII or no key can be made.
    pub fn issue(
        &self,
        party: &PartyId,
        domain: &str,
        others: &[&str],
        validity: Validity,
    ) -> Result<Issued, IssuanceError> {
        let host = host_name(party, domain);
        let mut params = params(&host, validity);
        let names = std::iter::once(host.as_str()).chain(others.iter().copied());
        params.subject_alt_names =
            names.map(|name| Ia5String::try_from(name).map(SanType::DnsName)).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// `bars-rx1.trust.example`: the host name of a party's endpoint (BaRS, transport security).
pub fn host_name(party: &PartyId, domain: &str) -> String {
    format!("bars-{}.{domain}", party.as_str().to_ascii_lowercase())
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = validity.from;
    params.not_after = validity.until;
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::certificate::{Role, party_of};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use time::macros::datetime;

    #[test]
    fn an_issued_certificate_names_its_party_and_an_authority_names_nobody() {
        let validity = Validity::days(datetime!(2026-01-01 00:00 UTC), 1);
        let authority = Authority::new("Demo CA", validity).expect("an authority");
        let party: PartyId = "DEMOT".parse().expect("an ODS code");
        let issued = authority.issue(&party, "trust.example", &["localhost"], validity).expect("a certificate");
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
        for role in [Role::Client, Role::Server] {
            assert_eq!(party_of(&der(&issued.certificate_pem), role).as_ref(), Ok(&party));
            assert!(party_of(&der(authority.certificate_pem()), role).is_err());
        }
        assert!(issued.key_pem.contains("PRIVATE KEY") && !format!("{issued:?}").contains("PRIVATE KEY"));
    }
}
