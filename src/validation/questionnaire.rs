//! QuestionnaireResponses against their Questionnaires: which questions are there, in which order and how often, and
//! whether their answers are of the type, the options and within the bounds that the Questionnaire sets (R4
//! QuestionnaireResponse, and the extensions that HL7 defines for Questionnaire items).
//!
//! Enters: a response whose base rules are checked by the walk. A Questionnaire that is not loaded is said, as a
//! warning; an answer that is missing from a response in progress is a warning too.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::bounds::{Typed, choice, compare};
use super::terminology::Membership;
use super::walk::{Scope, Walk};
use crate::fhir::definitions::without_version;
use crate::fhir::outcome::{IssueType, Severity};
use crate::fhir::r4::schema;
use crate::fhir::snapshot::R4;
use crate::fhir::{Node, keys};

/// Those of Structured Data Capture start so.
const SDC: &str = "http://hl7.org/fhir/uv/sdc/StructureDefinition/";

/// A response beside its Questionnaire.
struct Form<'a> {
    questionnaire: Node<'a>,
    response: Node<'a>,
    /// How bad a missing answer is.
    missing: Severity,
}

/// The rule of an issue.
const RULE: &str = "r4-questionnaire";

impl<'a> Walk<'a> {
    /// Checks a response against the Questionnaire it names.
    pub(super) fn questionnaire_response(&mut self, response: Node<'a>, scope: &Scope<'a>) {
        let Some(canonical) = response.member("questionnaire") else { return };
        let Some(url) = canonical.text() else { return };
        if self.validator.terminology.is_value_set(&url) {
            let text = "the canonical URL is that of a value set: a Questionnaire expected";
            self.error(IssueType::Invalid, canonical, RULE, text, "name the Questionnaire");
            return;
        }
        let Some(questionnaire) = self.questionnaire(&url, scope) else {
            let text = "the Questionnaire is not loaded, and the answers not checked against it";
            let hint = "load the Questionnaire";
            self.report(Severity::Warning, IssueType::NotFound, canonical, "not-checked", text, hint);
            return;
        };
        let status = response.member("status").and_then(Node::text);
        let is_open = status.as_deref() == Some("in-progress");
        let missing = if is_open { Severity::Warning } else { Severity::Error };
        self.items(&Form { questionnaire, response, missing }, questionnaire, response);
    }

    fn questionnaire(&self, url: &str, scope: &Scope<'a>) -> Option<Node<'a>> {
        if let Some(id) = url.strip_prefix('#') {
            let mut contained = scope.root.items_of("contained");
            return contained.find(|each| each.text_of("id").is_some_and(|own| own == id));
        }
        self.validator.questionnaires.get(without_version(url)).map(|document| document.root())
    }

    /// Checks the items in `given` (the response, an item or an answer) against those in `asked`.
    fn items(&mut self, form: &Form<'a>, asked: Node<'a>, given: Node<'a>) {
        let questions: Vec<Node<'a>> = asked.items_of("item").collect();
        let mut last = 0;
        for item in given.items_of("item") {
            let Some(id) = item.text_of("linkId") else { continue };
            match questions.iter().position(|question| question.text_of("linkId") == Some(id.clone())) {
                Some(place) if place < last => {
                    let text = "the items do not stand in the order of the Questionnaire";
                    self.error(IssueType::Structure, item, RULE, text, "put them in its order");
                }
                Some(place) => last = place,
                None => self.stray(form, item, &id),
            }
        }
        for question in questions {
            let Some(id) = question.text_of("linkId") else { continue };
            let own = |item: &Node<'a>| item.text_of("linkId").is_some_and(|own| own == id);
            let items: Vec<Node<'a>> = given.items_of("item").filter(own).collect();
            self.question(form, question, given, &items);
        }
    }

    fn stray(&mut self, form: &Form<'a>, item: Node<'a>, id: &str) {
        let (code, text) = if find(form.questionnaire, id).is_some() {
            (IssueType::Structure, "the item stands at another place than its question in the Questionnaire")
        } else {
            (IssueType::NotFound, "the Questionnaire has no item with this linkId")
        };
        self.error(code, item, RULE, text, "use the items of the Questionnaire, nested as they are there");
    }

    /// Checks all items that answer one question.
    fn question(&mut self, form: &Form<'a>, question: Node<'a>, parent: Node<'a>, items: &[Node<'a>]) {
        let kind = question.text_of("type").unwrap_or_default();
        let flag = |name: &str| question.member(name).and_then(Node::boolean).unwrap_or(false);
        if !is_enabled(form, question) {
            for item in items.iter().filter(|item| item.member("answer").is_some() || item.member("item").is_some()) {
                let text = "the item has answers, and its question is not enabled";
                self.error(IssueType::Invariant, *item, RULE, text, "leave the item out");
            }
            return;
        }
        if items.is_empty() && flag("required") && kind != "display" {
            let shown = question.text_of("linkId").unwrap_or_default();
            let text = format!("the required item {shown} has no answer");
            self.report(form.missing, IssueType::Required, parent, RULE, text, "answer it");
        }
        if items.len() > 1 && !flag("repeats") {
            let text = "the item stands several times, and its question does not repeat";
            self.error(IssueType::Structure, items[1], RULE, text, "keep one of them");
        }
        for item in items {
            match &*kind {
                "group" | "display" | "question" => self.group(form, question, *item, &kind, flag("required")),
                _ => self.answers(form, question, *item, &kind, flag("required")),
            }
        }
    }

