//! The person, and whom to call.

use std::collections::BTreeSet;

use super::Page;
use super::banner::MOST_NAMES;
use super::call_back::is_inactive;
use super::lines::{Line, Said, parts_of};
use super::values::{in_use, period_of};
use super::when;
use crate::fhir::r4::schema;
use crate::fhir::{Node, NodeId, bars, keys};

const AGE_BAND: &str = "https://weir.example/fhir/StructureDefinition/weir-age-band";
const VERIFICATION: &str = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus";
/// "Number present and verified" in UK Core's code systems of that status, the English one and the one before it.
const VERIFIED: [&str; 2] = ["01", "number-present-and-verified"];
/// Elements of a Patient that have a line of their own, or lead elsewhere.
const OWN_LINES: [&str; 6] = ["name", "birthDate", "gender", "telecom", "address", "generalPractitioner"];
/// Elements of somebody close to the person that stand together.
const BESIDE: [&str; 6] = ["relationship", "name", "telecom", "address", "organization", "period"];
/// Resources that say whom to call or to ask.
const CONTACTS: [&str; 7] =
    ["RelatedPerson", "PractitionerRole", "Practitioner", "CareTeam", "Organization", "HealthcareService", "Location"];

impl<'a> Page<'a> {
    /// The person.
    pub(super) fn person(&mut self) {
        let patients = self.frame.patients.clone();
        self.heading("Person");
        if patients.is_empty() {
            self.html.raw("<p class=\"absent\">The message has no person in it.</p>");
        }
        for patient in patients {
            self.shown.insert(patient.id());
            self.html.raw("<dl>");
            self.names(patient);
            self.nhs_number(patient);
            self.born(patient);
            for (name, label) in [("gender", "Gender"), ("telecom", "Call"), ("address", "Address")] {
                let said = self.frame.said(patient, name);
                self.fact(label, &said);
            }
            let lines = self.frame.reader.lines(patient);
            let rest: Vec<&Line> = lines.iter().filter(|line| !has_own_line(line)).collect();
            for line in rest.iter().filter(|line| line.within.is_empty()) {
                self.fact_called(&line.label, std::slice::from_ref(&line.said));
            }
            for (part, lines) in parts_of(&rest, 0) {
                self.fact_called(&part.label, &[Said::Words(joined(&lines))]);
            }
            self.html.raw("</dl>");
        }
        self.html.raw("</section>");
    }

    fn names(&mut self, patient: Node<'a>) {
        let mut names = self.frame.said(patient, "name");
        if names.is_empty() {
            names.push(self.nothing("name"));
        }
        self.html.raw("<div><dt>Name</dt><dd class=\"name\">");
        self.listed(&names);
        self.html.raw("</dd></div>");
    }

    fn nhs_number(&mut self, patient: Node<'a>) {
        let mut identifiers: Vec<Node<'a>> = patient.items_at(keys().identifier).collect();
        identifiers.sort_by_cached_key(|identifier| self.frame.reader.is_former(*identifier));
        let mut said = Vec::new();
        let mut others = Vec::new();
        for identifier in identifiers {
            let value = identifier.text_of("value").map(std::borrow::Cow::into_owned);
            let of_use = identifier.text_of("use").filter(|of_use| matches!(&**of_use, "old" | "temp"));
            let of_use = of_use.map(std::borrow::Cow::into_owned);
            let with_use = |words: String| Said::Words(in_use(words, of_use, period_of(identifier)));
            match (identifier.text_of("system"), value) {
                (Some(system), Some(value)) if system == bars::NHS_NUMBER => {
                    said.push(with_use(format!("{}{}", grouped(&value), verification(identifier))));
                }
                (system, Some(value)) => {
                    let system = system.unwrap_or_default();
                    let end = system.rsplit("/Id/").next().unwrap_or_default();
                    others.push(with_use(if end.is_empty() { value } else { format!("{value} ({end})") }));
                }
                (_, None) => others.extend(super::lines::absent(identifier)),
            }
        }
        if said.is_empty() {
            said.push(self.nothing("identifier"));
        }
        self.fact("NHS number", &said);
        self.fact("Known as", &others);
    }

    /// What to say of an element of the person that did not come: that it was withheld, where the message lists it.
    fn nothing(&self, element: &str) -> Said {
        let listed = self.withheld.listed.get("Patient");
        let is_listed = listed.is_some_and(|of| of.iter().any(|own| own.starts_with(element)));
        if is_listed { Said::Withheld } else { Said::Nothing }
    }

