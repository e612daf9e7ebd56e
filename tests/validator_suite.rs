//! The published validator suite for R4 (FHIR/fhir-test-cases), where it is present.
//!
//! It is looked for in `$WEIR_TESTCASES/validator`, then in `../shared/testcases/validator` beside the repository. Each
//! step is a resource with the recorded verdict of the Java validator, valid or not. Steps on which the two disagree
//! are listed with a reason in `validator-known-failures.tsv`: one that disagrees without being listed fails the test,
//! and so does one that is listed and agrees, so the list can only shrink.
//!
//! A step that Java refuses only for a code or display that needs a terminology server is not counted, but Weir's
//! verdict on it is still compared. For each error that Java names, Weir should name the same element: the same path,
//! or the path of the child that is missing from it. Those that it does not name are listed with a reason in
//! `validator-known-paths.tsv`, by the same rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use weir::fhir::outcome::{Issue, IssueType};
use weir::fhir::r4::schema;
use weir::fhir::{Document, ElementPath, Limits};
use weir::fhirpath::{Environment, Expression, Item};
use weir::validation::{Strictness, Validator};

/// The folder of the suite, if it is present.
fn suite() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testcases");
    let roots = [std::env::var_os("WEIR_TESTCASES").map(PathBuf::from), Some(beside)];
    roots.into_iter().flatten().map(|root| root.join("validator")).find(|folder| folder.join("cases.jsonl").exists())
}

/// A step of the suite.
struct Step {
    /// The case's name, and for a second step of the same name which of them.
    name: String,
    case: Json,
}

impl Step {
    fn text(&self, member: &str) -> &str {
        self.case[member].as_str().unwrap_or_default()
    }

    fn supporting(&self) -> Vec<&str> {
        let files = self.case["supporting"].as_array().into_iter().flatten();
        let mut files: Vec<&str> = files.filter_map(Json::as_str).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    fn expected(&self) -> &[Json] {
        self.case["expect"].as_array().map_or(&[], Vec::as_slice)
    }

    fn needs_terminology(&self) -> bool {
        self.case["expect_tx_only"] == true
    }
}

fn steps(folder: &Path) -> Vec<Step> {
    let text = fs::read_to_string(folder.join("cases.jsonl")).expect("the suite can be read");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut steps = Vec::new();
    for line in text.lines() {
        let case: Json = serde_json::from_str(line).expect("a line is a step");
        let kind = if case["kind"] == "profile" { "+profile" } else { "" };
        let name = format!("{}{kind}", case["name"].as_str().expect("a step has a name"));
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        let name = if *count > 1 { format!("{name}#{count}") } else { name };
        steps.push(Step { name, case });
    }
    steps
}

fn read(folder: &Path, file: &str) -> Result<Document, String> {
    let bytes = fs::read(folder.join(file)).map_err(|error| format!("{file}: {error}"))?;
    Document::parse(bytes, &Limits::default()).map_err(|error| error.to_string())
}

/// The options that the suite's manifest sets for single cases; Java refuses unknown extensions in all.
fn strictness(step: &Step) -> Strictness {
    let name = step.text("name");
    Strictness {
        known_extensions: true,
        no_example_urls: matches!(name, "dr-example-org" | "pat-example-extensions"),
        no_markup: name.starts_with("pat-security-") && name.ends_with("bad-string") || name == "bad-markdown-no-html",
        resolved_references: matches!(name, "parameters-reference" | "parameters-reference-bad" | "qr-bad-ref2"),
    }
}

/// Validators by what they have loaded, so that base R4 is compiled once for most steps.
#[derive(Default)]
struct Validators {
    compiled: BTreeMap<String, Result<Validator, String>>,
}

impl Validators {
    fn of(&mut self, folder: &Path, step: &Step) -> Result<&Validator, String> {
        let files = step.supporting();
        let made = self.compiled.entry(format!("{:?} {}", strictness(step), files.join(" "))).or_insert_with(|| {
            let documents: Result<Vec<Document>, String> = files.iter().map(|file| read(folder, file)).collect();
            // A supporting file that makes no sense is left out, as Java leaves it out until it is used.
            Ok(Validator::compile_what_can_be(&documents?).0.with(strictness(step)))
        });
        made.as_ref().map_err(Clone::clone)
    }
}

/// Weir's errors on a step: path and text. A file that is no JSON has one, at no path.
fn errors(folder: &Path, step: &Step, validators: &mut Validators) -> Result<Vec<(String, String)>, String> {
    let Ok(document) = read(folder, step.text("file")) else {
        return Ok(vec![("?".to_owned(), "it is not JSON".to_owned())]);
    };
    let validator = validators.of(folder, step)?;
    let issues = validator.check_document(&document, step.case["profile"].as_str());
    for issue in &issues {
        leads_to_its_element(issue, &document);
    }
    let shown = |issue: &Issue| {
        let path = issue.path.as_ref().map(ElementPath::spelled).unwrap_or_default();
        (path, format!("[{}] {}", issue.rule, issue.text))
    };
    Ok(issues.iter().filter(|issue| issue.is_error()).map(shown).collect())
}

/// The expression of an issue evaluates to one element, or that of what is missing to none and its parent's to one.
fn leads_to_its_element(issue: &Issue, document: &Document) {
    let path = issue.path.as_ref().map_or("", ElementPath::as_str);
    if path.is_empty() {
        return;
    }
    let def = document.resource_type().and_then(|name| schema().resource(name));
    let focus = Item::of_node(document.root(), def);
    let count = |expression: &str| {
        let expression = Expression::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        expression.evaluate(std::slice::from_ref(&focus), &Environment::default()).map_or(0, |found| found.len())
    };
    let found = count(path);
    if found != 1 {
        let stem = path.rsplit_once(".ofType(").filter(|(_, rest)| !rest.contains('.')).map_or(path, |(stem, _)| stem);
        let parent = stem.rsplit_once('.').map_or("$this", |(parent, _)| parent);
        // Of a slice that is missing there may be others.
        let is_missing = found == 0 || issue.code == IssueType::Required;
        assert!(is_missing && count(parent) == 1, "{path} leads to {found}: [{}] {}", issue.rule, issue.text);
    }
}

/// `Bundle.entry[0].resource/*Patient/1*/.value.ofType(Quantity)` as Weir writes it.
fn own_path(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, behind)) = rest.split_once("/*") {
        out.push_str(before);
        rest = behind.split_once("*/").map_or("", |(_, behind)| behind);
    }
    out.push_str(rest);
    while let Some(start) = out.find("[url=") {
        let end = out[start..].find(']').map_or(out.len(), |end| start + end + 1);
        out.replace_range(start..end, "");
    }
    ElementPath::new(out).spelled()
}

