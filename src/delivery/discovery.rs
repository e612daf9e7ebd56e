//! What a partner's BaRS endpoint says it takes: its CapabilityStatement and the MessageDefinitions of its service.
//!
//! Enters: one endpoint. Leaves: [`Discovery`]. Nothing of a message is sent. What the partner says decides nothing by
//! itself: whether it keeps messages back is the lane's business.

use std::fmt;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use uuid::Uuid;

use super::client::Client;
use super::{AttemptError, MAX_ANSWER};
use crate::fhir::bars::{self, OutcomeCodes, outcome_codes};
use crate::fhir::capability::{Defined, REFERRAL_DEFINITION, Stated, USE_CASES, read_capability, read_definitions};
use crate::fhir::{Document, Limits};

/// How long each question may take.
const LIMIT: Duration = Duration::from_secs(15);
/// The most levels and values of an answer.
const LIMITS: Limits = Limits { depth: 50, nodes: 100_000 };
/// The event of the messages that are sent.
const EVENT: &str = "servicerequest-request";

/// Whether a partner says that it takes our messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Support {
    /// Its statement or one of its definitions lists them.
    Listed,
    /// It says what it takes, and our messages are not among it.
    NotListed,
    /// It does not say.
    #[default]
    Unknown,
}

impl Support {
    /// As shown and counted.
    pub fn code(self) -> &'static str {
        match self {
            Support::Listed => "listed",
            Support::NotListed => "not-listed",
            Support::Unknown => "unknown",
        }
    }

    /// All of them.
    pub const ALL: [Support; 3] = [Support::Listed, Support::NotListed, Support::Unknown];
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What an endpoint says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Whether it says that it takes our messages.
    pub support: Support,
    /// The version of BaRS in its answers' media type.
    pub version: Option<String>,
    /// Its CapabilityStatement.
    pub stated: Option<Stated>,
    /// Its definition of our messages.
    pub definition: Option<Defined>,
    /// Why something could not be found out.
    pub problems: Vec<String>,
}

/// One question to the endpoint.
enum Asked {
    Metadata,
    Definitions,
}

impl Asked {
    fn name(&self) -> &'static str {
        match self {
            Asked::Metadata => "metadata",
            Asked::Definitions => "MessageDefinition",
        }
    }

    fn uri(&self, base: &Uri, service: &str, use_cases: &[String]) -> Uri {
        let base = base.to_string();
        let base = base.trim_end_matches('/');
        let uri = match self {
            Asked::Metadata => format!("{base}/metadata"),
            Asked::Definitions => {
                let service = encoded(&format!("{}|{service}", bars::DOS_SERVICE));
                // A comma between values of a search means any of them (FHIR R4, Search, 3.1.1.4.7).
                let of: Vec<String> = use_cases.iter().map(|code| encoded(&format!("{USE_CASES}|{code}"))).collect();
                let of = if of.is_empty() { String::new() } else { format!("&context={}", of.join(",")) };
                format!("{base}/MessageDefinition?context={service}{of}")
            }
        };
        uri.parse().expect("a checked endpoint can be extended")
    }
}

/// Percent-encoded as a value in a query (RFC 3986).
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Asks an endpoint what it takes of these use cases, with the `headers` that every request to it has.
pub(super) async fn discover(client: &Client, service: &str, use_cases: &[String], headers: &HeaderMap) -> Discovery {
    let asks = (service, use_cases, headers);
    let mut found = Discovery::default();
    if let Some((document, version)) = ask(client, Asked::Metadata, asks, &mut found.problems).await {
        found.version = version;
        found.stated = read_capability(&document);
        if found.stated.is_none() {
            found.problems.push("metadata is no CapabilityStatement".to_owned());
        }
    }
    let definitions = ask(client, Asked::Definitions, asks, &mut found.problems).await;
    let definitions = definitions.map(|(document, _)| read_definitions(&document));
    found.support = support(found.stated.as_ref(), definitions.as_deref());
    found.definition = definitions.into_iter().flatten().find(|definition| definition.event.as_deref() == Some(EVENT));
    found
}

/// Whether our messages are among what the partner says it takes.
fn support(stated: Option<&Stated>, defined: Option<&[Defined]>) -> Support {
    let receives = stated.map(|stated| &stated.receives[..]).unwrap_or_default();
    let ours = REFERRAL_DEFINITION.rsplit('/').next();
    let is_stated = receives.iter().any(|url| url.split('|').next().and_then(|url| url.rsplit('/').next()) == ours);
    let is_defined = defined.is_some_and(|all| all.iter().any(|each| each.event.as_deref() == Some(EVENT)));
    let takes_none = stated.is_some_and(|stated| !stated.takes_messages && stated.receives.is_empty());
    if is_stated || is_defined {
        Support::Listed
    } else if takes_none || !receives.is_empty() || defined.is_some() {
        Support::NotListed
    } else {
        Support::Unknown
    }
}