    fn group(&mut self, form: &Form<'a>, question: Node<'a>, item: Node<'a>, kind: &str, is_required: bool) {
        if item.member("answer").is_some() {
            let text = format!("an item of type {kind} has no answers");
            self.error(IssueType::Structure, item, RULE, text, "remove the answers");
        }
        if kind == "group" && is_required && item.member("item").is_none() {
            let text = "the required group has no items";
            self.report(form.missing, IssueType::Required, item, RULE, text, "answer its questions");
        }
        self.items(form, question, item);
    }

    fn answers(&mut self, form: &Form<'a>, question: Node<'a>, item: Node<'a>, kind: &str, is_required: bool) {
        let answers: Vec<Node<'a>> = item.items_of("answer").collect();
        if is_required && answers.is_empty() {
            self.report(form.missing, IssueType::Required, item, RULE, "the required item has no answer", "answer it");
        }
        let repeats = question.member("repeats").and_then(Node::boolean).unwrap_or(false);
        let most = number(question, R4, "questionnaire-maxOccurs");
        if answers.len() > 1 && !repeats && most.is_none() {
            let text = "several answers stand here, and the question does not repeat";
            self.error(IssueType::Structure, item, RULE, text, "keep one of them");
        }
        let least = number(question, R4, "questionnaire-minOccurs").unwrap_or(0);
        if answers.len() < least || most.is_some_and(|most| answers.len() > most) {
            let most = most.map_or("any number".to_owned(), |most| most.to_string());
            let text = format!("{} answers stand here: {least} to {most} expected", answers.len());
            self.error(IssueType::Structure, item, RULE, text, "give as many answers as the question asks for");
        }
        for answer in &answers {
            if let Some(value) = choice(*answer, "value") {
                self.answer(question, *answer, value, kind, answers.len());
            }
            self.items(form, question, *answer);
        }
        if answers.is_empty() && item.member("item").is_some() {
            let text = "the items of a question stand below its answer";
            self.error(IssueType::Structure, item, RULE, text, "move them into the answer");
        }
    }

    /// Checks one answer's value.
    fn answer(&mut self, question: Node<'a>, answer: Node<'a>, value: Typed<'a>, kind: &str, answers: usize) {
        let options: Vec<(Node<'a>, Typed<'a>)> =
            question.items_of("answerOption").filter_map(|option| Some((option, choice(option, "value")?))).collect();
        if !self.answer_type(value, kind, &options) {
            return;
        }
        self.options(answer, value, kind, &options, answers);
        self.option_set(question, answer, value, kind);
        self.bounded(question, value);
        match value.1 {
            "string" => self.answer_text(question, value.0),
            "decimal" => self.answer_places(question, value.0),
            "Attachment" => self.answer_attachment(question, answer, value.0),
            "Quantity" => self.answer_unit(question, value.0),
            "Reference" => self.answer_reference(question, value.0),
            _ => {}
        }
    }

