//! ValueSets and CodeSystems: what they select and list. Read from documents, and from the tables of base R4.
//!
//! Reading loses nothing silently: a constraint that these types have no field for is named in [`Include::other`], so
//! that whoever expands it can say that it is not checked.

use std::borrow::Cow;

use super::Node;
use super::definitions::without_version;

/// Text that is built in, or was read.
pub type Text = Cow<'static, str>;

/// A ValueSet's definition.
#[derive(Debug, Default)]
pub struct ValueSetDefinition {
    /// The canonical URL, without a version.
    pub url: String,
    /// `compose.include`.
    pub include: Vec<Include>,
    /// `compose.exclude`.
    pub exclude: Vec<Include>,
    /// What somebody else has found these to select, one for each system; empty if there is nothing, or not all of it.
    pub expansion: Vec<Include>,
}

/// One include or exclude.
#[derive(Debug, Default)]
pub struct Include {
    /// The code system, or empty.
    pub system: Text,
    /// The codes; where there are neither codes nor filters, all of the system.
    pub codes: Vec<Text>,
    /// What the value set calls some of the codes: a code and a display or designation.
    pub displays: Vec<(Text, Text)>,
    /// Filters that all must hold.
    pub filters: Vec<Filter>,
    /// Value sets that its codes must all be in.
    pub value_sets: Vec<Text>,
    /// Constraining members that have no field here.
    pub other: Vec<String>,
}

/// A condition on the codes of a system.
#[derive(Debug)]
pub struct Filter {
    /// `concept`, `code`, or a property of the system.
    pub property: Text,
    /// `is-a`, `regex`.
    pub op: Text,
    /// What it is compared with.
    pub value: Text,
}

/// How much of a code system is listed (`CodeSystem.content`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All its codes.
    Complete,
    /// Some, or none.
    Partial,
    /// None: it adds to another system.
    Supplement,
}

impl Content {
    fn of(code: &str) -> Content {
        match code {
            "complete" => Content::Complete,
            "supplement" => Content::Supplement,
            _ => Content::Partial,
        }
    }
}

/// A CodeSystem.
#[derive(Debug)]
pub struct CodeSystemDefinition {
    /// The canonical URL, without a version.
    pub url: String,
    /// How much of it is listed.
    pub content: Content,
    /// The concepts, each followed by those below it.
    pub concepts: Vec<Concept>,
    /// The properties that its concepts may have: code and type.
    pub properties: Vec<(String, String)>,
}

/// A concept of a code system.
#[derive(Debug)]
pub struct Concept {
    /// Its code.
    pub code: Text,
    /// How many concepts stand above it.
    pub level: usize,
    /// Whether it may be used as a value (it is not abstract).
    pub selectable: bool,
    /// Its properties: code and value.
    pub properties: Vec<(String, String)>,
    /// Its display and designations, a line each; empty where the system does not say them.
    pub names: Text,
}

/// A ValueSet from a document.
pub(super) fn value_set(root: Node<'_>, url: String) -> ValueSetDefinition {
    let compose = root.member("compose");
    let read = |name: &str| compose.into_iter().flat_map(|each| each.items_of(name)).map(include).collect();
    ValueSetDefinition { url, include: read("include"), exclude: read("exclude"), expansion: expansion(root) }
}

/// The codes of `expansion`, unless it says that it is a part.
fn expansion(root: Node<'_>) -> Vec<Include> {
    let Some(node) = root.member("expansion") else { return Vec::new() };
    let mut systems: Vec<Include> = Vec::new();
    let mut listed = 0;
    let mut open = vec![node.items_of("contains")];
    while let Some(level) = open.last_mut() {
        let Some(each) = level.next() else {
            open.pop();
            continue;
        };
        listed += 1;
        let is_abstract = text(each, "abstract").as_deref() == Some("true");
        if let (Some(code), Some(system), false) = (text(each, "code"), text(each, "system"), is_abstract) {
            match systems.iter_mut().find(|include| include.system == system) {
                Some(include) => include.codes.push(code.into()),
                None => systems.push(Include { system: system.into(), codes: vec![code.into()], ..Include::default() }),
            }
        }
        open.push(each.items_of("contains"));
    }
    // Its extensions say that it is too long, or not closed.
    let total = text(node, "total").and_then(|total| total.parse().ok()).unwrap_or(listed);
    let is_whole = total == listed && node.member("extension").is_none();
    if is_whole { systems } else { Vec::new() }
}

fn text(node: Node<'_>, name: &str) -> Option<String> {
    Some(node.member(name)?.scalar()?.into_owned())
}

