//! `weir map`: the Bundle that a record becomes, before disclosure.

use std::path::PathBuf;

use clap::Args;

use super::Answer;
use super::output::{Output, indented};
use super::site::SiteOption;
use crate::identity::InterfaceName;
use crate::pipeline;

/// Maps a record as the gateway would, and prints the Bundle before anything is withheld.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir map record.json --interface crisis-escalation --site site/gateway\n\nThe output \
    is the full Bundle, personal data included: it is for an engineer's eyes, never for a partner's."
)]
pub(super) struct Arguments {
    /// The record
    file: PathBuf,
    /// The interface whose map to run
    #[arg(long, value_name = "NAME")]
    interface: InterfaceName,
    #[command(flatten)]
    site: SiteOption,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    let interface = &arguments.interface;
    anyhow::ensure!(site.stages().interfaces.contains_key(interface), "the site has no interface {interface}");
    let submission = super::send::submission(&arguments.file, &arguments.interface, site.party())?;
    match pipeline::map(site.stages(), submission) {
        Ok(mapped) => {
            let bundle = mapped.bundle().source();
            output.document(&if output.is_json() { bundle.to_owned() } else { indented(bundle) });
            Ok(Answer::Yes)
        }
        Err(refusal) => {
            super::send::show_refusal(&refusal, output);
            Ok(Answer::No)
        }
    }
}
