//! The parts of a message that a page is built around: header, summary, requests, person, who asks.
//!
//! Enters: a Bundle. Leaves: a [`Frame`], where each part may be missing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::lines::{Line, Reader, Said, absent};
use super::references::Own;
use super::values::coding;
use crate::fhir::bundle::{COMPOSITION, Entries};
use crate::fhir::{NameId, Node, keys};

pub(super) const TASK_CODE: &str = "http://hl7.org/fhir/CodeSystem/task-code";

/// States of a request or a task in which it asks for nothing any more (FHIR R4 request-status, task-status).
const CLOSED: [&str; 6] = ["cancelled", "revoked", "entered-in-error", "completed", "rejected", "failed"];

/// How pressing a priority is taken to be that is not known, from 0: more than urgent.
const UNKNOWN: u8 = 2;
/// How pressing something is taken to be that has no priority: as what is routine.
pub(super) const NOT_GIVEN: u8 = 4;
/// NHS England's clinical response priorities: code, how pressing, the class of their colours.
const RESPONSE: [(&str, u8, &str); 4] = [("1", 0, "stat"), ("4", 1, "asap"), ("2", 3, "urgent"), ("3", 4, "routine")];

/// A message, as a page shows it.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) bundle: Node<'a>,
    pub(super) reader: Reader<'a>,
    /// The MessageHeader.
    pub(super) header: Option<Node<'a>>,
    /// The readable summary.
    pub(super) composition: Option<Node<'a>>,
    /// What is asked: the focus of the message first.
    pub(super) requests: Vec<Node<'a>>,
    /// The responsibilities to accept or to decide on; beside a request other tasks are shown where they stand.
    pub(super) tasks: Vec<Node<'a>>,
    /// Whom it is about, mostly one.
    pub(super) patients: Vec<Node<'a>>,
    /// Who asks.
    pub(super) authors: Vec<Node<'a>>,
}

/// How soon, as a page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Priority {
    /// The class of its colours.
    pub(super) class: &'static str,
    /// `Emergency: at once (stat)`.
    pub(super) words: String,
}

impl<'a> Frame<'a> {
    pub(super) fn of(entries: &'a Entries<'a>, bundle: Node<'a>) -> Frame<'a> {
        let resources = || entries.list().iter().filter_map(|entry| entry.resource);
        let all = |kind: &'static str| resources().filter(move |resource| resource.resource_type() == Some(kind));
        let (header, composition) = (all("MessageHeader").next(), all(COMPOSITION).next());
        let focus: BTreeSet<_> = follow(entries, header, "focus").iter().map(|node| node.id()).collect();
        let mut requests: Vec<Node<'a>> = all("ServiceRequest").collect();
        requests.sort_by_key(|request| !focus.contains(&request.id()));
        let mut authors = Vec::new();
        let asking = requests.iter().map(|request| (*request, "requester"));
        let writing =
            [(header, "author"), (composition, "author")].into_iter().filter_map(|(of, name)| Some((of?, name)));
        for (node, element) in asking.chain(writing) {
            for author in follow(entries, Some(node), element) {
                if !authors.contains(&author) && authors.len() < 20 {
                    authors.push(author);
                }
            }
        }
        let times = [(Some(bundle), "timestamp"), (composition, "date")];
        let own_times = times.iter().filter_map(|(node, name)| Some(node.as_ref()?.text_of(name)?.into_owned()));
        let reader = Reader {
            entries,
            own_times: own_times.collect(),
            own: Own::default(),
            unknown: Cell::new(0),
            read: RefCell::default(),
            called: RefCell::default(),
        };
        // HL7's codes of tasks are an example, so that where no request asks every task does.
        let is_asked = open(&requests).next().is_some();
        Frame {
            bundle,
            reader,
            header,
            composition,
            requests,
            tasks: all("Task").filter(|task| !is_asked || is_of_the_request(*task)).collect(),
            patients: all("Patient").collect(),
            authors,
        }
    }

    /// The resources that an element refers to.
    pub(super) fn follow(&self, from: Node<'a>, element: &str) -> Vec<Node<'a>> {
        follow(self.reader.entries, Some(from), element)
    }

    /// What kind of message it is: the title of its summary, else the use case, else the event.
    pub(super) fn kind(&self) -> String {
        let title = self.composition.and_then(|composition| composition.text_of("title"));
        let title = title.map(std::borrow::Cow::into_owned).filter(|title| !title.trim().is_empty());
        let use_case = || {
            let codings = self.requests.iter().flat_map(|request| request.items_of("category"));
            codings
                .flat_map(|category| category.items_of("coding"))
                .filter(|coding| coding.member("display").is_some())
                .last()
        };
        let event = || self.header.and_then(|header| header.member("eventCoding"));
        title
            .or_else(|| use_case().and_then(coding))
            .or_else(|| event().and_then(coding))
            .unwrap_or_else(|| "A Bundle without a message header".to_owned())
    }

    /// What an element says, or that it does not.
    pub(super) fn said(&self, node: Node<'a>, name: &str) -> Vec<Said> {
        let id = NameId::of(name);
        let companions = node.children().filter(|child| child.name_id().is_primitive_extension());
        let companion = companions.filter(|child| child.name_id().without_underscore() == id);
        let why = node.child(id).into_iter().chain(companion).flat_map(Node::items).filter_map(absent);
        let words = self.reader.words(node, name).into_iter().map(Said::Words);
        words.chain(why).collect()
    }

    /// How soon: the most pressing of them.
    pub(super) fn priority(&self, nodes: &[Node<'a>]) -> Option<(u8, Priority)> {
        nodes.iter().filter_map(|node| self.priority_of(*node)).min_by_key(|(rank, _)| *rank)
    }

    pub(super) fn priority_of(&self, node: Node<'a>) -> Option<(u8, Priority)> {
        let all = self.reader.lines(node);
        let lines = || all.iter().filter(|line| line.within.is_empty());
        let is_priority = |line: &&Line| line.stem.to_lowercase().ends_with("priority") && line.stem != "priority";
        let own = lines().find(is_priority).and_then(|line| match &line.said {
            Said::Words(words) => Some(words.clone()),
            Said::Withheld | Said::Absent(_) | Said::Nothing => None,
        });
        let code = node.text_of("priority");
        let response = response_priority(node);
        let (rank, class, words) = match code.as_deref() {
            Some("stat") => (0, "stat", "at once (stat)"),
            Some("asap") => (1, "asap", "as soon as possible (asap)"),
            Some("urgent") => (3, "urgent", "urgent"),
            Some("routine") => (4, "routine", "routine"),
            Some(other) => (UNKNOWN, "unknown", other),
            None => {
                let is_withheld =
                    |line: &Line| line.stem.to_lowercase().ends_with("priority") && line.said == Said::Withheld;
                return Some((
                    response.map_or(UNKNOWN, |(rank, _)| rank),
                    match (lines().any(is_withheld), own) {
                        (true, None) => Priority { class: "masked", words: "Priority withheld".to_owned() },
                        (true, Some(own)) => Priority { class: "masked", words: format!("{own} (part withheld)") },
                        (false, own) => Priority { class: response.map_or("unknown", |(_, class)| class), words: own? },
                    },
                ));
            }
        };
        let words = match own {
            Some(own) if own.eq_ignore_ascii_case(words) => own,
            Some(own) => format!("{own}: {words}"),
            None if class == "unknown" => words.to_owned(),
            None => upper_first(words),
        };
        // Where the two differ, the more pressing one.
        let (rank, class) = response.filter(|(own, _)| *own < rank).unwrap_or((rank, class));
        Some((rank, Priority { class, words }))
    }

    /// The first word about what the message does to an earlier one; `None` for a new one.
    pub(super) fn turns(&self) -> Option<&'static str> {
        let reason = self.header.and_then(|header| header.member("reason"));
        let codes =
            reason.into_iter().flat_map(|reason| reason.items_of("coding")).filter_map(|code| code.text_of("code"));
        let turned = codes.filter_map(|code| match &*code {
            "update" => Some("Update of an earlier message"),
            "delete" => Some("Withdrawal of an earlier message"),
            _ => None,
        });
        let answers = self.header.and_then(|header| header.member("response")).map(|_| "Answer to an earlier message");
        answers.or(turned.last())
    }
}

/// The requests or tasks that still ask for something.
pub(super) fn open<'a>(of: &[Node<'a>]) -> impl Iterator<Item = Node<'a>> {
    of.iter().copied().filter(|node| is_open(*node))
}

