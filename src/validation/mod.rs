//! Stage 3, its proof only: replaced by the validation branch, whose `check` is what makes a [`Validated`].

use crate::mapping::Mapped;

/// A mapped Bundle that conforms to its profiles.
#[derive(Debug)]
pub struct Validated {
    mapped: Mapped,
}

impl Validated {
    /// The record with its Bundle.
    pub fn mapped(&self) -> &Mapped {
        &self.mapped
    }

    /// Without any check, for tests of later stages.
    #[cfg(test)]
    pub(crate) fn of(mapped: Mapped) -> Validated {
        Validated { mapped }
    }
}
