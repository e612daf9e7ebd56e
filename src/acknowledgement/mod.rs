//! Stage 7: what a partner answered becomes a [`Verdict`] on the message.
//!
//! Enters: the [`Answer`] to one attempt, and the message it was made for. Leaves: acknowledged, to be sent
//! again, or refused. Invariant: a message counts as acknowledged only by an answer that names it. What cannot be
//! correlated is sent again with the same ids, never taken for a yes (BaRS, retries; FHIR R4 messaging.html).

pub mod hl7v2;
mod mode;
mod rest;

use std::time::Duration;

use crate::delivery::mesh::Handed;
use crate::delivery::{Answer, Dispatch, Reply};
use crate::fhir::bars::{OutcomeCodes, outcome_codes};
use crate::fhir::error_code::{Fault, Meaning, meaning};
use crate::fhir::message::{Message, ResponseCode};
use crate::fhir::response::{self, Decision, Finding};
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
    /// What carries it has it; its recipient will answer by itself.
    Delivered {
        /// What MESH calls it.
        id: String,
        /// It had it already: an earlier attempt arrived, whose answer was lost.
        duplicate: bool,
    },
    /// The partner's system has it, and answers by itself later.
    Awaited {
        /// It had it already: an earlier attempt arrived, whose answer was lost.
        duplicate: bool,
    },
    /// What carries it does not take it as it is. A person has to be told.
    NotCarried {
        /// The HTTP status.
        status: u16,
        /// Its own code.
        code: Option<String>,
    },
    /// The partner will not take one part of it as it is, and so none. A person has to be told.
    PartRefused {
        /// Which entry of the Bundle, from 0.
        entry: usize,
        /// Its HTTP status.
        status: u16,
        /// What its OperationOutcome says, in codes alone.
        codes: OutcomeCodes,
    },
    /// The partner created nothing, for it says that it had it before it was first sent. A person has to be told.
    HadBefore {
        /// Which entry of the Bundle, from 0, if it was one.
        entry: Option<usize>,
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
    /// A code of http-error-codes says so.
    #[error("the partner answers {status} for now: {}; {}", .fault.words, .fault.by.words())]
    Said {
        /// The HTTP status.
        status: u16,
        /// What the code says.
        fault: Fault,
    },
    /// 401: nothing of the message is wrong.
    #[error("the partner answers 401: it does not take our token or certificate")]
    Unauthorised,
    /// `MessageHeader.response.code` is `transient-error`.
    #[error("the partner reports a transient error")]
    TransientError,
    /// An answer to something else, or one that does not say what it answers. The message may have arrived.
    #[error("the partner's answer cannot be matched to the message")]
    Uncorrelated,
    /// MESH knows no mailbox, or several, for the recipient and the workflow.
    #[error("MESH knows {0} mailboxes for the recipient's ODS code and the workflow, and one is needed")]
    Mailboxes(usize),
}

impl RetryReason {
    /// Whether it says something of this message rather than of the partner's endpoint.
    pub fn concerns_the_message(self) -> bool {
        match self {
            RetryReason::Status(425) | RetryReason::Said { status: 425, .. } | RetryReason::TransientError => true,
            RetryReason::Status(_)
            | RetryReason::Said { .. }
            | RetryReason::Unauthorised
            | RetryReason::Uncorrelated
            | RetryReason::Mailboxes(_) => false,
        }
    }

    /// Whether we are not let in there, which does not pass by itself.
    pub fn is_unauthorised(self) -> bool {
        match self {
            // MESH alone is tried again after these: its own answers say nothing more of them.
            RetryReason::Status(401 | 403) | RetryReason::Said { status: 401, .. } | RetryReason::Unauthorised => true,
            RetryReason::Said { fault, .. } => fault.meaning == Meaning::Unauthorised,
            RetryReason::Status(_)
            | RetryReason::TransientError
            | RetryReason::Uncorrelated
            | RetryReason::Mailboxes(_) => false,
        }
    }
}

/// The most levels and values of an answer.
pub const LIMITS: Limits = Limits { depth: 50, nodes: 100_000 };

