//! Bytes through the document parser, beside serde_json.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weir_fuzz::document(data));
