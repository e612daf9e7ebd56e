//! Every way a message is refused, with whose move it is and whether to resend.

use crate::delivery::outbox;
use crate::disclosure;
use crate::fhir::outcome::{Issue, IssueType};
use crate::identity::InterfaceName;
use crate::intake;
use crate::mapping::{self, Missing};
use crate::validation;

/// Why a submission did not become a queued message. Nothing was accepted, and nothing left.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No interface has this name.
    #[error("there is no interface {interface}")]
    UnknownInterface {
        /// What the sender asked for.
        interface: InterfaceName,
    },
    /// The sender is not the provider this gateway serves.
    #[error("the client certificate is not one of this provider's record systems")]
    UnknownSender,
    /// Stage 1.
    #[error(transparent)]
    Intake(#[from] intake::Error),
    /// Stage 2.
    #[error(transparent)]
    Mapping(#[from] mapping::Error),
    /// It lacks what its model marks as essential, and its interface has such records refused.
    #[error("the record lacks {} that {} essential", things(missing), if missing.len() == 1 { "is" } else { "are" })]
    Incomplete {
        /// What it lacks.
        missing: Vec<Missing>,
    },
    /// It lacks something, and its Bundle does not say so.
    #[error("the record lacks something essential, and the Bundle does not say all of it")]
    Unsaid,
    /// Stage 3.
    #[error(transparent)]
    Validation(#[from] validation::Error),
    /// Stage 4.
    #[error(transparent)]
    Disclosure(#[from] disclosure::Error),
    /// Stage 6.
    #[error(transparent)]
    Outbox(#[from] outbox::Error),
}

const INCOMPLETE: &str =
    "add it, then send the record again as a new version; or write that it was asked for and is none";

fn things(missing: &[Missing]) -> String {
    if missing.len() == 1 { "1 thing".to_owned() } else { format!("{} things", missing.len()) }
}

/// One thing that is missing, as the sender reads it.
fn lacking(missing: &Missing) -> Issue {
    let Missing { what, who, question, .. } = missing;
    let asks = question.as_ref().map(|question| format!(": {question}")).unwrap_or_default();
    let issue = Issue::error(IssueType::Required, format!("not recorded: {what}"));
    issue.at(missing.path.clone()).hint(format!("{who} must obtain it{asks}"))
}

/// Whether sending the same again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Yes: nothing is wrong with the record.
    Later,
    /// Only after the sender has corrected the record or the request.
    Corrected,
    /// Only after the provider's operator or the data controller has changed the configuration.
    Configured,
}

impl Refusal {
    /// Whose move it is.
    pub fn retry(&self) -> Retry {
        match self {
            Refusal::UnknownInterface { .. } | Refusal::Intake(_) | Refusal::Incomplete { .. } => Retry::Corrected,
            Refusal::Mapping(mapping::Error::Check { .. } | mapping::Error::Cardinality { .. }) => Retry::Corrected,
            Refusal::Disclosure(
                disclosure::Error::RecipientUnknown
                | disclosure::Error::SenderMismatch { .. }
                | disclosure::Error::Consent { .. }
                | disclosure::Error::Decision { .. },
            ) => Retry::Corrected,
            Refusal::UnknownSender
            | Refusal::Mapping(_)
            | Refusal::Unsaid
            | Refusal::Validation(_)
            | Refusal::Disclosure(_) => Retry::Configured,
            Refusal::Outbox(outbox::Error::Conflict | outbox::Error::NoRoute { .. }) => Retry::Corrected,
            Refusal::Outbox(outbox::Error::Full(_) | outbox::Error::Store(_)) => Retry::Later,
        }
    }

    /// What the sender can do about it.
    pub fn hint(&self) -> String {
        match self {
            Refusal::UnknownInterface { .. } => "check the interface's name in the path".to_owned(),
            Refusal::UnknownSender => "submit with a certificate that names this provider's ODS code".to_owned(),
            Refusal::Intake(error) => error.hint(),
            Refusal::Mapping(error) => error.hint(),
            Refusal::Incomplete { .. } => INCOMPLETE.to_owned(),
            Refusal::Unsaid => "tell the gateway's operator: this is a fault of the gateway".to_owned(),
            Refusal::Validation(error) => error.hint().to_owned(),
            Refusal::Disclosure(error) => error.hint(),
            Refusal::Outbox(error) => error.hint().to_owned(),
        }
    }

    /// The stage that refused: a metric's label and an audit event's reason.
    pub fn stage(&self) -> &'static str {
        match self {
            Refusal::UnknownInterface { .. } | Refusal::UnknownSender | Refusal::Intake(_) => "intake",
            Refusal::Mapping(_) => "mapping",
            Refusal::Incomplete { .. } | Refusal::Unsaid => "essential",
            Refusal::Validation(_) => "validation",
            Refusal::Disclosure(_) => "disclosure",
            Refusal::Outbox(_) => "delivery",
        }
    }

    /// How many essential things the record lacks, if that is why.
    pub fn missing(&self) -> u32 {
        match self {
            Refusal::Incomplete { missing } => u32::try_from(missing.len()).unwrap_or(u32::MAX),
            _ => 0,
        }
    }

    /// Everything that was found, for the sender's OperationOutcome: the worst first. There is always a hint.
    pub fn issues(&self) -> Vec<Issue> {
        let mut issues = self.found();
        issues.sort_by_key(|issue| std::cmp::Reverse(issue.severity));
        if let Some(first) = issues.first_mut().filter(|first| first.hint.is_empty()) {
            first.hint = self.hint();
        }
        issues
    }

    fn found(&self) -> Vec<Issue> {
        match self {
            Refusal::Intake(intake::Error::Model { issues, .. }) => issues.clone(),
            Refusal::Incomplete { missing } => missing.iter().map(lacking).collect(),
            Refusal::Validation(error) => error.issues.clone(),
            Refusal::Disclosure(disclosure::Error::Invalid { issues, .. }) => issues.clone(),
            Refusal::Disclosure(disclosure::Error::Decision { lacks, .. }) => {
                let whole = Issue::error(self.code(), self.to_string()).hint(self.hint());
                let parts =
                    lacks.iter().map(|lack| Issue::error(IssueType::Required, lack.text.clone()).at(lack.path.clone()));
                std::iter::once(whole).chain(parts).collect()
            }
            Refusal::Intake(intake::Error::Syntax(error)) => {
                let found = Issue::error(IssueType::Structure, self.to_string());
                vec![found.position(error.position).at(error.path.clone()).hint(self.hint())]
            }
            Refusal::Mapping(error) => {
                let found = Issue::error(self.code(), self.to_string()).hint(self.hint());
                vec![match error.place() {
                    Some(mapping::Place { path, position: Some(position), .. }) => {
                        found.at(path.clone()).position(*position)
                    }
                    Some(place) => found.at(place.path.clone()),
                    None => found,
                }]
            }
            _ => vec![Issue::error(self.code(), self.to_string()).hint(self.hint())],
        }
    }

    fn code(&self) -> IssueType {
        match self {
            Refusal::UnknownInterface { .. } => IssueType::NotFound,
            Refusal::UnknownSender => IssueType::Forbidden,
            Refusal::Intake(intake::Error::MediaType(_)) => IssueType::NotSupported,
            Refusal::Intake(intake::Error::IdempotencyKey) => IssueType::Value,
            Refusal::Intake(_) => IssueType::Structure,
            Refusal::Mapping(_) | Refusal::Unsaid => IssueType::Processing,
            Refusal::Incomplete { .. } => IssueType::Required,
            Refusal::Validation(_) => IssueType::Invalid,
            Refusal::Disclosure(_) => IssueType::Forbidden,
            Refusal::Outbox(outbox::Error::Conflict) => IssueType::Conflict,
            Refusal::Outbox(outbox::Error::NoRoute { .. }) => IssueType::NotFound,
            Refusal::Outbox(outbox::Error::Full(_) | outbox::Error::Store(_)) => IssueType::Transient,
        }
    }
}
