//! Answers that the reference receiver gives later, as messages of its own to the sender's `$process-message`.
//!
//! Enters: a message that was kept. Leaves: a response message over mutual TLS, sent until the sender has taken it. Kept in
//! memory alone: a receiver that is stopped forgets what it still owes.

use std::str::FromStr;
use std::time::Duration;

use uuid::Uuid;

use super::Settings;
use crate::delivery::{Bars, Dispatch, Endpoint};
use crate::fhir::ElementPath;
use crate::fhir::handover::Written;
use crate::fhir::message::{Response, ResponseCode, response_bundle, response_with_outcome, response_with_task};
use crate::fhir::outcome::{Issue, IssueType, operation_outcome, operation_outcome_coded};
use crate::fhir::response::REASONS;
use crate::identity::PartyId;
use crate::identity::tls::TlsError;

/// What is answered later, written as `accept`, `reject`, `ask` or `fail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// `accept`: the referral is taken.
    Accept,
    /// `reject`: it is not, since the team has no capacity. Of a message without a Task nothing can be rejected: it fails.
    Reject,
    /// `ask`: it cannot be decided without a telephone number of the person.
    Ask,
    /// `fail`: the receiver's system cannot process the message, so that nobody decides.
    Fail,
}

/// Text that names no such answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an answer: write accept, reject, ask or fail")]
pub struct UnknownAnswer;

impl FromStr for Later {
    type Err = UnknownAnswer;

    fn from_str(text: &str) -> Result<Later, UnknownAnswer> {
        match text {
            "accept" => Ok(Later::Accept),
            "reject" => Ok(Later::Reject),
            "ask" => Ok(Later::Ask),
            "fail" => Ok(Later::Fail),
            _ => Err(UnknownAnswer),
        }
    }
}

/// Where later answers go, and what they say.
#[derive(Clone, Debug)]
pub struct Answers {
    /// What they say.
    pub says: Later,
    /// The sender's FHIR base.
    pub endpoint: Endpoint,
    /// Whose it is.
    pub party: PartyId,
    /// Its service.
    pub service_id: String,
}

/// How long an answer waits before it is sent again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one attempt may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends later answers.
#[derive(Debug)]
pub(super) struct Answering {
    says: Later,
    bars: Bars,
    us: PartyId,
    now: fn() -> crate::fhir::Instant,
}

impl Answering {
    pub(super) fn new(settings: &Settings) -> Result<Option<Answering>, TlsError> {
        let Some(Answers { says, endpoint, party, service_id }) = settings.later.clone() else { return Ok(None) };
        let bars = Bars::new((party, service_id), endpoint, &settings.credentials, settings.tls_clock.clone())?;
        Ok(Some(Answering { says, bars, us: settings.party.clone(), now: settings.now }))
    }

    /// Answers the message `bundle` of `sender`, and its Task, until the answer is taken or refused for good.
    pub(super) async fn answer(
        &self,
        (bundle, task): (Uuid, Option<&str>),
        sender: &PartyId,
        (correlation, context): (Uuid, &str),
    ) {
        let id = Uuid::new_v5(&bundle, b"later answer");
        let body = self.body(id, (bundle, task), sender);
        let name = format!("Organisation {}", self.us);
        let dispatch = Dispatch::response((id.into(), correlation, context), self.us.clone(), &name, body);
        let Ok(dispatch) = dispatch else { return };
        loop {
            match self.bars.attempt(&dispatch, LIMIT).await {
                Ok(reply) if reply.status.is_success() || reply.status.as_u16() == 409 => {
                    tracing::info!(message_id = %bundle, status = reply.status.as_u16(), "a later answer was taken");
                    return;
                }
                Ok(reply) if reply.status.is_client_error() && !matches!(reply.status.as_u16(), 408 | 425 | 429) => {
                    tracing::error!(message_id = %bundle, status = reply.status.as_u16(), "a later answer was refused");
                    return;
                }
                Ok(reply) => {
                    tracing::warn!(message_id = %bundle, status = reply.status.as_u16(), "a later answer waits")
                }
                Err(reason) => tracing::warn!(message_id = %bundle, %reason, "a later answer waits"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn body(&self, id: Uuid, (bundle, task): (Uuid, Option<&str>), sender: &PartyId) -> String {
        let response = |code| Response {
            id,
            timestamp: (self.now)(),
            answers: "",
            code,
            event: "servicerequest-response",
            receiver: self.us.as_str(),
            sender: sender.as_str(),
        };
        let answers = &bundle.to_string();
        match (self.says, task) {
            (Later::Accept, _) => response_bundle(&Response { answers, ..response(ResponseCode::Ok) }),
            (Later::Reject, Some(task)) => {
                let (says, at) = (response(ResponseCode::Ok), (self.now)());
                let reason = Some(("no-capacity", Some("the team cannot take the referral")));
                let status = "rejected";
                let rejected =
                    Written { id: task, status, owner: None, contact_by: None, contacted_at: None, reason, at };
                response_with_task(&Response { answers, ..says }, (task, &rejected.to_json()))
            }
            (Later::Fail, _) | (Later::Reject, None) => {
                let issue = Issue::error(IssueType::Exception, "the message cannot be processed");
                let outcome = operation_outcome(&[issue]);
                response_with_outcome(&Response { answers, ..response(ResponseCode::FatalError) }, &outcome)
            }
            (Later::Ask, _) => {
                let issue = Issue::error(IssueType::Required, "a telephone number of the person is needed");
                let issue = issue.at(ElementPath::new("Patient.telecom"));
                let outcome = operation_outcome_coded(&[issue], Some((REASONS, "information-missing")));
                response_with_outcome(&Response { answers, ..response(ResponseCode::FatalError) }, &outcome)
            }
        }
    }
}
