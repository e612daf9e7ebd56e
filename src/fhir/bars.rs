//! What BaRS puts into HTTP headers and OperationOutcomes (Booking and Referral Standard API 1.4.0).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error_code::fault;
use super::outcome::{Issue, operation_outcome_coded};
use super::{Document, Limits, Node, Writer};

/// The media type of requests and answers, with the version of the standard.
pub const MEDIA_TYPE: &str = "application/fhir+json; version=1.4.0";

/// The identifier system of organisations.
pub const ODS_ORGANISATION: &str = "https://fhir.nhs.uk/Id/ods-organization-code";

/// The identifier system of patients.
pub const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";

/// The identifier system of services in `NHSD-Target-Identifier`.
pub const DOS_SERVICE: &str = "https://fhir.nhs.uk/Id/dos-service-id";

/// The system of [`ErrorCode`]s, spelled as the published examples spell it.
pub const ERROR_CODES: &str = "https://fhir.nhs.uk/Codesystem/http-error-codes";

/// `NHSD-Target-Identifier`: the service that a message is for.
pub fn target_identifier(service: &str) -> String {
    let mut out = Writer::new();
    out.begin_object();
    out.field("value", service);
    out.field("system", DOS_SERVICE);
    out.end_object();
    STANDARD.encode(out.finish())
}

/// `NHSD-End-User-Organisation`: the organisation that sends, as an Organization.
pub fn end_user_organisation(ods: &str, name: &str) -> String {
    let mut out = Writer::new();
    out.begin_object();
    out.field("resourceType", "Organization");
    identifier(&mut out, ODS_ORGANISATION, ods);
    out.field("name", name);
    out.end_object();
    STANDARD.encode(out.finish())
}

/// `NHSD-Requesting-Software`: what sends, as a Device.
pub fn requesting_software(name: &str, version: &str) -> String {
    let mut out = Writer::new();
    out.begin_object();
    out.field("resourceType", "Device");
    out.key("deviceName");
    out.begin_array();
    out.begin_object();
    out.field("name", name);
    out.field("type", "model-name");
    out.end_object();
    out.end_array();
    out.key("version");
    out.begin_array();
    out.begin_object();
    out.field("value", version);
    out.end_object();
    out.end_array();
    out.end_object();
    STANDARD.encode(out.finish())
}

/// Why a header of BaRS cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Not standard base64.
    #[error("is not base64")]
    NotBase64,
    /// Not JSON within it.
    #[error("is not base64 of JSON")]
    NotJson,
    /// Other JSON than BaRS asks for.
    #[error("is not base64 of what BaRS asks for: {0}")]
    NotSo(&'static str),
}

/// The most levels and values of what a header holds.
const HEADER: Limits = Limits { depth: 20, nodes: 1000 };

fn header(text: &str) -> Result<Document, HeaderFault> {
    let json = STANDARD.decode(text.trim()).map_err(|_| HeaderFault::NotBase64)?;
    Document::parse(json, &HEADER).map_err(|_| HeaderFault::NotJson)
}

/// System and value of the service in `NHSD-Target-Identifier`.
///
/// # Errors
/// When there is none.
pub fn read_target(text: &str) -> Result<(String, String), HeaderFault> {
    let document = header(text)?;
    let part = |name| document.root().text_of(name).map(|text| text.into_owned()).filter(|text| !text.is_empty());
    part("system").zip(part("value")).ok_or(HeaderFault::NotSo("an object with system and value"))
}

/// The ODS codes in `NHSD-End-User-Organisation`.
///
/// # Errors
/// When there is none.
pub fn read_organisation(text: &str) -> Result<Vec<String>, HeaderFault> {
    let document = header(text)?;
    let root = document.root();
    let wrong = HeaderFault::NotSo("an Organization with an ODS code");
    if root.resource_type() != Some("Organization") {
        return Err(wrong);
    }
    let ods = root.items_of("identifier").filter(|each| each.text_of("system").as_deref() == Some(ODS_ORGANISATION));
    let codes: Vec<String> = ods.filter_map(|each| each.text_of("value")).map(|code| code.into_owned()).collect();
    if codes.is_empty() { Err(wrong) } else { Ok(codes) }
}

/// Whether `NHSD-Requesting-Software` holds a Device.
///
/// # Errors
/// When it does not.
pub fn read_software(text: &str) -> Result<(), HeaderFault> {
    let document = header(text)?;
    let is_device = document.root().resource_type() == Some("Device");
    if is_device { Ok(()) } else { Err(HeaderFault::NotSo("a Device")) }
}

pub(super) fn identifier(out: &mut Writer, system: &str, value: &str) {
    out.list_of_one("identifier", |out| {
        out.field("system", system);
        out.field("value", value);
    });
}

