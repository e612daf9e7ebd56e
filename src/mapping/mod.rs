//! Stage 2: from a record to FHIR resources, by a map in the FHIR Mapping Language.
//!
//! Enters: a [`Received`] record. Leaves: [`Mapped`], the Bundle that the interface's map makes of it, with the origin
//! of every value: record node and rule. A map is compiled once ([`CompiledMap::compile`]): names interned, types
//! resolved against R4 and the logical models, everything that the executor cannot do refused with line and column.
//! Invariant: a transformation is a function of map, record and seed, so a resend is the same bytes, ids included.
//!
//! Standard: FHIR Mapping Language as in FHIR R4 (mapping-language.html) and the Mapping Language IG; where the text
//! leaves room, the behaviour of the HL7 reference implementation.

mod compile;
mod concepts;
mod coverage;
mod date_op;
mod diagnostic;
mod error;
mod escape;
mod essential;
mod fields;
mod makes;
mod plan;
mod quantity;
mod recorder;
mod run;
mod snapshots;
mod stamp;
mod target;
mod trace;
mod transform;
mod types;
mod uses;
mod values;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws_lc_rs::digest;
use uuid::Uuid;

use crate::fhir::{Document, ElementPath, Node, NodeId};
use crate::identity::InterfaceName;
use crate::intake::Received;

use essential::{Essentials, Surroundings};
use recorder::Recorder;

pub use coverage::{Coverage, Report, Unfilled, Unread, UntranslatedIn, without_indices};
pub use diagnostic::{Code, Diagnostic, Severity};
pub use error::{Error, Limit, Place};
pub use essential::Missing;
pub use fields::FieldUse;
pub use plan::Rule;
pub use run::LogLine;
pub use target::Origin;
pub use trace::{Traced, trace};

/// A mapping file.
#[derive(Clone, Debug)]
pub struct MapFile {
    /// Its name, for diagnostics and lineage.
    pub name: String,
    /// FML, or a StructureMap resource as JSON: then faults point into the map that it says.
    pub text: String,
}

/// What one transformation may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rules run, and items they run for. Default 1,000,000.
    pub steps: u64,
    /// Steps of FHIRPath, of all expressions together. Default 20,000,000.
    pub expressions: u64,
    /// Elements of the output. Default 1,000,000.
    pub elements: usize,
    /// Bytes of text in the output, and of text made on the way. Default 64 MiB.
    pub bytes: usize,
    /// Levels of JSON in the output. Default 100.
    pub depth: u16,
    /// Groups that call each other. Default 64.
    pub groups: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            steps: 1_000_000,
            expressions: 20_000_000,
            elements: 1_000_000,
            bytes: 64 << 20,
            depth: 100,
            groups: 64,
        }
    }
}

/// A map, ready to run.
#[derive(Debug)]
pub struct CompiledMap {
    plan: plan::Plan,
    essentials: Essentials,
    hash: [u8; 32],
    warnings: Vec<Diagnostic>,
    limits: Limits,
}

/// What a transformation makes.
#[derive(Debug)]
pub struct Transformed {
    /// The output.
    pub document: Document,
    /// For each node of the output, by the index of its id, where it comes from.
    pub origins: Vec<Origin>,
    /// What `log` wrote. It may hold personal data: show it, never store it.
    pub log: Vec<LogLine>,
}

/// What one transformation read and ran.
#[derive(Debug)]
pub struct Observed {
    /// For each rule, how many items it ran for.
    pub ran: Vec<u32>,
    /// For each node of the record, by the index of its id, whether a rule read it.
    pub read: Vec<bool>,
    /// The codes that a concept map had no translation for: what they would have set is not there.
    pub untranslated: Vec<Untranslated>,
}

/// A code that a concept map has no translation for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Untranslated {
    /// The field that holds the code, or the one that the rule runs for.
    pub path: ElementPath,
    /// The concept map: `#id`, or its URL.
    pub concept_map: String,
    /// The rule: an index for [`CompiledMap::rule`].
    pub rule: u32,
}

impl CompiledMap {
    /// Compiles a map. The first file's first group starts the transformation; `definitions` are the
    /// StructureDefinitions of logical models and profiles that it uses, and its ConceptMaps.
    ///
    /// # Errors
    /// Every fault found, at least one of them an error.
    pub fn compile(files: &[MapFile], definitions: &[Document]) -> Result<CompiledMap, Vec<Diagnostic>> {
        let (plan, warnings) = compile::compile(files, definitions)?;
        let essentials = Essentials::of(&plan, definitions)?;
        Ok(CompiledMap { plan, essentials, hash: hash(files, definitions), warnings, limits: Limits::default() })
    }

