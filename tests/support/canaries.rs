//! Records in which every leaf that can carry one holds a canary, and the search for canaries in any bytes.
//!
//! Records are made from the interface's logical model, so a new field gets its canary by itself. A canary says which
//! case and which leaf it is. Strings carry `kanaryq7w9<case>z<leaf>q`; instants and dateTimes carry theirs in the fraction
//! of the second; NHS numbers, birth dates and postcodes are drawn from ranges in which nothing else lies. Codes and
//! booleans have too few values to carry any.

#![allow(unreachable_pub, reason = "a test includes it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::LazyLock;

use regex::bytes::Regex;
use serde_json::{Map, Value, json};

/// What begins a canary in a string: occurs in no word, code or key.
pub const MARK: &str = "kanaryq7w9";
/// What begins a canary in the fraction of a second.
const FRACTION: &str = "918273645";

/// A generator of numbers: the same seed gives the same records (xorshift64*).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % most
    }

    pub fn of(&mut self, hundred: usize) -> bool {
        self.below(100) < hundred
    }
}

/// One element of a logical model.
#[derive(Clone)]
struct Field {
    name: String,
    kind: String,
    codes: Vec<String>,
    is_required: bool,
    is_list: bool,
    fields: Vec<Field>,
}

/// A logical model, read from its StructureDefinition and the value sets that it binds.
pub struct Model {
    fields: Vec<Field>,
}

impl Model {
    /// `codes` gives the codes of a value set by its URL.
    pub fn of(definition: &Value, codes: &dyn Fn(&str) -> Vec<String>) -> Model {
        let elements = definition["differential"]["element"].as_array().expect("a model has elements");
        let root = elements[0]["path"].as_str().expect("an element has a path");
        Model { fields: fields(elements, root, codes) }
    }

    /// Every leaf that carries a canary, by its path in the record.
    pub fn carriers(&self) -> Vec<String> {
        fn walk(fields: &[Field], path: &str, found: &mut Vec<String>) {
            for field in fields {
                let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
                if !field.fields.is_empty() {
                    walk(&field.fields, &path, found);
                } else if carries(&field.kind) && fixed(&path).is_none() {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.fields, "", &mut found);
        found
    }
}

fn carries(kind: &str) -> bool {
    matches!(kind, "string" | "date" | "dateTime" | "instant")
}

fn fields(elements: &[Value], parent: &str, codes: &dyn Fn(&str) -> Vec<String>) -> Vec<Field> {
    let mut found = Vec::new();
    for element in elements {
        let path = element["path"].as_str().expect("an element has a path");
        let Some(name) = path.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.')) else { continue };
        if name.contains('.') {
            continue;
        }
        let set = element["binding"]["valueSet"].as_str().unwrap_or_default();
        found.push(Field {
            name: name.to_owned(),
            kind: element["type"][0]["code"].as_str().expect("an element has a type").to_owned(),
            codes: if set.is_empty() { Vec::new() } else { codes(set) },
            is_required: element["min"].as_u64() > Some(0),
            is_list: element["max"] == "*",
            fields: fields(elements, path, codes),
        });
    }
    found
}

/// Fields whose form leaves no room for a canary, or that say who sends to whom.
fn fixed(path: &str) -> Option<&'static str> {
    Some(match path {
        "provider.odsCode" | "consent.recipients" => "DEMOP",
        "recipient.odsCode" => "DEMOT",
        "recipient.serviceId" => "2000099991",
        "practitioner.sdsUserId" => "555000000101",
        "gpPractice.odsCode" => "DEMOG",
        _ => return None,
    })
}

/// A record, and where its canaries are.
pub struct Case {
    pub record: Value,
    /// Text to look for, and the path of its leaf in the record.
    pub canaries: BTreeMap<String, String>,
    pub recipient: &'static str,
    /// Whether the person refuses: it leaves by a decision or a statute only.
    pub refuses: bool,
}

/// Makes the records of a model.
pub struct Generator<'m> {
    model: &'m Model,
    /// Whom the records are for: ODS code and service.
    recipients: Vec<(&'static str, &'static str)>,
    chance: Chance,
    number: usize,
    leaf: usize,
    said: Said,
    canaries: BTreeMap<String, String>,
}

