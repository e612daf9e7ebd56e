//! Resources through the validator.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use weir_fuzz::{mutate, validation};

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(validation::resource_words);

fuzz_target!(|data: &[u8]| validation::validate(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match std::str::from_utf8(&data[..size]) {
        Ok(text) if seed % 10 != 0 => mutate::in_place(data, &validation::mutate(text, &WORDS, seed), max_size),
        _ => fuzzer_mutate(data, size, max_size),
    }
});
