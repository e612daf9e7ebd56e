//! What is wrong with an agreement beyond its own file: against the profiles that it names, against what must not be
//! withheld in silence, and against what the site enforces.
//!
//! Enters: the text of one file, the site's profiles and what else it is checked against. Leaves: every [`Fault`] with
//! its place. A file that is no agreement has no fault here: reading it says so.

mod controls;
mod path;
mod profile;
mod required;
mod safety;
mod tree;

#[cfg(test)]
mod tests;

pub use controls::{Lane, PrincipalFacts};
pub use profile::Profiles;

use toml::Spanned;

use self::path::steps;
use self::profile::Place;
use self::tree::{When, leaving, subjects};
use super::Fault;
use super::fault::Faults;
use super::written::{self, Text};
use crate::fhir::bundle::BUNDLE;
use crate::fhir::definitions::without_version;
use crate::fhir::r4::schema;
use crate::fhirpath::nearest;
use crate::identity::PartyId;

/// What the site has and enforces.
pub trait Surroundings {
    /// The resource types that the map of an interface makes; `None` for an interface that the site does not run.
    fn resource_types(&self, interface: &str) -> Option<Vec<&str>>;

    /// Whether messages of an interface may hold Tasks that say what their record lacks; `false` for an interface that
    /// the site does not run.
    fn says_missing(&self, interface: &str) -> bool;

    /// How messages reach a partner; `None` without a partner file.
    fn lane(&self, partner: &PartyId) -> Option<Lane>;

    /// The names of the keys that pseudonyms can be made with.
    fn pseudonym_keys(&self) -> Vec<&str>;

    /// Someone who acts at the site; `None` for an id that it does not know.
    fn principal(&self, id: &str) -> Option<PrincipalFacts>;

    /// The ids of those who act at the site.
    fn principals(&self) -> Vec<String>;
}

/// Checks one file.
pub(super) fn lint(file: &str, text: &str, profiles: &mut Profiles<'_>, site: &dyn Surroundings) -> Vec<Fault> {
    let Ok(written) = toml::from_str::<written::Agreement>(text) else { return Vec::new() };
    let mut lint = Lint { faults: Faults::of(file, text), profiles, site };
    for (name, interface) in written.interfaces.get_ref() {
        lint.interface(name, interface.get_ref());
    }
    lint.controls(&written);
    lint.people(&written);
    lint.faults.into_found()
}

struct Lint<'l, 'd> {
    faults: Faults<'l>,
    profiles: &'l mut Profiles<'d>,
    site: &'l dyn Surroundings,
}

impl Lint<'_, '_> {
    fn interface(&mut self, name: &str, interface: &written::Interface) {
        let bundle = self.root(&interface.profile, BUNDLE);
        self.paths(interface);
        let missing = self.required(interface, When::Always, &[]);
        if let Some(terms) = &interface.override_terms {
            self.under_override(interface, terms, &missing);
        }
        if let Some(bundle) = bundle {
            self.entries(interface, &bundle);
        }
        self.safety_critical(name, interface);
    }

    /// One fault a resource type: what of it is safety-critical and would be withheld in silence.
    fn safety_critical(&mut self, name: &str, interface: &written::Interface) {
        let carried = self.site.resource_types(name);
        let carried = safety::Carried { types: carried.as_deref(), says_missing: self.site.says_missing(name) };
        let rows = safety::withheld_in_silence(interface, carried);
        for of_one in rows.chunk_by(|one, next| one.resource == next.resource) {
            let [first, ..] = of_one else { continue };
            let resource = first.resource;
            let list: Vec<String> =
                of_one.iter().map(|row| format!("{resource}.{} ({})", row.element, row.what)).collect();
            let text = format!("safety-critical, and withheld without anyone's decision: {}", list.join(", "));
            let hint = format!(
                "permit it, or write [[interfaces.{name}.withhold]] with resource = \"{resource}\", reason and approved_by"
            );
            self.faults.add_with_hint(interface.profile.span(), text, hint);
        }
    }

    /// The root of a profile, which must be one of `type_name`.
    fn root(&mut self, profile: &Text, type_name: &str) -> Option<Place> {
        match self.profiles.root(profile.get_ref()) {
            Ok(root) if root.type_name() == type_name => Some(root),
            Ok(root) => {
                let text = format!("this is a profile of {}, not of {type_name}", root.type_name());
                self.faults.add(profile.span(), text);
                None
            }
            Err(trouble) => {
                self.faults.add_with_hint(profile.span(), trouble.text, trouble.hint);
                None
            }
        }
    }

    /// The root that a clause's paths start at: of its profile, or of the type.
    fn start(&mut self, resource: &Text, profile: Option<&Text>) -> Option<Place> {
        match profile {
            Some(profile) => self.root(profile, resource.get_ref()),
            None => self.profiles.base(resource.get_ref()),
        }
    }

