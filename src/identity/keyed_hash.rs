//! Keyed hashes: what stands for a person or a record where neither may be named. The same one has the same hash within
//! a site, and nobody without the site's key can test a guess.

use std::fmt;

use aws_lc_rs::hmac;

use super::InterfaceName;
use super::digest::hex;

/// HMAC-SHA256 of an identifier under the site's key, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyedHash(Box<str>);

impl KeyedHash {
    /// What [`KeyedHash::as_str`] gave, read back.
    pub fn read_back(text: &str) -> KeyedHash {
        KeyedHash(text.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key that makes [`KeyedHash`]es.
#[derive(Clone)]
pub struct HashKey(hmac::Key);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl HashKey {
    /// The key made of a secret of the site.
    pub fn new(secret: &[u8; 32]) -> HashKey {
        HashKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The hash of a subject: `system` and `value` of the identifier, in its normal form.
    pub fn subject(&self, system: &str, value: &str) -> KeyedHash {
        self.hash("subject", &[system.as_bytes(), value.as_bytes()])
    }

    /// The hash of a record, by its digest.
    pub fn record(&self, digest: &[u8; 32]) -> KeyedHash {
        self.hash("record", &[digest])
    }

    /// What the messages of one interface about one subject have in common: `system` and `value` of the identifier.
    /// Not the hash of [`HashKey::subject`], so that the store's rows cannot be joined with the audit log by it.
    pub fn order(&self, interface: &InterfaceName, system: &str, value: &str) -> KeyedHash {
        self.hash("order", &[interface.as_str().as_bytes(), system.as_bytes(), value.as_bytes()])
    }

    fn hash(&self, domain: &str, parts: &[&[u8]]) -> KeyedHash {
        KeyedHash(keyed(&self.0, domain, parts).into())
    }
}

/// HMAC-SHA256 of a domain and parts, in hexadecimal. Each part follows its length, so that no two lists of parts are the
/// same bytes.
pub(crate) fn keyed(key: &hmac::Key, domain: &str, parts: &[&[u8]]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(domain.as_bytes());
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    hex(context.sign().as_ref())
}
