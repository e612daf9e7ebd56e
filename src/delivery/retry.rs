//! When to try again: exponential back-off with jitter, within bounds, listening to `Retry-After`.

use std::time::Duration;

/// The bounds of the waiting time between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The longest wait after the first failed attempt.
    pub first: Duration,
    /// The longest wait after any.
    pub max: Duration,
}

impl Schedule {
    /// How long to wait after `attempts` failed attempts (1 after the first).
    ///
    /// The limit doubles with every attempt up to `max`; the wait is between half of it and all of it, as `random`
    /// (from 0 to 1) says, so that messages that failed together do not come back together. A partner's
    /// `retry_after` lengthens it, up to `max`.
    pub fn wait(&self, attempts: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let limit = self.first.saturating_mul(1 << doublings).min(self.max);
        let wait = limit.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        wait.max(retry_after.unwrap_or_default().min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { first: Duration::from_secs(2), max: Duration::from_secs(60) };

    #[test]
    fn the_wait_doubles_up_to_its_bound_with_jitter() {
        let seconds = |attempts, random| SCHEDULE.wait(attempts, None, random).as_secs_f64();
        for (attempts, longest) in [(0, 2.0), (1, 2.0), (2, 4.0), (3, 8.0), (5, 32.0), (6, 60.0), (u32::MAX, 60.0)] {
            assert_eq!(seconds(attempts, 1.0), longest, "{attempts}");
            assert_eq!(seconds(attempts, 0.0), longest / 2.0, "{attempts}");
        }
        assert_eq!(seconds(1, f64::NAN.max(7.0)), 2.0);
    }

    #[test]
    fn retry_after_lengthens_the_wait_within_bounds() {
        let wait = |after| SCHEDULE.wait(1, Some(Duration::from_secs(after)), 1.0).as_secs();
        assert_eq!((wait(0), wait(10), wait(86_400)), (2, 10, 60));
    }
}
