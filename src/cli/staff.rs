//! `weir staff`: who may do what at a site, and their keys.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Answer;
use super::output::Output;
use super::site::SiteOption;
use crate::identity::PrincipalId;
use crate::identity::principal::Action;
use crate::identity::signature::PersonalKey;
use crate::storage::create_key_file;
use crate::storage::files::{Readers, write_durably};

/// What to do with the principals of a site.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show every principal with its roles and what they permit
    List(List),
    /// Make a signing key for a person
    Key(Key),
}

/// Shows who may do what: people by their signing keys, systems by their certificates.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir staff list --site site/gateway")]
pub(super) struct List {
    #[command(flatten)]
    site: SiteOption,
}

/// Makes an Ed25519 key: FILE for the person alone, and FILE with the ending .pub for weir.toml.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir staff key new-guardian --file new-guardian.key\n\nThen list the person in weir.toml:\n  \
    [[principals]]\n  id = \"new-guardian\"\n  name = \"…\"\n  roles = [\"caldicott-guardian\"]\n  \
    key = \"pki/staff/new-guardian.pub\""
)]
pub(super) struct Key {
    /// Whose key it will be
    principal: PrincipalId,
    /// Where to write the private key; it must not be there yet
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    match verb {
        Verb::List(arguments) => list(arguments, output),
        Verb::Key(arguments) => make_key(arguments, output),
    }
}

fn list(arguments: &List, output: &Output) -> anyhow::Result<Answer> {
    let staff = arguments.site.staff()?;
    for principal in staff.principals().iter() {
        let may: Vec<&str> =
            Action::ALL.iter().filter(|&&action| principal.may(action)).map(|action| action.code()).collect();
        let roles: Vec<&str> = principal.roles.iter().map(|role| role.code()).collect();
        let shows = match (principal.certificate.is_some(), principal.key.is_some()) {
            (true, true) => "certificate and key",
            (true, false) => "certificate",
            (false, _) => "key",
        };
        output.line(&format!("{:<20} {} ({}, by {shows})", principal.id, principal.name, roles.join(", ")));
        output.line(&format!("{:<20} may {}", "", may.join(", ")));
        output.json(&json!({
            "id": principal.id.as_str(), "name": principal.name, "roles": roles, "may": may,
            "certificate": principal.certificate.is_some(), "key": principal.key.is_some(),
        }));
    }
    Ok(Answer::Yes)
}

fn make_key(arguments: &Key, output: &Output) -> anyhow::Result<Answer> {
    let (key, secret) = PersonalKey::generate()?;
    let (file, public) = (&arguments.file, arguments.file.with_extension("pub"));
    let written = |path: &std::path::Path| format!("cannot write {}", path.display());
    create_key_file(file, secret.trim_end()).with_context(|| written(file))?;
    write_durably(&public, key.public().to_pem().as_bytes(), Readers::Anyone).with_context(|| written(&public))?;
    output.line(&format!("private key of {}: {}", arguments.principal, file.display()));
    output.line(&format!("public key, for weir.toml: {}", public.display()));
    output.json(&json!({ "private": file.display().to_string(), "public": public.display().to_string() }));
    Ok(Answer::Yes)
}
