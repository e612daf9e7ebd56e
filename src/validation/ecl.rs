//! Whether text can be an expression of SNOMED CT's Expression Constraint Language: operands and operators in turn,
//! brackets in pairs. And what the simple ones among them select.

/// Whether `text` is written as ECL is.
pub(super) fn is_written(text: &str) -> bool {
    let mut rest = text.trim();
    let mut open: Vec<char> = Vec::new();
    let mut wants_operand = true;
    while let Some(first) = rest.chars().next() {
        let (length, operand) = match first {
            '|' => (2 + rest[1..].find('|').unwrap_or(rest.len()), None),
            '"' => (2 + rest[1..].find('"').unwrap_or(rest.len()), Some(true)),
            '[' => (1 + rest.find(']').unwrap_or(rest.len()), None),
            '(' | '{' if wants_operand => {
                open.push(if first == '(' { ')' } else { '}' });
                (1, None)
            }
            ')' | '}' if !wants_operand && open.pop() == Some(first) => (1, None),
            '*' => (1, Some(true)),
            '^' | '#' | '!' if wants_operand => (1, None),
            ':' | ',' | '.' | '=' => (1, Some(false)),
            '!' if rest.starts_with("!=") => (2, Some(false)),
            '<' | '>' if wants_operand => (1, None),
            // A comparison of a concrete value.
            '<' | '>' if !rest[1..].starts_with(first) => (1 + usize::from(rest[1..].starts_with('=')), Some(false)),
            letter if is_word(letter) => {
                let length = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
                let is_operator = ["and", "or", "minus"].iter().any(|own| rest[..length].eq_ignore_ascii_case(own));
                (length, Some(!is_operator))
            }
            _ => return false,
        };
        match operand {
            Some(is_operand) if is_operand != wants_operand => return false,
            Some(_) => wants_operand = !wants_operand,
            None => {}
        }
        let Some(behind) = rest.get(length..) else { return false };
        rest = behind.trim_start();
    }
    !wants_operand && open.is_empty()
}

/// Which concepts an operand stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// The concept itself.
    Own,
    /// Those below it: `<`.
    Below,
    /// Both: `<<`.
    OwnAndBelow,
}

/// The operands of an expression that only joins concepts by `OR`, each with or without `<` or `<<`; `None` for any other.
pub(super) fn alternatives(text: &str) -> Option<Vec<(Range, &str)>> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    loop {
        let (range, operand) = match (rest.strip_prefix("<<"), rest.strip_prefix('<')) {
            (Some(operand), _) => (Range::OwnAndBelow, operand.trim_start()),
            (None, Some(operand)) => (Range::Below, operand.trim_start()),
            (None, None) => (Range::Own, rest),
        };
        let end = operand.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(operand.len());
        let (code, mut behind) = operand.split_at(end);
        behind = behind.trim_start();
        if let Some(term) = behind.strip_prefix('|') {
            behind = term.split_once('|')?.1.trim_start();
        }
        if code.is_empty() {
            return None;
        }
        found.push((range, code));
        if behind.is_empty() {
            return Some(found);
        }
        let (operator, operand) = behind.split_at_checked(2)?;
        rest = operand.trim_start();
        if !operator.eq_ignore_ascii_case("or") || rest.len() == operand.len() {
            return None;
        }
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '-' | '_' | '+')
}

#[cfg(test)]
mod tests {
    use super::{Range, alternatives, is_written};

    #[test]
    fn what_simple_expressions_select() {
        assert_eq!(alternatives("404684003 |Clinical finding|"), Some(vec![(Range::Own, "404684003")]));
        let both = vec![(Range::OwnAndBelow, "73211009"), (Range::Below, "1")];
        assert_eq!(alternatives(" << 73211009 |a (b)| or < 1 "), Some(both));
        for other in
            ["*", "^ 7", "<! 1", "< 1: 2 = 3", "< 1 AND < 2", "< 1 MINUS 2", "(1)", "1 OR", "1 OR2", "1 |a", ""]
        {
            assert_eq!(alternatives(other), None, "{other}");
        }
    }

    #[test]
    fn expressions_of_the_guide_are_ecl() {
        for text in [
            "404684003 |Clinical finding|",
            "<< 73211009 |Diabetes mellitus|",
            "<!404684003",
            "^ 700043003 |Example problem list concepts reference set|",
            "*",
            "< 19829001: 116676008 = 79654002, 363698007 = (<< 39057004 OR < 1)",
            "< 27658006: 1142135004 >= #250, 732943007 = 387517004",
            "< 404684003: { 363698007 = << 39057004 }",
            "< 125605004 . 363698007",
            "(< 1 AND < 2) MINUS < 3",
        ] {
            assert!(is_written(text), "{text}");
        }
    }

    #[test]
    fn other_text_is_not() {
        for text in ["", "234234 << 234234", "1 2", "< ", "(< 1", "< 1)", "1 AND", "a |b", "1 = ", "; 1", "\"é"] {
            assert!(!is_written(text), "{text}");
        }
    }
}
