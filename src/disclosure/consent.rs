//! Whether the person's consent, or what stands in its place, lets something leave.
//!
//! Enters: what the agreement asks for on the interface, what the person said, what is known of their capacity, and
//! whether a decision to share all the same is recorded. Leaves: the ground on which it may leave, or what stands in
//! the way and whose move it is. [`decide`] is a function of codes alone; `tests/golden/consent.txt` is its whole table.
//!
//! - `explicit`: a recorded yes that covers the recipient, has not ended, and was given with capacity.
//! - `implied`: for direct care, as long as the person does not object (refused, or took an earlier yes back).
//! - `not-required`: the agreement names another ground. An objection holds here too (UK GDPR Article 21), unless the agreement
//!   says `objection = "record"`, since the law asks for the sharing: then it is recorded and stops nothing.
//!
//! Where a rule would refuse, an agreement with an `override` for the interface lets a complete decision take its place;
//! against an objection only with `objection = "override"`. Law: Mental Capacity Act 2005 sections 1 to 4, the common law
//! duty of confidence.

use super::agreement::{ConsentRule, ConsentTerms, Objection};
use crate::fhir::Instant;
use crate::fhir::bundle::Entries;
use crate::fhir::consent::{Capacity, Consent, Said, Until};

/// What the person said, as it bears on one sharing at one time. In order: a later one prevails over an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference {
    /// A yes that covers the recipient and has not ended.
    Given,
    /// A yes that has ended.
    Expired,
    /// Something was said, but not about this recipient.
    OutOfScope,
    /// The person could not be asked or could not decide.
    NotPossible,
    /// Not asked, or not recorded.
    Unknown,
    /// A yes that was taken back.
    Withdrawn,
    /// An objection.
    Refused,
}

impl Preference {
    /// Every preference.
    pub const ALL: [Preference; 7] = [
        Preference::Given,
        Preference::Expired,
        Preference::OutOfScope,
        Preference::NotPossible,
        Preference::Unknown,
        Preference::Withdrawn,
        Preference::Refused,
    ];

    /// As it is audited.
    pub fn code(self) -> &'static str {
        match self {
            Preference::Given => "given",
            Preference::Expired => "expired",
            Preference::OutOfScope => "out-of-scope",
            Preference::NotPossible => "not-possible",
            Preference::Unknown => "unknown",
            Preference::Withdrawn => "withdrawn",
            Preference::Refused => "refused",
        }
    }

    /// Whether the person objects.
    pub fn is_objection(self) -> bool {
        matches!(self, Preference::Refused | Preference::Withdrawn)
    }
}

/// What a Bundle says of consent, as it bears on sharing with the organisation that has the code `recipient`, at `at`.
/// Of several Consents about the recipient the one that says most against sharing prevails.
pub(super) fn recorded(entries: &Entries<'_>, recipient: &str, at: Instant) -> (Preference, Capacity) {
    let capacity = Consent::of(entries).map(Consent::capacity).max().unwrap_or(Capacity::Assumed);
    let covering = Consent::of(entries).filter(|consent| consent.covers(recipient));
    let preference = covering.map(|consent| preference(consent, at)).max();
    let unsaid = || Consent::of(entries).next().map_or(Preference::Unknown, |_| Preference::OutOfScope);
    (preference.unwrap_or_else(unsaid), capacity)
}

/// An objection holds until something else is recorded; only a yes ends by itself.
fn preference(consent: Consent<'_>, at: Instant) -> Preference {
    match consent.said() {
        Said::Refused => Preference::Refused,
        Said::Withdrawn => Preference::Withdrawn,
        Said::NotPossible => Preference::NotPossible,
        Said::Unknown => Preference::Unknown,
        Said::Given => match consent.until() {
            Until::Open => Preference::Given,
            Until::Instant(end) if at <= end => Preference::Given,
            Until::Instant(_) | Until::Unreadable => Preference::Expired,
        },
    }
}

/// Whether a decision to share without consent is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// There is none.
    No,
    /// There is one, and parts of it are missing or not as the agreement asks.
    Incomplete,
    /// There is one, and the agreement lets it stand.
    Complete,
}

/// On which ground something may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The person agreed.
    Consent,
    /// Consent is implied for direct care, and the person does not object.
    Implied,
    /// Consent is not required: the ground is the one that the agreement names.
    Statute,
    /// A recorded decision, without consent: only what the agreement lists for that leaves.
    Override,
}

impl Basis {
    /// As it is audited.
    pub fn code(self) -> &'static str {
        match self {
            Basis::Consent => "consent",
            Basis::Implied => "implied-consent",
            Basis::Statute => "statute",
            Basis::Override => "override",
        }
    }
}

/// Why the rule does not let it leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What the person said.
    pub preference: Preference,
    /// What is known of their capacity.
    pub capacity: Capacity,
    /// What would help.
    pub remedy: Remedy,
}

