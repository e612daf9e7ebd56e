//! `weir transform`: any FML map on any source.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use uuid::Uuid;

use super::Answer;
use super::conversion::{self, Converter, Observation, RunOptions};
use super::failure::Failure;
use super::output::Output;
use crate::config;
use crate::fhir::{Document, Limits};
use crate::mapping::{CompiledMap, MapFile};
use crate::validation::Validator;

/// Compiles an FML map and runs it on one source or many.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir transform --map referral.map referral.json --with model.json --with codes.json\n  \
    weir transform --map referral.map referrals.ndjson --with definitions/ --output bundles/\n  \
    weir transform --map referral.map referral.json --with definitions/ --watch\n  \
    weir transform --map referral.map referral.json --with definitions/ --trace\n  \
    weir transform --map referral.map referrals.ndjson --with definitions/ --coverage\n\n\
    Ids that the map makes follow from --seed, so that the same source gives the same bytes; in a batch they follow \
    from each source's bytes too. Of several sources each result is one line; one that fails is said on standard error \
    and stops no other.\n\
    Exit code 0 when all were mapped, 1 when any was refused, 2 when the map cannot be used.")]
pub(super) struct Arguments {
    #[command(flatten)]
    run: RunOptions,
    /// The map
    #[arg(long, value_name = "FILE.map")]
    map: PathBuf,
    /// More that the map needs: imported maps (.map), logical models and ConceptMaps (.json), or a folder of them
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// What ids are derived from
    #[arg(long, value_name = "UUID", default_value = "00000000-0000-0000-0000-000000000000")]
    seed: Uuid,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let mut watched = vec![arguments.map.clone()];
    watched.extend_from_slice(&arguments.with);
    conversion::run(&arguments.run, &watched, &|| load(arguments, output), output)
}

fn load(arguments: &Arguments, output: &Output) -> anyhow::Result<Option<Box<dyn Converter>>> {
    let mut maps = vec![map_file(&arguments.map)?];
    let mut models = config::definitions(&[])?;
    let mut files = config::DefinitionFiles::default();
    for path in &arguments.with {
        for file in with_files(path)? {
            match file.extension().is_some_and(|extension| extension == "map") {
                true if same_file(&file, &arguments.map) => {}
                true => maps.push(map_file(&file)?),
                false => {
                    let model = super::document(&file)?;
                    files.add(&file, &model).map_err(|fault| config::Faults { faults: vec![fault] })?;
                    models.push(model);
                }
            }
        }
    }
    let map = match CompiledMap::compile(&maps, &models) {
        Ok(map) => map,
        Err(diagnostics) => {
            super::config::show_diagnostics(&diagnostics, output);
            return Ok(None);
        }
    };
    // Profiles that contradict themselves are no fault of the map: then coverage says nothing about them.
    let validator = if arguments.run.coverage { Validator::compile(&models).ok() } else { None };
    Ok(Some(Box::new(Map { map, seed: arguments.seed, validator })))
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The file, or the maps and definitions in a folder.
fn with_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read the folder {}", path.display()))?;
    let files: Result<Vec<PathBuf>, std::io::Error> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut files = files?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "map" || extension == "json"));
    files.sort();
    Ok(files)
}

/// A source: always an object, since a rule on anything else would find nothing and say nothing.
fn record(bytes: Vec<u8>) -> Result<Document, Failure> {
    let record = Document::parse(bytes, &Limits::default())?;
    if record.root().is_object() { Ok(record) } else { Err(Failure::no_object()) }
}

fn map_file(file: &Path) -> anyhow::Result<MapFile> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow::anyhow!("{}:{line}: the map is not UTF-8; save it as UTF-8", file.display())
    })?;
    Ok(MapFile { name: file.display().to_string(), text })
}

/// A compiled map.
struct Map {
    map: CompiledMap,
    seed: Uuid,
    validator: Option<Validator>,
}

impl Map {
    /// What the ids of a source follow from.
    fn seed(&self, bytes: &[u8], alone: bool) -> Uuid {
        if alone { self.seed } else { Uuid::new_v5(&self.seed, bytes) }
    }
}

impl Converter for Map {
    fn convert(&self, bytes: Vec<u8>, alone: bool) -> Result<Document, Failure> {
        let seed = self.seed(&bytes, alone);
        let source = record(bytes)?;
        Ok(self.map.transform(&source, seed)?.document)
    }

    fn observe(&self, bytes: Vec<u8>, alone: bool) -> Result<Observation, Failure> {
        let seed = self.seed(&bytes, alone);
        let record = record(bytes)?;
        let (made, observed) = self.map.observe(&record, seed);
        Ok(Observation { made: made?, record, observed })
    }

    fn map(&self) -> &CompiledMap {
        &self.map
    }

    fn missing(&self, made: &Document) -> Vec<String> {
        let issues = self.validator.iter().flat_map(|validator| validator.check_document(made, None));
        conversion::required(issues.collect())
    }
}
