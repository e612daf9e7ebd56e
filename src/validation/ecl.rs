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

/// Which concepts a concept stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// The concept itself.
    Own,
    /// Those below it: `<`.
    Below,
    /// Both: `<<`.
    OwnAndBelow,
    /// Those right below it: `<!`.
    Children,
    /// Those above it: `>`.
    Above,
    /// Both: `>>`.
    OwnAndAbove,
}

/// The signs in front of a concept, a longer one before what it begins with.
const RANGES: &[(&str, Range)] = &[
    ("<<", Range::OwnAndBelow),
    ("<!", Range::Children),
    ("<", Range::Below),
    (">>", Range::OwnAndAbove),
    (">", Range::Above),
];

/// How operands are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    And,
    Or,
    /// The first without the second.
    Minus,
}

const OPERATORS: &[(&str, Operator)] = &[("and", Operator::And), ("or", Operator::Or), ("minus", Operator::Minus)];

/// An expression of concepts alone: no attributes, reference sets or filters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Constraint<'t> {
    /// `*`
    Any,
    Concept(Range, &'t str),
    /// At least two.
    Joined(Operator, Vec<Constraint<'t>>),
}

/// Brackets in each other that are read.
const MOST_BRACKETS: usize = 16;

impl<'t> Constraint<'t> {
    /// The expression that `text` is, if it is one of concepts alone.
    pub(super) fn read(text: &'t str) -> Option<Constraint<'t>> {
        let mut rest = text;
        let constraint = joined(&mut rest, 0)?;
        rest.trim().is_empty().then_some(constraint)
    }

    /// Whether it takes something away.
    pub(super) fn is_negative(&self) -> bool {
        match self {
            Constraint::Any | Constraint::Concept(..) => false,
            Constraint::Joined(Operator::Minus, _) => true,
            Constraint::Joined(_, operands) => operands.iter().any(Constraint::is_negative),
        }
    }
}

/// Operands joined by one operator: different ones are kept apart by brackets, and `MINUS` joins two.
fn joined<'t>(rest: &mut &'t str, depth: usize) -> Option<Constraint<'t>> {
    let mut operands = vec![operand(rest, depth)?];
    let mut own = None;
    while let Some(operator) = operator(rest) {
        if own.is_some_and(|own| own != operator || own == Operator::Minus) {
            return None;
        }
        own = Some(operator);
        operands.push(operand(rest, depth)?);
    }
    match own {
        Some(own) => Some(Constraint::Joined(own, operands)),
        None => operands.pop(),
    }
}

fn operand<'t>(rest: &mut &'t str, depth: usize) -> Option<Constraint<'t>> {
    let text = rest.trim_start();
    if let Some(inner) = text.strip_prefix('(') {
        *rest = inner;
        let constraint = (depth < MOST_BRACKETS).then(|| joined(rest, depth + 1))??;
        *rest = rest.trim_start().strip_prefix(')')?;
        return Some(constraint);
    }
    if let Some(behind) = text.strip_prefix('*') {
        *rest = behind;
        return Some(Constraint::Any);
    }
    let sign = RANGES.iter().find_map(|(sign, range)| Some((text.strip_prefix(sign)?.trim_start(), *range)));
    let (concept, range) = sign.unwrap_or((text, Range::Own));
    let (code, behind) = word(concept);
    if code.is_empty() || OPERATORS.iter().any(|(own, _)| code.eq_ignore_ascii_case(own)) {
        return None;
    }
    *rest = match behind.trim_start().strip_prefix('|') {
        Some(term) => term.split_once('|')?.1,
        None => behind,
    };
    Some(Constraint::Concept(range, code))
}

/// The operator that stands next, which is passed over.
fn operator(rest: &mut &str) -> Option<Operator> {
    let (name, behind) = word(rest.trim_start());
    let (_, operator) = OPERATORS.iter().find(|(own, _)| name.eq_ignore_ascii_case(own))?;
    behind.starts_with(|letter: char| letter.is_whitespace() || letter == '(').then(|| *rest = behind)?;
    Some(*operator)
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(text.len()))
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '-' | '_' | '+')
}

#[cfg(test)]
mod tests {
    use super::{Constraint, Operator, Range, is_written};

    #[test]
    fn expressions_of_concepts_alone_are_read() {
        use Constraint::{Any, Concept, Joined};
        let read = |text: &'static str| Constraint::read(text);
        let own = |code| Concept(Range::Own, code);
        assert_eq!(read("404684003 |Clinical finding|"), Some(own("404684003")));
        let both = vec![Concept(Range::OwnAndBelow, "73211009"), Concept(Range::Below, "1")];
        assert_eq!(read(" << 73211009 |a (b)| or < 1 "), Some(Joined(Operator::Or, both)));
        let nested = Joined(Operator::And, vec![Concept(Range::Below, "1"), Concept(Range::Above, "2"), Any]);
        let minus = Joined(Operator::Minus, vec![nested, Concept(Range::Children, "3")]);
        assert_eq!(read("(< 1 AND >2 and *) MINUS <! 3"), Some(minus));
        assert_eq!(read("((1))"), Some(own("1")));
        assert!(read("1 OR (2 MINUS 3)").is_some_and(|each| each.is_negative()));
        assert!(read("1 OR (2 AND 3)").is_some_and(|each| !each.is_negative()));
        for other in [
            "^ 7",
            "<!! 1",
            "< 1: 2 = 3",
            "< 1 . 2",
            "1 OR",
            "1 OR2",
            "1 |a",
            "",
            "1 OR 2 AND 3",
            "1 MINUS 2 MINUS 3",
            "(1",
            "1)",
            "()",
            "or",
            "1 2",
            ">>! 1",
            "{{ 1 }}",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(Constraint::read(&("(".repeat(1000) + "1" + &")".repeat(1000))), None);
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
