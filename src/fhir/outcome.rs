//! OperationOutcome: how every stage reports, and how a peer is told (FHIR R4 OperationOutcome).

use super::{ElementPath, Position, Writer};

/// How bad an issue is (`http://hl7.org/fhir/issue-severity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Information,
    /// Not wrong, but not as it should be.
    Warning,
    /// The message cannot go on.
    Error,
    /// The action failed and no further checking was possible.
    Fatal,
}

impl Severity {
    /// The FHIR code.
    pub fn code(self) -> &'static str {
        match self {
            Severity::Information => "information",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Fatal => "fatal",
        }
    }
}

/// What kind of issue it is (`http://hl7.org/fhir/issue-type`): the codes that Weir uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the codes are defined by FHIR")]
pub enum IssueType {
    Invalid,
    Structure,
    Required,
    Value,
    Invariant,
    Security,
    Login,
    Unknown,
    Forbidden,
    Processing,
    NotSupported,
    Duplicate,
    NotFound,
    TooLong,
    CodeInvalid,
    Extension,
    TooCostly,
    BusinessRule,
    Conflict,
    Transient,
    Throttled,
    Exception,
    Informational,
}

impl IssueType {
    /// The FHIR code.
    pub fn code(self) -> &'static str {
        match self {
            IssueType::Invalid => "invalid",
            IssueType::Structure => "structure",
            IssueType::Required => "required",
            IssueType::Value => "value",
            IssueType::Invariant => "invariant",
            IssueType::Security => "security",
            IssueType::Login => "login",
            IssueType::Unknown => "unknown",
            IssueType::Forbidden => "forbidden",
            IssueType::Processing => "processing",
            IssueType::NotSupported => "not-supported",
            IssueType::Duplicate => "duplicate",
            IssueType::NotFound => "not-found",
            IssueType::TooLong => "too-long",
            IssueType::CodeInvalid => "code-invalid",
            IssueType::Extension => "extension",
            IssueType::TooCostly => "too-costly",
            IssueType::BusinessRule => "business-rule",
            IssueType::Conflict => "conflict",
            IssueType::Transient => "transient",
            IssueType::Throttled => "throttled",
            IssueType::Exception => "exception",
            IssueType::Informational => "informational",
        }
    }
}

/// One finding: what, where, and what to do. Holds no value of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// How bad.
    pub severity: Severity,
    /// What kind.
    pub code: IssueType,
    /// The element, as FHIRPath; `None` when the whole message is meant.
    pub path: Option<ElementPath>,
    /// Line and column in the input, where there is one.
    pub position: Option<Position>,
    /// What is wrong, and what was expected.
    pub text: String,
    /// What to do; may be empty.
    pub hint: String,
    /// The rule that says so: an invariant key, a profile's canonical URL; may be empty.
    pub rule: String,
}

impl Issue {
    /// An error with a text; add place and hint with the methods below.
    pub fn error(code: IssueType, text: impl Into<String>) -> Issue {
        Issue {
            severity: Severity::Error,
            code,
            path: None,
            position: None,
            text: text.into(),
            hint: String::new(),
            rule: String::new(),
        }
    }

    /// The same with another severity.
    #[must_use]
    pub fn severity(self, severity: Severity) -> Issue {
        Issue { severity, ..self }
    }

    /// The same at an element.
    #[must_use]
    pub fn at(self, path: ElementPath) -> Issue {
        Issue { path: Some(path), ..self }
    }

    /// The same at a line and column.
    #[must_use]
    pub fn position(self, position: Position) -> Issue {
        Issue { position: Some(position), ..self }
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Issue {
        Issue { hint: hint.into(), ..self }
    }

    /// The same with the rule that asks for it.
    #[must_use]
    pub fn rule(self, rule: impl Into<String>) -> Issue {
        Issue { rule: rule.into(), ..self }
    }

    /// Whether it stops a message.
    pub fn is_error(&self) -> bool {
        self.severity >= Severity::Error
    }
}

/// An OperationOutcome as FHIR JSON. `details.text` says what, `diagnostics` the hint and position, `expression` where.
pub fn operation_outcome(issues: &[Issue]) -> String {
    operation_outcome_coded(issues, None)
}

/// The same with `details.coding` on each issue: system and code (BaRS http-error-codes).
pub fn operation_outcome_coded(issues: &[Issue], coding: Option<(&str, &str)>) -> String {
    let mut out = Writer::new();
    out.begin_object();
    out.field("resourceType", "OperationOutcome");
    out.key("issue");
    out.begin_array();
    for issue in issues {
        write_issue(&mut out, issue, coding);
    }
    if issues.is_empty() {
        let none = Issue::error(IssueType::Informational, "no issues").severity(Severity::Information);
        write_issue(&mut out, &none, coding);
    }
    out.end_array();
    out.end_object();
    out.finish()
}

fn write_issue(out: &mut Writer, issue: &Issue, coding: Option<(&str, &str)>) {
    out.begin_object();
    out.field("severity", issue.severity.code());
    out.field("code", issue.code.code());
    out.key("details");
    out.begin_object();
    if let Some((system, code)) = coding {
        out.key("coding");
        out.begin_array();
        out.begin_object();
        out.field("system", system);
        out.field("code", code);
        out.end_object();
        out.end_array();
    }
    out.field("text", &issue.text);
    out.end_object();
    let mut diagnostics: Vec<String> = Vec::new();
    diagnostics.extend(issue.position.map(|position| position.to_string()));
    diagnostics.extend((!issue.rule.is_empty()).then(|| format!("rule {}", issue.rule)));
    diagnostics.extend((!issue.hint.is_empty()).then(|| format!("hint: {}", issue.hint)));
    if !diagnostics.is_empty() {
        out.field("diagnostics", &diagnostics.join("; "));
    }
    if let Some(path) = issue.path.as_ref().filter(|path| !path.as_str().is_empty()) {
        out.key("expression");
        out.begin_array();
        out.string(path.as_str());
        out.end_array();
    }
    out.end_object();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_says_what_where_and_what_to_do() {
        let issue = Issue::error(IssueType::Required, "birthDate is missing")
            .at(ElementPath::new("Patient.birthDate"))
            .position(Position { line: 2, column: 3 })
            .hint("add it")
            .rule("https://weir.example/p");
        assert_eq!(
            operation_outcome(&[issue]),
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"required","details":{"text":"birthDate is missing"},"diagnostics":"line 2, column 3; rule https://weir.example/p; hint: add it","expression":["Patient.birthDate"]}]}"#
        );
    }

    #[test]
    fn an_outcome_always_has_an_issue() {
        assert!(operation_outcome(&[]).contains(r#""code":"informational""#));
    }
}