/// What the person said of sharing, and what was decided then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Yes,
    /// They refuse, and someone decided to share all the same, with every part of a decision.
    NoButDecided,
    /// They refuse; a decision lacks some part, or there is none.
    No,
}

impl<'m> Generator<'m> {
    /// The first recipient is that of most records.
    pub fn new(model: &'m Model, recipients: Vec<(&'static str, &'static str)>, seed: u64) -> Generator<'m> {
        let (chance, canaries) = (Chance::new(seed), BTreeMap::new());
        Generator { model, recipients, chance, number: 0, leaf: 0, said: Said::Yes, canaries }
    }

    /// The next record: number `number` of a run.
    pub fn case(&mut self, number: usize) -> Case {
        (self.number, self.leaf) = (number, 0);
        self.canaries.clear();
        self.said = match self.chance.below(100) {
            0..65 => Said::Yes,
            65..85 => Said::NoButDecided,
            _ => Said::No,
        };
        let model = self.model;
        let mut record = Value::Object(self.object(&model.fields, ""));
        let others = self.recipients.len() - 1;
        let which = if self.chance.of(60) || others == 0 { 0 } else { 1 + self.chance.below(others) };
        let (recipient, service) = self.recipients[which];
        record["recipient"]["odsCode"] = json!(recipient);
        record["recipient"]["serviceId"] = json!(service);
        self.consent(&mut record, recipient);
        self.sense(&mut record);
        Case { record, canaries: std::mem::take(&mut self.canaries), recipient, refuses: self.said != Said::Yes }
    }

    fn object(&mut self, fields: &[Field], path: &str) -> Map<String, Value> {
        let mut members = Map::new();
        for field in fields {
            let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
            let decided = self.said == Said::NoButDecided && path.starts_with("sharingDecision");
            let is_whole = decided || path.starts_with("consent.capacity.") || path.starts_with("capacity.");
            if !is_whole && !field.is_required && self.chance.of(20) {
                continue;
            }
            let value = if field.is_list {
                let count = 1 + self.chance.below(3);
                Value::Array((0..count).map(|_| self.value(field, &path)).collect())
            } else {
                self.value(field, &path)
            };
            members.insert(field.name.clone(), value);
        }
        members
    }

    fn value(&mut self, field: &Field, path: &str) -> Value {
        if !field.fields.is_empty() {
            return Value::Object(self.object(&field.fields, path));
        }
        if let Some(fixed) = fixed(path) {
            return json!(fixed);
        }
        if !field.codes.is_empty() {
            let index = self.chance.below(field.codes.len());
            return json!(field.codes[index]);
        }
        match (field.kind.as_str(), path) {
            ("boolean", _) => json!(self.chance.of(50)),
            ("code", _) => json!("394685004"),
            ("date", _) => {
                // From 1901 to 1979: see SHAPES.
                let day = self.spread() % 28_800;
                let date = time::Date::from_calendar_date(1901, time::Month::January, 1).expect("a date")
                    + time::Duration::days(i64::try_from(day).expect("it is small"));
                self.plant(date.to_string(), path)
            }
            ("dateTime" | "instant", _) => {
                let leaf = self.next_leaf();
                let number = self.number;
                // What must not have passed when the record arrives lies far ahead.
                let day = match path {
                    "consent.validUntil" => "2098-01-01",
                    "sharingDecision.reviewDue" => "2099-01-01",
                    "discharge.startedAt" => "2026-02-01",
                    _ => "2026-03-02",
                };
                self.plant_in(
                    &format!("{day}T13:{:02}:00.", leaf % 60),
                    &format!("{FRACTION}{number:07}{leaf:03}"),
                    "Z",
                    path,
                )
            }
            (_, path) if path.ends_with(".nhsNumber") => {
                let number = nhs_number(self.spread());
                self.plant(number, path)
            }
            (_, "person.postcode") => {
                let (number, letters) = (self.number, b"ABDEFGHJLNPQRSTUWXYZ");
                let letter = |index: usize| char::from(letters[index % letters.len()]);
                let inward = format!("{}{}{}", number % 10, letter(number / 10), letter(number / 200));
                self.plant(format!("ZZ99 {inward}"), path)
            }
            (_, "recordId" | "version" | "referral.id") => self.string("", "", path),
            _ => self.text(path),
        }
    }

    /// A text with its canary between characters that need an escape somewhere.
    fn text(&mut self, path: &str) -> Value {
        const AROUND: [(&str, &str); 8] = [
            ("", ""),
            ("Said: ", " tonight."),
            ("\"", "\""),
            ("<b>", "</b> & more"),
            ("é ", " ü"),
            ("back\\slash ", " /slash/"),
            ("two\nlines ", ""),
            ("https://example.org/?a=", "&b=%20"),
        ];
        let (before, after) = AROUND[self.chance.below(AROUND.len())];
        self.string(before, after, path)
    }

    fn string(&mut self, before: &str, after: &str, path: &str) -> Value {
        let leaf = self.next_leaf();
        self.plant_in(before, &format!("{MARK}{}z{leaf}q", self.number), after, path)
    }

    fn next_leaf(&mut self) -> usize {
        self.leaf += 1;
        self.leaf
    }

    /// A number for a leaf whose form has few values: those of one record differ.
    fn spread(&mut self) -> usize {
        self.number + 7_919 * self.next_leaf()
    }

    fn plant(&mut self, canary: String, path: &str) -> Value {
        self.plant_in("", &canary, "", path)
    }

    fn plant_in(&mut self, before: &str, canary: &str, after: &str, path: &str) -> Value {
        self.canaries.insert(canary.to_owned(), path.to_owned());
        json!(format!("{before}{canary}{after}"))
    }

    /// What belongs together in what the person said.
    fn consent(&mut self, record: &mut Value, recipient: &str) {
        let Some(consent) = record.get_mut("consent").and_then(Value::as_object_mut) else {
            self.said = Said::Yes;
            return;
        };
        let refuses = self.said != Said::Yes;
        consent.insert("status".to_owned(), json!(if refuses { "refused" } else { "given" }));
        if consent.contains_key("recipients") {
            consent.insert("recipients".to_owned(), json!([recipient]));
        }
        if let Some(capacity) = consent.get_mut("capacity") {
            capacity["assessed"] = json!(true);
            capacity["outcome"] = json!("has-capacity");
            capacity.as_object_mut().expect("an object").remove("unableTo");
        }
        if !refuses && self.chance.of(70) {
            record.as_object_mut().expect("an object").remove("sharingDecision");
        } else if let Some(decision) = record.get_mut("sharingDecision") {
            decision["purpose"] = json!("BTG");
            decision["basis"] = json!("safeguarding");
        }
        self.canaries.retain(|canary, _| stands_in(record, canary));
    }

    /// What the model's rules tie together.
    fn sense(&mut self, record: &mut Value) {
        let person = &mut record["person"];
        if person.get("nhsNumber").is_none() {
            person["nhsNumberStatus"] = json!("03");
            if person.get("localId").is_none() {
                person["localId"] = self.string("P-", "", "person.localId");
            }
        }
        // What is listed is not said to be none.
        for (code, field) in [
            ("allergies", "allergies"),
            ("medications", "medications"),
            ("access-to-means", "accessToMeans"),
            ("crisis-plan", "planSaysWorks"),
            ("reasonable-adjustments", "reasonableAdjustments"),
        ] {
            let is_listed = record.get(field).is_some();
            if let Some(Value::Array(none)) = record.get_mut("nilKnown") {
                none.retain(|said| !is_listed || said != code);
            }
        }
        if record["nilKnown"].as_array().is_some_and(Vec::is_empty) {
            record.as_object_mut().expect("an object").remove("nilKnown");
        }
        if let Some(time) = record.get_mut("timeSensitivity").filter(|time| time.get("respondBy").is_none()) {
            let leaf = self.next_leaf();
            let fraction = format!("{FRACTION}{:07}{leaf:03}", self.number);
            time["respondBy"] = self.plant_in("2026-03-02T18:05:00.", &fraction, "Z", "timeSensitivity.respondBy");
        }
        self.sense_of_safeguarding(record);
        // What has come to an end has done so on some day.
        if record.pointer("/outcome/on").is_none() && record.get("outcome").is_some() {
            record["outcome"]["code"] = json!("open");
        }
        self.canaries.retain(|canary, _| stands_in(record, canary));
    }

    /// What the rules of a safeguarding referral tie together.
    fn sense_of_safeguarding(&mut self, record: &mut Value) {
        if record.get("personAtRisk").is_some() && record.get("othersAtRisk").is_none() {
            record["personAtRisk"] = json!(true);
        }
        for (people, known_by) in [
            ("othersAtRisk", &["family", "given", "relationship"]),
            ("allegedSources", &["name", "relationship", "description"]),
        ] {
            for someone in record.get_mut(people).and_then(Value::as_array_mut).into_iter().flatten() {
                if known_by.iter().all(|field| someone.get(field).is_none()) {
                    someone["relationship"] = self.text(&format!("{people}.relationship"));
                }
            }
        }
        if record.pointer("/immediateSafety/inDanger") == Some(&json!("yes")) {
            record["timeSensitivity"]["priority"] = json!("1");
        }
        if let Some(capacity) = record.get_mut("capacity").filter(|capacity| capacity["assessed"] == false) {
            capacity.as_object_mut().expect("an object").remove("outcome");
        }
    }
}

fn stands_in(value: &Value, canary: &str) -> bool {
    match value {
        Value::String(text) => text.contains(canary),
        Value::Array(items) => items.iter().any(|item| stands_in(item, canary)),
        Value::Object(members) => members.values().any(|member| stands_in(member, canary)),
        _ => false,
    }
}

/// An NHS number of the 999 range, valid by its check digit; the next one when a number would have check digit 10.
fn nhs_number(number: usize) -> String {
    let mut digits = number % 900_000;
    loop {
        let nine = format!("999{digits:06}");
        let sum: usize =
            nine.bytes().zip((2..=10).rev()).map(|(digit, weight)| usize::from(digit - b'0') * weight).sum();
        match 11 - sum % 11 {
            10 => digits = (digits + 450_001) % 1_000_000,
            11 => return format!("{nine}0"),
            check => return format!("{nine}{check}"),
        }
    }
}

/// A piece of text in the ways that programs write it; what lies in a gzip stream is looked at as well.
fn spellings(text: &str) -> Vec<String> {
    let mut all = vec![regex::escape(text)];
    let hex = |separator: &str| {
        let mut spelled = String::new();
        for byte in text.bytes() {
            write!(spelled, "{separator}{byte:02x}").expect("a String takes it");
        }
        spelled
    };
    all.extend([hex(""), regex::escape(&hex("\\u00")), regex::escape(&hex("\\x")), hex("%")]);
    // Base64 at the three places where the text may begin; the characters that depend on neighbours are left out.
    use base64::Engine as _;
    for (before, skip) in [("", 0), ("\0", 2), ("\0\0", 3)] {
        let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(format!("{before}{text}"));
        let whole = (before.len() + text.len()) * 8 / 6;
        all.push(format!("(?-i:{})", regex::escape(&encoded[skip..whole])));
    }
    all
}

static MARKS: LazyLock<Regex> = LazyLock::new(|| {
    let all: Vec<String> = [MARK, FRACTION].iter().flat_map(|mark| spellings(mark)).collect();
    Regex::new(&format!("(?i-u){}", all.join("|"))).expect("it is a pattern")
});

static GZIP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?-u)\x1f\x8b\x08").expect("it is a pattern"));

