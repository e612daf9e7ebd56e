//! Narrative, made again from what may be shown: XHTML for a Composition and its sections (FHIR R4 Narrative).
//!
//! Enters: nodes, and which of their leaves may be shown. Leaves: a `div`. Invariant: text of a leaf that may not be
//! shown is never read, and every text is escaped.

mod head;
mod withheld;
pub(super) mod words;

use std::borrow::Cow;
use std::fmt::Write as _;

pub use head::Head;
pub use withheld::{Account, kind_withheld};

use super::r4::{TypeDef, TypeKind, schema};
use super::{Builder, NameId, Node, keys};
use words::{is_for_machines, is_type_for_machines, label_of, value, words_of};

const OPEN: &str = r#"<div xmlns="http://www.w3.org/1999/xhtml">"#;
const CLOSE: &str = "</div>";
/// Room for most narratives, in bytes.
const ROOM: usize = 1024;
/// Room for what most resources say.
const LINES: usize = 16;
const GENERATED: &str = "generated";
const PART_WITHHELD: &str = "<p><i>Part of this section was withheld.</i></p>";

/// Elements of a resource that say what it is about: their text stands first, without a label.
pub(super) const HEADLINES: [&str; 3] = ["code", "value", "medication"];
/// States that go without saying.
const USUAL_STATES: [&str; 4] = ["final", "completed", "active", "unknown"];
/// Intents that go without saying.
const USUAL_INTENTS: [&str; 2] = ["plan", "order"];

/// How a leaf may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show<'t> {
    /// Not at all.
    No,
    /// As it is.
    AsItIs,
    /// With this text in its place.
    Instead(&'t str),
}

/// Which leaves of a document may be shown.
#[derive(Clone, Copy)]
pub struct Shown<'v>(&'v dyn Fn(Node<'_>) -> Show<'v>);

impl<'v> Shown<'v> {
    /// As `how` says.
    pub fn new(how: &'v dyn Fn(Node<'_>) -> Show<'v>) -> Shown<'v> {
        Shown(how)
    }

    fn text<'a>(self, leaf: Node<'a>) -> Option<Cow<'a, str>>
    where
        'v: 'a,
    {
        let text = match (self.0)(leaf) {
            Show::No => None,
            Show::AsItIs => leaf.scalar(),
            Show::Instead(text) => Some(Cow::Borrowed(text)),
        };
        // A narrative with nothing to be seen is none (txt-2).
        text.filter(|text| text.as_bytes().first().is_some_and(u8::is_ascii_graphic) || !text.trim_start().is_empty())
    }

    fn member<'a>(self, node: Node<'a>, name: NameId) -> Option<Cow<'a, str>>
    where
        'v: 'a,
    {
        self.text(node.child(name)?)
    }

    /// All values of an element, as words.
    fn words<'a>(self, node: Node<'a>, name: &str) -> Vec<Cow<'a, str>>
    where
        'v: 'a,
    {
        let name = NameId::of(name);
        let of = node.resource_type().and_then(|of| schema().resource(of));
        let to = of.and_then(|of| of.element(name)).and_then(|(_, chosen)| chosen.def());
        let (Some(child), Some(to)) = (node.child(name), to) else { return Vec::new() };
        child.items().filter_map(|item| value(item, to, self)).collect()
    }
}

