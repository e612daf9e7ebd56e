//! `--coverage`: what of the records, of their model and of the map was not used.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::conversion::Observation;
use super::failure::rule_json;
use super::output::Output;
use super::trace::rule_text;
use crate::mapping::{CompiledMap, Coverage, Report};

/// What a batch used, and what its results lack.
#[derive(Debug)]
pub(super) struct Used<'m> {
    coverage: Coverage<'m>,
    /// Required elements that are missing: in how many records, and the first of them.
    missing: BTreeMap<String, (usize, String)>,
}

impl<'m> Used<'m> {
    pub(super) fn new(map: &'m CompiledMap) -> Used<'m> {
        Used { coverage: Coverage::new(map), missing: BTreeMap::new() }
    }

    /// Adds a record, called `name`, whose result lacks the elements `missing`.
    pub(super) fn add(&mut self, name: &str, observation: &Observation, missing: &[String]) {
        self.coverage.add(name, &observation.record, &observation.observed, &observation.made);
        for path in missing {
            self.missing.entry(path.clone()).or_insert_with(|| (0, name.to_owned())).0 += 1;
        }
    }
}

/// Prints the report.
pub(super) fn show(map: &CompiledMap, used: &Used<'_>, output: &Output) {
    let report = used.coverage.report();
    if output.is_json() {
        output.json(&json_of(map, used, &report));
        return;
    }
    let records = report.records;
    output.line(&format!("coverage of {records} {}", if records == 1 { "record" } else { "records" }));
    let of = |count: usize, example: &str| format!("in {count} of {records}, first in {example}");
    let unread = report.unread.iter().map(|row| format!("{} · {}", row.path, of(row.records, &row.example)));
    section(output, "fields of the records that no rule read", unread);
    section(output, "fields of the logical model that no rule names", report.unnamed.iter().cloned());
    let idle = report.idle.iter().filter_map(|rule| map.rule(*rule)).map(rule_text);
    section(output, &format!("rules that never ran, of {}", report.rules), idle);
    let rule = |index: u32| map.rule(index).map(rule_text).unwrap_or_default();
    let unfilled = report.unfilled.iter().map(|row| format!("{} · {}", row.path, rule(row.rule)));
    section(output, "elements that the map can fill and never did", unfilled);
    let untranslated = report.untranslated.iter().map(|row| {
        let place = format!("{} by {} · {}", row.path, row.concept_map, rule(row.rule));
        format!("{place} · {}", of(row.records, &row.example))
    });
    section(output, "codes that a concept map has no translation for", untranslated);
    let missing = used.missing.iter().map(|(path, (count, example))| format!("{path} · {}", of(*count, example)));
    section(output, "elements that a profile requires and the results lack", missing);
}

fn section(output: &Output, title: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    output.line(&format!("\n{title}: {}", if rows.is_empty() { "none".to_owned() } else { rows.len().to_string() }));
    rows.iter().for_each(|row| output.line(&format!("  {row}")));
}

fn json_of(map: &CompiledMap, used: &Used<'_>, report: &Report) -> Value {
    let rule = |index: u32| map.rule(index).map(rule_json);
    let unread = report.unread.iter();
    let unread = unread.map(|row| with_records(json!({ "path": row.path }), row.records, &row.example));
    let unfilled = report.unfilled.iter().map(|row| json!({ "path": row.path, "rule": rule(row.rule) }));
    let untranslated = report.untranslated.iter().map(|row| {
        let place = json!({ "path": row.path, "conceptMap": row.concept_map, "rule": rule(row.rule) });
        with_records(place, row.records, &row.example)
    });
    let missing = used.missing.iter();
    let missing = missing.map(|(path, (records, example))| with_records(json!({ "path": path }), *records, example));
    json!({
        "records": report.records,
        "unreadFields": unread.collect::<Vec<_>>(),
        "unnamedFields": report.unnamed,
        "rules": report.rules,
        "idleRules": report.idle.iter().map(|index| rule(*index)).collect::<Vec<_>>(),
        "unfilledElements": unfilled.collect::<Vec<_>>(),
        "untranslatedCodes": untranslated.collect::<Vec<_>>(),
        "missingElements": missing.collect::<Vec<_>>(),
    })
}

fn with_records(mut row: Value, records: usize, example: &str) -> Value {
    row["records"] = json!(records);
    row["example"] = json!(example);
    row
}
