//! A Bundle with what its record lacks: a Task for each mark, and in the readable summary a section that lists them.
//!
//! Enters: the Bundle that the map made, with the origin of each value, and what is missing. Leaves: the same Bundle with
//! Tasks behind its entries. Ids follow from the message and the mark, so a resend is the same bytes.

use time::Duration;

use crate::fhir::bundle::{BUNDLE, COMPOSITION};
use crate::fhir::definitions::MISSING_TASK;
use crate::fhir::message::priority;
use crate::fhir::{
    Builder, Document, Instant, Kind, Limits, Name, Node, Writer, instant_text, latest_instant as latest,
};
use crate::identity::MessageId;

use super::super::target::Origin;
use super::{Essentials, Mark, Missing, Owner};

const SYSTEM: &str = "https://weir.example/fhir/CodeSystem/missing-information";
const DATA_ABSENT_REASON: &str = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
const HEADINGS: &str = "https://fhir.hl7.org.uk/CodeSystem/UKCore-RecordStandardHeadings";
/// The title of the section that lists the Tasks.
const TITLE: &str = "Not recorded, and who obtains it";

/// What a Task needs to know besides the Bundle.
#[derive(Clone, Copy, Debug)]
pub(in crate::mapping) struct Surroundings {
    /// The message: ids follow from it.
    pub(in crate::mapping) message: MessageId,
    /// When the record arrived: from then on, if the Bundle has no time, the hours count.
    pub(in crate::mapping) received_at: Instant,
    /// The number of the first rule that is Weir's own.
    pub(in crate::mapping) first_rule: u32,
}

impl Essentials {
    /// The Bundle with a Task for each mark that is missing somewhere; `None` if `bundle` is none.
    pub(in crate::mapping) fn complete(
        &self,
        (bundle, origins): (&Document, &[Origin]),
        missing: &[Missing],
        around: Surroundings,
    ) -> Option<(Document, Vec<Origin>)> {
        if bundle.resource_type() != Some(BUNDLE) {
            return None;
        }
        let people = People::of(bundle);
        let mut lacking: Vec<usize> = missing.iter().map(|missing| missing.mark).collect();
        lacking.dedup();
        let mut tasks = Vec::with_capacity(lacking.len());
        for index in lacking {
            let mark = self.marks.get(index)?;
            let url = format!("urn:uuid:{}", around.message.part(&format!("missing {}", mark.path)));
            let entry = people.task(mark, &url, around.received_at);
            let origin = Origin { source: None, rule: around.first_rule + index as u32 };
            tasks.push(Task { url, entry: Document::parse(entry, &Limits::default()).ok()?, origin });
        }
        let link = Origin { source: None, rule: around.first_rule + self.marks.len() as u32 };
        let mut copy = Copy {
            out: Builder::with_capacity(bundle.source().len() + 2048 * tasks.len(), bundle.len() + 64 * tasks.len()),
            made: Vec::with_capacity(origins.len() + 64 * tasks.len()),
            origins,
        };
        copy.bundle(bundle.root(), people.summary, (&tasks, link));
        Some((copy.out.finish()?, copy.made))
    }
}

struct Task {
    url: String,
    entry: Document,
    origin: Origin,
}

/// Those whom the Bundle names, as references, and what else a Task says of its message.
struct People<'b> {
    bundle: &'b Document,
    focus: Option<String>,
    author: Option<String>,
    team: Option<String>,
    sender: Option<String>,
    receiver: Option<String>,
    patient: Option<String>,
    encounter: Option<String>,
    /// The readable summary.
    summary: Option<Node<'b>>,
}

