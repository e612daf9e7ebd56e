//! Stage 7: what a partner answered becomes a [`Verdict`] on the message.
//!
//! Enters: the [`Answer`] to one attempt, and the message it was made for. Leaves: acknowledged, to be sent
//! again, or refused. Invariant: a message counts as acknowledged only by an answer that names it. What cannot be
//! correlated is sent again with the same ids, never taken for a yes (BaRS, retries; FHIR R4 messaging.html).

use std::time::Duration;

use crate::delivery::{Answer, Dispatch, Reply};
use crate::fhir::bars::{OutcomeCodes, outcome_codes};
use crate::fhir::message::{Message, ResponseCode};
use crate::fhir::{Document, Limits};
use crate::identity::MessageId;

/// What an answer means for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The partner has it.
    Acknowledged {
        /// The partner says it had it already: an earlier attempt arrived, whose answer was lost.
        duplicate: bool,
    },
    /// It is to be sent again, with the same ids.
    Retry {
        /// Why.
        reason: RetryReason,
        /// How long the partner asks us to wait.
        after: Option<Duration>,
    },
    /// The partner will not take it as it is. A person has to be told.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What its OperationOutcome says, in codes alone.
        codes: OutcomeCodes,
    },
}

/// Why a message is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryReason {
    /// An HTTP status that says so: 408, 425, 429, 5xx.
    #[error("the partner answers {0} for now")]
    Status(u16),
    /// `MessageHeader.response.code` is `transient-error`.
    #[error("the partner reports a transient error")]
    TransientError,
    /// An answer to something else, or one that does not say what it answers. The message may have arrived.
    #[error("the partner's answer cannot be matched to the message")]
    Uncorrelated,
}

impl RetryReason {
    /// Whether it says something of this message rather than of the partner's endpoint.
    pub fn concerns_the_message(self) -> bool {
        match self {
            RetryReason::Status(425) | RetryReason::TransientError => true,
            RetryReason::Status(_) | RetryReason::Uncorrelated => false,
        }
    }
}

/// The most levels of an answer.
const LIMITS: Limits = Limits { depth: 50, nodes: 100_000 };

/// What the answer to an attempt at delivering `dispatch` means for its message.
pub fn verdict(answer: &Answer, dispatch: &Dispatch) -> Verdict {
    match answer {
        Answer::Bars(reply) => judge(reply, dispatch.message, &dispatch.names),
    }
}

/// What `reply`, to a `$process-message`, means for `message`.
///
/// `names` are the ids that a message answer may name it by: `Bundle.id` (BaRS) and `MessageHeader.id` (FHIR R4).
pub fn judge(reply: &Reply, message: MessageId, names: &[String]) -> Verdict {
    let status = reply.status.as_u16();
    if echoes(reply, message) == Some(false) {
        return uncorrelated(reply);
    }
    match status {
        408 | 425 | 429 | 500.. => again(reply, RetryReason::Status(status)),
        200..300 => judge_message(reply, names),
        409 => judge_conflict(reply, message),
        _ => refused(reply),
    }
}

/// Whether `X-Request-Id` is that of the message; `None` when there is none.
fn echoes(reply: &Reply, message: MessageId) -> Option<bool> {
    reply.request_id.as_deref().map(|echo| echo.parse() == Ok(message))
}

/// A 2xx counts by its body alone: a message whose header answers ours.
fn judge_message(reply: &Reply, names: &[String]) -> Verdict {
    let Some(document) = parsed(reply) else { return uncorrelated(reply) };
    let Ok(answer) = Message::of(&document) else { return uncorrelated(reply) };
    if answer.answers().is_none_or(|id| !names.iter().any(|name| name.eq_ignore_ascii_case(&id))) {
        return uncorrelated(reply);
    }
    match answer.response_code() {
        Some(ResponseCode::Ok) => Verdict::Acknowledged { duplicate: false },
        Some(ResponseCode::TransientError) => again(reply, RetryReason::TransientError),
        Some(ResponseCode::FatalError) => refused(reply),
        None => uncorrelated(reply),
    }
}

/// A 409 for a duplicate has no other tie to the message than the id it echoes.
fn judge_conflict(reply: &Reply, message: MessageId) -> Verdict {
    let codes = parsed(reply).map(|document| outcome_codes(&document)).unwrap_or_default();
    if !codes.issues.iter().any(|code| &**code == "duplicate") {
        return refused(reply);
    }
    match echoes(reply, message) {
        Some(true) => Verdict::Acknowledged { duplicate: true },
        _ => uncorrelated(reply),
    }
}

fn parsed(reply: &Reply) -> Option<Document> {
    Document::parse(reply.body.as_ref(), &LIMITS).ok()
}

fn again(reply: &Reply, reason: RetryReason) -> Verdict {
    Verdict::Retry { reason, after: reply.retry_after }
}

fn uncorrelated(reply: &Reply) -> Verdict {
    again(reply, RetryReason::Uncorrelated)
}

