//! The staff guide: what is shared with whom and when, in the words of those who treat and protect.
//!
//! Enters: an agreement. Leaves: a [`Page`] of headings, paragraphs and lists, which the command line writes as Markdown,
//! HTML or JSON. No element paths, no codes.

use super::plain::{self, Shorts};
use super::{Agreement, Coarser, ConsentRule, Interface, NamedRole, Objection, OverrideBasis};

/// One part of the guide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A heading; 1 for the page's own.
    Heading(u8, String),
    /// A paragraph.
    Words(String),
    /// A list.
    List(Vec<String>),
}

/// The guide.
pub type Page = Vec<Part>;

/// The guide of one agreement. `shorts` says what profiles call their elements.
pub fn guide(agreement: &Agreement, shorts: Shorts<'_>) -> Page {
    let recipient = &agreement.recipient().name;
    let mut page = vec![
        Part::Heading(1, format!("What we share with {recipient}, and when")),
        Part::Words(format!("What for: {}.", agreement.purpose().words)),
        Part::Words(format!(
            "This holds from {} until {}. After that nothing is sent until the agreement is reviewed. What was sent is \
             kept for {} days.",
            agreement.effective(),
            agreement.last_day(),
            agreement.retention_days()
        )),
    ];
    for (name, interface) in agreement.interfaces() {
        page.push(Part::Heading(2, in_words(name.as_str())));
        shared(agreement, interface, shorts, &mut page);
        withheld(agreement, interface, &mut page);
        consent(agreement, interface, &mut page);
        told(interface, recipient, &mut page);
    }
    who_to_ask(agreement, &mut page);
    page
}

/// What leaves, by category and reason.
fn shared(agreement: &Agreement, interface: &Interface, shorts: Shorts<'_>, page: &mut Page) {
    page.push(Part::Heading(3, "What we share".to_owned()));
    for (category, meaning) in agreement.categories() {
        let mut items = Vec::new();
        for clause in interface.clauses().iter().filter(|clause| clause.category == *category) {
            let mut names: Vec<String> = Vec::new();
            for element in &clause.elements {
                let name = plain::element(&clause.resource, clause.profile.as_deref(), element, shorts);
                names.extend(name.filter(|name| !names.contains(name)));
            }
            if !names.is_empty() {
                items.push(format!(
                    "{}: {}. Why: {}.",
                    plain::resource(&clause.resource, clause.profile.as_deref()),
                    names.join(", "),
                    clause.reason
                ));
            }
        }
        for each in interface.generalisations().iter().filter(|each| each.category == *category) {
            let name = plain::element(&each.resource, each.profile.as_deref(), &each.element, shorts);
            let name = name.unwrap_or_else(|| plain::resource(&each.resource, each.profile.as_deref()));
            items.push(format!(
                "{}: {name}, but {}. Why: {}.",
                plain::resource(&each.resource, each.profile.as_deref()),
                coarser(&each.to),
                each.reason
            ));
        }
        if !items.is_empty() {
            page.push(Part::Words(format!("{}:", capital(meaning))));
            page.push(Part::List(items));
        }
    }
}

/// What a generalised element becomes, in plain words.
fn coarser(to: &Coarser) -> String {
    match to {
        Coarser::OutwardCode => "only the first half of the postcode".to_owned(),
        Coarser::Month => "only the month and year".to_owned(),
        Coarser::Year => "only the year".to_owned(),
        Coarser::AgeBand { from } => {
            let ages: Vec<String> = from.iter().map(u16::to_string).collect();
            format!("only an age band (new bands begin at {})", ages.join(", "))
        }
        Coarser::Pseudonym { .. } => "as a number that only stands for it".to_owned(),
        Coarser::Withheld => "only that it was there".to_owned(),
    }
}

fn withheld(agreement: &Agreement, interface: &Interface, page: &mut Page) {
    page.push(Part::Heading(3, "What we do not share, and why".to_owned()));
    let decided = interface.withholdings().iter().map(|each| {
        let by = who(agreement, each.approved_by);
        format!("{}: {}. Decided by {by}.", plain::resource(&each.resource, each.profile.as_deref()), each.reason)
    });
    let items: Vec<String> = decided.collect();
    if !items.is_empty() {
        page.push(Part::List(items));
    }
    page.push(Part::Words("Nothing else is shared: what this page does not name does not leave.".to_owned()));
}

