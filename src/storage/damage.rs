//! Rows that cannot be read, or of which nothing can be made. Each is left out, so that it holds up no other, and people are told of it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::error;

use super::Error;

/// The damaged rows that were met since the store was opened: each by its table, and its position or its id.
#[derive(Debug, Default)]
pub struct Damage(Mutex<BTreeSet<(&'static str, String)>>);

impl Damage {
    /// What one row came to; `None` when it is damaged, which the log says once. What may be over by itself is no damage.
    ///
    /// # Errors
    /// What holds for all rows: the store is not available.
    pub fn sift<T>(
        &self,
        (table, row): (&'static str, impl Display),
        came_to: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match came_to {
            Err(error) if !error.is_transient() => {
                let row = row.to_string();
                if self.rows().insert((table, row.clone())) {
                    error!(table, row, %error, hint = error.hint(), "a damaged row is left out");
                }
                Ok(None)
            }
            came_to => came_to.map(Some),
        }
    }

    /// Those of one table, with a blank before and after each.
    pub fn listed(&self, table: &str) -> String {
        let own = self.rows();
        let own = own.iter().filter(|(of, _)| *of == table).map(|(_, row)| format!("{row} "));
        std::iter::once(" ".to_owned()).chain(own).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.rows().len()
    }

    fn rows(&self) -> MutexGuard<'_, BTreeSet<(&'static str, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
