//! `weir config`: the checks that a start or reload makes of a site's files.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Answer;
use super::output::Output;
use super::site::SiteOption;
use crate::config::{Fault, Faults};
use crate::fhir::outcome::Issue;
use crate::mapping::{Diagnostic, Severity};

/// What to do with a configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Find every fault of a site's files
    Check(Check),
}

/// Reads every file of a site and compiles what it names; prints each fault with file and place. It does not open the database: a start
/// may still fail on that, its key, a taken port, or who starts it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir config check --site site/gateway\n  \
    weir config check --site site/gateway --format json\n\nFaults and warnings of maps have line, column, endLine, \
    endColumn, severity, code, message and hint in JSON; the columns behind the end are not included.")]
pub(super) struct Check {
    #[command(flatten)]
    site: SiteOption,
}

pub(super) fn run(verb: &Verb, output: &Output) -> anyhow::Result<Answer> {
    let Verb::Check(arguments) = verb;
    arguments.site.exists()?;
    match arguments.site.load() {
        Ok(site) => {
            let summary = site.summary();
            let warnings = site.map_warnings();
            warnings.iter().for_each(|warning| output.line(&output.painted(warning)));
            site.doubtful_constraints().iter().for_each(|doubt| output.line(&doubt_text(doubt)));
            output.line(&format!("no faults: {summary}"));
            for note in site.not_checked() {
                output.line(&format!("not checked: {note}"));
            }
            let warnings: Vec<Value> = warnings.iter().map(diagnostic_json).collect();
            output.json(&json!({
                "faults": [], "warnings": warnings, "summary": summary, "notChecked": site.not_checked(),
                "constraints": site.doubtful_constraints().iter().map(doubt_json).collect::<Vec<_>>(),
            }));
            Ok(Answer::Yes)
        }
        Err(faults) => {
            output.line(&text_of_all(&faults, |diagnostic| output.painted(diagnostic)));
            let rows: Vec<Value> = faults.faults.iter().map(fault_json).collect();
            output.json(&json!({ "faults": rows }));
            Ok(Answer::No)
        }
    }
}

/// The faults as text, under a heading.
fn text_of_all(faults: &Faults, paint: impl Fn(&Diagnostic) -> String) -> String {
    let mut text = faults.heading();
    for fault in &faults.faults {
        text.push('\n');
        text.push_str(&text_of(fault, &paint));
    }
    text
}

/// A fault as text, one of a map or an agreement with the span underlined.
pub(super) fn text_of(fault: &Fault, paint: impl Fn(&Diagnostic) -> String) -> String {
    fault.diagnostic.as_ref().map_or_else(|| fault.to_string(), |diagnostic| paint(diagnostic))
}

/// Says on standard error why a site cannot be used.
pub(super) fn show_faults(faults: &Faults, output: &Output) {
    if output.is_json() {
        faults.faults.iter().for_each(|fault| output.remark(&fault_json(fault).to_string()));
    } else {
        output.remark(&text_of_all(faults, |diagnostic| output.painted_for_errors(diagnostic)));
    }
}

/// Says on standard error why a map cannot be used.
pub(super) fn show_diagnostics(diagnostics: &[Diagnostic], output: &Output) {
    diagnostics.iter().for_each(|diagnostic| output.diagnostic(diagnostic));
    let count = |severity| diagnostics.iter().filter(|each| each.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if !output.is_json() {
        let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        output.remark(&format!("the map has {} and {}", plural(errors, "error"), plural(warnings, "warning")));
    }
}

/// A constraint of a package that cannot mean what it says.
pub(super) fn doubt_text(doubt: &Issue) -> String {
    let place = doubt.path.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("warning: {} {place}: {}\n  hint: {}", doubt.rule, doubt.text, doubt.hint)
}

/// The same as JSON.
pub(super) fn doubt_json(doubt: &Issue) -> Value {
    let place = doubt.path.as_ref().map(ToString::to_string);
    json!({ "rule": doubt.rule, "element": place, "text": doubt.text, "hint": doubt.hint })
}

pub(super) fn fault_json(fault: &Fault) -> Value {
    let Some(diagnostic) = &fault.diagnostic else {
        return json!({ "file": fault.file, "text": fault.text, "hint": fault.hint });
    };
    let mut row = diagnostic_json(diagnostic);
    row["text"] = json!(fault.text);
    row
}

/// A diagnostic for an editor.
pub(super) fn diagnostic_json(diagnostic: &Diagnostic) -> Value {
    json!({
        "file": diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "endLine": diagnostic.end_line,
        "endColumn": diagnostic.end_column,
        "severity": diagnostic.severity.word(),
        "code": diagnostic.code.word(),
        "message": diagnostic.message,
        "hint": diagnostic.hint,
    })
}
