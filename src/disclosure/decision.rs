//! First half of the projection: for every node of the Bundle, whether it may leave.
//!
//! Enters: the Bundle and a plan. Leaves: a [`Verdict`] for each node. Everything starts out as withheld; only a
//! clause of the agreement opens a leaf, and only an open leaf opens what holds it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::manifest::{Why, Withheld};
use super::plan::{Branch, Plan, Profiles, ResourcePlan};
use crate::fhir::bundle::{BUNDLE, COMPOSITION, Entries, Match};
use crate::fhir::r4::TypeKind;
use crate::fhir::{Document, Kind, NameId, Node, NodeId, keys, labels};

/// What becomes of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays here.
    Withheld,
    /// A primitive value that leaves; the clause is `None` when it is part of the frame.
    Leaf(Option<u32>),
    /// An object or array of objects with something that leaves.
    Open,
    /// A resource of which something leaves.
    Resource,
    /// An array of primitive values, or of their extensions, with some that leave.
    Values,
    /// It stays here, and the receiver is told that it exists.
    Masked { primitive: bool, array: bool },
    /// A primitive's extensions, of which some leave while the value is masked.
    OpenMasked,
}

/// A resource that leaves, with what may leave of it.
#[derive(Clone, Copy)]
struct Leaving<'d> {
    plan: &'d ResourcePlan,
    profiles: Profiles,
}

/// The verdicts on one Bundle.
pub(super) struct Decisions<'d> {
    verdicts: Vec<Verdict>,
    withheld: Vec<Withheld>,
    /// Resources of which something was withheld, the Bundle among them.
    cut: HashSet<NodeId>,
    entries: &'d Entries<'d>,
    plan: &'d Plan,
    bundle: Leaving<'d>,
    leaving: Vec<Option<Leaving<'d>>>,
}

