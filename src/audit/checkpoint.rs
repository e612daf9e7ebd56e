//! Checkpoints: the signed head of the log, by C2SP tlog-checkpoint and signed-note, signed with Ed25519.
//!
//! ```text
//! weir.example/DEMOP
//! 4
//! 03GO3Ye0wD1p8SK1O1m8SvXcOBa8s8y1pMBxHrp0VNE=
//!
//! — weir.example/DEMOP 5qTLx…=
//! ```
//!
//! Origin, number of leaves, root; an empty line; signatures. The origin is the name of the key. A key's id is the
//! first four bytes of `SHA-256(name || 0x0A || 0x01 || public key)`. Keys are written as the note format writes
//! them: `name+id+base64(0x01 || public key)`, and with `PRIVATE+KEY+` and the seed for the secret half. Signatures
//! by other keys and extension lines are allowed and not judged here; those of witnesses are in [`super::cosignature`].

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::merkle::Hash;
use crate::identity::signature::{PersonalKey, PublicKey};
use crate::storage::{KeyFileError, create_key_file, load_key_file};

const ALGORITHM_ED25519: u8 = 1;
/// What the text of a secret key begins with.
pub(super) const PRIVATE: &str = "PRIVATE+KEY+";
/// A note is at most this long: a head with some hundred cosignatures.
pub(super) const LONGEST: usize = 64 * 1024;

/// The log's state at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a note or a key is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says it")]
pub enum Error {
    #[error("the key is not written as a note key: name+id+base64")]
    Key,
    #[error("the key's id does not belong to its name and public key")]
    KeyId,
    #[error("a key name is not empty, has no space, plus sign or line break, and does not begin with eyJ")]
    Name,
    #[error("the checkpoint is not a signed note of origin, size and root")]
    Form,
    #[error("the checkpoint is of another log")]
    Origin,
    #[error("the checkpoint has no signature by this key")]
    Unsigned,
    #[error("the signature does not belong to the checkpoint's text")]
    Signature,
}

/// A signed note, split: the text that is signed, and the signatures under it. Nothing is verified yet.
#[derive(Clone, Debug)]
pub struct Note<'a> {
    text: &'a str,
    signatures: Vec<NoteSignature<'a>>,
}

/// One signature line of a note.
#[derive(Clone, Debug)]
struct NoteSignature<'a> {
    name: &'a str,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Splits a note.
    ///
    /// # Errors
    /// [`Error::Form`]
    pub fn parse(note: &'a [u8]) -> Result<Note<'a>, Error> {
        let note = Some(note).filter(|note| note.len() <= LONGEST).ok_or(Error::Form)?;
        let note = std::str::from_utf8(note).map_err(|_| Error::Form)?;
        if note.contains(|letter: char| letter < ' ' && letter != '\n') {
            return Err(Error::Form);
        }
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(Error::Form)?;
        let text = &note[..=text.len()];
        let signatures = signatures.strip_suffix('\n').ok_or(Error::Form)?.split('\n');
        let signatures = signatures.map(NoteSignature::parse).collect::<Result<_, _>>()?;
        Ok(Note { text, signatures })
    }

    /// What is signed, with its last line break.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// What the text says, if it is that of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Form`]
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        parse_body(self.text)
    }

    /// The signatures that claim to be by a key, from the first line to the last.
    pub(super) fn by<'n>(&'n self, name: &'n str, id: [u8; 4]) -> impl Iterator<Item = &'n [u8]> {
        let own = self.signatures.iter().filter(move |line| line.name == name && line.id == id);
        own.map(|line| line.signature.as_slice())
    }

    /// The note with the signatures by one key alone.
    pub(super) fn signed_by(&self, key: &VerifierKey) -> String {
        let lines = self.by(&key.name, key.id()).map(|signature| signature_line(&key.name, key.id(), signature));
        format!("{}\n{}", self.text, lines.collect::<String>())
    }
}

