//! Second half of the projection: the outgoing Bundle, built by copying the leaves that may leave.
//!
//! Enters: the Bundle and an interface's plan. Leaves: a new Bundle and its [`Manifest`]. Invariant: every byte of a
//! value in the new Bundle is either a span copied under a [`Verdict::Leaf`], or written by `fhir::labels` or
//! `fhir::narrative`. Keys come from the table of R4 names, so an unknown name cannot be written.

use std::collections::HashMap;

use super::Error;
use super::agreement::{Agreement, Interface};
use super::decision::{Decisions, Verdict, twin};
use super::manifest::{Kept, Manifest, Why};
use crate::fhir::bundle::{BUNDLE, COMPOSITION, Entries, member};
use crate::fhir::narrative::{self, Shown};
use crate::fhir::{Document, Kind, Limits, NameId, Node, NodeId, Writer, labels, words};

/// Levels and values of what is written: a plan is as deep as its longest element path.
const LIMITS: Limits = Limits { depth: 500, nodes: u32::MAX };

/// Builds what may leave of `bundle` over an interface of `agreement`.
///
/// # Errors
/// [`Error::NotABundle`].
pub(super) fn project(
    bundle: &Document,
    agreement: &Agreement,
    interface: &Interface,
) -> Result<(Document, Manifest), Error> {
    if bundle.resource_type() != Some(BUNDLE) {
        return Err(Error::NotABundle);
    }
    let entries = Entries::of(bundle);
    let mut decisions = Decisions::on(bundle, &entries, &interface.plan).ok_or(Error::NotABundle)?;
    let narratives = narratives(bundle, &entries, &mut decisions, agreement, interface.tell_withheld);
    let mut projection = Projection {
        out: Writer::with_capacity(bundle.source().len()),
        decisions: &decisions,
        narratives,
        tell_withheld: interface.tell_withheld,
        copied: Vec::new(),
    };
    projection.resource(bundle.root());
    let Projection { out, copied, .. } = projection;
    let sent = Document::parse(out.finish(), &LIMITS).map_err(|_| Error::TooLarge)?;
    let mut manifest = account(&sent, &copied);
    manifest.withheld = decisions.into_withheld();
    Ok((sent, manifest))
}

/// A span that was copied: where it stands in the output, where it came from, and which clause let it pass.
struct Copied {
    offset: usize,
    node: NodeId,
    clause: Option<u32>,
}

/// Finds the copied spans among the nodes of what was written; every other leaf was generated.
fn account(sent: &Document, copied: &[Copied]) -> Manifest {
    let mut manifest = Manifest::default();
    let mut copied = copied.iter().peekable();
    for node in sent.nodes().filter(|node| matches!(node.kind(), Kind::String | Kind::Number | Kind::Boolean)) {
        match copied.next_if(|span| span.offset == node.offset()) {
            Some(span) => manifest.kept.push(Kept { node: span.node, sent: node.id(), clause: span.clause }),
            None => manifest.generated.push(node.id()),
        }
    }
    manifest
}

/// Narratives by the node that they are the text of.
type Narratives = HashMap<NodeId, String>;

