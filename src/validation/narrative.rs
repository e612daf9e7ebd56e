//! Whether a narrative's XHTML is safe to show (R4 narrative.html; txt-1 and txt-2).
//!
//! A scan of the tags in one pass: elements and attributes outside the lists of FHIR are refused, and with them scripts,
//! event handlers, forms, frames and external references that run code.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::fhir::FixedSet;

/// The namespace of the `div`.
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// Elements of basic formatting.
const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "acronym",
    "address",
    "b",
    "big",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "map",
    "area",
    "object",
    "ol",
    "p",
    "param",
    "pre",
    "q",
    "samp",
    "small",
    "span",
    "strong",
    "style",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
];

/// Elements of that list that can load or run something.
const UNSAFE_ELEMENTS: &[&str] = &["object", "param", "style", "map", "area"];

/// The elements that may stand in a narrative.
static SAFE: LazyLock<FixedSet<&str>> =
    LazyLock::new(|| ELEMENTS.iter().copied().filter(|name| !UNSAFE_ELEMENTS.contains(name)).collect());

/// Checks the text of a `div`; the error says what is wrong, without any of its content. Yields the ids that its links
/// ask for and that are not its own.
pub(super) fn check(text: &str) -> Result<Vec<String>, &'static str> {
    let text = text.trim();
    if !text.starts_with("<div") {
        return Err("the narrative must be one XHTML div");
    }
    let mut open: Vec<&str> = Vec::new();
    let mut has_content = false;
    let mut anchors = Anchors::default();
    entities(text)?;
    let mut rest = text;
    while let Some(less) = place(rest, b'<') {
        has_content = has_content || !rest[..less].trim().is_empty();
        rest = &rest[less..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = &comment[comment.find("-->").ok_or("a comment of the narrative does not end")? + 3..];
            continue;
        }
        let end = tag_end(rest).ok_or("a tag of the narrative does not end")?;
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name.trim_end()) {
                return Err("the tags of the narrative are not nested");
            }
            if open.is_empty() {
                break;
            }
            continue;
        }
        let (body, is_closed) = tag.strip_suffix('/').map_or((tag, false), |body| (body, true));
        let end_of_name = body.bytes().position(|byte| byte.is_ascii_whitespace()).unwrap_or(body.len());
        let (name, attributes) = body.split_at(end_of_name);
        element(name, attributes, &mut anchors)?;
        if open.is_empty() && !anchors.is_xhtml {
            return Err("the div of the narrative is not in the namespace of XHTML");
        }
        has_content |= name == "img";
        if !is_closed {
            open.push(name);
        } else if open.is_empty() {
            break;
        }
    }
    if !open.is_empty() || !rest.trim().is_empty() {
        return Err("the narrative must be one XHTML div, with every tag closed");
    }
    if !has_content {
        return Err("the narrative has no content");
    }
    let Anchors { mut links, ids, .. } = anchors;
    let ids: HashSet<String> = ids.into_iter().collect();
    links.retain(|link| !ids.contains(link));
    Ok(links)
}

/// Links inside the resource, and what they may lead to.
#[derive(Default)]
struct Anchors {
    links: Vec<String>,
    ids: Vec<String>,
    /// Whether an element says that it is of XHTML.
    is_xhtml: bool,
}

/// Where a byte of ASCII stands first. Eight at a time: text between tags is short, and a search with more to set up
/// costs more than it saves.
fn place(text: &str, byte: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    for (index, &word) in words.iter().enumerate() {
        // The lowest byte that is zero after this is the first that is the one looked for.
        let other = u64::from_le_bytes(word) ^ (ONES * u64::from(byte));
        let zero = other.wrapping_sub(ONES) & !other & (ONES << 7);
        if zero != 0 {
            return Some(index * 8 + (zero.trailing_zeros() / 8) as usize);
        }
    }
    let start = text.len() - rest.len();
    rest.iter().position(|&own| own == byte).map(|at| start + at)
}

/// The entities of XML and character references are all that XML without a DTD has.
fn entities(text: &str) -> Result<(), &'static str> {
    for (at, _) in text.match_indices('&') {
        let name = text[at + 1..].split(';').next().unwrap_or_default();
        if !name.starts_with('#') && !matches!(name, "amp" | "lt" | "gt" | "quot" | "apos") {
            return Err("the narrative has an entity that XML does not have; write the character itself");
        }
    }
    Ok(())
}

