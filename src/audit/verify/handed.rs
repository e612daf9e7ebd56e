//! Whether a message's handover is what its events say: each step, its clocks, and the answers that it rests on.

use super::super::event::{detail, kind};
use super::{Fault, Told, differs, is_same};
use crate::fhir::audit_event::RecordedEvent;
use crate::fhir::{Instant, instant_text};
use crate::identity::digest::hex;
use crate::storage::{HandoverEntry, HandoverState, History};

/// Compares a message's handover with its events.
pub(super) fn handover_faults(history: &History, said: &Told<'_>) -> Vec<Fault> {
    let message = history.record.id;
    let is_step = |said: &RecordedEvent<'_>| {
        (said.is(kind::HANDOVER_CHANGED) || said.is(kind::HANDOVER_ALARM)) && said.detail(detail::TO).is_some()
    };
    let steps: Vec<_> = said.iter().filter(|(_, said)| is_step(said)).collect();
    let (row, entries) = match (&history.handover, steps.last()) {
        (None, None) => return vec![],
        (None, Some(_)) => return vec![Fault::ContentMissing { message, what: "handover" }],
        (Some((row, entries)), _) => (&row.handover, entries),
    };
    let Some((last, end)) = steps.last().map(|(seq, said)| (*seq, said)) else {
        let seq = history.events.first().map_or(0, |stored| stored.seq);
        return vec![Fault::MessageChanged { message, what: "handover", seq }];
    };
    let mut faults = Vec::new();
    let mut state: Option<&str> = None;
    for (seq, said) in &steps {
        if said.detail(detail::FROM) != state {
            faults.push(Fault::StateSkipped { message, seq: *seq });
        }
        state = said.detail(detail::TO);
    }
    let same = entries.len() == steps.len()
        && entries.iter().zip(&steps).all(|(entry, (seq, said))| is_entry(history, entry, *seq, said));
    faults.extend(differs(message, "steps of the handover", last, !same));
    let instant = |name: &str, at: Option<Instant>| end.detail(name) == at.map(instant_text).as_deref();
    let moved = steps.iter().rev().find(|(_, said)| said.detail(detail::FROM) != said.detail(detail::TO));
    let since =
        |step: Option<&&(u64, RecordedEvent<'_>)>, at: Instant| step.is_some_and(|(_, it)| is_same(it.at(), at));
    let opened = steps.iter().rev().find(|(_, said)| opens(said));
    for (what, same) in [
        ("handover", end.detail(detail::TO) == Some(row.state.code())),
        ("time of the handover", since(moved, row.since) && since(opened, row.opened_at)),
        ("time to accept", instant(detail::DEADLINE, Some(row.due_at))),
        ("time of first contact", instant(detail::CONTACT_DUE, row.contact_due_at)),
        ("first contact", instant(detail::CONTACT, row.contacted_at)),
    ] {
        faults.extend(differs(message, what, last, !same));
    }
    faults
}

/// Whether a step opens a handover: the first, and one by which a message is sent again after its team rejected it.
fn opens(said: &RecordedEvent<'_>) -> bool {
    let (from, to) = (said.detail(detail::FROM), said.detail(detail::TO));
    from.is_none() || from == Some(HandoverState::Rejected.code()) && to == Some(HandoverState::Waiting.code())
}

/// Whether a step is what its event says, and rests on the answer that it names.
fn is_entry(history: &History, entry: &HandoverEntry, seq: u64, said: &RecordedEvent<'_>) -> bool {
    let basis = entry.answer.map(|slot| history.answers.iter().find(|answer| answer.slot == slot));
    let rests = match basis {
        None => said.detail(detail::SHA256).is_none(),
        Some(None) => false,
        Some(Some(answer)) => said.detail(detail::SHA256) == Some(hex(&answer.digest).as_str()),
    };
    entry.event == seq && said.detail(detail::TO) == Some(entry.state.code()) && is_same(said.at(), entry.at) && rests
}
