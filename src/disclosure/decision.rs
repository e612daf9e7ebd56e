//! First half of the projection: for every node of the Bundle, whether it may leave.
//!
//! Enters: the Bundle and a plan. Leaves: a [`Verdict`] for each node. Everything starts out as withheld; only a
//! clause of the agreement opens a leaf, and only an open leaf opens what holds it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use time::Date;

use super::generalise::{AGE_BAND, AgeBand, Generaliser, How, day_of, is_pseudonym, pseudonym_system};
use super::manifest::{Why, Withheld};
use super::plan::{Branch, Demanded, Plan, Points, Profiles, ResourcePlan, Says};
use crate::fhir::bundle::{BUNDLE, Entries, Match};
use crate::fhir::labels::{self, Labels};
use crate::fhir::narrative::Show;
use crate::fhir::r4::TypeKind;
use crate::fhir::{Document, Kind, NameId, Node, NodeId, keys};
use crate::identity::PartyId;

/// What becomes of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays here.
    Withheld,
    /// A primitive value that leaves; the clause is `None` when it is part of the frame.
    Leaf(Option<u32>),
    /// A primitive value in whose place another one leaves: [`Decisions::made`].
    Made(u32),
    /// A date, or its extensions, in whose place an age band leaves: [`Decisions::band`].
    Band(u32),
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

/// A value that leaves in the place of another.
#[derive(Debug)]
pub(super) struct Made {
    /// The generalisation's place among the interface's.
    pub(super) clause: u32,
    pub(super) text: String,
}

/// The verdicts on one Bundle.
pub(super) struct Decisions<'d> {
    verdicts: Vec<Verdict>,
    withheld: Vec<Withheld>,
    made: Vec<Made>,
    bands: Vec<(AgeBand, u32, String)>,
    /// By node: the labels of resources that were altered, the Bundle among them.
    labels: Vec<Labels>,
    /// Elements that an earlier projection withheld, as the Bundle lists them.
    listed: BTreeSet<String>,
    entries: &'d Entries<'d>,
    plan: &'d Plan,
    bundle: Leaving<'d>,
    leaving: Vec<Option<Leaving<'d>>>,
    /// The labels of the resource that is being decided on.
    altered: Labels,
    /// Who receives it.
    recipient: &'d PartyId,
    /// The system of the recipient's pseudonyms.
    pseudonyms: String,
    /// The day on which ages are counted: that of the message.
    day: Option<Date>,
}

