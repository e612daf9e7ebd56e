//! `weir minimise`: what of a Bundle would leave under an agreement, and what would not and why.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::Answer;
use super::output::{Output, indented};
use super::site::{ActorOption, SiteOption};
use crate::config::Site;
use crate::disclosure::{self, Agreement, Manifest};
use crate::fhir::Document;
use crate::fhir::outcome::Issue;
use crate::identity::principal::Action;
use crate::identity::{AgreementId, InterfaceName};
use crate::server::clock;
use crate::storage::files::{Readers, write_durably};

/// Projects a Bundle under an agreement. Prints what would leave; the manifest names what would not, by path and
/// reason, never by value.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir map record.json --interface crisis-escalation --site site/gateway > bundle.json\n  \
    weir minimise bundle.json --agreement demo-trust-crisis --interface crisis-escalation --site site/gateway --manifest -"
)]
pub(super) struct Arguments {
    /// The Bundle
    bundle: PathBuf,
    /// The agreement's id
    #[arg(long, value_name = "ID")]
    agreement: AgreementId,
    /// The interface whose permits apply
    #[arg(long, value_name = "NAME")]
    interface: InterfaceName,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
    /// Write the manifest to this file; `-` for standard error
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    arguments.actor.permit(site.staff(), Action::Preview, None)?;
    let bundle = super::document(&arguments.bundle)?;
    let agreement = site
        .agreement(&arguments.agreement)
        .with_context(|| format!("there is no agreement {} in this site", arguments.agreement))?;
    let ground = disclosure::ground(&bundle, agreement, &arguments.interface, clock::now());
    let without_consent = ground.as_ref().is_ok_and(|ground| ground.decision().is_some());
    let (projected, manifest) = disclosure::preview(&bundle, agreement, &arguments.interface, without_consent)
        .map_err(|error| anyhow::anyhow!("{error}; hint: {}", error.hint()))?;
    let mut why_not = would_not_leave(&site, agreement, &arguments.interface, &bundle, &projected);
    why_not.extend(ground.err().map(|error| error.to_string()));
    let projected = projected.source();
    output.document(&if output.is_json() { projected.to_owned() } else { indented(projected) });
    why_not.iter_mut().for_each(|why| why.insert_str(0, "nothing would leave: "));
    why_not.iter().for_each(|why| output.remark(why));
    let rows = manifest_json(&bundle, agreement, &arguments.interface, &manifest);
    match arguments.manifest.as_deref() {
        Some(file) if file.as_os_str() == "-" => output.remark(&format!("{rows:#}")),
        Some(file) => write_durably(file, format!("{rows:#}\n").as_bytes(), Readers::OwnerOnly)?,
        None => {}
    }
    Ok(why_not.is_empty().into())
}

/// Why the gateway would refuse the Bundle all the same; empty when it would not.
fn would_not_leave(
    site: &Site,
    agreement: &Agreement,
    interface: &InterfaceName,
    bundle: &Document,
    projected: &Document,
) -> Vec<String> {
    let mut reasons: Vec<String> = agreement.not_current(clock::now()).into_iter().collect();
    let permitted = agreement.interface(interface).map(disclosure::Interface::profile);
    let mapped = site.stages().interfaces.get(interface).map(|interface| interface.profile.as_str());
    let mut check = |which: &str, document: &Document, profile: Option<&str>| {
        let issues = site.stages().validator.check_document(document, profile);
        reasons.extend(issues.into_iter().filter(Issue::is_error).map(|issue| {
            let place = issue.path.map(|path| format!(" at {path}")).unwrap_or_default();
            format!("{which} is not valid: {}{place}", issue.text)
        }));
    };
    check("the Bundle", bundle, mapped.or(permitted));
    check("what is permitted of it", projected, permitted);
    reasons
}

/// The manifest by path: what left under which clause, what was held back and why. No values.
fn manifest_json(bundle: &Document, agreement: &Agreement, interface: &InterfaceName, manifest: &Manifest) -> Value {
    let path = |id| bundle.node(id).map(|node| node.path().to_string()).unwrap_or_default();
    let covered = agreement.interface(interface);
    let clauses = covered.map(disclosure::Interface::clauses).unwrap_or_default();
    let generalisations = covered.map(disclosure::Interface::generalisations).unwrap_or_default();
    let clause = |index: Option<u32>| index.and_then(|index| clauses.get(usize::try_from(index).ok()?));
    let kept = manifest.kept().iter().map(|row| match clause(row.clause) {
        Some(clause) => json!({ "path": path(row.node), "category": clause.category, "reason": clause.reason }),
        None => json!({ "path": path(row.node), "reason": "frame of what is permitted" }),
    });
    let generalised = manifest.generalised().iter().filter_map(|row| {
        let clause = generalisations.get(usize::try_from(row.clause).ok()?)?;
        let (to, category, reason) = (clause.to.word(), &clause.category, &clause.reason);
        Some(json!({ "path": path(row.node), "to": to, "category": category, "reason": reason }))
    });
    let why = |why| covered.map_or_else(String::new, |covered| covered.reason(why));
    let withheld = manifest.withheld().iter().map(|row| json!({ "path": path(row.node), "why": why(row.why) }));
    json!({
        "agreement": agreement.id().as_str(),
        "version": agreement.version(),
        "left": kept.collect::<Vec<_>>(),
        "generalised": generalised.collect::<Vec<_>>(),
        "withheld": withheld.collect::<Vec<_>>(),
    })
}
