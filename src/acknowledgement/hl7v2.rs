//! What came of an HL7 v2 message → its ACK, or its two in enhanced mode (HL7 v2.5.1 chapter 2, 2.9.2 and 2.9.3).
//!
//! In original mode one ACK. AA: the message is on disk, now or since an earlier time. AE: it was understood and cannot be processed, or was only tried. AR: it is
//! rejected for what it is (type, version, processing id, no message at all), or for who sent it. What cannot be taken now
//! gets no acknowledgement: many senders take any as final.
//!
//! In enhanced mode, where MSH-15 or MSH-16 is valued, the accept acknowledgement comes first. CA: the message is on disk. CR: it is not, for
//! its MSH-9, MSH-11 or MSH-12; CE: for anything else. Nothing follows a CE or CR (2.9.3). The application acknowledgement, AA, AE or AR as
//! above, is a message of its own that asks for none. Each trouble is an ERR segment with segment and field; no value of the message but those of its MSH that are echoed.

use time::UtcOffset;

use super::mode::{Mode, When};
use crate::delivery::outbox;
use crate::fhir::Instant;
use crate::fhir::outcome::{Issue, IssueType};
use crate::intake::hl7v2::{Head, Location};
use crate::intake::{self, Model};
use crate::refusal::Refusal;

/// ERR segments of one acknowledgement.
const MOST_TROUBLES: usize = 20;

/// MSA-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `AA`
    Accept,
    /// `AE`
    Error,
    /// `AR`
    Reject,
}

impl Code {
    /// As MSA-1 has it.
    pub fn code(self) -> &'static str {
        match self {
            Code::Accept => "AA",
            Code::Error => "AE",
            Code::Reject => "AR",
        }
    }
}

/// What is wrong, by the codes of HL7 table 0357.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// 0: nothing is wrong.
    Accepted,
    /// 100: a segment is not where it should be, or not there.
    SegmentSequence,
    /// 101
    RequiredField,
    /// 102
    DataType,
    /// 103: not in the table.
    TableValue,
    /// 200
    MessageType,
    /// 201
    EventCode,
    /// 202
    ProcessingId,
    /// 203
    VersionId,
    /// 205: the message's id is that of another one.
    DuplicateKey,
    /// 207: everything else.
    Application,
}

