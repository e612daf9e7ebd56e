//! `weir handover`: who holds responsibility for what was delivered, at the gateway; and the receiving team's decision, at the
//! reference receiver of a partner.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use time::Duration;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::Answer;
use super::output::{Output, indented};
use super::site::{ActorOption, SiteOption};
use crate::config::PartnerSite;
use crate::fhir::response::KNOWN_REASONS;
use crate::fhir::{Instant, instant_text};
use crate::handover::{responsibility, summary, tells_words};
use crate::identity::MessageId;
use crate::identity::principal::Action;
use crate::partner::{self, Decision, Later, Way};
use crate::server::clock;
use crate::storage::{HandoverRecord, HandoverState, SqliteStore, Store as _};

/// What to do with handovers.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show handovers, those that wait for an acceptance first
    List(List),
    /// Show who holds responsibility for one message, since when and on what evidence
    Show(Show),
    /// Accept a message that the reference receiver got, as its partner's team
    Accept(Accept),
    /// Reject a message that the reference receiver got, as its partner's team
    Reject(Reject),
    /// Say that the person was reached whose handover the partner's team accepted
    Contact(Contact),
}

/// Shows where handovers stand; no personal data. With --format json: an object a line.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir handover list --state overdue --site site/gateway")]
pub(super) struct List {
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// Only those in this state: waiting, near-due, overdue, accepted, contact-missed, contacted, rejected or withdrawn
    #[arg(long)]
    state: Option<HandoverState>,
    /// The most that are shown
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Shows who holds responsibility at each moment, as the partner names them, with the event of the audit log and the partner's
/// answer that it rests on. With --format json: as `GET /messages/{id}` has it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir handover show 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --site site/gateway")]
pub(super) struct Show {
    /// The message's id, as its 202 answer gave it
    message: MessageId,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

/// Which message, at which receiver, and how its sender is told.
#[derive(Debug, Args)]
struct Received {
    /// The message's id, or that of its Bundle
    message: Uuid,
    /// The partner's folder, as `weir partner` has it
    #[arg(long, value_name = "DIR")]
    site: PathBuf,
    /// Update the Task that came in the message, in the place of a response message
    #[arg(long)]
    task: bool,
}

/// Accepts in the name of a team or a person, who is then responsible. Sends a response message of BaRS with the Task, accepted.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir handover accept 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --by \"Crisis Team North\" \
                        --first-contact +60 --site site/trust"
)]
pub(super) struct Accept {
    #[command(flatten)]
    received: Received,
    /// The name of the team that takes it
    #[arg(long, value_name = "NAME")]
    by: String,
    /// The name is a person's
    #[arg(long)]
    person: bool,
    /// By when the person is reached: a time, as 2026-01-31T18:00:00Z, or so many minutes from now, as +60
    #[arg(long, value_name = "TIME")]
    first_contact: Option<When>,
}

/// Rejects with a reason. Sends a response message of BaRS with the Task, rejected.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir handover reject 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --reason no-capacity --words \
                        \"No bed until Monday.\" --site site/trust"
)]
pub(super) struct Reject {
    #[command(flatten)]
    received: Received,
    /// no-capacity, outside-catchment, not-eligible, wrong-service, already-known, information-missing or unable-to-contact
    #[arg(long, value_name = "CODE", value_parser = reason)]
    reason: String,
    /// The same in words; the sender keeps them sealed
    #[arg(long, value_name = "TEXT")]
    words: Option<String>,
}

/// Says that the person was reached. Sends a response message of BaRS with the Task, in progress since then.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir handover contact 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --site site/trust")]
pub(super) struct Contact {
    #[command(flatten)]
    received: Received,
    /// When: a time, as 2026-01-31T18:00:00Z. Default: now
    #[arg(long, value_name = "TIME")]
    at: Option<When>,
}

/// A point in time as it is typed.
#[derive(Clone, Copy, Debug)]
enum When {
    At(Instant),
    In(Duration),
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<When, &'static str> {
        let wrong = "write a time with its zone, as 2026-01-31T18:00:00Z, or +60 for in 60 minutes";
        match text.strip_prefix('+') {
            Some(minutes) => {
                let minutes: u32 = minutes.parse().map_err(|_| wrong)?;
                Ok(When::In(Duration::minutes(minutes.into())))
            }
            None => Instant::parse(text, &Rfc3339).map(When::At).map_err(|_| wrong),
        }
    }
}

impl When {
    fn instant(self) -> Instant {
        match self {
            When::At(at) => at,
            When::In(time) => clock::now() + time,
        }
    }
}

fn reason(code: &str) -> Result<String, String> {
    let known = KNOWN_REASONS.iter().map(|(code, _)| *code);
    match known.clone().any(|known| known == code) {
        true => Ok(code.to_owned()),
        false => Err(format!("write one of {}", known.collect::<Vec<_>>().join(", "))),
    }
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    match verb {
        Verb::List(arguments) => list(arguments, output),
        Verb::Show(arguments) => show(arguments, output),
        Verb::Accept(arguments) => decide(&arguments.received, &accepted(arguments), output),
        Verb::Reject(arguments) => decide(&arguments.received, &rejected(arguments), output),
        Verb::Contact(arguments) => {
            let at = arguments.at.map_or_else(clock::now, When::instant);
            let reached = Decision { status: "in-progress", contacted_at: Some(at), ..Decision::default() };
            decide(&arguments.received, &reached, output)
        }
    }
}

