//! `weir agreement diff`: what a new version of an agreement changes.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::Answer;
use crate::cli::config::show_faults;
use crate::cli::output::Output;
use crate::config::read_agreement;
use crate::disclosure::{Difference, How, Place};

/// Shows which elements newly leave, which no longer do, which leave in another way, and what else differs.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir agreement diff demo-trust-crisis.toml drafts/demo-trust-crisis.toml")]
pub(in crate::cli) struct Arguments {
    /// The file of the older version
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The file of the newer version
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// A site whose profiles the files name, beside the built-in ones
    #[arg(long, value_name = "DIR")]
    site: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let mut read = Vec::new();
    for file in [&arguments.old, &arguments.new] {
        match read_agreement(file, arguments.site.as_deref()) {
            Ok(agreement) => read.push(agreement),
            Err(faults) => {
                show_faults(&faults, output);
                return Ok(Answer::Broken);
            }
        }
    }
    let [old, new] = &read[..] else { anyhow::bail!("two files are compared") };
    let found = Difference::between(old, new);
    text(&found).iter().for_each(|line| output.line(line));
    output.json(&to_json(&found));
    Ok(Answer::Yes)
}

fn text(found: &Difference) -> Vec<String> {
    if found.is_empty() {
        return vec!["nothing differs".to_owned()];
    }
    let mut lines = Vec::new();
    let mut section = |heading: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            lines.push(format!("{heading}:"));
            lines.extend(rows.into_iter().map(|row| format!("  {row}")));
        }
    };
    let rows =
        |list: &[(Place, How)]| list.iter().map(|(place, how)| format!("{}  {}", at(place), said(how))).collect();
    section("newly leaves", rows(&found.leaves));
    section("no longer leaves", rows(&found.stays));
    let changes =
        found.changes.iter().map(|(place, old, new)| format!("{}  {} -> {}", at(place), said(old), said(new)));
    section("leaves in another way", changes.collect());
    let terms = found.terms.iter().map(|term| {
        let or_none = |text: &str| if text.is_empty() { "(none)".to_owned() } else { text.to_owned() };
        format!("{}: {} -> {}", term.name, or_none(&term.old), or_none(&term.new))
    });
    section("terms", terms.collect());
    lines
}

/// `crisis-escalation Patient (weir-patient) birthDate`
fn at(place: &Place) -> String {
    let profile = place.profile.as_deref().and_then(|url| url.rsplit('/').next());
    let profile = profile.map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{} {}{profile} {}", place.interface, place.resource, place.element)
}

fn said(how: &How) -> String {
    let also = if how.under_override { ", also under an override" } else { "" };
    format!("{}{also}", how.form)
}

fn to_json(found: &Difference) -> Value {
    let place = |place: &Place| {
        json!({
            "interface": place.interface, "resource": place.resource, "profile": place.profile, "element": place.element,
        })
    };
    let how = |how: &How| json!({ "form": how.form, "underOverride": how.under_override });
    let row = |(at, by): &(Place, How)| json!({ "place": place(at), "how": how(by) });
    json!({
        "newlyLeaves": found.leaves.iter().map(row).collect::<Vec<_>>(),
        "noLongerLeaves": found.stays.iter().map(row).collect::<Vec<_>>(),
        "changes": found.changes.iter().map(|(at, old, new)| json!({
            "place": place(at), "old": how(old), "new": how(new),
        })).collect::<Vec<_>>(),
        "terms": found.terms.iter().map(|term| json!({
            "name": term.name, "old": term.old, "new": term.new,
        })).collect::<Vec<_>>(),
    })
}
