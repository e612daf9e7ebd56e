//! The middle of a page: the sections of the summary, the most pressing first, and whatever stands in none.
//!
//! Invariant: every resource of the Bundle is shown once, in a section or below; one that two sections refer to is named in the second.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::frame::{heading_codes, is_open};
use super::html::plain_text;
use super::lines::Line;
use super::references::{THE_PERSON, shortened};
use super::{Page, words_of};
use crate::fhir::narrative::{Heading, tells_part_withheld};
use crate::fhir::r4::schema;
use crate::fhir::{Node, NodeId, keys};

/// Headings in the order in which a clinician in a hurry needs them; those that are not here follow in their own order.
const FIRST: [&str; 11] = [
    "clinical-risk-assessment",
    "risks-to-self",
    "risks-to-others",
    "risk-from-others",
    "relevant-clinical-risk-factors",
    "risk-mitigation",
    "safeguarding",
    "crisis-plan",
    "early-warning-signs",
    "presenting-complaints-or-issues",
    "outstanding-issues",
];
const LAST: [&str; 4] = [
    "active-medications",
    "allergies-and-adverse-reaction",
    "plan-and-requested-actions",
    "consent-for-information-sharing",
];
/// What a reader must never take for nothing when it is not there: label, headings, kinds of resources.
const TOPICS: [(&str, &[&str], &[&str]); 4] = [
    (
        "Risks",
        &["clinical-risk-assessment", "risks-to-self", "risks-to-others", "risk-from-others"],
        &["RiskAssessment"],
    ),
    ("Safeguarding", &["safeguarding"], &["Flag"]),
    ("Medication", &["active-medications"], &["MedicationStatement", "MedicationRequest", "MedicationAdministration"]),
    ("Allergies", &["allergies-and-adverse-reaction"], &["AllergyIntolerance"]),
];
/// Words of a flag of safeguarding.
const SAFEGUARDING: [&str; 4] = ["safeguard", "protection", "abuse", "neglect"];
/// Why a section is empty, by the codes of <http://terminology.hl7.org/CodeSystem/list-empty-reason>.
const EMPTY: [(&str, &str); 6] = [
    ("nilknown", "none known"),
    ("notasked", "not asked"),
    ("withheld", "withheld"),
    ("unavailable", "not available"),
    ("notstarted", "not started"),
    ("closed", "closed"),
];
/// The most sections that are shown by themselves.
const MAX_SECTIONS: usize = 200;
/// How much of what is around a section is said again in it, in characters.
const OUTER_LENGTH: usize = 80;
/// Resources that only hold others together.
const FRAME: [&str; 2] = ["MessageHeader", "Composition"];
impl<'a> Page<'a> {
    /// The sections of every summary, then what no section has.
    pub(super) fn sections(&mut self) {
        let mut sections = Vec::new();
        let compositions = self.resources().into_iter().filter(|of| of.resource_type() == Some("Composition"));
        compositions.for_each(|composition| gather(composition, &[], &mut sections));
        let more = sections.split_off(sections.len().min(MAX_SECTIONS));
        sections.sort_by_key(|section| rank(section.node));
        for section in &sections {
            self.section(section);
        }
        if !more.is_empty() {
            self.html.raw(
                "<p class=\"alert\">The summary has more sections than are shown; what they refer to stands below.</p>",
            );
        }
        self.rest();
        self.missing(&sections);
    }

