//! Invariants of R4 that walk over all entries of a Bundle, recognised by their expression and answered without the
//! evaluator. Where a Bundle is not written as one, the evaluator answers.

use crate::fhir::{Kind, Node, keys};

/// An invariant that is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Native {
    /// bdl-3: an entry has a request if and only if the Bundle is of one of these types.
    Requests,
    /// bdl-4: the same for responses.
    Responses,
    /// bdl-8: `fullUrl` is not that of a version.
    Unversioned,
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
];

impl Native {
    /// The invariant that the expression says.
    pub(super) fn of(expression: &str) -> Option<Native> {
        EXPRESSIONS.iter().find(|(own, _)| *own == expression).map(|(_, native)| *native)
    }

    /// Whether it holds on `focus` in `resource`; `None` where the evaluator must tell.
    pub(super) fn holds(self, focus: Node<'_>, resource: Node<'_>) -> Option<bool> {
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
        }
    }
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
    fn each_is_an_invariant_of_r4() {
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
                    for (expression, native) in EXPRESSIONS {
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
}
