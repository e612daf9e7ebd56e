//! Second half of the projection: the outgoing Bundle, built by copying the leaves that may leave.
//!
//! Enters: the Bundle and an interface's plan (the one for sharing with consent, or the one for sharing without). Leaves: a new Bundle and its [`Manifest`]. Invariant: every byte of a
//! value in the new Bundle is either a span copied under a [`Verdict::Leaf`], or made by `generalise`, or written by
//! `fhir::labels` or `fhir::narrative`. Keys come from the table of R4 names, so an unknown name cannot be written. Text
//! and tree are written in one go: what leaves is not parsed again.

use std::collections::HashMap;

use super::agreement::Agreement;
use super::decision::{Decisions, Verdict, twin};
use super::manifest::{Generalised, Kept, Manifest, Why};
use super::plan::Plan;
use super::untouched::Untouched;
use super::{Error, withheld_list};
use crate::fhir::bundle::{BUNDLE, COMPOSITION, Entries};
use crate::fhir::labels::{self, Labels};
use crate::fhir::narrative::{self, Account, Head, Show, Shown};
use crate::fhir::{Builder, Document, NameId, Node, NodeId, NodeSet, keys};

/// Room for the labels and masks of a Bundle of which little is withheld, in bytes.
const ROOM: usize = 2048;

/// Builds what may leave of `bundle`, which has these entries, by the plan of an interface of `agreement`.
///
/// # Errors
/// [`Error::NotABundle`], [`Error::MeaningLost`], [`Error::TooLarge`].
pub(super) fn project<'d>(
    bundle: &'d Document,
    entries: &Entries<'d>,
    agreement: &Agreement,
    plan: &Plan,
) -> Result<(Document, Manifest), Error> {
    if bundle.resource_type() != Some(BUNDLE) {
        return Err(Error::NotABundle);
    }
    let recipient = &agreement.recipient().ods;
    let mut decisions = Decisions::on(bundle, entries, plan, recipient).ok_or(Error::NotABundle)?;
    if decisions.loses_meaning(bundle.root()) {
        return Err(Error::MeaningLost);
    }
    let narratives = narratives(bundle, entries, &mut decisions, agreement, plan.tell_withheld);
    let withheld = if plan.list_withheld { list(bundle, entries, &decisions) } else { Vec::new() };
    let mut projection = Projection {
        out: Builder::with_capacity(bundle.source().len() + narratives.len() * 5 / 4 + ROOM, bundle.len() + ROOM / 16),
        untouched: untouched(bundle, &decisions, &narratives, plan.tell_withheld),
        decisions: &decisions,
        narratives,
        withheld,
        tell_withheld: plan.tell_withheld,
        manifest: Manifest {
            kept: Vec::with_capacity(bundle.len() * 3 / 4),
            keeps_claims: keeps_claims(&decisions, bundle.root()),
            ..Manifest::default()
        },
        is_comparable: true,
    };
    projection.resource(bundle.root());
    let Projection { out, mut manifest, untouched, .. } = projection;
    let sent = out.finish().ok_or(Error::TooLarge)?;
    manifest.altered = untouched.altered;
    manifest.withheld = decisions.into_withheld();
    Ok((sent, manifest))
}

/// What leaves as it is, where it is, without a label or narrative of ours.
fn untouched(bundle: &Document, decisions: &Decisions<'_>, narratives: &Narratives, tell_withheld: bool) -> Untouched {
    let resources = std::iter::once(bundle.root()).chain(decisions.resources());
    let is_changed =
        |node: &Node<'_>| !stands_in_order(*node) || (tell_withheld && !decisions.labels(*node).is_empty());
    let changed = resources.filter(is_changed).map(Node::id);
    Untouched::of(bundle.root(), decisions, changed.chain(narratives.divs.keys().copied()))
}

/// Whether the Bundle and each resource that leaves claims the profiles that it claimed.
fn keeps_claims<'d>(decisions: &Decisions<'d>, bundle: Node<'d>) -> bool {
    let leaves = |claim: Node<'_>| matches!(decisions.verdict(claim), Verdict::Leaf(_));
    let keeps = |resource: Node<'d>| match resource.child(keys().meta).and_then(|meta| meta.child(keys().profile)) {
        Some(claims) => claims.items().all(leaves),
        None => true,
    };
    std::iter::once(bundle).chain(decisions.resources()).all(keeps)
}

/// What was withheld, now and by an earlier projection.
fn list(bundle: &Document, entries: &Entries<'_>, decisions: &Decisions<'_>) -> Vec<String> {
    let is_told = |node: &NodeId| bundle.node(*node).is_some_and(|node| !is_masked(node));
    let now = withheld_list::elements(bundle.root(), entries, decisions.withheld().into_iter().filter(is_told));
    now.union(decisions.listed()).cloned().collect()
}

/// Narratives by the node that they are the text of.
#[derive(Default)]
struct Narratives {
    holders: NodeSet,
    divs: HashMap<NodeId, String>,
}

impl Narratives {
    fn insert(&mut self, holder: NodeId, div: String) {
        self.holders.insert(holder);
        self.divs.insert(holder, div);
    }

    /// How many bytes they are in all.
    fn len(&self) -> usize {
        self.divs.values().map(String::len).sum()
    }
}

/// Makes the narrative of each Composition that leaves. Text in the Bundle that differs from it counts as withheld.
fn narratives<'d>(
    bundle: &'d Document,
    entries: &Entries<'d>,
    decisions: &mut Decisions<'d>,
    agreement: &Agreement,
    tell_withheld: bool,
) -> Narratives {
    let (mut made, mut remarks) = (Narratives::default(), HashMap::new());
    let compositions: Vec<Node<'d>> = decisions.resources().filter(is_composition).collect();
    for &composition in &compositions {
        for section in sections(composition, decisions) {
            if let Some((div, remark)) = section_narrative(section, entries, decisions, tell_withheld) {
                replace(section, &div, bundle.root(), composition, decisions);
                made.insert(section.id(), div);
                remarks.extend(remark.map(|remark| (section.id(), remark)));
            }
        }
    }
    for composition in compositions {
        let narrative = |decisions: &Decisions<'d>| {
            let shown = |leaf: Node<'_>| decisions.show(leaf);
            let cut = tell_withheld && decisions.is_cut(bundle.root());
            let note = cut.then(|| account_of_withheld(bundle, composition, entries, decisions, agreement));
            let (shown, note) = (Shown::new(&shown), note.as_deref());
            Head { composition, entries, shown, remarks: &remarks, note }.div()
        };
        let mut div = narrative(decisions);
        if replace(composition, &div, bundle.root(), composition, decisions) {
            div = narrative(decisions);
        }
        made.insert(composition.id(), div);
    }
    made
}

