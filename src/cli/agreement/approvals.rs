//! `weir agreement approvals`: who has approved each version, what is missing, and what is in force.

use clap::Args;
use serde_json::{Value, json};

use crate::acts::spool::waiting_approvals;
use crate::cli::Answer;
use crate::cli::output::Output;
use crate::cli::site::{ActorOption, SiteOption};
use crate::config::Site;
use crate::disclosure::{Agreement, NamedRole};
use crate::fhir::{Instant, instant_text};
use crate::identity::AgreementId;
use crate::identity::digest::hex;
use crate::identity::principal::Action;
use crate::server::clock;
use crate::storage::{self, Approval, Store as _};

/// Shows each version of the site's agreements with the hash of its file, the approvals that it has and those that are
/// missing, and whether something leaves under it now. Versions that were approved and whose file is gone come last.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir agreement approvals --site site/gateway --as demo-ig-lead\n\nAn approval that \
    waits in data/acts/ is shown as handed in: the gateway counts it within a second, or when it starts."
)]
pub(in crate::cli) struct Arguments {
    /// The agreement's id; without it, all of the site
    #[arg(value_name = "ID")]
    agreement: Option<AgreementId>,
    #[command(flatten)]
    site: SiteOption,
    #[command(flatten)]
    actor: ActorOption,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let site = arguments.site.load()?;
    arguments.actor.permit(site.staff(), Action::ReadApprovals, None)?;
    let known = Known::of(&site)?;
    let is_asked = |id: &AgreementId| arguments.agreement.as_ref().is_none_or(|asked| asked == id);
    let mut found = false;
    for agreement in site.stages().agreements.iter().filter(|agreement| is_asked(agreement.id())) {
        found = true;
        let standing = Standing::of(agreement, &known, clock::now());
        let file = site.agreement_file(&agreement.hash()).unwrap_or_default();
        standing.lines(agreement, file).iter().for_each(|line| output.line(line));
        output.json(&standing.json(agreement, file));
    }
    let former = former(&site, &known.counted);
    for (heading, approvals) in former.iter().filter(|(heading, _)| is_asked(&heading.agreement)) {
        found = true;
        former_lines(heading, approvals).iter().for_each(|line| output.line(line));
        output.json(&former_json(heading, approvals));
    }
    anyhow::ensure!(found, "the site has no agreement of this id, and had none; agreements/ lists them");
    Ok(Answer::Yes)
}

/// Every approval of the site.
pub(super) struct Known {
    /// Those that the gateway has counted.
    counted: Vec<Approval>,
    /// Those that wait for it.
    waiting: Vec<Approval>,
}

impl Known {
    pub(super) fn of(site: &Site) -> anyhow::Result<Known> {
        let staff = site.staff();
        // First those that wait: one that is performed meanwhile is found twice, and not missed.
        let waiting = waiting_approvals(staff.acts_folder(), staff.principals(), staff.site(), clock::now())?;
        let counted = match site.open_for_reading() {
            Ok(store) => crate::cli::runtime()?.block_on(store.approvals())?,
            Err(error) if error.downcast_ref() == Some(&storage::Error::Missing) => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Known { counted, waiting })
    }
}

/// An approval of an agreement.
#[derive(Debug)]
struct Given<'k> {
    role: NamedRole,
    approval: &'k Approval,
    /// Whether the gateway has counted it.
    is_counted: bool,
}

/// Where an agreement stands.
#[derive(Debug)]
pub(super) struct Standing<'k> {
    given: Vec<Given<'k>>,
    /// The roles whose approval nobody has handed in.
    pub(super) missing: Vec<NamedRole>,
    /// Why nothing leaves under it now.
    not_in_force: Option<String>,
}