/// A receiver's answer to what it does not accept: code and status (http-error-codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the codes are defined by BaRS")]
pub enum ErrorCode {
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    Timeout,
    Conflict,
    /// Not in the code system: BaRS has no code for a wrong `Content-Type`, so it is told as a bad request.
    UnsupportedMediaType,
    /// As above, for a body over the limit.
    PayloadTooLarge,
    UnprocessableEntity,
    TooEarly,
    ServerError,
    Unavailable,
}

impl ErrorCode {
    /// The code, for `details.coding`.
    pub fn code(self) -> &'static str {
        match self {
            ErrorCode::BadRequest | ErrorCode::UnsupportedMediaType | ErrorCode::PayloadTooLarge => "REC_BAD_REQUEST",
            ErrorCode::Forbidden => "REC_FORBIDDEN",
            ErrorCode::NotFound => "REC_NOT_FOUND",
            ErrorCode::MethodNotAllowed => "REC_METHOD_NOT_ALLOWED",
            ErrorCode::NotAcceptable => "REC_NOT_ACCEPTABLE",
            ErrorCode::Timeout => "REC_TIMEOUT",
            ErrorCode::Conflict => "REC_CONFLICT",
            ErrorCode::UnprocessableEntity => "REC_UNPROCESSABLE_ENTITY",
            ErrorCode::TooEarly => "REC_TOO_EARLY",
            ErrorCode::ServerError => "REC_SERVER_ERROR",
            ErrorCode::Unavailable => "REC_SERVICE_UNAVAILABLE",
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            ErrorCode::BadRequest => 400,
            ErrorCode::Forbidden => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::MethodNotAllowed => 405,
            ErrorCode::NotAcceptable => 406,
            ErrorCode::Timeout => 408,
            ErrorCode::Conflict => 409,
            ErrorCode::PayloadTooLarge => 413,
            ErrorCode::UnsupportedMediaType => 415,
            ErrorCode::UnprocessableEntity => 422,
            ErrorCode::TooEarly => 425,
            ErrorCode::ServerError => 500,
            ErrorCode::Unavailable => 503,
        }
    }
}

/// The OperationOutcome that goes with `code`.
pub fn outcome(code: ErrorCode, issue: Issue) -> String {
    operation_outcome_coded(&[issue], Some((ERROR_CODES, code.code())))
}

/// What an OperationOutcome says in codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCodes {
    /// `issue.code` of each issue.
    pub issues: Vec<Box<str>>,
    /// `issue.details.coding.code` of each coding.
    pub details: Vec<Box<str>>,
}

impl std::fmt::Display for OutcomeCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.issues.is_empty() && self.details.is_empty() {
            return f.write_str("and no codes");
        }
        let all: Vec<&str> = self.issues.iter().chain(&self.details).map(|code| &**code).collect();
        write!(f, "({})", all.join(", "))
    }
}

/// The most codes that are kept of each kind.
const MOST_CODES: usize = 16;

/// The codes of the OperationOutcome at the root, or of those among a Bundle's entries.
///
/// Texts are left behind, and what is no known code too: a peer's outcome may quote a patient.
pub fn outcome_codes(document: &Document) -> OutcomeCodes {
    let root = document.root();
    let entries = root.member("entry").into_iter().flat_map(|entries| entries.items());
    let resources = entries.filter_map(|entry| entry.member("resource"));
    let is_outcome = |resource: &Node<'_>| resource.resource_type() == Some("OperationOutcome");
    codes_of(std::iter::once(root).chain(resources).filter(is_outcome))
}

/// The same of OperationOutcomes that were found before.
pub(super) fn codes_of<'a>(outcomes: impl Iterator<Item = Node<'a>>) -> OutcomeCodes {
    let mut codes = OutcomeCodes::default();
    for issue in outcomes.filter_map(|outcome| outcome.member("issue")).flat_map(|issues| issues.items()) {
        push_code(&mut codes.issues, issue.member("code"), is_issue_code);
        let details = issue.member("details").and_then(|details| details.member("coding"));
        for coding in details.into_iter().flat_map(|codings| codings.items()) {
            push_code(&mut codes.details, coding.member("code"), is_error_code);
        }
    }
    codes
}

fn push_code(codes: &mut Vec<Box<str>>, code: Option<Node<'_>>, is_known: fn(&str) -> bool) {
    let Some(code) = code.and_then(|code| code.text()) else { return };
    if codes.len() < MOST_CODES && is_known(&code) && !codes.iter().any(|known| **known == *code) {
        codes.push(code.into());
    }
}

/// Codes of R4's issue-type, and HTTP statuses in their place, as `503`. No others: a surname is shaped like a code.
pub(super) fn is_issue_code(code: &str) -> bool {
    let is_status = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    is_status || ISSUE_TYPES.contains(&code)
}

