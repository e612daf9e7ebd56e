//! Cosignatures: a witness's word that a log went on from what it saw of it before, by C2SP tlog-cosignature
//! (`cosignature/v1`, Ed25519).
//!
//! ```text
//! — icb.example/witness jWbPPwAAAABkGFDLEZ…==
//! ```
//!
//! A signature line under a checkpoint: `base64(key id || time || signature)`, the time in seconds since 1970 as eight bytes,
//! the largest first. Signed are `cosignature/v1`, a line with the time, and the checkpoint's text. A key's id is the first
//! four bytes of `SHA-256(name || 0x0A || 0x04 || public key)`; keys are written as those of logs, with 0x04 in the place of
//! 0x01, so that neither is taken for the other.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::checkpoint::{
    Checkpoint, Error, Note, PRIVATE, VerifierKey, checked_name, key_id, key_text, kid, signature_line, split_key,
};
use crate::fhir::Instant;
use crate::storage::{self, KeyFileError, Store, StoredCheckpoint, create_key_file, load_key_file};

const ALGORITHM_COSIGNATURE: u8 = 4;

/// The public half of a witness's key: checks what the witness cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    public: [u8; 32],
}

/// The secret half: cosigns checkpoints.
pub struct CosigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    public: CosignerKey,
}

impl fmt::Debug for CosigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CosigningKey").field(&self.public.name).finish()
    }
}

impl CosigningKey {
    /// A new key. `name` is the witness's: a URL without its scheme, such as `icb.example/witness`.
    ///
    /// # Errors
    /// [`Error::Name`]
    pub fn generate(name: &str) -> Result<CosigningKey, Error> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).expect("the system has randomness once it is up");
        CosigningKey::from_seed(name, seed)
    }

    /// Writes the secret half to a new file at `path` with mode 0600.
    ///
    /// # Errors
    /// When the file exists already or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        create_key_file(path, &self.secret_text())
    }

    /// The key in the file at `path`.
    ///
    /// # Errors
    /// [`KeyFileError`]
    pub fn load(path: &Path) -> Result<CosigningKey, KeyFileError> {
        load_key_file(path)?.parse().map_err(|_| KeyFileError::Malformed)
    }

    fn from_seed(name: &str, seed: [u8; 32]) -> Result<CosigningKey, Error> {
        let name = checked_name(name)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Error::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| Error::Key)?;
        Ok(CosigningKey { seed, pair, public: CosignerKey { name, public } })
    }

    /// The key as its file keeps it. Whoever has this text can cosign for the witness.
    pub fn secret_text(&self) -> String {
        let text = key_text(ALGORITHM_COSIGNATURE, &self.public.name, self.public.id(), &self.seed);
        format!("{PRIVATE}{text}")
    }

    /// The public half.
    pub fn public(&self) -> &CosignerKey {
        &self.public
    }

    /// Cosigns a note's text: the signature line, with its line break. A time before 1970 is that of 1970.
    pub(super) fn cosign(&self, text: &str, at: Instant) -> String {
        let seconds = u64::try_from(at.unix_timestamp()).unwrap_or_default();
        let mut line = seconds.to_be_bytes().to_vec();
        line.extend(self.pair.sign(message(text, seconds).as_bytes()).as_ref());
        signature_line(&self.public.name, self.public.id(), &line)
    }
}

impl FromStr for CosigningKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<CosigningKey, Error> {
        let secret = text.trim().strip_prefix(PRIVATE).ok_or(Error::Key)?;
        let (name, id, seed) = split_key(ALGORITHM_COSIGNATURE, secret)?;
        let key = CosigningKey::from_seed(name, seed)?;
        if key.public.id() == id { Ok(key) } else { Err(Error::KeyId) }
    }
}