fn consent(agreement: &Agreement, interface: &Interface, page: &mut Page) {
    page.push(Part::Heading(3, "When consent is needed".to_owned()));
    let terms = interface.consent();
    page.push(Part::Words(match terms.rule {
        ConsentRule::Explicit => {
            "Ask the person, and record that they agreed. Without that nothing is sent, and you are told so.".to_owned()
        }
        ConsentRule::Implied => {
            "You need not ask each time: sharing for direct care is implied. Still tell the person what \
                                 you share, wherever that is safe, and record what they say."
                .to_owned()
        }
        ConsentRule::NotRequired => {
            let ground = terms.statute.as_deref().unwrap_or_default();
            format!("Consent is not needed. The ground: {ground}.")
        }
    }));
    page.push(Part::Words(
        match terms.objection {
            Objection::Refuse | Objection::Override => {
                "If the person objects, record it: nothing is sent, and you are told so."
            }
            Objection::Record => {
                "If the person objects, record it. It does not stop this sharing: tell the person so, and whom they can ask."
            }
        }
        .to_owned(),
    ));
    let Some(rule) = interface.override_rule().filter(|_| terms.objection == Objection::Override) else { return };
    page.push(Part::Heading(3, "Sharing without consent".to_owned()));
    let grounds: Vec<String> = rule.bases.iter().map(|basis| ground(*basis).to_owned()).collect();
    page.push(Part::Words("You may share all the same, if one of these is so:".to_owned()));
    page.push(Part::List(grounds));
    page.push(Part::Words(format!(
        "Record your decision: the signs of risk, what else you considered, why sharing this much is proportionate, and whether \
         the person was told. If something is missing, nothing is sent. Less is shared than with consent. {} reviews every \
         decision within {} hours.",
        capital(&who(agreement, rule.reviewer)),
        rule.review_hours
    )));
}

fn ground(basis: OverrideBasis) -> &'static str {
    match basis {
        OverrideBasis::VitalInterests => "someone's life is in danger, or they may come to serious harm",
        OverrideBasis::Safeguarding => "a child or an adult at risk must be protected",
        OverrideBasis::PublicInterest => "the public interest in sharing outweighs the person's confidence",
        OverrideBasis::Statute => "the law requires it",
    }
}

fn told(interface: &Interface, recipient: &str, page: &mut Page) {
    let words = match (interface.tells_withheld(), interface.list_withheld()) {
        (true, true) => {
            format!(
                "{recipient} sees that something was held back, and what kind of thing; never what it says. Beware: the list \
                 alone tells that there is something. Who reads that a safeguarding concern, or notes on another person, was held \
                 back knows that it exists. Bear it in mind before you write down what must not even be guessed at."
            )
        }
        (true, false) => format!("{recipient} sees that something was held back; not what."),
        (false, _) => format!("{recipient} does not see whether something was held back."),
    };
    page.push(Part::Heading(3, "What they see of what we hold back".to_owned()));
    page.push(Part::Words(words));
}

fn who_to_ask(agreement: &Agreement, page: &mut Page) {
    page.push(Part::Heading(2, "Who to ask".to_owned()));
    let people = agreement.roles().iter().map(|(role, person)| {
        format!("{}: {}, {} ({})", capital(role_in_words(role)), person.name, person.contact, about(role))
    });
    page.push(Part::List(people.collect()));
    page.push(Part::Heading(2, "If something goes wrong".to_owned()));
    let routes = agreement.escalations().iter().map(|each| {
        let hours = if each.hours == 1 { "1 hour".to_owned() } else { format!("{} hours", each.hours) };
        format!("{}: tell {}, within {hours}.", capital(each.severity.word()), each.contact)
    });
    page.push(Part::List(routes.collect()));
}

fn who(agreement: &Agreement, role: NamedRole) -> String {
    let name = agreement.roles().person(role).map(|person| format!(" ({})", person.name)).unwrap_or_default();
    format!("the {}{name}", role_in_words(role))
}

