//! Faults of a map, found when it is loaded: where from and to, what is wrong, and what to write instead.
//!
//! Enters: a byte range of a mapping file and what was found there. Leaves: a [`Diagnostic`], for people as text with
//! the span underlined, and for editors as fields. Lines and columns count from 1, columns in characters. Of a span over
//! several lines the first and the last are shown and underlined.

use std::fmt;
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The map runs, but perhaps not as it was meant.
    Warning,
    /// The map is refused.
    Error,
}

impl Severity {
    /// `error`, `warning`
    pub fn word(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// What kind of fault it is: stable, for programs that sort or silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It is not FML.
    Syntax,
    /// A FHIRPath expression that cannot be compiled.
    Expression,
    /// No variable of this name is bound here.
    UnknownVariable,
    /// The type has no such element.
    UnknownElement,
    /// No such type, or its definition was not given.
    UnknownType,
    /// No such group in this map and its imports.
    UnknownGroup,
    /// No such transform.
    UnknownTransform,
    /// No such concept map.
    UnknownConceptMap,
    /// A file that is imported was not given.
    UnknownImport,
    /// A value cannot stand where it is put.
    TypeMismatch,
    /// Two things carry the same name, or cannot be told apart.
    Duplicate,
    /// The language has it and this compiler does not.
    Unsupported,
    /// More than the compiler takes: of text, of nesting, of types.
    Limit,
    /// Anything else that is wrong with a rule.
    Rule,
    /// A sharing agreement says something that it cannot mean: its files are shown as maps are.
    Agreement,
}

impl Code {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Code::Syntax => "syntax",
            Code::Expression => "expression",
            Code::UnknownVariable => "unknown-variable",
            Code::UnknownElement => "unknown-element",
            Code::UnknownType => "unknown-type",
            Code::UnknownGroup => "unknown-group",
            Code::UnknownTransform => "unknown-transform",
            Code::UnknownConceptMap => "unknown-concept-map",
            Code::UnknownImport => "unknown-import",
            Code::TypeMismatch => "type-mismatch",
            Code::Duplicate => "duplicate",
            Code::Unsupported => "unsupported",
            Code::Limit => "limit",
            Code::Rule => "rule",
            Code::Agreement => "agreement",
        }
    }
}

/// One fault in a mapping file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name, as the loader was given it.
    pub file: String,
    /// Where it starts.
    pub line: usize,
    /// Where it starts, in characters.
    pub column: usize,
    /// The line of the last character.
    pub end_line: usize,
    /// The column behind the last character.
    pub end_column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What kind of fault it is.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// The line of the file where it starts.
    pub text: String,
    /// The line of the file where it ends, if that is another one.
    pub end_text: Option<String>,
}

/// What was found, and what to do about it.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Diagnostic {
    /// A fault in the bytes `range` of `text`. White space at the end of the range is not marked.
    pub(super) fn new(file: &str, text: &str, range: Range<usize>, finding: Finding) -> Diagnostic {
        let marked = text[range.start..range.end.max(range.start)].trim_end();
        let (first, last) = (place(text, range.start), place(text, range.start + marked.len()));
        let is_one_line = first.line == last.line;
        Diagnostic {
            file: file.to_owned(),
            line: first.line,
            column: first.column,
            end_line: last.line,
            end_column: if is_one_line { last.column.max(first.column + 1) } else { last.column },
            severity: finding.severity,
            code: finding.code,
            message: finding.message,
            hint: finding.hint,
            text: first.text.to_owned(),
            end_text: (!is_one_line).then(|| last.text.to_owned()),
        }
    }

    /// For a terminal: as text, with colours.
    pub fn coloured(&self) -> String {
        let colour = if self.severity == Severity::Error { "\u{1b}[1;31m" } else { "\u{1b}[1;33m" };
        self.render(&Paint {
            strong: "\u{1b}[1m",
            colour,
            margin: "\u{1b}[34m",
            hint: "\u{1b}[1;36m",
            off: "\u{1b}[0m",
        })
    }

    /// The place, the message, the first and the last line with the span underlined, the hint.
    fn render(&self, paint: &Paint) -> String {
        let Paint { strong, colour, margin, hint, off } = paint;
        let width = self.end_line.to_string().len();
        let gap = " ".repeat(width);
        let mut out = format!(
            "{colour}{}[{}]{off}{strong}: {}{off}\n{gap} {margin}-->{off} {}:{}:{}\n{gap} {margin}|{off}",
            self.severity.word(),
            self.code.word(),
            self.message,
            self.file,
            self.line,
            self.column,
        );
        for Marked { number, text, from, to } in self.marked() {
            let (text, before, carets) = underlined(text, from, to);
            out.push_str(&format!(
                "\n{margin}{number:>width$} |{off} {text}\n{gap} {margin}|{off} {before}{colour}{carets}{off}"
            ));
            if number == self.line && self.end_line > self.line + 1 {
                out.push_str(&format!("\n{margin}...{off}"));
            }
        }
        if !self.hint.is_empty() {
            out.push_str(&format!("\n{gap} {margin}={off} {hint}hint{off}: {}", self.hint));
        }
        out
    }

    /// The lines that are shown, and which of their columns belong to the span.
    fn marked(&self) -> Vec<Marked<'_>> {
        let Some(end_text) = &self.end_text else {
            return vec![Marked { number: self.line, text: &self.text, from: self.column, to: self.end_column }];
        };
        let indent = end_text.chars().take_while(|each| each.is_whitespace()).count();
        vec![
            Marked {
                number: self.line,
                text: &self.text,
                from: self.column,
                to: self.text.trim_end().chars().count() + 1,
            },
            Marked { number: self.end_line, text: end_text, from: indent + 1, to: self.end_column },
        ]
    }
}

