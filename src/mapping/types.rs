//! The types that a map reads and writes: those of R4, and logical models given as StructureDefinitions.
//!
//! A model becomes a small table when the map is loaded; nothing looks a name up when a record is mapped. The order
//! of a type's elements is the order in which the output writes them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use crate::fhir::r4::{ElementDef, TypeDef, TypeKind, choice_name, schema};
use crate::fhir::{Document, Name, NameId, Node};

/// A type, as a plan knows it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    /// Not known before the record arrives.
    Any,
    /// One of R4.
    Fhir(&'static TypeDef),
    /// A row of [`Types`].
    Model(u32),
}

impl Type {
    /// The R4 type called `name`.
    pub(super) fn fhir(name: &str) -> Type {
        schema().type_named(name).map_or(Type::Any, Type::Fhir)
    }

    /// Whether it is a primitive type of R4.
    #[inline]
    pub(super) fn is_primitive(self) -> bool {
        matches!(self, Type::Fhir(each) if each.kind == TypeKind::Primitive)
    }

    /// Whether its elements are known.
    pub(super) fn is_concrete(self) -> bool {
        match self {
            Type::Any => false,
            Type::Fhir(each) => !each.is_abstract,
            Type::Model(_) => true,
        }
    }

    /// Whether it is a resource type, which is written with a `resourceType`.
    pub(super) fn is_resource(self) -> bool {
        matches!(self, Type::Fhir(each) if each.kind == TypeKind::Resource)
    }

    /// The name of an R4 type.
    pub(super) fn fhir_name(self) -> Option<&'static str> {
        match self {
            Type::Fhir(each) => Some(each.name),
            _ => None,
        }
    }

    /// Whether a value of this type may stand where `other` is asked for.
    pub(super) fn is_a(self, other: Type) -> bool {
        if self == other {
            return true;
        }
        match (self, other) {
            (Type::Fhir(own), Type::Fhir(other)) if other.name == "Resource" => own.kind == TypeKind::Resource,
            (Type::Fhir(own), Type::Fhir(other)) => schema().is_a(own.name, other.name),
            _ => false,
        }
    }
}

/// The types that transforms make, looked up once.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) string: Type,
    pub(super) id: Type,
    pub(super) code: Type,
    pub(super) uri: Type,
    pub(super) boolean: Type,
    pub(super) integer: Type,
    pub(super) decimal: Type,
    pub(super) coding: Type,
    pub(super) codeable_concept: Type,
    /// Those that JSON writes without quotes.
    pub(super) bare: [Type; 5],
    /// `resourceType`.
    pub(super) resource_type: Name,
    /// The name of an element that stands nowhere.
    pub(super) no_name: Name,
}

/// See [`Made`].
pub(super) fn made() -> &'static Made {
    static MADE: LazyLock<Made> = LazyLock::new(|| Made {
        string: Type::fhir("string"),
        id: Type::fhir("id"),
        code: Type::fhir("code"),
        uri: Type::fhir("uri"),
        boolean: Type::fhir("boolean"),
        integer: Type::fhir("integer"),
        decimal: Type::fhir("decimal"),
        coding: Type::fhir("Coding"),
        codeable_concept: Type::fhir("CodeableConcept"),
        bare: ["boolean", "integer", "decimal", "unsignedInt", "positiveInt"].map(Type::fhir),
        resource_type: Name::new("resourceType"),
        no_name: Name::new(""),
    });
    &MADE
}

impl PartialEq for Type {
    fn eq(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Any, Type::Any) => true,
            (Type::Fhir(one), Type::Fhir(other)) => std::ptr::eq(*one, *other),
            (Type::Model(one), Type::Model(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Type {}

impl Hash for Type {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Type::Any => 0_u32.hash(state),
            Type::Fhir(each) => each.name.hash(state),
            Type::Model(index) => index.hash(state),
        }
    }
}

/// One way to spell an element in JSON.
#[derive(Clone, Debug)]
pub(super) struct Spelling {
    /// The JSON name.
    pub(super) name: Name,
    /// The type that this spelling says.
    pub(super) ty: Type,
}

/// An element of a type.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// Its place among the elements of its type.
    pub(super) order: u16,
    /// Whether JSON writes an array.
    pub(super) is_array: bool,
    /// One spelling, or one for each type of a choice element.
    pub(super) spellings: Vec<Spelling>,
}

