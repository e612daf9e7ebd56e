//! What is wrong with an agreement file, and where: for people as text with a caret, for programs as fields.

use std::fmt;
use std::ops::Range;

/// What is wrong with an agreement file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {text}")]
pub struct Fault {
    /// The file's name as it was given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The column behind the last character; on the same line, and more than `column`.
    pub end_column: usize,
    /// What is wrong.
    pub text: String,
    /// What to write instead; may be empty when `text` says it.
    pub hint: String,
    /// The line of the file that it stands on.
    pub excerpt: String,
}

impl Fault {
    /// A fault in the bytes `range` of `text`. Of a range over several lines the first is marked.
    pub(super) fn new(file: &str, text: &str, range: Range<usize>, what: impl Into<String>) -> Fault {
        let before = text.get(..range.start).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let excerpt = text[start..].lines().next().unwrap_or_default();
        let column = before[start..].chars().count() + 1;
        let marked = text.get(range).unwrap_or_default().lines().next().unwrap_or_default().trim_end();
        Fault {
            file: file.to_owned(),
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column,
            end_column: column + marked.chars().count().max(1),
            text: what.into(),
            hint: String::new(),
            excerpt: excerpt.to_owned(),
        }
    }

    /// The same, with what to write instead.
    pub(super) fn with_hint(self, hint: impl Into<String>) -> Fault {
        Fault { hint: hint.into(), ..self }
    }
}

/// Collects the faults of one file.
pub(super) struct Faults<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Fault>,
}

impl<'a> Faults<'a> {
    pub(super) fn of(file: &'a str, text: &'a str) -> Faults<'a> {
        Faults { file, text, found: Vec::new() }
    }

    /// The file's text.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn add(&mut self, range: Range<usize>, what: impl Into<String>) {
        self.found.push(Fault::new(self.file, self.text, range, what));
    }

    pub(super) fn add_with_hint(&mut self, range: Range<usize>, what: impl Into<String>, hint: impl Into<String>) {
        self.found.push(Fault::new(self.file, self.text, range, what).with_hint(hint));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, in the order of the file.
    pub(super) fn into_found(mut self) -> Vec<Fault> {
        self.found.sort_by_key(|fault| (fault.line, fault.column));
        self.found.dedup();
        self.found
    }
}

/// `a, b or c`
pub(super) fn one_of<T: fmt::Display>(choices: &[T]) -> String {
    let mut words: Vec<String> = choices.iter().map(T::to_string).collect();
    match words.pop() {
        Some(last) if !words.is_empty() => format!("{} or {last}", words.join(", ")),
        Some(last) => last,
        None => String::new(),
    }
}