impl Condition {
    fn coded(self) -> (u16, &'static str) {
        match self {
            Condition::Accepted => (0, "Message accepted"),
            Condition::SegmentSequence => (100, "Segment sequence error"),
            Condition::RequiredField => (101, "Required field missing"),
            Condition::DataType => (102, "Data type error"),
            Condition::TableValue => (103, "Table value not found"),
            Condition::MessageType => (200, "Unsupported message type"),
            Condition::EventCode => (201, "Unsupported event code"),
            Condition::ProcessingId => (202, "Unsupported processing id"),
            Condition::VersionId => (203, "Unsupported version id"),
            Condition::DuplicateKey => (205, "Duplicate key identifier"),
            Condition::Application => (207, "Application internal error"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What kind.
    pub condition: Condition,
    /// Where, if it is in the message.
    pub location: Option<Location>,
    /// What is wrong, for people: no value of the message.
    pub text: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl Trouble {
    /// Without a place.
    pub fn new(condition: Condition, text: impl Into<String>, hint: impl Into<String>) -> Trouble {
        Trouble { condition, location: None, text: text.into(), hint: hint.into() }
    }

    /// At a field of the message.
    #[must_use]
    pub fn at(self, location: Location) -> Trouble {
        Trouble { location: Some(location), ..self }
    }
}

/// What is wrong with MSH-15 and MSH-16: a code that table 0155 has not.
pub fn unknown_acknowledgement_type(head: &Head) -> Option<Trouble> {
    let asked = [(15, &head.accept_type), (16, &head.application_type)];
    let (field, _) = asked.into_iter().find(|(_, code)| When::of(code).is_none())?;
    let text = "the acknowledgement type is not one of table 0155";
    let trouble = Trouble::new(Condition::TableValue, text, "send AL, NE, ER or SU, or leave MSH-15 and MSH-16 empty");
    Some(trouble.at(Location::field("MSH", field)))
}

/// What came of a message.
#[derive(Clone, Debug)]
pub struct Acknowledgement {
    /// MSA-1.
    pub code: Code,
    /// What is wrong with it, or is to be known; none when it was accepted.
    pub troubles: Vec<Trouble>,
}

impl Acknowledgement {
    /// It was accepted.
    pub fn accept() -> Acknowledgement {
        Acknowledgement { code: Code::Accept, troubles: Vec::new() }
    }

    /// It was tried, and would have been accepted: AE, since nothing of it is on disk.
    pub fn tried() -> Acknowledgement {
        let text = "dry run: nothing was kept; it would have been accepted";
        let told = Trouble::new(Condition::Accepted, text, "send it without dry-run");
        Acknowledgement { code: Code::Error, troubles: vec![told] }
    }

    /// Whether nothing is wrong with the message.
    pub fn is_good(&self) -> bool {
        self.code == Code::Accept || self.troubles.iter().any(|trouble| trouble.condition == Condition::Accepted)
    }

    /// It is rejected for one thing.
    pub fn reject(trouble: Trouble) -> Acknowledgement {
        Acknowledgement { code: Code::Reject, troubles: vec![trouble] }
    }

    /// What a refusal that is not for now alone means for the message; `model` says where its record came from.
    pub fn of(refusal: &Refusal, model: &Model) -> Acknowledgement {
        let code = match refusal {
            Refusal::UnknownInterface { .. } | Refusal::UnknownSender => Code::Reject,
            Refusal::Intake(intake::Error::MediaType(_) | intake::Error::Hl7v2(_)) => Code::Reject,
            _ => Code::Error,
        };
        let errors = refusal.issues().into_iter().filter(Issue::is_error);
        let mut troubles: Vec<Trouble> = errors.map(|issue| trouble(refusal, issue, model)).collect();
        if let Refusal::Intake(intake::Error::Hl7v2(unreadable)) = refusal
            && let Some(first) = troubles.first_mut()
        {
            first.location = unreadable.location.clone();
        }
        Acknowledgement { code, troubles }
    }

    /// The ACKs that the message asks for, in the order in which they are sent: one in original mode, none to two in enhanced
    /// mode. `ours` are application and facility that answer, for a message that does not say whom it is for; `ids` are the
    /// ACKs' own: of an application acknowledgement, and of an accept acknowledgement.
    pub fn messages(&self, head: Option<&Head>, ours: (&str, &str), ids: [&str; 2], at: Instant) -> Vec<String> {
        let [id, commit_id] = ids;
        let Mode::Enhanced { accept, application } = Mode::of(head) else {
            return vec![self.message(head, ours, id, at)];
        };
        let is_stored = self.code == Code::Accept;
        let write = |code: (&str, &str), id: &str| self.written(head, code, ours, id, at);
        let commit = accept.is_met(is_stored).then(|| write((self.commit_code(), ""), commit_id));
        // What was not committed ends with that: the application never sees it.
        let is_over = !is_stored && commit.is_some();
        let asks_nothing = (self.code.code(), "|||NE|NE");
        let application = (!is_over && application.is_met(is_stored)).then(|| write(asks_nothing, id));
        commit.into_iter().chain(application).collect()
    }

    /// MSA-1 of an accept acknowledgement.
    fn commit_code(&self) -> &'static str {
        let is_of_head = |trouble: &Trouble| {
            let conditions =
                [Condition::MessageType, Condition::EventCode, Condition::ProcessingId, Condition::VersionId];
            conditions.contains(&trouble.condition)
        };
        match self.code {
            Code::Accept => "CA",
            Code::Error | Code::Reject if self.troubles.first().is_some_and(is_of_head) => "CR",
            Code::Error | Code::Reject => "CE",
        }
    }

    /// The ACK in original mode. `ours` are application and facility that answer, for a message that does not say whom it is for; `id` is
    /// the ACK's own id.
    fn message(&self, head: Option<&Head>, ours: (&str, &str), id: &str, at: Instant) -> String {
        self.written(head, (self.code.code(), ""), ours, id, at)
    }

    /// An ACK with this MSA-1; `asks` is what follows MSH-12, in the usual separators.
    fn written(
        &self,
        head: Option<&Head>,
        (code, asks): (&str, &str),
        ours: (&str, &str),
        id: &str,
        at: Instant,
    ) -> String {
        let out = Encoder::of(head);
        let mut ack = out.head(head, ours, id, at);
        ack.push_str(&asks.replace('|', &out.separator.to_string()));
        ack.push('\r');
        let control = head.map_or("", |head| head.control_id.as_str());
        let first = self.troubles.first().map_or(String::new(), |first| out.text(&first.text, 80));
        let s = out.separator;
        ack.push_str(&format!("MSA{s}{code}{s}{control}"));
        if !first.is_empty() {
            ack.push_str(&format!("{s}{first}"));
        }
        ack.push('\r');
        for trouble in self.troubles.iter().take(MOST_TROUBLES) {
            ack.push_str(&out.error(trouble, head));
        }
        ack
    }
}

fn trouble(refusal: &Refusal, issue: Issue, model: &Model) -> Trouble {
    // What is wrong with the Bundle is told at the field that it was made of.
    let is_of_message = !matches!(refusal, Refusal::Disclosure(_) | Refusal::Outbox(_));
    let path = issue.path.as_ref().filter(|_| is_of_message);
    let location = path.and_then(|path| Location::of(path, model));
    let condition = match (refusal, issue.code) {
        (Refusal::Outbox(outbox::Error::Conflict), _) => Condition::DuplicateKey,
        (Refusal::Intake(intake::Error::Hl7v2(unreadable)), _) if unreadable.location.is_some() => {
            Condition::TableValue
        }
        (Refusal::Intake(intake::Error::Hl7v2(_)), _) => Condition::SegmentSequence,
        (Refusal::Intake(_), IssueType::Required) => match &location {
            Some(location) if location.field == 0 => Condition::SegmentSequence,
            _ => Condition::RequiredField,
        },
        (Refusal::Intake(_), IssueType::Value | IssueType::Structure) => Condition::DataType,
        (Refusal::Intake(_), IssueType::CodeInvalid) => Condition::TableValue,
        (Refusal::Incomplete { .. }, _) if location.is_some() => Condition::RequiredField,
        _ => Condition::Application,
    };
    let place = issue.path.as_ref().filter(|path| location.is_none() && !path.as_str().is_empty());
    let text = match place {
        Some(path) => format!("{} (at {path})", issue.text),
        None => issue.text,
    };
    Trouble { condition, location, text, hint: issue.hint }
}

/// Writes with the separators of the message that is answered.
struct Encoder {
    separator: char,
    /// Component, repeat, escape, subcomponent.
    encoding: [char; 4],
}

impl Encoder {
    fn of(head: Option<&Head>) -> Encoder {
        let usual = Encoder { separator: '|', encoding: ['^', '~', '\\', '&'] };
        let Some(head) = head else { return usual };
        let mut letters = head.encoding.chars();
        let mut next = || letters.next().filter(char::is_ascii_punctuation);
        let (Some(one), Some(two), Some(three), Some(four)) = (next(), next(), next(), next()) else { return usual };
        let encoding = [one, two, three, four];
        let all = [head.separator, one, two, three, four];
        let distinct = all.iter().enumerate().all(|(at, letter)| !all[..at].contains(letter));
        if distinct { Encoder { separator: head.separator, encoding } } else { usual }
    }

    fn head(&self, head: Option<&Head>, (application, facility): (&str, &str), id: &str, at: Instant) -> String {
        let (s, c) = (self.separator, self.encoding[0]);
        let encoding: String = self.encoding.iter().collect();
        let field = |of: fn(&Head) -> &String, other: &str| {
            let own = head.map(of).map(String::as_str).filter(|own| !own.is_empty() && self.is_theirs(head));
            own.unwrap_or(other).to_owned()
        };
        let event = head.map_or("", |head| head.event.as_str());
        let kind = if event.is_empty() { "ACK".to_owned() } else { format!("ACK{c}{event}{c}ACK") };
        let (sender, sender_facility) =
            (field(|head| &head.receiving_application, application), field(|head| &head.receiving_facility, facility));
        let (to, to_facility) = (field(|head| &head.sending_application, ""), field(|head| &head.sending_facility, ""));
        let (processing, version) = (field(|head| &head.processing_id, "P"), field(|head| &head.version, "2.5.1"));
        let at = time_of(at);
        format!(
            "MSH{s}{encoding}{s}{sender}{s}{sender_facility}{s}{to}{s}{to_facility}{s}{at}{s}{s}{kind}{s}{id}{s}{processing}{s}{version}"
        )
    }

    /// Whether fields of the message are written with the same separators.
    fn is_theirs(&self, head: Option<&Head>) -> bool {
        head.is_some_and(|head| head.separator == self.separator)
    }

    /// ERR as v2.5 and later have it (location, code, severity, text), or as those before do.
    fn error(&self, trouble: &Trouble, head: Option<&Head>) -> String {
        let (s, [c, .., sub]) = (self.separator, self.encoding);
        let (code, words) = trouble.condition.coded();
        if head.is_some_and(|head| is_before_2_5(&head.version)) {
            let place = trouble
                .location
                .as_ref()
                .map_or(format!("{c}{c}"), |at| format!("{}{c}{}{c}{}", at.segment, at.sequence, number(at.field)));
            return format!("ERR{s}{place}{c}{code}{sub}{words}{sub}HL70357\r");
        }
        let place = trouble.location.as_ref().map_or(String::new(), |at| {
            let parts = [number(at.field), number(at.repeat), number(at.component), number(at.subcomponent)];
            let mut place = format!("{}{c}{}", at.segment, at.sequence);
            for part in parts.iter().take_while(|part| !part.is_empty()) {
                place.push(c);
                place.push_str(part);
            }
            place
        });
        let severity = if trouble.condition == Condition::Accepted { 'I' } else { 'E' };
        let (text, hint) = (self.text(&trouble.text, 250), self.text(&trouble.hint, 250));
        format!("ERR{s}{s}{place}{s}{code}{c}{words}{c}HL70357{s}{severity}{s}{s}{s}{text}{s}{hint}\r")
    }

    /// Text with what separates it escaped, and cut.
    fn text(&self, text: &str, longest: usize) -> String {
        let [component, repeat, escape, subcomponent] = self.encoding;
        let mut out = String::with_capacity(text.len());
        for letter in text.chars().take(longest) {
            let name = match letter {
                letter if letter == self.separator => 'F',
                letter if letter == component => 'S',
                letter if letter == repeat => 'R',
                letter if letter == escape => 'E',
                letter if letter == subcomponent => 'T',
                letter if letter.is_control() => {
                    out.push(' ');
                    continue;
                }
                letter => {
                    out.push(letter);
                    continue;
                }
            };
            out.extend([escape, name, escape]);
        }
        out
    }
}

fn number(number: impl Into<usize>) -> String {
    match number.into() {
        0 => String::new(),
        number => number.to_string(),
    }
}

fn is_before_2_5(version: &str) -> bool {
    matches!(version, "2.1" | "2.2" | "2.3" | "2.3.1" | "2.4")
}

/// `YYYYMMDDHHMMSS+0000`
fn time_of(at: Instant) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}+0000",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const AT: Instant = datetime!(2026-01-01 12:00:05 UTC);
    const OURS: (&str, &str) = ("WEIR", "DEMOP");

    fn head(version: &str) -> Head {
        let text = format!("MSH|^~\\&|PAS|DEMOP|GATE|DEMOT|20260101||ADT^A01^ADT_A01|42|P|{version}\r");
        Head::read(text.as_bytes()).expect("it is a head")
    }

    #[test]
    fn an_acceptance_is_msh_and_msa_addressed_back() {
        let ack = Acknowledgement::accept().message(Some(&head("2.5.1")), OURS, "id", AT);
        let expected = "MSH|^~\\&|GATE|DEMOT|PAS|DEMOP|20260101120005+0000||ACK^A01^ACK|id|P|2.5.1\rMSA|AA|42\r";
        assert_eq!(ack, expected);
    }

    #[test]
    fn troubles_are_err_segments_of_the_version_of_the_message() {
        let mut born = Location::field("PID", 7);
        born.repeat = 1;
        let trouble = Trouble::new(Condition::DataType, "no date | at all", "write one").at(born);
        let refused = Acknowledgement { code: Code::Error, troubles: vec![trouble] };
        let ack = refused.message(Some(&head("2.5.1")), OURS, "id", AT);
        assert!(ack.ends_with("MSA|AE|42|no date \\F\\ at all\rERR||PID^1^7^1|102^Data type error^HL70357|E|||no date \\F\\ at all|write one\r"), "{ack}");
        let old = refused.message(Some(&head("2.3")), OURS, "id", AT);
        assert!(old.ends_with("\rERR|PID^1^7^102&Data type error&HL70357\r"), "{old}");
    }

    #[test]
    fn what_is_no_message_is_rejected_in_the_usual_letters() {
        let rejected = Acknowledgement::reject(Trouble::new(Condition::SegmentSequence, "no MSH", ""));
        let ack = rejected.message(None, OURS, "id", AT);
        let expected = "MSH|^~\\&|WEIR|DEMOP|||20260101120005+0000||ACK|id|P|2.5.1\rMSA|AR||no MSH\rERR|||100^Segment sequence error^HL70357|E|||no MSH|\r";
        assert_eq!(ack, expected);
        let odd = Head::read(b"MSH|||||\r").expect("it is a head");
        assert!(rejected.message(Some(&odd), OURS, "id", AT).starts_with("MSH|^~\\&|WEIR|DEMOP|"));
    }

    /// Every pair of MSH-15 and MSH-16, for what was stored, what fits nowhere, and what is wrong with the head.
    #[test]
    fn a_message_gets_the_acknowledgements_that_it_asks_for() {
        let codes = |accept: &str, application: &str, came: &Acknowledgement| -> Vec<String> {
            let text = format!("MSH|^~\\&|PAS|DEMOP|GATE|DEMOT|2026||ADT^A01|42|P|2.5.1|||{accept}|{application}\r");
            let acks = came.messages(Head::read(text.as_bytes()).as_ref(), OURS, ["app", "commit"], AT);
            let code =
                |ack: &String| ack.split("\rMSA|").nth(1).and_then(|msa| msa.get(..2)).unwrap_or_default().to_owned();
            acks.iter().map(code).collect()
        };
        let refused =
            |condition| Acknowledgement { code: Code::Error, troubles: vec![Trouble::new(condition, "wrong", "")] };
        let (stored, unfit) = (Acknowledgement::accept(), refused(Condition::DataType));
        let unknown = Acknowledgement::reject(Trouble::new(Condition::EventCode, "unknown", ""));
        for (accept, application, good, bad, head) in [
            ("", "", "AA", "AE", "AR"),
            ("\"\"", "\"\"", "AA", "AE", "AR"),
            ("AL", "", "CA", "CE", "CR"),
            ("AL", "NE", "CA", "CE", "CR"),
            ("AL", "AL", "CA AA", "CE", "CR"),
            ("AL", "ER", "CA", "CE", "CR"),
            ("AL", "SU", "CA AA", "CE", "CR"),
            ("ER", "AL", "AA", "CE", "CR"),
            ("SU", "ER", "CA", "AE", "AR"),
            ("SU", "NE", "CA", "", ""),
            ("NE", "AL", "AA", "AE", "AR"),
            ("", "AL", "AA", "AE", "AR"),
            ("NE", "ER", "", "AE", "AR"),
            ("NE", "SU", "AA", "", ""),
            ("NE", "NE", "", "", ""),
            ("XX", "AL", "CA AA", "CE", "CR"),
        ] {
            let said = [&stored, &unfit, &unknown].map(|came| codes(accept, application, came).join(" "));
            assert_eq!(said, [good, bad, head], "MSH-15 {accept}, MSH-16 {application}");
        }
        let head = Head::read(b"MSH|^~\\&|PAS|DEMOP|GATE|DEMOT|2026||ADT^A01|42|P|2.5.1|||AL|AL\r");
        let acks = stored.messages(head.as_ref(), OURS, ["app", "commit"], AT);
        let from = "MSH|^~\\&|GATE|DEMOT|PAS|DEMOP|20260101120005+0000||ACK^A01^ACK";
        assert_eq!(
            acks,
            [format!("{from}|commit|P|2.5.1\rMSA|CA|42\r"), format!("{from}|app|P|2.5.1|||NE|NE\rMSA|AA|42\r"),]
        );
    }

    #[test]
    fn other_separators_are_answered_with() {
        let odd = Head::read(b"MSH!%*?+!PAS!DEMOP!!!2026!!ADT%A01!4!P!2.5\r").expect("it is a head");
        let trouble = Trouble::new(Condition::EventCode, "a!b%c", "");
        let ack = Acknowledgement::reject(trouble).message(Some(&odd), OURS, "id", AT);
        assert!(ack.starts_with("MSH!%*?+!WEIR!DEMOP!PAS!DEMOP!") && ack.contains("MSA!AR!4!a?F?b?S?c\r"), "{ack}");
    }
}
