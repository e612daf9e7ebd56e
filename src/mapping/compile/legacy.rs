//! Rules in the words of older maps: `for src.a as v make tgt.b = v` and `for each src.a as v -> tgt.b = v` mean
//! `src.a as v -> tgt.b = v`. They are rewritten in place, letter for letter, so that lines and columns stay.

use std::borrow::Cow;

use fml_syntax::{AstNode, NodeOrToken, SyntaxKind, SyntaxToken, ast};

/// What may stand behind a variable that happens to be called `for`.
const BEHIND_A_VARIABLE: &[&str] =
    &["as", "where", "check", "log", "then", "default", "first", "not_first", "last", "not_last", "only_one"];

/// The text with its rules as they are written today. `tree` is the tree of `text`.
pub(super) fn modern<'t>(text: &'t str, tree: &ast::SourceFile) -> Cow<'t, str> {
    let tokens: Vec<SyntaxToken> = tree
        .syntax()
        .descendants_with_tokens()
        .filter_map(NodeOrToken::into_token)
        .filter(|token| !token.kind().is_trivia())
        .collect();
    let mut out = Cow::Borrowed(text);
    for at in 1..tokens.len() {
        let opens = matches!(tokens[at - 1].kind(), SyntaxKind::LBrace | SyntaxKind::Semicolon);
        if !opens || !is_word(&tokens[at..], "for") {
            continue;
        }
        let Some(first) = tokens.get(at + 1).filter(|next| is_name(next)) else { continue };
        if BEHIND_A_VARIABLE.contains(&first.text()) {
            continue;
        }
        blank(&mut out, &tokens[at]);
        let each = first.text() == "each" && tokens.get(at + 2).is_some_and(is_name);
        if each {
            blank(&mut out, first);
        }
        if let Some(make) = make_of(&tokens[at + 1..]) {
            overwrite(&mut out, make, " -> ");
        }
    }
    out
}

/// The `make` of the rule that starts here.
fn make_of(tokens: &[SyntaxToken]) -> Option<&SyntaxToken> {
    let end = tokens.iter().position(|token| matches!(token.kind(), SyntaxKind::Semicolon | SyntaxKind::LBrace));
    let rule = &tokens[..end.unwrap_or(tokens.len())];
    let is_make = |at: &usize| {
        let part_of_a_name = matches!(rule[at - 1].kind(), SyntaxKind::Dot | SyntaxKind::Percent | SyntaxKind::Comma);
        is_word(&rule[*at..], "make") && !part_of_a_name && rule[at - 1].text() != "as"
    };
    (1..rule.len()).find(is_make).map(|at| &rule[at])
}

fn is_name(token: &SyntaxToken) -> bool {
    matches!(token.kind(), SyntaxKind::Ident | SyntaxKind::DelimitedIdent)
}

fn is_word(tokens: &[SyntaxToken], word: &str) -> bool {
    tokens.first().is_some_and(|token| token.kind() == SyntaxKind::Ident && token.text() == word)
}

fn blank(text: &mut Cow<'_, str>, token: &SyntaxToken) {
    overwrite(text, token, &" ".repeat(token.text().len()));
}

fn overwrite(text: &mut Cow<'_, str>, token: &SyntaxToken, with: &str) {
    let range = token.text_range();
    text.to_mut().replace_range(usize::from(range.start())..usize::from(range.end()), with);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modernised(text: &str) -> String {
        modern(text, &fml_syntax::parse(text).tree()).into_owned()
    }

    #[test]
    fn older_rules_are_rewritten_in_place() {
        let old = "group g(source s, target t) {\n  for each s.a as v -> t.a = v;\n  for s.b as v make t.b = v then {\n for s.c make t.c = 'for x make y'; }; }";
        let new = "group g(source s, target t) {\n           s.a as v -> t.a = v;\n      s.b as v  ->  t.b = v then {\n     s.c  ->  t.c = 'for x make y'; }; }";
        assert_eq!(modernised(old), new);
    }

    #[test]
    fn variables_of_these_names_stay() {
        for text in [
            "group g(source for, target make) { for.a as v -> make.b = v; for as x -> make.c = x; }",
            "group g(source s, target t) { s.for as each -> t.make = each; s.x -> t.y; }",
        ] {
            assert_eq!(modernised(text), text);
        }
    }
}
