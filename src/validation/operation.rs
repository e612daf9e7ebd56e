//! The `$validate` operation (FHIR R4, resource-operation-validate.html): the bytes of a resource, to its issues.
//!
//! Enters: a body, JSON or XML, and what is asked of it; the body may be the resource or a Parameters that holds it.
//! Leaves: every issue, with places in the body where that is JSON. What cannot be asked is one issue in `Err`.

use super::{Telling, Validator};
use crate::fhir::outcome::{Issue, IssueType};
use crate::fhir::{Document, ElementPath, Limits, Node, Position};

/// How a resource is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `application/fhir+json`
    Json,
    /// `application/fhir+xml`
    Xml,
}

impl Syntax {
    /// What bytes look like: XML begins with `<`.
    pub fn of_bytes(bytes: &[u8]) -> Syntax {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'<') => Syntax::Xml,
            _ => Syntax::Json,
        }
    }

    /// Issues of a text that is written so. Of XML they have no line and column: those would be of the JSON that it
    /// became. Paths hold for both.
    pub fn placed(self, mut issues: Vec<Issue>) -> Vec<Issue> {
        if self == Syntax::Xml {
            issues.iter_mut().for_each(|issue| issue.position = None);
        }
        issues
    }

    /// What a Content-Type says; `None` if it is neither (FHIR R4 http.html#mime-type).
    pub fn of_media_type(content_type: &str) -> Option<Syntax> {
        match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/fhir+json" | "application/json" | "text/json" => Some(Syntax::Json),
            "application/fhir+xml" | "application/xml" | "text/xml" => Some(Syntax::Xml),
            _ => None,
        }
    }
}

/// Most profiles in one question, besides those that the resource claims.
const MOST_PROFILES: usize = 16;

/// What is asked.
#[derive(Debug)]
pub struct Question {
    /// The resource, or a Parameters with it.
    pub body: Vec<u8>,
    /// How it is written.
    pub syntax: Syntax,
    /// The type that the resource is said to be of, where the path says one.
    pub resource_type: Option<String>,
    /// Canonical URLs of profiles that it must fit, besides those it claims.
    pub profiles: Vec<String>,
    /// `create`, `update`, `delete`, `profile`.
    pub mode: Option<String>,
}

/// A resource, and what is wrong with how it is written that the tree does not show.
#[derive(Debug)]
pub struct Parsed {
    /// The resource.
    pub document: Document,
    /// In XML, elements out of order.
    pub issues: Vec<Issue>,
}

/// Parses a resource.
///
/// # Errors
/// The one issue that says why it cannot be read, with its place in the bytes.
pub fn parse(bytes: Vec<u8>, syntax: Syntax, limits: &Limits) -> Result<Parsed, Box<Issue>> {
    match syntax {
        Syntax::Json => parse_json(bytes, limits).map(|document| Parsed { document, issues: Vec::new() }),
        Syntax::Xml => parse_xml(bytes, limits),
    }
}

fn parse_json(bytes: Vec<u8>, limits: &Limits) -> Result<Document, Box<Issue>> {
    Document::parse(bytes, limits).map_err(|error| {
        let issue = Issue::error(IssueType::Structure, error.what.to_string());
        Box::new(issue.position(error.position).at(error.path.clone()).hint(error.hint()))
    })
}

#[cfg(feature = "xml")]
fn parse_xml(bytes: Vec<u8>, limits: &Limits) -> Result<Parsed, Box<Issue>> {
    use crate::fhir::xml::{Misplaced, from_xml, misplaced};
    let refuse = |text: String, hint: &str| Box::new(Issue::error(IssueType::Structure, text).hint(hint));
    let text =
        String::from_utf8(bytes).map_err(|_| refuse("the input is not UTF-8".to_owned(), "encode it as UTF-8"))?;
    let document = from_xml(&text, limits).map_err(|error| refuse(error.to_string(), error.hint()))?;
    let issue = |Misplaced { path, position, behind }| {
        let said = format!("the element stands behind {behind}, which it should stand before (R4 xml.html)");
        let issue = Issue::error(IssueType::Structure, said).at(path).rule("r4-xml-order").position(position);
        issue.hint("put the elements in the order of the definition")
    };
    Ok(Parsed { document, issues: misplaced(&text).into_iter().map(issue).collect() })
}

#[cfg(not(feature = "xml"))]
fn parse_xml(_bytes: Vec<u8>, _limits: &Limits) -> Result<Parsed, Box<Issue>> {
    let issue = Issue::error(IssueType::NotSupported, "this program was built without FHIR XML");
    Err(Box::new(issue.hint("give JSON, or build with the feature xml")))
}

impl Validator {
    /// Checks a resource against R4, the profiles that it claims and each of `profiles`: every issue once.
    pub fn check_against(&self, document: &Document, profiles: &[String]) -> Vec<Issue> {
        let mut issues: Vec<Issue> = Vec::new();
        for issue in self.check_with(document, profiles.iter().map(String::as_str), Telling::All).issues {
            if !issues.contains(&issue) {
                issues.push(issue);
            }
        }
        issues
    }