impl<'a> NoteSignature<'a> {
    fn parse(line: &'a str) -> Result<NoteSignature<'a>, Error> {
        let (name, signature) = line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(Error::Form)?;
        let signature = BASE64.decode(signature).map_err(|_| Error::Form)?;
        let (id, signature) = signature.split_first_chunk().ok_or(Error::Form)?;
        Ok(NoteSignature { name, id: *id, signature: signature.to_vec() })
    }
}

/// The public half: checks what the log signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

/// The secret half: signs the log's heads.
pub struct SigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.verifier.name).finish()
    }
}

impl SigningKey {
    /// A new key. `name` is the log's origin: a URL without its scheme, such as `weir.example/DEMOP`.
    ///
    /// # Errors
    /// [`Error::Name`]
    pub fn generate(name: &str) -> Result<SigningKey, Error> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).expect("the system has randomness once it is up");
        SigningKey::from_seed(name, seed)
    }

    /// A new key, its secret half written to a new file at `path` with mode 0600.
    ///
    /// # Errors
    /// When the name does not do, or the file exists already or cannot be written.
    pub fn create(name: &str, path: &Path) -> Result<SigningKey, KeyFileError> {
        let key = SigningKey::generate(name).map_err(|_| KeyFileError::Malformed)?;
        create_key_file(path, &key.secret_text())?;
        Ok(key)
    }

    /// The key in the file at `path`.
    ///
    /// # Errors
    /// [`KeyFileError`]
    pub fn load(path: &Path) -> Result<SigningKey, KeyFileError> {
        load_key_file(path)?.parse().map_err(|_| KeyFileError::Malformed)
    }

    fn from_seed(name: &str, seed: [u8; 32]) -> Result<SigningKey, Error> {
        let name = checked_name(name)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Error::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| Error::Key)?;
        Ok(SigningKey { seed, pair, verifier: VerifierKey { name, public } })
    }

    /// The key as its file keeps it. Whoever has this text can sign for the log.
    pub fn secret_text(&self) -> String {
        let Self { seed, verifier, .. } = self;
        format!("{PRIVATE}{}", key_text(ALGORITHM_ED25519, &verifier.name, verifier.id(), seed))
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The same key, to sign what the gateway sends. No note is taken for it, nor it for a note: what a JSON Web Signature signs
    /// begins with `eyJ` (base64url of a JSON object), and a note with the log's name, which may not.
    pub fn for_messages(&self) -> PersonalKey {
        PersonalKey::from_seed(&self.seed).expect("a key was made of this seed before")
    }

    /// Signs the head of the log: the whole note.
    pub fn sign(&self, size: u64, root: &Hash) -> String {
        let text = body(&self.verifier.name, size, root);
        let signature = self.pair.sign(text.as_bytes());
        format!("{text}\n{}", signature_line(&self.verifier.name, self.verifier.id(), signature.as_ref()))
    }
}

impl FromStr for SigningKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<SigningKey, Error> {
        let (name, id, seed) = split_key(ALGORITHM_ED25519, text.trim().strip_prefix(PRIVATE).ok_or(Error::Key)?)?;
        let key = SigningKey::from_seed(name, seed)?;
        if key.verifier.id() == id { Ok(key) } else { Err(Error::KeyId) }
    }
}

impl VerifierKey {
    /// The log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id (C2SP signed-note).
    pub fn id(&self) -> [u8; 4] {
        key_id(ALGORITHM_ED25519, &self.name, &self.public)
    }

    /// The same key, to check what the gateway sends.
    pub fn for_messages(&self) -> PublicKey {
        PublicKey::from_bytes(self.public)
    }

    /// What the key is called in a signature of a message: name and id, as the note format writes them.
    pub fn kid(&self) -> String {
        kid(&self.name, self.id())
    }

    /// Checks a note and gives what it says.
    ///
    /// # Errors
    /// [`Error`]
    pub fn verify(&self, note: &[u8]) -> Result<Checkpoint, Error> {
        let note = Note::parse(note)?;
        let checkpoint = note.checkpoint()?;
        if checkpoint.origin != self.name {
            return Err(Error::Origin);
        }
        self.verify_signature(&note)?;
        Ok(checkpoint)
    }

