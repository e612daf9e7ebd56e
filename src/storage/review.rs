//! What is kept of sharing without consent: the review that each such message must get, and the notices of an incident.
//!
//! The decision and the reviewer's words are sealed as contents are; the rest holds codes, ids and instants.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::Event;
use crate::fhir::Instant;
use crate::identity::{AgreementId, InterfaceName, Malformed, MessageId, PartyId};

/// A review that a message must get, accepted with the message.
#[derive(Clone, PartialEq, Eq)]
pub struct NewReview {
    /// The role that reviews, as the agreement writes it.
    pub reviewer: String,
    /// The purpose of use: `BTG`.
    pub purpose: String,
    /// The lawful basis of the decision: `safeguarding`.
    pub basis: String,
    /// By when.
    pub due_at: Instant,
    /// The decision, to be sealed.
    pub decision: Vec<u8>,
}

impl fmt::Debug for NewReview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewReview").field("due_at", &self.due_at).field("decision", &"…").finish_non_exhaustive()
    }
}

/// What a review found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Sharing was justified.
    Justified,
    /// Sharing was justified, and something is to be done better.
    JustifiedWithLearning,
    /// Sharing was not justified: an incident.
    NotJustified,
}

impl Finding {
    /// Every finding.
    pub const ALL: [Finding; 3] = [Finding::Justified, Finding::JustifiedWithLearning, Finding::NotJustified];

    /// The name, as stored, shown and audited.
    pub fn code(self) -> &'static str {
        match self {
            Finding::Justified => "justified",
            Finding::JustifiedWithLearning => "justified-with-learning",
            Finding::NotJustified => "not-justified",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Finding {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Finding, Malformed> {
        let rule = "justified, justified-with-learning or not-justified";
        Finding::ALL.into_iter().find(|finding| finding.code() == text).ok_or(Malformed { what: "a finding", rule })
    }
}

impl serde::Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for Finding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Finding, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A review as the store knows it, without what is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewRecord {
    /// The message that was sent without consent.
    pub message: MessageId,
    /// Over which interface.
    pub interface: InterfaceName,
    /// To whom.
    pub recipient: PartyId,
    /// Under which agreement.
    pub agreement: AgreementId,
    /// The role that reviews.
    pub reviewer: String,
    /// The purpose of use.
    pub purpose: String,
    /// The lawful basis of the decision.
    pub basis: String,
    /// Since when: the message's acceptance.
    pub opened_at: Instant,
    /// By when.
    pub due_at: Instant,
    /// When it was found to be overdue.
    pub overdue_at: Option<Instant>,
    /// What it found; `None` while it is open.
    pub completed: Option<Completed>,
}

impl ReviewRecord {
    /// `open`, `overdue` or `completed`.
    pub fn standing(&self, now: Instant) -> &'static str {
        match (&self.completed, now > self.due_at) {
            (Some(_), _) => "completed",
            (None, true) => "overdue",
            (None, false) => "open",
        }
    }
}

/// The end of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// When.
    pub at: Instant,
    /// By whom: a principal of the site.
    pub by: String,
    /// What was found.
    pub finding: Finding,
}

/// The step that ends a review. All of it is written, or nothing.
#[derive(Clone)]
pub struct ReviewStep {
    /// Of which message.
    pub message: MessageId,
    /// The end.
    pub completed: Completed,
    /// The reviewer's words, to be sealed.
    pub words: Vec<u8>,
    /// Who is to be told.
    pub notices: Vec<NewNotice>,
}

impl fmt::Debug for ReviewStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, completed) = (&self.message, &self.completed);
        f.debug_struct("ReviewStep").field("message", message).field("completed", completed).finish_non_exhaustive()
    }
}

/// How many reviews stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReviewCounts {
    /// Open and in time.
    pub open: u64,
    /// Open and past their deadline.
    pub overdue: u64,
    /// Completed.
    pub completed: u64,
    /// Notices of incidents that are not delivered yet.
    pub notices_waiting: u64,
}

/// How a notice reaches its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// An HTTPS POST.
    Webhook,
    /// A file in the site's spool folder.
    Spool,
    /// A line of the gateway's log.
    Console,
}

impl Channel {
    /// The name, as stored, shown and audited.
    pub fn code(self) -> &'static str {
        match self {
            Channel::Webhook => "webhook",
            Channel::Spool => "spool",
            Channel::Console => "console",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Channel {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Channel, Malformed> {
        let all = [Channel::Webhook, Channel::Spool, Channel::Console];
        let known = all.into_iter().find(|channel| channel.code() == text);
        known.ok_or(Malformed { what: "a channel", rule: "webhook, spool or console" })
    }
}

/// A notice of an incident, stored before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNotice {
    /// Its id: the same in every attempt, so that its reader can drop a repeat.
    pub id: Uuid,
    /// How.
    pub channel: Channel,
    /// Where to: an `https` address, or a file name.
    pub target: String,
    /// JSON without personal data.
    pub body: String,
    /// When it was made, and is first due.
    pub at: Instant,
}

/// A notice as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeRecord {
    /// The notice.
    pub notice: NewNotice,
    /// The message that the incident is about.
    pub message: MessageId,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// When it is due; `None` once it was delivered.
    pub next_attempt_at: Option<Instant>,
    /// When it was delivered.
    pub delivered_at: Option<Instant>,
    /// What the last attempt came to, in words.
    pub note: String,
}

/// What an attempt at a notice came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeStep {
    /// Which notice.
    pub id: Uuid,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// What came of it.
    pub result: NoticeResult,
    /// In words, without personal data.
    pub note: String,
}

/// Whether a notice arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeResult {
    /// It did, then; with what the audit log says of it.
    Delivered(Instant, Event),
    /// Not yet: it is tried again then.
    Again(Instant),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_and_a_channel_are_read_back_from_their_names() {
        for finding in Finding::ALL {
            assert_eq!(finding.code().parse(), Ok(finding));
        }
        for channel in [Channel::Webhook, Channel::Spool, Channel::Console] {
            assert_eq!(channel.code().parse(), Ok(channel));
        }
        assert!("Justified".parse::<Finding>().is_err() && "post".parse::<Channel>().is_err());
    }

    #[test]
    fn neither_decision_nor_words_show_under_debug() {
        let at = time::macros::datetime!(2026-01-01 00:00 UTC);
        let text = |text: &str| text.to_owned();
        let review = NewReview {
            reviewer: text("safeguarding_lead"),
            purpose: text("BTG"),
            basis: text("statute"),
            due_at: at,
            decision: b"Chantal".to_vec(),
        };
        let step = ReviewStep {
            message: "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID"),
            completed: Completed { at, by: text("sue"), finding: Finding::Justified },
            words: b"Chantal".to_vec(),
            notices: vec![],
        };
        let shown = format!("{review:?} {step:?}");
        assert!(!shown.contains("67, 104") && !shown.contains("Chantal"), "{shown}");
    }
}
