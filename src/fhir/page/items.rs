//! One resource as an item of a list: how severe, what, and what else it says.

use super::lines::{Line, Said};
use super::references::SUBJECTS;
use super::{Page, words_of};
use crate::fhir::Node;
use crate::fhir::narrative::Heading;

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
            self.html.wrapped("<li>", &start, " <span class=\"absent\">(shown above)</span></li>");
            return;
        }
        self.html.raw("<li>");
        self.level(resource, &lines);
        let (headlines, rest): (Vec<&Line>, Vec<&Line>) = lines
            .iter()
            .filter(|line| line.stem != "qualitativeRisk" && !title.is_some_and(|title| is_in(title, line)))
            .partition(|line| line.is_headline);
        let kind = words_of(resource.resource_type().unwrap_or("Resource"));
        let is_own_section = title.is_some() && matches!(resource.resource_type(), Some("CarePlan" | "Consent"));
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
        self.details(&rest);
        self.subject(resource);
        self.html.raw("</li>");
    }

    /// Whom a resource is about, where the message is about more than one.
    fn subject(&mut self, resource: Node<'a>) {
        if self.frame.patients.len() < 2 {
            return;
        }
        let subjects = SUBJECTS.iter().flat_map(|name| self.frame.follow(resource, name));
        for name in subjects.filter_map(|subject| self.frame.reader.name(subject)).collect::<Vec<_>>() {
            self.html.wrapped(" <span class=\"part\">About: </span>", &name, "");
        }
    }

    /// The lines of a resource that are not in its headline. Those of one element stand together.
    fn details(&mut self, lines: &[&Line]) {
        let mut last: Option<&str> = None;
        for line in lines {
            match (line.label.is_empty(), last) {
                (true, _) => self.html.raw("<span class=\"line\">"),
                (false, Some(label)) if label == line.label => self.html.raw("; "),
                (false, _) => {
                    self.html.raw(if line.is_loud { " <span class=\"loud\">" } else { " <span class=\"part\">" })
                }
            }
            if !line.label.is_empty() && last != Some(&*line.label) {
                self.html.text(&line.label);
                self.html.raw(": </span>");
            }
            self.said(&line.said);
            self.html.raw(if line.label.is_empty() { "</span>" } else { "" });
            last = Some(&line.label).filter(|label| !label.is_empty()).map(|label| &**label);
        }
    }

    /// The level of a risk, in words and with a colour.
    fn level(&mut self, resource: Node<'a>, lines: &[Line]) {
        if resource.resource_type() != Some("RiskAssessment") {
            return;
        }
        self.html.raw(match self.severity(resource) {
            5 => "<span class=\"level l5\">",
            4 => "<span class=\"level l4\">",
            2 => "<span class=\"level l2\">",
            1 => "<span class=\"level l1\">",
            _ => "<span class=\"level l3\">",
        });
        let levels: Vec<Said> =
            lines.iter().filter(|line| line.stem == "qualitativeRisk").map(|line| line.said.clone()).collect();
        for (place, said) in levels.iter().enumerate() {
            self.html.raw(if place == 0 { "" } else { ", " });
            self.said(said);
        }
        self.html.raw(if levels.is_empty() { "level not given</span> " } else { "</span> " });
    }

    /// How severe a risk is, 5 to 1; one of an unknown level stands between high and moderate. 0 for what is no risk.
    pub(super) fn severity(&self, resource: Node<'a>) -> u8 {
        if resource.resource_type() != Some("RiskAssessment") {
            return 0;
        }
        let codes = resource.items_of("prediction").flat_map(|of| of.items_of("qualitativeRisk"));
        let codes = codes.flat_map(|of| of.items_of("coding")).filter_map(|of| of.text_of("code"));
        let severity = |code: &str| match code {
            "imminent" | "certain" | "critical" | "extreme" | "very-high" => 5,
            "high" | "likely" => 4,
            "moderate" | "medium" | "possible" => 2,
            "low" | "negligible" | "none" | "unlikely" => 1,
            _ => 3,
        };
        codes.map(|code| severity(&code)).max().unwrap_or(3)
    }
}

/// Whether the title of a section says what a line says.
fn is_in(title: &Heading, line: &Line) -> bool {
    matches!(&line.said, Said::Words(words) if title.is_said_by(words))
}
