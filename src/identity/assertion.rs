//! What we prove ourselves with to a token server: a JWT signed with our private key (RFC 7523 section 2.2, RFC 7515).
//!
//! Enters: a key of ours, the algorithm that the server knows it by, whom it is for, the time. Leaves: a compact JWS that
//! holds for a few minutes and once. Invariant: the key is of the algorithm's kind, and neither it nor an assertion prints.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::coded;

coded! {
    /// How an assertion is signed (RFC 7518 section 3.1).
    Algorithm, "an algorithm" {
        /// RSA with SHA-256.
        Rs256 = "RS256",
        /// RSA with SHA-384, as SMART Backend Services ask for.
        Rs384 = "RS384",
        /// RSA with SHA-512, as the NHS API platform asks for.
        Rs512 = "RS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384, the other one of SMART Backend Services.
        Es384 = "ES384",
    }
}

/// How to sign with a kind of key.
enum Kind {
    Rsa(&'static dyn RsaEncoding),
    Ecdsa(&'static EcdsaSigningAlgorithm),
}

impl Algorithm {
    fn kind(self) -> Kind {
        match self {
            Algorithm::Rs256 => Kind::Rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => Kind::Rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => Kind::Rsa(&RSA_PKCS1_SHA512),
            Algorithm::Es256 => Kind::Ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => Kind::Ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
        }
    }
}

/// Why a key cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// It is no key of the algorithm's kind.
    #[error("the key is no private key for {0} in PEM of PKCS #8")]
    Key(Algorithm),
    /// The system has no randomness.
    #[error("nothing can be signed: the system gives no randomness")]
    Signing,
}

enum Pair {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
}

/// A key of ours that a token server knows. Never printed.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, …)", self.algorithm)
    }
}

/// Who proves itself to whom, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// `iss` and `sub`: as whom the server knows us.
    pub client: &'a str,
    /// `aud`: the server.
    pub audience: &'a str,
    /// `iat`: now, in seconds since 1970.
    pub issued: u64,
    /// `exp`: so many seconds later.
    pub lives: u64,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: Uuid,
    iat: u64,
    exp: u64,
}

