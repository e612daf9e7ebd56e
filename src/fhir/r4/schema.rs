//! The types of R4 as a graph: which element a JSON name is in a type, how often, and of which type.
//!
//! Built once from the element table. Backbone elements are types of their own, named by their path
//! (`Bundle.entry`); a content reference leads to the type it names.

use std::sync::{LazyLock, OnceLock};

use super::{ElementRow, TypeRow, choice_name, type_codes, types};
use crate::fhir::FixedMap;
use crate::fhir::names::NameId;

/// What kind of type it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// `Patient`: has a `resourceType`.
    Resource,
    /// `HumanName`, and backbone elements.
    Complex,
    /// `string`, `date`.
    Primitive,
}

/// A type with its elements.
#[derive(Debug)]
pub struct TypeDef {
    /// `Patient`, `HumanName`, `Bundle.entry`.
    pub name: &'static str,
    /// Its kind.
    pub kind: TypeKind,
    /// Whether it is that of an element of another type: `Bundle.entry`.
    pub is_backbone: bool,
    /// Not to be used by itself: `Element`, `Resource`, `DomainResource`, `BackboneElement`.
    pub is_abstract: bool,
    /// The type it specialises; `BackboneElement` or `Element` for a backbone element; empty at the top.
    pub base: &'static str,
    /// Its elements, inherited ones included, in the order of the specification.
    pub elements: Vec<ElementDef>,
    /// The constraint keys on the type itself (`obs-6`), without `ele-1` and `ext-1`.
    pub constraints: Vec<&'static str>,
    by_name: Places,
}

/// An element of a type.
#[derive(Debug)]
pub struct ElementDef {
    /// `Patient.name`, `Observation.value[x]`.
    pub path: &'static str,
    /// The name in JSON, for a choice element its stem: `name`, `value`.
    pub stem: &'static str,
    /// Whether it is a choice element (`value[x]`).
    pub is_choice: bool,
    /// Smallest number of occurrences.
    pub min: u32,
    /// Largest number of occurrences; `None` for `*`.
    pub max: Option<u32>,
    /// The types it may have.
    pub types: Vec<TypeRef>,
    /// Binding strength and value set, or empty.
    pub binding: &'static str,
    /// Whether it changes the meaning of its parent.
    pub is_modifier: bool,
    /// Constraint keys on the element, without `ele-1` and `ext-1`.
    pub constraints: Vec<&'static str>,
}

/// A type that an element may have.
#[derive(Debug)]
pub struct TypeRef {
    /// The type's name in the [`Schema`]: `string`, `Reference`, `Bundle.entry`; `Resource` for any resource.
    pub code: &'static str,
    /// For a reference: the resource types it may point to; empty for any.
    pub targets: Vec<&'static str>,
    def: OnceLock<Option<&'static TypeDef>>,
}

impl TypeRef {
    /// The type itself, looked up once.
    #[inline]
    pub fn def(&self) -> Option<&'static TypeDef> {
        *self.def.get_or_init(|| schema().type_named(self.code))
    }
}

impl ElementDef {
    /// Whether JSON writes it as an array.
    pub fn is_array(&self) -> bool {
        self.max != Some(1)
    }

    /// The name in JSON of this element with the type `code`.
    pub fn json_name(&self, code: &str) -> String {
        if self.is_choice { choice_name(self.stem, code) } else { self.stem.to_owned() }
    }
}

impl TypeDef {
    /// The element that `name` spells, and the type that the spelling says (the only one for a plain element).
    /// `_name` finds the same as `name`.
    pub fn element(&self, name: NameId) -> Option<(&ElementDef, &TypeRef)> {
        let (element, chosen) = self.place(name)?;
        let element = self.elements.get(element)?;
        Some((element, element.types.get(chosen)?))
    }

    /// The places of the same two: in [`TypeDef::elements`], and in that element's [`ElementDef::types`].
    pub fn place(&self, name: NameId) -> Option<(usize, usize)> {
        self.by_name.find(name.without_underscore())
    }

    /// The element with this stem: `value` for `value[x]`.
    pub fn element_by_stem(&self, stem: &str) -> Option<&ElementDef> {
        self.elements.iter().find(|element| element.stem == stem)
    }
}

