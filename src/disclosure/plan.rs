//! What an interface's clauses say, compiled: for each resource type a tree of the names that they speak of.
//!
//! Paths are checked against base R4 as they are added, names of slices against the clause's profile. Several clauses for
//! one resource type share a tree; each profile they name is a bit, and a rule holds if a bit of the resource's own
//! profiles is among its own. Of several rules the strictest holds: withheld, less exact, as it is. What is said of a
//! slice holds in the place of what is said of all occurrences.

#[cfg(test)]
mod table;

use std::borrow::Cow;

use smallvec::SmallVec;

use super::agreement::RequiredElements;
use super::generalise::{Generaliser, How, PseudonymKey};
use crate::fhir::bundle::{BUNDLE, COMPOSITION};
use crate::fhir::r4::{ElementDef, TypeDef, TypeKind, TypeRef, schema};
use crate::fhir::slices::Slice;
use crate::fhir::{FixedMap, NameId, Node, keys};

/// What disclosure asks of a site: of its profiles, and of its keys.
pub trait Facts {
    /// The elements that a profile requires: `Patient.birthDate`.
    fn required(&self, profile: &str) -> Vec<String>;

    /// The slices of an element in a profile, given the element's id in the profile: `Patient.identifier`.
    fn slices(&self, _profile: &str, _element: &str) -> Vec<Slice> {
        Vec::new()
    }

    /// Whether the site's keys are known: a clause that names another is a fault then.
    fn knows_keys(&self) -> bool {
        false
    }

    /// The key of this name among the site's `[pseudonym_keys]`.
    fn pseudonym_key(&self, _name: &str) -> Option<PseudonymKey> {
        None
    }
}

impl<F: Fn(&str) -> Vec<String>> Facts for F {
    fn required(&self, profile: &str) -> Vec<String> {
        self(profile)
    }
}

/// A set of the profiles that permits of one resource type name.
pub(super) type Profiles = u64;

const MOST_PROFILES: usize = 64;

/// What may leave over one interface.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) tell_withheld: bool,
    pub(super) list_withheld: bool,
    resources: FixedMap<&'static str, ResourcePlan>,
    generalisers: Vec<Generaliser>,
}

impl Plan {
    /// How the elements of a generalisation, by its place among the interface's, become less exact.
    pub(super) fn generaliser(&self, clause: u32) -> Option<&Generaliser> {
        self.generalisers.iter().find(|each| each.clause() == clause)
    }

    /// What may leave of a resource type.
    pub(super) fn resource(&self, name: &str) -> Option<&ResourcePlan> {
        self.resources.get(name)
    }
}

/// What may leave of one resource type.
#[derive(Debug)]
pub(super) struct ResourcePlan {
    /// The profile of each bit; `None` for permits that name none.
    profiles: Vec<Option<Box<str>>>,
    /// The bits of which a clause lets something leave.
    opened: Profiles,
    pub(super) root: Branch,
}

impl ResourcePlan {
    /// The bits of a resource that claims `claimed` in `meta.profile`; 0 when no permit is for it.
    pub(super) fn matching<'c>(&self, claimed: impl Iterator<Item = &'c str> + Clone) -> Profiles {
        let mut found = 0;
        for (bit, profile) in self.profiles.iter().enumerate() {
            let matches = match profile {
                None => true,
                Some(profile) => claimed.clone().any(|claim| claims(claim, profile)),
            };
            found |= Profiles::from(matches) << bit;
        }
        found
    }

    /// Whether anything may leave of a resource with these bits.
    pub(super) fn lets_leave(&self, profiles: Profiles) -> bool {
        self.opened & profiles != 0
    }

    /// Whether a permit names the profile that `claim` claims.
    pub(super) fn names(&self, claim: &str) -> bool {
        self.profiles.iter().flatten().any(|profile| claims(claim, profile))
    }
}

/// `http://p|1.0` claims `http://p` and `http://p|1.0`.
fn claims(claim: &str, profile: &str) -> bool {
    claim == profile || claim.split_once('|').is_some_and(|(url, _)| url == profile)
}

