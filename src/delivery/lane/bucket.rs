//! A token bucket: at most so many attempts a second, on average over a second; at least one may always wait in it.

use std::time::Duration;

use tokio::time::Instant;

/// The bucket. It holds one second's tokens, and at least one.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Tokens a second; above 0.
    rate: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn full(rate: f64, now: Instant) -> Bucket {
        Bucket { rate, tokens: rate.max(1.0), at: now }
    }

    /// How many whole tokens there are; if none, how long until there is one.
    pub(super) fn tokens(&mut self, now: Instant) -> Result<u32, Duration> {
        self.fill(now);
        if self.tokens >= 1.0 {
            return Ok(self.tokens as u32);
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate))
    }

    /// Takes one token.
    pub(super) fn take(&mut self, now: Instant) {
        self.fill(now);
        self.tokens -= 1.0;
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate).min(self.rate.max(1.0));
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_rate_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10.0, start);
        let mut taken = 0;
        for millis in (0..3000).step_by(10) {
            let now = start + Duration::from_millis(millis);
            while bucket.tokens(now).is_ok() {
                bucket.take(now);
                taken += 1;
            }
        }
        assert_eq!(taken, 10 + 29, "the first second's at once, then one every 100 ms");
    }

    #[test]
    fn an_empty_bucket_says_when_there_is_a_token() {
        let start = Instant::now();
        let mut bucket = Bucket::full(0.5, start);
        assert_eq!(bucket.tokens(start), Ok(1), "one may always wait");
        bucket.take(start);
        let wait = bucket.tokens(start).expect_err("it is empty");
        assert_eq!(wait, Duration::from_secs(2));
        assert_eq!(bucket.tokens(start + wait), Ok(1));
        assert_eq!(bucket.tokens(start + Duration::from_secs(3600)), Ok(1), "it does not fill beyond its size");
    }
}
