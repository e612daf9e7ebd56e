//! What one element of a differential changes in the element it constrains.

use std::sync::Arc;

use super::{BindingUse, SnapshotElement};
use crate::fhir::definitions::{ConstraintDefinition, ElementDefinition, SlicingDefinition};
use crate::fhir::r4::schema;

/// Lays `stated` over `element`; constraints without a source are those of `profile`.
pub(super) fn merge(element: &mut SnapshotElement, stated: &ElementDefinition, profile: &str) {
    if let Some(min) = stated.min {
        element.min = min;
    }
    if let Some(max) = &stated.max {
        element.max = max.parse().ok();
    }
    if let Some(types) = stated.types.as_ref().filter(|types| !types.is_empty()) {
        element.types = types.as_slice().into();
    }
    bind(element, stated);
    let replace = |place: &mut Option<_>, value: &Option<_>| {
        if let Some(value) = value {
            *place = Some(Arc::new(Clone::clone(value)));
        }
    };
    replace(&mut element.fixed, &stated.fixed);
    replace(&mut element.pattern, &stated.pattern);
    replace(&mut element.min_value, &stated.min_value);
    replace(&mut element.max_value, &stated.max_value);
    element.max_length = stated.max_length.or(element.max_length);
    element.must_support = stated.must_support.unwrap_or(element.must_support);
    element.is_modifier = stated.is_modifier.unwrap_or(element.is_modifier);
    if let Some(slicing) = &stated.slicing {
        element.slicing = Some(Arc::new(merged(element.slicing.as_deref(), slicing)));
    }
    for constraint in &stated.constraints {
        let source = Some(constraint.source.clone().unwrap_or_else(|| profile.to_owned()));
        add_constraint(element, &Arc::new(ConstraintDefinition { source, ..constraint.clone() }));
    }
}

fn bind(element: &mut SnapshotElement, stated: &ElementDefinition) {
    let own = stated.binding.as_ref().map(|(_, value_set)| value_set.as_str());
    let value_set = own.or_else(|| element.binding.as_ref().map(|binding| &*binding.value_set));
    if let (Some(strength), Some(value_set)) = (&stated.binding_strength, value_set) {
        element.binding =
            Some(Arc::new(BindingUse { strength: strength.as_str().into(), value_set: value_set.into() }));
    }
    if !element.types.is_empty() && !element.types.iter().any(|used| is_coded(&used.code)) {
        element.binding = None;
    }
}

/// Whether a binding means something on the type (FHIR R4, ElementDefinition eld-11).
fn is_coded(code: &str) -> bool {
    matches!(code, "code" | "Coding" | "CodeableConcept" | "string" | "uri") || schema().is_a(code, "Quantity")
}

/// Adds a constraint, unless it is there already.
pub(super) fn add_constraint(element: &mut SnapshotElement, constraint: &Arc<ConstraintDefinition>) {
    if !element.constraints.iter().any(|own| own.key == constraint.key) {
        element.constraints.push(Arc::clone(constraint));
    }
}

fn merged(base: Option<&SlicingDefinition>, stated: &SlicingDefinition) -> SlicingDefinition {
    let Some(base) = base else { return stated.clone() };
    let mut merged = SlicingDefinition { discriminators: base.discriminators.clone(), ..stated.clone() };
    for each in &stated.discriminators {
        if !merged.discriminators.contains(each) {
            merged.discriminators.push(each.clone());
        }
    }
    merged
}
