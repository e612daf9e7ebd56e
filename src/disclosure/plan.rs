//! An interface's permits, compiled: for each resource type a tree of the names that may leave.
//!
//! Paths are checked against base R4 as they are added. Several permits for one resource type share a tree; each
//! profile they name is a bit, and an element may leave if a bit of the resource's own profiles is among its permits.

use std::collections::HashMap;

use crate::fhir::bundle::BUNDLE;
use crate::fhir::r4::{ElementDef, TypeDef, TypeKind, schema};
use crate::fhir::{NameId, keys};

use super::agreement::RequiredElements;

/// A set of the profiles that permits of one resource type name.
pub(super) type Profiles = u64;

const MOST_PROFILES: usize = 64;

/// What may leave over one interface.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) tell_withheld: bool,
    resources: HashMap<&'static str, ResourcePlan>,
}

impl Plan {
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

    /// Whether a permit names the profile that `claim` claims.
    pub(super) fn names(&self, claim: &str) -> bool {
        self.profiles.iter().flatten().any(|profile| claims(claim, profile))
    }
}

/// `http://p|1.0` claims `http://p` and `http://p|1.0`.
fn claims(claim: &str, profile: &str) -> bool {
    claim == profile || claim.split_once('|').is_some_and(|(url, _)| url == profile)
}

/// One element that may leave, or that holds some that may.
#[derive(Debug)]
pub(super) struct Branch {
    /// Its type.
    pub(super) of: &'static TypeDef,
    /// The literal `reference` of a Reference: it may leave only if what it points to does.
    pub(super) is_reference: bool,
    /// For which profiles the value itself may leave, and the clause that says so.
    permits: Vec<(Profiles, u32)>,
    members: Vec<(NameId, Branch)>,
    extensions: Vec<(Box<str>, Branch)>,
    modifier_extensions: Vec<(Box<str>, Branch)>,
    /// Elements that a profile requires here, by stem.
    required: Vec<(Box<str>, Profiles)>,
}

impl Branch {
    fn new(of: &'static TypeDef) -> Branch {
        Branch {
            of,
            is_reference: false,
            permits: Vec::new(),
            members: Vec::new(),
            extensions: Vec::new(),
            modifier_extensions: Vec::new(),
            required: Vec::new(),
        }
    }

    /// Whether it is a primitive element.
    pub(super) fn is_primitive(&self) -> bool {
        self.of.kind == TypeKind::Primitive
    }

    /// The clause that lets the value itself leave.
    pub(super) fn clause(&self, profiles: Profiles) -> Option<u32> {
        self.permits.iter().find(|(bits, _)| bits & profiles != 0).map(|&(_, clause)| clause)
    }

    /// The branch of the element called `name`, without underscore.
    pub(super) fn member(&self, name: NameId) -> Option<&Branch> {
        find(&self.members, &name)
    }

    /// The branch of the extension with `url`.
    pub(super) fn extension(&self, url: &str) -> Option<&Branch> {
        self.extensions.iter().find(|(own, _)| **own == *url).map(|(_, branch)| branch)
    }

    /// The branch of the modifierExtension with `url`.
    pub(super) fn modifier_extension(&self, url: &str) -> Option<&Branch> {
        self.modifier_extensions.iter().find(|(own, _)| **own == *url).map(|(_, branch)| branch)
    }

    /// The element that `name` spells, if base R4 or one of the profiles requires it here.
    pub(super) fn required(&self, name: NameId, profiles: Profiles) -> Option<(&'static ElementDef, &'static TypeDef)> {
        let (element, spelled) = self.of.element(name)?;
        let by_profile = || self.required.iter().any(|(stem, bits)| bits & profiles != 0 && **stem == *element.stem);
        (element.min > 0 || by_profile()).then_some(())?;
        Some((element, schema().type_named(spelled.code)?))
    }
}

fn find<'a, K: PartialEq>(list: &'a [(K, Branch)], key: &K) -> Option<&'a Branch> {
    list.iter().find(|(own, _)| own == key).map(|(_, branch)| branch)
}

fn find_or_add<'a, K: PartialEq>(list: &'a mut Vec<(K, Branch)>, key: K, of: &'static TypeDef) -> &'a mut Branch {
    let index = list.iter().position(|(own, _)| *own == key).unwrap_or_else(|| {
        list.push((key, Branch::new(of)));
        list.len() - 1
    });
    &mut list[index].1
}

