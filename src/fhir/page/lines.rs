//! What a resource says, as lines of a label and words: any resource that R4 knows, element by element.
//!
//! Enters: a resource of a received Bundle. Leaves: its [`Line`]s, without what is for machines or goes without saying. Invariant:
//! an element that was withheld has a line that says so; one that R4 does not know is counted, never shown.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::dosage::is_dosing;
use super::html::plain_text;
use super::references::{Called, Own};
use crate::fhir::bundle::Entries;
use crate::fhir::labels::{DATA_ABSENT_REASON, is_masked};
use crate::fhir::narrative::words::{is_for_machines, is_type_for_machines, label_of, words_of};
use crate::fhir::narrative::{HEADLINES, goes_without_saying};
use crate::fhir::r4::{ElementDef, TypeDef, TypeKind, schema};
use crate::fhir::{Kind, NameId, Node, NodeId, keys};

/// What an element says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Said {
    /// These words.
    Words(String),
    /// There is a value, and it was withheld.
    Withheld,
    /// There is no value, for this reason (a code of data-absent-reason).
    Absent(String),
    /// Nothing came, and nothing says why.
    Nothing,
}

/// One element of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its name in R4 without a type (`value` of `valueString`); of an extension, the end of its URL.
    pub(super) stem: String,
    /// Whether it says what the resource is about.
    pub(super) is_headline: bool,
    /// Whether it turns the meaning of the rest: `entered-in-error`, `doNotPerform`, a modifier extension.
    pub(super) is_loud: bool,
    /// Whether the banner warns of it already: a modifier extension, rules of its own.
    pub(super) is_modifier: bool,
    /// Whether it is one of an extension, which may be called like an element.
    pub(super) is_extension: bool,
    /// Its name in words; empty where the words stand for themselves.
    pub(super) label: Cow<'static, str>,
    /// What it says.
    pub(super) said: Said,
    /// How severe the level is that it says, 5 to 1; 0 where it says none.
    pub(super) severity: u8,
    /// The parts of the resource that it stands in, the outermost first: it says nothing of what is outside the last.
    pub(super) within: Vec<Part>,
}

/// A part of a resource that stands apart: one of several, or one of which is said what could be said of the resource as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Which one.
    pub(super) id: NodeId,
    /// Its name in R4: `prediction`.
    pub(super) stem: &'static str,
    /// Its name in words; of a resource inside another, its kind.
    pub(super) label: Cow<'static, str>,
}

impl Said {
    /// The same for a list of words.
    pub(super) fn in_words(&self) -> Cow<'_, str> {
        match self {
            Said::Words(words) => words.into(),
            Said::Withheld => "withheld".into(),
            Said::Absent(_) => "not recorded".into(),
            Said::Nothing => "not received".into(),
        }
    }
}

impl Line {
    /// With its label, for a list of words.
    pub(super) fn in_words(&self) -> String {
        let said = self.said.in_words();
        if self.label.is_empty() { said.into_owned() } else { format!("{}: {said}", self.label) }
    }

    fn inside(mut self, part: &Part) -> Line {
        self.within.insert(0, part.clone());
        self.is_headline = false;
        self
    }
}

/// The parts at a depth, each with the lines that stand in it.
pub(super) fn parts_of<'l>(lines: &[&'l Line], depth: usize) -> Vec<(&'l Part, Vec<&'l Line>)> {
    let mut parts: Vec<(&Part, Vec<&Line>)> = Vec::new();
    for line in lines {
        let Some(part) = line.within.get(depth) else { continue };
        match parts.last_mut() {
            Some((last, lines)) if last.id == part.id => lines.push(line),
            _ => parts.push((part, vec![line])),
        }
    }
    parts
}

/// States after which nothing of a resource holds as it did.
const LOUD_STATES: [&str; 13] = [
    "entered-in-error",
    "revoked",
    "cancelled",
    "refuted",
    "stopped",
    "rejected",
    "inactive",
    "on-hold",
    "not-done",
    "not-taken",
    "suspended",
    "abandoned",
    "resolved",
];

/// What is a record of what was done, so that it is complete from its beginning.
const DONE: [&str; 9] = [
    "CarePlan",
    "ClinicalImpression",
    "Communication",
    "FamilyMemberHistory",
    "Immunization",
    "Media",
    "MedicationAdministration",
    "Procedure",
    "QuestionnaireResponse",
];