impl<'d> Decisions<'d> {
    /// Decides on every node of `document`, a Bundle. `None` if the plan is not for Bundles.
    pub(super) fn on(
        document: &'d Document,
        entries: &'d Entries<'d>,
        plan: &'d Plan,
        recipient: &'d PartyId,
    ) -> Option<Decisions<'d>> {
        let mut decisions = Decisions {
            verdicts: vec![Verdict::Withheld; document.len()],
            withheld: Vec::new(),
            made: Vec::new(),
            bands: Vec::new(),
            labels: vec![Labels::default(); document.len()],
            listed: BTreeSet::new(),
            entries,
            plan,
            bundle: leaving(document.root(), plan.resource(BUNDLE)?),
            leaving: Vec::new(),
            altered: Labels::default(),
            recipient,
            pseudonyms: pseudonym_system(recipient),
            day: document.root().member("timestamp").and_then(Node::text).and_then(|time| day_of(&time)),
        };
        let leaving: Vec<Result<Leaving<'d>, Why>> =
            (0..entries.list().len()).map(|index| decisions.leaves(index)).collect();
        decisions.leaving = leaving.iter().map(|each| each.ok()).collect();
        decisions.bundle(document.root(), &leaving);
        Some(decisions)
    }

    /// Whether the Bundle says something itself that changes what it means, and that may not leave.
    pub(super) fn loses_meaning(&self, root: Node<'d>) -> bool {
        self.keeps_meaning(root, &self.bundle.plan.root, self.bundle.profiles).is_err()
    }

    pub(super) fn verdict(&self, node: Node<'_>) -> Verdict {
        self.verdicts[node.id().index()]
    }

    /// How this leaf may be shown to the receiver.
    pub(super) fn show(&self, leaf: Node<'_>) -> Show<'_> {
        match self.verdict(leaf) {
            Verdict::Leaf(_) => Show::AsItIs,
            Verdict::Made(place) => Show::Instead(&self.made[place as usize].text),
            Verdict::Band(place) => Show::Instead(&self.bands[place as usize].2),
            _ => Show::No,
        }
    }

    /// What leaves in the place of a node with [`Verdict::Made`].
    pub(super) fn made(&self, place: u32) -> &Made {
        &self.made[place as usize]
    }

    /// What leaves in the place of a node with [`Verdict::Band`], and the generalisation's place.
    pub(super) fn band(&self, place: u32) -> (&AgeBand, u32) {
        let (band, clause, _) = &self.bands[place as usize];
        (band, *clause)
    }

    /// Whether something of a resource was withheld.
    pub(super) fn is_cut(&self, resource: Node<'_>) -> bool {
        self.labels(resource).has(Labels::SUBSETTED)
    }

    /// How a resource was altered.
    pub(super) fn labels(&self, resource: Node<'_>) -> Labels {
        self.labels[resource.id().index()]
    }

    pub(super) fn cut(&mut self, resource: Node<'_>) {
        self.label(resource, Labels::SUBSETTED);
    }

    fn label(&mut self, resource: Node<'_>, labels: Labels) {
        let own = &mut self.labels[resource.id().index()];
        *own = own.and(labels);
    }

    /// Elements that an earlier projection withheld, as the Bundle lists them.
    pub(super) fn listed(&self) -> &BTreeSet<String> {
        &self.listed
    }

    pub(super) fn withhold(&mut self, node: Node<'_>, why: Why) {
        self.withheld.push(Withheld { node: node.id(), why });
    }

    /// The resources that leave.
    pub(super) fn resources(&self) -> impl Iterator<Item = Node<'d>> {
        let pairs = self.entries.list().iter().zip(&self.leaving);
        pairs.filter(|(_, leaving)| leaving.is_some()).filter_map(|(entry, _)| entry.resource)
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
        if let Some(Says::Withhold(clause)) = plan.root.says(leaving.profiles) {
            return Err(Why::Withholding(clause));
        }
        if !plan.lets_leave(leaving.profiles) {
            return Err(Why::ResourceNotPermitted);
        }
        match self.bundle.plan.root.member(keys().entry) {
            Some(branch) => self.keeps_meaning(entry.node, branch, self.bundle.profiles)?,
            None if entry.node.child(keys().modifier_extension).is_some() => return Err(Why::ModifierExtension),
            None => {}
        }
        self.keeps_meaning(resource, &plan.root, leaving.profiles)?;
        Ok(leaving)
    }

    fn bundle(&mut self, root: Node<'d>, leaving: &[Result<Leaving<'d>, Why>]) {
        let Leaving { plan, profiles } = self.bundle;
        let mut own = Labels::default();
        for child in root.children() {
            match child.name_id() {
                name if name == keys().resource_type || name == keys().kind => self.frame(child),
                name if name == keys().entry => self.entries(child, leaving),
                name => {
                    self.altered = Labels::default();
                    match name == keys().meta {
                        true => self.meta(child, plan, profiles),
                        false => drop(self.member(child, &plan.root, profiles)),
                    }
                    own = own.and(self.altered);
                }
            }
        }
        self.set(root, Verdict::Resource);
        self.mask_required(root, &plan.root, profiles);
        if !self.withheld.is_empty() {
            own = own.and(Labels::SUBSETTED);
        }
        self.label(root, own);
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
                name if name == keys().full_url => self.full_url(child, leaving),
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

    /// The URL of an entry goes with its resource, unless it says the `id` that the resource has elsewhere and that may
    /// not leave.
    fn full_url(&mut self, url: Node<'d>, leaving: Leaving<'d>) {
        match url.text().is_some_and(|text| says_nothing(&text)) || leaving.tells_id() {
            true => self.frame(url),
            false => self.withhold(url, Why::NotPermitted),
        }
    }

    fn resource(&mut self, resource: Node<'d>, Leaving { plan, profiles }: Leaving<'d>) {
        let mark = self.withheld.len();
        self.altered = Labels::default();
        for child in resource.children() {
            match child.name_id() {
                name if name == keys().resource_type => self.frame(child),
                name if name == keys().meta => self.meta(child, plan, profiles),
                _ => {
                    self.member(child, &plan.root, profiles);
                }
            }
        }
        self.set(resource, Verdict::Resource);
        self.mask_required(resource, &plan.root, profiles);
        if self.withheld.len() > mark {
            self.altered = self.altered.and(Labels::SUBSETTED);
        }
        self.label(resource, self.altered);
    }

    /// `meta`: what is permitted, and the profiles that permits name. The labels that it carries already stay.
    fn meta(&mut self, meta: Node<'d>, plan: &'d ResourcePlan, profiles: Profiles) {
        let branch = plan.root.member(keys().meta);
        let (mark, mut kept, mut carried) = (self.withheld.len(), false, false);
        for child in meta.children() {
            let next = branch.and_then(|branch| branch.member(child.name_id()));
            if child.name_id() == keys().profile {
                kept |= self.profiles(child, next.and_then(|next| next.says(profiles)), plan);
            } else if child.name_id() == keys().security && self.plan.tell_withheld {
                let (some, label) = self.security(child, next, profiles);
                kept |= some;
                carried |= label;
            } else if child.name_id() == keys().extension && self.lists(meta) {
                let (some, list) = self.list(child, branch, profiles);
                kept |= some;
                carried |= list;
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
    }

    /// Whether the list of what was withheld stands in this `meta`: in the Bundle's.
    fn lists(&self, meta: Node<'_>) -> bool {
        self.plan.list_withheld && meta.document().root().child(keys().meta) == Some(meta)
    }

    /// The extensions of the Bundle's `meta`, with the list of an earlier projection among them.
    fn list(&mut self, node: Node<'d>, branch: Option<&'d Branch>, profiles: Profiles) -> (bool, bool) {
        let (mark, mut kept, mut carried) = (self.withheld.len(), false, false);
        for item in node.items() {
            match labels::withheld_element(item).filter(|path| super::withheld_list::is_path(path)) {
                Some(path) => {
                    self.listed.insert(path);
                    carried = true;
                }
                None => {
                    let next = branch.and_then(|branch| extension_branch(node.name_id(), item, branch));
                    let some = next.is_some_and(|next| self.object(item, next, profiles));
                    if !some {
                        self.withhold(item, Why::NotPermitted);
                    }
                    kept |= some;
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

    fn profiles(&mut self, node: Node<'d>, says: Option<Says>, plan: &ResourcePlan) -> bool {
        let (mark, mut kept) = (self.withheld.len(), false);
        let clause = says.and_then(|says| if let Says::Permit(clause) = says { Some(clause) } else { None });
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
            if let Some(label) = Labels::of(coding) {
                self.altered = self.altered.and(label);
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
        let next = branch.member(name.without_underscore());
        match next.and_then(|next| next.says(profiles)) {
            Some(Says::Withhold(clause)) => {
                self.withhold(child, Why::Withholding(clause));
                return false;
            }
            Some(Says::Generalise(clause)) if primitive_extension => {
                if let Some(kept) = self.banded_already(child, clause) {
                    return kept;
                }
            }
            _ => {}
        }
        let (kept, open) = if name == keys().extension || name == keys().modifier_extension {
            (self.extensions(child, branch, profiles), Verdict::Open)
        } else {
            match next {
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
        let says = branch.says(profiles);
        for item in node.items().filter(|item| item.kind() != Kind::Null) {
            let is_scalar = matches!(item.kind(), Kind::String | Kind::Number | Kind::Boolean);
            match says.filter(|_| is_scalar) {
                Some(Says::Permit(_)) if self.dangles(item, branch.points) => {
                    self.withhold(item, Why::DanglingReference);
                }
                Some(Says::Permit(clause)) => {
                    self.set(item, Verdict::Leaf(Some(clause)));
                    kept = true;
                }
                Some(Says::Generalise(clause)) => kept |= self.generalise(item, clause),
                Some(Says::Withhold(_)) | None => self.withhold(item, Why::NotPermitted),
            }
        }
        kept
    }

    /// One value that leaves less exact, or does not leave.
    fn generalise(&mut self, item: Node<'d>, clause: u32) -> bool {
        let how = self.plan.generaliser(clause).map(|generaliser| &generaliser.how);
        let why = if matches!(how, Some(How::Withheld)) { Why::Generalised } else { Why::NotGeneralisable };
        match self.coarser(item, clause) {
            Some(verdict) => {
                self.set(item, verdict);
                self.altered = self.altered.and(Labels::ABSTRACTED);
                true
            }
            None => {
                self.withhold(item, why(clause));
                false
            }
        }
    }

    /// What stands in the place of a value; `None` for a value that is not of the form that it should be.
    fn coarser(&mut self, item: Node<'d>, clause: u32) -> Option<Verdict> {
        let generaliser = self.plan.generaliser(clause)?;
        let text = item.text()?;
        if let How::AgeBand(bands) = &generaliser.how {
            let band = AgeBand::of(bands, &text, self.day?)?;
            return Some(self.banded(band, clause));
        }
        let text = generaliser.text(&text)?;
        Some(self.make(clause, text))
    }

    fn make(&mut self, clause: u32, text: String) -> Verdict {
        self.made.push(Made { clause, text });
        Verdict::Made((self.made.len() - 1) as u32)
    }

    fn banded(&mut self, band: AgeBand, clause: u32) -> Verdict {
        self.bands.push((band, clause, band.words()));
        Verdict::Band((self.bands.len() - 1) as u32)
    }

    /// The extensions of a date that became an age band before; `None` if they are not that.
    fn banded_already(&mut self, child: Node<'d>, clause: u32) -> Option<bool> {
        let How::AgeBand(bands) = &self.plan.generaliser(clause)?.how else { return None };
        let is_band = |item: &Node<'_>| item.child(keys().url).and_then(Node::text).is_some_and(|url| url == AGE_BAND);
        let extension = child.items_at(keys().extension).find(is_band)?;
        let band = AgeBand::read(extension, bands)?;
        let rest = child.items_at(keys().extension).filter(|item| *item != extension && !labels::is_masked(*item));
        if rest.count() > 0 || child.children().count() > 1 {
            return None;
        }
        let verdict = self.banded(band, clause);
        self.set(child, verdict);
        Some(true)
    }

    /// An identifier in whose place a pseudonym leaves: its system and its value.
    fn pseudonym(&mut self, identifier: Node<'d>, branch: &Branch, profiles: Profiles) -> Option<[Node<'d>; 2]> {
        let Some(Says::Generalise(clause)) = branch.member(keys().value)?.says(profiles) else { return None };
        let How::Pseudonym(key) = &self.plan.generaliser(clause)?.how else { return None };
        let nodes = [identifier.child(keys().system)?, identifier.child(keys().value)?];
        let [system, value] = [nodes[0].text()?, nodes[1].text()?];
        let pseudonym = match system == self.pseudonyms && is_pseudonym(&value) {
            true => value.into_owned(),
            false => key.as_ref()?.pseudonym(self.recipient, &system, &value),
        };
        for (node, text) in nodes.into_iter().zip([self.pseudonyms.clone(), pseudonym]) {
            let verdict = self.make(clause, text);
            self.set(node, verdict);
        }
        self.altered = self.altered.and(Labels::PSEUDONYMISED);
        Some(nodes)
    }

    /// What holds for one occurrence. A pseudonym has left its slice, and stays a pseudonym.
    fn of_occurrence(&self, branch: &'d Branch, item: Node<'_>, profiles: Profiles) -> &'d Branch {
        let own = branch.of_occurrence(item, profiles);
        if !branch.is_identifier {
            return own;
        }
        let is_own = |item: Node<'_>| item.child(keys().system)?.text().map(|system| system == self.pseudonyms);
        if is_own(item) != Some(true)
            || !item.child(keys().value).and_then(Node::text).is_some_and(|text| is_pseudonym(&text))
        {
            return own;
        }
        let makes = |branch: &&Branch| match branch.member(keys().value).and_then(|value| value.says(profiles)) {
            Some(Says::Generalise(clause)) => {
                matches!(self.plan.generaliser(clause).map(|each| &each.how), Some(How::Pseudonym(_)))
            }
            _ => false,
        };
        branch.with_slices().find(makes).unwrap_or(own)
    }

    /// An object or an array of objects (with nulls, where they hold the extensions of primitive values).
    fn objects(&mut self, node: Node<'d>, branch: &'d Branch, profiles: Profiles) -> bool {
        let mut kept = false;
        for item in node.items().filter(|item| item.kind() != Kind::Null) {
            let mark = self.withheld.len();
            let some = self.object(item, self.of_occurrence(branch, item, profiles), profiles);
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
        if let Some(Says::Withhold(clause)) = branch.says(profiles) {
            self.withhold(node, Why::Withholding(clause));
            return false;
        }
        if let Err(why) = self.keeps_meaning(node, branch, profiles) {
            self.withhold(node, why);
            return false;
        }
        let pseudonym = if branch.is_identifier { self.pseudonym(node, branch, profiles) } else { None };
        let mut kept = pseudonym.is_some();
        for child in node.children() {
            if !pseudonym.is_some_and(|made| made.contains(&child)) {
                kept |= self.member(child, branch, profiles);
            }
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
        if !self.plan.tell_withheld || !branch.requires() {
            return;
        }
        for child in node.children() {
            // The extensions of a primitive may leave without their value; of all else, what leaves is there.
            let may_lack = match self.verdict(child) {
                Verdict::Withheld => true,
                Verdict::Open => child.name_id().is_primitive_extension(),
                _ => false,
            };
            if !may_lack {
                continue;
            }
            let Some(&Demanded { element, of, .. }) = branch.required(child.name_id(), profiles) else { continue };
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

    /// Whether a leaf would name something in the Bundle that does not leave, or as a reference anything that the receiver
    /// cannot find.
    fn dangles(&self, leaf: Node<'_>, points: Points) -> bool {
        match points {
            Points::Never => false,
            Points::Always => leaf.text().is_none_or(|text| !self.resolves(self.entries.resolve(&text))),
            Points::Perhaps => leaf.text().is_some_and(|text| {
                let named = self.entries.resolve(&text);
                !named.is_empty() && !self.resolves(named)
            }),
        }
    }

    /// Whether something that a reference may mean leaves, so that the receiver finds it.
    fn resolves(&self, found: &[Match]) -> bool {
        found.iter().any(|found| match *found {
            Match::FullUrl(index) => self.leaving[index].is_some_and(|leaving| {
                let url = self.entries.list()[index].full_url.as_deref();
                url.is_some_and(says_nothing) || leaving.tells_id()
            }),
            Match::Id(index) => self.leaving[index].is_some_and(Leaving::tells_id),
        })
    }

    /// Whether every modifierExtension and every modifier element of `node` leaves: without it the rest would mean
    /// something else.
    fn keeps_meaning(&self, node: Node<'d>, branch: &Branch, profiles: Profiles) -> Result<(), Why> {
        if !branch.has_modifiers {
            return Ok(());
        }
        for child in node.children() {
            let name = child.name_id();
            if name == keys().modifier_extension {
                let whole =
                    |item| extension_branch(name, item, branch).is_some_and(|next| leaves_whole(item, next, profiles));
                if !child.items().all(whole) {
                    return Err(Why::ModifierExtension);
                }
            } else if branch.is_modifier(name) && !self.modifier_leaves(node, child, branch, profiles) {
                return Err(Why::ModifierElement);
            }
        }
        Ok(())
    }

    /// Whether a modifier element says what it said: its value, or where it has none its extensions.
    fn modifier_leaves(&self, holder: Node<'d>, child: Node<'d>, branch: &Branch, profiles: Profiles) -> bool {
        let name = child.name_id();
        let Some(next) = branch.member(name.without_underscore()) else { return false };
        if child.items().next().is_none() {
            return false;
        }
        match next.says(profiles) {
            _ if name.is_primitive_extension() && twin(holder, child).is_some() => true,
            _ if name.is_primitive_extension() => child.items().all(|item| leaves_whole_object(item, next, profiles)),
            Some(Says::Permit(_)) => next.points == Points::Never && child.items().all(|item| item.scalar().is_some()),
            Some(Says::Generalise(clause)) => {
                let generaliser = self.plan.generaliser(clause);
                let says = |item: Node<'d>| generaliser.is_some_and(|each| self.says_still(each, item));
                child.items().all(says)
            }
            Some(Says::Withhold(_)) => false,
            None if next.of.name == "CodeableConcept" => child.items().all(|item| concept_leaves(item, next, profiles)),
            None => child.items().all(|item| leaves_whole(item, next, profiles)),
        }
    }

    /// Whether a value can be made less exact.
    fn says_still(&self, generaliser: &Generaliser, item: Node<'d>) -> bool {
        let Some(text) = item.text() else { return false };
        match &generaliser.how {
            How::AgeBand(bands) => self.day.and_then(|day| AgeBand::of(bands, &text, day)).is_some(),
            _ => generaliser.text(&text).is_some(),
        }
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

impl Leaving<'_> {
    /// Whether the `id` of the resource may leave.
    fn tells_id(self) -> bool {
        self.plan.root.member(keys().id).is_some_and(|id| id.permit(self.profiles).is_some())
    }
}

/// Whether the URL of an entry is made of nothing: a UUID or an OID.
fn says_nothing(url: &str) -> bool {
    url.starts_with("urn:uuid:") || url.starts_with("urn:oid:")
}

/// Whether the codes of a CodeableConcept leave, or without codes its text.
fn concept_leaves(concept: Node<'_>, branch: &Branch, profiles: Profiles) -> bool {
    let permits = |branch: Option<&Branch>| branch.is_some_and(|branch| branch.permit(profiles).is_some());
    let coding = branch.member(keys().coding);
    let mut codings = concept.items_at(keys().coding).peekable();
    if !concept.is_object() || codings.peek().is_none() {
        return concept.is_object() && permits(branch.member(keys().text));
    }
    let is_code = |child: &Node<'_>| [keys().system, keys().code].contains(&child.name_id());
    codings.all(|item| {
        let mut codes = item.children().filter(is_code);
        codes.all(|child| permits(coding.and_then(|coding| coding.member(child.name_id()))))
    })
}

/// Whether every leaf below `node` is permitted, as it is.
fn leaves_whole(node: Node<'_>, branch: &Branch, profiles: Profiles) -> bool {
    if node.is_array() {
        return node.children().all(|item| !item.is_array() && leaves_whole(item, branch, profiles));
    }
    if branch.is_primitive() {
        let is_value = !node.is_object() && node.kind() != Kind::Null;
        return is_value && branch.points != Points::Always && branch.permit(profiles).is_some();
    }
    leaves_whole_object(node, branch, profiles)
}

/// The same of an object, which may hold the extensions of a primitive.
fn leaves_whole_object(node: Node<'_>, branch: &Branch, profiles: Profiles) -> bool {
    let branch = branch.of_occurrence(node, profiles);
    node.is_object()
        && !matches!(branch.says(profiles), Some(Says::Withhold(_)))
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
    branch.is_extension && name == keys().url
}

/// Narrative of a Composition or its sections: made again, so neither copied nor simply withheld.
fn is_regenerated(name: NameId, branch: &Branch) -> bool {
    branch.has_narrative && name == keys().text
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
