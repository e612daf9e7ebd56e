//! `--trace`: which rule made each value of a result from which field of the record.
//!
//! Invariant: a value of the record is shown only when `--values` asked for it.

use serde_json::{Value, json};

use super::conversion::Observation;
use super::failure::rule_json;
use super::output::Output;
use crate::mapping::{CompiledMap, LogLine, Rule, Traced, Untranslated, trace};

/// No column is padded beyond this.
const WIDEST: usize = 72;

/// Prints the trace of one record, `name` before it if there are several.
pub(super) fn show(map: &CompiledMap, observation: &Observation, name: Option<&str>, values: bool, output: &Output) {
    let rows = trace(&observation.record, &observation.made);
    let (log, untranslated) = (&observation.made.log, &observation.observed.untranslated);
    if output.is_json() {
        let elements: Vec<Value> = rows.iter().map(|row| json_of(map, observation, row, values)).collect();
        let log: Vec<Value> = log.iter().map(|line| log_json(map, line, values)).collect();
        let untranslated: Vec<Value> = untranslated.iter().map(|each| untranslated_json(map, each)).collect();
        output.json(&json!({ "record": name, "elements": elements, "untranslated": untranslated, "log": log }));
        return;
    }
    if let Some(name) = name {
        output.line(&format!("{name}:"));
    }
    let from = |row: &Traced| row.from.as_ref().map_or("(the record)", |path| path.as_str()).to_owned();
    let widest =
        |lengths: &mut dyn Iterator<Item = usize>| lengths.filter(|length| *length <= WIDEST).max().unwrap_or(0);
    let left = widest(&mut rows.iter().map(|row| row.path.as_str().chars().count()));
    let middle = widest(&mut rows.iter().map(|row| from(row).chars().count()));
    for row in &rows {
        let rule = map.rule(row.rule).map(rule_text).unwrap_or_default();
        let value = if values { format!(" = {}", value_of(observation, row)) } else { String::new() };
        output.line(&format!("{:left$} ← {:middle$} · {rule}{value}", row.path.as_str(), from(row)));
    }
    for each in untranslated {
        let rule = map.rule(each.rule).map(rule_text).unwrap_or_default();
        output.line(&format!("no translation ← {} by {} · {rule}", each.path.as_str(), each.concept_map));
    }
    for line in log {
        let rule = map.rule(line.rule).map(rule_text).unwrap_or_default();
        let text = if values { line.text.as_str() } else { "(shown with --values)" };
        output.line(&format!("log · {rule}: {text}"));
    }
}

/// `rule "family" Patient (crisis-escalation.map:120)`
pub(super) fn rule_text(rule: &Rule) -> String {
    format!("rule {:?} {} ({}:{})", rule.name, rule.group, rule.file, rule.line)
}

fn value_of<'o>(observation: &'o Observation, row: &Traced) -> &'o str {
    observation.made.document.node(row.node).map(|node| node.raw()).unwrap_or_default()
}

fn json_of(map: &CompiledMap, observation: &Observation, row: &Traced, values: bool) -> Value {
    let mut element = json!({
        "path": row.path.as_str(),
        "from": row.from.as_ref().map(|path| path.as_str()),
        "rule": map.rule(row.rule).map(rule_json),
    });
    if values {
        element["value"] = serde_json::from_str(value_of(observation, row)).unwrap_or_default();
    }
    element
}

fn untranslated_json(map: &CompiledMap, each: &Untranslated) -> Value {
    json!({
        "from": each.path.as_str(),
        "conceptMap": each.concept_map,
        "rule": map.rule(each.rule).map(rule_json),
    })
}

fn log_json(map: &CompiledMap, line: &LogLine, values: bool) -> Value {
    let mut log = json!({ "rule": map.rule(line.rule).map(rule_json) });
    if values {
        log["text"] = json!(line.text);
    }
    log
}
