//! References: inside a resource, inside a Bundle or Parameters, and to what they may point; and the rules of Bundles.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use smallvec::SmallVec;

use super::plan::Shape;
use super::walk::{Found, MOST_TRIALS, Place, Scope, Shapes, Walk};
use crate::fhir::definitions::without_version;
use crate::fhir::outcome::{IssueType, Severity};
use crate::fhir::r4::schema;
use crate::fhir::{Node, has_byte, keys, up_to_byte};

/// The resources of a Bundle or of Parameters by what a reference may call them.
pub(super) struct BundleIndex<'a> {
    /// How bad it is if a reference that could only lead to an entry leads to none.
    dangling: Severity,
    /// A relative reference must name an entry: the Bundle is a message or a document.
    is_closed: bool,
    /// It holds versions of what it is the history of.
    is_history: bool,
    /// The first resource of a message or document.
    head: Option<Node<'a>>,
    by_url: HashMap<Cow<'a, str>, Versions<'a>>,
    resources: Vec<Node<'a>>,
    /// The resources by type and id, indexed when a reference asks for one so.
    by_id: OnceCell<HashMap<&'a str, HashMap<Cow<'a, str>, Versions<'a>>>>,
}

/// The rule of references.
const REFERENCE: &str = "r4-reference";
/// The rule of a relative reference to what its sender keeps and did not send, where nothing of the Bundle has to be there: `EpisodeOfCare/1`.
pub const NOT_SENT: &str = "r4-reference-not-sent";

/// What the first resource of a document or message refers to and the Bundle must hold (R4 documents.html,
/// messaging.html).
const HELD: &[&str] = &[
    "Composition.attester.party",
    "Composition.author",
    "Composition.custodian",
    "Composition.encounter",
    "Composition.event.detail",
    "Composition.section.author",
    "Composition.section.entry",
    "Composition.section.focus",
    "Composition.subject",
    "MessageHeader.focus",
];

/// Versions of one resource.
#[derive(Default)]
pub(super) struct Versions<'a> {
    pub(super) resources: SmallVec<[Node<'a>; 1]>,
    /// Whether they say that they are different ones.
    differ: bool,
    /// The place of the first of each version, and of the first that does not say which it is; made where there are many.
    places: OnceCell<HashMap<Option<Cow<'a, str>>, usize>>,
}

/// So many things are looked through rather than indexed.
const FEW: usize = 8;

impl<'a> Versions<'a> {
    fn push(&mut self, resource: Node<'a>) {
        self.differ |= self.resources.first().is_some_and(|first| version(*first) != version(resource));
        self.resources.push(resource);
    }

    /// The first that is the version asked for, or may be; the first of all if none is asked for.
    fn version(&self, wanted: Option<&str>) -> Option<Node<'a>> {
        let Some(wanted) = wanted else { return self.resources.first().copied() };
        if self.resources.len() <= FEW {
            return self.resources.iter().find(|each| version(**each).is_none_or(|own| own == wanted)).copied();
        }
        let places = self.places.get_or_init(|| {
            let mut places = HashMap::new();
            for (place, resource) in self.resources.iter().enumerate() {
                places.entry(version(*resource)).or_insert(place);
            }
            places
        });
        let either = [Some(Cow::Borrowed(wanted)), None].map(|version| places.get(&version).copied());
        either.into_iter().flatten().min().map(|place| self.resources[place])
    }
}

/// Where a reference leads.
enum Target<'a> {
    Resource(Node<'a>),
    /// A resource elsewhere; its type if the reference tells it.
    Elsewhere(Option<String>),
    Nowhere,
}

impl<'a> Walk<'a> {
    /// Indexes the entries of a Bundle, or the resources of Parameters, and checks what concerns all of them.
    pub(super) fn index(&mut self, node: Node<'a>) {
        let keys = keys();
        let is_bundle = node.resource_type() == Some("Bundle");
        let kind = node.child(keys.kind).and_then(Node::text).unwrap_or_default();
        let is_closed = is_bundle && matches!(&*kind, "message" | "document");
        let acts = is_bundle && matches!(&*kind, "transaction" | "batch");
        let dangling = if is_closed || acts { Severity::Error } else { Severity::Warning };
        let first = node.child(keys.entry).and_then(|entries| entries.items().next()?.child(keys.resource));
        let head = first.filter(|_| is_closed);
        let (by_url, resources, by_id) = (HashMap::new(), Vec::new(), OnceCell::new());
        let is_history = is_bundle && kind == "history";
        let mut index = BundleIndex { dangling, is_closed, is_history, head, by_url, resources, by_id };
        if is_bundle {
            self.entries(node, &kind, &mut index);
        } else {
            parameters(node, &mut index);
        }
        self.bundle = Some(Rc::new(index));
    }

