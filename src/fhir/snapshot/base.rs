//! The base types of R4 as trees, from the tables.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::tree::Tree;
use super::{BindingUse, R4, SnapshotElement};
use crate::fhir::definitions::{ConstraintDefinition, SlicingDefinition, TypeUse, without_version};
use crate::fhir::r4::{ElementRow, TypeRow, constraint_rows};
use crate::fhir::{Document, Limits};

/// The constraints of R4 by key, each shared by all elements that have it.
static CONSTRAINTS: LazyLock<HashMap<&'static str, Arc<ConstraintDefinition>>> = LazyLock::new(|| {
    let read = |row: crate::fhir::r4::ConstraintRow| {
        let constraint = ConstraintDefinition {
            key: row.key.split('@').next().unwrap_or(row.key).to_owned(),
            severity: row.severity.to_owned(),
            human: String::new(),
            expression: row.expression.to_owned(),
            source: Some(format!("{R4}{}", row.source)),
        };
        (row.key, Arc::new(constraint))
    };
    constraint_rows().map(read).collect()
});

/// Extensions are told apart by their URL (FHIR R4, 5.1.0.14.4).
pub(super) fn by_url() -> Arc<SlicingDefinition> {
    static BY_URL: LazyLock<Arc<SlicingDefinition>> = LazyLock::new(|| by("value", "url"));
    Arc::clone(&BY_URL)
}

/// A choice element's types are told apart by themselves.
pub(super) fn by_type() -> Arc<SlicingDefinition> {
    static BY_TYPE: LazyLock<Arc<SlicingDefinition>> = LazyLock::new(|| by("type", "$this"));
    Arc::clone(&BY_TYPE)
}

fn by(kind: &str, path: &str) -> Arc<SlicingDefinition> {
    let discriminators = vec![(kind.to_owned(), path.to_owned())];
    Arc::new(SlicingDefinition { discriminators, ordered: false, rules: "open".to_owned() })
}

/// A type of R4 with its elements.
pub(super) fn tree(row: TypeRow) -> Tree {
    let mut rows = row.elements();
    let is_resource = row.kind.starts_with("resource");
    let mut root = rows.next().map(|first| node(&first, false)).unwrap_or_default();
    for each in rows {
        let is_resource_id = is_resource && each.path.strip_prefix(row.name) == Some(".id");
        let mut at = &mut root;
        let mut steps = each.path.split('.').skip(1).peekable();
        while let Some(step) = steps.next() {
            match at.child(step) {
                Some(place) if steps.peek().is_some() => at = &mut at.children[place],
                _ => at.children.push(node(&each, is_resource_id)),
            }
            if steps.peek().is_none() {
                break;
            }
        }
    }
    root
}

fn node(row: &ElementRow, is_resource_id: bool) -> Tree {
    let name = row.path.rsplit('.').next().unwrap_or(row.path).into();
    let is_root = !row.path.contains('.');
    let content_reference = row.types.starts_with('#').then(|| row.types.into());
    let types: Vec<TypeUse> = match content_reference {
        Some(_) => Vec::new(),
        // R4 types the id of a resource as a string; its rule is that of id (FHIR R4, 2.26.3.1).
        None if is_resource_id => split("id", ',').map(type_use).collect(),
        None => split(row.types, ',').map(type_use).collect(),
    };
    let mut element = SnapshotElement {
        min: row.min.parse().unwrap_or(0),
        max: row.max.parse().ok(),
        binding: binding(row.binding),
        slicing: row.flags.contains('S').then(by_url),
        is_modifier: row.flags.contains('M'),
        content_reference,
        constraints: implied(&types, row.path, is_root)
            .iter()
            .copied()
            .chain(split(row.constraints, ','))
            .filter_map(|key| CONSTRAINTS.get(key).cloned())
            .collect(),
        types: types.into(),
        ..SnapshotElement::default()
    };
    for (name, value) in split(row.limits, ',').filter_map(|limit| limit.split_once('=')) {
        match name {
            "maxLength" => element.max_length = value.parse().ok(),
            _ if name.starts_with("minValue") => element.min_value = scalar(value),
            _ => element.max_value = scalar(value),
        }
    }
    Tree { name, element, ..Tree::default() }
}

fn scalar(value: &str) -> Option<Arc<Document>> {
    Document::parse(value, &Limits::default()).ok().map(Arc::new)
}

fn split(cell: &'static str, at: char) -> impl Iterator<Item = &'static str> {
    cell.split(at).filter(|each| !each.is_empty())
}

/// The constraints that the table leaves out because every element has them (FHIR R4, 2.24.0.1).
fn implied(types: &[TypeUse], path: &str, is_root: bool) -> &'static [&'static str] {
    let is_system = path.ends_with(".id") || path == "Extension.url" || is_value_of_primitive(path);
    match types {
        _ if is_root || is_system => &[],
        [only] if only.code == "Resource" => &[],
        [only] if only.code == "Extension" => &["ele-1", "ext-1"],
        _ => &["ele-1"],
    }
}

/// `string.value`: what a primitive type holds is no element.
fn is_value_of_primitive(path: &str) -> bool {
    path.strip_suffix(".value").is_some_and(|owner| owner.starts_with(|letter: char| letter.is_ascii_lowercase()))
}

fn binding(cell: &'static str) -> Option<Arc<BindingUse>> {
    let (strength, value_set) = cell.split_once(':')?;
    Some(Arc::new(BindingUse { strength: strength.into(), value_set: without_version(value_set).into() }))
}

/// `Reference(Patient|Group)`, `Quantity[SimpleQuantity]`.
fn type_use(cell: &'static str) -> TypeUse {
    let within = |open: char, close: char| {
        let inner = cell.split_once(open).and_then(|(_, rest)| rest.split_once(close)).map(|(inner, _)| inner);
        inner.into_iter().flat_map(|inner| inner.split('|')).map(|name| format!("{R4}{name}")).collect()
    };
    TypeUse {
        code: cell.split(['(', '[']).next().unwrap_or(cell).to_owned(),
        profiles: within('[', ']'),
        targets: within('(', ')'),
        ..TypeUse::default()
    }
}
