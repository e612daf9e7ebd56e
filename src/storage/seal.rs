//! Sealing: contents are encrypted and authenticated with AES-256-GCM (NIST SP 800-38D) before they are stored.
//!
//! The site's key seals the keys of envelopes; an envelope's key seals what was stored on one day under one agreement. When
//! an envelope's key is destroyed, what it sealed opens no more. (A copy of the database from before holds the key too, sealed with the
//! site's.)
//!
//! A sealed value is: version, 1 byte; which key; nonce, 12 random bytes; ciphertext; tag, 16 bytes. Version 1 is the
//! site's key, by 4 bytes that tell a wrong key from damage; version 2 an envelope's, by its number, 8 bytes, big-endian. Versions 3 and
//! 4 are the same, and what was sealed is a block of LZ4 behind its length: Bundles and Provenances, which are kept for years, take a
//! fifth of their size. Authenticated beside it: version, key, the message's id and the column's name, so that no value can be moved to
//! another place. With random nonces one key is good for 2^32 values.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use smallvec::SmallVec;

use super::{Content, Envelope, Secret};
use crate::identity::MessageId;

const OF_SITE: u8 = 1;
const OF_ENVELOPE: u8 = 2;
/// What is added to the version when what is sealed was compressed.
const COMPRESSED: u8 = 2;
const OF_SITE_COMPRESSED: u8 = OF_SITE + COMPRESSED;
const OF_ENVELOPE_COMPRESSED: u8 = OF_ENVELOPE + COMPRESSED;
/// From how many bytes on compression is worth it.
const WORTH_IT: usize = 1024;
const ID_LEN: usize = 4;
const NUMBER_LEN: usize = size_of::<u64>();

/// A key that seals.
pub struct Key {
    /// What its values begin with: the version, and which key it is.
    head: Vec<u8>,
    key: LessSafeKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why a value does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It was sealed with another key.
    WrongKey,
    /// Its bytes, its message or its column are not those it was sealed with.
    Damaged,
}

impl Key {
    /// The site's key, made of its secret.
    pub fn new(secret: &Secret) -> Key {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"weir seal key id\0");
        context.update(secret.bytes());
        let mut head = vec![OF_SITE];
        head.extend(&context.finish().as_ref()[..ID_LEN]);
        Key { head, key: aes(secret) }
    }

    /// The key of the envelope with this number.
    pub fn of_envelope(number: u64, secret: &Secret) -> Key {
        Key { head: head_of_envelope(number), key: aes(secret) }
    }

    /// Which key this is; says nothing of the key itself.
    pub fn id(&self) -> &[u8] {
        &self.head[1..]
    }

    /// Seals one part of one message.
    pub fn seal(&self, message: MessageId, content: Content, plain: Vec<u8>) -> Vec<u8> {
        let compressed = is_kept_for_long(content) && plain.len() >= WORTH_IT;
        let plain = if compressed { lz4_flex::compress_prepend_size(&plain) } else { plain };
        let head = self.head_of(compressed);
        let place = place(&head, message, content);
        self.seal_in(&head, place, plain)
    }

    /// Opens what [`Key::seal`] made.
    ///
    /// # Errors
    /// [`Broken`]
    pub fn open(&self, message: MessageId, content: Content, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let compressed = sealed.first().is_some_and(|version| *version == self.head[0] + COMPRESSED);
        let head = self.head_of(compressed);
        let place = place(&head, message, content);
        let plain = self.open_from(&head, place, sealed)?;
        if compressed { lz4_flex::decompress_size_prepended(&plain).map_err(|_| Broken::Damaged) } else { Ok(plain) }
    }

    /// Seals the key of an envelope: it opens for the same number, agreement, day and retention alone.
    pub fn seal_key(&self, envelope: &Envelope, secret: &Secret) -> Vec<u8> {
        self.seal_in(&self.head, self.label(envelope), secret.bytes().to_vec())
    }

    /// Opens what [`Key::seal_key`] made.
    ///
    /// # Errors
    /// [`Broken`]
    pub fn open_key(&self, envelope: &Envelope, sealed: &[u8]) -> Result<Secret, Broken> {
        let bytes = self.open_from(&self.head, self.label(envelope), sealed)?;
        Secret::of(bytes.as_slice()).ok_or(Broken::Damaged)
    }

    fn head_of(&self, compressed: bool) -> SmallVec<[u8; 16]> {
        let mut head = SmallVec::from_slice(&self.head);
        head[0] += if compressed { COMPRESSED } else { 0 };
        head
    }

    fn seal_in(&self, head: &[u8], place: Vec<u8>, plain: Vec<u8>) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).expect("the system has randomness once it is up");
        let mut sealed = Vec::with_capacity(head.len() + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend(head);
        sealed.extend(nonce);
        let mut body = plain;
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut body)
            .expect("a message is far below the 64 GiB limit of GCM");
        sealed.append(&mut body);
        sealed
    }

    fn open_from(&self, head: &[u8], place: Vec<u8>, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let (own, body) = sealed.split_at_checked(head.len()).ok_or(Broken::Damaged)?;
        if own != head {
            return Err(if own[0] == head[0] { Broken::WrongKey } else { Broken::Damaged });
        }
        let (nonce, body) = body.split_at_checked(NONCE_LEN).ok_or(Broken::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Broken::Damaged)?;
        let mut plain = body.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(place), &mut plain).map_err(|_| Broken::Damaged)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    fn label(&self, envelope: &Envelope) -> Vec<u8> {
        let Envelope { number, agreement, day, retention_days, .. } = envelope;
        let numbers = [number.to_be_bytes(), day.to_be_bytes(), u64::from(*retention_days).to_be_bytes()].concat();
        [&*self.head, b"envelope", &numbers, agreement.as_str().as_bytes()].concat()
    }
}