/// Elements that say when something was noted.
const NOTED: [&str; 10] = [
    "authored",
    "authoredOn",
    "created",
    "date",
    "dateAsserted",
    "dateTime",
    "issued",
    "recorded",
    "recordedDate",
    "recordedOn",
];

/// What has as performer who is to do it, not who made it.
const DOERS: [&str; 4] = ["CarePlan.activity.detail", "ServiceRequest", "MedicationRequest", "DeviceRequest"];

/// Reads the resources of one Bundle.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    /// The Bundle's entries.
    pub(super) entries: &'a Entries<'a>,
    /// Times that are the message's own, as written: that something was noted then is left out.
    pub(super) own_times: Vec<String>,
    /// What is the message's own: a line does not name it again.
    pub(super) own: Own,
    /// How many elements were met that R4 does not know.
    pub(super) unknown: Cell<usize>,
    /// What was read already: a resource may be referred to any number of times.
    pub(super) read: RefCell<BTreeMap<NodeId, Rc<[Line]>>>,
    /// The same of how what is referred to is called.
    pub(super) called: RefCell<BTreeMap<NodeId, Rc<Called>>>,
}

impl<'a> Reader<'a> {
    /// What a resource says.
    pub(super) fn lines(&self, resource: Node<'a>) -> Rc<[Line]> {
        if let Some(lines) = self.read.borrow().get(&resource.id()) {
            return lines.clone();
        }
        let lines: Rc<[Line]> = self.read_lines(resource).into();
        self.read.borrow_mut().insert(resource.id(), lines.clone());
        lines
    }

    fn read_lines(&self, resource: Node<'a>) -> Vec<Line> {
        let mut lines = Vec::new();
        match resource.resource_type().and_then(|name| schema().resource(name)) {
            Some(of) => lines = self.collect(resource, of),
            None => self.unknown.set(self.unknown.get() + 1),
        }
        if !lines.is_empty() {
            return lines;
        }
        let narrative = resource.child(keys().text).and_then(|text| text.child(keys().div)).and_then(Node::text);
        if let Some(text) = narrative.map(|div| plain_text(&div)).filter(|text| !text.is_empty()) {
            lines.push(line("text", Cow::Borrowed(""), Said::Words(text)));
        }
        lines
    }

    /// The lines of a resource or a part: its own, then those of its parts that stand apart.
    fn collect(&self, node: Node<'a>, of: &'static TypeDef) -> Vec<Line> {
        let (mut lines, mut apart) = (Vec::new(), Vec::new());
        for child in node.children() {
            let name = child.name_id();
            let found = of.element(name).and_then(|(element, chosen)| Some((element, chosen.def()?)));
            let is_reference = found.is_some_and(|(_, to)| to.name == "Reference");
            // `data` of an attachment is for machines, that of a consent says what it is about.
            let is_part = found.is_some_and(|(_, to)| to.is_backbone);
            let is_for_machines = !is_reference && !is_part && is_for_machines(name.without_underscore());
            if name.without_underscore() == keys().resource_type || is_for_machines {
                continue;
            }
            let Some((element, to)) = found else {
                self.unknown.set(self.unknown.get() + 1);
                continue;
            };
            let is_part = to.is_backbone && !is_dosing(to.name) && !name.is_primitive_extension();
            let is_one = is_part && child.items().filter(|each| each.kind() != Kind::Null).nth(1).is_none();
            for each in child.items().filter(|each| each.kind() != Kind::Null) {
                let part = |label| Part { id: each.id(), stem: element.stem, label };
                if to.name == "Resource" {
                    let part = part(words_of(each.resource_type().unwrap_or("Resource")).into());
                    apart.extend(self.read_lines(each).into_iter().map(|line| line.inside(&part)));
                } else if is_part && absent(each).is_none() {
                    let inner = self.collect(each, to);
                    if is_one && !stands_apart(&inner, of, &lines) {
                        let (own, parts): (Vec<Line>, Vec<Line>) =
                            inner.into_iter().partition(|line| line.within.is_empty());
                        lines.extend(own);
                        apart.extend(parts);
                    } else {
                        let part = part(label_of(element.stem));
                        apart.extend(inner.into_iter().map(|line| line.inside(&part)));
                    }
                } else {
                    self.element(each, of, element, to, &mut lines);
                }
            }
        }
        lines.extend(apart);
        lines
    }

