//! `weir messages`: where messages stand, and what a person decides about those that were given up.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Answer;
use super::output::{Output, indented};
use super::site::{ActorOption, SiteOption};
use crate::acts::Deed;
use crate::acts::message::{Reason, answer_summary, may_cancel, may_retry, summary};
use crate::acts::spool::Left;
use crate::delivery::deadline;
use crate::fhir::audit_event::RecordedEvent;
use crate::fhir::instant_text;
use crate::handover;
use crate::identity::principal::Action;
use crate::identity::{InterfaceName, MessageId, PartyId};
use crate::storage::{AnswerRecord, Filter, MessageRecord, NoticeRecord, SqliteStore, State, Store as _, StoredEvent};

/// How long `retry` and `cancel` look whether the running gateway took the act.
const PATIENCE: Duration = Duration::from_secs(3);

/// What to do with messages.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show where messages stand, the newest first
    List(List),
    /// Show one message: where it stands, and every step that led there
    Show(Show),
    /// Show what is not sent again unless a person decides so: dead letters, and what partners refused
    Dead(Dead),
    /// Send a message again that waits, was refused or is dead, or whose handover was rejected: the same message, with the same ids
    Retry(Decide),
    /// Decide that a message is not to be sent
    Cancel(Decide),
}

/// Shows messages without their contents. With --format json: an object a line.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir messages list --state queued --recipient DEMOT --site site/gateway")]
pub(super) struct List {
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// Only those in this state: accepted, queued, in-flight, delivered, acknowledged, refused, dead or cancelled
    #[arg(long)]
    state: Option<State>,
    /// Only those for this recipient, by ODS code
    #[arg(long, value_name = "ODS")]
    recipient: Option<PartyId>,
    /// Only those of this interface
    #[arg(long, value_name = "NAME")]
    interface: Option<InterfaceName>,
    /// The most that are shown
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Shows what is not sent again unless a person decides so, the newest first. Exit code 1 when there is any.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir messages dead --site site/gateway")]
pub(super) struct Dead {
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// Only those for this recipient, by ODS code
    #[arg(long, value_name = "ODS")]
    recipient: Option<PartyId>,
    /// The most that are shown
    #[arg(long, default_value_t = 50)]
    limit: usize,
}

/// Shows one message and its steps as the audit log has them. No contents: see `weir explain` for its lineage.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir messages show 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --site site/gateway")]
pub(super) struct Show {
    /// The message's id, as its 202 answer gave it
    message: MessageId,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

/// Signed by whoever acts; who and why stand in the audit log.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir messages retry 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --why partner-fixed --site \
    site/gateway\n  weir messages cancel 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --why told-otherwise --site site/gateway \
    --as demo-owner"
)]
pub(super) struct Decide {
    /// The message's id, as its 202 answer gave it
    message: MessageId,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// partner-fixed, partner-asked, settings-fixed, try-again, told-otherwise, no-longer-needed or submitted-in-error
    #[arg(long, value_name = "REASON")]
    why: Reason,
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    match verb {
        Verb::List(arguments) => list(arguments, output),
        Verb::Show(arguments) => show(arguments, output),
        Verb::Dead(arguments) => dead(arguments, output),
        Verb::Retry(arguments) => decide(arguments, Action::RetryMessage, output),
        Verb::Cancel(arguments) => decide(arguments, Action::CancelMessage, output),
    }
}

fn list(arguments: &List, output: &Output) -> anyhow::Result<Answer> {
    let store = readable(&arguments.site, &arguments.actor)?;
    let List { state, recipient, interface, limit, .. } = arguments;
    let filter =
        Filter { state: *state, recipient: recipient.clone(), interface: interface.clone(), ..Filter::default() };
    let found = super::runtime()?.block_on(store.messages(filter, *limit))?;
    print(&found, output);
    if found.is_empty() {
        output.remark("there is no such message");
    }
    Ok(Answer::Yes)
}

