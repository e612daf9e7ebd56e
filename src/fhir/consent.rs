//! Questions to the Consents of a Bundle: what the person said about sharing, for whom and until when, whether capacity
//! was assessed, and a decision to share all the same.
//!
//! Codes are those of `CodeSystem/consent-recorded`; a Consent without them is read by its `status`. What is not there
//! or cannot be read is never taken for a yes.

use super::bundle::Entries;
use super::{Instant, Node, bars, instant};

const RECORDED: &str = "https://weir.example/fhir/CodeSystem/consent-recorded";
const CAPACITY: &str = "https://weir.example/fhir/StructureDefinition/weir-consent-capacity";
const DECISION: &str = "https://weir.example/fhir/StructureDefinition/weir-sharing-decision";

/// What the person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Agreed.
    Given,
    /// Objected.
    Refused,
    /// Agreed before, and took it back.
    Withdrawn,
    /// Could not be asked, or could not decide.
    NotPossible,
    /// Was not asked, or it is not recorded.
    Unknown,
}

/// Until when what was said holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until something else is recorded.
    Open,
    /// Until then.
    Instant(Instant),
    /// An end is recorded that cannot be read.
    Unreadable,
}

/// What is known of the person's capacity to decide about this sharing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capacity {
    /// Not assessed: it is assumed (Mental Capacity Act 2005, section 1).
    Assumed,
    /// Assessed: the person has it.
    Has,
    /// Assessed: the person lacks it.
    Lacks,
}

/// One Consent.
#[derive(Clone, Copy, Debug)]
pub struct Consent<'a>(Node<'a>);

impl<'a> Consent<'a> {
    /// The Consents of a Bundle, in its order.
    pub fn of<'e>(entries: &'e Entries<'a>) -> impl Iterator<Item = Consent<'a>> + use<'a, 'e> {
        let resources = entries.list().iter().filter_map(|entry| entry.resource);
        resources.filter(|resource| resource.resource_type() == Some("Consent")).map(Consent)
    }

    /// What the person said.
    pub fn said(self) -> Said {
        let rule = self.0.member("policyRule");
        let mut codings = rule.into_iter().flat_map(|rule| rule.items_of("coding"));
        let ours = codings.find(|coding| coding.text_of("system").as_deref() == Some(RECORDED));
        match ours.and_then(|coding| coding.text_of("code")).as_deref() {
            // A Consent that contradicts itself is none: the stricter word counts.
            Some("given") => match self.by_status() {
                stricter @ (Said::Refused | Said::Withdrawn) => stricter,
                _ => Said::Given,
            },
            Some("refused") => Said::Refused,
            Some("withdrawn") => Said::Withdrawn,
            Some("not-possible") => Said::NotPossible,
            Some(_) => Said::Unknown,
            None => self.by_status(),
        }
    }

    fn by_status(self) -> Said {
        match self.0.text_of("status").as_deref() {
            Some("active") => Said::Given,
            Some("rejected") => Said::Refused,
            Some("inactive") => Said::Withdrawn,
            _ => Said::Unknown,
        }
    }

    /// Until when it holds: `provision.period.end`.
    pub fn until(self) -> Until {
        let period = self.0.member("provision").and_then(|provision| provision.member("period"));
        match period.and_then(|period| period.member("end")) {
            None => Until::Open,
            Some(end) => end.text().and_then(|text| instant::latest(&text)).map_or(Until::Unreadable, Until::Instant),
        }
    }

    /// Whether it is about sharing with the organisation that has this ODS code: about everybody, when it names nobody.
    pub fn covers(self, ods: &str) -> bool {
        let Some(provision) = self.0.member("provision") else { return true };
        let mut actors = provision.items_of("actor").peekable();
        actors.peek().is_none()
            || actors.any(|actor| ods_code(actor).is_some_and(|code| code.eq_ignore_ascii_case(ods)))
    }

    /// What is known of the person's capacity.
    pub fn capacity(self) -> Capacity {
        let Some(found) = self.extension(CAPACITY) else { return Capacity::Assumed };
        match (found.flag("assessed"), found.text("outcome").as_deref()) {
            (Some(true), Some("has-capacity")) => Capacity::Has,
            (Some(true), Some("lacks-capacity")) => Capacity::Lacks,
            _ => Capacity::Assumed,
        }
    }

    /// A decision to share without consent.
    pub fn decision(self) -> Option<Parts<'a>> {
        self.extension(DECISION)
    }

    fn extension(self, url: &str) -> Option<Parts<'a>> {
        self.0.items_of("extension").find(|each| each.text_of("url").as_deref() == Some(url)).map(Parts)
    }
}

/// The ODS code of an actor that is named by it.
fn ods_code(actor: Node<'_>) -> Option<String> {
    let identifier = actor.member("reference")?.member("identifier")?;
    let is_ods = identifier.text_of("system").as_deref() == Some(bars::ODS_ORGANISATION);
    is_ods.then(|| identifier.text_of("value").map(|code| code.into_owned())).flatten()
}

/// An extension of several parts, each asked for by its name.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a>(Node<'a>);

impl<'a> Parts<'a> {
    /// The extension itself.
    pub fn node(self) -> Node<'a> {
        self.0
    }

    /// The texts, codes or times of the parts with this name; blank ones are left out.
    pub fn texts(self, name: &str) -> Vec<String> {
        self.values(name).filter_map(text).filter(|text| !text.trim().is_empty()).collect()
    }

    /// The first of [`Parts::texts`].
    pub fn text(self, name: &str) -> Option<String> {
        self.texts(name).into_iter().next()
    }

    /// A boolean part.
    pub fn flag(self, name: &str) -> Option<bool> {
        self.values(name).next()?.boolean()
    }

    fn values(self, name: &str) -> impl Iterator<Item = Node<'a>> + use<'a, '_> {
        let parts = self.0.items_of("extension");
        let named = parts.filter(move |part| part.text_of("url").as_deref() == Some(name));
        named
            .filter_map(|part| part.children().find(|child| child.name().is_some_and(|name| name.starts_with("value"))))
    }
}