/// The place of the `>` that ends a tag, outside quotes.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    tag.bytes().position(|byte| {
        match (quote, byte) {
            (None, b'>') => return true,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        false
    })
}

fn element(name: &str, attributes: &str, anchors: &mut Anchors) -> Result<(), &'static str> {
    if !SAFE.contains(name) {
        return Err("the narrative has an element that FHIR does not allow there");
    }
    let mut rest = attributes.trim_start();
    while !rest.is_empty() {
        let (key, behind) = rest.split_once('=').ok_or("an attribute of the narrative has no value")?;
        let behind = behind.trim_start();
        let quote = behind.chars().next().filter(|quote| matches!(quote, '"' | '\''));
        let quote = quote.ok_or("an attribute of the narrative is not quoted")?;
        let (value, behind) = behind[1..].split_once(quote).ok_or("an attribute of the narrative does not end")?;
        attribute(key.trim(), value)?;
        match (key.trim(), value.strip_prefix('#')) {
            ("href", Some(link)) if !link.is_empty() => anchors.links.push(link.to_owned()),
            ("xmlns", _) if value == XHTML => anchors.is_xhtml = true,
            ("xmlns", _) => return Err("an element of the narrative is not in the namespace of XHTML"),
            ("id" | "name", _) => anchors.ids.push(value.to_owned()),
            _ => {}
        }
        rest = behind.trim_start();
    }
    Ok(())
}

fn attribute(key: &str, value: &str) -> Result<(), &'static str> {
    let key = key.to_ascii_lowercase();
    let value: String = value.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_ascii_lowercase();
    if key.starts_with("on") || key.contains(':') && !matches!(&*key, "xml:lang" | "xmlns:xsi") {
        return Err("the narrative has an event handler or a foreign attribute");
    }
    let runs = ["javascript:", "vbscript:", "data:text", "expression("].iter().any(|bad| value.contains(bad));
    // A character reference in a link could spell one of these.
    if runs || matches!(&*key, "href" | "src") && value.contains("&#") {
        Err("an attribute of the narrative would run code")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{check, place};

    #[test]
    fn a_byte_is_found_where_it_stands_first() {
        let text = "é;=<>".repeat(5);
        for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
            for byte in [b'<', b'=', b'>', b'&'] {
                assert_eq!(place(&text[end..], byte), text[end..].find(char::from(byte)), "{end}");
            }
        }
    }

    #[test]
    fn plain_formatting_is_safe() {
        for text in [
            r#"<div xmlns="http://www.w3.org/1999/xhtml"><p class="x">a &gt; b<br/></p></div>"#,
            "<div xmlns='http://www.w3.org/1999/xhtml'><!-- > --><img src='#a' alt='a > b'/> &amp; &#160;</div>",
        ] {
            assert_eq!(check(text), Ok(vec![]), "{text}");
        }
    }

    #[test]
    fn links_that_lead_out_of_the_narrative_are_told() {
        let text = r##"<div xmlns="http://www.w3.org/1999/xhtml"><a href="#a">x</a><p id="a"><a href="#b">y</a><a href="https://x/#c">z</a></p></div>"##;
        assert_eq!(check(text), Ok(vec!["b".to_owned()]));
    }

    #[test]
    fn what_runs_or_does_not_close_is_refused() {
        for text in ["<div>a</div>", r#"<div xmlns="http://hl7.org/fhir">a</div>"#] {
            assert!(check(text).is_err(), "{text}");
        }
        for text in [
            "",
            "text",
            "<div></div>",
            "<div>a",
            "<div>a</div>b",
            "<div><p>a</div></p>",
            "<div><script>a</script></div>",
            "<div><SCRIPT>a</SCRIPT></div>",
            "<div><p onclick=\"a\">a</p></div>",
            "<div><a href=\" java\nscript:a\">a</a></div>",
            "<div><iframe src=\"x\">a</iframe></div>",
            "<div><p a>b</p></div>",
            "<div><!-- a</div>",
            "<div>a&nbsp;b</div>",
        ] {
            let text = text.replacen("<div", r#"<div xmlns="http://www.w3.org/1999/xhtml""#, 1);
            assert!(check(&text).is_err(), "{text}");
        }
    }
}
