//! What a mapping file may be, judged by its tokens before a parser that calls itself sees them.
//!
//! Brackets and signs nest at most [`OPEN`] deep, an expression has at most [`CHAIN`] operators in a row, and a file and
//! its lines have a longest length, since the parser looks at a line once for each of its `///`.

use fml_syntax::{SyntaxKind, tokenize};

/// Longest mapping file, in bytes.
const LONGEST: usize = 1 << 20;
/// Longest line, in bytes.
const LINE: usize = 16 * 1024;
/// Brackets that may be open, and signs that may stand before a value.
const OPEN: usize = 100;
/// Operators and steps of one expression.
const CHAIN: usize = 1_000;

/// Why a file is not parsed: the byte at which it goes too far, and what is too much.
pub(super) fn excess(text: &str) -> Option<(usize, &'static str)> {
    if text.len() > LONGEST {
        return Some((0, "the mapping file is longer than 1 MiB"));
    }
    let mut start = 0;
    for line in text.split_inclusive(['\n', '\r']) {
        if line.len() > LINE {
            return Some((start, "the line is longer than 16 KiB"));
        }
        start += line.len();
    }
    let mut levels = Levels { open: Vec::new(), chain: 0, signs: 0, before: SyntaxKind::Semicolon };
    tokenize(text).0.iter().filter(|token| !token.kind.is_trivia()).find_map(|token| {
        let what = levels.step(token.kind, &text[token.range])?;
        Some((usize::from(token.range.start()), what))
    })
}

/// How deep the parser may be at a token, or less deep: a bracket is closed only by its own kind.
struct Levels {
    /// The brackets that are open, each with the operators before it.
    open: Vec<(SyntaxKind, usize)>,
    chain: usize,
    signs: usize,
    before: SyntaxKind,
}

impl Levels {
    fn step(&mut self, kind: SyntaxKind, text: &str) -> Option<&'static str> {
        use SyntaxKind as K;
        self.signs = if matches!(kind, K::Plus | K::Minus) { self.signs + 1 } else { 0 };
        let before = std::mem::replace(&mut self.before, kind);
        match kind {
            K::LParen | K::LBrace | K::LBracket => self.open.push((kind, std::mem::take(&mut self.chain))),
            K::RParen => self.close(K::LParen, 0),
            K::RBracket => self.close(K::LBracket, 1),
            K::RBrace if before == K::LBrace => self.close(K::LBrace, 0),
            K::RBrace => {
                self.close(K::LBrace, 0);
                self.chain = 0;
            }
            // No expression goes on behind these.
            K::Comma | K::Semicolon | K::Colon | K::Arrow | K::MetadataPrefix => self.chain = 0,
            K::Ident if !is_operator(text) => {}
            K::DelimitedIdent | K::DollarIdent | K::Percent | K::Unknown => {}
            _ if is_value(kind) => {}
            _ => self.chain += 1,
        }
        if self.open.len() > OPEN || self.signs > OPEN {
            return Some("brackets nest more than 100 deep");
        }
        (self.chain > CHAIN).then_some("the expression has more than 1,000 operators")
    }

    /// Closes a bracket; with its content it is `steps` more of the expression around it.
    fn close(&mut self, opened: SyntaxKind, steps: usize) {
        if let Some((_, chain)) = self.open.pop_if(|(open, _)| *open == opened) {
            self.chain = chain + steps;
        }
    }
}

fn is_operator(word: &str) -> bool {
    matches!(word, "div" | "mod" | "is" | "as" | "in" | "contains" | "and" | "or" | "xor" | "implies")
}

fn is_value(kind: SyntaxKind) -> bool {
    use SyntaxKind as K;
    matches!(
        kind,
        K::SingleQuotedString
            | K::DoubleQuotedString
            | K::TripleQuotedString
            | K::Integer
            | K::Decimal
            | K::LongNumber
            | K::Date
            | K::DateTime
            | K::Time
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_and_length_are_bounded() {
        let nested = |open: &str, times: usize| format!("let a = {}", open.repeat(times));
        for open in ["(", "[", "{", "a(", "-", "+ ", "({", "a[("] {
            assert_eq!(excess(&nested(open, 50)), None, "{open}");
            assert!(excess(&nested(open, 101)).is_some(), "{open}");
        }
        assert!(excess(&nested("a then { ) ", 200)).is_some());
        assert!(excess(&nested(".a", 2_000)).is_some_and(|(at, what)| at > 2_000 && what.contains("operators")));
        assert!(excess(&nested("[0]", 2_000)).is_some());
        assert!(excess(&nested("| {} ", 2_000)).is_some());
        assert_eq!(excess(&nested("s:a == t:b ", 1_400)), None);
        assert_eq!(excess(&nested("(a.b), ", 2_000)), None);
        assert!(excess(&"/".repeat(2 << 20)).is_some());
        assert!(excess(&"/// a = ".repeat(3_000)).is_some());
    }
}