fn dead(arguments: &Dead, output: &Output) -> anyhow::Result<Answer> {
    let store = readable(&arguments.site, &arguments.actor)?;
    let runtime = super::runtime()?;
    let mut found = Vec::new();
    for state in [State::Dead, State::Refused] {
        let filter = Filter { state: Some(state), recipient: arguments.recipient.clone(), ..Filter::default() };
        found.extend(runtime.block_on(store.messages(filter, arguments.limit))?);
    }
    found.sort_by_key(|record| std::cmp::Reverse(record.updated_at));
    found.truncate(arguments.limit);
    print(&found, output);
    if found.is_empty() {
        output.remark("no message waits for a person's decision");
    }
    Ok(found.is_empty().into())
}

/// The store, for someone who may list where messages stand.
fn readable(site: &SiteOption, actor: &ActorOption) -> anyhow::Result<SqliteStore> {
    let site = site.load()?;
    actor.permit(site.staff(), Action::ReadMessage, None)?;
    site.open_for_reading()
}

fn print(found: &[MessageRecord], output: &Output) {
    for record in found {
        output.line(&row(record));
        output.json(&summary(record));
    }
}

fn row(record: &MessageRecord) -> String {
    let MessageRecord { id, state, recipient, interface, attempts, note, .. } = record;
    let (state, accepted) = (state.code(), instant_text(record.accepted_at));
    let tried = tried(*attempts);
    format!("{id}  {state:<12}  {interface} to {recipient}  accepted {accepted}  {tried}  {note}").trim_end().to_owned()
}

fn tried(attempts: u32) -> String {
    if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") }
}

fn show(arguments: &Show, output: &Output) -> anyhow::Result<Answer> {
    let (id, site) = (arguments.message, arguments.site.load()?);
    let actor = arguments.actor.permit(site.staff(), Action::ReadMessage, Some(id))?;
    let store = site.open_for_reading()?;
    let read = async {
        let (record, events) = (store.message(id).await, store.events_of(id).await);
        (record, events, store.notices_of(id).await, store.answers_of(id).await)
    };
    let (record, events, notices, answers) = super::runtime()?.block_on(read);
    let Some(record) = record? else {
        output.remark(&format!("there is no message {id} in this site"));
        return Ok(Answer::No);
    };
    // Only the JSON tells who holds responsibility.
    let sees_words = output.is_json() && actor.may(Action::ReadWords);
    let responsibility = super::runtime()?.block_on(handover::responsibility(&store, &record, sees_words))?;
    if handover::tells_words(&responsibility) {
        actor.look(Action::ReadWords, Some(id))?;
    }
    let steps: Vec<Value> = events?.iter().filter_map(step).collect();
    let (notices, answers) = (notices?, answers?);
    let mut whole = summary(&record);
    whole["steps"] = json!(steps);
    whole["answers"] = answers.iter().map(answer_summary).collect();
    whole["notices"] = notices.iter().map(notice_json).collect();
    whole["responsibility"] = responsibility;
    match output.is_json() {
        true => output.document(&indented(&whole.to_string())),
        false => output.document(&text(&record, &steps, (&answers, &notices))),
    }
    Ok(Answer::Yes)
}

/// What one event says of the message; `None` for those who looked at it.
fn step(stored: &StoredEvent) -> Option<Value> {
    let said = RecordedEvent::read(&stored.event.bytes)?;
    let detail = |name| said.detail(name).map(str::to_owned);
    let kind = said.kind().filter(|kind| *kind != "access")?;
    Some(json!({
        "event": stored.seq,
        "at": said.recorded(),
        "kind": kind,
        "from": detail("from"),
        "to": detail("to"),
        "attempts": detail("attempts").and_then(|text| text.parse::<u32>().ok()),
        "reason": detail("reason"),
        "route": detail("route"),
        "by": said.operator(),
    }))
}