fn accepted(arguments: &Accept) -> Decision {
    Decision {
        status: "accepted",
        owner: Some((arguments.by.clone(), arguments.person)),
        contact_by: arguments.first_contact.map(When::instant),
        ..Decision::default()
    }
}

fn rejected(arguments: &Reject) -> Decision {
    let reason = Some((arguments.reason.clone(), arguments.words.clone()));
    Decision { status: "rejected", reason, ..Decision::default() }
}

fn decide(received: &Received, decision: &Decision, output: &Output) -> anyhow::Result<Answer> {
    let site = PartnerSite::load(&received.site)?;
    // What a running receiver would say by itself is not said.
    let settings = site.settings(vec![], Some(Later::Accept))?;
    let way = if received.task { Way::Task } else { Way::Response };
    let told = super::runtime()?.block_on(partner::decide(&settings, received.message, (decision, way)))?;
    let (message, status) = (received.message, told.status);
    output.line(&match told.is_taken() {
        true => format!("the sender of message {message} has it: {}", decision.status),
        false => format!("the sender of message {message} refused it with {status} ({})", told.codes.join(", ")),
    });
    output.json(&json!({
        "message": message.to_string(),
        "status": decision.status,
        "taken": told.is_taken(),
        "http": status,
        "codes": told.codes,
    }));
    Ok(told.is_taken().into())
}

/// The store, for someone who may list where messages stand.
fn readable(site: &SiteOption, actor: &ActorOption) -> anyhow::Result<SqliteStore> {
    let site = site.load()?;
    actor.permit(site.staff(), Action::ReadMessage, None)?;
    site.open_for_reading()
}

fn list(arguments: &List, output: &Output) -> anyhow::Result<Answer> {
    let store = readable(&arguments.site, &arguments.actor)?;
    let found = super::runtime()?.block_on(store.handovers(arguments.state, arguments.limit))?;
    for record in &found {
        output.line(&row(record));
        output.json(&summary(record));
    }
    if found.is_empty() {
        output.remark("there is no such handover");
    }
    Ok(Answer::Yes)
}

fn row(record: &HandoverRecord) -> String {
    let HandoverRecord { message, recipient, interface, handover, .. } = record;
    let clock = match (handover.state.is_open(), handover.contacted_at, handover.contact_due_at) {
        (true, ..) => format!("to be accepted by {}", instant_text(handover.due_at)),
        (false, Some(at), _) => format!("first contact at {}", instant_text(at)),
        (false, None, Some(due)) => format!("first contact by {}", instant_text(due)),
        (false, None, None) => format!("since {}", instant_text(handover.since)),
    };
    format!("{message}  {:<14}  {interface} to {recipient}  {clock}", handover.state.code())
}

fn show(arguments: &Show, output: &Output) -> anyhow::Result<Answer> {
    let (id, site) = (arguments.message, arguments.site.load()?);
    let actor = arguments.actor.permit(site.staff(), Action::ReadMessage, Some(id))?;
    let store = site.open_for_reading()?;
    let runtime = super::runtime()?;
    let Some(record) = runtime.block_on(store.message(id))? else {
        output.remark(&format!("there is no message {id} in this site"));
        return Ok(Answer::No);
    };
    let told = runtime.block_on(responsibility(&store, &record, actor.may(Action::ReadWords)))?;
    if tells_words(&told) {
        actor.look(Action::ReadWords, Some(id))?;
    }
    output.document(&if output.is_json() { indented(&told.to_string()) } else { text(&told) });
    Ok(Answer::Yes)
}

fn text(told: &Value) -> String {
    let moments = told["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = vec![format!("holder     {}, since {}", holder(&told["holder"]), plain(&told["since"]))];
    let clock = |name: &str, at: &Value| at.as_str().map(|at| format!("{name} {at}"));
    lines.extend(clock("accept by ", &told["handover"]["acceptBy"]));
    lines.extend(clock("contact by", &told["handover"]["firstContactBy"]));
    lines.extend(clock("contact at", &told["handover"]["firstContactAt"]));
    lines.extend(moments.iter().map(|moment| {
        let evidence = &moment["evidence"];
        let answer = evidence["answer"].as_str().map(|id| format!(", answer {id}")).unwrap_or_default();
        let reasons = moment["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
        let reasons: Vec<&str> = reasons.iter().filter_map(Value::as_str).collect();
        let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let words = moment["words"].as_str().map(|words| format!(": \"{words}\"")).unwrap_or_default();
        let withheld = moment["wordsWithheld"].as_bool().unwrap_or_default();
        let words = if withheld { ", in words that no role of yours may read".to_owned() } else { words };
        let (since, because) = (plain(&moment["since"]), plain(&moment["because"]));
        format!(
            "moment     {since}  {because}{}{why}{words}, {} (event {}{answer})",
            by(moment),
            holder(&moment["holder"]),
            evidence["event"]
        )
    }));
    lines.join("\n")
}

/// Who took a step that is none of the holder's, and why, if a person of the sender did.
fn by(moment: &Value) -> String {
    let by = &moment["by"];
    let why = moment["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    let who = by["principal"].as_str().map_or_else(|| holder(by), str::to_owned);
    if who.is_empty() { String::new() } else { format!(" by {who}{why}") }
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn holder(value: &Value) -> String {
    let owner = &value["owner"];
    let name = owner["name"].as_str().or(owner["identifier"]["value"].as_str());
    let erased = owner["erased"].as_bool().unwrap_or_default().then_some("whose name is erased");
    let organisation = plain(&value["organisation"]);
    name.or(erased).map_or_else(|| organisation.to_owned(), |name| format!("{organisation}, {name}"))
}