/// Whose move it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The person's: the agreement lets nothing leave here without their consent.
    Person,
    /// The person's; or that of someone who may decide to share all the same.
    Decision,
    /// Whoever decided: their decision lacks something.
    Completion,
}

/// Whether something may leave, and on which ground; otherwise what stands in the way. `has_override` is whether the
/// agreement has an override for the interface.
///
/// # Errors
/// [`Obstacle`]
pub fn decide(
    terms: &ConsentTerms,
    has_override: bool,
    preference: Preference,
    capacity: Capacity,
    decided: Decided,
) -> Result<Basis, Obstacle> {
    let by_rule = match terms.rule {
        ConsentRule::NotRequired => {
            (terms.objection == Objection::Record || !preference.is_objection()).then_some(Basis::Statute)
        }
        ConsentRule::Implied => (!preference.is_objection()).then_some(Basis::Implied),
        // A yes of someone who lacks capacity to decide about this is no consent.
        ConsentRule::Explicit => {
            (preference == Preference::Given && capacity != Capacity::Lacks).then_some(Basis::Consent)
        }
    };
    if let Some(basis) = by_rule {
        return Ok(basis);
    }
    let overridable = has_override && (terms.objection == Objection::Override || !preference.is_objection());
    let remedy = match (overridable, decided) {
        (true, Decided::Complete) => return Ok(Basis::Override),
        (true, Decided::Incomplete) => Remedy::Completion,
        (true, Decided::No) => Remedy::Decision,
        (false, _) => Remedy::Person,
    };
    Err(Obstacle { preference, capacity, remedy })
}

impl Obstacle {
    /// What stands in the way, in words.
    pub fn words(&self) -> &'static str {
        match self.preference {
            Preference::Given if self.capacity == Capacity::Lacks => {
                "the person agreed, but lacked capacity to decide about this sharing"
            }
            Preference::Given => "the person agreed",
            Preference::Expired => "the person's consent has ended",
            Preference::OutOfScope => "the person's consent does not cover this recipient",
            Preference::NotPossible => "the person could not be asked, and their consent is needed",
            Preference::Unknown => "it is not recorded what the person said, and their consent is needed",
            Preference::Withdrawn => "the person objects to this sharing: they withdrew their consent",
            Preference::Refused => "the person objects to this sharing",
        }
    }

    /// Whose move it is, and what to do.
    pub fn hint(&self) -> String {
        let ask = match self.preference {
            Preference::Withdrawn | Preference::Refused => "speak with the person about it",
            Preference::Given | Preference::NotPossible => {
                "see whether the person can decide with support, and record it"
            }
            _ => "ask the person, and record what they say",
        };
        match self.remedy {
            Remedy::Person if self.preference.is_objection() => {
                format!("{ask}; the agreement lets nothing leave here against an objection, whatever is decided")
            }
            Remedy::Person => {
                format!("{ask}; the agreement lets nothing leave here without consent, whatever is decided")
            }
            Remedy::Decision => format!(
                "{ask}; where someone is at risk, whoever may decide to share all the same records that decision, with \
                 every part of it, in {DECISION}, and the record is sent again"
            ),
            Remedy::Completion => {
                format!("ask whoever decided to complete {DECISION}, then send again; or {ask}")
            }
        }
    }
}