    /// Checks that a note is signed by this key. One of several signatures by it that does not hold makes the note worthless.
    ///
    /// # Errors
    /// [`Error::Unsigned`] or [`Error::Signature`]
    pub fn verify_signature(&self, note: &Note<'_>) -> Result<(), Error> {
        let public = UnparsedPublicKey::new(&ED25519, &self.public);
        let mut signatures = note.by(&self.name, self.id()).peekable();
        signatures.peek().ok_or(Error::Unsigned)?;
        signatures.try_for_each(|own| public.verify(note.text.as_bytes(), own)).map_err(|_| Error::Signature)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(ALGORITHM_ED25519, &self.name, self.id(), &self.public))
    }
}

impl FromStr for VerifierKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<VerifierKey, Error> {
        let (name, id, public) = split_key(ALGORITHM_ED25519, text.trim())?;
        let key = VerifierKey { name: checked_name(name)?, public };
        if key.id() == id { Ok(key) } else { Err(Error::KeyId) }
    }
}

/// A signature as it stands under a note, with its line break.
pub(super) fn signature_line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    format!("— {name} {}\n", BASE64.encode([&id, signature].concat()))
}

/// The id of a key: what it signs, its name and its public half give it.
pub(super) fn key_id(algorithm: u8, name: &str, public: &[u8; 32]) -> [u8; 4] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(name.as_bytes());
    context.update(&[b'\n', algorithm]);
    context.update(public);
    context.finish().as_ref().first_chunk().copied().expect("SHA-256 has more than 4 bytes")
}

/// Name and id of a key.
pub(super) fn kid(name: &str, id: [u8; 4]) -> String {
    format!("{name}+{:08x}", u32::from_be_bytes(id))
}

/// A key as the note format writes it.
pub(super) fn key_text(algorithm: u8, name: &str, id: [u8; 4], bytes: &[u8; 32]) -> String {
    let mut key = vec![algorithm];
    key.extend(bytes);
    format!("{}+{}", kid(name, id), BASE64.encode(key))
}

/// Name, id and bytes of a key that is for `algorithm`.
pub(super) fn split_key(algorithm: u8, text: &str) -> Result<(&str, [u8; 4], [u8; 32]), Error> {
    let mut parts = text.splitn(3, '+');
    let mut part = || parts.next().ok_or(Error::Key);
    let (name, id, key) = (part()?, part()?, part()?);
    if id.len() != 8 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Error::Key);
    }
    let id = u32::from_str_radix(id, 16).map_err(|_| Error::Key)?.to_be_bytes();
    match BASE64.decode(key).map_err(|_| Error::Key)?.split_first() {
        Some((&found, bytes)) if found == algorithm => Ok((name, id, bytes.try_into().map_err(|_| Error::Key)?)),
        _ => Err(Error::Key),
    }
}

/// A name that a key may have.
pub(super) fn checked_name(name: &str) -> Result<String, Error> {
    let wrong = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '+';
    // What a JSON Web Signature signs begins so: see `SigningKey::for_messages`.
    let is_bad = name.is_empty() || name.contains(wrong) || name.starts_with("eyJ");
    if is_bad { Err(Error::Name) } else { Ok(name.to_owned()) }
}

fn body(origin: &str, size: u64, root: &Hash) -> String {
    format!("{origin}\n{size}\n{}\n", BASE64.encode(root))
}

