//! What a FHIR server's answer means for the message (FHIR R4 http.html, transaction, conditional create).
//!
//! Invariants: a message counts as acknowledged when the server says of every part that it has it; a yes that says nothing
//! of the parts, or nothing in FHIR, is no yes. Since everything is created under a condition, sending again is safe
//! whenever the answer leaves a doubt, and doubts are never guessed away. That a server has a part before it was
//! ever sent means that it did not look for our tag.

use http::StatusCode;

use super::{LIMITS, RetryReason, Verdict, again, judge_message, parsed, refused, uncorrelated};
use crate::delivery::rest::{Answered, Asked};
use crate::delivery::{Dispatch, Reply};
use crate::fhir::Document;
use crate::fhir::bars::outcome_codes;
use crate::fhir::transaction::{Said, says_error, transaction_response};
use crate::identity::MessageId;

/// Codes of issue-type that say of a 409 that it will pass.
const PASSING: [&str; 6] = ["conflict", "transient", "lock-error", "timeout", "incomplete", "throttled"];

/// What the server's answer means for the message of `dispatch`.
pub(super) fn judge(answered: &Answered, dispatch: &Dispatch) -> Verdict {
    let reply = &answered.reply;
    if is_of_another(reply, dispatch.message) {
        return uncorrelated(reply);
    }
    match reply.status.as_u16() {
        200..300 => match &answered.asked {
            Asked::Transaction { is_own } => judge_transaction(reply, is_own, dispatch.is_resend),
            Asked::Create { is_named } => judge_created(reply, *is_named, dispatch.is_resend),
            Asked::ProcessMessage => judge_message(reply, &dispatch.names),
        },
        401 => again(reply, RetryReason::Unauthorised),
        409 => judge_conflict(reply, dispatch.message),
        status if is_for_now(status) => again(reply, RetryReason::Status(status)),
        _ => refused(reply),
    }
}

fn is_for_now(status: u16) -> bool {
    matches!(status, 408 | 423 | 425 | 429 | 500..)
}

/// A server may answer under an id of its own, and then says ours beside it (http.html, custom headers).
fn is_of_another(reply: &Reply, message: MessageId) -> bool {
    let is_ours = |id: &Option<String>| id.as_deref().is_some_and(|id| id.parse() == Ok(message));
    reply.correlation_id.is_some() && !is_ours(&reply.correlation_id) && !is_ours(&reply.request_id)
}

/// That it was there already counts by the id that is echoed; that something is in the way now may pass.
fn judge_conflict(reply: &Reply, message: MessageId) -> Verdict {
    let codes = parsed(reply).map(|document| outcome_codes(&document)).unwrap_or_default();
    let says = |wanted: &[&str]| codes.issues.iter().any(|code| wanted.contains(&&**code));
    let is_echoed =
        [&reply.request_id, &reply.correlation_id].into_iter().flatten().any(|id| id.parse() == Ok(message));
    match (says(&["duplicate"]), is_echoed) {
        (true, true) => Verdict::Acknowledged { duplicate: true },
        (true, false) => uncorrelated(reply),
        (false, _) if says(&PASSING) => again(reply, RetryReason::Status(409)),
        (false, _) => refused(reply),
    }
}

/// The Bundle is stored, now (201) or by an earlier attempt (200).
fn judge_created(reply: &Reply, is_named: bool, is_resend: bool) -> Verdict {
    let document = Document::parse(reply.body.as_ref(), &LIMITS).ok();
    if document.as_ref().is_some_and(says_error) {
        return refused(reply);
    }
    let is_said = is_named || document.is_some_and(|document| document.resource_type().is_some());
    match reply.status {
        StatusCode::CREATED if is_said => Verdict::Acknowledged { duplicate: false },
        StatusCode::OK if is_said && is_resend => Verdict::Acknowledged { duplicate: true },
        StatusCode::OK if is_said => Verdict::HadBefore { entry: None },
        _ => uncorrelated(reply),
    }
}