    fn answer_type(&mut self, value: Typed<'a>, kind: &str, options: &[(Node<'a>, Typed<'a>)]) -> bool {
        let expected: &[&str] = match kind {
            "text" => &["string"],
            "url" => &["uri"],
            "choice" if options.is_empty() => &["Coding", "string"],
            "choice" => &["Coding", "string", "integer", "date", "time", "Reference"],
            "open-choice" => &["Coding", "string"],
            "attachment" => &["Attachment"],
            "reference" => &["Reference"],
            "quantity" => &["Quantity"],
            other => &[other],
        };
        let fits = expected.contains(&value.1);
        if !fits {
            let text = format!("the answer is a {}: {} expected", value.1, expected.join(" or "));
            self.error(IssueType::Value, value.0, RULE, text, "answer with the type of the question");
        }
        fits
    }

    fn options(
        &mut self,
        answer: Node<'a>,
        value: Typed<'a>,
        kind: &str,
        options: &[(Node<'a>, Typed<'a>)],
        answers: usize,
    ) {
        if options.is_empty() || (kind == "open-choice" && value.1 == "string") {
            return;
        }
        let Some((option, _)) = options.iter().find(|(_, option)| is_option(value, *option)) else {
            let text = "the answer is none of the options of the question";
            self.error(IssueType::Invariant, value.0, RULE, text, "use one of its options");
            return;
        };
        let exclusive = extension(*option, R4, "questionnaire-optionExclusive");
        if answers > 1 && exclusive.and_then(|(value, _)| value.boolean()) == Some(true) {
            let text = "the option excludes all others, and there are other answers";
            self.error(IssueType::Invariant, answer, RULE, text, "leave the others out");
        }
    }

    /// The value set that the question draws its answers from.
    fn option_set(&mut self, question: Node<'a>, answer: Node<'a>, value: Typed<'a>, kind: &str) {
        let Some(url) = question.text_of("answerValueSet") else { return };
        let (system, code) = match value.1 {
            "Coding" => (value.0.text_of("system"), value.0.text_of("code")),
            "string" if kind == "string" => (None, value.0.text()),
            _ => return,
        };
        let Some(code) = code else { return };
        let validator = self.validator;
        match validator.terminology.membership_of(&url, system.as_deref(), &code) {
            Membership::In => {}
            Membership::Unlisted => self.note_unlisted(url, value.0),
            Membership::Out => {
                let text = "the answer is no code of the value set of the question";
                self.error(IssueType::CodeInvalid, answer, RULE, text, "use a code of the value set");
            }
        }
    }

    fn bounded(&mut self, question: Node<'a>, value: Typed<'a>) {
        let bounds = [
            (extension(question, R4, "minValue"), Ordering::Less, "less than the least"),
            (extension(question, SDC, "sdc-questionnaire-minQuantity"), Ordering::Less, "less than the least"),
            (extension(question, R4, "maxValue"), Ordering::Greater, "more than the most"),
            (extension(question, SDC, "sdc-questionnaire-maxQuantity"), Ordering::Greater, "more than the most"),
        ];
        for (bound, wrong, what) in bounds {
            let Some(bound) = bound else { continue };
            let how = compare(value, bound);
            if how == Some(wrong) {
                let text = format!("the answer is {what} that the question allows");
                self.error(IssueType::Invariant, value.0, RULE, text, "check the value");
            } else if value.1 == "Quantity" && (how.is_none() || value.0.text_of("code").is_none()) {
                let text = "the answer cannot be compared with the bound of the question: their units differ";
                self.error(IssueType::Invariant, value.0, RULE, text, "use a unit that converts to that of the bound");
            }
        }
    }

    fn answer_text(&mut self, question: Node<'a>, value: Node<'a>) {
        let length = value.text().unwrap_or_default().chars().count();
        let least = number(question, R4, "minLength");
        let most = question.member("maxLength").and_then(|most| most.raw().parse::<usize>().ok());
        if least.is_some_and(|least| length < least) || most.is_some_and(|most| length > most) {
            let text = "the answer is shorter or longer than the question allows";
            self.error(IssueType::Invariant, value, RULE, text, "check its length");
        }
        let pattern = extension(question, R4, "regex").and_then(|(pattern, _)| pattern.text());
        let Some(pattern) = pattern else { return };
        match regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(1 << 20).build() {
            Ok(pattern) if pattern.is_match(&value.text().unwrap_or_default()) => {}
            Ok(_) => {
                let text = "the answer is not written as the question asks for";
                self.error(IssueType::Invariant, value, RULE, text, "see the entry format of the question");
            }
            Err(_) => {
                let text = "the pattern of the question cannot be run, and the answer is not checked against it";
                self.report(Severity::Information, IssueType::NotSupported, value, "not-checked", text, "");
            }
        }
    }

