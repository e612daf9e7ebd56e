//! Regular expressions: compiled within a bound of memory, and priced, since the time of a match may grow with the size
//! of the compiled pattern times the length of the text.

use regex::{Captures, Error, Regex, RegexBuilder};

/// What a compiled pattern may take, in bytes, tried in turn.
const SIZES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Bytes that a pattern may take to match, besides.
const CACHE: usize = 256 << 10;
/// What a pattern weighs at least, in bytes, for the caches that come with it.
const LIGHTEST: usize = 64 << 10;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// The smallest of [`SIZES`] that it fits in.
    size: usize,
}

impl Pattern {
    /// A pattern as FHIRPath means it: a dot matches line ends; it may match anywhere, or the whole text.
    pub(super) fn new(text: &str, whole: bool) -> Option<Pattern> {
        let anchored = if whole { format!("^(?:{text})$") } else { text.to_owned() };
        let mut builder = RegexBuilder::new(&anchored);
        builder.dot_matches_new_line(true).dfa_size_limit(CACHE);
        for size in SIZES {
            match builder.size_limit(size).build() {
                Ok(regex) => return Some(Pattern { regex, size }),
                Err(Error::CompiledTooBig(_)) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// What it takes of memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.size.max(LIGHTEST)
    }

    /// The steps that compiling it is worth.
    pub(super) fn compiling(&self) -> usize {
        2_000 + self.size / 8
    }

    /// The steps that one search in `length` bytes of text is worth.
    fn searching(&self, length: usize) -> usize {
        length.saturating_mul(self.size) / 8192
    }

    /// Whether it matches; `charge` takes steps.
    pub(super) fn is_match<E>(&self, text: &str, charge: impl Fn(usize) -> Result<(), E>) -> Result<bool, E> {
        charge(self.searching(text.len()))?;
        Ok(self.regex.is_match(text))
    }

    /// `text` with every match replaced; `charge` takes steps, for each search and for what a match is replaced with
    /// before it is written.
    pub(super) fn replace<E>(
        &self,
        text: &str,
        replacement: &str,
        charge: impl Fn(usize) -> Result<(), E>,
    ) -> Result<String, E> {
        if self.regex.as_str().is_empty() {
            return Ok(text.to_owned());
        }
        let replacement = braced_groups(replacement);
        let groups = replacement.matches('$').count();
        let (mut out, mut last) = (String::new(), 0);
        charge(self.searching(text.len()))?;
        for captures in self.regex.captures_iter(text) {
            let (start, end) = span(&captures);
            // The next search may walk to the end of the text: a sixteenth of that, for most do not.
            charge(self.searching(text.len() - end) / 16 + 1)?;
            charge((replacement.len() + groups.saturating_mul(end - start)) / 8)?;
            out.push_str(&text[last..start]);
            captures.expand(&replacement, &mut out);
            last = end;
        }
        out.push_str(&text[last..]);
        Ok(out)
    }
}

/// Where the whole match stands.
fn span(captures: &Captures<'_>) -> (usize, usize) {
    captures.get(0).map_or((0, 0), |whole| (whole.start(), whole.end()))
}

/// `$1x` as the regex crate writes it: `${1}x`. A backslash makes the next character plain.
fn braced_groups(replacement: &str) -> String {
    let mut braced = String::with_capacity(replacement.len() + 4);
    let mut letters = replacement.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '$' => {
                let mut group = String::new();
                while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                    group.push(digit);
                }
                braced.push_str(&if group.is_empty() { "$".to_owned() } else { format!("${{{group}}}") });
            }
            '\\' => match letters.next() {
                Some('$') => braced.push_str("$$"),
                Some(other) => braced.push(other),
                None => {}
            },
            other => braced.push(other),
        }
    }
    braced
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn replaced(pattern: &str, text: &str, replacement: &str, steps: usize) -> Option<String> {
        let left = Cell::new(steps);
        let charge = |count: usize| left.get().checked_sub(count).map(|rest| left.set(rest)).ok_or(());
        Pattern::new(pattern, false).expect("it compiles").replace(text, replacement, charge).ok()
    }

    #[test]
    fn replacing_does_as_the_regex_crate_does() {
        for (pattern, text, replacement, expected) in [
            ("a(b)", "xabyab", "<$1>", "x<b>y<b>"),
            ("a", "banana", "$0$0", "baanaanaa"),
            ("", "abc", "x", "abc"),
            ("x*", "ab", "-", "-a-b-"),
            ("(?<n>a)", "a", "\\$1 $9", "$1 "),
        ] {
            assert_eq!(replaced(pattern, text, replacement, 10_000).as_deref(), Some(expected), "{pattern}");
        }
    }

    #[test]
    fn what_a_match_is_replaced_with_is_paid_for_first() {
        let (text, replacement) = ("x".repeat(100_000), "$0".repeat(30_000));
        assert_eq!(replaced("x+", &text, &replacement, 10_000_000), None);
    }

    #[test]
    fn large_patterns_weigh_more_and_too_large_ones_are_refused() {
        let size = |text: &str| Pattern::new(text, true).map(|pattern| pattern.size);
        assert!(size("[a-z]+") < size("\\w{20}"));
        assert_eq!(size("\\w{100000}"), None);
        assert_eq!(size("(((((((((\\w{10}){10}){10}){10}){10}){10}){10}){10}){10}"), None);
        assert_eq!(size("(["), None);
    }
}