    /// Answers a `$validate`.
    ///
    /// # Errors
    /// One issue, when the question makes no sense: the body cannot be read, or a profile is not loaded.
    pub fn answer(&self, question: Question, limits: &Limits) -> Result<Vec<Issue>, Box<Issue>> {
        let Question { body, syntax, resource_type, mut profiles, mut mode } = question;
        let Parsed { document, issues: written } = parse(body, syntax, limits)?;
        let wrapped = subject(document.root());
        if let Some((_, parameters)) = wrapped {
            profiles.extend(values(parameters, "profile"));
            mode = mode.or_else(|| values(parameters, "mode").next());
        }
        self.can_answer(&profiles, mode.as_deref())?;
        let issues = match wrapped {
            None => {
                is_of_type(document.root(), resource_type.as_deref())?;
                self.check_against(&document, &profiles)
            }
            Some((resource, _)) => {
                is_of_type(resource, resource_type.as_deref())?;
                let alone = parse_json(resource.raw().as_bytes().to_vec(), limits)?;
                let mut issues = self.check_against(&alone, &profiles);
                let start = resource.position();
                issues.iter_mut().for_each(|issue| issue.position = issue.position.map(|place| behind(start, place)));
                issues
            }
        };
        let start = wrapped.map(|(resource, _)| resource.expression());
        let own =
            written.into_iter().filter_map(|issue| in_subject(issue, start.as_ref(), wrapped.map(|(each, _)| each)));
        Ok(own.chain(syntax.placed(issues)).collect())
    }

    fn can_answer(&self, profiles: &[String], mode: Option<&str>) -> Result<(), Box<Issue>> {
        if !matches!(mode, None | Some("create" | "update" | "profile")) {
            let issue = Issue::error(IssueType::NotSupported, "this mode of $validate is not supported");
            return Err(Box::new(issue.hint("leave mode out, or ask for create, update or profile")));
        }
        if profiles.len() > MOST_PROFILES {
            let text = format!("more than {MOST_PROFILES} profiles are asked for at once");
            return Err(Box::new(Issue::error(IssueType::TooCostly, text).hint("ask in several requests")));
        }
        match profiles.iter().find(|profile| !self.knows(profile)) {
            None => Ok(()),
            Some(profile) => {
                let issue = Issue::error(IssueType::NotFound, format!("the profile {profile} is not loaded"));
                Err(Box::new(issue.hint("check the canonical URL, or add the profile's package to the site")))
            }
        }
    }
}

/// The resource inside a Parameters that asks for its validation, and that Parameters.
fn subject(root: Node<'_>) -> Option<(Node<'_>, Node<'_>)> {
    let parameters = (root.resource_type() == Some("Parameters")).then_some(root)?;
    let mut rows = parameters.items_of("parameter").filter(|row| row.text_of("name").as_deref() == Some("resource"));
    Some((rows.find_map(|row| row.member("resource"))?, parameters))
}

/// An issue of the body as one of the resource that is asked about: `start` is where that stands. `None` for one about
/// what is around it.
fn in_subject(issue: Issue, start: Option<&ElementPath>, resource: Option<Node<'_>>) -> Option<Issue> {
    let (Some(start), Some(name)) = (start, resource.and_then(Node::resource_type)) else { return Some(issue) };
    let rest = issue.path.as_ref()?.as_str().strip_prefix(start.as_str()).filter(|rest| rest.starts_with('.'))?;
    let path = ElementPath::new(format!("{name}{rest}"));
    Some(issue.at(path))
}

/// The values of the parameters called `name`.
fn values<'a>(parameters: Node<'a>, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let rows = parameters.items_of("parameter").filter(move |row| row.text_of("name").as_deref() == Some(name));
    rows.filter_map(|row| {
        let value = row.children().find(|child| child.name().is_some_and(|name| name.starts_with("value")));
        value?.text().map(Into::into)
    })
}

fn is_of_type(resource: Node<'_>, asked: Option<&str>) -> Result<(), Box<Issue>> {
    if asked.is_none() || resource.resource_type() == asked {
        return Ok(());
    }
    let issue = Issue::error(IssueType::Invalid, "the resource is not of the type that the path names");
    Err(Box::new(issue.hint("post it to the path of its own type, or to /FHIR/R4/$validate")))
}

