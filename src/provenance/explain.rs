//! A lineage as text for people: what left and whence, what was written here, what was held back and why.

use std::fmt::Write as _;

use super::lineage::{Left, Lineage};

/// Renders a lineage as a tree: resources, their elements, and behind each its field, rule and clause.
pub fn explain(lineage: &Lineage) -> String {
    let mut text = String::new();
    line(&mut text, 0, format_args!("message {} over {}", lineage.message, lineage.interface));
    let agreement = &lineage.agreement;
    line(
        &mut text,
        0,
        format_args!("agreement {} version {}, sha-256 {}", agreement.id, agreement.version, agreement.sha_256),
    );
    line(&mut text, 0, format_args!("map {}, sha-256 {}", lineage.map.id, lineage.map.sha_256));
    left(&mut text, lineage);
    line(&mut text, 0, format_args!("written here: {}", lineage.generated.len()));
    for path in &lineage.generated {
        line(&mut text, 1, format_args!("{path}"));
    }
    line(&mut text, 0, format_args!("held back: {}", lineage.withheld.len()));
    for held in &lineage.withheld {
        let of = if held.resource.is_empty() { String::new() } else { format!(" ({})", held.resource) };
        line(&mut text, 1, format_args!("{}{of}: {}", held.path, held.why));
    }
    text
}

fn left(text: &mut String, lineage: &Lineage) {
    line(text, 0, format_args!("left: {}", lineage.left.len()));
    let mut open = "";
    for row in &lineage.left {
        let (holder, element) = split(&row.path);
        if holder != open {
            line(text, 1, format_args!("{holder}"));
            open = holder;
        }
        line(text, 2, format_args!("{element}{}", whence(lineage, row)));
    }
}

/// ` ← person.birthDate, rule patient.birthDate (crisis.map:8), clause 3 identity: whom to contact`
fn whence(lineage: &Lineage, row: &Left) -> String {
    let mut text = String::new();
    let mut add = |part: std::fmt::Arguments<'_>| {
        let between = if text.is_empty() { " ← " } else { ", " };
        write!(text, "{between}{part}").expect("writing to a String cannot fail");
    };
    if !row.from.is_empty() {
        add(format_args!("{}", row.from.join(" + ")));
    }
    if let Some(rule) = row.rule.and_then(|index| lineage.rules.get(index as usize)) {
        add(format_args!("rule {}.{} ({}:{})", rule.group, rule.rule, rule.file, rule.line));
    }
    match row.clause.and_then(|index| Some((index, lineage.clauses.get(index as usize)?))) {
        Some((index, clause)) => add(format_args!("clause {index} {}: {}", clause.category, clause.reason)),
        None => add(format_args!("frame of what is permitted")),
    }
    text
}

/// `Bundle.entry[2].resource` and `birthDate`.
fn split(path: &str) -> (&str, &str) {
    const RESOURCE: &str = ".resource.";
    match path.find(RESOURCE) {
        Some(at) => (&path[..at + RESOURCE.len() - 1], &path[at + RESOURCE.len()..]),
        None => path.split_once('.').unwrap_or(("", path)),
    }
}

fn line(text: &mut String, level: usize, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{:width$}{content}", "", width = level * 2).expect("writing to a String cannot fail");
}
