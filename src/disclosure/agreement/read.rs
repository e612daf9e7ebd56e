//! Reads one agreement file: as written → the checked [`Agreement`], or every fault with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use http::Uri;
use time::Date;
use time::format_description::FormatItem;
use time::macros::format_description;
use toml::Spanned;

use super::fault::Faults;
use super::written::{self, Text};
use super::{
    Agreement, Approval, Control, Controls, Dpia, Escalation, Fault, Interface, LawfulBasis, Mitigation, NamedRole,
    Objection, Party, Person, Purpose, RequiredElements, Roles,
};
use crate::fhirpath::nearest;
use crate::identity::digest::sha_256;
use crate::identity::{AgreementId, InterfaceName};
use crate::storage::INBOUND_REFERRALS;

const DATE: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// The longest time in which something may be answered or reviewed, in hours: 30 days.
const MOST_HOURS: i64 = 720;

/// Purposes of use that Weir knows (`http://terminology.hl7.org/CodeSystem/v3-ActReason`).
const PURPOSES: [&str; 14] = [
    "TREAT", "ETREAT", "BTG", "COC", "CAREMGT", "HOPERAT", "HQUALIMP", "PATSFTY", "THREAT", "PUBHLTH", "HTEST",
    "HPAYMT", "HRESCH", "PATRQT",
];

/// Reads a file: the agreement, and where the file gives its id.
pub(super) fn read(
    file: &str,
    text: &str,
    required: RequiredElements<'_>,
) -> Result<(Agreement, Range<usize>), Vec<Fault>> {
    let mut faults = Faults::of(file, text);
    let written: written::Agreement = match toml::from_str(text) {
        Ok(written) => written,
        Err(error) => {
            let what = error.message();
            faults.add_with_hint(error.span().unwrap_or_default(), what, nearest_key(what));
            return Err(faults.into_found());
        }
    };
    let id_at = written.id.span();
    let mut reader = Reader { faults, required, used: BTreeSet::new() };
    let agreement = reader.agreement(written);
    match agreement {
        Some(agreement) if reader.faults.is_empty() => Ok((agreement, id_at)),
        _ => Err(reader.faults.into_found()),
    }
}

/// The key that was meant, where `message` is of an unknown one.
fn nearest_key(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    match words.next().filter(|_| message.starts_with("unknown field")) {
        Some(wrong) => nearest(wrong, words.map(str::to_owned)),
        None => String::new(),
    }
}

/// Reads the parts of one file and collects its faults.
pub(super) struct Reader<'a> {
    pub(super) faults: Faults<'a>,
    pub(super) required: RequiredElements<'a>,
    /// The categories that clauses name.
    pub(super) used: BTreeSet<String>,
}

