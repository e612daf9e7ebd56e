//! Mutants of the demo's Bundles and of their resources: what must be wrong is refused where it is wrong, the verdicts by
//! kind of fault are those of `golden/mutants.tsv`, and nothing panics.
//!
//! With `WEIR_MUTANTS=FOLDER` and `WEIR_MUTANTS_COUNT=NUMBER` the mutants are also written to files, to be given to
//! another validator.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;
use weir::fhir::outcome::Issue;
use weir::fhir::{Document, Limits};
use weir::validation::Validator;

#[path = "support/mutants.rs"]
mod mutants;
#[path = "support/samples.rs"]
mod samples;

use mutants::{Mutant, mutants as mutants_of};

const SEED: u64 = 20_261_122;

fn parse(bytes: &[u8]) -> Document {
    Document::parse(bytes, &Limits::default()).expect("it is JSON")
}

/// The resources of a Bundle, to stand alone.
fn resources(bundle: &Json) -> impl Iterator<Item = Json> {
    bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone())
}

/// Whether an error is at the edited element, below it, or at its parent.
fn names(own: &str, path: &str) -> bool {
    let whole = path.rsplit_once(".ofType(").filter(|(_, rest)| !rest.contains('.')).map_or(path, |(stem, _)| stem);
    let parent = whole.rsplit_once('.').map_or("", |(parent, _)| parent);
    own.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])) || own == parent
}

fn check(validator: &Validator, mutant: &Mutant) -> bool {
    let text = mutant.json.to_string();
    let issues = validator.check_document(&parse(text.as_bytes()), None);
    let errors: Vec<&Issue> = issues.iter().filter(|issue| issue.is_error()).collect();
    let path = |issue: &Issue| issue.path.as_ref().map(ToString::to_string).unwrap_or_default();
    let is_named = errors.iter().any(|error| names(&path(error), &mutant.path));
    assert!(!mutant.is_wrong || is_named, "{} at {}: {errors:#?}", mutant.kind, mutant.path);
    for error in &errors {
        assert!(!error.rule.is_empty() && error.position.is_some(), "{error:?}");
    }
    !errors.is_empty()
}

/// Writes the mutants to files, if somebody asks for them.
fn write(mutants: &[Mutant], name: &str) {
    let Some(folder) = std::env::var_os("WEIR_MUTANTS").map(PathBuf::from) else { return };
    fs::create_dir_all(&folder).expect("the folder can be made");
    for (number, mutant) in mutants.iter().enumerate() {
        let file = format!("{name}-{number:05}-{}-{}.json", mutant.kind, mutant.element);
        fs::write(folder.join(file), mutant.json.to_string()).expect("the file can be written");
    }
}

#[test]
fn mutants_are_refused_where_they_are_wrong() {
    let validator = Validator::compile(&samples::documents("profiles")).expect("the profiles compile");
    let json = |bundle: &Document| serde_json::from_str(bundle.source()).expect("it is JSON");
    let bundles: Vec<Json> = samples::bundles().iter().map(json).collect();
    let alone: Vec<Json> = bundles.iter().flat_map(resources).collect();
    for sample in bundles.iter().chain(&alone) {
        let issues = validator.check_document(&parse(sample.to_string().as_bytes()), None);
        assert!(!issues.iter().any(Issue::is_error), "{}: {issues:#?}", sample["resourceType"]);
    }
    let asked = std::env::var("WEIR_MUTANTS_COUNT").ok().and_then(|text| text.parse::<usize>().ok());
    let mut verdicts: BTreeMap<(&str, &str), [usize; 2]> = BTreeMap::new();
    for (name, samples, count) in [("bundle", &bundles, 160), ("resource", &alone, 1000)] {
        let mutants = mutants_of(samples, SEED, asked.unwrap_or(count));
        write(&mutants, name);
        for mutant in &mutants {
            let refused = check(&validator, mutant);
            verdicts.entry((name, mutant.kind)).or_default()[usize::from(refused)] += 1;
        }
    }
    let verdict = |counts: &[usize; 2]| match counts {
        [_, 0] => "passes",
        [0, _] => "refused",
        _ => "both",
    };
    let rows = verdicts.iter().map(|((name, kind), counts)| format!("{name}\t{kind}\t{}\n", verdict(counts)));
    let table: String = rows.collect();
    let golden = include_str!("golden/mutants.tsv");
    assert!(asked.is_some() || table == golden, "the verdicts are no longer those of golden/mutants.tsv:\n{table}");
}

#[test]
fn the_same_seed_makes_the_same_mutants() {
    let samples =
        [serde_json::json!({"resourceType": "Patient", "id": "a", "gender": "male", "name": [{"family": "A"}]})];
    let of = |seed| mutants_of(&samples, seed, 50).iter().map(|each| each.json.to_string()).collect::<Vec<_>>();
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}
