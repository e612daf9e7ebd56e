//! Profiles, value sets, code systems and logical models: the built-in ones, those of packages, and those of folders.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::builtin::{self, TextFile};
use super::faults::{Fault, Faults};
use super::packages::{self, Cache, Package, PackageStore};
use crate::fhir::definitions::{Definition, StructureDefinition, without_version};
use crate::fhir::outcome::Issue;
use crate::fhir::snapshot::{self, Snapshots};
use crate::fhir::{Document, Limits, r4};
use crate::validation::Validator;

/// The built-in definitions and those at `sources`: plain folders of JSON (and XML) files, FHIR packages (`.tgz` files,
/// folders, `NAME#VERSION` of the package cache) with what they depend on.
///
/// # Errors
/// Files that cannot be read or are not JSON, packages that are not there.
pub fn definitions(sources: &[PathBuf]) -> Result<Vec<Document>, Faults> {
    let (packages, folders) = sorted(sources);
    Ok(at(&packages, &folders)?.documents)
}

fn at(packages: &[PathBuf], folders: &[PathBuf]) -> Result<Loaded, Faults> {
    of_packages(&packages::resolve(packages, &cache_beside(packages))?, folders)
}

/// The definitions that the site in `folder` loads, and those at `sources`.
///
/// # Errors
/// As [`definitions`], and packages of the site that are not what it pins.
pub fn site_definitions(folder: &Path, sources: &[PathBuf]) -> Result<Vec<Document>, Faults> {
    let mut packages = PackageStore::of(folder).load()?;
    let (more, mut folders) = sorted(sources);
    packages.extend(packages::resolve(&more, &cache_beside(&more))?);
    folders.extend(Some(folder.join("profiles")).filter(|own| own.is_dir()));
    Ok(of_packages(&packages, &folders)?.documents)
}

/// Packages and plain folders among paths.
fn sorted(sources: &[PathBuf]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    sources.iter().cloned().partition(|source| packages::is_package(source))
}

/// Dependencies stand beside a package that is itself in a cache.
fn cache_beside(packages: &[PathBuf]) -> Cache {
    let beside: Vec<PathBuf> = packages.iter().filter_map(|path| Some(path.parent()?.to_owned())).collect();
    Cache::usual(&beside)
}

/// The built-in definitions, those of packages, and those in plain folders. Of two with one URL the last holds; two files
/// of plain folders with one URL are a fault.
pub(super) fn of_packages(packages: &[Package], folders: &[PathBuf]) -> Result<Loaded, Faults> {
    let mut faults = Faults::default();
    let mut known = Known::default();
    for file in builtin::profiles() {
        faults.keep(parse(file)).into_iter().for_each(|document| known.add(document));
    }
    for package in packages {
        for file in faults.keep(package.texts()).unwrap_or_default() {
            let document = faults.keep(parse(file)).filter(is_definition);
            document.into_iter().for_each(|document| known.add_of_others(document));
        }
    }
    for folder in folders {
        for file in faults.keep(definition_files(folder)).unwrap_or_default() {
            let name = file.0.clone();
            let document = faults.keep(parse(file));
            let added = document.map_or(Ok(()), |document| known.add_of_folder(folder.join(name), document));
            faults.keep(added);
        }
    }
    if faults.faults.is_empty() { Ok(known.into_loaded()) } else { Err(faults) }
}

/// Definitions that were read.
pub(super) struct Loaded {
    pub(super) documents: Vec<Document>,
    /// The URLs of those of packages, which others wrote.
    of_others: HashSet<String>,
}

/// Definitions by URL.
#[derive(Default)]
struct Known {
    documents: Vec<Option<Document>>,
    places: HashMap<String, usize>,
    of_others: HashSet<String>,
    /// The files of plain folders, by URL.
    files: DefinitionFiles,
}

/// Which file defines what.
#[derive(Debug, Default)]
pub(crate) struct DefinitionFiles(HashMap<String, PathBuf>);

