//! What the author of a map that does not parse most likely meant.
//!
//! Enters: the text and the parser's faults. Leaves: one [`Slip`] for each line and statement at most, in words that
//! say what to write; what only follows from an earlier slip is left out.

use std::ops::Range;

use fml_syntax::{Severity as SyntaxSeverity, SyntaxKind};

use super::super::diagnostic::Severity;

/// A slip of the pen.
#[derive(Debug)]
pub(super) struct Slip {
    pub(super) range: Range<usize>,
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) hint: String,
    /// Whether it only follows from an earlier one, and is not told.
    pub(super) is_consequence: bool,
    /// Whether the rule around it is whole nevertheless.
    pub(super) is_harmless: bool,
    /// Whether what follows can still be read as it was meant.
    pub(super) is_local: bool,
}

impl Slip {
    fn new(range: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> Slip {
        Slip {
            range,
            severity: Severity::Error,
            message: message.into(),
            hint: hint.into(),
            is_consequence: false,
            is_harmless: false,
            is_local: true,
        }
    }

    fn harmless(self) -> Slip {
        Slip { is_harmless: true, ..self }
    }

    fn far_reaching(self) -> Slip {
        Slip { is_local: false, ..self }
    }
}

/// Its `}` then seems to end the group, and what follows to stand outside.
const BLOCK_WITHOUT_THEN: &str = "a block stands after `then`";

/// The slips in `text` that `faults` tell of.
pub(super) fn slips(text: &str, faults: &[fml_syntax::Diagnostic]) -> Vec<Slip> {
    let open = unclosed_quote(text, faults);
    let end = open.as_ref().map_or(text.len() + 1, |open| open.range.start);
    let strange: Vec<&str> =
        faults.iter().filter(|fault| fault.message.starts_with("unexpected")).map(|fault| &text[fault.range]).collect();
    let mut slips: Vec<Slip> = Vec::new();
    for fault in faults.iter().filter(|fault| usize::from(fault.range.start()) < end) {
        let found = parts(&fault.message).map(|(_, found)| found);
        let mut slip = explain(text, fault);
        if found.is_some_and(|found| strange.contains(&found)) {
            slips.push(Slip { is_consequence: true, ..slip });
            continue;
        }
        if fault.severity == SyntaxSeverity::Warning {
            slip.severity = Severity::Warning;
            slip.is_harmless = true;
        }
        let follows = |known: &Slip| {
            let between = &text[known.range.start..slip.range.start.max(known.range.start)];
            !between.contains('\n') || !known.is_harmless && !between.contains([';', '{', '}'])
        };
        let told = slips.iter().rfind(|known| !known.is_consequence);
        let lacks_then = slips.iter().any(|known| known.message == BLOCK_WITHOUT_THEN);
        let ends_too_early =
            lacks_then && parts(&fault.message).is_some_and(|(expected, _)| expected.starts_with("a declaration"));
        slip.is_consequence = ends_too_early || told.is_some_and(follows);
        slips.push(slip);
    }
    slips.extend(open);
    slips
}

/// A string that runs over the end of its line, although the file has faults: its quote is most likely not closed.
fn unclosed_quote(text: &str, faults: &[fml_syntax::Diagnostic]) -> Option<Slip> {
    if faults.is_empty() {
        return None;
    }
    let (tokens, _) = fml_syntax::tokenize(text);
    let token = tokens.into_iter().find(|token| {
        let is_string = matches!(token.kind, SyntaxKind::SingleQuotedString | SyntaxKind::DoubleQuotedString);
        let is_open = faults.iter().any(|fault| fault.message == "unterminated string" && fault.range == token.range);
        is_open || is_string && text[token.range].contains('\n')
    })?;
    let quote = if text[token.range].starts_with('"') { '"' } else { '\'' };
    let message = "this quote is not closed on its line";
    let mut range: Range<usize> = token.range.into();
    range.end = text[range.clone()].find('\n').map_or(range.end, |newline| range.start + newline);
    Some(Slip::new(range, message, format!("close it with {quote}")).far_reaching())
}

/// What was expected and what was found.
fn parts(message: &str) -> Option<(&str, &str)> {
    let (expected, found) = message.strip_prefix("expected ")?.rsplit_once(", found ")?;
    Some((expected, found.trim_matches('`')))
}

fn explain(text: &str, fault: &fml_syntax::Diagnostic) -> Slip {
    let range: Range<usize> = fault.range.into();
    let Some((expected, found)) = parts(&fault.message) else { return unexpected(text, range, &fault.message) };
    let statement = statement(text, range.start);
    let at_end = range.is_empty();
    match expected {
        "`;`" => end_of_rule(range, statement, found, at_end),
        "`}`" => unclosed_group(text, range),
        "`)`" => Slip::new(range, format!("a `(` is not closed before `{found}`"), "close it with )"),
        "`]`" => Slip::new(range, format!("a `[` is not closed before `{found}`"), "close it with ]"),
        "`>>`" => Slip::new(range, "`<<` is not closed", "write <<types>> or <<type+>>"),
        "a field name" => {
            Slip::new(range, "`:=` is no sign of this language", "write = to set an element, or : before a type")
        }
        "a quoted URL" => {
            let hint = "put it in double quotes: uses \"http://…\" alias Name as source";
            Slip::new(range, "a URL stands in quotes", hint).far_reaching()
        }
        "`source`, `queried`, `target` or `produced`" => {
            let hint = "write as source for what is read, as target for what is made";
            Slip::new(range, format!("a definition is not used as `{found}`"), hint).far_reaching()
        }
        "`source` or `target`" => {
            let message = format!("the parameter `{found}` does not say whether it is read or filled");
            Slip::new(range, message, format!("write source {found}, or target {found}")).far_reaching()
        }
        "a group invocation or `{`" | "a group invocation" => {
            let hint = format!("call a group with its arguments, then {found}(source, target), or write then {{ … }}");
            Slip::new(range, "after `then` stands a call or a block", hint)
        }
        "a transform" => {
            let hint = "write a text in single quotes, a variable, or a transform such as create('Type')";
            Slip::new(range, format!("`{found}` is no value"), hint)
        }
        "a relationship such as `-` or `==`" | "`prefix` or a concept mapping" => {
            let hint = "write source:code - target:code, or == for the same meaning";
            Slip::new(range, format!("`{found}` does not relate two codes"), hint).far_reaching()
        }
        "a code" => {
            let hint = "write prefix:code; a code with other signs than letters and digits stands in quotes";
            Slip::new(range, "a code is missing", hint).far_reaching()
        }
        "an expression" | "an argument after `,`" => Slip::new(
            range,
            format!("an expression is missing before `{found}`"),
            "write it, or take out what asks for it",
        ),
        _ if expected.starts_with("a declaration") => declaration(range, found),
        _ => {
            let hint = "rules are written source -> target = value \"name\";";
            let slip = Slip::new(range, format!("expected {expected}, found {}", quoted(found)), hint);
            if is_in_group(text, fault) { slip } else { slip.far_reaching() }
        }
    }
}

fn quoted(found: &str) -> String {
    if found == "end of file" { "the end of the file".to_owned() } else { format!("`{found}`") }
}

fn is_in_group(text: &str, fault: &fml_syntax::Diagnostic) -> bool {
    let before = &text[..usize::from(fault.range.start())];
    before
        .lines()
        .rev()
        .find(|line| line.starts_with("group ") || line.starts_with('}'))
        .is_some_and(|line| line.starts_with("group ") && line.contains('{'))
}

/// The rule up to the fault.
fn statement(text: &str, at: usize) -> &str {
    let before = &text[..at];
    before.rfind([';', '{', '}']).map_or(before, |start| &before[start + 1..])
}

fn end_of_rule(range: Range<usize>, statement: &str, found: &str, at_end: bool) -> Slip {
    let has_arrow = statement.contains("->");
    match found {
        "=" | "==" if !has_arrow => {
            let hint = "write source -> target; = stands only between a target's element and its value";
            Slip::new(range, format!("`->` stands between source and target, not `{found}`"), hint)
        }
        "==" => Slip::new(range, "`==` compares two codes; it sets nothing", "write = to set the element"),
        "->" => Slip::new(range, "a rule has one `->`", "write = to set an element: patient.birthDate = born"),
        "=>" | ">" | ">=" => Slip::new(range, format!("`{found}` is no arrow"), "write ->"),
        quoted if quoted.starts_with('\'') => {
            let hint = format!("write \"{}\";", quoted.trim_matches('\''));
            Slip::new(range, "the name of a rule stands in double quotes", hint)
        }
        "{" if has_arrow => {
            let hint = "write then { … }, and a ; behind the block";
            Slip::new(range, BLOCK_WITHOUT_THEN, hint).far_reaching()
        }
        "," if statement.contains("then") => {
            Slip::new(range, "nothing follows the block or call of a `then`", "end the rule with ;")
        }
        _ if at_end => Slip::new(range, "this rule does not end with `;`", "write ; at its end").harmless(),
        _ if has_arrow => {
            let hint = "separate targets by a comma, bind a variable with as, end the rule with ;";
            Slip::new(range, format!("`{found}` cannot stand here"), hint)
        }
        _ => {
            let hint = "separate sources by a comma, bind a variable with as, and write -> before the target";
            Slip::new(range, format!("`{found}` cannot stand here"), hint)
        }
    }
}

fn unclosed_group(text: &str, range: Range<usize>) -> Slip {
    let before = &text[..range.start];
    let opened = before.match_indices("group ").filter(|(at, _)| *at == 0 || before[..*at].ends_with('\n')).last();
    let Some((at, _)) = opened else {
        return Slip::new(range, "a `{` is not closed", "close it with }").far_reaching();
    };
    let name: String =
        before[at + 6..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let line = before[..at].matches('\n').count() + 1;
    let hint = format!("write the }} that is missing; the group opens in line {line}");
    Slip::new(range, format!("the group {name} is not closed"), hint).harmless()
}

fn declaration(range: Range<usize>, found: &str) -> Slip {
    match found {
        "}" => {
            Slip::new(range, "there is a `}` too many", "take it out, or look above for a group that ends too early")
        }
        found => {
            let hint = "a file holds map, uses, imports, let, conceptmap and group; rules stand inside a group's { }";
            Slip::new(range, format!("{} stands outside of any group", quoted(found)), hint).far_reaching()
        }
    }
}

/// What the lexer or the parser says in its own words.
fn unexpected(text: &str, range: Range<usize>, message: &str) -> Slip {
    let found = &text[range.clone()];
    match found.chars().next() {
        Some('#') => Slip::new(range, "`#` starts no comment", "write // before a comment"),
        Some('\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}') => {
            let hint = "write the straight quotes ' and \"; a word processor may have changed them";
            Slip::new(range, format!("`{found}` is no quote"), hint)
        }
        _ if message.starts_with("unterminated block comment") => {
            Slip::new(range, "this comment is not closed", "close it with */").far_reaching()
        }
        _ if message.starts_with("unexpected") => match found.chars().next().filter(|sign| sign.is_control()) {
            Some(sign) => {
                let message = format!("the control character U+{:04X} is no sign of this language", u32::from(sign));
                Slip::new(range, message, "take it out")
            }
            None => Slip::new(range, format!("`{found}` is no sign of this language"), "take it out"),
        },
        _ => Slip::new(range, message, "correct what is marked"),
    }
}
