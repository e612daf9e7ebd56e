//! Issues of a resource for people: each under the line that it is about, as compilers do.
//!
//! Enters: the text that was validated, and its issues. Leaves: words. Invariant: no value of the resource is shown. The
//! values in a line are hidden behind dots, one a character, so that columns stay true.

use crate::fhir::outcome::{Issue, Severity};

/// A JSON text whose values are hidden. Member names, punctuation, `true`, `false`, `null` and resource types stay.
#[derive(Debug, Default)]
pub(super) struct Masked {
    signs: Vec<char>,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// How many characters of a line are shown.
const SHOWN: usize = 120;

/// What stands for a character of a value.
const HIDDEN: char = '·';

impl Masked {
    /// Of JSON, or what was meant to be.
    pub(super) fn of(bytes: &[u8]) -> Masked {
        let text = String::from_utf8_lossy(bytes);
        let mut signs: Vec<char> = text.chars().collect();
        let (mut at, mut name) = (0, String::new());
        while at < signs.len() {
            let end = end_of_token(&signs, at);
            if signs[at] == '"' {
                let next = signs[end..].iter().find(|sign| !sign.is_ascii_whitespace());
                if next == Some(&':') {
                    name = signs[at..end].iter().collect();
                } else if name != "\"resourceType\"" {
                    let closed = end > at + 1 && signs[end - 1] == '"';
                    hide(&mut signs[at + 1..end - usize::from(closed)]);
                }
            } else if !is_plain(&signs[at..end]) {
                hide(&mut signs[at..end]);
            }
            at = end;
        }
        let behind = |(at, sign): (usize, &char)| (*sign == '\n').then_some(at + 1);
        let lines = std::iter::once(0).chain(signs.iter().enumerate().filter_map(behind)).collect();
        Masked { signs, lines }
    }

    /// The issue: what is wrong, its line with the element marked, the rule, what to do.
    pub(super) fn show(&self, issue: &Issue, file: &str, colours: bool) -> String {
        let paint = |code: &'static str| if colours { code } else { "" };
        let (strong, margin, off) = (paint("\u{1b}[1m"), paint("\u{1b}[34m"), paint("\u{1b}[0m"));
        let colour = paint(match issue.severity {
            Severity::Fatal | Severity::Error => "\u{1b}[1;31m",
            Severity::Warning => "\u{1b}[1;33m",
            Severity::Information => "\u{1b}[1;36m",
        });
        let path = issue.path.as_ref().map_or("", |path| path.as_str());
        let place = issue.position.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
        let number = issue.position.map(|at| at.line.to_string()).unwrap_or_default();
        let gap = " ".repeat(number.len());
        let (severity, code) = (issue.severity.code(), issue.code.code());
        let mut out = format!(
            "{colour}{severity}[{code}]{off}{strong}: {}{off}\n{gap} {margin}-->{off} {file}{place}{}{path}",
            issue.text,
            if path.is_empty() { "" } else { ", at " },
        );
        if let Some((line, before, marked)) = issue.position.and_then(|at| self.excerpt(at.line, at.column)) {
            let (before, carets) = (" ".repeat(before), "^".repeat(marked));
            out += &format!("\n{margin}{number} |{off} {line}\n{gap} {margin}|{off} {before}{colour}{carets}{off}");
        }
        for (label, text) in [("rule", &issue.rule), ("hint", &issue.hint)].iter().filter(|(_, text)| !text.is_empty())
        {
            out += &format!("\n{gap} {margin}={off} {strong}{label}{off}: {text}");
        }
        out
    }

