//! Types and element names as plans keep them: what a name finds in each FHIR type is looked up at parse.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use super::dialect::Dialect;
use super::item::{Element, Item, Items, Quantity, TypeInfo, Value};
use super::temporal::{Date, DateTime, Time};
use crate::fhir::r4::{TypeDef, TypeKind, schema, types};
use crate::fhir::{Kind, Name, NameId, Node};

/// One spelling of an element in JSON, with the type that it says: `valueQuantity`.
#[derive(Debug)]
struct Spelling {
    name: NameId,
    type_def: &'static TypeDef,
}

/// What one element name finds in each type that has it, by the type's address.
#[derive(Debug, Default)]
pub(super) struct Stem {
    by_type: Vec<(usize, Vec<Spelling>)>,
    /// Open addressing over `by_type`, each place plus one; 0 is an empty slot. The length is a power of two.
    slots: Vec<u16>,
}

static STEMS: LazyLock<HashMap<&'static str, Stem>> = LazyLock::new(|| stems(&all_types()));

/// [`STEMS`], and each choice element under its JSON names as well.
static JSON_NAMES: LazyLock<HashMap<&'static str, Stem>> = LazyLock::new(|| json_names(&all_types()));

/// The spellings of all elements of each type, sorted by the type's address and then by name.
static MEMBERS: LazyLock<Stem> = LazyLock::new(|| members(&all_types()));

fn address(type_def: &'static TypeDef) -> usize {
    std::ptr::from_ref(type_def).addr()
}

/// Every type of R4, backbone elements included.
fn all_types() -> Vec<&'static TypeDef> {
    let mut names: BTreeSet<&'static str> = BTreeSet::new();
    for row in types() {
        names.insert(row.name);
        names.extend(row.elements().filter_map(|element| Some(element.path.rsplit_once('.')?.0)));
    }
    names.into_iter().filter_map(|name| schema().type_named(name)).collect()
}

/// The elements of a type with their spellings. The value of a primitive is not among them: it is the element itself.
fn elements(type_def: &'static TypeDef) -> impl Iterator<Item = (&'static str, Vec<Spelling>)> {
    let children = type_def.elements.iter();
    let children = children.filter(|element| type_def.kind != TypeKind::Primitive || element.stem != "value");
    children.map(|element| {
        let spelling = |code: &str| {
            let type_def = child_type(type_def, element.stem, code)?;
            Some(Spelling { name: NameId::of(&element.json_name(code)), type_def })
        };
        (element.stem, element.types.iter().filter_map(|chosen| spelling(chosen.code)).collect())
    })
}