    fn entries(&mut self, bundle: Node<'a>, kind: &str, index: &mut BundleIndex<'a>) {
        let keys = keys();
        let entries = bundle.child(keys.entry);
        index.by_url.reserve(entries.into_iter().flat_map(Node::items).count());
        let mut versions: HashSet<(Cow<'a, str>, Option<Cow<'a, str>>)> = HashSet::new();
        let mut acted = HashSet::new();
        for entry in entries.into_iter().flat_map(Node::items) {
            self.interaction(entry, kind, &mut acted);
            let resource = entry.child(keys.resource);
            let url = entry.child(keys.full_url).and_then(Node::text);
            if let Some(resource) = resource {
                self.full_url(entry, resource, kind);
                index.resources.push(resource);
            }
            let Some((url, resource)) = url.zip(resource) else { continue };
            let others = index.by_url.entry(url.clone()).or_default();
            if let [only] = others.resources[..] {
                versions.insert((url.clone(), version(only)));
            }
            let is_known = !others.resources.is_empty() && !versions.insert((url, version(resource)));
            if kind != "history" && is_known {
                let text = "two entries have the same fullUrl and version";
                self.error(IssueType::Duplicate, entry, "bdl-7", text, "give each entry its own fullUrl");
            }
            others.push(resource);
        }
        if index.is_closed && entries.is_none() {
            let text = format!("a Bundle of type {kind} has at least one entry");
            self.error(IssueType::Required, bundle, "r4-bundle", text, "add its entries");
        }
        self.links(bundle);
        match kind {
            "searchset" => self.search_results(bundle),
            "document" => self.document_entries(bundle, index),
            _ => {}
        }
    }

    /// Each kind of link stands once.
    fn links(&mut self, bundle: Node<'a>) {
        let mut seen: Vec<Cow<'a, str>> = Vec::new();
        for link in bundle.items_of("link") {
            let Some(relation) = link.member("relation").and_then(Node::text) else { continue };
            if seen.contains(&relation) && matches!(&*relation, "self" | "first" | "previous" | "next" | "last") {
                let text = format!("the Bundle has two links of the relation {relation}");
                self.error(IssueType::Duplicate, link, "r4-bundle", text, "keep one of them");
            }
            seen.push(relation);
        }
    }

    /// What a search found is what its self link asked for.
    fn search_results(&mut self, bundle: Node<'a>) {
        let keys = keys();
        let links = bundle.items_of("link");
        let own = links.filter(|link| link.member("relation").and_then(Node::text).as_deref() == Some("self")).last();
        let Some(url) = own.and_then(|link| link.child(keys.url)?.text()) else { return };
        let wanted = searched_types(&url);
        for entry in bundle.items_at(keys.entry) {
            let Some(resource) = entry.child(keys.resource) else { continue };
            let Some(name) = resource.resource_type() else { continue };
            let mode = entry.member("search").and_then(|search| search.child(keys.mode)?.text()).unwrap_or_default();
            if mode == "outcome" {
                if name != "OperationOutcome" {
                    let text =
                        format!("the entry is an outcome of the search: OperationOutcome expected, {name} found");
                    self.error(IssueType::Invalid, resource, "r4-bundle", text, "correct search.mode");
                }
                continue;
            }
            if resource.child(keys.id).is_none() {
                let text = "a resource that a search found has an id".to_owned();
                self.missing(resource, "id", "r4-bundle", text);
            }
            if mode == "match" && !wanted.is_empty() && !wanted.contains(&name) {
                let text = format!("the search asks for {}, and this match is a {name}", wanted.join(" or "));
                self.error(IssueType::Invalid, resource, "r4-bundle", text, "correct search.mode, or the self link");
            }
        }
    }