impl DefinitionFiles {
    /// Adds what `file` defines.
    ///
    /// # Errors
    /// A definition of the same URL in another file, and a logical model that has the URL of an R4 type.
    pub(crate) fn add(&mut self, file: &Path, document: &Document) -> Result<(), Fault> {
        let Some(url) = url_of(document) else { return Ok(()) };
        let is_type = url.strip_prefix(snapshot::R4).is_some_and(|name| r4::type_row(name).is_some());
        if is_type && document.root().text_of("kind").as_deref() == Some("logical") {
            let text = format!("the logical model has the URL of an R4 type: {url}");
            return Err(Fault::new(file.display().to_string(), text, "give the model a URL of its own"));
        }
        match self.0.insert(url.clone(), file.to_owned()) {
            Some(other) if !is_same_file(&other, file) => {
                let text = format!("{url} is defined in {} too", other.display());
                Err(Fault::new(file.display().to_string(), text, "keep one of the two, or give one another URL"))
            }
            _ => Ok(()),
        }
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

impl Known {
    fn add_of_folder(&mut self, file: PathBuf, document: Document) -> Result<(), Fault> {
        self.files.add(&file, &document)?;
        self.add(document);
        Ok(())
    }

    /// A definition takes the place of one with the same URL that was read before it.
    fn add(&mut self, document: Document) {
        if let Some(url) = url_of(&document) {
            self.of_others.remove(&url);
            if let Some(before) = self.places.insert(url, self.documents.len()) {
                self.documents[before] = None;
            }
        }
        self.documents.push(Some(document));
    }

    fn add_of_others(&mut self, document: Document) {
        let url = url_of(&document);
        self.add(document);
        self.of_others.extend(url);
    }

    fn into_loaded(self) -> Loaded {
        Loaded { documents: self.documents.into_iter().flatten().collect(), of_others: self.of_others }
    }
}

fn url_of(document: &Document) -> Option<String> {
    document.root().text_of("url").map(|url| url.into_owned())
}

/// What of a package a validator reads. R4's own types and profiles are built in and stay what they are; no package
/// can add a type to R4.
fn is_definition(document: &Document) -> bool {
    let member = |name: &str| document.root().member(name).and_then(|member| member.text()).unwrap_or_default();
    match document.resource_type() {
        Some("ValueSet" | "CodeSystem") => true,
        Some("StructureDefinition") => {
            let url = member("url");
            let is_type = url.strip_prefix(snapshot::R4).is_some_and(|name| r4::type_row(name).is_some());
            let adds_type = member("derivation") == "specialization" && member("kind") != "logical";
            !is_type && !adds_type && r4::profile(without_version(&url)).is_none()
        }
        _ => false,
    }
}

/// A validator of the built-in definitions and those at `sources`, as [`definitions`] reads them.
///
/// # Errors
/// As [`definitions`], and definitions that contradict themselves.
pub fn validator(sources: &[PathBuf]) -> Result<Validator, Faults> {
    let (packages, folders) = sorted(sources);
    compile(&at(&packages, &folders)?)
}

/// A validator of these definitions. A constraint that cannot mean what it says is a fault, unless others wrote it:
/// whoever loads a package cannot correct it.
pub(super) fn compile(loaded: &Loaded) -> Result<Validator, Faults> {
    let faults = |issues: Vec<Issue>| Faults { faults: issues.into_iter().map(fault).collect() };
    let validator = Validator::compile(&loaded.documents).map_err(faults)?;
    let is_own = |issue: &&Issue| {
        let profile = issue.rule.split('#').next().unwrap_or_default();
        !loaded.of_others.contains(profile)
    };
    let own: Vec<Issue> = validator.doubtful_constraints().iter().filter(is_own).cloned().collect();
    if own.is_empty() { Ok(validator) } else { Err(faults(own)) }
}

fn fault(issue: Issue) -> Fault {
    let place = issue.path.map(|path| format!(" at {path}")).unwrap_or_default();
    Fault::new("profiles", format!("{}{place} {}", issue.text, issue.rule).trim_end(), issue.hint)
}

/// Whether a profile can be used, as `weir package check` shows it.
#[derive(Debug)]
pub struct Checked {
    /// The profile's canonical URL.
    pub url: String,
    /// The number of elements of its snapshot, or why it has none.
    pub elements: Result<usize, snapshot::Error>,
}

/// Makes the snapshot of every StructureDefinition among `documents`, in their order.
pub fn check_snapshots(documents: &[Document]) -> Vec<Checked> {
    let structures: Vec<StructureDefinition> = documents
        .iter()
        .filter_map(|document| match Definition::read(document)? {
            Definition::Structure(structure) => Some(*structure),
            Definition::ValueSet(_) | Definition::CodeSystem(_) => None,
        })
        .collect();
    let mut snapshots = Snapshots::of(&structures);
    let mut check = |structure: &StructureDefinition| Checked {
        url: structure.url.clone(),
        elements: snapshots.snapshot(&structure.url).map(|snapshot| snapshot.elements.len()),
    };
    structures.iter().map(&mut check).collect()
}

/// Those of a definition, which the operator gives: SNOMED CT with its parents is some eight million values in one file.
const LIMITS: Limits = Limits { depth: 100, nodes: 40_000_000 };

fn parse((name, text): TextFile) -> Result<Document, Fault> {
    if text.trim_start_matches('\u{feff}').trim_start().starts_with('<') {
        return parse_xml(name, &text);
    }
    Document::parse(text, &LIMITS).map_err(|error| Fault::new(name, &error, error.hint()))
}

#[cfg(feature = "xml")]
fn parse_xml(name: String, text: &str) -> Result<Document, Fault> {
    crate::fhir::xml::from_xml(text, &LIMITS).map_err(|error| Fault::new(name, &error, error.hint()))
}

#[cfg(not(feature = "xml"))]
fn parse_xml(name: String, _text: &str) -> Result<Document, Fault> {
    Err(Fault::new(name, "this program was built without FHIR XML", "give JSON, or build with the feature xml"))
}

/// The files of a plain folder that may be definitions.
fn definition_files(folder: &Path) -> Result<Vec<TextFile>, Fault> {
    let mut files = texts(folder, "json")?;
    files.retain(|(name, _)| name != "package.json" && !name.starts_with('.'));
    files.extend(texts(folder, "xml")?);
    Ok(files)
}

/// The text files of one folder with this extension, by name.
pub(super) fn texts(folder: &Path, extension: &str) -> Result<Vec<TextFile>, Fault> {
    let shown = folder.display().to_string();
    let unreadable = |error: std::io::Error| Fault::new(shown.clone(), error, "check that the folder can be read");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|found| found != extension) {
            continue;
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = fs::read_to_string(&path)
            .map_err(|error| Fault::new(name.clone(), error, "check that the file is UTF-8 text and can be read"))?;
        files.push((name, text));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::files::{Readers, write_durably};

    #[test]
    fn a_package_adds_profiles_and_models_but_no_types() {
        let structure = |url: &str, kind: &str, derivation: &str| {
            let text = format!(
                r#"{{"resourceType":"StructureDefinition","url":"{url}","kind":"{kind}","derivation":"{derivation}"}}"#
            );
            is_definition(&Document::parse(text, &Limits::default()).expect("it is JSON"))
        };
        assert!(structure("https://x/p", "resource", "constraint"));
        assert!(structure("https://x/m", "logical", "specialization"));
        assert!(!structure("http://hl7.org/fhir/StructureDefinition/SubscriptionStatus", "resource", "specialization"));
        assert!(!structure("http://hl7.org/fhir/StructureDefinition/Patient", "resource", "specialization"));
        assert!(!structure("http://hl7.org/fhir/StructureDefinition/vitalsigns", "resource", "constraint"));
        let example = Document::parse(r#"{"resourceType":"Patient"}"#, &Limits::default()).expect("it is JSON");
        assert!(!is_definition(&example));
    }

    #[test]
    fn two_files_of_plain_folders_cannot_define_one_url() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let write = |folder: &Path, text: &str| {
            fs::create_dir_all(folder).expect("a folder");
            write_durably(&folder.join("a.json"), text.as_bytes(), Readers::Anyone).expect("it is written");
        };
        let set = r#"{"resourceType":"ConceptMap","url":"https://x/c","status":"active"}"#;
        write(&one, set);
        write(&other, set);
        let both = definitions(&[one.clone(), other]).expect_err("two files define it");
        let [fault] = &both.faults[..] else { panic!("{both:?}") };
        assert!(fault.file.ends_with("other/a.json"), "{fault:?}");
        assert!(
            fault.text.starts_with("https://x/c is defined in ") && fault.text.ends_with("one/a.json too"),
            "{fault:?}"
        );
        assert!(definitions(&[one.clone(), one.clone()]).is_ok(), "the same file twice");
        let built_in = "https://weir.example/fhir/StructureDefinition/weir-patient";
        write(&one, &format!(r#"{{"resourceType":"StructureDefinition","url":"{built_in}","kind":"resource"}}"#));
        assert!(definitions(&[one]).is_ok(), "a site may write a built-in definition anew");
    }
}