fn is_composition(resource: &Node<'_>) -> bool {
    resource.resource_type() == Some(COMPOSITION)
}

/// The sections that leave, at any depth.
fn sections<'d>(parent: Node<'d>, decisions: &Decisions<'_>) -> Vec<Node<'d>> {
    let items = parent.items_at(keys().section);
    let mut found = Vec::new();
    for section in items.filter(|section| decisions.verdict(*section) == Verdict::Open) {
        found.push(section);
        found.extend(sections(section, decisions));
    }
    found
}

/// The narrative of a section, and what to say of the section in the head.
fn section_narrative(
    section: Node<'_>,
    entries: &Entries<'_>,
    decisions: &Decisions<'_>,
    tell_withheld: bool,
) -> Option<(String, Option<String>)> {
    let references = || section.items_at(keys().entry);
    let shown = |leaf: Node<'_>| decisions.show(leaf);
    let leaves = |reference: &Node<'_>| reference.child(keys().reference).is_some_and(|leaf| shown(leaf) != Show::No);
    let targets: Vec<Node<'_>> = references().filter(leaves).filter_map(|entry| entries.target(entry)).collect();
    let text = section.child(keys().text);
    if !targets.is_empty() {
        let cut = targets.len() < references().count() || targets.iter().any(|target| decisions.is_cut(*target));
        let part = tell_withheld && (cut || text.is_some_and(narrative::tells_part_withheld));
        let div = narrative::of_section(section, &targets, Shown::new(&shown), part);
        return Some((div, part.then(|| "part was withheld".to_owned())));
    }
    let withheld = narrative::of_withheld_section(tell_withheld);
    let had_entries = section.child(keys().entry).is_some() || text.is_some_and(|text| narrative::is(text, &withheld));
    if let Some((reason, div)) = narrative::of_empty_section(section, Shown::new(&shown)).filter(|_| !had_entries) {
        return Some((div, Some(reason)));
    }
    (had_entries || text.is_some()).then(|| (withheld, tell_withheld.then(|| "withheld".to_owned())))
}

/// What the agreement withheld, by kind; and what it had withheld when this Bundle was cut down to it before.
fn account_of_withheld(
    bundle: &Document,
    composition: Node<'_>,
    entries: &Entries<'_>,
    decisions: &Decisions<'_>,
    agreement: &Agreement,
) -> String {
    let mut account = Account::new(agreement.id(), agreement.version());
    for node in decisions.withheld() {
        let was_withheld_before = bundle.node(node).is_some_and(is_masked);
        if !was_withheld_before {
            account.add(narrative::kind_withheld(bundle.root(), entries, node));
        }
    }
    if let Some(text) = composition.child(keys().text) {
        account.carry(text);
    }
    account.sentence()
}

/// Whether a mask stands in an element already.
fn is_masked(node: Node<'_>) -> bool {
    node.items().any(|item| {
        let mut extensions = item.items_at(keys().extension);
        labels::is_masked(item) || extensions.any(labels::is_masked)
    })
}

/// Accounts for narrative that stood where `div` goes. Returns whether there was any that says something else.
fn replace<'d>(
    holder: Node<'d>,
    div: &str,
    bundle: Node<'d>,
    composition: Node<'d>,
    decisions: &mut Decisions<'d>,
) -> bool {
    let Some(text) = holder.child(keys().text).filter(|text| !narrative::is(*text, div)) else { return false };
    decisions.withhold(text, Why::NotPermitted);
    decisions.cut(composition);
    decisions.cut(bundle);
    true
}

struct Projection<'p, 'd> {
    out: Builder,
    untouched: Untouched,
    decisions: &'p Decisions<'d>,
    narratives: Narratives,
    /// The list of what was withheld, for the Bundle's `meta`; empty where the receiver does not get it.
    withheld: Vec<String>,
    tell_withheld: bool,
    manifest: Manifest,
    /// Whether what is untouched in the resource says what it said.
    is_comparable: bool,
}

impl Projection<'_, '_> {
    /// A resource: its type and id, its labels and narrative, then the rest in its order.
    fn resource(&mut self, resource: Node<'_>) {
        if self.may_be_copied(resource) {
            return self.copy(resource);
        }
        // In another language a code has other names that are right (see the check of displays).
        let keeps_language = resource.member("language").is_none_or(|language| self.leaves(language));
        let around = std::mem::replace(&mut self.is_comparable, keeps_language);
        let open = self.begin_object(resource);
        let first = [keys().resource_type, keys().id];
        for name in first {
            if let Some(child) = resource.child(name) {
                self.member(resource, child);
            }
        }
        self.meta(resource);
        self.narrative(resource);
        let rest = |child: &Node<'_>| !first.contains(&child.name_id()) && child.name_id() != keys().meta;
        for child in resource.children().filter(rest) {
            self.member(resource, child);
        }
        self.out.end(open);
        self.is_comparable = around;
    }

    /// Whether `node` leaves as it is, and its text holds nothing else.
    fn may_be_copied(&self, node: Node<'_>) -> bool {
        node.document().is_built() && self.is_comparable && self.untouched.has(node)
    }

    /// What is untouched, in one piece: each of its leaves leaves under its clause.
    fn copy(&mut self, node: Node<'_>) {
        let (copy, first) = (self.out.copy_whole(node), node.id().index());
        let moved = |node: Node<'_>| NodeId::at(node.id().index() - first + copy.index());
        for each in node.subtree() {
            match self.decisions.verdict(each) {
                Verdict::Leaf(clause) => self.manifest.kept.push(Kept { node: each.id(), sent: moved(each), clause }),
                _ => self.manifest.settled.insert(moved(each)),
            }
        }
    }