    fn answer_places(&mut self, question: Node<'a>, value: Node<'a>) {
        let places = value.raw().split_once('.').map_or(0, |(_, places)| places.len());
        if number(question, R4, "maxDecimalPlaces").is_some_and(|most| places > most) {
            let text = "the answer has more decimal places than the question allows";
            self.error(IssueType::Invariant, value, RULE, text, "round it");
        }
    }

    fn answer_attachment(&mut self, question: Node<'a>, answer: Node<'a>, value: Node<'a>) {
        let kinds: Vec<Cow<'a, str>> =
            extensions(question, R4, "mimeType").filter_map(|(kind, _)| kind.text()).collect();
        let own = value.text_of("contentType");
        if !kinds.is_empty() && own.is_some_and(|own| !kinds.contains(&own)) {
            let text = format!("the attachment is of another media type: {} expected", kinds.join(" or "));
            self.error(IssueType::Value, answer, RULE, text, "attach a file of that type");
        }
        let size = value.text_of("data").map_or_else(
            || value.member("size").and_then(|size| size.raw().parse().ok()).unwrap_or_default(),
            |data| decoded_length(&data),
        );
        if number(question, R4, "maxSize").is_some_and(|most| size > most) {
            self.error(IssueType::TooLong, answer, RULE, "the attachment is too large", "attach a smaller file");
        }
    }

    fn answer_unit(&mut self, question: Node<'a>, value: Node<'a>) {
        let system = value.text_of("system");
        let code = value.text_of("code");
        let options: Vec<Node<'a>> =
            extensions(question, R4, "questionnaire-unitOption").map(|(option, _)| option).collect();
        let is_same = |option: &&Node<'a>| option.text_of("system") == system && option.text_of("code") == code;
        if !options.is_empty() && !options.iter().any(|option| is_same(&option)) {
            let text = "the unit is none of those that the question allows";
            self.error(IssueType::Invariant, value, RULE, text, "use one of its units");
        }
        let Some((set, _)) = extension(question, R4, "questionnaire-unitValueSet") else { return };
        let Some(url) = set.text() else { return };
        let verdict = match &code {
            Some(code) => self.validator.terminology.membership_of(&url, system.as_deref(), code),
            None => Membership::Out,
        };
        match verdict {
            Membership::In => {}
            Membership::Unlisted => self.note_unlisted(url, value),
            Membership::Out => {
                let text = "the unit is not in the value set of units that the question names";
                self.error(IssueType::Invariant, value, RULE, text, "use a unit of the value set");
            }
        }
    }

    fn answer_reference(&mut self, question: Node<'a>, value: Node<'a>) {
        let Some(reference) = value.text_of("reference").filter(|reference| !reference.starts_with('#')) else {
            return;
        };
        let mut steps = reference.split("/_history/").next().unwrap_or_default().rsplit('/').skip(1);
        let Some(name) = steps.next().filter(|_| !reference.starts_with("urn:")) else { return };
        let allowed: Vec<Cow<'a, str>> =
            extensions(question, R4, "questionnaire-referenceResource").filter_map(|(name, _)| name.text()).collect();
        let is_known = schema().resource(name).is_some();
        if !is_known || (!allowed.is_empty() && !allowed.iter().any(|allowed| allowed == name)) {
            let text = match allowed.as_slice() {
                [] => "the answer refers to no resource type of R4".to_owned(),
                allowed => format!("the answer refers to another resource type: {} expected", allowed.join(" or ")),
            };
            self.error(IssueType::Invariant, value, RULE, text, "refer to a resource of the right type");
        }
    }
}

/// How many bytes base64 text stands for.
pub(super) fn decoded_length(data: &str) -> usize {
    let significant = data.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=').count();
    significant * 3 / 4
}

/// The item of the Questionnaire with this linkId.
fn find<'a>(questionnaire: Node<'a>, id: &str) -> Option<Node<'a>> {
    let mut rest: Vec<Node<'a>> = questionnaire.items_of("item").collect();
    while let Some(item) = rest.pop() {
        if item.text_of("linkId").is_some_and(|own| own == id) {
            return Some(item);
        }
        rest.extend(item.items_of("item"));
    }
    None
}

