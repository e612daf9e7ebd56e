//! The transforms: how a target element gets its value.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::fhir::{NameId, Node, NodeId, keys};

use super::concepts::{self, Translation};
use super::date_op::DateOp;
use super::error::Error;
use super::escape::Escaping;
use super::plan::{CodingPlan, ElementPlan, Member, Operand, TargetListMode, Template, Transform, TranslateTo};
use super::quantity::{Part, Quantity};
use super::run::{Run, Value, node_of};
use super::target::{Form, Refused, Spec, TargetId, Text};
use super::types::{Spelling, Type, made};
use super::values;

/// A code, and its system if it says one.
type SaidCode<'r> = (Option<Cow<'r, str>>, Cow<'r, str>);

impl<'r> Run<'r> {
    /// The value of a transform; [`Value::Unset`] if it has none, and then the target stays as it is.
    pub(super) fn transform(&mut self, transform: &'r Transform) -> Result<Value<'r>, Box<Error>> {
        match transform {
            Transform::Element | Transform::Implicit(..) => Ok(Value::Unset),
            Transform::Create(ty) => self.create(*ty),
            Transform::Copy(operand) => self.operand(operand),
            Transform::Truncate(operand, length) => self.truncate(operand, *length),
            Transform::Escape(operand, from, to) => self.escape(operand, *from, *to),
            Transform::DateOp(operand, operation) => self.date_op(operand, operation),
            Transform::Append(operands) => self.append(operands),
            Transform::Cast(operand, ty) => self.cast(operand, *ty),
            Transform::Translate(operand, map, to) => self.translate(operand, *map, to),
            Transform::Reference(operand) => self.reference(operand, "/"),
            Transform::Pointer(operand) => self.reference(operand, "urn:uuid:"),
            Transform::Uuid(counter) => Ok(self.uuid(*counter)),
            Transform::Build(template) => self.build(template),
        }
    }

    fn create(&mut self, ty: Type) -> Result<Value<'r>, Box<Error>> {
        let origin = self.origin(None);
        let made = self.target.detached(ty, origin);
        made.map(Value::Target).map_err(|refused| self.refused(refused, "an element"))
    }

    /// The text of a primitive and the node it follows from.
    fn text(&mut self, value: Value<'r>) -> Option<(Text<'r>, Option<NodeId>)> {
        match value {
            Value::Unset => None,
            Value::Text { text, source, .. } => Some((text, source)),
            Value::Target(id) => self.target.value(id).map(|text| (text, None)),
            Value::Element { value, .. } => {
                let node = value?;
                let text = match node.scalar()? {
                    Cow::Borrowed(text) => Text::Kept(text),
                    Cow::Owned(text) => self.target.make(|out| out.push_str(&text)),
                };
                Some((text, Some(node.id())))
            }
        }
    }

    /// The text of an operand that must be a primitive; `None` if it has no value.
    fn operand_text(&mut self, operand: &'r Operand) -> Result<Option<(Text<'r>, Option<NodeId>)>, Box<Error>> {
        let value = self.operand(operand)?;
        match (self.text(value), value) {
            (Some(text), _) => {
                self.charge(self.target.read(text.0).len() / 256)?;
                Ok(Some(text))
            }
            (None, Value::Unset | Value::Element { value: None, .. }) => Ok(None),
            (None, _) => Err(self.conversion("the argument of a transform", "a primitive")),
        }
    }

