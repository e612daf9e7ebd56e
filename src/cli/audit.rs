//! `weir audit`: the log of what happened.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Answer;
use super::output::Output;
use super::site::{ActorOption, SiteOption};
use crate::audit::checkpoint::VerifierKey;
use crate::audit::cosignature::{self, CosignerKey, KeptHead, Newest};
use crate::audit::proof::{Invalid, Proof, Shown};
use crate::audit::{Elsewhere, verify_with};
use crate::fhir::audit_event::RecordedEvent;
use crate::identity::MessageId;
use crate::identity::principal::Action;
use crate::storage::Store as _;

/// Events read at a time.
const PAGE: usize = 512;

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check every event, every signed head, what witnesses cosigned, and every message's state against them
    Verify(Verify),
    /// Write a proof of one message's events that can be checked without the site
    Prove(Prove),
    /// Check such a proof: it needs the file and the log's public key, and nothing else
    CheckProof(CheckProof),
    /// Print the events as FHIR AuditEvents, one a line (NDJSON)
    Export(Export),
    /// Show the newest signed head, for somebody else to keep
    Head(Head),
    /// Show the log's public key, which partners check heads and proofs with
    Key(Key),
}

/// Recomputes the log from its events and compares it with every signed head. Exit code 1 when anything differs.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir audit verify --site site/gateway\n\nThis needs the site's files, and works beside a \
    running gateway. What can be checked without the site: see `weir audit prove`."
)]
pub(super) struct Verify {
    /// A signed head that somebody else kept, as `weir audit head` prints it or a witness keeps it: shows when an old copy was put
    /// back. May be repeated
    #[arg(long, value_name = "FILE")]
    head: Vec<PathBuf>,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

/// Prints a proof of one message's events: what each says, and that it is in the log whose head is signed. It holds ids,
/// codes and keyed hashes, no personal data. Exit code 1 when there is no such message.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir audit prove 0b9ae3f2-6d5e-5f0a-8f3e-2f4d1c1f9a77 --site site/gateway > proof.json\n  \
    weir audit check-proof proof.json --key audit.pub"
)]
pub(super) struct Prove {
    /// The message's id, as its 202 answer gave it
    message: MessageId,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

/// Checks a proof offline and shows what it proves. Exit code 1 when it does not hold.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir audit key --site site/gateway > audit.pub\n  \
    weir audit check-proof proof.json --key audit.pub\n\nTake the key from the provider once, by a way that you trust, and not \
    with the proof.")]
pub(super) struct CheckProof {
    /// The proof, as `weir audit prove` wrote it
    proof: PathBuf,
    /// A file with the log's public key, as `weir audit key` prints it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Prints the events as FHIR AuditEvents in the shape of IHE BALP, one a line, the oldest first. They hold ids, codes, counts and
/// keyed hashes, no personal data.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir audit export --site site/gateway > events.ndjson\n  \
    weir audit export --from 1000 --site site/gateway >> events.ndjson")]
pub(super) struct Export {
    /// Leave out the events before this one, counted from 0
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

/// Prints the newest signed head of the log: its size and its root, signed with the log's key (C2SP tlog-checkpoint), and what
/// witnesses cosigned of it. Exit code 1 when there is none yet.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir audit head --site site/gateway > head.txt\n  weir audit verify --head head.txt --site site/gateway\n\n\
    Give it to somebody who does not run this site, day by day: with it a later verification shows when the database was put back \
    to an old copy, which nothing inside the site can show."
)]
pub(super) struct Head {
    /// The newest head that a witness cosigned, which may be a minute older
    #[arg(long)]
    cosigned: bool,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

/// Prints the public key of the site's audit log: name, id and key, as C2SP signed-note writes them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir audit key --site site/gateway > audit.pub")]
pub(super) struct Key {
    #[command(flatten)]
    site: SiteOption,
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    match verb {
        Verb::Verify(arguments) => verify_log(arguments, output),
        Verb::Prove(arguments) => prove(arguments, output),
        Verb::CheckProof(arguments) => check_proof(arguments, output),
        Verb::Export(arguments) => export(arguments, output),
        Verb::Head(arguments) => head(arguments, output),
        Verb::Key(arguments) => {
            let key = arguments.site.load()?.audit_verifier().to_string();
            match output.is_json() {
                true => output.json(&json!({ "key": key })),
                false => output.document(&key),
            }
            Ok(Answer::Yes)
        }
    }
}

fn verify_log(arguments: &Verify, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    arguments.actor.permit(site.staff(), Action::VerifyAudit, None)?;
    let store = site.open_for_reading()?;
    let witnesses = site.witness_keys();
    let heads = arguments.head.iter().map(|file| kept_head(file, site.audit_verifier(), &witnesses));
    let heads = heads.collect::<Result<_, _>>()?;
    let hashes = site.hash_key();
    let verified = verify_with(&store, site.audit_verifier(), Some(&hashes), Elsewhere { witnesses, heads });
    let report = super::runtime()?.block_on(verified)?;
    output.line(&report.to_string());
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    output.json(&json!({
        "events": report.events,
        "checkpoints": report.checkpoints,
        "cosignatures": report.cosignatures,
        "covered": report.covered,
        "messages": report.messages,
        "referrals": report.referrals,
        "faults": faults,
    }));
    Ok(faults.is_empty().into())
}

fn kept_head(file: &std::path::Path, key: &VerifierKey, witnesses: &[CosignerKey]) -> anyhow::Result<KeptHead> {
    let head = KeptHead::read(&read(file)?, key, witnesses);
    head.with_context(|| {
        format!(
            "{} is no head that this log's key signed, or not what its witness cosigned; `weir audit head` prints one",
            file.display()
        )
    })
}

fn head(arguments: &Head, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    arguments.actor.permit(site.staff(), Action::VerifyAudit, None)?;
    let newest = if arguments.cosigned { Newest::Cosigned } else { Newest::Signed };
    let store = site.open_for_reading()?;
    let Some((size, note)) = super::runtime()?.block_on(cosignature::head(&store, newest))? else {
        output.remark(if arguments.cosigned { "no witness cosigned a head yet" } else { "no head was signed yet" });
        return Ok(Answer::No);
    };
    let note = String::from_utf8(note).context("the newest head is not text: run `weir audit verify`")?;
    match output.is_json() {
        true => output.json(&json!({ "size": size, "note": note })),
        false => output.document(note.trim_end_matches('\n')),
    }
    Ok(Answer::Yes)
}

fn prove(arguments: &Prove, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    arguments.actor.permit(site.staff(), Action::VerifyAudit, Some(arguments.message))?;
    let store = site.open_for_reading()?;
    let proof = super::runtime()?.block_on(Proof::make(&store, site.audit_verifier(), arguments.message))?;
    let Some((proof, not_covered)) = proof else {
        output.remark(&format!("there is no message {} in this site", arguments.message));
        return Ok(Answer::No);
    };
    if not_covered > 0 {
        output.remark(&format!("{not_covered} newer events are not in it: no signed head covers them yet"));
    }
    output.document(&proof.to_json());
    Ok(Answer::Yes)
}

fn export(arguments: &Export, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    arguments.actor.permit(site.staff(), Action::VerifyAudit, None)?;
    let (store, runtime) = (site.open_for_reading()?, super::runtime()?);
    let mut next = arguments.from;
    while !output.is_closed() {
        let page = runtime.block_on(store.events(next, PAGE))?;
        let Some(last) = page.last() else { break };
        anyhow::ensure!(last.seq >= next, "the events do not stand in their order: run `weir audit verify`");
        next = last.seq + 1;
        for stored in page {
            let said = RecordedEvent::read(&stored.event.bytes);
            let said = said.with_context(|| format!("event {} cannot be read: run `weir audit verify`", stored.seq))?;
            output.document(&said.to_json());
        }
    }
    Ok(Answer::Yes)
}

fn check_proof(arguments: &CheckProof, output: &Output) -> anyhow::Result<Answer> {
    let key = read(&arguments.key)?;
    let key: VerifierKey = String::from_utf8_lossy(&key)
        .trim()
        .parse()
        .with_context(|| format!("{} holds no public key of an audit log", arguments.key.display()))?;
    let text = read(&arguments.proof)?;
    match Proof::read(&text).and_then(|proof| proof.check(&key)) {
        Ok(shown) => {
            output.line(&in_words(&shown));
            output.json(&in_json(&shown));
            Ok(Answer::Yes)
        }
        Err(invalid) => {
            output.line(&format!("the proof does NOT hold: {invalid}{}", hint(&invalid)));
            output.json(&json!({ "holds": false, "why": invalid.to_string() }));
            Ok(Answer::No)
        }
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn hint(invalid: &Invalid) -> &'static str {
    match invalid {
        Invalid::Checkpoint(_) => "; ask the provider for the log's key, by another way than the proof came",
        Invalid::Form(_) | Invalid::Empty => "; ask for the file that `weir audit prove` wrote",
        _ => "; it was changed after it was made: keep it, and ask for another",
    }
}

fn in_words(shown: &Shown) -> String {
    let Shown { message, checkpoint, events } = shown;
    let count = events.len();
    let mut text = format!(
        "the proof holds: {count} events about message {message} are in the log {} of {} events\n",
        checkpoint.origin, checkpoint.size
    );
    for (index, said) in events {
        let part = |name| said.detail(name).map(|text| format!(" {name} {text}")).unwrap_or_default();
        let parts = ["from", "to", "recipient", "reason"].map(part).concat();
        text += &format!("  event {index}: {} {}{parts}\n", said.recorded(), said.kind().unwrap_or("event"));
    }
    text
}

fn in_json(shown: &Shown) -> Value {
    let event = |(index, said): &(u64, RecordedEvent)| {
        let resource: Value = serde_json::from_str(&said.to_json()).unwrap_or_default();
        json!({ "index": index, "event": resource })
    };
    json!({
        "holds": true,
        "message": shown.message.to_string(),
        "log": shown.checkpoint.origin,
        "size": shown.checkpoint.size,
        "events": shown.events.iter().map(event).collect::<Vec<_>>(),
    })
}