/// The values of an item's extensions with this URL.
fn extensions<'a>(item: Node<'a>, base: &'static str, name: &'static str) -> impl Iterator<Item = Typed<'a>> {
    let of_url = move |each: &Node<'a>| {
        each.child(keys().url).and_then(Node::text).is_some_and(|url| url.strip_prefix(base) == Some(name))
    };
    item.items_of("extension").filter(of_url).filter_map(|each| choice(each, "value"))
}

fn extension<'a>(item: Node<'a>, base: &'static str, name: &'static str) -> Option<Typed<'a>> {
    extensions(item, base, name).next()
}

fn number(item: Node<'_>, base: &'static str, name: &'static str) -> Option<usize> {
    extension(item, base, name)?.0.raw().parse().ok()
}

/// Whether an answer is the option: codings by system and code, references by what they lead to, others by value.
fn is_option(value: Typed<'_>, option: Typed<'_>) -> bool {
    match (value.1, option.1) {
        ("Coding", "Coding") => {
            value.0.text_of("system") == option.0.text_of("system")
                && value.0.text_of("code") == option.0.text_of("code")
        }
        ("Reference", "Reference") => value.0.text_of("reference") == option.0.text_of("reference"),
        (own, other) => own == other && value.0.scalar() == option.0.scalar(),
    }
}

/// Whether the conditions under which the question is asked hold.
fn is_enabled(form: &Form<'_>, question: Node<'_>) -> bool {
    let mut conditions = question.items_of("enableWhen").peekable();
    if conditions.peek().is_none() {
        return true;
    }
    let holds = |condition| holds(form, condition);
    if question.text_of("enableBehavior").as_deref() == Some("any") {
        conditions.any(holds)
    } else {
        conditions.all(holds)
    }
}

fn holds(form: &Form<'_>, condition: Node<'_>) -> bool {
    let Some(wanted) = condition.text_of("question") else { return true };
    let answers = answers_to(form.response, &wanted);
    let Some(expected) = choice(condition, "answer") else { return true };
    let operator = condition.text_of("operator").unwrap_or_default();
    if operator == "exists" {
        return expected.0.boolean() == Some(!answers.is_empty());
    }
    answers.iter().any(|answer| match &*operator {
        "=" => is_option(*answer, expected) || compare(*answer, expected) == Some(Ordering::Equal),
        "!=" => !is_option(*answer, expected),
        ">" => compare(*answer, expected) == Some(Ordering::Greater),
        "<" => compare(*answer, expected) == Some(Ordering::Less),
        ">=" => matches!(compare(*answer, expected), Some(Ordering::Greater | Ordering::Equal)),
        "<=" => matches!(compare(*answer, expected), Some(Ordering::Less | Ordering::Equal)),
        _ => true,
    })
}

