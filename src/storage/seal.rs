//! Sealing: contents are encrypted and authenticated with AES-256-GCM (NIST SP 800-38D) before they are stored.
//!
//! The site's key seals the keys of envelopes; an envelope's key seals what was stored on one day under one agreement. When
//! an envelope's key is destroyed, what it sealed opens no more. (A copy of the database from before holds the key too, sealed with the
//! site's.)
//!
//! A sealed value is: version, 1 byte; which key; nonce, 12 random bytes; ciphertext; tag, 16 bytes. Version 1 is the
//! site's key, by 4 bytes that tell a wrong key from damage; version 2 an envelope's, by its number, 8 bytes, big-endian.
//! Authenticated beside it: version, key, the message's id and the column's name, so that no value can be moved to
//! another place. With random nonces one key is good for 2^32 values.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;

use super::{Content, Envelope, Secret};
use crate::identity::MessageId;

const OF_SITE: u8 = 1;
const OF_ENVELOPE: u8 = 2;
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
        self.seal_in(self.place(message, content), plain)
    }

    /// Opens what [`Key::seal`] made.
    ///
    /// # Errors
    /// [`Broken`]
    pub fn open(&self, message: MessageId, content: Content, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        self.open_from(self.place(message, content), sealed)
    }

    /// Seals the key of an envelope: it opens for the same number, agreement, day and retention alone.
    pub fn seal_key(&self, envelope: &Envelope, secret: &Secret) -> Vec<u8> {
        self.seal_in(self.label(envelope), secret.bytes().to_vec())
    }

    /// Opens what [`Key::seal_key`] made.
    ///
    /// # Errors
    /// [`Broken`]
    pub fn open_key(&self, envelope: &Envelope, sealed: &[u8]) -> Result<Secret, Broken> {
        let bytes = self.open_from(self.label(envelope), sealed)?;
        Secret::of(bytes.as_slice()).ok_or(Broken::Damaged)
    }

    fn seal_in(&self, place: Vec<u8>, plain: Vec<u8>) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).expect("the system has randomness once it is up");
        let mut sealed = Vec::with_capacity(self.head.len() + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend(&self.head);
        sealed.extend(nonce);
        let mut body = plain;
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut body)
            .expect("a message is far below the 64 GiB limit of GCM");
        sealed.append(&mut body);
        sealed
    }

    fn open_from(&self, place: Vec<u8>, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let (head, body) = sealed.split_at_checked(self.head.len()).ok_or(Broken::Damaged)?;
        if head != self.head {
            return Err(if head[0] == self.head[0] { Broken::WrongKey } else { Broken::Damaged });
        }
        let (nonce, body) = body.split_at_checked(NONCE_LEN).ok_or(Broken::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Broken::Damaged)?;
        let mut plain = body.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(place), &mut plain).map_err(|_| Broken::Damaged)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    fn place(&self, message: MessageId, content: Content) -> Vec<u8> {
        [&*self.head, message.uuid().as_bytes(), content.column().as_bytes()].concat()
    }

    fn label(&self, envelope: &Envelope) -> Vec<u8> {
        let Envelope { number, agreement, day, retention_days, .. } = envelope;
        let numbers = [number.to_be_bytes(), day.to_be_bytes(), u64::from(*retention_days).to_be_bytes()].concat();
        [&*self.head, b"envelope", &numbers, agreement.as_str().as_bytes()].concat()
    }
}

fn aes(secret: &Secret) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret.bytes()).expect("the key has 32 bytes"))
}

/// What each value begins with that the key of an envelope sealed.
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
        Some((&OF_SITE, _)) => Ok(None),
        Some((&OF_ENVELOPE, rest)) => {
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
        for broken in [&[][..], &[0], &[2, 0, 0], &[3; 40]] {
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