    /// The lines of one value of an element that is no part.
    fn element(&self, node: Node<'a>, of: &TypeDef, element: &ElementDef, to: &TypeDef, lines: &mut Vec<Line>) {
        let stem = element.stem;
        let names_it = HEADLINES.contains(&stem) || matches!(stem, "name" | "description");
        let is_headline = of.kind == TypeKind::Resource && names_it;
        let severity = if stem == "qualitativeRisk" { severity_of(node) } else { 0 };
        let label = || if stem == "description" { Cow::Borrowed("") } else { label_of(stem) };
        match to.name {
            "CodeableConcept" if is_masked_value(node) => {
                lines.push(line("value", label_of("value"), Said::Withheld));
            }
            "Extension" if stem == "modifierExtension" => lines.extend(self.modifier(node)),
            "Extension" => self.extension(node, "", lines),
            _ if is_type_for_machines(to) => {}
            _ => match absent(node) {
                Some(said) => lines.push(Line { is_headline, severity, ..line(stem, label(), said) }),
                None if node.name_id().is_primitive_extension() => {
                    let own = node.items_at(keys().extension);
                    own.for_each(|extension| self.extension(extension, stem, lines));
                }
                None => {
                    let Some(words) = self.value(node, to).filter(|words| !self.is_quiet(of, stem, node, words)) else {
                        return;
                    };
                    let is_modifier = stem == "implicitRules";
                    let is_over = of.name.starts_with("Medication") && stem == "status" && words == "completed";
                    let is_loud = is_modifier || is_over || is_loud(stem, &words, node);
                    let said = line(stem, label(), Said::Words(words));
                    lines.push(Line { is_headline, is_loud, is_modifier, severity, ..said });
                }
            },
        }
    }

    /// What a modifier extension says: one line at least, whatever it lacks.
    pub(super) fn modifier(&self, node: Node<'a>) -> Vec<Line> {
        let mut lines = Vec::new();
        self.extension(node, "", &mut lines);
        if lines.is_empty() {
            let url = node.child(keys().url).and_then(Node::text).unwrap_or_default();
            let words = if url.trim().is_empty() { "it has no name".to_owned() } else { url.into_owned() };
            lines.push(line("modifierExtension", Cow::Borrowed("Modifier"), Said::Words(words)));
        }
        lines.into_iter().map(|line| Line { is_loud: true, is_modifier: true, ..line }).collect()
    }

    /// An extension is called by the end of its URL, behind the name of the one that it is part of.
    fn extension(&self, node: Node<'a>, of: &str, lines: &mut Vec<Line>) {
        let url = node.child(keys().url).and_then(Node::text).unwrap_or_default();
        let end = url.rsplit('/').next().unwrap_or_default();
        let end =
            ["weir-", "Extension-UKCore-", "Extension-"].iter().find_map(|ours| end.strip_prefix(ours)).unwrap_or(end);
        if url == DATA_ABSENT_REASON || end.is_empty() {
            return;
        }
        let stem = if of.is_empty() { end.to_owned() } else { format!("{of}, {}", words_of(end).to_lowercase()) };
        let label: Cow<'static, str> = match of.is_empty() {
            true => words_of(end).into(),
            false => words_of(&stem).into(),
        };
        let extension = schema().type_named("Extension");
        for child in node.children() {
            let name = child.name_id();
            let to = extension.and_then(|of| of.element(name)).and_then(|(_, chosen)| chosen.def());
            if name == keys().extension {
                child.items().for_each(|part| self.extension(part, &stem, lines));
            } else if let Some(to) = to.filter(|_| name != keys().url && name != keys().id) {
                let said =
                    child.items().filter_map(|item| absent(item).or_else(|| self.value(item, to).map(Said::Words)));
                lines.extend(said.map(|said| Line { is_extension: true, ..line(&stem, label.clone(), said) }));
            }
        }
    }

    /// Whether words say what everybody takes for granted: a usual status, that it was noted at the time of the message.
    fn is_quiet(&self, of: &TypeDef, stem: &str, node: Node<'a>, words: &str) -> bool {
        let text = || match node.is_object() {
            true => node.child(keys().start).filter(|_| node.children().count() == 1).and_then(Node::text),
            false => node.text(),
        };
        is_usual(of, stem, words)
            || (stem == "status" && words == "requested")
            || (self.is_own(stem, node) && !(stem == "performer" && DOERS.contains(&of.name)))
            || (says_when_noted(of, stem) && text().is_some_and(|text| self.own_times.iter().any(|own| *own == text)))
    }
}