/// Birth dates of the canaries' range, NHS numbers and postcodes as whole words, wherever text stands in clear.
static SHAPES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?-u)\b(19[0-7]\d-[01]\d-[0-3]\d|999\d{7}|ZZ99 ?\d[A-Z]{2})\b").expect("it is a pattern")
});

/// The canaries in bytes that should hold none: where they begin, and what stands there.
pub fn leaks(bytes: &[u8]) -> Vec<String> {
    leaks_within(bytes, 2)
}

fn leaks_within(bytes: &[u8], depth: u8) -> Vec<String> {
    let show =
        |at: usize| String::from_utf8_lossy(&bytes[at.saturating_sub(40)..(at + 60).min(bytes.len())]).into_owned();
    let mut found: Vec<String> = MARKS.find_iter(bytes).take(5).map(|hit| show(hit.start())).collect();
    found.extend(SHAPES.find_iter(bytes).take(5).map(|hit| show(hit.start())));
    if depth > 0 {
        for at in GZIP.find_iter(bytes).map(|hit| hit.start()) {
            let mut inside = Vec::new();
            // A stream that breaks off has given what it had.
            let _ = flate2::read::GzDecoder::new(&bytes[at..]).take(16 << 20).read_to_end(&mut inside);
            found.extend(leaks_within(&inside, depth - 1));
        }
    }
    found
}

