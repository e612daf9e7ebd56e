//! Expressions on documents.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use weir_fuzz::{maps, mutate};

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut words = maps::words();
    words.extend([
        "%resource",
        "%context",
        "%ucum",
        "now()",
        "today()",
        "'kg'",
        "1000000000000",
        "0.0000000001",
        "'1 day'",
        "'2020-01'",
    ]);
    words
});

fuzz_target!(|data: &[u8]| weir_fuzz::fhirpath(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match std::str::from_utf8(&data[..size]) {
        Ok(text) if seed % 6 != 0 => mutate::in_place(data, &mutate::mutate(text, &WORDS, seed), max_size),
        _ => fuzzer_mutate(data, size, max_size),
    }
});