impl CosignerKey {
    /// The witness's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        key_id(ALGORITHM_COSIGNATURE, &self.name, &self.public)
    }

    /// Name and id, which tell it from an earlier key of the same witness.
    pub fn kid(&self) -> String {
        kid(&self.name, self.id())
    }

    /// When the witness cosigned this note: the latest time, if it did so more than once.
    ///
    /// # Errors
    /// [`Error::Unsigned`] when it did not, [`Error::Signature`] when one of its cosignatures does not hold.
    pub fn verify(&self, note: &Note<'_>) -> Result<Instant, Error> {
        let times = note.by(&self.name, self.id()).map(|line| self.time(note.text(), line));
        let times = times.collect::<Result<Vec<_>, _>>()?;
        times.into_iter().max().ok_or(Error::Unsigned)
    }

    /// The time of one cosignature, which is never 0.
    fn time(&self, text: &str, line: &[u8]) -> Result<Instant, Error> {
        let (seconds, signature) = line.split_first_chunk().ok_or(Error::Signature)?;
        let seconds = u64::from_be_bytes(*seconds);
        let public = UnparsedPublicKey::new(&ED25519, &self.public);
        public.verify(message(text, seconds).as_bytes(), signature).map_err(|_| Error::Signature)?;
        let at = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0).ok_or(Error::Signature)?;
        Instant::from_unix_timestamp(at).map_err(|_| Error::Signature)
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(ALGORITHM_COSIGNATURE, &self.name, self.id(), &self.public))
    }
}

impl FromStr for CosignerKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<CosignerKey, Error> {
        let (name, id, public) = split_key(ALGORITHM_COSIGNATURE, text.trim())?;
        let key = CosignerKey { name: checked_name(name)?, public };
        if key.id() == id { Ok(key) } else { Err(Error::KeyId) }
    }
}

fn message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// Which head of the log is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newest {
    /// The newest one that the log signed, whether or not a witness cosigned it.
    Signed,
    /// The newest one that a witness cosigned.
    Cosigned,
}

/// A head of the log, with what witnesses cosigned of it: its size and its note. `None` when there is none.
///
/// # Errors
/// What the store says.
pub async fn head(store: &dyn Store, newest: Newest) -> Result<Option<(u64, Vec<u8>)>, storage::Error> {
    let head = match newest {
        Newest::Signed => store.last_checkpoint().await?,
        Newest::Cosigned => store.last_cosigned().await?,
    };
    let Some(StoredCheckpoint { size, mut note, .. }) = head else { return Ok(None) };
    for cosignature in store.cosignatures_of(size).await? {
        note.extend(cosignature.line.bytes());
        note.push(b'\n');
    }
    Ok(Some((size, note)))
}

/// A head of the log that somebody else kept, and who cosigned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptHead {
    /// The head.
    pub checkpoint: Checkpoint,
    /// By which witness it was cosigned, and when: the first of those that are known.
    pub cosigned: Option<Cosigned>,
}

/// A witness's name, and when it cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// The witness.
    pub by: String,
    /// When.
    pub at: Instant,
}

