//! Lineage: for every element that left, the record field, the mapping rule and the clause that let it pass; for every
//! element held back, why. Places and reasons, never values.
//!
//! Stored as JSON, one document a message. Rules and clauses stand once, in tables that rows name by index.

use serde::{Deserialize, Serialize};

/// The lineage of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lineage {
    /// The message's id.
    pub message: String,
    /// The interface.
    pub interface: String,
    /// The agreement that it left under.
    pub agreement: Version,
    /// The map that made the Bundle.
    pub map: Version,
    /// The rules of the map that made something that left.
    pub rules: Vec<Rule>,
    /// The clauses of the agreement that let something leave: its permits in their order, then its generalisations.
    pub clauses: Vec<Clause>,
    /// Elements that left, by their path in the Bundle as sent.
    pub left: Vec<Left>,
    /// Elements that disclosure wrote itself: labels, masks, narrative. Paths in the Bundle as sent.
    pub generated: Vec<String>,
    /// Elements that were held back, by their path in the Bundle before disclosure.
    pub withheld: Vec<Held>,
}

impl Lineage {
    /// As JSON; for those who may not see what was held back, only how much it is.
    pub fn to_json(&self, sees_withheld: bool) -> serde_json::Value {
        let mut shown = serde_json::json!(self);
        if let Some(members) = shown.as_object_mut().filter(|_| !sees_withheld) {
            members.remove("withheld");
            members.insert("withheldCount".to_owned(), self.withheld.len().into());
        }
        shown
    }
}

/// A text under version control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Its id or canonical URL.
    pub id: String,
    /// Its version; empty where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// SHA-256 of its text, in hexadecimal.
    pub sha_256: String,
}

/// A mapping rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The group it stands in.
    pub group: String,
    /// Its name.
    pub rule: String,
    /// The mapping file.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
}

/// A clause of the agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clause {
    /// The resource type.
    pub resource: String,
    /// The category of data.
    pub category: String,
    /// Why it is shared.
    pub reason: String,
    /// What its element becomes, for a generalisation: `outward-code`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generalised_to: String,
}

/// An element that left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// Where it stands in the Bundle as sent.
    pub path: String,
    /// The record fields that it comes from; none for what the map says by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// The rule that made it, an index into the rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// The clause that let it pass, an index into the clauses; none for the frame of permitted content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clause: Option<u32>,
}

/// An element that was held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Where it stood in the Bundle before disclosure.
    pub path: String,
    /// The type of the resource it is or stands in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Why.
    pub why: String,
}
