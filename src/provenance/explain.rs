//! A lineage as text for people: what left and whence, what was written here, what was held back and why.

use std::fmt::Write as _;

use super::lineage::{Left, Lineage};

/// The group of the rules that are Weir's own: each says that an element is missing, the last that something is.
const OWN: &str = "Weir";
const IS_MISSING: &str = " is missing";
const SOMETHING: &str = "something is missing";

/// Renders a lineage as a tree: entries, their elements, and behind each its field, rule and clause. What was held
/// back is counted, and listed for those who may see it.
pub fn explain(lineage: &Lineage, sees_withheld: bool) -> String {
    let mut text = String::new();
    let (agreement, map) = (&lineage.agreement, &lineage.map);
    line(&mut text, 0, format_args!("message {} over {}", lineage.message, lineage.interface));
    line(&mut text, 0, format_args!("map {}, sha-256 {}", map.id, map.sha_256));
    line(
        &mut text,
        0,
        format_args!("agreement {} version {}, sha-256 {}", agreement.id, agreement.version, agreement.sha_256),
    );
    for (index, clause) in lineage.clauses.iter().enumerate() {
        let (resource, category, reason) = (&clause.resource, &clause.category, &clause.reason);
        let to = match &*clause.generalised_to {
            "" => String::new(),
            to => format!(", generalised to {to}"),
        };
        line(&mut text, 1, format_args!("clause {index} {resource}, {category}{to}: {reason}"));
    }
    missing(&mut text, lineage);
    left(&mut text, lineage);
    line(&mut text, 0, format_args!("written by the gateway: {}", lineage.generated.len()));
    for path in &lineage.generated {
        line(&mut text, 1, format_args!("{path}"));
    }
    let count = lineage.withheld.len();
    if !sees_withheld {
        line(&mut text, 0, format_args!("held back: {count}, listed for those who may read-withheld"));
        return text;
    }
    line(&mut text, 0, format_args!("held back, by its place before disclosure: {count}"));
    for held in &lineage.withheld {
        let of = if held.resource.is_empty() { String::new() } else { format!(" ({})", held.resource) };
        line(&mut text, 1, format_args!("{}{of}: {}", held.path, held.why));
    }
    text
}

/// What the record lacked, as the Tasks that left say it.
fn missing(text: &mut String, lineage: &Lineage) {
    let left = |index: usize| lineage.left.iter().any(|row| row.rule.is_some_and(|rule| rule as usize == index));
    let own = lineage.rules.iter().enumerate().filter(|(_, rule)| rule.group == OWN && rule.rule != SOMETHING);
    let names = own.filter(|(index, _)| left(*index)).filter_map(|(_, rule)| rule.rule.strip_suffix(IS_MISSING));
    let names: Vec<&str> = names.collect();
    if !names.is_empty() {
        line(text, 0, format_args!("the record lacked, and a Task says so: {}", names.join(", ")));
    }
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
        line(text, 2, format_args!("{element} ← {}", whence(lineage, row)));
    }
}

/// `person.birthDate, rule Patient.birth (crisis.map:8), clause 3 identity`
fn whence(lineage: &Lineage, row: &Left) -> String {
    let mut parts = row.from.clone();
    if let Some(rule) = row.rule.and_then(|index| lineage.rules.get(index as usize)) {
        parts.push(format!("rule {}.{} ({}:{})", rule.group, rule.rule, rule.file, rule.line));
    }
    let clause = row.clause.and_then(|index| Some((index, lineage.clauses.get(index as usize)?)));
    parts.push(match clause {
        Some((index, clause)) => format!("clause {index} {}", clause.category),
        None => "frame of what is permitted".to_owned(),
    });
    parts.join(", ")
}

/// `Bundle.entry[2]` and `birthDate` for an element of an entry's resource.
fn split(path: &str) -> (&str, &str) {
    let Some(end) = path.strip_prefix("Bundle.entry[").and_then(|rest| rest.find("].")) else {
        return path.split_once('.').unwrap_or(("", path));
    };
    let (holder, element) = path.split_at(end + "Bundle.entry[".len() + 1);
    let element = element.trim_start_matches('.');
    (holder, element.strip_prefix("resource.").unwrap_or(element))
}

fn line(text: &mut String, level: usize, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{:width$}{content}", "", width = level * 2).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_its_entry() {
        for (path, split_up) in [
            ("Bundle.timestamp", ("Bundle", "timestamp")),
            ("Bundle.entry[12].fullUrl", ("Bundle.entry[12]", "fullUrl")),
            ("Bundle.entry[12].resource.name[0].family", ("Bundle.entry[12]", "name[0].family")),
        ] {
            assert_eq!(split(path), split_up);
        }
    }
}