    /// Opens the object of `node`.
    fn begin_object(&mut self, node: Node<'_>) -> NodeId {
        let open = self.out.begin_object();
        if self.is_comparable && self.untouched.has(node) {
            self.manifest.settled.insert(open);
        }
        open
    }

    fn meta(&mut self, resource: Node<'_>) {
        let meta = resource.child(keys().meta);
        let open = meta.filter(|meta| matches!(self.decisions.verdict(*meta), Verdict::Open));
        let labels = if self.tell_withheld { self.decisions.labels(resource) } else { Labels::default() };
        let is_bundle = resource.id().index() == 0;
        let withheld = if is_bundle { std::mem::take(&mut self.withheld) } else { Vec::new() };
        if open.is_none() && labels.is_empty() && withheld.is_empty() {
            return;
        }
        let is_made = |name: NameId| {
            (name == keys().security && !labels.is_empty()) || (name == keys().extension && !withheld.is_empty())
        };
        self.out.key(keys().meta.name());
        if open.is_none() {
            self.untouched.altered.insert(keys().meta);
        }
        let object = match meta {
            Some(meta) if labels.is_empty() && withheld.is_empty() => self.begin_object(meta),
            _ => self.out.begin_object(),
        };
        if let Some(meta) = open.or(meta) {
            for child in meta.children().filter(|child| !is_made(child.name_id())) {
                self.member(meta, child);
            }
        }
        let own = |name: NameId| meta.and_then(|meta| meta.child(name));
        if !withheld.is_empty() {
            self.list(keys().extension, own(keys().extension), |out| {
                withheld.iter().for_each(|path| labels::write_withheld_element(out, path));
            });
        }
        if !labels.is_empty() {
            self.list(keys().security, own(keys().security), |out| labels.write(out));
        }
        self.out.end(object);
    }

    /// An array of what leaves of `items`, and behind it what disclosure says itself.
    fn list(&mut self, name: NameId, items: Option<Node<'_>>, say: impl FnOnce(&mut Builder)) {
        self.untouched.altered.insert(name);
        self.out.key(name.name());
        let list = self.out.begin_array();
        if let Some(items) = items {
            self.open_items(items);
        }
        self.generated(say);
        self.out.end(list);
    }

    /// What disclosure writes itself, accounted for.
    fn generated(&mut self, say: impl FnOnce(&mut Builder)) {
        let first = self.out.next_id();
        say(&mut self.out);
        self.out.names_from(first).for_each(|name| self.untouched.altered.insert(name));
        self.manifest.generated.extend(self.out.leaves_from(first));
    }

    fn narrative(&mut self, holder: Node<'_>) {
        if !self.narratives.holders.contains(holder.id()) {
            return;
        }
        if let Some(div) = self.narratives.divs.remove(&holder.id()) {
            self.out.key(keys().text.name());
            self.manifest.settled.insert(self.out.next_id());
            self.generated(|out| narrative::write(out, &div));
        }
    }

    fn member(&mut self, parent: Node<'_>, child: Node<'_>) {
        let name = child.name_id();
        match self.decisions.verdict(child) {
            Verdict::Withheld => {}
            Verdict::Leaf(_) | Verdict::Made(_) => {
                self.key(name);
                self.value(child);
            }
            Verdict::Band(band) => self.band(parent, child, band),
            Verdict::Open if self.is_banded(parent, child) => {}
            Verdict::Open => {
                self.key(name);
                self.open(child);
            }
            Verdict::Resource => {
                self.key(name);
                self.resource(child);
            }
            Verdict::Values => self.values(parent, child),
            Verdict::Masked { primitive, array } => self.masked(name, primitive, array),
            Verdict::OpenMasked => self.open_masked(child),
        }
    }

    fn open(&mut self, node: Node<'_>) {
        if self.may_be_copied(node) {
            return self.copy(node);
        }
        if node.is_array() {
            let list = self.out.begin_array();
            self.open_items(node);
            self.out.end(list);
        } else {
            self.object(node);
        }
    }

    fn open_items(&mut self, array: Node<'_>) {
        for item in array.items().filter(|item| self.decisions.verdict(*item) == Verdict::Open) {
            self.object(item);
        }
    }

    /// An object, with its narrative in R4's place. The place must not depend on what is withheld, so what follows
    /// narrative in R4 follows it here, wherever it stood.
    fn object(&mut self, node: Node<'_>) {
        if self.may_be_copied(node) {
            return self.copy(node);
        }
        let has_narrative = self.narratives.holders.contains(node.id());
        let follows = |child: &Node<'_>| has_narrative && narrative::follows_text(child.name_id());
        let object = self.begin_object(node);
        for child in node.children().filter(|child| !follows(child)) {
            self.member(node, child);
        }
        self.narrative(node);
        for child in node.children().filter(follows) {
            self.member(node, child);
        }
        self.out.end(object);
    }

    /// An array of primitive values, and beside it that of their extensions: both keep an item if one of them does.
    fn values(&mut self, parent: Node<'_>, child: Node<'_>) {
        if self.may_be_copied(child) && twin(parent, child).is_none() {
            self.key(child.name_id());
            return self.copy(child);
        }
        let is = |twin: &Node<'_>| self.decisions.verdict(*twin) == Verdict::Values;
        match twin(parent, child).filter(is) {
            None => {
                self.key(child.name_id());
                let list = self.out.begin_array();
                for item in child.children() {
                    if self.leaves(item) {
                        self.item(item);
                    }
                }
                self.out.end(list);
            }
            Some(_) if child.name_id().is_primitive_extension() => {}
            Some(twin) => {
                let (values, extensions) = self.pairs(child, twin);
                self.items(child.name_id(), &values);
                self.items(twin.name_id(), &extensions);
            }
        }
    }

    fn leaves(&self, node: Node<'_>) -> bool {
        matches!(self.decisions.verdict(node), Verdict::Leaf(_) | Verdict::Made(_) | Verdict::Open)
    }

