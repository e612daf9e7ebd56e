//! What the banner says of requests and tasks: what, how soon, by when, of whom; and whether a line of theirs is in it.
//!
//! Enters: the [`Frame`] of a message. Leaves: a [`Banner`]. Invariants: what it says of one request it says of no other; a line that it
//! [says](Told::says) stands word for word in the banner, or with whoever asks: what the banner leaves out of a request has a place below it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::frame::{Frame, NOT_GIVEN, Priority, TASK_CODE, open};
use super::lines::{Line, Said, absent};
use super::references::shortened;
use super::when;
use crate::fhir::narrative::Heading;
use crate::fhir::{Node, NodeId, keys};

/// The most names and the longest sentence that the banner has room for.
pub(super) const MOST_NAMES: usize = 20;
const LONGEST: usize = 200;

/// What the banner says.
#[derive(Clone, Debug)]
pub(super) struct Banner {
    /// What kind of message it is.
    pub(super) kind: String,
    /// What is asked, the most pressing first.
    pub(super) asks: Vec<Ask>,
    asked_once: BTreeSet<Said>,
}

/// What the banner says of one request with its tasks: nothing of it is said of another.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// What is asked, in order.
    pub(super) what: Vec<Said>,
    /// Whether it must not be done.
    pub(super) is_prohibition: bool,
    pub(super) priority: Option<Priority>,
    /// By when, the first first.
    pub(super) by: Vec<String>,
    /// Whether there is a time that was withheld.
    pub(super) is_time_withheld: bool,
    /// Of whom.
    pub(super) of_whom: Vec<Said>,
    /// Whom to call about it.
    pub(super) call_back: Option<String>,
}

/// What the banner says of one request or task.
pub(super) struct Told<'b> {
    banner: &'b Banner,
    ask: &'b Ask,
    /// Its own priority, which the banner says or not.
    priority: Option<Priority>,
    /// Whether all that it says of its time is in the banner.
    is_time_told: bool,
    requesters: Vec<Said>,
    is_fulfilment: bool,
}

/// When a request or a task is to be done, in words.
struct When {
    /// What the times are ordered by; nothing for a sentence.
    end: Option<String>,
    words: String,
    /// Whether the words are all that the element says.
    is_all: bool,
}

impl Banner {
    pub(super) fn of(frame: &Frame<'_>) -> Banner {
        let asks: Vec<Ask> = frame.asks().iter().map(|nodes| frame.ask(nodes)).collect();
        let asked_once = asks.iter().flat_map(|ask| ask.what.iter().cloned()).collect();
        Banner { kind: frame.kind(), asks, asked_once }
    }

    /// How soon: the most pressing of all that is asked.
    pub(super) fn priority(&self) -> Option<&Priority> {
        self.asks.first()?.priority.as_ref()
    }

    /// What it says of one request or task, where it says enough to leave that out below: not of several.
    pub(super) fn told<'a>(&self, frame: &Frame<'a>, node: Node<'a>) -> Option<Told<'_>> {
        let [ask] = &self.asks[..] else { return None };
        Some(Told {
            banner: self,
            ask,
            priority: frame.priority_of(node).map(|(_, priority)| priority),
            is_time_told: frame.when(node).is_some_and(|when| when.is_all),
            requesters: frame.told_requesters(node),
            is_fulfilment: is_fulfilment(node),
        })
    }
}

impl Ask {
    /// What is asked, for a list of words.
    pub(super) fn in_words(&self) -> Vec<String> {
        let not = if self.is_prohibition { "Do not perform: " } else { "" };
        self.what.iter().map(|said| format!("{not}{}", said.in_words())).collect()
    }
}

