//! An agreement file as it is written: TOML, unknown keys refused, every value with its place.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::NamedRole;

/// Text with its place.
pub(super) type Text = Spanned<String>;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Agreement {
    pub(super) id: Text,
    pub(super) version: Text,
    pub(super) status: Text,
    pub(super) effective: Text,
    pub(super) review: Text,
    pub(super) review_grace_days: Option<Spanned<i64>>,
    pub(super) retention_days: Spanned<i64>,
    pub(super) controller: Party,
    pub(super) recipient: Party,
    pub(super) purpose: Purpose,
    pub(super) lawful_basis: LawfulBasis,
    pub(super) categories: BTreeMap<Text, Text>,
    pub(super) controls: Controls,
    pub(super) roles: Spanned<Roles>,
    pub(super) approval: Approval,
    pub(super) dpia: Dpia,
    pub(super) escalation: Spanned<Vec<Escalation>>,
    pub(super) interfaces: Spanned<BTreeMap<String, Spanned<Interface>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Party {
    pub(super) ods: Text,
    pub(super) name: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Purpose {
    pub(super) code: Text,
    pub(super) words: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LawfulBasis {
    pub(super) article_6: Text,
    pub(super) article_9: Text,
    pub(super) common_law: Text,
    pub(super) statute: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Controls {
    pub(super) minimum_tls: Text,
    pub(super) pinning: Spanned<bool>,
    pub(super) encryption_at_rest: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Roles {
    pub(super) caldicott_guardian: Spanned<Person>,
    pub(super) siro: Spanned<Person>,
    pub(super) ig_lead: Spanned<Person>,
    pub(super) operational_owner: Spanned<Person>,
    pub(super) technical_administrator: Spanned<Person>,
    pub(super) safeguarding_lead: Option<Spanned<Person>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Person {
    pub(super) name: Text,
    pub(super) contact: Text,
    pub(super) principal: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approval {
    pub(super) by: Spanned<Vec<Text>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dpia {
    pub(super) reference: Text,
    #[serde(default)]
    pub(super) mitigation: Vec<Spanned<Mitigation>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mitigation {
    pub(super) risk: Text,
    /// Asked for when it is read, so that the fault says what a mitigation is tied to.
    pub(super) control: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Escalation {
    pub(super) severity: Text,
    pub(super) contact: Text,
    pub(super) hours: Spanned<i64>,
    pub(super) webhook: Option<Text>,
    #[serde(default)]
    pub(super) spool: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Interface {
    pub(super) profile: Text,
    pub(super) tell_withheld: bool,
    pub(super) list_withheld: Option<Spanned<bool>>,
    pub(super) consent: Spanned<Consent>,
    #[serde(rename = "override")]
    pub(super) override_terms: Option<Override>,
    pub(super) permit: Spanned<Vec<Permit>>,
    #[serde(default)]
    pub(super) generalise: Vec<Spanned<Generalise>>,
    #[serde(default)]
    pub(super) withhold: Vec<Withhold>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Consent {
    pub(super) rule: Text,
    pub(super) objection: Text,
    pub(super) statute: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Override {
    pub(super) purposes: Spanned<Vec<Text>>,
    pub(super) bases: Spanned<Vec<Text>>,
    pub(super) reviewer: Text,
    pub(super) review_hours: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Permit {
    pub(super) resource: Text,
    pub(super) profile: Option<Text>,
    pub(super) elements: Spanned<Vec<Text>>,
    pub(super) category: Text,
    pub(super) reason: Text,
    #[serde(default)]
    pub(super) under_override: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generalise {
    pub(super) resource: Text,
    pub(super) profile: Option<Text>,
    pub(super) element: Text,
    pub(super) to: Text,
    pub(super) bands: Option<Spanned<Vec<i64>>>,
    pub(super) key: Option<Text>,
    pub(super) category: Text,
    pub(super) reason: Text,
    #[serde(default)]
    pub(super) under_override: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Withhold {
    pub(super) resource: Text,
    pub(super) profile: Option<Text>,
    #[serde(default)]
    pub(super) elements: Vec<Text>,
    pub(super) reason: Text,
    pub(super) approved_by: Text,
}

impl Roles {
    /// Each role that is filled, and by whom.
    pub(super) fn filled(&self) -> impl Iterator<Item = (NamedRole, &Spanned<Person>)> {
        let named = [
            (NamedRole::CaldicottGuardian, Some(&self.caldicott_guardian)),
            (NamedRole::Siro, Some(&self.siro)),
            (NamedRole::IgLead, Some(&self.ig_lead)),
            (NamedRole::OperationalOwner, Some(&self.operational_owner)),
            (NamedRole::TechnicalAdministrator, Some(&self.technical_administrator)),
            (NamedRole::SafeguardingLead, self.safeguarding_lead.as_ref()),
        ];
        named.into_iter().filter_map(|(role, person)| Some((role, person?)))
    }
}
