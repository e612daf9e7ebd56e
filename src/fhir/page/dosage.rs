//! A dose as it is read out: `400 mg, oral route, 3 times a day, as needed for pain, at most 2000 mg per day`.
//!
//! Enters: a Dosage or a Timing (FHIR R4 Dosage, Timing), or what a MedicationAdministration says was given. Leaves: one
//! sentence. Invariants: what the sentence has no words for stands behind it by its label; a number whose unit or period did not
//! come is said to have none; what was withheld is never taken for what FHIR means by its absence.

use std::borrow::Cow;

use super::amounts::{is_one, number, quantity, range, ratio, time_unit, up_to};
use super::lines::{Reader, Said, absent};
use crate::fhir::labels::is_masked;
use crate::fhir::narrative::words::{is_for_machines, label_of};
use crate::fhir::r4::TypeDef;
use crate::fhir::{Kind, NameId, Node, keys};

/// What is said of a part that is not as FHIR has it.
const NO_WORDS: &str = "not shown, read the message itself";

/// Whether a type is told as one sentence: its parts mean nothing apart.
pub(super) fn is_dosing(name: &str) -> bool {
    matches!(name, "Dosage" | "Timing" | "MedicationAdministration.dosage")
}

impl<'a> Reader<'a> {
    /// The sentence of a Dosage or a Timing.
    pub(super) fn dosing(&self, node: Node<'a>, of: &TypeDef) -> Option<String> {
        let telling = Telling { reader: self, node, of, told: Vec::new(), parts: Vec::new() };
        if of.name == "Timing" { telling.timing() } else { telling.dosage() }
    }
}

/// An element whose parts are put into words.
struct Telling<'r, 'a> {
    reader: &'r Reader<'a>,
    node: Node<'a>,
    of: &'r TypeDef,
    /// The parts that the sentence has words for.
    told: Vec<NameId>,
    parts: Vec<String>,
}

impl<'r, 'a> Telling<'r, 'a> {
    fn dosage(mut self) -> Option<String> {
        let step = self.number("sequence").map(|step| format!("step {step}: "));
        self.told.extend(step.as_ref().map(|_| NameId::of("sequence")));
        self.tell(&["text"], |of| of.words("text", " "));
        // The free text stands for itself; what is structured follows it.
        let start = self.parts.len();
        self.tell(&["method"], |of| of.words("method", ", "));
        self.tell(&["doseAndRate"], Self::doses);
        self.amounts();
        // `Take 1 tablet` for `Take` and `1 tablet`.
        if self.parts.len() == start + 2
            && self.told.contains(&NameId::of("method"))
            && !self.parts[start].contains(' ')
        {
            let amount = self.parts.remove(start + 1);
            self.parts[start] = format!("{} {amount}", self.parts[start]);
        }
        self.tell(&["site"], |of| Some(format!("at {}", lower_first(&of.words("site", ", ")?))));
        self.tell(&["route"], |of| Some(by_route(&of.words("route", ", ")?)));
        self.tell(&["timing"], |of| of.words("timing", "; "));
        self.tell(&["asNeededBoolean"], |of| match of.text("asNeededBoolean")?.as_ref() {
            "true" => Some("as needed".to_owned()),
            "false" => Some("regularly".to_owned()),
            _ => None,
        });
        self.tell(&["asNeededCodeableConcept"], |of| {
            Some(format!("as needed for {}", lower_first(&of.words("asNeededCodeableConcept", " or ")?)))
        });
        self.tell(&["maxDosePerPeriod"], |of| Some(format!("at most {}", ratio(of.node.member("maxDosePerPeriod")?)?)));
        for (name, each) in [("maxDosePerAdministration", "each time"), ("maxDosePerLifetime", "in a lifetime")] {
            self.tell(&[name], |of| Some(format!("at most {} {each}", quantity(of.node.member(name)?)?)));
        }
        self.tell(&["additionalInstruction"], |of| Some(lower_first(&of.words("additionalInstruction", ", ")?)));
        self.tell(&["patientInstruction"], |of| {
            Some(format!("the person was told: {}", of.words("patientInstruction", " ")?))
        });
        let sentence = self.finish()?;
        Some(step.map_or(sentence.clone(), |step| step + &sentence))
    }

