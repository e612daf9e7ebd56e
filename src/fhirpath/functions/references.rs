//! What FHIR R4 adds to FHIRPath (R4, fhirpath.html, 2.9.1.2): extensions, values, references, narrative.

use super::{Arguments, Called, one, truth};
use crate::fhir::r4::schema;
use crate::fhir::snapshot::R4;
use crate::fhir::{Kind, Node};
use crate::fhirpath::error::Fault;
use crate::fhirpath::function::Function;
use crate::fhirpath::item::{Item, Items, Value};
use crate::fhirpath::types::children;

/// Whether `function` is one of these.
pub(super) fn has(function: Function) -> bool {
    use Function as F;
    let asks = matches!(function, F::ConformsTo | F::MemberOf);
    asks || matches!(function, F::Extension | F::HasValue | F::GetValue | F::Resolve | F::HtmlChecks)
}

pub(super) fn call<'a>(arguments: &mut Arguments<'_, '_, 'a>, input: Items<'a>) -> Called<Items<'a>> {
    match arguments.function() {
        Function::Extension => extension(arguments, &input),
        Function::HasValue => Ok(truth(matches!(&input[..], [item] if has_value(item)))),
        Function::GetValue => match &input[..] {
            [item] if has_value(item) => Ok(one(item.value())),
            _ => Ok(Items::new()),
        },
        Function::Resolve => resolve(arguments, &input),
        Function::ConformsTo => conforms_to(arguments, &input),
        Function::MemberOf => member_of(arguments, &input),
        _ => Ok(truth(input.iter().all(narrative_is_safe))),
    }
}

/// Whether a primitive has a value, not only extensions.
pub(crate) fn has_value(item: &Item<'_>) -> bool {
    match item {
        Item::Element(element) => {
            element.is_primitive()
                && element
                    .value()
                    .is_some_and(|node| matches!(node.kind(), Kind::String | Kind::Number | Kind::Boolean))
        }
        Item::Value(_) => true,
    }
}

fn extension<'a>(arguments: &Arguments<'_, '_, 'a>, input: &[Item<'a>]) -> Called<Items<'a>> {
    let Some(url) = arguments.text(0)? else { return Ok(Items::new()) };
    let mut found = Items::new();
    for item in input {
        let mut all = Items::new();
        children(item, &mut all, usize::MAX);
        let wanted = |item: &Item<'a>| {
            let is_extension = item.as_element().and_then(|element| element.type_def());
            is_extension.is_some_and(|type_def| type_def.name == "Extension")
                && item.node().and_then(|node| node.member("url")?.text()).is_some_and(|own| own == url)
        };
        found.extend(all.into_iter().filter(wanted));
    }
    Ok(found)
}

fn resolve<'a>(arguments: &Arguments<'_, '_, 'a>, input: &[Item<'a>]) -> Called<Items<'a>> {
    let mut found = Items::new();
    for item in input {
        let reference = match item.node().filter(|node| node.is_object()) {
            Some(node) => node.member("reference").and_then(Node::text),
            None => item.as_text(),
        };
        let Some(reference) = reference else { continue };
        let resource = arguments.evaluator.resource();
        let root = arguments.evaluator.root_resource();
        let target = match reference.strip_prefix('#') {
            Some(id) => [resource, root].into_iter().flatten().find_map(|within| contained(&within, id)),
            None => match root.and_then(|root| root.node()) {
                Some(root) => in_bundle(arguments, root, &reference)?,
                None => None,
            },
        };
        found.extend(target);
    }
    Ok(found)
}

fn resource_item<'a>(node: Node<'a>) -> Item<'a> {
    Item::of_node(node, node.resource_type().and_then(|name| schema().resource(name)))
}

/// The contained resource `id`; the container itself for `#`.
fn contained<'a>(within: &Item<'a>, id: &str) -> Option<Item<'a>> {
    if id.is_empty() {
        return Some(within.clone());
    }
    let contained = within.node()?.member("contained")?;
    contained
        .children()
        .find(|node| node.member("id").and_then(Node::text).is_some_and(|own| own == id))
        .map(resource_item)
}