    fn full_url(&mut self, entry: Node<'a>, resource: Node<'a>, kind: &str) {
        let Some((value, url)) = entry.child(keys().full_url).and_then(|value| Some((value, value.text()?))) else {
            if !matches!(kind, "transaction" | "batch" | "batch-response" | "transaction-response") {
                let text = "Bundle.entry.fullUrl is missing: an entry with a resource has one".to_owned();
                self.missing(entry, "fullUrl", "r4-full-url", text);
            }
            return;
        };
        if !is_absolute(&url) {
            let hint = "write the URL of the resource, or urn:uuid: and a UUID";
            self.error(IssueType::Value, value, "r4-full-url", "the fullUrl is not an absolute URL", hint);
            return;
        }
        let id = resource.child(keys().id).and_then(Node::text);
        let (Some(id), Some(name)) = (id, resource.resource_type()) else { return };
        // A URL that is not that of a RESTful server may end in anything.
        let named = type_and_id(split_version(&url).0).filter(|_| url.starts_with("http"));
        if named.is_some_and(|(_, own, own_id)| own != name || own_id != id) {
            let text = "the fullUrl does not end with the type and id of its resource";
            self.error(IssueType::Value, entry, "r4-full-url", text, "make the two agree");
        }
    }

    /// Checks where a Reference leads, and that this may be.
    pub(super) fn reference(&mut self, node: Node<'a>, found: &Found<'a>, shapes: &[&'a Shape], scope: &Scope<'a>) {
        let keys = keys();
        self.declared_type(node, found, shapes);
        let Some(value) = node.child(keys.reference) else { return };
        let Some(text) = value.text() else { return };
        let target = self.resolve(&text, value, found.element.def.path, scope);
        for shape in shapes {
            self.placed(shape, value, &text, &target);
        }
        let name = match &target {
            Target::Resource(resource) => resource.resource_type(),
            Target::Elsewhere(name) => name.as_deref(),
            Target::Nowhere => None,
        };
        let Some(name) = name else { return };
        let targets = &found.element.def.types[found.chosen].targets;
        if !targets.is_empty() && !targets.contains(&name) && !targets.iter().any(|target| schema().is_a(name, target))
        {
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
        for shape in shapes {
            self.target_profiles(shape, value, &target, name);
        }
    }

    /// `Reference.type` is a resource type that the reference may lead to, or the URL of a logical model (R4
    /// references.html).
    fn declared_type(&mut self, reference: Node<'a>, found: &Found<'a>, shapes: &[&'a Shape]) {
        let Some(declared) = reference.child(keys().kind) else { return };
        let Some(name) = declared.text().filter(|name| !is_absolute(name)) else { return };
        if schema().resource(&name).is_none() {
            let text = "Reference.type is the name of no resource type of R4";
            let hint = "name the type as R4 does, or remove it";
            self.error(IssueType::Value, declared, "r4-reference-target", text, hint);
            return;
        }
        let validator = self.validator;
        let is = |wanted: &str| match validator.type_of(wanted) {
            Some(wanted) => schema().is_a(&name, wanted),
            None => schema().type_named(wanted).is_none() || schema().is_a(&name, wanted),
        };
        let targets = &found.element.def.types[found.chosen].targets;
        let own = shapes.iter().flat_map(|shape| &shape.types).filter(|rule| &*rule.code == "Reference");
        let narrowed = own.filter(|rule| !rule.targets.is_empty()).all(|rule| rule.targets.iter().any(|each| is(each)));
        if !narrowed || !(targets.is_empty() || targets.iter().any(|each| is(each))) {
            let text = format!("the reference says that it leads to a {name}, which it may not");
            self.error(IssueType::Value, declared, "r4-reference-target", text, "correct Reference.type");
        }
    }

    /// What the profile says of where the target is, and of its version (`aggregation`, `versioning`).
    fn placed(&mut self, shape: &'a Shape, value: Node<'a>, text: &str, target: &Target<'a>) {
        let Some(rule) = shape.types.iter().find(|rule| &*rule.code == "Reference") else { return };
        let is_contained = text.starts_with('#');
        let may_be = |place: &str| match place {
            "contained" => is_contained,
            "bundled" => !is_contained && (self.bundle.is_none() || matches!(target, Target::Resource(_))),
            _ => !is_contained,
        };
        if !rule.aggregation.is_empty() && !rule.aggregation.iter().any(|place| may_be(place)) {
            let text = format!("the target of {} is not where it must be: {}", shape.id, rule.aggregation.join(" or "));
            let hint = "add the resource there, or correct the reference";
            self.error(IssueType::NotFound, value, &shape.profile, text, hint);
        }
        let Some(versioning) = rule.versioning.as_deref() else { return };
        if text.contains("/_history/") != (versioning == "specific") {
            let (wanted, hint) = match versioning {
                "specific" => ("names", "add /_history/ and the version"),
                _ => ("does not name", "leave the version out"),
            };
            let text = format!("the reference of {} {wanted} a version of its target", shape.id);
            self.error(IssueType::Value, value, &shape.profile, text, hint);
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

    /// Whether a resource is of a base type, or keeps to a profile.
    pub(super) fn is_of_profile(&self, resource: Node<'a>, url: &str) -> bool {
        let name = resource.resource_type().unwrap_or_default();
        match self.validator.type_of(without_version(url)) {
            Some(wanted) => schema().is_a(name, wanted) && self.conforms(resource, without_version(url)),
            None => url.rsplit('/').next().is_some_and(|wanted| schema().is_a(name, wanted)),
        }
    }

    /// The resource that a Reference leads to, if it is here.
    pub(super) fn led_to(&self, reference: Node<'a>, scope: &Scope<'a>) -> Option<Node<'a>> {
        let text = reference.child(keys().reference)?.text()?;
        if let Some(id) = text.strip_prefix('#') {
            return self.contained(id, scope);
        }
        let (text, version) = split_version(&text);
        self.bundle.as_ref()?.find(text, !is_absolute(text), scope.full_url)?.version(version)
    }

    /// Whether the resource claims the profile or one derived from it; what it claims is checked where it stands.
    fn claims(&self, resource: Node<'a>, profile: &str) -> bool {
        let keys = keys();
        let claimed = resource.child(keys.meta).and_then(|meta| meta.child(keys.profile));
        claimed
            .into_iter()
            .flat_map(Node::items)
            .filter_map(Node::text)
            .any(|url| self.validator.derives(&url, profile))
    }

    /// Whether the resource keeps to a profile that something else asks of it. Tried once: a profile that is being tried
    /// further up, on a circle of references, is taken as kept.
    pub(super) fn conforms(&self, resource: Node<'a>, profile: &str) -> bool {
        let key = (resource.id(), Box::from(profile));
        if let Some(&known) = self.tried.borrow().get(&key) {
            return known;
        }
        if self.trials >= MOST_TRIALS {
            return true;
        }
        self.tried.borrow_mut().insert(key.clone(), true);
        let mut shapes = Shapes::new();
        self.validator.activate(profile, &mut shapes);
        let mut trial = Walk::new(self.validator, self.document);
        trial.bundle = self.bundle.clone();
        trial.tried = Rc::clone(&self.tried);
        trial.tells_errors_alone = true;
        trial.is_trial = true;
        trial.trials = self.trials + 1;
        trial.resource(resource, &Place::default(), &shapes);
        // What base R4 asks for is checked where the resource stands; the rules of profiles are named by a URL.
        let conforms = !trial.issues.iter().any(|issue| issue.is_error() && issue.rule.contains(':'));
        self.tried.borrow_mut().insert(key, conforms);
        conforms
    }

    fn resolve(&mut self, text: &str, value: Node<'a>, path: &str, scope: &Scope<'a>) -> Target<'a> {
        if let Some(id) = text.strip_prefix('#') {
            return self.resolve_contained(id, value, scope);
        }
        let (text, version) = split_version(text);
        let text = up_to_byte(text, b'#');
        let is_absolute = is_absolute(text);
        let is_uuid = text.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("urn:uuid:"));
        let has_capital = || text.bytes().fold(0, |found, byte| found | u8::from(byte.is_ascii_uppercase())) != 0;
        if is_uuid && has_capital() {
            let said = "a UUID is written in lower case (R4 datatypes, uri)";
            let hint = "write it in lower case";
            self.report(Severity::Warning, IssueType::Value, value, REFERENCE, said, hint);
        }
        let local = if is_absolute { None } else { type_and_id(text) };
        if !is_absolute && local.is_none_or(|(before, ..)| !before.is_empty()) {
            let hint = "write Type/id, a full URL, urn:uuid:… or #id";
            self.error(IssueType::Value, value, REFERENCE, "the reference is not written as one", hint);
            return Target::Nowhere;
        }
        let elsewhere = || Target::Elsewhere(type_and_id(text).map(|(_, name, _)| name.to_owned()));
        let Some(index) = self.bundle.clone() else { return elsewhere() };
        let found = index.find(text, local.is_some(), scope.full_url);
        let first = found.and_then(|found| found.version(version));
        if version.is_none() && index.is_closed && found.is_some_and(|found| found.differ) {
            let text = "the reference names a resource of which the Bundle has several versions";
            self.error(IssueType::Duplicate, value, REFERENCE, text, "say which version: …/_history/version");
        }
        if let Some(resource) = first {
            return Target::Resource(resource);
        }
        let is_held = index.head == Some(scope.resource) && HELD.contains(&path);
        let rule = if is_absolute || is_held { REFERENCE } else { NOT_SENT };
        let dangling = self.dangling(text, (is_absolute && !is_held, rule), &index, value);
        if dangling.is_none() && found.is_some() && !index.is_history {
            let said = "the Bundle holds another version of what the reference names";
            let hint = "name the version that the Bundle holds, or leave it out";
            self.report(Severity::Warning, IssueType::NotFound, value, REFERENCE, said, hint);
        }
        dangling.unwrap_or_else(elsewhere)
    }

    /// A reference that leads to no entry, where that matters.
    fn dangling(
        &mut self,
        text: &str,
        (may_be_elsewhere, rule): (bool, &str),
        index: &BundleIndex<'a>,
        value: Node<'a>,
    ) -> Option<Target<'a>> {
        let starts = |start: &str| text.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start));
        let is_local = starts("urn:uuid:") || starts("urn:oid:");
        let severity = match (is_local || (index.is_closed && !may_be_elsewhere), self.validator.strictness) {
            (true, _) => index.dangling,
            (false, strictness) if strictness.resolved_references && !may_be_elsewhere => Severity::Error,
            _ => return None,
        };
        let hint = "add the resource, or correct the reference";
        let text = "the reference leads to no entry of the Bundle";
        self.report(severity, IssueType::NotFound, value, rule, text, hint);
        Some(Target::Nowhere)
    }

    fn resolve_contained(&mut self, id: &str, value: Node<'a>, scope: &Scope<'a>) -> Target<'a> {
        match self.contained(id, scope) {
            Some(resource) => Target::Resource(resource),
            None => {
                let text = "the reference leads to no contained resource";
                self.error(IssueType::NotFound, value, "ref-1", text, "add the resource, or correct the reference");
                Target::Nowhere
            }
        }
    }

    /// The contained resource with this id; the container itself for `#`.
    fn contained(&self, id: &str, scope: &Scope<'a>) -> Option<Node<'a>> {
        if id.is_empty() {
            return Some(scope.root);
        }
        let own_id = |each: Node<'a>| each.child(keys().id).and_then(Node::text);
        let contained = || scope.root.items_at(keys().contained);
        if contained().nth(FEW).is_none() {
            return contained().find(|each| own_id(*each).is_some_and(|own| own == id));
        }
        let mut known = self.contained.borrow_mut();
        if known.0 != Some(scope.root.id()) {
            *known = (Some(scope.root.id()), HashMap::new());
            for each in contained() {
                if let Some(id) = own_id(each) {
                    known.1.entry(id).or_insert(each);
                }
            }
        }
        known.1.get(id).copied()
    }

    /// Each contained resource has an id, and is referred to from its container or refers to it (dom-3).
    pub(super) fn contained_are_used(&mut self, container: Node<'a>) {
        let keys = keys();
        let Some(contained) = container.child(keys.contained) else { return };
        let fragments = Fragments::of(container);
        let mut ids = HashSet::new();
        for each in contained.items() {
            let Some(id) = each.child(keys.id).and_then(Node::text) else {
                self.missing(each, "id", "r4-contained", "a contained resource has an id".to_owned());
                continue;
            };
            if !ids.insert(id.clone()) {
                let text = "two contained resources have the same id";
                self.error(IssueType::Duplicate, each, "r4-contained", text, "give each its own id");
            }
            if !fragments.use_of(&id, each.id().index()..each.end_index()) {
                let text = "nothing in the container refers to the contained resource";
                self.error(IssueType::Invariant, each, "dom-3", text, "refer to it, or remove it");
            }
        }
    }
}