    /// The doses of `doseAndRate`, each with the kind it is of unless that is the usual one.
    fn doses(&self) -> Option<String> {
        let of = self.of.element(NameId::of("doseAndRate"))?.1.def()?;
        let each = |node: Node<'a>| {
            let mut telling = Telling { reader: self.reader, node, of, told: Vec::new(), parts: Vec::new() };
            telling.amounts();
            telling.tell(&["type"], |of| of.words("type", ", ").map(|kind| format!("({})", lower_first(&kind))));
            let kind = telling.told.contains(&NameId::of("type")).then(|| telling.parts.pop()).flatten();
            let words = telling.finish()?;
            Some(match kind {
                Some(kind) if !kind.eq_ignore_ascii_case("(ordered)") => format!("{words} {kind}"),
                _ => words,
            })
        };
        let doses: Option<Vec<String>> = self.node.items_of("doseAndRate").map(each).collect();
        Some(doses?.join(", or "))
    }

    /// How much, and how fast.
    fn amounts(&mut self) {
        let start = self.parts.len();
        for name in ["dose", "doseQuantity"] {
            self.tell(&[name], |of| quantity(of.node.member(name)?));
        }
        self.tell(&["doseRange"], |of| range(of.node.member("doseRange")?));
        self.tell(&["rateRatio"], |of| Some(format!("at {}", ratio(of.node.member("rateRatio")?)?)));
        self.tell(&["rateQuantity"], |of| Some(format!("at {}", quantity(of.node.member("rateQuantity")?)?)));
        self.tell(&["rateRange"], |of| Some(format!("at {}", range(of.node.member("rateRange")?)?)));
        let words = self.parts.split_off(start).join(" ");
        self.parts.extend(Some(words).filter(|words| !words.is_empty()));
    }

    fn timing(mut self) -> Option<String> {
        self.tell(&["event"], |of| Some(format!("at {}", of.words("event", " and ")?)));
        self.tell(&["repeat"], |of| {
            let to = of.of.element(NameId::of("repeat"))?.1.def()?;
            let node = of.node.member("repeat").filter(|node| node.is_object())?;
            Telling { reader: of.reader, node, of: to, told: Vec::new(), parts: Vec::new() }.repeat()
        });
        let before = self.parts.last().cloned();
        self.tell(&["code"], |of| {
            let words = of.words("code", "; ")?;
            let meant =
                of.node.member("code").and_then(abbreviation).filter(|meant| !meant.eq_ignore_ascii_case(&words));
            Some(match (&before, meant) {
                (Some(before), _) => format!("{before} ({words})"),
                (None, Some(meant)) => format!("{meant} ({words})"),
                (None, None) => words,
            })
        });
        // The code stands behind what it says again.
        if before.is_some() && self.told.contains(&keys().code) {
            self.parts.remove(self.parts.len() - 2);
        }
        self.finish()
    }

    /// `Timing.repeat`.
    fn repeat(mut self) -> Option<String> {
        self.frequency();
        self.tell(&["dayOfWeek"], |of| Some(format!("on {}", all_of(&of.each("dayOfWeek", weekday)?))));
        self.tell(&["timeOfDay"], |of| Some(format!("at {}", all_of(&of.each("timeOfDay", clock)?))));
        self.tell(&["when", "offset"], |of| {
            let [offset] = of.numbers(["offset"])?;
            let offset = offset.filter(|offset| offset != "0");
            let told = of.each("when", |code| occasion(code, offset.as_deref()))?;
            Some(all_of(&told))
        });
        self.lasting();
        self.tell(&["boundsDuration"], |of| Some(format!("for {}", quantity(of.node.member("boundsDuration")?)?)));
        self.tell(&["boundsRange"], |of| Some(format!("for {}", range(of.node.member("boundsRange")?)?)));
        self.tell(&["boundsPeriod"], |of| of.words("boundsPeriod", " "));
        self.tell(&["count", "countMax"], |of| {
            let [low, high] = of.numbers(["count", "countMax"])?;
            Some(format!("{} in all", times(low.as_deref(), high.as_deref())?))
        });
        self.finish()
    }

    /// How often: a missing frequency means once a period (FHIR R4 Timing.repeat.frequency), one that was withheld does not.
    fn frequency(&mut self) {
        let numbers = self.numbers(["frequency", "frequencyMax", "period", "periodMax"]);
        let Some([low, high, period, most]) = numbers.filter(|_| self.node.member("_periodUnit").is_none()) else {
            return;
        };
        let often = times(low.as_deref(), high.as_deref());
        let Some(period) = period else {
            return self
                .tell(&["frequency", "frequencyMax"], |_| Some(format!("{}, with no period given", often.as_ref()?)));
        };
        let length = up_to(&period, most.as_deref());
        let unit = self.text("periodUnit");
        let words_of = |unit| time_unit(unit).unwrap_or((unit, unit));
        let (one, many) = unit.as_deref().map_or(("", "with no unit given"), words_of);
        let every = if is_one(&length) && !one.is_empty() { one.to_owned() } else { format!("{length} {many}") };
        let words = match often {
            Some(often) if every == one => format!("{often} {} {every}", if one == "hour" { "an" } else { "a" }),
            Some(often) if often != "once" => format!("{often} every {every}"),
            _ => format!("every {every}"),
        };
        self.told.extend(["frequency", "frequencyMax", "period", "periodMax", "periodUnit"].map(NameId::of));
        self.parts.push(words);
    }

    /// How long each time takes.
    fn lasting(&mut self) {
        self.tell(&["duration", "durationMax", "durationUnit"], |of| {
            let (one, many) = time_unit(&of.text("durationUnit")?)?;
            let [low, high] = of.numbers(["duration", "durationMax"])?;
            let unit = if low.as_deref().is_some_and(is_one) && high.is_none() { one } else { many };
            Some(match low {
                Some(low) => format!("over {} {unit} each time", up_to(&low, high.as_deref())),
                None => format!("over up to {} {unit} each time", high?),
            })
        });
    }

    /// Takes the words of some parts, if there are any.
    fn tell(&mut self, names: &[&str], words: impl Fn(&Self) -> Option<String>) {
        if let Some(words) = words(self).map(|words| words.trim().to_owned()).filter(|words| !words.is_empty()) {
            self.parts.push(words);
            self.told.extend(names.iter().map(|name| NameId::of(name)));
        }
    }

    /// The values of a part in words.
    fn words(&self, name: &str, between: &str) -> Option<String> {
        let all = self.reader.words_in(self.node, self.of, name);
        // All of them, or the part is told by its label.
        let count = self.node.items_of(name).count();
        (!all.is_empty() && all.len() == count).then(|| all.join(between))
    }

    /// Each value of a part in words; nothing where one has none.
    fn each(&self, name: &str, words: impl Fn(&str) -> Option<String>) -> Option<Vec<String>> {
        let all: Option<Vec<String>> = self.node.items_of(name).map(|item| words(&item.scalar()?)).collect();
        all.filter(|all| !all.is_empty())
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.node.member(name)?.scalar()
    }

    fn number(&self, name: &str) -> Option<String> {
        number(self.node, name)
    }

    /// Numbers that are said together; nothing when one is no number, or was withheld.
    fn numbers<const N: usize>(&self, names: [&str; N]) -> Option<[Option<String>; N]> {
        let numbers = names.map(|name| self.number(name));
        let companions = names.map(|name| format!("_{name}"));
        let is_whole =
            names.iter().zip(&numbers).all(|(name, number)| number.is_some() || self.node.member(name).is_none());
        (is_whole && companions.iter().all(|name| self.node.member(name).is_none())).then_some(numbers)
    }

    /// The sentence, and behind it what has no words in it.
    fn finish(mut self) -> Option<String> {
        for child in self.node.children() {
            let name = child.name_id();
            let is_companion = name.is_primitive_extension();
            if self.told.contains(&name) || (!is_companion && is_for_machines(name)) {
                continue;
            }
            if name == keys().modifier_extension {
                self.parts.push("changed by a modifier: see the warning at the top".to_owned());
                continue;
            }
            let Some((element, chosen)) = self.of.element(name) else {
                self.reader.unknown.set(self.reader.unknown.get() + 1);
                continue;
            };
            let Some(to) = chosen.def().filter(|to| to.name != "Extension") else { continue };
            let label = label_of(element.stem);
            for item in child.items().filter(|item| item.kind() != Kind::Null) {
                let words = match absent(item) {
                    Some(Said::Withheld) => "withheld".to_owned(),
                    Some(_) => "not recorded".to_owned(),
                    None if is_companion => continue,
                    None if item.subtree().any(|inner| inner.is_object() && is_masked(inner)) => "withheld".to_owned(),
                    None => self.reader.value(item, to).unwrap_or_else(|| NO_WORDS.to_owned()),
                };
                self.parts.push(format!("{label}: {words}"));
            }
        }
        Some(self.parts.join(", ")).filter(|words| !words.is_empty())
    }
}