impl<'d> Decisions<'d> {
    /// Decides on every node of `document`, a Bundle. `None` if the plan is not for Bundles.
    pub(super) fn on(document: &'d Document, entries: &'d Entries<'d>, plan: &'d Plan) -> Option<Decisions<'d>> {
        let mut decisions = Decisions {
            verdicts: vec![Verdict::Withheld; document.len()],
            withheld: Vec::new(),
            cut: HashSet::new(),
            entries,
            plan,
            bundle: leaving(document.root(), plan.resource(BUNDLE)?),
            leaving: Vec::new(),
        };
        let leaving: Vec<Result<Leaving<'d>, Why>> =
            (0..entries.list().len()).map(|index| decisions.leaves(index)).collect();
        decisions.leaving = leaving.iter().map(|each| each.ok()).collect();
        decisions.bundle(document.root(), &leaving);
        Some(decisions)
    }

    pub(super) fn verdict(&self, node: Node<'_>) -> Verdict {
        self.verdicts[node.id().index()]
    }

    /// Whether this leaf leaves.
    pub(super) fn shows(&self, leaf: Node<'_>) -> bool {
        matches!(self.verdict(leaf), Verdict::Leaf(_))
    }

    pub(super) fn is_cut(&self, resource: Node<'_>) -> bool {
        self.cut.contains(&resource.id())
    }

    pub(super) fn cut(&mut self, resource: Node<'_>) {
        self.cut.insert(resource.id());
    }

    pub(super) fn withhold(&mut self, node: Node<'_>, why: Why) {
        self.withheld.push(Withheld { node: node.id(), why });
    }

    /// The resources that leave.
    pub(super) fn resources(&self) -> Vec<Node<'d>> {
        let pairs = self.entries.list().iter().zip(&self.leaving);
        pairs.filter(|(_, leaving)| leaving.is_some()).filter_map(|(entry, _)| entry.resource).collect()
    }

    /// What was withheld so far, in document order.
    pub(super) fn withheld(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.withheld.iter().map(|row| row.node).collect();
        nodes.sort();
        nodes
    }

    /// What was withheld, in document order.
    pub(super) fn into_withheld(mut self) -> Vec<Withheld> {
        self.withheld.sort_by_key(|row| row.node);
        self.withheld
    }

    /// Whether an entry leaves: a permit is for its resource, and no modifierExtension forbids it.
    fn leaves(&self, index: usize) -> Result<Leaving<'d>, Why> {
        let entry = &self.entries.list()[index];
        let resource = entry.resource.ok_or(Why::ResourceNotPermitted)?;
        let kind = resource.resource_type().filter(|kind| *kind != BUNDLE).ok_or(Why::ResourceNotPermitted)?;
        let plan = self.plan.resource(kind).ok_or(Why::ResourceNotPermitted)?;
        let leaving = leaving(resource, plan);
        if leaving.profiles == 0 {
            return Err(Why::ResourceNotPermitted);
        }
        let frame_keeps_meaning = match self.bundle.plan.root.member(keys().entry) {
            Some(branch) => self.keeps_meaning(entry.node, branch, self.bundle.profiles),
            None => entry.node.child(keys().modifier_extension).is_none(),
        };
        if !frame_keeps_meaning || !self.keeps_meaning(resource, &plan.root, leaving.profiles) {
            return Err(Why::ModifierExtension);
        }
        Ok(leaving)
    }

    fn bundle(&mut self, root: Node<'d>, leaving: &[Result<Leaving<'d>, Why>]) {
        let Leaving { plan, profiles } = self.bundle;
        let mut carried = false;
        for child in root.children() {
            match child.name_id() {
                name if name == keys().resource_type || name == keys().kind => self.frame(child),
                name if name == keys().meta => carried = self.meta(child, plan, profiles),
                name if name == keys().entry => self.entries(child, leaving),
                _ => {
                    self.member(child, &plan.root, profiles);
                }
            }
        }
        self.set(root, Verdict::Resource);
        self.mask_required(root, &plan.root, profiles);
        if carried || !self.withheld.is_empty() {
            self.cut(root);
        }
    }

    fn entries(&mut self, array: Node<'d>, leaving: &[Result<Leaving<'d>, Why>]) {
        for (entry, leaving) in self.entries.list().iter().zip(leaving) {
            match leaving {
                Err(why) => self.withhold(entry.node, *why),
                Ok(leaving) => {
                    self.entry(entry.node, *leaving);
                    self.set(array, Verdict::Open);
                }
            }
        }
    }

    fn entry(&mut self, entry: Node<'d>, leaving: Leaving<'d>) {
        let Leaving { plan, profiles } = self.bundle;
        let frame = plan.root.member(keys().entry);
        for child in entry.children() {
            match child.name_id() {
                name if name == keys().full_url => self.frame(child),
                name if name == keys().resource => self.resource(child, leaving),
                _ => match frame {
                    Some(branch) => {
                        self.member(child, branch, profiles);
                    }
                    None => self.withhold(child, Why::NotPermitted),
                },
            }
        }
        self.set(entry, Verdict::Open);
    }

    fn resource(&mut self, resource: Node<'d>, Leaving { plan, profiles }: Leaving<'d>) {
        let mark = self.withheld.len();
        let mut carried = false;
        for child in resource.children() {
            match child.name_id() {
                name if name == keys().resource_type => self.frame(child),
                name if name == keys().meta => carried = self.meta(child, plan, profiles),
                _ => {
                    self.member(child, &plan.root, profiles);
                }
            }
        }
        self.set(resource, Verdict::Resource);
        self.mask_required(resource, &plan.root, profiles);
        if carried || self.withheld.len() > mark {
            self.cut(resource);
        }
    }

    /// `meta`: what is permitted, and the profiles that permits name. Returns whether it already carries the label
    /// that says that something was withheld.
    fn meta(&mut self, meta: Node<'d>, plan: &'d ResourcePlan, profiles: Profiles) -> bool {
        let branch = plan.root.member(keys().meta);
        let (mark, mut kept, mut carried) = (self.withheld.len(), false, false);
        for child in meta.children() {
            let next = branch.and_then(|branch| branch.member(child.name_id()));
            if child.name_id() == keys().profile {
                kept |= self.profiles(child, next.and_then(|next| next.clause(profiles)), plan);
            } else if child.name_id() == keys().security && self.plan.tell_withheld {
                let (some, label) = self.security(child, next, profiles);
                kept |= some;
                carried |= label;
            } else {
                kept |= match branch {
                    Some(branch) => self.member(child, branch, profiles),
                    None => {
                        self.withhold(child, Why::NotPermitted);
                        false
                    }
                };
            }
        }
        if kept {
            self.set(meta, Verdict::Open);
        }
        if let Some(branch) = branch {
            self.mask_required(meta, branch, profiles);
        }
        if !meta.is_object() {
            self.withhold(meta, Why::NotPermitted);
        } else if !kept && !carried && self.withheld.len() > mark {
            self.collapse(mark, meta);
        }
        carried
    }

    fn profiles(&mut self, node: Node<'d>, clause: Option<u32>, plan: &ResourcePlan) -> bool {
        let (mark, mut kept) = (self.withheld.len(), false);
        for item in node.items() {
            let named = item.text().is_some_and(|claim| plan.names(&claim));
            if item.kind() == Kind::String && (clause.is_some() || named) {
                self.set(item, Verdict::Leaf(clause));
                kept = true;
            } else {
                self.withhold(item, Why::NotPermitted);
            }
        }
        self.close(node, mark, kept, Verdict::Values)
    }

    fn security(&mut self, node: Node<'d>, branch: Option<&'d Branch>, profiles: Profiles) -> (bool, bool) {
        let (mark, mut kept, mut carried) = (self.withheld.len(), false, false);
        for coding in node.items() {
            if labels::is_subsetted(coding) {
                carried = true;
            } else {
                kept |= branch.is_some_and(|branch| self.object(coding, branch, profiles));
                if self.verdict(coding) == Verdict::Withheld {
                    self.withhold(coding, Why::NotPermitted);
                }
            }
        }
        if kept {
            self.set(node, Verdict::Open);
        } else if !carried {
            self.collapse(mark, node);
        }
        (kept, carried)
    }

    /// One member of an object. Returns whether something of it leaves.
    fn member(&mut self, child: Node<'d>, branch: &'d Branch, profiles: Profiles) -> bool {
        let name = child.name_id();
        if is_extension_url(name, branch) || is_regenerated(name, branch) {
            return false;
        }
        let mark = self.withheld.len();
        let primitive_extension = name.is_primitive_extension();
        let (kept, open) = if name == keys().extension || name == keys().modifier_extension {
            (self.extensions(child, branch, profiles), Verdict::Open)
        } else {
            match branch.member(name.without_underscore()) {
                Some(next) if next.is_primitive() && primitive_extension => {
                    (self.objects(child, next, profiles), Verdict::Values)
                }
                Some(next) if next.is_primitive() => (self.values(child, next, profiles), Verdict::Values),
                Some(next) if !primitive_extension => (self.objects(child, next, profiles), Verdict::Open),
                _ => (false, Verdict::Withheld),
            }
        };
        self.close(child, mark, kept, open)
    }

    /// Opens an array of which something leaves, or accounts for a member of which nothing does.
    fn close(&mut self, child: Node<'d>, mark: usize, kept: bool, open: Verdict) -> bool {
        if !kept {
            self.collapse(mark, child);
        } else if child.is_array() {
            self.set(child, open);
        }
        kept
    }

    /// The rows since `mark` are all of one element: one row says it, unless one of them has another reason.
    fn collapse(&mut self, mark: usize, node: Node<'_>) {
        if self.withheld[mark..].iter().all(|row| row.why == Why::NotPermitted) {
            self.withheld.truncate(mark);
            self.withhold(node, Why::NotPermitted);
        }
    }

    /// The values of a primitive element.
    fn values(&mut self, node: Node<'d>, branch: &'d Branch, profiles: Profiles) -> bool {
        let mut kept = false;
        for item in node.items().filter(|item| item.kind() != Kind::Null) {
            let is_scalar = matches!(item.kind(), Kind::String | Kind::Number | Kind::Boolean);
            match branch.clause(profiles).filter(|_| is_scalar) {
                None => self.withhold(item, Why::NotPermitted),
                Some(_) if branch.is_reference && !self.resolves(item) => {
                    self.withhold(item, Why::DanglingReference);
                }
                Some(clause) => {
                    self.set(item, Verdict::Leaf(Some(clause)));
                    kept = true;
                }
            }
        }
        kept
    }

    /// An object or an array of objects (with nulls, where they hold the extensions of primitive values).
    fn objects(&mut self, node: Node<'d>, branch: &'d Branch, profiles: Profiles) -> bool {
        let mut kept = false;
        for item in node.items().filter(|item| item.kind() != Kind::Null) {
            let mark = self.withheld.len();
            let some = self.object(item, branch, profiles);
            if !some {
                self.collapse(mark, item);
            }
            kept |= some;
        }
        kept
    }

    fn extensions(&mut self, node: Node<'d>, branch: &'d Branch, profiles: Profiles) -> bool {
        let mut kept = false;
        for item in node.items() {
            let mark = self.withheld.len();
            let next = extension_branch(node.name_id(), item, branch);
            let some = next.is_some_and(|next| self.object(item, next, profiles));
            if !some {
                self.collapse(mark, item);
            }
            kept |= some;
        }
        kept
    }

    /// One object. Returns whether something of it leaves.
    fn object(&mut self, node: Node<'d>, branch: &'d Branch, profiles: Profiles) -> bool {
        if !node.is_object() {
            return false;
        }
        if !self.keeps_meaning(node, branch, profiles) {
            self.withhold(node, Why::ModifierExtension);
            return false;
        }
        let mut kept = false;
        for child in node.children() {
            kept |= self.member(child, branch, profiles);
        }
        if kept {
            self.set(node, Verdict::Open);
            if let Some(url) = node.child(keys().url).filter(|url| is_extension_url(url.name_id(), branch)) {
                self.frame(url);
            }
            self.mask_required(node, branch, profiles);
        }
        kept
    }

    /// A value that goes with any permitted content.
    fn frame(&mut self, node: Node<'d>) {
        match node.kind() {
            Kind::String => self.set(node, Verdict::Leaf(None)),
            _ => self.withhold(node, Why::NotPermitted),
        }
    }

    /// Puts a mask in the place of each required element of which nothing leaves.
    fn mask_required(&mut self, node: Node<'d>, branch: &'d Branch, profiles: Profiles) {
        if !self.plan.tell_withheld {
            return;
        }
        for child in node.children().filter(|child| child.name_id() != NameId::UNKNOWN) {
            let Some((element, of)) = branch.required(child.name_id(), profiles) else { continue };
            let is_frame = of.kind == TypeKind::Resource || of.name == META || is_resource_list(branch, child);
            if !is_frame {
                let array = element.is_array();
                self.mask(node, child, Verdict::Masked { primitive: of.kind == TypeKind::Primitive, array });
            }
        }
    }

    fn mask(&mut self, parent: Node<'d>, child: Node<'d>, mask: Verdict) {
        let twin = twin(parent, child).map(|twin| (twin, self.verdict(twin)));
        match (self.verdict(child), twin) {
            (Verdict::Withheld, None | Some((_, Verdict::Withheld))) => self.set(child, mask),
            (Verdict::Withheld, Some((extensions, Verdict::Open))) => self.set(extensions, Verdict::OpenMasked),
            (Verdict::Open, None) if is_masked_primitive(child) => self.set(child, Verdict::OpenMasked),
            _ => {}
        }
    }

    /// Whether a literal reference points to something in the Bundle that leaves, so that the receiver finds it.
    fn resolves(&self, reference: Node<'_>) -> bool {
        let Some(text) = reference.text() else { return false };
        self.entries.resolve(&text).iter().any(|found| match *found {
            Match::FullUrl(index) => self.leaving[index].is_some(),
            Match::Id(index) => self.leaving[index].is_some_and(|Leaving { plan, profiles }| {
                plan.root.member(keys().id).is_some_and(|id| id.clause(profiles).is_some())
            }),
        })
    }

    /// Whether every modifierExtension of `node` leaves whole: without it the rest would mean something else.
    fn keeps_meaning(&self, node: Node<'_>, branch: &Branch, profiles: Profiles) -> bool {
        let Some(modifiers) = node.child(keys().modifier_extension) else { return true };
        modifiers.items().all(|item| {
            extension_branch(modifiers.name_id(), item, branch).is_some_and(|next| leaves_whole(item, next, profiles))
        })
    }

    fn set(&mut self, node: Node<'_>, verdict: Verdict) {
        self.verdicts[node.id().index()] = verdict;
    }
}

