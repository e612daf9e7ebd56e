//! The stage itself: [`Mapped`] → [`Validated`].

use super::Validator;
use crate::fhir::outcome::Issue;
use crate::mapping::Mapped;

/// A mapped Bundle that conforms to R4, to its interface's profile and to the profiles its resources claim.
///
/// Only [`check`] makes one, so holding it proves that the Bundle was validated.
#[derive(Debug)]
pub struct Validated {
    mapped: Mapped,
    /// Warnings and notes; no error.
    warnings: Vec<Issue>,
}

impl Validated {
    /// The Bundle and the record it was made from.
    pub fn mapped(&self) -> &Mapped {
        &self.mapped
    }

    /// What is not as it should be, and what could not be checked.
    pub fn warnings(&self) -> &[Issue] {
        &self.warnings
    }
}

/// Why a Bundle was not validated.
#[derive(Debug, thiserror::Error)]
#[error("the mapped Bundle does not conform to {profile}: {} errors", issues.iter().filter(|issue| issue.is_error()).count())]
pub struct Error {
    /// The profile of the interface.
    pub profile: String,
    /// All that was found; at least one error.
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
/// [`Error`] with all issues if one of them is an error.
pub fn check(validator: &Validator, profile: &str, mapped: Mapped) -> Result<Validated, Error> {
    let issues = validator.check_document(mapped.bundle(), Some(profile));
    if issues.iter().any(Issue::is_error) {
        return Err(Error { profile: profile.to_owned(), issues });
    }
    Ok(Validated { mapped, warnings: issues })
}