    fn pairs<'a>(&self, values: Node<'a>, extensions: Node<'a>) -> (Vec<Option<Node<'a>>>, Vec<Option<Node<'a>>>) {
        let (mut left, mut right) = (values.children(), extensions.children());
        let mut kept = (Vec::new(), Vec::new());
        loop {
            let pair = (left.next(), right.next());
            if pair == (None, None) {
                return kept;
            }
            let pair = (pair.0.filter(|node| self.leaves(*node)), pair.1.filter(|node| self.leaves(*node)));
            if pair != (None, None) {
                kept.0.push(pair.0);
                kept.1.push(pair.1);
            }
        }
    }

    fn items(&mut self, name: NameId, items: &[Option<Node<'_>>]) {
        self.key(name);
        let list = self.out.begin_array();
        for item in items {
            match *item {
                Some(item) => self.item(item),
                None => self.out.scalar("null"),
            }
        }
        self.out.end(list);
    }

    /// A value that leaves, or the object of a value's extensions.
    fn item(&mut self, item: Node<'_>) {
        match self.decisions.verdict(item) {
            Verdict::Leaf(_) | Verdict::Made(_) => self.value(item),
            _ => self.object(item),
        }
    }

    fn masked(&mut self, name: NameId, primitive: bool, array: bool) {
        match primitive {
            true => self.out.companion_key(name.name()),
            false => self.out.key(name.name()),
        }
        let list = array.then(|| self.out.begin_array());
        self.generated(labels::write_masked_element);
        if let Some(list) = list {
            self.out.end(list);
        }
    }

    /// The extensions of a primitive that leave, and the mask of its value among them.
    fn open_masked(&mut self, node: Node<'_>) {
        self.out.companion_key(node.name_id().name());
        let object = self.open_companion(Some(node));
        self.generated(labels::write_masked);
        self.close_companion(object);
    }

    /// Whether a date's extensions are written with the age band that stands in its place.
    fn is_banded(&self, parent: Node<'_>, child: Node<'_>) -> bool {
        let twin = || twin(parent, child).map(|twin| self.decisions.verdict(twin));
        child.name_id().is_primitive_extension() && matches!(twin(), Some(Verdict::Band(_)))
    }

    /// An age band in the place of a date: the date is masked, and its extensions that leave stay.
    fn band(&mut self, parent: Node<'_>, child: Node<'_>, place: u32) {
        let companion = if child.name_id().is_primitive_extension() { None } else { twin(parent, child) };
        let companion = companion.filter(|twin| self.decisions.verdict(*twin) == Verdict::Open);
        let (band, clause) = self.decisions.band(place);
        self.out.companion_key(child.name_id().name());
        let object = self.open_companion(companion);
        self.generated(labels::write_masked);
        let sent = self.out.next_id();
        self.manifest.generalised.push(Generalised { node: child.id(), sent, clause });
        self.generated(|out| band.write(out));
        self.close_companion(object);
    }

    /// What a primitive has besides its value, up to its extensions, of which more may follow.
    fn open_companion(&mut self, node: Option<Node<'_>>) -> (NodeId, NodeId) {
        let object = self.out.begin_object();
        if let Some(node) = node {
            for child in node.children().filter(|child| child.name_id() != keys().extension) {
                self.member(node, child);
            }
        }
        self.out.key(keys().extension.name());
        let list = self.out.begin_array();
        if let Some(extensions) = node.and_then(|node| node.child(keys().extension)) {
            self.open_items(extensions);
        }
        (object, list)
    }

    fn close_companion(&mut self, (object, list): (NodeId, NodeId)) {
        self.out.end(list);
        self.out.end(object);
    }

    /// A leaf that leaves, as it is or with another value in its place. The only place where a value is written.
    fn value(&mut self, node: Node<'_>) {
        match self.decisions.verdict(node) {
            Verdict::Leaf(clause) => {
                let sent = self.out.copy(node);
                self.manifest.kept.push(Kept { node: node.id(), sent, clause });
            }
            Verdict::Made(place) => {
                let made = self.decisions.made(place);
                let sent = self.out.next_id();
                self.out.string(&made.text);
                self.manifest.generalised.push(Generalised { node: node.id(), sent, clause: made.clause });
            }
            _ => {}
        }
    }

    fn key(&mut self, name: NameId) {
        match name.is_primitive_extension() {
            true => self.out.companion_key(name.name()),
            false => self.out.key(name.name()),
        }
    }
}