fn stems(types: &[&'static TypeDef]) -> HashMap<&'static str, Stem> {
    let mut stems: HashMap<&'static str, Stem> = HashMap::new();
    for type_def in types {
        for (stem, spellings) in elements(type_def) {
            stems.entry(stem).or_default().by_type.push((address(type_def), spellings));
        }
    }
    stems.values_mut().for_each(Stem::finish);
    stems
}

fn json_names(types: &[&'static TypeDef]) -> HashMap<&'static str, Stem> {
    let mut names = stems(types);
    for type_def in types {
        let spelled =
            |(stem, all): (&'static str, Vec<Spelling>)| all.into_iter().filter(move |each| each.name.text() != stem);
        for spelling in elements(type_def).flat_map(spelled) {
            let known = names.entry(spelling.name.text()).or_default();
            if known.by_type.iter().all(|(owner, _)| *owner != address(type_def)) {
                known.by_type.push((address(type_def), vec![spelling]));
            }
        }
    }
    names.values_mut().for_each(Stem::finish);
    names
}

fn members(types: &[&'static TypeDef]) -> Stem {
    let all = |type_def: &'static TypeDef| elements(type_def).flat_map(|(_, spellings)| spellings).collect();
    let mut members =
        Stem { by_type: types.iter().map(|type_def| (address(type_def), all(type_def))).collect(), slots: Vec::new() };
    members.finish();
    members
}

/// The type of an element. The id of a resource is an `id`; the definitions of R4 say `string` (FHIR R4, Resource).
fn child_type(parent: &TypeDef, stem: &str, code: &str) -> Option<&'static TypeDef> {
    let is_resource_id = parent.kind == TypeKind::Resource && stem == "id";
    schema().type_named(if is_resource_id { "id" } else { code })
}

impl Stem {
    /// Makes it ready to be searched.
    fn finish(&mut self) {
        for (_, spellings) in &mut self.by_type {
            spellings.sort_by_key(|spelling| spelling.name);
        }
        self.slots = vec![0; (self.by_type.len() * 2).next_power_of_two()];
        for (place, (owner, _)) in (1..).zip(&self.by_type) {
            let mut at = self.slot(*owner);
            while self.slots[at] != 0 {
                at = (at + 1) & (self.slots.len() - 1);
            }
            self.slots[at] = place;
        }
    }

    #[inline]
    fn slot(&self, owner: usize) -> usize {
        ((owner as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize & (self.slots.len() - 1)
    }

    fn in_type(&self, type_def: &'static TypeDef) -> Option<&[Spelling]> {
        let owner = address(type_def);
        let mut at = self.slot(owner);
        loop {
            let (own, spellings) = &self.by_type[usize::from(self.slots[at]).checked_sub(1)?];
            if *own == owner {
                return Some(spellings);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

/// What a step finds that asks for one item.
pub(super) enum Found<'a> {
    Nothing,
    One(Item<'a>),
    /// Perhaps several: a collection must tell.
    Several,
}

/// A value, its `_name` sibling, and the type of both.
type Spelled<'a> = (Option<Node<'a>>, Option<Node<'a>>, &'static TypeDef);

/// A step of a path: a name, and what it finds in each FHIR type.
#[derive(Debug)]
pub(super) struct Step {
    name: Name,
    stem: Option<&'static Stem>,
    /// `value` in a dialect where it may mean the primitive itself.
    is_own_value: bool,
}

impl Step {
    pub(super) fn new(name: &str, dialect: Dialect<'_>) -> Step {
        let stem = if dialect.is_lenient() { JSON_NAMES.get(name) } else { STEMS.get(name) };
        Step { name: Name::new(name), stem, is_own_value: dialect.is_lenient() && name == "value" }
    }

    pub(super) fn name(&self) -> &str {
        self.name.text()
    }

    /// The types that the element of this name may have in `type_def`, if it has one.
    pub(super) fn types_in(&self, type_def: &'static TypeDef) -> Option<Vec<&'static TypeDef>> {
        if self.is_own_value && type_def.kind == TypeKind::Primitive {
            return Some(vec![type_def]);
        }
        let spellings = self.stem?.in_type(type_def)?;
        Some(spellings.iter().map(|spelling| spelling.type_def).collect())
    }

    /// The children of `item` with this name.
    #[inline]
    pub(super) fn walk<'a>(&self, item: &Item<'a>, found: &mut Items<'a>) {
        if self.is_own_value && is_primitive(item) {
            found.push(item.clone());
            return;
        }
        match item {
            Item::Element(element) => match element.type_def() {
                Some(type_def) => self.walk_typed(element, type_def, found),
                None => self.walk_record(element, found),
            },
            Item::Value(value) => self.walk_value(value, found),
        }
    }

    /// The only child of `item` with this name, without a collection around it.
    #[inline]
    pub(super) fn walk_to_one<'a>(&self, item: &Item<'a>) -> Found<'a> {
        let Item::Element(element) = item else { return Found::Several };
        let Some(type_def) = element.type_def().filter(|_| !self.is_own_value) else { return Found::Several };
        let Some((value, extension, child_type)) = self.spelled(element, type_def) else { return Found::Nothing };
        if extension.is_some() {
            return Found::Several;
        }
        let Some(value) = value else { return Found::Nothing };
        let mut items = value.items();
        match (items.next().filter(|node| node.kind() != Kind::Null), items.next()) {
            (Some(only), None) => Found::One(Item::of_node(only, Some(child_type))),
            _ => Found::Several,
        }
    }

    fn walk_typed<'a>(&self, element: &Element<'a>, type_def: &'static TypeDef, found: &mut Items<'a>) {
        if let Some((value, extension, child_type)) = self.spelled(element, type_def) {
            push_typed(value, extension, child_type, found);
        }
    }

    /// The members of `element` that spell this name, value and `_name`, and the type of its values.
    #[inline]
    fn spelled<'a>(&self, element: &Element<'a>, type_def: &'static TypeDef) -> Option<Spelled<'a>> {
        let spellings = self.stem.and_then(|stem| stem.in_type(type_def))?;
        let node = if type_def.kind == TypeKind::Primitive { element.extension() } else { element.value() };
        let node = node.filter(|node| node.is_object())?;
        let (mut value, mut extension, mut child_type) = (None, None, None);
        for child in node.children() {
            let name = child.name_id();
            let Some(spelling) = find(spellings, name.without_underscore()) else { continue };
            child_type = Some(spelling.type_def);
            if name.is_primitive_extension() {
                extension = Some(child);
            } else {
                value = Some(child);
                if spelling.type_def.kind != TypeKind::Primitive {
                    break;
                }
            }
            if value.is_some() && extension.is_some() {
                break;
            }
        }
        Some((value, extension, child_type?))
    }

    fn walk_record<'a>(&self, element: &Element<'a>, found: &mut Items<'a>) {
        if let Some(child) = element.value().and_then(|node| node.get(&self.name)) {
            push_record(child, found);
        }
    }

    fn walk_value<'a>(&self, value: &Value<'a>, found: &mut Items<'a>) {
        let part = match (value, self.name()) {
            (Value::Type(TypeInfo { name, .. }), "name") => Value::String((*name).into()),
            (Value::Type(TypeInfo { namespace, .. }), "namespace") => Value::String((*namespace).into()),
            (Value::Quantity(Quantity { value, .. }), "value") => Value::Decimal(*value),
            (Value::Quantity(Quantity { unit, .. }), "unit" | "code") => Value::String(unit.clone()),
            _ => return,
        };
        found.push(Item::Value(part));
    }
}

/// Whether the item is a value without parts.
fn is_primitive(item: &Item<'_>) -> bool {
    match item {
        Item::Element(element) => element.is_primitive(),
        Item::Value(value) => !matches!(value, Value::Quantity(_) | Value::Type(_)),
    }
}

#[inline]
fn find(spellings: &[Spelling], name: NameId) -> Option<&Spelling> {
    match spellings {
        [only] => (only.name == name).then_some(only),
        several => several.binary_search_by_key(&name, |spelling| spelling.name).ok().map(|at| &several[at]),
    }
}

/// Adds an element, or the items of a repeating one: values paired with their `_name` siblings by position.
pub(super) fn push_typed<'a>(
    value: Option<Node<'a>>,
    extension: Option<Node<'a>>,
    type_def: &'static TypeDef,
    found: &mut Items<'a>,
) {
    if !value.or(extension).is_some_and(Node::is_array) {
        push_one(value, extension, type_def, found);
        return;
    }
    let mut values = value.filter(|node| node.is_array()).map(Node::children);
    let mut extensions = extension.filter(|node| node.is_array()).map(Node::children);
    loop {
        let value = values.as_mut().and_then(Iterator::next);
        let extension = extensions.as_mut().and_then(Iterator::next);
        if value.is_none() && extension.is_none() {
            return;
        }
        push_one(value, extension, type_def, found);
    }
}

fn push_one<'a>(
    value: Option<Node<'a>>,
    extension: Option<Node<'a>>,
    type_def: &'static TypeDef,
    found: &mut Items<'a>,
) {
    let value = value.filter(|node| node.kind() != Kind::Null);
    let extension = extension.filter(|node| node.is_object());
    if value.is_none() && extension.is_none() {
        return;
    }
    found.push(Item::of_primitive(value, extension, Some(type_def)));
}

/// Adds a member of a plain record; arrays give their items.
pub(super) fn push_record<'a>(node: Node<'a>, found: &mut Items<'a>) {
    if node.is_array() {
        node.children().for_each(|item| push_record(item, found));
    } else if node.kind() != Kind::Null {
        found.push(Item::of_node(node, None));
    }
}

/// All children of `item`, in document order; no more than needed to have `most` in `found`.
pub(super) fn children<'a>(item: &Item<'a>, found: &mut Items<'a>, most: usize) {
    let Item::Element(element) = item else { return };
    let Some(type_def) = element.type_def() else {
        if let Some(node) = element.value().filter(|node| node.is_object()) {
            node.children().for_each(|child| push_record(child, found));
        }
        return;
    };
    let node = if type_def.kind == TypeKind::Primitive { element.extension() } else { element.value() };
    let Some(node) = node.filter(|node| node.is_object()) else { return };
    let Some(members) = MEMBERS.in_type(type_def) else { return };
    for child in node.children() {
        if found.len() >= most {
            return;
        }
        let name = child.name_id();
        let Some(spelling) = find(members, name.without_underscore()) else { continue };
        let is_sibling = |other: &Node<'a>| {
            other.name_id() != name && other.name_id().without_underscore() == name.without_underscore()
        };
        if spelling.type_def.kind != TypeKind::Primitive {
            push_typed(Some(child), None, spelling.type_def, found);
        } else if !name.is_primitive_extension() {
            push_typed(Some(child), node.children().find(is_sibling), spelling.type_def, found);
        } else if !node.children().any(|other| is_sibling(&other)) {
            push_typed(None, Some(child), spelling.type_def, found);
        }
    }
}