/// What the answer to an attempt at delivering `dispatch` means for its message, from a partner that says how it went in
/// the exchange, or `answers_later`.
pub fn verdict(answer: &Answer, dispatch: &Dispatch, answers_later: bool) -> Verdict {
    match answer {
        Answer::Bars(reply) if answers_later => judge_first(reply, dispatch.message, &dispatch.names),
        Answer::Bars(reply) => judge(reply, dispatch.message, &dispatch.names),
        // A server that keeps it has not read it.
        Answer::Rest(answered) if answers_later => match rest::judge(answered, dispatch) {
            Verdict::Acknowledged { duplicate } => Verdict::Awaited { duplicate },
            verdict => verdict,
        },
        Answer::Rest(answered) => rest::judge(answered, dispatch),
        Answer::Mesh(handed) => judge_handed(handed),
    }
}

/// What MESH did with a message says nothing of its recipient.
fn judge_handed(handed: &Handed) -> Verdict {
    match handed {
        Handed::Taken { id, before } => Verdict::Delivered { id: id.clone(), duplicate: *before },
        Handed::Later { status, after } => Verdict::Retry { reason: RetryReason::Status(*status), after: *after },
        Handed::Refused { status, code } => Verdict::NotCarried { status: *status, code: code.clone() },
        Handed::Mailboxes(count) => Verdict::Retry { reason: RetryReason::Mailboxes(*count), after: None },
        Handed::Unreadable => Verdict::Retry { reason: RetryReason::Uncorrelated, after: None },
    }
}

/// What an answer means that came by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Late {
    /// The partner has it, and may still ask for more: element paths and codes.
    Yes(Vec<String>),
    /// It is to be sent again.
    Again,
    /// The partner cannot take it without more: element paths and codes.
    Missing(Vec<String>),
    /// The receiving team does not take the referral: why, in codes alone.
    No(Vec<String>),
    /// The partner's system could not process it as it is, so that nobody there decided: why, in codes alone.
    Failed(Vec<String>),
}

/// What `answer`, a response message, means for the message that it answers; `None` when it does not say how it went.
///
/// A referral that the receiving team rejects is refused although its message was processed without an error. A `fatal-error`
/// ("the message was rejected because of a problem with the content", FHIR R4, response-code) is the word of the partner's system,
/// whatever else comes with it: what was not processed, no team has decided on. What is missing cannot come by sending the same
/// again: it is asked for, whatever the response code.
pub fn judge_late(answer: &Document) -> Option<Late> {
    let code = Message::of(answer).ok()?.response_code()?;
    let findings = response::findings(answer);
    let asks = asked_for(&findings);
    let decision = response::decision(answer);
    let why = || {
        let codes = outcome_codes(answer);
        let mut why: Vec<String> = response::reasons(answer);
        why.extend(findings.iter().flat_map(|finding| finding.codes.iter().cloned()));
        why.extend(codes.issues.iter().chain(&codes.details).map(|code| code.to_string()));
        why.sort();
        why.dedup();
        why
    };
    let only_misses = {
        let mut errors = findings.iter().filter(|finding| finding.is_error).peekable();
        errors.peek().is_some() && errors.all(|finding| finding.is_missing)
    };
    Some(match (code, decision) {
        (ResponseCode::Ok, Some(Decision::Rejected)) => Late::No(why()),
        (ResponseCode::Ok, Some(Decision::Failed)) => Late::Failed(why()),
        (ResponseCode::Ok, Some(Decision::OnHold)) => Late::Missing(asks),
        _ if only_misses => Late::Missing(asks),
        (ResponseCode::FatalError, _) => Late::Failed(why()),
        (ResponseCode::TransientError, _) => Late::Again,
        (ResponseCode::Ok, None) => Late::Yes(asks),
    })
}

/// The element paths and the codes of what is missing; that something is missing is no news.
fn asked_for(findings: &[Finding]) -> Vec<String> {
    let missing = findings.iter().filter(|finding| finding.is_missing);
    let asked = missing.flat_map(|finding| finding.paths.iter().chain(&finding.codes));
    let mut asks: Vec<String> = asked.filter(|asked| *asked != "information-missing").cloned().collect();
    asks.sort();
    asks.dedup();
    asks
}