/// What a clause says of an element, with the clause's place among those of its kind. The strictest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Says {
    /// It leaves as it is.
    Permit(u32),
    /// It leaves less exact.
    Generalise(u32),
    /// It does not leave, and no more does anything below it.
    Withhold(u32),
}

/// Whether a leaf may name something in the Bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Points {
    Never,
    /// A `uri`, `url` or `canonical`: most name something elsewhere.
    Perhaps,
    /// The literal `reference` of a Reference: it may leave only if what it points to does.
    Always,
}

/// One element that may leave, or that holds some that may.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    /// Its type.
    pub(super) of: &'static TypeDef,
    pub(super) points: Points,
    /// Whether objects of its type may have a member that changes what they mean.
    pub(super) has_modifiers: bool,
    /// Whether it is an Identifier.
    pub(super) is_identifier: bool,
    /// Whether it is an Extension.
    pub(super) is_extension: bool,
    /// Whether its objects have narrative that is made again: a Composition and its sections.
    pub(super) has_narrative: bool,
    /// The elements of its type that change what its objects mean, by each of their names.
    modifiers: Vec<NameId>,
    /// What clauses say of the element, and for which profiles.
    rules: SmallVec<[(Profiles, Says); 1]>,
    members: Vec<(NameId, Branch)>,
    /// The names of the members, in their order. See [`Branch::finish`].
    names: Vec<NameId>,
    extensions: Vec<(Box<str>, Branch)>,
    modifier_extensions: Vec<(Box<str>, Branch)>,
    /// The slices of its occurrences in each profile of which a clause names one.
    slices: Vec<SliceBranch>,
    /// Elements that a profile requires here, by stem.
    required: Vec<(Box<str>, Profiles)>,
    /// Elements that R4 or a profile requires here, by each of their names. See [`Branch::finish`].
    demanded: Vec<Demanded>,
}

/// An element that R4 or some profiles require.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demanded {
    name: NameId,
    profiles: Profiles,
    pub(super) element: &'static ElementDef,
    pub(super) of: &'static TypeDef,
}

/// A slice of an element's occurrences.
#[derive(Clone, Debug)]
struct SliceBranch {
    profiles: Profiles,
    slice: Slice,
    /// What may leave of an occurrence in it; `None` if no clause names it, and all occurrences are alike.
    branch: Option<Branch>,
}

impl Branch {
    fn new(of: &'static TypeDef) -> Branch {
        let may_point =
            of.kind == TypeKind::Primitive && matches!(of.name, "uri" | "url" | "canonical" | "uuid" | "oid");
        let spelled = of.elements.iter().filter(|element| element.is_modifier).flat_map(names_of);
        let modifiers: Vec<NameId> = spelled.map(|(name, _)| name).collect();
        let has_extensions = of.elements.iter().any(|element| element.stem == keys().modifier_extension.text());
        Branch {
            of,
            points: if may_point { Points::Perhaps } else { Points::Never },
            has_modifiers: has_extensions || !modifiers.is_empty(),
            is_identifier: of.name == "Identifier",
            is_extension: of.name == "Extension",
            has_narrative: has_narrative(of),
            modifiers,
            rules: SmallVec::new(),
            members: Vec::new(),
            names: Vec::new(),
            extensions: Vec::new(),
            modifier_extensions: Vec::new(),
            slices: Vec::new(),
            required: Vec::new(),
            demanded: Vec::new(),
        }
    }

    /// Whether `name` is that of an element that changes what its holder means.
    #[inline]
    pub(super) fn is_modifier(&self, name: NameId) -> bool {
        self.modifiers.contains(&name.without_underscore())
    }

    /// Whether it is a primitive element.
    pub(super) fn is_primitive(&self) -> bool {
        self.of.kind == TypeKind::Primitive
    }

    /// What the clauses say of the element itself; `None` where none speaks of it, and it stays.
    #[inline]
    pub(super) fn says(&self, profiles: Profiles) -> Option<Says> {
        self.rules.iter().filter(|(bits, _)| bits & profiles != 0).map(|&(_, says)| says).max()
    }

