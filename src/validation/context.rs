//! Where an extension may stand: the contexts of its definition (R4 defining-extensions.html#context).
//!
//! An element by its path or type, another extension by its URL, or the elements that a FHIRPath expression selects from
//! the resource. One context that fits is enough.

use std::collections::HashSet;

use super::walk::{Scope, Walk};
use crate::fhir::definitions::StructureDefinition;
use crate::fhir::outcome::IssueType;
use crate::fhir::r4::{TypeDef, schema};
use crate::fhir::{Node, NodeId, keys};
use crate::fhirpath::{Environment, Expression, Item};

/// A context of an extension.
#[derive(Debug)]
pub(super) struct Context {
    kind: Kind,
    /// As the definition has it.
    text: Box<str>,
}

#[derive(Debug)]
enum Kind {
    /// A path or a type.
    Element,
    /// The URL of an extension; behind `#` the name of a part of it.
    Extension,
    /// What it selects.
    Path(Expression),
    /// An expression that cannot be evaluated, or a kind of later versions: it fits anywhere.
    Unknown,
}

impl Context {
    /// The element at this path, or of this type.
    pub(super) fn element(path: &str) -> Context {
        Context { kind: Kind::Element, text: path.into() }
    }

    /// Those of a definition.
    pub(super) fn of(structure: &StructureDefinition) -> Vec<Context> {
        let one = |(kind, text): &(String, String)| {
            let kind = match kind.as_str() {
                "element" => Kind::Element,
                "extension" => Kind::Extension,
                "fhirpath" => {
                    let expression = Expression::parse(text).ok().filter(|each| each.unsupported().is_none());
                    expression.map_or(Kind::Unknown, Kind::Path)
                }
                _ => Kind::Unknown,
            };
            Context { kind, text: text.as_str().into() }
        };
        structure.contexts.iter().map(one).collect()
    }

    /// What of it is not checked.
    pub(super) fn note(&self) -> Option<String> {
        let is_unknown = matches!(self.kind, Kind::Unknown);
        is_unknown.then(|| format!("the context {} cannot be evaluated, and is not checked", self.text))
    }
}

impl<'a> Walk<'a> {
    /// Checks that an extension of this profile may stand on an element of the type `host`, at this path.
    pub(super) fn context(
        &mut self,
        node: Node<'a>,
        (host, parent): (&'static TypeDef, Node<'a>),
        at: &'static str,
        profile: &str,
        scope: &Scope<'a>,
    ) {
        let validator = self.validator;
        let contexts = validator.contexts(profile);
        let mut stands = |context: &'a Context| match &context.kind {
            Kind::Element => {
                let place = &*context.text;
                place == at || place == "Element" || schema().is_a(host.name, place) || is_type_at(at, place)
            }
            Kind::Extension => host.name == "Extension" && is_of_extension(parent, &context.text),
            Kind::Path(expression) => self.selects(expression, parent, scope),
            Kind::Unknown => true,
        };
        if !contexts.is_empty() && !contexts.iter().any(&mut stands) {
            let places = contexts.iter().map(|context| &*context.text).collect::<Vec<_>>().join(", ");
            let text = format!("the extension stands on {at}: {places} expected");
            self.error(IssueType::Extension, node, profile, text, "move it to where it is defined for");
        }
    }

    /// Whether the expression selects the element from its resource; looked up once for each resource. An expression
    /// that fails on a resource refuses nothing in it.
    fn selects(&mut self, expression: &'a Expression, element: Node<'a>, scope: &Scope<'a>) -> bool {
        let key = (scope.resource.id(), std::ptr::from_ref(expression));
        let selected = self.selected.entry(key).or_insert_with(|| {
            let environment = Environment {
                resource: Some(Item::of_node(scope.resource, scope.resource_type)),
                root_resource: Some(Item::of_node(scope.root, scope.root_type)),
                ..Environment::default()
            };
            let focus = Item::of_node(scope.resource, scope.resource_type);
            let found = expression.evaluate(std::slice::from_ref(&focus), &environment).ok()?;
            let nodes = found.iter().filter_map(Item::as_element).flat_map(|each| [each.value(), each.extension()]);
            Some(nodes.flatten().map(Node::id).collect::<HashSet<NodeId>>())
        });
        selected.as_ref().is_none_or(|nodes| nodes.contains(&element.id()))
    }
}

/// Whether an extension has this URL; behind `#` stands the name of a part.
fn is_of_extension(extension: Node<'_>, url: &str) -> bool {
    let own = extension.child(keys().url).and_then(Node::text).unwrap_or_default();
    own == url || url.split_once('#').is_some_and(|(_, part)| own == part)
}

/// Whether the element at a path of R4 may have the type: `string` for `Coding.display`.
fn is_type_at(path: &str, name: &str) -> bool {
    let Some((owner, step)) = path.rsplit_once('.') else { return false };
    let stem = step.strip_suffix("[x]").unwrap_or(step);
    let element = schema().type_named(owner).and_then(|owner| owner.element_by_stem(stem));
    element.is_some_and(|element| element.types.iter().any(|each| schema().is_a(each.code, name)))
}
