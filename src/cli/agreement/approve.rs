//! `weir agreement approve`: one person's approval of one version of an agreement, signed over its file.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::approvals::{Known, Standing, wanted};
use crate::acts::Deed;
use crate::cli::Answer;
use crate::cli::output::Output;
use crate::cli::site::{ActorOption, SiteOption};
use crate::config::{Site, site_with_agreement};
use crate::disclosure::{Agreement, NamedRole};
use crate::identity::digest::{hex, sha_256};
use crate::identity::principal::Action;
use crate::server::clock;

/// Approves a version of an agreement in the role that it gives you. It takes effect once everyone whom it names in
/// its approval section has approved this very file: a file that is changed afterwards is not used until it is approved again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    weir agreement approve demo-trust-crisis.toml --site site/gateway --as demo-guardian\n\nThe signed approval is left \
    for the gateway, which counts it within a second, or when it starts.")]
pub(in crate::cli) struct Arguments {
    /// The agreement's file, in the site's agreements/ or a draft that is to stand there
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let actor = arguments.actor.at(site.staff())?;
    let file = match arguments.file.is_file() {
        true => arguments.file.clone(),
        false => arguments.site.site.join("agreements").join(&arguments.file),
    };
    let shown = file.display();
    let bytes = std::fs::read(&file).map_err(|error| anyhow::anyhow!("cannot read {shown}: {error}"))?;
    let hash = sha_256(&bytes);
    let of_hash = |site: &Site| site.stages().agreements.iter().find(|agreement| agreement.hash() == hash).cloned();
    let in_place = of_hash(&site);
    // A draft is approved as it would stand in the place of the site's file of its name.
    let found = match &in_place {
        Some(agreement) => Some(agreement.clone()),
        None => of_hash(&site_with_agreement(&arguments.site.site, &file)?),
    };
    let Some(agreement) = &found else { anyhow::bail!("{shown} changed while it was read; approve it again") };
    let by = actor.principal().id.clone();
    let roles = roles_of(agreement, by.as_str());
    if roles.is_empty() || !actor.may(Action::ApproveAgreement) {
        if !actor.may(Action::ApproveAgreement) {
            // That it was tried is for the audit log.
            actor.leave(Deed::Access { action: Action::ApproveAgreement, message: None })?;
        }
        let asked: Vec<String> = agreement.approval().by.iter().map(|role| wanted(agreement, *role)).collect();
        let (id, version) = (agreement.id(), agreement.version());
        anyhow::bail!("{by} does not approve {id} version {version}; it asks for {}", asked.join(" and "));
    }
    for role in &roles {
        actor.leave(Deed::ApproveAgreement {
            agreement: agreement.id().clone(),
            version: agreement.version().to_owned(),
            file: hex(&hash),
            role: role.code().parse()?,
        })?;
    }
    let known = Known::of(&site)?;
    let others = Standing::of(agreement, &known, clock::now()).missing;
    let others: Vec<String> = others.into_iter().map(|role| wanted(agreement, role)).collect();
    let names: Vec<&str> = roles.iter().map(|role| role.word()).collect();
    output.line(&format!(
        "{by} approves {} version {} as {} (SHA-256 of the file {})",
        agreement.id(),
        agreement.version(),
        names.join(" and "),
        hex(&hash)
    ));
    let still: Vec<String> = (!others.is_empty())
        .then(|| format!("once {} approved it too", others.join(" and ")))
        .into_iter()
        .chain(in_place.is_none().then(|| "when it stands in agreements/".to_owned()))
        .collect();
    output.line(&match still.is_empty() {
        true => "everyone whom it names has approved it".to_owned(),
        false => format!("it takes effect {}", still.join(", and ")),
    });
    output.json(&json!({
        "agreement": agreement.id().as_str(), "version": agreement.version(), "sha256": hex(&hash),
        "by": by.as_str(), "roles": names, "others": others, "inPlace": in_place.is_some(),
    }));
    Ok(Answer::Yes)
}

/// The roles in which a person approves the agreement.
fn roles_of(agreement: &Agreement, by: &str) -> Vec<NamedRole> {
    agreement.approval().by.iter().copied().filter(|role| agreement.approver(*role) == Some(by)).collect()
}