impl Reader<'_> {
    fn agreement(&mut self, written: written::Agreement) -> Option<Agreement> {
        let id: Option<AgreementId> = self.parsed(&written.id);
        if id.as_ref().is_some_and(|id| id.as_str() == INBOUND_REFERRALS) {
            let what =
                format!("\"{INBOUND_REFERRALS}\" is reserved: the gateway keeps the referrals that come in under it");
            self.faults.add_with_hint(written.id.span(), what, "give the agreement another id");
        }
        let version = self.parsed(&written.version).map(|Version(version)| version);
        let status = self.parsed(&written.status);
        let (effective, review) = (self.date(&written.effective), self.date(&written.review));
        if effective.zip(review).is_some_and(|(effective, review)| review < effective) {
            self.faults.add(written.review.span(), "the review is due before the agreement takes effect");
        }
        let grace = written.review_grace_days.map(|days| self.number(&days, "review_grace_days", 0..=366));
        let retention_days = self.number(&written.retention_days, "retention_days", 1..=36_525);
        let (controller, recipient) = (self.party(written.controller), self.party(written.recipient));
        let purpose = self.purpose(written.purpose);
        let lawful_basis = self.lawful_basis(written.lawful_basis);
        let controls = self.controls(&written.controls);
        let roles = self.roles(&written.roles);
        let approval = self.approval(written.approval, &roles);
        let escalations = self.escalations(written.escalation);
        let interfaces = self.interfaces(written.interfaces, &written.categories, &roles);
        let categories = self.categories(written.categories);
        let dpia = self.dpia(written.dpia);
        if let Some((dpia, controls)) = dpia.as_ref().zip(controls) {
            self.mitigations(dpia, controls, &interfaces);
        }
        Some(Agreement {
            id: id?,
            version: version?,
            status: status?,
            effective: effective?,
            review: review?,
            review_grace_days: grace.unwrap_or_default(),
            retention_days,
            controller: controller?,
            recipient: recipient?,
            purpose,
            lawful_basis,
            categories,
            controls: controls?,
            roles,
            approval,
            approvals: Default::default(),
            dpia: dpia.map(|(dpia, _)| dpia)?,
            escalations,
            interfaces,
            hash: sha_256(self.faults.text().as_bytes()),
        })
    }

    pub(super) fn parsed<T: FromStr>(&mut self, written: &Text) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        match written.get_ref().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.faults.add(written.span(), error.to_string());
                None
            }
        }
    }

    fn date(&mut self, written: &Text) -> Option<Date> {
        let date = Date::parse(written.get_ref(), DATE).ok();
        if date.is_none() {
            self.faults.add(written.span(), "a date is written as \"2026-01-31\"");
        }
        date
    }

    pub(super) fn words(&mut self, written: Text, what: &str) -> String {
        if written.get_ref().trim().is_empty() {
            self.faults.add(written.span(), format!("{what} must not be empty"));
        }
        written.into_inner()
    }

    fn number<T: TryFrom<i64> + Default>(
        &mut self,
        written: &Spanned<i64>,
        what: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> T {
        let number = Some(*written.get_ref()).filter(|number| range.contains(number));
        if number.is_none() {
            self.faults.add(written.span(), format!("{what} must be from {} to {}", range.start(), range.end()));
        }
        number.and_then(|number| T::try_from(number).ok()).unwrap_or_default()
    }

    pub(super) fn hours(&mut self, written: &Spanned<i64>, what: &str) -> u32 {
        self.number(written, what, 1..=MOST_HOURS)
    }

    fn party(&mut self, written: written::Party) -> Option<Party> {
        let ods = self.parsed(&written.ods);
        let name = self.words(written.name, "a party's name");
        Some(Party { ods: ods?, name })
    }

    /// Whether `code` is a purpose of use.
    pub(super) fn purpose_code(&mut self, code: &Text) {
        if !PURPOSES.contains(&code.get_ref().as_str()) {
            let known = PURPOSES.join(", ");
            self.faults.add(code.span(), format!("the purpose must be an HL7 v3 ActReason code: {known}"));
        }
    }

    fn purpose(&mut self, written: written::Purpose) -> Purpose {
        self.purpose_code(&written.code);
        Purpose { code: written.code.into_inner(), words: self.words(written.words, "the purpose") }
    }

    fn lawful_basis(&mut self, written: written::LawfulBasis) -> LawfulBasis {
        LawfulBasis {
            article_6: self.words(written.article_6, "the Article 6 basis"),
            article_9: self.words(written.article_9, "the Article 9 basis"),
            common_law: self.words(written.common_law, "the basis at common law"),
            statute: written.statute.map(|statute| self.words(statute, "the statute")),
        }
    }

    fn controls(&mut self, written: &written::Controls) -> Option<Controls> {
        let written::Controls { minimum_tls, pinning, encryption_at_rest } = written;
        let minimum_tls = self.parsed(minimum_tls)?;
        Some(Controls { minimum_tls, pinning: *pinning.get_ref(), encryption_at_rest: *encryption_at_rest })
    }

    fn roles(&mut self, written: &Spanned<written::Roles>) -> Roles {
        let filled = written.get_ref().filled().map(|(role, person)| (role, self.person(person.get_ref())));
        Roles(filled.collect())
    }

    fn person(&mut self, written: &written::Person) -> Person {
        let written::Person { name, contact, principal } = written;
        Person {
            name: self.words(name.clone(), "the person's name"),
            contact: self.words(contact.clone(), "how to reach the person"),
            principal: principal.clone().map(|principal| self.words(principal, "the principal's id")),
        }
    }

    fn approval(&mut self, written: written::Approval, roles: &Roles) -> Approval {
        let mut by: Vec<NamedRole> = Vec::new();
        let mut people: Vec<(NamedRole, &Person)> = Vec::new();
        for each in written.by.get_ref() {
            let Some(role) = self.parsed::<NamedRole>(each) else { continue };
            if by.contains(&role) {
                self.faults.add(each.span(), format!("{role} is named twice"));
                continue;
            }
            by.push(role);
            let Some(person) = roles.person(role) else {
                self.faults.add(each.span(), format!("[roles] names no {role}"));
                continue;
            };
            if let Some((other, _)) = people.iter().find(|(_, other)| is_same(person, other)) {
                let text = format!("{role} and {other} are the same person; two different people must approve");
                self.faults.add(each.span(), text);
            }
            people.push((role, person));
        }
        if written.by.get_ref().len() < 2 {
            self.faults.add(written.by.span(), "at least two roles must approve");
        }
        Approval { by }
    }

    fn escalations(&mut self, written: Spanned<Vec<written::Escalation>>) -> Vec<Escalation> {
        if written.get_ref().is_empty() {
            self.faults.add(written.span(), "an agreement must say whom to tell of an incident");
        }
        written.into_inner().into_iter().filter_map(|each| self.escalation(each)).collect()
    }

    fn escalation(&mut self, written: written::Escalation) -> Option<Escalation> {
        let at = written.severity.span();
        let severity = self.parsed(&written.severity);
        let contact = self.words(written.contact, "the contact");
        let hours = self.hours(&written.hours, "hours");
        if written.webhook.is_none() && !written.spool {
            self.faults.add(at, "this route tells nobody; give it a webhook, or spool = true");
        }
        let webhook = written.webhook.and_then(|webhook| {
            let uri = webhook.get_ref().parse::<Uri>().ok();
            let uri = uri.filter(|uri| uri.scheme_str() == Some("https") && uri.host().is_some());
            if uri.is_none() {
                self.faults.add(webhook.span(), "a webhook is an address that begins with https://");
            }
            uri
        });
        Some(Escalation { severity: severity?, contact, hours, webhook, spool: written.spool })
    }

    fn interfaces(
        &mut self,
        written: Spanned<BTreeMap<String, Spanned<written::Interface>>>,
        categories: &BTreeMap<Text, Text>,
        roles: &Roles,
    ) -> BTreeMap<InterfaceName, Interface> {
        if written.get_ref().is_empty() {
            self.faults.add(written.span(), "the agreement covers no interface");
        }
        let declared: Vec<&str> = categories.keys().map(|name| name.get_ref().as_str()).collect();
        let mut interfaces = BTreeMap::new();
        for (name, interface) in written.into_inner() {
            interfaces.extend(self.interface(&name, interface, &declared, roles));
        }
        interfaces
    }

    /// A category that a clause names: it must be declared.
    pub(super) fn category(&mut self, written: Text, declared: &[&str]) -> String {
        let name = written.get_ref().as_str();
        if !declared.contains(&name) {
            let known = declared.iter().map(|&name| name.to_owned());
            let hint = nearest(name, known);
            self.faults.add_with_hint(written.span(), format!("[categories] does not declare {name:?}"), hint);
        }
        self.used.insert(name.to_owned());
        written.into_inner()
    }

    fn categories(&mut self, written: BTreeMap<Text, Text>) -> BTreeMap<String, String> {
        let mut categories = BTreeMap::new();
        for (name, meaning) in written {
            if !self.used.contains(name.get_ref()) {
                self.faults.add(name.span(), format!("no clause is of the category {:?}; remove it", name.get_ref()));
            }
            let meaning = self.words(meaning, "what the category means");
            categories.insert(name.into_inner(), meaning);
        }
        categories
    }

    /// The assessment, and where each mitigation names its control.
    fn dpia(&mut self, written: written::Dpia) -> Option<(Dpia, Vec<Range<usize>>)> {
        let reference = self.words(written.reference, "the reference of the DPIA");
        let (mut mitigations, mut places) = (Vec::new(), Vec::new());
        for mitigation in written.mitigation {
            let at = mitigation.span();
            let written::Mitigation { risk, control } = mitigation.into_inner();
            let risk = self.words(risk, "the risk");
            let Some(control) = control else {
                let text = "this mitigation is tied to no control that Weir enforces";
                let controls = super::fault::one_of(Control::ALL);
                self.faults.add_with_hint(at, text, format!("write control = one of {controls}"));
                continue;
            };
            if let Some(checked) = self.parsed::<Control>(&control) {
                mitigations.push(Mitigation { risk, control: checked });
                places.push(control.span());
            }
        }
        Some((Dpia { reference, mitigations }, places))
    }

    /// Mitigations that rely on a control which this agreement switches off or never uses.
    fn mitigations(
        &mut self,
        (dpia, places): &(Dpia, Vec<Range<usize>>),
        controls: Controls,
        interfaces: &BTreeMap<InterfaceName, Interface>,
    ) {
        for (mitigation, place) in dpia.mitigations.iter().zip(places) {
            if let Some(why) = is_off(mitigation.control, controls, interfaces) {
                let control = mitigation.control;
                self.faults.add(place.clone(), format!("the mitigation relies on {control}, but {why}"));
            }
        }
    }
}

