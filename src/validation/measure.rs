//! MeasureReports against their Measures: a score where the scoring has one, and the stratifiers that the Measure has.

use std::borrow::Cow;

use super::walk::Walk;
use crate::fhir::definitions::without_version;
use crate::fhir::outcome::{IssueType, Severity};
use crate::fhir::{Node, keys};

/// The rule of an issue.
const RULE: &str = "r4-measure";

impl<'a> Walk<'a> {
    /// Checks a report against the Measure it names.
    pub(super) fn measure_report(&mut self, report: Node<'a>) {
        let Some(canonical) = report.member("measure") else { return };
        let Some(url) = canonical.text() else { return };
        let validator = self.validator;
        let Some(measure) = validator.measures.get(without_version(&url)).map(|document| document.root()) else {
            let text = "the Measure is not loaded, and the report not checked against it";
            let hint = "load the Measure";
            self.report(Severity::Information, IssueType::NotFound, canonical, "not-checked", text, hint);
            return;
        };
        let scoring = measure.member("scoring").and_then(first_code);
        let groups: Vec<Node<'a>> = measure.items_of("group").collect();
        for (place, group) in report.items_of("group").enumerate() {
            if let Some(score) = group.member("measureScore").filter(|_| scoring.as_deref() == Some("cohort")) {
                let text = "a measure whose scoring is cohort has no score";
                self.error(IssueType::BusinessRule, score, RULE, text, "remove the score");
            }
            let own = group.child(keys().code).and_then(first_code);
            let by_code =
                groups.iter().find(|each| own.is_some() && each.child(keys().code).and_then(first_code) == own);
            if let Some(defined) = by_code.or_else(|| groups.get(place)) {
                self.stratifiers(group, *defined);
            }
        }
    }

    /// The stratifiers of a group are those of the Measure's group, where both have codes.
    fn stratifiers(&mut self, group: Node<'a>, defined: Node<'a>) {
        let code = |stratifier: Node<'a>| stratifier.child(keys().code).and_then(first_code);
        let wanted: Vec<Cow<'a, str>> = defined.items_of("stratifier").filter_map(code).collect();
        for stratifier in group.items_of("stratifier").filter(|_| !wanted.is_empty()) {
            if code(stratifier).is_some_and(|own| !wanted.contains(&own)) {
                let text = "the stratifier has no code of a stratifier of the Measure's group";
                self.error(IssueType::BusinessRule, stratifier, RULE, text, "use the code of the Measure");
            }
        }
    }
}

/// The first code of a CodeableConcept, or of the first of several.
fn first_code(concept: Node<'_>) -> Option<Cow<'_, str>> {
    let concept = concept.items().next()?;
    concept.child(keys().coding)?.items().next()?.child(keys().code)?.text()
}