    fn truncate(&mut self, operand: &'r Operand, length: usize) -> Result<Value<'r>, Box<Error>> {
        let Some((text, source)) = self.operand_text(operand)? else { return Ok(Value::Unset) };
        let whole = self.target.read(text);
        let end = whole.char_indices().nth(length).map_or(whole.len(), |(end, _)| end) as u32;
        let text = match text {
            Text::Kept(kept) => Text::Kept(&kept[..end as usize]),
            Text::Constant(constant) => Text::Kept(&constant.text()[..end as usize]),
            Text::Made(start, _, is_plain) => Text::Made(start, start + end, is_plain),
        };
        Ok(Value::Text { text, ty: made().string, source })
    }

    fn escape(&mut self, operand: &'r Operand, from: Escaping, to: Escaping) -> Result<Value<'r>, Box<Error>> {
        let Some((text, source)) = self.operand_text(operand)? else { return Ok(Value::Unset) };
        let Some(plain) = from.decode(self.target.read(text)) else {
            return Err(self.conversion("escape", "a text that is escaped as the map says"));
        };
        let text = self.target.make(|out| to.encode(&plain, out));
        Ok(Value::Text { text, ty: made().string, source })
    }

    fn date_op(&mut self, operand: &'r Operand, operation: &DateOp) -> Result<Value<'r>, Box<Error>> {
        let Some((text, source)) = self.operand_text(operand)? else { return Ok(Value::Unset) };
        let Some((outcome, is_date)) = operation.apply(self.target.read(text)) else {
            return Err(self.conversion("dateOp", "a date, or a date and time with an offset"));
        };
        let text = self.target.make(|out| out.push_str(&outcome));
        Ok(Value::Text { text, ty: Type::fhir(if is_date { "date" } else { "dateTime" }), source })
    }

    fn append(&mut self, operands: &'r [Operand]) -> Result<Value<'r>, Box<Error>> {
        let mut parts: SmallVec<[Text<'r>; 4]> = SmallVec::new();
        let mut source = None;
        for operand in operands {
            let value = self.operand(operand)?;
            if let Some((text, from)) = self.text(value) {
                parts.push(text);
                source = source.or(from);
            }
        }
        let start = self.target.made_len();
        for text in &parts {
            self.charge(self.target.read(*text).len() / 256)?;
            self.target.append(*text);
            self.check_bytes()?;
        }
        let text = self.target.made_since(start, false);
        Ok(Value::Text { text, ty: made().string, source })
    }

    fn cast(&mut self, operand: &'r Operand, ty: Type) -> Result<Value<'r>, Box<Error>> {
        let Some((text, source)) = self.operand_text(operand)? else { return Ok(Value::Unset) };
        if !values::is_well_formed(self.target.read(text), ty) {
            return Err(self.conversion("cast", ty.fhir_name().unwrap_or_default()));
        }
        Ok(Value::Text { text, ty, source })
    }

    fn translate(&mut self, operand: &'r Operand, map: usize, to: &'r TranslateTo) -> Result<Value<'r>, Box<Error>> {
        let value = self.operand(operand)?;
        let source = node_of(value).map(Node::id);
        let codes = self.codes(value);
        let has_codes = !codes.is_empty();
        for (system, code) in codes {
            let plan = self.plan;
            let Some(found) = concepts::translate(&plan.concepts, map, system.as_deref(), &code) else { continue };
            let (system, code, display) = match found {
                Translation::Code(found) => {
                    (found.system.as_deref(), Text::Kept(&found.code), found.display.as_deref().map(Text::Kept))
                }
                Translation::Provided(system) => (system, self.target.make(|out| out.push_str(&code)), None),
            };
            return match to {
                TranslateTo::Code => Ok(Value::Text { text: code, ty: made().code, source }),
                TranslateTo::Display => Ok(text_or_unset(display, made().string, source)),
                TranslateTo::System => Ok(text_or_unset(system.map(Text::Kept), made().uri, source)),
                TranslateTo::Coding(coding) => self.coding(coding, system, code, display, source).map(Value::Target),
                TranslateTo::CodeableConcept(element, coding) => {
                    let coding = self.coding(coding, system, code, display, source)?;
                    let concept = self.create(made().codeable_concept)?;
                    let Value::Target(parent) = concept else { return Ok(Value::Unset) };
                    self.set_element(parent, element, Value::Target(coding), TargetListMode::Last)?;
                    Ok(concept)
                }
            };
        }
        if has_codes {
            self.note_untranslated(map, node_of(value));
        }
        Ok(Value::Unset)
    }

    /// The codes of a primitive, a Coding, or a CodeableConcept, each with its system if it says one.
    fn codes(&mut self, value: Value<'r>) -> SmallVec<[SaidCode<'r>; 1]> {
        if let Some((text, _)) = self.text(value) {
            let code = match text {
                Text::Kept(code) => Cow::Borrowed(code),
                made => Cow::Owned(self.target.read(made).to_owned()),
            };
            return SmallVec::from_buf([(None, code)]);
        }
        let Some(node) = node_of(value) else { return SmallVec::new() };
        let coding = |node: Node<'r>| {
            let text = |name| node.member(name).and_then(Node::text);
            text("code").map(|code| (text("system"), code))
        };
        match node.member("coding") {
            Some(codings) => codings.items().filter_map(coding).collect(),
            None => coding(node).into_iter().collect(),
        }
    }

    fn coding(
        &mut self,
        plan: &'r CodingPlan,
        system: Option<&'r str>,
        code: Text<'r>,
        display: Option<Text<'r>>,
        source: Option<NodeId>,
    ) -> Result<TargetId, Box<Error>> {
        let origin = self.origin(source);
        let coding = self.target.detached(made().coding, origin);
        let coding = coding.map_err(|refused| self.refused(refused, "Coding"))?;
        let members = [(&plan.system, system.map(Text::Kept)), (&plan.code, Some(code)), (&plan.display, display)];
        for (element, text) in members {
            if let Some(text) = text {
                let value = Value::Text { text, ty: made().string, source };
                self.set_element(coding, element, value, TargetListMode::Last)?;
            }
        }
        Ok(coding)
    }

    /// `Patient/id` of a resource, or with another prefix its id alone.
    fn reference(&mut self, operand: &'r Operand, form: &'static str) -> Result<Value<'r>, Box<Error>> {
        let value = self.operand(operand)?;
        let (ty, id) = match value {
            Value::Unset => return Ok(Value::Unset),
            Value::Target(id) => (self.target.ty(id), self.id_of_target(id)?),
            Value::Element { value: Some(node), ty, .. } => match node.member("id").and_then(Node::scalar) {
                Some(id) => (ty, self.target.make(|out| out.push_str(&id))),
                None => return Err(self.conversion("reference", "a resource with an id")),
            },
            _ => return Err(self.conversion("reference", "a resource")),
        };
        let (true, Some(name)) = (ty.is_resource(), ty.fhir_name()) else {
            return Err(self.conversion("reference", "a resource"));
        };
        let start = self.target.made_len();
        self.target.append(Text::Kept(if form == "/" { name } else { form }));
        if form == "/" {
            self.target.append(Text::Kept(form));
        }
        self.target.append(id);
        let text = self.target.made_since(start, false);
        Ok(Value::Text { text, ty: made().uri, source: node_of(value).map(Node::id) })
    }

    /// The id of a resource that the map builds; one is made if it has none.
    fn id_of_target(&mut self, resource: TargetId) -> Result<Text<'r>, Box<Error>> {
        let known = self.target.named(resource, |name| name.id() == keys().id).next();
        if let Some(text) = known.and_then(|id| self.target.value(id)) {
            return Ok(text);
        }
        let Value::Text { text, .. } = self.element_uuid(resource.index()) else {
            return Err(self.conversion("reference", "a resource"));
        };
        let origin = self.origin(None);
        let spec = Spec { name: keys().id.name(), order: 0, is_array: false, ty: made().id };
        let id = self.target.child(resource, spec, false, origin).map_err(|refused| self.refused(refused, "id"))?;
        self.target.set_value(id, text, origin);
        Ok(text)
    }

    fn build(&mut self, template: &'r Template) -> Result<Value<'r>, Box<Error>> {
        let made = self.create(template.ty)?;
        let Value::Target(parent) = made else { return Ok(Value::Unset) };
        for (element, member) in &template.members {
            let value = match member {
                Member::Value(operand) => self.operand(operand)?,
                Member::ContactSystem(operand) => self.contact_system(operand)?,
                Member::Quantity(operand, part) => self.quantity_part(operand, *part)?,
                Member::Nested(template) => self.build(template)?,
            };
            if !matches!(value, Value::Unset) {
                self.set_element(parent, element, value, TargetListMode::Last)?;
            }
        }
        Ok(made)
    }

    fn quantity_part(&mut self, operand: &'r Operand, part: Part) -> Result<Value<'r>, Box<Error>> {
        let Some((text, source)) = self.operand_text(operand)? else { return Ok(Value::Unset) };
        let Some(quantity) = Quantity::read(self.target.read(text)) else {
            return Err(self.conversion("qty", "a quantity such as 60.0 kg"));
        };
        let Some(found) = quantity.part(part).map(str::to_owned) else { return Ok(Value::Unset) };
        let text = self.target.make(|out| out.push_str(&found));
        Ok(Value::Text { text, ty: made().string, source })
    }

    fn contact_system(&mut self, operand: &'r Operand) -> Result<Value<'r>, Box<Error>> {
        let Some((text, source)) = self.operand_text(operand)? else { return Ok(Value::Unset) };
        let system = match self.target.read(text) {
            text if text.starts_with("http:") || text.starts_with("https:") => "url",
            text if text.contains('@') => "email",
            _ => "phone",
        };
        Ok(Value::Text { text: Text::Kept(system), ty: made().code, source })
    }

    /// Sets an element of `parent`. What its variable then holds: the new element.
    pub(super) fn set_element(
        &mut self,
        parent: TargetId,
        element: &'r ElementPlan,
        value: Value<'r>,
        mode: TargetListMode,
    ) -> Result<Value<'r>, Box<Error>> {
        let spelling = self.spelling(element, value)?;
        if spelling.ty.is_primitive() {
            if !matches!(value, Value::Element { companion: Some(_), .. })
                && let Some((text, source)) = self.text(value)
            {
                let value = (text, Form::of(spelling.ty));
                let made = self.add_primitive(parent, element, spelling, mode, value, source);
                return made.map(Value::Target);
            }
            let source = node_of(value).map(Node::id);
            let id = self.add(parent, element, spelling, spelling.ty, mode, source)?;
            self.set_primitive(id, &element.name, value)?;
            return Ok(Value::Target(id));
        }
        match value {
            Value::Target(id) if !self.target.is_attached(id) => {
                self.check_type(self.target.ty(id), spelling, element)?;
                let spec = spec_of(element, spelling, self.target.ty(id));
                let attached = self.target.attach(parent, spec, mode == TargetListMode::First, id);
                attached.map_err(|refused| self.refused(refused, &element.name))?;
                Ok(value)
            }
            Value::Target(id) => {
                let ty = self.target.ty(id);
                self.check_type(ty, spelling, element)?;
                let copy = self.add(parent, element, spelling, ty, mode, None)?;
                self.copy_target(id, copy)?;
                Ok(Value::Target(copy))
            }
            Value::Element { value: Some(node), ty, .. } if node.is_object() => {
                let ty = if ty.is_concrete() { ty } else { spelling.ty };
                self.check_type(ty, spelling, element)?;
                let copy = self.add(parent, element, spelling, ty, mode, Some(node.id()))?;
                self.copy_object(node, ty, copy)?;
                Ok(Value::Target(copy))
            }
            _ => Err(self.conversion(&element.name, self.plan.types.name(spelling.ty))),
        }
    }

    /// Adds a primitive with its value.
    #[inline]
    pub(super) fn add_primitive(
        &mut self,
        parent: TargetId,
        element: &'r ElementPlan,
        spelling: &'r Spelling,
        mode: TargetListMode,
        (text, form): (Text<'r>, Form),
        source: Option<NodeId>,
    ) -> Result<TargetId, Box<Error>> {
        if form == Form::Bare && !values::is_well_formed(self.target.read(text), spelling.ty) {
            return Err(self.conversion(&element.name, self.plan.types.name(spelling.ty)));
        }
        let spec = spec_of(element, spelling, spelling.ty);
        let (origin, at_start) = (self.origin(source), mode == TargetListMode::First);
        let added = self.target.primitive(parent, spec, at_start, (text, form), origin);
        added.map_err(|refused| self.refused(refused, &element.name))
    }

    fn check_type(&self, ty: Type, spelling: &Spelling, element: &ElementPlan) -> Result<(), Box<Error>> {
        if ty.is_a(spelling.ty) && ty.is_concrete() {
            return Ok(());
        }
        Err(self.conversion(&element.name, self.plan.types.name(spelling.ty)))
    }

    /// How to spell the element for this value: the only way, or for a choice element the one of the value's type.
    fn spelling(&self, element: &'r ElementPlan, value: Value<'r>) -> Result<&'r Spelling, Box<Error>> {
        if let [only] = element.spellings.as_slice() {
            return Ok(only);
        }
        let ty = match value {
            Value::Unset => Type::Any,
            Value::Text { ty, .. } => ty,
            Value::Target(id) => self.target.ty(id),
            Value::Element { ty, .. } if ty != Type::Any => ty,
            Value::Element { value, .. } => value.filter(|node| !node.is_object()).map_or(Type::Any, values::json_type),
        };
        element.spelling_for(ty).ok_or_else(|| {
            let names: Vec<&str> = element.names().map(|name| name.text()).collect();
            self.conversion(&element.name, &format!("one of {}", names.join(", ")))
        })
    }

    /// Gives a primitive its value, and what a copied primitive has in its `_name` sibling.
    pub(super) fn set_primitive(&mut self, id: TargetId, element: &str, value: Value<'r>) -> Result<(), Box<Error>> {
        let ty = self.target.ty(id);
        if let Value::Element { companion: Some(companion), .. } = value {
            self.copy_object(companion, ty, id)?;
        }
        let Some((text, source)) = self.text(value) else {
            return match value {
                Value::Element { value: None, .. } => Ok(()),
                _ => Err(self.conversion(element, self.plan.types.name(ty))),
            };
        };
        self.charge(self.target.read(text).len() / 256)?;
        if !values::is_well_formed(self.target.read(text), ty) || !ty.is_primitive() {
            return Err(self.conversion(element, self.plan.types.name(ty)));
        }
        let origin = self.origin(source);
        if !self.target.set_value(id, text, origin) {
            return Err(self.refused(Refused::Occupied, element));
        }
        self.check_bytes()
    }

    fn copy_target(&mut self, from: TargetId, to: TargetId) -> Result<(), Box<Error>> {
        let origin = self.origin(None);
        let children: Vec<TargetId> = self.target.children(from).collect();
        for child in children {
            let spec = self.target.spec(child);
            let copy = self.target.child(to, spec, false, origin);
            let copy = copy.map_err(|refused| self.refused(refused, spec.name.text()))?;
            if let Some(text) = self.target.value(child) {
                self.target.set_value(copy, text, origin);
            }
            self.copy_target(child, copy)?;
        }
        Ok(())
    }

    /// Copies the members of an object of the record into an element of the type `ty`.
    pub(super) fn copy_object(&mut self, node: Node<'r>, ty: Type, to: TargetId) -> Result<(), Box<Error>> {
        let resource_type = NameId::of("resourceType");
        for member in node.children().filter(|member| member.name_id() != resource_type) {
            let key = member.name().unwrap_or_default();
            let name = key.strip_prefix('_').unwrap_or(&key);
            if name.len() < key.len() && node.member(name).is_some() {
                continue;
            }
            let plan = self.plan;
            let Some((spelling, order, is_array)) = plan.types.spelled(ty, name) else {
                return Err(Box::new(Error::UnknownElement {
                    wanted: plan.types.name(ty).to_owned(),
                    place: self.place(),
                }));
            };
            let mut items = Vec::new();
            values::children(node, &spelling, matches!(ty, Type::Model(_)), &mut items);
            for item in items {
                self.copy_item(item, to, &spelling, order, is_array)?;
            }
        }
        Ok(())
    }

    fn copy_item(
        &mut self,
        item: Value<'r>,
        to: TargetId,
        spelling: &Spelling,
        order: u16,
        is_array: bool,
    ) -> Result<(), Box<Error>> {
        let ty = match item {
            Value::Element { ty, .. } => ty,
            _ => spelling.ty,
        };
        let origin = self.origin(node_of(item).map(Node::id));
        let name = self.plan.types.kept_name(&spelling.name);
        let copy = self.target.child(to, Spec { name, order, is_array, ty }, false, origin);
        let copy = copy.map_err(|refused| self.refused(refused, spelling.name.text()))?;
        match node_of(item) {
            Some(node) if !ty.is_primitive() && node.is_object() => self.copy_object(node, ty, copy),
            _ => self.set_primitive(copy, spelling.name.text(), item),
        }
    }
}

fn text_or_unset<'r>(text: Option<Text<'r>>, ty: Type, source: Option<NodeId>) -> Value<'r> {
    text.map_or(Value::Unset, |text| Value::Text { text, ty, source })
}

fn spec_of<'r>(element: &'r ElementPlan, spelling: &'r Spelling, ty: Type) -> Spec<'r> {
    Spec { name: &spelling.name, order: element.order, is_array: element.is_array, ty }
}
