//! The packages of a site: `packages/NAME-VERSION.tgz`, pinned in `packages.lock`.
//!
//! Invariant: what loads is byte for byte what was added. A file that nobody pinned, a pin without its file and a file
//! with other bytes are faults.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::lock::{self, Lock, Pin};
use super::{Cache, Package, archive, complete, read_all};
use crate::config::faults::{Fault, Faults};
use crate::identity::digest::{hex, sha_256};
use crate::storage::files::{Readers, write_durably};

/// The packages of one site.
#[derive(Debug)]
pub struct PackageStore {
    site: PathBuf,
}

/// A package that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// `NAME#VERSION`
    pub package: String,
    /// The version that it takes the place of.
    pub replaces: Option<String>,
}

/// A package of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha_256: String,
    /// How many JSON files it holds, besides package.json.
    pub files: usize,
    /// `NAME#VERSION` of what it depends on, as it says.
    pub dependencies: Vec<String>,
}

impl PackageStore {
    /// The packages of the site in this folder.
    pub fn of(site: &Path) -> PackageStore {
        PackageStore { site: site.to_owned() }
    }

    /// The pinned packages, those that others need first.
    ///
    /// # Errors
    /// Every file that is not what the lock says, and dependencies that are not pinned.
    pub(in crate::config) fn load(&self) -> Result<Vec<Package>, Faults> {
        complete(self.pinned()?, &Cache(Vec::new()))
    }