/// A primitive's text, or a Coding's code.
fn text(value: Node<'_>) -> Option<String> {
    let text = if value.is_object() { value.text_of("code") } else { value.text() };
    text.map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{Document, Limits};
    use time::macros::datetime;

    fn with<T>(consent: &str, ask: impl Fn(Consent<'_>) -> T) -> T {
        let bundle = format!(
            r#"{{"resourceType":"Bundle","entry":[{{"resource":{{"resourceType":"Patient"}}}},
            {{"resource":{{"resourceType":"Consent",{consent}}}}}]}}"#
        );
        let bundle = Document::parse(bundle, &Limits::default()).expect("it is JSON");
        let entries = Entries::of(&bundle);
        let found: Vec<T> = Consent::of(&entries).map(ask).collect();
        let [found] = <[T; 1]>::try_from(found).ok().expect("there is one Consent");
        found
    }

    #[test]
    fn what_was_said_is_read_from_our_code_or_else_from_the_status() {
        let coded = |code: &str| {
            format!(
                r#""status":"active","policyRule":{{"coding":[{{"system":"other","code":"refused"}},
                   {{"system":"{RECORDED}","code":"{code}"}}]}}"#
            )
        };
        for (consent, said) in [
            (coded("given"), Said::Given),
            (coded("given").replace("active", "rejected"), Said::Refused),
            (coded("given").replace("active", "inactive"), Said::Withdrawn),
            (coded("refused"), Said::Refused),
            (coded("withdrawn"), Said::Withdrawn),
            (coded("not-possible"), Said::NotPossible),
            (coded("Given"), Said::Unknown),
            (r#""status":"active""#.to_owned(), Said::Given),
            (r#""status":"rejected""#.to_owned(), Said::Refused),
            (r#""status":"inactive""#.to_owned(), Said::Withdrawn),
            (r#""status":"proposed""#.to_owned(), Said::Unknown),
            (r#""status":["active"]"#.to_owned(), Said::Unknown),
        ] {
            assert_eq!(with(&consent, |consent| consent.said()), said, "{consent}");
        }
    }

    #[test]
    fn scope_and_end_are_those_of_the_provision() {
        let end = |text: &str| format!(r#""provision":{{"period":{{"end":"{text}"}}}}"#);
        assert_eq!(with(r#""status":"active""#, |consent| consent.until()), Until::Open);
        let day = Until::Instant(datetime!(2026-03-31 23:59:59.999 UTC));
        assert_eq!(with(&end("2026-03-31"), |consent| consent.until()), day);
        assert_eq!(with(&end("soon"), |consent| consent.until()), Until::Unreadable);
        let actor = |system: &str, ods: &str| {
            format!(
                r#""provision":{{"actor":[{{"reference":{{"identifier":{{"system":"{system}","value":"{ods}"}}}}}}]}}"#
            )
        };
        assert!(with(r#""status":"active""#, |consent| consent.covers("DEMOT")));
        assert!(with(&actor(bars::ODS_ORGANISATION, "demot"), |consent| consent.covers("DEMOT")));
        assert!(!with(&actor(bars::ODS_ORGANISATION, "DEMOI"), |consent| consent.covers("DEMOT")));
        assert!(
            !with(&actor("other", "DEMOT"), |consent| consent.covers("DEMOT")),
            "an actor nobody can tell is not us"
        );
    }

    #[test]
    fn capacity_is_assumed_unless_an_assessment_says_otherwise() {
        let capacity = |parts: &str| {
            with(&format!(r#""extension":[{{"url":"{CAPACITY}","extension":[{parts}]}}]"#), |consent| {
                consent.capacity()
            })
        };
        let outcome = |code: &str| format!(r#"{{"url":"outcome","valueCoding":{{"code":"{code}"}}}}"#);
        let assessed = r#"{"url":"assessed","valueBoolean":true}"#;
        assert_eq!(with(r#""status":"active""#, |consent| consent.capacity()), Capacity::Assumed);
        assert_eq!(capacity(r#"{"url":"assessed","valueBoolean":false}"#), Capacity::Assumed);
        assert_eq!(capacity(&format!("{assessed},{}", outcome("has-capacity"))), Capacity::Has);
        assert_eq!(capacity(&format!("{assessed},{}", outcome("lacks-capacity"))), Capacity::Lacks);
        assert_eq!(capacity(&outcome("lacks-capacity")), Capacity::Assumed, "an outcome needs an assessment");
    }

    #[test]
    fn parts_are_asked_for_by_name_and_blank_ones_are_none() {
        let parts = r#"{"url":"alternatives","valueString":"one"},{"url":"alternatives","valueString":" "},
            {"url":"alternatives","valueString":"two"},{"url":"personTold","valueBoolean":false},{"url":"basis"}"#;
        let consent = format!(r#""extension":[{{"url":"{DECISION}","extension":[{parts}]}}]"#);
        let asked = with(&consent, |consent| {
            let parts = consent.decision().expect("it is there");
            (parts.texts("alternatives"), parts.flag("personTold"), parts.text("basis"), parts.flag("basis"))
        });
        assert_eq!(asked, (vec!["one".to_owned(), "two".to_owned()], Some(false), None, None));
    }
}
