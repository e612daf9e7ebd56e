//! The files of a watched folder: which may be taken, how they are opened and made, and what they are called when they are put away.
//!
//! Invariants: nothing is opened or made through a link, and opening waits for nobody; no name is longer than a name may be.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

/// What follows a file's name in the name of its report.
const REPORT: &str = ".report.ndjson";

/// Bytes that a name may have.
const LONGEST_NAME: usize = 255;

/// What tells whether a file is as it was: size, time and inode.
pub(super) type State = (u64, SystemTime, u64);

/// The files that may be taken: no hidden ones, none that is still being written under another name, no links. And how many
/// there are whose names are not UTF-8.
pub(super) fn files(folder: &Path) -> io::Result<(BTreeMap<String, State>, usize)> {
    let (mut found, mut unnamed) = (BTreeMap::new(), 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            unnamed += 1;
            continue;
        };
        let unfinished = ["tmp", "part", "partial", "filepart", "swp"];
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
        if name.starts_with('.') || name.ends_with('~') || unfinished.contains(&ending.as_str()) {
            continue;
        }
        // One that is gone by now was another's.
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
        if metadata.is_file() {
            found.insert(name, state_of(&metadata)?);
        }
    }
    Ok((found, unnamed))
}

pub(super) fn state_of(metadata: &fs::Metadata) -> io::Result<State> {
    Ok((metadata.len(), metadata.modified()?, metadata.ino()))
}

/// Opens what stands at `path` itself: through no link, and waiting for nobody, as a pipe would.
pub(super) fn open(path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | more;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Makes a file in the place of whatever has its name; through no link.
pub(super) fn anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)
}

/// The name that a file is put away under, and that of its report: with a number behind the first, and cut where they would
/// be too long. A report whose name is cut has the file's digest in it.
pub(super) fn names(name: &str, digest: &str, number: u32) -> (String, String) {
    let mark = if number == 1 { String::new() } else { format!("-{number}") };
    // What is long is no ending.
    let dot = name.rfind('.').filter(|dot| name.len() - dot <= 32).unwrap_or(name.len());
    let (stem, ending) = name.split_at(dot);
    let name = format!("{}{mark}{ending}", cut(stem, LONGEST_NAME - mark.len() - ending.len()));
    let report = if name.len() + REPORT.len() <= LONGEST_NAME {
        format!("{name}{REPORT}")
    } else {
        let behind = format!("-{}{mark}{REPORT}", &digest[..16]);
        format!("{}{behind}", cut(&name, LONGEST_NAME - behind.len()))
    };
    (name, report)
}

/// The beginning of a text: at most so many bytes, whole letters.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_whole_yet_are_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["a.json", "b.JSON", ".hidden.json", "c.json.tmp", "d.PART", "e.filepart", "f.json~", "done.json"] {
            crate::storage::files::write_durably(
                &folder.path().join(name),
                b"{}",
                crate::storage::files::Readers::Anyone,
            )
            .expect("it is written");
        }
        fs::create_dir(folder.path().join("done")).expect("it is made");
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link.json")).expect("it is made");
        let (found, _) = files(folder.path()).expect("it is read");
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["a.json", "b.JSON", "done.json"]);
    }

    #[test]
    fn names_are_no_longer_than_a_name_may_be() {
        let digest = "0123456789abcdef0123";
        let named = |name: &str, number| names(name, digest, number);
        assert_eq!(named("a.b.csv", 1), ("a.b.csv".to_owned(), "a.b.csv.report.ndjson".to_owned()));
        assert_eq!(named("a.b.csv", 2), ("a.b-2.csv".to_owned(), "a.b-2.csv.report.ndjson".to_owned()));
        assert_eq!(named("a", 3), ("a-3".to_owned(), "a-3.report.ndjson".to_owned()));
        for long in ["x".repeat(250) + ".json", "é".repeat(127), format!("a.{}", "y".repeat(253))] {
            let mut found = std::collections::BTreeSet::new();
            for number in [1, 2, 10, 1000] {
                let (name, report) = named(&long, number);
                assert!(name.len() <= 255 && report.len() <= 255, "{name} {report}");
                assert!(number > 1 || name == long, "it keeps its name");
                assert!(report.contains(&digest[..16]) && report.ends_with(REPORT), "{report}");
                assert!(found.insert(name) && found.insert(report));
            }
        }
    }
}
