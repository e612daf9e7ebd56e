//! A recorded decision to share without consent: complete, or a list of what it lacks.
//!
//! Enters: the decision as the Consent carries it, what the agreement asks of one, and the time. Leaves: a
//! [`SharingDecision`] with every part that the law wants to be accounted for, or each [`Gap`] by its name.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::agreement::{OverrideBasis, OverrideTerms};
use crate::fhir::consent::Parts;
use crate::fhir::{Instant, instant_text, latest_instant};

/// A complete decision. It may name staff and hold the person's data: it does not print, and is stored sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharingDecision {
    /// The signs of risk that are present; at least one.
    pub risk_indicators: Vec<String>,
    /// What else was considered; at least one.
    pub alternatives: Vec<String>,
    /// Why sharing is proportionate.
    pub proportionality: String,
    /// The lawful basis: one that the agreement allows.
    pub basis: String,
    /// The purpose of use, an HL7 v3 ActReason that the agreement allows.
    pub purpose: String,
    /// Who decided.
    pub decided_by: String,
    /// In which role.
    pub decided_by_role: String,
    /// When, as it was recorded.
    pub decided_on: String,
    /// Whether the person was told.
    pub person_told: bool,
    /// Why not; always there when the person was not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not_told: Option<String>,
    /// By when whoever decided wants the decision reviewed.
    pub review_due: String,
    /// By when it is reviewed: then, or as many hours after acceptance as the agreement says, whichever is first.
    pub deadline: String,
}

impl fmt::Debug for SharingDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharingDecision").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// A part that is missing, or that the agreement does not let stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The part's name.
    pub part: &'static str,
    /// What is wrong, without a value of the record.
    pub text: String,
}

impl SharingDecision {
    /// Reads a decision that is acted on at `at`.
    ///
    /// # Errors
    /// Every gap, in the order of the record's fields.
    pub fn read(parts: Parts<'_>, terms: &OverrideTerms, at: Instant) -> Result<SharingDecision, Vec<Gap>> {
        let mut read = Reading { parts, gaps: Vec::new() };
        let risk_indicators = read.list("riskIndicators", "it does not say which signs of risk are present");
        let alternatives = read.list("alternatives", "it does not say which alternatives were considered");
        let proportionality = read.text("proportionality", "it does not say why sharing is proportionate");
        let basis = read.basis(&terms.bases);
        let purpose = read.purpose(&terms.purposes);
        let decided_by = read.text("decidedBy", "it does not say who decided");
        let decided_by_role = read.text("decidedByRole", "it does not say in which role they decided");
        let decided_on = read.text("decidedOn", "it does not say when it was decided");
        let (person_told, why_not_told) = read.told();
        let review_due = read.text("reviewDue", "it does not say by when it is reviewed");
        let latest_review = read.review_due(&review_due, at);
        if !read.gaps.is_empty() {
            return Err(read.gaps);
        }
        let hours = time::Duration::hours(i64::from(terms.review_hours));
        let deadline = instant_text(latest_review.map_or(at + hours, |due| due.min(at + hours)));
        Ok(SharingDecision {
            risk_indicators,
            alternatives,
            proportionality,
            basis,
            purpose,
            decided_by,
            decided_by_role,
            decided_on,
            person_told,
            why_not_told,
            review_due,
            deadline,
        })
    }

    /// [`SharingDecision::deadline`] as an instant.
    pub fn due(&self) -> Instant {
        latest_instant(&self.deadline).expect("it was written by instant_text")
    }
}

struct Reading<'a> {
    parts: Parts<'a>,
    gaps: Vec<Gap>,
}

