//! What the reference receiver can be told to do wrong.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One thing to do wrong, written as `unavailable:3`, `flap:5`, `cut:1`, `silent:1`, `slow:200`, `reject`, `unlisted` or `uncorrelated:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// `unavailable:N`: the first N messages get 503 with `Retry-After: 1`, and are not kept.
    Unavailable(u32),
    /// `flap:N`: of the messages that arrive, N get 503 with `Retry-After: 1` and are not kept, the next N are taken, and so on.
    Flap(u32),
    /// `cut:N`: the first N messages are kept, then the connection is cut without an answer.
    Cut(u32),
    /// `silent:N`: the first N messages are kept, and never answered.
    Silent(u32),
    /// `slow:MILLIS`: every answer waits so long.
    Slow(Duration),
    /// `reject`: every message gets 422, and is not kept.
    Reject,
    /// `unlisted`: it says that it takes bookings alone, and takes what comes all the same.
    Unlisted,
    /// `uncorrelated:N`: the first N messages are kept, and get an answer to another message.
    Uncorrelated(u32),
}

/// Text that names no misbehaviour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a misbehaviour: write unavailable:N, flap:N, cut:N, silent:N, slow:MILLISECONDS, reject, unlisted or uncorrelated:N"
)]
pub struct UnknownMisbehaviour;

impl FromStr for Misbehaviour {
    type Err = UnknownMisbehaviour;

    fn from_str(text: &str) -> Result<Misbehaviour, UnknownMisbehaviour> {
        if text == "reject" {
            return Ok(Misbehaviour::Reject);
        }
        if text == "unlisted" {
            return Ok(Misbehaviour::Unlisted);
        }
        let (kind, number) = text.split_once(':').ok_or(UnknownMisbehaviour)?;
        let number: u32 = number.parse().map_err(|_| UnknownMisbehaviour)?;
        match kind {
            "unavailable" => Ok(Misbehaviour::Unavailable(number)),
            "flap" if number > 0 => Ok(Misbehaviour::Flap(number)),
            "cut" => Ok(Misbehaviour::Cut(number)),
            "silent" => Ok(Misbehaviour::Silent(number)),
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
    /// How many messages at a time are refused, then taken; 0 for none.
    flap: u32,
    arrived: AtomicU32,
    cut: AtomicU32,
    silent: AtomicU32,
    uncorrelated: AtomicU32,
    reject: bool,
    unlisted: bool,
    slow: Duration,
}

impl Mischief {
    pub(super) fn new(told: &[Misbehaviour]) -> Mischief {
        let mut mischief = Mischief::default();
        for misbehaviour in told {
            match *misbehaviour {
                Misbehaviour::Unavailable(times) => mischief.unavailable = times.into(),
                Misbehaviour::Flap(times) => mischief.flap = times,
                Misbehaviour::Cut(times) => mischief.cut = times.into(),
                Misbehaviour::Silent(times) => mischief.silent = times.into(),
                Misbehaviour::Uncorrelated(times) => mischief.uncorrelated = times.into(),
                Misbehaviour::Slow(wait) => mischief.slow = wait,
                Misbehaviour::Reject => mischief.reject = true,
                Misbehaviour::Unlisted => mischief.unlisted = true,
            }
        }
        mischief
    }

    pub(super) fn unavailable(&self) -> bool {
        once_less(&self.unavailable) || self.flaps()
    }

    fn flaps(&self) -> bool {
        let turn = |flap| self.arrived.fetch_add(1, Ordering::Relaxed) / flap;
        std::num::NonZeroU32::new(self.flap).is_some_and(|flap| turn(flap) % 2 == 0)
    }

    pub(super) fn cut(&self) -> bool {
        once_less(&self.cut)
    }

    pub(super) fn silent(&self) -> bool {
        once_less(&self.silent)
    }

    pub(super) fn uncorrelated(&self) -> bool {
        once_less(&self.uncorrelated)
    }

    pub(super) fn reject(&self) -> bool {
        self.reject
    }

    pub(super) fn unlisted(&self) -> bool {
        self.unlisted
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
            ("flap:2", Misbehaviour::Flap(2)),
            ("cut:1", Misbehaviour::Cut(1)),
            ("silent:1", Misbehaviour::Silent(1)),
            ("slow:250", Misbehaviour::Slow(Duration::from_millis(250))),
            ("reject", Misbehaviour::Reject),
            ("unlisted", Misbehaviour::Unlisted),
            ("uncorrelated:2", Misbehaviour::Uncorrelated(2)),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        for wrong in ["", "cut", "flap:0", "cut:", "cut:-1", "cut:x", "reject:1", "burn:1"] {
            assert_eq!(wrong.parse::<Misbehaviour>(), Err(UnknownMisbehaviour), "{wrong}");
        }
    }

    #[test]
    fn a_number_is_used_up() {
        let mischief = Mischief::new(&[Misbehaviour::Cut(2)]);
        assert_eq!([mischief.cut(), mischief.cut(), mischief.cut()], [true, true, false]);
        assert!(!mischief.unavailable() && !mischief.reject());
        let mischief = Mischief::new(&[Misbehaviour::Flap(2)]);
        let turns: Vec<bool> = (0..6).map(|_| mischief.unavailable()).collect();
        assert_eq!(turns, [true, true, false, false, true, true]);
    }
}