/// Whether a state or an intent goes without saying: that a record is complete does, that a part of a plan or a medicine is done with
/// does not.
pub(super) fn is_usual(of: &TypeDef, stem: &str, words: &str) -> bool {
    let is_news = match words {
        "completed" => !DONE.contains(&of.name),
        "unknown" => of.kind == TypeKind::Resource,
        _ => false,
    };
    goes_without_saying(stem, words) && !(stem == "status" && is_news)
}

/// Whether an element says when something was noted or seen. When something happened, began or ended is never left out.
fn says_when_noted(of: &TypeDef, stem: &str) -> bool {
    let is_of_its_kind = matches!(
        (of.name, stem),
        ("Observation" | "DiagnosticReport", "effective")
            | ("RiskAssessment", "occurrence")
            | ("Encounter" | "Flag", "period")
    );
    is_of_its_kind || NOTED.contains(&stem)
}

fn line(stem: &str, label: Cow<'static, str>, said: Said) -> Line {
    let (is_headline, is_loud, is_modifier, is_extension) = (false, false, false, false);
    Line {
        stem: stem.to_owned(),
        is_headline,
        is_loud,
        is_modifier,
        is_extension,
        label,
        said,
        severity: 0,
        within: Vec::new(),
    }
}

/// Whether the lines of a part that is one alone would be taken for what is said of the whole (`of`, with `lines` so far).
fn stands_apart(inner: &[Line], of: &TypeDef, lines: &[Line]) -> bool {
    let stems: BTreeSet<&str> = lines.iter().map(|line| &*line.stem).collect();
    let is_answer = |line: &Line| matches!(&line.said, Said::Words(words) if words == "yes" || words == "no");
    let turns =
        |line: &Line| of.kind == TypeKind::Resource && (line.is_loud || line.label.is_empty() || is_answer(line));
    let is_of_both = |line: &Line| of.element_by_stem(&line.stem).is_some() || stems.contains(&*line.stem);
    inner.iter().filter(|line| line.within.is_empty()).any(|line| turns(line) || is_of_both(line))
}

/// How severe a level of risk is, 5 to 1; an unknown one stands between high and moderate.
pub(super) fn severity_of(level: Node<'_>) -> u8 {
    let codes = level.items_of("coding").filter_map(|of| of.text_of("code"));
    let severity = |code: &str| match code {
        "imminent" | "certain" | "critical" | "extreme" | "very-high" => 5,
        "high" | "likely" => 4,
        "moderate" | "medium" | "possible" => 2,
        "low" | "negligible" | "none" | "unlikely" => 1,
        _ => 3,
    };
    codes.map(|code| severity(&code)).max().unwrap_or(3)
}

/// Whether an element is the code that says of an observation that its value was withheld.
pub(super) fn is_masked_value(node: Node<'_>) -> bool {
    let is_reason = node.name_id() == NameId::of("dataAbsentReason");
    is_reason && node.items_of("coding").filter_map(|coding| coding.text_of("code")).any(|code| code == "masked")
}

/// Why an element has no value, if it says nothing more than that.
pub(super) fn absent(node: Node<'_>) -> Option<Said> {
    let is_more = |child: &Node<'_>| child.name_id() != keys().extension && child.name_id() != keys().id;
    if !node.is_object() || node.children().any(|child| is_more(&child)) {
        return None;
    }
    let extensions = || node.items_at(keys().extension);
    let reason =
        extensions().find(|extension| extension.text_of("url").is_some_and(|url| url == DATA_ABSENT_REASON))?;
    // A value that was made less exact says both.
    if extensions().count() > 1 {
        return None;
    }
    Some(match is_masked(reason) {
        true => Said::Withheld,
        false => Said::Absent(reason.text_of("valueCode").unwrap_or_default().into_owned()),
    })
}

fn is_loud(stem: &str, words: &str, node: Node<'_>) -> bool {
    let is_state = stem == "status" || stem.ends_with("Status");
    let code = || {
        node.items_of("coding").filter_map(|coding| coding.text_of("code")).any(|code| LOUD_STATES.contains(&&*code))
    };
    (is_state && (LOUD_STATES.contains(&words) || code())) || (stem == "doNotPerform" && words == "yes")
}
