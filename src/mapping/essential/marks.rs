//! The marks of a logical model, read from the extension `weir-essential` of its elements; each fault with its place.

use crate::fhir::{Document, Name, Node};
use crate::fhirpath::{Expression, Typing};

use super::super::diagnostic::{Code, Diagnostic, Finding, Severity};
use super::super::plan::{Plan, Rule};
use super::super::types::{Type, elements, is_logical, root_path};
use super::{ESSENTIAL, Essentials, GROUP, Mark, Owner, Role};

/// The longest time that somebody may be given, in hours: 30 days.
const MOST_HOURS: u32 = 720;
/// What the parts of the mark are, for hints.
const PARTS: &str =
    "role (Coding), owner (code), hours (integer), words, unless and counts (strings) and nothing (codes)";

impl Essentials {
    /// The marks of the model that `plan` reads; of one that reads no model, of that which it makes.
    ///
    /// # Errors
    /// Every mark that cannot mean what it says.
    pub(in crate::mapping) fn of(plan: &Plan, definitions: &[Document]) -> Result<Essentials, Vec<Diagnostic>> {
        let of = [plan.source, plan.root].into_iter().find(|each| matches!(each, Type::Model(_)));
        let Some(of) = of else { return Ok(Essentials::default()) };
        let name = plan.types.name(of);
        let is_it = |root: &Node<'_>| is_logical(*root) && root_path(*root).as_deref() == Some(name);
        let Some(model) = definitions.iter().map(Document::root).rfind(is_it) else { return Ok(Essentials::default()) };
        let mut reader = Reader { plan, model, root: name, faults: Vec::new() };
        let found: Vec<(Mark, Rule)> = elements(model).filter_map(|element| reader.element(element)).collect();
        if !reader.faults.is_empty() {
            return Err(reader.faults);
        }
        let (marks, mut rules): (Vec<Mark>, Vec<Rule>) = found.into_iter().unzip();
        if !marks.is_empty() {
            rules.push(reader.rule(model, "something is missing".to_owned()));
        }
        Ok(Essentials { marks, rules })
    }
}

struct Reader<'d> {
    plan: &'d Plan,
    model: Node<'d>,
    /// The path of the model's first element.
    root: &'d str,
    faults: Vec<Diagnostic>,
}