impl Told<'_> {
    /// Whether the banner says what a line says, of one that still asks for something.
    pub(super) fn says(&self, line: &Line) -> bool {
        let is_priority = line.stem.to_lowercase().ends_with("priority");
        if !line.within.is_empty() || (line.is_extension && !is_priority && !line.is_loud) {
            return false;
        }
        let banner = self.banner;
        match &*line.stem {
            // Alerts say it; of modifiers only so many.
            _ if line.is_loud => !line.is_modifier,
            "code" => self.is_fulfilment || banner.asked_once.contains(&line.said),
            "description" => banner.asked_once.contains(&line.said),
            "occurrence" | "period" | "restriction" if line.said == Said::Withheld => self.ask.is_time_withheld,
            "occurrence" | "period" => self.is_time_told,
            "performer" | "owner" => self.ask.of_whom.contains(&line.said),
            "requester" => self.requesters.contains(&line.said),
            "category" => banner.is_kind(&line.said),
            _ => is_priority && self.says_priority(&line.said),
        }
    }

    /// It has one priority, the most pressing.
    fn says_priority(&self, said: &Said) -> bool {
        let (Some(shown), Some(own)) = (&self.ask.priority, &self.priority) else { return false };
        let is_shown = own.class == shown.class && (own.class != "unknown" || own.words == shown.words);
        match said {
            _ if !is_shown => false,
            Said::Words(words) => {
                shown.words.len() <= LONGEST && shown.words.to_lowercase().contains(&words.to_lowercase())
            }
            Said::Withheld => shown.class == "masked",
            Said::Absent(_) | Said::Nothing => false,
        }
    }
}

impl Banner {
    /// Whether its title says what a category says, or a little less.
    fn is_kind(&self, said: &Said) -> bool {
        let Said::Words(words) = said else { return false };
        *words == self.kind || (self.kind.len() <= LONGEST && Heading::new(&self.kind).is_said_by(words))
    }
}