/// `once`, `3 times`, `2 to 3 times`, `up to 3 times`.
fn times(low: Option<&str>, high: Option<&str>) -> Option<String> {
    match (low, high.filter(|high| low != Some(*high))) {
        (Some("1"), None) => Some("once".to_owned()),
        (Some("2"), None) => Some("twice".to_owned()),
        (Some(low), high) => Some(format!("{} times", up_to(low, high))),
        (None, Some(high)) => Some(format!("up to {high} times")),
        (None, None) => None,
    }
}

/// `Monday, Tuesday and Friday`.
fn all_of(words: &[String]) -> String {
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    }
}

fn weekday(code: &str) -> Option<String> {
    let day = match code {
        "mon" => "Monday",
        "tue" => "Tuesday",
        "wed" => "Wednesday",
        "thu" => "Thursday",
        "fri" => "Friday",
        "sat" => "Saturday",
        "sun" => "Sunday",
        _ => return None,
    };
    Some(day.to_owned())
}

/// `08:00` for `08:00:00`.
fn clock(time: &str) -> Option<String> {
    Some(time.strip_suffix(":00").filter(|short| short.len() == 5).unwrap_or(time).to_owned())
}

/// When in the day, by the codes of TimingEvent and EventTiming; `offset` is in minutes.
fn occasion(code: &str, offset: Option<&str>) -> Option<String> {
    let meal = |letter: char| match letter {
        'M' => Some("breakfast"),
        'D' => Some("lunch"),
        'V' => Some("the evening meal"),
        _ => None,
    };
    let of_meal = |rest: &str| match rest.chars().next() {
        None => Some("a meal"),
        Some(letter) => meal(letter).filter(|_| rest.len() == 1),
    };
    let near = |way: &str, what: &str| match offset {
        Some(minutes) => format!("{minutes} {} {way} {what}", if is_one(minutes) { "minute" } else { "minutes" }),
        None => format!("{way} {what}"),
    };
    let words = match code {
        "HS" => return Some(near("before", "going to sleep")),
        "WAKE" => return Some(near("after", "waking")),
        "PHS" => return Some(near("after", "falling asleep")),
        _ if code.starts_with("AC") => return Some(near("before", of_meal(&code[2..])?)),
        _ if code.starts_with("PC") => return Some(near("after", of_meal(&code[2..])?)),
        // A distance in time from these has no words.
        _ if offset.is_some() => return None,
        "MORN" => "in the morning",
        "MORN.early" => "early in the morning",
        "MORN.late" => "late in the morning",
        "NOON" => "at noon",
        "AFT" => "in the afternoon",
        "AFT.early" => "early in the afternoon",
        "AFT.late" => "late in the afternoon",
        "EVE" => "in the evening",
        "EVE.early" => "early in the evening",
        "EVE.late" => "late in the evening",
        "NIGHT" => "at night",
        "C" | "CM" | "CD" | "CV" => return Some(format!("with {}", of_meal(&code[1..])?)),
        _ => return None,
    };
    Some(words.to_owned())
}

