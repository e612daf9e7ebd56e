//! Sealing: contents are encrypted and authenticated with AES-256-GCM (NIST SP 800-38D) before they are stored.
//!
//! A sealed value is: version, 1 byte, `1`; key id, 4 bytes, which tells a wrong key from damage; nonce, 12 random
//! bytes; ciphertext; tag, 16 bytes. Authenticated beside it: version, key id, the message's id and the column's
//! name, so that no value can be moved to another place. With random nonces one key is good for 2^32 values.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;

use super::{Content, Secret};
use crate::identity::MessageId;

const VERSION: u8 = 1;
const ID_LEN: usize = 4;
const HEAD_LEN: usize = 1 + ID_LEN + NONCE_LEN;

/// The key that seals.
pub struct Key {
    id: [u8; ID_LEN],
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
    /// The key made of a secret.
    pub fn new(secret: &Secret) -> Key {
        let unbound = UnboundKey::new(&AES_256_GCM, secret.bytes()).expect("the key has 32 bytes");
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"weir seal key id\0");
        context.update(secret.bytes());
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&context.finish().as_ref()[..ID_LEN]);
        Key { id, key: LessSafeKey::new(unbound) }
    }

    /// Which key this is; says nothing of the key itself.
    pub fn id(&self) -> [u8; ID_LEN] {
        self.id
    }

    /// Seals one part of one message.
    pub fn seal(&self, message: MessageId, content: Content, plain: Vec<u8>) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).expect("the system has randomness once it is up");
        let mut sealed = Vec::with_capacity(HEAD_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend(self.id);
        sealed.extend(nonce);
        let mut body = plain;
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.aad(message, content), &mut body)
            .expect("a message is far below the 64 GiB limit of GCM");
        sealed.append(&mut body);
        sealed
    }

    /// Opens what [`Key::seal`] made.
    ///
    /// # Errors
    /// [`Broken`]
    pub fn open(&self, message: MessageId, content: Content, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let (head, body) = sealed.split_at_checked(HEAD_LEN).ok_or(Broken::Damaged)?;
        if head[0] != VERSION {
            return Err(Broken::Damaged);
        }
        if head[1..=ID_LEN] != self.id {
            return Err(Broken::WrongKey);
        }
        let nonce = Nonce::try_assume_unique_for_key(&head[1 + ID_LEN..]).map_err(|_| Broken::Damaged)?;
        let mut plain = body.to_vec();
        let aad = self.aad(message, content);
        let length = self.key.open_in_place(nonce, aad, &mut plain).map_err(|_| Broken::Damaged)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    fn aad(&self, message: MessageId, content: Content) -> Aad<Vec<u8>> {
        let mut bound = vec![VERSION];
        bound.extend(self.id);
        bound.extend(message.uuid().as_bytes());
        bound.extend(content.column().as_bytes());
        Aad::from(bound)
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
    fn a_wrong_key_is_told_from_damage() {
        let id = message("6f9619ff-8b86-5011-b42d-00cf4fc964ff");
        let sealed = Key::new(&Secret::generate()).seal(id, Content::Payload, vec![]);
        assert_eq!(Key::new(&Secret::generate()).open(id, Content::Payload, &sealed), Err(Broken::WrongKey));
    }
}