/// The texts of a resource that begin with `#`.
struct Fragments<'a> {
    /// Indexes of the first and the last node with the same text behind it.
    ends: HashMap<Cow<'a, str>, (usize, usize)>,
    /// Indexes of the nodes with nothing behind it, ascending.
    bare: Vec<usize>,
}

impl<'a> Fragments<'a> {
    fn of(container: Node<'a>) -> Fragments<'a> {
        let (mut ends, mut bare) = (HashMap::new(), Vec::new());
        for node in container.subtree() {
            let Some(text) = node.text().filter(|text| text.starts_with('#')) else { continue };
            let at = node.id().index();
            if text.len() == 1 {
                bare.push(at);
                continue;
            }
            let id = match text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[1..]),
                Cow::Owned(text) => Cow::Owned(text[1..].to_owned()),
            };
            ends.entry(id).and_modify(|ends: &mut (usize, usize)| ends.1 = at).or_insert((at, at));
        }
        Fragments { ends, bare }
    }

    /// Whether something outside names the contained resource at `own`, or something in it names the container.
    fn use_of(&self, id: &str, own: Range<usize>) -> bool {
        let is_named = self.ends.get(id).is_some_and(|&(first, last)| first < own.start || last >= own.end);
        let next = self.bare.partition_point(|&at| at < own.start);
        is_named || self.bare.get(next).is_some_and(|&at| at < own.end)
    }
}