impl<'k> Standing<'k> {
    pub(super) fn of(agreement: &Agreement, known: &'k Known, now: Instant) -> Standing<'k> {
        let of_this = |approvals: &'k [Approval], is_counted| {
            let given = move |approval| Some(Given { role: agreement.approved_role(approval)?, approval, is_counted });
            approvals.iter().filter_map(given)
        };
        let mut given: Vec<Given<'_>> = of_this(&known.counted, true).collect();
        for waits in of_this(&known.waiting, false) {
            if !given.iter().any(|other| other.role == waits.role) {
                given.push(waits);
            }
        }
        given.sort_by_key(|each| agreement.approval().by.iter().position(|role| *role == each.role));
        known.counted.iter().for_each(|approval| {
            agreement.count(approval);
        });
        let is_given = |role: &NamedRole| given.iter().any(|each| each.role == *role);
        let missing: Vec<NamedRole> = agreement.approval().by.iter().copied().filter(|role| !is_given(role)).collect();
        let waits = missing.is_empty() && given.iter().any(|each| !each.is_counted);
        let not_in_force = agreement.not_current(now).or_else(|| match waits {
            true => Some("its approvals wait for the gateway".to_owned()),
            false => agreement.not_in_force(now),
        });
        Standing { given, missing, not_in_force }
    }

    fn lines(&self, agreement: &Agreement, file: &str) -> Vec<String> {
        let state = match &self.not_in_force {
            None => "in force".to_owned(),
            Some(why) => format!("not in force: {why}"),
        };
        let (id, version) = (agreement.id(), agreement.version());
        let mut lines = vec![
            format!("{id} version {version}: {state}"),
            format!("  file      {file}, SHA-256 {}", hex(&agreement.hash())),
        ];
        lines.extend(self.given.iter().map(|given| {
            let (word, at) =
                (if given.is_counted { "approved " } else { "handed in" }, instant_text(given.approval.at));
            format!("  {word} {}, at {at}", wanted(agreement, given.role))
        }));
        lines.extend(self.missing.iter().map(|role| format!("  missing   {}", wanted(agreement, *role))));
        lines
    }

    fn json(&self, agreement: &Agreement, file: &str) -> Value {
        let given = |given: &Given<'_>| {
            json!({
                "role": given.role.word(), "by": given.approval.by.as_str(), "at": instant_text(given.approval.at),
                "counted": given.is_counted,
            })
        };
        let missing = |role: &NamedRole| json!({ "role": role.word(), "by": agreement.approver(*role) });
        json!({
            "agreement": agreement.id().as_str(), "version": agreement.version(), "file": file,
            "sha256": hex(&agreement.hash()), "inForce": self.not_in_force.is_none(), "why": self.not_in_force,
            "approvals": self.given.iter().map(given).collect::<Vec<_>>(),
            "missing": self.missing.iter().map(missing).collect::<Vec<_>>(),
        })
    }
}

/// `siro (demo-siro)`
pub(super) fn wanted(agreement: &Agreement, role: NamedRole) -> String {
    format!("{role} ({})", agreement.approver(role).unwrap_or("no principal"))
}

/// The approvals of files that are no longer among the site's, by file; the first of each says which version it was.
fn former<'k>(site: &Site, counted: &'k [Approval]) -> Vec<(&'k Approval, Vec<&'k Approval>)> {
    let mut former: Vec<(&Approval, Vec<&Approval>)> = Vec::new();
    for approval in counted.iter().filter(|approval| site.agreement_file(&approval.file).is_none()) {
        match former.iter_mut().find(|(heading, _)| heading.file == approval.file) {
            Some((_, approvals)) => approvals.push(approval),
            None => former.push((approval, vec![approval])),
        }
    }
    former
}

/// The role of an approval by the word that agreements have for it.
fn role_of(approval: &Approval) -> &str {
    let known = NamedRole::ALL.iter().find(|role| role.code() == approval.role);
    known.map_or(&*approval.role, |role| role.word())
}

fn former_lines(heading: &Approval, approvals: &[&Approval]) -> Vec<String> {
    let Approval { agreement, version, file, .. } = heading;
    let mut lines = vec![
        format!("{agreement} version {version}: not used: its file is not in agreements/"),
        format!("  file      SHA-256 {}", hex(file)),
    ];
    let line = |each: &&Approval| format!("  approved  {} ({}), at {}", role_of(each), each.by, instant_text(each.at));
    lines.extend(approvals.iter().map(line));
    lines
}

fn former_json(heading: &Approval, approvals: &[&Approval]) -> Value {
    let given = |each: &&Approval| json!({ "role": role_of(each), "by": each.by.as_str(), "at": instant_text(each.at), "counted": true });
    json!({
        "agreement": heading.agreement.as_str(), "version": heading.version, "file": null,
        "sha256": hex(&heading.file), "inForce": false, "why": "its file is not in agreements/",
        "approvals": approvals.iter().map(given).collect::<Vec<_>>(), "missing": [],
    })
}
