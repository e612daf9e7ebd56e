//! The NHSMESH authorisation token: one for each request, good for that request only (MESH API, authorization header).
//!
//! `NHSMESH <mailbox>:<nonce>:<nonce count>:<yyyyMMddHHmm>:<HMAC-SHA256>`. The nonce is drawn anew for each run of the
//! gateway, and the count grows with each token, so that no token is ever made twice. The password goes into the HMAC
//! alone; it and the key are wiped when they are given up, and print as `…`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use http::HeaderValue;
use time::macros::format_description;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::fhir::Instant;
use crate::identity::digest::hex;

/// What a mailbox proves itself with.
#[derive(Clone)]
pub(super) struct Secrets {
    pub(super) password: Zeroizing<String>,
    pub(super) shared_key: Zeroizing<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// Makes the tokens of one mailbox.
#[derive(Debug)]
pub(super) struct Tokens {
    mailbox: String,
    secrets: Secrets,
    nonce: Uuid,
    count: AtomicU64,
}

impl Tokens {
    pub(super) fn new(mailbox: &str, secrets: Secrets) -> Tokens {
        Tokens { mailbox: mailbox.to_owned(), secrets, nonce: Uuid::new_v4(), count: AtomicU64::new(0) }
    }

    /// A token that was not made before.
    pub(super) fn token(&self, now: Instant) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let token = token((&self.mailbox, &self.secrets), (self.nonce, count), now);
        let mut value = HeaderValue::from_str(&token).expect("a mailbox, a UUID and digits are visible ASCII");
        value.set_sensitive(true);
        value
    }
}

fn token((mailbox, secrets): (&str, &Secrets), (nonce, count): (Uuid, u64), now: Instant) -> String {
    let minute = now.to_offset(time::UtcOffset::UTC);
    let minute = minute.format(format_description!("[year][month][day][hour][minute]")).expect("a year has 4 digits");
    let proven = Zeroizing::new(format!("{mailbox}:{nonce}:{count}:{}:{minute}", *secrets.password));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secrets.shared_key.as_bytes());
    let proof = hex(hmac::sign(&key, proven.as_bytes()).as_ref());
    format!("NHSMESH {mailbox}:{nonce}:{count}:{minute}:{proof}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const AT: Instant = datetime!(2020-05-04 14:05:59 +01:00);
    const NONCE: &str = "bd0e2bd5-218e-41d0-83a9-73fdec414803";

    fn secrets() -> Secrets {
        Secrets { password: Zeroizing::new("pass word".to_owned()), shared_key: Zeroizing::new("TestKey".to_owned()) }
    }

    /// The mailbox, nonce and time of the specification's example. It keeps key and password to itself, so the hashes
    /// are those that its Python function gives for ours.
    #[test]
    fn a_token_is_the_one_of_the_specification() {
        let nonce = NONCE.parse().expect("a UUID");
        for (count, hash) in [
            (0, "a435fb35cde44ea31389bbbb55dc86682327c577a96a6e00bd9d07f6d56a0526"),
            (1, "9faa0c3b900b8941fec12629b782d7469cb491c22f72b8f0997ee2a03d26b293"),
        ] {
            let expected = format!("NHSMESH X26AB1234:{NONCE}:{count}:202005041305:{hash}");
            assert_eq!(token(("X26AB1234", &secrets()), (nonce, count), AT), expected);
        }
    }

    #[test]
    fn no_two_tokens_are_the_same_and_none_shows() {
        let (tokens, others) = (Tokens::new("X26AB1234", secrets()), Tokens::new("X26AB1234", secrets()));
        let made = [tokens.token(AT), tokens.token(AT), others.token(AT)];
        assert!(made[0] != made[1] && made[1] != made[2] && made[0] != made[2]);
        let counts = made.iter().map(|token| token.to_str().expect("ASCII").split(':').nth(2).map(str::to_owned));
        assert_eq!(counts.collect::<Option<Vec<_>>>(), Some(vec!["0".to_owned(), "1".to_owned(), "0".to_owned()]));
        assert!(made.iter().all(|token| format!("{token:?}") == "Sensitive"));
        let shown = format!("{tokens:?}");
        assert!(!shown.contains("pass word") && !shown.contains("TestKey"), "{shown}");
    }
}
