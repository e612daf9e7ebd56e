//! Values of data types as words for people.

use std::borrow::Cow;
use std::sync::LazyLock;

use smallvec::SmallVec;

use super::Shown;
use crate::fhir::r4::{TypeDef, TypeKind, schema};
use crate::fhir::{FixedMap, NameId, Node, keys};

/// Elements that say where or in which system something is: for machines.
static FOR_MACHINES: LazyLock<[NameId; 13]> = LazyLock::new(|| {
    [
        "system",
        "reference",
        "use",
        "id",
        "url",
        "userSelected",
        "rank",
        "contentType",
        "data",
        "hash",
        "size",
        "version",
        "assigner",
    ]
    .map(NameId::of)
});

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Whether people have no use for an element.
pub(in crate::fhir) fn is_for_machines(name: NameId) -> bool {
    FOR_MACHINES.contains(&name)
}

/// Whether people have no use for elements of a type.
pub(in crate::fhir) fn is_type_for_machines(of: &TypeDef) -> bool {
    matches!(of.name, "Narrative" | "Meta" | "Identifier" | "Signature")
}

/// A data type as one text: codes by their words, times in plain words, others by their leaves in order.
pub(super) fn value<'a, 'v: 'a>(node: Node<'a>, of: &TypeDef, shown: Shown<'v>) -> Option<Cow<'a, str>> {
    if of.kind == TypeKind::Primitive {
        let text = shown.text(node);
        return if matches!(of.name, "date" | "dateTime" | "instant") { text.map(in_plain_words) } else { text };
    }
    match of.name {
        "Coding" => shown.member(node, keys().display).or_else(|| bare_code(node, shown)),
        "CodeableConcept" => concept(node, shown),
        "Period" => period(node, shown).map(Cow::Owned),
        "HumanName" => in_order(node, of, &["prefix", "given", "family", "suffix"], shown, " ")
            .or_else(|| shown.member(node, keys().text)),
        "Address" => leaves(node, of, shown, ", "),
        "ContactPoint" => in_order(node, of, &["system", "value"], shown, " "),
        "Range" => leaves(node, of, shown, " to "),
        _ => leaves(node, of, shown, " "),
    }
}

/// The texts of a complex type's elements, as they stand.
fn leaves<'a, 'v: 'a>(node: Node<'a>, of: &TypeDef, shown: Shown<'v>, between: &str) -> Option<Cow<'a, str>> {
    let mut texts: Texts<'a> = SmallVec::new();
    let is_for_people = |child: &Node<'a>| {
        let name = child.name_id();
        !name.is_primitive_extension() && !is_for_machines(name)
    };
    for child in node.children().filter(is_for_people) {
        let Some(to) = of.element(child.name_id()).and_then(|(_, chosen)| chosen.def()) else { continue };
        if !is_type_for_machines(to) && to.name != "Extension" {
            texts.extend(child.items().filter_map(|item| value(item, to, shown)));
        }
    }
    joined(texts, between)
}

/// The parts of a text.
type Texts<'a> = SmallVec<[Cow<'a, str>; 4]>;

fn joined<'a>(mut texts: Texts<'a>, between: &str) -> Option<Cow<'a, str>> {
    match texts.len() {
        0 | 1 => texts.pop(),
        _ => Some(texts.join(between).into()),
    }
}

/// The texts of some elements, in the order asked for.
fn in_order<'a, 'v: 'a>(
    node: Node<'a>,
    of: &TypeDef,
    names: &[&str],
    shown: Shown<'v>,
    between: &str,
) -> Option<Cow<'a, str>> {
    let children = names.iter().filter_map(|name| node.child(NameId::of(name)));
    let known = children.filter(|child| of.element(child.name_id()).is_some());
    joined(known.flat_map(Node::items).filter_map(|item| shown.text(item)).collect(), between)
}

/// The words of its codings, then its text; the codes only where there are no words at all.
fn concept<'a, 'v: 'a>(node: Node<'a>, shown: Shown<'v>) -> Option<Cow<'a, str>> {
    let codings = || node.items_at(keys().coding);
    let mut texts: Texts<'a> = SmallVec::new();
    let displays = codings().filter_map(|coding| shown.member(coding, keys().display));
    for text in displays.chain(shown.member(node, keys().text)) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        texts.extend(codings().filter_map(|coding| bare_code(coding, shown)));
    }
    joined(texts, "; ")
}

