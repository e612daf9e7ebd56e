//! Stage 1: bytes and the client's certified identity become [`Received`].
//!
//! Enters: what a sender submitted, and who it is by its certificate. Leaves: a [`Received`], the record parsed and
//! found to conform to the interface's logical model, or to the FHIR profile that the interface reads. Invariant: a record
//! that is not complete JSON (or FHIR XML) of the declared media type, or lacks what its model requires, never becomes
//! `Received`.

pub mod hl7v2;
mod model;
mod rows;
mod syntax;
mod table;

use std::borrow::Cow;

pub use self::model::{Clock, Model};
pub use self::rows::{Numbered, RowFault, Rows, Unreadable as RowsUnreadable};
use self::syntax::Syntax;
pub use self::syntax::{Reads, media_type};
pub use self::table::{Header, HeaderFault, Row};
use crate::fhir::outcome::Issue;
use crate::fhir::{Document, Instant, Limits, Node, ParseError};
use crate::identity::digest::{hex, sha_256};
use crate::identity::{InterfaceName, MessageId, PartyId, PrincipalId};

/// What a sender submitted.
#[derive(Debug)]
pub struct Submission {
    /// Who, by its certificate.
    pub sender: PartyId,
    /// As which principal of the site.
    pub by: Option<PrincipalId>,
    /// Which interface.
    pub interface: InterfaceName,
    /// `Content-Type`, as sent.
    pub content_type: Option<String>,
    /// `Idempotency-Key`, as sent.
    pub idempotency_key: Option<String>,
    /// The record.
    pub body: Vec<u8>,
    /// When the last byte arrived.
    pub received_at: Instant,
}

/// A record that arrived whole, from a known sender, and conforms to its logical model.
#[derive(Debug)]
pub struct Received {
    message: MessageId,
    sender: PartyId,
    by: Option<PrincipalId>,
    interface: InterfaceName,
    record: Document,
    digest: [u8; 32],
    sameness: [u8; 32],
    received_at: Instant,
}

impl Received {
    /// The message's id.
    pub fn message(&self) -> MessageId {
        self.message
    }

    /// Who sent it.
    pub fn sender(&self) -> &PartyId {
        &self.sender
    }

    /// As which principal of the site it was sent.
    pub fn by(&self) -> Option<&PrincipalId> {
        self.by.as_ref()
    }

    /// The interface it was sent to.
    pub fn interface(&self) -> &InterfaceName {
        &self.interface
    }

    /// The record.
    pub fn record(&self) -> &Document {
        &self.record
    }

    /// SHA-256 of the record's bytes.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What a repeat has too: SHA-256 of the record's bytes, of an HL7 v2 message without MSH-7.
    pub fn sameness(&self) -> [u8; 32] {
        self.sameness
    }

    /// When it arrived.
    pub fn received_at(&self) -> Instant {
        self.received_at
    }
}