    fn section(&mut self, Section { node: section, outer }: &Section<'a>) {
        let section = *section;
        let title = title_of(section);
        let references = section.items_at(keys().entry).collect::<Vec<_>>();
        let mut targets: Vec<Node<'a>> =
            references.iter().filter_map(|to| self.frame.reader.entries.target(*to)).collect();
        let mut distinct = BTreeSet::new();
        targets.retain(|target| distinct.insert(target.id()));
        targets
            .sort_by_key(|target| Reverse(if self.shown.contains(&target.id()) { 0 } else { self.severity(*target) }));
        let narrative = section.child(keys().text);
        // The titles of those inside it say what it is.
        let holds_others = section.items_at(keys().section).next().is_some();
        if holds_others && references.is_empty() && narrative.is_none() && section.member("emptyReason").is_none() {
            return;
        }
        let part = narrative.is_some_and(tells_part_withheld);
        let is_said_above = |page: &Page<'a>, target: &Node<'a>| page.own_lines(*target).is_empty();
        if !targets.is_empty() && !part && targets.iter().all(|target| is_said_above(self, target)) {
            targets.iter().for_each(|target| {
                self.shown.insert(target.id());
            });
            return;
        }
        let outer_titles = outer.iter().copied().filter_map(title_of).map(|title| shortened(&title, OUTER_LENGTH));
        let own_title = title.clone().unwrap_or_else(|| "Section".to_owned());
        self.heading(&outer_titles.chain([own_title]).collect::<Vec<_>>().join(": "));
        self.focus(section, outer);
        let words = |name: &str| self.empty_reason(section, name);
        match words("emptyReason") {
            Some((words, true)) => self.html.wrapped("<p class=\"withheld\">", &words, "</p>"),
            Some((words, false)) => self.html.wrapped("<p class=\"absent\">", &words, "</p>"),
            None => {}
        }
        let title = Heading::new(title.as_deref().unwrap_or_default());
        let (said, items): (Vec<Node<'a>>, Vec<Node<'a>>) =
            targets.iter().partition(|target| is_said_above(self, target) && self.is_asked(**target));
        self.shown.extend(said.iter().map(|target| target.id()));
        if !items.is_empty() {
            self.html.raw("<ul>");
            let kinds: BTreeSet<_> = targets.iter().map(|target| target.resource_type()).collect();
            let codes = heading_codes(section);
            for target in &items {
                let needs_kind = needs_kind(target.resource_type().unwrap_or_default(), &codes, kinds.len() > 1);
                self.item(*target, Some(&title), needs_kind);
            }
            self.html.raw("</ul>");
        }
        if references.iter().any(|to| self.frame.reader.entries.target(*to).is_none()) {
            self.html.raw("<p class=\"absent\">Something that this section refers to is not in the message.</p>");
        }
        let is_generated = narrative.is_some_and(|of| of.text_of("status").is_some_and(|status| status == "generated"));
        let is_empty = targets.is_empty() && section.member("emptyReason").is_none();
        if let Some(text) = narrative.filter(|_| is_empty || !is_generated).and_then(|of| of.text_of("div")) {
            let text = plain_text(&text);
            let says_withheld = text.contains("withheld") || text.starts_with("Nothing is shared");
            self.html.raw(if says_withheld { "<p class=\"withheld\">" } else { "<p>" });
            self.html.text(&text);
            self.html.raw("</p>");
        } else if is_empty && narrative.is_none() {
            self.html.raw("<p class=\"absent\">Nothing was received in this section.</p>");
        }
        self.html.raw(if part {
            "<p class=\"withheld\">Part of this section was withheld.</p></section>"
        } else {
            "</section>"
        });
    }

