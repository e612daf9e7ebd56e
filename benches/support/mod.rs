//! What benches share: the sample, its map, and two sides timed in turns.

#![allow(dead_code, reason = "each bench includes it and uses a part of it")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use weir::config;
use weir::mapping::{CompiledMap, MapFile};

/// A file of this repository.
pub(crate) fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The record of the sample escalation.
pub(crate) fn record() -> String {
    read("demo/records/crisis-escalation-complete.json")
}

/// The map of the sample escalation.
pub(crate) fn map() -> CompiledMap {
    let definitions = config::definitions(&[]).expect("the built-in definitions are JSON");
    let files = ["crisis-escalation.map", "minimum-dataset.map"]
        .map(|name| MapFile { text: read(&format!("mappings/{name}")), name: name.to_owned() });
    CompiledMap::compile(&files, &definitions).expect("the built-in map compiles")
}

/// Turns of each side, and runs in a turn.
const TURNS: usize = 200;
const RUNS: u32 = 20;

/// Runs two sides in turns, and prints the least and the median of each with their ratios. On a machine whose speed
/// drifts, a ratio of two figures that were taken one after the other says little.
#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
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
