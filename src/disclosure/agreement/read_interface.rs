//! Reads what an agreement file says about one interface.

use std::str::FromStr;

use toml::Spanned;

use super::fault::one_of;
use super::read::Reader;
use super::written::{self, Text};
use super::{
    Clause, Coarser, ConsentRule, ConsentTerms, Generalisation, Interface, NamedRole, Objection, OverrideTerms, Roles,
    Withholding,
};
use crate::disclosure::generalise::How;
use crate::disclosure::plan;
use crate::identity::InterfaceName;

/// The highest age at which a band may begin, in years.
const OLDEST: u16 = 120;

/// What leaves with consent, and what leaves without.
struct Plans<'a> {
    normal: plan::Builder<'a>,
    under_override: Option<plan::Builder<'a>>,
}

impl<'a> Plans<'a> {
    /// Adds a clause where it holds. What is wrong with it is wrong in both: a fault is told once.
    fn add(&mut self, under_override: bool, mut clause: impl FnMut(&mut plan::Builder<'a>)) {
        clause(&mut self.normal);
        if let Some(builder) = self.under_override.as_mut().filter(|_| under_override) {
            clause(builder);
        }
    }
}

impl Reader<'_> {
    pub(super) fn interface(
        &mut self,
        name: &str,
        written: Spanned<written::Interface>,
        categories: &[&str],
        roles: &Roles,
    ) -> Option<(InterfaceName, Interface)> {
        let at = written.span();
        let written = written.into_inner();
        let parsed: Result<InterfaceName, _> = name.parse();
        if let Err(error) = &parsed {
            self.faults.add(at, error.to_string());
        }
        if written.permit.get_ref().is_empty() {
            let text = "an interface without a permit shares nothing; list one or remove it";
            self.faults.add(written.permit.span(), text);
        }
        let tell_withheld = written.tell_withheld;
        let list_withheld = self.list_withheld(written.list_withheld, tell_withheld);
        let profile = self.canonical(written.profile);
        let override_terms = written.override_terms.and_then(|terms| self.override_terms(terms, roles));
        let consent = self.consent(written.consent, override_terms.is_some());
        let plan = || plan::Builder::new(&profile, (tell_withheld, list_withheld), self.required);
        let mut plans = Plans { normal: plan(), under_override: override_terms.is_some().then(plan) };
        let mut clauses = Vec::new();
        for permit in written.permit.into_inner() {
            clauses.push(self.permit(&mut plans, clauses.len(), permit, categories));
        }
        let mut generalisations = Vec::new();
        for written in written.generalise {
            generalisations.extend(self.generalisation(&mut plans, generalisations.len(), written, categories));
        }
        let mut withholdings = Vec::new();
        for written in written.withhold {
            withholdings.extend(self.withholding(&mut plans, withholdings.len(), written, roles));
        }
        let interface = Interface {
            profile,
            tell_withheld,
            list_withheld,
            consent: consent?,
            override_terms,
            clauses,
            generalisations,
            withholdings,
            plan: plans.normal.finish(),
            override_plan: plans.under_override.map(plan::Builder::finish),
        };
        Some((parsed.ok()?, interface))
    }

    fn list_withheld(&mut self, written: Option<Spanned<bool>>, tell_withheld: bool) -> bool {
        let Some(written) = written else { return false };
        if *written.get_ref() && !tell_withheld {
            let text = "the list of what was withheld tells that something was: set tell_withheld = true as well";
            self.faults.add(written.span(), text);
        }
        written.into_inner()
    }

    fn canonical(&mut self, written: Text) -> String {
        let url = written.get_ref();
        if !(url.starts_with("http://") || url.starts_with("https://") || url.starts_with("urn:")) || url.contains(' ')
        {
            self.faults.add(written.span(), "a profile is named by its canonical URL");
        }
        written.into_inner()
    }