/// Codes of http-error-codes, and others like them: who says it, and words that the code system uses.
pub(super) fn is_error_code(code: &str) -> bool {
    let words = ["REC_", "SEND_", "PROXY_"].iter().find_map(|said_by| code.strip_prefix(said_by));
    is_issue_code(code)
        || fault(code).is_some()
        || words.is_some_and(|words| words.split('_').all(|word| ERROR_WORDS.contains(&word)))
}

/// R4, issue-type.
const ISSUE_TYPES: [&str; 31] = [
    "invalid",
    "structure",
    "required",
    "value",
    "invariant",
    "security",
    "login",
    "unknown",
    "expired",
    "forbidden",
    "suppressed",
    "processing",
    "not-supported",
    "duplicate",
    "multiple-matches",
    "not-found",
    "deleted",
    "too-long",
    "code-invalid",
    "extension",
    "too-costly",
    "business-rule",
    "conflict",
    "transient",
    "lock-error",
    "no-store",
    "exception",
    "timeout",
    "incomplete",
    "throttled",
    "informational",
];

/// The words that the codes of http-error-codes are made of.
const ERROR_WORDS: [&str; 26] = [
    "ACCEPTABLE",
    "ALLOWED",
    "BAD",
    "CONFLICT",
    "EARLY",
    "ENTITY",
    "ERROR",
    "FORBIDDEN",
    "FOUND",
    "GATEWAY",
    "IMPLEMENTED",
    "INTERNAL",
    "MANY",
    "METHOD",
    "NOT",
    "REQUEST",
    "REQUESTS",
    "SERVER",
    "SERVICE",
    "SUPPORTED",
    "TIMEOUT",
    "TOO",
    "UNAUTHORIZED",
    "UNAVAILABLE",
    "UNPROCESSABLE",
    "UNAUTHORISED",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::outcome::IssueType;

    fn decoded(header: &str) -> String {
        String::from_utf8(STANDARD.decode(header).expect("base64")).expect("UTF-8")
    }

    #[test]
    fn headers_are_base64_of_json() {
        assert_eq!(
            decoded(&target_identifier("2000099999")),
            r#"{"value":"2000099999","system":"https://fhir.nhs.uk/Id/dos-service-id"}"#
        );
        assert_eq!(
            decoded(&end_user_organisation("DEMOP", "Demo \"Provider\"")),
            r#"{"resourceType":"Organization","identifier":[{"system":"https://fhir.nhs.uk/Id/ods-organization-code","value":"DEMOP"}],"name":"Demo \"Provider\""}"#
        );
        assert_eq!(
            decoded(&requesting_software("Weir", "1.0.0")),
            r#"{"resourceType":"Device","deviceName":[{"name":"Weir","type":"model-name"}],"version":[{"value":"1.0.0"}]}"#
        );
    }

    #[test]
    fn an_outcome_carries_its_code_and_gives_it_back() {
        let json = outcome(ErrorCode::Conflict, Issue::error(IssueType::Duplicate, "already processed"));
        let document = Document::parse(json, &Limits::default()).expect("JSON");
        let codes = outcome_codes(&document);
        assert_eq!(codes, OutcomeCodes { issues: vec!["duplicate".into()], details: vec!["REC_CONFLICT".into()] });
    }

    #[test]
    fn every_code_of_ours_is_known() {
        use ErrorCode::{
            BadRequest, Conflict, Forbidden, MethodNotAllowed, NotAcceptable, NotFound, ServerError, Timeout, TooEarly,
            Unavailable, UnprocessableEntity,
        };
        let codes = [BadRequest, Conflict, Forbidden, MethodNotAllowed, NotAcceptable, NotFound, ServerError];
        for code in codes.into_iter().chain([Timeout, TooEarly, Unavailable, UnprocessableEntity]) {
            assert!(is_error_code(code.code()), "{}", code.code());
        }
    }

    #[test]
    fn what_is_no_known_code_is_left_behind() {
        let json = r#"{"resourceType":"OperationOutcome","issue":[
            {"code":"Peter Chalmers","details":{"text":"Peter","coding":[{"code":"9990001014"},{"code":"Chalmers"},
            {"code":"REC_CHALMERS"},{"code":"REC_TOO_EARLY"}]}},{"code":"Chalmers"},
            {"code":503,"diagnostics":"Peter"},{"code":"503","details":{"coding":{"code":""}}},{}]}"#;
        let codes = outcome_codes(&Document::parse(json, &Limits::default()).expect("JSON"));
        assert_eq!(codes, OutcomeCodes { issues: vec!["503".into()], details: vec!["REC_TOO_EARLY".into()] });
        for other in ["1", "[]", r#"{"resourceType":"Patient","issue":[{"code":"a"}]}"#, r#"{"entry":[1,{}]}"#] {
            let document = Document::parse(other, &Limits::default()).expect("JSON");
            assert_eq!(outcome_codes(&document), OutcomeCodes::default());
        }
    }
}
