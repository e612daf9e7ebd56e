//! A message as plain REST takes it: a transaction that creates what its Bundle holds, or the Bundle itself with a mark;
//! and what a server says of each part (FHIR R4 http.html, transaction and conditional create).
//!
//! Enters: the Bundle of a message. Leaves: the body to send, made of the Bundle's own bytes. Invariants: the same
//! Bundle always gives the same body; nothing is in it that the Bundle did not hold, but for requests and one tag a
//! resource, whose code is an id that the Bundle has. By that tag a server finds what an earlier attempt created:
//! identifiers would do as well, were they not limited by profiles and missing in some types.

use std::collections::BTreeMap;

use super::bars::{OutcomeCodes, codes_of};
use super::bundle::{BUNDLE, Entries, Entry};
use super::{Document, Node, Writer, keys};

/// The system of tags: their codes are URIs.
const URIS: &str = "urn:ietf:rfc:3986";

/// For some resource types, the identifier system by which a server's own resource is taken in place of a new one.
pub type Matched = BTreeMap<String, String>;

/// A body, and by what a server knows that it has it already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// FHIR JSON.
    pub body: String,
    /// The criteria of a conditional create, as `If-None-Exist` has them.
    pub condition: String,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// FHIR JSON.
    pub body: String,
    /// For each of its entries, whether nobody but us can have created what its condition finds.
    pub is_own: Vec<bool>,
}

/// The transaction that creates each resource of `message` that the server does not have from us. `None` when an entry
/// has no resource, or no `fullUrl` by which a resend would be known.
pub fn transaction(message: &Document, matched: &Matched) -> Option<Transaction> {
    let (root, entries) = (message.root(), Entries::of(message));
    let (mut out, mut is_own) = (Writer::with_capacity(root.raw().len() * 3 / 2), Vec::new());
    out.begin_object();
    out.field("resourceType", BUNDLE);
    copy(&mut out, root, "id");
    let labels = root.child(keys().meta).and_then(|meta| meta.child(keys().security));
    if let Some(labels) = labels {
        out.object("meta", |out| {
            out.key("security");
            out.raw(labels.raw());
        });
    }
    out.field("type", "transaction");
    out.key("entry");
    out.begin_array();
    for entry in entries.list() {
        is_own.push(write_entry(&mut out, entry, matched)?);
    }
    out.end_array();
    out.end_object();
    Some(Transaction { body: out.finish(), is_own })
}

/// A Bundle that a server can be asked to store unless it has it from us. `None` when it has no id.
pub fn marked(bundle: &Document) -> Option<Marked> {
    let id = bundle.root().text_of("id")?;
    let name = uuid::Uuid::try_parse(&id).map_or_else(|_| id.into_owned(), |id| format!("urn:uuid:{id}"));
    let mut out = Writer::with_capacity(bundle.source().len() + 200);
    write_tagged(&mut out, bundle.root(), &name);
    Some(Marked { body: out.finish(), condition: tagged(&name) })
}

fn copy(out: &mut Writer, from: Node<'_>, name: &str) {
    if let Some(value) = from.member(name) {
        out.key(name);
        out.raw(value.raw());
    }
}

/// Whether its condition is our own tag.
fn write_entry(out: &mut Writer, entry: &Entry<'_>, matched: &Matched) -> Option<bool> {
    let (name, resource) = (entry.full_url.as_deref()?, entry.resource?);
    let kind = resource.resource_type()?;
    let known = matched.get(kind).and_then(|system| identified(resource, system));
    let is_own = known.is_none();
    out.begin_object();
    out.field("fullUrl", name);
    out.key("resource");
    write_tagged(out, resource, name);
    out.object("request", |out| {
        out.field("method", "POST");
        out.field("url", kind);
        out.field("ifNoneExist", &known.unwrap_or_else(|| tagged(name)));
    });
    out.end_object();
    Some(is_own)
}

/// The resource as it is, with one tag more.
fn write_tagged(out: &mut Writer, resource: Node<'_>, name: &str) {
    let meta = resource.child(keys().meta).filter(|meta| meta.is_object());
    out.begin_object();
    for member in resource.children() {
        let key = member.name().unwrap_or_default();
        if meta.is_some_and(|meta| meta.id() == member.id()) {
            continue;
        }
        out.key(&key);
        out.raw(member.raw());
        if key == "resourceType" {
            out.object("meta", |out| write_meta(out, meta, name));
        }
    }
    out.end_object();
}

fn write_meta(out: &mut Writer, meta: Option<Node<'_>>, name: &str) {
    let members = || meta.into_iter().flat_map(Node::children);
    for member in members().filter(|member| member.name().as_deref() != Some("tag")) {
        out.key(&member.name().unwrap_or_default());
        out.raw(member.raw());
    }
    out.key("tag");
    out.begin_array();
    for tag in meta.into_iter().flat_map(|meta| meta.items_of("tag")) {
        out.raw(tag.raw());
    }
    out.begin_object();
    out.field("system", URIS);
    out.field("code", name);
    out.end_object();
    out.end_array();
}

fn tagged(name: &str) -> String {
    format!("_tag={URIS}|{}", in_query(name))
}