/// Why a submission was not received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The media type is not one this interface reads.
    #[error("the record's media type is not {}", .0.media_types())]
    MediaType(Reads),
    /// The bytes are not a JSON document.
    #[error("the record is not JSON: {0}")]
    Syntax(#[from] ParseError),
    /// The bytes are not FHIR XML.
    #[error("the record is not FHIR XML: {what}")]
    Xml {
        /// What is wrong, and where.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// The bytes are not an HL7 v2 message.
    #[error("the HL7 v2 message cannot be read: {0}")]
    Hl7v2(#[from] hl7v2::Unreadable),
    /// The record does not conform to its logical model.
    #[error("the record does not conform to the logical model of {interface}: {} found", issues.len())]
    Model {
        /// The interface.
        interface: InterfaceName,
        /// What was found; at least one error.
        issues: Vec<Issue>,
    },
    /// The idempotency key cannot be used.
    #[error("the Idempotency-Key must be 1 to 255 visible ASCII characters")]
    IdempotencyKey,
}

impl Error {
    /// What the sender can do about it.
    pub fn hint(&self) -> String {
        match self {
            Error::MediaType(reads) => format!("send the record as Content-Type: {}", reads.media_types()),
            Error::Syntax(error) => error.hint().to_owned(),
            Error::Xml { hint, .. } => (*hint).to_owned(),
            Error::Hl7v2(unreadable) => unreadable.hint.to_owned(),
            Error::Model { .. } => "complete the record as the issues say, then send it again".to_owned(),
            Error::IdempotencyKey => "use a UUID as the key".to_owned(),
        }
    }
}

/// How an interface reads what is submitted to it.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'t> {
    /// What a record may cost.
    pub limits: &'t Limits,
    /// A record of a logical model, or a FHIR resource.
    pub reads: Reads,
    /// The logical model, which says where in an HL7 v2 message its elements are, if it does.
    pub model: Option<&'t Model>,
    /// The members that identify a record, as its id and version do; below others with dots: `meta.versionId`.
    pub identified_by: &'t [String],
}

/// Parses and checks a submission. `conforms` checks the record against the interface's logical model or profile.
///
/// The message's id comes from the sender, the interface and the idempotency key; without a key, what identifies the
/// record stands in for it, and without that the digest of its bytes: what is sent twice is one message.
///
/// # Errors
/// [`Error`], which names the place in the record.
pub fn receive(
    submission: Submission,
    terms: Terms<'_>,
    conforms: impl FnOnce(&Document) -> Vec<Issue>,
) -> Result<Received, Error> {
    let Submission { sender, by, interface, content_type, idempotency_key, body, received_at } = submission;
    let syntax = content_type.as_deref().and_then(|sent| terms.reads.syntax(sent, terms.model));
    let syntax = syntax.ok_or(Error::MediaType(terms.reads))?;
    let hash = sha_256(&body);
    let sameness = if matches!(syntax, Syntax::Hl7v2(_)) { hl7v2::digest_without_stamp(&body) } else { hash };
    let key = idempotency_key.map(checked).transpose()?;
    let (record, mut issues) = syntax.parse(body, terms.limits)?;
    issues.append(&mut conforms(&record));
    if issues.iter().any(Issue::is_error) {
        return Err(Error::Model { interface, issues });
    }
    let own = || own_identity(&record, terms.identified_by).unwrap_or_else(|| format!("sha-256 {}", hex(&hash)));
    let message = MessageId::derive(&sender, &interface, &key.map_or_else(own, |key| format!("key {key}")));
    Ok(Received { message, sender, by, interface, record, digest: hash, sameness, received_at })
}

fn checked(key: String) -> Result<String, Error> {
    let is_key = (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    is_key.then_some(key).ok_or(Error::IdempotencyKey)
}

/// What identifies the record by itself; `None` when nothing does, or it lacks a part. Each part follows its length, so
/// that no two lists of parts are the same text.
pub fn own_identity(record: &Document, identified_by: &[String]) -> Option<String> {
    let part = |path: &String| {
        let text = text_at(record.root(), path)?;
        Some(format!(" {}:{text}", text.len()))
    };
    let parts: String = identified_by.iter().map(part).collect::<Option<_>>()?;
    (!parts.is_empty()).then(|| format!("record{parts}"))
}

/// The text that a dotted path leads to.
fn text_at<'r>(root: Node<'r>, path: &str) -> Option<Cow<'r, str>> {
    path.split('.').try_fold(root, |at, name| at.member(name))?.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::outcome::IssueType;

    fn submission(body: &str) -> Submission {
        Submission {
            sender: "DEMOP".parse().expect("an ODS code"),
            by: None,
            interface: "crisis-escalation".parse().expect("a name"),
            content_type: Some("application/json; charset=utf-8".to_owned()),
            idempotency_key: None,
            body: body.into(),
            received_at: time::macros::datetime!(2026-01-01 00:00 UTC),
        }
    }

    fn terms<'t>(identified_by: &'t [String], limits: &'t Limits) -> Terms<'t> {
        Terms { limits, reads: Reads::Record, model: None, identified_by }
    }

    #[test]
    fn the_same_bytes_are_the_same_message_and_a_key_overrides_them() {
        let limits = Limits::default();
        let receive = |submission| receive(submission, terms(&[], &limits), |_| vec![]).expect("it is received");
        let first = receive(submission("{}"));
        assert_eq!(first.message(), receive(submission("{}")).message());
        assert_ne!(first.message(), receive(submission("{ }")).message());
        let keyed = |body| Submission { idempotency_key: Some("k".to_owned()), ..submission(body) };
        let (one, other) = (receive(keyed("{}")), receive(keyed("{ }")));
        assert_eq!(one.message(), other.message());
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn a_record_is_identified_by_its_id_and_version_where_it_has_both() {
        let by = ["id".to_owned(), "version".to_owned()];
        let id = |body, key: Option<&str>| {
            let submission = Submission { idempotency_key: key.map(str::to_owned), ..submission(body) };
            receive(submission, terms(&by, &Limits::default()), |_| vec![]).expect("it is received").message()
        };
        let first = id(r#"{"id":"a","version":"1"}"#, None);
        assert_eq!(first, id(r#"{"version":"1", "id":"a","more":true}"#, None), "however it is written");
        for other in [r#"{"id":"a","version":"2"}"#, r#"{"id":"a1","version":""}"#, r#"{"id":"a"}"#] {
            assert_ne!(first, id(other, None), "{other}");
        }
        assert_ne!(first, id(r#"{"id":"a","version":"1"}"#, Some("k")), "a key comes first");
        assert_ne!(id(r#"{"id":"a"}"#, None), id(r#"{"id":"a" }"#, None), "a part is missing: the bytes decide");
    }

    #[test]
    fn a_part_of_an_identity_may_stand_below_others() {
        let document = |text: &str| Document::parse(text, &Limits::default()).expect("it is JSON");
        let by = ["id".to_owned(), "meta.versionId".to_owned()];
        let whole = own_identity(&document(r#"{"id":"a","meta":{"versionId":"2"}}"#), &by);
        assert_eq!(whole.as_deref(), Some("record 1:a 1:2"));
        assert_eq!(own_identity(&document(r#"{"id":"a","meta":"2"}"#), &by), None);
    }

    #[test]
    fn what_is_wrong_is_refused_by_kind() {
        let refused = |submission| {
            let missing = Issue::error(IssueType::Required, "recordId is missing");
            receive(submission, terms(&[], &Limits::default()), |_| vec![missing]).expect_err("it is refused")
        };
        let xml = Submission { content_type: Some("application/xml".to_owned()), ..submission("{}") };
        assert!(matches!(refused(xml), Error::MediaType(Reads::Record)));
        assert!(matches!(
            refused(Submission { content_type: None, ..submission("{}") }),
            Error::MediaType(Reads::Record)
        ));
        assert!(matches!(refused(submission("{\"a\":1")), Error::Syntax(_)));
        assert!(matches!(refused(submission("{}")), Error::Model { issues, .. } if issues.len() == 1));
        for key in ["", "a b", "é", &"k".repeat(256)] {
            let bad = Submission { idempotency_key: Some(key.to_owned()), ..submission("{}") };
            assert!(matches!(refused(bad), Error::IdempotencyKey), "{key}");
        }
    }
}
