//! What a partner says of taking responsibility: by the Tasks of a response message (BaRS), or by one Task that it updates
//! (FHIR R4, Task).
//!
//! Enters: a Bundle or a Task. Leaves: whether the receiving team takes it, who that is, and when they reach the person. The BaRS
//! API (1.4.0) says nothing of this; R4 says what each element of Task means, and that is what is read:
//!
//! | what | where |
//! | --- | --- |
//! | accepted | `Task.status` accepted, in-progress or completed |
//! | rejected | `Task.status` rejected or cancelled; `ServiceRequest.status` revoked or entered-in-error |
//! | by whom | `Task.owner` ("currently responsible for task execution"); in an acceptance without one, `ServiceRequest.performer` |
//! | first contact by | `Appointment.start`; else `Task.restriction.period`, its end or start; else an `executionPeriod.start` that lies ahead |
//! | first contact made | `Task.executionPeriod.start` ("the time action was first taken against the task") of a Task in progress or completed |
//! | why not | `Task.statusReason`, its codes and its text |
//!
//! A Task that `failed` ("attempted but could not be completed due to some error") decides nothing.
//!
//! Of a message those Tasks count whose code is `fulfill`, or if there is none those without a code: whoever sees to a follow-up has not
//! taken the request.
//!
//! The name of an owner and the text of a reason are somebody's words: a name is shown to who may read the message, the text to who may
//! read words, and neither stands in a log.

use std::fmt;

use super::response::{Decision, REASONS, decision, known_coding, tasks_of_the_request};
use super::{Document, Instant, Node, Writer, instant_text, latest_instant};

/// Who takes responsibility, as the partner names them.
#[derive(Clone, PartialEq, Eq)]
pub struct Owner {
    /// What they are.
    pub kind: OwnerKind,
    /// Their name.
    pub name: Option<String>,
    /// System and value of an identifier.
    pub identifier: Option<(String, String)>,
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerKind {
    /// A person: Practitioner or PractitionerRole.
    Person,
    /// A team: Organization, CareTeam or HealthcareService.
    Team,
    /// The partner does not say.
    Unsaid,
}

impl OwnerKind {
    /// The name, as shown and audited.
    pub fn code(self) -> &'static str {
        match self {
            OwnerKind::Person => "person",
            OwnerKind::Team => "team",
            OwnerKind::Unsaid => "unsaid",
        }
    }

    fn of(resource_type: &str) -> OwnerKind {
        match resource_type {
            "Practitioner" | "PractitionerRole" => OwnerKind::Person,
            "Organization" | "CareTeam" | "HealthcareService" => OwnerKind::Team,
            _ => OwnerKind::Unsaid,
        }
    }
}

/// What is said of a handover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Whether it is taken: `Some(false)` when it is rejected, `None` when nothing is decided.
    pub takes: Option<bool>,
    /// Who takes it, or rejects it, if they are named.
    pub owner: Option<Owner>,
    /// By when they mean to reach the person.
    pub contact_by: Option<Instant>,
    /// When they did.
    pub contacted_at: Option<Instant>,
    /// Whether the work is done, so that the person was reached, whatever is said of when.
    pub is_done: bool,
    /// Why not, in codes.
    pub reasons: Vec<String>,
    /// Whether there are words besides.
    pub has_words: bool,
}

/// The statuses of a Task (`http://hl7.org/fhir/task-status`).
const STATUSES: [&str; 12] = [
    "draft",
    "requested",
    "received",
    "accepted",
    "rejected",
    "ready",
    "cancelled",
    "in-progress",
    "on-hold",
    "failed",
    "completed",
    "entered-in-error",
];

/// Owners and performers that are looked at: each may refer to any entry.
const MOST_OWNERS: usize = 32;

/// The longest text that is shown of what somebody wrote.
const LONGEST: usize = 500;

/// The status of a Task, if it is one that there is.
pub fn status(document: &Document) -> Option<&'static str> {
    let status = document.root().text_of("status")?;
    STATUSES.into_iter().find(|known| *known == status)
}