/// Why a control protects nothing under this agreement.
fn is_off(
    control: Control,
    controls: Controls,
    interfaces: &BTreeMap<InterfaceName, Interface>,
) -> Option<&'static str> {
    let none = |uses: fn(&Interface) -> bool| !interfaces.values().any(uses);
    match control {
        Control::Pinning => (!controls.pinning).then_some("controls.pinning is false"),
        Control::EncryptionAtRest => (!controls.encryption_at_rest).then_some("controls.encryption_at_rest is false"),
        Control::OverrideReview => {
            none(|interface| interface.override_terms.is_some()).then_some("no interface has an override to review")
        }
        Control::Generalisation => {
            none(|interface| !interface.generalisations.is_empty()).then_some("no interface generalises anything")
        }
        // Where consent is not required and an objection is only recorded, nothing waits for what the person said.
        Control::Consent => {
            let is_stopped =
                none(|interface| interface.consent.objection != Objection::Record) && !interfaces.is_empty();
            is_stopped.then_some("no interface stops at an objection: each has objection = \"record\"")
        }
        Control::DefaultDeny | Control::MinimumTls | Control::Retention | Control::Audit | Control::Roles => None,
    }
}

fn is_same(one: &Person, other: &Person) -> bool {
    one.name.trim().eq_ignore_ascii_case(other.name.trim())
        || (one.principal.is_some() && one.principal == other.principal)
}

/// A version stands in a URN, so it is letters, digits, dots and hyphens.
struct Version(String);

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Version, &'static str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        match (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            true => Ok(Version(text.to_owned())),
            false => Err("a version is 1 to 32 letters, digits, dots and hyphens"),
        }
    }
}
