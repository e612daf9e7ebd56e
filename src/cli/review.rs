//! `weir review`: what was shared without consent, and whether that was justified.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::Answer;
use super::output::{Output, indented};
use super::site::{ActorOption, SiteOption};
use crate::acts::own_decision::{Tie, tie};
use crate::acts::{Deed, review};
use crate::config::Site;
use crate::disclosure::{NamedRole, SharingDecision};
use crate::fhir::instant_text;
use crate::identity::principal::Action;
use crate::identity::{MessageId, PrincipalId};
use crate::server::clock;
use crate::storage::{Content, Finding, NoticeRecord, ReviewRecord, SqliteStore, Store as _};

/// How long `complete` looks whether the running gateway took the act.
const PATIENCE: Duration = Duration::from_secs(3);
/// Rows that are listed.
const MOST: usize = 10_000;

/// What to do with reviews.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show what waits to be reviewed, the first due first
    List(List),
    /// Show one review: the decision, its deadline, and what was found
    Show(Show),
    /// Complete a review: say whether sharing without consent was justified
    Complete(Complete),
}

/// Shows the reviews that are open; with --all the completed ones too. No personal data.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir review list --site site/gateway --as demo-safeguarding")]
pub(super) struct List {
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// Show completed reviews too
    #[arg(long)]
    all: bool,
}

/// Shows the decision behind one sharing without consent, as it was recorded, and what its review found. With --format
/// json: a FHIR Task.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir review show 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --site site/gateway --as \
    demo-safeguarding")]
pub(super) struct Show {
    /// The message that was sent without consent
    message: MessageId,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

/// Completes a review, signed by whoever acts. `not-justified` opens an incident along the agreement's escalation route.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir review complete 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --finding justified --words \
    \"Nothing less would have reached the team in time.\" --site site/gateway --as demo-safeguarding"
)]
pub(super) struct Complete {
    /// The message that was sent without consent
    message: MessageId,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// justified, justified-with-learning or not-justified
    #[arg(long, value_name = "FINDING")]
    finding: Finding,
    /// Why; it is stored sealed. Name nobody
    #[arg(long, value_name = "TEXT")]
    words: String,
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    match verb {
        Verb::List(arguments) => list(arguments, output),
        Verb::Show(arguments) => show(arguments, output),
        Verb::Complete(arguments) => complete(arguments, output),
    }
}

fn list(arguments: &List, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    arguments.actor.permit(site.staff(), Action::ReadReviews, None)?;
    let store = site.open_for_reading()?;
    let reviews = super::runtime()?.block_on(store.reviews(!arguments.all, MOST))?;
    let now = clock::now();
    for each in &reviews {
        output.line(&row(each, now));
        output.json(&review::summary(each, now));
    }
    if reviews.is_empty() {
        output.remark("nothing waits to be reviewed");
    }
    Ok(Answer::Yes)
}

fn row(each: &ReviewRecord, now: crate::fhir::Instant) -> String {
    let ReviewRecord { message, recipient, purpose, basis, reviewer, due_at, completed, .. } = each;
    let state = each.standing(now);
    let end = match completed {
        Some(completed) => format!("{} by {} at {}", completed.finding, completed.by, instant_text(completed.at)),
        None => format!("due {} by {reviewer}", instant_text(*due_at)),
    };
    format!("{message}  {state:<9}  to {recipient}  {purpose}, {basis}  {end}")
}

/// A review with what is sealed of it.
struct Opened {
    review: ReviewRecord,
    decision: SharingDecision,
    words: Option<String>,
    notices: Vec<NoticeRecord>,
}

async fn open(store: &SqliteStore, id: MessageId) -> anyhow::Result<Option<Opened>> {
    let Some(review) = store.review(id).await? else { return Ok(None) };
    let decision = store.content(id, Content::Decision).await?.context("the decision was erased")?;
    let decision = serde_json::from_slice(&decision).context("the stored decision cannot be read")?;
    let words = store.content(id, Content::Words).await?;
    let words = words.map(|words| String::from_utf8_lossy(&words).into_owned());
    Ok(Some(Opened { review, decision, words, notices: store.notices_of(id).await? }))
}

fn show(arguments: &Show, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    arguments.actor.permit(site.staff(), Action::ReadReviews, Some(arguments.message))?;
    let store = site.open_for_reading()?;
    let Some(opened) = super::runtime()?.block_on(open(&store, arguments.message))? else {
        output.remark(&format!("message {} has no review: it was not sent without consent", arguments.message));
        return Ok(Answer::No);
    };
    let (now, owner) = (clock::now(), owner(&site, &opened.review));
    let Opened { review, decision, words, .. } = &opened;
    if output.is_json() {
        let task = review::task(review, decision, words.as_deref(), &owner, &site.party(), now);
        output.document(&indented(&task));
    } else {
        output.document(&text(&opened, &owner, now));
    }
    Ok(Answer::Yes)
}

