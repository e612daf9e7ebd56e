//! `weir key`: makes the keys that a site keeps beside its certificates.
//!
//! Leaves: a new file that its owner alone can read. Invariant: no file that is there is written over, and no secret is printed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Answer;
use super::output::Output;
use crate::audit::checkpoint::SigningKey;
use crate::storage::{KeyFileError, Secret};

/// Which key to make.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make the key that signs the audit log and what the gateway sends
    Audit(Audit),
    /// Make the key that seals stored payloads
    Payload(Payload),
    /// Make the key of the keyed hashes in the audit log
    Hash(Hash),
    /// Make a key that turns identifiers into pseudonyms
    Pseudonym(Pseudonym),
}

/// Makes an Ed25519 key, written as C2SP signed-note keys are, and prints its public half for partners and witnesses.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir key audit audit.demop.example/weir --file site/gateway/pki/audit.key\n\nThen name both in weir.toml:\n  \
    [audit]\n  origin = \"audit.demop.example/weir\"\n  key = \"pki/audit.key\""
)]
pub(super) struct Audit {
    /// The log's name, `[audit] origin`: a URL without its scheme, of a domain that is the provider's own
    origin: String,
    #[command(flatten)]
    file: KeyFile,
}

/// Makes 32 random bytes, written as 64 hexadecimal digits.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir key payload --file site/gateway/pki/payload.key\n\nThen name it in weir.toml:\n  \
    [storage]\n  payload_key = \"pki/payload.key\""
)]
pub(super) struct Payload {
    #[command(flatten)]
    file: KeyFile,
}

/// Makes 32 random bytes, written as 64 hexadecimal digits.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir key hash --file site/gateway/pki/hash.key\n\nThen name it in weir.toml:\n  \
    [audit]\n  hash_key = \"pki/hash.key\"")]
pub(super) struct Hash {
    #[command(flatten)]
    file: KeyFile,
}

/// Makes 32 random bytes, written as 64 hexadecimal digits.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir key pseudonym --file site/gateway/pki/icb-pseudonyms.key\n\nThen name it in weir.toml, as \
    agreements name it:\n  [pseudonym_keys]\n  icb = \"pki/icb-pseudonyms.key\""
)]
pub(super) struct Pseudonym {
    #[command(flatten)]
    file: KeyFile,
}

/// Where a key goes.
#[derive(Debug, Args)]
struct KeyFile {
    /// Where to write the key; it must not be there yet
    #[arg(long = "file", value_name = "FILE")]
    path: PathBuf,
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    let (next, file) = match verb {
        Verb::Audit(Audit { origin, file }) => return audit(origin, &file.path, output),
        Verb::Payload(Payload { file }) => {
            ("[storage] payload_key. Keep a copy apart: without it nothing stored can be read", file)
        }
        Verb::Hash(Hash { file }) => {
            ("[audit] hash_key. Keep a copy apart: without it nobody's events are found by their number again", file)
        }
        Verb::Pseudonym(Pseudonym { file }) => {
            ("[pseudonym_keys], under the name that agreements use. Whoever has it can undo the pseudonyms", file)
        }
    };
    Secret::create(&file.path).map_err(|error| unwritten(&file.path, error))?;
    output.line(&format!("key: {}", file.path.display()));
    output.line(&format!("name it in weir.toml as {next}"));
    output.json(&json!({ "private": file.path.display().to_string() }));
    Ok(Answer::Yes)
}

fn audit(origin: &str, file: &Path, output: &Output) -> anyhow::Result<Answer> {
    SigningKey::generate(origin).with_context(|| format!("{origin:?} cannot be the name of a log"))?;
    let key = SigningKey::create(origin, file).map_err(|error| unwritten(file, error))?;
    let public = key.verifier().to_string();
    output.line(&format!("key: {}", file.display()));
    output.line("name it in weir.toml as [audit] key, and its name as origin. Keep a copy apart: the log cannot go on without it");
    output.line(&format!("public key, for partners and witnesses: {public}"));
    output.json(&json!({ "private": file.display().to_string(), "key": public }));
    Ok(Answer::Yes)
}

/// That a file is there already is told as such: nothing is written over.
fn unwritten(file: &Path, error: KeyFileError) -> anyhow::Error {
    let place = file.display();
    match &error {
        KeyFileError::Io(io) if io.kind() == std::io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{place} is there already; name a new file: a key that is in use cannot be had again")
        }
        KeyFileError::Io(io) => anyhow::anyhow!("{place} cannot be written: {io}"),
        KeyFileError::Exposed | KeyFileError::Malformed => {
            anyhow::Error::new(error).context(format!("cannot write {place}"))
        }
    }
}