    fn consent(&mut self, written: Spanned<written::Consent>, has_override: bool) -> Option<ConsentTerms> {
        let at = written.span();
        let written::Consent { rule, objection, statute } = written.into_inner();
        let (parsed, checked) = (self.parsed::<ConsentRule>(&rule), self.parsed::<Objection>(&objection));
        if parsed == Some(ConsentRule::NotRequired) && statute.is_none() {
            self.faults.add(at, "consent that is not required needs its ground in words: statute = \"…\"");
        }
        if checked == Some(Objection::Override) && !has_override {
            let text = "objection = \"override\" needs an override of the interface: purposes, bases, reviewer, hours";
            self.faults.add(objection.span(), text);
        }
        if checked == Some(Objection::Record) && parsed.is_some_and(|rule| rule != ConsentRule::NotRequired) {
            let text = "objection = \"record\" passes an objection over: it is for rule = \"not-required\" alone";
            let hint = "write objection = \"refuse\", or \"override\" with an override of the interface";
            self.faults.add_with_hint(objection.span(), text, hint);
        }
        let statute = statute.map(|statute| self.words(statute, "the statute"));
        Some(ConsentTerms { rule: parsed?, objection: checked?, statute })
    }

    fn override_terms(&mut self, written: written::Override, roles: &Roles) -> Option<OverrideTerms> {
        let written::Override { purposes, bases, reviewer, review_hours } = written;
        purposes.get_ref().iter().for_each(|purpose| self.purpose_code(purpose));
        let parsed = self.each_parsed(&bases);
        for (list, what) in [(&purposes, "purpose"), (&bases, "basis")] {
            self.is_a_set(list, what);
        }
        let review_hours = self.hours(&review_hours, "review_hours");
        let reviewer = self.filled_role(&reviewer, roles)?;
        let purposes = purposes.into_inner().into_iter().map(Spanned::into_inner).collect();
        Some(OverrideTerms { purposes, bases: parsed, reviewer, review_hours })
    }

    fn each_parsed<T: FromStr<Err = String>>(&mut self, written: &Spanned<Vec<Text>>) -> Vec<T> {
        written.get_ref().iter().filter_map(|each| self.parsed(each)).collect()
    }

    /// At least one, and none twice.
    fn is_a_set(&mut self, written: &Spanned<Vec<Text>>, what: &str) {
        let list = written.get_ref();
        if list.is_empty() {
            self.faults.add(written.span(), format!("an override must name at least one {what}"));
        }
        for (index, each) in list.iter().enumerate() {
            if list[..index].iter().any(|other| other.get_ref() == each.get_ref()) {
                self.faults.add(each.span(), format!("{} is named twice", each.get_ref()));
            }
        }
    }

    /// A role that `[roles]` fills.
    fn filled_role(&mut self, written: &Text, roles: &Roles) -> Option<NamedRole> {
        let role = self.parsed::<NamedRole>(written)?;
        if roles.person(role).is_none() {
            self.faults.add(written.span(), format!("[roles] names no {role}"));
            return None;
        }
        Some(role)
    }

    fn permit(&mut self, plans: &mut Plans<'_>, index: usize, written: written::Permit, categories: &[&str]) -> Clause {
        let written::Permit { resource, profile, elements, category, reason, under_override } = written;
        let profile = profile.map(|profile| self.canonical(profile));
        plans.add(under_override, |builder| match builder.resource(resource.get_ref(), profile.as_deref()) {
            Ok(mut permit) => {
                for element in elements.get_ref() {
                    if let Err(text) = permit.element(element.get_ref(), index) {
                        self.faults.add(element.span(), text);
                    }
                }
            }
            Err(text) => self.faults.add(resource.span(), text),
        });
        if elements.get_ref().is_empty() {
            self.faults.add(elements.span(), "a permit must list at least one element");
        }
        Clause {
            resource: resource.into_inner(),
            profile,
            category: self.category(category, categories),
            reason: self.words(reason, "the reason"),
            elements: elements.into_inner().into_iter().map(Spanned::into_inner).collect(),
            under_override,
        }
    }

    fn generalisation(
        &mut self,
        plans: &mut Plans<'_>,
        index: usize,
        written: Spanned<written::Generalise>,
        categories: &[&str],
    ) -> Option<Generalisation> {
        let written = written.into_inner();
        let to = self.coarser(&written);
        let written::Generalise { resource, profile, element, category, reason, under_override, .. } = written;
        let profile = profile.map(|profile| self.canonical(profile));
        if let Some(to) = &to {
            plans.add(under_override, |builder| match builder.resource(resource.get_ref(), profile.as_deref()) {
                Ok(mut permit) => {
                    let how = self.how(to);
                    if let Err(text) = permit.generalise(element.get_ref(), how, index) {
                        self.faults.add(element.span(), text);
                    }
                }
                Err(text) => self.faults.add(resource.span(), text),
            });
        }
        let generalisation = Generalisation {
            resource: resource.into_inner(),
            profile,
            element: self.words(element, "the element"),
            to: to?,
            category: self.category(category, categories),
            reason: self.words(reason, "the reason"),
            under_override,
        };
        Some(generalisation)
    }

