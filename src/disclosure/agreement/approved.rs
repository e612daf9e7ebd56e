//! Which approvals a version of an agreement has, and which it waits for.
//!
//! Enters: approvals as the store keeps them. Leaves: whether the version is approved. An approval counts if it is of this
//! id, version and file, for a role that the agreement names as approver, by the person who fills that role. Invariant:
//! approvals are only ever added, so that a version that is approved stays so; a file that differs is another file.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use super::{Agreement, NamedRole};
use crate::storage;

/// The roles that have approved.
#[derive(Debug, Default)]
pub(super) struct Approvals(RwLock<BTreeSet<NamedRole>>);

impl Agreement {
    /// Counts an approval, if it is one of this version. Whether it is.
    pub fn count(&self, approval: &storage::Approval) -> bool {
        let Some(role) = self.approved_role(approval) else { return false };
        self.approvals.0.write().unwrap_or_else(PoisonError::into_inner).insert(role);
        true
    }

    /// The role in which an approval is one of this version, if it is.
    pub fn approved_role(&self, approval: &storage::Approval) -> Option<NamedRole> {
        let role = self.approval.by.iter().copied().find(|role| role.code() == approval.role);
        let is_mine = approval.agreement == self.id && approval.version == self.version && approval.file == self.hash;
        role.filter(|role| is_mine && self.approver(*role) == Some(approval.by.as_str()))
    }

    /// The roles whose approval is missing, in the order of the file.
    pub fn unapproved(&self) -> Vec<NamedRole> {
        let given = self.approvals.0.read().unwrap_or_else(PoisonError::into_inner);
        self.approval.by.iter().copied().filter(|role| !given.contains(role)).collect()
    }

    /// The id of the principal who approves in `role`.
    pub fn approver(&self, role: NamedRole) -> Option<&str> {
        self.roles.person(role)?.principal.as_deref()
    }

    /// Why the version is not approved; `None` once it is.
    pub(super) fn not_approved(&self) -> Option<String> {
        let waits: Vec<String> = self.unapproved().into_iter().map(|role| self.named(role)).collect();
        (!waits.is_empty()).then(|| format!("this file is not approved by {}", waits.join(" and ")))
    }

    /// `the siro (demo-siro)`
    fn named(&self, role: NamedRole) -> String {
        match self.approver(role) {
            Some(id) => format!("the {role} ({id})"),
            None => format!("the {role} (no principal)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{CONSENT, SECTIONS, approve};
    use super::super::{Agreements, NamedRole};
    use crate::storage::Approval;
    use time::macros::datetime;

    fn agreements() -> Agreements {
        let text = format!(
            "id = 'a'\nversion = '1'\nstatus = 'active'\neffective = '2026-01-01'\nreview = '2027-01-01'\n\
             retention_days = 1\ncontroller = {{ ods = 'A1', name = 'A' }}\nrecipient = {{ ods = 'B1', name = 'B' }}\n\
             purpose = {{ code = 'TREAT', words = 'care' }}\n\
             lawful_basis = {{ article_6 = '6', article_9 = '9', common_law = 'c' }}\ncategories = {{ c = 'c' }}\n\
             {SECTIONS}[interfaces.i]\nprofile = 'https://p.example'\ntell_withheld = true\n{CONSENT}\
             [[interfaces.i.permit]]\nresource = 'Patient'\nelements = ['birthDate']\ncategory = 'c'\nreason = 'r'\n"
        );
        Agreements::load(&[("a.toml".to_owned(), text)]).expect("it is sound")
    }

    fn approval(change: impl FnOnce(&mut Approval)) -> bool {
        let agreements = agreements();
        let agreement = agreements.iter().next().expect("there is one");
        let mut approval = Approval {
            agreement: agreement.id().clone(),
            version: "1".to_owned(),
            file: agreement.hash(),
            role: "siro".to_owned(),
            by: "sid".parse().expect("an id"),
            at: datetime!(2026-02-01 12:00 UTC),
        };
        change(&mut approval);
        let counts = agreement.count(&approval);
        assert_eq!(agreement.unapproved().contains(&NamedRole::Siro), !counts);
        counts
    }

    #[test]
    fn an_approval_counts_for_its_version_file_role_and_person_only() {
        assert!(approval(|_| {}));
        assert!(!approval(|approval| approval.agreement = "b".parse().expect("an id")));
        assert!(!approval(|approval| approval.version = "2".to_owned()));
        assert!(!approval(|approval| approval.file[0] ^= 1));
        assert!(!approval(|approval| approval.by = "gail".parse().expect("an id")));
        assert!(!approval(|approval| approval.role = "caldicott-guardian".to_owned()));
        assert!(!approval(|approval| approval.role = "ig-lead".to_owned()), "it is not asked for");
    }

    #[test]
    fn nothing_leaves_until_all_have_approved() {
        let agreements = agreements();
        let now = datetime!(2026-02-01 12:00 UTC);
        let agreement = agreements.iter().next().expect("there is one");
        let why = || agreement.not_in_force(now);
        let both = "this file is not approved by the caldicott_guardian (gail) and the siro (sid)";
        assert_eq!(why().as_deref(), Some(both));
        approve(agreement, NamedRole::Siro);
        assert_eq!(why().as_deref(), Some("this file is not approved by the caldicott_guardian (gail)"));
        approve(agreement, NamedRole::CaldicottGuardian);
        assert_eq!(why(), None);
    }
}
