//! What people and the gateway sign: JSON Web Signatures with Ed25519 (RFC 7515 compact serialisation, RFC 8037 EdDSA).
//!
//! Enters: a text and a key. Leaves: a compact JWS whose header names the algorithm, the kind of thing signed (`typ`) and
//! the signer (`kid`), with the text in it or apart from it. Invariant: a signature counts only for the kind it was made
//! for, by the key that its reader knows for the signer; no other algorithm is read, so none can be chosen by an attacker.
//!
//! Ed25519 hashes what it signs twice, with SHA-512. So the SHA-256 of long content is signed in its place.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};

use super::digest::{hex, sha_256};
use super::principal::PrincipalId;

/// What a SubjectPublicKeyInfo of an Ed25519 key begins with; the 32 bytes of the key follow (RFC 8410, section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The longest JWS that is read.
const LONGEST: usize = 64 * 1024;

/// Why a key or a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says it")]
pub enum SignatureError {
    #[error("the key is not an Ed25519 key in PEM (PKCS #8 for a private key, SubjectPublicKeyInfo for a public one)")]
    Key,
    #[error("it is not a compact JSON Web Signature with alg EdDSA, typ and kid")]
    Form,
    #[error("it was signed for another use")]
    Kind,
    #[error("its signer has no key at this site")]
    Signer,
    #[error("the signature does not belong to what it stands under")]
    Signature,
}

/// The public half of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", BASE64.encode(self.0))
    }
}

impl PublicKey {
    /// Reads a public key, PEM of a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`SignatureError::Key`]
    pub fn from_pem(pem: &[u8]) -> Result<PublicKey, SignatureError> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| SignatureError::Key)?;
        let key = spki.as_ref().strip_prefix(&SPKI).and_then(|key| key.try_into().ok());
        key.map(PublicKey).ok_or(SignatureError::Key)
    }

    /// The key of 32 bytes (RFC 8032, section 5.1.5).
    pub fn from_bytes(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }

    /// The key as PEM.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &[&SPKI[..], &self.0].concat())
    }
}

/// A person's key. Never printed.
pub struct PersonalKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl fmt::Debug for PersonalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PersonalKey").field(&self.public).finish()
    }
}

impl PersonalKey {
    /// A new key, and its PEM (PKCS #8), which is secret.
    ///
    /// # Errors
    /// [`SignatureError::Key`] when the system has no randomness.
    pub fn generate() -> Result<(PersonalKey, String), SignatureError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| SignatureError::Key)?;
        let der = pair.to_pkcs8().map_err(|_| SignatureError::Key)?;
        let text = pem("PRIVATE KEY", der.as_ref());
        Ok((PersonalKey::of(pair)?, text))
    }

    /// Reads a private key, PEM of PKCS #8, as `openssl genpkey -algorithm ed25519` writes it too.
    ///
    /// # Errors
    /// [`SignatureError::Key`]
    pub fn from_pem(pem: &[u8]) -> Result<PersonalKey, SignatureError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| SignatureError::Key)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        PersonalKey::of(pair.map_err(|_| SignatureError::Key)?)
    }

    /// The key of a seed (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// [`SignatureError::Key`]
    pub fn from_seed(seed: &[u8; 32]) -> Result<PersonalKey, SignatureError> {
        PersonalKey::of(Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| SignatureError::Key)?)
    }

    fn of(pair: Ed25519KeyPair) -> Result<PersonalKey, SignatureError> {
        let public = PublicKey(pair.public_key().as_ref().try_into().map_err(|_| SignatureError::Key)?);
        Ok(PersonalKey { pair, public })
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `claims`, a JSON text, as something of `kind`.
    pub fn sign(&self, kind: &str, signer: &PrincipalId, claims: &str) -> String {
        let header = Header { alg: ALGORITHM.to_owned(), typ: kind.to_owned(), kid: signer.to_string() };
        let signed = format!("{}.{}", encoded(&header), BASE64_URL.encode(claims));
        let signature = BASE64_URL.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// Signs content by its SHA-256 as something of `kind`, apart from it (RFC 7515, appendix F): `header..signature`. What stands between
    /// the dots when it is checked is the base64url of the digest in lower-case hexadecimal. `name` is what the key is called where it is
    /// published; `says` is signed with the digest, in the header.
    pub fn sign_digest(&self, (kind, name): (&str, &str), says: &[(&str, &str)], digest: &[u8; 32]) -> String {
        let (alg, typ, kid) = (ALGORITHM.to_owned(), kind.to_owned(), name.to_owned());
        let says = says.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
        let header = encoded(&HeaderApart { alg, typ, kid, b64: None, crit: vec![], says });
        let signature = BASE64_URL.encode(self.pair.sign(by_digest(&header, digest).as_bytes()));
        format!("{header}..{signature}")
    }
}

const ALGORITHM: &str = "EdDSA";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// The header of a signature that is apart from its content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderApart {
    alg: String,
    typ: String,
    kid: String,
    /// False where the content itself is signed, as it is (RFC 7797, section 3); not there where its digest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    b64: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    crit: Vec<String>,
    /// What the signer says of the content.
    says: Says,
}