impl<'b> People<'b> {
    fn of(bundle: &'b Document) -> People<'b> {
        let entries = || bundle.root().items_of("entry");
        let first = |of: &str| {
            let resources = entries().filter_map(|entry| Some((entry, entry.member("resource")?)));
            let mut of_type = resources.filter(|(_, resource)| resource.resource_type() == Some(of));
            of_type.next()
        };
        let url = |of: &str| first(of).and_then(|(entry, _)| text(entry, &["fullUrl"]));
        let at = |of: &str, path: &[&str]| first(of).and_then(|(_, resource)| text(resource, path));
        let author = at("MessageHeader", &["author", "reference"])
            .or_else(|| at("ServiceRequest", &["requester", "reference"]))
            .or_else(|| at(COMPOSITION, &["author", "reference"]));
        let role = entries().find(|entry| author.is_some() && text(*entry, &["fullUrl"]) == author);
        let team = role.and_then(|role| text(role, &["resource", "organization", "reference"]));
        People {
            bundle,
            focus: at("MessageHeader", &["focus", "reference"]).or_else(|| url("ServiceRequest")),
            author,
            team,
            sender: at("MessageHeader", &["sender", "reference"]),
            receiver: at("MessageHeader", &["destination", "receiver", "reference"]),
            patient: url("Patient"),
            encounter: url("Encounter"),
            summary: first(COMPOSITION).map(|(_, resource)| resource),
        }
    }

    /// Whose Task it is: the one that the mark says, else who comes nearest to them.
    fn owner(&self, owner: Owner) -> Option<&str> {
        let (author, team, sender) = (&self.author, &self.team, &self.sender);
        let found = match owner {
            Owner::Author => author.as_ref().or(team.as_ref()).or(sender.as_ref()),
            Owner::Team => team.as_ref().or(sender.as_ref()).or(author.as_ref()),
            Owner::Sender => sender.as_ref().or(team.as_ref()).or(author.as_ref()),
            Owner::Receiver => self.receiver.as_ref(),
        };
        found.map(String::as_str)
    }

    /// The entry of a Task, as JSON.
    fn task(&self, mark: &Mark, url: &str, received_at: Instant) -> String {
        let written = text(self.bundle.root(), &["timestamp"]).filter(|text| latest(text).is_some());
        let from = written.as_deref().and_then(latest).unwrap_or(received_at);
        let until = from.checked_add(Duration::hours(i64::from(mark.hours))).unwrap_or(from);
        let mut out = Writer::with_capacity(2048);
        out.begin_object();
        out.field("fullUrl", url);
        out.object("resource", |out| {
            out.field("resourceType", "Task");
            out.field("id", url.trim_start_matches("urn:uuid:"));
            out.object("meta", |out| {
                out.key("profile");
                out.begin_array();
                out.string(MISSING_TASK);
                out.end_array();
            });
            out.field("status", "requested");
            out.field("intent", "order");
            if let Some(priority) = priority(self.bundle) {
                out.field("priority", &priority);
            }
            out.object("code", |out| coding(out, SYSTEM, "obtain", "Obtain missing information"));
            out.field("description", &description(mark));
            reference(out, "focus", self.focus.as_deref());
            reference(out, "for", self.patient.as_deref());
            reference(out, "encounter", self.encounter.as_deref());
            out.field("authoredOn", &written.unwrap_or_else(|| instant_text(received_at)));
            reference(out, "requester", self.owner(Owner::Author));
            out.list_of_one("performerType", |out| {
                coding(out, &mark.role.system, &mark.role.code, &mark.role.display);
            });
            reference(out, "owner", self.owner(mark.owner));
            out.object("reasonCode", |out| coding(out, DATA_ABSENT_REASON, "unknown", "Unknown"));
            out.object("restriction", |out| out.object("period", |out| out.field("end", &instant_text(until))));
            out.list_of_one("input", |out| {
                out.object("type", |out| coding(out, SYSTEM, "element", "Element of the record"));
                out.field("valueString", &mark.path);
            });
        });
        out.end_object();
        out.finish()
    }
}

fn description(mark: &Mark) -> String {
    match &mark.question {
        Some(question) => format!("Not recorded: {}. {question}", mark.what),
        None => format!("Not recorded: {}", mark.what),
    }
}

fn coding(out: &mut Writer, system: &str, code: &str, display: &str) {
    out.list_of_one("coding", |out| {
        out.field("system", system);
        out.field("code", code);
        out.field("display", display);
    });
}

fn reference(out: &mut Writer, name: &str, to: Option<&str>) {
    if let Some(to) = to {
        out.object(name, |out| out.field("reference", to));
    }
}

/// The text that `names` lead to, through the first item of a list.
fn text(node: Node<'_>, names: &[&str]) -> Option<String> {
    let end = names.iter().try_fold(node, |at, name| at.items_of(name).next())?;
    end.text().map(|text| text.into_owned())
}

/// A copy of a Bundle with the origins of its values.
struct Copy<'o> {
    out: Builder,
    made: Vec<Origin>,
    origins: &'o [Origin],
}