fn refused(reply: &Reply) -> Verdict {
    let codes = parsed(reply).map(|document| outcome_codes(&document)).unwrap_or_default();
    Verdict::Refused { status: reply.status.as_u16(), codes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::bars::{ErrorCode, outcome};
    use crate::fhir::message::{Response, response_bundle};
    use crate::fhir::outcome::{Issue, IssueType};
    use http::StatusCode;
    use time::macros::datetime;

    const OURS: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";
    const BUNDLE: &str = "2f0e0d0c-0b0a-4908-8706-050403020100";
    const HEADER: &str = "3f0e0d0c-0b0a-4908-8706-050403020100";
    const OTHER: &str = "1f0e0d0c-0b0a-4908-8706-050403020100";

    fn judged(status: u16, echo: Option<&str>, body: &str) -> Verdict {
        let reply = Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            request_id: echo.map(str::to_owned),
            correlation_id: None,
            retry_after: Some(Duration::from_secs(7)),
            body: body.to_owned().into(),
        };
        judge(&reply, OURS.parse().expect("a message id"), &[BUNDLE.to_owned(), HEADER.to_owned()])
    }

    fn answer(answers: &str, code: ResponseCode) -> String {
        response_bundle(&Response {
            id: uuid::Uuid::nil(),
            timestamp: datetime!(2026-01-01 00:00 UTC),
            answers,
            code,
            event: "servicerequest-response",
            receiver: "DEMOT",
            sender: "DEMOP",
        })
    }

    fn retry(reason: RetryReason) -> Verdict {
        Verdict::Retry { reason, after: Some(Duration::from_secs(7)) }
    }

    fn refusal(status: u16, issue: &[&str], detail: &[&str]) -> Verdict {
        let boxed = |codes: &[&str]| codes.iter().map(|code| (*code).into()).collect();
        Verdict::Refused { status, codes: OutcomeCodes { issues: boxed(issue), details: boxed(detail) } }
    }

    #[test]
    fn an_answer_that_names_the_message_acknowledges_it() {
        for status in [200, 201, 202] {
            let ok = answer(BUNDLE, ResponseCode::Ok);
            assert_eq!(judged(status, Some(OURS), &ok), Verdict::Acknowledged { duplicate: false });
            assert_eq!(judged(status, None, &ok), Verdict::Acknowledged { duplicate: false });
            assert_eq!(
                judged(status, None, &answer(HEADER, ResponseCode::Ok)),
                Verdict::Acknowledged { duplicate: false }
            );
            let shouted = answer(&BUNDLE.to_uppercase(), ResponseCode::Ok);
            assert_eq!(judged(status, None, &shouted), Verdict::Acknowledged { duplicate: false });
        }
    }

    #[test]
    fn an_answer_that_does_not_name_the_message_is_never_a_yes() {
        let ok = answer(BUNDLE, ResponseCode::Ok);
        let unknown_code = ok.replace(r#""code":"ok""#, r#""code":"fine""#);
        let no_response = ok.replace(r#""response":"#, r#""_response":"#);
        for (echo, body) in [
            (Some(OTHER), ok.as_str()),
            (Some(""), &ok),
            (Some(OURS), &answer(OTHER, ResponseCode::Ok)),
            (Some(OURS), &answer(OTHER, ResponseCode::FatalError)),
            (Some(OURS), &unknown_code),
            (Some(OURS), &no_response),
            (Some(OURS), &ok[..ok.len() - 1]),
            (Some(OURS), ""),
            (Some(OURS), "OK"),
            (Some(OURS), r#"{"resourceType":"OperationOutcome","issue":[]}"#),
        ] {
            assert_eq!(judged(200, echo, body), retry(RetryReason::Uncorrelated), "{body}");
        }
        assert_eq!(judged(204, Some(OURS), ""), retry(RetryReason::Uncorrelated));
        assert_eq!(judged(422, Some(OTHER), ""), retry(RetryReason::Uncorrelated));
    }

    #[test]
    fn errors_in_an_answer_are_told_apart() {
        let transient = answer(BUNDLE, ResponseCode::TransientError);
        assert_eq!(judged(200, Some(OURS), &transient), retry(RetryReason::TransientError));
        assert_eq!(judged(200, Some(OURS), &answer(BUNDLE, ResponseCode::FatalError)), refusal(200, &[], &[]));
    }

    #[test]
    fn a_duplicate_is_acknowledged_and_a_conflict_refused() {
        let duplicate = outcome(ErrorCode::Conflict, Issue::error(IssueType::Duplicate, "had it"));
        assert_eq!(judged(409, Some(OURS), &duplicate), Verdict::Acknowledged { duplicate: true });
        assert_eq!(judged(409, None, &duplicate), retry(RetryReason::Uncorrelated));
        assert_eq!(judged(409, Some(OTHER), &duplicate), retry(RetryReason::Uncorrelated));
        let conflict = outcome(ErrorCode::Conflict, Issue::error(IssueType::Conflict, "another"));
        assert_eq!(judged(409, Some(OURS), &conflict), refusal(409, &["conflict"], &["REC_CONFLICT"]));
        assert_eq!(judged(409, Some(OURS), "oops"), refusal(409, &[], &[]));
    }

    #[test]
    fn a_status_says_whether_to_send_again() {
        for status in [408, 425, 429, 500, 501, 503, 599] {
            assert_eq!(judged(status, None, "<html>"), retry(RetryReason::Status(status)));
        }
        for status in [301, 400, 401, 403, 404, 406, 413, 415] {
            assert_eq!(judged(status, None, "<html>"), refusal(status, &[], &[]), "{status}");
        }
        let fatal = outcome(ErrorCode::UnprocessableEntity, Issue::error(IssueType::Processing, "Peter Chalmers"));
        assert_eq!(judged(422, Some(OURS), &fatal), refusal(422, &["processing"], &["REC_UNPROCESSABLE_ENTITY"]));
    }
}
