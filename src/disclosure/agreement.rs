//! The sharing agreement: TOML as written, and the checked [`Agreement`] that disclosure obeys.
//!
//! Enters: the text of `agreements/*.toml`, one file an agreement version. Leaves: [`Agreements`], or every fault of
//! every file with its line and column. Default deny: only the leaf elements that a permit lists may leave. Invariant:
//! no two agreements that are active at the same time cover the same controller, recipient and interface.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use time::Date;
use time::format_description::FormatItem;
use time::macros::format_description;
use toml::Spanned;

use super::Error;
use super::plan::{self, Plan};
use crate::fhir::Instant;
use crate::identity::digest::sha_256;
use crate::identity::{AgreementId, InterfaceName, PartyId};

const DATE: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// Purposes of use that Weir knows (`http://terminology.hl7.org/CodeSystem/v3-ActReason`).
const PURPOSES: [&str; 14] = [
    "TREAT", "ETREAT", "BTG", "COC", "CAREMGT", "HOPERAT", "HQUALIMP", "PATSFTY", "THREAT", "PUBHLTH", "HTEST",
    "HPAYMT", "HRESCH", "PATRQT",
];

/// What is wrong with an agreement file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {text}")]
pub struct Fault {
    /// The file's name as it was given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub text: String,
}

/// Which elements a profile requires: given its canonical URL, element paths such as `Patient.birthDate`.
pub type RequiredElements<'a> = &'a dyn Fn(&str) -> Vec<String>;

/// Where an agreement version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Being written or reviewed; nothing leaves under it.
    Draft,
    /// In use between its dates.
    Active,
    /// Stopped for now; nothing leaves under it.
    Suspended,
    /// Over; nothing leaves under it.
    Ended,
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Status, String> {
        match text {
            "draft" => Ok(Status::Draft),
            "active" => Ok(Status::Active),
            "suspended" => Ok(Status::Suspended),
            "ended" => Ok(Status::Ended),
            _ => Err("the status must be draft, active, suspended or ended".to_owned()),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Draft => "draft",
            Status::Active => "active",
            Status::Suspended => "suspended",
            Status::Ended => "ended",
        })
    }
}

/// An organisation that is party to an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its ODS code.
    pub ods: PartyId,
    /// Its name.
    pub name: String,
}

/// What the data are shared for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// HL7 v3 ActReason.
    pub code: String,
    /// In words.
    pub words: String,
}

/// Why sharing is lawful.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LawfulBasis {
    /// UK GDPR Article 6.
    pub article_6: String,
    /// UK GDPR Article 9.
    pub article_9: String,
    /// The basis at common law.
    pub common_law: String,
}

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
}

/// What an agreement says about one interface.
#[derive(Debug)]
pub struct Interface {
    pub(super) profile: String,
    pub(super) tell_withheld: bool,
    pub(super) clauses: Vec<Clause>,
    pub(super) plan: Plan,
}

impl Interface {
    /// The profile that the outgoing Bundle must conform to.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    /// Its permits, in the order of the file: a manifest names them by index.
    pub fn clauses(&self) -> &[Clause] {
        &self.clauses
    }
}

/// A checked agreement version.
#[derive(Debug)]
pub struct Agreement {
    id: AgreementId,
    version: String,
    status: Status,
    effective: Date,
    review: Date,
    retention_days: u32,
    controller: Party,
    recipient: Party,
    purpose: Purpose,
    lawful_basis: LawfulBasis,
    interfaces: BTreeMap<InterfaceName, Interface>,
    hash: [u8; 32],
}

