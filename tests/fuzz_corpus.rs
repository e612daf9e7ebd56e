//! Every input that the fuzz targets keep (`fuzz/corpus`), through the same checks, without a fuzzer.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[allow(dead_code, unreachable_pub, reason = "the fuzz targets use the rest of it")]
mod fuzz;

/// Replays the corpus of a target: how many inputs it has.
fn replay(target: &str, check: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs = fs::read_dir(folder).expect("the corpus is there").map(|entry| entry.expect("it can be read").path());
    let mut count = 0;
    for path in inputs {
        let input = fs::read(&path).expect("the input can be read");
        let passed = std::panic::catch_unwind(|| check(&input)).is_ok();
        assert!(passed, "{target} fails on {}", path.display());
        count += 1;
    }
    count
}

#[test]
fn maps_that_were_compiled() {
    assert!(replay("map_compile", fuzz::map_compile) > 50);
}

#[test]
fn records_that_were_mapped() {
    assert!(replay("map_run", fuzz::map_run) > 50);
}

#[test]
fn expressions_that_were_evaluated() {
    assert!(replay("fhirpath", fuzz::fhirpath) > 100);
}

#[test]
fn documents_that_were_parsed() {
    assert!(replay("document", fuzz::document) > 20);
}

#[test]
fn resources_that_were_validated() {
    assert!(replay("validate", fuzz::validation::validate) > 100);
}

#[test]
fn definitions_that_were_compiled() {
    assert!(replay("snapshot", fuzz::validation::snapshot) > 100);
}