    /// The clause that lets the element leave as it is.
    pub(super) fn permit(&self, profiles: Profiles) -> Option<u32> {
        match self.says(profiles)? {
            Says::Permit(clause) => Some(clause),
            Says::Generalise(_) | Says::Withhold(_) => None,
        }
    }

    /// The branch of the element called `name`, without underscore.
    #[inline]
    pub(super) fn member(&self, name: NameId) -> Option<&Branch> {
        self.names.iter().position(|own| *own == name).map(|place| &self.members[place].1)
    }

    /// The branch of the extension with `url`.
    pub(super) fn extension(&self, url: &str) -> Option<&Branch> {
        self.extensions.iter().find(|(own, _)| **own == *url).map(|(_, branch)| branch)
    }

    /// The branch of the modifierExtension with `url`.
    pub(super) fn modifier_extension(&self, url: &str) -> Option<&Branch> {
        self.modifier_extensions.iter().find(|(own, _)| **own == *url).map(|(_, branch)| branch)
    }

    /// What holds for one occurrence of the element: the branch of the slice that it is in, where a clause names that
    /// slice; this branch otherwise, and for an occurrence that is in two slices of its profile at once.
    #[inline]
    pub(super) fn of_occurrence(&self, occurrence: Node<'_>, profiles: Profiles) -> &Branch {
        if self.slices.is_empty() {
            return self;
        }
        let mut held = self.slices.iter().filter(|each| each.profiles & profiles != 0 && each.slice.holds(occurrence));
        match (held.next(), held.next()) {
            (Some(SliceBranch { branch: Some(branch), .. }), None) => branch,
            _ => self,
        }
    }

    /// This branch and those of its slices.
    pub(super) fn with_slices(&self) -> impl Iterator<Item = &Branch> {
        std::iter::once(self).chain(self.slices.iter().filter_map(|each| each.branch.as_ref()))
    }

    /// The element that `name` spells, if base R4 or one of the profiles requires it here.
    #[inline]
    pub(super) fn required(&self, name: NameId, profiles: Profiles) -> Option<&Demanded> {
        let name = name.without_underscore();
        self.demanded.iter().find(|each| each.name == name && each.profiles & profiles != 0)
    }

    /// Whether anything is required here.
    #[inline]
    pub(super) fn requires(&self) -> bool {
        !self.demanded.is_empty()
    }

    fn demanded(&self) -> Vec<Demanded> {
        let of_element = |element: &'static ElementDef| {
            let by_profile = self.required.iter().filter(|(stem, _)| **stem == *element.stem);
            let by_profile = by_profile.fold(0, |bits, (_, profiles)| bits | profiles);
            let profiles = if element.min > 0 { Profiles::MAX } else { by_profile };
            let spelled = names_of(element).filter(move |_| profiles != 0);
            spelled.filter_map(move |(name, spelled)| Some(Demanded { name, profiles, element, of: spelled.def()? }))
        };
        self.of.elements.iter().flat_map(of_element).collect()
    }

    /// Gives each slice what is said of all occurrences and not otherwise of the slice, and fills in what follows from
    /// the rest.
    fn finish(&mut self) {
        self.names = self.members.iter().map(|(name, _)| *name).collect();
        self.demanded = self.demanded();
        let mut slices = std::mem::take(&mut self.slices);
        for branch in slices.iter_mut().filter_map(|each| each.branch.as_mut()) {
            branch.inherit(self);
            branch.finish();
        }
        self.slices = slices;
        let below = self.members.iter_mut().map(|(_, branch)| branch);
        let below = below.chain(self.extensions.iter_mut().map(|(_, branch)| branch));
        below.chain(self.modifier_extensions.iter_mut().map(|(_, branch)| branch)).for_each(Branch::finish);
    }

    fn inherit(&mut self, all: &Branch) {
        self.points = all.points;
        let own = self.rules.iter().fold(0, |bits, (profiles, _)| bits | profiles);
        let rest = all.rules.iter().map(|&(bits, says)| (bits & !own, says));
        self.rules.extend(rest.filter(|(bits, _)| *bits != 0));
        self.required.extend(all.required.iter().cloned());
        inherit(&mut self.members, &all.members);
        inherit(&mut self.extensions, &all.extensions);
        inherit(&mut self.modifier_extensions, &all.modifier_extensions);
        for other in &all.slices {
            let own = self.slices.iter_mut();
            match own.into_iter().find(|own| own.profiles == other.profiles && own.slice.name == other.slice.name) {
                None => self.slices.push(other.clone()),
                Some(own) => match (&mut own.branch, &other.branch) {
                    (Some(own), Some(other)) => own.inherit(other),
                    (own @ None, Some(other)) => *own = Some(other.clone()),
                    (_, None) => {}
                },
            }
        }
    }
}

