//! How far a batch is, on a terminal: one line that is written over, at most five times a second.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::report::Tally;

const EVERY: Duration = Duration::from_millis(200);

/// The line; none where standard error is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    last: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { began: Instant::now(), last: None, is_shown: io::stderr().is_terminal() }
    }

    pub(super) fn show(&mut self, tally: &Tally) {
        if !self.is_shown || self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        let rows = tally.done + tally.failed;
        let rate = rows as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let Tally { done, skipped, failed } = tally;
        // A terminal that has gone takes nothing, and stops nothing.
        let _ = write!(io::stderr(), "\r{done} done, {skipped} done before, {failed} not; {rate:.0} rows/s\u{1b}[K");
    }

    /// Takes the line away.
    pub(super) fn end(&mut self) {
        if self.last.take().is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
