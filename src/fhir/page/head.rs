//! The top of a page: what is asked, how soon, by when, of whom, and what to know before reading on.

use super::banner::{Ask, Banner};
use super::frame::{is_open, upper_first};
use super::lines::Said;
use super::references::shortened;
use super::{Page, modifiers, words_of};
use crate::fhir::Node;

const SHARING_DECISION: &str = "https://weir.example/fhir/StructureDefinition/weir-sharing-decision";
/// What says that something is asked no more, or not yet for certain, and turns no other resource.
const NOT_AS_ASKED: [(&str, &str, &[&str]); 2] =
    [("status", "Status", &["completed", "draft", "unknown"]), ("intent", "Intent", &["proposal", "option"])];
/// What of a summary turns the rest: element, code, what it means.
const TURNED_SUMMARY: [(&str, &str, &str); 4] = [
    ("status", "entered-in-error", "The summary was entered in error."),
    ("status", "preliminary", "The summary is preliminary: it may still change."),
    ("confidentiality", "R", "Restricted (R): the sender asks to keep this message close."),
    ("confidentiality", "V", "Very restricted (V): the sender asks to keep this message especially close."),
];
/// The most alerts of what else cannot wait, and how long what they say of a priority is, in characters.
const MOST_URGENT: usize = 20;
const LONGEST: usize = 80;
/// The most requests of which the banner says more than what they are.
const MOST_ASKS: usize = 6;

impl<'a> Page<'a> {
    /// The banner.
    pub(super) fn head(&mut self) {
        let Banner { kind, asks, .. } = self.banner.clone();
        let class = self.banner.priority().map(|priority| priority.class);
        self.html.raw(match class {
            Some("stat") => r#"<header class="stat">"#,
            Some("asap") => r#"<header class="asap">"#,
            Some("urgent") => r#"<header class="urgent">"#,
            Some("routine") => r#"<header class="routine">"#,
            Some("masked") => r#"<header class="masked">"#,
            _ => r#"<header class="unknown">"#,
        });
        self.html.wrapped("<p class=\"kind\">", &kind, "</p>");
        self.html.raw("<h1>");
        if asks.is_empty() {
            let was_asked = self.frame.requests.iter().chain(&self.frame.tasks).any(|node| !is_open(*node));
            self.html.raw(match was_asked {
                true => "Nothing is asked any more",
                false => "The message does not say what is asked",
            });
        }
        for (place, ask) in asks.iter().enumerate() {
            self.html.raw(if place == 0 { "" } else { "<br>" });
            self.what(ask, asks.len() == 1);
        }
        self.html.raw("</h1>");
        let none = Ask::default();
        for ask in if asks.is_empty() { std::slice::from_ref(&none) } else { &asks[..asks.len().min(MOST_ASKS)] } {
            if asks.len() > 1 {
                self.html.raw("<p class=\"kind\">");
                self.what(ask, false);
                self.html.raw("</p>");
            }
            let is_most_pressing = ask.priority.as_ref().map(|priority| priority.class) == class;
            self.ask(ask, is_most_pressing);
        }
        if asks.len() > MOST_ASKS {
            self.html.raw("<p class=\"kind\">What else is asked stands below: ");
            self.html.number(asks.len() - MOST_ASKS);
            self.html.raw(" more</p>");
        }
        self.html.raw("</header>");
        self.alerts();
    }

    /// What is asked, or must not be done.
    fn what(&mut self, ask: &Ask, is_alone: bool) {
        self.html.raw(if ask.is_prohibition { "Do not perform: " } else { "" });
        if ask.what.is_empty() {
            self.html.raw(match is_alone {
                true => "The message does not say what is asked",
                false => "A request that does not say what is asked",
            });
        }
        for (place, said) in ask.what.iter().enumerate() {
            self.html.raw(if place == 0 { "" } else { "<br>" });
            self.said(said);
        }
    }

    /// How soon, by when, of whom, and whom to call about it.
    fn ask(&mut self, ask: &Ask, is_most_pressing: bool) {
        self.html.raw("<dl><div><dt>Priority</dt>");
        self.html.raw(if is_most_pressing { "<dd class=\"badge\">" } else { "<dd>" });
        match &ask.priority {
            Some(priority) => self.html.text(&priority.words),
            None => self.html.raw("Not given"),
        }
        self.html.raw("</dd></div><div><dt>Respond by</dt><dd>");
        for (place, time) in ask.by.iter().enumerate() {
            self.html.raw(if place == 0 { "" } else { "<br>also: " });
            self.html.text(time);
            self.html.raw(if time.contains(':') { " <small>UK time</small>" } else { "" });
        }
        if ask.is_time_withheld {
            self.html.raw(if ask.by.is_empty() { "" } else { "<br>also: " });
            self.said(&Said::Withheld);
        } else if ask.by.is_empty() {
            self.html.raw("No time is given");
        }
        self.html.raw("</dd></div>");
        if !ask.of_whom.is_empty() {
            self.html.raw("<div><dt>Asked of</dt><dd>");
            for (place, said) in ask.of_whom.iter().enumerate() {
                self.html.raw(if place == 0 { "" } else { "; " });
                self.said(said);
            }
            self.html.raw("</dd></div>");
        }
        if let Some(number) = &ask.call_back {
            self.html.wrapped("<div><dt>Call back</dt><dd>", number, "</dd></div>");
        }
        self.html.raw("</dl>");
    }

