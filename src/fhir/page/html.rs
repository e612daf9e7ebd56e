//! Writing HTML from received text: the only way that such a text gets into a page.
//!
//! Enters: tags that stand in this program, and text of anybody. Leaves: HTML. Invariant: received text is character data,
//! never a tag, an attribute or a comment; what would turn the direction of the text around it or does not show is U+FFFD.

use std::fmt::Write as _;

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Html {
    out: String,
}

impl Html {
    /// Text that stands in this program: tags.
    pub(super) fn raw(&mut self, ours: &'static str) {
        self.out.push_str(ours);
    }

    /// A number.
    pub(super) fn number(&mut self, number: usize) {
        let _infallible = write!(self.out, "{number}");
    }

    /// Text of anybody.
    pub(super) fn text(&mut self, received: &str) {
        let isolated = received.chars().any(is_right_to_left);
        self.raw(if isolated { "<bdi>" } else { "" });
        self.letters(received);
        self.raw(if isolated { "</bdi>" } else { "" });
    }

    /// Text of anybody where no tag can stand, as in a title.
    pub(super) fn line(&mut self, received: &str) {
        self.letters(&received.replace(['\n', '\u{2028}', '\u{2029}'], " "));
    }

    fn letters(&mut self, received: &str) {
        for letter in received.chars() {
            match letter {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                '\n' | '\u{2028}' | '\u{2029}' => self.out.push_str("<br>"),
                '\t' | '\r' => self.out.push(' '),
                _ if is_hidden(letter) => self.out.push('\u{fffd}'),
                _ => self.out.push(letter),
            }
        }
    }

    /// Text between two of our own.
    pub(super) fn wrapped(&mut self, before: &'static str, received: &str, after: &'static str) {
        self.raw(before);
        self.text(received);
        self.raw(after);
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}

/// Whether a character has no shape of its own, or changes how others are shown: controls, overrides and isolates of
/// direction (Unicode Standard Annex 9), joiners that nothing needs, language tags, what is no character.
fn is_hidden(letter: char) -> bool {
    matches!(letter,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
        || u32::from(letter) & 0xfffe == 0xfffe
        || matches!(letter, '\u{fdd0}'..='\u{fdef}')
}

/// Whether a character belongs to a script that is written from right to left.
fn is_right_to_left(letter: char) -> bool {
    matches!(letter, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// What the text of XHTML says, without its tags: a line for each block.
pub(super) fn plain_text(xhtml: &str) -> String {
    let mut text = String::with_capacity(xhtml.len());
    let mut rest = xhtml;
    while let Some(start) = rest.find(['<', '&']) {
        text.push_str(&rest[..start]);
        let is_tag = rest.as_bytes()[start] == b'<';
        rest = &rest[start + 1..];
        if is_tag {
            let Some((tag, after)) = rest.split_once('>') else {
                text.push('<');
                break;
            };
            let name = tag.trim_start_matches('/').split(|letter: char| !letter.is_ascii_alphanumeric()).next();
            text.push_str(if matches!(name, Some("b" | "i" | "span" | "em" | "strong" | "a")) { "" } else { "\n" });
            rest = after;
        } else {
            let end = rest.bytes().take(10).position(|byte| byte == b';');
            let entity = end.map(|end| (&rest[..end], &rest[end + 1..]));
            let (letter, after) =
                entity.and_then(|(name, after)| Some((character(name)?, after))).unwrap_or(('&', rest));
            text.push(letter);
            rest = after;
        }
    }
    text.push_str(rest);
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The character that an entity of XML stands for.
fn character(entity: &str) -> Option<char> {
    Some(match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut html = Html::default();
        html.text(text);
        html.finish()
    }

    #[test]
    fn text_is_never_a_tag() {
        assert_eq!(
            written("</p><script>alert('x')</script>&\"\n\tend"),
            "&lt;/p&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;<br> end"
        );
    }

    #[test]
    fn what_hides_or_turns_text_is_shown_as_a_mark() {
        for hidden in [
            '\u{34f}',
            '\u{2800}',
            '\u{3164}',
            '\u{202e}',
            '\u{2066}',
            '\u{200f}',
            '\u{0}',
            '\u{1b}',
            '\u{85}',
            '\u{feff}',
            '\u{e0041}',
            '\u{ffff}',
        ] {
            assert_eq!(written(&format!("a{hidden}b")), "a\u{fffd}b", "{:x}", u32::from(hidden));
        }
        assert_eq!(written("שלום 12"), "<bdi>שלום 12</bdi>");
        let mut title = Html::default();
        title.line("שלום\n<b>");
        assert_eq!(title.finish(), "שלום &lt;b&gt;");
        assert_eq!(written("Zoë – 👩‍⚕️"), "Zoë – 👩‍⚕️");
    }

    #[test]
    fn narrative_is_read_without_its_tags() {
        for (xhtml, expected) in [
            ("<div><p>One &amp; <b>two</b></p><ul><li>three</li></ul></div>", "One & two\nthree"),
            ("a &lt;b&gt; &#39;c&#x27; &unknown; &", "a <b> 'c' &unknown; &"),
            ("no end <script", "no end <script"),
            ("", ""),
        ] {
            assert_eq!(plain_text(xhtml), expected);
        }
    }

    #[test]
    fn many_ampersands_are_read_in_one_pass() {
        let (text, started) = ("&".repeat(2_000_000), std::time::Instant::now());
        assert_eq!(plain_text(&text).len(), text.len());
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}