/// The entry whose `fullUrl` or whose type and id the reference gives.
fn in_bundle<'a>(arguments: &Arguments<'_, '_, 'a>, root: Node<'a>, reference: &str) -> Called<Option<Item<'a>>> {
    let Some(entries) = root.member("entry") else { return Ok(None) };
    let reference = reference.split("/_history/").next().unwrap_or(reference);
    let relative = reference.split_once('/').filter(|(_, id)| !id.contains('/') && !reference.contains(':'));
    for entry in entries.children() {
        arguments.evaluator.charge(1)?;
        let Some(resource) = entry.member("resource") else { continue };
        let full_url = entry.member("fullUrl").and_then(Node::text);
        let by_url = full_url.is_some_and(|url| url == reference);
        let by_id = || {
            relative.is_some_and(|(type_name, id)| {
                resource.resource_type() == Some(type_name)
                    && resource.member("id").and_then(Node::text).is_some_and(|own| own == id)
            })
        };
        if by_url || by_id() {
            return Ok(Some(resource_item(resource)));
        }
    }
    Ok(None)
}

/// A base definition is conformed to by its type and those that specialise it; whether the content is right, the
/// validator says of every element anyway. Other profiles need the validator.
fn conforms_to<'a>(arguments: &Arguments<'_, '_, 'a>, input: &[Item<'a>]) -> Called<Items<'a>> {
    let Some(url) = arguments.text(0)? else { return Ok(Items::new()) };
    let type_def = match input {
        [] => return Ok(Items::new()),
        [item] => item.as_element().and_then(|element| element.type_def()),
        _ => return Err(Fault::NotSingleton.into()),
    };
    let base = url.strip_prefix(R4).and_then(|name| schema().type_named(name));
    match (base, type_def) {
        (Some(base), Some(own)) => Ok(truth(schema().is_a(own.name, base.name))),
        _ => {
            let element = input.first().and_then(Item::as_element);
            let answer = arguments.evaluator.environment.knowledge.zip(element);
            match answer.and_then(|(knowledge, element)| knowledge.conforms(element, &url)) {
                Some(conforms) => Ok(truth(conforms)),
                None => Err(Fault::NotSupported("conformsTo() of a profile that is not loaded").into()),
            }
        }
    }
}

/// Whether a code, a Coding or one of the codings of a CodeableConcept is in the value set (FHIR R4, fhirpath.html).
fn member_of<'a>(arguments: &Arguments<'_, '_, 'a>, input: &[Item<'a>]) -> Called<Items<'a>> {
    const UNKNOWN: Fault = Fault::NotSupported("memberOf() of a value set whose codes are not loaded");
    let Some(url) = arguments.text(0)? else { return Ok(Items::new()) };
    let item = match input {
        [] => return Ok(Items::new()),
        [item] => item,
        _ => return Err(Fault::NotSingleton.into()),
    };
    let knowledge = arguments.evaluator.environment.knowledge.ok_or(UNKNOWN)?;
    let coded = |node: Node<'a>| {
        let code = node.member("code")?.text()?;
        let system = node.member("system").and_then(Node::text);
        knowledge.is_member(&url, system.as_deref(), &code)
    };
    let answer = match item.node().filter(|node| node.is_object()) {
        None => knowledge.is_member(&url, None, &item.as_text().ok_or(Fault::WrongType("memberOf"))?),
        Some(node) => match node.member("coding") {
            None => coded(node),
            Some(codings) => {
                let answers: Vec<Option<bool>> = codings.items().map(coded).collect();
                let unknown = answers.contains(&None);
                let found = answers.contains(&Some(true));
                (found || !unknown).then_some(found)
            }
        },
    };
    Ok(truth(answer.ok_or(UNKNOWN)?))
}

/// Elements that narrative may not hold (R4, narrative.html, 2.4.1), nor any attribute that runs a script.
fn narrative_is_safe(item: &Item<'_>) -> bool {
    const FORBIDDEN: [&str; 12] = [
        "<script", "<head", "<body", "<base", "<link", "<iframe", "<form", "<object", "<embed", "<style", "<frame",
        "<input",
    ];
    let Some(Value::String(text)) = item.value() else { return false };
    let text = text.trim().to_ascii_lowercase();
    let scripted = text.contains("javascript:")
        || text.split('<').skip(1).any(|tag| {
            let inside = tag.split('>').next().unwrap_or_default();
            inside.split_whitespace().skip(1).any(|word| word.starts_with("on") && word.contains('='))
        });
    let has_text = {
        let mut inside = false;
        text.chars().any(|letter| {
            match letter {
                '<' => inside = true,
                '>' => inside = false,
                _ => return !inside && !letter.is_whitespace(),
            }
            false
        })
    };
    text.starts_with("<div")
        && text.ends_with("</div>")
        && !scripted
        && (has_text || text.contains("<img"))
        && !FORBIDDEN.iter().any(|tag| text.contains(tag))
}
