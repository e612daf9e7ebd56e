//! `weir erase`: the answer to a person's order to erase what is kept about them (UK GDPR Article 17).

use std::collections::BTreeSet;
use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::Answer;
use super::output::{Output, indented};
use super::site::{ActorOption, SiteOption};
use crate::acts::Deed;
use crate::acts::erasure::{About, Fate, Kept, all_about};
use crate::acts::spool::Left;
use crate::fhir::bars::NHS_NUMBER;
use crate::fhir::instant_text;
use crate::fhir::uk::is_nhs_number;
use crate::identity::PartyId;
use crate::identity::principal::Action;
use crate::server::clock;

/// How long the verb looks whether the running gateway took the order.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes read of standard input.
const LONGEST: u64 = 64;

/// Why the audit log and the Provenances are kept.
const ACCOUNT: &str = "the account of what was disclosed, to whom and on which basis, is kept: UK GDPR Articles 5(2) and 17(3)(b). It \
                       holds ids, codes and keyed hashes, no personal data in clear";
/// What is said of copies.
const COPIES: &str = "backups of the database from before the erasure can still be opened by whoever has the site's key too: they end when \
                      they are destroyed";
/// What is to be done beside it.
const RECIPIENTS: &str = "tell these recipients of the erasure, unless that is impossible or takes disproportionate effort (UK GDPR Article 19)";

/// Erases the contents of every message about a person that has been delivered or ended, and of every referral about them that was
/// collected, and prints a record of it: what was erased, what is kept and why, and who received it. It is signed by whoever orders it, and the audit log says so, by keyed hash.
/// Exit code 1 when something is kept that is still needed, or the gateway has not performed the order yet.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  echo 9990000018 | weir erase --subject - --dry-run --site site/gateway --as demo-ig-lead\n  \
    echo 9990000018 | weir erase --subject - --site site/gateway --as demo-ig-lead --format json > erasure.json"
)]
pub(super) struct Arguments {
    /// The person's NHS number; `-` reads it from standard input, so that it stands in no list of processes and no history
    #[arg(long, value_name = "NUMBER")]
    subject: String,
    /// Show what would be erased, and erase nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let actor = arguments.actor.at(site.staff())?;
    if arguments.dry_run || !actor.may(Action::EraseSubject) {
        // Says who may, and leaves to the audit log that somebody looked, or tried to.
        actor.look(Action::EraseSubject, None)?;
    }
    let subject = site.hash_key().subject(NHS_NUMBER, &number(&arguments.subject)?);
    let (store, runtime) = (site.open_for_reading()?, super::runtime()?);
    let before = runtime.block_on(all_about(&store, &subject, clock::now()))?;
    let left = match arguments.dry_run {
        true => None,
        false => {
            let deed = Deed::EraseSubject { subject: subject.as_str().to_owned() };
            Some(runtime.block_on(actor.hand_in(deed, PATIENCE))?)
        }
    };
    let after = runtime.block_on(all_about(&store, &subject, clock::now()))?;
    let erased: Vec<&About> = match left {
        None => before.iter().filter(|about| about.fate == Fate::Erasable).collect(),
        Some(_) => {
            let was_there = |about: &&About| before.iter().any(|it| it.id() == about.id() && it.fate != Fate::Gone);
            after.iter().filter(|about| about.fate == Fate::Gone).filter(was_there).collect()
        }
    };
    let record = Record {
        subject: subject.as_str(),
        by: actor.principal().id.as_str(),
        outcome: match left {
            None => "dry-run",
            Some(Left::Performed) => "performed",
            Some(Left::Refused) => "refused",
            Some(Left::Waits) => "handed-in",
        },
        erased,
        all: &after,
    };
    match output.is_json() {
        true => output.document(&indented(&record.to_json().to_string())),
        false => output.document(&record.to_text()),
    }
    let is_done = matches!(left, None | Some(Left::Performed));
    Ok((is_done && record.kept().next().is_none()).into())
}

