//! `weir validate`: FHIR resources against base R4 and profiles.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::Answer;
use super::output::{Output, indented};
use crate::config;
use crate::fhir::outcome::{Issue, IssueType, operation_outcome};
use crate::fhir::{Document, Limits};
use crate::validation::{NOT_CHECKED, Validator};

/// Validates FHIR resources, JSON or XML. Prints one OperationOutcome a file; exit code 1 when any has an error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir validate bundle.json\n  weir validate patient.xml --profile \
    https://weir.example/fhir/StructureDefinition/weir-patient\n\nWhat is not checked yet is said on standard error.")]
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
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let validator = config::validator(&arguments.package)?;
    for profile in &arguments.profile {
        anyhow::ensure!(validator.knows(profile), "there is no profile {profile}; add its package with --package");
    }
    for note in NOT_CHECKED.iter().copied().chain(validator.not_checked().iter().map(String::as_str)) {
        output.remark(&format!("not checked: {note}"));
    }
    let mut valid = true;
    for file in &arguments.files {
        let issues = check(&validator, file, &arguments.profile)?;
        valid &= !issues.iter().any(Issue::is_error);
        output.line(&format!("{}: {}", file.display(), summary(&issues)));
        let outcome = operation_outcome(&issues);
        output.document(&if output.is_json() { outcome } else { indented(&outcome) });
    }
    Ok(valid.into())
}

fn check(validator: &Validator, file: &Path, profiles: &[String]) -> anyhow::Result<Vec<Issue>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let is_xml = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
    let document = match if is_xml { parse_xml(bytes) } else { parse(bytes) } {
        Ok(document) => document,
        Err(issue) => return Ok(vec![*issue]),
    };
    let mut issues = Vec::new();
    let mut ask = |profile| {
        for issue in validator.check_document(&document, profile) {
            if !issues.contains(&issue) {
                issues.push(issue);
            }
        }
    };
    ask(None);
    profiles.iter().for_each(|profile| ask(Some(profile)));
    if is_xml {
        // Line and column are those of the JSON that the XML became; the paths hold for both.
        issues.iter_mut().for_each(|issue| issue.position = None);
    }
    Ok(issues)
}

fn parse(bytes: Vec<u8>) -> Result<Document, Box<Issue>> {
    Document::parse(bytes, &Limits::default()).map_err(|error| {
        let issue = Issue::error(IssueType::Structure, error.what.to_string());
        Box::new(issue.position(error.position).at(error.path.clone()).hint(error.hint()))
    })
}

#[cfg(feature = "xml")]
fn parse_xml(bytes: Vec<u8>) -> Result<Document, Box<Issue>> {
    let refuse = |text: String, hint: &str| Box::new(Issue::error(IssueType::Structure, text).hint(hint));
    let text =
        String::from_utf8(bytes).map_err(|_| refuse("the input is not UTF-8".to_owned(), "encode it as UTF-8"))?;
    crate::fhir::xml::from_xml(&text, &Limits::default()).map_err(|error| refuse(error.to_string(), error.hint()))
}

#[cfg(not(feature = "xml"))]
fn parse_xml(_bytes: Vec<u8>) -> Result<Document, Box<Issue>> {
    let issue = Issue::error(IssueType::NotSupported, "this program was built without FHIR XML");
    Err(Box::new(issue.hint("give JSON, or build with the feature xml")))
}

fn summary(issues: &[Issue]) -> String {
    let errors = issues.iter().filter(|issue| issue.is_error()).count();
    match errors {
        0 => format!("valid ({} remarks)", issues.len()),
        1 => format!("not valid (1 error, {} remarks)", issues.len() - 1),
        _ => format!("not valid ({errors} errors, {} remarks)", issues.len() - errors),
    }
}