/// Which permits are for `resource`, by the profiles it claims.
fn leaving<'d>(resource: Node<'_>, plan: &'d ResourcePlan) -> Leaving<'d> {
    let claimed = claimed_profiles(resource);
    Leaving { plan, profiles: plan.matching(claimed.iter().map(AsRef::as_ref)) }
}

fn claimed_profiles(resource: Node<'_>) -> Vec<Cow<'_, str>> {
    let profiles = resource.child(keys().meta).and_then(|meta| meta.child(keys().profile));
    profiles.into_iter().flat_map(Node::items).filter_map(Node::text).collect()
}

fn extension_branch<'b>(name: NameId, item: Node<'_>, branch: &'b Branch) -> Option<&'b Branch> {
    let url = item.child(keys().url)?.text()?;
    if name == keys().extension { branch.extension(&url) } else { branch.modifier_extension(&url) }
}

/// The type of `meta`, which carries the label where something was withheld.
const META: &str = "Meta";

/// Whether every leaf below `node` is permitted.
fn leaves_whole(node: Node<'_>, branch: &Branch, profiles: Profiles) -> bool {
    if node.is_array() {
        return node.children().all(|item| !item.is_array() && leaves_whole(item, branch, profiles));
    }
    if branch.is_primitive() {
        return !node.is_object() && node.kind() != Kind::Null && branch.clause(profiles).is_some();
    }
    node.is_object()
        && node.children().all(|child| {
            let name = child.name_id();
            if is_extension_url(name, branch) {
                return child.kind() == Kind::String;
            }
            if name == keys().extension || name == keys().modifier_extension {
                let whole =
                    |item| extension_branch(name, item, branch).is_some_and(|next| leaves_whole(item, next, profiles));
                return child.items().all(whole);
            }
            !name.is_primitive_extension()
                && branch.member(name).is_some_and(|next| leaves_whole(child, next, profiles))
        })
}

/// The `url` of an extension: it goes with the extension's content.
fn is_extension_url(name: NameId, branch: &Branch) -> bool {
    name == keys().url && branch.of.name == "Extension"
}

/// Narrative of a Composition or its sections: made again, so neither copied nor simply withheld.
fn is_regenerated(name: NameId, branch: &Branch) -> bool {
    name == keys().text
        && branch.of.name.starts_with(COMPOSITION)
        && matches!(branch.of.element(name), Some((_, to)) if to.code == "Narrative")
}

/// Whether `_birthDate` says by itself that the value was withheld before.
fn is_masked_primitive(node: Node<'_>) -> bool {
    let extensions = node.items_at(keys().extension);
    node.name_id().is_primitive_extension() && extensions.into_iter().any(labels::is_masked)
}

/// The entries of a Bundle: they leave or stay as a whole.
fn is_resource_list(branch: &Branch, child: Node<'_>) -> bool {
    branch.of.name == BUNDLE && child.name_id() == keys().entry
}

/// The other spelling of a primitive element: `_birthDate` for `birthDate`, and back.
pub(super) fn twin<'a>(parent: Node<'a>, child: Node<'a>) -> Option<Node<'a>> {
    let name = child.name_id();
    parent
        .children()
        .find(|other| other.name_id() != name && other.name_id().without_underscore() == name.without_underscore())
}