/// What a Bundle or a Task says of the handover at `now`.
pub fn said(document: &Document, now: Instant) -> Said {
    let tasks = tasks_of_the_request(document.root());
    let is = |task: &Node<'_>, codes: &[&str]| task.text_of("status").is_some_and(|status| codes.contains(&&*status));
    let reasons = tasks.iter().filter_map(|task| task.member("statusReason"));
    let (coded, texts): (Vec<_>, Vec<_>) =
        reasons.map(|reason| (reason.items_of("coding").filter_map(known_coding), reason.text_of("text"))).unzip();
    let mut reasons: Vec<String> = coded.into_iter().flatten().take(32).collect();
    reasons.dedup();
    let has_words = texts.iter().flatten().any(|text| !text.trim().is_empty());
    let owner = || {
        let owners = tasks.iter().filter_map(|task| task.member("owner"));
        owners.take(MOST_OWNERS).find_map(|owner| named(document, owner))
    };
    if decision(document) == Some(Decision::Rejected) {
        return Said { takes: Some(false), owner: owner(), reasons, has_words, ..Said::default() };
    }
    let Some(task) = tasks.iter().find(|task| is(task, &["accepted", "in-progress", "completed"])) else {
        return Said::default();
    };
    let owner = task.member("owner").and_then(|owner| named(document, owner));
    let performer = || {
        let performers = of_type(document, "ServiceRequest").flat_map(|request| request.items_of("performer"));
        performers.take(MOST_OWNERS).find_map(|performer| named(document, performer))
    };
    let began = task.member("executionPeriod").and_then(|period| instant(period, "start"));
    let soon = now + time::Duration::minutes(1);
    let is_begun = is(task, &["in-progress", "completed"]);
    Said {
        takes: Some(true),
        owner: owner.or_else(performer),
        contact_by: contact_by(document, *task, now).or(began.filter(|began| *began > soon)),
        contacted_at: began.filter(|began| is_begun && *began <= soon),
        is_done: is(task, &["completed"]),
        reasons,
        has_words,
    }
}

/// By when the person is to be reached: what lies behind is no promise.
fn contact_by(document: &Document, task: Node<'_>, now: Instant) -> Option<Instant> {
    let mut appointments = of_type(document, "Appointment");
    let is_off = |status: &str| matches!(status, "cancelled" | "noshow" | "entered-in-error");
    let booked = appointments.find_map(|appointment| {
        let is_on = !appointment.text_of("status").is_some_and(|status| is_off(&status));
        is_on.then(|| instant(appointment, "start")).flatten().filter(|at| *at > now)
    });
    let period = || {
        let period = task.member("restriction")?.member("period")?;
        [instant(period, "end"), instant(period, "start")].into_iter().flatten().find(|at| *at > now)
    };
    booked.or_else(period)
}

fn instant(node: Node<'_>, name: &str) -> Option<Instant> {
    latest_instant(&node.text_of(name)?)
}

/// The resources of a type: of a Bundle, or the document itself.
fn of_type<'a>(document: &'a Document, name: &'static str) -> impl Iterator<Item = Node<'a>> {
    let root = document.root();
    let entries = root.items_of("entry").filter_map(|entry| entry.member("resource"));
    entries.chain([root]).filter(move |resource| resource.resource_type() == Some(name))
}

/// Whom a Reference means; `None` when it names nobody: a bare reference to what is not there names nobody.
fn named(document: &Document, reference: Node<'_>) -> Option<Owner> {
    let text = reference.text_of("reference").unwrap_or_default().into_owned();
    let target = (!text.is_empty()).then(|| target(document, &text)).flatten();
    let by_type = reference.text_of("type").map(|name| OwnerKind::of(&name));
    let by_reference = OwnerKind::of(text.rsplit('/').nth(1).unwrap_or_default());
    let kind = target.and_then(|it| it.resource_type()).map(OwnerKind::of).or(by_type).unwrap_or(by_reference);
    let display = reference.text_of("display").and_then(|text| line(&text));
    let name = display.or_else(|| target.and_then(|target| name_of(document, target)));
    let of = |node: Node<'_>| identifier(node);
    let own = reference.member("identifier").and_then(of);
    let identifier = own.or_else(|| target.and_then(|target| target.items_of("identifier").find_map(of)));
    (name.is_some() || identifier.is_some()).then_some(Owner { kind, name, identifier })
}