impl KeptHead {
    /// Reads a checkpoint that the log's key signed and that known witnesses may have cosigned.
    ///
    /// # Errors
    /// [`Error`]; also when a known witness's cosignature does not hold.
    pub fn read(note: &[u8], log: &VerifierKey, witnesses: &[CosignerKey]) -> Result<KeptHead, Error> {
        let checkpoint = log.verify(note)?;
        let (note, mut cosigned) = (Note::parse(note)?, None);
        for witness in witnesses {
            match witness.verify(&note) {
                Err(Error::Unsigned) => {}
                Err(error) => return Err(error),
                Ok(at) => cosigned = cosigned.or(Some(Cosigned { by: witness.name.clone(), at })),
            }
        }
        Ok(KeptHead { checkpoint, cosigned })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::SigningKey;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use time::macros::datetime;

    /// Computed with Python's hashlib and cryptography, not with this code: the seed is 32 times 9.
    const VKEY: &str = "icb.example/witness+73a3007e+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY";
    const LINE: &str = "— icb.example/witness c6MAfgAAAABpp3YAI3kye8ZS/mNd0zZOAJ1eqYrtkoU1AsqSl8QQ5Qu0tSQZCIsMrQoR7MjTwQY5R7fOoGGB6w8V370PUCnfkv7gBA==";
    const TEXT: &str = "weir.example/DEMOP\n4\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n";
    const AT: Instant = datetime!(2026-03-04 00:00 UTC);

    fn key() -> CosigningKey {
        CosigningKey::from_seed("icb.example/witness", [9; 32]).expect("the name is good")
    }

    fn verified(key: &CosignerKey, note: &str) -> Result<Instant, Error> {
        Note::parse(note.as_bytes()).and_then(|note| key.verify(&note))
    }

    #[test]
    fn a_key_and_a_cosignature_are_those_of_another_implementation() {
        assert_eq!((key().public().to_string().as_str(), key().cosign(TEXT, AT)), (VKEY, format!("{LINE}\n")));
        let public: CosignerKey = VKEY.parse().expect("it is a key");
        assert_eq!((&public, public.name()), (key().public(), "icb.example/witness"));
        assert_eq!(verified(&public, &format!("{TEXT}\n{LINE}\n")), Ok(AT));
    }

    /// A line of the same key with these bytes behind its id.
    fn line_of(bytes: &[u8]) -> String {
        signature_line("icb.example/witness", key().public().id(), bytes)
    }

    #[test]
    fn a_cosignature_says_when_and_over_what() {
        let note = format!("{TEXT}\n{LINE}\n");
        let public = key().public().clone();
        let signature = BASE64.decode(LINE.rsplit_once(' ').expect("a line").1).expect("base64")[4..].to_vec();
        assert_eq!(signature.len(), 8 + 64);
        let mut earlier = signature.clone();
        earlier[7] ^= 1;
        let of = |line: String| format!("{TEXT}\n{line}");
        for (changed, why) in [
            (note.replace("\n4\n", "\n5\n"), Error::Signature),
            (note.replace("weir.example/DEMOP", "weir.example/OTHER"), Error::Signature),
            (note.replace("icb.example/witness", "icb.example/other"), Error::Unsigned),
            (of(line_of(&earlier)), Error::Signature),
            (of(line_of(&signature[..71])), Error::Signature),
            (of(line_of(&signature[8..])), Error::Signature),
            (of(line_of(&[])), Error::Signature),
            (note.replace("==", "="), Error::Form),
        ] {
            assert_ne!(changed, note, "something was changed");
            assert_eq!(verified(&public, &changed), Err(why), "{changed}");
        }
        let long_ago = key().cosign(TEXT, datetime!(1969-12-31 00:00 UTC));
        assert_eq!(verified(&public, &of(long_ago)), Err(Error::Signature), "a time is given");
        let minute = std::time::Duration::from_secs(60);
        let later = key().cosign(TEXT, AT + minute);
        for both in [format!("{LINE}\n{later}"), format!("{later}{LINE}\n")] {
            assert_eq!(verified(&public, &of(both)), Ok(AT + minute));
        }
    }

    #[test]
    fn the_key_of_a_log_is_none_of_a_witness() {
        let log = SigningKey::generate("icb.example/witness").expect("the name is good");
        assert_eq!(log.verifier().to_string().parse::<CosignerKey>(), Err(Error::Key));
        assert!(log.secret_text().parse::<CosigningKey>().is_err());
        assert!(key().secret_text().parse::<SigningKey>().is_err());
        assert_eq!(VKEY.parse::<VerifierKey>(), Err(Error::Key));
        assert_eq!(VKEY.replace("witness", "other").parse::<CosignerKey>(), Err(Error::KeyId));
        let again: CosigningKey = key().secret_text().parse().expect("it is a key");
        assert_eq!(again.public(), key().public());
        assert_eq!(format!("{again:?}"), "CosigningKey(\"icb.example/witness\")");
    }

    #[test]
    fn a_head_that_was_kept_says_who_cosigned_it_and_when() {
        let log = SigningKey::generate("weir.example/DEMOP").expect("the name is good");
        let note = log.sign(4, &[1; 32]);
        let text = Note::parse(note.as_bytes()).expect("it is a note").text().to_owned();
        let other = CosigningKey::generate("other.example/w").expect("the name is good");
        let known = [other.public().clone(), key().public().clone()];
        let read = |note: &str| KeptHead::read(note.as_bytes(), log.verifier(), &known);
        assert_eq!(read(&note).map(|head| (head.checkpoint.size, head.cosigned)), Ok((4, None)));
        let cosigned = note.clone() + &key().cosign(&text, AT) + "— stranger.example/w AAAAAAAA\n";
        let expected = Cosigned { by: "icb.example/witness".to_owned(), at: AT };
        assert_eq!(read(&cosigned).map(|head| head.cosigned), Ok(Some(expected)));
        let of_another_head = note + &key().cosign(&text.replace("\n4\n", "\n5\n"), AT);
        assert_eq!(read(&of_another_head), Err(Error::Signature));
    }
}