/// All answers to a question, wherever its items stand.
fn answers_to<'a>(response: Node<'a>, id: &str) -> Vec<Typed<'a>> {
    let mut rest: Vec<Node<'a>> = response.items_of("item").collect();
    let mut found = Vec::new();
    while let Some(item) = rest.pop() {
        if item.text_of("linkId").is_some_and(|own| own == id) {
            found.extend(item.items_of("answer").filter_map(|answer| choice(answer, "value")));
        }
        rest.extend(item.items_of("item"));
        rest.extend(item.items_of("answer").flat_map(|answer| answer.items_of("item")));
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::fhir::snapshot::R4;
    use crate::fhir::{Document, Limits};
    use crate::validation::Validator;

    fn parse(json: &str) -> Document {
        Document::parse(json, &Limits::default()).expect("the test's document is JSON")
    }

    /// `path severity` of each issue of a response to a Questionnaire with these items.
    fn check(questions: &str, status: &str, items: &str) -> String {
        let questionnaire =
            format!(r#"{{"resourceType":"Questionnaire","url":"https://x/q","status":"active","item":[{questions}]}}"#);
        let response = format!(
            r#"{{"resourceType":"QuestionnaireResponse","questionnaire":"https://x/q|1","status":"{status}","item":[{items}]}}"#
        );
        let validator = Validator::compile(&[parse(&questionnaire)]).expect("nothing to compile");
        let mut issues = validator.check_document(&parse(&response), None);
        issues.retain(|issue| issue.rule != "dom-6");
        let line = |issue: &crate::fhir::outcome::Issue| {
            let path = issue.path.as_ref().map(crate::fhir::ElementPath::spelled).unwrap_or_default();
            format!("{} {}", path.trim_start_matches("QuestionnaireResponse."), issue.severity.code())
        };
        issues.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn items_are_those_of_the_questionnaire() {
        let questions = r#"{"linkId":"g","type":"group","item":[{"linkId":"a","type":"string","required":true},{"linkId":"b","type":"boolean"}]}"#;
        let group = |items: &str| format!(r#"{{"linkId":"g","item":[{items}]}}"#);
        let a = r#"{"linkId":"a","answer":[{"valueString":"x"}]}"#;
        let b = r#"{"linkId":"b","answer":[{"valueBoolean":true}]}"#;
        assert_eq!(check(questions, "completed", &group(&format!("{a},{b}"))), "");
        assert_eq!(check(questions, "completed", &group(&format!("{b},{a}"))), "item[0].item[1] error");
        assert_eq!(check(questions, "completed", &group(b)), "item[0] error");
        assert_eq!(check(questions, "in-progress", &group(b)), "item[0] warning");
        let other = r#"{"linkId":"c","answer":[{"valueString":"x"}]}"#;
        assert_eq!(check(questions, "completed", &format!("{},{other}", group(a))), "item[1] error");
        assert_eq!(check(questions, "completed", &format!("{},{b}", group(a))), "item[1] error");
        let twice = r#"{"linkId":"a","answer":[{"valueString":"x"},{"valueString":"y"}]}"#;
        assert_eq!(check(questions, "completed", &group(twice)), "item[0].item[0] error");
    }

    #[test]
    fn answers_keep_to_type_options_and_bounds() {
        let answer = |value: &str| format!(r#"{{"linkId":"a","answer":[{{{value}}}]}}"#);
        let question = |rest: &str| format!(r#"{{"linkId":"a",{rest}}}"#);
        let at = |name: &str| format!("item[0].answer[0].{name} error");
        let date =
            question(&format!(r#""type":"date","extension":[{{"url":"{R4}minValue","valueDate":"2020-01-01"}}]"#));
        assert_eq!(check(&date, "completed", &answer(r#""valueDate":"2020-01-01""#)), "");
        assert_eq!(check(&date, "completed", &answer(r#""valueDate":"2019-12-31""#)), at("valueDate"));
        assert_eq!(check(&date, "completed", &answer(r#""valueString":"x""#)), at("valueString"));
        let choice = question(r#""type":"choice","answerOption":[{"valueCoding":{"system":"https://s","code":"1"}}]"#);
        assert_eq!(
            check(&choice, "completed", &answer(r#""valueCoding":{"system":"https://s","code":"2"}"#)),
            at("valueCoding") + "; item[0].answer[0].valueCoding information"
        );
        let text = question(&format!(
            r#""type":"string","maxLength":4,"extension":[{{"url":"{R4}regex","valueString":"[a-z]+"}}]"#
        ));
        assert_eq!(check(&text, "completed", &answer(r#""valueString":"abcd""#)), "");
        assert_eq!(check(&text, "completed", &answer(r#""valueString":"abcde""#)), at("valueString"));
        assert_eq!(check(&text, "completed", &answer(r#""valueString":"a1""#)), at("valueString"));
        let set = question(r#""type":"choice","answerValueSet":"http://hl7.org/fhir/ValueSet/administrative-gender""#);
        let coding = |code: &str| {
            answer(&format!(
                r#""valueCoding":{{"system":"http://hl7.org/fhir/administrative-gender","code":"{code}"}}"#
            ))
        };
        assert_eq!(check(&set, "completed", &coding("male")), "");
        assert!(check(&set, "completed", &coding("man")).contains("item[0].answer[0] error"));
    }

    #[test]
    fn a_question_that_is_not_enabled_has_no_answer() {
        let questions = r#"{"linkId":"a","type":"boolean"},
            {"linkId":"b","type":"string","required":true,"enableWhen":[{"question":"a","operator":"=","answerBoolean":true}]}"#;
        let items = |a: &str, b: &str| format!(r#"{{"linkId":"a","answer":[{{"valueBoolean":{a}}}]}}{b}"#);
        let b = r#",{"linkId":"b","answer":[{"valueString":"x"}]}"#;
        assert_eq!(check(questions, "completed", &items("true", b)), "");
        assert_eq!(check(questions, "completed", &items("false", "")), "");
        assert_eq!(check(questions, "completed", &items("false", b)), "item[1] error");
        assert_eq!(check(questions, "completed", &items("true", "")), "QuestionnaireResponse error");
    }
}