fn inherit<K: PartialEq + Clone>(own: &mut Vec<(K, Branch)>, all: &[(K, Branch)]) {
    for (key, branch) in all {
        find_or_add(own, key.clone(), branch.of).inherit(branch);
    }
}

/// Whether disclosure makes the narrative of objects of a type again.
fn has_narrative(of: &TypeDef) -> bool {
    of.name.starts_with(COMPOSITION) && matches!(of.element(keys().text), Some((_, to)) if to.code == "Narrative")
}

/// The names of an element in JSON, each with the type that it spells.
fn names_of(element: &'static ElementDef) -> impl Iterator<Item = (NameId, &'static TypeRef)> {
    element.types.iter().map(|of| (NameId::of(&element.json_name(of.code)), of))
}

fn find_or_add<'a, K: PartialEq>(list: &'a mut Vec<(K, Branch)>, key: K, of: &'static TypeDef) -> &'a mut Branch {
    let index = list.iter().position(|(own, _)| *own == key).unwrap_or_else(|| {
        list.push((key, Branch::new(of)));
        list.len() - 1
    });
    &mut list[index].1
}

/// Adds clauses to a [`Plan`].
pub(super) struct Builder<'a> {
    plan: Plan,
    required: RequiredElements<'a>,
}

impl<'a> Builder<'a> {
    /// A plan in which nothing may leave but the Bundle's own frame, claiming `bundle_profile`.
    /// `tells` says whether the receiver is told that something was withheld, and whether which elements.
    pub(super) fn new(bundle_profile: &str, tells: (bool, bool), required: RequiredElements<'a>) -> Builder<'a> {
        let (tell_withheld, list_withheld) = tells;
        let plan = Plan { tell_withheld, list_withheld, resources: FixedMap::default(), generalisers: Vec::new() };
        let mut builder = Builder { plan, required };
        for profile in [None, Some(bundle_profile)] {
            let _known = builder.resource(BUNDLE, profile);
        }
        builder
    }

    /// A clause for resources of the type `name` that claim `profile`.
    pub(super) fn resource(&mut self, name: &str, profile: Option<&str>) -> Result<Permit<'_, 'a>, String> {
        let Some(of) = schema().resource(name) else {
            return Err(format!("FHIR R4 has no resource type {name:?}"));
        };
        let fresh = || ResourcePlan { profiles: Vec::new(), opened: 0, root: Branch::new(of) };
        let plan = self.plan.resources.entry(of.name).or_insert_with(fresh);
        let known = plan.profiles.iter().position(|own| own.as_deref() == profile);
        let bit = known.unwrap_or(plan.profiles.len());
        if bit >= MOST_PROFILES {
            return Err(format!("more than {MOST_PROFILES} profiles of {name}"));
        }
        let (facts, generalisers) = (self.required, &mut self.plan.generalisers);
        let mut permit = Permit { plan, bits: 1 << bit, facts, generalisers };
        if known.is_none() {
            permit.plan.profiles.push(profile.map(Into::into));
            permit.require(&profile.map(|profile| facts.required(profile)).unwrap_or_default());
        }
        Ok(permit)
    }

    pub(super) fn finish(mut self) -> Plan {
        self.plan.resources.values_mut().for_each(|resource| resource.root.finish());
        self.plan
    }
}

/// Adds elements to what clauses say of one resource type and profile.
pub(super) struct Permit<'p, 'a> {
    plan: &'p mut ResourcePlan,
    bits: Profiles,
    facts: RequiredElements<'a>,
    generalisers: &'p mut Vec<Generaliser>,
}

impl Permit<'_, '_> {
    /// Lets the leaf at `path` leave under the clause with this index.
    pub(super) fn element(&mut self, path: &str, clause: usize) -> Result<(), String> {
        self.rule(path, Leaf::Is, Says::Permit(number(clause)?))?;
        self.plan.opened |= self.bits;
        Ok(())
    }