/// The narrative of a section that refers to `targets`, some of whose content may not leave.
pub fn of_section(section: Node<'_>, targets: &[Node<'_>], shown: Shown<'_>, part_withheld: bool) -> String {
    let title = shown.member(section, keys().title).unwrap_or_default();
    let title = Heading::new(&title);
    let mut said: Vec<(&str, Line)> = Vec::new();
    let mut div = String::with_capacity(ROOM);
    div.push_str(OPEN);
    div.push_str("<ul>");
    for target in targets {
        let Some(of) = target.resource_type().and_then(|name| schema().resource(name)) else { continue };
        let mut lines = lines_of(*target, of, shown);
        lines.retain(|line| !title.is_said_by(&line.text));
        // What a resource of another type has said already, as a Task repeats its request.
        lines.retain(|line| !said.iter().any(|(other, own)| *other != of.name && own == line));
        describe(&mut div, of, &lines, targets.len() == 1);
        said.extend(lines.into_iter().filter(|_| targets.len() > 1).map(|line| (of.name, line)));
    }
    div.push_str("</ul>");
    if part_withheld {
        div.push_str(PART_WITHHELD);
    }
    div.push_str(CLOSE);
    div
}

/// The narrative of a section of which nothing but the heading is shared.
pub fn of_withheld_section(tell_withheld: bool) -> String {
    let sentence = match tell_withheld {
        true => "The content of this section was withheld.",
        false => "Nothing is shared in this section.",
    };
    format!("{OPEN}<p>{sentence}</p>{CLOSE}")
}

/// Why a section is empty, when it says so and that may be shown; and the narrative that says it.
pub fn of_empty_section(section: Node<'_>, shown: Shown<'_>) -> Option<(String, String)> {
    let reason = value(section.child(keys().empty_reason)?, schema().type_named("CodeableConcept")?, shown)?;
    let mut div = format!("{OPEN}<p>");
    escape(&mut div, &reason);
    div.push_str("</p>");
    div.push_str(CLOSE);
    Some((reason.into_owned(), div))
}

/// Whether narrative says that part of its section was withheld.
pub fn tells_part_withheld(text: Node<'_>) -> bool {
    let div = text.child(keys().div).and_then(Node::text);
    div.is_some_and(|div| div.strip_suffix(CLOSE).is_some_and(|rest| rest.ends_with(PART_WITHHELD)))
}

/// Whether an element of a section stands after its narrative, in the order of R4.
pub fn follows_text(name: NameId) -> bool {
    let keys = keys();
    [keys.mode, keys.ordered_by, keys.entry, keys.empty_reason, keys.section].contains(&name.without_underscore())
}

/// Writes a narrative that this module made.
pub fn write(out: &mut Builder, div: &str) {
    let text = out.begin_object();
    out.field(keys().status.name(), GENERATED);
    out.field(keys().div.name(), div);
    out.end(text);
}

/// Whether `text` is that narrative and nothing more.
pub fn is(text: Node<'_>, div: &str) -> bool {
    let has = |name: NameId, expected: &str| text.child(name).and_then(Node::text).is_some_and(|own| own == expected);
    text.children().count() == 2 && has(keys().status, GENERATED) && has(keys().div, div)
}

/// What one element says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line<'a> {
    /// Whether it belongs in the headline.
    headline: bool,
    label: Cow<'static, str>,
    text: Cow<'a, str>,
}

/// What a resource says, without what goes without saying.
fn lines_of<'a, 'v: 'a>(resource: Node<'a>, of: &TypeDef, shown: Shown<'v>) -> Vec<Line<'a>> {
    lines_called(resource, of, shown, &|_| true)
}

/// What those elements and extensions of a resource say whose name, for an extension the end of its URL, is `wanted`.
fn lines_called<'a, 'v: 'a>(
    resource: Node<'a>,
    of: &TypeDef,
    shown: Shown<'v>,
    wanted: &dyn Fn(&str) -> bool,
) -> Vec<Line<'a>> {
    let mut lines = Vec::with_capacity(LINES);
    collect(resource, of, shown, wanted, &mut lines);
    lines
}

