//! A StructureMap resource in the mapping language: what other tools compiled from a map is a map again.
//!
//! Enters: a StructureMap of R4 or R5 as JSON. Leaves: FML text, which the compiler reads like any other; faults then
//! point into this text. What stands in the resource and has no words in the language is left out: documentation,
//! metadata besides the URL, `contextType`.

use std::fmt::Write as _;

use crate::fhir::{Document, Node};

/// The text of a map that was given as a resource; `None` if the document is no StructureMap.
pub(super) fn as_fml(resource: &Document) -> Option<String> {
    let map = resource.root();
    if map.resource_type() != Some("StructureMap") {
        return None;
    }
    let mut out = String::new();
    let _ = writeln!(out, "map {} = {}", quoted(&text(map, "url")), quoted(&text(map, "name")));
    map.items_of("contained").filter(|each| each.resource_type() == Some("ConceptMap")).for_each(|each| {
        concept_map(each, &mut out);
    });
    for structure in map.items_of("structure") {
        let alias = optional(structure, "alias").map_or(String::new(), |alias| format!(" alias {}", name(&alias)));
        let _ = writeln!(out, "uses {}{alias} as {}", quoted(&text(structure, "url")), text(structure, "mode"));
    }
    map.items_of("import").filter_map(Node::text).for_each(|url| {
        let _ = writeln!(out, "imports {}", quoted(&url));
    });
    for constant in map.items_of("const") {
        let _ = writeln!(out, "let {} = {};", name(&text(constant, "name")), text(constant, "value"));
    }
    map.items_of("group").for_each(|each| group(each, &mut out));
    Some(out)
}

fn concept_map(map: Node<'_>, out: &mut String) {
    let _ = writeln!(out, "conceptmap {} {{", quoted(&format!("#{}", text(map, "id"))));
    let groups: Vec<Node<'_>> = map.items_of("group").collect();
    for (index, group) in groups.iter().enumerate() {
        let _ = writeln!(out, "  prefix s{index} = {}", quoted(&text(*group, "source")));
        let _ = writeln!(out, "  prefix t{index} = {}", quoted(&text(*group, "target")));
        if let Some(mode) = group.member("unmapped").and_then(|unmapped| optional(unmapped, "mode")) {
            let mode = if mode == "use-source-code" { "provided" } else { &mode };
            let _ = writeln!(out, "  unmapped for s{index} = {}", name(mode));
        }
    }
    for (index, group) in groups.iter().enumerate() {
        for element in group.items_of("element") {
            for target in element.items_of("target") {
                let (from, to) = (quoted(&text(element, "code")), quoted(&text(target, "code")));
                let _ = writeln!(out, "  s{index}:{from} {} t{index}:{to}", relation(target));
            }
        }
    }
    out.push_str("}\n");
}

