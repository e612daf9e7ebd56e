//! What is wrong with a site: every fault, each with its file and what to do.

use std::fmt;

use crate::disclosure;
use crate::mapping::{Code, Diagnostic, Severity};

/// One thing that a start would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, relative to the site.
    pub file: String,
    /// What is wrong, with line and column where there is one.
    pub text: String,
    /// What to do; may be empty.
    pub hint: String,
    /// The place in a mapping file or an agreement.
    pub diagnostic: Option<Box<Diagnostic>>,
}

impl Fault {
    /// A fault in `file`.
    pub fn new(file: impl Into<String>, text: impl fmt::Display, hint: impl Into<String>) -> Fault {
        Fault { file: file.into(), text: text.to_string(), hint: hint.into(), diagnostic: None }
    }

    /// A fault of an agreement.
    pub fn of_agreement(fault: disclosure::Fault) -> Fault {
        Fault::at(agreement_diagnostic(fault))
    }

    /// A fault of a mapping file of the site.
    pub(super) fn of_map(diagnostic: Diagnostic) -> Fault {
        Fault::at(Diagnostic { file: format!("mappings/{}", diagnostic.file), ..diagnostic })
    }

    fn at(diagnostic: Diagnostic) -> Fault {
        let (file, text, hint) = (diagnostic.file.clone(), diagnostic.to_string(), diagnostic.hint.clone());
        Fault { file, text, hint, diagnostic: Some(Box::new(diagnostic)) }
    }
}

/// A fault of an agreement as maps show theirs.
fn agreement_diagnostic(fault: disclosure::Fault) -> Diagnostic {
    let disclosure::Fault { file, line, column, end_column, text, hint, excerpt } = fault;
    Diagnostic {
        file,
        line,
        column,
        end_line: line,
        end_column,
        severity: Severity::Error,
        code: Code::Agreement,
        message: text,
        hint,
        text: excerpt,
        end_text: None,
    }
}

/// Everything that is wrong with a site; at least one fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The faults, in the order they were found.
    pub faults: Vec<Fault>,
}

impl Faults {
    /// The value, or nothing and its fault among the others.
    pub(super) fn keep<T>(&mut self, checked: Result<T, Fault>) -> Option<T> {
        checked.map_err(|fault| self.faults.push(fault)).ok()
    }

    /// Adds the faults of a part that was checked as a whole.
    pub(super) fn keep_all<T>(&mut self, checked: Result<T, Vec<Fault>>) -> Option<T> {
        checked.map_err(|faults| self.faults.extend(faults)).ok()
    }
}

impl Faults {
    /// How many there are.
    pub fn heading(&self) -> String {
        format!("{} in the configuration", plural(self.faults.len(), "fault"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.diagnostic.is_some() {
            return f.write_str(&self.text);
        }
        write!(f, "{}: {}", self.file, self.text.trim_end())?;
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.heading())?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

impl std::error::Error for Faults {}

/// `1 fault`, `2 faults`
pub(super) fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