/// `DRC (consent-categories-bars)`: a code, and the end of its system.
fn bare_code<'a, 'v: 'a>(coding: Node<'a>, shown: Shown<'v>) -> Option<Cow<'a, str>> {
    let code = shown.member(coding, keys().code)?;
    let system = shown.member(coding, keys().system);
    let end = system.as_deref().and_then(|system| system.rsplit(['/', ':']).find(|part| !part.is_empty()));
    Some(match end {
        Some(end) => format!("{code} ({end})").into(),
        None => code,
    })
}

/// A time in plain words, or as it is.
pub(super) fn in_plain_words(text: Cow<'_, str>) -> Cow<'_, str> {
    plain_time(&text).map_or(text, Cow::Owned)
}

fn period(node: Node<'_>, shown: Shown<'_>) -> Option<String> {
    let end_of = |name| shown.member(node, name).map(in_plain_words);
    match (end_of(keys().start), end_of(keys().end)) {
        (Some(start), Some(end)) => Some(format!("from {start} to {end}")),
        (Some(start), None) => Some(format!("from {start}")),
        (None, Some(end)) => Some(format!("until {end}")),
        (None, None) => None,
    }
}

/// `18:05 on 2 March 2026 (UTC)` for a dateTime, `2 March 2026` for a date, with the offset as given.
pub(super) fn plain_time(text: &str) -> Option<String> {
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let mut parts = date.split('-');
    let year = parts.next().filter(|year| is_digits(year, 4))?;
    let month = parts.next().map(|month| number(month).and_then(|month| MONTHS.get(month.checked_sub(1)?)));
    let day = parts.next().map(|day| Some(day).filter(|day| number(day).is_some_and(|day| (1..=31).contains(&day))));
    let mut words = String::with_capacity(48);
    if let Some(time) = time {
        words.push_str(time.get(..5).filter(|clock| is_clock(clock))?);
        words.push_str(" on ");
    }
    match (month, day, parts.next()) {
        (None, None, None) => {}
        (Some(Some(month)), None, None) => push_all(&mut words, &[month, " "]),
        (Some(Some(month)), Some(Some(day)), None) => {
            push_all(&mut words, &[day.strip_prefix('0').unwrap_or(day), " ", month, " "]);
        }
        _ => return None,
    }
    words.push_str(year);
    let zone = time.and_then(|time| Some(&time[time.find(['Z', '+', '-'])?..]));
    match zone {
        None => {}
        Some("Z") => words.push_str(" (UTC)"),
        Some(zone) if is_clock(&zone[1..]) => push_all(&mut words, &[" (UTC", zone, ")"]),
        Some(_) => return None,
    }
    Some(words)
}

pub(super) fn push_all(words: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| words.push_str(part));
}

fn is_digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(text: &str) -> Option<usize> {
    is_digits(text, 2).then(|| text.parse().ok()).flatten()
}

/// `18:05`.
fn is_clock(text: &str) -> bool {
    text.split_once(':').is_some_and(|(hours, minutes)| is_digits(hours, 2) && is_digits(minutes, 2))
}

/// The words of an element's name, ready for those of R4.
pub(in crate::fhir) fn label_of(stem: &str) -> Cow<'static, str> {
    static LABELS: LazyLock<FixedMap<&'static str, String>> = LazyLock::new(|| {
        let stems = schema().all().flat_map(|of| &of.elements).map(|element| element.stem);
        stems.map(|stem| (stem, words_of(stem))).collect()
    });
    LABELS.get(stem).map_or_else(|| words_of(stem).into(), |words| words.as_str().into())
}

/// `Qualitative risk` for `qualitativeRisk`, `Alleged source` for `alleged-source`.
pub(in crate::fhir) fn words_of(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for (index, letter) in name.chars().enumerate() {
        match letter {
            _ if index == 0 => words.extend(letter.to_uppercase()),
            '-' => words.push(' '),
            _ if letter.is_uppercase() => {
                words.push(' ');
                words.extend(letter.to_lowercase());
            }
            _ => words.push(letter),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_plain_words() {
        for (text, expected) in [
            ("2026-03-02T18:05:00Z", Some("18:05 on 2 March 2026 (UTC)")),
            ("2026-03-05T00:00:00.001+01:00", Some("00:00 on 5 March 2026 (UTC+01:00)")),
            ("2026-11-30T23:59:59-05:00", Some("23:59 on 30 November 2026 (UTC-05:00)")),
            ("1987-06-14", Some("14 June 1987")),
            ("2026-03", Some("March 2026")),
            ("2026", Some("2026")),
            ("2026-13-01", None),
            ("2026-03-02T18:05:00<b>", Some("18:05 on 2 March 2026")),
            ("2026-03-02T18:05:00+<b>", None),
            ("soon", None),
            ("é-03", None),
        ] {
            assert_eq!(plain_time(text).as_deref(), expected, "{text}");
        }
    }
}
