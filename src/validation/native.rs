//! Invariants of R4 and of profiles that walk over all entries of a Bundle, recognised by their expression and answered
//! without the evaluator. Where a Bundle is not written as one, the evaluator answers.

use std::ops::RangeInclusive;

use crate::fhir::{Kind, NameId, Node, keys};

/// An invariant that is answered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Native {
    /// bdl-3: an entry has a request if and only if the Bundle is of one of these types.
    Requests,
    /// bdl-4: the same for responses.
    Responses,
    /// bdl-8: `fullUrl` is not that of a version.
    Unversioned,
    /// Each resource claims a profile.
    Claims,
    /// So many resources claim this profile and no other.
    ClaimsOf(Box<str>, RangeInclusive<usize>),
}

const EXPRESSIONS: &[(&str, Native)] = &[
    (
        "entry.all(request.exists() = (%resource.type = 'batch' or %resource.type = 'transaction' or \
         %resource.type = 'history'))",
        Native::Requests,
    ),
    (
        "entry.all(response.exists() = (%resource.type = 'batch-response' or %resource.type = 'transaction-response' or \
         %resource.type = 'history'))",
        Native::Responses,
    ),
    ("fullUrl.exists() implies fullUrl.contains('/_history/').not()", Native::Unversioned),
    ("entry.resource.all(meta.profile.exists())", Native::Claims),
];

impl Native {
    /// The invariant that the expression says.
    pub(super) fn of(expression: &str) -> Option<Native> {
        let known = EXPRESSIONS.iter().find(|(own, _)| *own == expression).map(|(_, native)| native.clone());
        known.or_else(|| claims_of(expression))
    }

    /// Whether it holds on `focus` in `resource`; `None` where the evaluator must tell.
    pub(super) fn holds(&self, focus: Node<'_>, resource: Node<'_>) -> Option<bool> {
        match self {
            Native::Requests => {
                entries_have("request", focus, is_one_of(resource, ["batch", "transaction", "history"])?)
            }
            Native::Responses => {
                let kinds = ["batch-response", "transaction-response", "history"];
                entries_have("response", focus, is_one_of(resource, kinds)?)
            }
            Native::Unversioned => {
                let url = focus.child(keys().full_url)?.text()?;
                Some(!url.contains("/_history/"))
            }
            Native::Claims => count_resources(focus, |claims| claims.is_none()).map(|without| without == 0),
            Native::ClaimsOf(profile, wanted) => {
                let claims_it = |claims: Option<Node<'_>>| {
                    let mut claims = claims.into_iter().flat_map(Node::children).filter_map(Node::text);
                    claims.next().is_some_and(|claim| *claim == **profile) && claims.next().is_none()
                };
                count_resources(focus, claims_it).map(|found| wanted.contains(&found))
            }
        }
    }
}

/// `entry.resource.where(meta.profile = '…').count() = 1`, with `<=` or `>=` too.
fn claims_of(expression: &str) -> Option<Native> {
    let rest = expression.strip_prefix("entry.resource.where(meta.profile = '")?;
    let (profile, rest) = rest.split_once("').count() ").filter(|(profile, _)| !profile.contains(['\'', '\\']))?;
    let (operator, number) = rest.split_once(' ')?;
    let number = number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))?;
    let wanted = match operator {
        "=" => number..=number,
        "<=" => 0..=number,
        ">=" => number..=usize::MAX,
        _ => return None,
    };
    Some(Native::ClaimsOf(profile.into(), wanted))
}

/// How many resources of a Bundle claim `wanted` profiles: an array of URLs with at least one, or nothing.
fn count_resources(bundle: Node<'_>, wanted: impl Fn(Option<Node<'_>>) -> bool) -> Option<usize> {
    let Some(entries) = object(bundle, keys().entry)? else { return Some(0) };
    let mut found = 0;
    for entry in entries.children().filter(|_| entries.is_array()) {
        let Some(resource) = object(entry, keys().resource)? else { continue };
        let meta = object(resource, keys().meta)?;
        let claims = meta.map(|meta| object(meta, keys().profile)).unwrap_or(Some(None))?;
        let are_urls =
            |claims: Node<'_>| claims.is_array() && claims.children().all(|claim| claim.kind() == Kind::String);
        if !claims.is_none_or(are_urls) {
            return None;
        }
        found += usize::from(wanted(claims.filter(|claims| claims.children().next().is_some())));
    }
    Some(found)
}

/// A member of an object that has no other spelling with an underscore; `None` where that is not what stands here.
fn object<'a>(node: Node<'a>, name: NameId) -> Option<Option<Node<'a>>> {
    let mut found = None;
    for member in node.is_object().then(|| node.children())?.filter(|each| each.name_id().without_underscore() == name)
    {
        if member.name_id() != name {
            return None;
        }
        found = Some(member);
    }
    Some(found)
}

fn is_one_of(bundle: Node<'_>, kinds: [&str; 3]) -> Option<bool> {
    let kind = bundle.child(keys().kind)?.text()?;
    Some(kinds.contains(&&*kind))
}