impl Field {
    /// The type of the element, when it can have only one.
    pub(super) fn only_type(&self) -> Type {
        match self.spellings.as_slice() {
            [one] => one.ty,
            _ => Type::Any,
        }
    }
}

#[derive(Debug)]
struct Model {
    /// `CrisisEscalationRecord`, `CrisisEscalationRecord.person`.
    path: String,
    fields: Vec<(String, Field)>,
}

/// The logical models and profiles of one map, beside R4.
#[derive(Debug, Default)]
pub(super) struct Types {
    models: Vec<Model>,
    by_url: HashMap<String, Type>,
    by_path: HashMap<String, u32>,
    /// URLs of logical models that are those of R4 types.
    clashes: Vec<String>,
}

impl Types {
    /// Reads every StructureDefinition among `definitions`: logical models become types, profiles stand for the type
    /// that they constrain.
    pub(super) fn new(definitions: &[Document]) -> Types {
        let mut types = Types::default();
        let structures: Vec<Node<'_>> = definitions
            .iter()
            .map(Document::root)
            .filter(|root| root.resource_type() == Some("StructureDefinition"))
            .collect();
        for definition in &structures {
            types.declare(*definition);
        }
        for definition in
            structures.iter().filter(|each| is_logical(**each) && !is_r4(&each.text_of("url").unwrap_or_default()))
        {
            types.add_elements(*definition);
        }
        types
    }

    fn declare(&mut self, definition: Node<'_>) {
        let Some(url) = definition.text_of("url").map(Cow::into_owned) else { return };
        if is_logical(definition) && is_r4(&url) {
            return self.clashes.push(url);
        }
        let ty = if is_logical(definition) {
            let path = root_path(definition)
                .or_else(|| definition.text_of("name").map(Cow::into_owned))
                .unwrap_or_else(|| url.clone());
            Type::Model(self.model(&path))
        } else {
            Type::fhir(&definition.text_of("type").unwrap_or_default())
        };
        self.by_url.insert(url, ty);
    }

    /// The URLs of logical models that are those of R4 types: these stay what they are.
    pub(super) fn clashes(&self) -> &[String] {
        &self.clashes
    }

    fn model(&mut self, path: &str) -> u32 {
        if let Some(&known) = self.by_path.get(path) {
            return known;
        }
        let index = self.models.len() as u32;
        self.models.push(Model { path: path.to_owned(), fields: Vec::new() });
        self.by_path.insert(path.to_owned(), index);
        index
    }