/// What an abbreviation means that is easily misread (GTSAbbreviation).
fn abbreviation(code: Node<'_>) -> Option<&'static str> {
    let own = code.items_of("coding").find_map(|coding| {
        let is_theirs = coding.text_of("system").is_some_and(|system| system.ends_with("GTSAbbreviation"));
        coding.text_of("code").filter(|_| is_theirs)
    })?;
    Some(match &*own {
        "QD" => "once a day",
        "BID" => "twice a day",
        "TID" => "3 times a day",
        "QID" => "4 times a day",
        "QOD" => "every other day",
        "Q1H" => "every hour",
        "Q2H" => "every 2 hours",
        "Q3H" => "every 3 hours",
        "Q4H" => "every 4 hours",
        "Q6H" => "every 6 hours",
        "Q8H" => "every 8 hours",
        "AM" => "every morning",
        "PM" => "every afternoon",
        "BED" => "at bedtime",
        "WK" => "weekly",
        "MO" => "monthly",
        _ => return None,
    })
}

/// `oral route` for `Oral`, `by mouth` as it is.
fn by_route(route: &str) -> String {
    let route = lower_first(route);
    let is_said = route.contains("route")
        || ["by ", "into ", "via ", "in ", "on ", "to ", "per "].iter().any(|way| route.starts_with(way));
    if is_said { route } else { format!("{route} route") }
}

/// `Pain` as `pain`; abbreviations stay.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}
