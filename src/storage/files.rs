//! Files that are there whole or not at all, also after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Who may read a file besides its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Anyone that the folder lets in (mode 0644, less the umask).
    Anyone,
    /// Nobody (mode 0600): keys, payloads.
    OwnerOnly,
}

/// Writes `bytes` to `path`, replacing what was there. When this returns, content and name are on disk.
///
/// # Errors
/// What the system says; `path` is then as it was before.
pub fn write_durably(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let mode = if readers == Readers::OwnerOnly { 0o600 } else { 0o644 };
    let mut scratch_name = std::ffi::OsString::from(".");
    scratch_name.push(name);
    scratch_name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let scratch = folder.join(scratch_name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&scratch)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&scratch, path)
    })();
    if written.is_err() {
        let _nothing_was_there = fs::remove_file(&scratch);
    }
    written?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        write_durably(&path, b"one, and longer", Readers::Anyone).expect("it is written");
        write_durably(&path, b"two", Readers::OwnerOnly).expect("it is replaced");
        assert_eq!(fs::read(&path).expect("it is there"), b"two");
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder is there").count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(write_durably(&folder.path().join("b/a"), b"", Readers::Anyone).is_err());
    }
}