impl SigningKey {
    /// Reads a private key, PEM of PKCS #8, for `algorithm`.
    ///
    /// # Errors
    /// [`AssertionError::Key`]
    pub fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<SigningKey, AssertionError> {
        let wrong = AssertionError::Key(algorithm);
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| wrong)?;
        let der = der.secret_pkcs8_der();
        let pair = match algorithm.kind() {
            Kind::Rsa(encoding) => Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(|_| wrong)?, encoding),
            Kind::Ecdsa(kind) => Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(kind, der).map_err(|_| wrong)?),
        };
        Ok(SigningKey { algorithm, pair })
    }

    /// A new assertion: each has an id of its own, so that a server can refuse one that it has seen.
    ///
    /// # Errors
    /// [`AssertionError::Signing`]
    pub fn assertion(&self, key_id: &str, claims: Claims<'_>) -> Result<Zeroizing<String>, AssertionError> {
        let header = Header { alg: self.algorithm.code(), typ: "JWT", kid: key_id };
        let Claims { client, audience, issued, lives } = claims;
        let payload = Payload {
            iss: client,
            sub: client,
            aud: audience,
            jti: Uuid::new_v4(),
            iat: issued,
            exp: issued.saturating_add(lives),
        };
        let header = serde_json::to_string(&header).expect("three strings are always JSON");
        let payload = serde_json::to_string(&payload).expect("strings and numbers are always JSON");
        let signed = format!("{}.{}", BASE64_URL.encode(header), BASE64_URL.encode(payload));
        let signature = BASE64_URL.encode(self.sign(signed.as_bytes())?);
        Ok(Zeroizing::new(format!("{signed}.{signature}")))
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, AssertionError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, bytes, &mut signature).map_err(|_| AssertionError::Signing)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&random, bytes).map_err(|_| AssertionError::Signing)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
    };
    use base64::engine::general_purpose::STANDARD;

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    /// A new RSA key: its PEM, and its public half.
    fn rsa() -> (String, Vec<u8>) {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("there is randomness");
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().expect("it has a form");
        (pem(der.as_ref()), pair.public_key().as_ref().to_vec())
    }

    fn ecdsa(kind: &'static EcdsaSigningAlgorithm) -> (String, Vec<u8>) {
        let pair = EcdsaKeyPair::generate(kind).expect("there is randomness");
        let der = pair.to_pkcs8v1().expect("it has a form");
        (pem(der.as_ref()), pair.public_key().as_ref().to_vec())
    }

    const CLAIMS: Claims<'_> =
        Claims { client: "weir", audience: "https://auth.example/token", issued: 1_800_000_000, lives: 240 };

    fn parts(assertion: &str) -> (serde_json::Value, serde_json::Value, Vec<u8>) {
        let parts: Vec<Vec<u8>> =
            assertion.split('.').map(|part| BASE64_URL.decode(part).expect("base64url")).collect();
        let [header, payload, signature] = &parts[..] else { panic!("three parts") };
        let json = |part: &[u8]| serde_json::from_slice(part).expect("JSON");
        (json(header), json(payload), signature.clone())
    }

    #[test]
    fn an_assertion_says_who_is_who_and_its_signature_holds_for_each_algorithm() {
        let (rsa, rsa_public) = rsa();
        let p256 = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let p384 = ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING);
        let cases: [(Algorithm, &str, &[u8], &'static dyn VerificationAlgorithm); 5] = [
            (Algorithm::Rs256, &rsa, &rsa_public, &RSA_PKCS1_2048_8192_SHA256),
            (Algorithm::Rs384, &rsa, &rsa_public, &RSA_PKCS1_2048_8192_SHA384),
            (Algorithm::Rs512, &rsa, &rsa_public, &RSA_PKCS1_2048_8192_SHA512),
            (Algorithm::Es256, &p256.0, &p256.1, &ECDSA_P256_SHA256_FIXED),
            (Algorithm::Es384, &p384.0, &p384.1, &ECDSA_P384_SHA384_FIXED),
        ];
        for (algorithm, key, public, verification) in cases {
            let key = SigningKey::from_pem(algorithm, key.as_bytes()).expect("a key of its kind");
            let (one, two) =
                (key.assertion("k1", CLAIMS).expect("signed"), key.assertion("k1", CLAIMS).expect("signed"));
            let (header, payload, signature) = parts(&one);
            assert_eq!(header, serde_json::json!({"alg": algorithm.code(), "typ": "JWT", "kid": "k1"}));
            assert_eq!((&payload["iss"], &payload["sub"]), (&"weir".into(), &"weir".into()));
            assert_eq!(payload["aud"], "https://auth.example/token");
            assert_eq!((&payload["iat"], &payload["exp"]), (&1_800_000_000.into(), &1_800_000_240.into()));
            assert_ne!(payload["jti"], parts(&two).1["jti"], "no two have one id");
            let signed = one.rsplit_once('.').expect("it has a signature").0;
            let verified = UnparsedPublicKey::new(verification, public).verify(signed.as_bytes(), &signature);
            assert!(verified.is_ok(), "{algorithm}");
            assert!(!format!("{key:?}").contains("PRIVATE"));
        }
    }

    #[test]
    fn a_key_of_another_kind_or_none_is_refused() {
        let (rsa, _) = rsa();
        let (p256, _) = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
        for (algorithm, key) in [
            (Algorithm::Es384, rsa.as_str()),
            (Algorithm::Es384, &p256),
            (Algorithm::Rs384, &p256),
            (Algorithm::Rs384, "no key"),
            (Algorithm::Rs384, ""),
        ] {
            let refused = SigningKey::from_pem(algorithm, key.as_bytes());
            assert!(matches!(refused, Err(AssertionError::Key(found)) if found == algorithm), "{refused:?}");
        }
    }
}
