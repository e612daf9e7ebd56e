//! `weir package`: the FHIR packages of a site, and whether a package can be used.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Answer;
use super::config::{doubt_json, doubt_text};
use super::output::Output;
use super::site::{ActorOption, SiteOption};
use crate::config::{self, Checked, Listed, PackageStore};
use crate::identity::principal::Action;
use crate::validation::Validator;

/// What to do with packages.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show the packages that a site is pinned to
    List(List),
    /// Add packages, with what they depend on, to a site and pin them
    Add(Add),
    /// Find the profiles that cannot be used, and why
    Check(Check),
}

/// Shows name, version, hash and dependencies of each package of a site.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir package list --site site/gateway")]
pub(super) struct List {
    #[command(flatten)]
    site: SiteOption,
}

/// Copies packages into the site's packages/ and pins each to one version and one file in packages.lock. What they
/// depend on is added too, from the site, from --cache or from the package cache. Nothing is fetched from a network.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir package add fhir.r4.ukcore.stu2-2.0.1.tgz --site site/gateway\n  weir package add \
    fhir.r4.ukcore.stu2#2.0.1 --site site/gateway"
)]
pub(super) struct Add {
    /// A .tgz file, a folder, or NAME#VERSION of the package cache (~/.fhir/packages)
    #[arg(required = true)]
    package: Vec<PathBuf>,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// Another package cache: a folder of folders named NAME#VERSION
    #[arg(long, value_name = "DIR")]
    cache: Vec<PathBuf>,
}

/// Reads packages and makes the snapshot of every profile in them and in what they depend on. Exit code 1 when there is
/// one that cannot be made.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir package check fhir.r4.ukcore.stu2-2.0.1.tgz\n  weir package check --site site/gateway"
)]
pub(super) struct Check {
    /// .tgz files, folders, or NAME#VERSION of the package cache
    #[arg(required_unless_present = "site")]
    package: Vec<PathBuf>,
    /// Check the packages and profiles of this site
    #[arg(long, value_name = "DIR")]
    site: Option<PathBuf>,
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    match verb {
        Verb::List(arguments) => list(arguments, output),
        Verb::Add(arguments) => add(arguments, output),
        Verb::Check(arguments) => check(arguments, output),
    }
}

fn list(arguments: &List, output: &Output) -> anyhow::Result<Answer> {
    arguments.site.exists()?;
    let listed = PackageStore::of(&arguments.site.site).list()?;
    for package in &listed {
        let Listed { name, version, sha_256, files, .. } = package;
        output.line(&format!("{name}#{version}  {files} files  sha256 {}", &sha_256[..12]));
        package.dependencies.iter().for_each(|wanted| output.line(&format!("  needs {wanted}")));
    }
    if listed.is_empty() {
        output.line("no packages: base R4 and Weir's own profiles are built in");
    }
    let row = |package: &Listed| {
        json!({ "name": package.name, "version": package.version, "sha256": package.sha_256, "files": package.files,
            "dependencies": package.dependencies })
    };
    output.json(&json!({ "packages": listed.iter().map(row).collect::<Vec<_>>() }));
    Ok(Answer::Yes)
}

fn add(arguments: &Add, output: &Output) -> anyhow::Result<Answer> {
    arguments.site.exists()?;
    arguments.actor.permit(&arguments.site.staff()?, Action::Administer, None)?;
    let additions = PackageStore::of(&arguments.site.site).add(&arguments.package, &arguments.cache)?;
    for addition in &additions {
        match &addition.replaces {
            Some(before) => output.line(&format!("added {}, in the place of {before}", addition.package)),
            None => output.line(&format!("added {}", addition.package)),
        }
    }
    if additions.is_empty() {
        output.line("nothing to add: the site has them already");
    }
    let row = |addition: &config::Addition| json!({ "package": addition.package, "replaces": addition.replaces });
    output.json(&json!({ "added": additions.iter().map(row).collect::<Vec<_>>() }));
    Ok(Answer::Yes)
}

fn check(arguments: &Check, output: &Output) -> anyhow::Result<Answer> {
    let documents = match &arguments.site {
        Some(site) => config::site_definitions(site, &arguments.package)?,
        None => config::definitions(&arguments.package)?,
    };
    let checked = config::check_snapshots(&documents);
    let faulty: Vec<&Checked> = checked.iter().filter(|each| each.elements.is_err()).collect();
    for each in &faulty {
        if let Err(error) = &each.elements {
            output.line(&format!("{}: no snapshot: {error}\n  hint: {}", each.url, error.hint()));
        }
    }
    let (validator, _told_above) = Validator::compile_what_can_be(&documents);
    let doubts = validator.doubtful_constraints();
    doubts.iter().for_each(|doubt| output.line(&doubt_text(doubt)));
    output.line(&format!("{} profiles, {} of them without a snapshot", checked.len(), faulty.len()));
    output.json(&json!({
        "profiles": checked.iter().map(row).collect::<Vec<_>>(),
        "constraints": doubts.iter().map(doubt_json).collect::<Vec<_>>(),
    }));
    Ok(faulty.is_empty().into())
}

fn row(checked: &Checked) -> Value {
    match &checked.elements {
        Ok(elements) => json!({ "url": checked.url, "elements": elements }),
        Err(error) => json!({ "url": checked.url, "fault": error.to_string(), "hint": error.hint() }),
    }
}
