//! FHIR packages: found, read, and with all they depend on.
//!
//! Enters: paths of `.tgz` files and folders, or `NAME#VERSION` of the usual package cache. Leaves: [`Package`]s, each
//! after those it depends on. Invariant: every dependency is there in a version that fits, or the load fails with its
//! name. R4 itself (`hl7.fhir.r4.core`) is built in; the cores of other FHIR versions, which some R4 packages name for
//! their cross-version extensions, are left out.

mod archive;
mod lock;
mod store;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::archive::Limits;
pub use self::store::{Addition, Listed, PackageStore};
use super::builtin::TextFile;
use super::faults::{Fault, Faults};

/// A package, read.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) id: PackageId,
    /// Name and version of what it needs.
    pub(super) dependencies: Vec<PackageId>,
    /// Its JSON files by name, `package.json` too.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) sha_256: [u8; 32],
}

/// Name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackageId {
    /// `fhir.r4.ukcore.stu2`.
    pub(super) name: String,
    /// `2.0.1`; in a dependency also `2.0.x`, `current`, `latest`, `dev`.
    pub(super) version: String,
}

impl std::fmt::Display for PackageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.name, self.version)
    }
}

/// `package.json`, as far as it is read.
#[derive(Debug, Deserialize)]
struct Manifest {
    name: String,
    version: String,
    #[serde(default, rename = "fhirVersions")]
    fhir_versions: Vec<String>,
    #[serde(default, rename = "fhir-version-list")]
    older_fhir_versions: Vec<String>,
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
}

impl PackageId {
    /// `NAME#VERSION`.
    fn parse(text: &str) -> Option<PackageId> {
        let (name, version) = text.split_once('#')?;
        let id = PackageId { name: name.to_owned(), version: version.to_owned() };
        (is_name(name) && is_name(version)).then_some(id)
    }

    /// Whether `version` is one that this dependency asks for.
    fn takes(&self, version: &str) -> bool {
        match self.version.strip_suffix('x').or_else(|| self.version.strip_suffix('*')) {
            Some(start) => version.starts_with(start),
            None => self.version == version || matches!(self.version.as_str(), "current" | "latest" | "dev"),
        }
    }

    /// R4 itself, which is built in, or the core of another FHIR version.
    fn is_core(&self) -> bool {
        let release = self.name.strip_prefix("hl7.fhir.r").and_then(|rest| rest.strip_suffix(".core"));
        release.is_some_and(|release| release.starts_with(|letter: char| letter.is_ascii_digit()))
    }
}

/// Letters, digits, `.`, `-`, `_`, and no `..`: safe in a file name.
fn is_name(text: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | '+');
    !text.is_empty() && text.len() <= 200 && !text.starts_with('.') && !text.contains("..") && text.chars().all(is_part)
}

impl Package {
    /// Reads a package from a `.tgz` or a folder.
    fn read(path: &Path) -> Result<Package, Fault> {
        let contents = archive::read(path, &Limits::default())?;
        let shown = path.display().to_string();
        let Some(manifest) = contents.files.get("package.json") else {
            let hint = "give a package as a registry publishes it, or a folder that holds one";
            return Err(Fault::new(shown, "it is no FHIR package: there is no package/package.json", hint));
        };
        let manifest: Manifest = serde_json::from_slice(manifest)
            .map_err(|error| Fault::new(&*shown, format!("package.json: {error}"), "fetch the package again"))?;
        let id = PackageId { name: manifest.name, version: manifest.version };
        if !is_name(&id.name) || !is_name(&id.version) {
            return Err(Fault::new(shown, "package.json has no proper name and version", "fetch the package again"));
        }
        let versions = [manifest.fhir_versions, manifest.older_fhir_versions].concat();
        if !versions.is_empty() && !versions.iter().any(|version| version.starts_with("4.0")) {
            let text = format!("{id} is for FHIR {}, not for R4 (4.0.1)", versions.join(", "));
            return Err(Fault::new(shown, text, "use the package's edition for R4"));
        }
        let wanted = manifest.dependencies.into_iter().map(|(name, version)| PackageId { name, version });
        let dependencies = wanted.filter(|wanted| !wanted.is_core()).collect();
        Ok(Package { id, dependencies, files: contents.files, sha_256: contents.sha_256 })
    }

    /// Its definitions as text files, named with the package.
    pub(super) fn texts(&self) -> Result<Vec<TextFile>, Fault> {
        let named = self.files.iter().filter(|(name, _)| *name != "package.json");
        let read = |(name, bytes): (&String, &Vec<u8>)| {
            let shown = format!("{} {name}", self.id);
            match String::from_utf8(bytes.clone()) {
                Ok(text) => Ok((shown, text)),
                Err(_) => Err(Fault::new(shown, "the file is not UTF-8", "fetch the package again")),
            }
        };
        named.map(read).collect()
    }
}

/// Where packages are looked for by name: folders named `NAME#VERSION`.
#[derive(Clone, Debug)]
pub(super) struct Cache(Vec<PathBuf>);

