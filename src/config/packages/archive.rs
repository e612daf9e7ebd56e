//! The files of a FHIR package, read into memory: a `.tgz` as registries publish it, or a folder.
//!
//! Enters: a path from the operator, bytes from a stranger. Leaves: the JSON files that stand directly in `package/`.
//! Invariant: nothing is written, no entry outside the package is read, links and devices are refused, and no archive
//! makes the program hold more than [`Limits::unpacked`] bytes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::config::faults::Fault;
use crate::identity::digest::sha_256;

/// What a package may at most be.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Limits {
    /// Bytes of the archive; default 256 MiB.
    pub(in crate::config) packed: u64,
    /// Bytes of everything in it, whether it is kept or not; default 1 GiB.
    pub(in crate::config) unpacked: u64,
    /// Bytes of one file; default 64 MiB.
    pub(in crate::config) file: u64,
    /// Number of entries; default 50,000.
    pub(in crate::config) entries: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { packed: 256 << 20, unpacked: 1 << 30, file: 64 << 20, entries: 50_000 }
    }
}

/// JSON files by name, and what identifies them.
#[derive(Debug)]
pub(in crate::config) struct Contents {
    pub(in crate::config) files: BTreeMap<String, Vec<u8>>,
    /// Of the archive; of a folder, over the names and hashes of its files.
    pub(in crate::config) sha_256: [u8; 32],
}

/// Reads a package from a `.tgz` or a folder.
///
/// # Errors
/// A [`Fault`] that names the path: what cannot be read, is not a package, or is more than the limits allow.
pub(in crate::config) fn read(path: &Path, limits: &Limits) -> Result<Contents, Fault> {
    let shown = path.display().to_string();
    if path.is_dir() {
        let files = folder(path, limits).map_err(|error| fault(&shown, &error))?;
        let rows = files.iter().map(|(name, bytes)| format!("{name} {:?}\n", sha_256(bytes)));
        let sha_256 = sha_256(rows.collect::<String>().as_bytes());
        return Ok(Contents { files, sha_256 });
    }
    let bytes = bounded_file(path, limits.packed).map_err(|error| fault(&shown, &error))?;
    let files = unpack(&bytes, limits).map_err(|error| fault(&shown, &error))?;
    Ok(Contents { files, sha_256: sha_256(&bytes) })
}

fn fault(path: &str, error: &io::Error) -> Fault {
    let hint = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => "check the path and who may read it",
        io::ErrorKind::FileTooLarge => {
            "this is no package that Weir loads; if it is needed, leave examples out and pack it again"
        }
        _ => "fetch the package again from its registry; it must be a gzipped tar with a folder package/",
    };
    Fault::new(path, error, hint)
}

/// The JSON files of a folder, or of the folder `package` in it.
fn folder(path: &Path, limits: &Limits) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let inner = path.join("package");
    let path = if inner.join("package.json").is_file() { inner } else { path.to_owned() };
    let mut files = BTreeMap::new();
    let mut left = limits.unpacked;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_kept(&name) && entry.path().is_file() {
            let bytes = bounded_file(&entry.path(), limits.file.min(left))?;
            left -= bytes.len() as u64;
            files.insert(name, bytes);
        }
        if files.len() > limits.entries {
            return Err(too_large("it has too many files"));
        }
    }
    Ok(files)
}

fn is_kept(name: &str) -> bool {
    name.ends_with(".json") && !name.starts_with('.')
}

fn too_large(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, what)
}

fn bounded_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large("it is larger than a package may be")) } else { Ok(bytes) }
}

/// A reader that fails, instead of ending, after a number of bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| too_large("it unpacks to more than a package may hold"))?;
        Ok(read)
    }
}

fn unpack(bytes: &[u8], limits: &Limits) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut archive = tar::Archive::new(Bounded { inner: GzDecoder::new(bytes), left: limits.unpacked });
    let mut files = BTreeMap::new();
    for (number, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        if number >= limits.entries {
            return Err(too_large("it has too many entries"));
        }
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() {
            return Err(io::Error::other("it holds a link or a device, which no package needs"));
        }
        let Some(name) = name_in_package(&entry.path()?)? else { continue };
        if entry.size() > limits.file {
            return Err(too_large("it holds a file that is larger than a definition may be"));
        }
        let mut file = Vec::new();
        entry.read_to_end(&mut file)?;
        if files.insert(name, file).is_some() {
            return Err(io::Error::other("it holds one file twice"));
        }
    }
    Ok(files)
}

