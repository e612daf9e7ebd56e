//! `weir map`: the Bundle that a record becomes, before disclosure.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use super::Answer;
use super::conversion::{self, Converter, Observation, RunOptions};
use super::failure::Failure;
use super::output::Output;
use super::site::{ActorOption, SiteOption};
use crate::config::Site;
use crate::fhir::Document;
use crate::identity::InterfaceName;
use crate::identity::principal::Action;
use crate::intake::{Submission, media_type};
use crate::mapping::{CompiledMap, Mapped, Transformed};
use crate::pipeline;
use crate::refusal::Refusal;
use crate::server::clock;

/// Maps records as the gateway would, and prints the Bundles before anything is withheld.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir map record.json --interface crisis-escalation --site site/gateway\n  \
    weir map records/ more.ndjson --interface crisis-escalation --site site/gateway --output bundles/\n  \
    weir map record.json --interface crisis-escalation --site site/gateway --trace\n  \
    weir map records/ --interface crisis-escalation --site site/gateway --coverage\n  \
    weir map record.json --interface crisis-escalation --site site/gateway --watch\n\n\
    The output is the full Bundle, personal data included: it is for an engineer's eyes, never for a partner's. Of \
    several records each Bundle is one line; one that is refused is said on standard error and stops no other.\n\
    Exit code 0 when all were mapped, 1 when any was refused, 2 when the site cannot be used.")]
pub(super) struct Arguments {
    #[command(flatten)]
    run: RunOptions,
    /// The interface whose map to run
    #[arg(long, value_name = "NAME")]
    interface: InterfaceName,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = &arguments.site.site;
    let watched: Vec<PathBuf> =
        ["weir.toml", "mappings", "profiles", "agreements"].iter().map(|name| site.join(name)).collect();
    conversion::run(&arguments.run, &watched, &|| load(arguments, output), output)
}

fn load(arguments: &Arguments, output: &Output) -> anyhow::Result<Option<Box<dyn Converter>>> {
    arguments.site.exists()?;
    let site = match arguments.site.load() {
        Ok(site) => site,
        Err(faults) => {
            super::config::show_faults(&faults, output);
            return Ok(None);
        }
    };
    arguments.actor.permit(site.staff(), Action::Preview, None)?;
    let interface = arguments.interface.clone();
    let profile = site.stages().interfaces.get(&interface).map(|interface| interface.profile.clone());
    let profile = profile.with_context(|| {
        let known: Vec<String> = site.stages().interfaces.keys().map(ToString::to_string).collect();
        format!("the site has no interface {interface}; it has {}", known.join(", "))
    })?;
    let map = site.stages().mappings.get(&interface).map(Arc::clone);
    let map = map.with_context(|| format!("no map is configured for the interface {interface}"))?;
    Ok(Some(Box::new(Interface { site, interface, profile, map })))
}

/// One interface of a site.
struct Interface {
    site: Site,
    interface: InterfaceName,
    profile: String,
    map: Arc<CompiledMap>,
}

impl Interface {
    /// As if the provider had submitted it now.
    fn map(&self, body: Vec<u8>) -> Result<Mapped, Refusal> {
        let submission = Submission {
            sender: self.site.party(),
            by: None,
            interface: self.interface.clone(),
            content_type: Some(media_type(&body).to_owned()),
            idempotency_key: None,
            body,
            received_at: clock::now(),
        };
        pipeline::map(self.site.stages(), submission)
    }
}

impl Converter for Interface {
    fn convert(&self, bytes: Vec<u8>, _alone: bool) -> Result<Document, Failure> {
        Ok(self.map(bytes)?.into_bundle())
    }

    fn observe(&self, bytes: Vec<u8>, _alone: bool) -> Result<Observation, Failure> {
        let mapped = self.map(bytes)?;
        // The tree that was mapped, which XML has too.
        let record = mapped.received().record().source().to_owned();
        let record = Document::parse(record, &self.site.stages().limits)?;
        let (made, observed) = self.map.observe(&record, mapped.received().message().uuid());
        let origins = mapped.origins().to_vec();
        Ok(Observation {
            made: Transformed { document: mapped.into_bundle(), origins, log: made?.log },
            record,
            observed,
        })
    }

    fn map(&self) -> &CompiledMap {
        &self.map
    }

    fn missing(&self, made: &Document) -> Vec<String> {
        let issues = self.site.stages().validator.check_document(made, Some(&self.profile));
        conversion::required(issues)
    }
}