fn place(head: &[u8], message: MessageId, content: Content) -> Vec<u8> {
    [head, message.uuid().as_bytes(), content.column().as_bytes()].concat()
}

/// What is large and stays until its retention ends.
fn is_kept_for_long(content: Content) -> bool {
    matches!(content, Content::Payload | Content::Provenance)
}

fn aes(secret: &Secret) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret.bytes()).expect("the key has 32 bytes"))
}

/// What each value begins with that the key of an envelope sealed, and that was not compressed.
pub fn head_of_envelope(number: u64) -> Vec<u8> {
    let mut head = vec![OF_ENVELOPE];
    head.extend(number.to_be_bytes());
    head
}

/// The number of the envelope whose key sealed a value; `None` for one that the site's key sealed.
///
/// # Errors
/// [`Broken::Damaged`] when it is neither.
pub fn envelope_of(sealed: &[u8]) -> Result<Option<u64>, Broken> {
    match sealed.split_first() {
        Some((&(OF_SITE | OF_SITE_COMPRESSED), _)) => Ok(None),
        Some((&(OF_ENVELOPE | OF_ENVELOPE_COMPRESSED), rest)) => {
            let number = rest.first_chunk::<NUMBER_LEN>().ok_or(Broken::Damaged)?;
            Ok(Some(u64::from_be_bytes(*number)))
        }
        _ => Err(Broken::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> MessageId {
        text.parse().expect("a UUID")
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let key = Key::new(&Secret::generate());
        let one = message("6f9619ff-8b86-5011-b42d-00cf4fc964ff");
        let other = message("6f9619ff-8b86-5011-b42d-00cf4fc96400");
        let sealed = key.seal(one, Content::Payload, b"the Bundle".to_vec());
        assert_eq!(key.open(one, Content::Payload, &sealed), Ok(b"the Bundle".to_vec()));
        assert_eq!(key.open(other, Content::Payload, &sealed), Err(Broken::Damaged));
        assert_eq!(key.open(one, Content::Lineage, &sealed), Err(Broken::Damaged));
        assert_ne!(sealed, key.seal(one, Content::Payload, b"the Bundle".to_vec()), "each has its own nonce");
    }

    #[test]
    fn what_is_kept_for_long_is_compressed_and_opens_to_the_same() {
        let id = message("6f9619ff-8b86-5011-b42d-00cf4fc964ff");
        let bundle = r#"{"resource":{"resourceType":"Observation","status":"final"}},"#.repeat(400).into_bytes();
        for key in [Key::new(&Secret::generate()), Key::of_envelope(7, &Secret::generate())] {
            for content in [Content::Payload, Content::Provenance] {
                let sealed = key.seal(id, content, bundle.clone());
                assert!(sealed.len() < bundle.len() / 4, "{} of {}", sealed.len(), bundle.len());
                assert_eq!(key.open(id, content, &sealed), Ok(bundle.clone()));
                assert_eq!(envelope_of(&sealed), envelope_of(&key.seal(id, content, vec![1])));
                for (at, version) in [(0, 1), (0, 2), (0, 5), (1, 0xff)] {
                    let mut other = sealed.clone();
                    other[at] = version;
                    assert!(key.open(id, content, &other).is_err(), "byte {at} as {version}");
                }
            }
            let small = key.seal(id, Content::Payload, b"small".to_vec());
            assert_eq!((key.open(id, Content::Payload, &small), small[0]), (Ok(b"small".to_vec()), key.head[0]));
            assert_eq!(key.open(id, Content::Payload, &[]), Err(Broken::Damaged));
            // As it was stored before anything was compressed.
            let before = key.seal_in(&key.head, place(&key.head, id, Content::Payload), bundle.clone());
            assert_eq!(key.open(id, Content::Payload, &before), Ok(bundle.clone()));
        }
    }

    #[test]
    fn every_flipped_byte_and_every_lost_byte_shows() {
        let key = Key::new(&Secret::generate());
        let id = message("6f9619ff-8b86-5011-b42d-00cf4fc964ff");
        let sealed = key.seal(id, Content::Payload, b"the Bundle".to_vec());
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(key.open(id, Content::Payload, &flipped).is_err(), "byte {at}");
            assert!(key.open(id, Content::Payload, &sealed[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn the_key_of_an_envelope_opens_for_that_envelope_alone() {
        let (site, secret) = (Key::new(&Secret::generate()), Secret::generate());
        let agreement = "demo-trust-crisis".parse().expect("a name");
        let envelope = Envelope { number: 3, agreement, day: 20_454, retention_days: 30, destroyed_at: None };
        let sealed = site.seal_key(&envelope, &secret);
        assert_eq!(site.open_key(&envelope, &sealed), Ok(secret.clone()));
        for other in [
            Envelope { number: 4, ..envelope.clone() },
            Envelope { day: 20_455, ..envelope.clone() },
            Envelope { retention_days: 31, ..envelope.clone() },
            Envelope { agreement: "demo-trust-crisis-2".parse().expect("a name"), ..envelope.clone() },
        ] {
            assert_eq!(site.open_key(&other, &sealed), Err(Broken::Damaged), "{other:?}");
        }
        assert_eq!(Key::new(&Secret::generate()).open_key(&envelope, &sealed), Err(Broken::WrongKey));
    }

    #[test]
    fn a_value_says_which_key_opens_it() {
        let id = message("6f9619ff-8b86-5011-b42d-00cf4fc964ff");
        let (site, secret) = (Key::new(&Secret::generate()), Secret::generate());
        let key = Key::of_envelope(7, &secret);
        let sealed = key.seal(id, Content::Payload, b"the Bundle".to_vec());
        assert_eq!(envelope_of(&sealed), Ok(Some(7)));
        assert_eq!(key.open(id, Content::Payload, &sealed), Ok(b"the Bundle".to_vec()));
        assert_eq!(Key::of_envelope(8, &secret).open(id, Content::Payload, &sealed), Err(Broken::WrongKey));
        assert_eq!(site.open(id, Content::Payload, &sealed), Err(Broken::Damaged));
        assert_eq!(envelope_of(&site.seal(id, Content::Payload, vec![])), Ok(None));
        for broken in [&[][..], &[0], &[2, 0, 0], &[4, 0, 0], &[5; 40]] {
            assert_eq!(envelope_of(broken), Err(Broken::Damaged), "{broken:?}");
        }
    }

    #[test]
    fn a_wrong_key_is_told_from_damage() {
        let id = message("6f9619ff-8b86-5011-b42d-00cf4fc964ff");
        let sealed = Key::new(&Secret::generate()).seal(id, Content::Payload, vec![]);
        assert_eq!(Key::new(&Secret::generate()).open(id, Content::Payload, &sealed), Err(Broken::WrongKey));
    }
}