    /// The same map with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> CompiledMap {
        CompiledMap { limits, ..self }
    }

    /// Runs the map on `source`. Every id it makes follows from `seed`.
    ///
    /// # Errors
    /// [`Error`] with the place in the record and the rule.
    pub fn transform(&self, source: &Document, seed: Uuid) -> Result<Transformed, Error> {
        self.run(source, seed, None)
    }

    /// [`CompiledMap::transform`], and what it read and ran, also when it failed: for coverage.
    pub fn observe(&self, source: &Document, seed: Uuid) -> (Result<Transformed, Error>, Observed) {
        let recorder = Recorder::new(self.plan.rules.len(), source);
        let transformed = self.run(source, seed, Some(&recorder));
        let (ran, mut read, noted) = recorder.into_parts();
        let origins = transformed.iter().flat_map(|made| &made.origins);
        origins.filter_map(|origin| origin.source).for_each(|node| read[node.index()] = true);
        let untranslated = self.untranslated(source, &noted);
        (transformed, Observed { ran, read, untranslated })
    }

    fn untranslated(&self, record: &Document, noted: &[recorder::Noted]) -> Vec<Untranslated> {
        let path = |id: NodeId| record.node(id).map(Node::path);
        let told = noted.iter().map(|noted| Untranslated {
            path: noted.source.and_then(path).unwrap_or_else(ElementPath::root),
            concept_map: self.plan.concepts[noted.map].name.to_string(),
            rule: noted.rule,
        });
        let mut told: Vec<Untranslated> = told.collect();
        let mut seen = HashSet::new();
        told.retain(|each| seen.insert((each.path.to_string(), each.concept_map.clone(), each.rule)));
        told
    }

    fn run(&self, source: &Document, seed: Uuid, recorder: Option<&Recorder<'_>>) -> Result<Transformed, Error> {
        let snapshots = snapshots::Snapshots::default();
        let shelf = snapshots.shelf();
        let (run, root) =
            run::Run::start(&self.plan, source, shelf, seed, &self.limits, recorder).map_err(|error| *error)?;
        let (document, origins) = run.target.write(root).map_err(|refused| *run.refused(refused, "the output"))?;
        debug_assert_eq!(document.len(), origins.len(), "each value of the output has an origin");
        Ok(Transformed { document, origins, log: run.log })
    }

    /// SHA-256 over the names and texts of the files and the definitions.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The rule that an [`Origin`] names: one of the map, or behind those one by which Weir says what a record lacks.
    pub fn rule(&self, index: u32) -> Option<&Rule> {
        let own = || self.essentials.rule((index as usize).checked_sub(self.plan.rules.len())?);
        self.plan.rules.get(index as usize).or_else(own)
    }

    /// What `record` lacks of what its model marks as essential.
    pub fn missing(&self, record: &Document) -> Vec<Missing> {
        self.essentials.missing(record.root())
    }

    /// Whether the model of its records marks anything as essential.
    pub fn has_essentials(&self) -> bool {
        !self.essentials.is_empty()
    }

    /// What the compiler found strange, and let pass.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }
}

/// Which of `files` each of them needs, by their places: itself first, then what it imports, and what these import.
pub fn imports(files: &[MapFile]) -> Vec<Vec<usize>> {
    compile::imports(files)
}

fn hash(files: &[MapFile], definitions: &[Document]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |part: &str| {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    };
    for file in files {
        add(&file.name);
        add(&file.text);
    }
    for definition in definitions {
        add(definition.source());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The maps of a site, by interface.
#[derive(Debug, Default)]
pub struct Mappings {
    maps: HashMap<InterfaceName, Arc<CompiledMap>>,
}

impl Mappings {
    /// The map of an interface.
    pub fn get(&self, interface: &InterfaceName) -> Option<&Arc<CompiledMap>> {
        self.maps.get(interface)
    }

    /// Sets the map of an interface.
    pub fn insert(&mut self, interface: InterfaceName, map: Arc<CompiledMap>) {
        self.maps.insert(interface, map);
    }
}

impl FromIterator<(InterfaceName, Arc<CompiledMap>)> for Mappings {
    fn from_iter<I: IntoIterator<Item = (InterfaceName, Arc<CompiledMap>)>>(maps: I) -> Mappings {
        Mappings { maps: maps.into_iter().collect() }
    }
}

/// A record with the Bundle that its interface's map makes of it.
///
/// Only [`apply`] makes one, so holding it proves that the Bundle follows from the record by that map.
#[derive(Debug)]
pub struct Mapped {
    received: Received,
    bundle: Document,
    origins: Vec<Origin>,
    map: Arc<CompiledMap>,
    missing: Vec<Missing>,
}

impl Mapped {
    /// The record, with its sender and interface.
    pub fn received(&self) -> &Received {
        &self.received
    }

    /// The Bundle, whole: nothing is withheld yet.
    pub fn bundle(&self) -> &Document {
        &self.bundle
    }

    /// The Bundle alone.
    pub fn into_bundle(self) -> Document {
        self.bundle
    }

    /// For each node of the Bundle, by the index of its id, where it comes from.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The map: its hash and its rules.
    pub fn map(&self) -> &Arc<CompiledMap> {
        &self.map
    }

    /// What the record lacks of what its model marks as essential: the Bundle has a Task for each mark.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }
}

/// Maps a record by the map of its interface. What the record lacks of what its model marks as essential gets a Task.
///
/// # Errors
/// [`Error`]: the interface has no map, or the map cannot take this record.
pub fn apply(mappings: &Mappings, received: Received) -> Result<Mapped, Error> {
    let Some(map) = mappings.get(received.interface()) else {
        return Err(Error::NoMap { interface: received.interface().clone() });
    };
    let map = Arc::clone(map);
    let Transformed { document, origins, .. } = map.transform(received.record(), received.message().uuid())?;
    let missing = map.missing(received.record());
    if missing.is_empty() {
        return Ok(Mapped { received, bundle: document, origins, map, missing });
    }
    let around = Surroundings {
        message: received.message(),
        received_at: received.received_at(),
        first_rule: map.plan.rules.len() as u32,
    };
    let completed = map.essentials.complete((&document, &origins), &missing, around);
    let (bundle, origins) = completed.ok_or_else(|| Error::Unsaid { interface: received.interface().clone() })?;
    Ok(Mapped { received, bundle, origins, map, missing })
}

#[cfg(test)]
mod tests;