    /// What an element becomes, with what that needs and nothing else.
    fn coarser(&mut self, written: &written::Generalise) -> Option<Coarser> {
        let written::Generalise { to, bands, key, .. } = written;
        let word = to.get_ref().as_str();
        if let Some(bands) = bands.as_ref().filter(|_| word != "age-band") {
            self.faults.add(bands.span(), "only to = \"age-band\" takes bands");
        }
        if let Some(key) = key.as_ref().filter(|_| word != "pseudonym") {
            self.faults.add(key.span(), "only to = \"pseudonym\" takes a key");
        }
        match word {
            "outward-code" => Some(Coarser::OutwardCode),
            "month" => Some(Coarser::Month),
            "year" => Some(Coarser::Year),
            "withheld" => Some(Coarser::Withheld),
            "age-band" => self.bands(to, bands.as_ref()),
            "pseudonym" => self.pseudonym(to, key.as_ref()),
            _ => {
                self.faults.add(to.span(), format!("an element is generalised to {}", one_of(Coarser::WORDS)));
                None
            }
        }
    }

    fn bands(&mut self, to: &Text, written: Option<&Spanned<Vec<i64>>>) -> Option<Coarser> {
        let Some(written) = written else {
            self.faults.add(to.span(), "an age-band needs the ages at which bands begin: bands = [18, 65]");
            return None;
        };
        let from: Vec<u16> = written.get_ref().iter().filter_map(|&age| u16::try_from(age).ok()).collect();
        let all = from.len() == written.get_ref().len() && from.iter().all(|age| (1..=OLDEST).contains(age));
        if !all || from.is_empty() || !from.is_sorted_by(|one, next| one < next) {
            let text = format!("bands are the ages at which bands begin, rising, from 1 to {OLDEST}: [18, 65]");
            self.faults.add(written.span(), text);
            return None;
        }
        Some(Coarser::AgeBand { from })
    }

    fn pseudonym(&mut self, to: &Text, written: Option<&Text>) -> Option<Coarser> {
        let Some(key) = written else {
            self.faults.add(to.span(), "a pseudonym needs a key: the name of one in [pseudonym_keys] of weir.toml");
            return None;
        };
        let at = key.span();
        let key = self.words(key.clone(), "the key's name");
        if self.required.knows_keys() && self.required.pseudonym_key(&key).is_none() {
            self.faults.add(at, format!("there is no key {key:?} in [pseudonym_keys] of weir.toml"));
        }
        Some(Coarser::Pseudonym { key })
    }

    /// How the projection makes it so.
    fn how(&self, to: &Coarser) -> How {
        match to {
            Coarser::OutwardCode => How::OutwardCode,
            Coarser::Month => How::Month,
            Coarser::Year => How::Year,
            Coarser::AgeBand { from } => How::AgeBand(from.as_slice().into()),
            Coarser::Pseudonym { key } => How::Pseudonym(self.required.pseudonym_key(key).map(Box::new)),
            Coarser::Withheld => How::Withheld,
        }
    }

    fn withholding(
        &mut self,
        plans: &mut Plans<'_>,
        index: usize,
        written: written::Withhold,
        roles: &Roles,
    ) -> Option<Withholding> {
        let written::Withhold { resource, profile, elements, reason, approved_by } = written;
        let approved_by = self.filled_role(&approved_by, roles);
        let profile = profile.map(|profile| self.canonical(profile));
        plans.add(true, |builder| match builder.resource(resource.get_ref(), profile.as_deref()) {
            Ok(mut clause) => {
                if elements.is_empty() {
                    clause.withhold_all(index);
                }
                for element in &elements {
                    if let Err(text) = clause.withhold(element.get_ref(), index) {
                        self.faults.add(element.span(), text);
                    }
                }
            }
            Err(text) => self.faults.add(resource.span(), text),
        });
        let withholding = Withholding {
            resource: resource.into_inner(),
            profile,
            elements: elements.into_iter().map(Spanned::into_inner).collect(),
            reason: self.words(reason, "the reason"),
            approved_by: approved_by?,
        };
        Some(withholding)
    }
}