/// The condition by the one identifier of `system` that a resource has.
fn identified(resource: Node<'_>, system: &str) -> Option<String> {
    let identifiers = resource.items_at(keys().identifier);
    let mut values = identifiers.filter(|each| each.text_of("system").as_deref() == Some(system));
    let value = values.next()?.text_of("value")?;
    values.next().is_none().then(|| format!("identifier={system}|{}", in_query(&value)))
}

/// A value of a token parameter, escaped as search asks for (R4 search.html, escaping) and then as a query does.
/// Colons stay: they have no meaning in a query.
fn in_query(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for letter in value.chars() {
        if matches!(letter, '\\' | '|' | ',' | '$') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    let mut query = String::with_capacity(escaped.len());
    for byte in escaped.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                query.push(char::from(byte));
            }
            _ => {
                query.push('%');
                query.push_str(&format!("{byte:02X}"));
            }
        }
    }
    query
}

/// What a server says of one entry of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// `response.status`; `None` when there is none that can be read.
    pub status: Option<u16>,
    /// Whether an issue of `response.outcome` is an error.
    pub has_errors: bool,
    /// The codes of `response.outcome`.
    pub codes: OutcomeCodes,
}

/// What a server says of each entry; `None` when `document` is no answer to a transaction.
pub fn transaction_response(document: &Document) -> Option<Vec<Said>> {
    let root = document.root();
    let is_one =
        root.resource_type() == Some(BUNDLE) && root.text_of("type").as_deref() == Some("transaction-response");
    is_one.then(|| root.items_at(keys().entry).map(said).collect())
}

fn said(entry: Node<'_>) -> Said {
    let response = entry.member("response");
    let status = response.and_then(|response| response.text_of("status")).and_then(|status| status_in(&status));
    let outcome = response.and_then(|response| response.member("outcome"));
    Said {
        status,
        has_errors: outcome.is_some_and(has_errors),
        codes: outcome.map(|outcome| codes_of(std::iter::once(outcome))).unwrap_or_default(),
    }
}

/// `201 Created`: the status is what begins it.
fn status_in(text: &str) -> Option<u16> {
    let number = text.split(' ').next()?;
    (number.len() == 3).then(|| number.parse().ok()).flatten().filter(|status| (100..600).contains(status))
}

/// Whether a document is an OperationOutcome with an error.
pub fn says_error(document: &Document) -> bool {
    document.resource_type() == Some("OperationOutcome") && has_errors(document.root())
}

