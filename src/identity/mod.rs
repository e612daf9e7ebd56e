//! Who and what: parties, messages, interfaces, agreements. Each is parsed at the edge into a type that cannot be
//! wrong. Certificates say who a peer is; here they are read, trusted and, for the demo, issued.

pub mod assertion;
pub mod certificate;
mod coded;
pub mod digest;
pub mod issuance;
pub mod keyed_hash;
pub mod pin;
pub mod principal;
pub mod signature;
pub mod tls;
mod trust;

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

pub(crate) use coded::coded;
pub use principal::PrincipalId;

/// A name that was not what its type asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct Malformed {
    /// What kind of name.
    pub what: &'static str,
    /// What it must look like.
    pub rule: &'static str,
}

/// An organisation, by its ODS code, in upper case. One to nine letters and digits (ODS code format).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartyId(Box<str>);

impl FromStr for PartyId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<PartyId, Malformed> {
        if !(1..=9).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Malformed { what: "an ODS code", rule: "1 to 9 letters and digits" });
        }
        Ok(PartyId(text.to_ascii_uppercase().into()))
    }
}

/// The name of an interface: `crisis-escalation`. Lower-case letters, digits and single hyphens, at most 64.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(Box<str>);

impl FromStr for InterfaceName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<InterfaceName, Malformed> {
        match kebab(text) {
            true => Ok(InterfaceName(text.into())),
            false => Err(Malformed { what: "an interface name", rule: "lower-case words joined by hyphens" }),
        }
    }
}

/// The id of a sharing agreement: `demo-trust-crisis`. Written like an interface name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgreementId(Box<str>);

impl FromStr for AgreementId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<AgreementId, Malformed> {
        match kebab(text) {
            true => Ok(AgreementId(text.into())),
            false => Err(Malformed { what: "an agreement id", rule: "lower-case words joined by hyphens" }),
        }
    }
}

fn kebab(text: &str) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= 64 && text.split('-').all(word)
}

/// A message's id, from intake to audit: also the Bundle's id and the X-Request-Id towards the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Uuid);

/// The namespace of message ids: UUIDv5 of the DNS name `weir.example`.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0e_38e6_6f3c_5b0f_9d3c_0b8a_0f4e_7c11);

impl MessageId {
    /// The id of what `sender` submits to `interface` under `key`. The same three always give the same id, so that a
    /// submission that is repeated after a lost answer is the same message (RFC 9562 section 5.5).
    pub fn derive(sender: &PartyId, interface: &InterfaceName, key: &str) -> MessageId {
        let name = format!("{sender}\n{interface}\n{key}");
        MessageId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }

    /// An id below this message's: for one resource, one header. The same role always gives the same id.
    pub fn part(self, role: &str) -> Uuid {
        Uuid::new_v5(&self.0, role.as_bytes())
    }

    /// The UUID.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl serde::Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for MessageId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<MessageId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl From<Uuid> for MessageId {
    fn from(uuid: Uuid) -> MessageId {
        MessageId(uuid)
    }
}

impl FromStr for MessageId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<MessageId, Malformed> {
        Uuid::try_parse(text).map(MessageId).map_err(|_| Malformed { what: "a message id", rule: "a UUID" })
    }
}

macro_rules! text_of {
    ($($name:ident),+) => {$(
        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

text_of!(PartyId, InterfaceName, AgreementId, PrincipalId);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ods_code_is_letters_and_digits() {
        assert_eq!("rxt01".parse::<PartyId>().map(|party| party.to_string()), Ok("RXT01".to_owned()));
        for wrong in ["", "RX-1", "ABCDEFGHIJ", "RX 1", "ÄB1"] {
            assert!(wrong.parse::<PartyId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_interface_is_named_in_kebab_case() {
        assert!("crisis-escalation".parse::<InterfaceName>().is_ok());
        for wrong in ["", "Crisis", "a--b", "-a", "a-", "a/b", "../a", &"a".repeat(65)] {
            assert!(wrong.parse::<InterfaceName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_same_submission_is_the_same_message() {
        let sender: PartyId = "DEMOP".parse().expect("an ODS code");
        let interface: InterfaceName = "crisis-escalation".parse().expect("a name");
        let id = MessageId::derive(&sender, &interface, "r1");
        assert_eq!(id, MessageId::derive(&sender, &interface, "r1"));
        assert_ne!(id, MessageId::derive(&sender, &interface, "r2"));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id.part("a"), id.part("b"));
    }
}