fn role_in_words(role: NamedRole) -> &'static str {
    match role {
        NamedRole::CaldicottGuardian => "Caldicott guardian",
        NamedRole::Siro => "senior information risk owner",
        NamedRole::IgLead => "information governance lead",
        NamedRole::OperationalOwner => "operational owner",
        NamedRole::TechnicalAdministrator => "technical administrator",
        NamedRole::SafeguardingLead => "safeguarding lead",
    }
}

fn about(role: NamedRole) -> &'static str {
    match role {
        NamedRole::CaldicottGuardian => "whether it is right to share",
        NamedRole::Siro => "risks to information",
        NamedRole::IgLead => "this agreement and the law behind it",
        NamedRole::OperationalOwner => "how the service works",
        NamedRole::TechnicalAdministrator => "when something does not arrive",
        NamedRole::SafeguardingLead => "people at risk, and sharing without consent",
    }
}

/// `crisis-escalation` → `Crisis escalation`.
fn in_words(name: &str) -> String {
    capital(&name.replace('-', " "))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Agreements;
    use super::*;

    fn text(file: &str) -> String {
        let agreements = Agreements::load_for(
            &[("a.toml".to_owned(), file.to_owned())],
            &crate::disclosure::sample_facts::SampleFacts::new(),
        )
        .expect("it is sound");
        let page = guide(agreements.iter().next().expect("there is one"), &|_, _| None);
        let line = |part: &Part| match part {
            Part::Heading(level, text) => format!("{} {text}\n", "#".repeat((*level).into())),
            Part::Words(text) => format!("{text}\n"),
            Part::List(items) => items.iter().map(|item| format!("- {item}\n")).collect(),
        };
        page.iter().map(line).collect()
    }

    #[test]
    fn the_guide_is_in_plain_words() {
        let trust = text(include_str!("../../../agreements/demo-trust-crisis.toml"));
        for part in [
            "# What we share with Demonstration Crisis Trust, and when",
            "Who the person is:\n- the person: why there is no NHS number, whether the NHS number was checked, NHS number, name, \
             gender, date of birth, who cares for the person. Why: the crisis team must know whom to help",
            "You need not ask each time",
            "- someone's life is in danger",
            "The safeguarding lead (Sue Safeguarding (synthetic)) reviews every decision within 72 hours.",
            "- Caldicott guardian: Ada Guardian (synthetic), caldicott@demop.example (whether it is right to share)",
            "- Critical: tell the Caldicott guardian, by phone, day and night, within 1 hour.",
        ] {
            assert!(trust.contains(part), "{part}\n{trust}");
        }
        let icb = text(include_str!("../../../agreements/demo-icb-crisis.toml"));
        for part in [
            "- allergies: a commissioner treats nobody",
            "Decided by the Caldicott guardian (Ada Guardian (synthetic)).",
            "Consent is not needed.",
        ] {
            assert!(icb.contains(part), "{part}\n{icb}");
        }
        assert!(!icb.contains("Sharing without consent"));
        let stops = "If the person objects, record it: nothing is sent, and you are told so.";
        assert!(icb.contains(stops), "{icb}");
        let recorded = include_str!("../../../agreements/demo-icb-crisis.toml")
            .replace("objection = \"refuse\"", "objection = \"record\"")
            .replace("control = \"consent\"", "control = \"audit\"");
        let recorded = text(&recorded);
        assert!(recorded.contains("It does not stop this sharing") && !recorded.contains(stops), "{recorded}");
        let warns = |page: &str| page.contains("Beware: the list alone tells that there is something.");
        let unlisted = include_str!("../../../agreements/demo-trust-crisis.toml")
            .replace("list_withheld = true", "list_withheld = false");
        assert!(warns(&trust) && !warns(&text(&unlisted)), "the warning is where the list is");
        for page in [trust, icb] {
            for jargon in
                ["coding", "extension", "reference", "http", "meta", "valueString", "identifier", "telecom", "_"]
            {
                assert!(!page.contains(jargon), "{jargon}: {page}");
            }
        }
    }
}
