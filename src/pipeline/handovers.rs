//! Handovers on the way of a message: opened with its delivery, and moved on by what its partner answers.
//!
//! Enters: a message that was delivered, or an answer to it. Leaves: the steps of its handover with their audit events, to be
//! written in the transaction of the delivery or of the answer. A message whose interface has no clocks for handovers has none.

use super::Gateway;
use crate::audit::{Basis, By};
use crate::fhir::Instant;
use crate::fhir::handover::Said;
use crate::handover::{self, Decided};
use crate::identity::PartyId;
use crate::identity::keyed_hash::KeyedHash;
use crate::storage::{self, Handover, HandoverRecord, HandoverStep, MessageRecord, State, answer_slot};

/// A message, and the person it is about.
pub(super) type Of<'a> = (&'a MessageRecord, Option<&'a KeyedHash>);

/// The step that opens the handover of a message that reaches its recipient, if its interface has clocks for that. It is not
/// written where there is one already.
pub(super) fn opening(gateway: &Gateway, (record, patient): Of<'_>, to: State, at: Instant) -> Option<HandoverStep> {
    let arrived = matches!(to, State::Delivered | State::Acknowledged);
    arrived.then(|| open(gateway, (record, patient), at)).flatten()
}

/// A message that its sender cancelled may have arrived all the same: its handover is withdrawn from the beginning.
fn open(gateway: &Gateway, (record, patient): Of<'_>, at: Instant) -> Option<HandoverStep> {
    let stages = gateway.stages();
    let terms = stages.interfaces.get(&record.interface)?.handover.as_ref()?;
    let waiting = terms.open(record.handling.priority.as_deref(), at);
    let after = match record.state {
        State::Cancelled => handover::withdrawn(&waiting, at)?,
        _ => waiting,
    };
    let event = gateway.recorder.handover_changed((record.id, patient), (None, &after), (By::Gateway, None), at);
    Some(HandoverStep {
        message: record.id,
        at,
        before: None,
        after,
        is_step: true,
        answer: None,
        notices: vec![],
        event,
    })
}

/// An answer, as far as a handover needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answering<'a> {
    /// Who answers, and from where.
    pub(super) sender: &'a PartyId,
    pub(super) address: Option<&'a str>,
    /// What the answer is called, and its digest.
    pub(super) id: &'a str,
    pub(super) digest: &'a [u8; 32],
    /// What it says of the handover.
    pub(super) said: &'a Said,
    /// Whether it says that the partner's system could not process the message.
    pub(super) fails: bool,
    /// Whether it shows that the message arrived.
    pub(super) shows_arrival: bool,
    /// Whether no answer is known that was written later.
    pub(super) is_latest: bool,
    /// Whether the team rejected it before, by an answer that was written later.
    pub(super) is_overtaken: bool,
    pub(super) now: Instant,
}

/// What an answer does to a handover.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The steps to be written.
    pub(super) steps: Vec<HandoverStep>,
    /// What it did: see [`storage::Says`].
    pub(super) did: Option<&'static str>,
    /// Whether the message has a handover, so that its state says what the partner's application did, no more.
    pub(super) is_there: bool,
    /// Whether the receiving team holds it before this answer.
    pub(super) was_taken: bool,
}

/// What an answer to `record` does to its handover, if it has one or gets one.
///
/// # Errors
/// When the store cannot read.
pub(super) async fn answered(gateway: &Gateway, of: Of<'_>, answer: Answering<'_>) -> Result<Outcome, storage::Error> {
    let found = gateway.store().handover(of.0.id).await?;
    // Nobody reached the person on the ground of a message that was not there yet.
    let is_after = |at: &Instant| *at + handover::SLACK >= of.0.accepted_at;
    let said = Said { contacted_at: answer.said.contacted_at.filter(is_after), ..answer.said.clone() };
    let answer = Answering { said: &said, ..answer };
    let opened = match found {
        None if answer.shows_arrival => open(gateway, of, answer.now),
        _ => None,
    };
    let before = match (&found, &opened) {
        (Some(HandoverRecord { handover, .. }), _) => handover.clone(),
        (None, Some(step)) => step.after.clone(),
        (None, None) => return Ok(Outcome::default()),
    };
    let owner = match before.state.is_taken() && answer.said.owner.is_some() {
        true => handover::owner(gateway.store(), of.0, answer.now).await?,
        false => None,
    };
    let was_taken = before.state.is_taken();
    let mut outcome = Outcome { steps: opened.into_iter().collect(), is_there: true, was_taken, ..Outcome::default() };
    // Of what a team has taken nobody says with effect that it could not be processed.
    let decided = match answer.fails && was_taken && answer.is_latest {
        true => Decided::Conflict,
        false => handover::decide(&before, (answer.said, answer.is_overtaken), owner.as_ref(), answer.now),
    };
    // Who holds it, the answer says that was written last, in whatever order they come; that the person was reached, each may say.
    let decided = match decided {
        Decided::Steps(_) if was_taken && !answer.is_latest => {
            Decided::Steps(handover::reached(&before, answer.said, answer.now).into_iter().collect())
        }
        decided => decided,
    };
    match decided {
        Decided::Unnamed => outcome.did = Some("unnamed"),
        Decided::Conflict => {
            outcome.did = Some("conflict");
            outcome.steps.push(contradiction(gateway, of, &before, answer));
        }
        Decided::Steps(steps) => {
            let mut from = before;
            for after in steps {
                outcome.did = Some(after.state.code());
                outcome.steps.push(step(gateway, of, (&from, &after), answer));
                from = after;
            }
        }
    }
    Ok(outcome)
}

fn basis<'a>(answer: &Answering<'a>) -> Basis<'a> {
    let holder = answer.said.owner.as_ref().map(|owner| owner.kind.code());
    Basis { id: answer.id.parse().ok(), digest: answer.digest, holder, reasons: &answer.said.reasons }
}

fn step(
    gateway: &Gateway,
    (record, patient): Of<'_>,
    (before, after): (&Handover, &Handover),
    answer: Answering<'_>,
) -> HandoverStep {
    let by = By::Partner(answer.sender, answer.address);
    let of = (record.id, patient);
    let basis = (by, Some(basis(&answer)));
    let event = gateway.recorder.handover_changed(of, (Some(before), after), basis, answer.now);
    HandoverStep {
        message: record.id,
        at: answer.now,
        before: Some(before.clone()),
        after: after.clone(),
        is_step: true,
        answer: Some(answer_slot(record.id, answer.sender, answer.id)),
        notices: vec![],
        event,
    }
}

/// Nothing changes but that people are to be told.
fn contradiction(
    gateway: &Gateway,
    (record, patient): Of<'_>,
    before: &Handover,
    answer: Answering<'_>,
) -> HandoverStep {
    let by = By::Partner(answer.sender, answer.address);
    let said = match answer.said.takes {
        _ if answer.fails => "failed",
        Some(true) => "accepted",
        _ => "rejected",
    };
    let of = (record.id, patient);
    let event = gateway.recorder.handover_contradicted(of, by, (said, basis(&answer)), answer.now);
    let after = handover::contradicted(before);
    HandoverStep {
        message: record.id,
        at: answer.now,
        before: Some(before.clone()),
        after,
        is_step: false,
        answer: None,
        notices: vec![],
        event,
    }
}