/// Makes the narrative of each Composition that leaves. Text in the Bundle that differs from it counts as withheld.
fn narratives<'d>(
    bundle: &'d Document,
    entries: &Entries<'d>,
    decisions: &mut Decisions<'d>,
    agreement: &Agreement,
    tell_withheld: bool,
) -> Narratives {
    let mut made = Narratives::new();
    let compositions: Vec<Node<'d>> = decisions.resources().into_iter().filter(is_composition).collect();
    for &composition in &compositions {
        for section in sections(composition, decisions) {
            if let Some(div) = section_narrative(section, entries, decisions, tell_withheld) {
                replace(section, &div, bundle.root(), composition, decisions);
                made.insert(section.id(), div);
            }
        }
    }
    for composition in compositions {
        let mut div = composition_narrative(bundle, composition, decisions, agreement, tell_withheld);
        if replace(composition, &div, bundle.root(), composition, decisions) {
            div = composition_narrative(bundle, composition, decisions, agreement, tell_withheld);
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
    let items = member(parent, words().section).into_iter().flat_map(Node::items);
    let mut found = Vec::new();
    for section in items.filter(|section| decisions.verdict(*section) == Verdict::Open) {
        found.push(section);
        found.extend(sections(section, decisions));
    }
    found
}

fn section_narrative(
    section: Node<'_>,
    entries: &Entries<'_>,
    decisions: &Decisions<'_>,
    tell_withheld: bool,
) -> Option<String> {
    let references = member(section, words().entry).into_iter().flat_map(Node::items);
    let shown = |leaf: Node<'_>| decisions.shows(leaf);
    let leaves = |reference: &Node<'_>| member(*reference, words().reference).is_some_and(shown);
    let targets: Vec<Node<'_>> = references.filter(leaves).filter_map(|reference| entries.target(reference)).collect();
    if !targets.is_empty() {
        return Some(narrative::of_section(&targets, Shown::new(&shown)));
    }
    let had_content = [words().entry, words().text].iter().any(|name| member(section, *name).is_some());
    had_content.then(|| narrative::of_withheld_section(tell_withheld))
}

fn composition_narrative(
    bundle: &Document,
    composition: Node<'_>,
    decisions: &Decisions<'_>,
    agreement: &Agreement,
    tell_withheld: bool,
) -> String {
    let shown = |leaf: Node<'_>| decisions.shows(leaf);
    let note = (tell_withheld && decisions.is_cut(bundle.root())).then(|| {
        let (id, version) = (agreement.id(), agreement.version());
        format!("Some elements were withheld under the sharing agreement {id} version {version}.")
    });
    narrative::of_composition(composition, Shown::new(&shown), note.as_deref())
}

/// Accounts for narrative that stood where `div` goes. Returns whether there was any that says something else.
fn replace<'d>(
    holder: Node<'d>,
    div: &str,
    bundle: Node<'d>,
    composition: Node<'d>,
    decisions: &mut Decisions<'d>,
) -> bool {
    let Some(text) = member(holder, words().text).filter(|text| !narrative::is(*text, div)) else { return false };
    decisions.withhold(text, Why::NotPermitted);
    decisions.cut(composition);
    decisions.cut(bundle);
    true
}

struct Projection<'p, 'd> {
    out: Writer,
    decisions: &'p Decisions<'d>,
    narratives: Narratives,
    tell_withheld: bool,
    copied: Vec<Copied>,
}

impl Projection<'_, '_> {
    /// A resource: its type and id, its labels and narrative, then the rest in its order.
    fn resource(&mut self, resource: Node<'_>) {
        self.out.begin_object();
        let first = [words().resource_type, words().id];
        for name in first {
            if let Some(child) = member(resource, name) {
                self.member(resource, child);
            }
        }
        self.meta(resource);
        self.narrative(resource);
        let rest = |child: &Node<'_>| !first.contains(&child.name_id()) && child.name_id() != words().meta;
        for child in resource.children().filter(rest) {
            self.member(resource, child);
        }
        self.out.end_object();
    }

    fn meta(&mut self, resource: Node<'_>) {
        let meta = member(resource, words().meta);
        let open = meta.filter(|meta| matches!(self.decisions.verdict(*meta), Verdict::Open));
        let label = self.tell_withheld && self.decisions.is_cut(resource);
        if open.is_none() && !label {
            return;
        }
        self.key(words().meta);
        self.out.begin_object();
        if let Some(meta) = open.or(meta) {
            for child in meta.children().filter(|child| child.name_id() != words().security || !label) {
                self.member(meta, child);
            }
        }
        if label {
            self.key(words().security);
            self.out.begin_array();
            if let Some(security) = meta.and_then(|meta| member(meta, words().security)) {
                self.open_items(security);
            }
            labels::write_subsetted(&mut self.out);
            self.out.end_array();
        }
        self.out.end_object();
    }

    fn narrative(&mut self, holder: Node<'_>) {
        if let Some(div) = self.narratives.remove(&holder.id()) {
            self.key(words().text);
            narrative::write(&mut self.out, &div);
        }
    }

    fn member(&mut self, parent: Node<'_>, child: Node<'_>) {
        let name = child.name_id();
        match self.decisions.verdict(child) {
            Verdict::Withheld => {}
            Verdict::Leaf(clause) => {
                self.key(name);
                self.copy(child, clause);
            }
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
        if node.is_array() {
            self.out.begin_array();
            self.open_items(node);
            self.out.end_array();
        } else {
            self.object(node);
        }
    }

    fn open_items(&mut self, array: Node<'_>) {
        for item in array.items().filter(|item| self.decisions.verdict(*item) == Verdict::Open) {
            self.object(item);
        }
    }

    fn object(&mut self, node: Node<'_>) {
        self.out.begin_object();
        for child in node.children() {
            self.member(node, child);
        }
        self.narrative(node);
        self.out.end_object();
    }

    /// An array of primitive values, and beside it that of their extensions: both keep an item if one of them does.
    fn values(&mut self, parent: Node<'_>, child: Node<'_>) {
        let is = |twin: &Node<'_>| self.decisions.verdict(*twin) == Verdict::Values;
        match twin(parent, child).filter(is) {
            None => {
                let kept: Vec<Option<Node<'_>>> =
                    child.children().filter(|item| self.leaves(*item)).map(Some).collect();
                self.items(child.name_id(), &kept);
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
        matches!(self.decisions.verdict(node), Verdict::Leaf(_) | Verdict::Open)
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
        self.out.begin_array();
        for item in items {
            match item.map(|item| (item, self.decisions.verdict(item))) {
                Some((item, Verdict::Leaf(clause))) => self.copy(item, clause),
                Some((item, _)) => self.object(item),
                None => self.out.raw("null"),
            }
        }
        self.out.end_array();
    }

    fn masked(&mut self, name: NameId, primitive: bool, array: bool) {
        let text = name.text();
        match primitive {
            true => self.out.key(&format!("_{text}")),
            false => self.out.key(text),
        }
        if array {
            self.out.begin_array();
        }
        labels::write_masked_element(&mut self.out);
        if array {
            self.out.end_array();
        }
    }

    /// The extensions of a primitive that leave, and the mask of its value among them.
    fn open_masked(&mut self, node: Node<'_>) {
        self.key(node.name_id());
        self.out.begin_object();
        for child in node.children().filter(|child| child.name_id() != words().extension) {
            self.member(node, child);
        }
        self.key(words().extension);
        self.out.begin_array();
        if let Some(extensions) = member(node, words().extension) {
            self.open_items(extensions);
        }
        labels::write_masked(&mut self.out);
        self.out.end_array();
        self.out.end_object();
    }

    fn copy(&mut self, node: Node<'_>, clause: Option<u32>) {
        let raw = node.raw();
        self.out.raw(raw);
        self.copied.push(Copied { offset: self.out.position() - raw.len(), node: node.id(), clause });
    }

    fn key(&mut self, name: NameId) {
        match name.is_primitive_extension() {
            true => self.out.key(&format!("_{}", name.text())),
            false => self.out.key(name.text()),
        }
    }
}