impl Reading<'_> {
    fn gap(&mut self, part: &'static str, text: impl Into<String>) {
        self.gaps.push(Gap { part, text: text.into() });
    }

    fn list(&mut self, part: &'static str, missing: &str) -> Vec<String> {
        let texts = self.parts.texts(part);
        if texts.is_empty() {
            self.gap(part, missing);
        }
        texts
    }

    fn text(&mut self, part: &'static str, missing: &str) -> String {
        let text = self.parts.text(part);
        if text.is_none() {
            self.gap(part, missing);
        }
        text.unwrap_or_default()
    }

    fn basis(&mut self, allowed: &[OverrideBasis]) -> String {
        let basis = self.text("basis", "it does not say on which lawful basis");
        if !basis.is_empty() && !allowed.iter().any(|each| each.word() == basis) {
            let allowed = listed(allowed.iter().map(|each| each.word()));
            self.gap("basis", format!("the agreement does not let a decision stand on this basis, but on {allowed}"));
        }
        basis
    }

    /// The purpose that is given, or else the first that the agreement names.
    fn purpose(&mut self, allowed: &[String]) -> String {
        match self.parts.text("purpose") {
            None => allowed.first().cloned().unwrap_or_default(),
            Some(purpose) if allowed.contains(&purpose) => purpose,
            Some(purpose) => {
                let allowed = listed(allowed.iter().map(String::as_str));
                self.gap(
                    "purpose",
                    format!("the agreement does not let a decision stand for this purpose, but for {allowed}"),
                );
                purpose
            }
        }
    }

    fn told(&mut self) -> (bool, Option<String>) {
        let (told, why_not) = (self.parts.flag("personTold"), self.parts.text("whyNotTold"));
        match told {
            None => self.gap("personTold", "it does not say whether the person was told"),
            Some(false) if why_not.is_none() => self.gap("whyNotTold", "it does not say why the person was not told"),
            Some(_) => {}
        }
        (told.unwrap_or_default(), why_not)
    }

    /// The last instant that `review_due` may mean.
    fn review_due(&mut self, review_due: &str, at: Instant) -> Option<Instant> {
        let due = latest_instant(review_due);
        match due {
            None if !review_due.is_empty() => self.gap("reviewDue", "it cannot be read as a date or a time"),
            Some(due) if due < at => {
                self.gap("reviewDue", "it has passed: the decision was to be reviewed before this was sent");
            }
            _ => {}
        }
        due
    }
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disclosure::agreement::NamedRole;
    use crate::fhir::bundle::Entries;
    use crate::fhir::consent::Consent;
    use crate::fhir::{Document, Limits};
    use time::macros::datetime;

    const PARTS: [(&str, &str); 10] = [
        ("riskIndicators", r#""valueString":"a threat""#),
        ("alternatives", r#""valueString":"a visit""#),
        ("proportionality", r#""valueString":"little, and now""#),
        ("basis", r#""valueCoding":{"code":"safeguarding"}"#),
        ("purpose", r#""valueCoding":{"code":"BTG"}"#),
        ("decidedBy", r#""valueString":"Alex Placeholder""#),
        ("decidedByRole", r#""valueString":"Duty manager""#),
        ("decidedOn", r#""valueDateTime":"2026-03-04T21:05:00Z""#),
        ("personTold", r#""valueBoolean":true"#),
        ("reviewDue", r#""valueDateTime":"2026-03-20""#),
    ];
    const AT: Instant = datetime!(2026-03-04 22:00 UTC);

    fn terms() -> OverrideTerms {
        OverrideTerms {
            purposes: vec!["ETREAT".to_owned(), "BTG".to_owned()],
            bases: vec![OverrideBasis::VitalInterests, OverrideBasis::Safeguarding],
            reviewer: NamedRole::SafeguardingLead,
            review_hours: 72,
        }
    }

    /// Reads the decision with some parts put in place of those of the same name; an empty one leaves it out.
    fn read(other: &[(&str, &str)]) -> Result<SharingDecision, Vec<Gap>> {
        let kept = PARTS.iter().filter(|(name, _)| !other.iter().any(|(changed, _)| changed == name));
        let parts = kept.chain(other).filter(|(_, value)| !value.is_empty());
        let parts: Vec<_> = parts.map(|(name, value)| format!(r#"{{"url":"{name}",{value}}}"#)).collect();
        let bundle = format!(
            r#"{{"resourceType":"Bundle","entry":[{{"resource":{{"resourceType":"Consent","extension":[{{
            "url":"https://weir.example/fhir/StructureDefinition/weir-sharing-decision","extension":[{}]}}]}}}}]}}"#,
            parts.join(",")
        );
        let bundle = Document::parse(bundle, &Limits::default()).expect("it is JSON");
        let entries = Entries::of(&bundle);
        let parts = Consent::of(&entries).next().and_then(Consent::decision).expect("it is there");
        SharingDecision::read(parts, &terms(), AT)
    }

    fn gaps(other: &[(&str, &str)]) -> Vec<&'static str> {
        read(other).expect_err("something is missing").into_iter().map(|gap| gap.part).collect()
    }

    #[test]
    fn a_complete_decision_is_read_and_its_deadline_is_the_earlier_one() {
        let decision = read(&[]).expect("it is complete");
        assert_eq!((&*decision.purpose, &*decision.basis, decision.person_told), ("BTG", "safeguarding", true));
        assert_eq!(decision.due(), AT + time::Duration::hours(72));
        let sooner = read(&[("reviewDue", r#""valueDateTime":"2026-03-05""#)]).expect("it is complete");
        assert_eq!(sooner.due(), datetime!(2026-03-05 23:59:59.999 UTC));
        let unnamed = read(&[("purpose", "")]).expect("the purpose may be left out");
        assert_eq!(unnamed.purpose, "ETREAT", "the agreement's first");
        assert!(!format!("{decision:?}").contains("Alex"));
    }

    #[test]
    fn every_part_but_the_purpose_must_be_there() {
        for (name, _) in PARTS.iter().filter(|(name, _)| *name != "purpose") {
            assert_eq!(gaps(&[(name, "")]), [*name]);
        }
        let none: Vec<_> = PARTS.iter().map(|(name, _)| (*name, "")).collect();
        assert_eq!(gaps(&none).len(), PARTS.len() - 1, "all are named at once");
        assert_eq!(gaps(&[("proportionality", r#""valueString":"  ""#)]), ["proportionality"], "a blank says nothing");
    }

    #[test]
    fn what_the_agreement_does_not_allow_is_no_part() {
        assert_eq!(gaps(&[("basis", r#""valueCoding":{"code":"public-interest"}"#)]), ["basis"]);
        assert_eq!(gaps(&[("purpose", r#""valueCoding":{"code":"HOPERAT"}"#)]), ["purpose"]);
        assert_eq!(gaps(&[("personTold", r#""valueBoolean":false"#)]), ["whyNotTold"]);
        let why = [("personTold", r#""valueBoolean":false"#), ("whyNotTold", r#""valueString":"it would harm""#)];
        assert_eq!(read(&why).expect("it is complete").why_not_told.as_deref(), Some("it would harm"));
        assert_eq!(gaps(&[("reviewDue", r#""valueDateTime":"2026-03-03""#)]), ["reviewDue"], "it has passed");
        assert_eq!(gaps(&[("reviewDue", r#""valueDateTime":"soon""#)]), ["reviewDue"]);
    }
}