fn include(node: Node<'_>) -> Include {
    let known = ["system", "version", "concept", "valueSet", "filter", "extension", "id"];
    let filter = |each: Node<'_>| {
        let part = |name: &str| text(each, name).unwrap_or_default().into();
        Filter { property: part("property"), op: part("op"), value: part("value") }
    };
    Include {
        system: text(node, "system").unwrap_or_default().into(),
        codes: node.items_of("concept").filter_map(|each| text(each, "code").map(Into::into)).collect(),
        displays: node.items_of("concept").flat_map(displays).collect(),
        filters: node.items_of("filter").map(filter).collect(),
        value_sets: node
            .items_of("valueSet")
            .filter_map(|each| Some(without_version(&each.scalar()?).to_owned().into()))
            .collect(),
        other: node
            .children()
            .filter_map(Node::name)
            .filter(|name| !known.contains(&&**name))
            .map(Into::into)
            .collect(),
    }
}

/// What a value set calls a code.
fn displays(concept: Node<'_>) -> Vec<(Text, Text)> {
    let Some(code) = text(concept, "code") else { return Vec::new() };
    names(concept).into_iter().map(|name| (code.clone().into(), name.into())).collect()
}

/// Display and designations of a concept.
fn names(concept: Node<'_>) -> Vec<String> {
    let designations = concept.items_of("designation").filter_map(|each| text(each, "value"));
    text(concept, "display").into_iter().chain(designations).collect()
}

/// A CodeSystem from a document.
pub(super) fn code_system(root: Node<'_>, url: String) -> CodeSystemDefinition {
    let content = match root.member("supplements") {
        Some(_) => Content::Supplement,
        None => Content::of(&root.text_of("content").unwrap_or_default()),
    };
    let mut concepts = Vec::new();
    let mut open = vec![root.items_of("concept")];
    while let Some(level) = open.last_mut() {
        let Some(node) = level.next() else {
            open.pop();
            continue;
        };
        if let Some(code) = text(node, "code") {
            concepts.push(concept(node, code, open.len() - 1));
            open.push(node.items_of("concept"));
        }
    }
    let properties = root.items_of("property").filter_map(|each| text(each, "code").zip(text(each, "type"))).collect();
    CodeSystemDefinition { url, content, concepts, properties }
}

fn concept(node: Node<'_>, code: String, level: usize) -> Concept {
    let mut properties = Vec::new();
    for property in node.items_of("property") {
        let value = property.children().find(|child| child.name().is_some_and(|name| name.starts_with("value")));
        let value = value.and_then(|value| value.scalar().or_else(|| value.member("code")?.scalar()));
        properties.extend(text(property, "code").zip(value.map(Cow::into_owned)));
    }
    let is_abstract =
        |(name, value): &(String, String)| matches!(name.as_str(), "notSelectable" | "abstract") && value == "true";
    let selectable = !properties.iter().any(is_abstract);
    let mut names = names(node);
    names.iter_mut().filter(|name| name.contains('\n')).for_each(|name| *name = name.replace('\n', " "));
    Concept { code: code.into(), level, selectable, properties, names: names.join("\n").into() }
}

impl CodeSystemDefinition {
    /// A row of `codesystems.tsv`, whose URL is known, with the displays of its row of `displays.tsv`.
    pub(super) fn of_row(
        url: &str,
        content: &str,
        codes: &'static str,
        displays: &'static str,
    ) -> CodeSystemDefinition {
        let mut displays = displays.split('|');
        let concept = |cell: &'static str| {
            let code = cell.trim();
            let level = cell.len() - cell.trim_start().len();
            let names = displays.next().map(|display| if display == "=" { code } else { display });
            let (selectable, names) = (!cell.ends_with(' '), names.unwrap_or_default().into());
            Concept { code: code.into(), level, selectable, properties: Vec::new(), names }
        };
        let concepts = codes.split('|').filter(|cell| !cell.is_empty()).map(concept).collect();
        CodeSystemDefinition { url: url.to_owned(), content: Content::of(content), concepts, properties: Vec::new() }
    }
}

impl Include {
    /// The cells of a row of `valuesets.tsv` behind its URL and sign.
    pub(super) fn of_cells(cells: &'static str) -> Include {
        let mut cells = cells.split('\t');
        let system = cells.next().unwrap_or_default().into();
        let texts = |cell: Option<&'static str>| -> Vec<Text> {
            cell.unwrap_or_default().split('|').filter(|text| !text.is_empty()).map(Into::into).collect()
        };
        let (codes, value_sets, rest) = (texts(cells.next()), texts(cells.next()), cells.next());
        let filter = |text: &'static str| {
            let mut parts = text.splitn(3, ' ').map(Into::into);
            let mut part = || parts.next().unwrap_or_default();
            Filter { property: part(), op: part(), value: part() }
        };
        let filters = rest.unwrap_or_default().split('|').filter(|text| !text.is_empty()).map(filter).collect();
        Include { system, codes, filters, value_sets, ..Include::default() }
    }
}