/// Where the values of a copied tree come from.
#[derive(Clone, Copy)]
enum From {
    /// From where those of the Bundle do.
    Bundle,
    /// From one rule.
    Rule(Origin),
}

impl Copy<'_> {
    fn bundle(&mut self, bundle: Node<'_>, summary: Option<Node<'_>>, (tasks, link): (&[Task], Origin)) {
        let open = self.out.begin_object();
        self.note(bundle, From::Bundle);
        let mut has_entries = false;
        for member in bundle.children() {
            self.key(member);
            if member.name().as_deref() != Some("entry") || !member.is_array() {
                self.tree(member, From::Bundle);
                continue;
            }
            has_entries = true;
            let list = self.out.begin_array();
            self.note(member, From::Bundle);
            for entry in member.children() {
                match summary.filter(|summary| entry.member("resource") == Some(*summary)) {
                    Some(summary) => self.summary_entry(entry, summary, (tasks, link)),
                    None => self.tree(entry, From::Bundle),
                }
            }
            self.tasks(tasks);
            self.out.end(list);
        }
        if !has_entries {
            self.out.key(&Name::new("entry"));
            let list = self.out.begin_array();
            self.made.push(link);
            self.tasks(tasks);
            self.out.end(list);
        }
        self.out.end(open);
    }

    fn tasks(&mut self, tasks: &[Task]) {
        for task in tasks {
            self.tree(task.entry.root(), From::Rule(task.origin));
        }
    }

    /// The entry of the summary, whose sections get one more.
    fn summary_entry(&mut self, entry: Node<'_>, summary: Node<'_>, (tasks, link): (&[Task], Origin)) {
        let Ok(section) = Document::parse(section(tasks), &Limits::default()) else {
            return self.tree(entry, From::Bundle);
        };
        let open = self.out.begin_object();
        self.note(entry, From::Bundle);
        for member in entry.children() {
            self.key(member);
            if member != summary {
                self.tree(member, From::Bundle);
                continue;
            }
            let resource = self.out.begin_object();
            self.note(summary, From::Bundle);
            let mut has_sections = false;
            for element in summary.children() {
                self.key(element);
                if element.name().as_deref() != Some("section") || !element.is_array() {
                    self.tree(element, From::Bundle);
                    continue;
                }
                has_sections = true;
                let list = self.out.begin_array();
                self.note(element, From::Bundle);
                element.children().for_each(|each| self.tree(each, From::Bundle));
                self.tree(section.root(), From::Rule(link));
                self.out.end(list);
            }
            if !has_sections {
                self.out.key(&Name::new("section"));
                let list = self.out.begin_array();
                self.made.push(link);
                self.tree(section.root(), From::Rule(link));
                self.out.end(list);
            }
            self.out.end(resource);
        }
        self.out.end(open);
    }

    fn tree(&mut self, node: Node<'_>, from: From) {
        match node.kind() {
            Kind::Object | Kind::Array => {
                let open = if node.is_object() { self.out.begin_object() } else { self.out.begin_array() };
                self.note(node, from);
                for child in node.children() {
                    self.key(child);
                    self.tree(child, from);
                }
                self.out.end(open);
            }
            Kind::String | Kind::Number | Kind::Boolean | Kind::Null => {
                self.out.copy(node);
                self.note(node, from);
            }
        }
    }

    fn note(&mut self, node: Node<'_>, from: From) {
        let nowhere = Origin { source: None, rule: 0 };
        self.made.push(match from {
            From::Bundle => self.origins.get(node.id().index()).copied().unwrap_or(nowhere),
            From::Rule(origin) => origin,
        });
    }

    /// The key of a member; nothing for an item of a list.
    fn key(&mut self, member: Node<'_>) {
        let Some(name) = member.name() else { return };
        match name.strip_prefix('_') {
            Some(name) => self.out.companion_key(&Name::new(name)),
            None => self.out.key(&Name::new(&name)),
        }
    }
}

/// The section of the summary that lists the Tasks. Its narrative is written by disclosure, as that of the others.
fn section(tasks: &[Task]) -> String {
    let mut out = Writer::with_capacity(1024);
    out.begin_object();
    out.field("title", TITLE);
    out.object("code", |out| out.coding(HEADINGS, "outstanding-issues"));
    out.key("entry");
    out.begin_array();
    for task in tasks {
        out.begin_object();
        out.field("reference", &task.url);
        out.end_object();
    }
    out.end_array();
    out.end_object();
    out.finish()
}