    fn born(&mut self, patient: Node<'a>) {
        if let Some(birth) = patient.text_of("birthDate") {
            let at = self.frame.bundle.text_of("timestamp");
            let age = at.and_then(|at| when::age(when::whole_date(&birth)?, when::day(&at)?));
            let age = age.map(|age| format!(" (aged {age} when this was written)")).unwrap_or_default();
            return self.fact("Born", &[Said::Words(format!("{}{age}", when::in_words(&birth)))]);
        }
        match self.age_band(patient) {
            Some(band) => {
                self.fact("Age", &[Said::Words(band), Said::Words("the date of birth was withheld".to_owned())])
            }
            None => {
                let mut said = self.frame.said(patient, "birthDate");
                said.extend(said.is_empty().then(|| self.nothing("birth date")));
                self.fact("Born", &said);
            }
        }
    }

    fn age_band(&self, patient: Node<'a>) -> Option<String> {
        let birth = patient.member("_birthDate")?;
        let band = birth.items_of("extension").find(|of| of.text_of("url").is_some_and(|url| url == AGE_BAND))?;
        let range = band.items_of("extension").find_map(|part| part.member("valueRange"))?;
        let words = self.frame.reader.value(range, schema().type_named("Range")?)?;
        let as_of = band.items_of("extension").find_map(|part| Some(part.member("valueDate")?.text()?.into_owned()));
        Some(as_of.map_or(words.clone(), |day| format!("{words} on {}", when::in_words(&day))))
    }

    /// Who asks and how to call back, from where, then whoever else there is.
    pub(super) fn contacts(&mut self) {
        self.heading("Who asks, and whom to call");
        self.html.raw("<dl>");
        let requests = self.frame.requests.clone();
        let asking: Vec<Node<'a>> = requests.iter().flat_map(|of| of.items_of("requester")).take(MOST_NAMES).collect();
        for to in &asking {
            match self.frame.reader.entries.target(*to) {
                Some(who) => self.contact("Asked by", who),
                None => self.fact("Asked by", &self.frame.named(*to).into_iter().collect::<Vec<_>>()),
            }
        }
        for author in self.frame.authors.clone() {
            self.contact(if asking.is_empty() { "Asked by" } else { "Written by" }, author);
        }
        if asking.is_empty() && self.frame.authors.is_empty() {
            self.fact("Asked by", &[Said::Nothing]);
        }
        if let Some(header) = self.frame.header {
            for sender in self.frame.follow(header, "sender") {
                self.contact("Sent by", sender);
            }
            for destination in header.items_at(keys().destination) {
                for receiver in self.frame.follow(destination, "receiver") {
                    self.contact("Sent to", receiver);
                }
            }
        }
        for request in self.frame.requests.clone() {
            for performer in self.frame.follow(request, "performer") {
                self.contact("Asked of", performer);
            }
        }
        // Whoever stands in a section is shown there: it says in what part.
        let in_sections = self.in_sections();
        for patient in self.frame.patients.clone() {
            let of = schema().type_named("Patient.contact");
            for contact in patient.items_of("contact") {
                let words = BESIDE.iter();
                let words =
                    words.flat_map(|name| of.map_or_else(Vec::new, |of| self.frame.reader.words_in(contact, of, name)));
                let words: Vec<Said> = words.map(Said::Words).collect();
                self.fact("Close to the person", &words);
            }
            for to in patient.items_of("generalPractitioner") {
                match self.frame.reader.entries.target(to) {
                    Some(doctor) if in_sections.contains(&doctor.id()) => {}
                    Some(doctor) => self.contact("General practice", doctor),
                    None => {
                        let named = self.frame.named(to);
                        let code = ods_code(to.member("identifier").filter(|_| to.member("display").is_some()));
                        self.fact("General practice", &named.into_iter().chain(code).collect::<Vec<_>>());
                    }
                }
            }
        }
        let all: Vec<Node<'a>> = self.frame.reader.entries.list().iter().filter_map(|entry| entry.resource).collect();
        let kinds = CONTACTS.iter().flat_map(|kind| all.iter().filter(|of| of.resource_type() == Some(kind)));
        for contact in kinds.copied().collect::<Vec<_>>() {
            if !in_sections.contains(&contact.id()) {
                self.contact("Also named", contact);
            }
        }
        self.html.raw("</dl></section>");
    }

    /// One contact with those it belongs to, each shown once on the page.
    fn contact(&mut self, label: &'static str, contact: Node<'a>) {
        let mut seen: BTreeSet<NodeId> = BTreeSet::new();
        let mut said = Vec::new();
        let mut next = vec![contact];
        while let Some(node) = next.pop() {
            if self.shown.contains(&node.id()) || !seen.insert(node.id()) || seen.len() > 8 {
                continue;
            }
            self.shown.insert(node.id());
            let practitioners = self.frame.follow(node, "practitioner");
            for practitioner in practitioners {
                match self.shown.insert(practitioner.id()) {
                    true => said.extend(self.described(practitioner)),
                    false => said.extend(self.frame.reader.name(practitioner).map(Said::Words)),
                }
            }
            said.extend(self.described(node));
            next.extend(self.frame.follow(node, "organization"));
        }
        self.fact(label, &said);
    }