    /// What turns the rest of the message, or is missing from it.
    fn alerts(&mut self) {
        let mut alerts: Vec<String> = self.frame.turns().map(str::to_owned).into_iter().collect();
        alerts.extend(self.frame.patients.iter().filter_map(|patient| self.death(*patient)));
        alerts.extend(modifiers::warnings(&self.frame));
        for node in self.frame.requests.iter().chain(&self.frame.tasks) {
            let lines = self.frame.reader.lines(*node);
            let named = |names: &[&str]| {
                let words = names.iter().flat_map(|name| self.frame.reader.words(*node, name));
                words.collect::<Vec<_>>().join("; ")
            };
            let of = match node.resource_type() {
                Some("Task") => format!("Task {}: ", named(&["code", "description"])),
                _ if self.frame.requests.len() > 1 => {
                    let name = named(&["code"]);
                    format!("{}: ", if name.is_empty() { "A request that does not say what is asked" } else { &name })
                }
                _ => String::new(),
            };
            for (name, label, states) in NOT_AS_ASKED {
                let said = node.text_of(name).filter(|said| states.contains(&&**said));
                alerts.extend(said.map(|said| format!("{of}{label}: {said}")));
            }
            let loud = lines.iter().filter(|line| line.is_loud && !line.is_modifier && line.within.is_empty());
            alerts.extend(loud.filter_map(|line| match &line.said {
                Said::Words(words) => Some(format!("{of}{}: {words}", line.label)),
                Said::Withheld | Said::Absent(_) | Said::Nothing => None,
            }));
        }
        alerts.extend(self.cannot_wait());
        let summary = |(name, code, meant): &(&str, &str, &'static str)| {
            let own = self.frame.composition?.text_of(name)?;
            (own == *code).then(|| (*meant).to_owned())
        };
        alerts.extend(TURNED_SUMMARY.iter().filter_map(summary));
        let resources = || self.frame.reader.entries.list().iter().filter_map(|entry| entry.resource);
        let is_decision = |node: Node<'_>| node.text_of("url").is_some_and(|url| url == SHARING_DECISION);
        let consents = || resources().filter(|resource| resource.resource_type() == Some("Consent"));
        if consents().any(|consent| consent.items_of("extension").any(is_decision)) {
            alerts.push("Shared without the person’s consent, on a decision: see Consent before you call.".to_owned());
        } else if consents().any(|consent| {
            consent.text_of("status").is_some_and(|status| status == "rejected") && is_of_sharing(consent)
        }) {
            alerts.push("The person has refused sharing: see Consent before you call.".to_owned());
        }
        if self.frame.patients.len() > 1 {
            alerts.push(format!("The message is about {} people.", self.frame.patients.len()));
        }
        for alert in alerts {
            self.html.wrapped("<p class=\"alert\">", &upper_first(&alert), "</p>");
        }
        if !self.withheld.is_nothing() {
            self.html.raw("<p class=\"withheld\">Part of the record was withheld from you: <a href=\"#withheld\">what was withheld</a>.</p>");
        }
    }

    /// What else cannot wait, beside what is asked.
    fn cannot_wait(&self) -> Vec<String> {
        let resources = self.frame.reader.entries.list().iter().filter_map(|entry| entry.resource);
        let others = resources.filter(|of| !self.frame.requests.contains(of) && !self.frame.tasks.contains(of));
        let urgent = others.filter(|of| is_open(*of) && of.text_of("status").is_none_or(|status| status != "stopped"));
        let said = urgent.filter_map(|of| {
            let (_, priority) = self.frame.priority_of(of).filter(|(_, own)| matches!(own.class, "stat" | "asap"))?;
            let kind = words_of(of.resource_type()?);
            let name = self.frame.reader.headline(of).unwrap_or_default();
            Some(format!("{}: {kind} {name}", shortened(&priority.words, LONGEST)))
        });
        said.take(MOST_URGENT).collect()
    }

    /// That a person has died, and when.
    fn death(&self, patient: Node<'a>) -> Option<String> {
        let of = |name: &str| self.frame.reader.words(patient, name).into_iter().next();
        let when = of("deceasedDateTime").map(|at| format!(": {at}"));
        let has_died = when.is_some() || of("deceasedBoolean").is_some_and(|words| words == "yes");
        let others = self.frame.patients.len() > 1;
        let name = self.frame.reader.name(patient).filter(|_| others).unwrap_or_else(|| "The person".to_owned());
        has_died.then(|| format!("{name} has died{}.", when.unwrap_or_default()))
    }

    /// What an element says, or that it says nothing.
    pub(super) fn said(&mut self, said: &Said) {
        match said {
            Said::Words(words) => self.html.text(words),
            Said::Withheld => self.html.raw("<span class=\"withheld\">withheld</span>"),
            Said::Nothing => self.html.raw("<span class=\"absent\">not received</span>"),
            Said::Absent(code) if code.is_empty() || code == "unknown" => {
                self.html.raw("<span class=\"absent\">not recorded</span>");
            }
            Said::Absent(code) => self.html.wrapped("<span class=\"absent\">not recorded (", code, ")</span>"),
        }
    }
}

/// Whether a consent is one to share: not one to research, to a treatment or on what is to be done at the end of life.
fn is_of_sharing(consent: Node<'_>) -> bool {
    let codings = consent.items_of("scope").flat_map(|scope| scope.items_of("coding"));
    let mut codes = codings.filter_map(|coding| coding.text_of("code"));
    !codes.any(|code| matches!(&*code, "research" | "treatment" | "adr"))
}