/// Where Java says that an error is. On the references of messages and documents it counts from 1.
fn java_path(error: &Json) -> String {
    let path = own_path(error["path"].as_str().unwrap_or_default());
    let text = error["text"].as_str().unwrap_or_default();
    let is_of_bundle = ["Can't find '", "Found 2 matches for '", "Entry '"].iter().any(|start| text.starts_with(start));
    if is_of_bundle { counted_from_0(&path) } else { path }
}

/// `entry[0]` for `entry[1]`.
fn counted_from_0(path: &str) -> String {
    let step = |part: &str| match part.split_once(']') {
        Some((index, rest)) => match index.parse::<usize>() {
            Ok(index) => format!("[{}]{rest}", index.saturating_sub(1)),
            Err(_) => format!("[{part}"),
        },
        None => part.to_owned(),
    };
    let mut parts = path.split('[');
    parts.next().unwrap_or_default().to_owned() + &parts.map(step).collect::<String>()
}

/// The rows of a table of known differences: what stands before the last cell, and the reason in it.
fn known(table: &'static str) -> BTreeMap<&'static str, &'static str> {
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| line.rsplit_once('\t').filter(|(_, reason)| !reason.is_empty()).expect("a row has a reason"))
        .collect()
}

/// Whether Weir's error at `own` is about what Java names as `path`: there, or a child that is missing from it.
fn names(own: &str, path: &str) -> bool {
    own.strip_prefix(path).is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && !rest[1..].contains('.')))
}

/// The errors of a step that nobody without a terminology server can find.
fn is_terminology(error: &Json) -> bool {
    let text = error["text"].as_str().unwrap_or_default();
    text.starts_with("Wrong Display Name") || text.starts_with("Unknown code") && text.contains("snomed")
}

#[test]
fn the_published_suite_agrees_but_for_the_known_failures() {
    let Some(folder) = suite() else {
        eprintln!("skipped: there is no published validator suite beside the repository or in $WEIR_TESTCASES");
        return;
    };
    let mut failures = known(include_str!("validator-known-failures.tsv"));
    let mut paths = known(include_str!("validator-known-paths.tsv"));
    let mut unnamed = BTreeSet::new();
    let mut validators = Validators::default();
    let (mut agreed, mut counted, mut named, mut to_name) = (0, 0, 0, 0);
    let mut report = Vec::new();
    let verbose = std::env::var_os("WEIR_SUITE_REPORT").is_some();
    for step in steps(&folder) {
        let valid = step.expected().is_empty();
        let errors = errors(&folder, &step, &mut validators);
        let agrees = errors.as_ref().is_ok_and(|errors| errors.is_empty() == valid);
        let found = errors.as_deref().unwrap_or_default();
        if !step.needs_terminology() {
            counted += 1;
            agreed += usize::from(agrees);
            for error in step.expected().iter().filter(|error| !is_terminology(error)) {
                to_name += 1;
                let path = java_path(error);
                let hit = found.iter().any(|(own, _)| names(own, &path));
                named += usize::from(hit);
                if !hit {
                    unnamed.insert(format!("{}\t{path}", step.name));
                }
                if verbose && !hit {
                    eprintln!("PATH\t{}\t{path}\t{}", step.name, error["text"].as_str().unwrap_or_default());
                }
            }
        }
        if verbose {
            for (path, text) in found {
                eprintln!("OWN\t{}\t{path}\t{text}", step.name);
            }
        }
        if verbose && !agrees {
            let wanted = if valid { "valid" } else { "not valid" };
            let tx = if step.needs_terminology() { " (terminology)" } else { "" };
            eprintln!("STEP\t{}\t{wanted}{tx}\t{errors:?}", step.name);
        }
        match (agrees, failures.remove(&*step.name)) {
            (false, None) => report.push(format!("{}\tdisagrees: {errors:?}", step.name)),
            (true, Some(_)) => report.push(format!("{}\tagrees; take it off the list", step.name)),
            _ => {}
        }
    }
    eprintln!("{agreed} of {counted} steps agree; {named} of {to_name} errors have their path named");
    report.extend(failures.keys().map(|name| format!("{name}\tis not in the suite")));
    let unlisted = unnamed.iter().filter(|path| paths.remove(&***path).is_none());
    report.extend(unlisted.map(|path| format!("{path}\tis not named")).collect::<Vec<_>>());
    report.extend(paths.keys().map(|path| format!("{path}\tis named, or not in the suite; take it off the list")));
    assert!(report.is_empty(), "{agreed} of {counted} agree; unexpected:\n{}", report.join("\n"));
}
