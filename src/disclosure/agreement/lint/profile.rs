//! The elements that a profile leaves of its type, walked by the steps of an agreement's paths.
//!
//! Enters: definitions and a step. Leaves: the element's place in a snapshot, or that the profile does not know it, or
//! that it forbids it. An extension whose definition is not loaded is walked as base R4 has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::path::Step;
use crate::fhir::definitions::{StructureDefinition, without_version};
use crate::fhir::r4;
use crate::fhir::snapshot::{R4, Snapshot, SnapshotElement, Snapshots};
use crate::fhirpath::nearest;

/// The profiles of a site.
pub struct Profiles<'d> {
    snapshots: Snapshots<'d>,
    urls: BTreeSet<&'d str>,
    extensions: BTreeSet<&'d str>,
    /// Extensions whose definition is not there, each with what was perhaps meant.
    not_loaded: BTreeMap<String, String>,
}

/// Why a step leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) text: String,
    pub(super) hint: String,
}

impl Trouble {
    fn new(text: impl Into<String>, hint: impl Into<String>) -> Trouble {
        Trouble { text: text.into(), hint: hint.into() }
    }
}

/// An element's place: in which snapshot, and where in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    snapshot: Arc<Snapshot>,
    index: usize,
    /// Of a choice: the type that the path's spelling says.
    code: Option<String>,
}

impl Place {
    pub(super) fn element(&self) -> &SnapshotElement {
        &self.snapshot.elements[self.index]
    }

    /// The last step of its path: `identifier`, `value[x]`; a resource type for a root.
    pub(super) fn name(&self) -> &str {
        let path = &*self.element().path;
        path.rsplit('.').next().unwrap_or(path)
    }

    /// Its profile's short name: `weir-patient`.
    pub(super) fn profile(&self) -> &str {
        let url = &*self.snapshot.url;
        url.rsplit('/').next().unwrap_or(url)
    }

    /// Its path, without `[x]`: `Patient.name`.
    fn path(&self) -> &str {
        self.element().path.trim_end_matches("[x]")
    }

    /// ` in weir-patient`; nothing for R4's own types.
    fn in_profile(&self) -> String {
        match self.profile() {
            own if own == self.type_name() => String::new(),
            own => format!(" in {own}"),
        }
    }

    /// The type that the profile constrains.
    pub(super) fn type_name(&self) -> &str {
        &self.snapshot.type_name
    }

    fn at(&self, index: usize) -> Place {
        Place { snapshot: self.snapshot.clone(), index, code: None }
    }

    /// The elements of the snapshot whose id is `id`, a sign, and one more name. What is below an element and its slices
    /// stands right behind it.
    fn next_to(&self, id: &str, sign: char) -> Vec<Place> {
        let elements = &self.snapshot.elements;
        let start = match &*elements[self.index].id == id {
            true => Some(self.index),
            false => elements.iter().position(|each| *each.id == *id),
        };
        let Some(start) = start else { return Vec::new() };
        let is_next = |each: &SnapshotElement, rest: &str| {
            let slice = each.slice_name.as_deref().unwrap_or_default();
            if sign == ':' { rest == slice } else { !rest.contains(['.', ':']) }
        };
        let behind = elements.iter().enumerate().skip(start + 1);
        let below = behind.map_while(|(index, each)| Some((index, each, each.id.strip_prefix(id)?)));
        let next = below.filter(|(_, each, rest)| rest.strip_prefix(sign).is_some_and(|rest| is_next(each, rest)));
        next.map(|(index, ..)| self.at(index)).collect()
    }

    /// Its named slices.
    pub(super) fn slices(&self) -> Vec<Place> {
        self.next_to(&self.element().id, ':')
    }
}

