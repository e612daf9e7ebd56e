//! People and systems that act, and what each may do: default deny.
//!
//! A [`Principal`] is someone the site's configuration lists: a person with a signing key, or a system with a
//! certificate. It has [`Role`]s; [`Role::may`] is the one table of what a role may do, and `tests/golden/roles.txt`
//! shows it whole. Invariant: what no role of a principal permits is refused, and so is everything to the unlisted.

use std::str::FromStr;

use super::signature::PublicKey;
use super::{Malformed, coded, kebab};

/// The id of a principal: `demo-guardian`. Written like an interface name; never a person's name, since audit events
/// and logs carry it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalId(pub(super) Box<str>);

impl FromStr for PrincipalId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<PrincipalId, Malformed> {
        match kebab(text) {
            true => Ok(PrincipalId(text.into())),
            false => Err(Malformed { what: "the id of a principal", rule: "lower-case words joined by hyphens" }),
        }
    }
}

coded! {
    /// What someone is responsible for.
    Role, "a role" {
        /// A system that submits records.
        RecordSystem = "record-system",
        /// Describes record formats and mappings, and finds out why a record failed.
        IntegrationEngineer = "integration-engineer",
        /// Guards the confidentiality of people's information.
        CaldicottGuardian = "caldicott-guardian",
        /// Senior information risk owner.
        Siro = "siro",
        /// Writes and reviews agreements.
        IgLead = "ig-lead",
        /// Reviews what was shared without consent.
        SafeguardingLead = "safeguarding-lead",
        /// Answers for the service that shares.
        OperationalOwner = "operational-owner",
        /// Runs the gateway.
        TechnicalAdministrator = "technical-administrator",
        /// Inspects; changes nothing.
        Auditor = "auditor",
    }
}

coded! {
    /// What someone does that the gateway permits or refuses.
    Action, "an action" {
        /// Hands in a record to be sent.
        Submit = "submit",
        /// Sees what a record would become and what of it would leave; nothing is sent.
        Preview = "preview",
        /// Asks where a message stands.
        ReadMessage = "read-message",
        /// Reads the words in which a receiving team rejected a handover.
        ReadWords = "read-words",
        /// Sees where each element of a message came from and which clause let it pass.
        ReadLineage = "read-lineage",
        /// Sees what was held back from a message, by path and reason.
        ReadWithheld = "read-withheld",
        /// Approves an agreement version.
        ApproveAgreement = "approve-agreement",
        /// Sees who has approved which agreement version, and what is in force.
        ReadApprovals = "read-approvals",
        /// Sees which sharings without consent are to be reviewed, and why they were made.
        ReadReviews = "read-reviews",
        /// Completes the review of a sharing without consent.
        CompleteReview = "complete-review",
        /// Sends a message again that waits, was refused or was given up, or whose handover was rejected.
        RetryMessage = "retry-message",
        /// Decides that a message is not to be sent.
        CancelMessage = "cancel-message",
        /// Has what is kept about a person erased.
        EraseSubject = "erase-subject",
        /// Checks the audit log, and reads its events.
        VerifyAudit = "verify-audit",
        /// Sees the referrals that partners sent, with the records that were made of them.
        ReadInbound = "read-inbound",
        /// Says that the record system has a referral.
        CollectInbound = "collect-inbound",
        /// Changes what the site runs: its packages and its configuration.
        Administer = "administer",
    }
}

impl Action {
    /// Whether it only looks at what the gateway keeps.
    pub fn is_reading(self) -> bool {
        match self {
            Action::ReadMessage
            | Action::ReadWords
            | Action::ReadLineage
            | Action::ReadWithheld
            | Action::ReadApprovals
            | Action::ReadReviews
            | Action::ReadInbound
            | Action::VerifyAudit => true,
            Action::Submit
            | Action::Preview
            | Action::ApproveAgreement
            | Action::CompleteReview
            | Action::RetryMessage
            | Action::CancelMessage
            | Action::EraseSubject
            | Action::CollectInbound
            | Action::Administer => false,
        }
    }
}