/// Who reviews: the person whom the agreement names, or else the role.
fn owner(site: &Site, review: &ReviewRecord) -> String {
    let role = review.reviewer.parse::<NamedRole>().ok();
    let person = role.and_then(|role| site.agreement(&review.agreement)?.roles().person(role));
    person.map_or_else(|| review.reviewer.clone(), |person| format!("{}, {}", person.name, review.reviewer))
}

fn text(opened: &Opened, owner: &str, now: crate::fhir::Instant) -> String {
    let Opened { review, decision, words, notices } = opened;
    let mut lines = vec![
        format!("message   {}", review.message),
        format!("state     {}", review.standing(now)),
        format!("shared    {} with {} under {}", instant_text(review.opened_at), review.recipient, review.agreement),
        format!("for       {}, on the basis of {}", review.purpose, review.basis),
        format!("review    by {owner}, due {}", instant_text(review.due_at)),
        format!("decided   by {}, {}, on {}", decision.decided_by, decision.decided_by_role, decision.decided_on),
    ];
    lines.extend(decision.risk_indicators.iter().map(|text| format!("risk      {text}")));
    lines.extend(decision.alternatives.iter().map(|text| format!("instead   {text}")));
    lines.push(format!("because   {}", decision.proportionality));
    lines.push(match (decision.person_told, &decision.why_not_told) {
        (true, _) => "told      the person was told".to_owned(),
        (false, why) => format!("told      the person was not told: {}", why.as_deref().unwrap_or("no reason")),
    });
    if let Some(completed) = &review.completed {
        lines.push(format!("finding   {} by {} at {}", completed.finding, completed.by, instant_text(completed.at)));
        lines.extend(words.iter().map(|words| format!("words     {words}")));
    }
    lines.extend(notices.iter().map(|notice| {
        let (channel, target) = (notice.notice.channel.code(), &notice.notice.target);
        match notice.delivered_at {
            Some(at) => format!("incident  told by {channel} {target} at {}", instant_text(at)),
            None => {
                format!("incident  not told yet by {channel} {target}, {} attempts: {}", notice.attempts, notice.note)
            }
        }
    }));
    lines.join("\n")
}

/// Says why someone does not review a decision, and who may.
fn own_decision(site: &Site, by: &PrincipalId, tie: Tie, output: &Output) -> Answer {
    let able = site.staff().principals().able(Action::CompleteReview);
    let others: Vec<&str> = able.into_iter().filter(|id| *id != by).map(PrincipalId::as_str).collect();
    let whom = match others.is_empty() {
        true => "the operator to give someone else the role safeguarding-lead".to_owned(),
        false => others.join(", "),
    };
    output.remark(&format!("nobody reviews their own decision, and {by} is tied to this one: {tie}; hint: ask {whom}"));
    Answer::No
}

fn complete(arguments: &Complete, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let id = arguments.message;
    anyhow::ensure!(!arguments.words.trim().is_empty(), "say in --words why; a sentence is enough");
    let store = site.open_for_reading()?;
    let runtime = super::runtime()?;
    let open = match runtime.block_on(store.review(id))? {
        None => anyhow::bail!("message {id} has no review; hint: `weir review list` shows the reviews"),
        Some(review) if review.completed.is_some() => anyhow::bail!("the review of message {id} is completed"),
        Some(open) => open,
    };
    let actor = arguments.actor.at(site.staff())?;
    if !actor.may(Action::CompleteReview) {
        // Says who may, and leaves that it was tried to the audit log.
        actor.look(Action::CompleteReview, Some(id))?;
    }
    let (finding, words) = (arguments.finding, arguments.words.clone());
    let agreement = site.agreement(&open.agreement);
    let tied = runtime.block_on(tie(&store, id, actor.principal(), agreement))?;
    // The gateway refuses it too, and leaves that it was tried to the audit log.
    actor.leave(Deed::CompleteReview { message: id, finding, words })?;
    if let Some(tie) = tied {
        return Ok(own_decision(&site, &actor.principal().id, tie, output));
    }
    let now_completed = runtime.block_on(async {
        let until = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < until {
            if store.review(id).await?.is_some_and(|review| review.completed.is_some()) {
                return anyhow::Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(false)
    })?;
    let state = if now_completed { "completed" } else { "handed in" };
    output.line(&match now_completed {
        true => format!("the review of message {id} is completed: {finding}"),
        false => format!("the completion of message {id} waits for the gateway: it counts as soon as the gateway runs"),
    });
    output.json(&serde_json::json!({ "message": id.to_string(), "finding": finding.code(), "state": state }));
    Ok(Answer::Yes)
}
