//! Required elements that could not leave: a Bundle that no receiver would find valid.

use super::path::Step;
use super::profile::{Place, Profiles};
use super::tree::Tree;

/// A required element of which nothing leaves, and why no mask can stand in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// `Patient.name`.
    pub(super) path: String,
    pub(super) why: &'static str,
}

/// How deep R4's own types nest at most before they repeat.
const DEEPEST: usize = 12;

/// What is required below `place`, given what leaves of it. A mask is possible where the agreement tells what it
/// withholds and the profile asks for no certain value.
pub(super) fn missing(profiles: &mut Profiles<'_>, place: &Place, leaving: &Tree, tells: bool) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut search = Search { profiles, tells, found: &mut found };
    search.below(place, leaving, &place.element().path.clone(), 0);
    found
}

struct Search<'s, 'd> {
    profiles: &'s mut Profiles<'d>,
    tells: bool,
    found: &'s mut Vec<Missing>,
}

impl Search<'_, '_> {
    fn below(&mut self, place: &Place, leaving: &Tree, path: &str, depth: usize) {
        if depth > DEEPEST || leaving.is_empty() {
            return;
        }
        for child in self.profiles.children(place) {
            let name = child.name().to_owned();
            if is_frame(path, place, &name) {
                continue;
            }
            let path = format!("{path}.{name}");
            if child.element().min > 0 && !leaving.covers(&name) {
                self.unless_masked(&child, path);
                continue;
            }
            for slice in child.slices().into_iter().filter(|slice| slice.element().min > 0) {
                let slice_name = slice.element().slice_name.clone().unwrap_or_default();
                if leaving.covers(&name) && !leaving.covers_slice(&name, &slice_name) && !name.ends_with("[x]") {
                    let why = "no clause is for the slice, and neither a mask nor a pseudonym is in one";
                    self.found.push(Missing { path: format!("{path}:{slice_name}"), why });
                }
            }
        }
        for (step, below) in leaving.children.iter().filter(|(_, below)| !below.is_empty()) {
            let any = Step::Element { name: step.name().to_owned(), slice: None };
            let step = if below.is_pseudonym { &any } else { step };
            if let Ok(next) = self.profiles.enter(place, step) {
                let path = match step {
                    Step::Element { name, slice: Some(slice) } => format!("{path}.{name}:{slice}"),
                    Step::Element { name, slice: None } => format!("{path}.{name}"),
                    Step::Extension { url, .. } => format!("{path}.{}('{url}')", step.name()),
                };
                self.below(&next, below, &path, depth + 1);
            }
        }
    }

    /// Adds the element unless a mask may stand in its place.
    fn unless_masked(&mut self, child: &Place, path: String) {
        let element = child.element();
        let why = if !self.tells {
            Some("tell_withheld is false, so that no mask stands in its place")
        } else if element.fixed.is_some() || element.pattern.is_some() {
            Some("the profile asks for a certain value, which a mask does not have")
        } else if child.slices().iter().any(|slice| slice.element().min > 0) {
            Some("the profile asks for a slice of it, and a mask is in no slice")
        } else if self.profiles.children(child).iter().any(|below| below.element().min > 0) {
            Some("the profile asks for something in it, which a mask does not have")
        } else {
            None
        };
        self.found.extend(why.map(|why| Missing { path, why }));
    }
}

/// What goes with any content that leaves, without a clause: `fullUrl`s, the Bundle's type, an extension's URL.
fn is_frame(path: &str, place: &Place, name: &str) -> bool {
    match path {
        "Bundle" => matches!(name, "type" | "entry" | "meta"),
        "Bundle.entry" => true,
        _ if path.ends_with(".meta") => name == "profile",
        _ => (place.type_name() == "Extension" && name == "url") || name == "meta",
    }
}
