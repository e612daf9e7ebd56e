//! What benches share.

use std::time::{Duration, Instant};

/// Turns of each side, and runs in a turn.
const TURNS: usize = 200;
const RUNS: u32 = 20;

/// Runs two sides in turns, and prints the least and the median of each with their ratios. On a machine whose speed
/// drifts, a ratio of two figures that were taken one after the other says little.
pub(crate) fn in_turns(yardstick: (&str, &mut dyn FnMut()), side: (&str, &mut dyn FnMut())) {
    let (mut base, mut own) = (Vec::with_capacity(TURNS), Vec::with_capacity(TURNS));
    for _ in 0..TURNS {
        base.push(turn(yardstick.1));
        own.push(turn(side.1));
    }
    let [(base_least, base_median), (own_least, own_median)] = [base, own].map(least_and_median);
    println!("in turns, {TURNS} of {RUNS} runs each, least and median:");
    println!("  {}: {base_least:?}, {base_median:?}", yardstick.0);
    println!("  {}: {own_least:?}, {own_median:?}", side.0);
    let ratio = |own: Duration, base: Duration| own.as_secs_f64() / base.as_secs_f64();
    println!("  ratio: {:.2}, {:.2}", ratio(own_least, base_least), ratio(own_median, base_median));
}

fn turn(side: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    (0..RUNS).for_each(|_| side());
    start.elapsed() / RUNS
}

fn least_and_median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[0], times[times.len() / 2])
}