    /// A part of a line, how many characters of it stand before the column, and how many are meant.
    fn excerpt(&self, line: usize, column: usize) -> Option<(String, usize, usize)> {
        let start = *self.lines.get(line.checked_sub(1)?)?;
        let end = self.lines.get(line).map_or(self.signs.len(), |next| next - 1);
        let at = start + column.checked_sub(1)?;
        if at > end {
            return None;
        }
        // The element's own line is cut on both sides where it is long: a resource often has just one.
        let from = if end - start > SHOWN { start.max(at.saturating_sub(SHOWN / 3)) } else { start };
        let to = end.min(from + SHOWN);
        let marked = if at < end { end_of_token(&self.signs, at) } else { at + 1 };
        let shown = self.signs[from..to].iter().map(|sign| if sign.is_control() { ' ' } else { *sign });
        Some((shown.collect::<String>().trim_end().to_owned(), at - from, marked.min(to.max(at + 1)) - at))
    }
}

/// Behind the string, the word or number, the run of spaces or the single sign that begins at `at`.
fn end_of_token(signs: &[char], at: usize) -> usize {
    let rest = &signs[at + 1..];
    let run = |ends: fn(&char) -> bool| rest.iter().position(ends).map_or(signs.len(), |length| at + 1 + length);
    match signs[at] {
        '"' => end_of_string(signs, at),
        '{' | '}' | '[' | ']' | ',' | ':' => at + 1,
        sign if sign.is_whitespace() => run(|sign| !sign.is_whitespace()),
        _ => run(|sign| sign.is_whitespace() || matches!(sign, '{' | '}' | '[' | ']' | ',' | ':' | '"')),
    }
}

/// A string ends with its line, too: JSON has none over several.
fn end_of_string(signs: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < signs.len() && signs[at] != '\n' {
        match signs[at] {
            '"' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    at.min(signs.len())
}

fn is_plain(token: &[char]) -> bool {
    let is = |word: &str| token.iter().copied().eq(word.chars());
    matches!(token, [sign] if "{}[],:".contains(*sign))
        || token.iter().all(|sign| sign.is_whitespace())
        || ["true", "false", "null"].into_iter().any(is)
}

fn hide(signs: &mut [char]) {
    signs.iter_mut().filter(|sign| **sign != '\n').for_each(|sign| *sign = HIDDEN);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::outcome::IssueType;
    use crate::fhir::{ElementPath, Position};

    fn masked(text: &str) -> String {
        Masked::of(text.as_bytes()).signs.into_iter().collect()
    }

    #[test]
    fn values_are_hidden_and_columns_stay() {
        let json = "{\"resourceType\":\"Patient\", \"a\\\"é\" : \"Zoë \\\" :\",\n\"n\":[-1.50e3,true,null,\"\"]}";
        let shown = "{\"resourceType\":\"Patient\", \"a\\\"é\" : \"········\",\n\"n\":[·······,true,null,\"\"]}";
        assert_eq!(masked(json), shown);
    }

    #[test]
    fn what_is_no_json_hides_its_values_too() {
        assert_eq!(
            masked("{\"family\" Smith, \"x\":\"Jones\n\"y\":\"a\\"),
            "{\"······\" ·····, \"x\":\"·····\n\"y\":\"··"
        );
    }

    #[test]
    fn an_issue_stands_under_its_line() {
        let masked = Masked::of(b"{\n  \"birthDate\": \"1987-02-30\"\n}");
        let issue = Issue::error(IssueType::Value, "there is no such date")
            .at(ElementPath::new("Patient.birthDate"))
            .position(Position { line: 2, column: 16 })
            .rule("r4-date")
            .hint("write a date that exists");
        assert_eq!(
            masked.show(&issue, "p.json", false),
            "error[value]: there is no such date\n  --> p.json:2:16, at Patient.birthDate\n2 |   \"birthDate\": \"··········\"\n  \
             |                ^^^^^^^^^^^^\n  = rule: r4-date\n  = hint: write a date that exists"
        );
        assert!(masked.show(&issue, "p.json", true).starts_with("\u{1b}[1;31merror[value]\u{1b}[0m"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_element_and_a_place_behind_the_end_shows_none() {
        let text = format!("[{}{{\"b\":true}}{}]", "1,".repeat(500), ",2".repeat(500));
        let masked = Masked::of(text.as_bytes());
        let (line, before, marked) = masked.excerpt(1, 1007).expect("it is there");
        assert_eq!((line.chars().count(), before, marked), (SHOWN, SHOWN / 3, 4));
        assert_eq!(line.chars().skip(before).take(marked).collect::<String>(), "true");
        assert_eq!(masked.excerpt(1, 9_999), None);
        assert_eq!(masked.excerpt(3, 1), None);
        assert_eq!(Masked::default().excerpt(1, 1), None);
    }
}