    /// Whom or what a section is about, as it says itself or as the one around it does, unless that is the person.
    fn focus(&mut self, section: Node<'a>, outer: &[Node<'a>]) {
        let Some(of) = schema().type_named("Composition.section") else { return };
        let mut all = [section].into_iter().chain(outer.iter().rev().copied());
        let Some(focus) = all.find(|of| of.member("focus").is_some()) else { return };
        for name in self.frame.reader.words_in(focus, of, "focus").iter().filter(|name| *name != THE_PERSON) {
            self.html.wrapped("<p><span class=\"loud\">About: </span>", &shortened(name, OUTER_LENGTH), "</p>");
        }
    }

    /// The resources that a section refers to.
    pub(super) fn in_sections(&self) -> BTreeSet<NodeId> {
        let mut sections = Vec::new();
        let compositions = self.resources().into_iter().filter(|of| of.resource_type() == Some("Composition"));
        compositions.for_each(|composition| gather(composition, &[], &mut sections));
        let references = sections.iter().take(MAX_SECTIONS).flat_map(|section| section.node.items_at(keys().entry));
        references.filter_map(|to| self.frame.reader.entries.target(to)).map(|target| target.id()).collect()
    }

    /// Why a section is empty, and whether that is since it was withheld.
    fn empty_reason(&self, section: Node<'a>, name: &str) -> Option<(String, bool)> {
        let of = schema().type_named("Composition.section")?;
        let words = self.frame.reader.words_in(section, of, name).into_iter().next()?;
        let reason = || section.items_of(name);
        let codings = || reason().flat_map(|of| of.items_of("coding"));
        let codes: Vec<_> = codings().filter_map(|of| of.text_of("code")).collect();
        let has_words =
            reason().any(|of| of.member("text").is_some()) || codings().any(|of| of.member("display").is_some());
        let is_theirs =
            codings().filter_map(|of| of.text_of("system")).all(|system| system.ends_with("/list-empty-reason"));
        let meant =
            codes.iter().find_map(|code| EMPTY.iter().find(|(own, _)| own == code)).filter(|_| is_theirs && !has_words);
        let words = meant.map_or(words, |(_, meant)| (*meant).to_owned());
        Some((words, codes.iter().any(|code| code == "withheld")))
    }

    /// Whether the banner is about a resource.
    fn is_asked(&self, resource: Node<'a>) -> bool {
        is_open(resource) && (self.frame.requests.contains(&resource) || self.frame.tasks.contains(&resource))
    }

    /// What a resource says that the banner does not.
    pub(super) fn own_lines(&self, resource: Node<'a>) -> Rc<[Line]> {
        let lines = self.frame.reader.lines(resource);
        if !self.is_asked(resource) {
            return lines;
        }
        let Some(told) = self.banner.told(&self.frame, resource) else { return lines };
        let is_said = |line: &Line| told.says(line);
        let own: Vec<Line> = lines.iter().filter(|line| !is_said(line)).cloned().collect();
        // Of several the code tells which it is.
        let is_like = |of: &&Node<'a>| of.resource_type() == resource.resource_type() && is_open(**of);
        let is_one = self.frame.requests.iter().chain(&self.frame.tasks).filter(is_like).nth(1).is_none();
        if own.is_empty() || is_one {
            return own.into();
        }
        let is_kept = |line: &&Line| !is_said(line) || line.stem == "code";
        lines.iter().filter(is_kept).cloned().collect()
    }

    /// Every resource that is not shown yet, by kind.
    fn rest(&mut self) {
        let mut left: Vec<Node<'a>> = self.resources();
        left.retain(|of| {
            !self.shown.contains(&of.id()) && !of.resource_type().is_some_and(|kind| FRAME.contains(&kind))
        });
        left.retain(|of| {
            !self.own_lines(*of).is_empty() || of.resource_type().is_none_or(|kind| schema().resource(kind).is_none())
        });
        left.sort_by_key(|of| Reverse(self.severity(*of)));
        let empty = self.frame.reader.entries.list().iter().filter(|entry| entry.resource.is_none()).count();
        if left.is_empty() && empty == 0 {
            return;
        }
        let has_summary = self.frame.composition.is_some();
        self.heading(if has_summary { "Also in the message" } else { "What the message says" });
        self.html.raw("<ul>");
        for resource in left {
            let kind = resource.resource_type().unwrap_or("nothing");
            if schema().resource(kind).is_none() {
                let start: String = kind.chars().take(80).collect();
                self.shown.insert(resource.id());
                self.html.wrapped(
                    "<li class=\"absent\">A resource of a kind that FHIR R4 does not know, not shown: ",
                    &start,
                    "</li>",
                );
            } else {
                self.item(resource, None, true);
            }
        }
        if empty > 0 {
            self.html.raw("<li class=\"absent\">Entries without a resource: ");
            self.html.number(empty);
            self.html.raw("</li>");
        }
        self.html.raw("</ul></section>");
    }

    /// Topics of which nothing came, and whether that is since it was withheld.
    fn missing(&mut self, sections: &[Section<'a>]) {
        let codes: Vec<String> = sections.iter().flat_map(|section| heading_codes(section.node)).collect();
        let is_of_topic = |of: &Node<'a>| of.resource_type() != Some("Flag") || self.is_of_safeguarding(*of);
        let resources = self.resources().into_iter().filter(is_of_topic);
        let kinds: Vec<&str> = resources.filter_map(|of| of.resource_type()).collect();
        let is_there = |headings: &[&str], own: &[&str]| {
            codes.iter().any(|code| headings.contains(&&**code)) || kinds.iter().any(|kind| own.contains(kind))
        };
        let missing: Vec<_> = TOPICS.iter().filter(|(_, headings, own)| !is_there(headings, own)).collect();
        // A message that asks for nothing, as a row of an extract, is not read to treat anybody.
        if missing.is_empty() || self.banner.asks.iter().all(|ask| ask.what.is_empty()) {
            return;
        }
        self.heading("Not in the message");
        self.html.raw("<dl>");
        for (label, _, own) in missing {
            let is_withheld =
                own.iter().any(|kind| self.withheld.lists(kind)) || self.withheld.listed.contains_key(*label);
            self.html.wrapped("<div><dt>", label, "</dt><dd>");
            self.html.raw(match is_withheld {
                true => "<span class=\"withheld\">withheld</span></dd></div>",
                false => "<span class=\"absent\">nothing was received, and nothing says why: ask if it matters</span></dd></div>",
            });
        }
        self.html.raw("</dl></section>");
    }

    /// Whether a flag is one of safeguarding, by its words: flags say anything.
    fn is_of_safeguarding(&self, flag: Node<'a>) -> bool {
        let words = ["category", "code"].iter().flat_map(|name| self.frame.reader.words(flag, name));
        words.map(|words| words.to_lowercase()).any(|words| SAFEGUARDING.iter().any(|word| words.contains(word)))
    }

    fn resources(&self) -> Vec<Node<'a>> {
        self.frame.reader.entries.list().iter().filter_map(|entry| entry.resource).collect()
    }
}