/// Canaries as they were planted.
static PLANTED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = format!(r"(?-u){MARK}\d+z\d+q|{FRACTION}\d{{10}}");
    Regex::new(&pattern).expect("it is a pattern")
});

/// Every canary that stands in `text` as it was planted.
pub fn planted(text: &str) -> Vec<&str> {
    let text = text.as_bytes();
    let hits = PLANTED.find_iter(text).chain(SHAPES.find_iter(text));
    hits.map(|hit| std::str::from_utf8(hit.as_bytes()).expect("the patterns are ASCII")).collect()
}

/// How many canaries stand in `text` in another spelling than they were planted in.
pub fn respelled(text: &str) -> usize {
    let plain = |hit: &regex::bytes::Match<'_>| [MARK.as_bytes(), FRACTION.as_bytes()].contains(&hit.as_bytes());
    MARKS.find_iter(text.as_bytes()).filter(|hit| !plain(hit)).count()
}

#[test]
fn a_canary_is_found_in_whatever_spelling() {
    use base64::Engine as _;
    use std::io::Write as _;
    let canary = format!("x{MARK}12z3q");
    for lead in ["", "a", "ab", "abc"] {
        let text = format!("{lead}{canary} tail");
        let encoded = base64::engine::general_purpose::STANDARD.encode(&text);
        let url = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&text);
        let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
        let escaped: String = text.bytes().map(|byte| format!("\\u00{byte:02x}")).collect();
        let percent: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text.as_bytes()).expect("it is compressed");
        let gzip = gzip.finish().expect("it is compressed");
        let nested = [b"junk", &gzip[..], b"junk"].concat();
        let upper = text.to_uppercase();
        for bytes in [text.as_bytes(), encoded.as_bytes(), url.as_bytes(), hex.as_bytes(), escaped.as_bytes()] {
            assert!(!leaks(bytes).is_empty(), "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in [percent.as_bytes(), &nested, upper.as_bytes()] {
            assert!(!leaks(bytes).is_empty(), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!((respelled(&text), respelled(&encoded)), (0, 1));
    }
    for bytes in ["born 1953-04-17", "ZZ99 3CZ", "id=9990001014.", "T13:00:00.9182736450000001002Z"] {
        assert!(!leaks(bytes.as_bytes()).is_empty(), "{bytes}");
    }
    assert!(leaks(b"kanaryq 7w9 2026-03-02 a9990001014b 1853-04-17").is_empty());
}