fn identifier(node: Node<'_>) -> Option<(String, String)> {
    Some((line(&node.text_of("system")?)?, line(&node.text_of("value")?)?))
}

/// One line of a sensible length.
fn line(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// What a reference means, in the Bundle or contained.
fn target<'a>(document: &'a Document, reference: &str) -> Option<Node<'a>> {
    let root = document.root();
    if let Some(id) = reference.strip_prefix('#') {
        let holders = root.items_of("entry").filter_map(|entry| entry.member("resource")).chain([root]);
        let mut contained = holders.flat_map(|resource| resource.items_of("contained"));
        return contained.find(|resource| resource.text_of("id").as_deref() == Some(id));
    }
    let names = |entry: &Node<'_>| {
        let by_url = entry.text_of("fullUrl").is_some_and(|url| url == reference);
        let own =
            entry.member("resource").and_then(|it| Some(format!("{}/{}", it.resource_type()?, it.text_of("id")?)));
        by_url || own.is_some_and(|own| own == reference)
    };
    root.items_of("entry").find(names)?.member("resource")
}

/// How a resource is called; a role by whose it is.
fn name_of(document: &Document, resource: Node<'_>) -> Option<String> {
    let of_person = |name: Node<'_>| {
        let text = name.text_of("text").map(|text| text.into_owned());
        text.or_else(|| {
            let parts = name.items_of("prefix").chain(name.items_of("given")).filter_map(Node::text);
            let parts = parts.chain(name.text_of("family")).map(|part| part.into_owned());
            Some(parts.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
        })
    };
    let through = |member: &str| {
        let reference = resource.member(member)?;
        let display = reference.text_of("display").and_then(|text| line(&text));
        let told = || target(document, &reference.text_of("reference")?).and_then(|it| plain_name(it, of_person));
        display.or_else(told)
    };
    match resource.resource_type()? {
        "PractitionerRole" => through("practitioner").or_else(|| through("organization")),
        _ => plain_name(resource, of_person),
    }
}

fn plain_name(resource: Node<'_>, of_person: impl Fn(Node<'_>) -> Option<String>) -> Option<String> {
    let name = match resource.resource_type()? {
        "Practitioner" => resource.items_of("name").find_map(of_person),
        _ => resource.text_of("name").map(|name| name.into_owned()),
    };
    line(&name?)
}

/// The words of the first reason that has any: somebody's own.
pub fn words(document: &Document) -> Option<String> {
    let of_tasks = of_type(document, "Task").filter_map(|task| task.member("statusReason")?.text_of("text"));
    let issues = of_type(document, "OperationOutcome").flat_map(|outcome| outcome.items_of("issue"));
    let of_issues = issues.filter_map(|issue| {
        let details = issue.member("details").and_then(|details| details.text_of("text"));
        details.or_else(|| issue.text_of("diagnostics"))
    });
    let mut all = of_tasks.chain(of_issues).map(|text| text.trim().chars().take(LONGEST).collect::<String>());
    all.find(|text| !text.is_empty())
}

/// Whether a Task is the one of this id.
pub fn is_task(document: &Document, id: &str) -> bool {
    let root = document.root();
    root.resource_type() == Some("Task") && root.text_of("id").is_some_and(|own| own.eq_ignore_ascii_case(id))
}

/// What a receiving team writes into a Task.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    /// The Task's id.
    pub id: &'a str,
    /// Its status.
    pub status: &'a str,
    /// Who takes it, by name, and whether that is a person.
    pub owner: Option<(&'a str, bool)>,
    /// By when the person is reached.
    pub contact_by: Option<Instant>,
    /// When they were.
    pub contacted_at: Option<Instant>,
    /// Why not: a code of [`REASONS`], and words.
    pub reason: Option<(&'a str, Option<&'a str>)>,
    /// When it is written.
    pub at: Instant,
}