/// Whether a request or task still asks for something.
pub(super) fn is_open(node: Node<'_>) -> bool {
    node.text_of("status").is_none_or(|status| !CLOSED.contains(&&*status))
}

/// Whether a task is to do what the request asks (HL7's task-code: `fulfill`, `approve`), and no work of its own.
fn is_of_the_request(task: Node<'_>) -> bool {
    let codings = task.member("code").into_iter().flat_map(|code| code.items_of("coding"));
    codings.filter_map(|coding| coding.text_of("system")).any(|system| system == TASK_CODE)
}

/// How pressing the clinical response priority of a request is, where it has one of NHS England's codes.
fn response_priority(node: Node<'_>) -> Option<(u8, &'static str)> {
    let values =
        node.items_of("extension").flat_map(|of| [of.member("valueCoding"), of.member("valueCodeableConcept")]);
    let codings = values.flatten().flat_map(|value| [value].into_iter().chain(value.items_of("coding")));
    let is_theirs =
        |coding: &Node<'_>| coding.text_of("system").is_some_and(|of| of.ends_with("/clinical-response-priority"));
    let codes = codings.filter(is_theirs).filter_map(|coding| coding.text_of("code"));
    let known = codes.filter_map(|code| RESPONSE.iter().find(|(own, ..)| *own == code));
    known.map(|(_, rank, class)| (*rank, *class)).min()
}

fn follow<'a>(entries: &'a Entries<'a>, from: Option<Node<'a>>, element: &str) -> Vec<Node<'a>> {
    let references = from.into_iter().flat_map(|from| from.items_at(NameId::of(element)));
    references.filter_map(|reference| entries.target(reference)).collect()
}

/// `As soon as possible` for `as soon as possible`.
pub(super) fn upper_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The codes of a section's heading.
pub(super) fn heading_codes(section: Node<'_>) -> Vec<String> {
    let code = section.child(keys().code);
    let codings = code.into_iter().flat_map(|code| code.items_of("coding"));
    codings.filter_map(|coding| coding.text_of("code").map(std::borrow::Cow::into_owned)).collect()
}
