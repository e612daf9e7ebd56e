//! Where a watcher of clocks stands in looking for what is to be looked at later than now, since the clock was ahead when it was written.

use std::time::Duration;

use tokio::time::Instant;

use crate::storage::{FIRST, Place};

/// How long after one look back the next one begins.
pub(super) const LOOK_BACK: Duration = Duration::from_secs(60);

/// A look back goes on page by page until none follows; then it rests.
pub(super) struct LookBack {
    ended: Option<Instant>,
    after: Place,
}

impl LookBack {
    pub(super) fn new() -> LookBack {
        LookBack { ended: None, after: FIRST }
    }

    /// After which place the next page begins, if it is time for one.
    pub(super) fn place(&self) -> Option<Place> {
        self.ended.is_none_or(|ended| ended.elapsed() >= LOOK_BACK).then_some(self.after)
    }

    /// A page was looked at; `last` is its last place, unless none follows.
    pub(super) fn turn(&mut self, last: Option<Place>) {
        self.ended = last.is_none().then(Instant::now);
        self.after = last.unwrap_or(FIRST);
    }
}

/// The last place of a page of at most `most` rows, unless none follows.
pub(super) fn last_of<T>(page: &[(Place, T)], most: usize) -> Option<Place> {
    page.last().map(|(place, _)| *place).filter(|_| page.len() == most)
}
