//! Who holds responsibility for a message at each moment, with what that rests on.

use serde_json::{Value, json};

use crate::fhir::audit_event::RecordedEvent;
use crate::fhir::handover::{Owner, said, words};
use crate::fhir::{Document, Instant, Limits, instant_text};
use crate::storage::{
    AnswerRecord, Content, Error, HandoverEntry, HandoverRecord, HandoverState, MessageRecord, Store, StoredEvent,
};

/// The most levels and values of an answer.
const LIMITS: Limits = Limits { depth: 50, nodes: 100_000 };

/// A handover as lists show it: ids, codes and times.
pub fn summary(record: &HandoverRecord) -> Value {
    let HandoverRecord { message, sender, interface, recipient, agreement, priority, handover } = record;
    let holder = if handover.state.is_taken() { recipient } else { sender };
    json!({
        "message": message.to_string(),
        "state": handover.state.code(),
        "since": instant_text(handover.since),
        "interface": interface.as_str(),
        "recipient": recipient.as_str(),
        "agreement": agreement.as_str(),
        "priority": priority,
        "holder": holder.as_str(),
        "deliveredAt": instant_text(handover.opened_at),
        "acceptBy": instant_text(handover.due_at),
        "firstContactBy": handover.contact_due_at.map(instant_text),
        "firstContactAt": handover.contacted_at.map(instant_text),
    })
}

/// Who holds responsibility for a message now and did before, with the evidence: the event of the audit log, and the partner's answer.
/// Names and words are those of the partner; they are not there once the answer's retention has ended. The words of a rejection are there
/// only with `sees_words`.
///
/// # Errors
/// When the store cannot be read.
pub async fn responsibility(store: &dyn Store, record: &MessageRecord, sees_words: bool) -> Result<Value, Error> {
    let (events, answers) = (store.events_of(record.id).await?, store.answers_of(record.id).await?);
    let (found, entries) = (store.handover(record.id).await?, store.handover_steps(record.id).await?);
    let accepted = events.first();
    let first = json!({
        "since": instant_text(record.accepted_at),
        "holder": { "organisation": record.sender.as_str() },
        "because": "message-accepted",
        "evidence": { "event": accepted.map(|event| event.seq), "auditEvent": accepted.and_then(audit_event) },
    });
    let mut history = vec![first];
    let mut owner = Value::Null;
    for entry in &entries {
        let event = events.iter().find(|event| event.seq == entry.event);
        let basis = answers.iter().find(|answer| Some(answer.slot) == entry.answer);
        let answer = match basis {
            Some(basis) => opened(store, basis).await?,
            None => None,
        };
        let named = match answer.as_ref() {
            Some(answer) => said(answer, entry.at).owner.as_ref().map_or(Value::Null, shown),
            None if basis.is_some() => json!({ "erased": true }),
            None => Value::Null,
        };
        if entry.state.is_taken() && !named.is_null() {
            owner = named.clone();
        }
        let of_it = (basis, answer.as_ref());
        history.push(moment(record, (entry, event), (&owner, &named), of_it, sees_words));
    }
    let now = history.last().cloned().unwrap_or_default();
    Ok(json!({
        "holder": now["holder"],
        "since": holder_since(&history),
        "handover": found.as_ref().map(summary),
        "history": history,
    }))
}

/// One moment of the history. `owner` holds it, where the receiving team does, and `named` is who the answer of the moment names.
fn moment(
    record: &MessageRecord,
    (entry, event): (&HandoverEntry, Option<&StoredEvent>),
    (owner, named): (&Value, &Value),
    (basis, answer): (Option<&AnswerRecord>, Option<&Document>),
    sees_words: bool,
) -> Value {
    let holder = match entry.state.is_taken() {
        true => json!({ "organisation": record.recipient.as_str(), "owner": owner }),
        false => json!({ "organisation": record.sender.as_str() }),
    };
    let said = event.and_then(|stored| RecordedEvent::read(&stored.event.bytes));
    let person = said.as_ref().and_then(RecordedEvent::operator);
    let because = match person {
        Some(_) if entry.state == HandoverState::Waiting => "resent",
        _ => entry.state.code(),
    };
    let mut moment = json!({
        "since": instant_text(entry.at),
        "holder": holder,
        "because": because,
        "evidence": {
            "event": entry.event,
            "auditEvent": event.and_then(audit_event),
            "answer": basis.map(|basis| basis.id.as_str()),
        },
    });
    if let Some(person) = person {
        moment["by"] = json!({ "organisation": record.sender.as_str(), "principal": person });
        moment["why"] = json!(said.as_ref().and_then(|said| said.detail("reason")));
    }
    if entry.state == HandoverState::Rejected {
        moment["by"] = json!({ "organisation": record.recipient.as_str(), "owner": named });
        moment["reasons"] = json!(basis.map(|basis| &basis.says.reasons));
        tell_words(&mut moment, answer.and_then(words), sees_words);
    }
    moment
}

/// The words of a rejection, for those who may see them; others learn that there are some.
fn tell_words(moment: &mut Value, words: Option<String>, sees_words: bool) {
    moment["wordsWithheld"] = json!(words.is_some() && !sees_words);
    moment["words"] = json!(words.filter(|_| sees_words));
}

/// Whether what [`responsibility`] gave holds words of a rejection.
pub fn tells_words(responsibility: &Value) -> bool {
    let history = responsibility["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    history.iter().any(|moment| moment["words"].is_string())
}

/// Since when whoever holds it now does.
fn holder_since(history: &[Value]) -> Value {
    let Some(last) = history.last() else { return Value::Null };
    let same = history.iter().rev().take_while(|moment| moment["holder"] == last["holder"]);
    same.last().map(|moment| moment["since"].clone()).unwrap_or_default()
}

/// The id of the AuditEvent that an event is.
fn audit_event(stored: &StoredEvent) -> Option<String> {
    RecordedEvent::read(&stored.event.bytes).map(|said| said.event().id.to_string())
}

/// An answer as it came; `None` when it is erased.
async fn opened(store: &dyn Store, answer: &AnswerRecord) -> Result<Option<Document>, Error> {
    let body = match store.content(answer.slot, Content::Answer).await {
        Err(Error::Damaged(_)) => None,
        body => body?,
    };
    Ok(body.and_then(|body| Document::parse(body, &LIMITS).ok()))
}

/// Who holds a handover, as the answer that its last step with a name rests on names them.
///
/// # Errors
/// When the store cannot be read.
pub async fn owner(store: &dyn Store, record: &MessageRecord, now: Instant) -> Result<Option<Owner>, Error> {
    let (entries, answers) = (store.handover_steps(record.id).await?, store.answers_of(record.id).await?);
    for entry in entries.iter().rev() {
        let Some(basis) = answers.iter().find(|answer| Some(answer.slot) == entry.answer) else { continue };
        let answer = opened(store, basis).await?;
        if let Some(owner) = answer.and_then(|answer| said(&answer, now).owner) {
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

fn shown(owner: &Owner) -> Value {
    json!({
        "kind": owner.kind.code(),
        "name": owner.name,
        "identifier": owner.identifier.as_ref().map(|(system, value)| json!({ "system": system, "value": value })),
    })
}