impl<'d> Profiles<'d> {
    /// Of these definitions, beside those of R4.
    pub fn of(definitions: &'d [StructureDefinition]) -> Profiles<'d> {
        let urls = |each: &'d StructureDefinition| each.url.as_str();
        let extensions = definitions.iter().filter(|each| each.type_name == "Extension");
        Profiles {
            snapshots: Snapshots::of(definitions),
            urls: definitions.iter().map(urls).collect(),
            extensions: extensions.map(urls).collect(),
            not_loaded: BTreeMap::new(),
        }
    }

    /// The root of the profile with this URL.
    pub(super) fn root(&mut self, url: &str) -> Result<Place, Trouble> {
        let snapshot = self.snapshots.snapshot(url).map_err(|error| {
            let known = self.urls.iter().map(|&url| url.to_owned());
            let hint = nearest(without_version(url), known);
            let hint = if hint.is_empty() { error.hint().to_owned() } else { hint };
            Trouble::new(format!("there is no usable definition of this profile: {error}"), hint)
        })?;
        Ok(Place { snapshot, index: 0, code: None })
    }

    /// The root of an R4 type.
    pub(super) fn base(&mut self, type_name: &str) -> Option<Place> {
        self.root(&format!("{R4}{type_name}")).ok()
    }

    /// The elements below `place`, without those that are slices.
    pub(super) fn children(&mut self, place: &Place) -> Vec<Place> {
        let element = place.element();
        let own = place.next_to(&element.id, '.');
        if !own.is_empty() {
            return own;
        }
        if let Some(slice) = &element.slice_name {
            let unsliced = element.id.strip_suffix(&format!(":{slice}")).unwrap_or(&element.id);
            let of_all = place.next_to(unsliced, '.');
            if !of_all.is_empty() {
                return of_all;
            }
        }
        if let Some(other) = element.content_reference.as_deref().and_then(|other| other.rsplit('#').next()) {
            return place.next_to(other, '.');
        }
        let chosen = |code: &str| place.code.as_deref().is_none_or(|own| own == code);
        let Some(ty) = element.types.iter().find(|ty| chosen(&ty.code)).cloned() else { return Vec::new() };
        let of_profile = ty.profiles.first().and_then(|url| self.root(url).ok());
        let root = of_profile.or_else(|| self.base(type_code(&ty.code)));
        root.map(|root| root.next_to(&root.element().id, '.')).unwrap_or_default()
    }

    /// Where a step leads.
    pub(super) fn enter(&mut self, place: &Place, step: &Step) -> Result<Place, Trouble> {
        match step {
            Step::Element { name, slice } => self.enter_element(place, name, slice.as_deref()),
            Step::Extension { url, .. } => self.enter_extension(place, step.name(), url),
        }
    }

    fn enter_element(&mut self, place: &Place, name: &str, slice: Option<&str>) -> Result<Place, Trouble> {
        let children = self.children(place);
        let found = match children.iter().find(|child| child.name() == name) {
            Some(child) => child.clone(),
            None => chosen(place, &children, name)?,
        };
        permitted(place, &found, name)?;
        let Some(slice) = slice else { return Ok(found) };
        let slices = found.slices();
        let of_name = slices.iter().find(|each| each.element().slice_name.as_deref() == Some(slice));
        let Some(of_name) = of_name else {
            let known: Vec<String> = slices
                .iter()
                .filter_map(|each| Some(format!("{name}:{}", each.element().slice_name.as_ref()?)))
                .collect();
            let text = format!("{} has no slice {name}:{slice}{}", place.path(), place.in_profile());
            let hint = nearest(&format!("{name}:{slice}"), known.iter().cloned());
            let hint = if hint.is_empty() && !known.is_empty() { format!("it has {}", known.join(", ")) } else { hint };
            return Err(Trouble::new(text, hint));
        };
        permitted(place, of_name, &format!("{name}:{slice}"))?;
        Ok(of_name.clone())
    }

    fn enter_extension(&mut self, place: &Place, name: &str, url: &str) -> Result<Place, Trouble> {
        let children = self.children(place);
        let Some(all) = children.iter().find(|child| child.name() == name) else {
            return Err(Trouble::new(format!("{} has no {name}{}", place.path(), place.in_profile()), ""));
        };
        permitted(place, all, name)?;
        let slices = all.slices();
        let mut known: Vec<String> = Vec::new();
        for slice in &slices {
            let own = self.extension_url(slice);
            if own.as_deref() == Some(without_version(url)) {
                permitted(place, slice, &format!("{name}('{url}')"))?;
                return Ok(slice.clone());
            }
            known.extend(own);
        }
        let is_closed = all.element().slicing.as_ref().is_some_and(|slicing| slicing.rules == "closed");
        let is_inside = place.type_name() == "Extension" && !slices.is_empty();
        if is_closed || is_inside {
            let text = format!("{} allows no {name}('{url}')", place.profile());
            let hint = nearest(url, known.iter().cloned());
            let hint = if hint.is_empty() { format!("it allows {}", known.join(", ")) } else { hint };
            return Err(Trouble::new(text, hint));
        }
        if let Ok(root) = self.root(url) {
            return match root.type_name() {
                "Extension" => Ok(root),
                other => Err(Trouble::new(format!("{url} is a profile of {other}, and no extension"), "")),
            };
        }
        match self.meant(url, known) {
            hint if hint.is_empty() => self.base("Extension").ok_or_else(|| Trouble::new("R4 has no Extension", "")),
            hint => Err(Trouble::new(format!("there is no extension {url}"), hint)),
        }
    }

    /// The extension that was perhaps meant by one that is not loaded.
    fn meant(&mut self, url: &str, mut known: Vec<String>) -> String {
        if let Some(hint) = self.not_loaded.get(url) {
            return hint.clone();
        }
        known.extend(self.extensions.iter().map(|&url| url.to_owned()));
        let hint = nearest(url, known);
        self.not_loaded.insert(url.to_owned(), hint.clone());
        hint
    }

    /// The URL of an extension that a slice is for: by its profile, or by the fixed `url` inside it.
    fn extension_url(&mut self, slice: &Place) -> Option<String> {
        let by_profile = slice.element().types.iter().find_map(|ty| ty.profiles.first().cloned());
        if let Some(url) = by_profile {
            return Some(without_version(&url).to_owned());
        }
        let url = self.children(slice).into_iter().find(|child| child.name() == "url")?;
        url.element().fixed.as_ref()?.root().text().map(|url| url.into_owned())
    }
}

/// The child that a JSON name spells with its type: `valueQuantity` for `value[x]`.
fn chosen(place: &Place, children: &[Place], name: &str) -> Result<Place, Trouble> {
    for child in children {
        let Some(stem) = child.name().strip_suffix("[x]") else { continue };
        let spells = |code: &str| r4::choice_name(stem, code) == name;
        let Some(ty) = child.element().types.iter().find(|ty| spells(&ty.code)) else { continue };
        let of_slice =
            child.slices().into_iter().find(|slice| slice.element().types.iter().any(|own| own.code == ty.code));
        let mut found = of_slice.unwrap_or_else(|| child.clone());
        found.code = Some(ty.code.clone());
        return Ok(found);
    }
    let spelled: Vec<String> = children
        .iter()
        .flat_map(|child| match child.name().strip_suffix("[x]") {
            Some(stem) => child.element().types.iter().map(|ty| r4::choice_name(stem, &ty.code)).collect(),
            None => vec![child.name().to_owned()],
        })
        .collect();
    let hint = nearest(name, spelled.iter().cloned());
    let of_choice =
        children.iter().find(|child| child.name().strip_suffix("[x]").is_some_and(|stem| is_choice(name, stem)));
    match of_choice {
        Some(choice) => {
            let stem = choice.name().trim_end_matches("[x]");
            let left: Vec<String> = choice.element().types.iter().map(|ty| r4::choice_name(stem, &ty.code)).collect();
            let text = format!("{} forbids {name}: it leaves {}", place.profile(), left.join(", "));
            Err(Trouble::new(text, format!("write {}", left.first().map_or(stem, |first| first))))
        }
        None => {
            let text = format!("{} has no element {name:?}{}", place.path(), place.in_profile());
            Err(Trouble::new(text, hint))
        }
    }
}

/// Whether `name` is a choice element with one of R4's types behind it.
fn is_choice(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|rest| r4::types().iter().any(|ty| r4::choice_name("", ty.name) == rest))
}

/// An element that may stand at most 0 times is forbidden.
fn permitted(place: &Place, found: &Place, name: &str) -> Result<(), Trouble> {
    if found.element().max == Some(0) {
        let text = format!("{} forbids {name}: it may stand at most 0 times", place.profile());
        return Err(Trouble::new(text, "remove it from the agreement"));
    }
    Ok(())
}

/// The R4 type of a type code: FHIRPath's own stand for strings.
fn type_code(code: &str) -> &str {
    if code.starts_with("http://hl7.org/fhirpath/") { "string" } else { code }
}