/// Whether an OperationOutcome has an issue that is an error.
fn has_errors(outcome: Node<'_>) -> bool {
    outcome.items_of("issue").any(|issue| matches!(issue.text_of("severity").as_deref(), Some("error" | "fatal")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Limits;
    use std::collections::BTreeSet;

    const MESSAGE: &str = r#"{ "resourceType":"Bundle","id":"2f0e0d0c-0b0a-4908-8706-050403020100",
        "meta":{"versionId":"1","profile":["https://weir.example/p"],"security":[{"system":"s","code":"SUBSETTED"}]},
        "identifier":{"system":"https://weir.example/r","value":"r1"},"type":"message","timestamp":"2026-03-01T12:00:00Z",
        "entry":[
        {"fullUrl":"urn:uuid:3f0e0d0c-0b0a-4908-8706-050403020100","resource":{"resourceType":"MessageHeader",
            "id":"3f0e0d0c-0b0a-4908-8706-050403020100","focus":[{"reference":"urn:uuid:4f0e0d0c-0b0a-4908-8706-050403020100"}]}},
        {"fullUrl":"urn:uuid:4f0e0d0c-0b0a-4908-8706-050403020100","resource":{"resourceType":"Patient",
            "meta":{"profile":["p"],"tag":[{"system":"t","code":"c"}]},
            "identifier":[{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"9990000018"},{"system":"l","value":"a|b, c"}],
            "multipleBirthInteger":1.50}}]}"#;
    const TAG: &str = "_tag=urn:ietf:rfc:3986|urn:uuid:";

    fn parsed(json: &str) -> Document {
        Document::parse(json, &Limits::default()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    fn made(matched: &[(&str, &str)]) -> Transaction {
        let matched = matched.iter().map(|(kind, system)| ((*kind).to_owned(), (*system).to_owned())).collect();
        transaction(&parsed(MESSAGE), &matched).expect("it is a message")
    }

    /// Every scalar of a document, with the name it stands under.
    fn leaves(document: &Document) -> BTreeSet<(String, String)> {
        let name = |node: Node<'_>| node.path().as_str().rsplit('.').next().unwrap_or_default().to_owned();
        document.nodes().filter_map(|node| Some((name(node), node.scalar()?.into_owned()))).collect()
    }

    #[test]
    fn a_transaction_holds_what_the_message_held_and_our_own_marks() {
        let transaction = made(&[]);
        let (before, after) = (parsed(MESSAGE), parsed(&transaction.body));
        let (before, after) = (leaves(&before), leaves(&after));
        let more: Vec<&str> = after.difference(&before).map(|(_, value)| value.as_str()).collect();
        for value in more {
            let tag = value.strip_prefix(TAG).or_else(|| value.strip_prefix("urn:uuid:"));
            let is_ours = tag.is_some_and(|id| MESSAGE.contains(id));
            let is_fixed = ["transaction", "POST", "Patient", "MessageHeader", URIS].contains(&value);
            assert!(is_ours || is_fixed, "{value}");
        }
        assert!(transaction.body.contains(r#""multipleBirthInteger":1.50"#), "digits stay as they were");
        assert!(transaction.body.contains("SUBSETTED"), "what was left out is still said");
        assert!(!transaction.body.contains("weir.example/p"), "it is no message any more");
        assert_eq!(transaction, made(&[]), "a resend is the same");
    }

    #[test]
    fn each_entry_is_created_unless_our_tag_is_found() {
        let transaction = made(&[]);
        let document = parsed(&transaction.body);
        assert_eq!(
            (document.root().text_of("type").as_deref(), &*transaction.is_own),
            (Some("transaction"), &[true; 2][..])
        );
        for (entry, kind, id) in [(0, "MessageHeader", "3f0e"), (1, "Patient", "4f0e")] {
            let entry = document.root().items_of("entry").nth(entry).expect("an entry");
            let request = entry.member("request").expect("a request");
            let text = |name: &str| request.text_of(name).expect("a text").into_owned();
            assert_eq!((text("method"), text("url")), ("POST".to_owned(), kind.to_owned()));
            assert_eq!(text("ifNoneExist"), format!("{TAG}{id}0d0c-0b0a-4908-8706-050403020100"));
            let meta = entry.member("resource").and_then(|resource| resource.member("meta")).expect("it has a meta");
            let tag = meta.items_of("tag").last().expect("a tag");
            assert_eq!(tag.text_of("code"), entry.text_of("fullUrl"));
        }
        assert!(transaction.body.contains(r#"{"profile":["p"],"tag":[{"system":"t","code":"c"},{"#), "others stay");
    }

    #[test]
    fn a_type_that_is_matched_is_looked_for_by_its_one_identifier() {
        let nhs = made(&[("Patient", "https://fhir.nhs.uk/Id/nhs-number")]);
        assert!(nhs.body.contains(r#""ifNoneExist":"identifier=https://fhir.nhs.uk/Id/nhs-number|9990000018""#));
        assert_eq!(nhs.is_own, [true, false]);
        let local = made(&[("Patient", "l")]);
        assert!(local.body.contains(r#""ifNoneExist":"identifier=l|a%5C%7Cb%5C%2C%20c""#), "{}", local.body);
        assert_eq!(made(&[("Patient", "none")]).is_own, [true, true]);
    }

    #[test]
    fn a_bundle_to_store_has_our_tag_and_the_rest_as_it_was() {
        let marked = marked(&parsed(MESSAGE)).expect("it has an id");
        assert_eq!(marked.condition, format!("{TAG}2f0e0d0c-0b0a-4908-8706-050403020100"));
        let (before, after) = (parsed(MESSAGE), parsed(&marked.body));
        assert_eq!(after.root().member("entry").map(Node::raw), before.root().member("entry").map(Node::raw));
        let more: Vec<_> = leaves(&after).difference(&leaves(&before)).cloned().collect();
        let tag = ("urn:uuid:2f0e0d0c-0b0a-4908-8706-050403020100", URIS);
        assert!(more.iter().all(|(_, value)| value == tag.0 || value == tag.1), "{more:?}");
    }

    #[test]
    fn what_could_not_be_known_again_is_not_sent() {
        let none = Matched::new();
        for entry in [r#"{"resource":{"resourceType":"Patient"}}"#, r#"{"fullUrl":"urn:uuid:1"}"#, "{}", "1"] {
            let message = format!(r#"{{"resourceType":"Bundle","type":"message","entry":[{entry}]}}"#);
            assert_eq!(transaction(&parsed(&message), &none), None, "{entry}");
            assert_eq!(marked(&parsed(&message)), None);
        }
    }

    #[test]
    fn a_server_says_something_of_each_entry() {
        let answer = r#"{"resourceType":"Bundle","type":"transaction-response","entry":[
            {"response":{"status":"201 Created","location":"Patient/1/_history/1"}},{"response":{"status":"200"}},
            {"response":{"status":"412 Precondition Failed","outcome":{"resourceType":"OperationOutcome","issue":[
                {"severity":"error","code":"multiple-matches","diagnostics":"Peter Chalmers"}]}}},
            {"response":{"status":"yes"}},{}]}"#;
        let said = transaction_response(&parsed(answer)).expect("it is one");
        let statuses: Vec<_> = said.iter().map(|each| each.status).collect();
        assert_eq!(statuses, [Some(201), Some(200), Some(412), None, None]);
        assert_eq!((said[0].has_errors, said[2].has_errors), (false, true));
        assert_eq!(said[2].codes.to_string(), "(multiple-matches)");
        for other in ["[]", r#"{"resourceType":"Bundle","type":"batch-response"}"#, r#"{"resourceType":"Patient"}"#] {
            assert_eq!(transaction_response(&parsed(other)), None, "{other}");
        }
    }
}