/// Adds permits to a [`Plan`].
pub(super) struct Builder<'a> {
    plan: Plan,
    required: RequiredElements<'a>,
}

impl<'a> Builder<'a> {
    /// A plan in which nothing may leave but the Bundle's own frame, claiming `bundle_profile`.
    pub(super) fn new(bundle_profile: &str, tell_withheld: bool, required: RequiredElements<'a>) -> Builder<'a> {
        let mut builder = Builder { plan: Plan { tell_withheld, resources: HashMap::new() }, required };
        for profile in [None, Some(bundle_profile)] {
            let _known = builder.resource(BUNDLE, profile);
        }
        builder
    }

    /// A permit for resources of the type `name` that claim `profile`.
    pub(super) fn resource(&mut self, name: &str, profile: Option<&str>) -> Result<Permit<'_>, String> {
        let Some(of) = schema().resource(name) else {
            return Err(format!("FHIR R4 has no resource type {name:?}"));
        };
        let fresh = || ResourcePlan { profiles: Vec::new(), root: Branch::new(of) };
        let plan = self.plan.resources.entry(of.name).or_insert_with(fresh);
        let known = plan.profiles.iter().position(|own| own.as_deref() == profile);
        let bit = known.unwrap_or(plan.profiles.len());
        if bit >= MOST_PROFILES {
            return Err(format!("more than {MOST_PROFILES} profiles of {name}"));
        }
        let mut permit = Permit { plan, bits: 1 << bit };
        if known.is_none() {
            permit.plan.profiles.push(profile.map(Into::into));
            permit.require(&profile.map(self.required).unwrap_or_default());
        }
        Ok(permit)
    }

    pub(super) fn finish(self) -> Plan {
        self.plan
    }
}

/// Adds elements to the permits of one resource type and profile.
pub(super) struct Permit<'a> {
    plan: &'a mut ResourcePlan,
    bits: Profiles,
}

impl Permit<'_> {
    /// Lets the leaf at `path` leave under the clause with this index.
    pub(super) fn element(&mut self, path: &str, clause: usize) -> Result<(), String> {
        let steps = steps(path)?;
        check(self.plan.root.of, &steps)?;
        let mut in_modifier = false;
        let mut branch = &mut self.plan.root;
        for step in &steps {
            let parent = branch.of;
            in_modifier |= matches!(step, Step::Extension { modifier: true, .. });
            branch = branch.step(step)?;
            let is_reference = parent.name == "Reference" && *step == Step::Name(keys().reference.text());
            branch.is_reference = is_reference;
            if is_reference && in_modifier {
                return Err(
                    "a reference in a modifierExtension cannot be permitted: removing it would change the meaning"
                        .to_owned(),
                );
            }
        }
        if branch.permits.iter().any(|(bits, _)| bits & self.bits != 0) {
            return Err(format!("{path} is permitted twice"));
        }
        let clause = u32::try_from(clause).map_err(|_| "too many permits".to_owned())?;
        branch.permits.push((self.bits, clause));
        Ok(())
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
                    match branch.step(&Step::Name(stem)) {
                        Ok(next) => branch = next,
                        Err(_) => break,
                    }
                }
            }
        }
    }
}

/// One step of an element path.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Name(&'a str),
    Extension { modifier: bool, url: &'a str },
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
                steps.push(Step::Name(name));
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
                steps.push(Step::Extension { modifier, url });
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
fn check(from: &'static TypeDef, steps: &[Step<'_>]) -> Result<(), String> {
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
    if at.kind == TypeKind::Primitive {
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
        Step::Name(name) => name,
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
    fn step(&mut self, step: &Step<'_>) -> Result<&mut Branch, String> {
        let of = enter(self.of, step)?;
        Ok(match step {
            Step::Name(name) => find_or_add(&mut self.members, NameId::of(name), of),
            Step::Extension { modifier: false, url } => find_or_add(&mut self.extensions, (*url).into(), of),
            Step::Extension { modifier: true, url } => find_or_add(&mut self.modifier_extensions, (*url).into(), of),
        })
    }
}
