//! The folder in which acts wait for the running gateway: `data/acts/` of a site.
//!
//! A command that finds the gateway running cannot write to its store; it leaves the signed act here, on disk before it
//! goes on. The gateway performs what waits, oldest first, and removes it afterwards: a crash in between performs the
//! act again, which changes nothing. What does not count is moved to `refused/`, for a person to look at; so is what can
//! never be performed, since what it is about is damaged: it holds up no other act.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Act, Desk, Outcome, approval};
use crate::fhir::Instant;
use crate::identity::principal::Principals;
use crate::storage::files::{Readers, write_durably};
use crate::storage::{self, Approval, Store};

const EXTENSION: &str = "jws";
const REFUSED: &str = "refused";
/// The longest act that is read.
const LONGEST: u64 = 64 * 1024;

/// Leaves a signed act in `folder`; it is on disk when this returns.
///
/// # Errors
/// What the system says.
pub fn leave(folder: &Path, act: &Act, jws: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let file = folder.join(act.id().to_string()).with_extension(EXTENSION);
    write_durably(&file, jws.as_bytes(), Readers::OwnerOnly)?;
    Ok(file)
}

/// What became of an act that was left in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It waits for the gateway.
    Waits,
    /// It was performed.
    Performed,
    /// It does not count.
    Refused,
}

/// What became of `act`, which was left in `folder`.
pub fn became(folder: &Path, act: &Act) -> Left {
    let name = Path::new(&act.id().to_string()).with_extension(EXTENSION);
    // In this order: it is moved from the one place to the other at once.
    if folder.join(&name).exists() {
        Left::Waits
    } else if folder.join(REFUSED).join(&name).exists() {
        Left::Refused
    } else {
        Left::Performed
    }
}

/// The acts that wait, oldest first: a UUIDv7 begins with its time.
///
/// # Errors
/// What the system says; a folder that is not there holds nothing.
pub fn waiting(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The approvals among the acts that wait.
///
/// # Errors
/// What the system says.
pub fn waiting_approvals(
    folder: &Path,
    principals: &Principals,
    site: &str,
    now: Instant,
) -> io::Result<Vec<Approval>> {
    let mut found = Vec::new();
    for file in waiting(folder)? {
        match read(&file) {
            Ok(jws) => found.extend(approval(&jws, principals, site, now)),
            // The gateway performed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// A signed act; nothing of a file that is too long to be one.
fn read(file: &Path) -> io::Result<String> {
    let jws = if fs::metadata(file)?.len() <= LONGEST { fs::read(file)? } else { Vec::new() };
    Ok(String::from_utf8_lossy(&jws).into_owned())
}

/// Why an act in the folder could not be dealt with now.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The folder or a file in it.
    #[error("the folder of acts cannot be used: {0}")]
    Folder(#[from] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] storage::Error),
}

/// Performs what waits in `folder`; `each` is told of every act, by the name of its file.
///
/// # Errors
/// At the first that cannot be dealt with now; it waits, and so do those behind it.
pub async fn perform_waiting(
    folder: &Path,
    desk: Desk<'_>,
    store: &dyn Store,
    now: fn() -> Instant,
    mut each: impl FnMut(&str, &Outcome),
) -> Result<(), SpoolError> {
    for file in waiting(folder)? {
        let outcome = desk.perform(store, &read(&file)?, now()).await?;
        each(&file.file_stem().unwrap_or_default().to_string_lossy(), &outcome);
        match outcome {
            Outcome::Performed | Outcome::Before => fs::remove_file(&file)?,
            Outcome::Refused(_) => {
                let refused = folder.join(REFUSED);
                fs::create_dir_all(&refused)?;
                fs::rename(&file, refused.join(file.file_name().unwrap_or_default()))?;
            }
        }
    }
    Ok(())
}