/// What `reply`, to a `$process-message`, means for `message`.
///
/// `names` are the ids that a message answer may name it by: `Bundle.id` (BaRS) and `MessageHeader.id` (FHIR R4).
pub fn judge(reply: &Reply, message: MessageId, names: &[String]) -> Verdict {
    let status = reply.status.as_u16();
    if echoes(reply, message) == Some(false) {
        return uncorrelated(reply);
    }
    if reply.status.is_success() {
        return judge_message(reply, names);
    }
    let fault = parsed(reply).and_then(|document| meaning(&outcome_codes(&document)));
    match (fault, status) {
        (Some(fault), _) if matches!(fault.meaning, Meaning::Again | Meaning::Unauthorised) => {
            again(reply, RetryReason::Said { status, fault })
        }
        (None, 401) => again(reply, RetryReason::Unauthorised),
        (_, 409) => judge_conflict(reply, message),
        (None, 408 | 425 | 429 | 500..) => again(reply, RetryReason::Status(status)),
        _ => refused(reply),
    }
}

/// The same of a partner that answers later by a message of its own: that it has the message is enough for now, if the
/// answer echoes the message's id and says nothing else.
pub fn judge_first(reply: &Reply, message: MessageId, names: &[String]) -> Verdict {
    match judge(reply, message, names) {
        Verdict::Acknowledged { duplicate: true } => Verdict::Awaited { duplicate: true },
        Verdict::Retry { reason: RetryReason::Uncorrelated, .. }
            if reply.status.is_success() && echoes(reply, message) == Some(true) && is_plain_receipt(reply) =>
        {
            Verdict::Awaited { duplicate: false }
        }
        verdict => verdict,
    }
}