/// Whether an item of a section must say what kind of resource it is: always a medicine or an allergy, else where kinds are mixed,
/// unless the section's code is of that kind.
fn needs_kind(kind: &str, codes: &[String], is_mixed: bool) -> bool {
    let is_of_kind = |headings: &[&str]| codes.iter().any(|code| headings.contains(&&**code));
    match TOPICS.iter().find(|(_, _, kinds)| kinds.contains(&kind)) {
        Some((label, headings, _)) => {
            !is_of_kind(headings) && (is_mixed || matches!(*label, "Medication" | "Allergies"))
        }
        None => is_mixed,
    }
}

/// A section of a summary.
struct Section<'a> {
    node: Node<'a>,
    /// Those around it, the outermost first.
    outer: Vec<Node<'a>>,
}

/// The sections of a summary, each before those inside it.
fn gather<'a>(of: Node<'a>, outer: &[Node<'a>], sections: &mut Vec<Section<'a>>) {
    for node in of.items_at(keys().section).filter(|section| section.is_object()) {
        sections.push(Section { node, outer: outer.to_vec() });
        gather(node, &[outer, &[node]].concat(), sections);
    }
}

/// What a section is called: its title, else the words of its code.
pub(super) fn title_of(section: Node<'_>) -> Option<String> {
    let title = section.text_of("title").filter(|title| !title.trim().is_empty());
    title.map(Cow::into_owned).or_else(|| heading_codes(section).first().map(|code| words_of(code)))
}

fn rank(section: Node<'_>) -> usize {
    let codes = heading_codes(section);
    let place = |list: &[&str]| list.iter().position(|own| codes.iter().any(|code| code == own));
    place(&FIRST).or_else(|| place(&LAST).map(|place| FIRST.len() + 1 + place)).unwrap_or(FIRST.len())
}