    fn add_elements(&mut self, definition: Node<'_>) {
        let rows: Vec<Node<'_>> = elements(definition).collect();
        let paths: Vec<String> = rows.iter().filter_map(|row| row.text_of("path").map(Cow::into_owned)).collect();
        for (row, path) in rows.iter().zip(&paths) {
            let Some((parent, name)) = path.rsplit_once('.') else { continue };
            let nested =
                paths.iter().any(|other| other.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.')));
            let types = if nested { vec![Type::Model(self.model(path))] } else { self.types_of(*row) };
            let parent = self.model(parent) as usize;
            let is_array = row.text_of("max").is_some_and(|max| max != "1" && max != "0");
            let order = self.models[parent].fields.len() as u16;
            let field = model_field(name, types, order, is_array);
            self.models[parent].fields.push((name.trim_end_matches("[x]").to_owned(), field));
        }
    }

    fn types_of(&mut self, row: Node<'_>) -> Vec<Type> {
        if let Some(content) = row.text_of("contentReference").map(Cow::into_owned) {
            let path = content.rsplit('#').next().unwrap_or_default().to_owned();
            return vec![Type::Model(self.model(&path))];
        }
        let codes = row.items_of("type");
        codes
            .filter_map(|each| each.text_of("code").map(Cow::into_owned))
            .map(|code| self.named(&code).unwrap_or(Type::Any))
            .collect()
    }

    /// The type that a canonical URL or a type name means.
    pub(super) fn named(&self, name: &str) -> Option<Type> {
        if let Some(&known) = self.by_url.get(name) {
            return Some(known);
        }
        let fhir = match name.strip_prefix("http://hl7.org/fhir/") {
            Some(rest) => rest.rsplit_once("StructureDefinition/").map(|(_, last)| last)?,
            None => name,
        };
        let fhir = match fhir.strip_prefix("http://hl7.org/fhirpath/System.") {
            Some("String") => "string",
            Some("Boolean") => "boolean",
            Some("Integer") => "integer",
            Some("Decimal") => "decimal",
            Some("DateTime") => "dateTime",
            _ => fhir,
        };
        if let Some(known) = schema().type_named(fhir) {
            return Some(Type::Fhir(known));
        }
        self.by_path.get(name).map(|&index| Type::Model(index))
    }

    /// The type of a model's element with elements of its own, by its path: `CrisisEscalationRecord.person`.
    pub(super) fn model_at(&self, path: &str) -> Option<Type> {
        self.by_path.get(path).map(|&index| Type::Model(index))
    }

    /// What to call a type in a message.
    pub(super) fn name(&self, ty: Type) -> &str {
        match ty {
            Type::Any => "something",
            Type::Fhir(each) => each.name,
            Type::Model(index) => &self.models[index as usize].path,
        }
    }

    /// The element `name` of `ty`; a choice element by its stem or by one of its spellings.
    pub(super) fn field(&self, ty: Type, name: &str) -> Option<Field> {
        match ty {
            Type::Any => None,
            Type::Fhir(each) => fhir_field(each, name),
            Type::Model(index) => self.model_field(index, name),
        }
    }

    /// The element that the JSON name `name` spells in `ty`: spelling, order, whether it is an array.
    pub(super) fn spelled(&self, ty: Type, name: &str) -> Option<(Spelling, u16, bool)> {
        let field = self.field(ty, name)?;
        let (order, is_array) = (field.order, field.is_array);
        let spelling = field.spellings.into_iter().find(|spelling| spelling.name.text() == name)?;
        Some((spelling, order, is_array))
    }

    /// A name that [`Types::spelled`] found, for as long as the types live.
    pub(super) fn kept_name(&self, name: &Name) -> &Name {
        if name.id() != NameId::UNKNOWN {
            return name.id().name();
        }
        let spellings = self.models.iter().flat_map(|model| &model.fields).flat_map(|(_, field)| &field.spellings);
        spellings.map(|spelling| &spelling.name).find(|known| *known == name).unwrap_or(&made().no_name)
    }

    fn model_field(&self, index: u32, name: &str) -> Option<Field> {
        let fields = &self.models[index as usize].fields;
        if let Some((_, field)) = fields.iter().find(|(own, _)| own == name) {
            return Some(field.clone());
        }
        fields.iter().find_map(|(_, field)| {
            let spelled = field.spellings.iter().find(|spelling| spelling.name.text() == name)?;
            Some(Field { spellings: vec![spelled.clone()], ..field.clone() })
        })
    }

    /// The element names of `ty`, for hints.
    pub(super) fn names(&self, ty: Type) -> Vec<String> {
        match ty {
            Type::Any => Vec::new(),
            Type::Fhir(each) => each
                .elements
                .iter()
                .flat_map(|element| {
                    element.types.iter().map(|chosen| element.json_name(chosen.code)).chain([element.stem.to_owned()])
                })
                .collect(),
            Type::Model(index) => self.models[index as usize].fields.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// How an element of unknown type may be spelled: its own name, or as any choice element of R4 with that stem.
    pub(super) fn any_spellings(name: &str) -> Vec<Spelling> {
        let mut spellings = vec![Spelling { name: Name::new(name), ty: Type::Any }];
        spellings.extend(schema_choices(name).iter().filter(|chosen| chosen.name.text() != name).cloned());
        spellings
    }
}

/// The choice elements of R4 with this stem, in each of their spellings.
fn schema_choices(stem: &str) -> &'static [Spelling] {
    static CHOICES: LazyLock<HashMap<&'static str, Vec<Spelling>>> = LazyLock::new(|| {
        let mut choices: HashMap<&'static str, Vec<Spelling>> = HashMap::new();
        for row in crate::fhir::r4::types().iter().flat_map(|row| row.elements()) {
            let Some(stem) = row.path.rsplit('.').next().and_then(|last| last.strip_suffix("[x]")) else { continue };
            let known = choices.entry(stem).or_default();
            for code in crate::fhir::r4::type_codes(row.types) {
                let name = Name::new(&choice_name(stem, code));
                if !known.iter().any(|other| other.name == name) {
                    known.push(Spelling { name, ty: Type::fhir(code) });
                }
            }
        }
        choices
    });
    CHOICES.get(stem).map_or(&[], Vec::as_slice)
}

