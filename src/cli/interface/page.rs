//! The page of an interface, in Markdown.
//!
//! Invariant: made from definitions, map and agreements alone, in an order that follows from them: the same site gives the same page.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use time::Date;

use super::codes::Terms;
use super::model::{self, Field, Model};
use crate::disclosure::{self, Agreement, ConsentRule, Objection, Status};
use crate::fhir::Document;
use crate::fhir::definitions::without_version;
use crate::identity::InterfaceName;
use crate::mapping::{CompiledMap, FieldUse};
use crate::pipeline::{Interface, Stages};

/// The priorities of a request (FHIR R4 request-priority), the most pressing first.
const PRIORITIES: [(&str, &str); 4] =
    [("stat", "at once"), ("asap", "as soon as possible"), ("urgent", "urgent"), ("routine", "routine")];

/// What pages are made from.
pub(super) struct Sources<'s> {
    definitions: Vec<Document>,
    terms: Terms,
    stages: &'s Stages,
}

impl<'s> Sources<'s> {
    pub(super) fn new(definitions: Vec<Document>, stages: &'s Stages) -> Sources<'s> {
        Sources { terms: Terms::of(&definitions), definitions, stages }
    }

    /// The page of one interface; with a day also which agreements hold on it.
    pub(super) fn page(&self, name: &InterfaceName, at: Option<Date>) -> anyhow::Result<String> {
        if let Some(inbound) = self.stages.inbound.as_ref().filter(|inbound| inbound.name == *name) {
            return self.inbound(inbound);
        }
        let interface = self.stages.interfaces.get(name).context("an interface of the site")?;
        let map = self.map(name)?;
        let model = self.model(&interface.record)?;
        let mut page = String::new();
        head(&mut page, name, &model);
        let _infallible = write!(
            page,
            "\nRecords are submitted to `POST /records/{name}`, or with `weir send --interface {name}`. Logical model of the record: \
             `{}`. Profile of the message: `{}`.\n",
            interface.record, interface.profile
        );
        let agreements: Vec<_> =
            self.stages.agreements.iter().filter_map(|of| Some((&**of, of.interface(name)?))).collect();
        purpose(&mut page, &agreements);
        if let Some(day) = at.filter(|_| !agreements.is_empty()) {
            in_force(&mut page, &agreements, day);
        }
        consent(&mut page, &agreements);
        deadlines(&mut page, interface);
        self.fields(&mut page, &model, map);
        self.codes(&mut page, &model, map);
        self.message(&mut page, interface, map, &agreements);
        Ok(page)
    }

    /// The logical model at a URL.
    pub(super) fn model(&self, url: &str) -> anyhow::Result<Model> {
        let model = self.definition(url).with_context(|| format!("{url} is not loaded"))?;
        Ok(model::read(model.root()))
    }

    /// The map of an interface.
    pub(super) fn map(&self, name: &InterfaceName) -> anyhow::Result<&'s CompiledMap> {
        let map = self.stages.mappings.get(name).with_context(|| format!("no map is configured for {name}"))?;
        Ok(map)
    }

    fn definition(&self, url: &str) -> Option<&Document> {
        self.definitions.iter().find(|each| each.root().text_of("url").is_some_and(|own| own == without_version(url)))
    }

    fn title(&self, url: &str) -> String {
        let title = self.definition(url).and_then(|definition| definition.root().text_of("title"));
        title.map(std::borrow::Cow::into_owned).unwrap_or_default()
    }

    fn fields(&self, page: &mut String, model: &Model, map: &CompiledMap) {
        page.push_str(
            "\n## The fields of a record\n\n*How often*: `1..1` once, `0..1` at most once, `1..*` at least once. *Goes to*: the elements \
             of the message that the map makes of it, before an agreement takes away what may not leave.\n\n\
             | field | what it is | how often | type | goes to |\n|---|---|---|---|---|\n",
        );
        let mut targets: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        let mut deciding: BTreeSet<&str> = BTreeSet::new();
        let uses = map.fields();
        for FieldUse { field, element, .. } in &uses {
            match element {
                Some(element) => {
                    targets.entry(field).or_default().insert(element);
                }
                None => {
                    deciding.insert(field);
                }
            }
        }
        for field in &model.fields {
            let goes = ways(targets.get(&*field.path).into_iter().flatten().copied());
            let goes = match (goes.is_empty(), deciding.contains(&*field.path)) {
                (false, _) => goes,
                (true, true) => "decides what is made".to_owned(),
                (true, false) if field.types.iter().any(|of| of == "BackboneElement") => String::new(),
                (true, false) => "nowhere: the map leaves it out".to_owned(),
            };
            let mark = if field.essential.is_some() { " **essential**" } else { "" };
            row(
                page,
                &[&format!("`{}`{mark}", field.path), &field.short, &field.cardinality, &self.type_words(field), &goes],
            );
        }
        essential(page, model, "counted from the message");
        rules(page, model);
    }

