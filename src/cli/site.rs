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
    /// Reads and checks the site.
    pub(super) fn load(&self) -> Result<Site, Faults> {
        Site::load(&self.site)
    }
}