fn fhir_field(each: &'static TypeDef, name: &str) -> Option<Field> {
    if let Some(order) = each.elements.iter().position(|element| element.stem == name) {
        let element = &each.elements[order];
        let spellings = element.types.iter().map(|chosen| spelling(element, chosen.code)).collect();
        return Some(Field { order: order as u16, is_array: element.is_array(), spellings });
    }
    let id = NameId::of(name);
    let (element, chosen) =
        (id != NameId::UNKNOWN && !id.is_primitive_extension()).then(|| each.element(id)).flatten()?;
    let order = each.elements.iter().position(|other| std::ptr::eq(other, element))?;
    let spellings = vec![spelling(element, chosen.code)];
    Some(Field { order: order as u16, is_array: element.is_array(), spellings })
}

fn spelling(element: &ElementDef, code: &str) -> Spelling {
    Spelling { name: Name::new(&element.json_name(code)), ty: Type::fhir(code) }
}

fn model_field(name: &str, types: Vec<Type>, order: u16, is_array: bool) -> Field {
    let spellings = match name.strip_suffix("[x]") {
        Some(stem) => types
            .into_iter()
            .filter_map(|ty| Some(Spelling { name: Name::new(&choice_name(stem, ty.fhir_name()?)), ty }))
            .collect(),
        None => vec![Spelling { name: Name::new(name), ty: types.first().copied().unwrap_or(Type::Any) }],
    };
    Field { order, is_array, spellings }
}

/// Whether the canonical URL is that of an R4 type.
fn is_r4(url: &str) -> bool {
    url.strip_prefix(crate::fhir::snapshot::R4).is_some_and(|name| schema().type_named(name).is_some())
}

pub(super) fn is_logical(definition: Node<'_>) -> bool {
    definition.text_of("kind").as_deref() == Some("logical")
}

pub(super) fn elements<'a>(definition: Node<'a>) -> impl Iterator<Item = Node<'a>> {
    let view = definition.member("snapshot").or_else(|| definition.member("differential"));
    view.and_then(|view| view.member("element")).into_iter().flat_map(Node::items)
}

pub(super) fn root_path(definition: Node<'_>) -> Option<String> {
    elements(definition).next().and_then(|row| row.text_of("path").map(Cow::into_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;

    #[test]
    fn a_choice_is_found_by_stem_and_by_spelling() {
        let types = Types::default();
        let value = types.field(Type::fhir("Observation"), "value").expect("the stem is known");
        assert!(value.spellings.iter().any(|each| each.name.text() == "valueQuantity"));
        let quantity = types.field(Type::fhir("Observation"), "valueQuantity").expect("the spelling is known");
        assert_eq!((quantity.only_type(), quantity.order), (Type::fhir("Quantity"), value.order));
        assert!(types.field(Type::fhir("Condition"), "onsetDate").is_none());
    }

    #[test]
    fn a_type_is_what_it_specialises() {
        for each in schema().all() {
            let expected = schema().is_a(each.name, "Resource");
            assert_eq!(Type::Fhir(each).is_a(Type::fhir("Resource")), expected, "{}", each.name);
        }
        assert!(Type::fhir("Age").is_a(Type::fhir("Quantity")) && !Type::fhir("Quantity").is_a(Type::fhir("Age")));
    }

    #[test]
    fn a_logical_model_becomes_types() {
        let model = r##"{"resourceType":"StructureDefinition","url":"http://x/R","kind":"logical","type":"http://x/R",
            "differential":{"element":[{"path":"R"},{"path":"R.person","max":"1"},
            {"path":"R.person.given","max":"*","type":[{"code":"string"}]},
            {"path":"R.value[x]","max":"1","type":[{"code":"string"},{"code":"Quantity"}]},
            {"path":"R.other","max":"*","contentReference":"#R.person"}]}}"##;
        let document = Document::parse(model, &Limits::default()).expect("it is JSON");
        let types = Types::new(&[document]);
        let root = types.named("http://x/R").expect("it is declared");
        let person = types.field(root, "person").expect("it has a person").only_type();
        let given = types.field(person, "given").expect("a person has given names");
        assert!(given.is_array && given.only_type() == Type::fhir("string"));
        assert_eq!(types.field(root, "other").expect("it is there").only_type(), person);
        assert_eq!(types.field(root, "value").expect("it is there").spellings[1].name.text(), "valueQuantity");
        assert_eq!(types.name(person), "R.person");
        assert!(types.field(root, "persons").is_none());
    }
}