/// Whether all entries have the member, or none has it.
fn entries_have(name: &str, bundle: Node<'_>, wanted: bool) -> Option<bool> {
    let name = crate::fhir::NameId::of(name);
    let entries = bundle.child(keys().entry).filter(|entries| entries.is_array())?;
    let mut holds = true;
    for entry in entries.children() {
        if !entry.is_object() {
            return None;
        }
        let mut has = false;
        for member in entry.children().filter(|member| member.name_id().without_underscore() == name) {
            if member.kind() != Kind::Object || member.name_id() != name {
                return None;
            }
            has = true;
        }
        holds &= has == wanted;
    }
    Some(holds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::r4::{constraints, schema};
    use crate::fhir::{Document, Limits};
    use crate::fhirpath::{Environment, Expression, Item};

    #[test]
    fn those_of_r4_are_invariants_of_r4() {
        let natives: Vec<_> = constraints().filter_map(|(key, _, text)| Some((key, Native::of(text)?))).collect();
        let expected = [("bdl-3", Native::Requests), ("bdl-4", Native::Responses), ("bdl-8", Native::Unversioned)];
        assert_eq!(natives, expected);
    }

    /// What is answered here on Bundles and entries of all sorts is what the evaluator says.
    #[test]
    fn the_answers_are_those_of_the_evaluator() {
        let members = ["\"request\":{}", "\"response\":{}", "\"_request\":{}", "\"response\":null", "\"request\":[{}]"];
        let urls = ["", "\"fullUrl\":\"https://x/_history/2\",", "\"fullUrl\":\"urn:uuid:1\",", "\"_fullUrl\":{},"];
        let types = ["\"type\":\"batch\",", "\"type\":\"history\",", "\"type\":\"message\",", "\"_type\":{},", ""];
        let (bundle, entry) = (schema().resource("Bundle"), schema().type_named("Bundle.entry"));
        let (mut answered, mut left) = (0, 0);
        for kind in types.into_iter().chain(["\"type\":\"batch-response\","]) {
            for url in urls {
                for (first, second) in members.iter().flat_map(|one| members.map(|two| (*one, two))) {
                    let entries = format!("[{{{url}{first}}},{{{url}{second}}},{{\"resource\":{{}}}}]");
                    let text = format!("{{\"resourceType\":\"Bundle\",{kind}\"entry\":{entries}}}");
                    let document = Document::parse(text, &Limits::default()).expect("it is JSON");
                    let root = document.root();
                    let environment =
                        Environment { resource: Some(Item::of_node(root, bundle)), ..Environment::default() };
                    for (expression, native) in &EXPRESSIONS[..3] {
                        let expression = Expression::parse(expression).expect("it parses");
                        let first = root.items_at(keys().entry).next().expect("it has entries");
                        let (focus, def) = if *native == Native::Unversioned { (first, entry) } else { (root, bundle) };
                        let Some(told) = native.holds(focus, root) else {
                            left += 1;
                            continue;
                        };
                        let evaluated = expression.holds(&Item::of_node(focus, def), &environment).ok();
                        assert_eq!(Some(told), evaluated, "{native:?} {}", document.source());
                        answered += 1;
                    }
                }
            }
        }
        assert!(answered > 300 && left > 100, "{answered} {left}");
    }

    #[test]
    fn what_resources_claim_is_counted_as_the_evaluator_counts_it() {
        let metas = [
            "",
            r#","meta":{}"#,
            r#","meta":{"profile":["https://x/a"]}"#,
            r#","meta":{"profile":["https://x/b"]}"#,
            r#","meta":{"profile":["https://x/a","https://x/b"]}"#,
            r#","meta":{"profile":["https:\/\/x\/a"]}"#,
            r#","meta":{"profile":[]}"#,
            r#","meta":{"profile":"https://x/a"}"#,
            r#","meta":{"profile":[null],"_profile":[{"id":"a"}]}"#,
            r#","_meta":{"id":"a"}"#,
            r#","meta":[{"profile":["https://x/a"]}]"#,
        ];
        let resource = |meta: &str| format!(r#"{{"resource":{{"resourceType":"Patient"{meta}}}}}"#);
        let two = |one, two| format!("[{},{},{{}}]", resource(one), resource(two));
        let mut entries: Vec<String> = metas.iter().flat_map(|one| metas.map(|other| two(one, other))).collect();
        entries.extend(
            ["[]", "{}", "null", "[null]", r#"[{"resource":null}]"#, r#"[{"_resource":{"id":"a"}}]"#]
                .map(str::to_owned),
        );
        let (mut answered, mut left, bundle) = (0, 0, schema().resource("Bundle"));
        for text in entries.iter().map(|entries| format!(r#"{{"resourceType":"Bundle","entry":{entries}}}"#)) {
            let document = Document::parse(text, &Limits::default()).expect("it is JSON");
            for expression in [
                "entry.resource.all(meta.profile.exists())",
                "entry.resource.where(meta.profile = 'https://x/a').count() = 1",
                "entry.resource.where(meta.profile = 'https://x/a').count() <= 1",
                "entry.resource.where(meta.profile = 'https://x/a').count() >= 2",
            ] {
                let native = Native::of(expression).expect("it is one");
                let Some(told) = native.holds(document.root(), document.root()) else {
                    left += 1;
                    continue;
                };
                let expression = Expression::parse(expression).expect("it parses");
                let evaluated = expression.holds(&Item::of_node(document.root(), bundle), &Environment::default()).ok();
                assert_eq!(Some(told), evaluated, "{native:?} {}", document.source());
                answered += 1;
            }
        }
        assert!(answered > 200 && left > 100, "{answered} {left}");
        for other in [
            "entry.resource.where(meta.profile = 'a').count() < 1",
            "entry.resource.where(meta.profile = 'a\\'').count() = 1",
        ] {
            assert_eq!(Native::of(other), None, "{other}");
        }
    }
}