impl Role {
    /// What this role permits. Whatever is not in this table is denied.
    pub fn may(self, action: Action) -> bool {
        use Action::{
            Administer, ApproveAgreement, CancelMessage, CollectInbound, CompleteReview, EraseSubject, Preview,
            ReadApprovals, ReadInbound, ReadLineage, ReadMessage, ReadReviews, ReadWithheld, ReadWords, RetryMessage,
            Submit, VerifyAudit,
        };
        let permitted: &[Action] = match self {
            Role::RecordSystem => &[Submit, Preview, ReadMessage, ReadWords, ReadInbound, CollectInbound],
            Role::IntegrationEngineer => &[Preview, ReadMessage, ReadLineage, RetryMessage],
            Role::CaldicottGuardian => &[
                ReadMessage,
                ReadWords,
                ReadLineage,
                ReadWithheld,
                ApproveAgreement,
                ReadApprovals,
                ReadReviews,
                VerifyAudit,
            ],
            Role::Siro => &[ApproveAgreement, ReadApprovals, ReadReviews, VerifyAudit],
            Role::IgLead => &[
                Preview,
                ReadMessage,
                ReadLineage,
                ReadWithheld,
                ApproveAgreement,
                ReadApprovals,
                ReadReviews,
                EraseSubject,
                VerifyAudit,
            ],
            Role::SafeguardingLead => &[
                ReadMessage,
                ReadWords,
                ReadLineage,
                ReadWithheld,
                ApproveAgreement,
                ReadApprovals,
                ReadReviews,
                CompleteReview,
            ],
            Role::OperationalOwner => {
                &[ReadMessage, ReadWords, ApproveAgreement, ReadApprovals, ReadReviews, RetryMessage, CancelMessage]
            }
            Role::TechnicalAdministrator => {
                &[ReadMessage, ApproveAgreement, ReadApprovals, RetryMessage, CancelMessage, VerifyAudit, Administer]
            }
            Role::Auditor => &[ReadMessage, ReadLineage, ReadWithheld, ReadApprovals, ReadReviews, VerifyAudit],
        };
        permitted.contains(&action)
    }
}

/// Someone the site knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its id.
    pub id: PrincipalId,
    /// Its name, for people; never logged or audited.
    pub name: String,
    /// What it is responsible for.
    pub roles: Vec<Role>,
    /// SHA-256 of its client certificate (DER), if it comes with one.
    pub certificate: Option<[u8; 32]>,
    /// The public half of its signing key, if it has one.
    pub key: Option<PublicKey>,
}

impl Principal {
    /// Whether one of its roles permits `action`.
    pub fn may(&self, action: Action) -> bool {
        self.roles.iter().any(|role| role.may(action))
    }
}

/// Everyone the site knows. Ids, certificates and keys are each unique.
#[derive(Clone, Debug, Default)]
pub struct Principals(Vec<Principal>);