impl Cache {
    /// These folders, and the usual package cache of this user, `~/.fhir/packages`.
    pub(super) fn usual(folders: &[PathBuf]) -> Cache {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".fhir/packages"));
        Cache(folders.iter().cloned().chain(home).collect())
    }

    /// The folder of the highest version that fits.
    fn find(&self, wanted: &PackageId) -> Option<PathBuf> {
        self.0.iter().find_map(|folder| {
            let exact = folder.join(wanted.to_string());
            if exact.join("package/package.json").is_file() {
                return Some(exact);
            }
            let fitting = fs::read_dir(folder).ok()?.filter_map(|entry| {
                let entry = entry.ok()?;
                let id = PackageId::parse(entry.file_name().to_str()?)?;
                (id.name == wanted.name && wanted.takes(&id.version)).then(|| (order(&id.version), entry.path()))
            });
            fitting.max().map(|(_, path)| path)
        })
    }
}

/// Versions by their numbers; a pre-release (`2.0.0-beta`) stands before its release.
fn order(version: &str) -> (Vec<u64>, bool, String) {
    let (numbers, rest) = version.split_once('-').unwrap_or((version, ""));
    (numbers.split('.').map(|part| part.parse().unwrap_or(0)).collect(), rest.is_empty(), rest.to_owned())
}

/// Whether a path names a FHIR package, not a plain folder of definitions.
pub(super) fn is_package(path: &Path) -> bool {
    if path.is_dir() {
        return path.join("package/package.json").is_file()
            || path.join("package.json").is_file() && !has_definitions_apart(path);
    }
    let is_archive = path.extension().is_some_and(|extension| extension == "tgz" || extension == "gz");
    path.is_file() || is_archive || path.to_str().is_some_and(|text| PackageId::parse(text).is_some())
}

/// A repository of definitions has a package.json too, but its definitions in folders of their own.
fn has_definitions_apart(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|entries| {
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        !names.into_iter().any(|name| name.ends_with(".json") && name != "package.json" && !name.starts_with('.'))
    })
}

/// Reads packages and, from the cache, what they depend on and is not among them. Each stands after what it needs.
///
/// # Errors
/// Packages that cannot be read, one name in two versions, dependencies that are nowhere.
pub(super) fn resolve(sources: &[PathBuf], cache: &Cache) -> Result<Vec<Package>, Faults> {
    complete(read_all(sources, cache)?, cache)
}

/// The packages at these paths, or of these names in the cache.
fn read_all(sources: &[PathBuf], cache: &Cache) -> Result<Vec<Package>, Faults> {
    let mut faults = Faults::default();
    let mut packages: Vec<Package> = Vec::new();
    for source in sources {
        let named = source.to_str().and_then(PackageId::parse).filter(|_| !source.exists());
        let path = match named {
            None => Some(source.clone()),
            Some(id) => {
                let hint = "put it into the package cache (~/.fhir/packages), or give its .tgz file";
                let nowhere = || Fault::new(id.to_string(), "there is no such package in the cache", hint);
                faults.keep(cache.find(&id).ok_or_else(nowhere))
            }
        };
        let read = path.and_then(|path| faults.keep(Package::read(&path)));
        read.into_iter().for_each(|package| add(&mut packages, package, &mut faults));
    }
    if faults.faults.is_empty() { Ok(packages) } else { Err(faults) }
}

/// Adds what packages depend on, and sorts.
fn complete(mut packages: Vec<Package>, cache: &Cache) -> Result<Vec<Package>, Faults> {
    let mut faults = Faults::default();
    let mut at = 0;
    while at < packages.len() {
        let (needs, by) = (packages[at].dependencies.clone(), packages[at].id.clone());
        for wanted in needs {
            if packages.iter().any(|package| package.id.name == wanted.name) {
                continue;
            }
            let found = cache.find(&wanted).ok_or_else(|| missing(&by, &wanted));
            let read = faults.keep(found).and_then(|path| faults.keep(Package::read(&path)));
            read.into_iter().for_each(|package| add(&mut packages, package, &mut faults));
        }
        at += 1;
    }
    check_versions(&packages, &mut faults);
    if faults.faults.is_empty() { Ok(sorted(packages)) } else { Err(faults) }
}

fn missing(by: &PackageId, wanted: &PackageId) -> Fault {
    let text = format!("it depends on {wanted}, which is not there");
    Fault::new(by.to_string(), text, "give that package too, or put it into the package cache (~/.fhir/packages)")
}

fn add(packages: &mut Vec<Package>, package: Package, faults: &mut Faults) {
    match packages.iter().find(|other| other.id.name == package.id.name) {
        None => packages.push(package),
        Some(other) if other.sha_256 == package.sha_256 => {}
        Some(other) => {
            let text = format!("{} is given beside {}", package.id, other.id);
            faults.faults.push(Fault::new(package.id.name, text, "keep one of the two"));
        }
    }
}

