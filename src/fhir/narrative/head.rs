//! The head of a summary: whom it is about, what is asked by when, who asks, and what was left out.

use std::borrow::Cow;
use std::collections::HashMap;

use super::words::{in_plain_words, push_all};
use super::{CLOSE, OPEN, ROOM, Shown, escape, lines_called, paragraph};
use crate::fhir::bundle::Entries;
use crate::fhir::r4::schema;
use crate::fhir::{NameId, Node, NodeId, bars, keys};

/// The end of the name of an element that says how urgent something is.
const PRIORITY: &str = "priority";

/// Texts of one fact.
type Texts<'h> = Vec<Cow<'h, str>>;

/// What the narrative of a Composition is made from.
#[derive(Clone, Copy)]
pub struct Head<'h> {
    /// The Composition.
    pub composition: Node<'h>,
    /// The Bundle's entries, to follow references in.
    pub entries: &'h Entries<'h>,
    /// Which leaves may be shown. A reference that may not be shown is not followed.
    pub shown: Shown<'h>,
    /// What to say beside the heading of a section: that it is empty, or withheld.
    pub remarks: &'h HashMap<NodeId, String>,
    /// What to say at the end.
    pub note: Option<&'h str>,
}

impl<'h> Head<'h> {
    /// The narrative.
    pub fn div(&self) -> String {
        let mut div = String::with_capacity(ROOM);
        div.push_str(OPEN);
        let title = self.shown.member(self.composition, keys().title).unwrap_or_else(|| "Composition".into());
        paragraph(&mut div, "b", &title);
        let requests = self.requests();
        let facts = [
            (
                "Person",
                self.follow(self.composition, "subject").iter().flat_map(|person| self.person(*person)).collect(),
            ),
            ("Asked", requests.iter().flat_map(|request| self.asked(*request)).collect()),
            ("Respond", requests.iter().flat_map(|request| self.by_when(*request)).collect()),
            ("Asked of", requests.iter().flat_map(|request| self.asked_of(*request)).collect()),
            ("Asked by, to call back", self.authors()),
            ("Written", self.shown.words(self.composition, "date")),
        ];
        let facts = facts.iter().filter(|(_, texts)| !texts.is_empty());
        list(&mut div, facts, |div, (label, texts)| {
            push_all(div, &[label, ": "]);
            for (place, text) in texts.iter().enumerate() {
                div.push_str(if place == 0 { "" } else { "; " });
                escape(div, text);
            }
        });
        list(&mut div, self.sections().filter_map(|section| self.heading(section)), |div, heading| {
            escape(div, &heading)
        });
        if let Some(note) = self.note {
            paragraph(&mut div, "i", note);
        }
        div.push_str(CLOSE);
        div
    }

    fn sections(&self) -> impl Iterator<Item = Node<'h>> {
        self.composition.items_at(keys().section)
    }

    fn heading(&self, section: Node<'h>) -> Option<Cow<'h, str>> {
        let title = self.shown.member(section, keys().title)?;
        Some(match self.remarks.get(&section.id()) {
            Some(remark) => format!("{title}: {remark}").into(),
            None => title,
        })
    }

    /// The resources that an element refers to, where the reference may be shown.
    fn follow(&self, from: Node<'_>, element: &str) -> Vec<Node<'h>> {
        let references = from.items_at(NameId::of(element));
        let shown = references.filter(|reference| self.shown.member(*reference, keys().reference).is_some());
        shown.filter_map(|reference| self.entries.target(reference)).collect()
    }

    fn requests(&self) -> Vec<Node<'h>> {
        let targets = self.sections().flat_map(|section| self.follow(section, "entry"));
        targets.filter(|target| target.resource_type() == Some("ServiceRequest")).collect()
    }

    fn person(&self, person: Node<'h>) -> Texts<'h> {
        let words = |name| self.shown.words(person, name);
        let mut texts = words("name");
        let birth = words("birthDate").into_iter();
        texts.extend(birth.map(|date| if date.starts_with("aged ") { date } else { format!("born {date}").into() }));
        let identifiers = person.items_at(keys().identifier);
        for identifier in identifiers {
            let is_nhs_number =
                self.shown.member(identifier, keys().system).is_some_and(|system| system == bars::NHS_NUMBER);
            let number = self.shown.member(identifier, keys().value).filter(|_| is_nhs_number);
            texts.extend(number.map(|number| format!("NHS number {number}").into()));
        }
        texts.extend(words("telecom"));
        texts.extend(words("address"));
        texts
    }

    fn asked(&self, request: Node<'h>) -> Texts<'h> {
        let mut texts = self.shown.words(request, "code");
        let is_priority = |name: &str| {
            let end = name.len().checked_sub(PRIORITY.len()).and_then(|start| name.get(start..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(PRIORITY))
        };
        let of = schema().resource("ServiceRequest");
        let lines = of.map(|of| lines_called(request, of, self.shown, &is_priority)).unwrap_or_default();
        let priorities: Texts<'h> = lines.into_iter().map(|line| line.text).collect();
        texts.extend((!priorities.is_empty()).then(|| format!("priority: {}", priorities.join(", ")).into()));
        texts
    }

    fn by_when(&self, request: Node<'h>) -> Option<Cow<'h, str>> {
        let at = |node| self.shown.text(node).map(in_plain_words);
        let period = request.child(NameId::of("occurrencePeriod"));
        let end = period.and_then(|period| period.child(keys().end));
        let by = end.or_else(|| request.child(NameId::of("occurrenceDateTime")));
        Some(format!("by {}", by.and_then(at)?).into())
    }

    fn asked_of(&self, request: Node<'h>) -> Texts<'h> {
        self.follow(request, "performer")
            .into_iter()
            .flat_map(|performer| self.shown.words(performer, "name"))
            .collect()
    }

    fn authors(&self) -> Texts<'h> {
        let authors = self.follow(self.composition, "author");
        authors.into_iter().flat_map(|author| self.author(author)).collect()
    }

    /// A role with its practitioner and team, or whoever else wrote it; each with the numbers to call.
    fn author(&self, author: Node<'h>) -> Texts<'h> {
        let mut texts = Vec::new();
        for practitioner in self.follow(author, "practitioner") {
            texts.extend(self.shown.words(practitioner, "name"));
        }
        for name in ["name", "code", "telecom"] {
            texts.extend(self.shown.words(author, name));
        }
        for team in self.follow(author, "organization") {
            texts.extend(self.shown.words(team, "name"));
            texts.extend(self.shown.words(team, "telecom"));
        }
        texts
    }
}

/// A list, unless it is empty.
fn list<T>(div: &mut String, items: impl Iterator<Item = T>, say: impl Fn(&mut String, T)) {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return;
    }
    div.push_str("<ul>");
    for item in items {
        div.push_str("<li>");
        say(div, item);
        div.push_str("</li>");
    }
    div.push_str("</ul>");
}