/// A place in a text that itself begins at `start`.
fn behind(start: Position, place: Position) -> Position {
    let column = if place.line == 1 { start.column + place.column - 1 } else { place.column };
    Position { line: start.line + place.line - 1, column }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| Validator::compile(&[]).expect("R4 compiles"));

    fn question(body: &str) -> Question {
        let (body, syntax) = (body.as_bytes().to_vec(), Syntax::of_bytes(body.as_bytes()));
        Question { body, syntax, resource_type: None, profiles: Vec::new(), mode: None }
    }

    /// Path, line and column of each error, or the text of the refusal.
    fn answer(question: Question) -> String {
        let row = |issue: &Issue| {
            let place = issue.position.map_or("-".to_owned(), |at| format!("{}:{}", at.line, at.column));
            format!("{} {place}", issue.path.as_ref().map_or("", |path| path.as_str()))
        };
        match VALIDATOR.answer(question, &Limits::default()) {
            Err(issue) => format!("refused: {}", issue.text),
            Ok(issues) => issues.iter().filter(|issue| issue.is_error()).map(row).collect::<Vec<_>>().join(", "),
        }
    }

    #[test]
    fn a_resource_is_answered_with_places_in_the_body() {
        let wrong = "{\"resourceType\":\"Patient\",\n\"birthDate\":\"1987-02-30\"}";
        assert_eq!(answer(question(wrong)), "Patient.birthDate 2:13");
        let wrapped = format!(
            "{{\"resourceType\":\"Parameters\",\"parameter\":[\n {{\"name\":\"resource\",\"resource\":{wrong}}}]}}"
        );
        assert_eq!(answer(question(&wrapped)), "Patient.birthDate 3:13");
        let one_line = wrapped.replace(",\n\"birth", ",\"birth");
        assert_eq!(answer(question(&one_line)), "Patient.birthDate 2:70");
    }

    #[test]
    fn what_is_not_json_has_a_path_from_its_resource() {
        let refused = |body: &str| {
            let issue = VALIDATOR.answer(question(body), &Limits::default()).expect_err("it cannot be read");
            issue.path.map(|path| path.to_string()).unwrap_or_default()
        };
        assert_eq!(refused(r#"{"resourceType":"Patient","name":[{"family":"A"},{"family":}]}"#), "Patient.name[1]");
        assert_eq!(refused(r#"{"resourceType":"Patient","active":true,"active":true}"#), "Patient");
        assert_eq!(refused(r#"{"name":[{"family":}],"resourceType":"Patient"}"#), "name[0]");
        assert_eq!(refused(r#"{"resourceType":"Other","name":[{"family":}]}"#), "name[0]");
        assert_eq!(refused(r#"{"resourceType":"#), "");
    }

    #[cfg(feature = "xml")]
    #[test]
    fn xml_has_its_elements_in_order() {
        let patient = "<Patient xmlns=\"http://hl7.org/fhir\"><active value=\"true\"/>\n<id value=\"a\"/></Patient>";
        assert_eq!(answer(question(patient)), "Patient.id 2:1");
        let bare = patient.replace(" xmlns=\"http://hl7.org/fhir\"", "");
        let wrapped = format!(
            "<Parameters xmlns=\"http://hl7.org/fhir\"><parameter><name value=\"resource\"/><resource>{bare}</resource></parameter></Parameters>"
        );
        assert_eq!(answer(question(&wrapped)), "Patient.id 2:1");
        let right = "<Patient xmlns=\"http://hl7.org/fhir\"><id value=\"a\"/><active value=\"true\"/></Patient>";
        assert_eq!(answer(question(right)), "");
    }

    #[test]
    fn profiles_come_with_the_question_or_in_parameters() {
        let quantity = "http://hl7.org/fhir/StructureDefinition/heartrate";
        let rate = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"}}"#;
        assert_eq!(answer(question(rate)), "");
        let asked = answer(Question { profiles: vec![quantity.to_owned()], ..question(rate) });
        assert!(asked.contains("Observation.category"), "{asked}");
        let body = format!(
            r#"{{"resourceType":"Parameters","parameter":[{{"name":"profile","valueUri":"{quantity}"}},{{"name":"resource","resource":{rate}}}]}}"#
        );
        assert!(answer(question(&body)).contains("Observation.category"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let patient = r#"{"resourceType":"Patient"}"#;
        let of_type = |name: &str| Question { resource_type: Some(name.to_owned()), ..question(patient) };
        assert_eq!(answer(of_type("Patient")), "");
        assert_eq!(answer(of_type("Person")), "refused: the resource is not of the type that the path names");
        let unknown = Question { profiles: vec!["https://x/none".to_owned()], ..question(patient) };
        assert_eq!(answer(unknown), "refused: the profile https://x/none is not loaded");
        let delete = Question { mode: Some("delete".to_owned()), ..question(patient) };
        assert_eq!(answer(delete), "refused: this mode of $validate is not supported");
        let many = Question { profiles: vec!["https://x/none".to_owned(); 17], ..question(patient) };
        assert_eq!(answer(many), "refused: more than 16 profiles are asked for at once");
        assert_eq!(answer(question("{")), "refused: the input ends inside a value");
    }

    #[cfg(feature = "xml")]
    #[test]
    fn xml_is_answered_with_paths_alone() {
        let wrong = r#"<Patient xmlns="http://hl7.org/fhir"><birthDate value="1987-06-99"/></Patient>"#;
        assert_eq!(answer(question(wrong)), "Patient.birthDate -");
    }
}
