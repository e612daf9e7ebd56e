//! `[[folders]]` of `weir.toml`: folders whose files are taken as records.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::faults::Fault;
use super::site::{Files, SITE};
use crate::identity::principal::{Action, Principals};
use crate::identity::{InterfaceName, PrincipalId};
use crate::pipeline::Stages;
use crate::server::{FolderFormat, WatchedFolder};

/// A folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Folder {
    /// Where it is; the gateway makes `done/` and `failed/` in it.
    pub(super) path: PathBuf,
    /// The interface that its records are for; for `hl7v2` left out: [hl7v2.interfaces] says it by message type.
    pub(super) interface: Option<InterfaceName>,
    pub(super) format: Format,
    /// As whom its files are submitted: a principal with a role that permits submit. One that only folders name needs neither
    /// certificate nor key.
    pub(super) principal: PrincipalId,
    /// How long a file must stay as it is before it is taken. Default 2.
    #[serde(default = "two")]
    pub(super) settle_seconds: u64,
    /// Takes each record through all stages, reports, and sends nothing. Default false.
    #[serde(default)]
    pub(super) dry_run: bool,
}

fn two() -> u64 {
    2
}

/// What its files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Ndjson,
    Csv,
    Hl7v2,
    Fhir,
}

/// Checks that no folder is another, or stands in another: each file is taken once.
pub(super) fn check_apart(folders: &[WatchedFolder]) -> Result<(), Vec<Fault>> {
    let real = |folder: &WatchedFolder| folder.path.canonicalize().unwrap_or_else(|_| folder.path.clone());
    let paths: Vec<PathBuf> = folders.iter().map(real).collect();
    let pairs = paths.iter().enumerate().flat_map(|(at, one)| paths[at + 1..].iter().map(move |other| (one, other)));
    let overlapping = pairs.filter(|(one, other)| one.starts_with(other) || other.starts_with(one));
    let fault = |(one, other): (&PathBuf, &PathBuf)| {
        let text = format!("folders {} overlaps with {}", other.display(), one.display());
        Fault::new(SITE, text, "give each of [[folders]] a folder of its own, none inside another")
    };
    let faults: Vec<Fault> = overlapping.map(fault).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

impl Folder {
    /// Checks that its files can be taken.
    pub(super) fn check(
        &self,
        files: &Files,
        principals: &Principals,
        stages: &Stages,
    ) -> Result<WatchedFolder, Vec<Fault>> {
        let mut faults = Vec::new();
        let shown = self.path.display().to_string();
        let mut fault =
            |text: String, hint: &str| faults.push(Fault::new(SITE, format!("folders {shown}: {text}"), hint));
        let path = files.path(&self.path);
        match fs::metadata(&path) {
            Ok(found) if !found.is_dir() => fault("this is no folder".to_owned(), "name a folder"),
            Ok(found) if found.permissions().mode() & 0o002 != 0 => {
                fault("everyone may write to it, and would submit records".to_owned(), "chmod o-w");
            }
            Ok(_) => {}
            Err(error) => fault(error.to_string(), "make the folder, writable for the gateway's user"),
        }
        match principals.named(&self.principal) {
            None => fault(format!("there is no principal {}", self.principal), "add it to [[principals]]"),
            Some(principal) if !principal.may(Action::Submit) => {
                fault(format!("no role of {} permits submit", self.principal), "give it the role record-system");
            }
            Some(_) => {}
        }
        let interface = self.interface.as_ref().map(|name| (name, stages.interfaces.get(name)));
        match (self.format, interface) {
            (Format::Hl7v2, None) => {}
            (Format::Hl7v2, Some(_)) => {
                fault(
                    "messages of HL7 v2 go by their type".to_owned(),
                    "leave interface out; [hl7v2.interfaces] has it",
                );
            }
            (_, None) => fault("there is no interface".to_owned(), "name one of [interfaces]"),
            (_, Some((name, None))) => fault(format!("there is no interface {name}"), "name one of [interfaces]"),
            (Format::Fhir, Some((name, Some(found)))) if found.model.is_some() => {
                fault(format!("{name} reads records of a logical model, not FHIR"), "write format = \"json\"");
            }
            (Format::Csv | Format::Json | Format::Ndjson, Some((name, Some(found)))) if found.model.is_none() => {
                fault(format!("{name} reads FHIR resources"), "write format = \"fhir\"");
            }
            _ => {}
        }
        if !(1..=3600).contains(&self.settle_seconds) {
            fault("settle_seconds is out of range".to_owned(), "write 1 to 3600");
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(WatchedFolder {
            path,
            interface: self.interface.clone(),
            format: match self.format {
                Format::Json => FolderFormat::Json,
                Format::Ndjson => FolderFormat::Ndjson,
                Format::Csv => FolderFormat::Csv,
                Format::Hl7v2 => FolderFormat::Hl7v2,
                Format::Fhir => FolderFormat::Fhir,
            },
            principal: self.principal.clone(),
            settle: Duration::from_secs(self.settle_seconds),
            dry_run: self.dry_run,
        })
    }
}