/// A type specifier: `Quantity` may mean the FHIR type, the system type or both.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeTest {
    fhir: Option<&'static TypeDef>,
    system: Option<&'static str>,
}

const SYSTEM_TYPES: [&str; 10] =
    ["Any", "Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity", "TypeInfo"];

impl TypeTest {
    /// The type called `name`, in `namespace` (`System`, `FHIR`) if one is given.
    pub(super) fn new(namespace: Option<&str>, name: &str) -> Option<TypeTest> {
        let fhir = schema().type_named(name).filter(|_| namespace != Some("System"));
        let system = SYSTEM_TYPES.into_iter().find(|each| *each == name && namespace != Some("FHIR"));
        let known = matches!(namespace, None | Some("System" | "FHIR"));
        // `System.Patient` names no type, but asking for it is not an error: nothing is one.
        (known && (fhir.is_some() || system.is_some() || namespace == Some("System")))
            .then_some(TypeTest { fhir, system })
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> &'static str {
        self.fhir.map(|type_def| type_def.name).or(self.system).unwrap_or("of a type that does not exist")
    }

    /// Whether it is the system type of that name.
    pub(super) fn is_system_named(&self, name: &str) -> bool {
        self.system == Some(name)
    }

    /// Whether every value is of the type.
    pub(super) fn is_any(&self) -> bool {
        self.system == Some("Any")
    }

