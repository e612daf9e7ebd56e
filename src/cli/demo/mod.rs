//! `weir demo`: a whole system on this machine.

mod site;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant as Stopwatch};

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Answer;
use super::output::Output;
use super::send::{Sent, follow};
use super::serve::{administrator, ended_by_signal};
use super::site::ActorOption;
use crate::audit::verify;
use crate::config::{PartnerSite, Site};
use crate::identity::InterfaceName;
use crate::{partner, server};

/// Makes certificates, starts a Trust, an ICB, a council and a gateway on loopback, sends the sample records, and says where to
/// look. Everything is real: sockets, mutual TLS, the database. The people in the records are not.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir demo --once\n  weir demo --dir site\n\nWith --dir the site is kept, and a later run on \
    the same folder goes on where it stopped."
)]
pub(super) struct Arguments {
    /// Send the samples, then stop; exit code 1 when anything was not delivered and acknowledged
    #[arg(long)]
    once: bool,
    /// Make the site here and keep it
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only make the site; start and send nothing
    #[arg(long, requires = "dir")]
    prepare: bool,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let scratch = Scratch::new(arguments.dir.as_deref())?;
    let folder = scratch.folder();
    let is_new = site::prepare(folder)?;
    if arguments.prepare {
        output.line(&format!("{} {}", if is_new { "made" } else { "found" }, folder.display()));
        output.json(&json!({ "site": folder.display().to_string(), "new": is_new }));
        return Ok(Answer::Yes);
    }
    super::start_logging("error");
    super::runtime()?.block_on(show(arguments, folder, output))
}

/// Starts all of it, sends the samples, and reports.
async fn show(arguments: &Arguments, folder: &Path, output: &Output) -> anyhow::Result<Answer> {
    let started = Stopwatch::now();
    let (stop_partners, stopped) = watch::channel(false);
    let mut partners = Vec::new();
    for name in ["trust", "icb", "council"] {
        let site = PartnerSite::load(&folder.join(name))?;
        partners.push(partner::serve(site.settings(Vec::new(), None)?, stopped.clone()).await?);
    }
    let site = Site::load(&folder.join("gateway"))?;
    let endpoint = site.send_endpoint()?;
    let by = administrator(&site, &ActorOption::default())?;
    let parts = site.gateway().await?;
    let running = server::start(parts.gateway, parts.checkpointer, parts.settings, &by).await?;
    output.line(&format!("gateway, Trust, ICB and council are up after {} ms", started.elapsed().as_millis()));

    let mut rows = Vec::new();
    let mut as_expected = true;
    for sample in site::samples() {
        let (interface, patience): (InterfaceName, _) = (sample.interface.parse()?, Duration::from_secs(30));
        let sent = follow(&endpoint, &interface, None, sample.record.as_bytes().to_vec(), patience).await?;
        as_expected &= sample.is_to_be_refused != sent.is_acknowledged();
        as_expected &= !sample.is_to_be_refused || matches!(sent, Sent::Refused { .. });
        output.line(&line(&sample, &sent));
        rows.push(row(&sample, &sent));
    }
    let kept = arguments.dir.is_some() || !arguments.once;
    if kept {
        let pages = partners.first().and_then(partner::Running::pages);
        output.line(&where_to_look(folder, (running.operations(), pages), &rows));
    }
    if !arguments.once {
        output.line("running until Ctrl-C");
        ended_by_signal().await?;
    }
    running.shut_down().await;
    drop(stop_partners);
    for partner in partners {
        partner.finished().await;
    }

    let report = verify(&site.open_for_reading()?, site.audit_verifier(), Some(&site.hash_key())).await?;
    as_expected &= report.faults.is_empty();
    output.line(&format!("audit log: {report}"));
    output.line(if as_expected {
        "all is as it should be: what may leave was delivered and acknowledged, the rest was refused"
    } else {
        "NOT as it should be: see above what was not delivered and acknowledged, or what the audit log shows"
    });
    if !kept {
        output.line("the site is gone with this run; `weir demo --dir DIR` keeps it");
    }
    output.json(&json!({ "asExpected": as_expected, "messages": rows, "auditFaults": report.faults.len() }));
    Ok(as_expected.into())
}