    /// Lets the leaf at `path` leave less exact, under the generalisation with this index.
    pub(super) fn generalise(&mut self, path: &str, how: How, clause: usize) -> Result<(), String> {
        let generaliser = Generaliser::new(number(clause)?, how);
        let (of, holder) = self.rule(path, Leaf::Is, Says::Generalise(generaliser.clause()))?;
        generaliser.fits(of, holder, path)?;
        if !matches!(generaliser.how, How::Withheld) {
            self.plan.opened |= self.bits;
        }
        self.generalisers.push(generaliser);
        Ok(())
    }

    /// Holds back the element at `path` and all below it, under the withholding with this index.
    pub(super) fn withhold(&mut self, path: &str, clause: usize) -> Result<(), String> {
        let clause = number(clause)?;
        self.rule(path, Leaf::OrNot, Says::Withhold(clause)).map(|_| ())
    }

    /// Holds back the whole resource, under the withholding with this index.
    pub(super) fn withhold_all(&mut self, clause: usize) {
        self.plan.root.rules.push((self.bits, Says::Withhold(u32::try_from(clause).unwrap_or(u32::MAX))));
    }

    /// Notes what a clause says of the element at `path`. Returns the element's type, and that of what holds it.
    fn rule(&mut self, path: &str, leaf: Leaf, says: Says) -> Result<(&'static TypeDef, &'static TypeDef), String> {
        let steps = self.resolve(steps(path)?)?;
        check(self.plan.root.of, &steps, leaf)?;
        let mut in_modifier = false;
        let mut branch = &mut self.plan.root;
        let mut holder = branch.of;
        for step in &steps {
            holder = branch.of;
            in_modifier |= matches!(step, Step::Extension { modifier: true, .. });
            branch = branch.step(step, self.bits)?;
            if branch.points == Points::Always && in_modifier {
                return Err(
                    "a reference in a modifierExtension cannot be permitted: removing it would change the meaning"
                        .to_owned(),
                );
            }
        }
        let same = |(bits, other): &&(Profiles, Says)| bits & self.bits != 0 && other.is_like(says);
        if branch.rules.iter().any(|rule| same(&rule)) {
            return Err(match says {
                Says::Permit(_) => format!("{path} is permitted twice"),
                Says::Generalise(_) => format!("{path} is generalised twice"),
                Says::Withhold(_) => format!("{path} is withheld twice"),
            });
        }
        branch.rules.push((self.bits, says));
        Ok((branch.of, holder))
    }