/// What a signer says of the content, by name.
pub type Says = BTreeMap<String, String>;

/// What a signature apart from its content is called (`typ`), by what it signs.
#[derive(Clone, Copy, Debug)]
pub struct KindsApart<'a> {
    /// The SHA-256 of the content ([`PersonalKey::sign_digest`]).
    pub of_digest: &'a str,
    /// The content itself, which earlier versions signed.
    pub of_content: &'a str,
}

fn encoded(header: &impl Serialize) -> String {
    BASE64_URL.encode(serde_json::to_vec(header).expect("a header is always JSON"))
}

/// What is signed of content that is apart, by its digest.
fn by_digest(header: &str, digest: &[u8; 32]) -> String {
    format!("{header}.{}", BASE64_URL.encode(hex(digest)))
}

/// Reads what someone signed as something of `kind`; `key_of` gives the key that the site lists for a signer.
///
/// # Errors
/// [`SignatureError`]; the claims must not be looked at then.
pub fn open(
    jws: &str,
    kind: &str,
    key_of: impl FnOnce(&PrincipalId) -> Option<PublicKey>,
) -> Result<(PrincipalId, Vec<u8>), SignatureError> {
    let form = SignatureError::Form;
    if jws.len() > LONGEST {
        return Err(form);
    }
    let (signed, signature) = jws.rsplit_once('.').ok_or(form)?;
    let (header, claims) = signed.split_once('.').ok_or(form)?;
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| form)?;
    if header.alg != ALGORITHM {
        return Err(form);
    }
    if header.typ != kind {
        return Err(SignatureError::Kind);
    }
    let signer: PrincipalId = header.kid.parse().map_err(|_| form)?;
    let key = key_of(&signer).ok_or(SignatureError::Signer)?;
    check(signed.as_bytes(), signature, key)?;
    Ok((signer, decode(claims)?))
}

/// Checks a signature apart from its content, of either of its `kinds`, and gives the name of its key and what was said.
///
/// # Errors
/// [`SignatureError`]
pub fn check_apart(
    jws: &str,
    kinds: KindsApart<'_>,
    content: &[u8],
    key: PublicKey,
) -> Result<(String, Says), SignatureError> {
    let form = SignatureError::Form;
    let (header, signature) = jws.split_once("..").filter(|_| jws.len() <= LONGEST).ok_or(form)?;
    let said: HeaderApart = serde_json::from_slice(&decode(header)?).map_err(|_| form)?;
    if said.alg != ALGORITHM {
        return Err(form);
    }
    let crit: Vec<&str> = said.crit.iter().map(String::as_str).collect();
    let (kind, signed) = match (said.b64, &crit[..]) {
        (None, []) => (kinds.of_digest, by_digest(header, &sha_256(content)).into_bytes()),
        (Some(false), ["b64"]) => (kinds.of_content, [header.as_bytes(), b".", content].concat()),
        _ => return Err(form),
    };
    if said.typ != kind {
        return Err(SignatureError::Kind);
    }
    check(&signed, signature, key)?;
    Ok((said.kid, said.says))
}

fn decode(part: &str) -> Result<Vec<u8>, SignatureError> {
    BASE64_URL.decode(part).map_err(|_| SignatureError::Form)
}

