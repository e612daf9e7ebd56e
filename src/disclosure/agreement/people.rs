//! Who answers for an agreement: named people by role, and whose approval brings a version into effect.

use std::collections::BTreeMap;

use super::words::NamedRole;

/// A named person. Staff, never a patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Their name, as colleagues know it.
    pub name: String,
    /// How to reach them, in words.
    pub contact: String,
    /// Their id among the site's `[[principals]]`, where they act with a key of their own.
    pub principal: Option<String>,
}

/// The people of an agreement by their role. All roles are filled but the safeguarding lead's, which an interface with
/// an `override` needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(pub(super) BTreeMap<NamedRole, Person>);

impl Roles {
    /// Who fills a role.
    pub fn person(&self, role: NamedRole) -> Option<&Person> {
        self.0.get(&role)
    }

    /// Each role that is filled, and by whom.
    pub fn iter(&self) -> impl Iterator<Item = (NamedRole, &Person)> {
        self.0.iter().map(|(role, person)| (*role, person))
    }
}

/// Whose approval brings a version into effect: at least two roles, filled by different people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approval {
    /// The roles, each once, in the order of the file.
    pub by: Vec<NamedRole>,
}