    /// Looks up the slices that a path names: those of extensions become the extension, others carry all slices of the
    /// element, so that an occurrence that is in another slice is known.
    fn resolve<'s>(&self, steps: Vec<Step<'s>>) -> Result<Vec<Step<'s>>, String> {
        let profile = self.plan.profiles.get(self.bits.trailing_zeros() as usize).and_then(Option::as_deref);
        let mut id = self.plan.root.of.name.to_owned();
        let mut resolved = Vec::with_capacity(steps.len());
        for step in steps {
            let Step::Slice { element, name, .. } = step else {
                match &step {
                    Step::Name(name) => id = format!("{id}.{name}"),
                    _ => id.push_str(".extension"),
                }
                resolved.push(step);
                continue;
            };
            let Some(profile) = profile else {
                return Err(format!("{element}:{name} names a slice: say in profile = \"…\" whose"));
            };
            id = format!("{id}.{element}");
            let slices = self.facts.slices(profile, &id);
            let Some(slice) = slices.iter().find(|slice| *slice.name == *name) else {
                return Err(no_slice(element, name, profile, &slices));
            };
            id = format!("{id}:{name}");
            match &slice.extension {
                Some(url) => {
                    let modifier = element == keys().modifier_extension.text();
                    resolved.push(Step::Extension { modifier, url: url.to_string().into() });
                }
                None if !slice.can_be_told() => {
                    return Err(format!(
                        "an occurrence of {element} alone does not tell whether it is in the slice {name}"
                    ));
                }
                None => resolved.push(Step::Slice { element, name, slices }),
            }
        }
        Ok(resolved)
    }

    /// Notes the elements that a profile requires: `Patient.name.family`.
    fn require(&mut self, paths: &[String]) {
        let bits = self.bits;
        for path in paths {
            let mut names = path.split('.').skip(1).peekable();
            let mut branch = &mut self.plan.root;
            while let Some(name) = names.next() {
                let stem = name.strip_suffix("[x]").unwrap_or(name);
                if names.peek().is_none() {
                    branch.required.push((stem.into(), bits));
                } else {
                    match branch.step(&Step::Name(stem), bits) {
                        Ok(next) => branch = next,
                        Err(_) => break,
                    }
                }
            }
        }
    }
}

impl Says {
    /// Whether both are rules of one kind.
    fn is_like(self, other: Says) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

fn number(clause: usize) -> Result<u32, String> {
    u32::try_from(clause).map_err(|_| "too many clauses".to_owned())
}

fn no_slice(element: &str, name: &str, profile: &str, slices: &[Slice]) -> String {
    let names: Vec<&str> = slices.iter().map(|slice| &*slice.name).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!("{profile} has no slice {name:?} of {element}; it has {known}")
}

/// Whether a path must end at a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaf {
    Is,
    OrNot,
}

/// One step of an element path.
#[derive(Debug)]
enum Step<'a> {
    Name(&'a str),
    Extension {
        modifier: bool,
        url: Cow<'a, str>,
    },
    Slice {
        element: &'a str,
        name: &'a str,
        /// All slices of the element in the clause's profile.
        slices: Vec<Slice>,
    },
}

impl PartialEq for Step<'_> {
    /// Of two steps that are names.
    fn eq(&self, other: &Step<'_>) -> bool {
        matches!((self, other), (Step::Name(own), Step::Name(other)) if own == other)
    }
}

/// `name.extension('https://…').valueCode`
fn steps(path: &str) -> Result<Vec<Step<'_>>, String> {
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let end = rest.find(['.', '(']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = match after.strip_prefix("('") {
            None => {
                steps.push(match name.split_once(':') {
                    Some((element, name)) => Step::Slice { element, name, slices: Vec::new() },
                    None => Step::Name(name),
                });
                after
            }
            Some(call) => {
                let (url, after) = call.split_once("')").ok_or("the closing ') is missing")?;
                let modifier = match name {
                    "extension" => false,
                    "modifierExtension" => true,
                    _ => {
                        return Err(format!(
                            "{name} takes no argument; only extension('…') and modifierExtension('…') do"
                        ));
                    }
                };
                steps.push(Step::Extension { modifier, url: url.into() });
                after
            }
        };
        match rest.strip_prefix('.') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Ok(steps),
            None => return Err(format!("{path} is not an element path: names joined by dots, extension('url')")),
        }
    }
}

/// Whether the steps lead from a type to one of its leaves.
fn check(from: &'static TypeDef, steps: &[Step<'_>], leaf: Leaf) -> Result<(), String> {
    let mut at = from;
    for (index, step) in steps.iter().enumerate() {
        at = enter(at, step)?;
        if from.name == BUNDLE && index == 1 && steps[0] == Step::Name(keys().entry.text()) {
            let implied = [keys().resource, keys().full_url].map(|name| Step::Name(name.text()));
            if implied.contains(step) {
                return Err("entries leave when their resource does; write a permit for that resource type".to_owned());
            }
        }
    }
    if from.name == BUNDLE && steps.first() == Some(&Step::Name("total")) {
        return Err("Bundle.total counts what is withheld, too, and cannot leave".to_owned());
    }
    if at.kind == TypeKind::Primitive || leaf == Leaf::OrNot {
        return Ok(());
    }
    let leaves: Vec<&str> =
        at.elements.iter().map(|element| element.stem).filter(|stem| !matches!(*stem, "id" | "extension")).collect();
    Err(format!("this is a whole {}; list its leaves ({})", at.name, leaves.join(", ")))
}