impl Reader<'_> {
    /// The mark of an element, if it has one.
    fn element(&mut self, element: Node<'_>) -> Option<(Mark, Rule)> {
        let is_mark = |extension: &Node<'_>| extension.text_of("url").as_deref() == Some(ESSENTIAL);
        let mut marks = element.items_of("extension").filter(is_mark);
        let mark = marks.next()?;
        if let Some(second) = marks.next() {
            self.fault(second, Code::Duplicate, "the element is marked twice", "keep one mark");
        }
        let path = element.text_of("path").unwrap_or_default();
        let below = path.strip_prefix(self.root).and_then(|rest| rest.strip_prefix('.'));
        let Some(below) = below else {
            self.fault(mark, Code::Rule, "a record cannot lack its root", "mark an element of the model");
            return None;
        };
        let is_read = matches!(self.plan.source, Type::Model(_));
        if is_read && self.plan.root.fhir_name() != Some("Bundle") {
            let hint = "let the map make a Bundle, or take the marks out of the model";
            self.fault(mark, Code::Rule, "what is missing can be said in a Bundle only, and the map makes none", hint);
        }
        let says_nothing: Vec<String> = texts(mark, "nothing", "valueCode").collect();
        let is_required = element.member("min").and_then(Node::scalar).is_some_and(|min| min != "0");
        if is_required && says_nothing.is_empty() {
            let hint = "write min 0, or the codes that say nothing in parts called nothing";
            self.fault(mark, Code::Rule, "a record without this element is refused anyway: it cannot be missing", hint);
        }
        let role = self.role(mark);
        let owner = self.owner(mark);
        let hours = self.hours(mark);
        let parent = path.rsplit_once('.').map_or(&*path, |(parent, _)| parent);
        let unless = self.expression(mark, "unless", parent);
        let counts = self.expression(mark, "counts", &path);
        self.unknown_parts(mark);
        let what = element.text_of("short").map_or_else(|| below.to_owned(), |short| short.into_owned());
        let read = Mark {
            steps: below.split('.').map(Name::new).collect(),
            path: below.to_owned(),
            what,
            question: texts(mark, "words", "valueString").next(),
            role: role?,
            owner: owner?,
            hours: hours?,
            unless,
            counts,
            says_nothing,
        };
        Some((read, self.rule(element, format!("{below} is missing"))))
    }

    fn rule(&self, place: Node<'_>, name: String) -> Rule {
        let map = self.model.text_of("url").unwrap_or_default().into_owned();
        Rule { map, group: GROUP.to_owned(), name, file: self.root.to_owned(), line: place.position().line }
    }

    fn role(&mut self, mark: Node<'_>) -> Option<Role> {
        let coding = part(mark, "role").and_then(|part| part.member("valueCoding"));
        let text = |name: &str| coding.and_then(|coding| coding.text_of(name)).map(|text| text.into_owned());
        let (system, code, display) = (text("system"), text("code"), text("display"));
        let role = system.zip(code).zip(display).map(|((system, code), display)| Role { system, code, display });
        if role.is_none() {
            let hint = "write a part role with valueCoding: system, code and display";
            self.fault(mark, Code::Rule, "the mark does not say who must obtain it", hint);
        }
        role
    }

    fn owner(&mut self, mark: Node<'_>) -> Option<Owner> {
        let Some(written) = part(mark, "owner") else { return Some(Owner::Author) };
        let owner = match written.text_of("valueCode").as_deref() {
            Some("author") => Some(Owner::Author),
            Some("team") => Some(Owner::Team),
            Some("sender") => Some(Owner::Sender),
            Some("receiver") => Some(Owner::Receiver),
            _ => None,
        };
        if owner.is_none() {
            let hint = "write valueCode author, team, sender or receiver";
            self.fault(written, Code::Rule, "the mark does not say whose task it is", hint);
        }
        owner
    }

    fn hours(&mut self, mark: Node<'_>) -> Option<u32> {
        let hours = part(mark, "hours").and_then(|part| part.member("valueInteger")).and_then(Node::scalar);
        let hours = hours.and_then(|hours| hours.parse().ok()).filter(|hours| (1..=MOST_HOURS).contains(hours));
        if hours.is_none() {
            let hint = format!("write a part hours with valueInteger from 1 to {MOST_HOURS}");
            self.fault(mark, Code::Rule, "the mark does not say by when", &hint);
        }
        hours
    }

    /// The expression of a part, checked against the type of what it is asked of.
    fn expression(&mut self, mark: Node<'_>, name: &str, of: &str) -> Option<Expression> {
        let written = part(mark, name)?.member("valueString")?;
        let expression = match Expression::parse(&written.text()?) {
            Ok(expression) => expression,
            Err(fault) => {
                let hint = "see the FHIRPath specification (N1) for what an expression may say";
                self.fault(written, Code::Expression, &fault.what, hint);
                return None;
            }
        };
        let focus = self.plan.types.model_at(of);
        let typing = Typing {
            model: Some(&self.plan.types),
            is_condition: true,
            ..Typing::of(focus.unwrap_or(Type::Any).into())
        };
        for fault in expression.check(&typing).into_iter().filter(|fault| fault.is_certain) {
            self.fault(written, Code::Expression, &fault.what, &fault.hint);
        }
        Some(expression)
    }

    fn unknown_parts(&mut self, mark: Node<'_>) {
        for part in mark.items_of("extension") {
            let name = part.text_of("url").unwrap_or_default();
            if !["role", "owner", "hours", "words", "unless", "counts", "nothing"].contains(&&*name) {
                let message = format!("the mark has no part {name}");
                self.fault(part, Code::Rule, &message, &format!("its parts are {PARTS}"));
            }
        }
    }

    fn fault(&mut self, place: Node<'_>, code: Code, message: &str, hint: &str) {
        let range = place.offset()..place.offset() + place.raw().len();
        let finding = Finding { severity: Severity::Error, code, message: message.to_owned(), hint: hint.to_owned() };
        self.faults.push(Diagnostic::new(self.root, place.document().source(), range, finding));
    }
}

fn parts<'d>(mark: Node<'d>, name: &str) -> impl Iterator<Item = Node<'d>> {
    mark.items_of("extension").filter(move |part| part.text_of("url").as_deref() == Some(name))
}

fn part<'d>(mark: Node<'d>, name: &str) -> Option<Node<'d>> {
    parts(mark, name).next()
}

fn texts(mark: Node<'_>, name: &str, value: &str) -> impl Iterator<Item = String> {
    parts(mark, name).filter_map(move |part| part.text_of(value).map(|text| text.into_owned()))
}
