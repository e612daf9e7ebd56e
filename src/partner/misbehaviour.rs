//! What the reference receiver can be told to do wrong.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One thing to do wrong, written as `unavailable:3`, `cut:1`, `slow:200`, `reject` or `uncorrelated:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// `unavailable:N`: the first N messages get 503 with `Retry-After: 1`, and are not kept.
    Unavailable(u32),
    /// `cut:N`: the first N messages are kept, then the connection is cut without an answer.
    Cut(u32),
    /// `slow:MILLIS`: every answer waits so long.
    Slow(Duration),
    /// `reject`: every message gets 422, and is not kept.
    Reject,
    /// `uncorrelated:N`: the first N messages are kept, and get an answer to another message.
    Uncorrelated(u32),
}

/// Text that names no misbehaviour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a misbehaviour: write unavailable:N, cut:N, slow:MILLISECONDS, reject or uncorrelated:N")]
pub struct UnknownMisbehaviour;

impl FromStr for Misbehaviour {
    type Err = UnknownMisbehaviour;

    fn from_str(text: &str) -> Result<Misbehaviour, UnknownMisbehaviour> {
        if text == "reject" {
            return Ok(Misbehaviour::Reject);
        }
        let (kind, number) = text.split_once(':').ok_or(UnknownMisbehaviour)?;
        let number: u32 = number.parse().map_err(|_| UnknownMisbehaviour)?;
        match kind {
            "unavailable" => Ok(Misbehaviour::Unavailable(number)),
            "cut" => Ok(Misbehaviour::Cut(number)),
            "slow" => Ok(Misbehaviour::Slow(Duration::from_millis(number.into()))),
            "uncorrelated" => Ok(Misbehaviour::Uncorrelated(number)),
            _ => Err(UnknownMisbehaviour),
        }
    }
}

/// What is still to be done wrong.
#[derive(Debug, Default)]
pub(super) struct Mischief {
    unavailable: AtomicU32,
    cut: AtomicU32,
    uncorrelated: AtomicU32,
    reject: bool,
    slow: Duration,
}

impl Mischief {
    pub(super) fn new(told: &[Misbehaviour]) -> Mischief {
        let mut mischief = Mischief::default();
        for misbehaviour in told {
            match *misbehaviour {
                Misbehaviour::Unavailable(times) => mischief.unavailable = times.into(),
                Misbehaviour::Cut(times) => mischief.cut = times.into(),
                Misbehaviour::Uncorrelated(times) => mischief.uncorrelated = times.into(),
                Misbehaviour::Slow(wait) => mischief.slow = wait,
                Misbehaviour::Reject => mischief.reject = true,
            }
        }
        mischief
    }

    pub(super) fn unavailable(&self) -> bool {
        once_less(&self.unavailable)
    }

    pub(super) fn cut(&self) -> bool {
        once_less(&self.cut)
    }

    pub(super) fn uncorrelated(&self) -> bool {
        once_less(&self.uncorrelated)
    }

    pub(super) fn reject(&self) -> bool {
        self.reject
    }

    pub(super) fn slow(&self) -> Duration {
        self.slow
    }
}

/// Whether there was one left, which is now used up.
fn once_less(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misbehaviour_is_written_as_kind_and_number() {
        for (text, expected) in [
            ("unavailable:3", Misbehaviour::Unavailable(3)),
            ("cut:1", Misbehaviour::Cut(1)),
            ("slow:250", Misbehaviour::Slow(Duration::from_millis(250))),
            ("reject", Misbehaviour::Reject),
            ("uncorrelated:2", Misbehaviour::Uncorrelated(2)),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        for wrong in ["", "cut", "cut:", "cut:-1", "cut:x", "reject:1", "burn:1"] {
            assert_eq!(wrong.parse::<Misbehaviour>(), Err(UnknownMisbehaviour), "{wrong}");
        }
    }

    #[test]
    fn a_number_is_used_up() {
        let mischief = Mischief::new(&[Misbehaviour::Cut(2)]);
        assert_eq!([mischief.cut(), mischief.cut(), mischief.cut()], [true, true, false]);
        assert!(!mischief.unavailable() && !mischief.reject());
    }
}