fn is_extension(name: &str) -> bool {
    [keys().extension, keys().modifier_extension].iter().any(|known| known.text() == name)
}

/// The type that one step leads to.
fn enter(at: &'static TypeDef, step: &Step<'_>) -> Result<&'static TypeDef, String> {
    let name = match step {
        Step::Extension { modifier: false, .. } => keys().extension.text(),
        Step::Extension { modifier: true, .. } => keys().modifier_extension.text(),
        Step::Name(name) if is_extension(name) => {
            return Err(format!("name which extension: {name}('https://…')"));
        }
        Step::Name(name) | Step::Slice { element: name, .. } => name,
    };
    let unknown = || match at.element_by_stem(name).filter(|element| element.is_choice) {
        Some(choice) => {
            let spelled: Vec<String> = choice.types.iter().take(3).map(|each| choice.json_name(each.code)).collect();
            format!("write {name} with its type, as JSON does: {}", spelled.join(", "))
        }
        None => format!("{} has no element {name:?}", at.name),
    };
    let is_value = at.kind == TypeKind::Primitive && *step == Step::Name(keys().value.text());
    if name.starts_with('_') || is_value {
        return Err(format!(
            "{} has no element {name:?}; extension('https://…') reaches a primitive's extension",
            at.name
        ));
    }
    let (_, chosen) = at.element(NameId::of(name)).ok_or_else(unknown)?;
    let to = schema().type_named(chosen.code).ok_or_else(unknown)?;
    match (to.kind, to.name) {
        (TypeKind::Resource, _) => {
            Err("resources inside resources never leave; permit a Bundle entry instead".to_owned())
        }
        (_, "Narrative") => {
            Err("narrative never leaves as written; it is made again from what is permitted".to_owned())
        }
        _ => Ok(to),
    }
}

impl Branch {
    /// The branch behind `step`, added if need be.
    fn step(&mut self, step: &Step<'_>, profiles: Profiles) -> Result<&mut Branch, String> {
        let of = enter(self.of, step)?;
        Ok(match step {
            Step::Name(name) => {
                let is_reference = self.of.name == "Reference" && *name == keys().reference.text();
                let branch = find_or_add(&mut self.members, NameId::of(name), of);
                if is_reference {
                    branch.points = Points::Always;
                }
                branch
            }
            Step::Extension { modifier: false, url } => find_or_add(&mut self.extensions, (**url).into(), of),
            Step::Extension { modifier: true, url } => find_or_add(&mut self.modifier_extensions, (**url).into(), of),
            Step::Slice { element, name, slices } => {
                find_or_add(&mut self.members, NameId::of(element), of).slice(name, slices, profiles)?
            }
        })
    }

    /// The branch of one of the element's slices, beside which all others stand.
    fn slice(&mut self, name: &str, slices: &[Slice], profiles: Profiles) -> Result<&mut Branch, String> {
        if self.is_primitive() {
            return Err("slices of a primitive element cannot be named".to_owned());
        }
        if self.slices.iter().all(|each| each.profiles != profiles) {
            let each = |slice: &Slice| SliceBranch { profiles, slice: slice.clone(), branch: None };
            self.slices.extend(slices.iter().map(each));
        }
        let of = self.of;
        let mut known = self.slices.iter_mut();
        let own = known.find(|each| each.profiles == profiles && *each.slice.name == *name);
        let own = own.ok_or_else(|| format!("there is no slice {name}"))?;
        Ok(own.branch.get_or_insert_with(|| Branch::new(of)))
    }
}
