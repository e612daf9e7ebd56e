//! What an agreement says about one interface: what may leave, as it is or less exact, what is held back, and when
//! consent is needed.

use super::words::{ConsentRule, NamedRole, Objection, OverrideBasis};
use crate::disclosure::manifest::Why;
use crate::disclosure::plan::Plan;

/// One permit of an agreement: elements of one resource type, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The resource type.
    pub resource: String,
    /// The profile that a resource must claim in `meta.profile`; any resource of the type without it.
    pub profile: Option<String>,
    /// The category of data.
    pub category: String,
    /// Why these elements are needed.
    pub reason: String,
    /// Element paths below the resource.
    pub elements: Vec<String>,
    /// Whether they leave when something is shared without consent, too.
    pub under_override: bool,
}

/// An element that leaves less exact than it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generalisation {
    /// The resource type.
    pub resource: String,
    /// The profile that a resource must claim in `meta.profile`; any resource of the type without it.
    pub profile: Option<String>,
    /// The element's path below the resource.
    pub element: String,
    /// What it becomes.
    pub to: Coarser,
    /// The category of data.
    pub category: String,
    /// Why it is needed, and no more of it.
    pub reason: String,
    /// Whether it leaves when something is shared without consent, too.
    pub under_override: bool,
}

/// What a generalised element becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coarser {
    /// The first half of a postcode.
    OutwardCode,
    /// The month of a date.
    Month,
    /// The year of a date.
    Year,
    /// The band of ages that a birth date falls into.
    AgeBand {
        /// The ages in years at which each band but the first begins, rising: `[18, 65]` is under 18, 18 to 64, 65 and over.
        from: Vec<u16>,
    },
    /// An identifier that only this recipient sees and nobody can turn back without the key.
    Pseudonym {
        /// The key's name in the site's `[pseudonym_keys]`.
        key: String,
    },
    /// That it was there and was withheld: for free text.
    Withheld,
}

impl Coarser {
    /// The words of the file, in the order of the documentation.
    pub const WORDS: &'static [&'static str] = &["outward-code", "month", "year", "age-band", "pseudonym", "withheld"];

    /// The word with what it needs: `age-band 18, 65`, `pseudonym icb`.
    pub fn shown(&self) -> String {
        match self {
            Coarser::AgeBand { from } => {
                let ages: Vec<String> = from.iter().map(u16::to_string).collect();
                format!("age-band {}", ages.join(", "))
            }
            Coarser::Pseudonym { key } => format!("pseudonym {key}"),
            _ => self.word().to_owned(),
        }
    }

    /// As it is written in the file.
    pub fn word(&self) -> &'static str {
        match self {
            Coarser::OutwardCode => "outward-code",
            Coarser::Month => "month",
            Coarser::Year => "year",
            Coarser::AgeBand { .. } => "age-band",
            Coarser::Pseudonym { .. } => "pseudonym",
            Coarser::Withheld => "withheld",
        }
    }
}

/// Something safety-critical that is held back on purpose: someone answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withholding {
    /// The resource type.
    pub resource: String,
    /// The profile of the resources meant; all of the type without it.
    pub profile: Option<String>,
    /// Element paths below the resource; empty for the whole resource.
    pub elements: Vec<String>,
    /// Why.
    pub reason: String,
    /// Who decided it.
    pub approved_by: NamedRole,
}

/// When the person's consent is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentTerms {
    /// What the person must have said.
    pub rule: ConsentRule,
    /// What an objection does. [`Objection::Override`] only where the interface has an [`OverrideTerms`];
    /// [`Objection::Record`] only where consent is not required.
    pub objection: Objection,
    /// The ground, in words, on which consent is not required; always there with [`ConsentRule::NotRequired`].
    pub statute: Option<String>,
}