    /// The types of a field, and where its codes come from.
    pub(super) fn type_words(&self, field: &Field) -> String {
        let words = field.types.iter().map(|code| if code == "BackboneElement" { "group" } else { code });
        let binding = field.binding.as_ref().map(|(strength, set)| format!(", {} ({strength})", self.anchor(set)));
        words.collect::<Vec<_>>().join(" or ") + &binding.unwrap_or_default()
    }

    fn anchor(&self, set: &str) -> String {
        let title = Some(self.title(set)).filter(|title| !title.is_empty());
        title.unwrap_or_else(|| without_version(set).rsplit('/').next().unwrap_or(set).to_owned())
    }

    fn codes(&self, page: &mut String, model: &Model, map: &CompiledMap) {
        let mut sets: BTreeMap<&str, Vec<&Field>> = BTreeMap::new();
        for field in &model.fields {
            if let Some((_, set)) = &field.binding {
                sets.entry(set).or_default().push(field);
            }
        }
        if sets.is_empty() {
            return;
        }
        page.push_str("\n## The codes\n\n*Becomes*: what a concept map of the map makes of the code, where it is more than words.\n");
        let uses = map.fields();
        for (set, fields) in sets {
            let names: Vec<String> = fields.iter().map(|field| format!("`{}`", field.path)).collect();
            let _infallible =
                write!(page, "\n### {}\n\nFor {}. Value set: `{set}`.\n\n", self.anchor(set), names.join(", "));
            let Some(codes) = self.terms.codes(set) else {
                page.push_str("The codes are not listed in what the site has loaded.\n");
                continue;
            };
            let is_of = |each: &&FieldUse| fields.iter().any(|field| field.path == each.field);
            let becomes: BTreeSet<(&str, &str)> = uses
                .iter()
                .filter(is_of)
                .filter_map(|each| Some((each.concept_map.as_deref()?, each.element.as_deref()?)))
                .filter(|(_, element)| !element.ends_with(".display"))
                .collect();
            let becomes: Vec<(&str, HashMap<String, String>)> = becomes
                .into_iter()
                .map(|(map_name, element)| (element, map.translations(map_name).into_iter().collect()))
                .collect();
            page.push_str(if becomes.is_empty() {
                "| code | words |\n|---|---|\n"
            } else {
                "| code | words | becomes |\n|---|---|---|\n"
            });
            let said: HashMap<String, String> = uses
                .iter()
                .filter(|each| {
                    is_of(each) && each.element.as_deref().is_some_and(|element| element.ends_with(".display"))
                })
                .flat_map(|each| each.concept_map.as_deref().map(|name| map.translations(name)).unwrap_or_default())
                .collect();
            for (_, code, words) in &codes.rows {
                let made =
                    becomes.iter().filter_map(|(element, rows)| Some(format!("`{element}` = `{}`", rows.get(code)?)));
                let made: Vec<String> = made.collect();
                let words = if words.is_empty() { said.get(code).unwrap_or(words) } else { words };
                let code = format!("`{code}`");
                match becomes.is_empty() {
                    true => row(page, &[&code, words]),
                    false => row(page, &[&code, words, &made.join(", ")]),
                }
            }
            let unnamed = |(_, code, words): &&(String, String, String)| words.is_empty() && !said.contains_key(code);
            let systems: BTreeSet<&str> = codes.rows.iter().filter(unnamed).map(|(system, ..)| &**system).collect();
            if !systems.is_empty() {
                let systems: Vec<String> = systems.into_iter().map(|system| format!("`{system}`")).collect();
                let _infallible =
                    write!(page, "\nWhere there are no words, the site has loaded none of {}.\n", systems.join(", "));
            }
            if !codes.more.is_empty() {
                let _infallible = write!(page, "\nAnd {}.\n", codes.more.join("; "));
            }
        }
    }