impl Agreement {
    /// Its id.
    pub fn id(&self) -> &AgreementId {
        &self.id
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// How many days what was sent under it is kept.
    pub fn retention_days(&self) -> u32 {
        self.retention_days
    }

    /// Who shares.
    pub fn controller(&self) -> &Party {
        &self.controller
    }

    /// With whom.
    pub fn recipient(&self) -> &Party {
        &self.recipient
    }

    /// What for.
    pub fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// On which basis.
    pub fn lawful_basis(&self) -> &LawfulBasis {
        &self.lawful_basis
    }

    /// What it says about `interface`.
    pub fn interface(&self, interface: &InterfaceName) -> Option<&Interface> {
        self.interfaces.get(interface)
    }

    /// The interfaces it covers.
    pub fn interfaces(&self) -> impl Iterator<Item = (&InterfaceName, &Interface)> {
        self.interfaces.iter()
    }

    /// SHA-256 of the file.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Why nothing leaves under it at `instant`; `None` while it is in force. Dates are days in UTC; the review date
    /// itself is the last day.
    pub fn not_in_force(&self, instant: Instant) -> Option<String> {
        let today = instant.to_offset(time::UtcOffset::UTC).date();
        if self.status != Status::Active {
            return Some(format!("its status is {}", self.status));
        }
        if today < self.effective {
            return Some(format!("it takes effect on {}", self.effective));
        }
        (today > self.review).then(|| format!("its review was due on {}", self.review))
    }

    fn overlaps(&self, other: &Agreement) -> bool {
        self.controller.ods == other.controller.ods
            && self.recipient.ods == other.recipient.ods
            && self.effective <= other.review
            && other.effective <= self.review
    }
}

/// The agreements of a site.
#[derive(Debug, Default)]
pub struct Agreements {
    list: Vec<Arc<Agreement>>,
}

impl Agreements {
    /// Reads and checks agreement files, given by name and text.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load(files: &[(String, String)]) -> Result<Agreements, Vec<Fault>> {
        Agreements::load_for(files, &|_| Vec::new())
    }

    /// The same, knowing what the profiles require beyond base R4: where such an element is withheld, a tellable
    /// agreement says so in its place.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load_for(files: &[(String, String)], required: RequiredElements<'_>) -> Result<Agreements, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut list: Vec<(&str, Arc<Agreement>)> = Vec::new();
        for (file, text) in files {
            match read(file, text, required) {
                Ok(agreement) => list.push((file, Arc::new(agreement))),
                Err(found) => faults.extend(found),
            }
        }
        faults.extend(overlaps(&list));
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Agreements { list: list.into_iter().map(|(_, agreement)| agreement).collect() })
    }

    /// All of them, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Agreement>> {
        self.list.iter()
    }

    /// The agreement with `id` that is in force at `instant`, or else the last one given with that id.
    pub fn named(&self, id: &AgreementId, instant: Instant) -> Option<&Arc<Agreement>> {
        let mut versions = self.list.iter().filter(|agreement| agreement.id == *id);
        let in_force = versions.clone().find(|agreement| agreement.not_in_force(instant).is_none());
        in_force.or_else(|| versions.next_back())
    }

    /// The agreement under which `sender` may send to `recipient` over `interface` at `instant`.
    ///
    /// # Errors
    /// [`Error::NoAgreement`] if none covers the three, [`Error::NotInForce`] if one does but not now.
    pub fn in_force(
        &self,
        sender: &PartyId,
        recipient: &PartyId,
        interface: &InterfaceName,
        instant: Instant,
    ) -> Result<&Arc<Agreement>, Error> {
        let covering = |agreement: &&Arc<Agreement>| {
            agreement.controller.ods == *sender
                && agreement.recipient.ods == *recipient
                && agreement.interfaces.contains_key(interface)
        };
        let mut last = None;
        for agreement in self.list.iter().filter(covering) {
            match agreement.not_in_force(instant) {
                None => return Ok(agreement),
                Some(why) => last = Some((agreement, why)),
            }
        }
        Err(match last {
            Some((agreement, why)) => {
                Error::NotInForce { agreement: agreement.id.clone(), version: agreement.version.clone(), why }
            }
            None => Error::NoAgreement {
                sender: sender.clone(),
                recipient: recipient.clone(),
                interface: interface.clone(),
            },
        })
    }
}

