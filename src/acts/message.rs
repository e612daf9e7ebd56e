//! What a person decides about a message that waits or was given up: to send it again, or never.
//!
//! Enters: the message as it stands, who decides, and why. Leaves: the transition with the event that says so. Invariants:
//! sending again is a further attempt at the same message, with its ids and its bytes; a message that is under way or
//! has arrived is neither sent again nor cancelled, but for one whose handover the receiving team rejected: it may be sent again, and
//! the handover waits anew. Why is one of a few codes: an audit event has no room for words.

use serde_json::{Value, json};

use crate::audit::{By, KeyedHash, Recorder, Step};
use crate::delivery::deadline;
use crate::fhir::{Instant, instant_text};
use crate::handover;
use crate::identity::principal::Action;
use crate::identity::{MessageId, PrincipalId, coded};
use crate::storage::{AnswerRecord, Event, Handover, HandoverState, HandoverStep, MessageRecord, State, Transition};

coded! {
    /// Why a person sends a message again, or cancels it.
    Reason, "a reason" {
        /// The partner corrected what was wrong at its side.
        PartnerFixed = "partner-fixed",
        /// The partner asked for it.
        PartnerAsked = "partner-asked",
        /// We corrected what was wrong at ours.
        SettingsFixed = "settings-fixed",
        /// Nothing was wrong, or nobody knows what.
        TryAgain = "try-again",
        /// Its content reached the recipient in another way, as by telephone.
        ToldOtherwise = "told-otherwise",
        /// What it asks for is not needed any more.
        NoLongerNeeded = "no-longer-needed",
        /// It should not have been submitted.
        SubmittedInError = "submitted-in-error",
    }
}

/// Whether a message in this state may be sent again: it waits, or was given up; or it has arrived, and the receiving team rejected its
/// handover.
pub fn may_retry(state: State, handover: Option<HandoverState>) -> bool {
    match state {
        State::Queued | State::Refused | State::Dead => true,
        State::Delivered | State::Acknowledged => handover == Some(HandoverState::Rejected),
        State::Accepted | State::InFlight | State::Cancelled => false,
    }
}

/// Whether a message in this state may be cancelled: nothing of it is under way.
pub fn may_cancel(state: State) -> bool {
    matches!(state, State::Accepted | State::Queued | State::Refused | State::Dead)
}

/// The step that `action` is, if the message stands so that it may be taken.
pub(super) fn step(
    recorder: &Recorder,
    (record, patient, handover): (&MessageRecord, Option<&KeyedHash>, Option<&Handover>),
    action: Action,
    (by, why): (&PrincipalId, Reason),
    now: Instant,
) -> Option<Transition> {
    let (to, next_attempt_at, note) = match action {
        Action::RetryMessage if may_retry(record.state, handover.map(|it| it.state)) => {
            (State::Queued, Some(now), format!("sent again by {by}: {why}"))
        }
        Action::CancelMessage if may_cancel(record.state) => {
            (State::Cancelled, None, format!("cancelled by {by}: {why}"))
        }
        _ => return None,
    };
    let (attempts, reason) = (record.attempts, why.code());
    let step = Step { record, patient, to, at: now, attempts, next_attempt_at, reason, note: &note };
    let transition = recorder.decided(step, by);
    let of = (record.id, patient);
    let handed = handover.and_then(|before| match action {
        Action::RetryMessage => resent(recorder, of, before, (by, why), now),
        _ => withdrawal(recorder, of, before, by, now),
    });
    Some(Transition { handover: handed.map(Box::new), ..transition })
}

/// The step by which a handover waits anew whose message is sent again after the receiving team rejected it.
fn resent(
    recorder: &Recorder,
    of: (MessageId, Option<&KeyedHash>),
    before: &Handover,
    (by, why): (&PrincipalId, Reason),
    now: Instant,
) -> Option<HandoverStep> {
    let after = handover::reopened(before, now)?;
    let event = recorder.handover_resent(of, (before, &after), (by, why.code()), now);
    Some(handed(of.0, (before, after), event, now))
}

/// The step by which a handover ends whose message is cancelled before the receiving team decided.
fn withdrawal(
    recorder: &Recorder,
    of: (MessageId, Option<&KeyedHash>),
    before: &Handover,
    by: &PrincipalId,
    now: Instant,
) -> Option<HandoverStep> {
    let after = handover::withdrawn(before, now)?;
    let event = recorder.handover_changed(of, (Some(before), &after), (By::Person(by), None), now);
    Some(handed(of.0, (before, after), event, now))
}

fn handed(message: MessageId, (before, after): (&Handover, Handover), event: Event, at: Instant) -> HandoverStep {
    let before = Some(before.clone());
    HandoverStep { message, at, before, after, is_step: true, answer: None, notices: vec![], event }
}

/// A message as lists and answers show it: ids, codes, times and notes without personal data.
pub fn summary(record: &MessageRecord) -> Value {
    json!({
        "message": record.id.to_string(),
        "state": record.state.code(),
        "interface": record.interface.as_str(),
        "recipient": record.recipient.as_str(),
        "agreement": record.agreement.as_str(),
        "acceptedAt": instant_text(record.accepted_at),
        "updatedAt": instant_text(record.updated_at),
        "attempts": record.attempts,
        "nextAttemptAt": record.next_attempt_at.map(instant_text),
        "route": record.route,
        "priority": record.handling.priority,
        "deadlineAt": deadline::ends(record).map(instant_text),
        "note": record.note,
    })
}

/// What a partner answered by a message of its own: ids, codes, paths and times.
pub fn answer_summary(answer: &AnswerRecord) -> Value {
    json!({
        "answer": answer.id,
        "from": answer.sender.as_str(),
        "receivedAt": instant_text(answer.received_at),
        "writtenAt": answer.written_at.map(instant_text),
        "verdict": answer.says.verdict,
        "code": answer.says.code,
        "reasons": answer.says.reasons,
        "asksFor": answer.says.asks_for,
        "handover": answer.says.handover,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Accepted, Acknowledged, Cancelled, Dead, Delivered, InFlight, Queued, Refused};

    #[test]
    fn what_is_under_way_has_arrived_or_was_cancelled_is_left_alone() {
        let may = |is: fn(State) -> bool| State::ALL.into_iter().filter(|&state| is(state)).collect::<Vec<_>>();
        assert_eq!(may(|state| may_retry(state, None)), [Queued, Refused, Dead]);
        assert_eq!(may(|state| may_retry(state, Some(HandoverState::Waiting))), [Queued, Refused, Dead]);
        let rejected = may(|state| may_retry(state, Some(HandoverState::Rejected)));
        assert_eq!(rejected, [Queued, Delivered, Acknowledged, Refused, Dead], "a person asks the team again");
        assert_eq!(may(may_cancel), [Accepted, Queued, Refused, Dead]);
        let neither = State::ALL.into_iter().filter(|&state| !may_retry(state, None) && !may_cancel(state));
        assert_eq!(neither.collect::<Vec<_>>(), [InFlight, Delivered, Acknowledged, Cancelled]);
    }
}