    /// Name, role, numbers to call and all else that a contact says.
    fn described(&self, node: Node<'a>) -> Vec<Said> {
        let mut said = Vec::new();
        if is_inactive(node) {
            said.push(Said::Words("no longer active".to_owned()));
        }
        for name in ["name", "code", "relationship", "telecom"] {
            said.extend(self.frame.said(node, name));
        }
        said.extend(node.items_at(keys().identifier).filter_map(|of| ods_code(Some(of))));
        // Whom it belongs to stands beside it, where the message has them.
        let is_beside =
            |stem: &str| matches!(stem, "practitioner" | "organization") && !self.frame.follow(node, stem).is_empty();
        let is_said = |line: &Line| {
            let is_above = ["name", "code", "relationship", "telecom", "active"].contains(&&*line.stem);
            line.within.is_empty() && !line.is_extension && (is_above || is_beside(&line.stem))
        };
        let lines = self.frame.reader.lines(node);
        let rest: Vec<&Line> = lines.iter().filter(|line| !is_said(line)).collect();
        said.extend(rest.iter().filter(|line| line.within.is_empty()).map(|line| match &line.said {
            Said::Words(words) => Said::Words(format!("{}: {words}", line.label)),
            other => other.clone(),
        }));
        let parts = parts_of(&rest, 0).into_iter();
        said.extend(parts.map(|(part, lines)| Said::Words(format!("{}: {}", part.label, joined(&lines)))));
        said
    }

    /// A label of ours with what is said, unless that is nothing.
    pub(super) fn fact(&mut self, label: &'static str, said: &[Said]) {
        self.fact_called(label, said);
    }

    pub(super) fn fact_called(&mut self, label: &str, said: &[Said]) {
        if said.is_empty() {
            return;
        }
        self.html.wrapped("<div><dt>", label, "</dt><dd>");
        self.listed(said);
        self.html.raw("</dd></div>");
    }

    fn listed(&mut self, said: &[Said]) {
        for (place, each) in said.iter().enumerate() {
            self.html.raw(if place == 0 { "" } else { " · " });
            self.said(each);
        }
    }
}

/// The code of an organisation, where that is what an identifier is.
fn ods_code(identifier: Option<Node<'_>>) -> Option<Said> {
    let is_ods = |of: &Node<'_>| of.text_of("system").is_some_and(|own| own == bars::ODS_ORGANISATION);
    let code = identifier.filter(is_ods)?.text_of("value")?;
    Some(Said::Words(format!("ODS code {code}")))
}

/// Whether the person's section has a line of its own for what a line says.
fn has_own_line(line: &Line) -> bool {
    let is_contact = line.within.first().is_some_and(|part| part.stem == "contact");
    let is_beside = is_contact && BESIDE.contains(&&*line.stem) && matches!(line.said, Said::Words(_));
    let is_own = (OWN_LINES.contains(&&*line.stem) && !is_contact) || is_beside;
    (is_own && !line.is_extension) || line.stem.starts_with("birthDate")
}

/// What a part says, with what is inside it.
fn joined(lines: &[&Line]) -> String {
    lines.iter().map(|line| line.in_words()).collect::<Vec<_>>().join(", ")
}

/// Whether an NHS number was checked, as UK Core's extension says in its older or its newer codes; nothing where it does
/// not.
fn verification(identifier: Node<'_>) -> String {
    let is_it = |of: &Node<'_>| of.text_of("url").is_some_and(|url| url == VERIFICATION);
    let Some(status) = identifier.items_of("extension").find(is_it).and_then(|of| of.member("valueCodeableConcept"))
    else {
        return String::new();
    };
    let codes: Vec<_> = status.items_of("coding").filter_map(|coding| coding.text_of("code")).collect();
    if !codes.is_empty() && codes.iter().all(|code| VERIFIED.contains(&&**code)) {
        return " (verified)".to_owned();
    }
    match status.text_of("text").or_else(|| codes.into_iter().find(|code| !VERIFIED.contains(&&**code))) {
        None => String::new(),
        Some(said) => format!(" (not verified: status {said})"),
    }
}

/// `999 000 1014`: an NHS number as it is read out.
fn grouped(number: &str) -> String {
    match (number.get(..3), number.get(3..6), number.get(6..)) {
        (Some(first), Some(second), Some(third)) if number.len() == 10 => format!("{first} {second} {third}"),
        _ => number.to_owned(),
    }
}
