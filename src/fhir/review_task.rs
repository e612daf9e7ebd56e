//! The FHIR R4 Task of a review: someone must say, by a deadline, whether sharing without consent was justified.
//!
//! Enters: what is to be reviewed, by whom, until when, why it was shared, and what was found. Leaves: the resource as
//! JSON: `code` is `approve`, `restriction.period.end` the deadline, `input` the decision, `output` the finding.

use uuid::Uuid;

use super::bars::ODS_ORGANISATION;
use super::{Instant, Writer, instant_text};
use crate::identity::MessageId;

const URI: &str = "urn:ietf:rfc:3986";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const TASK_CODE: &str = "http://hl7.org/fhir/CodeSystem/task-code";

/// A part of the decision, or of the finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: Value<'a>,
}

/// The value of a [`Part`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A text; not empty.
    Text(&'a str),
    /// Yes or no.
    Flag(bool),
}

/// A review.
#[derive(Clone, Debug)]
pub struct ReviewTask<'a> {
    /// The message that was sent without consent.
    pub message: MessageId,
    /// `open`, `overdue` or `completed`.
    pub standing: &'a str,
    /// The organisation that shared, by ODS code.
    pub provider: &'a str,
    /// Who reviews: a person or a role, in words.
    pub owner: &'a str,
    /// Since when.
    pub opened_at: Instant,
    /// When it last changed.
    pub changed_at: Instant,
    /// By when.
    pub due_at: Instant,
    /// The purpose of use, an HL7 v3 ActReason code.
    pub purpose: &'a str,
    /// The decision.
    pub input: Vec<Part<'a>>,
    /// What was found; none while it is open.
    pub output: Vec<Part<'a>>,
}

impl ReviewTask<'_> {
    /// The id of the Task.
    pub fn id(&self) -> Uuid {
        self.message.part("review")
    }

    /// The resource as JSON.
    pub fn to_json(&self) -> String {
        let mut out = Writer::with_capacity(2048);
        out.begin_object();
        out.field("resourceType", "Task");
        out.field("id", &self.id().to_string());
        out.field("status", if self.standing == "completed" { "completed" } else { "requested" });
        out.object("businessStatus", |out| out.field("text", self.standing));
        out.field("intent", "order");
        out.object("code", |out| {
            out.coding(TASK_CODE, "approve");
            out.field("text", "Review of sharing without consent");
        });
        out.object("focus", |out| {
            out.field("type", "Bundle");
            out.identifier(URI, &format!("urn:uuid:{}", self.message));
        });
        out.field("authoredOn", &instant_text(self.opened_at));
        out.field("lastModified", &instant_text(self.changed_at));
        out.object("requester", |out| {
            out.field("type", "Organization");
            out.identifier(ODS_ORGANISATION, self.provider);
        });
        out.object("owner", |out| out.field("display", self.owner));
        out.object("reasonCode", |out| out.coding(ACT_REASON, self.purpose));
        out.object("restriction", |out| {
            out.object("period", |out| out.field("end", &instant_text(self.due_at)));
        });
        parts(&mut out, "input", &self.input);
        parts(&mut out, "output", &self.output);
        out.end_object();
        out.finish()
    }
}

fn parts(out: &mut Writer, name: &str, parts: &[Part<'_>]) {
    if parts.is_empty() {
        return;
    }
    out.key(name);
    out.begin_array();
    for part in parts {
        out.begin_object();
        out.object("type", |out| out.field("text", part.name));
        match part.value {
            Value::Text(text) => out.field("valueString", text),
            Value::Flag(flag) => {
                out.key("valueBoolean");
                out.raw(if flag { "true" } else { "false" });
            }
        }
        out.end_object();
    }
    out.end_array();
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_task_says_what_is_to_be_reviewed_by_when_and_what_was_found() {
        let at = datetime!(2026-01-01 00:00 UTC);
        let task = ReviewTask {
            message: "6f9619ff-8b86-5011-b42d-00cf4fc964ff".parse().expect("a UUID"),
            standing: "completed",
            provider: "DEMOP",
            owner: "Sue Safeguarding (synthetic)",
            opened_at: at,
            changed_at: at + time::Duration::HOUR,
            due_at: at + time::Duration::hours(72),
            purpose: "BTG",
            input: vec![
                Part { name: "riskIndicators", value: Value::Text("a threat") },
                Part { name: "personTold", value: Value::Flag(false) },
            ],
            output: vec![Part { name: "finding", value: Value::Text("justified") }],
        };
        let json: serde_json::Value = serde_json::from_str(&task.to_json()).expect("it is JSON");
        assert_eq!(json["resourceType"], "Task");
        assert_eq!((&json["status"], &json["code"]["coding"][0]["code"]), (&"completed".into(), &"approve".into()));
        assert_eq!(json["focus"]["identifier"]["value"], "urn:uuid:6f9619ff-8b86-5011-b42d-00cf4fc964ff");
        assert_eq!(json["restriction"]["period"]["end"], "2026-01-04T00:00:00.000Z");
        assert_eq!(json["input"][1]["valueBoolean"], false);
        assert_eq!(json["output"][0]["valueString"], "justified");
        let open = ReviewTask { standing: "overdue", output: vec![], ..task };
        let json: serde_json::Value = serde_json::from_str(&open.to_json()).expect("it is JSON");
        assert_eq!((&json["status"], &json["businessStatus"]["text"]), (&"requested".into(), &"overdue".into()));
        assert!(json.get("output").is_none());
    }
}
