//! Map text, or decisions for a made-up map, through the compiler.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use weir_fuzz::{MADE_UP, maps, mutate};

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(maps::words);

fuzz_target!(|data: &[u8]| weir_fuzz::map_compile(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match std::str::from_utf8(&data[..size]) {
        Ok(text) if size > 0 && data[0] != MADE_UP && seed % 8 != 0 => {
            mutate::in_place(data, &mutate::mutate(text, &WORDS, seed), max_size)
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
