//! Validating again what was cut from a valid Bundle: only where the cut can have made a difference.
//!
//! Enters: the proof that the Bundle was valid, what was cut from it, and which objects of that are unchanged. Leaves:
//! the errors, the same as those of a validation of the whole (debug builds do both and compare). What lies in an
//! unchanged object is passed over if nothing that is checked there looks further than what is unchanged, too:
//!
//! - Cardinality, formats, codes, fixed values, slices look at the object alone. Which shapes are active there follows
//!   from what holds it and from what it claims; a claim that is gone only takes shapes away.
//! - An invariant looks as far as its [`Reach`] says. One that names no element which changed anywhere holds as it held,
//!   whatever changed beside what it names: [`Expression::reads`](crate::fhirpath::Expression::reads).
//! - Narrative that was made for what is left is made of escaped text and of tags that are allowed (tested in
//!   `tests::narrative_is_made_valid`).
//! - A reference that left leads to the same resource as before, because nothing that would dangle leaves. That resource
//!   is of the same type, and claims what it claimed, as [`Cut::keeps_claims`] says. Where a reference was taken because
//!   its target keeps to a profile that it does not claim, the whole Bundle is validated.
//!
//! Remarks are not told again: the proof says how many there are.

use super::plan::{Content, Rule, Shape, TypePlan};
use super::walk::{Found, Walk};
use super::{Telling, Validated, Validator};
use crate::fhir::definitions::without_version;
use crate::fhir::outcome::Issue;
use crate::fhir::{Document, NameSet, Node, NodeSet, keys};
use crate::fhirpath::Reach;

/// What is left of a valid Bundle.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'c> {
    /// The Bundle before, valid.
    pub before: &'c Validated,
    /// What is left of it, with what was put in the place of the rest.
    pub bundle: &'c Document,
    /// Objects and arrays in it that are the same as in the Bundle before, with all that they hold; and narrative that was
    /// made for it.
    pub settled: &'c NodeSet,
    /// The names of the elements that are no longer what they were, are gone or are new. What is gone with its holder has
    /// the name of the holder.
    pub altered: &'c NameSet,
    /// Whether each of its resources claims the profiles that it claimed.
    pub keeps_claims: bool,
    /// The profile that it must conform to.
    pub profile: &'c str,
}

impl Validator {
    /// The errors of what is left of a valid Bundle, against R4, its profile and those that its resources claim.
    pub fn recheck(&self, cut: &Cut<'_>) -> Vec<Issue> {
        let whole = || self.check_with(cut.bundle, [cut.profile], Telling::Errors).issues;
        let same_profile = without_version(cut.before.profile()) == without_version(cut.profile);
        if !same_profile || !cut.keeps_claims || cut.before.has_trials() || self.extensions_reach == Reach::Document {
            return whole();
        }
        let found = self.check_with(cut.bundle, [cut.profile], Telling::ErrorsOf(cut)).issues;
        debug_assert_eq!(found, whole(), "what is passed over has no error");
        found
    }
}

impl<'a> Walk<'a> {
    /// Whether a resource is unchanged and cannot have become invalid.
    pub(super) fn is_settled_resource(&self, node: Node<'a>, plan: &TypePlan, shapes: &[&'a Shape]) -> bool {
        self.is_unchanged(node) && reach(plan, shapes) <= Reach::Resource
    }

    /// Whether an element is unchanged and cannot have become invalid. Which rules the definition of an extension has is
    /// not asked: what holds one is checked.
    pub(super) fn is_settled(&self, node: Node<'a>, plan: &TypePlan, shapes: &[&'a Shape]) -> bool {
        if !self.is_unchanged(node) {
            return false;
        }
        if plan.def.name == "Bundle.entry" {
            return self.is_settled_entry(node, shapes);
        }
        reach(plan, shapes) == Reach::Focus
            && plan.def.name != "Extension"
            && node.subtree().all(|below| below.name_id() != keys().extension)
    }

    /// Whether an unchanged entry holds nothing but a resource whose rules look no further than itself.
    fn is_settled_entry(&self, entry: Node<'a>, shapes: &[&'a Shape]) -> bool {
        let validator = self.validator;
        let is_frame = |child: Node<'_>| [keys().full_url, keys().resource].contains(&child.name_id());
        let Some(resource) = entry.child(keys().resource).filter(|_| entry.children().all(is_frame)) else {
            return false;
        };
        let plan = resource.resource_type().and_then(|name| validator.base.named(name));
        let claims = resource.child(keys().meta).and_then(|meta| meta.child(keys().profile));
        let looks_no_further = |claim: Node<'_>| {
            let profile = claim.text().and_then(|url| validator.profile(without_version(&url)));
            profile.is_none_or(|profile| profile.shape.reach <= Reach::Resource)
        };
        shapes.iter().all(|shape| shape.reach == Reach::Focus)
            && plan.is_some_and(|plan| reach(plan, &self.implied(resource, plan.def.name)) <= Reach::Resource)
            && claims.into_iter().flat_map(Node::items).all(looks_no_further)
    }

    /// Whether a member of an object that changed is unchanged itself, and so are how often it stands and in which slices.
    pub(super) fn is_settled_member(&self, found: &Found<'a>, shapes: &[&'a Shape]) -> bool {
        let Some(cut) = self.cut else { return false };
        let Some(value) = found.value.filter(|_| found.extension.is_none()) else { return false };
        match found.element.contents[found.chosen] {
            Content::Primitive(..) => {
                !cut.altered.contains(found.name) && shapes.iter().all(|shape| shape.reach == Reach::Focus)
            }
            Content::Complex(index) => self.is_settled(value, &self.validator.base.types[index], shapes),
            Content::Resource => false,
        }
    }

    fn is_unchanged(&self, node: Node<'a>) -> bool {
        self.cut.is_some_and(|cut| cut.settled.contains(node.id()))
    }

    /// Whether an invariant names nothing that changed.
    pub(super) fn is_settled_rule(&self, rule: &Rule) -> bool {
        let Some((cut, reads)) = self.cut.zip(rule.reads.as_deref()) else { return false };
        !reads.iter().any(|name| cut.altered.contains(*name))
    }
}

fn reach(plan: &TypePlan, shapes: &[&Shape]) -> Reach {
    shapes.iter().map(|shape| shape.reach).fold(plan.reach, Reach::max)
}