fn relation(target: Node<'_>) -> &'static str {
    let word = optional(target, "relationship").or_else(|| optional(target, "equivalence"));
    match word.as_deref() {
        Some("equivalent" | "equal") => "==",
        Some("wider" | "subsumes" | "source-is-narrower-than-target") => "<=",
        Some("narrower" | "specializes" | "source-is-broader-than-target") => ">=",
        Some("unmatched" | "disjoint" | "not-related-to") => "!=",
        _ => "-",
    }
}

fn group(group: Node<'_>, out: &mut String) {
    let inputs: Vec<String> = group
        .items_of("input")
        .map(|input| {
            let ty = optional(input, "type").map_or(String::new(), |ty| format!(" : {}", type_name(&ty)));
            format!("{} {}{ty}", text(input, "mode"), name(&text(input, "name")))
        })
        .collect();
    let extends = optional(group, "extends").map_or(String::new(), |base| format!(" extends {}", name(&base)));
    let mode = match optional(group, "typeMode").as_deref() {
        Some("types") => " <<types>>",
        Some("type-and-types") => " <<type+>>",
        _ => "",
    };
    let _ = writeln!(out, "group {}({}){extends}{mode} {{", name(&text(group, "name")), inputs.join(", "));
    group.items_of("rule").for_each(|each| rule(each, 1, out));
    out.push_str("}\n");
}

fn rule(rule: Node<'_>, depth: usize, out: &mut String) {
    let margin = "  ".repeat(depth);
    let copies = copies_by_type(rule);
    let sources: Vec<String> = rule.items_of("source").map(|each| source(each, copies)).collect();
    let targets: Vec<String> = rule.items_of("target").map(|each| target(each, copies)).collect();
    out.push_str(&margin);
    out.push_str(&sources.join(", "));
    if !targets.is_empty() {
        out.push_str(" -> ");
        out.push_str(&targets.join(", "));
    }
    let calls: Vec<String> = rule.items_of("dependent").map(call).collect();
    let nested: Vec<Node<'_>> = rule.items_of("rule").collect();
    if !calls.is_empty() || !nested.is_empty() {
        out.push_str(" then ");
        out.push_str(&calls.join(", "));
    }
    if !nested.is_empty() {
        out.push_str(if calls.is_empty() { "{\n" } else { " {\n" });
        nested.into_iter().for_each(|each| self::rule(each, depth + 1, out));
        out.push_str(&margin);
        out.push('}');
    }
    if let Some(name) = optional(rule, "name") {
        let _ = write!(out, " \"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    out.push_str(";\n");
}

/// Whether the rule is what `source.a -> target.b` becomes: one source and one target, which only make each other.
fn copies_by_type(rule: Node<'_>) -> bool {
    let (mut sources, mut targets) = (rule.items_of("source"), rule.items_of("target"));
    let (Some(source), None, Some(target), None) = (sources.next(), sources.next(), targets.next(), targets.next())
    else {
        return false;
    };
    let alone = ["rule", "dependent"].iter().all(|part| rule.member(part).is_none());
    let same = optional(source, "variable").is_some_and(|known| Some(known) == optional(target, "variable"));
    alone && same && text(target, "transform") == "create" && target.member("parameter").is_none()
}

fn source(source: Node<'_>, copies: bool) -> String {
    let mut out = name(&text(source, "context"));
    if let Some(element) = optional(source, "element") {
        let _ = write!(out, ".{}", name(&element));
    }
    if let Some(ty) = optional(source, "type") {
        let _ = write!(out, " : {}", type_name(&ty));
    }
    let scalar = |name: &str| source.member(name).and_then(Node::scalar);
    if let (Some(min), Some(max)) = (scalar("min"), scalar("max")) {
        let _ = write!(out, " {min}..{max}");
    }
    let default = source.children().find(|child| child.name().is_some_and(|name| name.starts_with("defaultValue")));
    if let Some(default) = default {
        let _ = write!(out, " default ({})", literal(default));
    }
    if let Some(mode) = optional(source, "listMode") {
        let _ = write!(out, " {mode}");
    }
    if let Some(variable) = optional(source, "variable").filter(|_| !copies) {
        let _ = write!(out, " as {}", name(&variable));
    }
    for (member, word) in [("condition", "where"), ("check", "check"), ("logMessage", "log")] {
        if let Some(expression) = optional(source, member) {
            let _ = write!(out, " {word} ({expression})");
        }
    }
    out
}

fn target(target: Node<'_>, copies: bool) -> String {
    let mut out = optional(target, "context").map_or(String::new(), |context| name(&context));
    if let Some(element) = optional(target, "element") {
        let _ = write!(out, ".{}", name(&element));
    }
    if copies {
        return out;
    }
    if let Some(transform) = optional(target, "transform") {
        let equals = if out.is_empty() { "" } else { " = " };
        let _ = write!(out, "{equals}{}", value(target, &transform));
    }
    if let Some(variable) = optional(target, "variable") {
        let _ = write!(out, " as {}", name(&variable));
    }
    for mode in target.items_of("listMode").filter_map(Node::text) {
        let _ = write!(out, " {mode}");
        if let Some(id) = optional(target, "listRuleId").filter(|_| mode == "share") {
            let _ = write!(out, " {}", name(&id));
        }
    }
    out
}

fn value(target: Node<'_>, transform: &str) -> String {
    let mut parameters: Vec<String> = target.items_of("parameter").map(parameter).collect();
    let expression = target.items_of("parameter").last().and_then(|last| optional(last, "valueString"));
    match (transform, expression) {
        ("evaluate", Some(expression)) if parameters.len() == 1 => format!("({expression})"),
        ("evaluate", Some(expression)) => {
            parameters.pop();
            format!("evaluate({}, {expression})", parameters.join(", "))
        }
        ("copy", _) if parameters.len() == 1 => parameters.remove(0),
        _ => format!("{transform}({})", parameters.join(", ")),
    }
}

fn call(dependent: Node<'_>) -> String {
    let variables = dependent.items_of("variable").filter_map(Node::text).map(|variable| name(&variable));
    let arguments: Vec<String> = variables.chain(dependent.items_of("parameter").map(parameter)).collect();
    format!("{}({})", name(&text(dependent, "name")), arguments.join(", "))
}

fn parameter(parameter: Node<'_>) -> String {
    match optional(parameter, "valueId") {
        Some(path) => path.split('.').map(name).collect::<Vec<_>>().join("."),
        None => parameter.children().next().map_or(String::new(), literal),
    }
}

/// A value as a literal: strings in quotes, numbers and booleans as they are.
fn literal(value: Node<'_>) -> String {
    match value.text() {
        Some(text) => quoted(&text),
        None => value.scalar().unwrap_or_default().into_owned(),
    }
}

fn quoted(text: &str) -> String {
    fml_syntax::quote_fhirpath_string(text)
}

/// A type: a name, or a URL in quotes.
fn type_name(ty: &str) -> String {
    if ty.contains([':', '/']) { quoted(ty) } else { ty.to_owned() }
}

/// A name as the language writes it, between backticks if it is no plain one.
fn name(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if plain { name.to_owned() } else { format!("`{}`", name.replace('`', "\\`")) }
}

fn optional(node: Node<'_>, name: &str) -> Option<String> {
    node.member(name)?.text().map(std::borrow::Cow::into_owned)
}

fn text(node: Node<'_>, name: &str) -> String {
    optional(node, name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;

    #[test]
    fn a_resource_becomes_the_text_it_was_compiled_from() {
        let resource = r##"{"resourceType":"StructureMap","url":"http://x/m","name":"m","contained":[{"resourceType":"ConceptMap","id":"c",
            "group":[{"source":"s","target":"t","element":[{"code":"a-b","target":[{"code":"A","equivalence":"equal"}]}]}]}],
            "structure":[{"url":"http://x/A","mode":"source","alias":"A"}],"import":["http://x/*"],
            "group":[{"name":"g","extends":"h","typeMode":"types","input":[{"name":"s","type":"A","mode":"source"},{"name":"t","mode":"target"}],
            "rule":[{"name":"copy","source":[{"context":"s","element":"a","variable":"vvv"}],
              "target":[{"context":"t","element":"b","variable":"vvv","transform":"create"}]},
             {"name":"all \"it\"","source":[{"context":"s","element":"a","type":"string","min":0,"max":"1","defaultValueString":"x","listMode":"first",
               "variable":"v","condition":"$this = 'y'","check":"true","logMessage":"$this"}],
              "target":[{"context":"t","element":"c","variable":"w","listMode":["share"],"listRuleId":"id"},
                {"context":"w","element":"d","transform":"truncate","parameter":[{"valueId":"v"},{"valueInteger":3}]},
                {"context":"w","element":"e","transform":"evaluate","parameter":[{"valueString":"v + 'z'"}]}],
              "rule":[{"name":"inner","source":[{"context":"v"}],"dependent":[{"name":"g","variable":["v","w"]}]}]}]}]}"##;
        let document = Document::parse(resource, &Limits::default()).expect("it is JSON");
        let expected = r#"map 'http://x/m' = 'm'
conceptmap '#c' {
  prefix s0 = 's'
  prefix t0 = 't'
  s0:'a-b' == t0:'A'
}
uses 'http://x/A' alias A as source
imports 'http://x/*'
group g(source s : A, target t) extends h <<types>> {
  s.a -> t.b "copy";
  s.a : string 0..1 default ('x') first as v where ($this = 'y') check (true) log ($this) -> t.c as w share id, w.d = truncate(v, 3), w.e = (v + 'z') then {
    v then g(v, w) "inner";
  } "all \"it\"";
}
"#;
        let found = as_fml(&document).expect("it is a StructureMap");
        assert_eq!(found, expected);
        assert!(
            !fml_syntax::parse(&found).diagnostics().iter().any(|each| each.severity == fml_syntax::Severity::Error)
        );
        assert!(as_fml(&Document::parse("{}", &Limits::default()).expect("it is JSON")).is_none());
    }
}