fn text(record: &MessageRecord, steps: &[Value], (answers, notices): (&[AnswerRecord], &[NoticeRecord])) -> String {
    let MessageRecord { id, sender, recipient, interface, agreement, route, handling, .. } = record;
    let mut lines = vec![
        format!("message    {id}"),
        format!("from, to   {sender} to {recipient} over route {route}, {interface} under {agreement}"),
        format!("state      {} since {}, {}", record.state, instant_text(record.updated_at), tried(record.attempts)),
    ];
    let deadline = deadline::ends(record).map(instant_text);
    let priority = handling.priority.as_deref().unwrap_or("none");
    lines.extend(deadline.map(|at| format!("deadline   {at}, priority {priority}")));
    lines.extend(record.next_attempt_at.map(|at| format!("next       attempt at {}", instant_text(at))));
    lines.extend((!record.note.is_empty()).then(|| format!("note       {}", record.note)));
    lines.extend(steps.iter().map(|step| {
        let part =
            |name: &str, before: &str| step[name].as_str().map(|text| format!("{before}{text}")).unwrap_or_default();
        let (at, kind) = (step["at"].as_str().unwrap_or_default(), step["kind"].as_str().unwrap_or_default());
        format!(
            "step       {at}  {kind}{}{}{}{}",
            part("to", " → "),
            part("route", ", over route "),
            part("reason", ", "),
            part("by", ", by ")
        )
    }));
    lines.extend(answers.iter().map(|answer| {
        let (at, says) = (instant_text(answer.received_at), &answer.says);
        let list = |before: &str, codes: &[String]| match codes {
            [] => String::new(),
            codes => format!("{before}{}", codes.join(", ")),
        };
        let (why, asks) = (list(": ", &says.reasons), list(", asks for ", &says.asks_for));
        format!("answer     {at}  {} from {}{why}{asks}", says.verdict, answer.sender)
    }));
    lines.extend(notices.iter().map(|notice| {
        let (channel, target) = (notice.notice.channel.code(), &notice.notice.target);
        match notice.delivered_at {
            Some(at) => format!("told       by {channel} {target} at {}", instant_text(at)),
            None => format!("told       not yet by {channel} {target}, {} attempts: {}", notice.attempts, notice.note),
        }
    }));
    lines.join("\n")
}

fn notice_json(notice: &NoticeRecord) -> Value {
    json!({
        "notice": notice.notice.id.to_string(),
        "channel": notice.notice.channel.code(),
        "target": notice.notice.target,
        "madeAt": instant_text(notice.notice.at),
        "attempts": notice.attempts,
        "deliveredAt": notice.delivered_at.map(instant_text),
        "note": notice.note,
    })
}

fn decide(arguments: &Decide, action: Action, output: &Output) -> anyhow::Result<Answer> {
    let (site, message, why) = (arguments.site.load()?, arguments.message, arguments.why);
    let actor = arguments.actor.at(site.staff())?;
    if !actor.may(action) {
        // Says who may, and leaves that it was tried to the audit log.
        actor.look(action, Some(message))?;
    }
    let (store, runtime) = (site.open_for_reading()?, super::runtime()?);
    let Some(before) = runtime.block_on(store.message(message))? else {
        output.remark(&format!("there is no message {message} in this site"));
        return Ok(Answer::No);
    };
    let handover = runtime.block_on(store.handover(message))?.map(|it| it.handover.state);
    let (may, deed, verb) = match action {
        Action::RetryMessage => (may_retry(before.state, handover), Deed::RetryMessage { message, why }, "sent again"),
        _ => (may_cancel(before.state), Deed::CancelMessage { message, why }, "cancelled"),
    };
    let told = |state: State, act: &str, words: String| {
        output.line(&words);
        output.json(&json!({ "message": message.to_string(), "state": state.code(), "act": act }));
        Ok(Answer::from(act != "refused"))
    };
    if !may {
        return told(before.state, "refused", format!("message {message} is {}: it cannot be {verb}", before.state));
    }
    let left = runtime.block_on(actor.hand_in(deed, PATIENCE))?;
    let now = runtime.block_on(store.message(message))?.map_or(before.state, |record| record.state);
    match left {
        Left::Performed => told(now, "performed", format!("message {message} is {verb}: {why}")),
        Left::Refused => {
            told(now, "refused", format!("message {message} moved on meanwhile and is {now}: it is not {verb}"))
        }
        Left::Waits => {
            let words = "the act waits for the gateway: it counts as soon as the gateway runs";
            told(now, "handed-in", words.to_owned())
        }
    }
}