/// The type of what a reference leads to, as its URL says it.
pub(super) fn told_type(reference: Node<'_>) -> Option<String> {
    let text = reference.child(keys().reference)?.text()?;
    type_and_id(split_version(&text).0).map(|(_, name, _)| name.to_owned())
}

impl<'a> BundleIndex<'a> {
    fn by_id(&self) -> &HashMap<&'a str, HashMap<Cow<'a, str>, Versions<'a>>> {
        self.by_id.get_or_init(|| {
            let mut by_id: HashMap<&'a str, HashMap<Cow<'a, str>, Versions<'a>>> = HashMap::new();
            for &resource in &self.resources {
                if let Some((name, id)) = resource.resource_type().zip(resource.child(keys().id).and_then(Node::text)) {
                    by_id.entry(name).or_default().entry(id).or_default().push(resource);
                }
            }
            by_id
        })
    }

    /// The resources that a reference without its version may mean.
    pub(super) fn find(&self, text: &str, is_local: bool, full_url: Option<Node<'a>>) -> Option<&Versions<'a>> {
        if is_local {
            let full_url = full_url.and_then(Node::text);
            let base = full_url.as_deref().and_then(type_and_id).map(|(base, ..)| base);
            let url = base.filter(|base| is_absolute(base)).map(|base| format!("{base}{text}"));
            let by_url = url.and_then(|url| self.by_url.get(&*url));
            // Where the reference is relative to the URL of its entry, an entry of another server is not meant.
            let by_id = || text.split_once('/').and_then(|(name, id)| self.by_id().get(name)?.get(id));
            by_url.or_else(|| by_id().filter(|_| base.is_none() || !self.is_closed))
        } else {
            self.by_url.get(text)
        }
    }
}

