//! References: inside a resource, inside a Bundle, and to what they may point; and the rules of Bundles.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::plan::Shape;
use super::walk::{Found, Scope, Shapes, Walk};
use crate::fhir::definitions::without_version;
use crate::fhir::outcome::IssueType;
use crate::fhir::r4::schema;
use crate::fhir::{Node, keys};

/// The resources of a Bundle by what a reference may call them.
pub(super) struct BundleIndex<'a> {
    /// A reference that names no entry is an error: the Bundle is a message or a document.
    is_closed: bool,
    by_url: HashMap<Cow<'a, str>, Node<'a>>,
    by_id: HashMap<(&'a str, Cow<'a, str>), Node<'a>>,
}

/// Where a reference leads.
enum Target<'a> {
    Resource(Node<'a>),
    /// A resource elsewhere; its type if the reference tells it.
    Elsewhere(Option<String>),
    Nowhere,
}

impl<'a> Walk<'a> {
    /// Indexes the entries of a Bundle and checks what concerns all of them.
    pub(super) fn index(&mut self, bundle: Node<'a>) {
        let keys = keys();
        let kind = bundle.child(keys.kind).and_then(Node::text).unwrap_or_default();
        let is_closed = matches!(&*kind, "message" | "document");
        let mut index = BundleIndex { is_closed, by_url: HashMap::new(), by_id: HashMap::new() };
        let mut versions = HashMap::new();
        let entries = bundle.child(keys.entry);
        for entry in entries.into_iter().flat_map(Node::items) {
            let resource = entry.child(keys.resource);
            let url = entry.child(keys.full_url).and_then(Node::text);
            if let Some(resource) = resource {
                self.full_url(entry, resource, url.as_deref(), &kind);
                if let Some((name, id)) = resource.resource_type().zip(resource.child(keys.id).and_then(Node::text)) {
                    index.by_id.insert((name, id), resource);
                }
            }
            let Some(url) = url else { continue };
            let version = resource.and_then(|each| each.child(keys.meta)?.child(keys.version_id)?.text());
            match versions.entry((url.clone(), version)) {
                Entry::Vacant(place) => _ = place.insert(()),
                Entry::Occupied(_) if kind == "history" => {}
                Entry::Occupied(_) => {
                    let text = "two entries have the same fullUrl and version";
                    self.error(IssueType::Duplicate, entry, "bdl-7", text, "give each entry its own fullUrl");
                }
            }
            if let Some(resource) = resource {
                index.by_url.insert(url, resource);
            }
        }
        if is_closed && entries.is_none() {
            let text = format!("a Bundle of type {kind} has at least one entry");
            self.error(IssueType::Required, bundle, "r4-bundle", text, "add its entries");
        }
        self.bundle = Some(index);
    }

    fn full_url(&mut self, entry: Node<'a>, resource: Node<'a>, url: Option<&str>, kind: &str) {
        let Some(url) = url else {
            if !matches!(kind, "transaction" | "batch" | "batch-response" | "transaction-response") {
                let text = "Bundle.entry.fullUrl is missing: an entry with a resource has one".to_owned();
                self.missing(entry, "fullUrl", "r4-full-url", text);
            }
            return;
        };
        let id = resource.child(keys().id).and_then(Node::text);
        let (Some(id), Some(name)) = (id, resource.resource_type()) else { return };
        if url.starts_with("http") && !url.ends_with(&format!("/{name}/{id}")) {
            let text = "the fullUrl does not end with the type and id of its resource";
            self.error(IssueType::Value, entry, "r4-full-url", text, "make the two agree");
        }
    }

