//! Plain JSON records against a logical model: names, cardinality, JSON types, formats, bindings, constraints.

use smallvec::SmallVec;

use super::plan::{Child, Shape};
use super::primitives::Format;
use super::walk::{Occurrence, Scope, Walk, kind_name};
use crate::fhir::outcome::IssueType;
use crate::fhir::r4::{TypeDef, schema};
use crate::fhir::{Kind, Node};

impl<'a> Walk<'a> {
    /// Checks a record, or a part of it, against the model's shape.
    pub(super) fn record(&mut self, node: Node<'a>, shape: &'a Shape, scope: &Scope<'a>) {
        if !node.is_object() {
            let text = format!("an object was expected, {} was found", kind_name(node.kind()));
            self.error(IssueType::Structure, node, &shape.profile, text, "write the element as the model says");
            return;
        }
        for member in node.children() {
            match shape.children.iter().find(|child| member.is_named(&child.name)) {
                Some(child) => self.field(member, child, scope),
                None => {
                    let text = "the logical model has no such element";
                    self.error(IssueType::Structure, member, &shape.profile, text, "remove it, or correct its name");
                }
            }
        }
        for child in shape.children.iter().filter(|child| child.shape.min > 0 && node.get(&child.name).is_none()) {
            let text = format!("{} is missing: at least {} expected", child.name.text(), child.shape.min);
            self.missing(node, child.name.text(), &shape.profile, text);
        }
        let own = Occurrence { value: Some(node), extension: None };
        self.run(&shape.invariants, own, None, None, scope);
    }

    fn field(&mut self, node: Node<'a>, child: &'a Child, scope: &Scope<'a>) {
        let shape = &child.shape;
        let is_array = shape.max != Some(1);
        if node.is_array() != is_array {
            let expected = if is_array { "an array" } else { "a single value" };
            let text = format!("{expected} was expected, {} was found", kind_name(node.kind()));
            let hint = if is_array { "write it in square brackets" } else { "write one value" };
            self.error(IssueType::Structure, node, &shape.profile, text, hint);
            return;
        }
        let items: SmallVec<[Node<'a>; 1]> = node.items().collect();
        if items.len() < shape.min.max(u32::from(is_array)) as usize
            || shape.max.is_some_and(|max| items.len() > max as usize)
        {
            let most = shape.max.map_or("any number".to_owned(), |max| max.to_string());
            let text = format!("{} items were found: {} to {most} expected", items.len(), shape.min.max(1));
            let hint = "leave an empty list out; otherwise add or remove items";
            self.error(IssueType::Structure, node, &shape.profile, text, hint);
        }
        for item in items {
            self.field_value(item, shape, scope);
        }
    }

    fn field_value(&mut self, node: Node<'a>, shape: &'a Shape, scope: &Scope<'a>) {
        let code = shape.types.first().map_or("", |rule| &*rule.code);
        let Some((format, def)) = primitive(code) else {
            // Data types of FHIR inside a record are noted as not checked when the model is compiled.
            if matches!(code, "BackboneElement" | "Element" | "Base") {
                self.record(node, shape, scope);
            }
            return;
        };
        if node.kind() != format.kind() {
            let (expected, found) = (kind_name(format.kind()), kind_name(node.kind()));
            let text = format!("{expected} was expected, {found} was found");
            let hint = if node.kind() == Kind::Null { "leave the element out" } else { "write it as that JSON type" };
            self.error(IssueType::Structure, node, &shape.profile, text, hint);
            return;
        }
        if !format.accepts(node) {
            let text = format!("the value is not a {code}: {} expected", format.rule());
            self.error(IssueType::Value, node, &shape.profile, text, "correct the value");
            return;
        }
        let occurrence = Occurrence { value: Some(node), extension: None };
        self.fixed_values(occurrence, node, shape);
        if let Some(binding) = &shape.binding {
            self.bound(occurrence, def, binding, &shape.profile);
        }
        self.run(&shape.invariants, occurrence, Some(def), None, scope);
    }
}

fn primitive(code: &str) -> Option<(Format, &'static TypeDef)> {
    Some((Format::named(code)?, schema().type_named(code)?))
}