/// An empty answer, or an OperationOutcome without an error.
fn is_plain_receipt(reply: &Reply) -> bool {
    let harmless = |document: &Document| {
        let root = document.root();
        let mut issues = root.items_of("issue");
        let mild = |severity: &str| matches!(severity, "information" | "warning");
        root.resource_type() == Some("OperationOutcome")
            && issues.all(|issue| issue.text_of("severity").is_some_and(|severity| mild(&severity)))
    };
    reply.body.is_empty() || parsed(reply).as_ref().is_some_and(harmless)
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

    fn reply(status: u16, echo: Option<&str>, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            request_id: echo.map(str::to_owned),
            correlation_id: None,
            retry_after: Some(Duration::from_secs(7)),
            body: body.to_owned().into(),
        }
    }

    fn judged(status: u16, echo: Option<&str>, body: &str) -> Verdict {
        judge(&reply(status, echo, body), OURS.parse().expect("a message id"), &[BUNDLE.to_owned(), HEADER.to_owned()])
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
    fn what_mesh_does_says_nothing_of_the_recipient() {
        let (id, code) = ("20220228174323222_ABCDEF".to_owned(), Some("12".to_owned()));
        let taken = Handed::Taken { id: id.clone(), before: true };
        assert_eq!(judge_handed(&taken), Verdict::Delivered { id, duplicate: true });
        let refused = Handed::Refused { status: 417, code: code.clone() };
        assert_eq!(judge_handed(&refused), Verdict::NotCarried { status: 417, code });
        let again = |reason| Verdict::Retry { reason, after: None };
        assert_eq!(judge_handed(&Handed::Unreadable), again(RetryReason::Uncorrelated));
        assert_eq!(judge_handed(&Handed::Mailboxes(2)), again(RetryReason::Mailboxes(2)));
        let after = Some(Duration::from_secs(7));
        let later = Verdict::Retry { reason: RetryReason::Status(503), after };
        assert_eq!(judge_handed(&Handed::Later { status: 503, after }), later);
    }

    /// An answer with further entries.
    fn late(code: ResponseCode, entries: &str) -> Option<Late> {
        let bundle = answer(BUNDLE, code);
        let bundle = format!("{},{entries}]}}", bundle.strip_suffix("]}").expect("a Bundle ends with its entries"));
        judge_late(&Document::parse(bundle.replace(",]", "]"), &LIMITS).expect("it is JSON"))
    }

    fn issue(severity: &str, code: &str, path: &str) -> String {
        format!(
            r#"{{"resource":{{"resourceType":"OperationOutcome","issue":[{{"severity":"{severity}","code":"{code}",
            "expression":["{path}"],"diagnostics":"Peter Chalmers"}}]}}}}"#
        )
    }

    #[test]
    fn an_answer_that_comes_by_itself_takes_refuses_or_asks() {
        use ResponseCode::{FatalError, Ok, TransientError};
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(late(Ok, ""), Some(Late::Yes(vec![])));
        assert_eq!(late(TransientError, ""), Some(Late::Again));
        assert_eq!(late(FatalError, ""), Some(Late::Failed(vec![])));
        assert_eq!(
            late(FatalError, &issue("error", "business-rule", "Patient")),
            Some(Late::Failed(list(&["business-rule"])))
        );
        let task = |status| {
            format!(
                r#"{{"resource":{{"resourceType":"Task","status":"{status}","statusReason":{{"coding":[
                {{"system":"https://weir.example/fhir/CodeSystem/response-reason","code":"no-capacity"}}]}}}}}}"#
            )
        };
        assert_eq!(late(Ok, &task("rejected")), Some(Late::No(list(&["no-capacity"]))));
        assert_eq!(late(Ok, &task("failed")), Some(Late::Failed(list(&["no-capacity"]))));
        let both = late(FatalError, &task("rejected"));
        assert_eq!(both, Some(Late::Failed(list(&["no-capacity"]))), "nobody decides on what was not processed");
        assert_eq!(late(Ok, &task("accepted")), Some(Late::Yes(vec![])));
        let revoked = r#"{"resource":{"resourceType":"ServiceRequest","status":"revoked"}}"#;
        assert_eq!(late(Ok, revoked), Some(Late::No(vec![])));
        let missing = issue("error", "required", "Patient.telecom");
        let asks = Some(Late::Missing(list(&["Patient.telecom"])));
        for code in [Ok, FatalError, TransientError] {
            assert_eq!(late(code, &missing), asks, "{code:?}");
        }
        let hold = format!("{},{}", task("on-hold"), issue("information", "required", "Patient.telecom"));
        assert_eq!(late(Ok, &hold), asks);
        let both = format!("{missing},{}", issue("error", "business-rule", "Patient"));
        assert_eq!(late(FatalError, &both), Some(Late::Failed(list(&["business-rule", "required"]))));
        let taken = issue("warning", "required", "Patient.telecom");
        assert_eq!(late(Ok, &taken), Some(Late::Yes(list(&["Patient.telecom"]))));
    }

    #[test]
    fn an_answer_that_does_not_say_how_it_went_says_nothing() {
        let ok = answer(BUNDLE, ResponseCode::Ok);
        for body in
            [ok.replace(r#""code":"ok""#, r#""code":"fine""#), ok.replace("response\"", "reply\""), "{}".to_owned()]
        {
            assert_eq!(judge_late(&Document::parse(body, &LIMITS).expect("it is JSON")), None);
        }
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
    fn a_partner_that_answers_later_only_has_to_say_that_it_has_the_message() {
        let first = |status, echo: Option<&str>, body: &str| {
            judge_first(&reply(status, echo, body), OURS.parse().expect("a message id"), &[BUNDLE.to_owned()])
        };
        let awaited = Verdict::Awaited { duplicate: false };
        let fine = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"information","code":"informational"}]}"#;
        for (status, body) in [(200, ""), (202, ""), (204, ""), (200, fine)] {
            assert_eq!(first(status, Some(OURS), body), awaited, "{status} {body}");
            for echo in [None, Some(OTHER), Some("")] {
                assert_eq!(first(status, echo, body), retry(RetryReason::Uncorrelated), "{status} {echo:?}");
            }
        }
        let error = fine.replace("information\"", "error\"");
        let another = answer(OTHER, ResponseCode::Ok);
        for body in ["<html>", "OK", "{}", "[]", r#"{"resourceType":"Patient"}"#, &error, &another] {
            assert_eq!(first(200, Some(OURS), body), retry(RetryReason::Uncorrelated), "{body}");
        }
        let taken = answer(BUNDLE, ResponseCode::Ok);
        assert_eq!(first(200, Some(OURS), &taken), Verdict::Acknowledged { duplicate: false });
        let fatal = answer(BUNDLE, ResponseCode::FatalError);
        assert_eq!(first(200, Some(OURS), &fatal), refusal(200, &[], &[]));
        let duplicate = outcome(ErrorCode::Conflict, Issue::error(IssueType::Duplicate, "had it"));
        assert_eq!(first(409, Some(OURS), &duplicate), Verdict::Awaited { duplicate: true });
        assert_eq!(first(503, Some(OURS), ""), retry(RetryReason::Status(503)));
    }

    #[test]
    fn every_code_of_the_specification_is_retried_refused_or_a_duplicate() {
        use crate::fhir::error_code::{SPECIFIED, fault};
        for (status, code) in SPECIFIED {
            let body = |issue: &str| {
                format!(
                    r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"error","code":"{issue}","details":{{"coding":[
                    {{"system":"https://fhir.nhs.uk/Codesystem/http-error-codes","code":"{code}"}}]}}}}]}}"#
                )
            };
            let verdict = judged(status, Some(OURS), &body("processing"));
            let expected = match status {
                401 | 408 | 425 | 429 | 500 | 503 => {
                    let fault = fault(code).expect("it is known");
                    retry(RetryReason::Said { status, fault })
                }
                _ => refusal(status, &["processing"], &[code]),
            };
            assert_eq!(verdict, expected, "{status} {code}");
            let is_out = matches!(verdict, Verdict::Retry { reason, .. } if reason.is_unauthorised());
            assert_eq!(is_out, status == 401, "{status} {code}");
            let duplicate = judged(status, Some(OURS), &body("duplicate"));
            let is_taken = duplicate == Verdict::Acknowledged { duplicate: true };
            assert_eq!(is_taken, status == 409, "{status} {code}");
        }
    }

    #[test]
    fn a_code_outweighs_the_status() {
        let body = |code: &str| {
            format!(
                r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"error","code":"processing","details":{{"coding":[
                {{"code":"{code}"}}]}}}}]}}"#
            )
        };
        let again = judged(400, Some(OURS), &body("SEND_TOO_MANY_REQUESTS"));
        let Verdict::Retry { reason, after } = again else { panic!("{again:?}") };
        assert_eq!(after, Some(Duration::from_secs(7)), "Retry-After is listened to");
        let words = "the partner answers 400 for now: there were too many requests in this time; the API in between finds \
                     fault with what we sent";
        assert_eq!((reason.to_string(), reason.concerns_the_message()), (words.to_owned(), false));
        let out = judged(403, Some(OURS), &body("REC_UNAUTHORIZED"));
        assert!(matches!(out, Verdict::Retry { reason, .. } if reason.is_unauthorised()), "{out:?}");
        let refused = judged(500, Some(OURS), &body("REC_UNPROCESSABLE_ENTITY"));
        assert_eq!(refused, refusal(500, &["processing"], &["REC_UNPROCESSABLE_ENTITY"]));
        let early = judged(425, Some(OURS), &body("REC_TOO_EARLY"));
        assert!(matches!(early, Verdict::Retry { reason, .. } if reason.concerns_the_message()), "{early:?}");
    }

    #[test]
    fn a_status_says_whether_to_send_again() {
        for status in [408, 425, 429, 500, 501, 503, 599] {
            assert_eq!(judged(status, None, "<html>"), retry(RetryReason::Status(status)));
        }
        for status in [301, 400, 403, 404, 406, 413, 415] {
            assert_eq!(judged(status, None, "<html>"), refusal(status, &[], &[]), "{status}");
        }
        assert_eq!(judged(401, None, "<html>"), retry(RetryReason::Unauthorised), "it says nothing of the message");
        assert!(RetryReason::Unauthorised.is_unauthorised() && !RetryReason::Status(503).is_unauthorised());
        let fatal = outcome(ErrorCode::UnprocessableEntity, Issue::error(IssueType::Processing, "Peter Chalmers"));
        assert_eq!(judged(422, Some(OURS), &fatal), refusal(422, &["processing"], &["REC_UNPROCESSABLE_ENTITY"]));
    }
}
