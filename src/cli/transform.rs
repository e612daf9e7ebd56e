//! `weir transform`: any FML map on any source.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use uuid::Uuid;

use super::Answer;
use super::output::{Output, indented};
use crate::config;
use crate::mapping::{CompiledMap, MapFile};

/// Compiles an FML map and runs it once.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir transform --map mappings/crisis-escalation.map record.json\n\nIds that the map \
    makes are derived from --seed, so that the same source gives the same bytes."
)]
pub(super) struct Arguments {
    /// The map
    #[arg(long, value_name = "FILE.map")]
    map: PathBuf,
    /// What to transform (JSON)
    source: PathBuf,
    /// More files the map needs: imported maps (.map), logical models and ConceptMaps (.json)
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// What ids are derived from
    #[arg(long, value_name = "UUID", default_value = "00000000-0000-0000-0000-000000000000")]
    seed: Uuid,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let mut maps = vec![map_file(&arguments.map)?];
    let mut models = config::definitions(&[])?;
    for file in &arguments.with {
        if file.extension().is_some_and(|extension| extension == "map") {
            maps.push(map_file(file)?);
        } else {
            models.push(super::document(file)?);
        }
    }
    let map = match CompiledMap::compile(&maps, &models) {
        Ok(map) => map,
        Err(diagnostics) => {
            diagnostics.iter().for_each(|diagnostic| output.remark(&diagnostic.to_string()));
            anyhow::bail!("the map has {} faults", diagnostics.len());
        }
    };
    match map.transform(&super::document(&arguments.source)?, arguments.seed) {
        Ok(transformed) => {
            let made = transformed.document.source();
            output.document(&if output.is_json() { made.to_owned() } else { indented(made) });
            Ok(Answer::Yes)
        }
        Err(error) => {
            output.remark(&format!("{error}\nhint: {}", error.hint()));
            Ok(Answer::No)
        }
    }
}

fn map_file(file: &PathBuf) -> anyhow::Result<MapFile> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(MapFile { name: file.display().to_string(), text })
}