fn describe(div: &mut String, of: &TypeDef, lines: &[Line<'_>], alone: bool) {
    let has_headline = lines.iter().any(|line| line.headline);
    let has_rest = lines.iter().any(|line| !line.headline);
    let flat = !has_headline && alone && has_rest;
    if !flat {
        div.push_str("<li><b>");
        if !has_headline {
            escape(div, &words_of(of.name));
        }
        for (place, line) in lines.iter().filter(|line| line.headline).enumerate() {
            div.push_str(if place == 0 { "" } else { "; " });
            escape(div, &line.text);
        }
        div.push_str("</b>");
        div.push_str(if has_rest { "<ul>" } else { "" });
    }
    for Line { label, text, .. } in lines.iter().filter(|line| !line.headline) {
        div.push_str("<li>");
        if !label.is_empty() {
            escape(div, label);
            div.push_str(": ");
        }
        escape(div, text);
        div.push_str("</li>");
    }
    if !flat {
        div.push_str(if has_rest { "</ul>" } else { "" });
        div.push_str("</li>");
    }
}

/// One line for each element that has something to show; backbone elements give theirs in turn.
fn collect<'a, 'v: 'a>(
    node: Node<'a>,
    of: &TypeDef,
    shown: Shown<'v>,
    wanted: &dyn Fn(&str) -> bool,
    lines: &mut Vec<Line<'a>>,
) {
    let is_resource = of.kind == TypeKind::Resource;
    for child in node.children().filter(|child| !child.name_id().is_primitive_extension()) {
        if is_for_machines(child.name_id()) {
            continue;
        }
        let Some((element, chosen)) = of.element(child.name_id()) else { continue };
        let Some(to) = chosen.def() else { continue };
        if is_type_for_machines(to) {
            continue;
        }
        for each in child.items() {
            if to.name == "Extension" {
                extension(each, to, shown, wanted, lines);
            } else if to.is_backbone {
                collect(each, to, shown, wanted, lines);
            } else if !wanted(element.stem) {
                break;
            } else if let Some(text) = value(each, to, shown).filter(|text| !goes_without_saying(element.stem, text)) {
                let headline = is_resource && HEADLINES.contains(&element.stem);
                let label = if element.stem == "description" { Cow::default() } else { label_of(element.stem) };
                lines.push(Line { headline, label, text });
            }
        }
    }
}

/// An extension is called by the end of its URL.
fn extension<'a, 'v: 'a>(
    node: Node<'a>,
    of: &TypeDef,
    shown: Shown<'v>,
    wanted: &dyn Fn(&str) -> bool,
    lines: &mut Vec<Line<'a>>,
) {
    let url = shown.member(node, keys().url).unwrap_or_default();
    let name = url.rsplit('/').next().unwrap_or_default();
    if !wanted(name) {
        return;
    }
    let own = lines_of(node, of, shown);
    let label: Cow<'static, str> = words_of(name.strip_prefix("weir-").unwrap_or(name)).into();
    lines.extend(own.into_iter().map(|line| Line { headline: false, label: label.clone(), text: line.text }));
}

pub(super) fn goes_without_saying(stem: &str, text: &str) -> bool {
    let is_one_of = |usual: &[&str]| usual.iter().any(|usual| usual.eq_ignore_ascii_case(text));
    let is_state = stem == "status" || stem.ends_with("Status");
    (is_state && is_one_of(&USUAL_STATES)) || (stem == "intent" && is_one_of(&USUAL_INTENTS))
}

/// The title of a section, as what a text is compared with.
pub(in crate::fhir) struct Heading {
    /// Its words without their plural, the last first.
    words: Vec<String>,
}

impl Heading {
    pub(in crate::fhir) fn new(title: &str) -> Heading {
        Heading { words: title.split_whitespace().rev().map(|word| singular(word).to_lowercase()).collect() }
    }

    /// Whether a text says what the title says: the same words in either number, with "mental health" before them or not. Any
    /// other word may turn them, as "no known drug allergies" does.
    pub(in crate::fhir) fn is_said_by(&self, text: &str) -> bool {
        let Some(last) = self.words.first().filter(|_| text.len() <= 60) else { return false };
        if !may_end_alike(text, last) {
            return false;
        }
        let mut own = text.split_whitespace().rev().map(singular);
        self.words.iter().all(|word| own.next().is_some_and(|own| is_same_word(own, word)))
            && matches!(own.collect::<Vec<_>>()[..], [] | ["health" | "Health", "mental" | "Mental"])
    }
}

