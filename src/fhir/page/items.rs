//! One resource as an item of a list: how severe, what, and what else it says.

use std::cmp::Reverse;

use super::lines::{Line, Part, Said, parts_of, severity_of};
use super::references::SUBJECTS;
use super::{Page, words_of};
use crate::fhir::Node;
use crate::fhir::labels::is_masked;
use crate::fhir::narrative::Heading;

/// How severe a risk is taken to be whose level is not known: between high and moderate.
const UNKNOWN: u8 = 3;

impl<'a> Page<'a> {
    /// One resource as an item of a list, without what the title of the list says.
    pub(super) fn item(&mut self, resource: Node<'a>, title: Option<&Heading>, needs_kind: bool) {
        let lines = self.own_lines(resource);
        if !self.shown.insert(resource.id()) {
            let headline = lines.iter().find(|line| line.is_headline).and_then(|line| match &line.said {
                Said::Words(words) => Some(words.clone()),
                _ => None,
            });
            let kind = || words_of(resource.resource_type().unwrap_or("Resource"));
            let words = headline.or_else(|| self.frame.reader.name(resource)).unwrap_or_else(kind);
            let start: String = words.chars().take(80).collect();
            let turned = self.frame.reader.turned(resource);
            self.html.wrapped("<li>", &(start + &turned), " <span class=\"absent\">(shown above)</span></li>");
            return;
        }
        let is_said = |line: &Line| line.within.is_empty() && title.is_some_and(|title| is_in(title, line));
        let (headlines, rest): (Vec<&Line>, Vec<&Line>) =
            lines.iter().filter(|line| !is_said(line)).partition(|line| line.is_headline);
        let kind = words_of(resource.resource_type().unwrap_or("Resource"));
        let is_own_section = title.is_some() && matches!(resource.resource_type(), Some("CarePlan" | "Consent"));
        let has_parts_alone = headlines.is_empty() && rest.iter().all(|line| !line.within.is_empty());
        self.html.raw(if is_own_section && has_parts_alone { "<li class=\"bare\">" } else { "<li>" });
        // Where a risk has several predictions each has a level of its own.
        let has_predictions = lines.iter().any(|line| line.within.first().is_some_and(is_prediction));
        let needs_level = resource.resource_type() == Some("RiskAssessment") && !has_predictions;
        self.level(&own(&rest, 0), needs_level);
        if headlines.is_empty() && !is_own_section {
            self.html.wrapped("<b>", &kind, "</b>");
        } else if needs_kind && !headlines.is_empty() {
            self.html.wrapped("<span class=\"part\">", &kind, ": </span>");
        }
        for (place, line) in headlines.iter().enumerate() {
            self.html.raw(if place == 0 { "<b>" } else { "; " });
            self.said(&line.said);
        }
        self.html.raw(if headlines.is_empty() { "" } else { "</b>" });
        self.details(&rest, 0);
        self.subject(resource);
        self.html.raw("</li>");
    }

    /// Whom a resource is about, where the message is about more than one.
    fn subject(&mut self, resource: Node<'a>) {
        if self.frame.patients.len() < 2 {
            return;
        }
        let subjects = SUBJECTS.iter().flat_map(|name| self.frame.follow(resource, name));
        let name = |subject: Node<'a>| self.frame.reader.name(subject).unwrap_or_else(|| nameless(subject).to_owned());
        for name in subjects.map(name).collect::<Vec<_>>() {
            self.html.wrapped(" <span class=\"part\">About: </span>", &name, "");
        }
    }

