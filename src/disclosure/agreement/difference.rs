//! What a new version of an agreement changes: which elements newly leave, which no longer do, and on what terms.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::{Agreement, Interface};

/// An element of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The interface.
    pub interface: String,
    /// The resource type.
    pub resource: String,
    /// The profile that resources must claim; any of the type without it.
    pub profile: Option<String>,
    /// The element's path below the resource.
    pub element: String,
}

/// How an element leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct How {
    /// `as it is`, or what it is generalised to.
    pub form: String,
    /// Whether it leaves without consent, too.
    pub under_override: bool,
}

/// A term that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Its name in the file: `retention_days`, `interfaces.crisis-escalation.consent`.
    pub name: String,
    /// Before; empty if it was not there.
    pub old: String,
    /// After; empty if it is no longer there.
    pub new: String,
}

/// What differs between two versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Elements that newly leave.
    pub leaves: Vec<(Place, How)>,
    /// Elements that no longer leave.
    pub stays: Vec<(Place, How)>,
    /// Elements that leave in another way: before, after.
    pub changes: Vec<(Place, How, How)>,
    /// Everything else that differs.
    pub terms: Vec<Term>,
}

impl Difference {
    /// Between two agreements, the older one first.
    pub fn between(old: &Agreement, new: &Agreement) -> Difference {
        let (before, after) = (elements(old), elements(new));
        let missing_in = |other: &BTreeMap<Place, How>, from: &BTreeMap<Place, How>| {
            from.iter()
                .filter(|(place, _)| !other.contains_key(*place))
                .map(|(place, how)| (place.clone(), how.clone()))
                .collect()
        };
        let changes = after.iter().filter_map(|(place, how)| {
            let was = before.get(place).filter(|was| *was != how)?;
            Some((place.clone(), was.clone(), how.clone()))
        });
        Difference {
            leaves: missing_in(&before, &after),
            stays: missing_in(&after, &before),
            changes: changes.collect(),
            terms: changed_terms(old, new),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Difference::default()
    }
}

/// What leaves, and how. What is generalised does not leave as it is; what is withheld does not leave.
fn elements(agreement: &Agreement) -> BTreeMap<Place, How> {
    let mut elements = BTreeMap::new();
    for (name, interface) in agreement.interfaces() {
        let place = |resource: &str, profile: &Option<String>, element: &str| Place {
            interface: name.to_string(),
            resource: resource.to_owned(),
            profile: profile.clone(),
            element: element.to_owned(),
        };
        for clause in interface.clauses() {
            let how = How { form: "as it is".to_owned(), under_override: clause.under_override };
            for element in &clause.elements {
                elements.insert(place(&clause.resource, &clause.profile, element), how.clone());
            }
        }
        for each in interface.generalisations() {
            let form = format!("as {}", each.to.shown());
            let how = How { form, under_override: each.under_override };
            elements.insert(place(&each.resource, &each.profile, &each.element), how);
        }
        for each in interface.withholdings() {
            let covers = |path: &str| {
                each.elements.is_empty() || each.elements.iter().any(|own| path == own || is_below(path, own))
            };
            elements.retain(|at, _| {
                let of = at.interface == name.as_str() && at.resource == each.resource;
                !(of && (each.profile.is_none() || each.profile == at.profile) && covers(&at.element))
            });
        }
    }
    elements
}

fn is_below(path: &str, own: &str) -> bool {
    path.strip_prefix(own).is_some_and(|rest| rest.starts_with('.'))
}

fn changed_terms(old: &Agreement, new: &Agreement) -> Vec<Term> {
    let (before, after) = (terms(old), terms(new));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let of = |terms: &BTreeMap<String, String>, name: &str| terms.get(name).cloned().unwrap_or_default();
    let both = names.into_iter().map(|name| Term { name: name.clone(), old: of(&before, name), new: of(&after, name) });
    both.filter(|term| term.old != term.new).collect()
}

/// Everything but the elements, by its name in the file.
fn terms(agreement: &Agreement) -> BTreeMap<String, String> {
    let mut terms = BTreeMap::new();
    let mut say = |name: &str, value: String| {
        terms.insert(name.to_owned(), value);
    };
    say("id", agreement.id().to_string());
    say("version", agreement.version().to_owned());
    say("status", agreement.status().to_string());
    say("effective", agreement.effective().to_string());
    say("review", agreement.review().to_string());
    say("review_grace_days", agreement.review_grace_days().to_string());
    say("retention_days", agreement.retention_days().to_string());
    for (role, party) in [("controller", agreement.controller()), ("recipient", agreement.recipient())] {
        say(role, format!("{} {}", party.ods, party.name));
    }
    say("purpose", format!("{}: {}", agreement.purpose().code, agreement.purpose().words));
    let basis = agreement.lawful_basis();
    say("lawful_basis.article_6", basis.article_6.clone());
    say("lawful_basis.article_9", basis.article_9.clone());
    say("lawful_basis.common_law", basis.common_law.clone());
    say("lawful_basis.statute", basis.statute.clone().unwrap_or_default());
    let controls = agreement.controls();
    say("controls.minimum_tls", controls.minimum_tls.to_string());
    say("controls.pinning", controls.pinning.to_string());
    say("controls.encryption_at_rest", controls.encryption_at_rest.to_string());
    for (role, person) in agreement.roles().iter() {
        say(&format!("roles.{role}"), format!("{}, {}", person.name, person.contact));
    }
    say("approval.by", words(&agreement.approval().by));
    say("dpia.reference", agreement.dpia().reference.clone());
    for each in &agreement.dpia().mitigations {
        say(&format!("dpia.mitigation: {}", each.risk), each.control.to_string());
    }
    for each in agreement.escalations() {
        say(&format!("escalation.{}: {}", each.severity, each.contact), format!("within {} hours", each.hours));
    }
    for (name, interface) in agreement.interfaces() {
        terms.extend(
            interface_terms(interface).into_iter().map(|(key, value)| (format!("interfaces.{name}.{key}"), value)),
        );
    }
    terms
}

fn interface_terms(interface: &Interface) -> Vec<(String, String)> {
    let consent = interface.consent();
    let mut terms = vec![
        ("profile".to_owned(), interface.profile().to_owned()),
        ("tell_withheld".to_owned(), interface.tells_withheld().to_string()),
        ("list_withheld".to_owned(), interface.list_withheld().to_string()),
        ("consent.rule".to_owned(), consent.rule.to_string()),
        ("consent.objection".to_owned(), consent.objection.to_string()),
        ("consent.statute".to_owned(), consent.statute.clone().unwrap_or_default()),
    ];
    if let Some(rule) = interface.override_rule() {
        terms.push(("override.purposes".to_owned(), rule.purposes.join(", ")));
        terms.push(("override.bases".to_owned(), words(&rule.bases)));
        terms.push((
            "override.review".to_owned(),
            format!("by the {} within {} hours", rule.reviewer, rule.review_hours),
        ));
    }
    for each in interface.withholdings() {
        let what = if each.elements.is_empty() { "all of it".to_owned() } else { each.elements.join(", ") };
        let value = format!("{what}: {} ({})", each.reason, each.approved_by);
        terms.push((format!("withhold.{}", each.resource), value));
    }
    terms
}

fn words<T: std::fmt::Display + Debug>(list: &[T]) -> String {
    list.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::Agreements;
    use super::*;
    use std::sync::Arc;

    const TRUST: &str = include_str!("../../../agreements/demo-trust-crisis.toml");

    fn agreement(text: String) -> Arc<Agreement> {
        let agreements = Agreements::load(&[("a.toml".to_owned(), text)]).expect("it is sound");
        agreements.iter().next().expect("there is one").clone()
    }

    #[test]
    fn the_same_file_does_not_differ() {
        let one = agreement(TRUST.to_owned());
        assert!(Difference::between(&one, &one).is_empty());
    }

    #[test]
    fn elements_and_terms_that_differ_are_told() {
        let old = agreement(TRUST.to_owned());
        let generalise = "\n[[interfaces.crisis-escalation.generalise]]\nresource = \"Patient\"\n\
                          profile = \"https://weir.example/fhir/StructureDefinition/weir-patient\"\nelement = \"birthDate\"\n\
                          to = \"age-band\"\nbands = [18, 65]\ncategory = \"identity\"\nreason = \"r\"\n";
        let text = TRUST
            .replace("\"birthDate\", \"managing", "\"maritalStatus.text\", \"managing")
            .replace("\"address.line\", ", "")
            .replace("review_hours = 72", "review_hours = 24")
            .replace("retention_days = 2922", "retention_days = 30");
        let new = agreement(format!("{text}{generalise}"));
        let found = Difference::between(&old, &new);
        let names = |rows: &[(Place, How)]| rows.iter().map(|(place, _)| place.element.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found.leaves), ["maritalStatus.text"]);
        assert_eq!(names(&found.stays), ["address.line"]);
        let [(place, was, is)] = &found.changes[..] else { panic!("{:?}", found.changes) };
        assert_eq!((&*place.element, &*was.form, &*is.form), ("birthDate", "as it is", "as age-band 18, 65"));
        assert!(was.under_override && !is.under_override);
        let terms: Vec<(&str, &str, &str)> =
            found.terms.iter().map(|term| (&*term.name, &*term.old, &*term.new)).collect();
        let review = "interfaces.crisis-escalation.override.review";
        let by = "by the safeguarding_lead within";
        let (was, is) = (format!("{by} 72 hours"), format!("{by} 24 hours"));
        assert_eq!(terms, [(review, &*was, &*is), ("retention_days", "2922", "30")]);
    }

    #[test]
    fn what_is_withheld_does_not_leave() {
        let old = agreement(TRUST.to_owned());
        let text = format!(
            "{TRUST}\n[[interfaces.crisis-escalation.withhold]]\nresource = \"Patient\"\nelements = [\"telecom\"]\n\
             reason = \"r\"\napproved_by = \"siro\"\n"
        );
        let found = Difference::between(&old, &agreement(text));
        let stays: Vec<&str> = found.stays.iter().map(|(place, _)| &*place.element).collect();
        assert_eq!(stays, ["telecom.system", "telecom.value"]);
        assert_eq!(found.terms.len(), 1, "{:?}", found.terms);
    }
}