    /// The pinned packages, in the order of their names.
    ///
    /// # Errors
    /// As a start of the gateway.
    pub fn list(&self) -> Result<Vec<Listed>, Faults> {
        let listed = |package: &Package| Listed {
            name: package.id.name.clone(),
            version: package.id.version.clone(),
            sha_256: hex(&package.sha_256),
            files: package.files.len().saturating_sub(1),
            dependencies: package.dependencies.iter().map(ToString::to_string).collect(),
        };
        let mut listed: Vec<Listed> = self.load()?.iter().map(listed).collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    /// Adds packages and what they depend on, from the given paths or the caches; pins them.
    ///
    /// # Errors
    /// Nothing is written when a package or a dependency is not there or does not fit.
    pub fn add(&self, sources: &[PathBuf], caches: &[PathBuf]) -> Result<Vec<Addition>, Faults> {
        let cache = Cache::usual(caches);
        let pinned = self.pinned()?;
        let mut packages = read_all(sources, &cache)?;
        let new: BTreeSet<String> = packages.iter().map(|package| package.id.name.clone()).collect();
        let pins: Vec<Pin> = pinned.iter().map(|package| Pin::new(&package.id, &package.sha_256)).collect();
        packages.extend(pinned.into_iter().filter(|package| !new.contains(&package.id.name)));
        let packages = complete(packages, &cache)?;
        self.write(&packages, &pins).map_err(|fault| Faults { faults: vec![fault] })
    }

    fn file(&self, pin: &Pin) -> PathBuf {
        self.site.join(pin.file())
    }

    fn pinned(&self) -> Result<Vec<Package>, Faults> {
        let mut faults = Faults::default();
        let lock = faults.keep(Lock::read(&self.site)).unwrap_or_default();
        faults.keep(self.only_pinned(&lock));
        let packages = lock.pins.iter().filter_map(|pin| faults.keep(self.read_pinned(pin))).collect();
        if faults.faults.is_empty() { Ok(packages) } else { Err(faults) }
    }

    fn read_pinned(&self, pin: &Pin) -> Result<Package, Fault> {
        let Some(id) = pin.id() else {
            return Err(Fault::new(lock::NAME, "a package has no proper name and version", "restore the file"));
        };
        let package = Package::read(&self.file(pin)).map_err(|fault| Fault {
            file: pin.file().display().to_string(),
            hint: "restore the file, or add the package again with weir package add".to_owned(),
            ..fault
        })?;
        if hex(&package.sha_256) != pin.sha256 || package.id != id {
            let text = format!("it is not the {id} that packages.lock pins");
            let hint = "restore the file, or add the package again with weir package add";
            return Err(Fault::new(pin.file().display().to_string(), text, hint));
        }
        Ok(package)
    }

    /// Whether every archive in `packages/` is pinned.
    fn only_pinned(&self, lock: &Lock) -> Result<(), Fault> {
        let pinned: BTreeSet<PathBuf> = lock.pins.iter().map(Pin::file).collect();
        let Ok(entries) = fs::read_dir(self.site.join("packages")) else { return Ok(()) };
        let files = entries.flatten().map(|entry| Path::new("packages").join(entry.file_name()));
        let archives = files.filter(|file| file.extension().is_some_and(|extension| extension == "tgz"));
        match archives.filter(|file| !pinned.contains(file)).min() {
            None => Ok(()),
            Some(file) => {
                let hint = "add it with weir package add, or remove the file";
                Err(Fault::new(file.display().to_string(), "the package is not pinned in packages.lock", hint))
            }
        }
    }

    fn write(&self, packages: &[Package], pinned: &[Pin]) -> Result<Vec<Addition>, Fault> {
        let folder = self.site.join("packages");
        let unwritable = |error: std::io::Error| Fault::new("packages", error, "check who may write to the site");
        fs::create_dir_all(&folder).map_err(unwritable)?;
        let (mut lock, mut additions) = (Lock::default(), Vec::new());
        for package in packages {
            let old = pinned.iter().find(|old| old.name == package.id.name);
            // The file is packed anew, so that a site holds definitions and nothing else of a package.
            let bytes = archive::pack(&package.files).map_err(unwritable)?;
            let pin = Pin::new(&package.id, &sha_256(&bytes));
            if old.is_none_or(|old| old.sha256 != pin.sha256) {
                write_durably(&self.file(&pin), &bytes, Readers::Anyone).map_err(unwritable)?;
                let replaces = old.map(|old| old.version.clone());
                additions.push(Addition { package: package.id.to_string(), replaces });
            }
            lock.pins.push(pin);
        }
        lock.write(&self.site)?;
        for old in pinned {
            if !lock.pins.iter().any(|pin| pin.file() == old.file()) {
                fs::remove_file(self.file(old)).map_err(unwritable)?;
            }
        }
        Ok(additions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A `.tgz` of a package, and its path.
    fn archive_of(folder: &Path, name: &str, version: &str, rest: &str) -> PathBuf {
        let manifest = format!(r#"{{"name":"{name}","version":"{version}"{rest}}}"#);
        let definition = format!(r#"{{"resourceType":"ValueSet","url":"https://x/{name}"}}"#);
        let files = [("package.json", manifest), ("ValueSet-a.json", definition)];
        let files: BTreeMap<_, _> =
            files.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect();
        let path = folder.join(format!("{name}.tgz"));
        write_durably(&path, &archive::pack(&files).expect("it is packed"), Readers::Anyone).expect("it is written");
        path
    }

    fn added(additions: &[Addition]) -> Vec<&str> {
        additions.iter().map(|addition| addition.package.as_str()).collect()
    }

    #[test]
    fn what_is_added_is_pinned_and_loads_again() {
        let (site, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let store = PackageStore::of(site.path());
        assert_eq!(store.list().expect("there is nothing to be wrong"), []);
        let low = archive_of(elsewhere.path(), "low", "1.0.0", "");
        let top = archive_of(elsewhere.path(), "top", "1.0.0", r#","dependencies":{"low":"1.0.x"}"#);
        let faults = store.add(std::slice::from_ref(&top), &[]).expect_err("low is missing");
        assert!(faults.faults[0].text.contains("depends on low#1.0.x"), "{faults}");
        assert!(!site.path().join("packages").exists());
        assert_eq!(added(&store.add(&[low], &[]).expect("it is added")), ["low#1.0.0"]);
        assert_eq!(added(&store.add(&[top], &[]).expect("low is there now")), ["top#1.0.0"]);
        let listed = store.list().expect("both are there");
        let rows: Vec<_> = listed.iter().map(|row| (row.name.as_str(), row.files, row.dependencies.len())).collect();
        assert_eq!(rows, [("low", 1, 0), ("top", 1, 1)]);
        let loaded = store.load().expect("both load");
        assert_eq!(loaded.iter().map(|package| package.id.name.as_str()).collect::<Vec<_>>(), ["low", "top"]);
    }

    #[test]
    fn another_version_takes_the_place_of_the_one_before() {
        let (site, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let store = PackageStore::of(site.path());
        store.add(&[archive_of(elsewhere.path(), "a", "1.0.0", "")], &[]).expect("it is added");
        let second = store.add(&[archive_of(elsewhere.path(), "a", "2.0.0", "")], &[]).expect("it is added");
        assert_eq!(second, [Addition { package: "a#2.0.0".to_owned(), replaces: Some("1.0.0".to_owned()) }]);
        assert_eq!(fs::read_dir(site.path().join("packages")).expect("it is there").count(), 1);
        assert_eq!(store.add(&[archive_of(elsewhere.path(), "a", "2.0.0", "")], &[]).expect("it is there"), []);
    }

    #[test]
    fn a_file_that_changed_went_or_came_is_a_fault() {
        let (site, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let store = PackageStore::of(site.path());
        store.add(&[archive_of(elsewhere.path(), "a", "1.0.0", "")], &[]).expect("it is added");
        let file = site.path().join("packages/a-1.0.0.tgz");
        fs::copy(archive_of(elsewhere.path(), "a", "1.0.0", r#","title":"b""#), &file).expect("it is replaced");
        let faults = store.load().expect_err("it is another file").faults;
        assert_eq!(faults[0].file, "packages/a-1.0.0.tgz");
        assert!(faults[0].text.contains("not the a#1.0.0"), "{faults:?}");
        fs::rename(&file, site.path().join("packages/b-1.0.0.tgz")).expect("it is renamed");
        let faults = store.load().expect_err("one is gone, one is new").faults;
        assert_eq!((faults.len(), faults[0].file.as_str()), (2, "packages/b-1.0.0.tgz"));
        assert!(faults[1].hint.contains("weir package add"), "{faults:?}");
    }
}