/// The name of a JSON file that stands directly in `package/`; nothing for other files of the archive.
fn name_in_package(path: &Path) -> io::Result<Option<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or_else(|| io::Error::other("it holds a name that is not UTF-8"))?)
            }
            _ => return Err(io::Error::other("it holds a path that leads out of it")),
        }
    }
    Ok(match names.as_slice() {
        ["package", name] if is_kept(name) => Some((*name).to_owned()),
        _ => None,
    })
}

/// A `.tgz` of these files: the same files give the same bytes.
pub(in crate::config) fn pack(files: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::default()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("package/{name}"), bytes.as_slice())?;
    }
    archive.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive with entries as they are, also such as no tool writes.
    fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (path, kind, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, *bytes).expect("it is appended");
        }
        archive.into_inner().and_then(GzEncoder::finish).expect("it is packed")
    }

    fn refusal(entries: &[(&str, tar::EntryType, &[u8])], limits: &Limits) -> String {
        unpack(&archive(entries), limits).expect_err("it is refused").to_string()
    }

    #[test]
    fn what_is_packed_is_read_again_and_nothing_else() {
        let files =
            BTreeMap::from([("a.json".to_owned(), b"{}".to_vec()), ("package.json".to_owned(), b"[]".to_vec())]);
        let packed = pack(&files).expect("it is packed");
        assert_eq!(unpack(&packed, &Limits::default()).expect("it is read"), files);
        assert_eq!(packed, pack(&files).expect("it is packed"));
        let file = tar::EntryType::Regular;
        let mixed = archive(&[
            ("./package/a.json", file, b"1"),
            ("package/example/b.json", file, b"2"),
            ("package/c.txt", file, b"3"),
            ("package/.index.json", file, b"4"),
            ("other/d.json", file, b"5"),
        ]);
        let read = unpack(&mixed, &Limits::default()).expect("it is read");
        assert_eq!(read, BTreeMap::from([("a.json".to_owned(), b"1".to_vec())]));
    }

    #[test]
    fn hostile_archives_are_refused() {
        let (file, all) = (tar::EntryType::Regular, Limits::default());
        assert!(refusal(&[("package/../../a.json", file, b"")], &all).contains("leads out"));
        assert!(refusal(&[("/package/a.json", file, b"")], &all).contains("leads out"));
        assert!(refusal(&[("package/a.json", tar::EntryType::Symlink, b"")], &all).contains("link"));
        assert!(refusal(&[("package/a.json", tar::EntryType::Link, b"")], &all).contains("link"));
        assert!(refusal(&[("package/a.json", file, b"1"), ("package/a.json", file, b"2")], &all).contains("twice"));
        let zeros = vec![0; 1 << 20];
        let bomb = refusal(&[("elsewhere", file, &zeros)], &Limits { unpacked: 1 << 16, ..all });
        assert!(bomb.contains("unpacks to more"), "{bomb}");
        let large = refusal(&[("package/a.json", file, &zeros)], &Limits { file: 1 << 16, ..all });
        assert!(large.contains("larger than a definition"), "{large}");
        let many =
            refusal(&[("package/a.json", file, b""), ("package/b.json", file, b"")], &Limits { entries: 1, ..all });
        assert!(many.contains("too many"), "{many}");
    }

    #[test]
    fn no_cut_of_an_archive_panics_or_is_read() {
        let whole = archive(&[("package/a.json", tar::EntryType::Regular, b"{\"a\":1}")]);
        for end in 0..whole.len() - 8 {
            assert!(
                unpack(&whole[..end], &Limits::default())
                    .map_or(true, |files| files.is_empty() || files["a.json"] == b"{\"a\":1}")
            );
        }
        assert!(unpack(b"no archive", &Limits::default()).is_err());
    }

    #[test]
    fn a_file_that_is_not_there_says_where_and_what_to_do() {
        let fault = read(Path::new("nowhere.tgz"), &Limits::default()).expect_err("it is not there");
        assert_eq!((fault.file.as_str(), fault.hint.as_str()), ("nowhere.tgz", "check the path and who may read it"));
    }
}