    /// Checks where a Reference leads, and that this may be.
    pub(super) fn reference(&mut self, node: Node<'a>, found: &Found<'a>, shapes: &[&'a Shape], scope: &Scope<'a>) {
        let keys = keys();
        let Some(value) = node.child(keys.reference) else { return };
        let Some(text) = value.text() else { return };
        let target = self.resolve(&text, value, scope);
        let name = match &target {
            Target::Resource(resource) => resource.resource_type(),
            Target::Elsewhere(name) => name.as_deref(),
            Target::Nowhere => None,
        };
        let Some(name) = name else { return };
        let targets = &found.element.def.types[found.chosen].targets;
        if !targets.is_empty() && !targets.iter().any(|target| schema().is_a(name, target)) {
            let text = format!("the reference leads to a {name}: {} expected", targets.join(" or "));
            self.error(IssueType::Value, value, "r4-reference-target", text, "refer to a resource of that type");
        }
        if let Some(declared) = node.child(keys.kind).and_then(Node::text)
            && schema().resource(&declared).is_some()
            && declared != name
        {
            let text = format!("the reference says that it leads to a {declared}, and leads to a {name}");
            self.error(IssueType::Value, value, "r4-reference-target", text, "correct Reference.type");
        }
        let followed = if self.follow { shapes } else { &[] };
        for shape in followed {
            self.target_profiles(shape, value, &target, name);
        }
    }

    fn target_profiles(&mut self, shape: &'a Shape, value: Node<'a>, target: &Target<'a>, name: &str) {
        let rule = shape.types.iter().find(|rule| &*rule.code == "Reference" && !rule.targets.is_empty());
        let Some(rule) = rule else { return };
        let validator = self.validator;
        let fits = rule.targets.iter().any(|wanted| match (validator.type_of(wanted), target) {
            (None, _) if schema().type_named(wanted).is_none() => true, // Not loaded; noted at load.
            (None, _) => schema().is_a(name, wanted),
            (Some(wanted_type), Target::Resource(resource)) => {
                schema().is_a(name, wanted_type) && (self.claims(*resource, wanted) || self.conforms(*resource, wanted))
            }
            (Some(wanted_type), _) => schema().is_a(name, wanted_type),
        });
        if !fits {
            let wanted = rule.targets.iter().map(|url| &**url).collect::<Vec<_>>().join(" or ");
            let text = format!("the reference of {} leads to a {name} that is not of {wanted}", shape.id);
            self.error(IssueType::Value, value, &shape.profile, text, "refer to a resource of that profile");
        }
    }

    /// Whether the resource claims the profile or one derived from it; what it claims is checked where it stands.
    fn claims(&self, resource: Node<'a>, profile: &str) -> bool {
        let keys = keys();
        let claimed = resource.child(keys.meta).and_then(|meta| meta.child(keys.profile));
        claimed.into_iter().flat_map(Node::items).filter_map(Node::text).any(|url| {
            let mut chain = Shapes::new();
            self.validator.activate(&url, &mut chain);
            chain.iter().any(|shape| &*shape.profile == profile)
        })
    }

    /// Whether the resource keeps to a profile that it does not claim.
    fn conforms(&self, resource: Node<'a>, profile: &str) -> bool {
        let mut shapes = Shapes::new();
        self.validator.activate(profile, &mut shapes);
        let mut trial = Walk::new(self.validator, self.document);
        trial.follow = false;
        trial.resource(resource, None, None, &shapes);
        let rules = |rule: &str| shapes.iter().any(|shape| rule.starts_with(&*shape.profile));
        !trial.issues.iter().any(|issue| issue.is_error() && rules(&issue.rule))
    }

    fn resolve(&mut self, text: &str, value: Node<'a>, scope: &Scope<'a>) -> Target<'a> {
        if let Some(id) = text.strip_prefix('#') {
            return self.resolve_contained(id, value, scope);
        }
        let text = text.split("/_history/").next().unwrap_or(text);
        let text = text.split('#').next().unwrap_or(text);
        let is_absolute = text.split('/').next().is_some_and(|scheme| scheme.contains(':'));
        let local = if is_absolute { None } else { type_and_id(text) };
        if !is_absolute && local.is_none_or(|(before, ..)| !before.is_empty()) {
            let hint = "write Type/id, a full URL, urn:uuid:… or #id";
            self.error(IssueType::Value, value, "r4-reference", "the reference is not written as one", hint);
            return Target::Nowhere;
        }
        let elsewhere = || Target::Elsewhere(type_and_id(text).map(|(_, name, _)| name.to_owned()));
        let Some(index) = &self.bundle else { return elsewhere() };
        let found = match local {
            None => index.by_url.get(text),
            Some((_, name, id)) => {
                let full_url = scope.full_url.and_then(Node::text);
                let base = full_url.as_deref().and_then(type_and_id).map(|(base, ..)| base);
                base.and_then(|base| index.by_url.get(&*format!("{base}{text}")))
                    .or_else(|| index.by_id.get(&(name, Cow::Borrowed(id))))
            }
        };
        match found {
            Some(resource) => Target::Resource(*resource),
            None if text.starts_with("urn:uuid:")
                || text.starts_with("urn:oid:")
                || (index.is_closed && !is_absolute) =>
            {
                let hint = "add the resource, or correct the reference";
                self.error(
                    IssueType::NotFound,
                    value,
                    "r4-reference",
                    "the reference leads to no entry of the Bundle",
                    hint,
                );
                Target::Nowhere
            }
            None => elsewhere(),
        }
    }

    fn resolve_contained(&mut self, id: &str, value: Node<'a>, scope: &Scope<'a>) -> Target<'a> {
        if id.is_empty() {
            return Target::Resource(scope.root);
        }
        let keys = keys();
        let contained = scope.root.child(keys.contained).into_iter().flat_map(Node::items);
        let mut matching =
            contained.filter(|each| each.child(keys.id).and_then(Node::text).is_some_and(|own| own == id));
        match matching.next() {
            Some(resource) => Target::Resource(resource),
            None => {
                let text = "the reference leads to no contained resource";
                self.error(IssueType::NotFound, value, "ref-1", text, "add the resource, or correct the reference");
                Target::Nowhere
            }
        }
    }

    /// Each contained resource has an id, and is referred to from its container or refers to it (dom-3).
    pub(super) fn contained_are_used(&mut self, container: Node<'a>) {
        let keys = keys();
        let Some(contained) = container.child(keys.contained) else { return };
        let inside = container.id().index()..container.end_index();
        let fragments: Vec<(Node<'a>, Cow<'a, str>)> = (self.document.nodes().skip(inside.start).take(inside.len()))
            .filter_map(|node| Some((node, node.text()?)))
            .filter(|(_, text)| text.starts_with('#'))
            .collect();
        for each in contained.items() {
            let Some(id) = each.child(keys.id).and_then(Node::text) else {
                self.missing(each, "id", "r4-contained", "a contained resource has an id".to_owned());
                continue;
            };
            let own = each.id().index()..each.end_index();
            let used = fragments.iter().any(|(node, text)| {
                let is_own = own.contains(&node.id().index());
                (text[1..] == *id && !is_own) || (text.len() == 1 && is_own)
            });
            if !used {
                let text = "nothing in the container refers to the contained resource";
                self.error(IssueType::Invariant, each, "dom-3", text, "refer to it, or remove it");
            }
        }
    }
}

/// `http://x/Patient/1` or `Patient/1`: what stands before, the type, the id.
fn type_and_id(text: &str) -> Option<(&str, &str, &str)> {
    let (rest, id) = without_version(text).rsplit_once('/')?;
    let start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let name = &rest[start..];
    (schema().resource(name).is_some() && super::primitives::id(id)).then_some((&rest[..start], name, id))
}