/// A place in a text.
struct Point<'t> {
    line: usize,
    column: usize,
    text: &'t str,
}

fn place(text: &str, at: usize) -> Point<'_> {
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Point {
        line: before.matches('\n').count() + 1,
        column: before[start..].chars().count() + 1,
        text: text[start..].lines().next().unwrap_or_default(),
    }
}

/// A line with the columns to underline, the last of them left out.
struct Marked<'t> {
    number: usize,
    text: &'t str,
    from: usize,
    to: usize,
}

/// A line as it is shown, what stands below it before the carets, and the carets.
fn underlined(text: &str, from: usize, to: usize) -> (String, String, String) {
    let skipped = if from > SHOWN / 2 && text.len() > SHOWN { from - SHOWN / 2 } else { 0 };
    let text: String = text.trim_end().chars().skip(skipped).take(SHOWN).map(printable).collect();
    let before = text.chars().chain(std::iter::repeat(' ')).take(from - 1 - skipped);
    let before: String = before.map(|each| if each == '\t' { '\t' } else { ' ' }).collect();
    (text, before, "^".repeat(to.saturating_sub(from).clamp(1, SHOWN)))
}

/// How much of a line is shown.
const SHOWN: usize = 240;

/// A sign that does nothing to a terminal.
fn printable(sign: char) -> char {
    if sign.is_control() && sign != '\t' { char::REPLACEMENT_CHARACTER } else { sign }
}

/// What is written around the parts of a diagnostic.
struct Paint {
    strong: &'static str,
    colour: &'static str,
    margin: &'static str,
    hint: &'static str,
    off: &'static str,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Paint { strong: "", colour: "", margin: "", hint: "", off: "" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(text: &str, range: Range<usize>) -> Diagnostic {
        let message = "Condition has no element onsetDate".to_owned();
        let hint = "write onset, or onsetDateTime".to_owned();
        let finding = Finding { severity: Severity::Error, code: Code::UnknownElement, message, hint };
        Diagnostic::new("a.map", text, range, finding)
    }

    #[test]
    fn the_span_is_underlined() {
        assert_eq!(
            diagnostic("\n\tab cd\n", 5..7).to_string(),
            "error[unknown-element]: Condition has no element onsetDate\n  --> a.map:2:5\n  |\n2 | \tab cd\n  | \t   ^^\n  \
             = hint: write onset, or onsetDateTime"
        );
    }

    #[test]
    fn of_a_span_over_several_lines_the_first_and_the_last_are_underlined() {
        let over = diagnostic("é = ü {\n}\n", 5..12);
        assert_eq!((over.line, over.column, over.end_line, over.end_column), (1, 5, 2, 2));
        let shown = over.to_string();
        assert!(shown.contains("\n  |\n1 | é = ü {\n  |     ^^^\n2 | }\n  | ^\n  = hint"), "{shown}");

        let text = format!("{}group a {{\n  b;\n  c }} // d\n", "\n".repeat(8));
        let longer = diagnostic(&text, 8..text.len() - 6).to_string();
        let lines = " 9 | group a {\n   | ^^^^^^^^^\n...\n11 |   c } // d\n   |   ^^^\n   = hint";
        assert!(longer.contains(lines), "{longer}");
    }

    #[test]
    fn a_span_counts_characters_and_is_never_empty() {
        let blank = diagnostic("é = ü {\n}\n", 5..10);
        assert_eq!((blank.line, blank.column, blank.end_line, blank.end_column), (1, 5, 1, 8), "blanks are not marked");
        let at_the_end = diagnostic("ab", 2..2);
        assert_eq!((at_the_end.column, at_the_end.end_column), (3, 4));
        assert!(at_the_end.to_string().contains("1 | ab\n  |   ^"), "{at_the_end}");
        let empty = diagnostic("", 0..0);
        assert_eq!((empty.line, empty.column), (1, 1));
    }

    #[test]
    fn a_long_line_is_shown_around_the_span_and_control_characters_are_not() {
        let line = format!("{}\u{1b}[2Jhere{}", "a".repeat(20_000), "b".repeat(20_000));
        let found = diagnostic(&line, 20_004..20_008);
        let shown = found.to_string();
        assert!(shown.len() < 1_000, "{} bytes", shown.len());
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines[4].find('^').expect("the span is underlined");
        let start = lines[3].char_indices().nth(at).expect("there is text above").0;
        assert_eq!(&lines[3][start..start + 4], "here");
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let found = diagnostic("ab cd", 3..5);
        let mut plain = String::new();
        for (index, part) in found.coloured().split('\u{1b}').enumerate() {
            plain.push_str(if index == 0 { part } else { part.split_once('m').expect("a colour ends in m").1 });
        }
        assert_eq!(plain, found.to_string());
    }
}