impl Written<'_> {
    /// The Task as FHIR JSON.
    pub fn to_json(&self) -> String {
        let mut out = Writer::new();
        out.begin_object();
        out.field("resourceType", "Task");
        out.field("id", self.id);
        out.field("status", self.status);
        if let Some((code, words)) = self.reason {
            out.object("statusReason", |out| {
                out.coding(REASONS, code);
                if let Some(words) = words {
                    out.field("text", words);
                }
            });
        }
        out.field("intent", "order");
        out.field("lastModified", &instant_text(self.at));
        if let Some(at) = self.contacted_at {
            out.object("executionPeriod", |out| out.field("start", &instant_text(at)));
        }
        if let Some((name, is_person)) = self.owner {
            out.object("owner", |out| {
                out.field("type", if is_person { "Practitioner" } else { "Organization" });
                out.field("display", name);
            });
        }
        if let Some(by) = self.contact_by {
            out.object("restriction", |out| {
                out.object("period", |out| out.field("end", &instant_text(by)));
            });
        }
        out.end_object();
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;
    use time::macros::datetime;

    const NOW: Instant = datetime!(2026-01-01 12:00 UTC);

    fn parsed(json: &str) -> Document {
        Document::parse(json, &Limits::default()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    fn task(members: &str) -> Said {
        said(&parsed(&format!(r#"{{"resourceType":"Task","id":"t",{members}}}"#)), NOW)
    }

    fn team(name: &str) -> Option<Owner> {
        Some(Owner { kind: OwnerKind::Team, name: Some(name.to_owned()), identifier: None })
    }

    #[test]
    fn an_acceptance_says_who_and_by_when() {
        let accepted = task(
            r#""status":"accepted","owner":{"type":"CareTeam","display":"Crisis Team North"},
            "restriction":{"period":{"end":"2026-01-01T13:00:00Z"}}"#,
        );
        assert_eq!((accepted.takes, &accepted.owner), (Some(true), &team("Crisis Team North")));
        assert_eq!((accepted.contact_by, accepted.contacted_at), (Some(datetime!(2026-01-01 13:00 UTC)), None));
        let planned = task(r#""status":"accepted","executionPeriod":{"start":"2026-01-01T14:00:00Z"}"#);
        assert_eq!((planned.contact_by, planned.owner), (Some(datetime!(2026-01-01 14:00 UTC)), None));
        let behind = task(r#""status":"accepted","restriction":{"period":{"end":"2026-01-01T11:00:00Z"}}"#);
        assert_eq!(behind.contact_by, None, "what lies behind is no promise");
        let tasks = |tasks: &str| said(&parsed(&format!(r#"{{"resourceType":"Bundle","entry":[{tasks}]}}"#)), NOW);
        let entry = |status: &str, code: &str| {
            format!(
                r#"{{"resource":{{"resourceType":"Task","status":"{status}","owner":{{"display":"Ward clerk"}}{code}}}}}"#
            )
        };
        let coded =
            |system: &str, code: &str| format!(r#","code":{{"coding":[{{"system":"{system}","code":"{code}"}}]}}"#);
        let (fulfil, other) =
            (coded("http://hl7.org/fhir/CodeSystem/task-code", "fulfill"), coded("urn:x", "follow-up"));
        let words = r#","code":{"text":"Telephone the GP surgery"}"#;
        assert_eq!(tasks(&entry("accepted", "")).takes, Some(true));
        for code in [&other, words] {
            assert_eq!(
                tasks(&entry("completed", code)).takes,
                None,
                "whoever sees to {code} has not taken the request"
            );
        }
        let requested = entry("requested", &fulfil);
        for code in ["", words, &other] {
            assert_eq!(tasks(&format!("{requested},{}", entry("accepted", code))).takes, None, "{code}");
            let taken = tasks(&format!("{},{}", entry("accepted", &fulfil), entry("cancelled", code)));
            assert_eq!(taken.takes, Some(true), "{code}");
        }
        let by_id = r#""status":"accepted","owner":{"display":"North"},"code":{"coding":[{"system":"urn:x","code":"referral"}]}"#;
        assert_eq!(task(by_id).takes, Some(true), "its id says which it is");
        assert!(!format!("{accepted:?}").contains("North"), "a name is not logged");
    }

    #[test]
    fn work_that_began_is_the_first_contact() {
        let began = task(r#""status":"in-progress","executionPeriod":{"start":"2026-01-01T11:59:00Z"}"#);
        assert_eq!((began.takes, began.contacted_at), (Some(true), Some(datetime!(2026-01-01 11:59 UTC))));
        let accepted = task(r#""status":"accepted","executionPeriod":{"start":"2026-01-01T11:59:00Z"}"#);
        assert_eq!(accepted.contacted_at, None, "work has not begun on what is only accepted");
        assert!(task(r#""status":"completed""#).is_done && !task(r#""status":"in-progress""#).is_done);
    }

    #[test]
    fn a_rejection_has_codes_and_words() {
        let json = format!(
            r#"{{"resourceType":"Task","status":"rejected","statusReason":{{"coding":[{{"system":"{REASONS}",
            "code":"no-capacity"}}],"text":" Chantal is known to another team "}}}}"#
        );
        let rejected = said(&parsed(&json), NOW);
        assert_eq!((rejected.takes, rejected.has_words), (Some(false), true));
        assert_eq!(rejected.reasons, ["no-capacity"]);
        assert_eq!(words(&parsed(&json)).as_deref(), Some("Chantal is known to another team"));
        assert!(!format!("{rejected:?}").contains("Chantal"));
    }

    #[test]
    fn what_decides_nothing_says_nothing() {
        for status in ["requested", "received", "ready", "on-hold", "draft", "failed", "?"] {
            assert_eq!(task(&format!(r#""status":"{status}","owner":{{"display":"x"}}"#)), Said::default(), "{status}");
        }
        assert_eq!(said(&parsed("[1]"), NOW), Said::default());
    }

    #[test]
    fn an_owner_is_found_in_the_message() {
        let message = |owner: &str, more: &str| {
            let json = format!(
                r#"{{"resourceType":"Bundle","entry":[{{"resource":{{"resourceType":"Task","status":"accepted"{owner}}}}},
                {{"fullUrl":"urn:uuid:1","resource":{{"resourceType":"PractitionerRole","practitioner":{{"reference":"Practitioner/p"}}}}}},
                {{"resource":{{"resourceType":"Practitioner","id":"p","name":[{{"given":["Ann"],"family":"Other"}}],
                  "identifier":[{{"system":"https://fhir.nhs.uk/Id/sds-user-id","value":"1"}}]}}}},
                {{"fullUrl":"urn:uuid:3","resource":{{"resourceType":"HealthcareService","name":"Crisis Line"}}}}{more}]}}"#
            );
            said(&parsed(&json), NOW)
        };
        let role = message(r#","owner":{"reference":"urn:uuid:1"}"#, "").owner.expect("it is named");
        assert_eq!((role.kind, role.name.as_deref()), (OwnerKind::Person, Some("Ann Other")));
        let person = message(r#","owner":{"reference":"Practitioner/p"}"#, "").owner.expect("it is named");
        assert_eq!(person.identifier, Some(("https://fhir.nhs.uk/Id/sds-user-id".to_owned(), "1".to_owned())));
        let nobody = message(r#","owner":{"reference":"urn:uuid:9"}"#, "");
        assert_eq!((nobody.takes, nobody.owner), (Some(true), None), "a bare reference names nobody");
        let performer = r#",{"resource":{"resourceType":"ServiceRequest","performer":[{"reference":"urn:uuid:3"}]}},
            {"resource":{"resourceType":"Appointment","status":"booked","start":"2026-01-01T15:00:00Z"}}"#;
        let by_request = message("", performer);
        assert_eq!(
            (by_request.owner, by_request.contact_by),
            (team("Crisis Line"), Some(datetime!(2026-01-01 15:00 UTC)))
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = Written {
            id: "t",
            status: "in-progress",
            owner: Some(("Ann Other", true)),
            contact_by: None,
            contacted_at: Some(datetime!(2026-01-01 11:30 UTC)),
            reason: None,
            at: NOW,
        };
        let document = parsed(&written.to_json());
        assert!(is_task(&document, "T") && !is_task(&document, "u"));
        assert_eq!(status(&document), Some("in-progress"));
        let read = said(&document, NOW);
        assert_eq!(read.owner.map(|owner| owner.kind), Some(OwnerKind::Person));
        assert_eq!(read.contacted_at, written.contacted_at);
    }
}
