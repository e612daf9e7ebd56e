//! What is wrong with a site: every fault, each with its file and what to do.

use std::fmt;

/// One thing that a start would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, relative to the site.
    pub file: String,
    /// What is wrong, with line and column where there is one.
    pub text: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Fault {
    /// A fault in `file`.
    pub fn new(file: impl Into<String>, text: impl fmt::Display, hint: impl Into<String>) -> Fault {
        Fault { file: file.into(), text: text.to_string(), hint: hint.into() }
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

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the configuration", plural(self.faults.len(), "fault"))?;
        for fault in &self.faults {
            write!(f, "\n{}: {}", fault.file, fault.text.trim_end())?;
            if !fault.hint.is_empty() {
                write!(f, "\n  hint: {}", fault.hint)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// `1 fault`, `2 faults`
pub(super) fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