    /// What a resource or a part of it says, what turns it first, then its parts. Lines of one element stand together.
    fn details(&mut self, lines: &[&Line], depth: usize) {
        let mut own = own(lines, depth);
        own.retain(|line| line.stem != "qualitativeRisk");
        own.sort_by_key(|line| (!line.is_loud, !line.label.is_empty()));
        let mut last: Option<&Line> = None;
        for line in own {
            let is_more = |last: &Line| last.label == line.label && last.is_loud == line.is_loud;
            match (line.label.is_empty(), last) {
                (true, Some(_)) => self.html.raw("<br>"),
                (true, None) => self.html.raw(if depth == 0 { " " } else { "" }),
                (false, Some(last)) if is_more(last) => self.html.raw("; "),
                (false, last) => {
                    self.html.raw(if last.is_some() || depth == 0 { " " } else { "" });
                    self.html.raw(if line.is_loud { "<span class=\"loud\">" } else { "<span class=\"part\">" });
                    self.html.text(&line.label);
                    self.html.raw(": </span>");
                }
            }
            self.said(&line.said);
            last = Some(line);
        }
        let mut parts = parts_of(lines, depth);
        if parts.is_empty() {
            return;
        }
        parts.sort_by_key(|(part, lines)| Reverse(if is_prediction(part) { severity_in(lines) } else { 0 }));
        self.html.raw("<ul>");
        for (part, lines) in parts {
            self.part(part, &lines, depth + 1);
        }
        self.html.raw("</ul>");
    }

    /// One part, by its name unless it says what it is.
    fn part(&mut self, part: &Part, lines: &[&Line], depth: usize) {
        let own = own(lines, depth);
        self.html.raw("<li>");
        self.level(&own, is_prediction(part));
        if !is_prediction(part) && own.iter().all(|line| !line.label.is_empty()) {
            self.html.wrapped("<span class=\"part\">", &part.label, ": </span>");
        }
        self.details(lines, depth);
        self.html.raw("</li>");
    }

    /// The level of a risk, in words and with a colour.
    fn level(&mut self, lines: &[&Line], is_needed: bool) {
        let levels: Vec<&Line> = lines.iter().copied().filter(|line| line.stem == "qualitativeRisk").collect();
        if levels.is_empty() && !is_needed {
            return;
        }
        self.html.raw(match severity_in(&levels) {
            5 => "<span class=\"level l5\">",
            4 => "<span class=\"level l4\">",
            2 => "<span class=\"level l2\">",
            1 => "<span class=\"level l1\">",
            _ => "<span class=\"level l3\">",
        });
        for (place, line) in levels.iter().enumerate() {
            self.html.raw(if place == 0 { "" } else { ", " });
            self.said(&line.said);
        }
        self.html.raw(if levels.is_empty() { "level not given</span> " } else { "</span> " });
    }

    /// How severe a risk is, 5 to 1; one of an unknown level stands between high and moderate. 0 for what is no risk.
    pub(super) fn severity(&self, resource: Node<'a>) -> u8 {
        if resource.resource_type() != Some("RiskAssessment") {
            return 0;
        }
        let of =
            |prediction: Node<'a>| prediction.items_of("qualitativeRisk").map(severity_of).max().unwrap_or(UNKNOWN);
        resource.items_of("prediction").map(of).max().unwrap_or(UNKNOWN)
    }
}

/// Somebody whose name the message does not say.
fn nameless(person: Node<'_>) -> &'static str {
    let mut names = ["name", "_name"].iter().flat_map(|name| person.items_of(name));
    match names.any(|name| name.subtree().any(|node| node.is_object() && is_masked(node))) {
        true => "a person whose name was withheld",
        false => "a person without a name in the message",
    }
}

/// The lines at a depth that stand in no part.
fn own<'l>(lines: &[&'l Line], depth: usize) -> Vec<&'l Line> {
    lines.iter().copied().filter(|line| line.within.len() == depth).collect()
}

fn is_prediction(part: &Part) -> bool {
    part.stem == "prediction"
}

/// How severe the most severe level is.
fn severity_in(lines: &[&Line]) -> u8 {
    lines.iter().map(|line| line.severity).filter(|severity| *severity > 0).max().unwrap_or(UNKNOWN)
}

/// Whether the title of a section says what a line says.
fn is_in(title: &Heading, line: &Line) -> bool {
    !line.is_loud && matches!(&line.said, Said::Words(words) if title.is_said_by(words))
}
