//! Snapshots: what a profile asks of every element, its base's rules included (FHIR R4, 5.1.0.9 and 5.1.0.14).
//!
//! Enters: [`StructureDefinition`]s with differentials; base R4 and its own profiles are always there. Leaves: a
//! [`Snapshot`], the elements in the order of the specification: an element, its children, then its slices, each
//! followed by its own children. Invariant: a snapshot is made whole or not at all; a differential that names what does
//! not exist is an [`Error`] with the element's id.
//!
//! What is said of an element holds for its slices too, whether or not a slice lists children of its own: a slice's
//! children are listed once a differential constrains one of them. They start as those of the unsliced element, of the
//! slice's own profile, or of its type.
//!
//! Facets that bear on validation are kept. Texts (short, definition, comment, mapping) are not: nothing reads them at
//! run time.

mod apply;
mod base;
mod error;
mod merge;
mod place;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

pub use self::error::Error;
use self::tree::Tree;
use super::definitions::{ConstraintDefinition, SlicingDefinition, StructureDefinition, TypeUse, without_version};
use super::{Document, r4};

/// The canonical URLs of R4's own definitions start so.
pub const R4: &str = "http://hl7.org/fhir/StructureDefinition/";

/// A profile with every element it and its bases know.
#[derive(Debug)]
pub struct Snapshot {
    /// The canonical URL, without a version.
    pub url: Box<str>,
    /// The constrained type: `Patient`, `Extension`; a URL for a logical model.
    pub type_name: Box<str>,
    /// The canonical URL of what it constrains; empty for `Element` and `Resource`.
    pub base: Box<str>,
    /// The elements; the first is the root.
    pub elements: Vec<SnapshotElement>,
}

/// One element of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct SnapshotElement {
    /// `Patient.identifier:nhsNumber.system`.
    pub id: Box<str>,
    /// `Patient.identifier.system`; a choice element keeps its `[x]`, in its slices too.
    pub path: Box<str>,
    /// The name of the slice that this element opens: `nhsNumber`, `valueQuantity`, `a/b` for a slice of slice `a`.
    pub slice_name: Option<Box<str>>,
    /// How its occurrences are told apart; its slices follow its children.
    pub slicing: Option<Arc<SlicingDefinition>>,
    /// Smallest number of occurrences.
    pub min: u32,
    /// Largest number; `None` for `*`.
    pub max: Option<u32>,
    /// The types it may have; empty for a root and for a content reference.
    pub types: Arc<[TypeUse]>,
    /// The element whose content it has, unless its children are listed: `#Bundle.link`.
    pub content_reference: Option<Arc<str>>,
    /// `fixed[x]`.
    pub fixed: Option<Arc<Document>>,
    /// `pattern[x]`.
    pub pattern: Option<Arc<Document>>,
    /// Most characters of a string.
    pub max_length: Option<u32>,
    /// `minValue[x]`.
    pub min_value: Option<Arc<Document>>,
    /// `maxValue[x]`.
    pub max_value: Option<Arc<Document>>,
    /// The value set of its codes.
    pub binding: Option<Arc<BindingUse>>,
    /// Invariants, inherited ones first; each has a source.
    pub constraints: Vec<Arc<ConstraintDefinition>>,
    /// Whether it must be supported.
    pub must_support: bool,
    /// Whether it changes the meaning of its parent.
    pub is_modifier: bool,
}

/// A binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingUse {
    /// `required`, `extensible`, `preferred`, `example`.
    pub strength: Box<str>,
    /// The value set's canonical URL, without a version.
    pub value_set: Box<str>,
}

/// What is made of a definition.
type Made = (Arc<Snapshot>, Arc<Tree>);

/// Makes snapshots, each once.
///
/// ```
/// use weir::fhir::snapshot::{R4, Snapshots};
///
/// let mut snapshots = Snapshots::of(&[]);
/// let patient = snapshots.snapshot(&format!("{R4}Patient")).expect("R4 has a Patient");
/// assert_eq!(&*patient.elements[0].id, "Patient");
/// ```
#[derive(Debug)]
pub struct Snapshots<'d> {
    definitions: HashMap<&'d str, &'d StructureDefinition>,
    made: HashMap<Box<str>, Made>,
    /// What is being made, to find circles.
    open: Vec<Box<str>>,
}

impl<'d> Snapshots<'d> {
    /// Of these definitions, and those of R4. Of two with one URL the later holds.
    pub fn of(definitions: impl IntoIterator<Item = &'d StructureDefinition>) -> Snapshots<'d> {
        let definitions = definitions.into_iter().map(|each| (each.url.as_str(), each)).collect();
        Snapshots { definitions, made: HashMap::new(), open: Vec::new() }
    }

    /// The snapshot of the definition with this canonical URL; a version behind `|` is not looked at.
    ///
    /// # Errors
    /// A definition that is not there or that contradicts what it derives from.
    pub fn snapshot(&mut self, url: &str) -> Result<Arc<Snapshot>, Error> {
        self.make(without_version(url)).map(|(snapshot, _)| snapshot)
    }

    /// The definition's elements as a tree.
    fn tree(&mut self, url: &str) -> Result<Arc<Tree>, Error> {
        self.make(without_version(url)).map(|(_, tree)| tree)
    }

    fn make(&mut self, url: &str) -> Result<Made, Error> {
        if let Some(made) = self.made.get(url).or_else(|| of_type(url)) {
            return Ok(made.clone());
        }
        if self.open.iter().any(|open| **open == *url) {
            return Err(Error::Circle { url: url.to_owned() });
        }
        self.open.push(url.into());
        let made = self.generate(url);
        self.open.pop();
        let (snapshot, tree) = made?;
        let made: Made = (Arc::new(snapshot), Arc::new(tree));
        self.made.insert(url.into(), made.clone());
        Ok(made)
    }

    fn generate(&mut self, url: &str) -> Result<(Snapshot, Tree), Error> {
        let Some(definition) = self.definitions.get(url).copied().or_else(|| r4::profile(url)) else {
            return Err(Error::NotLoaded { url: url.to_owned() });
        };
        let tree = self.apply(definition)?;
        Ok(finished(url, &definition.type_name, definition.base.as_str().into(), tree))
    }
}

/// The snapshot of a type of R4, made once in a program: all profiles stand on a few of them.
fn of_type(url: &str) -> Option<&'static Made> {
    static TYPES: LazyLock<HashMap<&'static str, OnceLock<Made>>> =
        LazyLock::new(|| r4::types().into_iter().map(|row| (row.name, OnceLock::new())).collect());
    let row = url.strip_prefix(R4).and_then(r4::type_row)?;
    Some(TYPES.get(row.name)?.get_or_init(|| {
        let base = if row.base.is_empty() { "".into() } else { format!("{R4}{}", row.base).into() };
        let (snapshot, tree) = finished(url, row.name, base, base::tree(row));
        (Arc::new(snapshot), Arc::new(tree))
    }))
}

fn finished(url: &str, type_name: &str, base: Box<str>, tree: Tree) -> (Snapshot, Tree) {
    let elements = tree.elements();
    (Snapshot { url: url.into(), type_name: type_name.into(), base, elements }, tree)
}
