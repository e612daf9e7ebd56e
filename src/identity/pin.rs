//! Pins: which keys a peer may have, beyond what its certificate's issuer says.
//!
//! A pin is the SHA-256 of the SubjectPublicKeyInfo of the peer's own certificate, so that it outlives a renewal with
//! the same key. Written as in RFC 7469 section 2.4, with the algorithm before it: `sha256/` and base64.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::Malformed;
use super::certificate::CertificateError;
use super::digest::sha_256;

/// The SHA-256 of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of a certificate's key.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`]
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Pin, CertificateError> {
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
        Ok(Pin(sha_256(certificate.public_key().raw)))
    }
}

const ALGORITHM: &str = "sha256/";

impl FromStr for Pin {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Pin, Malformed> {
        let bytes = text.strip_prefix(ALGORITHM).and_then(|digest| BASE64.decode(digest).ok());
        let digest = bytes.and_then(|bytes| bytes.try_into().ok());
        digest.map(Pin).ok_or(Malformed { what: "a pin", rule: "sha256/ and the base64 of 32 bytes" })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", BASE64.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::issuance::{Authority, Validity};
    use rustls::pki_types::pem::PemObject as _;
    use time::macros::datetime;

    #[test]
    fn a_pin_is_of_the_key_and_reads_as_it_prints() {
        let validity = Validity::days(datetime!(2026-01-01 00:00 UTC), 1);
        let authority = Authority::new("CA", validity).expect("an authority");
        let party = "RX1".parse().expect("an ODS code");
        let pin = || {
            let issued = authority.issue(&party, "trust.example", &[], validity).expect("a certificate");
            let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).expect("PEM");
            Pin::of(&der).expect("a certificate")
        };
        let (one, other) = (pin(), pin());
        assert_ne!(one, other, "each has a key of its own");
        assert_eq!(one.to_string().parse(), Ok(one));
        assert_eq!(one.to_string().len(), "sha256/".len() + 44);
        for wrong in ["", "sha256/", "sha1/AAAA", "sha256/AAAA", &one.to_string()["sha256/".len()..]] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
        assert_eq!(Pin::of(&CertificateDer::from(vec![0; 9])), Err(CertificateError::Malformed));
    }
}
