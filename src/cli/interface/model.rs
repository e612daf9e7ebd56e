//! A logical model as rows of a page: each field with its cardinality, types, binding and what makes it essential.

use crate::fhir::Node;

/// The extension of an element without which a record says too little: who must obtain it, and within how many hours.
const ESSENTIAL: &str = "https://weir.example/fhir/StructureDefinition/weir-essential";

/// One field of a record.
#[derive(Debug)]
pub(super) struct Field {
    /// Its path from the record: `person.nhsNumber`.
    pub(super) path: String,
    /// What it is, in words.
    pub(super) short: String,
    /// `1..1`
    pub(super) cardinality: String,
    /// Its types.
    pub(super) types: Vec<String>,
    /// Strength and value set.
    pub(super) binding: Option<(String, String)>,
    /// What must be so, in words.
    pub(super) rules: Vec<String>,
    /// Who must obtain it when it is missing, and in how many hours.
    pub(super) essential: Option<Essential>,
}

/// What makes a field essential.
#[derive(Debug)]
pub(super) struct Essential {
    /// The role that must obtain it.
    pub(super) role: String,
    /// Within how many hours.
    pub(super) hours: String,
    /// The question to whoever must.
    pub(super) words: Option<String>,
    /// Where it may be absent: FHIRPath.
    pub(super) unless: Option<String>,
    /// Which of several count.
    pub(super) counts: Option<String>,
}

/// A model, read.
#[derive(Debug)]
pub(super) struct Model {
    /// Its title.
    pub(super) title: String,
    /// What it says of itself.
    pub(super) description: String,
    /// What must be so of a record as a whole.
    pub(super) rules: Vec<String>,
    /// Its fields in order.
    pub(super) fields: Vec<Field>,
}

/// Reads a StructureDefinition of kind `logical`.
pub(super) fn read(definition: Node<'_>) -> Model {
    let text = |name: &str| definition.text_of(name).map(std::borrow::Cow::into_owned).unwrap_or_default();
    let view = ["differential", "snapshot"].iter().find_map(|view| definition.member(view));
    let elements: Vec<Node<'_>> = view.into_iter().flat_map(|view| view.items_of("element")).collect();
    let below = |element: &&Node<'_>| element.text_of("path").is_some_and(|path| path.contains('.'));
    let root = elements.iter().find(|element| !below(element));
    Model {
        title: text("title"),
        description: text("description"),
        rules: root.map(|root| rules(*root)).unwrap_or_default(),
        fields: elements.iter().filter(below).map(|element| field(*element)).collect(),
    }
}

fn field(element: Node<'_>) -> Field {
    let text = |name: &str| element.member(name).and_then(Node::scalar).map(std::borrow::Cow::into_owned);
    let path = text("path").unwrap_or_default();
    let types = element.items_of("type").filter_map(|each| each.text_of("code").map(std::borrow::Cow::into_owned));
    let binding = element.member("binding").and_then(|binding| {
        Some((binding.text_of("strength")?.into_owned(), binding.text_of("valueSet")?.into_owned()))
    });
    Field {
        path: path.split_once('.').map(|(_, field)| field.to_owned()).unwrap_or_default(),
        short: text("short").or_else(|| text("definition")).unwrap_or_default(),
        cardinality: format!(
            "{}..{}",
            text("min").unwrap_or_else(|| "0".to_owned()),
            text("max").unwrap_or_else(|| "*".to_owned())
        ),
        types: types.collect(),
        binding,
        rules: rules(element),
        essential: essential(element),
    }
}

fn rules(element: Node<'_>) -> Vec<String> {
    let rules = element.items_of("constraint").filter_map(|rule| rule.text_of("human"));
    rules.map(std::borrow::Cow::into_owned).collect()
}

fn essential(element: Node<'_>) -> Option<Essential> {
    let is_it = |extension: &Node<'_>| extension.text_of("url").is_some_and(|url| url == ESSENTIAL);
    let mark = element.items_of("extension").find(is_it)?;
    let part = |name: &str| {
        let part = mark.items_of("extension").find(|part| part.text_of("url").is_some_and(|url| url == name))?;
        part.children().find(|child| child.name().is_some_and(|name| name.starts_with("value")))
    };
    let words = |name: &str| part(name).and_then(Node::scalar).map(std::borrow::Cow::into_owned);
    let role = part("role").and_then(|role| role.text_of("display").or_else(|| role.text_of("code")));
    Some(Essential {
        role: role.map(std::borrow::Cow::into_owned).or_else(|| words("role")).unwrap_or_default(),
        hours: words("hours").unwrap_or_default(),
        words: words("words"),
        unless: words("unless"),
        counts: words("counts"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};

    #[test]
    fn a_field_is_read_with_what_makes_it_essential() {
        let model = r#"{"resourceType":"StructureDefinition","title":"Call","differential":{"element":[
            {"id":"Call","path":"Call","constraint":[{"key":"c-1","human":"Somebody calls"}]},
            {"id":"Call.phone","path":"Call.phone","short":"Number","min":0,"max":"1","type":[{"code":"string"}],
             "binding":{"strength":"required","valueSet":"http://x/vs"},
             "extension":[{"url":"https://weir.example/fhir/StructureDefinition/weir-essential","extension":[
                {"url":"role","valueCoding":{"code":"team","display":"The team"}},{"url":"hours","valueInteger":4},
                {"url":"words","valueString":"Which number?"}]}]}]}}"#;
        let document = Document::parse(model, &Limits::default()).expect("it is JSON");
        let model = read(document.root());
        assert_eq!((&*model.title, model.rules), ("Call", vec!["Somebody calls".to_owned()]));
        let field = &model.fields[0];
        assert_eq!((&*field.path, &*field.cardinality, &*field.short), ("phone", "0..1", "Number"));
        assert_eq!(field.binding, Some(("required".to_owned(), "http://x/vs".to_owned())));
        let essential = field.essential.as_ref().expect("it is essential");
        assert_eq!((&*essential.role, &*essential.hours), ("The team", "4"));
        assert_eq!((essential.words.as_deref(), essential.unless.as_deref()), (Some("Which number?"), None));
    }
}