/// Two files that say something about the same sharing at the same time, or that carry the same id and version.
fn overlaps(list: &[(&str, Arc<Agreement>)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, (file, agreement)) in list.iter().enumerate() {
        for (other_file, other) in &list[..index] {
            let fault = |text| Fault { file: (*file).to_owned(), line: 1, column: 1, text };
            if agreement.id == other.id && agreement.version == other.version {
                faults.push(fault(format!("{other_file} has the same id and version")));
                continue;
            }
            let active = agreement.status == Status::Active && other.status == Status::Active;
            let shared = agreement.interfaces.keys().find(|name| other.interfaces.contains_key(*name));
            if let Some(name) = shared.filter(|_| active && agreement.overlaps(other)) {
                faults.push(fault(format!(
                    "{other_file} is active between the same parties for {name} at the same time; end or suspend one"
                )));
            }
        }
    }
    faults
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgreementAsWritten {
    id: Spanned<String>,
    version: Spanned<String>,
    status: Spanned<String>,
    effective: Spanned<String>,
    review: Spanned<String>,
    retention_days: Spanned<i64>,
    controller: PartyAsWritten,
    recipient: PartyAsWritten,
    purpose: PurposeAsWritten,
    lawful_basis: LawfulBasisAsWritten,
    interfaces: Spanned<BTreeMap<String, Spanned<InterfaceAsWritten>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyAsWritten {
    ods: Spanned<String>,
    name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurposeAsWritten {
    code: Spanned<String>,
    words: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LawfulBasisAsWritten {
    article_6: Spanned<String>,
    article_9: Spanned<String>,
    common_law: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InterfaceAsWritten {
    profile: Spanned<String>,
    tell_withheld: bool,
    permit: Spanned<Vec<PermitAsWritten>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermitAsWritten {
    resource: Spanned<String>,
    profile: Option<Spanned<String>>,
    elements: Spanned<Vec<Spanned<String>>>,
    category: Spanned<String>,
    reason: Spanned<String>,
}

/// Collects the faults of one file.
struct Checker<'a> {
    file: &'a str,
    text: &'a str,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    fn fault(&mut self, offset: usize, text: impl Into<String>) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.faults.push(Fault {
            file: self.file.to_owned(),
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text: text.into(),
        });
    }

    fn parsed<T: FromStr>(&mut self, written: &Spanned<String>) -> Option<T>
    where
        T::Err: fmt::Display,
    {
        match written.get_ref().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(written.span().start, error.to_string());
                None
            }
        }
    }

    fn date(&mut self, written: &Spanned<String>) -> Option<Date> {
        let date = Date::parse(written.get_ref(), DATE).ok();
        if date.is_none() {
            self.fault(written.span().start, "a date is written as \"2026-01-31\"");
        }
        date
    }

    fn words(&mut self, written: Spanned<String>, what: &str) -> String {
        if written.get_ref().trim().is_empty() {
            self.fault(written.span().start, format!("{what} must not be empty"));
        }
        written.into_inner()
    }

    fn party(&mut self, written: PartyAsWritten) -> Option<Party> {
        let ods = self.parsed(&written.ods);
        let name = self.words(written.name, "a party's name");
        Some(Party { ods: ods?, name })
    }

    fn purpose(&mut self, written: PurposeAsWritten) -> Purpose {
        if !PURPOSES.contains(&written.code.get_ref().as_str()) {
            let known = PURPOSES.join(", ");
            self.fault(written.code.span().start, format!("the purpose must be an HL7 v3 ActReason code: {known}"));
        }
        Purpose { code: written.code.into_inner(), words: self.words(written.words, "the purpose") }
    }

    fn lawful_basis(&mut self, written: LawfulBasisAsWritten) -> LawfulBasis {
        LawfulBasis {
            article_6: self.words(written.article_6, "the Article 6 basis"),
            article_9: self.words(written.article_9, "the Article 9 basis"),
            common_law: self.words(written.common_law, "the basis at common law"),
        }
    }

    /// Days of at most 100 years.
    fn retention(&mut self, written: &Spanned<i64>) -> u32 {
        let days = u32::try_from(*written.get_ref()).ok().filter(|days| (1..=36_525).contains(days));
        if days.is_none() {
            self.fault(written.span().start, "retention_days must be from 1 to 36525");
        }
        days.unwrap_or_default()
    }

    fn interface(
        &mut self,
        name: &str,
        written: Spanned<InterfaceAsWritten>,
        required: RequiredElements<'_>,
    ) -> Option<(InterfaceName, Interface)> {
        let at = written.span().start;
        let InterfaceAsWritten { profile, tell_withheld, permit } = written.into_inner();
        let parsed: Result<InterfaceName, _> = name.parse();
        if let Err(error) = &parsed {
            self.fault(at, error.to_string());
        }
        if permit.get_ref().is_empty() {
            self.fault(permit.span().start, "an interface without a permit shares nothing; list one or remove it");
        }
        let profile = self.canonical(profile);
        let mut builder = plan::Builder::new(&profile, tell_withheld, required);
        let mut clauses = Vec::new();
        for permit in permit.into_inner() {
            clauses.push(self.permit(&mut builder, clauses.len(), permit));
        }
        Some((parsed.ok()?, Interface { profile, tell_withheld, clauses, plan: builder.finish() }))
    }

    fn canonical(&mut self, written: Spanned<String>) -> String {
        let url = written.get_ref();
        if !(url.starts_with("http://") || url.starts_with("https://") || url.starts_with("urn:")) || url.contains(' ')
        {
            self.fault(written.span().start, "a profile is named by its canonical URL");
        }
        written.into_inner()
    }

    fn permit(&mut self, builder: &mut plan::Builder<'_>, index: usize, written: PermitAsWritten) -> Clause {
        let PermitAsWritten { resource, profile, elements, category, reason } = written;
        let profile = profile.map(|profile| self.canonical(profile));
        match builder.resource(resource.get_ref(), profile.as_deref()) {
            Ok(mut permit) => {
                for element in elements.get_ref() {
                    if let Err(text) = permit.element(element.get_ref(), index) {
                        self.fault(element.span().start, text);
                    }
                }
            }
            Err(text) => self.fault(resource.span().start, text),
        }
        if elements.get_ref().is_empty() {
            self.fault(elements.span().start, "a permit must list at least one element");
        }
        Clause {
            resource: resource.into_inner(),
            profile,
            category: self.words(category, "the category"),
            reason: self.words(reason, "the reason"),
            elements: elements.into_inner().into_iter().map(Spanned::into_inner).collect(),
        }
    }
}

