//! `weir validate`: FHIR resources against base R4 and profiles.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::Answer;
use super::issues::Masked;
use super::output::{Output, indented};
use crate::config;
use crate::fhir::Limits;
use crate::fhir::outcome::{Issue, operation_outcome};
use crate::validation::{self, NOT_CHECKED, Parsed, Syntax};

/// Validates FHIR resources, JSON or XML. Prints one OperationOutcome a file; exit code 1 when any has an error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir validate bundle.json\n  \
    weir validate bundle.json --format text\n  \
    weir validate patient.xml --profile https://weir.example/fhir/StructureDefinition/weir-patient\n  \
    weir validate bundle.json --terminology snomed-ct/\n\n\
    With --format text each issue is shown under its line, values hidden. What is not checked yet is said on \
    standard error.")]
pub(super) struct Arguments {
    /// The resources
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Also check against this profile (canonical URL)
    #[arg(long, value_name = "URL")]
    profile: Vec<String>,
    /// More definitions: a FHIR package (.tgz file, folder, or NAME#VERSION of the package cache) or a plain folder of
    /// StructureDefinition, ValueSet and CodeSystem files
    #[arg(long, value_name = "DIR|TGZ")]
    package: Vec<PathBuf>,
    /// A folder of CodeSystem and ValueSet files, for what is not part of Weir: SNOMED CT, dm+d, LOINC
    #[arg(long, value_name = "DIR")]
    terminology: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let sources = [&arguments.package[..], &arguments.terminology[..]].concat();
    let validator = config::validator(&sources)?;
    for profile in &arguments.profile {
        anyhow::ensure!(validator.knows(profile), "there is no profile {profile}; add its package with --package");
    }
    for note in NOT_CHECKED.iter().copied().chain(validator.not_checked().iter().map(String::as_str)) {
        output.remark(&format!("not checked: {note}"));
    }
    let mut valid = true;
    for file in &arguments.files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let syntax = Syntax::of_bytes(&bytes);
        let masked = if output.is_text() && syntax == Syntax::Json { Masked::of(&bytes) } else { Masked::default() };
        let issues = match validation::parse(bytes, syntax, &Limits::default()) {
            Ok(Parsed { document, mut issues }) => {
                issues.extend(syntax.placed(validator.check_against(&document, &arguments.profile)));
                issues
            }
            Err(issue) => vec![*issue],
        };
        valid &= !issues.iter().any(Issue::is_error);
        let verdict = format!("{}: {}", file.display(), summary(&issues));
        if output.is_text() {
            let name = file.display().to_string();
            for issue in &issues {
                output.line(&masked.show(issue, &name, output.has_colours()));
            }
            output.line(&verdict);
            continue;
        }
        let outcome = operation_outcome(&issues);
        output.document(&if output.is_json() { outcome } else { indented(&outcome) });
        if !output.is_json() {
            output.remark(&verdict);
        }
    }
    Ok(valid.into())
}

fn summary(issues: &[Issue]) -> String {
    let errors = issues.iter().filter(|issue| issue.is_error()).count();
    match errors {
        0 => format!("valid ({} remarks)", issues.len()),
        1 => format!("not valid (1 error, {} remarks)", issues.len() - 1),
        _ => format!("not valid ({errors} errors, {} remarks)", issues.len() - errors),
    }
}