/// Adds the resources of Parameters, at any depth.
fn parameters<'a>(node: Node<'a>, index: &mut BundleIndex<'a>) {
    let mut rest: Vec<Node<'a>> = node.items_of("parameter").collect();
    while let Some(parameter) = rest.pop() {
        if let Some(resource) = parameter.child(keys().resource) {
            index.resources.push(resource);
        }
        rest.extend(parameter.items_of("part"));
    }
}

/// A reference without `/_history/…`, and the version.
pub(super) fn split_version(text: &str) -> (&str, Option<&str>) {
    // Few references have the one letter.
    let versioned = has_byte(text, b'_').then(|| text.split_once("/_history/")).flatten();
    versioned.map_or((text, None), |(text, version)| (text, Some(version)))
}

fn version(resource: Node<'_>) -> Option<Cow<'_, str>> {
    resource.child(keys().meta)?.child(keys().version_id)?.text()
}

/// The resource types that the URL of a search asks for.
fn searched_types(url: &str) -> Vec<&str> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let named = path.rsplit('/').next().filter(|name| schema().resource(name).is_some());
    let listed = query.split('&').find_map(|part| part.strip_prefix("_type="));
    named.into_iter().chain(listed.into_iter().flat_map(|list| list.split(','))).collect()
}

/// Whether text is a URL with a scheme (RFC 3986, 3.1).
pub(super) fn is_absolute(text: &str) -> bool {
    text.bytes().position(|byte| byte == b':').is_some_and(|colon| {
        let scheme = &text[..colon];
        colon + 1 < text.len()
            && scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

/// `http://x/Patient/1` or `Patient/1`: what stands before, the type, the id.
fn type_and_id(text: &str) -> Option<(&str, &str, &str)> {
    let (rest, id) = without_version(text).rsplit_once('/')?;
    let start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let name = &rest[start..];
    (schema().resource(name).is_some() && super::primitives::id(id)).then_some((&rest[..start], name, id))
}