fn read(file: &str, text: &str, required: RequiredElements<'_>) -> Result<Agreement, Vec<Fault>> {
    let mut checker = Checker { file, text, faults: Vec::new() };
    let written: AgreementAsWritten = match toml::from_str(text) {
        Ok(written) => written,
        Err(error) => {
            checker.fault(error.span().map_or(0, |span| span.start), error.message());
            return Err(checker.faults);
        }
    };
    match check(&mut checker, written, required) {
        Some(agreement) if checker.faults.is_empty() => Ok(agreement),
        _ => Err(checker.faults),
    }
}

fn check(checker: &mut Checker<'_>, written: AgreementAsWritten, required: RequiredElements<'_>) -> Option<Agreement> {
    let id = checker.parsed(&written.id);
    let version = checker.parsed(&written.version).map(|Version(version)| version);
    let status = checker.parsed(&written.status);
    let (effective, review) = (checker.date(&written.effective), checker.date(&written.review));
    if effective.zip(review).is_some_and(|(effective, review)| review < effective) {
        checker.fault(written.review.span().start, "the review is due before the agreement takes effect");
    }
    let retention_days = checker.retention(&written.retention_days);
    let (controller, recipient) = (checker.party(written.controller), checker.party(written.recipient));
    let purpose = checker.purpose(written.purpose);
    let lawful_basis = checker.lawful_basis(written.lawful_basis);
    let mut interfaces = BTreeMap::new();
    if written.interfaces.get_ref().is_empty() {
        checker.fault(written.interfaces.span().start, "the agreement covers no interface");
    }
    for (name, interface) in written.interfaces.into_inner() {
        interfaces.extend(checker.interface(&name, interface, required));
    }
    Some(Agreement {
        id: id?,
        version: version?,
        status: status?,
        effective: effective?,
        review: review?,
        retention_days,
        controller: controller?,
        recipient: recipient?,
        purpose,
        lawful_basis,
        interfaces,
        hash: sha_256(checker.text.as_bytes()),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"id = "trust-crisis"
version = "1"
status = "active"
effective = "2026-01-01"
review = "2026-12-31"
retention_days = 30
controller = { ods = "DEMOP", name = "Provider" }
recipient = { ods = "DEMOT", name = "Trust" }
purpose = { code = "ETREAT", words = "crisis care" }
lawful_basis = { article_6 = "6(1)(e)", article_9 = "9(2)(h)", common_law = "implied consent" }

[interfaces.crisis]
profile = "https://weir.example/bundle"
tell_withheld = true

[[interfaces.crisis.permit]]
resource = "Patient"
elements = [
  "birthDate",
]
category = "identity"
reason = "whom to contact"
"#;

    fn load(texts: &[String]) -> Result<Agreements, Vec<String>> {
        let names = ["a.toml", "b.toml"].iter().map(|&name| name.to_owned());
        let files: Vec<(String, String)> = names.zip(texts.iter().cloned()).collect();
        Agreements::load(&files).map_err(|faults| faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn every_fault_has_its_place() {
        load(&[GOOD.to_owned()]).expect("it is sound");
        for (from, to, fault) in [
            ("\"trust-crisis\"", "\"Trust\"", "a.toml:1:6: an agreement id must be lower-case words joined by hyphens"),
            ("version = \"1\"", "version = \"1:2\"", "a.toml:2:11: a version is"),
            ("\"active\"", "\"on\"", "a.toml:3:10: the status must be"),
            ("\"2026-01-01\"", "\"1 January\"", "a.toml:4:13: a date is written"),
            ("2026-12-31", "2025-12-31", "a.toml:5:10: the review is due before"),
            ("= 30", "= 0", "a.toml:6:18: retention_days must be from 1"),
            ("DEMOP", "RX-1", "a.toml:7:22: an ODS code must be 1 to 9"),
            ("ETREAT", "CARE", "a.toml:9:20: the purpose must be an HL7 v3 ActReason code"),
            ("\"6(1)(e)\"", "\" \"", "a.toml:10:30: the Article 6 basis must not be empty"),
            ("status =", "state =", "a.toml:3:1: unknown field `state`"),
            ("[interfaces.crisis]", "[interfaces.Crisis]", "a.toml:"),
            ("https://weir.example/bundle", "bundle", "a.toml:13:11: a profile is named by its canonical URL"),
            ("\"Patient\"", "\"Pateint\"", "a.toml:17:12: FHIR R4 has no resource type \"Pateint\""),
            ("\"birthDate\"", "\"birthdate\"", "a.toml:19:3: Patient has no element \"birthdate\""),
            (
                "\"birthDate\"",
                "\"name\"",
                "a.toml:19:3: this is a whole HumanName; list its leaves (use, text, family,",
            ),
            (
                "\"birthDate\"",
                "\"deceased\"",
                "a.toml:19:3: write deceased with its type, as JSON does: deceasedBoolean",
            ),
            ("\"birthDate\"", "\"birthDate.value\"", "a.toml:19:3: date has no element \"value\""),
            ("\"birthDate\"", "\"_birthDate.id\"", "a.toml:19:3: Patient has no element \"_birthDate\""),
            ("\"birthDate\"", "\"extension.valueCode\"", "a.toml:19:3: name which extension"),
            ("\"birthDate\"", "\"extension('u.valueCode\"", "a.toml:19:3: the closing ') is missing"),
            ("\"birthDate\"", "\"name('u').family\"", "a.toml:19:3: name takes no argument"),
            ("\"birthDate\"", "\"name[0].family\"", "a.toml:19:3: Patient has no element \"name[0]\""),
            ("\"birthDate\"", "\"\"", "a.toml:19:3: Patient has no element \"\""),
            ("\"birthDate\"", "\"text.div\"", "a.toml:19:3: narrative never leaves as written"),
            ("\"birthDate\"", "\"contained.id\"", "a.toml:19:3: resources inside resources never leave"),
            ("\"birthDate\",", "\"birthDate\", \"birthDate\"", "a.toml:19:16: birthDate is permitted twice"),
            (
                "\"birthDate\"",
                "\"contact.modifierExtension('m').valueReference.reference\"",
                "a.toml:19:3: a reference in a modifierExtension cannot be permitted",
            ),
            ("\"whom to contact\"", "\"\"", "a.toml:22:10: the reason must not be empty"),
            ("\"birthDate\",", "", "a.toml:18:12: a permit must list at least one element"),
            ("tell_withheld = true\n", "", "a.toml:12:1: missing field `tell_withheld`"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let faults = load(&[text]).expect_err(to);
            assert!(faults.len() == 1 && faults[0].starts_with(fault), "{to}: {faults:?}");
        }
        let text = GOOD.replacen("Patient", "Bundle", 1).replacen("birthDate", "entry.fullUrl", 1);
        assert!(load(&[text]).expect_err("implied")[0].contains("write a permit for that resource type"));
    }

    #[test]
    fn all_faults_are_found_at_once() {
        let text = GOOD.replace("DEMOT", "D-T").replace("birthDate", "birthdate").replace("= 30", "= -1");
        assert_eq!(load(&[text.clone(), text]).expect_err("three faults in each").len(), 6);
    }

    #[test]
    fn two_active_agreements_on_one_sharing_are_a_fault() {
        let other = |id: &str, from: &str, to: &str| GOOD.replace("trust-crisis", id).replace(from, to);
        for (text, fault) in [
            (GOOD.to_owned(), Some("b.toml:1:1: a.toml has the same id and version")),
            (other("x", "", ""), Some("b.toml:1:1: a.toml is active between the same parties for crisis")),
            (other("x", "\"active\"", "\"draft\""), None),
            (other("x", "DEMOT", "DEMOI"), None),
            (other("x", "crisis]", "handover]").replace("crisis.permit", "handover.permit"), None),
            (other("x", "2026-", "2027-"), None),
        ] {
            let found = load(&[GOOD.to_owned(), text]).err().unwrap_or_default();
            assert_eq!(found.len(), usize::from(fault.is_some()), "{found:?}");
            assert!(found.first().zip(fault).is_none_or(|(found, fault)| found.starts_with(fault)), "{found:?}");
        }
    }

    #[test]
    fn an_agreement_is_in_force_when_active_and_between_its_dates() {
        let ask = |text: &str, recipient: &str, day: &str| {
            let agreements = load(&[text.to_owned()]).expect("it is sound");
            let day = Date::parse(day, DATE).expect("a date").with_hms(23, 59, 0).expect("a time").assume_utc();
            let [sender, recipient] = ["DEMOP", recipient].map(|code| code.parse().expect("an ODS code"));
            let found = agreements.in_force(&sender, &recipient, &"crisis".parse().expect("a name"), day);
            found.map(|agreement| agreement.id().to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(ask(GOOD, "DEMOT", "2026-01-01"), Ok("trust-crisis".to_owned()));
        assert_eq!(ask(GOOD, "DEMOT", "2026-12-31"), Ok("trust-crisis".to_owned()));
        for (text, recipient, day, why) in [
            (GOOD, "DEMOI", "2026-06-01", "no agreement lets DEMOP send crisis to DEMOI"),
            (GOOD, "DEMOT", "2025-12-31", "it takes effect on 2026-01-01"),
            (GOOD, "DEMOT", "2027-01-01", "its review was due on 2026-12-31"),
            (&GOOD.replace("\"active\"", "\"suspended\""), "DEMOT", "2026-06-01", "its status is suspended"),
        ] {
            let error = ask(text, recipient, day).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_agreements_of_the_demonstration_are_sound() {
        let texts = [
            include_str!("../../agreements/demo-trust-crisis.toml").to_owned(),
            include_str!("../../agreements/demo-icb-crisis.toml").to_owned(),
        ];
        assert_eq!(load(&texts).map(|agreements| agreements.iter().count()), Ok(2));
    }
}