/// Whether the last word of a text may be `lower`, by its last letter: most are not, and are told apart by this alone.
fn may_end_alike(text: &str, lower: &str) -> bool {
    let end = |text: &str| text.as_bytes().last().filter(|byte| byte.is_ascii()).map(u8::to_ascii_lowercase);
    match (end(singular(text.trim_end())), end(lower)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

fn singular(word: &str) -> &str {
    word.trim_end_matches('s')
}

/// Whether a word is `lower` but for capitals.
fn is_same_word(word: &str, lower: &str) -> bool {
    if word.is_ascii() { word.eq_ignore_ascii_case(lower) } else { word.to_lowercase() == lower }
}

fn paragraph(div: &mut String, tag: &str, text: &str) {
    let _infallible = write!(div, "<p><{tag}>");
    escape(div, text);
    let _infallible = write!(div, "</{tag}></p>");
}

/// The bytes of text that stand in XHTML as they are. U+FFFE and U+FFFF start with one that does not.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = !matches!(byte as u8, b'&' | b'<' | b'>' | b'"' | b'\'' | ..=0x1f | 0xef);
        byte += 1;
    }
    plain
};

/// Appends text as XHTML character data. What XML 1.0 cannot hold becomes U+FFFD.
fn escape(div: &mut String, text: &str) {
    if text.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        div.push_str(text);
        return;
    }
    for letter in text.chars() {
        match letter {
            '&' => div.push_str("&amp;"),
            '<' => div.push_str("&lt;"),
            '>' => div.push_str("&gt;"),
            '"' => div.push_str("&quot;"),
            '\'' => div.push_str("&#39;"),
            '\n' => div.push_str("<br/>"),
            '\t' | '\r' => div.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => div.push('\u{fffd}'),
            _ => div.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};

    fn section(resource: &str, hidden: &str) -> String {
        let document = Document::parse(resource, &Limits::default()).expect("it is JSON");
        let may = |leaf: Node<'_>| match hidden.is_empty() || !leaf.path().as_str().contains(hidden) {
            true => Show::AsItIs,
            false => Show::No,
        };
        of_section(document.root(), &[document.root()], Shown::new(&may), false)
    }

    #[test]
    fn a_section_shows_what_may_be_shown() {
        let risk = r#"{"resourceType":"RiskAssessment","id":"x","status":"final",
            "code":{"coding":[{"system":"s","code":"self","display":"Self harm"}]},
            "occurrencePeriod":{"start":"2026-01-01","end":"2026-01-02"},
            "prediction":[{"outcome":{"text":"A <b> & \"c\"\u0001\nd"},"qualitativeRisk":{"coding":[{"code":"high"}]}}],
            "extension":[{"url":"https://x.example/alleged-source","valueString":"y"}]}"#;
        let open = r#"<div xmlns="http://www.w3.org/1999/xhtml"><ul><li><b>Self harm</b><ul>"#;
        assert_eq!(
            section(risk, ""),
            format!(
                "{open}<li>Occurrence: from 1 January 2026 to 2 January 2026</li>\
                 <li>Outcome: A &lt;b&gt; &amp; &quot;c&quot;\u{fffd}<br/>d</li><li>Qualitative risk: high</li>\
                 <li>Alleged source: y</li></ul></li></ul></div>"
            )
        );
        assert!(!section(risk, "outcome").contains("A &lt;"));
        assert!(section(risk, "display").contains("<b>self (s)</b>"));
        assert_eq!(section(r#"{"resourceType":"Flag"}"#, ""), format!("{OPEN}<ul><li><b>Flag</b></li></ul>{CLOSE}"));
    }
}