/// When something may leave without consent, and who reviews that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideTerms {
    /// HL7 v3 ActReason codes that a decision may give; at least one.
    pub purposes: Vec<String>,
    /// The grounds that a decision may stand on; at least one.
    pub bases: Vec<OverrideBasis>,
    /// Who reviews each decision; the agreement's roles name them.
    pub reviewer: NamedRole,
    /// Within this many hours: 1 to 720.
    pub review_hours: u32,
}

/// What an agreement says about one interface.
#[derive(Debug)]
pub struct Interface {
    pub(in crate::disclosure) profile: String,
    pub(in crate::disclosure) tell_withheld: bool,
    pub(in crate::disclosure) list_withheld: bool,
    pub(in crate::disclosure) consent: ConsentTerms,
    pub(in crate::disclosure) override_terms: Option<OverrideTerms>,
    pub(in crate::disclosure) clauses: Vec<Clause>,
    pub(in crate::disclosure) generalisations: Vec<Generalisation>,
    pub(in crate::disclosure) withholdings: Vec<Withholding>,
    pub(in crate::disclosure) plan: Plan,
    /// The same for what is shared without consent; `None` where that is not done.
    pub(in crate::disclosure) override_plan: Option<Plan>,
}

impl Interface {
    /// The profile that the outgoing Bundle must conform to.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Whether the receiver sees that something was withheld: labels, and masks for required elements.
    pub fn tells_withheld(&self) -> bool {
        self.tell_withheld
    }

    /// Whether the receiver also gets the list of element paths that were withheld.
    pub fn list_withheld(&self) -> bool {
        self.list_withheld
    }

    /// When the person's consent is needed.
    pub fn consent(&self) -> &ConsentTerms {
        &self.consent
    }

    /// When something may leave without consent; never, without it.
    pub fn override_rule(&self) -> Option<&OverrideTerms> {
        self.override_terms.as_ref()
    }

    /// What leaves: with consent; or without, where the agreement knows such a thing.
    pub(in crate::disclosure) fn plan(&self, without_consent: bool) -> Option<&Plan> {
        if without_consent { self.override_plan.as_ref() } else { Some(&self.plan) }
    }

    /// Its permits, in the order of the file: a manifest names them by index.
    pub fn clauses(&self) -> &[Clause] {
        &self.clauses
    }

    /// Elements that leave less exact than they are, in the order of the file.
    pub fn generalisations(&self) -> &[Generalisation] {
        &self.generalisations
    }

    /// What is safety-critical and held back on purpose, in the order of the file.
    pub fn withholdings(&self) -> &[Withholding] {
        &self.withholdings
    }

    /// Every reason for which an element may be held back, in words, with its [`Why::number`].
    pub fn reasons(&self) -> Vec<(u32, String)> {
        let always = [
            Why::NotPermitted,
            Why::ResourceNotPermitted,
            Why::DanglingReference,
            Why::ModifierExtension,
            Why::ModifierElement,
        ];
        let withholdings = (0..).zip(&self.withholdings).map(|(index, _)| Why::Withholding(index));
        let generalisations = (0..).zip(&self.generalisations);
        let generalisations =
            generalisations.flat_map(|(index, _)| [Why::Generalised(index), Why::NotGeneralisable(index)]);
        let all = always.into_iter().chain(withholdings).chain(generalisations);
        all.map(|why| (why.number(), self.reason(why))).collect()
    }

    /// Why an element was held back, in words, with the reason that the agreement gives.
    pub fn reason(&self, why: Why) -> String {
        let place = |index: u32| usize::try_from(index).ok();
        let reason = match why {
            Why::Withholding(index) => place(index)
                .and_then(|index| self.withholdings.get(index))
                .map(|clause| format!("{} (approved by {})", clause.reason, clause.approved_by)),
            Why::Generalised(index) | Why::NotGeneralisable(index) => {
                place(index).and_then(|index| self.generalisations.get(index)).map(|clause| clause.reason.clone())
            }
            _ => None,
        };
        reason.map_or_else(|| why.to_string(), |reason| format!("{why}: {reason}"))
    }
}
