//! Standard output and standard error of the program.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::Format;
use crate::mapping::Diagnostic;

/// Where a verb prints, in the format that was asked for.
#[derive(Debug)]
pub(super) struct Output {
    /// `None` where nothing was asked for.
    format: Option<Format>,
    /// Why something could not be written, if that was so.
    failed: Cell<Option<io::ErrorKind>>,
    /// Whether whoever read standard output has gone.
    closed: Cell<bool>,
}

impl Output {
    pub(super) fn new(format: Option<Format>) -> Output {
        Output { format, failed: Cell::new(None), closed: Cell::new(false) }
    }

    /// Why the answer could not be written; `None` when it was, or when its reader had read enough.
    pub(super) fn failed(&self) -> Option<io::ErrorKind> {
        self.failed.get()
    }

    fn print(&self, mut out: impl Write, text: &str) {
        let ending = if text.ends_with('\n') { "" } else { "\n" };
        match write!(out, "{text}{ending}").and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => self.failed.set(Some(error.kind())),
            Err(_) => self.closed.set(true),
            _ => {}
        }
    }

    /// Whether whoever read the answer has gone.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether JSON was asked for.
    pub(super) fn is_json(&self) -> bool {
        self.format == Some(Format::Json)
    }

    /// Whether words were asked for, where the usual answer is a document.
    pub(super) fn is_text(&self) -> bool {
        self.format == Some(Format::Text)
    }

    /// Whether standard output takes colours.
    pub(super) fn has_colours(&self) -> bool {
        has_colours(&io::stdout())
    }

    /// A line for people; nothing when JSON was asked for.
    pub(super) fn line(&self, text: &str) {
        if !self.is_json() {
            self.print(io::stdout().lock(), text);
        }
    }

    /// The answer, either way: the document itself (a Bundle, an OperationOutcome).
    pub(super) fn document(&self, text: &str) {
        self.print(io::stdout().lock(), text);
    }

    /// The answer for programs; nothing when words were asked for.
    pub(super) fn json(&self, value: &Value) {
        if self.is_json() {
            self.print(io::stdout().lock(), &value.to_string());
        }
    }

    /// A remark beside the answer, on standard error.
    pub(super) fn remark(&self, text: &str) {
        self.print(io::stderr().lock(), text);
    }

    /// A fault of a map, on standard error: underlined for people, an object a line for editors.
    pub(super) fn diagnostic(&self, diagnostic: &Diagnostic) {
        if self.is_json() {
            self.remark(&super::config::diagnostic_json(diagnostic).to_string());
        } else {
            self.remark(&self.painted_for_errors(diagnostic));
        }
    }

    /// A fault of a map as standard output shows it.
    pub(super) fn painted(&self, diagnostic: &Diagnostic) -> String {
        paint(diagnostic, has_colours(&io::stdout()))
    }

    /// A fault of a map as standard error shows it.
    pub(super) fn painted_for_errors(&self, diagnostic: &Diagnostic) -> String {
        paint(diagnostic, has_colours(&io::stderr()))
    }

    /// Why the verb could not do what was asked.
    pub(super) fn failure(&self, error: &anyhow::Error) {
        if self.is_json() {
            self.print(io::stderr().lock(), &serde_json::json!({ "error": format!("{error:#}") }).to_string());
        } else {
            let label = if has_colours(&io::stderr()) { "\u{1b}[31merror\u{1b}[0m" } else { "error" };
            self.print(io::stderr().lock(), &format!("{label}: {error:#}"));
        }
    }
}

fn paint(diagnostic: &Diagnostic, colours: bool) -> String {
    if colours { diagnostic.coloured() } else { diagnostic.to_string() }
}

/// Whether colours are wanted: on a terminal, unless `NO_COLOR` is set to something (no-color.org).
fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A JSON document indented for people, its numbers and strings as they were written.
pub(super) fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        if in_string {
            out.push(letter);
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            '"' => {
                in_string = true;
                out.push(letter);
            }
            '{' | '[' => {
                out.push(letter);
                while letters.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    letters.next();
                }
                if let Some(&close @ ('}' | ']')) = letters.peek() {
                    out.push(close);
                    letters.next();
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            space if space.is_ascii_whitespace() => {}
            other => out.push(other),
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indenting_keeps_digits_and_strings() {
        let json = r#"{"a":[1.50,{}, [ ]],"b\"{,":"x\\","c":{"d":null}}"#;
        let expected = "{\n  \"a\": [\n    1.50,\n    {},\n    []\n  ],\n  \"b\\\"{,\": \"x\\\\\",\n  \"c\": {\n    \"d\": null\n  }\n}";
        assert_eq!(indented(json), expected);
        assert_eq!(indented(expected), expected);
    }
}