impl<'a> Frame<'a> {
    /// The requests and tasks that still ask for something, each request with its tasks, the most pressing first. A task that names no
    /// request is one of the only one.
    fn asks(&self) -> Vec<Vec<Node<'a>>> {
        let mut asks: Vec<Vec<Node<'a>>> = open(&self.requests).map(|request| vec![request]).collect();
        let is_one = asks.len() == 1;
        for task in open(&self.tasks) {
            let of = ["focus", "basedOn"].iter().flat_map(|name| self.follow(task, name));
            let of: BTreeSet<NodeId> = of.map(Node::id).collect();
            let names_none = || !self.requests.iter().any(|request| of.contains(&request.id()));
            match asks.iter().position(|ask| of.contains(&ask[0].id())) {
                Some(place) => asks[place].push(task),
                None if is_one && names_none() => asks[0].push(task),
                None => asks.push(vec![task]),
            }
        }
        asks.sort_by_cached_key(|nodes| self.priority(nodes).map_or(NOT_GIVEN, |(rank, _)| rank));
        asks
    }

    fn ask(&self, nodes: &[Node<'a>]) -> Ask {
        let is_prohibition =
            |node: &Node<'a>| node.member("doNotPerform").and_then(Node::scalar).as_deref() == Some("true");
        Ask {
            what: self.what(nodes),
            is_prohibition: nodes.iter().any(is_prohibition),
            priority: self.priority(nodes).map(|(_, priority)| priority),
            by: self.respond_by(nodes),
            is_time_withheld: is_deadline_withheld(nodes),
            of_whom: self.of_whom(nodes),
            call_back: self.call_back(nodes),
        }
    }

    /// What is asked, the request in words; without one what the tasks are.
    fn what(&self, nodes: &[Node<'a>]) -> Vec<Said> {
        let of =
            |node: &Node<'a>, names: &[&str]| names.iter().flat_map(|name| self.said(*node, name)).collect::<Vec<_>>();
        let (tasks, requests): (Vec<Node<'a>>, Vec<Node<'a>>) = nodes.iter().partition(|node| is_task(**node));
        let requests: Vec<Said> = requests.iter().flat_map(|request| of(request, &["code"])).collect();
        if requests.is_empty() {
            tasks.iter().flat_map(|task| of(task, &["code", "description"])).collect()
        } else {
            requests
        }
    }

    /// By when an answer to any of them is asked for, each time once, the first first; then what has no end of its own.
    fn respond_by(&self, nodes: &[Node<'a>]) -> Vec<String> {
        let all = nodes.iter().filter_map(|node| self.when(*node));
        let mut all: Vec<_> = all
            .map(|when| {
                let end = when.end.as_deref().and_then(when::end);
                (when.end.is_none(), end.is_none(), end, when.words)
            })
            .collect();
        all.sort();
        let mut words: Vec<String> = all.into_iter().map(|(.., words)| words).collect();
        words.dedup();
        words
    }

    /// The first time of all.
    pub(super) fn first_time(&self) -> Option<String> {
        self.respond_by(&self.asks().concat()).into_iter().next()
    }

    /// When a request or a task is to be done.
    fn when(&self, node: Node<'a>) -> Option<When> {
        if let Some(period) = node.member("restriction").and_then(|of| of.member("period")) {
            return self.by_period(period);
        }
        if let Some(period) = node.member("occurrencePeriod") {
            return self.by_period(period);
        }
        if let Some(time) = node.member("occurrenceDateTime").and_then(Node::text) {
            let words = when::in_words(&time).into_owned();
            return Some(When { end: Some(time.into_owned()), words, is_all: true });
        }
        // A daily call that ends in a week is not to be begun in a week: the whole sentence.
        let sentence = self.reader.words(node, "occurrenceTiming").into_iter().next()?;
        let timing = node.member("occurrenceTiming")?;
        let ends = ["boundsPeriod", "boundsDuration", "boundsRange", "count"];
        let repeat = timing.member("repeat");
        let has_end = timing.member("event").is_some()
            || ends.iter().any(|end| repeat.is_some_and(|of| of.member(end).is_some()));
        let words = shortened(&sentence, LONGEST);
        let is_all = words == sentence;
        Some(When { end: None, words: if has_end { words } else { format!("No end is given; {words}") }, is_all })
    }

    fn by_period(&self, period: Node<'a>) -> Option<When> {
        let text = |name| period.child(name).and_then(Node::text);
        let is_whole = period.children().all(|child| [keys().start, keys().end].contains(&child.name_id()));
        let is_own = |start: &Cow<'_, str>| self.reader.own_times.iter().any(|own| own == start);
        if let Some(end) = text(keys().end) {
            let is_all = is_whole && text(keys().start).is_none_or(|start| is_own(&start));
            return Some(When { words: when::in_words(&end).into_owned(), end: Some(end.into_owned()), is_all });
        }
        let start = text(keys().start).filter(|_| period.member("_end").is_none())?;
        let words = format!("No end is given; from {}", when::in_words(&start));
        Some(When { end: None, words, is_all: is_whole })
    }

    /// Of whom it is asked, by the name that the message has, else as the reference says.
    fn of_whom(&self, nodes: &[Node<'a>]) -> Vec<Said> {
        let mut all = Vec::new();
        for to in nodes.iter().flat_map(|node| node.items_of(if is_task(*node) { "owner" } else { "performer" })) {
            all.extend(self.named(to).filter(|said| !all.contains(said)));
            if all.len() == MOST_NAMES {
                break;
            }
        }
        all
    }

    /// Who asks for it, as far as they stand among those who ask.
    fn told_requesters(&self, node: Node<'a>) -> Vec<Said> {
        let is_told = |to: &Node<'a>| match self.reader.entries.target(*to) {
            Some(target) => self.authors.contains(&target),
            None => !is_task(node),
        };
        let told = node.items_of("requester").take(MOST_NAMES).filter(is_told);
        told.filter_map(|to| self.named(to)).collect()
    }

    /// What a reference says, or that it was withheld.
    pub(super) fn named(&self, to: Node<'a>) -> Option<Said> {
        absent(to).or_else(|| self.reader.reference(to).map(Said::Words))
    }
}

/// Whether there is a time for the answer that was withheld.
fn is_deadline_withheld(nodes: &[Node<'_>]) -> bool {
    let is_withheld = |node: Option<Node<'_>>| node.and_then(absent) == Some(Said::Withheld);
    let ends_withheld =
        |period: Option<Node<'_>>| is_withheld(period) || is_withheld(period.and_then(|of| of.member("_end")));
    nodes.iter().any(|node| {
        let restriction = node.member("restriction");
        ["_occurrenceDateTime", "occurrenceTiming"].iter().any(|name| is_withheld(node.member(name)))
            || ends_withheld(node.member("occurrencePeriod"))
            || is_withheld(restriction)
            || ends_withheld(restriction.and_then(|of| of.member("period")))
    })
}

fn is_task(node: Node<'_>) -> bool {
    node.resource_type() == Some("Task")
}

/// Whether a task asks for no more than to do what the request says.
fn is_fulfilment(task: Node<'_>) -> bool {
    let is_it = |coding: Node<'_>| {
        coding.text_of("system").is_some_and(|system| system == TASK_CODE)
            && coding.text_of("code").is_some_and(|code| code == "fulfill")
    };
    let code = task.member("code").filter(|code| code.member("text").is_none());
    code.is_some_and(|code| code.member("coding").is_some() && code.items_of("coding").all(is_it))
}
