//! Records through compiled maps.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use weir_fuzz::{maps, mutate};

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut words = vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.50",
        "1e400",
        "\"\"",
        "\"a\"",
        "\"2020-02-30\"",
        "\"\\ud83d\\ude00\"",
        "\"urn:uuid:x\"",
        "\"female\"",
        "\"name\":[{\"given\":[\"a\"]}]",
        "\"_name\"",
        "\"resourceType\":\"Patient\"",
        "\"extension\":[{\"url\":\"u\",\"valueString\":\"v\"}]",
        "\"given\":[\"a\",\"b\",\"c\"]",
        "\"home\":[{\"inner\":[{\"town\":[\"t\"]}]}]",
        "{\"a\":1}",
        "[[]]",
        "[null]",
        "99999999999999999999999999999999",
        "\"\\u0000\"",
    ];
    let keys = maps::words().into_iter().filter(|word| word.chars().all(|letter| letter.is_ascii_alphanumeric()));
    words.extend(keys.map(|word| &*Box::leak(format!("\"{word}\"").into_boxed_str())));
    words
});

fuzz_target!(|data: &[u8]| weir_fuzz::map_run(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let end = data[..size].iter().position(|&byte| byte == b'\n');
    match end.map(|end| (end, std::str::from_utf8(&data[end + 1..size]))) {
        Some((end, Ok(record))) if seed % 6 != 0 => {
            let mutated = mutate::mutate(record, &WORDS, seed);
            let length = mutated.floor_char_boundary(max_size.saturating_sub(end + 1));
            data[end + 1..end + 1 + length].copy_from_slice(&mutated.as_bytes()[..length]);
            end + 1 + length
        }
        // The line that names or decides the map.
        Some((end, _)) if seed % 12 == 0 && end > 1 => {
            data[(seed as usize / 12) % end] = (seed >> 16) as u8 | 0x20;
            size
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
