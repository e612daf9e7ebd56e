//! Where the watched folders stand, as `/readyz` tells it.
//!
//! Enters: how each look at a folder ended. Leaves: for each folder whether it can be read, what waits in it, and which of its
//! files are stuck. Invariant: a file is told by the SHA-256 of its name, never by the name, which may hold a person's.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::time::Instant;

/// Stuck files of one folder that are listed; all are counted.
const MOST_LISTED: usize = 20;

/// Every watched folder, by its path.
#[derive(Debug, Default)]
pub(in crate::server) struct Standings(Mutex<BTreeMap<String, Standing>>);

/// Where a folder stands since the last look at it.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Why its files are not taken; nothing while they are.
    pub(super) trouble: Option<Trouble>,
    /// Files that have settled and could not be taken yet, those without a readable name too.
    pub(super) waiting: usize,
    /// Files that are left alone, since their names are not UTF-8.
    pub(super) unnamed: usize,
    /// Files that could not be taken.
    pub(super) stuck: Vec<Stuck>,
}

/// Why the files of a folder are not taken.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The gateway takes no more for now, or stops.
    PutOff(String),
    /// The folder cannot be read.
    Unreadable(String),
}

/// A file that could not be taken.
#[derive(Clone, Debug)]
pub(super) struct Stuck {
    /// The beginning of the SHA-256 of its name, in hex.
    pub(super) name: String,
    /// Why, as the system says it.
    pub(super) why: String,
    /// How often it was tried.
    pub(super) failures: u32,
    /// Until when it is left alone.
    pub(super) until: Instant,
}

impl Standings {
    pub(super) fn note(&self, folder: String, standing: Standing) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(folder, standing);
    }

    /// The folders as JSON, by path.
    pub(in crate::server) fn shown(&self) -> Vec<Value> {
        let now = Instant::now();
        let standings = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        standings.iter().map(|(folder, standing)| standing.shown(folder, now)).collect()
    }
}

impl Standing {
    fn shown(&self, folder: &str, now: Instant) -> Value {
        let (state, why, hint) = match &self.trouble {
            None if self.stuck.is_empty() => ("taken", None, None),
            None => (
                "some-stuck",
                None,
                Some("see why at each; what was in the way may be removed, and the file is tried again"),
            ),
            Some(Trouble::PutOff(why)) => {
                ("put-off", Some(why), Some("nothing is lost: the files are taken when there is room"))
            }
            Some(Trouble::Unreadable(why)) => (
                "unreadable",
                Some(why),
                Some("let the gateway's user read, write and enter the folder, or make it again"),
            ),
        };
        let stuck = self.stuck.iter().take(MOST_LISTED).map(|file| {
            let again = file.until.saturating_duration_since(now).as_secs();
            json!({ "nameSha256": file.name, "why": file.why, "failures": file.failures, "againInSeconds": again })
        });
        json!({
            "folder": folder,
            "state": state,
            "why": why,
            "hint": hint,
            "waiting": self.waiting,
            "unnamed": self.unnamed,
            "stuckFiles": self.stuck.len(),
            "stuck": stuck.collect::<Vec<_>>(),
        })
    }
}