/// Faults for dependencies that are not there, or in a version that does not fit.
fn check_versions(packages: &[Package], faults: &mut Faults) {
    for package in packages {
        for wanted in &package.dependencies {
            let text = match packages.iter().find(|other| other.id.name == wanted.name) {
                Some(other) if wanted.takes(&other.id.version) => continue,
                Some(other) => format!("it depends on {wanted}, and {} is there", other.id),
                // Said when it was looked for.
                None => continue,
            };
            faults.faults.push(Fault::new(package.id.to_string(), text, "give the version that it asks for"));
        }
    }
}

/// Dependencies first; packages that need each other keep the order they were found in.
fn sorted(packages: Vec<Package>) -> Vec<Package> {
    let mut rest = packages;
    let mut sorted: Vec<Package> = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let waiting: HashSet<&str> = rest.iter().map(|package| package.id.name.as_str()).collect();
        let is_ready = |package: &Package| !package.dependencies.iter().any(|wanted| waiting.contains(&*wanted.name));
        let next = rest.iter().position(is_ready).unwrap_or(0);
        sorted.push(rest.remove(next));
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package in a cache folder.
    fn package(cache: &Path, name: &str, version: &str, rest: &str) -> PathBuf {
        let folder = cache.join(format!("{name}#{version}"));
        fs::create_dir_all(folder.join("package")).expect("a folder");
        let manifest = format!(r#"{{"name":"{name}","version":"{version}"{rest}}}"#);
        crate::storage::files::write_durably(
            &folder.join("package/package.json"),
            manifest.as_bytes(),
            crate::storage::files::Readers::Anyone,
        )
        .expect("it is written");
        folder
    }

    fn names(resolved: Result<Vec<Package>, Faults>) -> Vec<String> {
        resolved.expect("all is there").iter().map(|package| package.id.to_string()).collect()
    }

    #[test]
    fn dependencies_are_found_in_the_cache_and_stand_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = package(
            folder.path(),
            "top",
            "1.0.0",
            r#","fhirVersions":["4.0.1"],"dependencies":{"hl7.fhir.r4.core":"4.0.1","hl7.fhir.r5.core":"5.0.0","mid":"2.0.x"}"#,
        );
        package(folder.path(), "mid", "2.0.9", r#","dependencies":{"low":"current"}"#);
        package(folder.path(), "mid", "2.0.10", r#","dependencies":{"low":"current"}"#);
        package(folder.path(), "mid", "2.1.0", "");
        package(folder.path(), "low", "0.1.0-beta", "");
        let cache = Cache(vec![folder.path().to_owned()]);
        assert_eq!(names(resolve(&[top], &cache)), ["low#0.1.0-beta", "mid#2.0.10", "top#1.0.0"]);
        assert_eq!(names(resolve(&["low#0.1.0-beta".into()], &cache)), ["low#0.1.0-beta"]);
    }

    #[test]
    fn what_is_missing_or_does_not_fit_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache(vec![folder.path().to_owned()]);
        let top = package(folder.path(), "top", "1.0.0", r#","dependencies":{"mid":"2.0.0"}"#);
        let faults = resolve(std::slice::from_ref(&top), &cache).expect_err("mid is missing").faults;
        assert_eq!((faults.len(), faults[0].file.as_str()), (1, "top#1.0.0"));
        assert_eq!(faults[0].text, "it depends on mid#2.0.0, which is not there");
        let mid = package(folder.path(), "mid", "3.0.0", "");
        let faults = resolve(&[top, mid.clone()], &cache).expect_err("mid does not fit").faults;
        assert_eq!(faults[0].text, "it depends on mid#2.0.0, and mid#3.0.0 is there");
        let other = package(folder.path(), "mid", "4.0.0", "");
        let faults = resolve(&[mid, other], &cache).expect_err("there are two").faults;
        assert_eq!(faults[0].text, "mid#4.0.0 is given beside mid#3.0.0");
        let r5 = package(folder.path(), "five", "1.0.0", r#","fhirVersions":["5.0.0"]"#);
        let faults = resolve(&[r5], &cache).expect_err("it is not for R4").faults;
        assert!(faults[0].text.contains("not for R4"), "{faults:?}");
        let faults = resolve(&["none#1.0.0".into()], &cache).expect_err("it is nowhere").faults;
        assert_eq!(faults[0].file, "none#1.0.0");
    }

    #[test]
    fn packages_that_need_each_other_are_all_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = package(folder.path(), "one", "1.0.0", r#","dependencies":{"two":"1.0.0"}"#);
        package(folder.path(), "two", "1.0.0", r#","dependencies":{"one":"1.0.0"}"#);
        let cache = Cache(vec![folder.path().to_owned()]);
        assert_eq!(names(resolve(&[one], &cache)).len(), 2);
    }

    #[test]
    fn names_that_lead_elsewhere_are_no_names() {
        for text in ["../a#1.0.0", "a/b#1", "a#..", ".a#1", "a", "#", "a#"] {
            assert_eq!(PackageId::parse(text), None, "{text}");
        }
    }
}
