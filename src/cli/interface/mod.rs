//! `weir interface`: the interfaces of a site, as pages for people.

mod codes;
mod inbound;
mod model;
mod page;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Answer;
use super::output::Output;
use super::site::SiteOption;
use crate::config::site_definitions;
use crate::identity::InterfaceName;
use crate::storage::files::{Readers, write_durably};
use page::Sources;

/// What is done with interfaces.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Write what an interface is as a page: purpose, fields, codes, where each field goes, deadlines, consent
    Page(Arguments),
}

/// Writes a page of Markdown about an interface, made from what the site runs: the record's logical model, the map, the profiles
/// and value sets, and the agreements. Nothing on it is written by hand, and no record is read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir interface page crisis-escalation --site site/gateway\n  \
    weir interface page --site site/gateway --output docs/interfaces")]
pub(super) struct Arguments {
    /// The interface; without it, all of the site
    #[arg(value_name = "NAME")]
    interface: Option<InterfaceName>,
    #[command(flatten)]
    site: SiteOption,
    /// Write each page to NAME.md in this folder, in the place of standard output
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn run(Verb::Page(arguments): &Verb, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let stages = site.stages();
    let known: BTreeSet<&InterfaceName> =
        stages.interfaces.keys().chain(stages.inbound.iter().map(|inbound| &inbound.name)).collect();
    let names = match &arguments.interface {
        Some(name) if known.contains(name) => vec![name],
        Some(name) => {
            let known: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
            anyhow::bail!("the site has no interface {name}; it has {}", known.join(", "))
        }
        None => known.into_iter().collect(),
    };
    let sources = Sources::new(site_definitions(&arguments.site.site, &[])?, stages);
    let mut pages = Vec::new();
    for name in names {
        pages.push((name, sources.page(name)?));
    }
    match &arguments.output {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            for (name, page) in &pages {
                let file = folder.join(format!("{name}.md"));
                write_durably(&file, page.as_bytes(), Readers::Anyone)
                    .with_context(|| format!("cannot write {}", file.display()))?;
                output.line(&file.display().to_string());
            }
        }
        None => {
            let text: Vec<&str> = pages.iter().map(|(_, page)| page.as_str()).collect();
            output.line(text.join("\n").trim_end());
        }
    }
    let row = |(name, page): &(&InterfaceName, String)| json!({ "interface": name.as_str(), "page": page });
    output.json(&Value::Array(pages.iter().map(row).collect()));
    Ok(Answer::Yes)
}