/// Whether a resource starts as one that is written member by member does.
fn stands_in_order(resource: Node<'_>) -> bool {
    let first = [keys().resource_type, keys().id, keys().meta];
    let places = resource.children().map(|child| first.iter().position(|name| *name == child.name_id()));
    let mut places = places.map(|place| place.unwrap_or(first.len()));
    let mut last = 0;
    places.all(|place| std::mem::replace(&mut last, place) <= place)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::disclosure::agreement::sample::{CONSENT, SECTIONS};
    use crate::disclosure::{Agreements, project};
    use crate::fhir::Limits;
    use crate::identity::InterfaceName;

    const PROFILE: &str = "https://weir.example/p";
    const MASK: &str =
        r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"masked"}]}"#;
    const LABEL: &str = r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}"#;

    fn agreement(permits: &[(&str, Option<&str>, &[&str])], tell: bool, required: &[&str]) -> Agreements {
        let mut text = format!(
            "id = 'a'\nversion = '1'\nstatus = 'active'\neffective = '2026-01-01'\nreview = '2027-01-01'\n\
             retention_days = 1\ncontroller = {{ ods = 'A1', name = 'A' }}\nrecipient = {{ ods = 'B1', name = 'B' }}\n\
             purpose = {{ code = 'TREAT', words = 'care' }}\n\
             lawful_basis = {{ article_6 = '6', article_9 = '9', common_law = 'c' }}\ncategories = {{ c = 'c' }}\n\
             {SECTIONS}[interfaces.i]\nprofile = '{PROFILE}'\ntell_withheld = {tell}\n{CONSENT}"
        );
        for (resource, profile, elements) in permits {
            let profile = profile.map(|url| format!("profile = '{url}'\n")).unwrap_or_default();
            let _infallible = write!(
                text,
                "[[interfaces.i.permit]]\nresource = '{resource}'\n{profile}elements = {elements:?}\n\
                 category = 'c'\nreason = 'r'\n"
            );
        }
        let required: Vec<String> = required.iter().map(|&path| path.to_owned()).collect();
        let of = |profile: &str| if profile == PROFILE { Vec::new() } else { required.clone() };
        Agreements::load_for(&[("a.toml".to_owned(), text)], &of).expect("the agreement is sound")
    }

    fn parse(text: &str) -> Document {
        Document::parse(text, &Limits::default()).expect("it is JSON")
    }

    fn run(agreements: &Agreements, bundle: &Document) -> (Document, Manifest) {
        let interface: InterfaceName = "i".parse().expect("a name");
        let agreement = agreements.iter().next().expect("there is one");
        project(bundle, agreement, &interface).expect("it is a Bundle")
    }

    /// What leaves of one resource, and which of its elements were withheld.
    fn cut(agreements: &Agreements, resource: &str) -> (String, Vec<String>) {
        let bundle = parse(&format!(
            r#"{{"resourceType":"Bundle","type":"message","entry":[{{"fullUrl":"urn:uuid:1","resource":{resource}}}]}}"#
        ));
        let (sent, manifest) = run(agreements, &bundle);
        assert_eq!(run(agreements, &sent).0.source(), sent.source(), "twice is as once");
        let entries = Entries::of(&sent);
        let resource = entries.list().first().and_then(|entry| entry.resource).map_or("", |resource| resource.raw());
        let withheld = manifest.withheld().iter().map(|row| {
            let path = bundle.node(row.node).expect("it is a node").path();
            let path = path.as_str().trim_start_matches("Bundle.entry[0]").trim_start_matches(".resource.");
            format!("{path} {:?}", row.why)
        });
        (resource.to_owned(), withheld.collect())
    }

    #[test]
    fn only_what_a_clause_lists_leaves() {
        let patient: &[&str] = &[
            "identifier.system",
            "name.family",
            "name.given",
            "birthDate",
            "birthDate.extension('e:time').valueDateTime",
            "multipleBirthInteger",
            "extension('e:code').valueCode",
            "extension('e:nest').extension('in').valueString",
            "name.given.extension('e:q').valueCode",
            "contact.name.family",
        ];
        let agreements = agreement(&[("Patient", None, patient)], false, &[]);
        for (given, leaves, held) in [
            (r#""id":"x","birthDate":"2000""#, r#""birthDate":"2000""#, vec!["id NotPermitted"]),
            (
                r#""multipleBirthInteger":1,"x-unknown":{"family":"f"}"#,
                r#""multipleBirthInteger":1"#,
                vec!["x-unknown NotPermitted"],
            ),
            (r#""multipleBirthBoolean":true"#, "", vec!["multipleBirthBoolean NotPermitted"]),
            (
                r#""name":[{"family":"A\u0062","text":"t","suffix":["s"]},{"text":"t"}]"#,
                r#""name":[{"family":"A\u0062"}]"#,
                vec!["name[0].text NotPermitted", "name[0].suffix NotPermitted", "name[1] NotPermitted"],
            ),
            (
                r#""name":[{"given":["a","b"],"_given":[{"id":"1"},{"extension":[{"url":"e:q","valueCode":"c"}]}]}]"#,
                r#""name":[{"given":["a","b"],"_given":[null,{"extension":[{"url":"e:q","valueCode":"c"}]}]}]"#,
                vec!["name[0].given[0] NotPermitted"],
            ),
            (
                r#""name":[{"given":["a",null],"_given":[null,{"id":"1"}]}]"#,
                r#""name":[{"given":["a"]}]"#,
                vec!["name[0].given NotPermitted"],
            ),
            (
                r#""name":[{"_given":[{"extension":[{"url":"e:q","valueCode":"c"}]},null]}]"#,
                r#""name":[{"_given":[{"extension":[{"url":"e:q","valueCode":"c"}]}]}]"#,
                vec![],
            ),
            (
                r#""name":{"family":{"family":"f"}},"birthDate":{"family":"f"}"#,
                "",
                vec!["name NotPermitted", "birthDate NotPermitted"],
            ),
            (r#""name":[["family"]],"birthDate":null"#, "", vec!["name NotPermitted", "birthDate NotPermitted"]),
            (
                r#""_birthDate":{"id":"1","extension":[{"url":"e:time","valueDateTime":"2000"},{"url":"e:z","valueCode":"z"}]}"#,
                r#""_birthDate":{"extension":[{"url":"e:time","valueDateTime":"2000"}]}"#,
                vec!["birthDate.id NotPermitted", "birthDate.extension[1] NotPermitted"],
            ),
            (
                r#""extension":[{"url":"e:code","valueCode":"a"},{"url":"e:code","valueString":"b"},{"url":"e:other","valueCode":"c"}]"#,
                r#""extension":[{"url":"e:code","valueCode":"a"}]"#,
                vec!["extension[1] NotPermitted", "extension[2] NotPermitted"],
            ),
            (
                r#""extension":[{"url":"e:nest","extension":[{"url":"in","valueString":"a"},{"url":"out","valueString":"b"}]}]"#,
                r#""extension":[{"url":"e:nest","extension":[{"url":"in","valueString":"a"}]}]"#,
                vec!["extension[0].extension[1] NotPermitted"],
            ),
            (
                r#""text":{"status":"generated","div":"<div/>"},"contained":[{"resourceType":"Patient","birthDate":"1"}],"meta":{"source":"s","profile":["p"]}"#,
                "",
                vec!["text NotPermitted", "contained NotPermitted", "meta NotPermitted"],
            ),
            (
                r#""contact":[{"modifierExtension":[{"url":"m"}],"name":{"family":"f"}},{"name":{"family":"g"}}]"#,
                r#""contact":[{"name":{"family":"g"}}]"#,
                vec!["contact[0] ModifierExtension"],
            ),
            (
                r#""modifierExtension":[{"url":"m","valueBoolean":true}],"birthDate":"2000""#,
                "-",
                vec![" ModifierExtension"],
            ),
        ] {
            let (left, withheld) = cut(&agreements, &format!(r#"{{"resourceType":"Patient",{given}}}"#));
            let expected = match leaves {
                "-" => String::new(),
                "" => r#"{"resourceType":"Patient"}"#.to_owned(),
                leaves => format!(r#"{{"resourceType":"Patient",{leaves}}}"#),
            };
            assert_eq!((left, withheld), (expected, held.into_iter().map(str::to_owned).collect()), "{given}");
        }
    }

    #[test]
    fn a_modifier_extension_leaves_whole_or_not_at_all() {
        let elements: &[&str] = &["birthDate", "modifierExtension('m').valueCoding.code"];
        let agreements = agreement(&[("Patient", None, elements)], false, &[]);
        let cut = |coding: &str| {
            let modifier = format!(r#""modifierExtension":[{{"url":"m","valueCoding":{coding}}}]"#);
            cut(&agreements, &format!(r#"{{"resourceType":"Patient",{modifier},"birthDate":"2000"}}"#)).0
        };
        assert!(cut(r#"{"code":"a"}"#).contains("modifierExtension"));
        assert_eq!(cut(r#"{"code":"a","display":"A"}"#), "");
    }

    #[test]
    fn a_required_element_that_is_withheld_is_masked() {
        let required: &[&str] =
            &["Patient.birthDate", "Patient.name", "Patient.name.family", "Patient.multipleBirth[x]"];
        let patient: &[&str] = &["gender", "name.use", "birthDate.extension('e').valueCode"];
        let observation: &[&str] = &["status", "valueString"];
        let profile = "https://weir.example/patient";
        let permits = [("Patient", Some(profile), patient), ("Observation", None, observation)];
        let told = agreement(&permits, true, required);
        let silent = agreement(&permits, false, required);
        let meta = format!(r#""meta":{{"profile":["{profile}"],"security":[{LABEL}]}}"#);
        for (given, expected) in [
            (r#""gender":"x""#, r#""gender":"x""#.to_owned()),
            (r#""gender":"x","birthDate":"2000""#, format!(r#""gender":"x","_birthDate":{MASK}"#)),
            (r#""_birthDate":{"id":"1"}"#, format!(r#""_birthDate":{MASK}"#)),
            (r#""birthDate":"2000","_birthDate":{"id":"1"}"#, format!(r#""_birthDate":{MASK}"#)),
            (
                r#""birthDate":"2000","_birthDate":{"extension":[{"url":"e","valueCode":"c"}]}"#,
                format!(r#""_birthDate":{{"extension":[{{"url":"e","valueCode":"c"}},{}"#, &MASK[14..]),
            ),
            (r#""name":[{"family":"a"},{"family":"b"}]"#, format!(r#""name":[{MASK}]"#)),
            (r#""name":[{"use":"old","family":"a"}]"#, format!(r#""name":[{{"use":"old","_family":{MASK}}}]"#)),
            (r#""multipleBirthBoolean":true"#, format!(r#""_multipleBirthBoolean":{MASK}"#)),
        ] {
            let resource = format!(r#"{{"resourceType":"Patient","meta":{{"profile":["{profile}"]}},{given}}}"#);
            let (left, withheld) = cut(&told, &resource);
            let meta =
                if withheld.is_empty() { format!(r#""meta":{{"profile":["{profile}"]}}"#) } else { meta.clone() };
            assert_eq!(left, format!(r#"{{"resourceType":"Patient",{meta},{expected}}}"#), "{given}");
            let (left, _) = cut(&silent, &resource);
            assert!(!left.contains("masked") && !left.contains("SUBSETTED"), "{left}");
        }
        let (left, _) =
            cut(&told, r#"{"resourceType":"Observation","status":"final","code":{"text":"c"},"valueString":"v"}"#);
        assert_eq!(
            left,
            format!(
                r#"{{"resourceType":"Observation","meta":{{"security":[{LABEL}]}},"status":"final","code":{MASK},"valueString":"v"}}"#
            )
        );
    }

    #[test]
    fn a_reference_never_dangles() {
        let task: &[&str] =
            &["focus.reference", "focus.display", "owner.identifier.value", "owner.reference", "for.reference"];
        let agreements =
            agreement(&[("Task", None, task), ("Flag", None, &["status"]), ("Group", None, &["id"])], false, &[]);
        for (reference, stays) in [
            ("urn:uuid:2", true),
            ("urn:uuid:3", false),
            ("urn:uuid:9", false),
            ("Patient/p3", false),
            ("Flag/f2", false),
            ("Group/g4", true),
            ("Device/d5", true),
            ("https://a.example/Device/d5/_history/1", true),
            ("#f", false),
            ("Patient?identifier=1", false),
        ] {
            let task = format!(
                r#"{{"resourceType":"Task","focus":{{"reference":"{reference}","display":"d"}},"for":{{"reference":"{reference}"}},"owner":{{"reference":"Patient/p3","identifier":{{"value":"i"}}}}}}"#
            );
            let bundle = parse(&format!(
                r#"{{"resourceType":"Bundle","type":"message","entry":[
                {{"fullUrl":"urn:uuid:1","resource":{task}}},
                {{"fullUrl":"urn:uuid:2","resource":{{"resourceType":"Flag","id":"f2"}}}},
                {{"fullUrl":"urn:uuid:3","resource":{{"resourceType":"Patient","id":"p3"}}}},
                {{"fullUrl":"urn:uuid:4","resource":{{"resourceType":"Group","id":"g4"}}}},
                {{"fullUrl":"https://a.example/Device/d5","resource":{{"resourceType":"Group"}}}}]}}"#
            ));
            let (sent, manifest) = run(&agreements, &bundle);
            let held = r#""focus":{"display":"d"},"owner":{"identifier":{"value":"i"}}"#.to_owned();
            let kept =
                format!(r#""focus":{{"reference":"{reference}","display":"d"}},"for":{{"reference":"{reference}"}}"#);
            assert!(sent.source().contains(if stays { &kept } else { &held }), "{reference}: {}", sent.source());
            let dangling = manifest.withheld().iter().filter(|row| row.why == Why::DanglingReference).count();
            assert_eq!(dangling, if stays { 1 } else { 3 }, "{reference}");
            assert_eq!(run(&agreements, &sent).0.source(), sent.source());
        }
    }

    #[test]
    fn a_permit_for_a_profile_is_for_resources_that_claim_it() {
        let (team, body) = ("https://weir.example/team", "https://weir.example/body");
        let permits: [(&str, Option<&str>, &[&str]); 2] =
            [("Organization", Some(team), &["name"]), ("Organization", Some(body), &["language"])];
        let agreements = agreement(&permits, false, &[]);
        for (profiles, expected) in [
            (vec![], ""),
            (vec!["https://weir.example/other"], ""),
            (vec![team], r#""name":"n""#),
            (vec!["https://weir.example/body|1.0"], r#""language":"en""#),
            (vec![team, body, "https://weir.example/other"], r#""name":"n","language":"en""#),
        ] {
            let resource = format!(
                r#"{{"resourceType":"Organization","meta":{{"profile":{profiles:?}}},"name":"n","language":"en"}}"#
            );
            let (left, _) = cut(&agreements, &resource);
            assert_eq!(left.split_once("]},").map_or("", |(_, rest)| rest.trim_end_matches('}')), expected);
            assert!(!left.contains("other"));
        }
    }

    #[test]
    fn narrative_is_made_from_what_leaves() {
        let composition: &[&str] = &["title", "section.title", "section.entry.reference"];
        let permits: [(&str, Option<&str>, &[&str]); 2] =
            [("Composition", None, composition), ("Observation", None, &["valueString"])];
        let bundle = parse(
            r#"{"resourceType":"Bundle","type":"document","entry":[
            {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Composition","title":"T","date":"secret",
             "text":{"status":"generated","div":"<div>secret</div>"},"section":[
              {"title":"One","text":{"div":"secret"},"entry":[{"reference":"urn:uuid:2"},{"reference":"urn:uuid:3"}]},
              {"title":"Two","entry":[{"reference":"urn:uuid:3"}]},
              {"code":{"text":"secret"},"entry":[{"reference":"urn:uuid:3"}]}]}},
            {"fullUrl":"urn:uuid:2","resource":{"resourceType":"Observation","valueString":"<v>","note":[{"text":"secret"}]}},
            {"fullUrl":"urn:uuid:3","resource":{"resourceType":"Flag","code":{"text":"secret"}}}]}"#,
        );
        for tell in [true, false] {
            let agreements = agreement(&permits, tell, &[]);
            let (sent, _) = run(&agreements, &bundle);
            let text = sent.source().replace(r#"\""#, "'");
            assert!(!text.contains("secret"), "{text}");
            assert!(text.contains("<li><b>&lt;v&gt;</b></li>"), "{text}");
            let (said, unsaid) = ("The content of this section was withheld.", "Nothing is shared in this section.");
            assert!(
                text.contains(if tell { said } else { unsaid }) && !text.contains(if tell { unsaid } else { said })
            );
            assert_eq!(text.contains("Withheld under agreement a version 1: "), tell);
            assert_eq!(text.matches("http://www.w3.org/1999/xhtml").count(), 3);
            assert_eq!(run(&agreements, &sent).0.source(), sent.source());
        }
    }

    /// A value that is withheld must not be told by the place of what is made.
    #[test]
    fn narrative_stands_in_the_same_place_whatever_was_withheld() {
        let profile = "https://weir.example/summary";
        let elements: &[&str] =
            &["title", "section.title", "section.mode.extension('e').valueCode", "section.orderedBy.text"];
        let permits = [("Composition", Some(profile), elements)];
        let mode = r#""_mode":{"extension":[{"url":"e","valueCode":"c"}]}"#;
        for (tell, given, expected) in [
            (false, r#""entry":"x","title":"t""#, "title text"),
            (false, r#""section":"x","mode":"x","title":"t","text":"x""#, "title text"),
            (false, r#""title":"t","text":"x","mode":"x","entry":"x""#, "title text"),
            (true, r#""title":"t","text":"x","mode":"x""#, "title text _mode"),
            (true, r#""mode":"x","title":"t","text":"x""#, "title text _mode"),
            (false, &format!(r#""text":"x",{mode},"mode":"x","title":"t""#), "title text _mode"),
            (true, &format!(r#""text":"x",{mode},"mode":"x","title":"t""#), "title text _mode"),
            (false, r#""orderedBy":{"text":"o"},"text":"x","title":"t","code":{"text":"c"}"#, "title text orderedBy"),
        ] {
            let agreements = agreement(&permits, tell, &["Composition.section.mode"]);
            let (left, _) = cut(
                &agreements,
                &format!(
                    r#"{{"resourceType":"Composition","meta":{{"profile":["{profile}"]}},"section":[{{{given}}}]}}"#
                ),
            );
            let left = parse(&left);
            let section = left.root().member("section").and_then(|list| list.items().next()).expect("it leaves");
            let names: Vec<String> =
                section.children().filter_map(|child| child.name()).map(|name| name.to_string()).collect();
            assert_eq!(names.join(" "), expected, "{given}");
        }
    }

    /// Members of a JSON object, in any order.
    fn members(
        names: &[&'static str],
        value: BoxedStrategy<String>,
        most: usize,
    ) -> impl Strategy<Value = String> + use<> {
        let members = prop::collection::btree_map(prop::sample::select(names.to_vec()), value, 0..most);
        members.prop_map(|members| members.into_iter().collect::<Vec<_>>()).prop_shuffle().prop_map(|members| {
            let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            members.join(",")
        })
    }

    /// A JSON value whose strings and numbers are each unique, under names that mean something in R4.
    fn value(depth: u32) -> BoxedStrategy<String> {
        let leaf = prop_oneof![
            Just("\"@\"".to_owned()),
            Just("\"@\"".to_owned()),
            Just("true".to_owned()),
            Just("null".to_owned())
        ];
        if depth == 0 {
            return leaf.boxed();
        }
        let names = [
            "name",
            "family",
            "given",
            "_given",
            "birthDate",
            "_birthDate",
            "extension",
            "modifierExtension",
            "url",
            "valueCode",
            "valueReference",
            "reference",
            "identifier",
            "system",
            "value",
            "meta",
            "security",
            "profile",
            "text",
            "div",
            "section",
            "entry",
            "title",
            "id",
            "contained",
            "resourceType",
            "display",
            "coding",
            "code",
            "status",
            "subject",
            "focus",
            "mode",
            "_mode",
            "x-unknown",
        ];
        let members = members(&names, value(depth - 1), 6).prop_map(|members| format!("{{{members}}}"));
        let items = prop::collection::vec(value(depth - 1), 0..3).prop_map(|items| format!("[{}]", items.join(",")));
        prop_oneof![2 => leaf, 4 => members, 2 => items].boxed()
    }

    /// Strings that the agreement or the Bundle's frame names, among the canaries.
    const PLANTED: [&str; 9] = [
        "e:code",
        "m",
        "urn:uuid:0",
        "urn:uuid:1",
        "urn:uuid:2",
        "Task/1",
        PROFILE,
        "https://weir.example/patient",
        "SUBSETTED",
    ];

    fn bundle() -> impl Strategy<Value = String> {
        let kinds = prop::sample::select(vec!["Patient", "Task", "Composition", "Observation", "Flag", "Bundle"]);
        let names = [
            "id",
            "meta",
            "name",
            "birthDate",
            "_birthDate",
            "extension",
            "modifierExtension",
            "text",
            "section",
            "title",
            "focus",
            "for",
            "status",
            "code",
            "valueString",
            "contained",
            "identifier",
            "subject",
        ];
        let resource = (kinds, members(&names, value(4), 8));
        let frame = members(&["id", "meta", "link", "timestamp"], value(3), 3);
        (prop::collection::vec(resource, 0..4), frame, prop::collection::vec(0..60_usize, 40)).prop_map(
            |(resources, frame, planted)| {
                let lead = |members: String| if members.is_empty() { members } else { format!(",{members}") };
                let entries: Vec<String> = resources.into_iter().enumerate().map(|(index, (kind, members))| {
                    let members = lead(members);
                    format!(r#"{{"fullUrl":"urn:uuid:{index}","search":{{"mode":"@"}},"resource":{{"resourceType":"{kind}"{members}}}}}"#)
                }).collect();
                let frame = lead(frame);
                let text = format!(r#"{{"resourceType":"Bundle","type":"message"{frame},"entry":[{}]}}"#, entries.join(","));
                let mut canaries = text.split('@').enumerate().map(|(index, part)| {
                    if index == 0 {
                        return part.to_owned();
                    }
                    let canary = planted.get(index).and_then(|&choice| PLANTED.get(choice));
                    format!("{}{part}", canary.map_or_else(|| format!("canary-{index}-"), |&known| known.to_owned()))
                });
                canaries.by_ref().collect()
            },
        )
    }

    /// `name.extension('e:code').valueCode` for a leaf, from the nearest resource on.
    fn permit_path(leaf: Node<'_>) -> (String, String) {
        let (mut at, mut kind, mut path) = (leaf.document().root(), "Bundle".to_owned(), String::new());
        while at != leaf {
            let holds = |child: &Node<'_>| child.id() <= leaf.id() && leaf.id().index() < child.end_index();
            let child = at.children().find(holds).expect("the leaf stands in the document");
            match child.name() {
                Some(name) if name == "resource" => {
                    kind = child.resource_type().expect("a resource has a type").to_owned();
                    path.clear();
                }
                Some(name) => path = format!("{path}.{}", name.trim_start_matches('_')),
                None if path.to_ascii_lowercase().ends_with("extension") => {
                    let url = child.member("url").and_then(Node::text).expect("an extension has a url");
                    path = format!("{path}('{url}')");
                }
                None => {}
            }
            at = child;
        }
        (kind, path.trim_start_matches('.').to_owned())
    }

    proptest! {
        // A failure prints its minimal input and saves its seed; PROPTEST_CASES asks for more cases.
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2_000)))]

        #[test]
        fn nothing_unlisted_leaves_and_twice_is_as_once(text in bundle(), tell: bool) {
            let patient: &[&str] = &["id", "meta.security.code", "name.family", "name.given", "birthDate.extension('e:code').valueCode",
                "extension('e:code').valueReference.reference", "name.given.extension('e:code').valueCode", "identifier.value",
                "modifierExtension('m').valueCode"];
            let task: &[&str] = &["id", "focus.reference", "focus.display", "for.identifier.system", "status", "code.coding.display"];
            let composition: &[&str] = &["title", "section.title", "section.code.text", "section.entry.reference",
                "section.mode", "section.section.title", "section.section.entry.reference"];
            let permits = [
                ("Bundle", None, &["id", "meta.profile"] as &[&str]),
                ("Patient", Some("https://weir.example/patient"), patient), ("Patient", None, &["birthDate"]),
                ("Task", None, task), ("Composition", None, composition), ("Observation", None, &["valueString", "code.coding.code"]),
            ];
            let agreements = agreement(&permits, tell, &["Patient.name", "Patient.name.family", "Patient.birthDate"]);
            let listed: BTreeSet<(String, String)> = permits.iter()
                .flat_map(|(kind, _, paths)| paths.iter().map(|path| ((*kind).to_owned(), (*path).to_owned()))).collect();
            let before = Document::parse(text, &Limits::default()).expect("it is JSON");
            let (sent, manifest) = run(&agreements, &before);
            for row in manifest.kept() {
                let (from, to) = (before.node(row.node).expect("a node"), sent.node(row.sent).expect("a node"));
                prop_assert_eq!(from.raw(), to.raw());
                prop_assert!(row.clause.is_none() || listed.contains(&permit_path(to)));
                prop_assert_eq!(permit_path(from), permit_path(to));
                let (_, path) = permit_path(to);
                let frame = ["resourceType", "type", "entry.fullUrl", "meta.profile"].contains(&&*path) || path.ends_with(").url");
                prop_assert!(row.clause.is_some() || frame, "{}", path);
            }
            for &leaf in manifest.generated() {
                let leaf = sent.node(leaf).expect("a node");
                let is_narrative = leaf.path().as_str().ends_with("text.div");
                prop_assert!(is_narrative || !leaf.raw().contains("canary"), "{}", leaf.path());
                if is_narrative {
                    let kept: BTreeSet<_> = manifest.kept().iter().map(|row| sent.node(row.sent).expect("a node").raw()).collect();
                    let text = leaf.text().expect("narrative is text");
                    for part in text.split("canary-").skip(1) {
                        let number = part.split('-').next().unwrap_or_default();
                        let canary = format!("\"canary-{number}-\"");
                        prop_assert!(kept.contains(&*canary), "{} in {}", canary, text);
                    }
                }
            }
            let leaves = sent.nodes().filter(|node| node.scalar().is_some()).count();
            let accounted = manifest.kept().len() + manifest.generalised().len() + manifest.generated().len();
            prop_assert_eq!(leaves, accounted);
            let again = run(&agreements, &sent).0;
            prop_assert_eq!(again.source(), sent.source());
        }
    }
}