/// The NHS number that was given, in its normal form. Errors never quote it.
fn number(given: &str) -> anyhow::Result<String> {
    let mut text = given.to_owned();
    if given == "-" {
        text.clear();
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text).context("standard input cannot be read")?;
    }
    let digits: String = text.chars().filter(|it| !it.is_whitespace() && *it != '-').collect();
    anyhow::ensure!(
        is_nhs_number(&digits),
        "--subject is no NHS number: ten digits with a right check digit expected; hint: check it against the person's record"
    );
    Ok(digits)
}

/// What is handed to whoever answers the person.
struct Record<'a> {
    subject: &'a str,
    by: &'a str,
    /// `performed`, `refused`, `handed-in` or `dry-run`.
    outcome: &'static str,
    erased: Vec<&'a About>,
    /// All messages and referrals about the person.
    all: &'a [About],
}

impl Record<'_> {
    /// What is kept, each with the reason.
    fn kept(&self) -> impl Iterator<Item = (&About, &'static str)> {
        self.all.iter().filter_map(|about| Some((about, about.fate.why_kept()?)))
    }

    fn recipients(&self) -> BTreeSet<&str> {
        self.all.iter().filter_map(About::recipient).map(PartyId::as_str).collect()
    }

    /// How many messages there are about the person, and how many referrals.
    fn count(&self) -> (usize, usize) {
        let messages = self.all.iter().filter(|about| matches!(about.kept, Kept::Message(_))).count();
        (messages, self.all.len() - messages)
    }

    fn to_json(&self) -> Value {
        let kept = self.kept().map(|(about, why)| {
            let mut summary = about.summary();
            summary["why"] = json!(why);
            summary
        });
        let (messages, referrals) = self.count();
        json!({
            "subject": self.subject,
            "by": self.by,
            "at": instant_text(clock::now()),
            "outcome": self.outcome,
            "erased": self.erased.iter().map(|about| about.summary()).collect::<Vec<_>>(),
            "kept": kept.collect::<Vec<_>>(),
            "account": { "messages": messages, "referrals": referrals, "why": ACCOUNT },
            "copies": COPIES,
            "recipients": { "ods": self.recipients(), "what": RECIPIENTS },
        })
    }

    fn to_text(&self) -> String {
        let heading = match self.outcome {
            "performed" => "erased",
            "refused" => "REFUSED, and nothing was erased; the log of the gateway says why. Erased",
            "handed-in" => "the order waits for the gateway: it counts as soon as the gateway runs. Erased so far",
            _ => "would be erased",
        };
        let row = |about: &About| {
            let since = instant_text(about.since());
            match &about.kept {
                Kept::Message(it) => format!("{}  {} to {}, accepted {since}", it.id, it.interface, it.recipient),
                Kept::Referral(it) => format!("{}  {} from {}, received {since}", it.id, it.interface, it.sender),
            }
        };
        let (messages, referrals) = self.count();
        let referrals = match referrals {
            0 => String::new(),
            1 => " and 1 referral".to_owned(),
            several => format!(" and {several} referrals"),
        };
        let mut lines = vec![format!("subject    {} (keyed hash), by {}", self.subject, self.by)];
        lines.push(format!("{heading}: the contents of {} of {messages} messages{referrals}", self.erased.len()));
        lines.extend(self.erased.iter().map(|about| format!("erased     {}", row(about))));
        lines.extend(self.kept().map(|(about, why)| format!("KEPT       {}: {why}", row(about))));
        lines.push(format!("kept       {ACCOUNT}"));
        lines.push(format!("copies     {COPIES}"));
        let recipients: Vec<&str> = self.recipients().into_iter().collect();
        if !recipients.is_empty() {
            lines.push(format!("recipients {}: {RECIPIENTS}", recipients.join(", ")));
        }
        lines.join("\n")
    }
}
