//! Faults of a map, found when it is loaded: file, line, column, what is wrong, and what to write instead.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The map runs, but perhaps not as it was meant.
    Warning,
    /// The map is refused.
    Error,
}

/// One fault in a mapping file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name, as the loader was given it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// The line of the file, for the caret.
    pub text: String,
}

impl fmt::Display for Diagnostic {
    /// The place, the message, the line with a caret under the column, the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.severity == Severity::Error { "error" } else { "warning" };
        writeln!(f, "{word}: {}", self.message)?;
        writeln!(f, "  --> {}:{}:{}", self.file, self.line, self.column)?;
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(f, "{margin} |\n{number} | {}", self.text.trim_end())?;
        let before: String =
            self.text.chars().take(self.column - 1).map(|each| if each == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "{margin} | {before}^")?;
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_column() {
        let diagnostic = Diagnostic {
            file: "a.map".to_owned(),
            line: 12,
            column: 5,
            severity: Severity::Error,
            message: "Condition has no element onsetDate".to_owned(),
            hint: "write onset, or onsetDateTime".to_owned(),
            text: "\tab cd\n".to_owned(),
        };
        assert_eq!(
            diagnostic.to_string(),
            "error: Condition has no element onsetDate\n  --> a.map:12:5\n   |\n12 | \tab cd\n   | \t   ^\n\
             hint: write onset, or onsetDateTime"
        );
    }
}