impl Principals {
    /// Takes a list of principals.
    ///
    /// # Errors
    /// What is wrong with it: two with one id, certificate or key, one without roles, one that nobody can be.
    pub fn new(list: Vec<Principal>) -> Result<Principals, Vec<String>> {
        let mut faults = Vec::new();
        for (index, one) in list.iter().enumerate() {
            if one.roles.is_empty() {
                faults.push(format!("{} has no role and could do nothing; give it one or remove it", one.id));
            }
            if one.certificate.is_none() && one.key.is_none() {
                faults.push(format!("{} has neither certificate nor key: nobody can act as it", one.id));
            }
            for other in &list[..index] {
                let both = |shared: bool, what: &str| {
                    shared.then(|| format!("{} and {} have the same {what}; each needs its own", other.id, one.id))
                };
                faults.extend(both(one.id == other.id, "id"));
                faults.extend(both(one.certificate.is_some() && one.certificate == other.certificate, "certificate"));
                faults.extend(both(one.key.is_some() && one.key == other.key, "key"));
            }
        }
        if faults.is_empty() { Ok(Principals(list)) } else { Err(faults) }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Principal> {
        self.0.iter()
    }

    /// The one with this id.
    pub fn named(&self, id: &PrincipalId) -> Option<&Principal> {
        self.0.iter().find(|each| each.id == *id)
    }

    /// The one whose client certificate has this SHA-256 (of its DER).
    pub fn presenting(&self, certificate: &[u8; 32]) -> Option<&Principal> {
        self.0.iter().find(|each| each.certificate.as_ref() == Some(certificate))
    }

    /// Who could do `action`, for a message that says whom to ask.
    pub fn able(&self, action: Action) -> Vec<&PrincipalId> {
        self.0.iter().filter(|each| each.may(action)).map(|each| &each.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(id: &str, roles: &[Role], certificate: u8) -> Principal {
        let id = id.parse().expect("an id");
        Principal {
            id,
            name: "Synthetic".to_owned(),
            roles: roles.to_vec(),
            certificate: Some([certificate; 32]),
            key: None,
        }
    }

    /// Reviewed by eye: the file is what an auditor reads.
    #[test]
    fn the_table_of_roles_is_the_golden_one() {
        let row = |first: &str, cells: &mut dyn Iterator<Item = &'static str>| {
            let cells = Role::ALL.iter().zip(cells);
            let cells: Vec<String> = cells.map(|(role, cell)| format!("{cell:^0$}", role.code().len())).collect();
            format!("{first:<18} {}", cells.join(" ")).trim_end().to_owned() + "\n"
        };
        let mut table = row("", &mut Role::ALL.iter().map(|role| role.code()));
        for &action in Action::ALL {
            let mut cells = Role::ALL.iter().map(|role| if role.may(action) { "yes" } else { "." });
            table.push_str(&row(action.code(), &mut cells));
        }
        assert_eq!(table, include_str!("../../tests/golden/roles.txt"));
        let page = include_str!("../../docs/roles.md");
        for &action in Action::ALL {
            let cells = Role::ALL.iter().map(|role| if role.may(action) { "yes" } else { "" });
            let row = format!("| {action} | {} |", cells.collect::<Vec<_>>().join(" | "));
            assert!(page.contains(&row), "docs/roles.md has no row {row}");
        }
    }

    #[test]
    fn every_action_is_someones_and_no_role_does_everything() {
        for &action in Action::ALL {
            assert!(Role::ALL.iter().any(|role| role.may(action)), "{action}");
        }
        for role in Role::ALL {
            assert!(Action::ALL.iter().any(|&action| !role.may(action)), "{role}");
        }
    }

    #[test]
    fn a_principal_may_what_one_of_its_roles_may() {
        let both = principal("both", &[Role::Auditor, Role::RecordSystem], 1);
        assert!(both.may(Action::Submit) && both.may(Action::VerifyAudit) && !both.may(Action::Administer));
        let known = Principals::new(vec![both]).expect("it is well-formed");
        assert!(known.presenting(&[1; 32]).is_some() && known.presenting(&[2; 32]).is_none());
        let able: Vec<String> = known.able(Action::Submit).iter().map(ToString::to_string).collect();
        assert_eq!((able, known.able(Action::CompleteReview).len()), (vec!["both".to_owned()], 0));
    }

    #[test]
    fn a_list_that_confuses_people_is_refused_with_every_fault() {
        let nobody = Principal { certificate: None, ..principal("nobody", &[], 0) };
        let list = vec![principal("a", &[Role::Auditor], 1), principal("a", &[Role::Siro], 1), nobody];
        let faults = Principals::new(list).expect_err("it is refused");
        let expected = ["same id", "same certificate", "nobody has no role", "nobody has neither"];
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for part in expected {
            assert!(faults.iter().any(|fault| fault.contains(part)), "{part}: {faults:?}");
        }
    }

    #[test]
    fn roles_are_read_back_from_their_names() {
        for &role in Role::ALL {
            assert_eq!(role.code().parse(), Ok(role));
        }
        let error = "guardian".parse::<Role>().expect_err("it is no role").to_string();
        assert!(error.starts_with("a role must be one of record-system"), "{error}");
    }
}
