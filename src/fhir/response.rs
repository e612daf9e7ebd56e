//! What a response message says besides ok or error: why it was refused, and what its receiver misses. In codes and
//! element paths alone: texts are left behind, and so is what is no known code or element, since a peer may quote a patient.

use super::bars::{is_error_code, is_issue_code};
use super::names::NameId;
use super::r4::schema;
use super::uk::{SNOMED_CT, is_nhs_number, is_snomed_id};
use super::{Document, Node};

/// Why a receiver does not take a message, in codes that an audit log may hold.
pub const REASONS: &str = "https://weir.example/fhir/CodeSystem/response-reason";

/// The codes of [`REASONS`], each with what it means.
pub const KNOWN_REASONS: [(&str, &str); 7] = [
    ("no-capacity", "the receiving team has no capacity"),
    ("outside-catchment", "the person is outside the area that the team serves"),
    ("not-eligible", "the person does not meet the team's criteria"),
    ("wrong-service", "another service is the right one"),
    ("already-known", "the team has this referral already"),
    ("information-missing", "the team cannot decide without more information"),
    ("unable-to-contact", "the team could not reach whom it has to"),
];

/// The most that is kept of each kind.
const MOST: usize = 32;

/// The system of the codes that say what a Task asks for (FHIR R4).
const TASK_CODES: &str = "http://hl7.org/fhir/CodeSystem/task-code";

/// One issue of an OperationOutcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether its severity is `error` or `fatal`.
    pub is_error: bool,
    /// Whether it says that something is missing: `required` or `incomplete`.
    pub is_missing: bool,
    /// The elements that it points to: `Patient.telecom`.
    pub paths: Vec<String>,
    /// Its codes besides the kind of issue.
    pub codes: Vec<String>,
}

/// What the receiving team decided, as far as the response says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It does not take the referral: a Task that is rejected or cancelled, a ServiceRequest that is revoked.
    Rejected,
    /// Nobody decided: a Task that failed, "attempted but could not be completed due to some error" (FHIR R4, task-status).
    Failed,
    /// It cannot decide yet: a Task on hold.
    OnHold,
}

/// The resources of a Bundle.
fn resources(document: &Document) -> impl Iterator<Item = Node<'_>> {
    document.root().items_of("entry").filter_map(|entry| entry.member("resource"))
}

/// Its resources of one type.
pub(super) fn of_type<'a>(document: &'a Document, name: &'static str) -> impl Iterator<Item = Node<'a>> {
    resources(document).filter(move |resource| resource.resource_type() == Some(name))
}