fn parse_body(text: &str) -> Result<Checkpoint, Error> {
    let mut lines = text.split('\n');
    let mut line = || lines.next().ok_or(Error::Form);
    let (origin, size, root) = (line()?, line()?, line()?);
    let number: u64 = size.parse().map_err(|_| Error::Form)?;
    if number.to_string() != size {
        return Err(Error::Form);
    }
    let root = BASE64.decode(root).ok().and_then(|root| root.try_into().ok()).ok_or(Error::Form)?;
    Ok(Checkpoint { origin: origin.to_owned(), size: number, root })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of C2SP signed-note and golang.org/x/mod/sumdb/note: key, note and signature made there.
    const PUBLISHED_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    fn key() -> SigningKey {
        SigningKey::from_seed("weir.example/DEMOP", [7; 32]).expect("the name is good")
    }

    #[test]
    fn a_published_key_is_read_and_written_the_same() {
        let key: VerifierKey = PUBLISHED_KEY.parse().expect("it is a key");
        assert_eq!((key.name(), key.to_string().as_str()), ("PeterNeumann", PUBLISHED_KEY));
    }

    #[test]
    fn a_published_signature_is_verified() {
        let key: VerifierKey = PUBLISHED_KEY.parse().expect("it is a key");
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let verified = |text: &str, lines: &str| {
            let note = format!("{text}\n{lines}\n");
            Note::parse(note.as_bytes()).and_then(|note| key.verify_signature(&note))
        };
        assert_eq!(verified(text, line), Ok(()));
        assert_eq!(verified(&text.replace("think", "hope"), line), Err(Error::Signature));
        let second = line.replace("x08go/ZJ", "x08go/ZK");
        for both in [format!("{line}\n{second}"), format!("{second}\n{line}")] {
            assert_eq!(verified(text, &both), Err(Error::Signature), "one of two does not hold");
        }
    }

    #[test]
    fn what_is_signed_is_verified_and_says_what_it_said() {
        let note = key().sign(4, &[1; 32]);
        assert!(note.starts_with(
            "weir.example/DEMOP\n4\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n\n— weir.example/DEMOP "
        ));
        let expected = Checkpoint { origin: "weir.example/DEMOP".to_owned(), size: 4, root: [1; 32] };
        assert_eq!(key().verifier().verify(note.as_bytes()), Ok(expected));
    }

    #[test]
    fn every_flipped_byte_fails() {
        let note = key().sign(4, &[1; 32]).into_bytes();
        for at in 0..note.len() {
            let mut flipped = note.clone();
            flipped[at] ^= 1;
            assert!(key().verifier().verify(&flipped).is_err(), "byte {at}");
            assert!(key().verifier().verify(&note[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn a_cosignature_and_an_extension_are_allowed() {
        let key = key();
        let text = format!("{}extension\n", body(&key.verifier.name, 4, &[1; 32]));
        let mut signature = key.verifier.id().to_vec();
        signature.extend(key.pair.sign(text.as_bytes()).as_ref());
        let signature = BASE64.encode(signature);
        let note = format!("{text}\n— witness.example/w AAAAAAAA\n— weir.example/DEMOP {signature}\n");
        assert_eq!(key.verifier().verify(note.as_bytes()).map(|checkpoint| checkpoint.size), Ok(4));
        let alone = format!("{text}\n— witness.example/w AAAAAAAA\n");
        assert_eq!(key.verifier().verify(alone.as_bytes()), Err(Error::Unsigned));
        let other = SigningKey::from_seed("weir.example/OTHER", [7; 32]).expect("the name is good");
        assert_eq!(other.verifier().verify(note.as_bytes()), Err(Error::Origin));
    }

    #[test]
    fn a_key_file_holds_the_key_it_was_created_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.key");
        let key = SigningKey::create("weir.example/DEMOP", &path).expect("it is written");
        assert_eq!(SigningKey::load(&path).expect("it is read").verifier(), key.verifier());
        assert!(SigningKey::create("weir.example/DEMOP", &path).is_err(), "an existing key is never overwritten");
        let other = folder.path().join("other.key");
        create_key_file(&other, &key.verifier().to_string()).expect("it is written");
        assert!(matches!(SigningKey::load(&other), Err(KeyFileError::Malformed)), "the public half does not sign");
    }

    #[test]
    fn keys_survive_their_text() {
        let key = key();
        let again: SigningKey = key.secret_text().parse().expect("it is a key");
        assert_eq!(again.verifier(), key.verifier());
        assert_eq!(key.verifier().to_string().parse(), Ok(key.verifier().clone()));
        assert_eq!(format!("{key:?}"), r#"SigningKey("weir.example/DEMOP")"#);
        let renamed = key.verifier().to_string().replace("DEMOP", "OTHER");
        assert_eq!(renamed.parse::<VerifierKey>(), Err(Error::KeyId));
        for name in ["", "a b", "a+b", "a\nb"] {
            assert_eq!(SigningKey::generate(name).map(drop), Err(Error::Name), "{name}");
        }
        for text in ["", "a", "a+00000000", "a+0+AQ==", "a+00000000+AQ==", "PRIVATE+KEY+a"] {
            assert_eq!(text.parse::<VerifierKey>().map(drop), Err(Error::Key), "{text}");
        }
    }
}