/// Which element and type each JSON name of a type spells.
#[derive(Debug, Default)]
struct Places {
    /// In the order of the specification; of two with one name the first holds.
    names: Vec<(NameId, u8, u8)>,
    /// Open addressing over `names`, each place plus one; 0 is an empty slot. The length is a power of two.
    slots: Vec<u8>,
}

impl Places {
    #[inline]
    fn slot(&self, name: NameId) -> usize {
        name.index().wrapping_mul(0x9E37_79B1) >> 7 & (self.slots.len() - 1)
    }

    #[inline]
    fn find(&self, name: NameId) -> Option<(usize, usize)> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.slot(name);
        loop {
            let (own, element, chosen) = self.names[usize::from(self.slots[at]).checked_sub(1)?];
            if own == name {
                return Some((usize::from(element), usize::from(chosen)));
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds a name unless it is there.
    fn add(&mut self, name: NameId, element: usize, chosen: usize) {
        if self.names.iter().all(|(own, ..)| *own != name) {
            let place = |number: usize| u8::try_from(number).expect("no type of R4 has 256 elements or spellings");
            self.names.push((name, place(element), place(chosen)));
        }
    }

    /// Makes it ready to be searched.
    fn finish(&mut self) {
        self.slots = vec![0; (self.names.len() * 2 + 1).next_power_of_two()];
        for (number, (name, ..)) in (1..).zip(&self.names) {
            let mut at = self.slot(*name);
            while self.slots[at] != 0 {
                at = (at + 1) & (self.slots.len() - 1);
            }
            self.slots[at] = number;
        }
    }
}

/// All types of R4.
#[derive(Debug)]
pub struct Schema {
    types: FixedMap<&'static str, TypeDef>,
}

/// The one schema of base R4.
pub fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::build);
    &SCHEMA
}

impl Schema {
    /// The type called `name`.
    pub fn type_named(&self, name: &str) -> Option<&TypeDef> {
        self.types.get(name)
    }

    /// The resource type called `name`, if it is one that can stand by itself.
    pub fn resource(&self, name: &str) -> Option<&TypeDef> {
        self.type_named(name).filter(|each| each.kind == TypeKind::Resource && !each.is_abstract)
    }

    /// Every type, in no particular order.
    pub fn all(&self) -> impl Iterator<Item = &TypeDef> {
        self.types.values()
    }

    /// Whether `name` is `ancestor` or specialises it, over any number of steps.
    pub fn is_a(&self, name: &str, ancestor: &str) -> bool {
        let mut at = name;
        loop {
            if at == ancestor {
                return true;
            }
            match self.types.get(at) {
                Some(each) if !each.base.is_empty() => at = each.base,
                _ => return false,
            }
        }
    }

    fn build() -> Schema {
        let mut schema = Schema { types: FixedMap::default() };
        for each in types() {
            schema.add_type(&each);
        }
        schema.types.values_mut().for_each(|each| each.by_name.finish());
        schema
    }

    fn add_type(&mut self, row: &TypeRow) {
        let (kind, is_abstract) = match row.kind.strip_suffix('!') {
            Some(kind) => (kind, true),
            None => (row.kind, false),
        };
        let kind = match kind {
            "resource" => TypeKind::Resource,
            "primitive-type" => TypeKind::Primitive,
            _ => TypeKind::Complex,
        };
        let mut rows = row.elements();
        let own = rows.next().map(|first| keys(first.constraints)).unwrap_or_default();
        self.types.insert(row.name, TypeDef::new(row.name, kind, is_abstract, row.base, own));
        for element in rows {
            self.add_element(element);
        }
    }

    /// Adds one element to the type its path stands in, and the type it opens if it is a backbone element.
    fn add_element(&mut self, row: ElementRow) {
        let Some((parent, last)) = row.path.rsplit_once('.') else { return };
        let types: Vec<TypeRef> = split_types(row.types).map(|cell| type_ref(cell, row.path)).collect();
        let backbone = types.len() == 1 && types[0].code == row.path;
        let definition = ElementDef {
            path: row.path,
            stem: last.strip_suffix("[x]").unwrap_or(last),
            is_choice: last.ends_with("[x]"),
            min: row.min.parse().unwrap_or(0),
            max: row.max.parse().ok(),
            types,
            binding: row.binding,
            is_modifier: row.flags.contains('M'),
            constraints: keys(row.constraints),
        };
        if let Some(parent) = self.types.get_mut(parent) {
            parent.add(definition);
        }
        if backbone {
            let base = type_codes(row.types).next().unwrap_or_default();
            self.types.insert(row.path, TypeDef::new(row.path, TypeKind::Complex, false, base, Vec::new()));
        }
    }
}