fn line(sample: &site::Sample, sent: &Sent) -> String {
    match sent {
        Sent::Refused { status, outcome } => {
            let why = outcome["issue"][0]["details"]["text"].as_str().unwrap_or_default();
            let place = outcome["issue"][0]["expression"][0].as_str().unwrap_or_default();
            format!("  {:<46} refused with {status}: {why} {place}", sample.name)
        }
        Sent::Followed { state, body, took, .. } => {
            let recipient = body["recipient"].as_str().unwrap_or("?");
            let by = if matches!(&**state, "acknowledged" | "refused") { "by" } else { "for" };
            let note = if sent.is_acknowledged() { "" } else { body["note"].as_str().unwrap_or_default() };
            format!("  {:<46} {state} {by} {recipient} after {} ms  {note}", sample.name, took.as_millis())
        }
    }
}

fn row(sample: &site::Sample, sent: &Sent) -> Value {
    match sent {
        Sent::Refused { status, outcome } => {
            json!({ "record": sample.name, "state": "not-accepted", "status": status, "outcome": outcome })
        }
        Sent::Followed { body, took, .. } => {
            let mut row = body.clone();
            row["record"] = json!(sample.name);
            row["tookMilliseconds"] = json!(took.as_secs_f64() * 1000.0);
            row
        }
    }
}

/// The sample that is shared on a decision, against an objection.
const WITHOUT_CONSENT: &str = "crisis-escalation-override.json";

fn where_to_look(folder: &Path, (operations, pages): (SocketAddr, Option<SocketAddr>), rows: &[Value]) -> String {
    let folder = folder.display();
    let pages = pages.map(|pages| format!("as pages, to read         http://{pages}/\n  ")).unwrap_or_default();
    let message = rows.iter().find_map(|row| row["message"].as_str()).unwrap_or("MESSAGE");
    let without_consent = rows.iter().find(|row| row["record"] == WITHOUT_CONSENT);
    let review = without_consent.and_then(|row| row["message"].as_str()).unwrap_or("MESSAGE");
    format!(
        "\nwhere to look\n  \
         what the Trust received    {folder}/trust/inbox/\n  \
         {pages}what the ICB received      {folder}/icb/inbox/\n  \
         what the council received  {folder}/council/inbox/\n  \
         where it came from and why weir explain {message} --site {folder}/gateway\n  \
         its FHIR Provenance        weir explain {message} --provenance --site {folder}/gateway\n  \
         before disclosure          weir map {folder}/records/crisis-escalation-complete.json --interface \
         crisis-escalation --site {folder}/gateway\n  \
         shared without consent     weir review list --site {folder}/gateway --as demo-safeguarding\n  \
         why, and by when to review weir review show {review} --site {folder}/gateway --as demo-safeguarding\n  \
         the review's end           weir review complete {review} --finding justified --words \"...\" --site \
         {folder}/gateway --as demo-safeguarding\n  \
         the audit log              weir audit verify --site {folder}/gateway\n  \
         metrics, readiness         http://{operations}/metrics  http://{operations}/readyz\n"
    )
}

/// The demo's folder: the one that was asked for, or a temporary one that goes with the process.
#[derive(Debug)]
enum Scratch {
    Kept(PathBuf),
    Temporary(PathBuf),
}

impl Scratch {
    fn new(kept: Option<&Path>) -> anyhow::Result<Scratch> {
        match kept {
            Some(folder) => Ok(Scratch::Kept(folder.to_owned())),
            None => {
                let folder = std::env::temp_dir().join(format!("weir-demo-{}", uuid::Uuid::new_v4().simple()));
                std::fs::create_dir(&folder)?;
                Ok(Scratch::Temporary(folder))
            }
        }
    }

    fn folder(&self) -> &Path {
        match self {
            Scratch::Kept(folder) | Scratch::Temporary(folder) => folder,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Scratch::Temporary(folder) = self {
            let _left_behind = std::fs::remove_dir_all(folder);
        }
    }
}
