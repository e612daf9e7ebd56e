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
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Date, Time};

use super::Answer;
use super::output::Output;
use super::site::SiteOption;
use crate::config::site_definitions;
use crate::fhir::Instant;
use crate::identity::InterfaceName;
use crate::pipeline::Stages;
use crate::server::clock;
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
///
/// The page says from when until when each agreement holds, and is the same every day; which of them do not hold now is said on
/// standard error. With --at the page itself says which of them hold on that day.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir interface page crisis-escalation --site site/gateway\n  \
    weir interface page crisis-escalation --site site/gateway --at 2028-06-01\n  \
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
    /// Say on the page which agreements hold on this day, by UTC: 2028-06-01
    #[arg(long, value_name = "DATE", value_parser = day)]
    at: Option<Date>,
}

const DAY: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]");

fn day(text: &str) -> Result<Date, String> {
    Date::parse(text, DAY).map_err(|_| "write a day as year, month and day: 2028-06-01".to_owned())
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
        pages.push((name, sources.page(name, arguments.at)?));
    }
    let at = arguments.at.map_or_else(clock::now, start_of);
    let lapsed: Vec<Vec<Lapsed>> = pages.iter().map(|(name, _)| lapsed(stages, name, at)).collect();
    let when = arguments.at.map_or_else(|| "now".to_owned(), |day| format!("on {day}"));
    for ((name, _), lapsed) in pages.iter().zip(&lapsed) {
        for Lapsed { agreement, why } in lapsed {
            output.remark(&format!("{name}: nothing leaves under {agreement} {when}: {why}"));
        }
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
    let row = |((name, page), lapsed): (&(&InterfaceName, String), &Vec<Lapsed>)| {
        let lapsed: Vec<Value> =
            lapsed.iter().map(|each| json!({ "agreement": each.agreement, "why": each.why })).collect();
        json!({ "interface": name.as_str(), "page": page, "notInForce": lapsed })
    };
    output.json(&Value::Array(pages.iter().zip(&lapsed).map(row).collect()));
    Ok(Answer::Yes)
}

/// An agreement under which nothing leaves at the time that was asked about.
struct Lapsed {
    agreement: String,
    why: String,
}

/// The agreements on an interface that do not hold at a time, by status and dates; approvals are `weir agreement list`'s to tell.
fn lapsed(stages: &Stages, interface: &InterfaceName, at: Instant) -> Vec<Lapsed> {
    let covering = stages.agreements.iter().filter(|agreement| agreement.interface(interface).is_some());
    let lapsed = covering.filter_map(|agreement| {
        Some(Lapsed {
            agreement: format!("{} version {}", agreement.id(), agreement.version()),
            why: agreement.not_current(at)?,
        })
    });
    lapsed.collect()
}

/// The beginning of a day in UTC, by which agreements count their days.
fn start_of(day: Date) -> Instant {
    day.with_time(Time::MIDNIGHT).assume_utc()
}
