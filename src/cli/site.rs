//! The `--site` option that most verbs share, and as whom a verb acts there.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use crate::acts::spool::Left;
use crate::acts::{Act, Deed, spool};
use crate::config::{Faults, Site, Staff};
use crate::identity::principal::{Action, Principal};
use crate::identity::signature::PersonalKey;
use crate::identity::{MessageId, PrincipalId};
use crate::server::clock;

/// Which site a verb works on.
#[derive(Debug, Args)]
pub(super) struct SiteOption {
    /// The site's folder: weir.toml, agreements/, partners/, pki/, data/
    #[arg(long, value_name = "DIR")]
    pub(super) site: PathBuf,
}

impl SiteOption {
    /// Whether there is a site at all.
    pub(super) fn exists(&self) -> anyhow::Result<()> {
        let folder = self.site.display();
        anyhow::ensure!(self.site.join("weir.toml").is_file(), "{folder} is no site: it has no weir.toml");
        Ok(())
    }

    /// Reads and checks the site.
    pub(super) fn load(&self) -> Result<Site, Faults> {
        Site::load(&self.site)
    }

    /// Reads who may act there, and nothing else.
    pub(super) fn staff(&self) -> Result<Staff, Faults> {
        Staff::load(&self.site)
    }
}

/// As whom a verb acts at a site.
#[derive(Debug, Default, Args)]
pub(super) struct ActorOption {
    /// Act as this principal of weir.toml; else as WEIR_AS, or as `cli.as` there says
    #[arg(long = "as", value_name = "ID")]
    principal: Option<PrincipalId>,
    /// Its private key; else pki/staff/ID.key of the site
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// No role of who acts permits it.
#[derive(Debug, thiserror::Error)]
#[error("no role of {by} permits {action}; hint: ask {}, or act as another principal with --as", names(.able))]
pub(super) struct Denied {
    by: PrincipalId,
    action: Action,
    able: Vec<PrincipalId>,
}

fn names(ids: &[PrincipalId]) -> String {
    let names: Vec<&str> = ids.iter().map(PrincipalId::as_str).collect();
    if names.is_empty() { "the operator to give someone a role that does".to_owned() } else { names.join(", ") }
}

/// Someone who has shown that they have a principal's key.
pub(super) struct Actor<'s> {
    staff: &'s Staff,
    principal: &'s Principal,
    key: PersonalKey,
}

impl ActorOption {
    /// Who acts, with the key that shows it.
    pub(super) fn at<'s>(&self, staff: &'s Staff) -> anyhow::Result<Actor<'s>> {
        let from_environment = match std::env::var("WEIR_AS") {
            Ok(text) => Some(text.parse().context("WEIR_AS")?),
            Err(_) => None,
        };
        let id = self.principal.as_ref().or(from_environment.as_ref()).or(staff.default());
        let id = id.context("who acts? name a principal of weir.toml with --as, or give it a [cli] section")?;
        let known = staff.principals().named(id);
        let principal = known.with_context(|| format!("there is no principal {id} in weir.toml"))?;
        let key = staff.personal_key(id, self.key.as_deref())?;
        let own = principal.key == Some(key.public());
        anyhow::ensure!(own, "the key is not the one that weir.toml lists for {id}; name the right one with --key");
        Ok(Actor { staff, principal, key })
    }

    /// Who acts, if they may do `action`; that they did, or tried to, goes to the audit log.
    pub(super) fn permit<'s>(
        &self,
        staff: &'s Staff,
        action: Action,
        message: Option<MessageId>,
    ) -> anyhow::Result<Actor<'s>> {
        let actor = self.at(staff)?;
        actor.look(action, message)?;
        Ok(actor)
    }
}

impl Actor<'_> {
    /// Looks at something: on disk, for the audit log, before anything is shown.
    pub(super) fn look(&self, action: Action, message: Option<MessageId>) -> anyhow::Result<()> {
        self.leave(Deed::Access { action, message })?;
        if self.may(action) {
            return Ok(());
        }
        let able = self.staff.principals().able(action).into_iter().cloned().collect();
        Err(Denied { by: self.principal.id.clone(), action, able }.into())
    }

    /// Whether a role of theirs permits it.
    pub(super) fn may(&self, action: Action) -> bool {
        self.principal.may(action)
    }

    /// Who.
    pub(super) fn principal(&self) -> &Principal {
        self.principal
    }

    /// Their key.
    pub(super) fn key(&self) -> &PersonalKey {
        &self.key
    }

    /// Hands a deed to the gateway, and waits for up to `patience` until it was performed or refused.
    pub(super) async fn hand_in(&self, deed: Deed, patience: Duration) -> anyhow::Result<Left> {
        let act = self.leave(deed)?;
        let (folder, until) = (self.staff.acts_folder(), Instant::now() + patience);
        loop {
            let left = spool::became(folder, &act);
            if left != Left::Waits || Instant::now() >= until {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Hands a deed to the gateway, signed: performed within a second when it runs, else when it starts.
    pub(super) fn leave(&self, deed: Deed) -> anyhow::Result<Act> {
        let act = Act::new(self.staff.site(), deed, clock::now());
        let signed = act.sign(&self.principal.id, &self.key);
        let folder = self.staff.acts_folder();
        spool::leave(folder, &act, &signed).with_context(|| format!("cannot write to {}", folder.display()))?;
        Ok(act)
    }
}
