//! The end of a review: what was found, and whom to tell when sharing was not justified.
//!
//! Enters: the review as it stands, what its reviewer found, and the agreement it was shared under (that version, or the
//! one in its place now). Leaves: the step
//! that ends it; for `not-justified` with the notices of an incident along the agreement's escalation route, as JSON
//! without personal data. Invariant: an incident always reaches someone: without a route it goes to the spool folder.

use serde_json::{Value, json};

use super::notice::Telling;
use crate::disclosure::{Agreement, Severity, SharingDecision};
use crate::fhir::review_task::{self, Part, ReviewTask};
use crate::fhir::{Instant, instant_text};
use crate::identity::PartyId;
use crate::storage::{Completed, Finding, NewNotice, ReviewRecord, ReviewStep};

/// How bad it is to share without consent and without justification: the agreement was broken.
const SEVERITY: Severity = Severity::Major;

/// The step that ends a review. `shared_under` is the agreement that names whom to tell, and the version that was shared under.
pub(super) fn step(
    review: &ReviewRecord,
    completed: Completed,
    words: &str,
    shared_under: (Option<&Agreement>, Option<&str>),
    provider: &PartyId,
) -> ReviewStep {
    let notices = match completed.finding {
        Finding::NotJustified => notices(review, &completed, shared_under, provider),
        Finding::Justified | Finding::JustifiedWithLearning => Vec::new(),
    };
    ReviewStep { message: review.message, completed, words: words.as_bytes().to_vec(), notices }
}

/// What people are told of a sharing that was not justified.
fn notices(
    review: &ReviewRecord,
    completed: &Completed,
    (agreement, version): (Option<&Agreement>, Option<&str>),
    provider: &PartyId,
) -> Vec<NewNotice> {
    let telling = Telling {
        kind: "shared-without-consent-not-justified".to_owned(),
        incident: review.message.part("incident"),
        ids: (review.message.uuid(), "incident notice "),
        severity: SEVERITY,
        at: completed.at,
        is_logged: false,
        provider,
        message: review.message,
        recipient: &review.recipient,
        interface: &review.interface,
        agreement: (&review.agreement, version),
    };
    let more = json!({
        "purpose": review.purpose,
        "basis": review.basis,
        "sharedAt": instant_text(review.opened_at),
        "reviewedBy": completed.by,
        "text": "A sharing without consent was reviewed and found not justified.",
        "hint": "see the decision and the reviewer's words with `weir review show` and the message's id",
    });
    telling.along(agreement, &more)
}

/// A review as lists show it: codes, ids and times.
pub fn summary(review: &ReviewRecord, now: Instant) -> Value {
    json!({
        "message": review.message.to_string(),
        "state": review.standing(now),
        "interface": review.interface.as_str(),
        "recipient": review.recipient.as_str(),
        "agreement": review.agreement.as_str(),
        "purpose": review.purpose,
        "basis": review.basis,
        "reviewer": review.reviewer,
        "openedAt": instant_text(review.opened_at),
        "dueAt": instant_text(review.due_at),
        "overdueAt": review.overdue_at.map(instant_text),
        "completed": review.completed.as_ref().map(|completed| json!({
            "at": instant_text(completed.at), "by": completed.by, "finding": completed.finding.code(),
        })),
    })
}

/// A review as a FHIR Task, with the decision and, once it is completed, the finding. `owner` is who reviews.
pub fn task(
    review: &ReviewRecord,
    decision: &SharingDecision,
    words: Option<&str>,
    owner: &str,
    provider: &PartyId,
    now: Instant,
) -> String {
    let completed = review.completed.as_ref();
    let output = completed.map(|completed| {
        let parts = [("finding", completed.finding.code()), ("completedBy", &completed.by)];
        let words = words.filter(|words| !words.trim().is_empty()).map(|words| ("words", words));
        parts.into_iter().chain(words).map(|(name, text)| text_part(name, text)).collect()
    });
    let changed = completed.map(|completed| completed.at).or(review.overdue_at).unwrap_or(review.opened_at);
    ReviewTask {
        message: review.message,
        standing: review.standing(now),
        provider: provider.as_str(),
        owner,
        opened_at: review.opened_at,
        changed_at: changed,
        due_at: review.due_at,
        purpose: &review.purpose,
        input: decision_parts(decision),
        output: output.unwrap_or_default(),
    }
    .to_json()
}

/// The parts of a decision by the names of the record's fields.
fn decision_parts(decision: &SharingDecision) -> Vec<Part<'_>> {
    let risks = decision.risk_indicators.iter().map(|text| text_part("riskIndicators", text));
    let alternatives = decision.alternatives.iter().map(|text| text_part("alternatives", text));
    let texts = [
        ("proportionality", &decision.proportionality),
        ("basis", &decision.basis),
        ("purpose", &decision.purpose),
        ("decidedBy", &decision.decided_by),
        ("decidedByRole", &decision.decided_by_role),
        ("decidedOn", &decision.decided_on),
    ];
    let told = Part { name: "personTold", value: review_task::Value::Flag(decision.person_told) };
    let why_not = decision.why_not_told.iter().map(|text| text_part("whyNotTold", text));
    let mut parts: Vec<Part<'_>> = risks.chain(alternatives).collect();
    parts.extend(texts.into_iter().map(|(name, text)| text_part(name, text)));
    parts.push(told);
    parts.extend(why_not);
    parts.push(text_part("reviewDue", &decision.review_due));
    parts
}

fn text_part<'a>(name: &'a str, text: &'a str) -> Part<'a> {
    Part { name, value: review_task::Value::Text(text) }
}
