//! Safety-critical elements that would be withheld although nobody decided so.
//!
//! The table `safety-critical.tsv` says what is safety-critical, in words that a clinical safety officer can review.

use super::tree::{When, leaving, subjects};
use crate::disclosure::agreement::written;
use crate::fhir::definitions::MISSING_TASK;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Critical {
    pub(super) resource: &'static str,
    /// Resources of any profile, without it.
    pub(super) profile: Option<&'static str>,
    /// `prediction.outcome`.
    pub(super) element: &'static str,
    /// In plain words.
    pub(super) what: &'static str,
}

/// The table.
pub(super) fn table() -> impl Iterator<Item = Critical> {
    let lines = include_str!("safety-critical.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut cells = line.split('\t');
        let mut cell = || cells.next();
        let (resource, profile, element, what) = (cell()?, cell()?, cell()?, cell()?);
        Some(Critical { resource, profile: Some(profile).filter(|profile| *profile != "-"), element, what })
    })
}

/// What the messages of an interface may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried<'c> {
    /// The resource types that the interface's map makes; all, without it.
    pub(super) types: Option<&'c [&'c str]>,
    /// Whether a record that lacks something essential gets Tasks that say so.
    pub(super) says_missing: bool,
}

impl Carried<'_> {
    fn holds(self, row: &Critical) -> bool {
        if row.profile == Some(MISSING_TASK) {
            return self.says_missing;
        }
        self.types.is_none_or(|types| types.contains(&row.resource))
    }
}

/// The rows of which nothing leaves over an interface and which nobody decided to withhold.
pub(super) fn withheld_in_silence(interface: &written::Interface, carried: Carried<'_>) -> Vec<Critical> {
    let is_carried = |row: &Critical| carried.holds(row);
    table().filter(is_carried).filter(|row| !leaves(interface, row) && !is_decided(interface, row)).collect()
}

/// Whether something of it leaves of every resource that some permit is for, or of any if the row is for any.
fn leaves(interface: &written::Interface, row: &Critical) -> bool {
    let names: Vec<&str> = row.element.split('.').collect();
    let profiles = subjects(interface).into_iter().filter(|(resource, _)| resource.get_ref() == row.resource);
    let own = profiles.map(|(_, profile)| profile.map(|profile| profile.get_ref().as_str()));
    let of_row = |profile: &Option<&str>| row.profile.is_none() || profile.is_none() || *profile == row.profile;
    own.filter(of_row).any(|profile| leaving(interface, row.resource, profile, When::Always).covers_path(&names))
}

fn is_decided(interface: &written::Interface, row: &Critical) -> bool {
    interface.withhold.iter().any(|withhold| {
        let profile = withhold.profile.as_ref().map(|profile| profile.get_ref().as_str());
        let of_profile = profile.is_none() || profile == row.profile;
        let elements = || withhold.elements.iter().map(|element| element.get_ref().as_str());
        withhold.resource.get_ref() == row.resource
            && of_profile
            && (withhold.elements.is_empty() || elements().any(|path| holds(path, row.element)))
    })
}

/// Whether withholding the element at `path` withholds `element` with it.
fn holds(path: &str, element: &str) -> bool {
    let names: Vec<&str> = path.split('.').map(|step| step.split(':').next().unwrap_or(step)).collect();
    let wanted: Vec<&str> = element.split('.').collect();
    let is = |name: &str, wanted: &str| match wanted.strip_suffix("[x]") {
        Some(stem) => name.starts_with(stem),
        None => name == wanted,
    };
    names.len() <= wanted.len() && names.iter().zip(wanted).all(|(name, wanted)| is(name, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::r4::schema;

    #[test]
    fn the_table_names_elements_of_r4() {
        let rows: Vec<Critical> = table().collect();
        assert!(rows.len() >= 10, "{rows:?}");
        for row in rows {
            let mut at = schema().resource(row.resource).expect(row.resource);
            for name in row.element.split('.') {
                let stem = name.trim_end_matches("[x]");
                let element = at.element_by_stem(stem).expect(name);
                assert_eq!(element.is_choice, name.ends_with("[x]"), "{name}");
                at = schema().type_named(element.types[0].code).expect(name);
            }
            assert!(row.what.len() > 10, "{row:?}");
        }
    }
}