    /// Every path leads to an element that the profile has and allows.
    fn paths(&mut self, interface: &written::Interface) {
        for permit in interface.permit.get_ref() {
            self.resource(&permit.resource);
            if let Some(start) = self.start(&permit.resource, permit.profile.as_ref()) {
                permit.elements.get_ref().iter().for_each(|element| self.path(&start, element));
            }
        }
        for generalise in interface.generalise.iter().map(Spanned::get_ref) {
            self.resource(&generalise.resource);
            if let Some(start) = self.start(&generalise.resource, generalise.profile.as_ref()) {
                self.path(&start, &generalise.element);
            }
        }
        for withhold in &interface.withhold {
            self.resource(&withhold.resource);
            if let Some(start) = self.start(&withhold.resource, withhold.profile.as_ref()) {
                withhold.elements.iter().for_each(|element| self.path(&start, element));
            }
        }
    }

    fn resource(&mut self, resource: &Text) {
        let name = resource.get_ref();
        if schema().resource(name).is_none() {
            let known = schema().all().filter(|each| schema().resource(each.name).is_some());
            let hint = nearest(name, known.map(|each| each.name.to_owned()));
            self.faults.add_with_hint(resource.span(), format!("FHIR R4 has no resource type {name:?}"), hint);
        }
    }

    fn path(&mut self, start: &Place, element: &Text) {
        let mut place = start.clone();
        for step in steps(element.get_ref()).unwrap_or_default() {
            match self.profiles.enter(&place, &step) {
                Ok(next) => place = next,
                Err(trouble) => return self.faults.add_with_hint(element.span(), trouble.text, trouble.hint),
            }
        }
    }

    /// Everything that a profile requires leaves, or is masked.
    /// Returns what does not; says nothing of what is `known`.
    fn required(&mut self, interface: &written::Interface, when: When, known: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        for (resource, profile) in subjects(interface) {
            let Some(start) = self.start(resource, profile) else { continue };
            let leaving = leaving(interface, resource.get_ref(), profile.map(|url| url.get_ref().as_str()), when);
            for missing in required::missing(self.profiles, &start, &leaving, interface.tell_withheld) {
                let required = if when == When::UnderOverride { "under an override, " } else { "" };
                let (path, why, by) = (&missing.path, missing.why, start.profile());
                let text = format!("{required}{path} is required by {by} and no clause lets it leave; {why}");
                let mark = when == When::UnderOverride;
                let hint = if mark { "set under_override = true on the clause that permits it" } else { "permit it" };
                if !known.contains(&missing.path) {
                    self.faults.add_with_hint(resource.span(), text, hint);
                }
                all.push(missing.path);
            }
        }
        all
    }

    /// What may leave under an override must be enough for a Bundle.
    fn under_override(&mut self, interface: &written::Interface, terms: &written::Override, known: &[String]) {
        let permits = interface.permit.get_ref().iter().any(|permit| permit.under_override);
        if !permits {
            let text = "an override lets nothing leave: no clause has under_override = true";
            return self.faults.add(terms.purposes.span(), text);
        }
        self.required(interface, When::UnderOverride, known);
    }

    /// Resources without which the Bundle is never valid: the header of a message, and what invariants count.
    fn entries(&mut self, interface: &written::Interface, bundle: &Place) {
        let subjects: Vec<(String, Option<String>)> = subjects(interface)
            .into_iter()
            .map(|(resource, profile)| {
                (resource.get_ref().clone(), profile.map(|url| without_version(url.get_ref()).to_owned()))
            })
            .collect();
        for url in counted(bundle) {
            let Ok(root) = self.profiles.root(&url) else { continue };
            let leaves = |(resource, profile): &(String, Option<String>)| {
                resource == root.type_name() && profile.as_ref().is_none_or(|own| *own == url)
            };
            if !subjects.iter().any(leaves) {
                let (by, what) = (bundle.profile(), root.type_name());
                let text = format!("{by} asks for a {what} of {url}, and no clause lets one leave");
                self.faults.add_with_hint(interface.profile.span(), text, "write a permit for it");
            }
        }
        let kind = self.profiles.children(bundle).into_iter().find(|child| child.name() == "type");
        let kind = kind.and_then(|kind| {
            let element = kind.element();
            let value = element.fixed.as_ref().or(element.pattern.as_ref())?;
            value.root().text().map(|kind| kind.into_owned())
        });
        let head = match kind.as_deref() {
            Some("message") => "MessageHeader",
            Some("document") => "Composition",
            _ => return,
        };
        if !subjects.iter().any(|(resource, _)| resource == head) {
            let text = format!("a Bundle of this type begins with a {head}, and no clause lets one leave");
            self.faults.add_with_hint(interface.profile.span(), text, "write a permit for it");
        }
    }
}

/// The profiles of which an invariant of the Bundle asks for an entry:
/// `entry.resource.where(meta.profile = '…').count() = 1`, `… >= 1`, `… > 0`, `….exists()`.
fn counted(bundle: &Place) -> Vec<String> {
    let asked = |expression: &str| {
        let rest = expression.trim().strip_prefix("entry.resource.where(meta.profile")?.trim_start();
        let rest = rest.strip_prefix('=').or_else(|| rest.strip_prefix("contains"))?.trim_start();
        let (url, rest) = rest.strip_prefix('\'')?.split_once("')")?;
        let asks = [".count() = 1", ".count() >= 1", ".count() > 0", ".exists()"];
        asks.contains(&rest.trim()).then(|| url.to_owned())
    };
    let constraints = bundle.element().constraints.iter().filter(|each| each.severity == "error");
    constraints.filter_map(|each| asked(&each.expression)).collect()
}
