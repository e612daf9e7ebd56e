//! The `--site` option that most verbs share.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Faults, Site};

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
}