    pub(super) fn fhir(&self) -> Option<&'static TypeDef> {
        self.fhir
    }

    /// `is`: of the type or one that specialises it.
    pub(super) fn is(&self, item: &Item<'_>) -> bool {
        match item {
            Item::Element(element) => match element.type_def() {
                Some(type_def) => self.is_type(type_def),
                None => item.value().is_some_and(|value| self.is_system(&value) || self.fits_plain(&value)),
            },
            Item::Value(value) => self.is_system(value),
        }
    }

    /// Whether an element of this FHIR type is of the type.
    pub(super) fn is_type(&self, type_def: &'static TypeDef) -> bool {
        self.fhir.is_some_and(|fhir| std::ptr::eq(fhir, type_def) || schema().is_a(type_def.name, fhir.name))
    }

    /// `as` and `ofType`: a primitive only of exactly the type, as the published suite has it.
    pub(super) fn selects(&self, item: &Item<'_>) -> bool {
        match (item, self.fhir) {
            (Item::Element(element), Some(fhir)) if fhir.kind == TypeKind::Primitive => {
                element.type_def().is_some_and(|type_def| std::ptr::eq(type_def, fhir))
                    || element.type_def().is_none() && self.is(item)
            }
            _ => self.is(item),
        }
    }

    /// Whether a value in a record, which carries no type, is written as the primitive type writes it.
    fn fits_plain(&self, value: &Value<'_>) -> bool {
        let Some(fhir) = self.fhir.filter(|fhir| fhir.kind == TypeKind::Primitive) else { return false };
        match (fhir.name, value) {
            ("boolean", Value::Boolean(_)) | ("decimal", Value::Integer(_) | Value::Decimal(_)) => true,
            ("integer" | "positiveInt" | "unsignedInt", Value::Integer(_)) => true,
            ("boolean" | "decimal" | "integer" | "positiveInt" | "unsignedInt", _) => false,
            ("date", Value::String(text)) => Date::parse(text).is_some(),
            ("dateTime" | "instant", Value::String(text)) => DateTime::parse(text).is_some(),
            ("time", Value::String(text)) => Time::parse(text).is_some(),
            (_, value) => matches!(value, Value::String(_)),
        }
    }

    fn is_system(&self, value: &Value<'_>) -> bool {
        self.system.is_some_and(|name| name == "Any" || name == value.type_info().name)
    }
}

/// What `type()` says of an item.
pub(super) fn type_info(item: &Item<'_>) -> TypeInfo {
    match item {
        Item::Element(element) => match element.type_def() {
            Some(type_def) => TypeInfo { namespace: "FHIR", name: type_def.name },
            None => item.value().map_or(TypeInfo { namespace: "System", name: "Any" }, |value| value.type_info()),
        },
        Item::Value(value) => value.type_info(),
    }
}