fn check(signed: &[u8], signature: &str, key: PublicKey) -> Result<(), SignatureError> {
    let checked = UnparsedPublicKey::new(&ED25519, key.0).verify(signed, &decode(signature)?);
    checked.map_err(|_| SignatureError::Signature)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.extend(line.iter().map(|&byte| char::from(byte)));
        lines.push('\n');
    }
    lines + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "weir-act+jwt";

    fn signer() -> PrincipalId {
        "demo-guardian".parse().expect("an id")
    }

    #[test]
    fn what_was_signed_is_read_back_and_nothing_else_counts() {
        let (key, _) = PersonalKey::generate().expect("there is randomness");
        let (other, _) = PersonalKey::generate().expect("there is randomness");
        let jws = key.sign(KIND, &signer(), r#"{"a":1}"#);
        let public = key.public();
        assert_eq!(open(&jws, KIND, |_| Some(public)), Ok((signer(), br#"{"a":1}"#.to_vec())));
        assert_eq!(open(&jws, "weir-token+jwt", |_| Some(public)), Err(SignatureError::Kind));
        assert_eq!(open(&jws, KIND, |_| None), Err(SignatureError::Signer));
        assert_eq!(open(&jws, KIND, |_| Some(other.public())), Err(SignatureError::Signature));
        let claims = BASE64_URL.encode(r#"{"a":2}"#);
        let parts: Vec<&str> = jws.split('.').collect();
        let forged = format!("{}.{claims}.{}", parts[0], parts[2]);
        assert_eq!(open(&forged, KIND, |_| Some(public)), Err(SignatureError::Signature));
    }

    const KINDS: KindsApart<'_> = KindsApart { of_digest: "weir-bundle-sha-256", of_content: "weir-bundle" };
    const NAME: &str = "weir.example/DEMOP+00000000";

    /// What an earlier version signed of `{}` with the key of the seed `[7; 32]`.
    const OF_CONTENT: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IndlaXItYnVuZGxlIiwia2lkIjoid2Vpci5leGFtcGxlL0RFTU9QKzAwMDAwMDAwIiwiYjY0Ijpm\
        YWxzZSwiY3JpdCI6WyJiNjQiXSwic2F5cyI6eyJwb2xpY3kiOiJhIn19..\
        U4l5af9V2i7h_N13qOHlEfHu0ofKWbfG9b_Ec6NRkzIctu_WhK_DxoXvaHR7s5TN78sdX3C1f05D5krTmZNeAg";

    fn of_seed() -> PersonalKey {
        PersonalKey::from_seed(&[7; 32]).expect("any seed does")
    }

    /// What was said for the policy `a`.
    fn said() -> (String, Says) {
        (NAME.to_owned(), Says::from([("policy".to_owned(), "a".to_owned())]))
    }

    #[test]
    fn a_signature_apart_from_its_content_counts_for_that_content_alone() {
        let (key, _) = PersonalKey::generate().expect("there is randomness");
        let (other, _) = PersonalKey::generate().expect("there is randomness");
        let name = (KINDS.of_digest, NAME);
        let sign = |policy| key.sign_digest(name, &[("policy", policy)], &sha_256(b"{}"));
        let check = |jws: &str, content: &[u8]| check_apart(jws, KINDS, content, key.public());
        let jws = sign("a");
        assert_eq!(jws.split('.').nth(1), Some(""), "the content is not in it");
        assert_eq!(check(&jws, b"{}"), Ok(said()));
        let mixed =
            [sign("b").split_once("..").map(|(header, _)| header.to_owned()), jws.rsplit('.').next().map(Into::into)];
        assert_eq!(check(&mixed.map(Option::unwrap_or_default).join(".."), b"{}"), Err(SignatureError::Signature));
        assert_eq!(check(&jws, b"{ }"), Err(SignatureError::Signature));
        assert_eq!(check(&jws, hex(&sha_256(b"{}")).as_bytes()), Err(SignatureError::Signature));
        assert_eq!(check_apart(&jws, KINDS, b"{}", other.public()), Err(SignatureError::Signature));
        let others = KindsApart { of_digest: KIND, ..KINDS };
        assert_eq!(check_apart(&jws, others, b"{}", key.public()), Err(SignatureError::Kind));
        assert_eq!(check(&key.sign(KINDS.of_digest, &signer(), "{}"), b"{}"), Err(SignatureError::Form));
        assert_eq!(check("", b""), Err(SignatureError::Form));
    }

    #[test]
    fn a_flipped_bit_of_the_content_is_seen() {
        let content: Vec<u8> = (0..200).collect();
        for (content, jws) in [
            (content.clone(), of_seed().sign_digest((KINDS.of_digest, NAME), &[("policy", "a")], &sha_256(&content))),
            (b"{}".to_vec(), OF_CONTENT.to_owned()),
        ] {
            assert_eq!(check_apart(&jws, KINDS, &content, of_seed().public()), Ok(said()));
            for bit in 0..content.len() * 8 {
                let mut changed = content.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let found = check_apart(&jws, KINDS, &changed, of_seed().public());
                assert_eq!(found, Err(SignatureError::Signature), "bit {bit}");
            }
        }
    }

    /// As any library for JSON Web Signatures does it, with the digest put between the dots.
    #[test]
    fn a_signature_of_a_digest_is_an_ordinary_one_of_its_hexadecimal() {
        let jws = of_seed().sign_digest((KINDS.of_digest, NAME), &[("policy", "a")], &sha_256(b"abc"));
        let (header, signature) = jws.split_once("..").expect("nothing stands between its dots");
        // FIPS 180-4, example for "abc".
        let payload = BASE64_URL.encode("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(check(format!("{header}.{payload}").as_bytes(), signature, of_seed().public()), Ok(()));
        let header = String::from_utf8(decode(header).expect("it is base64")).expect("it is text");
        let told =
            r#"{"alg":"EdDSA","typ":"weir-bundle-sha-256","kid":"weir.example/DEMOP+00000000","says":{"policy":"a"}}"#;
        assert_eq!(header, told);
    }

    #[test]
    fn a_signature_of_one_kind_is_not_taken_for_the_other() {
        let of_digest = of_seed().sign_digest((KINDS.of_digest, NAME), &[("policy", "a")], &sha_256(b"{}"));
        let (digest, content) =
            (of_digest.split_once("..").expect("it has"), OF_CONTENT.split_once("..").expect("it has"));
        let swapped = KindsApart { of_digest: KINDS.of_content, of_content: KINDS.of_digest };
        let payload = BASE64_URL.encode(hex(&sha_256(b"{}")));
        for text in [&b"{}"[..], payload.as_bytes()] {
            for (jws, kinds, why) in [
                (format!("{}..{}", digest.0, content.1), KINDS, SignatureError::Signature),
                (format!("{}..{}", content.0, digest.1), KINDS, SignatureError::Signature),
                (of_digest.clone(), swapped, SignatureError::Kind),
                (OF_CONTENT.to_owned(), swapped, SignatureError::Kind),
            ] {
                assert_eq!(check_apart(&jws, kinds, text, of_seed().public()), Err(why));
            }
        }
        for header in [
            r#"{"alg":"EdDSA","typ":"weir-bundle","kid":"a","b64":true,"crit":["b64"],"says":{}}"#,
            r#"{"alg":"EdDSA","typ":"weir-bundle","kid":"a","b64":false,"says":{}}"#,
            r#"{"alg":"EdDSA","typ":"weir-bundle","kid":"a","crit":["b64"],"says":{}}"#,
        ] {
            let jws = format!("{}..{}", BASE64_URL.encode(header), content.1);
            assert_eq!(check_apart(&jws, KINDS, b"{}", of_seed().public()), Err(SignatureError::Form), "{header}");
        }
    }

    /// An attacker's choice of algorithm, and text that is no JWS at all.
    #[test]
    fn other_algorithms_and_other_text_are_refused() {
        let (key, _) = PersonalKey::generate().expect("there is randomness");
        let jws = key.sign(KIND, &signer(), "{}");
        let rest = jws.split_once('.').expect("it has parts").1;
        for header in [
            r#"{"alg":"none","typ":"weir-act+jwt","kid":"demo-guardian"}"#,
            r#"{"alg":"HS256","typ":"weir-act+jwt","kid":"demo-guardian"}"#,
            r#"{"alg":"EdDSA","typ":"weir-act+jwt","kid":"Not An Id"}"#,
            r#"{"alg":"EdDSA","typ":"weir-act+jwt","kid":"a","jwk":{}}"#,
            r#"{"alg":"EdDSA","kid":"a"}"#,
            "",
        ] {
            let forged = format!("{}.{rest}", BASE64_URL.encode(header));
            assert_eq!(open(&forged, KIND, |_| Some(key.public())), Err(SignatureError::Form), "{header}");
        }
        for text in ["", ".", "..", "a.b.c", &"a".repeat(LONGEST + 1)] {
            assert_eq!(open(text, KIND, |_| Some(key.public())), Err(SignatureError::Form));
        }
    }

    #[test]
    fn keys_are_read_back_from_their_files() {
        let (key, secret) = PersonalKey::generate().expect("there is randomness");
        let again = PersonalKey::from_pem(secret.as_bytes()).expect("it is read");
        assert_eq!(again.public(), key.public());
        assert_eq!(PublicKey::from_pem(key.public().to_pem().as_bytes()), Ok(key.public()));
        assert!(PublicKey::from_pem(secret.as_bytes()).is_err() && PersonalKey::from_pem(b"no key").is_err());
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    /// As OpenSSL writes it: PKCS #8 version 1, without the public key.
    #[test]
    fn a_key_of_another_program_is_read() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let key = PersonalKey::from_pem(pem.as_bytes()).expect("RFC 8410, section 10.3");
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        assert_eq!(PublicKey::from_pem(public.as_bytes()), Ok(key.public()));
        assert_eq!(key.public().to_pem(), public);
    }
}
