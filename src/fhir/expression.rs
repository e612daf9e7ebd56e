//! Where a node of a FHIR resource stands, as FHIRPath that evaluates to it: `Observation.value.ofType(Quantity).unit`.
//!
//! A choice element goes by its stem and the type that its spelling says; names that FHIRPath reads otherwise stand in
//! backticks. What R4 does not know goes by its own name.

use super::document::Node;
use super::names::NameId;
use super::path::ElementPath;
use super::r4::{TypeDef, schema};

/// Names that are operators or literals of FHIRPath (FHIRPath 2.0, grammar: keywords that are no identifier).
const KEYWORDS: &[&str] = &["and", "div", "false", "implies", "mod", "or", "true", "xor"];

/// An expression on its way down, and the type it has come to.
struct Descent {
    path: ElementPath,
    at: Option<&'static TypeDef>,
}

/// The expression of `node` below `root`.
pub(super) fn of(root: Node<'_>, node: Node<'_>) -> ElementPath {
    descend(root, node).path
}

/// The expression that the child `name` of `node` has, or would have; `value[x]` may go by its stem or by a type.
pub(super) fn of_child(root: Node<'_>, node: Node<'_>, name: &str) -> ElementPath {
    let mut descent = descend(root, node);
    descent.push(name);
    descent.path
}

fn descend(root: Node<'_>, node: Node<'_>) -> Descent {
    let def = root.resource_type().and_then(|name| schema().resource(name));
    let mut descent = Descent { path: ElementPath::root(), at: def };
    if let Some(def) = def {
        descent.path.push_name(def.name);
    }
    let mut at = root;
    while at.id() != node.id() {
        let inside = |child: &(usize, Node<'_>)| child.1.id() <= node.id() && node.id().index() < child.1.end_index();
        let Some((index, child)) = at.children().enumerate().find(inside) else { break };
        match child.name() {
            Some(name) => descent.push(&name),
            None => descent.path.push_index(index),
        }
        if descent.at.is_some_and(|def| def.name == "Resource") && child.is_object() {
            descent.at = child.resource_type().and_then(|name| schema().resource(name)).or(descent.at);
        }
        at = child;
    }
    descent
}

impl Descent {
    fn push(&mut self, key: &str) {
        let name = key.strip_prefix('_').unwrap_or(key);
        let Some((element, chosen)) = self.at.and_then(|def| def.element(NameId::of(name))) else {
            self.path.push_name(&quoted(name));
            self.at = None;
            return;
        };
        self.path.push_name(&quoted(element.stem));
        if element.is_choice {
            self.path.push_name(&format!("ofType({})", chosen.code));
        }
        self.at = schema().type_named(chosen.code);
    }
}

/// The name as an identifier of FHIRPath.
fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !KEYWORDS.contains(&name);
    match is_plain {
        true => name.to_owned(),
        false => format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Document, Limits};

    #[test]
    fn choices_go_by_their_stem_and_keywords_in_backticks() {
        let json = r#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation","valueQuantity":{"unit":"A"},
            "_issued":{"id":"B"},"text":{"div":"C"},"strange name":["D"],"component":[{"valueString":"E"}]}}]}"#;
        let document = Document::parse(json, &Limits::default()).expect("it is JSON");
        let of = |text: &str| {
            let node = document.nodes().find(|node| node.text().is_some_and(|own| own == text));
            node.expect("the text is there").expression().to_string()
        };
        let entry = "Bundle.entry[0].resource";
        assert_eq!(of("A"), format!("{entry}.value.ofType(Quantity).unit"));
        assert_eq!(of("B"), format!("{entry}.issued.id"));
        assert_eq!(of("C"), format!("{entry}.text.`div`"));
        assert_eq!(of("D"), format!("{entry}.`strange name`[0]"));
        assert_eq!(of("E"), format!("{entry}.component[0].value.ofType(string)"));
        let observation = document.nodes().find(|node| node.resource_type() == Some("Observation"));
        let child = |name| observation.expect("it is there").expression_of(name).to_string();
        assert_eq!(child("effective"), format!("{entry}.effective"));
        assert_eq!(child("effectivePeriod"), format!("{entry}.effective.ofType(Period)"));
        assert_eq!(super::super::ElementPath::new(of("A")).spelled(), format!("{entry}.valueQuantity.unit"));
        assert_eq!(super::super::ElementPath::new(of("C")).spelled(), format!("{entry}.text.div"));
    }
}