/// The answer to a question, with the version of BaRS in its media type; what went wrong goes to `problems`.
async fn ask(
    client: &Client,
    asked: Asked,
    (service, use_cases, headers): (&str, &[String], &HeaderMap),
    problems: &mut Vec<String>,
) -> Option<(Document, Option<String>)> {
    let answer = fetch(client, asked.uri(&client.endpoint().base, service, use_cases), headers).await;
    let mut fault = |what: String| problems.push(format!("{}: {what}", asked.name()));
    let answer = answer.map_err(|error| fault(error.to_string())).ok()?;
    let (head, body) = answer.into_parts();
    let document = Document::parse(body, &LIMITS);
    if !head.status.is_success() {
        let codes = document.map_or_else(|_| OutcomeCodes::default(), |document| outcome_codes(&document));
        fault(format!("the partner answers {} {codes}", head.status.as_u16()));
        return None;
    }
    let document = document.map_err(|_| fault("the answer is not JSON".to_owned())).ok()?;
    let media = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let version = media.split(';').find_map(|parameter| parameter.trim().strip_prefix("version="));
    let is_sane = |version: &&str| {
        version.len() <= 20 && version.bytes().all(|it| it.is_ascii_alphanumeric() || b".-".contains(&it))
    };
    Some((document, version.map(|version| version.trim_matches('"')).filter(is_sane).map(str::to_owned)))
}

async fn fetch(client: &Client, uri: Uri, headers: &HeaderMap) -> Result<Response<Bytes>, AttemptError> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers.clone();
    for name in ["x-request-id", "x-correlation-id"] {
        let id = Uuid::new_v4().to_string().parse().expect("a UUID is visible ASCII");
        request.headers_mut().insert(name, id);
    }
    client.fetch(request, LIMIT, MAX_ANSWER).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_the_service_and_the_use_cases() {
        let base: Uri = "https://bars-demot.trust.example:9443/FHIR/R4".parse().expect("a URL");
        let use_cases = ["crisis-escalation", "team-transfer"].map(str::to_owned);
        let uri = Asked::Definitions.uri(&base, "20000 99991", &use_cases).to_string();
        let expected = "https://bars-demot.trust.example:9443/FHIR/R4/MessageDefinition\
            ?context=https%3A%2F%2Ffhir.nhs.uk%2FId%2Fdos-service-id%7C20000%2099991\
            &context=https%3A%2F%2Fweir.example%2Ffhir%2FCodeSystem%2Fuse-case%7Ccrisis-escalation\
            ,https%3A%2F%2Fweir.example%2Ffhir%2FCodeSystem%2Fuse-case%7Cteam-transfer";
        assert_eq!(uri, expected);
        assert!(Asked::Definitions.uri(&base, "1", &[]).to_string().ends_with("dos-service-id%7C1"));
        assert!(Asked::Metadata.uri(&base, "1", &use_cases).to_string().ends_with("/FHIR/R4/metadata"));
    }

    #[test]
    fn a_partner_lists_our_messages_in_its_statement_or_its_definitions() {
        let stated = |takes_messages, receives: &[&str]| Stated {
            takes_messages,
            receives: receives.iter().map(|url| (*url).to_owned()).collect(),
            ..Stated::default()
        };
        let defined = |event: &str| [Defined { event: Some(event.to_owned()), ..Defined::default() }];
        let ours = "MessageDefinition/bars-message-servicerequest-request-referral";
        let booking = "MessageDefinition/bars-message-booking-request";
        for (statement, definitions, expected) in [
            (None, None, Support::Unknown),
            (Some(stated(true, &[])), None, Support::Unknown),
            (Some(stated(false, &[])), None, Support::NotListed),
            (Some(stated(true, &[ours])), None, Support::Listed),
            (Some(stated(true, &[&format!("{REFERRAL_DEFINITION}|1.4.0")])), None, Support::Listed),
            (Some(stated(true, &[booking])), None, Support::NotListed),
            (Some(stated(true, &[booking])), Some(&defined(EVENT)), Support::Listed),
            (None, Some(&defined("booking-request")), Support::NotListed),
        ] {
            let definitions = definitions.map(|all: &[Defined; 1]| &all[..]);
            assert_eq!(support(statement.as_ref(), definitions), expected, "{statement:?} {definitions:?}");
        }
        assert_eq!(support(None, Some(&[])), Support::NotListed, "nothing is defined for our service and use case");
    }
}