    /// What the profile of the message at a URL asks for.
    pub(super) fn asked(&self, page: &mut String, url: &str) {
        let profile = self.definition(url).map(|profile| model::read(profile.root()));
        let root = self.definition(url).and_then(|profile| profile.root().member("differential"));
        let first = root.and_then(|differential| differential.items_of("element").next());
        let own: Vec<String> = first
            .into_iter()
            .flat_map(|element| element.items_of("constraint"))
            .filter_map(|rule| rule.text_of("human").map(std::borrow::Cow::into_owned))
            .collect();
        let required: Vec<String> = profile
            .iter()
            .flat_map(|profile| &profile.fields)
            .filter_map(|field| {
                let words = if field.short.is_empty() { String::new() } else { format!(" ({})", field.short) };
                (!field.cardinality.starts_with('0'))
                    .then(|| format!("`Bundle.{}` {}{words}", field.path, field.cardinality))
            })
            .collect();
        if !required.is_empty() || !own.is_empty() {
            page.push_str("\nIts profile asks for:\n\n");
            required.iter().chain(&own).for_each(|each| {
                let _infallible = writeln!(page, "- {}", cell(each));
            });
        }
    }

    fn message(&self, page: &mut String, interface: &Interface, map: &CompiledMap, agreements: &[Covered<'_>]) {
        page.push_str("\n## The message\n\nA FHIR R4 message Bundle.");
        if let Some(kinds) = map.resource_types() {
            let kinds: Vec<&str> = kinds.into_iter().filter(|kind| *kind != "Bundle").collect();
            let _infallible = write!(page, " The map can make: {}.", kinds.join(", "));
        }
        page.push('\n');
        self.asked(page, &interface.profile);
        let mut parts: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (_, covered) in agreements {
            parts.extend(
                covered
                    .clauses()
                    .iter()
                    .map(|clause| (&*clause.resource, clause.profile.as_deref().unwrap_or_default())),
            );
        }
        if parts.is_empty() {
            return;
        }
        page.push_str("\nWhat of it leaves, by agreement; the permitted elements stand in the agreement's file:\n\n| resource | profile |");
        agreements.iter().for_each(|(agreement, _)| {
            let _infallible = write!(page, " `{}` |", agreement.id());
        });
        page.push_str("\n|---|---|");
        agreements.iter().for_each(|_| page.push_str("---|"));
        page.push('\n');
        for (kind, profile) in parts {
            let end = profile.rsplit('/').next().unwrap_or_default();
            let mut cells = vec![kind.to_owned(), if end.is_empty() { String::new() } else { format!("`{end}`") }];
            for (_, covered) in agreements {
                let own = covered.clauses().iter().filter(|clause| {
                    clause.resource == kind && clause.profile.as_deref().unwrap_or_default() == profile
                });
                let elements: usize = own.map(|clause| clause.elements.len()).sum();
                cells.push(if elements == 0 { "withheld".to_owned() } else { format!("{elements} elements") });
            }
            row(page, &cells.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

/// The title of a page, and what its model says of itself.
pub(super) fn head(page: &mut String, name: &InterfaceName, model: &Model) {
    let of = if model.title.is_empty() { name.as_str() } else { &model.title };
    let _infallible = write!(
        page,
        "# {of}: the interface `{name}`\n\n<!-- Made by `weir interface page {name}`. Change the definitions, the map or the \
         agreements, and make it anew. -->\n\n{}\n",
        model.description
    );
}

/// Elements as they are told: of more than two that differ only in how deep an element lies in others of its name, one.
pub(super) fn ways<'e>(elements: impl Iterator<Item = &'e str>) -> String {
    let mut ways: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for element in elements {
        let mut names: Vec<&str> = element.split('.').collect();
        names.dedup();
        ways.entry(names.join(".")).or_default().push(element);
    }
    let told = ways.iter().flat_map(|(way, elements)| match elements.len() {
        0..=2 => elements.iter().map(|element| format!("`{element}`")).collect(),
        _ => vec![format!("`{way}` at any depth")],
    });
    told.collect::<Vec<_>>().join(", ")
}

/// An agreement, and what it says about the interface.
type Covered<'a> = (&'a Agreement, &'a disclosure::Interface);

fn purpose(page: &mut String, agreements: &[Covered<'_>]) {
    page.push_str("\n## What it is for\n\n");
    if agreements.is_empty() {
        page.push_str("No agreement covers it: nothing leaves over it.\n");
        return;
    }
    page.push_str("| agreement | in force | to | purpose | lawful basis | kept for |\n|---|---|---|---|---|---|\n");
    for (agreement, _) in agreements {
        let basis = agreement.lawful_basis();
        let articles = [("UK GDPR ", &basis.article_6), ("UK GDPR ", &basis.article_9), ("", &basis.common_law)];
        let mut words: Vec<String> =
            articles.iter().filter(|(_, text)| !text.is_empty()).map(|(of, text)| format!("{of}{text}")).collect();
        words.extend(basis.statute.clone());
        row(
            page,
            &[
                &format!("`{}` version {}", agreement.id(), agreement.version()),
                &period(agreement),
                &format!("{} ({})", agreement.recipient().name, agreement.recipient().ods),
                &format!("{} (`{}`)", agreement.purpose().words, agreement.purpose().code),
                &words.join("; "),
                &format!("{} days", agreement.retention_days()),
            ],
        );
    }
    page.push_str(
        "\nThe lawful basis is what the agreement's file says; in the demonstration's agreements it is an example. What a sharing rests on \
         is for its controller to establish.\n",
    );
}

/// From when until when something may leave under an agreement. What day it is does not count here.
fn period(agreement: &Agreement) -> String {
    let days = format!("{} to {}", agreement.effective(), agreement.last_day());
    match agreement.status() {
        Status::Active => days,
        status => format!("no: its status is {status} (its days are {days})"),
    }
}

/// Which agreements hold on a day.
fn in_force(page: &mut String, agreements: &[Covered<'_>], day: Date) {
    let _infallible = write!(page, "\nOn {day}:\n\n");
    for (agreement, _) in agreements {
        let why = agreement.not_current(super::start_of(day));
        let state = why
            .map_or_else(|| "in force".to_owned(), |why| format!("**not in force**: {why}; nothing leaves under it"));
        let _infallible = writeln!(page, "- `{}` version {}: {state}", agreement.id(), agreement.version());
    }
}

fn consent(page: &mut String, agreements: &[Covered<'_>]) {
    if agreements.is_empty() {
        return;
    }
    page.push_str("\n## Consent\n\n| agreement | rule | if the person objects | the receiver sees what was withheld |\n|---|---|---|---|\n");
    for (agreement, covered) in agreements {
        let terms = covered.consent();
        let rule = match terms.rule {
            ConsentRule::Explicit => {
                "explicit: nothing leaves unless the record says that the person agreed".to_owned()
            }
            ConsentRule::Implied => "implied for direct care, until the person objects".to_owned(),
            ConsentRule::NotRequired => format!("not required: {}", terms.statute.as_deref().unwrap_or_default()),
        };
        let objection = match (terms.objection, covered.override_rule()) {
            (Objection::Override, Some(terms)) => {
                let bases: Vec<&str> = terms.bases.iter().map(|basis| basis.word()).collect();
                format!(
                    "nothing leaves without a recorded decision ({}), which the {} reviews within {} hours",
                    bases.join(", "),
                    terms.reviewer.word().replace('_', " "),
                    terms.review_hours
                )
            }
            (Objection::Record, _) => "it is recorded, and stops nothing".to_owned(),
            (Objection::Refuse | Objection::Override, _) => "nothing leaves".to_owned(),
        };
        let sees = match (covered.tells_withheld(), covered.list_withheld()) {
            (true, true) => "that it was, and which elements",
            (true, false) => "that it was",
            (false, _) => "no",
        };
        row(page, &[&format!("`{}`", agreement.id()), &rule, &objection, sees]);
    }
}

fn deadlines(page: &mut String, interface: &Interface) {
    page.push_str("\n## Deadlines\n");
    if interface.handover.is_none() {
        page.push_str("\nNobody is asked to take responsibility.\n");
    }
    let handover = interface.handover.as_ref();
    let limits = [
        (Some(&interface.deadlines), "acknowledged, from its acceptance here"),
        (handover.map(|terms| &terms.accept), "the receiving team takes responsibility, from its delivery"),
        (handover.map(|terms| &terms.contact), "the person is reached, from then on"),
    ];
    clocks(page, &limits.into_iter().filter_map(|(limits, words)| Some((limits?, words))).collect::<Vec<_>>());
}

/// A table of what is to be done by when, by the priority of the request.
pub(super) fn clocks(page: &mut String, clocks: &[(&BTreeMap<String, Duration>, &str)]) {
    if clocks.is_empty() {
        return;
    }
    let heads: Vec<&str> = clocks.iter().map(|(_, words)| *words).collect();
    let lines = "---|".repeat(clocks.len());
    let _infallible = write!(page, "\n| priority of the request | {} |\n|---|{lines}\n", heads.join(" | "));
    for (code, words) in PRIORITIES {
        let limits: Vec<String> =
            clocks.iter().map(|(limits, _)| limits.get(code).copied().map(in_words).unwrap_or_default()).collect();
        if limits.iter().any(|limit| !limit.is_empty()) {
            let mut cells = vec![format!("`{code}` ({words})")];
            cells.extend(limits);
            row(page, &cells.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

fn in_words(limit: Duration) -> String {
    let minutes = limit.as_secs() / 60;
    let several = |count: u64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    if minutes >= 60 && minutes.is_multiple_of(60) { several(minutes / 60, "hour") } else { several(minutes, "minute") }
}

/// What a record must say, and who obtains it when it does not.
pub(super) fn essential(page: &mut String, model: &Model, from: &str) {
    let essential: Vec<&Field> = model.fields.iter().filter(|field| field.essential.is_some()).collect();
    page.push_str("\n### What is essential\n\n");
    if essential.is_empty() {
        page.push_str("No field is marked as essential beyond those that must be there (`1..`).\n");
    } else {
        let _infallible = write!(
            page,
            "A record that lacks one of these says too little. Whoever is named must obtain it in that time, {from}.\n\n\
             | field | who must obtain it | within | the question | may be absent where; which count |\n|---|---|---|---|---|\n"
        );
    }
    for field in essential {
        let Some(mark) = &field.essential else { continue };
        let hours = format!("{} {}", mark.hours, if mark.hours == "1" { "hour" } else { "hours" });
        let unless = mark.unless.iter().map(|unless| format!("`{unless}`"));
        let counts = mark.counts.iter().map(|counts| format!("only those count where `{counts}`"));
        let but = unless.chain(counts).collect::<Vec<_>>().join("; ");
        let path = format!("`{}`", field.path);
        row(page, &[&path, &mark.role, &hours, mark.words.as_deref().unwrap_or_default(), &but]);
    }
}

/// What must be so of a record, in words.
pub(super) fn rules(page: &mut String, model: &Model) {
    let own = model.rules.iter().map(|rule| format!("- {}", cell(rule)));
    let of_fields = model
        .fields
        .iter()
        .flat_map(|field| field.rules.iter().map(move |rule| format!("- `{}`: {}", field.path, cell(rule))));
    let lines: Vec<String> = own.chain(of_fields).collect();
    if !lines.is_empty() {
        let _infallible = write!(page, "\n### What must be so\n\n{}\n", lines.join("\n"));
    }
}

/// A row of a table.
pub(super) fn row(page: &mut String, cells: &[&str]) {
    for each in cells {
        let _infallible = write!(page, "| {} ", cell(each));
    }
    page.push_str("|\n");
}

/// Text that stays in its cell.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_at_many_depths_are_told_once() {
        let elements =
            ["Consent.provision.provision.type", "List.item.item.item.text", "List.item.item.text", "List.item.text"];
        let told = "`Consent.provision.provision.type`, `List.item.text` at any depth";
        assert_eq!(ways(elements.into_iter()), told);
        assert_eq!(ways(elements[1..3].iter().copied()), "`List.item.item.item.text`, `List.item.item.text`");
        assert_eq!(ways(std::iter::empty()), "");
    }
}