/// The element of a record that holds the decision to share without consent.
const DECISION: &str = "sharingDecision";

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::fhir::{Document, Limits};
    use time::macros::datetime;

    const CAPACITIES: [(Capacity, &str); 3] =
        [(Capacity::Assumed, "not assessed"), (Capacity::Has, "has"), (Capacity::Lacks, "lacks")];

    fn terms(rule: ConsentRule, objection: Objection) -> ConsentTerms {
        ConsentTerms { rule, objection, statute: None }
    }

    fn word(outcome: Result<Basis, Obstacle>) -> String {
        match outcome {
            Ok(basis) => format!("SENDS: {}", basis.code()),
            Err(obstacle) => match obstacle.remedy {
                Remedy::Person => "refused".to_owned(),
                Remedy::Decision => "refused: decide?".to_owned(),
                Remedy::Completion => "refused: complete it".to_owned(),
            },
        }
    }

    /// The four answers of one row: no override in the agreement; else by the decision.
    fn answers(terms: &ConsentTerms, preference: Preference, capacity: Capacity) -> [String; 4] {
        let answer = |has_override, decided| word(decide(terms, has_override, preference, capacity, decided));
        for decided in [Decided::No, Decided::Incomplete] {
            assert_eq!(
                answer(false, decided),
                answer(false, Decided::Complete),
                "no decision helps without an override"
            );
        }
        [
            answer(false, Decided::Complete),
            answer(true, Decided::No),
            answer(true, Decided::Incomplete),
            answer(true, Decided::Complete),
        ]
    }

    fn line(text: &mut String, cells: [&str; 6]) {
        let cells = cells.iter().zip([14, 13, 24, 24, 24, 24]).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("| ");
        writeln!(text, "{}", line.trim_end()).expect("writing to a String cannot fail");
    }

    fn table() -> String {
        let mut text = String::new();
        for rule in ConsentRule::ALL {
            for objection in Objection::ALL {
                text.push_str(&format!("\nrule {rule}, objection {objection}\n"));
                let mut row = |cells: [&str; 6]| line(&mut text, cells);
                row(["said", "capacity", "no override", "no decision", "incomplete decision", "complete decision"]);
                for preference in Preference::ALL {
                    let terms = terms(*rule, *objection);
                    let of = |capacity| answers(&terms, preference, capacity);
                    let differs = CAPACITIES.iter().any(|(capacity, _)| of(*capacity) != of(Capacity::Assumed));
                    let shown = if differs { &CAPACITIES[..] } else { &[(Capacity::Assumed, "any")] };
                    for (capacity, name) in shown {
                        let [a, b, c, d] = of(*capacity);
                        row([preference.code(), name, &a, &b, &c, &d]);
                    }
                }
            }
        }
        text
    }

    /// `UPDATE_GOLDEN=1 cargo test --lib consent` writes the table anew; read it as an IG lead before committing.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a golden file need not be durable")]
    fn the_table_of_decisions_is_the_golden_one() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/consent.txt");
        let table =
            format!("Whether something leaves, by rule, preference, capacity, objection and override.\n{}", table());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file, &table).expect("it is written");
        }
        assert_eq!(table, std::fs::read_to_string(file).expect("the golden file is there"));
    }

    #[test]
    fn no_decision_passes_an_objection_where_an_objection_refuses() {
        for rule in ConsentRule::ALL.iter().copied() {
            for (objection, preference) in
                [Preference::Refused, Preference::Withdrawn].map(|each| (Objection::Refuse, each))
            {
                for (capacity, _) in CAPACITIES {
                    let outcome = decide(&terms(rule, objection), true, preference, capacity, Decided::Complete);
                    assert_eq!(outcome.map_err(|obstacle| obstacle.remedy), Err(Remedy::Person));
                }
            }
        }
    }

    /// Consent that is not required is passed over only where the agreement says so in as many words.
    #[test]
    fn an_objection_stops_nothing_only_where_the_agreement_says_that_it_is_only_recorded() {
        for preference in Preference::ALL {
            let sends = |rule, objection| {
                decide(&terms(rule, objection), false, preference, Capacity::Has, Decided::No).is_ok()
            };
            assert!(sends(ConsentRule::NotRequired, Objection::Record));
            for objection in [Objection::Refuse, Objection::Override] {
                assert_eq!(sends(ConsentRule::NotRequired, objection), !preference.is_objection(), "{objection}");
            }
        }
    }

    fn recorded_of(consents: &[&str]) -> (Preference, Capacity) {
        let entries = consents.iter().map(|each| format!(r#"{{"resource":{{"resourceType":"Consent",{each}}}}}"#));
        let bundle = format!(r#"{{"resourceType":"Bundle","entry":[{}]}}"#, entries.collect::<Vec<_>>().join(","));
        let bundle = Document::parse(bundle, &Limits::default()).expect("it is JSON");
        recorded(&Entries::of(&bundle), "DEMOT", datetime!(2026-03-04 00:00 UTC))
    }

    #[test]
    fn what_bears_on_the_recipient_and_says_most_against_it_prevails() {
        let ends = |day: &str| format!(r#""status":"active","provision":{{"period":{{"end":"2026-03-{day}"}}}}"#);
        let about = |status: &str, ods: &str| {
            format!(
                r#""status":"{status}","provision":{{"actor":[{{"reference":{{"identifier":{{
                   "system":"https://fhir.nhs.uk/Id/ods-organization-code","value":"{ods}"}}}}}}]}}"#
            )
        };
        let said = |consents: &[&str]| recorded_of(consents).0;
        assert_eq!(recorded_of(&[]), (Preference::Unknown, Capacity::Assumed), "nothing recorded is no yes");
        assert_eq!(said(&[r#""status":"active""#]), Preference::Given);
        assert_eq!(said(&[&ends("04")]), Preference::Given, "its last day counts");
        assert_eq!(said(&[&ends("03")]), Preference::Expired);
        assert_eq!(said(&[r#""status":"active","provision":{"period":{"end":"?"}}"#]), Preference::Expired);
        assert_eq!(
            said(&[&ends("03").replace("active", "rejected")]),
            Preference::Refused,
            "an objection does not end"
        );
        assert_eq!(said(&[&about("active", "DEMOI")]), Preference::OutOfScope);
        assert_eq!(said(&[&about("rejected", "DEMOI")]), Preference::OutOfScope);
        assert_eq!(said(&[&about("rejected", "DEMOI"), &about("active", "DEMOT")]), Preference::Given);
        assert_eq!(said(&[r#""status":"active""#, &about("rejected", "DEMOT")]), Preference::Refused);
    }
}