/// The Tasks that say something of the request itself. Of a Bundle those whose code is `fulfill` (FHIR R4, task-code); if there is none,
/// those without a code. Others are follow-ups and what is to be found out: whoever sees to one of them has not taken the request. A Task
/// that stands alone was asked for by its id, whatever its code.
pub(super) fn tasks_of_the_request(root: Node<'_>) -> Vec<Node<'_>> {
    if root.resource_type() == Some("Task") {
        return vec![root];
    }
    let resources = root.items_of("entry").filter_map(|entry| entry.member("resource"));
    let tasks = resources.filter(|resource| resource.resource_type() == Some("Task"));
    let (coded, plain): (Vec<_>, Vec<_>) = tasks.partition(|task| asks_to_fulfil(*task));
    if coded.is_empty() { plain.into_iter().filter(|task| task.member("code").is_none()).collect() } else { coded }
}

/// Whether a Task's code says that it asks to fulfil the request.
fn asks_to_fulfil(resource: Node<'_>) -> bool {
    let codings = resource.member("code").into_iter().flat_map(|code| code.items_of("coding"));
    let codes: Vec<_> = codings.map(|coding| (coding.text_of("system"), coding.text_of("code"))).collect();
    let is = |text: &Option<std::borrow::Cow<'_, str>>, wanted| text.as_deref() == Some(wanted);
    codes.iter().any(|(system, code)| is(system, TASK_CODES) && is(code, "fulfill"))
}

/// The issues of every OperationOutcome of a response message.
pub fn findings(document: &Document) -> Vec<Finding> {
    of_type(document, "OperationOutcome")
        .flat_map(|outcome| outcome.items_of("issue"))
        .take(MOST)
        .map(finding)
        .collect()
}

fn finding(issue: Node<'_>) -> Finding {
    let is = |name: &str, codes: &[&str]| issue.text_of(name).is_some_and(|code| codes.contains(&&*code));
    let expressions = issue.items_of("expression").chain(issue.items_of("location"));
    let mut paths: Vec<String> = expressions.filter_map(|each| known_path(&each.text()?)).take(MOST).collect();
    paths.dedup();
    let details = issue.member("details").into_iter().flat_map(|details| details.items_of("coding"));
    Finding {
        is_error: is("severity", &["error", "fatal"]),
        is_missing: is("code", &["required", "incomplete"]),
        paths,
        codes: details.filter_map(known_coding).take(MOST).collect(),
    }
}

/// What the response says of the referral itself.
pub fn decision(document: &Document) -> Option<Decision> {
    let is = |each: &Node<'_>, codes: &[&str]| each.text_of("status").is_some_and(|status| codes.contains(&&*status));
    let tasks = tasks_of_the_request(document.root());
    let is_revoked = || of_type(document, "ServiceRequest").any(|it| is(&it, &["revoked", "entered-in-error"]));
    let has = |codes: &[&str]| tasks.iter().any(|task| is(task, codes));
    if has(&["rejected", "cancelled"]) || is_revoked() {
        Some(Decision::Rejected)
    } else if has(&["failed"]) {
        Some(Decision::Failed)
    } else {
        has(&["on-hold"]).then_some(Decision::OnHold)
    }
}

/// Why, by the codes of `Task.statusReason`.
pub fn reasons(document: &Document) -> Vec<String> {
    let tasks = tasks_of_the_request(document.root());
    let reasons = tasks.iter().filter_map(|task| task.member("statusReason"));
    let mut codes: Vec<String> =
        reasons.flat_map(|reason| reason.items_of("coding")).filter_map(known_coding).take(MOST).collect();
    codes.dedup();
    codes
}

/// The beginning of a FHIRPath expression that names elements alone: `Patient.telecom` of
/// `Patient.telecom.where(system = 'phone')`.
fn known_path(expression: &str) -> Option<String> {
    let mut path = String::new();
    for (place, segment) in expression.split('.').enumerate() {
        let (name, index) = segment.split_once('[').map_or((segment, None), |(name, rest)| (name, Some(rest)));
        let is_known = match place {
            0 => schema().resource(name).is_some(),
            _ => NameId::of(name) != NameId::UNKNOWN && schema().resource(name).is_none(),
        };
        let index = match index.map(|rest| rest.strip_suffix(']')) {
            None => "",
            Some(Some(digits))
                if (1..=4).contains(&digits.len()) && digits.bytes().all(|each| each.is_ascii_digit()) =>
            {
                &segment[name.len()..]
            }
            Some(_) => return Some(path).filter(|path| !path.is_empty()),
        };
        if !is_known {
            break;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        path.push_str(index);
    }
    Some(path).filter(|path| !path.is_empty())
}

/// A code that is known to be one.
pub(super) fn known_coding(coding: Node<'_>) -> Option<String> {
    let code = coding.text_of("code")?;
    let is_known = match coding.text_of("system").as_deref() {
        Some(SNOMED_CT) => is_concept(&code),
        Some(REASONS) => KNOWN_REASONS.iter().any(|(known, _)| *known == code),
        _ => {
            is_error_code(&code)
                || is_issue_code(&code)
                || code.len() <= 2 && code.bytes().all(|it| it.is_ascii_digit())
        }
    };
    (is_known && !code.is_empty()).then(|| code.into_owned())
}

/// Whether it is the id of a SNOMED CT concept (not of a description), and no NHS number.
fn is_concept(code: &str) -> bool {
    let partition = code.len().checked_sub(3).and_then(|start| code.get(start..start + 2));
    matches!(partition, Some("00" | "10")) && is_snomed_id(code) && !is_nhs_number(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;

    fn parsed(resources: &str) -> Document {
        let json = format!(r#"{{"resourceType":"Bundle","entry":[{resources}]}}"#);
        Document::parse(json, &Limits::default()).expect("it is JSON")
    }

    #[test]
    fn the_code_system_has_the_codes_that_are_known() {
        let json = include_str!("../../profiles/CodeSystem-response-reason.json");
        let system = Document::parse(json, &Limits::default()).expect("it is JSON");
        assert_eq!(system.root().text_of("url").as_deref(), Some(REASONS));
        let codes: Vec<String> = system
            .root()
            .items_of("concept")
            .filter_map(|concept| Some(concept.text_of("code")?.into_owned()))
            .collect();
        assert_eq!(codes, KNOWN_REASONS.map(|(code, _)| code));
    }

    /// 9990068100 and 9990068003 are NHS numbers of the test range that would be concepts too, check digit and all: they are
    /// taken for people.
    #[test]
    fn a_concept_is_told_from_other_numbers() {
        for concept in ["225444004", "394685004", "325691000000100", "736253002", "1108111000000107", "404684003"] {
            assert!(is_concept(concept), "{concept}");
        }
        for other in [
            "225444005",
            "9990001014",
            "9990068100",
            "9990068003",
            "12345",
            "0",
            "",
            "22544400x",
            "1054321000000100",
            "073211009",
        ] {
            assert!(!is_concept(other), "{other}");
        }
    }

    #[test]
    fn a_path_is_kept_as_far_as_it_names_elements() {
        for (expression, kept) in [
            ("Patient.telecom", Some("Patient.telecom")),
            ("Bundle.entry[3].resource.birthDate", Some("Bundle.entry[3].resource.birthDate")),
            ("Patient.telecom.where(system = 'phone')", Some("Patient.telecom")),
            ("Patient.name.where(family = 'Chalmers').given", Some("Patient.name")),
            ("Patient.chalmers", Some("Patient")),
            ("Patient.identifier[9990001014]", Some("Patient")),
            ("Chalmers", None),
            ("Patient/9990001014", None),
            ("", None),
        ] {
            assert_eq!(known_path(expression).as_deref(), kept, "{expression}");
        }
    }

    #[test]
    fn what_is_missing_is_told_in_paths_and_codes() {
        let document = parsed(
            r#"{"resource":{"resourceType":"OperationOutcome","issue":[
            {"severity":"error","code":"required","expression":["Patient.telecom"],"details":{"text":"Peter Chalmers",
             "coding":[{"system":"http://snomed.info/sct","code":"225444004"},{"system":"http://snomed.info/sct","code":"9990001014"},
             {"system":"https://x.example","code":"Chalmers"}]}},
            {"severity":"warning","code":"informational","diagnostics":"Peter"}]}}"#,
        );
        let missing = Finding {
            is_error: true,
            is_missing: true,
            paths: vec!["Patient.telecom".to_owned()],
            codes: vec!["225444004".to_owned()],
        };
        let other = Finding { is_error: false, is_missing: false, paths: vec![], codes: vec![] };
        assert_eq!(findings(&document), [missing, other]);
    }

    #[test]
    fn a_decision_is_that_of_the_task_or_the_request() {
        let task = |status: &str| {
            parsed(&format!(
                r#"{{"resource":{{"resourceType":"Task","status":"{status}","statusReason":{{"coding":[
                {{"system":"{REASONS}","code":"no-capacity"}},{{"system":"{REASONS}","code":"chalmers"}},{{"code":"02"}}]}}}}}}"#
            ))
        };
        assert_eq!(decision(&task("rejected")), Some(Decision::Rejected));
        assert_eq!(decision(&task("cancelled")), Some(Decision::Rejected));
        assert_eq!(decision(&task("failed")), Some(Decision::Failed), "an error is no decision");
        assert_eq!(decision(&task("on-hold")), Some(Decision::OnHold));
        assert_eq!(decision(&task("accepted")), None);
        assert_eq!(reasons(&task("rejected")), ["no-capacity", "02"]);
        let revoked = parsed(r#"{"resource":{"resourceType":"ServiceRequest","status":"revoked"}}"#);
        assert_eq!(decision(&revoked), Some(Decision::Rejected));
        assert_eq!(decision(&parsed("1")), None);
        let other = |system: &str, code: &str| {
            parsed(&format!(
                r#"{{"resource":{{"resourceType":"Task","status":"rejected",
                "code":{{"coding":[{{"system":"{system}","code":"{code}"}}]}}}}}}"#
            ))
        };
        assert_eq!(decision(&other(TASK_CODES, "fulfill")), Some(Decision::Rejected));
        let follow_up = other("https://weir.example/fhir/CodeSystem/task-kind", "follow-up");
        assert_eq!((decision(&follow_up), reasons(&follow_up)), (None, vec![]), "nobody rejects the request by that");
    }
}