/// Every entry was done, or none was: the first that was not decides.
fn judge_transaction(reply: &Reply, is_own: &[bool], is_resend: bool) -> Verdict {
    let Some(document) = parsed(reply) else { return uncorrelated(reply) };
    if says_error(&document) {
        return refused(reply);
    }
    let Some(said) = transaction_response(&document).filter(|said| said.len() == is_own.len()) else {
        return uncorrelated(reply);
    };
    for (entry, each) in said.iter().enumerate() {
        if let Some(verdict) = judge_entry(reply, (entry, each)) {
            return verdict;
        }
    }
    let had = |(said, is_own): (&Said, &bool)| *is_own && said.status == Some(200);
    match said.iter().zip(is_own).position(had) {
        Some(entry) if !is_resend => Verdict::HadBefore { entry: Some(entry) },
        before => Verdict::Acknowledged { duplicate: before.is_some() },
    }
}

/// What one entry means for the message; `None` when it was done.
fn judge_entry(reply: &Reply, (entry, said): (usize, &Said)) -> Option<Verdict> {
    match said.status {
        Some(200 | 201) if !said.has_errors => None,
        None => Some(uncorrelated(reply)),
        Some(status) if is_for_now(status) => Some(again(reply, RetryReason::Status(status))),
        Some(status) => Some(Verdict::PartRefused { entry, status, codes: said.codes.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::bars::OutcomeCodes;
    use std::time::Duration;

    const OURS: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";
    const OTHER: &str = "1f0e0d0c-0b0a-4908-8706-050403020100";
    const WAIT: Option<Duration> = Some(Duration::from_secs(7));

    fn dispatch(is_resend: bool) -> Dispatch {
        let bundle = r#"{"resourceType":"Bundle","id":"b","type":"message","entry":[{"resource":
            {"resourceType":"MessageHeader","id":"h","eventCoding":{"code":"e"}}}]}"#;
        let sender = "DEMOP".parse().expect("an ODS code");
        let dispatch = Dispatch::new(OURS.parse().expect("an id"), sender, "Demo Provider", bundle);
        Dispatch { is_resend, ..dispatch.expect("it is a message") }
    }

    fn answered(status: u16, asked: Asked, body: &str) -> Answered {
        let reply = Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            request_id: None,
            correlation_id: None,
            retry_after: WAIT,
            body: body.to_owned().into(),
        };
        Answered { reply, asked }
    }

    fn response(statuses: &[&str]) -> String {
        let entries: Vec<String> =
            statuses.iter().map(|status| format!(r#"{{"response":{{"status":"{status}"}}}}"#)).collect();
        format!(r#"{{"resourceType":"Bundle","type":"transaction-response","entry":[{}]}}"#, entries.join(","))
    }

    fn transacted(body: &str, is_resend: bool) -> Verdict {
        judge(&answered(200, Asked::Transaction { is_own: vec![true, false] }, body), &dispatch(is_resend))
    }

    fn retry(reason: RetryReason) -> Verdict {
        Verdict::Retry { reason, after: WAIT }
    }

    fn outcome(severity: &str, code: &str) -> String {
        format!(r#"{{"resourceType":"OperationOutcome","issue":[{{"severity":"{severity}","code":"{code}"}}]}}"#)
    }

    #[test]
    fn a_transaction_counts_when_every_entry_was_done() {
        let acknowledged = |duplicate| Verdict::Acknowledged { duplicate };
        assert_eq!(transacted(&response(&["201 Created", "201"]), false), acknowledged(false));
        assert_eq!(
            transacted(&response(&["201 Created", "200 OK"]), false),
            acknowledged(false),
            "its own was matched"
        );
        assert_eq!(transacted(&response(&["200 OK", "200 OK"]), true), acknowledged(true));
        let had = Verdict::HadBefore { entry: Some(0) };
        assert_eq!(transacted(&response(&["200 OK", "201"]), false), had, "we had never sent it");
    }

    #[test]
    fn a_server_of_a_partner_that_answers_later_has_only_delivered_it() {
        let answer = |status| {
            let asked = Asked::Create { is_named: true };
            crate::delivery::Answer::Rest(answered(status, asked, ""))
        };
        let verdict = |status, later| super::super::verdict(&answer(status), &dispatch(false), later);
        assert_eq!(verdict(201, true), Verdict::Awaited { duplicate: false });
        assert_eq!(verdict(201, false), Verdict::Acknowledged { duplicate: false });
        assert_eq!(verdict(503, true), retry(RetryReason::Status(503)));
    }

    #[test]
    fn an_entry_that_was_not_done_decides() {
        let refused = |status| Verdict::PartRefused { entry: 1, status, codes: OutcomeCodes::default() };
        assert_eq!(transacted(&response(&["201", "412 Precondition Failed"]), false), refused(412));
        assert_eq!(transacted(&response(&["201", "422"]), true), refused(422));
        assert_eq!(transacted(&response(&["201", "204"]), true), refused(204), "a create has no such answer");
        assert_eq!(transacted(&response(&["201", "503"]), false), retry(RetryReason::Status(503)));
        let failed = outcome("error", "invalid");
        let entry = format!(
            r#"{{"resourceType":"Bundle","type":"transaction-response","entry":[{{"response":{{"status":"201"}}}},
            {{"response":{{"status":"201","outcome":{failed}}}}}]}}"#
        );
        assert!(matches!(transacted(&entry, false), Verdict::PartRefused { entry: 1, status: 201, .. }));
        assert!(matches!(transacted(&failed, false), Verdict::Refused { status: 200, .. }));
    }

    #[test]
    fn a_yes_that_says_nothing_of_each_entry_is_none() {
        for body in [
            "",
            "OK",
            "<html>",
            "{}",
            &response(&["201"]),
            &response(&["201", "201", "201"]),
            &response(&["201", "created"]),
            &response(&["201", "201"]).replace("transaction-response", "batch-response"),
            &outcome("information", "informational"),
        ] {
            assert_eq!(transacted(body, true), retry(RetryReason::Uncorrelated), "{body}");
        }
    }

    #[test]
    fn a_bundle_is_stored_when_the_answer_names_it() {
        let created = |status, is_named, body: &str, is_resend| {
            judge(&answered(status, Asked::Create { is_named }, body), &dispatch(is_resend))
        };
        let acknowledged = |duplicate| Verdict::Acknowledged { duplicate };
        let well = outcome("information", "informational");
        assert_eq!(created(201, true, "", false), acknowledged(false));
        assert_eq!(created(201, false, &well, false), acknowledged(false));
        assert_eq!(created(200, true, "", true), acknowledged(true));
        assert_eq!(created(200, true, "", false), Verdict::HadBefore { entry: None });
        for (status, body) in [(201, ""), (200, ""), (200, "<html>"), (200, "{}"), (202, ""), (204, "")] {
            assert_eq!(created(status, false, body, true), retry(RetryReason::Uncorrelated), "{status} {body}");
        }
        assert!(matches!(created(201, true, &outcome("fatal", "exception"), false), Verdict::Refused { .. }));
    }

    #[test]
    fn a_status_says_whether_to_send_again() {
        let judged =
            |status, body: &str| judge(&answered(status, Asked::Create { is_named: true }, body), &dispatch(true));
        for status in [408, 423, 425, 429, 500, 503, 504] {
            assert_eq!(judged(status, ""), retry(RetryReason::Status(status)));
        }
        assert_eq!(judged(401, ""), retry(RetryReason::Unauthorised));
        for status in [301, 400, 403, 404, 405, 410, 412, 413, 415, 422] {
            assert!(matches!(judged(status, ""), Verdict::Refused { .. }), "{status}");
        }
        assert_eq!(judged(409, &outcome("error", "conflict")), retry(RetryReason::Status(409)));
        assert!(matches!(judged(409, &outcome("error", "business-rule")), Verdict::Refused { status: 409, .. }));
        assert_eq!(judged(409, &outcome("error", "duplicate")), retry(RetryReason::Uncorrelated));
    }

    #[test]
    fn an_answer_under_another_id_is_not_ours() {
        let judged = |request: Option<&str>, correlation: Option<&str>, status: u16, body: &str| {
            let mut answered = answered(status, Asked::Create { is_named: true }, body);
            (answered.reply.request_id, answered.reply.correlation_id) =
                (request.map(str::to_owned), correlation.map(str::to_owned));
            judge(&answered, &dispatch(true))
        };
        let yes = Verdict::Acknowledged { duplicate: true };
        assert_eq!(judged(Some(OURS), None, 200, ""), yes);
        assert_eq!(judged(Some(OTHER), Some(OURS), 200, ""), yes, "a server may have ids of its own");
        assert_eq!(judged(Some(OTHER), Some(OTHER), 200, ""), retry(RetryReason::Uncorrelated));
        assert_eq!(judged(Some(OURS), None, 409, &outcome("error", "duplicate")), yes);
    }
}
