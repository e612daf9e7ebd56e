//! The stage itself: [`Mapped`] → [`Validated`].

use super::{Found, Telling, Validator};
use crate::fhir::NodeId;
use crate::fhir::outcome::Issue;
use crate::mapping::Mapped;

/// A mapped Bundle that conforms to R4, to its interface's profile and to the profiles its resources claim.
///
/// Only [`check`] makes one, so holding it proves that the Bundle was validated.
#[derive(Debug)]
pub struct Validated {
    mapped: Mapped,
    /// How many warnings and notes there are.
    remarks: usize,
    /// The profile of the interface.
    profile: String,
    /// The same with the version that was used.
    profile_version: String,
    /// Whether a profile was tried on a resource that does not claim it.
    has_trials: bool,
}

impl Validated {
    /// The Bundle and the record it was made from.
    pub fn mapped(&self) -> &Mapped {
        &self.mapped
    }

    /// The profile that the Bundle conforms to, besides those that its resources claim.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// The same with the version that was used: `url|version`.
    pub fn profile_version(&self) -> &str {
        &self.profile_version
    }

    /// Whether something was found valid because a resource keeps to a profile that it does not claim.
    pub(super) fn has_trials(&self) -> bool {
        self.has_trials
    }

    /// How many things are not as they should be, or could not be checked.
    pub fn remarks(&self) -> usize {
        self.remarks
    }
}

/// Why a Bundle was not validated.
#[derive(Debug, thiserror::Error)]
#[error("the mapped Bundle does not conform to {profile}: {} errors", issues.iter().filter(|issue| issue.is_error()).count())]
pub struct Error {
    /// The profile of the interface.
    pub profile: String,
    /// The errors that were found, at least one, each at the field of the record that the element came from.
    pub issues: Vec<Issue>,
}

impl Error {
    /// What to do about it. The record has passed its logical model, so the map or a profile is most likely at fault.
    pub fn hint(&self) -> &'static str {
        "ask the integration engineer to correct the map or the profile where the issues say, then send again"
    }
}

/// Validates a mapped Bundle against R4, the interface's `profile` (a canonical URL) and the profiles that it claims.
///
/// # Errors
/// [`Error`] with all errors, if there are any.
pub fn check(validator: &Validator, profile: &str, mapped: Mapped) -> Result<Validated, Error> {
    let Found { issues, untold, tried } = validator.check_with(mapped.bundle(), [profile], Telling::Errors);
    if !issues.is_empty() {
        let issues = issues.into_iter().map(|issue| in_the_record(&mapped, issue)).collect();
        return Err(Error { profile: profile.to_owned(), issues });
    }
    let profile_version = validator.with_version(profile);
    Ok(Validated { mapped, remarks: untold, profile: profile.to_owned(), profile_version, has_trials: tried })
}

/// The issue as the sender can see it: at the field of the record that the element was made from, with line and column
/// there. An element that no field made keeps its place in the Bundle, without a line: the sender never saw that text.
fn in_the_record(mapped: &Mapped, issue: Issue) -> Issue {
    let issue = Issue { position: None, ..issue };
    let Some(path) = issue.path.clone() else { return issue };
    let field = nearest_element(mapped, &path.spelled())
        .and_then(|element| mapped.origins().get(element.index()))
        .and_then(|origin| mapped.received().record().node(origin.source?));
    match field {
        Some(field) => {
            let text = format!("{} (in the Bundle: {path})", issue.text);
            Issue { text, ..issue }.at(field.path()).position(field.position())
        }
        None => issue,
    }
}

/// The element at `path`, or the innermost one around it that is there.
fn nearest_element(mapped: &Mapped, path: &str) -> Option<NodeId> {
    let mut nearest: Option<(usize, NodeId)> = None;
    mapped.bundle().visit_paths(|element, found| {
        let found = found.as_str();
        let is_around = path.strip_prefix(found).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        if is_around && nearest.is_none_or(|(length, _)| found.len() >= length) {
            nearest = Some((found.len(), element.id()));
        }
    });
    nearest.map(|(_, element)| element)
}
