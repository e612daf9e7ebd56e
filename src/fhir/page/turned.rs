//! What turns a resource where another names it: an observation that something is absent, a diagnosis that was refuted.
//!
//! Enters: what a reference leads to. Leaves: words to stand behind its name, `: Absent (entered-in-error)`, or none. Invariant: they
//! are made from the resource's own elements alone, never from what it refers to, so that a circle of references ends.

use super::lines::{Reader, Said, absent, is_usual};
use super::references::shortened;
use crate::fhir::narrative::words::label_of;
use crate::fhir::r4::{TypeDef, schema};
use crate::fhir::{Kind, NameId, Node};

/// How much is shown of a value, and of all states together, in characters.
const VALUE_LENGTH: usize = 60;
/// Elements that say whether what a resource says holds.
const STATES: [&str; 5] = ["status", "clinicalStatus", "verificationStatus", "lifecycleStatus", "achievementStatus"];
/// States that turn nothing, beside those that go without saying everywhere; and those of a visit.
const USUAL: [&str; 2] = ["confirmed", "requested"];
const USUAL_OF_VISIT: [&str; 2] = ["in-progress", "finished"];

impl<'a> Reader<'a> {
    /// What turns a resource, ready to stand behind its name.
    pub(super) fn turned(&self, resource: Node<'a>) -> String {
        let Some(of) = resource.resource_type().and_then(|name| schema().resource(name)) else { return String::new() };
        let (mut values, mut states) = (Vec::new(), Vec::new());
        for child in resource.children() {
            let Some((stem, to)) = of.element(child.name_id()).and_then(|(of, to)| Some((of.stem, to.def()?))) else {
                continue;
            };
            let items = child.items().filter(|item| item.kind() != Kind::Null);
            match stem {
                "value" | "dataAbsentReason" if of.name == "Observation" => {
                    values.extend(
                        items.filter_map(|item| self.said_of(item, to)).map(|said| said.in_words().into_owned()),
                    );
                }
                "modifierExtension" => states.extend(items.take(1).map(|_| "changed by a modifier".to_owned())),
                _ => states.extend(items.filter_map(|item| self.state(of, stem, item, to))),
            }
        }
        if of.name == "RiskAssessment" {
            values.extend(self.level_of(resource));
        }
        let is_in_parts = ["component", "hasMember"].iter().any(|name| resource.member(name).is_some());
        if of.name == "Observation" && values.is_empty() && is_in_parts {
            states.push("see what it says on this page".to_owned());
        }
        let mut words = String::new();
        if !values.is_empty() {
            words = format!(": {}", shortened(&values.join(", "), VALUE_LENGTH));
        }
        if !states.is_empty() {
            words += &format!(" ({})", shortened(&states.join(", "), VALUE_LENGTH));
        }
        words
    }

    /// A state in words, unless it turns nothing.
    fn state(&self, of: &TypeDef, stem: &str, item: Node<'a>, to: &TypeDef) -> Option<String> {
        match (stem, item.scalar().as_deref()) {
            ("doNotPerform", Some("true")) => return Some("do not perform".to_owned()),
            ("active", Some("false")) => return Some("not active".to_owned()),
            _ if !STATES.contains(&stem) => return None,
            _ => {}
        }
        match self.said_of(item, to)? {
            Said::Words(words) => {
                // `confirmed (condition-ver-status)` of a code without words.
                let plain = words.split(" (").next().unwrap_or_default().to_lowercase();
                let is_visit = of.name == "Encounter" && USUAL_OF_VISIT.contains(&&*plain);
                let is_usual = is_usual(of, stem, &plain) || USUAL.contains(&&*plain) || is_visit;
                (!is_usual).then_some(words)
            }
            said => Some(format!("{} {}", label_of(stem).to_lowercase(), said.in_words())),
        }
    }

    /// The level of a risk; of several only that there are several.
    fn level_of(&self, risk: Node<'a>) -> Option<String> {
        let of = schema().type_named("RiskAssessment.prediction")?;
        let to = of.element(NameId::of("qualitativeRisk"))?.1.def()?;
        let predictions: Vec<Node<'a>> = risk.items_of("prediction").collect();
        match &predictions[..] {
            [] => None,
            [one] => Some(self.said_of(one.member("qualitativeRisk")?, to)?.in_words().into_owned()),
            _ => Some("several levels, see them on this page".to_owned()),
        }
    }

    /// A value in words, or why there is none.
    fn said_of(&self, item: Node<'a>, to: &TypeDef) -> Option<Said> {
        let value = || if item.name_id().is_primitive_extension() { None } else { self.value(item, to) };
        absent(item).or_else(|| value().map(Said::Words))
    }
}
