//! Why a record was not mapped, for people and for programs: record, place in it, rule, what to do. Never a value.

use serde_json::{Value, json};

use super::output::Output;
use super::records::Record;
use crate::fhir::outcome::Issue;
use crate::fhir::{ElementPath, ParseError, Position};
use crate::mapping;
use crate::refusal::Refusal;

/// Why one record was refused.
#[derive(Debug)]
pub(super) struct Failure {
    /// The stage that refused.
    stage: &'static str,
    problems: Vec<Problem>,
    /// What the gateway would answer.
    pub(super) outcome: Option<String>,
}

#[derive(Debug)]
struct Problem {
    severity: &'static str,
    message: String,
    hint: String,
    path: Option<ElementPath>,
    position: Option<Position>,
    rule: Option<mapping::Rule>,
}

impl From<&mapping::Error> for Problem {
    fn from(error: &mapping::Error) -> Problem {
        let place = error.place();
        Problem {
            severity: "error",
            message: error.what(),
            hint: error.hint(),
            path: place.map(|place| place.path.clone()),
            position: place.and_then(|place| place.position),
            rule: place.map(|place| place.rule.clone()),
        }
    }
}

impl From<Issue> for Problem {
    fn from(issue: Issue) -> Problem {
        let Issue { severity, path, position, text, hint, .. } = issue;
        Problem { severity: severity.code(), message: text, hint, path, position, rule: None }
    }
}

impl From<mapping::Error> for Failure {
    fn from(error: mapping::Error) -> Failure {
        Failure { stage: "mapping", problems: vec![Problem::from(&error)], outcome: None }
    }
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Failure {
        let whole = Problem::of_the_whole(format!("the record is not JSON: {}", error.what), error.hint());
        Problem { path: Some(error.path), position: Some(error.position), ..whole }.at_intake()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let issues = refusal.issues();
        let outcome = Some(crate::fhir::outcome::operation_outcome(&issues));
        let problems = match &refusal {
            Refusal::Mapping(error) => vec![Problem::from(error)],
            _ => issues.into_iter().map(Problem::from).collect(),
        };
        Failure { stage: refusal.stage(), problems, outcome }
    }
}

impl Failure {
    /// The record could not be read at all.
    pub(super) fn unreadable(reason: &std::io::Error) -> Failure {
        let hint = "check the path, who may read the file, and how long its lines are";
        Problem::of_the_whole(format!("it cannot be read: {reason}"), hint).at_intake()
    }

    /// The record is JSON, and no object.
    pub(super) fn no_object() -> Failure {
        let hint = "give one object; of an array of records make NDJSON: one record a line, in a file called .ndjson";
        Problem::of_the_whole("the record is not a JSON object".to_owned(), hint).at_intake()
    }

    /// Says on standard error why `record` was refused.
    pub(super) fn show(&self, record: &Record, output: &Output) {
        if output.is_json() {
            let problems: Vec<Value> = self.problems.iter().map(|problem| problem.json(record)).collect();
            output.remark(&json!({ "record": record.name(), "stage": self.stage, "problems": problems }).to_string());
            return;
        }
        let mut text = format!("refused: {} (at {})", record.name(), self.stage);
        for problem in &self.problems {
            problem.write(record, &mut text);
        }
        output.remark(&text);
    }
}

impl Problem {
    /// An error with no place in the record.
    fn of_the_whole(message: String, hint: &str) -> Problem {
        Problem { severity: "error", message, hint: hint.to_owned(), path: None, position: None, rule: None }
    }

    fn at_intake(self) -> Failure {
        Failure { stage: "intake", problems: vec![self], outcome: None }
    }

    /// Line and column in the file that the record stands in.
    fn place_in_file(&self, record: &Record) -> Option<Position> {
        let before = record.line().map_or(0, |line| line - 1);
        self.position.map(|Position { line, column }| Position { line: line + before, column })
    }

    fn path(&self) -> &str {
        match self.path.as_ref().map(ElementPath::as_str) {
            None | Some("") => "the record",
            Some(path) => path,
        }
    }

    fn write(&self, record: &Record, text: &mut String) {
        let place = self.place_in_file(record).map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
        *text += &format!("\n  {}: {}", self.severity, self.message);
        *text += &format!("\n    --> {}{place}, at {}", record.file().display(), self.path());
        if let Some(rule) = &self.rule {
            let mapping::Rule { map, group, name, file, line } = rule;
            *text += &format!("\n    rule {name:?} of group {group} ({file}:{line}), map {map}");
        }
        if !self.hint.is_empty() {
            *text += &format!("\n    hint: {}", self.hint);
        }
    }

    fn json(&self, record: &Record) -> Value {
        let place = self.place_in_file(record);
        json!({
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
            "path": self.path.as_ref().map(ElementPath::as_str),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "rule": self.rule.as_ref().map(rule_json),
        })
    }
}

/// A rule, for programs.
pub(super) fn rule_json(rule: &mapping::Rule) -> Value {
    let mapping::Rule { map, group, name, file, line } = rule;
    json!({ "name": name, "group": group, "map": map, "file": file, "line": line })
}