impl TypeDef {
    fn new(
        name: &'static str,
        kind: TypeKind,
        is_abstract: bool,
        base: &'static str,
        constraints: Vec<&'static str>,
    ) -> TypeDef {
        let is_backbone = name.contains('.');
        TypeDef {
            name,
            kind,
            is_backbone,
            is_abstract,
            base,
            elements: Vec::new(),
            constraints,
            by_name: Places::default(),
        }
    }

    fn add(&mut self, element: ElementDef) {
        let index = self.elements.len();
        for (chosen, each) in element.types.iter().enumerate() {
            let name = if element.is_choice {
                NameId::of(&choice_name(element.stem, each.code))
            } else {
                NameId::of(element.stem)
            };
            self.by_name.add(name, index, chosen);
        }
        self.elements.push(element);
    }
}

fn keys(cell: &'static str) -> Vec<&'static str> {
    cell.split(',').filter(|key| !matches!(*key, "" | "ele-1" | "ext-1")).collect()
}

fn split_types(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split(',').filter(|each| !each.is_empty())
}

/// `Reference(Patient|Group)`, `#Bundle.link`, `BackboneElement` (which is the type named by the path), `string`.
fn type_ref(cell: &'static str, path: &'static str) -> TypeRef {
    if let Some(content) = cell.strip_prefix('#') {
        return TypeRef { code: content, targets: Vec::new(), def: OnceLock::new() };
    }
    let (code, targets) = match cell.split_once('(') {
        Some((code, targets)) => (code, targets.trim_end_matches(')').split('|').collect()),
        None => (cell, Vec::new()),
    };
    let code = code.split('[').next().unwrap_or(code);
    let code = if matches!(code, "BackboneElement" | "Element") { path } else { code };
    let targets = if targets == ["Resource"] { Vec::new() } else { targets };
    TypeRef { code, targets, def: OnceLock::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(type_name: &str, name: &str) -> (&'static ElementDef, &'static TypeRef) {
        let each = schema().type_named(type_name).expect("the type exists");
        each.element(NameId::of(name)).expect("the element exists")
    }

    #[test]
    fn a_choice_spelling_says_its_type() {
        let (definition, chosen) = element("Observation", "valueQuantity");
        assert_eq!((definition.path, chosen.code, definition.is_array()), ("Observation.value[x]", "Quantity", false));
        assert_eq!(element("Patient", "_birthDate").1.code, "date");
        assert!(schema().type_named("Condition").expect("it exists").element(NameId::of("onsetDate")).is_none());
    }

    #[test]
    fn backbones_and_content_references_are_types() {
        assert_eq!(element("Bundle", "entry").1.code, "Bundle.entry");
        assert!(element("Bundle", "entry").0.is_array());
        assert_eq!(element("Bundle.entry", "link").1.code, "Bundle.link");
        assert_eq!(element("Bundle.entry", "resource").1.code, "Resource");
        assert_eq!(element("Bundle.entry", "modifierExtension").1.code, "Extension");
    }

    #[test]
    fn every_type_that_is_named_exists() {
        for each in schema().types.values() {
            for element in &each.elements {
                assert!(!element.types.is_empty(), "{}", element.path);
                for chosen in &element.types {
                    assert!(schema().type_named(chosen.code).is_some(), "{} of {}", chosen.code, element.path);
                }
            }
        }
    }

    #[test]
    fn types_know_their_ancestors() {
        assert!(schema().is_a("Patient", "DomainResource"));
        assert!(schema().is_a("Bundle", "Resource"));
        assert!(!schema().is_a("Bundle", "DomainResource"));
        assert!(schema().is_a("Age", "Quantity"));
        assert!(schema().resource("DomainResource").is_none());
    }

    #[test]
    fn a_reference_knows_its_targets() {
        assert_eq!(element("AllergyIntolerance", "patient").1.targets, ["Patient"]);
        assert!(element("Observation", "focus").1.targets.is_empty());
    }
}
